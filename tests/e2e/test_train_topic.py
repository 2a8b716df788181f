"""`slotcast train` reads a real Kafka topic, all of it or a range, without joining the group."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from slotcast.cli import app
from slotcast_models.bundle import Bundle
from tests.servers import Broker
from tests.unit.test_train_command import FAST, sensor_file

# Keras 3.15 turns tensors into arrays in a way that numpy 2 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True)
def _quiet_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command sets threads and signals of its process; this one is the tests'."""
    monkeypatch.setattr("slotcast_models.learner.one_thread", lambda: None)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, action in before.items():
        signal.signal(number, action)


def slotcast(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result


def test_a_topic_is_trained_from(kafka: Broker, tmp_path: Path) -> None:
    topic = kafka.fresh_topic(2)
    config, file = tmp_path / "slotcast.toml", sensor_file(tmp_path / "sensors.csv", instruments=4)
    config.write_text(
        f'[kafka]\nbootstrap_servers = "{kafka.bootstrap}"\n'
        '[schema]\ntargets = ["pressure", "flow"]\n'
    )
    slotcast("produce", file, "--topic", topic, "--config", config)

    options = ["--from", topic, "--config", config, *FAST]
    whole = slotcast("train", *options, "--out", tmp_path / "whole")
    part = slotcast("train", *options, "--out", tmp_path / "part", "--offsets", "0-149")

    assert "recorded 800 ticks of 4 instruments" in whole.output
    report = json.loads((tmp_path / "part" / "training.json").read_text())
    assert report["ticks"]["source"] == topic
    assert report["ticks"]["ticks"] in (150, 300)  # all four may be in one partition
    assert "wrote" in part.output
    assert Bundle.load(tmp_path / "whole").manifest.network.cells == (("gru", 4),)
