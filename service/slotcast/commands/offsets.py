"""`slotcast offsets`: the group's committed offsets, restored or set anew while no worker runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from slotcast.commands.options import AsJson, Config, fail

if TYPE_CHECKING:
    from slotcast.formats.port import Format
    from slotcast.log.history import History
    from slotcast.log.kafka.commit import OutsideCommitter
    from slotcast.log.port import Committed

offsets_app = typer.Typer(help="Restore or set committed offsets while no worker runs.")
Only = Annotated[int | None, typer.Option(min=0, help="This partition only.")]


class Opened(NamedTuple):
    """What both commands need."""

    history: History
    committer: OutsideCommitter
    bundle: str
    form: Format


@offsets_app.command()
def restore(
    config: Config = None,
    partition: Only = None,
    origin: Annotated[
        int | None,
        typer.Option(min=0, help="Offset at which memory began; the first forecast's if none."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring back committed offsets that have expired, as the forecasts and dead letters tell them.

    Memory is then replayed from its origin, so forecasts go on as if nothing had happened.

    Example: slotcast offsets restore --config slotcast.toml
    """
    from slotcast.offsets import restored

    told = dict[int, str]()
    with _opened(config) as opened:

        def choose(number: int) -> Committed | None:
            at = opened.history.committed(number)
            if at is not None:
                told[number] = f"has its committed offset, {at.offset}"
                return None
            facts = opened.bundle, opened.committer.topic_id
            found = restored(opened.history, number, *facts, origin, opened.form)
            if found is None:
                told[number] = "nothing was published yet, there is no offset"
            return found

        _tell(_commit(opened, partition, choose), told, as_json)


@offsets_app.command()
def begin(
    config: Config = None,
    partition: Only = None,
    at: Annotated[
        str, typer.Option(help="first, committed, end, or an offset of the tick topic.")
    ] = "committed",
    as_json: AsJson = False,
) -> None:
    """Let an empty memory begin at an offset: another bundle, or a fresh start.

    What lies before the committed offset and is read again is forecast again.

    Example: slotcast offsets begin --at end
    """
    from slotcast.offsets import begun
    from slotcast_models.step import numerics

    with _opened(config) as opened:

        def choose(number: int) -> Committed:
            offset = _place(opened.history, number, at)
            return begun(offset, opened.bundle, numerics(), opened.committer.topic_id)

        _tell(_commit(opened, partition, choose), {}, as_json)


def _place(history: History, number: int, at: str) -> int:
    first, end = history.bounds("ticks", number)
    if at == "committed":
        committed = history.committed(number)
        if committed is None:
            fail(f"partition {number} has no committed offset: give --at first, end or an offset")
        return committed.offset
    if at in ("first", "end"):
        return first if at == "first" else end
    if not at.isdecimal() or not first <= int(at) <= end:
        fail(f"--at {at} is none of first, committed, end, nor an offset within {first} to {end}")
    return int(at)


def _commit(
    opened: Opened, only: int | None, choose: Callable[[int], Committed | None]
) -> dict[int, Committed]:
    """Choose for every partition before anything is committed; returns what was."""
    numbers = opened.history.partitions()
    if only is not None and only not in numbers:
        fail(f"there is no partition {only}: there are {len(numbers)}")
    chosen = {number: choose(number) for number in ([only] if only is not None else numbers)}
    offsets = {number: at for number, at in chosen.items() if at is not None}
    if offsets:
        opened.committer.commit(offsets)
    return offsets


def _tell(offsets: dict[int, Committed], left: dict[int, str], as_json: bool) -> None:
    """What was committed, and why other partitions were left alone."""
    if as_json:
        made = [
            {"partition": number, "offset": at.offset, "note": json.loads(at.metadata)}
            for number, at in offsets.items()
        ]
        alone = [{"partition": number, "why": why} for number, why in left.items()]
        typer.echo(json.dumps({"committed": made, "left": alone}, indent=2))
        return
    for number, why in left.items():
        typer.echo(f"partition {number}: {why}")
    for number, at in offsets.items():
        typer.echo(f"partition {number}: committed offset {at.offset}, note {at.metadata}")


@contextmanager
def _opened(config: Path | None) -> Iterator[Opened]:
    """What is needed, and failures as messages."""
    import logging

    from slotcast.bootstrap import history, load_bundle, outside_committer
    from slotcast.formats.choice import format_of
    from slotcast.log.port import LogError
    from slotcast.offsets import Unrestorable
    from slotcast.settings import Settings
    from slotcast_models.bundle import BundleError

    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    try:
        settings = Settings.load(config)
        bundle = load_bundle(settings)
        committer = outside_committer(settings)
        opened = history(settings)
        try:
            yield Opened(opened, committer, bundle.identity, format_of(bundle.schema))
        finally:
            opened.close()
            committer.close()
    except (OSError, ValueError, BundleError, LogError, Unrestorable) as error:
        fail(error)
