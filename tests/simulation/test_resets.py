"""Resets asked of any worker, for any instrument: found, written, and seen to be committed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from slotcast.board.views import LogUnavailable, ResetForbidden, UnknownPartition
from slotcast.homes import Homes
from slotcast.log.memory.log import MemoryLog
from slotcast.log.port import AppendForbidden, LogError
from slotcast.resets import Resets
from slotcast.store.memory import MemoryStore
from slotcast.store.port import StoreUnavailable
from slotcast.worker import Worker
from tests.simulation.world import World, drain, write_event

LONG_S = 20.0
SHORT_S = 0.2


def tick(partition: int, name: str, i: int) -> tuple:
    return ("tick", partition, name, 1_000 * i, 10.0 + i % 3, 1, i)


class Pair:
    """Two workers: the first has partition 0 with A, the second partition 1 with B."""

    def __init__(self) -> None:
        self.world = World([tick(p, name, i) for i in range(30) for p, name in enumerate("AB")], 2)
        self.first, self.second = self.world.worker(), self.world.worker(takes_all=False)
        log = self.second.parts.log
        assert isinstance(log, MemoryLog)
        self.world.broker.assign(log, 1)
        self.settle()

    def settle(self) -> None:
        """Turn both until everything is committed and the snapshots are complete."""
        for _ in range(40):
            self.first.turn()
            self.second.turn()

    def homes(self, worker: Worker) -> Homes:
        return Homes(worker, MemoryStore(self.world.store))

    def resets(self, worker: Worker) -> Resets:
        return Resets(worker, self.homes(worker))

    def ages(self, partition: int, name: str) -> list[int]:
        """Ticks since the origin, of every forecast of the instrument."""
        records = [json.loads(f.value) for f in self.world.broker.forecasts[partition]]
        return [r["tick"]["ticks"] for r in records if r["instrument"] == name]


@contextmanager
def turning(*workers: Worker) -> Iterator[None]:
    """These workers turn in a thread of their own."""
    stop = threading.Event()

    def turn() -> None:
        while not stop.is_set():
            for worker in workers:
                worker.turn()

    thread = threading.Thread(target=turn)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture
def pair() -> Pair:
    return Pair()


@pytest.mark.parametrize("asked", ["first", "second"])
@pytest.mark.parametrize(("name", "partition"), [("A", 0), ("B", 1)])
def test_any_worker_resets_any_instrument(
    pair: Pair, asked: str, name: str, partition: int
) -> None:
    with turning(pair.first, pair.second):
        receipts = pair.resets(getattr(pair, asked)).of_instruments([name], LONG_S)
    write_event(pair.world.broker, tick(partition, name, 90))
    pair.settle()

    assert [(r.instrument, r.partition, r.offset, r.committed) for r in receipts] == [
        (name, partition, 30, True)
    ]
    assert pair.ages(partition, name) == [*range(1, 31), 1]


def test_an_instrument_of_another_worker_is_found_in_the_stores_index(pair: Pair) -> None:
    with turning(pair.first):
        assert pair.homes(pair.first).of(["A", "B"]) == {"A": [0], "B": [1]}


@pytest.mark.parametrize("asked", ["first", "second"])
def test_an_instrument_that_moved_is_reset_where_it_was_and_where_it_is(
    pair: Pair, asked: str
) -> None:
    """As after the topic has grown: its old memory is still shown where it was."""
    for i in range(40, 45):
        write_event(pair.world.broker, tick(1, "A", i))
    pair.settle()

    with turning(pair.first, pair.second):
        receipts = pair.resets(getattr(pair, asked)).of_instruments(["A"], LONG_S)
    write_event(pair.world.broker, tick(1, "A", 90))
    pair.settle()

    assert [(r.partition, r.committed) for r in receipts] == [(0, True), (1, True)]
    assert pair.ages(1, "A") == [1, 2, 3, 4, 5, 1]


def test_an_unknown_instrument_is_reset_everywhere_to_no_effect(pair: Pair) -> None:
    with turning(pair.first, pair.second):
        receipts = pair.resets(pair.first).of_instruments(["new"], LONG_S)
    write_event(pair.world.broker, tick(1, "new", 90))
    write_event(pair.world.broker, tick(0, "A", 90))
    pair.settle()

    assert [(r.partition, r.committed) for r in receipts] == [(0, True), (1, True)]
    assert pair.ages(1, "new") == [1]
    assert pair.ages(0, "A")[-1] == 31


def test_a_name_that_no_instrument_can_have_leaves_nothing_in_the_log(pair: Pair) -> None:
    with turning(pair.first, pair.second):
        receipts = pair.resets(pair.first).of_instruments(["", "x" * 257, "€" * 90, "A"], LONG_S)

    assert [(r.instrument, r.partition, r.offset) for r in receipts] == [("A", 0, 30)]
    assert pair.world.broker.dead_letters == [[], []]


def test_where_it_was_reset_to_no_effect_does_not_hide_where_it_lives(pair: Pair) -> None:
    write_event(pair.world.broker, ("reset", 0, "new"))
    write_event(pair.world.broker, tick(1, "new", 90))
    pair.settle()

    with turning(pair.first):
        assert 1 in pair.homes(pair.first).of(["new"])["new"]


def test_a_store_that_is_away_means_everywhere(pair: Pair) -> None:
    store = MemoryStore(pair.world.store)

    def away(*_: object) -> set[str]:
        raise StoreUnavailable("gone")

    store.known = away  # type: ignore[method-assign]
    with turning(pair.first):
        assert Homes(pair.first, store).of(["A", "B"]) == {"A": range(2), "B": range(2)}


def test_a_reset_without_an_owner_is_not_committed_and_not_lost(pair: Pair) -> None:
    pair.world.broker.assign(None, 1)

    with turning(pair.first):
        (receipt,) = pair.resets(pair.first).of_instruments(["B"], SHORT_S)
    heir = pair.world.run()
    write_event(pair.world.broker, tick(1, "B", 90))
    drain(heir, pair.world)

    assert (receipt.partition, receipt.offset, receipt.committed) == (1, 30, False)
    assert pair.ages(1, "B")[-1] == 1


@pytest.mark.parametrize(("partitions", "reset"), [([1], {1}), ([0, 1], {0, 1}), (None, {0, 1})])
def test_all_instruments_of_partitions_are_reset(
    pair: Pair, partitions: list[int] | None, reset: set[int]
) -> None:
    with turning(pair.first, pair.second):
        receipts = pair.resets(pair.first).of_partitions(partitions, LONG_S)
    for number, name in enumerate("AB"):
        write_event(pair.world.broker, tick(number, name, 90))
    pair.settle()

    assert {(r.instrument, r.partition, r.committed) for r in receipts} == {
        (None, p, True) for p in reset
    }
    assert [pair.ages(p, "AB"[p])[-1] for p in (0, 1)] == [1 if p in reset else 31 for p in (0, 1)]


def test_a_partition_that_is_not_there_is_named(pair: Pair) -> None:
    with pytest.raises(UnknownPartition, match=r"no partition \[7\]: the tick topic has \[0, 1\]"):
        pair.resets(pair.first).of_partitions([0, 7], SHORT_S)

    assert pair.world.broker.end == [30, 30]


@pytest.mark.parametrize(
    ("error", "told"), [(AppendForbidden, ResetForbidden), (LogError, LogUnavailable)]
)
def test_a_log_that_does_not_take_it_says_why_and_what_is_in_it(
    pair: Pair, error: type[Exception], told: type[Exception]
) -> None:
    append = pair.first.parts.log.append

    def refuse_the_second(partition: int, *record: bytes | None) -> object:
        if partition == 1:
            raise error("not here")
        return append(partition, *record)

    pair.first.parts.log.append = refuse_the_second  # type: ignore[method-assign,assignment]

    with pytest.raises(told, match=r"not here(; 1 resets are in the log)?$"):
        pair.resets(pair.first).of_partitions(None, SHORT_S)
