"""What every command does first: logs, environment, configuration."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from msgspec import Struct

from restic_monitor.config import credentials, find, modes, reader
from restic_monitor.config.build import Builder
from restic_monitor.environment import Layer
from restic_monitor.errors import UsageError
from restic_monitor.monitor import Monitor
from restic_monitor.state import State

log = logging.getLogger("restic_monitor")
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class Common(Struct, frozen=True):
    """Options of every command."""

    config: str | None = None
    environment_file: str | None = None
    verbose: int = 0
    quiet: bool = False
    mode: str | None = None


class _Handler(logging.Handler):
    """To what is standard error now (the live table replaces it for a while); to the journal with priorities, sd-daemon(3)."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if self._journal:
            text = "\n".join(f"<{_PRIORITIES.get(record.levelno, 6)}>{line}" for line in text.splitlines())
        elif record.levelno >= logging.WARNING:
            text = f"restic-monitor: {record.levelname.lower()}: {text}"
        print(text, file=sys.stderr, flush=True)


def set_up_logs(verbose: int, *, quiet: bool) -> None:
    level = logging.ERROR if quiet else [logging.WARNING, logging.INFO, logging.DEBUG][min(verbose, 2)]
    log.setLevel(level)
    log.handlers = [_Handler(journal=to_the_journal(sys.stderr, os.environ))]
    log.propagate = False


def to_the_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether a stream is connected to systemd's journal: $JOURNAL_STREAM is its device:inode, systemd.exec(5)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def environment_layers(common: Common) -> tuple[Layer, ...]:
    """Raises UsageError when the environment file cannot be read."""
    layers = find.environment_layers(os.environ, common.environment_file)
    _check_mode(layers[1:])
    return layers


def _check_mode(files: Sequence[Layer]) -> None:
    for layer in files:
        path = layer.origin.removeprefix("the environment file ")
        _warn_if_readable(path, "an environment file usually holds secrets")


def load(common: Common) -> Builder:
    """Find and read the configuration. Raises UsageError; mistakes in the file are in `builder.draft.problems`."""
    layers = environment_layers(common)
    environment = find.effective(layers)
    place, named = find.find(common.config, environment)
    file = credentials.of(environment).original(place)
    log.info("configuration: %s", file)
    if len(layers) == 1:
        layers = (*layers, *_default_environment(file))
    modes.fast(find.effective(layers))
    try:
        builder = Builder(reader.read(file, place), layers, common.mode)
    except UsageError as error:
        raise UsageError(f"{named}: {error}" if named else str(error)) from None
    if builder.draft.literal_secrets:
        _warn_if_readable(str(file), "it holds secrets")
    return builder


def _default_environment(config: Path) -> tuple[Layer, ...]:
    """Raises UsageError for one with a mistake; one that may not be read may be somebody else's business."""
    if config == find.SYSTEM_PATH and os.path.lexists(find.ENVIRONMENT_PATH) and not os.access(find.ENVIRONMENT_PATH, os.R_OK):
        log.warning(
            "%s belongs to this configuration and cannot be read; the service gets it by install-units, as root "
            "(on NixOS: environmentFile)",
            find.ENVIRONMENT_PATH,
        )
        return ()
    layer = find.default_environment(config)
    _check_mode([layer] if layer else [])
    return (layer,) if layer else ()


def close(state: State) -> tuple[str, ...]:
    """What is wrong with the state file is a warning, no reason to end a run."""
    state.close()
    for warning in state.warnings:
        log.warning("%s", warning)
    return tuple(state.warnings)


def report_bugs(monitor: Monitor) -> int:
    """Say where the program itself failed; 70 when it did, else 0."""
    for bug in monitor.bugs:
        log.error("internal error: %s; please report it", bug)
    return 70 if monitor.bugs else 0


def _warn_if_readable(path: str, why: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if os.name == "posix" and mode & 0o004:
        log.warning("%s can be read by every user of this machine, and %s: chmod 600 %s", path, why, path)
