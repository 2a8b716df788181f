"""`slotcast backtest` says of a real Kafka topic what it says of the file that was sent to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from slotcast.cli import app
from tests.servers import Broker
from tests.unit.test_train_command import sensor_file


@pytest.fixture(autouse=True)
def _own_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sending sets signals of its process; this one is the tests'."""
    monkeypatch.setattr("signal.signal", lambda *_: None)


def slotcast(*arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_topic_is_scored_as_its_file_is(kafka: Broker, tmp_path: Path) -> None:
    topic = kafka.fresh_topic(2)
    config, file = tmp_path / "slotcast.toml", sensor_file(tmp_path / "sensors.csv", instruments=4)
    config.write_text(
        f'[kafka]\nbootstrap_servers = "{kafka.bootstrap}"\n'
        '[schema]\ntargets = ["pressure", "flow"]\n'
    )
    slotcast("produce", file, "--topic", topic, "--config", config)

    def told(source: object) -> dict[str, Any]:
        arguments = ("backtest", "--from", source, "--config", config, "--skip", 200, "--json")
        found: dict[str, Any] = json.loads(slotcast(*arguments))
        return found

    of_topic, of_file = told(topic), told(file)

    assert of_topic["source"] == topic
    assert (of_topic["ticks"], of_topic["scored"]) == (800, 600)
    for name, scores in of_file["forecasts"].items():
        assert of_topic["forecasts"][name]["rmse"] == pytest.approx(scores["rmse"], rel=1e-9), name
