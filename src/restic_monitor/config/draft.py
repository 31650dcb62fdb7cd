"""What stands in a configuration file, key by key and level by level, before anything outside it is read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from restic_monitor import location
from restic_monitor.config import keys
from restic_monitor.config.keys import Key
from restic_monitor.config.problems import Place, Problems
from restic_monitor.config.sources import Source
from restic_monitor.receivers import uptime_kuma
from restic_monitor.secret import is_secret_name


@dataclass(frozen=True, slots=True)
class Setting:
    """One value as it stands in the file."""

    key: Key
    raw: str | Source = field(repr=False)
    place: Place
    path: str
    default: bool = False
    """It stands in `defaults`."""

    @property
    def origin(self) -> str:
        return f"defaults, line {self.place.line}" if self.default else f"line {self.place.line}"


@dataclass(slots=True)
class Level:
    """The keys of one mapping of the file. `wrong` are those that are noted as a problem already: they are not missing."""

    name: str
    place: Place
    path: str
    default: bool = False
    """It is `defaults`, or stands in it."""
    wrong: set[str] = field(default_factory=set)
    settings: dict[str, Setting] = field(default_factory=dict)
    lists: dict[str, list[Setting]] = field(default_factory=dict)


@dataclass(slots=True)
class Expected(Level):
    """One expectation. `ignore` are the groups that are retired: `settings` host and before, `lists` paths and tags."""

    ignore: list[Level] = field(default_factory=list)

    @property
    def groups(self) -> bool:
        return bool(self.lists.get("group_by"))

    @property
    def host(self) -> Setting | str | None:
        """Where nothing else is asked for, the host has the name."""
        return self.settings.get("host") or (None if self.lists else self.name)

    @property
    def all_settings(self) -> Iterator[Setting]:
        for level in (self, *self.ignore):
            yield from level.settings.values()
            yield from itertools.chain(*level.lists.values())


@dataclass(slots=True)
class Block(Level):
    """`defaults`, or one repository. None in `extra_env` unsets a variable; `expect` is None where it is not set."""

    extra_env: dict[str, Setting | None] = field(default_factory=dict)
    expect: dict[str, Expected] | None = None
    expect_place: Place | None = None


@dataclass(slots=True)
class Draft:
    """A whole file. `folder` is where relative paths start."""

    file: Path
    problems: Problems
    top: dict[str, Setting]
    defaults: Block
    repositories: list[Block]

    @property
    def folder(self) -> Path:
        return self.file.absolute().parent

    def setting(self, block: Block, key: str) -> Setting | None:
        """The value that counts: the repository's, else the default."""
        return block.settings.get(key) or self.defaults.settings.get(key)

    def expected(self, block: Block) -> Mapping[str, Expected]:
        """The repository's expectations, else those of defaults, by name."""
        found = self.defaults.expect if block.expect is None else block.expect
        return found or {}

    def levels(self, block: Block, expected: Expected | None = None) -> tuple[Level, ...]:
        """Where a value may stand, the nearest first."""
        return (*([expected] if expected else []), block, self.defaults)

    def nearest(self, block: Block, expected: Expected | None, *names: str) -> Setting | None:
        """That of these keys which the nearest level names."""
        found = (level.settings.get(name) for level in self.levels(block, expected) for name in names)
        return next(filter(None, found), None)

    def is_wrong(self, block: Block, *names: str) -> bool:
        """Whether one of these keys was to be set, and could not be understood."""
        return any(name in level.wrong for level in (block, self.defaults) for name in names)

    def setting_list(self, block: Block, key: str) -> list[Setting]:
        return block.lists[key] if key in block.lists else self.defaults.lists.get(key, [])

    def enabled(self, block: Block) -> bool:
        setting = self.setting(block, "enabled")
        return setting is None or not is_off(setting)

    def password_settings(self, block: Block) -> list[Setting]:
        """The ways to the password named at the nearest level that names one."""
        own = [block.settings[key] for key in keys.PASSWORDS if key in block.settings]
        if found := [setting for setting in own if not is_off(setting)]:
            return found
        others = [self.defaults.settings.get(key) for key in keys.PASSWORDS if key not in block.settings]
        return [setting for setting in others if setting and not is_off(setting)]

    @property
    def literal_secrets(self) -> bool:
        """Whether a secret stands in the file itself."""
        blocks = [self.defaults, *self.repositories]
        levels = [level for block in blocks for level in (block, *(block.expect or {}).values())]
        return any(_holds_secret(setting) for level in levels for setting in level.settings.values()) or any(
            setting and isinstance(setting.raw, str) and is_secret_name(name)
            for block in blocks
            for name, setting in block.extra_env.items()
        )


def _holds_secret(setting: Setting) -> bool:
    if not isinstance(setting.raw, str):
        return False
    if setting.key.name == "push_url":
        return _holds_token(setting.raw)
    return setting.key.secret or (setting.key.name == "url" and bool(location.passwords(setting.raw)))


def _holds_token(push_url: str) -> bool:
    try:
        return uptime_kuma.address(push_url, None) is not None
    except ValueError:
        return True  # nobody can tell


def is_off(setting: Setting) -> bool:
    """A switch that is off; `draft` has no other values in switches than those that `keys.boolean` knows."""
    return setting.key.parse is keys.boolean and str(setting.raw).lower() in keys.FALSE
