"""The roster: the instruments for which the board has lines, and their order by name.

Written by the worker under the board's lock. Whoever reads the order or searches needs no lock:
places are only ever added.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Key = tuple[int, str]
"""Partition and name."""


class Roster:
    """Instruments by place, numbered from 0 in the order in which they came."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self._folded: list[str] = []
        """Place -> the name as searching compares it."""
        self._place: dict[Key, int] = {}
        self._by_name: dict[str, list[int]] = {}
        self._in_name_order = np.zeros(0, np.int64)

    def add(self, key: Key) -> int:
        """A place for an instrument that has none."""
        place = self._place[key] = len(self.keys)
        self._folded.append(key[1].casefold())
        self._by_name.setdefault(key[1], []).append(place)
        self.keys.append(key)
        return place

    def find(self, key: Key) -> int | None:
        """The instrument's place, if it has one."""
        return self._place.get(key)

    def named(self, name: str) -> Sequence[int]:
        """Places of this name, one per partition in which it was seen."""
        return self._by_name.get(name, ())

    def of_partition(self, partition: int) -> list[int]:
        """Places of all instruments of a partition."""
        return [place for place, (number, _) in enumerate(self.keys) if number == partition]

    def in_name_order(self) -> NDArray[np.int64]:
        """All places, sorted by name."""
        if len(self._in_name_order) < len(self.keys):
            keys = self.keys.copy()
            order = sorted(range(len(keys)), key=lambda place: (keys[place][1], keys[place][0]))
            self._in_name_order = np.array(order, np.int64)
        return self._in_name_order

    def matching(self, search: str, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the names at these places contain `search`, in any case."""
        wanted = search.casefold()
        found = [wanted in self._folded[place] for place in places.tolist()]
        return np.array(found, np.bool_)
