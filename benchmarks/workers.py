"""Worker processes on a tick topic that is already full: how fast, and how much memory."""

from __future__ import annotations

import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pace import output_topic, pace
from benchmarks.topics import DEFAULTS, SCHEMA, Feed, servers
from slotcast.simulator import Market
from tests.e2e.running import Serving
from tests.servers import Broker


@dataclass(frozen=True)
class Worker:
    """A worker process, and the topic of its forecasts."""

    broker: Broker
    serving: Serving
    output: str

    def pace(self, total: int, settled: int = 0) -> float:
        """Its ticks per second after the first `settled`, when it has done all of them."""
        return pace(self.broker, self.output, total, self.runs, settled)

    def runs(self) -> bool:
        """Whether the process is alive."""
        return self._child.poll() is None

    def resident_mb(self) -> float:
        """Memory of the process that is in use now (RSS)."""
        status = Path(f"/proc/{self._child.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) / 1024

    @property
    def _child(self) -> subprocess.Popen[bytes]:
        assert self.serving.process is not None
        return self.serving.process


@dataclass(frozen=True)
class Bench:
    """Servers and a folder for the workers of one benchmark."""

    broker: Broker
    redis_url: str
    folder: Path

    def feed(self, instruments: int, partitions: int = 1) -> Feed:
        """A tick topic of its own, and what fills it with a market's ticks."""
        topic = self.broker.fresh_topic(partitions)
        return Feed(self.broker.bootstrap, topic, Market(instruments), partitions)

    @contextmanager
    def worker(
        self, ticks: str, partitions: int = 1, keep_mb: int = 0, **settings: object
    ) -> Iterator[Worker]:
        """A new group's only worker, started at the topic's beginning and killed at the end.

        `settings` are environment variables without their prefix. Of its forecasts the broker keeps
        the last `keep_mb`, or all (0).
        """
        name = f"w-{uuid.uuid4().hex[:8]}"
        address = (self.broker.bootstrap, self.redis_url, name)
        serving = Serving(self.folder / name, *address, SCHEMA, partitions)
        output = output_topic(self.broker, name, partitions, keep_mb)
        changed = {"KAFKA__TICKS": ticks, "KAFKA__FORECASTS": output, **settings}
        try:
            serving.start(**DEFAULTS | {f"SLOTCAST_{k}": str(v) for k, v in changed.items()})
            yield Worker(self.broker, serving, output)
        finally:
            serving.kill()
            serving.topics.close()


@contextmanager
def bench() -> Iterator[Bench]:
    """Servers and a folder that are gone afterwards."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        yield Bench(*servers(stack), Path(name))
