"""Which way a repository is looked at: what decides it, and what each mode means. Nothing secret is read here."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from restic_monitor import location
from restic_monitor.config import keys
from restic_monitor.config.draft import Block
from restic_monitor.config.storages import unlistable
from restic_monitor.config.values import Values
from restic_monitor.errors import UsageError

DEFAULT = "auto"
WITHOUT_PASSWORD = ("fast", "listing")
_MAYBE_WITHOUT_TIMES = ("rest", "rclone")
"""Schemes: only a look shows whether the store tells the times of its files."""


def chosen(mode: str | None, values: Values, block: Block) -> tuple[str, str]:
    """The mode of a repository and where it comes from: --mode, the repository, defaults, RESTIC_MONITOR_FAST, auto."""
    if mode:
        return mode, "--mode"
    if (setting := values.draft.setting(block, "mode")) and (written := values.value(setting, block.name)):
        return str(written), setting.origin
    return ("fast", "RESTIC_MONITOR_FAST") if fast(values.environment) else (DEFAULT, "default")


def by_restic_alone(mode: str) -> bool:
    """The storage is not asked by ourselves."""
    return mode == "restic"


def natively(mode: str, password: bool) -> bool:
    """By our own reader, where the storage can be listed: `auto` falls back on restic elsewhere, `native` insists on it."""
    return mode == "native" or (mode == "auto" and password)


def by_restic_otherwise(mode: str, password: bool, url: str) -> bool:
    """restic stands ready in case that the listing shows no times."""
    return mode == "fast" and password and location.scheme(url) in _MAYBE_WITHOUT_TIMES


def foretold(mode: str, password: bool, url: str | None, environment: Collection[str]) -> str | None:
    """How a repository will be looked at, in words. `environment` are the names of its variables; `url` is None when it does
    not stand in the file. None when that cannot be told."""
    if by_restic_alone(mode):
        return "restic"
    if not url:
        return None
    try:
        reason = unlistable(location.parse(url), environment)
    except ValueError:
        return None
    if reason:
        return None if mode in ("listing", "native") else f"restic ({reason})"
    if natively(mode, password):
        return "our own reader (native)"
    return "a listing, or restic if it shows no times" if by_restic_otherwise(mode, password, url) else "a listing"


def fast(environment: Mapping[str, str]) -> bool:
    """RESTIC_MONITOR_FAST. Raises UsageError for a value that is no boolean."""
    value = environment.get("RESTIC_MONITOR_FAST", "").strip().lower()
    if value in keys.TRUE or value == "1":
        return True
    if value in keys.FALSE or value in ("", "0"):
        return False
    raise UsageError(f"RESTIC_MONITOR_FAST is {value!r}, which is neither true nor false; write true, or remove it")
