"""The engine: parsed ticks in, forecasts and dead letters out. No I/O.

It owns the rows of all resident instruments. Which rows are here never shows in a forecast: rows
are admitted from bytes and released to bytes unchanged, and every tick of a poll finds its row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slotcast.imports import Imported
from slotcast.slots import Slots
from slotcast.ticks import Parsed, Reject, with_resets
from slotcast_models.bundle import Bundle
from slotcast_models.columns import (
    IMPORT,
    LATE,
    REPEAT,
    RESET,
    TICK,
    VALID,
    Columns,
    Published,
    chosen,
)
from slotcast_models.imports import import_row
from slotcast_models.memory import SHARE
from slotcast_models.predictor import Predictor


@dataclass(frozen=True, slots=True)
class Stepped:
    """What one partition's parsed ticks came to.

    `ticked` are indices into `parsed` of the ticks that were stepped; `published` has one entry per
    entry of `parsed`. `share` is what the partition's fingerprint grew by, modulo 2^64.
    """

    parsed: Parsed
    slot: NDArray[np.int64]
    ticked: NDArray[np.int64]
    published: Published
    late: list[Reject]
    repeats: int
    resets: int
    imports: int
    share: int


class Engine:
    """Rows, slots and the predictor of one bundle."""

    def __init__(self, bundle: Bundle, slots: int, max_poll_ticks: int) -> None:
        """`slots` stay resident between commits, up to `max_poll_ticks` more during a poll."""
        self.predictor = Predictor(bundle)
        self.slots = Slots(slots + max_poll_ticks)
        self.kept, self.most_ticks = slots, max_poll_ticks
        self.rows, self.memory = bundle.layout.allocate(self.slots.capacity)
        self.dirty = np.zeros(self.slots.capacity, np.bool_)
        self._fresh = self.predictor.fresh_row()

    def absent(self, partition: int, names: Sequence[str]) -> list[str]:
        """Distinct instruments of `names` that are not resident, in order of appearance."""
        here = self.slots.of_partition(partition)
        return [name for name in dict.fromkeys(names) if name not in here]

    def admit(self, partition: int, name: str, row: NDArray[np.void] | None = None) -> int:
        """Give an instrument a slot, with its row or a fresh one (None)."""
        slot = self.slots.take(partition, name)
        self.rows[slot] = (self._fresh if row is None else row)[0]
        if row is None and self.memory.vector.size:
            self.memory.vector[slot] = self.predictor.bundle.vector_of(name)
        self.dirty[slot] = False
        return slot

    def release(self, slot: int) -> None:
        """Free a slot; what it held is gone from here."""
        self.slots.release(slot)  # `admit` overwrites the whole row: nothing can leak
        self.dirty[slot] = False

    def forget(self, partition: int) -> None:
        """Free every slot of a partition."""
        for slot in list(self.slots.of_partition(partition).values()):
            self.release(slot)

    def residents(self, partition: int) -> NDArray[np.int64]:
        """Slots of a partition."""
        return np.flatnonzero(self.slots.partition == partition)

    def advance(self, polled: Sequence[Parsed]) -> list[Stepped]:
        """Step a poll's ticks, one parsed batch per partition, at least one. All are resident."""
        expanded = [self._with_reset_all(parsed) for parsed in polled]
        slots = [self._slots_of(parsed) for parsed in expanded]
        slot = np.concatenate(slots)
        columns = Columns(
            slot=slot,
            kind=np.concatenate([p.kind for p in expanded]),
            time_ns=np.concatenate([p.time_ns for p in expanded]),
            sequence=np.concatenate([p.sequence for p in expanded]),
            offset=np.concatenate([p.offset for p in expanded]),
            value=np.concatenate([p.value for p in expanded]),
            step_ns=np.zeros(len(slot), np.int64),
        )
        verdicts = np.zeros(len(slot), np.int8)
        published = self.predictor.allocate_published(len(slot))
        before = [self._shares(s) for s in slots]
        imports = self._imports_of(expanded)
        for part in _between(imports, len(slot)):
            if part.start < part.stop:
                here = Columns._make(column[part] for column in columns)
                self.predictor.advance(self.memory, here, verdicts[part], chosen(published, part))
            if (imported := imports.get(part.stop)) is not None:
                verdicts[part.stop] = import_row(
                    self.rows, int(slot[part.stop]), imported.row, int(columns.offset[part.stop]),
                    imported.digest,
                )  # fmt: skip
        touched = slot[verdicts == VALID]
        self.dirty[touched] = True
        self.slots.touch(touched)
        return self._split(expanded, slots, verdicts, published, before)

    def _with_reset_all(self, parsed: Parsed) -> Parsed:
        """A reset-all becomes a reset of every resident instrument, at its place in the log."""
        here = self.slots.of_partition(parsed.batch.partition)
        resets = [(offset, name) for offset in parsed.reset_all for name in here]
        return with_resets(parsed, resets) if resets else parsed

    def _imports_of(self, polled: Sequence[Parsed]) -> dict[int, Imported]:
        """Imports by their place among the columns of all partitions, in order."""
        found, start = dict[int, Imported](), 0
        for parsed in polled:
            if parsed.imports:
                for i in np.flatnonzero(parsed.kind == IMPORT).tolist():
                    found[start + i] = parsed.imports[int(parsed.offset[i])]
            start += len(parsed.names)
        return found

    def _slots_of(self, parsed: Parsed) -> NDArray[np.int64]:
        here = self.slots.of_partition(parsed.batch.partition)
        return np.fromiter((here[name] for name in parsed.names), np.int64, len(parsed.names))

    def _shares(self, slots: NDArray[np.int64]) -> int:
        return int(self.memory.share[np.unique(slots), SHARE].sum(dtype=np.uint64))

    def _split(
        self,
        polled: Sequence[Parsed],
        slots: Sequence[NDArray[np.int64]],
        verdicts: NDArray[np.int8],
        published: Published,
        before: Sequence[int],
    ) -> list[Stepped]:
        stepped, start = [], 0
        for parsed, slot, share in zip(polled, slots, before, strict=True):
            part = slice(start, start + len(slot))
            verdict, kind = verdicts[part], parsed.kind
            start = part.stop
            stepped.append(
                Stepped(
                    parsed=parsed,
                    slot=slot,
                    ticked=np.flatnonzero((verdict == VALID) & (kind == TICK)),
                    published=chosen(published, part),
                    late=[
                        Reject(place, "late", "before the instrument's last tick")
                        for place in parsed.place[verdict == LATE].tolist()
                    ],
                    repeats=int((verdict == REPEAT).sum()),
                    resets=int(((verdict == VALID) & (kind == RESET)).sum()),
                    imports=int(((verdict == VALID) & (kind == IMPORT)).sum()),
                    share=(self._shares(slot) - share) % 2**64,
                )
            )
        return stepped


def _between(places: Collection[int], end: int) -> Iterator[slice]:
    """The stretches before each of these places, and after the last one, up to `end`."""
    start = 0
    for place in [*places, end]:
        yield slice(start, place)
        start = place + 1
