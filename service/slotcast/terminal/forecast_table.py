"""A table of forecasts that fits the terminal.

Promise: no number is ever cut. Where the terminal is too narrow, columns are left out, the least
important first, and where it is too low, lines are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from slotcast.terminal.text import printable

GAP = 2
"""Columns apart; the last one has the half of it."""
PLAIN_BELOW = 1e12
LEAST_NAME = 20
"""Letters of an instrument's name for which columns are left out."""


def number(value: float | None) -> str:
    """Six digits, or all those before the point; a dash for none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if 1e6 <= abs(value) < PLAIN_BELOW else f"{value:.6g}"


def share(value: float | None) -> str:
    """Percent, or a dash."""
    return "-" if value is None else f"{value:.1%}".replace("-0.0%", "0.0%")


def span(lower: float, upper: float) -> str:
    """Both ends with as many decimals as tell them apart: two digits of the width."""
    width = upper - lower
    decimals = 1 - math.floor(math.log10(width)) if 0 < width < math.inf else 99
    if decimals > 9 or max(abs(lower), abs(upper)) >= PLAIN_BELOW:
        return f"{lower:.6g}..{upper:.6g}"
    decimals = max(decimals, 0)
    form = f",.{decimals}f" if max(abs(lower), abs(upper)) >= 1e6 else f".{decimals}f"
    return f"{lower:{form}}..{upper:{form}}"


class Column(NamedTuple):
    """A column; the one with the largest `leave` is left out first, one with 0 never."""

    title: str
    leave: int = 0
    left: bool = False


class ForecastTable:
    """Lines of cells below `columns`; the first one is a name, and only that may be cut."""

    def __init__(
        self,
        columns: Sequence[Column],
        lines: Sequence[Sequence[str]],
        most: int,
        below: int | None,
    ) -> None:
        """`most` lines; on a terminal only as many as leave room for `below` lines of others.

        None: on a terminal too, since it is printed once and may scroll.
        """
        self._columns, self._lines = columns, lines
        self._most, self._below = most, below

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = self._most
        if console.is_terminal and self._below is not None:
            room = min(room, max(console.height - self._below - 3, 1))
        shown = self._lines[:room]
        lines = [[printable(text) for text in line] for line in shown]
        widths = [
            max([len(column.title), *(cell_len(line[i]) for line in lines)])
            for i, column in enumerate(self._columns)
        ]
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        kept = self._fitting(widths, options.max_width)
        others = sum(widths[i] + GAP for i in kept[1:])
        widths[0] = max(min(widths[0], options.max_width - others - GAP + 1), 1)
        for i in kept:
            column = self._columns[i]
            table.add_column(
                column.title,
                justify="left" if column.left else "right",
                no_wrap=True,
                width=widths[i],
            )
        for line in lines:
            table.add_row(*(Text(line[i]) for i in kept))
        yield table

    def _fitting(self, widths: list[int], room: int) -> list[int]:
        """Numbers of the columns that are shown."""
        kept = list(range(len(widths)))
        least = [min(widths[0], LEAST_NAME), *widths[1:]]
        while sum(least[i] + GAP for i in kept) - 1 > room:
            worst = max(kept, key=lambda i: self._columns[i].leave)
            if not self._columns[worst].leave:
                break
            kept.remove(worst)
        return kept
