"""A partition whose offset is not settled yet holds nobody up, and is asked about again."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from slotcast.board.readings import ServiceReadings
from slotcast.bootstrap import build_worker
from slotcast.homes import Homes
from slotcast.log.memory.log import MemoryLog
from slotcast.log.port import CommitFailed, Committed, LogUnavailable, NotYet, Outbox
from slotcast.metrics import Metrics
from slotcast.settings import Settings, StoreSettings, WorkerSettings
from slotcast.store.memory import MemoryStore
from slotcast.worker import WAITING_POLL_MS, Worker
from tests.simulation.scripts import random_events
from tests.simulation.world import SCHEMA, World, drain


class Unsettled(MemoryLog):
    """A log that does not tell the offset of partition 0, or lets nobody claim it, for a while."""

    def __init__(self, world: World) -> None:
        super().__init__(world.partitions, world.broker)
        self.unstable, self.rebalancing = True, False
        self.timeouts_ms: list[int] = []

    def poll(self, timeout_ms: int, max_ticks: int) -> Any:
        self.timeouts_ms.append(timeout_ms)
        return super().poll(timeout_ms, max_ticks)

    def committed(self, partition: int) -> Committed | None:
        if partition == 0 and self.unstable:
            raise NotYet("an open transaction may still move it")
        return super().committed(partition)

    def publish(self, outbox: Outbox) -> None:
        if 0 in outbox.offsets and self.rebalancing:
            raise NotYet("the group is rebalancing")
        super().publish(outbox)


def worker_on(log: Unsettled, world: World) -> Worker:
    settings = Settings(
        schema=SCHEMA,
        store=StoreSettings(patience_s=0.0),
        worker=WorkerSettings(slots=8, max_poll_ticks=7),
    )
    return build_worker(settings, log, MemoryStore(world.store), Metrics(), world.clock)


def test_a_partition_that_waits_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    events = random_events(3, 150, partitions=2)
    expected = World(events, 2)
    expected.run()
    world = World(events, 2)
    world.broker.assign(None, 0, 1)
    log = Unsettled(world)
    worker = worker_on(log, world)

    with caplog.at_level(logging.WARNING):
        for _ in range(60):
            worker.turn()
    assert world.broker.forecasts[1] == expected.broker.forecasts[1]
    assert not world.broker.forecasts[0]
    assert log.timeouts_ms[-1] == WAITING_POLL_MS
    assert "partition 0 has waited" in caplog.text
    assert progress(worker) == 0.0
    assert reasons(worker) == ["partition 0 is recovering, its replay has not begun"]

    log.unstable, log.rebalancing = False, True
    for _ in range(10):
        worker.turn()
    assert worker.partitions[0].phase.value == "recovering"

    log.rebalancing = False
    drain(worker, world)
    assert world.published == expected.published


def progress(worker: Worker) -> float:
    """Share of the replay of partition 0 that is done, as `/summary` tells it."""
    worker.tally.look(worker.partitions)
    return next(view for view in worker.views if view.partition == 0).replay_done


def reasons(worker: Worker) -> list[str]:
    """Why it is not ready."""
    readings = ServiceReadings(worker, Homes(worker, MemoryStore()), lag_ready_ticks=1_000)
    return list(readings.readiness().reasons)


def test_a_second_recovery_has_not_begun_before_its_replay() -> None:
    events = random_events(3, 150, partitions=2)
    world = World(events, 2)
    world.broker.assign(None, 0, 1)
    log = Unsettled(world)
    log.unstable = False
    worker = worker_on(log, world)
    drain(worker, world)
    worker.recoveries.begin(0, "LogUnavailable")
    drain(worker, world)
    before = progress(worker)

    log.unstable = True
    worker.recoveries.begin(0, "LogUnavailable")
    begun = progress(worker)
    for _ in range(60):
        worker.turn()

    assert (before, begun, progress(worker)) == (1.0, 0.0, 0.0)
    log.unstable = False
    drain(worker, world)
    assert progress(worker) == 1.0


class Away:
    """Calls of the log with numbers in this range get no answer, before or after they took effect.

    A poll without an answer is an empty one, and a publish is a failed one, in every adapter.
    """

    def __init__(self, first: int, length: int, *, after: bool) -> None:
        self.span, self.after, self.calls = range(first, first + length), after, 0

    def __call__(self, call: Any, *args: Any) -> Any:
        if call.__name__ not in ("committed", "bounds", "read", "publish", "go"):
            return call(*args)
        self.calls += 1
        if self.calls not in self.span:
            return call(*args)
        if self.after:
            call(*args)
        if call.__name__ == "publish":
            raise CommitFailed("no answer")
        raise LogUnavailable("no answer")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("length", [1, 5])
def test_a_log_that_does_not_answer_is_asked_again(length: int, after: bool) -> None:
    events = random_events(5, 60, partitions=2)
    expected = World(events, 2)
    expected.run(max_poll_ticks=9)

    for first in range(1, 40):
        world = World(events, 2)
        world.run(max_poll_ticks=9, fuse=Away(first, length, after=after))

        assert world.published == expected.published, f"no answer from call {first} on"
