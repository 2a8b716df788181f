"""Asking a log until it answers, as workers do.

A commit that has just returned may not be settled yet, and a broker that was frozen takes its time.
"""

from __future__ import annotations

import time

from slotcast.log.port import Committed, Log, LogUnavailable, NotYet
from tests.servers import PATIENCE_S


def committed(log: Log, partition: int) -> Committed | None:
    """The committed position once nobody can move it any more."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return log.committed(partition)
        except (NotYet, LogUnavailable):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
