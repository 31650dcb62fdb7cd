"""A desk for trying the program: a configuration, and a restic that does what the test says, one script a repository.

Real restic is slow to ask 200 times, and what it says is known: other tests run the real one.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from conftest import Completed, Run

VERSION = "restic 0.19.1 compiled with go1.26.4 on linux/amd64"
PASSWORD = "a password nobody needs"
_SUMMARY = {"summary": {"total_files_processed": 12_000, "total_bytes_processed": 3_000_000_000}}


def listing(*ages: timedelta, host: str = "web1") -> str:
    """A script that prints a list of snapshots, as restic does. `configure` makes moments of the ages."""
    records = [
        {"id": f"a1b2c3d4{number:056x}", "time": f"@{age.total_seconds()}@", "hostname": host, "paths": ["/srv"], **_SUMMARY}
        for number, age in enumerate(ages)
    ]
    return f"echo {shlex.quote(json.dumps(records))}\n"


def _dated(script: str) -> str:
    now = datetime.now(UTC)
    return re.sub(r"@(-?[\d.]+)@", lambda age: (now - timedelta(seconds=float(age[1]))).isoformat(), script)


FRESH = listing(timedelta(hours=3))
STALE = listing(timedelta(days=2, hours=4))
EMPTY = "echo '[]'\n"
FUTURE = listing(timedelta(hours=1), -timedelta(hours=1))
WRONG_PASSWORD = "echo 'Fatal: wrong password or no key found' >&2; exit 12\n"
NO_SUCH_HOST = "echo 'Fatal: unable to open config file: dial tcp: lookup s3.example.com: no such host' >&2; exit 1\n"
ASLEEP = "exec sleep 60\n"


class Desk:
    def __init__(self, run: Run) -> None:
        self._run = run
        self.home = run.home
        self.folder = run.home.parent / "desk"
        self.folder.mkdir()
        self.config = self.folder / "config.yaml"
        self.restic = self.folder / "restic"
        self.restic.write_text(
            f'#!/bin/sh\nif [ "$1" = version ]; then echo "{VERSION}"; exit; fi\n'
            f'name=${{RESTIC_REPOSITORY##*/}}\n. {shlex.quote(str(self.folder))}/"$name.sh"\n'
        )
        self.restic.chmod(0o755)

    def configure(
        self,
        scripts: Mapping[str, str],
        tokens: Mapping[str, str] | None = None,
        push_url: str | None = None,
        repositories: Mapping[str, Mapping[str, Any]] | None = None,
        defaults: Mapping[str, Any] | None = None,
        **top: Any,
    ) -> Path:
        """Write the configuration: a repository for each script (JSON is YAML). `top` are top-level keys."""
        blocks: dict[str, dict[str, Any]] = {}
        for number, (name, script) in enumerate(scripts.items()):
            (self.folder / f"r{number}.sh").write_text(_dated(script))
            token = (tokens or {}).get(name)
            given = dict((repositories or {}).get(name, {}))
            blocks[name] = {"url": f"/repositories/r{number}", **({"push_token": token} if token else {}), **given}
        common = {
            "mode": "restic",
            "restic": str(self.restic),
            "password": PASSWORD,
            **({"push_url": push_url} if push_url else {}),
        }
        document = {**top, "defaults": {**common, **(defaults or {})}, "repositories": blocks}
        self.config.write_text(json.dumps(document, indent=1, ensure_ascii=False))
        self.config.chmod(0o600)
        return self.config

    def __call__(self, *arguments: str | Path, **options: Any) -> Completed:
        return self._run("-c", self.config, *arguments, **options)
