"""What a listing of a repository tells: which files count, what stands among them, whether there is a repository at all.

What counts is a file with a name of 64 hex digits (the SHA-256 of its content) and more than 32 bytes (initialization vector
and authentication code alone). Source: restic's doc/design.rst "Repository Layout", "Keys".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from restic_monitor import history
from restic_monitor.backends import FOLDERS, Backend, BackendError, Entries, Entry, Kind
from restic_monitor.model import Code, Folder, Memory, Past, ProbeError, Stored, one_line, shorten
from restic_monitor.repository import ID, OVERHEAD_BYTES
from restic_monitor.secret import Redactor

_UPLOAD = re.compile(r"[0-9a-f]{64}(-tmp-|-restic-temp-|\.rest-server-temp|\.[0-9a-f]{8}\.partial).*")
"""How a file is called until it is complete: by restic on a disk and over sftp, by rest-server, by rclone."""
_LONGEST_UPLOAD = timedelta(days=1)
_URL_LIMIT = 100
FIRST_LOOK = "no earlier look to compare with"
"""A note."""
_REASON_LIMIT = 185
_HEALS = (Kind.UNREACHABLE, Kind.TIMEOUT, Kind.THROTTLED)


class Listed:
    """The entries of one listing, sorted: what counts by folder and name, and the rest of `snapshots/`."""

    def __init__(self) -> None:
        self.config: Entry | None = None
        self.files: dict[str, dict[str, Entry]] = {folder: {} for folder in FOLDERS}
        self.cut_off: dict[str, Entry] = {}
        """What has the name of a snapshot and is too short for one."""
        self._others: list[Entry] = []

    def __str__(self) -> str:
        count = len(self._others) + len(self.cut_off)
        others = f", {count} others" if count else ""
        return ", ".join(f"{len(files)} {folder}" for folder, files in self.files.items()) + others

    def add_all(self, entries: Entries) -> None:
        """Raises BackendError."""
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        folder, _, name = entry.name.partition("/")
        if entry.name == "config":
            self.config = entry
        elif folder in self.files and name:
            if _counts(name, entry.size):
                self.files[folder][name] = entry
            elif folder == "snapshots" and ID.fullmatch(name):
                self.cut_off[name] = entry
            elif folder == "snapshots":
                self._others.append(entry)

    def strangers(self, now: datetime) -> Iterable[str]:
        """Not an upload that is under way."""
        for entry in self._others:
            name = entry.name.partition("/")[2]
            if _UPLOAD.fullmatch(name):
                if entry.modified and entry.modified < now - _LONGEST_UPLOAD:
                    yield f"{name[:8]}-tmp- (an upload that broke off)"
            else:
                yield f"{shorten(one_line(name), 20)} (not restic's)"


def _counts(name: str, size: int | None) -> bool:
    return bool(ID.fullmatch(name)) and (size is None or size > OVERHEAD_BYTES)


def _is_there(
    backend: Backend, shown_url: str, seen: Listed, denied: Collection[str], recalled: Past | None, deadline: float
) -> None:
    """Without keys and snapshots: is it a repository at all? Raises ProbeError when it is none, or when nobody can tell."""
    if seen.files["keys"] or seen.files["snapshots"]:
        return
    past = recalled if "snapshots" not in denied else None
    here = f"at {shorten(shown_url, _URL_LIMIT)}"
    try:
        there = bool(seen.config and seen.config.size) or bool(backend.read("config", deadline, 1))
    except BackendError as error:
        if error.kind not in (Kind.MISSING, Kind.DENIED):
            raise
        if error.kind is Kind.MISSING:
            message = f"there is no repository {here}: no config, no keys, no snapshots; is the url right?"
            raise ProbeError(Code.ERROR, message) from None
        message = f"nothing can be seen of a repository {here}: wrong url, or no access"
        if count := len(past.folders.get("snapshots", ())) if past else 0:
            were = f"were {count} snapshot files" if count > 1 else "was 1 snapshot file"
            message = f"there {were} {here}, and nothing is left: was it all removed?"
        raise ProbeError(Code.ERROR, message) from None
    if "keys" not in denied:
        what = "a config but no keys: nobody can open it" if there else "an empty config and no keys: did restic init end?"
        raise ProbeError(Code.ERROR, f"the repository {here} has {what}")


def names(backend: Backend, deadline: float) -> set[str]:
    """Those of the snapshot files that are there now: `forget` may be at work. Raises BackendError."""
    try:
        return {entry.name.partition("/")[2] for entry in backend.list("snapshots", deadline)}
    except BackendError as error:
        if error.kind is Kind.MISSING:
            return set()
        raise


class Inventory(Struct, frozen=True):
    """A repository's files by one listing, beside what is remembered. Moments are on the store's clock, where it shows one."""

    seen: Listed
    denied: Collection[str]
    skew: timedelta | None
    begun: datetime
    ended: datetime
    recalled: Past | None
    past: Past | None
    """The last look, if it can be compared with."""
    folders: Mapping[str, Mapping[str, Stored]]

    @property
    def listed(self) -> dict[str, Mapping[str, Stored]]:
        return {folder: files for folder, files in self.folders.items() if folder not in self.denied}

    def compared(self, folder: str) -> Folder | None:
        return None if folder in self.denied else history.compared(self.folders[folder], folder, self.past)

    def suspicious(self) -> tuple[str, ...]:
        """For who opens nothing."""
        sizes = ((name, entry.size) for name, entry in self.seen.cut_off.items())
        cut_off = (f"{name[:8]} ({size} byte{'s' if size != 1 else ''})" for name, size in sizes)
        return tuple(sorted((*cut_off, *self.strangers())))

    def strangers(self) -> tuple[str, ...]:
        """What stands in `snapshots/` under a name that no snapshot has."""
        return tuple(sorted(self.seen.strangers(self.ended)))

    def notes(self, *, compare: bool) -> Iterable[str]:
        if self.denied:
            yield f"not seen, for want of access: {', '.join(sorted(self.denied))}"
        if compare and not self.past:
            yield _nothing_to_compare(self.recalled)


def take(backend: Backend, shown_url: str, memory: Memory | None, deadline: float) -> Inventory:
    """List, and raise ProbeError where there is no repository; BackendError."""
    recalled = memory.recall() if memory else None  # before the listing begins: `state` says why
    seen, begun = Listed(), datetime.now(UTC)
    entries = backend.list("", deadline)
    seen.add_all(entries)
    skew = entries.skew or timedelta(0)
    ended = datetime.now(UTC) + skew
    begun = min(begun + skew, ended)  # our clock may be set back meanwhile
    _is_there(backend, shown_url, seen, entries.denied, recalled, deadline)
    past = history.usable(recalled, begun)
    latest = max(ended, past.looked) if past else ended
    folders = {folder: history.dated(_times(seen.files[folder]), folder, past, latest) for folder in FOLDERS}
    return Inventory(seen, entries.denied, entries.skew, begun, ended, recalled, past, folders)


def _times(entries: Mapping[str, Entry]) -> Iterable[tuple[str, datetime | None]]:
    return ((name, entry.modified) for name, entry in entries.items())


def _nothing_to_compare(past: Past | None) -> str:
    if not past:
        return FIRST_LOOK
    return f"not compared with the last look, which is dated in the future ({past.looked:%Y-%m-%d %H:%MZ}): is a clock wrong?"


def problem(error: BackendError, redact: Redactor) -> ProbeError:
    """Nobody could look, in the words of a probe."""
    code = Code.UNREACHABLE if error.kind in _HEALS else Code.ERROR
    return ProbeError(code, shorten(one_line(redact(error.message)), _REASON_LIMIT))
