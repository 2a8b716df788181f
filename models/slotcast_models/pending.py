"""The forecast that a row stands at: written into columns, and hashed into the row's fingerprint.

Reads what `fold.after` has stored. Nothing here decides about a forecast.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from slotcast_models.columns import Plan, Published
from slotcast_models.compiled import compiled
from slotcast_models.intervals import LOWER, UPPER
from slotcast_models.memory import (
    BASE,
    MODEL,
    ORIGIN,
    OUTPUT,
    PUBLISHED,
    SCALE,
    SQUARED_ERROR,
    SQUARED_NAIVE,
    TICKS,
    Memory,
    U,
)
from slotcast_models.scaling import INPUT_LIMIT, clip, value_of


@compiled
def take_extras(
    memory: Memory, slot: int, j: int, outputs: NDArray[np.float32], first: int, plan: Plan
) -> None:
    """6, beside the forecast: what else the head says of target `j`, from outputs[first] on.

    Quantiles become values that do not fall; probabilities stay as they are.
    """
    extra, scale = memory.extra[slot, j], memory.target[slot, j, SCALE]
    u, highest = memory.quantity[slot, j, U], -math.inf
    for i in range(extra.shape[0]):
        extra[i] = outputs[first + i]
        if plan.quantiles:
            highest = max(highest, u + clip(extra[i], INPUT_LIMIT) * scale)
            extra[i] = value_of(highest, plan.log[j])


@compiled
def restate(memory: Memory, slot: int, tick: int, plan: Plan, published: Published) -> None:
    """Write the slot's pending forecast into the columns at `tick`."""
    for j in range(memory.target.shape[1]):
        target, bounds = memory.target[slot, j], memory.bounds[slot, j]
        u, output = memory.quantity[slot, j, U], target[OUTPUT]
        published.point[tick, j] = target[PUBLISHED]
        published.readout[tick, j] = value_of(u + target[BASE] * target[SCALE], plan.log[j])
        published.network[tick, j] = math.nan
        if not plan.corrects:
            published.network[tick, j] = value_of(u + output * target[SCALE], plan.log[j])
        published.model[tick, j] = target[MODEL] == 1.0
        for i in range(bounds.shape[1]):
            published.lower[tick, j, i] = value_of(bounds[LOWER, i], plan.log[j])
            published.upper[tick, j, i] = value_of(bounds[UPPER, i], plan.log[j])
        for i in range(memory.extra.shape[2]):
            published.extra[tick, j, i] = memory.extra[slot, j, i]
        published.skill[tick, j] = math.nan
        if target[SQUARED_NAIVE] > 0.0:
            published.skill[tick, j] = 1.0 - target[SQUARED_ERROR] / target[SQUARED_NAIVE]
    published.ticks[tick] = memory.counts[slot, TICKS]
    published.origin[tick] = memory.counts[slot, ORIGIN]


@compiled
def mix(share: np.uint64, bits: np.uint64) -> np.uint64:
    """One round of a 64-bit hash chain (the finaliser of splitmix64; Steele et al., 2014)."""
    x = share ^ bits
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))) + np.uint64(0x9E3779B97F4A7C15)
