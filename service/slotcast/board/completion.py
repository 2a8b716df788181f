"""Completing the board: what a start has left in the store is shown too, slice by slice.

A partition goes live with the instruments that are in their slots. The others are paged out, and
readers want them as well: names to search for, a last forecast, a skill. A few hundred are read at
once; the rows of the others in slices between cycles, when no partition recovers, and only now and
then while ticks are delivered. A store that is away is asked again later. Once all are shown,
nothing is done any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from slotcast.board.board import Board
from slotcast.engine import Engine
from slotcast.partition import Partition, Phase
from slotcast.residence import Residence
from slotcast.snapshots.snapshot import SnapshotDamaged
from slotcast.store.port import StoreError

FIRST_ROWS = 500
"""When a partition goes live: with so few instruments the board is complete from the start."""
ROWS = 250
"""In a slice, which takes 10 to 20 ms with Redis."""
BUSY_S = 0.5
"""Between slices while ticks are delivered."""
AWAY_S = 5.0
"""Until a store that did not answer is asked again."""


class Completion:
    """What is not shown yet, of all partitions of a worker; used by its thread."""

    def __init__(
        self, board: Board, residence: Residence, engine: Engine, clock: Callable[[], float]
    ) -> None:
        self._board, self._residence, self._engine = board, residence, engine
        self._clock = clock
        self._left: dict[int, list[str]] = {}
        """Partition -> names that are still to be looked at, from the last to the first."""
        self._busy_until = self._away_until = 0.0

    def begin(self, partition: Partition) -> None:
        """The partition has gone live, and what is in its slots is shown."""
        self._left[partition.number] = list(partition.index)
        self._show_some(partition, FIRST_ROWS)

    def advance(self, partitions: Mapping[int, Partition], *, idle: bool) -> None:
        """One slice, if it is time for one: `idle` says that there were no ticks to deliver."""
        if not self._left:
            return
        now = self._clock()
        if now < self._away_until or (now < self._busy_until and not idle):
            return
        number = next(iter(self._left))
        partition = partitions.get(number)
        if partition is None or partition.phase is not Phase.LIVE:
            del self._left[number]  # it begins again when it is live
            return
        self._show_some(partition, ROWS)
        self._busy_until = now + BUSY_S

    def _show_some(self, partition: Partition, most: int) -> None:
        number = partition.number
        names, here = self._left[number], self._engine.slots.of_partition(number)
        away = [name for name in names[-most:] if name not in here]
        try:
            found = self._rows(partition, self._board.lacking(number, away))
        except StoreError:  # its failures are told where it is asked
            self._away_until = self._clock() + AWAY_S
            return
        if found:
            rows = _beside_each_other([row for _, row in found])
            self._board.complete(number, [name for name, _ in found], rows, self._engine.predictor)
        del names[-most:]
        if not names:
            del self._left[number]

    def _rows(
        self, partition: Partition, names: Sequence[str]
    ) -> list[tuple[str, NDArray[np.void]]]:
        """The rows of these instruments; damaged ones are left out. Raises StoreError."""
        try:
            return self._residence.peek(partition, names)
        except SnapshotDamaged:  # which is dealt with when its instrument ticks
            half = len(names) // 2
            if not half:
                return []
            return self._rows(partition, names[:half]) + self._rows(partition, names[half:])


def _beside_each_other(rows: Sequence[NDArray[np.void]]) -> NDArray[np.void]:
    """Arrays of one row as one array. As bytes: numpy would compare the fields of every one."""
    kind = rows[0].dtype
    return np.concatenate([row.view(f"V{kind.itemsize}") for row in rows]).view(kind)
