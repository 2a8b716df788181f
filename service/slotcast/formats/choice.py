"""Which format a schema names."""

from __future__ import annotations

from slotcast.formats.named import JSON, MSGPACK
from slotcast.formats.port import Format
from slotcast_models.schema import TickSchema


def format_of(schema: TickSchema) -> Format:
    """The format of ticks and forecasts of this schema. Raises FormatError."""
    if schema.format == "avro":
        from slotcast.formats.avro import Avro

        return Avro(schema)
    return MSGPACK if schema.format == "msgpack" else JSON
