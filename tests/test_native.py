"""Our own reader at real repositories, through the program: what a look costs, what it finds, and what it keeps to itself.

What no restic writes (a forged file, a key that would cost an hour) is sealed here with the repository's master key.
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from conftest import Run, Unprivileged
from looks import Outcome, run_on, script
from proxy import Proxy
from repositories import Sealer, json_bytes, key_file, lock, snapshot, write_repository
from restics import PASSWORD, VERSIONS, Backup, Repository, make_repository, require
from servers import S3, Rest
from sshd import Sftp

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NO_RESTIC = Path("/nowhere/restic")
"""Nothing can run it: what is seen in spite of it was seen by ourselves."""
OTHER_PASSWORD = "another one, of somebody else"
FRESH = Backup(datetime.now(UTC) - HOUR)


@dataclass(frozen=True)
class Looker:
    """Looks at one repository with one state, by `mode: native`, with the password in a file that tests replace."""

    run: Run
    url: str
    keys: Mapping[str, Any]
    env: Mapping[str, str]

    @property
    def password(self) -> Path:
        return self.run.home / "password"

    @property
    def state(self) -> Path:
        return self.run.home / ".local" / "state" / "restic-monitor"

    def __call__(self, *options: str, **keys: Any) -> Outcome:
        given = {"mode": "native", "password_file": str(self.password), **self.keys, **keys}
        return run_on(self.run, self.url, NO_RESTIC, *options, env=self.env, **given)

    def without_password(self, **keys: Any) -> Outcome:
        """Whoever derives a key now says "wrong password"."""
        self.password.write_text("not the password")
        try:
            return self(**keys)
        finally:
            self.password.write_text(PASSWORD)


@pytest.fixture
def at(run: Run) -> Callable[..., Looker]:
    """A Looker for a repository, or for the same behind an address."""

    def looker(repository: Repository, url: str | None = None, env: Mapping[str, str] | None = None, **keys: Any) -> Looker:
        made = Looker(run, url or str(repository.path), keys, env or {})
        made.password.write_text(repository.password)
        return made

    return looker


At = Callable[..., Looker]


def three(path: Path, version: str = VERSIONS[-1]) -> Repository:
    return make_repository(path, version, [Backup(FRESH.time - age) for age in (2 * DAY, DAY, timedelta(0))])


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Three snapshots, the newest an hour old. Nobody changes it: `made` is a copy."""
    return three(tmp_path_factory.mktemp("native") / "repo")


@pytest.fixture
def made(shelf: Repository, tmp_path: Path) -> Repository:
    return copy_of(shelf, tmp_path / "repo")


def copy_of(repository: Repository, path: Path) -> Repository:
    shutil.copytree(repository.path, path)  # with the times of its files
    return replace(repository, path=path)


def files(repository: Repository, folder: str = "snapshots") -> list[Path]:
    return sorted((repository.path / folder).iterdir())


def store(repository: Repository, folder: str, content: bytes) -> Path:
    """A file under the name that its content wants."""
    path = repository.path / folder / hashlib.sha256(content).hexdigest()
    path.write_bytes(content)
    return path


def overwrite(path: Path, content: bytes) -> None:
    """restic's files are read-only."""
    path.chmod(0o600)
    path.write_bytes(content)


def master_key(repository: Repository) -> bytes:
    """32 bytes for AES-256, 16 and 16 for Poly1305-AES."""
    shown = json.loads(repository.run("cat", "masterkey", "--no-lock"))
    parts = (shown["encrypt"], shown["mac"]["k"], shown["mac"]["r"])
    return b"".join(map(base64.b64decode, parts))


def a_snapshot(repository: Repository, key: bytes, moment: datetime, host: str = "web1", **fields: Any) -> Path:
    document = {"time": moment.isoformat(), "tree": "0" * 64, "paths": ["/srv"], "hostname": host, "username": "root", **fields}
    return store(repository, "snapshots", Sealer(key).seal(json.dumps(document).encode()))


def many(repository: Repository, count: int) -> None:
    """One an hour, with its file's time."""
    key, summary = master_key(repository), {"total_files_processed": 100, "total_bytes_processed": 100_000}
    for number in range(count):
        hours = (number + 1) * HOUR
        age(a_snapshot(repository, key, datetime.now(UTC) - hours, summary=summary), hours)


def finding(outcome: Outcome) -> str:
    return " ".join(outcome.result["findings"])


# What a look costs


def test_the_second_look_at_an_unchanged_repository_is_one_listing_and_derives_no_key(
    s3: S3, shelf: Repository, at: At
) -> None:
    (s3.folder / "native-once").mkdir()
    copy_of(shelf, s3.folder / "native-once" / "repo")
    with Proxy(s3.endpoint) as proxy:
        look = at(shelf, replace(s3, endpoint=proxy.url).location("native-once/repo"), s3.env)
        assert look().status == "up"
        assert sum("list-type" not in seen.path for seen in proxy.seen) == 1 + 1 + 3, "a key, the config, three snapshots"
        proxy.forget()
        second = look.without_password()
        assert (second.status, second.result["snapshots"]) == ("up", 3)
        assert [("list-type=2" in seen.path, seen.status) for seen in proxy.seen] == [(True, 200)]


def test_the_password_command_runs_once_for_an_unchanged_repository(made: Repository, at: At, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    command = script(tmp_path / "password-command", f"#!/bin/sh\necho ran >>{marker}\necho '{PASSWORD}'\n")
    look = at(made)
    given = {"password_file": None, "password_command": str(command)}
    assert [look(**given).status for _ in range(3)] == ["up"] * 3
    assert marker.read_text() == "ran\n"


def test_a_new_snapshot_is_the_only_one_that_is_read(s3: S3, shelf: Repository, at: At) -> None:
    (s3.folder / "native-new").mkdir()
    repository = copy_of(shelf, s3.folder / "native-new" / "repo")
    with Proxy(s3.endpoint) as proxy:
        look = at(shelf, replace(s3, endpoint=proxy.url).location("native-new/repo"), s3.env)
        look()
        before = set(files(repository))
        repository.backup(Backup(FRESH.time, host="new"))
        (new,) = set(files(repository)) - before
        time.sleep(0.1)  # the server keeps its listings for 10 ms
        proxy.forget()
        outcome = look()
        assert (outcome.status, outcome.result["snapshots"]) == ("up", 4)
        assert [seen.path.rpartition("/")[2] for seen in proxy.seen if "/snapshots/" in seen.path] == [new.name]
        assert sum("/keys/" in seen.path for seen in proxy.seen) == 1


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_file_whose_size_or_time_changed_is_read_again(made: Repository, at: At, change: str) -> None:
    look = at(made)
    look()
    (file, *_), content = files(made), files(made)[0].read_bytes()
    before = file.stat()
    if change == "size":
        overwrite(file, content[:-1])
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        overwrite(file, content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(file, (before.st_atime + 60, before.st_mtime + 60))
    outcome = look()
    assert (outcome.status, outcome.result["snapshots"]) == ("down", 2)
    assert f"{file.name[:8]} (its content is not what its name says)" in outcome.message


def test_a_snapshot_that_is_forgotten_no_longer_counts(made: Repository, at: At) -> None:
    look = at(made)
    assert look().status == "up"
    newest = json.loads(made.run("snapshots", "--json"))[-1]["id"]
    made.run("forget", newest)
    outcome = look.without_password()
    assert (outcome.status, outcome.result["snapshots"]) == ("down", 2)
    assert "(limit 1d" in outcome.message


def test_a_password_that_was_revoked_is_noticed_though_no_snapshot_is_new(made: Repository, at: At, add_key: AddKey) -> None:
    look = at(made)
    look()
    (ours,) = files(made, "keys")
    add_key(made)
    replace(made, password=OTHER_PASSWORD).run("key", "remove", ours.name)
    for _ in range(2):
        outcome = look()
        told = f"ERROR the key that opened until now, {ours.name[:8]}, is gone, and the password opens no other"
        assert (outcome.status, outcome.message) == ("unknown", told)
    look.password.write_text(OTHER_PASSWORD)
    assert look().status in ("up", "warn")


AddKey = Callable[[Repository], Path]


def _added_by_restic(repository: Repository) -> Path:
    before = set(files(repository, "keys"))
    with tempfile.NamedTemporaryFile("w", suffix="-password") as new:
        print(OTHER_PASSWORD, file=new, flush=True)
        repository.run("key", "add", "--new-password-file", new.name, "--user", "mallory", "--host", "attic")
    (added,) = set(files(repository, "keys")) - before
    return added


def _added_lightly(repository: Repository) -> Path:
    now = datetime.now().astimezone().isoformat()
    document = key_file(OTHER_PASSWORD, master_key(repository), username="mallory", hostname="attic", created=now)
    return store(repository, "keys", json_bytes(document))


@pytest.fixture(params=[_added_lightly, pytest.param(_added_by_restic, marks=pytest.mark.slow)])
def add_key(request: pytest.FixtureRequest) -> AddKey:
    """Gives a repository a key of somebody else, and returns its file. One of restic's takes it a second to make, and to open
    half of one."""
    made: AddKey = request.param
    return made


def test_neither_the_password_nor_a_key_stands_in_the_state(made: Repository, at: At) -> None:
    look = at(made)
    look()
    key = master_key(made)
    parts = {"password": PASSWORD.encode(), "encrypt": key[:32], "mac.k": key[32:48], "mac.r": key[48:]}
    kept = b"".join(file.read_bytes() for file in look.state.rglob("*") if file.is_file())
    assert files(made)[0].name.encode() in kept, "this is where it is remembered"
    for name, secret in parts.items():
        for shown in (secret, secret.hex().encode(), base64.b64encode(secret).rstrip(b"="), secret.hex().upper().encode()):
            assert shown not in kept, name


def test_what_each_restic_wrote_is_read_and_remembered(tmp_path: Path, at: At, restic_version: str) -> None:
    made = three(tmp_path / "repo", restic_version)
    lock, pid = leave_lock(made, "backup", "--stdin")
    age(lock, 2 * HOUR)
    newest = json.loads(made.run("snapshots", "--json", "--no-lock"))[-1]
    look = at(made)
    for seen in (look(), look.without_password()):
        assert (seen.status, seen.result["snapshots"], seen.result["newest_id"]) == ("warn", 3, newest["id"])
        assert f"@{os.uname().nodename} pid {pid})" in finding(seen)


# What is damaged


def _flipped(file: Path, _: Path, __: Repository) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x40
    overwrite(file, bytes(content))


def _truncated(file: Path, _: Path, __: Repository) -> None:
    overwrite(file, file.read_bytes()[:-10])


def _swapped(file: Path, other: Path, _: Repository) -> None:
    overwrite(file, other.read_bytes())


@pytest.mark.parametrize("damage", [_flipped, _truncated, _swapped])
def test_a_damaged_snapshot_is_down_with_its_name_and_the_others_are_read(
    made: Repository, at: At, damage: Callable[[Path, Path, Repository], None]
) -> None:
    look, (file, other, _) = at(made), files(made)
    damage(file, other, made)
    for _ in range(2):
        outcome = look(max_age="10d")
        assert (outcome.status, outcome.result["snapshots"]) == ("down", 2)
        told = f"1 snapshot file is damaged or unreadable: {file.name[:8]} (its content is not what its name says)"
        assert told in outcome.message


FORGED = [
    (b'{"time":"2026-11-01T10:00:00Z"}', "a snapshot without a tree"),
    (b'{"time":"yesterday","tree":"' + b"0" * 64 + b'"}', "its time is no moment"),
    (b"[1, 2, 3]", "no snapshot"),
    (b"{" * 100_000, "no snapshot"),
    (b"\x02not compressed", "its compression is broken"),
    (b"\x07", "neither JSON nor compressed"),
    (b"", "no content"),
]


@pytest.mark.parametrize(("plaintext", "reason"), FORGED[:-1])
def test_a_snapshot_that_makes_no_sense_is_down_with_its_name(made: Repository, at: At, plaintext: bytes, reason: str) -> None:
    forged = store(made, "snapshots", Sealer(master_key(made)).seal(plaintext))
    outcome = at(made)()
    assert (outcome.status, outcome.result["snapshots"]) == ("down", 3)
    assert f"{forged.name[:8]} ({reason})" in outcome.message


def test_a_snapshot_of_another_repository_is_down_with_its_name(made: Repository, at: At, tmp_path: Path) -> None:
    stranger = make_repository(tmp_path / "stranger", "0.18", [FRESH])
    assert master_key(stranger) != master_key(made)
    (foreign,) = files(stranger)
    shutil.copy(foreign, made.path / "snapshots")
    outcome = at(made)()
    assert (outcome.status, outcome.result["snapshots"]) == ("down", 3)
    assert f"{foreign.name[:8]} (not sealed with the key of this repository, or changed)" in outcome.message


def test_a_damaged_key_warns_and_another_opens(made: Repository, at: At) -> None:
    (key,) = files(made, "keys")
    broken = made.path / "keys" / ("0" * 64)
    broken.write_bytes(key.read_bytes())
    outcome = at(made)()
    assert (outcome.status, outcome.result["snapshots"]) == ("warn", 3)
    assert "damaged: keys/00000000 (its content is not what its name says); put the key back" in finding(outcome)


def test_a_damaged_key_that_is_new_is_told_until_it_is_gone(made: Repository, at: At) -> None:
    look, broken = at(made), made.path / "keys" / ("f" * 64)
    assert look().status == "up"
    broken.write_bytes(b"no key at all, and longer than 32 bytes")
    for _ in range(3):
        outcome = look()
        assert outcome.status == "warn"
        assert "damaged: keys/ffffffff (its content is not what its name says)" in finding(outcome)
    broken.unlink()
    assert "1 key gone: ffffffff" in finding(look())
    assert look().status == "up"


@pytest.mark.parametrize("known", [False, True])
def test_without_a_key_nobody_can_look_and_the_message_says_what_to_do(made: Repository, at: At, known: bool) -> None:
    look, (key,) = at(made), files(made, "keys")
    if known:
        assert look().status == "up"
    key.unlink()
    told = "ERROR no key in the repository, so nobody can open it: put the files of keys/ back"
    assert (look().status, look().message) == ("unknown", told)


def test_keys_that_may_not_be_listed_are_told(shelf: Repository, at: At, unprivileged: Unprivileged) -> None:
    """The server there is another user's."""
    repository = copy_of(shelf, unprivileged.folder / "repo")
    for folder in ("", "snapshots", "locks"):
        (repository.path / folder).chmod(0o755)
    (repository.path / "keys").chmod(0)
    served = f"sftp.command={unprivileged.prefix}{require('sftp-server')}"
    outcome = at(repository, f"sftp:nas:{repository.path}", restic_options=[served])()
    told = "ERROR keys/ may not be listed, so nothing can be opened: let these credentials list it"
    assert (outcome.status, outcome.message) == ("unknown", told)


def test_with_the_only_key_damaged_nobody_can_look(made: Repository, at: At) -> None:
    (key,) = files(made, "keys")
    overwrite(key, key.read_bytes()[:-3])
    outcome = at(made)()
    assert (outcome.status, outcome.message) == (
        "unknown",
        f"ERROR no key is whole, so nobody can open it: keys/{key.name[:8]}; put it back from a copy",
    )


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"N": 1 << 40}, "its key derivation would cost more than any that restic makes"),
        ({"N": 1 << 20, "r": 8, "p": 100}, "its key derivation would cost more than any that restic makes"),
        ({"r": 1 << 62}, "its key derivation would cost more than any that restic makes"),
        ({"N": 12_345}, "the parameters of its key derivation make no sense"),
        ({"N": 1 << 70}, "its key derivation would cost more than any that restic makes"),
        ({"salt": "AAAA"}, "its key derivation is not restic's"),
        ({"kdf": "argon2"}, "its key derivation is not restic's"),
        ({"data": "?"}, "no base64 where it should be"),
    ],
)
def test_a_hostile_key_costs_no_time_and_is_told(made: Repository, at: At, parameters: Mapping[str, Any], reason: str) -> None:
    (key,) = files(made, "keys")
    hostile = _first(made, {**json.loads(key.read_bytes()), **parameters}, before=key.name)
    begun = time.monotonic()
    outcome = at(made)()
    assert time.monotonic() - begun < 10
    assert (outcome.status, outcome.result["snapshots"]) == ("warn", 3)
    assert f"damaged: keys/{hostile.name[:8]} ({reason}); put the key back" in finding(outcome)


def _first(repository: Repository, document: Mapping[str, Any], before: str) -> Path:
    """This key, under a name that is tried before that one."""
    for number in range(1_000_000):
        content = json.dumps({**document, "number": number}).encode()
        if hashlib.sha256(content).hexdigest() < before:
            return store(repository, "keys", content)
    raise AssertionError(before)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "missing"),
        (b"", "empty"),
        (b"short", "cut off"),
        (bytes(200), "sealed without a nonce"),
        (b"x" * 200, "not sealed with the key of this repository, or changed"),
        ({"version": 9, "id": "0" * 64}, "version 9 of the format is not known here"),
        ({"version": 2, "id": "no"}, "a repository without an id"),
        ([], "no configuration"),
    ],
)
def test_a_config_that_is_missing_or_damaged_is_down(made: Repository, at: At, content: Any, reason: str) -> None:
    config, key = made.path / "config", master_key(made)
    config.unlink()
    if content is not None:
        config.write_bytes(content if isinstance(content, bytes) else Sealer(key).seal(json.dumps(content).encode()))
    outcome = at(made)()
    assert (outcome.status, outcome.result["snapshots"]) == ("down", 3)
    assert f"the repository's config is damaged: {reason}; put it back from a copy" in finding(outcome)


def test_a_config_that_is_lost_after_the_first_look_is_noticed_until_it_is_back(made: Repository, at: At) -> None:
    look, config = at(made), made.path / "config"
    assert look().status == "up"
    config.rename(made.path.parent / "lost")
    for _ in range(2):
        outcome = look()
        assert (outcome.status, outcome.result["snapshots"]) == ("down", 3)
        assert "the repository's config is damaged: missing; put it back from a copy" in finding(outcome)
    (made.path.parent / "lost").rename(config)
    assert look().status == "up"


# Locks


def leave_lock(repository: Repository, *command: str) -> tuple[Path, int]:
    """Whoever runs this command is killed while it holds its lock: the lock, and its process."""
    environment = {"PATH": os.environ["PATH"], "RESTIC_PASSWORD": repository.password}
    argv = [str(repository.restic), "--no-cache", "--repo", str(repository.path), *command]
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    with process:
        end = time.monotonic() + 20
        while not (locks := _complete_locks(repository)) and time.monotonic() < end:
            time.sleep(0.002)  # a lock stands for 200 ms before restic goes on: internal/repository/lock.go
        process.send_signal(signal.SIGKILL)
    assert locks, "it ended before it was killed"
    return locks[0], process.pid


def _complete_locks(repository: Repository) -> list[Path]:
    """restic writes them under another name first."""
    return [lock for lock in files(repository, "locks") if re.fullmatch("[0-9a-f]{64}", lock.name)]


def age(path: Path, by: timedelta) -> None:
    moment = time.time() - by.total_seconds()
    os.utime(path, (moment, moment))


def test_a_fresh_lock_derives_no_key_and_is_up(made: Repository, at: At) -> None:
    look = at(made)
    look()
    leave_lock(made, "backup", "--stdin")
    outcome = look.without_password()
    assert (outcome.status, outcome.result["findings"]) == ("up", [])


def test_an_old_lock_warns_with_its_owner_and_is_opened_once(made: Repository, at: At) -> None:
    look = at(made)
    look()
    lock, pid = leave_lock(made, "backup", "--stdin")
    age(lock, 2 * HOUR)
    owner = rf"\S+@{re.escape(os.uname().nodename)} pid {pid}"
    told = rf"a lock is 2h( 0m)? old \({owner}\); when no restic is running: restic unlock"
    for seen in (look(), look.without_password(), look.without_password()):
        assert (seen.status, seen.result["snapshots"]) == ("warn", 3)
        assert re.search(told, finding(seen)), seen.result


def test_an_old_exclusive_lock_says_that_nobody_backs_up(made: Repository, at: At) -> None:
    """`prune` takes one, and leaves it when it is killed."""
    document = lock(datetime.now(UTC) - 2 * HOUR, "nas", 4711, exclusive=True)
    age(store(made, "locks", Sealer(master_key(made)).seal(json_bytes(document))), 2 * HOUR)
    outcome = at(made)()
    assert (outcome.status, outcome.result["snapshots"]) == ("warn", 3)
    told = (
        r"a lock is 2h( 0m)? old \(root@nas pid 4711, exclusive: no backup gets in\); when no restic is running: restic unlock"
    )
    assert re.search(told, finding(outcome)), outcome.result


def test_how_old_a_lock_may_be_is_configured(made: Repository, at: At) -> None:
    look = at(made)
    lock, _ = leave_lock(made, "backup", "--stdin")
    age(lock, 2 * HOUR)
    assert look(lock_max_age="3h").status == "up"
    assert look.without_password(lock_max_age="3h").status == "up"
    assert look(lock_max_age="1h").status == "warn"


def test_a_damaged_old_lock_warns_by_its_age(made: Repository, at: At) -> None:
    lock = store(made, "locks", b"?" * 100)
    age(lock, 2 * HOUR)
    outcome = at(made)()
    assert (outcome.status, outcome.result["snapshots"]) == ("warn", 3)
    assert f"locks/{lock.name[:8]} (not sealed with the key of this repository, or changed)" in finding(outcome)
    assert "a lock is 2h" in finding(outcome)


# Keys that came, snapshots that went


def test_a_new_key_is_told_once_with_who_made_it_and_when(made: Repository, at: At, add_key: AddKey) -> None:
    look = at(made)
    look()
    new = add_key(made)
    outcome = look.without_password()
    assert outcome.status == "warn"
    today = datetime.now().astimezone()
    days = "|".join(f"{moment:%Y-%m-%d}" for moment in (today - DAY, today, today + DAY))
    assert re.search(rf"1 key new: {new.name[:8]} \(mallory@attic ({days})\); was that you\?", finding(outcome))
    assert look.without_password().status == "up"


def test_snapshots_that_vanished_warn_once(made: Repository, at: At) -> None:
    look = at(made, max_vanished=1)
    look()
    for file in sorted(files(made), key=lambda file: file.stat().st_mtime)[:2]:
        file.unlink()
    outcome = look()
    assert outcome.status == "warn"
    assert "2 of 3 snapshot files are gone since the last look (limit 1); was that you?" in finding(outcome)
    assert look().status == "up"


# The password


def _utf16(text: str, mark: bytes, encoding: str) -> bytes:
    return mark + text.encode(encoding)


@pytest.mark.parametrize(
    "content",
    [
        PASSWORD.encode(),
        f"{PASSWORD}\n".encode(),
        f" \t{PASSWORD} \r\n\n".encode(),
        codecs.BOM_UTF8 + f"{PASSWORD}\n".encode(),
        _utf16(f"{PASSWORD}\r\n", codecs.BOM_UTF16_LE, "utf-16-le"),
        _utf16(PASSWORD, codecs.BOM_UTF16_BE, "utf-16-be"),
    ],
    ids=["as-it-is", "newline", "blanks", "bom", "utf-16-le", "utf-16-be"],
)
def test_a_password_file_is_read_as_restic_reads_it(shelf: Repository, at: At, tmp_path: Path, content: bytes) -> None:
    look = at(shelf)
    look.password.write_bytes(content)
    assert shelf.run("--password-file", str(look.password), "cat", "config", "--no-lock", env={"RESTIC_PASSWORD": ""})
    assert look().status == "up"


@pytest.mark.parametrize(
    ("env", "keys", "status", "message"),
    [
        ({"RESTIC_PASSWORD": PASSWORD}, {}, "up", "newest"),
        ({"RESTIC_PASSWORD": f" {PASSWORD}"}, {}, "unknown", "wrong password or no key"),
        ({"RESTIC_PASSWORD": f"{PASSWORD}\n"}, {}, "unknown", "wrong password or no key"),
        ({}, {"password": PASSWORD}, "up", "newest"),
        ({"RESTIC_PASSWORD": ""}, {"password_command": f"echo '{PASSWORD}'"}, "up", "newest"),
        (
            {},
            {"password_command": "sh -c 'echo the vault is sealed >&2; exit 3'"},
            "unknown",
            "password_command, or RESTIC_PASSWORD_COMMAND, failed: the vault is sealed",
        ),
        (
            {},
            {"password_command": "sh -c 'exit 3'"},
            "unknown",
            "password_command, or RESTIC_PASSWORD_COMMAND, failed: exit status 3",
        ),
        (
            {},
            {"password_command": "/nowhere/pass show backup"},
            "unknown",
            "password_command, or RESTIC_PASSWORD_COMMAND, failed: no such file or directory",
        ),
        ({}, {"password_command": "true"}, "unknown", "the password is empty"),
        (
            {},
            {"password_command": "sleep 30", "timeout": "2s"},
            "unknown",
            "password_command, or RESTIC_PASSWORD_COMMAND, failed: no answer in time",
        ),
    ],
)
def test_where_the_password_comes_from(
    run: Run, shelf: Repository, env: Mapping[str, str], keys: Mapping[str, Any], status: str, message: str
) -> None:
    outcome = run_on(run, shelf.path, NO_RESTIC, env=env, mode="native", **keys)
    assert (outcome.status, outcome.message.partition(" ")[2][: len(message)]) == (status, message), outcome.result


def test_an_empty_password_file_is_told(shelf: Repository, at: At) -> None:
    look = at(shelf)
    look.password.write_text("\n")
    assert (look().status, look().message) == ("unknown", "ERROR the password is empty")


def _made_by_restic(path: Path) -> None:
    repository = Repository(path, require("restic-0.19"), password="")
    repository.run("--insecure-no-password", "init")
    repository.run("--insecure-no-password", "backup", "--quiet", __file__)


def _made_lightly(path: Path) -> None:
    write_repository(path, [snapshot(FRESH.time)], password="")


@pytest.mark.parametrize("make", [_made_lightly, pytest.param(_made_by_restic, marks=pytest.mark.slow)])
def test_a_repository_without_a_password_is_read_when_that_is_meant(
    run: Run, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "repo")
    keys: dict[str, Any] = {"env": {"RESTIC_PASSWORD": ""}, "insecure_no_password": True}
    assert run_on(run, tmp_path / "repo", NO_RESTIC, mode="native", **keys).status == "up"
    assert run_on(run, tmp_path / "repo", NO_RESTIC, mode="auto", **keys).result["source"] == "native"


def test_the_key_that_is_hinted_at_is_tried_first(s3: S3, shelf: Repository, at: At, tmp_path: Path) -> None:
    (s3.folder / "native-hint").mkdir()
    repository = copy_of(shelf, s3.folder / "native-hint" / "repo")
    (ours,) = files(repository, "keys")
    for _ in range(25):  # more than are tried
        _first(repository, {**json.loads(ours.read_bytes()), "of": os.urandom(4).hex(), "data": _nobodys()}, before=ours.name)
    with Proxy(s3.endpoint) as proxy:
        url = replace(s3, endpoint=proxy.url).location("native-hint/repo")
        outcome = at(shelf, url, s3.env)()
        assert outcome.status == "unknown"
        assert outcome.message == "ERROR wrong password or no key; 6 of 26 keys were not tried: set RESTIC_KEY_HINT"
        proxy.forget()
        assert at(shelf, url, {**s3.env, "RESTIC_KEY_HINT": ours.name[:12]})().status == "up"
        assert [seen.path.rpartition("/")[2] for seen in proxy.seen if "/keys/" in seen.path] == [ours.name]


def _nobodys() -> str:
    return base64.b64encode(os.urandom(200)).decode()


# The time limit


class Gate(Proxy):
    """Lets so many requests for snapshots through; all others wait until it is opened."""

    def __init__(self, target: str, places: int) -> None:
        super().__init__(target)
        self._places, self._opened = threading.Semaphore(places), threading.Event()
        self._under_way = 0
        self._changed = threading.Condition()

    def forward(self, method: str, path: str, headers: Iterable[tuple[str, str]], body: bytes) -> tuple[HTTPResponse, bytes]:
        self._count(+1)
        try:
            if "/snapshots/" in path and not self._places.acquire(blocking=False):
                self._opened.wait()
            return super().forward(method, path, headers, body)
        finally:
            self._count(-1)

    def open(self) -> None:
        """Returns when all is quiet: whoever had asked has its answer, or is gone."""
        self._opened.set()
        with self._changed:
            while self._under_way or self._changed.wait(0.2):
                self._changed.wait(0.2)

    def _count(self, by: int) -> None:
        with self._changed:
            self._under_way += by
            self._changed.notify_all()

    def __exit__(self, *_: object) -> None:
        self._opened.set()
        super().__exit__()


READ = 20
"""What comes through the gate before the time limit."""


def test_a_first_reading_that_the_time_limit_ends_is_up_and_read_on_by_the_next_look(s3: S3, at: At) -> None:
    (s3.folder / "native-slow").mkdir()
    repository = make_repository(s3.folder / "native-slow" / "repo")
    many(repository, 200)
    with Gate(s3.endpoint, READ) as proxy:
        look = at(repository, replace(s3, endpoint=proxy.url).location("native-slow/repo"), s3.env)
        first = look(timeout="3s")
        assert first.status == "up", first.result
        assert f"{READ} of 200 snapshot files read in time: the next look reads on" in first.result["notes"]
        proxy.open()
        proxy.forget()
        second = look(max_shrink="50%")
        assert (second.status, second.result["snapshots"]) == ("up", 200)
        assert sum("/snapshots/" in seen.path for seen in proxy.seen) == 200 - READ
        assert look.without_password().status == "up"


def test_what_the_time_limit_leaves_open_is_unknown_and_what_is_proved_is_up(s3: S3, at: At) -> None:
    (s3.folder / "native-proved").mkdir()
    repository = make_repository(s3.folder / "native-proved" / "repo")
    many(repository, 200)
    expect = {"web": {"host": "web1"}, "db": {"host": "db1"}, "shrunk": {"host": "web1", "max_shrink": "50%"}}
    with Gate(s3.endpoint, READ) as proxy:
        url = replace(s3, endpoint=proxy.url).location("native-proved/repo")
        outcome = at(repository, url, s3.env, timeout="3s", expect=expect)()
    lines = {line["name"]: line for line in outcome.result["lines"]}
    assert {name: line["status"] for name, line in lines.items()} == {"web": "up", "db": "unknown", "shrunk": "unknown"}
    assert f"{READ} of 200 snapshot files read in time" in lines["db"]["message"], "it may be among the others"
    assert "max_shrink cannot be judged yet" in lines["shrunk"]["message"]


# Which way


@pytest.mark.parametrize("place", ["local", "s3", "rest", "sftp", "rclone"])
def test_with_a_password_and_no_restic_auto_reads_by_itself(
    run: Run, shelf: Repository, tmp_path: Path, place: str, request: pytest.FixtureRequest
) -> None:
    url, env, options = _place(place, shelf, tmp_path, request)
    path = tmp_path / "bin"
    path.mkdir()
    programs = {"sftp": ["ssh", "sh"], "rclone": ["rclone"]}.get(place, [])
    for program in programs:
        (path / program).symlink_to(require(program))
    keys: dict[str, Any] = {"mode": "auto", **({"restic_options": options} if options else {})}
    for snapshots in (3, 3):
        outcome = run_on(run, url, Path("restic"), env={"PATH": str(path), **env}, **keys)
        assert (outcome.status, outcome.result["source"], outcome.result["snapshots"]) == ("up", "native", snapshots), outcome


def _place(
    place: str, shelf: Repository, tmp_path: Path, request: pytest.FixtureRequest
) -> tuple[str, Mapping[str, str], list[str]]:
    """The address, the environment and the options of a copy in this place."""
    name = f"native-{place}"
    if place in ("local", "rclone"):
        made = copy_of(shelf, tmp_path / "repo")
        config = {"RCLONE_CONFIG": os.devnull, "RCLONE_CONFIG_DISK_TYPE": "local"}
        return (str(made.path), {}, []) if place == "local" else (f"rclone:disk:{made.path}", config, [])
    server: S3 | Rest | Sftp = request.getfixturevalue({"s3": "s3", "rest": "rest", "sftp": "sshd"}[place])
    (server.folder / name).mkdir()
    copy_of(shelf, server.folder / name / "repo")
    env = server.env if isinstance(server, S3) else {}
    options = [f"sftp.args={server.args}"] if isinstance(server, Sftp) else []
    return server.location(f"{name}/repo"), env, options


B2 = "b2:bucket:folder"


def test_b2_is_looked_at_by_restic(run: Run, tmp_path: Path) -> None:
    restic = script(tmp_path / "restic-b2", "#!/bin/sh\necho '[]'\n")
    outcome = run_on(run, B2, restic, mode="auto")
    assert outcome.result["source"] == "restic"


def test_b2_by_our_own_reader_is_a_mistake_in_the_configuration(run: Run) -> None:
    config = run.home / "config.yaml"
    config.write_text(f"repositories:\n  web:\n    url: {B2}\n    mode: native\n    password: {shlex.quote(PASSWORD)}\n")
    config.chmod(0o600)
    done = run("run", "--config", config)
    told = (
        "line 4: repositories.web.mode: the repository cannot be read by ourselves: b2 cannot be listed yet; use mode: restic"
    )
    assert done.returncode == 2
    assert told in done.stderr


# What a snapshot proves


@pytest.mark.parametrize("command", [["tag", "--add", "kept"], ["rewrite", "--new-host", "renamed", "--forget"]])
def test_a_snapshot_that_is_written_anew_stays_as_old_as_it_was(made: Repository, at: At, command: list[str]) -> None:
    look = at(made)
    first = look()
    newest = first.result["newest_id"]
    made.run(*command, newest)
    second = look()
    assert second.result["newest_id"] != newest
    assert second.result["proved"] == first.result["proved"]
    assert second.status == "up"


def test_a_snapshot_whose_time_was_rewritten_stays_as_old_as_it_was(tmp_path: Path, at: At) -> None:
    made = make_repository(tmp_path / "repo", snapshots=[Backup(FRESH.time - 5 * DAY)])
    look = at(made)
    first = look()
    assert first.status == "down"
    made.run("rewrite", "--new-time", f"{datetime.now(UTC) - HOUR:%Y-%m-%d %H:%M:%S}", "--forget", "latest")
    second = look()
    assert second.result["newest_id"] != first.result["newest_id"]
    assert (second.status, second.result["proved"]) == ("down", first.result["proved"])
