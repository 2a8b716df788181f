"""What bites in Kafka clients, each as a test of our log with kafka-python and with librdkafka.

What concerns transactions alone is in test_kafka_transactions.py, one library alone in
test_kafka_python.py and test_librdkafka.py.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from slotcast.log.kafka.client import InstanceFenced
from slotcast.log.kafka.group import Membership
from slotcast.log.kafka.log import KafkaLog
from slotcast.log.kafka.places import Remedy
from slotcast.log.kafka.topics import ensure_topics
from slotcast.log.port import (
    CommitFailed,
    Committed,
    DeadLetter,
    Forecasts,
    LogError,
    LogUnavailable,
    NotYet,
    Outbox,
)
from slotcast.settings import KafkaSettings
from tests.contract.asking import committed
from tests.contract.kafka_logs import (
    CLIENTS,
    batches,
    fresh_settings,
    outbox,
    owned,
    poll_together,
    publish_at_last,
    until,
    until_owned,
    values,
)
from tests.contract.kafka_topics import KafkaTopics
from tests.servers import PATIENCE_S, Broker, KafkaServer


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    """Each client library."""
    return str(request.param)


@pytest.fixture(params=["exactly-once", "at-least-once"])
def settings(kafka: Broker, request: pytest.FixtureRequest, client: str) -> KafkaSettings:
    return fresh_settings(kafka, delivery=request.param, client=client)


# 1: a record that fails leaves the rest committable


def test_one_refused_record_fails_the_whole_publish(kafka: Broker, client: str) -> None:
    forecasts = kafka.fresh_topic(2, "forecasts", max_message_bytes="10000")
    settings = fresh_settings(kafka, forecasts=forecasts, client=client)
    log = KafkaLog(settings)
    until_owned(log, {0, 1})

    with pytest.raises(CommitFailed, match=r"cannot publish to forecasts|a transaction of group-"):
        log.publish(outbox([b"small", b"x" * 50_000, b"small"], 3))

    assert committed(log, 0) is None
    log.publish(outbox([b"small"], 3))
    assert committed(log, 0) == Committed(3, "m")
    log.close()


# 5: a deserializer that raises makes every later poll spin


def test_records_are_consumed_as_raw_bytes(log: KafkaLog, topics: KafkaTopics) -> None:
    topics.feed(0, [(b"\xff", b"\xfe\x80", 1, None), (b"k", b"after the poison", 1, None)])
    log.go(0, 0)

    assert values(log, 2) == [b"\xfe\x80", b"after the poison"]


def test_a_header_whose_name_is_no_utf8_is_none(log: KafkaLog, topics: KafkaTopics) -> None:
    """kafka-python calls its record corrupt, in this poll and in every later one."""
    topics.feed(0, [(b"k", b"before", 1, None)])
    topics.feed_with_a_bad_name(0, (b"k", b"named badly", 1, None))
    topics.feed_with_a_bad_name(0, (None, b"", 1, b"{}"))
    topics.feed(0, [(b"k", b"behind", 1, None), (None, b"", 1, b"control")])
    log.go(0, 0)

    polled, read = batches(log, 5), list(log.read(0, 0, 5))

    for found in (polled, read):
        controls = [c for batch in found for c in batch.controls or [None] * len(batch)]
        assert [v for batch in found for v in batch.values] == [
            b"before", b"named badly", b"", b"behind", b"",
        ]  # fmt: skip
        assert controls == [None, None, None, None, b"control"]


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
    assert time.monotonic() - begun < 20  # the transaction lasts for 60 s
    assert committed(log, 1) is None

    other.commit_transaction()
    assert committed(log, 0) == Committed(7, "moved")
    other.close()


# 4 and 9: callbacks note and park, and nothing else


def test_lost_and_regained_between_two_looks_is_both() -> None:
    membership = Membership()
    membership.note_gained({0})
    membership.take("member")

    membership.note_lost({0})
    membership.note_gained({0})

    assert membership.take("member") == ({0}, {0})
    assert membership.take("member") == (set(), set())


def test_what_was_gained_and_lost_between_two_looks_never_was() -> None:
    membership = Membership()

    membership.note_gained({0})
    membership.note_lost({0})

    assert membership.take("member") == (set(), set())


def test_a_new_member_id_voids_what_is_still_held() -> None:
    membership = Membership()
    membership.note_gained({0, 1})
    membership.take("first")

    assert membership.take("second") == ({0, 1}, {0, 1})
    assert membership.take("second") == (set(), set())
    assert membership.take("") == (set(), set())


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_a_worker_that_polls_too_late_loses_everything_and_may_not_commit(
    kafka: Broker, client: str, delivery: str
) -> None:
    times = {"session_timeout_ms": 1_000, "max_poll_interval_ms": 1_000}
    log = KafkaLog(fresh_settings(kafka, **times, client=client, delivery=delivery))
    until_owned(log, {0, 1})
    until(lambda: not log._member.standing().is_stable)

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
    publish_at_last(log, outbox([b"in time"], 1))
    log.close()


# 10: defaults that make a takeover take minutes


def test_the_first_start_has_no_committed_offset_and_does_not_raise(log: KafkaLog) -> None:
    assert not log.poll(300, 100).batches
    assert committed(log, 0) is None


# 12: silent stalls


def test_a_silent_consumer_is_replaced(settings: KafkaSettings, topics: KafkaTopics) -> None:
    log = KafkaLog(settings, stall_s=0.5)
    until_owned(log, {0, 1})
    log.go(0, 0)
    stalled: Any = log._member
    stalled.poll = lambda *_: []
    topics.feed(0, [(b"k", b"v", 1, None)])

    until(lambda: log._member is not stalled, log)
    log._stall_s = PATIENCE_S

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
    log._places.was_tried(0, Remedy.JOIN_ANEW)
    log._member.poll = lambda *_: []  # type: ignore[method-assign]

    with pytest.raises(LogError, match="restart the worker"):
        until(lambda: False, log)
    log.close()


class Deaf:
    """A member that does not hear of one partition, until it has been sent back often enough."""

    def __init__(self, member: Any, partition: int, patience: int) -> None:
        self._member, self._partition, self.patience = member, partition, patience

    def poll(self, timeout_ms: int, max_ticks: int) -> Any:
        found = self._member.poll(timeout_ms, max_ticks)
        return [one for one in found if one.partition != self._partition or not self.patience]

    def resume(self, partition: int, offset: int) -> None:
        if partition == self._partition:
            self.patience -= 1
        self._member.resume(partition, offset)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._member, name)


def keep_feeding(log: KafkaLog, topics: KafkaTopics) -> list[Any]:
    """One more record for partition 1, and what the log delivers of partition 0 meanwhile."""
    topics.feed(1, [(b"k", b"v", 1, None)])
    return [v for batch in log.poll(200, 100).batches if batch.partition == 0 for v in batch.values]


def test_a_stalled_partition_is_not_hidden_by_one_that_delivers(
    settings: KafkaSettings, topics: KafkaTopics
) -> None:
    log = KafkaLog(settings, stall_s=4.0)
    until_owned(log, {0, 1})
    log.go(0, 0)
    log.go(1, 0)
    seat: Any = Deaf(log._member, 0, patience=1)
    log._member = seat
    topics.feed(0, [(b"k", b"first", 1, None), (b"k", b"second", 1, None)])

    found: list[Any] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < 2 and time.monotonic() < deadline:
        found += keep_feeding(log, topics)

    assert found == [b"first", b"second"]
    assert log._member is seat
    log.close()


def test_where_sending_back_does_not_help_the_consumer_is_replaced(
    settings: KafkaSettings, topics: KafkaTopics
) -> None:
    log = KafkaLog(settings, stall_s=4.0)
    until_owned(log, {0, 1})
    log.go(0, 0)
    log.go(1, 0)
    deaf: Any = Deaf(log._member, 0, patience=2)
    log._member = deaf
    topics.feed(0, [(b"k", b"v", 1, None)])

    deadline = time.monotonic() + PATIENCE_S
    while log._member is deaf and time.monotonic() < deadline:
        keep_feeding(log, topics)
    log._stall_s = PATIENCE_S

    lost, _ = until_owned(log, {0, 1})
    assert lost == {0, 1}
    assert deaf.patience == 1
    log.go(0, 0)
    assert values(log, 1) == [b"v"]
    log.close()


def test_a_consumer_that_cannot_be_replaced_is_tried_again(
    settings: KafkaSettings, topics: KafkaTopics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that is away is no reason to end the worker."""
    log = KafkaLog(settings, stall_s=0.3)
    until_owned(log, {0, 1})
    topics.feed(0, [(b"k", b"v", 1, None)])
    log.go(0, 0)
    deaf: Any = log._member
    deaf.poll = lambda *_: []
    join, tried = log._driver.join, list[str]()

    def join_at_last(settings: KafkaSettings, worker: str) -> Any:
        tried.append(worker)
        if len(tried) < 3:
            raise LogUnavailable("no broker")
        return join(settings, worker)

    monkeypatch.setattr(log._driver, "join", join_at_last)

    until(lambda: log._member is not deaf, log)
    log._stall_s = PATIENCE_S

    assert len(tried) == 3
    until_owned(log, {0, 1})
    log.close()


def test_a_poll_does_not_lose_records_over_a_partition_that_cannot_be_sent_back(
    log: KafkaLog, topics: KafkaTopics, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics.feed(0, [(b"k", b"v0", 1, None), (b"k", b"v1", 1, None)])
    topics.feed(1, [(b"k", b"other", 1, None)])
    log.go(0, 0)
    log.go(1, 0)
    log._places.go(0, 1)  # what is there begins earlier
    log._places._places[0].silent_s = PATIENCE_S  # so that it is looked at in the first poll
    resume, refused = log._member.resume, list[int]()

    def resume_at_last(partition: int, offset: int) -> None:
        refused.append(partition)
        if len(refused) == 1:
            raise LogUnavailable("no broker")
        resume(partition, offset)

    monkeypatch.setattr(log._member, "resume", resume_at_last)
    log._stall_s = PATIENCE_S / 2

    found = {(b.partition, v) for b in batches(log, 2) for v in b.values}

    assert found == {(0, b"v1"), (1, b"other")}
    assert len(refused) > 1


# The position before a poll is where memory goes on, or its records are skipped or come twice


@pytest.mark.parametrize("moved_to", [0, 7])
def test_a_client_that_was_moved_is_sent_back(
    settings: KafkaSettings, topics: KafkaTopics, moved_to: int
) -> None:
    log = KafkaLog(settings)
    until_owned(log, {0, 1})
    topics.feed(0, [(b"k", b"%d" % i, 1, None) for i in range(10)])
    log.go(0, 0)
    before = until_values(log, 4)

    log._member.resume(0, moved_to)
    behind = values(log, 10 - len(before))

    assert before + behind == [b"%d" % i for i in range(10)]
    log.close()


def until_values(log: KafkaLog, count: int) -> list[Any]:
    """At most so many of the next records, in one poll."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for batch in log.poll(200, count).batches:
            return list(batch.values)
    raise AssertionError("nothing came")


def test_markers_are_no_holes(settings: KafkaSettings, topics: KafkaTopics) -> None:
    log = KafkaLog(settings, stall_s=PATIENCE_S)  # a machine may be slow
    until_owned(log, {0, 1})
    topics.feed(0, [(b"k", b"before", 1, None)])
    topics.abort_one(0)
    topics.feed(0, [(b"k", b"behind", 1, None)])
    log.go(0, 0)

    assert values(log, 2) == [b"before", b"behind"]
    log.close()


def test_a_member_left_without_partitions_joins_anew(settings: KafkaSettings) -> None:
    log = KafkaLog(settings, stall_s=0.5)
    until_owned(log, {0, 1})

    log._member.membership.note_lost({0, 1})  # the group still counts them as ours
    lost, _ = until_owned(log, {0, 1})

    assert lost == {0, 1}
    log.close()


def test_a_member_that_the_group_has_forgotten_joins_anew(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = KafkaLog(settings, stall_s=0.5)
    until_owned(log, {0, 1})
    forgotten = log._member.standing()._replace(
        is_stable=False, is_joining=True, member_id="forgotten"
    )

    monkeypatch.setattr(log._member, "standing", lambda: forgotten)
    log._member.membership.note_lost({0, 1})
    lost, _ = until_owned(log, {0, 1})

    assert lost == {0, 1}
    log.close()


def test_a_spare_member_is_left_alone(settings: KafkaSettings) -> None:
    members = [KafkaLog(settings) for _ in range(3)]
    until(lambda: sorted(len(owned(log)) for log in members) == [0, 1, 1], *members)
    seats = [log._member for log in members]
    for log in members:
        log._stall_s = 0.1

    for _ in range(6):
        poll_together(members, 200)

    assert [log._member for log in members] == seats
    for log in members:
        log.close()


def test_a_quiet_topic_is_no_stall(settings: KafkaSettings, topics: KafkaTopics) -> None:
    log = KafkaLog(settings)
    until_owned(log, {0, 1})
    topics.feed(0, [(b"k", b"v", 1, None)])
    topics.abort_one(0)
    log.go(0, 0)
    seat = log._member
    values(log, 1)
    log._stall_s = 0.1

    for _ in range(5):
        log.poll(200, 100)

    assert log._member is seat
    log.close()


# 13: short polls never join


def test_short_polls_join_all_the_same(settings: KafkaSettings) -> None:
    log = KafkaLog(settings)

    until_owned(log, {0, 1}, timeout_ms=1)

    log.close()


# Several workers


def test_a_second_worker_takes_its_share_and_gives_it_back(settings: KafkaSettings) -> None:
    first = KafkaLog(settings)
    until_owned(first, {0, 1})
    second = KafkaLog(settings)
    until(lambda: len(owned(second)) == 1, first, second)

    assert len(owned(first)) == 1
    assert owned(first) | owned(second) == {0, 1}
    second.close()
    until_owned(first, {0, 1})
    first.close()


def test_a_partition_that_moved_may_not_be_committed(settings: KafkaSettings) -> None:
    first = KafkaLog(settings)
    until_owned(first, {0, 1})
    second = KafkaLog(settings)
    until(lambda: len(owned(second)) == 1, first, second)
    (moved,) = owned(second)

    with pytest.raises(CommitFailed, match="not ours any more"):
        first.publish(Outbox(offsets={moved: Committed(1, "")}))

    second.publish(Outbox(offsets={moved: Committed(1, "")}))
    first.close()
    second.close()


def test_two_workers_with_one_instance_id_are_told_apart(kafka: Broker, client: str) -> None:
    settings = fresh_settings(kafka, instance_id="worker-1", client=client)
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


def test_what_carries_the_timestamps_of_ticks_takes_any_that_they_may_have(
    kafka: Broker, client: str
) -> None:
    ahead = "message.timestamp.after.max.ms"
    ticks = kafka.fresh_topic(1, message_timestamp_after_max_ms="7200000")
    settings = fresh_settings(kafka, ticks=ticks, client=client)
    log = KafkaLog(settings)
    until_owned(log, {0})
    stamp_ms = int(time.time() * 1e3) + 7_000_000
    letter = DeadLetter(0, 0, stamp_ms, "empty", "", b"k", b"", 0, "")
    forecast = Forecasts(0, [0], [stamp_ms], [b"k"], [b"f"])

    publish_at_last(log, Outbox([forecast], [letter], {0: Committed(1, "m")}))

    log.close()
    for topic in ("forecasts", "dead_letters"):
        strict = kafka.fresh_topic(1, topic.replace("_", "-"))
        with pytest.raises(LogError, match=f"{strict} has {ahead} 3600000 and {ticks} has 7200000"):
            KafkaLog(settings.model_copy(update={topic: strict}))


# Failure of the broker


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


def test_a_frozen_broker_fails_publish_and_append_in_time(server: KafkaServer, client: str) -> None:
    settings = fresh_settings(Broker(server.bootstrap), delivery_timeout_ms=1_500, client=client)
    log = KafkaLog(settings)
    until_owned(log, {0, 1})
    publish_at_last(log, outbox([b"before"], 1))  # a new broker takes its time
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
    publish_at_last(log, outbox([b"after"], 2))
    assert committed(log, 0) == Committed(2, "m")
    log.close()


def test_a_broker_that_restarts_is_found_again(server: KafkaServer, client: str) -> None:
    settings = fresh_settings(Broker(server.bootstrap), client=client)
    log = KafkaLog(settings)
    until_owned(log, {0, 1})
    log.go(0, 0)
    server.kill()
    assert not log.poll(500, 100).batches
    server.restart()
    topics = KafkaTopics(settings)
    topics.feed(0, [(b"k", b"after", 1, None)])

    found: list[bytes | None] = []
    deadline = time.monotonic() + PATIENCE_S
    while not found:  # the group may have given the member up meanwhile
        assert time.monotonic() < deadline
        brought = log.poll(200, 100)
        found += [value for batch in brought.batches for value in batch.values]
        for partition in brought.gained:
            assert committed(log, partition) is None
            log.go(partition, 0)

    assert found == [b"after"]
    topics.close()
    log.close()
