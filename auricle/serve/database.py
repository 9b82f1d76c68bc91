"""SQLite as the library of recordings uses it: one file, one connection, one writer at a time.

The journal is written ahead (WAL) and synced at every commit: what was answered is there after a crash, a
kill or a power failure. The number of the schema stands in the file: no service reads one it does not know.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from auricle.serve.errors import NO_ROOM, Refused

APPLICATION = 0x6175_7269  # "auri": whose file it is
# What makes a file of each version one of the next; the last is the version that is in use.
STEPS = (
    """
    CREATE TABLE recordings (
        id TEXT PRIMARY KEY,
        visitor TEXT NOT NULL,
        name TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        created REAL NOT NULL,
        touched REAL NOT NULL,
        model TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        job TEXT,
        state TEXT NOT NULL CHECK (state IN ('waiting', 'done', 'failed', 'cancelled')),
        error TEXT,
        found TEXT
    ) STRICT;
    CREATE INDEX recordings_of_visitor ON recordings (visitor, created);
    CREATE TABLE corrections (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        recording TEXT NOT NULL REFERENCES recordings (id) ON DELETE CASCADE,
        label TEXT NOT NULL,
        start REAL NOT NULL CHECK (start >= 0),
        "end" REAL NOT NULL CHECK ("end" > start),
        verdict TEXT NOT NULL CHECK (verdict IN ('right', 'wrong', 'added')),
        created REAL NOT NULL,
        changed INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX corrections_of_recording ON corrections (recording, changed);
    """,
    """
    CREATE TABLE service (mark TEXT NOT NULL) STRICT;
    INSERT INTO service VALUES (lower(hex(randomblob(4))));
    """,
)
BUSY_SECONDS = 10.0  # another program may look into the file


class Database:
    """A file of recordings and corrections; any thread may use it.

    Args:
        path: the file, which is made where there is none.

    Raises:
        ValueError: it is something else, damaged, or of a later version.
    """

    def __init__(self, path: Path):
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._connection.row_factory = sqlite3.Row
        try:
            _prepare(self._connection, path)
        except BaseException as error:
            self._connection.close()
            if isinstance(error, sqlite3.DatabaseError):
                raise ValueError(
                    f"{path}: cannot be used ({error}); move it away, or name another folder"
                ) from None
            raise

    @contextlib.contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is kept, or nothing.

        Raises:
            Refused: 507, the disk is full.
        """
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:  # a full disk has ended it already
                    self._connection.execute("ROLLBACK")
                if (
                    isinstance(error, sqlite3.OperationalError)
                    and error.sqlite_errorcode == sqlite3.SQLITE_FULL
                ):
                    raise Refused(507, NO_ROOM) from None
                raise

    def change(self, sql: str, *values: Any) -> int:
        """One statement that changes something; how many rows it changed."""
        with self.changing() as connection:
            return connection.execute(sql, values).rowcount

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """What a query gives."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """The first row that a query gives."""
        found = self.rows(sql, *values)
        return found[0] if found else None

    def close(self) -> None:
        """Write what the journal holds into the file, and let go of it."""
        with self._lock:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._connection.close()


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if owner != APPLICATION and (tables or owner):
        raise ValueError(f"{path}: is a database of another program; name another folder")
    if version > len(STEPS):
        raise ValueError(
            f"{path}: is of version {version}, and this auricle knows up to {len(STEPS)}; use a "
            "later auricle, or name another folder"
        )
    (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if sound != "ok":
        raise ValueError(f"{path}: is damaged ({sound}); move it away, or bring back a copy")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    for number, step in enumerate(STEPS[version:], version + 1):
        ends = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {number}; COMMIT;"
        connection.executescript(f"BEGIN IMMEDIATE; {step} {ends}")
