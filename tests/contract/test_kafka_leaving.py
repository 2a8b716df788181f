"""A static member that stops: its place is kept for it, or given away at once if that is wanted."""

from __future__ import annotations

import pytest

from slotcast.log.kafka.log import KafkaLog
from tests.contract.kafka_logs import CLIENTS, fresh_settings, until_owned
from tests.servers import Broker

LONG_MS = 60_000
"""Longer than the test waits: nobody leaves because its session is over."""


def members(log: KafkaLog) -> int:
    return len(log._takeover.members())


def stopped(kafka: Broker, client: str, *, leave: bool) -> KafkaLog:
    """The other worker of a group, right after one has stopped."""
    times = {"session_timeout_ms": LONG_MS, "max_poll_interval_ms": LONG_MS}
    settings = fresh_settings(kafka, client=client, leave_on_stop=leave, **times)
    first = KafkaLog(settings.model_copy(update={"instance_id": "worker-0"}))
    until_owned(first, {0, 1})
    second = KafkaLog(settings.model_copy(update={"instance_id": "worker-1"}))
    while members(second) < 2:
        first.poll(100, 1)
        second.poll(100, 1)
    first.close()
    return second


@pytest.mark.parametrize("client", CLIENTS)
def test_a_static_member_that_leaves_gives_its_partitions_away_at_once(
    kafka: Broker, client: str
) -> None:
    second = stopped(kafka, client, leave=True)

    until_owned(second, {0, 1})

    assert members(second) == 1
    second.close()


@pytest.mark.parametrize("client", CLIENTS)
def test_a_static_member_that_stops_keeps_its_place(kafka: Broker, client: str) -> None:
    second = stopped(kafka, client, leave=False)

    assert members(second) == 2
    second.close()
