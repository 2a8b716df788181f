"""Intervals hold what their level says, whatever the errors are distributed like."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from slotcast_models.backtest import prequential
from slotcast_models.intervals import (
    LOWER,
    SCALE_FLOOR,
    UPPER,
    error_scale_of,
    learn_error_scale,
    learn_quantiles,
    place_after,
    place_bounds,
    start_quantiles,
    widen_bounds,
    widenings,
)
from slotcast_models.memory import TARGET_FIELDS
from slotcast_models.rules import FoldRules
from slotcast_models.schema import TickSchema
from slotcast_models.student import share_below, t_quantile
from tests.streams import LEVEL, PRICE, columns, predictor

RULES = FoldRules().as_array(math.inf)
LEVELS = np.array(FoldRules().levels)
NO_WIDER = np.ones(len(LEVELS))
MANY = 10_000
TABLE = {
    1: [1.000, 3.078, 6.314, 12.706, 63.657],
    2: [0.816, 1.886, 2.920, 4.303, 9.925],
    3: [0.765, 1.638, 2.353, 3.182, 5.841],
    4: [0.741, 1.533, 2.132, 2.776, 4.604],
    30: [0.683, 1.310, 1.697, 2.042, 2.750],
}
"""Student's t by degrees of freedom, at the two-sided levels."""
Floats = NDArray[np.float64]
finite = st.floats(-1e6, 1e6)
trackers = st.lists(finite, min_size=10, max_size=10).map(lambda q: np.reshape(q, (2, 5)))


@pytest.mark.parametrize(("degrees", "table"), TABLE.items())
def test_quantiles_are_those_of_tables(degrees: int, table: list[float]) -> None:
    found = [t_quantile((1.0 + level) / 2.0, degrees) for level in LEVELS]

    np.testing.assert_allclose(found, table, atol=0.0006)


@given(st.floats(0.5, 1.0 - 1e-9), st.integers(1, 200))
def test_a_quantile_is_what_that_share_is_below(p: float, degrees: int) -> None:
    assert share_below(t_quantile(p, degrees), degrees) == pytest.approx(p, abs=1e-12)


def test_trackers_start_at_the_quantiles_of_a_unit_variance_t() -> None:
    start = start_quantiles(tuple(LEVELS), 4)

    np.testing.assert_allclose(start[UPPER], np.array(TABLE[4]) / math.sqrt(2.0), atol=0.0006)
    np.testing.assert_array_equal(start[LOWER], -start[UPPER])


def test_bounds_are_wider_the_fewer_errors_were_seen_and_in_the_end_as_trackers_say() -> None:
    wider = widenings(tuple(LEVELS))

    assert (np.diff(wider, axis=0) < 0.0).all()
    assert (np.diff(wider[:-1], axis=1) > 0.0).all()
    np.testing.assert_array_equal(wider[-1], np.ones(5))


YOUNG: dict[str, tuple[Callable[[np.random.Generator, int], Floats], TickSchema]] = {
    "prices": (lambda rng, n: walk(rng.normal(size=(n, 60))), PRICE),
    "prices with wild changes": (lambda rng, n: walk(rng.standard_t(3, (n, 60))), PRICE),
    "noise around a level": (lambda rng, n: 10.0 + rng.normal(size=(n, 60)), LEVEL),
    "wild noise around a level": (lambda rng, n: 10.0 + rng.standard_t(3, (n, 60)), LEVEL),
}


def walk(changes: Floats) -> Floats:
    """Prices with such relative changes."""
    return 100.0 * np.exp(1e-3 * changes.cumsum(axis=1))


@pytest.mark.parametrize("kind", YOUNG)
def test_intervals_hold_from_an_instruments_third_tick_on(kind: str) -> None:
    make, schema = YOUNG[kind]
    series = make(np.random.default_rng(5), 1000)
    n, ticks = series.shape
    named = columns(series.T.reshape(-1), slot=np.tile(np.arange(n), ticks))

    outcome = prequential(predictor(schema), named, n)

    inside = (outcome.lower <= outcome.value[..., None]) & (
        outcome.value[..., None] <= outcome.upper
    )
    by_age = inside.reshape(ticks, n, len(LEVELS)).mean(axis=1)
    for first, end in ((2, 3), (3, 6), (6, 11), (11, 21), (21, 60)):
        off = by_age[first:end].mean(axis=0) - LEVELS
        assert (np.abs(off) <= [0.12, 0.10, 0.08, 0.06, 0.03]).all(), (first, end, off)


def tracked(errors: Floats) -> tuple[Floats, Floats]:
    """Share of later errors within, and above, the trackers of the time."""
    quantiles, within, above = start_quantiles(tuple(LEVELS), 6), np.zeros(5), np.zeros(5)
    settle = len(errors) // 4
    for i, z in enumerate(errors):
        if i >= settle:
            within += (quantiles[LOWER] <= z) & (z <= quantiles[UPPER])
            above += z > quantiles[UPPER]
        learn_quantiles(quantiles, z, LEVELS, RULES, NO_WIDER, MANY)
    return within / (len(errors) - settle), above / (len(errors) - settle)


@pytest.mark.parametrize("kind", ["normal", "t3", "skewed", "biased", "twice as wide"])
def test_each_side_is_missed_as_often_as_the_level_says(kind: str) -> None:
    rng, n = np.random.default_rng(6), 8000
    errors = {
        "normal": rng.normal(size=n),
        "t3": rng.standard_t(3, n) / math.sqrt(3.0),
        "skewed": rng.exponential(size=n) - 1.0,
        "biased": rng.normal(size=n) + 0.7,
        "twice as wide": 2.0 * rng.normal(size=n),
    }[kind]

    within, above = tracked(errors)

    np.testing.assert_allclose(within, LEVELS, atol=0.02)
    np.testing.assert_allclose(above, (1.0 - LEVELS) / 2.0, atol=0.015)


def test_the_error_scale_is_the_scale_of_changes_before_there_is_an_error() -> None:
    assert error_scale_of(np.zeros(TARGET_FIELDS), 0.7) == 0.7


def test_the_error_scale_follows_the_errors_but_not_to_nothing() -> None:
    target = np.zeros(TARGET_FIELDS)
    rng = np.random.default_rng(7)
    for error in 0.5 * rng.normal(size=2000):
        learn_error_scale(target, error, error_scale_of(target, 1.0), RULES)
    assert error_scale_of(target, 1.0) == pytest.approx(0.5, rel=0.2)

    for _ in range(2000):
        learn_error_scale(target, 0.0, error_scale_of(target, 1.0), RULES)

    assert error_scale_of(target, 1.0) == SCALE_FLOOR


def test_a_wild_error_counts_as_six_error_scales() -> None:
    mild, wild = np.zeros(TARGET_FIELDS), np.zeros(TARGET_FIELDS)
    for target, error in ((mild, 6.0), (wild, 1e100)):
        learn_error_scale(target, error, 1.0, RULES)

    assert mild.tobytes() == wild.tobytes()


@given(trackers, finite, st.floats(0.0, 1e6), st.integers(0, 1000))
def test_bounds_widen_with_the_level_even_if_trackers_cross(
    quantiles: Floats, point: float, scale: float, errors: int
) -> None:
    bounds, wider = np.zeros((2, 5)), widenings(tuple(LEVELS))[place_after(errors)]

    place_bounds(bounds, quantiles, point, scale, wider)

    assert (bounds[LOWER] <= bounds[UPPER]).all()
    assert (np.diff(bounds[LOWER]) <= 0.0).all()
    assert (np.diff(bounds[UPPER]) >= 0.0).all()


def test_bounds_of_ordinary_trackers_are_point_plus_quantile_times_scale() -> None:
    bounds, start = np.zeros((2, 5)), start_quantiles(tuple(LEVELS), 6)

    place_bounds(bounds, start, 10.0, 2.0, NO_WIDER)

    np.testing.assert_allclose(bounds, 10.0 + 2.0 * start)


@pytest.mark.parametrize("log", [False, True])
def test_widened_bounds_start_at_the_bounds_and_grow_around_the_point(log: bool) -> None:
    bounds = np.array([[1.0, 0.5], [3.0, 4.0]])
    lower, upper = np.zeros(2), np.zeros(2)
    unit = np.exp if log else np.asarray

    widen_bounds(bounds, 2.0, 1.0, log, lower, upper)
    np.testing.assert_allclose([lower, upper], unit(bounds))
    widen_bounds(bounds, 2.0, 3.0, log, lower, upper)
    np.testing.assert_allclose([lower, upper], unit(2.0 + 3.0 * (bounds - 2.0)))
