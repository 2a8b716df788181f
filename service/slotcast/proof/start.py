"""Where a proof begins: at the origin of the memory, or with the rows of an exported snapshot.

A snapshot is taken at its word. Its rows are complete up to the watermark, and some are ahead of
it: from the watermark on the log is stepped, and what is due begins where no row is ahead any more.
Forecasts before that are out of scope.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from slotcast.log.port import LogName
from slotcast.partition import CommitNote
from slotcast.proof.grounds import Undecidable
from slotcast.proof.recompute import Recomputation
from slotcast.snapshots.file import Section, SnapshotFile, SnapshotForeign, decoded
from slotcast.snapshots.snapshot import SnapshotDamaged
from slotcast_models.bundle import Bundle


class Start(NamedTuple):
    """Step from offset `step`; what is due begins at `due`. `numerics` are those of the rows."""

    step: int
    due: int
    numerics: str | None = None
    from_snapshot: bool = False


class Starts:
    """Starts of proofs of one log with one bundle. Without a snapshot they are origins."""

    def __init__(
        self, bundle: Bundle, snapshot: SnapshotFile | None, name: Callable[[], LogName]
    ) -> None:
        self._bundle, self._snapshot = bundle, snapshot
        self._name = name

    def begin(
        self, memory: Recomputation, partition: int, note: CommitNote, only: str | None = None
    ) -> Start:
        """Give `memory` its rows, or those of one instrument. Raises `Undecidable`.

        A partition that is not in the snapshot begins at its origin.
        """
        snapshot = self._snapshot
        section = snapshot.sections.get(partition) if snapshot else None
        if snapshot is None or section is None:
            return Start(note.origin, note.origin)
        try:
            section.check(self._bundle)
            section.check_log(self._name(), partition)
            _check_memory(section, note, only)
            rows = decoded(snapshot.rows(partition), self._bundle.layout.dtype())
            wanted = ((name, row) for name, row in rows if only is None or name == only)
            ahead = memory.restore(wanted, section.header.reset_all)
        except (SnapshotForeign, SnapshotDamaged) as error:
            raise Undecidable(str(error)) from error
        if only is not None and not section.whole and not ahead:
            raise Undecidable(f"the snapshot has one instrument only, which is not {only}")
        watermark = section.header.watermark
        return Start(watermark, max(watermark, ahead), section.header.numerics, True)


def _check_memory(section: Section, note: CommitNote, only: str | None) -> None:
    if section.header.origin != note.origin:
        raise Undecidable(
            f"the snapshot's memory began at {section.header.origin}, the committed one at"
            f" {note.origin}: export a new one"
        )
    if not section.whole and only is None:
        raise Undecidable("the snapshot has one instrument only: export all of them")
