"""Storages, seen from outside: one protocol, one module each. Only reads; each request is a listing or a read of one file.

Names are restic's (doc/design.rst "Repository Layout"): `config`, `keys/ID`, `locks/ID`, `snapshots/ID`, relative to the
repository.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from msgspec import Struct

T = TypeVar("T")

FOLDERS = ("keys", "locks", "snapshots")
"""What `list("")` lists: what a look needs. Not `data` and `index`, which may hold millions of files."""

ENTRY_LIMIT = 1_000_000
"""Files of one listing; a server that never ends must end somewhere."""
TRIES = 4
"""The first and three more, after 0.5, 1 and 2 s."""
_FIRST_PAUSE_SECONDS = 0.5


class Entry(Struct, frozen=True):
    """One file. `name` is relative to the repository, with its folder; `size` is in bytes, None where the store does not
    tell (rest-server's first API); `modified` is the moment it was stored, None where the store tells no times."""

    name: str
    size: int | None
    modified: datetime | None = None
    storage_class: str | None = None


class Kind(enum.StrEnum):
    """What went wrong with a storage; a closed set."""

    MISSING = "missing"
    """The file, the folder, the bucket is not there."""
    DENIED = "denied"
    """Not with these credentials."""
    UNREACHABLE = "unreachable"
    """Nobody answered, or with a failure of their own (5xx): it may heal by itself."""
    REFUSED = "refused"
    """An answer that will stay the same until somebody changes something: 400, a redirect elsewhere, a certificate."""
    TIMEOUT = "timeout"
    """The deadline has passed."""
    THROTTLED = "throttled"
    """Too many requests, even after waiting."""
    MALFORMED = "malformed"
    """An answer that is not what the protocol says: a login page, broken XML, a listing that never ends."""


class BackendError(Exception):
    """A request to a storage that failed. `message` is one line that says what is wrong, where, and what to do; it holds no
    secret. `wait` is how long the store asks to be left alone."""

    def __init__(self, kind: Kind, message: str, wait: timedelta | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.wait = wait

    @property
    def transient(self) -> bool:
        return self.kind in (Kind.UNREACHABLE, Kind.THROTTLED)


class Entries:
    """The entries of one listing, each once, in any order, as they come. Iterating raises BackendError.

    Known once the listing has ended: `skew`, the store's clock minus ours, None where it shows none; `denied`, those of
    FOLDERS that may not be listed while others may.
    """

    def __init__(self, entries: Callable[[Entries], Iterator[Entry]]) -> None:
        self.skew: timedelta | None = None
        self.denied: set[str] = set()
        self._entries = entries(self)

    def __iter__(self) -> Iterator[Entry]:
        return self._entries


Content = tuple[Entry, "bytes | BackendError"]


Read = Callable[[str, float, int], bytes]


def one_by_one(read: Read, files: Sequence[Entry], deadline: float, limit: int) -> Iterator[Content]:
    """`read_all` where nothing is won by asking for many at once."""
    for file in files:
        yield file, outcome(read, file, deadline, limit)


def outcome(read: Read, file: Entry, deadline: float, limit: int) -> bytes | BackendError:
    """What `read_all` has to say of a file."""
    if time.monotonic() >= deadline:
        return BackendError(Kind.TIMEOUT, f"no time was left to read {file.name}")
    try:
        return read(file.name, deadline, limit)
    except BackendError as error:
        return error


class Backend(Protocol):
    """One repository's storage. Used by one thread at a time."""

    @property
    def heavy(self) -> bool:
        """It starts a process for each look: as few at once as there are processes of restic."""

    def list(self, folder: str, deadline: float) -> Entries:
        """The files of `keys`, `locks`, `snapshots` or another folder, folders below it included; "" for all of FOLDERS in
        as few requests as there can be (other files may be among them). Folder markers are left out. `deadline` is on
        `time.monotonic`'s scale.

        A folder that is not there is empty where the store cannot tell (object stores), else MISSING. With "" it is
        MISSING when the place of the repository itself is not there (a bucket, a folder), and otherwise what is there.
        """

    def read(self, name: str, deadline: float, limit: int) -> bytes:
        """A file's first `limit` bytes, all of it when it is shorter. Raises BackendError."""

    def read_all(self, files: Sequence[Entry], deadline: float, limit: int) -> Iterator[Content]:
        """The contents of many files that were listed, at most `limit` bytes of each, in as few round trips as there can be.
        Each once, in any order, about that of `files`; who has enough closes the iterator. Raises nothing: what went wrong
        with a file comes in its place. A name is expected to be the SHA-256 of the content, and whether it is is not looked
        at here."""

    def close(self) -> None:
        """Let go of what `list` and `read` keep open for the next of them. Raises nothing."""


def attempt(work: Callable[[], T], deadline: float) -> T:
    """`work`, repeated up to three times where the error is transient and the deadline allows it: the one place where
    looks are repeated. A store that says how long to wait (Retry-After) is waited for that long, or not asked again when
    the deadline comes first. Raises the last BackendError."""
    pause = _FIRST_PAUSE_SECONDS
    for number in range(1, TRIES + 1):
        try:
            return work()
        except BackendError as error:
            wait = pause if error.wait is None else error.wait.total_seconds()
            if not error.transient or number == TRIES or time.monotonic() + wait >= deadline:
                raise
        time.sleep(wait)
        pause *= 2
    raise AssertionError("unreachable")
