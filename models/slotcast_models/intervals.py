"""Prediction intervals by online quantile tracking of the published error, in error scales.

Each level keeps two trackers that step up when the error falls outside and down otherwise, so that
each side is missed (1 - level) / 2 of the time (Gibbs and Candes, 2021, with the pinball gradient).
They start from the quantiles of a unit-variance Student t. While few errors have been scored, their
scale is itself uncertain: bounds are wider by as much as Student's t with so many degrees of
freedom is, and trackers take longer steps. Bounds are made monotone in the level when stored.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from slotcast_models.compiled import compiled
from slotcast_models.memory import ERROR_SUM, ERROR_WEIGHT
from slotcast_models.rules import ERROR_RATE, INTERVAL_RATE
from slotcast_models.scaling import value_of
from slotcast_models.student import t_quantile

LOWER, UPPER = 0, 1
CLIP_SQUARED = 36.0
SCALE_FLOOR = 0.1
"""The error scale never falls below this share of the scale of changes."""
FEW_ERRORS = 100
"""From so many errors on, their scale is as sure as it will be."""
START_STEP, START_ERRORS = 2.0, 10.0
"""A tracker's step is at least the first over the sum of the second and the errors scored."""


def start_quantiles(levels: tuple[float, ...], degrees: int) -> NDArray[np.float64]:
    """Trackers at the start, [2, levels]: quantiles of a unit-variance Student t."""
    deviation = math.sqrt(degrees / (degrees - 2.0))
    upper = np.array([t_quantile((1.0 + level) / 2.0, degrees) for level in levels]) / deviation
    return np.array([-upper, upper])


def widenings(levels: tuple[float, ...]) -> NDArray[np.float64]:
    """[FEW_ERRORS, levels]: how much wider bounds are after 1, 2, .. errors than after many.

    An error over the root mean square of n others is Student's t with n degrees of freedom, where
    all are normal.
    """
    shares = [(1.0 + level) / 2.0 for level in levels]
    quantiles = np.array([[t_quantile(p, n + 1) for p in shares] for n in range(FEW_ERRORS)])
    return np.asarray(quantiles / quantiles[-1])


@compiled
def error_scale_of(target: NDArray[np.float64], scale: float) -> float:
    """Typical size of the published error, in u; the scale of changes before there is one."""
    if target[ERROR_WEIGHT] == 0.0:
        return scale
    return max(math.sqrt(target[ERROR_SUM] / target[ERROR_WEIGHT]), SCALE_FLOOR * scale)


@compiled
def place_after(errors: int) -> int:
    """Which row of `widenings` is that for so many scored errors."""
    return max(0, min(errors, FEW_ERRORS) - 1)


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
    wider: NDArray[np.float64],
    errors: int,
) -> None:
    """Move the trackers [2, levels] by one published error `z`, in error scales.

    Its bounds were `wider` [levels] than the trackers, after so many scored `errors`.
    """
    rate = max(rules[INTERVAL_RATE], START_STEP / (START_ERRORS + errors))
    for i in range(levels.shape[0]):
        miss = (1.0 - levels[i]) / 2.0
        above = 1.0 if z > wider[i] * quantiles[UPPER, i] else 0.0
        below = 1.0 if z < wider[i] * quantiles[LOWER, i] else 0.0
        quantiles[UPPER, i] += rate * (above - miss)
        quantiles[LOWER, i] -= rate * (below - miss)


@compiled
def place_bounds(
    bounds: NDArray[np.float64],
    quantiles: NDArray[np.float64],
    point: float,
    error_scale: float,
    wider: NDArray[np.float64],
) -> None:
    """Interval bounds [2, levels] around `point` (in u), widening with the level.

    They are `wider` [levels] than the trackers.
    """
    low = wider[0] * min(quantiles[LOWER, 0], quantiles[UPPER, 0])
    high = wider[0] * max(quantiles[LOWER, 0], quantiles[UPPER, 0])
    for i in range(bounds.shape[1]):
        low = min(low, wider[i] * quantiles[LOWER, i])
        high = max(high, wider[i] * quantiles[UPPER, i])
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
