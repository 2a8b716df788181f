"""The list of all workers is the one that a single worker would give, or says what it lacks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotcast.api import listing
from slotcast.api.listing import page_of_all
from slotcast.api.problems import Refused
from slotcast.api.records import Instrument, InstrumentPage, Listing, Window
from slotcast.workers.memory import MemoryRegistry
from slotcast.workers.peers import Answer, Peers
from slotcast.workers.port import Entry
from tests.unit.fake_readings import FakeHomes, FakeReadings
from tests.unit.test_peers import LONG_S, Group, refused_port

SORTS = ("name", "skill", "ticks", "width", "slot")
numbers = st.none() | st.integers(-3, 3).map(float)


@pytest.fixture
def group() -> Iterator[Group]:
    made = Group()
    yield made
    for worker in made.workers:
        worker.close()


def instrument(name: str, partition: int, value: float | None, ticks: int) -> Instrument:
    target = {
        "name": "price", "value": value, "forecast": value, "lower": 0.0, "upper": value,
        "naive": value, "source": "model", "skill": value, "coverage": value, "recent": [],
    }  # fmt: skip
    return Instrument.model_validate(
        {
            "instrument": name, "partition": partition, "slot": None if ticks % 2 else ticks,
            "ticks": ticks, "ts": 0, "offset": 0, "origin": 0, "as_of": 0, "targets": [target],
        }
    )  # fmt: skip


def page_of(whole: Sequence[Instrument], window: Window, worker: str) -> InstrumentPage:
    """What a worker with these, and no other, answers."""
    found = [one for one in whole if window.search in one.instrument]
    ordered = listing._in_order(found, window)
    return InstrumentPage(
        worker=worker,
        partitions=sorted({one.partition for one in whole}),
        missing=[],
        faults=[],
        instruments=ordered[window.offset : window.offset + window.limit],
        total=len(found),
        offset=window.offset,
        limit=window.limit,
    )


@given(
    held=st.lists(
        st.tuples(st.text("ab", max_size=3), st.integers(0, 2), numbers, st.integers(1, 9))
    ),
    sort=st.sampled_from(SORTS),
    descending=st.booleans(),
    search=st.sampled_from(["", "a", "ab"]),
    offset=st.integers(0, 5),
    limit=st.integers(1, 5),
)
def test_the_parts_of_three_workers_make_the_list_of_one(
    held: list[tuple[str, int, float | None, int]],
    sort: Any,
    descending: bool,
    search: str,
    offset: int,
    limit: int,
) -> None:
    whole = list({(name, p): instrument(name, p, *rest) for name, p, *rest in held}.values())
    window = Window(search=search, sort=sort, descending=descending, offset=offset, limit=limit)
    head = window.model_copy(update={"offset": 0, "limit": offset + limit})
    parts = [page_of([one for one in whole if one.partition == p], head, str(p)) for p in range(3)]

    merged = listing._merged(parts[0], parts[1:], [], window, set())

    alone = page_of(whole, window, "0")
    assert (merged.instruments, merged.total) == (alone.instruments, alone.total)


def test_what_has_no_value_comes_last_either_way() -> None:
    held = [instrument("a", 0, None, 1), instrument("b", 0, 1.0, 1), instrument("c", 1, 2.0, 1)]

    for descending, names in ((False, "bca"), (True, "cba")):
        window = Window(sort="skill", descending=descending)
        found = listing._in_order(held, window)
        assert "".join(one.instrument for one in found) == names


def test_every_worker_lists_the_instruments_of_all(group: Group) -> None:
    for number, client in enumerate(group.clients):
        page = client.get("/instruments").json()

        assert [one["instrument"] for one in page["instruments"]] == ["A", "b/c"]
        assert (page["worker"], page["total"]) == (f"worker-{number}", 2)
        assert (page["partitions"], page["missing"], page["faults"]) == ([0, 1], [], [])


def test_searching_and_paging_are_over_all_workers(group: Group) -> None:
    client = group.clients[0]

    second = client.get("/instruments?offset=1&limit=1").json()
    found = client.get("/instruments?search=B").json()

    assert [one["instrument"] for one in second["instruments"]] == ["b/c"]
    assert (second["total"], second["offset"], second["limit"]) == (2, 1, 1)
    assert [one["instrument"] for one in found["instruments"]] == ["b/c"]


def test_a_worker_that_does_not_answer_is_named_and_its_partitions_are_missing(
    group: Group,
) -> None:
    group.workers[1].announce(refused_port())

    page = group.clients[0].get("/instruments").json()

    assert [one["instrument"] for one in page["instruments"]] == ["A"]
    assert (page["partitions"], page["missing"]) == ([0], [1])
    assert "worker-1" in page["faults"][0]


def test_partitions_that_nobody_has_are_missing(group: Group) -> None:
    group.homes.partitions = 4

    page = group.clients[0].get("/instruments").json()

    assert (page["total"], page["missing"]) == (2, [2, 3])
    assert "no worker has partitions [2, 3] live" in page["faults"][0]


def test_a_long_list_is_read_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_PAGE", 2)
    whole = [instrument(name, 1, 1.0, 1) for name in "bcdefg"]
    registry, homes = MemoryRegistry(), FakeHomes(2)
    registry.announce(Entry("other", "http://other", [1]), LONG_S)
    asked: list[str] = []

    def answer(url: str, _: str) -> Answer:
        asked.append(url)
        words = dict(word.split("=") for word in url.partition("?")[2].split("&"))
        page = page_of(whole, Window.model_validate(words), "other")
        return Answer(200, page.model_dump_json().encode())

    found = page_of_all(
        FakeReadings(["a"]), Peers("worker-0", registry, homes, answer), Window(offset=3, limit=2)
    )

    assert [one.instrument for one in found.instruments] == ["d", "e"]
    assert found.total == 7
    assert len(asked) == 3


def test_a_part_that_is_too_far_down_is_refused_with_the_ways_out() -> None:
    registry, homes = MemoryRegistry(), FakeHomes(2)

    with pytest.raises(Refused, match="workers=this"):
        page_of_all(
            FakeReadings([]), Peers("worker-0", registry, homes), Window(offset=listing.MOST)
        )


def test_a_list_of_this_worker_asks_nobody() -> None:
    assert Listing().workers == "all"
    assert Listing(workers="this").view() == Window().view()


# Streams


def events(stream: httpx.Response) -> Iterator[dict[str, Any]]:
    return (json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: "))


def test_a_stream_is_of_all_workers_and_brings_what_ticked_at_any(group: Group) -> None:
    with group.clients[0].stream("GET", "/events") as stream:
        found = events(stream)
        first = next(found)
        group.workers[1].readings.tick("b/c", 5.0)
        second = next(found)

    assert [one["instrument"] for one in first["instruments"]] == ["A", "b/c"]
    assert (first["total"], first["missing"], first["faults"]) == (2, [], [])
    (changed,) = second["instruments"]
    assert (changed["instrument"], changed["targets"][0]["value"]) == ("b/c", 5.0)


def test_a_stream_of_this_worker_asks_nobody(group: Group) -> None:
    group.workers[1].announce(refused_port())

    with group.clients[0].stream("GET", "/events?workers=this") as stream:
        first = next(events(stream))

    assert [one["instrument"] for one in first["instruments"]] == ["A"]
    assert first["faults"] == []


def test_a_stream_names_what_it_lacks_and_goes_on(group: Group) -> None:
    group.workers[1].announce(refused_port())

    with group.clients[0].stream("GET", f"/events?offset={listing.MOST}") as stream:
        too_far = next(events(stream))
    with group.clients[0].stream("GET", "/events") as stream:
        found = events(stream)
        without = next(found)
        group.workers[1].announce(group.workers[1].server.url)
        whole = next(found)

    assert "workers=this" in too_far["faults"][0]
    assert (without["total"], without["missing"]) == (1, [1])
    assert "worker-1" in without["faults"][0]
    assert (whole["total"], whole["missing"], whole["faults"]) == (2, [], [])
