"""What is shown of instruments, as columns: one line per instrument, and the view of a line.

The one place that turns numbers, of a committed cycle or of a memory row, into what readers see. It
knows no names, no partitions and no lock: see `board.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from slotcast.board.views import InstrumentView, Sort, TargetView
from slotcast.engine import Engine, Stepped
from slotcast.records.times import external_times
from slotcast_models.bundle import Bundle
from slotcast_models.columns import Published, chosen
from slotcast_models.memory import (
    ABSOLUTE_ERROR,
    ABSOLUTE_NAIVE,
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
AWAY = -1
"""In place of a slot: paged out, or not here."""


class Scores(NamedTuple):
    """What a commit's ticks said of the forecasts that were waiting for them.

    `errors` and `changes` have one entry per line and target: the mean absolute error of its ticks,
    and their mean absolute change, both in units of the mean absolute change of all ticks of the
    line so far; `ticks` is how many ticks an entry stands for.
    """

    scored: int
    covered: NDArray[np.int64]  # [levels]
    errors: NDArray[np.float64]
    changes: NDArray[np.float64]
    ticks: NDArray[np.int64]


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
            "slot": ((), np.int64),
            "scored": ((), np.int64),
            "version": ((), np.int64),
            "value": ((t,), np.float64),
            "point": ((t,), np.float64),
            "expected": ((t, 3), np.float64),
            "lower": ((t,), np.float64),
            "upper": ((t,), np.float64),
            "skill": ((t,), np.float64),
            "squared_error": ((t,), np.float64),
            "squared_naive": ((t,), np.float64),
            "absolute_error": ((t,), np.float64),
            "absolute_naive": ((t,), np.float64),
            "covered": ((t, len(levels)), np.int64),
            "model": ((t,), np.bool_),
            "recent": ((RECENT, t), np.float64),
            "recent_expected": ((RECENT, t, 3), np.float32),
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
    ) -> Scores:
        """Write each line's last tick of a committed cycle; `previous` is the one before or -1."""
        c, parsed, published = self.columns, stepped.parsed, stepped.published
        target, covered = engine.memory.target[slots], engine.memory.covered[slots]
        scored = engine.memory.counts[slots, SCORED]
        scores = self._scores(at, scored, target, covered)
        c["time_ns"][at], c["offset"][at] = parsed.time_ns[last], parsed.offset[last]
        c["origin"][at], c["ticks"][at] = published.origin[last], published.ticks[last]
        c["scored"][at] = scored
        c["value"][at] = parsed.value[last, : len(self._names)]
        c["expected"][at] = self._expected(at, published, last, previous)
        self._write_forecasts(at, chosen(published, last), target, covered)
        ring = c["recorded"][at] % RECENT
        c["recent"][at, ring] = c["value"][at]
        # Beside the value, so that single precision is plenty.
        c["recent_expected"][at, ring] = c["expected"][at] - c["value"][at][:, :, None]
        c["recorded"][at] += 1
        return scores

    def _expected(
        self,
        at: NDArray[np.int64],
        published: Published,
        last: NDArray[np.int64],
        previous: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """What had been forecast for each line's last tick: point, lower, upper [n, T, 3]."""
        c, shown = self.columns, self.shown
        within = [a[previous] for a in _bounds(published, shown)]
        stored = [c[name][at] for name in ("point", "lower", "upper")]
        expected = np.where(
            previous[:, None, None] >= 0, np.stack(within, axis=-1), np.stack(stored, axis=-1)
        )
        expected[published.ticks[last] == 1] = np.nan
        return expected

    def _scores(
        self,
        at: NDArray[np.int64],
        scored: NDArray[np.int64],
        target: NDArray[np.float64],
        covered: NDArray[np.int64],
    ) -> Scores:
        """The difference to what these lines still show; a line that shows nothing has none."""
        c = self.columns
        known = (c["ticks"][at] > 0) & (scored > c["scored"][at])
        at, scored, target, covered = at[known], scored[known], target[known], covered[known]
        ticks = np.broadcast_to((scored - c["scored"][at])[:, None], target.shape[:2])
        with np.errstate(invalid="ignore", divide="ignore"):
            scale = target[:, :, ABSOLUTE_NAIVE] / scored[:, None] * ticks
            errors = (target[:, :, ABSOLUTE_ERROR] - c["absolute_error"][at]) / scale
            changes = (target[:, :, ABSOLUTE_NAIVE] - c["absolute_naive"][at]) / scale
        finite = np.isfinite(errors) & np.isfinite(changes)  # no change so far: no scale
        inside = (covered - c["covered"][at]).sum(axis=(0, 1))
        return Scores(int(ticks.sum()), inside, errors[finite], changes[finite], ticks[finite])

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
        c["point"][at], c["lower"][at], c["upper"][at] = _bounds(published, self.shown)
        c["model"][at] = published.model
        c["skill"][at] = published.skill
        c["squared_error"][at] = target[:, :, SQUARED_ERROR]
        c["squared_naive"][at] = target[:, :, SQUARED_NAIVE]
        c["absolute_error"][at] = target[:, :, ABSOLUTE_ERROR]
        c["absolute_naive"][at] = target[:, :, ABSOLUTE_NAIVE]
        c["covered"][at] = covered

    def sort_keys(self, sort: Sort, lines: NDArray[np.int64]) -> NDArray[np.float64]:
        """What these lines are sorted by; NaN where there is nothing."""
        c = self.columns
        if sort in ("ticks", "slot"):
            counts = c[sort][lines].astype(np.float64)
            return np.where(counts < 0, np.nan, counts)
        if sort == "coverage":
            return self.coverage(lines)[:, 0]
        if sort == "width":
            return c["upper"][lines, 0] - c["lower"][lines, 0]  # type: ignore[no-any-return]
        column = {"value": "value", "forecast": "point", "skill": "skill"}[sort]
        return c[column][lines, 0].copy()  # type: ignore[no-any-return]

    def coverage(self, lines: NDArray[np.int64]) -> NDArray[np.float64]:
        """Share of these lines' scored ticks inside their interval [n, T]; NaN without any."""
        scored = self.columns["scored"][lines][:, None]
        covered = self.columns["covered"][lines, :, self.shown]
        with np.errstate(invalid="ignore", divide="ignore"):
            return covered / scored  # type: ignore[no-any-return]

    def view(self, line: int, partition: int, name: str, as_of: int) -> InstrumentView:
        """The view of a line."""
        c = self.columns
        slot = int(c["slot"][line])
        times = np.array([c["time_ns"][line]], np.int64)
        return InstrumentView(
            instrument=name,
            partition=partition,
            slot=None if slot == AWAY else slot,
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
        value, recent = float(c["value"][line, j]), c["recent"][line, order, j]
        expected = (recent[:, None] + c["recent_expected"][line, order, j]).T.tolist()
        return TargetView(
            name=name,
            value=value,
            forecast=float(c["point"][line, j]),
            lower=float(c["lower"][line, j]),
            upper=float(c["upper"][line, j]),
            naive=value,
            source="model" if c["model"][line, j] else "persistence",
            skill=known(float(c["skill"][line, j])),
            coverage=float(c["covered"][line, j, self.shown]) / scored if scored else None,
            recent=recent.tolist(),
            expected=known(float(c["expected"][line, j, 0])),
            recent_expected=expected[0],
            recent_lower=expected[1],
            recent_upper=expected[2],
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
    at = np.array([sheet.add()], np.int64)
    sheet.write_rows(at, row, predictor)
    sheet.columns["slot"][at] = AWAY if slot is None else slot
    return sheet.view(0, *key, as_of)


def _bounds(published: Published, level: int) -> tuple[NDArray[np.float64], ...]:
    """Point, lower and upper end of the interval of that level."""
    return published.point, published.lower[:, :, level], published.upper[:, :, level]


def known(value: float) -> float | None:
    """The number, or None where there is none yet."""
    return value if np.isfinite(value) else None
