"""A service that only pretends: deterministic readings in memory, moved on by `tick`."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from slotcast.board.views import (
    FIRST,
    FreeRun,
    InstrumentView,
    Measure,
    Page,
    PartitionView,
    Readiness,
    ResetReceipt,
    SlotMap,
    Summary,
    TargetView,
    UnknownPartition,
    Window,
)
from slotcast.workers.memory import MemoryRegistry
from slotcast.workers.peers import Peers
from slotcast.workers.port import Registry


class FakeHomes:
    """Instruments that may live in any of so many partitions, unless `at` says where."""

    def __init__(self, partitions: int = 1) -> None:
        self.partitions = partitions
        self.at: dict[str, Sequence[int]] = {}

    def everywhere(self) -> Sequence[int]:
        return range(self.partitions)

    def of(self, names: Sequence[str]) -> dict[str, Sequence[int]]:
        return {name: self.at.get(name, self.everywhere()) for name in names}


def alone(registry: Registry | None = None) -> Peers:
    """The peers of worker-0, which has partition 0, the only one."""
    return Peers("worker-0", registry or MemoryRegistry(), FakeHomes())


class FakeReadings:
    """Instruments with given names and targets. Set `readiness`, `commits` or `failure` freely."""

    def __init__(self, names: Sequence[str], targets: Sequence[str] = ("price",)) -> None:
        self.readiness_now = Readiness(ready=True)
        self.commits = True
        self.failure: Exception | None = None
        self.resets: list[Sequence[str] | None] = []
        self.worker = "worker-0"
        self.partitions = frozenset({0})
        self.partition_views: Sequence[PartitionView] = ()
        self._random = Random(7)
        self._targets = targets
        self._views: dict[str, InstrumentView] = {}
        self._version = 0
        for name in names:
            self.tick(name)

    def tick(self, name: str, value: float | None = None) -> None:
        """One more tick of the instrument, a step of a random walk unless a value is given."""
        before = self._views.get(name)
        targets = [
            self._next(target, before.targets[at] if before else None, value)
            for at, target in enumerate(self._targets)
        ]
        self._version += 1
        ticks = before.ticks + 1 if before else 1
        slot = before.slot if before else len(self._views)
        self._views[name] = InstrumentView(
            name, 0, slot, ticks, 1_700_000_000_000 + ticks, self._version, 0, targets
        )

    def _next(self, name: str, before: TargetView | None, value: float | None) -> TargetView:
        last = before.value if before else 10 ** self._random.uniform(0, 3)
        new = last * (1 + self._random.gauss(0, 0.002)) if value is None else value
        recent = [*(before.recent if before else ()), new][-60:]
        half = 0.004 * abs(new)
        point = new * (1 + self._random.gauss(0, 0.001))
        source = "model" if self._random.random() < 0.7 else "persistence"
        skill = self._random.gauss(0.02, 0.03) if before else None
        expected = [one * 1.001 for one in recent]
        lower, upper = [one - half for one in expected], [one + half for one in expected]
        return TargetView(
            name, new, point, point - half, point + half, new, source, skill, 0.9, recent,
            last, expected, lower, upper,
        )  # fmt: skip

    def live(self) -> frozenset[int]:
        return self.partitions

    def readiness(self) -> Readiness:
        return self.readiness_now

    def summary(self) -> Summary:
        ticks = sum(view.ticks for view in self._views.values())
        known = len(self._views)
        return Summary(
            self.worker, ticks, ticks, 3, 1, 1024, known, known, 12, 0.021, 0.897, "1f0c9a7e",
            self.partition_views,
        )  # fmt: skip

    def instruments(self, window: Window = FIRST) -> Page:
        wanted = window.search.casefold()
        found = sorted(
            (v for name, v in self._views.items() if wanted in name.casefold()),
            key=lambda view: view.ticks if window.sort == "ticks" else view.instrument,
            reverse=window.descending,
        )
        return Page(found[window.offset : window.offset + window.limit], len(found))

    def slot_map(self, measure: Measure) -> SlotMap:
        return SlotMap(measure, 0.0, 0.05, "MY?" + "." * 5)

    def instrument(self, name: str) -> InstrumentView | None:
        if self.failure:
            raise self.failure
        return self._views.get(name)

    def free_run(self, name: str, steps: int) -> FreeRun | None:
        view = self._views.get(name)
        if view is None:
            return None
        ahead = {t.name: [t.forecast] * steps for t in view.targets}
        return FreeRun(name, view.partition, view.offset, ahead, ahead, ahead)

    def reset(self, instruments: Sequence[str], timeout_s: float) -> list[ResetReceipt]:
        if self.failure:
            raise self.failure
        self.resets.append(instruments)
        return [ResetReceipt(name, 0, at, self.commits) for at, name in enumerate(instruments)]

    def reset_all(self, partitions: Sequence[int] | None, timeout_s: float) -> list[ResetReceipt]:
        if self.failure:
            raise self.failure
        if unknown := set(partitions or ()) - self.partitions:
            raise UnknownPartition(f"no partition {unknown}")
        self.resets.append(partitions)
        return [ResetReceipt(None, p, 9, self.commits) for p in partitions or self.partitions]
