"""What readers see: memory as of the last commit, also right after a restart or a reset."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any, get_args

import msgspec
import pytest

from slotcast.board.readings import ServiceReadings
from slotcast.board.views import FIRST, MemoryUnavailable, Sort, Window
from slotcast.homes import Homes
from slotcast.log.port import CommitFailed
from slotcast.partition import Partition, Phase
from slotcast.snapshots import rounds
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


def snapshot_age_s(worker: Worker) -> float | None:
    """As readers and Prometheus see it, which is the same."""
    worker.tally.look(worker.partitions)
    (partition,) = readings_of(worker).summary().partitions
    metrics, labels = worker.parts.metrics.registry, {"partition": "0"}
    told = metrics.get_sample_value("slotcast_snapshot_age_seconds", labels)
    assert told == partition.snapshot_age_s or (math.isnan(told) and not partition.snapshot_age_s)
    return partition.snapshot_age_s


class Away:
    """A store that does not answer while `is_away`."""

    is_away = False

    def __call__(self, call: Callable[..., Any], *args: Any) -> Any:
        if self.is_away:
            raise StoreUnavailable("redis is away")
        return call(*args)


def test_a_snapshot_ages_from_the_commit_that_it_held_and_is_new_when_it_holds_all() -> None:
    world, away = World(ticks("A", 40)), Away()
    worker = world.worker(store_fuse=away)
    drain(worker, world)
    while worker.partitions[0].watermark < 40:
        worker.turn()
    new = snapshot_age_s(worker)
    away.is_away = True
    for event in ticks("A", 5, 40):
        write_event(world.broker, event)
    begun = world.clock.now
    drain(worker, world)
    while world.clock.now < begun + 100:
        worker.turn()

    assert new == 0.0
    assert snapshot_age_s(worker) == pytest.approx(100, abs=15)


def test_a_snapshot_is_as_old_as_the_moment_in_which_it_was_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its rows are those of then: a crash at its end would replay all that was stepped since."""
    monkeypatch.setattr(rounds, "WRITE_ROWS", 1)  # in a turn
    world = World([*ticks("A", 9), *ticks("B", 9), *ticks("C", 9)])

    def slowly(call: Callable[..., Any], *args: Any) -> Any:
        if call.__name__ == "write":
            world.clock.now += 100.0
            write_event(world.broker, ticks("A", 1, len(world.broker.ticks[0]))[0])
        return call(*args)

    worker = world.worker(max_poll_ticks=50, store_fuse=slowly)
    while not worker.partitions or not worker.partitions[0].watermark:
        worker.turn()

    assert worker.partitions[0].committed > worker.partitions[0].watermark == 27
    assert snapshot_age_s(worker) >= 400  # three rows and the watermark


def test_nobody_knows_the_age_of_a_snapshot_before_there_is_one() -> None:
    world = World(ticks("A", 400))
    world.run(snapshot_interval_s=1_000)
    away = Away()
    away.is_away = True
    worker = world.worker(snapshot_interval_s=1_000, store_fuse=away)
    worker.turn()

    recovering = worker.partitions[0].phase, snapshot_age_s(worker)
    worker.tally.look({0: Partition(0)})
    gained = worker.views[0].snapshot_age_s
    drain(worker, world)

    assert gained is None
    assert recovering == (Phase.RECOVERING, None)
    assert worker.partitions[0].phase is Phase.LIVE
    assert snapshot_age_s(worker) is None


def test_a_snapshot_that_the_store_forgot_has_no_age() -> None:
    world = World(ticks("A", 40))

    def refused_once(call: Callable[..., Any], *args: Any) -> Any:
        if call.__name__ == "publish" and refusals:
            raise CommitFailed(refusals.pop())
        return call(*args)

    refusals = list[str]()
    worker = world.worker(fuse=refused_once, snapshot_interval_s=5.0)
    drain(worker, world)
    while worker.partitions[0].watermark < 40:
        worker.turn()
    world.store._partitions.clear()
    refusals.append("the group is rebalancing")
    for event in ticks("A", 5, 40):
        write_event(world.broker, event)
    while refusals or worker.partitions[0].phase is not Phase.LIVE:
        worker.turn()

    told = snapshot_age_s(worker)

    assert worker.partitions[0].watermark == 0
    assert told is None


def test_a_snapshot_that_is_found_is_as_old_as_the_first_record_that_it_lacks() -> None:
    world, away = World(ticks("A", 40)), Away()
    first = world.worker(store_fuse=away)
    drain(first, world)
    while first.partitions[0].watermark < 40:
        first.turn()
    away.is_away = True
    for event in ticks("A", 30, 40):
        write_event(world.broker, event)
    drain(first, world)

    second = world.run(snapshot_interval_s=1_000)

    lacking_ms = world.broker.ticks[0][40].timestamp_ms
    told = snapshot_age_s(second)
    assert second.partitions[0].replay_from == 40
    assert told == pytest.approx((second.parts.wall_ms() - lacking_ms) / 1e3, abs=5)


def test_a_store_that_went_back_in_time_has_an_older_snapshot_than_was_known() -> None:
    world = World(ticks("A", 40))
    worker = world.worker()
    drain(worker, world)
    while worker.partitions[0].watermark < 40:
        worker.turn()
    before = deepcopy(world.store._partitions)
    for event in ticks("A", 40, 40):
        write_event(world.broker, event)
    drain(worker, world)
    while worker.partitions[0].watermark < 80:
        worker.turn()
    world.store._partitions.clear()
    world.store._partitions.update(before)

    worker.recoveries.begin(0, "StoreFenced")
    worker.turn()

    lacking_ms = world.broker.ticks[0][40].timestamp_ms
    assert worker.partitions[0].replay_from == 40
    assert snapshot_age_s(worker) == pytest.approx(
        (worker.parts.wall_ms() - lacking_ms) / 1e3, abs=5
    )


def test_a_snapshot_that_is_found_whole_is_new_and_ages_from_then_on() -> None:
    world = World(ticks("A", 40))
    first = world.run()
    first.stop()
    first.run()
    second = world.run(snapshot_interval_s=1_000)
    new = snapshot_age_s(second)

    begun = world.clock.now
    write_event(world.broker, ticks("A", 1, 40)[0])
    drain(second, world)

    assert new == 0.0
    assert 0 < snapshot_age_s(second) < world.clock.now - begun + 10


def asked(worker: Worker, question: Callable[[], Any]) -> Any:
    """What a reader in a thread of its own gets while the worker turns."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(question)
        while worker._questions._waiting.empty() and not answer.done():
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
