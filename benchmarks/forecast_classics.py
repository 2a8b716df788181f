"""B2 and B3: airline passengers on the tutorial's test points, and M4-Hourly 48 hours ahead."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.forecast_networks import without_network
from benchmarks.forecast_sets import HOUR_MS, M4_SCHEMA, airline, m4_hourly
from benchmarks.report import goal, show
from slotcast_models import baselines, scores
from slotcast_models.backtest import columns_of, prequential
from slotcast_models.bundle import Bundle
from slotcast_models.columns import FROZEN
from slotcast_models.predictor import Predictor

Floats = NDArray[np.float64]
KNOWN, FIRST, END = 96, 97, 143
"""The tutorial trains on 96 months; its data set of look_back 1 leaves 46 test points."""
YEAR = 12
TUTORIAL = (47.53, 58.03, 58.88, 52.23, 56.35)
DOCUMENTED = (0.3, 0.1, 0.6)
"""Constants of Holt-Winters in the example of river's documentation, which is this very series."""
STEPS, DAY = 48, 24
HOLD_OUTS = {"last 48 hours": (0, 0.40), "48 hours before": (48, 0.375)}
BEST_ENTRANT, WINNER = 0.410, 0.440


def airline_table(bundle: Bundle) -> dict[str, Any]:
    """B2: RMSE in thousands of passengers."""
    ticks = airline()
    predictor, x = Predictor(bundle.bind(ticks.schema)), ticks.value[:, 0]
    online = prequential(predictor, ticks.columns(), 1)
    silent = prequential(without_network(bundle.bind(ticks.schema)), ticks.columns(), 1)
    columns = ticks.columns()
    columns.kind[KNOWN:] = FROZEN
    frozen = prequential(predictor, columns, 1)
    seasonal = baselines.seasonal_naive(x, YEAR)
    forecasts = {
        "slotcast, online": online.point[:, 0],
        "slotcast, frozen after 96 months": frozen.point[:, 0],
        "without a network": silent.point[:, 0],
        "readout alone": online.readout[:, 0],
        "Holt-Winters, constants of the first 96": baselines.best_holt_winters(x, YEAR, KNOWN),
        "Holt-Winters, constants chosen with the test months in sight": river_holt_winters(
            x, YEAR, *DOCUMENTED
        ),
        "seasonal naive": seasonal,
        "persistence": baselines.persistence(x),
        "drift": baselines.drift(x),
        "AR(1)": baselines.ar1(x),
        "EWMA": baselines.best_ewma(x, KNOWN),
    }
    scored = slice(FIRST, END)
    errors = {name: x[scored] - forecast[scored] for name, forecast in forecasts.items()}
    facts = {
        name: {"rmse": scores.root_mean_squared(e), "range": scores.bootstrap_rmse(e)}
        for name, e in errors.items()
    }
    reached = facts["slotcast, online"]["rmse"]
    show(
        "B2: airline passengers, 46 test months, RMSE in thousands",
        ["forecast", "RMSE", "95 % of resampled months"],
        [[n, f"{f['rmse']:.2f}", "{:.1f} .. {:.1f}".format(*f["range"])] for n, f in facts.items()],
        f"Networks of the tutorial: {', '.join(map(str, TUTORIAL))}. The second Holt-Winters is "
        "that of river's documentation: alpha 0.3, beta 0.1, gamma 0.6.",
        goal(reached <= 14.5, f"{reached:.2f} online (goal: <= 14.5)"),
    )
    return {**facts, "readout_features": predictor.layout.features}


def river_holt_winters(x: Floats, season: int, alpha: float, beta: float, gamma: float) -> Floats:
    """Holt-Winters, multiplicative, as river has it: started on the first season, and a
    season's index learns from level and trend as they were before.
    """
    level, trend = x[:season].mean(), np.diff(x[:season]).mean()
    index, found = list(x[:season] / level), x.copy()
    for i in range(season, len(x)):
        at, expected, before = i % season, level + trend, level
        found[i] = expected * index[at]
        level = alpha * x[i] / index[at] + (1.0 - alpha) * expected
        trend = beta * (level - before) + (1.0 - beta) * trend
        index[at] = gamma * x[i] / expected + (1.0 - gamma) * index[at]
    return found


def m4_table(bundle: Bundle, file: Path | None) -> dict[str, Any]:
    """B3: OWA on two hold-outs inside the given part; with `file`, the 48 hours after it."""
    series, predictor = m4_hourly(), Predictor(bundle.bind(M4_SCHEMA))
    facts: dict[str, Any] = {"readout_features": predictor.layout.features}
    for name, (left, _) in HOLD_OUTS.items():
        given = [x[: len(x) - left] for x in series.values()]
        histories, actual = [x[:-STEPS] for x in given], np.array([x[-STEPS:] for x in given])
        facts[name] = {
            who: overall(histories, actual, forecast)
            for who, forecast in {
                "slotcast": ahead(predictor, histories),
                "seasonal naive": np.array([np.tile(h[-DAY:], STEPS // DAY) for h in histories]),
                "persistence": np.array([np.full(STEPS, h[-1]) for h in histories]),
            }.items()
        }
    show(
        "B3: M4-Hourly, 414 series, free run of 48 hours, OWA (Naive2 = 1)",
        ["forecast", *HOLD_OUTS],
        [
            [who, *(f"{facts[name][who]:.3f}" for name in HOLD_OUTS)]
            for who in ("slotcast", "seasonal naive", "persistence")
        ],
        f"On the official 48 hours: best entrant {BEST_ENTRANT}, winner {WINNER}, seasonal naive "
        "0.627, the organisers' Keras RNN 1.036.",
        *(
            goal(
                facts[name]["slotcast"] <= most,
                f"{name}: {facts[name]['slotcast']:.3f} (goal: <= {most})",
            )
            for name, (_, most) in HOLD_OUTS.items()
        ),
    )
    if file is not None:
        write_forecasts(file, list(series), ahead(predictor, list(series.values())))
    return facts


def ahead(predictor: Predictor, histories: list[Floats]) -> Floats:
    """[series, STEPS]: one online pass over all histories, then a free run of each."""
    lengths = [len(h) for h in histories]
    slot = np.repeat(np.arange(len(histories)), lengths)
    hours = np.concatenate([np.arange(n) for n in lengths])
    order = np.lexsort((slot, hours))
    time_ns = hours * HOUR_MS * 1_000_000
    value = np.concatenate(histories)
    ticks = columns_of(slot[order], time_ns[order], value[order])
    rows = prequential(predictor, ticks, len(histories)).rows
    runs = [predictor.free_run(rows[i : i + 1], STEPS)[0][:, 0] for i in range(len(histories))]
    return np.array(runs)


def overall(histories: list[Floats], actual: Floats, forecast: Floats) -> float:
    """OWA of the forecasts [series, STEPS]: mean of sMAPE and MASE, each over that of Naive2."""
    naive = np.array([baselines.naive2(h, DAY, STEPS) for h in histories])
    parts = []
    for found in (forecast, naive):
        pairs = list(zip(histories, actual, found, strict=True))
        parts.append(np.array([scores.smape(y, f) for _, y, f in pairs]))
        parts.append(np.array([scores.mase(y - f, h, DAY) for h, y, f in pairs]))
    return scores.owa(*parts)


def write_forecasts(file: Path, names: list[str], forecasts: Floats) -> None:
    """A line per series: its name, then 48 values."""
    with file.open("w", newline="") as out:
        lines = csv.writer(out)
        lines.writerow(["id", *(f"F{h + 1}" for h in range(STEPS))])
        for name, row in zip(names, forecasts.tolist(), strict=True):
            lines.writerow([name, *row])
    print(f"wrote {file}: the {STEPS} hours after the given part of {len(names)} series")
