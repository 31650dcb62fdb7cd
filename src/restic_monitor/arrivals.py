"""What earlier looks tell of snapshots: which were replaced, which stay known, whose clock is wrong. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec.structs import replace

from restic_monitor.model import TOLERANCE, Folder, Past, Snapshot

NO_SUMMARY = "no summary"
"""Noted once."""


def known(snapshots: Sequence[Snapshot], hidden: Iterable[str], recalled: Past | None) -> dict[str, datetime | None]:
    """What each proves. And what those proved that are hidden or that one was made of: `tag` names the first of all."""
    before = recalled.proved if recalled else {}
    wanted = {each.original for each in snapshots} | set(hidden)
    return {name: before[name] for name in wanted if name in before} | {each.id: each.proved for each in snapshots}


def without_replaced(folder: Folder, snapshots: Sequence[Snapshot]) -> Folder:
    """`tag` and `rewrite` put another in the place of one: that one is not lost. The second `tag` names not what it replaced
    but the first of all, so such are only counted."""
    if not folder.vanished:
        return folder
    new, gone, originals = set(folder.appeared or ()), set(folder.vanished), {each.original for each in snapshots}
    made = {each.id: each.original for each in snapshots if each.original and each.id in new}
    left = [name for name in folder.vanished if name not in originals]
    left = left[sum(original not in gone for original in made.values()) :]
    replacing = set(list(made)[: len(gone) - len(left)])
    return replace(folder, appeared=tuple(sorted(new - replacing)), vanished=tuple(left))


def our_clock(snapshots: Sequence[Snapshot], now: datetime) -> str | None:
    """A note, when most of several hosts are ahead of us. Such a look is not remembered: nothing came when it says."""
    newest = {each.host: each.time for each in sorted(snapshots, key=lambda each: each.time)}
    ahead = sum(1 for time in newest.values() if time > now + TOLERANCE)
    if ahead < 2 or 2 * ahead <= len(newest):
        return None
    return f"{ahead} of {len(newest)} hosts are ahead of this machine: is its clock behind? This look is not remembered"


def without_summary(snapshots: Iterable[Snapshot]) -> str | None:
    """A note, when the newest of some host has none. Told once: nobody can change what an older restic wrote."""
    newest: dict[str, Snapshot] = {}
    for snapshot in sorted(snapshots, key=lambda each: each.time):
        newest[snapshot.host] = snapshot
    without = sorted(host or "(no host)" for host, snapshot in newest.items() if snapshot.summary is None)
    if not without:
        return None
    whose = f"{without[0]} and {len(without) - 1} more" if len(without) > 1 else without[0]
    return f"no file count of {whose} (restic before 0.17): an empty backup is not noticed"
