"""P3: ticks per second through a real broker, beside a bare echo with the same client and mode.

    make bench-throughput
    make bench-throughput ARGS="--ticks 50000 --rounds 2"

Contestants take turns on the same tick topic of 400 instruments, each as a new consumer group with
its own output topics: slotcast with the default bundle (scale, readout, intervals, snapshots in
Redis) exactly once and at least once, and for each mode an echo: the same log adapter, which
publishes records of the forecasts' size without parsing or stepping anything.
"""

from __future__ import annotations

import argparse
import os
import time
from contextlib import ExitStack
from typing import Any, Literal

from benchmarks.report import Spread, goal, number, ratio, show, write
from slotcast.bootstrap import build_worker, prepare
from slotcast.log.kafka import KafkaLog
from slotcast.log.port import Committed, Forecasts, Outbox
from slotcast.metrics import Metrics
from slotcast.run_settings import market_settings
from slotcast.settings import KafkaSettings, Settings
from slotcast.simulator import Market, encode
from slotcast.store.redis import RedisStore
from tests.contract.kafka_topics import KafkaTopics
from tests.servers import Broker, KafkaServer, RedisServer

Mode = Literal["exactly-once", "at-least-once"]
MODES: tuple[Mode, ...] = ("exactly-once", "at-least-once")
POLL_TICKS = 10_000
ECHO_GOAL = 0.70
ONCE_GOAL = 0.85


def settings_of(broker: Broker, ticks: str, name: str, mode: Mode) -> Settings:
    """Settings of one contestant's one run: a group and output topics of its own."""
    base = market_settings(0, 1_024)
    kafka = KafkaSettings(
        bootstrap_servers=broker.bootstrap,
        group=name,
        ticks=ticks,
        forecasts=f"forecasts-{name}",
        dead_letters=f"dead-{name}",
        delivery=mode,
    )
    return base.model_copy(update={"kafka": kafka})


def echo(settings: Settings, total: int, value: bytes) -> float:
    """Seconds from the first record to the last commit of a log that only passes records on."""
    log = KafkaLog(settings.kafka)
    done, begun = 0, 0.0
    while done < total:
        poll = log.poll(200, POLL_TICKS)
        for partition in poll.gained:
            log.go(partition, 0)
            begun = time.perf_counter()
        outbox = Outbox()
        for batch in poll.batches:
            n = len(batch)
            keys: Any = batch.keys
            columns = Forecasts(
                batch.partition, range(n), batch.timestamps_ms.tolist(), keys, [value] * n
            )
            outbox.forecasts.append(columns)
            outbox.offsets[batch.partition] = Committed(int(batch.offsets[-1]) + 1, "")
            done += n
        if outbox.offsets:
            log.publish(outbox)
    took = time.perf_counter() - begun
    log.close()
    return took


def serve(settings: Settings, total: int, redis_url: str) -> float:
    """Seconds of a worker, from the first live poll to the last commit."""
    log = KafkaLog(settings.kafka)
    store = RedisStore(redis_url, "bench", settings.kafka.group, settings.kafka.ticks, 2.0)
    worker = build_worker(settings, log, store, Metrics())
    begun = 0.0
    while worker.counts["ticks"] < total:
        worker.turn()
        if not begun and any(p.phase.value == "live" for p in worker.partitions.values()):
            begun = time.perf_counter()
    took = time.perf_counter() - begun
    log.close()
    store.close()
    return took


def fill(broker: Broker, ticks: str, total: int) -> None:
    """The tick topic, once for all contestants."""
    market = Market()
    topics = KafkaTopics(KafkaSettings(bootstrap_servers=broker.bootstrap, ticks=ticks))
    stamp = round(time.time() * 1e3)
    for _ in range(0, total, 10_000):
        keys, values = encode(market.next(10_000), market.names)
        topics.feed(0, [(k, v, stamp, None) for k, v in zip(keys, values, strict=True)])
    topics.close()


def main() -> None:
    """Run all contestants by turns and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ticks", type=int, default=100_000, help="ticks per run")
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    total = given.ticks // 10_000 * 10_000
    samples: dict[str, list[float]] = {}
    with ExitStack() as servers:
        broker, redis_url = _servers(servers)
        ticks = broker.fresh_topic(1)
        fill(broker, ticks, total)
        value = b"x" * 640  # about a forecast record's size
        prepare(market_settings(0, 1_024))
        for turn in range(given.rounds):
            for mode in MODES:
                name = f"{ticks}-{mode}-{turn}"
                echo_s = echo(settings_of(broker, ticks, f"echo-{name}", mode), total, value)
                ours_s = serve(
                    settings_of(broker, ticks, f"slotcast-{name}", mode), total, redis_url
                )
                samples.setdefault(f"echo, {mode}", []).append(total / echo_s)
                samples.setdefault(f"slotcast, {mode}", []).append(total / ours_s)
    report(samples, total)


def _servers(servers: ExitStack) -> tuple[Broker, str]:
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if not bootstrap:
        bootstrap = servers.enter_context(KafkaServer(heap_mb=768)).bootstrap
    redis_url = os.environ.get("REDIS_URL") or servers.enter_context(RedisServer()).url
    return Broker(bootstrap), redis_url


def report(samples: dict[str, list[float]], total: int) -> None:
    """Table, goals and JSON."""
    shares = {mode: ratio(samples[f"slotcast, {mode}"], samples[f"echo, {mode}"]) for mode in MODES}
    once = ratio(samples["slotcast, exactly-once"], samples["slotcast, at-least-once"])
    rows = [
        [name, Spread.of(found).text(), _share(name, shares)] for name, found in samples.items()
    ]
    goals = [
        goal(s.median >= ECHO_GOAL, f"{mode}: {s.median:.0%} of its echo (goal {ECHO_GOAL:.0%})")
        for mode, s in shares.items()
    ]
    goals.append(
        goal(once.median >= ONCE_GOAL, f"exactly once is {once.median:.0%} of at least once "
             f"(goal {ONCE_GOAL:.0%})")
    )  # fmt: skip
    title = f"P3: {number(total)} ticks of 400 instruments, kafka-python, broker on this machine"
    show(title, ["", "ticks/s", "of the echo"], rows, *goals)
    results = {name: Spread.of(found) for name, found in samples.items()}
    write("throughput", {"ticks": total, "ticks_per_s": results, "of_the_echo": shares})


def _share(name: str, shares: dict[Mode, Spread]) -> str:
    found = [s for mode, s in shares.items() if name == f"slotcast, {mode}"]
    return f"{found[0].median:.0%}" if found else ""


if __name__ == "__main__":
    main()
