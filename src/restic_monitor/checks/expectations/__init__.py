"""What is expected of the parts of a repository: every machine is backed up, not just the repository."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from msgspec import Struct
from msgspec.structs import replace

from restic_monitor.checks.expectations import summary, words
from restic_monitor.checks.expectations.filters import AllSeries, Filter, Filters, Series
from restic_monitor.model import SUMMED_UP, Check, Code, Line, Observation, Snapshot, Status, Verdict, one_line

__all__ = ["Expectation", "Expectations", "Filter", "Ignored"]

_HOSTS_LIMIT = 80
"""Characters for the hosts of what is not expected."""

Group = Mapping[str, tuple[str, ...]]
"""What the snapshots of a group have in common: `host` (one), `paths`, `tags` (sorted); those that are grouped by."""


class Ignored(Struct, frozen=True):
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


class Expectation(Struct, frozen=True):
    """What is expected of the snapshots that `where` finds, by checks that see nothing else. With `group_by` of each group of
    those that no other expectation matches, except the groups that are ignored."""

    name: str
    checks: tuple[Check, ...]
    where: Filter
    group_by: tuple[str, ...] = ()
    ignore: tuple[Ignored, ...] = ()
    max_age: timedelta | None = None


class Expectations(Struct, frozen=True):
    """All of one repository; at most one with `group_by`. A group is judged as long as one snapshot of it is left, however old:
    an alarm does not end by itself."""

    expectations: tuple[Expectation, ...]

    def judge(self, seen: Observation, now: datetime) -> tuple[Verdict, tuple[Line, ...]]:
        if seen.snapshots is None:
            reason = Verdict(SUMMED_UP, Status.UNKNOWN, Code.ERROR, "the snapshots could not be listed")
            return reason, self.unseen(reason)
        series, lines, ignored = AllSeries.of(seen.snapshots), [], 0
        for each in self.expectations:
            groups, left_out = self._groups(each, series)
            groups = _named_apart(groups)
            ignored += left_out
            lines += [_line(name, each, of, seen, now) if of else _missing(each, series, seen) for name, of in groups]
        told = [summary.sentence(lines)] if lines else []
        told += [f"{words.count(ignored, 'group')} ignored"] if ignored else []
        told += self._not_expected(series)
        summed = summary.sum_up(lines, "; ".join(told))
        if seen.partly and any(each.group_by for each in self.expectations) and not summed.status.failing:
            message = f"{summed.message}; {seen.as_far_as_read}: there may be more groups"
            summed = replace(summed, status=Status.UNKNOWN, code=Code.UNKNOWN, message=message)
        return summed, tuple(lines)

    def unseen(self, reason: Verdict) -> tuple[Line, ...]:
        return tuple(Line(each.name, (reason,), max_age=each.max_age) for each in self.expectations)

    def _groups(self, expectation: Expectation, series: AllSeries) -> tuple[list[tuple[str, Series]], int]:
        """The snapshots of each line, with its name, and how many groups are ignored."""
        matching = series.matching(expectation.where)
        if not expectation.group_by or not matching:
            return [(expectation.name, [snapshot for each in matching for snapshot in each])], 0
        others = Filters([each.where for each in self.expectations if not each.group_by])
        left = [each for each in matching if not others.match(each[0])]
        groups = _grouped(left, expectation.group_by)
        judged = [(key, of) for key, of in sorted(groups.items()) if not _is_ignored(dict(key), of, expectation.ignore)]
        return [(f"{expectation.name}/{_group_name(dict(key))}", of) for key, of in judged], len(groups) - len(judged)

    def _not_expected(self, series: AllSeries) -> list[str]:
        """How many snapshots nothing is expected of, and whose they are."""
        filters = Filters([each.where for each in self.expectations])
        unmatched = [each for each in series.all if not filters.match(each[0])]
        if not unmatched:
            return []
        hosts = words.listed(sorted({words.host(each[0].host) for each in unmatched}), _HOSTS_LIMIT)
        return [f"{words.count(sum(map(len, unmatched)), 'snapshot')} not expected, of {hosts}"]


def _line(name: str, expectation: Expectation, matching: Sequence[Snapshot], seen: Observation, now: datetime) -> Line:
    narrowed = replace(seen, snapshots=tuple(matching))
    verdicts = tuple(_as_far_as_read(check.judge(narrowed, now), seen) for check in expectation.checks)
    return Line(name, verdicts, len(matching), expectation.max_age)


def _missing(expectation: Expectation, series: AllSeries, seen: Observation) -> Line:
    """By name, with what is there."""
    message = " ".join(filter(None, ["no snapshot", str(expectation.where)])) + f"; {series.here(expectation.where)}"
    verdict = Verdict("freshness", Status.DOWN, Code.MISSING, message)
    return Line(expectation.name, (_as_far_as_read(verdict, seen),), 0, expectation.max_age)


def _as_far_as_read(verdict: Verdict, seen: Observation) -> Verdict:
    """What cannot be read may be what is missed: then nobody knows. That it cannot be read is another check's DOWN."""
    if verdict.status is not Status.DOWN or not (seen.unreadable or seen.partly):
        return verdict
    why = seen.as_far_as_read if seen.partly else "not all snapshots could be read"
    message = f"{verdict.message}; {why}"
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
