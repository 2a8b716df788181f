"""Forecast records in Avro, laid out by hand: their shape is fixed, and a general writer takes
several times as long. The bytes are those that fastavro writes of `forecast-1.avsc`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

_double, _doubles3 = struct.Struct("<d").pack, struct.Struct("<3d").pack
FIRST, SECOND, THIRD = b"\0", b"\x02", b"\x04"
"""Branches of a union; null is a first one."""
END = b"\0"
"""Of the items of an array or a map."""


def long(number: int) -> bytes:
    """An int or a long."""
    left = number << 1 if number >= 0 else (~number << 1) | 1
    if left < 128:
        return left.to_bytes(1, "little")
    written = bytearray()
    while left > 127:
        written.append(left & 127 | 128)
        left >>= 7
    written.append(left)
    return bytes(written)


def string(text: str) -> bytes:
    """A string."""
    encoded = text.encode()
    return long(len(encoded)) + encoded


def doubles(numbers: Sequence[float]) -> bytes:
    """An array of doubles, in one block."""
    n = len(numbers)
    return long(n) + struct.pack(f"<{n}d", *numbers) + END if n else END


def named(numbers: Mapping[str, float]) -> bytes:
    """A map of doubles, in one block."""
    pairs = b"".join(string(name) + _double(number) for name, number in numbers.items())
    return long(len(numbers)) + pairs + END if numbers else END


class AvroForecasts:
    """See `ForecastWriter`."""

    def __init__(self, targets: Sequence[str]) -> None:
        self._names = [string(target) for target in targets]
        self._count = long(len(targets))
        self._sources = {source: string(source) for source in ("model", "persistence")}

    def part(self, value: Any) -> msgspec.Raw:
        """Levels, or a model."""
        if isinstance(value, tuple):
            return msgspec.Raw(doubles(value))
        return msgspec.Raw(string(value.bundle) + string(value.numerics))

    def record(self, forecast: Any) -> bytes:
        """A `ForecastRecord` whose levels and model are `part`s."""
        tick = forecast.tick
        pieces = [string(forecast.instrument), _time(forecast.ts), self._count]
        for name, target in zip(
            self._names, msgspec.structs.astuple(forecast.targets), strict=True
        ):
            pieces += name, self._target(target)
        numbers = long(tick.partition), long(tick.offset), long(tick.origin), long(tick.ticks)
        pieces += END, bytes(forecast.levels), *numbers, bytes(forecast.model)
        return b"".join(pieces)

    def _target(self, target: Any) -> bytes:
        skill = target.skill
        return b"".join(
            (
                _doubles3(target.value, target.forecast, target.naive),
                doubles(target.lower),
                doubles(target.upper),
                self._sources[target.source],
                FIRST if skill is None else SECOND + _double(skill),
                _optional(target.quantiles),
                _optional(target.probabilities),
            )
        )


def _optional(numbers: Any) -> bytes:
    return FIRST if numbers is msgspec.UNSET else SECOND + named(numbers)


def _time(ts: float | str) -> bytes:
    if isinstance(ts, int):
        return FIRST + long(ts)
    return THIRD + string(ts) if isinstance(ts, str) else SECOND + _double(ts)
