"""Reading a topic with librdkafka, beside the group.

Every read has a consumer of its own while it lasts, so that several can take turns and keep what
they have fetched. A consumer that is done serves the next read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from slotcast.log.kafka.client import ANSWER_TIMEOUT_MS
from slotcast.log.kafka.librdkafka_client import batches_of, errors, reading, told
from slotcast.log.kafka.reader import READ_TICKS, RangeReader
from slotcast.log.port import Batch
from slotcast.settings import KafkaSettings

ANSWER_S = ANSWER_TIMEOUT_MS / 1_000
WAIT_S = 0.02
"""`consume` waits so long for a full batch."""
AHEAD_TICKS, AHEAD_KB = 20_000, 16_384
"""How much a read fetches ahead."""


class RdReader(RangeReader):
    """Reads with the library; used by one thread."""

    def __init__(self, settings: KafkaSettings, topic: str | None = None) -> None:
        super().__init__(settings, topic)
        self._idle: list[Consumer] = []
        self._opened: list[Consumer] = []
        self._asking = self._take()

    def bounds(self, partition: int) -> tuple[int, int]:
        """First offset, and the offset after the last stable record."""
        tp = TopicPartition(self._topic, partition)
        with errors(f"ask for the offsets of {self._topic}-{partition}", self._settings):
            first, end = self._asking.get_watermark_offsets(tp, ANSWER_S, cached=False)
        return first, end

    def close(self) -> None:
        """Close every consumer."""
        for consumer in self._opened:
            consumer.close()
        self._opened.clear()
        self._idle.clear()

    def _batches(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        if start >= stop:
            return
        consumer = self._take()
        try:
            with errors(f"read {self._topic}-{partition}", self._settings):
                consumer.assign([TopicPartition(self._topic, partition, start)])
            yield from self._read(consumer, partition, start, stop)
        finally:
            if consumer in self._opened:
                consumer.unassign()
                self._idle.append(consumer)

    def _read(
        self, consumer: Consumer, partition: int, position: int, stop: int
    ) -> Iterator[Batch]:
        heard = time.monotonic()
        while position < stop:
            before = position
            with errors(f"read {self._topic}-{partition}", self._settings):
                found = consumer.consume(READ_TICKS, WAIT_S)
            if any(map(Message.error, found)):
                position = max(map(self._behind, found))
                found = [message for message in found if message.error() is None]
            if found:
                (batch,) = batches_of(found)
                position = max(position, int(batch.offsets[-1]) + 1)
                inside = int(np.searchsorted(batch.offsets, stop))
                if inside:
                    yield next(batch.pieces(inside))
            if position > before:
                heard = time.monotonic()
            elif time.monotonic() - heard > ANSWER_S:
                raise self._silent(partition, position, stop)

    def _behind(self, message: Message) -> int:
        """The offset behind a record; the end of the log, where the library says that it is."""
        error, offset = message.error(), message.offset()
        if error is None:
            return (offset or 0) + 1
        if error.code() == KafkaError._PARTITION_EOF:
            return offset or 0
        raise told(error, f"read {self._topic}", self._settings)

    def _take(self) -> Consumer:
        if self._idle:
            return self._idle.pop()
        options = reading(self._settings) | {
            "enable.partition.eof": True,
            "queued.min.messages": AHEAD_TICKS,
            "queued.max.messages.kbytes": AHEAD_KB,
        }
        with errors("start a reader", self._settings):
            consumer = Consumer(options)
        self._opened.append(consumer)
        return consumer
