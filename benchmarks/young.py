"""Whether intervals hold from an instrument's first ticks on: coverage by how many came before.

    make bench-young                one table
    make bench-young ONLY=ETTh1     one set

Recorded series are cut into pieces, and each piece is an instrument that begins anew: where all
begin on the same day, that day's news would look like a fault of young intervals. Beside them stand
made-up walks and noise, normal and wild (Student's t, 3 degrees), from a seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks import forecast_sets
from benchmarks.forecast_sets import SECOND_NS, Floats, Ticks
from benchmarks.report import show, write
from slotcast_models.backtest import Outcome, prequential
from slotcast_models.bundle import Bundle
from slotcast_models.predictor import Predictor
from slotcast_models.schema import Quantity, TickSchema

PIECE, MOST_PIECES, MADE_UP = 251, 400, 600
AGES = ((2, 2), (3, 5), (6, 10), (11, 20), (21, 50), (51, 100), (101, 200))
"""First and last forecast of an instrument; before the second no change is known."""


def pieces(ticks: Ticks, every: int) -> Ticks:
    """A piece of PIECE ticks from every so many of each instrument, as instruments side by side."""
    found: list[NDArray[np.int64]] = []
    for slot in np.unique(ticks.slot):
        own = np.flatnonzero(ticks.slot == slot)
        starts = range(0, max(len(own) - PIECE, 1), every)
        found += [own[start : start + PIECE] for start in starts]
    chosen = np.unique(np.linspace(0, len(found) - 1, MOST_PIECES).astype(int))
    kept = [found[i] for i in chosen]
    entry, slot = np.concatenate(kept), np.repeat(np.arange(len(kept)), [len(k) for k in kept])
    order = np.lexsort((slot, np.concatenate([np.arange(len(k)) for k in kept])))
    entry, slot = entry[order], slot[order]
    return Ticks(ticks.schema, slot, ticks.time_ns[entry], ticks.value[entry])


def made_up(schema: TickSchema, make: Callable[[np.random.Generator], Floats]) -> Ticks:
    """Series [ticks, instruments] of the generator, one tick a second."""
    series = make(np.random.default_rng(3))
    time_ns = np.repeat(np.arange(len(series)) * SECOND_NS, series.shape[1])
    slot = np.tile(np.arange(series.shape[1]), len(series))
    return Ticks(schema, slot, time_ns, series.reshape(-1, 1))


def _walk(changes: Floats) -> Floats:
    return np.asarray(100.0 * np.exp(1e-3 * changes.cumsum(axis=0)))


SHAPE = (PIECE, MADE_UP)
WALK = TickSchema(targets=(forecast_sets.PRICE,), kind="price")
NOISE = TickSchema(targets=(Quantity(name="value"),), kind="sensor")
SETS: dict[str, Callable[[], Ticks]] = {
    "walk": partial(made_up, WALK, lambda rng: _walk(rng.normal(size=SHAPE))),
    "wild walk": partial(made_up, WALK, lambda rng: _walk(rng.standard_t(3, SHAPE))),
    "noise": partial(made_up, NOISE, lambda rng: rng.normal(size=SHAPE)),
    "wild noise": partial(made_up, NOISE, lambda rng: rng.standard_t(3, SHAPE)),
    "ETTh1": lambda: pieces(forecast_sets.ett("ETTh1"), 260),
    "ETTh2": lambda: pieces(forecast_sets.ett("ETTh2"), 260),
    "ETTm1": lambda: pieces(forecast_sets.ett("ETTm1"), 510),
    "WTH": lambda: pieces(forecast_sets.wth(), 510),
    "fx_mid": lambda: pieces(forecast_sets.fx_mid(), 4_999),
    "fx_10s": lambda: pieces(forecast_sets.fx_mid(10), 1_000),
    "stock_trades": lambda: pieces(forecast_sets.stock_trades(), 2_000),
    "la_traffic": lambda: pieces(forecast_sets.la_traffic(), 400),
    "oil_wells": lambda: pieces(forecast_sets.oil_wells(), 10**9),
    "turbofan": lambda: pieces(forecast_sets.turbofan(), 10**9),
}


def ages(outcome: Outcome) -> NDArray[np.int64]:
    """By tick: which forecast of its instrument it scores, from 1 on."""
    found = np.zeros(len(outcome.slot), np.int64)
    for slot in np.unique(outcome.slot):
        own = outcome.slot == slot
        found[own] = np.cumsum(outcome.scored[own])
    return found


def by_age(ticks: Ticks) -> Floats:
    """Coverage [ages, levels] over all instruments and targets."""
    outcome = prequential(Predictor(Bundle.load().bind(ticks.schema)), ticks.columns(), ticks.slots)
    value, age = outcome.value[..., None], ages(outcome)
    inside = (outcome.lower <= value) & (value <= outcome.upper)
    spans = [outcome.scored & (first <= age) & (age <= last) for first, last in AGES]
    return np.array([inside[span].mean(axis=(0, 1)) for span in spans])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[], choices=SETS, metavar="SET")
    names = parser.parse_args().only or list(SETS)
    found = {name: by_age(SETS[name]()) for name in names}
    levels = Bundle.load().manifest.rules.levels
    found["mean"] = np.mean(list(found.values()), axis=0)
    show(
        "Coverage in %, by which forecast of an instrument it is",
        ["set", "level", *(f"{first}-{last}" for first, last in AGES)],
        [
            [name, f"{100 * level:.0f}", *(f"{100 * share:.1f}" for share in shares[:, i])]
            for name, shares in found.items()
            for i, level in enumerate(levels)
        ],
    )
    write("young", {name: shares.tolist() for name, shares in found.items()})


if __name__ == "__main__":
    main()
