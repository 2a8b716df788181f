"""The scale is the usual size of a change, whatever outliers and silences a series has."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from slotcast_models.memory import LEVEL, QUANTITY_FIELDS
from slotcast_models.rules import FoldRules
from slotcast_models.scaling import LARGEST, clip, learn_level, learn_scale, scale_of, value_of

RULES = FoldRules().as_array(math.inf)
Quantity = NDArray[np.float64]


def after(*changes: float) -> Quantity:
    quantity = np.zeros(QUANTITY_FIELDS)
    for change in changes:
        learn_scale(quantity, change, RULES)
    return quantity


def test_there_is_no_scale_before_the_first_change() -> None:
    assert scale_of(after()) == 0.0
    assert scale_of(after(0.0, 0.0, 0.0)) == 0.0


def test_the_first_change_is_the_scale_at_once() -> None:
    assert scale_of(after(0.0, 0.25)) == pytest.approx(0.25 / math.sqrt(2), rel=1e-3)
    assert scale_of(after(-0.25)) == pytest.approx(0.25)


def test_the_scale_is_the_root_mean_square_of_the_changes() -> None:
    changes = np.random.default_rng(0).normal(0.0, 3.0, 20_000)

    assert scale_of(after(*changes)) == pytest.approx(3.0, rel=0.05)


def test_early_changes_weigh_alike() -> None:
    assert scale_of(after(1.0, 2.0, 3.0)) == pytest.approx(math.sqrt(14 / 3), rel=2e-3)


def test_the_scale_follows_a_regime_in_some_hundred_ticks() -> None:
    quantity = after(*[1.0, -1.0] * 1000)
    for change in [0.1, -0.1] * 1000:
        learn_scale(quantity, change, RULES)

    assert 0.1 < scale_of(quantity) < 0.35


def test_a_jump_counts_as_six_scales() -> None:
    calm = [1.0, -1.0] * 500

    assert scale_of(after(*calm, 1e9)) == scale_of(after(*calm, 6.001))
    assert scale_of(after(*calm, 1e9)) < 1.1


def test_a_stuck_series_keeps_a_floor_from_which_it_wakes() -> None:
    quantity = after(*[1.0, -1.0] * 500, *[0.0] * 100_000)
    assert scale_of(quantity) == pytest.approx(0.3)

    for change in [1.0, -1.0] * 1500:
        learn_scale(quantity, change, RULES)

    assert scale_of(quantity) == pytest.approx(1.0, rel=0.1)


def test_the_largest_change_leaves_the_scale_finite() -> None:
    assert math.isfinite(scale_of(after(*[LARGEST, -LARGEST] * 1000)))


def test_the_level_starts_at_the_first_value_and_follows_slowly() -> None:
    quantity = np.zeros(QUANTITY_FIELDS)
    learn_level(quantity, 5.0, True, RULES)
    assert quantity[LEVEL] == 5.0

    learn_level(quantity, 6.0, False, RULES)

    assert quantity[LEVEL] == pytest.approx(5.01)


def test_the_level_stays_finite_between_the_ends_of_the_floats() -> None:
    quantity = np.zeros(QUANTITY_FIELDS)
    for value in [1.7e308, -1.7e308] * 50:
        learn_level(quantity, value, False, RULES)

    assert math.isfinite(quantity[LEVEL])


@pytest.mark.parametrize(("value", "cut"), [(3.0, 3.0), (9.0, 8.0), (-9.0, -8.0), (np.inf, 8.0)])
def test_clip_cuts_both_ways(value: float, cut: float) -> None:
    assert clip(value, 8.0) == cut


def test_the_value_of_a_logarithm_is_finite_and_positive() -> None:
    assert value_of(-3.0, False) == -3.0
    assert value_of(math.log(7.0), True) == pytest.approx(7.0)
    assert 0.0 < value_of(-1e300, True) < value_of(1e300, True) < math.inf
