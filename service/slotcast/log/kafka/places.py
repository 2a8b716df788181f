"""Where each live partition stands, what has been silent for too long, and what was tried then.

A partition is live from `go` to `leave`. Those that deliver do not hide one that does not: each has
a silence of its own. But clients hand out what they have fetched partition by partition, and that
may be seconds of work. So silence counts whole only while the client has nothing else to hand out,
and no longer than `LONGEST_TURN_S` for a turn in which we were busy ourselves.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from slotcast.log.port import Batch

LONGEST_TURN_S = 1.0
BUSY_SHARE = 0.1
"""Of the time between two polls, if the later one brought as much as it may."""


class Remedy(IntEnum):
    """What can be done about a partition that has records and delivers none, in this order."""

    SEND_BACK = 0
    JOIN_ANEW = 1
    GIVE_UP = 2


@dataclass(slots=True)
class Place:
    """The offset behind what was delivered, and for how long there was nothing more."""

    offset: int
    silent_s: float = 0.0


class Places:
    """The live partitions of one member; used by one thread."""

    def __init__(self) -> None:
        self._places: dict[int, Place] = {}
        self._tried: dict[int, Remedy] = {}
        """Partition -> what was tried last since it last delivered; outlives `leave`."""
        self._polled = time.monotonic()

    def go(self, partition: int, offset: int) -> None:
        """It is live from `offset` on."""
        self._places[partition] = Place(offset)

    def leave(self, partition: int) -> None:
        """It is not live any more."""
        self._places.pop(partition, None)

    def lose(self, partitions: Iterable[int]) -> None:
        """These are others' now, and live there; what ailed them here is past."""
        for partition in partitions:
            self.leave(partition)
            self._tried.pop(partition, None)

    def clear(self) -> None:
        """Nothing is live any more."""
        self._places.clear()

    def of(self, partition: int) -> int | None:
        """The offset at which a live partition goes on."""
        place = self._places.get(partition)
        return None if place is None else place.offset

    def take(self, batch: Batch) -> None:
        """This was delivered."""
        self.go(batch.partition, int(batch.offsets[-1]) + 1)
        self._tried.pop(batch.partition, None)

    def polled(self, *, full: bool) -> None:
        """A poll is over; a `full` one brought as many records as it may, so there may be more."""
        now = time.monotonic()
        passed = min(now - self._polled, LONGEST_TURN_S) * (BUSY_SHARE if full else 1.0)
        self._polled = now
        for place in self._places.values():
            place.silent_s += passed

    def silent(self, longest_s: float) -> int | None:
        """The partition that has been silent for longest, if for so long; it counts as heard now.

        One at a time: to look at all that is quiet would take as long as a poll.
        """
        if not self._places:
            return None
        partition, place = max(self._places.items(), key=lambda item: item[1].silent_s)
        if place.silent_s < longest_s:
            return None
        place.silent_s = 0.0
        return partition

    def is_well(self, partition: int) -> None:
        """It is silent because there is nothing to deliver."""
        self._tried.pop(partition, None)

    def next_remedy(self, partition: int, least: Remedy) -> Remedy:
        """What to try now: at least this, and more than what was tried before."""
        tried = self._tried.get(partition)
        return least if tried is None else Remedy(min(max(least, tried + 1), Remedy.GIVE_UP))

    def was_tried(self, partition: int, remedy: Remedy) -> None:
        """It was done; should it not have helped, the next one is due."""
        self._tried[partition] = remedy
