"""The commit cycle: one poll is one commit.

1. Parse the polled batches to columns and rejects.
2. Bring the rows of all instruments in, judge, split into waves, step.
3. Gather the outbox: forecasts in tick order, dead letters, next offsets with their notes.
4. Publish it; forecast records are made as they are sent, so that the broker works meanwhile. This
   is the only commit point: after it the poll has happened, before it it has not.
5. Take the new offsets into the partitions; readers see memory as of here.

Whatever is raised in 1 to 4, nothing is committed: the caller forgets the partitions and recovers.
Snapshots and paging come after the cycle and can fail without touching it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from slotcast.engine import Engine, Stepped
from slotcast.log.port import Batch, Committed, DeadLetter, Forecasts, Log, Outbox
from slotcast.partition import Partition
from slotcast.records.forecasts import ForecastEncoder
from slotcast.records.ticks import Reject, TickParser
from slotcast.recovery import Recovery
from slotcast.residence import Residence
from slotcast_models.columns import chosen

DEAD_LETTER_BYTES = 65_536
"""Most of a key, and of a value, that a dead letter carries: a request holds no more than 1 MB."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """What a cycle came to, for metrics and readers; `commit_s` is that of step 4."""

    stepped: Sequence[Stepped]
    outbox: Outbox
    step_s: float
    commit_s: float


class Delivery:
    """Runs commit cycles."""

    def __init__(
        self,
        log: Log,
        engine: Engine,
        residence: Residence,
        parser: TickParser,
        encoder: ForecastEncoder,
        recovery: Recovery,
    ) -> None:
        self._log, self._engine, self._residence = log, engine, residence
        self._parser, self._encoder, self._recovery = parser, encoder, recovery

    def run(self, batches: Sequence[Batch], partitions: dict[int, Partition]) -> Cycle:
        """One cycle over the batches of live partitions. Raises StoreError, CommitFailed."""
        clock = self._recovery.clock
        begun = clock()
        for batch in batches:  # what is stepped twice cannot be taken back
            place, stands = int(batch.offsets[0]), partitions[batch.partition].committed
            assert place >= stands, (batch.partition, place, stands)
        parsed = [self._parser.parse(batch) for batch in batches]
        for one in parsed:
            self._residence.bring_in(partitions[one.batch.partition], one.names)
        stepped = self._engine.advance(parsed)
        outbox = Outbox()
        moved = [
            self._gather(one, partitions[one.parsed.batch.partition], outbox) for one in stepped
        ]
        ready = clock()
        self._log.publish(outbox)
        for partition, offset, reset_all in moved:
            partition.committed, partition.reset_all = offset, reset_all
        return Cycle(stepped, outbox, ready - begun, clock() - ready)

    def _gather(
        self, stepped: Stepped, partition: Partition, outbox: Outbox
    ) -> tuple[Partition, int, int]:
        parsed, batch = stepped.parsed, stepped.parsed.batch
        if len(stepped.ticked):
            outbox.forecasts.append(forecasts_of(stepped, self._encoder))
        outbox.dead_letters += dead_letters_of(stepped)
        offset = int(batch.offsets[-1]) + 1
        partition.stepped_ms = int(batch.timestamps_ms[-1])
        partition.fingerprint = (partition.fingerprint + stepped.share) % 2**64
        note = self._recovery.note(partition).text()
        outbox.offsets[partition.number] = Committed(offset, note)
        return partition, offset, max([partition.reset_all, *parsed.reset_all])


def forecasts_of(stepped: Stepped, encoder: ForecastEncoder) -> Forecasts:
    """The forecasts of a stepped batch, in tick order."""
    parsed, ticked = stepped.parsed, stepped.ticked
    names = parsed.names
    if len(ticked) < len(names):
        names = [names[i] for i in ticked.tolist()]
    values = encoder.encode(
        parsed.batch.partition,
        names,
        parsed.time_ns[ticked],
        parsed.offset[ticked],
        parsed.value[ticked],
        chosen(stepped.published, ticked),
    )
    return Forecasts(
        partition=parsed.batch.partition,
        offsets=parsed.offset[ticked].tolist(),
        timestamps_ms=parsed.batch.timestamps_ms[parsed.place[ticked]].tolist(),
        keys=[name.encode() for name in names],
        values=values,
    )


def dead_letters_of(stepped: Stepped) -> list[DeadLetter]:
    """The dead letters of a stepped batch, in log order."""
    rejects = [*stepped.parsed.rejects, *stepped.late]
    rejects.sort(key=lambda reject: reject.place)
    return [dead_letter(stepped.parsed.batch, reject) for reject in rejects]


def dead_letter(batch: Batch, reject: Reject) -> DeadLetter:
    """The dead letter of a rejected record, with the first 64 KiB of its key and of its value."""
    key, value, place = batch.keys[reject.place], batch.values[reject.place], reject.place
    if not value and batch.controls is not None:
        value = batch.controls[place] or value
    original = value or b""
    return DeadLetter(
        partition=batch.partition,
        offset=int(batch.offsets[place]),
        timestamp_ms=int(batch.timestamps_ms[place]),
        reason=reject.reason,
        detail=reject.detail,
        key=key if key is None else key[:DEAD_LETTER_BYTES],
        value=value if value is None else value[:DEAD_LETTER_BYTES],
        length=len(original),
        sha256=hashlib.sha256(original).hexdigest(),
    )
