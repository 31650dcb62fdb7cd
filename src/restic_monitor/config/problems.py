"""Every mistake of one file, with its place, collected so that all are shown at once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from msgspec import Struct

from restic_monitor.errors import ConfigError


class Place(Struct, frozen=True, order=True):
    """Line and column in the file, both from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Problems:
    """`file` is the name that the messages show."""

    file: str
    found: dict[tuple[Place, str], None] = field(default_factory=dict)

    def add(self, place: Place, path: str, message: str) -> None:
        """`path` is the dotted way to the key, "" for the whole file."""
        where = f"{path}: " if path else ""
        self.found[place, f"{self.file}, line {place.line}: {where}{message}"] = None

    def raise_if_any(self) -> None:
        if self.found:
            raise ConfigError([text for _, text in sorted(self.found, key=lambda entry: entry[0])])


def dotted(path: str, key: str) -> str:
    """One key further; names with dots or blanks in quotes."""
    shown = key if re.fullmatch(r"[\w-]+", key) else repr(key)
    return f"{path}.{shown}" if path else shown
