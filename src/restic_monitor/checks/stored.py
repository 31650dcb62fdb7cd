"""Whether the newest snapshot file was stored recently enough: freshness as a listing shows it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from restic_monitor.model import TOLERANCE, Code, Folder, Observation, Snapshot, Status, Stored, Verdict
from restic_monitor.recency import Rule, shown_age


class StoredRecently(Struct, frozen=True):
    """The newest snapshot file was stored as recently as `rule` wants it. Ages count on the store's clock.

    Where the store tells no times, a file has two bounds. UP when the older one is within the limit, DOWN when the younger
    one is beyond it, UNKNOWN between. A file that is more than five minutes in the future does not count and makes WARN.
    Neither a rewrite (`tag`, `copy`) nor `forget` is judged: from outside they look like a backup.
    """

    rule: Rule

    def judge(self, seen: Observation, now: datetime) -> Verdict:
        if seen.stored is None:
            return Verdict("stored", Status.UNKNOWN, Code.ERROR, "the snapshot files could not be listed")
        limited = _Limited(self.rule.limit_at(now), self.rule.words(now))
        now += seen.skew or timedelta(0)
        files = seen.stored.files
        future = [file for file in files if file.exact and file.before > now + TOLERANCE]
        past = [file for file in files if not (file.exact and file.before > now + TOLERANCE)]
        if future and not past:
            return Verdict("stored", Status.DOWN, Code.MISSING, f"no snapshot file that counts: {_in_future(future)}")
        verdict = limited.judge(past, now)
        told = [verdict.message, *([] if not future else [_in_future(future)]), *_changes(seen.stored)]
        status, code = (Status.WARN, Code.WARN) if future and verdict.status is Status.UP else (verdict.status, verdict.code)
        return replace(verdict, status=status, code=code, message="; ".join(told))


class _Limited(Struct, frozen=True):
    """With the limit of this moment, and the words for it."""

    limit: timedelta
    words: str

    def judge(self, files: Sequence[Stored], now: datetime) -> Verdict:
        if not files:
            return Verdict("stored", Status.DOWN, Code.MISSING, "no snapshot file in the repository")
        newest = max(files, key=lambda file: (file.before, file.name))
        younger = max(timedelta(0), now - newest.before)
        known = [file.after for file in files if file.after is not None]
        older = max(timedelta(0), now - max(known)) if known else None
        if younger > self.limit:
            return self._verdict(Status.DOWN, Code.STALE, newest, younger, older, len(files))
        if older is not None and older <= self.limit:
            return self._verdict(Status.UP, Code.OK, newest, younger, older, len(files))
        return self._verdict(Status.UNKNOWN, Code.UNKNOWN, newest, younger, older, len(files))

    def _verdict(
        self, status: Status, code: Code, newest: Stored, younger: timedelta, older: timedelta | None, count: int
    ) -> Verdict:
        """The age is the older bound, the one that is certain; `newest` has a time only where the store tells it."""
        counted = f"{count} snapshot file{'s' if count > 1 else ''}"
        message = f"newest file stored {self._age(newest, younger, older)} ({self.words}); {newest.name[:8]}"
        if newest.exact:
            message += f" {newest.before.astimezone(UTC):%Y-%m-%d %H:%MZ}"
        snapshot = Snapshot(newest.name, newest.before) if newest.exact else None
        return Verdict("stored", status, code, f"{message}; {counted}", snapshot, older, self.limit)

    def _age(self, newest: Stored, younger: timedelta, older: timedelta | None) -> str:
        """And where that decides nothing, what will: the server tells no times."""
        low = shown_age(younger, self.limit)
        if younger > self.limit:
            return (
                f"{low} ago"
                if newest.exact
                else f"at least {low} ago"
                if older is not None
                else f"before the first look, {low} ago"
            )
        if older is None:
            return f"before the first look, {low} ago, and the server tells no times: wait for a new file"
        high = shown_age(older, self.limit)
        span = low if low == high else f"{low} to {high}"
        return f"{span} ago" if older <= self.limit else f"{span} ago, and the server tells no times: look more often"


def _changes(folder: Folder) -> list[str]:
    """A night's backup with `forget` and a rewrite look the same: as many new names as gone ones. So only the numbers."""
    appeared, vanished = len(folder.appeared or ()), len(folder.vanished or ())
    return [f"{appeared} new, {vanished} gone since the last look"] if appeared or vanished else []


def _in_future(files: Sequence[Stored]) -> str:
    count = f"{len(files)} files are" if len(files) > 1 else "1 file is"
    latest = max(file.before for file in files).astimezone(UTC)
    return f"{count} dated in the future ({latest:%Y-%m-%d %H:%MZ}): is a clock wrong?"
