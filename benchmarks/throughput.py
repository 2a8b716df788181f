"""P3: ticks per second through a real broker, beside a bare echo with the same client and mode.

    make bench-throughput
    make bench-throughput ARGS="--ticks 50000 --rounds 2 --clients librdkafka"

Contestants take turns on the same tick topic of 400 instruments, each as a new consumer group with
its own output topics: slotcast with the default bundle (scale, readout, intervals, snapshots in
Redis), with each client library, exactly once and at least once; and for each of the four an echo:
the same log adapter, which publishes records of the forecasts' size without parsing or stepping
anything.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import product
from typing import Literal

from benchmarks.echo import forward
from benchmarks.report import Spread, goal, number, ratio, show, write
from benchmarks.topics import Feed, servers
from slotcast.bootstrap import build_worker
from slotcast.feeds.simulator import Market
from slotcast.log.kafka.log import KafkaLog
from slotcast.metrics import Metrics
from slotcast.run_settings import market_settings
from slotcast.settings import KafkaSettings, Settings, StoreSettings
from slotcast.store.redis import RedisStore
from tests.servers import Broker

Mode = Literal["exactly-once", "at-least-once"]
Client = Literal["kafka-python", "librdkafka"]
MODES: tuple[Mode, ...] = ("exactly-once", "at-least-once")
CLIENTS: tuple[Client, ...] = ("kafka-python", "librdkafka")
POLL_TICKS = 10_000
ECHO_GOAL = 0.70
ONCE_GOAL = 0.85


def settings_of(broker: Broker, ticks: str, name: str, client: Client, mode: Mode) -> Settings:
    """Settings of one contestant's one run: a group and output topics of its own."""
    base = market_settings(0, 1_024)
    kafka = KafkaSettings(
        bootstrap_servers=broker.bootstrap,
        client=client,
        group=name,
        ticks=ticks,
        forecasts=f"forecasts-{name}",
        dead_letters=f"dead-{name}",
        delivery=mode,
    )
    return base.model_copy(update={"kafka": kafka})


def echo(settings: Settings, total: int) -> float:
    """Seconds from the first record to the last commit of a log that only passes records on."""
    log = KafkaLog(settings.kafka)
    done, begun = 0, 0.0
    while done < total:
        done += forward(log, POLL_TICKS)
        begun = begun if done else time.perf_counter()
    took = time.perf_counter() - begun
    log.close()
    return took


def serve(settings: Settings, total: int, redis_url: str) -> float:
    """Seconds of a worker, from the first live poll to the last commit."""
    log = KafkaLog(settings.kafka)
    there = StoreSettings(redis_url=redis_url, prefix="bench")
    store = RedisStore(there, settings.kafka.group, settings.kafka.ticks)
    worker = build_worker(settings, log, store, Metrics())
    begun = 0.0
    while worker.tally.counts["ticks"] < total:
        worker.turn()
        if not begun and any(p.phase.value == "live" for p in worker.partitions.values()):
            begun = time.perf_counter()
    took = time.perf_counter() - begun
    log.close()
    store.close()
    return took


def main() -> None:
    """Run all contestants by turns and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ticks", type=int, default=200_000, help="ticks per run")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--clients", nargs="+", choices=CLIENTS, default=CLIENTS)
    given = options.parse_args()
    total = given.ticks
    samples: dict[str, list[float]] = {}
    with ExitStack() as stack:
        broker, redis_url = servers(stack)
        ticks = broker.fresh_topic(1)
        Feed(broker.bootstrap, ticks, Market()).send(total)
        for turn, client, mode in product(range(given.rounds), given.clients, MODES):
            name = f"{client}-{mode}-{turn}-{ticks}"
            echoing = settings_of(broker, ticks, f"echo-{name}", client, mode)
            serving = settings_of(broker, ticks, f"slotcast-{name}", client, mode)
            what = f"{client}, {mode}"
            samples.setdefault(f"echo, {what}", []).append(total / echo(echoing, total))
            ours_s = serve(serving, total, redis_url)
            samples.setdefault(f"slotcast, {what}", []).append(total / ours_s)
    report(samples, total, given.clients)


def report(samples: dict[str, list[float]], total: int, clients: Sequence[Client]) -> None:
    """Table, goals and JSON."""
    ways = [f"{client}, {mode}" for client, mode in product(clients, MODES)]
    shares = {way: ratio(samples[f"slotcast, {way}"], samples[f"echo, {way}"]) for way in ways}
    rows = [
        [name, Spread.of(found).text(), _share(name, shares)] for name, found in samples.items()
    ]
    goals = [
        goal(share.median >= ECHO_GOAL, f"{way}: {share.median:.0%} of its echo ({ECHO_GOAL:.0%})")
        for way, share in shares.items()
        if way.startswith("kafka-python")
    ]
    for client in clients:
        exactly, at_least = (samples[f"slotcast, {client}, {mode}"] for mode in MODES)
        once = ratio(exactly, at_least).median
        said = f"{client}: exactly once is {once:.0%} of at least once ({ONCE_GOAL:.0%})"
        goals.append(goal(once >= ONCE_GOAL, said))
    title = f"P3: {number(total)} ticks of 400 instruments, broker on this machine"
    show(title, ["", "ticks/s", "of the echo"], rows, *goals)
    results = {name: Spread.of(found) for name, found in samples.items()}
    write("throughput", {"ticks": total, "ticks_per_s": results, "of_the_echo": shares})


def _share(name: str, shares: dict[str, Spread]) -> str:
    found = [share for way, share in shares.items() if name == f"slotcast, {way}"]
    return f"{found[0].median:.0%}" if found else ""


if __name__ == "__main__":
    main()
