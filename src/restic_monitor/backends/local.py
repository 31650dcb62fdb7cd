"""A repository in a folder of this machine: a disk, a mount."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from restic_monitor.backends import FOLDERS, BackendError, Content, Entries, Entry, Kind, one_by_one

_ASK_THE_CLOCK_EVERY = 1000


class Local(Struct, frozen=True):
    """`path` may be relative to where the program was started, as with restic."""

    path: str
    heavy: bool = False

    def list(self, folder: str, deadline: float) -> Entries:
        if folder:
            return Entries(lambda entries: self._folder(folder, deadline))
        return Entries(lambda entries: self._all(entries, deadline))

    def read(self, name: str, deadline: float, limit: int) -> bytes:
        path = Path(self.path, name)
        try:
            # a pipe in the place of a file would be waited for
            with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
                return file.read(limit)
        except OSError as error:
            if error.errno == errno.EIO:  # a bad sector under one file; the listing came through
                raise BackendError(Kind.REFUSED, f"{path} cannot be read: input/output error") from None
            raise _problem(error, str(path)) from None

    def read_all(self, files: Sequence[Entry], deadline: float, limit: int) -> Iterator[Content]:
        return one_by_one(self.read, files, deadline, limit)

    def close(self) -> None:
        pass

    def _all(self, entries: Entries, deadline: float) -> Iterator[Entry]:
        self._look_at_the_top()
        yield from self._config()
        for folder in FOLDERS:
            try:
                yield from self._folder(folder, deadline)
            except BackendError as error:
                if error.kind is Kind.DENIED and folder != "snapshots":
                    entries.denied.add(folder)
                elif error.kind is not Kind.MISSING:
                    raise

    def _config(self) -> Iterator[Entry]:
        path = Path(self.path, "config")
        try:
            status = path.stat()
        except FileNotFoundError:
            return
        except OSError as error:
            raise _problem(error, str(path)) from None
        if stat.S_ISREG(status.st_mode):
            yield _entry("config", status)

    def _look_at_the_top(self) -> None:
        """An unmounted disk leaves no folder, or an empty one: neither is a repository without snapshots."""
        try:
            with os.scandir(self.path) as found:
                if next(found, None) is None:
                    raise BackendError(Kind.MISSING, f"{self.path} is empty: is the disk mounted?")
        except FileNotFoundError:
            raise BackendError(Kind.MISSING, f"there is no folder {self.path}: is the disk mounted?") from None
        except OSError as error:
            raise _problem(error, self.path) from None

    def _folder(self, folder: str, deadline: float) -> Iterator[Entry]:
        """Files, those in folders below too; what vanishes while it is looked at is left out."""
        for number, (name, status) in enumerate(self._walk(folder)):
            if number % _ASK_THE_CLOCK_EVERY == 0 and time.monotonic() >= deadline:
                raise BackendError(Kind.TIMEOUT, f"{self.path} was not listed in time")
            yield _entry(name, status)

    def _walk(self, folder: str) -> Iterator[tuple[str, os.stat_result]]:
        try:
            with os.scandir(Path(self.path, folder)) as found:
                for item in found:
                    name = f"{folder}/{item.name}"
                    if item.is_dir(follow_symlinks=False):
                        yield from self._walk(name)
                    elif status := _status(item):
                        yield name, status
        except OSError as error:
            raise _problem(error, str(Path(self.path, folder))) from None


def _status(item: os.DirEntry[str]) -> os.stat_result | None:
    """None for what is no file, or has vanished. Raises OSError: a file that cannot be looked at is not gone."""
    try:
        status = item.stat()
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _entry(name: str, status: os.stat_result) -> Entry:
    try:
        modified = datetime.fromtimestamp(status.st_mtime, UTC)
    except (ValueError, OverflowError, OSError):  # some file systems hold any number
        modified = datetime.fromtimestamp(0, UTC)
    return Entry(name, status.st_size, modified)


def _problem(error: OSError, path: str) -> BackendError:
    if isinstance(error, PermissionError):
        return BackendError(Kind.DENIED, f"{path} may not be read by this user")
    if isinstance(error, FileNotFoundError):
        return BackendError(Kind.MISSING, f"there is no {path}")
    if isinstance(error, NotADirectoryError):
        return BackendError(Kind.REFUSED, f"{path} is not a folder")
    return BackendError(Kind.UNREACHABLE, f"{path} cannot be read: {(error.strerror or 'unknown error').lower()}")
