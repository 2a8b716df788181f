"""Commands that cannot start say why in one line, with the way out, and leave no traceback."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from slotcast.bootstrap import embedded
from slotcast.cli import app
from slotcast.config_faults import ConfigError
from slotcast.log.port import LogError
from slotcast.log.sqlite.log import SqliteLog
from slotcast.run_settings import market_settings
from slotcast.settings import Settings

SECRET = "hunter2"
NOWHERE = "127.0.0.1:1"


def ended(*arguments: str) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(app, arguments)


def refused(*arguments: str) -> str:
    """The one line with which the command ends."""
    done = ended(*arguments)
    assert done.exit_code == 1
    (line,) = done.output.strip().splitlines()
    return line.removeprefix("slotcast: ")


@pytest.fixture(autouse=True)
def _outside_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands take the signals, and hush Kafka's client."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(logging.getLogger("kafka"), "setLevel", lambda _: None)


WRONG_FILES = {
    '[kafka]\nbootstrap_server = "x"\n': "no setting kafka.bootstrap_server, is"
    " kafka.bootstrap_servers meant",
    '[kafak]\nticks = "x"\n': "no setting kafak, is kafka meant",
    "[schema]\ntargts = []\n": "no setting schema.targts, is schema.targets meant",
    "[http]\nport = 70000\n": "http.port: Input should be less than",
    "[kafka\n": "at line 1",
    '[store]\nredis_url = "localhost"\n': "store.redis_url: give redis://HOST:PORT",
    '[kafka]\nbootstrap_servers = "broker"\n': "kafka.bootstrap_servers: give HOST:PORT",
    '[kafka]\ngroup = ""\n': "kafka.group: ",
}


@pytest.mark.parametrize("text", WRONG_FILES)
def test_a_wrong_file_is_named_with_the_setting(tmp_path: Path, text: str) -> None:
    path = tmp_path / "slotcast.toml"
    path.write_text(text)

    with pytest.raises(ConfigError) as told:
        Settings.load(path)

    assert "slotcast.toml" in str(told.value)
    assert WRONG_FILES[text] in str(told.value)
    assert "\n" not in str(told.value)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "slotcast.toml"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError, match=r"cannot read .*slotcast\.toml"):
        Settings.load(path)


@pytest.mark.parametrize("url", [f"http://:{SECRET}@host", f"redis://:{SECRET}@host:x"])
def test_a_wrong_address_of_redis_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("SLOTCAST_STORE__REDIS_URL", url)

    with pytest.raises(ConfigError, match=r"store\.redis_url: give redis://") as told:
        Settings.load()

    assert SECRET not in str(told.value)


@pytest.mark.parametrize("command", ["serve", "doctor", "tail", "simulate"])
def test_every_command_tells_of_settings_in_one_line(tmp_path: Path, command: str) -> None:
    path = tmp_path / "slotcast.toml"
    path.write_text("[htpp]\nport = 1\n")

    assert "no setting htpp, is http meant" in refused(command, "--config", str(path))


def test_a_bundle_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOTCAST_BUNDLE__PATH", "/nowhere")

    assert "bundle /nowhere cannot be read" in refused("serve")


def test_a_damaged_bundle_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    monkeypatch.setenv("SLOTCAST_BUNDLE__PATH", str(tmp_path))

    assert str(tmp_path) in refused("serve")


def test_a_broker_that_does_not_answer_is_named_once() -> None:
    wrong = {
        "SLOTCAST_KAFKA__BOOTSTRAP_SERVERS": NOWHERE,
        "SLOTCAST_KAFKA__DELIVERY_TIMEOUT_MS": "1000",
    }
    done = subprocess.run(
        [sys.executable, "-m", "slotcast.cli", "serve"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | wrong,
    )

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert NOWHERE in line
    assert "kafka.bootstrap_servers" in line


def test_a_taken_port_is_told_and_nothing_is_left_open(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        service, _ = embedded(market_settings(port, 8), tmp_path)

        with pytest.raises(OSError, match=rf"port {port}: it is taken; choose .* \[http\]"):
            service.start()

    SqliteLog(tmp_path / "slotcast.db", partitions=1).close()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(LogError, match=r"cannot write to .*file: .*--data"):
        embedded(market_settings(0, 8), tmp_path / "file")


@pytest.mark.parametrize("option", ["--port=70000", "--slots=0", "--instruments=0", "--rate=-1"])
def test_an_option_out_of_range_is_a_mistake_of_usage(option: str) -> None:
    done = ended("demo", option)

    assert done.exit_code == 2
    assert "Invalid value" in done.stderr
