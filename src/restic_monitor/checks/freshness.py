"""Whether the newest snapshot is recent enough."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from restic_monitor.model import Code, Observation, Snapshot, Status, Verdict, shorten
from restic_monitor.quantity import format_duration

CLOCK_TOLERANCE = timedelta(minutes=5)
_HOST_LIMIT = 40


@dataclass(frozen=True, slots=True)
class Freshness:
    """The newest snapshot is at most `limit` old. Exactly that old is still fresh. `shown` is how messages say the limit.

    Age counts from the snapshot's time, the start of its backup. One that is up to five minutes in the future has age 0;
    one that is further does not count and makes WARN: it would make a repository look fresh until that day.
    """

    limit: timedelta
    shown: str

    def judge(self, seen: Observation, now: datetime) -> Verdict:
        if seen.snapshots is None:
            return Verdict("freshness", Status.UNKNOWN, Code.ERROR, "the snapshots could not be listed")
        if not seen.snapshots:
            if seen.unreadable:  # they are there: the damage is the news, not that they are missing
                return Verdict("freshness", Status.UNKNOWN, Code.ERROR, "no snapshot that can be read")
            return Verdict("freshness", Status.DOWN, Code.MISSING, "no snapshot in the repository")
        future = [snapshot for snapshot in seen.snapshots if snapshot.time > now + CLOCK_TOLERANCE]
        past = [snapshot for snapshot in seen.snapshots if snapshot.time <= now + CLOCK_TOLERANCE]
        if not past:
            return Verdict("freshness", Status.DOWN, Code.MISSING, f"no snapshot that counts: {_in_future(future)}")
        newest = max(past, key=lambda snapshot: snapshot.time)
        age = max(timedelta(0), now - newest.time)
        status, code = self._decide(age, warn=bool(future))
        message = self._message(newest, age, len(seen.snapshots), fresh=status < Status.DOWN)
        if future:
            message = f"{message}; {_in_future(future)}"
        return Verdict("freshness", status, code, message, newest, age)

    def _decide(self, age: timedelta, *, warn: bool) -> tuple[Status, Code]:
        if age > self.limit:
            return Status.DOWN, Code.STALE
        return (Status.WARN, Code.WARN) if warn else (Status.UP, Code.OK)

    def _message(self, newest: Snapshot, age: timedelta, count: int, *, fresh: bool) -> str:
        """The age, the limit, which snapshot, and the moment in UTC: a notification is read later."""
        host = f" {shorten(newest.host, _HOST_LIMIT)}" if newest.host else ""
        which = f"{newest.id[:8]}{host} {newest.time.astimezone(UTC):%Y-%m-%d %H:%MZ}"
        counted = f"; {count} snapshot{'s' if count > 1 else ''}"
        last = which if fresh else f"last {which}"
        return f"newest {self._age(age)} old (limit {self.shown}); {last}{counted}"

    def _age(self, age: timedelta) -> str:
        """To the second where "newest 1d old (limit 1d)" would be the reason to be stale."""
        short = format_duration(age)
        return format_duration(age, 4) if age > self.limit and short == format_duration(self.limit) else short


def _in_future(snapshots: list[Snapshot]) -> str:
    count = f"{len(snapshots)} snapshots are" if len(snapshots) > 1 else "1 snapshot is"
    latest = max(snapshot.time for snapshot in snapshots).astimezone(UTC)
    return f"{count} dated in the future ({latest:%Y-%m-%d %H:%MZ}): is a clock wrong?"
