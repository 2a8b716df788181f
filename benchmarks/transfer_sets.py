"""The recorded sets of B6, each in two parts without a common tick: to learn from, and to score.

Of a set with several instruments every second one is learnt and chosen from, the others are scored
from their first tick on. Of a set with one instrument the first quarter is learnt and chosen from,
and what follows is scored. The classics are too short to be parted: they are scored only.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import forecast_sets
from benchmarks.forecast_sets import FOLDER, HOUR_MS, M4_SCHEMA, SECOND_NS, Ticks
from slotcast_models.schema import Quantity, TickSchema

LEARNT_TICKS, SCORED_TICKS = 25_000, 100_000
LONGEST_LEARNT, LONGEST_SCORED = 5_000, 25_000
KNOWN_SHARE = 0.25


def m4_hourly() -> Ticks:
    """The series of M4-Hourly, side by side."""
    series = forecast_sets.m4_hourly()
    lengths = [len(values) for values in series.values()]
    slot = np.repeat(np.arange(len(series)), lengths)
    hours = np.concatenate([np.arange(n) for n in lengths])
    value, order = np.concatenate(list(series.values())), np.lexsort((slot, hours))
    time_ns = hours * HOUR_MS * 1_000_000
    return Ticks(M4_SCHEMA, slot[order], time_ns[order], value[order, None])


def classic(file: str, season: int | None) -> Ticks:
    """A classic: one value per line, missing ones left out; the season counts ticks."""
    with forecast_sets.need(f"classics/{file}.csv").open() as lines:
        rows = [row[1] for row in csv.reader(lines)][1:]
    value = np.array([float(text) for text in rows if text])
    schema = TickSchema(
        targets=(Quantity(name="value"),), kind="sensor", seasons=(season,) if season else ()
    )
    return Ticks(
        schema, np.zeros(len(value), np.int64), np.arange(len(value)) * SECOND_NS, value[:, None]
    )


CLASSICS = {
    "airline_passengers": 12, "sunspots_yearly": None, "co2_weekly": 52, "nile_yearly": None,
    "elnino_monthly": 12, "water_flow_hourly": 24,
}  # fmt: skip
SETS: dict[str, dict[str, Callable[[], Ticks]]] = {
    "ett": {name: partial(forecast_sets.ett, name) for name in ("ETTh1", "ETTh2", "ETTm1")},
    "wth": {"WTH": forecast_sets.wth},
    "exchange_rate": {"Exchange": forecast_sets.exchange},
    "m4_hourly": {"M4-Hourly": m4_hourly},
    "la_traffic": {"la_traffic": forecast_sets.la_traffic},
    "oil_wells": {"oil_wells": forecast_sets.oil_wells},
    "turbofan": {"turbofan": forecast_sets.turbofan},
    "fx_ticks": {"fx_quotes": forecast_sets.fx_quotes, "fx_1s": partial(forecast_sets.fx_mid, 1)},
    "sp500_daily": {"sp500_daily": forecast_sets.sp500_daily},
    "perp_hourly": {"perp_hourly": forecast_sets.perp_hourly},
    "stock_trades": {"stock_trades": forecast_sets.stock_trades},
    "classics": {name: partial(classic, name, season) for name, season in CLASSICS.items()},
}
"""Folder of the data -> the streams that are made from it. A folder is left out as a whole."""


class Parts(NamedTuple):
    """One stream: what is learnt and chosen from, what is run, and what of that is scored."""

    learnt: Ticks | None
    run: Ticks
    scored: NDArray[np.bool_]


def parts(folder: str, ticks: Ticks) -> Parts:
    """The two parts of a stream, no larger than the limits above."""
    if folder == "classics":
        return Parts(None, ticks, np.ones(len(ticks.slot), bool))
    if ticks.slots > 1:
        even = ticks.slot % 2 == 0
        run = capped(kept(ticks, ~even), SCORED_TICKS, LONGEST_SCORED)
        learnt = capped(kept(ticks, even), LEARNT_TICKS, LONGEST_LEARNT)
        return Parts(learnt, run, np.ones(len(run.slot), bool))
    run = capped(ticks, SCORED_TICKS, LONGEST_SCORED)
    known = np.arange(len(run.slot)) < KNOWN_SHARE * len(run.slot)
    return Parts(kept(run, known), run, ~known)


def present(folder: str) -> bool:
    """Whether the data of this folder are here."""
    return (FOLDER / folder).is_dir()


def learnt_from() -> dict[str, Iterable[Ticks]]:
    """Folder -> the parts to learn from, of the data that are here."""
    found: dict[str, Iterable[Ticks]] = {}
    for folder, streams in SETS.items():
        if present(folder):
            each = (parts(folder, load()).learnt for load in streams.values())
            found[folder] = [ticks for ticks in each if ticks is not None]
    return {folder: several for folder, several in found.items() if several}


def ages(slot: NDArray[np.int64]) -> NDArray[np.int64]:
    """By tick: how many ticks its instrument had before."""
    order = np.argsort(slot, kind="stable")
    first = np.searchsorted(slot[order], slot[order])
    found = np.empty(len(slot), np.int64)
    found[order] = np.arange(len(slot)) - first
    return found


def capped(ticks: Ticks, most: int, longest: int) -> Ticks:
    """The first `longest` ticks of each instrument; of instruments, drawn by lot, what fits."""
    ticks = kept(ticks, ages(ticks.slot) < longest)
    counts = np.bincount(ticks.slot)
    drawn = np.random.default_rng(0).permutation(len(counts))
    fit = max(1, int((np.cumsum(counts[drawn]) <= most).sum()))
    return kept(ticks, np.isin(ticks.slot, drawn[:fit]))


def kept(ticks: Ticks, mask: NDArray[np.bool_]) -> Ticks:
    """The ticks of the mask [n], their instruments counted anew from 0."""
    slot = np.unique(ticks.slot[mask], return_inverse=True)[1].astype(np.int64)
    return Ticks(ticks.schema, slot, ticks.time_ns[mask], ticks.value[mask])
