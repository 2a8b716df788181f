"""The history port: what was written to a log, read back without taking part in it.

For proofs (`verify`, `derive`). Nobody is a member here: no group is joined, no position moves,
nothing is written, and a worker may be at work meanwhile. Adapters: `memory/history.py` (tests),
`sqlite/history.py` (embedded), `kafka/history.py`.

Rules every adapter keeps (tests/contract/test_history.py runs them against each):
- Only committed records, in the order of the log. Positions may have gaps.
- What was published with an offset that `committed` has returned lies before the end that a later
  `bounds` returns: there is nothing that could still turn up behind a reader's back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

from slotcast.log.port import Batch, Committed, DeadLetter, LogName

Topic = Literal["ticks", "forecasts", "dead_letters"]


class History(Protocol):
    """The three topics of a log and the group's committed offsets, to be read.

    A *position* is a record's place in its own topic; an offset is always that of a tick. Readers
    raise `OffsetOutOfRange` where retention has removed what they are asked for, `LogError` where
    the log cannot be read.
    """

    def name(self) -> LogName:
        """Which log this is."""

    def partitions(self) -> Sequence[int]:
        """All partitions of the tick topic."""

    def committed(self, partition: int) -> Committed | None:
        """The group's committed position and our note on it, or None if there is none."""

    def bounds(self, topic: Topic, partition: int) -> tuple[int, int]:
        """First position still there, and the position after the last record."""

    def readable(self, topic: Topic, partition: int) -> tuple[int, int]:
        """The same without waiting: what was published may still turn up behind the end."""

    def ticks(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        """Records of the tick topic with start <= offset < stop."""

    def forecasts(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        """Records of the forecast topic; a batch's offsets are their positions."""

    def dead_letters(self, partition: int, start: int, stop: int) -> Iterator[DeadLetter]:
        """The dead letters of this partition's ticks among those positions."""

    def close(self) -> None:
        """Give everything back; idempotent."""
