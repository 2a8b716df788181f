"""P4: milliseconds from a tick's timestamp to its forecast in a reader's hands, beside an echo.

    make bench-latency
    make bench-latency ARGS="--rates 1000 --rounds 5 --clients librdkafka"

One process sends ticks at a steady rate and reads the committed forecasts; the worker (`slotcast
serve`, default bundle, snapshots in Redis) is another, the broker a third. The echo is the same log
adapter in the worker's place, passing records on; both with each client library. They take turns;
every figure is the median of its rounds. Timestamps are whole milliseconds. The measuring process
uses librdkafka throughout, so that 10,000 ticks/s are no trouble to it.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import product
from typing import Any

import numpy as np
from confluent_kafka import OFFSET_END, Consumer, KafkaException, Producer, TopicPartition

from benchmarks.report import goal, number, show, write
from benchmarks.workers import Bench, Run, bench
from slotcast.feeds.simulator import Market, encode

CLIENTS = ("kafka-python", "librdkafka")
MODES = ("exactly-once", "at-least-once")
WHO = ("echo", "slotcast")
PERCENTILES = (50, 99, 99.9)
RATE = 1_000
"""The rate that the goals are for."""
PULSE_S = 0.005
AT_ONCE = 1_000
SETTLE_S = 2.0
PATIENCE_S = 60.0
P50_GOAL_MS = 12.0
P50_MARGIN_MS, P99_MARGIN_MS = 2.0, 5.0


def send(bootstrap: str, ticks: str, rate: int, stop: threading.Event) -> None:
    """Ticks of the market at a steady rate, stamped with the present."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    market, begun, sent = Market(), time.monotonic(), 0
    while not stop.wait(PULSE_S):
        due = int((time.monotonic() - begun) * rate) - sent
        keys, values = encode(market.next(due), market.names) if due > 0 else ([], [])
        for key, value in zip(keys, values, strict=True):
            producer.produce(ticks, value, key)
        producer.poll(0)
        sent += due
    producer.flush(PATIENCE_S)


def read(bootstrap: str, output: str, seconds: float) -> np.ndarray:
    """Latencies in ms of what arrives in `seconds`, once forecasts have come for a while."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "onlooker",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 5,
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.assign([TopicPartition(output, 0, OFFSET_END)])
    found: list[float] = []
    begun, heard = time.monotonic(), 0.0
    while not heard or time.monotonic() < heard + SETTLE_S + seconds:
        # One, as soon as it is there; then those that came with it.
        records = consumer.consume(1, 0.05)
        records += consumer.consume(AT_ONCE, 0) if records else []
        for error in filter(None, (record.error() for record in records)):
            raise KafkaException(error)
        now_ms = time.time() * 1e3
        heard = heard or (time.monotonic() if records else 0.0)
        if heard and time.monotonic() > heard + SETTLE_S:
            found += [now_ms - record.timestamp()[1] for record in records]
        if not heard and time.monotonic() > begun + PATIENCE_S:
            raise RuntimeError(f"no forecast in {output} within {PATIENCE_S:.0f} s")
    consumer.close()
    return np.array(found)


def measure(run: Run, ticks: str, rate: int, seconds: float) -> list[float]:
    """Percentiles at this rate, of whatever serves these topics."""
    stop, bootstrap = threading.Event(), run.broker.bootstrap
    sender = threading.Thread(target=send, args=(bootstrap, ticks, rate, stop))
    sender.start()
    try:
        latencies = read(bootstrap, run.output, seconds)
    finally:
        stop.set()
        sender.join()
    if len(latencies) < rate * seconds / 2:
        raise RuntimeError(f"only {len(latencies)} forecasts of {rate * seconds:.0f} came in time")
    percentiles: list[float] = np.percentile(latencies, PERCENTILES).tolist()
    return percentiles


def starting(
    at: Bench, who: str, ticks: str, client: str, mode: str
) -> AbstractContextManager[Run]:
    """One contestant on this tick topic."""
    ways: Any = {"KAFKA__CLIENT": client, "KAFKA__DELIVERY": mode}
    return at.echo(ticks, **ways) if who == "echo" else at.worker(ticks, **ways)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rates", type=int, nargs="+", default=[100, RATE, 4_000, 10_000])
    options.add_argument("--seconds", type=float, default=5.0)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--clients", nargs="+", choices=CLIENTS, default=CLIENTS)
    given = options.parse_args()
    samples: dict[str, dict[int, list[list[float]]]] = {}
    with bench() as at:
        for _, client, mode, who in product(range(given.rounds), given.clients, MODES, WHO):
            ticks = at.broker.fresh_topic()
            by_rate = samples.setdefault(f"{who}, {client}, {mode}", {})
            with starting(at, who, ticks, client, mode) as run:
                for rate in given.rates:
                    by_rate.setdefault(rate, []).append(measure(run, ticks, rate, given.seconds))
    found = {
        way: {rate: np.median(rounds, axis=0).tolist() for rate, rounds in by_rate.items()}
        for way, by_rate in samples.items()
    }
    report(found, given.rates, given.clients)


def report(
    found: dict[str, dict[int, list[float]]], rates: list[int], clients: Sequence[str]
) -> None:
    """Table, goals and JSON."""
    rows = [
        [who, *(" / ".join(number(ms) for ms in by_rate[rate]) for rate in rates)]
        for who, by_rate in found.items()
    ]
    goals = []
    for way in (f"{client}, {mode}" for client, mode in product(clients, MODES)):
        if RATE not in rates:
            break
        ours, bare = found[f"slotcast, {way}"][RATE], found[f"echo, {way}"][RATE]
        near = ours[0] <= bare[0] + P50_MARGIN_MS and ours[1] <= bare[1] + P99_MARGIN_MS
        margins = f"p50 within {P50_MARGIN_MS:.0f} ms, p99 within {P99_MARGIN_MS:.0f} ms"
        goals.append(goal(near, f"{way} at {RATE:,}/s: {margins} of the echo"))
        if "exactly" in way:
            soon = ours[0] <= P50_GOAL_MS
            goals.append(goal(soon, f"{way} at {RATE:,}/s: p50 at most {P50_GOAL_MS:.0f} ms"))
    columns = ["ms: p50 / p99 / p99.9", *(f"{rate:,} ticks/s" for rate in rates)]
    show("P4: tick timestamp to forecast read, one broker on this machine", columns, rows, *goals)
    write("latency", {who: {str(r): ms for r, ms in by.items()} for who, by in found.items()})


if __name__ == "__main__":
    main()
