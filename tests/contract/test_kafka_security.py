"""TLS and SASL with a real broker: both clients get in, and who does not is told why."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
    UserScramCredentialUpsertion,
)

from slotcast.formats.choice import format_of
from slotcast.log.kafka import KafkaLog
from slotcast.log.kafka_client import NotAllowed
from slotcast.log.kafka_driver import driver_of
from slotcast.log.port import LogError
from slotcast.produce import produce_market
from slotcast.settings import KafkaSettings
from slotcast_models.schema import TickSchema
from tests.certificates import Authority, Certificate
from tests.contract.kafka_logs import CLIENTS, fresh_settings, outbox, until_owned, values
from tests.servers import Broker, KafkaServer, free_ports

USER, PASSWORD = "wells", "Tr0ub4dor&3"
MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
LOGIN = "org.apache.kafka.common.security"
NEEDED = {
    ResourceType.TOPIC: ("*", ("READ", "WRITE", "CREATE", "DESCRIBE", "DESCRIBE_CONFIGS")),
    ResourceType.GROUP: ("*", ("READ",)),
    ResourceType.TRANSACTIONAL_ID: ("*", ("WRITE", "DESCRIBE")),
}


class Secured(NamedTuple):
    """A broker: `plain` is for the tests, who may do everything there."""

    plain: Broker
    sasl_plaintext: str
    ssl: str
    sasl_ssl: str
    authority: Authority
    client: Certificate
    locked: Certificate


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder, "authority")
    server = KafkaServer()
    ports = dict(zip(("SASL_PLAINTEXT", "SSL", "SASL_SSL"), free_ports(3), strict=True))
    names = [f"{name}://127.0.0.1:{port}" for name, port in ports.items()]
    both = authority.issue("broker").both
    logins = {
        f"listener.name.{name.lower()}.{mechanism.lower()}.sasl.jaas.config": (
            f"{LOGIN}.plain.PlainLoginModule required user_{USER}='{PASSWORD}';"
            if mechanism == "PLAIN"
            else f"{LOGIN}.scram.ScramLoginModule required;"
        )
        for name in ("SASL_PLAINTEXT", "SASL_SSL")
        for mechanism in MECHANISMS
    }
    server._settings = logins | {
        "listeners": ",".join([server._properties()["listeners"], *names]),
        "listener.security.protocol.map": ",".join(
            f"{name}:{'PLAINTEXT' if name == 'CONTROLLER' else name}"
            for name in ("PLAINTEXT", "CONTROLLER", *ports)
        ),
        "sasl.enabled.mechanisms": ",".join(MECHANISMS),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(both),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.file),
        "listener.name.ssl.ssl.client.auth": "required",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:CN=client;User:CN=locked",
    }
    with server:
        plain = Broker(server.bootstrap)
        _let_in(plain)
        yield Secured(
            plain,
            *(f"127.0.0.1:{ports[name]}" for name in ("SASL_PLAINTEXT", "SSL", "SASL_SSL")),
            authority,
            authority.issue("client"),
            authority.issue("locked", password="open sesame"),
        )


def _let_in(plain: Broker) -> None:
    """The user, with what SECURITY.md says that a worker needs."""
    rights = [
        ACL(f"User:{USER}", "*", ACLOperation[right], ACLPermissionType.ALLOW, on)
        for kind, (name, some) in NEEDED.items()
        for on in [ResourcePattern(kind, name)]
        for right in some
    ]
    with KafkaAdminClient(bootstrap_servers=plain.bootstrap) as admin:
        for name in MECHANISMS[1:]:
            credential = UserScramCredentialUpsertion(USER, name, PASSWORD)
            assert admin.alter_user_scram_credentials([credential]) == {USER: None}
        assert not admin.create_acls(rights)["failed"]


@pytest.fixture
def sasl_ssl(secured: Secured) -> dict[str, Any]:
    """How the user gets in."""
    return {
        "bootstrap_servers": secured.sasl_ssl,
        "security_protocol": "SASL_SSL",
        "ca_file": secured.authority.file,
        "username": USER,
        "password": PASSWORD,
        "delivery_timeout_ms": 3_000,
    }


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
        assert log.position(0) == 1
    finally:
        log.close()


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_user_with_a_password_gets_in_over_tls(
    secured: Secured, sasl_ssl: dict[str, Any], client: str, mechanism: str
) -> None:
    more = {"client": client, "sasl_mechanism": mechanism}

    goes_round(fresh_settings(secured.plain, **sasl_ssl | more))


@pytest.mark.parametrize("client", CLIENTS)
def test_a_user_with_a_password_gets_in_without_tls(
    secured: Secured, sasl_ssl: dict[str, Any], client: str
) -> None:
    more = {"bootstrap_servers": secured.sasl_plaintext, "security_protocol": "SASL_PLAINTEXT"}

    goes_round(
        fresh_settings(secured.plain, **sasl_ssl | more | {"client": client, "ca_file": None})
    )


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("has_locked_key", [False, True])
def test_a_certificate_gets_in_without_a_password(
    secured: Secured, client: str, has_locked_key: bool, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("open sesame\n")
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
    secured: Secured, sasl_ssl: dict[str, Any], mechanism: str
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
    secured: Secured, sasl_ssl: dict[str, Any], client: str, part: str
) -> None:
    """Each is asked by itself, with a wrong password: none of them gets in without."""
    wrong = {"password": "hunter2 hunter2", "client": client}
    settings = fresh_settings(secured.plain, **sasl_ssl | wrong)

    with pytest.raises(LogError) as told:
        ask(settings, part)

    assert "hunter2" not in str(told.value)


def test_an_authority_that_did_not_sign_is_said_to_be_the_wrong_one(
    secured: Secured, sasl_ssl: dict[str, Any], tmp_path: Path
) -> None:
    other = {"ca_file": Authority(tmp_path, "stranger").file}
    settings = fresh_settings(secured.plain, **sasl_ssl | other)

    with pytest.raises(LogError, match=r"certificate of .* is not trusted .*kafka.ca_file"):
        KafkaLog(settings)


def test_a_name_that_is_not_in_the_certificate_is_not_trusted(
    secured: Secured, sasl_ssl: dict[str, Any]
) -> None:
    there = {"bootstrap_servers": secured.sasl_ssl.replace("127.0.0.1", "localhost")}
    settings = fresh_settings(secured.plain, **sasl_ssl | there)

    with pytest.raises(LogError, match=r"not trusted \(Hostname mismatch.*name in kafka.bootstrap"):
        KafkaLog(settings)


def test_a_broker_that_wants_a_certificate_is_understood(secured: Secured) -> None:
    settings = fresh_settings(
        secured.plain,
        bootstrap_servers=secured.ssl,
        security_protocol="SSL",
        ca_file=secured.authority.file,
        delivery_timeout_ms=3_000,
    )

    with pytest.raises(LogError, match=r"refuses TLS .*kafka.certificate_file"):
        KafkaLog(settings)


def test_a_port_without_tls_is_said_to_be_none(secured: Secured, sasl_ssl: dict[str, Any]) -> None:
    there = {"bootstrap_servers": secured.plain.bootstrap}
    settings = fresh_settings(secured.plain, **sasl_ssl | there)

    with pytest.raises(LogError, match=r"does the port take it|is SASL_SSL what its port speaks"):
        KafkaLog(settings)


def test_a_key_of_another_certificate_is_named(secured: Secured, sasl_ssl: dict[str, Any]) -> None:
    mixed = {"certificate_file": secured.client.file, "key_file": secured.locked.key}
    settings = fresh_settings(secured.plain, **sasl_ssl | mixed)

    with pytest.raises(LogError, match=r"kafka.certificate_file .*client.pem and its key .*locked"):
        KafkaLog(settings)


def test_a_user_without_rights_is_told_what_is_missing(
    secured: Secured, sasl_ssl: dict[str, Any]
) -> None:
    settings = fresh_settings(secured.plain, **sasl_ssl)
    group = ResourcePattern(ResourceType.GROUP, settings.group)
    no = ACL(f"User:{USER}", "*", ACLOperation.READ, ACLPermissionType.DENY, group)
    with KafkaAdminClient(bootstrap_servers=secured.plain.bootstrap) as admin:
        assert not admin.create_acls([no])["failed"]

    with pytest.raises(NotAllowed, match=r"may not .*; allow it to user wells: SECURITY.md"):
        goes_round(settings)


def test_producers_get_in_the_same_way(secured: Secured, sasl_ssl: dict[str, Any]) -> None:
    settings = fresh_settings(secured.plain, **sasl_ssl)
    form = format_of(TickSchema.default())

    sent = produce_market(settings, settings.ticks, 3, 1e6, 10, form, threading.Event())

    assert sent == 10
