"""Looking with the password and without restic: one listing, and what is in the files that are not known yet.

A file that was read is remembered under its name, size and time, so that a repository where nothing changed costs one listing
and no key derivation. Neither passwords nor keys are remembered, only which key file it was that opened.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from msgspec.structs import replace

from restic_monitor import arrivals, history, listed, proof
from restic_monitor.backends import Backend, BackendError, Entry
from restic_monitor.listed import Inventory
from restic_monitor.model import TOLERANCE, Code, Memory, Observation, Opened, Past, ProbeError, Snapshot, Stored
from restic_monitor.probes.native.found import Found
from restic_monitor.probes.native.opening import Changed, Opening
from restic_monitor.probes.native.password import Password
from restic_monitor.probes.native.unlocking import Unlocking
from restic_monitor.secret import Redactor

_log = logging.getLogger(__name__)
_RESERVED_SECONDS = 2.0
"""For what is done with what was read; a tenth of the time where that is less."""
_CLOCKS_DIFFER = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Native:
    """One repository, read by ourselves. Locks are opened when they are older than `lock_max_age`."""

    name: str
    backend: Backend = field(repr=False)
    shown_url: str
    password: Password = field(repr=False)
    redact: Redactor = field(repr=False)
    lock_max_age: timedelta
    memory: Memory | None = field(default=None, repr=False)
    asks_the_key: bool = False
    """Derive a key also when there is nothing to open: whoever checks a configuration wants to know whether it opens."""
    source: str = "native"

    @property
    def heavy(self) -> bool:
        return self.backend.heavy

    def observe(self, deadline: float) -> Observation:
        try:
            return self._observe(deadline)
        except BackendError as error:
            raise listed.problem(error, self.redact) from None
        finally:
            self.backend.close()

    def _observe(self, deadline: float) -> Observation:
        now = time.monotonic()
        reading = deadline - min(_RESERVED_SECONDS, 0.1 * max(0.0, deadline - now))
        try:
            return self._once(reading)
        except Changed:
            pass
        try:
            return self._once(reading)
        except Changed:
            message = "the snapshots changed twice while they were read: tag or rewrite is at work"
            raise ProbeError(Code.UNREACHABLE, message) from None

    def _once(self, reading: float) -> Observation:
        inventory = listed.take(self.backend, self.shown_url, self.memory, reading)
        known = _still_true(inventory)
        worked = _worked(inventory)
        unlocking = Unlocking(self.name, self.backend, self.password, inventory, known, worked.name if worked else "")
        opening = Opening(self.backend, unlocking, inventory, known, self._old_locks(inventory))
        found = Found({folder: dict(files) for folder, files in known.items()})
        try:
            opening.open(found, reading, derive=self.asks_the_key)
        except BaseException:
            self._keep_what_was_read(inventory, found)
            raise
        return self._told(inventory, found)

    def _old_locks(self, inventory: Inventory) -> set[str]:
        locks = inventory.folders["locks"].values()
        return {lock.name for lock in locks if inventory.ended - lock.before > self.lock_max_age}

    def _keep_what_was_read(self, inventory: Inventory, found: Found) -> None:
        """The look failed; what it opened need not be opened again. Which key opened until now is known until another does."""
        if self.memory and found.anything_new:
            before, keys = inventory.recalled or Past(inventory.begun, {}), found.opened["keys"]
            if (worked := _worked(inventory)) and not any(file.key for file in keys.values()):
                keys = {**keys, worked.name: worked}
            self.memory.remember(replace(before, opened={**found.opened, "keys": keys}))

    # what it all means

    def _told(self, inventory: Inventory, found: Found) -> Observation:
        now, recalled, past = datetime.now(UTC), inventory.recalled, inventory.past
        files = inventory.folders["snapshots"]
        here = {name: _arrived(file, inventory, now) for name, file in files.items() if name in found.opened["snapshots"]}
        snapshots = proof.prove([*_snapshots(found.opened["snapshots"].values())], recalled, now, here)
        unknown = (files.keys() | inventory.seen.cut_off.keys()) - found.opened["snapshots"].keys() - found.gone
        proved_before = recalled.proved if recalled else {}
        snapshots = tuple(  # what a copy proves is not known before its original is
            replace(each, proved=None) if each.original in unknown and each.original not in proved_before else each
            for each in snapshots
        )
        folder, count = inventory.compared("snapshots"), len(files) + len(inventory.seen.cut_off)
        without, noted = arrivals.without_summary(snapshots), past.noted if past else frozenset[str]()
        clock = arrivals.our_clock(snapshots, now)
        notes = tuple(inventory.notes(compare=recalled is not None))
        if clock:
            notes = (*notes, clock)
            self._keep_what_was_read(inventory, found)
        elif without and arrivals.NO_SUMMARY not in noted:
            notes = (*notes, without)
        proved = arrivals.known([each for each in snapshots if each.original not in unknown], unknown, recalled)
        if recalled and not past:  # our clock is set back: what came meanwhile seems to be in the future
            proved = {name: moment for name, moment in proved.items() if name in recalled.proved}
        seen = Past(inventory.begun, inventory.listed, noted, proved, found.opened)
        told = replace(seen, noted=frozenset({arrivals.NO_SUMMARY} if without else ()))
        if found.unread:  # what is lost is told when it is known what came in its place
            told = replace(told, folders={**seen.folders, "snapshots": _together(recalled, seen)["snapshots"]})
        return Observation(
            self.source,
            snapshots,
            unreadable=tuple(sorted(found.unreadable)),
            partly=(count - found.unread, count) if found.unread else None,
            damaged=found.damaged,
            stored=folder and arrivals.without_replaced(folder, snapshots),
            locks=inventory.compared("locks"),
            keys=inventory.compared("keys"),
            holders={name: file.lock for name, file in found.opened["locks"].items() if file.lock},
            makers=found.makers,
            suspicious=inventory.strangers(),
            skew=inventory.skew,
            notes=notes,
            keep=None if clock else self._keep(seen, told, recalled),
        )

    def _keep(self, seen: Past, told: Past, recalled: Past | None) -> Callable[[], None] | None:
        """What came, what was read and what it proves is remembered at once; what is gone or told once, when it was told."""
        if not self.memory or history.all_gone(recalled, seen.folders):
            return None
        folders = _together(recalled, seen)
        if recalled and "keys" in recalled.folders:  # a new one stays new until it was told
            folders["keys"] = dict(recalled.folders["keys"])
        self.memory.remember(replace(seen, folders=folders))
        return partial(self.memory.remember, told)


def _still_true(inventory: Inventory) -> dict[str, dict[str, Opened]]:
    """What is remembered of files that are there now, with the size and the time that they had when they were read."""
    recalled = inventory.recalled.opened if inventory.recalled else {}
    return {
        folder: {
            name: opened
            for name, opened in recalled.get(folder, {}).items()
            if (entry := entries.get(name)) and _same(opened, entry)
        }
        for folder, entries in inventory.seen.files.items()
    } | {"config": dict(recalled.get("config", {}))}


def _worked(inventory: Inventory) -> Opened | None:
    """The key that opened last. It may be gone."""
    opened = inventory.recalled.opened.get("keys", {}) if inventory.recalled else {}
    return next((file for file in opened.values() if file.key), None)


def _together(recalled: Past | None, seen: Past) -> dict[str, dict[str, Stored]]:
    before = recalled.folders if recalled else {}
    return {folder: {**before.get(folder, {}), **files} for folder, files in seen.folders.items()}


def _same(opened: Opened, entry: Entry) -> bool:
    return opened.size == entry.size and opened.modified == entry.modified


def _snapshots(files: Iterable[Opened]) -> Iterable[Snapshot]:
    return (file.snapshot for file in files if file.snapshot)


def _arrived(file: Stored, inventory: Inventory, now: datetime) -> Stored:
    """When it was stored, on our clock: hosts' clocks and ours are compared with it. What an answer's `Date` shows of the
    store's clock is half a second off. A time in the future was told by a wrong clock: then our own looks tell when it came."""
    skew = inventory.skew if inventory.skew and abs(inventory.skew) >= _CLOCKS_DIFFER else timedelta(0)
    if file.before - skew > now + TOLERANCE:
        latest = max(inventory.ended, inventory.past.looked) if inventory.past else inventory.ended
        file = history.dated([(file.name, None)], "snapshots", inventory.past, latest)[file.name]
    return Stored(file.name, None if file.after is None else file.after - skew, file.before - skew)
