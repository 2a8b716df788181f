"""Snapshots: memory rows and a partition's header, to bytes and back. No I/O.

Everything carries a format version and a checksum; what is unknown or damaged is refused, never
guessed. A row knows the offset it is complete up to (its applied offset) and its fingerprint share
at the last two watermarks, so that rows which are ahead of the watermark still add up.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from slotcast_models.memory import (
    APPLIED,
    MARK_A,
    MARK_B,
    SHARE,
    SHARE_A,
    SHARE_B,
    Memory,
    view,
)

FORMAT = 2
_FRAME = struct.Struct("<4sHHII")  # magic, format, name bytes, row bytes, checksum
_MAGIC = b"SLOT"


class SnapshotDamaged(Exception):
    """A stored row or header cannot be used; the message says which and why."""


class Header(msgspec.Struct, frozen=True):
    """What a snapshot is of. `fingerprint` is the sum of all shares at the watermark.

    `reset_all` is the offset of the last reset-all below the watermark (-1 for none): rows applied
    before it are void. `origin` is the offset at which the partition's memory began. Topic, its id,
    group and partition say which log it is of.
    """

    bundle: str
    numerics: str
    watermark: int
    origin: int
    fingerprint: int
    reset_all: int
    rows: int
    format: int = FORMAT
    topic: str = ""
    topic_id: str = ""
    group: str = ""
    partition: int = -1


def encode_row(name: str, row: NDArray[np.void]) -> bytes:
    """A framed row (shape [] or [1])."""
    payload, label = row.tobytes(), name.encode()
    checksum = zlib.crc32(payload, zlib.crc32(label))
    return _FRAME.pack(_MAGIC, FORMAT, len(label), len(payload), checksum) + label + payload


def decode_row(name: str, data: bytes, dtype: np.dtype[np.void]) -> NDArray[np.void]:
    """The row [1] of this instrument. Raises SnapshotDamaged."""
    if len(data) < _FRAME.size or data[:4] != _MAGIC:
        raise SnapshotDamaged(f"row of {name}: not a slotcast row ({len(data)} bytes)")
    _, version, label_size, size, checksum = _FRAME.unpack_from(data)
    if version != FORMAT:
        raise SnapshotDamaged(
            f"row of {name} has format {version}, this build reads {FORMAT}: "
            "upgrade slotcast, or start with worker.on_damage = cold"
        )
    label = data[_FRAME.size : _FRAME.size + label_size]
    payload = data[_FRAME.size + label_size :]
    if label != name.encode():
        raise SnapshotDamaged(f"row of {name} holds {label!r}")
    if len(payload) != size or zlib.crc32(payload, zlib.crc32(label)) != checksum:
        raise SnapshotDamaged(f"row of {name}: checksum does not match")
    if size != dtype.itemsize:
        raise SnapshotDamaged(
            f"row of {name} has {size} bytes, this bundle's have {dtype.itemsize}"
        )
    return np.frombuffer(payload, dtype).copy()


def read_row(read: Callable[[int], bytes]) -> tuple[str, bytes]:
    """The next framed row of a stream: instrument and frame, as `decode_row` takes them.

    `read(n)` gives up to n bytes. Raises SnapshotDamaged where they are no frame.
    """
    head = read(_FRAME.size)
    if len(head) < _FRAME.size or head[:4] != _MAGIC:
        raise SnapshotDamaged("no slotcast row where one should begin")
    _, _, label_size, size, _ = _FRAME.unpack(head)
    body = read(label_size + size)
    if len(body) < label_size + size:
        raise SnapshotDamaged("ends within a row")
    try:
        return body[:label_size].decode(), head + body
    except UnicodeDecodeError as error:
        raise SnapshotDamaged(f"a row's instrument is not UTF-8: {error}") from error


def layout_of(dtype: np.dtype[np.void]) -> str:
    """What a row's layout is recognised by: a hash of its fields, their types and shapes."""
    return hashlib.sha256(repr(dtype.descr).encode()).hexdigest()[:12]


def encode_header(header: Header) -> bytes:
    """JSON with its checksum in front."""
    body = msgspec.json.encode(header)
    return b"%08x " % zlib.crc32(body) + body


def decode_header(data: bytes) -> Header:
    """The header. Raises SnapshotDamaged."""
    body = data[9:]
    if data[:9] != b"%08x " % zlib.crc32(body):
        raise SnapshotDamaged("snapshot header: checksum does not match")
    try:
        header = msgspec.json.decode(body, type=Header)
    except msgspec.DecodeError as error:
        raise SnapshotDamaged(f"snapshot header: {error}") from error
    if header.format != FORMAT:
        raise SnapshotDamaged(
            f"snapshot has format {header.format}, this build reads {FORMAT}: "
            "upgrade slotcast, or start with worker.on_damage = cold"
        )
    return header


def share_at(row: NDArray[np.void], watermark: int) -> int:
    """The row's fingerprint share when everything below `watermark` was applied.

    Raises SnapshotDamaged if the row no longer knows.
    """
    memory = view(row)
    count, share = memory.counts[0], memory.share[0]
    if count[APPLIED] < watermark:
        return int(share[SHARE])
    if count[MARK_B] == watermark:
        return int(share[SHARE_B])
    if count[MARK_A] == watermark:
        return int(share[SHARE_A])
    raise SnapshotDamaged(
        f"row applied to {count[APPLIED]} knows its share at {count[MARK_A]} and {count[MARK_B]}, "
        f"not at the watermark {watermark}"
    )


def bring_marks_forward(row: NDArray[np.void], marks: tuple[int, int]) -> None:
    """Let a row that comes back into a slot carry the partition's current marks.

    Raises SnapshotDamaged if it no longer knows its share there.
    """
    shares = [share_at(row, mark) for mark in marks]
    memory = view(row)
    memory.counts[0, MARK_A], memory.counts[0, MARK_B] = marks
    memory.share[0, SHARE_A], memory.share[0, SHARE_B] = shares


def begin_marks(memory: Memory, slots: NDArray[np.int64], marks: tuple[int, int]) -> None:
    """Note the shares of these slots at a new watermark-to-be, `marks[1]`."""
    memory.counts[slots, MARK_A], memory.counts[slots, MARK_B] = marks
    memory.share[slots, SHARE_A] = memory.share[slots, SHARE_B]
    memory.share[slots, SHARE_B] = memory.share[slots, SHARE]
