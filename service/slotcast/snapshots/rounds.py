"""Snapshot rounds: dirty rows to the store in slices between cycles, then the watermark.

A round begins at a committed offset O and notes every resident row's share there. Rows are written
with what they hold when their turn comes, which may be ahead of O: replay skips what a row has
applied. The watermark O follows last, alone, once every row that was dirty at O is written.

The failpoints (`slotcast.failpoints`): snapshot-begun, snapshot-rows (after each slice),
before-watermark, after-watermark.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from slotcast.engine import Engine
from slotcast.failpoints import at
from slotcast.log.port import LogName, NotYet
from slotcast.partition import Partition
from slotcast.residence import WRITE_ROWS, Residence
from slotcast.snapshots.snapshot import Header, begin_marks, encode_header
from slotcast.store.port import Store, StoreError, StoreFenced

log = logging.getLogger("slotcast.snapshots.rounds")


@dataclass(slots=True)
class Round:
    """A snapshot on its way: the header to write, and (slot, name) of the rows still to write."""

    header: Header
    waiting: list[tuple[int, str]]
    begun: float


class Snapshots:
    """Rounds of all live partitions. Time is only spacing: it never reaches memory."""

    def __init__(
        self,
        engine: Engine,
        residence: Residence,
        store: Store,
        name: LogName,
        numerics: str,
        interval_s: float,
        clock: Callable[[], float],
        took: Callable[[float], None],
        prove: Callable[[Partition], None],
    ) -> None:
        """`took` is told the seconds of every round that is complete.

        `prove` shows that the partition is ours, or raises `CommitFailed`.
        """
        self._engine, self._residence, self._store = engine, residence, store
        self._name, self._numerics = name, numerics
        self._interval_s, self._clock, self._took = interval_s, clock, took
        self._prove = prove
        self._rounds: dict[int, Round] = {}
        self._due: dict[int, float] = {}

    def forget(self, partition: Partition) -> None:
        """Drop the partition's round."""
        self._rounds.pop(partition.number, None)
        self._due.pop(partition.number, None)

    def advance(self, partition: Partition) -> None:
        """One slice of work for a live partition. Raises StoreFenced, CommitFailed.

        Any other trouble with the store is logged and tried again after the interval; the round
        stays open.
        """
        number, now = partition.number, self._clock()
        if now < self._due.setdefault(number, now + self._interval_s):
            return
        try:
            if partition.claim is None:
                self._claim(partition)
            current = self._rounds.get(number)
            if current is None:
                if partition.watermark == partition.committed:
                    partition.caught_up_at = now
                    self._due[number] = now + self._interval_s
                    return
                current = self._rounds[number] = self._begin(partition, now)
                at("snapshot-begun")
            if self._write_some(partition, current):
                self._finish(partition, current, now)
        except StoreFenced:
            raise
        except (StoreError, NotYet) as error:
            log.warning("snapshot of partition %d waits: %s", number, error)
            self._due[number] = now + self._interval_s

    def begin_anew(self, partition: Partition) -> bool:
        """After the store forgot: whether all that it had is here, and will be written again."""
        if not self._residence.forget_store(partition):
            return False
        self._rounds.pop(partition.number, None)
        self._due[partition.number] = self._clock()
        return True

    def complete(self, partition: Partition) -> None:
        """A whole round at once, for a clean stop. Raises StoreError."""
        if partition.claim is None or partition.watermark == partition.committed:
            return
        current = self._rounds.pop(partition.number, None)
        if current is not None:
            while not self._write_some(partition, current):
                pass
            self._finish(partition, current, self._clock())
        if partition.watermark != partition.committed:
            current = self._begin(partition, self._clock())
            while not self._write_some(partition, current):
                pass
            self._finish(partition, current, self._clock())

    def _claim(self, partition: Partition) -> None:
        """A new snapshot, where the store was away at recovery or has forgotten the last one.

        Only the owner may clear what is there, and only the owner can commit.
        """
        number = partition.number
        self._store.header(number)  # one that is away needs no proof
        self._prove(partition)
        self._residence.forget_store(partition)
        partition.watermark = partition.origin
        partition.caught_up_at = partition.lacks_ms = None
        self._store.claim(number, secrets.token_hex(8))
        self._store.clear(number)
        partition.claim = self._store.claim(number, secrets.token_hex(8))

    def _begin(self, partition: Partition, now: float) -> Round:
        engine, offset = self._engine, partition.committed
        slots = engine.residents(partition.number)
        partition.marks = (partition.marks[1], offset)
        begin_marks(engine.memory, slots, partition.marks)
        dirty = slots[engine.dirty[slots]]
        known = len(partition.index.keys() | engine.slots.of_partition(partition.number).keys())
        header = Header(
            bundle=engine.predictor.bundle.identity,
            numerics=self._numerics,
            watermark=offset,
            origin=partition.origin,
            fingerprint=partition.fingerprint,
            reset_all=partition.reset_all,
            rows=known,
            topic=self._name.topic,
            topic_id=self._name.topic_id,
            group=self._name.group,
            partition=partition.number,
        )
        names = engine.slots.names
        return Round(header, [(slot, str(names[slot])) for slot in dirty.tolist()], now)

    def _write_some(self, partition: Partition, current: Round) -> bool:
        """Write up to one batch of the waiting rows; True when none is left."""
        engine = self._engine
        part, rest = current.waiting[:WRITE_ROWS], current.waiting[WRITE_ROWS:]
        still_dirty = [  # paged out meanwhile means written meanwhile
            slot for slot, name in part if self._holds(partition, slot, name) and engine.dirty[slot]
        ]
        self._residence.write(partition, still_dirty)
        at("snapshot-rows")
        current.waiting = rest
        return not rest

    def _holds(self, partition: Partition, slot: int, name: str) -> bool:
        return self._engine.slots.of_partition(partition.number).get(name) == slot

    def _finish(self, partition: Partition, current: Round, now: float) -> None:
        number = partition.number
        data = encode_header(current.header)
        at("before-watermark")
        self._residence.put(partition, {}, data)
        at("after-watermark")
        partition.watermark, partition.caught_up_at = current.header.watermark, current.begun
        self._rounds.pop(number, None)
        self._took(self._clock() - current.begun)
        self._due[number] = now + self._interval_s
        rows = np.count_nonzero(self._engine.dirty[self._engine.residents(number)])
        log.debug("partition %d: watermark %d, %d rows dirty", number, partition.watermark, rows)
