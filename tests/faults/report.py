"""What the faults came to: a table at the end of the run, and `build/faults.json`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.servers import ROOT

FILE = ROOT / "build" / "faults.json"
ROW = "fault"
"""The name of a fault among the properties of a report, which may come from another process."""


@dataclass
class Fault:
    """One named fault and what was seen of it. Times depend on the machine; nobody asserts them.

    `repeats` and `losses` are forecasts and dead letters too many and missing, by the oracle.
    """

    name: str
    client: str
    source: str = ""
    """What the ticks were."""
    times: int = 0
    """How often it was injected."""
    ticks: int = 0
    repeats: int = 0
    losses: int = 0
    takeover_s: float | None = None
    """From the fault until the partitions concerned went on."""
    still_s: float | None = None
    """The longest silence of partitions that were not concerned."""
    note: str = ""
    result: str = "not run"

    def injected(self, times: int = 1) -> None:
        """Count the fault."""
        self.times += times


COLUMNS: Sequence[tuple[str, str]] = (
    ("fault", "name"),
    ("client", "client"),
    ("times", "times"),
    ("ticks", "ticks"),
    ("repeats", "repeats"),
    ("losses", "losses"),
    ("takeover s", "takeover_s"),
    ("still s", "still_s"),
    ("result", "result"),
)


def tell(terminal: Any) -> None:
    """The faults of a run, in the order of their source, into its closing summary and a file."""
    reports = [report for some in terminal.stats.values() for report in some]
    faults = found(report for report in reports if getattr(report, "when", "") == "teardown")
    if not faults:
        return
    terminal.section("faults")
    for line in table(faults):
        terminal.write_line(line)
    for source in sorted({fault.source for fault in faults if fault.source}):
        terminal.write_line(f"ticks: {source}")
    write(faults)
    terminal.write_line(f"written to {FILE.relative_to(ROOT)}")


def found(reports: Iterable[Any]) -> list[Fault]:
    """The faults among the properties of these reports."""
    return [
        Fault(**row)
        for report in sorted(reports, key=lambda report: report.location[:2])
        for name, row in report.user_properties
        if name == ROW
    ]


def table(faults: Iterable[Fault]) -> list[str]:
    """The faults as lines of equal columns, notes behind them."""
    rows = [[title for title, _ in COLUMNS]]
    rows += [[_text(getattr(fault, name)) for _, name in COLUMNS] for fault in faults]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(_aligned, row, widths)).rstrip() for row in rows]
    notes = ["", *(f"  {fault.note}" if fault.note else "" for fault in faults)]
    return [line + note for line, note in zip(lines, notes, strict=True)]


def write(faults: Iterable[Fault]) -> None:
    """The same as JSON, with the machine's cores."""
    FILE.parent.mkdir(exist_ok=True)
    written = {"cores": os.cpu_count(), "faults": [asdict(fault) for fault in faults]}
    FILE.write_text(json.dumps(written, indent=2) + "\n")


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _aligned(text: str, width: int) -> str:
    return text.rjust(width) if text[:1].isdigit() or text == "-" else text.ljust(width)
