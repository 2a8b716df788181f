"""Settings of embedded runs: the market's schema, or one read off a file's columns.

The schema is kept beside the log, so that a proof needs nothing but the directory.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

from slotcast.feeds.files import ColumnMap, guess_columns
from slotcast.formats.choice import format_of
from slotcast.formats.port import Format
from slotcast.settings import HttpSettings, Settings, WorkerSettings
from slotcast_models.schema import Quantity, TickSchema, TimeUnit

SCHEMA_FILE = "schema.json"
LONG_AGO_MS = 10 * 365 * 86_400_000
"""Simulated and recorded times have no tie to the record's own timestamp."""


def market_settings(port: int, slots: int) -> Settings:
    """For the simulated market: a positive price, with volume as a feature."""
    schema = TickSchema(
        targets=(Quantity(name="price", gt=0, log=True),),
        features=(Quantity(name="volume", ge=0),),
        max_ahead_ms=LONG_AGO_MS,
    )
    return _settings(schema, port, slots)


def replay_settings(
    columns: ColumnMap, positive: bool, ordered: bool, port: int, slots: int
) -> Settings:
    """For a file: every value column is a target. Raises ValueError."""
    bound = 0.0 if positive else None
    schema = TickSchema(
        instrument=columns.instrument_field,
        time=columns.time_field,
        time_unit=columns.time_unit,
        sequence=columns.sequence_field if columns.sequence else None,
        targets=tuple(Quantity(name=name, gt=bound, log=positive) for name in columns.values),
        ordered=tuple(columns.values) if ordered else (),
        max_ahead_ms=10**15,
    )
    return _settings(schema, port, slots)


def _settings(schema: TickSchema, port: int, slots: int) -> Settings:
    return Settings(
        schema=schema,  # the field's alias; mypy sees the alias through pydantic's plugin
        http=HttpSettings(port=port),
        worker=WorkerSettings(slots=slots),
    )


def column_map(
    path: Path,
    instrument: str | None,
    name: str | None,
    time: str | None,
    time_unit: str | None,
    values: list[str] | None,
    sequence: str | None,
) -> ColumnMap:
    """What the file's columns are: the options given, guesses for the rest. Raises FileError."""
    guess = guess_columns(path)
    chosen = {v: v for v in values} if values else guess.values
    return ColumnMap(
        values=chosen,
        instrument=None if name else instrument or guess.instrument,
        name=name or guess.name,
        time=time or guess.time,
        time_unit=cast(TimeUnit, time_unit or guess.time_unit),
        sequence=sequence or guess.sequence,
        header=guess.header,
        delimiter=guess.delimiter,
    )


def configured_format(settings: Settings) -> Format:
    """The format of the configured schema. Raises FormatError."""
    return format_of(settings.tick_schema or TickSchema.default())


def named_as(columns: ColumnMap, schema: TickSchema) -> ColumnMap:
    """The same columns, written under the field names of a schema."""
    return replace(
        columns,
        instrument_field=schema.instrument,
        time_field=schema.time,
        sequence_field=schema.sequence or columns.sequence_field,
    )


def keep_schema(directory: Path, schema: TickSchema) -> None:
    """Write down the schema of the ticks in this directory."""
    (directory / SCHEMA_FILE).write_text(schema.model_dump_json(indent=2) + "\n", encoding="utf-8")


def kept_schema(directory: Path) -> TickSchema | None:
    """The schema of the ticks in this directory, if it is written there. Raises ValueError."""
    path = directory / SCHEMA_FILE
    if not path.is_file():
        return None
    return TickSchema.model_validate_json(path.read_text(encoding="utf-8"))
