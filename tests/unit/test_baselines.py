"""Baselines see the past alone, and are right on the series that they are made for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from slotcast_models import baselines

Floats = NDArray[np.float64]
SEASON = 4


def noise(n: int = 200, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=n) + 10.0


ALL: dict[str, Callable[[Floats], Floats]] = {
    "persistence": baselines.persistence,
    "drift": baselines.drift,
    "ewma": lambda x: baselines.ewma(x, 0.3),
    "best_ewma": lambda x: baselines.best_ewma(x, 50),
    "ar1": baselines.ar1,
    "seasonal_naive": lambda x: baselines.seasonal_naive(x, SEASON),
    "holt_winters": lambda x: baselines.holt_winters(x, SEASON, 0.2, 0.1, 0.3),
    "best_holt_winters": lambda x: baselines.best_holt_winters(x, SEASON, 50),
}


@pytest.mark.parametrize("name", ALL)
def test_a_baseline_sees_the_past_alone(name: str) -> None:
    x, other = noise(), noise()
    other[120:] += 5.0

    before, after = ALL[name](x), ALL[name](other)

    np.testing.assert_array_equal(before[:121], after[:121])
    assert before.shape == x.shape
    assert np.isfinite(before).all()


def test_drift_is_exact_on_a_line() -> None:
    line = 3.0 + 2.0 * np.arange(20.0)

    np.testing.assert_allclose(baselines.drift(line)[2:], line[2:])


def test_ewma_of_rate_one_is_persistence() -> None:
    np.testing.assert_array_equal(baselines.ewma(noise(), 1.0), baselines.persistence(noise()))


def test_the_best_ewma_of_noise_is_slow_and_of_a_walk_is_fast() -> None:
    x = noise(400)
    walk = x.cumsum()

    np.testing.assert_array_equal(baselines.best_ewma(x, 300), baselines.ewma(x, 0.05))
    np.testing.assert_array_equal(baselines.best_ewma(walk, 300), baselines.ewma(walk, 0.9))


def test_ar1_is_the_regression_on_all_pairs_so_far() -> None:
    x = noise(60)
    slope, intercept = np.polyfit(x[:49], x[1:50], 1)

    assert baselines.ar1(x)[50] == pytest.approx(intercept + slope * x[49])


def test_ar1_follows_no_slope_above_1() -> None:
    x = np.concatenate([np.full(9, 1.0), [1.01, 2.0]])

    found = baselines.ar1(np.append(x, 2.0))[11]

    assert found == pytest.approx(2.0 + (x[1:].mean() - x[:-1].mean())), "a drift at most"


def test_the_seasonal_naive_is_the_value_a_season_ago() -> None:
    x = noise()

    np.testing.assert_array_equal(baselines.seasonal_naive(x, SEASON)[SEASON:], x[:-SEASON])


def test_holt_winters_is_exact_on_its_own_model() -> None:
    t = np.arange(80)
    x = (100.0 + 0.0 * t) * np.tile([0.5, 1.0, 1.5, 1.0], 20)

    np.testing.assert_allclose(baselines.best_holt_winters(x, SEASON, 40)[SEASON:], x[SEASON:])


def test_naive2_goes_on_in_the_season_and_is_flat_without_one() -> None:
    shape = np.tile([0.5, 1.0, 1.5, 1.0], 30)

    np.testing.assert_allclose(baselines.naive2(10.0 * shape, SEASON, 6), 10.0 * shape[:6])
    flat = noise(120)
    np.testing.assert_array_equal(baselines.naive2(flat, SEASON, 3), np.full(3, flat[-1]))


def test_a_constant_has_no_season() -> None:
    assert not baselines.is_seasonal(np.full(50, 3.0), SEASON)


def test_instruments_do_not_see_each_other() -> None:
    first, second = noise(50, 1), noise(30, 2)
    order = np.random.default_rng(3).permutation(80)
    slot = np.repeat([0, 1], [50, 30])[order]
    value = np.empty((80, 1))
    value[slot == 0, 0], value[slot == 1, 0] = first, second

    found = baselines.by_instrument(baselines.drift, slot, value)

    np.testing.assert_array_equal(found[slot == 0, 0], baselines.drift(first))
    np.testing.assert_array_equal(found[slot == 1, 0], baselines.drift(second))
