"""What an operator, a broker's retention or a clumsy tool does to a group from outside."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.structs import OffsetAndMetadata

from slotcast.log.memory.log import MemoryBroker
from tests.e2e.running import Serving, run_through, schema_of
from tests.servers import PATIENCE_S

POLICY = "SLOTCAST_WORKER__ON_DAMAGE"


class Life(NamedTuple):
    """A memory that began at one offset and published from another on, up to a third."""

    began: int
    published_from: int
    until: int


class Outside:
    """Hands on the topics and offsets of a worker's group."""

    def __init__(self, worker: Serving) -> None:
        self._worker, self._kafka = worker, worker.kafka
        self._seen: dict[int, dict[int, Any]] = {p: {} for p in range(worker.partitions)}

    def committed(self, partition: int) -> int:
        """The committed offset; -1 if there is none."""
        tp, group = self._tp(partition), self._kafka.group
        with self._admin() as admin:
            found = admin.list_group_offsets({group: [tp]})[group].get(tp)
        return -1 if found is None else int(found.offset)

    def move(self, offsets: Mapping[int, int]) -> None:
        """Commit these offsets without a note, as `kafka-consumer-groups.sh` does."""
        self.await_no_members()
        wanted = {self._tp(p): OffsetAndMetadata(at, "", -1) for p, at in offsets.items()}
        with self._admin() as admin:
            admin.alter_group_offsets(self._kafka.group, wanted)

    def expire_offsets(self) -> None:
        """What `offsets.retention.minutes` does to a group without members."""
        self.await_no_members()
        with self._admin() as admin:
            tps = [self._tp(p) for p in range(self._worker.partitions)]
            admin.delete_group_offsets(self._kafka.group, tps)

    def remake_topic(self) -> None:
        """Delete the tick topic and create it again."""
        ticks = self._kafka.ticks
        with self._admin() as admin:
            admin.delete_topics([ticks])
            self._until(lambda: ticks not in admin.list_topics(), "the topic does not go")
            wanted = {"num_partitions": self._worker.partitions, "replication_factor": 1}
            admin.create_topics({ticks: wanted}, wait_for_metadata=True)
        self._seen = {p: {} for p in range(self._worker.partitions)}

    def grow(self, topic: str, partitions: int) -> None:
        """Give a topic more partitions."""
        with self._admin() as admin:
            admin.create_partitions({topic: partitions})

    def await_no_members(self) -> None:
        """Wait until the group has given up everybody."""
        group = self._kafka.group
        with self._admin() as admin:
            self._until(
                lambda: not admin.describe_groups([group])[group]["members"],
                f"{group} still has members",
            )

    def note_ticks(self) -> None:
        """Keep what is in the tick topic now, before retention takes it."""
        for partition, seen in self._seen.items():
            for record in self._worker.topics.records(self._kafka.ticks, partition):
                seen[record.offset] = record

    def expected(self, lives: Mapping[int, Sequence[Life]]) -> MemoryBroker:
        """What comes out of several memories, one after the other, by partition.

        A partition that is not named has lived one undisturbed life.
        """
        self.note_ticks()
        schema, whole = schema_of(self._worker.config.read_text()), self._broker({})
        run_through(schema, whole)
        for partition, some in lives.items():
            forecasts, letters = whole.forecasts[partition], whole.dead_letters[partition]
            forecasts.clear()
            letters.clear()
            for life in some:
                alone = self._broker({partition: (life.began, life.until)})
                run_through(schema, alone)
                span = range(life.published_from, life.until)
                forecasts += [f for f in alone.forecasts[partition] if f.offset in span]
                letters += [one for one in alone.dead_letters[partition] if one.offset in span]
        return whole

    def _broker(self, spans: Mapping[int, tuple[int, int]]) -> MemoryBroker:
        """A log with the ticks of these spans, or of everything where there are no spans."""
        broker = MemoryBroker(self._worker.partitions)
        for partition, seen in self._seen.items():
            if spans and partition not in spans:
                continue
            start, stop = spans.get(partition, (0, 1 << 62))
            for offset, record in sorted(seen.items()):
                if start <= offset < stop:
                    broker.skip(partition, offset - broker.end[partition])
                    control = dict(record.headers).get("slotcast-control")
                    broker.feed(partition, record.key, record.value, record.timestamp, control)
        return broker

    def _tp(self, partition: int) -> TopicPartition:
        return TopicPartition(self._kafka.ticks, partition)

    @contextmanager
    def _admin(self) -> Iterator[Any]:
        with KafkaAdminClient(bootstrap_servers=self._kafka.bootstrap_servers) as admin:
            yield admin

    def _until(self, condition: Any, complaint: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, complaint
            time.sleep(0.05)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`slotcast ...` as a person runs it."""
    line = [sys.executable, "-m", "slotcast.cli", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=90, check=False)


def until_told(worker: Serving, *whys: str, patience_s: float = 60.0) -> None:
    """Wait until the worker's log says one of these."""
    deadline = time.monotonic() + patience_s
    while not any(why in worker.log_tail(500) for why in whys):
        assert time.monotonic() < deadline, f"none of {whys} in:\n{worker.log_tail(60)}"
        time.sleep(0.1)
