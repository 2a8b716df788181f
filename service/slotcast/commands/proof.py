"""`slotcast verify` and `slotcast derive`: proofs that what was published is what the log gives.

Exit code 0: proved; 1: something is wrong; 2: it cannot be decided, for whatever reason.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slotcast.commands.options import Config, fail

if TYPE_CHECKING:
    from slotcast.log.history import History
    from slotcast.proof.comparison import Told
    from slotcast.proof.derive import Derivation
    from slotcast.proof.grounds import Advanced
    from slotcast.proof.verify import PartitionReport
    from slotcast.settings import Settings
    from slotcast_models.bundle import Bundle

Data = Annotated[
    Path | None, typer.Option(help="Directory of a demo or a replay; none = Kafka, as configured.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
UNDECIDED = 2
VERDICTS = {
    0: "proved: every forecast is there once, in order and as the log gives it",
    1: "not as the log gives it: see the faults",
    2: "undecided: no fault was found, but not everything could be compared",
}


def verify(
    config: Config = None,
    data: Data = None,
    partition: Annotated[int | None, typer.Option(help="This partition only.")] = None,
    as_json: AsJson = False,
) -> None:
    """Prove from the log that every tick has its forecast: once, in order, the same bytes.

    Steps the whole log again, silently, and compares. Exit code 0: proved; 1: something is wrong;
    2: it cannot be decided.

    Example: slotcast verify --config slotcast.toml
    """
    import msgspec

    from slotcast.proof.verify import Proof
    from slotcast_models.step import numerics

    with _opened(config, data) as (settings, history, bundle):
        promise = "exactly-once" if data else settings.kafka.delivery
        chosen = _chosen(history.partitions(), partition)
        with _progress() as advanced:
            proof = Proof(history, bundle, numerics(), promise, advanced)
            reports = [proof.verify(number) for number in chosen]
    codes = {report.exit_code for report in reports}
    code = next((one for one in (1, 2) if one in codes), 0)
    if as_json:
        found = {"exit_code": code, "bundle": bundle.identity, "partitions": reports}
        typer.echo(msgspec.json.format(msgspec.json.encode(found)))
    else:
        for report in reports:
            _print_report(report)
        typer.echo(VERDICTS[code])
    raise typer.Exit(code)


def derive(
    partition: Annotated[int, typer.Argument(help="Partition of the tick.")],
    offset: Annotated[int, typer.Argument(help="Offset of the tick.")],
    config: Config = None,
    data: Data = None,
) -> None:
    """Make the forecast of one tick again from the log, and compare it with the published one.

    A forecast names its tick in `tick`. Exit codes are those of verify.

    Example: slotcast derive 0 4711 --config slotcast.toml
    """
    from slotcast.proof.derive import Deriver
    from slotcast.proof.grounds import Undecidable
    from slotcast_models.step import numerics

    with _opened(config, data) as (_, history, bundle):
        _chosen(history.partitions(), partition)
        try:
            with _progress() as advanced:
                deriver = Deriver(history, bundle, numerics(), advanced)
                found = deriver.derive(partition, offset)
        except Undecidable as error:
            fail(error, UNDECIDED)
    _print_derivation(found)
    raise typer.Exit(found.exit_code)


@contextmanager
def _opened(config: Path | None, data: Path | None) -> Iterator[tuple[Settings, History, Bundle]]:
    """Settings, history and bundle; whatever fails in here leaves the question undecided."""
    import logging

    from slotcast.bootstrap import history, load_bundle
    from slotcast.controls import UnknownControl
    from slotcast.log.port import LogError
    from slotcast.run_settings import kept_schema
    from slotcast.settings import Settings
    from slotcast_models.bundle import BundleError

    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    try:
        settings = Settings.load(config)
        if data is not None and settings.tick_schema is None:
            settings = settings.model_copy(update={"tick_schema": kept_schema(data)})
        bundle = load_bundle(settings)
        opened = history(settings, data)
        try:
            yield settings, opened, bundle
        finally:
            opened.close()
    except (OSError, ValueError, BundleError, LogError, UnknownControl) as error:
        fail(error, UNDECIDED)


def _chosen(partitions: Sequence[int], wanted: int | None) -> Sequence[int]:
    if wanted is not None and wanted not in partitions:
        fail(f"there is no partition {wanted}: there are {len(partitions)}", UNDECIDED)
    return partitions if wanted is None else [wanted]


@contextmanager
def _progress() -> Iterator[Advanced]:
    """A bar per thing that is done, on a terminal's stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    console, tasks = Console(stderr=True), dict[str, tuple[TaskID, float]]()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:

        def advanced(doing: str, done: int, total: int) -> None:
            if doing not in tasks:
                task = progress.add_task(doing, total=total, rate=0.0)
                tasks[doing] = task, time.monotonic()
            task, begun = tasks[doing]
            rate = done / max(time.monotonic() - begun, 1e-3)
            progress.update(task, completed=done, rate=rate)

        yield advanced


def _print_report(report: PartitionReport) -> None:
    from slotcast.proof.verify import FAULTS

    typer.echo(
        f"partition {report.partition}: records {report.origin:,} to {report.committed:,} give"
        f" {report.forecasts:,} forecasts and {report.dead_letters:,} dead letters"
    )
    for title, tallies in (("fault", report.faults), ("allowed", report.allowed)):
        for kind, tally in tallies.items():
            typer.echo(f"  {title}: {tally.count:,} {kind}: {FAULTS[kind]}")
            for one in tally.first:
                where = "" if one.offset < 0 else f"tick {one.offset} "
                typer.echo(f"    {where}{one.detail}".rstrip())
    for why in report.undecided:
        typer.echo(f"  undecided: {why}")


def _print_derivation(found: Derivation) -> None:
    for told in found.published:
        typer.echo(f"published  {_shown(told)}")
    if not found.published:
        typer.echo("published  none")
    typer.echo(f"derived    {_shown(found.derived) if found.derived else f'none: {found.why}'}")
    for text in found.findings:
        typer.echo(f"fault: {text}")
    for text in found.undecided:
        typer.echo(f"undecided: {text}")
    if found.exit_code == 0:
        typer.echo("the same bytes" if found.derived else "no forecast is due, and none is there")


def _shown(told: Told) -> str:
    return (told.value or b"").decode(errors="replace")
