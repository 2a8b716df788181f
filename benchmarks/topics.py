"""A real broker and store for a benchmark, ticks in its topics, and when forecasts come out."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack

from confluent_kafka import Producer
from kafka import KafkaConsumer, TopicPartition

from slotcast.bootstrap import prepare
from slotcast.feeds.simulator import Market, encode
from slotcast.settings import KafkaSettings, Settings
from tests.servers import Broker, KafkaServer, RedisServer

SCHEMA = """
[schema]
targets = [{ name = "price", gt = 0, log = true }]
features = [{ name = "volume", ge = 0 }]
max_ahead_ms = 100000000000
"""
DEFAULTS = {
    "SLOTCAST_WORKER__SLOTS": "1024",
    "SLOTCAST_WORKER__MAX_POLL_TICKS": "10000",
    "SLOTCAST_STORE__SNAPSHOT_INTERVAL_S": "5",
}
"""The defaults of what `tests.e2e.running.Serving` sets to small values."""
BLOCK = 10_000


def servers(stack: ExitStack) -> tuple[Broker, str]:
    """A broker and a Redis address: those of the environment, else started for this run.

    Compiles what workers need, if nobody has yet.
    """
    prepare(Settings())
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if not bootstrap:
        # So that a long run need not have room for all its forecasts.
        often = {"log.retention.check.interval.ms": "5000", "file.delete.delay.ms": "1000"}
        bootstrap = stack.enter_context(KafkaServer(often, heap_mb=768)).bootstrap
    redis_url = os.environ.get("REDIS_URL") or stack.enter_context(RedisServer()).url
    return Broker(bootstrap), redis_url


class Feed:
    """Sends a market's ticks to a topic: an instrument's always to the same partition."""

    def __init__(self, bootstrap: str, topic: str, market: Market, partitions: int = 1) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "log_level": 0})
        self.topic, self._market, self._partitions = topic, market, partitions
        self.fed = [0] * partitions

    def send(self, ticks: int) -> None:
        """The market's next ticks, stamped with the present; returns when they are in the log."""
        for begin in range(0, ticks, BLOCK):
            block = self._market.next(min(BLOCK, ticks - begin))
            keys, values = encode(block, self._market.names)
            places = (block.instrument % self._partitions).tolist()
            self._append(keys, values, places)

    def each_once(self) -> None:
        """One tick of every instrument, so that all of them exist."""
        names = self._market.names
        for begin in range(0, len(names), BLOCK):
            some = names[begin : begin + BLOCK]
            values = [
                f'{{"instrument":"{n}","ts":1,"price":1.0,"volume":1}}'.encode() for n in some
            ]
            places = [(begin + i) % self._partitions for i in range(len(some))]
            self._append([n.encode() for n in some], values, places)

    def _append(self, keys: list[bytes], values: list[bytes], places: list[int]) -> None:
        stamp = round(time.time() * 1e3)
        for key, value, place in zip(keys, values, places, strict=True):
            self._producer.produce(self.topic, value, key, place, timestamp=stamp)
            self.fed[place] += 1
        left = self._producer.flush(60)
        assert left == 0, f"{left} ticks are not in {self.topic} after 60 s"


class Arrivals:
    """Reads committed forecasts of partition 0 from now on, only to see when they come."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._consumer = KafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers,
            isolation_level="read_committed",
            fetch_max_wait_ms=10,
        )
        self._at = TopicPartition(settings.forecasts, 0)
        self._consumer.assign([self._at])
        self.skip()

    def skip(self) -> None:
        """Forget what has come so far."""
        self._consumer.seek_to_end(self._at)
        self._consumer.position(self._at)

    def first_s(self, begun: float, limit_s: float = 300.0) -> float:
        """Seconds since `begun` (`time.perf_counter`) when the next one is in our hands."""
        while not self._consumer.poll(20):
            if time.perf_counter() - begun > limit_s:
                raise TimeoutError(f"no forecast within {limit_s:.0f} s")
        return time.perf_counter() - begun

    def close(self) -> None:
        """End the connection."""
        self._consumer.close()
