"""How long Uptime Kuma has to wait for a heartbeat: the longest gap between two runs, the longest run, and some slack."""

from __future__ import annotations

import itertools
import math
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from restic_monitor.config.build import Builder
from restic_monitor.errors import UsageError
from restic_monitor.quantity import format_duration

SLACK = timedelta(minutes=5)
"""For systemd's own minute (AccuracySec=), a slow start and a slow clock."""
DEFAULT_LIMIT = timedelta(minutes=10)
_AFTER_LOOKS = timedelta(minutes=4)
"""A push that is refused and sent again, to a server that is slow to answer."""
_FEW, _MANY = 400, 10_000
_TIME = re.compile(r"\w{3} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.\d+)? UTC")
_YEAR = timedelta(days=370)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The longest `gap` between the beginnings of two runs, and how long systemd lets one of them run."""

    gap: timedelta
    limit: timedelta

    @property
    def seconds(self) -> int:
        """What to type into Uptime Kuma as Heartbeat Interval."""
        return math.ceil((self.gap + self.limit + SLACK).total_seconds())

    def __str__(self) -> str:
        parts = (
            f"{format_duration(self.gap)} between two runs",
            f"{format_duration(self.limit)} for the longest run",
            f"{format_duration(SLACK)} slack",
        )
        return f"{self.seconds} seconds ({', '.join(parts)})"


def longest_gap(intervals: Sequence[str]) -> timedelta | None:
    """Between two runs of a timer with these OnCalendar= expressions, as systemd reckons them, clock changes included.

    None where systemd is not there to be asked. Raises UsageError for what it does not understand or what ends.
    """
    if not shutil.which("systemd-analyze"):
        return None
    for count in (_FEW, _MANY):  # many take seconds where they reach to the end of systemd's calendar
        times = [_elapses(interval, count) for interval in intervals]
        known_until = min((each[-1] for each in times if len(each) == count), default=None)
        if known_until is None:
            raise UsageError(f"--interval {' '.join(intervals)}: comes to an end, and then nobody would be told any more")
        runs = sorted({moment for each in times for moment in each if moment <= known_until})
        if runs[-1] - runs[0] > _YEAR:
            break
    return max(later - earlier for earlier, later in itertools.pairwise(runs))


def _elapses(interval: str, count: int) -> list[datetime]:
    """The next `count` times, fewer where it ends. Raises UsageError."""
    asked = subprocess.run(
        ["systemd-analyze", "calendar", f"--iterations={count}", "--", interval],
        capture_output=True,
        text=True,
        # the time zone is the system's, as for the timer; named, it is not looked for again for each time: a fifth of the time
        env={**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0", "TZ": ":/etc/localtime"},
        check=False,
    )
    if asked.returncode:
        raise UsageError(
            f"--interval {interval}: systemd does not understand it; write it as in systemd.time(7), "
            "for instance hourly, *:0/30 or '*-*-* 06,18:00:00'"
        )
    return [datetime.strptime(found, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) for found in _TIME.findall(asked.stdout)]


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
