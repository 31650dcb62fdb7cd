"""Whether what is no snapshot is what it should be: the configuration of the repository, its keys, its locks."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from restic_monitor.model import Code, Observation, Status, Verdict

_SHOWN = 2
_REMEDIES = {
    "keys": "put the key back from a copy, or remove its file",
    "locks": "when no restic is at work, run restic unlock --remove-all",
}


class Intact(Struct, frozen=True):
    """Without its configuration nobody opens a repository: DOWN. Another damaged file is WARN. Snapshots are `Readable`'s."""

    def judge(self, seen: Observation, now: datetime) -> Verdict:
        damaged = {name: why for name, why in sorted(seen.damaged.items()) if not name.startswith("snapshots/")}
        if "config" in damaged:
            message = f"the repository's config is damaged: {damaged['config']}; put it back from a copy"
            return Verdict("intact", Status.DOWN, Code.ERROR, message)
        if not damaged:
            return Verdict("intact", Status.UP, Code.OK, "what was read is what it should be")
        shown = ", ".join(f"{_short(name)} ({why})" for name, why in list(damaged.items())[:_SHOWN])
        more = f" and {len(damaged) - _SHOWN} more" if len(damaged) > _SHOWN else ""
        remedies = "; ".join(
            text for folder, text in _REMEDIES.items() if any(name.startswith(f"{folder}/") for name in damaged)
        )
        return Verdict("intact", Status.WARN, Code.WARN, f"damaged: {shown}{more}; {remedies}")


def _short(name: str) -> str:
    folder, _, last = name.partition("/")
    return f"{folder}/{last[:8]}"
