"""`slotcast derive`: one published forecast, made again from the log.

From the origin of its memory, or from its row in a snapshot. Only the instrument's own records are
stepped: its ticks and tombstones, and whatever has no key (control records, and ticks that name
their instrument in a field only). A memory row depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from slotcast.delivery import dead_letters_of, forecasts_of
from slotcast.formats.choice import format_of
from slotcast.log.history import History
from slotcast.log.port import Batch
from slotcast.partition import CommitNote
from slotcast.proof.comparison import ForecastJudge, ForecastReader, Told
from slotcast.proof.grounds import Undecidable, check_reach, read_note
from slotcast.proof.recompute import Recomputation
from slotcast.proof.start import Start, Starts
from slotcast.records.forecasts import ForecastEncoder
from slotcast.records.imports import ImportReader
from slotcast.records.ticks import TickParser
from slotcast.snapshots.file import SnapshotFile
from slotcast.terminal.progress import Advanced, silently
from slotcast_models.bundle import Bundle


@dataclass(slots=True)
class Derivation:
    """The forecast of one tick as it was published (each time), and as the log gives it.

    `derived` is None where no forecast is due, and `why` says why not. `findings` are what is wrong
    with what was published; `undecided` says what keeps the answer open.
    """

    published: list[Told] = field(default_factory=list)
    derived: Told | None = None
    why: str = ""
    findings: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """As of `verify`."""
        return 1 if self.findings else 2 if self.undecided else 0


class Deriver:
    """Derives forecasts of one history with one bundle. Raises LogError, UnknownControl."""

    def __init__(
        self,
        history: History,
        bundle: Bundle,
        numerics: str,
        advanced: Advanced = silently,
        snapshot: SnapshotFile | None = None,
    ) -> None:
        self._history, self._bundle, self._advanced = history, bundle, advanced
        self._numerics = numerics
        self._encoder = ForecastEncoder(bundle, numerics)
        self.reader = ForecastReader(format_of(bundle.schema))
        self._parser = TickParser(bundle.schema, ImportReader(bundle))
        self._starts = Starts(bundle, snapshot, history.name)

    def derive(self, partition: int, offset: int) -> Derivation:
        """Raises `Undecidable` where the log, or the note beside it, does not tell."""
        committed, note = read_note(self._history, partition, self._bundle.identity)
        if not note.origin <= offset < committed.offset:
            raise Undecidable(
                f"the memory of partition {partition} covers the ticks from {note.origin} to before"
                f" {committed.offset}, not {offset}"
            )
        found = Derivation(published=list(self._published(partition, offset)))
        key = self._key(found, partition, offset)
        judge = ForecastJudge(note.origin, self.reader)
        if key is not None:
            memory = Recomputation(self._bundle, partition)
            start = self._start(found, memory, partition, key.decode(), note)
            self._check(start, partition, offset, committed.offset)
            self._step(found, memory, partition, key, start.step, offset)
            if not start.from_snapshot:
                judge = ForecastJudge(start.step, self.reader)
            elif start.numerics != self._numerics:
                judge.other_numerics = start.numerics
        self._judge(found, judge)
        return found

    def _published(self, partition: int, offset: int) -> Iterator[Told]:
        first, end = self._history.bounds("forecasts", partition)
        mark = self.reader.mark(partition, offset)
        for batch in self._history.forecasts(partition, first, end):
            for key, value in zip(batch.keys, batch.values, strict=True):
                if value is None or mark not in value:
                    continue
                says = self.reader.identity(value)
                if says and (says.tick.partition, says.tick.offset) == (partition, offset):
                    yield Told(key, value)
            done = int(batch.offsets[-1]) + 1 - first
            self._advanced("looking for the forecast", done, end - first)

    def _start(
        self,
        found: Derivation,
        memory: Recomputation,
        partition: int,
        instrument: str,
        note: CommitNote,
    ) -> Start:
        """The snapshot, else the memory's origin, else the instrument's, if the log has it."""
        start = self._starts.begin(memory, partition, note, instrument)
        first = self._history.bounds("ticks", partition)[0]
        says = self.reader.identity(found.published[0].value) if found.published else None
        if start.from_snapshot or first <= start.step or says is None or says.tick.origin < first:
            return start
        found.undecided.append(
            f"the log begins at {first}, the memory began at {start.step}: derived from"
            f" {says.tick.origin}, as the record says"
        )
        return Start(says.tick.origin, says.tick.origin)

    def _check(self, start: Start, partition: int, offset: int, committed: int) -> None:
        what = "snapshot is from" if start.from_snapshot else "memory began"
        check_reach(self._history, partition, start.step, committed, what)
        if offset < start.due:
            raise Undecidable(
                f"the snapshot's row is from offset {start.due}, after tick {offset}: derive it"
                " without a snapshot, or with an earlier one"
            )

    def _key(self, found: Derivation, partition: int, offset: int) -> bytes | None:
        """The instrument of the tick, or None if the record there is none."""
        for batch in self._history.ticks(partition, offset, offset + 1):
            parsed = self._parser.parse(batch)
            if len(parsed.place) and parsed.place[0] >= 0:
                return parsed.names[0].encode()
            rejects = [f"dead letter, {r.reason}: {r.detail}" for r in parsed.rejects]
            change = "an import" if parsed.imports else "a reset"
            found.why = rejects[0] if rejects else change
            return None
        found.why = "no record is there"
        return None

    def _step(
        self,
        found: Derivation,
        memory: Recomputation,
        partition: int,
        key: bytes,
        begin: int,
        offset: int,
    ) -> None:
        for batch in self._history.ticks(partition, begin, offset + 1):
            done = int(batch.offsets[-1]) + 1 - begin
            chosen = _only(batch, key)
            if len(chosen):
                stepped = memory.step(chosen)
            self._advanced("stepping its instrument", done, offset + 1 - begin)
        made = forecasts_of(stepped, self._encoder)
        if made.offsets and made.offsets[-1] == offset:
            found.derived = Told(made.keys[-1], list(made.values)[-1])
            return
        letters = [one for one in dead_letters_of(stepped) if one.offset == offset]
        found.why = f"dead letter, {letters[0].reason}" if letters else "a repeat"

    def _judge(self, found: Derivation, judge: ForecastJudge) -> None:
        if found.derived is None:
            found.findings += ["it has a forecast, but none is due"] * bool(found.published)
            return
        if not found.published:
            found.findings.append("its forecast is missing")
        if len(found.published) > 1:
            found.findings.append(f"its forecast is there {len(found.published)} times")
        for told in found.published:
            verdict = judge(found.derived, told)
            if verdict is not None:
                open_ = verdict[0] in ("close", "earlier")
                (found.undecided if open_ else found.findings).append(": ".join(verdict))


def _only(batch: Batch, key: bytes) -> Batch:
    """The records with this key, or without one."""
    places = [i for i, one in enumerate(batch.keys) if one is None or one == key]
    if len(places) == len(batch):
        return batch
    chosen = np.array(places, np.int64)
    controls = batch.controls and [batch.controls[i] for i in places]
    return replace(
        batch,
        offsets=batch.offsets[chosen],
        timestamps_ms=batch.timestamps_ms[chosen],
        keys=[batch.keys[i] for i in places],
        values=[batch.values[i] for i in places],
        controls=controls,
    )
