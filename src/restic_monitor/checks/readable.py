"""Whether every snapshot file could be read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from restic_monitor.model import Code, Observation, Status, Verdict

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Readable:
    """A damaged snapshot file is DOWN, whatever the others say: restic leaves it out of its list and exits with 0."""

    def judge(self, seen: Observation, now: datetime) -> Verdict:
        if seen.unreadable is None:
            return Verdict("readable", Status.UNKNOWN, Code.ERROR, "nobody looked for damaged snapshot files")
        count = len(seen.unreadable)
        if not count:
            return Verdict("readable", Status.UP, Code.OK, "every snapshot file can be read")
        names = ", ".join(name[:8] for name in seen.unreadable[:_SHOWN])
        more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
        files = "1 snapshot file is" if count == 1 else f"{count} snapshot files are"
        return Verdict("readable", Status.DOWN, Code.ERROR, f"{files} damaged or unreadable: {names}{more}")
