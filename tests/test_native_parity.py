"""One table of repositories, both ways of looking: what we read ourselves is what restic prints.

Each restic writes, in both versions of the format, what only it would write; each restic, and we, look at all of them.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import repositories
from looks import look, probe
from restic_monitor.backends import Backend
from restic_monitor.config.storages import Storages
from restic_monitor.http import Http, Tls
from restic_monitor.model import Observation, Snapshot
from restic_monitor.probes.native import Native
from restic_monitor.probes.native.password import Password
from restic_monitor.secret import Redactor
from restics import PASSWORD, VERSIONS, Backup, Repository, make_repository, require
from servers import S3, Rest
from sshd import Sftp

NIGHT = datetime(2026, 3, 1, 2, 30, 15, tzinfo=UTC)
FORMATS = (1, 2)
WITHOUT_SUMMARY = ("0.14",)
"""Versions that neither write a summary nor print that of another."""
WITHOUT_REWRITE = ("0.14",)
OWN_FIELDS = {"stored": None, "proved": None}
"""What no restic prints: it comes of the listing, and of earlier looks."""


# The two ways


def native(backend: Backend, password: str = PASSWORD) -> Observation:
    redact = Redactor(())
    known = Password({"RESTIC_PASSWORD": password}, redact)
    return Native("web", backend, "here", known, redact, timedelta(minutes=30)).observe(time.monotonic() + 60)


def local(path: Path) -> Backend:
    return Storages(Http({})).storage(str(path), {}, {}, Tls())


def whole(seen: Observation) -> list[Snapshot]:
    """By id, without what is not restic's. A look that left something out would be no comparison."""
    assert seen.snapshots is not None
    assert (seen.unreadable, seen.partly, dict(seen.damaged)) == ((), None, {})
    return sorted((replace(each, **OWN_FIELDS) for each in seen.snapshots), key=lambda each: each.id)


def assert_same(path: Path, reader: str, snapshots: int, password: str = PASSWORD) -> list[Snapshot]:
    """What both see; all of it, `snapshots` of them. The summary is compared where this restic prints it."""
    ours = whole(native(local(path), password))
    printed = whole(look(probe(require(f"restic-{reader}"), str(path), RESTIC_PASSWORD=password), 60))
    compared = [replace(each, summary=None) for each in ours] if reader in WITHOUT_SUMMARY else ours
    assert compared == printed
    assert len(ours) == snapshots
    return ours


# Repositories that restics write


@dataclass(frozen=True)
class Written:
    """What a restic wrote, and how many snapshots it must be."""

    repository: Repository
    writer: str
    snapshots: int


def ids(repository: Repository) -> list[str]:
    """Of the snapshots, the oldest first."""
    return [each["id"] for each in json.loads(repository.run("snapshots", "--json", "--no-lock"))]


def odd_files(folder: Path) -> list[Path]:
    """Not in the order in which they are sorted. The last is no UTF-8: restic puts U+FFFD into its place."""
    folder.mkdir()
    latin1 = os.fsdecode(b"latin1-\xfc")
    found = [folder / name for name in ("ünïcödé ☂ 日本", "C:\\Users\\x", "a\nb\t\x1b[31m", "\U0001f4be", "&<>\u2028", latin1)]
    for file in found:
        file.write_text(file.name.encode(errors="replace").decode())
    return found


HOSTS = ("web1", "büro-42", "日本語", "\x1b[31mred", "DESKTOP\\x", 'quo"ted', os.fsdecode(b"latin1-\xfc"))
TAGS: tuple[tuple[str, ...], ...] = ((), ("nightly",), ("b", "a", "a"), ("größe=☂", "with blank"), ("a,b", "c"))


def write(folder: Path, writer: str, version: int) -> Written:
    """One repository with all that restic writes of itself."""
    repository, count = make_repository(folder / "repo", writer, version=version), 0
    odd = odd_files(folder / "odd")
    for n, host in enumerate(HOSTS):
        paths = [[odd[-1]], odd, odd[:2]][n % 3]
        repository.backup(Backup(NIGHT + timedelta(hours=n), host, TAGS[n % len(TAGS)], paths))
        count += 1
    for mode in ("off", "max") if version == 2 else ():
        repository.run("backup", "--quiet", "--compression", mode, "--tag", mode, str(folder / "odd"))
        count += 1
    repository.run("backup", "--quiet", str(odd[0]), env={"TZ": "Asia/Kathmandu"})  # nanoseconds, another zone
    change(repository, writer)
    count += 1 + (writer not in WITHOUT_REWRITE)
    return Written(repository, writer, count + copied_from_another(folder, repository, writer, version))


def change(repository: Repository, writer: str) -> None:
    """Makes of snapshots others: one is tagged twice, of another a part is left out (and it stays)."""
    first, second, *_ = ids(repository)
    repository.run("tag", "--add", "kept", first)
    again = next(each for each in ids(repository) if each not in (first, second))
    repository.run("tag", "--add", "ünd noch eins", again)
    if writer not in WITHOUT_REWRITE:
        repository.run("rewrite", "--exclude", "*Users*", second)


def copied_from_another(folder: Path, repository: Repository, writer: str, version: int) -> int:
    other = make_repository(folder / "other", writer, version=version)
    other.backup(Backup(NIGHT - timedelta(days=1), "elsewhere", ["copied"]))
    repository.run("copy", "--from-repo", str(other.path), env={"RESTIC_FROM_PASSWORD": PASSWORD})
    return 1


QUICK = (("0.19", 2),)
WRITERS = [
    pytest.param(*each, id=f"by-{each[0]}-v{each[1]}", marks=() if each in QUICK else pytest.mark.slow)
    for each in itertools.product(VERSIONS, FORMATS)
]


@pytest.fixture(scope="session")
def writings(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Written]:
    """Each is written once, for all that look at it."""
    return cache(lambda writer, version: write(tmp_path_factory.mktemp("written"), writer, version))


@pytest.mark.parametrize(("writer", "version"), WRITERS)
def test_what_each_restic_wrote_is_the_same_by_ourselves_and_by_each_restic(
    writings: Callable[[str, int], Written], writer: str, version: int, restic_version: str
) -> None:
    written = writings(writer, version)
    seen = assert_same(written.repository.path, restic_version, written.snapshots)
    # what is compared is there at all
    assert {each.host for each in seen} >= {"büro-42", "日本語", "elsewhere", "latin1-\N{REPLACEMENT CHARACTER}"}
    assert any(path.endswith("/C:\\Users\\x") for each in seen for path in each.paths)
    assert {tag for each in seen for tag in each.tags} >= {"kept", "ünd noch eins", "with blank", "copied"}
    assert sum(bool(each.original) for each in seen) == (2 if written.writer in WITHOUT_REWRITE else 3)
    assert all(each.tree and each.user for each in seen)
    summed_up = [each for each in seen if each.summary]
    assert bool(summed_up) == (written.writer not in WITHOUT_SUMMARY)


@pytest.mark.parametrize("snapshots", [0, 1])
@pytest.mark.parametrize("version", FORMATS)
def test_none_and_one(tmp_path: Path, restic_version: str, version: int, snapshots: int) -> None:
    repository = make_repository(tmp_path / "repo", restic_version, version=version)
    for n in range(snapshots):
        repository.backup(Backup(NIGHT + timedelta(hours=n)))
    assert_same(repository.path, restic_version, snapshots)


PASSWORDS = (PASSWORD, "the second", "dritter Schlüssel ☂")


@pytest.fixture(scope="session")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """A repository with a key for each of PASSWORDS. Those that `key add` makes are as heavy as restic makes them."""

    def make(writer: str, version: int) -> Path:
        folder = tmp_path_factory.mktemp("keyed")
        repository = make_repository(folder / "repo", writer, version=version)
        repository.backup(Backup(NIGHT))
        for n, password in enumerate(PASSWORDS[1:]):
            (folder / f"new-{n}").write_text(password)
            repository.run("key", "add", "--new-password-file", str(folder / f"new-{n}"))
        assert len([*(repository.path / "keys").iterdir()]) == len(PASSWORDS)
        return repository.path

    return cache(make)


@pytest.mark.slow
@pytest.mark.parametrize("version", FORMATS)
@pytest.mark.parametrize("writer", VERSIONS)
def test_of_several_keys_each_opens(keyed: Callable[[str, int], Path], writer: str, version: int, restic_version: str) -> None:
    for password in PASSWORDS:
        assert_same(keyed(writer, version), restic_version, 1, password)


# Repositories that no restic writes today


NO_RESTIC_WRITES: Mapping[str, Mapping[str, Any]] = {
    "no hostname": {"hostname": None},
    "an empty hostname": {"hostname": ""},
    "no user": {"username": None},
    "no paths": {"paths": []},
    "paths are null": {"paths": None},
    "a Windows path": {"paths": ["D:\\Daten", "C:\\Users\\x", "\\\\nas\\share"]},
    "the same path twice": {"paths": ["/b", "/a", "/b"]},
    "paths that sort by bytes": {"paths": ["/\U0001f4be", "/\uffee", "/é", "/z", "/Z", "/"]},
    "tags are null": {"tags": None},
    "no tags": {"tags": []},
    "an empty tag": {"tags": ["", "x"]},
    "an original": {"original": "a" * 64},
    "a parent": {"parent": "b" * 64},
    "excludes and a program": {"excludes": ["*.tmp"], "program_version": "restic 0.99.0"},
    "rustic's own": {"label": "x", "description": "y", "delete": "NotSet", "parents": ["b" * 64]},
    "nine digits": {"time": "2026-03-01T02:30:15.123456789+05:45"},
    "nine nines": {"time": "2026-03-01T02:30:15.999999999-11:30"},
    "no digits": {"time": "2026-03-01T02:30:15Z"},
    "one digit": {"time": "2026-03-01T02:30:15.5Z"},
    "another year": {"time": "2026-12-31T23:59:59.5-01:00"},
    "long ago": {"time": "1970-01-01T00:00:00Z"},
    "a far future": {"time": "9999-12-31T23:59:59Z"},
    "a summary": {
        "summary": {"backup_end": "2026-03-01T02:40:15.25+01:00", "total_files_processed": 3, "total_bytes_processed": 7}
    },
    "a large summary": {"summary": {"total_files_processed": 4_000_000_000, "total_bytes_processed": 2**63 + 1}},
    "a summary that is null": {"summary": None},
}
INCOMPLETE: tuple[Mapping[str, Any], ...] = ({}, {"backup_end": "2026-03-01T02:40:15Z"}, {"total_files_processed": 3})


def odd_snapshot(fields: Mapping[str, Any]) -> dict[str, Any]:
    """`None` for what restic leaves out; null is what is written."""
    return {**repositories.snapshot(NIGHT), **fields}


@pytest.mark.parametrize("version", FORMATS)
def test_what_no_restic_writes_is_the_same(tmp_path: Path, restic_version: str, version: int) -> None:
    """All in one repository; of those that differ the name is told."""
    made = repositories.write_repository(tmp_path / "repo", map(odd_snapshot, NO_RESTIC_WRITES.values()), version=version)
    called = dict(zip(made.snapshots, NO_RESTIC_WRITES, strict=True))
    without = [
        {k: v for k, v in repositories.snapshot(NIGHT).items() if k != each} for each in ("hostname", "paths", "username")
    ]
    called |= {made.add_snapshot(document): f"left out: {n}" for n, document in enumerate(without)}
    ours = {called[each.id]: each for each in whole(native(local(made.path)))}
    printed = {called[each.id]: each for each in whole(look(probe(require(f"restic-{restic_version}"), str(made.path))))}
    if restic_version in WITHOUT_SUMMARY:
        ours = {name: replace(each, summary=None) for name, each in ours.items()}
    assert ours.keys() == printed.keys() == set(called.values())
    assert {name: (ours[name], printed[name]) for name in ours if ours[name] != printed[name]} == {}


def test_what_a_summary_lacks_is_zero_for_restic_and_for_us_there_is_no_summary(tmp_path: Path, restic_version: str) -> None:
    """The one field in which they differ: not told is not zero files, which would be an empty backup."""
    made = repositories.write_repository(tmp_path / "repo", (odd_snapshot({"summary": each}) for each in INCOMPLETE))
    ours = whole(native(local(made.path)))
    printed = whole(look(probe(require(f"restic-{restic_version}"), str(made.path))))
    assert [each.summary for each in ours] == [None] * len(INCOMPLETE)
    assert [replace(each, summary=None) for each in printed] == ours
    empty = [each.summary for each in printed if each.summary and 0 in (each.summary.files, each.summary.size_bytes)]
    assert len(empty) == (0 if restic_version in WITHOUT_SUMMARY else len(INCOMPLETE))


@pytest.mark.slow
@pytest.mark.parametrize("version", FORMATS)
def test_ten_thousand(tmp_path: Path, restic_version: str, version: int) -> None:
    documents = (
        repositories.snapshot(NIGHT + timedelta(minutes=n), f"host-{n % 40}", [f"/srv/{n % 7}"], tags=[f"t{n % 3}"])
        for n in range(10_000)
    )
    made = repositories.write_repository(tmp_path / "repo", documents, version=version)
    assert_same(made.path, restic_version, 10_000)


# Over every storage


def _s3(repository: Callable[[Path], None], request: pytest.FixtureRequest) -> Backend:
    server: S3 = request.getfixturevalue("s3")
    (server.folder / "parity").mkdir()
    repository(server.folder / "parity" / "repo")
    return Storages(Http({})).storage(server.location("parity/repo"), {}, server.env, Tls())


def _rest(repository: Callable[[Path], None], request: pytest.FixtureRequest) -> Backend:
    server: Rest = request.getfixturevalue("rest")
    repository(server.folder / "parity")
    return Storages(Http({})).storage(server.location("parity"), {}, {}, Tls())


def _sftp(repository: Callable[[Path], None], request: pytest.FixtureRequest) -> Backend:
    server: Sftp = request.getfixturevalue("sshd")
    repository(server.folder / "parity")
    return Storages(Http({})).storage(server.location("parity"), {"sftp.args": server.args}, server.env, Tls())


def _rclone(repository: Callable[[Path], None], request: pytest.FixtureRequest) -> Backend:
    folder: Path = request.getfixturevalue("tmp_path") / "remote"
    repository(folder)
    env = {"PATH": os.environ["PATH"], "RCLONE_CONFIG": os.devnull, "RCLONE_CONFIG_STORE_TYPE": "local"}
    options = {"rclone.program": str(require("rclone"))}
    return Storages(Http({})).storage(f"rclone:store:{folder}", options, env, Tls())


@pytest.mark.parametrize("store", [_s3, _rest, _sftp, _rclone], ids=lambda store: store.__name__.strip("_"))
def test_every_storage_gives_what_a_folder_gives(
    tmp_path: Path, request: pytest.FixtureRequest, store: Callable[[Callable[[Path], None], pytest.FixtureRequest], Backend]
) -> None:
    made = repositories.write_repository(tmp_path / "repo", map(odd_snapshot, NO_RESTIC_WRITES.values()))
    expected = whole(native(local(made.path)))
    assert len(expected) == len(NO_RESTIC_WRITES)
    assert whole(native(store(lambda path: void(shutil.copytree(made.path, path)), request))) == expected


def void(_: object) -> None:
    """For a function whose value nobody wants."""
