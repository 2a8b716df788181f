"""Exported snapshots of a simulated world, in memory."""

from __future__ import annotations

import io

from slotcast.bootstrap import load_bundle
from slotcast.log.port import LogName
from slotcast.settings import Settings
from slotcast.snapshots.copy import SnapshotCopier
from slotcast.snapshots.file import SnapshotFile, SnapshotWriter
from slotcast.store.port import Store
from tests.simulation.world import SCHEMA

BUNDLE = load_bundle(Settings(schema=SCHEMA))
EXPORTED_MS = 1_700_000_123_456


def copier(store: Store) -> SnapshotCopier:
    return SnapshotCopier(store, BUNDLE, LogName("ticks"), lambda: EXPORTED_MS)


def exported(store: Store, partition: int = 0, instrument: str | None = None) -> SnapshotFile:
    """The file that an export of one partition gives, read back."""
    return SnapshotFile(io.BytesIO(exported_bytes(store, partition, instrument)), "a file")


def exported_bytes(store: Store, partition: int = 0, instrument: str | None = None) -> bytes:
    out = io.BytesIO()
    writer = SnapshotWriter(out)
    copier(store).copy(partition, instrument, writer)
    writer.finish()
    return out.getvalue()
