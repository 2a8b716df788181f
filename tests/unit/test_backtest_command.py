"""`slotcast backtest` tells what forecasts of a file are worth, in tables, pictures and JSON."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from slotcast.cli import app
from slotcast_models.bundle import STEP, Bundle, save_bundle
from slotcast_models.schema import TickSchema
from tests.unit.test_train_command import FAST, embedded_log

PICTURES = ("forecast", "rolling_skill", "coverage", "errors", "free_run")

# Keras 3.15 turns tensors into arrays in a way that numpy 2 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two values that fall back to where they were, of three sensors."""
    rng = np.random.default_rng(0)
    lines = ["sensor,ts,pressure,flow"]
    for t in range(200):
        for i, (pressure, flow) in enumerate(100.0 + rng.normal(size=(3, 2))):
            lines.append(f"S{i},{t * 1000},{pressure:.6f},{flow:.6f}")
    path = tmp_path / "sensors.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def backtest(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["backtest", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def told(*arguments: object) -> Any:
    return json.loads(backtest(*arguments, "--json").stdout)


def test_tables_say_what_stands_beside_what_and_what_is_missing(file: Path) -> None:
    shown = backtest("--from", file, "--free-run", 4).stdout

    for name in ("slotcast", "readout alone", "frozen", "persistence", "drift", "EWMA", "AR(1)"):
        assert re.search(rf"(?m)^│ {re.escape(name)} ", shown), name
    for column in (
        "skill %",
        "MAE",
        "RMSE",
        "MASE",
        "CRPS",
        "pinball",
        "within 90 %",
        "Winkler 90",
    ):
        assert column in shown
    assert "480 ticks scored, of 3 instruments" in shown
    assert "seasonal naive: not here, [schema] declares no seasons" in shown
    assert "network alone: not here" in shown
    assert "free runs of 4 steps" in shown


def test_json_holds_everything(file: Path) -> None:
    found = told("--from", file, "--skip", 150, "--free-run", 3)

    assert found["source"] == "sensors.csv"
    assert (found["ticks"], found["skipped"], found["scored"]) == (600, 150, 450)
    own = found["forecasts"]["slotcast"]
    scores = {"skill", "mae", "rmse", "mase", "crps", "pinball", "coverage", "winkler"}
    assert scores <= set(own)
    assert own["skill"] > 0.2  # noise around a level
    assert list(own["coverage_by_level"]) == ["0.5", "0.8", "0.9", "0.95", "0.99"]
    assert len(found["series"]) == 6
    assert set(found["by_target"]) == {"pressure", "flow"}
    rolling = found["rolling_skill"]
    assert len(rolling["time_ns"]) == len(rolling["skill"]["slotcast"]) == 450 // 20
    assert len(found["free_run"]["forecasts"]["slotcast"]["mae_by_step"]) == 3


def test_out_gets_pictures_and_a_page_that_needs_nothing_else(file: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "deep" / "report"

    result = backtest("--from", file, "--free-run", 4, "--out", out)

    page = (out / "backtest.html").read_text(encoding="utf-8")
    for name in PICTURES:
        png = (out / f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(png) > 10_000, name
        assert f"wrote {out / name}.png" in result.stdout
    assert page.count("data:image/png;base64,") == len(PICTURES)
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    assert "://" not in page
    assert json.loads((out / "backtest.json").read_text()) == told("--from", file, "--free-run", 4)


def test_without_matplotlib_the_message_has_the_command(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "matplotlib" else find(name, *rest),
    )

    result = backtest("--from", file, "--out", tmp_path / "out", code=1)

    assert "pip install 'slotcast[plots]'" in result.stderr
    assert not (tmp_path / "out").exists()
    assert backtest("--from", file).stdout  # tables need no matplotlib


def test_a_configured_season_brings_the_seasonal_naive(file: Path, tmp_path: Path) -> None:
    config = tmp_path / "slotcast.toml"
    config.write_text(
        '[schema]\ninstrument = "sensor"\ntargets = ["pressure"]\nfeatures = ["flow"]\n'
        "seasons = [12]\nmax_ahead_ms = 1000000000000000\n"
    )

    found = told("--from", file, "--config", config)

    assert found["targets"] == ["pressure"]
    assert "seasonal naive" in found["forecasts"]
    assert "seasonal naive" not in found["absent"]


@pytest.mark.parametrize("mode", ["frozen", "inline", "delayed"])
def test_a_learning_network_stands_beside_ours(
    file: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorflow")
    monkeypatch.setattr("slotcast_models.learner.one_thread", lambda: None)  # of this process

    found = told("--from", file, "--value", "pressure", "--learn", mode)

    assert found["forecasts"][f"network {mode}"]["skill"] > 0.2
    assert found["forecasts"][f"network {mode}, alone"]["skill"] != 0.0
    assert "learning network" not in found["absent"]


def test_another_bundle_is_the_one_that_forecasts_by_its_own_schema(
    file: Path, tmp_path: Path
) -> None:
    bundle = Bundle.load()
    calm = bundle.manifest.rules.model_copy(update={"warmup_ticks": 10_000})
    own = TickSchema(instrument="sensor", targets=("flow",), max_ahead_ms=10**15)
    changes = {"rules": calm, "name": "calm", "tick_schema": own}
    manifest = bundle.manifest.model_copy(update=changes)
    save_bundle(tmp_path / "calm", manifest, {STEP: bundle.program})

    found = told("--from", file, "--bundle", tmp_path / "calm")

    assert found["bundle"].startswith("calm-")
    assert found["targets"] == ["flow"]
    assert found["forecasts"]["slotcast"]["skill"] == 0.0
    assert found["model_published"] == 0.0


def test_a_trained_network_is_scored_alone_too(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorflow")
    monkeypatch.setattr("slotcast_models.learner.one_thread", lambda: None)  # of this process
    monkeypatch.setattr("signal.signal", lambda *_: None)
    made = ["train", "--from", str(file), "--out", str(tmp_path / "made"), *FAST]
    assert CliRunner().invoke(app, made).exit_code == 0

    found = told("--from", file, "--bundle", tmp_path / "made")

    assert found["forecasts"]["network alone"]["skill"] != 0.0
    assert "network alone" not in found["absent"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--skip", "600"], "there are 600 ticks"),
        (["--learn", "always"], "frozen, inline, delayed"),
        (["--free-run", "500"], "give fewer steps"),
        (["--skip", "0", "--learn", "inline"], "--skip above 0"),
        (["--bundle", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_done_says_so(file: Path, arguments: list[str], message: str) -> None:
    result = backtest("--from", file, *arguments, code=1)

    assert message in re.sub(r"\s+", " ", result.stderr)


def test_a_log_is_read_with_its_resets(tmp_path: Path) -> None:
    embedded_log(tmp_path / "log")

    found = told("--from", tmp_path / "log", "--skip", 400, "--free-run", 5)

    assert (found["source"], found["ticks"], found["instruments"]) == ("log", 1596, 2)
    assert found["left_out"] == {"not_json": 4}
    assert found["scored"] == 1198 - 4  # what follows the skipped: two resets, two first ticks
    assert found["free_run"]["runs"] > 100


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = backtest("--from", tmp_path / "missing.csv", code=1)

    assert "missing.csv" in result.stderr
