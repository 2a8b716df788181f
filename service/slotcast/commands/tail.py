"""`slotcast tail`: forecasts as they come, as a live table, as lines, or as JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotcast.commands.options import (
    Config,
    Data,
    OnePartition,
    chosen,
    opened,
    until_interrupted,
)

if TYPE_CHECKING:
    from slotcast.tail import Tail

PAUSE_S = 0.2


def tail(
    config: Config = None,
    data: Data = None,
    instrument: Annotated[
        list[str] | None, typer.Option(help="This instrument only; repeat for several.")
    ] = None,
    partition: OnePartition = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Those that are there first.")
    ] = False,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many forecasts.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each.")] = False,
) -> None:
    """Show forecasts as they are committed: a live table, or lines where nobody looks.

    Example: slotcast tail --config slotcast.toml --instrument pump-7

    Into a pipe: slotcast tail --data data/demo-400 --from-beginning --json | head -3
    """
    from slotcast.formats.choice import format_of
    from slotcast.tail import Tail

    stop = until_interrupted()
    with opened(config, data) as (_, history, bundle):
        numbers, form = chosen(history.partitions(), partition), format_of(bundle.schema)
        found = Tail(history, form, numbers, instrument or (), from_beginning=from_beginning)
        records = _records(found, stop, count)
        try:
            if as_json or not sys.stdout.isatty():
                _print(records, as_json)
            else:
                _show(records)
        except BrokenPipeError:  # whoever read has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _records(tail: Tail, stop: Event, count: int | None) -> Iterator[Any]:
    """Forecasts until `stop`, or until there were `count`; None where nothing has come for now."""
    left = count
    while True:
        for record in tail.take(stop.is_set):
            yield record
            left = None if left is None else left - 1
            if left == 0 or stop.is_set():
                return
        yield None
        if stop.wait(PAUSE_S):
            return


def _print(records: Iterator[Any], as_json: bool) -> None:
    import msgspec

    from slotcast.tail import line

    encode = msgspec.json.Encoder().encode
    for record in records:
        if record is None:
            sys.stdout.flush()
        else:
            sys.stdout.write(f"{encode(record).decode() if as_json else line(record)}\n")
    sys.stdout.flush()


def _show(records: Iterator[Any]) -> None:
    from rich.live import Live

    from slotcast.terminal.tail_table import TailTable
    from slotcast.terminal.text import open_console

    table, console = TailTable(), open_console()
    with Live(table.render(), console=console, get_renderable=table.render, refresh_per_second=4):
        for record in records:
            if record is not None:
                table.add(record)
