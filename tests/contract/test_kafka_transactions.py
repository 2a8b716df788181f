"""Transactions with each client library: nothing half-done is ever seen."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from slotcast.log.kafka.log import KafkaLog
from slotcast.log.kafka.transactions import TransactionalPublisher
from slotcast.log.port import CommitFailed, Committed, Forecasts, LogError, Outbox
from slotcast.settings import KafkaSettings
from tests.contract.asking import committed
from tests.contract.kafka_logs import CLIENTS, fresh_settings, until_owned
from tests.contract.kafka_topics import KafkaTopics
from tests.servers import Broker


@pytest.fixture(params=CLIENTS)
def settings(kafka: Broker, request: pytest.FixtureRequest) -> KafkaSettings:
    return fresh_settings(
        kafka, client=request.param, instance_id="worker-0", transaction_timeout_ms=60_000
    )


def outbox(offset: int, *values: bytes) -> Outbox:
    stamps = [round(time.time() * 1e3)] * len(values)
    columns = Forecasts(0, range(len(values)), stamps, [b"A"] * len(values), values)
    return Outbox([columns] if values else [], [], {0: Committed(offset, "note")})


def values(topics: KafkaTopics) -> list[bytes]:
    return [record.value for record in topics.settled(topics.settings.forecasts, 0)]


def raw_producer(settings: KafkaSettings, name: str) -> KafkaProducer:
    """What a worker of this name would have at the broker."""
    producer = KafkaProducer(
        bootstrap_servers=settings.bootstrap_servers,
        transactional_id=name,
        transaction_timeout_ms=settings.transaction_timeout_ms,
    )
    producer.init_transactions()
    return producer


# 2: a sequence error in a commit can make a lost transaction look committed


class Recorder:
    """A producer that notes what it is asked, and fails where it is told to."""

    def __init__(self, fails_at: str = "") -> None:
        self.fails_at, self.calls = fails_at, list[str]()

    def partitions_of(self, _: str) -> int:
        return 1

    def abort(self) -> bool:
        return False

    def discard(self) -> None:
        self.calls.append("discard")

    def __getattr__(self, name: str) -> Any:
        def call(*_: Any) -> None:
            self.calls.append(name)
            if name == self.fails_at:
                raise LogError("no")

        return call


IN_ORDER = ["init_transactions", "begin", "send", "flush", "send_offsets", "commit"]


@pytest.mark.parametrize("fails_at", ["", "send", "flush", "send_offsets", "commit"])
def test_nothing_is_under_way_when_the_commit_begins(
    fails_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = Recorder(fails_at)
    publisher = TransactionalPublisher(KafkaSettings(), "some-id")
    monkeypatch.setattr(publisher._driver, "open_producer", lambda *_: producer)

    with pytest.raises(CommitFailed) if fails_at else contextlib.nullcontext():
        publisher.commit(outbox(1, b"f"), {0: Committed(1, "")}, None)

    last = IN_ORDER.index(fails_at or "commit") + 1
    assert producer.calls == [*IN_ORDER[:last], *(["discard"] if fails_at else [])]


def test_a_failed_publish_leaves_no_offsets_behind(
    log: KafkaLog, topics: KafkaTopics, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.publish(outbox(1, b"first"))
    before: Any = log._publisher._open()
    monkeypatch.setattr(before, "commit", fail)

    with pytest.raises(CommitFailed):
        log.publish(outbox(9, b"lost"))
    log.publish(Outbox([], [], {1: Committed(5, "other")}))

    assert log._publisher._open() is not before
    assert committed(log, 0) == Committed(1, "note")
    assert committed(log, 1) == Committed(5, "other")
    assert values(topics) == [b"first"]


def test_offsets_that_the_broker_refused_are_nobodys(
    log: KafkaLog, topics: KafkaTopics, settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the library can abort, the same producer goes on; another takes half a second."""
    log.publish(outbox(1, b"first"))
    before: Any = log._publisher._open()
    refused = before.send_offsets

    def send_and_fail(*arguments: Any) -> None:
        refused(*arguments)
        raise LogError("the generation is not valid")

    with monkeypatch.context() as patch:
        patch.setattr(before, "send_offsets", send_and_fail)
        with pytest.raises(CommitFailed, match="generation"):
            log.publish(outbox(9, b"lost"))
    assert committed(log, 0) == Committed(1, "note")
    log.publish(Outbox([], [], {1: Committed(5, "other")}))

    assert (log._publisher._open() is before) == (settings.client == "librdkafka")
    assert committed(log, 0) == Committed(1, "note")
    assert committed(log, 1) == Committed(5, "other")
    assert values(topics) == [b"first"]


def fail() -> None:
    raise LogError("no answer")


@pytest.mark.parametrize(
    "changes", [{"is_stable": False}, {"is_joining": True, "is_stable": False}]
)
def test_who_is_no_stable_member_may_not_commit(log: KafkaLog, changes: dict[str, bool]) -> None:
    log.publish(outbox(1, b"first"))

    log._standing = log._member.standing()._replace(**changes)
    with pytest.raises(CommitFailed, match="not a stable member"):
        log.publish(outbox(2, b"second"))

    assert committed(log, 0) == Committed(1, "note")


def test_readers_of_committed_records_see_all_of_a_publish_or_nothing(
    log: KafkaLog, topics: KafkaTopics, settings: KafkaSettings
) -> None:
    producer = raw_producer(settings, log.owner)
    producer.begin_transaction()
    producer.send(settings.forecasts, b"open", partition=0).get(10)
    at = TopicPartition(settings.forecasts, 0)
    reader = KafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers, isolation_level="read_committed"
    )
    reader.assign([at])
    reader.seek(at, 0)

    assert reader.poll(1_000) == {}
    log.publish(outbox(1, b"whole"))

    assert values(topics) == [b"whole"]
    reader.close()
    producer.close(timeout=0)


def test_a_restart_ends_what_the_dead_worker_left_open(
    log: KafkaLog, settings: KafkaSettings, topics: KafkaTopics
) -> None:
    log.publish(outbox(1, b"first"))
    dead: Any = log._publisher._open()
    dead.begin()
    dead.send(settings.forecasts, 0, [b"A"], [b"open"], [1])
    dead.flush()

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
    other._publisher.settle()

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
