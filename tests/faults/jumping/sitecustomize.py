"""A wall clock that jumps, for a process whose PYTHONPATH begins here.

Every reading is right, an hour early, a day late or years early, in turns. `time.monotonic` never
jumps: that is what it is for. Nothing outside Python is fooled, the C client neither.
"""

import itertools
import time

_JUMPS_S = itertools.cycle((0, -3_600, 86_400, 7, -100_000_000))
_true_s = time.time


def _jumping_s() -> float:
    return _true_s() + next(_JUMPS_S)


time.time = _jumping_s
time.time_ns = lambda: int(_jumping_s() * 1e9)
