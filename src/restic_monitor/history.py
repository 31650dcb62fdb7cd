"""What is known of a repository's files from look to look: when they were stored, and what changed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from restic_monitor.model import Folder, Past, Stored

_CLOCK_TOLERANCE = timedelta(minutes=1)


def usable(past: Past | None, begun: datetime) -> Past | None:
    """A look that lies in the future was made with a clock that was wrong, and proves nothing."""
    return past if past and past.looked <= begun + _CLOCK_TOLERANCE else None


def dated(
    names: Iterable[tuple[str, datetime | None]], folder: str, past: Past | None, latest: datetime, *, compare: bool = True
) -> dict[str, Stored]:
    """When each file was stored: as the store says, or as the looks bracket it. A file that the last look did not have came
    after that look began, and before this one ended, at `latest`; what is remembered as later was told by a wrong clock.
    Without `compare` (when the last look was is not known) a new file came at any time."""
    known = past.folders.get(folder, {}) if past else {}
    after = past.looked if compare and past and folder in past.folders else None

    def stored(name: str, modified: datetime | None) -> Stored:
        if modified:
            return Stored(name, modified, modified)
        file = known.get(name) or Stored(name, after, latest)
        if file.before <= latest:
            return file
        return Stored(name, file.after if file.after and file.after < latest else None, latest)

    return {name: stored(name, modified) for name, modified in names}


def compared(files: Mapping[str, Stored], folder: str, past: Past | None) -> Folder:
    """The files of a folder, with what appeared and vanished since the last look."""
    if not past or folder not in past.folders:
        return Folder(tuple(files.values()))
    before = past.folders[folder]
    appeared, vanished = files.keys() - before.keys(), before.keys() - files.keys()
    return Folder(tuple(files.values()), tuple(sorted(appeared)), tuple(sorted(vanished)))


def all_gone(past: Past | None, listed: Mapping[str, Mapping[str, Stored]]) -> bool:
    """No snapshot file is left of some whose times nobody tells. Such a look is not remembered over the last one: files that
    come back (a disk that was not mounted) would seem to be new."""
    known = past.folders.get("snapshots", {}) if past else {}
    return listed.get("snapshots") == {} and any(not file.exact for file in known.values())
