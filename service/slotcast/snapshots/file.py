"""Snapshot files: partitions' rows with what they are of, to look at, prove from and import.

    slotcast-snapshot 1
    {"layout": ..., "rows": 2, ..., "header": {...}}     a section
    row, row                                            framed as in the store
    {...}                                               the next section
    sha256 of everything before, in hex

Lines end with a newline; rows are binary and say how long they are. Nothing is executed on reading.
What is of another format, damaged or cut off is refused as a whole, before any of it is used.
Knows nothing of stores and logs: streams in, streams out.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from slotcast.log.port import LogName
from slotcast.snapshots.snapshot import Header, SnapshotDamaged, decode_row, layout_of, read_row
from slotcast_models.bundle import Bundle

FORMAT = 1
NAME = b"slotcast-snapshot"
LONGEST_LINE = 65_536


class SnapshotForeign(Exception):
    """A sound snapshot that is of something else; the message says of what, and the way out."""


class Section(msgspec.Struct, frozen=True):
    """What the rows of one partition in a file are of.

    `layout` is that of a row's bytes. `whole`: all instruments of the partition are here, so one
    that is not here had never ticked. Rows may be ahead of the header's watermark.
    """

    layout: str
    rows: int
    whole: bool
    exported_ms: int
    header: Header

    def check_log(self, log: LogName, partition: int) -> None:
        """Raise SnapshotForeign unless the snapshot is of this partition of this log."""
        header = self.header
        found = LogName(header.topic, header.topic_id, header.group)
        if (found, header.partition) != (log, partition):
            raise SnapshotForeign(
                f"the snapshot is of {found.topic}-{header.partition} (id"
                f" {found.topic_id or 'none'}) and group {found.group}, this is"
                f" {log.topic}-{partition} (id {log.topic_id or 'none'}) and {log.group}: choose"
                " the one that belongs to it"
            )

    def check(self, bundle: Bundle) -> None:
        """Raise SnapshotForeign unless rows of this bundle can be read from here."""
        found, own = (self.header.bundle, self.layout), layout_of(bundle.layout.dtype())
        if found[0] != bundle.identity:
            raise SnapshotForeign(
                f"the snapshot is of bundle {found[0]}, this is {bundle.identity}: give that bundle"
                " and its schema with --config"
            )
        if found[1] != own:
            raise SnapshotForeign(
                f"the snapshot's rows have layout {found[1]}, this build's {own}: use the slotcast"
                " that wrote it"
            )


class SnapshotWriter:
    """Writes one file: `add` its sections, then `finish`."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._digest = out, hashlib.sha256()
        self._put(b"%s %d\n" % (NAME, FORMAT))

    def add(self, section: Section, rows: Iterable[bytes]) -> None:
        """Add a section with its framed rows. What `rows` raises leaves the file as it was."""
        place, digest, count = self._out.tell(), self._digest.copy(), 0
        try:
            self._put(msgspec.json.encode(section) + b"\n")
            for row in rows:
                self._put(row)
                count += 1
            assert count == section.rows, (count, section)
        except BaseException:
            self._out.seek(place)
            self._out.truncate()
            self._digest = digest
            raise

    def finish(self) -> None:
        """Write the checksum."""
        self._out.write(self._digest.hexdigest().encode() + b"\n")

    def _put(self, part: bytes) -> None:
        self._digest.update(part)
        self._out.write(part)


class SnapshotFile:
    """A file that was checked from end to end. Raises SnapshotDamaged."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self.name = file, name
        self._places: dict[int, int] = {}
        self.sections: dict[int, Section] = {}
        """By partition."""
        self._digest = hashlib.sha256()
        file.seek(0)
        try:
            self._check()
        except SnapshotDamaged as error:
            raise SnapshotDamaged(f"{name}: {error}") from error

    def rows(self, partition: int) -> Iterator[tuple[str, bytes]]:
        """(instrument, framed row) of one section."""
        place = self._places[partition]
        for _ in range(self.sections[partition].rows):
            self._file.seek(place)
            name, frame = read_row(self._file.read)
            place = self._file.tell()
            yield name, frame

    def row(self, partition: int, instrument: str) -> bytes | None:
        """The framed row of one instrument, or None if it is not here."""
        return next((row for name, row in self.rows(partition) if name == instrument), None)

    def _check(self) -> None:
        line = self._line()
        name, _, version = line.rstrip(b"\n").partition(b" ")
        if name != NAME:
            raise SnapshotDamaged("not a snapshot file of slotcast")
        if version != b"%d" % FORMAT:
            raise SnapshotDamaged(
                f"has format {version.decode(errors='replace')}, this build reads {FORMAT}:"
                " upgrade slotcast"
            )
        while (line := self._line(keep=False)).startswith(b"{"):
            self._digest.update(line)
            self._take_section(line)
        if line != self._digest.hexdigest().encode() + b"\n" or self._file.read(1):
            raise SnapshotDamaged("checksum does not match: copy or export it again")

    def _take_section(self, line: bytes) -> None:
        try:
            section = msgspec.json.decode(line, type=Section)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SnapshotDamaged(f"what a section is of cannot be read: {error}") from error
        partition = section.header.partition
        if partition in self.sections:
            raise SnapshotDamaged(f"partition {partition} is there twice")
        self.sections[partition] = section
        self._places[partition] = self._file.tell()
        for _ in range(section.rows):
            self._digest.update(read_row(self._file.read)[1])

    def _line(self, keep: bool = True) -> bytes:
        line = self._file.readline(LONGEST_LINE)
        if keep:
            self._digest.update(line)
        return line


def lone_row(value: bytes, name: str) -> tuple[Section, str, bytes]:
    """Section, instrument and framed row of a snapshot file of one row. Raises SnapshotDamaged."""
    file = SnapshotFile(io.BytesIO(value), name)
    sections = list(file.sections.values())
    if [section.rows for section in sections] != [1]:
        raise SnapshotDamaged(f"{name}: holds not one row, but {sum(s.rows for s in sections)}")
    ((instrument, frame),) = file.rows(sections[0].header.partition)
    return sections[0], instrument, frame


def decoded(
    rows: Iterable[tuple[str, bytes]], dtype: np.dtype[np.void]
) -> Iterator[tuple[str, NDArray[np.void]]]:
    """(instrument, row [1]) of framed rows. Raises SnapshotDamaged."""
    return ((name, decode_row(name, frame, dtype)) for name, frame in rows)
