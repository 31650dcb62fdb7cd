"""Whether a key of the repository came or went."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from restic_monitor.model import Code, KeyFile, Observation, Status, Verdict, one_line, shorten

_NAME_LIMIT = 40


class Keyring(Struct, frozen=True):
    """A key that is new or gone since the last look is WARN, once: the next look knows it. No key at all is DOWN: nobody can
    open the repository, and restic never takes the last one away. Keys that may not be listed are not judged."""

    def judge(self, seen: Observation, now: datetime) -> Verdict:
        if seen.keys and not seen.keys.files:
            message = "no key in the repository, so nobody can open it: put the files of keys/ back"
            return Verdict("keys", Status.DOWN, Code.ERROR, message)
        told = []
        for what, names in (("new", seen.keys and seen.keys.appeared), ("gone", seen.keys and seen.keys.vanished)):
            if names:
                shown = ", ".join(_shown(name, seen.makers.get(name)) for name in names[:2]) + (" …" if len(names) > 2 else "")
                told.append(f"{len(names)} key{'s' if len(names) > 1 else ''} {what}: {shown}")
        if not told:
            return Verdict("keys", Status.UP, Code.OK, "the same keys")
        return Verdict("keys", Status.WARN, Code.WARN, f"{', '.join(told)}; was that you?")


def _shown(name: str, maker: KeyFile | None) -> str:
    """With who made it, where the key was read."""
    if not maker:
        return name[:8]
    owner = "@".join(shorten(one_line(part), _NAME_LIMIT) for part in (maker.user, maker.host) if part)
    date = f"{maker.created:%Y-%m-%d}" if maker.created else ""
    made = " ".join(filter(None, (owner, date)))
    return f"{name[:8]} ({made})" if made else name[:8]
