"""A log in memory, for tests and simulation: deterministic, no clock, no waiting.

Members share a `MemoryBroker`. The first member owns every partition; `assign` moves partitions
between members, or takes one away and gives it back. `skip` leaves a gap in the offsets, `trim`
forgets old ticks. It does not persist anything.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np

from slotcast.log.port import (
    Batch,
    CommitFailed,
    Committed,
    DeadLetter,
    Forecasts,
    LogError,
    LogName,
    OffsetOutOfRange,
    OffsetsLost,
    Outbox,
    Poll,
    Receipt,
)


class Tick(NamedTuple):
    """A record of the tick topic."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    control: bytes | None


class Forecast(NamedTuple):
    """A record of the forecast topic; `offset` is that of the tick it answers."""

    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes


class MemoryBroker:
    """Topics, offsets and owners that the members share."""

    def __init__(self, partitions: int = 1) -> None:
        self.lock = Lock()
        self.ticks: list[list[Tick]] = [[] for _ in range(partitions)]
        self.first = [0] * partitions
        self.end = [0] * partitions
        self.forecasts: list[list[Forecast]] = [[] for _ in range(partitions)]
        self.dead_letters: list[list[DeadLetter]] = [[] for _ in range(partitions)]
        self.offsets: dict[int, Committed] = {}
        self.owners: dict[int, MemoryLog] = {}
        self.topic_id = ""

    def feed(
        self,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        timestamp_ms: int,
        control: bytes | None = None,
    ) -> int:
        """Append a tick and return its offset."""
        with self.lock:
            offset = self.end[partition]
            self.ticks[partition].append(Tick(offset, timestamp_ms, key, value, control))
            self.end[partition] = offset + 1
        return offset

    def skip(self, partition: int, count: int = 1) -> None:
        """Leave `count` offsets without a record, as transaction markers do."""
        self.end[partition] += count

    def trim(self, partition: int, before_offset: int) -> None:
        """Forget the ticks before this offset, as retention does."""
        self.first[partition] = before_offset
        del self.ticks[partition][: self.place(partition, before_offset)]

    def make_anew(self, topic_id: str) -> None:
        """Delete the tick topic and create it again, empty: offsets go with it, forecasts stay."""
        count = len(self.ticks)
        self.ticks, self.first, self.end = [[] for _ in self.ticks], [0] * count, [0] * count
        self.topic_id = topic_id
        self.offsets.clear()

    def commit(self, outbox: Outbox) -> None:
        """Make everything in the outbox part of the log, whoever sent it."""
        made = [(column.partition, _records(column)) for column in outbox.forecasts]
        for partition, forecasts in made:
            self.forecasts[partition] += forecasts
        for letter in outbox.dead_letters:
            self.dead_letters[letter.partition].append(letter)
        self.offsets.update(outbox.offsets)

    def place(self, partition: int, offset: int) -> int:
        """Place in `ticks` of the first record at or after `offset`."""
        return bisect_left(self.ticks[partition], (offset,))

    def assign(self, member: MemoryLog | None, *partitions: int) -> None:
        """Make `member` the owner; the members learn of it at their next poll."""
        for partition in partitions:
            if owner := self.owners.pop(partition, None):
                owner.note_lost(partition)
            if member:
                self.owners[partition] = member
                member.note_gained(partition)


class MemoryLog:
    """A member of the group; owns what no other member owns at its start."""

    owner = ""

    def __init__(self, partitions: int = 1, broker: MemoryBroker | None = None) -> None:
        self.broker = broker or MemoryBroker(partitions)
        self._live: dict[int, int] = {}
        self._gained: list[int] = []
        self._lost: list[int] = []
        self._polls = 0
        self.feed = self.broker.feed
        self.broker.assign(self, *(p for p in self.partitions() if p not in self.broker.owners))

    @property
    def name(self) -> LogName:
        """Which log this is."""
        return LogName("ticks", self.broker.topic_id)

    def note_gained(self, partition: int) -> None:
        """The broker gave us this partition; the next poll says so."""
        self._gained.append(partition)

    def note_lost(self, partition: int) -> None:
        """The broker took this partition; the next poll says so, once, and before any regain."""
        self._live.pop(partition, None)
        if partition in self._gained:
            self._gained.remove(partition)
        elif partition not in self._lost:
            self._lost.append(partition)

    def partitions(self) -> Sequence[int]:
        """All partitions of the tick topic."""
        return range(len(self.broker.ticks))

    def poll(self, timeout_ms: int, max_ticks: int) -> Poll:
        """Records of live partitions; never waits. Partitions take turns at being first."""
        gained, lost, self._gained, self._lost = self._gained, self._lost, [], []
        batches = []
        self._polls += 1
        live = sorted(self._live)
        turn = self._polls % max(len(live), 1)
        for partition in live[turn:] + live[:turn]:
            if self._live[partition] < self.broker.first[partition]:
                self._gained, self._lost = gained, lost
                raise OffsetOutOfRange(f"ticks-{partition} was trimmed beyond us")
            batch = self._batch(partition, self._live[partition], max_ticks)
            if len(batch):
                self._live[partition] = int(batch.offsets[-1]) + 1
                max_ticks -= len(batch)
                batches.append(batch)
        return Poll(batches, sorted(gained), sorted(lost))

    def hold(self, partition: int) -> None:
        """Stop delivering this partition."""
        self._live.pop(partition, None)

    def go(self, partition: int, offset: int) -> None:
        """Deliver from `offset` on; nothing happens if the partition was lost since the poll."""
        first, end = self.bounds(partition)
        if not first <= offset <= end:
            raise OffsetOutOfRange(f"ticks-{partition} holds {first} to {end}, not {offset}")
        if self.broker.owners.get(partition) is self and partition not in self._gained:
            self._live[partition] = offset

    def committed(self, partition: int) -> Committed | None:
        """The committed position, or None."""
        found = self.broker.offsets.get(partition)
        if found is None and self.broker.forecasts[partition]:
            raise OffsetsLost(f"ticks-{partition} has forecasts, but no committed offset")
        return found

    def position(self, partition: int) -> int | None:
        """The committed offset, or None."""
        committed = self.broker.offsets.get(partition)
        return committed.offset if committed else None

    def bounds(self, partition: int) -> tuple[int, int]:
        """First offset and the offset after the last record or gap."""
        return self.broker.first[partition], self.broker.end[partition]

    def read(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        """Records with start <= offset < stop, in batches of at most 1,000."""
        first, end = self.bounds(partition)
        if start < first or stop > end:
            raise OffsetOutOfRange(
                f"ticks-{partition} holds {first} to {end}, asked for {start} to {stop}"
            )
        return self._read(partition, start, stop)

    def publish(self, outbox: Outbox) -> None:
        """Publish and commit in one step. `CommitFailed` if a partition has another owner."""
        for partition in outbox.offsets:
            if self.broker.owners.get(partition) is not self:
                raise CommitFailed(f"ticks-{partition} has another owner: forget and recover it")
        self.broker.commit(outbox)

    def append(
        self, partition: int, key: bytes | None, value: bytes | None, control: bytes | None = None
    ) -> Receipt:
        """Append a record, with the timestamp of the record before it."""
        if partition not in self.partitions():
            raise LogError(f"ticks has no partition {partition}")
        ticks = self.broker.ticks[partition]
        timestamp_ms = ticks[-1].timestamp_ms if ticks else 0
        return Receipt(partition, self.feed(partition, key, value, timestamp_ms, control))

    def forecasts(self, partition: int) -> list[Forecast]:
        """Everything published to this partition of the forecast topic."""
        return self.broker.forecasts[partition]

    def dead_letters(self, partition: int) -> list[DeadLetter]:
        """Everything published to this partition of the dead-letter topic."""
        return self.broker.dead_letters[partition]

    def close(self) -> None:
        """Leave the group."""
        owned = [p for p, owner in self.broker.owners.items() if owner is self]
        self.broker.assign(None, *owned)

    def _read(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        while len(batch := self._batch(partition, start, 1_000, stop)):
            yield batch
            start = int(batch.offsets[-1]) + 1

    def _batch(self, partition: int, start: int, limit: int, stop: int | None = None) -> Batch:
        broker = self.broker
        lo = broker.place(partition, start)
        hi = min(lo + limit, len(broker.ticks[partition]))
        if stop is not None:
            hi = min(hi, broker.place(partition, stop))
        ticks = broker.ticks[partition][lo:hi]
        offsets, timestamps_ms, keys, values, controls = (
            zip(*ticks, strict=True) if ticks else [()] * 5
        )
        return Batch(
            partition,
            np.array(offsets, np.int64),
            np.array(timestamps_ms, np.int64),
            keys,
            values,
            controls if any(control is not None for control in controls) else None,
        )


def _records(column: Forecasts) -> list[Forecast]:
    columns = column.offsets, column.timestamps_ms, column.keys, column.values
    return [Forecast(*one) for one in zip(*columns, strict=True)]
