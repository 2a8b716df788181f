"""The driver for librdkafka (package confluent-kafka, extra `slotcast[librdkafka]`): membership.

Callbacks run inside `poll`, on the worker's own thread. They note, and park the partition: assigned
at the end of its log, so that no offset can be out of range, and paused before anything is fetched.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import (
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from slotcast.log.kafka.client import ANSWER_TIMEOUT_MS, HEARTBEAT_MS, client_id
from slotcast.log.kafka.driver import Standing
from slotcast.log.kafka.group import Membership
from slotcast.log.kafka.librdkafka_client import (
    FENCED,
    FORBIDDEN,
    GONE,
    batches_of,
    errors,
    offsets_of,
    reading,
    told,
)
from slotcast.log.kafka.librdkafka_producer import RdProducer, RdSender
from slotcast.log.kafka.librdkafka_reader import RdReader
from slotcast.log.port import Batch, Committed, LogError, LogUnavailable
from slotcast.settings import KafkaSettings

ANSWER_S = ANSWER_TIMEOUT_MS / 1_000
TOKEN = b"CGMDv2:"
"""How a token for a transaction's offsets begins; behind it, the generation in 4 bytes."""
TOPIC_PAUSE_S = 0.1
KNOWN_S = 5.0
"""Partitions of the topic are asked for no more often."""
LONGEST_WAIT_S = 0.5
"""To the library, a long wait for many records is no poll."""
STOPPING = {KafkaError._FATAL, *GONE, *FENCED, *FORBIDDEN}
"""What does not pass by itself."""

logger = logging.getLogger(__name__)


def join(settings: KafkaSettings, worker: str) -> RdMember:
    """A member that is on its way into the group."""
    return RdMember(settings, worker)


open_producer, open_sender, open_reader = RdProducer, RdSender, RdReader


class RdMember:
    """A `Consumer` in the group."""

    def __init__(self, settings: KafkaSettings, worker: str) -> None:
        self._settings = settings
        self.membership, self.client = Membership(), client_id(worker)
        self._next: dict[int, int] = {}
        """The offset behind what was delivered, of each partition that is not paused."""
        self._reader: RdReader | None = None
        self._known: Sequence[int] = ()
        self._known_until = 0.0
        with errors(f"join group {settings.group}", settings):
            self._consumer = Consumer(_options(settings, self.client))
            self._await_topic()
            self._subscribe()
        generation(self._consumer.consumer_group_metadata())

    def poll(self, timeout_ms: int, max_ticks: int) -> Sequence[Batch]:
        """Wait for one record, then take what is there: to wait for many would wait in vain."""
        consume = self._consumer.consume
        waits_s, wait_s = divmod(timeout_ms / 1e3, LONGEST_WAIT_S)
        with errors(f"poll {self._settings.ticks}", self._settings):
            found = consume(1, wait_s)
            while not found and waits_s > 0:
                found, waits_s = consume(1, LONGEST_WAIT_S), waits_s - 1
            if found and max_ticks > 1:
                found += consume(max_ticks - 1, 0)
        if any(map(Message.error, found)):
            found = self._without_errors(found)
        return [batch for batch in batches_of(found) if self._is_whole(batch)] if found else []

    def standing(self) -> Standing:
        """Brokers accept a generation of -1 unfenced, so it is not stable."""
        with errors(f"ask about group {self._settings.group}", self._settings):
            token = self._consumer.consumer_group_metadata()
            member = self._consumer.memberid() or ""
        stable = bool(member) and generation(token) >= 0
        return Standing(stable, not stable and bool(member), member, token)

    def partitions(self) -> Sequence[int]:
        """All partitions of the tick topic; asks the broker, and not often: readers wait for it.

        One that does not answer is taken to have the partitions that it had.
        """
        if not self._known or time.monotonic() > self._known_until:
            self._known_until = time.monotonic() + KNOWN_S
            ticks = self._settings.ticks
            try:
                with errors(f"list the partitions of {ticks}", self._settings):
                    found = self._consumer.list_topics(ticks, ANSWER_S).topics[ticks]
                    self._known = sorted(found.partitions)
            except LogUnavailable:
                if not self._known:
                    raise
        return self._known

    def pause(self, partition: int) -> None:
        """Pause; the library forgets what it has fetched."""
        self._next.pop(partition, None)
        with errors(f"pause {self._settings.ticks}-{partition}", self._settings):
            self._consumer.pause([self._tp(partition)])

    def resume(self, partition: int, offset: int) -> None:
        """Resume, then seek: the other way round, the library's thread sleeps on for up to 1 s.

        What it fetches in between it throws away.
        """
        with errors(f"go on with {self._settings.ticks}-{partition}", self._settings):
            self._consumer.resume([self._tp(partition)])
            self._consumer.seek(self._tp(partition, int(offset)))
        self._next[partition] = int(offset)

    def commit(self, offsets: Mapping[int, Committed], group: Any) -> None:
        """Commit; waits for the coordinator no longer than a session lasts.

        Once it has left the group, the library would commit as nobody, and an empty group lets it.
        """
        if self.standing().group != group:
            raise LogError(f"{self._settings.group} has gone on without this member")
        moved = offsets_of(self._settings.ticks, offsets)
        with errors("commit offsets", self._settings):
            for at in self._consumer.commit(offsets=moved, asynchronous=False) or ():
                if at.error is not None:
                    raise KafkaException(at.error)

    def close(self) -> None:
        """Leave."""
        if self._reader is not None:
            self._reader.close()
        with errors("close", self._settings):
            self._consumer.close()

    def _subscribe(self) -> None:
        self._consumer.subscribe(
            [self._settings.ticks],
            on_assign=self._assigned,
            on_revoke=self._taken,
            on_lost=self._taken,
        )

    def _tp(self, partition: int, offset: int = OFFSET_END) -> TopicPartition:
        return TopicPartition(self._settings.ticks, partition, offset)

    def _assigned(self, consumer: Any, given: Sequence[TopicPartition]) -> None:
        parked = [self._tp(tp.partition) for tp in given]
        consumer.incremental_assign(parked)
        consumer.pause(parked)
        self.membership.note_gained({tp.partition for tp in given})

    def _taken(self, _: Any, taken: Sequence[TopicPartition]) -> None:
        for tp in taken:
            self._next.pop(tp.partition, None)
        self.membership.note_lost({tp.partition for tp in taken})

    def _is_whole(self, batch: Batch) -> bool:
        """Whether it goes on where we are, without a hole; else the library is sent back.

        An answer that comes late, about the end of the log where a partition was parked, moves it
        there. Offsets that are missing may also be those of markers: then a second look tells.
        """
        number, stop = batch.partition, int(batch.offsets[-1]) + 1
        begun = self._next.get(number)
        if begun is None:
            return False
        if stop - begun != len(batch) and self._count(number, begun, stop) != len(batch):
            ticks = f"{self._settings.ticks}-{number}"
            logger.warning("%s: the library skipped records behind %d: again", ticks, begun)
            self.resume(number, begun)
            return False
        self._next[number] = stop
        return True

    def _count(self, partition: int, start: int, stop: int) -> int:
        if self._reader is None:
            self._reader = RdReader(self._settings)
        return sum(map(len, self._reader.read(partition, start, stop)))

    def _without_errors(self, found: Sequence[Message]) -> list[Message]:
        """The records; what the library tells in between is logged, unless nothing can mend it."""
        for message in found:
            error, partition = message.error(), message.partition()
            if error is None:
                continue
            of_parked = partition is not None and partition not in self._next
            expected = of_parked and error.code() in GONE
            if error.fatal() or (error.code() in STOPPING and not expected):
                raise told(error, f"poll {self._settings.ticks}", self._settings)
            logger.warning("poll of %s goes on: %s", self._settings.ticks, error)
        return [message for message in found if message.error() is None]

    def _await_topic(self) -> None:
        """Wait until the client knows the topic, just made perhaps."""
        deadline, ticks = time.monotonic() + ANSWER_S, self._settings.ticks
        while time.monotonic() < deadline:
            if self._consumer.list_topics(ticks, ANSWER_S).topics[ticks].partitions:
                return
            time.sleep(TOPIC_PAUSE_S)


def _options(settings: KafkaSettings, client: str) -> dict[str, Any]:
    options = reading(settings) | {
        "client.id": client,
        "session.timeout.ms": settings.session_timeout_ms,
        "heartbeat.interval.ms": min(HEARTBEAT_MS, settings.session_timeout_ms // 3),
        "max.poll.interval.ms": settings.max_poll_interval_ms,
        "partition.assignment.strategy": "cooperative-sticky",
    }
    if settings.instance_id is not None:
        options["group.instance.id"] = settings.instance_id
    return options


def generation(token: bytes) -> int:
    """The generation in a token. Raises `LogError` if this library writes another kind."""
    if not token.startswith(TOKEN):
        raise LogError(
            f"this version of confluent-kafka writes its group metadata as {token[:8]!r}, not"
            f" {TOKEN!r}: install the one of requirements/, or use kafka.client = kafka-python"
        )
    return int.from_bytes(token[len(TOKEN) : len(TOKEN) + 4], sys.byteorder, signed=True)
