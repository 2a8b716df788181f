"""Reading a topic beside the group: bounds, and ranges for replay.

`RangeReader` keeps the rules. `Reader` is kafka-python's: a consumer without a group, with all
partitions assigned and paused. A read resumes its own for the length of a poll, so that several
reads can take turns and keep what they have fetched.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from slotcast.log.kafka.client import ANSWER_TIMEOUT_MS, connection, kafka_errors, started
from slotcast.log.kafka.header_names import tolerate
from slotcast.log.kafka.records import batch_of
from slotcast.log.port import Batch, LogUnavailable, OffsetOutOfRange
from slotcast.settings import KafkaSettings

READ_TICKS = 2_000
POLL_MS = 200

tolerate()


class RangeReader(ABC):
    """Reads any partition of one topic from anywhere; used by one thread."""

    def __init__(self, settings: KafkaSettings, topic: str | None = None) -> None:
        """`topic` is the tick topic if not given."""
        self._settings = settings
        self._topic = topic or settings.ticks

    @abstractmethod
    def bounds(self, partition: int) -> tuple[int, int]:
        """First offset, and the offset after the last stable record."""

    def check(self, partition: int, start: int, stop: int) -> None:
        """Raise `OffsetOutOfRange` unless all of start to stop is in the log."""
        first, end = self.bounds(partition)
        if start < first or stop > end:
            raise OffsetOutOfRange(
                f"{self._topic}-{partition} holds {first} to {end}, asked for {start} to {stop}:"
                " see docs/recovery.md for what to do about lost ticks"
            )

    def read(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        """Records with start <= offset < stop, as columns."""
        self.check(partition, start, stop)
        return self._batches(partition, start, stop)

    @abstractmethod
    def _batches(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        """The same, of a range that is in the log."""

    def _silent(self, partition: int, position: int, stop: int) -> LogUnavailable:
        return LogUnavailable(
            f"{self._topic}-{partition} gave nothing at {position} for {ANSWER_TIMEOUT_MS} ms,"
            f" though it goes on to {stop}: try again"
        )

    @abstractmethod
    def close(self) -> None:
        """Close every connection."""


class Reader(RangeReader):
    """Reads with kafka-python."""

    def __init__(self, settings: KafkaSettings, topic: str | None = None) -> None:
        super().__init__(settings, topic)
        with kafka_errors("start a reader", settings):
            self._consumer = started(
                KafkaConsumer,
                **connection(settings),
                isolation_level="read_committed",
                auto_offset_reset="none",
                enable_auto_commit=False,
                fetch_max_wait_ms=100,
                allow_auto_create_topics=False,
                metrics_enabled=False,
            )

    def bounds(self, partition: int) -> tuple[int, int]:
        """First offset, and the offset after the last stable record."""
        tp = TopicPartition(self._topic, partition)
        with kafka_errors(f"ask for the offsets of {self._topic}-{partition}", self._settings):
            first = self._consumer.beginning_offsets([tp], timeout_ms=ANSWER_TIMEOUT_MS)[tp]
            end = self._consumer.end_offsets([tp], timeout_ms=ANSWER_TIMEOUT_MS)[tp]
        return first, end

    def _batches(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        tp = TopicPartition(self._topic, partition)
        return (batch_of(partition, found) for found in self._read(tp, start, stop))

    def records(self, partition: int, start: int, stop: int) -> Iterator[Sequence[Any]]:
        """Records with start <= offset < stop as they come from the client, some at a time."""
        self.check(partition, start, stop)
        return self._read(TopicPartition(self._topic, partition), start, stop)

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close(timeout_ms=ANSWER_TIMEOUT_MS)

    def _read(self, tp: Any, position: int, stop: int) -> Iterator[Sequence[Any]]:
        heard = time.monotonic()
        while position < stop:
            before = position
            with kafka_errors(f"read {tp.topic}-{tp.partition}", self._settings):
                records, position = self._fetch(tp, position)
            if records and records[-1].offset >= stop:
                records = [record for record in records if record.offset < stop]
            if records:
                yield records
            if position > before:
                heard = time.monotonic()
            elif time.monotonic() - heard > ANSWER_TIMEOUT_MS / 1_000:
                raise self._silent(tp.partition, position, stop)

    def _fetch(self, tp: Any, position: int) -> tuple[Sequence[Any], int]:
        """Records from `position` on, and the position after them: gaps have no records."""
        consumer = self._consumer
        if tp not in consumer.assignment():
            self._assign(tp)
        if consumer.position(tp) != position:
            consumer.seek(tp, position)
        consumer.resume(tp)
        try:
            found = consumer.poll(timeout_ms=POLL_MS, max_records=READ_TICKS)
        finally:
            consumer.pause(tp)
        return found.get(tp, ()), consumer.position(tp)

    def _assign(self, tp: Any) -> None:
        consumer = self._consumer
        consumer.assign([*consumer.assignment(), tp])
        consumer.pause(tp)
        # Without a position the client would ask for a reset, which is switched off.
        consumer.seek(tp, 0)
