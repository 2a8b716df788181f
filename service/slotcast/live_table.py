"""The terminal's view of a run: a table of the most active instruments, and a summary."""

from __future__ import annotations

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from slotcast.feed import Feed
from slotcast.terminal import cell
from slotcast.views import InstrumentView, Readings, TargetView, Window

ROWS = 14


def number(value: float | None) -> str:
    """Six digits, or a dash."""
    return "-" if value is None else f"{value:.6g}"


def share(value: float | None) -> str:
    """Percent, or a dash."""
    return "-" if value is None else f"{value:.1%}"


def live_table(readings: Readings, feed: Feed) -> Group:
    """Forecasts, actuals and skill of the instruments with most ticks."""
    summary = readings.summary()
    page = readings.instruments(Window(sort="ticks", descending=True, limit=ROWS))
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("instrument", no_wrap=True)
    for column in ("ticks", "actual", "expected", "next", "90 % interval"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("by", no_wrap=True)
    table.add_column("skill", justify="right", no_wrap=True)
    for view in page.instruments:
        for target in view.targets:
            table.add_row(*_cells(view, target))
    goal = f" of {feed.total:,}" if feed.total is not None else ""
    counts = (
        f"fed {feed.fed:,}{goal} | forecasts {summary.forecasts:,} | rejects {summary.rejects:,} | "
        f"lag {summary.lag_ticks:,}"
    )
    quality = (
        f"{page.total:,} instruments | median skill {share(summary.skill)} | "
        f"inside 90 % interval {share(summary.coverage)}"
    )
    return Group(table, Text(counts), Text(quality))


def _cells(view: InstrumentView, target: TargetView) -> tuple[str | Text, ...]:
    alone = len(view.targets) == 1
    return (
        cell(view.instrument if alone else f"{view.instrument} {target.name}"),
        f"{view.ticks:,}",
        number(target.value),
        number(target.expected),
        number(target.forecast),
        f"{target.lower:.4g}..{target.upper:.4g}",
        "model" if target.source == "model" else "naive",
        share(target.skill),
    )


def summary_lines(readings: Readings, feed: Feed, seconds: float, directory: Path) -> list[str]:
    """What the run came to, and how to go on."""
    summary = readings.summary()
    rate = summary.forecasts / seconds if seconds else 0.0
    going = "continued from the last run" if feed.resumed else "began anew"
    came = (
        f"{summary.ticks:,} ticks in, {summary.forecasts:,} forecasts out, {summary.rejects:,} "
        f"dead letters, {summary.repeats:,} repeats in {seconds:.1f} s ({rate:,.0f}/s); {going}"
    )
    skill = "no skill yet: it is told of instruments with 100 scored ticks and more"
    if summary.skill is not None:
        skill = (
            f"median skill {share(summary.skill)} over instruments with 100 scored ticks and "
            f"more, {share(summary.coverage)} of the actuals inside the 90 % interval"
        )
    return [
        came,
        skill,
        f"everything is in {directory}: start again to go on, delete it to begin anew",
    ]
