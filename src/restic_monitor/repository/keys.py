"""Key files, `keys/ID`: from a password to the key that opens everything else.

Plain JSON. scrypt makes a key of the password and the file's salt; it opens `data`, which holds the master key. Source:
restic's doc/design.rst, "Keys, Encryption and MAC", and internal/repository/key.go.
"""

from __future__ import annotations

import base64
import binascii
import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from restic_monitor.model import KeyFile
from restic_monitor.repository import Damaged
from restic_monitor.repository.documents import parse_time

if TYPE_CHECKING:
    from restic_monitor.repository.sealed import Key

FILE_LIMIT_BYTES = 64 * 1024
TRIED = 20
"""Keys that restic tries, and we: whoever can write to the storage can put any number of them there."""
_MEMORY_LIMIT_BYTES = 256 * 1024 * 1024
_WORK_LIMIT = 1 << 24
"""N·r·p. restic calibrates to half a second and 60 MiB where the key is made: N=2^15, r=8, p=5 is 1.3 million."""
_SALT_BYTES = 64


class _File(msgspec.Struct):
    """As restic writes it; what is not used is not looked at."""

    kdf: str
    N: int
    r: int
    p: int
    salt: str
    data: str
    created: str = ""
    username: str = ""
    hostname: str = ""


class _Mac(msgspec.Struct):
    k: str
    r: str


class _Master(msgspec.Struct):
    mac: _Mac
    encrypt: str


_file = msgspec.json.Decoder(_File)
_master = msgspec.json.Decoder(_Master)


class OutOfTime(Exception):  # noqa: N818
    """The time is over: others derive keys, or too many had to be tried."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A key file, understood: who made it, and what a password opens."""

    holder: KeyFile
    _file: _File = field(repr=False)

    @property
    def work(self) -> int:
        """N·r·p: what a derivation costs, 3 million for each second of a core or so."""
        return self._file.N * self._file.r * self._file.p

    def open(self, password: bytes, deadline: float) -> Key | None:
        """The master key; None when this password does not open it. Raises Damaged, and OutOfTime."""
        from restic_monitor.repository.sealed import Key  # noqa: PLC0415

        data, own = _decoded(self._file.data), _derive(password, self._file, deadline)
        try:
            opened = own.open(data)
        except Damaged:
            return None
        try:
            master = _master.decode(opened)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Damaged("its master key makes no sense") from None
        return Key(_decoded(master.encrypt) + _decoded(master.mac.k) + _decoded(master.mac.r))


def read(content: bytes) -> Sealed:
    """Raises Damaged, also for one that would cost too much memory or time."""
    try:
        file = _file.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Damaged("empty" if not content else "no key file") from None
    if file.kdf != "scrypt" or len(_decoded(file.salt)) != _SALT_BYTES:
        raise Damaged("its key derivation is not restic's")
    if file.N < 2 or file.N & (file.N - 1) or file.r < 1 or file.p < 1:
        raise Damaged("the parameters of its key derivation make no sense")
    if 128 * file.r * (file.N + file.p) > _MEMORY_LIMIT_BYTES or file.N * file.r * file.p > _WORK_LIMIT:
        raise Damaged("its key derivation would cost more than any that restic makes")
    if file.N.bit_length() > 16 * file.r:  # RFC 7914, 6; OpenSSL would say that memory is short
        raise Damaged("the parameters of its key derivation make no sense")
    return Sealed(KeyFile(file.username, file.hostname, parse_time(file.created)), file)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Damaged("no base64 where it should be") from None


_at_once = threading.BoundedSemaphore(os.cpu_count() or 1)
"""A derivation takes a core for half a second, and 30 MiB or more."""


def _derive(password: bytes, file: _File, deadline: float) -> Key:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt  # noqa: PLC0415 - when one is derived

    from restic_monitor.repository.sealed import KEY_BYTES, Key  # noqa: PLC0415

    if not _at_once.acquire(timeout=max(0.0, deadline - time.monotonic())):
        raise OutOfTime
    try:
        if time.monotonic() >= deadline:
            raise OutOfTime
        return Key(Scrypt(_decoded(file.salt), KEY_BYTES, file.N, file.r, file.p).derive(password))
    except MemoryError:
        raise Damaged("there is not enough memory for its key derivation") from None
    finally:
        _at_once.release()
