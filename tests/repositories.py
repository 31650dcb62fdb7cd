"""Writes restic's repository format: what no restic would make, and 10,000 snapshots in a second or two.

`write_repository(path, [snapshot(time=...)])` is a repository that restic itself opens; `Written.add` puts in one file more,
good or bad. There is no data behind the snapshots. Source: restic's doc/design.rst.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import zstandard
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.poly1305 import Poly1305

from restics import PASSWORD

MASTER = bytes(range(1, 65))
"""32 bytes for AES-256, 16 for the AES-128 of the tag, 16 for its r."""
TREE = "7" * 64
POLYNOMIAL = "3da3358b4dc173"
"""That of restic's own tests: it must be irreducible, or restic opens nothing."""
CREATED = "2026-11-01T12:00:00.123456789+01:00"


@dataclass(frozen=True)
class Sealer:
    """Seals under 64 bytes of key."""

    key: bytes = MASTER

    def seal(self, plaintext: bytes, iv: bytes | None = None) -> bytes:
        iv = os.urandom(16) if iv is None else iv
        ciphertext = Cipher(AES(self.key[:32]), CTR(iv)).encryptor().update(plaintext)
        return iv + ciphertext + self.tag(iv, ciphertext)

    def tag(self, iv: bytes, ciphertext: bytes) -> bytes:
        """Poly1305-AES of what may be no ciphertext of ours at all."""
        nonce = Cipher(AES(self.key[32:48]), ECB()).encryptor().update(iv)
        return Poly1305.generate_tag(self.key[48:] + nonce, ciphertext)


def json_bytes(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def packed(content: bytes, version: int = 2) -> bytes:
    """The plaintext of a snapshot or a lock: compressed since version 2 of the format."""
    return content if version == 1 else b"\x02" + _compressor.compress(content)


_compressor = zstandard.ZstdCompressor()
"""One for all: to make one takes longer than a snapshot."""


def name_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def moment(time: datetime) -> str:
    assert time.tzinfo, "a time without its time zone"
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def snapshot(time: datetime, host: str = "web1", paths: Iterable[str] = ("/srv",), **others: Any) -> dict[str, Any]:
    """The JSON of one, as restic writes it; `others` are more of its fields."""
    plain = {"time": moment(time), "tree": TREE, "paths": [*paths], "hostname": host, "username": "root", "uid": 0, "gid": 0}
    return {**plain, **others}


def lock(time: datetime, host: str = "web1", pid: int = 4711, *, exclusive: bool = False, **others: Any) -> dict[str, Any]:
    plain = {"time": moment(time), "exclusive": exclusive, "hostname": host, "username": "root", "pid": pid}
    return {**plain, **others}


def config(version: int = 2, **others: Any) -> dict[str, Any]:
    return {"version": version, "id": "c" * 64, "chunker_polynomial": POLYNOMIAL, **others}


def key_file(
    password: str = PASSWORD, master: bytes = MASTER, *, n: int = 2, r: int = 1, p: int = 1, **others: Any
) -> dict[str, Any]:
    """The JSON of one that this password opens; `others` replace its fields, and then it may not."""
    salt = os.urandom(64)
    own = Sealer(Scrypt(salt, 64, n, r, p).derive(password.encode()))
    inner = {"mac": {"k": base64_text(master[32:48]), "r": base64_text(master[48:])}, "encrypt": base64_text(master[:32])}
    plain = {"created": CREATED, "username": "root", "hostname": "web1", "kdf": "scrypt", "N": n, "r": r, "p": p}
    return {**plain, "salt": base64_text(salt), "data": base64_text(own.seal(json_bytes(inner))), **others}


def base64_text(content: bytes) -> str:
    return base64.b64encode(content).decode()


@dataclass(frozen=True)
class Written:
    """A repository in a folder; `snapshots` are their names, in the order in which they were given."""

    path: Path
    version: int
    password: str
    master: bytes = field(default=MASTER, repr=False)
    snapshots: tuple[str, ...] = ()

    @cached_property
    def sealer(self) -> Sealer:
        return Sealer(self.master)

    def add(self, folder: str, content: bytes, name: str | None = None, at: datetime | None = None) -> str:
        """A file as it is stored, under its own name unless told otherwise; `at` is its modification time."""
        name = name_of(content) if name is None else name
        file = self.path / folder / name
        file.write_bytes(content)
        if at:
            os.utime(file, (at.timestamp(), at.timestamp()))
        return name

    def add_snapshot(self, document: Mapping[str, Any], at: datetime | None = None) -> str:
        return self.add("snapshots", self.sealed(document), at=at)

    def add_lock(self, document: Mapping[str, Any], at: datetime | None = None) -> str:
        return self.add("locks", self.sealed(document), at=at)

    def add_key(self, document: Mapping[str, Any], at: datetime | None = None) -> str:
        return self.add("keys", json_bytes(document), at=at)

    def sealed(self, document: Any) -> bytes:
        return self.sealer.seal(packed(json_bytes(document), self.version))


def write_repository(
    path: Path,
    snapshots: Iterable[Mapping[str, Any]] = (),
    *,
    version: int = 2,
    password: str = PASSWORD,
    n: int = 2,
    r: int = 1,
    p: int = 1,
) -> Written:
    """At `path`, which must not exist. `n`, `r`, `p` are scrypt's: the lightest; restic makes n=32768, r=8, p=5 or so."""
    for folder in ("data", "index", "keys", "locks", "snapshots"):
        (path / folder).mkdir(parents=True)
    empty = Written(path, version, password)
    (path / "config").write_bytes(empty.sealer.seal(json_bytes(config(version))))
    empty.add_key(key_file(password, n=n, r=r, p=p))
    return Written(path, version, password, snapshots=tuple(map(empty.add_snapshot, snapshots)))
