"""The command line. Every command imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

import slotcast
from slotcast.commands import backtest as backtesting
from slotcast.commands import (
    doctor,
    export,
    inspect,
    keras_bundle,
    memory,
    offsets,
    proof,
    schemas,
    tail,
    topics,
)
from slotcast.commands import train as training
from slotcast.commands.options import (
    Column,
    Config,
    Positive,
    SeriesName,
    TargetColumns,
    TimeUnit,
    above_zero,
    fail,
    failing,
    finite,
    until_interrupted,
)

__all__ = ["app", "main"]

TRY, RUN, LOOK = "Without servers", "On Kafka", "Look"
MEMORY, NETWORKS, ELSE = "Memory and proof", "Networks", "Else"
app = typer.Typer(
    name="slotcast",
    help="One recurrent network, one slot per instrument: a forecast for every tick.",
    epilog="First steps: slotcast demo. On Kafka: slotcast topics create, slotcast doctor, slotcast"
    " simulate, slotcast serve, slotcast tail; each with --help.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
bundle_app = typer.Typer(help="Look at bundles: network, step program and manifest.")
app.add_typer(bundle_app, name="bundle", rich_help_panel=NETWORKS)
app.add_typer(offsets.offsets_app, name="offsets", rich_help_panel=MEMORY)
app.add_typer(topics.topics_app, name="topics", rich_help_panel=RUN)

Port = Annotated[
    int,
    typer.Option(min=0, max=65_535, help="Port of the live page, REST and metrics; 0 = any free."),
]


def _log_to_stderr(verbose: bool) -> None:
    level = logging.DEBUG if verbose else logging.INFO
    form = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    logging.basicConfig(level=level, format=form, stream=sys.stderr)
    for noisy in ("kafka", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)  # complains of a busy machine


@contextmanager
def _hushed_client(verbose: bool) -> Iterator[None]:
    """As `_hush_the_client`, while a worker starts."""
    client = logging.getLogger("kafka")
    level = client.level
    client.setLevel(level if verbose else logging.CRITICAL)
    try:
        yield
    finally:
        client.setLevel(level)


def _hush_the_client() -> None:
    """Our own message names the broker that does not answer; the client's would bury it."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)


@app.command(rich_help_panel=TRY)
def demo(
    ticks: Annotated[int | None, typer.Option(min=0, help="End after so many ticks.")] = None,
    port: Port = 8080,
    rate: Annotated[
        float,
        typer.Option(min=0, callback=finite, help="Ticks per second; 0 = as fast as possible."),
    ] = 4_000,
    instruments: Annotated[
        int, typer.Option(min=1, max=100_000, help="Instruments of the simulated market.")
    ] = 400,
    slots: Annotated[
        int, typer.Option(min=1, help="Instruments kept in memory between commits.")
    ] = 1_024,
    data: Annotated[
        Path | None, typer.Option(help="Directory of log and store; data/demo-INSTRUMENTS if none.")
    ] = None,
) -> None:
    """Forecast a simulated market, with nothing else installed. Goes on where it last stopped.

    Example: slotcast demo --ticks 20000
    """
    from slotcast.demo import run_embedded
    from slotcast.feeds.feed import MarketFeed
    from slotcast.run_settings import market_settings

    settings, feed = market_settings(port, slots), MarketFeed(instruments, ticks, rate)
    directory = data or Path("data") / f"demo-{instruments}"
    raise typer.Exit(run_embedded(settings, directory, feed, until_interrupted()))


@app.command(rich_help_panel=TRY)
def replay(
    file: Annotated[Path, typer.Argument(help="csv, jsonl or parquet, also .gz.")],
    value: TargetColumns = None,
    instrument: Column = None,
    name: SeriesName = None,
    time: Column = None,
    time_unit: TimeUnit = None,
    sequence: Column = None,
    positive: Positive = False,
    ordered: Annotated[
        bool, typer.Option(help="Reject ticks whose values fall left to right.")
    ] = False,
    speed: Annotated[
        float | None,
        typer.Option(min=0, callback=above_zero, help="1 = as recorded; none = at once."),
    ] = None,
    port: Port = 8080,
    slots: Annotated[
        int, typer.Option(min=1, help="Instruments kept in memory between commits.")
    ] = 1_024,
    data: Annotated[Path | None, typer.Option(help="Directory; data/replay-FILE if none.")] = None,
    stay: Annotated[bool, typer.Option(help="Keep serving the page after the last row.")] = False,
) -> None:
    """Forecast recorded ticks from a file, through the same path as live ones.

    Example: slotcast replay prices.csv --instrument ticker --time date --value close --positive
    """
    from slotcast.demo import run_embedded
    from slotcast.feeds.feed import FileFeed
    from slotcast.feeds.files import FileError
    from slotcast.run_settings import column_map, replay_settings

    try:
        columns = column_map(file, instrument, name, time, time_unit, value, sequence)
        settings = replay_settings(columns, positive, ordered, port, slots)
        feed = FileFeed(file, columns, speed, stay)
    except (FileError, FileNotFoundError, ValueError) as error:
        fail(error)
    directory = data or Path("data") / f"replay-{file.name.split('.')[0]}"
    raise typer.Exit(run_embedded(settings, directory, feed, until_interrupted()))


@app.command(rich_help_panel=RUN)
def serve(
    config: Config = None,
    verbose: Annotated[bool, typer.Option(help="Log more.")] = False,
) -> None:
    """Run a worker: ticks from Kafka, forecasts to Kafka, snapshots in Redis.

    Example: slotcast serve --config slotcast.toml
    """
    from slotcast.bootstrap import real
    from slotcast.settings import Settings

    stop = until_interrupted()
    with failing():
        settings = Settings.load(config)
        _log_to_stderr(verbose)
        with _hushed_client(verbose):
            service = real(settings)
        with service:
            logging.getLogger("slotcast").info("serving on %s", service.api.url)
            while service.running and not stop.wait(0.2):
                pass
    if service.worker.failure is not None:
        fail(service.worker.failure)


@app.command(rich_help_panel=RUN)
def produce(
    file: Annotated[Path, typer.Argument(help="csv, jsonl or parquet, also .gz.")],
    topic: Annotated[
        str | None, typer.Option(help="Tick topic; from the configuration if none.")
    ] = None,
    config: Config = None,
    value: Annotated[
        list[str] | None, typer.Option(help="Value column; repeat for several.")
    ] = None,
    instrument: Column = None,
    name: SeriesName = None,
    time: Column = None,
    time_unit: TimeUnit = None,
    sequence: Column = None,
    speed: Annotated[
        float | None,
        typer.Option(min=0, callback=above_zero, help="1 = as recorded; none = at once."),
    ] = None,
) -> None:
    """Send recorded ticks from a file to a Kafka topic, keyed by instrument.

    Example: slotcast produce fx_ticks.parquet --topic ticks --speed 10
    """
    from slotcast.feeds.files import FileError
    from slotcast.feeds.produce import produce_file
    from slotcast.log.port import LogError
    from slotcast.run_settings import column_map, configured_format, named_as
    from slotcast.settings import Settings

    _hush_the_client()
    try:
        settings = Settings.load(config)
        columns = column_map(file, instrument, name, time, time_unit, value, sequence)
        if settings.tick_schema is not None:
            columns = named_as(columns, settings.tick_schema)
        form, target = configured_format(settings), topic or settings.kafka.ticks
        produce_file(settings.kafka, target, file, columns, speed, form, until_interrupted())
    except (FileError, FileNotFoundError, ValueError, LogError) as error:
        fail(error)


@app.command(rich_help_panel=RUN)
def simulate(
    topic: Annotated[
        str | None, typer.Option(help="Tick topic; from the configuration if none.")
    ] = None,
    config: Config = None,
    rate: Annotated[
        float, typer.Option(min=0, callback=above_zero, help="Ticks per second.")
    ] = 400,
    instruments: Annotated[
        int, typer.Option(min=1, max=100_000, help="Instruments of the simulated market.")
    ] = 400,
    ticks: Annotated[int | None, typer.Option(min=0, help="End after so many ticks.")] = None,
) -> None:
    """Send the demo's market to a Kafka topic, stamped with the present time.

    Example: slotcast simulate --topic ticks --rate 400
    """
    from slotcast.feeds.produce import produce_market
    from slotcast.log.port import LogError
    from slotcast.run_settings import configured_format
    from slotcast.settings import Settings

    _hush_the_client()
    try:
        settings = Settings.load(config)
        form, target = configured_format(settings), topic or settings.kafka.ticks
        stop = until_interrupted()
        produce_market(settings.kafka, target, instruments, rate, ticks, form, stop)
    except (FileNotFoundError, ValueError, LogError) as error:
        fail(error)


app.command(rich_help_panel=LOOK)(doctor.doctor)
app.command(rich_help_panel=LOOK)(tail.tail)
app.command(rich_help_panel=MEMORY)(proof.verify)
app.command(rich_help_panel=MEMORY)(proof.derive)
app.command(rich_help_panel=MEMORY)(export.export)
app.command(rich_help_panel=MEMORY)(inspect.inspect)
app.command("import", rich_help_panel=MEMORY)(memory.import_memory)
app.command(rich_help_panel=MEMORY)(memory.reset)
app.command(rich_help_panel=NETWORKS)(training.train)
app.command(rich_help_panel=NETWORKS)(backtesting.backtest)
app.command(rich_help_panel=ELSE)(schemas.schema)


@app.command(rich_help_panel=ELSE)
def warm() -> None:
    """Compile the predictor into its cache now, so that the first start is quick.

    Example: slotcast warm
    """
    from slotcast_models.bundle import Bundle
    from slotcast_models.compiled import NOT_KEPT
    from slotcast_models.predictor import Predictor, warm_up
    from slotcast_models.schema import TickSchema

    if NOT_KEPT:
        fail(f"nothing would be kept: {NOT_KEPT}; set XDG_CACHE_HOME to a folder of this user's")
    warm_up(Predictor(Bundle.load().bind(TickSchema.default())))
    typer.echo("compiled")


bundle_app.command("export")(keras_bundle.bundle_export)


@bundle_app.command("show")
def bundle_show(
    path: Annotated[
        Path | None, typer.Argument(help="Bundle directory; none = the default.")
    ] = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Explain a bundle, bound to the configured schema: units, parameters, bytes, features.

    Example: slotcast bundle show
    """
    from slotcast.bundle_facts import facts, print_facts
    from slotcast.settings import Settings
    from slotcast_models.bundle import Bundle, BundleError
    from slotcast_models.schema import TickSchema

    try:
        settings = Settings.load(config)
        bundle = Bundle.load(path or settings.bundle.path)
        own = bundle.manifest.tick_schema or TickSchema.default()
        found = facts(bundle.bind(settings.tick_schema or own))
    except (BundleError, ValueError, FileNotFoundError) as error:
        fail(error)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        print_facts(found)


@app.command(rich_help_panel=ELSE)
def version() -> None:
    """Print the version.

    Example: slotcast version
    """
    typer.echo(slotcast.__version__)


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()
