"""What stands in a configuration file, key by key and level by level, before anything outside it is read."""

from __future__ import annotations

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
class Block:
    """The keys of `defaults` or of one repository. None in `extra_env` unsets a variable.

    `wrong` are the keys that are noted as a problem already: they are not missing.
    """

    name: str
    place: Place
    default: bool = False
    wrong: set[str] = field(default_factory=set)
    settings: dict[str, Setting] = field(default_factory=dict)
    lists: dict[str, list[Setting]] = field(default_factory=dict)
    extra_env: dict[str, Setting | None] = field(default_factory=dict)


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
        return any(_holds_secret(setting) for block in blocks for setting in block.settings.values()) or any(
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
