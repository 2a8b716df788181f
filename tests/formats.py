"""Ticks in every format, for tests: one schema each, and records that need not be valid."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from slotcast.formats.choice import format_of
from slotcast_models.schema import RecordFormat, TickSchema

FORMATS: tuple[RecordFormat, ...] = ("json", "msgpack", "avro")
every_format = pytest.mark.parametrize("form", FORMATS)


def in_format(schema: TickSchema, form: RecordFormat, avro_schema: str | None = None) -> TickSchema:
    """The same schema, written otherwise."""
    given = avro_schema if form == "avro" else None
    return TickSchema.model_validate(schema.model_dump() | {"format": form, "avro_schema": given})


def written(schema: TickSchema, fields: Mapping[str, Any]) -> bytes:
    """A tick record with these fields; unlike the real thing, JSON writes NaN as other tools do."""
    if schema.format == "json":
        return json.dumps(dict(fields)).encode()
    return format_of(schema).write_tick(fields)


def plain(schema: TickSchema, forecast: bytes | None) -> Any:
    """A forecast record as what it would be in JSON."""
    return msgspec.to_builtins(format_of(schema).forecasts(Any)(forecast or b""))
