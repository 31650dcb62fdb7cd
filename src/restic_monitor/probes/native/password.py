"""The password, read when a key is to be derived: the moment it is needed, and as restic reads it.

Source: restic's internal/global/global.go (resolvePassword, loadPasswordFromFile) and internal/textfile.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from restic_monitor.model import Code, ProbeError, one_line, shorten
from restic_monitor.secret import Redactor

_FILE_LIMIT_BYTES = 1024 * 1024
_REASON_LIMIT = 100
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


@dataclass(frozen=True, slots=True)
class Password:
    """`environment` is what restic would get; one of its three variables says where the password is. `none`: it is empty on
    purpose."""

    environment: Mapping[str, str] = field(repr=False)
    redact: Redactor = field(repr=False)
    none: bool = False

    def reveal(self, deadline: float) -> bytes:
        """Raises ProbeError."""
        if self.none:
            return b""
        if command := self.environment.get("RESTIC_PASSWORD_COMMAND"):
            password = self._of_command(command, deadline).strip()
        elif path := self.environment.get("RESTIC_PASSWORD_FILE"):
            password = self._of_file(path)
        else:
            password = os.fsencode(self.environment.get("RESTIC_PASSWORD", ""))
        if not password:
            raise ProbeError(Code.ERROR, "the password is empty")
        return password

    @property
    def hint(self) -> str:
        """The beginning of the name of the key that it opens, "" where nobody says."""
        return self.environment.get("RESTIC_KEY_HINT", "")

    def _of_file(self, path: str) -> bytes:
        try:
            with Path(path).open("rb") as file:
                content = file.read(_FILE_LIMIT_BYTES)
        except OSError as error:
            shown = self.redact(path)
            raise ProbeError(
                Code.ERROR, f"the password file {shown} cannot be read: {(error.strerror or '').lower()}"
            ) from None
        for mark, encoding in _MARKS:
            if content.startswith(mark):
                return content[len(mark) :].decode(encoding, "replace").strip().encode()
        return content.decode("utf-8", "surrogateescape").strip().encode("utf-8", "surrogateescape")

    def _of_command(self, command: str, deadline: float) -> bytes:
        from restic_monitor import process  # noqa: PLC0415 - for who uses it

        try:
            argv = process.split(command)
            ended = process.run(argv, {**self.environment}, deadline)
        except (OSError, ValueError, IndexError) as error:
            reason = getattr(error, "strerror", None) or "it is no command line"
            raise ProbeError(Code.ERROR, f"password_command, or RESTIC_PASSWORD_COMMAND, failed: {reason.lower()}") from None
        if ended.why == "exit" and ended.status == 0:
            return ended.stdout
        said = next((line for line in reversed(ended.stderr) if line.strip()), f"exit status {ended.status}")
        reason = "no answer in time" if ended.why == "deadline" else shorten(one_line(self.redact(said)), _REASON_LIMIT)
        raise ProbeError(Code.ERROR, f"password_command, or RESTIC_PASSWORD_COMMAND, failed: {reason}")
