"""`slotcast verify` and `slotcast derive` as commands, on real runs of both logs."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from slotcast.feeds.simulator import Market, encode
from tests.contract.kafka_topics import Record
from tests.e2e.running import Serving
from tests.servers import Broker

SCHEMA = """
[schema]
targets = [{ name = "price", gt = 0, log = true }]
features = [{ name = "volume", ge = 0 }]
max_ahead_ms = 100000000000
"""
BAD = [
    (b"A", b"{"),
    (b"A", b""),
    (b"A", b'{"instrument": "A", "ts": 1, "price": -1}'),
    (b"A", None),
]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "slotcast.cli", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=90, check=False)


def faults(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Faults of all partitions by kind, of a run with --json."""
    found: dict[str, int] = {}
    for report in json.loads(done.stdout)["partitions"]:
        for kind, tally in report["faults"].items():
            found[kind] = found.get(kind, 0) + tally["count"]
    return found


# The embedded log


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo of two runs, the first of which was killed."""
    data = tmp_path_factory.mktemp("demo")
    options = ("demo", "--port", "0", "--data", str(data))
    line = [sys.executable, "-m", "slotcast.cli", *options, "--rate", "3000"]
    first = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not committed(data / "slotcast.db") and time.monotonic() < deadline:
        time.sleep(0.1)
    first.kill()
    first.wait()
    assert command(*options, "--rate", "0", "--ticks", "4000").returncode == 0
    return data


def committed(path: Path) -> int:
    """The committed offset of a file in which a worker may not have begun yet."""
    try:
        with sqlite3.connect(path) as file:
            return int(file.execute("SELECT next FROM offsets").fetchone()[0])
    except (sqlite3.Error, TypeError):
        return 0


@pytest.fixture
def copy(demo: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(demo, tmp_path / "copy"))


def edit(data: Path, statement: str, *values: Any) -> None:
    file = sqlite3.connect(data / "slotcast.db")
    with file:
        assert file.execute(statement, values).rowcount == 1
    file.close()


def test_a_demo_is_proved(demo: Path) -> None:
    done = command("verify", "--data", str(demo))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "partition 0: records 0 to " in done.stdout
    assert "proved" in done.stdout


def test_a_forecast_of_a_demo_is_derived(demo: Path) -> None:
    done = command("derive", "0", "3000", "--data", str(demo))

    assert done.returncode == 0, done.stdout + done.stderr
    published, derived = (line.split()[1] for line in done.stdout.splitlines()[:2])
    assert published == derived
    assert json.loads(derived)["tick"]["offset"] == 3000


def test_a_demo_that_was_tampered_with(copy: Path) -> None:
    changed = "CAST(replace(CAST(value AS TEXT), '\"value\":', '\"value\":1') AS BLOB)"
    edit(copy, f"UPDATE forecasts SET value = {changed} WHERE id = 9")

    verified = command("verify", "--data", str(copy), "--json")
    derived = command("derive", "0", "9", "--data", str(copy))

    assert (verified.returncode, faults(verified)) == (1, {"differing": 1})
    assert derived.returncode == 1
    assert "fault: differing: targets.price.value is 1" in derived.stdout


def test_a_demo_whose_log_was_trimmed(copy: Path) -> None:
    edit(copy, "UPDATE ends SET first = 10 WHERE topic = 'ticks'")

    done = command("verify", "--data", str(copy))

    assert done.returncode == 2
    assert "undecided: the log begins at 10" in done.stdout


def test_a_directory_that_does_not_say_its_schema(copy: Path) -> None:
    (copy / "schema.json").unlink()

    done = command("verify", "--data", str(copy))

    assert done.returncode == 2
    assert "give that bundle and its schema with --config" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "--data", "nowhere"),
        ("derive", "0", "0", "--data", "nowhere"),
        ("verify", "--config", "nowhere.toml"),
    ],
)
def test_what_cannot_be_read_is_not_decided(arguments: tuple[str, ...]) -> None:
    done = command(*arguments)

    assert done.returncode == 2
    assert "nowhere" in done.stderr


# Kafka


@pytest.fixture
def serving(
    kafka: Broker, redis_url: str, redis_prefix: str, tmp_path: Path
) -> Iterator[Callable[[str], Serving]]:
    made: list[Serving] = []

    def make(delivery: str) -> Serving:
        made.append(
            Serving(tmp_path, kafka.bootstrap, redis_url, redis_prefix, SCHEMA, 2, delivery)
        )
        made[0].start()
        return made[0]

    yield make
    for one in made:
        one.kill()
        one.topics.close()


def feed(worker: Serving, market: Market, count: int) -> list[int]:
    """Feed ticks and bad records to both partitions; returns how many each has got."""
    now = round(time.time() * 1e3)
    parts: list[list[Record]] = [[], []]
    for key, value in zip(*encode(market.next(count), market.names), strict=True):
        parts[sum(key) % 2].append((key, value, now, None))
    for partition, records in enumerate(parts):
        records[3:3] = [(key, value, now, None) for key, value in BAD]
        worker.topics.feed(partition, records)
    return [len(records) for records in parts]


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_a_worker_that_was_killed_is_proved(
    serving: Callable[[str], Serving], delivery: str
) -> None:
    worker, market, fed = serving(delivery), Market(30), [0, 0]
    for turn in range(3):
        fed = [a + b for a, b in zip(fed, feed(worker, market, 2_000), strict=True)]
        if turn < 2:
            time.sleep(0.2)
            worker.kill()
            worker.start()
    busy = command("verify", "--config", str(worker.config), "--json")
    worker.wait_committed(fed)

    done = command("verify", "--config", str(worker.config), "--json")

    assert faults(busy) == {}
    assert done.returncode == 0, done.stdout + done.stderr
    reports = json.loads(done.stdout)["partitions"]
    assert [report["dead_letters"] for report in reports] == [9, 9]
    assert sum(report["forecasts"] for report in reports) == 6_000


def test_topics_that_were_tampered_with(serving: Callable[[str], Serving]) -> None:
    worker = serving("exactly-once")
    worker.wait_committed(feed(worker, Market(30), 1_000))
    config = ("--config", str(worker.config))
    again, letter = worker.forecasts(0)[50], worker.dead_letters(1)[1]
    tick = json.loads(again.value)["tick"]["offset"]

    producer = KafkaProducer(bootstrap_servers=worker.kafka.bootstrap_servers)
    producer.send(worker.kafka.forecasts, again.value, again.key, partition=0)
    producer.send(worker.kafka.dead_letters, letter.value, letter.key, letter.headers, partition=1)
    producer.close()
    verified, derived = (
        command("verify", *config, "--json"),
        command("derive", "0", f"{tick}", *config),
    )

    assert (verified.returncode, faults(verified)) == (
        1,
        {"repeated": 1, "dead_letter_repeated": 1},
    )
    assert derived.returncode == 1
    assert "fault: its forecast is there 2 times" in derived.stdout


def test_topics_that_were_trimmed(serving: Callable[[str], Serving]) -> None:
    worker = serving("exactly-once")
    worker.wait_committed(feed(worker, Market(30), 1_000))
    worker.topics.trim(1, 100)

    done = command("verify", "--config", str(worker.config), "--json")

    assert (done.returncode, faults(done)) == (2, {})
    undecided = [r["undecided"] for r in json.loads(done.stdout)["partitions"]]
    assert undecided[0] == []
    assert "the log begins at 100, the memory began at 0" in undecided[1][0]
