"""How clients of librdkafka (package confluent-kafka) connect and fail, and its records as columns.

Its own threads fetch, send and heartbeat; what they log comes out when a client is asked for
something.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import compress
from operator import itemgetter
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from kafka.errors import RetriableError, for_code

from slotcast.log.kafka.client import (
    ANSWER_TIMEOUT_MS,
    CONTROL_HEADER,
    InstanceFenced,
    NotAccepted,
    NotAllowed,
    no_answer,
    rights,
)
from slotcast.log.kafka.security import librdkafka_security
from slotcast.log.port import Batch, Committed, LogError, LogUnavailable, OffsetOutOfRange
from slotcast.settings import KafkaSettings

WARNING_LEVEL = 4
NAMELESS = (UnicodeDecodeError, SystemError)
"""What the library raises where a header's name is no UTF-8."""

logger = logging.getLogger("slotcast.librdkafka")

GONE = {KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION}
FENCED = {
    KafkaError._FENCED,
    KafkaError.PRODUCER_FENCED,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.INVALID_PRODUCER_EPOCH,
}
FORBIDDEN = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}
UNKNOWN_USER = {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED}


def connection(settings: KafkaSettings) -> dict[str, Any]:
    """Options of every client."""
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": "slotcast",
        "socket.timeout.ms": ANSWER_TIMEOUT_MS,
        "socket.nagle.disable": True,
        "reconnect.backoff.max.ms": 1_000,
        # Else it forgets brokers when it has lost them all, and waits for one of them for ever.
        "metadata.recovery.strategy": "none",
        "allow.auto.create.topics": False,
        "log_level": WARNING_LEVEL,
        "logger": logger,
        # What the library cannot mend comes back from the calls; the rest is in its log.
        "error_cb": lambda error: logger.debug("%s", error),
        **librdkafka_security(settings),
    }


def reading(settings: KafkaSettings) -> dict[str, Any]:
    """Options of every consumer."""
    return connection(settings) | {
        # Every consumer has to name one; only who subscribes becomes a member.
        "group.id": settings.group,
        "isolation.level": "read_committed",
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "check.crcs": True,
        # A resumed partition waits for the fetch that is under way.
        "fetch.wait.max.ms": 100,
        # 1 s by default, for which a fast reader stands still.
        "fetch.queue.backoff.ms": 5,
        "fetch.error.backoff.ms": 50,
    }


@contextmanager
def errors(doing: str, settings: KafkaSettings) -> Iterator[None]:
    """Turn what the library raises into `LogError`s that name the thing and the way out."""
    try:
        yield
    except KafkaException as error:
        raise told(error.args[0], doing, settings) from error
    except SystemError as error:
        # A fatal error is raised in one callback, and the next one trips over it.
        if not isinstance(error.__cause__, KafkaException):
            raise
        raise told(error.__cause__.args[0], doing, settings) from error
    except BufferError as error:
        raise LogError(f"cannot {doing}: {error}") from error


def told(error: KafkaError, doing: str, settings: KafkaSettings) -> LogError:
    """The `LogError` for an error of the library."""
    code = error.code()
    if code in GONE:
        return OffsetOutOfRange(
            f"cannot {doing}: {error.str()}; the log was trimmed, or made anew: see"
            " docs/recovery.md"
        )
    if code in FENCED or (code == KafkaError._FATAL and "fenced" in error.str()):
        return InstanceFenced.of(settings)
    if code in FORBIDDEN:
        return NotAllowed(f"may not {doing}: {error.str()}; {rights(settings)}")
    if code in UNKNOWN_USER:
        return NotAccepted.of(doing, settings, error.str())
    if code == KafkaError._INVALID_ARG:
        return LogError(f"cannot {doing}: {error.str()}: see [kafka] in the config file")
    # The library says of few errors whether they pass; kafka-python knows the broker's by number.
    refused = code > 0 and not issubclass(for_code(code), RetriableError)
    return (LogError if refused else LogUnavailable)(
        f"cannot {doing} at {settings.bootstrap_servers}: {error.str()}; {no_answer(settings)}"
    )


def offsets_of(ticks: str, offsets: Mapping[int, Committed]) -> list[TopicPartition]:
    """Offsets of the tick topic, with their notes, as the library takes them."""
    return [
        TopicPartition(ticks, partition, int(at.offset), at.metadata)
        for partition, at in offsets.items()
    ]


def batches_of(messages: Sequence[Message]) -> list[Batch]:
    """Columns of records, by partition in the order in which partitions appear. No errors."""
    partitions = list(map(Message.partition, messages))
    found = dict.fromkeys(partitions)
    if len(found) == 1:
        return [_batch(partitions[0], messages)]
    return [
        _batch(number, list(compress(messages, map(number.__eq__, partitions))))
        for number in found
        if number is not None
    ]


def _batch(partition: int | None, messages: Sequence[Message]) -> Batch:
    assert partition is not None
    count = len(messages)
    stamps = map(itemgetter(1), map(Message.timestamp, messages))
    headers = _headers(messages)
    controls = None
    if any(headers):
        controls = [_control(of_one or ()) for of_one in headers]
        controls = controls if any(control is not None for control in controls) else None
    return Batch(
        partition,
        np.fromiter(map(Message.offset, messages), np.int64, count),
        np.fromiter(stamps, np.int64, count),
        list(map(Message.key, messages)),
        list(map(Message.value, messages)),
        controls,
    )


def _headers(messages: Sequence[Message]) -> list[Any]:
    """The headers of each; None where a name is no UTF-8: such a record is taken to have none.

    It must not be asked again: the library keeps a list with a hole in it, and crashes on it.
    """
    found: list[Any] = []
    left = iter(messages)
    while len(found) < len(messages):
        try:
            found.extend(map(Message.headers, left))
        except NAMELESS:
            found.append(None)
    return found


def _control(headers: Any) -> bytes | None:
    for name, value in headers:
        if name == CONTROL_HEADER:
            return value or b""
    return None
