"""What every benchmark shares: timing by turns, tables for people, JSON for later comparison.

Contestants are timed by turns, so that whatever else runs on the machine slows all of them alike:
trust the ratios of one run more than its times, and never compare times of two runs.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

FOLDER = Path("build/bench")
PACKAGES = ("slotcast", "numpy", "numba", "ai-edge-litert", "msgspec", "tensorflow-cpu", "keras")

Contestant = Callable[[int], float]
"""Makes this many calls and returns the seconds they took."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Median of some samples, and the range that holds the middle eight of ten."""

    median: float
    low: float
    high: float
    samples: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """From one sample up."""
        low, median, high = np.quantile(samples, [0.1, 0.5, 0.9]).tolist()
        return cls(median, low, high, len(samples))

    def text(self) -> str:
        """For a table: median and range."""
        return f"{number(self.median)} [dim]({number(self.low)} .. {number(self.high)})[/]"


def number(value: float) -> str:
    """Three significant digits, thousands separated."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def repeated(function: Callable[[], object]) -> Contestant:
    """A contestant that makes the same call again and again."""

    def run(calls: int) -> float:
        begun = time.perf_counter()
        for _ in range(calls):
            function()
        return time.perf_counter() - begun

    return run


def by_turns(
    contestants: Mapping[str, Contestant],
    rounds: int = 15,
    turn_s: float = 0.02,
    calls: int | None = None,
) -> dict[str, list[float]]:
    """Seconds per call of each contestant, one sample per round.

    Each first has two calls to warm up. A turn has `calls` calls, or as many as take `turn_s`.
    """
    turns = {}
    for name, contestant in contestants.items():
        contestant(2)
        turns[name] = calls or _calls_in(contestant, turn_s)
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            samples[name].append(contestant(turns[name]) / turns[name])
    return samples


def _calls_in(contestant: Contestant, turn_s: float) -> int:
    calls = 1
    while (took := contestant(calls)) < turn_s / 4:
        calls *= 4
    return max(1, round(calls * turn_s / took))


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Spread:
    """How many times faster `fast` is, round by round."""
    return Spread.of([s / f for s, f in zip(slow, fast, strict=True)])


def goal(reached: bool, text: str) -> str:
    """A line that says whether a goal is reached."""
    return f"[green]✓[/] {text}" if reached else f"[red]✗[/] {text}"


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *notes: str) -> None:
    """Print one table, and notes below it."""
    console = Console(width=None if Console().is_terminal else 140)
    table = Table(title=title, title_justify="left", header_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for note in notes:
        console.print(note)
    console.print()


def write(name: str, results: Mapping[str, Any]) -> None:
    """Write build/bench/NAME.json: the machine's facts and the results, spreads as objects.

    What is no number, or has no end, is null there: JSON has neither.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    record = {"benchmark": name, "machine": machine_facts(), "results": results}
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(_plain(record), indent=1, allow_nan=False) + "\n")
    print(f"wrote {path}")


def machine_facts() -> dict[str, Any]:
    """What a time depends on."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _plain(value: object) -> Any:
    if isinstance(value, Spread):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    names = {key.strip(): value.strip() for key, value in fields.items()}
    model = names.get("model name", platform.processor() or platform.machine())
    return f"{model}, family {names.get('cpu family', '?')} model {names.get('model', '?')}"
