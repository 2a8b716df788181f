"""Intervals of a backtest: sums over ticks as they come, and what coverage depends on.

Bounds of every level would be most of a backtest's memory. So of all levels only sums are kept, and
of the one level that single numbers are about, the bounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from slotcast_models import scores
from slotcast_models.backtest import Outcome
from slotcast_models.baselines import rows_by_instrument
from slotcast_models.schema import TickSchema

if TYPE_CHECKING:
    from slotcast.backtest.run import Backtest

Floats = NDArray[np.float64]
VOLATILITY_TICKS = 24
THIRDS = {"volatility": ("calm", "usual", "wild"), "time_step": ("short", "usual", "long")}


def interval_level(levels: tuple[float, ...]) -> float:
    """The level that single numbers are about: 0.9, or the nearest to it."""
    return min(levels, key=lambda level: abs(level - 0.9))


def unit_of(schema: TickSchema, now: Floats) -> Floats:
    """What errors [..., T] are divided by: values at hand where changes are relative, else 1."""
    return np.where([q.log for q in schema.targets], np.abs(now), 1.0)


class IntervalSums:
    """Pinball losses and coverage of every level, by target, over the ticks added so far."""

    def __init__(self, schema: TickSchema, levels: tuple[float, ...]) -> None:
        self._schema, self.levels = schema, levels
        shape = len(schema.targets), len(levels)
        self._below, self._above, self._within = (np.zeros(shape) for _ in range(3))
        self._ticks = 0

    def add(self, outcome: Outcome, kept: NDArray[np.bool_]) -> None:
        """Take in the ticks `kept` [n] of an outcome with the bounds of all levels."""
        unit = unit_of(self._schema, outcome.naive[kept])
        value = outcome.value[kept] / unit
        for i, level in enumerate(self.levels):
            lower, upper = (b[kept, :, i] / unit for b in (outcome.lower, outcome.upper))
            below, above = (1.0 - level) / 2.0, (1.0 + level) / 2.0
            self._below[:, i] += scores.pinball_losses(value, lower, below).sum(axis=0)
            self._above[:, i] += scores.pinball_losses(value, upper, above).sum(axis=0)
            self._within[:, i] += ((lower <= value) & (value <= upper)).sum(axis=0)
        self._ticks += int(kept.sum())

    def told(self, targets: slice) -> dict[str, Any]:
        """Pinball loss over all quantiles, CRPS and coverage by level, of these targets."""
        below, above, within = (
            part[targets].mean(axis=0) / self._ticks
            for part in (self._below, self._above, self._within)
        )
        shares = dict(zip(map(str, self.levels), within.tolist(), strict=True))
        return {
            "pinball": float(np.mean([below, above])),
            "crps": scores.crps_of_losses(below, above, np.array(self.levels)),
            "coverage": shares[str(interval_level(self.levels))],
            "coverage_by_level": shares,
        }


def calibration(found: Backtest) -> dict[str, Any]:
    """Coverage of our interval by third of what was going on, and whether misses come together.

    Volatility is the mean change of the last 24 ticks before a forecast, the time step that which
    passed until its tick came. Thirds are those of each series; None for one without ticks.
    """
    within, ticks = ({name: np.zeros(3) for name in THIRDS} for _ in range(2))
    missed = []
    for kept, measures in _circumstances(found):
        inside = _within(found, kept)
        for name, measure in measures.items():
            third = scores.thirds(measure)
            ticks[name] += np.bincount(third, minlength=3)
            within[name] += np.bincount(third, inside, minlength=3)
        missed.append(1.0 - inside)
    told: dict[str, Any] = {"correlation_of_misses": scores.lag_correlation(missed)}
    for name, titles in THIRDS.items():
        shares = [w / n if n else math.nan for w, n in zip(within[name], ticks[name], strict=True)]
        told[name] = dict(zip(titles, shares, strict=True))
    return told


Series = tuple[tuple[NDArray[np.int64], int], dict[str, Floats]]


def _circumstances(found: Backtest) -> Iterator[Series]:
    """Scored ticks and target of each series, and what was going on at these ticks."""
    outcome = found.outcome
    rows = np.flatnonzero(outcome.valid)
    for own in (rows[part] for part in rows_by_instrument(outcome.slot[rows])):
        scored = np.flatnonzero(found.scored[own])
        if len(scored) == 0 or scored[0] == 0:
            scored = scored[1:]
        if len(scored) == 0:
            continue
        value = outcome.value[own]
        change = np.abs(np.diff(value, axis=0)) / unit_of(found.bundle.schema, value[:-1])
        step = np.diff(outcome.time_ns[own])[scored - 1].astype(np.float64)
        for j in range(value.shape[1]):
            recent = np.concatenate([[0.0], scores.trailing_mean(change[:, j], VOLATILITY_TICKS)])
            yield (own[scored], j), {"volatility": recent[scored - 1], "time_step": step}


def _within(found: Backtest, kept: tuple[NDArray[np.int64], int]) -> Floats:
    value = found.outcome.value[kept]
    lower, upper = (bound[kept] for bound in found.forecasts["slotcast"].bounds())
    inside: NDArray[np.bool_] = (lower <= value) & (value <= upper)
    return inside.astype(np.float64)
