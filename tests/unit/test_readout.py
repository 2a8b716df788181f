"""The readout is recursive least squares, its guards stop what least squares alone would do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from slotcast_models.compiled import compiled
from slotcast_models.memory import (
    BASE,
    CANDIDATE,
    LEAN,
    LEAN_P,
    OUTPUT,
    SMOOTH,
    STAGE,
    STAGE_LEAN_P,
    STAGE_P,
    TARGET_FIELDS,
    TRUST,
)
from slotcast_models.readout import (
    YOUNGEST_TICKS,
    candidate_change,
    gate_is_open,
    learn_gate,
    learn_readout,
    learn_stage,
    published_change,
)
from slotcast_models.rules import STAGE_PRIOR, STAGE_RIDGE, FoldRules

Floats = NDArray[np.float64]
SIZE = 4
OLD = 10**18
"""Ticks of a row that has seen so many that the manifest's forgetting holds."""


def rules(**changed: Any) -> Floats:
    return FoldRules(**changed).as_array(math.inf)


def learnt(
    x: Floats, labels: Floats, start: Floats | None = None, ticks: int = OLD, **changed: Any
) -> tuple[Floats, Floats]:
    weights = np.zeros(SIZE) if start is None else start.copy()
    constants = rules(**changed)
    cov, gain = np.eye(SIZE) / FoldRules(**changed).ridge, np.zeros(SIZE)
    for features, label in zip(x, labels, strict=True):
        learn_readout(weights, cov, features, label, constants, gain, ticks)
    return weights, cov


def example(n: int = 300) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(n, SIZE))
    return x, x @ [0.5, -1.0, 0.0, 0.2] + 0.3 * rng.normal(size=n)


def test_without_forgetting_it_is_ridge_regression_around_its_start() -> None:
    x, labels = example()
    start = np.array([0.0, 0.0, 0.0, 1.0])

    weights, cov = learnt(x, labels, start, forgetting=1.0, ridge=2.0)

    precision = x.T @ x + 2.0 * np.eye(SIZE)
    wanted = start + np.linalg.solve(precision, x.T @ (labels - x @ start))
    np.testing.assert_allclose(weights, wanted, rtol=1e-9)
    np.testing.assert_allclose(cov, np.linalg.inv(precision), rtol=1e-9)


def test_with_forgetting_older_ticks_weigh_less() -> None:
    x, labels = example()
    forgetting, ridge = 0.98, 1.0

    weights, _ = learnt(x, labels, forgetting=forgetting, ridge=ridge)

    age = forgetting ** np.arange(len(x) - 1, -1, -1)
    precision = (x * age[:, None]).T @ x + ridge * forgetting ** len(x) * np.eye(SIZE)
    np.testing.assert_allclose(weights, np.linalg.solve(precision, x.T @ (age * labels)), rtol=1e-7)


def test_a_young_row_forgets_faster() -> None:
    x, labels = example()

    weights, cov = learnt(x, labels, ticks=100, forgetting_share=0.5)

    same = 1.0 - 1.0 / (YOUNGEST_TICKS * SIZE + 0.5 * 100)
    wanted = learnt(x, labels, forgetting=same)
    np.testing.assert_array_equal(weights, wanted[0])
    np.testing.assert_array_equal(cov, wanted[1])


def test_the_covariance_stays_symmetric_in_bits() -> None:
    x, labels = example(2000)
    _, cov = learnt(np.clip(x * 4.0, -8.0, 8.0), labels)

    assert cov.tobytes() == cov.T.copy().tobytes()
    assert (np.linalg.eigvalsh(cov) > 0.0).all()


def test_an_error_counts_as_six_at_most() -> None:
    x = np.ones((1, SIZE))

    assert learnt(x, np.array([1e6]))[0].tobytes() == learnt(x, np.array([6.0]))[0].tobytes()


@compiled
def learn_often(
    weights: Floats, cov: Floats, x: Floats, labels: Floats, constants: Floats, gain: Floats, n: int
) -> None:
    """`n` steps around and around the rows of `x`."""
    for i in range(n):
        at = i % x.shape[0]
        learn_readout(weights, cov, x[at], labels[at], constants, gain, OLD)


@pytest.mark.parametrize(
    "x",
    [
        np.array([[1.0, 0.0, 0.0, 0.0]]),
        np.array([[1.0, 8.0, 8.0, 8.0]]),
        np.array([[1.0, 8.0, -8.0, 8.0], [1.0, -8.0, 8.0, -8.0]]),
        np.array([[0.0, 0.0, 0.0, 0.0]]),
        np.array([[1.0, 1e-200, 0.0, 8.0]]),
    ],
    ids=["constant", "at the limit", "alternating", "nothing", "denormal squares"],
)
def test_two_hundred_thousand_ticks_that_teach_nothing_do_not_inflate_it(x: Floats) -> None:
    weights, cov, gain = np.zeros(SIZE), np.eye(SIZE), np.zeros(SIZE)

    learn_often(weights, cov, x, np.zeros(len(x)), rules(), gain, 200_000)

    assert np.isfinite(cov).all()
    assert np.trace(cov) < 101.0 * SIZE
    assert np.linalg.eigvalsh(cov).min() > -1e-9
    weights, cov = learnt(*example(), start=weights)
    np.testing.assert_allclose(weights, [0.5, -1.0, 0.0, 0.2], atol=0.1)


@pytest.mark.parametrize("silent", [0, 1, 3])
def test_features_that_are_silent_do_not_hold_up_the_others(silent: int) -> None:
    """A series that turns over after 20,000 ticks is learnt anew as fast as without them."""
    rng = np.random.default_rng(7)
    x = np.column_stack([rng.normal(size=20_300), np.zeros((20_300, SIZE - 1))])
    turned = np.where(np.arange(20_300) < 20_000, 0.6, -0.6)
    labels = x[:, 0] * turned + 0.3 * rng.normal(size=20_300)
    x[:, SIZE - silent :] = 0.0
    x[:, 1 : SIZE - silent] = rng.normal(size=(20_300, SIZE - 1 - silent))

    weights, cov = learnt(x, labels, forgetting=0.99)

    assert weights[0] == pytest.approx(-0.6, abs=0.1)
    assert np.trace(cov) < 101.0 * SIZE


def stage_of(bases: Floats, labels: Floats, **changed: Any) -> float:
    settings, target = FoldRules(**changed), np.zeros(TARGET_FIELDS)
    constants = settings.as_array(math.inf)
    target[STAGE], target[STAGE_P] = constants[STAGE_PRIOR], 1.0 / constants[STAGE_RIDGE]
    for base, label in zip(bases, labels, strict=True):
        target[BASE] = base
        learn_stage(target, label, constants)
    return float(target[STAGE])


def test_the_second_stage_is_least_squares_of_one_number_around_its_prior() -> None:
    rng = np.random.default_rng(4)
    base = rng.normal(size=500)
    label = 0.7 * base + rng.normal(size=500)

    found = stage_of(base, label, stage_forgetting=1.0, stage_prior=0.2, stage_ridge=5.0)

    assert found == pytest.approx((base @ label + 5.0 * 0.2) / (base @ base + 5.0))


def test_the_second_stage_weighs_smoothers_and_what_the_readout_adds() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(500, 2))
    label = x @ [0.3, 0.9] + rng.normal(size=500)
    constants = rules(stage_forgetting=1.0, stage_prior=0.2, stage_ridge=5.0)
    target = np.zeros(TARGET_FIELDS)
    target[[LEAN, STAGE]], target[[LEAN_P, STAGE_P]] = 0.2, 1.0 / 5.0

    for (smooth, added), wanted in zip(x, label, strict=True):
        target[SMOOTH], target[BASE] = smooth, smooth + added
        learn_stage(target, wanted, constants)

    precision = x.T @ x + 5.0 * np.eye(2)
    found = np.linalg.solve(precision, x.T @ label + 5.0 * np.full(2, 0.2))
    np.testing.assert_allclose(target[[LEAN, STAGE]], found)
    variances = np.linalg.inv(precision)
    np.testing.assert_allclose(target[[LEAN_P, STAGE_P]], np.diag(variances))
    assert target[STAGE_LEAN_P] == pytest.approx(variances[0, 1])


def test_the_second_stage_of_noise_stays_near_nothing() -> None:
    rng = np.random.default_rng(5)

    assert abs(stage_of(rng.normal(size=20_000), rng.normal(size=20_000))) < 0.15


def test_a_silent_readout_does_not_inflate_the_second_stage() -> None:
    target, constants = np.zeros(TARGET_FIELDS), rules(stage_ridge=30.0)
    target[STAGE_P] = 1.0 / 30.0
    for _ in range(50_000):
        learn_stage(target, 0.0, constants)

    assert target[STAGE_P] < 101.0 / 30.0


@pytest.mark.parametrize(("stage", "published"), [(0.5, 1.0), (-3.0, 0.0), (9.0, 2.4)])
def test_the_second_stage_publishes_between_nothing_and_a_little_more(
    stage: float, published: float
) -> None:
    target = np.zeros(TARGET_FIELDS)
    target[STAGE] = stage

    candidate_change(target, np.array([1.0, 1.0]), np.array([0.5, 1.5]))
    change = published_change(target, False)

    assert (target[BASE], target[CANDIDATE], change) == (2.0, published, published)


def test_the_readout_s_change_is_at_most_six_scales() -> None:
    target = np.zeros(TARGET_FIELDS)
    target[STAGE] = 1.0

    candidate_change(target, np.array([100.0]), np.array([-1.0]))

    assert published_change(target, False) == -6.0


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("corrects", [False, True])
def test_nothing_is_published_beyond_the_eight_scales_of_labels(
    sign: float, corrects: bool
) -> None:
    target = np.zeros(TARGET_FIELDS)
    target[[STAGE, TRUST, OUTPUT]] = 1.2, 1.2, sign * 8.0
    target[SMOOTH] = -3.0 * sign
    candidate_change(target, np.array([100.0]), np.array([sign]))
    assert abs(target[CANDIDATE]) > 8.0

    change = published_change(target, corrects)

    assert change == target[CANDIDATE] == sign * 8.0, "gate and trust learn from what is published"


def gate_after(labels: Floats, candidates: Floats, **changed: Any) -> tuple[bool, float]:
    """Whether the gate is open, and the t value that numpy finds."""
    target, constants = np.zeros(TARGET_FIELDS), rules(**changed)
    for label, candidate in zip(labels, candidates, strict=True):
        target[CANDIDATE] = candidate
        learn_gate(target, label, constants)
    gains = labels**2 - (labels - candidates) ** 2
    rate = FoldRules(**changed).gate_rate
    weights = rate * (1.0 - rate) ** np.arange(len(gains) - 1, -1, -1)
    mean = np.average(gains, weights=weights)
    variance = np.average((gains - mean) ** 2, weights=weights)
    effective = weights.sum() ** 2 / (weights**2).sum()
    return bool(gate_is_open(target, constants)), mean / math.sqrt(variance / effective)


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.3])
def test_the_gate_opens_at_its_t_value(share: float) -> None:
    rng = np.random.default_rng(int(share * 100))
    labels = rng.normal(size=3000)
    candidates = share * (share * labels + rng.normal(size=3000))

    _, t = gate_after(labels, candidates)

    assert gate_after(labels, candidates, gate_t=t - 0.01)[0]
    assert not gate_after(labels, candidates, gate_t=t + 0.01)[0]


def test_a_gate_at_minus_infinity_asks_for_no_evidence() -> None:
    target = np.zeros(TARGET_FIELDS)

    assert gate_is_open(target, rules(gate_t=-math.inf))


def test_the_gate_is_closed_without_evidence() -> None:
    target, constants = np.zeros(TARGET_FIELDS), rules()
    assert not gate_is_open(target, constants)

    learn_gate(target, 1.0, constants)

    assert not gate_is_open(target, constants), "one tick, or a candidate of no change"


def test_the_gate_closes_again_when_the_gain_is_gone() -> None:
    rng = np.random.default_rng(9)
    good = rng.normal(size=3000)
    labels = np.concatenate([good, rng.normal(size=3000)])
    candidates = np.concatenate([0.5 * good, 0.5 * rng.normal(size=3000)])

    assert gate_after(labels[:3000], candidates[:3000], gate_rate=0.002)[0]
    assert not gate_after(labels, candidates, gate_rate=0.002)[0]
