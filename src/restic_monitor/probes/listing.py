"""Looking from outside, without the password: names, sizes and times of a repository's files, and the newest one's content.

What counts as a snapshot: a file in `snapshots/` with a name of 64 hex digits (the SHA-256 of its content) and more than 32
bytes (initialization vector and authentication code alone). Source: restic's doc/design.rst "Repository Layout", "Keys".
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from restic_monitor import history
from restic_monitor.backends import FOLDERS, Backend, BackendError, Entry, Kind
from restic_monitor.model import Code, Memory, NoTimesError, Observation, Past, ProbeError, Stored, one_line, shorten
from restic_monitor.secret import Redactor

_log = logging.getLogger(__name__)
_ID = re.compile(r"[0-9a-f]{64}")
_UPLOAD = re.compile(r"[0-9a-f]{64}(-tmp-|-restic-temp-|\.rest-server-temp|\.[0-9a-f]{8}\.partial).*")
"""How a file is called until it is complete: by restic on a disk and over sftp, by rest-server, by rclone."""
_SEAL_BYTES = 32
_LONGEST_UPLOAD = timedelta(days=1)
_CONTENT_LIMIT_BYTES = 16 * 1024 * 1024
_FUTURE = timedelta(minutes=5)
"""A file dated later than that counts as little here as it does for the check of its age."""
_REASON_LIMIT = 185
_URL_LIMIT = 100
_UNREAD = "unread"
FIRST_LOOK = "no earlier look to compare with"
"""A note."""
_HEALS = (Kind.UNREACHABLE, Kind.TIMEOUT, Kind.THROTTLED)


@dataclass(frozen=True, slots=True)
class Listing:
    """One repository by its listing. Without `memory` nothing is compared with an earlier look. `times_needed`: raise
    NoTimesError where the store tells none."""

    name: str
    backend: Backend = field(repr=False)
    shown_url: str
    redact: Redactor = field(repr=False)
    memory: Memory | None = field(default=None, repr=False)
    times_needed: bool = False
    source: str = "listing"

    @property
    def heavy(self) -> bool:
        return self.backend.heavy

    def observe(self, deadline: float) -> Observation:
        try:
            return self._observe(deadline)
        except BackendError as error:
            code = Code.UNREACHABLE if error.kind in _HEALS else Code.ERROR
            raise ProbeError(code, shorten(one_line(self.redact(error.message)), _REASON_LIMIT)) from None
        finally:
            self.backend.close()

    def _observe(self, deadline: float) -> Observation:
        recalled = self.memory.recall() if self.memory else None  # before the listing begins: `state` says why
        seen, begun = _Seen(), datetime.now(UTC)
        entries = self.backend.list("", deadline)
        for entry in entries:
            seen.add(entry)
        _log.info("%s: listed: %s", self.name, seen)
        skew = entries.skew or timedelta(0)
        ended = datetime.now(UTC) + skew
        begun = min(begun + skew, ended)  # our clock may be set back meanwhile
        if not seen.files["keys"] and not seen.files["snapshots"]:
            lost = recalled if "snapshots" not in entries.denied else None
            self._is_there(seen, "keys" in entries.denied, lost, deadline)
        if self.times_needed and any(entry.modified is None for entry in seen.files["snapshots"].values()):
            raise NoTimesError("the server tells no times of its files")
        past = history.usable(recalled, begun)
        latest = max(ended, past.looked) if past else ended
        folders = {folder: history.dated(_times(seen.files[folder]), folder, past, latest) for folder in FOLDERS}
        newest = _newest(folders["snapshots"].values(), ended + _FUTURE)
        unreadable, notes = self._content(seen.files["snapshots"], newest, past, deadline)
        noted = frozenset({_UNREAD} if unreadable is None else ())
        listed = {folder: files for folder, files in folders.items() if folder not in entries.denied}
        keep = None if history.all_gone(recalled, listed) else self._keep(Past(begun, listed, noted))
        if entries.denied:
            notes = (*notes, f"not seen, for want of access: {', '.join(sorted(entries.denied))}")
        if self.memory and not past:
            notes = (*notes, _nothing_to_compare(recalled))
        known = {f: None if f in entries.denied else history.compared(folders[f], f, past) for f in FOLDERS}
        return Observation(
            self.source,
            unreadable=unreadable,
            stored=known["snapshots"],
            locks=known["locks"],
            keys=known["keys"],
            suspicious=tuple(sorted(seen.suspicious(ended))),
            skew=entries.skew,
            notes=notes,
            keep=keep,
        )

    def _keep(self, seen: Past) -> Callable[[], None] | None:
        """Remember at once where only looks tell times: each one that is not remembered makes all ages vaguer."""
        if not self.memory:
            return None
        if all(file.exact for files in seen.folders.values() for file in files.values()):
            return partial(self.memory.remember, seen)
        self.memory.remember(seen)
        return None

    def _is_there(self, seen: _Seen, keys_denied: bool, past: Past | None, deadline: float) -> None:
        """Without keys and snapshots: is it a repository at all? Raises ProbeError when it is none, or when nobody can tell.
        `past` is the last look if the snapshots may still be listed."""
        here = f"at {shorten(self.shown_url, _URL_LIMIT)}"
        try:
            there = seen.config or bool(self.backend.read("config", deadline, 1))
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
        if not keys_denied:
            what = "a config but no keys: nobody can open it" if there else "an empty config and no keys: did restic init end?"
            raise ProbeError(Code.ERROR, f"the repository {here} has {what}")

    # the newest file's content

    def _content(
        self, entries: Mapping[str, Entry], newest: Stored | None, past: Past | None, deadline: float
    ) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        """The newest file when its content is not what its name says, or None when it is not read; and notes."""
        if not newest:
            return (), ()
        if (entries[newest.name].size or 0) > _CONTENT_LIMIT_BYTES:
            return _unread("the newest file is too large", past)
        try:
            content = self.backend.read(f"snapshots/{newest.name}", deadline, _CONTENT_LIMIT_BYTES)
        except BackendError as error:
            if error.kind is Kind.MISSING:
                return ((newest.name,) if self._is_listed(newest.name, deadline) else ()), ()
            if error.kind not in (Kind.DENIED, Kind.REFUSED):
                raise
            _log.info("%s: contents are not checked: %s", self.name, self.redact(error.message))
            return _unread("the store refuses to let us read them", past)
        return (() if hashlib.sha256(content).hexdigest() == newest.name else (newest.name,)), ()

    def _is_listed(self, name: str, deadline: float) -> bool:
        """Still: otherwise `forget` was at work."""
        try:
            return any(entry.name == f"snapshots/{name}" for entry in self.backend.list("snapshots", deadline))
        except BackendError as error:
            if error.kind is Kind.MISSING:
                return False
            raise


class _Seen:
    """The entries of one listing, sorted: what counts by folder and name, and the rest of `snapshots/`."""

    def __init__(self) -> None:
        self.config = False
        self.files: dict[str, dict[str, Entry]] = {folder: {} for folder in FOLDERS}
        self._others: list[Entry] = []

    def __str__(self) -> str:
        others = f", {len(self._others)} others" if self._others else ""
        return ", ".join(f"{len(files)} {folder}" for folder, files in self.files.items()) + others

    def add(self, entry: Entry) -> None:
        folder, _, name = entry.name.partition("/")
        if entry.name == "config":
            self.config = bool(entry.size)
        elif folder in self.files and name:
            if _counts(name, entry.size):
                self.files[folder][name] = entry
            elif folder == "snapshots":
                self._others.append(entry)

    def suspicious(self, now: datetime) -> Iterable[str]:
        """Not an upload that is under way."""
        for entry in self._others:
            name = entry.name.partition("/")[2]
            if _UPLOAD.fullmatch(name):
                if entry.modified and entry.modified < now - _LONGEST_UPLOAD:
                    yield f"{name[:8]}-tmp- (an upload that broke off)"
            elif _ID.fullmatch(name):
                yield f"{name[:8]} ({entry.size} byte{'s' if entry.size != 1 else ''})"
            else:
                yield f"{shorten(one_line(name), 20)} (not restic's)"


def _counts(name: str, size: int | None) -> bool:
    return bool(_ID.fullmatch(name)) and (size is None or size > _SEAL_BYTES)


def _newest(files: Iterable[Stored], latest: datetime) -> Stored | None:
    """Of those dated at most `latest`; of all where there are no such."""
    return max(files, key=lambda file: (file.before <= latest, file.before, file.name), default=None)


def _times(entries: Mapping[str, Entry]) -> Iterable[tuple[str, datetime | None]]:
    return ((name, entry.modified) for name, entry in entries.items())


def _nothing_to_compare(past: Past | None) -> str:
    if not past:
        return FIRST_LOOK
    return f"not compared with the last look, which is dated in the future ({past.looked:%Y-%m-%d %H:%MZ}): is a clock wrong?"


def _unread(reason: str, past: Past | None) -> tuple[None, tuple[str, ...]]:
    """Noted once."""
    return None, () if past and _UNREAD in past.noted else (f"contents of snapshot files are not checked: {reason}",)
