"""Which snapshots an expectation asks for, and how few have to be looked at for many of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from restic_monitor.checks.expectations import words
from restic_monitor.model import Snapshot

_HERE_LIMIT = 80
"""Characters for the names of what is there."""


class Filter(Struct, frozen=True):
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
        host = [] if self.host is None else [f"of host {words.name(self.host)}" if self.host else "without a host"]
        paths = [f"with {' and '.join(map(words.name, sorted(self.paths)))}"] if self.paths else []
        tags = [f"tagged {' and '.join(map(words.name, sorted(self.tags)))}"] if self.tags else []
        return " ".join([*host, *paths, *tags])


Series = list[Snapshot]
"""Some of the same host, paths and tags: a filter that matches one matches all, so that many are asked about at once."""


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


class Filters:
    """Several, asked at once."""

    def __init__(self, filters: Iterable[Filter]) -> None:
        self._filters: dict[object, list[Filter]] = defaultdict(list)
        for each in filters:
            self._filters[_asked_for(each)].append(each)

    def match(self, snapshot: Snapshot) -> bool:
        return any(each.matches(snapshot) for key in _has(snapshot) for each in self._filters.get(key, ()))


class AllSeries(Struct, frozen=True):
    """All snapshots, by what filters ask for; and what was counted of them once."""

    all: list[Series]
    having: Mapping[object, list[Series]]
    counted: dict[object, str]

    @classmethod
    def of(cls, snapshots: Iterable[Snapshot]) -> AllSeries:
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
            return f"hosts here: {self._count('host', ((words.host(each[0].host), len(each)) for each in self.all))}"
        with_paths = [each for each in of_host if where.paths.issubset(each[0].paths)]
        if not with_paths:
            paths = ((words.name(path), len(each)) for each in of_host for path in each[0].paths)
            return f"{whose}paths here: {self._count((where.host, 'paths'), paths)}"
        tags = ((words.name(tag), len(each)) for each in with_paths for tag in each[0].tags)
        return f"{whose}tags here: {self._count((where.host, where.paths), tags)}"

    def _count(self, of: object, names: Iterable[tuple[str, int]]) -> str:
        """The most frequent first. Once for all lines that ask for the same."""
        if of not in self.counted:
            counts: Counter[str] = Counter()
            for name, count in names:
                counts[name] += count
            self.counted[of] = words.listed(sorted(counts, key=lambda name: (-counts[name], name)), _HERE_LIMIT) or "none"
        return self.counted[of]
