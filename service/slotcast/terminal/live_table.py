"""The terminal's view of a run: a table of the most active instruments, and a summary."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group
from rich.text import Text

from slotcast.board.views import InstrumentView, Readings, TargetView, Window
from slotcast.feeds.feed import Feed
from slotcast.terminal.forecast_table import Column, ForecastTable, number, share, span

ROWS = 14
COLUMNS = (
    Column("instrument", left=True),
    Column("ticks", leave=2),
    Column("actual"),
    Column("expected", leave=3),
    Column("next"),
    Column("90 % interval", leave=1),
    Column("by", left=True),
    Column("skill"),
)
MEANING = (
    "expected: what had been forecast for actual. naive: next is as now, no gain is",
    "clear yet. skill: squared error saved against as now; above 0 is better.",
)


def live_table(readings: Readings, feed: Feed) -> Group:
    """Forecasts, actuals and skill of the instruments with most ticks."""
    summary = readings.summary()
    page = readings.instruments(Window(sort="ticks", descending=True, limit=ROWS))
    lines = [_cells(view, target) for view in page.instruments for target in view.targets]
    goal = f" of {feed.total:,}" if feed.total is not None else ""
    counts = (
        f"fed {feed.fed:,}{goal} | forecasts {summary.forecasts:,} | rejects {summary.rejects:,} | "
        f"lag {summary.lag_ticks:,}"
    )
    quality = (
        f"instruments {page.total:,} | median skill {share(summary.skill)} | "
        f"inside 90 % interval {share(summary.coverage)}"
    )
    table = ForecastTable(COLUMNS, lines, ROWS, below=2 + len(MEANING))
    meaning = (Text(line, style="dim") for line in MEANING)
    return Group(table, Text(counts), Text(quality), *meaning)


def _cells(view: InstrumentView, target: TargetView) -> tuple[str, ...]:
    alone = len(view.targets) == 1
    return (
        view.instrument if alone else f"{view.instrument} {target.name}",
        f"{view.ticks:,}",
        number(target.value),
        number(target.expected),
        number(target.forecast),
        span(target.lower, target.upper),
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
        f"dead letters, {summary.repeats:,} repeats"
    )
    skill, over = "no skill yet: it is told of instruments", "with 100 scored ticks and more"
    if summary.skill is not None:
        inside = f"{share(summary.coverage)} of the actuals inside the 90 % interval"
        skill = f"median skill {share(summary.skill)}, {inside},"
        over = f"over instruments {over}"
    return [
        came,
        f"in {seconds:.1f} s ({rate:,.0f}/s), {going}",
        skill,
        over,
        f"everything is in {directory}:",
        "start again to go on, delete it to begin anew",
    ]
