"""What readers may ask of a running service; implements `views.Readings`.

Instrument lists and details come from the board. What only memory knows (a free run, an instrument
that the board does not show yet) is asked of the worker's thread, which answers between cycles,
and only of partitions that are live: a replay shows nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from slotcast.board.sheet import known, view_of_row
from slotcast.board.views import (
    FIRST,
    FreeRun,
    InstrumentView,
    Measure,
    MemoryUnavailable,
    Page,
    PartitionView,
    Readiness,
    ResetReceipt,
    SlotMap,
    Summary,
    Window,
)
from slotcast.homes import ASK_TIMEOUT_S, Homes
from slotcast.partition import Partition, Phase
from slotcast.questions import WorkerEnded
from slotcast.resets import Resets
from slotcast.snapshots.snapshot import SnapshotDamaged
from slotcast.store.port import StoreError
from slotcast.worker import Worker
from slotcast_models.memory import APPLIED, TICKS, view
from slotcast_models.predictor import Predictor


class Found(NamedTuple):
    """A copy of an instrument's row, where it was, and the committed offset that it is from."""

    partition: int
    slot: int | None
    row: NDArray[np.void]
    as_of: int


class ServiceReadings:
    """Readings of one worker, whose name among its peers is `name`."""

    def __init__(
        self, worker: Worker, homes: Homes, lag_ready_ticks: int, name: str = "worker"
    ) -> None:
        self.worker = name
        self._worker, self._homes = worker, homes
        self._resets = Resets(worker, homes)
        self._board = worker.parts.board
        self._bundle = worker.parts.engine.predictor.bundle
        self._lag_ready_ticks = lag_ready_ticks
        self._predictor: Predictor | None = None
        self._predicting = threading.Lock()
        worker.parts.metrics.ready.set_function(lambda: float(self.readiness().ready))

    def readiness(self) -> Readiness:
        """Ready when every owned partition is live and close enough to the end of the log."""
        worker, views = self._worker, self._worker.views
        reasons = [reason for view in views for reason in self._reasons(view)]
        if worker.failure is not None:
            reasons.insert(0, f"the worker has stopped: {worker.failure}")
        elif not views:
            reasons.append("no partitions assigned yet: is another worker holding all of them?")
        notes = [
            f"partition {view.partition} has another memory than before: {view.damage}"
            for view in views
            if view.damage and view.phase != Phase.STOPPED.value
        ]
        return Readiness(not reasons, tuple(reasons), tuple(notes))

    def stopped(self) -> list[str]:
        """Why partitions stand still, by the policy's decision."""
        views = self._worker.views
        return [view.damage for view in views if view.phase == Phase.STOPPED.value]

    def _reasons(self, view: PartitionView) -> Iterator[str]:
        """Why this partition is not ready."""
        if view.phase == Phase.STOPPED.value:
            yield view.damage
            return
        if view.phase != Phase.LIVE.value:
            done = f"{view.replay_done:.0%} of its replay done"
            begun = done if view.replay_done else "its replay has not begun"
            yield f"partition {view.partition} is {view.phase}, {begun}"
        lag = view.end - view.committed
        if lag > self._lag_ready_ticks:
            yield (
                f"partition {view.partition} is {lag} records behind, more than"
                f" worker.lag_ready_ticks = {self._lag_ready_ticks}"
            )

    def summary(self) -> Summary:
        """The worker in one record."""
        worker = self._worker
        engine, counts, views = worker.parts.engine, worker.tally.counts, worker.views
        pooled = self._board.pooled()
        return Summary(
            worker=self.worker,
            ticks=counts["ticks"],
            forecasts=counts["forecasts"],
            rejects=counts["rejects"],
            repeats=counts["repeats"],
            slots=engine.kept,
            slots_used=engine.slots.used,
            instruments=sum(v.instruments for v in views),
            lag_ticks=sum(v.end - v.committed for v in views),
            skill=known(pooled.skill),
            coverage=known(pooled.coverage[self._board.shown]),
            bundle=self._bundle.identity,
            partitions=views,
        )

    def live(self) -> frozenset[int]:
        """The partitions that this worker answers for."""
        return self._homes.live()

    def instruments(self, window: Window = FIRST) -> Page:
        """Instruments of this worker, as far as its board is complete."""
        found, total = self._board.page(window)
        return Page(tuple(found), total)

    def slot_map(self, measure: Measure) -> SlotMap:
        """From the board: who was reset and has not ticked since counts as nobody."""
        return self._board.slot_map(measure, self._worker.parts.engine.kept)

    def instrument(self, name: str) -> InstrumentView | None:
        """From the board, else from memory or the store; None if it is not here."""
        shown = self._board.find(name)
        if shown is not None:
            return shown
        found = self._find(name)
        if found is None:
            return None
        predictor, key = self._worker.parts.engine.predictor, (found.partition, name)
        return view_of_row(self._bundle, predictor, found.row, key, found.slot, found.as_of)

    def free_run(self, name: str, steps: int) -> FreeRun | None:
        """A free run on a copy of the memory, in the caller's thread."""
        found = self._find(name)
        if found is None:
            return None
        with self._predicting:
            if self._predictor is None:
                self._predictor = Predictor(self._bundle)
            points, lower, upper = self._predictor.free_run(found.row, steps)
        names = [q.name for q in self._bundle.schema.targets]
        shown = self._board.shown
        return FreeRun(
            instrument=name,
            partition=found.partition,
            offset=int(view(found.row).counts[0, APPLIED]),
            as_of=found.as_of,
            forecasts={n: points[:, j].tolist() for j, n in enumerate(names)},
            lower={n: lower[:, j, shown].tolist() for j, n in enumerate(names)},
            upper={n: upper[:, j, shown].tolist() for j, n in enumerate(names)},
        )

    def _find(self, name: str) -> Found | None:
        """The instrument's memory, wherever it is here; None if it has not ticked."""
        try:
            return self._worker.ask(lambda: self._find_ticked(name)).result(ASK_TIMEOUT_S)
        except TimeoutError as error:
            raise MemoryUnavailable(
                "the worker did not answer in time: see /v2/health/ready"
            ) from error
        except WorkerEnded as error:
            raise MemoryUnavailable(f"{error}; ask again when it is back") from error
        except (StoreError, SnapshotDamaged) as error:
            raise MemoryUnavailable(f"{name!r} is paged out, and {error}: try again") from error

    def _find_ticked(self, name: str) -> Found | None:
        """Run by the worker's thread. A row that was reset, or never ticked, is nobody's."""
        for partition in self._worker.partitions.values():
            found = self._find_row(partition, name) if partition.phase is Phase.LIVE else None
            if found and view(found.row).counts[0, TICKS]:
                return found
        return None

    def _find_row(self, partition: Partition, name: str) -> Found | None:
        parts, number = self._worker.parts, partition.number
        slot = parts.engine.slots.of_partition(number).get(name)
        if slot is not None:
            row = parts.engine.rows[slot : slot + 1].copy()
            return Found(number, slot, row, partition.committed)
        if name in partition.index:
            for _, row in parts.residence.peek(partition, [name]):
                return Found(number, None, row, partition.committed)
        return None

    def reset(self, instruments: Sequence[str], timeout_s: float) -> list[ResetReceipt]:
        """Reset these instruments."""
        return self._resets.of_instruments(instruments, timeout_s)

    def reset_all(self, partitions: Sequence[int] | None, timeout_s: float) -> list[ResetReceipt]:
        """Reset all instruments of these partitions, or of all."""
        return self._resets.of_partitions(partitions, timeout_s)
