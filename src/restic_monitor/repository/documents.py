"""The JSON of snapshots, locks and the configuration, as restic stores it and, with an id, prints it.

Fields that are not used are ignored: rustic and newer restics add some. Source: restic's internal/data/snapshot.go,
internal/repository/lock.go and internal/restic/config.go.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import msgspec

from restic_monitor.model import Lock, Snapshot, Summary
from restic_monitor.repository import ID, Damaged

T = TypeVar("T")

_VERSIONS = (1, 2)
_STRINGS = 1_250_000
"""Each takes 50 bytes more than its letters: without a limit, 6 KB of a compressed file become 1.4 GB of short paths."""


class Record(msgspec.Struct):
    """A snapshot; `id` stands only in what restic prints."""

    time: str
    id: str = ""
    tree: str | None = None
    hostname: str | None = None
    username: str | None = None
    paths: list[str] | None = None
    tags: list[str] | None = None
    original: str | None = None
    summary: msgspec.Raw = msgspec.Raw()


_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Summary(msgspec.Struct):
    total_files_processed: _Count
    total_bytes_processed: _Count
    backup_end: object = None


class _Lock(msgspec.Struct):
    time: str
    exclusive: bool = False
    hostname: str | None = None
    username: str | None = None
    pid: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None


class _Config(msgspec.Struct):
    version: Annotated[int, msgspec.Meta(ge=0, le=2**31)]
    id: str


_record = msgspec.json.Decoder(Record)
_lock = msgspec.json.Decoder(_Lock)
_config = msgspec.json.Decoder(_Config)
_summaries = msgspec.json.Decoder(_Summary)


def read_snapshot(name: str, content: bytes) -> Snapshot:
    """Of a file of this name. Raises Damaged."""
    if content.count(b'"') > 2 * _STRINGS:
        raise Damaged("more strings than any snapshot has")
    record = _decoded(_record, content, "no snapshot")
    record.id = name
    record.paths = sorted(record.paths or ())  # as restic prints them
    if record.tree is None or not ID.fullmatch(record.tree):
        raise Damaged("a snapshot without a tree")
    if record.original and not ID.fullmatch(record.original):
        raise Damaged("a snapshot whose original is none")
    if not (found := snapshot(record)):
        raise Damaged("its time is no moment")
    return found


def snapshot(record: Record) -> Snapshot | None:
    """None when its time is no moment."""
    if not (moment := parse_time(record.time)):
        return None
    return Snapshot(
        record.id,
        moment,
        record.hostname or "",
        tuple(record.paths or ()),
        tuple(record.tags or ()),
        record.original or "",
        _summary(record.summary),
        user=record.username or "",
        tree=record.tree or "",
    )


def _summary(content: msgspec.Raw) -> Summary | None:
    """As restic ≥ 0.17 writes it. None when it does not say how much was read: that is no reason to see no snapshot."""
    if not content:
        return None
    try:
        summary = _summaries.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    ended = parse_time(summary.backup_end) if isinstance(summary.backup_end, str) else None
    return Summary(ended, summary.total_files_processed, summary.total_bytes_processed)


def read_lock(content: bytes) -> Lock:
    """Raises Damaged."""
    found = _decoded(_lock, content, "no lock")
    if not (moment := parse_time(found.time)):
        raise Damaged("its time is no moment")
    return Lock(moment, found.hostname or "", found.username or "", found.pid or 0, found.exclusive)


def read_config(content: bytes) -> int:
    """The version of the repository's format. Raises Damaged."""
    found = _decoded(_config, content, "no configuration")
    if found.version not in _VERSIONS:
        raise Damaged(f"version {found.version} of the format is not known here")
    if not ID.fullmatch(found.id):
        raise Damaged("a repository without an id")
    return found.version


def _decoded(decoder: msgspec.json.Decoder[T], content: bytes, otherwise: str) -> T:
    try:
        return decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Damaged(otherwise) from None


_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def parse_time(text: str) -> datetime | None:
    """RFC 3339 with any offset and 0 to 9 fractional digits, in UTC; digits below a microsecond are dropped.

    None when it is no moment that Python knows.
    """
    found = _TIME.fullmatch(text)
    if not found:
        return None
    offset = "+00:00" if found[3] in "Zz" else found[3]
    try:
        return datetime.fromisoformat(f"{found[1]}{(found[2] or '')[:7]}{offset}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
