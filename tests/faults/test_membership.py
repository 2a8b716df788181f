"""Members of the group that should not be there, or that do not stay."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from kafka import KafkaConsumer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from slotcast.settings import KafkaSettings
from tests.faults.group import Group, gained
from tests.faults.report import Fault

ROUNDS = 8


@pytest.mark.both
@pytest.mark.fault("two workers with one instance id")
def test_of_two_workers_with_one_instance_id_one_goes_and_stays_away(
    group: Callable[..., Group], fault: Fault
) -> None:
    workers = group(partitions=2)
    older = workers.join("worker-0")
    workers.feed()
    workers.flow_for(0.5)
    begun_s = time.monotonic()
    newer = workers.join("worker-0")
    fault.injected()

    code = workers.until_dead(older)
    workers.until_live(newer, {0, 1})
    fault.takeover_s = workers.outage_s(begun_s)
    given = gained(newer)
    workers.flow_for(2)

    assert code == 1
    assert "give every worker its own" in older.log_tail().replace("\n", " ")
    assert gained(newer) == given
    workers.check()


@pytest.mark.long
@pytest.mark.fault("rebalance storm")
def test_a_rebalance_storm_does_not_show(group: Callable[..., Group], fault: Fault) -> None:
    """Members that take partitions, do nothing with them and go away again."""
    workers = group(session_timeout_ms=4_000)
    pair = [workers.join("worker-0"), workers.join("worker-1")]
    workers.feed()
    workers.flow_for(0.5)
    before = sum(map(gained, pair))
    begun_s = time.monotonic()

    for round_ in range(ROUNDS):
        pass_through(pair[0].kafka, 0.2 * (round_ % 4))
        fault.injected()
    fault.takeover_s = workers.outage_s(begun_s)

    fault.note = f"{sum(map(gained, pair)) - before:.0f} partitions were given back"
    assert sum(map(gained, pair)) > before
    workers.check()


def pass_through(settings: KafkaSettings, stay_s: float) -> None:
    """A member that takes what it gets, stays a little and leaves."""
    consumer = KafkaConsumer(
        settings.ticks,
        bootstrap_servers=settings.bootstrap_servers,
        group_id=settings.group,
        partition_assignment_strategy=[CooperativeStickyAssignor],
        enable_auto_commit=False,
        max_poll_records=1,
    )
    deadline = time.monotonic() + 5
    while not consumer.assignment() and time.monotonic() < deadline:
        consumer.poll(200)
    time.sleep(stay_s)
    consumer.close(autocommit=False)
