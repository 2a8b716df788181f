"""Publishing to Kafka in transactions: forecasts, dead letters and offsets, or nothing of it.

1. Begin; send everything; flush; check every record. A record that was lost inside a transaction
   leaves it committable: only the records themselves tell.
2. Send the offsets, with the group metadata of the poll they come from, so that the broker refuses
   a member that the group has given up.
3. Commit. Nothing is in flight by then, else the client can report a lost transaction as committed.

The failpoints in between (`slotcast.failpoints`): begin, after-send, after-offsets, after-commit.

Every wait has a deadline. Where only the offsets are refused, the transaction is aborted, if the
library can. Else, and when the outcome is unknown, the producer is thrown away, and `settle` starts
another with the same id, which ends what the old one left open. Only then does the committed offset
tell what happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from slotcast.failpoints import at
from slotcast.log.kafka.client import InstanceFenced
from slotcast.log.kafka.driver import Producer
from slotcast.log.kafka.producer import Publisher
from slotcast.log.port import CommitFailed, Committed, LogError, Outbox
from slotcast.settings import KafkaSettings


class TransactionalPublisher(Publisher):
    """Publishes outboxes, each in a transaction of its own; used by one thread."""

    def __init__(self, settings: KafkaSettings, transactional_id: str) -> None:
        super().__init__(settings)
        self.transactional_id = transactional_id
        self.unsettled = False
        """Whether we may have left a transaction open."""
        self._may_abort = False
        """Whether nothing is under way, and nobody has tried to commit."""

    def settle(self) -> None:
        """End what an earlier producer with our id left open. Raises `LogError`."""
        self._open()
        self.unsettled = False

    def commit(self, outbox: Outbox, offsets: Mapping[int, Committed], group: Any) -> None:
        """Publish the outbox and `offsets` in one transaction; `group` is of the last poll.

        Raises `InstanceFenced` when another worker has our name, else `CommitFailed`.
        """
        try:
            self._transact(outbox, offsets, group)
        except InstanceFenced:
            self.close()
            raise
        except (LogError, ValueError, TypeError) as error:
            self._end()
            raise CommitFailed(f"a transaction of {self._settings.group}: {error}") from error

    def _transact(self, outbox: Outbox, offsets: Mapping[int, Committed], group: Any) -> None:
        producer = self._open()
        self.unsettled, self._may_abort = True, False
        producer.begin()
        at("begin")
        if outbox.forecasts or outbox.dead_letters:
            self._send(producer, outbox)
            at("after-send")
        self._may_abort = True
        producer.send_offsets(self._settings.ticks, offsets, group)
        at("after-offsets")
        self._may_abort = False
        producer.commit()
        self.unsettled = False
        at("after-commit")

    def _end(self) -> None:
        """Abort where only the offsets were refused; else the producer is thrown away."""
        if self._producer is not None and self._may_abort:
            with suppress(LogError):
                if self._producer.abort():
                    self.unsettled = False
                    return
        self.close()

    def _open(self) -> Producer:
        if self._producer is None:
            name = self.transactional_id
            producer = self._driver.open_producer(self._settings, name)
            try:
                self._look_up(producer)
                producer.init_transactions()
            except LogError:
                producer.discard()
                raise
            self._producer = producer
        return self._producer
