"""Control records: what changes memory and is neither a tick nor a tombstone.

A control record has a null key and the header `slotcast-control`, whose value is a JSON object with
a `type`. It holds at its place in the log: `reset-all` for every instrument of its partition,
`import` for the one that it names (see imports.py).
"""

from __future__ import annotations

import msgspec

HEADER = "slotcast-control"
RESET_ALL = "reset-all"
IMPORT = "import"


class Control(msgspec.Struct, frozen=True, omit_defaults=True):
    """A decoded control record; `instrument` is that of an import."""

    type: str
    instrument: str | None = None


class UnknownControl(Exception):
    """A well-formed control record that this build does not know: it must not be skipped."""


_decoder = msgspec.json.Decoder(Control)


def encode_control(kind: str, instrument: str | None = None) -> bytes:
    """The header value for a control record of this type."""
    return msgspec.json.encode(Control(kind, instrument))


def decode_control(value: bytes) -> Control | None:
    """The control record, or None if the bytes are not one. Raises `UnknownControl`."""
    try:
        control = _decoder.decode(value)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
    if control.type == IMPORT and not control.instrument:
        return None
    if control.type not in (RESET_ALL, IMPORT):
        raise UnknownControl(
            f"control record of type {control.type!r} is unknown to this build, which knows "
            f"{RESET_ALL!r} and {IMPORT!r}: upgrade slotcast before it reads on"
        )
    return control
