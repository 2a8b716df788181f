"""Avro: ticks by a schema file, forecasts by `schemas/forecast-1.avsc`.

A record is one datum, without header: no schema registry is asked and no fingerprint stands before
it. Whoever writes ticks and whoever reads forecasts has the schema.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Any, TypeVar

import msgspec

from slotcast.formats.avro_reader import reader
from slotcast.formats.avro_writer import AvroForecasts, long
from slotcast.formats.documents import avro_tick, shipped
from slotcast.formats.port import FormatError
from slotcast_models.schema import RecordFormat, TickSchema

T = TypeVar("T")
NUMBERS = frozenset({"int", "long", "float", "double"})
TEXTS = frozenset({"string", "enum"})
NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
LOOSE_FIELDS = ("quantiles", "probabilities")
"""Fields of a target that are null in Avro where the other formats leave them out."""


class Avro:
    """See `Format`. Raises FormatError if the schema of ticks cannot be used."""

    name: RecordFormat = "avro"
    text = False

    def __init__(self, schema: TickSchema) -> None:
        document = json.loads(schema.avro_schema) if schema.avro_schema else avro_tick(schema)
        self._schema = _parsed(document)
        _check(self._schema, schema)
        self._read = reader(self._schema)

    def is_deep(self, value: bytes) -> bool:
        return False  # as deep as its schema

    def ticks(self, shape: type[T]) -> Callable[[bytes], T]:
        read, convert = self._read, msgspec.convert
        return lambda value: convert(read(value), shape)

    def forecasts(self, shape: type[T]) -> Callable[[bytes], T]:
        read, convert = _forecast_reader(), msgspec.convert
        return lambda value: convert(_without_nulls(read(value)), shape)

    def write_tick(self, fields: Mapping[str, Any]) -> bytes:
        out = io.BytesIO()
        try:
            _fastavro().schemaless_writer(out, self._schema, dict(fields))
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
            raise FormatError(
                f"the tick {dict(fields)} does not fit the Avro schema: {error}"
            ) from error
        return out.getvalue()

    def writer(self, targets: Sequence[str]) -> AvroForecasts:
        return AvroForecasts(targets)

    def mark(self, partition: int, offset: int) -> bytes:
        return long(partition) + long(offset)


def _fastavro() -> ModuleType:
    try:
        import fastavro
    except ModuleNotFoundError as error:
        raise FormatError('format = "avro" needs fastavro: pip install "slotcast[avro]"') from error
    return fastavro


def _parsed(document: Any) -> Any:
    fastavro = _fastavro()
    try:
        return fastavro.parse_schema(document)
    except (fastavro.schema.SchemaParseException, LookupError, TypeError, ValueError) as error:
        raise FormatError(f"schema.avro_schema is no Avro schema: {error!r}") from error


@cache
def _forecast_reader() -> Callable[[bytes], Any]:
    return reader(_parsed(shipped("forecast-1.avsc")))


def _without_nulls(record: dict[str, Any]) -> dict[str, Any]:
    for target in record["targets"].values():
        for name in LOOSE_FIELDS:
            if target[name] is None:
                del target[name]
    return record


def _check(document: Any, schema: TickSchema) -> None:
    """Whether ticks of this Avro schema can be ticks of the tick schema."""
    if not isinstance(document, dict) or document["type"] != "record":
        raise FormatError("the Avro schema of ticks must be a record")
    fields = {field["name"]: _kinds(field["type"]) for field in document["fields"]}
    odd_names = [name for name in fields if not NAME.fullmatch(name)]
    if odd_names:
        raise FormatError(f"Avro has no field names like {', '.join(odd_names)}: see [schema]")
    numbers, whole = NUMBERS, frozenset({"int", "long"})
    wanted = {schema.time: TEXTS if schema.time_unit == "iso" else numbers}
    wanted |= {target.name: numbers for target in schema.targets}
    wanted |= {schema.sequence: whole} if schema.sequence else {}
    missing = [name for name in wanted if name not in fields]
    if missing:
        raise FormatError(f"the Avro schema of ticks lacks {', '.join(missing)}: see [schema]")
    wanted |= {feature.name: numbers for feature in schema.features}
    wanted[schema.instrument] = TEXTS
    for name, allowed in wanted.items():
        odd = fields.get(name, allowed) - allowed - {"null"}
        if odd:
            raise FormatError(
                f"field {name} of the Avro schema is of type {', '.join(sorted(odd))}:"
                f" need {' or '.join(sorted(allowed))}"
            )


def _kinds(kind: Any) -> frozenset[str]:
    if isinstance(kind, list):
        return frozenset().union(*map(_kinds, kind))
    return frozenset({kind["type"] if isinstance(kind, dict) else kind})
