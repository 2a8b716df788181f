"""Causal scale and level of one quantity: what a "large" change and a "high" value are.

The scale is the root of an exponentially weighted mean of squared changes, bias-corrected, each
change clipped at 6 scales, and never below 0.3 times the scale of the nonzero changes alone
(without that floor a series that was stuck never wakes). 0 until the first nonzero change.
"""

from __future__ import annotations

import math
import sys

import numpy as np
from numpy.typing import NDArray

from slotcast_models.compiled import compiled
from slotcast_models.memory import BUSY_SUM, BUSY_WEIGHT, CHANGES, LEVEL, SCALE_SUM, SCALE_WEIGHT
from slotcast_models.rules import LEVEL_RATE, SCALE_RATE

CLIP_SQUARED = 36.0
BUSY_FLOOR = 0.3
LARGEST = 1e120
"""Changes and errors are cut here, so that sums of their squares stay finite."""
INPUT_LIMIT = 8.0
"""Scaled inputs and labels are cut here."""
FINITE = sys.float_info.max
SMALLEST_LOG, LARGEST_LOG = math.log(math.ulp(0.0)), math.log(FINITE)


@compiled
def scale_of(quantity: NDArray[np.float64]) -> float:
    """Typical size of a change, in u; 0.0 before the first nonzero change."""
    if quantity[BUSY_WEIGHT] == 0.0:
        return 0.0
    scale = math.sqrt(quantity[SCALE_SUM] / quantity[SCALE_WEIGHT])
    floor = BUSY_FLOOR * math.sqrt(quantity[BUSY_SUM] / quantity[BUSY_WEIGHT])
    return max(scale, floor)


@compiled
def learn_scale(quantity: NDArray[np.float64], change: float, rules: NDArray[np.float64]) -> None:
    """Take one change (in u) into the scale."""
    rate, scale = rules[SCALE_RATE], scale_of(quantity)
    square = change * change
    if scale > 0.0:
        square = min(square, CLIP_SQUARED * scale * scale)
    quantity[SCALE_SUM] += rate * (square - quantity[SCALE_SUM])
    quantity[SCALE_WEIGHT] += rate * (1.0 - quantity[SCALE_WEIGHT])
    if square > 0.0:
        quantity[BUSY_SUM] += rate * (square - quantity[BUSY_SUM])
        quantity[BUSY_WEIGHT] += rate * (1.0 - quantity[BUSY_WEIGHT])
        quantity[CHANGES] += 1.0


@compiled
def learn_level(
    quantity: NDArray[np.float64], u: float, first: bool, rules: NDArray[np.float64]
) -> None:
    """Take one value (in u) into the exponentially weighted level."""
    if first:
        quantity[LEVEL] = u
    else:
        quantity[LEVEL] += rules[LEVEL_RATE] * clip(u - quantity[LEVEL], FINITE)


@compiled
def clip(value: float, limit: float) -> float:
    """`value` cut to [-limit, limit]."""
    return max(-limit, min(limit, value))


@compiled
def value_of(u: float, log: bool) -> float:
    """The value whose u this is; finite, and above 0 where it is a logarithm's."""
    return math.exp(max(SMALLEST_LOG, min(LARGEST_LOG, u))) if log else u
