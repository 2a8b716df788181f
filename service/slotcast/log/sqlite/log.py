"""The embedded log: ticks, forecasts, dead letters and offsets in one SQLite file.

Exactly once: a publish is one transaction. Offsets start at 0 and rise by 1 in each partition.
One member consumes (a file lock says which); any thread and any process may feed and append, and
members with `consume=False` may read. What was published survives a killed process; what `append`
returned survives a power cut too.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Condition
from typing import IO

from numpy.typing import ArrayLike

from slotcast.database import Database, IncompatibleFile
from slotcast.log.port import (
    Batch,
    CommitFailed,
    Committed,
    DeadLetter,
    Forecasts,
    LogError,
    LogName,
    OffsetOutOfRange,
    Outbox,
    Poll,
    Receipt,
)
from slotcast.log.sqlite import tables

READ_TICKS = 2_000
OTHER_PROCESS_MS = 50
"""How soon a waiting poll sees what another process fed; a feed of this process wakes it."""


class SqliteLog:
    """The log in `path`. Without `consume` it neither polls nor publishes, and takes no lock."""

    owner = ""
    name = LogName("ticks")

    def __init__(self, path: Path, partitions: int = 4, consume: bool = True) -> None:
        self.path = path
        self._partitions = range(partitions)
        self._gained: Sequence[int] = self._partitions
        self._live: dict[int, int] = {}
        self._polls = 0
        self._fed = Condition()
        self._feeds = 0
        self._lock: IO[str] | None = None
        try:
            self._database = Database(path, "log", tables.VERSION, tables.TABLES)
        except IncompatibleFile as error:
            raise LogError(str(error)) from error
        try:
            self._check_partitions(partitions)
            self._lock = _lock(path) if consume else None
        except LogError:
            self.close()
            raise

    def partitions(self) -> Sequence[int]:
        """All partitions."""
        return self._partitions

    def poll(self, timeout_ms: int, max_ticks: int) -> Poll:
        """Records of live partitions; partitions take turns at being first."""
        if self._lock is None:
            raise LogError(f"{self.path} is not open for consuming")
        gained, self._gained = self._gained, ()
        deadline = time.monotonic() + timeout_ms / 1_000
        while True:
            feeds = self._feeds
            with self._errors("poll"):
                batches = self._fetch(max_ticks)
            left_s = deadline - time.monotonic()
            if batches or gained or left_s <= 0:
                return Poll(batches, gained)
            with self._fed:
                if self._feeds == feeds:
                    self._fed.wait(min(left_s, OTHER_PROCESS_MS / 1_000))

    def hold(self, partition: int) -> None:
        """Stop delivering this partition."""
        self._live.pop(partition, None)

    def go(self, partition: int, offset: int) -> None:
        """Deliver from `offset` on."""
        self._check_range(partition, offset, offset)
        self._live[partition] = offset

    def committed(self, partition: int) -> Committed | None:
        """The committed position, or None."""
        with self._errors("read"):
            return tables.committed(self._database.connection(), partition)

    def position(self, partition: int) -> int | None:
        """The committed offset, or None."""
        committed = self.committed(partition)
        return committed.offset if committed else None

    def bounds(self, partition: int) -> tuple[int, int]:
        """First offset still here, and the offset of the next tick."""
        with self._errors("read"):
            return tables.bounds(self._database.connection(), "ticks", partition)

    def read(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        """Records with start <= offset < stop."""
        self._check_range(partition, start, stop)
        return self._read(partition, start, stop)

    def publish(self, outbox: Outbox) -> None:
        """Publish and commit in one transaction."""
        if self._lock is None:
            raise CommitFailed(f"{self.path} is not open for consuming")
        try:
            with self._database.transaction() as write:
                for forecasts in outbox.forecasts:
                    tables.insert_forecasts(write, forecasts)
                tables.insert_dead_letters(write, outbox.dead_letters)
                tables.commit_offsets(write, outbox.offsets)
        except sqlite3.Error as error:
            raise CommitFailed(f"cannot publish to {self.path}: {error}") from error

    def append(
        self, partition: int, key: bytes | None, value: bytes | None, control: bytes | None = None
    ) -> Receipt:
        """Append one record, stamped with this moment; returns when it is on disk."""
        now_ms = time.time_ns() // 1_000_000
        with self._errors("append to"), self._database.synced():
            return Receipt(partition, self.feed(partition, [key], [value], [now_ms], [control]))

    def close(self) -> None:
        """Close the file and let another member consume it."""
        self._live.clear()
        self._database.close()
        if self._lock:
            self._lock.close()
            self._lock = None

    def feed(
        self,
        partition: int,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        timestamps_ms: ArrayLike,
        controls: Sequence[bytes | None] | None = None,
        producer: tuple[str, bytes] | None = None,
    ) -> int:
        """Append columns of ticks and, in the same transaction, the producer's own position.

        Returns the offset of the first tick; any thread. If it raises `LogError`, nothing was
        appended.
        """
        if partition not in self._partitions:
            raise LogError(f"{self.path} has no partition {partition}")
        with self._errors("feed"), self._database.transaction() as write:
            start = tables.insert_ticks(write, partition, keys, values, timestamps_ms, controls)
            if producer:
                tables.set_producer(write, *producer)
        with self._fed:
            self._feeds += 1
            self._fed.notify_all()
        return start

    def producer_position(self, name: str) -> bytes | None:
        """Where this producer was when it last fed, or None."""
        with self._errors("read"):
            return tables.producer(self._database.connection(), name)

    def forecasts(
        self, partition: int, start: int = 0, limit: int = 1_000
    ) -> tuple[int, Forecasts]:
        """Forecasts from place `start` of their topic (not a tick offset), and the next start."""
        with self._errors("read"):
            return tables.select_forecasts(self._database.connection(), partition, start, limit)

    def dead_letters(self, partition: int, start: int = 0, limit: int = 1_000) -> list[DeadLetter]:
        """Dead letters from place `start` of their topic."""
        with self._errors("read"):
            return tables.select_dead_letters(self._database.connection(), partition, start, limit)

    def trim(
        self,
        partition: int,
        before_offset: int,
        keep_forecasts: int,
        keep_dead_letters: int,
        at_most: int = 10_000,
    ) -> int:
        """Delete ticks before this offset, and all but the last forecasts and dead letters.

        At most `at_most` of each, oldest first; returns how many: call again while it is not 0.
        The file does not shrink, its pages are used again.
        """
        with self._errors("trim"), self._database.transaction() as write:
            befores = {"ticks": before_offset}
            for topic, keep in ("forecasts", keep_forecasts), ("dead_letters", keep_dead_letters):
                befores[topic] = tables.bounds(write, topic, partition)[1] - keep
            return sum(tables.trim(write, t, partition, b, at_most) for t, b in befores.items())

    def _fetch(self, max_ticks: int) -> list[Batch]:
        self._polls += 1
        live = list(self._live.items())
        turn = self._polls % max(len(live), 1)
        batches = []
        for partition, start in live[turn:] + live[:turn]:
            batch = self._select(partition, start, None, max_ticks) if max_ticks else None
            if batch:
                batches.append(batch)
                max_ticks -= len(batch)
                self._live[partition] = int(batch.offsets[-1]) + 1
        return batches

    def _read(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        while start < stop:
            with self._errors("read"):
                batch = self._select(partition, start, stop, READ_TICKS)
            if batch is None:
                raise OffsetOutOfRange(f"ticks-{partition} of {self.path} was trimmed meanwhile")
            yield batch
            start = int(batch.offsets[-1]) + 1

    def _select(self, partition: int, start: int, stop: int | None, limit: int) -> Batch | None:
        return tables.select_ticks(self._database.connection(), partition, start, stop, limit)

    def _check_range(self, partition: int, start: int, stop: int) -> None:
        first, end = self.bounds(partition)
        if start < first or stop > end:
            raise OffsetOutOfRange(
                f"ticks-{partition} of {self.path} holds {first} to {end}, asked for {start} to"
                f" {stop}: see docs/recovery.md for what to do about lost ticks"
            )

    def _check_partitions(self, wanted: int) -> None:
        with self._errors("open"), self._database.transaction() as write:
            found = tables.create_partitions(write, wanted)
        if found != wanted:
            raise LogError(
                f"{self.path} has {found} partitions, not {wanted}: open it with {found}, or use"
                " another directory"
            )

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LogError(f"cannot {doing} {self.path}: {error}") from error


def _lock(path: Path) -> IO[str]:
    """Take the right to consume `path`, for as long as the returned file is open."""
    file = path.with_name(path.name + ".lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        owner = file.read().strip()
        file.close()
        raise LogError(
            f"{path} is being consumed by process {owner}: stop it, or use another directory"
        ) from error
    with suppress(OSError):
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
    return file
