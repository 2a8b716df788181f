"""`slotcast bundle export`: a bundle from a user's own Keras network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotcast.commands.options import Config, fail
from slotcast.commands.train import ROWS, need_tensorflow

if TYPE_CHECKING:
    from slotcast_models.schema import TickSchema


def bundle_export(
    network: Annotated[Path, typer.Argument(help="A .keras file.")],
    out: Annotated[Path, typer.Option(help="Bundle directory to write.")],
    config: Config = None,
    rows: Annotated[
        str | None, typer.Option(help="target or instrument; told by the sizes if none.")
    ] = None,
    bundle_name: Annotated[
        str | None, typer.Option(help="Name of the bundle; that of the directory if none.")
    ] = None,
) -> None:
    """Make a bundle of a recurrent Keras network: stacked LSTM, GRU or SimpleRNN.

    Its inputs and outputs must be those of the fold, for the configured schema, per target or per
    instrument.

    Example: slotcast bundle export my.keras --out bundles/mine
    """
    need_tensorflow("slotcast bundle export")
    import keras

    from slotcast.settings import Settings
    from slotcast_models.bundle import MANIFEST, Bundle, BundleError
    from slotcast_models.schema import TickSchema

    if (out / MANIFEST).exists():
        fail(f"{out} is a bundle already: give another --out, or delete it")
    name = bundle_name or re.sub(r"[^a-z0-9-]+", "-", out.resolve().name.lower()).strip("-")
    try:
        settings = Settings.load(config)
        rules = Bundle.load(settings.bundle.path).manifest.rules
        if not network.is_file():
            raise ValueError(f"there is no file {network}: save the network with network.save()")
        loaded = keras.models.load_model(network, compile=False)
        schema = settings.tick_schema or TickSchema.default()
        if rows not in (None, *ROWS):
            raise ValueError(f"--rows {rows}: need one of {', '.join(ROWS)}")
        manifest = _write(out, name, loaded, rules, schema, network.name, rows)
    except (OSError, TypeError, ValueError, BundleError) as error:
        fail(error)
    spec = manifest.network
    cells = " -> ".join(f"{kind} {units}" for kind, units in spec.cells)
    typer.echo(f"{cells}: {spec.inputs} inputs, {spec.outputs} outputs per {spec.rows}")
    typer.echo(f"wrote {out}")


def _write(
    out: Path,
    name: str,
    network: Any,
    rules: Any,
    schema: TickSchema,
    file: str,
    wanted: str | None,
) -> Any:
    from slotcast_models.bundle import NETWORK, STEP, Manifest, save_bundle
    from slotcast_models.export import export_step, saved_network
    from slotcast_models.heads import Head
    from slotcast_models.trained import spec_of

    program = export_step(network)
    rows, phases = _fit(network, rules, schema, wanted)
    spec = spec_of(network, rows, Head(), phases, f"exported from {file}")
    manifest = Manifest(
        name=name,
        network=spec,
        rules=rules,
        files={},
        tick_schema=schema if rows == "instrument" else None,
    )
    save_bundle(out, manifest, {STEP: program, NETWORK: saved_network(network)})
    return manifest


def _fit(network: Any, rules: Any, schema: TickSchema, wanted: str | None) -> tuple[Any, int]:
    """Rows and phases for which the fold has these inputs and outputs. Raises ValueError.

    `wanted` are the rows that there have to be; else they are those of the only layout that fits.
    """
    from slotcast_models.bundle import network_sizes

    found = int(network.input_shape[-1]), int(network.output_shape[-1])
    waves = range((rules.harmonics if schema.seasons else 0) + 1)
    fits = [
        (rows, phases)
        for rows in ROWS
        for phases in waves
        if wanted in (None, rows) and network_sizes(schema, rows, phases) == found
    ]
    if len(fits) == 1:
        return fits[0]
    if fits:
        told = " or ".join(f"one row per {rows} with {phases} phases" for rows, phases in fits)
        raise ValueError(
            f"{found[0]} inputs and {found[1]} outputs are {told}: say which with --rows"
        )
    lone, whole = network_sizes(schema, "target"), network_sizes(schema, "instrument")
    raise ValueError(
        f"the network takes {found[0]} inputs and gives {found[1]} outputs. The fold gives a "
        f"target {lone[0]} inputs (change and deviation in scales, pause in median steps) and takes"
        f" {lone[1]} output (the next change in scales); or an instrument of this schema {whole[0]}"
        f" and {whole[1]} (change and deviation of every quantity, presence of every feature,"
        " pause). Record these with slotcast_models.recording and train on them, or let"
        " slotcast train --network do it; docs/training.md shows both"
    )
