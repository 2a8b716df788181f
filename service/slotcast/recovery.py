"""Recovery of a partition: the one path for start, rebalance, loss, failed commit and a bad store.

1. Read the committed offset C and its note. None: this is the very first start; commit the origin.
   Without a note, or of a topic that is gone: what is missing is looked for, else `damage` decides.
   Commit C as it stands: only the owner can, and nobody else may touch the store.
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
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from slotcast.damage import (
    WAYS_OUT,
    Damage,
    Known,
    OnDamage,
    RecoveryImpossible,
    StoppedByPolicy,
    begin_anew,
    out_of_reach,
)
from slotcast.engine import Engine
from slotcast.failpoints import at
from slotcast.log.port import (
    Batch,
    Committed,
    Log,
    NotYet,
    OffsetsLost,
    Outbox,
)
from slotcast.partition import CommitNote, Partition, Phase
from slotcast.records.ticks import TickParser
from slotcast.residence import Residence
from slotcast.snapshots.opening import Opening
from slotcast.snapshots.snapshot import Header, SnapshotDamaged
from slotcast.store.port import StoreUnavailable

log = logging.getLogger("slotcast.recovery")

Answer = TypeVar("Answer")
WAIT_LOG_S = 5.0
NOWHERE = -1
"""The offset of a partition that has none."""


class FingerprintDiffers(SnapshotDamaged):
    """Replay from the snapshot gives another fingerprint than the committed one."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What recoveries need; `partition` is the only thing that differs between them."""

    log: Log
    opening: Opening
    engine: Engine
    residence: Residence
    parser: TickParser
    numerics: str
    on_damage: OnDamage
    clock: Callable[[], float]
    replayed: Callable[[int], None]
    decided: Callable[[str, str], None]
    young: Collection[int]
    """Partitions in which a first start is no surprise."""

    def note(self, partition: Partition) -> CommitNote:
        """The note for a commit of this partition as it stands."""
        bundle = self.engine.predictor.bundle.identity
        return CommitNote(
            partition.origin,
            partition.fingerprint,
            bundle,
            self.numerics,
            self.log.owner,
            self.log.name.topic_id,
        )

    def run(self, partition: Partition, *, trusted: bool = True) -> Iterator[bool]:
        """Recover the partition and take it live; its snapshot is used if it is trusted.

        Raises RecoveryImpossible, LogError, StoreError.
        """
        known = yield from self._known(partition)
        at("recovery-asked")
        yield from self._prove_ownership(partition, known)
        if trusted:
            try:
                yield from self._restore(partition, known, trusted)
            except SnapshotDamaged as error:
                log.warning("partition %d: %s: replaying all of it", partition.number, error)
                differs = isinstance(error, FingerprintDiffers)
                self.decided("replay", "fingerprint" if differs else "snapshot")
                trusted = False
                yield from self._prove_ownership(partition, known)  # that took a while
        if not trusted:
            at("recovery-distrusted")
            try:
                yield from self._restore(partition, known, trusted)
            except SnapshotDamaged as error:
                raise StoreUnavailable(f"what was just written is damaged: {error}") from error
        at("recovery-replayed")
        yield from self._commit(partition)
        at("recovery-committed")
        self.log.go(partition.number, partition.committed)
        if partition.watermark == partition.committed:
            partition.caught_up_at = self.clock()
        partition.move(Phase.LIVE)
        at("recovery-live")

    def _known(self, partition: Partition) -> Generator[bool, None, Known]:
        """The committed offset, and where memory began."""
        number = partition.number
        try:
            committed = yield from self._patiently(number, lambda: self.log.committed(number))
        except OffsetsLost:
            header = yield from self.opening.header(partition)
            if header is None or header.topic_id == self.log.name.topic_id:
                raise
            return self._made_anew(Committed(NOWHERE, ""), header.topic_id)
        if committed is None:
            return (yield from self._begin_first(partition))
        note = CommitNote.read(committed.metadata)
        if note is None:
            return (yield from self._moved(partition, committed))
        self._check_bundle(partition, note)
        if note.topic_id != self.log.name.topic_id:
            return self._made_anew(committed, note.topic_id)
        origin = note.origin
        if note.fingerprint is None:  # made from what was published: a snapshot knows better
            stored = yield from self._stored_origin(partition)
            origin = origin if stored is None else stored
        return Known(committed, note, origin)

    def _made_anew(self, committed: Committed, before: str) -> Known:
        name = self.log.name
        damage = (
            f"topic {name.topic} was deleted and created again: its id is {name.topic_id}, memory"
            f" is of {before or 'none'}"
        )
        return Known(committed, None, None, Damage("remade", damage), foreign=True)

    def _begin_first(self, partition: Partition) -> Generator[bool, None, Known]:
        """The very first start: commit the origin before any tick."""
        partition.committed = partition.origin = self.log.bounds(partition.number)[0]
        partition.fingerprint = 0
        if partition.number not in self.young:
            log.warning(
                "partition %d is new: the tick topic has grown; instruments that move to it begin"
                " with an empty memory", partition.number,
            )  # fmt: skip
        yield from self._commit(partition)
        at("origin-committed")
        note = self.note(partition)
        return Known(Committed(partition.committed, note.text()), note, partition.origin)

    def _moved(self, partition: Partition, committed: Committed) -> Generator[bool, None, Known]:
        """Somebody else committed this offset. Memory there is what the log makes of it.

        So it can be recovered if the snapshot tells where memory began.
        """
        header = yield from self.opening.header(partition)
        what = f"the committed offset {committed.offset} was moved by hand (it has no note)"
        if header is not None and self.opening.is_of_this_log(header, partition.number):
            own = self.engine.predictor.bundle.identity
            if header.bundle == own and header.origin <= committed.offset:
                log.warning(
                    "partition %d: %s: memory is replayed from its origin %d",
                    partition.number, what, header.origin,
                )  # fmt: skip
                return Known(committed, None, header.origin)
        damage = Damage("moved", f"{what}, and nothing tells where memory began")
        return Known(committed, None, None, damage)

    def _prove_ownership(self, partition: Partition, known: Known) -> Iterator[bool]:
        """Only its owner may claim or clear a snapshot, and only the owner can commit.

        The note says as before, but for whose transaction it now is.
        """
        standing, note = known.committed, known.note
        if note is not None:
            note = msgspec.structs.replace(note, owner=self.log.owner)
            standing = standing._replace(metadata=note.text())
        if standing.offset != NOWHERE:
            yield from self._publish(partition.number, standing)

    def prove(self, partition: Partition) -> None:
        """The same for a live partition. Raises CommitFailed, NotYet."""
        self.log.publish(Outbox(offsets={partition.number: self._standing(partition)}))

    def _commit(self, partition: Partition) -> Iterator[bool]:
        yield from self._publish(partition.number, self._standing(partition))

    def _standing(self, partition: Partition) -> Committed:
        return Committed(partition.committed, self.note(partition).text())

    def _stored_origin(self, partition: Partition) -> Generator[bool, None, int | None]:
        """Where memory began, if the store has a snapshot of ours."""
        header = yield from self.opening.header(partition)
        if header is None or not self.opening.is_of_this_log(header, partition.number):
            return None
        return header.origin if header.bundle == self.engine.predictor.bundle.identity else None

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

    def _restore(self, partition: Partition, known: Known, use: bool) -> Iterator[bool]:
        """Memory at the committed offset. Raises SnapshotDamaged: call again with use = False."""
        self.residence.forget(partition)
        partition.replay_from = None
        partition.committed, note = known.committed.offset, known.note
        partition.origin = partition.committed if known.origin is None else known.origin
        bounds = self.log.bounds(partition.number)
        # Nothing is cleared before it is decided what happens.
        damage = known.damage
        if not damage and not use:
            damage = out_of_reach(partition.origin, partition.committed, bounds)
        if not damage:
            self._set_mark(partition, (yield from self.opening.open(partition, use=use)))
            damage = out_of_reach(partition.watermark, partition.committed, bounds)
        if damage:
            yield from self._begin_anew(partition, known, damage)
        yield from self._replay(partition)
        if damage or note is None or note.numerics != self.numerics:
            return
        if note.fingerprint is not None and partition.fingerprint != note.fingerprint:
            if use:
                raise FingerprintDiffers("the fingerprint differs from the committed one")
            self._differs(partition, note.fingerprint)

    def _set_mark(self, partition: Partition, header: Header | None) -> None:
        """Where replay begins: at the watermark, or at the origin without a snapshot."""
        if header is None or header.watermark != partition.watermark:  # not the one we know
            partition.caught_up_at = None
        partition.watermark = header.watermark if header else partition.origin
        partition.fingerprint = header.fingerprint if header else 0
        partition.reset_all = header.reset_all if header else -1
        partition.marks = (partition.watermark, partition.watermark)
        partition.ahead = {
            name for name, applied in partition.index.items() if applied >= partition.watermark
        }

    def _begin_anew(self, partition: Partition, known: Known, damage: Damage) -> Iterator[bool]:
        """Empty memory where the policy says. Raises StoppedByPolicy if it says to stop."""
        number = partition.number
        self.decided(self.on_damage, damage.cause)
        begun = begin_anew(self.on_damage, number, known, damage, self.log.bounds(number))
        yield from self._prove_ownership(partition, known)
        partition.damage = f"{damage.text}: {self.on_damage} start at {begun.origin}"
        partition.origin, partition.committed = begun.origin, begun.committed
        self._set_mark(partition, (yield from self.opening.open(partition, use=False)))

    def _differs(self, partition: Partition, expected: int) -> None:
        number = partition.number
        damage = (
            f"replay from offset {partition.origin} gives the fingerprint"
            f" {partition.fingerprint:016x}, committed is {expected:016x}: the log, the bundle or"
            " this build differs from what published the forecasts"
        )
        self.decided(self.on_damage, "fingerprint")
        if self.on_damage == "fail":
            way_out = f"{WAYS_OUT} to go on with a new memory"
            raise StoppedByPolicy(f"partition {number}: {damage}; {way_out}")
        partition.damage = f"{damage}: going on with the memory that the replay made"
        log.error("partition %d: %s", number, partition.damage)

    def _replay(self, partition: Partition) -> Iterator[bool]:
        partition.replay_from = partition.replay_at = partition.watermark
        partition.lacks_ms = None
        for batch in self.log.read(partition.number, partition.watermark, partition.committed):
            if partition.lacks_ms is None and partition.watermark > partition.origin:
                partition.lacks_ms = int(batch.timestamps_ms[0])
            for piece in batch.pieces(self.engine.most_ticks):  # there may be no more slots
                self._replay_piece(partition, piece)
                at("recovery-replaying")
                yield True
        partition.replay_at = partition.committed

    def _replay_piece(self, partition: Partition, batch: Batch) -> None:
        parsed = self.parser.parse(batch)
        self.residence.bring_in(partition, parsed.names)
        stepped = self.engine.advance([parsed])[0]
        partition.fingerprint = (partition.fingerprint + stepped.share) % 2**64
        partition.reset_all = max([partition.reset_all, *parsed.reset_all])
        partition.replay_at = int(batch.offsets[-1]) + 1
        partition.stepped_ms = int(batch.timestamps_ms[-1])
        self.replayed(len(stepped.ticked))
        for error in self.residence.page_out({partition.number: partition}).fenced.values():
            raise error
