"""Asking a log until it answers: a commit that has just returned may not be settled yet."""

from __future__ import annotations

import time

from slotcast.log.port import Committed, Log, NotYet

PATIENCE_S = 30


def committed(log: Log, partition: int) -> Committed | None:
    """The committed position once nobody can move it any more."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return log.committed(partition)
        except NotYet:
            assert time.monotonic() < deadline, f"the offset of {partition} stays unstable"
            time.sleep(0.01)
