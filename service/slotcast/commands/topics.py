"""`slotcast topics`: the topics on Kafka, created as delivery needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from slotcast.commands.options import AsJson, Config, failing

if TYPE_CHECKING:
    from slotcast.log.kafka.setup import TopicReport

HOUR_MS = 3_600_000
topics_app = typer.Typer(
    help="Create the topics. Example: slotcast topics create --config slotcast.toml",
    no_args_is_help=True,
)


@topics_app.callback()
def topics() -> None:
    """Create the topics. Example: slotcast topics create --config slotcast.toml"""


@topics_app.command()
def create(
    config: Config = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Of the tick topic; as configured if none.")
    ] = None,
    replication: Annotated[
        int | None, typer.Option(min=1, help="Of all topics; as configured if none.")
    ] = None,
    retention_hours: Annotated[
        int | None,
        typer.Option(
            min=1, max=876_000, help="How long records are kept; the broker's default if none."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create the topics for ticks, forecasts and dead letters, and say how existing ones differ.

    Again and again the same: what exists is never changed. Exit code 1: slotcast cannot run so.

    Example: slotcast topics create --config slotcast.toml --partitions 12 --retention-hours 720
    """
    import logging

    import msgspec

    from slotcast.log.kafka.setup import create_topics
    from slotcast.settings import Settings

    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    with failing():
        kafka = Settings.load(config).kafka
        given = {"partitions": partitions, "replication": replication}
        kafka = kafka.model_copy(update={k: v for k, v in given.items() if v is not None})
        kept = None if retention_hours is None else retention_hours * HOUR_MS
        reports = create_topics(kafka, kept)
    usable = all(report.usable for report in reports)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode({"usable": usable, "topics": reports})))
    else:
        for report in reports:
            _print(report)
    raise typer.Exit(0 if usable else 1)


def _print(report: TopicReport) -> None:
    kept = f", kept {_long(report.retention_ms)}" if report.retention_ms else ""
    typer.echo(
        f"{report.role}: {report.topic} {'created' if report.created else 'is there'},"
        f" {report.partitions} partitions, replication {report.replication}{kept}"
    )
    for one in report.differs:
        typer.secho(
            f"  {one.what} is {one.found}, wanted {one.wanted}"
            f"{': slotcast refuses to run with it' if one.must else ''}",
            fg="red" if one.must else "yellow",
        )


def _long(retention_ms: int) -> str:
    """A retention; brokers write a negative one for no limit."""
    return "for ever" if retention_ms < 0 else f"{retention_ms / HOUR_MS:,.0f} h"
