"""One SQLite file, as the embedded log and store use it.

Write-ahead logging, one connection per thread, one writer at a time within this process (another
process waits in SQLite itself). Each user of the file names its own set of tables and their
version; a version that this build does not know is refused. Knows nothing of what is stored.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, RLock, local

PATIENCE_S = 5.0
"""Wait for a writer of another process."""

_WRITERS: dict[Path, RLock] = {}
_WRITERS_LOCK = Lock()


class IncompatibleFile(Exception):
    """The file is not one that this build can use; the message gives the way out."""


class Database:
    """Connections to one file that has these tables in this version."""

    def __init__(self, path: Path, part: str, version: int, tables: str) -> None:
        self.path = path.resolve()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _WRITERS_LOCK:
            self._writer = _WRITERS.setdefault(self.path, RLock())
        self._thread = local()
        self._open: list[sqlite3.Connection] = []
        self._closed = False
        try:
            self._create(part, version, tables)
        except sqlite3.DatabaseError as error:
            self.close()
            raise IncompatibleFile(
                f"{self.path} cannot be used ({error}): move it away, or use another directory"
            ) from error
        except IncompatibleFile:
            self.close()
            raise

    def connection(self) -> sqlite3.Connection:
        """This thread's connection; outside a transaction it sees the last commit."""
        connection: sqlite3.Connection | None = getattr(self._thread, "connection", None)
        if connection is None or self._closed:
            connection = self._thread.connection = self._connect()
        return connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write: everything or nothing. Raises `sqlite3.Error`, then nothing was written."""
        connection = self.connection()
        with self._writer:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def synced(self) -> Iterator[None]:
        """Transactions of this thread in here reach the disk before they return."""
        connection = self.connection()
        connection.execute("PRAGMA synchronous = FULL")
        try:
            yield
        finally:
            connection.execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        """Close the connections of all threads; idempotent."""
        with self._writer:
            self._closed = True
            while self._open:
                self._open.pop().close()

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise sqlite3.ProgrammingError(f"{self.path} is closed")
        connection = sqlite3.connect(
            self.path, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False
        )
        self._open.append(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _create(self, part: str, version: int, tables: str) -> None:
        self.connection().execute("PRAGMA journal_mode = WAL")
        self.connection().execute("PRAGMA journal_size_limit = 67108864")
        with self.transaction() as write:
            write.execute(
                "CREATE TABLE IF NOT EXISTS versions"
                " (part TEXT PRIMARY KEY, version INTEGER NOT NULL)"
            )
            found = write.execute("SELECT version FROM versions WHERE part = ?", (part,)).fetchone()
            if found is None:
                for table in tables.split(";"):
                    write.execute(table)
                write.execute("INSERT INTO versions VALUES (?, ?)", (part, version))
            elif found[0] != version:
                raise IncompatibleFile(
                    f"{self.path} has {part} tables of version {found[0]}, this build reads"
                    f" {version}: use the slotcast that wrote it, or another directory"
                )
