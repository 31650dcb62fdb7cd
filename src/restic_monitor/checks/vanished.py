"""Whether snapshots disappeared in bulk."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from restic_monitor.model import Code, Observation, Status, Verdict


class Vanished(Struct, frozen=True):
    """More than `limit` snapshot files gone since the last look is WARN; `share`: the limit is a percentage of those that the
    last look had. `shown` is how messages say the limit."""

    limit: int
    share: bool
    shown: str

    def judge(self, seen: Observation, now: datetime) -> Verdict:
        gone = len((seen.stored and seen.stored.vanished) or ())
        before = gone + len(seen.stored.files) - len(seen.stored.appeared or ()) if seen.stored else 0
        known, count = seen.partly or (0, 0)
        lost = gone - (count - known)  # what is not read may have come in their place
        amount = 100 * lost / before if self.share and before else lost
        if lost <= 0 or amount <= self.limit:
            return Verdict("vanished", Status.UP, Code.OK, "no more gone than allowed")
        message = f"{gone} of {before} snapshot files are gone since the last look (limit {self.shown}); was that you?"
        return Verdict("vanished", Status.WARN, Code.WARN, message)
