"""A season ago is the value of that step and of no other; what is not known is no change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from slotcast_models.columns import Columns
from slotcast_models.memory import STEP
from slotcast_models.rules import FoldRules
from slotcast_models.schema import LONGEST_SEASON, Quantity, TickSchema
from slotcast_models.seasons import BINS, declared, learn_profile, season_features, step_of
from tests.streams import SECOND_NS, Run, columns, eager, predictor, run, same_bits

Floats = NDArray[np.float64]
DAY, WEEK = 6, 18
HOURLY = TickSchema(targets=(Quantity(name="x"),), step_ms=1000, seasons=(DAY, WEEK), kind="sensor")
COUNTED = HOURLY.model_copy(update={"step_ms": None})
START_S = 1_700_000_000


def at_seconds(values: Floats, seconds: Floats) -> Columns:
    return columns(values, time_ns=((START_S + seconds) * SECOND_NS).astype(np.int64))


def seasonal(n: int, seed: int = 0) -> Floats:
    """A day's shape that differs from weekday to weekday, and some noise."""
    rng = np.random.default_rng(seed)
    return 10.0 * np.tile(rng.normal(size=WEEK), n // WEEK + 1)[:n] + 0.1 * rng.normal(size=n)


def features_of(told: Run, schema: TickSchema, **rules: int) -> Floats:
    """The seasonal features at scale 1, without waves."""
    stepper = predictor(schema, **rules)
    seasons = stepper.plan.seasons
    end = season_features(told.memory, 0, 0, 1.0, 0, seasons)
    assert end == seasons.features
    return told.memory.features[0, 0, : end - seasons.waves.shape[1]].copy()


@pytest.mark.parametrize("schema", [HOURLY, COUNTED], ids=["by time", "by ticks"])
def test_features_are_the_changes_and_the_level_of_a_season_ago(schema: TickSchema) -> None:
    n = 50
    x = np.random.default_rng(1).normal(size=n)
    told = run(predictor(schema), at_seconds(x, np.arange(n)))

    wanted, change = [], np.diff(x, prepend=np.nan)
    for lookback in (DAY, WEEK):
        at = n - lookback  # the next tick is number n
        wanted += [*change[at - 1 : at + 2], x[at] - x[n - 1]]
    days = [n - DAY, n - 2 * DAY, n - 3 * DAY]
    wanted += [np.mean([change[day + d] for day in days]) for d in (-1, 0, 1)]
    np.testing.assert_allclose(features_of(told, schema), wanted, atol=1e-12)


def test_a_step_without_a_tick_is_not_another_step_s_value() -> None:
    n = 50
    x, seconds = np.random.default_rng(1).normal(size=n), np.arange(float(n))
    missing = n - DAY
    kept = np.arange(n) != missing
    told = run(predictor(HOURLY), at_seconds(x[kept], seconds[kept]))

    changes_before, change, change_after, level = features_of(told, HOURLY)[:4]

    assert (change, change_after, level) == (0.0, 0.0, 0.0)
    assert changes_before == pytest.approx(x[missing - 1] - x[missing - 2])


def test_a_missing_tick_moves_no_phase_where_steps_are_time() -> None:
    n = 50
    seconds = np.arange(float(n))
    kept = seconds != 20
    whole = run(predictor(HOURLY), at_seconds(seasonal(n), seconds))

    holed = run(predictor(HOURLY), at_seconds(seasonal(n)[kept], seconds[kept]))

    assert same_bits(features_of(holed, HOURLY), features_of(whole, HOURLY))
    assert holed.memory.counts[0, STEP] == whole.memory.counts[0, STEP] == START_S + n - 1


def test_ticks_that_come_a_little_early_or_late_keep_their_step() -> None:
    n = 60
    jitter = np.random.default_rng(2).uniform(-0.4, 0.4, n)
    even = run(predictor(HOURLY), at_seconds(seasonal(n), np.arange(n)))

    odd = run(predictor(HOURLY), at_seconds(seasonal(n), np.arange(n) + jitter))

    assert same_bits(features_of(odd, HOURLY), features_of(even, HOURLY))


def test_an_old_lap_of_the_ring_is_not_taken_for_this_one() -> None:
    n = 200
    pause = predictor(HOURLY).plan.seasons.ring * 3
    seconds = np.concatenate([np.arange(n), [n + pause]])
    told = run(predictor(HOURLY), at_seconds(seasonal(n + 1), seconds))

    assert not features_of(told, HOURLY).any()


@given(st.integers(0, 40))
def test_features_are_finite_and_zero_before_the_ring_is_filled(n: int) -> None:
    told = run(eager(HOURLY), at_seconds(seasonal(n + 1), np.arange(n + 1)))

    found = features_of(told, HOURLY)

    assert np.isfinite(found).all()
    if n + 1 < DAY:
        assert not found.any()


def test_a_season_is_learnt() -> None:
    x = seasonal(60 * WEEK)
    told = run(predictor(HOURLY), at_seconds(x, np.arange(len(x))))

    late = slice(10 * WEEK, None)
    miss = x[late] - told.published.point[:-1, 0][10 * WEEK - 1 :]
    naive = np.diff(x)[10 * WEEK - 1 :]
    assert (miss**2).sum() < 0.01 * (naive**2).sum()


def test_a_free_run_goes_on_through_the_season_and_leaves_the_row() -> None:
    x = seasonal(61 * WEEK)
    known = len(x) - WEEK
    told = run(predictor(HOURLY), at_seconds(x[:known], np.arange(known)))
    before = told.rows.copy()

    points, *_ = predictor(HOURLY).free_run(told.rows[:1], WEEK)

    assert same_bits(told.rows, before)
    assert np.abs(points[:, 0] - x[known:]).max() < 0.1 * np.abs(np.diff(x)).max()


def test_without_seasons_a_row_keeps_no_ring() -> None:
    plain = predictor(HOURLY.model_copy(update={"seasons": ()})).layout

    assert (plain.ring, plain.bins) == (0, 0)
    assert plain.dtype()["ring"].itemsize == plain.dtype()["profile"].itemsize == 0


def test_the_mean_change_is_that_of_the_days_that_are_known() -> None:
    n = 50
    x = np.random.default_rng(1).normal(size=n)
    kept = np.arange(n) != n - DAY
    told = run(predictor(HOURLY), at_seconds(x[kept], np.arange(n)[kept]))

    *_, mean, _ = features_of(told, HOURLY)

    known = [x[n - day * DAY] - x[n - day * DAY - 1] for day in (2, 3)]
    assert mean == pytest.approx(np.mean(known))


def test_the_ring_is_as_long_as_the_longest_season_or_the_mean() -> None:
    rules = FoldRules(season_reach=2, season_repeats=3)

    assert declared((24, 168), None, rules).ring == 168 + 2 + 1
    assert declared((24,), None, rules).ring == 3 * 24 + 2 + 1
    assert declared((24, 60), None, rules).lookbacks.tolist() == [24, 60]
    assert declared((LONGEST_SEASON,), None, FoldRules(season_repeats=1)).ring < 10_100


KNOWN = WEEK + FoldRules().season_reach + 1
"""Steps in the ring before a forecast that knows a week."""


def learnt_anew(
    seconds: Floats, values: Floats | None = None, schema: TickSchema = HOURLY, **rules: float
) -> list[int]:
    """Numbers of ticks, counted from 1, after which the readout is as unsure as a fresh one."""
    stepper = predictor(schema, warmup_ticks=3, **rules)
    x = seasonal(len(seconds)) if values is None else values
    rows, memory = stepper.allocate(1)
    fresh, found = memory.cov.copy(), []
    for n in range(len(x)):
        tick = at_seconds(x[n : n + 1], seconds[n : n + 1])
        run(stepper, tick._replace(offset=np.array([n])), rows=rows)
        found += [n + 1] if same_bits(memory.cov, fresh) else []
    return [n for n in found if n > 4]  # the readout begins to learn at the fifth tick


def test_a_readout_learns_anew_once_the_longest_season_is_known() -> None:
    assert learnt_anew(np.arange(9.0 * WEEK)) == [KNOWN]


@pytest.mark.parametrize("schema", [HOURLY, COUNTED], ids=["by time", "by ticks"])
def test_what_is_learnt_from_anew_first_is_the_first_forecast_that_knows_a_week(
    schema: TickSchema,
) -> None:
    x = seasonal(KNOWN)
    oldest = [
        features_of(run(predictor(schema), at_seconds(x[:n], np.arange(n))), schema)[4]
        for n in (KNOWN - 1, KNOWN)
    ]

    assert oldest == [0.0, pytest.approx(x[1] - x[0])]
    assert learnt_anew(np.arange(2.0 * WEEK), schema=schema) == [KNOWN]


@pytest.mark.parametrize("at", [KNOWN - 1, KNOWN])
def test_a_week_that_comes_into_reach_at_a_gap_is_learnt_anew(at: int) -> None:
    seconds = np.arange(2.0 * WEEK)
    seconds[at:] += DAY
    paused = HOURLY.model_copy(update={"max_gap_ms": 2_000})

    assert KNOWN in learnt_anew(seconds, schema=paused, gap_medians=2.0)


@pytest.mark.parametrize("at", [KNOWN - 1, KNOWN])
def test_a_week_that_comes_into_reach_at_a_level_break_is_learnt_anew(at: int) -> None:
    x = seasonal(2 * WEEK)
    x[at:] += 1e5

    assert KNOWN in learnt_anew(np.arange(2.0 * WEEK), x)


def test_several_ticks_a_step_are_one_step() -> None:
    third = np.arange(9 * WEEK) // 3 + np.arange(9 * WEEK) % 3 / 10.0

    assert learnt_anew(third) == [3 * KNOWN - 2]


def test_a_step_without_a_tick_is_none_of_the_week_s() -> None:
    seconds = np.delete(np.arange(3.0 * WEEK), [4, 9, 17])

    assert learnt_anew(seconds) == [KNOWN]


def test_a_hole_that_empties_the_ring_begins_the_week_again() -> None:
    seconds = np.arange(3.0 * WEEK)
    seconds[10:] += predictor(HOURLY).plan.seasons.ring

    assert learnt_anew(seconds) == [10 + KNOWN]


@given(st.integers(-(10**15), 10**15), st.integers(1, 10**6))
def test_a_step_is_the_nearest(time_ns: int, step_ns: int) -> None:
    assert abs(step_of(time_ns, step_ns) * step_ns - time_ns) * 2 <= step_ns


def test_the_profile_finds_the_hours_that_are_hard() -> None:
    rng, profile = np.random.default_rng(3), np.ones(BINS)
    spread = np.where(np.arange(BINS) < 6, 3.0, 1.0)
    for _ in range(400):
        for at in range(BINS):
            learn_profile(profile, at, spread[at] * rng.normal() / profile[at], 0.05)

    assert profile.mean() == pytest.approx(1.0)
    assert profile[:6].mean() / profile[6:].mean() == pytest.approx(3.0, rel=0.25)


def test_intervals_are_wide_where_errors_are_wide() -> None:
    n = 200 * DAY
    hard = np.arange(n) % DAY == 2
    x = np.where(hard, 5.0, 0.5) * np.random.default_rng(4).normal(size=n)
    told = run(predictor(HOURLY), at_seconds(x, np.arange(n)))

    late = slice(100 * DAY, n - 1)
    lower, upper = told.published.lower[late, 0, 2], told.published.upper[late, 0, 2]
    coming = x[100 * DAY + 1 :]
    within = (lower <= coming) & (coming <= upper)
    for phase in range(DAY):
        assert 0.8 < within[phase::DAY].mean() < 0.98
