"""Telling how far long work is: a callback to call, and bars on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import TaskID

Advanced = Callable[[str, int, int], None]
"""Is told what is being done, and how much of how much of it is."""


def silently(_doing: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@contextmanager
def bars() -> Iterator[Advanced]:
    """A bar per thing that is done, on a terminal's stderr, for as long as it takes."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console, tasks = Console(stderr=True), dict[str, tuple["TaskID", float]]()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
    )
    shown = console.is_terminal
    with Progress(*columns, console=console, disable=not shown, transient=True) as progress:

        def advanced(doing: str, done: int, total: int) -> None:
            if doing not in tasks:
                task = progress.add_task(doing, total=total, rate=0.0)
                tasks[doing] = task, time.monotonic()
            task, begun = tasks[doing]
            rate = done / max(time.monotonic() - begun, 1e-3)
            progress.update(task, completed=done, rate=rate)

        yield advanced
