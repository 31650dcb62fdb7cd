"""How long Uptime Kuma has to wait for a heartbeat: the longest gap between two runs, the longest run, and some slack."""

from __future__ import annotations

import itertools
import math
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from msgspec import Struct

from restic_monitor.config.build import Builder
from restic_monitor.errors import UsageError
from restic_monitor.quantity import format_duration

DEFAULT = ("hourly UTC",)
"""Of UTC: where the clock is set back, systemd leaves one of the two equal hours out."""
SLACK = timedelta(minutes=5)
"""For systemd's own minute (AccuracySec=), a slow start and a slow clock."""
DEFAULT_LIMIT = timedelta(minutes=10)
_AFTER_LOOKS = timedelta(minutes=4)
"""A push that is refused and sent again, to a server that is slow to answer."""
_LOCALTIME = Path("/etc/localtime")
_FEW, _MANY = 400, 10_000
_LAST_YEAR = 2190
"""systemd reckons as far as 2199."""
_TIME = re.compile(r"\w{3} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.\d+)? UTC")
_YEAR = timedelta(days=370)


class Gap(Struct, frozen=True, order=True):
    """The longest between the beginnings of two runs; `clock_change`: the clock is set in it."""

    length: timedelta
    clock_change: bool = False

    def __str__(self) -> str:
        return f"{format_duration(self.length)} between two runs{' when the clock is set' if self.clock_change else ''}"


class Heartbeat(Struct, frozen=True):
    """`limit`: systemd ends a run that takes longer."""

    gap: Gap
    limit: timedelta

    @property
    def seconds(self) -> int:
        """What to type into Uptime Kuma as Heartbeat Interval."""
        return math.ceil((self.gap.length + self.limit + SLACK).total_seconds())

    def __str__(self) -> str:
        parts = (str(self.gap), f"{format_duration(self.limit)} for the longest run", f"{format_duration(SLACK)} slack")
        return f"{self.seconds} seconds ({', '.join(parts)})"


def longest_gap(intervals: Sequence[str], localtime: Path = _LOCALTIME) -> Gap | None:
    """Between two runs of a timer with these OnCalendar= expressions, as systemd reckons them, within the next year.

    The time zone is the system's, as for the timer. None where systemd is not there to be asked. Raises UsageError for what
    it does not understand or what ends.
    """
    if not shutil.which("systemd-analyze"):
        return None
    for count in (_FEW, _MANY):  # many take seconds where they reach to the end of systemd's calendar
        runs = _runs(intervals, localtime, count)
        if runs[-1] - runs[0] > _YEAR:
            return _longest(runs, localtime)
    changes = [_runs(intervals, localtime, _FEW, change - timedelta(hours=3)) for change in _clock_changes(localtime)]
    return max(_longest(each, localtime) for each in (runs, *changes))


def _longest(runs: Sequence[datetime], localtime: Path) -> Gap:
    earlier, later = max(itertools.pairwise(runs), key=lambda pair: pair[1] - pair[0])
    zone = _zone(localtime)
    return Gap(later - earlier, earlier.astimezone(zone).utcoffset() != later.astimezone(zone).utcoffset())


def _runs(intervals: Sequence[str], localtime: Path, count: int, after: datetime | None = None) -> list[datetime]:
    """The next times of all the expressions, as far as all are known. Raises UsageError."""
    times = [each for interval in intervals if (each := _elapses(interval, localtime, count, after))]
    lasting = [each[-1] for each in times if len(each) == count or each[-1].year >= _LAST_YEAR]
    if not lasting:
        raise UsageError(f"--interval {' '.join(intervals)}: comes to an end, and then nobody would be told any more")
    return sorted({moment for each in times for moment in each if moment <= min(lasting)})


def _elapses(interval: str, localtime: Path, count: int, after: datetime | None) -> list[datetime]:
    """The next `count` times, fewer where it ends. Raises UsageError."""
    base = [f"--base-time={after:%Y-%m-%d %H:%M:%S} UTC"] if after else []
    asked = subprocess.run(
        ["systemd-analyze", "calendar", f"--iterations={count}", *base, "--", interval],
        capture_output=True,
        text=True,
        # a zone that is named is not looked for again for each time: a fifth of the time
        env={**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0", "TZ": f":{localtime}"},
        check=False,
    )
    if asked.returncode:
        raise UsageError(
            f"--interval {interval}: systemd does not understand it; write it as in systemd.time(7), "
            "for instance 'hourly UTC', *:0/30 or '*-*-* 06,18:00:00'"
        )
    return [datetime.strptime(found, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) for found in _TIME.findall(asked.stdout)]


def _clock_changes(localtime: Path) -> list[datetime]:
    """To the hour, those of the next year."""
    zone = _zone(localtime)
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    hours = [start + timedelta(hours=hour) for hour in range(366 * 24)]
    offsets = [hour.astimezone(zone).utcoffset() for hour in hours]
    return [hour for hour, (before, now) in zip(hours[1:], itertools.pairwise(offsets), strict=True) if before != now]


def _zone(localtime: Path) -> tzinfo:
    """UTC where the file is not there, as for systemd."""
    try:
        with localtime.open("rb") as file:
            return ZoneInfo.from_file(file)
    except OSError:
        return UTC


def longest_run(builder: Builder) -> timedelta:
    """How long a run may take when every look takes its whole limit; at least ten minutes, whole minutes."""
    listed = heavy = 0
    timeout = timedelta()
    for block in builder.select(()):
        timeout = max(timeout, (builder.values.get(block, "timeout") or (builder.timeout, ""))[0])
        by_listing = builder.foretold(block) == "a listing"
        listed, heavy = listed + by_listing, heavy + (not by_listing)
    rounds = max(math.ceil(heavy / builder.jobs), math.ceil(listed / builder.connections))
    return max(DEFAULT_LIMIT, timedelta(minutes=math.ceil((rounds * timeout + _AFTER_LOOKS) / timedelta(minutes=1))))
