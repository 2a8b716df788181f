"""kill -9 at every numbered point of the commit cycle, of recovery and of a snapshot.

The numbers are those of docs/recovery.md; `slotcast.failpoints` kills the process there.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.faults.group import Group
from tests.faults.report import Fault

NO_SNAPSHOT = {"SLOTCAST_STORE__SNAPSHOT_INTERVAL_S": "600"}


def long(*points: str) -> list[object]:
    return [pytest.param(point, marks=pytest.mark.long) for point in points]


@pytest.mark.parametrize("point", [*long("begin", "after-send", "after-offsets"), "after-commit"])
@pytest.mark.fault("killed in the commit cycle: {point}")
def test_a_kill_in_the_commit_cycle_does_not_show(
    group: Callable[..., Group], fault: Fault, point: str
) -> None:
    workers = group(partitions=2)
    worker = workers.join(SLOTCAST_FAILPOINT=f"{point}:30")
    workers.feed()

    for count in (1, 7):
        workers.until_killed(worker)
        worker.start(SLOTCAST_FAILPOINT=f"{point}:{count}")
    workers.until_killed(worker)
    died_s = time.monotonic()
    worker.start()
    workers.flow_for(0.5)

    fault.takeover_s = workers.went_on_s(died_s)
    workers.check()


@pytest.mark.parametrize("point", long("after-send", "after-commit"))
@pytest.mark.fault("killed in the commit cycle, at least once: {point}")
def test_at_least_once_a_kill_repeats_the_same_bytes_and_nothing_else(
    group: Callable[..., Group], fault: Fault, point: str
) -> None:
    workers = group(partitions=2, delivery="at-least-once")
    worker = workers.join(SLOTCAST_FAILPOINT=f"{point}:30")
    workers.feed()

    workers.until_killed(worker)
    worker.start(SLOTCAST_FAILPOINT=f"{point}:7")
    workers.until_killed(worker)
    worker.start()
    workers.flow_for(0.5)

    workers.check()
    assert (fault.repeats > 0) == (point == "after-send")


@pytest.mark.parametrize(
    "point",
    [
        *long("recovery-asked", "recovery-claimed", "recovery-indexed"),
        "recovery-replaying",
        *long("recovery-replayed", "recovery-committed", "recovery-live"),
    ],
)
@pytest.mark.fault("killed in recovery: {point}")
def test_a_kill_in_recovery_does_not_show(
    group: Callable[..., Group], fault: Fault, point: str
) -> None:
    """Without a snapshot and everything to replay, then with one and some ticks after it."""
    workers = group(partitions=2)
    worker = workers.join_and_flow(**NO_SNAPSHOT)
    worker.kill()

    worker.start(SLOTCAST_FAILPOINT=f"{point}:1", **NO_SNAPSHOT)
    workers.until_killed(worker)
    for life in ({}, NO_SNAPSHOT):
        worker.start(**life)
        workers.flow_for(0.5)
        worker.kill()
    died_s = time.monotonic()
    worker.start(SLOTCAST_FAILPOINT=f"{point}:2")
    workers.until_killed(worker)
    worker.start()
    workers.flow_for(0.5)

    fault.takeover_s = workers.went_on_s(died_s)
    workers.check()


@pytest.mark.long
@pytest.mark.fault("killed in the first start: the origin is committed")
def test_a_kill_before_the_first_tick_does_not_show(
    group: Callable[..., Group], fault: Fault
) -> None:
    workers = group(partitions=2)
    worker = workers.join(SLOTCAST_FAILPOINT="origin-committed:1")
    workers.until_killed(worker)
    worker.start()
    workers.feed()
    workers.flow_for(0.5)

    workers.check()


@pytest.mark.parametrize(
    "point",
    [
        *long("snapshot-begun", "snapshot-rows", "before-watermark"),
        "after-watermark",
    ],
)
@pytest.mark.fault("killed in a snapshot: {point}")
def test_a_kill_in_a_snapshot_does_not_show(
    group: Callable[..., Group], fault: Fault, point: str
) -> None:
    workers = group(partitions=2)
    worker = workers.join(SLOTCAST_FAILPOINT=f"{point}:8")
    workers.feed()

    workers.until_killed(worker)
    worker.start(SLOTCAST_FAILPOINT=f"{point}:3")
    workers.until_killed(worker)
    died_s = time.monotonic()
    worker.start()
    workers.flow_for(0.5)

    fault.takeover_s = workers.went_on_s(died_s)
    workers.check()
