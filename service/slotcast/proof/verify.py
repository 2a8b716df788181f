"""`slotcast verify`: whether what was published is what the log gives, partition by partition.

1. Read the committed offset C and its note: origin, fingerprint, bundle, numerics.
2. Note where the topics end. What is committed lies below that.
3. Step the log from the origin (or a snapshot) to C, silently; match forecasts and dead letters
   side by side.
4. Compare the fingerprint with the note's, and look at the committed offset once more: what stands
   beyond it was published without being committed.

Nothing is written, and nothing is held in memory but one row per instrument and a window of recent
records. A partition that cannot be decided says why, and what was wrong before that still counts.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from slotcast.delivery import dead_letters_of, forecasts_of
from slotcast.formats.choice import format_of
from slotcast.log.history import History
from slotcast.log.port import DeadLetter, OffsetOutOfRange
from slotcast.partition import CommitNote
from slotcast.proof.comparison import ForecastJudge, ForecastReader, Told, judge_letter
from slotcast.proof.grounds import Promise, Undecidable, check_reach, read_note
from slotcast.proof.matching import Answer, Matcher, Tallies, Tally
from slotcast.proof.recompute import Recomputation
from slotcast.proof.start import Start, Starts
from slotcast.records.controls import UnknownControl
from slotcast.records.forecasts import ForecastEncoder
from slotcast.snapshots.file import SnapshotFile
from slotcast.terminal.progress import Advanced, silently
from slotcast_models.bundle import Bundle

FAULTS = {
    "missing": "a valid tick has no forecast",
    "repeated": "a tick has its forecast more than once",
    "far_behind": "a forecast stands far behind its place, repeated or out of order",
    "out_of_order": "a forecast stands behind that of a later tick",
    "differing": "a forecast is not the one that the log gives",
    "extra": "a forecast answers what is no valid tick",
    "unreadable": "a record of the forecast topic is no forecast of this partition",
    "uncommitted": "a forecast is there although its tick is not committed",
    "dead_letter_missing": "a record that is no tick has no dead letter",
    "dead_letter_repeated": "a record has its dead letter more than once",
    "dead_letter_far_behind": "a dead letter stands far behind its place",
    "dead_letter_out_of_order": "a dead letter stands behind that of a later record",
    "dead_letter_differing": "a dead letter has another reason or original",
    "dead_letter_extra": "a dead letter is about a valid tick, or about nothing",
    "dead_letter_uncommitted": "a dead letter is there although its record is not committed",
    "fingerprint": "the committed fingerprint is not that of the memory that the log gives",
}
"""What `verify` can find wrong."""
LETTER = "dead_letter_"
ALLOWED = {f"{topic}{kind}" for topic in ("", LETTER) for kind in ("repeated", "uncommitted")}
"""What at-least-once allows."""
OPEN = {
    "before": "are of a memory before offset {origin}, which the log no longer gives",
    "earlier": "are of a memory before offset {origin}, which the log no longer gives",
    "trimmed": "are gone from their topic: retention",
    "far_behind": "stand far behind their place: repeated, but not compared",
    "close": "were made on other numerics ({other}): equal to 1e-5, not compared in bits",
}
"""What leaves a partition undecided, beside what stops the proof before it begins."""


class PartitionReport(msgspec.Struct):
    """What was found in one partition; counts are of what was due."""

    partition: int
    origin: int = 0
    begin: int = 0
    """Where what is due begins: the origin, or where the snapshot is from."""
    from_snapshot: bool = False
    out_of_scope: int = 0
    """Forecasts and dead letters from before a snapshot."""
    committed: int = 0
    ticks: int = 0
    """Records of the tick topic that were stepped."""
    forecasts: int = 0
    dead_letters: int = 0
    faults: dict[str, Tally] = msgspec.field(default_factory=dict)
    allowed: dict[str, Tally] = msgspec.field(default_factory=dict)
    """What would be faults under exactly-once."""
    undecided: list[str] = msgspec.field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0: proved; 1: something is wrong; 2: nothing is known to be wrong, but not all is."""
        return 1 if self.faults else 2 if self.undecided else 0


class Proof:
    """Verifies partitions of one history with one bundle."""

    def __init__(
        self,
        history: History,
        bundle: Bundle,
        numerics: str,
        promise: Promise = "exactly-once",
        advanced: Advanced = silently,
        snapshot: SnapshotFile | None = None,
    ) -> None:
        self._history, self._bundle, self._numerics = history, bundle, numerics
        self._promise, self._advanced = promise, advanced
        self._encoder = ForecastEncoder(bundle, numerics)
        self._reader = ForecastReader(format_of(bundle.schema))
        self._starts = Starts(bundle, snapshot, history.name)

    def verify(self, partition: int) -> PartitionReport:
        """Verify one partition. Raises LogError if the history cannot be read."""
        report = PartitionReport(partition)
        try:
            committed, note = read_note(self._history, partition, self._bundle.identity)
            report.origin, report.committed = note.origin, committed.offset
            memory = Recomputation(self._bundle, partition)
            start = self._begin(report, memory, note)
            self._compare(report, memory, note, start)
        except (Undecidable, UnknownControl) as error:
            report.undecided.append(str(error))
        except OffsetOutOfRange as error:
            report.undecided.append(f"retention was faster: {error}")
        return report

    def _begin(self, report: PartitionReport, memory: Recomputation, note: CommitNote) -> Start:
        start = self._starts.begin(memory, report.partition, note)
        what = "snapshot is from" if start.from_snapshot else "memory began"
        check_reach(self._history, report.partition, start.step, report.committed, what)
        if start.due > report.committed:
            raise Undecidable(
                f"the snapshot goes up to {start.due}, beyond the committed offset"
                f" {report.committed}: it is of another log or time"
            )
        report.begin, report.from_snapshot = start.due, start.from_snapshot
        return start

    def _compare(
        self, report: PartitionReport, memory: Recomputation, note: CommitNote, start: Start
    ) -> None:
        found, judge = Tallies(), ForecastJudge(note.origin, self._reader)
        if start.numerics not in (None, self._numerics):
            judge.other_numerics = start.numerics
        first, end = self._history.bounds("forecasts", report.partition)
        told = self._told(report.partition, first, end, found)
        bounds = start.due, report.committed
        forecasts = Matcher(told, *bounds, first > 0, judge)
        first, end = self._history.bounds("dead_letters", report.partition)
        posted = self._posted(report.partition, first, end)
        letters = Matcher(posted, *bounds, first > 0, judge_letter)
        self._step(report, memory, start, forecasts, letters)
        found.update(forecasts.finish())
        found.update({f"{LETTER}{k}": tally for k, tally in letters.finish().items()})
        report.forecasts, report.dead_letters = forecasts.due, letters.due
        whole = note.numerics == self._numerics and judge.other_numerics is None
        if whole and note.fingerprint not in (None, memory.fingerprint):
            detail = f"committed {note.fingerprint:016x}, the log gives {memory.fingerprint:016x}"
            found.add("fingerprint", report.committed, detail)
        self._drop_committed_since(report.partition, found, forecasts, letters)
        self._sort(report, found, judge.other_numerics)

    def _step(
        self,
        report: PartitionReport,
        memory: Recomputation,
        start: Start,
        forecasts: Matcher[Told],
        letters: Matcher[DeadLetter],
    ) -> None:
        begin, committed = start.step, report.committed
        for batch in self._history.ticks(report.partition, begin, committed):
            stepped = memory.step(batch)
            upto = int(batch.offsets[-1]) + 1
            made = forecasts_of(stepped, self._encoder)
            due = zip(made.offsets, map(Told, made.keys, made.values), strict=True)
            forecasts.expect((one for one in due if one[0] >= start.due), upto)
            posted = dead_letters_of(stepped)
            letters.expect(((x.offset, x) for x in posted if x.offset >= start.due), upto)
            report.ticks += len(batch)
            self._advanced(f"partition {report.partition}", upto - begin, committed - begin)

    def _told(self, partition: int, first: int, end: int, found: Tallies) -> Iterator[Answer[Told]]:
        """Published forecasts by the tick that they say they answer."""
        for batch in self._history.forecasts(partition, first, end):
            columns = zip(batch.offsets.tolist(), batch.keys, batch.values, strict=True)
            for position, key, value in columns:
                says = self._reader.identity(value)
                if says is None:
                    found.add("unreadable", -1, f"at {position}: not a forecast record")
                elif says.tick.partition != partition:
                    detail = f"at {position}: of partition {says.tick.partition}"
                    found.add("unreadable", says.tick.offset, detail)
                else:
                    yield Answer(says.tick.offset, position, Told(key, value))

    def _posted(self, partition: int, first: int, end: int) -> Iterator[Answer[DeadLetter]]:
        letters = self._history.dead_letters(partition, first, end)
        for place, letter in enumerate(letters):
            yield Answer(letter.offset, place, letter)

    def _drop_committed_since(
        self, partition: int, found: Tallies, *matchers: Matcher[Told] | Matcher[DeadLetter]
    ) -> None:
        """What a worker has committed meanwhile is no fault: it was just not asked for."""
        committed = self._history.committed(partition)
        for kind, matcher in zip(("uncommitted", f"{LETTER}uncommitted"), matchers, strict=True):
            if committed is not None and matcher.last_uncommitted < committed.offset:
                found.pop(kind, None)

    def _sort(self, report: PartitionReport, found: Tallies, other: str | None) -> None:
        """Findings to faults, to what the promise allows, and to what stays open."""
        if report.from_snapshot:
            report.out_of_scope = found.drop("before") + found.drop(f"{LETTER}before")
        for kind, tally in found.items():
            loosely = self._promise == "at-least-once"
            if kind.removeprefix(LETTER) in OPEN and (loosely or kind not in FAULTS):
                report.undecided.append(_left_open(kind, tally, report.origin, other))
            elif kind in ALLOWED and loosely:
                report.allowed[kind] = tally
            else:
                report.faults[kind] = tally


def _left_open(kind: str, tally: Tally, origin: int, other: str | None) -> str:
    what = "dead letters" if kind.startswith(LETTER) else "forecasts"
    why = OPEN[kind.removeprefix(LETTER)].format(origin=origin, other=other)
    return f"{tally.count:,} {what} {why} (first: tick {tally.first[0].offset})"
