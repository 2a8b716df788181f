"""Control records: what changes memory and is neither a tick nor a tombstone.

A control record has a null key and the header `slotcast-control`, whose value is a JSON object with
a `type`. It holds for every instrument of its partition, at its place in the log.
"""

from __future__ import annotations

import msgspec

HEADER = "slotcast-control"
RESET_ALL = "reset-all"


class Control(msgspec.Struct, frozen=True):
    """A decoded control record."""

    type: str


class UnknownControl(Exception):
    """A well-formed control record that this build does not know: it must not be skipped."""


_decoder = msgspec.json.Decoder(Control)


def encode_control(kind: str) -> bytes:
    """The header value for a control record of this type."""
    return msgspec.json.encode(Control(kind))


def decode_control(value: bytes) -> Control | None:
    """The control record, or None if the bytes are not one. Raises `UnknownControl`."""
    try:
        control = _decoder.decode(value)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
    if control.type != RESET_ALL:
        raise UnknownControl(
            f"control record of type {control.type!r} is unknown to this build, which knows "
            f"{RESET_ALL!r}: upgrade slotcast before it reads on"
        )
    return control
