"""P3: the same job on the same topic by other stream processors, slotcast, and bare echoes.

    make bench-peers
    make bench-peers ARGS="--ticks 20000 --rounds 1 --only slotcast bytewax"

Contestants take turns on one tick topic of 400 instruments and one broker, each a process with a
group and an output topic of its own. All step the same 2 x LSTM 64 but Kafka Streams, which has no
model, and the echoes. The peers do less than slotcast: no learnt scale, no readout, no intervals,
and a forecast record of a fifth of the size. What is not installed is named, with the reason.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.networks import build, bundle_of
from benchmarks.pace import output_topic
from benchmarks.report import Spread, goal, number, ratio, show, write
from benchmarks.workers import Bench, Run, bench
from slotcast_models.bundle import STEP, save_bundle

HERE = Path(__file__).parent
PYTHON = Path(".venv-peers/bin/python")
LIBS = Path("build/peers/libs")
INSTRUMENTS = 400
SLOW_TICKS = {"Keras, predict": 200, "Keras, predict_on_batch": 2_000}
"""Enough of those that take milliseconds per tick."""
OURS = "slotcast, librdkafka"
OURS_AT_LEAST_ONCE = f"{OURS}, at least once"
GOALS = {
    "Bytewax, stateful_map": (OURS_AT_LEAST_ONCE, 3.0),
    "Quix Streams": (OURS, 8.0),
    "Kafka Streams, no model": (OURS, 1.0),
}
"""Which of ours is to be how many times as fast: the one with the same guarantee."""


@dataclass(frozen=True)
class Contestant:
    """Who takes part: its guarantee, how to start it, and what it lacks here ("" for nothing)."""

    guarantee: str
    start: Callable[[], AbstractContextManager[Run]]
    lacks: str = ""


class Race:
    """The contestants on one tick topic."""

    def __init__(self, here: Bench, ticks: str) -> None:
        self._here, self._ticks = here, ticks
        bundle, self._bundle = bundle_of(build()), here.folder / "bundle"
        save_bundle(self._bundle, bundle.manifest, {STEP: bundle.program})

    def contestants(self) -> dict[str, Contestant]:
        """All of them, in the order of the table."""
        python, keras = (
            [str(PYTHON), "-m"],
            [sys.executable, "-m", "benchmarks.peers.keras_consumer"],
        )
        bytewax = [*python, "bytewax.run", "benchmarks.peers.bytewax_flow"]
        java = ["java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{LIBS}/*"]
        streams = [*java, str(HERE / "streams" / "Peer.java")]
        once, least = "exactly once", "at least once"
        return {
            "echo, kafka-python": Contestant(once, lambda: self._echo("kafka-python")),
            "slotcast, kafka-python": Contestant(once, lambda: self._worker("kafka-python")),
            "echo, librdkafka": Contestant(once, lambda: self._echo("librdkafka")),
            OURS: Contestant(once, lambda: self._worker("librdkafka")),
            OURS_AT_LEAST_ONCE: Contestant(
                least, lambda: self._worker("librdkafka", delivery="at-least-once")
            ),
            "Kafka Streams, no model": self._peer(once, streams, _without_streams()),
            "Bytewax, stateful_map": self._peer(least, bytewax, _without("bytewax")),
            "Bytewax, own waves": self._peer(
                f"{least}, memory lost", bytewax, _without("bytewax"), BATCHED="1"
            ),
            "Quix Streams": self._peer(
                once, [*python, "benchmarks.peers.quix_flow"], _without("quixstreams")
            ),
            "Keras, predict_on_batch": self._peer(least, [*keras, "predict_on_batch"]),
            "Keras, predict": self._peer(least, [*keras, "predict"]),
        }

    def _worker(self, client: str, delivery: str = "exactly-once") -> AbstractContextManager[Run]:
        ways = {"KAFKA__CLIENT": client, "KAFKA__DELIVERY": delivery}
        return self._here.worker(self._ticks, BUNDLE__PATH=self._bundle, **ways)

    def _echo(self, client: str) -> AbstractContextManager[Run]:
        return self._here.echo(self._ticks, KAFKA__CLIENT=client)

    def _peer(self, guarantee: str, command: list[str], lacks: str = "", **more: str) -> Contestant:
        def start() -> AbstractContextManager[Run]:
            output = output_topic(self._here.broker, "peer")
            given = {
                "BOOTSTRAP": self._here.broker.bootstrap,
                "TICKS": self._ticks,
                "FORECASTS": output,
                "STEP": str(self._bundle / STEP),
                "PYTHONWARNINGS": "ignore",
            }
            return self._here.process(command, output, given | more)

        return Contestant(guarantee, start, lacks)


def _without(package: str) -> str:
    """Why this package cannot be used; "" if it can."""
    if not PYTHON.exists():
        return f"{PYTHON} is not there: run  make bench-peers  with Python 3.11 or 3.12"
    command = [str(PYTHON), "-W", "ignore", "-c", f"import {package}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.stderr.strip().splitlines()[-1] if ran.returncode else ""


def _without_streams() -> str:
    return "" if any(LIBS.glob("kafka-streams-*.jar")) else f"its jars are not in {LIBS}"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ticks", type=int, default=300_000, help="ticks per run")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", nargs="+", help="contestants whose name has one of these")
    given = options.parse_args()
    samples: dict[str, list[float]] = {}
    with bench() as here:
        feed = here.feed(INSTRUMENTS)
        feed.send(given.ticks)
        everyone = Race(here, feed.topic).contestants()
        chosen = {n: c for n, c in everyone.items() if _is_wanted(n, given.only)}
        for turn in range(-1, given.rounds):  # the first turn warms the broker up
            for name, contestant in chosen.items():
                if contestant.lacks or (turn < 0 and name in SLOW_TICKS):
                    continue
                found = _pace(name, contestant, given.ticks)
                if turn >= 0:
                    samples.setdefault(name, []).append(found)
    report(samples, chosen, given.ticks)


def _is_wanted(name: str, only: list[str] | None) -> bool:
    return only is None or any(part.casefold() in name.casefold() for part in only)


def _pace(name: str, contestant: Contestant, ticks: int) -> float:
    total = min(ticks, SLOW_TICKS.get(name, ticks))
    with contestant.start() as run:
        return run.pace(total, all_of_them=total == ticks)


def report(samples: dict[str, list[float]], chosen: dict[str, Contestant], ticks: int) -> None:
    """Table, goals and JSON."""
    ours = samples.get(OURS)
    rows, goals, times = [], [], {}
    for name, contestant in chosen.items():
        found = samples.get(name)
        if found is None:
            rows.append([name, contestant.guarantee, contestant.lacks, ""])
            continue
        times[name] = ratio(ours, found) if ours else None
        much = f"{number(times[name].median)} x" if times[name] and name != OURS else ""
        rows.append([name, contestant.guarantee, Spread.of(found).text(), much])
        who, wanted = GOALS.get(name, ("", 0.0))
        if who in samples:
            lead = ratio(samples[who], found).median
            line = f"{who}: {number(lead)} x {name} (goal {wanted:.0f} x)"
            goals.append(goal(lead >= wanted, line))
    title = f"P3: {number(ticks)} ticks of {INSTRUMENTS} instruments, 2 x LSTM 64, one broker"
    show(title, ["", "delivery", "ticks/s", f"{OURS}, is"], rows, *goals)
    spreads = {name: Spread.of(found) for name, found in samples.items()}
    lacking = {name: c.lacks for name, c in chosen.items() if c.lacks}
    write("peers", {"ticks": ticks, "ticks_per_s": spreads, "ours_is": times, "lacking": lacking})


if __name__ == "__main__":
    main()
