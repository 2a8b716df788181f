"""Failpoints: named places at which a test stops or kills this process.

`SLOTCAST_FAILPOINT=after-send:3` sends SIGKILL to this process when it is at the point `after-send`
for the third time, `after-send:3:SIGSTOP` another signal. Without the variable a point costs one
comparison. The points are where `at` is called; the fault tests use them, and nothing else should.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "SLOTCAST_FAILPOINT"


class Failpoint:
    """One armed point, from its text: POINT:COUNT or POINT:COUNT:SIGNAL."""

    def __init__(self, text: str) -> None:
        self.point, count, *number = text.split(":")
        self._left = int(count)
        self._signal = signal.Signals[number[0]] if number else signal.SIGKILL

    def passed(self) -> None:
        """Count one passage; the chosen one does not come back, or not until SIGCONT."""
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), self._signal)


_ARMED = Failpoint(os.environ[VARIABLE]) if VARIABLE in os.environ else None


def at(point: str) -> None:
    """This process is at `point`."""
    if _ARMED is not None and _ARMED.point == point:
        _ARMED.passed()
