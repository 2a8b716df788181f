"""TLS and SASL with a real broker: both clients get in, and who does not is told why."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from slotcast.feeds.produce import produce_market
from slotcast.formats.choice import format_of
from slotcast.log.kafka.client import NotAllowed
from slotcast.log.kafka.driver import driver_of
from slotcast.log.kafka.log import KafkaLog
from slotcast.log.port import Committed, LogError
from slotcast.settings import KafkaSettings
from slotcast_models.schema import TickSchema
from tests.certificates import Authority
from tests.contract.asking import committed
from tests.contract.kafka_logs import CLIENTS, fresh_settings, outbox, until_owned, values
from tests.secured import (
    KEY_PASSWORD,
    MECHANISMS,
    PASSWORD,
    USER,
    SecuredKafka,
    allow,
    producer_rights,
    secured_kafka,
    worker_rights,
)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    with secured_kafka(tmp_path_factory.mktemp("certificates")) as server:
        yield server


@pytest.fixture
def sasl_ssl(secured: SecuredKafka) -> dict[str, Any]:
    """How the user gets in."""
    return {
        "bootstrap_servers": secured.sasl_ssl,
        "security_protocol": "SASL_SSL",
        "ca_file": secured.authority.file,
        "username": USER,
        "password": PASSWORD,
        "delivery_timeout_ms": 3_000,  # refusals come to an end
    }


PATIENT = {"delivery_timeout_ms": 30_000}
"""For who gets in: a broker's first answers take their time."""


def known(secured: SecuredKafka, how: dict[str, Any]) -> KafkaSettings:
    """Topics of one's own, to which the user has the rights of SECURITY.md and no other."""
    settings = fresh_settings(secured.plain, **how | PATIENT)
    allow(secured.plain, worker_rights(settings))
    return settings


def goes_round(settings: KafkaSettings) -> None:
    """A tick goes in, and a forecast and an offset come out, in a transaction."""
    log = KafkaLog(settings)
    try:
        until_owned(log, {0, 1})
        for partition in (0, 1):
            log.go(partition, 0)
        log.append(0, b"A", b"tick")
        assert values(log, 1) == [b"tick"]
        log.publish(outbox([b"forecast"], 1))
        assert committed(log, 0) == Committed(1, "m")
        assert log.position(0) == 1
    finally:
        log.close()


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_user_with_a_password_gets_in_over_tls(
    secured: SecuredKafka, sasl_ssl: dict[str, Any], client: str, mechanism: str
) -> None:
    more = {"client": client, "sasl_mechanism": mechanism}

    goes_round(known(secured, sasl_ssl | more))


@pytest.mark.parametrize("client", CLIENTS)
def test_a_user_with_a_password_gets_in_without_tls(
    secured: SecuredKafka, sasl_ssl: dict[str, Any], client: str
) -> None:
    more = {"bootstrap_servers": secured.sasl_plaintext, "security_protocol": "SASL_PLAINTEXT"}

    goes_round(known(secured, sasl_ssl | more | {"client": client, "ca_file": None}))


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("has_locked_key", [False, True])
def test_a_certificate_gets_in_without_a_password(
    secured: SecuredKafka, client: str, has_locked_key: bool, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{KEY_PASSWORD}\n")
    shown = secured.locked if has_locked_key else secured.client
    settings = fresh_settings(
        secured.plain,
        bootstrap_servers=secured.ssl,
        client=client,
        security_protocol="SSL",
        ca_file=secured.authority.file,
        certificate_file=shown.file,
        key_file=shown.key,
        **({"key_password_file": secret} if has_locked_key else {}),
    )

    goes_round(settings)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_wrong_password_is_said_to_be_wrong(
    secured: SecuredKafka, sasl_ssl: dict[str, Any], mechanism: str
) -> None:
    wrong = {"password": "hunter2 hunter2", "sasl_mechanism": mechanism}
    settings = fresh_settings(secured.plain, **sasl_ssl | wrong)

    # Whether the library hears the broker's answer is chance.
    with pytest.raises(LogError, match=r"user wells .*check kafka.username, kafka.pass") as told:
        KafkaLog(settings)

    assert "hunter2" not in str(told.value)


def ask(settings: KafkaSettings, part: str) -> None:
    """Ask the broker something with this part of the driver."""
    driver = driver_of(settings)
    with ExitStack() as opened:
        if part == "member":
            member = driver.join(settings, "worker")
            opened.callback(member.close)
            member.partitions()
        elif part == "reader":
            reader = driver.open_reader(settings)
            opened.callback(reader.close)
            reader.bounds(0)
        elif part == "sender":
            sender = driver.open_sender(settings)
            opened.callback(sender.discard)
            sender.append(settings.ticks, 0, b"k", b"v", [])
        else:
            producer = driver.open_producer(settings, "some-id")
            opened.callback(producer.discard)
            producer.init_transactions()


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("part", ["member", "reader", "sender", "producer"])
def test_every_connection_shows_the_password(
    secured: SecuredKafka, sasl_ssl: dict[str, Any], client: str, part: str
) -> None:
    """Each is asked by itself, with a wrong password: none of them gets in without."""
    wrong = {"password": "hunter2 hunter2", "client": client}
    settings = fresh_settings(secured.plain, **sasl_ssl | wrong)

    with pytest.raises(LogError) as told:
        ask(settings, part)

    assert "hunter2" not in str(told.value)


def test_an_authority_that_did_not_sign_is_said_to_be_the_wrong_one(
    secured: SecuredKafka, sasl_ssl: dict[str, Any], tmp_path: Path
) -> None:
    other = {"ca_file": Authority(tmp_path, "stranger").file}
    settings = fresh_settings(secured.plain, **sasl_ssl | other)

    with pytest.raises(LogError, match=r"certificate of .* is not trusted .*kafka.ca_file"):
        KafkaLog(settings)


def test_a_name_that_is_not_in_the_certificate_is_not_trusted(
    secured: SecuredKafka, sasl_ssl: dict[str, Any]
) -> None:
    there = {"bootstrap_servers": secured.sasl_ssl.replace("127.0.0.1", "localhost")}
    settings = fresh_settings(secured.plain, **sasl_ssl | there)

    with pytest.raises(LogError, match=r"not trusted \(Hostname mismatch.*name in kafka.bootstrap"):
        KafkaLog(settings)


def test_a_broker_that_wants_a_certificate_is_understood(secured: SecuredKafka) -> None:
    settings = fresh_settings(
        secured.plain,
        bootstrap_servers=secured.ssl,
        security_protocol="SSL",
        ca_file=secured.authority.file,
        delivery_timeout_ms=3_000,
    )

    with pytest.raises(LogError, match=r"refuses TLS .*kafka.certificate_file"):
        KafkaLog(settings)


def test_a_port_without_tls_is_said_to_be_none(
    secured: SecuredKafka, sasl_ssl: dict[str, Any]
) -> None:
    there = {"bootstrap_servers": secured.plain.bootstrap}
    settings = fresh_settings(secured.plain, **sasl_ssl | there)

    with pytest.raises(LogError, match=r"does the port take it|is SASL_SSL what its port speaks"):
        KafkaLog(settings)


def test_a_key_of_another_certificate_is_named(
    secured: SecuredKafka, sasl_ssl: dict[str, Any]
) -> None:
    mixed = {"certificate_file": secured.client.file, "key_file": secured.locked.key}
    settings = fresh_settings(secured.plain, **sasl_ssl | mixed)

    with pytest.raises(LogError, match=r"kafka.certificate_file .*client.pem and its key .*locked"):
        KafkaLog(settings)


def test_a_user_without_rights_is_told_what_is_missing(
    secured: SecuredKafka, sasl_ssl: dict[str, Any]
) -> None:
    settings = fresh_settings(secured.plain, **sasl_ssl | PATIENT)
    rights = worker_rights(settings)
    allow(secured.plain, [one for one in rights if one.resource.resource_name != settings.group])

    with pytest.raises(NotAllowed, match=r"may not .*; allow it to user wells: SECURITY.md"):
        goes_round(settings)


def test_producers_get_in_the_same_way(secured: SecuredKafka, sasl_ssl: dict[str, Any]) -> None:
    settings = fresh_settings(secured.plain, **sasl_ssl | PATIENT)
    allow(secured.plain, producer_rights(settings))
    form = format_of(TickSchema.default())

    sent = produce_market(settings, settings.ticks, 3, 1e6, 10, form, threading.Event())

    assert sent == 10
