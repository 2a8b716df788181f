"""A long run under load: memory stays flat, and every forecast is there at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.running import Serving
from tests.faults.group import Group
from tests.faults.report import Fault

MINUTES = float(os.environ.get("MINUTES", "1"))
SAMPLE_S = 1.0
SETTLED = 0.3
"""Share of the run after which memory has to be flat."""
JUDGED_MINUTES = 10.0
MOST_MB_PER_MINUTE = 0.5


@pytest.mark.long
@pytest.mark.timeout(MINUTES * 90 + 300)
@pytest.mark.fault("soak")
def test_memory_stays_flat_under_load(group: Callable[..., Group], fault: Fault) -> None:
    """The slope is printed; a run of less than ten minutes is too short to judge it."""
    workers = group()
    worker = workers.join()
    workers.endless()
    workers.feed(at_once=8)
    deadline, sizes_mb = time.monotonic() + MINUTES * 60, []

    while time.monotonic() < deadline:
        time.sleep(SAMPLE_S)
        sizes_mb.append(resident_mb(worker))
    fault.injected()

    slope = slope_mb_per_minute(sizes_mb[int(len(sizes_mb) * SETTLED) :])
    fault.note = f"{sizes_mb[-1]:.0f} MB at the end, {slope:+.2f} MB a minute"
    workers.check()
    assert MINUTES < JUDGED_MINUTES or slope < MOST_MB_PER_MINUTE


def resident_mb(worker: Serving) -> float:
    """What the worker's process keeps in memory."""
    assert worker.process is not None
    pages = int(Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def slope_mb_per_minute(sizes_mb: list[float]) -> float:
    """Of a line through these samples."""
    minutes = np.arange(len(sizes_mb)) * SAMPLE_S / 60
    return float(np.polyfit(minutes, sizes_mb, 1)[0])
