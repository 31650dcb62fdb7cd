"""What one look knows of the files of a repository, and the contents of those that it does not."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from restic_monitor.backends import Backend, BackendError, Entry, Kind, outcome
from restic_monitor.model import KeyFile, Opened
from restic_monitor.probes.native.room import Room
from restic_monitor.repository import Damaged, check_name

OF_ONE_FILE = (Kind.DENIED, Kind.REFUSED, Kind.MALFORMED)
"""What may be wrong with one file, and others are read."""
_AT_ONCE_LIMIT_BYTES = 1024 * 1024
"""What is larger is read by itself: many at once have to find room."""


@dataclass(slots=True)
class Found:
    """`opened` is by folder and name."""

    opened: dict[str, dict[str, Opened]]
    unreadable: set[str] = field(default_factory=set)
    damaged: dict[str, str] = field(default_factory=dict)
    makers: dict[str, KeyFile] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    """Snapshots that were listed, and were taken away before they were read."""
    unread: int = 0
    anything_new: bool = False
    room: Room = field(default_factory=Room)

    def add(self, folder: str, file: Opened) -> None:
        """Raises Damaged where there is no room for it."""
        self.opened[folder][file.name] = self.room.hold(file)
        self.anything_new = True

    def is_damaged(self, name: str, reason: str) -> None:
        """`name` with its folder."""
        self.damaged[name] = reason
        if name.startswith("snapshots/"):
            self.unreadable.add(last(name))


def contents(
    backend: Backend, files: Sequence[Entry], deadline: float, limit: int
) -> Iterator[tuple[Entry, bytes | BackendError]]:
    """Of each the first `limit` bytes, many at once, until the time is over. A file whose content is not what its name says is
    read a second time: it may have been under way."""
    at_once = min(limit, _AT_ONCE_LIMIT_BYTES)
    small = [entry for entry in files if (entry.size or 0) < at_once]
    again = [entry for entry in files if (entry.size or 0) >= at_once]
    doubtful: dict[str, bytes] = {}
    for entry, content in backend.read_all(small, deadline, at_once):
        if time.monotonic() >= deadline:
            break
        if isinstance(content, bytes) and not _is_whole(entry, content):
            again.insert(0, entry)
            if entry.size is not None:  # else it may be a large one
                doubtful[entry.name] = content
        else:
            yield entry, content
    for entry in again:
        content = outcome(backend.read, entry, deadline, limit)
        late = isinstance(content, BackendError) and content.kind is Kind.TIMEOUT
        yield entry, doubtful.get(entry.name, content) if late else content


def _is_whole(entry: Entry, content: bytes) -> bool:
    try:
        check_name(last(entry.name), content)
    except Damaged:
        return False
    return True


def last(name: str) -> str:
    """Without the folder."""
    return name.rpartition("/")[2]
