"""Copying a partition's snapshot out of a store, while a worker may be writing to it.

1. Read the header: all rows are complete up to its watermark W.
2. Read the index, then the rows. Each is complete up to W, and may be further.
3. Read the header again. If it is another one, rows may have forgotten their fingerprint share at
   W, or have been cleared: begin again.
4. Add up the shares that the rows had at W. The sum is the header's fingerprint, or the copy is
   refused.

Nothing is claimed and nothing is written to the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from slotcast.log.port import LogName
from slotcast.snapshots.file import Section, SnapshotWriter
from slotcast.snapshots.snapshot import (
    Header,
    SnapshotDamaged,
    decode_header,
    decode_row,
    layout_of,
    share_at,
)
from slotcast.store.port import Store
from slotcast.terminal.progress import Advanced, silently
from slotcast_models.bundle import Bundle

ATTEMPTS = 20
READ_ROWS = 500


class SnapshotMissing(Exception):
    """There is nothing to copy; the message says what is missing and the way out."""


class _Moved(Exception):
    """The snapshot became another one while it was read."""


class SnapshotCopier:
    """Copies snapshots of one log from a store. Raises StoreError."""

    def __init__(
        self,
        store: Store,
        bundle: Bundle,
        log: LogName,
        clock_ms: Callable[[], int],
        advanced: Advanced = silently,
    ) -> None:
        self._store, self._bundle, self._log = store, bundle, log
        self._clock_ms, self._advanced = clock_ms, advanced
        self._dtype: np.dtype[np.void] = bundle.layout.dtype()

    def copy(self, partition: int, instrument: str | None, writer: SnapshotWriter) -> Section:
        """Add the partition's rows, or one instrument's, to a file.

        Raises SnapshotMissing, SnapshotForeign for another bundle's, and SnapshotDamaged.
        """
        for _ in range(ATTEMPTS):
            try:
                return self._copy(partition, instrument, writer)
            except _Moved:
                continue
        raise SnapshotMissing(
            f"partition {partition}: {ATTEMPTS} times the worker wrote a new snapshot before the"
            " old one was read: raise store.snapshot_interval_s, or stop the worker meanwhile"
        )

    def _copy(self, partition: int, instrument: str | None, writer: SnapshotWriter) -> Section:
        data = self._store.header(partition)
        if data is None:
            raise SnapshotMissing(
                f"partition {partition} has no snapshot in the store yet: wait for its first round"
                " (store.snapshot_interval_s), and check store.prefix and kafka.group"
            )
        header = decode_header(data)
        names = list(self._store.index(partition))
        if instrument is not None:
            if instrument not in names:
                raise SnapshotMissing(f"{instrument} is not in partition {partition}'s snapshot")
            names = [instrument]
        section = self._section(partition, header, len(names), instrument is None)
        try:
            writer.add(section, self._rows(section, data, names))
        except SnapshotDamaged as error:
            if self._store.header(partition) != data:
                raise _Moved from error
            raise
        return section

    def _rows(self, section: Section, data: bytes, names: Sequence[str]) -> Iterator[bytes]:
        header, partition, total = section.header, section.header.partition, 0
        for start in range(0, len(names), READ_ROWS):
            part = names[start : start + READ_ROWS]
            for name, frame in zip(part, self._store.rows(partition, part), strict=True):
                if frame is None:
                    raise SnapshotDamaged(f"row of {name} is in the index, but not in the store")
                total += share_at(decode_row(name, frame, self._dtype), header.watermark)
                yield frame
            self._advanced(f"partition {partition}", start + len(part), len(names))
        if self._store.header(partition) != data:
            raise _Moved
        if section.whole and total % 2**64 != header.fingerprint:
            raise SnapshotDamaged(
                f"partition {partition}: the rows' shares add up to {total % 2**64:016x}, the"
                f" header says {header.fingerprint:016x}: rows are missing in the store, or more"
            )

    def _section(self, partition: int, header: Header, rows: int, whole: bool) -> Section:
        section = Section(layout_of(self._dtype), rows, whole, self._clock_ms(), header)
        section.check_log(self._log, partition)
        section.check(self._bundle)
        return section


def homes(store: Store, partitions: Sequence[int], instrument: str) -> list[int]:
    """The partitions in whose snapshot the instrument is."""
    return [number for number in partitions if instrument in store.index(number)]


def home_of(store: Store, partitions: Sequence[int], instrument: str) -> int:
    """The one partition in whose snapshot the instrument is. Raises SnapshotMissing."""
    found = homes(store, partitions, instrument)
    if len(found) == 1:
        return found[0]
    if found:
        raise SnapshotMissing(f"{instrument} is in partitions {found}: choose one with --partition")
    raise SnapshotMissing(
        f"{instrument} is in no snapshot of partitions {list(partitions)}: is it the right name,"
        " and has its first snapshot been written (store.snapshot_interval_s)?"
    )
