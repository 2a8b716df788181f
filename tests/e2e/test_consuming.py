"""The consumers of docs/consuming.md, as processes on a forecast topic that a worker fills."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import pytest

from tests.e2e.running import PRICE, Serving, market_ticks
from tests.servers import PATIENCE_S, Broker
from tests.unit.test_docs import blocks

TICKS = 100
SAMPLES = blocks("python", "docs/consuming.md")


@pytest.fixture
def worker(kafka: Broker, redis_url: str, redis_prefix: str, tmp_path: Path) -> Iterator[Serving]:
    worker = Serving(tmp_path, kafka.bootstrap, redis_url, redis_prefix, PRICE, 2)
    worker.start()
    ticks = market_ticks(TICKS, 2)
    worker.topics.feed_all(dict(enumerate(ticks)))
    worker.wait_committed([len(some) for some in ticks])
    yield worker
    worker.kill()
    worker.topics.close()


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_consumer_of_the_page_prints_every_forecast(
    worker: Serving, sample: str, tmp_path: Path
) -> None:
    due = sum(len(worker.forecasts(partition)) for partition in (0, 1))
    program = tmp_path / "consumer.py"
    here = {
        '"forecasts"': f'"{worker.kafka.forecasts}"',
        "localhost:9092": worker.kafka.bootstrap_servers,
        '"desk"': f'"{worker.kafka.group}-desk"',
        '"risk"': f'"{worker.kafka.group}-risk"',
    }
    for theirs, ours in here.items():
        sample = sample.replace(theirs, ours)
    program.write_text(sample)

    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as reader:
        patience = Timer(PATIENCE_S, reader.kill)
        patience.start()
        assert reader.stdout is not None
        lines = [reader.stdout.readline().split() for _ in range(due)]
        patience.cancel()
        reader.kill()

    assert due == TICKS
    assert all(line and line[0] for line in lines)
