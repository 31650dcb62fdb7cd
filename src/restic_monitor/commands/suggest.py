"""`restic-monitor suggest NAME`: an `expect:` block that fits what is there, for a person to edit."""

from __future__ import annotations

import itertools
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from glob import escape

from restic_monitor.commands.common import Common, log
from restic_monitor.commands.groups import Group, by_paths, by_tags, counted, look, remarks, usually
from restic_monitor.commands.rhythm import Rhythm
from restic_monitor.model import Observation, one_line
from restic_monitor.quantity import format_duration
from restic_monitor.recency import MaxAge, Rule


def suggest(common: Common, name: str) -> int:
    """Raises UsageError before anything is looked at."""
    seen = look(common, name, "suggest")
    if isinstance(seen, int):
        return seen
    if not seen.snapshots:
        log.error("%s: no snapshot in the repository, so there is nothing to go by", name)
        return 1
    sys.stdout.write(block(name, seen, datetime.now(UTC)))
    return 0


def block(name: str, seen: Observation, now: datetime) -> str:
    """YAML to be put below the repository's name. Pure."""
    plan = _Plan(now)
    for groups in _by_host(by_paths(seen.snapshots or ())):
        plan.add(groups)
    lines = [*_head(name, seen, now), "expect:", *_aligned(plan.lines)]
    return "".join(f"    {line}".rstrip() + "\n" for line in lines)


def _head(name: str, seen: Observation, now: datetime) -> list[str]:
    count = counted(len(seen.snapshots or ()), "snapshot")
    return [
        f"# Suggested on {now:%Y-%m-%d}, by {count}. Put it below {one_line(name)}: in the configuration, in the place",
        "# of any other expect:, and edit it: it describes what is; what should be is for you to decide.",
        f"# Then see what it says, telling nobody: restic-monitor run --no-push {one_line(name)}",
        *(f"# {remark}" for remark in remarks(seen)),
    ]


def _by_host(groups: Iterable[Group]) -> list[list[Group]]:
    """Hosts in alphabetical order, those with made-up names last; of each the paths."""
    hosts: dict[tuple[bool, str], list[Group]] = defaultdict(list)
    for group in groups:
        hosts[group.host is None, group.host or ""].append(group)
    return [sorted(of, key=lambda group: group.paths or ()) for _, of in sorted(hosts.items(), key=lambda item: item[0])]


@dataclass(frozen=True, slots=True)
class _Where:
    """What is asked of snapshots; empty: nothing."""

    host: str | None
    paths: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def fields(self, name: str) -> list[str]:
        """Nothing where the name is the host: that is what a name means without filters."""
        if self.host == name and not self.paths and not self.tags:
            return []
        host = [] if self.host is None else [f"host: {quoted(self.host)}"]
        return [*host, *_list("paths", self.paths), *_list("tags", self.tags)]


@dataclass(slots=True)
class _Plan:
    """The expectations, and what is to be ignored, while they are put together."""

    now: datetime
    names: set[str] = field(default_factory=set)
    expected: list[tuple[str, str]] = field(default_factory=list)
    """Lines with their comments."""
    ignored: list[tuple[str, str]] = field(default_factory=list)

    def add(self, groups: Sequence[Group]) -> None:
        """All groups of one host."""
        host = groups[0].host
        if host is not None and not _writable(host):
            self.expected.append((f"# {one_line(host)}: the name of this host holds what no configuration can", ""))
            return
        # without a host the paths are all there is to ask for
        can_be_told = [group for group in groups if group.host is not None or _can_be_listed(group.paths or ())]
        rhythms = [(group, found) for group in can_be_told if (found := group.rhythm)]
        active = [(group, found) for group, found in rhythms if self._is_active(group, found, rhythms)]
        for group, found in active:
            self._expect(group, found, alone=len(active) == 1)
        for group, found in rhythms:
            if (group, found) not in active:
                self._ignore(group, found, matched=any(not _paths(each, alone=len(active) == 1) for each, _ in active))

    def _is_active(self, group: Group, found: Rhythm, all_of_host: Sequence[tuple[Group, Rhythm]]) -> bool:
        """Not dormant, nor replaced: one that began when this one ended has one of its paths."""
        if found.is_dormant(self.now):
            return False
        return not self._is_late(found) or not any(
            set(group.paths or ()) & set(other.paths or ()) and not self._is_late(its) and _begin(other) > found.newest
            for other, its in all_of_host
        )

    def _is_late(self, found: Rhythm) -> bool:
        return self.now - found.newest > found.rule(self.now).limit_at(self.now)

    def _expect(self, group: Group, found: Rhythm, *, alone: bool) -> None:
        """One expectation for host and paths; or one for each of a few tags that have a rhythm of their own."""
        paths = _paths(group, alone=alone)
        name = _name(group.host, paths)
        tagged = [(of, its) for of in by_tags(group) if (its := of.rhythm) and self._is_steady(of, its)]
        if not 2 <= len(tagged) <= _FEW_TAGS:
            tagged = []
        covered = [set(of.tags or ()) for of, _ in tagged if of.tags]
        if not all(any(tags <= set(each.tags) for tags in covered) for each in group.snapshots):
            self._write(name, _Where(group.host, paths), found, group)
        for of, its in tagged:
            if of.tags:
                self._write(f"{name}-{_slug('-'.join(of.tags))}", _Where(group.host, paths, of.tags), its, of)

    def _is_steady(self, group: Group, found: Rhythm) -> bool:
        """Tags that are not for one occasion, and are still in use."""
        if any("," in tag for tag in group.tags or ()):  # restic's own have none
            return False
        if found.is_guess or not found.longest or not found.usual or not _can_be_listed(group.tags or ()):
            return False
        return found.longest <= _STEADY * found.usual and not found.is_dormant(self.now) and not self._is_late(found)

    def _write(self, name: str, where: _Where, found: Rhythm, group: Group) -> None:
        name = self._free(name)
        rule = found.rule(self.now)
        fields = ", ".join([*where.fields(name), *_rule(rule)])
        remarks = [_observed(found, self.now), *_unsteady(group)]
        if found.is_guess:
            remarks.append("little to go by: a guess")
        if not isinstance(rule, MaxAge):
            remarks.append("an hour early for summer time; better: your timezone and its hour")
        self.expected.append((f"{quoted(name)}: {{{fields}}}", "; ".join(remarks)))

    def _ignore(self, group: Group, found: Rhythm, *, matched: bool) -> None:
        """Until there is a newer one: then it is judged again."""
        host = [] if group.host is None else [f"host: {quoted(escape(group.host))}"]
        listed = group.paths is not None and _can_be_listed(group.paths)
        paths = [f"paths: [{', '.join(map(quoted, group.paths or ()))}]"] if listed else []
        before = f"before: {found.newest.date() + timedelta(days=1)}"
        also = "; matched above, too" if matched else ""
        self.ignored.append((f"- {{{', '.join([*host, *paths, before])}}}", _observed(found, self.now) + also))

    def _free(self, name: str) -> str:
        """The name, or one like it that is not taken; the lines of the groups begin with theirs and a slash."""
        numbered = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        free = next(each for each in numbered if not any(f"{taken}/".startswith(f"{each}/") for taken in self.names))
        self.names.add(free)
        return free

    @property
    def lines(self) -> list[tuple[str, str]]:
        """All of the block, with comments."""
        others = [(f"{self._free('others')}:", "what comes later: every other host, and what it backs up")]
        others += [("  group_by: [host, paths]", "")]
        ignored = [(f"    {line}", comment) for line, comment in self.ignored]
        others += [("  ignore:", "retired, as it seems; before: a later backup is judged"), *ignored] if ignored else []
        return [(f"  {line}", comment) for line, comment in [*self.expected, *others]]


_FEW_TAGS = 4
_STEADY = 4
"""The longest interval, in usual ones: Friday to Monday is three."""


def _begin(group: Group) -> datetime:
    return min((each.proved for each in group.snapshots if each.proved), default=datetime.max.replace(tzinfo=UTC))


def _observed(found: Rhythm, now: datetime) -> str:
    """ "every 1d, late; 34 snapshots, the newest 5h old"."""
    age = format_duration(max(now - found.newest, timedelta(0)), 1)
    if found.count == 1:
        return f"one snapshot, {age} old"
    return f"{usually(found, now)}; {found.count} snapshots, the newest {age} old"


def _unsteady(group: Group) -> list[str]:
    if group.host is None:
        return ["hosts with a new name each time: better set restic's --host"]
    return ["paths that are new each time"] if group.paths is None else []


def _rule(rule: Rule) -> list[str]:
    if isinstance(rule, MaxAge):
        return [f"max_age: {rule.shown}"]
    return [f'schedule: "{rule.expression}"', f"timezone: {rule.zone}", f"grace: {format_duration(rule.grace)}"]


# names


def _paths(group: Group, *, alone: bool) -> tuple[str, ...]:
    """Those to ask for: none where the host has no others."""
    paths = group.paths or ()
    return () if (alone and group.host is not None) or not _can_be_listed(paths) else paths


def _name(host: str | None, paths: Sequence[str]) -> str:
    """The host, and the last parts of its paths."""
    fits = host and len(host) <= _LONGEST_NAME and host == one_line(host)
    base = [host if fits else _slug(host) or "no-host"] if host is not None else []
    parts = [_slug(re.split(r"[/\\]", path.rstrip("/\\"))[-1]) or "root" for path in paths]
    return "-".join([*base, *parts[:2], *(["more"] if len(parts) > 2 else [])])


_LONGEST_NAME = 60


def _slug(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", text).strip("-")[:_LONGEST_NAME]


# YAML

_PLAIN = re.compile(r"[A-Za-z/_][A-Za-z0-9_./-]*", re.ASCII)
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""They mean something else to some readers of YAML."""


def quoted(text: str) -> str:
    """A scalar for anywhere, also between brackets."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return '"' + "".join(map(_character, text)) + '"'


def _character(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    return f"\\x{ord(character):02x}" if ord(character) < 0x100 else f"\\U{ord(character):08x}"


def _list(key: str, words: Sequence[str]) -> list[str]:
    return [f"{key}: [{', '.join(map(quoted, words))}]"] if words else []


def _writable(text: str) -> bool:
    """The configuration takes neither NUL nor half a character."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _can_be_listed(words: Iterable[str]) -> bool:
    return all(word and _writable(word) for word in words)


def _aligned(lines: Sequence[tuple[str, str]]) -> list[str]:
    """Comments below each other, those of long lines left out of it."""
    column = max((len(line) for line, comment in lines if comment and len(line) <= _LONG_LINE), default=0)
    return [f"{line.ljust(column)}  # {comment}" if comment else line for line, comment in lines]


_LONG_LINE = 60
