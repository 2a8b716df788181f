"""The per-slot half of the predictor: what happens to one memory row when one tick arrives.

Plain scalar loops over one slot at a time, compiled. Nothing here sees another slot, a clock, or
where a wave begins, so the result depends on the log and the manifest alone. Around the network
step of a wave stand two functions:

`before` the step, per tick:   1. score the pending forecast   2. move the intervals
                               3. learn readout and stage      4. learn scale; build network inputs
`after` the step, per tick:    5. network row and output        6. combine, guard, publish, remember

Forecasts are scored and learnt from only with what was stored when they were made.

A tick of kind FROZEN moves what a row knows of the last ticks: values, lags, levels, smoothers,
ring and pace, gaps and level breaks as at any tick. Whatever is learnt from errors or is a usual
size stays: readout, second stage, trust, gate, scale, the smoothers' losses, error scale, trackers,
profile and the counts of what was scored. So does a step of a free run, which has no gap and no
time of its own either.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from slotcast_models.columns import FREE, RESET, TICK, Columns, Plan, Published
from slotcast_models.compiled import compiled, copy_row, packed
from slotcast_models.features import network_inputs, readout_features
from slotcast_models.fresh import forget_covariance, wipe
from slotcast_models.intervals import (
    LOWER,
    UPPER,
    error_scale_of,
    learn_error_scale,
    learn_quantiles,
    place_after,
    place_bounds,
)
from slotcast_models.memory import (
    ABSOLUTE_ERROR,
    ABSOLUTE_NAIVE,
    BREAKS,
    CHANGE,
    CHANGES,
    ERROR_SCALE,
    GAPS,
    HERE,
    LOST,
    MEDIAN_NS,
    MISSING,
    MODEL,
    ORIGIN,
    OUTPUT,
    PENDING,
    POINT,
    PRESENT,
    PUBLISHED,
    SCALE,
    SCORED,
    SHARE,
    SQUARED_ERROR,
    SQUARED_NAIVE,
    STEP_NS,
    TICKS,
    UNSEEN,
    VALUE,
    Memory,
    U,
)
from slotcast_models.pending import mix, restate, take_extras
from slotcast_models.readout import (
    candidate_change,
    gate_is_open,
    learn_gate,
    learn_readout,
    learn_stage,
    learn_trust,
    published_change,
)
from slotcast_models.rules import (
    BREAK_SCALES,
    FIRST_CHANGES,
    GAP_MEDIANS,
    MAX_GAP_NS,
    PROFILE_RATE,
    WARMUP_TICKS,
)
from slotcast_models.scaling import (
    INPUT_LIMIT,
    LARGEST,
    clip,
    learn_level,
    learn_scale,
    scale_of,
    value_of,
)
from slotcast_models.seasons import (
    bin_of,
    learn_profile,
    shift_ring,
    take_step,
)
from slotcast_models.smoothing import learn_losses, move_smoothers

MEDIAN_RATE = 0.05


@compiled
def is_gap(memory: Memory, slot: int, step_ns: int, rules: NDArray[np.float64]) -> bool:
    """Whether the pause before this tick is longer than the schema's gap and 20 median steps."""
    longest = max(rules[MAX_GAP_NS], rules[GAP_MEDIANS] * memory.pace[slot, MEDIAN_NS])
    return step_ns > longest  # type: ignore[no-any-return]


@compiled
def learn_pace(memory: Memory, slot: int, step_ns: int) -> None:
    """Track the median of the positive time steps."""
    pace = memory.pace[slot]
    pace[STEP_NS] = max(step_ns, 0)
    if step_ns > 0:
        if pace[MEDIAN_NS] == 0.0:
            pace[MEDIAN_NS] = step_ns
        elif step_ns > pace[MEDIAN_NS]:
            pace[MEDIAN_NS] *= 1.0 + MEDIAN_RATE
        elif step_ns < pace[MEDIAN_NS]:
            pace[MEDIAN_NS] /= 1.0 + MEDIAN_RATE


@compiled
def score(memory: Memory, slot: int, j: int, value: float, u: float, plan: Plan) -> None:
    """1 and 2: compare the pending forecast of target `j` with what came; move its intervals."""
    target = memory.target[slot, j]
    miss = clip(value - target[PUBLISHED], LARGEST)
    naive = clip(value - memory.quantity[slot, j, VALUE], LARGEST)
    target[SQUARED_ERROR] += miss * miss
    target[SQUARED_NAIVE] += naive * naive
    target[ABSOLUTE_ERROR] += abs(miss)
    target[ABSOLUTE_NAIVE] += abs(naive)
    bounds, covered = memory.bounds[slot, j], memory.covered[slot, j]
    for i in range(covered.shape[0]):
        covered[i] += 1 if bounds[LOWER, i] <= u <= bounds[UPPER, i] else 0
    profile, width = memory.profile[slot, j], 1.0
    if profile.shape[0] > 0:
        width = profile[bin_of(memory, slot, plan.seasons)]
    error, scale = clip(u - target[POINT], LARGEST), target[ERROR_SCALE]
    learn_error_scale(target, error / width, scale / width, plan.rules)
    if scale > 0.0:
        z = (u - target[POINT]) / scale
        errors = memory.counts[slot, SCORED]  # without this one, as when it was forecast
        wider = plan.wider[place_after(errors)]
        learn_quantiles(memory.quantiles[slot, j], z, plan.levels, plan.rules, wider, errors)
        if profile.shape[0] > 0:
            at = bin_of(memory, slot, plan.seasons)
            learn_profile(profile, at, z, plan.rules[PROFILE_RATE])


@compiled
def is_awake(memory: Memory, slot: int, j: int, plan: Plan) -> bool:
    """Whether the pending forecast had a scale, and target `j` has changed often enough for one.

    The first change of a sensor that was stuck says little of the next.
    """
    enough = memory.quantity[slot, j, CHANGES] >= plan.rules[FIRST_CHANGES]
    return enough and memory.target[slot, j, SCALE] > 0.0  # type: ignore[no-any-return]


@compiled
def is_learnt_from(memory: Memory, slot: int, j: int, plan: Plan) -> bool:
    """Whether gate, second stage and readout of target `j` learn from the pending forecast."""
    warm = memory.counts[slot, TICKS] > plan.rules[WARMUP_TICKS]
    return warm and is_awake(memory, slot, j, plan)


@compiled
def label_of(memory: Memory, slot: int, j: int, change: float, plan: Plan) -> float:
    """What the network should have said of target `j` at the tick before; NaN for no label.

    Where the fold learns, that is where a network has one. One that corrects has one from the first
    forecast on that has a scale: it is heard while the readout warms up, from the next one on.
    """
    scale = memory.target[slot, j, SCALE]
    heard = scale > 0.0 if plan.corrects else is_learnt_from(memory, slot, j, plan)
    return clip(change / scale, INPUT_LIMIT) if heard else math.nan


@compiled
def learn(memory: Memory, slot: int, j: int, change: float, plan: Plan) -> None:
    """3: gate, second stage and readout of target `j`, with what its forecast stored."""
    target, ticks = memory.target[slot, j], memory.counts[slot, TICKS]
    if not is_learnt_from(memory, slot, j, plan):
        return
    label = clip(change / target[SCALE], INPUT_LIMIT)
    learn_gate(target, label, plan.rules)
    if plan.corrects:
        learn_trust(target, label, plan.rules)
    learn_stage(target, label, plan.rules)
    weights, features = packed(memory.weights[slot, j]), packed(memory.features[slot, j])
    cov = packed(memory.cov[slot, j])
    learn_readout(weights, cov, features, label, plan.rules, plan.gain, ticks)


@compiled
def push_change(memory: Memory, slot: int, j: int, change: float, forget: bool) -> None:
    """Put a target's change in front of its lags; after a gap or a break, forget the others."""
    lags = memory.lags[slot, j]
    for i in range(lags.shape[0] - 1, 0, -1):
        lags[i] = 0.0 if forget else lags[i - 1]
    lags[0] = 0.0 if forget else change


@compiled
def take_quantity(
    memory: Memory,
    slot: int,
    q: int,
    value: float,
    kind: int,
    gap: bool,
    plan: Plan,
    labels: NDArray[np.float64],
) -> bool:
    """1 to 4 for one quantity: score and learn if it is a target, then scale, level and value.

    Writes a target's label (see `label_of`); returns whether this is a level break.
    """
    if q < labels.shape[0]:
        labels[q] = math.nan
    quantity = memory.quantity[slot, q]
    first = quantity[PRESENT] == UNSEEN
    if math.isnan(value):  # a missing feature holds its value
        lost = gap or quantity[PRESENT] == LOST
        quantity[CHANGE] = 0.0
        quantity[PRESENT] = UNSEEN if first else LOST if lost else MISSING
        return False
    u = math.log(value) if plan.log[q] else value
    known = not (first or gap or quantity[PRESENT] == LOST)
    change = clip(u - quantity[U], LARGEST)
    scale = scale_of(quantity)
    jumped = scale > 0.0 and abs(change) > plan.rules[BREAK_SCALES] * scale
    broken = known and jumped
    if not known:
        change = 0.0
    if q < memory.target.shape[1]:
        if known and kind == TICK and memory.counts[slot, PENDING] == 1:
            score(memory, slot, q, value, u, plan)
            if not broken:
                usual = memory.target[slot, q, SCALE]
                if usual > 0.0:
                    learn_losses(memory.smoothers[slot, q], u, quantity[U], usual, plan.rules)
                labels[q] = label_of(memory, slot, q, change, plan)
                learn(memory, slot, q, change, plan)
        if broken:
            shift_ring(memory, slot, q, change)
        push_change(memory, slot, q, change, gap or broken)
        move_smoothers(memory.smoothers[slot, q], plan.rates, u, first or jumped)
    if kind == TICK and known:
        learn_scale(quantity, change, plan.rules)
    learn_level(quantity, u, first or jumped, plan.rules)
    quantity[VALUE], quantity[U], quantity[PRESENT] = value, u, HERE
    quantity[CHANGE] = 0.0 if broken else change
    return broken


@compiled
def take_quantities(
    memory: Memory,
    slot: int,
    values: NDArray[np.float64],
    kind: int,
    gap: bool,
    plan: Plan,
    labels: NDArray[np.float64],
) -> None:
    """`take_quantity` for all of them; a tick has one level break, of however many quantities."""
    broken = False
    for q in range(values.shape[0]):
        if take_quantity(memory, slot, q, values[q], kind, gap, plan, labels):
            broken = True
    if broken:
        memory.counts[slot, BREAKS] += 1


@compiled
def candidate(memory: Memory, slot: int, j: int, output: float, plan: Plan) -> None:
    """Store what readout and second stage make of target `j`, and of the network's output."""
    scale = scale_of(memory.quantity[slot, j])
    readout_features(memory, slot, j, scale, output, plan)
    weights, features = packed(memory.weights[slot, j]), packed(memory.features[slot, j])
    candidate_change(memory.target[slot, j], weights, features)


@compiled
def before(
    memory: Memory,
    plan: Plan,
    columns: Columns,
    wave: NDArray[np.int64],
    published: Published,
    inputs: NDArray[np.float32],
    net: NDArray[np.float32],
) -> None:
    """1 to 4 for every tick of the wave; gathers network inputs [k, W] and rows [k, rows * D]."""
    for i in range(wave.shape[0]):
        tick = wave[i]
        slot, kind = columns.slot[tick], columns.kind[tick]
        inputs[i, :] = 0.0
        if kind == RESET:
            wipe(memory, slot, plan)
            net[i, :] = 0.0
            continue
        count, step_ns = memory.counts[slot], columns.step_ns[tick]
        gap = kind != FREE and is_gap(memory, slot, step_ns, plan.rules)
        learn_pace(memory, slot, step_ns)
        take_quantities(memory, slot, columns.value[tick], kind, gap, plan, published.label[tick])
        if count[TICKS] == 0:
            count[ORIGIN] = columns.offset[tick]
        elif gap:
            count[GAPS] += 1
        elif count[PENDING] == 1 and kind != FREE:
            published.scored[tick] = True
            if kind == TICK:
                count[SCORED] += 1
        anew = take_step(memory, slot, columns.time_ns[tick], kind == FREE, plan.seasons)
        for j in range(memory.target.shape[1] if anew and kind == TICK else 0):
            forget_covariance(memory, slot, j, plan)  # weights learnt without the season are kept
        for j in range(memory.target.shape[1] if plan.corrects else 0):
            candidate(memory, slot, j, 0.0, plan)
        network_inputs(memory, slot, inputs[i], plan)
        turn = count[TICKS] % memory.inputs.shape[1]
        copy_row(packed(memory.inputs[slot, turn]), inputs[i])
        count[TICKS] += 1
        copy_row(net[i], packed(memory.net[slot]))


@compiled
def forecast_target(memory: Memory, slot: int, j: int, output: float, plan: Plan) -> None:
    """6 for one target: combine, guard, un-scale, place the interval, and remember it all."""
    quantity, target = memory.quantity[slot, j], memory.target[slot, j]
    scale = scale_of(quantity)
    target[OUTPUT] = clip(output, INPUT_LIMIT)
    if not plan.corrects:
        candidate(memory, slot, j, target[OUTPUT], plan)
    change = published_change(target, plan.corrects)
    target[SCALE], target[ERROR_SCALE] = scale, error_scale_of(target, scale)
    is_model = is_awake(memory, slot, j, plan) and gate_is_open(target, plan.rules)
    if memory.profile.shape[2] > 0:
        target[ERROR_SCALE] *= memory.profile[slot, j, bin_of(memory, slot, plan.seasons)]
    target[MODEL], target[POINT] = 0.0, quantity[U]
    target[PUBLISHED] = quantity[VALUE]
    if is_model:
        target[MODEL], target[POINT] = 1.0, quantity[U] + change * scale
        target[PUBLISHED] = value_of(target[POINT], plan.log[j])
    wider = plan.wider[place_after(memory.counts[slot, SCORED])]
    bounds, quantiles = memory.bounds[slot, j], memory.quantiles[slot, j]
    place_bounds(bounds, quantiles, target[POINT], target[ERROR_SCALE], wider)


@compiled
def after(
    memory: Memory,
    plan: Plan,
    columns: Columns,
    wave: NDArray[np.int64],
    outputs: NDArray[np.float32],
    net: NDArray[np.float32],
    published: Published,
) -> None:
    """5 and 6 for every tick of the wave, with outputs [k, T * E] and network rows [k, rows * D].

    Each target has E outputs: the change, then what the head says beside it.
    """
    targets, levels, extras = memory.bounds.shape[1], memory.bounds.shape[3], memory.extra.shape[2]
    point = published.point.view(np.uint64)  # the bits of the published numbers, to be hashed
    lower, upper = published.lower.view(np.uint64), published.upper.view(np.uint64)
    extra = published.extra.view(np.uint64)
    for i in range(wave.shape[0]):
        tick = wave[i]
        slot = columns.slot[tick]
        if columns.kind[tick] == RESET:
            continue
        copy_row(packed(memory.net[slot]), net[i])
        memory.counts[slot, PENDING] = 1
        share = mix(memory.share[slot, SHARE], np.uint64(columns.offset[tick]))
        for j in range(targets):
            first = j * (1 + extras)
            forecast_target(memory, slot, j, float(outputs[i, first]), plan)
            take_extras(memory, slot, j, outputs[i], first + 1, plan)
        restate(memory, slot, tick, plan, published)
        for j in range(targets):
            share = mix(share, point[tick, j])
            for k in range(levels):
                share = mix(mix(share, lower[tick, j, k]), upper[tick, j, k])
            for k in range(extras):
                share = mix(share, extra[tick, j, k])
        memory.share[slot, SHARE] = share
