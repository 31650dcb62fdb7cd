"""Looking from outside, without the password: names, sizes and times of a repository's files, and the newest one's content."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from restic_monitor import history, listed
from restic_monitor.backends import Backend, BackendError, Entry, Kind
from restic_monitor.model import Memory, NoTimesError, Observation, Past, Stored
from restic_monitor.secret import Redactor

_log = logging.getLogger(__name__)
_CONTENT_LIMIT_BYTES = 16 * 1024 * 1024
_FUTURE = timedelta(minutes=5)
"""A file dated later than that counts as little here as it does for the check of its age."""
_UNREAD = "unread"


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
            raise listed.problem(error, self.redact) from None
        finally:
            self.backend.close()

    def _observe(self, deadline: float) -> Observation:
        found = listed.take(self.backend, self.shown_url, self.memory, deadline)
        _log.info("%s: listed: %s", self.name, found.seen)
        snapshots = found.seen.files["snapshots"]
        if self.times_needed and any(entry.modified is None for entry in snapshots.values()):
            raise NoTimesError("the server tells no times of its files")
        newest = _newest(found.folders["snapshots"].values(), found.ended + _FUTURE)
        unreadable, notes = self._content(snapshots, newest, found.past, deadline)
        noted = frozenset({_UNREAD} if unreadable is None else ())
        gone = history.all_gone(found.recalled, found.listed)
        keep = None if gone else self._keep(Past(found.begun, found.listed, noted))
        return Observation(
            self.source,
            unreadable=unreadable,
            stored=found.compared("snapshots"),
            locks=found.compared("locks"),
            keys=found.compared("keys"),
            suspicious=found.suspicious(),
            skew=found.skew,
            notes=(*notes, *found.notes(compare=self.memory is not None)),
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
                still = newest.name in listed.names(self.backend, deadline)
                return (newest.name,) if still else (), ()
            if error.kind not in (Kind.DENIED, Kind.REFUSED):
                raise
            _log.info("%s: contents are not checked: %s", self.name, self.redact(error.message))
            return _unread("the store refuses to let us read them", past)
        return (() if hashlib.sha256(content).hexdigest() == newest.name else (newest.name,)), ()


def _newest(files: Iterable[Stored], latest: datetime) -> Stored | None:
    """Of those dated at most `latest`; of all where there are no such."""
    return max(files, key=lambda file: (file.before <= latest, file.before, file.name), default=None)


def _unread(reason: str, past: Past | None) -> tuple[None, tuple[str, ...]]:
    """Noted once."""
    return None, () if past and _UNREAD in past.noted else (f"contents of snapshot files are not checked: {reason}",)
