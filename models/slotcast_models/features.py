"""What network and readout see of a row: all from its own ticks, scaled and clipped."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from slotcast_models.columns import Plan
from slotcast_models.compiled import compiled
from slotcast_models.memory import (
    BASE,
    CANDIDATE,
    CHANGE,
    HERE,
    LEVEL,
    MEDIAN_NS,
    PRESENT,
    SMOOTH,
    STEP,
    STEP_NS,
    TICKS,
    Memory,
    U,
)
from slotcast_models.scaling import INPUT_LIMIT, clip, scale_of
from slotcast_models.seasons import season_features
from slotcast_models.smoothing import smooth_change

AGE_SCALE = 4.0


@compiled
def deviation(quantity: NDArray[np.float64], scale: float) -> float:
    """How far the value is from its level, in scales of a change, clipped."""
    return clip((quantity[U] - quantity[LEVEL]) / scale, INPUT_LIMIT) if scale > 0.0 else 0.0


@compiled
def scaled(change: float, scale: float) -> float:
    """A change in scales, clipped; 0 while there is no scale."""
    return clip(change / scale, INPUT_LIMIT) if scale > 0.0 else 0.0


@compiled
def time_inputs(
    memory: Memory, slot: int, inputs: NDArray[np.float32], place: int, plan: Plan
) -> int:
    """The time since the last tick, in median steps, and the next tick's phase as waves."""
    pace = memory.pace[slot]
    step = math.log1p(pace[STEP_NS] / pace[MEDIAN_NS]) if pace[MEDIAN_NS] > 0.0 else 0.0
    inputs[place] = min(step, INPUT_LIMIT)
    for i in range(plan.phases):
        phase = (memory.counts[slot, STEP] + 1) % plan.seasons.length
        inputs[place + 1 + i] = plan.seasons.waves[phase, i]
    return place + 1 + plan.phases


@compiled
def vector_inputs(memory: Memory, slot: int, inputs: NDArray[np.float32], place: int) -> int:
    """The instrument's learnt vector, if the network has such."""
    vector = memory.vector[slot]
    for i in range(vector.shape[0]):
        inputs[place + i] = vector[i]
    return place + vector.shape[0]  # type: ignore[no-any-return]


@compiled
def said_inputs(
    memory: Memory, slot: int, j: int, inputs: NDArray[np.float32], place: int, plan: Plan
) -> int:
    """What a network that corrects has to correct, and how old the row is."""
    if not plan.corrects:
        return place
    target = memory.target[slot, j]
    inputs[place], inputs[place + 1] = target[CANDIDATE], target[BASE]
    inputs[place + 2] = target[SMOOTH]
    inputs[place + 3] = math.log1p(memory.counts[slot, TICKS]) / AGE_SCALE
    return place + 4


@compiled
def network_inputs(memory: Memory, slot: int, inputs: NDArray[np.float32], plan: Plan) -> None:
    """Inputs of one tick: scaled change and deviation per quantity, those of time, the vector.

    Per target: [change, deviation, time, vector, what is said] for each target. Per instrument:
    [change, deviation] for each quantity, [present] for each feature, and time and vector once.
    """
    targets, place = memory.target.shape[1], 0
    for q in range(targets if plan.per_target else memory.quantity.shape[1]):
        quantity = memory.quantity[slot, q]
        scale = scale_of(quantity)
        inputs[place] = scaled(quantity[CHANGE], scale)
        inputs[place + 1] = deviation(quantity, scale)
        place += 2
        if plan.per_target:
            place = time_inputs(memory, slot, inputs, place, plan)
            place = vector_inputs(memory, slot, inputs, place)
            place = said_inputs(memory, slot, q, inputs, place, plan)
        elif q >= targets:
            inputs[place] = 1.0 if quantity[PRESENT] == HERE else 0.0
            place += 1
    if not plan.per_target:
        place = time_inputs(memory, slot, inputs, place, plan)
        vector_inputs(memory, slot, inputs, place)


@compiled
def first_sibling(memory: Memory) -> int:
    """Where the siblings begin among the readout's features: after bias, lags and deviation."""
    return memory.lags.shape[2] + 2  # type: ignore[no-any-return]


@compiled
def readout_features(
    memory: Memory, slot: int, j: int, scale: float, output: float, plan: Plan
) -> None:
    """What the readout of target `j` sees.

    Bias, own lags, own deviation, change and deviation of siblings, seasons, smoothers, and the
    network's output unless it corrects.
    """
    features, lags = memory.features[slot, j], memory.lags[slot, j]
    features[0] = 1.0
    place = 1
    for i in range(lags.shape[0]):
        features[place] = scaled(lags[i], scale)
        place += 1
    features[place] = deviation(memory.quantity[slot, j], scale)
    place = first_sibling(memory)
    left = plan.siblings
    for q in range(memory.quantity.shape[1]):
        if q != j and left > 0:
            sibling = memory.quantity[slot, q]
            usual = scale_of(sibling)
            features[place] = scaled(sibling[CHANGE], usual)
            features[place + 1] = deviation(sibling, usual)
            place += 2
            left -= 1
    place = season_features(memory, slot, j, scale, place, plan.seasons)
    smoothers, u = memory.smoothers[slot, j], memory.quantity[slot, j, U]
    features[place] = smooth_change(smoothers, u, scale, plan.rules)
    memory.target[slot, j, SMOOTH] = features[place]
    if not plan.corrects:
        features[place + 1] = clip(output, INPUT_LIMIT)
