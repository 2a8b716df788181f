"""B1: online one-step forecasts of multivariate series, beside the published and the usual ones.

Protocol of FSNet, OneNet and LSTD: one row at a time, predict, score, then learn; values are
z-scored with the first rows; the error is the mean over rows and variables. Only one step ahead is
comparable: published figures for 24 and 48 steps train on labels from the future. B4, how honest
the intervals of the same runs are, is forecast_intervals.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import forecast_intervals, forecast_networks
from benchmarks.forecast_errors import errors, less, others, scaled
from benchmarks.forecast_sets import Ticks, ett, exchange, wth
from benchmarks.report import goal, show
from slotcast_models import scores
from slotcast_models.backtest import prequential
from slotcast_models.bundle import Bundle
from slotcast_models.columns import chosen
from slotcast_models.predictor import Predictor


@dataclass(frozen=True)
class Protocol:
    """Rows that scale, rows that are scored, and what others reached."""

    load: Callable[[], Ticks]
    rows: Callable[[int], tuple[int, int, int]]
    """Rows in all -> rows that scale, first scored row, end."""
    published: float | None
    goal: float | None
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
    "ETTh2": Protocol(lambda: ett("ETTh2"), _ett, 0.362, 0.313, 168, 2.09),
    "ETTm1": Protocol(lambda: ett("ETTm1"), _ett, 0.081, 0.0713, 672, 1.07),
    "WTH": Protocol(wth, _quarter, 0.153, 0.1445, 168, 1.24),
    "Exchange": Protocol(exchange, _quarter, 0.013, 0.00892, 5),
    "ETTh1-unseen": Protocol(lambda: ett("ETTh1"), _unseen, None, None, 168),
    "ETTh2-unseen": Protocol(lambda: ett("ETTh2"), _unseen, None, None, 168),
    "ETTm1-unseen": Protocol(lambda: ett("ETTm1"), _unseen, None, None, 672),
}


def run(name: str, bundle: Bundle, seeds: int = 0) -> dict[str, Any]:
    """All facts of one set; of so many seeds too what a network trained on its first rows adds."""
    protocol = PROTOCOLS[name]
    ticks = protocol.load()
    scaling, first, end = protocol.rows(len(ticks.value))
    bound, rules = bundle.bind(ticks.schema), bundle.manifest.rules
    columns = chosen(ticks.columns(), slice(0, end))
    outcome = prequential(Predictor(bound), columns, 1)
    silent = prequential(forecast_networks.without_network(bound), columns, 1)
    spread = ticks.value[:scaling].std(axis=0)
    scored, kept = slice(first, end), np.arange(end) >= first
    own, naive, other = (
        scaled(outcome, f, scored, spread) for f in (outcome.point, outcome.naive, silent.point)
    )
    networks = forecast_networks.by_mode(
        columns, ticks.schema, rules, scaling, seeds, lambda o: scaled(o, o.point, scored, spread)
    )
    return {
        "set": name,
        "rows": [first, end],
        "variables": [target.name for target in ticks.schema.targets],
        "readout_features": bound.layout.features,
        "published": protocol.published,
        "goal": protocol.goal,
        "goal_winkler": protocol.goal_winkler,
        **errors(outcome, scored, spread, protocol.block),
        "no_network": scores.mean_squared(other),
        "less_than_no_network": less(own, other, protocol.block),
        "baselines": others(ticks, outcome, scored, spread, first),
        "calibration": {
            **forecast_intervals.sharpness(outcome, scored, spread, rules.levels),
            **forecast_intervals.coverages(ticks.schema, outcome, kept, rules.levels),
        },
        "network": forecast_networks.facts(networks, own, naive, protocol.block),
    }


FIGURES = ("mse", "mae", "published", "persistence", "readout_alone", "no_network")
BASELINES = {
    "persistence": "persistence",
    "drift": "drift",
    "ewma": "EWMA",
    "ar1": "AR(1)",
    "seasonal naive": "seasonal naive",
}
COLUMNS = (
    *("set", "features", "MSE", "MAE", "published", "persistence", "readout alone", "no network"),
    "worst variable",
)
ADVANTAGES = (
    "What these have and the published have not: a week of memory, the calendar, a scale for every "
    "variable, and, where a network learns (SEEDS), four epochs over the first rows."
)


def show_tables(results: dict[str, dict[str, Any]]) -> None:
    """B1 and B4 for people."""
    if not results:
        return
    show(
        "B1: online, one step ahead, MSE of z-scored values",
        COLUMNS,
        [_row(r) for r in results.values()],
        ADVANTAGES,
        *(_verdict(r) for r in results.values() if r["goal"] is not None),
    )
    show(
        "B1: MSE of what anybody would try first, on the same rows",
        ["set", *BASELINES.values()],
        [_baseline_row(r) for r in results.values()],
    )
    forecast_networks.show_table(results)
    _show_differences(results)
    for r in results.values():
        _show_variables(r)
    forecast_intervals.show_table(
        "B4: intervals of 90 % in the same runs, coverage in %",
        {r["set"]: r["calibration"] for r in results.values()},
        {r["set"]: r["goal_winkler"] for r in results.values()},
    )


def _row(r: dict[str, Any]) -> list[str]:
    return [
        r["set"],
        str(r["readout_features"]),
        *(figure(r[key]) for key in FIGURES),
        f"{100 * min(r['skill_by_variable']):.1f} %",
    ]


def _baseline_row(r: dict[str, Any]) -> list[str]:
    known = {"persistence": r["persistence"], **r["baselines"]}
    return [r["set"], *(figure(known.get(name)) for name in BASELINES)]


def figure(value: float | None) -> str:
    """Four digits, as the literature has them; five where four say little."""
    if value is None:
        return ""
    return f"{value:.4f}" if abs(value) >= 0.02 else f"{value:.5f}"


def _verdict(r: dict[str, Any]) -> str:
    """The goal of a set as a line; the MSE counts as it is printed."""
    digits = max(len(f"{r['goal']}") - 2, 4)
    reached = round(r["mse"], digits) <= r["goal"]
    return goal(
        reached,
        f"{r['set']} {r['mse']:.{digits}f} (goal: <= {r['goal']}; persistence "
        f"{r['persistence']:.{digits}f})",
    )


OTHERS = ("persistence", "readout_alone", "no_network")


def _show_differences(results: dict[str, dict[str, Any]]) -> None:
    """How much lower one MSE is than another, in pairs of rows."""
    modes = forecast_networks.modes_of(results)
    title = "B1: how much lower the MSE is, in pairs of rows, with 95 % by blocks of a week"
    show(
        title,
        ["set", *(f"slotcast below {other.replace('_', ' ')}" for other in OTHERS)],
        [
            [r["set"], *(_pair(r[f"less_than_{other}"]) for other in OTHERS)]
            for r in results.values()
        ],
        "slotcast: with the bundle that is tried. Without a 0 in its interval a difference holds.",
    )
    if modes:
        show(
            title,
            ["set", *(f"{mode} below slotcast" for mode in modes)],
            [
                [r["set"], *(_pair(r["network"][mode]["less_than_slotcast"]) for mode in modes)]
                for r in results.values()
            ],
        )


def _pair(difference: dict[str, float]) -> str:
    return "{mean:.4f} [dim]({low:.4f} .. {high:.4f})[/]".format(**difference)


def _show_variables(r: dict[str, Any]) -> None:
    """Skill over persistence of every variable."""
    modes = forecast_networks.modes_of({r["set"]: r})
    skills = [
        r["skill_by_variable"],
        r["readout_alone_skill_by_variable"],
        *(r["network"][mode]["skill_by_variable"] for mode in modes),
    ]
    show(
        f"B1, {r['set']}: skill over persistence in %, by variable",
        ["variable", "MSE", "persistence", "slotcast", "readout alone", *modes],
        [
            [
                name,
                figure(r["mse_by_variable"][j]),
                figure(r["persistence_by_variable"][j]),
                *(f"{100 * skill[j]:.1f}" for skill in skills),
            ]
            for j, name in enumerate(r["variables"])
        ],
    )
