"""The log on Apache Kafka: who may deliver, publish and commit what, and when.

Exactly once (`kafka.delivery`, the default): a publish is one transaction of forecasts, dead
letters and offsets. At least once: it sends everything, waits for every acknowledgement and then
commits the offsets; if it fails half way, forecasts may be in the topic that will be published
again, byte for byte. Its failpoints (`slotcast.failpoints`): after-send, after-commit.

The client library is a driver (`driver.py`); everything that holds with each is here.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from slotcast.failpoints import at
from slotcast.log.kafka.client import InstanceFenced, connection, kafka_errors, started
from slotcast.log.kafka.driver import Standing, driver_of
from slotcast.log.kafka.leaving import leave
from slotcast.log.kafka.offsets import OffsetAdmin, Offsets, Positions
from slotcast.log.kafka.places import Places, Remedy
from slotcast.log.kafka.producer import Appender, Publisher
from slotcast.log.kafka.takeover import Takeover, owner_of, transactional_id
from slotcast.log.kafka.topics import ensure_topics
from slotcast.log.kafka.transactions import TransactionalPublisher
from slotcast.log.port import (
    Batch,
    CommitFailed,
    Committed,
    LogError,
    LogUnavailable,
    NotYet,
    OffsetOutOfRange,
    Outbox,
    Poll,
    Receipt,
)
from slotcast.settings import KafkaSettings

STALL_S = 6.0
"""Silence with records waiting after which something is done."""

logger = logging.getLogger(__name__)


class KafkaLog:
    """A member of the consumer group `settings.group`. Creates and checks the topics first."""

    def __init__(self, settings: KafkaSettings, stall_s: float = STALL_S) -> None:
        self._settings, self._driver = settings, driver_of(settings)
        self._stall_s = stall_s
        self._places = Places()
        self._heard = time.monotonic()
        self._unknown: set[str] = set()
        """The member's id, if the group did not know it when we last looked."""
        self._fenced: LogError | None = None
        self._closed = False
        self.name = ensure_topics(settings)
        self._worker = settings.instance_id or secrets.token_hex(6)
        self._reader = self._driver.open_reader(settings)
        self._publisher = _publisher(settings, self._worker)
        self._standing: Standing | None = None
        self._appender = Appender(settings)
        with kafka_errors(f"ask about group {settings.group}", settings):
            self._admin = started(OffsetAdmin, **connection(settings))
        self._offsets = Offsets(settings, self._admin)
        self._positions = Positions(settings)
        self._takeover = Takeover(settings, self._worker, self._admin)
        self._member = self._driver.join(settings, self._worker)

    @property
    def owner(self) -> str:
        """Our transactional id; empty without transactions."""
        publisher = self._publisher
        return publisher.transactional_id if isinstance(publisher, TransactionalPublisher) else ""

    def partitions(self) -> Sequence[int]:
        """All partitions of the tick topic, as of the last metadata."""
        with self._while_open():
            return self._member.partitions()

    def poll(self, timeout_ms: int, max_ticks: int) -> Poll:
        """Records of live partitions, and what the group gave and took."""
        if self._fenced:
            raise self._fenced
        found = self._records(timeout_ms, max_ticks)
        # Taken now: it belongs to these records. Later it may be that of another generation.
        self._standing = self._member.standing()
        gained, lost = self._member.membership.take(self._standing.member_id)
        self._places.lose(lost)
        self._settle_lost(lost)
        self._places.polled(full=sum(map(len, found)) >= max_ticks)
        batches = [batch for batch in found if self._goes_on(batch)]
        self._watch(bool(batches))
        return Poll(batches, sorted(gained), sorted(lost))

    def hold(self, partition: int) -> None:
        """Stop delivering this partition."""
        self._places.leave(partition)
        if partition in self._member.membership.owned():
            self._member.pause(partition)

    def go(self, partition: int, offset: int) -> None:
        """Deliver from `offset` on; a partition lost since the last poll stays lost."""
        # A client would jump to the end, silently, from an offset beyond it.
        self._reader.check(partition, offset, offset)
        if partition in self._held():
            self._member.resume(partition, offset)
            self._places.go(partition, offset)
            self._heard = time.monotonic()

    def committed(self, partition: int) -> Committed | None:
        """The group's committed position; what we or a dead owner left open is ended first."""
        if self._fenced:  # who has our name now must not lose its transactions to us
            raise self._fenced
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
        with self._while_open():
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
        group = self._check_member(outbox)
        if isinstance(self._publisher, TransactionalPublisher):
            try:
                self._publisher.commit(outbox, outbox.offsets, group)
            except InstanceFenced as error:
                self._fenced = error
                raise CommitFailed(str(error)) from error
        else:
            self._publisher.send(outbox)
            at("after-send")
            self._commit(outbox.offsets, group)
            at("after-commit")

    def append(
        self, partition: int, key: bytes | None, value: bytes | None, control: bytes | None = None
    ) -> Receipt:
        """Append one record to the tick topic. Raises `AppendForbidden`, `LogError`."""
        with self._while_open():
            return self._appender.append(partition, key, value, control)

    def close(self) -> None:
        """Leave the group and close every connection."""
        if self._closed:
            return
        self._closed = True
        self._places.clear()
        self._publisher.close()
        self._appender.close()
        self._member.close()
        if self._settings.instance_id and self._settings.leave_on_stop and self._standing:
            leave(self._settings, self._admin, self._standing.member_id)
        self._reader.close()
        self._offsets.close()
        self._positions.close()
        self._admin.close()

    @contextmanager
    def _while_open(self) -> Iterator[None]:
        """For other threads: whatever a library makes of a closed client is that it is closed."""
        closed = f"the log of {self._settings.ticks} is closed: its worker has stopped"
        if self._closed:
            raise LogUnavailable(closed)
        try:
            yield
        except Exception as error:
            if not self._closed or isinstance(error, LogError):
                raise
            raise LogUnavailable(closed) from error

    def _records(self, timeout_ms: int, max_ticks: int) -> Sequence[Batch]:
        """What the member has; one that lost its name to a late request of its own joins anew."""
        try:
            return self._member.poll(timeout_ms, max_ticks)
        except InstanceFenced as error:
            if not self._takeover.has_our_name(self._member.client):
                self._fenced = error
                raise
            logger.warning("%s joins anew: an earlier request came late", self._worker)
            self._replace()
            return ()

    def _held(self) -> set[int]:
        """The partitions that are ours and were not lost since the last poll."""
        membership = self._member.membership
        return set() if self._closed else membership.owned() - membership.lost_since()

    def _check_owned(self, outbox: Outbox) -> None:
        if foreign := outbox.offsets.keys() - self._held():
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

    def _check_member(self, outbox: Outbox) -> Any:
        """The token for the offsets, of the last poll; without a generation it fences nobody."""
        standing = self._standing
        joining = standing is not None and standing.is_joining
        if joining and not outbox.forecasts and not outbox.dead_letters:
            raise NotYet(f"group {self._settings.group} is rebalancing")
        if standing is None or not standing.is_stable:
            raise CommitFailed(f"not a stable member of {self._settings.group}: recover and rejoin")
        return standing.group

    def _commit(self, offsets: Mapping[int, Committed], group: Any) -> None:
        if not offsets:
            return
        try:
            self._member.commit(offsets, group)
        except LogError as error:
            self._publisher.close()
            self._fenced = error if isinstance(error, InstanceFenced) else None
            raise CommitFailed(str(error)) from error

    def _goes_on(self, batch: Batch) -> bool:
        """Whether a batch is of a live partition and goes on where that stands; else: again.

        A client that was moved without a word would skip records, or bring them again. Offsets that
        are missing are those of markers where the log has no record there.
        """
        number, first = batch.partition, int(batch.offsets[0])
        stands = self._places.of(number)
        if stands is None:
            return False
        if first < stands or (first > stands and self._has_records(number, stands, first)):
            ticks = self._settings.ticks
            logger.warning("%s-%d came from %d, not %d: again", ticks, number, first, stands)
            self._send_back(number, stands)
            return False
        self._places.take(batch)
        return True

    def _has_records(self, partition: int, start: int, stop: int) -> bool:
        """Whether the log has any there, or does not say; a poll tells what is out of range."""
        try:
            return any(True for _ in self._reader.read(partition, start, stop))
        except (LogUnavailable, OffsetOutOfRange):
            return True

    def _send_back(self, partition: int, offset: int) -> None:
        """In the course of a poll, whose other records must not be lost over it."""
        try:
            self._member.resume(partition, offset)
        except LogError as error:
            logger.warning("that must wait: %s", error)

    def _watch(self, heard: bool) -> None:
        """Do something about a partition that is silent though it has records.

        Beside others that deliver it is sent back to where it stands, first. Where all are silent,
        or that did not help, the consumer is replaced; if that does not help either, give up.
        """
        now = time.monotonic()
        if heard:
            self._heard = now
        all_silent = now - self._heard >= self._stall_s
        if all_silent:
            self._heard = now
            if why := self._why_join():
                self._try_replace(why)
        number = self._places.silent(self._stall_s)
        if number is None:
            return
        if not self._is_behind(number):
            self._places.is_well(number)
            return
        self._mend(number, Remedy.JOIN_ANEW if all_silent else Remedy.SEND_BACK)

    def _mend(self, number: int, least: Remedy) -> None:
        stalled = f"{self._settings.ticks}-{number}"
        remedy = self._places.next_remedy(number, least)
        stands = self._places.of(number)
        if remedy is Remedy.SEND_BACK and stands is not None:
            logger.warning("%s is stalled: sent back to %d", stalled, stands)
            self._send_back(number, stands)
            self._places.was_tried(number, remedy)
        elif remedy is Remedy.JOIN_ANEW:
            if self._try_replace(f"{stalled} is stalled"):
                self._places.was_tried(number, remedy)
        else:
            raise LogError(
                f"{stalled} has records, but the client delivers none, not even after joining anew:"
                " restart the worker"
            )

    def _why_join(self) -> str:
        """Why this member would wait for ever, which no library notices; empty if it need not."""
        standing, group = self._standing, self._settings.group
        if standing is None:
            return ""
        try:
            members, partitions = self._takeover.members(), self.partitions()
        except LogError:
            return ""
        unknown, self._unknown = self._unknown, {standing.member_id} - members - {""}
        if self._unknown:  # twice: while it joins, a group may not know it yet
            return f"{group} has forgotten {self._worker}" if unknown == self._unknown else ""
        served = self._member.membership.owned() or len(members) > len(partitions)
        return "" if served or not standing.is_stable else f"in {group} without partitions"

    def _is_behind(self, partition: int) -> bool:
        """Whether there is a record to deliver: the log may end in a gap."""
        stands = self._places.of(partition)
        try:
            end = self.bounds(partition)[1]
            if stands is None or stands >= end:
                return False
            return any(True for _ in self._reader.read(partition, stands, end))
        except LogError:
            return False

    def _replace(self) -> None:
        """Join anew. Raises `LogUnavailable`, and then the member is the one before."""
        member = self._driver.join(self._settings, self._worker)
        before, self._member = self._member, member  # other threads use the one that is open
        member.membership.note_lost(before.membership.owned())
        self._places.clear()
        try:
            before.close()
        except LogError as error:
            logger.warning("the consumer before this one is left to itself: %s", error)

    def _try_replace(self, why: str) -> bool:
        """The same in the course of a poll, whose records must not be lost over it."""
        logger.warning("%s: joining anew", why)
        try:
            self._replace()
        except LogUnavailable as error:
            logger.warning("that must wait: %s", error)
            return False
        return True


def _publisher(settings: KafkaSettings, worker: str) -> Publisher:
    if settings.delivery == "at-least-once":
        return Publisher(settings)
    return TransactionalPublisher(settings, transactional_id(settings, worker))
