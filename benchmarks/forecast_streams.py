"""B5: real tick streams of prices and of sensors, many instruments each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import forecast_intervals
from benchmarks.forecast_sets import STREAMS, Ticks
from benchmarks.report import goal, show
from slotcast_models import baselines, scores
from slotcast_models.backtest import prequential
from slotcast_models.bundle import Bundle
from slotcast_models.predictor import Predictor

Floats = NDArray[np.float64]
KNOWN_SHARE = 0.2
"""Share of a series on which the rate of the EWMA is chosen."""


def run(name: str, bundle: Bundle) -> dict[str, Any]:
    """All facts of one stream."""
    ticks = STREAMS[name]()
    predictor = Predictor(bundle.bind(ticks.schema))
    outcome = prequential(predictor, ticks.columns(), ticks.slots)
    kept = outcome.scored
    unit = outcome.naive[kept] if ticks.schema.kind == "price" else np.ones(1)
    value, slot = outcome.value[kept], outcome.slot[kept]
    forecasts = {"slotcast": outcome.point, "readout alone": outcome.readout}
    forecasts |= _baselines(ticks)
    naive = (value - outcome.naive[kept]) / unit
    facts: dict[str, Any] = {}
    for who, forecast in forecasts.items():
        error = (value - forecast[kept]) / unit
        facts[who] = _skills(error, naive, slot, ticks.slots)
    return {
        "set": name,
        "kind": ticks.schema.kind,
        "ticks": len(slot),
        "instruments": ticks.slots,
        "targets": len(ticks.schema.targets),
        "readout_features": predictor.layout.features,
        "skill": facts,
        "model_share": float(outcome.model[kept].mean()),
        "calibration": forecast_intervals.coverages(
            ticks.schema, outcome, kept, bundle.manifest.rules.levels
        ),
    }


def _baselines(ticks: Ticks) -> dict[str, Floats]:
    value, slot = ticks.value[:, : len(ticks.schema.targets)], ticks.slot
    named: dict[str, baselines.Baseline] = {
        "drift": baselines.drift,
        "ewma": lambda x: baselines.best_ewma(x, max(int(KNOWN_SHARE * len(x)), 2)),
        "ar1": baselines.ar1,
    }
    return {name: baselines.by_instrument(b, slot, value) for name, b in named.items()}


def _skills(error: Floats, naive: Floats, slot: NDArray[np.int64], slots: int) -> dict[str, float]:
    """Pooled over all ticks, and over instruments and targets."""
    each = scores.skills(error, naive, slot, slots).ravel()
    each = each[~np.isnan(each)]
    return {
        "pooled": scores.skill(error, naive),
        "median": float(np.median(each)),
        "worst": float(each.min()),
        "share_below_0": float((each < 0.0).mean()),
    }


def _reached(r: dict[str, Any]) -> tuple[bool, str]:
    """Whether the skill of a stream reaches its goal, and the figures beside the goal."""
    own = r["skill"]["slotcast"]
    pooled, median, worst, below = (100 * own[name] for name in MEASURES)
    if r["kind"] == "price":
        calibrated = forecast_intervals.calibrated(r["calibration"])
        reached = own["pooled"] >= -0.001 and own["share_below_0"] <= 0.1 and own["worst"] >= -0.01
        return reached and calibrated, (
            f"pooled {pooled:.2f} %, below 0 {below:.1f} %, worst {worst:.2f} %, intervals "
            f"{'' if calibrated else 'not '}calibrated (goal: pooled >= -0.1 %, at most 10 % "
            "below 0, none below -1 %, calibrated)"
        )
    best = max(r["skill"][who]["median"] for who in ("drift", "ewma", "ar1", "readout alone"))
    reached = own["median"] >= best and own["worst"] >= -0.03
    return reached, (
        f"median {median:.2f} %, worst {worst:.2f} % "
        f"(goal: median >= the best of the others, {100 * best:.2f} %; worst >= -3 %)"
    )


MEASURES = ("pooled", "median", "worst", "share_below_0")
COLUMNS = ("set", "ticks", "forecast", "pooled", "median", "worst", "below 0", "model published")


def show_table(results: dict[str, dict[str, Any]]) -> None:
    """B5 for people."""
    if not results:
        return
    show(
        "B5: skill over persistence in %, by instrument and target",
        COLUMNS,
        [row for r in results.values() for row in _rows(r)],
        "The skill of single quotes (fx_quotes, fx_mid) is mostly the bounce between two prices; "
        "fx_1s and fx_10s show what is left at a clock.",
        *(_verdict(r) for r in results.values()),
    )
    forecast_intervals.show_table(
        "B5: intervals of 90 % in the same runs, coverage in %",
        {r["set"]: r["calibration"] for r in results.values()},
        {},
    )


def _rows(r: dict[str, Any]) -> list[list[str]]:
    rows = []
    for who, skill in r["skill"].items():
        first = who == "slotcast"
        rows.append(
            [
                r["set"] if first else "",
                f"{r['ticks']:,}" if first else "",
                who,
                *(f"{100 * skill[measure]:.2f}" for measure in MEASURES),
                f"{100 * r['model_share']:.0f}" if first else "",
            ]
        )
    return rows


def _verdict(r: dict[str, Any]) -> str:
    reached, text = _reached(r)
    return goal(reached, f"{r['set']}: {text}")
