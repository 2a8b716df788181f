"""The embedded store: snapshots in a SQLite file, which may be that of the embedded log.

A write is one transaction. One file holds the snapshots of one group and one tick topic.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from slotcast.database import Database, IncompatibleFile
from slotcast.store.digest import digest_of
from slotcast.store.port import (
    Claim,
    StoredRow,
    StoreError,
    StoreFenced,
    StoreForgot,
    StoreUnavailable,
)

VERSION = 1
TABLES = """
CREATE TABLE snapshots (
    partition INTEGER PRIMARY KEY, token TEXT, counter INTEGER, last BLOB, header BLOB
);
CREATE TABLE rows (
    partition INTEGER, instrument BLOB, applied INTEGER NOT NULL, row BLOB NOT NULL,
    UNIQUE (partition, instrument)
);
-- The index is read without touching the rows, which are large.
CREATE INDEX applied ON rows (partition, instrument, applied);
"""


class SqliteStore:
    """Snapshots in the file at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._database = Database(path, "store", VERSION, TABLES)
        except IncompatibleFile as error:
            raise StoreError(str(error)) from error

    def header(self, partition: int) -> bytes | None:
        """The partition's header, or None."""
        with self._errors("read"):
            found = (
                self._database.connection()
                .execute("SELECT header FROM snapshots WHERE partition = ?", (partition,))
                .fetchone()
            )
        return found[0] if found else None

    def index(self, partition: int) -> dict[str, int]:
        """Instrument -> applied offset."""
        with self._errors("read"):
            found = (
                self._database.connection()
                .execute(
                    "SELECT instrument, applied FROM rows INDEXED BY applied WHERE partition = ?",
                    (partition,),
                )
                .fetchall()
            )
        return {name.decode(): applied for name, applied in found}

    def known(self, partition: int, instruments: Sequence[str]) -> set[str]:
        """Those of these instruments that are stored."""
        query = "SELECT 1 FROM rows INDEXED BY applied WHERE partition = ? AND instrument = ?"
        with self._errors("read"):
            ask = self._database.connection().execute
            return {n for n in instruments if ask(query, (partition, n.encode())).fetchone()}

    def rows(self, partition: int, instruments: Sequence[str]) -> list[bytes | None]:
        """The rows of these instruments, in their order."""
        query = "SELECT row FROM rows WHERE partition = ? AND instrument = ?"
        with self._errors("read"):
            ask = self._database.connection().execute
            found = [ask(query, (partition, name.encode())).fetchone() for name in instruments]
        return [row[0] if row else None for row in found]

    def claim(self, partition: int, token: str) -> Claim:
        """Become the only writer; use a fresh token for every claim."""
        with self._errors("write"), self._database.transaction() as write:
            write.execute(
                "INSERT INTO snapshots (partition, token, counter) VALUES (?, ?, 0) ON CONFLICT"
                " (partition) DO UPDATE SET token = excluded.token, counter = 0, last = NULL",
                (partition, token),
            )
        return Claim(token, 0)

    def write(
        self, partition: int, claim: Claim, rows: Mapping[str, StoredRow], header: bytes | None
    ) -> Claim:
        """Write rows and header in one transaction; a write done before under `claim` succeeds."""
        digest = digest_of(claim, rows, header)
        following = Claim(claim.token, claim.counter + 1)
        with self._errors("write"), self._database.transaction() as write:
            *stored, last = write.execute(
                "SELECT token, counter, last FROM snapshots WHERE partition = ?", (partition,)
            ).fetchone() or (None, None, None)
            if last == digest:
                return following
            if tuple(stored) != claim:
                refused = StoreForgot if stored[0] in (None, claim.token) else StoreFenced
                raise refused(
                    f"partition {partition} in {self.path} is claimed by {stored}, not {claim}:"
                    " claim it again"
                )
            _upsert(write, partition, rows)
            write.execute(
                "UPDATE snapshots SET counter = ?, last = ?, header = ifnull(?, header)"
                " WHERE partition = ?",
                (following.counter, digest, header, partition),
            )
        return following

    def clear(self, partition: int) -> None:
        """Delete everything stored for the partition."""
        with self._errors("write"), self._database.transaction() as write:
            write.execute("DELETE FROM rows WHERE partition = ?", (partition,))
            write.execute("DELETE FROM snapshots WHERE partition = ?", (partition,))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreUnavailable(f"cannot {doing} {self.path}: {error}") from error


def _upsert(write: sqlite3.Connection, partition: int, rows: Mapping[str, StoredRow]) -> None:
    write.executemany(
        "INSERT INTO rows VALUES (?, ?, ?, ?) ON CONFLICT (partition, instrument)"
        " DO UPDATE SET applied = excluded.applied, row = excluded.row",
        [(partition, name.encode(), int(r.applied), r.row) for name, r in rows.items()],
    )
