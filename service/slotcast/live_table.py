"""The terminal's view of a run: a table of the most active instruments, and a summary."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from slotcast.feed import Feed
from slotcast.views import InstrumentView, Readings, TargetView

ROWS = 14


def _number(value: float) -> str:
    return f"{value:,.4f}" if abs(value) < 1e6 else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def live_table(readings: Readings, feed: Feed) -> Group:
    """Forecasts, actuals and skill of the instruments with most ticks."""
    summary = readings.summary()
    shown = readings.instruments(limit=100_000).instruments
    busiest = sorted(shown, key=lambda view: -view.ticks)[:ROWS]
    table = Table(expand=False, title=None)
    for column in ("instrument", "target", "ticks", "actual", "expected", "next", "90 % interval"):
        table.add_column(column, justify="left" if column in ("instrument", "target") else "right")
    table.add_column("by")
    table.add_column("skill", justify="right")
    table.add_column("inside", justify="right")
    for view in busiest:
        for target in view.targets:
            table.add_row(*_cells(view, target))
    goal = f" of {feed.total:,}" if feed.total is not None else ""
    line = (
        f"fed {feed.fed:,}{goal}   forecasts {summary.forecasts:,}   rejects {summary.rejects:,}   "
        f"lag {summary.lag_ticks:,}   instruments {len(shown):,}   "
        f"median skill {_share(summary.skill)}   inside 90 % {_share(summary.coverage)}"
    )
    return Group(table, Text(line))


def _cells(view: InstrumentView, target: TargetView) -> tuple[str, ...]:
    expected = "-" if target.expected is None else _number(target.expected)
    return (
        view.instrument,
        target.name,
        f"{view.ticks:,}",
        _number(target.value),
        expected,
        _number(target.forecast),
        f"{_number(target.lower)} .. {_number(target.upper)}",
        target.source,
        _share(target.skill),
        _share(target.coverage),
    )


def summary_lines(readings: Readings, feed: Feed, seconds: float, directory: Path) -> list[str]:
    """What the run came to, and how to go on."""
    summary = readings.summary()
    rate = summary.forecasts / seconds if seconds else 0.0
    going = "continued from the last run" if feed.resumed else "began anew"
    return [
        f"{summary.ticks:,} ticks in, {summary.forecasts:,} forecasts out, {summary.rejects:,} "
        f"dead letters, {summary.repeats:,} repeats in {seconds:.1f} s ({rate:,.0f}/s); {going}",
        f"median skill {_share(summary.skill)} over instruments with 100 scored ticks and more, "
        f"{_share(summary.coverage)} of the actuals inside the 90 % interval",
        f"everything is in {directory}: start again to go on, delete it to begin anew",
    ]
