"""The history of the embedded log: one SQLite file, read while a worker may write to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from slotcast.database import Database, IncompatibleFile
from slotcast.log.history import Topic
from slotcast.log.port import Batch, Committed, DeadLetter, LogError, LogName, OffsetOutOfRange
from slotcast.log.sqlite import tables

READ_RECORDS = 2_000


class SqliteHistory:
    """The log in `path`, which must exist. Takes no lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise LogError(f"there is no {path}: give the --data of a demo or a replay")
        try:
            self._database = Database(path, "log", tables.VERSION, tables.TABLES)
        except IncompatibleFile as error:
            raise LogError(str(error)) from error

    def name(self) -> LogName:
        """Which log this is: files have no ids."""
        return LogName("ticks")

    def partitions(self) -> Sequence[int]:
        """All partitions."""
        with self._errors():
            (count,) = self._read("SELECT count(*) FROM ends WHERE topic = 'ticks'")
        return range(count)

    def committed(self, partition: int) -> Committed | None:
        """The committed position, or None."""
        with self._errors():
            return tables.committed(self._database.connection(), partition)

    def bounds(self, topic: Topic, partition: int) -> tuple[int, int]:
        """First position still here, and that of the next record."""
        with self._errors():
            return tables.bounds(self._database.connection(), topic, partition)

    def readable(self, topic: Topic, partition: int) -> tuple[int, int]:
        """The same as `bounds`: nothing is ever undecided here."""
        return self.bounds(topic, partition)

    def ticks(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        """Records of the tick topic."""
        self._check("ticks", partition, start, stop)
        while start < stop:
            with self._errors():
                batch = tables.select_ticks(
                    self._database.connection(), partition, start, stop, READ_RECORDS
                )
            if batch is None or batch.offsets[0] != start:
                raise OffsetOutOfRange(f"ticks-{partition} of {self.path} was trimmed meanwhile")
            yield batch
            start += len(batch)

    def forecasts(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        """Records of the forecast topic."""
        self._check("forecasts", partition, start, stop)
        while start < stop:
            with self._errors():
                following, found = tables.select_forecasts(
                    self._database.connection(), partition, start, min(READ_RECORDS, stop - start)
                )
            first = following - len(found.keys)
            if first != start or not found.keys:
                raise OffsetOutOfRange(
                    f"forecasts-{partition} of {self.path} was trimmed meanwhile"
                )
            stamps = np.array(found.timestamps_ms, np.int64)
            positions = np.arange(first, following)
            yield Batch(partition, positions, stamps, found.keys, list(found.values))
            start = following

    def dead_letters(self, partition: int, start: int, stop: int) -> Iterator[DeadLetter]:
        """Dead letters."""
        self._check("dead_letters", partition, start, stop)
        while start < stop:
            limit = min(READ_RECORDS, stop - start)
            with self._errors():
                letters = tables.select_dead_letters(
                    self._database.connection(), partition, start, limit
                )
            if not letters or self.bounds("dead_letters", partition)[0] > start:
                raise OffsetOutOfRange(
                    f"dead_letters-{partition} of {self.path} was trimmed meanwhile"
                )
            yield from letters
            start += len(letters)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _read(self, query: str) -> tuple[int]:
        return self._database.connection().execute(query).fetchone()  # type: ignore[no-any-return]

    def _check(self, topic: Topic, partition: int, start: int, stop: int) -> None:
        first, end = self.bounds(topic, partition)
        if start < first or stop > end:
            raise OffsetOutOfRange(
                f"{topic}-{partition} of {self.path} holds {first} to {end}, asked for {start} to"
                f" {stop}"
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LogError(f"cannot read {self.path}: {error}") from error
