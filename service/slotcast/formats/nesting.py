"""How deep a record is nested, told before it is decoded.

Decoders give up at a depth that depends on Python's version and on who calls them. A verdict must
depend on the record alone, so what is nested deeper than `MOST_LEVELS` is refused beforehand.
"""

from __future__ import annotations

import re

MOST_LEVELS = 500
"""Far below Python's own limit. A value of no more bytes cannot be nested deeper."""
_NOT_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[^\[\]{}"]++', re.DOTALL)
"""A text without its end reaches to the end: to look for it again at every quote is quadratic."""
_NOT_CONTAINERS = bytes(set(range(256)) - {*range(0x80, 0xA0), *range(0xDC, 0xE0)})
_FIXED = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_FIXED |= {0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}
"""MessagePack: bytes behind the first one."""
_SIZED = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1)}
_SIZED |= {0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0)}
"""Bytes of the length, and bytes that it does not count."""
_HOLDING = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
"""Bytes of the count, and items to each."""


def json_is_deep(value: bytes) -> bool:
    """Whether brackets outside of texts are open more than `MOST_LEVELS` deep."""
    if value.count(b"[") + value.count(b"{") <= MOST_LEVELS:
        return False
    depth = 0
    for bracket in _NOT_BRACKETS.sub(b"", value):
        depth += 1 if bracket in b"[{" else -1
        if depth > MOST_LEVELS:
            return True
    return False


def msgpack_is_deep(value: bytes) -> bool:
    """Whether arrays and maps are nested more than `MOST_LEVELS` deep."""
    if len(value.translate(None, _NOT_CONTAINERS)) <= MOST_LEVELS:
        return False
    left, at = [1], 0  # items to come, by level
    while left and at < len(value):
        if not left[-1]:
            left.pop()
            continue
        left[-1] -= 1
        items, at = _next(value, at)
        if items is not None:
            left.append(items)
            if len(left) > MOST_LEVELS + 1:
                return True
    return False


def _next(value: bytes, at: int) -> tuple[int | None, int]:
    """Items of the array or map that begins here, else None; and where what follows begins."""
    kind = value[at]
    at += 1
    if 0x80 <= kind < 0xA0:
        return (kind & 15) * (1 if kind & 16 else 2), at
    if 0xA0 <= kind < 0xC0:
        return None, at + (kind & 31)
    if kind in _SIZED:
        size, more = _SIZED[kind]
        return None, at + size + more + int.from_bytes(value[at : at + size])
    if kind in _HOLDING:
        size, each = _HOLDING[kind]
        return each * int.from_bytes(value[at : at + size]), at + size
    return None, at + _FIXED.get(kind, 0)
