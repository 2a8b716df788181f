"""What `slotcast inspect` tells of a snapshot, as plain facts and as tables."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from slotcast.board.sheet import view_of_row
from slotcast.snapshots.file import Section, SnapshotFile, decoded
from slotcast.terminal.forecast_table import Column, ForecastTable, number, share
from slotcast.terminal.progress import Advanced
from slotcast.terminal.text import open_console
from slotcast_models.bundle import Bundle
from slotcast_models.memory import APPLIED, SCALE, TICKS, view
from slotcast_models.predictor import Predictor

UNKNOWN = "-"
COLUMNS = (
    Column("instrument", left=True),
    Column("last time", leave=3),
    Column("ticks"),
    Column("origin", leave=4),
    Column("applied", leave=2),
    Column("scale", leave=1),
    Column("forecast"),
    Column("skill"),
)


class SnapshotFacts:
    """Facts of one file. `now_ms` is for ages; rows are read with `bundle`, if they are of it."""

    def __init__(self, file: SnapshotFile, bundle: Bundle, now_ms: int, advanced: Advanced) -> None:
        self._file, self._bundle, self._now_ms = file, bundle, now_ms
        self._predictor, self._advanced = Predictor(bundle), advanced

    def partition(self, number: int, committed: int | None) -> dict[str, Any]:
        """What a section is of. `committed` is the group's offset now, where there is a log."""
        section = self._file.sections[number]
        header: dict[str, Any] = msgspec.to_builtins(section.header)
        sizes = [len(frame) for _, frame in self._file.rows(number)]
        found = header | {
            "fingerprint": f"{section.header.fingerprint:016x}",
            "layout": section.layout,
            "whole": section.whole,
            "rows": section.rows,
            "bytes": sum(sizes),
            "exported_ms": section.exported_ms,
            "age_s": round((self._now_ms - section.exported_ms) / 1e3, 3),
        }
        if committed is not None:
            found |= {"committed": committed, "behind": committed - section.header.watermark}
        return found

    def instruments(self, number: int, only: str | None, limit: int) -> list[dict[str, Any]]:
        """Facts of the first `limit` rows (0: of all) in name order, or of one instrument.

        Raises SnapshotForeign, SnapshotDamaged.
        """
        section = self._file.sections[number]
        section.check(self._bundle)
        wanted = (pair for pair in self._file.rows(number) if only is None or pair[0] == only)
        names = sorted(wanted)
        rows = decoded(islice(names, limit or None), self._bundle.layout.dtype())
        return [self._row(section, name, row) for name, row in self._told(rows, len(names))]

    def _told(
        self, rows: Iterable[tuple[str, NDArray[np.void]]], total: int
    ) -> Iterable[tuple[str, NDArray[np.void]]]:
        for done, pair in enumerate(rows, 1):
            yield pair
            self._advanced("rows", done, total)

    def _row(self, section: Section, name: str, row: NDArray[np.void]) -> dict[str, Any]:
        memory, header = view(row), section.header
        applied = int(memory.counts[0, APPLIED])
        found: dict[str, Any] = {"instrument": name, "applied": applied}
        if not memory.counts[0, TICKS] or applied < header.reset_all:
            return found | {"ticks": 0}
        shown = view_of_row(
            self._bundle, self._predictor, row, (header.partition, name), None, applied + 1
        )
        targets = [
            {
                "name": target.name,
                "value": target.value,
                "forecast": target.forecast,
                "lower": target.lower,
                "upper": target.upper,
                "source": target.source,
                "scale": float(memory.target[0, j, SCALE]),
                "skill": target.skill,
            }
            for j, target in enumerate(shown.targets)
        ]
        return found | {
            "ticks": shown.ticks, "ts": shown.ts, "origin": shown.origin, "targets": targets
        }  # fmt: skip


def print_partition(found: dict[str, Any]) -> None:
    """The facts of a partition as a table."""
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in found.items():
        if name not in ("instruments", "exported_ms", "unreadable"):
            table.add_row(name.replace("_", " "), _text(value))
    open_console().print(table)


def print_instruments(found: list[dict[str, Any]], rows: int) -> None:
    """The facts of instruments as a table, one line per target."""
    lines = [_line(one, target) for one in found for target in one.get("targets", [{}])]
    open_console().print(ForecastTable(COLUMNS, lines, most=len(lines), below=None))
    if len(found) < rows:
        open_console().print(f"{len(found):,} of {rows:,} rows: --limit 0 shows all")


def _line(one: dict[str, Any], target: dict[str, Any]) -> tuple[str, ...]:
    name = one["instrument"]
    return (
        name if len(one.get("targets", ())) < 2 else f"{name} {target['name']}",
        str(one.get("ts", UNKNOWN)),
        str(one["ticks"]),
        str(one.get("origin", UNKNOWN)),
        str(one["applied"]),
        f"{target['scale']:.3g}" if target else UNKNOWN,
        number(target.get("forecast")),
        share(target.get("skill")),
    )


def _text(value: Any) -> str:
    if value is None or value == "":
        return UNKNOWN
    if isinstance(value, bool | str):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
