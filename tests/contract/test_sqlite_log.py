"""What the embedded log promises beyond the port: one file, one consumer, bounded growth."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slotcast.log.port import CommitFailed, Committed, Forecasts, LogError, OffsetOutOfRange, Outbox
from slotcast.log.sqlite.log import SqliteLog
from slotcast.store.port import StoredRow, StoreError
from slotcast.store.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new directory" / "slotcast.db"


@pytest.fixture
def log(path: Path) -> Iterator[SqliteLog]:
    log = SqliteLog(path, partitions=2)
    yield log
    log.close()


def feed(log: SqliteLog, count: int, partition: int = 0) -> int:
    return log.feed(partition, [b"k"] * count, [b"v"] * count, range(count))


def publish(log: SqliteLog, count: int, offset: int) -> None:
    forecasts = Forecasts(0, range(count), range(count), [b"k"] * count, [b"f"] * count)
    log.publish(Outbox([forecasts], offsets={0: Committed(offset, "")}))


def test_a_second_consumer_is_refused_with_the_way_out(log: SqliteLog) -> None:
    with pytest.raises(LogError, match="being consumed by process"):
        SqliteLog(log.path, partitions=2)


def test_a_second_consumer_may_start_when_the_first_was_killed(path: Path) -> None:
    program = (
        "import os, sys, pathlib; from slotcast.log.sqlite.log import SqliteLog;"
        " SqliteLog(pathlib.Path(sys.argv[1]), 2).feed(0, [b'k'], [b'v'], [1]); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program, path], check=False)

    log = SqliteLog(path, partitions=2)

    assert log.bounds(0) == (0, 1)
    log.close()


def test_onlookers_read_and_feed_while_the_consumer_runs(log: SqliteLog) -> None:
    onlooker = SqliteLog(log.path, partitions=2, consume=False)
    feed(onlooker, 3)
    publish(log, 2, 2)

    assert onlooker.forecasts(0)[1].values == (b"f", b"f")
    assert [len(batch) for batch in onlooker.read(0, 0, 3)] == [3]
    with pytest.raises(LogError, match="not open for consuming"):
        onlooker.poll(100, 100)
    with pytest.raises(CommitFailed, match="not open for consuming"):
        publish(onlooker, 1, 3)
    onlooker.close()


def test_another_number_of_partitions_is_refused(log: SqliteLog) -> None:
    log.close()

    with pytest.raises(LogError, match="has 2 partitions, not 3"):
        SqliteLog(log.path, partitions=3)


@pytest.mark.parametrize("part", ["log", "store"])
def test_an_unknown_version_is_refused_with_the_way_out(log: SqliteLog, part: str) -> None:
    SqliteStore(log.path).close()
    log.close()
    with sqlite3.connect(log.path) as connection:
        connection.execute("UPDATE versions SET version = 99 WHERE part = ?", (part,))
    connection.close()

    with pytest.raises((LogError, StoreError), match="version 99, this build reads 1: use"):
        SqliteLog(log.path, 2) if part == "log" else SqliteStore(log.path)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 100)

    with pytest.raises(LogError, match="cannot be used"):
        SqliteLog(path)


def test_log_and_store_share_a_file(log: SqliteLog) -> None:
    store = SqliteStore(log.path)
    feed(log, 3)

    store.write(0, store.claim(0, "t"), {"a": StoredRow(2, b"row")}, b"h")
    publish(log, 1, 3)

    assert (log.committed(0), store.index(0)) == (Committed(3, ""), {"a": 2})
    store.close()
    assert log.bounds(0) == (0, 3)


def test_the_producers_position_is_stored_with_its_ticks(log: SqliteLog) -> None:
    assert log.producer_position("simulator") is None

    log.feed(0, [b"k"], [b"v"], [1], producer=("simulator", b"\x00at 1"))
    log.feed(0, [b"k"], [b"v"], [2], producer=("simulator", b"\x00at 2"))

    assert log.producer_position("simulator") == b"\x00at 2"
    assert log.producer_position("file") is None


def test_a_feed_that_fails_appends_nothing(log: SqliteLog) -> None:
    with pytest.raises(LogError, match="cannot feed"):
        log.feed(0, [b"k", b"k"], [b"v", object()], [1, 2], producer=("p", b"x"))  # type: ignore[list-item]

    assert log.bounds(0) == (0, 0)
    assert log.producer_position("p") is None


def test_a_publish_that_fails_half_way_leaves_nothing(log: SqliteLog) -> None:
    publish(log, 1, 1)
    bad = Forecasts(0, [1, 2], [1, 2], [b"k", b"k"], [b"f", object()])  # type: ignore[list-item]

    with pytest.raises(CommitFailed):
        log.publish(Outbox([bad], offsets={0: Committed(3, "")}))

    assert len(log.forecasts(0)[1].keys) == 1
    assert log.committed(0) == Committed(1, "")
    publish(log, 1, 2)
    assert log.committed(0) == Committed(2, "")


def test_feeding_a_partition_that_is_not_there_is_refused(log: SqliteLog) -> None:
    with pytest.raises(LogError, match="no partition 2"):
        log.append(2, b"k", None)


def test_trim_keeps_what_it_was_told_to_keep(log: SqliteLog) -> None:
    feed(log, 100)
    feed(log, 100, partition=1)
    publish(log, 100, 100)

    assert log.trim(0, before_offset=60, keep_forecasts=10, keep_dead_letters=10) == 150

    assert (log.bounds(0), log.bounds(1)) == ((60, 100), (0, 100))
    following, forecasts = log.forecasts(0)
    assert (following, list(forecasts.offsets)) == (100, list(range(90, 100)))
    with pytest.raises(OffsetOutOfRange):
        log.go(0, 59)


def test_trim_deletes_in_bounded_slices(log: SqliteLog) -> None:
    feed(log, 100)

    assert [log.trim(0, 70, 0, 0, at_most=30) for _ in range(4)] == [30, 30, 10, 0]


def test_trim_never_passes_the_end_and_offsets_go_on_after_it(log: SqliteLog) -> None:
    feed(log, 5)
    log.trim(0, 1_000, 0, 0)

    assert log.bounds(0) == (5, 5)
    assert feed(log, 1) == 5
    log.go(0, 5)
    assert [batch.offsets.tolist() for batch in log.poll(0, 10).batches] == [[5]]


def test_a_trimmed_log_does_not_grow(log: SqliteLog) -> None:
    value = b"x" * 200
    sizes = []
    for turn in range(1, 61):
        log.feed(0, [b"k"] * 1_000, [value] * 1_000, range(1_000))
        publish(log, 1_000, turn * 1_000)
        while log.trim(0, turn * 1_000 - 2_000, 2_000, 2_000):
            pass
        sizes.append(log.path.stat().st_size)

    assert sizes[-1] <= sizes[19] * 1.1


def test_a_closed_log_says_so(log: SqliteLog) -> None:
    log.close()

    with pytest.raises(LogError):
        log.append(0, b"k", b"v")
