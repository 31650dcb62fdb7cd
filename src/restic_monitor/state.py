"""What is remembered between runs, in one SQLite file. Safe under several runs at once and under kill -9.

Losing it is nearly harmless by design: a repository without a past is looked at as if for the first time, which makes none UP
whose files are listed. With the password one lie is believed then: a `rewrite --new-time` of a snapshot without a summary. So
a commit need not survive a power cut (WAL, synchronous=NORMAL), and whatever is wrong with the file is a warning of the run.

**Why what is stored stays true while runs overlap.** Two promises hold for each repository in the file:

1. each file was stored after its `after` and before its `before`;
2. a file of a remembered folder that has no row was stored after `looked`, or is not there.

A look recalls rows, begins, lists, and is remembered. A name it sees and had not recalled was stored after the `looked` that
it recalled (2), and before its own end: (1) holds for it whatever other runs write meanwhile. `merge` takes the names of the
look, with those another run has added since, and the `looked` of the look: what is then without a row was not there when
this look listed, hence stored after this look began, which is (2). That `looked` may be earlier than what another run left,
which makes later bounds wider, never false; the later of the two would be false when this look deletes a name that was
stored again and seen by the other. Where two runs know bounds of one file both are true, and so is what they have in common.

A file that is taken away and stored again under its name between two looks cannot be noticed: then `after` is before the
last time it was stored, and `before` after the first. It can look older than it is, never younger. That holds for what is
away between two looks. A file that a remembered look missed (and others were there) and a later one finds is taken for a new
one, and can look younger. So a look that finds none at all is not remembered where the store tells no times.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import pwd
import re
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from restic_monitor.model import Memory, Opened, Past, Stored

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

VERSION = 2
"""Of the tables; in `PRAGMA user_version`. A file of a later one is left alone."""

_TABLES = (
    "CREATE TABLE repositories (id INTEGER PRIMARY KEY, name TEXT NOT NULL, identity TEXT NOT NULL, revision INTEGER NOT NULL,"
    " looked INTEGER NOT NULL, folders TEXT NOT NULL, noted TEXT NOT NULL, UNIQUE (name, identity))",
    "CREATE TABLE files (repository INTEGER NOT NULL, folder TEXT NOT NULL, name NOT NULL, after INTEGER,"
    " before INTEGER NOT NULL, PRIMARY KEY (repository, folder, name)) WITHOUT ROWID",
    "CREATE TABLE opened (repository INTEGER NOT NULL, folder TEXT NOT NULL, name TEXT NOT NULL, content TEXT NOT NULL,"
    " PRIMARY KEY (repository, folder, name))",
    f"PRAGMA user_version = {VERSION}",
)
_SINCE_VERSION_2 = _TABLES[2:]
"""Moments are microseconds since 1970, UTC. `folders` and `noted` are JSON lists. `name` is a blob of 32 bytes where it is 64
hex digits. `revision` is a new random number with each look, so that a run sees whether another one has written. `content` is
an `Opened` in JSON."""

_READ = """
    SELECT revision, looked, folders, noted, (
        SELECT json_group_array(json_array(
            folder, CASE typeof(name) WHEN 'blob' THEN lower(hex(name)) ELSE name END, after, before))
        FROM files WHERE repository = repositories.id), (
        SELECT group_concat('["' || folder || '",' || content || ']') FROM opened WHERE repository = repositories.id)
    FROM repositories WHERE name = ? AND identity = ?"""
"""One row, also of 20,000 files: Python gives its lock away for each, and may wait 5 ms for a busy thread to have it back.
SQLite has its JSON functions since 3.38 (2022), and distributions built them in long before."""
_REVISION = "SELECT revision FROM repositories WHERE name = ? AND identity = ?"
_LOOKED = "UPDATE repositories SET revision = ?, looked = ? WHERE name = ? AND identity = ? AND revision = ?"
_WRITE = """
    INSERT INTO repositories (name, identity, revision, looked, folders, noted) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (name, identity) DO UPDATE
    SET revision = excluded.revision, looked = excluded.looked, folders = excluded.folders, noted = excluded.noted"""
_NUMBER = "SELECT id FROM repositories WHERE name = ? AND identity = ?"
_WRITE_FILE = "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)"
_DELETE_FILE = "DELETE FROM files WHERE repository = ? AND folder = ? AND name = ?"
_WRITE_OPENED = "INSERT OR REPLACE INTO opened VALUES (?, ?, ?, ?)"
_DELETE_OPENED = "DELETE FROM opened WHERE repository = ? AND folder = ? AND name = ?"

_PROVED = "proved"
_KEPT = timedelta(days=400)
"""What was not looked at for longer is forgotten."""
_BUSY_SECONDS = 5.0
_HOLD_SECONDS = 1.0
_PAUSE_SECONDS = 0.02
_CLOSE_SECONDS = 2.0
_HANG_SECONDS = 30.0
"""A disk that hangs keeps the one who uses it for ever; others go on without."""
_OPENED_LIMIT = 256 * 1024
"""Characters. A snapshot with more than that (a list of a million paths) is read again with each look."""
_NO_REVISION = -1
_NOT = "use --no-state"
_ELSEWHERE = f"set STATE_DIRECTORY to another folder, or {_NOT}"

_DIGEST = re.compile(r"[0-9a-f]{64}")
_WORDS = msgspec.json.Decoder(list[str])
_FILES = msgspec.json.Decoder(list[tuple[str, str, int | None, int]])
_OPENED = msgspec.json.Decoder(list[tuple[str, Opened]])
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# Primary result codes that speak of the place, not of the content: PERM, BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL,
# CANTOPEN, PROTOCOL, TOOBIG, NOLFS, AUTH. Source: https://www.sqlite.org/rescode.html
_OF_THE_PLACE = frozenset({3, 5, 6, 7, 8, 9, 10, 13, 14, 15, 18, 22, 23})
_BUSY, _READONLY, _CANTOPEN = 5, 8, 14


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


def merge(stored: Past, recalled: Past | None, seen: Past) -> Past:
    """What is known after a look that recalled `recalled` and saw `seen`, while other runs have made `stored` of it."""
    before = recalled or Past(seen.looked, {})
    folders = {
        folder: _merge(stored.folders.get(folder, {}), before.folders.get(folder, {}), names)
        for folder, names in seen.folders.items()
    }
    noted = (stored.noted | seen.noted) - (before.noted - seen.noted)
    added = {name: moment for name, moment in stored.proved.items() if name not in before.proved}
    proved = {name: _earlier(moment, stored.proved.get(name)) for name, moment in seen.proved.items()}
    return Past(seen.looked, folders, noted, added | proved, _merge_opened(stored, before, seen))


def _merge_opened(stored: Past, before: Past, seen: Past) -> dict[str, dict[str, Opened]]:
    """What was read of a file is true whoever read it."""

    def added(folder: str) -> Iterator[tuple[str, Opened]]:
        known = before.opened.get(folder, {})
        return ((name, file) for name, file in stored.opened.get(folder, {}).items() if name not in known)

    return {folder: {**dict(added(folder)), **files} for folder, files in seen.opened.items()}


def _earlier(seen: datetime | None, stored: datetime | None) -> datetime | None:
    """A look that saw that nothing is proved knows more."""
    return min(seen, stored) if seen and stored else seen


def _merge(stored: Mapping[str, Stored], recalled: Mapping[str, Stored], seen: Mapping[str, Stored]) -> dict[str, Stored]:
    added = {name: file for name, file in stored.items() if name not in recalled}
    return added | {name: _common(stored.get(name, file), file) for name, file in seen.items()}


def _common(stored: Stored, seen: Stored) -> Stored:
    """What two true bounds of one file have in common; nothing when it was stored twice, and then the look's own count."""
    after = max(filter(None, (stored.after, seen.after)), default=None)
    before = min(stored.before, seen.before)
    return seen if after is not None and after > before else Stored(seen.name, after, before)


class State:
    """The file. Opened by the first look that recalls or is remembered, made by the first that is remembered.

    Threads share one connection: each look needs it for a fraction of a millisecond, and SQLite has one writer at a time.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._warnings: dict[str, None] = {}
        self._lock = threading.Lock()
        self._file = _File(place(environment))
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
            except _LaterVersionError as error:
                self._give_up(f"{self._file} {error}, so this run is not remembered: update this one, or {_ELSEWHERE}")
            except _DamagedError as error:
                self._begin_anew(str(error))
            except (OSError, UnicodeError) as error:
                self._cannot(writing, getattr(error, "strerror", None) or str(error))
            except sqlite3.Error as error:
                if _code(error) in _OF_THE_PLACE:
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
        self._recalled: Past | None = None
        self._revision = _NO_REVISION

    def recall(self) -> Past | None:
        found = self._state.use(lambda connection: _find(connection, self._key), writing=False)
        self._recalled, self._revision = (found.past, found.revision) if found else (None, _NO_REVISION)
        return self._recalled

    def remember(self, seen: Past) -> None:
        if self._writing:
            self._state.use(lambda connection: self._write(connection, seen), writing=True)

    def _write(self, connection: sqlite3.Connection, seen: Past) -> None:
        revision = int.from_bytes(os.urandom(7), "big")
        if not self._nothing_new(connection, seen, revision):
            with _transaction(connection, "IMMEDIATE"):
                seen = self._write_difference(connection, seen, revision)
        self._recalled, self._revision = seen, revision

    def _nothing_new(self, connection: sqlite3.Connection, seen: Past, revision: int) -> bool:
        """Most looks see what the last one saw: one row changes, in one statement."""
        past = self._recalled
        if past is None or _lasting(past) != _lasting(seen):
            return False
        return connection.execute(_LOOKED, (revision, _microseconds(seen.looked), *self._key, self._revision)).rowcount == 1

    def _write_difference(self, connection: sqlite3.Connection, seen: Past, revision: int) -> Past:
        """Returns what is in the file now."""
        stored = self._recalled
        if connection.execute(_REVISION, self._key).fetchone() != (self._revision,):
            found = _find(connection, self._key)
            stored = found.past if found else None
            seen = merge(stored, self._recalled, seen) if stored else seen
        connection.execute(_WRITE, (*self._key, revision, *_columns(seen)))
        (number,) = connection.execute(_NUMBER, self._key).fetchone()
        gone, changed = _difference(_rows(stored) if stored else {}, _rows(seen))
        connection.executemany(_DELETE_FILE, ((number, folder, _name(name)) for folder, name in gone))
        connection.executemany(_WRITE_FILE, ((number, folder, *_file(file)) for folder, file in changed))
        gone, opened = _difference(stored.opened if stored else {}, seen.opened)
        connection.executemany(_DELETE_OPENED, ((number, *file) for file in gone))
        texts = ((number, folder, file.name, _json(file)) for folder, file in opened)
        connection.executemany(_WRITE_OPENED, (row for row in texts if len(row[-1]) <= _OPENED_LIMIT))
        return seen


@dataclass(frozen=True, slots=True)
class _Found:
    past: Past
    revision: int


def _find(connection: sqlite3.Connection, key: tuple[str, str]) -> _Found | None:
    """Raises _DamagedError for what we have not written."""
    row = connection.execute(_READ, key).fetchone()
    if row is None:
        return None
    revision, looked, folders, noted, files, opened = row
    try:
        past = _past(_moment(looked), _folders(_WORDS.decode(folders), files), frozenset(_WORDS.decode(noted)), opened)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise _DamagedError("what it holds makes no sense") from error
    return _Found(past, revision)


def _past(looked: datetime, folders: dict[str, dict[str, Stored]], noted: frozenset[str], opened: str | None) -> Past:
    proved = {name: _past_nothing(moment.before) for name, moment in folders.pop(_PROVED, {}).items()}
    files: dict[str, dict[str, Opened]] = {}
    for folder, file in _OPENED.decode(f"[{opened or ''}]"):
        files.setdefault(folder, {})[file.name] = file
    return Past(looked, folders, noted, proved, files)


def _lasting(past: Past) -> tuple[object, ...]:
    """All but when it was."""
    return past.folders, past.noted, past.proved, past.opened


def _past_nothing(moment: datetime) -> datetime | None:
    return None if moment == _EPOCH else moment


def _rows(past: Past) -> Mapping[str, Mapping[str, Stored]]:
    """What snapshots proved is a folder of its own: a program that does not know it takes no offence. Nothing is 1970."""
    if not past.proved:
        return past.folders
    proved = {name: Stored(name, moment or _EPOCH, moment or _EPOCH) for name, moment in past.proved.items()}
    return {**past.folders, _PROVED: proved}


def _folders(words: Iterable[str], files: str) -> dict[str, dict[str, Stored]]:
    """Many files share their moments: one object each."""
    moment = functools.cache(_moment)
    folders: dict[str, dict[str, Stored]] = {word: {} for word in words}
    for folder, name, after, before in _FILES.decode(files):
        end = moment(before)
        folders[folder][name] = Stored(name, end if after == before else None if after is None else moment(after), end)
    return folders


def _difference(
    old: Mapping[str, Mapping[str, T]], new: Mapping[str, Mapping[str, T]]
) -> tuple[list[tuple[str, str]], list[tuple[str, T]]]:
    """Names that are gone, and files that are new or are known otherwise; each with its folder."""
    gone = [(folder, name) for folder, names in old.items() for name in names.keys() - new.get(folder, {}).keys()]
    changed = [
        (folder, file) for folder, files in new.items() for name, file in files.items() if old.get(folder, {}).get(name) != file
    ]
    return gone, changed


def _columns(past: Past) -> tuple[int, str, str]:
    folders, noted = (msgspec.json.encode(sorted(words)).decode() for words in (_rows(past), past.noted))
    return _microseconds(past.looked), folders, noted


def _file(file: Stored) -> tuple[bytes | str, int | None, int]:
    """A clock that was set back can put `after` behind `before`: then nothing is known of it."""
    before = _microseconds(file.before)
    after = None if file.after is None else _microseconds(file.after)
    return _name(file.name), after if after is not None and after <= before else None, before


def _json(file: Opened) -> str:
    return msgspec.json.encode(file).decode()


def _name(name: str) -> bytes | str:
    return bytes.fromhex(name) if _DIGEST.fullmatch(name) else name


def _text(text: str) -> str:
    """What came from the environment or the file system may hold bytes that are no text; SQLite takes none."""
    return text.encode("utf-8", "backslashreplace").decode()


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


class _LaterVersionError(Exception):
    """The file is of a later program."""


class _DamagedError(Exception):
    """SQLite can read the file, and it is not what we wrote."""


class _File:
    """The database, its folder, and the lock that says that a run uses it."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._held: int | None = None
        self._inode = (0, 0)
        self._pruned = False

    def __str__(self) -> str:
        return str(self._path or "state.sqlite")

    @property
    def connection(self) -> sqlite3.Connection:
        assert self._connection
        return self._connection

    def open(self, writing: bool) -> bool:
        """Whether there is a database now; it is made for writing only. Raises OSError, sqlite3.Error, _LaterVersionError."""
        if self._connection is None and not self._connect(writing):
            return False
        if writing and not self._pruned:
            self._pruned = True
            _prune(self.connection)
        return True

    def _connect(self, writing: bool) -> bool:
        if self._path is None:
            raise OSError(errno.ENOENT, "no home folder is known")
        if not writing and _is_missing(self._path):
            return False
        try:
            if writing:
                _make(self._path)
            self._inode = _check(self._path)
            self._held = _hold(self._path.parent, exclusive=False)
            self._connection = _connection(self._path)
            ready = _has_tables(self._connection, writing)
        except BaseException:
            self.close()
            raise
        if not ready:
            self.close()
        return ready

    def close(self) -> None:
        """Raises nothing."""
        if self._connection:
            self._connection.close()
        if self._held is not None:
            os.close(self._held)
        self._connection = self._held = None

    def set_aside(self) -> None:
        """Only while no other run has it open: SQLite removes the log of a database by its name, the new one's. The log is
        moved first, and belongs to neither when that is all that happens. Raises OSError."""
        assert self._path
        held = _hold(self._path.parent, exclusive=True)
        try:
            if not _is_missing(self._path) and _check(self._path) == self._inode:  # else another run was here before
                for suffix in ("-wal", "-shm", ""):
                    _move(f"{self._path}{suffix}", f"{self._path}.damaged{suffix}")
        finally:
            os.close(held)


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    return False


def _make(path: Path) -> None:
    """The file, empty, before SQLite makes it for everybody to read; its folders as the XDG specification wants them. A file
    that is there is not opened: closing it would let go of all locks on it that this process has."""
    if _is_missing(path):
        _make_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(0o700)


def _check(path: Path) -> tuple[int, int]:
    """Which file it is. Closes it, and what belongs to it, to others. Raises OSError for what is no file: a folder, a pipe."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    for name in (path, f"{path}-wal", f"{path}-shm"):
        with contextlib.suppress(OSError):  # it is not there, or somebody else's
            if os.stat(name).st_mode & 0o077:
                os.chmod(name, 0o600)
    return status.st_dev, status.st_ino


def _hold(folder: Path, *, exclusive: bool) -> int:
    """The folder, locked (flock) until the descriptor is closed, also by a death. Raises OSError when others do not let go."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    end = time.monotonic() + _HOLD_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except OSError as error:
            if not isinstance(error, BlockingIOError) or time.monotonic() > end:
                os.close(descriptor)
                raise OSError(
                    error.errno, "another run uses it" if isinstance(error, BlockingIOError) else error.strerror
                ) from error
            time.sleep(_PAUSE_SECONDS)
        else:
            return descriptor


def _move(old: str, new: str) -> None:
    """And where there is nothing to move, what an earlier move left goes: it belongs to another file."""
    try:
        os.replace(old, new)
    except FileNotFoundError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)


def _connection(path: Path) -> sqlite3.Connection:
    """To write, else to read. In a folder where no log can be made, only a file whose log is empty can be read."""
    import sqlite3  # noqa: PLC0415

    address = "file:" + re.sub("[%?#]", lambda found: f"%{ord(found[0]):02x}", str(path.absolute()))
    connect = functools.partial(sqlite3.connect, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection = connect(f"{address}?mode=rw")
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA user_version")
    except sqlite3.Error as error:
        connection.close()
        if _code(error) not in (_CANTOPEN, _READONLY) or _size(f"{path}-wal"):
            raise
        return connect(f"{address}?mode=ro&immutable=1")
    return connection


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _has_tables(connection: sqlite3.Connection, writing: bool) -> bool:
    """Whether they are there, after making them for writing. Raises _LaterVersionError, and _DamagedError for tables that
    are not ours."""
    version = _version(connection)
    if version == 0 and writing:
        _log_ahead(connection)
        with _transaction(connection, "IMMEDIATE"):
            if _version(connection) == 0:  # no other run has made them meanwhile
                _make_tables(connection)
        version = _version(connection)
    if version == 1 and writing:
        with _transaction(connection, "IMMEDIATE"):
            if _version(connection) == 1:
                for statement in _SINCE_VERSION_2:
                    connection.execute(statement)
        version = _version(connection)
    if version > VERSION:
        raise _LaterVersionError(f"was written by a later restic-monitor (its version is {version}, this one knows {VERSION})")
    return version == VERSION


def _log_ahead(connection: sqlite3.Connection) -> None:
    """WAL, for good. When several runs make the file at once, SQLite refuses all but one, and does not wait by itself."""
    import sqlite3  # noqa: PLC0415

    end = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.Error as error:
            if _code(error) != _BUSY or time.monotonic() > end:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _make_tables(connection: sqlite3.Connection) -> None:
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
        raise _DamagedError("it is not a state of restic-monitor")
    for statement in _TABLES:
        connection.execute(statement)


def _version(connection: sqlite3.Connection) -> int:
    """0 for an empty database."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version < 0:
        raise _DamagedError("it is not a state of restic-monitor")
    return version


def _prune(connection: sqlite3.Connection) -> None:
    oldest = _microseconds(datetime.now(UTC) - _KEPT)
    old = connection.execute("SELECT id FROM repositories WHERE looked < ?", (oldest,)).fetchall()
    if old:
        with _transaction(connection, "IMMEDIATE"):
            connection.executemany("DELETE FROM files WHERE repository = ?", old)
            connection.executemany("DELETE FROM opened WHERE repository = ?", old)
            connection.executemany("DELETE FROM repositories WHERE id = ?", old)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection, kind: str) -> Iterator[None]:
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _code(error: Exception) -> int:
    """SQLite's primary result code; -1 for what Python's module found wrong by itself."""
    return int(getattr(error, "sqlite_errorcode", -1)) & 0xFF
