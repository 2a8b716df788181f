"""Transactions on kafka-python 3.0.12: what bites, and that nothing half-done is ever seen."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaTimeoutError, OutOfOrderSequenceNumberError
from kafka.structs import MemberState

from slotcast.log.kafka import KafkaLog
from slotcast.log.port import CommitFailed, Committed, Forecasts, LogError, Outbox
from slotcast.settings import KafkaSettings
from tests.contract.asking import committed
from tests.contract.kafka_topics import KafkaTopics
from tests.contract.test_kafka_traps import fresh_settings, until_owned
from tests.servers import Broker


@pytest.fixture
def settings(kafka: Broker) -> KafkaSettings:
    return fresh_settings(kafka, instance_id="worker-0", delivery_timeout_ms=3_000)


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


def outbox(offset: int, *values: bytes) -> Outbox:
    stamps = [round(time.time() * 1e3)] * len(values)
    columns = Forecasts(0, range(len(values)), stamps, [b"A"] * len(values), values)
    return Outbox([columns] if values else [], [], {0: Committed(offset, "note")})


def values(topics: KafkaTopics) -> list[bytes]:
    return [record.value for record in topics.records(topics.settings.forecasts, 0)]


def test_a_record_lost_inside_a_transaction_is_no_hole(
    log: KafkaLog, topics: KafkaTopics, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.publish(outbox(1, b"first"))
    producer: Any = log._publisher._open()  # type: ignore[attr-defined]
    send = producer.send

    def lose_the_second(topic: str, value: bytes, *rest: Any) -> Any:
        future = send(topic, value, *rest)
        if value == b"b":
            future.failure(KafkaTimeoutError("delivery timed out"))
        return future

    monkeypatch.setattr(producer, "send", lose_the_second)
    with pytest.raises(CommitFailed):
        log.publish(outbox(4, b"a", b"b", b"c"))

    assert committed(log, 0) == Committed(1, "note")
    assert values(topics) == [b"first"]


def test_a_failed_producer_is_thrown_away_with_its_offsets(
    log: KafkaLog, topics: KafkaTopics, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.publish(outbox(1, b"first"))
    before: Any = log._publisher._open()  # type: ignore[attr-defined]
    monkeypatch.setattr(
        before._transaction_manager,
        "begin_commit",
        lambda: (_ for _ in ()).throw(OutOfOrderSequenceNumberError()),
    )

    with pytest.raises(CommitFailed):
        log.publish(outbox(9, b"lost"))
    log.publish(Outbox([], [], {1: Committed(5, "other")}))

    assert log._publisher._open() is not before  # type: ignore[attr-defined]
    assert committed(log, 0) == Committed(1, "note")
    assert committed(log, 1) == Committed(5, "other")
    assert values(topics) == [b"first"]


def test_no_answer_to_the_commit_is_a_failure_in_time(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.publish(outbox(1, b"first"))
    producer: Any = log._publisher._open()  # type: ignore[attr-defined]
    monkeypatch.setattr(producer._transaction_manager, "begin_commit", _NoAnswer)
    begun = time.monotonic()

    with pytest.raises(CommitFailed, match="no answer about the commit"):
        log.publish(outbox(2, b"second"))

    assert time.monotonic() - begun < 15
    assert committed(log, 0) == Committed(1, "note")


class _NoAnswer:
    def wait(self, timeout_ms: int) -> bool:
        return False


def test_a_member_without_a_generation_may_not_commit(log: KafkaLog) -> None:
    log.publish(outbox(1, b"first"))

    for change in ({"generation_id": -1}, {"state": MemberState.UNJOINED}):
        log._group = log._consumer.group_metadata()._replace(**change)
        with pytest.raises(CommitFailed, match="not a stable member"):
            log.publish(outbox(2, b"second"))

    assert committed(log, 0) == Committed(1, "note")


def test_readers_of_committed_records_see_all_of_a_publish_or_nothing(
    log: KafkaLog, topics: KafkaTopics, settings: KafkaSettings
) -> None:
    producer: Any = log._publisher._open()  # type: ignore[attr-defined]
    producer.begin_transaction()
    producer.send(settings.forecasts, b"open", partition=0).get(10)
    at = TopicPartition(settings.forecasts, 0)
    reader = KafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers, isolation_level="read_committed"
    )
    reader.assign([at])
    reader.seek(at, 0)

    assert reader.poll(1_000) == {}
    log._publisher.close()
    log.publish(outbox(1, b"whole"))

    assert values(topics) == [b"whole"]
    reader.close()


def test_a_restart_ends_what_the_dead_worker_left_open(
    log: KafkaLog, settings: KafkaSettings, topics: KafkaTopics
) -> None:
    log.publish(outbox(1, b"first"))
    dead: Any = log._publisher._open()  # type: ignore[attr-defined]
    dead.begin_transaction()
    dead.send(settings.forecasts, b"open", partition=0).get(10)

    second = KafkaLog(settings)
    begun = time.monotonic()
    until_owned(second, {0, 1})
    assert committed(second, 0) == Committed(1, "note")
    second.publish(outbox(2, b"second"))
    took = time.monotonic() - begun
    second.close()

    assert took < settings.transaction_timeout_ms / 1_000
    assert values(topics) == [b"first", b"second"]


def test_a_worker_whose_transactional_id_was_taken_ends(
    log: KafkaLog, settings: KafkaSettings
) -> None:
    log.publish(outbox(1, b"first"))
    other = KafkaLog(settings.model_copy(update={"group": settings.group}))
    other._publisher.settle()  # type: ignore[attr-defined]

    with pytest.raises(CommitFailed):
        log.publish(outbox(2, b"zombie"))
    with pytest.raises(LogError, match="another worker"):
        keep_publishing(log)
    other.close()


def keep_publishing(log: KafkaLog) -> None:
    """What a zombie that ignores failures would do."""
    for _ in range(50):
        log.poll(200, 10)
        with contextlib.suppress(CommitFailed):
            log.publish(outbox(2, b"zombie"))
