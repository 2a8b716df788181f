"""The log on Apache Kafka, with kafka-python.

Exactly once (`kafka.delivery`, the default): a publish is one transaction of forecasts, dead
letters and offsets. At least once: it sends everything, waits for every acknowledgement and then
commits the offsets; if it fails half way, forecasts may be in the topic that will be published
again, byte for byte.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError, NoOffsetForPartitionError, RetriableError
from kafka.structs import MemberState, OffsetAndMetadata

from slotcast.log.kafka_client import (
    ANSWER_TIMEOUT_MS,
    InstanceFenced,
    connection,
    kafka_errors,
)
from slotcast.log.kafka_group import join
from slotcast.log.kafka_offsets import OffsetAdmin, Offsets, Positions
from slotcast.log.kafka_producer import Appender, Publisher
from slotcast.log.kafka_reader import Reader
from slotcast.log.kafka_records import batch_of
from slotcast.log.kafka_takeover import Takeover, owner_of, transactional_id
from slotcast.log.kafka_topics import ensure_topics
from slotcast.log.kafka_transactions import TransactionalPublisher
from slotcast.log.port import (
    Batch,
    CommitFailed,
    Committed,
    LogError,
    NotYet,
    Outbox,
    Poll,
    Receipt,
)
from slotcast.settings import KafkaSettings

JOIN_POLL_MS = 200
"""A shorter poll gives up before it has found its coordinator, every time."""
OUTSIDE_PAUSE_S = 0.05
STALL_S = 6.0
"""Silence with records waiting after which the consumer is replaced."""

logger = logging.getLogger(__name__)


class KafkaLog:
    """A member of the consumer group `settings.group`. Creates and checks the topics first."""

    def __init__(self, settings: KafkaSettings, stall_s: float = STALL_S) -> None:
        self._settings = settings
        self._stall_s = stall_s
        self._live: set[int] = set()
        self._heard = time.monotonic()
        self._replaced = False
        self._fenced: LogError | None = None
        self._closed = False
        self.name = ensure_topics(settings)
        self._worker = settings.instance_id or secrets.token_hex(6)
        self._reader = Reader(settings)
        self._publisher = _publisher(settings, self._worker)
        self._group: Any = None
        self._appender = Appender(settings)
        with kafka_errors(f"ask about group {settings.group}", settings):
            self._admin = OffsetAdmin(**connection(settings))
        self._offsets = Offsets(settings, self._admin)
        self._positions = Positions(settings)
        self._takeover = Takeover(settings, self._worker, self._admin)
        self._consumer, self._membership = join(settings, self._worker)

    @property
    def owner(self) -> str:
        """Our transactional id; empty without transactions."""
        publisher = self._publisher
        return publisher.transactional_id if isinstance(publisher, TransactionalPublisher) else ""

    def partitions(self) -> Sequence[int]:
        """All partitions of the tick topic, as of the last metadata."""
        with kafka_errors(f"list the partitions of {self._settings.ticks}", self._settings):
            return sorted(self._consumer.partitions_for_topic(self._settings.ticks) or ())

    def poll(self, timeout_ms: int, max_ticks: int) -> Poll:
        """Records of live partitions, and what the group gave and took."""
        if self._fenced:
            raise self._fenced
        if self._consumer.group_metadata().state is not MemberState.STABLE:
            timeout_ms = max(timeout_ms, JOIN_POLL_MS)
        begun = time.monotonic()
        found = self._fetch(timeout_ms, max_ticks)
        if not found and time.monotonic() - begun < OUTSIDE_PAUSE_S < timeout_ms / 1e3:
            # Without its coordinator the client returns at once, again and again.
            time.sleep(OUTSIDE_PAUSE_S)
        # Taken now: it belongs to these records. Later it may be that of another generation.
        self._group = self._consumer.group_metadata()
        gained, lost = self._membership.take()
        self._live -= lost
        self._settle_lost(lost)
        batches = [
            batch_of(tp.partition, records)
            for tp, records in found.items()
            if records and tp.partition in self._live
        ]
        self._watch(bool(batches))
        return Poll(batches, sorted(gained), sorted(lost))

    def hold(self, partition: int) -> None:
        """Stop delivering this partition."""
        self._live.discard(partition)
        if partition in self._membership.owned():
            self._consumer.pause(self._tp(partition))

    def go(self, partition: int, offset: int) -> None:
        """Deliver from `offset` on; a partition lost since the last poll stays lost."""
        # The client would jump to the end, silently, from an offset beyond it.
        self._reader.check(partition, offset, offset)
        if partition in self._membership.owned() - self._membership.lost_since():
            tp = self._tp(partition)
            self._consumer.seek(tp, int(offset))
            self._consumer.resume(tp)
            self._live.add(partition)
            self._heard = time.monotonic()

    def committed(self, partition: int) -> Committed | None:
        """The group's committed position; what we or a dead owner left open is ended first."""
        if not isinstance(self._publisher, TransactionalPublisher):
            return self._offsets.stable(partition)
        self._publisher.settle()
        latest = self._offsets.latest(partition)
        self._takeover.end(owner_of(latest.metadata if latest else ""))
        try:
            return self._offsets.stable(partition)
        except NotYet:
            self._takeover.end_any()
            raise

    def position(self, partition: int) -> int | None:
        """The group's committed offset as it stands; any thread."""
        return self._positions.of(partition)

    def bounds(self, partition: int) -> tuple[int, int]:
        """First offset, and the offset after the last stable record; asks the broker."""
        return self._reader.bounds(partition)

    def read(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        """Records with start <= offset < stop, on a consumer without a group."""
        return self._reader.read(partition, start, stop)

    def publish(self, outbox: Outbox) -> None:
        """Publish, then commit, or both in one transaction.

        1. Refuse what is not ours any more.
        2. Send everything, and wait until every record is acknowledged.
        3. Commit the offsets, so that they never outrun the forecasts.
        """
        self._check_owned(outbox)
        self._check_member(outbox)
        offsets = {
            self._tp(partition): OffsetAndMetadata(int(at.offset), at.metadata, -1)
            for partition, at in outbox.offsets.items()
        }
        if isinstance(self._publisher, TransactionalPublisher):
            try:
                self._publisher.commit(outbox, offsets, self._group)
            except InstanceFenced as error:
                self._fenced = error
                raise CommitFailed(str(error)) from error
        else:
            self._publisher.send(outbox)
            self._commit(offsets)

    def append(
        self, partition: int, key: bytes | None, value: bytes | None, control: bytes | None = None
    ) -> Receipt:
        """Append one record to the tick topic. Raises `AppendForbidden`, `LogError`."""
        return self._appender.append(partition, key, value, control)

    def close(self) -> None:
        """Leave the group and close every connection."""
        if self._closed:
            return
        self._closed = True
        self._live.clear()
        self._publisher.close()
        self._appender.close()
        self._consumer.close(autocommit=False, timeout_ms=ANSWER_TIMEOUT_MS)
        self._reader.close()
        self._offsets.close()
        self._positions.close()
        self._admin.close()

    def _tp(self, partition: int) -> Any:
        return TopicPartition(self._settings.ticks, partition)

    def _fetch(self, timeout_ms: int, max_ticks: int) -> dict[Any, Sequence[Any]]:
        with kafka_errors(f"poll {self._settings.ticks}", self._settings):
            try:
                found: dict[Any, Sequence[Any]] = self._consumer.poll(timeout_ms, max_ticks)
            except NoOffsetForPartitionError:
                # A partition came before its callback could park it.
                return {}
            except RetriableError as error:
                logger.warning("poll of %s will be tried again: %s", self._settings.ticks, error)
                return {}
        return found

    def _check_owned(self, outbox: Outbox) -> None:
        owned = set() if self._closed else self._membership.owned() - self._membership.lost_since()
        if foreign := outbox.offsets.keys() - owned:
            raise CommitFailed(
                f"{self._settings.ticks}-{sorted(foreign)} are not ours any more: forget them"
            )

    def _settle_lost(self, lost: set[int]) -> None:
        """The next owner waits for what we may have left open, and cannot end it: we live."""
        publisher = self._publisher
        if lost and isinstance(publisher, TransactionalPublisher) and publisher.unsettled:
            try:
                publisher.settle()
            except LogError as error:
                logger.warning("an open transaction has to time out: %s", error)

    def _check_member(self, outbox: Outbox) -> None:
        """Brokers accept a generation of -1 unfenced: refuse it here."""
        group = self._group
        joining = group is not None and group.state is MemberState.REBALANCING
        if joining and not outbox.forecasts and not outbox.dead_letters:
            raise NotYet(f"group {self._settings.group} is rebalancing")
        if group is None or group.state is not MemberState.STABLE or group.generation_id < 0:
            raise CommitFailed(f"not a stable member of {self._settings.group}: recover and rejoin")

    def _commit(self, offsets: dict[Any, Any]) -> None:
        if not offsets:
            return
        try:
            with kafka_errors("commit offsets", self._settings):
                self._consumer.commit(offsets, timeout_ms=self._settings.delivery_timeout_ms)
        except LogError as error:
            self._publisher.close()
            self._fenced = error if isinstance(error, InstanceFenced) else None
            raise CommitFailed(str(error)) from error

    def _watch(self, heard: bool) -> None:
        """Replace a consumer that is silent though records wait; give up if that does not help."""
        now = time.monotonic()
        if heard:
            self._heard, self._replaced = now, False
        if now - self._heard < self._stall_s:
            return
        self._heard = now
        if not self._membership.owned() and self._is_left_out():
            logger.warning("in %s without partitions: joining anew", self._settings.group)
            self._replace()
        if not self._live:
            return
        behind = sorted(p for p in self._live if self._is_behind(p))
        if not behind:
            return
        if self._replaced:
            raise LogError(
                f"{self._settings.ticks}-{behind} have records, but the client delivers none, not"
                " even after joining anew: restart the worker"
            )
        logger.warning("%s-%s are stalled: joining anew", self._settings.ticks, behind)
        self._replace()

    def _is_left_out(self) -> bool:
        """Whether we are a member without partitions although there are enough for everyone."""
        if self._consumer.group_metadata().state is not MemberState.STABLE:
            return False
        try:
            return self._takeover.members() <= len(self.partitions())
        except LogError:
            return False

    def _is_behind(self, partition: int) -> bool:
        try:
            position = self._consumer.position(self._tp(partition), ANSWER_TIMEOUT_MS)
            return position is not None and position < self.bounds(partition)[1]
        except (KafkaError, LogError):
            return False

    def _replace(self) -> None:
        held = self._membership.owned()
        self._consumer.close(autocommit=False, timeout_ms=ANSWER_TIMEOUT_MS)
        self._consumer, self._membership = join(self._settings, self._worker)
        self._membership.on_partitions_lost([self._tp(p) for p in held])
        self._live.clear()
        self._replaced = True


def _publisher(settings: KafkaSettings, worker: str) -> Publisher:
    if settings.delivery == "at-least-once":
        return Publisher(settings)
    return TransactionalPublisher(settings, transactional_id(settings, worker))
