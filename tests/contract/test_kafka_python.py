"""What bites in kafka-python 3.0.12 alone (docs/recovery.md), each as a test of our driver."""

from __future__ import annotations

import threading
from typing import Any

import crc32c
import kafka.record.util as library_checksums
import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    KafkaTimeoutError,
    OutOfOrderSequenceNumberError,
    TopicAuthorizationFailedError,
)
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.structs import MemberState

from slotcast.log.kafka import header_names
from slotcast.log.kafka.commit import OutsideCommitter
from slotcast.log.kafka.group import Membership
from slotcast.log.kafka.kafka_python import RETRY_MS, Listener, PythonMember, check_all
from slotcast.log.kafka.log import KafkaLog
from slotcast.log.kafka.offsets import Positions
from slotcast.log.kafka.producer import Appender, Publisher
from slotcast.log.kafka.reader import Reader
from slotcast.log.kafka.topics import ensure_topics
from slotcast.log.port import AppendForbidden, CommitFailed, Committed, LogUnavailable
from slotcast.settings import KafkaSettings
from tests.contract.asking import committed
from tests.contract.kafka_logs import fresh_settings, outbox, until_owned
from tests.contract.kafka_topics import KafkaTopics, NoUtf8
from tests.servers import PATIENCE_S, Broker, free_ports


@pytest.fixture
def settings(kafka: Broker) -> KafkaSettings:
    return fresh_settings(kafka)


def library_of(log: KafkaLog) -> Any:
    """The `KafkaProducer` of a log."""
    publisher: Any = log._publisher
    return publisher._open()._producer


def test_a_client_that_finds_no_broker_leaves_no_thread() -> None:
    (port,) = free_ports(1)
    nowhere = KafkaSettings(bootstrap_servers=f"127.0.0.1:{port}", delivery_timeout_ms=1_000)
    before = set(threading.enumerate())

    for asked in (
        lambda: ensure_topics(nowhere),
        lambda: Reader(nowhere),
        lambda: OutsideCommitter(nowhere),
        lambda: Positions(nowhere).of(0),
        lambda: PythonMember(nowhere, "worker-0"),
    ):
        with pytest.raises(LogUnavailable):
            asked()

    assert set(threading.enumerate()) <= before


def test_a_batch_with_many_names_that_are_no_utf8_is_copied_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A copy for each record would take minutes for a large batch."""
    made: Any = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 10**6)
    for offset in range(100):
        made.append(offset, 1, b"k", b"v%d" % offset, [(NoUtf8("name"), b"value")])
    copies, nameless = [], header_names._Nameless

    def copied(whole: Any) -> Any:
        copies.append(len(whole))
        return nameless(whole)

    monkeypatch.setattr(header_names, "_Nameless", copied)

    records = list(header_names.TolerantBatch(made.build()))

    assert [(r.value, r.headers) for r in records] == [(b"v%d" % n, []) for n in range(100)]
    assert len(copies) == 1


# 1: a record that fails leaves the rest committable


class FakeFuture:
    def __init__(self, exception: Exception | None, is_done: bool = True) -> None:
        self.exception = exception
        self.is_done = is_done

    def succeeded(self) -> bool:
        return self.is_done and self.exception is None


def test_every_acknowledgement_counts_wherever_it_stands() -> None:
    sent = [FakeFuture(None) for _ in range(5)]
    check_all(sent)

    for place in range(5):
        failed = [*sent]
        failed[place] = FakeFuture(KafkaTimeoutError("expired"))
        with pytest.raises(KafkaTimeoutError):
            check_all(failed)


def test_a_record_without_any_answer_is_not_acknowledged() -> None:
    with pytest.raises(Exception, match="neither acknowledged nor refused"):
        check_all([FakeFuture(None), FakeFuture(None, is_done=False)])


def test_a_record_lost_inside_a_transaction_is_no_hole(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.publish(outbox([b"first"], 1))
    producer = library_of(log)
    send = producer.send

    def lose_the_second(topic: str, value: bytes, *rest: Any) -> Any:
        future = send(topic, value, *rest)
        if value == b"b":
            future.failure(KafkaTimeoutError("delivery timed out"))
        return future

    monkeypatch.setattr(producer, "send", lose_the_second)
    with pytest.raises(CommitFailed):
        log.publish(outbox([b"a", b"b", b"c"], 4))

    assert committed(log, 0) == Committed(1, "m")


# 3: offsets of an aborted transaction leak into the next one


def test_a_failed_producer_is_thrown_away_with_its_offsets(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.publish(outbox([b"first"], 1))
    before = library_of(log)
    monkeypatch.setattr(
        before._transaction_manager,
        "begin_commit",
        lambda: (_ for _ in ()).throw(OutOfOrderSequenceNumberError()),
    )

    with pytest.raises(CommitFailed):
        log.publish(outbox([b"lost"], 9))

    assert library_of(log) is not before
    assert committed(log, 0) == Committed(1, "m")


# 4: a generation of -1 is accepted unfenced


@pytest.mark.parametrize("change", [{"generation_id": -1}, {"state": MemberState.UNJOINED}])
def test_a_member_without_a_generation_is_not_stable(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    consumer: Any = log._member._consumer  # type: ignore[attr-defined]
    assert log._member.standing().is_stable
    changed = consumer.group_metadata()._replace(**change)

    monkeypatch.setattr(consumer, "group_metadata", lambda: changed)

    assert not log._member.standing().is_stable


# 5: a deserializer that raises makes every later poll spin. 8: stable offsets have to be asked for


def test_both_consumers_take_raw_bytes_of_committed_records(log: KafkaLog) -> None:
    reading: list[Any] = [log._member, log._reader]
    for one in reading:
        config = one._consumer.config
        assert config["isolation_level"] == "read_committed"
        assert config["key_deserializer"] is None
        assert config["value_deserializer"] is None


# 6: transactions that follow each other wait for 100 ms, 7: and a commit has no time limit


class NoAnswer:
    def __init__(self, *_: object) -> None:
        """Whatever is asked."""

    def wait(self, timeout_ms: int) -> bool:
        return False


@pytest.mark.parametrize(
    ("call", "what"), [("begin_commit", "commit"), ("send_offsets_to_transaction", "offsets")]
)
def test_no_answer_is_a_failure_in_time(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch, call: str, what: str
) -> None:
    log.publish(outbox([b"first"], 1))
    monkeypatch.setattr(library_of(log)._transaction_manager, call, NoAnswer)

    with pytest.raises(CommitFailed, match=f"no answer about the {what} in 10000 ms"):
        log.publish(outbox([b"second"], 2))

    assert committed(log, 0) == Committed(1, "m")


def test_the_next_transaction_is_asked_for_again_after_2_ms(log: KafkaLog) -> None:
    assert library_of(log).config["retry_backoff_ms"] == RETRY_MS == 2


# 11: without the package crc32c a checksum takes longer than all the rest


def test_checksums_are_not_made_in_python() -> None:
    assert library_checksums._crc32c is crc32c.crc32c


# 9: callbacks run on the client's own thread


class FakeConsumer:
    """Has what a callback may use; anything else raises."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def pause(self, tp: Any) -> None:
        self.calls.append(("pause", tp.partition))

    def seek(self, tp: Any, offset: int) -> None:
        self.calls.append(("seek", tp.partition, offset))


def tps(*partitions: int) -> list[TopicPartition]:
    return [TopicPartition("ticks", partition) for partition in partitions]


def test_callbacks_only_note_and_park() -> None:
    consumer, membership = FakeConsumer(), Membership()
    listener = Listener(consumer, membership)

    listener.on_partitions_assigned(tps(0, 1, 2))
    assert consumer.calls == [c for p in range(3) for c in (("pause", p), ("seek", p, 0))]
    assert membership.take("member") == ({0, 1, 2}, set())
    consumer.calls.clear()
    listener.on_partitions_revoked(tps(1))
    listener.on_partitions_lost(tps(2))

    assert consumer.calls == []
    assert membership.take("member") == (set(), {1, 2})
    assert membership.owned() == {0}


# 10: defaults that make a takeover take minutes


def test_no_default_decides_over_delivery(log: KafkaLog, settings: KafkaSettings) -> None:
    expected = {
        "session_timeout_ms": settings.session_timeout_ms,
        "max_poll_interval_ms": settings.max_poll_interval_ms,
        "heartbeat_interval_ms": 300,
        "auto_offset_reset": "none",
        "enable_auto_commit": False,
        "partition_assignment_strategy": [CooperativeStickyAssignor],
        "allow_auto_create_topics": False,
        "check_crcs": True,
    }
    member: Any = log._member
    assert {name: member._consumer.config[name] for name in expected} == expected
    config = library_of(log).config
    assert config["acks"] == -1
    assert config["enable_idempotence"] is True
    assert config["delivery_timeout_ms"] == settings.delivery_timeout_ms
    assert config["transaction_timeout_ms"] == settings.transaction_timeout_ms


def test_no_default_decides_how_many_records_a_poll_brings(
    log: KafkaLog, topics: KafkaTopics
) -> None:
    topics.feed(0, [(b"k", b"%d" % i, 1, None) for i in range(1_200)])
    log.go(0, 0)

    (batch,) = log.poll(10_000, 2_000).batches
    assert len(batch) > 500


# 13: short polls give up before they have found their coordinator


def test_until_it_has_joined_a_poll_is_no_short_one(settings: KafkaSettings) -> None:
    log = KafkaLog(settings)

    _, polls = until_owned(log, {0, 1}, timeout_ms=1)

    assert polls < 50
    log.close()


# Failures


def test_an_append_that_is_not_allowed_says_so(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(*_: Any) -> None:
        raise TopicAuthorizationFailedError({"ticks"})

    monkeypatch.setattr(KafkaProducer, "send", forbid)
    appender = Appender(settings)

    with pytest.raises(AppendForbidden, match="may not write to topic ticks"):
        appender.append(0, b"k", None, None)
    appender.close()


def test_a_producer_that_failed_is_gone_with_its_thread(kafka: Broker) -> None:
    forecasts = kafka.fresh_topic(2, "forecasts", max_message_bytes="10000")
    settings = fresh_settings(kafka, forecasts=forecasts)
    ensure_topics(settings)
    publisher = Publisher(settings)
    producer: Any = publisher._open()
    sender = producer._producer._sender

    with pytest.raises(CommitFailed):
        publisher.send(outbox([b"x" * 50_000], 1))

    assert publisher._producer is None
    sender.join(PATIENCE_S)
    assert not sender.is_alive()
