"""Where a value may come from instead of standing in the file: a file, the environment, a systemd credential."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from restic_monitor.config import keys
from restic_monitor.config.keys import Context

_LIMIT_BYTES = 1 << 20
_CREDENTIAL = re.compile(r"[\w.@:-]+")


@dataclass(frozen=True, slots=True)
class Source:
    """`{from_file: PATH}`, `{from_env: VAR}` or `{from_credential: NAME}`."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{{{self.kind}: {self.name}}}"

    def check(self, context: Context) -> None:
        """What can be told without looking anywhere. Raises ValueError with a sentence for the user."""
        if "\0" in self.name:
            raise ValueError(f"{self.kind} holds a NUL character")
        if self.kind == "from_file":
            keys.path(self.name, context)
        elif self.kind == "from_credential" and (not _CREDENTIAL.fullmatch(self.name) or self.name in (".", "..")):
            raise ValueError(
                f"{self.name!r} is not the name of a credential; it is one in $CREDENTIALS_DIRECTORY, without a path"
            )

    def read(self, context: Context, environment: Mapping[str, str]) -> str:
        """The text, without line ends at its end. Raises ValueError with a sentence for the user."""
        if self.kind == "from_env":
            if self.name not in environment:
                raise ValueError(f"the environment variable {self.name} is not set")
            return environment[self.name]
        return read_text(self._path(context, environment)).rstrip("\r\n")

    def _path(self, context: Context, environment: Mapping[str, str]) -> Path:
        if self.kind == "from_file":
            return Path(keys.path(self.name, context))
        folder = environment.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise ValueError(
                f"from_credential: {self.name} needs $CREDENTIALS_DIRECTORY, which systemd sets "
                f"for a unit with LoadCredential={self.name}:PATH"
            )
        return Path(folder, self.name)


def read_text(path: Path) -> str:
    """A small text file. Raises ValueError with a sentence that has the path."""
    try:
        with path.open("rb") as file:
            content = file.read(_LIMIT_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {(error.strerror or 'unreadable').lower()}") from error
    if len(content) > _LIMIT_BYTES:
        raise ValueError(f"{path} is larger than 1 MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
