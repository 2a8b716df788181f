"""The rules of the log port, run against every adapter."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from slotcast.log.kafka.log import KafkaLog
from slotcast.log.kafka.records import dead_letter_of
from slotcast.log.memory.log import MemoryBroker, MemoryLog
from slotcast.log.port import (
    Batch,
    CommitFailed,
    Committed,
    DeadLetter,
    Forecasts,
    Log,
    LogError,
    OffsetOutOfRange,
    Outbox,
)
from slotcast.log.sqlite.log import SqliteLog
from slotcast.settings import KafkaSettings
from tests.contract.asking import committed
from tests.contract.kafka_topics import KafkaTopics
from tests.servers import PATIENCE_S, Broker

NASTY = [b"", b"\x00", b"\xff\xfe\x80", b'{"a":1}\n', bytes(range(256)), b"x" * 100_000]

Record = tuple[bytes | None, bytes | None, int, bytes | None]
"""key, value, timestamp_ms, control"""


class Bench(ABC):
    """One log under test: two partitions, a way to put records in and to look at what came out."""

    def __init__(self) -> None:
        self.members: list[Log] = []

    def join(self) -> Log:
        """A new member of the group; the members before it must be closed."""
        member = self._open()
        self.members.append(member)
        return member

    def close(self) -> None:
        for member in self.members:
            member.close()

    @abstractmethod
    def _open(self) -> Log: ...

    @abstractmethod
    def feed(self, partition: int, records: Sequence[Record]) -> None:
        """Append records; the first record of a partition has offset 0."""

    @abstractmethod
    def forecasts(self, partition: int) -> list[tuple[bytes, bytes, int]]:
        """Key, value and timestamp of everything committed to the forecast topic."""

    @abstractmethod
    def dead_letters(self, partition: int) -> list[DeadLetter]: ...

    def gap(self, partition: int) -> int:
        """Leave an offset without a record; returns how many were left."""
        return 0

    def trim(self, partition: int, before_offset: int) -> None:
        pytest.skip("this bench cannot delete old ticks")

    def bounce(self, log: Log, partition: int) -> None:
        """Take the partition from its member and give it back, with no poll in between."""
        pytest.skip("one member owns everything for good")


class MemoryBench(Bench):
    def __init__(self) -> None:
        super().__init__()
        self.broker = MemoryBroker(2)

    def _open(self) -> MemoryLog:
        return MemoryLog(broker=self.broker)

    def feed(self, partition: int, records: Sequence[Record]) -> None:
        for key, value, timestamp_ms, control in records:
            self.broker.feed(partition, key, value, timestamp_ms, control)

    def forecasts(self, partition: int) -> list[tuple[bytes, bytes, int]]:
        return [(f.key, f.value, f.timestamp_ms) for f in self.broker.forecasts[partition]]

    def dead_letters(self, partition: int) -> list[DeadLetter]:
        return self.broker.dead_letters[partition]

    def gap(self, partition: int) -> int:
        self.broker.skip(partition)
        return 1

    def trim(self, partition: int, before_offset: int) -> None:
        self.broker.trim(partition, before_offset)

    def bounce(self, log: Log, partition: int) -> None:
        self.broker.assign(None, partition)
        assert isinstance(log, MemoryLog)
        self.broker.assign(log, partition)


class SqliteBench(Bench):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.onlooker = SqliteLog(path, partitions=2, consume=False)

    def _open(self) -> SqliteLog:
        return SqliteLog(self.path, partitions=2)

    def feed(self, partition: int, records: Sequence[Record]) -> None:
        keys, values, timestamps_ms, controls = zip(*records, strict=True)
        self.onlooker.feed(partition, keys, values, timestamps_ms, controls)

    def forecasts(self, partition: int) -> list[tuple[bytes, bytes, int]]:
        found = self.onlooker.forecasts(partition, 0, 1_000_000)[1]
        return list(zip(found.keys, found.values, found.timestamps_ms, strict=True))

    def dead_letters(self, partition: int) -> list[DeadLetter]:
        return self.onlooker.dead_letters(partition)

    def trim(self, partition: int, before_offset: int) -> None:
        self.onlooker.trim(partition, before_offset, 0, 0)

    def close(self) -> None:
        super().close()
        self.onlooker.close()


class KafkaBench(Bench):
    def __init__(self, broker: Broker, delivery: str, client: str = "kafka-python") -> None:
        super().__init__()
        # Ticks of 1970 must stay, and those of 2100 must be let in.
        ticks = broker.fresh_topic(2, message_timestamp_after_max_ms=str(2**63 - 1))
        self.settings = KafkaSettings(
            bootstrap_servers=broker.bootstrap,
            group=f"group-{ticks}",
            ticks=ticks,
            forecasts=f"forecasts-{ticks}",
            dead_letters=f"dead-letters-{ticks}",
            delivery=delivery,
            client=client,
            session_timeout_ms=30_000,  # records are fed and read for a while without a poll
            max_poll_interval_ms=60_000,
        )
        self.kafka = KafkaTopics(self.settings)

    def _open(self) -> KafkaLog:
        return KafkaLog(self.settings)

    def feed(self, partition: int, records: Sequence[Record]) -> None:
        self.kafka.feed(partition, records)

    def forecasts(self, partition: int) -> list[tuple[bytes, bytes, int]]:
        found = self.kafka.settled(self.settings.forecasts, partition)
        return [(record.key, record.value, record.timestamp) for record in found]

    def dead_letters(self, partition: int) -> list[DeadLetter]:
        found = self.kafka.settled(self.settings.dead_letters, partition)
        return [dead_letter_of(record) for record in found]

    def gap(self, partition: int) -> int:
        return self.kafka.abort_one(partition)

    def trim(self, partition: int, before_offset: int) -> None:
        self.kafka.trim(partition, before_offset)

    def bounce(self, log: Log, partition: int) -> None:
        # What the client does by itself when a poll comes too late.
        assert isinstance(log, KafkaLog)
        member: Any = log._member
        if self.settings.client == "librdkafka":
            member._consumer.unsubscribe()
            member._subscribe()
        else:
            member._consumer._coordinator.maybe_leave_group()

    def close(self) -> None:
        super().close()
        self.kafka.close()


KAFKAS = ["exactly-once", "at-least-once", "exactly-once librdkafka", "at-least-once librdkafka"]


@pytest.fixture(params=["memory", "sqlite", *KAFKAS])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    bench: Bench
    if request.param == "memory":
        bench = MemoryBench()
    elif request.param == "sqlite":
        bench = SqliteBench(tmp_path / "log.db")
    else:
        bench = KafkaBench(request.getfixturevalue("kafka"), *request.param.split())
    yield bench
    bench.close()


@pytest.fixture
def log(bench: Bench) -> Log:
    """A member that owns both partitions, held."""
    return settled(bench.join())


def settled(log: Log) -> Log:
    """Poll until the member owns both partitions."""
    owned: set[int] = set()
    deadline = time.monotonic() + PATIENCE_S
    while owned != {0, 1}:
        assert time.monotonic() < deadline, f"owns only {owned}"
        brought = log.poll(200, 100)
        assert not brought.batches, "a held partition delivered"
        owned = (owned - set(brought.lost)) | set(brought.gained)
    return log


def drain(log: Log, count: int, max_ticks: int = 10_000) -> list[Batch]:
    """Poll until `count` records came."""
    batches: list[Batch] = []
    deadline = time.monotonic() + PATIENCE_S
    while (have := sum(map(len, batches))) < count:
        assert time.monotonic() < deadline, f"{have} of {count} records came"
        brought = log.poll(200, max_ticks)
        assert sum(map(len, brought.batches)) <= max_ticks
        assert not brought.lost
        assert not brought.gained
        batches += brought.batches
    assert have == count
    return batches


def records(batches: Sequence[Batch], partition: int) -> list[Record]:
    """The records of one partition, in the order they came; checks the columns on the way."""
    found: list[Record] = []
    for batch in batches:
        if batch.partition == partition:
            controls = batch.controls or [None] * len(batch)
            assert len({len(batch), len(batch.timestamps_ms), len(batch.keys)}) == 1
            assert len({len(batch), len(batch.values), len(controls)}) == 1
            assert batch.offsets.dtype == batch.timestamps_ms.dtype == "int64"
            stamps = batch.timestamps_ms.tolist()
            found += zip(batch.keys, batch.values, stamps, controls, strict=True)
    return found


def offsets(batches: Sequence[Batch], partition: int) -> list[int]:
    return [o for b in batches if b.partition == partition for o in b.offsets.tolist()]


def ticks(count: int, start: int = 0) -> list[Record]:
    return [(b"k%d" % (i % 7), b"v%d" % i, 1_000 + i, None) for i in range(start, start + count)]


def commit(partition: int, offset: int, metadata: str = "") -> Outbox:
    return Outbox(offsets={partition: Committed(offset, metadata)})


def forecasts(partition: int, count: int) -> Forecasts:
    return Forecasts(
        partition,
        range(count),
        range(5_000, 5_000 + count),
        [b"k%d" % (i % 3) for i in range(count)],
        [b"f%d" % i for i in range(count)],
    )


def letter(partition: int, offset: int, key: bytes | None, value: bytes | None) -> DeadLetter:
    return DeadLetter(
        partition, offset, 1_700_000_000_123, "not-json", "Zeichen ü at 3", key, value, 7, "ab" * 32
    )


# Membership: held until go


def test_every_partition_is_listed(log: Log) -> None:
    assert list(log.partitions()) == [0, 1]


def test_a_gained_partition_is_held_until_go(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(3))
    bench.feed(1, ticks(3))
    assert not log.poll(200, 100).batches

    log.go(1, 0)

    assert records(drain(log, 3), 1) == ticks(3)


def test_hold_stops_delivery_and_go_starts_it_from_any_offset(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(10))
    log.go(0, 0)
    drain(log, 10)
    log.hold(0)
    bench.feed(0, ticks(1, 10))
    assert not log.poll(300, 100).batches

    log.go(0, 4)

    assert records(drain(log, 7), 0) == ticks(7, 4)


def test_hold_takes_back_records_that_were_fetched_but_not_delivered(
    bench: Bench, log: Log
) -> None:
    bench.feed(0, ticks(50))
    log.go(0, 0)
    drain(log, 10, max_ticks=10)
    log.hold(0)

    assert not log.poll(200, 100).batches


def test_go_on_a_live_partition_moves_it(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(10))
    log.go(0, 0)
    drain(log, 10)

    log.go(0, 8)

    assert records(drain(log, 2), 0) == ticks(2, 8)


@pytest.mark.parametrize("offset", [6, 1_000_000])
def test_go_beyond_the_end_is_refused(bench: Bench, log: Log, offset: int) -> None:
    bench.feed(0, ticks(5))

    with pytest.raises(OffsetOutOfRange, match="ticks"):
        log.go(0, offset)


def test_go_at_the_end_waits_for_the_next_record(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(5))
    log.go(0, 5)
    assert not log.poll(200, 100).batches

    bench.feed(0, ticks(1, 5))

    assert records(drain(log, 1), 0) == ticks(1, 5)


def test_a_partition_lost_and_regained_between_polls_is_reported_as_both(
    bench: Bench, log: Log
) -> None:
    bench.feed(0, ticks(5))
    log.go(0, 0)
    bench.bounce(log, 0)

    gained: set[int] = set()
    lost: set[int] = set()
    deadline = time.monotonic() + PATIENCE_S
    while 0 not in gained:
        assert time.monotonic() < deadline
        brought = log.poll(200, 100)
        assert not brought.batches
        lost |= set(brought.lost)
        gained |= set(brought.gained)

    assert 0 in lost
    assert not log.poll(200, 100).batches


# Polling


def test_records_come_back_as_they_were_sent(bench: Bench, log: Log) -> None:
    sent: list[Record] = [(key, value, 10, None) for key in NASTY for value in NASTY]
    sent += [(b"tombstone", None, 11, None), (None, b"no key", 12, None), (None, None, 13, None)]
    bench.feed(0, sent)
    log.go(0, 0)

    assert records(drain(log, len(sent)), 0) == sent


def test_control_records_carry_their_header(bench: Bench, log: Log) -> None:
    sent: list[Record] = [
        (b"a", b"1", 1, None),
        (None, b"", 2, b"reset-all"),
        (None, None, 3, b"\x00\xff"),
        (b"a", b"2", 4, None),
    ]
    bench.feed(0, sent)
    log.go(0, 0)

    assert records(drain(log, 4), 0) == sent


def test_a_batch_without_control_records_has_no_controls(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(5))
    log.go(0, 0)

    assert all(batch.controls is None for batch in drain(log, 5))


def test_timestamps_are_the_records_own(bench: Bench, log: Log) -> None:
    stamps = [0, 1, 1_700_000_000_000, 5, 4_102_444_800_000]
    bench.feed(0, [(b"k", b"v", stamp, None) for stamp in stamps])
    log.go(0, 0)

    assert [record[2] for record in records(drain(log, 5), 0)] == stamps


def test_an_empty_log_delivers_nothing(log: Log) -> None:
    log.go(0, 0)
    log.go(1, 0)

    assert not log.poll(200, 100).batches


def test_ten_thousand_records_of_two_partitions_come_in_offset_order(
    bench: Bench, log: Log
) -> None:
    bench.feed(0, ticks(10_000))
    bench.feed(1, ticks(500, 7))
    log.go(0, 0)
    log.go(1, 0)

    batches = drain(log, 10_500, max_ticks=1_000)

    assert records(batches, 0) == ticks(10_000)
    assert records(batches, 1) == ticks(500, 7)
    assert offsets(batches, 0) == sorted(set(offsets(batches, 0)))


def test_a_long_partition_does_not_starve_a_short_one(bench: Bench, log: Log) -> None:
    bench.feed(0, [(b"k", b"x" * 10_000, 1, None)] * 1_500)
    bench.feed(1, ticks(1))
    log.go(0, 0)
    log.go(1, 0)

    batches: list[Batch] = []
    while not offsets(batches, 1):
        batches += log.poll(500, 50).batches

    assert len(offsets(batches, 0)) < 1_500


def test_gaps_in_the_offsets_lose_nothing(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(3))
    bench.gap(0)
    bench.feed(0, ticks(3, 3))
    bench.gap(0)
    log.go(0, 0)

    batches = drain(log, 6)

    assert records(batches, 0) == ticks(6)


def test_a_waiting_poll_wakes_when_a_record_is_appended(bench: Bench, log: Log) -> None:
    if isinstance(bench, MemoryBench):
        pytest.skip("the memory log never waits")
    log.go(0, 0)
    log.poll(200, 100)
    timer = threading.Timer(0.2, log.append, (0, b"k", b"v"))
    timer.start()
    started = time.monotonic()

    brought = log.poll(20_000, 100)

    timer.join()
    assert records(brought.batches, 0)[0][:2] == (b"k", b"v")
    assert time.monotonic() - started < 10


# Committed offsets


def test_there_is_no_committed_position_before_the_first_commit(log: Log) -> None:
    assert committed(log, 0) is None


def test_committed_offset_and_metadata_come_back(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(5))
    metadata = 'fingerprint=1f; name="Zürich 東京 \U0001f4c8"'

    log.publish(commit(0, 4, metadata))

    assert committed(log, 0) == Committed(4, metadata)
    assert committed(log, 1) is None


def test_committed_positions_outlive_the_member(bench: Bench, log: Log) -> None:
    bench.feed(1, ticks(5))
    log.publish(commit(1, 3, "m"))
    log.close()

    assert committed(settled(bench.join()), 1) == Committed(3, "m")


def test_a_commit_does_not_move_the_position(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(5))
    log.go(0, 0)
    drain(log, 5)
    log.publish(commit(0, 2))

    assert not log.poll(200, 100).batches


# Reading aside


def test_bounds_are_the_first_offset_and_the_end(bench: Bench, log: Log) -> None:
    assert log.bounds(0) == (0, 0)
    bench.feed(0, ticks(5))

    assert log.bounds(0) == (0, 5)
    assert log.bounds(1) == (0, 0)


def test_read_gives_exactly_the_range(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(5_000))

    batches = list(log.read(0, 1_200, 4_321))

    assert records(batches, 0) == ticks(3_121, 1_200)
    assert offsets(batches, 0) == list(range(1_200, 4_321))


def test_read_of_an_empty_range_is_empty(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(5))

    assert list(log.read(0, 3, 3)) == []
    assert list(log.read(1, 0, 0)) == []


def test_read_carries_null_values_and_controls(bench: Bench, log: Log) -> None:
    sent: list[Record] = [(b"a", None, 1, None), (None, b"x", 2, b"c"), (b"", b"", 3, None)]
    bench.feed(0, sent)

    assert records(list(log.read(0, 0, 3)), 0) == sent


def test_read_touches_neither_position_nor_commit(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(10))
    log.publish(commit(0, 4))
    log.go(0, 4)
    list(log.read(0, 0, 10))

    assert committed(log, 0) == Committed(4, "")
    assert records(drain(log, 6), 0) == ticks(6, 4)


def test_read_ends_when_the_range_ends_in_a_gap(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(3))
    left = bench.gap(0)
    first, end = log.bounds(0)

    assert (first, end) == (0, 3 + left)
    assert records(list(log.read(0, 0, end)), 0) == ticks(3)


@pytest.mark.parametrize(("start", "stop"), [(0, 6), (7, 9), (2, 1_000_000)])
def test_read_after_the_end_is_refused(bench: Bench, log: Log, start: int, stop: int) -> None:
    bench.feed(0, ticks(5))

    with pytest.raises(OffsetOutOfRange, match="ticks"):
        list(log.read(0, start, stop))


def test_what_retention_removed_is_refused(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(100))
    bench.trim(0, 40)

    assert log.bounds(0) == (40, 100)
    assert records(list(log.read(0, 40, 50)), 0) == ticks(10, 40)
    with pytest.raises(OffsetOutOfRange, match="ticks"):
        list(log.read(0, 39, 50))
    with pytest.raises(OffsetOutOfRange, match="ticks"):
        log.go(0, 39)


# Publishing


def test_publish_puts_forecasts_in_the_same_partition_in_order(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(2_000))
    bench.feed(1, ticks(10))
    sent = [forecasts(0, 2_000), forecasts(1, 10)]

    log.publish(Outbox(forecasts=sent, offsets={0: Committed(2_000, "a"), 1: Committed(10, "b")}))

    for column in sent:
        assert bench.forecasts(column.partition) == list(
            zip(column.keys, column.values, column.timestamps_ms, strict=True)
        )
    assert (committed(log, 0), committed(log, 1)) == (Committed(2_000, "a"), Committed(10, "b"))


def test_forecasts_may_be_made_while_they_are_published(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(2_000))
    column = forecasts(0, 2_000)
    made = replace(column, values=(value for value in column.values))

    log.publish(Outbox([made], offsets={0: Committed(2_000, "")}))

    assert [value for _, value, _ in bench.forecasts(0)] == list(column.values)


def test_a_forecast_that_cannot_be_made_commits_nothing(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(10))
    column = forecasts(0, 4)
    short = replace(column, values=(value for value in list(column.values)[:2]))

    with pytest.raises((CommitFailed, ValueError)):
        log.publish(Outbox([short], offsets={0: Committed(4, "")}))
    assert committed(log, 0) is None
    log.publish(Outbox([column], offsets={0: Committed(4, "")}))

    assert [value for _, value, _ in bench.forecasts(0)][-4:] == list(column.values)
    assert committed(log, 0) == Committed(4, "")


def test_publish_after_publish_appends(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(10))
    column = forecasts(0, 4)
    for offset in (4, 8):
        log.publish(Outbox([column], offsets={0: Committed(offset, "")}))

    assert len(bench.forecasts(0)) == 8
    assert committed(log, 0) == Committed(8, "")


def test_an_empty_outbox_publishes_nothing(bench: Bench, log: Log) -> None:
    log.publish(Outbox())

    assert bench.forecasts(0) == []
    assert committed(log, 0) is None


def test_dead_letters_keep_reason_source_and_original_bytes(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(10))
    letters = [
        letter(0, 1, b"\xff\x00", b"\x80 not json"),
        letter(0, 2, None, b""),
        letter(0, 3, b"", None),
        letter(0, 4, b"big", b"z" * 65_536),
        letter(0, 5, None, None),
    ]

    log.publish(Outbox([], letters, {0: Committed(6, "")}))

    assert bench.dead_letters(0) == letters


def test_a_publish_that_fails_leaves_nothing(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(10))
    log.close()

    with pytest.raises(CommitFailed):
        log.publish(Outbox([forecasts(0, 3)], [letter(0, 1, b"", b"")], {0: Committed(4, "")}))

    assert bench.forecasts(0) == []
    assert bench.dead_letters(0) == []
    assert committed(settled(bench.join()), 0) is None


# Appending


def test_an_appended_record_is_in_the_log_at_its_receipt(bench: Bench, log: Log) -> None:
    bench.feed(1, ticks(5))

    receipt = log.append(1, b"k5", None)

    assert receipt == (1, 5)
    assert log.bounds(1) == (0, 6)
    assert records(list(log.read(1, 5, 6)), 1)[0][:2] == (b"k5", None)


def test_an_appended_record_is_polled(bench: Bench, log: Log) -> None:
    log.go(0, 0)
    log.append(0, None, b"{}", b"reset-all")

    key, value, _, control = records(drain(log, 1), 0)[0]

    assert (key, value, control) == (None, b"{}", b"reset-all")


def test_any_thread_may_append(bench: Bench, log: Log) -> None:
    log.go(0, 0)
    log.go(1, 0)
    receipts: list[tuple[int, int]] = []

    def append_many(name: int) -> None:
        receipts.extend(log.append(i % 2, b"t%d" % name, b"%d" % i) for i in range(20))

    threads = [threading.Thread(target=append_many, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    batches = drain(log, 80)
    for thread in threads:
        thread.join()

    assert sorted(receipts) == [(p, o) for p in (0, 1) for o in offsets(batches, p)]
    for partition in (0, 1):
        by_thread = [
            [int(value or b"") for key, value, _, _ in records(batches, partition) if key == name]
            for name in (b"t0", b"t1", b"t2", b"t3")
        ]
        assert by_thread == [list(range(partition, 20, 2))] * 4


# Positions


def test_the_position_is_the_committed_offset(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(10))
    assert log.position(0) is None

    log.publish(commit(0, 7, "note"))
    # A broker answers a commit before it shows the offset.
    deadline = time.monotonic() + PATIENCE_S
    while log.position(0) is None and time.monotonic() < deadline:
        time.sleep(0.01)

    assert (log.position(0), log.position(1)) == (7, None)


def test_any_thread_sees_positions_move_while_the_owner_works(bench: Bench, log: Log) -> None:
    bench.feed(0, ticks(20))
    log.go(0, 0)
    seen: list[int] = []

    def look() -> None:
        deadline = time.monotonic() + PATIENCE_S
        while (seen[-1] if seen else 0) < 20 and time.monotonic() < deadline:
            seen.append(log.position(0) or 0)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for batch in drain(log, 20, max_ticks=5):
        log.publish(commit(0, int(batch.offsets[-1]) + 1))
    for thread in threads:
        thread.join()

    assert max(seen) == 20
    assert set(seen) <= set(range(21))


def test_close_can_be_called_twice(log: Log) -> None:
    log.close()
    log.close()


def test_a_closed_log_answers_other_threads_or_says_that_it_is_closed(log: Log) -> None:
    log.close()

    for ask in (log.partitions, partial(log.position, 0), partial(log.append, 0, b"A", None)):
        with suppress(LogError):
            ask()
