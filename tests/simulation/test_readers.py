"""What readers see: memory as of the last commit, also right after a restart or a reset."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import msgspec
import pytest

from slotcast.board.readings import ServiceReadings
from slotcast.board.views import FIRST, MemoryUnavailable, Sort, Window
from slotcast.homes import Homes
from slotcast.partition import Phase
from slotcast.store.memory import MemoryStore
from slotcast.store.port import StoreUnavailable
from slotcast.worker import Worker
from tests.simulation.world import World, drain, write_event


def ticks(name: str, count: int, start: int = 0) -> list[tuple]:
    return [
        ("tick", 0, name, 1_000 * (start + i), 10.0 + (start + i) % 3, 1, start + i)
        for i in range(count)
    ]


def readings_of(worker: Worker) -> ServiceReadings:
    return ServiceReadings(worker, Homes(worker, MemoryStore()), 10)


def names(worker: Worker) -> list[str]:
    return [view.instrument for view in readings_of(worker).instruments().instruments]


def test_a_restarted_worker_shows_instruments_before_they_tick() -> None:
    world = World([*ticks("A", 30), *ticks("B", 40), *ticks("C", 50)])
    first = world.run(slots=1)
    before = {view.instrument: view for view in first.parts.board.page(FIRST)[0]}
    first.stop()
    first.run()

    second = world.run(slots=1)

    after = {view.instrument: view for view in second.parts.board.page(FIRST)[0]}
    assert list(after) == ["A", "B", "C"]
    for name, view in after.items():
        target, same = view.targets[0], before[name].targets[0]
        assert (view.ticks, view.ts, view.origin) == (
            before[name].ticks, before[name].ts, before[name].origin
        )  # fmt: skip
        assert (target.value, target.forecast, target.lower, target.upper) == (
            same.value, same.forecast, same.lower, same.upper
        )  # fmt: skip
        assert (target.skill, target.coverage, target.source) == (
            same.skill, same.coverage, same.source
        )  # fmt: skip


def test_a_reset_instrument_is_not_shown_until_it_ticks() -> None:
    world = World([*ticks("A", 5), *ticks("B", 5), ("reset", 0, "A")])

    worker = world.run()
    assert names(worker) == ["B"]
    world.broker.feed(0, None, b"", 0, b'{"type":"reset-all"}')
    drain(worker, world)
    assert names(worker) == []
    for event in ticks("B", 2, 9):
        write_event(world.broker, event)
    drain(worker, world)

    assert [(v.instrument, v.ticks) for v in worker.parts.board.page(FIRST)[0]] == [("B", 2)]


@pytest.mark.parametrize("reset", [("reset", 0, "A"), ("reset-all", 0)])
def test_ticks_before_a_reset_in_the_same_commit_are_not_shown(reset: tuple[Any, ...]) -> None:
    world = World([*ticks("A", 5), reset])
    worker = world.run(max_poll_ticks=50)
    assert names(worker) == []

    for event in [*ticks("A", 3, 9), reset, *ticks("A", 1, 20)]:
        write_event(world.broker, event)
    drain(worker, world)

    (view,) = worker.parts.board.page(FIRST)[0]
    assert (view.ticks, view.offset, view.targets[0].recent) == (1, 10, [view.targets[0].value])


def test_expected_is_what_had_been_forecast_for_the_value() -> None:
    world = World(ticks("A", 20))
    worker = world.worker(max_poll_ticks=7)
    drain(worker, world)

    view = worker.parts.board.find("A")

    assert view is not None
    published = world.broker.forecasts[0][-2].value
    assert f'"forecast":{view.targets[0].expected}'.encode() in published


def test_recent_values_stand_beside_what_had_been_forecast_for_them() -> None:
    world = World(ticks("A", 60))
    worker = world.worker(max_poll_ticks=1)
    drain(worker, world)

    (target,) = worker.parts.board.find("A").targets

    published = [msgspec.json.decode(f.value) for f in world.broker.forecasts[0]]
    forecasts = [one["targets"]["price"] for one in published][-49:-1]
    assert list(target.recent) == [10.0 + i % 3 for i in range(12, 60)]
    assert target.recent_expected == pytest.approx([one["forecast"] for one in forecasts])
    at = worker.parts.engine.predictor.bundle.manifest.rules.levels.index(0.9)
    assert target.recent_lower == pytest.approx([one["lower"][at] for one in forecasts])
    assert target.recent_upper == pytest.approx([one["upper"][at] for one in forecasts])


def test_nothing_had_been_forecast_for_the_first_value() -> None:
    worker = World(ticks("A", 1)).run()

    (target,) = worker.parts.board.find("A").targets

    assert (list(target.recent), target.expected) == ([10.0], None)
    assert all(map(math.isnan, [*target.recent_expected, *target.recent_lower]))


def listed(worker: Worker, **window: Any) -> list[str]:
    return [v.instrument for v in readings_of(worker).instruments(Window(**window)).instruments]


def test_a_list_is_searched_sorted_and_cut() -> None:
    worker = World([*ticks("Ab", 30), *ticks("b", 50), *ticks("C", 40), *ticks("aB2", 30)]).run()

    assert listed(worker) == ["Ab", "C", "aB2", "b"]
    assert listed(worker, descending=True) == ["b", "aB2", "C", "Ab"]
    assert listed(worker, search="AB") == ["Ab", "aB2"]
    assert listed(worker, sort="ticks", descending=True) == ["b", "C", "Ab", "aB2"]
    assert listed(worker, sort="ticks", offset=1, limit=2) == ["aB2", "C"]
    assert readings_of(worker).instruments(Window(search="b", limit=1)).total == 3


@pytest.mark.parametrize("sort", get_args(Sort))
def test_a_list_is_in_the_order_that_it_shows(sort: Sort) -> None:
    script = [tick for i in range(6) for tick in ticks(f"I{i}", 20 + 17 * i, start=i)]
    worker = World(script).run(slots=4)
    shown = {
        "name": lambda view: view.instrument,
        "ticks": lambda view: view.ticks,
        "slot": lambda view: view.slot,
        "width": lambda view: view.targets[0].upper - view.targets[0].lower,
    }
    key = shown.get(sort, lambda view: getattr(view.targets[0], sort))

    for descending in (False, True):
        window = Window(sort=sort, descending=descending)
        keys = [key(view) for view in readings_of(worker).instruments(window).instruments]
        known = [one for one in keys if one is not None]
        assert known == sorted(known, reverse=descending)
        assert keys[: len(known)] == known
        assert len(keys) == 6


def test_a_slot_leads_to_its_instrument_and_the_map_to_the_slot() -> None:
    worker = World([*ticks("A", 9), *ticks("B", 9), *ticks("C", 9)]).run(slots=2)
    here = {v.slot: v.instrument for v in readings_of(worker).instruments().instruments}
    away = here.pop(None)

    assert sorted([away, *here.values()]) == ["A", "B", "C"]
    for slot, name in here.items():
        assert listed(worker, slot=slot) == [name]
    cells = readings_of(worker).slot_map("skill").cells
    assert [at for at, cell in enumerate(cells) if cell != "."] == sorted(here)


def test_a_partition_says_how_old_its_snapshot_is() -> None:
    world = World(ticks("A", 40))
    worker = world.run()

    (partition,) = readings_of(worker).summary().partitions

    assert 0.0 <= partition.snapshot_age_s < world.clock.now


def asked(worker: Worker, question: Callable[[], Any]) -> Any:
    """What a reader in a thread of its own gets while the worker turns."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(question)
        while worker._questions.empty() and not answer.done():
            time.sleep(0.001)
        while not answer.done():
            worker.turn()
        return answer.result()


@pytest.mark.parametrize("ask", ["instrument", "free_run"])
def test_memory_in_the_middle_of_a_replay_is_not_shown(ask: str) -> None:
    world = World(ticks("A", 400))
    world.run()
    world.store._partitions.clear()
    worker = world.worker()
    reader = readings_of(worker)
    questions = {
        "instrument": lambda: reader.instrument("A"),
        "free_run": lambda: reader.free_run("A", 3),
    }
    while not worker.parts.engine.slots.of_partition(0):
        worker.turn()

    found = asked(worker, questions[ask])

    assert worker.partitions[0].phase is Phase.RECOVERING
    assert found is None
    assert reader.live() == frozenset()
    drain(worker, world)
    assert reader.live() == {0}
    assert asked(worker, questions[ask]).as_of == 400


def test_a_row_that_cannot_be_had_from_the_store_is_said_to_be_so() -> None:
    world = World([*ticks("A", 3), *ticks("B", 5)])
    worker = world.run(slots=1)
    reader, store = readings_of(worker), worker.parts.residence._store

    def away(*_: object) -> list[bytes | None]:
        raise StoreUnavailable("redis is away")

    store.rows = away  # type: ignore[method-assign]
    with pytest.raises(MemoryUnavailable, match="'A' is paged out, and redis is away"):
        asked(worker, lambda: reader.free_run("A", 2))

    assert reader.instrument("A") is not None
    assert asked(worker, lambda: reader.free_run("B", 2)) is not None
