"""P5: seconds from process start to the first live forecast in a reader's hands, beside an echo.

    make bench-restart
    make bench-restart ARGS="--instruments 400 --behind 0 --rounds 1"

A worker with so many instruments in its snapshot ends, ticks arrive, and it is started again:
after a clean stop, which completes the snapshot, and after kill -9 with the watermark so many ticks
behind, which are replayed first. The echo is the same client as a process that joins the same kind
of group and passes records on. Slots, polls and group settings are the defaults.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.report import Spread, goal, number, show, write
from benchmarks.topics import DEFAULTS, SCHEMA, Arrivals, Feed, servers
from slotcast.feeds.simulator import Market
from slotcast.log.kafka.topics import ensure_topics
from tests.e2e.running import Serving
from tests.servers import Broker

GOALS_S = {400: 3.0, 100_000: 4.0}
GOAL_BEHIND = 20_000
WAITING = 10
"""Ticks that wait for whoever starts."""
NEVER = {**DEFAULTS, "SLOTCAST_STORE__SNAPSHOT_INTERVAL_S": "1000000"}


class Restarts:
    """A worker, or an echo in its place, that is ended and started again."""

    def __init__(self, serving: Serving, instruments: int) -> None:
        self._serving = serving
        ensure_topics(serving.settings.kafka)
        self._feed = Feed(serving.kafka.bootstrap_servers, serving.kafka.ticks, Market(instruments))
        self._arrivals = Arrivals(serving.kafka)

    def fill(self) -> None:
        """Let the worker know every instrument and complete its snapshot."""
        self._serving.start(**DEFAULTS)
        self._feed.each_once()
        self._serving.wait_committed(self._feed.fed, 600)
        self._serving.stop()

    def leave_behind(self, ticks: int) -> None:
        """Let so many ticks be committed without a snapshot, and kill the worker."""
        if ticks:
            self._serving.start(**NEVER)
            self._feed.send(ticks)
            self._serving.wait_committed(self._feed.fed, 600)
            self._serving.kill()

    def measure(self, start: Callable[[], object]) -> float:
        """Seconds from `start` to the first forecast."""
        self._feed.send(WAITING)
        self._arrivals.skip()
        begun = time.perf_counter()
        start()
        return self._arrivals.first_s(begun)

    def worker(self, rounds: int, behind: list[int]) -> dict[str, list[float]]:
        """Samples of a worker, by how it ended."""
        serving = self._serving
        self.fill()
        found: dict[str, list[float]] = {"clean stop": []}
        for _ in range(rounds):
            found["clean stop"].append(self.measure(lambda: serving.start(**DEFAULTS)))
            serving.stop()
        for ticks in behind:
            self.leave_behind(ticks)
            samples = found[_killed(ticks)] = []
            for _ in range(rounds):
                samples.append(self.measure(lambda: serving.start(**NEVER)))
                serving.kill()
        return found

    def echo(self, rounds: int) -> dict[str, list[float]]:
        """Samples of an echo, by how it ended."""
        found: dict[str, list[float]] = {}
        for how, ending in (("clean stop", signal.SIGTERM), (_killed(0), signal.SIGKILL)):
            for warm_up in (True, *[False] * rounds):
                took = self.measure(self._start_echo)
                self._echo.send_signal(ending)
                self._echo.wait()
                if not warm_up:
                    found.setdefault(how, []).append(took)
        return found

    def _start_echo(self) -> None:
        command = [sys.executable, "-m", "benchmarks.echo", str(self._serving.config)]
        self._echo = subprocess.Popen(command, env={**os.environ, **DEFAULTS})

    def close(self) -> None:
        """End whatever runs."""
        if self._serving.process is not None:
            self._serving.kill()
        self._arrivals.close()
        self._serving.topics.close()


def _killed(behind: int) -> str:
    return f"kill -9, {behind:,} ticks behind"


@contextmanager
def restarts(folder: Path, broker: Broker, redis_url: str, instruments: int) -> Iterator[Restarts]:
    """Topics and a folder of its own; without instruments, for an echo."""
    prefix = f"restart-{instruments}"
    serving = Serving(folder / prefix, broker.bootstrap, redis_url, prefix, SCHEMA, 1)
    found = Restarts(serving, instruments or 400)
    try:
        yield found
    finally:
        found.close()


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--instruments", type=int, nargs="+", default=[400, 10_000, 100_000])
    options.add_argument("--behind", type=int, nargs="+", default=[0, 20_000, 200_000])
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    samples: dict[int, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        broker, redis_url = servers(stack)
        with restarts(Path(name), broker, redis_url, 0) as echo:
            bare = echo.echo(given.rounds)
        for instruments in given.instruments:
            with restarts(Path(name), broker, redis_url, instruments) as ours:
                samples[instruments] = ours.worker(given.rounds, given.behind)
    report(bare, samples)


def report(bare: dict[str, list[float]], samples: dict[int, dict[str, list[float]]]) -> None:
    """Table, goals and JSON."""
    columns = list(next(iter(samples.values())))
    rows = [["echo", *(_cell(bare.get(how)) for how in columns)]]
    rows += [
        [f"{n:,} instruments", *(_cell(by[how]) for how in columns)] for n, by in samples.items()
    ]
    slowest = max(Spread.of(found).median for found in bare.values())
    goals = []
    for instruments, most_s in GOALS_S.items():
        for how, found in samples.get(instruments, {}).items():
            if how in {"clean stop", _killed(0), _killed(GOAL_BEHIND)}:
                beyond = Spread.of(found).median - slowest
                line = f"{instruments:,} instruments, {how}: {number(beyond)} s beyond the echo"
                goals.append(goal(beyond <= most_s, f"{line} (goal {number(most_s)} s)"))
    title = "P5: seconds from process start to the first live forecast, after"
    show(title, ["", *columns], rows, *goals)
    write(
        "restart",
        {
            "echo_s": {how: Spread.of(found) for how, found in bare.items()},
            "slotcast_s": {
                str(n): {how: Spread.of(found) for how, found in by.items()}
                for n, by in samples.items()
            },
        },
    )


def _cell(found: list[float] | None) -> str:
    return Spread.of(found).text() if found else ""


if __name__ == "__main__":
    main()
