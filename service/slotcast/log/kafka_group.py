"""Membership in the consumer group: what was gained and lost since it was last asked.

The callbacks run on the client's own thread, where blocking calls raise. They note, and park the
partition: paused, at a position of our own, so that nothing is fetched before `go`.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from threading import Lock
from typing import Any, NamedTuple

from kafka import ConsumerRebalanceListener, KafkaConsumer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from slotcast.log.kafka_client import connection, kafka_errors
from slotcast.log.kafka_takeover import client_id
from slotcast.settings import KafkaSettings

HEARTBEAT_MS = 300
METADATA_TIMEOUT_S = 10.0
METADATA_PAUSE_S = 0.1


class Change(NamedTuple):
    """Partition numbers gained and lost; one in both was lost first."""

    gained: set[int]
    lost: set[int]


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]  # an untyped class
    """Notes rebalances of one consumer and keeps the set of owned partitions."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._lock = Lock()
        self._owned: set[int] = set()
        self._change = Change(set(), set())
        self._member = ""

    def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
        """Park and note."""
        for tp in assigned:
            self._consumer.pause(tp)
            self._consumer.seek(tp, 0)
        self._note_gained({tp.partition for tp in assigned})

    def on_partitions_revoked(self, revoked: Collection[Any]) -> None:
        """Note."""
        self._note_lost({tp.partition for tp in revoked})

    def on_partitions_lost(self, lost: Collection[Any]) -> None:
        """Note."""
        self._note_lost({tp.partition for tp in lost})

    def owned(self) -> set[int]:
        """The partitions that are ours, as far as we know."""
        with self._lock:
            return set(self._owned)

    def lost_since(self) -> set[int]:
        """The partitions lost since `take`, without taking note."""
        with self._lock:
            return set(self._change.lost)

    def take(self) -> Change:
        """What changed since the last call.

        A new member id means that the group went on without us: whatever we still hold may have
        had another owner meanwhile, although no callback said so.
        """
        member = self._consumer.group_metadata().member_id
        if self._member and member and member != self._member:
            held = self.owned()
            self._note_lost(held)
            self._note_gained(held)
        self._member = member or self._member
        with self._lock:
            change, self._change = self._change, Change(set(), set())
        return change

    def _note_gained(self, partitions: set[int]) -> None:
        with self._lock:
            self._owned |= partitions
            self._change.gained.update(partitions)

    def _note_lost(self, partitions: set[int]) -> None:
        with self._lock:
            self._owned -= partitions
            # One that nobody has heard of yet was never gained.
            self._change.lost.update(partitions - self._change.gained)
            self._change.gained.difference_update(partitions)


def join(settings: KafkaSettings, worker: str) -> tuple[Any, Membership]:
    """A consumer of the tick topic that is on its way into the group, and its membership."""
    with kafka_errors(f"join group {settings.group}", settings):
        consumer = KafkaConsumer(
            **connection(settings) | {"client_id": client_id(worker)},
            group_id=settings.group,
            group_instance_id=settings.instance_id,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=min(HEARTBEAT_MS, settings.session_timeout_ms // 3),
            max_poll_interval_ms=settings.max_poll_interval_ms,
            partition_assignment_strategy=[CooperativeStickyAssignor],
            # Only then does the client ask for stable offsets.
            isolation_level="read_committed",
            auto_offset_reset="none",
            enable_auto_commit=False,
            # A resumed partition waits for the fetch that is under way.
            fetch_max_wait_ms=100,
            retry_backoff_ms=50,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )
        membership = Membership(consumer)
        consumer.subscribe([settings.ticks], listener=membership)
        _await_partitions(consumer, settings.ticks)
    return consumer, membership


def _await_partitions(consumer: Any, topic: str) -> None:
    """Wait until the client knows the topic.

    A leader that does not yet, of a topic just made, gives its group no partitions, and leaves it
    at that.
    """
    deadline = time.monotonic() + METADATA_TIMEOUT_S
    while not consumer.partitions_for_topic(topic) and time.monotonic() < deadline:
        time.sleep(METADATA_PAUSE_S)
