"""Intervals hold what their level says, whatever the errors are distributed like."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from slotcast_models.intervals import (
    LOWER,
    SCALE_FLOOR,
    UPPER,
    error_scale_of,
    learn_error_scale,
    learn_quantiles,
    place_bounds,
    start_quantiles,
    widen_bounds,
)
from slotcast_models.memory import TARGET_FIELDS
from slotcast_models.rules import FoldRules

RULES = FoldRules().as_array(math.inf)
LEVELS = np.array(FoldRules().levels)
Floats = NDArray[np.float64]
finite = st.floats(-1e6, 1e6)
trackers = st.lists(finite, min_size=10, max_size=10).map(lambda q: np.reshape(q, (2, 5)))


def test_trackers_start_at_the_quantiles_of_a_unit_variance_t() -> None:
    table = [0.740697, 1.533206, 2.131847, 2.776445, 4.604095]  # t, 4 degrees, two-sided levels

    start = start_quantiles((0.5, 0.8, 0.9, 0.95, 0.99))

    np.testing.assert_allclose(start[UPPER], np.array(table) / math.sqrt(2.0), rtol=1e-6)
    np.testing.assert_array_equal(start[LOWER], -start[UPPER])


def tracked(errors: Floats) -> tuple[Floats, Floats]:
    """Share of later errors within, and above, the trackers of the time."""
    quantiles, within, above = start_quantiles(tuple(LEVELS)), np.zeros(5), np.zeros(5)
    settle = len(errors) // 4
    for i, z in enumerate(errors):
        if i >= settle:
            within += (quantiles[LOWER] <= z) & (z <= quantiles[UPPER])
            above += z > quantiles[UPPER]
        learn_quantiles(quantiles, z, LEVELS, RULES)
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


@given(trackers, finite, st.floats(0.0, 1e6))
def test_bounds_widen_with_the_level_even_if_trackers_cross(
    quantiles: Floats, point: float, scale: float
) -> None:
    bounds = np.zeros((2, 5))

    place_bounds(bounds, quantiles, point, scale)

    assert (bounds[LOWER] <= bounds[UPPER]).all()
    assert (np.diff(bounds[LOWER]) <= 0.0).all()
    assert (np.diff(bounds[UPPER]) >= 0.0).all()


def test_bounds_of_ordinary_trackers_are_point_plus_quantile_times_scale() -> None:
    bounds, start = np.zeros((2, 5)), start_quantiles(tuple(LEVELS))

    place_bounds(bounds, start, 10.0, 2.0)

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
