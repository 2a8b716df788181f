"""Where recorded ticks come from: a file, the directory of a demo or a replay, or a Kafka topic."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from slotcast.bootstrap import history
from slotcast.feeds.columns import Recorded, file_batches, gather, topic_batches
from slotcast.log.port import Batch
from slotcast.run_settings import column_map, kept_schema, named_as, replay_settings
from slotcast.settings import Settings
from slotcast_models.schema import TickSchema

FileOptions = tuple[str | None, str | None, str | None, str | None, list[str] | None, str | None]
"""Columns of a file as options name them: instrument, name, time, time unit, values, sequence."""


def read_recorded(
    source: str,
    settings: Settings,
    offsets: str | None,
    file_options: FileOptions,
    positive: bool,
) -> tuple[TickSchema, Recorded]:
    """Schema and ticks of `source`; the schema is the configured one, else follows the source.

    `offsets` is FIRST-LAST, of a log only. Raises ValueError (ImportInWay among them), OSError,
    LogError, UnknownControl.
    """
    path, schema = Path(source), settings.tick_schema
    first, last = _range(offsets)
    if path.is_file():
        if offsets is not None:
            raise ValueError("--offsets is for topics: a file is read as a whole")
        columns = column_map(path, *file_options)
        if schema is None:
            schema = replay_settings(columns, positive, False, 0, 1).tick_schema
            assert schema is not None, "a replay has a schema"
        else:
            columns = named_as(columns, schema)
        as_json = schema.model_copy(update={"format": "json", "avro_schema": None})
        return schema, gather(file_batches(path, columns), as_json)
    if path.is_dir() and schema is None:
        schema = kept_schema(path)
    schema = schema or TickSchema.default()
    return schema, gather(_topic(source, settings, first, last), schema)


def _topic(source: str, settings: Settings, first: int | None, last: int | None) -> Iterator[Batch]:
    path = Path(source)
    directory = path if path.is_dir() else None
    if directory is None:
        if path.suffix or "/" in source:
            raise ValueError(f"there is no file {source}: give a file, a directory or a topic")
        kafka = settings.kafka.model_copy(update={"ticks": source})
        settings = settings.model_copy(update={"kafka": kafka})
    with closing(history(settings, directory)) as opened:
        yield from topic_batches(opened, first, last)


def _range(offsets: str | None) -> tuple[int | None, int | None]:
    if offsets is None:
        return None, None
    match = re.fullmatch(r"([0-9]*)-([0-9]*)", offsets)
    if match is None:
        raise ValueError(f"--offsets {offsets}: need FIRST-LAST, where one may be left out")
    return int(match[1]) if match[1] else None, int(match[2]) if match[2] else None
