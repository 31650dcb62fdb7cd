"""The tables: made, brought to this version, rid of what nobody looked at for long. Who may use the file is `file`'s affair."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

VERSION = 2
"""Of the tables; in `PRAGMA user_version`. A file of a later one is left alone."""

_TABLES = (
    "CREATE TABLE repositories (id INTEGER PRIMARY KEY, name TEXT NOT NULL, identity TEXT NOT NULL, revision INTEGER NOT NULL,"
    " looked INTEGER NOT NULL, folders TEXT NOT NULL, noted TEXT NOT NULL, UNIQUE (name, identity))",
    "CREATE TABLE files (repository INTEGER NOT NULL, folder TEXT NOT NULL, name NOT NULL, after INTEGER,"
    " before INTEGER NOT NULL, PRIMARY KEY (repository, folder, name)) WITHOUT ROWID",
    "CREATE TABLE opened (repository INTEGER NOT NULL, folder TEXT NOT NULL, name TEXT NOT NULL, content TEXT NOT NULL,"
    " PRIMARY KEY (repository, folder, name))",
    f"PRAGMA user_version = {VERSION}",
)
"""Moments are microseconds since 1970, UTC. `folders` and `noted` are JSON lists. `name` is a blob of 32 bytes where it is 64
hex digits. `revision` is a new random number with each look, so that a run sees whether another one has written. `content` is
an `Opened` in JSON."""
_SINCE_VERSION_2 = _TABLES[2:]
_NOTHING_OPENED = "CREATE TEMP TABLE IF NOT EXISTS opened (repository, folder, name, content)"
"""For reading a file of version 1, which may be one that we must not change: this connection's own, not in the file."""

_KEPT = timedelta(days=400)
"""What was not looked at for longer is forgotten."""
BUSY_SECONDS = 5.0
PAUSE_SECONDS = 0.02
_BUSY = 5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class LaterVersionError(Exception):
    """The file is of a later program."""


class DamagedError(Exception):
    """SQLite can read the file, and it is not what we wrote."""


def has_tables(connection: sqlite3.Connection, writing: bool) -> bool:
    """Whether they are there, after making them for writing. Raises LaterVersionError, and DamagedError for tables that
    are not ours."""
    version = _version(connection)
    if version == 0 and writing:
        _log_ahead(connection)
        with transaction(connection, "IMMEDIATE"):
            if _version(connection) == 0:  # no other run has made them meanwhile
                _make_tables(connection)
        version = _version(connection)
    if writing:
        connection.execute("DROP TABLE IF EXISTS temp.opened")
    if version == 1:
        if not writing:
            connection.execute(_NOTHING_OPENED)
            return True
        with transaction(connection, "IMMEDIATE"):
            if _version(connection) == 1:
                for statement in _SINCE_VERSION_2:
                    connection.execute(statement)
        version = _version(connection)
    if version > VERSION:
        raise LaterVersionError(f"was written by a later restic-monitor (its version is {version}, this one knows {VERSION})")
    return version == VERSION


def _log_ahead(connection: sqlite3.Connection) -> None:
    """WAL, for good. When several runs make the file at once, SQLite refuses all but one, and does not wait by itself."""
    import sqlite3  # noqa: PLC0415

    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.Error as error:
            if code(error) != _BUSY or time.monotonic() > end:
                raise
            time.sleep(PAUSE_SECONDS)
        else:
            return


def _make_tables(connection: sqlite3.Connection) -> None:
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
        raise DamagedError("it is not a state of restic-monitor")
    for statement in _TABLES:
        connection.execute(statement)


def _version(connection: sqlite3.Connection) -> int:
    """0 for an empty database."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version < 0:
        raise DamagedError("it is not a state of restic-monitor")
    return version


def prune(connection: sqlite3.Connection) -> None:
    oldest = microseconds(datetime.now(UTC) - _KEPT)
    old = connection.execute("SELECT id FROM repositories WHERE looked < ?", (oldest,)).fetchall()
    if old:
        with transaction(connection, "IMMEDIATE"):
            connection.executemany("DELETE FROM files WHERE repository = ?", old)
            connection.executemany("DELETE FROM opened WHERE repository = ?", old)
            connection.executemany("DELETE FROM repositories WHERE id = ?", old)


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, kind: str) -> Iterator[None]:
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def code(error: Exception) -> int:
    """SQLite's primary result code; -1 for what Python's module found wrong by itself."""
    return int(getattr(error, "sqlite_errorcode", -1)) & 0xFF


def microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
