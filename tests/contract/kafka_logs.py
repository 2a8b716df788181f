"""Logs of one test on a broker, and what tests of Kafka clients ask of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from slotcast.log.kafka.log import KafkaLog
from slotcast.log.port import Batch, Committed, Forecasts, LogError, Outbox
from slotcast.settings import KafkaSettings
from tests.servers import PATIENCE_S, Broker

CLIENTS = ["kafka-python", "librdkafka"]


def fresh_settings(broker: Broker, **changes: Any) -> KafkaSettings:
    ticks = broker.fresh_topic(2)
    names = {"forecasts": f"forecasts-{ticks}", "dead_letters": f"dead-letters-{ticks}"}
    return KafkaSettings(
        **{"bootstrap_servers": broker.bootstrap, "group": f"group-{ticks}", "ticks": ticks}
        | names
        | changes
    )


def owned(log: KafkaLog) -> set[int]:
    return log._member.membership.owned()


def until_owned(log: KafkaLog, wanted: set[int], timeout_ms: int = 200) -> tuple[set[int], int]:
    """Poll until exactly these partitions are owned; returns what was lost, and how many polls."""
    lost: set[int] = set()
    polls = 0
    deadline = time.monotonic() + PATIENCE_S
    while owned(log) != wanted or polls == 0:
        assert time.monotonic() < deadline, f"owns {owned(log)}, not {wanted}"
        lost |= set(log.poll(timeout_ms, 100).lost)
        polls += 1
    return lost, polls


def until(condition: Any, *logs: KafkaLog) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        poll_together(logs, 100)
        if not logs:
            time.sleep(0.02)


def poll_together(logs: Sequence[KafkaLog], timeout_ms: int) -> None:
    """Poll all at the same time, as workers do.

    One after the other, kafka-python's members would each begin to join anew, again and again:
    the answer to a join comes while it is another one's turn.
    """
    with ThreadPoolExecutor(max(1, len(logs))) as threads:
        for _ in threads.map(lambda log: log.poll(timeout_ms, 100), logs):
            pass


def batches(log: KafkaLog, count: int) -> list[Batch]:
    """The next so many records, as they come."""
    found: list[Batch] = []
    deadline = time.monotonic() + PATIENCE_S
    while sum(map(len, found)) < count:
        assert time.monotonic() < deadline, f"only {found} came"
        found += log.poll(200, 100).batches
    return found


def values(log: KafkaLog, count: int) -> list[bytes | None]:
    return [value for batch in batches(log, count) for value in batch.values]


def outbox(values: list[bytes], offset: int) -> Outbox:
    count = len(values)
    column = Forecasts(0, range(count), [1_000] * count, [b"k"] * count, values)
    return Outbox([column], offsets={0: Committed(offset, "m")})


def publish_at_last(log: KafkaLog, outbox: Outbox) -> None:
    """Publish, as often as it takes: what was under way may still be in the way."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            log.publish(outbox)
            return
        except LogError:
            if time.monotonic() > deadline:
                raise
        log.poll(100, 100)
