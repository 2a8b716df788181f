"""The slots as a picture: what one of them is worth showing as a single letter.

A worker has thousands of slots, and a picture of them is sent twice a second: a letter each is
little to send and little to draw. It knows no instruments.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from slotcast.board.views import Measure, SlotMap

EMPTY, UNKNOWN = ord("."), ord("?")
STEPS = 12
"""Letters above the middle, and as many below."""
LEAST_REACH = 0.01
COVERAGE_REACH = 0.1


def slot_map(
    measure: Measure,
    slot: NDArray[np.int64],
    value: NDArray[np.float64],
    slots: int,
    level: float,
) -> SlotMap:
    """The picture of at least `slots` slots, of which `slot` are held and are worth `value` [n].

    Skill is shown around 0, coverage around the interval's `level`.
    """
    size = max(slots, int(slot.max()) + 1 if len(slot) else 0)
    middle, reach = (0.0, _reach(value)) if measure == "skill" else (level, COVERAGE_REACH)
    known = np.isfinite(value)
    steps = np.clip(np.rint(STEPS * (value[known] - middle) / reach), -STEPS, STEPS)
    letters = np.full(size, EMPTY, np.uint8)
    letters[slot] = UNKNOWN
    letters[slot[known]] = ord("A") + STEPS + steps.astype(np.int64)
    return SlotMap(measure, middle, reach, letters.tobytes().decode("ascii"))


def _reach(value: NDArray[np.float64]) -> float:
    """1, 2 or 5 times a power of ten, beyond which there are few values."""
    known = np.abs(value[np.isfinite(value)])
    most = max(float(np.quantile(known, 0.95)) if len(known) else 0.0, LEAST_REACH)
    power = 10.0 ** math.floor(math.log10(most))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= most * 0.999)
