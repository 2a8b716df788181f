"""A partition's log, stepped anew from where its memory began, with a slot for every instrument.

What comes out is what an uninterrupted run would have published. Nothing is read or written here:
batches come in, stepped batches go out. Memory grows with the number of instruments, not with the
length of the log.
"""

from __future__ import annotations

from slotcast.engine import Engine, Stepped
from slotcast.log.port import Batch
from slotcast.ticks import TickParser
from slotcast_models.bundle import Bundle

FIRST_SLOTS = 1_024


class Recomputation:
    """One memory, from its origin on. `fingerprint` is that of the memory so far."""

    def __init__(self, bundle: Bundle, partition: int) -> None:
        self._parser, self._partition = TickParser(bundle.schema), partition
        self._engine = Engine(bundle, FIRST_SLOTS, 0)
        self.fingerprint = 0

    def step(self, batch: Batch) -> Stepped:
        """Step the next records of the partition. Raises `UnknownControl`."""
        parsed = self._parser.parse(batch)
        absent = self._engine.absent(self._partition, parsed.names)
        slots = self._engine.slots
        if len(absent) > slots.capacity - slots.used:
            self._grow(slots.used + len(absent))
        for name in absent:
            self._engine.admit(self._partition, name)
        stepped = self._engine.advance([parsed])[0]
        self.fingerprint = (self.fingerprint + stepped.share) % 2**64
        return stepped

    def _grow(self, least: int) -> None:
        old = self._engine
        new = Engine(old.predictor.bundle, max(least, 2 * old.slots.capacity), 0)
        for name, slot in old.slots.of_partition(self._partition).items():
            new.admit(self._partition, name, old.rows[slot : slot + 1])
        self._engine = new
