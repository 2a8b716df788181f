"""The fold reads no clock, so a wall clock that jumps cannot show in a forecast."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.group import Group
from tests.faults.report import Fault

JUMPING = Path(__file__).parent / "jumping"


@pytest.mark.long
@pytest.mark.fault("the wall clock jumps by hours, days and years")
def test_a_wall_clock_that_jumps_does_not_show(group: Callable[..., Group], fault: Fault) -> None:
    paths = os.pathsep.join(filter(None, (str(JUMPING), os.environ.get("PYTHONPATH"))))
    workers = group(partitions=2)
    worker = workers.join(PYTHONPATH=paths)
    workers.feed()
    workers.flow_for(2)
    worker.kill()
    fault.injected()
    worker.start(PYTHONPATH=paths)
    workers.flow_for(1)

    assert f"{JUMPING}" in Path(f"/proc/{worker.process.pid}/environ").read_text()
    workers.check()
