"""Pictures of a backtest, as PNG. Needs matplotlib; knows no file and no display.

Each function draws one picture and returns its bytes. What is not a number is not drawn.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotcast.backtest.intervals import interval_level
from slotcast.backtest.run import OWN, Backtest
from slotcast_models.baselines import rows_by_instrument

SHOWN_SERIES, SHOWN_TICKS, SHOWN_BARS = 4, 150, 40
LOWEST_SKILL = -1.0
"""Skill below this is off the picture: one bad contestant must not flatten the others."""
NEEDS = "needs matplotlib, which is not installed: run  pip install 'slotcast[plots]'"


def pictures(found: Backtest, told: dict[str, Any]) -> dict[str, bytes]:
    """Name -> PNG, of everything that `told` (the facts of the backtest) has something about."""
    drawn = {
        "forecast": forecast_picture(found),
        "rolling_skill": rolling_picture(told["rolling_skill"]),
        "coverage": coverage_picture(told["forecasts"]),
        "errors": error_picture(told["series"]),
    }
    if "free_run" in told:
        drawn["free_run"] = ahead_picture(told["free_run"])
    return drawn


def forecast_picture(found: Backtest) -> bytes:
    """The last ticks of the first target of a few instruments, in their intervals."""
    rows = np.flatnonzero(found.scored)
    own = [rows[part] for part in rows_by_instrument(found.outcome.slot[rows])]
    spaced = np.linspace(0, len(own), min(SHOWN_SERIES, len(own)), endpoint=False)
    figure = _figure(2.4 * len(spaced))
    for i, at in enumerate(spaced.astype(int)):
        _draw_series(found, figure.add_subplot(len(spaced), 1, i + 1), own[at][-SHOWN_TICKS:], i)
    return _png(figure)


def _draw_series(found: Backtest, axes: Any, kept: NDArray[np.int64], place: int) -> None:
    ours, outcome = found.forecasts[OWN], found.outcome
    lower, upper = ours.bounds()
    level = interval_level(found.levels)
    x = np.arange(len(kept))
    axes.fill_between(
        x, lower[kept, 0], upper[kept, 0], color="tab:blue", alpha=0.2, label=f"{100 * level:.0f} %"
    )
    axes.plot(x, ours.point[kept, 0], color="tab:blue", linewidth=1.2, label="forecast")
    axes.plot(x, outcome.value[kept, 0], "k.", markersize=3, label="actual")
    name = found.recorded.names[int(outcome.slot[kept[0]])]
    axes.set_title(f"{name}: {found.bundle.schema.targets[0].name}, last {len(kept)} scored ticks")
    if place == 0:
        axes.legend(loc="upper left", ncols=3, fontsize="small")


def rolling_picture(rolling: dict[str, Any]) -> bytes:
    """Skill over time, ours in front."""
    figure = _figure(4.2)
    axes = figure.add_subplot()
    for name, skill in rolling["skill"].items():
        width = 2.4 if name == OWN else 1.0
        shown = np.maximum(100 * np.array(skill, float), 100 * LOWEST_SKILL)
        axes.plot(rolling["ticks"], shown, linewidth=width, label=name, marker=".", markersize=3)
    axes.axhline(0.0, color="black", linewidth=0.8)
    axes.set(title="Skill over persistence", xlabel="tick", ylabel="%")
    axes.legend(fontsize="small", ncols=2)
    return _png(figure)


def coverage_picture(forecasts: dict[str, Any]) -> bytes:
    """Share of values within each interval, against its level."""
    figure = _figure(4.6)
    axes = figure.add_subplot()
    for name, one in forecasts.items():
        if "coverage_by_level" in one:
            levels = [100 * float(level) for level in one["coverage_by_level"]]
            shares = [100 * share for share in one["coverage_by_level"].values()]
            axes.plot(levels, shares, marker="o", label=name)
    axes.plot([0, 100], [0, 100], color="black", linewidth=0.8, linestyle="--", label="as promised")
    axes.set(title="Coverage by level", xlabel="level, %", ylabel="values within, %")
    axes.legend(fontsize="small")
    return _png(figure)


def error_picture(series: list[dict[str, Any]]) -> bytes:
    """MASE and skill of each series, the worst first; of many, the worst and the best."""
    half = SHOWN_BARS // 2
    shown = series if len(series) <= SHOWN_BARS else series[:half] + series[-half:]
    figure = _figure(1.6 + 0.22 * len(shown))
    names = [f"{one['instrument']} {one['target']}" for one in shown]
    scales = (("mase", 1.0, "MASE"), ("skill", 100.0, "skill over persistence, %"))
    for i, (field, factor, title) in enumerate(scales):
        axes = figure.add_subplot(1, 2, i + 1)
        width = [factor * one[field] for one in shown]
        axes.barh(np.arange(len(shown)), np.nan_to_num(width), color="tab:blue")
        axes.set_yticks(np.arange(len(shown)), names if i == 0 else [], fontsize="small")
        axes.axvline(0.0, color="black", linewidth=0.8)
        axes.invert_yaxis()
        axes.set_title(title)
    return _png(figure)


def ahead_picture(ahead: dict[str, Any]) -> bytes:
    """MAE by step of the free runs."""
    figure = _figure(4.2)
    axes = figure.add_subplot()
    for name, one in ahead["forecasts"].items():
        axes.plot(np.arange(1, ahead["steps"] + 1), one["mae_by_step"], marker=".", label=name)
    axes.set(title=f"MAE of {ahead['runs']:,} free runs", xlabel="steps ahead", ylabel="MAE")
    axes.set_ylim(bottom=0.0)
    axes.legend(fontsize="small")
    return _png(figure)


def _figure(height_inches: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(10.0, height_inches), layout="constrained")


def _png(figure: Any) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=110)
    return written.getvalue()
