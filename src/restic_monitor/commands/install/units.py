"""The systemd units with an installation's own paths in them. Pure, but for reading the files in `units/` of the package.

Those are valid as they stand, for a program in /usr/bin. Source of the quoting: systemd.syntax(7), systemd.unit(5)
"SPECIFIERS", systemd.service(5) "COMMAND LINES", systemd.exec(5).
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence
from datetime import timedelta
from importlib import resources
from pathlib import Path

from msgspec import Struct

from restic_monitor.config.credentials import LIST
from restic_monitor.errors import UsageError
from restic_monitor.quantity import format_duration

SERVICE, TIMER, USER = "restic-monitor.service", "restic-monitor.timer", "restic-monitor.conf"
NAME = "restic-monitor"
PATHS = (Path("/etc/systemd/system", SERVICE), Path("/etc/systemd/system", TIMER), Path("/etc/sysusers.d", USER))
_LIST_LIMIT_BYTES = 120_000
"""One variable of an environment may have 128 KiB: MAX_ARG_STRLEN of <linux/binfmts.h>."""
MARK = "# Written by restic-monitor install-units, which writes it anew"
_CREDENTIALS = re.compile(r'^LoadCredential=.*\n(?:#.*\n)*Environment="RESTIC_MONITOR_CREDENTIALS=.*\n', re.MULTILINE)


class Installation(Struct, frozen=True):
    """`command` starts the program; `files` are handed over besides the configuration, `folders` made visible."""

    command: Sequence[str]
    config: Path
    environment_file: Path | None
    files: Sequence[Path]
    folders: Sequence[Path]
    intervals: Sequence[str]
    limit: timedelta

    @property
    def credentials(self) -> dict[str, Path]:
        """By their ids. A digest makes those of two files of the same name differ: systemd would take the last for both."""
        environment = {"environment": self.environment_file} if self.environment_file else {}
        return {"config.yaml": self.config, **environment, **{_id(path): path for path in self.files}}

    def texts(self) -> dict[Path, str]:
        """What to write where."""
        texts = (self._service(), self._timer(), _packaged(USER))
        hints = (f"; your changes: systemctl edit {SERVICE}", f"; your changes: systemctl edit {TIMER}", "")
        return {path: f"{MARK}{hint}\n{text}" for path, hint, text in zip(PATHS, hints, texts, strict=True)}

    def _service(self) -> str:
        words = [*self.command, "run", "--ok-when-told", "--config", "%d/config.yaml"]
        text = _with(_packaged(SERVICE), "ExecStart", " ".join(_word(word) for word in words))
        text = _with(text, "TimeoutStartSec", format_duration(self.limit).replace("m", "min"))
        return _CREDENTIALS.sub(lambda found: self._handed_over(), text)

    def _handed_over(self) -> str:
        credentials = self.credentials
        lines = [f"LoadCredential={name}:{_source(path)}" for name, path in credentials.items()]
        listed = " ".join(shlex.quote(f"{name}:{path}") for name, path in credentials.items())
        if len(listed.encode()) > _LIST_LIMIT_BYTES:
            raise UsageError(
                f"the configuration names {len(self.files)} files, too many for one unit; write tokens and passwords into the "
                "configuration itself: systemd hands it over in one piece, and it may be root's alone"
            )
        lines += ["# Where each comes from: messages name it, and the program finds it by that name, too"]
        lines += [f"Environment={_quoted(f'{LIST}={listed}')}"]
        if self.environment_file:
            lines += ["Environment=RESTIC_MONITOR_ENVIRONMENT_FILE=%d/environment"]
        if self.folders:
            lines += ["", "# Repositories that would be hidden; - where one is gone the run is to tell, not to fail"]
            lines += [f"BindReadOnlyPaths={_quoted(f'-{path}')}" for path in self.folders]
        return "\n".join(lines) + "\n"

    def _timer(self) -> str:
        return _with(_packaged(TIMER), "OnCalendar", *self.intervals)


def _id(path: Path) -> str:
    name = re.sub(r"[^\w.-]", "_", path.name, flags=re.ASCII)
    return f"{name}-{hashlib.sha256(bytes(path)).hexdigest()[:8]}"


def _packaged(name: str) -> str:
    return (resources.files("restic_monitor") / "units" / name).read_text(encoding="utf-8")


def _with(text: str, key: str, *values: str) -> str:
    """The unit with other values of a key."""
    changed, count = re.subn(
        rf"^{key}=.*$", lambda _: "\n".join(f"{key}={value}" for value in values), text, flags=re.MULTILINE
    )
    assert count == 1, key
    return changed


def _source(path: Path) -> str:
    """A path of LoadCredential=, which takes no `..`. Raises UsageError for what a unit cannot hold."""
    text = str(path.resolve() if ".." in path.parts else path)
    if not text.isprintable() or text != text.strip() or text.endswith("\\"):
        raise UsageError(f"a unit cannot name the file {text!r}; give it another name")
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """One word, in quotes. A % is a character."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _word(word: str) -> str:
    """A word of a command line, its specifier %d kept."""
    if re.fullmatch(r"[\w/.:=@%-]+", word, re.ASCII) and "%" not in word.removeprefix("%d"):
        return word
    return _quoted(word).replace("$", "$$")
