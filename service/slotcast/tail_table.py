"""The live table of `slotcast tail`: the last forecast of the instruments that ticked last."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from slotcast.live_table import number, share
from slotcast.tail import interval
from slotcast.terminal import cell

ROWS = 20


class TailTable:
    """Forecasts by instrument, the `ROWS` that came last, in name order."""

    def __init__(self) -> None:
        self.count = 0
        self._last: dict[str, Any] = {}

    def add(self, record: Any) -> None:
        """One more forecast."""
        self.count += 1
        self._last.pop(record["instrument"], None)
        self._last[record["instrument"]] = record
        if len(self._last) > ROWS:
            del self._last[next(iter(self._last))]

    def render(self) -> Group:
        """What to show now."""
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        table.add_column("instrument", no_wrap=True)
        for column in ("time", "ticks", "actual", "next", "90 % interval"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("by", no_wrap=True)
        table.add_column("skill", justify="right", no_wrap=True)
        for name in sorted(self._last):
            record = self._last[name]
            for target in record["targets"]:
                table.add_row(*_cells(record, target))
        return Group(table, Text(f"{self.count:,} forecasts; Ctrl-C ends"))


def _cells(record: Any, name: str) -> tuple[str | Text, ...]:
    target = record["targets"][name]
    low, high = interval(record, target)
    alone = len(record["targets"]) == 1
    return (
        cell(record["instrument"] if alone else f"{record['instrument']} {name}"),
        str(record["ts"]),
        f"{record['tick']['ticks']:,}",
        number(target["value"]),
        number(target["forecast"]),
        f"{low:.4g}..{high:.4g}",
        "model" if target["source"] == "model" else "naive",
        share(target["skill"]),
    )
