"""B1 to B5 on made-up sets: what is printed and written can be worked out by hand."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import (
    forecast_classics,
    forecast_errors,
    forecast_intervals,
    forecast_networks,
    forecast_online,
    forecast_streams,
    forecasts,
    report,
)
from benchmarks.forecast_online import PROTOCOLS, Protocol
from benchmarks.forecast_sets import HOUR_MS, PRICE, Ticks
from slotcast_models import baselines, scores
from slotcast_models.backtest import Outcome
from slotcast_models.bundle import Bundle
from slotcast_models.predictor import Predictor
from slotcast_models.schema import Quantity, TickSchema
from tests.made_up_sets import WALK, side_by_side
from tests.streams import LEVEL, predictor

Floats = NDArray[np.float64]
HOUR_NS = HOUR_MS * 10**6
ROWS, SCALING, FIRST, DAY = 260, 100, 150, 24
DAILY = TickSchema(
    targets=(Quantity(name="load"), Quantity(name="heat")),
    kind="sensor",
    step_ms=HOUR_MS,
    seasons=(DAY,),
)
LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)


def daily() -> Ticks:
    """Two waves of a day with noise, hourly."""
    rng, hours = np.random.default_rng(0), np.arange(ROWS)
    wave = 3.0 * np.sin(2 * np.pi * hours / DAY)
    value = np.column_stack([10.0 + wave, 50.0 - 4.0 * wave]) + rng.normal(size=(ROWS, 2))
    return Ticks(DAILY, np.zeros(ROWS, np.int64), hours * HOUR_NS, value)


def made_up(goal: float | None, load: Any = daily) -> Protocol:
    return Protocol(load, lambda rows: (SCALING, FIRST, rows), 0.5, goal, DAY, 99.0)


def run_of(monkeypatch: pytest.MonkeyPatch, goal: float | None, seeds: int = 0) -> dict[str, Any]:
    monkeypatch.setitem(PROTOCOLS, "made-up", made_up(goal))
    return forecast_online.run("made-up", Bundle.load(), seeds)


def outcome_of(value: Floats, **known: Any) -> Outcome:
    """Ticks of one instrument, an hour apart; forecasts are persistence unless told otherwise."""
    n, targets = value.shape
    before = np.concatenate([value[:1], value[:-1]])
    usual: dict[str, Any] = {
        "slot": np.zeros(n, np.int64),
        "time_ns": np.arange(n) * HOUR_NS,
        "value": value,
        "valid": np.ones(n, bool),
        "scored": np.arange(n) > 0,
        **dict.fromkeys(("naive", "point", "readout", "network"), before),
        "model": np.ones((n, targets), bool),
        "lower": np.repeat(before[..., None] - 1.0, 5, axis=2),
        "upper": np.repeat(before[..., None] + 1.0, 5, axis=2),
        "rows": np.zeros(1),
    }
    return Outcome(**usual | known)


def test_the_goals_of_the_online_sets_are_those_that_were_set() -> None:
    goals = {name: p.goal for name, p in PROTOCOLS.items() if p.goal is not None}

    assert goals == {"ETTh2": 0.313, "ETTm1": 0.0713, "WTH": 0.1445, "Exchange": 0.00892}


def test_the_errors_of_an_online_set_are_those_worked_out_by_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, value = run_of(monkeypatch, None), daily().value

    spread = value[:SCALING].std(axis=0)
    change = (value[FIRST:] - value[FIRST - 1 : -1]) / spread
    naive = np.square(change).mean(axis=0)
    assert found["persistence"] == pytest.approx(naive.mean(), rel=1e-12)
    assert found["persistence_by_variable"] == pytest.approx(naive, rel=1e-12)
    skills = 1.0 - np.array(found["mse_by_variable"]) / naive
    assert found["skill_by_variable"] == pytest.approx(skills, rel=1e-12)
    assert found["mse"] == pytest.approx(np.mean(found["mse_by_variable"]), rel=1e-12)
    for other in ("persistence", "readout_alone", "no_network"):
        less = found[f"less_than_{other}"]
        assert less["mean"] == pytest.approx(found[other] - found["mse"], rel=1e-9)
        assert less["low"] < less["mean"] < less["high"]
    season = (value[FIRST:] - value[FIRST - DAY : -DAY]) / spread
    assert found["baselines"]["seasonal naive"] == pytest.approx(np.square(season).mean())
    assert found["variables"] == ["load", "heat"]
    assert found["skill_by_variable"][0] > 0.3
    assert found["network"] == {}


def test_a_missed_goal_is_printed_as_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run_of(monkeypatch, None)
    reached = {**found, "set": "easy", "goal": 9.0}
    missed = {**found, "set": "hard", "goal": 0.0001}

    forecast_online.show_tables({"a": reached, "b": missed})

    lines = capsys.readouterr().out.splitlines()
    verdicts = [line.split()[:2] for line in lines if "; persistence" in line]
    assert verdicts == [["✓", "easy"], ["✗", "hard"]]
    assert any("slotcast below persistence" in line for line in lines)
    assert any("B1, hard: skill over persistence" in line for line in lines)
    assert sum("heat" in line for line in lines) == 2


def test_a_goal_is_compared_at_the_digits_in_which_it_is_stated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = {"set": "x", "persistence": 0.00892, "goal": 0.00892}

    assert "✓" in forecast_online._verdict({**facts, "mse": 0.0089249})
    assert "✗" in forecast_online._verdict({**facts, "mse": 0.0089251})
    assert "✓" in forecast_online._verdict({**facts, "mse": 0.31304, "goal": 0.313})
    assert "✗" in forecast_online._verdict({**facts, "mse": 0.31306, "goal": 0.313})


def test_networks_of_one_s_own_are_compared_with_the_bundle_in_pairs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training is others' test: here a mode is a ridge, and so is a seed."""

    def trained(_bundle: Bundle, _columns: Any, names: list[str], recipe: Any) -> Any:
        assert (names, recipe.warm_ticks) == (["set"], SCALING)
        return recipe.seed

    def online(seed: int, instruments: int, mode: str) -> Predictor:
        assert instruments == 1
        return predictor(DAILY, ridge=5.0 * seed + forecast_networks.MODES.index(mode))

    monkeypatch.setattr("slotcast_models.online.warm", trained)
    monkeypatch.setattr("slotcast_models.online.OnlinePredictor", online)
    found = run_of(monkeypatch, None, seeds=2)

    forecast_online.show_tables({"made-up": found})

    assert list(found["network"]) == ["frozen", "delayed", "inline"]
    for one in found["network"].values():
        assert len(one["mse"]) == len(set(one["mse"])) == 2
        gain = found["mse"] - np.mean(one["mse"])
        assert one["less_than_slotcast"]["mean"] == pytest.approx(gain, rel=1e-6)
        told = 1.0 - np.array(one["skill_by_variable"])
        mse = told * found["persistence_by_variable"]
        assert mse.mean() == pytest.approx(np.mean(one["mse"]), rel=1e-9)
    printed = capsys.readouterr().out
    assert "frozen below slotcast" in printed
    assert printed.count(" .. ") >= 3  # the range of the seeds of each mode


def test_facts_over_seeds_are_means_of_squares() -> None:
    own, naive = np.full((4, 1), 3.0), np.full((4, 1), 4.0)
    several = [np.full((4, 1), 1.0), np.full((4, 1), -7.0)]

    facts = forecast_networks.facts({"frozen": several, "inline": []}, own, naive, 2)

    assert facts == {
        "frozen": {
            "mse": [1.0, 49.0],
            "mae": [1.0, 7.0],
            "skill_by_variable": [1.0 - 25.0 / 16.0],
            "less_than_slotcast": {"mean": -16.0, "low": -16.0, "high": -16.0},
        }
    }


def test_baselines_are_judged_on_the_scored_rows_alone() -> None:
    value = np.array([[0.0], [2.0], [2.0], [6.0]])
    ticks = Ticks(WALK, np.zeros(4, np.int64), np.arange(4) * HOUR_NS, value)

    found = forecast_errors.others(ticks, outcome_of(value), slice(2, 4), np.array([2.0]), 3)

    assert found["drift"] == pytest.approx(np.mean([(2.0 - 4.0) ** 2, (6.0 - 3.0) ** 2]) / 4.0)
    assert set(found) == {"drift", "ewma", "ar1"}


def test_volatility_is_of_the_ticks_before_the_forecast() -> None:
    value = np.array([[10.0], [11.0], [11.0], [14.0], [14.0]])

    recent, step = forecast_intervals.circumstances(DAILY, outcome_of(value))

    assert np.isnan(recent[0, 0])
    assert recent[1:, 0].tolist() == [0.0, 1.0, 0.5, 4.0 / 3.0]
    assert step[1:, 0].tolist() == [HOUR_NS] * 4


def test_coverage_is_told_by_series_hour_and_third() -> None:
    n = 240
    value = np.zeros((n, 2))
    value[:, 0] = np.arange(n) % 24 == 5  # up at five, down at six: both of these are missed
    value[:, 0] *= 3.0
    outcome = outcome_of(value)

    found = forecast_intervals.coverages(DAILY, outcome, outcome.scored, LEVELS)

    inside = np.ones((n - 1, 2))
    inside[np.abs(np.diff(value[:, 0])) > 1.0, 0] = 0.0
    assert found["coverage"] == inside.mean()
    assert found["coverage_by_series"] == [inside.mean(axis=0).tolist()]
    assert found["series_within_two_errors"] == 0.5  # one misses 8 %, which may be, one none
    hours = found["coverage_by_hour"]
    assert hours[5] == hours[6] == 0.5
    assert set(hours[:5] + hours[7:]) == {1.0}
    assert found["coverage_by_level"] == dict.fromkeys(map(str, LEVELS), inside.mean())
    assert np.isnan(found["coverage_by_time_step"][::2]).all()  # all steps are equal
    assert found["coverage_by_time_step"][1] == inside.mean()
    assert found["correlation_of_misses"] == pytest.approx(0.45, abs=0.02)


def test_coverage_follows_the_time_step_where_steps_differ() -> None:
    step = np.tile([1, 2, 3], 100)
    value = np.concatenate([[0.0], np.cumsum(np.where(step == 3, 5.0, 0.0))])[:, None]
    time_ns = np.concatenate([[0], step.cumsum()]) * HOUR_NS
    outcome = outcome_of(value, time_ns=time_ns)

    found = forecast_intervals.coverages(LEVEL, outcome, outcome.scored, LEVELS)

    assert found["coverage_by_time_step"] == [1.0, 1.0, 0.0]
    assert found["coverage_by_hour"] == []  # no time step is declared


def told(right: float, winkler: float = 1.0, hours: tuple[float, ...] = ()) -> dict[str, Any]:
    return {
        "series_within_two_errors": right,
        "winkler": winkler,
        "coverage_by_hour": list(hours),
    }


@pytest.mark.parametrize(
    ("found", "winkler", "reached"),
    [
        (told(1.0), None, True),
        (told(0.95), None, True),
        (told(0.94), None, False),
        (told(1.0, winkler=2.094), 2.09, True),
        (told(1.0, winkler=2.096), 2.09, False),
        (told(1.0, hours=(0.86, 0.94, np.nan)), None, True),
        (told(1.0, hours=(0.84, 0.94)), None, False),
        (told(1.0, hours=(0.86, 0.96)), None, False),
    ],
)
def test_intervals_have_to_reach_every_goal(
    found: dict[str, Any], winkler: float | None, reached: bool
) -> None:
    assert ("✓" in forecast_intervals.verdict("x", found, winkler)) is reached


def monthly() -> Ticks:
    """144 months of growth with a season, exactly."""
    months = np.arange(144)
    season = 1.0 + 0.3 * np.sin(2 * np.pi * months / 12)
    value = (100.0 + 2.0 * months) * season
    schema = TickSchema(targets=(PRICE,), kind="sensor", seasons=(12,))
    return Ticks(schema, np.zeros(144, np.int64), months * 30 * 24 * HOUR_NS, value[:, None])


def test_the_airline_table_has_every_contestant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(forecast_classics, "airline", monthly)

    found = forecast_classics.airline_table(Bundle.load())

    x = monthly().value[:, 0]
    scored = slice(97, 143)
    change = (x[1:] - x[:-1])[96:142]
    assert found["persistence"]["rmse"] == pytest.approx(np.sqrt(np.square(change).mean()))
    year = x[scored] - x[85:131]
    assert found["seasonal naive"]["rmse"] == pytest.approx(np.sqrt(np.square(year).mean()))
    assert found["slotcast, online"] != found["slotcast, frozen after 96 months"]
    assert found["slotcast, online"]["rmse"] < found["seasonal naive"]["rmse"]
    printed = capsys.readouterr().out
    assert all(name in printed for name in found if name != "readout_features")
    assert "constants chosen with the test months in sight" in printed


def test_river_s_holt_winters_is_worked_out_by_hand() -> None:
    x = np.array([1.0, 3.0, 2.0, 8.0])

    found = forecast_classics.river_holt_winters(x, 2, 0.5, 0.5, 0.5)

    # level 2, trend 2, indices 0.5 and 1.5; then level 4, trend 2, index 0.5
    assert found.tolist() == [1.0, 3.0, (2.0 + 2.0) * 0.5, (4.0 + 2.0) * 1.5]


def hourly_series() -> dict[str, Floats]:
    rng, hours = np.random.default_rng(1), np.arange(420)
    wave = 1.0 + 0.4 * np.sin(2 * np.pi * hours / DAY)
    noise = rng.normal(0.0, 0.02, (3, len(hours)))
    return {f"H{i + 1}": 100.0 * (i + 1) * wave * np.exp(noise[i]) for i in range(3)}


def test_naive2_is_what_the_score_of_m4_is_measured_by() -> None:
    series = list(hourly_series().values())
    histories, actual = [x[:-48] for x in series], np.array([x[-48:] for x in series])
    naive = np.array([baselines.naive2(h, DAY, 48) for h in histories])

    assert forecast_classics.overall(histories, actual, naive) == pytest.approx(1.0, rel=1e-12)
    assert forecast_classics.overall(histories, actual, actual) == 0.0


def test_the_m4_table_scores_its_hold_outs_and_writes_what_comes_after(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(forecast_classics, "m4_hourly", hourly_series)
    file = tmp_path / "m4.csv"

    found = forecast_classics.m4_table(Bundle.load(), file)

    series = list(hourly_series().values())
    for name, (left, _) in forecast_classics.HOLD_OUTS.items():
        given = [x[: len(x) - left] for x in series]
        histories, actual = [x[:-48] for x in given], np.array([x[-48:] for x in given])
        last = np.array([np.tile(h[-DAY:], 2) for h in histories])
        by_hand = forecast_classics.overall(histories, actual, last)
        assert found[name]["seasonal naive"] == pytest.approx(by_hand, rel=1e-12)
        assert found[name]["persistence"] > found[name]["slotcast"]
    with file.open() as lines:
        rows = list(csv.reader(lines))
    assert rows[0] == ["id", *(f"F{h}" for h in range(1, 49))]
    assert [row[0] for row in rows[1:]] == list(series_names())
    assert all(float(cell) > 0.0 for row in rows[1:] for cell in row[1:])
    assert "goal: <= 0.375" in capsys.readouterr().out


def series_names() -> list[str]:
    return list(hourly_series())


def walks() -> Ticks:
    rng = np.random.default_rng(2)
    return side_by_side(WALK, 50.0 * np.exp(rng.normal(0.0, 0.01, (300, 4)).cumsum(axis=0)))


def readings() -> Ticks:
    rng = np.random.default_rng(3)
    schema = TickSchema(targets=(Quantity(name="level"),), kind="sensor")
    return side_by_side(schema, rng.normal(size=(300, 4)))


def test_a_stream_of_walks_is_left_alone_and_noise_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, load in (("walks", walks), ("readings", readings)):
        monkeypatch.setitem(forecast_streams.STREAMS, name, load)
    found = {name: forecast_streams.run(name, Bundle.load()) for name in ("walks", "readings")}

    forecast_streams.show_table(found)

    prices, sensors = found["walks"], found["readings"]
    assert (prices["ticks"], prices["instruments"]) == (4 * 299, 4)
    assert prices["skill"]["slotcast"] == {
        "pooled": 0.0, "median": 0.0, "worst": 0.0, "share_below_0": 0.0,
    }  # fmt: skip
    assert prices["model_share"] == 0.0
    assert prices["skill"]["readout alone"]["pooled"] < 0.0
    assert sensors["skill"]["slotcast"]["median"] == pytest.approx(0.5, abs=0.08)  # of noise: half
    series = readings().value.reshape(300, 4)
    drift = np.array([baselines.drift(x) for x in series.T]).T
    error, naive = series[1:] - drift[1:], np.diff(series, axis=0)
    by_hand = scores.skill(error, naive)
    assert sensors["skill"]["drift"]["pooled"] == pytest.approx(by_hand, rel=1e-12)
    assert len(sensors["calibration"]["coverage_by_series"]) == 4
    printed = capsys.readouterr().out
    assert printed.count("walks, intervals: ") == 1
    assert printed.count("readings: median") == 1


def stream_of(kind: str, right: float = 1.0, **own: float) -> dict[str, Any]:
    usual = {"pooled": 0.0, "median": 0.1, "worst": 0.0, "share_below_0": 0.0}
    others = dict.fromkeys(("drift", "ewma", "ar1", "readout alone"), usual)
    return {
        "kind": kind,
        "skill": {**others, "slotcast": usual | own},
        "calibration": {"series_within_two_errors": right},
    }


@pytest.mark.parametrize(
    ("found", "reached"),
    [
        (stream_of("price"), True),
        (stream_of("price", pooled=-0.0009), True),
        (stream_of("price", pooled=-0.0011), False),
        (stream_of("price", share_below_0=0.11), False),
        (stream_of("price", worst=-0.011), False),
        (stream_of("price", right=0.94), False),
        (stream_of("sensor"), True),
        (stream_of("sensor", median=0.09), False),
        (stream_of("sensor", worst=-0.031), False),
    ],
)
def test_a_stream_has_to_reach_every_part_of_its_goal(found: dict[str, Any], reached: bool) -> None:
    assert forecast_streams._reached(found)[0] is reached


def test_prices_say_whether_their_intervals_are_calibrated() -> None:
    assert ", intervals not calibrated" in forecast_streams._reached(stream_of("price", 0.5))[1]
    assert ", intervals calibrated" in forecast_streams._reached(stream_of("price", 1.0))[1]


def test_one_command_runs_the_chosen_sets_and_writes_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    monkeypatch.setitem(PROTOCOLS, "Made-Up", made_up(None))
    monkeypatch.setitem(forecasts.ONLINE, "made-up", "Made-Up")
    monkeypatch.setitem(forecast_streams.STREAMS, "walks", walks)
    command = ["forecasts", "--seeds", "0", "--only", "made-up", "--only", "walks"]
    monkeypatch.setattr(sys, "argv", command)

    forecasts.main()

    assert (tmp_path / "forecasts-made-up-walks.json").exists()
    printed = capsys.readouterr().out
    assert all(title in printed for title in ("B1: online", "B4: intervals", "B5: skill"))

    monkeypatch.setattr(sys, "argv", ["forecasts", "--only", "nothing"])
    with pytest.raises(SystemExit):
        forecasts.main()
    assert "no set nothing: one of etth2" in capsys.readouterr().err
