"""Readers of Avro datums, compiled once from a schema: strict, and nothing but the values.

fastavro checks the schema, but it is not what reads: it takes a negative branch of a union for one
from the end, numbers of more than 64 bits, and whatever is left over behind a record. Here those
are no records, whatever the library's version. Logical types are read as what they are stored as.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from slotcast.formats.port import FormatError

Read = Callable[[bytes, int], tuple[Any, int]]
"""(bytes, position) -> (value, position behind it)."""
_float, _double = struct.Struct("<f").unpack_from, struct.Struct("<d").unpack_from


class NotAvro(msgspec.DecodeError):
    """The bytes are no record of the schema."""


def reader(schema: Any) -> Callable[[bytes], Any]:
    """A reader of whole records of a schema that fastavro has parsed. Raises FormatError.

    The reader raises NotAvro, or UnicodeDecodeError for text that is not UTF-8.
    """
    read = _compiled(schema, {})

    def whole(value: bytes) -> Any:
        try:
            found, end = read(value, 0)
        except (IndexError, struct.error):
            raise NotAvro(f"the record goes on beyond its {len(value)} bytes") from None
        if end != len(value):
            raise NotAvro(f"{len(value) - end} bytes are left over behind the record")
        return found

    return whole


def _compiled(schema: Any, named: dict[str, Read | None]) -> Read:
    """`named` are the types so far by full name; None while one is being compiled."""
    if isinstance(schema, list):
        return _union([_compiled(branch, named) for branch in schema])
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind in PRIMITIVES:
        return PRIMITIVES[kind]
    if kind in named:
        known = named[kind]
        if known is None:
            raise FormatError(f"the Avro type {kind} holds itself: its depth would have no end")
        return known
    if kind == "array":
        return _blocks(_compiled(schema["items"], named), list)
    if kind == "map":
        return _blocks(_pair(_compiled(schema["values"], named)), dict)
    return _named(schema, kind, named)


def _named(schema: Any, kind: str, named: dict[str, Read | None]) -> Read:
    name = schema["name"]
    named[name] = None
    if kind == "record":
        fields = [(field["name"], _compiled(field["type"], named)) for field in schema["fields"]]
        made = _record(fields)
    elif kind == "enum":
        made = _enum(schema["symbols"])
    elif kind == "fixed" and schema["size"] > 0:
        made = _fixed(schema["size"])
    else:
        raise FormatError(f"the Avro type {name} is a {kind}, which no field of a tick can be")
    named[name] = made
    return made


def _long(value: bytes, at: int) -> tuple[int, int]:
    byte = value[at]
    at += 1
    found, shift = byte & 127, 7
    while byte > 127:
        byte = value[at]
        at += 1
        found |= (byte & 127) << shift
        shift += 7
        if found >> 64 or shift > 70:
            raise NotAvro("a number has more than 64 bits")
    return (found >> 1) ^ -(found & 1), at


def _int(value: bytes, at: int) -> tuple[int, int]:
    found, at = _long(value, at)
    if not -(2**31) <= found < 2**31:
        raise NotAvro(f"an int is {found}: more than 32 bits")
    return found, at


def _boolean(value: bytes, at: int) -> tuple[bool, int]:
    if value[at] > 1:
        raise NotAvro(f"a boolean is {value[at]}")
    return value[at] == 1, at + 1


def _bytes(value: bytes, at: int) -> tuple[bytes, int]:
    length, at = _long(value, at)
    if not 0 <= length <= len(value) - at:
        raise NotAvro(f"a length is {length}, and {len(value) - at} bytes follow")
    return value[at : at + length], at + length


def _string(value: bytes, at: int) -> tuple[str, int]:
    found, at = _bytes(value, at)
    return found.decode(), at


PRIMITIVES: Mapping[str, Read] = {
    "null": lambda _, at: (None, at),
    "boolean": _boolean,
    "int": _int,
    "long": _long,
    "float": lambda value, at: (_float(value, at)[0], at + 4),
    "double": lambda value, at: (_double(value, at)[0], at + 8),
    "bytes": _bytes,
    "string": _string,
}


def _record(fields: Sequence[tuple[str, Read]]) -> Read:
    def read(value: bytes, at: int) -> tuple[dict[str, Any], int]:
        found = {}
        for name, read_field in fields:
            found[name], at = read_field(value, at)
        return found, at

    return read


def _union(branches: Sequence[Read]) -> Read:
    def read(value: bytes, at: int) -> tuple[Any, int]:
        branch, at = _long(value, at)
        if not 0 <= branch < len(branches):
            raise NotAvro(f"a union has {len(branches)} branches, not number {branch}")
        return branches[branch](value, at)

    return read


def _enum(symbols: Sequence[str]) -> Read:
    def read(value: bytes, at: int) -> tuple[str, int]:
        symbol, at = _int(value, at)
        if not 0 <= symbol < len(symbols):
            raise NotAvro(f"an enum has {len(symbols)} symbols, not number {symbol}")
        return symbols[symbol], at

    return read


def _fixed(size: int) -> Read:
    def read(value: bytes, at: int) -> tuple[bytes, int]:
        if size > len(value) - at:
            raise IndexError
        return value[at : at + size], at + size

    return read


def _pair(read_value: Read) -> Read:
    def read(value: bytes, at: int) -> tuple[tuple[str, Any], int]:
        name, at = _string(value, at)
        found, at = read_value(value, at)
        return (name, found), at

    return read


def _blocks(read_item: Read, made: Callable[[list[Any]], Any]) -> Read:
    def read(value: bytes, at: int) -> tuple[Any, int]:
        found: list[Any] = []
        while True:
            count, at = _long(value, at)
            if not count:
                return made(found), at
            end = None
            if count < 0:
                size, at = _long(value, at)
                count, end = -count, at + size
            if count > len(value) - at:
                raise NotAvro(f"a block of {count} items has {len(value) - at} bytes")
            for _ in range(count):
                begun = at
                item, at = read_item(value, at)
                if at == begun:  # a few bytes could hold any number of them
                    raise NotAvro("an item has no bytes")
                found.append(item)
            if end not in (None, at):
                raise NotAvro("a block is not as long as it says")

    return read
