"""Whether the newest snapshot holds what it should: a backup of a disk that was not mounted is fresh, and empty."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from restic_monitor.model import Code, Observation, Snapshot, Status, Summary, Verdict, one_line, shorten
from restic_monitor.quantity import format_size

_MEMORY = 7
"""How many accepted snapshots say what is normal."""
_NEVER = datetime.min.replace(tzinfo=UTC)
_HOST_LIMIT = 40
_SHOWN = 3


class Plausible(Struct, frozen=True):
    """The newest snapshot, by its summary, has at least `min_files` files and `min_size` (bytes, and the words for them), and
    has not shrunk by more than `max_shrink` (per cent, and the words for them): neither in files nor in bytes, against the
    median of the last seven accepted snapshots of the same host, paths and tags. One that fails is not accepted, so that a loss
    does not become normal. Only snapshots that prove a backup since `baseline` are compared with.

    One without any file where an accepted one had some is DOWN even when nothing is configured. Without a summary: UNKNOWN
    when a key is set. `each`: not only the newest of all snapshots, but the newest of each host and paths.

    What is not counted: directories, and what `--exclude` left out. Source: restic's doc/045_working_with_repos.rst, "summary".
    """

    min_files: int | None = None
    min_size: tuple[int, str] | None = None
    max_shrink: tuple[int, str] | None = None
    baseline: datetime | None = None
    each: bool = False

    def judge(self, seen: Observation, now: datetime) -> Verdict:
        if seen.snapshots is None:
            return Verdict("plausible", Status.UNKNOWN, Code.ERROR, "the snapshots could not be listed")
        if seen.partly:
            return self._as_far_as_read(seen)
        found = [(newest, self._reasons(newest, series)) for newest, series in _judged(seen.snapshots, each=self.each)]
        small = [(newest, reasons) for newest, reasons in found if reasons]
        if small:
            told = [
                _told(newest, " and ".join(reason.text for reason in reasons), named=self.each)
                for newest, reasons in small[:_SHOWN]
            ]
            more = f" and {len(small) - _SHOWN} more" if len(small) > _SHOWN else ""
            return Verdict("plausible", Status.DOWN, Code.SMALL, f"{'; '.join(told)}{more}{_advice(small)}")
        unknown = [newest for newest, _ in found if newest.summary is None] if self._wanted else []
        if unknown:
            message = (
                f"{_told(unknown[0], 'has no summary', named=self.each)} (restic before 0.17 wrote or read it): {self._wanted}"
            )
            return Verdict("plausible", Status.UNKNOWN, Code.UNKNOWN, f"{message} cannot be judged")
        empty = [newest for newest, _ in found if newest.summary and not newest.summary.files]
        notes = tuple(_told(newest, "has no file", named=self.each) for newest in empty[:_SHOWN])
        message = "no smaller than it should be, as far as that is known"
        return Verdict("plausible", Status.UP, Code.OK, message, notes=notes)

    def _as_far_as_read(self, seen: Observation) -> Verdict:
        """What a part of the history proves: that the newest has enough, when it is not compared with the others."""
        newest = [newest for newest, _ in _judged(seen.snapshots or (), each=self.each)]
        if not all(each.stored and each.stored.exact for each in newest):
            message = f"{seen.as_far_as_read}: which is the newest is not known yet"
            return Verdict("plausible", Status.UNKNOWN, Code.UNKNOWN, message)
        small = any(each.summary is None or any(self.floor(each.summary)) for each in newest)
        empty = any(each.summary and not each.summary.files for each in newest)
        if self.max_shrink or empty or ((self.min_files or self.min_size) and (small or not newest)):
            message = f"{seen.as_far_as_read}: {self._wanted or 'an empty backup'} cannot be judged yet"
            return Verdict("plausible", Status.UNKNOWN, Code.UNKNOWN, message)
        return Verdict("plausible", Status.UP, Code.OK, "no smaller than it should be, as far as that is known")

    def _reasons(self, newest: Snapshot, series: Sequence[Snapshot]) -> list[_Reason]:
        """Why the newest of a series is too small."""
        normal = _Normal(self)
        for snapshot in series:
            if snapshot.summary and (snapshot.proved or _NEVER) >= (self.baseline or _NEVER):
                normal.add(snapshot.summary)
        return normal.reasons(newest.summary) if newest.summary else []

    def floor(self, summary: Summary) -> Iterable[_Reason]:
        """Why it is too small whatever came before."""
        if self.min_files and summary.files < self.min_files:
            yield _Reason(f"has {_files(summary.files)} (min_files {self.min_files})")
        if self.min_size and summary.size_bytes < self.min_size[0]:
            yield _Reason(f"has {format_size(summary.size_bytes)} (min_size {self.min_size[1]})")

    @property
    def _wanted(self) -> str:
        """The keys that need a summary."""
        wanted = (("min_files", self.min_files), ("min_size", self.min_size), ("max_shrink", self.max_shrink))
        return ", ".join(key for key, value in wanted if value)


class _Reason(Struct, frozen=True):
    """Why a snapshot is too small. `compared`: with others, so that a person can accept it by a `baseline`."""

    text: str
    compared: bool = False


class _Normal:
    """What is normal for a series so far."""

    def __init__(self, wanted: Plausible) -> None:
        self._wanted = wanted
        self._accepted: deque[Summary] = deque(maxlen=_MEMORY)
        self._had_files = False

    def add(self, summary: Summary) -> None:
        """The next one; it counts if it is accepted."""
        if not self.reasons(summary):
            self._accepted.append(summary)
            self._had_files = self._had_files or summary.files > 0

    def reasons(self, summary: Summary) -> list[_Reason]:
        """Why it is too small; at most one by comparing."""
        compared = self._compared(summary) if self._accepted else None
        return [*self._wanted.floor(summary), *([compared] if compared else [])]

    def _compared(self, summary: Summary) -> _Reason | None:
        if not summary.files and self._had_files:
            return _Reason(f"has no file, {max(each.files for each in self._accepted):,} before", compared=True)
        if not self._wanted.max_shrink:
            return None
        per_cent, shown = self._wanted.max_shrink
        files, size = _median(each.files for each in self._accepted), _median(each.size_bytes for each in self._accepted)
        if summary.files * 100 < files * (100 - per_cent):
            return _Reason(f"has {_files(summary.files)}, {files:,} before (max_shrink {shown})", compared=True)
        if summary.size_bytes * 100 < size * (100 - per_cent):
            sizes = f"{format_size(summary.size_bytes)}, {format_size(size)} before"
            return _Reason(f"has {sizes} (max_shrink {shown})", compared=True)
        return None


def _judged(snapshots: Sequence[Snapshot], *, each: bool) -> Iterable[tuple[Snapshot, Sequence[Snapshot]]]:
    """What is to be judged: a newest snapshot, and those of its host, paths and tags that came before, oldest first."""
    counting = sorted((snapshot for snapshot in snapshots if snapshot.proved), key=_order)
    series: dict[tuple[str, frozenset[str], frozenset[str]], list[Snapshot]] = {}
    newest: dict[tuple[str, frozenset[str]] | None, Snapshot] = {}
    for snapshot in counting:
        host, paths, tags = snapshot.host, frozenset(snapshot.paths), frozenset(snapshot.tags)
        series.setdefault((host, paths, tags), []).append(snapshot)
        newest[(host, paths) if each else None] = snapshot
    for snapshot in newest.values():
        yield snapshot, series[snapshot.host, frozenset(snapshot.paths), frozenset(snapshot.tags)][:-1]


def _order(snapshot: Snapshot) -> tuple[datetime, datetime, str]:
    return snapshot.proved or _NEVER, snapshot.time, snapshot.id


def _median(numbers: Iterable[int]) -> int:
    """The lower one of an even number: it raises no alarm that the other would not."""
    ordered = sorted(numbers)
    return ordered[(len(ordered) - 1) // 2]


def _files(count: int) -> str:
    return f"{count:,} file{'s' if count != 1 else ''}"


def _advice(small: Sequence[tuple[Snapshot, Sequence[_Reason]]]) -> str:
    """How a person accepts it; with several, all of them."""
    compared = [newest.proved for newest, reasons in small if newest.proved and any(each.compared for each in reasons)]
    return f"; to accept it: baseline: {max(compared).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if compared else ""


def _told(snapshot: Snapshot, reason: str, *, named: bool) -> str:
    host = f" of {shorten(one_line(snapshot.host), _HOST_LIMIT)}" if named and snapshot.host else ""
    return f"{snapshot.id[:8]}{host} {reason}"
