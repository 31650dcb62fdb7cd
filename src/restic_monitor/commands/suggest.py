"""`restic-monitor suggest [NAME]`: an `expect:` block that fits what is there, for a person to edit."""

from __future__ import annotations

import itertools
import re
import shlex
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from glob import escape

from restic_monitor.checks.expectations import Filter
from restic_monitor.commands import jobs
from restic_monitor.commands.common import Common, log
from restic_monitor.commands.groups import Group, by_paths, counted, look, remarks, usually
from restic_monitor.commands.jobs import Job, Retired, can_be_listed, writable
from restic_monitor.commands.rhythm import Rhythm
from restic_monitor.model import Observation, one_line
from restic_monitor.quantity import format_duration
from restic_monitor.recency import MaxAge, Rule


def suggest(common: Common, name: str | None) -> int:
    """Raises UsageError before anything is looked at."""
    looked = look(common, name, "suggest")
    if isinstance(looked, int):
        return looked
    name, seen = looked
    if not seen.snapshots:
        log.error("%s: no snapshot in the repository, so there is nothing to go by", name)
        return 1
    sys.stdout.write(block(name, seen, datetime.now(UTC), _given(common)))
    return 0


def _given(common: Common) -> list[str]:
    """Options that another command needs, too."""
    options = {"--config": common.config, "--environment-file": common.environment_file}
    return [word for option, value in options.items() if value is not None for word in (option, value)]


def block(name: str, seen: Observation, now: datetime, options: Sequence[str] = ()) -> str:
    """YAML to be put below the repository's name. Pure. `options`: of the command that looks at it."""
    plan = _Plan(now)
    plan.add(_by_host(by_paths(seen.snapshots or ())))
    lines = [*_head(name, seen, now, options), "expect:", *_aligned(plan.lines)]
    return "".join(f"    {line}".rstrip() + "\n" for line in lines)


def _head(name: str, seen: Observation, now: datetime, options: Sequence[str]) -> list[str]:
    count = counted(len(seen.snapshots or ()), "snapshot")
    command = shlex.join(["restic-monitor", "run", "--no-push", *options, name])
    return [
        f"# Suggested on {now:%Y-%m-%d}, by {count}. Put it below {one_line(name)}: in the configuration, in the place",
        "# of any other expect:, and edit it: it describes what is; what should be is for you to decide.",
        f"# Then see what it says, telling nobody: {one_line(command)}",
        *(f"# {remark}" for remark in remarks(seen, now)),
    ]


def _by_host(groups: Iterable[Group]) -> list[list[Group]]:
    """Hosts in alphabetical order, those with made-up names last; of each the paths."""
    hosts: dict[tuple[bool, str], list[Group]] = defaultdict(list)
    for group in groups:
        hosts[group.host is None, group.host or ""].append(group)
    return [sorted(of, key=lambda group: group.paths or ()) for _, of in sorted(hosts.items(), key=lambda item: item[0])]


@dataclass(slots=True)
class _Plan:
    """The expectations, and what is to be ignored, while they are put together."""

    now: datetime
    names: set[str] = field(default_factory=set)
    expected: list[tuple[str, str]] = field(default_factory=list)
    """Lines with their comments."""
    ignored: list[tuple[str, str]] = field(default_factory=list)

    def add(self, hosts: Sequence[Sequence[Group]]) -> None:
        for host in (groups[0].host for groups in hosts):
            if host is not None and not writable(host):
                self.expected.append((f"# {one_line(host)}: the name of this host holds what no configuration can", ""))
        found = jobs.of_hosts([told for groups in hosts if (told := list(filter(_can_be_told, groups)))], self.now)
        named = [(self._free(_name(job)), job) for of_host, _ in found for job in of_host]
        for name, job in named:
            self._expect(name, job, sorted(other for other, rival in named if rival is not job and job.finds_one_of(rival)))
        for retired in (each for _, of_host in found for each in of_host):
            self._ignore(retired)

    def _expect(self, name: str, job: Job, also: Sequence[str]) -> None:
        rule = job.rhythm.rule(self.now)
        fields = ", ".join([*_where(name, job.where), *_rule(rule)])
        remarks = [_observed(job.rhythm, self.now), *_unsteady(job.group)]
        if also:
            names = ", ".join(map(one_line, also[:_FEW_NAMES])) + (" and others" if len(also) > _FEW_NAMES else "")
            remarks.append(f"also met by the backups of {names}: only a tag of its own (restic's --tag) can tell it apart")
        if job.rhythm.is_guess:
            remarks.append("little to go by: a guess")
        if not isinstance(rule, MaxAge):
            remarks.append("an hour early for summer time; better: your timezone and its hour")
        self.expected.append((f"{quoted(name)}: {{{fields}}}", "; ".join(remarks)))

    def _ignore(self, retired: Retired) -> None:
        """Until there is a newer one: then it is judged again."""
        group = retired.group
        host = [] if group.host is None else [f"host: {quoted(escape(group.host))}"]
        listed = group.paths is not None and can_be_listed(group.paths)
        paths = [f"paths: [{', '.join(map(quoted, group.paths or ()))}]"] if listed else []
        before = f"before: {retired.rhythm.newest.date() + timedelta(days=1)}"
        also = "; matched above, too" if retired.found else ""
        self.ignored.append((f"- {{{', '.join([*host, *paths, before])}}}", _observed(retired.rhythm, self.now) + also))

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


_FEW_NAMES = 3


def _can_be_told(group: Group) -> bool:
    """Without a host the paths are all there is to ask for."""
    return can_be_listed(group.paths or ()) if group.host is None else writable(group.host)


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


def _where(name: str, where: Filter) -> list[str]:
    """Nothing where the name is the host: that is what a name means without filters."""
    if where.host == name and not where.paths and not where.tags:
        return []
    host = [] if where.host is None else [f"host: {quoted(where.host)}"]
    return [*host, *_list("paths", where.paths), *_list("tags", where.tags)]


def _name(job: Job) -> str:
    """The host, the last parts of its paths, and the tags."""
    host, paths = job.where.host, sorted(job.where.paths)
    fits = host and len(host) <= _LONGEST_NAME and host == one_line(host)
    base = [host if fits else _slug(host) or "no-host"] if host is not None else []
    parts = [_slug(re.split(r"[/\\]", path.rstrip("/\\"))[-1]) or "root" for path in paths]
    tags = [_slug("-".join(sorted(job.where.tags)))] if job.where.tags else []
    return "-".join(filter(None, [*base, *parts[:2], *(["more"] if len(parts) > 2 else []), *tags]))


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


def _list(key: str, words: Iterable[str]) -> list[str]:
    listed = ", ".join(map(quoted, sorted(words)))
    return [f"{key}: [{listed}]"] if listed else []


def _aligned(lines: Sequence[tuple[str, str]]) -> list[str]:
    """Comments below each other, those of long lines left out of it."""
    column = max((len(line) for line, comment in lines if comment and len(line) <= _LONG_LINE), default=0)
    return [f"{line.ljust(column)}  # {comment}" if comment else line for line, comment in lines]


_LONG_LINE = 60
