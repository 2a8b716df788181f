"""What readers may ask of a running service; implements `views.Readings`.

Instrument lists and details come from the board. What only memory knows (a free run, an instrument
that has not ticked since the start) is asked of the worker's thread, which answers between cycles.
Resets go into the log, and wait for the commit that passes them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from slotcast.controls import RESET_ALL, encode_control
from slotcast.log.port import AppendForbidden, LogError, Receipt
from slotcast.partition import Partition, Phase
from slotcast.ticks import external_times
from slotcast.views import (
    FreeRun,
    InstrumentView,
    LogUnavailable,
    Page,
    Readiness,
    ResetForbidden,
    ResetReceipt,
    Summary,
    TargetView,
)
from slotcast.worker import Worker
from slotcast_models.memory import APPLIED, ORIGIN, SCORED, TICKS, TIME, VALUE, view
from slotcast_models.predictor import Predictor

ASK_TIMEOUT_S = 5.0


class ServiceReadings:
    """Readings of one worker."""

    def __init__(self, worker: Worker, lag_ready_ticks: int) -> None:
        self._worker = worker
        self._board = worker.parts.board
        self._bundle = worker.parts.engine.predictor.bundle
        self._lag_ready_ticks = lag_ready_ticks
        self._predictor: Predictor | None = None
        self._predicting = threading.Lock()
        worker.parts.metrics.ready.set_function(lambda: float(self.readiness().ready))

    def readiness(self) -> Readiness:
        """Ready when every owned partition is live and close enough to the end of the log."""
        worker, reasons = self._worker, list[str]()
        if worker.failure is not None:
            reasons.append(f"the worker has stopped: {worker.failure}")
        views = worker.views
        if not views:
            reasons.append("no partitions assigned yet: is another worker holding all of them?")
        for partition in views:
            if partition.phase != "live":
                reasons.append(
                    f"partition {partition.partition} is {partition.phase}, "
                    f"{partition.replay_done:.0%} of its replay done"
                )
            lag = partition.end - partition.committed
            if lag > self._lag_ready_ticks:
                reasons.append(
                    f"partition {partition.partition} is {lag} records behind, more than "
                    f"worker.lag_ready_ticks = {self._lag_ready_ticks}"
                )
        return Readiness(not reasons, tuple(reasons))

    def summary(self) -> Summary:
        """The service in one line."""
        worker = self._worker
        engine, counts, views = worker.parts.engine, worker.counts, worker.views
        skill, coverage = self._board.pooled()
        return Summary(
            ticks=counts["ticks"],
            forecasts=counts["forecasts"],
            rejects=counts["rejects"],
            repeats=counts["repeats"],
            slots=engine.kept,
            slots_used=engine.slots.used,
            instruments=sum(v.instruments for v in views),
            lag_ticks=sum(v.end - v.committed for v in views),
            skill=skill,
            coverage=coverage,
            bundle=self._bundle.identity,
            partitions=views,
        )

    def instruments(self, search: str = "", offset: int = 0, limit: int = 100) -> Page:
        """Instruments that ticked since the start, in name order."""
        found, total = self._board.page(search, offset, limit)
        return Page(tuple(found), total)

    def instrument(self, name: str) -> InstrumentView | None:
        """From the board, else from memory or the store; None if nobody knows it."""
        found = self._board.find(name)
        if found is not None:
            return found
        row = self._row(name)
        if row is None or view(row[2]).counts[0, TICKS] == 0:
            return None
        return self._view_of_row(name, *row)

    def free_run(self, name: str, steps: int) -> FreeRun | None:
        """A free run on a copy of the memory, in the caller's thread."""
        found = self._row(name)
        if found is None:
            return None
        partition, _, row = found
        if view(row).counts[0, TICKS] == 0:
            return None
        with self._predicting:
            if self._predictor is None:
                self._predictor = Predictor(self._bundle)
            points, lower, upper = self._predictor.free_run(row, steps)
        names = [q.name for q in self._bundle.schema.targets]
        levels = self._bundle.manifest.rules.levels
        shown = levels.index(self._board.level)
        return FreeRun(
            instrument=name,
            partition=partition,
            offset=int(view(row).counts[0, APPLIED]),
            forecasts={n: points[:, j].tolist() for j, n in enumerate(names)},
            lower={n: lower[:, j, shown].tolist() for j, n in enumerate(names)},
            upper={n: upper[:, j, shown].tolist() for j, n in enumerate(names)},
        )

    def _row(self, name: str) -> tuple[int, int | None, NDArray[np.void]] | None:
        """(partition, slot, copy of the row) of an instrument, wherever it is."""
        try:
            return self._worker.ask(lambda: self._find_row(name)).result(ASK_TIMEOUT_S)
        except TimeoutError as error:
            raise LogUnavailable(
                "the worker did not answer in time: see /v2/health/ready"
            ) from error

    def _find_row(self, name: str) -> tuple[int, int | None, NDArray[np.void]] | None:
        """Run by the worker's thread."""
        engine = self._worker.parts.engine
        for number, partition in self._worker.partitions.items():
            slot = engine.slots.of_partition(number).get(name)
            if slot is not None:
                return number, slot, engine.rows[slot : slot + 1].copy()
            if name in partition.index:
                return self._stored_row(partition, name)
        return None

    def _stored_row(
        self, partition: Partition, name: str
    ) -> tuple[int, int | None, NDArray[np.void]] | None:
        found = self._worker.parts.residence.peek(partition, [name])
        return (partition.number, None, found[0][1]) if found else None

    def _view_of_row(
        self, name: str, partition: int, slot: int | None, row: NDArray[np.void]
    ) -> InstrumentView:
        memory, targets = view(row), self._bundle.schema.targets
        count = memory.counts[0]
        published = self._worker.parts.engine.predictor.pending(row)
        shown = self._bundle.manifest.rules.levels.index(self._board.level)
        scored = int(count[SCORED])
        views = [
            TargetView(
                name=target.name,
                value=float(memory.quantity[0, j, VALUE]),
                forecast=float(published.point[0, j]),
                lower=float(published.lower[0, j, shown]),
                upper=float(published.upper[0, j, shown]),
                naive=float(memory.quantity[0, j, VALUE]),
                source="model" if published.model[0, j] else "persistence",
                skill=float(published.skill[0, j]) if np.isfinite(published.skill[0, j]) else None,
                coverage=float(memory.covered[0, j, shown]) / scored if scored else None,
            )
            for j, target in enumerate(targets)
        ]
        times = np.array([count[TIME]], np.int64)
        return InstrumentView(
            instrument=name,
            partition=partition,
            slot=slot,
            ticks=int(count[TICKS]),
            ts=external_times(times, self._bundle.schema.time_unit)[0],
            offset=int(count[APPLIED]),
            origin=int(count[ORIGIN]),
            targets=views,
        )

    def reset(self, instruments: Sequence[str] | None, timeout_s: float) -> list[ResetReceipt]:
        """Append resets to the log and wait until they are committed, or the time is over.

        A tombstone goes to the partition where the instrument lives, else to every partition: for
        an unknown instrument it does nothing.
        """
        log, everywhere = self._worker.parts.log, list(self._worker.parts.log.partitions())
        sent: list[tuple[str | None, Receipt]] = []
        try:
            if instruments is None:
                control = encode_control(RESET_ALL)
                sent = [(None, log.append(p, None, b"", control)) for p in everywhere]
            for name in instruments or ():
                home = self._home(name)
                for p in everywhere if home is None else [home]:
                    sent.append((name, log.append(p, name.encode(), None)))
        except AppendForbidden as error:
            raise ResetForbidden(str(error)) from error
        except LogError as error:
            raise LogUnavailable(f"{error}; {len(sent)} resets are in the log") from error
        done = self._wait_for([receipt for _, receipt in sent], timeout_s)
        return [ResetReceipt(name, *receipt, committed=receipt in done) for name, receipt in sent]

    def _home(self, name: str) -> int | None:
        found = self._board.find(name)
        if found is not None:
            return found.partition
        owners = [n for n, p in list(self._worker.partitions.items()) if name in p.index]
        return owners[0] if len(owners) == 1 else None

    def _wait_for(self, receipts: Sequence[Receipt], timeout_s: float) -> set[Receipt]:
        """Receipts whose partition's committed offset has passed them in time."""
        deadline = time.monotonic() + timeout_s
        waiting, done = set(receipts), set[Receipt]()
        while waiting and (left := deadline - time.monotonic()) > 0:
            asked = self._worker.ask(partial(self._passed, frozenset(waiting)))
            try:
                passed = asked.result(left)
            except TimeoutError:
                break
            done |= passed
            waiting -= passed
        return done

    def _passed(self, receipts: Collection[Receipt]) -> set[Receipt]:
        return {receipt for receipt in receipts if self._has_passed(receipt)}

    def _has_passed(self, receipt: Receipt) -> bool:
        """Run by the worker's thread: whether the group's committed offset is beyond the record."""
        partition = self._worker.partitions.get(receipt.partition)
        if partition is not None:
            return partition.phase is Phase.LIVE and partition.committed > receipt.offset
        committed = self._worker.parts.log.committed(receipt.partition)
        return committed is not None and committed.offset > receipt.offset

    def changed_since(self, version: int) -> tuple[int, list[InstrumentView]]:
        """For server-sent events."""
        return self._board.changed_since(version)
