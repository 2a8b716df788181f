"""What a Kafka client library has to give the log on Kafka, and which library is used.

A driver is a module with the functions of `Driver`: `kafka_python` (the default) and
`librdkafka`. It connects, keeps the library's traps to itself and turns its exceptions into
`LogError`s. It decides nothing: what may be delivered, published and committed is up to `KafkaLog`,
with either library. Topics, offsets and takeovers are asked for with kafka-python, which is always
there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from slotcast.log.kafka.group import Membership
from slotcast.log.kafka.reader import RangeReader
from slotcast.log.port import Batch, Committed, LogError, Receipt
from slotcast.settings import KafkaSettings

Headers = list[tuple[str, bytes]]


class Standing(NamedTuple):
    """How the group sees us. `group` is the library's own token for a transaction's offsets."""

    is_stable: bool
    is_joining: bool
    member_id: str
    group: Any


class Member(Protocol):
    """A consumer of the tick topic in the group. A partition that it is given is paused.

    Rebalances are noted in its `membership`, from whatever thread the library calls back.
    """

    membership: Membership
    client: str
    """What the broker calls this consumer."""

    def poll(self, timeout_ms: int, max_ticks: int) -> Sequence[Batch]:
        """Records of partitions that are not paused, at once if there are any.

        What passes by itself (no coordinator, no connection) is logged, and no record. Raises
        `InstanceFenced` when the group knows another consumer by our instance id.
        """

    def standing(self) -> Standing:
        """How the group sees us now."""

    def partitions(self) -> Sequence[int]:
        """All partitions of the tick topic, as of the last metadata."""

    def pause(self, partition: int) -> None:
        """Deliver nothing of an owned partition, not even what was fetched already."""

    def resume(self, partition: int, offset: int) -> None:
        """Deliver an owned partition from an offset that is in the log."""

    def commit(self, offsets: Mapping[int, Committed], group: Any) -> None:
        """Commit without a transaction, as the member of the poll that `group` is from."""

    def close(self) -> None:
        """Leave the group. Commits nothing."""


class Producer(Protocol):
    """An idempotent producer that waits for every replica; transactional if it has an id.

    No call takes longer than `delivery_timeout_ms` and a little. After any error it is discarded,
    unless it could abort.
    """

    def partitions_of(self, topic: str) -> int:
        """How many partitions this topic has."""

    def send(
        self,
        topic: str,
        partition: int,
        keys: Sequence[bytes | None],
        values: Iterable[bytes | None],
        timestamps_ms: Iterable[int],
        headers: Headers | None = None,
    ) -> None:
        """Send columns of records, in order; `headers` are those of each."""

    def flush(self) -> None:
        """Wait until every record sent is acknowledged; raise the error of any that is not."""

    def init_transactions(self) -> None:
        """End what an earlier producer with our id left open, and fence it."""

    def begin(self) -> None:
        """Begin a transaction."""

    def send_offsets(self, ticks: str, offsets: Mapping[int, Committed], group: Any) -> None:
        """Make offsets of the tick topic part of it. `group` is from `Standing`."""

    def commit(self) -> None:
        """Commit it. After an error nobody knows whether it is committed."""

    def abort(self) -> bool:
        """Abort it when nothing is under way. Whether this producer can begin another."""

    def discard(self) -> None:
        """Throw away what was not sent yet, and every connection."""


class Sender(Protocol):
    """A producer of single records, for any thread. After any error it is discarded."""

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers
    ) -> Receipt:
        """Send one record and wait for its acknowledgement."""

    def discard(self) -> None:
        """Throw away what was not sent yet, and every connection."""


class Driver(Protocol):
    """A client library."""

    def join(self, settings: KafkaSettings, worker: str) -> Member:
        """A member that is on its way into the group."""

    def open_producer(
        self, settings: KafkaSettings, transactional_id: str | None = None
    ) -> Producer:
        """A producer; with an id, `init_transactions` comes first."""

    def open_sender(self, settings: KafkaSettings) -> Sender:
        """A producer of single records."""

    def open_reader(self, settings: KafkaSettings, topic: str | None = None) -> RangeReader:
        """A reader of a topic, of the tick topic if none is given."""


def driver_of(settings: KafkaSettings) -> Driver:
    """The library that `kafka.client` names. Raises `LogError` if it is not installed."""
    if settings.client == "kafka-python":
        from slotcast.log.kafka import kafka_python

        return kafka_python
    try:
        from slotcast.log.kafka import librdkafka
    except ModuleNotFoundError as error:
        raise LogError(
            f"kafka.client = {settings.client!r} needs the package confluent-kafka:"
            "  pip install 'slotcast[librdkafka]'"
        ) from error
    return librdkafka
