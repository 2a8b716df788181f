"""`slotcast verify` and `slotcast derive`: proofs that what was published is what the log gives.

Exit code 0: proved; 1: something is wrong; 2: it cannot be decided, for whatever reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slotcast.commands.options import AsJson, Config, Data, OnePartition, chosen, fail, opened

if TYPE_CHECKING:
    from slotcast.proof.derive import Derivation
    from slotcast.proof.verify import PartitionReport
    from slotcast.snapshots.file import SnapshotFile

FromSnapshot = Annotated[
    Path | None, typer.Option(help="Begin with the rows of an exported file, not at the origin.")
]
UNDECIDED = 2
VERDICTS = {
    0: "proved: every forecast is there once, in order and as the log gives it",
    1: "not as the log gives it: see the faults",
    2: "undecided: no fault was found, but not everything could be compared",
}


def verify(
    config: Config = None,
    data: Data = None,
    partition: OnePartition = None,
    from_snapshot: FromSnapshot = None,
    as_json: AsJson = False,
) -> None:
    """Prove from the log that every tick has its forecast: once, in order, the same bytes.

    Steps the whole log again, silently, and compares. Exit code 0: proved; 1: something is wrong;
    2: it cannot be decided.

    Example: slotcast verify --config slotcast.toml
    """
    import msgspec

    from slotcast.proof.verify import Proof
    from slotcast.terminal.progress import bars
    from slotcast_models.step import numerics

    with opened(config, data, UNDECIDED) as (settings, history, bundle):
        promise = "exactly-once" if data else settings.kafka.delivery
        numbers = chosen(history.partitions(), partition, UNDECIDED)
        with bars() as advanced, _snapshot(from_snapshot) as snapshot:
            proof = Proof(history, bundle, numerics(), promise, advanced, snapshot)
            reports = [proof.verify(number) for number in numbers]
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
    partition: Annotated[int, typer.Argument(min=0, help="Partition of the tick.")],
    offset: Annotated[int, typer.Argument(min=0, help="Offset of the tick.")],
    config: Config = None,
    data: Data = None,
    from_snapshot: FromSnapshot = None,
    as_json: AsJson = False,
) -> None:
    """Make the forecast of one tick again from the log, and compare it with the published one.

    A forecast names its tick in `tick`. Exit codes are those of verify.

    Example: slotcast derive 0 4711 --config slotcast.toml
    """
    import msgspec

    from slotcast.proof.derive import Deriver
    from slotcast.proof.grounds import Undecidable
    from slotcast.terminal.progress import bars
    from slotcast_models.step import numerics

    with opened(config, data, UNDECIDED) as (_, history, bundle):
        chosen(history.partitions(), partition, UNDECIDED)
        try:
            with bars() as advanced, _snapshot(from_snapshot) as snapshot:
                deriver = Deriver(history, bundle, numerics(), advanced, snapshot)
                found = deriver.derive(partition, offset)
        except Undecidable as error:
            fail(error, UNDECIDED)
    if as_json:
        facts = {
            "exit_code": found.exit_code,
            "published": [deriver.reader.plain(told.value) for told in found.published],
            "derived": deriver.reader.plain(found.derived.value) if found.derived else None,
            "why": found.why,
            "faults": found.findings,
            "undecided": found.undecided,
        }
        typer.echo(msgspec.json.format(msgspec.json.encode(facts)))
    else:
        _print_derivation(found, deriver.reader.shown)
    raise typer.Exit(found.exit_code)


@contextmanager
def _snapshot(path: Path | None) -> Iterator[SnapshotFile | None]:
    """The checked file, open; None for none. Raises OSError, SnapshotDamaged."""
    from slotcast.snapshots.file import SnapshotFile

    if path is None:
        yield None
        return
    with path.open("rb") as file:
        yield SnapshotFile(file, str(path))


def _print_report(report: PartitionReport) -> None:
    from slotcast.proof.verify import FAULTS

    typer.echo(
        f"partition {report.partition}: records {report.begin:,} to {report.committed:,} give"
        f" {report.forecasts:,} forecasts and {report.dead_letters:,} dead letters"
    )
    if report.from_snapshot:
        typer.echo(
            f"  from a snapshot: what is before {report.begin:,} is out of scope"
            f" ({report.out_of_scope:,} forecasts and dead letters)"
        )
    for title, tallies in (("fault", report.faults), ("allowed", report.allowed)):
        for kind, tally in tallies.items():
            typer.echo(f"  {title}: {tally.count:,} {kind}: {FAULTS[kind]}")
            for one in tally.first:
                where = "" if one.offset < 0 else f"tick {one.offset} "
                typer.echo(f"    {where}{one.detail}".rstrip())
    for why in report.undecided:
        typer.echo(f"  undecided: {why}")


def _print_derivation(found: Derivation, shown: Callable[[bytes | None], str]) -> None:
    for told in found.published:
        typer.echo(f"published  {shown(told.value)}")
    if not found.published:
        typer.echo("published  none")
    derived = shown(found.derived.value) if found.derived else f"none: {found.why}"
    typer.echo(f"derived    {derived}")
    for text in found.findings:
        typer.echo(f"fault: {text}")
    for text in found.undecided:
        typer.echo(f"undecided: {text}")
    if found.exit_code == 0:
        typer.echo("the same bytes" if found.derived else "no forecast is due, and none is there")
