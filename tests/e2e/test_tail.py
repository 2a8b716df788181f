"""`slotcast tail` as a process: in pipes, until Ctrl-C, from Kafka; what others print as JSON."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slotcast_models.schema import RecordFormat
from tests.e2e.running import PRICE, Serving, market_ticks
from tests.e2e.test_formats import in_format
from tests.e2e.test_memory_commands import command
from tests.e2e.test_verify import command as process
from tests.formats import every_format
from tests.servers import Broker

TICKS = 600
PATIENCE_S = 60.0


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "slotcast.cli", *arguments]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen(line, **quiet)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("tail") / "demo"
    options = ("--port", "0", "--rate", "0", "--instruments", "10", "--ticks", str(TICKS))
    assert process("demo", "--data", str(data), *options).returncode == 0
    return data


def test_lines_of_json_are_the_records(demo: Path) -> None:
    done = command("tail", "--data", str(demo), "--from-beginning", "--json", "--count", "9")

    records = [json.loads(text) for text in done.stdout.splitlines()]
    assert done.returncode == 0
    assert [record["tick"]["offset"] for record in records] == list(range(9))


def test_one_instrument_in_lines_of_text(demo: Path) -> None:
    at = ("--data", str(demo), "--from-beginning", "--count")
    name = json.loads(command("tail", *at, "1", "--json").stdout)["instrument"]

    lines = command("tail", *at, "3", "--instrument", name).stdout.splitlines()

    assert len(lines) == 3
    assert all(f" {name}: price " in text for text in lines)


def test_a_reader_who_has_enough_is_no_error(demo: Path) -> None:
    with start("tail", "--data", str(demo), "--from-beginning", "--json") as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        first = tail.stdout.readline()
        tail.stdout.close()
        tail.send_signal(signal.SIGTERM)
        problems = tail.stderr.read()

    assert json.loads(first)["tick"]["offset"] == 0
    assert (tail.returncode, "Error" in problems) == (0, False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_ctrl_c(demo: Path, number: signal.Signals) -> None:
    with start("tail", "--data", str(demo), "--from-beginning") as tail:
        assert tail.stdout is not None
        assert tail.stdout.readline()
        tail.send_signal(number)
        _, problems = tail.communicate(timeout=PATIENCE_S)

    assert (tail.returncode, "Traceback" in problems) == (0, False)


def test_a_terminal_gets_a_table(demo: Path) -> None:
    ours, theirs = pty.openpty()
    size = os.environ | {"COLUMNS": "120", "LINES": "40"}
    options = ("--data", str(demo), "--from-beginning", "--count", str(TICKS))
    tail = start("tail", *options, stdout=theirs, stderr=theirs, env=size)
    os.close(theirs)

    shown = b"".join(_until_closed(ours)).decode()
    os.close(ours)

    assert tail.wait(PATIENCE_S) == 0
    assert "90 % interval" in shown
    assert f"{TICKS:,} forecasts" in shown


def _until_closed(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            found = os.read(terminal, 65_536)
        except OSError:
            return
        if not found:
            return
        yield found


@every_format
def test_forecasts_of_kafka_as_they_are_committed(
    kafka: Broker, redis_url: str, redis_prefix: str, tmp_path: Path, form: RecordFormat
) -> None:
    schema = f'{PRICE}\nformat = "{form}"'
    worker = Serving(tmp_path, kafka.bootstrap, redis_url, redis_prefix, schema, 2)
    ticks = [in_format(worker, some) for some in market_ticks(8_000, 2)]
    worker.start()
    at = ("--config", str(worker.config), "--json", "--count")
    try:
        for partition, some in enumerate(ticks):
            worker.topics.feed(partition, some[:100])
        worker.wait_committed([100, 100])
        with start("tail", *at, "20") as tail:
            fed, until = 100, time.monotonic() + PATIENCE_S
            while tail.poll() is None and time.monotonic() < until:
                worker.topics.feed(0, ticks[0][fed : fed + 5])
                fed += 5
                time.sleep(0.2)
            tail.send_signal(signal.SIGTERM)
            fresh = [json.loads(text) for text in tail.communicate()[0].splitlines()]
        old = command("tail", *at, "200", "--from-beginning")
    finally:
        worker.kill()
        worker.topics.close()

    assert tail.returncode == 0
    offsets = [record["tick"]["offset"] for record in fresh]
    assert offsets == list(range(offsets[0], offsets[0] + 20))
    assert offsets[0] >= 100
    found = [json.loads(text) for text in old.stdout.splitlines()]
    assert len(found) == 200
    assert found[0]["tick"] == {"partition": 0, "offset": 0, "origin": 0, "ticks": 1}


# What other commands print for programs


def test_commands_tell_programs_what_they_tell_people(demo: Path, tmp_path: Path) -> None:
    at, file = ("--data", str(demo), "--json"), tmp_path / "demo.snapshot"

    exported = json.loads(command("export", str(file), *at).stdout)
    name = json.loads(command("inspect", str(file), *at).stdout)["partitions"][0]["instruments"][0]
    reset = command("reset", name["instrument"], *at, "--wait-s", "0")
    imported = command(
        "import", str(file), "--instrument", name["instrument"], *at, "--wait-s", "0"
    )
    derived = json.loads(command("derive", "0", "500", *at).stdout)
    missing = command("derive", "0", "99999", *at)

    assert exported["bytes"] == file.stat().st_size
    assert exported["partitions"][0]["rows"] == 10
    assert [json.loads(done.stdout)["records"] for done in (reset, imported)] == [
        [{"partition": 0, "offset": TICKS + i, "committed": False}] for i in (0, 1)
    ]
    assert derived["published"] == [derived["derived"]]
    assert derived["derived"]["tick"]["offset"] == 500
    assert (derived["exit_code"], derived["faults"], derived["undecided"]) == (0, [], [])
    assert (missing.returncode, missing.stdout) == (2, "")


def test_offsets_are_told_to_programs(
    kafka: Broker, redis_url: str, redis_prefix: str, tmp_path: Path
) -> None:
    worker = Serving(tmp_path, kafka.bootstrap, redis_url, redis_prefix, PRICE, 2)
    assert command("topics", "create", "--config", str(worker.config)).returncode == 0
    at = ("--config", str(worker.config), "--json")

    nothing = json.loads(command("offsets", "restore", *at).stdout)
    begun = json.loads(command("offsets", "begin", "--at", "end", *at).stdout)
    there = json.loads(command("offsets", "restore", *at).stdout)
    worker.topics.close()

    assert nothing["committed"] == []
    assert [one["why"] for one in nothing["left"]] == [
        "nothing was published yet, there is no offset"
    ] * 2
    assert [(one["partition"], one["offset"]) for one in begun["committed"]] == [(0, 0), (1, 0)]
    assert all(one["note"]["bundle"].startswith("default-") for one in begun["committed"])
    assert [one["partition"] for one in there["left"]] == [0, 1]
