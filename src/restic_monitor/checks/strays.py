"""Whether something stands in `snapshots/` that is no snapshot."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from restic_monitor.model import Code, Observation, Status, Verdict

_SHOWN = 2


class Strays(Struct, frozen=True):
    """An empty file where a snapshot should be is a backup that did not arrive: WARN."""

    def judge(self, seen: Observation, now: datetime) -> Verdict:
        strays = seen.suspicious or ()
        if not strays:
            return Verdict("strays", Status.UP, Code.OK, "nothing else in snapshots/")
        shown = ", ".join(strays[:_SHOWN]) + (f" and {len(strays) - _SHOWN} more" if len(strays) > _SHOWN else "")
        one = len(strays) == 1
        files = "1 file in snapshots/ is no snapshot" if one else f"{len(strays)} files in snapshots/ are no snapshots"
        message = f"{files}: {shown}; when no restic is running, remove {'it' if one else 'them'}"
        return Verdict("strays", Status.WARN, Code.WARN, message)
