"""What is known of one repository after several runs looked at it. Pure.

**Why what is stored stays true while runs overlap.** Two promises hold for each repository in the file:

1. each file was stored after its `after` and before its `before`;
2. a file of a remembered folder that has no row was stored after `looked`, or is not there.

A look recalls rows, begins, lists, and is remembered. A name it sees and had not recalled was stored after the `looked` that
it recalled (2), and before its own end: (1) holds for it whatever other runs write meanwhile. `merge` takes the names of the
look, with those another run has added since, and the `looked` of the look: what is then without a row was not there when
this look listed, hence stored after this look began, which is (2). That `looked` may be earlier than what another run left,
which makes later bounds wider, never false; the later of the two would be false when this look deletes a name that was
stored again and seen by the other. Where two runs know bounds of one file both are true, and so is what they have in common.

A file that is taken away and stored again under its name between two looks cannot be noticed: then `after` is before the
last time it was stored, and `before` after the first. It can look older than it is, never younger. That holds for what is
away between two looks. A file that a remembered look missed (and others were there) and a later one finds is taken for a new
one, and can look younger. So a look that finds none at all is not remembered where the store tells no times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from restic_monitor.model import Opened, Past, Stored


def merge(stored: Past, recalled: Past | None, seen: Past) -> Past:
    """What is known after a look that recalled `recalled` and saw `seen`, while other runs have made `stored` of it."""
    before = recalled or Past(seen.looked, {})
    folders = {
        folder: _merge(stored.folders.get(folder, {}), before.folders.get(folder, {}), names)
        for folder, names in seen.folders.items()
    }
    noted = (stored.noted | seen.noted) - (before.noted - seen.noted)
    added = {name: moment for name, moment in stored.proved.items() if name not in before.proved}
    proved = {name: _earlier(moment, stored.proved.get(name)) for name, moment in seen.proved.items()}
    return Past(seen.looked, folders, noted, added | proved, _merge_opened(stored, before, seen))


def _merge_opened(stored: Past, before: Past, seen: Past) -> dict[str, dict[str, Opened]]:
    """What was read of a file is true whoever read it."""

    def added(folder: str) -> Iterator[tuple[str, Opened]]:
        known = before.opened.get(folder, {})
        return ((name, file) for name, file in stored.opened.get(folder, {}).items() if name not in known)

    return {folder: {**dict(added(folder)), **files} for folder, files in seen.opened.items()}


def _earlier(seen: datetime | None, stored: datetime | None) -> datetime | None:
    """A look that saw that nothing is proved knows more."""
    return min(seen, stored) if seen and stored else seen


def _merge(stored: Mapping[str, Stored], recalled: Mapping[str, Stored], seen: Mapping[str, Stored]) -> dict[str, Stored]:
    added = {name: file for name, file in stored.items() if name not in recalled}
    return added | {name: _common(stored.get(name, file), file) for name, file in seen.items()}


def _common(stored: Stored, seen: Stored) -> Stored:
    """What two true bounds of one file have in common; nothing when it was stored twice, and then the look's own count."""
    after = max(filter(None, (stored.after, seen.after)), default=None)
    before = min(stored.before, seen.before)
    return seen if after is not None and after > before else Stored(seen.name, after, before)
