"""What each rule of the readout is worth, and what does not help where a goal is missed.

    make bench-ablation                       all variants
    make bench-ablation ONLY="one lag"        one of them, beside the rules as they are
    make bench-ablation ARGS="--part online"  the sets of B1 alone (or: m4, sensors)

One rule of the default bundle is changed at a time; no network corrects. M4 is shown on the two
days before its hold-outs, from which rules may be chosen, and on the hold-outs themselves. Sets of
B1 are shown on rows before the scored ones, from which rules may be chosen too; WTH, whose goal is
missed, also on the scored ones. What networks do for it: ablation_networks.py. docs/forecasting.md
says what follows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import forecast_classics, forecast_sets
from benchmarks.forecast_networks import without_network
from benchmarks.forecast_online import PROTOCOLS
from benchmarks.report import show, write
from slotcast_models import scores
from slotcast_models.backtest import prequential
from slotcast_models.bundle import Bundle
from slotcast_models.columns import chosen
from slotcast_models.predictor import Predictor
from slotcast_models.rules import FoldRules
from slotcast_models.schema import TickSchema

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
    "forgetting 0.9999": {"forgetting": 0.9999},
    "ridge 3": {"ridge": 3.0},
    "ridge 30": {"ridge": 30.0},
    "one lag": {"lags": 1},
    "12 lags": {"lags": 12},
    "24 lags": {"lags": 24},
    "no siblings": {"siblings": 0},
    "siblings at full weight": {"sibling_ridge": 1.0},
    "one harmonic": {"harmonics": 1},
    "8 harmonics": {"harmonics": 8},
    "five changes around a season ago": {"season_reach": 2},
    "level over 20 ticks": {"level_rate": 1.0 / 20.0},
    "level over 300 ticks": {"level_rate": 1.0 / 300.0},
    "scale over 2,000 ticks": {"scale_rate": 1.0 / 2000.0},
    "second stage from 0.9 (damped free run)": {"stage_prior": 0.9},
}
M4_LEFT = {"M4, 96 h before": 96, "M4, 144 h before": 144, "M4, 0 h": 0, "M4, 48 h before": 48}
"""Hours left out after the 48 that are forecast: hold-outs to choose by, then those of B3."""


def predictor_of(schema: TickSchema, changed: dict[str, Any]) -> Predictor:
    """The default bundle's rules for `schema`, but for those `changed`."""
    bundle = Bundle.load()
    rules = FoldRules(**(bundle.manifest.rules.model_dump() | changed))
    manifest = bundle.manifest.model_copy(update={"rules": rules})
    return without_network(replace(bundle, manifest=manifest).bind(schema))


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


def online_mse(name: str, changed: dict[str, Any]) -> tuple[float, float]:
    """MSE of B1 on the rows before the scored ones, but for a quarter of them, and on these."""
    protocol = PROTOCOLS[name]
    ticks = protocol.load()
    scaling, first, end = protocol.rows(len(ticks.value))
    columns = chosen(ticks.columns(), slice(0, end))
    outcome = prequential(predictor_of(ticks.schema, changed), columns, 1)
    error = (outcome.value - outcome.point) / ticks.value[:scaling].std(axis=0)
    return scores.mean_squared(error[first // 4 : first]), scores.mean_squared(error[first:end])


def online_scores(changed: dict[str, Any]) -> dict[str, float]:
    """MSE by set of B1, on the rows to choose by; of WTH on the scored ones too."""
    found = {}
    for column, name in ONLINE.items():
        found[f"{column}, before"], scored = online_mse(name, changed)
        if column == "WTH":
            found["WTH, scored"] = scored
    return found


def median_skill(name: str, changed: dict[str, Any]) -> float:
    """Median skill over persistence of a stream's instruments and targets, in %."""
    ticks = forecast_sets.STREAMS[name]()
    outcome = prequential(predictor_of(ticks.schema, changed), ticks.columns(), ticks.slots)
    kept = outcome.scored
    error, naive = (outcome.value[kept] - f[kept] for f in (outcome.point, outcome.naive))
    each = scores.skills(error, naive, outcome.slot[kept], ticks.slots)
    return 100.0 * float(np.nanmedian(each))


ONLINE = {"WTH": "WTH", "ETTh1": "ETTh1-unseen", "ETTh2": "ETTh2", "ETTm1": "ETTm1"}
SENSORS = ("la_traffic", "turbofan", "oil_wells")
PARTS: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, float]], int]] = {
    "online": ("MSE of B1", online_scores, 4),
    "sensors": (
        "median skill of sensors in %",
        lambda changed: {name: median_skill(name, changed) for name in SENSORS},
        2,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", default=[], choices=VARIANTS, metavar="VARIANT")
    parser.add_argument("--part", action="append", default=[], choices=["m4", *PARTS])
    options = parser.parse_args()
    names = [AS_IT_IS, *options.only] if options.only else list(VARIANTS)
    results: dict[str, Any] = {}
    for part in options.part or ["m4", *PARTS]:
        if part == "m4":
            results[part] = m4_table(names)
        else:
            title, judge, digits = PARTS[part]
            results[part] = {name: judge(VARIANTS[name]) for name in names}
            _show(title, results[part], digits)
    write("ablation", results)


def m4_table(names: list[str]) -> dict[str, dict[str, float]]:
    """OWA of the variants, and of the mean of all their forecasts."""
    runs = {name: m4_runs(VARIANTS[name]) for name in names}
    found = {name: m4_scores(run) for name, run in runs.items()}
    averaged = {
        left: np.exp(np.mean([np.log(run[left]) for run in runs.values()], axis=0))
        for left in M4_LEFT
    }
    found["mean of all of these"] = m4_scores(averaged)
    _show("OWA of M4", found, 3)
    return found


def _show(title: str, found: dict[str, dict[str, float]], digits: int) -> None:
    columns = list(found[AS_IT_IS])
    show(
        f"One rule changed: {title}",
        ["variant", *columns],
        [
            [name, *(f"{one[column]:.{digits}f}" for column in columns)]
            for name, one in found.items()
        ],
    )


if __name__ == "__main__":
    main()
