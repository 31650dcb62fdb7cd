"""script/demo.py, run as script/demo runs it: the program, restic and the stand-in for Uptime Kuma are real."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from restics import CHECKOUT, require

LIMIT_SECONDS = 20
HOSTILE = {
    "RESTIC_REPOSITORY": "/nowhere",
    "RESTIC_PASSWORD_COMMAND": "false",
    "RESTIC_MONITOR_CONFIG": "/nowhere.yaml",
    "RESTIC_HOST": "somebody",
    "http_proxy": "http://127.0.0.1:9",
    "TZ": "Asia/Tokyo",
}


def demo(restic: Path | None, tmp_path: Path, more: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Its temporary folder is in tmp_path/tmp; without a restic PATH is a folder without one."""
    (tmp_path / "tmp").mkdir()
    path = f"{restic.parent}:/usr/bin:/bin" if restic else str(tmp_path)
    return subprocess.run(
        [sys.executable, "script/demo.py"],
        cwd=CHECKOUT,
        env={"PATH": path, "TMPDIR": str(tmp_path / "tmp"), **(more or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )


def received(stdout: str) -> dict[str, tuple[str, str]]:
    """Monitor → status and message, from the table of what Uptime Kuma received."""
    rows = re.findall(r"^  (\S+) +(up|down) +\d+ ms  (.*)$", stdout.partition("What Uptime Kuma received:")[2], re.MULTILINE)
    return {monitor: (status, msg) for monitor, status, msg in rows}


@pytest.mark.parametrize("version", ["0.14", "0.19"])
def test_demo_shows_a_fresh_a_stale_and_an_unreachable_repository_whatever_the_users_environment_holds(
    version: str, tmp_path: Path
) -> None:
    done = demo(require(f"restic-{version}"), tmp_path, HOSTILE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    beats = received(done.stdout)
    assert {monitor: (status, msg.split()[0]) for monitor, (status, msg) in beats.items()} == {
        "web-server": ("up", "OK"),
        "db-server": ("down", "STALE"),
        "offsite": ("down", "UNREACHABLE"),
    }
    for status, (monitor, (_, msg)) in zip(("UP", "DOWN", "UNKNOWN"), beats.items(), strict=True):
        row = rf"^{status} +{monitor} +{re.escape(msg)}(  \[.*])?$"
        assert re.search(row, done.stdout, re.MULTILINE), "the program's own table"
    assert f"made with restic {version}." in done.stdout
    assert "(exit status 1)" in done.stdout
    assert list((tmp_path / "tmp").iterdir()) == []


def test_demo_on_a_terminal_has_colours(tmp_path: Path) -> None:
    restic = require("restic-0.14")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "script/demo.py"],
        cwd=CHECKOUT,
        env={"PATH": f"{restic.parent}:/usr/bin:/bin", "TMPDIR": str(tmp_path), "TERM": "xterm-256color", "COLUMNS": "120"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # the other end is closed: Linux says EIO
        pass
    finally:
        os.close(ours)
    assert process.wait(LIMIT_SECONDS) == 0
    text = shown.decode()
    assert re.search(r"\x1b\[32mUP *\x1b\[0m +web-server", text), "green"
    assert re.search(r"\x1b\[1;31mDOWN *\x1b\[0m +db-server", text), "bold red"


def test_demo_without_restic_says_so_in_a_sentence(tmp_path: Path) -> None:
    done = demo(None, tmp_path)
    assert done.returncode == 1
    assert done.stderr == "\ndemo: restic is not here; script/demo gets everything that is needed\n"


def test_demo_fails_when_the_program_does_not_find_what_it_should(tmp_path: Path) -> None:
    """A restic that ignores --time makes the stale repository a fresh one."""
    restic = tmp_path / "bin" / "restic"
    restic.parent.mkdir()
    restic.write_text(
        f"""#!{sys.executable}
import os, sys
arguments = sys.argv[1:]
if "--time" in arguments:
    at = arguments.index("--time")
    del arguments[at:at + 2]
os.execv({str(require("restic-0.14"))!r}, ["restic", *arguments])
"""
    )
    restic.chmod(0o755)
    done = demo(restic, tmp_path)
    assert done.returncode == 1
    assert "demo: db-server should have got one heartbeat, down with \"STALE …\", and got [('up', 'OK newest " in done.stderr
    assert list((tmp_path / "tmp").iterdir()) == []


def test_demo_that_is_terminated_leaves_nothing_behind(tmp_path: Path) -> None:
    restic = require("restic")
    process = subprocess.Popen(
        [sys.executable, "script/demo.py"],
        cwd=CHECKOUT,
        env={"PATH": f"{restic.parent}:/usr/bin:/bin", "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
    )
    end = time.monotonic() + LIMIT_SECONDS
    while not list(tmp_path.glob("restic-monitor-demo-*/index.html")):
        assert time.monotonic() < end, "it made no folder"
        time.sleep(0.05)
    process.terminate()
    assert process.wait(LIMIT_SECONDS) == 143
    assert list(tmp_path.iterdir()) == []
