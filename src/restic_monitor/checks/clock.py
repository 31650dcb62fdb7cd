"""Whether the store and we agree on the time."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from restic_monitor.model import Code, Observation, Status, Verdict
from restic_monitor.quantity import format_duration

TOLERANCE = timedelta(minutes=1)


class Clock(Struct, frozen=True):
    """More than a minute apart is WARN. Ages of files do not suffer: they count on the store's clock."""

    def judge(self, seen: Observation, now: datetime) -> Verdict:
        if seen.skew is None or abs(seen.skew) <= TOLERANCE:
            return Verdict("clock", Status.UP, Code.OK, "the clocks agree")
        direction = "ahead of" if seen.skew > timedelta(0) else "behind"
        message = f"the store's clock is {format_duration(abs(seen.skew))} {direction} this machine's; set the wrong one right"
        return Verdict("clock", Status.WARN, Code.WARN, message)
