"""Where the configuration is, and the environment it is read in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from restic_monitor.config import credentials
from restic_monitor.config.sources import read_text
from restic_monitor.environment import Layer, parse_environment_file
from restic_monitor.errors import UsageError

SYSTEM_PATH = Path("/etc/restic-monitor/config.yaml")
ENVIRONMENT_PATH = Path("/etc/restic-monitor/environment")
"""Read with it."""


def environment_layers(process: Mapping[str, str], environment_file: str | None) -> tuple[Layer, ...]:
    """The process environment and, on top, the environment file, if one is named. Raises UsageError."""
    layer = Layer("the environment", process, inherited=True)
    if environment_file:
        return (layer, _environment_file(environment_file, process, "--environment-file: "))
    if named := process.get("RESTIC_MONITOR_ENVIRONMENT_FILE"):
        return (layer, _environment_file(named, process, "$RESTIC_MONITOR_ENVIRONMENT_FILE: "))
    return (layer,)


def default_environment(config: Path) -> Layer | None:
    """The environment file that belongs to the system's configuration, where it is there: what the service gets is what who
    looks by hand gets. Raises UsageError."""
    if config != SYSTEM_PATH or not os.path.lexists(ENVIRONMENT_PATH):
        return None
    return _environment_file(str(ENVIRONMENT_PATH), {}, "")


def _environment_file(named: str, process: Mapping[str, str], how: str) -> Layer:
    called = credentials.of(process).original(Path(named))
    try:
        variables = parse_environment_file(read_text(Path(named), called))
    except ValueError as error:
        text = str(error)
        raise UsageError(f"{how}{text if text.startswith('cannot') else f'{called}, {text}'}") from None
    return Layer(f"the environment file {called}", variables, inherited=True)


def effective(layers: tuple[Layer, ...]) -> dict[str, str]:
    """What the program itself sees: the layers on top of each other, nothing left out."""
    return {name: value for layer in layers for name, value in layer.variables.items() if value is not None}


def find(option: str | None, environment: Mapping[str, str]) -> tuple[Path, str]:
    """The configuration file to read, and what named it: --config, $RESTIC_MONITOR_CONFIG, or "" for the user's and the
    system's. Raises UsageError.

    A place that was named, or that holds a file, is the one: an unreadable file is no reason to look further.
    """
    if option is not None:
        return named(option), "--config"
    if environment.get("RESTIC_MONITOR_CONFIG"):
        return Path(environment["RESTIC_MONITOR_CONFIG"]), "$RESTIC_MONITOR_CONFIG"
    places = [place for place in (user_path(environment), SYSTEM_PATH) if place]
    for place in places:
        if _is_there(place):
            return place, ""
    looked = ", ".join(map(str, places))
    message = f"no configuration found; looked at --config, $RESTIC_MONITOR_CONFIG, {looked}."
    if os.path.exists("config.yaml"):
        raise UsageError(f"{message}\n./config.yaml is never read by itself; if it is yours: --config config.yaml")
    raise UsageError(f"{message}\nWrite a first one with: restic-monitor init")


def named(option: str) -> Path:
    """--config as a path. An empty one ($UNSET) is not taken for none: another file would be read. Raises UsageError."""
    if not option:
        raise UsageError("--config names no file; is the variable behind it set?")
    return Path(option)


def user_path(environment: Mapping[str, str]) -> Path | None:
    """$XDG_CONFIG_HOME/restic-monitor/config.yaml, with ~/.config where that is not set; None without a home.

    A relative $XDG_CONFIG_HOME is ignored, as its specification says: it would read from wherever we were started.
    """
    home = environment.get("XDG_CONFIG_HOME", "")
    if not Path(home).is_absolute():
        folder = environment.get("HOME") or _home_of_this_user()
        home = str(Path(folder, ".config")) if folder else ""
    return Path(home, "restic-monitor", "config.yaml") if home else None


def _home_of_this_user() -> str:
    """As passwd has it: cron jobs and systemd's units may run without $HOME."""
    try:
        return str(Path.home())
    except RuntimeError:
        return ""


def default_path(environment: Mapping[str, str]) -> Path:
    """Where `init` writes: the system's place for root, else the user's."""
    if environment.get("RESTIC_MONITOR_CONFIG"):
        return Path(environment["RESTIC_MONITOR_CONFIG"])
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    return SYSTEM_PATH if root else user_path(environment) or SYSTEM_PATH


def _is_there(place: Path) -> bool:
    """Also true for what cannot be looked at: reading it then says why."""
    try:
        place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
