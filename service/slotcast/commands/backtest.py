"""`slotcast backtest`: what forecasts of recorded ticks would have been worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from slotcast.commands import options
from slotcast.commands.options import fail, failing
from slotcast.commands.train import need_tensorflow

if TYPE_CHECKING:
    from slotcast.backtest.run import Backtest, Mode
    from slotcast.feeds.columns import Recorded
    from slotcast.settings import Settings
    from slotcast_models.bundle import Bundle

MODES = ("frozen", "inline", "delayed")


def backtest(
    source: options.Source,
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle directory; the configured one if none.")
    ] = None,
    config: options.Config = None,
    skip: Annotated[
        int | None, typer.Option(min=0, help="First ticks that are not scored; a fifth if none.")
    ] = None,
    free_run: Annotated[
        int | None, typer.Option(min=1, help="Also so many steps ahead, on copies of memory.")
    ] = None,
    learn: Annotated[
        str | None, typer.Option(help="Also a learning network: frozen, inline or delayed.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Directory for pictures, page and JSON.")] = None,
    as_json: options.AsJson = False,
    offsets: options.OffsetRange = None,
    value: options.TargetColumns = None,
    instrument: options.Column = None,
    name: options.SeriesName = None,
    time: options.Column = None,
    time_unit: options.TimeUnit = None,
    sequence: options.Column = None,
    positive: options.Positive = False,
) -> None:
    """Forecast recorded ticks as the live service would have, and compare with what came.

    Example: slotcast backtest --from prices.csv --value close --positive --out build/prices
    """
    if learn is not None and learn not in MODES:
        fail(f"--learn {learn}: need one of {', '.join(MODES)}")
    if learn is not None:
        need_tensorflow("slotcast backtest --learn")
    if out is not None:
        _need_matplotlib()
    file_options = (instrument, name, time, time_unit, value, sequence)
    with failing():
        from slotcast.feeds.sources import read_recorded

        settings, chosen = _chosen(config, bundle, source)
        schema, recorded = read_recorded(source, settings, offsets, file_options, positive)
        bound = chosen.bind(schema)
        found, told = _measured(bound, recorded, skip, cast("Mode | None", learn), free_run)
        told = {"source": recorded.facts(source)["source"], **told}
        _tell(found, told, out, as_json)


def _need_matplotlib() -> None:
    import importlib.util

    from slotcast.backtest.plots import NEEDS

    if importlib.util.find_spec("matplotlib") is None:
        fail(f"slotcast backtest --out {NEEDS}")


def _chosen(config: Path | None, bundle: Path | None, source: str) -> tuple[Settings, Bundle]:
    """Settings and bundle; ticks of a file follow the bundle's own schema where it has one."""
    import logging

    from slotcast.settings import Settings
    from slotcast_models.bundle import Bundle

    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    settings = Settings.load(config)
    found = Bundle.load(bundle or settings.bundle.path)
    own = found.manifest.tick_schema
    if settings.tick_schema is None and own is not None and not Path(source).is_dir():
        settings = settings.model_copy(update={"tick_schema": own})
    return settings, found


def _measured(
    bundle: Bundle,
    recorded: Recorded,
    skip: int | None,
    learn: Mode | None,
    free_run: int | None,
) -> tuple[Backtest, dict[str, Any]]:
    from slotcast.backtest.ahead import free_runs, horizon_facts
    from slotcast.backtest.run import backtest as run
    from slotcast.backtest.run import skipped
    from slotcast.backtest.scores import facts
    from slotcast.terminal.progress import bars

    with bars() as advanced:
        found = run(bundle, recorded, skipped(recorded, skip), learn, advanced)
        runs = None if free_run is None else free_runs(found, free_run, advanced)
    told = facts(found)
    if runs is not None:
        told["free_run"] = horizon_facts(found, runs)
    return found, told


def _tell(found: Backtest, told: dict[str, Any], out: Path | None, as_json: bool) -> None:
    from slotcast.backtest.report import show, write
    from slotcast.backtest.scores import finite

    written = [] if out is None else write(out, found, told)
    if as_json:
        typer.echo(json.dumps(finite(told), indent=2))
        return
    show(told)
    for path in written:
        typer.echo(f"wrote {path}")
