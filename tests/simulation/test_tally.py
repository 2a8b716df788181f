"""What a worker tells of itself: metrics that add up, of what it holds, and of nothing else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from slotcast.log.port import CommitFailed
from slotcast.metrics import BulkHistogram
from slotcast.store.memory import MemoryStore
from slotcast.store.port import StoreUnavailable
from slotcast.worker import Worker
from slotcast_models.memory import SCORED
from tests.formats import written
from tests.simulation.world import SCHEMA, START_MS, World, drain, write_event


def tick(i: int, partition: int = 0, names: int = 3) -> tuple[Any, ...]:
    return ("tick", partition, f"I{i % names}", 1_000 * i, 10.0 + (i * 7) % 11, 1, i)


def value(worker: Worker, name: str, **labels: str) -> float | None:
    """A sample as it is scraped; None if there is none."""
    return worker.parts.metrics.registry.get_sample_value(f"slotcast_{name}", labels)


def test_the_parts_of_the_time_from_tick_to_forecast_add_up_to_it() -> None:
    worker = World([tick(i) for i in range(40)]).run()

    parts = [
        value(worker, "tick_to_forecast_part_seconds_sum", part=part)
        for part in ("queue", "step", "commit")
    ]
    counts = [
        value(worker, "tick_to_forecast_part_seconds_count", part=part)
        for part in ("queue", "step", "commit")
    ]

    assert sum(parts) == pytest.approx(value(worker, "tick_to_forecast_seconds_sum"))
    assert counts == [40, 40, 40]
    assert all(part > 0 for part in parts)


def test_scores_are_those_that_memory_keeps() -> None:
    world = World([tick(i) for i in range(120)])
    worker = world.worker(max_poll_ticks=3)  # one tick of each instrument
    drain(worker, world)
    engine = worker.parts.engine
    slots = engine.residents(0)
    covered = engine.memory.covered[slots].sum(axis=(0, 1))

    assert value(worker, "scored_forecasts_total") == engine.memory.counts[slots, SCORED].sum()
    for level, inside in zip(worker.parts.board.levels, covered.tolist(), strict=True):
        assert value(worker, "covered_forecasts_total", level=f"{level:g}") == inside


def test_a_second_worker_counts_only_what_it_scored_itself() -> None:
    world = World([tick(i) for i in range(60)])
    world.run()
    for i in range(60, 75):
        write_event(world.broker, tick(i))

    worker = world.run(max_poll_ticks=3)

    assert value(worker, "scored_forecasts_total") == 15


def test_the_mean_scaled_change_of_persistence_is_one() -> None:
    """By its definition, where changes are all alike."""
    prices = [("tick", 0, "A", 1_000 * i, 10.0 + i % 2, 1, i) for i in range(50)]
    world = World(prices)
    worker = world.worker(max_poll_ticks=1)
    drain(worker, world)

    count = value(worker, "scaled_error_count", of="persistence")
    assert count
    assert value(worker, "scaled_error_sum", of="persistence") == pytest.approx(count)
    assert value(worker, "scaled_error_count", of="forecast") == count


def test_instruments_that_never_change_have_no_scale() -> None:
    world = World([("tick", 0, "A", 1_000 * i, 10.0, 1, i) for i in range(10)])
    worker = world.worker(max_poll_ticks=1)
    drain(worker, world)

    assert value(worker, "scaled_error_count", of="forecast") == 0
    assert value(worker, "scored_forecasts_total") == 9


def test_quality_is_unknown_before_an_instrument_has_settled() -> None:
    young = World([tick(i) for i in range(12)]).run()
    old = World([tick(i) for i in range(450)]).run(max_poll_ticks=50)
    for worker in (young, old):
        worker.tally.look(worker.partitions)

    assert math.isnan(value(young, "skill"))
    assert math.isnan(value(young, "relative_error", percentile="50"))
    assert value(old, "skill") == pytest.approx(
        1 - value(old, "relative_error", percentile="50") ** 2
    )
    assert value(old, "memory_age_ticks", percentile="50") == 150


class Refusing:
    """The first publish of ticks fails."""

    def __init__(self) -> None:
        self.refused = 0

    def __call__(self, call: Any, *args: Any) -> Any:
        if call.__name__ == "publish" and args[0].forecasts and not self.refused:
            self.refused += 1
            raise CommitFailed("not now")
        return call(*args)


def test_an_abort_and_the_recovery_after_it_are_counted_by_their_cause() -> None:
    worker = World([tick(i) for i in range(10)]).run(
        fuse=Refusing(), store_fuse=lambda c, *a: c(*a)
    )

    assert value(worker, "aborts_total", cause="CommitFailed") == 1
    assert value(worker, "recovery_seconds_count", cause="CommitFailed") == 1
    assert value(worker, "recovery_seconds_count", cause="gained") == 1
    assert value(worker, "recovery_seconds_sum", cause="gained") > 0


def test_a_recovery_that_begins_again_is_one_and_counts_from_its_first_cause() -> None:
    class Lost:
        calls = 0

        def __call__(self, call: Any, *args: Any) -> Any:
            if call.__name__ == "committed":
                Lost.calls += 1
                if Lost.calls <= 3:
                    raise CommitFailed("gone")
            return call(*args)

    worker = World([tick(i) for i in range(5)]).run(fuse=Lost(), store_fuse=lambda c, *a: c(*a))

    assert value(worker, "recoveries_total", cause="CommitFailed") == 3
    assert value(worker, "recovery_seconds_count", cause="CommitFailed") == 0
    assert value(worker, "recovery_seconds_count", cause="gained") == 1


def test_snapshots_are_counted_with_the_seconds_they_took() -> None:
    worker = World([tick(i) for i in range(60)]).run(snapshot_interval_s=0.1)

    assert value(worker, "snapshot_seconds_count") > 0
    assert value(worker, "snapshot_seconds_sum") > 0


def test_a_lost_partition_takes_its_series_along() -> None:
    world = World([tick(i, partition) for i in range(10) for partition in (0, 1)], 2)
    worker = world.run()
    worker.tally.look(worker.partitions)
    gauges = ("lag_ticks", "lag_seconds", "snapshot_age_seconds")
    before = [value(worker, name, partition="1") for name in gauges]

    world.broker.assign(None, 1)
    worker.turn()
    worker.tally.look(worker.partitions)

    assert None not in before
    assert [value(worker, name, partition="1") for name in gauges] == [None] * 3
    assert value(worker, "lag_ticks", partition="0") == 0


def test_lag_in_seconds_is_the_age_of_the_last_record_stepped_while_more_wait() -> None:
    world = World([tick(i) for i in range(30)])
    worker = world.worker(max_poll_ticks=7)
    while not worker.parts.engine.slots.used:
        worker.turn()
    worker.tally.look(worker.partitions)
    behind = value(worker, "lag_seconds", partition="0")
    age = worker.parts.wall_ms() / 1e3 - worker.partitions[0].stepped_ms / 1e3

    drain(worker, world)
    worker.tally.look(worker.partitions)

    assert behind == pytest.approx(age, abs=60)
    assert behind > 0
    assert value(worker, "lag_seconds", partition="0") == 0


def test_ticks_that_do_not_say_when_they_were_sent_have_no_age() -> None:
    world = World([tick(i) for i in range(5)])
    for i in range(5, 12):
        record = {"instrument": "I0", "ts": START_MS + 1_000 * i, "price": 10.0, "seq": i}
        world.broker.feed(0, b"I0", written(SCHEMA, record), -1)
    worker = world.worker(max_poll_ticks=6)
    while not worker.parts.engine.slots.used:
        worker.turn()
    worker.tally.look(worker.partitions)
    behind = value(worker, "lag_seconds", partition="0")
    drain(worker, world)

    assert value(worker, "tick_to_forecast_seconds_count") == 5
    for part in ("queue", "step", "commit"):
        assert value(worker, "tick_to_forecast_part_seconds_count", part=part) == 5
    assert behind is not None
    assert math.isnan(behind)


def test_the_store_is_up_until_a_call_is_not_answered() -> None:
    class Away:
        is_away = False

        def __call__(self, call: Any, *args: Any) -> Any:
            if self.is_away:
                raise StoreUnavailable("no answer")
            return call(*args)

    world, away = World([tick(i) for i in range(20)]), Away()
    worker = world.worker(store_fuse=away, snapshot_interval_s=0.01)
    drain(worker, world)
    up = value(worker, "store_up")
    away.is_away = True
    for i in range(20, 40):
        write_event(world.broker, tick(i))
    drain(worker, world)

    assert up == 1
    assert value(worker, "store_up") == 0
    assert value(worker, "store_failures_total") > 0


def test_a_write_that_another_owner_keeps_from_us_is_a_fence() -> None:
    world = World([tick(i) for i in range(20)])
    worker = world.worker(snapshot_interval_s=0.01)
    drain(worker, world)
    MemoryStore(world.store).claim(0, "somebody else")
    for i in range(20, 60):
        write_event(world.broker, tick(i))

    drain(worker, world)

    assert value(worker, "fences_total") == 1
    assert value(worker, "recoveries_total", cause="StoreFenced") == 1


def test_bulk_observations_are_those_of_one_by_one() -> None:
    bulk, single = CollectorRegistry(), CollectorRegistry()
    values, times = np.array([0.5, 1.0, 1.5, 9.0]), np.array([2, 1, 3, 1])
    BulkHistogram("a", "A.", (1.0, 2.0), bulk).observe(values, times=times)
    one = BulkHistogram("a", "A.", (1.0, 2.0), single)
    for each in np.repeat(values, times):
        one.observe(np.array([each]))

    for name, bound in (("a_bucket", "1.0"), ("a_bucket", "2.0"), ("a_bucket", "+Inf")):
        found = bulk.get_sample_value(name, {"le": bound})
        assert found == single.get_sample_value(name, {"le": bound})
    assert bulk.get_sample_value("a_sum") == single.get_sample_value("a_sum") == 15.5
