"""`slotcast export`: memory from the store to a file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slotcast.commands.options import AsJson, Config, Data, OnePartition, chosen, fail, opened

if TYPE_CHECKING:
    from slotcast.snapshots.copy import SnapshotCopier
    from slotcast.snapshots.file import Section, SnapshotWriter
    from slotcast.store.port import Store


def export(
    file: Annotated[Path, typer.Argument(help="File to write.")],
    config: Config = None,
    data: Data = None,
    partition: OnePartition = None,
    instrument: Annotated[
        str | None, typer.Option(help="This instrument only; none = all of them.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write memory, as the store has it, to one file: to keep, to prove from, to import.

    Example: slotcast export ticks.snapshot --config slotcast.toml
    """
    import msgspec

    from slotcast.bootstrap import open_store
    from slotcast.snapshots.copy import SnapshotCopier
    from slotcast.terminal.progress import bars

    if file.exists() and not overwrite:
        fail(f"{file} is there already: give another name, or --overwrite")
    with opened(config, data) as (settings, history, bundle):
        numbers = chosen(history.partitions(), partition)
        with closing(open_store(settings, data)) as store, bars() as advanced:
            copier = SnapshotCopier(store, bundle, history.name(), now_ms, advanced)
            with _replaced(file) as writer:
                sections = copy(copier, store, numbers, instrument, writer)
    if as_json:
        facts = {"file": str(file), "bytes": file.stat().st_size, "partitions": sections}
        typer.echo(msgspec.json.format(msgspec.json.encode(facts)))
        return
    for section in sections:
        typer.echo(
            f"partition {section.header.partition}: {section.rows:,} rows, complete up to offset"
            f" {section.header.watermark:,}"
        )
    typer.echo(f"{file}: {file.stat().st_size:,} bytes")


def copy(
    copier: SnapshotCopier,
    store: Store,
    numbers: Sequence[int],
    instrument: str | None,
    writer: SnapshotWriter,
) -> list[Section]:
    """Copy the partitions that have a snapshot, at least one, or the instrument's row."""
    from slotcast.snapshots.copy import SnapshotMissing, home_of

    if instrument is not None:
        return [copier.copy(home_of(store, numbers, instrument), instrument, writer)]
    sections: list[Section] = []
    missing: list[SnapshotMissing] = []
    for number in numbers:
        try:
            sections.append(copier.copy(number, None, writer))
        except SnapshotMissing as error:
            missing.append(error)
    if not sections:
        raise missing[0]
    for one in missing:
        typer.secho(f"left out: {one}", fg="yellow", err=True)
    return sections


@contextmanager
def _replaced(file: Path) -> Iterator[SnapshotWriter]:
    """A writer of a file that takes its place once it is whole and on disk."""
    from slotcast.snapshots.file import SnapshotWriter

    draft = file.with_name(f"{file.name}.part")
    try:
        with draft.open("w+b") as out:
            writer = SnapshotWriter(out)
            yield writer
            writer.finish()
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
