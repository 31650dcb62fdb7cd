"""The expected failures of the program, each with the exit status it ends in.

    ResticMonitorError
    └── UsageError          2   the command line or the configuration; nothing was looked at
        └── ConfigError     2   every mistake of a configuration file, all at once

A look that fails is a `model.ProbeError`, a push that fails is a `model.Delivery`: both are results, not ends.
"""

from __future__ import annotations


class ResticMonitorError(Exception):
    """Shown to the user as it is, without a traceback."""

    exit_status = 70


class UsageError(ResticMonitorError):
    """Something to correct before the program can start."""

    exit_status = 2


class ConfigError(UsageError):
    """All mistakes of one configuration, one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
