"""A backtest's numbers are those of the benchmarks, of the live predictor, and of nothing later."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks import forecast_errors, forecast_intervals, forecast_streams
from benchmarks.forecast_sets import HOUR_MS, Ticks
from slotcast.backtest.ahead import free_runs, horizon_facts
from slotcast.backtest.run import OWN, Backtest, backtest, skipped
from slotcast.backtest.scores import by_series, facts, finite, pooled
from slotcast.feeds.columns import Recorded
from slotcast_models.backtest import columns_of, prequential
from slotcast_models.bundle import Bundle
from slotcast_models.columns import RESET, Columns
from slotcast_models.predictor import Predictor
from slotcast_models.schema import Quantity, TickSchema
from tests.streams import LEVEL, PRICE, eager, part, predictor, scripted

SKIP = 240
DAILY = TickSchema(targets=(Quantity(name="load"),), kind="sensor", step_ms=HOUR_MS, seasons=(24,))


def daily(n: int = 900, seed: int = 0) -> Columns:
    """A day's wave with noise, hourly."""
    rng = np.random.default_rng(seed)
    hours = np.arange(n)
    value = 10.0 + 3.0 * np.sin(2 * np.pi * hours / 24) + rng.normal(size=n) * 0.4
    return columns_of(0, hours * HOUR_MS * 10**6, value)


def recorded(columns: Columns) -> Recorded:
    names = [f"S{slot}" for slot in range(int(columns.slot.max()) + 1)]
    return Recorded(names, columns, {})


def of_a_day() -> Backtest:
    return backtest(Bundle.load().bind(DAILY), recorded(daily()), SKIP)


def of_anything(skip: int = 400) -> Backtest:
    return backtest(eager().bundle, recorded(scripted(2000, 5)), skip)


def test_scores_are_those_of_the_online_benchmark() -> None:
    found = of_a_day()
    ticks = Ticks(DAILY, found.outcome.slot, found.outcome.time_ns, found.outcome.value)
    spread = ticks.value[:SKIP].std(axis=0)
    scored = slice(SKIP, None)

    ours = pooled(found, found.forecasts[OWN])
    plain = prequential(Predictor(found.bundle), daily(), 1)
    bench = forecast_errors.errors(plain, scored, spread, 24)
    sharpness = forecast_intervals.sharpness(plain, scored, spread, found.levels)
    calibration = forecast_intervals.coverages(DAILY, plain, found.scored, found.levels)
    others = forecast_errors.others(ticks, found.outcome, scored, spread, SKIP)

    scale = float(spread[0])
    assert found.scored.sum() == 900 - SKIP
    assert "network_alone" not in bench, "the default bundle's network corrects"
    assert ours["skill"] == pytest.approx(bench["skill_by_variable"][0], rel=1e-12)
    assert ours["rmse"] ** 2 == pytest.approx(bench["mse"] * scale**2, rel=1e-12)
    assert ours["mae"] == pytest.approx(bench["mae"] * scale, rel=1e-12)
    assert ours["winkler"] == pytest.approx(sharpness["winkler"] * scale, rel=1e-12)
    assert ours["crps"] == pytest.approx(sharpness["crps"] * scale, rel=1e-12)
    assert ours["coverage_by_level"] == calibration["coverage_by_level"]
    thirds = facts(found)["calibration"]
    assert thirds["correlation_of_misses"] == pytest.approx(
        calibration["correlation_of_misses"], rel=1e-12
    )
    for name in ("volatility", "time_step"):
        assert list(thirds[name].values()) == pytest.approx(
            calibration[f"coverage_by_{name}"], rel=1e-12, nan_ok=True
        ), name
    assert thirds["time_step"]["usual"] == ours["coverage"]  # every hour: no step is short or long
    names = {"drift": "drift", "EWMA": "ewma", "AR(1)": "ar1", "seasonal naive": "seasonal naive"}
    for name, theirs in names.items():
        rmse = pooled(found, found.forecasts[name])["rmse"]
        assert rmse**2 == pytest.approx(others[theirs] * scale**2, rel=1e-12)


def test_scores_are_those_of_the_stream_benchmark() -> None:
    rng = np.random.default_rng(1)
    slot = np.tile(np.arange(4), 300)
    price = 50.0 * np.exp((rng.normal(size=(300, 4)) * 0.01).cumsum(axis=0)).ravel()
    found = backtest(
        predictor(PRICE).bundle, recorded(columns_of(slot, np.arange(1200) * 10**9, price)), 200
    )
    kept, outcome = found.scored, found.outcome
    unit = outcome.naive[kept]
    error, naive = ((outcome.value - f)[kept] / unit for f in (outcome.point, outcome.naive))

    bench = forecast_streams._skills(error, naive, outcome.slot[kept], 4)
    ours = pooled(found, found.forecasts[OWN])

    assert (ours["skill"], ours["skill_median"], ours["skill_worst"]) == pytest.approx(
        (bench["pooled"], bench["median"], bench["worst"]), rel=1e-12
    )


def test_every_score_of_every_contestant_is_a_number_or_nothing() -> None:
    found = of_anything()

    told = finite(facts(found))

    json.dumps(told, allow_nan=False)
    for name, one in told["forecasts"].items():
        assert all(one[k] is not None for k in ("skill", "mae", "rmse", "mase")), name
    assert told["forecasts"]["persistence"]["skill"] == 0.0
    assert told["scored"] == sum(one["ticks"] for one in told["series"]) / 2  # two targets


def test_what_does_not_apply_is_absent_with_its_reason() -> None:
    ticks = recorded(columns_of(0, np.arange(100) * 10**9, np.arange(100.0) % 7 + 1.0))

    found = backtest(predictor(PRICE).bundle, ticks, 0)

    assert set(found.absent) == {
        *("network alone", "frozen", "seasonal naive", "learning network"),
    }
    assert not set(found.absent) & set(found.forecasts)
    assert "seasons" in found.absent["seasonal naive"]


def test_no_contestant_sees_what_it_is_scored_on() -> None:
    log = recorded(daily(400))
    later = log.columns.value.copy()
    later[350:] += 100.0
    changed = replace(log, columns=log.columns._replace(value=later))

    one, other = (backtest(Bundle.load().bind(DAILY), part, 100) for part in (log, changed))

    for name, forecast in one.forecasts.items():
        np.testing.assert_array_equal(
            forecast.point[:351], other.forecasts[name].point[:351], err_msg=name
        )


def test_frozen_learns_from_the_skipped_ticks_alone() -> None:
    found = of_a_day()

    frozen, own = found.forecasts["frozen"].point, found.forecasts[OWN].point
    np.testing.assert_array_equal(frozen[: SKIP + 1], own[: SKIP + 1])
    assert (frozen[SKIP + 1 :] != own[SKIP + 1 :]).any()


def test_a_hole_moves_no_phase_of_what_is_frozen() -> None:
    """Two of a hundred hours are missing after the skipped ones."""
    hours = np.arange(2_000)
    kept = (hours < 2 * SKIP) | (np.random.default_rng(1).random(2_000) > 0.02)
    whole = daily(2_000)

    found = backtest(Bundle.load().bind(DAILY), recorded(part(whole, kept)), SKIP)

    frozen, own = (pooled(found, found.forecasts[name])["skill"] for name in ("frozen", OWN))
    assert frozen > own - 0.05


def test_what_is_frozen_has_forecasts_for_the_ticks_that_are_scored() -> None:
    found = of_anything()

    point = found.forecasts["frozen"].point[400:]

    np.testing.assert_array_equal(np.isfinite(point).all(axis=1), found.scored[400:])


def test_all_intervals_are_judged_by_the_same_ticks() -> None:
    """After a gap and after a reset nobody is scored, what is frozen neither."""
    found = of_anything()
    kept, value = found.scored, found.outcome.value[found.scored]

    for name in (OWN, "frozen"):
        lower, upper = (bound[kept] for bound in found.forecasts[name].bounds())
        inside = (lower <= value) & (value <= upper)
        told = pooled(found, found.forecasts[name])["coverage"]
        assert told == pytest.approx(inside.mean(), rel=1e-12), name


def test_baselines_pass_over_resets_and_late_ticks() -> None:
    found = of_anything()
    valid = found.outcome.valid
    assert (~valid).any()
    assert not valid[found.recorded.columns.kind == RESET].any()

    drift = found.forecasts["drift"].point

    assert np.isnan(drift[~valid]).all()
    assert np.isfinite(drift[found.scored]).all()


def test_coverage_is_told_by_volatility_and_by_time_step() -> None:
    rng = np.random.default_rng(2)
    step = rng.choice([1.0, 9.0, 81.0], 6_000)
    change = rng.normal(size=6_000) * np.sqrt(step)  # what comes late has moved further
    ticks = columns_of(0, (step.cumsum() * 1e9).astype(np.int64), change.cumsum())

    told = facts(backtest(predictor(LEVEL).bundle, recorded(ticks), 1_000))["calibration"]

    assert told["time_step"]["short"] > 0.95
    assert told["time_step"]["long"] < 0.85
    assert set(told["volatility"]) == {"calm", "usual", "wild"}
    assert all(0.8 < share < 1.0 for share in told["volatility"].values())
    assert abs(told["correlation_of_misses"]) < 0.05


def test_a_target_s_share_of_the_sums_is_its_own() -> None:
    found = of_anything()

    one, other = (pooled(found, found.forecasts[OWN], j) for j in range(2))
    both = pooled(found, found.forecasts[OWN])

    for name in ("pinball", "crps", "winkler", "coverage"):
        assert both[name] == pytest.approx((one[name] + other[name]) / 2.0, rel=1e-12)
    for name in ("pinball", "crps", "winkler"):
        assert one[name] != other[name]


def test_series_are_sorted_from_the_worst() -> None:
    skills = [one["skill"] for one in by_series(of_anything())]

    assert len(skills) == 10
    assert skills == sorted(skills)


def test_the_first_step_of_a_free_run_is_what_was_published() -> None:
    found = of_anything()

    runs = free_runs(found, 3)

    published = found.outcome.point[runs.first]
    known = np.isfinite(published).all(axis=1)
    assert known.sum() > 100
    np.testing.assert_array_equal(runs.point[known, 0], published[known])
    at = [found.levels.index(0.9)]
    lower = found.outcome.lower[runs.first][known]
    np.testing.assert_array_equal(runs.lower[known, 0][..., at], lower)


def test_free_runs_know_a_day_better_than_persistence_does() -> None:
    found = of_a_day()

    runs = free_runs(found, 30)
    told = horizon_facts(found, runs)

    value = found.outcome.value
    first = runs.first[0]
    np.testing.assert_array_equal(runs.now[0], value[first - 1])
    np.testing.assert_array_equal(runs.actual[0], value[first : first + 30])
    repeated = np.concatenate([value[first - 24 : first], value[first - 24 : first - 18]])
    assert runs.seasonal is not None
    np.testing.assert_array_equal(runs.seasonal[0], repeated)
    assert told["forecasts"]["slotcast"]["skill"] > 0.5
    assert len(told["coverage"]) == len(told["forecasts"]["persistence"]["mae_by_step"]) == 30


def test_free_runs_that_fit_nowhere_are_refused() -> None:
    with pytest.raises(ValueError, match="--free-run 1000"):
        free_runs(of_a_day(), 1000)


@pytest.mark.parametrize("skip", [900, 5000])
def test_something_has_to_be_left_to_score(skip: int) -> None:
    with pytest.raises(ValueError, match="900 ticks"):
        skipped(recorded(daily()), skip)


def test_no_ticks_at_all_say_what_was_left_out() -> None:
    none = Recorded([], Columns(*(part[:0] for part in daily())), {"bad_time": 7})

    with pytest.raises(ValueError, match="7 bad_time"):
        skipped(none, None)


def test_the_outcome_is_that_of_a_plain_run() -> None:
    found = of_a_day()

    plain: Any = prequential(Predictor(found.bundle), daily(), 1).at_level(2)

    for name in plain.__slots__:
        np.testing.assert_array_equal(getattr(plain, name), getattr(found.outcome, name))
