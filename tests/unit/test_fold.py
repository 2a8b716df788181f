"""What one tick does to one row: score, learn, scale, publish, and the rules for odd ticks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from slotcast_models.columns import FREE, RESET, Columns, chosen
from slotcast_models.memory import (
    ABSOLUTE_ERROR,
    ABSOLUTE_NAIVE,
    BREAKS,
    BUSY_WEIGHT,
    CHANGE,
    ERROR_SCALE,
    GAPS,
    GATE_WEIGHT,
    HERE,
    LEVEL,
    LOST,
    MEDIAN_NS,
    MISSING,
    PENDING,
    POINT,
    PRESENT,
    SCALE,
    SCALE_SUM,
    SCORED,
    SQUARED_ERROR,
    SQUARED_NAIVE,
    STEP_NS,
    TICKS,
    UNSEEN,
    VALUE,
    U,
)
from slotcast_models.rules import FoldRules
from slotcast_models.schema import Quantity, TickSchema
from tests.streams import LEVEL as ANY_LEVEL
from tests.streams import PRICE, SECOND_NS, Run, columns, eager, predictor, run, same_bits

WITH_FEATURE = TickSchema(targets=(Quantity(name="x"),), features=(Quantity(name="f"),))
PAUSED = TickSchema(targets=(Quantity(name="x"),), max_gap_ms=60_000)


def walk(n: int, seed: int = 0, scale: float = 1.0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0.0, scale, n).cumsum()


def autoregressive(n: int, seed: int = 0, keep: float = 0.6) -> NDArray[np.float64]:
    """A series that returns to 0, of which a linear readout can learn."""
    shocks, x = np.random.default_rng(seed).normal(size=n), np.zeros(n)
    for i in range(1, n):
        x[i] = keep * x[i - 1] + shocks[i]
    return x


def continued(told: Run, ticks: Columns, schema: TickSchema = ANY_LEVEL) -> Run:
    return run(predictor(schema), ticks, rows=told.rows)


def after(n: int, values: ArrayLike, pause_s: float = 1.0) -> Columns:
    """Ticks that follow `n` ticks of one a second, the first after `pause_s`."""
    steps = np.ones(len(np.asarray(values)))
    steps[0] = pause_s
    time_ns = ((n - 1 + steps.cumsum()) * SECOND_NS).astype(np.int64)
    return columns(values, time_ns=time_ns, offset=n + np.arange(len(steps)))


def test_a_forecast_is_scored_by_the_next_tick() -> None:
    told = run(predictor(ANY_LEVEL), columns([1.0, 4.0, 2.0]))

    target = told.memory.target[0, 0]
    assert told.memory.counts[0, SCORED] == 2
    assert target[SQUARED_ERROR] == target[SQUARED_NAIVE] == 9.0 + 4.0
    assert target[ABSOLUTE_ERROR] == target[ABSOLUTE_NAIVE] == 3.0 + 2.0


def test_skill_is_one_minus_error_over_error_of_persistence() -> None:
    told = run(eager(ANY_LEVEL), columns(autoregressive(500)))

    x, published = autoregressive(500), told.published
    miss = ((x[1:] - published.point[:-1, 0]) ** 2).sum()
    naive = (np.diff(x) ** 2).sum()
    assert published.skill[-1, 0] == pytest.approx(1.0 - miss / naive)
    assert published.model[10:].all()


def test_coverage_counts_what_fell_within_the_published_bounds() -> None:
    x = autoregressive(500)
    told = run(eager(ANY_LEVEL), columns(x))

    lower, upper = told.published.lower[:-1, 0], told.published.upper[:-1, 0]
    within = (lower <= x[1:, None]) & (x[1:, None] <= upper)
    np.testing.assert_array_equal(told.memory.covered[0, 0], within.sum(axis=0))


def test_a_frozen_series_has_no_skill_and_no_scale() -> None:
    told = run(predictor(ANY_LEVEL), columns(np.full(500, 7.0)))

    assert np.isnan(told.published.skill).all()
    assert told.memory.target[0, 0, SCALE] == 0.0
    assert (told.published.lower == 7.0).all()
    assert (told.published.upper == 7.0).all()
    assert (told.memory.covered[0] == told.memory.counts[0, SCORED]).all()


def test_equal_times_are_ticks_like_others() -> None:
    x = walk(50)
    told = run(predictor(ANY_LEVEL), columns(x, time_ns=np.zeros(50)))

    assert told.memory.counts[0, SCORED] == 49
    assert told.memory.pace[0].tolist() == [0.0, 0.0]
    assert same_bits(told.published.point[:, 0], x)


def test_a_score_uses_only_what_was_stored_with_the_forecast() -> None:
    ticks, next_tick = columns(autoregressive(300)), after(300, [0.3])
    honest = run(eager(ANY_LEVEL), ticks)
    changed = run(eager(ANY_LEVEL), ticks)
    memory = changed.memory
    for name in ("weights", "cov", "quantiles", "net", "lags"):
        changed.rows[name] *= 0.5
    memory.quantity[0, 0, LEVEL] += 3.0

    scores = []
    for told in (honest, changed):
        run(eager(ANY_LEVEL), next_tick, rows=told.rows)
        kept = told.memory.target[0, 0, [SQUARED_ERROR, SQUARED_NAIVE, ABSOLUTE_ERROR]]
        scores.append((kept.tolist(), told.memory.covered[0].tolist()))

    assert scores[0] == scores[1]


def test_learning_uses_the_features_and_the_scale_of_the_forecast() -> None:
    ticks, next_tick = columns(autoregressive(300)), after(300, [0.3])
    honest = run(eager(ANY_LEVEL), ticks)
    changed = run(eager(ANY_LEVEL), ticks)
    changed.memory.lags[:] = 0.0
    changed.memory.quantity[0, 0, LEVEL] = 100.0
    changed.memory.quantity[0, 0, SCALE_SUM] *= 1.5
    changed.memory.net[:] = 0.9

    for told in (honest, changed):
        run(eager(ANY_LEVEL), next_tick, rows=told.rows)

    assert same_bits(honest.memory.weights, changed.memory.weights)
    assert same_bits(honest.memory.cov, changed.memory.cov)


def test_a_step_of_a_free_run_teaches_nothing() -> None:
    told = run(eager(ANY_LEVEL), columns(autoregressive(300)))
    before = told.rows.copy()
    step = after(300, [told.published.point[-1, 0]])

    run(eager(ANY_LEVEL), step._replace(kind=np.array([FREE], np.int8)), rows=told.rows)

    for name in ("weights", "cov", "quantiles", "covered"):
        assert same_bits(told.rows[name], before[name]), name
    scale = slice(SCALE_SUM, BUSY_WEIGHT + 1)
    assert same_bits(told.memory.quantity[0, 0, scale], before["quantity"][0, 0, scale])
    assert told.memory.quantity[0, 0, LEVEL] != before["quantity"][0, 0, LEVEL], "it goes along"
    assert told.memory.counts[0, [TICKS, SCORED]].tolist() == [301, 299]
    assert told.memory.quantity[0, 0, CHANGE] != 0.0


def test_a_value_that_does_not_change_is_learnt_from() -> None:
    told = run(predictor(ANY_LEVEL), columns(autoregressive(300)))
    before = told.rows.copy()

    continued(told, after(300, [told.memory.quantity[0, 0, VALUE]]))

    memory = told.memory
    assert memory.quantity[0, 0, CHANGE] == 0.0
    assert memory.target[0, 0, GATE_WEIGHT] > before["target"][0, 0, GATE_WEIGHT]
    assert not same_bits(memory.weights, before["weights"])
    assert not same_bits(memory.cov, before["cov"])


def test_later_ticks_do_not_change_earlier_forecasts() -> None:
    x = autoregressive(400)
    whole = run(eager(ANY_LEVEL), columns(x)).published

    start = run(eager(ANY_LEVEL), columns(x[:250])).published

    assert same_bits(start, chosen(whole, slice(0, 250)))


def test_a_missing_feature_holds_its_value_and_says_so() -> None:
    told = run(predictor(WITH_FEATURE), columns([[1.0, 5.0], [2.0, 6.0], [3.0, math.nan]]))

    feature = told.memory.quantity[0, 1]
    assert (feature[VALUE], feature[U], feature[CHANGE]) == (6.0, 6.0, 0.0)
    assert feature[PRESENT] == MISSING

    continued(told, after(3, [[4.0, 7.0]]), WITH_FEATURE)
    assert (feature[CHANGE], feature[PRESENT]) == (1.0, HERE)


def test_the_first_value_of_a_feature_is_no_change() -> None:
    late = walk(200, seed=1) + 1000.0
    late[:3] = math.nan
    told = run(predictor(WITH_FEATURE), columns(np.column_stack([walk(200), late])))

    early = run(predictor(WITH_FEATURE), columns(np.column_stack([walk(197), late[3:]])))

    assert same_bits(told.memory.quantity[0, 1], early.memory.quantity[0, 1])


def test_a_feature_that_no_tick_had_stays_unseen() -> None:
    told = run(predictor(WITH_FEATURE), columns([[1.0, math.nan]] * 3))

    assert not told.memory.quantity[0, 1].any(), UNSEEN


def test_a_feature_that_is_missing_at_a_gap_makes_no_change_over_it() -> None:
    schema = WITH_FEATURE.model_copy(update={"max_gap_ms": 60_000})
    told = run(predictor(schema), columns(np.column_stack([walk(100), walk(100, seed=1)])))
    feature = told.memory.quantity[0, 1]
    scale = feature[SCALE_SUM : BUSY_WEIGHT + 1].copy()

    missing = [[3.0, math.nan], [3.1, math.nan]]
    continued(told, after(100, missing, pause_s=61.0), schema)
    assert feature[PRESENT] == LOST

    continued(told, after(102, [[3.2, 1e6]], pause_s=62.0), schema)
    assert (feature[PRESENT], feature[CHANGE], feature[VALUE]) == (HERE, 0.0, 1e6)
    assert same_bits(feature[SCALE_SUM : BUSY_WEIGHT + 1], scale)


@pytest.mark.parametrize(("jump", "kept"), [(20.0, True), (1000.0, False)])
def test_the_level_outlives_a_gap_unless_the_value_jumped(jump: float, kept: bool) -> None:
    told = run(predictor(PAUSED), columns(walk(100)))
    quantity = told.memory.quantity[0, 0]
    level, value = quantity[LEVEL], quantity[VALUE] + jump

    continued(told, after(100, [value], pause_s=61.0), PAUSED)

    rate = FoldRules().level_rate
    assert quantity[LEVEL] == pytest.approx(level + rate * (value - level) if kept else value)
    assert told.memory.counts[0, [GAPS, BREAKS]].tolist() == [1, 0]


def test_a_gap_is_not_scored_and_not_learnt_from() -> None:
    told = run(predictor(PAUSED), columns(walk(100)))
    before, quantity = told.memory.target.copy(), told.memory.quantity[0, 0].copy()
    known = [field.copy() for field in (told.memory.weights, told.memory.quantiles)]

    continued(told, after(100, [3.0], pause_s=61.0), PAUSED)

    memory = told.memory
    assert memory.counts[0, [GAPS, SCORED, TICKS]].tolist() == [1, 99, 101]
    kept = [SQUARED_ERROR, SQUARED_NAIVE, GATE_WEIGHT]
    np.testing.assert_array_equal(memory.target[0, 0, kept], before[0, 0, kept])
    assert same_bits(memory.weights, known[0])
    assert same_bits(memory.quantiles, known[1])
    scale = slice(SCALE_SUM, BUSY_WEIGHT + 1)
    np.testing.assert_array_equal(memory.quantity[0, 0, scale], quantity[scale])
    assert not memory.lags.any()
    assert memory.target[0, 0, POINT] == 3.0
    assert memory.counts[0, PENDING] == 1, "the tick after the gap is forecast and scored again"


@pytest.mark.parametrize(("pause_s", "gaps"), [(60.0, 0), (61.0, 1)])
def test_a_gap_is_longer_than_the_schema_s(pause_s: float, gaps: int) -> None:
    told = run(predictor(PAUSED), columns(walk(100)))

    continued(told, after(100, [3.0], pause_s), PAUSED)

    assert told.memory.counts[0, GAPS] == gaps


@pytest.mark.parametrize(("pause_s", "gaps"), [(190.0, 0), (210.0, 1)])
def test_a_gap_is_longer_than_twenty_usual_steps_too(pause_s: float, gaps: int) -> None:
    slow = columns(walk(100), time_ns=np.arange(100) * 10 * SECOND_NS)
    told = run(predictor(PAUSED), slow)

    later = slow.time_ns[-1] + int(pause_s * SECOND_NS)
    continued(told, columns([3.0], time_ns=later, offset=100), PAUSED)

    assert told.memory.counts[0, GAPS] == gaps


def test_without_a_declared_gap_no_pause_is_one() -> None:
    told = run(predictor(ANY_LEVEL), columns(walk(100)))

    continued(told, after(100, [3.0], pause_s=1e9))

    assert told.memory.counts[0, [GAPS, SCORED]].tolist() == [0, 100]


def test_the_usual_step_is_the_median_of_the_positive_ones() -> None:
    pauses = np.random.default_rng(3).choice([0.0, 1.0, 2.0, 40.0], 3000, p=[0.3, 0.2, 0.4, 0.1])
    told = run(
        predictor(ANY_LEVEL),
        columns(walk(3000), time_ns=(pauses.cumsum() * SECOND_NS).astype(np.int64)),
    )

    assert told.memory.pace[0, MEDIAN_NS] / SECOND_NS == pytest.approx(2.0, rel=0.15)
    assert told.memory.pace[0, STEP_NS] == pauses[-1] * SECOND_NS


def test_the_usual_step_of_even_ticks_is_theirs() -> None:
    told = run(predictor(ANY_LEVEL), columns(walk(100)))

    assert told.memory.pace[0].tolist() == [SECOND_NS, SECOND_NS]


def test_a_level_break_is_scored_and_counted_but_not_learnt_from() -> None:
    told = run(predictor(ANY_LEVEL), columns(walk(200)))
    weights = told.memory.weights.copy()
    at = told.memory.quantity[0, 0, VALUE] + 1000.0

    continued(told, after(200, [at]))

    memory = told.memory
    assert memory.counts[0, [BREAKS, SCORED]].tolist() == [1, 200]
    assert memory.target[0, 0, SQUARED_NAIVE] > 999.0**2
    assert same_bits(memory.weights, weights)
    assert not memory.lags.any()
    assert memory.quantity[0, 0, CHANGE] == 0.0
    assert memory.quantity[0, 0, LEVEL] == at
    assert memory.target[0, 0, SCALE] < 1.2, "the break is clipped out of the scale"


@pytest.mark.parametrize("jump", [(1e4, 1e4, 0.0), (0.0, 0.0, 1e4), (1e4, 0.0, 1e4)])
def test_a_tick_has_one_level_break_of_however_many_quantities(jump: tuple[float, ...]) -> None:
    schema = TickSchema(
        targets=(Quantity(name="a"), Quantity(name="b")), features=(Quantity(name="f"),)
    )
    value = np.column_stack([walk(200, seed) for seed in range(3)])
    told = run(predictor(schema), columns(value))
    known = told.memory.counts[0, BREAKS]

    continued(told, after(200, [value[-1] + jump]), schema)

    assert told.memory.counts[0, BREAKS] == known + 1


def test_a_change_of_29_scales_is_no_break() -> None:
    told = run(predictor(ANY_LEVEL), columns(walk(200)))
    target, quantity = told.memory.target[0, 0], told.memory.quantity[0, 0]

    continued(told, after(200, [quantity[VALUE] + 29.0 * target[SCALE]]))

    assert told.memory.counts[0, BREAKS] == 0


def test_a_split_moves_the_past_along() -> None:
    """A split of a stock, one week into a daily season: the season goes on at the new level."""
    schema = TickSchema(targets=(Quantity(name="x"),), seasons=(12,), kind="sensor")
    x = 5.0 * np.tile(np.random.default_rng(1).normal(size=12), 60) + walk(720, scale=0.1)
    split = x.copy()
    split[600:] -= 2000.0
    at = slice(602, 612)

    miss = [
        (series[at] - run(predictor(schema), columns(series)).published.point[601:611, 0]).std()
        for series in (x, split)
    ]

    assert miss[1] < 1.5 * miss[0] + 0.5


def test_a_sensor_that_froze_for_200_000_ticks_is_as_good_as_new() -> None:
    x = autoregressive(2000, seed=4)
    stepper = predictor(ANY_LEVEL.model_copy(update={"kind": "sensor"}))
    told = run(stepper, columns(np.concatenate([x, np.full(200_000, x[-1])])))
    size = told.memory.cov.shape[2]
    assert np.isfinite(told.memory.cov).all()
    assert np.trace(told.memory.cov[0, 0]) < 101.0 * size / FoldRules().ridge
    errors, naive = (told.memory.target[0, 0, f] for f in (SQUARED_ERROR, SQUARED_NAIVE))

    run(stepper, after(202_000, autoregressive(4000, seed=5)), rows=told.rows)

    target = told.memory.target[0, 0]
    assert 1.0 - (target[SQUARED_ERROR] - errors) / (target[SQUARED_NAIVE] - naive) > 0.1
    assert told.memory.counts[0, BREAKS] == 0


def test_values_below_zero_are_values() -> None:
    x = autoregressive(2000)
    told, lifted = (run(eager(ANY_LEVEL), columns(x + lift)) for lift in (0.0, 1000.0))

    assert (x < 0.0).mean() == pytest.approx(0.5, abs=0.1)
    assert told.memory.counts[0, SCORED] == 1999
    skills = [float(one.published.skill[-1, 0]) for one in (told, lifted)]
    assert skills[0] == pytest.approx(skills[1], abs=1e-6)
    assert skills[0] > 0.1


def test_a_stuck_series_wakes_without_a_break() -> None:
    moving, stuck = walk(1000), np.full(5000, 3.0)
    told = run(predictor(ANY_LEVEL), columns(np.concatenate([moving, stuck])))
    breaks = told.memory.counts[0, BREAKS]
    assert told.memory.target[0, 0, SCALE] == pytest.approx(0.3, rel=0.15)

    continued(told, after(6000, 3.0 + walk(1000, seed=8)))

    assert told.memory.counts[0, BREAKS] == breaks
    assert told.memory.target[0, 0, SCALE] > 0.6


def test_a_tiny_first_change_does_not_hold_the_scale_down() -> None:
    x = walk(3000)
    x[:2] = [0.0, 1e-9]

    told = run(predictor(ANY_LEVEL), columns(x))

    assert told.memory.target[0, 0, SCALE] == pytest.approx(1.0, rel=0.2)


def test_prices_are_forecast_as_logarithms() -> None:
    up = columns(100.0 * np.exp(walk(300, scale=0.01)))
    told = run(predictor(PRICE), up)

    target = told.memory.target[0, 0]
    assert target[SCALE] == pytest.approx(0.01, rel=0.15)
    assert target[POINT] == math.log(up.value[-1, 0])
    ratio = told.published.upper[-1, 0] * told.published.lower[-1, 0] / up.value[-1, 0] ** 2
    assert (told.published.lower > 0.0).all()
    assert ratio[0] == pytest.approx(1.0, rel=0.01), "the interval is even in logarithms"


def test_nothing_is_learnt_in_the_first_ticks() -> None:
    first = FoldRules().warmup_ticks + 1
    told = run(predictor(ANY_LEVEL), columns(walk(first)))
    assert told.memory.target[0, 0, GATE_WEIGHT] == 0.0

    continued(told, after(first, [0.0, 1.0]))

    assert told.memory.target[0, 0, GATE_WEIGHT] > 0.0


def test_a_fresh_row_trusts_smoothers_and_nothing_else() -> None:
    """A network that corrects has a trust of its own."""
    memory = predictor(ANY_LEVEL).allocate(1)[1]

    assert memory.weights[0, 0].tolist() == [0.0] * 6 + [1.0]
    np.testing.assert_array_equal(memory.cov[0, 0], np.eye(7) / FoldRules().ridge)
    assert memory.target[0, 0, ERROR_SCALE] == 0.0


def test_a_sibling_has_to_earn_its_weight() -> None:
    cov = predictor(WITH_FEATURE).allocate(1)[1].cov[0, 0]

    prior, rules = np.diag(cov), FoldRules()
    assert prior[6:8].tolist() == [1.0 / (rules.ridge * rules.sibling_ridge)] * 2
    assert (prior[[0, 1, 2, 3, 4, 5, 8]] == 1.0 / rules.ridge).all()


def test_a_reset_in_a_poll_takes_effect_at_its_place() -> None:
    x = walk(60)
    kind = np.zeros(60, np.int64)
    kind[40] = RESET

    told = run(predictor(ANY_LEVEL), columns(x, kind=kind))

    assert told.published.ticks.tolist() == [*range(1, 41), 0, *range(1, 20)]
    assert told.published.origin.tolist() == [0] * 41 + [41] * 19
    assert told.memory.counts[0, TICKS] == 19
