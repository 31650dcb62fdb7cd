"""Whether the newest snapshot file is what its name says."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from restic_monitor.model import Code, Observation, Status, Verdict


class Content(Struct, frozen=True):
    """A snapshot file is named by the SHA-256 of its content. Another content is DOWN; one that may not be read is no news."""

    def judge(self, seen: Observation, now: datetime) -> Verdict:
        if not seen.unreadable:
            return Verdict("content", Status.UP, Code.OK, "the newest file is what its name says, or may not be read")
        damaged = f"the snapshot file {seen.unreadable[0][:8]} is damaged: its content is not what its name says"
        message = f"{damaged}; do not prune, run restic check"
        return Verdict("content", Status.DOWN, Code.ERROR, message)
