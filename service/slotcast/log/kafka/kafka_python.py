"""The driver for kafka-python: membership and producers. `reader.py` reads with it.

Callbacks run on the client's own thread, where blocking calls raise: they note, and park the
partition, paused at a position of our own, so that nothing is fetched before `resume`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    IllegalStateError,
    KafkaError,
    KafkaTimeoutError,
    NoOffsetForPartitionError,
    RetriableError,
)
from kafka.structs import MemberState, OffsetAndMetadata

from slotcast.log.kafka.client import (
    ANSWER_TIMEOUT_MS,
    HEARTBEAT_MS,
    client_id,
    connection,
    kafka_errors,
    started,
)
from slotcast.log.kafka.driver import Headers, Standing
from slotcast.log.kafka.group import Membership
from slotcast.log.kafka.reader import Reader
from slotcast.log.kafka.records import batch_of
from slotcast.log.port import Batch, Committed, Receipt
from slotcast.settings import KafkaSettings

JOIN_POLL_MS = 200
"""A shorter poll gives up before it has found its coordinator, every time."""
OUTSIDE_PAUSE_S = 0.05
METADATA_TIMEOUT_S = 10.0
METADATA_PAUSE_S = 0.1
LINGER_MS = 20
"""A publish flushes; until then, wait for batches to fill."""
BATCH_BYTES = 262_144
FORCED_CLOSE_S = 1.0
RETRY_MS = 2
"""The broker still closes our last transaction when the next begins: 10 ms here doubles latency."""

logger = logging.getLogger(__name__)


def join(settings: KafkaSettings, worker: str) -> PythonMember:
    """A member that is on its way into the group."""
    return PythonMember(settings, worker)


def open_producer(settings: KafkaSettings, transactional_id: str | None = None) -> PythonProducer:
    """A producer; with an id, `init_transactions` comes first."""
    return PythonProducer(settings, LINGER_MS, transactional_id)


def open_sender(settings: KafkaSettings) -> PythonProducer:
    """A producer of single records."""
    return PythonProducer(settings, 0)


open_reader = Reader


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # an untyped class
    """Parks what it is given, and tells the membership."""

    def __init__(self, consumer: Any, membership: Membership) -> None:
        self._consumer, self._membership = consumer, membership

    def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
        """Park and note."""
        for tp in assigned:
            self._consumer.pause(tp)
            self._consumer.seek(tp, 0)
        self._membership.note_gained({tp.partition for tp in assigned})

    def on_partitions_revoked(self, revoked: Collection[Any]) -> None:
        """Note."""
        self._membership.note_lost({tp.partition for tp in revoked})

    def on_partitions_lost(self, lost: Collection[Any]) -> None:
        """Note."""
        self._membership.note_lost({tp.partition for tp in lost})


class PythonMember:
    """A `KafkaConsumer` in the group."""

    def __init__(self, settings: KafkaSettings, worker: str) -> None:
        self._settings = settings
        self.membership, self.client = Membership(), client_id(worker)
        with kafka_errors(f"join group {settings.group}", settings):
            self._consumer = started(
                KafkaConsumer,
                **connection(settings) | {"client_id": self.client},
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
            listener = Listener(self._consumer, self.membership)
            self._consumer.subscribe([settings.ticks], listener=listener)
            try:
                self._await_partitions()
            except KafkaError:
                self.close()
                raise

    def poll(self, timeout_ms: int, max_ticks: int) -> Sequence[Batch]:
        """Records; an answer at once without any would mean that there is no coordinator."""
        if self._consumer.group_metadata().state is not MemberState.STABLE:
            timeout_ms = max(timeout_ms, JOIN_POLL_MS)
        begun = time.monotonic()
        found = self._fetch(timeout_ms, max_ticks)
        if not found and time.monotonic() - begun < OUTSIDE_PAUSE_S < timeout_ms / 1e3:
            # Without its coordinator the client returns at once, again and again.
            time.sleep(OUTSIDE_PAUSE_S)
        return [batch_of(tp.partition, records) for tp, records in found.items() if records]

    def standing(self) -> Standing:
        """Brokers accept a generation of -1 unfenced, so it is not stable."""
        group = self._consumer.group_metadata()
        stable = group.state is MemberState.STABLE and group.generation_id >= 0
        joining = group.state is MemberState.REBALANCING
        return Standing(stable, joining, group.member_id, group)

    def partitions(self) -> Sequence[int]:
        """All partitions of the tick topic."""
        with kafka_errors(f"list the partitions of {self._settings.ticks}", self._settings):
            return sorted(self._consumer.partitions_for_topic(self._settings.ticks) or ())

    def pause(self, partition: int) -> None:
        """Pause."""
        tp = self._tp(partition)
        with self._unless_taken(tp):
            self._consumer.pause(tp)

    def resume(self, partition: int, offset: int) -> None:
        """Seek and resume."""
        tp = self._tp(partition)
        with self._unless_taken(tp):
            self._consumer.seek(tp, int(offset))
            self._consumer.resume(tp)

    def commit(self, offsets: Mapping[int, Committed], group: Any) -> None:
        """Commit; the library itself refuses once it has left the group."""
        moved = {self._tp(partition): _offset(at) for partition, at in offsets.items()}
        with kafka_errors("commit offsets", self._settings):
            self._consumer.commit(moved, timeout_ms=self._settings.delivery_timeout_ms)

    def close(self) -> None:
        """Leave."""
        self._consumer.close(autocommit=False, timeout_ms=ANSWER_TIMEOUT_MS)

    def _tp(self, partition: int) -> Any:
        return TopicPartition(self._settings.ticks, partition)

    @contextmanager
    def _unless_taken(self, tp: Any) -> Iterator[None]:
        """The client's own thread may take a partition at any moment; its callback notes that."""
        try:
            yield
        except (KeyError, ValueError, IllegalStateError):
            if tp in self._consumer.assignment():
                raise

    def _fetch(self, timeout_ms: int, max_ticks: int) -> dict[Any, Sequence[Any]]:
        ticks = self._settings.ticks
        with kafka_errors(f"poll {ticks}", self._settings):
            try:
                found: dict[Any, Sequence[Any]] = self._consumer.poll(timeout_ms, max_ticks)
            except NoOffsetForPartitionError:
                # A partition came before its callback could park it.
                return {}
            except RetriableError as error:
                logger.warning("poll of %s will be tried again: %s", ticks, error)
                return {}
        return found

    def _await_partitions(self) -> None:
        """Wait until the client knows the topic.

        A leader that does not yet, of a topic just made, gives its group no partitions, and leaves
        it at that.
        """
        deadline = time.monotonic() + METADATA_TIMEOUT_S
        topic = self._settings.ticks
        while not self._consumer.partitions_for_topic(topic) and time.monotonic() < deadline:
            time.sleep(METADATA_PAUSE_S)


class PythonProducer:
    """A `KafkaProducer`, with deadlines where the library has none."""

    def __init__(self, settings: KafkaSettings, linger_ms: int, name: str | None = None) -> None:
        self._settings = settings
        self._sent: list[Any] = []
        limit_ms = settings.delivery_timeout_ms
        options = connection(settings)
        options["request_timeout_ms"] = min(options["request_timeout_ms"], max(limit_ms // 2, 1))
        if name is not None:
            options["transactional_id"] = name
            options["transaction_timeout_ms"] = settings.transaction_timeout_ms
        with kafka_errors("start a producer", settings):
            self._producer: Any = KafkaProducer(
                **options,
                acks="all",
                enable_idempotence=True,
                delivery_timeout_ms=limit_ms,
                max_block_ms=limit_ms,
                linger_ms=linger_ms,
                batch_size=BATCH_BYTES,
                retry_backoff_ms=RETRY_MS,
                allow_auto_create_topics=False,
                metrics_enabled=False,
            )

    def partitions_of(self, topic: str) -> int:
        """From metadata."""
        with kafka_errors(f"list the partitions of {topic}", self._settings):
            return len(self._producer.partitions_for(topic))

    def send(
        self,
        topic: str,
        partition: int,
        keys: Sequence[bytes | None],
        values: Iterable[bytes | None],
        timestamps_ms: Iterable[int],
        headers: Headers | None = None,
    ) -> None:
        """Send, and keep the futures: they alone tell."""
        send, headers = self._producer.send, headers or []
        with kafka_errors(f"send to {topic}", self._settings):
            for key, value, stamp in zip(keys, values, timestamps_ms, strict=True):
                value = b"" if key is None and value is None else value  # noqa: PLW2901
                self._sent.append(send(topic, value, key, headers, partition, stamp))

    def flush(self) -> None:
        """Flushing alone hides errors."""
        sent, self._sent = self._sent, []
        with kafka_errors("send", self._settings):
            self._producer.flush(self._settings.delivery_timeout_ms / 1_000 + 1)
            check_all(sent)

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers
    ) -> Receipt:
        """Send one. The library sends no record without both key and value."""
        if key is None and value is None:
            value = b""
        with kafka_errors(f"append to {topic}", self._settings):
            sent = self._producer.send(topic, value, key, headers, partition)
            at = sent.get(self._settings.delivery_timeout_ms / 1_000 + 1)
            return Receipt(at.partition, at.offset)

    def init_transactions(self) -> None:
        """Start."""
        with kafka_errors("start transactions", self._settings):
            self._producer.init_transactions()

    def begin(self) -> None:
        """Begin."""
        with kafka_errors("begin a transaction", self._settings):
            self._producer.begin_transaction()

    def send_offsets(self, ticks: str, offsets: Mapping[int, Committed], group: Any) -> None:
        """The library's own call waits for ever."""
        moved = {TopicPartition(ticks, partition): _offset(at) for partition, at in offsets.items()}
        with kafka_errors("send offsets to a transaction", self._settings):
            manager = self._producer._transaction_manager
            self._wait(manager.send_offsets_to_transaction(moved, group), "offsets")

    def commit(self) -> None:
        """Nothing is in flight by now, else a lost transaction can be told as committed."""
        with kafka_errors("commit a transaction", self._settings):
            self._wait(self._producer._transaction_manager.begin_commit(), "commit")

    def abort(self) -> bool:
        """Never: offsets of the aborted transaction would be part of the next one."""
        return False

    def discard(self) -> None:
        """Close without sending. `close` alone raises while records wait, and leaves its thread."""
        self._producer._sender.force_close()
        self._producer._sender.join(FORCED_CLOSE_S)
        with suppress(KafkaError):
            self._producer.close(timeout=0)

    def _wait(self, result: Any, what: str) -> None:
        limit_ms = self._settings.delivery_timeout_ms
        self._producer._sender.wakeup()
        if not result.wait(limit_ms):
            raise KafkaTimeoutError(f"no answer about the {what} in {limit_ms} ms")


def check_all(futures: Iterable[Any]) -> None:
    """Raise the error of the first record that was not acknowledged."""
    for future in futures:
        if not future.succeeded():
            raise future.exception or KafkaError("a record was neither acknowledged nor refused")


def _offset(at: Committed) -> Any:
    return OffsetAndMetadata(int(at.offset), at.metadata, -1)
