"""A backtest told to people: tables on the terminal, pictures, and one page that holds them all."""

from __future__ import annotations

import base64
import html
import json
import math
from pathlib import Path
from typing import Any

from rich.table import Table

from slotcast.backtest.run import OWN, Backtest
from slotcast.backtest.scores import finite
from slotcast.terminal.text import cell, open_console

SHOWN = 5
"""Series at each end of the table by instrument."""
JSON_FILE, PAGE_FILE = "backtest.json", "backtest.html"
TITLES = {
    "forecast": "Forecast, interval and actual",
    "rolling_skill": "Rolling skill",
    "coverage": "Coverage by level",
    "errors": "Error by instrument",
    "free_run": "Further ahead",
}
Grid = tuple[str, list[str], list[list[str]]]
"""Title, column names, rows."""


def grids(told: dict[str, Any]) -> list[Grid]:
    """All tables."""
    found = [pooled_grid(told), coverage_grid(told), calibration_grid(told), series_grid(told)]
    return [*found, ahead_grid(told["free_run"])] if "free_run" in told else found


def pooled_grid(told: dict[str, Any]) -> Grid:
    """A row per contestant."""
    level = 100 * told["interval_level"]
    columns = ["forecast", "skill %", "median %", "worst %", "MAE", "RMSE", "MASE"]
    columns += ["CRPS", "pinball", f"within {level:.0f} %", f"Winkler {level:.0f}"]
    rows = [
        [
            name,
            *(_percent(one[k]) for k in ("skill", "skill_median", "skill_worst")),
            *(_number(one[k]) for k in ("mae", "rmse", "mase")),
            *(_number(one.get(k)) for k in ("crps", "pinball")),
            _percent(one.get("coverage"), 1),
            _number(one.get("winkler")),
        ]
        for name, one in told["forecasts"].items()
    ]
    title = f"{told['scored']:,} ticks scored, of {told['instruments']:,} instruments"
    return title, columns, rows


def coverage_grid(told: dict[str, Any]) -> Grid:
    """Share within, by level, of those that have intervals."""
    levels = list(told["forecasts"][OWN]["coverage_by_level"])
    rows = [
        [name, *(_percent(share, 1) for share in one["coverage_by_level"].values())]
        for name, one in told["forecasts"].items()
        if "coverage_by_level" in one
    ]
    columns = ["forecast", *(f"{100 * float(level):.0f} %" for level in levels)]
    return "Values within the interval, %", columns, rows


def calibration_grid(told: dict[str, Any]) -> Grid:
    """Our coverage by what was going on."""
    found = told["calibration"]
    titles = {"volatility": "the ticks before were", "time_step": "the time to the tick was"}
    rows = [
        [f"{title} {third}", _percent(share, 1)]
        for name, title in titles.items()
        for third, share in found[name].items()
    ]
    rows.append(["correlation of a miss with the next", _number(found["correlation_of_misses"])])
    level = 100 * told["interval_level"]
    return f"{OWN}, values within its {level:.0f} % interval", ["where", "within %"], rows


def series_grid(told: dict[str, Any]) -> Grid:
    """Our worst and best series by skill."""
    series = told["series"]
    known = [one for one in series if not math.isnan(one["skill"])]
    cut = len(known) > 2 * SHOWN
    shown = known[:SHOWN] + known[-SHOWN:] if cut else series
    columns = ["instrument", "target", "ticks", "skill %", "MAE", "RMSE", "MASE"]
    columns += [f"within {100 * told['interval_level']:.0f} %", "model published %"]
    rows = [
        [
            one["instrument"],
            one["target"],
            f"{one['ticks']:,}",
            _percent(one["skill"]),
            *(_number(one[k]) for k in ("mae", "rmse", "mase")),
            _percent(one["coverage"], 1),
            _percent(one["model_published"], 0),
        ]
        for one in shown
    ]
    which = f"the worst and best {SHOWN} of {len(series):,}" if cut else "worst first"
    return f"{OWN} by instrument, {which}", columns, rows


def ahead_grid(ahead: dict[str, Any]) -> Grid:
    """MAE at a few steps."""
    steps = ahead["steps"]
    shown = sorted({1, 2, 4, 8, 12, 24, 48, 96, 168, steps} & set(range(1, steps + 1)))
    rows = [
        [name, _percent(one["skill"]), *(_number(one["mae_by_step"][h - 1]) for h in shown)]
        for name, one in ahead["forecasts"].items()
    ]
    rows.append(
        ["within the interval, %", "", *(_percent(ahead["coverage"][h - 1], 1) for h in shown)]
    )
    title = f"{ahead['runs']:,} free runs of {steps} steps, MAE by step"
    return title, ["forecast", "skill %", *(f"+{h}" for h in shown)], rows


def notes(told: dict[str, Any]) -> list[str]:
    """What has to be said beside the tables."""
    said = [f"{name}: not here, {why}" for name, why in told["absent"].items()]
    if told["skipped"]:
        said.append(
            f"the first {told['skipped']:,} ticks are not scored; frozen learns from these alone"
        )
    if told["relative"]:
        said.append(f"errors of {', '.join(told['relative'])} are relative to the value at hand")
    if told["left_out"]:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(told["left_out"].items()))
        said.append(f"left out: {reasons}")
    share = _percent(told["model_published"], 1)
    said.append(f"the model was published {share} % of the time, else persistence")
    return said


def show(told: dict[str, Any]) -> None:
    """Tables and notes on stdout, as wide as they need to be where that is no terminal."""
    console = open_console()
    if not console.is_terminal:
        console = open_console(width=160)
    for title, columns, rows in grids(told):
        for n, part in enumerate(parts(columns, rows, console.width)):
            table = Table(title=None if n else title, title_justify="left")
            for i in part:
                table.add_column(columns[i], justify="right" if i else "left", no_wrap=True)
            for row in rows:
                table.add_row(*(cell(row[i]) for i in part))
            console.print(table)
    for note in notes(told):
        console.print(note, highlight=False)


def parts(columns: list[str], rows: list[list[str]], room: int) -> list[list[int]]:
    """Numbers of the columns of tables that fit into `room`, each with the first one."""
    widths = [max(map(len, column)) + 3 for column in zip(columns, *rows, strict=True)]
    found = [[0]]
    for i in range(1, len(columns)):
        if len(found[-1]) > 1 and 1 + sum(widths[j] for j in [*found[-1], i]) > room:
            found.append([0])
        found[-1].append(i)
    return found


def write(folder: Path, found: Backtest, told: dict[str, Any]) -> list[Path]:
    """JSON, pictures and page. Raises OSError."""
    from slotcast.backtest.plots import pictures

    folder.mkdir(parents=True, exist_ok=True)
    drawn = pictures(found, told)
    contents = {f"{name}.png": png for name, png in drawn.items()}
    contents[JSON_FILE] = (json.dumps(finite(told), indent=2) + "\n").encode()
    contents[PAGE_FILE] = page(told, drawn).encode()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


STYLE = (
    "body{font:15px sans-serif;max-width:1100px;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0}img{max-width:100%}"
    "td,th{padding:.2em .7em;text-align:right;border-bottom:1px solid #ddd}"
    "td:first-child,th:first-child{text-align:left}caption{text-align:left;font-weight:bold}"
)


def page(told: dict[str, Any], drawn: dict[str, bytes]) -> str:
    """One HTML page that needs nothing else: tables, notes, pictures."""
    title = html.escape(f"slotcast backtest: {told.get('source', '')}")
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        f"<style>{STYLE}</style></head><body><h1>{title}</h1>",
        f"<p>{html.escape(told['bundle'])}</p>",
        *(_html_table(grid) for grid in grids(told)),
        "<ul>",
        *(f"<li>{html.escape(note)}</li>" for note in notes(told)),
        "</ul>",
        *(_html_picture(TITLES[name], png) for name, png in drawn.items()),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _html_table(grid: Grid) -> str:
    title, columns, rows = grid
    lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><caption>{html.escape(title)}</caption>\n<tr>{head}</tr>\n{body}</table>"


def _html_picture(title: str, png: bytes) -> str:
    encoded = base64.b64encode(png).decode("ascii")
    return f'<h2>{title}</h2><img alt="{title}" src="data:image/png;base64,{encoded}">'


def _percent(value: float | None, digits: int = 2) -> str:
    return "-" if value is None or math.isnan(value) else f"{100 * value:.{digits}f}"


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4g}"
