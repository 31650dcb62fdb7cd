"""`restic-monitor groups [NAME]`: who backs up into a repository, how often, and how much."""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import replace

from restic_monitor import process
from restic_monitor.checks.readable import Readable
from restic_monitor.commands import rhythm
from restic_monitor.commands.common import Common, close, load, log, report_bugs
from restic_monitor.commands.rhythm import Rhythm
from restic_monitor.commands.signals import stopping
from restic_monitor.config import modes
from restic_monitor.config.draft import Block
from restic_monitor.errors import UsageError
from restic_monitor.model import TOLERANCE, Observation, Probe, Result, Snapshot, Watch, one_line, shorten
from restic_monitor.monitor import Monitor
from restic_monitor.outputs.text import width
from restic_monitor.quantity import format_duration, format_size
from restic_monitor.state import State


def groups(common: Common, name: str | None) -> int:
    """Raises UsageError before anything is looked at."""
    looked = look(common, name, "groups")
    if isinstance(looked, int):
        return looked
    sys.stdout.write(table(looked[1], datetime.now(UTC), _bars(sys.stdout.encoding)))
    return 0


# looking


@dataclass(slots=True)
class _Kept:
    """Keeps what a probe sees."""

    probe: Probe
    seen: Observation | None = None

    @property
    def heavy(self) -> bool:
        return self.probe.heavy

    @property
    def source(self) -> str:
        return self.probe.source

    def observe(self, deadline: float) -> Observation:
        self.seen = self.probe.observe(deadline)
        return self.seen


def look(common: Common, name: str | None, command: str) -> tuple[str, Observation] | int:
    """One look with the password; nobody is told, and nothing remembered. The name of the repository, and what was seen; an
    exit status where no snapshots were, and why has been said."""
    builder = load(common)
    builder.check_file()
    (block,) = builder.select([name]) if name is not None else [_only(builder.select(()), command)]
    name = block.name
    if modes.chosen(builder.mode, builder.values, block)[0] in modes.WITHOUT_PASSWORD:
        builder.mode = "auto"
    if not builder.surroundings.has_password(block):
        raise UsageError(
            f"{name}: {command} needs the repository's password: a listing shows when snapshots were stored, not whose "
            "they are; write password_file: PATH, or set RESTIC_PASSWORD_FILE"
        )
    state = State(builder.environment)
    (repository,) = builder.repositories([name], state=state, remember=False)
    kept = _Kept(repository.probe)
    watch = Watch(name, (Readable(),))
    monitor = Monitor([replace(repository, probe=kept, watch=watch)], jobs=builder.jobs, connections=builder.connections)
    with stopping(monitor) as received:
        results = [event for event in monitor.run() if isinstance(event, Result)]
    if received:
        process.end_all()
    close(state)
    if received:
        return 128 + received[0]
    if bugs := report_bugs(monitor):
        return bugs
    if not kept.seen or kept.seen.snapshots is None:
        log.error("%s: %s", name, results[0].message)
        return 1
    if kept.seen.partly:
        tell = log.warning if kept.seen.snapshots else log.error
        tell("%s: %s; a longer timeout: reads them all", name, kept.seen.as_far_as_read)
        if not kept.seen.snapshots:
            return 1
    return name, kept.seen


def _only(blocks: Sequence[Block], command: str) -> Block:
    """Raises UsageError where there are several; that there is one at least has been checked."""
    if len(blocks) > 1:
        names = ", ".join(block.name for block in blocks)
        raise UsageError(f"{command} looks at one repository, and needs its name; there are: {names}")
    return blocks[0]


# groups


class Group(Struct, frozen=True):
    """Snapshots that belong together, the newest first. `host`, `paths` or `tags` are None where they differ from snapshot to
    snapshot."""

    host: str | None
    paths: tuple[str, ...] | None
    tags: tuple[str, ...] | None
    snapshots: tuple[Snapshot, ...]

    @property
    def rhythm(self) -> Rhythm | None:
        """None where no snapshot proves a backup."""
        return rhythm.of(self.snapshots)


_FEW = 3
_FEW_TAGS = 6
_MADE_UP = re.compile(r"[0-9a-f]{12}|.+-\d{8,10}-[a-z0-9]{5}", re.ASCII)
"""A host's name that is another one each time: a container of Docker's, a pod of a Kubernetes CronJob."""


def by_paths(snapshots: Iterable[Snapshot]) -> list[Group]:
    """A group for each host and its paths. Hosts with made-up names are one where their paths are the same, and paths of one
    host that are new each time (with a date, say) are one."""
    sets: dict[tuple[str, tuple[str, ...]], list[Snapshot]] = defaultdict(list)
    for snapshot in snapshots:
        sets[snapshot.host, tuple(sorted(set(snapshot.paths)))].append(snapshot)
    made_up = Counter(paths for host, paths in sets if paths and _MADE_UP.fullmatch(host))
    once = Counter(host for (host, _), of in sets.items() if len(of) == 1)
    several = Counter(host for (host, _), of in sets.items() if len(of) > 1)
    found: dict[tuple[str | None, tuple[str, ...] | None], list[Snapshot]] = defaultdict(list)
    for (host, paths), of in sets.items():
        if made_up[paths] > _FEW and _MADE_UP.fullmatch(host):
            found[None, paths] += of
        elif len(of) == 1 and once[host] > _FEW and once[host] >= several[host]:
            found[host, None] += of
        else:
            found[host, paths] += of
    return [Group(host, paths, None, _sorted(of)) for (host, paths), of in found.items()]


def by_tags(group: Group) -> list[Group]:
    """The same by tags, each with those that its snapshots carry."""
    sets: dict[tuple[str, ...], list[Snapshot]] = defaultdict(list)
    for snapshot in group.snapshots:
        sets[tuple(sorted(set(snapshot.tags)))].append(snapshot)
    return [replace(group, tags=tags, snapshots=_sorted(of)) for tags, of in sets.items()]


def _sorted(snapshots: Iterable[Snapshot]) -> tuple[Snapshot, ...]:
    return tuple(sorted(snapshots, key=lambda each: (each.proved or each.time, each.id), reverse=True))


# the table

_HEAD = ("HOST", "PATHS", "TAGS", "AGE", "NEWEST", "COUNT", "USUALLY", "SIZE", "TREND")
_TO_THE_RIGHT = frozenset({"AGE", "COUNT", "SIZE"})
_WIDEST = 50
_BARS, _PLAIN_BARS = "▁▂▃▅▇", "_.-=#"
_DOZEN = 12
_NOTHING = "-"


def table(seen: Observation, now: datetime, bars: str = _BARS) -> str:
    """Newest first, and last those that have fallen asleep."""
    snapshots = seen.snapshots or ()
    found = []
    for group in by_paths(snapshots):
        tagged = by_tags(group)
        found += tagged if len(tagged) <= _FEW_TAGS else [group]
    rows = [_row(group, now, bars) for group in sorted(found, key=lambda group: _order(group, now))]
    lines = _aligned([_HEAD, *rows]) if rows else []
    return "".join(f"{line}\n" for line in [*lines, *_below(seen, len(rows), now)])


def _order(group: Group, now: datetime) -> tuple[bool, bool, float, str]:
    found = group.rhythm
    if not found:
        return True, True, 0, group.host or ""
    return found.is_dormant(now), False, -found.newest.timestamp(), group.host or ""


def _row(group: Group, now: datetime, bars: str) -> tuple[str, ...]:
    sizes = [each.summary.size_bytes for each in group.snapshots if each.summary]
    newest = group.snapshots[0].summary
    return (
        _host(group),
        _words(group.paths, "paths", group),
        _words(group.tags, "tags", group),
        *_age(group.rhythm, now),
        str(len(group.snapshots)),
        usually(group.rhythm, now),
        format_size(newest.size_bytes) if newest else _NOTHING,
        trend(sizes[:_DOZEN][::-1], bars) or _NOTHING,
    )


def _host(group: Group) -> str:
    if group.host is None:
        hosts = {snapshot.host for snapshot in group.snapshots}
        return f"({len(hosts)} hosts like {shorten(one_line(min(hosts)), _WIDEST)})"
    return shorten(one_line(group.host), _WIDEST) if group.host else "(no host)"


def _words(words: Sequence[str] | None, what: str, group: Group) -> str:
    if words is None:
        return f"({len({tuple(sorted(set(getattr(each, what)))) for each in group.snapshots})} different)"
    return shorten(", ".join(map(one_line, words)), _WIDEST) or _NOTHING


def _age(found: Rhythm | None, now: datetime) -> tuple[str, str]:
    if not found:
        return "?", "proves nothing"
    return format_duration(max(now - found.newest, now - now), 1), f"{found.newest:%Y-%m-%d %H:%MZ}"


def usually(found: Rhythm | None, now: datetime) -> str:
    """ "every 1d, late"."""
    if not found:
        return _NOTHING
    if found.is_dormant(now):
        return f"{found.words}, dormant"
    return f"{found.words}, late" if found.is_late(now) else found.words


def trend(sizes: Sequence[int], bars: str) -> str:
    """A bar for each, the largest the highest; what is half as large is half as high."""
    largest = max(sizes, default=0) or 1
    return "".join(bars[min(len(bars) * size // largest, len(bars) - 1)] for size in sizes)


def _bars(encoding: str | None) -> str:
    """Those that can be shown."""
    try:
        _BARS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return _PLAIN_BARS
    return _BARS


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]

    def cell(text: str, number: int) -> str:
        blanks = " " * (widths[number] - width(text))
        return blanks + text if _HEAD[number] in _TO_THE_RIGHT else text + blanks

    return ["  ".join(cell(text, number) for number, text in enumerate(row)).rstrip() for row in rows]


def _below(seen: Observation, count: int, now: datetime) -> list[str]:
    """What is to be known of the table."""
    snapshots = seen.snapshots or ()
    lines = [
        f"{counted(len(snapshots), 'snapshot')} in {counted(count, 'group')}" if snapshots else "no snapshot in the repository"
    ]
    if any(not each.summary for each in snapshots):
        lines.append(f"{_NOTHING}: the size is not known; restic before 0.17 wrote the snapshot, or reads it here")
    return [*lines, *remarks(seen, now)]


def remarks(seen: Observation, now: datetime) -> list[str]:
    """What of the repository is not in the groups, or does not count there as it is dated."""
    lines = []
    if nothing := [each for each in seen.snapshots or () if not each.proved]:
        prove = "proves" if len(nothing) == 1 else "prove"
        why = "dated in the future, or before 2014"
        lines.append(f"{counted(len(nothing), 'snapshot')} that {prove} no backup ({why}): {_hosts(nothing)}")
    if ahead := [each for each in seen.snapshots or () if each.proved and each.time > now + TOLERANCE]:
        latest = f"{max(each.time for each in ahead).astimezone(UTC):%Y-%m-%d %H:%MZ}"
        counts = "counts from its end, or its arrival" if len(ahead) == 1 else "count from their end, or their arrival"
        lines.append(f"{counted(len(ahead), 'snapshot')} dated in the future ({latest}) that {counts}: {_hosts(ahead)}")
    if seen.unreadable:
        names = ", ".join(name[:8] for name in seen.unreadable)
        lines.append(f"{counted(len(seen.unreadable), 'snapshot')} that cannot be read: {names}")
    return [*lines, *map(one_line, seen.notes)]


def _hosts(snapshots: Iterable[Snapshot]) -> str:
    return ", ".join(sorted({one_line(each.host) or "(no host)" for each in snapshots}))


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
