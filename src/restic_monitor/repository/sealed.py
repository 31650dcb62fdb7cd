"""Encrypted and authenticated bytes. Imports cryptography, which takes 20 ms: for who has something to open.

IV (16 bytes) ‖ AES-256-CTR ciphertext ‖ Poly1305-AES tag (16 bytes) over the ciphertext. Source: restic's doc/design.rst,
"Keys, Encryption and MAC", and https://cr.yp.to/mac/poly1305-20050329.pdf
"""

from __future__ import annotations

import threading
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB
from cryptography.hazmat.primitives.poly1305 import Poly1305

from restic_monitor.repository import OVERHEAD_BYTES, Damaged

IV_BYTES = 16
KEY_BYTES = 64
"""32 for AES-256, 16 for the AES-128 of the tag, 16 for its r."""


class _Encryptor(Protocol):
    def update(self, data: bytes) -> bytes: ...


class Key:
    """64 bytes that open what was sealed with them. They are not shown. May be used by several threads."""

    __slots__ = ("_encrypt", "_lock", "_one_time", "_r")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES or not any(key[:32]) or not any(key[32:48]) or not any(key[48:]):
            raise Damaged("its key is no key")
        self._encrypt = AES(key[:32])
        self._one_time: _Encryptor = Cipher(AES(key[32:48]), ECB()).encryptor()  # noqa: S305 - one block, as Poly1305-AES has it
        self._lock = threading.Lock()
        self._r = key[48:]

    def open(self, sealed: bytes) -> bytes:
        """The plaintext, decrypted once the tag is right. Raises Damaged."""
        if len(sealed) < OVERHEAD_BYTES:
            raise Damaged("empty" if not sealed else "cut off")
        iv, ciphertext, tag = sealed[:IV_BYTES], sealed[IV_BYTES:-IV_BYTES], sealed[-IV_BYTES:]
        if not any(iv):
            raise Damaged("sealed without a nonce")
        with self._lock:
            nonce = self._one_time.update(iv)
        try:
            Poly1305.verify_tag(self._r + nonce, ciphertext, tag)
        except InvalidSignature:
            raise Damaged("not sealed with the key of this repository, or changed") from None
        return Cipher(self._encrypt, CTR(iv)).decryptor().update(ciphertext)
