"""The board: what readers may know of every instrument, as of the last commit.

The worker writes it after each commit, a few array operations for the instruments that ticked;
readers copy what they need under the same short lock. It holds no memory rows.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotcast.delivery import Cycle
from slotcast.engine import Engine, Stepped
from slotcast.ticks import external_times
from slotcast.views import InstrumentView, TargetView
from slotcast_models.bundle import Bundle
from slotcast_models.columns import RESET, Published, chosen
from slotcast_models.memory import (
    APPLIED,
    ORIGIN,
    SCORED,
    SQUARED_ERROR,
    SQUARED_NAIVE,
    TICKS,
    TIME,
    VALUE,
    view,
)
from slotcast_models.predictor import Predictor

RECENT = 48
"""Values per target kept for sparklines: the last one of each commit in which it ticked."""
SHOWN_LEVEL = 0.9
SETTLED_TICKS = 100
"""Scored ticks before an instrument counts in the pooled skill and coverage."""


@dataclass
class _Entries:
    """One row per instrument ever seen; arrays grow by doubling."""

    targets: int
    size: int = 0
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        t = self.targets
        shapes: dict[str, tuple[tuple[int, ...], type]] = {
            "time_ns": ((), np.int64),
            "offset": ((), np.int64),
            "origin": ((), np.int64),
            "ticks": ((), np.int64),
            "scored": ((), np.int64),
            "version": ((), np.int64),
            "value": ((t,), np.float64),
            "point": ((t,), np.float64),
            "expected": ((t,), np.float64),
            "lower": ((t,), np.float64),
            "upper": ((t,), np.float64),
            "skill": ((t,), np.float64),
            "squared_error": ((t,), np.float64),
            "squared_naive": ((t,), np.float64),
            "covered": ((t,), np.int64),
            "model": ((t,), np.bool_),
            "recent": ((RECENT, t), np.float64),
            "recorded": ((), np.int64),
        }
        self.columns = {name: np.zeros((64, *s), kind) for name, (s, kind) in shapes.items()}

    def add(self) -> int:
        if self.size == len(self.columns["ticks"]):
            self.columns = {
                n: np.concatenate([a, np.zeros_like(a)]) for n, a in self.columns.items()
            }
        self.size += 1
        return self.size - 1


class Board:
    """Last tick, last forecast, skill and recent values of every instrument."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._names = [q.name for q in bundle.schema.targets]
        levels = bundle.manifest.rules.levels
        self._level = int(np.argmin([abs(level - SHOWN_LEVEL) for level in levels]))
        self.level = levels[self._level]
        self._entries = _Entries(len(self._names))
        self._place: dict[tuple[int, str], int] = {}
        self._keys: list[tuple[int, str]] = []
        self._slot: list[int | None] = []
        self._by_name: dict[str, list[int]] = {}
        self._sorted: list[str] | None = None
        self._version = 0
        self._lock = threading.Lock()

    def update(self, cycle: Cycle, engine: Engine) -> None:
        """Take in a committed cycle."""
        with self._lock:
            self._version += 1
            for stepped in cycle.stepped:
                if stepped.resets or stepped.parsed.reset_all:
                    self._hide_reset(stepped)
                if len(stepped.ticked):
                    self._update_partition(stepped, engine)

    def _update_partition(self, stepped: Stepped, engine: Engine) -> None:
        parsed = stepped.parsed
        slots, last, previous = _last_ticks(stepped)
        partition = parsed.batch.partition
        at = np.array([self._entry(partition, parsed.names[i]) for i in last.tolist()], np.int64)
        for place, slot in zip(at.tolist(), slots.tolist(), strict=True):
            self._slot[place] = slot
        c, published = self._entries.columns, stepped.published
        targets = len(self._names)
        c["time_ns"][at], c["offset"][at] = parsed.time_ns[last], parsed.offset[last]
        c["origin"][at], c["ticks"][at] = published.origin[last], published.ticks[last]
        c["scored"][at] = engine.memory.counts[slots, SCORED]
        c["version"][at] = self._version
        c["value"][at] = parsed.value[last, :targets]
        expected = np.where(previous[:, None] >= 0, published.point[previous], c["point"][at])
        expected[published.ticks[last] == 1] = np.nan
        c["expected"][at] = expected
        self._publish_columns(
            at, chosen(published, last), engine.memory.target[slots], engine.memory.covered[slots]
        )
        c["recent"][at, c["recorded"][at] % RECENT] = c["value"][at]
        c["recorded"][at] += 1

    def _hide_reset(self, stepped: Stepped) -> None:
        """Whoever was reset is not shown until it ticks again."""
        parsed = stepped.parsed
        partition = parsed.batch.partition
        if parsed.reset_all:
            keys = [key for key in self._keys if key[0] == partition]
        else:
            resets = np.flatnonzero(parsed.kind == RESET).tolist()
            keys = [(partition, parsed.names[i]) for i in resets]
        places = [self._place[key] for key in keys if key in self._place]
        self._entries.columns["ticks"][places] = 0
        self._entries.columns["recorded"][places] = 0

    def restore(
        self,
        partition: int,
        entries: Sequence[tuple[str, int | None, NDArray[np.void]]],
        predictor: Predictor,
    ) -> None:
        """Take in (instrument, slot or None, row) of a partition that went live."""
        if not entries:
            return
        rows = np.array([row for _, _, row in entries])
        memory, targets, published = view(rows), len(self._names), predictor.pending(rows)
        with self._lock:
            self._version += 1
            at = np.array([self._entry(partition, name) for name, _, _ in entries], np.int64)
            for place, (_, slot, _) in zip(at.tolist(), entries, strict=True):
                self._slot[place] = slot
            c, counts, target = self._entries.columns, memory.counts, memory.target
            c["time_ns"][at], c["offset"][at] = counts[:, TIME], counts[:, APPLIED]
            c["origin"][at], c["ticks"][at] = counts[:, ORIGIN], counts[:, TICKS]
            c["scored"][at], c["version"][at] = counts[:, SCORED], self._version
            c["value"][at] = memory.quantity[:, :targets, VALUE]
            c["expected"][at], c["recorded"][at] = np.nan, 0
            self._publish_columns(at, published, target, memory.covered)

    def _publish_columns(
        self,
        at: NDArray[np.int64],
        published: Published,
        target: NDArray[np.float64],
        covered: NDArray[np.int64],
    ) -> None:
        c = self._entries.columns
        c["point"][at], c["model"][at] = published.point, published.model
        c["lower"][at] = published.lower[:, :, self._level]
        c["upper"][at] = published.upper[:, :, self._level]
        c["skill"][at] = published.skill
        c["squared_error"][at] = target[:, :, SQUARED_ERROR]
        c["squared_naive"][at] = target[:, :, SQUARED_NAIVE]
        c["covered"][at] = covered[:, :, self._level]

    def _entry(self, partition: int, name: str) -> int:
        place = self._place.get((partition, name))
        if place is None:
            place = self._place[partition, name] = self._entries.add()
            self._keys.append((partition, name))
            self._slot.append(None)
            self._by_name.setdefault(name, []).append(place)
            self._sorted = None
        return place

    def paged_out(self, names: Sequence[tuple[int, str]]) -> None:
        """These instruments have left their slots."""
        with self._lock:
            for key in names:
                place = self._place.get(key)
                if place is not None:
                    self._slot[place] = None

    def find(self, name: str) -> InstrumentView | None:
        """The instrument's view; the latest, if it has ticked in several partitions."""
        with self._lock:
            places = self._by_name.get(name, [])
            c = self._entries.columns
            shown = [place for place in places if c["ticks"][place]]
            if not shown:
                return None
            return self._view(max(shown, key=lambda place: int(c["version"][place])))

    def page(self, search: str, offset: int, limit: int) -> tuple[list[InstrumentView], int]:
        """Views of matching instruments in name order, and how many match."""
        with self._lock:
            if self._sorted is None:
                self._sorted = sorted(self._by_name)
            wanted = search.casefold()
            ticks = self._entries.columns["ticks"]
            names = [
                n for n in self._sorted
                if wanted in n.casefold() and any(ticks[place] for place in self._by_name[n])
            ]  # fmt: skip
            places = [p for n in names[offset : offset + limit] for p in self._by_name[n]]
            return [self._view(place) for place in places if ticks[place]], len(names)

    def changed_since(self, version: int) -> tuple[int, list[InstrumentView]]:
        """Views of the instruments that ticked after `version`, and the present version."""
        with self._lock:
            c, size = self._entries.columns, self._entries.size
            places = np.flatnonzero((c["version"][:size] > version) & (c["ticks"][:size] > 0))
            return self._version, [self._view(place) for place in places.tolist()]

    def pooled(self) -> tuple[float | None, float | None]:
        """Median skill of settled instruments, and the share of their ticks in the interval."""
        with self._lock:
            c, size = self._entries.columns, self._entries.size
            settled = np.flatnonzero(c["scored"][:size] >= SETTLED_TICKS)
            if not len(settled):
                return None, None
            with np.errstate(invalid="ignore", divide="ignore"):
                skill = 1.0 - c["squared_error"][settled] / c["squared_naive"][settled]
            known = skill[np.isfinite(skill)]
            covered = c["covered"][settled].sum() / (c["scored"][settled].sum() * len(self._names))
            return (float(np.median(known)) if len(known) else None), float(covered)

    def _view(self, place: int) -> InstrumentView:
        c = self._entries.columns
        partition, name = self._keys[place]
        recorded = int(c["recorded"][place])
        order = np.arange(max(0, recorded - RECENT), recorded) % RECENT
        scored = int(c["scored"][place])
        targets = []
        for j, target in enumerate(self._names):
            value = float(c["value"][place, j])
            targets.append(
                TargetView(
                    name=target,
                    value=value,
                    forecast=float(c["point"][place, j]),
                    lower=float(c["lower"][place, j]),
                    upper=float(c["upper"][place, j]),
                    naive=value,
                    source="model" if c["model"][place, j] else "persistence",
                    skill=_known(float(c["skill"][place, j])),
                    coverage=float(c["covered"][place, j]) / scored if scored else None,
                    recent=c["recent"][place, order, j].tolist(),
                    expected=_known(float(c["expected"][place, j])),
                )
            )
        times = np.array([c["time_ns"][place]], np.int64)
        return InstrumentView(
            instrument=name,
            partition=partition,
            slot=self._slot[place],
            ticks=int(c["ticks"][place]),
            ts=external_times(times, self._bundle.schema.time_unit)[0],
            offset=int(c["offset"][place]),
            origin=int(c["origin"][place]),
            targets=targets,
        )


def _known(value: float) -> float | None:
    return value if value == value else None


def _last_ticks(
    stepped: Stepped,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(slots, index of each slot's last tick, index of the one before it or -1)."""
    slot = stepped.slot[stepped.ticked]
    order = np.argsort(slot, kind="stable")
    ranked = slot[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    before = np.maximum(ends - 1, 0)
    alone = (ends == 0) | (ranked[before] != ranked[ends])
    previous = np.where(alone, -1, stepped.ticked[order[before]])
    return ranked[ends], stepped.ticked[order[ends]], previous
