"""Sending to Kafka: all of an outbox, or one record, and nothing counts until it is acknowledged.

A producer that failed once is thrown away: what it still holds may or may not arrive. This module
neither commits offsets nor knows transactions (`kafka_transactions` does).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from threading import Lock
from typing import Any

import numpy as np
from kafka import KafkaProducer
from kafka.errors import AuthorizationError, KafkaError

from slotcast.log.kafka_client import CONTROL_HEADER, connection, kafka_errors
from slotcast.log.kafka_records import headers_of
from slotcast.log.port import (
    AppendForbidden,
    CommitFailed,
    DeadLetter,
    Forecasts,
    LogError,
    Outbox,
    Receipt,
)
from slotcast.settings import KafkaSettings

LINGER_MS = 20
"""A publish flushes; until then, wait for batches to fill."""
BATCH_BYTES = 262_144
FORCED_CLOSE_S = 1.0
RETRY_MS = 2
"""The broker still closes our last transaction when the next begins: 10 ms here doubles latency."""


class Publisher:
    """Sends outboxes; used by one thread."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._producer: Any = None
        self._dead_letter_partitions = 1

    def send(self, outbox: Outbox) -> None:
        """Send everything and wait until all of it is acknowledged. Raises `CommitFailed`."""
        if not outbox.forecasts and not outbox.dead_letters:
            return
        try:
            producer = self._open()
            futures = list(self._forecasts(producer, outbox.forecasts))
            futures += self._dead_letters(producer, outbox.dead_letters)
            producer.flush(self._settings.delivery_timeout_ms / 1_000 + 1)
            check_all(futures)
        except (KafkaError, LogError, ValueError, TypeError, OSError) as error:
            self.close()
            raise CommitFailed(
                f"cannot publish to {self._settings.forecasts} or {self._settings.dead_letters}:"
                f" {error}"
            ) from error

    def close(self) -> None:
        """Throw the producer away, with whatever it has not sent; the next send opens another."""
        _discard(self._producer)
        self._producer = None

    def _open(self) -> Any:
        if self._producer is None:
            self._adopt(open_producer(self._settings, LINGER_MS))
        return self._producer

    def _adopt(self, producer: Any) -> None:
        letters = producer.partitions_for(self._settings.dead_letters)
        self._producer, self._dead_letter_partitions = producer, len(letters)

    def _forecasts(self, producer: Any, columns: Iterable[Forecasts]) -> Iterator[Any]:
        topic, send = self._settings.forecasts, producer.send
        for column in columns:
            partition = column.partition
            # The client would write numpy integers in its own way.
            stamps = np.asarray(column.timestamps_ms, np.int64).tolist()
            for key, value, stamp in zip(column.keys, column.values, stamps, strict=True):
                yield send(topic, value, key, None, partition, stamp)

    def _dead_letters(self, producer: Any, letters: Iterable[DeadLetter]) -> Iterator[Any]:
        for letter in letters:
            nothing = letter.key is None and letter.value is None
            yield producer.send(
                self._settings.dead_letters,
                b"" if nothing else letter.value,
                letter.key,
                headers_of(letter, self._settings.ticks),
                letter.partition % self._dead_letter_partitions,
                int(letter.timestamp_ms),
            )


class Appender:
    """Appends single records to the tick topic; used by any thread."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._producer: Any = None
        self._closed = False

    def append(
        self, partition: int, key: bytes | None, value: bytes | None, control: bytes | None
    ) -> Receipt:
        """Send one record and wait for its acknowledgement.

        Raises `AppendForbidden`, or `LogError` when the record may or may not be in the log.
        """
        headers = [] if control is None else [(CONTROL_HEADER, control)]
        if key is None and value is None:
            value = b""  # kafka-python sends no record without both
        timeout_s = self._settings.delivery_timeout_ms / 1_000 + 1
        try:
            with kafka_errors(f"append to {self._settings.ticks}", self._settings):
                sent = self._open().send(self._settings.ticks, value, key, headers, partition)
                at = sent.get(timeout_s)
                return Receipt(at.partition, at.offset)
        except LogError as error:
            self._discard()
            if isinstance(error.__cause__, AuthorizationError):
                raise AppendForbidden(
                    f"may not write to topic {self._settings.ticks} ({error.__cause__}): allow"
                    " this user to write to it"
                ) from error
            raise
        except ValueError as error:
            raise LogError(f"cannot append to {self._settings.ticks}: {error}") from error

    def close(self) -> None:
        """Give the producer back; nothing can be appended afterwards."""
        self._closed = True
        self._discard()

    def _open(self) -> Any:
        with self._lock:
            if self._closed:
                raise LogError(f"cannot append to {self._settings.ticks}: the log is closed")
            if self._producer is None:
                self._producer = open_producer(self._settings, linger_ms=0)
            return self._producer

    def _discard(self) -> None:
        with self._lock:
            producer, self._producer = self._producer, None
        _discard(producer)


def check_all(futures: Iterable[Any]) -> None:
    """Raise the error of the first record that was not acknowledged; flushing alone hides it."""
    for future in futures:
        if not future.succeeded():
            raise future.exception or KafkaError("a record was neither acknowledged nor refused")


def open_producer(settings: KafkaSettings, linger_ms: int, **transactions: Any) -> Any:
    """An idempotent producer that waits for every replica, or an error, within its deadlines."""
    options = connection(settings)
    limit_ms = settings.delivery_timeout_ms
    options["request_timeout_ms"] = min(options["request_timeout_ms"], max(limit_ms // 2, 1))
    with kafka_errors("start a producer", settings):
        return KafkaProducer(
            **options,
            acks="all",
            enable_idempotence=True,
            delivery_timeout_ms=limit_ms,
            max_block_ms=limit_ms,
            linger_ms=linger_ms,
            batch_size=BATCH_BYTES,
            retry_backoff_ms=RETRY_MS,
            allow_auto_create_topics=False,
            metrics_enabled=False,
            **transactions,
        )


def _discard(producer: Any) -> None:
    """Close without sending. `close` alone raises while records wait, and leaves its thread."""
    if producer is not None:
        producer._sender.force_close()
        producer._sender.join(FORCED_CLOSE_S)
        with suppress(KafkaError):
            producer.close(timeout=0)
