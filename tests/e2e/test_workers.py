"""Two real workers of one group: whichever is asked answers for both, also while one dies."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from slotcast.bootstrap import prepare
from slotcast.settings import Settings
from tests.contract.kafka_topics import Record
from tests.e2e.running import PRICE, STAMP_MS, Serving
from tests.faults.group import live_of
from tests.servers import PATIENCE_S, Broker, RedisServer

PARTITIONS = 2
TIMES = "session_timeout_ms = 3000\ntransaction_timeout_ms = 4000"
NAMES = ["A", "B"]
"""The instrument of each partition."""


class Pair:
    """Two workers with one partition each, and an instrument in each of those."""

    def __init__(self, make: Callable[[str], Serving]) -> None:
        self.workers = [make("worker-0"), make("worker-1")]

    def start(self) -> None:
        """Start both, and wait until each has its instrument live."""
        for worker in self.workers:
            worker.start()
        self.until(lambda: sorted(map(len, map(live_of, self.workers))) == [1, 1])
        self.feed(range(1, 6))
        self.until(lambda: all(self.ticks(w, n) == 5 for w in self.workers for n in NAMES))

    def feed(self, times: range) -> None:
        for partition, name in enumerate(NAMES):
            self.workers[0].topics.feed(partition, [tick(name, t) for t in times])

    def owner_of(self, partition: int) -> Serving:
        return next(w for w in self.workers if partition in live_of(w))

    def other_than(self, worker: Serving) -> Serving:
        return next(w for w in self.workers if w is not worker)

    def ticks(self, worker: Serving, name: str) -> int | None:
        status, found = get(worker, f"/instruments/{name}")
        return found["ticks"] if status == 200 else None

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError("\n\n".join(w.log_tail() for w in self.workers))
            time.sleep(0.05)


def tick(name: str, time: int) -> Record:
    value = {"instrument": name, "ts": time, "price": 5 + time % 3}
    return name.encode(), json.dumps(value).encode(), STAMP_MS, None


def get(worker: Serving, path: str) -> tuple[int, Any]:
    """Status and body, problems included."""
    try:
        return 200, worker.get(path)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def listed(worker: Serving) -> list[set[int]]:
    """The partitions of each worker, as this one tells them."""
    return [set(one["partitions"]) for one in worker.get("/workers")["workers"]]


def names_at(worker: Serving) -> list[str]:
    """The workers, as this one tells them."""
    return [one["worker"] for one in worker.get("/workers")["workers"]]


def unassigned(worker: Serving) -> list[int]:
    found: list[int] = worker.get("/workers")["unassigned"]
    return found


def ages(worker: Serving, partition: int) -> list[int]:
    """Ticks since the origin, of every forecast."""
    return [json.loads(r.value)["tick"]["ticks"] for r in worker.forecasts(partition)]


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """The first start of a worker need not compile."""
    prepare(Settings())


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis of one's own: it is killed."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def pair(kafka: Broker, redis: RedisServer, redis_prefix: str, tmp_path: Path) -> Iterator[Pair]:
    made: list[Serving] = []

    def make(name: str) -> Serving:
        places = (tmp_path / name, kafka.bootstrap, redis.url, redis_prefix)
        made.append(Serving(*places, PRICE, PARTITIONS, instance_id=name, kafka=TIMES))
        return made[-1]

    pair = Pair(make)
    try:
        pair.start()
        yield pair
    finally:
        for one in made:
            if one.process is not None:
                one.kill()
            one.topics.close()


def test_every_worker_reads_and_resets_every_instrument(pair: Pair) -> None:
    for partition, name in enumerate(NAMES):
        owner = pair.owner_of(partition)
        for path in (f"/instruments/{name}", f"/instruments/{name}/forecast?steps=2"):
            answers = [get(worker, path) for worker in pair.workers]
            assert [status for status, _ in answers] == [200, 200]
            assert answers[0] == answers[1]
            found = answers[0][1]
            assert (found["partition"], found["as_of"]) == (partition, 5)
            assert found["worker"] == owner.kafka.instance_id
    for worker in pair.workers:
        assert get(worker, "/instruments/nobody")[0] == 404

    pair.until(  # each tells of itself once a second
        lambda: [listed(w) for w in pair.workers] == [[live_of(w) for w in pair.workers]] * 2
    )
    assert [unassigned(worker) for worker in pair.workers] == [[], []]

    for worker in pair.workers:
        for partition, name in enumerate(NAMES):
            status, body = worker.post(f"/instruments/{name}/reset")
            assert (status, [r["partition"] for r in body["receipts"]]) == (200, [partition])
    pair.feed(range(6, 7))
    pair.until(lambda: all(pair.ticks(w, n) == 1 for w in pair.workers for n in NAMES))
    status, body = pair.workers[0].post("/reset", {"all": True})
    assert (status, [r["partition"] for r in body["receipts"]]) == (200, [0, 1])
    pair.feed(range(7, 8))
    pair.until(lambda: all(pair.ticks(w, n) == 1 for w in pair.workers for n in NAMES))
    assert [ages(pair.workers[0], p) for p in (0, 1)] == [[1, 2, 3, 4, 5, 1, 1]] * 2


def test_a_reset_whose_owner_dies_is_applied_by_the_next_one(pair: Pair) -> None:
    victim = pair.owner_of(1)
    survivor = pair.other_than(victim)

    victim.kill()
    status, missing = get(survivor, "/instruments/B")
    reset = survivor.post("/instruments/B/reset")  # waits for the next owner, or 202
    pair.until(lambda: live_of(survivor) == {0, 1})
    pair.feed(range(6, 7))
    pair.until(lambda: pair.ticks(survivor, "B") == 1)

    assert status == 503
    assert "partition 1" in missing["detail"]
    assert reset[0] in (200, 202)
    assert [r["partition"] for r in reset[1]["receipts"]] == [1]
    assert pair.ticks(survivor, "A") == 6
    pair.until(lambda: listed(survivor) == [{0, 1}] and unassigned(survivor) == [])
    assert ages(survivor, 1) == [1, 2, 3, 4, 5, 1]

    victim.start()
    pair.until(lambda: sorted(map(len, map(live_of, pair.workers))) == [1, 1])
    pair.until(lambda: all(pair.ticks(w, n) is not None for w in pair.workers for n in NAMES))


def test_a_worker_that_leaves_is_not_listed_any_more(pair: Pair) -> None:
    leaving, staying = pair.workers

    assert leaving.stop() == 0

    assert leaving.kafka.instance_id not in names_at(staying)
    pair.until(lambda: names_at(staying) == [staying.kafka.instance_id])  # a slow one comes back


def test_without_redis_each_worker_reads_its_own(pair: Pair, redis: RedisServer) -> None:
    redis.kill()

    for partition, name in enumerate(NAMES):
        owner = pair.owner_of(partition)
        assert get(owner, f"/instruments/{name}")[0] == 200
        status, body = get(pair.other_than(owner), f"/instruments/{name}")
        assert status == 503
        assert "redis at 127.0.0.1" in body["detail"]
        assert get(owner, "/workers")[0] == 503
    redis.start()
    pair.until(lambda: all(pair.ticks(w, n) == 5 for w in pair.workers for n in NAMES))
