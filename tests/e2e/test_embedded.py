"""The embedded job: `slotcast demo` and `slotcast replay` as processes, killed and continued."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slotcast.log.sqlite.log import SqliteLog
from slotcast.run_settings import market_settings
from slotcast.store.sqlite import SqliteStore
from tests.contract.kafka_topics import Record
from tests.e2e.running import reference

COMMAND = [sys.executable, "-m", "slotcast.cli"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


def ticks_of(log: SqliteLog) -> list[Record]:
    return [
        (key, value, int(stamp), None)
        for batch in log.read(0, *log.bounds(0))
        for key, value, stamp in zip(batch.keys, batch.values, batch.timestamps_ms, strict=True)
    ]


def until_it_forecasts(database: Path) -> None:
    """More than when we began to look."""

    def size() -> int:
        beside = database.with_name(f"{database.name}-wal")  # what was written last
        return sum(one.stat().st_size for one in (database, beside) if one.exists())

    begun, deadline = size(), time.monotonic() + 60
    while size() < begun + 100_000:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_kill_9_leaves_exactly_one_forecast_per_tick(tmp_path: Path) -> None:
    data, rng = str(tmp_path / "data"), random.Random(2)
    run("warm")  # else the first lives are spent compiling
    for _ in range(3):
        worker = subprocess.Popen(
            [*COMMAND, "demo", "--rate", "3000", "--port", "0", "--data", data],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until_it_forecasts(tmp_path / "data" / "slotcast.db")
        time.sleep(rng.uniform(0.0, 1.5))
        worker.kill()
        worker.wait()

    last = run("demo", "--ticks", "1500", "--rate", "0", "--port", "0", "--data", data)

    assert last.returncode == 0, last.stderr
    assert "continued from the last run" in last.stdout
    log = SqliteLog(tmp_path / "data" / "slotcast.db", partitions=1, consume=False)
    ticks = ticks_of(log)
    _, found = log.forecasts(0, 0, 10**9)
    log.close()
    expected, _ = reference(market_settings(0, 8).tick_schema, [ticks])
    assert len(ticks) > 1_500
    assert list(found.offsets) == list(range(len(ticks)))
    assert list(found.values) == [f.value for f in expected[0]]


def test_a_finished_demo_says_what_it_came_to(tmp_path: Path) -> None:
    done = run("demo", "--ticks", "2000", "--rate", "0", "--port", "0", "--data", str(tmp_path))

    assert done.returncode == 0, done.stderr
    assert "2,000 ticks in, 2,000 forecasts out, 0 dead letters" in done.stdout
    assert "live page http://127.0.0.1:" in done.stdout


def test_a_second_worker_on_the_same_data_is_refused(tmp_path: Path) -> None:
    first = SqliteLog(tmp_path / "slotcast.db", partitions=1)

    second = run("demo", "--ticks", "10", "--port", "0", "--data", str(tmp_path))

    first.close()
    assert second.returncode == 1
    said = second.stdout + second.stderr
    assert "slotcast.db" in said.replace("\n", "")  # the folder's name may be long


def test_a_log_that_is_too_short_ends_the_run_with_the_way_out(tmp_path: Path) -> None:
    options = ("--rate", "0", "--port", "0", "--data", str(tmp_path))
    assert run("demo", "--ticks", "1500", *options).returncode == 0
    store, log = (
        SqliteStore(tmp_path / "slotcast.db"),
        SqliteLog(tmp_path / "slotcast.db", 1, False),
    )
    store.clear(0)
    while log.trim(0, 1_000, 0, 0):
        pass
    store.close()
    log.close()

    second = run("demo", "--ticks", "10", *options)

    assert second.returncode == 1, second.stdout
    told = " ".join(second.stdout.split())
    assert "partition 0: replay must begin at 0, but the log begins at 1000" in told
    assert "set worker.on_damage = cold or warm-up" in told


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_file_is_replayed_and_continued(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"ticks.{kind}"
    rows = [("W1" if i % 2 else "W2", 1_000 * i, 10.0 + i % 7) for i in range(300)]
    if kind == "csv":
        lines = ["well,time,pressure", *(f"{w},{t},{p}" for w, t, p in rows)]
    else:
        lines = [json.dumps({"well": w, "time": t, "pressure": p}) for w, t, p in rows]
    options = ("replay", str(path), "--port", "0", "--data", str(tmp_path / "data"))

    path.write_text("\n".join(lines[:200]) + "\n")
    first = run(*options)
    path.write_text("\n".join(lines) + "\n")
    second = run(*options)

    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    counts = [int(out.stdout.split(" forecasts out")[0].split()[-1]) for out in (first, second)]
    assert sum(counts) == 300
    assert "continued from the last run" in second.stdout


def test_a_wrong_column_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "ticks.csv"
    path.write_text("well,time,pressure\nW1,1,2\n")

    done = run("replay", str(path), "--value", "temperature", "--port", "0")

    assert done.returncode == 1
    assert "temperature" in done.stderr
    assert "pressure" in done.stderr
