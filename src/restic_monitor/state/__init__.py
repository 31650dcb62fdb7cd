"""What is remembered between runs, in one SQLite file. Safe under several runs at once and under kill -9.

Losing it is nearly harmless by design: a repository without a past is looked at as if for the first time, which makes none UP
whose files are listed. With the password one lie is believed then: a `rewrite --new-time` of a snapshot without a summary. So
a commit need not survive a power cut (WAL, synchronous=NORMAL), and whatever is wrong with the file is a warning of the run.
"""

from __future__ import annotations

import errno
import os
import pwd
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from restic_monitor.model import Memory, Past
from restic_monitor.state import rows
from restic_monitor.state.file import File
from restic_monitor.state.tables import VERSION, DamagedError, LaterVersionError, code

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

__all__ = ["VERSION", "State", "place"]

_CLOSE_SECONDS = 2.0
_HANG_SECONDS = 30.0
"""A disk that hangs keeps the one who uses it for ever; others go on without."""
_NOT = "use --no-state"
_ELSEWHERE = f"set STATE_DIRECTORY to another folder, or {_NOT}"

# Primary result codes that speak of the place, not of the content: PERM, BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL,
# CANTOPEN, PROTOCOL, TOOBIG, NOLFS, AUTH. Source: https://www.sqlite.org/rescode.html
_OF_THE_PLACE = frozenset({3, 5, 6, 7, 8, 9, 10, 13, 14, 15, 18, 22, 23})


def place(environment: Mapping[str, str]) -> Path | None:
    """Where the state is: `state.sqlite` in the first folder of $STATE_DIRECTORY (systemd's list, with colons), else in
    $XDG_STATE_HOME/restic-monitor, with ~/.local/state where that is not set or relative; None without a home."""
    given = next(filter(None, environment.get("STATE_DIRECTORY", "").split(":")), "")
    if given:
        return Path(given, "state.sqlite")
    home = environment.get("XDG_STATE_HOME", "")
    if not Path(home).is_absolute():
        folder = environment.get("HOME", "")
        folder = folder if Path(folder).is_absolute() else _home_of_this_user()
        home = str(Path(folder, ".local", "state")) if folder else ""
    return Path(home, "restic-monitor", "state.sqlite") if home else None


def _home_of_this_user() -> str:
    """As passwd has it: cron jobs and systemd's units may run without $HOME."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


class State:
    """The file. Opened by the first look that recalls or is remembered, made by the first that is remembered.

    Threads share one connection: each look needs it for a fraction of a millisecond, and SQLite has one writer at a time.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._warnings: dict[str, None] = {}
        self._lock = threading.Lock()
        self._file = File(place(environment))
        self._readable = self._writable = True
        self._begun_anew = False

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the file, a sentence each; complete once all looks are done."""
        return list(self._warnings)

    def memory(self, name: str, identity: str, *, writing: bool = True) -> Memory:
        """What is remembered of one repository. `identity` says which one it is (its URL without credentials): under another
        one nothing is recalled. Without `writing` nothing is remembered, and no file is made."""
        return _Memory(self, (_text(name), _text(identity)), writing)

    def use(self, work: Callable[[sqlite3.Connection], T], *, writing: bool) -> T | None:
        """The result of `work`, alone with the file; None where there is no file, or none of use. What SQLite and the system
        raise becomes a warning and the end of writing or of both; a damaged file is set aside and `work` tried once more."""
        if not self._readable:
            return None
        if not self._lock.acquire(timeout=_HANG_SECONDS):
            self._readable = False
            self._warn(f"{self._file} does not answer, so this run is not remembered: look after its disk, or {_ELSEWHERE}")
            return None
        try:
            return self._use(work, writing)
        except ImportError:
            self._give_up(f"this Python has no sqlite3, so this run is not remembered: install Python's sqlite3, or {_NOT}")
            return None
        finally:
            self._lock.release()

    def _use(self, work: Callable[[sqlite3.Connection], T], writing: bool) -> T | None:
        import sqlite3  # noqa: PLC0415

        while self._readable and (self._writable or not writing):
            try:
                return work(self._file.connection) if self._file.open(writing) else None
            except LaterVersionError as error:
                self._give_up(f"{self._file} {error}, so this run is not remembered: update this one, or {_ELSEWHERE}")
            except DamagedError as error:
                self._begin_anew(str(error))
            except (OSError, UnicodeError) as error:
                self._cannot(writing, getattr(error, "strerror", None) or str(error))
            except sqlite3.Error as error:
                if code(error) in _OF_THE_PLACE:
                    self._cannot(writing, str(error))
                else:
                    self._begin_anew(str(error))
        return None

    def close(self) -> None:
        """Let go of the file; nothing is recalled or remembered any more. Returns within seconds, whatever hangs: a file
        that was not closed is as good as one that was."""
        if self._lock.acquire(timeout=_CLOSE_SECONDS):
            try:
                self._readable = False
                self._file.close()
            finally:
                self._lock.release()

    def _cannot(self, writing: bool, reason: str) -> None:
        if writing:
            self._writable = False
            self._warn(
                f"{self._file} cannot be written ({reason}), so this run is not remembered: "
                f"let this user write it and its folder, or {_ELSEWHERE}"
            )
        else:
            self._give_up(
                f"{self._file} cannot be read ({reason}), so no earlier look is known: "
                f"let this user read it and its folder, or {_ELSEWHERE}"
            )

    def _begin_anew(self, reason: str) -> None:
        """At most once in a run: what damages the file again is not in the file."""
        self._file.close()
        try:
            if self._begun_anew:
                raise OSError(errno.EIO, "for the second time in this run")
            self._file.set_aside()
        except OSError as error:
            self._give_up(
                f"{self._file} is damaged ({reason}) and was not set aside ({error.strerror}), so this run is not remembered: "
                "remove it while no run goes on, and the next run begins anew"
            )
        else:
            self._warn(
                f"{self._file} was damaged ({reason}), so what was remembered is lost and begins anew: "
                f"remove {self._file}.damaged once nobody needs it"
            )
        self._begun_anew = True

    def _give_up(self, warning: str) -> None:
        self._warn(warning)
        self._readable = False
        self._file.close()

    def _warn(self, warning: str) -> None:
        self._warnings.setdefault(warning)


class _Memory:
    """One repository's rows. Keeps what it recalled, so that only the difference is written. For one thread at a time."""

    def __init__(self, state: State, key: tuple[str, str], writing: bool) -> None:
        self._state = state
        self._key = key
        self._writing = writing
        self._recalled: rows.Known | None = None

    def recall(self) -> Past | None:
        self._recalled = self._state.use(lambda connection: rows.find(connection, self._key), writing=False)
        return self._recalled.past if self._recalled else None

    def remember(self, seen: Past) -> None:
        if self._writing:
            self._state.use(lambda connection: self._write(connection, seen), writing=True)

    def _write(self, connection: sqlite3.Connection, seen: Past) -> None:
        self._recalled = rows.write(connection, self._key, self._recalled, seen)


def _text(text: str) -> str:
    """What came from the environment or the file system may hold bytes that are no text; SQLite takes none."""
    return text.encode("utf-8", "backslashreplace").decode()
