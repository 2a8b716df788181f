"""Smoothers: exponentially weighted levels at several rates, and what they say together.

Where readings are noise around a level, the next one is near the level and not near the last. How
fast a level has to follow differs between series and over time, so a row keeps several and weighs
them, persistence among them, by their squared errors of late (exponential weights; Vovk, 1990).
That needs no coefficients: it is right after a handful of ticks, when the readout knows nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from slotcast_models.compiled import compiled
from slotcast_models.rules import SMOOTHING_FORGETTING, SMOOTHING_SHARPNESS
from slotcast_models.scaling import FINITE, INPUT_LIMIT, clip

SMOOTHED, LOSS = 0, 1
"""memory.smoothers[slot, j, .]: the levels in u; their squared errors beyond persistence's."""
HEAD_START = 1.0
"""What persistence is ahead of a smoother at first, in squared scales."""
SMOOTH_LIMIT = 3.0
"""No more than this many scales are taken back: a larger change is seldom noise."""


@compiled
def learn_losses(
    smoothers: NDArray[np.float64],
    u: float,
    before: float,
    scale: float,
    rules: NDArray[np.float64],
) -> None:
    """Charge each smoother for what it said of `u`, when the value was `before`."""
    naive = clip((u - before) / scale, INPUT_LIMIT)
    for i in range(smoothers.shape[1]):
        miss = clip((u - smoothers[SMOOTHED, i]) / scale, INPUT_LIMIT)
        loss = rules[SMOOTHING_FORGETTING] * smoothers[LOSS, i]
        smoothers[LOSS, i] = loss + miss * miss - naive * naive


@compiled
def move_smoothers(
    smoothers: NDArray[np.float64], rates: NDArray[np.float64], u: float, anew: bool
) -> None:
    """Take one value into the levels, or begin them at it."""
    for i in range(smoothers.shape[1]):
        if anew:
            smoothers[SMOOTHED, i] = u
        else:
            smoothers[SMOOTHED, i] += rates[i] * clip(u - smoothers[SMOOTHED, i], FINITE)


@compiled
def smooth_change(
    smoothers: NDArray[np.float64], u: float, scale: float, rules: NDArray[np.float64]
) -> float:
    """The change that the smoothers expect together, in scales; 0 while there is no scale."""
    if scale == 0.0:
        return 0.0
    sharpness, least = rules[SMOOTHING_SHARPNESS], -HEAD_START
    for i in range(smoothers.shape[1]):
        least = min(least, smoothers[LOSS, i])
    weights, total = math.exp(sharpness * (least + HEAD_START)), 0.0  # persistence says 0
    for i in range(smoothers.shape[1]):
        weight = math.exp(sharpness * (least - smoothers[LOSS, i]))
        weights += weight
        total += weight * clip((smoothers[SMOOTHED, i] - u) / scale, INPUT_LIMIT)
    return clip(total / weights, SMOOTH_LIMIT)
