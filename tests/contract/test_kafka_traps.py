"""What bites in kafka-python 3.0.12 (docs/recovery.md), each as a test of our adapter.

What concerns transactions alone is in test_kafka_transactions.py.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaTimeoutError, TopicAuthorizationFailedError
from kafka.structs import ConsumerGroupMetadata, MemberState, OffsetAndMetadata

from slotcast.log.kafka import KafkaLog
from slotcast.log.kafka_client import InstanceFenced
from slotcast.log.kafka_group import Membership
from slotcast.log.kafka_producer import Appender, Publisher, check_all
from slotcast.log.kafka_topics import ensure_topics
from slotcast.log.port import (
    AppendForbidden,
    CommitFailed,
    Committed,
    Forecasts,
    LogError,
    NotYet,
    Outbox,
)
from slotcast.settings import KafkaSettings
from tests.contract.asking import committed
from tests.contract.kafka_topics import KafkaTopics
from tests.servers import Broker, KafkaServer

PATIENCE_S = 30


@pytest.fixture(params=["exactly-once", "at-least-once"])
def settings(kafka: Broker, request: pytest.FixtureRequest) -> KafkaSettings:
    return fresh_settings(kafka, delivery=request.param)


@pytest.fixture
def topics(settings: KafkaSettings) -> Iterator[KafkaTopics]:
    topics = KafkaTopics(settings)
    yield topics
    topics.close()


@pytest.fixture
def log(settings: KafkaSettings) -> Iterator[KafkaLog]:
    log = KafkaLog(settings)
    until_owned(log, {0, 1})
    yield log
    log.close()


def fresh_settings(broker: Broker, **changes: Any) -> KafkaSettings:
    ticks = broker.fresh_topic(2)
    names = {"forecasts": f"forecasts-{ticks}", "dead_letters": f"dead-letters-{ticks}"}
    return KafkaSettings(
        **{"bootstrap_servers": broker.bootstrap, "group": f"group-{ticks}", "ticks": ticks}
        | names
        | changes
    )


def until_owned(log: KafkaLog, wanted: set[int], timeout_ms: int = 200) -> tuple[set[int], int]:
    """Poll until exactly these partitions are owned; returns what was lost, and how many polls."""
    lost: set[int] = set()
    polls = 0
    deadline = time.monotonic() + PATIENCE_S
    while log._membership.owned() != wanted or polls == 0:
        assert time.monotonic() < deadline, f"owns {log._membership.owned()}, not {wanted}"
        lost |= set(log.poll(timeout_ms, 100).lost)
        polls += 1
    return lost, polls


def until(condition: Any, *logs: KafkaLog) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        for log in logs:
            log.poll(100, 100)
        if not logs:
            time.sleep(0.02)


def values(log: KafkaLog, count: int) -> list[bytes | None]:
    found: list[bytes | None] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < count:
        assert time.monotonic() < deadline, f"only {found} came"
        for batch in log.poll(200, 100).batches:
            found += batch.values
    return found


def outbox(values: list[bytes], offset: int) -> Outbox:
    count = len(values)
    column = Forecasts(0, range(count), [1_000] * count, [b"k"] * count, values)
    return Outbox([column], offsets={0: Committed(offset, "m")})


# 1: a record that fails leaves the rest committable


def test_one_refused_record_fails_the_whole_publish(kafka: Broker) -> None:
    forecasts = kafka.fresh_topic(2, "forecasts", max_message_bytes="10000")
    settings = fresh_settings(kafka, forecasts=forecasts)
    log = KafkaLog(settings)
    until_owned(log, {0, 1})

    with pytest.raises(CommitFailed, match=r"cannot publish to forecasts|commit a transaction"):
        log.publish(outbox([b"small", b"x" * 50_000, b"small"], 3))

    assert committed(log, 0) is None
    log.publish(outbox([b"small"], 3))
    assert committed(log, 0) == Committed(3, "m")
    log.close()


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


# 5: a deserializer that raises makes every later poll spin


def test_records_are_consumed_as_raw_bytes(log: KafkaLog, topics: KafkaTopics) -> None:
    topics.feed(0, [(b"\xff", b"\xfe\x80", 1, None), (b"k", b"after the poison", 1, None)])
    log.go(0, 0)

    assert values(log, 2) == [b"\xfe\x80", b"after the poison"]
    for consumer in (log._consumer, log._reader._consumer):
        assert consumer.config["key_deserializer"] is None
        assert consumer.config["value_deserializer"] is None


# 8: stable offsets are only asked for by a consumer that reads committed


def test_a_committed_offset_that_a_transaction_may_move_is_not_told(
    log: KafkaLog, settings: KafkaSettings
) -> None:
    log.publish(outbox([b"f"], 1))
    other = KafkaProducer(
        bootstrap_servers=settings.bootstrap_servers, transactional_id=uuid.uuid4().hex
    )
    other.init_transactions()
    other.begin_transaction()
    moved = {TopicPartition(settings.ticks, 0): OffsetAndMetadata(7, "moved", -1)}
    other.send_offsets_to_transaction(moved, settings.group)

    begun = time.monotonic()
    with pytest.raises(NotYet, match=r"may still move the offset of ticks-\w+-0"):
        log.committed(0)
    assert time.monotonic() - begun < 1
    assert committed(log, 1) is None

    other.commit_transaction()
    assert committed(log, 0) == Committed(7, "moved")
    other.close()


def test_both_consumers_read_committed(log: KafkaLog) -> None:
    assert log._consumer.config["isolation_level"] == "read_committed"
    assert log._reader._consumer.config["isolation_level"] == "read_committed"


# 4 and 9: callbacks note and park, and nothing else


class FakeConsumer:
    """Has what a callback may use; anything else raises."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.member = "first"

    def pause(self, tp: Any) -> None:
        self.calls.append(("pause", tp.partition))

    def seek(self, tp: Any, offset: int) -> None:
        self.calls.append(("seek", tp.partition, offset))

    def group_metadata(self) -> ConsumerGroupMetadata:
        return ConsumerGroupMetadata("group", 1, self.member, None, MemberState.STABLE)


def tps(*partitions: int) -> list[TopicPartition]:
    return [TopicPartition("ticks", partition) for partition in partitions]


def test_callbacks_only_note_and_park() -> None:
    consumer = FakeConsumer()
    membership = Membership(consumer)

    membership.on_partitions_assigned(tps(0, 1, 2))
    assert consumer.calls == [c for p in range(3) for c in (("pause", p), ("seek", p, 0))]
    assert membership.take() == ({0, 1, 2}, set())
    consumer.calls.clear()
    membership.on_partitions_revoked(tps(1))
    membership.on_partitions_lost(tps(2))

    assert consumer.calls == []
    assert membership.take() == (set(), {1, 2})
    assert membership.owned() == {0}


def test_lost_and_regained_between_two_looks_is_both() -> None:
    membership = Membership(FakeConsumer())
    membership.on_partitions_assigned(tps(0))
    membership.take()

    membership.on_partitions_lost(tps(0))
    membership.on_partitions_assigned(tps(0))

    assert membership.take() == ({0}, {0})
    assert membership.take() == (set(), set())


def test_what_was_gained_and_lost_between_two_looks_never_was() -> None:
    membership = Membership(FakeConsumer())

    membership.on_partitions_assigned(tps(0))
    membership.on_partitions_revoked(tps(0))

    assert membership.take() == (set(), set())


def test_a_new_member_id_voids_what_is_still_held() -> None:
    consumer = FakeConsumer()
    membership = Membership(consumer)
    membership.on_partitions_assigned(tps(0, 1))
    membership.take()

    consumer.member = "second"

    assert membership.take() == ({0, 1}, {0, 1})
    assert membership.take() == (set(), set())


def test_a_worker_that_polls_too_late_loses_everything_and_may_not_commit(kafka: Broker) -> None:
    log = KafkaLog(fresh_settings(kafka, max_poll_interval_ms=1_000))
    until_owned(log, {0, 1})
    until(lambda: log._consumer.group_metadata().state is MemberState.UNJOINED)

    with pytest.raises(CommitFailed):
        log.publish(outbox([b"late"], 1))

    lost: set[int] = set()
    gained: set[int] = set()
    deadline = time.monotonic() + PATIENCE_S
    while gained != {0, 1}:
        assert time.monotonic() < deadline
        brought = log.poll(200, 100)
        lost |= set(brought.lost)
        gained |= set(brought.gained)
    assert lost == {0, 1}
    log.publish(outbox([b"in time"], 1))
    log.close()


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
    config = log._consumer.config
    assert {name: config[name] for name in expected} == expected
    log.publish(outbox([b"f"], 1))
    config = log._publisher._producer.config
    assert config["acks"] == -1
    assert config["enable_idempotence"] is True
    assert config["delivery_timeout_ms"] == settings.delivery_timeout_ms


def test_the_first_start_has_no_committed_offset_and_does_not_raise(log: KafkaLog) -> None:
    assert not log.poll(300, 100).batches
    assert committed(log, 0) is None


# 12: silent stalls


def test_a_silent_consumer_is_replaced(settings: KafkaSettings, topics: KafkaTopics) -> None:
    log = KafkaLog(settings, stall_s=0.5)
    until_owned(log, {0, 1})
    log.go(0, 0)
    stalled = log._consumer
    stalled.poll = lambda *_: {}
    topics.feed(0, [(b"k", b"v", 1, None)])

    until(lambda: log._consumer is not stalled, log)

    lost, _ = until_owned(log, {0, 1})
    assert lost == {0, 1}
    log.go(0, 0)
    assert values(log, 1) == [b"v"]
    log.close()


def test_a_consumer_that_stays_silent_ends_the_worker(
    settings: KafkaSettings, topics: KafkaTopics
) -> None:
    log = KafkaLog(settings, stall_s=0.3)
    until_owned(log, {0, 1})
    topics.feed(0, [(b"k", b"v", 1, None)])
    log.go(0, 0)
    log._replaced = True
    log._consumer.poll = lambda *_: {}

    with pytest.raises(LogError, match="restart the worker"):
        until(lambda: False, log)
    log.close()


def test_a_member_left_without_partitions_joins_anew(settings: KafkaSettings) -> None:
    log = KafkaLog(settings, stall_s=0.5)
    until_owned(log, {0, 1})
    left_out = [TopicPartition(settings.ticks, p) for p in (0, 1)]

    log._membership.on_partitions_lost(left_out)  # the group still counts them as ours
    lost, _ = until_owned(log, {0, 1})

    assert lost == {0, 1}
    log.close()


def test_a_spare_member_is_left_alone(settings: KafkaSettings) -> None:
    members = [KafkaLog(settings) for _ in range(3)]
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for log in members:
            log.poll(200, 10)
        owned = sorted(len(log._membership.owned()) for log in members)
        if owned == [0, 1, 1]:
            break
    consumers = [log._consumer for log in members]
    for log in members:
        log._stall_s = 0.1

    for _ in range(6):
        for log in members:
            log.poll(200, 10)

    assert [log._consumer for log in members] == consumers
    for log in members:
        log.close()


def test_a_quiet_topic_is_no_stall(settings: KafkaSettings, topics: KafkaTopics) -> None:
    log = KafkaLog(settings, stall_s=0.1)
    until_owned(log, {0, 1})
    topics.feed(0, [(b"k", b"v", 1, None)])
    topics.abort_one(0)
    log.go(0, 0)
    consumer = log._consumer
    values(log, 1)

    for _ in range(5):
        log.poll(200, 100)

    assert log._consumer is consumer
    log.close()


# 13: short polls never join


def test_short_polls_join_all_the_same(settings: KafkaSettings) -> None:
    log = KafkaLog(settings)

    _, polls = until_owned(log, {0, 1}, timeout_ms=1)

    assert polls < 50
    log.close()


# Several workers


def test_a_second_worker_takes_its_share_and_gives_it_back(settings: KafkaSettings) -> None:
    first = KafkaLog(settings)
    until_owned(first, {0, 1})
    second = KafkaLog(settings)
    until(lambda: len(second._membership.owned()) == 1, first, second)

    assert len(first._membership.owned()) == 1
    assert first._membership.owned() | second._membership.owned() == {0, 1}
    second.close()
    until_owned(first, {0, 1})
    first.close()


def test_a_partition_that_moved_may_not_be_committed(settings: KafkaSettings) -> None:
    first = KafkaLog(settings)
    until_owned(first, {0, 1})
    second = KafkaLog(settings)
    until(lambda: len(second._membership.owned()) == 1, first, second)
    (moved,) = second._membership.owned()

    with pytest.raises(CommitFailed, match="not ours any more"):
        first.publish(Outbox(offsets={moved: Committed(1, "")}))

    second.publish(Outbox(offsets={moved: Committed(1, "")}))
    first.close()
    second.close()


def test_two_workers_with_one_instance_id_are_told_apart(kafka: Broker) -> None:
    settings = fresh_settings(kafka, instance_id="worker-1")
    first = KafkaLog(settings)
    until_owned(first, {0, 1})
    second = KafkaLog(settings)
    until_owned(second, {0, 1})

    with pytest.raises(CommitFailed, match="instance_id 'worker-1'"):
        first.publish(outbox([b"f"], 1))

    with pytest.raises(InstanceFenced, match="give every worker its own"):
        first.poll(100, 100)
    first.close()
    second.close()


# Topics


def test_missing_topics_are_created_with_as_many_partitions(settings: KafkaSettings) -> None:
    ensure_topics(settings)
    ensure_topics(settings.model_copy(update={"create_topics": False}))


def test_missing_topics_are_refused_when_they_may_not_be_created(kafka: Broker) -> None:
    settings = fresh_settings(kafka, create_topics=False)

    with pytest.raises(LogError, match=r"do not exist: create them with 2 partitions"):
        KafkaLog(settings)


def test_a_forecast_topic_with_fewer_partitions_is_refused(kafka: Broker) -> None:
    settings = fresh_settings(kafka, forecasts=kafka.fresh_topic(1, "forecasts"))

    with pytest.raises(LogError, match=r"1 partitions and .* has 2: give .* at least 2"):
        KafkaLog(settings)


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
def test_a_compacted_tick_topic_is_refused(kafka: Broker, policy: str) -> None:
    settings = fresh_settings(kafka, ticks=kafka.fresh_topic(2, cleanup_policy=policy))

    with pytest.raises(LogError, match=r"is compacted .* set its cleanup.policy to delete"):
        KafkaLog(settings)


# Failure of the broker


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
    publisher = Publisher(fresh_settings(kafka, forecasts=forecasts))
    ensure_topics(publisher._settings)
    sender = publisher._open()._sender

    with pytest.raises(CommitFailed):
        publisher.send(outbox([b"x" * 50_000], 1))

    assert publisher._producer is None
    assert not sender.is_alive()


def test_no_broker_is_an_error_with_the_way_out() -> None:
    settings = KafkaSettings(bootstrap_servers="127.0.0.1:1", delivery_timeout_ms=1_000)

    with pytest.raises(LogError, match=r"127.0.0.1:1: .* is kafka.bootstrap_servers right"):
        KafkaLog(settings)


@pytest.fixture
def server() -> Iterator[KafkaServer]:
    """A broker of one's own, to be frozen and killed."""
    if "KAFKA_BOOTSTRAP_SERVERS" in os.environ:
        pytest.skip("the broker is not ours to freeze")
    with KafkaServer() as server:
        yield server


def test_a_frozen_broker_fails_publish_and_append_in_time(server: KafkaServer) -> None:
    settings = fresh_settings(Broker(server.bootstrap), delivery_timeout_ms=1_500)
    log = KafkaLog(settings)
    until_owned(log, {0, 1})
    log.publish(outbox([b"before"], 1))
    server.suspend()
    started = time.monotonic()

    with pytest.raises(CommitFailed):
        log.publish(outbox([b"frozen"], 2))
    with pytest.raises(LogError):
        log.append(0, b"k", b"v")
    assert time.monotonic() - started < 10
    server.resume()

    assert committed(log, 0) == Committed(1, "m")
    until_owned(log, {0, 1})
    log.publish(outbox([b"after"], 2))
    assert committed(log, 0) == Committed(2, "m")
    log.close()


def test_a_broker_that_restarts_is_found_again(server: KafkaServer) -> None:
    settings = fresh_settings(Broker(server.bootstrap))
    log = KafkaLog(settings)
    until_owned(log, {0, 1})
    log.go(0, 0)
    server.kill()
    assert not log.poll(500, 100).batches
    server.restart()
    topics = KafkaTopics(settings)
    topics.feed(0, [(b"k", b"after", 1, None)])

    until(lambda: log._membership.owned() == {0, 1}, log)
    assert committed(log, 0) is None
    log.go(0, 0)

    assert values(log, 1) == [b"after"]
    topics.close()
    log.close()
