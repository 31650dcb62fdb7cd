"""Keys and configuration: whether they are what they should be, and the key that opens everything else."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from restic_monitor.backends import Backend, BackendError, Kind
from restic_monitor.listed import Inventory
from restic_monitor.model import Code, Opened, ProbeError
from restic_monitor.probes.native.found import OF_ONE_FILE, Found, contents, last
from restic_monitor.probes.native.password import Password
from restic_monitor.repository import Damaged, check_name, documents, keys

if TYPE_CHECKING:
    from restic_monitor.repository.sealed import Key

_log = logging.getLogger(__name__)
_READ_KEYS = 100
"""Key files that are read in one look: whoever can write to the storage can put any number of them there."""
_COSTLY = 4_000_000
"""N·r·p of three times what restic makes. Such a key is tried after the others: it may be there to keep us busy."""
_CONFIG_LIMIT_BYTES = 64 * 1024
_CONFIG_IS_READ_EACH = timedelta(days=1)
_LISTED, _ASKED_FOR = "config", "asked for"
"""How the configuration is remembered: as the listing shows it, or with its size and when it was asked for."""


@dataclass(frozen=True, slots=True)
class Unlocking:
    """`known` are the key files, and `config`, that were read and did not change since. `worked` is the name of the key that
    opened last, "" for none: it may be gone."""

    name: str
    backend: Backend = field(repr=False)
    password: Password
    inventory: Inventory
    known: Mapping[str, Mapping[str, Opened]]
    worked: str

    @property
    def key_is_known(self) -> bool:
        """The key that opened last is there, as it was: so nobody revoked the password."""
        return self.worked in self.known["keys"]

    def read(self, found: Found, deadline: float) -> dict[str, keys.Sealed]:
        """The key files that are not known, or new and not told yet, by name: everybody can read what stands in them, and a
        damaged one is told as long as it is there. What may not be read keeps nobody from looking."""
        compared = self.inventory.compared("keys")
        new = set(compared.appeared or ()) if compared else set()
        there = self.inventory.seen.files["keys"].items()
        unknown = [entry for name, entry in there if name in new or name not in self.known["keys"]]
        read: dict[str, keys.Sealed] = {}
        for entry, content in contents(self.backend, unknown[:_READ_KEYS], deadline, keys.FILE_LIMIT_BYTES):
            name = last(entry.name)
            if isinstance(content, BackendError):
                _log.debug("%s: %s cannot be read: %s", self.name, entry.name, content.message)
                continue
            if sealed := _understood(name, content, found):
                read[name] = sealed
                if name not in self.known["keys"]:
                    found.add("keys", Opened(name, entry.size, entry.modified))
                if name in new:
                    found.makers[name] = sealed.holder
        return read

    def key(self, read: Mapping[str, keys.Sealed], found: Found, deadline: float) -> Key:
        """The one that opens everything. Raises ProbeError, and BackendError."""
        password = self.password.reveal(deadline)
        names = self._in_order()
        if not names:
            denied = "keys/ may not be listed, so nothing can be opened: let these credentials list it"
            gone = "no key in the repository, so nobody can open it: put the files of keys/ back"
            raise ProbeError(Code.ERROR, denied if "keys" in self.inventory.denied else gone)
        for name, sealed in self._cheap_first(names[: keys.TRIED], read, found, deadline):
            if key := self._opened(name, sealed, password, found, deadline):
                return key
        raise ProbeError(Code.ERROR, self._wrong_password(len(names), found))

    def _in_order(self) -> list[str]:
        """The key that opened last, then that of the hint."""
        hint = self.password.hint

        def rank(name: str) -> tuple[bool, bool, str]:
            return name != self.worked, not (hint and name.startswith(hint)), name

        return sorted(self.inventory.seen.files["keys"], key=rank)

    def _cheap_first(
        self, names: list[str], read: Mapping[str, keys.Sealed], found: Found, deadline: float
    ) -> Iterator[tuple[str, keys.Sealed]]:
        """Those that can be read. Raises BackendError when one could not, after the others: it may be ours."""
        later: list[tuple[str, keys.Sealed]] = []
        refused: list[BackendError] = []
        for name in names:
            try:
                sealed = read.get(name) or self._key_file(name, found, deadline)
            except BackendError as error:
                if error.kind not in (Kind.MISSING, *OF_ONE_FILE):
                    raise
                refused += [error] if error.kind is not Kind.MISSING else []
                continue
            if not sealed:
                continue
            if sealed.work > _COSTLY and name != self.worked:
                later.append((name, sealed))
            else:
                yield name, sealed
        yield from later
        if refused:
            raise refused[0]

    def _key_file(self, name: str, found: Found, deadline: float) -> keys.Sealed | None:
        if f"keys/{name}" in found.damaged:
            return None
        return _understood(name, self.backend.read(f"keys/{name}", deadline, keys.FILE_LIMIT_BYTES), found)

    def _opened(self, name: str, sealed: keys.Sealed, password: bytes, found: Found, deadline: float) -> Key | None:
        try:
            key = sealed.open(password, deadline)
        except keys.OutOfTime:
            raise ProbeError(Code.UNREACHABLE, "no time was left to derive the key: others derive theirs") from None
        except Damaged as damage:
            found.is_damaged(f"keys/{name}", damage.reason)
            return None
        _log.debug("%s: key %s %s", self.name, name[:8], "opens" if key else "does not open")
        if key:
            entry = self.inventory.seen.files["keys"][name]
            found.opened["keys"] = {other: replace(file, key=None) for other, file in found.opened["keys"].items()}
            found.add("keys", Opened(name, entry.size, entry.modified, key=sealed.holder))
        return key

    def _wrong_password(self, count: int, found: Found) -> str:
        damaged = sorted(last(name) for name in found.damaged if name.startswith("keys/"))
        if self.worked in damaged:
            reason = found.damaged[f"keys/{self.worked}"]
            return f"the key that opened until now is damaged: keys/{self.worked[:8]} ({reason}); put it back from a copy"
        if self.worked and self.worked not in self.inventory.seen.files["keys"]:
            return f"the key that opened until now, {self.worked[:8]}, is gone, and the password opens no other"
        broken = ", ".join(f"keys/{name[:8]}" for name in damaged[:2])
        broken += f" and {len(damaged) - 2} more" if len(damaged) > 2 else ""
        if len(damaged) == count:
            return f"no key is whole, so nobody can open it: {broken}; put {'it' if count == 1 else 'one'} back from a copy"
        more = f"; {count - keys.TRIED} of {count} keys were not tried: set RESTIC_KEY_HINT" if count > keys.TRIED else ""
        return f"wrong password or no key{f'; damaged: {broken}' if broken else ''}{more}"

    # the configuration

    def config_is_known(self, found: Found, deadline: float) -> bool:
        """As far as the listing shows it. S3's and rest-server's do not: there it is asked for once a day."""
        known, now = self.known["config"], self.inventory.seen.config
        if now or not (before := known.get(_ASKED_FOR)):
            shown = known.get(_LISTED)
            return now is not None and shown is not None and (now.size, now.modified) == (shown.size, shown.modified)
        moment = self.inventory.ended
        if before.modified and abs(moment - before.modified) < _CONFIG_IS_READ_EACH:
            return True
        content = self._config_content(found, deadline)
        if content is not None and len(content) == before.size:
            found.add("config", Opened(_ASKED_FOR, before.size, moment))
        return content is None or len(content) == before.size

    def config(self, key: Key, found: Found, deadline: float) -> None:
        """Reads it with the key. Raises BackendError."""
        entry = self.inventory.seen.config
        found.opened["config"] = {}
        if (content := self._config_content(found, deadline)) is None:
            return
        try:
            documents.read_config(key.open(content))
        except Damaged as damage:
            found.is_damaged("config", damage.reason)
            return
        listed = Opened(_LISTED, entry.size, entry.modified) if entry else None
        found.add("config", listed or Opened(_ASKED_FOR, len(content), self.inventory.ended))

    def _config_content(self, found: Found, deadline: float) -> bytes | None:
        try:
            return self.backend.read("config", deadline, _CONFIG_LIMIT_BYTES)
        except BackendError as error:
            if error.kind is not Kind.MISSING:
                raise
            found.is_damaged("config", "missing")
            return None


def _understood(name: str, content: bytes, found: Found) -> keys.Sealed | None:
    """None for a damaged one, which is noted."""
    try:
        check_name(name, content)
        return keys.read(content)
    except Damaged as damage:
        found.is_damaged(f"keys/{name}", damage.reason)
        return None
