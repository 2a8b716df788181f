"""A store that forgets, refuses or is away: what is resident goes on, and nobody else suffers."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest

from slotcast.log.port import CommitFailed
from slotcast.partition import Phase
from slotcast.recoveries import UNAVAILABLE_PAUSE_S
from slotcast.store.memory import MemoryStore
from slotcast.store.port import StoreError, StoreUnavailable
from slotcast.worker import Worker
from tests.simulation.test_stores_and_members import run_turns
from tests.simulation.test_tally import value
from tests.simulation.world import World, drain, write_event

CAUSES = ("StoreFenced", "StoreForgot", "StoreUnavailable", "CommitFailed", "NoSlotLeft")


def ticks(partition: int, first: int, stop: int, instruments: int) -> list[tuple[Any, ...]]:
    return [
        ("tick", partition, f"P{partition}I{i % instruments}", 1_000 * i, 10.0 + i % 7, 1.0, i)
        for i in range(first, stop)
    ]


def recoveries(worker: Worker) -> dict[str, float]:
    """Recoveries by cause, of those that something went wrong for."""
    counts = {cause: value(worker, "recoveries_total", cause=cause) for cause in CAUSES}
    return {cause: count for cause, count in counts.items() if count}


def expected(events: list[tuple[Any, ...]], partitions: int = 1) -> dict[str, Any]:
    world = World(events, partitions)
    world.run(slots=256, max_poll_ticks=10_000)
    return world.published


def is_covered(worker: Worker, number: int = 0) -> bool:
    """Whether a snapshot in the store has all that was committed."""
    partition = worker.partitions[number]
    return partition.watermark == partition.committed


# Forgetting


def test_a_wiped_store_gets_everything_again_from_a_worker_that_has_it() -> None:
    """Also where the log could not give it: retention has passed the origin."""
    first, second = ticks(0, 0, 60, 3), ticks(0, 60, 90, 3)
    whole = expected(first + second)
    world = World(first)
    worker = world.run(slots=8)
    run_turns(worker, 30)
    assert is_covered(worker)

    world.broker.trim(0, 40)
    world.store._partitions.clear()
    for event in second:
        write_event(world.broker, event)
    drain(worker, world)
    run_turns(worker, 30)

    assert recoveries(worker) == {}
    assert is_covered(worker)
    restarted = world.worker(slots=8)
    drain(restarted, world)
    assert restarted.partitions[0].replay_from == 90
    assert world.published["forecasts"] == whole["forecasts"]


def test_a_store_that_was_wiped_while_nothing_ticks_is_filled_by_the_next_tick() -> None:
    world = World(ticks(0, 0, 60, 3))
    worker = world.run(slots=8)
    run_turns(worker, 30)

    world.store._partitions.clear()
    for event in ticks(0, 60, 61, 3):
        write_event(world.broker, event)
    drain(worker, world)
    run_turns(worker, 30)

    assert set(MemoryStore(world.store).index(0)) == {"P0I0", "P0I1", "P0I2"}


def test_a_store_that_went_back_gets_everything_again() -> None:
    world = World(ticks(0, 0, 60, 3))
    worker = world.run(slots=8)
    run_turns(worker, 30)
    before = copy.deepcopy(world.store._partitions)
    for event in ticks(0, 60, 80, 3):
        write_event(world.broker, event)
    drain(worker, world)
    run_turns(worker, 30)

    world.store._partitions.clear()
    world.store._partitions.update(before)
    for event in ticks(0, 80, 90, 3):
        write_event(world.broker, event)
    drain(worker, world)
    run_turns(worker, 30)

    assert recoveries(worker) == {}
    assert is_covered(worker)
    assert world.published == expected(ticks(0, 0, 90, 3))


def test_what_is_only_in_a_wiped_store_comes_from_the_log() -> None:
    first, second = ticks(0, 0, 60, 12), ticks(0, 60, 90, 12)
    world = World(first)
    worker = world.run(slots=2)

    world.store._partitions.clear()
    for event in second:
        write_event(world.broker, event)
    drain(worker, world)

    assert worker.partitions[0].phase is Phase.LIVE
    assert world.published == expected(first + second)


# Whose partition it is


@pytest.mark.parametrize("slots", [4, 64], ids=["paged out", "in a round"])
def test_a_fence_concerns_its_own_partition_only(slots: int) -> None:
    world = World(ticks(0, 0, 60, 6) + ticks(1, 0, 60, 6), 2)
    worker = world.run(slots=slots)
    run_turns(worker, 30)

    world.store.claim(0, "another worker's")
    for event in ticks(0, 60, 70, 6) + ticks(1, 60, 70, 6):
        write_event(world.broker, event)
    drain(worker, world)
    run_turns(worker, 30)

    assert recoveries(worker) == {"StoreFenced": 1}


def test_who_has_lost_a_partition_does_not_touch_its_snapshot() -> None:
    """A worker that was frozen inside a recovery finds out when it commits, and no later."""
    world = World(ticks(0, 0, 60, 6))
    world.run(slots=8)
    zombie = world.worker(slots=8)
    owner = world.worker(slots=8)
    drain(owner, world)
    claim = world.store._partitions[0].claim

    recovery = zombie.parts.recovery.run(zombie.partitions.setdefault(0, _gained(zombie)))
    with pytest.raises(CommitFailed):
        list(recovery)

    assert world.store._partitions[0].claim == claim


def _gained(worker: Worker) -> Any:
    worker.parts.log.note_lost(0)  # type: ignore[attr-defined]
    worker.parts.log.note_gained(0)  # type: ignore[attr-defined]
    worker.turn()
    return worker.partitions[0]


def test_a_damaged_snapshot_is_not_trusted_again_before_the_partition_is_live(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World(ticks(0, 0, 60, 6))
    worker = world.run(slots=2)
    publish, refused = worker.parts.log.publish, [1]

    def refuse_once(outbox: Any) -> None:
        if refused and not outbox.forecasts:
            refused.pop()
            raise CommitFailed("the group is rebalancing")
        publish(outbox)

    worker.parts.log.publish = refuse_once  # type: ignore[method-assign]
    rows = world.store._partitions[0].rows
    name = next(n for n in rows if n not in worker.parts.engine.slots.of_partition(0))
    rows[name] = rows[name]._replace(row=b"damaged")
    write_event(world.broker, ("tick", 0, name, 60_000, 10.0, 1.0, 60))
    caplog.set_level(logging.WARNING)
    drain(worker, world)

    assert not refused
    assert value(worker, "recoveries_total", cause="SnapshotDamaged") == 1
    assert world.published == expected([*world.events, ("tick", 0, name, 60_000, 10.0, 1.0, 60)])
    assert worker.partitions[0].replay_from == 0


# Room


def test_a_recovery_gets_its_slots_although_others_have_a_backlog() -> None:
    backlog = ticks(1, 200, 1_200, 18)
    world = World(ticks(0, 0, 200, 12) + ticks(1, 0, 200, 18), 2)
    worker = world.run(slots=2, max_poll_ticks=20, snapshot_interval_s=1e9)
    for event in backlog:
        write_event(world.broker, event)

    worker.recoveries.begin(0, "CommitFailed")
    turns = 0
    while worker.partitions[0].phase is not Phase.LIVE:
        worker.turn()
        turns += 1

    assert turns < 40
    assert recoveries(worker) == {"CommitFailed": 1}
    assert worker.parts.engine.slots.capacity == 22


class Away:
    """A store that is not there until it is `back`."""

    def __init__(self, error: StoreError | None = None) -> None:
        self.back, self.error = False, error or StoreUnavailable("no answer")

    def __call__(self, call: Any, *args: Any) -> Any:
        if not self.back:
            raise self.error
        return call(*args)


def test_without_a_store_rows_take_more_memory_than_slots_until_it_is_back() -> None:
    events, later = ticks(0, 0, 200, 40), ticks(0, 200, 260, 40)
    world, away = World(events), Away()

    worker = world.worker(slots=2, max_poll_ticks=7, store_fuse=away)
    drain(worker, world)

    assert worker.parts.engine.slots.used == 40
    assert recoveries(worker) == {}
    away.back = True
    for event in later:
        write_event(world.broker, event)
    drain(worker, world)
    run_turns(worker, 60)
    assert worker.parts.engine.slots.used == 2
    assert world.published == expected(events + later)


def test_who_may_take_no_more_memory_waits_for_the_store_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events, away = ticks(0, 0, 200, 40), Away()
    world = World(events)
    worker = world.worker(slots=2, max_poll_ticks=7, store_fuse=away)
    engine = worker.parts.engine
    engine._most_rows_mb = 20 * engine.rows.dtype.itemsize / 1e6
    caplog.set_level(logging.WARNING)

    begun = world.clock.now
    run_turns(worker, 300)
    waited = world.clock.now - begun

    assert world.broker.offsets[0].offset < 200
    assert "worker.most_rows_mb" in caplog.text
    assert recoveries(worker)["NoSlotLeft"] <= waited / UNAVAILABLE_PAUSE_S + 1
    away.back = True
    drain(worker, world)
    assert world.published == expected(events)


def test_a_store_that_must_not_be_used_is_done_without(caplog: pytest.LogCaptureFixture) -> None:
    """A Redis that comes up with an evicting policy, after its worker has gone on without it."""
    world, away = World(ticks(0, 0, 60, 3)), Away()
    worker = world.worker(slots=64, store_fuse=away)
    drain(worker, world)

    away.error = StoreError("it has maxmemory-policy allkeys-lru")
    caplog.set_level(logging.WARNING)
    run_turns(worker, 60)
    restarted = world.worker(slots=64, store_fuse=away)
    drain(restarted, world)

    assert "allkeys-lru" in caplog.text
    assert recoveries(worker) == recoveries(restarted) == {}
