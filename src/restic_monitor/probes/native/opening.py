"""Opening what is not known yet: the key first, then snapshots, the newest first and many at once, and old locks."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from restic_monitor import listed
from restic_monitor.backends import Backend, BackendError, Entry, Kind, outcome
from restic_monitor.listed import Inventory
from restic_monitor.model import Code, KeyFile, Opened, ProbeError
from restic_monitor.probes.native.password import Password
from restic_monitor.repository import Damaged, check_name, documents, keys
from restic_monitor.repository.packed import LOCK_LIMIT_BYTES, SNAPSHOT_LIMIT_BYTES, unpack
from restic_monitor.secret import Redactor

if TYPE_CHECKING:
    from restic_monitor.repository.sealed import Key

_log = logging.getLogger(__name__)
_AT_ONCE_LIMIT_BYTES = 1024 * 1024
"""What is larger is read by itself: many at once have to find room."""
_MAKERS = 5
"""New keys that are read, to tell who made them."""
_CONFIG_LIMIT_BYTES = 64 * 1024


_OF_ONE_FILE = (Kind.DENIED, Kind.REFUSED, Kind.MALFORMED)


class Changed(Exception):  # noqa: N818
    """Snapshots went and others came since the listing: `tag` or `rewrite` is at work. What was read is true."""


@dataclass(slots=True)
class Found:
    """What is known of the files that are there; `opened` by folder and name."""

    opened: dict[str, dict[str, Opened]]
    unreadable: set[str] = field(default_factory=set)
    damaged: dict[str, str] = field(default_factory=dict)
    makers: dict[str, KeyFile] = field(default_factory=dict)
    unread: int = 0
    anything_new: bool = False

    def add(self, folder: str, file: Opened) -> None:
        self.opened[folder][file.name] = file
        self.anything_new = True

    def is_damaged(self, name: str, reason: str) -> None:
        """`name` with its folder."""
        self.damaged[name] = reason
        if name.startswith("snapshots/"):
            self.unreadable.add(_last(name))


@dataclass(frozen=True, slots=True)
class Opening:
    """What is to be opened in one look. `known` is what need not be; of locks only the `old` are opened."""

    name: str
    backend: Backend = field(repr=False)
    password: Password
    inventory: Inventory
    known: Mapping[str, Mapping[str, Opened]]
    old: Collection[str]
    redact: Redactor

    def open(self, found: Found, deadline: float) -> None:
        """Puts into `found` what it finds, as it finds it. Raises ProbeError, Changed, and BackendError where a look must
        end."""
        self._makers(found, deadline)
        files = self.inventory.seen.files
        snapshots = [entry for name, entry in files["snapshots"].items() if name not in self.known["snapshots"]]
        locks = [entry for name, entry in files["locks"].items() if name in self.old and name not in self.known["locks"]]
        if not snapshots and not locks and self.known["keys"] and self._config_is_known():
            return
        key = self._key(found, deadline)
        self._config(key, found, deadline)
        newest = self.inventory.folders["snapshots"]
        snapshots.sort(key=lambda entry: newest[_last(entry.name)].before, reverse=True)
        self._open(key, snapshots, found, deadline)
        self._open(key, locks, found, deadline)

    # keys

    def _makers(self, found: Found, deadline: float) -> None:
        """Keys are readable for everybody: who made the new ones?"""
        compared = self.inventory.compared("keys")
        for name in (compared.appeared or ())[:_MAKERS] if compared else ():
            if key := self._key_file(name, found, deadline):
                found.makers[name] = key.holder

    def _key(self, found: Found, deadline: float) -> Key:
        """The key that opens everything. The one that worked last is tried first, and another when it is gone."""
        password = self.password.reveal(deadline)
        names = self._in_order()
        if not names:
            denied = "keys/ may not be listed, so nothing can be opened: let these credentials list it"
            gone = "no key in the repository, so nobody can open it: put the files of keys/ back"
            raise ProbeError(Code.ERROR, denied if "keys" in self.inventory.denied else gone)
        found.opened["keys"] = {}
        for name in names[: keys.TRIED]:
            if key := self._opened(name, password, found, deadline):
                return key
        more = f"; {len(names) - keys.TRIED} of {len(names)} keys were not tried: set RESTIC_KEY_HINT"
        broken = sum(name.startswith("keys/") for name in found.damaged)
        damage = f"; {broken} of {len(names)} keys {'is' if broken == 1 else 'are'} damaged" if broken else ""
        message = f"wrong password or no key{damage}{more if len(names) > keys.TRIED else ''}"
        raise ProbeError(Code.ERROR, message)

    def _in_order(self) -> list[str]:
        hint = self.password.hint

        def rank(name: str) -> tuple[bool, bool, str]:
            return name not in self.known["keys"], not (hint and name.startswith(hint)), name

        return sorted(self.inventory.seen.files["keys"], key=rank)

    def _opened(self, name: str, password: bytes, found: Found, deadline: float) -> Key | None:
        if not (file := self._key_file(name, found, deadline)):
            return None
        try:
            key = file.open(password, deadline)
        except keys.OutOfTime:
            raise ProbeError(Code.UNREACHABLE, "no time was left to derive the key: others derive theirs") from None
        except Damaged as damage:
            found.is_damaged(f"keys/{name}", damage.reason)
            return None
        if key:
            _log.debug("%s: key %s opens", self.name, name[:8])
            entry = self.inventory.seen.files["keys"][name]
            found.add("keys", Opened(name, entry.size, entry.modified, key=file.holder))
        return key

    def _key_file(self, name: str, found: Found, deadline: float) -> keys.Sealed | None:
        try:
            content = self.backend.read(f"keys/{name}", deadline, keys.FILE_LIMIT_BYTES)
            check_name(name, content)
            return keys.read(content)
        except BackendError as error:
            if error.kind is not Kind.MISSING:
                raise
        except Damaged as damage:
            found.is_damaged(f"keys/{name}", damage.reason)
        return None

    def _config_is_known(self) -> bool:
        """As far as the listing shows it; S3's and rest-server's do not."""
        before, now = self.known["config"].get("config"), self.inventory.seen.config
        return before is not None and before.size == (now and now.size) and before.modified == (now and now.modified)

    def _config(self, key: Key, found: Found, deadline: float) -> None:
        entry = self.inventory.seen.config
        found.opened["config"] = {}
        try:
            documents.read_config(key.open(self.backend.read("config", deadline, _CONFIG_LIMIT_BYTES)))
            found.add("config", Opened("config", entry.size if entry else None, entry.modified if entry else None))
        except Damaged as damage:
            found.is_damaged("config", damage.reason)
        except BackendError as error:
            if error.kind is not Kind.MISSING:
                raise
            found.is_damaged("config", "missing")

    # snapshots and locks

    def _open(self, key: Key, files: list[Entry], found: Found, deadline: float) -> None:
        """Raises BackendError when the storage fails; what was read until then is kept."""
        left = {entry.name: entry for entry in files}
        gone = [entry for entry, content in self._contents(files, deadline) if self._take(key, entry, content, found, left)]
        found.unread += sum(name.startswith("snapshots/") for name in left)
        if not gone:
            return
        try:
            still = listed.names(self.backend, deadline)
        except BackendError as error:
            if error.kind is not Kind.TIMEOUT:
                raise
            found.unread += len(gone)
            return
        if any(name not in self.inventory.folders["snapshots"] for name in still):
            raise Changed
        for entry in gone:
            if _last(entry.name) in still:
                found.is_damaged(entry.name, "listed, and not there")

    def _take(self, key: Key, entry: Entry, content: bytes | BackendError, found: Found, left: dict[str, Entry]) -> bool:
        """Whether the file is gone. What there was no time for stays among those `left`."""
        if isinstance(content, BackendError):
            if content.kind is Kind.MISSING:
                del left[entry.name]
                return entry.name.startswith("snapshots/")
            if content.kind is Kind.TIMEOUT:
                return False
            if content.kind not in _OF_ONE_FILE or not any(found.opened[folder] for folder in ("snapshots", "locks")):
                raise content
            found.is_damaged(entry.name, "it may not be read, others may")
            del left[entry.name]
            return False
        try:
            found.add(entry.name.partition("/")[0], _understood(key, entry, content))
        except Damaged as damage:
            found.is_damaged(entry.name, damage.reason)
        del left[entry.name]
        return False

    def _contents(self, files: Iterable[Entry], deadline: float) -> Iterator[tuple[Entry, bytes | BackendError]]:
        """Until the time is over. A file whose content is not what its name says is read a second time."""
        files = list(files)
        small = [entry for entry in files if (entry.size or 0) < _AT_ONCE_LIMIT_BYTES]
        again = [entry for entry in files if (entry.size or 0) >= _AT_ONCE_LIMIT_BYTES]
        doubtful: dict[str, bytes] = {}
        for entry, content in self.backend.read_all(small, deadline, _AT_ONCE_LIMIT_BYTES):
            if time.monotonic() >= deadline:
                break
            if isinstance(content, bytes) and not _is_whole(entry, content):
                again.insert(0, entry)
                if entry.size is not None:  # else it may be a large one
                    doubtful[entry.name] = content
            else:
                yield entry, content
        for entry in again:
            content = outcome(self.backend.read, entry, deadline, SNAPSHOT_LIMIT_BYTES)
            late = isinstance(content, BackendError) and content.kind is Kind.TIMEOUT
            yield entry, doubtful.get(entry.name, content) if late else content


def _is_whole(entry: Entry, content: bytes) -> bool:
    try:
        check_name(_last(entry.name), content)
    except Damaged:
        return False
    return True


def _understood(key: Key, entry: Entry, content: bytes) -> Opened:
    """Raises Damaged."""
    folder, _, name = entry.name.partition("/")
    check_name(name, content)
    if folder == "locks":
        lock = documents.read_lock(unpack(key.open(content), LOCK_LIMIT_BYTES))
        return Opened(name, entry.size, entry.modified, lock=lock)
    snapshot = documents.read_snapshot(name, unpack(key.open(content), SNAPSHOT_LIMIT_BYTES))
    return Opened(name, entry.size, entry.modified, snapshot=snapshot)


def _last(name: str) -> str:
    return name.rpartition("/")[2]
