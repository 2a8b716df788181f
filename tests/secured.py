"""A Kafka and a Redis that want to know who comes: with TLS, users, passwords and rights.

Tests have a door of their own beside them, for which they need nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import redis
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
    UserScramCredentialUpsertion,
)

from slotcast.log.kafka.takeover import transactional_id
from slotcast.settings import KafkaSettings
from tests.certificates import Authority, Certificate
from tests.servers import PATIENCE_S, ROOT, Broker, KafkaServer, RedisServer, free_ports

USER, PASSWORD = "wells", "Tr0ub4dor&3"
"""Who is let in by both."""
KEY_PASSWORD = "open sesame"

MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
LOGIN = "org.apache.kafka.common.security"
SECURITY = ROOT / "SECURITY.md"


class SecuredKafka(NamedTuple):
    """A broker: `plain` is for the tests, who may do everything there."""

    plain: Broker
    sasl_plaintext: str
    ssl: str
    sasl_ssl: str
    authority: Authority
    client: Certificate
    locked: Certificate


@contextmanager
def secured_kafka(folder: Path) -> Iterator[SecuredKafka]:
    """Every listener and mechanism that slotcast knows; certificates are made in `folder`."""
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
        yield SecuredKafka(
            plain,
            *(f"127.0.0.1:{ports[name]}" for name in ("SASL_PLAINTEXT", "SSL", "SASL_SSL")),
            authority,
            authority.issue("client"),
            authority.issue("locked", password=KEY_PASSWORD),
        )


def _let_in(plain: Broker) -> None:
    """The user, who may do nothing yet."""
    with KafkaAdminClient(bootstrap_servers=plain.bootstrap) as admin:
        for name in MECHANISMS[1:]:
            credential = UserScramCredentialUpsertion(USER, name, PASSWORD)
            assert admin.alter_user_scram_credentials([credential]) == {USER: None}


class Right(NamedTuple):
    """What SECURITY.md allows on a resource, and what for."""

    operation: str
    resource: ResourcePattern
    reason: str


def worker_rights(settings: KafkaSettings) -> list[Right]:
    """The table of a worker's rights, for the names of these settings."""
    table = SECURITY.read_text().split("| resource | rights | for |")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    return [
        Right(operation, resource, reason)
        for resources, operations, reason in rows
        for resource in _named(resources, settings)
        for operation in operations.split(", ")
        if operation != "Create" or settings.create_topics
    ]


def _named(resources: str, settings: KafkaSettings) -> list[ResourcePattern]:
    topics = [settings.ticks, settings.forecasts, settings.dead_letters]
    own = transactional_id(settings, "")
    meant = {
        "`ticks`": [ResourcePattern(ResourceType.TOPIC, settings.ticks)],
        "`forecasts`, `dead_letters`": [ResourcePattern(ResourceType.TOPIC, t) for t in topics[1:]],
        "all three": [ResourcePattern(ResourceType.TOPIC, topic) for topic in topics],
        "group `group`": [ResourcePattern(ResourceType.GROUP, settings.group)],
        "transactional ids that begin with `group.ticks.`": [
            ResourcePattern(ResourceType.TRANSACTIONAL_ID, own, ACLResourcePatternType.PREFIXED)
        ],
    }
    return meant[resources]


def producer_rights(settings: KafkaSettings) -> list[Right]:
    """What SECURITY.md says of producers."""
    found = re.search(
        r"A producer \(.*\) needs (\w+) and (\w+) on the tick topic", SECURITY.read_text()
    )
    assert found
    topic = ResourcePattern(ResourceType.TOPIC, settings.ticks)
    return [Right(operation, topic, "produce") for operation in found.groups()]


def allow(plain: Broker, rights: Sequence[Right], *, allowed: bool = True) -> None:
    """Let the user do this; or forbid it."""
    said = ACLPermissionType.ALLOW if allowed else ACLPermissionType.DENY
    create_acls(
        plain, [ACL(f"User:{USER}", "*", _operation(one), said, one.resource) for one in rights]
    )


def create_acls(broker: Broker, acls: Sequence[ACL]) -> None:
    """Make these, and wait: a broker heeds them a little after it has agreed to them."""
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap) as admin:
        assert not admin.create_acls(acls)["failed"]
        deadline = time.monotonic() + PATIENCE_S
        while not all(admin.describe_acls(one)[0] for one in acls):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _operation(right: Right) -> ACLOperation:
    return ACLOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", right.operation).upper()]


class SecuredRedis(NamedTuple):
    """A Redis: `plain_url` is for the tests, whose user may do everything."""

    plain_url: str
    tls_url: str
    authority: Authority
    client: Certificate


def rule() -> list[str]:
    """The ACL rule that SECURITY.md recommends, without the words around it."""
    (line,) = (
        line
        for line in SECURITY.read_text().splitlines()
        if line.startswith("ACL SETUSER slotcast ")
    )
    return [word for word in line.split()[3:] if not word.startswith(">")]


@contextmanager
def secured_redis(folder: Path) -> Iterator[SecuredRedis]:
    """With TLS, the user, and a `reader` who may not write; certificates are made in `folder`."""
    authority = Authority(folder, "authority")
    shown, (port,) = authority.issue("redis"), free_ports(1)
    options = {
        "--tls-port": port,
        "--tls-cert-file": shown.file,
        "--tls-key-file": shown.key,
        "--tls-ca-cert-file": authority.file,
        "--tls-auth-clients": "optional",
    }
    with RedisServer(tuple(str(word) for pair in options.items() for word in pair)) as server:
        with redis.Redis.from_url(server.url) as client:
            client.execute_command("ACL", "SETUSER", USER, f">{PASSWORD}", *rule())
            client.execute_command("ACL", "SETUSER", "reader", f">{PASSWORD}", "on", "~*", "+@read")
        url = f"rediss://127.0.0.1:{port}/0"
        yield SecuredRedis(server.url, url, authority, authority.issue("client"))
