"""`slotcast import` and `slotcast reset`: memory is changed by records appended to the tick log.

The commands only write such records, where no worker is needed, and then look whether the group's
committed offset passes them. Once a record is in the log it is applied, whoever dies.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slotcast.commands.options import (
    AsJson,
    Config,
    Data,
    OnePartition,
    chosen,
    fail,
    finite,
    opened,
)

if TYPE_CHECKING:
    from slotcast.log.history import History
    from slotcast.log.port import Receipt, TickAppender
    from slotcast.settings import Settings

LOOK_INTERVAL_S = 0.2
Wait = Annotated[
    float,
    typer.Option(
        "--wait-s", min=0, callback=finite, help="Longest wait until a worker has committed it."
    ),
]


def import_memory(
    file: Annotated[Path, typer.Argument(help="A file of slotcast export.")],
    instrument: Annotated[str, typer.Option(help="Whose memory, in the file.")],
    as_: Annotated[
        str | None, typer.Option("--as", help="Who gets it; none = the same instrument.")
    ] = None,
    config: Config = None,
    data: Data = None,
    partition: Annotated[
        int | None,
        typer.Option(min=0, help="Where its ticks are, if the store does not know it yet."),
    ] = None,
    wait_s: Wait = 5,
    as_json: AsJson = False,
) -> None:
    """Give an instrument the memory of another run, log or instrument, as a record of the log.

    Example: slotcast import ticks.snapshot --instrument pump-7 --as pump-8 --data data/replay-new
    """
    from slotcast.records.controls import IMPORT, encode_control
    from slotcast.records.imports import import_value
    from slotcast.records.ticks import MAX_NAME_BYTES
    from slotcast.snapshots.file import SnapshotFile

    target = as_ or instrument
    if len(target.encode()) > MAX_NAME_BYTES:
        fail(f"an instrument's name has at most {MAX_NAME_BYTES} bytes")
    with opened(config, data) as (settings, history, bundle):
        with file.open("rb") as source:
            value = import_value(SnapshotFile(source, str(file)), instrument, bundle)
        home = _home(settings, data, history.partitions(), target, partition)
        control = encode_control(IMPORT, target)
        with _appender(settings, data, history) as log:
            _follow(history, [log.append(home, None, value, control)], wait_s, as_json)


def reset(
    instrument: Annotated[
        list[str] | None, typer.Argument(help="Instruments whose memory to forget.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All instruments, in place of names.")
    ] = False,
    config: Config = None,
    data: Data = None,
    partition: OnePartition = None,
    wait_s: Wait = 5,
    as_json: AsJson = False,
) -> None:
    """Forget the memory of instruments: a tombstone in the log for each, as POST /reset writes it.

    Example: slotcast reset pump-7 --config slotcast.toml
    """
    from slotcast.records.controls import RESET_ALL, encode_control
    from slotcast.records.ticks import MAX_NAME_BYTES, is_name

    if bool(instrument) == everything:
        fail("name instruments, or give --all", 2)
    if odd := [name for name in instrument or () if not is_name(name)]:
        fail(f"no instrument is called {odd[0][:64]!r}: names have 1 to {MAX_NAME_BYTES} bytes", 2)
    with opened(config, data) as (settings, history, _):
        numbers = chosen(history.partitions(), partition)
        homes = {name: _known(settings, data, numbers, name) for name in instrument or ()}
        with _appender(settings, data, history) as log:
            sent = [
                log.append(number, name.encode(), None, None)
                for name, known in homes.items()
                for number in known or numbers  # a tombstone for an unknown one does nothing
            ]
            if everything:
                control = encode_control(RESET_ALL)
                sent = [log.append(number, None, b"", control) for number in numbers]
            _follow(history, sent, wait_s, as_json)


def _known(
    settings: Settings, data: Path | None, partitions: Sequence[int], name: str
) -> list[int]:
    """The partitions in whose snapshot the instrument is."""
    from slotcast.bootstrap import open_store
    from slotcast.snapshots.copy import homes

    with closing(open_store(settings, data)) as store:
        return homes(store, partitions, name)


def _home(
    settings: Settings,
    data: Path | None,
    partitions: Sequence[int],
    name: str,
    wanted: int | None,
) -> int:
    """The partition with the instrument's ticks: where the store has it, else the one wanted."""
    known = _known(settings, data, partitions, name)
    if wanted is not None:
        chosen(partitions, wanted)
        if known and wanted not in known:
            fail(f"{name} is in partition {known[0]}, not in {wanted}")
        return wanted
    if len(known) > 1:
        fail(f"{name} is in partitions {known}: choose one with --partition")
    if not known and len(partitions) > 1:
        fail(
            f"{name} is in no snapshot yet, so nobody knows its partition: give the one that its"
            " ticks are sent to, with --partition"
        )
    return known[0] if known else partitions[0]


@contextmanager
def _appender(settings: Settings, data: Path | None, history: History) -> Iterator[TickAppender]:
    from slotcast.bootstrap import open_appender

    with closing(open_appender(settings, data, len(history.partitions()))) as log:
        yield log


def _follow(history: History, sent: Sequence[Receipt], wait_s: float, as_json: bool) -> None:
    """Tell where the records are, and whether they are committed in time."""
    deadline, waiting = time.monotonic() + wait_s, list(sent)
    while waiting:
        passed = [one for one in waiting if _is_committed(history, one)]
        for one in [] if as_json else passed:
            typer.echo(f"partition {one.partition}, offset {one.offset}: committed")
        waiting = [one for one in waiting if one not in passed]
        if time.monotonic() >= deadline:
            break
        if waiting:
            time.sleep(LOOK_INTERVAL_S)
    if as_json:
        told = [one._asdict() | {"committed": one not in waiting} for one in sent]
        typer.echo(json.dumps({"records": told}, indent=2))
        return
    for one in waiting:
        typer.echo(
            f"partition {one.partition}, offset {one.offset}: in the log, not committed yet;"
            " a worker applies it when it gets there"
        )


def _is_committed(history: History, one: Receipt) -> bool:
    at = history.committed(one.partition)
    return at is not None and at.offset > one.offset
