"""Seconds from process start to ready (`/v2/health/ready` answers 200) and to the first forecast.

    make bench-start

Embedded and on Kafka with Redis, each with a warm compile cache and, once, with a cold one. The
Kafka worker restarts with 400 instruments in its snapshot, after a clean stop and after kill -9.
Beside it: the time to import the package and print help.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.report import Spread, goal, number, show, write
from benchmarks.topics import SCHEMA
from slotcast.feeds.simulator import Market, encode
from tests.e2e.running import Serving
from tests.servers import KafkaServer, RedisServer, free_ports

READY_GOAL_S = 3.0
COMMAND = [sys.executable, "-m", "slotcast.cli"]


def until(happens: Callable[[], bool], begun: float, limit_s: float = 120.0) -> float:
    """Seconds since `begun` when `happens` first says so."""
    while not _holds(happens):
        if time.perf_counter() - begun > limit_s:
            raise TimeoutError(f"not within {limit_s} s")
        time.sleep(0.01)
    return time.perf_counter() - begun


def _holds(happens: Callable[[], bool]) -> bool:
    try:
        return happens()
    except (URLError, OSError):
        return False


def answers(url: str) -> bool:
    """Whether this address answers 200."""
    with urlopen(url) as answer:
        return bool(answer.status == 200)


def has_forecast(url: str) -> bool:
    """Whether the service has committed a forecast since it started."""
    with urlopen(f"{url}/summary") as answer:
        return bool(json.load(answer)["forecasts"] > 0)


def start_demo(data: Path, cache: Path | None) -> tuple[float, float]:
    """(seconds to ready, seconds to the first forecast) of `slotcast demo`."""
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, **({"XDG_CACHE_HOME": str(cache)} if cache else {})}
    begun = time.perf_counter()
    demo = subprocess.Popen(
        [*COMMAND, "demo", "--port", str(port), "--data", str(data)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    try:
        ready = until(lambda: answers(f"{url}/v2/health/ready"), begun)
        return ready, until(lambda: has_forecast(url), begun)
    finally:
        demo.terminate()
        demo.wait()


def start_serving(serving: Serving) -> float:
    """Seconds to ready of `slotcast serve`."""
    begun = time.perf_counter()
    serving.start()
    return until(lambda: answers(f"{serving.url}/v2/health/ready"), begun)


def on_kafka(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Restarts on a real broker with 400 instruments in the snapshot."""
    found: dict[str, list[float]] = {"clean stop": [], "kill -9": []}
    with KafkaServer() as broker, RedisServer() as redis:
        serving = Serving(folder, broker.bootstrap, redis.url, "start", SCHEMA, 1)
        serving.config.write_text(serving.config.read_text().replace("slots = 8", "slots = 1024"))
        serving.start()
        market, stamp = Market(), round(time.time() * 1e3)
        keys, values = encode(market.next(20_000), market.names)
        serving.topics.feed(0, [(k, v, stamp, None) for k, v in zip(keys, values, strict=True)])
        serving.wait_committed([20_000])
        for _ in range(rounds):
            serving.stop()
            found["clean stop"].append(start_serving(serving))
            serving.kill()
            found["kill -9"].append(start_serving(serving))
        serving.kill()
        serving.topics.close()
    return found


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=3)
    rounds = options.parse_args().rounds
    samples: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples["slotcast --help"] = [_help_s() for _ in range(rounds)]
        cold = start_demo(folder / "cold", folder / "cache")
        samples["demo, cold cache: ready"] = [cold[0]]
        start_demo(folder / "demo", None)
        warm = [start_demo(folder / "demo", None) for _ in range(rounds)]
        samples["demo, warm cache: ready"] = [ready for ready, _ in warm]
        samples["demo, warm cache: first forecast"] = [first for _, first in warm]
        for how, found in on_kafka(folder, rounds).items():
            samples[f"serve on Kafka after {how}: ready"] = found
    rows = [[name, Spread.of(found).text()] for name, found in samples.items()]
    goals = [
        goal(
            Spread.of(found).median <= READY_GOAL_S, f"{name}: {number(Spread.of(found).median)} s"
        )
        for name, found in samples.items()
        if name.endswith("ready") and "cold" not in name
    ]
    show(
        "From process start, seconds (goal: ready within 3 s, warm cache)", ["", "s"], rows, *goals
    )
    write("start", {name: Spread.of(found) for name, found in samples.items()})


def _help_s() -> float:
    begun = time.perf_counter()
    subprocess.run([*COMMAND, "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
