"""`slotcast export`, `inspect`, `import` and `reset` as commands, on real runs of both logs."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from typer.testing import CliRunner

from slotcast.cli import app
from slotcast.feeds.simulator import Market
from tests.e2e.running import Serving
from tests.e2e.test_verify import SCHEMA, faults, feed
from tests.e2e.test_verify import command as process
from tests.servers import Broker

DEMO = ("demo", "--port", "0", "--rate", "0", "--instruments", "20")


def command(*arguments: str) -> CompletedProcess[str]:
    """The command in this process, which has everything loaded."""
    done = CliRunner().invoke(app, list(arguments))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


# The embedded log


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A demo of two runs, and the snapshot that was exported between them."""
    folder = tmp_path_factory.mktemp("memory")
    data, file = folder / "demo", folder / "first.snapshot"
    assert process(*DEMO, "--data", str(data), "--ticks", "2000").returncode == 0
    done = command("export", str(file), "--data", str(data))
    assert done.returncode == 0, done.stderr
    assert "partition 0: 20 rows, complete up to offset 2,000" in done.stdout
    assert process(*DEMO, "--data", str(data), "--ticks", "1500").returncode == 0
    return data, file


@pytest.fixture
def copy(kept: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the demo to change."""
    return Path(shutil.copytree(kept[0], tmp_path / "copy"))


def edit(data: Path, statement: str) -> None:
    file = sqlite3.connect(data / "slotcast.db")
    with file:
        assert file.execute(statement).rowcount >= 1
    file.close()


def forecasts(data: Path) -> list[Any]:
    with sqlite3.connect(data / "slotcast.db") as file:
        return [json.loads(v) for (v,) in file.execute("SELECT value FROM forecasts ORDER BY id")]


def test_a_demo_is_proved_from_a_snapshot_though_its_beginning_is_gone(
    kept: tuple[Path, Path], copy: Path
) -> None:
    edit(copy, "UPDATE ends SET first = 2000 WHERE topic = 'ticks'")
    edit(copy, "DELETE FROM ticks WHERE id < 2000")
    offset = forecasts(copy)[-1]["tick"]["offset"]

    alone = command("verify", "--data", str(copy))
    done = command("verify", "--data", str(copy), "--from-snapshot", str(kept[1]))
    derived = command(
        "derive", "0", str(offset), "--data", str(copy), "--from-snapshot", str(kept[1])
    )

    assert alone.returncode == 2
    assert done.returncode == 0, done.stdout + done.stderr
    assert "records 2,000 to 3,500 give 1,500 forecasts" in done.stdout
    assert "what is before 2,000 is out of scope (2,000 forecasts" in done.stdout
    assert (derived.returncode, derived.stdout.splitlines()[-1]) == (0, "the same bytes")


TAMPERINGS = {
    "repeated": "UPDATE forecasts SET value = (SELECT value FROM forecasts WHERE id = 2990),"
    " key = (SELECT key FROM forecasts WHERE id = 2990) WHERE id = 3000",
    "differing": "UPDATE forecasts SET value ="
    " CAST(replace(CAST(value AS TEXT), '\"value\":', '\"value\":1') AS BLOB) WHERE id = 3000",
}


@pytest.mark.parametrize("fault", TAMPERINGS)
def test_tampering_is_found_from_a_snapshot(
    kept: tuple[Path, Path], copy: Path, fault: str
) -> None:
    edit(copy, TAMPERINGS[fault])

    done = command("verify", "--data", str(copy), "--from-snapshot", str(kept[1]), "--json")

    assert done.returncode == 1
    assert faults(done)[fault] == 1


def test_a_damaged_snapshot_decides_nothing(kept: tuple[Path, Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    content = bytearray(kept[1].read_bytes())
    content[5_000] ^= 1
    damaged.write_bytes(content)

    verified = command("verify", "--data", str(kept[0]), "--from-snapshot", str(damaged))
    imported = command(
        "import", str(damaged), "--instrument", "X", "--data", str(kept[0]), "--wait-s", "0"
    )

    assert verified.returncode == 2
    assert "checksum does not match" in verified.stderr
    assert imported.returncode == 1
    assert "checksum does not match" in imported.stderr


def test_memory_goes_on_in_another_log(kept: tuple[Path, Path], tmp_path: Path) -> None:
    data, file = kept
    fresh = tmp_path / "fresh"
    name = forecasts(data)[0]["instrument"]
    original = [f for f in forecasts(data) if f["instrument"] == name]
    later = [f for f in original if f["tick"]["offset"] >= 2000]
    assert process(*DEMO, "--data", str(fresh), "--ticks", "1").returncode == 0

    arguments = ("--instrument", name, "--as", "NEW", "--data", str(fresh), "--wait-s", "0")
    done = command("import", str(file), *arguments)
    with (
        sqlite3.connect(data / "slotcast.db") as old,
        sqlite3.connect(fresh / "slotcast.db") as new,
    ):
        ticks = old.execute(
            "SELECT timestamp_ms, value FROM ticks WHERE id >= 2000 AND key = ?", (name.encode(),)
        ).fetchall()
        first = new.execute("SELECT next FROM ends WHERE topic = 'ticks'").fetchone()[0]
        renamed = [(t, v.replace(name.encode(), b"NEW")) for t, v in ticks]
        new.executemany(
            "INSERT INTO ticks VALUES (?, ?, ?, ?, NULL)",
            [(first + i, t, b"NEW", v) for i, (t, v) in enumerate(renamed)],
        )
        new.execute("UPDATE ends SET next = ? WHERE topic = 'ticks'", (first + len(ticks),))
    old.close()
    new.close()
    assert process(*DEMO, "--data", str(fresh), "--ticks", "1").returncode == 0

    assert done.returncode == 0, done.stderr
    assert "partition 0, offset 1: in the log, not committed yet" in done.stdout
    found = [f for f in forecasts(fresh) if f["instrument"] == "NEW"]
    assert [f["targets"] for f in found] == [f["targets"] for f in later]
    assert [f["tick"]["ticks"] for f in found] == [f["tick"]["ticks"] for f in later]
    assert {f["tick"]["origin"] for f in found} == {1}
    assert command("verify", "--data", str(fresh)).returncode == 0


def test_a_reset_is_a_record_of_the_log(copy: Path) -> None:
    name = forecasts(copy)[0]["instrument"]
    end = 3500

    one = command("reset", name, "--data", str(copy), "--wait-s", "0")
    every = command("reset", "--all", "--data", str(copy), "--wait-s", "0")
    neither = command("reset", "--data", str(copy))
    assert process(*DEMO, "--data", str(copy), "--ticks", "100").returncode == 0

    assert f"partition 0, offset {end}: in the log" in one.stdout
    assert f"partition 0, offset {end + 1}: in the log" in every.stdout
    assert neither.returncode == 2
    assert all(f["tick"]["origin"] > end + 1 for f in forecasts(copy)[-100:])
    assert command("verify", "--data", str(copy)).returncode == 0


def test_a_snapshot_is_shown(kept: tuple[Path, Path]) -> None:
    data, file = kept
    name = forecasts(data)[0]["instrument"]
    at = ("--data", str(data))

    store = json.loads(command("inspect", *at, "--json", "--limit", "0").stdout)
    one = json.loads(command("inspect", str(file), *at, "--json", "--instrument", name).stdout)
    table = command("inspect", str(file), *at, "--limit", "3")
    foreign = command("inspect", str(file))

    (now,), (then,) = store["partitions"], one["partitions"]
    assert (now["watermark"], now["committed"], now["behind"], now["rows"]) == (3500, 3500, 0, 20)
    assert [i["instrument"] for i in now["instruments"]] == sorted(
        {f["instrument"] for f in forecasts(data)}
    )
    (row,) = then["instruments"]
    last = next(f for f in reversed(forecasts(data)[:2000]) if f["instrument"] == name)
    assert (row["applied"], row["ticks"]) == (last["tick"]["offset"], last["tick"]["ticks"])
    assert row["targets"][0]["forecast"] == last["targets"]["price"]["forecast"]
    assert row["targets"][0]["skill"] == last["targets"]["price"]["skill"]
    assert "3 of 20 rows: --limit 0 shows all" in table.stdout
    assert foreign.returncode == 0
    assert "give that bundle and its schema with --config" in foreign.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import", "nowhere", "--instrument", "A"), "nowhere"),
        (("inspect", "nowhere"), "nowhere"),
        (("inspect", __file__), "not a snapshot file"),
        (("export", __file__), "is there already"),
        (("export", "new", "--instrument", "unheard-of"), "unheard-of is in no snapshot"),
    ],
)
def test_what_cannot_be_done_names_it(
    kept: tuple[Path, Path], tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    arguments = tuple(str(tmp_path / a) if a == "new" else a for a in arguments)

    done = command(*arguments, "--data", str(kept[0]))

    assert done.returncode == 1
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


# Kafka


@pytest.fixture
def worker(kafka: Broker, redis_url: str, redis_prefix: str, tmp_path: Path) -> Iterator[Serving]:
    one = Serving(tmp_path, kafka.bootstrap, redis_url, redis_prefix, SCHEMA, 2)
    one.start()
    yield one
    one.kill()
    one.topics.close()


def test_memory_on_kafka(worker: Serving, tmp_path: Path) -> None:
    market, file = Market(30), tmp_path / "kafka.snapshot"
    at = ("--config", str(worker.config))
    fed = feed(worker, market, 2_000)
    worker.wait_committed(fed)
    exported = command("export", str(file), *at)  # the worker runs on
    names = {json.loads(f.value)["instrument"] for f in worker.forecasts(0)}

    imported = command("import", str(file), "--instrument", min(names), "--as", "NEW", *at)
    home = command(
        "import", str(file), "--instrument", min(names), "--as", "NEW", "--partition", "1", *at
    )
    reset = command("reset", max(names), *at)
    everything = command("reset", "--all", *at)
    fed = [fed[0] + 2, fed[1] + 2]
    more = feed(worker, market, 1_000)
    worker.wait_committed([a + b for a, b in zip(fed, more, strict=True)])
    section = json.loads(command("inspect", str(file), *at, "--json").stdout)["partitions"][0]
    worker.topics.trim(0, section["watermark"])
    alone = command("verify", *at)
    proved = command("verify", *at, "--from-snapshot", str(file))

    assert exported.returncode == 0, exported.stderr
    assert section["topic"] == worker.kafka.ticks
    assert len(section["topic_id"]) > 10
    assert (imported.returncode, home.returncode) == (1, 0), home.stderr
    assert "give the one that its ticks are sent to, with --partition" in imported.stderr
    assert "partition 1" in home.stdout
    assert "committed" in home.stdout
    assert reset.stdout.startswith("partition 0")
    assert everything.stdout.count("committed") == 2
    assert alone.returncode == 2
    assert proved.returncode == 0, proved.stdout + proved.stderr
