"""Files that systemd hands over, and where they came from: systemd.exec(5), LoadCredential=.

PID 1 copies them to $CREDENTIALS_DIRECTORY, for the service alone. $RESTIC_MONITOR_CREDENTIALS lists them as the unit does,
`ID:PATH` with blanks between (quoted as in a shell). It works both ways: a file in that folder is called by its PATH in every
message, and a file that the configuration names by its PATH is read from that folder.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, field

from restic_monitor.errors import UsageError

FOLDER = "CREDENTIALS_DIRECTORY"
LIST = "RESTIC_MONITOR_CREDENTIALS"
_NAME = re.compile(r"[\w.@:-]+")
_IN_TEXT = re.compile(r"\{\s*credential_path\s*:\s*([^{}]*?)\s*\}")


class Credentials(Struct, frozen=True):
    """`places` says by its path where a file is to be read. No `folder`: not started by systemd, or nothing handed over."""

    folder: Path | None = None
    places: Mapping[Path, Path] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    """The other way round, as texts."""

    def place(self, path: Path) -> Path:
        """Where to read a file of this path."""
        return self.places.get(path, path)

    def original(self, path: Path) -> Path:
        """What to call a file: where it came from."""
        return Path(self.names.get(str(path), path))

    def path(self, name: str) -> Path:
        """The file of a credential. Raises ValueError with a sentence for the user."""
        if not self.folder:
            raise ValueError(
                f"the credential {name} needs ${FOLDER}, which systemd sets for a unit with LoadCredential={name}:PATH"
            )
        path = self.folder / name
        if not path.is_file():
            raise ValueError(f"there is no credential {name}; the unit needs LoadCredential={name}:PATH")
        return path

    def in_text(self, text: str) -> str:
        """`{credential_path: NAME}` in a text replaced by the path. Raises ValueError with a sentence for the user."""
        return _IN_TEXT.sub(lambda found: str(self.path(found[1])), text)


def of(environment: Mapping[str, str]) -> Credentials:
    """Raises UsageError for a list that cannot be understood."""
    folder = Path(environment[FOLDER]) if environment.get(FOLDER) else None
    if not folder or not environment.get(LIST):
        return Credentials(folder)
    places = {Path(path): folder / name for name, path in _pairs(environment[LIST])}
    return Credentials(folder, places, {str(place): str(path) for path, place in places.items()})


def _pairs(listed: str) -> list[tuple[str, str]]:
    try:
        pairs = [word.partition(":") for word in shlex.split(listed)]
    except ValueError:
        raise UsageError(f"${LIST} has a quote without an end; write ID:PATH, with blanks between them") from None
    for name, _, path in pairs:
        if not is_name(name) or not Path(path).is_absolute():
            raise UsageError(f"${LIST} is a list of ID:PATH with blanks between them, and {name!r} is none")
    return [(name, path) for name, _, path in pairs]


def is_name(name: str) -> bool:
    """Whether a credential may be called so: one file name, without a path."""
    return bool(_NAME.fullmatch(name)) and name not in (".", "..")


def check_text(text: str) -> None:
    """The names in a text. Raises ValueError with a sentence for the user."""
    for found in _IN_TEXT.finditer(text):
        check_name(found[1])


def check_name(name: str) -> None:
    """Raises ValueError with a sentence for the user."""
    if not is_name(name):
        raise ValueError(f"{name!r} is not the name of a credential; it is one in ${FOLDER}, without a path")
