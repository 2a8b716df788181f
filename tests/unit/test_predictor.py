"""The predictor learns what can be learnt, leaves alone what cannot, and runs ahead on a copy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from slotcast_models.bundle import Bundle
from slotcast_models.columns import Columns, allocate_published
from slotcast_models.memory import (
    APPLIED,
    MARK_A,
    MARK_B,
    ORIGIN,
    PENDING,
    SEQUENCE,
    SHARE,
    STAGE,
    TICKS,
    TIME,
    view,
)
from slotcast_models.memory import NEVER as NO
from slotcast_models.predictor import Predictor, warm_up
from slotcast_models.schema import Quantity, TickSchema
from slotcast_models.step import StepProgram, numerics
from tests.streams import (
    LEVEL,
    MIXED,
    PRICE,
    SECOND_NS,
    Run,
    columns,
    eager,
    part,
    predictor,
    run,
    same_bits,
    scripted,
)

Floats = NDArray[np.float64]
INSTRUMENTS = 20


def side_by_side(series: Floats) -> Columns:
    """Series [ticks, instruments], one tick a second."""
    n, instruments = series.shape
    return columns(
        series.reshape(-1),
        slot=np.tile(np.arange(instruments), n),
        time_ns=np.repeat(np.arange(n), instruments) * SECOND_NS,
    )


def told_of(series: Floats, schema: TickSchema = LEVEL) -> tuple[Run, Floats, Floats]:
    """A run over the series; model flags and last skills by instrument."""
    told = run(predictor(schema), side_by_side(series), series.shape[1])
    shape = series.shape
    return told, told.published.model.reshape(shape), told.published.skill.reshape(shape)[-1]


def mean_reverting(n: int, keep: float, seed: int = 0) -> Floats:
    shocks = np.random.default_rng(seed).normal(size=(n, INSTRUMENTS))
    x = np.zeros_like(shocks)
    for i in range(1, n):
        x[i] = keep * x[i - 1] + shocks[i]
    return x


def random_walk(n: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=(n, INSTRUMENTS)).cumsum(axis=0)


def shares_within(series: Floats, settle: int) -> Floats:
    """Share of ticks within the published bounds after `settle` ticks, by level."""
    told, *_ = told_of(series)
    bounds = told.published.lower, told.published.upper
    lower, upper = (side.reshape(*series.shape, -1)[:-1] for side in bounds)
    within = (lower <= series[1:, :, None]) & (series[1:, :, None] <= upper)
    return within[settle:].mean(axis=(0, 1))


@pytest.mark.parametrize("schema", [LEVEL, PRICE], ids=["level", "price"])
def test_mean_reversion_is_learnt(schema: TickSchema) -> None:
    x = mean_reverting(5000, keep=0.5)
    series = x if schema is LEVEL else 50.0 * np.exp(0.01 * x)

    _, model, skill = told_of(series, schema)

    best = 1.0 - (1.0 + 0.5) / 2.0  # of the true coefficient: 1 - var(shock) / var(change)
    assert (skill > 0.6 * best).all()
    assert (skill < 1.2 * best).all()
    assert model[1000:].mean() > 0.95


def test_a_random_walk_is_left_alone() -> None:
    _, model, skill = told_of(random_walk(5000))

    assert model.mean() < 0.03
    assert (skill > -0.002).all()


def test_a_sibling_s_lead_is_learnt() -> None:
    lead = np.random.default_rng(1).normal(size=4000)
    value = np.column_stack([np.roll(lead, 1).cumsum(), lead.cumsum()])
    schema = TickSchema(targets=(Quantity(name="x"),), features=(Quantity(name="f"),))

    told = run(predictor(schema), columns(value))

    assert told.published.skill[-1, 0] > 0.8


@pytest.mark.parametrize("tails", ["normal", "t3"])
def test_intervals_hold_what_their_level_says(tails: str) -> None:
    rng, shape = np.random.default_rng(5), (4000, INSTRUMENTS)
    steps = rng.normal(size=shape) if tails == "normal" else rng.standard_t(3, shape)

    within = shares_within(steps.cumsum(axis=0), settle=1000)

    np.testing.assert_allclose(within, [0.5, 0.8, 0.9, 0.95, 0.99], atol=0.01)


def test_intervals_follow_the_errors_of_the_model_that_is_published() -> None:
    within = shares_within(mean_reverting(4000, keep=0.3), settle=1000)

    np.testing.assert_allclose(within, [0.5, 0.8, 0.9, 0.95, 0.99], atol=0.01)


def test_the_network_row_is_the_program_stepped_over_the_kept_inputs() -> None:
    told = run(predictor(MIXED), scripted(20, 1, seed=3))
    ticks = told.memory.counts[0, TICKS]
    inputs = told.memory.inputs[0, :ticks].reshape(ticks, 2, 7)

    program, row = StepProgram(Bundle.load().program), np.zeros((2, 64), np.float32)
    for x in inputs:
        _, row = program.run(np.ascontiguousarray(x), row)

    assert ticks > 10
    assert told.memory.net[0].tobytes() == row.tobytes()


def test_kept_inputs_are_a_ring() -> None:
    long, short = columns(random_walk(100)[:, 0]), columns(random_walk(99)[:, 0])
    told, before = (run(predictor(LEVEL), ticks).memory.inputs[0] for ticks in (long, short))

    changed = np.flatnonzero((told != before).any(axis=1))
    assert changed.tolist() == [99 % len(told)]


def test_a_fresh_row_knows_no_tick() -> None:
    memory = view(predictor().fresh_row())

    counts = memory.counts[0]
    assert (counts[[TIME, SEQUENCE, APPLIED, ORIGIN, MARK_A, MARK_B]] == NO).all()
    assert not counts[[TICKS, PENDING]].any()
    assert not memory.share.any()


def test_allocated_rows_are_all_fresh() -> None:
    stepper = predictor()
    rows, memory = stepper.allocate(5000)

    assert (rows == stepper.fresh_row()[0]).all()
    assert len(memory.counts) == 5000


def test_an_empty_poll_does_nothing() -> None:
    rows, _ = predictor().allocate(2)

    told = run(predictor(), columns([]), rows=rows.copy())

    assert same_bits(told.rows, rows)


def test_warm_up_leaves_no_trace() -> None:
    warm, cold = Predictor(Bundle.load().bind(PRICE)), Predictor(Bundle.load().bind(PRICE))
    warm_up(warm)
    ticks = columns(np.exp(random_walk(200)[:, 0]))

    assert same_bits(run(warm, ticks).rows, run(cold, part(ticks, ...)).rows)


def test_the_share_tells_two_histories_apart() -> None:
    x = random_walk(100)[:, 0]
    other, later = x.copy(), columns(x)
    other[50] += 1e-12
    later.offset[50:] += 1

    runs = [run(predictor(LEVEL), ticks) for ticks in (columns(x), columns(other), later)]

    assert len({int(told.memory.share[0, SHARE]) for told in runs}) == 3


def test_more_waves_than_one_count_the_busiest_instrument() -> None:
    stepper = predictor(LEVEL)
    _, memory = stepper.allocate(3)
    ticks = columns([1.0] * 6, slot=[0, 1, 0, 2, 0, 1])
    verdicts, published = np.zeros(6, np.int8), allocate_published(6, 1, 5)

    assert stepper.advance(memory, ticks, verdicts, published) == 3
    assert stepper.advance(memory, ticks, verdicts, published) == 0


def test_numerics_name_processor_and_libraries() -> None:
    assert "litert-" in numerics()
    assert "numba-" in numerics()


def pending(told: Run) -> tuple[Floats, Floats, Floats]:
    out = told.published
    return out.point[-1], out.lower[-1], out.upper[-1]


@pytest.mark.parametrize("schema", [LEVEL, PRICE], ids=["level", "price"])
def test_a_free_run_starts_with_the_pending_forecast(schema: TickSchema) -> None:
    told = run(eager(schema), columns(np.exp(0.1 * mean_reverting(300, 0.5)[:, 0])))

    first = tuple(part[0] for part in eager(schema).free_run(told.rows[:1], 3))

    assert same_bits(first, pending(told))


def test_a_free_run_leaves_the_row_as_it_is() -> None:
    log = scripted(300, 2)
    told = run(eager(), log, 2)
    before = told.rows.copy()

    first = eager().free_run(told.rows[1:], 50)

    assert same_bits(told.rows, before)
    assert same_bits(eager().free_run(told.rows[1:], 50), first)


def test_a_free_run_feeds_its_forecasts_back() -> None:
    told = run(predictor(LEVEL), columns(mean_reverting(5000, 0.8)[:, 0] + 10.0))
    at = told.memory.quantity[0, 0, 0]

    points, *_ = predictor(LEVEL).free_run(told.rows[:1], 40)

    assert told.published.model[-1, 0]
    assert abs(at - 10.0) > 0.5
    assert abs(points[-1, 0] - 10.0) < 0.4 * abs(at - 10.0), "it returns to the mean"


def test_a_free_run_is_not_shrunk_at_every_step() -> None:
    schema = TickSchema(targets=(Quantity(name="x"),), seasons=(10,), kind="sensor")
    x = np.tile(np.random.default_rng(2).normal(size=10), 60)
    told = run(predictor(schema), columns(x))
    told.memory.target[0, 0, STAGE] = 0.5

    points, *_ = predictor(schema).free_run(told.rows[:1], 30)

    np.testing.assert_allclose(points[10:, 0], x[:20], atol=0.1 * np.ptp(x))


def test_a_free_run_of_persistence_is_flat_and_widens_with_the_root_of_the_step() -> None:
    told = run(predictor(LEVEL), columns(random_walk(100)[:, 0]))

    points, lower, upper = predictor(LEVEL).free_run(told.rows[:1], 9)

    assert len(np.unique(points)) == 1
    assert upper[8] - points[8] == pytest.approx(3.0 * (upper[0] - points[0]))
    assert points[8] - lower[8] == pytest.approx(3.0 * (points[0] - lower[0]))


def test_a_price_stays_positive_however_far_a_free_run_goes() -> None:
    told = run(predictor(PRICE), columns(np.exp(0.2 * random_walk(500)[:, 0])))

    points, lower, _ = predictor(PRICE).free_run(told.rows[:1], 2000)

    assert (lower > 0.0).all()
    assert (points > 0.0).all()


def test_a_free_run_with_a_feature_that_never_came_is_finite() -> None:
    load = Quantity(name="load", gt=0, log=True)
    schema = TickSchema(targets=(Quantity(name="x"),), features=(load,))
    told = run(eager(schema), columns([[value, math.nan] for value in random_walk(50)[:, 0]]))

    for found in eager(schema).free_run(told.rows[:1], 10):
        assert np.isfinite(found).all()


def test_a_free_run_of_no_steps_is_empty() -> None:
    told = run(predictor(), columns([1.0]))

    assert [found.shape for found in predictor().free_run(told.rows[:1], 0)] == [
        (0, 1),
        (0, 1, 5),
        (0, 1, 5),
    ]


def test_a_row_that_never_ticked_has_nothing_to_run_on_from() -> None:
    with pytest.raises(ValueError, match="no ticks yet"):
        predictor().free_run(predictor().fresh_row(), 3)
