"""What the policy decides about one partition is seen: in log, metrics, summary and readiness."""

from __future__ import annotations

import logging

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from slotcast.board.readings import ServiceReadings
from slotcast.board.views import Readiness
from slotcast.homes import Homes
from slotcast.log.memory.log import MemoryLog
from slotcast.log.port import Committed
from slotcast.partition import CommitNote
from slotcast.store.memory import MemoryStore
from slotcast.worker import Worker
from tests.simulation.world import World, drain, write_event


def tick(partition: int, i: int) -> tuple:
    return ("tick", partition, f"I{i % 3}", 1_000 * i, 10.0 + i % 7, 1, i)


@pytest.fixture
def damaged() -> World:
    """Two partitions with 30 ticks committed; of the first the log begins at 20, without rows."""
    world = World([tick(p, i) for i in range(30) for p in (0, 1)], 2)
    world.run()
    world.store._partitions.clear()
    world.broker.trim(0, 20)
    for partition in (0, 1):
        for i in range(30, 40):
            write_event(world.broker, tick(partition, i))
    return world


def readings(worker: Worker) -> ServiceReadings:
    return ServiceReadings(worker, Homes(worker, MemoryStore()), 1_000)


def turned(world: World, turns: int = 60, **options: str) -> Worker:
    worker = world.worker(**options)
    for _ in range(turns):
        worker.turn()
    return worker


def decisions(worker: Worker) -> dict[tuple[str, str], float]:
    """(policy, cause) -> how often, where it ever was."""
    registry: CollectorRegistry = worker.parts.metrics.registry
    return {
        (sample.labels["policy"], sample.labels["cause"]): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "slotcast_recovery_decisions_total" and sample.value
    }


def phases(worker: Worker) -> dict[str, float]:
    value = worker.parts.metrics.registry.get_sample_value
    return {
        phase: value("slotcast_partitions", {"phase": phase}) or 0.0
        for phase in ("recovering", "live", "stopped")
    }


def test_a_partition_that_stops_leaves_the_others_at_work(damaged: World) -> None:
    committed = damaged.broker.offsets[0]

    worker = turned(damaged)

    assert [f.offset for f in damaged.broker.forecasts[1]] == list(range(40))
    assert [f.offset for f in damaged.broker.forecasts[0]] == list(range(30))
    assert damaged.broker.offsets[0] == committed
    assert worker.failure is None
    assert phases(worker) == {"recovering": 0, "live": 1, "stopped": 1}


def test_a_worker_with_a_stopped_partition_is_not_ready_and_says_what_to_do(
    damaged: World, caplog: pytest.LogCaptureFixture
) -> None:
    worker = turned(damaged)

    ready = readings(worker).readiness()
    (reason,) = ready.reasons
    assert not ready.ready
    assert "partition 0: replay must begin at 0, but the log begins at 20" in reason
    assert "set worker.on_damage = cold or warm-up" in reason
    assert readings(worker).stopped() == [reason]
    assert decisions(worker) == {("fail", "retention"): 1}
    (told,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert told.getMessage() == reason
    view = next(v for v in readings(worker).summary().partitions if v.partition == 0)
    assert (view.phase, view.damage) == ("stopped", reason)


@pytest.mark.parametrize("policy", ["cold", "warm-up"])
def test_a_memory_that_began_anew_is_ready_with_a_note(damaged: World, policy: str) -> None:
    worker = turned(damaged, on_damage=policy)

    ready = readings(worker).readiness()
    (note,) = ready.notes
    assert ready.ready
    assert note.startswith("partition 0 has another memory than before: replay must begin at 0")
    assert f"{policy} start at" in note
    assert decisions(worker) == {(policy, "retention"): 1}
    assert phases(worker) == {"recovering": 0, "live": 2, "stopped": 0}


def test_a_stopped_partition_can_go_to_another_worker(damaged: World) -> None:
    worker = turned(damaged)
    heir = damaged.worker(takes_all=False, on_damage="cold")
    log = heir.parts.log
    assert isinstance(log, MemoryLog)

    damaged.broker.assign(log, 0)
    for _ in range(60):
        worker.turn()
        heir.turn()

    assert readings(worker).readiness().ready
    assert [f.offset for f in damaged.broker.forecasts[0]] == list(range(40))


def test_what_was_shown_of_an_earlier_memory_is_not_shown_any_more(damaged: World) -> None:
    worker = turned(damaged, on_damage="cold")
    assert len(readings(worker).instruments().instruments) == 6
    damaged.store._partitions.clear()
    damaged.broker.trim(0, 40)

    worker.recoveries.begin(0, "CommitFailed")
    drain(worker, damaged)

    shown = readings(worker).instruments().instruments
    assert [view.partition for view in shown] == [1, 1, 1]


def test_another_fingerprint_is_decided_on_too() -> None:
    world = World([tick(0, i) for i in range(30)])
    world.run()
    note = CommitNote.read(world.broker.offsets[0].metadata)
    assert note is not None
    world.broker.offsets[0] = Committed(30, msgspec.structs.replace(note, fingerprint=7).text())

    stopped, went_on = turned(world), turned(world, on_damage="cold")

    assert decisions(stopped) == {("replay", "fingerprint"): 1, ("fail", "fingerprint"): 1}
    (reason,) = readings(stopped).readiness().reasons
    assert "committed is 0000000000000007" in reason
    assert decisions(went_on) == {("replay", "fingerprint"): 1, ("cold", "fingerprint"): 1}
    assert "going on with the memory that the replay made" in readings(went_on).readiness().notes[0]


def test_a_snapshot_that_is_refused_is_counted_and_exactly_replayed() -> None:
    world = World([tick(0, i) for i in range(30)])
    first = world.run()
    first.stop()
    first.run()
    world.store._partitions[0].header = b"damaged"

    worker = turned(world)

    assert decisions(worker) == {("replay", "snapshot"): 1}
    assert readings(worker).readiness() == Readiness(ready=True)
