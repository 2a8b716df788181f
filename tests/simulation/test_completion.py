"""After a restart all instruments are shown, soon, and without keeping a forecast waiting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from slotcast.board import completion
from slotcast.board.views import Window
from slotcast.partition import Phase
from slotcast.store.port import StoreUnavailable
from slotcast.worker import Worker
from tests.simulation.world import Clock, World, drain, write_event

NAMES = [f"I{i:02}" for i in range(20)]
ALL = Window(limit=100)


@pytest.fixture(autouse=True)
def _small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "FIRST_ROWS", 4)
    monkeypatch.setattr(completion, "ROWS", 4)


def tick(name: str, i: int, partition: int = 0) -> tuple[Any, ...]:
    return ("tick", partition, name, 1_000 * i, 10.0 + i % 7, 1, i)


def stopped_world() -> World:
    """All instruments are in the store, and nothing is to be replayed."""
    world = World([tick(name, i) for i in range(3) for name in NAMES])
    first = world.run(slots=2)
    first.stop()
    first.run()
    return world


def shown(worker: Worker) -> list[str]:
    return [view.instrument for view in worker.parts.board.page(ALL)[0]]


class Calls:
    """Writes down what is asked of log and store; may keep the store from answering."""

    def __init__(self) -> None:
        self.made: list[tuple[str, Any]] = []
        self.is_away = False

    def __call__(self, call: Any, *args: Any) -> Any:
        name = call.__name__
        if name == "rows" and self.is_away:
            self.made.append(("away", args[1]))
            raise StoreUnavailable("no answer")
        if name == "rows" or (name == "publish" and args[0].forecasts):
            self.made.append((name, args[-1]))
        return call(*args)

    def read(self) -> list[int]:
        """How many rows were read at a time."""
        return [len(names) for name, names in self.made if name == "rows"]


def turns(worker: Worker, count: int) -> Iterator[int]:
    """Turn, and tell how many are shown after each."""
    for _ in range(count):
        worker.turn()
        yield len(shown(worker))


def test_what_is_paged_out_is_shown_in_slices_and_then_nothing_is_read() -> None:
    world, calls = stopped_world(), Calls()
    worker = world.worker(slots=2, store_fuse=calls)
    drain(worker, world)

    counts = [len(shown(worker)), *turns(worker, 10)]

    assert shown(worker) == NAMES
    assert counts[:6] == [4, 8, 12, 16, 20, 20]
    assert calls.read() == [4] * 5


def test_they_are_shown_as_the_store_has_them() -> None:
    world = stopped_world()
    before = world.store.rows(0, NAMES)
    worker = world.run(slots=2)
    list(turns(worker, 6))

    for view in worker.parts.board.page(ALL)[0]:
        assert (view.ticks, view.slot, view.partition) == (3, None, 0)
        assert view.as_of == worker.partitions[0].committed
    assert world.store.rows(0, NAMES) == before


def test_forecasts_come_first_and_slices_now_and_then_while_ticks_come() -> None:
    world, calls = stopped_world(), Calls()
    world.clock = Clock(step=0.001)
    for i in range(3, 33):
        write_event(world.broker, tick("I00", i))
    worker = world.worker(slots=2, max_poll_ticks=1, fuse=calls)

    drain(worker, world)

    made = [name for name, _ in calls.made]
    first = made.index("publish")
    assert made[:first] == [
        "rows",
        "rows",
    ]  # the few that are shown at once, and the one that ticks
    slices = len(calls.read()) - 2
    assert 0 < slices <= 1 + world.clock.now / completion.BUSY_S < 5
    list(turns(worker, 8))
    assert shown(worker) == NAMES


def test_a_store_that_is_away_is_asked_again_later_and_no_sooner() -> None:
    world, calls = stopped_world(), Calls()
    worker = world.worker(slots=2, store_fuse=calls)
    drain(worker, world)
    calls.is_away = True
    begun = world.clock.now
    while world.clock.now < begun + completion.AWAY_S / 2:
        worker.turn()
    asked = [name for name, _ in calls.made if name == "away"]

    calls.is_away = False
    while world.clock.now < begun + completion.AWAY_S + 2:
        worker.turn()

    assert asked == ["away"]
    assert shown(worker) == NAMES
    assert worker.partitions[0].phase is Phase.LIVE


def test_a_damaged_row_is_left_out_and_the_others_are_shown() -> None:
    world = stopped_world()
    rows = world.store._partitions[0].rows
    rows["I07"] = rows["I07"]._replace(row=b"no row")
    worker = world.run(slots=2)

    list(turns(worker, 6))

    assert shown(worker) == [name for name in NAMES if name != "I07"]


def test_a_store_that_is_away_when_a_partition_goes_live_delays_the_board_only() -> None:
    world, calls = stopped_world(), Calls()
    calls.is_away = True
    worker = world.worker(slots=2, store_fuse=calls)
    drain(worker, world)
    calls.is_away = False
    before = shown(worker)

    while world.clock.now < 2 * completion.AWAY_S + 10:
        worker.turn()

    assert not before
    assert shown(worker) == NAMES


def test_nothing_is_read_while_a_partition_recovers() -> None:
    world = World([tick(name, i, p) for i in range(3) for name in NAMES for p in (0, 1)], 2)
    first = world.run(slots=2)
    first.stop()
    first.run()
    world.store._partitions.pop(1)  # so that its replay takes a while
    worker = world.worker(slots=2)
    seen = set()
    while not worker.partitions or worker.partitions[1].phase is Phase.RECOVERING:
        worker.turn()
        if worker.partitions[1].phase is Phase.RECOVERING:
            seen.add(len(shown(worker)))

    list(turns(worker, 15))

    assert seen <= {0, 4}, "no more than at once"
    assert shown(worker) == sorted(NAMES * 2)


def test_who_ticks_meanwhile_is_not_shown_as_it_was() -> None:
    world = stopped_world()
    late = [*(tick("I19", i) for i in range(3, 6)), *(tick(name, 7) for name in NAMES[:4])]
    for event in [*late, ("reset", 0, "I17")]:
        write_event(world.broker, event)
    worker = world.worker(slots=2, max_poll_ticks=20, snapshot_interval_s=1_000)

    list(turns(worker, 10))

    here = worker.parts.engine.slots.of_partition(0)
    assert "I17" in here
    assert "I19" not in here
    assert shown(worker) == [name for name in NAMES if name != "I17"]
    view = worker.parts.board.find("I19")
    assert (view.ticks, view.slot, len(view.targets[0].recent)) == (6, None, 1)


def test_all_that_a_reset_of_all_made_void_stays_hidden() -> None:
    world = stopped_world()
    worker = world.run(slots=2)
    write_event(world.broker, ("reset-all", 0))
    drain(worker, world)

    list(turns(worker, 8))

    assert shown(worker) == []


def test_a_memory_of_an_earlier_partition_does_not_hide_where_it_ticks_now() -> None:
    world = World([tick(name, 1) for name in ["A", *NAMES[:4]]], 2)
    first = world.run()
    first.stop()
    first.run()
    write_event(world.broker, tick("A", 5, partition=1))
    worker = world.run()

    list(turns(worker, 4))

    assert worker.parts.board.partitions_of("A") == [1, 0]
    assert worker.parts.board.find("A").partition == 1


def test_after_a_recovery_no_line_keeps_a_slot_that_is_no_longer_its_own() -> None:
    world = stopped_world()
    worker = world.run(slots=20)
    for name in NAMES:
        write_event(world.broker, tick(name, 4))
    drain(worker, world)
    while worker.partitions[0].watermark < worker.partitions[0].committed:
        worker.turn()
    before = {view.slot for view in worker.parts.board.page(ALL)[0]}

    worker.recoveries.begin(0, "StoreFenced")
    list(turns(worker, 10))

    assert None not in before
    assert not worker.parts.engine.slots.of_partition(0)
    assert {view.slot for view in worker.parts.board.page(ALL)[0]} == {None}
    assert shown(worker) == NAMES
