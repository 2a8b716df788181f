"""`slotcast inspect`: what a snapshot holds, in the store or in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotcast.commands.export import copy, now_ms
from slotcast.commands.options import (
    AsJson,
    Config,
    Data,
    OnePartition,
    chosen,
    failing,
    load,
    opened,
)

if TYPE_CHECKING:
    from slotcast.snapshots.file import SnapshotFile
    from slotcast_models.bundle import Bundle


def inspect(
    file: Annotated[
        Path | None, typer.Argument(help="A file of slotcast export; none = the store.")
    ] = None,
    config: Config = None,
    data: Data = None,
    partition: OnePartition = None,
    instrument: Annotated[str | None, typer.Option(help="This instrument only.")] = None,
    limit: Annotated[
        int, typer.Option(min=0, help="Instruments shown per partition; 0 = all.")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """Show what a snapshot is of, and what it knows of each instrument.

    Example: slotcast inspect --config slotcast.toml
    """
    from slotcast.snapshots.facts import SnapshotFacts
    from slotcast.snapshots.file import SnapshotForeign
    from slotcast.terminal.progress import bars

    what = _snapshot(file, config, data, partition, instrument)
    with what as (snapshot, bundle, committed), bars() as advanced:
        facts = SnapshotFacts(snapshot, bundle, now_ms(), advanced)
        found = list[dict[str, Any]]()
        for number in chosen(sorted(snapshot.sections), partition):
            one = facts.partition(number, committed.get(number))
            try:
                one["instruments"] = facts.instruments(number, instrument, limit)
            except SnapshotForeign as error:
                one["unreadable"] = str(error)
            found.append(one)
    if as_json:
        typer.echo(json.dumps({"partitions": found}, indent=2))
        return
    for one in found:
        _print(one, instrument)


def _print(found: dict[str, Any], instrument: str | None) -> None:
    from slotcast.snapshots.facts import print_instruments, print_partition

    print_partition(found)
    if "unreadable" in found:
        typer.secho(f"rows are not shown: {found['unreadable']}", fg="yellow")
        return
    shown = found["instruments"]
    print_instruments(shown, len(shown) if instrument else found["rows"])


@contextmanager
def _snapshot(
    file: Path | None,
    config: Path | None,
    data: Path | None,
    partition: int | None,
    instrument: str | None,
) -> Iterator[tuple[SnapshotFile, Bundle, dict[int, int]]]:
    """The snapshot, its bundle, and committed offsets where there is a log to ask."""
    from slotcast.bootstrap import open_store
    from slotcast.snapshots.copy import SnapshotCopier
    from slotcast.snapshots.file import SnapshotFile, SnapshotWriter

    if file is not None:
        with failing(), file.open("rb") as source:
            yield SnapshotFile(source, str(file)), load(config, data)[1], {}
        return
    with opened(config, data) as (settings, history, bundle), TemporaryFile() as made:
        numbers = chosen(history.partitions(), partition)
        with closing(open_store(settings, data)) as store:
            copier, writer = (
                SnapshotCopier(store, bundle, history.name(), now_ms),
                SnapshotWriter(made),
            )
            copy(copier, store, numbers, instrument, writer)
            writer.finish()
        committed = {n: at.offset for n in numbers if (at := history.committed(n)) is not None}
        yield SnapshotFile(made, "the store's snapshot"), bundle, committed
