"""The file with the tables: its folder, who may read it, and the lock that says that a run uses it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import re
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from restic_monitor.state.tables import BUSY_SECONDS, PAUSE_SECONDS, code, has_tables, prune

if TYPE_CHECKING:
    import sqlite3

_HOLD_SECONDS = 1.0
_READONLY, _CANTOPEN = 8, 14


class File:
    """The database, its folder, and the lock that says that a run uses it."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._held: int | None = None
        self._inode = (0, 0)
        self._pruned = False

    def __str__(self) -> str:
        return str(self._path or "state.sqlite")

    @property
    def connection(self) -> sqlite3.Connection:
        assert self._connection
        return self._connection

    def open(self, writing: bool) -> bool:
        """Whether there is a database now; it is made for writing only. Raises OSError, sqlite3.Error, LaterVersionError."""
        if self._connection is None and not self._connect(writing):
            return False
        if writing and not self._pruned:
            has_tables(self.connection, writing)  # of this version, also where it was opened for reading
            self._pruned = True
            prune(self.connection)
        return True

    def _connect(self, writing: bool) -> bool:
        if self._path is None:
            raise OSError(errno.ENOENT, "no home folder is known")
        if not writing and _is_missing(self._path):
            return False
        try:
            if writing:
                _make(self._path)
            self._inode = _check(self._path)
            self._held = _hold(self._path.parent, exclusive=False)
            self._connection = _connection(self._path)
            ready = has_tables(self._connection, writing)
        except BaseException:
            self.close()
            raise
        if not ready:
            self.close()
        return ready

    def close(self) -> None:
        """Raises nothing."""
        if self._connection:
            self._connection.close()
        if self._held is not None:
            os.close(self._held)
        self._connection = self._held = None

    def set_aside(self) -> None:
        """Only while no other run has it open: SQLite removes the log of a database by its name, the new one's. The log is
        moved first, and belongs to neither when that is all that happens. Raises OSError."""
        assert self._path
        held = _hold(self._path.parent, exclusive=True)
        try:
            if not _is_missing(self._path) and _check(self._path) == self._inode:  # else another run was here before
                for suffix in ("-wal", "-shm", ""):
                    _move(f"{self._path}{suffix}", f"{self._path}.damaged{suffix}")
        finally:
            os.close(held)


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    return False


def _make(path: Path) -> None:
    """The file, empty, before SQLite makes it for everybody to read; its folders as the XDG specification wants them. A file
    that is there is not opened: closing it would let go of all locks on it that this process has."""
    if _is_missing(path):
        _make_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(0o700)


def _check(path: Path) -> tuple[int, int]:
    """Which file it is. Closes it, and what belongs to it, to others. Raises OSError for what is no file: a folder, a pipe."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    for name in (path, f"{path}-wal", f"{path}-shm"):
        with contextlib.suppress(OSError):  # it is not there, or somebody else's
            if os.stat(name).st_mode & 0o077:
                os.chmod(name, 0o600)
    return status.st_dev, status.st_ino


def _hold(folder: Path, *, exclusive: bool) -> int:
    """The folder, locked (flock) until the descriptor is closed, also by a death. Raises OSError when others do not let go."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    end = time.monotonic() + _HOLD_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except OSError as error:
            if not isinstance(error, BlockingIOError) or time.monotonic() > end:
                os.close(descriptor)
                raise OSError(
                    error.errno, "another run uses it" if isinstance(error, BlockingIOError) else error.strerror
                ) from error
            time.sleep(PAUSE_SECONDS)
        else:
            return descriptor


def _move(old: str, new: str) -> None:
    """And where there is nothing to move, what an earlier move left goes: it belongs to another file."""
    try:
        os.replace(old, new)
    except FileNotFoundError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)


def _connection(path: Path) -> sqlite3.Connection:
    """To write, else to read. In a folder where no log can be made, only a file whose log is empty can be read."""
    import sqlite3  # noqa: PLC0415

    address = "file:" + re.sub("[%?#]", lambda found: f"%{ord(found[0]):02x}", str(path.absolute()))
    connect = functools.partial(sqlite3.connect, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection = connect(f"{address}?mode=rw")
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA user_version")
    except sqlite3.Error as error:
        connection.close()
        if code(error) not in (_CANTOPEN, _READONLY) or _size(f"{path}-wal"):
            raise
        return connect(f"{address}?mode=ro&immutable=1")
    return connection


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
