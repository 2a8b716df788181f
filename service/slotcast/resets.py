"""Resets: records appended to the log, by any worker for any instrument.

1. Find the partitions in which the instruments live. Where nobody knows an instrument, these are
   all partitions: a tombstone for an unknown instrument leaves a fresh row, and nothing else.
2. Append a tombstone for each instrument, or a control record for each partition. Once a record is
   in the log it cannot be lost, whoever dies.
3. Wait until the committed offset of each partition has passed its record, whoever owns it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from slotcast.board.views import LogUnavailable, ResetForbidden, ResetReceipt, UnknownPartition
from slotcast.homes import Homes
from slotcast.log.port import AppendForbidden, Log, LogError, Receipt
from slotcast.partition import Phase
from slotcast.questions import WorkerEnded
from slotcast.records.controls import RESET_ALL, encode_control
from slotcast.records.ticks import is_name
from slotcast.worker import Worker

LOOK_INTERVAL_S = 0.05

Appending = tuple[str | None, Callable[[], Receipt]]


class Resets:
    """Resets asked of one worker; any thread."""

    def __init__(self, worker: Worker, homes: Homes) -> None:
        self._worker, self._homes = worker, homes
        self._log: Log = worker.parts.log

    def of_instruments(self, names: Sequence[str], timeout_s: float) -> list[ResetReceipt]:
        """Reset these. Raises `ResetForbidden`, `LogUnavailable`."""
        return self._reset(lambda: self._tombstones(names), timeout_s)

    def of_partitions(
        self, partitions: Sequence[int] | None, timeout_s: float
    ) -> list[ResetReceipt]:
        """Reset all instruments of these partitions, or of all. Raises `UnknownPartition` too."""
        return self._reset(lambda: self._controls(partitions), timeout_s)

    def _tombstones(self, names: Sequence[str]) -> Iterable[Appending]:
        # A tombstone of a name that no instrument can have would be a dead letter.
        for name, homes in self._homes.of(list(filter(is_name, names))).items():
            for partition in homes:
                yield name, partial(self._log.append, partition, name.encode(), None)

    def _controls(self, partitions: Sequence[int] | None) -> Iterable[Appending]:
        every, control = self._homes.everywhere(), encode_control(RESET_ALL)
        wanted = every if partitions is None else partitions
        if unknown := sorted(set(wanted) - set(every)):
            raise UnknownPartition(f"no partition {unknown}: the tick topic has {list(every)}")
        for partition in wanted:
            yield None, partial(self._log.append, partition, None, b"", control)

    def _reset(
        self, appendings: Callable[[], Iterable[Appending]], timeout_s: float
    ) -> list[ResetReceipt]:
        sent: list[tuple[str | None, Receipt]] = []
        try:
            for name, append in appendings():
                sent.append((name, append()))
        except AppendForbidden as error:
            raise ResetForbidden(str(error)) from error
        except LogError as error:
            raise LogUnavailable(f"{error}; {len(sent)} resets are in the log") from error
        done = self._wait_for({receipt for _, receipt in sent}, timeout_s)
        return [ResetReceipt(name, *receipt, committed=receipt in done) for name, receipt in sent]

    def _wait_for(self, waiting: set[Receipt], timeout_s: float) -> set[Receipt]:
        """Receipts whose partition's committed offset has passed them in time."""
        deadline = time.monotonic() + timeout_s
        done = set[Receipt]()
        while waiting and (left_s := deadline - time.monotonic()) > 0:
            passed = self._passed(waiting, left_s)
            done |= passed
            waiting = waiting - passed
            if waiting and not passed:
                time.sleep(max(0.0, min(LOOK_INTERVAL_S, deadline - time.monotonic())))
        return done

    def _passed(self, waiting: set[Receipt], left_s: float) -> set[Receipt]:
        try:
            own = self._worker.ask(self._own_positions).result(left_s)
            at = {
                p: own[p] if p in own else self._log.position(p)
                for p in {receipt.partition for receipt in waiting}
            }
        except (TimeoutError, LogError, WorkerEnded):  # asked again, until the time is over
            return set()
        return {receipt for receipt in waiting if (at[receipt.partition] or 0) > receipt.offset}

    def _own_positions(self) -> dict[int, int]:
        """Where live partitions are, for readers too; run by the worker's thread."""
        return {
            number: partition.committed
            for number, partition in self._worker.partitions.items()
            if partition.phase is Phase.LIVE
        }
