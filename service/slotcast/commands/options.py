"""What commands share: options, what they open, and the way they fail."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from slotcast.log.history import History
    from slotcast.settings import Settings
    from slotcast_models.bundle import Bundle

Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file; environment variables override it.")
]
Data = Annotated[
    Path | None, typer.Option(help="Directory of a demo or a replay; none = Kafka, as configured.")
]
OnePartition = Annotated[
    int | None, typer.Option("--partition", min=0, help="This partition only.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Source = Annotated[
    str, typer.Option("--from", help="File; directory of a demo or a replay; or a Kafka topic.")
]
OffsetRange = Annotated[
    str | None, typer.Option("--offsets", help="FIRST-LAST: of each partition, these only.")
]
Column = Annotated[str | None, typer.Option(help="Column name; guessed if not given.")]
TargetColumns = Annotated[
    list[str] | None, typer.Option(help="Target column; repeat for several. Guessed if none.")
]
SeriesName = Annotated[str | None, typer.Option(help="Instrument name of a one-series file.")]
TimeUnit = Annotated[str | None, typer.Option(help="s, ms, us, ns or iso.")]
Positive = Annotated[bool, typer.Option(help="Values are above 0: forecast logarithms.")]


def finite(value: float | None) -> float | None:
    """The option's number; bounds let what is none pass, and infinity."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no finite number.")
    return value


def above_zero(value: float | None) -> float | None:
    """The same, for a rate that nothing would come of at 0."""
    if finite(value) == 0:
        raise typer.BadParameter("give more than 0.")
    return value


def until_interrupted() -> threading.Event:
    """An event that is set by Ctrl-C or a polite kill."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def fail(message: object, code: int = 1) -> NoReturn:
    """End with this exit code and a message on stderr."""
    typer.secho(f"slotcast: {message}", fg="red", err=True)
    raise typer.Exit(code)


def load(config: Path | None, data: Path | None) -> tuple[Settings, Bundle]:
    """Settings and bundle; with a directory, the schema that it was made with.

    Raises OSError, ValueError, BundleError.
    """
    from slotcast.bootstrap import load_bundle
    from slotcast.run_settings import kept_schema
    from slotcast.settings import Settings

    settings = Settings.load(config)
    if data is not None and settings.tick_schema is None:
        settings = settings.model_copy(update={"tick_schema": kept_schema(data)})
    return settings, load_bundle(settings)


@contextmanager
def failing(code: int = 1) -> Iterator[None]:
    """End with exit code `code` where what can be expected to fail does."""
    from slotcast.log.port import LogError
    from slotcast.records.controls import UnknownControl
    from slotcast.records.imports import ImportRefused
    from slotcast.snapshots.copy import SnapshotMissing
    from slotcast.snapshots.file import SnapshotForeign
    from slotcast.snapshots.snapshot import SnapshotDamaged
    from slotcast.store.port import StoreError
    from slotcast_models.bundle import BundleError

    outside = (OSError, ValueError, BundleError, LogError, StoreError, UnknownControl)
    try:
        yield
    except (*outside, SnapshotDamaged, SnapshotForeign, SnapshotMissing, ImportRefused) as error:
        fail(error, code)


@contextmanager
def opened(
    config: Path | None, data: Path | None, code: int = 1
) -> Iterator[tuple[Settings, History, Bundle]]:
    """Settings, history and bundle; as `failing` around all that is done with them."""
    import logging

    from slotcast.bootstrap import history

    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    with failing(code):
        settings, bundle = load(config, data)
        with closing(history(settings, data)) as found:
            yield settings, found, bundle


def chosen(partitions: Sequence[int], wanted: int | None, code: int = 1) -> Sequence[int]:
    """All partitions, or the one that is wanted, if it exists."""
    if wanted is not None and wanted not in partitions:
        fail(f"there is no partition {wanted}: there are {len(partitions)}", code)
    return partitions if wanted is None else [wanted]
