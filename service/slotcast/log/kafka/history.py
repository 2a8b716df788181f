"""The history of a log on Kafka: three readers without a group, and the group's offsets.

Only committed records are seen. A transaction that is open when the end is asked for may hide
records of commits that came later; so the end is where the log ended then, and it is waited for
until every transaction below it is decided.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from slotcast.log.history import Topic
from slotcast.log.kafka.client import (
    ANSWER_TIMEOUT_MS,
    administrator,
    committed_at,
    connection,
    kafka_errors,
    started,
)
from slotcast.log.kafka.reader import Reader
from slotcast.log.kafka.records import dead_letter_of
from slotcast.log.kafka.topics import topic_id
from slotcast.log.port import Batch, Committed, DeadLetter, LogError, LogName
from slotcast.settings import KafkaSettings

UNDECIDED_POLL_S = 0.1
REASON_HEADER, TOPIC_HEADER = "slotcast-reason", "slotcast-topic"


class KafkaHistory:
    """What the topics and the group of `settings` hold. Creates nothing; joins nothing."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._names: dict[Topic, str] = {
            "ticks": settings.ticks,
            "forecasts": settings.forecasts,
            "dead_letters": settings.dead_letters,
        }
        self._readers = {topic: Reader(settings, name) for topic, name in self._names.items()}
        self._group = self._consumer(group_id=settings.group, isolation_level="read_committed")
        self._ends = self._consumer(isolation_level="read_uncommitted")
        self._closed = False

    def name(self) -> LogName:
        """Which log this is."""
        settings = self._settings
        with (
            kafka_errors(f"look at topic {settings.ticks}", settings),
            administrator(settings) as admin,
        ):
            found = topic_id(admin, settings.ticks)
        return LogName(settings.ticks, found, settings.group)

    def partitions(self) -> Sequence[int]:
        """All partitions of the tick topic."""
        return self._partitions("ticks")

    def committed(self, partition: int) -> Committed | None:
        """The group's committed position; waits for transactions that may still move it."""
        tp = TopicPartition(self._settings.ticks, partition)
        with kafka_errors(f"read the offsets of group {self._settings.group}", self._settings):
            found = self._group.committed(tp, metadata=True, timeout_ms=self._patience_ms)
        return committed_at(found)

    def bounds(self, topic: Topic, partition: int) -> tuple[int, int]:
        """First position, and the end of now, once everything below it is decided."""
        if topic == "ticks":  # what is committed was decided when it was read
            return self._readers[topic].bounds(partition)
        tp = self._tp(topic, partition)
        with kafka_errors(f"ask for the end of {tp.topic}-{tp.partition}", self._settings):
            end = self._ends.end_offsets([tp], timeout_ms=ANSWER_TIMEOUT_MS)[tp]
        deadline = time.monotonic() + self._patience_ms / 1_000
        while True:
            first, stable = self._readers[topic].bounds(tp.partition)
            if stable >= end:
                return first, end
            if time.monotonic() > deadline:
                raise LogError(
                    f"{tp.topic}-{tp.partition} has a transaction that has been open at {stable}"
                    f" for {self._patience_ms} ms: end it (kafka-transactions.sh), then try again"
                )
            time.sleep(UNDECIDED_POLL_S)

    def readable(self, topic: Topic, partition: int) -> tuple[int, int]:
        """First position, and the end of what is decided by now."""
        return self._readers[topic].bounds(self._tp(topic, partition).partition)

    def ticks(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        """Records of the tick topic."""
        return self._readers["ticks"].read(partition, start, stop)

    def forecasts(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        """Records of the forecast topic."""
        return self._readers["forecasts"].read(partition, start, stop)

    def dead_letters(self, partition: int, start: int, stop: int) -> Iterator[DeadLetter]:
        """Dead letters; the topic may have fewer partitions, and other topics' letters in it."""
        place = self._tp("dead_letters", partition).partition
        for records in self._readers["dead_letters"].records(place, start, stop):
            for record in records:
                if self._is_ours(record):
                    letter = dead_letter_of(record)
                    if letter.partition == partition:
                        yield letter

    def close(self) -> None:
        """Close every connection."""
        if self._closed:
            return
        self._closed = True
        for one in self._readers.values():
            one.close()
        for consumer in (self._group, self._ends):
            with suppress(KafkaError):
                consumer.close(autocommit=False, timeout_ms=ANSWER_TIMEOUT_MS)

    @property
    def _patience_ms(self) -> int:
        """The longest that a dead worker's transaction can stay open, and some."""
        return self._settings.transaction_timeout_ms + ANSWER_TIMEOUT_MS

    def _consumer(self, **options: Any) -> Any:
        with kafka_errors("start a reader", self._settings):
            return started(
                KafkaConsumer,
                **connection(self._settings),
                **options,
                enable_auto_commit=False,
                allow_auto_create_topics=False,
                metrics_enabled=False,
            )

    def _partitions(self, topic: Topic) -> Sequence[int]:
        name = self._names[topic]
        with kafka_errors(f"list the partitions of {name}", self._settings):
            found = self._ends.partitions_for_topic(name)
        if not found:
            raise LogError(f"there is no topic {name}: see [kafka] in the config file")
        return sorted(found)

    def _tp(self, topic: Topic, partition: int) -> Any:
        """Where the records about a partition of the tick topic are."""
        if topic == "dead_letters":
            partition %= len(self._partitions(topic))
        return TopicPartition(self._names[topic], partition)

    def _is_ours(self, record: Any) -> bool:
        headers = dict(record.headers)
        ours = self._settings.ticks.encode()
        return REASON_HEADER in headers and headers.get(TOPIC_HEADER) == ours
