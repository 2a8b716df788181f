"""The recoveries of a worker's partitions: begun for whatever reason, advanced slice by slice.

A recovery forgets the partition's memory first, and the log holds the partition back until it is
live. What it does is in `recovery.py`; here is when, how often, and what is told of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from slotcast.damage import StoppedByPolicy
from slotcast.log.port import CommitFailed, LogUnavailable, OffsetOutOfRange
from slotcast.partition import Partition, Phase
from slotcast.parts import Parts
from slotcast.residence import NoSlotLeft
from slotcast.snapshots.snapshot import SnapshotDamaged
from slotcast.store.port import StoreError

log = logging.getLogger("slotcast.worker")

SLICE_S = 0.2
UNAVAILABLE_PAUSE_S = 1.0
"""Before a recovery begins that waits for what does not come at once: the log, or a slot."""
PAUSED = (LogUnavailable.__name__, NoSlotLeft.__name__)


class Recoveries:
    """Those of one worker, for its thread; true while there are any."""

    def __init__(self, parts: Parts, partitions: Mapping[int, Partition]) -> None:
        self._parts, self._partitions = parts, partitions
        self._running: dict[int, Iterator[bool]] = {}
        self._begun: dict[int, tuple[str, float]] = {}
        """Partition that is not live -> why not, and since when."""
        self._distrusted: set[int] = set()
        """Partitions whose snapshots were found damaged, until they are live again."""
        self.waiting = False
        """Whether all of them wait for something outside."""

    def __bool__(self) -> bool:
        return bool(self._running)

    def begin(self, number: int, cause: str) -> None:
        """Forget a partition's memory and recover it."""
        partition = self._partitions[number]
        if partition.phase is Phase.STOPPED:
            partition.damage = ""
        partition.move(Phase.RECOVERING)
        self._forget(partition)
        self._parts.log.hold(number)
        # A damaged row may not be met again before its next tick: replay all of it now.
        if cause == SnapshotDamaged.__name__:
            self._distrusted.add(number)
        recovery = self._parts.recovery.run(partition, trusted=number not in self._distrusted)
        self._running[number] = self._after_a_pause(recovery) if cause in PAUSED else recovery
        self._begun.setdefault(number, (cause, self._parts.clock()))
        self._parts.metrics.recoveries.labels(cause).inc()

    def give_up(self, partition: Partition) -> None:
        """The partition is not ours any more."""
        self._forget(partition)
        self._begun.pop(partition.number, None)
        self._distrusted.discard(partition.number)

    def advance(self) -> None:
        """Up to 200 ms of silent replay, so that live partitions are served in between."""
        begun, self.waiting = self._parts.clock(), False
        while self._running and not self.waiting:
            self.waiting = True
            for number in list(self._running):
                if self._parts.clock() - begun > SLICE_S:
                    self.waiting = False
                    return
                if self._step(number):
                    self.waiting = False

    def _step(self, number: int) -> bool:
        """Whether the recovery did some work; one that waits lets the others go first."""
        try:
            worked = next(self._running[number])
        except StopIteration:
            self._end(self._partitions[number])
            return True
        except StoppedByPolicy as error:
            self._stop(self._partitions[number], str(error))
            return True
        except (CommitFailed, LogUnavailable, OffsetOutOfRange, StoreError) as error:
            log.warning("recovery of partition %d begins again: %s", number, error)
            self.begin(number, type(error).__name__)
            return False
        if not worked:
            self._running[number] = self._running.pop(number)
        return worked

    def _after_a_pause(self, recovery: Iterator[bool]) -> Iterator[bool]:
        due = self._parts.clock() + UNAVAILABLE_PAUSE_S
        while self._parts.clock() < due:
            yield False
        yield from recovery

    def _forget(self, partition: Partition) -> None:
        self._parts.residence.forget(partition)
        self._parts.snapshots.forget(partition)
        self._running.pop(partition.number, None)

    def _end(self, partition: Partition) -> None:
        del self._running[partition.number]
        self._distrusted.discard(partition.number)
        cause, begun = self._begun.pop(partition.number)
        took_s = self._parts.clock() - begun
        self._parts.metrics.recovery_seconds.labels(cause).observe(took_s)
        log.info(
            "partition %d is live at %d, recovered (%s) in %.1f s from %d on",
            partition.number, partition.committed, cause, took_s, partition.replay_from,
        )  # fmt: skip
        self._restore_board(partition)

    def _stop(self, partition: Partition, why: str) -> None:
        """It stays ours and stands still: no other worker could do better."""
        log.error("%s", why)
        self._forget(partition)
        self._begun.pop(partition.number, None)
        partition.damage = why
        partition.move(Phase.STOPPED)

    def _restore_board(self, partition: Partition) -> None:
        """Show readers what memory knows, without waiting for the next ticks."""
        engine = self._parts.engine
        here = engine.slots.of_partition(partition.number)
        shown = [(name, slot, engine.rows[slot]) for name, slot in here.items()]
        self._parts.board.restore(partition, shown, engine.predictor)
        self._parts.completion.begin(partition)
