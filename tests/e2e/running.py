"""A `slotcast serve` of one test: its own topics, prefix, config file and process.

Several of them with one prefix are workers of one group.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from slotcast.bootstrap import build_worker
from slotcast.feeds.simulator import Market, encode
from slotcast.log.memory.log import MemoryBroker, MemoryLog
from slotcast.metrics import Metrics
from slotcast.settings import KafkaSettings, Settings, WorkerSettings
from slotcast.store.memory import MemoryStore
from slotcast_models.schema import TickSchema
from tests.contract.kafka_topics import KafkaTopics, Record
from tests.servers import PATIENCE_S

PRICE = """
[schema]
targets = [{ name = "price", gt = 0, log = true }]
features = [{ name = "volume", ge = 0 }]
max_ahead_ms = 100000000000
"""
STAMP_MS = round(time.time() * 1e3)
"""The present: a broker deletes records whose timestamps are older than its retention."""


def market_ticks(count: int, partitions: int) -> list[list[Record]]:
    """Ticks of a small market by partition, stamped one after the other."""
    market = Market(40)
    keys, values = encode(market.next(count), market.names)
    found: list[list[Record]] = [[] for _ in range(partitions)]
    for i, (key, value) in enumerate(zip(keys, values, strict=True)):
        found[sum(key) % partitions].append((key, value, STAMP_MS + i, None))
    return found


def schema_of(text: str) -> TickSchema:
    """The schema of a config file."""
    return TickSchema.model_validate(tomllib.loads(text)["schema"])


class Serving:
    """Topics and a worker process that can be killed and started again.

    `kafka` are more lines for the section of that name.
    """

    def __init__(
        self,
        folder: Path,
        bootstrap: str,
        redis_url: str,
        prefix: str,
        schema: str,
        partitions: int,
        delivery: str = "exactly-once",
        instance_id: str | None = "worker-0",
        kafka: str = "",
    ) -> None:
        self.folder, self.partitions = folder, partitions
        folder.mkdir(exist_ok=True)
        if instance_id:
            kafka += f'\ninstance_id = "{instance_id}"'
        self.config = folder / "slotcast.toml"
        self.config.write_text(
            f"""
[kafka]
bootstrap_servers = "{bootstrap}"
group = "{prefix}"
ticks = "{prefix}-ticks"
forecasts = "{prefix}-forecasts"
dead_letters = "{prefix}-dead"
partitions = {partitions}
delivery = "{delivery}"
{kafka}
[store]
redis_url = "{redis_url}"
prefix = "{prefix}"
snapshot_interval_s = 0.2
[http]
port = 0
[worker]
slots = 8
max_poll_ticks = 200
{schema}
"""
        )
        self.settings = Settings.load(self.config)
        self.topics = KafkaTopics(self.settings.kafka)
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self._begun = 0
        self._log = folder / "serve.log"

    @property
    def kafka(self) -> KafkaSettings:
        return self.settings.kafka

    def start(self, **environment: str) -> None:
        """Start a worker and wait until it answers."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "slotcast.cli", "serve", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"} | environment,
            )
        self._wait_for(self._find_url, "no address in the log")

    def _find_url(self) -> bool:
        found = re.findall(r"serving on (http://\S+)", self._log.read_text())
        if fresh := len(found) > self._begun:
            self._begun, self.url = len(found), found[-1]
        return fresh

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """A polite end; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def get(self, path: str) -> Any:
        with urlopen(self.url + path, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def text(self, path: str) -> str:
        with urlopen(self.url + path, timeout=PATIENCE_S) as answer:
            return answer.read().decode()

    def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        data = json.dumps(body).encode() if body is not None else b""
        request = Request(
            self.url + path, data, {"Content-Type": "application/json"}, method="POST"
        )
        with urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, json.load(answer)

    def log_tail(self, lines: int = 30) -> str:
        """The last lines that the worker logged."""
        return "\n".join(self._log.read_text().splitlines()[-lines:])

    def wait_committed(self, ends: Sequence[int], timeout_s: float = PATIENCE_S) -> None:
        """Wait until the worker has committed these offsets (an empty partition: 0)."""

        def done() -> bool:
            try:
                partitions = self.get("/summary")["partitions"]
            except OSError:
                return False
            at = {p["partition"]: p["committed"] for p in partitions if p["phase"] == "live"}
            return all(at.get(p, -1) >= end for p, end in enumerate(ends))

        self._wait_for(done, f"not committed to {ends}", timeout_s)

    def _wait_for(self, ready: Any, complaint: str, timeout_s: float = PATIENCE_S) -> None:
        assert self.process is not None
        deadline = time.monotonic() + timeout_s
        while True:
            ended = self.process.poll()  # first: it may be ready and then be killed
            if ready():
                return
            if ended is not None or time.monotonic() > deadline:
                raise AssertionError(f"{complaint} (exit code {ended}):\n{self.log_tail()}")
            time.sleep(0.05)

    def forecasts(self, partition: int) -> list[Any]:
        return self.topics.records(self.kafka.forecasts, partition)

    def dead_letters(self, partition: int) -> list[Any]:
        return self.topics.records(self.kafka.dead_letters, partition)


def reference(
    schema: TickSchema, ticks: Sequence[Sequence[Record]]
) -> tuple[list[list[Any]], list[list[Any]]]:
    """(forecasts, dead letters) by partition of an uninterrupted run over the same log."""
    broker = MemoryBroker(len(ticks))
    for partition, records in enumerate(ticks):
        for key, value, timestamp_ms, control in records:
            broker.feed(partition, key, value, timestamp_ms, control)
    run_through(schema, broker)
    return broker.forecasts, broker.dead_letters


def run_through(schema: TickSchema, broker: MemoryBroker) -> None:
    """One worker without any trouble, until every record of the broker is committed."""
    settings = Settings(schema=schema, worker=WorkerSettings(slots=10_000))
    partitions = range(len(broker.ticks))
    worker = build_worker(settings, MemoryLog(len(partitions), broker), MemoryStore(), Metrics())
    while any(
        p not in broker.offsets or broker.place(p, broker.offsets[p].offset) < len(broker.ticks[p])
        for p in partitions
    ):
        worker.turn()


def by_identity(records: Sequence[Any]) -> dict[int, tuple[bytes, bytes]]:
    """Forecast records by the tick they answer; repeats must be the same bytes."""
    found: dict[int, tuple[bytes, bytes]] = {}
    for record in records:
        offset = json.loads(record.value)["tick"]["offset"]
        same = found.setdefault(offset, (record.key, record.value))
        assert same == (record.key, record.value), f"tick {offset} has two different forecasts"
    return found
