"""Snapshot files: what is written is read back, and what was changed is refused."""

from __future__ import annotations

import io

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotcast.snapshots.file import Section, SnapshotFile, SnapshotWriter, lone_row
from slotcast.snapshots.snapshot import Header, SnapshotDamaged, decode_row, encode_row, layout_of
from slotcast_models.memory import Layout

DTYPE = np.dtype([("a", "<f8", (3,)), ("b", "<i8")])
HEADER = Header("bundle-1", "x86", 7, 0, 2**63 + 5, -1, 2)


def rows(count: int) -> list[tuple[str, bytes]]:
    values = np.zeros(count, DTYPE)
    values["b"] = np.arange(count)
    return [(f"Ö{i}", encode_row(f"Ö{i}", values[i : i + 1])) for i in range(count)]


def section(partition: int, count: int) -> Section:
    return Section("l", count, True, 5, msgspec.structs.replace(HEADER, partition=partition))


def written(*counts: int) -> bytes:
    out = io.BytesIO()
    writer = SnapshotWriter(out)
    for partition, count in enumerate(counts):
        writer.add(section(partition, count), [row for _, row in rows(count)])
    writer.finish()
    return out.getvalue()


def read(data: bytes) -> SnapshotFile:
    return SnapshotFile(io.BytesIO(data), "it")


@pytest.mark.parametrize("counts", [(), (0,), (3,), (2, 0, 5)])
def test_what_is_written_is_read_back(counts: tuple[int, ...]) -> None:
    file = read(written(*counts))

    assert file.sections == {p: section(p, count) for p, count in enumerate(counts)}
    for partition, count in enumerate(counts):
        assert list(file.rows(partition)) == rows(count)


def test_sections_may_be_read_side_by_side() -> None:
    file = read(written(3, 3))

    assert list(zip(file.rows(0), file.rows(1), strict=True)) == list(
        zip(rows(3), rows(3), strict=True)
    )
    assert file.row(1, "Ö2") == rows(3)[2][1]
    assert file.row(1, "unheard-of") is None


DATA = written(2, 3)


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, len(DATA) - 1), bit=st.integers(0, 7))
def test_no_changed_bit_is_overlooked(place: int, bit: int) -> None:
    changed = bytearray(DATA)
    changed[place] ^= 1 << bit

    with pytest.raises(SnapshotDamaged, match="it: "):
        read(bytes(changed))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(DATA) - 1))
def test_a_file_that_was_cut_off_is_refused(length: int) -> None:
    with pytest.raises(SnapshotDamaged):
        read(DATA[:length])


def test_what_follows_the_end_is_refused() -> None:
    with pytest.raises(SnapshotDamaged, match="checksum"):
        read(DATA + b"\n")


def test_another_format_is_refused() -> None:
    with pytest.raises(SnapshotDamaged, match="has format 2, this build reads 1: upgrade"):
        read(DATA.replace(b"snapshot 1", b"snapshot 2", 1))
    with pytest.raises(SnapshotDamaged, match="not a snapshot file"):
        read(b"PK\x03\x04")


def test_a_partition_is_there_once() -> None:
    out = io.BytesIO()
    writer = SnapshotWriter(out)
    writer.add(section(0, 0), [])
    writer.add(section(0, 0), [])
    writer.finish()

    with pytest.raises(SnapshotDamaged, match="partition 0 is there twice"):
        read(out.getvalue())


def test_a_lone_row_is_alone() -> None:
    of, name, frame = lone_row(written(1), "it")

    assert (of, name) == (section(0, 1), "Ö0")
    assert decode_row(name, frame, DTYPE) == np.zeros(1, DTYPE)
    for counts in ((), (2,), (1, 1)):
        with pytest.raises(SnapshotDamaged, match="holds not one row"):
            lone_row(written(*counts), "it")


def test_layouts_are_told_apart() -> None:
    sizes = [1] * len(Layout.__dataclass_fields__)
    layouts = [Layout(*sizes)] + [
        Layout(*(n + (i == j) for j, n in enumerate(sizes))) for i in range(len(sizes))
    ]
    found = [layout_of(layout.dtype()) for layout in layouts]

    assert layout_of(Layout(*sizes).dtype()) == found[0]
    assert found.count(found[0]) == 1
