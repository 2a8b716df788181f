"""P4: milliseconds from a tick's timestamp to its forecast in a reader's hands, beside an echo.

    make bench-latency
    make bench-latency ARGS="--rates 1000 --seconds 20 --clients librdkafka"

One process sends ticks at a steady rate and reads the committed forecasts; the worker (`slotcast
serve`, default bundle, snapshots in Redis) is another, the broker a third. The echo is the same log
adapter in the worker's place, passing records on; both with each client library. Timestamps are
whole milliseconds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from benchmarks.report import goal, number, show, write
from slotcast.log.kafka import KafkaLog
from slotcast.log.port import Committed, Forecasts, Outbox
from slotcast.settings import Settings
from slotcast.simulator import Market, encode
from tests.e2e.running import Serving
from tests.servers import KafkaServer, RedisServer

CLIENTS = ("kafka-python", "librdkafka")
MODES = ("exactly-once", "at-least-once")
PERCENTILES = (50, 99, 99.9)
PULSE_S = 0.005
P50_GOAL_MS = 12.0
ECHO_MARGIN_MS = 2.0
SCHEMA = """
[schema]
targets = [{ name = "price", gt = 0, log = true }]
features = [{ name = "volume", ge = 0 }]
max_ahead_ms = 100000000000
"""


def echo(config: Path) -> None:
    """Pass records on, for ever."""
    settings = Settings.load(config)
    log = KafkaLog(settings.kafka)
    value = b"x" * 640
    while True:
        poll = log.poll(200, settings.worker.max_poll_ticks)
        for partition in poll.gained:
            committed = log.committed(partition)
            log.go(partition, committed.offset if committed else log.bounds(partition)[1])
        outbox = Outbox()
        for batch in poll.batches:
            keys: Any = batch.keys
            stamps = batch.timestamps_ms.tolist()
            columns = Forecasts(
                batch.partition, range(len(batch)), stamps, keys, [value] * len(batch)
            )
            outbox.forecasts.append(columns)
            outbox.offsets[batch.partition] = Committed(int(batch.offsets[-1]) + 1, "")
        if outbox.offsets:
            log.publish(outbox)


def send(settings: Settings, rate: int, stop: threading.Event) -> None:
    """Ticks of the market at a steady rate, stamped with the present."""
    producer = KafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers, linger_ms=0)
    market, begun, sent = Market(), time.monotonic(), 0
    while not stop.wait(PULSE_S):
        due = int((time.monotonic() - begun) * rate) - sent
        keys, values = encode(market.next(due), market.names) if due > 0 else ([], [])
        for key, value in zip(keys, values, strict=True):
            producer.send(settings.kafka.ticks, value, key)
        sent += due
    producer.close()


def read(settings: Settings, seconds: float, settle_s: float) -> np.ndarray:
    """Latencies in ms of what arrives in `seconds`, after `settle_s`."""
    consumer = KafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap_servers,
        isolation_level="read_committed",
        fetch_max_wait_ms=5,
    )
    at = TopicPartition(settings.kafka.forecasts, 0)
    consumer.assign([at])
    consumer.seek_to_end(at)
    found: list[float] = []
    begun = time.monotonic()
    while (age := time.monotonic() - begun) < settle_s + seconds:
        for records in consumer.poll(50).values():
            now_ms = time.time() * 1e3
            if age > settle_s:
                found += [now_ms - record.timestamp for record in records]
    consumer.close()
    return np.array(found)


def measure(settings: Settings, rates: list[int], seconds: float) -> dict[int, list[float]]:
    """Percentiles by rate, of whatever serves these topics."""
    found = {}
    for rate in rates:
        stop = threading.Event()
        sender = threading.Thread(target=send, args=(settings, rate, stop))
        sender.start()
        latencies = read(settings, seconds, settle_s=3.0)
        stop.set()
        sender.join()
        assert len(latencies) > rate * seconds * 0.5, f"{len(latencies)} forecasts at {rate}/s"
        found[rate] = np.percentile(latencies, PERCENTILES).tolist()
    return found


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rates", type=int, nargs="+", default=[100, 1_000, 4_000])
    options.add_argument("--seconds", type=float, default=8.0)
    options.add_argument("--clients", nargs="+", choices=CLIENTS, default=CLIENTS)
    options.add_argument("--echo", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.echo:
        echo(given.echo)
    found: dict[str, dict[int, list[float]]] = {}
    with (
        tempfile.TemporaryDirectory() as name,
        KafkaServer(heap_mb=512) as broker,
        RedisServer() as redis,
    ):
        contestants = (("echo", _start_echo), ("slotcast", _start_worker))
        for client, mode, (who, start) in product(given.clients, MODES, contestants):
            address = (broker.bootstrap, redis.url, f"{who}-{client}-{mode}")
            lines = f'client = "{client}"'
            serving = Serving(Path(name) / address[-1], *address, SCHEMA, 1, mode, kafka=lines)
            end = start(serving)
            way = f"{who}, {client}, {mode}"
            found[way] = measure(serving.settings, given.rates, given.seconds)
            end()
            serving.topics.close()
    report(found, given.rates, given.clients)


def _start_worker(serving: Serving) -> Callable[[], object]:
    text = serving.config.read_text().replace("slots = 8", "slots = 1024")
    serving.config.write_text(text.replace("max_poll_ticks = 200", "max_poll_ticks = 10000"))
    serving.start()
    serving.wait_committed([0])
    return serving.stop


def _start_echo(serving: Serving) -> Callable[[], object]:
    from slotcast.log.kafka_topics import ensure_topics

    ensure_topics(serving.settings.kafka)
    command = [sys.executable, "-m", "benchmarks.latency", "--echo", str(serving.config)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    time.sleep(4.0)  # it joins and goes to the end
    return process.kill


def report(
    found: dict[str, dict[int, list[float]]], rates: list[int], clients: Sequence[str]
) -> None:
    """Table, goals and JSON."""
    rows = [
        [who, *(" / ".join(number(ms) for ms in by_rate[rate]) for rate in rates)]
        for who, by_rate in found.items()
    ]
    goals = []
    for client, mode in product(clients, MODES):
        way = f"{client}, {mode}"
        for rate in set(rates) & {1_000}:
            ours, bare = found[f"slotcast, {way}"][rate], found[f"echo, {way}"][rate]
            near = all(o <= b + ECHO_MARGIN_MS for o, b in zip(ours[:2], bare[:2], strict=True))
            margin = f"within {ECHO_MARGIN_MS:.0f} ms of the echo in p50 and p99"
            goals.append(goal(near, f"{way} at {rate}/s: {margin}"))
            if mode == "exactly-once":
                goals.append(
                    goal(ours[0] <= P50_GOAL_MS, f"{way}: p50 at most {P50_GOAL_MS:.0f} ms")
                )
    columns = ["ms: p50 / p99 / p99.9", *(f"{rate:,} ticks/s" for rate in rates)]
    show("P4: tick timestamp to forecast read, one broker on this machine", columns, rows, *goals)
    write("latency", {who: {str(r): ms for r, ms in by.items()} for who, by in found.items()})


if __name__ == "__main__":
    main()
