"""Looking by a listing: at real repositories on a disk, on a rest-server, in a bucket, with a real memory of earlier looks.

`Shelf` is a store whose clock a test moves: what takes days on a rest-server takes no time there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from conftest import Run, Unprivileged
from restic_monitor import location
from restic_monitor.backends import Backend, BackendError, Entries, Entry, Kind, one_by_one
from restic_monitor.backends.sftp import Sftp as Ssh
from restic_monitor.checks.clock import Clock
from restic_monitor.checks.content import Content
from restic_monitor.checks.keyring import Keyring
from restic_monitor.checks.locks import Locks
from restic_monitor.checks.stored import StoredRecently
from restic_monitor.checks.strays import Strays
from restic_monitor.config.storages import Storages
from restic_monitor.http import Http, Tls
from restic_monitor.model import Check, Code, Memory, NoTimesError, Observation, Past, ProbeError, Result, Status, Stored, Watch
from restic_monitor.probes.listing import Listing
from restic_monitor.recency import MaxAge
from restic_monitor.secret import Redactor
from restic_monitor.state import State
from restics import Backup, Repository, make_repository, require
from servers import S3, Rest

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
SKEW = timedelta(seconds=5)
"""More than the store's clock can seem to move: its `Date` has whole seconds."""
FIRST = "no earlier look to compare with"
NO_READ = "contents of snapshot files are not checked: the store refuses to let us read them"


@contextmanager
def remembering(folder: Path) -> Iterator[Callable[[str], Memory]]:
    """Memories of repositories, in a state of the program's own."""
    state = State({"STATE_DIRECTORY": str(folder)})
    yield lambda identity: state.memory("web", identity)
    state.close()
    assert state.warnings == []


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    with remembering(tmp_path / "state") as memories:
        yield memories("web")


def backend_of(url: str | Path, env: dict[str, str] | None = None) -> Backend:
    return Storages(Http({}, 4)).storage(str(url), {}, env or {}, Tls())


def look(
    store: str | Path | Backend, memory: Memory | None = None, *, env: dict[str, str] | None = None, times_needed: bool = False
) -> Observation:
    """One look; a store by its address, or ready-made."""
    address = str(store) if isinstance(store, str | Path) else "shelf:"
    backend = backend_of(store, env) if isinstance(store, str | Path) else store
    probe = Listing("web", backend, location.shown(address), Redactor(), memory, times_needed)
    seen = probe.observe(time.monotonic() + 30)
    if seen.keep:  # whoever is to be told has been
        seen.keep()
    return seen


def failure(store: str | Path | Backend, env: dict[str, str] | None = None, memory: Memory | None = None) -> str:
    """State word and reason of a look that must see nothing."""
    with pytest.raises(ProbeError) as error:
        look(store, memory, env=env)
    return f"{error.value.code.upper()} {error.value.message}"


def notice(s3: S3, bucket: str) -> None:
    """Wait until the server sees a bucket that was made behind its back: it keeps its last listing for a moment."""
    end = time.monotonic() + 20
    while failure(s3.location(f"{bucket}/not-there"), s3.env).startswith("ERROR there is no bucket "):
        assert time.monotonic() < end
        time.sleep(0.05)


def result(seen: Observation, max_age: timedelta = DAY) -> Result:
    """What the program would say of it."""
    checks: Sequence[Check] = (StoredRecently(MaxAge(max_age, "1d")), Content(), Locks(), Keyring(), Strays(), Clock())
    now = datetime.now(UTC)
    verdicts = tuple(check.judge(seen, now) for check in checks)
    return Result(Watch("web", ()), verdicts, seen.source, SECOND, notes=seen.notes)


def worst(result: Result) -> tuple[Status, str]:
    """The verdict that decides, and its words."""
    return result.status, f"{result.code.upper()} {result.worst.message}"


def stale(result: Result) -> Status:
    """What StoredRecently alone says."""
    (verdict,) = (verdict for verdict in result.verdicts if verdict.check == "stored")
    return verdict.status


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return make_repository(tmp_path / "repo", snapshots=[Backup(datetime.now(UTC))])


def snapshots_of(repository: Repository) -> list[Path]:
    return sorted((repository.path / "snapshots").iterdir(), key=lambda file: file.stat().st_mtime)


def aged(file: Path, age: timedelta) -> None:
    moment = time.time() - age.total_seconds()
    os.utime(file, (moment, moment))


def wait(memory: Memory, duration: timedelta) -> None:
    """As if the last look had been that much longer ago, and all that it knew."""
    past = memory.recall()
    assert past
    memory.remember(shifted(past, -duration))


def shifted(past: Past, by: timedelta) -> Past:
    def moved(file: Stored) -> Stored:
        return Stored(file.name, file.after and file.after + by, file.before + by)

    folders = {folder: {name: moved(file) for name, file in files.items()} for folder, files in past.folders.items()}
    return Past(past.looked + by, folders, past.noted)


# What counts


def test_a_look_at_a_repository_on_a_disk(repository: Repository) -> None:
    (snapshot,) = snapshots_of(repository)
    aged(snapshot, 3 * HOUR)
    seen = look(repository.path)
    assert (seen.source, seen.snapshots, seen.suspicious, seen.unreadable, seen.skew) == ("listing", None, (), (), None)
    assert seen.stored
    assert seen.keys
    (file,) = seen.stored.files
    assert (file.name, file.exact) == (snapshot.name, True)
    assert len(seen.keys.files) == 1
    told = result(seen).message
    assert told.startswith(f"OK newest file stored 3h ago (limit 1d); {snapshot.name[:8]} ")
    assert told.endswith("Z; 1 snapshot file")


@pytest.mark.parametrize(
    ("name", "content", "suspicious"),
    [
        ("e" * 64, b"", "eeeeeeee (0 bytes)"),
        ("e" * 64, b"x", "eeeeeeee (1 byte)"),
        ("e" * 64, b"x" * 32, "eeeeeeee (32 bytes)"),
        ("e" * 63, b"x" * 99, "eeeeeeeeeeeeeeeee... (not restic's)"),
        ("e" * 65, b"x" * 99, "eeeeeeeeeeeeeeeee... (not restic's)"),
        ("E" * 64, b"x" * 99, "EEEEEEEEEEEEEEEEE... (not restic's)"),
        ("é" * 64, b"x" * 99, "ééééééééééééééééé... (not restic's)"),
        ("e" * 64 + "\n", b"x" * 99, "eeeeeeeeeeeeeeeee... (not restic's)"),
        (".DS_Store", b"x" * 99, ".DS_Store (not restic's)"),
        ("a\x1b[31m<b>", b"x" * 99, "a [31m(b) (not restic's)"),
        ("old/" + "e" * 64, b"x" * 99, "old/eeeeeeeeeeeee... (not restic's)"),
    ],
)
def test_what_does_not_count_is_told(repository: Repository, name: str, content: bytes, suspicious: str) -> None:
    """Though it is the newest by far."""
    (snapshot,) = snapshots_of(repository)
    aged(snapshot, 2 * DAY)
    stray = repository.path / "snapshots" / name
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(content)
    seen = look(repository.path)
    assert seen.suspicious == (suspicious,)
    assert seen.stored
    assert [file.name for file in seen.stored.files] == [snapshot.name]
    assert result(seen).code is Code.STALE
    aged(snapshot, HOUR)
    assert worst(result(look(repository.path))) == (
        Status.WARN,
        f"WARN 1 file in snapshots/ is no snapshot: {suspicious}; when no restic is running, remove it",
    )


def test_33_bytes_count(repository: Repository) -> None:
    content = b"x" * 33
    (repository.path / "snapshots" / hashlib.sha256(content).hexdigest()).write_bytes(content)
    seen = look(repository.path)
    assert seen.stored
    assert (len(seen.stored.files), seen.suspicious) == (2, ())


@pytest.mark.parametrize("name", ["snapshots-old", "snapshot", "snapshots.bak", "index"])
def test_neighbours_are_not_looked_at(repository: Repository, name: str) -> None:
    (snapshot,) = snapshots_of(repository)
    aged(snapshot, 2 * DAY)
    shutil.copytree(repository.path / "snapshots", repository.path / name, copy_function=shutil.copy, dirs_exist_ok=True)
    seen = look(repository.path)
    assert seen.stored
    assert (len(seen.stored.files), seen.suspicious) == (1, ())


def test_what_does_not_count_is_told_in_the_order_of_names() -> None:
    shelf = Shelf()
    for name in ("c", "a", "d", "b"):
        shelf.files[f"snapshots/{name}"] = (b"x" * 99, timedelta(0))
    assert look(shelf).suspicious == ("a (not restic's)", "b (not restic's)", "c (not restic's)", "d (not restic's)")


@pytest.mark.parametrize(
    "name", ["-tmp-123456789", "-restic-temp-0f", ".rest-server-temp5577006791947779410", ".1a2b3c4d.partial"]
)
def test_an_upload_under_way_is_no_news_until_it_is_a_day_old(repository: Repository, name: str) -> None:
    """As restic names it on a disk and over sftp, rest-server and rclone on theirs."""
    upload = repository.path / "snapshots" / ("e" * 64 + name)
    upload.write_bytes(b"")
    for age in (timedelta(0), 23 * HOUR):
        aged(upload, age)
        assert result(look(repository.path)).status is Status.UP
    aged(upload, 25 * HOUR)
    told = result(look(repository.path))
    assert (told.status, "eeeeeeee-tmp- (an upload that broke off)" in told.message) == (Status.WARN, True)


def test_folder_markers_in_a_bucket_are_nothing(s3: S3) -> None:
    """Consoles make files of size 0 that stand for folders; the server here has real ones."""
    shelf = Shelf()
    shelf.files |= {"snapshots/": (b"", timedelta(0)), "keys/": (b"", timedelta(0)), "locks/": (b"", timedelta(0))}
    shelf.store()
    seen = look(shelf)
    assert seen.suspicious == ()
    make_repository(s3.folder / "markers" / "repo", snapshots=[Backup(datetime.now(UTC))])
    (s3.folder / "markers" / "repo" / "snapshots" / "folder").mkdir()
    notice(s3, "markers")
    seen = look(s3.location("markers/repo"), env=s3.env)
    assert (seen.suspicious, result(seen).status) == ((), Status.UP)


# Nothing there, in its kinds


def test_no_snapshots_is_missing_and_down(tmp_path: Path, s3: S3, rest: Rest) -> None:
    for folder in (tmp_path, s3.folder / "no-snapshots", rest.folder / "no-snapshots"):
        make_repository(folder / "repo")
    notice(s3, "no-snapshots")
    for url, env in (
        (str(tmp_path / "repo"), None),
        (s3.location("no-snapshots/repo"), s3.env),
        (rest.location("no-snapshots/repo"), None),
    ):
        told = result(look(url, env=env))
        assert worst(told) == (Status.DOWN, "MISSING no snapshot file in the repository")


def test_each_kind_of_nothing_has_its_own_sentence(tmp_path: Path, s3: S3, rest: Rest) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "stranger").mkdir()
    (tmp_path / "stranger" / "photo.jpg").touch()
    (tmp_path / "file").touch()
    (s3.folder / "bucket").mkdir()
    notice(s3, "bucket")
    folder = make_repository(tmp_path / "nokeys").path
    shutil.rmtree(folder / "keys")
    torn = make_repository(tmp_path / "torn").path
    shutil.rmtree(torn / "keys")
    (torn / "config").chmod(0o600)
    (torn / "config").write_bytes(b"")
    make_repository(rest.folder / "closed")
    wrong = replace(rest, password="wrong")
    host = rest.url.removeprefix("http://")
    bad_key = s3.env | {"AWS_SECRET_ACCESS_KEY": "x" * 40}
    no_config = "no config, no keys, no snapshots; is the url right?"
    told = [
        failure(tmp_path / "gone"),
        failure(tmp_path / "empty"),
        failure(tmp_path / "stranger"),
        failure(tmp_path / "file"),
        failure(folder),
        failure(torn),
        failure(s3.location("bucket/nothing"), s3.env),
        failure(s3.location("nobucket/repo"), s3.env),
        failure(s3.location("bucket/nothing"), bad_key),
        failure(rest.location("nothing")),
        failure(wrong.location("closed")),
        failure(f"rest:http://{host}/closed/"),
    ]
    assert [words for words in told if not words.startswith("ERROR ")] == []
    assert len(set(told)) == len(told)
    assert told[:7] == [
        f"ERROR there is no folder {tmp_path}/gone: is the disk mounted?",
        f"ERROR {tmp_path}/empty is empty: is the disk mounted?",
        f"ERROR there is no repository at {tmp_path}/stranger: {no_config}",
        f"ERROR {tmp_path}/file is not a folder",
        f"ERROR the repository at {folder} has a config but no keys: nobody can open it",
        f"ERROR the repository at {torn} has an empty config and no keys: did restic init end?",
        f"ERROR there is no repository at {s3.location('bucket/nothing')}: {no_config}",
    ]
    assert "nobucket" in told[7]
    assert not any("p@ss" in words or "p%40ss" in words or "x" * 40 in words for words in told)


def test_where_nothing_may_be_seen_nothing_is_said_about_what_is_there() -> None:
    shelf = Shelf(closed={"keys/", "config"})
    assert failure(shelf) == "ERROR nothing can be seen of a repository at shelf:: wrong url, or no access"


@pytest.mark.parametrize(("count", "were"), [(1, "was 1 snapshot file"), (3, "were 3 snapshot files")])
def test_a_repository_of_which_nothing_is_left_is_not_taken_for_a_wrong_url(count: int, were: str, memory: Memory) -> None:
    """Where its config may not be read, the last look knows that there was one."""
    shelf = Shelf(closed={"config"})
    for _ in range(count):
        shelf.store()
    look(shelf, memory)
    shelf.files.clear()
    words = f"ERROR there {were} at shelf:, and nothing is left: was it all removed?"
    assert failure(shelf, memory=memory) == words
    assert failure(shelf) == "ERROR nothing can be seen of a repository at shelf:: wrong url, or no access"
    shelf.closed |= {"keys/", "snapshots/"}
    assert failure(shelf, memory=memory) == failure(shelf)


def test_an_empty_repository_whose_keys_may_not_be_listed_is_missing_if_its_config_may_be_read() -> None:
    shelf = Shelf(closed={"keys/"})
    told = result(look(shelf))
    assert told.message == "MISSING no snapshot file in the repository"


def test_a_closed_folder_is_none_and_no_alarm(memory: Memory) -> None:
    shelf = Shelf(closed={"keys/", "locks/"})
    shelf.store()
    for _ in range(2):
        seen = look(shelf, memory)
        assert (seen.keys, seen.locks) == (None, None)
        assert result(seen).status is Status.UP
    shelf.closed.clear()
    seen = look(shelf, memory)  # its first look at them
    assert seen.keys
    assert (len(seen.keys.files), seen.keys.appeared) == (1, None)


def test_the_end_of_a_sentence_is_not_lost_to_a_long_url(tmp_path: Path) -> None:
    folder = tmp_path / ("y" * 150)
    folder.mkdir(parents=True)
    (folder / "photo.jpg").touch()
    words = failure(folder)
    assert words.endswith("...: no config, no keys, no snapshots; is the url right?")
    assert len(words) <= 200


@pytest.mark.parametrize(
    ("kind", "code"),
    [(kind, Code.UNREACHABLE if kind in ("unreachable", "timeout", "throttled") else Code.ERROR) for kind in Kind],
)
def test_what_may_heal_by_itself_is_unreachable_and_the_rest_an_error(kind: Kind, code: Code) -> None:
    shelf = Shelf(broken=kind)
    assert failure(shelf) == f"{code.upper()} the shelf is broken"
    assert shelf.ended


# The content of the newest


def test_another_content_than_the_name_says_is_down(repository: Repository) -> None:
    (snapshot,) = snapshots_of(repository)
    snapshot.chmod(0o600)
    content = snapshot.read_bytes()
    for damaged in (content[:-1], content + b"x", content[:50] + b"?" + content[51:]):
        snapshot.write_bytes(damaged)
        seen = look(repository.path)
        assert seen.unreadable == (snapshot.name,)
        told = result(seen)
        assert worst(told) == (
            Status.DOWN,
            f"ERROR the snapshot file {snapshot.name[:8]} is damaged: its content is not what its name says; "
            "do not prune, run restic check",
        )
    snapshot.write_bytes(content)
    assert result(look(repository.path)).status is Status.UP


def test_a_damaged_file_is_found_on_a_rest_server_too(rest: Rest) -> None:
    repository = make_repository(rest.folder / "damaged", snapshots=[Backup(datetime.now(UTC))])
    (snapshot,) = snapshots_of(repository)
    snapshot.chmod(0o600)
    os.truncate(snapshot, 100)
    assert look(rest.location("damaged")).unreadable == (snapshot.name,)


def test_a_refused_read_is_noted_once_and_changes_nothing(unprivileged: Unprivileged, memory: Memory) -> None:
    """The server there is another user's, who may list and not read."""
    repository = make_repository(unprivileged.folder / "repo", snapshots=[Backup(datetime.now(UTC))])
    for folder in (repository.path, repository.path / "snapshots", repository.path / "keys", repository.path / "locks"):
        folder.chmod(0o755)
    (snapshot,) = snapshots_of(repository)
    snapshot.chmod(0)
    server = Ssh("nas", "", "", str(repository.path), dict(os.environ), f"{unprivileged.prefix}{require('sftp-server')}", "")
    seen = look(server, memory)
    assert (seen.unreadable, seen.notes) == (None, (NO_READ, FIRST))
    assert result(seen).status is Status.UP
    assert look(server, memory).notes == ()
    snapshot.chmod(0o444)
    assert look(server, memory).unreadable == ()
    snapshot.chmod(0)
    assert look(server, memory).notes == (NO_READ,)
    assert look(server).notes == (NO_READ,)


def test_what_is_too_large_to_be_a_snapshot_is_not_read(repository: Repository) -> None:
    with (repository.path / "snapshots" / ("e" * 64)).open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    seen = look(repository.path)
    assert (seen.unreadable, seen.notes) == (
        None,
        ("contents of snapshot files are not checked: the newest file is too large",),
    )


def test_a_file_that_forget_takes_away_in_between_is_no_damage() -> None:
    shelf = Shelf()
    name = shelf.store()
    shelf.meanwhile = lambda: shelf.remove(name)
    assert look(shelf).unreadable == ()


def test_a_file_that_is_listed_and_cannot_be_found_is_damaged() -> None:
    shelf = Shelf()
    shelf.store()
    shelf.clock += HOUR
    name = shelf.store()
    shelf.unreadable = Kind.MISSING
    assert look(shelf).unreadable == (name,)


@pytest.mark.parametrize(("ahead", "found"), [(DAY, True), (6 * MINUTE, True), (4 * MINUTE, False)])
def test_a_file_in_the_future_hides_no_damage_of_the_newest_that_counts(
    repository: Repository, ahead: timedelta, found: bool
) -> None:
    (damaged,) = snapshots_of(repository)
    damaged.chmod(0o600)
    damaged.write_bytes(b"x" * 99)
    content = b"y" * 99
    intact = repository.path / "snapshots" / hashlib.sha256(content).hexdigest()
    intact.write_bytes(content)
    aged(intact, -ahead)
    assert look(repository.path).unreadable == ((damaged.name,) if found else ())
    damaged.unlink()
    intact.chmod(0o600)
    intact.write_bytes(b"z" * 99)
    aged(intact, -ahead)
    assert look(repository.path).unreadable == (intact.name,)  # better than none


def test_a_read_that_fails_by_itself_is_not_taken_for_a_refusal() -> None:
    shelf = Shelf()
    shelf.store()
    shelf.unreadable = Kind.UNREACHABLE
    assert failure(shelf) == "UNREACHABLE the shelf lets nothing be read"


# What changed since the last look


def test_the_first_look_says_that_there_was_none_before(repository: Repository, memory: Memory) -> None:
    seen = look(repository.path, memory)
    assert seen.stored
    assert (seen.notes, seen.stored.appeared, seen.stored.vanished) == ((FIRST,), None, None)
    seen = look(repository.path, memory)
    assert seen.stored
    assert (seen.notes, seen.stored.appeared, seen.stored.vanished) == ((), (), ())
    assert "since the last look" not in result(seen).message


def test_without_a_memory_nothing_is_compared(repository: Repository) -> None:
    for _ in range(2):
        seen = look(repository.path)
        assert seen.stored
        assert (seen.notes, seen.stored.appeared) == ((), None)


def test_backups_and_forget_are_counted(repository: Repository, memory: Memory) -> None:
    look(repository.path, memory)
    repository.backup(Backup(datetime.now(UTC)))
    repository.backup(Backup(datetime.now(UTC) + SECOND))
    assert result(look(repository.path, memory)).message.endswith("; 3 snapshot files; 2 new, 0 gone since the last look")
    repository.run("forget", "--keep-last", "1", "--quiet")
    assert result(look(repository.path, memory)).message.endswith("; 1 snapshot file; 0 new, 2 gone since the last look")
    assert result(look(repository.path, memory)).message.endswith("; 1 snapshot file")


def test_a_rewrite_shows_its_numbers_and_is_never_judged(tmp_path: Path, memory: Memory, restic_version: str) -> None:
    """From outside it is a night's backup with `forget`."""
    backups = [Backup(datetime.now(UTC) - age) for age in (50 * DAY, 49 * DAY)]
    repository = make_repository(tmp_path / "repo", restic_version, backups)
    for file in snapshots_of(repository):
        aged(file, 49 * DAY)
    assert result(look(repository.path, memory)).code is Code.STALE
    repository.run("tag", "--add", "kept")
    told = result(look(repository.path, memory))
    assert told.status is Status.UP
    assert told.message.startswith("OK newest file stored 0s ago (limit 1d); ")
    assert told.message.endswith("; 2 snapshot files; 2 new, 2 gone since the last look")


def test_a_key_that_comes_or_goes_warns_once(repository: Repository, memory: Memory, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("another password")
    look(repository.path, memory)
    before = {file.name for file in (repository.path / "keys").iterdir()}
    repository.run("key", "add", "--new-password-file", str(tmp_path / "password"))
    (added,) = {file.name for file in (repository.path / "keys").iterdir()} - before
    told = result(look(repository.path, memory))
    assert worst(told) == (Status.WARN, f"WARN 1 key new: {added[:8]}; was that you?")
    assert result(look(repository.path, memory)).status is Status.UP
    repository.run("key", "remove", added)
    told = result(look(repository.path, memory))
    assert worst(told) == (Status.WARN, f"WARN 1 key gone: {added[:8]}; was that you?")
    assert result(look(repository.path, memory)).status is Status.UP


def test_snapshots_without_any_key_are_down(repository: Repository) -> None:
    shutil.rmtree(repository.path / "keys")
    told = result(look(repository.path))
    assert worst(told) == (
        Status.DOWN,
        "ERROR no key in the repository, so nobody can open it: put the files of keys/ back",
    )


def test_a_lock_left_behind_warns(repository: Repository) -> None:
    """A restic that lives writes a new one every five minutes. An empty one restic ignores too."""
    empty, young, old = (repository.path / "locks" / (letter * 64) for letter in "123")
    for lock, content, age in ((empty, b"", DAY), (young, b"x" * 99, 29 * MINUTE), (old, b"x" * 99, 2 * HOUR)):
        lock.write_bytes(content)
        aged(lock, age)
    told = result(look(repository.path))
    assert worst(told) == (
        Status.WARN,
        "WARN a lock is 2h old; when no restic is running: restic unlock",
    )
    old.unlink()
    assert result(look(repository.path)).status is Status.UP


def test_the_memory_is_of_one_repository(tmp_path: Path) -> None:
    one, other = Shelf(), Shelf()
    one.store()
    other.store()
    with remembering(tmp_path / "state") as memories:
        look(one, memories("one"))
        assert look(other, memories("other")).notes == (FIRST,)
        assert look(one, memories("one")).notes == ()


# The whole program


def program(run: Run, url: str, *options: str, env: dict[str, str] | None = None, **keys: object) -> dict[str, Any]:
    config = run.home / "config.yaml"
    config.write_text(json.dumps({"repositories": {"web": {"url": url, "mode": "listing", **keys}}}))
    config.chmod(0o600)
    done = run("run", "--config", config, "--format", "json", *options, env={"PATH": "", **(env or {})})
    assert done.stdout, done.stderr
    (found,) = json.loads(done.stdout)["results"]
    assert isinstance(found, dict)
    return found


def test_the_program_remembers_and_without_state_it_does_not(run: Run, repository: Repository) -> None:
    state = run.home / ".local" / "state" / "restic-monitor" / "state.sqlite"
    outcome = program(run, str(repository.path), "--no-state")
    assert (outcome["status"], outcome["source"], outcome["notes"], state.exists()) == ("up", "listing", [], False)
    assert program(run, str(repository.path))["notes"] == [FIRST]
    assert state.stat().st_mode & 0o777 == 0o600
    repository.backup(Backup(datetime.now(UTC)))
    assert program(run, str(repository.path), "--no-state")["message"].endswith("; 2 snapshot files")
    outcome = program(run, str(repository.path))
    assert (outcome["notes"], outcome["snapshots"]) == ([], 2)
    assert outcome["message"].endswith("; 2 snapshot files; 1 new, 0 gone since the last look")
    state.unlink()
    assert program(run, str(repository.path))["notes"] == [FIRST]


def test_a_rest_server_is_never_up_without_state(run: Run, rest: Rest) -> None:
    repository = make_repository(rest.folder / "forgetful", snapshots=[Backup(datetime.now(UTC))])
    for _ in range(2):
        outcome = program(run, rest.location("forgetful"), "--no-state")
        assert (outcome["status"], outcome["code"]) == ("unknown", "unknown")
        assert outcome["age_seconds"] is None
        repository.backup(Backup(datetime.now(UTC)))


# A server that tells no times


@pytest.fixture
def served(rest: Rest, tmp_path: Path) -> tuple[Repository, str]:
    """A repository with a backup on a rest-server, and its address."""
    name = tmp_path.name.replace("_", "-")
    return make_repository(rest.folder / name, snapshots=[Backup(datetime.now(UTC))]), rest.location(name)


def test_the_first_look_at_a_rest_server_is_unknown(served: tuple[Repository, str], memory: Memory) -> None:
    seen = look(served[1], memory)
    assert seen.skew is not None
    assert abs(seen.skew) < 2 * SECOND
    told = result(seen)
    words = "UNKNOWN newest file stored before the first look, 0s ago, and the server tells no times: wait for a new file ("
    assert told.message.startswith(words)
    wait(memory, DAY - MINUTE)
    assert stale(result(look(served[1], memory))) is Status.UNKNOWN
    wait(memory, 2 * HOUR)
    told = result(look(served[1], memory))
    assert told.message.startswith("STALE newest file stored before the first look, 1d1h ago (limit 1d); ")


def test_a_new_file_is_up_until_it_is_too_old(served: tuple[Repository, str], memory: Memory) -> None:
    repository, url = served
    look(url, memory)
    wait(memory, 6 * HOUR + SKEW)
    repository.backup(Backup(datetime.now(UTC)))
    told = result(look(url, memory))
    assert told.status is Status.UP
    assert told.message.startswith("OK newest file stored 0s to 6h ago (limit 1d); ")
    assert told.message.endswith("; 2 snapshot files; 1 new, 0 gone since the last look")
    for waited, status, words in (
        (17, Status.UP, "OK newest file stored 17h to 23h ago (limit 1d); "),
        (
            2,
            Status.UNKNOWN,
            "UNKNOWN newest file stored 19h to 1d1h ago, and the server tells no times: look more often ",
        ),
        (6, Status.DOWN, "STALE newest file stored at least 1d1h ago (limit 1d); "),
    ):
        wait(memory, waited * HOUR + SKEW)
        told = result(look(url, memory))
        assert (told.status, told.message[: len(words)]) == (status, words)


def test_a_pause_of_the_monitor_makes_no_file_young(served: tuple[Repository, str], memory: Memory) -> None:
    """By "since first seen" it would be 0 h old; it may be 47."""
    repository, url = served
    look(url, memory)
    repository.backup(Backup(datetime.now(UTC)))
    wait(memory, 47 * HOUR + SKEW)
    told = result(look(url, memory))
    assert told.status is Status.UNKNOWN
    assert told.message.startswith("UNKNOWN newest file stored 0s to 1d23h ago")


def test_a_lost_state_makes_a_rest_server_unknown(served: tuple[Repository, str], tmp_path: Path) -> None:
    repository, url = served
    with remembering(tmp_path / "one") as memories:
        look(url, memories("web"))
        repository.backup(Backup(datetime.now(UTC)))
        assert stale(result(look(url, memories("web")))) is Status.UP
    with remembering(tmp_path / "two") as memories:
        seen = look(url, memories("web"))
        assert (seen.notes, stale(result(seen))) == ((FIRST,), Status.UNKNOWN)
        assert stale(result(look(url, memories("web")))) is Status.UNKNOWN


def test_a_failed_look_is_not_remembered(served: tuple[Repository, str], memory: Memory) -> None:
    repository, url = served
    look(url, memory)
    wait(memory, 5 * HOUR)
    hidden = repository.path.with_name("hidden")
    repository.path.rename(hidden)
    assert failure(url).startswith("ERROR ")
    hidden.rename(repository.path)
    repository.backup(Backup(datetime.now(UTC)))
    assert result(look(url, memory)).age == pytest.approx(5 * HOUR, abs=MINUTE)


def test_snapshots_that_were_all_away_come_back_as_old_as_they_were(served: tuple[Repository, str], memory: Memory) -> None:
    """A disk that was not mounted, say, while the looks went on."""
    repository, url = served
    look(url, memory)
    wait(memory, 2 * DAY)
    folder, hidden = repository.path / "snapshots", repository.path / "hidden"
    folder.rename(hidden)
    for _ in range(2):
        told = result(look(url, memory))
        assert told.message == "MISSING no snapshot file in the repository; 0 new, 1 gone since the last look"
    hidden.rename(folder)
    seen = look(url, memory)
    assert (stale(result(seen)), seen.stored and seen.stored.appeared) == (Status.DOWN, ())


def test_snapshots_that_were_all_away_when_the_clock_was_set_back_come_back_without_an_age(memory: Memory) -> None:
    shelf = Shelf(times=False)
    shelf.store()
    shelf.clock = 10 * DAY
    look(shelf, memory)
    shelf.clock = timedelta(0)
    away, shelf.files = shelf.files, {"config": shelf.files["config"], "keys/" + "1" * 64: (b"k" * 99, timedelta(0))}
    assert stale(result(look(shelf, memory))) is Status.DOWN
    shelf.files = away
    assert stale(result(look(shelf, memory))) is Status.UNKNOWN


def test_a_repository_that_is_emptied_where_times_are_told_is_remembered_as_empty(memory: Memory) -> None:
    shelf = Shelf()
    name = shelf.store()
    look(shelf, memory)
    shelf.remove(name)
    assert result(look(shelf, memory)).message.endswith("; 0 new, 1 gone since the last look")
    assert result(look(shelf, memory)).message == "MISSING no snapshot file in the repository"


def test_locks_of_a_rest_server_are_at_least_so_old(served: tuple[Repository, str], memory: Memory) -> None:
    repository, url = served
    (repository.path / "locks" / ("1" * 64)).write_bytes(b"x" * 99)
    assert "lock" not in result(look(url, memory)).message
    wait(memory, HOUR + SKEW)
    assert "; a lock is at least 1h old; when" in result(look(url, memory)).message


def test_times_that_are_needed_and_not_told_are_an_error_of_their_own(
    served: tuple[Repository, str], repository: Repository, memory: Memory
) -> None:
    with pytest.raises(NoTimesError, match="the server tells no times of its files"):
        look(served[1], memory, times_needed=True)
    assert memory.recall() is None
    assert result(look(repository.path, times_needed=True)).status is Status.UP
    for file in snapshots_of(served[0]):
        file.unlink()
    assert result(look(served[1], times_needed=True)).code is Code.MISSING


# Clocks that jump


@pytest.mark.parametrize("ahead", [2 * MINUTE, 10 * DAY, 30_000 * DAY])
def test_a_look_in_the_future_proves_nothing(served: tuple[Repository, str], memory: Memory, ahead: timedelta) -> None:
    """Our clock was ahead during the last look, and is right now: what is new may be as old as it likes."""
    repository, url = served
    look(url, memory)
    wait(memory, -ahead)
    repository.backup(Backup(datetime.now(UTC)))
    seen = look(url, memory)
    assert stale(result(seen)) is Status.UNKNOWN
    assert seen.stored
    assert seen.stored.appeared is None
    (note,) = seen.notes
    assert note.startswith("not compared with the last look, which is dated in the future (2")
    assert note.endswith("): is a clock wrong?")
    assert look(url, memory).notes == ()


def test_a_clock_that_goes_forth_and_back_never_makes_up(memory: Memory) -> None:
    shelf = Shelf(times=False)
    shelf.store()
    told = []
    for jump in (0, 10, 0, 10, -10, 0, 0):
        shelf.clock = jump * DAY
        told.append(stale(result(look(shelf, memory))))
    assert Status.UP not in told


def test_a_clock_that_is_behind_for_some_looks_makes_no_file_younger_and_the_next_file_is_up(memory: Memory) -> None:
    """A small server without a clock of its own serves before it has asked for the time. Then files seem to be older than they
    are: nobody can tell it from a state from the future, where the opposite would keep DOWN away until that future."""
    shelf = Shelf(times=False)
    look(shelf, memory)
    told = []
    for name, clock in (("new", HOUR), ("", -3 * DAY), ("", -3 * DAY + MINUTE), ("", 3 * HOUR), ("new", 4 * HOUR)):
        shelf.clock = clock
        if name:
            shelf.store()
        told.append(stale(result(look(shelf, memory))))
    assert told == [Status.UP, Status.UNKNOWN, Status.UNKNOWN, Status.DOWN, Status.UP]


def test_a_state_from_the_future_does_not_keep_what_is_old_from_being_down(memory: Memory) -> None:
    shelf = Shelf(times=False)
    shelf.store()
    shelf.clock = 365 * DAY
    look(shelf, memory)
    shelf.clock = timedelta(0)
    assert stale(result(look(shelf, memory))) is Status.UNKNOWN
    shelf.clock = DAY + HOUR
    assert stale(result(look(shelf, memory))) is Status.DOWN


def test_bounds_from_the_future_do_not_outlive_the_look_that_finds_them(memory: Memory) -> None:
    """Of another run with another clock. And the newest is what is new, not what they say."""
    shelf = Shelf(times=False)
    old = shelf.store()
    begun = shelf.begun
    bounds = {old: Stored(old, begun - 9 * DAY, begun + 365 * DAY)}
    memory.remember(Past(begun - HOUR, {"snapshots": bounds}))
    new = shelf.store()
    shelf.files[f"snapshots/{new}"] = (b"damaged" * 9, timedelta(0))
    look(shelf, memory)
    past = memory.recall()
    assert past
    file = past.folders["snapshots"][old]
    assert (file.after, file.before - begun < MINUTE) == (begun - 9 * DAY, True)
    shelf.clock = DAY + HOUR
    assert stale(result(look(shelf, memory))) is Status.DOWN


def test_a_clock_that_is_set_back_a_little_is_no_reason_to_begin_anew(memory: Memory) -> None:
    shelf = Shelf(times=False)
    shelf.store()
    look(shelf, memory)
    shelf.clock -= 30 * SECOND
    shelf.store()
    seen = look(shelf, memory)
    assert (seen.notes, stale(result(seen))) == ((), Status.UP)


# Two runs at once


def test_a_slow_look_believes_no_look_that_ended_meanwhile(memory: Memory, tmp_path: Path) -> None:
    """The slow one has listed the old file; then `forget` takes it away, and another run sees nothing of it. Old it stays."""
    shelf = Shelf(times=False)
    old = shelf.store()
    look(shelf, memory)
    shelf.clock += 10 * DAY

    def others() -> None:
        shelf.remove(old)
        with remembering(tmp_path / "state") as memories:
            look(shelf, memories("web"))

    shelf.meanwhile = others
    assert stale(result(look(shelf, memory))) is Status.DOWN


def test_many_runs_at_once_and_backups_meanwhile(repository: Repository, tmp_path: Path) -> None:
    done = Event()

    def watch() -> None:
        with remembering(tmp_path / "state") as memories:
            last = False
            while not last:
                last = done.is_set()
                assert result(look(repository.path, memories("web"))).status in (Status.UP, Status.WARN)

    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(watch) for _ in range(3)]
        repository.backup(Backup(datetime.now(UTC)))
        done.set()
        for each in runs:
            each.result()
    with remembering(tmp_path / "state") as memories:
        seen = look(repository.path, memories("web"))
    assert seen.stored
    assert (seen.stored.appeared, seen.stored.vanished, seen.notes) == ((), (), ())


# Whatever happens between looks


@dataclass
class Shelf:
    """A store of one repository in this process. Its clock is `clock` ahead of ours and told with each listing, as `Date` is.

    `meanwhile` happens once while a listing is under way, after the files were seen. `closed` may be neither listed nor read.
    """

    times: bool = True
    clock: timedelta = timedelta(0)
    files: dict[str, tuple[bytes, timedelta]] = field(default_factory=dict)
    """By name: content, and the `clock` when it was stored."""
    closed: set[str] = field(default_factory=set)
    broken: Kind | None = None
    unreadable: Kind | None = None
    meanwhile: Callable[[], None] | None = None
    ended: bool = False
    heavy: bool = False
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))
    _count: int = 0

    def __post_init__(self) -> None:
        self.files["config"] = (b"c" * 99, self.clock)
        self.files["keys/" + "0" * 64] = (b"k" * 99, self.clock)

    def read_all(self, files: Sequence[Entry], deadline: float, limit: int) -> Iterator[tuple[Entry, bytes | BackendError]]:
        return one_by_one(self.read, files, deadline, limit)

    def store(self) -> str:
        self._count += 1
        content = f"snapshot {self._count:099}".encode()
        name = hashlib.sha256(content).hexdigest()
        self.files[f"snapshots/{name}"] = (content, self.clock)
        return name

    def remove(self, name: str) -> None:
        self.files.pop(f"snapshots/{name}", None)

    @property
    def snapshots(self) -> list[str]:
        return [name.partition("/")[2] for name in self.files if name.startswith("snapshots/")]

    @property
    def age(self) -> timedelta | None:
        """Of the newest; the truth."""
        stored = [moment for name, (_, moment) in self.files.items() if name.startswith("snapshots/")]
        return self.clock - max(stored) if stored else None

    def list(self, folder: str, deadline: float) -> Entries:
        return Entries(lambda entries: (entry for entry in self._entries(entries) if entry.name.startswith(folder)))

    def _entries(self, entries: Entries) -> Iterator[Entry]:
        if self.broken:
            raise BackendError(self.broken, "the shelf is broken")
        entries.denied |= {name[:-1] for name in self.closed if name.endswith("/")}
        found = [(name, *file) for name, file in self.files.items() if name.partition("/")[0] not in entries.denied]
        if meanwhile := self.meanwhile:
            self.meanwhile = None
            meanwhile()
        for name, content, stored in found:
            if name != "config":
                yield Entry(name, len(content), self.begun + stored if self.times else None)
        entries.skew = self.clock

    def read(self, name: str, deadline: float, limit: int) -> bytes:
        if self.unreadable:
            raise BackendError(self.unreadable, "the shelf lets nothing be read")
        if name in self.closed:
            raise BackendError(Kind.DENIED, "that may not be read")
        if name not in self.files:
            raise BackendError(Kind.MISSING, "that is not there")
        return self.files[name][0][:limit]

    def close(self) -> None:
        self.ended = True


LIMIT = HOUR + 30 * SECOND
"""Time passes in whole minutes here, so that no age comes near it."""


@dataclass
class World:
    """A shelf without times, and looks at it that remember."""

    memory: Memory
    shelf: Shelf

    def look(self, meanwhile: Callable[[], None] | None = None) -> Status:
        """Asserts that what is said is true of the moment when the files were seen."""
        age = self.shelf.age
        self.shelf.meanwhile = meanwhile
        told = stale(result(look(self.shelf, self.memory), LIMIT))
        if age is None or age > LIMIT:
            assert told is not Status.UP, f"UP, and the newest file is {age} old"
        if age is not None and age <= LIMIT:
            assert told is not Status.DOWN, f"DOWN, and the newest file is {age} old"
        return told


class Life(RuleBasedStateMachine):
    """Never UP when it is stale and never DOWN when it is fresh, whatever comes, goes, is lost or looks at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="restic-monitor-test-")
        self.state = State({"STATE_DIRECTORY": self.folder})
        self.shelf, self.lost = Shelf(times=False), 0

    @property
    def world(self) -> World:
        """Another run's, each time."""
        return World(self.state.memory("web", f"after {self.lost} losses"), self.shelf)

    @rule(minutes=st.sampled_from([1, 10, 30, 60, 61, 90]))
    def time_passes(self, minutes: int) -> None:
        self.shelf.clock += minutes * MINUTE

    @rule()
    def one_comes(self) -> None:
        self.shelf.store()

    @rule(number=st.integers(0, 3))
    @precondition(lambda self: self.shelf.snapshots)
    def one_goes(self, number: int) -> None:
        self.shelf.remove(self.shelf.snapshots[number % len(self.shelf.snapshots)])

    @rule(looks=st.integers(1, 3), minutes=st.sampled_from([0, 30, 61]))
    def all_are_away_for_some_looks(self, looks: int, minutes: int) -> None:
        """Known ones: what no look has seen yet is new to the next that does."""
        self.a_look()
        away = {name: self.shelf.files.pop(f"snapshots/{name}") for name in self.shelf.snapshots}
        for _ in range(looks):
            self.time_passes(minutes)
            self.a_look()
        self.shelf.files |= {f"snapshots/{name}": file for name, file in away.items()}

    @rule()
    def a_look(self) -> None:
        self.world.look()

    @rule()
    def a_look_while_one_comes(self) -> None:
        self.world.look(self.one_comes)

    @rule()
    def a_look_while_one_goes_and_another_looks(self) -> None:
        def meanwhile() -> None:
            if self.shelf.snapshots:
                self.one_goes(0)
            self.a_look()

        self.world.look(meanwhile)

    @rule()
    def a_look_in_vain(self) -> None:
        self.shelf.broken = Kind.TIMEOUT
        assert failure(self.shelf).startswith("UNREACHABLE")
        self.shelf.broken = None

    @rule()
    def the_state_is_lost(self) -> None:
        self.lost += 1

    def teardown(self) -> None:
        self.state.close()
        shutil.rmtree(self.folder)
        assert self.state.warnings == []


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)


@given(st.lists(st.booleans(), min_size=1, max_size=25), st.sampled_from([5, 15, 60]))
@settings(max_examples=50, deadline=None)
def test_looks_at_regular_times_know_all_but_what_lies_within_a_gap_of_the_limit(stored: Sequence[bool], gap: int) -> None:
    """Hence the advice to look at least four times per max_age."""
    with (
        tempfile.TemporaryDirectory(prefix="restic-monitor-test-") as folder,
        remembering(Path(folder, "state")) as memories,
    ):
        world = World(memories("web"), Shelf(times=False))
        world.look()
        for comes in stored:
            world.shelf.clock += gap / 3 * MINUTE
            if comes:
                world.shelf.store()
            world.shelf.clock += gap * 2 / 3 * MINUTE
            told, age = world.look(), world.shelf.age
            if age is not None and age <= LIMIT - gap * MINUTE:
                assert told is Status.UP
            if age is None or age > LIMIT + gap * MINUTE:
                assert told is Status.DOWN
