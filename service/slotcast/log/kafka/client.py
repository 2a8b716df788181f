"""What all Kafka clients of a worker share, and how those of kafka-python connect and fail.

kafka-python carries no types; what comes from it is typed again in the modules around this one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient
from kafka.errors import (
    AuthorizationError,
    BrokerResponseError,
    FencedInstanceIdError,
    KafkaConfigurationError,
    KafkaError,
    KafkaTimeoutError,
    LogTruncationError,
    OffsetOutOfRangeError,
    ProducerFencedError,
    RetriableError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
from kafka.net import KafkaNetClient

from slotcast.log.kafka.security import fault, python_security
from slotcast.log.port import Committed, LogError, LogUnavailable, OffsetOutOfRange
from slotcast.settings import KafkaSettings

CONTROL_HEADER = "slotcast-control"
HEARTBEAT_MS = 300
CLIENT_PREFIX = "slotcast-"
METADATA_MAX_AGE_MS = 15_000
"""A topic's new partitions are noticed within this time."""
ANSWER_TIMEOUT_MS = 5_000
"""Longest wait for one answer of a broker, where nothing else says so."""


class InstanceFenced(LogError):
    """Another worker runs under our instance id, or took over from us while we were silent."""

    @classmethod
    def of(cls, settings: KafkaSettings) -> InstanceFenced:
        """The error with the ways out."""
        return cls(
            f"another worker of group {settings.group} took the place of this one: either this"
            f" one was silent for kafka.session_timeout_ms = {settings.session_timeout_ms}, then"
            f" restart it, or both have instance_id {settings.instance_id!r}: give every worker"
            " its own"
        )


class NotAllowed(LogError):
    """The broker's rules forbid it."""


class NotAccepted(LogError):
    """The broker does not know us by this name and password."""

    @classmethod
    def of(cls, doing: str, settings: KafkaSettings, why: object) -> NotAccepted:
        """The error with the way out."""
        return cls(
            f"cannot {doing}: {settings.bootstrap_servers} does not accept user"
            f" {settings.username} with {settings.sasl_mechanism} ({why}): check kafka.username,"
            " kafka.password and kafka.sasl_mechanism"
        )


def client_id(worker: str) -> str:
    """A name at the broker for one consumer of this worker, and for no other."""
    return f"{CLIENT_PREFIX}{secrets.token_hex(4)}-{worker}"


def worker_of(client: str) -> str:
    """The worker that a consumer's name names."""
    return client.removeprefix(CLIENT_PREFIX).partition("-")[2]


def connection(settings: KafkaSettings) -> dict[str, Any]:
    """Options of every client."""
    return {
        "bootstrap_servers": settings.bootstrap_servers.split(","),
        "client_id": "slotcast",
        "bootstrap_timeout_ms": settings.delivery_timeout_ms,
        "reconnect_backoff_max_ms": 1_000,
        "request_timeout_ms": ANSWER_TIMEOUT_MS,
        "metadata_max_age_ms": METADATA_MAX_AGE_MS,
        **python_security(settings),
    }


def started(kind: Callable[..., Any], **options: Any) -> Any:
    """A client of this kind with these options; raises what its constructor raises.

    One that does not come up is closed. The library only raises then, and leaves a thread of the
    client's behind that goes on trying to connect.
    """
    connections: list[Any] = []

    def connected(**wanted: Any) -> Any:
        connections.append(KafkaNetClient(**wanted))
        return connections[-1]

    try:
        return kind(kafka_client=connected, **options)
    except BaseException:
        for one in connections:
            one.close()
        raise


def administrator(settings: KafkaSettings) -> Any:
    """A `KafkaAdminClient`, to be used in a `with` statement."""
    return started(KafkaAdminClient, **connection(settings))


def committed_at(found: Any) -> Committed | None:
    """What an `OffsetAndMetadata` says. confluent-kafka ends each note with a NUL of its own."""
    if found is None or found.offset < 0:
        return None
    return Committed(found.offset, (found.metadata or "").removesuffix("\0"))


@contextmanager
def kafka_errors(doing: str, settings: KafkaSettings) -> Iterator[None]:
    """Turn what kafka-python raises into `LogError`s that name the thing and the way out."""
    try:
        yield
    except (OffsetOutOfRangeError, LogTruncationError) as error:
        raise OffsetOutOfRange(
            f"cannot {doing}: {error}; the log was trimmed, or made anew: see docs/recovery.md"
        ) from error
    except (FencedInstanceIdError, ProducerFencedError) as error:
        raise InstanceFenced.of(settings) from error
    except KafkaConfigurationError as error:
        raise LogError(f"cannot {doing}: {error}: see [kafka] in the config file") from error
    except AuthorizationError as error:
        raise NotAllowed(f"may not {doing}: {error}; {rights(settings)}") from error
    except (SaslAuthenticationFailedError, UnsupportedSaslMechanismError) as error:
        raise NotAccepted.of(doing, settings, error) from error
    except (KafkaError, OSError) as error:
        refused = isinstance(error, BrokerResponseError) and not isinstance(error, RetriableError)
        raise (LogError if refused else LogUnavailable)(
            f"cannot {doing} at {settings.bootstrap_servers}: {error}; {_way_out(error, settings)}"
        ) from error


def rights(settings: KafkaSettings) -> str:
    """The way out of a broker that forbids something."""
    return f"allow it to user {settings.username or 'ANONYMOUS'}: SECURITY.md lists the rights"


def no_answer(settings: KafkaSettings) -> str:
    """What to look at when no broker answers."""
    return (
        "is the broker running, is kafka.bootstrap_servers right, and is"
        f" {settings.security_protocol} what its port speaks (kafka.security_protocol)?"
    )


def _way_out(error: Exception, settings: KafkaSettings) -> str:
    silent = isinstance(error, KafkaTimeoutError) and "bootstrap" in str(error)
    return (silent and fault(settings)) or no_answer(settings)
