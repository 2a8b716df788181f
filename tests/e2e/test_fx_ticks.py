"""Real quotes through the whole of it: a file, Kafka, the worker, Redis, the forecast topic."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from tests.e2e.running import Serving, by_identity
from tests.servers import Broker

ROWS = 30_000
SCHEMA = """
[schema]
targets = ["bid", "ask"]
max_ahead_ms = 1000000000000
"""


def produce(serving: Serving, file: Path) -> None:
    command = ["produce", str(file), "--config", str(serving.config)]
    subprocess.run([sys.executable, "-m", "slotcast.cli", *command], check=True, timeout=90)


def first_rows(shared_data: Path, folder: Path) -> tuple[Path, list[dict]]:
    table = pq.read_table(shared_data / "fx_ticks" / "fx_ticks.parquet").slice(0, ROWS)
    file = folder / "fx.parquet"
    pq.write_table(table, file)
    return file, table.to_pylist()


def test_every_quote_gets_its_forecast(
    kafka: Broker, redis_url: str, redis_prefix: str, tmp_path: Path, shared_data: Path
) -> None:
    file, rows = first_rows(shared_data, tmp_path)
    serving = Serving(tmp_path, kafka.bootstrap, redis_url, redis_prefix, SCHEMA, 1)
    serving.start()

    produce(serving, file)
    serving.wait_committed([ROWS])

    found = by_identity(serving.forecasts(0))
    serving.kill()
    serving.topics.close()
    crossed = [i for i, row in enumerate(rows) if row["ask"] < row["bid"]]
    shared = [
        i for i in range(1, ROWS)
        if rows[i]["ts"] == rows[i - 1]["ts"]
        and rows[i]["instrument"] == rows[i - 1]["instrument"]
    ]  # fmt: skip
    assert len(crossed) > 10
    assert len(shared) > 10
    assert sorted(found) == list(range(ROWS))
    assert serving.dead_letters(0) == []
    for i in (*crossed[:5], *shared[:5], ROWS - 1):
        record = json.loads(found[i][1])
        assert (record["instrument"], record["ts"]) == (rows[i]["instrument"], rows[i]["ts"])
        assert record["targets"]["bid"]["naive"] == rows[i]["bid"]
        assert record["targets"]["ask"]["naive"] == rows[i]["ask"]


def test_crossed_quotes_are_dead_letters_where_the_schema_says_so(
    kafka: Broker, redis_url: str, redis_prefix: str, tmp_path: Path, shared_data: Path
) -> None:
    file, rows = first_rows(shared_data, tmp_path)
    schema = SCHEMA + 'ordered = ["bid", "ask"]\n'
    serving = Serving(tmp_path, kafka.bootstrap, redis_url, redis_prefix, schema, 1)
    serving.start()

    produce(serving, file)
    serving.wait_committed([ROWS])

    letters = serving.dead_letters(0)
    found = by_identity(serving.forecasts(0))
    serving.kill()
    serving.topics.close()
    crossed = [i for i, row in enumerate(rows) if row["ask"] < row["bid"]]
    assert [int(dict(letter.headers)["slotcast-offset"]) for letter in letters] == crossed
    assert sorted(found) == sorted(set(range(ROWS)) - set(crossed))
