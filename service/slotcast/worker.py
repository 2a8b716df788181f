"""The worker: one thread that owns the log and all memory.

A turn is: poll; forget what was lost and begin to recover what was gained; deliver; recover a
slice; snapshot a slice and page out; complete the board; answer readers. Everything that goes wrong
with a partition ends in the same place: forget its memory and recover it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from slotcast.board.views import PartitionView
from slotcast.delivery import Cycle
from slotcast.log.port import CommitFailed, LogUnavailable, OffsetOutOfRange, Poll
from slotcast.partition import Partition, Phase
from slotcast.parts import Parts
from slotcast.questions import Questions
from slotcast.recoveries import Recoveries
from slotcast.snapshots.snapshot import SnapshotDamaged
from slotcast.store.port import StoreError, StoreFenced, StoreForgot
from slotcast.store.resting import StoreResting
from slotcast.tally import Tally

log = logging.getLogger("slotcast.worker")

SNAPSHOTS_S = 0.2
"""What snapshots may take of a turn."""
WAITING_POLL_MS = 50
"""A poll while recoveries wait for something outside."""
VIEW_INTERVAL_S = 0.5
Answer = TypeVar("Answer")


class Worker:
    """Runs turns until stopped. `ask` is the only method for other threads."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.partitions: dict[int, Partition] = {}
        self.recoveries = Recoveries(parts, self.partitions)
        self._questions = Questions()
        self._stop = threading.Event()
        self._view_due = self._committed_at = 0.0
        self._snapshot_at = -1
        """The partition that had its slice of snapshot last."""
        self.tally = Tally(parts)
        self.failure: Exception | None = None

    @property
    def views(self) -> Sequence[PartitionView]:
        """The partitions, as of the last look; any thread."""
        return self.tally.views

    def stop(self) -> None:
        """Ask the loop to end after its turn; any thread."""
        self._stop.set()

    def run(self) -> None:
        """Turn until stopped, then snapshot and leave. `failure` keeps what is raised."""
        try:
            while not self._stop.is_set():
                self.turn()
            self._complete_snapshots()
        except Exception as error:
            self.failure = error
            raise
        finally:
            self._questions.end(f"the worker has stopped: {self.failure or 'it was told to'}")
            self.parts.log.close()

    def turn(self) -> Cycle | None:
        """One turn; the cycle it committed, if any."""
        parts = self.parts
        self._space_commits()
        recovering = bool(self.recoveries)
        timeout_ms = parts.settings.poll_timeout_ms
        if recovering:
            timeout_ms = WAITING_POLL_MS if self.recoveries.waiting else 0
        poll = self._poll(timeout_ms)
        self._follow_membership(poll)
        cycle = self._deliver(poll)
        recovering = recovering or bool(self.recoveries)
        if recovering:
            self._page_out()  # a replay needs as many slots as a poll
            self.recoveries.advance()
        self._maintain(idle=cycle is None)
        if not recovering:
            parts.completion.advance(self.partitions, idle=cycle is None)
        self._questions.answer()
        return cycle

    def _poll(self, timeout_ms: int) -> Poll:
        """What the log has; nothing if it is away, or has trimmed what is next: then we recover."""
        try:
            return self.parts.log.poll(timeout_ms, self.parts.settings.max_poll_ticks)
        except LogUnavailable as error:
            log.warning("poll: %s", error)
            return Poll()
        except OffsetOutOfRange as error:
            live = [number for number in self.partitions if self._is_live(number)]
            if not live:
                raise
            log.warning("partitions %s are recovered: %s", live, error)
            for number in live:
                self.recoveries.begin(number, OffsetOutOfRange.__name__)
            return Poll()

    def _space_commits(self) -> None:
        """Let `commit_interval_ms` pass between commits; 0, the default, never waits."""
        interval_s = self.parts.settings.commit_interval_ms / 1e3
        if interval_s:
            self._stop.wait(max(0.0, self._committed_at + interval_s - self.parts.clock()))

    def ask(self, question: Callable[[], Answer]) -> Future[Answer]:
        """Have `question` run by the worker's thread between cycles; any thread.

        The answer is `WorkerEnded` when there are no more cycles.
        """
        return self._questions.ask(question)

    def _follow_membership(self, poll: Poll) -> None:
        for number in poll.lost:
            partition = self.partitions.pop(number, None)
            if partition is not None:
                self.recoveries.give_up(partition)
                self.parts.board.forget(number)
                partition.move(Phase.GONE)
        for number in poll.gained:
            self.partitions[number] = Partition(number)
            self.recoveries.begin(number, "gained")

    def _deliver(self, poll: Poll) -> Cycle | None:
        batches = [b for b in poll.batches if len(b) and self._is_live(b.partition)]
        if not batches:
            return None
        numbers = [b.partition for b in batches]
        try:
            cycle = self.parts.delivery.run(batches, self.partitions)
        except (StoreError, SnapshotDamaged, CommitFailed) as error:
            self.parts.metrics.aborts.labels(type(error).__name__).inc()
            log.warning("partitions %s are recovered: %s", numbers, error)
            for number in numbers:
                self.recoveries.begin(number, type(error).__name__)
            return None
        self._committed_at = self.parts.clock()
        self.tally.observe(cycle)
        self.tally.score(self.parts.board.update(cycle, self.parts.engine))
        return cycle

    def _is_live(self, number: int) -> bool:
        partition = self.partitions.get(number)
        return partition is not None and partition.phase is Phase.LIVE

    def _maintain(self, *, idle: bool) -> None:
        """Snapshots and paging: never inside a cycle, and no failure here touches one."""
        parts = self.parts
        self._advance_snapshots()
        self._page_out()
        if idle or parts.clock() >= self._view_due:
            self._view_due = parts.clock() + VIEW_INTERVAL_S
            self.tally.look(self.partitions)

    def _page_out(self) -> None:
        parts = self.parts
        try:
            left = parts.residence.page_out(self.partitions)
        except StoreResting:
            return  # it was said when the store failed
        except StoreError as error:
            log.warning("nothing is paged out: %s", error)
            return
        parts.board.paged_out(left.paged_out)
        for number, fence in left.fenced.items():
            self._lose_claim(number, fence)

    def _lose_claim(self, number: int, error: StoreFenced) -> None:
        """Another owner may be there: recover. If the store merely forgot, tell it all again."""
        partition = self.partitions[number]
        live = partition.phase is Phase.LIVE
        if live and isinstance(error, StoreForgot) and self.parts.snapshots.begin_anew(partition):
            log.warning("the snapshot of partition %d begins anew: %s", number, error)
            return
        log.warning("partition %d is recovered: %s", number, error)
        self.recoveries.begin(number, type(error).__name__)

    def _advance_snapshots(self) -> None:
        """A slice for every live partition; a slow store ends the turn's share of it."""
        begun = self.parts.clock()
        later = [n for n in self.partitions if n > self._snapshot_at]
        for number in later + [n for n in self.partitions if n <= self._snapshot_at]:
            partition, self._snapshot_at = self.partitions[number], number
            if partition.phase is not Phase.LIVE:
                continue
            try:
                self.parts.snapshots.advance(partition)
            except StoreFenced as error:
                self._lose_claim(number, error)
            except CommitFailed as error:
                log.warning("partition %d is recovered: %s", number, error)
                self.recoveries.begin(number, type(error).__name__)
            if self.parts.clock() - begun > SNAPSHOTS_S:
                return

    def _complete_snapshots(self) -> None:
        for partition in self.partitions.values():
            if partition.phase is Phase.LIVE:
                try:
                    self.parts.snapshots.complete(partition)
                except StoreError as error:
                    log.warning("last snapshot of partition %d: %s", partition.number, error)
