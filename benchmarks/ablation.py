"""What each rule of the readout is worth, and what does not help where a goal is missed.

    make bench-ablation                 all variants
    make bench-ablation ONLY="one lag"  one of them, beside the rules as they are

One rule of the default bundle is changed at a time. No network runs: that of an untrained bundle
says "no change" anyway. M4 is shown on the two days before its hold-outs, from which rules may be
chosen, and on the hold-outs themselves. docs/forecasting.md says what follows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import forecast_classics, forecast_sets
from benchmarks.forecast_online import PROTOCOLS
from benchmarks.report import show, write
from slotcast_models import scores
from slotcast_models.backtest import prequential
from slotcast_models.bundle import Bundle
from slotcast_models.columns import chosen
from slotcast_models.predictor import Predictor
from slotcast_models.rules import FoldRules
from slotcast_models.schema import TickSchema
from slotcast_models.step import Stage

Floats = NDArray[np.float64]
AS_IT_IS = "as it is"
VARIANTS: dict[str, dict[str, Any]] = {
    AS_IT_IS: {},
    "no smoothers": {"smoothing_rates": ()},
    "one smoother": {"smoothing_rates": (0.2,)},
    "warm-up of 5 ticks": {"warmup_ticks": 5},
    "warm-up of 168 ticks": {"warmup_ticks": 168},
    "window: a quarter of the ticks": {"forgetting_share": 0.25},
    "window: all ticks": {"forgetting_share": 1.0},
    "forgetting 0.999": {"forgetting": 0.999},
    "ridge 3": {"ridge": 3.0},
    "ridge 30": {"ridge": 30.0},
    "one lag": {"lags": 1},
    "12 lags": {"lags": 12},
    "one harmonic": {"harmonics": 1},
    "8 harmonics": {"harmonics": 8},
    "level over 300 ticks": {"level_rate": 1.0 / 300.0},
    "second stage from 0.9 (damped free run)": {"stage_prior": 0.9},
}
M4_LEFT = {"M4, 96 h before": 96, "M4, 144 h before": 144, "M4, 0 h": 0, "M4, 48 h before": 48}
"""Hours left out after the 48 that are forecast: hold-outs to choose by, then those of B3."""


class Silent:
    """A network that says "no change"."""

    def __init__(self, bundle: Bundle, room: int) -> None:
        spec = bundle.manifest.network
        sizes = (spec.inputs, spec.width, spec.outputs, spec.width)
        self.stage = Stage(*(np.zeros((room, size), np.float32) for size in sizes))

    def step(self, n: int) -> None:
        """Outputs stay 0."""


def predictor_of(schema: TickSchema, changed: dict[str, Any]) -> Predictor:
    """The default bundle's rules for `schema`, but for those `changed`."""
    bundle = Bundle.load()
    rules = FoldRules(**(bundle.manifest.rules.model_dump() | changed))
    manifest = bundle.manifest.model_copy(update={"rules": rules})
    bound = replace(bundle, manifest=manifest).bind(schema)
    return Predictor(bound, lambda room: Silent(bound, room))


def m4_runs(changed: dict[str, Any]) -> dict[str, Floats]:
    """Free runs of all series, by hold-out."""
    predictor = predictor_of(forecast_sets.M4_SCHEMA, changed)
    return {
        name: forecast_classics.ahead(predictor, m4_split(left)[0])
        for name, left in M4_LEFT.items()
    }


def m4_split(left: int) -> tuple[list[Floats], Floats]:
    """Histories, and the 48 hours after them."""
    steps = forecast_classics.STEPS
    given = [x[: len(x) - left] for x in forecast_sets.m4_hourly().values()]
    return [x[:-steps] for x in given], np.array([x[-steps:] for x in given])


def m4_scores(runs: dict[str, Floats]) -> dict[str, float]:
    """OWA by hold-out."""
    return {
        name: forecast_classics.overall(*m4_split(left), runs[name])
        for name, left in M4_LEFT.items()
    }


def online_mse(name: str, changed: dict[str, Any]) -> float:
    """MSE of B1 on the scored rows."""
    protocol = PROTOCOLS[name]
    ticks = protocol.load()
    scaling, first, end = protocol.rows(len(ticks.value))
    columns = chosen(ticks.columns(), slice(0, end))
    outcome = prequential(predictor_of(ticks.schema, changed), columns, 1)
    error = (outcome.value - outcome.point)[first:end] / ticks.value[:scaling].std(axis=0)
    return scores.mean_squared(error)


def median_skill(name: str, changed: dict[str, Any]) -> float:
    """Median skill over persistence of a stream's instruments and targets, in %."""
    ticks = forecast_sets.STREAMS[name]()
    outcome = prequential(predictor_of(ticks.schema, changed), ticks.columns(), ticks.slots)
    kept = outcome.scored
    error, naive = (outcome.value[kept] - f[kept] for f in (outcome.point, outcome.naive))
    each = scores.skills(error, naive, outcome.slot[kept], ticks.slots)
    return 100.0 * float(np.nanmedian(each))


OTHERS: dict[str, Callable[[dict[str, Any]], float]] = {
    "WTH": lambda changed: online_mse("WTH", changed),
    "ETTm1": lambda changed: online_mse("ETTm1", changed),
    "la_traffic": lambda changed: median_skill("la_traffic", changed),
    "turbofan": lambda changed: median_skill("turbofan", changed),
    "oil_wells": lambda changed: median_skill("oil_wells", changed),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[], choices=VARIANTS, metavar="VARIANT")
    only = parser.parse_args().only
    results: dict[str, dict[str, float]] = {}
    runs: list[dict[str, Floats]] = []
    for name in [AS_IT_IS, *only] if only else list(VARIANTS):
        runs.append(m4_runs(VARIANTS[name]))
        others = {other: score(VARIANTS[name]) for other, score in OTHERS.items()}
        results[name] = m4_scores(runs[-1]) | others
    averaged = {
        left: np.exp(np.mean([np.log(run[left]) for run in runs], axis=0)) for left in M4_LEFT
    }
    results["mean of all of these"] = m4_scores(averaged)
    show(
        "One rule changed: OWA of M4, MSE of B1, median skill of sensors in %",
        ["variant", *M4_LEFT, *OTHERS],
        [[name, *_cells(found)] for name, found in results.items()],
    )
    write("ablation", results)


def _cells(found: dict[str, float]) -> list[str]:
    digits = dict.fromkeys(M4_LEFT, 3) | {"WTH": 4, "ETTm1": 4}
    return [
        f"{found[name]:.{digits.get(name, 2)}f}" if name in found else ""
        for name in (*M4_LEFT, *OTHERS)
    ]


if __name__ == "__main__":
    main()
