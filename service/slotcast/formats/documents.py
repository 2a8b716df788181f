"""Schema documents of all records: JSON Schema and Avro, shipped in `schemas/` or made to measure.

Files are versioned by name. What is only added to a JSON record keeps its version, since readers
ignore fields that they do not know; an Avro record that changes in any way gets a new one.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from slotcast_models.schema import TickSchema

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def shipped(name: str) -> Any:
    """A file of `schemas/`."""
    return json.loads(files("slotcast.formats").joinpath("schemas", name).read_text("utf-8"))


def document_of(record: str, schema: TickSchema) -> dict[str, Any]:
    """The document of ticks, forecasts, dead-letters or controls under this schema."""
    avro = schema.format == "avro"
    if record == "ticks":
        if avro and schema.avro_schema:
            return dict(json.loads(schema.avro_schema))
        return avro_tick(schema) if avro else json_tick(schema)
    name = record.removesuffix("s")
    kind = "avsc" if avro and name == "forecast" else "schema.json"
    return dict(shipped(f"{name}-1.{kind}"))


def json_tick(schema: TickSchema) -> dict[str, Any]:
    """The JSON Schema of a tick, as JSON or as MessagePack, as far as a schema can say it."""
    number: dict[str, Any] = {"type": "number"}
    fields: dict[str, Any] = {
        schema.instrument: {"type": ["string", "null"], "maxLength": 256},
        schema.time: {"type": "string" if schema.time_unit == "iso" else "number"},
    }
    if schema.sequence:
        fields[schema.sequence] = {"type": "integer"}
    for quantity in schema.quantities:
        bounds = {"exclusiveMinimum": quantity.gt, "minimum": quantity.ge}
        kind = number if quantity in schema.targets else {"type": ["number", "null"]}
        found = kind | {word: bound for word, bound in bounds.items() if bound is not None}
        fields[quantity.name] = found
    required = [schema.time, *(target.name for target in schema.targets)]
    return {
        "$schema": DRAFT,
        "title": "Tick",
        "description": "A tick, version 1. The instrument may be left out where the key has it.",
        "type": "object",
        "properties": fields,
        "required": required + ([schema.sequence] if schema.sequence else []),
    }


def avro_tick(schema: TickSchema) -> dict[str, Any]:
    """The Avro schema of a tick where no file gives one: fields in the schema's order."""
    time = {"iso": "string", "s": "double"}.get(schema.time_unit, "long")
    fields: list[dict[str, Any]] = [
        {"name": schema.instrument, "type": "string"},
        {"name": schema.time, "type": time},
    ]
    if schema.sequence:
        fields.append({"name": schema.sequence, "type": "long"})
    fields += [{"name": target.name, "type": "double"} for target in schema.targets]
    fields += [
        {"name": feature.name, "type": ["null", "double"], "default": None}
        for feature in schema.features
    ]
    return {
        "type": "record",
        "name": "Tick",
        "namespace": "slotcast",
        "doc": "A tick, version 1.",
        "fields": fields,
    }
