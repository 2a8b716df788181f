"""B4: whether intervals of 90 % hold where it matters: by instrument, hour, volatility, time step.

A series is one target of one instrument. Its coverage is right if it is within two binomial
standard errors of 90 %; intervals are calibrated if that is so for 95 % of all series.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.forecast_sets import HOUR_MS
from benchmarks.report import goal, show
from slotcast.backtest.intervals import VOLATILITY_TICKS, unit_of
from slotcast_models import scores
from slotcast_models.backtest import Outcome
from slotcast_models.baselines import rows_by_instrument
from slotcast_models.schema import TickSchema

Floats = NDArray[np.float64]
LEVEL = 0.9
HOURS = (0.85, 0.95)
"""Between these the coverage of every hour of the day has to be."""
RIGHT_SHARE = 0.95
FEWEST_TICKS = 30


def coverages(
    schema: TickSchema, outcome: Outcome, kept: NDArray[np.bool_], levels: tuple[float, ...]
) -> dict[str, Any]:
    """Coverage of the ticks `kept` [n], in all and by circumstances; NaN where there are none.

    By hour only if the schema declares a time step: else clocks of sets are made up.
    """
    at = levels.index(LEVEL)
    within = (outcome.lower[kept, :, at] <= outcome.value[kept]) & (
        outcome.value[kept] <= outcome.upper[kept, :, at]
    )
    series = rows_by_instrument(outcome.slot[kept])
    count = np.array([len(own) for own in series])
    by_series = np.array([within[own].mean(axis=0) for own in series])
    error = 2.0 * np.sqrt(LEVEL * (1.0 - LEVEL) / count)[:, None]
    recent, step = circumstances(schema, outcome)
    return {
        "coverage": float(within.mean()),
        "coverage_by_level": {
            str(level): scores.coverage(
                outcome.value[kept], outcome.lower[kept, :, i], outcome.upper[kept, :, i]
            )
            for i, level in enumerate(levels)
        },
        "coverage_by_series": by_series.tolist(),
        "series_within_two_errors": float((np.abs(by_series - LEVEL) <= error).mean()),
        "coverage_by_hour": by_hour(within, outcome.time_ns[kept]) if schema.step_ms else [],
        "coverage_by_volatility": by_third(within, recent[kept], series),
        "coverage_by_time_step": by_third(within, step[kept], series),
        "correlation_of_misses": scores.lag_correlation(
            1.0 - within[own, j] for own in series for j in range(within.shape[1])
        ),
    }


def circumstances(schema: TickSchema, outcome: Outcome) -> tuple[Floats, Floats]:
    """By tick and target [n, T]: the mean change of the 24 ticks before its forecast, and the time
    step that passed until it came. NaN at an instrument's first tick.
    """
    recent, step = (np.full(outcome.value.shape, np.nan) for _ in range(2))
    rows = np.flatnonzero(outcome.valid)
    for own in (rows[part] for part in rows_by_instrument(outcome.slot[rows])):
        value = outcome.value[own]
        change = np.abs(np.diff(value, axis=0)) / unit_of(schema, value[:-1])
        step[own[1:]] = np.diff(outcome.time_ns[own])[:, None]
        recent[own[1:2]] = 0.0  # nothing has moved yet
        for j in range(value.shape[1]):
            recent[own[2:], j] = scores.trailing_mean(change[:-1, j], VOLATILITY_TICKS)
    return recent, step


def by_hour(within: NDArray[np.bool_], time_ns: NDArray[np.int64]) -> list[float]:
    """Coverage of the 24 hours of the day, UTC."""
    hour = time_ns // (HOUR_MS * 1_000_000) % 24
    return [float(within[hour == h].mean()) if (hour == h).any() else np.nan for h in range(24)]


def by_third(
    within: NDArray[np.bool_], measure: Floats, series: list[NDArray[np.int64]]
) -> list[float]:
    """Coverage where the measure [n, T] is low, usual and high for its series; NaN for few ticks.

    Equal measures are in one third, so the others may be empty, or nearly so.
    """
    inside, ticks = np.zeros(3), np.zeros(3)
    for own in series:
        for j in range(within.shape[1]):
            third = scores.thirds(measure[own, j])
            ticks += np.bincount(third, minlength=3)
            inside += np.bincount(third, within[own, j], minlength=3)
    return np.where(ticks >= FEWEST_TICKS, inside / np.maximum(ticks, 1.0), np.nan).tolist()


def sharpness(
    outcome: Outcome, kept: slice, spread: Floats, levels: tuple[float, ...]
) -> dict[str, float]:
    """Winkler score at 90 % and CRPS, in units of `spread` [T]."""
    at, value = levels.index(LEVEL), outcome.value[kept] / spread
    lower, upper = (b[kept] / spread[:, None] for b in (outcome.lower, outcome.upper))
    return {
        "winkler": scores.winkler(value, lower[..., at], upper[..., at], LEVEL),
        "crps": scores.crps(value, lower, upper, np.array(levels)),
    }


def calibrated(found: dict[str, Any]) -> bool:
    """Whether coverage is right for enough of the series."""
    return bool(found["series_within_two_errors"] >= RIGHT_SHARE)


COLUMNS = (
    *("series", "50 80 90 95 99", "right for", "hours"),
    *("calm usual wild", "short usual long", "misses'"),
)


def show_table(
    title: str, found: dict[str, dict[str, Any]], aims: dict[str, float | None], *notes: str
) -> None:
    """Coverages by set, with the goals of B4; the Winkler score where there is an aim for it."""
    known = all("winkler" in c for c in found.values())
    rows = [
        [
            name,
            *([f"{c['winkler']:.3f}"] if known else []),
            f"{np.size(c['coverage_by_series']):,}",
            _percents(c["coverage_by_level"].values()),
            f"{100 * c['series_within_two_errors']:.1f} %",
            _hours(c),
            _percents(c["coverage_by_volatility"]),
            _percents(c["coverage_by_time_step"]),
            f"{c['correlation_of_misses']:.3f}",
        ]
        for name, c in found.items()
    ]
    show(
        title,
        ["set", *(["Winkler"] if known else []), *COLUMNS],
        rows,
        "right for: series within two binomial standard errors of 90 %. hours: the lowest and the "
        "highest. misses': correlation of a miss with the next. -: no such ticks.",
        *notes,
        *(verdict(name, c, aims.get(name)) for name, c in found.items()),
    )


def verdict(name: str, c: dict[str, Any], winkler: float | None) -> str:
    """The goals of B4 that apply to a set, as a line; scores count as they are printed."""
    right = c["series_within_two_errors"]
    reached = [calibrated(c)]
    told = [f"right for {100 * right:.1f} % of series (goal: >= {100 * RIGHT_SHARE:.0f})"]
    if winkler is not None:
        reached.append(round(c["winkler"], 2) <= winkler)
        told.insert(0, f"Winkler {c['winkler']:.2f} (goal: <= {winkler})")
    if _day(c):
        low, high = HOURS
        reached.append(bool(low <= min(_day(c)) and max(_day(c)) <= high))
        told.append(f"hours {_hours(c)} % (goal: within {100 * low:.0f} .. {100 * high:.0f})")
    return goal(all(reached), f"{name}, intervals: {', '.join(told)}")


def _day(c: dict[str, Any]) -> list[float]:
    """Coverages by hour, if the ticks of a set come at more than one."""
    found = [share for share in c["coverage_by_hour"] if not np.isnan(share)]
    return found if len(found) > 1 else []


def _hours(c: dict[str, Any]) -> str:
    return " .. ".join(_percent(end(_day(c))) for end in (min, max)) if _day(c) else "-"


def _percents(shares: Iterable[float]) -> str:
    return " ".join(map(_percent, shares))


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.1f}"
