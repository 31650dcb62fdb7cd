"""Ways to look at a repository: with the probe, with the whole program; and programs that answer as some restic did."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conftest import Completed, Run
from restic_monitor.model import Observation, ProbeError
from restic_monitor.probes.restic import Restic
from restic_monitor.secret import Redactor, Secret
from restics import PASSWORD

TOKEN = "T0kenOfTheMonitor"
URL = "s3:https://s3.example.com/backups"


def fake_restic(path: Path, stdout: bytes = b"", stderr: bytes = b"", end: str = "exit 0") -> Path:
    """A program at `path` that prints this, then does `end`, in the language of sh. Its process id is in `pid_of(path)`."""
    path.with_suffix(".stdout").write_bytes(stdout)
    path.with_suffix(".stderr").write_bytes(stderr)
    name = shlex.quote(str(path.with_suffix("")))
    return script(path, f"#!/bin/sh\necho $$ >{name}.pid\ncat {name}.stdout\ncat {name}.stderr >&2\n{end}\n")


def reporting_restic(path: Path) -> Path:
    """A program that answers `[]` and reports its arguments, environment, streams and terminal: `reports_of(path)`."""
    return script(path, f"#!{sys.executable} -IS\n" + _REPORT)


_REPORT = """
import json, os, sys
try:
    terminal = bool(os.open("/dev/tty", os.O_RDWR))
except OSError:
    terminal = False
report = {
    "arguments": sys.argv[1:],
    "environment": dict(os.environ),
    "stdin": sys.stdin.read(),
    "terminal": terminal,
    "handed": {name: open(value).read() for name, value in os.environ.items() if value.startswith("/dev/fd/")},
    "leads": [os.getpgid(0) == os.getpid(), os.getsid(0) == os.getpid()],
    "files": [f for f in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + f)],
}
with open(sys.argv[0] + ".report", "a") as file:
    file.write(json.dumps(report) + "\\n")
print("[]")
"""


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def pid_of(program: Path) -> int:
    return int(program.with_suffix(".pid").read_text())


def reports_of(program: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(f"{program}.report").read_text().splitlines()]


def is_alive(pid: int) -> bool:
    """A zombie is not: where nobody reaps orphans, as in some containers, it stays for ever."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_gone(pid: int, within_seconds: float = 2.0) -> bool:
    """SIGKILL takes a moment."""
    end = time.monotonic() + within_seconds
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not is_alive(pid)


def a_snapshot(time: str, id: str = "a1b2c3d4" * 8, **fields: object) -> dict[str, object]:  # noqa: A002
    """As restic prints it; a field that is None is left out."""
    everything = {"time": time, "tree": "0" * 64, "paths": ["/srv"], "hostname": "web1", "username": "root", "id": id, **fields}
    return {name: value for name, value in {**everything, "short_id": id[:8]}.items() if value is not None}


def listing(snapshots: Iterable[Mapping[str, object]]) -> bytes:
    return json.dumps(list(snapshots)).encode() + b"\n"


# With the probe


def probe(program: Path, url: str = URL, flags: Sequence[str] = (), secrets: Sequence[str] = (), **environment: str) -> Restic:
    """Looks without a cache. `environment` replaces, or with an empty value removes, what stands in it otherwise."""
    everything = {"PATH": os.environ["PATH"], "RESTIC_PASSWORD": PASSWORD, "RESTIC_REPOSITORY": url, **environment}
    return Restic(
        name="web",
        program=str(program),
        shown_url=url,
        flags=("--no-cache", *flags),
        environment={name: value for name, value in everything.items() if value},
        redact=Redactor(tuple(map(Secret, secrets))),
    )


def look(restic: Restic, seconds: float = 30) -> Observation:
    return restic.observe(time.monotonic() + seconds)


def failure(restic: Restic, seconds: float = 30) -> tuple[str, str]:
    """The state word and the reason of a look that must fail."""
    with pytest.raises(ProbeError) as error:
        look(restic, seconds)
    return str(error.value.code), error.value.message


# With the whole program


@dataclass(frozen=True)
class Outcome:
    """A run of one repository: its line in the JSON, the exit status, and all that was printed."""

    result: Mapping[str, Any]
    completed: Completed

    @property
    def status(self) -> str:
        return str(self.result["status"])

    @property
    def message(self) -> str:
        return str(self.result["message"])


def run_on(
    run: Run, url: str | Path, restic: Path, *options: str, env: Mapping[str, str] | None = None, **keys: object
) -> Outcome:
    """`restic-monitor run --format json` on one repository, called `web`; `keys` are further ones of the configuration. restic
    looks, unless they say otherwise."""
    config = run.home / "config.yaml"
    block = {"url": str(url), "restic": str(restic), "mode": "restic", **keys}
    config.write_text(json.dumps({"repositories": {"web": block}}))
    config.chmod(0o600)
    completed = run("run", "--config", config, "--format", "json", *options, env={"RESTIC_PASSWORD": PASSWORD, **(env or {})})
    assert completed.stdout, completed.stderr
    (result,) = json.loads(completed.stdout)["results"]
    return Outcome(result, completed)
