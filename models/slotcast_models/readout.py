"""The readout: recursive least squares of the next scaled change, and the second stage after it.

Both learn at every tick from what was stored with the forecast. The covariance update
P -= r r^T with r = P x / sqrt(lambda + x P x) keeps P symmetric in bits and did not diverge where
the textbook form did. Each weight stops forgetting while its variance exceeds 100 times the prior:
a feature that is silent would inflate it without end, and must not hold up the others.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from slotcast_models.compiled import compiled
from slotcast_models.memory import (
    BASE,
    CANDIDATE,
    GATE_SQUARES,
    GATE_SUM,
    GATE_WEIGHT,
    GATE_WEIGHT2,
    LEAN,
    LEAN_P,
    OUTPUT,
    SMOOTH,
    STAGE,
    STAGE_LEAN_P,
    STAGE_P,
    TRUST,
    TRUST_P,
)
from slotcast_models.rules import (
    FORGETTING,
    FORGETTING_SHARE,
    GATE_RATE,
    GATE_T,
    RIDGE,
    STAGE_FORGETTING,
    STAGE_RIDGE,
)
from slotcast_models.scaling import INPUT_LIMIT, clip

ERROR_LIMIT = 6.0
INFLATION_LIMIT = 100.0
STAGE_LIMIT = 1.2
ROUNDING = 1e-12
YOUNGEST_TICKS = 6.0
"""A young readout looks back over this many ticks per feature, and a share of its ticks more."""


@compiled
def dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Sum of products in index order, so that the bits do not depend on a library."""
    total = 0.0
    for i in range(a.shape[0]):
        total += a[i] * b[i]
    return total


@compiled
def learn_readout(
    weights: NDArray[np.float64],
    cov: NDArray[np.float64],
    features: NDArray[np.float64],
    label: float,
    rules: NDArray[np.float64],
    gain: NDArray[np.float64],
    ticks: int,
) -> None:
    """One step of recursive least squares towards `label` (a scaled change); `gain` is scratch.

    `ticks` is how many the row has seen: the older half soon counts for little, because the scale
    was young then and the readout knew nothing of the season.
    """
    size = features.shape[0]
    spread = 0.0
    gain[:] = 0.0
    for k in range(size):  # cov is symmetric: by columns, so that the inner loop has no sum
        for i in range(size):
            gain[i] += cov[k, i] * features[k]
    for i in range(size):
        spread += features[i] * gain[i]
    window = YOUNGEST_TICKS * size + rules[FORGETTING_SHARE] * ticks
    forgetting = min(rules[FORGETTING], 1.0 - 1.0 / window)
    denominator = forgetting + spread
    error = clip(label - dot(weights, features), ERROR_LIMIT)
    root = math.sqrt(denominator)
    most, fading = INFLATION_LIMIT / rules[RIDGE], 1.0 / math.sqrt(forgetting)
    for i in range(size):
        weights[i] += gain[i] * error / denominator
        gain[i] /= root
    for i in range(size):
        for k in range(size):
            cov[i, k] -= gain[i] * gain[k]
    for i in range(size):
        gain[i] = fading if cov[i, i] <= most else 1.0  # from here on: the factor of its row
    for i in range(size):
        for k in range(size):
            cov[i, k] *= gain[i] * gain[k]


@compiled
def learn_stage(target: NDArray[np.float64], label: float, rules: NDArray[np.float64]) -> None:
    """Second stage: how much to publish of the smoothers' change, and of what the readout adds.

    Recursive least squares of two numbers; forgetting pauses for one that nothing is learnt of.
    """
    smooth, added = target[SMOOTH], target[BASE] - target[SMOOTH]
    most, fading = INFLATION_LIMIT / rules[STAGE_RIDGE], 1.0 / math.sqrt(rules[STAGE_FORGETTING])
    lean = fading if target[LEAN_P] <= most else 1.0
    stage = fading if target[STAGE_P] <= most else 1.0
    target[LEAN_P] *= lean * lean
    target[STAGE_P] *= stage * stage
    target[STAGE_LEAN_P] *= lean * stage
    lean_gain = target[LEAN_P] * smooth + target[STAGE_LEAN_P] * added
    stage_gain = target[STAGE_LEAN_P] * smooth + target[STAGE_P] * added
    denominator = 1.0 + smooth * lean_gain + added * stage_gain
    error = label - target[LEAN] * smooth - target[STAGE] * added
    target[LEAN] += lean_gain * error / denominator
    target[STAGE] += stage_gain * error / denominator
    target[LEAN_P] -= lean_gain * lean_gain / denominator
    target[STAGE_P] -= stage_gain * stage_gain / denominator
    target[STAGE_LEAN_P] -= lean_gain * stage_gain / denominator


@compiled
def learn_trust(target: NDArray[np.float64], label: float, rules: NDArray[np.float64]) -> None:
    """How much to publish of what the network corrects: recursive least squares of one number."""
    output = target[OUTPUT]
    if target[TRUST_P] <= INFLATION_LIMIT / rules[STAGE_RIDGE]:
        target[TRUST_P] /= rules[STAGE_FORGETTING]
    gain = target[TRUST_P] * output
    denominator = 1.0 + output * gain
    trust = target[TRUST] + gain * (label - target[CANDIDATE]) / denominator
    target[TRUST] = max(0.0, min(STAGE_LIMIT, trust))
    target[TRUST_P] -= gain * gain / denominator


@compiled
def learn_gate(target: NDArray[np.float64], label: float, rules: NDArray[np.float64]) -> None:
    """Guard: the candidate's gain over persistence in squared scaled error, and its spread."""
    miss = label - target[CANDIDATE]
    gain, rate = label * label - miss * miss, rules[GATE_RATE]
    keep = 1.0 - rate
    target[GATE_SUM] = keep * target[GATE_SUM] + rate * gain
    target[GATE_SQUARES] = keep * target[GATE_SQUARES] + rate * gain * gain
    target[GATE_WEIGHT] = keep * target[GATE_WEIGHT] + rate
    target[GATE_WEIGHT2] = keep * keep * target[GATE_WEIGHT2] + rate * rate


@compiled
def gate_is_open(target: NDArray[np.float64], rules: NDArray[np.float64]) -> bool:
    """Whether the gain's t value, over its effective number of ticks, exceeds the rule's.

    Always, where the rule is minus infinity: there the model need not prove itself.
    """
    weight = target[GATE_WEIGHT]
    if rules[GATE_T] == -math.inf:
        return True
    if weight == 0.0:
        return False
    mean = target[GATE_SUM] / weight
    variance = target[GATE_SQUARES] / weight - mean * mean
    if variance <= ROUNDING * mean * mean:  # of one tick's gain, say
        return False
    error = math.sqrt(variance * target[GATE_WEIGHT2]) / weight
    return mean > rules[GATE_T] * error  # type: ignore[no-any-return]


@compiled
def candidate_change(
    target: NDArray[np.float64], weights: NDArray[np.float64], features: NDArray[np.float64]
) -> None:
    """Store the scaled change that the second stage would publish, and the readout's own."""
    target[BASE] = clip(dot(weights, features), ERROR_LIMIT)
    lean = max(0.0, min(STAGE_LIMIT, target[LEAN]))
    stage = max(0.0, min(STAGE_LIMIT, target[STAGE]))
    target[CANDIDATE] = lean * target[SMOOTH] + stage * (target[BASE] - target[SMOOTH])


@compiled
def published_change(target: NDArray[np.float64], corrects: bool) -> float:
    """The candidate, with the trusted share of the network's correction if it corrects.

    It is cut where labels are, since nothing is learnt of larger changes, and stored, so that gate
    and trust answer for what is published.
    """
    correction = target[TRUST] * target[OUTPUT] if corrects else 0.0
    target[CANDIDATE] = clip(target[CANDIDATE] + correction, INPUT_LIMIT)
    return target[CANDIDATE]  # type: ignore[no-any-return]
