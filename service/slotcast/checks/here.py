"""What a worker needs of this machine: a bundle that fits, memory, and a disk for embedded runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from slotcast.checks.finding import Finding, fail, ok, warn
from slotcast.checks.free_memory import free_memory
from slotcast.log.history import History
from slotcast.partition import CommitNote
from slotcast.settings import WorkerSettings
from slotcast_models.bundle import Bundle
from slotcast_models.compiled import NOT_KEPT

LEAST_BYTES = 2**30
"""Of free disk; a million ticks of the demo take about so much."""


def bundle_findings(bundle: Bundle, worker: WorkerSettings) -> Iterator[Finding]:
    """The bundle is loaded and bound by now; what its rows need of the machine's memory."""
    schema, row = bundle.schema, bundle.layout.dtype().itemsize
    yield ok("bundle", f"{bundle.identity}, ticks in {schema.format}")
    if NOT_KEPT:
        remedy = "set XDG_CACHE_HOME to a folder of this user's: every start compiles them again"
        yield warn("compiled loops", NOT_KEPT, remedy)
    needed = (worker.slots + worker.max_poll_ticks) * row
    told = f"{needed / 2**20:,.0f} MiB for {worker.slots + worker.max_poll_ticks:,} rows"
    free = free_memory()
    told += f", {free.left / 2**20:,.0f} MiB are free {free.where}" if free else ""
    if free and needed > free.left:
        remedy = "lower worker.slots or worker.max_poll_ticks, or give it more memory"
        yield fail("memory", told, remedy)
    else:
        yield ok("memory", told)


def memory_findings(history: History, bundle: Bundle) -> Iterator[Finding]:
    """Whether what is committed goes on with this bundle, and how far behind it is."""
    others, behind, begun = dict[str, list[int]](), 0, 0
    for partition in history.partitions():
        committed = history.committed(partition)
        end = history.bounds("ticks", partition)[1]
        behind += end - (committed.offset if committed else history.bounds("ticks", partition)[0])
        note = CommitNote.read(committed.metadata) if committed else None
        begun += committed is not None
        if note is not None and note.bundle != bundle.identity:
            others.setdefault(note.bundle, []).append(partition)
    for identity, partitions in others.items():
        yield fail(
            "committed memory",
            f"partitions {partitions} were stepped with {identity}, this is {bundle.identity}",
            "give that bundle and schema, or begin anew: docs/recovery.md, changing bundle",
        )
    if not others:
        told = f"{begun} partitions committed" if begun else "nothing is committed yet"
        yield ok("committed memory", f"{told}, {behind:,} records to go")


def disk_findings(directory: Path) -> Iterator[Finding]:
    """Whether an embedded run can go on here."""
    place = directory
    while not place.exists() and place != place.parent:
        place = place.parent
    if not os.access(place, os.W_OK):
        yield fail("disk", f"{place} may not be written", "give another --data")
        return
    free = shutil.disk_usage(place).free
    told = f"{free / 2**30:,.1f} GiB free in {place}"
    if free < LEAST_BYTES:
        remedy = "make room: an endless demo keeps 500,000 ticks and forecasts"
        yield warn("disk", told, remedy)
    else:
        yield ok("disk", told)
