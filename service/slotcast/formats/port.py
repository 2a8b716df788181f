"""The port of record formats: tick and forecast records to bytes and back.

Promises: the same record is always the same bytes, and whatever bytes come in, a reader either
gives a record or raises one of `REFUSED`. Adapters: `named` (JSON and MessagePack), `avro`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from slotcast_models.schema import RecordFormat

T = TypeVar("T")

REFUSED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a reader raises for bytes that are no such record; `msgspec.ValidationError` is one."""


class FormatError(ValueError):
    """A format or a schema that cannot be used, or a record that it cannot hold."""


class ForecastWriter(Protocol):
    """Writes forecast records whose levels and model are always the same, and written once."""

    def part(self, value: Any) -> msgspec.Raw:
        """Levels or model, written."""

    def record(self, forecast: Any) -> bytes:
        """A `ForecastRecord`; levels and model are `part`s, targets a struct in their order."""


class Format(Protocol):
    """One format, for one tick schema."""

    name: RecordFormat
    text: bool
    """Whether a record is UTF-8, and has no NaN of its own."""

    def is_deep(self, value: bytes) -> bool:
        """Whether it is nested deeper than `MOST_LEVELS`."""

    def ticks(self, shape: type[T]) -> Callable[[bytes], T]:
        """A reader of tick records, as structs of this type. It raises one of `REFUSED`."""

    def forecasts(self, shape: type[T]) -> Callable[[bytes], T]:
        """A reader of forecast records, or of some of their fields; `Any`: as dict."""

    def write_tick(self, fields: Mapping[str, Any]) -> bytes:
        """A tick record with these fields. Raises FormatError."""

    def writer(self, targets: Sequence[str]) -> ForecastWriter:
        """A writer of forecast records with these targets."""

    def mark(self, partition: int, offset: int) -> bytes:
        """Bytes that every forecast of this tick has in it, and few others."""
