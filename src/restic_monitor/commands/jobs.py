"""The jobs that back up into a repository, as far as paths and tags tell them apart. Pure.

A filter asks for some paths and some tags, and takes snapshots that have more. So the filter of one job may find the backups
of another, which would cover for the first when it dies: then tags are asked for as well, where they make a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import replace

from restic_monitor.checks.expectations import Filter
from restic_monitor.commands.groups import Group, by_tags
from restic_monitor.commands.rhythm import Rhythm
from restic_monitor.model import Snapshot

_STEADY = 4
"""The longest interval, in usual ones: Friday to Monday is three."""


class Job(Struct, frozen=True):
    """Backups that belong together, how often they come, and what finds all of them."""

    group: Group
    rhythm: Rhythm
    where: Filter

    def finds_one_of(self, other: Job) -> bool:
        return any(map(self.where.matches, _series(other.group.snapshots)))


class Retired(Struct, frozen=True):
    """Snapshots of what makes no more of them. `found`: the filter of a job finds them all the same."""

    group: Group
    rhythm: Rhythm
    found: bool


def of_hosts(hosts: Iterable[Sequence[Group]], now: datetime) -> list[tuple[list[Job], list[Retired]]]:
    """Of each host's groups by paths, in the same order. A filter without a host looks at all of them."""
    every = [(groups, _active(groups, now)) for groups in hosts]
    of_all = [group for _, active in every for group in active]
    found = []
    for groups, active in every:
        jobs = _jobs(active, of_all if groups[0].host is None else active, now)
        found.append((jobs, list(_retired(groups, active, jobs))))
    return found


def _active(groups: Sequence[Group], now: datetime) -> list[Group]:
    """Neither dormant nor replaced."""
    rhythms = [(group, found) for group in groups if (found := group.rhythm)]
    return [group for group, found in rhythms if not found.is_dormant(now) and not _is_replaced(group, found, rhythms, now)]


def _is_replaced(group: Group, found: Rhythm, all_of_host: Sequence[tuple[Group, Rhythm]], now: datetime) -> bool:
    """Late, and what began after it has one of its paths; not where the tags say that this is another job."""
    return found.is_late(now) and any(
        set(group.paths or ()) & set(other.paths or ())
        and not its.is_late(now)
        and _begin(other) > found.newest
        and not _have_nothing_in_common(_tags(group.snapshots), _tags(other.snapshots))
        for other, its in all_of_host
    )


def _have_nothing_in_common(one: frozenset[str], other: frozenset[str]) -> bool:
    return bool(one and other) and not one & other


def _retired(groups: Sequence[Group], active: Sequence[Group], jobs: Sequence[Job]) -> Iterator[Retired]:
    for group in groups:
        left = tuple(each for each in group.snapshots if not any(job.where.matches(each) for job in jobs))
        gone = group if group not in active else replace(group, snapshots=left)
        if found := gone.rhythm:
            yield Retired(gone, found, found=not left)


# jobs


def _jobs(active: Sequence[Group], rivals: Sequence[Group], now: datetime) -> list[Job]:
    jobs = []
    for group in active:
        where = Filter(group.host, _asked(group, alone=len(active) == 1))
        others = [other for other in rivals if other is not group and _overlap(where, group, other, len(active))]
        series = _series(each for other in others for each in other.snapshots)
        jobs += _of_paths(group, where, series, now)
    return jobs


def _asked(group: Group, *, alone: bool) -> frozenset[str]:
    """The paths to ask for: none where the host has no others."""
    paths = group.paths or ()
    return frozenset() if (alone and group.host is not None) or not can_be_listed(paths) else frozenset(paths)


def _overlap(where: Filter, group: Group, other: Group, count: int) -> bool:
    """Whether one filter finds snapshots of both, by their paths."""
    back = Filter(other.host, _asked(other, alone=count == 1))
    return any(map(where.matches, _series(other.snapshots))) or any(map(back.matches, _series(group.snapshots)))


def _of_paths(group: Group, where: Filter, rivals: Sequence[Snapshot], now: datetime) -> list[Job]:
    """One job; or one for each of some tags, and one for the rest. `rivals`: of jobs with paths that do not tell them apart."""
    tagged = by_tags(group)
    sets = [(of, its) for of in tagged if (its := of.rhythm)]
    live = [(of, its) for of, its in sets if not its.is_dormant(now) and not _is_renamed(its, sets, now)]
    steady = [(of, its) for of, its in live if _is_steady(of, its)]
    newest = max(its.newest for _, its in sets)
    if len(steady) < 2 and not any(its.is_late(now) and its.newest < newest for _, its in steady):
        common = frozenset(filter(_can_be_asked, _tags(each for of, _ in live for each in of.snapshots)))
        if _tell(common, rivals):
            return [_job(group, replace(where, tags=common))]
        steady = [(of, its) for of, its in steady if _tell(frozenset(of.tags or ()), rivals)]
    jobs = [_job(of, replace(where, tags=frozenset(of.tags))) for of, _ in steady if of.tags]
    gone = [of for of, _ in sets if not any(of is other for other, _ in live)] if jobs else []
    left = [each for of in tagged if of not in gone for each in of.snapshots if not any(j.where.matches(each) for j in jobs)]
    return [_job(replace(group, snapshots=tuple(left)), where, group), *jobs] if left else jobs


def _job(group: Group, where: Filter, wider: Group | None = None) -> Job:
    """Of those in the group that the filter finds; by the rhythm of a wider one where they prove nothing."""
    found = replace(group, snapshots=tuple(filter(where.matches, group.snapshots)))
    rhythm = found.rhythm or (wider or group).rhythm
    assert rhythm, "only what proves something is active"
    return Job(found, rhythm, where)


# tags


def _is_steady(group: Group, found: Rhythm) -> bool:
    """Tags that are not for one occasion."""
    if found.is_guess or not found.longest or not found.usual or not all(map(_can_be_asked, group.tags or ())):
        return False
    return found.longest <= _STEADY * found.usual


def _is_renamed(found: Rhythm, sets: Iterable[tuple[Group, Rhythm]], now: datetime) -> bool:
    """Other tags began before these were late, and have gone on like these."""
    return found.is_late(now) and any(
        (begin := _begin(of)) > found.newest and not found.is_late(begin) and not replace(found, newest=its.newest).is_late(now)
        for of, its in sets
    )


def _tell(tags: frozenset[str], rivals: Iterable[Snapshot]) -> bool:
    """Whether some of the rivals do not have all of these."""
    return bool(tags) and any(not tags.issubset(each.tags) for each in rivals)


def _tags(snapshots: Iterable[Snapshot]) -> frozenset[str]:
    """That all of them have."""
    found = {frozenset(each.tags) for each in snapshots}
    return frozenset.intersection(*found) if found else frozenset()


def _can_be_asked(tag: str) -> bool:
    return can_be_listed([tag]) and "," not in tag  # restic's own have none


# words for the configuration


def writable(text: str) -> bool:
    """The configuration takes neither NUL nor half a character."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def can_be_listed(words: Iterable[str]) -> bool:
    return all(word and writable(word) for word in words)


# snapshots


def _begin(group: Group) -> datetime:
    return min((each.proved for each in group.snapshots if each.proved), default=datetime.max.replace(tzinfo=UTC))


def _series(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """One of each host, paths and tags: a filter that finds one finds all."""
    return list({(each.host, each.paths, each.tags): each for each in snapshots}.values())
