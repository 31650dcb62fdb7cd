"""One repository's rows: read into what is known of it, and written as far as they differ."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import Struct

from restic_monitor.model import Opened, Past, Stored
from restic_monitor.state.merging import merge
from restic_monitor.state.tables import DamagedError, microseconds, moment_of, transaction

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

_RECALLED_LIMIT = 128 * 1024 * 1024
"""Bytes, and a quotation mark for 16 of them: of 130,000 usual snapshots. Of more than that nothing is known, and all is read
again."""
_READ = """
    SELECT revision, looked, folders, noted, (
        SELECT json_group_array(json_array(
            folder, CASE typeof(name) WHEN 'blob' THEN lower(hex(name)) ELSE name END, after, before))
        FROM files WHERE repository = repositories.id), CASE WHEN (
        SELECT sum(length(CAST(content AS BLOB))) FROM opened WHERE repository = repositories.id) < ? THEN (
        SELECT group_concat('["' || folder || '",' || content || ']') FROM opened WHERE repository = repositories.id) END
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
_FORGET_OPENED = "DELETE FROM opened WHERE repository = ?"
_DELETE_OPENED = "DELETE FROM opened WHERE repository = ? AND folder = ? AND name = ?"

_PROVED = "proved"
_OPENED_LIMIT = 256 * 1024
"""Characters. A snapshot with more than that (a list of a million paths) is read again with each look."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_DIGEST = re.compile(r"[0-9a-f]{64}")
_WORDS = msgspec.json.Decoder(list[str])
_FILES = msgspec.json.Decoder(list[tuple[str, str, int | None, int]])
_OPENED = msgspec.json.Decoder(list[tuple[str, Opened]])


class Known(Struct, frozen=True):
    """`revision`: of the row that it was read from."""

    past: Past
    revision: int


def find(connection: sqlite3.Connection, key: tuple[str, str]) -> Known | None:
    """Raises DamagedError for what we have not written."""
    row = connection.execute(_READ, (_RECALLED_LIMIT, *key)).fetchone()
    if row is None:
        return None
    revision, looked, folders, noted, files, opened = row
    try:
        past = _past(moment_of(looked), _folders(_WORDS.decode(folders), files), frozenset(_WORDS.decode(noted)), opened)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise DamagedError("what it holds makes no sense") from error
    return Known(past, revision)


def write(connection: sqlite3.Connection, key: tuple[str, str], recalled: Known | None, seen: Past) -> Known:
    """What a look saw that began with `recalled`. Returns what is in the file then."""
    revision = int.from_bytes(os.urandom(7), "big")
    if not recalled or not _nothing_new(connection, key, recalled, seen, revision):
        with transaction(connection, "IMMEDIATE"):
            seen = _write_difference(connection, key, recalled, seen, revision)
    return Known(seen, revision)


def _nothing_new(connection: sqlite3.Connection, key: tuple[str, str], recalled: Known, seen: Past, revision: int) -> bool:
    """Most looks see what the last one saw: one row changes, in one statement."""
    if _lasting(recalled.past) != _lasting(seen):
        return False
    return connection.execute(_LOOKED, (revision, microseconds(seen.looked), *key, recalled.revision)).rowcount == 1


def _write_difference(
    connection: sqlite3.Connection, key: tuple[str, str], recalled: Known | None, seen: Past, revision: int
) -> Past:
    """Returns what is in the file now."""
    stored = recalled
    if not stored or connection.execute(_REVISION, key).fetchone() != (stored.revision,):
        stored = find(connection, key)
        seen = merge(stored.past, recalled.past if recalled else None, seen) if stored else seen
    connection.execute(_WRITE, (*key, revision, *_columns(seen)))
    (number,) = connection.execute(_NUMBER, key).fetchone()
    gone, changed = _difference(_rows(stored.past) if stored else {}, _rows(seen))
    connection.executemany(_DELETE_FILE, ((number, folder, _name(name)) for folder, name in gone))
    connection.executemany(_WRITE_FILE, ((number, folder, *_file(file)) for folder, file in changed))
    known = stored.past.opened if stored else {}
    if not known:  # there may have been too much of it
        connection.execute(_FORGET_OPENED, (number,))
    gone, opened = _difference(known, seen.opened)
    connection.executemany(_DELETE_OPENED, ((number, *file) for file in gone))
    connection.executemany(_WRITE_OPENED, ((number, *row) for row in _worth_it(opened)))
    return seen


def _worth_it(opened: Iterable[tuple[str, Opened]]) -> Iterable[tuple[str, str, str]]:
    left = _RECALLED_LIMIT
    for folder, file in opened:
        text = _json(file)
        if len(text) <= min(_OPENED_LIMIT, left):
            left -= len(text)
            yield folder, file.name, text


def _past(looked: datetime, folders: dict[str, dict[str, Stored]], noted: frozenset[str], opened: str | None) -> Past:
    proved = {name: _past_nothing(moment.before) for name, moment in folders.pop(_PROVED, {}).items()}
    files: dict[str, dict[str, Opened]] = {}
    if not opened or opened.count('"') > _RECALLED_LIMIT // 16:  # each text takes 50 bytes more than its letters
        opened = ""
    for folder, file in _OPENED.decode(f"[{opened}]"):
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
    moment = functools.cache(moment_of)
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
    return microseconds(past.looked), folders, noted


def _file(file: Stored) -> tuple[bytes | str, int | None, int]:
    """A clock that was set back can put `after` behind `before`: then nothing is known of it."""
    before = microseconds(file.before)
    after = None if file.after is None else microseconds(file.after)
    return _name(file.name), after if after is not None and after <= before else None, before


def _json(file: Opened) -> str:
    return msgspec.json.encode(file).decode()


def _name(name: str) -> bytes | str:
    return bytes.fromhex(name) if _DIGEST.fullmatch(name) else name
