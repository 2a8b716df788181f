"""Recovery of a partition: the one path for start, rebalance, loss, failed commit and a bad store.

1. Read the committed offset C and its note. None: this is the very first start; commit the origin.
2. Claim the partition in the store and read header and index. Damaged or foreign: clear the store
   and begin at the origin.
3. Silent replay: step the log from the watermark to C, publish nothing.
4. Compare the fingerprint with the note's. Different: clear the store and replay from the origin.
5. Claim the offset: commit C again with our own note. Then go live at C.

The failpoints (`slotcast.failpoints`): 1 origin-committed (first start), recovery-asked; 2
recovery-claimed, recovery-indexed; 3 recovery-replaying, after each slice; 4 recovery-replayed,
recovery-distrusted; 5 recovery-committed, recovery-live.

A recovery is a generator that yields after each slice of work, so that live partitions go on: True
after work, False while it waits for something outside.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from slotcast.engine import Engine
from slotcast.failpoints import at
from slotcast.log.port import Batch, Committed, Log, NotYet, OffsetOutOfRange, Outbox
from slotcast.partition import CommitNote, Partition, Phase
from slotcast.residence import Residence
from slotcast.snapshot import Header, SnapshotDamaged, decode_header
from slotcast.store.port import Store, StoreUnavailable
from slotcast.ticks import TickParser

log = logging.getLogger("slotcast.recovery")

OnDamage = Literal["fail", "cold", "warm-up"]
Answer = TypeVar("Answer")
WAIT_LOG_S = 5.0


class RecoveryImpossible(Exception):
    """Exact recovery is impossible and the policy is to stop; the message names the ways out."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What recoveries need; `partition` is the only thing that differs between them."""

    log: Log
    store: Store
    engine: Engine
    residence: Residence
    parser: TickParser
    numerics: str
    on_damage: OnDamage
    patience_s: float
    clock: Callable[[], float]
    replayed: Callable[[int], None]

    def note(self, partition: Partition) -> CommitNote:
        """The note for a commit of this partition as it stands."""
        bundle = self.engine.predictor.bundle.identity
        return CommitNote(
            partition.origin, partition.fingerprint, bundle, self.numerics, self.log.owner
        )

    def run(self, partition: Partition, *, trusted: bool = True) -> Iterator[bool]:
        """Recover the partition and take it live; its snapshot is used if it is trusted.

        Raises RecoveryImpossible, CommitFailed, StoreError.
        """
        committed = yield from self._committed(partition)
        note = CommitNote.read(committed.metadata)
        self._check_bundle(partition, note)
        at("recovery-asked")
        if trusted:
            try:
                yield from self._restore(partition, committed, note, trusted)
            except SnapshotDamaged as error:
                log.warning("partition %d: %s: replaying all of it", partition.number, error)
                trusted = False
        if not trusted:
            # Only its owner may clear a snapshot, and only the owner can commit.
            yield from self._publish(partition.number, committed)
            at("recovery-distrusted")
            try:
                yield from self._restore(partition, committed, note, trusted)
            except SnapshotDamaged as error:
                raise StoreUnavailable(f"what was just written is damaged: {error}") from error
        at("recovery-replayed")
        yield from self._commit(partition)
        at("recovery-committed")
        self.log.go(partition.number, partition.committed)
        partition.watermark_at = self.clock()
        partition.move(Phase.LIVE)
        at("recovery-live")

    def _committed(self, partition: Partition) -> Generator[bool, None, Committed]:
        number = partition.number
        committed = yield from self._patiently(number, lambda: self.log.committed(number))
        if committed is None:
            partition.committed = partition.origin = self.log.bounds(partition.number)[0]
            partition.fingerprint = 0
            yield from self._commit(partition)
            at("origin-committed")
            committed = Committed(partition.committed, self.note(partition).text())
        return committed

    def _commit(self, partition: Partition) -> Iterator[bool]:
        offset = Committed(partition.committed, self.note(partition).text())
        yield from self._publish(partition.number, offset)

    def _publish(self, number: int, offset: Committed) -> Iterator[bool]:
        outbox = Outbox(offsets={number: offset})
        yield from self._patiently(number, lambda: self.log.publish(outbox))

    def _patiently(self, number: int, ask: Callable[[], Answer]) -> Generator[bool, None, Answer]:
        """Ask between turns until there is an answer, and say how long that takes."""
        begun = self.clock()
        said = begun
        while True:
            try:
                return ask()
            except NotYet as error:
                if self.clock() - said >= WAIT_LOG_S:
                    said = self.clock()
                    log.warning("partition %d has waited %.0f s: %s", number, said - begun, error)
                yield False

    def _check_bundle(self, partition: Partition, note: CommitNote | None) -> None:
        own = self.engine.predictor.bundle.identity
        if note is not None and note.bundle != own:
            raise RecoveryImpossible(
                f"partition {partition.number} was stepped with bundle {note.bundle}, this worker "
                f"has {own}: start with that bundle and schema, or use another kafka.group "
                "(embedded: another --data)"
            )

    def _restore(
        self, partition: Partition, committed: Committed, note: CommitNote | None, use: bool
    ) -> Iterator[bool]:
        """Memory at the committed offset. Raises SnapshotDamaged: call again with use = False."""
        self.residence.forget(partition)
        partition.committed = committed.offset
        partition.origin = note.origin if note else committed.offset
        header = yield from self._open_snapshot(partition, use)
        partition.watermark = header.watermark if header else partition.origin
        partition.fingerprint = header.fingerprint if header else 0
        partition.reset_all = header.reset_all if header else -1
        partition.marks = (partition.watermark, partition.watermark)
        partition.ahead = {
            name for name, applied in partition.index.items() if applied >= partition.watermark
        }
        expected = note.fingerprint if note and note.numerics == self.numerics else None
        if self._is_out_of_reach(partition):
            expected = None
        yield from self._replay(partition)
        if expected is not None and partition.fingerprint != expected:
            if use:
                raise SnapshotDamaged("the fingerprint differs from the committed one")
            self._differs(partition, expected)

    def _differs(self, partition: Partition, expected: int) -> None:
        message = (
            f"partition {partition.number}: replay from offset {partition.origin} gives the "
            f"fingerprint {partition.fingerprint:016x}, committed is {expected:016x}: the log, the "
            "bundle or this build differs from what published the forecasts; set "
            "worker.on_damage = cold or warm-up to go on with a new memory"
        )
        if self.on_damage == "fail":
            raise RecoveryImpossible(message)
        log.error(message)

    def _open_snapshot(
        self, partition: Partition, use: bool
    ) -> Generator[bool, None, Header | None]:
        """Claim the store, wait for it if need be, and load header and index."""
        number, begun = partition.number, self.clock()
        partition.claim, partition.index = None, {}
        while True:
            try:
                partition.claim = self.store.claim(number, secrets.token_hex(8))
                at("recovery-claimed")
                data = self.store.header(number)
                header = self._usable(partition, data) if use and data is not None else None
                if header is None:
                    self.store.clear(number)
                    partition.claim = self.store.claim(number, secrets.token_hex(8))
                else:
                    partition.index = self.store.index(number)
                at("recovery-indexed")
                return header
            except StoreUnavailable as error:
                partition.claim = None
                if self.clock() - begun >= self.patience_s:
                    log.warning("partition %d goes on without its store: %s", number, error)
                    return None
                yield False

    def _usable(self, partition: Partition, data: bytes) -> Header | None:
        header = decode_header(data)
        own = self.engine.predictor.bundle.identity
        if header.bundle != own:
            raise SnapshotDamaged(f"snapshot is of bundle {header.bundle}, this worker has {own}")
        if header.origin != partition.origin or header.watermark > partition.committed:
            raise SnapshotDamaged(
                f"snapshot covers {header.origin} to {header.watermark}, the committed memory "
                f"{partition.origin} to {partition.committed}: it is of another log or time"
            )
        return header

    def _is_out_of_reach(self, partition: Partition) -> bool:
        """Apply the policy when the log no longer holds what exact replay needs."""
        first, end = self.log.bounds(partition.number)
        if partition.committed > end:
            raise RecoveryImpossible(
                f"partition {partition.number}: committed offset {partition.committed} is beyond "
                f"the end {end} of the log: was the topic created again? Use another kafka.group"
            )
        if first <= min(partition.watermark, partition.committed):
            return False
        message = (
            f"partition {partition.number}: replay must begin at {partition.watermark}, but the "
            f"log begins at {first}"
        )
        if self.on_damage == "fail":
            raise RecoveryImpossible(f"{message}: set worker.on_damage = cold or warm-up")
        partition.committed = max(partition.committed, first)  # ticks nobody read may be gone too
        start = partition.committed if self.on_damage == "cold" else first
        log.error("%s: %s start, memory begins anew at %d", message, self.on_damage, start)
        partition.origin = partition.watermark = start
        partition.marks, partition.fingerprint, partition.reset_all = (start, start), 0, -1
        partition.index, partition.ahead = {}, set()
        if partition.claim is not None:
            self.store.clear(partition.number)
            partition.claim = self.store.claim(partition.number, secrets.token_hex(8))
        return True

    def _replay(self, partition: Partition) -> Iterator[bool]:
        partition.replay_from = partition.replay_at = partition.watermark
        try:
            for batch in self.log.read(partition.number, partition.watermark, partition.committed):
                for piece in batch.pieces(self.engine.most_ticks):  # there may be no more slots
                    self._replay_piece(partition, piece)
                    at("recovery-replaying")
                    yield True
        except OffsetOutOfRange as error:
            raise RecoveryImpossible(f"partition {partition.number}: {error}") from error
        partition.replay_at = partition.committed

    def _replay_piece(self, partition: Partition, batch: Batch) -> None:
        parsed = self.parser.parse(batch)
        self.residence.bring_in(partition, parsed.names)
        stepped = self.engine.advance([parsed])[0]
        partition.fingerprint = (partition.fingerprint + stepped.share) % 2**64
        partition.reset_all = max([partition.reset_all, *parsed.reset_all])
        partition.replay_at = int(batch.offsets[-1]) + 1
        self.replayed(len(stepped.ticked))
        self.residence.page_out({partition.number: partition})
