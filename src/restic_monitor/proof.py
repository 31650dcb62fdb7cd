"""What a snapshot proves: that there was a backup at one moment. Pure, and the same for all probes and all checks.

Each of the moments that are known of a snapshot can be later than its backup, and none is earlier:

- its `time` is the start of the backup, by the clock of its host; `backup --time` and `rewrite --new-time` set it at will;
- `summary.backup_end` is by the same clock, and survives `rewrite --new-time`;
- its file may have been stored again: `tag`, `rewrite` and `copy` do that, and so does who copies the repository;
- what it was made of, its `original`, proved a backup when it was there.

So the earliest counts. A moment that nobody can know is left out: one before there was restic, and one that was in the
future when the snapshot was first seen: that clock is wrong. Such a snapshot proves a backup when it arrived, not when its
date comes; and nothing where nobody knows when that was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from restic_monitor.model import TOLERANCE, Past, Snapshot, Stored

_BEFORE_RESTIC = datetime(2014, 1, 1, tzinfo=UTC)
_LONG = timedelta(days=1)
_AT_ONCE = timedelta(hours=1)


def prove(
    snapshots: Sequence[Snapshot], past: Past | None, now: datetime, files: Mapping[str, Stored] | None = None
) -> tuple[Snapshot, ...]:
    """The same snapshots with `proved`, and `stored` from `files`, by name: when each was first seen, or when its file was
    stored. What is not in there was seen `now`."""
    files = files or {}
    stored = {each.id: files.get(each.id) or each.stored or Stored(each.id, None, now) for each in snapshots}
    known = _Known({each.id: each for each in snapshots}, stored, past.proved if past else {}, now)
    return tuple(replace(each, stored=stored[each.id], proved=known.proved(each.id)) for each in snapshots)


class _Known:
    """What is there, what an earlier look saw, and what is found out meanwhile."""

    def __init__(
        self,
        snapshots: Mapping[str, Snapshot],
        stored: Mapping[str, Stored],
        proved: Mapping[str, datetime | None],
        now: datetime,
    ) -> None:
        self._snapshots, self._stored, self._proved, self._now = snapshots, stored, proved, now
        self._found: dict[str, datetime | None] = {}

    def proved(self, name: str) -> datetime | None:
        """Follows originals; a chain is as long as somebody forged it, so without recursion, and a circle ends where it
        began."""
        chain: dict[str, None] = {}
        while name in self._snapshots and name not in self._found and name not in chain:
            chain[name] = None
            name = self._snapshots[name].original
        known, proved = self._remembered(name)
        for link in reversed(chain):
            proved = self._earliest(link, known, proved)
            self._found[link], known = proved, True
        return proved

    def _remembered(self, name: str) -> tuple[bool, datetime | None]:
        """Whether the snapshot is known, and what it proves or proved."""
        if name in self._found:
            return True, self._found[name]
        return name in self._proved, self._proved.get(name)

    def _earliest(self, name: str, original_known: bool, original: datetime | None) -> datetime | None:
        if (original_known and original is None) or self._proved.get(name, self._now) is None:
            return None  # a copy proves no more than what it was made of; and no date comes true
        moments = [*_own(self._snapshots[name], self._stored[name], self._now), original, self._proved.get(name)]
        return min((moment for moment in moments if moment), default=None)


def _own(snapshot: Snapshot, stored: Stored, now: datetime) -> Iterable[datetime]:
    for moment in (snapshot.time, snapshot.summary and snapshot.summary.ended):
        if moment and _BEFORE_RESTIC <= moment <= min(stored.before, now) + TOLERANCE:
            yield moment
    if stored.after is not None and stored.before <= now + TOLERANCE:
        yield stored.before


def behind(snapshots: Iterable[Snapshot]) -> list[tuple[Snapshot, timedelta]]:
    """Of each host the snapshot that arrived last, and how long before that it is dated, where that is more than a day for
    certain and it was not made of another: the clock of that host may be behind. Not where others of the host, from other
    days, arrived within the same hour: then somebody has moved the repository."""
    snapshots, newest = list(snapshots), dict[str, Snapshot]()
    for snapshot in snapshots:
        if snapshot.stored and snapshot.stored.after is not None:
            newest[snapshot.host] = max(newest.get(snapshot.host, snapshot), snapshot, key=_arrival)
    late = [(each, after - _dated(each)) for each in newest.values() if (after := _after(each)) and not each.original]
    late = [(each, by) for each, by in late if by > _LONG]
    moved = {each.host for each in snapshots for last, _ in late if _moved_with(each, last)}
    return [(each, by) for each, by in late if each.host not in moved]


def _moved_with(other: Snapshot, last: Snapshot) -> bool:
    return (
        other.host == last.host
        and other.stored is not None
        and other.stored.after is not None
        and _arrival(last)[0] - other.stored.before < _AT_ONCE
        and abs(_dated(other) - _dated(last)) > _LONG
    )


def _arrival(snapshot: Snapshot) -> tuple[datetime, datetime]:
    assert snapshot.stored
    return snapshot.stored.before, _dated(snapshot)


def _after(snapshot: Snapshot) -> datetime | None:
    return snapshot.stored.after if snapshot.stored else None


def _dated(snapshot: Snapshot) -> datetime:
    ended = snapshot.summary and snapshot.summary.ended
    return max(snapshot.time, ended) if ended else snapshot.time
