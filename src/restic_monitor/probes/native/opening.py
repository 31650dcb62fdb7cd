"""Opening what is not known yet: the key first, then snapshots, the newest first and many at once, and old locks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from restic_monitor import listed
from restic_monitor.backends import Backend, BackendError, Entry, Kind
from restic_monitor.listed import Inventory
from restic_monitor.model import Opened
from restic_monitor.probes.native.found import OF_ONE_FILE, Found, contents, last
from restic_monitor.probes.native.unlocking import Unlocking
from restic_monitor.repository import ID, Damaged, check_name, documents
from restic_monitor.repository.packed import LOCK_LIMIT_BYTES, SNAPSHOT_LIMIT_BYTES, unpack

if TYPE_CHECKING:
    from restic_monitor.repository.sealed import Key

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Changed(Exception):  # noqa: N818
    """Snapshots went and others came since the listing: `tag` or `rewrite` is at work. What was read is true."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What is to be opened in one look. `known` is what need not be; of locks only the `old` are opened."""

    backend: Backend = field(repr=False)
    unlocking: Unlocking
    inventory: Inventory
    known: Mapping[str, Mapping[str, Opened]]
    old: Collection[str]

    def open(self, found: Found, deadline: float, *, derive: bool) -> None:
        """Puts into `found` what it finds, as it finds it; derives a key when there is something to open, or else to `derive`.
        Raises ProbeError, Changed, and BackendError where a look must end."""
        read = self.unlocking.read(found, deadline)
        seen = self.inventory.seen
        snapshots = [file for name, file in seen.files["snapshots"].items() if name not in self.known["snapshots"]]
        snapshots += seen.cut_off.values()
        locks = [file for name, file in seen.files["locks"].items() if name in self.old and name not in self.known["locks"]]
        nothing = not (snapshots or locks or derive) and self.unlocking.key_is_known
        if nothing and self.unlocking.config_is_known(found, deadline):
            return
        key = self.unlocking.key(read, found, deadline)
        self.unlocking.config(key, found, deadline)
        snapshots.sort(key=self._came, reverse=True)
        self._open(key, snapshots, found, deadline)
        self._open(key, locks, found, deadline)
        self._gone(found, deadline)

    def _came(self, file: Entry) -> datetime:
        stored = self.inventory.folders["snapshots"].get(last(file.name))
        return stored.before if stored else _LONG_AGO

    def _open(self, key: Key, files: Sequence[Entry], found: Found, deadline: float) -> None:
        """Raises BackendError when the storage fails; what was read until then is kept."""
        left = {entry.name: entry for entry in files}
        refused: dict[str, BackendError] = {}
        for entry, content in contents(self.backend, files, deadline, SNAPSHOT_LIMIT_BYTES):
            if isinstance(content, bytes):
                _take(key, entry, content, found)
            elif content.kind in OF_ONE_FILE:
                refused[entry.name] = content
            elif content.kind is Kind.MISSING:
                found.gone |= {last(entry.name)} if entry.name.startswith("snapshots/") else set()
            elif content.kind is Kind.TIMEOUT:
                continue
            else:
                raise content
            del left[entry.name]
        found.unread += sum(name.startswith("snapshots/") for name in left)
        self._not_readable(refused, len(files) - len(left), found, deadline)

    def _not_readable(self, refused: Mapping[str, BackendError], count: int, found: Found, deadline: float) -> None:
        """Of `count` files that were asked for. Where all are denied the credentials are wrong, and raised is what the storage
        said; where some are, these are. A disk that has gone reads nothing. What a lock says is good to know, no more."""
        snapshots = {name: error for name, error in refused.items() if name.startswith("snapshots/")}
        if not snapshots:
            return
        first = next(iter(snapshots.values()))
        if len(snapshots) == count and (first.kind is Kind.DENIED or not found.opened["snapshots"]):
            raise first
        if any(error.kind is not Kind.DENIED for error in snapshots.values()):
            try:
                self.backend.read("config", deadline, 1)
            except BackendError:
                raise BackendError(Kind.UNREACHABLE, first.message) from None
        for name, error in snapshots.items():
            denied = error.kind is Kind.DENIED
            found.is_damaged(name, "it may not be read, others may" if denied else "it cannot be read, others can")

    def _gone(self, found: Found, deadline: float) -> None:
        if not found.gone:
            return
        try:
            still = listed.names(self.backend, deadline)
        except BackendError as error:
            if error.kind is not Kind.TIMEOUT:
                raise
            found.unread += len(found.gone)
            found.gone.clear()
            return
        listed_before = self.inventory.folders["snapshots"].keys() | self.inventory.seen.cut_off.keys()
        if any(ID.fullmatch(name) and name not in listed_before for name in still):
            raise Changed
        for name in found.gone & still:
            found.is_damaged(f"snapshots/{name}", "listed, and not there")
        found.gone -= still


def _take(key: Key, entry: Entry, content: bytes, found: Found) -> None:
    try:
        found.add(entry.name.partition("/")[0], _understood(key, entry, content))
    except Damaged as damage:
        found.is_damaged(entry.name, damage.reason)


def _understood(key: Key, entry: Entry, content: bytes) -> Opened:
    """Raises Damaged."""
    folder, _, name = entry.name.partition("/")
    check_name(name, content)
    if folder == "locks":
        lock = documents.read_lock(unpack(key.open(content), LOCK_LIMIT_BYTES))
        return Opened(name, entry.size, entry.modified, lock=lock)
    snapshot = documents.read_snapshot(name, unpack(key.open(content), SNAPSHOT_LIMIT_BYTES))
    return Opened(name, entry.size, entry.modified, snapshot=snapshot)
