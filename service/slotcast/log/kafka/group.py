"""Membership in the consumer group: what was gained and lost since it was last asked.

Notes come from a library's callbacks, on whatever thread; nothing else happens in them.
"""

from __future__ import annotations

from threading import Lock
from typing import NamedTuple


class Change(NamedTuple):
    """Partition numbers gained and lost; one in both was lost first."""

    gained: set[int]
    lost: set[int]


class Membership:
    """Notes rebalances of one consumer and keeps the set of owned partitions."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._owned: set[int] = set()
        self._change = Change(set(), set())
        self._member = ""

    def note_gained(self, partitions: set[int]) -> None:
        """The group gave us these."""
        with self._lock:
            self._owned |= partitions
            self._change.gained.update(partitions)

    def note_lost(self, partitions: set[int]) -> None:
        """The group took these, or gave us up."""
        with self._lock:
            self._owned -= partitions
            # One that nobody has heard of yet was never gained.
            self._change.lost.update(partitions - self._change.gained)
            self._change.gained.difference_update(partitions)

    def owned(self) -> set[int]:
        """The partitions that are ours, as far as we know."""
        with self._lock:
            return set(self._owned)

    def lost_since(self) -> set[int]:
        """The partitions lost since `take`, without taking note."""
        with self._lock:
            return set(self._change.lost)

    def take(self, member_id: str) -> Change:
        """What changed since the last call; `member_id` is how the group names us now.

        A new one means that the group went on without us: whatever we still hold may have had
        another owner meanwhile, although no callback said so.
        """
        if self._member and member_id and member_id != self._member:
            held = self.owned()
            self.note_lost(held)
            self.note_gained(held)
        self._member = member_id or self._member
        with self._lock:
            change, self._change = self._change, Change(set(), set())
        return change
