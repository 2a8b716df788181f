"""The live table of `slotcast tail`: the last forecast of the instruments that ticked last."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.text import Text

from slotcast.tail import interval
from slotcast.terminal.forecast_table import Column, ForecastTable, number, share, span

ROWS = 20
COLUMNS = (
    Column("instrument", left=True),
    Column("time", leave=2),
    Column("ticks", leave=3),
    Column("actual"),
    Column("next"),
    Column("90 % interval", leave=1),
    Column("by", left=True),
    Column("skill"),
)


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
        lines = [
            _cells(self._last[name], target)
            for name in sorted(self._last)
            for target in self._last[name]["targets"]
        ]
        told = Text(f"{self.count:,} forecasts; Ctrl-C ends")
        return Group(ForecastTable(COLUMNS, lines, ROWS, below=1), told)


def _cells(record: Any, name: str) -> tuple[str, ...]:
    target = record["targets"][name]
    low, high = interval(record, target)
    alone = len(record["targets"]) == 1
    return (
        record["instrument"] if alone else f"{record['instrument']} {name}",
        str(record["ts"]),
        f"{record['tick']['ticks']:,}",
        number(target["value"]),
        number(target["forecast"]),
        span(low, high),
        "model" if target["source"] == "model" else "naive",
        share(target["skill"]),
    )
