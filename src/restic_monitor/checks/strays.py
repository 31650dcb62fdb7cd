"""Whether something stands in `snapshots/` that is no snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from restic_monitor.model import Code, Observation, Status, Verdict

_SHOWN = 2


@dataclass(frozen=True, slots=True)
class Strays:
    """An empty file where a snapshot should be is a backup that did not arrive: WARN."""

    def judge(self, seen: Observation, now: datetime) -> Verdict:
        strays = seen.suspicious or ()
        if not strays:
            return Verdict("strays", Status.UP, Code.OK, "nothing else in snapshots/")
        more = f" and {len(strays) - _SHOWN} more" if len(strays) > _SHOWN else ""
        files = "1 file" if len(strays) == 1 else f"{len(strays)} files"
        message = f"{files} in snapshots/ cannot be a snapshot: {', '.join(strays[:_SHOWN])}{more}"
        return Verdict("strays", Status.WARN, Code.WARN, message)
