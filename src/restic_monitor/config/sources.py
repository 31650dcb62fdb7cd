"""Where a value may come from instead of standing in the file: a file, the environment, a systemd credential."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from restic_monitor.config import credentials, keys
from restic_monitor.config.credentials import Credentials
from restic_monitor.config.keys import Context

_LIMIT_BYTES = 1 << 20


class Source(Struct, frozen=True):
    """`{from_file: PATH}`, `{from_env: VAR}` or `{from_credential: NAME}`; `{credential_path: NAME}` is where that file is."""

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
        elif self.kind in ("from_credential", "credential_path"):
            credentials.check_name(self.name)

    @property
    def is_path(self) -> bool:
        """What it gives is the name of a file, which is no secret."""
        return self.kind == "credential_path"

    def read(self, context: Context, environment: Mapping[str, str], handed: Credentials) -> str:
        """The text, without line ends at its end. Raises ValueError with a sentence for the user."""
        if self.kind == "from_env":
            if self.name not in environment:
                raise ValueError(f"the environment variable {self.name} is not set")
            return environment[self.name]
        if self.kind == "from_file":
            path = Path(keys.path(self.name, context))
            return read_text(handed.place(path), path).rstrip("\r\n")
        path = handed.path(self.name)
        return str(path) if self.is_path else read_text(path, handed.original(path)).rstrip("\r\n")


def read_text(path: Path, called: Path | None = None) -> str:
    """A small text file. Raises ValueError with a sentence that has the path, or what it is `called`."""
    called = called or path
    try:
        with path.open("rb") as file:
            content = file.read(_LIMIT_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot read {called}: {(error.strerror or 'unreadable').lower()}") from error
    if len(content) > _LIMIT_BYTES:
        raise ValueError(f"{called} is larger than 1 MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{called} is not UTF-8 text") from None
