"""The worker: one thread that owns the log and all memory.

A turn is: poll; forget what was lost and begin to recover what was gained; deliver; recover a
slice; snapshot a slice and page out; complete the board; answer readers. Everything that goes wrong
with a partition ends in the same place: forget its memory and recover it.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

from slotcast.board.views import PartitionView
from slotcast.damage import StoppedByPolicy
from slotcast.delivery import Cycle
from slotcast.log.port import CommitFailed, LogUnavailable, OffsetOutOfRange, Poll
from slotcast.partition import Partition, Phase
from slotcast.parts import Parts
from slotcast.residence import NoSlotLeft
from slotcast.snapshots.snapshot import SnapshotDamaged
from slotcast.store.port import StoreError, StoreFenced, StoreForgot
from slotcast.store.resting import StoreResting
from slotcast.tally import Tally

log = logging.getLogger("slotcast.worker")

RECOVERY_SLICE_S = 0.2
WAITING_POLL_MS = 50
"""A poll while recoveries wait for something outside."""
UNAVAILABLE_PAUSE_S = 1.0
"""Before a recovery begins that waits for what does not come at once: the log, or a slot."""
PAUSED = (LogUnavailable.__name__, NoSlotLeft.__name__)
VIEW_INTERVAL_S = 0.5
Answer = TypeVar("Answer")


class WorkerEnded(Exception):
    """Nobody answers any more; the message says why."""


class Worker:
    """Runs turns until stopped. `ask` is the only method for other threads."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.partitions: dict[int, Partition] = {}
        self._recoveries: dict[int, Iterator[bool]] = {}
        self._begun: dict[int, tuple[str, float]] = {}
        """Partition that is not live -> why not, and since when."""
        self._distrusted: set[int] = set()
        """Partitions whose snapshots were found damaged, until they are live again."""
        self._waiting = False
        """Whether all recoveries wait for something outside."""
        self._questions: queue.SimpleQueue[tuple[Callable[[], object], Future[object]]] = (
            queue.SimpleQueue()
        )
        self._stop, self._ended = threading.Event(), threading.Event()
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
            self._ended.set()
            self._refuse_questions()
            self.parts.log.close()

    def turn(self) -> Cycle | None:
        """One turn; the cycle it committed, if any."""
        parts = self.parts
        self._space_commits()
        recovering = bool(self._recoveries)
        timeout_ms = parts.settings.poll_timeout_ms
        if recovering:
            timeout_ms = WAITING_POLL_MS if self._waiting else 0
        poll = self._poll(timeout_ms)
        self._follow_membership(poll)
        cycle = self._deliver(poll)
        recovering = recovering or bool(self._recoveries)
        if recovering:
            self._page_out()  # a replay needs as many slots as a poll
            self._recover_slice()
        self._maintain(idle=cycle is None)
        if not recovering:
            parts.completion.advance(self.partitions, idle=cycle is None)
        self._answer_questions()
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
                self._begin_recovery(number, OffsetOutOfRange.__name__)
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
        future: Future[Answer] = Future()
        self._questions.put((question, future))  # type: ignore[arg-type]  # Future is invariant
        if self._ended.is_set():
            self._refuse_questions()
        return future

    def _follow_membership(self, poll: Poll) -> None:
        for number in poll.lost:
            partition = self.partitions.pop(number, None)
            if partition is not None:
                self._forget(partition)
                self.parts.board.forget(number)
                self._begun.pop(number, None)
                self._distrusted.discard(number)
                partition.move(Phase.GONE)
        for number in poll.gained:
            self.partitions[number] = Partition(number)
            self._begin_recovery(number, "gained")

    def _forget(self, partition: Partition) -> None:
        self.parts.residence.forget(partition)
        self.parts.snapshots.forget(partition)
        self._recoveries.pop(partition.number, None)

    def _begin_recovery(self, number: int, cause: str) -> None:
        """Forget a partition's memory and recover it; the log holds it back meanwhile."""
        partition = self.partitions[number]
        if partition.phase is Phase.STOPPED:
            partition.damage = ""
        partition.move(Phase.RECOVERING)
        self._forget(partition)
        self.parts.log.hold(number)
        # A damaged row may not be met again before its next tick: replay all of it now.
        if cause == SnapshotDamaged.__name__:
            self._distrusted.add(number)
        trusted = number not in self._distrusted
        recovery = self.parts.recovery.run(partition, trusted=trusted)
        if cause in PAUSED:
            recovery = self._after_a_pause(recovery)
        self._recoveries[number] = recovery
        self._begun.setdefault(number, (cause, self.parts.clock()))
        self.parts.metrics.recoveries.labels(cause).inc()

    def _after_a_pause(self, recovery: Iterator[bool]) -> Iterator[bool]:
        due = self.parts.clock() + UNAVAILABLE_PAUSE_S
        while self.parts.clock() < due:
            yield False
        yield from recovery

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
                self._begin_recovery(number, type(error).__name__)
            return None
        self._committed_at = self.parts.clock()
        self.tally.observe(cycle)
        self.tally.score(self.parts.board.update(cycle, self.parts.engine))
        return cycle

    def _is_live(self, number: int) -> bool:
        partition = self.partitions.get(number)
        return partition is not None and partition.phase is Phase.LIVE

    def _recover_slice(self) -> None:
        """Up to 200 ms of silent replay, so that live partitions are served in between."""
        begun, self._waiting = self.parts.clock(), False
        while self._recoveries and not self._waiting:
            self._waiting = True
            for number in list(self._recoveries):
                if self.parts.clock() - begun > RECOVERY_SLICE_S:
                    self._waiting = False
                    return
                if self._recover_step(number):
                    self._waiting = False

    def _recover_step(self, number: int) -> bool:
        """Whether the recovery did some work; one that waits lets the others go first."""
        try:
            worked = next(self._recoveries[number])
        except StopIteration:
            del self._recoveries[number]
            self._distrusted.discard(number)
            self._tell_recovered(self.partitions[number])
            self._restore_board(self.partitions[number])
            return True
        except StoppedByPolicy as error:
            self._stop_partition(self.partitions[number], str(error))
            return True
        except (CommitFailed, LogUnavailable, OffsetOutOfRange, StoreError) as error:
            log.warning("recovery of partition %d begins again: %s", number, error)
            self._begin_recovery(number, type(error).__name__)
            return False
        if not worked:
            self._recoveries[number] = self._recoveries.pop(number)
        return worked

    def _tell_recovered(self, partition: Partition) -> None:
        cause, begun = self._begun.pop(partition.number)
        took_s = self.parts.clock() - begun
        self.parts.metrics.recovery_seconds.labels(cause).observe(took_s)
        log.info(
            "partition %d is live at %d, recovered (%s) in %.1f s from %d on",
            partition.number, partition.committed, cause, took_s, partition.replay_from,
        )  # fmt: skip

    def _stop_partition(self, partition: Partition, why: str) -> None:
        """It stays ours and stands still: no other worker could do better."""
        log.error("%s", why)
        self._forget(partition)
        self._begun.pop(partition.number, None)
        partition.damage = why
        partition.move(Phase.STOPPED)

    def _restore_board(self, partition: Partition) -> None:
        """Show readers what memory knows, without waiting for the next ticks."""
        engine = self.parts.engine
        here = engine.slots.of_partition(partition.number)
        shown = [(name, slot, engine.rows[slot]) for name, slot in here.items()]
        self.parts.board.restore(partition, shown, engine.predictor)
        self.parts.completion.begin(partition)

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
        self._begin_recovery(number, type(error).__name__)

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
                self._begin_recovery(number, type(error).__name__)
            if self.parts.clock() - begun > RECOVERY_SLICE_S:
                return

    def _complete_snapshots(self) -> None:
        for partition in self.partitions.values():
            if partition.phase is Phase.LIVE:
                try:
                    self.parts.snapshots.complete(partition)
                except StoreError as error:
                    log.warning("last snapshot of partition %d: %s", partition.number, error)

    def _answer_questions(self) -> None:
        while not self._questions.empty():
            question, future = self._questions.get()
            try:
                future.set_result(question())
            except Exception as error:  # noqa: BLE001  # the asker's to handle
                future.set_exception(error)

    def _refuse_questions(self) -> None:
        """Any thread: whoever asks last finds the worker ended, or is found by it."""
        why = f"the worker has stopped: {self.failure or 'it was told to'}"
        while True:
            try:
                _, future = self._questions.get_nowait()
            except queue.Empty:
                return
            future.set_exception(WorkerEnded(why))
