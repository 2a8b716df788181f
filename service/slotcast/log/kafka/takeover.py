"""Taking over from a dead worker: its open transaction is ended, so that nobody waits for it.

What a worker was publishing when it died stays open until the broker gives up on it
(`kafka.transaction_timeout_ms`). So long its partitions have no stable offset, and readers of
committed forecasts see nothing new of them. Whoever starts a producer under the dead worker's
transactional id ends its transaction at once:

1. Whose is it? The note on the committed offset names the last owner. If offsets stay unstable all
   the same, the broker lists what is open: ours begin with the names of group and topic.
2. Is it dead? Then no member of the group has its name. Only a member of the group may judge: one
   that the group has given up sees others wrongly.
3. End it.

None of this is needed for correctness, only for speed: what fails here is logged, and waited for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from kafka.admin import TransactionState
from kafka.errors import TransactionalIdNotFoundError

from slotcast.log.kafka.client import kafka_errors, worker_of
from slotcast.log.kafka.transactions import TransactionalPublisher
from slotcast.log.port import LogError
from slotcast.settings import KafkaSettings

END_TIMEOUT_MS = 2_000

logger = logging.getLogger(__name__)


def transactional_id(settings: KafkaSettings, worker: str) -> str:
    """GROUP.TICKS.WORKER; the first two without dots, so that no id is another's beginning."""
    return f"{_plain(settings.group)}.{_plain(settings.ticks)}.{worker}"


def _plain(name: str) -> str:
    return name.replace("%", "%25").replace(".", "%2E")


class _Note(msgspec.Struct):
    owner: str = ""


def owner_of(metadata: str) -> str:
    """The owner that a note names, or nothing."""
    try:
        return msgspec.json.decode(metadata, type=_Note).owner
    except msgspec.DecodeError:
        return ""


class Takeover:
    """Ends transactions of dead workers of this group; used by one thread."""

    def __init__(self, settings: KafkaSettings, worker: str, admin: Any) -> None:
        self._settings, self._worker, self._admin = settings, worker, admin
        self._prefix = transactional_id(settings, "")

    def end(self, owner: str) -> None:
        """End what this owner left open, if it is dead."""
        if self._is_other(owner):
            self._try(lambda: self._end_dead([owner] if self._is_open(owner) else []))

    def end_any(self) -> None:
        """End what any dead worker of the group left open."""
        self._try(lambda: self._end_dead(self._listed()))

    def _try(self, ending: Callable[[], None]) -> None:
        try:
            with kafka_errors(f"take over from a worker of {self._settings.group}", self._settings):
                ending()
        except LogError as error:
            logger.warning("waiting for open transactions to time out: %s", error)

    def _is_other(self, owner: str) -> bool:
        return owner.startswith(self._prefix) and owner != self._prefix + self._worker

    def _is_open(self, owner: str) -> bool:
        try:
            found = self._admin.describe_transactions([owner])
        except TransactionalIdNotFoundError:
            return False
        return bool(found[owner].state is TransactionState.ONGOING)

    def _listed(self) -> list[str]:
        listed = self._admin.list_transactions(state_filters=[TransactionState.ONGOING.value])
        owners = [one.transactional_id for ones in listed.values() for one in ones]
        return [owner for owner in owners if self._is_other(owner)]

    def _end_dead(self, owners: Sequence[str]) -> None:
        alive = self._alive() if owners else set()
        for owner in owners:
            if self._worker in alive and owner.removeprefix(self._prefix) not in alive:
                self._end(owner)

    def members(self) -> set[str]:
        """The ids of the group's members. Raises `LogError`."""
        group = self._settings.group
        with kafka_errors(f"describe group {group}", self._settings):
            members = self._admin.describe_groups([group])[group]["members"]
        return {member["member_id"] for member in members}

    def has_our_name(self, client: str) -> bool:
        """Whether it is this very client that the group knows by our instance id."""
        group, name = self._settings.group, self._settings.instance_id
        with kafka_errors(f"describe group {group}", self._settings):
            members = self._admin.describe_groups([group])[group]["members"]
        return any((m["group_instance_id"], m["client_id"]) == (name, client) for m in members)

    def _alive(self) -> set[str]:
        """Names of the workers that the group knows."""
        group = self._settings.group
        members = self._admin.describe_groups([group])[group]["members"]
        clients = {worker_of(member["client_id"]) for member in members}
        return clients | {member["group_instance_id"] for member in members}

    def _end(self, owner: str) -> None:
        begun = time.monotonic()
        # A producer of that name that writes nothing: to start it is all it is for. librdkafka
        # would be sent away for half a second, once or twice.
        hurried = {"delivery_timeout_ms": END_TIMEOUT_MS, "client": "kafka-python"}
        successor = TransactionalPublisher(self._settings.model_copy(update=hurried), owner)
        successor.settle()
        successor.close()
        took_s = time.monotonic() - begun
        logger.info("ended the open transaction of %s, which is dead, in %.3f s", owner, took_s)
