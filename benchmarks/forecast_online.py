"""B1 and B4: online one-step forecasts of multivariate series, and how honest their intervals are.

Protocol of FSNet, OneNet and LSTD: one row at a time, predict, score, then learn; values are
z-scored with the first rows; the error is the mean over rows and variables. Only one step ahead is
comparable: published figures for 24 and 48 steps train on labels from the future.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import forecast_networks
from benchmarks.forecast_sets import HOUR_MS, Ticks, ett, exchange, wth
from benchmarks.report import goal, show
from slotcast_models import baselines, scores
from slotcast_models.backtest import Outcome, prequential
from slotcast_models.bundle import Bundle
from slotcast_models.columns import chosen
from slotcast_models.predictor import Predictor

Floats = NDArray[np.float64]
LEVEL = 0.9


@dataclass(frozen=True)
class Protocol:
    """Rows that scale, rows that are scored, and what others reached."""

    load: Callable[[], Ticks]
    rows: Callable[[int], tuple[int, int, int]]
    """Rows in all -> rows that scale, first scored row, end."""
    published: float
    goal: float
    block: int
    """Rows of a week, or of what stands in for it."""
    goal_winkler: float | None = None


def _ett(_rows: int) -> tuple[int, int, int]:
    return 2880, 3600, 14_400


def _quarter(rows: int) -> tuple[int, int, int]:
    return int(rows * 0.2), rows - int(rows * 0.75), rows


def _unseen(rows: int) -> tuple[int, int, int]:
    return 2880, 14_400, rows


PROTOCOLS = {
    "ETTh2": Protocol(lambda: ett("ETTh2"), _ett, 0.362, 0.3210, 168, 2.09),
    "ETTm1": Protocol(lambda: ett("ETTm1"), _ett, 0.081, 0.0746, 672, 1.07),
    "WTH": Protocol(wth, _quarter, 0.153, 0.1487, 168, 1.24),
    "Exchange": Protocol(exchange, _quarter, 0.013, 0.00892, 5),
    "ETTh1-unseen": Protocol(lambda: ett("ETTh1"), _unseen, np.nan, np.nan, 168),
    "ETTh2-unseen": Protocol(lambda: ett("ETTh2"), _unseen, np.nan, np.nan, 168),
    "ETTm1-unseen": Protocol(lambda: ett("ETTm1"), _unseen, np.nan, np.nan, 672),
}


def run(name: str, bundle: Bundle, seeds: int = 0) -> dict[str, Any]:
    """All facts of one set; of so many seeds too what a network trained on its first rows adds."""
    protocol = PROTOCOLS[name]
    ticks = protocol.load()
    scaling, first, end = protocol.rows(len(ticks.value))
    predictor, rules = Predictor(bundle.bind(ticks.schema)), bundle.manifest.rules
    columns = chosen(ticks.columns(), slice(0, end))
    outcome = prequential(predictor, columns, 1)
    spread = ticks.value[:scaling].std(axis=0)
    scored = slice(first, end)

    def facts(found: Outcome) -> dict[str, Any]:
        return errors(found, scored, spread, protocol.block)

    return {
        "set": name,
        "rows": [first, end],
        "readout_features": predictor.layout.features,
        "published": protocol.published,
        "goal": protocol.goal,
        "goal_winkler": protocol.goal_winkler,
        **facts(outcome),
        "baselines": others(ticks, outcome, scored, spread, first),
        "calibration": calibration(ticks, outcome, scored, spread, rules.levels),
        "network": forecast_networks.by_mode(columns, ticks.schema, rules, scaling, seeds, facts),
    }


def errors(outcome: Outcome, scored: slice, spread: Floats, block: int) -> dict[str, Any]:
    """MSE, MAE, skill by variable, and the paired difference to persistence."""

    def scaled(forecast: Floats) -> Floats:
        return np.asarray((outcome.value[scored] - forecast[scored]) / spread)

    error, naive = scaled(outcome.point), scaled(outcome.naive)
    squared, naive_squared = (np.square(e).mean(axis=1) for e in (error, naive))
    readout = np.square(scaled(outcome.readout)).mean(axis=1)
    alone = np.isfinite(outcome.network[scored]).all()
    return {
        "mse": scores.mean_squared(error),
        "mae": scores.mean_absolute(error),
        "persistence": scores.mean_squared(naive),
        "readout_alone": float(readout.mean()),
        **({"network_alone": scores.mean_squared(scaled(outcome.network))} if alone else {}),
        "less_than_persistence": scores.paired(naive_squared, squared, block)._asdict(),
        "less_than_readout_alone": scores.paired(readout, squared, block)._asdict(),
        "skill_by_variable": [scores.skill(error[:, j], naive[:, j]) for j in range(len(spread))],
    }


def others(
    ticks: Ticks, outcome: Outcome, scored: slice, spread: Floats, known: int
) -> dict[str, float]:
    """MSE of the baselines on the same rows."""
    seasons = ticks.schema.seasons
    candidates: dict[str, baselines.Baseline] = {
        "drift": baselines.drift,
        "ewma": lambda x: baselines.best_ewma(x, known),
        "ar1": baselines.ar1,
    }
    if seasons:
        candidates["seasonal naive"] = lambda x: baselines.seasonal_naive(x, seasons[0])
    found = {}
    for name, baseline in candidates.items():
        forecast = baselines.by_instrument(baseline, outcome.slot, outcome.value)
        error = (outcome.value[scored] - forecast[scored]) / spread
        found[name] = scores.mean_squared(error)
    return found


def calibration(
    ticks: Ticks, outcome: Outcome, scored: slice, spread: Floats, levels: tuple[float, ...]
) -> dict[str, Any]:
    """B4: Winkler score and coverage, in all and by hour, variable and volatility."""
    at = levels.index(LEVEL)
    value, lower, upper = (
        part[scored] / spread
        for part in (outcome.value, outcome.lower[..., at], outcome.upper[..., at])
    )
    within = (lower <= value) & (value <= upper)
    rows, width = within.shape
    hour = ticks.time_ns[scored] // (HOUR_MS * 1_000_000) % 24
    by_hour = [float(within[hour == h].mean()) for h in range(24) if (hour == h).any()]
    by_variable = within.mean(axis=0)
    error = 2.0 * np.sqrt(LEVEL * (1.0 - LEVEL) / rows)
    usual = np.abs(outcome.value - outcome.naive)[scored]
    recent = np.array([np.convolve(u, np.ones(24) / 24.0)[: len(u)] for u in usual.T]).T
    calm, wild = np.quantile(np.roll(recent, 1, axis=0), [1 / 3, 2 / 3], axis=0)
    before = np.roll(recent, 1, axis=0)
    missed = 1.0 - within
    return {
        "winkler": scores.winkler(value, lower, upper, LEVEL),
        "coverage": float(within.mean()),
        "coverage_by_level": {
            str(level): scores.coverage(
                outcome.value[scored], outcome.lower[scored, :, i], outcome.upper[scored, :, i]
            )
            for i, level in enumerate(levels)
        },
        "coverage_by_hour": [min(by_hour), max(by_hour)],
        "variables_within_two_errors": float((np.abs(by_variable - LEVEL) <= error).mean()),
        "coverage_by_variable": by_variable.tolist(),
        "coverage_by_volatility": [
            float(within[part].mean())
            for part in (before <= calm, (before > calm) & (before <= wild), before > wild)
        ],
        "correlation_of_misses": [
            float(np.corrcoef(missed[1:, j], missed[:-1, j])[0, 1]) for j in range(width)
        ],
        "crps": scores.crps(
            value,
            outcome.lower[scored] / spread[:, None],
            outcome.upper[scored] / spread[:, None],
            np.array(levels),
        ),
    }


BASELINES = ("drift", "ewma", "ar1", "seasonal naive")
ONLINE_COLUMNS = (
    *("set", "MSE", "MAE", "published", "persistence", "readout alone"),
    *BASELINES,
    *("better than persistence by", "worst variable", "features"),
)
CALIBRATION_COLUMNS = (
    *("set", "Winkler", "50", "80", "90", "95", "99", "by hour", "variables right"),
    *("calm, usual, wild", "misses' correlation"),
)


def show_tables(results: dict[str, dict[str, Any]]) -> None:
    """B1 and B4 for people."""
    if not results:
        return
    rows, notes = [], []
    for r in results.values():
        gain = r["less_than_persistence"]
        rows.append(
            [
                r["set"],
                *(f"{r[k]:.4f}" for k in ("mse", "mae", "published", "persistence")),
                f"{r['readout_alone']:.4f}",
                *(f"{r['baselines'].get(k, np.nan):.3f}" for k in BASELINES),
                f"{gain['mean']:.4f} [dim]({gain['low']:.4f} .. {gain['high']:.4f})[/]",
                f"{100 * min(r['skill_by_variable']):.1f} %",
                str(r["readout_features"]),
            ]
        )
        if not np.isnan(r["goal"]):
            digits = max(len(f"{r['goal']}") - 2, 4)
            reached = round(r["mse"], digits) <= r["goal"]
            notes.append(goal(reached, f"{r['set']} {r['mse']:.5f} (goal: <= {r['goal']})"))
    show(
        "B1: online, one step ahead, MSE of z-scored values",
        ONLINE_COLUMNS,
        rows,
        *notes,
    )
    forecast_networks.show_table(results)
    _show_calibration(results)


def _show_calibration(results: dict[str, dict[str, Any]]) -> None:
    rows, notes = [], []
    for r in results.values():
        c = r["calibration"]
        low, high = c["coverage_by_hour"]
        rows.append(
            [
                r["set"],
                f"{c['winkler']:.3f}",
                *(f"{100 * share:.1f}" for share in c["coverage_by_level"].values()),
                f"{100 * low:.1f} .. {100 * high:.1f}",
                f"{100 * c['variables_within_two_errors']:.0f} %",
                " ".join(f"{100 * share:.1f}" for share in c["coverage_by_volatility"]),
                f"{np.mean(c['correlation_of_misses']):.3f}",
            ]
        )
        wanted = r["goal_winkler"]
        if wanted is not None:
            reached = round(c["winkler"], 2) <= wanted and low >= 0.85 and high <= 0.95
            text = f"{r['set']} (goal: Winkler <= {wanted}, every hour within 85 .. 95 %)"
            notes.append(goal(reached, text))
    show(
        "B4: intervals of 90 %, coverage in %",
        CALIBRATION_COLUMNS,
        rows,
        *notes,
    )
