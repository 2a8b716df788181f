"""Smoothers follow a level as fast as it moves, and say persistence where there is no noise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from slotcast_models.memory import LEAN, SMOOTH, STAGE
from slotcast_models.rules import FoldRules
from slotcast_models.schema import Quantity, TickSchema
from slotcast_models.smoothing import (
    HEAD_START,
    LOSS,
    SMOOTH_LIMIT,
    SMOOTHED,
    learn_losses,
    move_smoothers,
    smooth_change,
)
from tests.streams import columns, predictor, run, same_bits

Floats = NDArray[np.float64]
RULES = FoldRules().as_array(np.inf)
RATES = np.array(FoldRules().smoothing_rates)
SENSOR = TickSchema(targets=(Quantity(name="x"),), kind="sensor")


def followed(x: Floats) -> tuple[Floats, Floats]:
    """The forecasts of each value by the smoothers, at scale 1, and what they are at the end."""
    smoothers, found = np.zeros((2, len(RATES))), np.zeros(len(x))
    move_smoothers(smoothers, RATES, x[0], True)
    for i in range(1, len(x)):
        found[i] = x[i - 1] + smooth_change(smoothers, x[i - 1], 1.0, RULES)
        learn_losses(smoothers, x[i], x[i - 1], 1.0, RULES)
        move_smoothers(smoothers, RATES, x[i], False)
    return found, smoothers


def noise(n: int = 400, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=n)


def test_of_noise_they_find_the_level_within_some_ticks() -> None:
    x = noise() + 50.0

    found, _ = followed(x)

    error = np.square(x - found)[20:].mean()
    assert error < 0.6 * np.square(np.diff(x)).mean()
    assert error < 1.2


def test_of_a_walk_they_say_persistence() -> None:
    walk = 3.0 * noise().cumsum()

    found, _ = followed(walk)

    assert np.square(walk - found)[20:].mean() < 1.05 * np.square(np.diff(walk)).mean()


def test_a_loss_is_the_squared_error_beyond_persistence_s_and_fades() -> None:
    smoothers = np.zeros((2, 1))
    smoothers[SMOOTHED, 0], smoothers[LOSS, 0] = 1.0, 4.0

    learn_losses(smoothers, 3.0, 2.5, 0.5, RULES)

    keep = FoldRules().smoothing_forgetting
    assert smoothers[LOSS, 0] == pytest.approx(keep * 4.0 + 4.0**2 - 1.0**2)


def test_weights_are_exponential_in_the_losses_and_persistence_is_ahead() -> None:
    smoothers = np.array([[1.0, 2.0], [0.5, -0.7]])

    found = smooth_change(smoothers, 0.0, 1.0, RULES)

    sharpness = FoldRules().smoothing_sharpness
    weights = np.exp(-sharpness * np.array([-HEAD_START, 0.5, -0.7]))
    assert found == pytest.approx(weights @ [0.0, 1.0, 2.0] / weights.sum())


def test_a_large_change_is_not_taken_back_as_if_it_were_noise() -> None:
    smoothers = np.array([[0.0], [-100.0]])

    assert smooth_change(smoothers, 7.0, 1.0, RULES) == -SMOOTH_LIMIT


def test_without_a_scale_they_say_nothing() -> None:
    assert smooth_change(np.array([[0.0], [-100.0]]), 7.0, 0.0, RULES) == 0.0


def test_a_young_sensor_of_noise_is_forecast_at_its_level() -> None:
    x = noise(40, seed=3) + 20.0
    told = run(predictor(SENSOR), columns(x))

    point = told.published.point[:-1, 0]
    assert told.published.model[3:].all(), "from the second change on"
    young = slice(4, 20)  # before the readout learns
    errors, naive = np.square(x[1:] - point)[young], np.square(np.diff(x))[young]
    assert errors.mean() < 0.8 * naive.mean()


def test_a_sensor_that_changed_once_is_left_alone() -> None:
    x = np.concatenate([np.full(100, 5.0), [6.0], np.full(3, 6.0)])
    told = run(predictor(SENSOR), columns(x))

    assert not told.published.model.any()
    assert same_bits(told.published.point[:, 0], x)


def test_without_smoothers_the_second_stage_weighs_the_readout_alone() -> None:
    told = run(predictor(SENSOR, smoothing_rates=()), columns(noise(500)))

    target = told.memory.target[0, 0]
    assert target[SMOOTH] == 0.0
    assert target[LEAN] == 1.0
    assert target[STAGE] != 1.0


def test_a_level_break_moves_the_smoothers_along() -> None:
    x = noise(300)
    x[200:] += 1000.0
    told = run(predictor(SENSOR), columns(x[:201]))

    np.testing.assert_array_equal(told.memory.smoothers[0, 0, SMOOTHED], x[200])


def test_a_level_break_is_charged_to_no_smoother() -> None:
    x = noise(201)
    x[200] += 1000.0
    known, broken = (run(predictor(SENSOR), columns(x[:n])).memory.smoothers for n in (200, 201))

    assert known[0, 0, LOSS].any()
    assert same_bits(broken[0, 0, LOSS], known[0, 0, LOSS])
