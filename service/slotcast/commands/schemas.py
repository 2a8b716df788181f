"""`slotcast schema`: the schema documents of records, as the configured format has them."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from slotcast.commands.options import Config, failing, load

Record = Literal["ticks", "forecasts", "dead-letters", "controls"]


def schema(
    record: Annotated[Record, typer.Argument(help="ticks, forecasts, dead-letters or controls.")],
    config: Config = None,
) -> None:
    """Print the JSON Schema of a record, or the Avro schema where that is its format.

    Example: slotcast schema ticks --config slotcast.toml
    """
    from slotcast.formats.documents import document_of

    with failing():
        _, bundle = load(config, None)
        typer.echo(json.dumps(document_of(record, bundle.schema), indent=2))
