"""What a row is before its first tick, and how the readout forgets what it was sure of."""

from __future__ import annotations

from slotcast_models.columns import Plan
from slotcast_models.compiled import compiled, copy_row
from slotcast_models.features import first_sibling
from slotcast_models.intervals import LOWER, UPPER
from slotcast_models.memory import (
    BREAKS,
    GAPS,
    KNOWN_STEPS,
    LEAN,
    LEAN_P,
    NEVER,
    ORIGIN,
    PENDING,
    SCORED,
    STAGE,
    STAGE_P,
    STEP,
    TICKS,
    TRUST,
    TRUST_P,
    Memory,
)
from slotcast_models.rules import (
    RIDGE,
    SIBLING_RIDGE,
    STAGE_PRIOR,
    STAGE_RIDGE,
    TRUST_START,
)


@compiled
def forget_covariance(memory: Memory, slot: int, j: int, plan: Plan) -> None:
    """Make the readout of target `j` as unsure of its weights as a fresh one."""
    cov = memory.cov[slot, j]
    cov[:, :] = 0.0
    for i in range(cov.shape[0]):
        cov[i, i] = 1.0 / plan.rules[RIDGE]
    own = first_sibling(memory)
    for i in range(own, own + 2 * plan.siblings):
        cov[i, i] = 1.0 / (plan.rules[RIDGE] * plan.rules[SIBLING_RIDGE])


@compiled
def wipe(memory: Memory, slot: int, plan: Plan) -> None:
    """Make the row a fresh one; the log's own bookkeeping (applied, marks, shares) stays."""
    memory.net[slot, :] = 0.0
    memory.inputs[slot, :, :] = 0.0
    memory.quantity[slot, :, :] = 0.0
    memory.target[slot, :, :] = 0.0
    memory.smoothers[slot, :, :, :] = 0.0
    memory.lags[slot, :, :] = 0.0
    memory.weights[slot, :, :] = 0.0
    memory.features[slot, :, :] = 0.0
    memory.bounds[slot, :, :, :] = 0.0
    memory.covered[slot, :, :] = 0
    memory.ring[slot, :, :] = 0.0
    memory.ring_step[slot, :] = NEVER
    memory.profile[slot, :, :] = 1.0
    memory.extra[slot, :, :] = 0.0
    memory.pace[slot, :] = 0.0
    size, trusted = memory.weights.shape[2], 1 if plan.corrects else 2
    for j in range(memory.weights.shape[1]):
        for i in range(size - trusted, size):  # the smoothers, and the output of a network
            memory.weights[slot, j, i] = 1.0
        for share, variance in ((LEAN, LEAN_P), (STAGE, STAGE_P), (TRUST, TRUST_P)):
            memory.target[slot, j, share] = plan.rules[STAGE_PRIOR]
            memory.target[slot, j, variance] = 1.0 / plan.rules[STAGE_RIDGE]
        memory.target[slot, j, TRUST] = plan.rules[TRUST_START] * plan.rules[STAGE_PRIOR]
        copy_row(memory.quantiles[slot, j, LOWER], plan.start[LOWER])
        copy_row(memory.quantiles[slot, j, UPPER], plan.start[UPPER])
        forget_covariance(memory, slot, j, plan)
    count = memory.counts[slot]
    count[TICKS], count[ORIGIN], count[PENDING], count[SCORED] = 0, NEVER, 0, 0
    count[GAPS], count[BREAKS], count[STEP], count[KNOWN_STEPS] = 0, 0, 0, 0
