"""Whether the newest snapshot is recent enough."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from restic_monitor import proof
from restic_monitor.model import TOLERANCE, Code, Observation, Snapshot, Status, Verdict, one_line, shorten
from restic_monitor.quantity import format_duration
from restic_monitor.recency import Rule, shown_age

_HOST_LIMIT = 40


class Freshness(Struct, frozen=True):
    """The newest backup that a snapshot proves is as recent as `rule` wants it.

    One that is up to five minutes in the future has age 0. A snapshot that is dated later than that makes WARN: a clock is
    wrong.
    """

    rule: Rule

    def judge(self, seen: Observation, now: datetime) -> Verdict:
        if seen.snapshots is None:
            return Verdict("freshness", Status.UNKNOWN, Code.ERROR, "the snapshots could not be listed")
        if seen.partly and (verdict := self._judge_all(seen, now)).status is Status.DOWN:
            message = f"{seen.as_far_as_read}; {verdict.message}" if seen.snapshots else seen.as_far_as_read
            return replace(verdict, status=Status.UNKNOWN, code=Code.UNKNOWN, message=message)
        return self._judge_all(seen, now)

    def _judge_all(self, seen: Observation, now: datetime) -> Verdict:
        if not seen.snapshots:
            if seen.unreadable:  # they are there: the damage is the news, not that they are missing
                return Verdict("freshness", Status.UNKNOWN, Code.ERROR, "no snapshot that can be read")
            gone = len(seen.stored.vanished or ()) if seen.stored else 0
            were = f"; {gone} {'was' if gone == 1 else 'were'} there at the last look" if gone else ""
            return Verdict("freshness", Status.DOWN, Code.MISSING, f"no snapshot in the repository{were}")
        future = [snapshot for snapshot in seen.snapshots if snapshot.time > now + TOLERANCE]
        return self._judge(seen.snapshots, future, seen.unreadable or (), now)

    def _judge(
        self, snapshots: Sequence[Snapshot], future: Sequence[Snapshot], unreadable: Collection[str], now: datetime
    ) -> Verdict:
        limit, notes = self.rule.limit_at(now), _notes(snapshots)
        newest = _newest(snapshots)
        if newest is None:
            message = f"no snapshot that counts: {_in_future(future) if future else _undated(snapshots, unreadable)}"
            return Verdict("freshness", Status.DOWN, Code.MISSING, message, limit=limit, notes=notes)
        age = max(timedelta(0), now - (newest.proved or now))
        status, code = _decide(age, limit, warn=bool(future))
        message = self._message(newest, age, limit, len(snapshots), now)
        if future:
            message = f"{message}; {_in_future(future)}"
        return Verdict("freshness", status, code, message, newest, age, limit, notes)

    def _message(self, newest: Snapshot, age: timedelta, limit: timedelta, count: int, now: datetime) -> str:
        """The age, the limit, which snapshot, and the moment in UTC: a notification is read later."""
        host = f" {shorten(newest.host, _HOST_LIMIT)}" if newest.host else ""
        which = f"{newest.id[:8]}{host} {_moments(newest)}"
        counted = f"; {count} snapshot{'s' if count > 1 else ''}"
        last = f"last {which}" if age > limit else which
        return f"newest {shown_age(age, limit)} old ({self.rule.words(now)}); {last}{counted}"


def _newest(snapshots: Sequence[Snapshot]) -> Snapshot | None:
    counting = [snapshot for snapshot in snapshots if snapshot.proved]
    return max(counting, key=lambda snapshot: (snapshot.proved, snapshot.time, snapshot.id), default=None)


def _decide(age: timedelta, limit: timedelta, *, warn: bool) -> tuple[Status, Code]:
    if age > limit:
        return Status.DOWN, Code.STALE
    return (Status.WARN, Code.WARN) if warn else (Status.UP, Code.OK)


def _moments(snapshot: Snapshot) -> str:
    """When it proves a backup, and its own time where that is another."""
    proved = snapshot.proved or snapshot.time
    dated = f" (dated {_shown(snapshot.time)})" if abs(snapshot.time - proved) > TOLERANCE else ""
    return f"{_shown(proved)}{dated}"


def _shown(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%MZ}"


def _in_future(snapshots: Sequence[Snapshot]) -> str:
    count = f"{len(snapshots)} snapshots are" if len(snapshots) > 1 else "1 snapshot is"
    latest = max(snapshot.time for snapshot in snapshots)
    return f"{count} dated in the future ({_shown(latest)}): is a clock wrong?"


def _undated(snapshots: Sequence[Snapshot], unreadable: Collection[str]) -> str:
    """They are dated wrongly, and nobody saw them come; or nobody knows when what they were made of was."""
    newest = max(snapshots, key=lambda snapshot: snapshot.time)
    if newest.original in unreadable:
        return f"{newest.id[:8]} was made of {newest.original[:8]}, which cannot be read"
    return f"{newest.id[:8]} is dated {_shown(newest.time)}, which was wrong when it came; is a clock wrong?"


def _notes(snapshots: Sequence[Snapshot]) -> tuple[str, ...]:
    return tuple(
        f"{snapshot.id[:8]} is dated {format_duration(late, 1)} before it was stored: is {_clock(snapshot)} behind?"
        for snapshot, late in proof.behind(snapshots)
    )


def _clock(snapshot: Snapshot) -> str:
    host = shorten(one_line(snapshot.host), _HOST_LIMIT)
    return f"the clock of {host}" if host else "the clock of its host"
