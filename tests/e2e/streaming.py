"""Ticks that keep flowing, and a reader that notes when each forecast became visible."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from threading import Event, Thread
from typing import Any, NamedTuple

from kafka import KafkaConsumer, TopicPartition

from slotcast.settings import KafkaSettings
from tests.contract.kafka_topics import KafkaTopics, Record
from tests.servers import PATIENCE_S

PAUSE_S = 0.02
"""A broker may be away for a while."""


class Onlooker(Thread):
    """A thread of the test; what ends it is kept for whoever waits for what it does."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._stopped = Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            self.work()
        except Exception as error:  # noqa: BLE001  # told by whoever waits
            self.failure = error

    def work(self) -> None:
        """Until `_stopped`."""
        raise NotImplementedError


class Feeder(Onlooker):
    """Feeds a few ticks to every partition, again and again, until stopped."""

    def __init__(
        self, settings: KafkaSettings, ticks: Sequence[Sequence[Record]], at_once: int = 2
    ) -> None:
        super().__init__()
        self._topics, self._ticks, self._at_once = KafkaTopics(settings), ticks, at_once
        self.fed = [0] * len(ticks)
        self.start()

    def work(self) -> None:
        while not self._stopped.wait(PAUSE_S):
            some = {
                partition: ticks[fed : fed + self._at_once]
                for partition, (ticks, fed) in enumerate(zip(self._ticks, self.fed, strict=True))
            }
            self._topics.feed_all(some, PATIENCE_S)
            for partition, fed in some.items():
                self.fed[partition] += len(fed)
        self._topics.close()

    def stop(self) -> list[list[Record]]:
        """The ticks of every partition that are in the log now."""
        self._stopped.set()
        self.join()
        assert self.failure is None, self.failure
        return [list(ticks[:fed]) for ticks, fed in zip(self._ticks, self.fed, strict=True)]


class Seen(NamedTuple):
    """A forecast as a reader of committed records saw it."""

    partition: int
    at_s: float
    offset: int
    value: bytes


class Watcher(Onlooker):
    """Reads the forecast topic from now on, committed records only, until stopped."""

    def __init__(self, settings: KafkaSettings, partitions: int) -> None:
        super().__init__()
        tps = [TopicPartition(settings.forecasts, p) for p in range(partitions)]
        self._consumer: Any = KafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers,
            isolation_level="read_committed",
            fetch_max_wait_ms=20,
        )
        self._consumer.assign(tps)
        for tp in tps:
            self._consumer.seek(tp, 0)
        self.seen: list[Seen] = []
        self.start()

    def work(self) -> None:
        while not self._stopped.is_set():
            for tp, records in self._consumer.poll(50).items():
                now = time.monotonic()
                self.seen += [Seen(tp.partition, now, r.offset, r.value) for r in records]
        self._consumer.close()

    def stop(self) -> None:
        self._stopped.set()
        self.join()
        assert self.failure is None, self.failure

    def first_after(self, partition: int, at_s: float) -> float | None:
        """When the first forecast of this partition after `at_s` was seen."""
        return next((s.at_s for s in self.seen if s.partition == partition and s.at_s > at_s), None)

    def longest_gap_s(self, partition: int, begin_s: float, end_s: float) -> float:
        """Longest time within these that nothing new of this partition was seen."""
        times = [s.at_s for s in self.seen if s.partition == partition]
        times = [begin_s, *(t for t in times if begin_s < t < end_s), end_s]
        return max(after - before for before, after in pairwise(times))
