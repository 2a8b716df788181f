"""The topics of one test as an outsider sees them: feeds ticks, reads what came out."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient

from slotcast.settings import KafkaSettings
from tests.servers import PATIENCE_S

MARKERS_S = 1.0
"""Longest wait for what is open where it may stay open."""

Record = tuple[bytes | None, bytes | None, int, bytes | None]


class NoUtf8(str):
    """What becomes bytes that are no UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        return b"\xff\xfe"


class KafkaTopics:
    """Plain clients of the broker that `settings` name."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings = settings
        self._producer = KafkaProducer(bootstrap_servers=settings.bootstrap_servers, linger_ms=20)

    def feed(self, partition: int, records: Sequence[Record]) -> None:
        self.feed_all({partition: records})

    def feed_all(self, records: Mapping[int, Sequence[Record]], timeout_s: float = 30.0) -> None:
        """Feed several partitions at once, and wait until all of it is in the log."""
        self._producer.partitions_for(self.settings.ticks)
        sent = [self._append(p, record) for p, some in records.items() for record in some]
        self._producer.flush(timeout_s)
        for future in sent:
            future.get(timeout_s)

    def feed_with_a_bad_name(self, partition: int, record: Record) -> None:
        """A record with one header more, whose name is no UTF-8."""
        bad = [(NoUtf8("name"), b"value")]
        sent = self._append(partition, record, bad)
        self._producer.flush(30)
        sent.get(30)

    def _append(self, partition: int, record: Record, more: Sequence[Any] = ()) -> Any:
        key, value, timestamp_ms, control = record
        headers = [*more, *([] if control is None else [("slotcast-control", control)])]
        at = TopicPartition(self.settings.ticks, partition)
        # `send` refuses a record without key and value, the broker does not.
        return self._producer._accumulator.append(at, timestamp_ms, key, value, headers)[0]

    def abort_one(self, partition: int) -> int:
        """Send a record and abort it: two offsets that no reader of committed records sees.

        No other transaction is open there.
        """
        producer = KafkaProducer(
            bootstrap_servers=self.settings.bootstrap_servers, transactional_id=uuid.uuid4().hex
        )
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(self.settings.ticks, b"aborted", b"k", partition=partition).get(30)
        producer.abort_transaction()
        producer.close()
        at = TopicPartition(self.settings.ticks, partition)
        with self._consumer("read_committed") as consumer:
            self._until_settled(consumer, at, PATIENCE_S)
        return 2

    def trim(self, partition: int, before_offset: int) -> None:
        with KafkaAdminClient(bootstrap_servers=self.settings.bootstrap_servers) as admin:
            admin.delete_records({TopicPartition(self.settings.ticks, partition): before_offset})

    def settled(self, topic: str, partition: int) -> list[Any]:
        """Every record of a partition in which no transaction stays open."""
        return self.records(topic, partition, PATIENCE_S)

    def records(self, topic: str, partition: int, patience_s: float = MARKERS_S) -> list[Any]:
        """Every committed record of a partition; a commit just made is waited for this long."""
        at = TopicPartition(topic, partition)
        with self._consumer("read_committed") as consumer:
            consumer.assign([at])
            consumer.seek(at, consumer.beginning_offsets([at])[at])
            end = self._until_settled(consumer, at, patience_s)
            found: list[Any] = []
            while consumer.position(at) < end:
                found += consumer.poll(1_000).get(at, [])
        return found

    def _until_settled(self, consumer: Any, at: TopicPartition, patience_s: float) -> int:
        """The end for readers of committed records, once they see all that is there now.

        The end of a transaction is answered before the partitions know of it.
        """
        with self._consumer("read_uncommitted") as onlooker:
            last, deadline = onlooker.end_offsets([at])[at], time.monotonic() + patience_s
        while (end := consumer.end_offsets([at])[at]) < last and time.monotonic() < deadline:
            time.sleep(0.01)
        return int(end)

    def _consumer(self, isolation_level: str) -> Any:
        servers = self.settings.bootstrap_servers
        return closing(KafkaConsumer(bootstrap_servers=servers, isolation_level=isolation_level))

    def close(self) -> None:
        self._producer.close()
