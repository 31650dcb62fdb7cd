"""`--version` and `--help` are typed often, and completion starts the program at every key: neither loads what looks need."""

from __future__ import annotations

import re

import pytest

from conftest import Run

HEAVY = {
    "YAML": {"yaml", "_yaml"},
    "HTTP": {"urllib3", "http", "urllib.request", "socket", "ssl"},
    "cryptography": {"cryptography", "_hashlib", "_ssl"},
    "signing": {"awscrt", "_awscrt"},
    "JSON": {"msgspec"},
    "SQLite": {"sqlite3", "_sqlite3"},
    "terminal": {"rich", "pygments", "curses", "_curses", "readline", "termios"},
}


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_version_and_help_import_no_yaml_http_cryptography_sqlite_or_terminal_library(run: Run, argument: str) -> None:
    done = run(argument, env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert done.returncode == 0, done.stderr
    imported = set(re.findall(r"^import time: .*\| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert {"click", "restic_monitor.cli"} <= imported, done.stderr
    families = imported | {name.partition(".")[0] for name in imported}
    assert {kind: found for kind, names in HEAVY.items() if (found := names & families)} == {}
