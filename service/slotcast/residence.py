"""Residence: rows come into slots from the store when their instrument ticks, and leave again.

Paging is invisible: a row leaves after the commit that contains it, written first if it changed,
and comes back with the same bytes. A row that the index promises and the store does not deliver is
never taken for a new instrument: `SnapshotDamaged` sends the partition into recovery.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from slotcast.engine import Engine
from slotcast.partition import Partition
from slotcast.snapshots.snapshot import (
    SnapshotDamaged,
    bring_marks_forward,
    decode_row,
    encode_row,
    share_at,
)
from slotcast.store.port import Store, StoredRow, StoreFenced, StoreUnavailable
from slotcast_models.columns import Plan
from slotcast_models.fresh import wipe
from slotcast_models.memory import APPLIED, MARK_A, MARK_B, NEVER, SEQUENCE, TIME, view

WRITE_ROWS = 256
"""Rows in one fenced write."""


class NoSlotLeft(StoreUnavailable):
    """Rows cannot leave while the store is away, and may not take more memory."""


class Left(NamedTuple):
    """Who was paged out, as (partition, instrument), and partitions whose claim is not ours."""

    paged_out: list[tuple[int, str]]
    fenced: dict[int, StoreFenced]


class Residence:
    """Moves rows between the store and the engine's slots."""

    def __init__(self, engine: Engine, store: Store) -> None:
        self._engine, self._store = engine, store
        self._unsure: dict[int, tuple[dict[str, StoredRow], bytes | None]] = {}
        self.page_ins = 0
        self.page_outs = 0

    def bring_in(self, partition: Partition, names: Sequence[str]) -> None:
        """Make every instrument of `names` resident.

        Raises StoreUnavailable when a row cannot be read, NoSlotLeft, SnapshotDamaged when a row is
        not what the index says.
        """
        engine = self._engine
        absent = engine.absent(partition.number, names)
        if not engine.make_room(len(absent)):
            raise NoSlotLeft(
                f"no slot for {len(absent)} instruments: rows cannot be paged out, and may not take"
                " more than worker.most_rows_mb: bring the store back, or raise that"
            )
        stored = [name for name in absent if name in partition.index]
        rows = self._read(partition, stored)
        for name in absent:
            row = rows.get(name)
            slot = engine.admit(partition.number, name, row)
            if row is None:
                engine.memory.counts[slot, MARK_A] = partition.marks[0]
                engine.memory.counts[slot, MARK_B] = partition.marks[1]
        self.page_ins += len(stored)

    def _read(self, partition: Partition, names: Sequence[str]) -> dict[str, NDArray[np.void]]:
        if not names:
            return {}
        found = self._store.rows(partition.number, names)
        return {
            name: self._checked(partition, name, data)
            for name, data in zip(names, found, strict=True)
        }

    def _checked(self, partition: Partition, name: str, data: bytes | None) -> NDArray[np.void]:
        promised = partition.index[name]
        if data is None:
            raise SnapshotDamaged(f"row of {name}, applied to {promised}, is gone from the store")
        row = decode_row(name, data, self._engine.rows.dtype)
        applied = int(view(row).counts[0, APPLIED])
        if applied < promised:
            raise SnapshotDamaged(f"row of {name} is at {applied}, the index says {promised}")
        if applied >= partition.committed:
            raise SnapshotDamaged(
                f"row of {name} is at {applied}, beyond the committed offset {partition.committed}"
            )
        if name in partition.ahead:
            now = int(view(row).share[0, 0])
            partition.fingerprint += now - share_at(row, partition.watermark)
            partition.fingerprint %= 2**64
            partition.ahead.discard(name)
        bring_marks_forward(row, partition.marks)
        if applied < partition.reset_all:
            void_row(row, partition.reset_all, self._engine.predictor.plan)
        return row

    def peek(
        self, partition: Partition, names: Sequence[str]
    ) -> list[tuple[str, NDArray[np.void]]]:
        """Rows of paged-out instruments for readers; they stay where they are.

        Raises StoreError, SnapshotDamaged. Rows that a reset-all made void are left out.
        """
        found = self._store.rows(partition.number, names) if names else []
        rows = [
            (name, decode_row(name, data, self._engine.rows.dtype))
            for name, data in zip(names, found, strict=True)
            if data is not None
        ]
        return [
            (name, row) for name, row in rows
            if int(view(row).counts[0, APPLIED]) >= partition.reset_all
        ]  # fmt: skip

    def write(self, partition: Partition, slots: Iterable[int]) -> None:
        """Write these rows of one partition, in fenced batches. Raises StoreError."""
        engine, slots = self._engine, list(slots)
        for start in range(0, len(slots), WRITE_ROWS):
            part = slots[start : start + WRITE_ROWS]
            rows = {}
            for slot in part:
                name = engine.slots.names[slot]
                assert name is not None, slot
                applied = int(engine.memory.counts[slot, APPLIED])
                rows[name] = StoredRow(applied, encode_row(name, engine.rows[slot]))
            self.put(partition, rows, None)
            engine.dirty[part] = False

    def put(self, partition: Partition, rows: dict[str, StoredRow], header: bytes | None) -> None:
        """One fenced write. Raises StoreError.

        A write that got no answer is repeated, byte for byte, before anything else is written: the
        store recognises it, or refuses it because it went back in time.
        """
        unsure = self._unsure.pop(partition.number, None)
        for write in ((unsure,) if unsure else ()) + ((rows, header),):
            assert partition.claim is not None, partition.number
            try:
                partition.claim = self._store.write(partition.number, partition.claim, *write)
            except StoreUnavailable:
                self._unsure[partition.number] = write
                raise
            partition.index.update((name, row.applied) for name, row in write[0].items())

    def forget(self, partition: Partition) -> None:
        """Drop what is known of the partition's rows."""
        self._engine.forget(partition.number)
        self._unsure.pop(partition.number, None)

    def forget_store(self, partition: Partition) -> bool:
        """Forget what the store had, if all of it is resident; whether it is."""
        here = self._engine.slots.of_partition(partition.number)
        if partition.index.keys() - here.keys():
            return False
        self._unsure.pop(partition.number, None)
        partition.claim, partition.index = None, {}
        self._engine.dirty[self._engine.residents(partition.number)] = True
        return True

    def page_out(self, partitions: dict[int, Partition]) -> Left:
        """Release these partitions' least recently ticked instruments beyond the configured slots.

        Called between commits (or slices of a replay) only. Raises StoreError; what was written
        before is released.
        """
        engine, left, fenced = self._engine, list[tuple[int, str]](), dict[int, StoreFenced]()
        over = engine.slots.used - engine.kept
        if over <= 0:
            return Left(left, fenced)
        by_partition: dict[int, list[int]] = {}
        for slot in engine.slots.least_recent(over, partitions):
            by_partition.setdefault(int(engine.slots.partition[slot]), []).append(slot)
        for number, slots in by_partition.items():
            if partitions[number].claim is None:
                continue
            try:
                self.write(partitions[number], [slot for slot in slots if engine.dirty[slot]])
            except StoreFenced as error:
                fenced[number] = error
                continue
            left += [(number, str(engine.slots.names[slot])) for slot in slots]
            for slot in slots:
                engine.release(slot)
        self.page_outs += len(left)
        return Left(left, fenced)


def void_row(row: NDArray[np.void], reset_all: int, plan: Plan) -> None:
    """Apply a reset-all at offset `reset_all` to a row that was paged out when it came."""
    memory = view(row)
    wipe(memory, 0, plan)
    memory.counts[0, TIME], memory.counts[0, SEQUENCE] = NEVER, NEVER
    memory.counts[0, APPLIED] = reset_all
