"""What `slotcast bundle show` tells: a bundle explained, as plain facts and as a table."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from slotcast.terminal.text import open_console
from slotcast_models.bundle import Bundle
from slotcast_models.step import numerics


def facts(bundle: Bundle) -> dict[str, Any]:
    """Facts of a bound bundle, ready for JSON."""
    manifest, layout, schema = bundle.manifest, bundle.layout, bundle.schema
    network = manifest.network
    row = layout.dtype()
    return {
        "identity": bundle.identity,
        "fingerprint": bundle.fingerprint,
        "sha256": bundle.sha256,
        "numerics": numerics(),
        "network": " -> ".join(f"{kind} {units}" for kind, units in network.cells) + " -> linear",
        "network_rows": f"one per {network.rows}",
        "parameters": network.parameters,
        "vectors": _vectors_of(bundle),
        "training": network.training,
        "step_program_bytes": len(bundle.program),
        "targets": [q.name for q in schema.targets],
        "features": [q.name for q in schema.features],
        "readout_features": layout.features,
        "readout": f"bias, {layout.lags} own lags, deviation, "
        f"{bundle.siblings} siblings with change and deviation, "
        f"{bundle.seasons.features} of seasons, smoothers{'' if network.corrects else ', network'}",
        "kind": schema.kind or "not declared",
        "seasons": list(schema.seasons),
        "lookbacks": bundle.seasons.lookbacks.tolist(),
        "levels": list(manifest.rules.levels),
        "bytes_per_slot": row.itemsize,
        "bytes_by_part": {name: row[name].itemsize for name in row.names or ()},
    }


def _vectors_of(bundle: Bundle) -> str | dict[str, Any]:
    """What the network is told of who an instrument is."""
    if bundle.vectors is None:
        return "none: the network knows no instrument from another"
    return {
        "numbers": bundle.vectors.numbers,
        "instruments": len(bundle.vectors.instruments),
        "any_other": "their mean: "
        + " ".join(f"{number:.4g}" for number in bundle.vectors.unknown),
    }


def print_facts(found: dict[str, Any]) -> None:
    """The facts as a table."""
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # a digest is there to be compared
    for name, value in found.items():
        if isinstance(value, dict):
            shown = ", ".join(
                f"{key} {each:,}" if isinstance(each, int) else f"{key} {each}"
                for key, each in value.items()
            )
        elif isinstance(value, list):
            shown = ", ".join(str(item) for item in value) or "-"
        else:
            shown = f"{value:,}" if isinstance(value, int) else str(value)
        table.add_row(name.replace("_", " "), shown)
    open_console().print(table)
