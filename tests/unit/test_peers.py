"""Reading at a worker what another one holds: real servers over fake readings, one registry."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from slotcast.api import problems
from slotcast.api.app import create_app
from slotcast.api.server import ApiServer
from slotcast.board.views import MemoryUnavailable
from slotcast.log.port import LogError
from slotcast.metrics import Metrics
from slotcast.settings import HttpSettings
from slotcast.workers.memory import MemoryRegistry
from slotcast.workers.peers import ASKED_HEADER, Answer, Peers, fetch
from slotcast.workers.port import Entry, RegistryUnavailable
from tests.unit.fake_readings import FakeHomes, FakeReadings

LONG_S = 60.0


class Worker:
    """A worker of a group: fake readings of some partitions, served on a port of its own."""

    def __init__(self, group: Group, number: int, names: list[str], partitions: set[int]) -> None:
        self.readings = FakeReadings(names)
        self.readings.worker = f"worker-{number}"
        self.readings.partitions = frozenset(partitions)
        http = HttpSettings(port=0)
        peers = Peers(self.readings.worker, group.registry, group.homes)
        self.server = ApiServer(create_app(self.readings, Metrics(), http, peers), http)
        self.server.start()
        self.client = httpx.Client(base_url=self.server.url, trust_env=False)
        self._registry = group.registry
        self.announce(self.server.url)

    def announce(self, url: str) -> None:
        entry = Entry(self.readings.worker, url, sorted(self.readings.partitions))
        self._registry.announce(entry, LONG_S)

    def close(self) -> None:
        self.client.close()
        self.server.stop()


class Group:
    """Workers 0 and 1: the first has partition 0 with A, the second partition 1 with `b/c`."""

    def __init__(self) -> None:
        self.registry = MemoryRegistry()
        self.homes = FakeHomes(2)
        self.workers = [Worker(self, 0, ["A"], {0}), Worker(self, 1, ["b/c"], {1})]

    @property
    def clients(self) -> tuple[httpx.Client, httpx.Client]:
        first, second = self.workers
        return first.client, second.client


@pytest.fixture
def group() -> Iterator[Group]:
    made = Group()
    yield made
    for worker in made.workers:
        worker.close()


def refused_port() -> str:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{held.getsockname()[1]}"


def problem(response: httpx.Response, kind: problems.Kind) -> dict[str, Any]:
    assert response.status_code == kind.status, response.text
    body: dict[str, Any] = response.json()
    assert body["type"] == kind.type
    problems.Problem.model_validate(body)
    return body


@pytest.mark.parametrize(("name", "owner"), [("A", 0), ("b%2Fc", 1)])
@pytest.mark.parametrize("rest", ["", "/forecast?steps=3"])
def test_an_instrument_reads_the_same_at_every_worker(
    group: Group, name: str, owner: int, rest: str
) -> None:
    answers = [client.get(f"/instruments/{name}{rest}") for client in group.clients]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].text == answers[1].text
    assert answers[0].headers["content-type"] == "application/json"
    found = answers[0].json()
    assert found["worker"] == f"worker-{owner}"
    assert {"partition", "offset", "as_of"} <= found.keys()


def test_who_is_asked_answers_for_itself_only(group: Group) -> None:
    asked = {ASKED_HEADER: "worker-0"}

    body = problem(
        group.clients[0].get("/instruments/b%2Fc", headers=asked), problems.UNKNOWN_INSTRUMENT
    )

    assert (body["worker"], body["partitions"]) == ("worker-0", [0])


def test_a_request_for_another_worker_is_misdirected(group: Group) -> None:
    answer = group.clients[0].get("/instruments/A", headers={ASKED_HEADER: "worker-7"})

    assert "http.advertise of worker-7" in problem(answer, problems.MISDIRECTED)["detail"]


def test_an_instrument_that_nobody_has_is_unknown_in_all_partitions(group: Group) -> None:
    for client in group.clients:
        body = problem(client.get("/instruments/nobody"), problems.UNKNOWN_INSTRUMENT)
        assert body["partitions"] == [0, 1]


def test_a_partition_that_nobody_has_live_leaves_it_open(group: Group) -> None:
    group.workers[1].readings.partitions = frozenset()

    for client in group.clients:
        answer = client.get("/instruments/nobody")
        assert "partition 1" in problem(answer, problems.MEMORY_UNAVAILABLE)["detail"]
        assert answer.headers["retry-after"] == "2"


def test_a_worker_that_does_not_answer_is_named(group: Group) -> None:
    nowhere = refused_port()
    group.workers[1].announce(nowhere)

    body = problem(group.clients[0].get("/instruments/nobody"), problems.MEMORY_UNAVAILABLE)

    assert f"worker worker-1 at {nowhere} does not answer" in body["detail"]


def test_an_address_that_leads_elsewhere_is_named_with_the_setting(group: Group) -> None:
    group.workers[1].announce(group.workers[0].server.url)

    body = problem(group.clients[0].get("/instruments/b%2Fc"), problems.MEMORY_UNAVAILABLE)

    assert "set its http.advertise" in body["detail"]


def test_a_dead_claimant_does_not_hide_the_living_one(group: Group) -> None:
    dead = Entry("worker-0a", refused_port(), [1])
    group.registry.announce(dead, LONG_S)

    assert group.clients[0].get("/instruments/b%2Fc").json()["worker"] == "worker-1"


def test_own_instruments_are_read_without_a_registry(group: Group) -> None:
    def away() -> Any:
        raise RegistryUnavailable("cannot list the workers in redis")

    group.registry.workers = away  # type: ignore[method-assign]
    first = group.clients[0]

    assert first.get("/instruments/A").status_code == 200
    body = problem(first.get("/instruments/b%2Fc"), problems.MEMORY_UNAVAILABLE)
    assert "cannot list the workers in redis" in body["detail"]
    problem(first.get("/workers"), problems.REGISTRY_UNAVAILABLE)


def test_memory_that_cannot_be_read_here_is_not_looked_for_elsewhere(group: Group) -> None:
    group.workers[0].readings.failure = MemoryUnavailable("'A' is paged out, and redis is away")

    body = problem(group.clients[0].get("/instruments/A"), problems.MEMORY_UNAVAILABLE)

    assert body["detail"].startswith("'A' is paged out")


def test_workers_are_listed_with_addresses_and_partitions(group: Group) -> None:
    listed = group.clients[1].get("/workers").json()

    assert listed == {
        "worker": "worker-1",
        "workers": [
            {"worker": f"worker-{n}", "url": group.workers[n].server.url, "partitions": [n]}
            for n in (0, 1)
        ],
        "unassigned": [],
    }
    group.homes.partitions = 4
    assert group.clients[0].get("/workers").json()["unassigned"] == [2, 3]


def test_lists_say_what_they_cover(group: Group) -> None:
    paths = ("/instruments?workers=this", "/summary")
    page, summary = (group.clients[1].get(path).json() for path in paths)

    assert (page["worker"], page["partitions"]) == ("worker-1", [1])
    assert [one["instrument"] for one in page["instruments"]] == ["b/c"]
    assert summary["worker"] == "worker-1"


# Peers, over fake answers


def peers(answers: Callable[[str, str], Answer], *entries: Entry, partitions: int = 3) -> Peers:
    registry, homes = MemoryRegistry(), FakeHomes(partitions)
    homes.at["known"] = [2]
    for entry in entries:
        registry.announce(entry, LONG_S)
    return Peers("me", registry, homes, answers)


ME = Entry("me", "http://me", [0])
ONE, TWO = Entry("one", "http://one", [1]), Entry("two", "http://two", [2])


def unknown(*partitions: int) -> Answer:
    return Answer(404, f'{{"partitions": {list(partitions)}, "title": "x"}}'.encode())


def test_only_workers_that_may_hold_it_are_asked_and_never_oneself() -> None:
    asked: list[tuple[str, str]] = []

    def answer(url: str, worker: str) -> Answer:
        asked.append((url, worker))
        return Answer(200, b"found")

    assert peers(answer, ME, ONE, TWO).read("known", "/path", {0}) == b"found"
    assert asked == [("http://two/path", "two")]


def test_nobody_is_asked_when_everything_is_here() -> None:
    def nobody(url: str, worker: str) -> Answer:
        raise AssertionError(url)

    assert peers(nobody, ONE).read("X", "/", {0, 1, 2}) is None


def test_it_is_unknown_only_when_all_partitions_are_spoken_for() -> None:
    def answer(url: str, worker: str) -> Answer:
        return unknown(1) if worker == "one" else unknown(2)

    assert peers(answer, ONE, TWO).read("X", "/", {0}) is None
    with pytest.raises(MemoryUnavailable, match=r"partition 0, which .* being taken over"):
        peers(answer, ONE, TWO).read("X", "/", set())


def test_a_worker_that_has_lost_the_partition_does_not_speak_for_it() -> None:
    with pytest.raises(MemoryUnavailable, match="partition 2, which"):
        peers(lambda *_: unknown(), TWO).read("known", "/", {0})


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(Answer(500, b"{}"), "answers 500"), (Answer(404, b"<html>"), "answers 404")],
)
def test_an_answer_that_is_none_is_named(answer: Answer, reason: str) -> None:
    with pytest.raises(MemoryUnavailable, match=rf"worker two at http://two {reason}; try again"):
        peers(lambda *_: answer, TWO).read("known", "/", {0})


def test_a_log_that_cannot_list_its_partitions_is_named() -> None:
    class Lost(FakeHomes):
        def everywhere(self) -> Any:
            raise LogError("no broker")

    with pytest.raises(MemoryUnavailable, match="no broker"):
        Peers("me", MemoryRegistry(), Lost()).read("X", "/", {0})


@pytest.mark.parametrize(
    "said",
    [
        b"-ERR unknown command\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n{",
    ],
    ids=["no HTTP", "an instrument cut off", "a problem cut off"],
)
def test_what_is_no_whole_answer_is_no_answer(said: bytes) -> None:
    registry = MemoryRegistry()
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        registry.announce(Entry("worker-1", url, [0]), 60.0)
        answering = threading.Thread(target=answer_once, args=(server, said))
        answering.start()

        with pytest.raises(MemoryUnavailable, match=r"worker-1 at .* does not answer"):
            Peers("me", registry, FakeHomes()).read("X", "/instruments/X", ())
        answering.join()


def answer_once(server: socket.socket, said: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65_536)
        connection.sendall(said)


def test_nothing_but_http_is_fetched() -> None:
    with pytest.raises(OSError, match="no HTTP address"):
        fetch("file:///etc/hostname", "worker-0")
