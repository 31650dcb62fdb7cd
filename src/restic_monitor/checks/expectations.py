"""What is expected of the parts of a repository: every machine is backed up, not just the repository."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from restic_monitor.model import SUMMED_UP, Check, Code, Line, Observation, Snapshot, Status, Verdict, one_line, shorten
from restic_monitor.quantity import format_duration

_NAME_LIMIT = 40
_HERE_LIMIT = 80
_NAMED_LIMIT = 110
_ONE_LIMIT = 160
"""Characters for lists of names in a message, and for the reason of one line; the message has 200 in all."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which snapshots: those of exactly this host ("": without one), with all of these paths, with all of these tags; exact
    strings, as with restic's --host, --path and --tag a,b. None and empty sets ask for nothing."""

    host: str | None = None
    paths: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()

    def matches(self, snapshot: Snapshot) -> bool:
        return (
            (self.host is None or snapshot.host == self.host)
            and self.paths.issubset(snapshot.paths)
            and self.tags.issubset(snapshot.tags)
        )

    def __str__(self) -> str:
        host = [] if self.host is None else [f"of host {_name(self.host)}" if self.host else "without a host"]
        paths = [f"with {' and '.join(map(_name, sorted(self.paths)))}"] if self.paths else []
        tags = [f"tagged {' and '.join(map(_name, sorted(self.tags)))}"] if self.tags else []
        return " ".join([*host, *paths, *tags])


Series = list[Snapshot]
"""Some of the same host, paths and tags: a filter that matches one matches all, so that many are asked about at once."""

Group = Mapping[str, tuple[str, ...]]
"""What the snapshots of a group have in common: `host` (one), `paths`, `tags` (sorted); those that are grouped by."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """Groups that a person has retired: of hosts that match this glob, with exactly these paths, exactly these tags, whose
    newest snapshot is from before a date. All that is given must hold."""

    host: str | None = None
    paths: frozenset[str] | None = None
    tags: frozenset[str] | None = None
    before: datetime | None = None

    def matches(self, group: Group, newest: datetime) -> bool:
        return (
            (self.host is None or fnmatchcase(group["host"][0], self.host))
            and (self.paths is None or set(group["paths"]) == self.paths)
            and (self.tags is None or set(group["tags"]) == self.tags)
            and (self.before is None or newest < self.before)
        )


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is expected of the snapshots that `where` finds, by checks that see nothing else. With `group_by` of each group of
    those that no other expectation matches, except the groups that are ignored."""

    name: str
    checks: tuple[Check, ...]
    where: Filter
    group_by: tuple[str, ...] = ()
    ignore: tuple[Ignored, ...] = ()
    max_age: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Expectations:
    """All of one repository; at most one with `group_by`. A group is judged as long as one snapshot of it is left, however old:
    an alarm does not end by itself."""

    expectations: tuple[Expectation, ...]

    def judge(self, seen: Observation, now: datetime) -> tuple[Verdict, tuple[Line, ...]]:
        if seen.snapshots is None:
            reason = Verdict(SUMMED_UP, Status.UNKNOWN, Code.ERROR, "the snapshots could not be listed")
            return reason, self.unseen(reason)
        series, lines, ignored = _Series.of(seen.snapshots), [], 0
        for each in self.expectations:
            groups, left_out = self._groups(each, series)
            groups = _named_apart(groups)
            ignored += left_out
            lines += [_line(name, each, of, seen, now) if of else _missing(each, series, seen) for name, of in groups]
        told = [_summary(lines)] if lines else []
        told += [f"{_count(ignored, 'group')} ignored"] if ignored else []
        told += self._not_expected(series)
        return _summed_up(lines, "; ".join(told)), tuple(lines)

    def unseen(self, reason: Verdict) -> tuple[Line, ...]:
        return tuple(Line(each.name, (reason,), max_age=each.max_age) for each in self.expectations)

    def _groups(self, expectation: Expectation, series: _Series) -> tuple[list[tuple[str, Series]], int]:
        """The snapshots of each line, with its name, and how many groups are ignored."""
        matching = series.matching(expectation.where)
        if not expectation.group_by or not matching:
            return [(expectation.name, [snapshot for each in matching for snapshot in each])], 0
        others = _Filters([each.where for each in self.expectations if not each.group_by])
        left = [each for each in matching if not others.match(each[0])]
        groups = _grouped(left, expectation.group_by)
        judged = [(key, of) for key, of in sorted(groups.items()) if not _is_ignored(dict(key), of, expectation.ignore)]
        return [(f"{expectation.name}/{_group_name(dict(key))}", of) for key, of in judged], len(groups) - len(judged)

    def _not_expected(self, series: _Series) -> list[str]:
        """How many snapshots nothing is expected of, and whose they are."""
        filters = _Filters([each.where for each in self.expectations])
        unmatched = [each for each in series.all if not filters.match(each[0])]
        if not unmatched:
            return []
        hosts = _listed(sorted({_host(each[0].host) for each in unmatched}), _HERE_LIMIT)
        return [f"{_count(sum(map(len, unmatched)), 'snapshot')} not expected, of {hosts}"]


def _asked_for(where: Filter) -> object:
    """One thing that a snapshot must have, so that few have to be looked at; None where nothing is asked for."""
    if where.host is not None:
        return "host", where.host
    wanted = [*(("tag", tag) for tag in sorted(where.tags)), *(("path", path) for path in sorted(where.paths))]
    return next(iter(wanted), None)


def _has(snapshot: Snapshot) -> Iterator[object]:
    """All that may be asked for."""
    yield None
    yield "host", snapshot.host
    yield from (("tag", tag) for tag in snapshot.tags)
    yield from (("path", path) for path in snapshot.paths)


class _Filters:
    """Several, asked at once."""

    def __init__(self, filters: Iterable[Filter]) -> None:
        self._filters: dict[object, list[Filter]] = defaultdict(list)
        for each in filters:
            self._filters[_asked_for(each)].append(each)

    def match(self, snapshot: Snapshot) -> bool:
        return any(each.matches(snapshot) for key in _has(snapshot) for each in self._filters.get(key, ()))


@dataclass(frozen=True, slots=True)
class _Series:
    """All snapshots, by what filters ask for; and what was counted of them once."""

    all: list[Series]
    having: Mapping[object, list[Series]]
    counted: dict[object, str]

    @classmethod
    def of(cls, snapshots: Iterable[Snapshot]) -> _Series:
        found: dict[tuple[str, tuple[str, ...], tuple[str, ...]], Series] = {}
        for snapshot in snapshots:
            found.setdefault((snapshot.host, snapshot.paths, snapshot.tags), []).append(snapshot)
        having: dict[object, list[Series]] = defaultdict(list)
        for each in found.values():
            for key in set(_has(each[0])):
                having[key].append(each)
        return cls(list(found.values()), having, {})

    def matching(self, where: Filter) -> list[Series]:
        return [each for each in self.having.get(_asked_for(where), ()) if where.matches(each[0])]

    def here(self, where: Filter) -> str:
        """What of a filter is there: the hosts; or, if the host is there, its paths, or its tags."""
        if not self.all:
            return "the repository is empty"
        whose = "" if where.host is None else "its "
        if (where.host, where.paths) in self.counted:
            return f"{whose}tags here: {self.counted[where.host, where.paths]}"
        of_host = self.having.get(_asked_for(Filter(where.host)), ())
        if not of_host:
            return f"hosts here: {self._count('host', ((_host(each[0].host), len(each)) for each in self.all))}"
        with_paths = [each for each in of_host if where.paths.issubset(each[0].paths)]
        if not with_paths:
            paths = ((_name(path), len(each)) for each in of_host for path in each[0].paths)
            return f"{whose}paths here: {self._count((where.host, 'paths'), paths)}"
        tags = ((_name(tag), len(each)) for each in with_paths for tag in each[0].tags)
        return f"{whose}tags here: {self._count((where.host, where.paths), tags)}"

    def _count(self, of: object, names: Iterable[tuple[str, int]]) -> str:
        """The most frequent first. Once for all lines that ask for the same."""
        if of not in self.counted:
            counts: Counter[str] = Counter()
            for name, count in names:
                counts[name] += count
            self.counted[of] = _listed(sorted(counts, key=lambda name: (-counts[name], name)), _HERE_LIMIT) or "none"
        return self.counted[of]


def _line(name: str, expectation: Expectation, matching: Sequence[Snapshot], seen: Observation, now: datetime) -> Line:
    narrowed = replace(seen, snapshots=tuple(matching))
    verdicts = tuple(_as_far_as_read(check.judge(narrowed, now), seen) for check in expectation.checks)
    return Line(name, verdicts, len(matching), expectation.max_age)


def _missing(expectation: Expectation, series: _Series, seen: Observation) -> Line:
    """By name, with what is there."""
    message = " ".join(filter(None, ["no snapshot", str(expectation.where)])) + f"; {series.here(expectation.where)}"
    verdict = Verdict("freshness", Status.DOWN, Code.MISSING, message)
    return Line(expectation.name, (_as_far_as_read(verdict, seen),), 0, expectation.max_age)


def _as_far_as_read(verdict: Verdict, seen: Observation) -> Verdict:
    """What cannot be read may be what is missed: then nobody knows. That it cannot be read is another check's DOWN."""
    if verdict.status is not Status.DOWN or not seen.unreadable:
        return verdict
    message = f"{verdict.message}; not all snapshots could be read"
    return replace(verdict, status=Status.UNKNOWN, code=Code.UNKNOWN, message=message)


# groups


def _grouped(series: Iterable[Series], by: Sequence[str]) -> dict[tuple[tuple[str, tuple[str, ...]], ...], Series]:
    groups: dict[tuple[tuple[str, tuple[str, ...]], ...], Series] = {}
    for snapshots in series:
        one = snapshots[0]
        parts = {"host": (one.host,), "paths": tuple(sorted(set(one.paths))), "tags": tuple(sorted(set(one.tags)))}
        groups.setdefault(tuple((part, parts[part]) for part in by), []).extend(snapshots)
    return groups


def _is_ignored(group: Group, snapshots: Sequence[Snapshot], ignore: Sequence[Ignored]) -> bool:
    """`before` counts by what is proved, else by the date: a date in the future retires nothing."""
    newest = max(snapshot.proved or snapshot.time for snapshot in snapshots)
    return any(entry.matches(group, newest) for entry in ignore)


def _group_name(group: Group) -> str:
    """ "web1", "web1 /srv /etc", "web1 /srv [nightly]": in full, since it is what tells them apart."""
    words = []
    if "host" in group:
        words.append(one_line(group["host"][0]) or "(no host)")
    if "paths" in group:
        words.append(" ".join(map(one_line, group["paths"])) or "(no paths)")
    if "tags" in group:
        words.append(f"[{','.join(map(one_line, group['tags']))}]")
    return " ".join(words)


def _named_apart(groups: Sequence[tuple[str, Series]]) -> list[tuple[str, Series]]:
    """Names that differ in what no line can show (a blank at the end) get a number."""
    seen: Counter[str] = Counter()
    named = []
    for name, series in groups:
        seen[name] += 1
        named.append((f"{name} ({seen[name]})" if seen[name] > 1 else name, series))
    return named


# summing up


def _summed_up(lines: Sequence[Line], message: str) -> Verdict:
    """The worst of the lines, and the newest snapshot of all."""
    if not lines:  # every group is ignored: somebody decided so
        return Verdict(SUMMED_UP, Status.UP, Code.OK, message)
    worst = _worst(max(lines, key=_status))
    found = [verdict for line in lines for verdict in line.verdicts if verdict.newest and verdict.age is not None]
    newest = min(found, key=lambda verdict: verdict.age or timedelta(0), default=None)
    return Verdict(
        SUMMED_UP, worst.status, worst.code, message, newest.newest if newest else None, newest.age if newest else None
    )


def _summary(lines: Sequence[Line]) -> str:
    """ "db1 (40d), pi (missing), 3 others fresh"."""
    bad = sorted((line for line in lines if _status(line) > Status.UP), key=_status, reverse=True)
    fresh = len(lines) - len(bad)
    if not bad:
        return _all_fresh(lines)
    others = [f"{fresh} {'others' if fresh > 1 else 'other'} fresh"] if fresh else []
    if len(bad) == 1 and _worst(bad[0]).code is not Code.STALE:
        return "; ".join([shorten(f"{_name(bad[0].name)}: {_reason(bad[0])}", _ONE_LIMIT), *others])
    return ", ".join([_listed([f"{_name(line.name)} ({_why(line)})" for line in bad], _NAMED_LIMIT), *others])


def _all_fresh(lines: Sequence[Line]) -> str:
    oldest = max(lines, key=lambda line: _age(line) or timedelta(0))
    age = format_duration(_age(oldest) or timedelta(0), 1)
    if len(lines) == 1:
        return f"{_name(oldest.name)} fresh ({age})"
    return f"all {len(lines)} fresh, the oldest {_name(oldest.name)} ({age})"


def _why(line: Line) -> str:
    """A stale one by its age, others by their code."""
    worst = _worst(line)
    if worst.code is Code.STALE and worst.age is not None:
        return format_duration(worst.age, 1)
    return "unknown" if worst.status is Status.UNKNOWN else str(worst.code)


def _reason(line: Line) -> str:
    """In full; of a warning its last part, which stands behind the age."""
    message = _worst(line).message
    return message.rpartition("; ")[2] if _status(line) is Status.WARN else message


def _worst(line: Line) -> Verdict:
    return max(line.verdicts, key=lambda verdict: verdict.status)


def _status(line: Line) -> Status:
    return _worst(line).status


def _age(line: Line) -> timedelta | None:
    return next((verdict.age for verdict in line.verdicts if verdict.age is not None), None)


# words


def _listed(names: Sequence[str], limit: int) -> str:
    """As many as there is room for, at least one, and how many more."""
    shown, length = 0, 0
    for name in names:
        length += len(name) + 2
        if shown and length > limit:
            break
        shown += 1
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{', '.join(names[:shown])}{more}"


def _host(host: str) -> str:
    return _name(host) if host else "(no host)"


def _name(name: str) -> str:
    return shorten(one_line(name), _NAME_LIMIT)


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"
