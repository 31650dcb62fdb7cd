"""How the service starts this program, and what it could not get at: systemd hides /home and /root from it."""

from __future__ import annotations

import stat
import subprocess
import sys
import sysconfig
from pathlib import Path

from restic_monitor.commands.install.units import NAME
from restic_monitor.errors import UsageError

HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108 - compared, not used
"""Folders that the service does not see: ProtectHome=, PrivateTmp=."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
"""Of a service: systemd.exec(5), "Environment Variables in Spawned Processes"."""
_REMEDY = """\
Install it where every user may run it, for instance:
  /usr/bin/python3 -m venv /opt/restic-monitor
  /opt/restic-monitor/bin/pip install restic-monitor
  /opt/restic-monitor/bin/restic-monitor install-units
With uv or pipx: docs/systemd.md of the project."""


def command() -> tuple[str, ...]:
    """How the service starts this program. Raises UsageError where it could not (203/EXEC, and nobody is told)."""
    scripts = (Path(sys.argv[0]), Path(sysconfig.get_path("scripts"), NAME))
    places = [
        place for script in scripts for place in (script.absolute(), script.resolve()) if place.name == NAME and place.is_file()
    ]
    needed = [Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve(), Path(__file__).resolve()]
    if problem := next(filter(None, map(unreachable, needed)), None):
        raise UsageError(f"the service could not start this program: {problem}.\n{_REMEDY}")
    reachable = [place for place in places if not unreachable(place)]
    words = (str(reachable[0]),) if reachable else (sys.executable, "-m", "restic_monitor")
    tried = subprocess.run([*words, "--version"], env={"PATH": PATH}, cwd="/", capture_output=True, text=True, check=False)
    if tried.returncode:
        last = (tried.stderr.strip().splitlines() or [f"exit status {tried.returncode}"])[-1]
        raise UsageError(f"the service could not start this program without the variables of this shell: {last}.\n{_REMEDY}")
    return words


def unreachable(path: Path) -> str | None:
    """Why a service of another user cannot get at a file, in words."""
    for place in (path, path.resolve()):
        if hidden := next((folder for folder in HIDDEN if place.is_relative_to(folder)), None):
            return f"{place} is below {hidden}, which is hidden from it"
        for folder in (place, *place.parents):
            if _closed(folder):
                return f"{folder} is closed to other users (chmod o+rX)"
    return None


def _closed(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return True
    return not mode & (stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH)
