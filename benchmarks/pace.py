"""How fast forecasts came, by the broker's clock: nobody's own count, and without the start.

Whoever serves ticks writes to an output topic that the broker stamps. When all forecasts are
there, they are counted and their stamps read.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import numpy as np
from confluent_kafka import Consumer, TopicPartition
from numpy.typing import NDArray

from tests.servers import Broker

SETTLING = 0.2
"""Share of the forecasts that is not timed: connections, caches, just-in-time compilers."""
LOOK_S = 0.1


def output_topic(broker: Broker, name: str, partitions: int = 1, keep_mb: int = 0) -> str:
    """A fresh topic whose records the broker stamps; it keeps `keep_mb` of them, or all (0)."""
    kept = {"retention_bytes": str(keep_mb * 10**6), "segment_bytes": "20000000"} if keep_mb else {}
    return broker.fresh_topic(partitions, name, message_timestamp_type="LogAppendTime", **kept)


def pace(
    broker: Broker,
    topic: str,
    total: int,
    runs: Callable[[], bool],
    settled: int = 0,
    limit_s: float = 600.0,
    *,
    all_of_them: bool = True,
) -> float:
    """Forecasts per second, once `total` of them are committed.

    The first `settled` are not timed, nor the first fifth of the rest. With `all_of_them` there
    must not be more. Raises RuntimeError when `runs` says that nobody works on it any more.
    """
    appended_ms = _appended(broker, topic, total, runs, limit_s)
    found = len(appended_ms)
    assert found == total or not all_of_them, f"{topic} has {found} forecasts of {total} ticks"
    appended_ms = appended_ms[:total]
    settled += int(SETTLING * (total - settled))
    took_ms = max(1, appended_ms[-1] - appended_ms[settled])
    return float(1e3 * (total - settled) / took_ms)


def _appended(
    broker: Broker, topic: str, total: int, runs: Callable[[], bool], limit_s: float
) -> NDArray[np.int64]:
    """When each committed record of the topic was appended, in order of time."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": uuid.uuid4().hex,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 5,
            "log_level": 0,
        }
    )
    deadline = time.monotonic() + limit_s
    partitions = list(consumer.list_topics(topic).topics[topic].partitions)

    def check() -> None:
        if not runs():
            raise RuntimeError(f"nobody fills {topic} any more")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{topic} has not {total:,} forecasts after {limit_s:.0f} s")

    try:
        places = [TopicPartition(topic, partition, 0) for partition in partitions]
        while sum(consumer.get_watermark_offsets(place)[1] for place in places) < total:
            check()
            time.sleep(LOOK_S)
        consumer.assign(places)
        found: list[int] = []
        while len(found) < total:
            check()
            found += [record.timestamp()[1] for record in consumer.consume(10_000, LOOK_S)]
    finally:
        consumer.close()
    return np.sort(np.array(found))
