"""Homes: the partitions in which instruments live, as far as this worker can tell.

Everyone is asked who may know: the board, own memory, and for other workers' partitions the store's
index, which also knows instruments that were reset before they ever ticked. There may be several:
after the tick topic has grown, an instrument's old memory stays where it was. And an answer may
name a partition too many, in which a reset does nothing and a reader finds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from slotcast.partition import Phase
from slotcast.questions import WorkerEnded
from slotcast.store.port import Store, StoreError
from slotcast.worker import Worker

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
        found = {name: set(board.partitions_of(name)) for name in names}
        try:
            own = self._worker.ask(lambda: self._own(names)).result(ASK_TIMEOUT_S)
            stored = {p: self._store.known(p, names) for p in every if p not in own}
        except (TimeoutError, StoreError, WorkerEnded):
            return dict.fromkeys(names, every)  # one too many does no harm
        for partition, known in (own | stored).items():
            for name in known:
                found[name].add(partition)
        return {name: sorted(found[name]) or every for name in names}

    def _own(self, names: Sequence[str]) -> dict[int, set[str]]:
        """Which of these this worker's live partitions know; run by the worker's thread."""
        slots = self._worker.parts.engine.slots
        return {
            number: {n for n in names if n in slots.of_partition(number) or n in partition.index}
            for number, partition in self._worker.partitions.items()
            if partition.phase is Phase.LIVE
        }
