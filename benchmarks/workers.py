"""Processes on a tick topic that is already full: how fast they are, and what memory they take."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pace import output_topic, pace
from benchmarks.topics import DEFAULTS, SCHEMA, Feed, servers
from slotcast.feeds.simulator import Market
from tests.e2e.running import Serving
from tests.servers import Broker


@dataclass(frozen=True)
class Run:
    """A process at work, and the topic of its forecasts."""

    broker: Broker
    child: subprocess.Popen[bytes]
    output: str

    def pace(self, total: int, settled: int = 0, *, all_of_them: bool = True) -> float:
        """Its ticks per second after the first `settled`, when it has done `total`."""
        return pace(self.broker, self.output, total, self.runs, settled, all_of_them=all_of_them)

    def runs(self) -> bool:
        """Whether the process is alive."""
        return self.child.poll() is None

    def resident_mb(self) -> float:
        """Memory of the process that is in use now (RSS)."""
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) / 1024


@dataclass(frozen=True)
class WorkerRun(Run):
    """A worker, which can also be asked."""

    serving: Serving


@dataclass(frozen=True)
class Bench:
    """Servers and a folder for the processes of one benchmark."""

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
    ) -> Iterator[WorkerRun]:
        """A new group's only worker, started at the topic's beginning and killed at the end.

        `settings` are environment variables without their prefix. Of its forecasts the broker keeps
        the last `keep_mb`, or all (0).
        """
        output = output_topic(self.broker, "out", partitions, keep_mb)
        serving = self._serving(partitions)
        try:
            serving.start(**_environment(ticks, output, settings))
            assert serving.process is not None
            yield WorkerRun(self.broker, serving.process, output, serving)
        finally:
            serving.kill()
            serving.topics.close()

    @contextmanager
    def echo(self, ticks: str, **settings: object) -> Iterator[Run]:
        """The same with an echo in the worker's place."""
        output, serving = output_topic(self.broker, "out"), self._serving(1)
        command = [sys.executable, "-m", "benchmarks.echo", str(serving.config)]
        try:
            with self.process(command, output, _environment(ticks, output, settings)) as run:
                yield run
        finally:
            serving.topics.close()

    @contextmanager
    def process(
        self, command: Sequence[str], output: str, environment: Mapping[str, str]
    ) -> Iterator[Run]:
        """Any process that fills the topic `output`, killed at the end."""
        log = self.folder / f"{output}.log"
        with log.open("wb") as written:
            child = subprocess.Popen(
                command, stdout=written, stderr=written, env={**os.environ, **environment}
            )
        try:
            yield Run(self.broker, child, output)
        except RuntimeError as error:
            raise RuntimeError(f"{error}: {log.read_text()[-2_000:]}") from error
        finally:
            child.kill()
            child.wait()

    def _serving(self, partitions: int) -> Serving:
        name = f"w-{uuid.uuid4().hex[:8]}"
        address = (self.broker.bootstrap, self.redis_url, name)
        return Serving(self.folder / name, *address, SCHEMA, partitions)


def _environment(ticks: str, output: str, settings: Mapping[str, object]) -> dict[str, str]:
    changed = {"KAFKA__TICKS": ticks, "KAFKA__FORECASTS": output, **settings}
    return DEFAULTS | {f"SLOTCAST_{name}": str(value) for name, value in changed.items()}


@contextmanager
def bench() -> Iterator[Bench]:
    """Servers and a folder that are gone afterwards."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        yield Bench(*servers(stack), Path(name))
