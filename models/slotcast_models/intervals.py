"""Prediction intervals by online quantile tracking of the published error, in error scales.

Each level keeps two trackers that step up when the error falls outside and down otherwise, so that
each side is missed (1 - level) / 2 of the time (Gibbs and Candes, 2021, with the pinball gradient).
They start from the quantiles of a unit-variance Student t with 4 degrees of freedom. Bounds are
made monotone in the level when they are stored.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from slotcast_models.compiled import compiled
from slotcast_models.memory import ERROR_SUM, ERROR_WEIGHT
from slotcast_models.rules import ERROR_RATE, INTERVAL_RATE
from slotcast_models.scaling import value_of

LOWER, UPPER = 0, 1
CLIP_SQUARED = 36.0
SCALE_FLOOR = 0.1
"""The error scale never falls below this share of the scale of changes."""


def start_quantiles(levels: tuple[float, ...]) -> NDArray[np.float64]:
    """Trackers at the start, [2, levels]: quantiles of a unit-variance Student t, 4 degrees.

    Closed form of the t quantile for 4 degrees of freedom (Shaw, 2006), over sqrt(2), the standard
    deviation of that distribution.
    """
    upper = []
    for level in levels:
        p = (1.0 + level) / 2.0
        alpha = 4.0 * p * (1.0 - p)
        q = math.cos(math.acos(math.sqrt(alpha)) / 3.0) / math.sqrt(alpha)
        upper.append(2.0 * math.sqrt(q - 1.0) / math.sqrt(2.0))
    return np.array([[-u for u in upper], upper])


@compiled
def error_scale_of(target: NDArray[np.float64], scale: float) -> float:
    """Typical size of the published error, in u; the scale of changes before there is one."""
    if target[ERROR_WEIGHT] == 0.0:
        return scale
    return max(math.sqrt(target[ERROR_SUM] / target[ERROR_WEIGHT]), SCALE_FLOOR * scale)


@compiled
def learn_error_scale(
    target: NDArray[np.float64], error: float, error_scale: float, rules: NDArray[np.float64]
) -> None:
    """Take one published error (in u) into the error scale."""
    square = error * error
    if error_scale > 0.0:
        square = min(square, CLIP_SQUARED * error_scale * error_scale)
    target[ERROR_SUM] += rules[ERROR_RATE] * (square - target[ERROR_SUM])
    target[ERROR_WEIGHT] += rules[ERROR_RATE] * (1.0 - target[ERROR_WEIGHT])


@compiled
def learn_quantiles(
    quantiles: NDArray[np.float64],
    z: float,
    levels: NDArray[np.float64],
    rules: NDArray[np.float64],
) -> None:
    """Move the trackers [2, levels] by one published error `z`, in error scales."""
    rate = rules[INTERVAL_RATE]
    for i in range(levels.shape[0]):
        miss = (1.0 - levels[i]) / 2.0
        above = 1.0 if z > quantiles[UPPER, i] else 0.0
        below = 1.0 if z < quantiles[LOWER, i] else 0.0
        quantiles[UPPER, i] += rate * (above - miss)
        quantiles[LOWER, i] -= rate * (below - miss)


@compiled
def place_bounds(
    bounds: NDArray[np.float64],
    quantiles: NDArray[np.float64],
    point: float,
    error_scale: float,
) -> None:
    """Interval bounds [2, levels] around `point` (in u), widening with the level."""
    low = min(quantiles[LOWER, 0], quantiles[UPPER, 0])
    high = max(quantiles[LOWER, 0], quantiles[UPPER, 0])
    for i in range(bounds.shape[1]):
        low = min(low, quantiles[LOWER, i])
        high = max(high, quantiles[UPPER, i])
        bounds[LOWER, i] = point + low * error_scale
        bounds[UPPER, i] = point + high * error_scale


@compiled
def widen_bounds(
    bounds: NDArray[np.float64],
    point: float,
    factor: float,
    log: bool,
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
) -> None:
    """`bounds` in values, [levels] each, `factor` times as far from the point (in u)."""
    for i in range(bounds.shape[1]):
        low, high = bounds[LOWER, i], bounds[UPPER, i]
        lower[i] = value_of(low + (factor - 1.0) * (low - point), log)
        upper[i] = value_of(high + (factor - 1.0) * (high - point), log)
