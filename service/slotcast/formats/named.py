"""JSON and MessagePack: records that name their fields, both by msgspec, with the same types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from slotcast.formats.nesting import json_is_deep, msgpack_is_deep
from slotcast.formats.port import FormatError
from slotcast_models.schema import RecordFormat

T = TypeVar("T")


class _Writer:
    def __init__(self, encode: Callable[[Any], bytes]) -> None:
        self.record = encode

    def part(self, value: Any) -> msgspec.Raw:
        return msgspec.Raw(self.record(value))


class Named:
    """See `Format`. Order and spelling of the fields are those of the struct."""

    def __init__(self, name: RecordFormat) -> None:
        self.name, self.text = name, name == "json"
        codec: Any = msgspec.json if self.text else msgspec.msgpack
        self._decoder, self._encode = codec.Decoder, codec.Encoder().encode
        self.is_deep = json_is_deep if self.text else msgpack_is_deep

    def ticks(self, shape: type[T]) -> Callable[[bytes], T]:
        decode: Callable[[bytes], T] = self._decoder(shape).decode
        return decode

    forecasts = ticks

    def write_tick(self, fields: Mapping[str, Any]) -> bytes:
        try:
            encoded: bytes = self._encode(fields)
        except (TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"the tick {dict(fields)} is no {self.name}: {error}") from error
        return encoded

    def writer(self, targets: Sequence[str]) -> _Writer:
        return _Writer(self._encode)

    def mark(self, partition: int, offset: int) -> bytes:
        written: bytes = self._encode({"offset": offset})
        return written[1:].removesuffix(b"}")


JSON = Named("json")
MSGPACK = Named("msgpack")
