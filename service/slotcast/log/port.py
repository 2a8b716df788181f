"""The log port: what the worker needs of a partitioned log, and nothing more.

A log holds three topics (ticks, forecasts, dead letters) and the group's committed offsets.
Adapters: `memory` (tests), `sqlite` (embedded, exactly once), `kafka` (kafka-python).

Rules every adapter keeps (tests/contract/test_log.py runs them against each):
- A gained partition is *held*: `poll` returns none of its records until `go(partition, offset)`.
- `poll` returns records in offset order; offsets may have gaps: compare positions, never count.
- `publish` is the only commit point. If it returns, everything in the outbox is in the log and the
  offsets are committed. If it raises `CommitFailed`, the caller must forget what it computed and
  recover from the committed offset.
- One thread calls everything except `append`, `position` and `partitions`: any thread may. Once the
  log is closed, these answer as before or raise `LogError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class LogError(Exception):
    """The log could not do what was asked; the message names the topic and the way out."""


class LogUnavailable(LogError):
    """The log does not answer, or not in time; try again later."""


class CommitFailed(LogError):
    """A publish failed or its outcome is unknown: forget the partitions and recover them."""


class NotYet(CommitFailed):
    """Nothing happened and nothing is wrong: ask again after the next poll."""


class OffsetsLost(LogError):
    """The group has no committed offset although there are forecasts; names the ways out."""


class OffsetOutOfRange(LogError):
    """The wanted offset is no longer (or not yet) in the log."""


class AppendForbidden(LogError):
    """We may not write to the tick topic; the message gives the broker's reason."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of one partition, as columns. All sequences have the same length n.

    `controls[i]` is the value of the header `slotcast-control`, or None for ticks and tombstones.
    `timestamps_ms` are the records' own timestamps (part of the log, not a clock).
    """

    partition: int
    offsets: NDArray[np.int64]
    timestamps_ms: NDArray[np.int64]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    controls: Sequence[bytes | None] | None = None
    """None when no record of the batch is a control record (the usual case)."""

    def __len__(self) -> int:
        return len(self.offsets)

    def pieces(self, most: int) -> Iterator[Batch]:
        """The same records as batches of at most `most`."""
        for first in range(0, len(self), most):
            part = slice(first, first + most)
            yield Batch(
                self.partition,
                self.offsets[part],
                self.timestamps_ms[part],
                self.keys[part],
                self.values[part],
                self.controls[part] if self.controls is not None else None,
            )


@dataclass(frozen=True, slots=True)
class Poll:
    """What one poll brought: batches of live partitions, and membership changes since the last.

    A partition in both `lost` and `gained` was lost and regained: its memory is void.
    """

    batches: Sequence[Batch] = ()
    gained: Sequence[int] = ()
    lost: Sequence[int] = ()


class Committed(NamedTuple):
    """The group's committed position of a partition: next offset to read, and our note on it."""

    offset: int
    metadata: str


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Forecast records of one partition in tick order: columns of the same length.

    `offsets` are the offsets of the ticks they answer; `timestamps_ms` those ticks' record
    timestamps, which become the forecasts' own. `values` may be made while they are read: an
    adapter reads them once.
    """

    partition: int
    offsets: Sequence[int]
    timestamps_ms: Sequence[int]
    keys: Sequence[bytes]
    values: Iterable[bytes]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that is not a valid tick: reason, where it came from, and its original bytes.

    `key` and `value` hold at most the first 64 KiB; `length` and `sha256` are of the whole value.
    Kafka adapters carry everything but key and value as headers: slotcast-reason,
    slotcast-detail, slotcast-topic, slotcast-partition, slotcast-offset, slotcast-timestamp-ms,
    slotcast-length, slotcast-sha256.
    """

    partition: int
    offset: int
    timestamp_ms: int
    reason: str
    detail: str
    key: bytes | None
    value: bytes | None
    length: int
    sha256: str


@dataclass(slots=True)
class Outbox:
    """Everything one commit publishes."""

    forecasts: list[Forecasts] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    offsets: dict[int, Committed] = field(default_factory=dict)


class LogName(NamedTuple):
    """Which log it is: tick topic, the broker's own id of that topic, and group; empty for none.

    A topic that was deleted and created again has another id.
    """

    topic: str
    topic_id: str = ""
    group: str = ""


class Receipt(NamedTuple):
    """Where an appended record is in the tick topic."""

    partition: int
    offset: int


class Log(Protocol):
    """A partitioned log of ticks with its forecasts, dead letters and committed offsets."""

    @property
    def owner(self) -> str:
        """Who commits here, for the note on a commit: empty where nobody else ever does."""

    @property
    def name(self) -> LogName:
        """Which log this is, as of its start."""

    def partitions(self) -> Sequence[int]:
        """All partitions of the tick topic, owned by this worker or not."""

    def poll(self, timeout_ms: int, max_ticks: int) -> Poll:
        """Up to `max_ticks` records of live partitions, at once if there are any.

        Raises `OffsetOutOfRange` where retention has passed the position of one.
        """

    def hold(self, partition: int) -> None:
        """Stop delivering this partition (it stays owned)."""

    def go(self, partition: int, offset: int) -> None:
        """Deliver this owned partition from `offset` on."""

    def committed(self, partition: int) -> Committed | None:
        """The group's committed position, or None if there has never been one.

        Raises `NotYet` while someone may still move it, `OffsetsLost` when it has expired.
        """

    def position(self, partition: int) -> int | None:
        """The group's committed offset as it stands, whoever owns the partition; any thread.

        Only looks: it waits for nobody and ends nothing. Raises `LogError` when there is no answer.
        """

    def bounds(self, partition: int) -> tuple[int, int]:
        """First offset still in the tick log, and the offset after its last stable record."""

    def read(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        """Records with start <= offset < stop, without touching the group or its position.

        Raises `OffsetOutOfRange` if `start` lies before the first offset or `stop` after the end.
        """

    def publish(self, outbox: Outbox) -> None:
        """Publish and commit. Raises `CommitFailed`; `NotYet`, if there are only offsets."""

    def append(
        self, partition: int, key: bytes | None, value: bytes | None, control: bytes | None = None
    ) -> Receipt:
        """Append one record (tombstone, control record) to the tick topic; any thread.

        Returns once it is durable. Raises `LogError` when it is not, or not known to be.
        """

    def close(self) -> None:
        """Leave the group and give everything back; idempotent."""


class TickAppender(Protocol):
    """What appends to the tick topic of a log, for those who are no member of its group."""

    def append(
        self, partition: int, key: bytes | None, value: bytes | None, control: bytes | None
    ) -> Receipt:
        """As `Log.append`."""

    def close(self) -> None:
        """Give everything back; idempotent."""
