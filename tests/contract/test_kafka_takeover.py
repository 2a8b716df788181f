"""Who may end whose open transaction, and what a partition without a usable offset says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import NoError
from kafka.structs import OffsetAndMetadata

from slotcast.bootstrap import build_worker
from slotcast.damage import StoppedByPolicy
from slotcast.log.kafka.log import KafkaLog
from slotcast.log.kafka.takeover import owner_of, transactional_id
from slotcast.log.port import CommitFailed, Committed, Forecasts, NotYet, OffsetsLost, Outbox
from slotcast.metrics import Metrics
from slotcast.partition import CommitNote, Phase
from slotcast.settings import KafkaSettings, Settings
from slotcast.store.memory import MemoryStore
from tests.contract.asking import committed
from tests.contract.kafka_logs import CLIENTS, fresh_settings, owned, until, until_owned
from tests.contract.kafka_topics import KafkaTopics
from tests.servers import Broker

NOTE = CommitNote(0, 7, "bundle", "numerics")


@pytest.fixture(params=CLIENTS)
def settings(kafka: Broker, request: pytest.FixtureRequest) -> KafkaSettings:
    times = {"session_timeout_ms": 3_000, "transaction_timeout_ms": 60_000}
    return fresh_settings(kafka, client=request.param, **times)


@pytest.fixture
def join(settings: KafkaSettings) -> Iterator[Callable[..., KafkaLog]]:
    """Makes members of the group."""
    members: list[KafkaLog] = []

    def make(instance_id: str | None = None, **changes: Any) -> KafkaLog:
        changes |= {"instance_id": instance_id}
        members.append(KafkaLog(settings.model_copy(update=changes)))
        return members[-1]

    yield make
    for member in members:
        member.close()


def note_of(log: KafkaLog) -> str:
    return CommitNote(0, 7, "bundle", "numerics", log.owner).text()


def commit(log: KafkaLog, offset: int, note: str | None = None) -> None:
    log.publish(Outbox(offsets={0: Committed(offset, note_of(log) if note is None else note)}))


def leave_open(log: KafkaLog, *, offset: int | None) -> Any:
    """A forecast sent, perhaps an offset too, and no commit."""
    settings: KafkaSettings = log._settings
    producer: Any = log._publisher._open()
    producer.begin()
    producer.send(settings.forecasts, 0, [b"A"], [b"open"], [1])
    producer.flush()
    if offset is not None:
        moved = {0: Committed(offset, "lost")}
        producer.send_offsets(settings.ticks, moved, log._member.standing().group)
    return producer


def die(log: KafkaLog) -> None:
    """Fall silent; the broker learns of it when the session ends, or at once without a name."""
    log._member.close()


def open_ones(settings: KafkaSettings) -> list[str]:
    with KafkaAdminClient(bootstrap_servers=settings.bootstrap_servers) as admin:
        listed = admin.list_transactions(state_filters=["Ongoing"])
    ids = [one.transactional_id for ones in listed.values() for one in ones]
    return [one for one in ids if one.startswith(settings.group)]


# Who ends what


@pytest.mark.parametrize("name", ["worker-0", None])
@pytest.mark.parametrize("offset", [None, 9])
def test_a_dead_owners_transaction_is_ended_at_once(
    join: Callable[..., KafkaLog], settings: KafkaSettings, name: str | None, offset: int | None
) -> None:
    dead = join(name)
    until_owned(dead, {0, 1})
    commit(dead, 3)
    leave_open(dead, offset=offset)
    die(dead)
    heir = join("worker-1")
    until_owned(heir, {0, 1})
    assert open_ones(settings) == [dead.owner]

    begun = time.monotonic()
    assert committed(heir, 0) == Committed(3, note_of(dead))

    assert time.monotonic() - begun < settings.transaction_timeout_ms / 1e3 / 2
    assert open_ones(settings) == []


def test_a_position_is_told_without_touching_what_is_open(
    join: Callable[..., KafkaLog], settings: KafkaSettings
) -> None:
    owner = join("worker-0")
    until_owned(owner, {0, 1})
    commit(owner, 3)
    leave_open(owner, offset=9)
    onlooker = join("worker-1")

    assert [log.position(0) for log in (owner, onlooker)] == [3, 3]
    assert open_ones(settings) == [owner.owner]


def test_it_is_found_without_a_note_too(
    join: Callable[..., KafkaLog], settings: KafkaSettings
) -> None:
    dead = join()
    until_owned(dead, {0, 1})
    commit(dead, 3, "a note of an older build")
    leave_open(dead, offset=9)
    die(dead)
    heir = join()
    until_owned(heir, {0, 1})

    assert committed(heir, 0) == Committed(3, "a note of an older build")

    assert open_ones(settings) == []


def test_a_living_owner_is_left_alone(
    join: Callable[..., KafkaLog], settings: KafkaSettings
) -> None:
    owner = join("worker-0")
    until_owned(owner, {0, 1})
    commit(owner, 3)
    other = join()
    until(lambda: len(owned(other)) == 1, owner, other)
    producer = leave_open(owner, offset=9)

    for _ in range(3):
        with pytest.raises(NotYet):
            other.committed(0)

    producer.commit()
    assert committed(other, 0) == Committed(9, "lost")


def test_who_is_no_member_may_not_judge(
    join: Callable[..., KafkaLog], settings: KafkaSettings
) -> None:
    owner, outsider = join(), join()
    until(lambda: len(owned(outsider)) == 1, owner, outsider)
    leave_open(owner, offset=None)
    die(outsider)
    die(owner)

    outsider._takeover.end(owner.owner)
    outsider._takeover.end_any()

    assert open_ones(settings) == [owner.owner]


def test_no_other_deployments_id_begins_like_ours() -> None:
    def id_of(group: str, ticks: str, worker: str = "w") -> str:
        return transactional_id(KafkaSettings(group=group, ticks=ticks), worker)

    assert id_of("slotcast", "ticks", "worker-0") == "slotcast.ticks.worker-0"
    prefix = id_of("a", "b", "")
    for group, ticks, worker in (("a", "b.c", "d"), ("a.b", "c", "d"), ("a", "b2", "d")):
        assert not id_of(group, ticks, worker).startswith(prefix)
    assert id_of("a.b", "c") != id_of("a%2Eb", "c")


def test_what_a_living_member_left_open_it_ends_when_it_loses_partitions(
    join: Callable[..., KafkaLog], settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = join()
    until_owned(first, {0, 1})
    commit(first, 3)
    monkeypatch.setattr(first._publisher._open(), "commit", fail)
    with pytest.raises(CommitFailed):
        first.publish(
            Outbox([Forecasts(0, [3], [1], [b"A"], [b"open"])], [], {0: Committed(4, "")})
        )
    assert open_ones(settings) == [first.owner]

    second = join()
    until(lambda: len(owned(second)) == 1, first, second)

    assert open_ones(settings) == []


def fail(*_: Any) -> None:
    raise CommitFailed("no answer")


# Notes


def test_notes_without_and_with_an_owner_are_read_by_either_build() -> None:
    owned = CommitNote(0, 7, "bundle", "numerics", "g.t.w").text()

    assert owner_of(owned) == "g.t.w"
    assert owner_of(NOTE.text()) == owner_of("") == owner_of("a note of an older build") == ""
    assert "owner" not in NOTE.text()
    assert CommitNote.read(NOTE.text()) == NOTE
    assert CommitNote.read(owned[:-1] + ',"more":1}') == CommitNote.read(owned)


# Rebalancing


def test_a_claim_waits_for_the_rebalance_and_forecasts_do_not_commit_in_it(
    join: Callable[..., KafkaLog],
) -> None:
    log = join()
    until_owned(log, {0, 1})
    log._standing = log._member.standing()._replace(is_stable=False, is_joining=True)

    with pytest.raises(NotYet, match="is rebalancing"):
        commit(log, 1)
    with pytest.raises(CommitFailed) as failure:
        log.publish(Outbox([Forecasts(0, [0], [1], [b"A"], [b"f"])], [], {0: Committed(1, "")}))

    assert not isinstance(failure.value, NotYet)
    log.poll(200, 10)
    commit(log, 1)


# No usable offset


def run_to_failure(log: KafkaLog, settings: KafkaSettings) -> None:
    worker = build_worker(Settings(kafka=settings), log, MemoryStore(), Metrics())
    for _ in range(100):
        worker.turn()
        for partition in worker.partitions.values():
            if partition.phase is Phase.STOPPED:
                raise StoppedByPolicy(partition.damage)


def test_expired_offsets_stop_the_worker_with_the_command_that_restores_them(
    join: Callable[..., KafkaLog], settings: KafkaSettings
) -> None:
    first = join()
    until_owned(first, {0, 1})
    forecast = b'{"tick":{"offset":41}}'
    for offset in (42, 43, 44):
        column = [Forecasts(0, [41], [1], [b"A"], [forecast])] if offset == 42 else []
        first.publish(Outbox(column, [], {0: Committed(offset, note_of(first))}))
    assert committed(first, 0) == Committed(44, note_of(first))
    first.close()
    tp = TopicPartition(settings.ticks, 0)
    with KafkaAdminClient(bootstrap_servers=settings.bootstrap_servers) as admin:
        admin.delete_group_offsets(settings.group, [tp])

    log = join()
    until_owned(log, {0, 1})
    with pytest.raises(OffsetsLost, match=r"forecasts up to tick 41: .* slotcast offsets restore"):
        log.committed(0)
    assert committed(log, 1) is None


def test_forecasts_that_nobody_could_read_are_none(
    join: Callable[..., KafkaLog], settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = join()
    until_owned(log, {0, 1})
    leave_open(log, offset=None)
    log._publisher.close()

    assert committed(log, 0) is None


def test_a_tick_topic_made_anew_stops_the_worker(
    join: Callable[..., KafkaLog], settings: KafkaSettings
) -> None:
    first = join()
    until_owned(first, {0, 1})
    column = Forecasts(0, [41], [1], [b"A"], [b'{"tick":{"offset":41}}'])
    first.publish(Outbox([column], [], {0: Committed(42, note_of(first))}))
    first.close()
    with KafkaAdminClient(bootstrap_servers=settings.bootstrap_servers) as admin:
        admin.delete_topics([settings.ticks])
        wanted = {"num_partitions": 2, "replication_factor": 1}
        admin.create_topics({settings.ticks: wanted}, wait_for_metadata=True)

    with pytest.raises(OffsetsLost, match="the topic was made anew"):
        run_to_failure(join(), settings)


def test_an_offset_beyond_the_end_stops_its_partition(
    join: Callable[..., KafkaLog], settings: KafkaSettings
) -> None:
    topics = KafkaTopics(settings)
    first = join()
    until_owned(first, {0, 1})
    topics.feed(0, [(b"A", b"{}", round(time.time() * 1e3), None)] * 3)
    topics.close()
    first.close()
    tp = TopicPartition(settings.ticks, 0)
    with KafkaAdminClient(bootstrap_servers=settings.bootstrap_servers) as admin:
        moved = {tp: OffsetAndMetadata(100, "", -1)}
        assert admin.alter_group_offsets(settings.group, moved) == {tp: NoError}

    with pytest.raises(StoppedByPolicy, match="committed offset 100 was moved by hand"):
        run_to_failure(join(), settings)
