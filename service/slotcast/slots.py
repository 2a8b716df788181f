"""Slots: which instrument holds which row of the batch.

An instrument is known by (partition, name). It keeps its slot until it is released, which is the
caller's decision (paged out after a commit, or its partition left). Slots are numbers from 0 to
`capacity - 1`, which may grow; a free slot's row is never read.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray


class Slots:
    """The directory of resident instruments."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._free = list(range(capacity - 1, -1, -1))
        self._slot_of: dict[int, dict[str, int]] = {}
        self.names: list[str | None] = [None] * capacity
        self.partition = np.full(capacity, -1, np.int64)
        self.last_used = np.zeros(capacity, np.int64)
        self._turn = 0

    def grow(self, count: int) -> None:
        """Have so many slots more."""
        more = range(self.capacity + count - 1, self.capacity - 1, -1)
        self._free = [*more, *self._free]
        self.names += [None] * count
        self.partition = np.concatenate([self.partition, np.full(count, -1, np.int64)])
        self.last_used = np.concatenate([self.last_used, np.zeros(count, np.int64)])
        self.capacity += count

    @property
    def used(self) -> int:
        """Number of slots that hold an instrument."""
        return self.capacity - len(self._free)

    def of_partition(self, partition: int) -> dict[str, int]:
        """Instrument -> slot of one partition. Read only."""
        return self._slot_of.setdefault(partition, {})

    def take(self, partition: int, name: str) -> int:
        """A free slot for an instrument that has none. Raises IndexError when all are taken."""
        assert name not in self.of_partition(partition), (partition, name)
        if not self._free:
            raise IndexError(f"all {self.capacity} slots are taken")
        slot = self._free.pop()
        self.of_partition(partition)[name] = slot
        self.names[slot], self.partition[slot] = name, partition
        return slot

    def release(self, slot: int) -> None:
        """Free a taken slot."""
        name = self.names[slot]
        assert name is not None, slot
        del self._slot_of[int(self.partition[slot])][name]
        self.names[slot], self.partition[slot] = None, -1
        self._free.append(slot)

    def touch(self, slots: NDArray[np.int64]) -> None:
        """These slots tick now."""
        self._turn += 1
        self.last_used[slots] = self._turn

    def least_recent(self, count: int, partitions: Collection[int]) -> list[int]:
        """The `count` slots of these partitions whose last tick is longest ago."""
        taken = np.flatnonzero(np.isin(self.partition, list(partitions)))
        order = np.argsort(self.last_used[taken], kind="stable")
        return taken[order[:count]].tolist()  # type: ignore[no-any-return]
