"""What the forecasts are worth: lately, and over whole memories."""

from __future__ import annotations

from scripts.dashboards.panels import (
    GREEN,
    RED,
    YELLOW,
    dashboard,
    heatmap,
    lines,
    row,
    stat,
    window,
)

ERROR = "slotcast_scaled_error"


def mean_error(of: str, by: str = "") -> str:
    """Mean scaled error in the window, of forecast or persistence."""
    of = f'{{$W,of="{of}"}}[$window]'
    return f"sum{by}(rate({ERROR}_sum{of})) / sum{by}(rate({ERROR}_count{of}))"


def skill(by: str = "") -> str:
    """1 - mean error of the forecast / that of persistence, in the window."""
    ours, naive = (f'sum{by}(rate({ERROR}_sum{{$W,of="{of}"}}[$window]))' for of in OF)
    return f"1 - {ours} / {naive}"


def quantile(q: float) -> str:
    """A quantile of the scaled error of forecasts, in the window."""
    buckets = f'rate({ERROR}_bucket{{$W,of="forecast"}}[$window])'
    return f"histogram_quantile({q}, sum by (le) ({buckets}))"


def coverage(level: str = "") -> str:
    """Share of ticks inside their intervals, in the window."""
    chosen = f',level="{level}"' if level else ""
    inside = f"sum by (level) (rate(slotcast_covered_forecasts_total{{$W{chosen}}}[$window]))"
    return (
        f"{inside} / on () group_left () sum(rate(slotcast_scored_forecasts_total{{$W}}[$window]))"
    )


OF = ("forecast", "persistence")
NOW = [
    row("Now"),
    stat(
        "Skill", skill(), "percentunit",
        "In the window: 1 - mean scaled error of the forecasts / that of persistence, the forecast "
        "as now.",
        [(None, RED), (-0.02, YELLOW), (0, GREEN)],
    ),
    stat(
        "Skill of whole memories", "avg(slotcast_skill{$W})", "percentunit",
        "Median over instruments of 1 - squared error / that of persistence, mean over workers.",
        [(None, RED), (-0.02, YELLOW), (0, GREEN)],
    ),
    stat(
        "Ticks in the 90 % interval", coverage("0.9"), "percentunit",
        "In the window; nine in ten is right.",
        [(None, RED), (0.86, GREEN), (0.94, YELLOW)], min=0, max=1,
    ),
    stat(
        "Error, p90", quantile(0.9), "none",
        "In the window, in mean changes of the instrument: nine in ten were smaller.",
        decimals=2, min=0,
    ),
    stat(
        "By the model", "avg(slotcast_model_share{$W})", "percentunit",
        "Share of the present forecasts that are the model's; the others are persistence.",
        min=0, max=1,
    ),
    stat(
        "Scored", "sum(rate(slotcast_scored_forecasts_total{$W}[$R]))", "recps",
        "Forecasts whose tick has come, per target.", min=0,
    ),
    stat(
        "Instruments", "sum(slotcast_slots_used{$W}) + sum(slotcast_instruments_paged{$W})",
        "short",
        "With a memory, resident or paged out.", min=0,
    ),
    stat(
        "Memory age", 'min(slotcast_memory_age_ticks{$W,percentile="50"})', "short",
        "Ticks in the median memory, of the youngest worker.", min=0,
    ),
]  # fmt: skip
ERRORS = [
    row("Errors"),
    lines(
        "Skill", {"{{instance}}": skill(" by (instance) ")}, "percentunit",
        "In the window, by worker. 0 is as good as persistence.", (12, 8),
    ),
    lines(
        "Mean error", {of: mean_error(of) for of in OF}, "none",
        "In mean changes of the instrument: 1 is what persistence has over a whole memory.",
        (12, 8), min=0,
    ),
    lines(
        "Error quantiles",
        {f"p{q:g}": quantile(q / 100) for q in (50, 90, 99)},
        "none", "Of single forecasts, in mean changes of their instrument.", (12, 8), min=0,
    ),
    heatmap(
        "Errors", f'sum by (le) (increase({ERROR}_bucket{{$W,of="forecast"}}[$R]))', "none",
        "How many forecasts had which error, in mean changes of their instrument.", (12, 8),
    ),
    lines(
        "Skill of whole memories", {"{{instance}}": "slotcast_skill{$W}"}, "percentunit",
        "Median over instruments of 1 - squared error / that of persistence.", (12, 8),
    ),
    lines(
        "Relative error of whole memories",
        {"p{{percentile}}": "avg by (percentile) (slotcast_relative_error{$W})"}, "none",
        "Root mean squared error / that of persistence: percentiles over instruments.",
        (12, 8), min=0,
    ),
]  # fmt: skip
INTERVALS = [
    row("Intervals"),
    lines(
        "Coverage", {"{{level}}": coverage()}, "percentunit",
        "Share of ticks in the window that fell into their interval: each line belongs at its "
        "level.",
        (12, 8), min=0, max=1,
    ),
    lines(
        "Coverage of whole memories",
        {"{{level}}": "avg by (level) (slotcast_coverage{$W})"}, "percentunit",
        "The same over all ticks of the settled instruments, mean over workers.", (12, 8),
        min=0, max=1,
    ),
]  # fmt: skip
MEMORY = [
    row("Memory"),
    lines(
        "Age of memories",
        {"p{{percentile}}": "avg by (percentile) (slotcast_memory_age_ticks{$W})"}, "short",
        "Ticks that a memory holds: percentiles over instruments, mean over workers.",
        (12, 8), min=0,
    ),
    lines(
        "By the model", {"{{instance}}": "slotcast_model_share{$W}"}, "percentunit",
        "Share of the present forecasts that are the model's, not persistence.", (12, 8),
        min=0, max=1,
    ),
]  # fmt: skip

DASHBOARD = dashboard(
    "slotcast-forecasts",
    "slotcast: forecasts",
    "What the forecasts of all instruments are worth, lately and over whole memories.",
    [*NOW, *ERRORS, *INTERVALS, *MEMORY],
    window("15m", "1h", "6h", "1d"),
)
