"""Publishing to Kafka in transactions: forecasts, dead letters and offsets, or nothing of it.

1. Begin; send everything; flush; check every record. A record that was lost inside a transaction
   leaves it committable: only the records themselves tell.
2. Send the offsets, with the group metadata of the poll they come from, so that the broker refuses
   a member that the group has given up.
3. Commit. Nothing is in flight by then, else the client can report a lost transaction as committed.

The failpoints in between (`slotcast.failpoints`): begin, after-send, after-offsets, after-commit.

Every wait has a deadline; the client's own have none. After any failure the outcome is unknown: the
producer is thrown away, and `settle` starts another with the same id, which ends what the old one
left open. Only then does the committed offset tell what happened.
"""

from __future__ import annotations

from typing import Any

from kafka.errors import KafkaTimeoutError

from slotcast.failpoints import at
from slotcast.log.kafka_client import InstanceFenced, kafka_errors
from slotcast.log.kafka_producer import LINGER_MS, Publisher, check_all, open_producer
from slotcast.log.port import CommitFailed, LogError, Outbox
from slotcast.settings import KafkaSettings


class TransactionalPublisher(Publisher):
    """Publishes outboxes, each in a transaction of its own; used by one thread."""

    def __init__(self, settings: KafkaSettings, transactional_id: str) -> None:
        super().__init__(settings)
        self.transactional_id = transactional_id
        self.unsettled = False
        """Whether we may have left a transaction open."""

    def settle(self) -> None:
        """End what an earlier producer with our id left open. Raises `LogError`."""
        self._open()
        self.unsettled = False

    def commit(self, outbox: Outbox, offsets: Any, group: Any) -> None:
        """Publish the outbox and `offsets` in one transaction.

        Raises `InstanceFenced` when another worker has our name, else `CommitFailed`.
        """
        try:
            with kafka_errors(f"commit a transaction of {self._settings.group}", self._settings):
                self._transact(outbox, offsets, group)
        except InstanceFenced:
            self.close()
            raise
        except (LogError, ValueError, TypeError) as error:
            self.close()
            raise CommitFailed(str(error)) from error

    def _transact(self, outbox: Outbox, offsets: Any, group: Any) -> None:
        producer = self._open()
        self.unsettled = True
        producer.begin_transaction()
        at("begin")
        futures = list(self._forecasts(producer, outbox.forecasts))
        futures += self._dead_letters(producer, outbox.dead_letters)
        if futures:
            producer.flush(self._settings.delivery_timeout_ms / 1_000 + 1)
            check_all(futures)
            at("after-send")
        transactions = producer._transaction_manager
        sent = transactions.send_offsets_to_transaction(offsets, group)
        self._wait(producer, sent, "offsets")
        at("after-offsets")
        self._wait(producer, transactions.begin_commit(), "commit")
        self.unsettled = False
        at("after-commit")

    def _wait(self, producer: Any, result: Any, what: str) -> None:
        limit_ms = self._settings.delivery_timeout_ms
        producer._sender.wakeup()
        if not result.wait(limit_ms):
            raise KafkaTimeoutError(f"no answer about the {what} in {limit_ms} ms")

    def _open(self) -> Any:
        if self._producer is None:
            producer = open_producer(
                self._settings,
                LINGER_MS,
                transactional_id=self.transactional_id,
                transaction_timeout_ms=self._settings.transaction_timeout_ms,
            )
            self._adopt(producer)
            try:
                with kafka_errors("start transactions", self._settings):
                    producer.init_transactions()
            except LogError:
                self.close()
                raise
        return self._producer
