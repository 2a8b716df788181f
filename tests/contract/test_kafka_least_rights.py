"""The rights that SECURITY.md lists are enough for a worker, and the doctor misses each of them.

They are read from the page, granted to a user who has no other, and used over SASL.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka.admin import KafkaAdminClient

from slotcast.bootstrap import build_worker
from slotcast.checks.finding import Finding
from slotcast.checks.kafka import kafka_findings
from slotcast.log.kafka.log import KafkaLog
from slotcast.log.port import Committed
from slotcast.metrics import Metrics
from slotcast.settings import KafkaSettings, Settings
from slotcast.store.memory import MemoryStore
from tests.contract.asking import committed
from tests.contract.kafka_logs import CLIENTS, fresh_settings, until_owned
from tests.contract.kafka_topics import KafkaTopics
from tests.contract.test_kafka_takeover import commit, die, leave_open, note_of, open_ones
from tests.secured import (
    PASSWORD,
    USER,
    Right,
    SecuredKafka,
    allow,
    secured_kafka,
    worker_rights,
)
from tests.servers import PATIENCE_S


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    with secured_kafka(tmp_path_factory.mktemp("certificates")) as server:
        yield server


@pytest.fixture
def make(secured: SecuredKafka) -> Callable[..., KafkaSettings]:
    """Settings of the user with topics of its own, which are there already."""

    def settings(**more: Any) -> KafkaSettings:
        how = {
            "bootstrap_servers": secured.sasl_plaintext,
            "security_protocol": "SASL_PLAINTEXT",
            "username": USER,
            "password": PASSWORD,
            "create_topics": False,
            "session_timeout_ms": 3_000,
        }
        made = fresh_settings(secured.plain, **how | more)
        topic = {"num_partitions": 2, "replication_factor": 1}
        with KafkaAdminClient(bootstrap_servers=secured.plain.bootstrap) as admin:
            admin.create_topics({made.forecasts: topic, made.dead_letters: topic})
        return made

    return settings


def test_the_page_has_a_row_for_every_kind_of_resource(
    make: Callable[..., KafkaSettings],
) -> None:
    settings = make(create_topics=True)

    told = {(one.resource.resource_name, one.operation) for one in worker_rights(settings)}

    assert len(told) >= 16
    assert (settings.ticks, "DescribeConfigs") in told
    assert (settings.dead_letters, "Create") in told
    assert (f"{settings.group}.{settings.ticks}.", "Write") in told


@pytest.mark.parametrize("client", CLIENTS)
def test_a_worker_answers_ticks_resets_and_dead_letters_with_these_rights(
    secured: SecuredKafka, make: Callable[..., KafkaSettings], client: str
) -> None:
    settings = make(client=client)
    allow(secured.plain, worker_rights(settings))
    outside = settings.model_copy(
        update={"bootstrap_servers": secured.plain.bootstrap, "security_protocol": "PLAINTEXT"}
    )
    topics = KafkaTopics(outside)
    now_ms = round(time.time() * 1e3)
    record = b'{"instrument":"A","ts":%d,"price":1.5}' % now_ms
    topics.feed_all({0: [(b"A", record, now_ms, None)], 1: [(b"A", b"{", now_ms, None)]})
    worker = build_worker(Settings(kafka=settings), KafkaLog(settings), MemoryStore(), Metrics())
    log = worker.parts.log

    log.append(0, b"A", None)
    deadline = time.monotonic() + PATIENCE_S
    while worker.tally.counts["resets"] < 1 or worker.tally.counts["rejects"] < 1:
        assert time.monotonic() < deadline, worker.tally.counts
        worker.turn()
    worker.stop()
    worker.run()

    assert len(topics.settled(settings.forecasts, 0)) == 1
    assert len(topics.settled(settings.dead_letters, 1)) == 1
    topics.close()


@pytest.mark.parametrize("client", CLIENTS)
def test_a_dead_owners_transaction_is_ended_with_these_rights(
    secured: SecuredKafka, make: Callable[..., KafkaSettings], client: str
) -> None:
    settings = make(client=client, transaction_timeout_ms=60_000)
    allow(secured.plain, worker_rights(settings))
    plain = settings.model_copy(update={"bootstrap_servers": secured.plain.bootstrap})
    dead = KafkaLog(settings.model_copy(update={"instance_id": "worker-0"}))
    until_owned(dead, {0, 1})
    commit(dead, 3)
    leave_open(dead, offset=9)
    die(dead)
    heir = KafkaLog(settings.model_copy(update={"instance_id": "worker-1"}))
    until_owned(heir, {0, 1})
    assert open_ones(plain) == [dead.owner]

    assert committed(heir, 0) == Committed(3, note_of(dead))

    assert open_ones(plain) == []
    heir.close()
    dead.close()


def found(settings: KafkaSettings) -> list[Finding]:
    return list(kafka_findings(settings))


def test_doctor_is_content_with_these_rights(
    secured: SecuredKafka, make: Callable[..., KafkaSettings]
) -> None:
    settings = make()
    allow(secured.plain, worker_rights(settings))

    told = found(settings)

    assert [one for one in told if one.verdict != "OK"] == []
    assert {"rights", "group", "transactions"} <= {one.check for one in told}


MISSING = {
    "ticks Read": ("rights", "FAIL", "READ {ticks}"),
    "ticks DescribeConfigs": ("topic of ticks", "WARN", "allow DESCRIBE_CONFIGS"),
    "ticks Write": ("rights", "WARN", "may not write to {ticks}"),
    "forecasts Write": ("rights", "FAIL", "WRITE {forecasts}"),
    "forecasts Read": ("rights", "FAIL", "READ {forecasts}"),
    "dead_letters Write": ("rights", "FAIL", "WRITE {dead_letters}"),
    "dead_letters Read": ("rights", "FAIL", "READ {dead_letters}"),
    "group Read": ("group", "FAIL", "allow READ on group {group}"),
    "transactions Write": ("transactions", "FAIL", "allow WRITE and DESCRIBE on transactional ids"),
}
"""Right -> check, verdict and words. The right to describe comes with each of them."""


def name_of(right: Right, settings: KafkaSettings) -> str:
    names = {getattr(settings, one): one for one in ("ticks", "forecasts", "dead_letters", "group")}
    return f"{names.get(right.resource.resource_name, 'transactions')} {right.operation}"


def test_every_right_of_the_page_is_tried_without(make: Callable[..., KafkaSettings]) -> None:
    settings = make()
    told = {name_of(right, settings) for right in worker_rights(settings)}

    assert {one for one in told if not one.endswith(" Describe")} == set(MISSING)


@pytest.mark.parametrize("missing", MISSING)
def test_doctor_names_a_right_that_is_missing(
    secured: SecuredKafka, make: Callable[..., KafkaSettings], missing: str
) -> None:
    settings = make()
    rights = [one for one in worker_rights(settings) if name_of(one, settings) != missing]
    allow(secured.plain, rights)
    check, verdict, words = MISSING[missing]

    told = [one for one in found(settings) if one.verdict != "OK"]

    assert [(one.check, one.verdict) for one in told] == [(check, verdict)]
    assert words.format(**settings.model_dump()) in f"{told[0].found} {told[0].remedy}"
