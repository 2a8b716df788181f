"""Imports: an instrument's memory in a control record of the tick log.

The record's header names the instrument that gets the memory; its value is a snapshot file of one
row, as `slotcast export --instrument` writes it, whoever the row was of. So it carries format,
bundle, layout, numerics and checksum, and the fold that applies it needs nothing but the log. What
does not fit is refused: before it is written, and in the log as a dead letter, for ever the same.
"""

from __future__ import annotations

import hashlib
import io
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from slotcast.snapshots.file import Section, SnapshotFile, SnapshotForeign, SnapshotWriter, lone_row
from slotcast.snapshots.snapshot import SnapshotDamaged, decode_row
from slotcast_models.bundle import Bundle
from slotcast_models.memory import APPLIED, TICKS, view

LARGEST_BYTES = 1_000_000
"""What one request to a broker takes, with room for the rest of the record."""


class ImportRefused(Exception):
    """These bytes are no memory that can be imported here; the message says why."""


class Imported(NamedTuple):
    """A row [1] to be imported, and what stands for the whole record in a fingerprint."""

    row: NDArray[np.void]
    digest: bytes


class ImportReader:
    """Reads the values of import records for one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._dtype: np.dtype[np.void] = bundle.layout.dtype()

    def read(self, value: bytes | None) -> Imported:
        """The row. Raises ImportRefused for anything else."""
        try:
            section, name, frame = lone_row(value or b"", "import")
            section.check(self._bundle)
            row = decode_row(name, frame, self._dtype)
        except (SnapshotDamaged, SnapshotForeign) as error:
            raise ImportRefused(str(error)) from error
        counts = view(row).counts[0]
        if counts[TICKS] == 0 or counts[APPLIED] < section.header.reset_all:
            raise ImportRefused(f"{name} was reset and had not ticked since: there is no memory")
        return Imported(row, hashlib.sha256(value or b"").digest())


def import_value(file: SnapshotFile, instrument: str, bundle: Bundle) -> bytes:
    """The value of a record that imports this instrument's row. Raises ImportRefused."""
    homes = [p for p in file.sections if file.row(p, instrument) is not None]
    if len(homes) != 1:
        found = f"in partitions {homes}" if homes else "not there"
        raise ImportRefused(f"{file.name} must have one row of {instrument}, which is {found}")
    frame = file.row(homes[0], instrument)
    assert frame is not None
    value = one_row(file.sections[homes[0]], frame)
    ImportReader(bundle).read(value)
    if len(value) > LARGEST_BYTES:
        raise ImportRefused(
            f"the memory of {instrument} has {len(value):,} bytes, one record takes"
            f" {LARGEST_BYTES:,}: only a bundle with a smaller network can be imported"
        )
    return value


def one_row(section: Section, frame: bytes) -> bytes:
    """A snapshot file of one row of this section."""
    out = io.BytesIO()
    writer = SnapshotWriter(out)
    writer.add(msgspec.structs.replace(section, rows=1, whole=False), [frame])
    writer.finish()
    return out.getvalue()
