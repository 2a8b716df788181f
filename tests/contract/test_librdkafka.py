"""What bites in librdkafka alone (docs/recovery.md), each as a test of our driver."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError

from slotcast.log.kafka import librdkafka
from slotcast.log.kafka.driver import driver_of
from slotcast.log.kafka.librdkafka import RdMember, generation
from slotcast.log.kafka.librdkafka_client import told
from slotcast.log.kafka.librdkafka_producer import RdProducer
from slotcast.log.kafka.log import KafkaLog
from slotcast.log.kafka.topics import ensure_topics
from slotcast.log.port import (
    CommitFailed,
    Committed,
    LogError,
    LogUnavailable,
    OffsetOutOfRange,
    Outbox,
)
from slotcast.settings import KafkaSettings
from tests.contract.asking import committed
from tests.contract.kafka_logs import (
    fresh_settings,
    outbox,
    owned,
    publish_at_last,
    until,
    until_owned,
    values,
)
from tests.contract.kafka_topics import KafkaTopics
from tests.faults.proxy import ProxiedKafka
from tests.servers import PATIENCE_S, Broker


@pytest.fixture
def settings(kafka: Broker) -> KafkaSettings:
    return fresh_settings(kafka, client="librdkafka")


# The package


def test_a_client_that_is_not_installed_is_an_error_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("slotcast.log.kafka.librdkafka")
    for name in [name for name in sys.modules if name.startswith("slotcast.log.kafka.librdkafka")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)

    with pytest.raises(LogError, match=r"needs .*: {2}pip install 'slotcast\[librdkafka\]'"):
        driver_of(KafkaSettings(client="librdkafka"))


def test_options_that_the_library_refuses_name_the_section() -> None:
    settings = KafkaSettings(session_timeout_ms=20_000, max_poll_interval_ms=10_000)

    with pytest.raises(LogError, match=r"max.poll.interval.ms.* see \[kafka\] in the config file"):
        RdMember(settings, "worker")


# Its token hides the generation, and brokers accept one of -1 unfenced


def test_a_token_has_its_generation(log: KafkaLog) -> None:
    standing = log._member.standing()

    assert standing.is_stable
    assert generation(standing.group) >= 1
    assert generation(b"CGMDv2:\xff\xff\xff\xffgroup\0") == -1


def test_a_token_of_another_kind_is_refused() -> None:
    with pytest.raises(LogError, match="confluent-kafka writes its group metadata"):
        generation(b"CGMDv3:\1\0\0\0group\0")


# A wait for many records in one call is no poll


def test_a_long_poll_is_no_missed_poll(kafka: Broker) -> None:
    times = {"session_timeout_ms": 3_000, "max_poll_interval_ms": 3_000}
    log = KafkaLog(fresh_settings(kafka, **times, client="librdkafka"))
    until_owned(log, {0, 1})

    assert not log.poll(7_000, 100).lost

    log.publish(outbox([b"f"], 1))
    log.close()


# A partition is parked where no offset can be out of range


def test_a_trimmed_partition_can_be_given_and_gone_on_with(
    settings: KafkaSettings, topics: KafkaTopics
) -> None:
    topics.feed(0, [(b"k", b"v%d" % i, 1, None) for i in range(10)])
    topics.trim(0, 5)
    log = KafkaLog(settings)
    until_owned(log, {0, 1})
    assert not log.poll(500, 100).batches

    log.go(0, 7)

    assert values(log, 3) == [b"v7", b"v8", b"v9"]
    log.close()


def test_what_was_trimmed_under_a_reader_is_told(log: KafkaLog, topics: KafkaTopics) -> None:
    topics.feed(0, [(b"k", b"v", 1, None)] * 10)
    log.go(0, 10)
    log.hold(0)
    topics.trim(0, 5)
    log._places.go(0, 2)

    log._member.resume(0, 2)  # what `go` checks was true a moment ago

    with pytest.raises(OffsetOutOfRange, match="the log was trimmed"):
        until(lambda: False, log)


# Errors arrive between records


class FakeMessage:
    def __init__(self, partition: int, code: int) -> None:
        self._partition, self._error = partition, KafkaError(code)

    def partition(self) -> int:
        return self._partition

    def error(self) -> KafkaError:
        return self._error


def test_an_error_that_passes_is_no_record_and_no_end(log: KafkaLog) -> None:
    member: Any = log._member
    member._next = {0: 5}

    for code in (
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._MAX_POLL_EXCEEDED,
    ):
        assert member._without_errors([FakeMessage(0, code)]) == []
    assert member._without_errors([FakeMessage(1, KafkaError.OFFSET_OUT_OF_RANGE)]) == []
    with pytest.raises(OffsetOutOfRange):
        member._without_errors([FakeMessage(0, KafkaError.OFFSET_OUT_OF_RANGE)])


def test_who_does_not_answer_is_unavailable_and_who_refuses_is_not() -> None:
    settings = KafkaSettings()

    passing = (KafkaError._TRANSPORT, KafkaError._WAIT_COORD, KafkaError.NOT_COORDINATOR)
    for code in passing:
        assert isinstance(told(KafkaError(code), "ask", settings), LogUnavailable)
    for code in (KafkaError.TOPIC_EXCEPTION, KafkaError.UNKNOWN_MEMBER_ID):
        assert not isinstance(told(KafkaError(code), "ask", settings), LogUnavailable)


# Reading


def test_reads_take_turns(log: KafkaLog, topics: KafkaTopics) -> None:
    topics.feed(0, [(b"k", b"a%d" % i, 1, None) for i in range(5_000)])
    topics.feed(1, [(b"k", b"b%d" % i, 1, None) for i in range(5_000)])
    reads = {0: log.read(0, 0, 5_000), 1: log.read(1, 100, 4_900)}
    found: dict[int, list[bytes | None]] = {0: [], 1: []}

    while reads:
        for partition in list(reads):
            batch = next(reads[partition], None)
            if batch is None:
                del reads[partition]
            else:
                found[partition] += batch.values

    assert found[0] == [b"a%d" % i for i in range(5_000)]
    assert found[1] == [b"b%d" % i for i in range(100, 4_900)]


def test_a_read_that_was_given_up_leaves_nothing_for_the_next(
    log: KafkaLog, topics: KafkaTopics
) -> None:
    topics.feed(0, [(b"k", b"%d" % i, 1, None) for i in range(5_000)])
    given_up: Any = log.read(0, 0, 5_000)
    next(given_up)
    given_up.close()

    again = [value for batch in log.read(0, 3_000, 3_010) for value in batch.values]

    assert again == [b"%d" % i for i in range(3_000, 3_010)]
    reader: Any = log._reader
    assert len(reader._opened) == 2  # one that asks, one that reads


# Producers


def threads() -> int:
    """How many the library has; kafka-python's, which end when they like, do not count."""
    count = 0
    for task in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # it has ended meanwhile
            count += task.read_text().startswith("rdk:")
    return count


def test_a_producer_that_was_thrown_away_takes_its_threads_along(settings: KafkaSettings) -> None:
    ensure_topics(settings)
    before = threads()
    producer = RdProducer(settings, "some-id")
    producer.init_transactions()
    producer.begin()
    producer.send(settings.forecasts, 0, [b"k"], [b"never"], [1])
    assert threads() > before

    producer.discard()

    until(lambda: threads() <= before)
    with pytest.raises(LogError, match="thrown away"):
        producer.begin()


def test_no_default_decides_over_delivery(settings: KafkaSettings) -> None:
    options = librdkafka._options(settings, "slotcast-12-worker-0")
    expected = {
        "session.timeout.ms": settings.session_timeout_ms,
        "max.poll.interval.ms": settings.max_poll_interval_ms,
        "heartbeat.interval.ms": 300,
        "isolation.level": "read_committed",
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "partition.assignment.strategy": "cooperative-sticky",
        "allow.auto.create.topics": False,
        "check.crcs": True,
        "client.id": "slotcast-12-worker-0",
    }

    assert {name: options[name] for name in expected} == expected
    assert "group.instance.id" not in options


# Records


class Skipping:
    """A consumer that loses the first record it has, as a late answer about the end would."""

    def __init__(self, consumer: Any) -> None:
        self._consumer, self._skipped = consumer, False

    def consume(self, count: int, wait_s: float) -> Any:
        found = self._consumer.consume(count, wait_s)
        if found and not self._skipped:
            self._skipped = True
            return found[1:]
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


def test_records_that_the_library_skips_are_delivered_all_the_same(
    log: KafkaLog, topics: KafkaTopics
) -> None:
    member: Any = log._member
    topics.feed(0, [(b"k", b"%d" % i, 1, None) for i in range(20)])
    log.go(0, 0)
    member._consumer = Skipping(member._consumer)

    assert values(log, 20) == [b"%d" % i for i in range(20)]


# Who has lost all connections forgets its brokers, and waits for one of them for ever


def test_a_publish_goes_on_when_all_connections_were_cut() -> None:
    with ProxiedKafka() as server:
        address = {"bootstrap_servers": server.proxy.address, "delivery_timeout_ms": 2_000}
        settings = fresh_settings(Broker(server.bootstrap), client="librdkafka", **address)
        log = KafkaLog(settings)
        until_owned(log, {0, 1})
        for offset in range(1, 9):
            server.proxy.cut_all()
            publish_at_last(log, outbox([b"f"], offset))

        assert committed(log, 0) == Committed(8, "m")
        log.close()


# Beside the other library


def test_workers_with_either_library_share_a_group(settings: KafkaSettings) -> None:
    ours = KafkaLog(settings)
    until_owned(ours, {0, 1})
    ours.publish(Outbox(offsets={0: Committed(3, "ours"), 1: Committed(4, "ours")}))

    theirs = KafkaLog(settings.model_copy(update={"client": "kafka-python"}))
    until(lambda: len(owned(theirs)) == 1 and len(owned(ours)) == 1, ours, theirs)
    (moved,) = owned(theirs)
    assert committed(theirs, moved) == Committed(3 + moved, "ours")
    theirs.publish(Outbox(offsets={moved: Committed(9, "theirs")}))
    with pytest.raises(CommitFailed, match="not ours any more"):
        ours.publish(Outbox(offsets={moved: Committed(5, "ours")}))

    theirs.close()
    deadline = time.monotonic() + PATIENCE_S
    while owned(ours) != {0, 1}:
        assert time.monotonic() < deadline
        ours.poll(200, 100)
    assert committed(ours, moved) == Committed(9, "theirs")
    ours.close()
