"""A partition's log, stepped anew, with a slot for every instrument: from the origin of its memory,
or from the rows of a snapshot.

What comes out is what an uninterrupted run would have published. Nothing is read or written here:
batches come in, stepped batches go out. Memory grows with the number of instruments, not with the
length of the log.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from slotcast.engine import Engine, Stepped
from slotcast.log.port import Batch
from slotcast.records.imports import ImportReader
from slotcast.records.ticks import TickParser
from slotcast.residence import void_row
from slotcast_models.bundle import Bundle
from slotcast_models.memory import APPLIED, SHARE, view
from slotcast_models.predictor import Predictor

FIRST_SLOTS = 1_024


class Recomputation:
    """One memory. `fingerprint` is that of the memory so far."""

    def __init__(self, bundle: Bundle, partition: int) -> None:
        self._parser = TickParser(bundle.schema, ImportReader(bundle))
        self._partition = partition
        self._engine = Engine(Predictor(bundle), FIRST_SLOTS, 0)
        self.fingerprint = 0

    def restore(self, rows: Iterable[tuple[str, NDArray[np.void]]], reset_all: int) -> int:
        """Begin with these rows [1]; those applied before `reset_all` are void.

        Returns the offset after the last one that any of them has applied: stepping skips what a
        row has applied, so all of them have the same place in the log from there on.
        """
        ahead = 0
        for name, row in rows:
            memory = view(row)
            ahead = max(ahead, int(memory.counts[0, APPLIED]) + 1)
            if memory.counts[0, APPLIED] < reset_all:
                void_row(row, reset_all, self._engine.predictor.plan)
            self.fingerprint = (self.fingerprint + int(memory.share[0, SHARE])) % 2**64
            self._make_room(1)
            self._engine.admit(self._partition, name, row)
        return ahead

    def step(self, batch: Batch) -> Stepped:
        """Step the next records of the partition. Raises `UnknownControl`."""
        parsed = self._parser.parse(batch)
        absent = self._engine.absent(self._partition, parsed.names)
        self._make_room(len(absent))
        for name in absent:
            self._engine.admit(self._partition, name)
        stepped = self._engine.advance([parsed])[0]
        self.fingerprint = (self.fingerprint + stepped.share) % 2**64
        return stepped

    def _make_room(self, count: int) -> None:
        slots = self._engine.slots
        if count > slots.capacity - slots.used:
            self._grow(slots.used + count)

    def _grow(self, least: int) -> None:
        old = self._engine
        new = Engine(old.predictor, max(least, 2 * old.slots.capacity), 0)
        for name, slot in old.slots.of_partition(self._partition).items():
            new.admit(self._partition, name, old.rows[slot : slot + 1])
        self._engine = new
