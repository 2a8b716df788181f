"""Single instruments, where they have series of their own."""

from __future__ import annotations

from scripts.dashboards.panels import (
    GREEN,
    RED,
    YELLOW,
    band,
    chooser,
    dashboard,
    lines,
    note,
    row,
    stat,
    table,
)

HERE = '{$W,instrument=~"$instrument",target=~"$target"}'
ABOUT = (
    "Instruments have series only where `[metrics] instruments` asks for them: the first in name "
    "order. All others are on the live page of each worker."
)


def last(name: str) -> str:
    """The series of one field."""
    return f"max by (instrument, target) (slotcast_instrument_{name}{HERE})"


NOW = [
    row("Now"),
    stat(
        "Shown", "count(count by (instrument) (slotcast_instrument_ticks{$W}))", "short",
        "Instruments with series of their own.",
    ),
    stat(
        "Left out", "sum(slotcast_instruments_dropped{$W})", "short",
        "Instruments beyond metrics.instruments: they are forecast, but have no series.",
    ),
    stat(
        "Value", f"avg(slotcast_instrument_value{HERE})", "none", "Of the last tick."
    ),
    stat("Forecast", f"avg(slotcast_instrument_forecast{HERE})", "none", "Of the next tick."),
    stat(
        "Skill", f"avg(slotcast_instrument_skill{HERE})", "percentunit",
        "1 - squared error / that of persistence, over the whole memory.",
        [(None, RED), (-0.02, YELLOW), (0, GREEN)],
    ),
    stat(
        "Ticks in the 90 % interval", f"avg(slotcast_instrument_coverage{HERE})", "percentunit",
        "Over the whole memory; nine in ten is right.",
        [(None, RED), (0.86, GREEN), (0.94, YELLOW)], min=0, max=1,
    ),
    stat(
        "Memory", 'min(slotcast_instrument_ticks{$W,instrument=~"$instrument"})', "short",
        "Ticks that the youngest memory holds.", min=0,
    ),
    note(ABOUT, (3, 4)),
]  # fmt: skip
CHOSEN = [
    row("Chosen"),
    lines(
        "Forecast and what came",
        {
            "value": f"avg(slotcast_instrument_value{HERE})",
            "forecast of it": f"avg(slotcast_instrument_expected{HERE})",
            "forecast of the next": f"avg(slotcast_instrument_forecast{HERE})",
            "lower end": f"avg(slotcast_instrument_lower{HERE})",
            "upper end": f"avg(slotcast_instrument_upper{HERE})",
        },
        "none",
        "As of each scrape, with the 90 % interval of the next tick. Choose one instrument and one "
        "target.",
        (24, 10), overrides=band("lower end", "upper end"),
    ),
]  # fmt: skip
ALL = [
    row("Side by side"),
    lines(
        "Skill", {"{{instrument}} {{target}}": last("skill")}, "percentunit",
        "Over whole memories, so it settles. 0 is as good as persistence.", (12, 8),
    ),
    lines(
        "Coverage", {"{{instrument}} {{target}}": last("coverage")}, "percentunit",
        "Share of ticks in the 90 % interval, over whole memories.", (12, 8), min=0, max=1,
    ),
    table(
        "Instruments",
        {
            name: last(name)
            for name in ("value", "expected", "forecast", "lower", "upper", "skill", "coverage")
        },
        "The last scrape. expected is what had been forecast for value.",
        {"instrument": "instrument", "target": "target"},
        (24, 12), {"skill": "percentunit", "coverage": "percentunit"},
    ),
]  # fmt: skip

DASHBOARD = dashboard(
    "slotcast-instruments",
    "slotcast: instruments",
    "Forecast and actual value of single instruments, where they have series of their own.",
    [*NOW, *CHOSEN, *ALL],
    chooser("instrument", "Instrument", "label_values(slotcast_instrument_value{$W}, instrument)"),
    chooser("target", "Target", "label_values(slotcast_instrument_value{$W}, target)"),
)
