"""B6 and what it is chosen by, ablations, and young intervals, on made-up sets."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import (
    ablation,
    ablation_networks,
    choosing,
    forecast_sets,
    report,
    transfer,
    young,
)
from benchmarks.forecast_online import PROTOCOLS, Protocol
from benchmarks.forecast_sets import HOUR_MS, STREAMS, Ticks
from benchmarks.transfer_sets import Parts
from slotcast_models.backtest import prequential
from slotcast_models.bundle import Bundle
from slotcast_models.features import AGE_SCALE
from slotcast_models.predictor import Predictor
from slotcast_models.schema import Quantity, TickSchema
from tests.made_up_sets import WALK, side_by_side
from tests.streams import predictor

Floats = NDArray[np.float64]
SENSOR = TickSchema(targets=(Quantity(name="level"),), kind="sensor")


def noise(n: int = 120, slots: int = 3, seed: int = 0) -> Ticks:
    return side_by_side(SENSOR, np.random.default_rng(seed).normal(size=(n, slots)))


def walk(n: int = 120, slots: int = 3) -> Ticks:
    changes = np.random.default_rng(1).normal(0.0, 0.01, (n, slots))
    return side_by_side(WALK, 50.0 * np.exp(changes.cumsum(axis=0)))


def command(monkeypatch: pytest.MonkeyPatch, folder: Path, main: Any, *options: str) -> None:
    monkeypatch.setattr(report, "FOLDER", folder)
    monkeypatch.setattr(sys, "argv", ["benchmark", *options])
    main()


def test_a_stream_s_skill_is_over_its_scored_ticks(capsys: pytest.CaptureFixture[str]) -> None:
    bundles = {
        "untrained": transfer.untrained(),
        "others": Bundle.load(),
        "generated": Bundle.load(),
    }
    found = {}
    for name, ticks in (("noise", noise()), ("walk", walk())):
        scored = np.arange(len(ticks.slot)) >= 180
        found[name] = transfer.run(Parts(None, ticks, scored), bundles)

    transfer.show_table(found)

    assert found["noise"]["ticks"] == 180
    assert list(found["noise"]["skill"]) == ["readout alone", "untrained", "others", "generated"]
    assert found["noise"]["skill"]["others"] == found["noise"]["skill"]["generated"]
    assert found["noise"]["skill"]["untrained"]["median"] > 0.3
    assert found["noise"]["skill"]["untrained"] != found["noise"]["skill"]["generated"]
    assert found["walk"]["skill"]["generated"]["pooled"] == 0.0
    printed = capsys.readouterr().out
    assert "B6: skill over persistence" in printed
    assert "✓ prices with `generated`: +0.00 on average, more on 0 of 1 streams" in printed


def test_skills_of_a_benchmark_of_networks_are_those_worked_out_by_hand() -> None:
    value = np.arange(6.0)[:, None] ** 2
    naive = np.concatenate([value[:1], value[:-1]])
    outcome: Any = SimpleNamespace(
        slot=np.array([0, 1, 0, 1, 0, 1]), scored=np.ones(6, bool), value=value, naive=naive
    )
    half = (value + naive) / 2.0  # half the error: three quarters of its square are gone

    found = transfer.skills(outcome, half, np.array([False, True, True, True, True, True]), False)

    assert found == {"pooled": 0.75, "median": 0.75, "worst": 0.75, "young": 0.75}


def test_a_folder_is_left_out_of_what_its_network_learns_from() -> None:
    known: Any = {"wells": ["a"], "prices": ["b", "c"], "generated": ["d"]}

    assert transfer.others(known, "prices") == ["a", "d"]


def test_gains_are_points_of_skill_over_the_untrained_network(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = {
        "level": {"origin": "generated", "untrained": (0.5, 0.2), "new": (0.52, 0.25)},
        "walk": {"origin": "generated", "untrained": (0.0, 0.0), "new": (-0.01, 0.01)},
        "wells": {"origin": "recorded", "untrained": (0.3, 0.1), "new": (0.3, 0.1)},
    }
    told = {"new": {"epoch": 3, "skill": -0.0037, "share": 0.4, "skill_at_share": 0.002}}

    choosing.show_table(found, told)

    assert choosing.gain(found, "new", "generated", 0) == pytest.approx([2.0, -1.0])
    assert choosing.gain(found, "new", "generated", 1) == pytest.approx([5.0, 1.0])
    printed = capsys.readouterr().out
    assert "+0.50 (1, 1)" in printed
    assert "+0.00 (0, 0)" in printed
    assert "-0.37" in printed


def test_what_was_held_back_is_judged_at_all_shares(capsys: pytest.CaptureFixture[str]) -> None:
    """Corrections twice as large as they should be harm whole, and at half are perfect."""
    left = np.array([[1.0], [2.0], [-1.0], [np.nan]])
    ages = np.log1p([[[3.0], [250.0], [260.0], [270.0]]]) / AGE_SCALE
    lanes = SimpleNamespace(label=left[None], entry=np.array([[0, 5, 6, 7]]), x=ages)
    said = 2.0 * left[None].copy()
    said[0, 0] = 1.0
    training = SimpleNamespace(best=None, best_epoch=2, cut=5, outputs=lambda _: (lanes, said))

    found = choosing.held_back(training)
    choosing.show_ages({"new": found})

    *others, by_age = found.values()
    assert others == [2, 250, 0.0, 0.5, 1.0]
    assert by_age == pytest.approx([1.0, np.nan, np.nan, 0.0, np.nan], nan_ok=True)
    assert "200 .. 499" in capsys.readouterr().out


def test_no_set_to_choose_by_is_scored_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    load = {"readings": lambda: noise(50, 4)}
    monkeypatch.setattr(choosing, "SETS", {"sensors": load, "classics": load, "absent": load})
    monkeypatch.setattr(choosing, "present", lambda folder: folder != "absent")

    *made_up, last = choosing.choices(each=2)

    assert [choice.origin for choice in made_up] == ["generated"] * 15
    assert (last.origin, last.name) == ("recorded", "readings")
    assert last.ticks.slots == 2  # every other one; the others are scored
    assert set(last.ticks.value[:, 0]) == set(noise(50, 4).value[::2, 0])


def test_skills_to_choose_by_are_means_over_series() -> None:
    whole, early = choosing.skills(noise(400, 3), Bundle.load())

    assert whole == pytest.approx(0.5, abs=0.1)  # half of noise's changes is known
    assert early != whole


def load_waves() -> Ticks:
    hours = np.arange(300)
    wave = np.sin(2 * np.pi * hours / 24)[:, None] * np.array([3.0, -2.0])
    value = wave + np.random.default_rng(4).normal(size=(300, 2))
    schema = TickSchema(
        targets=(Quantity(name="a"), Quantity(name="b")),
        kind="sensor",
        step_ms=HOUR_MS,
        seasons=(24,),
    )
    return Ticks(schema, np.zeros(300, np.int64), hours * HOUR_MS * 10**6, value)


def hourly_series() -> dict[str, Floats]:
    hours = np.arange(500)
    wave = 2.0 + np.sin(2 * np.pi * hours / 24)
    rng = np.random.default_rng(5)
    return {f"H{i}": wave * np.exp(rng.normal(0.0, 0.05, 500)) for i in range(2)}


def test_an_ablation_tells_rows_to_choose_by_from_scored_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = Protocol(load_waves, lambda rows: (100, 200, rows), None, None, 24)
    monkeypatch.setitem(PROTOCOLS, "made-up", protocol)
    monkeypatch.setattr(ablation, "ONLINE", {"WTH": "made-up", "other": "made-up"})
    monkeypatch.setitem(STREAMS, "readings", noise)
    monkeypatch.setattr(ablation, "SENSORS", ("readings",))
    monkeypatch.setattr(forecast_sets, "m4_hourly", hourly_series)

    command(monkeypatch, tmp_path, ablation.main, "--only", "one lag")

    found = ablation.online_scores({})
    assert list(found) == ["WTH, before", "WTH, scored", "other, before"]
    assert found["WTH, before"] == found["other, before"] != found["WTH, scored"]
    assert ablation.online_scores({"lags": 1}) != found
    printed = " ".join(capsys.readouterr().out.split())
    titles = ("OWA of M4", "MSE of B1", "median skill of sensors in %")
    assert all(f"One rule changed: {title}" in printed for title in titles)
    assert f"{found['WTH, before']:.4f}" in printed
    assert "mean of all of these" in printed


def test_an_ablation_s_error_is_worked_out_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that never opens publishes persistence."""
    protocol = Protocol(load_waves, lambda rows: (100, 200, rows), None, None, 24)
    monkeypatch.setitem(PROTOCOLS, "made-up", protocol)
    value = load_waves().value
    squared = np.square(np.diff(value, axis=0) / value[:100].std(axis=0))

    before, scored = ablation.online_mse("made-up", {"gate_t": 1e9})

    assert before == pytest.approx(squared[49:199].mean(), rel=1e-12)
    assert scored == pytest.approx(squared[199:].mean(), rel=1e-12)


def test_networks_are_chosen_on_rows_before_the_scored_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training is others' test: here a network is a ridge, by its cells and its mode."""
    protocol = Protocol(load_waves, lambda rows: (100, 210, rows), None, None, 24)
    monkeypatch.setitem(PROTOCOLS, "made-up", protocol)
    seen = []

    def trained(bundle: Bundle, columns: Any, names: list[str], recipe: Any) -> Any:
        seen.append((bundle.manifest.network.cells, len(columns.slot), recipe.warm_ticks))
        return bundle.schema, float(len(seen))

    def online(warmed: Any, _instruments: int, mode: str) -> Predictor:
        schema, ridge = warmed
        return predictor(schema, ridge=ridge + 0.5 * (mode == "inline"))

    monkeypatch.setattr("slotcast_models.online.warm", trained)
    monkeypatch.setattr("slotcast_models.online.OnlinePredictor", online)
    monkeypatch.setattr("slotcast_models.learner.one_thread", lambda: None)

    options = ("--set", "made-up", "--only", "GRU 64", "--scored")
    command(monkeypatch, tmp_path, ablation_networks.main, *options)

    lstm, gru = (("lstm", 64),), (("gru", 64),)
    assert seen == [(lstm, 210, 120), (lstm, 300, 100), (gru, 210, 120), (gru, 300, 100)]
    found = json.loads((tmp_path / "ablation-networks-made-up.json").read_text())["results"]
    before, scored = (ablation_networks.parts_of("made-up", True)[t] for t in ("before", "scored"))
    assert found["no network"]["scored"] == ablation.online_mse("made-up", {})[1]
    assert len(set(found["GRU 64"].values())) == 4
    squared = np.square(np.diff(load_waves().value, axis=0) / load_waves().value[:100].std(axis=0))
    naive = prequential(predictor(before.schema, gate_t=1e9), before.columns, 1)
    assert before.mse(naive) == pytest.approx(squared[119:209].mean(), rel=1e-12)
    assert len(scored.columns.slot) == 300
    assert "GRU 64" in capsys.readouterr().out


def test_young_intervals_are_told_by_which_forecast_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(young, "SETS", {"noise": lambda: noise(210, 40)})

    command(monkeypatch, tmp_path, young.main, "--only", "noise")

    coverage = young.by_age(noise(210, 40))
    assert coverage.shape == (len(young.AGES), 5)
    assert (np.diff(coverage, axis=1) >= 0.0).all()
    assert coverage[-1] == pytest.approx([0.5, 0.8, 0.9, 0.95, 0.99], abs=0.05)
    assert "101-200" in capsys.readouterr().out


def test_pieces_begin_anew_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(young, "PIECE", 10)

    found = young.pieces(noise(35, 2), every=20)

    assert found.slots == 4
    assert np.bincount(found.slot).tolist() == [10] * 4
    series = noise(35, 2).value.reshape(35, 2)
    first = [series[0, 0], series[20, 0], series[0, 1], series[20, 1]]
    assert found.value[:4, 0].tolist() == first
