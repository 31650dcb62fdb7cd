"""restic's repository format, as far as monitoring needs it. No I/O: bytes in, values out.

Keys and configuration, snapshots and locks; an index has its limit in `packed`, and no reader yet. Whoever can write to the
storage can write anything here: every number is capped before it is used, every length before it is read, and what is not
as it should be is Damaged. Source: restic's doc/design.rst, and its code where that says less.
"""

from __future__ import annotations

import hashlib
import re

ID = re.compile(r"[0-9a-f]{64}")
"""The name of a file: the SHA-256 of its content, as it is stored. Only `config` has another."""


OVERHEAD_BYTES = 32
"""What sealing adds: 16 bytes of initialization vector in front, 16 of authentication code behind."""


class Damaged(Exception):  # noqa: N818
    """A file that is not what it should be; `reason` is a few words, without anything of its content."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def check_name(name: str, content: bytes) -> None:
    """Raises Damaged."""
    if hashlib.sha256(content).hexdigest() != name:
        raise Damaged("empty" if not content else "its content is not what its name says")
