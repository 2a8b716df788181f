"""The group's committed offsets, asked for beside the group: one question, one answer, no waiting.

The consumer's own call waits until no transaction may still move an offset, and meanwhile the whole
worker stands still. Here that is `NotYet`. This module changes no offset and joins no group.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from typing import Any

import msgspec
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import RetriableError, UnstableOffsetCommitError

from slotcast.log.kafka.client import committed_at, connection, kafka_errors, started
from slotcast.log.kafka.reader import Reader
from slotcast.log.kafka.topics import partitions_of
from slotcast.log.port import Committed, LogError, NotYet, OffsetsLost
from slotcast.settings import KafkaSettings


class OffsetAdmin(KafkaAdminClient):  # type: ignore[misc]  # an untyped class
    """An admin client that can insist on stable offsets."""

    require_stable = False

    def _list_group_offsets_requests(self, specs: Any) -> Iterator[Any]:
        for group, request in super()._list_group_offsets_requests(specs):
            request.require_stable = self.require_stable
            yield group, request


class Offsets:
    """Reads committed offsets; used by one thread."""

    def __init__(self, settings: KafkaSettings, admin: OffsetAdmin) -> None:
        self._settings, self._admin = settings, admin
        self._forecasts: Reader | None = None

    def stable(self, partition: int) -> Committed | None:
        """The committed offset once nobody can move it any more, else `NotYet`.

        Raises `OffsetsLost` if there is none although there have been forecasts.
        """
        found = self._fetch(partition, stable=True)
        if found is None:
            self._check_new(partition)
        return found

    def latest(self, partition: int) -> Committed | None:
        """The committed offset as it stands, open transactions aside."""
        return self._fetch(partition, stable=False)

    def close(self) -> None:
        """Close what was opened for the questions."""
        if self._forecasts is not None:
            self._forecasts.close()

    def _check_new(self, partition: int) -> None:
        """A group without an offset is new, unless it has made forecasts.

        A partition that the topic got while we run may have no place for its forecasts yet.
        """
        settings = self._settings
        with kafka_errors(f"look at topic {settings.forecasts}", settings):
            count = partitions_of(self._admin, [settings.forecasts]).get(settings.forecasts, 0)
        if partition >= count:
            raise NotYet(
                f"topic {settings.forecasts} has {count} partitions, too few for"
                f" {settings.ticks}-{partition}: give {settings.forecasts} at least {partition + 1}"
            )
        self._forecasts = self._forecasts or Reader(self._settings, self._settings.forecasts)
        first, end = self._forecasts.bounds(partition)
        last = _last_value(self._forecasts, partition, first, end)
        if first or last is not None:  # trimmed, or there
            raise _lost(self._settings, partition, _tick_of(last or b""))

    def _fetch(self, partition: int, stable: bool) -> Committed | None:
        group, tp = self._settings.group, TopicPartition(self._settings.ticks, partition)
        name = f"{tp.topic}-{partition}"
        self._admin.require_stable = stable
        with kafka_errors(f"read the committed offset of {name}", self._settings):
            try:
                found = self._admin.list_group_offsets({group: [tp]})[group].get(tp)
            except UnstableOffsetCommitError as error:
                raise NotYet(
                    f"an open transaction may still move the offset of {name}; it ends within"
                    f" kafka.transaction_timeout_ms = {self._settings.transaction_timeout_ms}"
                    " of its owner"
                ) from error
            except RetriableError as error:
                raise NotYet(f"the broker cannot tell the offset of {name}: {error}") from error
        return committed_at(found)


class Positions:
    """Committed offsets as they stand, for any thread; settles nothing and waits for nobody."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._admin: OffsetAdmin | None = None
        self._closed = False

    def of(self, partition: int) -> int | None:
        """The group's committed offset, or None. Raises `LogError`."""
        found = Offsets(self._settings, self._open()).latest(partition)
        return found.offset if found else None

    def close(self) -> None:
        """Close the connection; there is no answer afterwards."""
        with self._lock:
            admin, self._admin, self._closed = self._admin, None, True
        if admin is not None:
            admin.close()

    def _open(self) -> OffsetAdmin:
        doing = f"ask about group {self._settings.group}"
        with self._lock:
            if self._closed:
                raise LogError(f"cannot {doing}: the log is closed")
            if self._admin is None:
                with kafka_errors(doing, self._settings):
                    self._admin = started(OffsetAdmin, **connection(self._settings))
            return self._admin


def _last_value(reader: Reader, partition: int, first: int, end: int) -> bytes | None:
    """The last committed record; there may be many marks of transactions behind it."""
    start = end
    while start > first:
        start = max(first, end - 8 * (end - start + 1))
        if batches := list(reader.read(partition, start, end)):
            return batches[-1].values[-1]
    return None


def _tick_of(forecast: bytes) -> int | None:
    try:
        return int(msgspec.json.decode(forecast)["tick"]["offset"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return None


def _lost(settings: KafkaSettings, partition: int, last_tick: int | None) -> OffsetsLost:
    upto = "" if last_tick is None else f" up to tick {last_tick}"
    return OffsetsLost(
        f"group {settings.group} has no committed offset for {settings.ticks}-{partition}, but"
        f" {settings.forecasts}-{partition} holds forecasts{upto}: the offsets have expired, the"
        " topic was made anew, or the group is a new one. Expired: stop all workers, then  slotcast"
        " offsets restore  brings them back (with the same --config). For a new group name another"
        " kafka.forecasts"
    )
