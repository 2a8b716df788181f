"""Homes: the partitions in which instruments live, as far as this worker can tell.

What it shows on its own board is sure. Else everyone is asked who may know: own memory, and the
store's index, which also knows instruments that were reset before they ever ticked. So an answer
may name a partition too many, in which a reset does nothing and a reader finds nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from slotcast.partition import Phase
from slotcast.store.port import Store, StoreError
from slotcast.worker import Worker, WorkerEnded

ASK_TIMEOUT_S = 5.0


class Homes:
    """Finds partitions of instruments; any thread."""

    def __init__(self, worker: Worker, store: Store) -> None:
        self._worker, self._store = worker, store

    def live(self) -> frozenset[int]:
        """Partitions that this worker has live at this moment: what it can answer for."""
        if self._worker.failure is not None:
            return frozenset()
        owned = list(self._worker.partitions.items())
        return frozenset(number for number, one in owned if one.phase is Phase.LIVE)

    def everywhere(self) -> Sequence[int]:
        """All partitions of the tick topic. Raises `LogError`."""
        return self._worker.parts.log.partitions()

    def of(self, names: Sequence[str]) -> dict[str, Sequence[int]]:
        """The partitions of each instrument; all, if nobody knows it. Raises `LogError`."""
        board, every = self._worker.parts.board, self.everywhere()
        found: dict[str, Collection[int]] = {name: board.partitions_of(name) for name in names}
        unsure = [name for name in names if not found[name]]
        if unsure:
            found |= self._known(unsure, every)
        return {name: sorted(found[name]) or every for name in names}

    def _known(self, names: Sequence[str], every: Sequence[int]) -> dict[str, Collection[int]]:
        found: dict[str, set[int]] = {name: set() for name in names}
        try:
            own = self._worker.ask(lambda: self._own(names)).result(ASK_TIMEOUT_S)
            stored = {p: self._store.known(p, names) for p in every if p not in own}
        except (TimeoutError, StoreError, WorkerEnded):
            return dict.fromkeys(names, ())
        for partition, known in (own | stored).items():
            for name in known:
                found[name].add(partition)
        return dict(found)

    def _own(self, names: Sequence[str]) -> dict[int, set[str]]:
        """Which of these this worker's live partitions know; run by the worker's thread."""
        slots = self._worker.parts.engine.slots
        return {
            number: {n for n in names if n in slots.of_partition(number) or n in partition.index}
            for number, partition in self._worker.partitions.items()
            if partition.phase is Phase.LIVE
        }
