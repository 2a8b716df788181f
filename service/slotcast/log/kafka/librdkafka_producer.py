"""A producer of librdkafka, transactional if it has an id.

The library tells of records that failed, and of no other: a call per record would cost more than
sending it. So after a flush that leaves nothing behind, what did not fail is acknowledged.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from threading import Event
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from slotcast.log.kafka.client import ANSWER_TIMEOUT_MS
from slotcast.log.kafka.driver import Headers
from slotcast.log.kafka.librdkafka_client import connection, errors, offsets_of
from slotcast.log.port import Committed, LogError, LogUnavailable, Receipt
from slotcast.settings import KafkaSettings

APPEND_POLL_S = 0.05
LINGER_MS = 5
"""A publish flushes, which does not linger."""
BATCH_BYTES = 1_000_000
CLOSING_S = 0.002
"""Who begins while the broker still closes the last transaction is sent away for 20 ms."""


class RdProducer:
    """A `Producer` of the library."""

    def __init__(self, settings: KafkaSettings, name: str | None = None) -> None:
        self._settings = settings
        self._limit_s = settings.delivery_timeout_ms / 1_000
        failed: list[KafkaError] = []
        self._failed = failed
        self._ended_s = 0.0
        options = _options(settings, name)
        # No method of ours: in a cycle the library's threads would outlive `discard`.
        options["on_delivery"] = lambda error, _: failed.append(error)
        with errors("start a producer", settings):
            self._producer: Producer | None = Producer(options)

    def partitions_of(self, topic: str) -> int:
        """Asks the broker."""
        with errors(f"list the partitions of {topic}", self._settings):
            found = self._open.list_topics(topic, ANSWER_TIMEOUT_MS / 1_000).topics[topic]
        return max(1, len(found.partitions))

    def send(
        self,
        topic: str,
        partition: int,
        keys: Sequence[bytes | None],
        values: Iterable[bytes | None],
        timestamps_ms: Iterable[int],
        headers: Headers | None = None,
    ) -> None:
        """One call each: the library's own batches have neither timestamps nor headers."""
        produce = self._open.produce
        with errors(f"send to {topic}", self._settings):
            if headers is None:
                for key, value, stamp in zip(keys, values, timestamps_ms, strict=True):
                    # By position, which is faster: callback (twice), then timestamp.
                    produce(topic, value, key, partition, None, None, stamp)
            else:
                of_each: Any = headers  # the library types them invariantly
                for key, value, stamp in zip(keys, values, timestamps_ms, strict=True):
                    produce(topic, value, key, partition, timestamp=stamp, headers=of_each)

    def flush(self) -> None:
        """Wait; what is still on its way then is neither acknowledged nor refused."""
        with errors("send", self._settings):
            left = self._open.flush(self._limit_s + 1)
            if self._failed:
                raise KafkaException(self._failed[0])
        if left:
            raise LogUnavailable(f"{left} records were neither acknowledged nor refused in time")

    def init_transactions(self) -> None:
        """Start."""
        with errors("start transactions", self._settings):
            self._open.init_transactions(self._limit_s)

    def begin(self) -> None:
        """Begin, not too soon after the last."""
        time.sleep(max(0.0, self._ended_s + CLOSING_S - time.monotonic()))
        with errors("begin a transaction", self._settings):
            self._open.begin_transaction()

    def send_offsets(self, ticks: str, offsets: Mapping[int, Committed], group: Any) -> None:
        """Send."""
        with errors("send offsets to a transaction", self._settings):
            self._open.send_offsets_to_transaction(offsets_of(ticks, offsets), group, self._limit_s)

    def commit(self) -> None:
        """Commit; the library refuses if any record of the transaction failed."""
        with errors("commit a transaction", self._settings):
            self._open.commit_transaction(self._limit_s)
        self._ended_s = time.monotonic()

    def abort(self) -> bool:
        """Abort, and go on: a new producer with our id would be sent away for half a second."""
        with errors("abort a transaction", self._settings):
            self._open.abort_transaction(min(self._limit_s, ANSWER_TIMEOUT_MS / 1_000))
        self._ended_s = time.monotonic()
        return True

    def discard(self) -> None:
        """Purge, then let go of it: `close` would send what is left, and wait for the broker."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()

    @property
    def _open(self) -> Producer:
        if self._producer is None:
            raise LogError("this producer was thrown away")
        return self._producer


class RdSender:
    """A `Producer` of the library for single records, used by any thread."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._limit_s = settings.delivery_timeout_ms / 1_000
        options = _options(settings, None)
        options |= {"linger.ms": 0, "delivery.report.only.error": False}
        with errors("start a producer", settings):
            self._producer = Producer(options)

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers
    ) -> Receipt:
        """Send one; its callback runs in whichever thread asks first."""
        producer, answered = self._producer, Event()
        fields: Any = headers  # the library types them invariantly
        answers: list[tuple[KafkaError | None, Message]] = []

        def answer(error: KafkaError | None, message: Message) -> None:
            answers.append((error, message))
            answered.set()

        deadline = time.monotonic() + self._limit_s + 1
        with errors(f"append to {topic}", self._settings):
            producer.produce(topic, value, key, partition, on_delivery=answer, headers=fields)
            while not answered.is_set() and time.monotonic() < deadline:
                producer.poll(APPEND_POLL_S)
            if not answers:
                raise LogUnavailable(f"no answer to an append to {topic} in {self._limit_s:.0f} s")
            ((error, message),) = answers
            if error is not None:
                raise KafkaException(error)
        offset = message.offset()
        assert offset is not None
        return Receipt(partition, offset)

    def discard(self) -> None:
        """Purge; the library's threads end when the last append has its answer."""
        self._producer.purge()


def _options(settings: KafkaSettings, name: str | None) -> dict[str, Any]:
    limit_ms = settings.delivery_timeout_ms
    options = connection(settings) | {
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": LINGER_MS,
        "batch.size": BATCH_BYTES,
        # A poll is bounded by its ticks; nothing else is under way.
        "queue.buffering.max.messages": 0,
        "retry.backoff.ms": 10,
        "delivery.report.only.error": True,
    }
    if name is not None:
        options["transactional.id"] = name
        options["transaction.timeout.ms"] = settings.transaction_timeout_ms
        limit_ms = min(limit_ms, settings.transaction_timeout_ms)
    options["delivery.timeout.ms"] = limit_ms
    # A request has to fail within these limits, and with a margin that the library demands.
    options["socket.timeout.ms"] = max(10, min(options["socket.timeout.ms"], limit_ms // 2))
    return options
