"""Whether every snapshot file could be read."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from restic_monitor.model import Code, Observation, Status, Verdict

_SHOWN = 3


class Readable(Struct, frozen=True):
    """A damaged snapshot file is DOWN, whatever the others say: restic leaves it out of its list and exits with 0. Those that
    there was no time to read are a note: what they hold is no matter of this check."""

    def judge(self, seen: Observation, now: datetime) -> Verdict:
        if seen.unreadable is None:
            return Verdict("readable", Status.UNKNOWN, Code.ERROR, "nobody looked for damaged snapshot files")
        count = len(seen.unreadable)
        notes = (f"{seen.as_far_as_read}: the next look reads on",) if seen.partly else ()
        if not count:
            message = f"{seen.as_far_as_read}, and each is whole" if seen.partly else "every snapshot file can be read"
            return Verdict("readable", Status.UP, Code.OK, message, notes=notes)
        names = ", ".join(_shown(name, seen) for name in seen.unreadable[:_SHOWN])
        more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
        files = "1 snapshot file is" if count == 1 else f"{count} snapshot files are"
        return Verdict("readable", Status.DOWN, Code.ERROR, f"{files} damaged or unreadable: {names}{more}", notes=notes)


def _shown(name: str, seen: Observation) -> str:
    """With the reason where it is known, of one alone: messages are cut."""
    reason = seen.damaged.get(f"snapshots/{name}") if len(seen.unreadable or ()) == 1 else None
    return f"{name[:8]} ({reason})" if reason else name[:8]
