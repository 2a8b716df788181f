"""Scores agree with their formulas worked by hand, and with what they promise at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotcast_models import scores

errors = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=50).map(np.array)


def test_means_of_errors() -> None:
    error = np.array([3.0, -4.0])

    assert scores.mean_squared(error) == 12.5
    assert scores.root_mean_squared(error) == math.sqrt(12.5)
    assert scores.mean_absolute(error) == 3.5


def test_skill_is_null_where_the_naive_forecast_was_never_wrong() -> None:
    assert math.isnan(scores.skill(np.array([1.0]), np.array([0.0])))
    assert scores.skill(np.array([1.0, 1.0]), np.array([2.0, 0.0])) == 0.5


def test_skills_of_groups_are_the_skills_of_their_rows() -> None:
    rng = np.random.default_rng(1)
    error, naive, group = rng.normal(size=(60, 2)), rng.normal(size=(60, 2)), np.arange(60) % 3

    found = scores.skills(error, naive, group, 4)

    for g in range(3):
        for j in range(2):
            own = scores.skill(error[group == g, j], naive[group == g, j])
            assert found[g, j] == pytest.approx(own)
    assert np.isnan(found[3]).all()


def test_mase_of_the_seasonal_naive_on_its_own_history_is_one() -> None:
    x = np.random.default_rng(2).normal(size=100)

    assert scores.mase(x[7:] - x[:-7], x, season=7) == pytest.approx(1.0)


def test_smape_is_in_percent_and_even() -> None:
    y, f = np.array([100.0]), np.array([50.0])

    assert scores.smape(y, f) == scores.smape(f, y) == pytest.approx(200.0 * 50.0 / 150.0)


def test_owa_of_the_reference_is_one() -> None:
    s, m = np.array([10.0, 20.0]), np.array([1.0, 3.0])

    assert scores.owa(s, m, s, m) == 1.0
    assert scores.owa(s / 2, m, s, m) == 0.75


def test_winkler_charges_for_width_and_for_misses() -> None:
    y = np.array([0.0, 3.0, -2.0])
    lower, upper = np.full(3, -1.0), np.full(3, 1.0)

    assert scores.winkler(y, lower, upper, 0.9) == pytest.approx(2.0 + 20.0 * (2.0 + 1.0) / 3.0)
    assert scores.coverage(y, lower, upper) == pytest.approx(1 / 3)


@given(errors, st.floats(0.01, 0.99))
def test_the_best_constant_quantile_minimises_pinball(y: np.ndarray, share: float) -> None:
    best = np.quantile(y, share, method="inverted_cdf")

    losses = [scores.pinball(y, np.full(len(y), q), share) for q in y]
    assert scores.pinball(y, np.full(len(y), best), share) <= min(losses) + 1e-9


def test_crps_of_the_right_normal_is_near_its_closed_form() -> None:
    y = np.random.default_rng(3).normal(size=20_000)
    levels = np.linspace(0.02, 0.98, 49)
    upper = np.quantile(y, (1.0 + levels) / 2.0)
    bounds = np.broadcast_to(upper, (len(y), len(levels)))

    found = scores.crps(y, -bounds, bounds, levels)

    assert found == pytest.approx(1.0 / math.sqrt(math.pi), rel=0.03)


def test_a_paired_interval_holds_the_difference_of_alike_losses() -> None:
    rng = np.random.default_rng(4)
    shared = 5.0 + rng.normal(size=2000)
    found = scores.paired(shared + 0.1 + 0.01 * rng.normal(size=2000), shared, block=100)

    assert found.low < 0.1 < found.high
    assert found.high - found.low < 0.01
    assert scores.paired(shared[:50], shared[:50], block=100).high == math.inf


def test_a_bootstrap_range_holds_the_rmse() -> None:
    error = np.random.default_rng(5).normal(size=46)
    low, high = scores.bootstrap_rmse(error)

    assert low < scores.root_mean_squared(error) < high
    assert scores.bootstrap_rmse(error) == (low, high)


def test_thirds_are_cut_at_the_terciles_and_keep_equal_values_together() -> None:
    found = scores.thirds(np.random.default_rng(6).normal(size=3000))

    assert np.bincount(found).tolist() == [1000, 1000, 1000]
    assert scores.thirds(np.full(7, 2.5)).tolist() == [1] * 7
    assert scores.thirds(np.array([1.0, 1.0, 1.0, 1.0, 9.0])).tolist() == [1, 1, 1, 1, 2]
    assert scores.thirds(np.array([5.0, 1.0, 9.0, 5.0, 1.0, 9.0])).tolist() == [1, 0, 2, 1, 0, 2]


@given(errors, st.integers(1, 30))
def test_a_trailing_mean_is_that_of_the_last_values(x: np.ndarray, window: int) -> None:
    found = scores.trailing_mean(x, window)

    for i in range(len(x)):
        wanted = x[max(i + 1 - window, 0) : i + 1].mean()
        assert found[i] == pytest.approx(wanted, abs=1e-6 * max(1.0, np.abs(x).max()))


def test_lag_correlation_is_around_each_series_own_mean() -> None:
    rng = np.random.default_rng(7)
    independent = [(rng.random(4000) < share).astype(float) for share in (0.02, 0.5)]
    together = np.repeat(rng.random(2000) < 0.1, 2).astype(float)

    assert abs(scores.lag_correlation(independent)) < 0.05
    assert scores.lag_correlation([together]) == pytest.approx(0.5, abs=0.05)
    assert math.isnan(scores.lag_correlation([np.zeros(5)]))
