"""What is shown of instruments, as columns: one line per instrument, and the view of a line.

The one place that turns numbers, of a committed cycle or of a memory row, into what readers see. It
knows no names, no partitions and no lock: see `board.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotcast.engine import Engine, Stepped
from slotcast.times import external_times
from slotcast.views import InstrumentView, TargetView
from slotcast_models.bundle import Bundle
from slotcast_models.columns import Published, chosen
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


class Sheet:
    """Lines are numbered from 0; arrays grow by doubling."""

    def __init__(self, bundle: Bundle, room: int = 64) -> None:
        self._names = [q.name for q in bundle.schema.targets]
        self._time_unit = bundle.schema.time_unit
        levels = bundle.manifest.rules.levels
        self.shown = int(np.argmin([abs(level - SHOWN_LEVEL) for level in levels]))
        self.size = 0
        t = len(self._names)
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
        self.columns: dict[str, NDArray[Any]] = {
            name: np.zeros((room, *shape), kind) for name, (shape, kind) in shapes.items()
        }

    def add(self) -> int:
        """The number of a new line, which shows nothing yet."""
        if self.size == len(self.columns["ticks"]):
            self.columns = {
                n: np.concatenate([a, np.zeros_like(a)]) for n, a in self.columns.items()
            }
        self.size += 1
        return self.size - 1

    def write_ticks(
        self,
        at: NDArray[np.int64],
        stepped: Stepped,
        last: NDArray[np.int64],
        previous: NDArray[np.int64],
        slots: NDArray[np.int64],
        engine: Engine,
    ) -> None:
        """Write each line's last tick of a committed cycle; `previous` is the one before or -1."""
        c, parsed, published = self.columns, stepped.parsed, stepped.published
        c["time_ns"][at], c["offset"][at] = parsed.time_ns[last], parsed.offset[last]
        c["origin"][at], c["ticks"][at] = published.origin[last], published.ticks[last]
        c["scored"][at] = engine.memory.counts[slots, SCORED]
        c["value"][at] = parsed.value[last, : len(self._names)]
        expected = np.where(previous[:, None] >= 0, published.point[previous], c["point"][at])
        expected[published.ticks[last] == 1] = np.nan
        c["expected"][at] = expected
        target, covered = engine.memory.target[slots], engine.memory.covered[slots]
        self._write_forecasts(at, chosen(published, last), target, covered)
        c["recent"][at, c["recorded"][at] % RECENT] = c["value"][at]
        c["recorded"][at] += 1

    def write_rows(
        self, at: NDArray[np.int64], rows: NDArray[np.void], predictor: Predictor
    ) -> None:
        """Write what memory rows know; what had been expected, and recent values, they do not."""
        c, memory = self.columns, view(rows)
        counts = memory.counts
        c["time_ns"][at], c["offset"][at] = counts[:, TIME], counts[:, APPLIED]
        c["origin"][at], c["ticks"][at] = counts[:, ORIGIN], counts[:, TICKS]
        c["scored"][at] = counts[:, SCORED]
        c["value"][at] = memory.quantity[:, : len(self._names), VALUE]
        c["expected"][at], c["recorded"][at] = np.nan, 0
        self._write_forecasts(at, predictor.pending(rows), memory.target, memory.covered)

    def _write_forecasts(
        self,
        at: NDArray[np.int64],
        published: Published,
        target: NDArray[np.float64],
        covered: NDArray[np.int64],
    ) -> None:
        c = self.columns
        c["point"][at], c["model"][at] = published.point, published.model
        c["lower"][at] = published.lower[:, :, self.shown]
        c["upper"][at] = published.upper[:, :, self.shown]
        c["skill"][at] = published.skill
        c["squared_error"][at] = target[:, :, SQUARED_ERROR]
        c["squared_naive"][at] = target[:, :, SQUARED_NAIVE]
        c["covered"][at] = covered[:, :, self.shown]

    def view(
        self, line: int, partition: int, name: str, slot: int | None, as_of: int
    ) -> InstrumentView:
        """The view of a line."""
        c = self.columns
        times = np.array([c["time_ns"][line]], np.int64)
        return InstrumentView(
            instrument=name,
            partition=partition,
            slot=slot,
            ticks=int(c["ticks"][line]),
            ts=external_times(times, self._time_unit)[0],
            offset=int(c["offset"][line]),
            origin=int(c["origin"][line]),
            targets=[self._target(line, j, target) for j, target in enumerate(self._names)],
            as_of=as_of,
        )

    def _target(self, line: int, j: int, name: str) -> TargetView:
        c = self.columns
        recorded, scored = int(c["recorded"][line]), int(c["scored"][line])
        order = np.arange(max(0, recorded - RECENT), recorded) % RECENT
        value = float(c["value"][line, j])
        return TargetView(
            name=name,
            value=value,
            forecast=float(c["point"][line, j]),
            lower=float(c["lower"][line, j]),
            upper=float(c["upper"][line, j]),
            naive=value,
            source="model" if c["model"][line, j] else "persistence",
            skill=_known(float(c["skill"][line, j])),
            coverage=float(c["covered"][line, j]) / scored if scored else None,
            recent=c["recent"][line, order, j].tolist(),
            expected=_known(float(c["expected"][line, j])),
        )


def view_of_row(
    bundle: Bundle,
    predictor: Predictor,
    row: NDArray[np.void],
    key: tuple[int, str],
    slot: int | None,
    as_of: int,
) -> InstrumentView:
    """The view of one memory row (shape (1,)) of the instrument `key` = (partition, name)."""
    sheet = Sheet(bundle, room=1)
    sheet.write_rows(np.array([sheet.add()], np.int64), row, predictor)
    return sheet.view(0, *key, slot, as_of)


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
