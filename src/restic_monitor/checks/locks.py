"""Whether a lock was left behind: it stops `forget` and `prune`, and nobody notices for months."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from restic_monitor.model import Code, Observation, Status, Verdict
from restic_monitor.quantity import format_duration

STALE = timedelta(minutes=30)
"""restic's own limit. A restic that lives writes a new lock every five minutes. Source: internal/repository/lock.go."""


@dataclass(frozen=True, slots=True)
class Locks:
    """A lock file that was stored more than half an hour ago is WARN. One that may not be listed is not judged."""

    def judge(self, seen: Observation, now: datetime) -> Verdict:
        now += seen.skew or timedelta(0)
        stale = [lock for lock in (seen.locks.files if seen.locks else ()) if now - lock.before > STALE]
        if not stale:
            return Verdict("locks", Status.UP, Code.OK, "no stale lock")
        oldest = min(stale, key=lambda lock: lock.before)
        age = f"{'' if oldest.exact else 'at least '}{format_duration(now - oldest.before)} old"
        what = f"a lock is {age}" if len(stale) == 1 else f"{len(stale)} locks, the oldest is {age}"
        return Verdict("locks", Status.WARN, Code.WARN, f"{what}; when no restic is running: restic unlock")
