"""Opening a snapshot: claim the store, read what is there, refuse what is damaged or not ours.

What needs the store waits for it between turns, up to a patience; without an answer by then it
goes on without. A generator here yields False while it waits.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

from slotcast.failpoints import at
from slotcast.log.port import LogName
from slotcast.partition import Partition
from slotcast.snapshots.snapshot import Header, SnapshotDamaged, decode_header
from slotcast.store.port import Store, StoreError

log = logging.getLogger("slotcast.recovery")

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Opening:
    """Opens snapshots of one log and one bundle. The store is not touched otherwise."""

    store: Store
    name: LogName
    bundle: str
    patience_s: float
    clock: Callable[[], float]

    def open(self, partition: Partition, *, use: bool) -> Generator[bool, None, Header | None]:
        """Claim the partition, and load header and index; without `use`, clear what is there.

        None if there is nothing, or no store in time. Raises SnapshotDamaged; the claim stands.
        """
        partition.claim, partition.index = None, {}
        return (yield from self._patiently(partition, lambda: self._load(partition, use)))

    def header(self, partition: Partition) -> Generator[bool, None, Header | None]:
        """The header in the store, whosever it is; None if there is none to be had."""
        data = yield from self._patiently(partition, lambda: self.store.header(partition.number))
        try:
            return None if data is None else decode_header(data)
        except SnapshotDamaged:
            return None

    def is_of_this_log(self, header: Header, number: int) -> bool:
        """Whether the header is of this partition of this log."""
        found = LogName(header.topic, header.topic_id, header.group), header.partition
        return found == (self.name, number)

    def _load(self, partition: Partition, use: bool) -> Header | None:
        number = partition.number
        self._claim(partition)
        at("recovery-claimed")
        data = self.store.header(number) if use else None
        header = self._usable(partition, data) if data is not None else None
        if header is None:
            self.store.clear(number)
            self._claim(partition)
        else:
            partition.index = self.store.index(number)
        at("recovery-indexed")
        return header

    def _claim(self, partition: Partition) -> None:
        partition.claim = self.store.claim(partition.number, secrets.token_hex(8))

    def _patiently(
        self, partition: Partition, ask: Callable[[], Answer | None]
    ) -> Generator[bool, None, Answer | None]:
        """What the store answers within our patience, else None."""
        begun = self.clock()
        while True:
            try:
                return ask()
            except StoreError as error:
                partition.claim, partition.index = None, {}
                if self.clock() - begun >= self.patience_s:
                    number = partition.number
                    log.warning("partition %d goes on without its store: %s", number, error)
                    return None
                yield False

    def _usable(self, partition: Partition, data: bytes) -> Header:
        header = decode_header(data)
        if header.bundle != self.bundle:
            raise SnapshotDamaged(
                f"snapshot is of bundle {header.bundle}, this worker has {self.bundle}"
            )
        if not self.is_of_this_log(header, partition.number):
            raise SnapshotDamaged(
                f"snapshot is of partition {header.partition} of topic {header.topic} (id"
                f" {header.topic_id or 'none'}) in group {header.group}: it is foreign"
            )
        if header.origin != partition.origin or header.watermark > partition.committed:
            raise SnapshotDamaged(
                f"snapshot covers {header.origin} to {header.watermark}, the committed memory "
                f"{partition.origin} to {partition.committed}: it is of another log or time"
            )
        return header
