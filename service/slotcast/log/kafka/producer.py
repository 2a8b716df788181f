"""Sending to Kafka: all of an outbox, or one record, and nothing counts until it is acknowledged.

A producer that failed once is thrown away: what it still holds may or may not arrive. This module
neither commits offsets nor knows transactions (`transactions.py` does), nor which client library
is used.
"""

from __future__ import annotations

from threading import Lock

import numpy as np

from slotcast.log.kafka.client import CONTROL_HEADER, NotAllowed
from slotcast.log.kafka.driver import Producer, Sender, driver_of
from slotcast.log.kafka.records import headers_of
from slotcast.log.port import AppendForbidden, CommitFailed, LogError, Outbox, Receipt
from slotcast.settings import KafkaSettings


class Publisher:
    """Sends outboxes; used by one thread."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings, self._driver = settings, driver_of(settings)
        self._producer: Producer | None = None
        self._dead_letter_partitions = 1

    def send(self, outbox: Outbox) -> None:
        """Send everything and wait until all of it is acknowledged. Raises `CommitFailed`."""
        if not outbox.forecasts and not outbox.dead_letters:
            return
        try:
            self._send(self._open(), outbox)
        except (LogError, ValueError, TypeError) as error:
            self.close()
            raise CommitFailed(
                f"cannot publish to {self._settings.forecasts} or {self._settings.dead_letters}:"
                f" {error}"
            ) from error

    def close(self) -> None:
        """Throw the producer away, with whatever it has not sent; the next send opens another."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.discard()

    def _open(self) -> Producer:
        if self._producer is None:
            self._producer = self._driver.open_producer(self._settings)
            self._look_up(self._producer)
        return self._producer

    def _look_up(self, producer: Producer) -> None:
        self._dead_letter_partitions = producer.partitions_of(self._settings.dead_letters)

    def _send(self, producer: Producer, outbox: Outbox) -> None:
        """Send everything and wait until all of it is acknowledged."""
        for column in outbox.forecasts:
            # The libraries would write numpy integers in their own way.
            stamps = np.asarray(column.timestamps_ms, np.int64).tolist()
            topic = self._settings.forecasts
            producer.send(topic, column.partition, column.keys, column.values, stamps)
        for letter in outbox.dead_letters:
            producer.send(
                self._settings.dead_letters,
                letter.partition % self._dead_letter_partitions,
                [letter.key],
                [letter.value],
                [int(letter.timestamp_ms)],
                headers_of(letter, self._settings.ticks),
            )
        producer.flush()


class Appender:
    """Appends single records to the tick topic; used by any thread."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings, self._driver = settings, driver_of(settings)
        self._lock = Lock()
        self._sender: Sender | None = None
        self._closed = False

    def append(
        self, partition: int, key: bytes | None, value: bytes | None, control: bytes | None
    ) -> Receipt:
        """Send one record and wait for its acknowledgement.

        Raises `AppendForbidden`, or `LogError` when the record may or may not be in the log.
        """
        headers = [] if control is None else [(CONTROL_HEADER, control)]
        ticks = self._settings.ticks
        try:
            return self._open().append(ticks, partition, key, value, headers)
        except NotAllowed as error:
            self._discard()
            raise AppendForbidden(
                f"may not write to topic {ticks} ({error.__cause__}): allow this user to write to"
                " it"
            ) from error
        except LogError:
            self._discard()
            raise
        except ValueError as error:
            raise LogError(f"cannot append to {ticks}: {error}") from error

    def close(self) -> None:
        """Give the producer back; nothing can be appended afterwards."""
        self._closed = True
        self._discard()

    def _open(self) -> Sender:
        with self._lock:
            if self._closed:
                raise LogError(f"cannot append to {self._settings.ticks}: the log is closed")
            if self._sender is None:
                self._sender = self._driver.open_sender(self._settings)
            return self._sender

    def _discard(self) -> None:
        with self._lock:
            sender, self._sender = self._sender, None
        if sender is not None:
            sender.discard()
