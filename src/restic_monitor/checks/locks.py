"""Whether a lock was left behind: it stops `forget` and `prune`, and nobody notices for months."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from restic_monitor.model import Code, Lock, Observation, Status, Verdict, one_line, shorten
from restic_monitor.quantity import format_duration

STALE = timedelta(minutes=30)
"""restic's own limit. A restic that lives writes a new lock every five minutes. Source: internal/repository/lock.go."""


_NAME_LIMIT = 40


class Locks(Struct, frozen=True):
    """A lock file that was stored longer ago than `max_age` is WARN; with its owner where it was opened. One that may not be
    listed is not judged."""

    max_age: timedelta = STALE

    def judge(self, seen: Observation, now: datetime) -> Verdict:
        now += seen.skew or timedelta(0)
        stale = [lock for lock in (seen.locks.files if seen.locks else ()) if now - lock.before > self.max_age]
        if not stale:
            return Verdict("locks", Status.UP, Code.OK, "no stale lock")
        oldest = min(stale, key=lambda lock: lock.before)
        age = f"{'' if oldest.exact else 'at least '}{format_duration(now - oldest.before)} old"
        what = f"a lock is {age}" if len(stale) == 1 else f"{len(stale)} locks, the oldest is {age}"
        whose = _whose(seen.holders[oldest.name]) if oldest.name in seen.holders else ""
        return Verdict("locks", Status.WARN, Code.WARN, f"{what}{whose}; when no restic is running: restic unlock")


def _whose(lock: Lock) -> str:
    """The owner of the oldest; an exclusive one lets nobody back up."""
    owner = "@".join(shorten(one_line(name), _NAME_LIMIT) for name in (lock.user, lock.host) if name) or "nobody"
    pid = f" pid {lock.pid}" if lock.pid else ""
    return f" ({owner}{pid}{', exclusive: no backup gets in' if lock.exclusive else ''})"
