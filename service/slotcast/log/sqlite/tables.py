"""The topics of the embedded log as tables: how records are numbered, written, read and trimmed.

A record's row id is its partition and its offset in one integer, so that appending is the fastest
thing SQLite does and a range of offsets is a range of row ids. Functions that write take the
connection of a transaction, those that read take any. All raise `sqlite3.Error`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from slotcast.log.port import Batch, Committed, DeadLetter, Forecasts

VERSION = 1
TOPICS = ("ticks", "forecasts", "dead_letters")
TABLES = """
CREATE TABLE ends (
    topic TEXT, partition INTEGER, first INTEGER NOT NULL, next INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)
);
CREATE TABLE ticks (
    id INTEGER PRIMARY KEY, timestamp_ms INTEGER, key BLOB, value BLOB, control BLOB
);
CREATE TABLE forecasts (
    id INTEGER PRIMARY KEY, tick INTEGER, timestamp_ms INTEGER, key BLOB, value BLOB
);
CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY, tick INTEGER, timestamp_ms INTEGER, reason TEXT, detail TEXT,
    key BLOB, value BLOB, length INTEGER, sha256 TEXT
);
CREATE TABLE offsets (
    partition INTEGER PRIMARY KEY, next INTEGER NOT NULL, metadata TEXT NOT NULL
);
CREATE TABLE producers (name TEXT PRIMARY KEY, position BLOB);
"""
_OFFSET_BITS = 40
_LAST = (1 << _OFFSET_BITS) - 1


def create_partitions(write: sqlite3.Connection, partitions: int) -> int:
    """Create the partitions if there are none; returns how many there are."""
    count: int = write.execute("SELECT count(*) FROM ends WHERE topic = 'ticks'").fetchone()[0]
    if count:
        return count
    write.executemany(
        "INSERT INTO ends VALUES (?, ?, 0, 0)",
        [(topic, partition) for topic in TOPICS for partition in range(partitions)],
    )
    return partitions


def bounds(connection: sqlite3.Connection, topic: str, partition: int) -> tuple[int, int]:
    """First offset still here, and the offset of the next record."""
    first, following = connection.execute(
        "SELECT first, next FROM ends WHERE topic = ? AND partition = ?", (topic, partition)
    ).fetchone()
    return first, following


def insert_ticks(
    write: sqlite3.Connection,
    partition: int,
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    timestamps_ms: ArrayLike,
    controls: Sequence[bytes | None] | None,
) -> int:
    """Append columns of ticks; returns the offset of the first."""
    count = len(keys)
    start, ids = _number(write, "ticks", partition, count)
    columns = (_integers(timestamps_ms), keys, values, controls or repeat(None, count))
    write.executemany("INSERT INTO ticks VALUES (?, ?, ?, ?, ?)", zip(ids, *columns, strict=True))
    return start


def select_ticks(
    connection: sqlite3.Connection, partition: int, start: int, stop: int | None, limit: int
) -> Batch | None:
    """The first `limit` ticks with start <= offset < stop, or None if there is none."""
    rows = connection.execute(
        "SELECT id, timestamp_ms, key, value, control FROM ticks WHERE id >= ? AND id < ?"
        " ORDER BY id LIMIT ?",
        (
            _id(partition, start),
            _id(partition, _LAST) if stop is None else _id(partition, stop),
            limit,
        ),
    ).fetchall()
    if not rows:
        return None
    ids, timestamps_ms, keys, values, controls = zip(*rows, strict=True)
    offsets = np.array(ids, np.int64) - _id(partition, 0)
    plain = controls.count(None) == len(controls)
    stamps = np.array(timestamps_ms, np.int64)
    return Batch(partition, offsets, stamps, keys, values, None if plain else controls)


def insert_forecasts(write: sqlite3.Connection, forecasts: Forecasts) -> None:
    """Append columns of forecasts to their partition."""
    _, ids = _number(write, "forecasts", forecasts.partition, len(forecasts.keys))
    columns = (_integers(forecasts.offsets), _integers(forecasts.timestamps_ms))
    write.executemany(
        "INSERT INTO forecasts VALUES (?, ?, ?, ?, ?)",
        zip(ids, *columns, forecasts.keys, forecasts.values, strict=True),
    )


def select_forecasts(
    connection: sqlite3.Connection, partition: int, start: int, limit: int
) -> tuple[int, Forecasts]:
    """Forecasts from the `start`-th on, and the start to go on with."""
    start = max(start, bounds(connection, "forecasts", partition)[0])
    rows = connection.execute(
        "SELECT tick, timestamp_ms, key, value FROM forecasts WHERE id >= ? AND id < ?"
        " ORDER BY id LIMIT ?",
        (_id(partition, start), _id(partition, _LAST), limit),
    ).fetchall()
    columns = zip(*rows, strict=True) if rows else [()] * 4
    return start + len(rows), Forecasts(partition, *columns)


def insert_dead_letters(write: sqlite3.Connection, letters: Iterable[DeadLetter]) -> None:
    """Append dead letters, each to its partition."""
    for letter in letters:
        _, (number,) = _number(write, "dead_letters", letter.partition, 1)
        write.execute(
            "INSERT INTO dead_letters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                int(letter.offset),
                int(letter.timestamp_ms),
                letter.reason,
                letter.detail,
                letter.key,
                letter.value,
                letter.length,
                letter.sha256,
            ),
        )


def select_dead_letters(
    connection: sqlite3.Connection, partition: int, start: int, limit: int
) -> list[DeadLetter]:
    """Dead letters from the `start`-th on."""
    rows = connection.execute(
        "SELECT tick, timestamp_ms, reason, detail, key, value, length, sha256"
        " FROM dead_letters WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
        (_id(partition, start), _id(partition, _LAST), limit),
    )
    return [DeadLetter(partition, *row) for row in rows]


def committed(connection: sqlite3.Connection, partition: int) -> Committed | None:
    """The committed position, or None."""
    row = connection.execute(
        "SELECT next, metadata FROM offsets WHERE partition = ?", (partition,)
    ).fetchone()
    return Committed(*row) if row else None


def commit_offsets(write: sqlite3.Connection, offsets: dict[int, Committed]) -> None:
    """Set the committed positions."""
    write.executemany(
        "INSERT OR REPLACE INTO offsets VALUES (?, ?, ?)",
        [(partition, int(at.offset), at.metadata) for partition, at in offsets.items()],
    )


def producer(connection: sqlite3.Connection, name: str) -> bytes | None:
    """The position that this producer stored, or None."""
    row = connection.execute("SELECT position FROM producers WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


def set_producer(write: sqlite3.Connection, name: str, position: bytes) -> None:
    """Store this producer's position."""
    write.execute("INSERT OR REPLACE INTO producers VALUES (?, ?)", (name, position))


def trim(
    write: sqlite3.Connection, topic: str, partition: int, before_offset: int, at_most: int
) -> int:
    """Delete records before this offset, oldest first; returns how many were deleted."""
    first, following = bounds(write, topic, partition)
    before_offset = min(before_offset, following, first + at_most)
    if before_offset <= first:
        return 0
    write.execute(
        f"DELETE FROM {topic} WHERE id >= ? AND id < ?",  # noqa: S608 - one of TOPICS
        (_id(partition, first), _id(partition, before_offset)),
    )
    write.execute(
        "UPDATE ends SET first = ? WHERE topic = ? AND partition = ?",
        (before_offset, topic, partition),
    )
    return before_offset - first


def _number(write: sqlite3.Connection, topic: str, partition: int, count: int) -> tuple[int, range]:
    """Take the next `count` offsets of a topic: the first of them, and their row ids."""
    start = bounds(write, topic, partition)[1]
    write.execute(
        "UPDATE ends SET next = ? WHERE topic = ? AND partition = ?",
        (start + count, topic, partition),
    )
    return start, range(_id(partition, start), _id(partition, start + count))


def _id(partition: int, offset: int) -> int:
    return (partition << _OFFSET_BITS) + offset


def _integers(column: ArrayLike) -> list[Any]:
    # SQLite would store numpy integers as bytes.
    return np.asarray(column, np.int64).tolist()  # type: ignore[no-any-return]
