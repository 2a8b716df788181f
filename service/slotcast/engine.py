"""The engine: parsed ticks in, forecasts and dead letters out. No I/O.

It owns the rows of all resident instruments. Which rows are here never shows in a forecast: rows
are admitted from bytes and released to bytes unchanged, and every tick of a poll finds its row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slotcast.records.imports import Imported
from slotcast.records.ticks import Parsed, Reject, with_resets
from slotcast.slots import Slots
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

    def __init__(
        self, predictor: Predictor, slots: int, max_poll_ticks: int, most_rows_mb: float = 0.0
    ) -> None:
        """`slots` stay resident between commits, up to `max_poll_ticks` more during a poll.

        Rows that cannot leave meanwhile may take up to `most_rows_mb`.
        """
        self.predictor = predictor
        self._most_rows_mb = most_rows_mb
        self.slots = Slots(slots + max_poll_ticks)
        self.kept, self.most_ticks = slots, max_poll_ticks
        self.rows, self.memory = predictor.layout.allocate(self.slots.capacity)
        self.dirty = np.zeros(self.slots.capacity, np.bool_)
        self._fresh = self.predictor.fresh_row()

    def absent(self, partition: int, names: Sequence[str]) -> list[str]:
        """Distinct instruments of `names` that are not resident, in order of appearance."""
        here = self.slots.of_partition(partition)
        return [name for name in dict.fromkeys(names) if name not in here]

    def make_room(self, count: int) -> bool:
        """Have free slots for so many; whether there are, and may be."""
        capacity = self.slots.capacity
        missing = count - (capacity - self.slots.used)
        if missing <= 0:
            return True
        most = int(self._most_rows_mb * 1e6) // self.rows.dtype.itemsize
        if capacity + missing > most:
            return False
        more = min(max(missing, capacity // 2), most - capacity)
        rows, memory = self.predictor.layout.allocate(capacity + more)
        rows[:capacity] = self.rows
        self.rows, self.memory = rows, memory
        self.dirty = np.concatenate([self.dirty, np.zeros(more, np.bool_)])
        self.slots.grow(more)
        return True

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
        columns = _joined(expanded, slots)
        slot = columns.slot
        verdicts = np.zeros(len(slot), np.int8)
        published = self.predictor.allocate_published(len(slot))
        distinct = [np.unique(s) for s in slots]
        before = [self._shares(s) for s in distinct]
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
        grown = [self._shares(s) - b for s, b in zip(distinct, before, strict=True)]
        return _split(expanded, slots, verdicts, published, grown)

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
        return int(self.memory.share[slots, SHARE].sum(dtype=np.uint64))


def _joined(polled: Sequence[Parsed], slots: Sequence[NDArray[np.int64]]) -> Columns:
    """The columns of all partitions, one after another."""
    step_ns = np.zeros(sum(map(len, slots)), np.int64)
    if len(polled) == 1:  # a poll of one partition, and every replay: nothing to copy
        one = polled[0]
        return Columns(
            slots[0], one.kind, one.time_ns, one.sequence, one.offset, one.value, step_ns
        )
    return Columns(
        slot=np.concatenate(slots),
        kind=np.concatenate([p.kind for p in polled]),
        time_ns=np.concatenate([p.time_ns for p in polled]),
        sequence=np.concatenate([p.sequence for p in polled]),
        offset=np.concatenate([p.offset for p in polled]),
        value=np.concatenate([p.value for p in polled]),
        step_ns=step_ns,
    )


def _split(
    polled: Sequence[Parsed],
    slots: Sequence[NDArray[np.int64]],
    verdicts: NDArray[np.int8],
    published: Published,
    grown: Sequence[int],
) -> list[Stepped]:
    stepped, start = [], 0
    for parsed, slot, share in zip(polled, slots, grown, strict=True):
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
                share=share % 2**64,
            )
        )
    return stepped


def _between(places: Collection[int], end: int) -> Iterator[slice]:
    """The stretches before each of these places, and after the last one, up to `end`."""
    start = 0
    for place in [*places, end]:
        yield slice(start, place)
        start = place + 1
