"""The history of a log in memory, for tests: what the members of a `MemoryBroker` published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from slotcast.log.history import Topic
from slotcast.log.memory.log import MemoryBroker, MemoryLog
from slotcast.log.port import Batch, Committed, DeadLetter, LogName, OffsetOutOfRange

READ_RECORDS = 100


class MemoryHistory:
    """Reads what `broker` holds. `trimmed` records are gone from the front of a topic."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._log = MemoryLog(broker=broker)
        self._log.close()  # a history owns no partition
        self.trimmed: dict[tuple[Topic, int], int] = {}

    def name(self) -> LogName:
        """Which log this is."""
        return self._log.name

    def partitions(self) -> Sequence[int]:
        """All partitions."""
        return self._log.partitions()

    def committed(self, partition: int) -> Committed | None:
        """The committed position, or None."""
        return self._log.broker.offsets.get(partition)

    def bounds(self, topic: Topic, partition: int) -> tuple[int, int]:
        """First position, and the one after the last."""
        if topic == "ticks":
            return self._log.bounds(partition)
        records = self._records(topic, partition)
        return self.trimmed.get((topic, partition), 0), len(records)

    def readable(self, topic: Topic, partition: int) -> tuple[int, int]:
        """The same as `bounds`: nothing is ever undecided here."""
        return self.bounds(topic, partition)

    def ticks(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        """Records of the tick topic."""
        return self._log.read(partition, start, stop)

    def forecasts(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        """Records of the forecast topic."""
        self._check("forecasts", partition, start, stop)
        for first in range(start, stop, READ_RECORDS):
            last = min(first + READ_RECORDS, stop)
            part = self._broker.forecasts[partition][first:last]
            yield Batch(
                partition,
                np.arange(first, last),
                np.array([record.timestamp_ms for record in part], np.int64),
                [record.key for record in part],
                [record.value for record in part],
            )

    def dead_letters(self, partition: int, start: int, stop: int) -> Iterator[DeadLetter]:
        """Dead letters."""
        self._check("dead_letters", partition, start, stop)
        yield from self._broker.dead_letters[partition][start:stop]

    def close(self) -> None:
        """Nothing is held."""

    def _records(self, topic: Topic, partition: int) -> Sequence[object]:
        return getattr(self._broker, topic)[partition]  # type: ignore[no-any-return]

    def _check(self, topic: Topic, partition: int, start: int, stop: int) -> None:
        first, end = self.bounds(topic, partition)
        if start < first or stop > end:
            raise OffsetOutOfRange(f"{topic}-{partition} holds {first} to {end}")
