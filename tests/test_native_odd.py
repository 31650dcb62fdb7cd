"""Odd but real situations: clocks that are wrong, files that go while they are read, keys and locks of somebody else.

Through the program, at repositories that are written here. Where a store must refuse or lose a file, a small server does.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from conftest import Completed, Run
from looks import Outcome, run_on
from proxy import Proxy
from repositories import Written, json_bytes, key_file, lock, name_of, snapshot, write_repository
from restic_monitor import proof
from restic_monitor.model import Past, Snapshot, Stored
from restics import PASSWORD, require
from servers import S3, Rest
from standins import Server, StandIn, answering, files_below
from test_native import Gate, Looker, finding

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
NOBODYS = "the password of somebody else"


def ago(age: timedelta) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - age


At = Callable[..., Looker]


@pytest.fixture
def at(run: Run) -> At:
    """A Looker for a folder, or an address."""

    def looker(url: str | Path, env: Mapping[str, str] | None = None, **keys: Any) -> Looker:
        made = Looker(run, str(url), keys, env or {})
        made.password.write_text(PASSWORD)
        return made

    return looker


def written(path: Path, *ages: timedelta) -> Written:
    """Snapshots of these ages, with the times of their files. The newest may be a day old, by default."""
    made = write_repository(path)
    for age in ages:
        made.add_snapshot(snapshot(ago(age)), ago(age))
    return made


@pytest.fixture
def repo(tmp_path: Path) -> Written:
    return written(tmp_path / "repo", 2 * DAY, DAY, HOUR)


@contextmanager
def stood_in(repository: Written, denied: set[str]) -> Iterator[Server]:
    """An S3 that does not let anybody read what `denied` names at the moment, by folder and name."""
    answer = StandIn(
        {"bucket": lambda: files_below(repository.path, "repo/")}, may=lambda key: key.removeprefix("repo/") not in denied
    )
    with answering(answer) as server:
        yield server


def s3_at(at: At, server: Server) -> Looker:
    return at(f"s3:{server.url}/bucket/repo", {"AWS_ACCESS_KEY_ID": "AKIDSTANDIN", "AWS_SECRET_ACCESS_KEY": "any"})


def config_check(look: Looker) -> Completed:
    """Of the configuration of the last look."""
    return look.run("config", "check", "--config", look.run.home / "config.yaml", env=look.env)


@contextmanager
def remembered(look: Looker) -> Iterator[sqlite3.Connection]:
    """To be changed behind the program's back."""
    with closing(sqlite3.connect(look.state / "state.sqlite")) as connection, connection:
        yield connection


# Times to come


def pass_days(look: Looker, repository: Written, days: int) -> None:
    """So many days later: all that is known of the snapshots, and the times of their files, is so many days older."""
    earlier = days * DAY
    for file in (repository.path / "snapshots").iterdir():
        moment = file.stat().st_mtime - earlier.total_seconds()
        os.utime(file, (moment, moment))
    with remembered(look) as state:
        state.execute("UPDATE repositories SET looked = looked - ?", (earlier // MICROSECOND,))
        shift = "UPDATE files SET after = after - ?1, before = before - ?1 WHERE before > 0"  # 1970 is "never"
        state.execute(shift, (earlier // MICROSECOND,))
        rows = state.execute("SELECT repository, name, content FROM opened WHERE folder = 'snapshots'").fetchall()
        for number, name, content in rows:
            told = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", lambda found: _earlier(found[0], earlier), content)
            state.execute("UPDATE opened SET content = ? WHERE repository = ? AND name = ?", (told, number, name))


def _earlier(moment: str, by: timedelta) -> str:
    return f"{datetime.fromisoformat(moment) - by:%Y-%m-%dT%H:%M:%S.%fZ}"


@pytest.mark.parametrize("mode", ["native", "restic"])
def test_a_snapshot_and_its_file_that_are_dated_in_the_future_prove_nothing_when_nobody_saw_them_come(
    run: Run, tmp_path: Path, mode: str
) -> None:
    repo = written(tmp_path / "repo", -30 * DAY)
    outcome = run_on(run, repo.path, require("restic"), mode=mode)
    assert (outcome.status, outcome.result["proved"]) == ("down", None)
    assert "no snapshot that counts: 1 snapshot is dated in the future" in outcome.message


def test_they_prove_nothing_when_their_date_has_come(tmp_path: Path, at: At) -> None:
    repo = written(tmp_path / "repo", 20 * DAY, -30 * DAY)
    look = at(repo.path)
    first = look()
    assert (first.status, first.result["code"]) == ("down", "stale")
    pass_days(look, repo, 30)
    later = look()
    assert (later.status, later.result["code"], later.result["snapshots"]) == ("down", "stale", 2), later.result
    assert later.result["newest_id"] == first.result["newest_id"]


def test_one_that_a_look_saw_come_proves_the_moment_when_it_came_and_no_more_later(tmp_path: Path, at: At) -> None:
    repo = written(tmp_path / "repo", 20 * DAY)
    look = at(repo.path)
    assert look().status == "down"
    came = repo.add_snapshot(snapshot(ago(-30 * DAY)), ago(-30 * DAY))
    before = datetime.now(UTC)
    seen = look()
    assert (seen.status, seen.result["newest_id"]) == ("warn", came), "a clock is wrong"
    proved = datetime.fromisoformat(seen.result["proved"])
    assert timedelta(0) <= proved - before + timedelta(seconds=1) < HOUR
    pass_days(look, repo, 31)
    later = look()
    assert (later.status, later.result["code"], later.result["newest_id"]) == ("down", "stale", came)
    assert datetime.fromisoformat(later.result["proved"]) == proved - 31 * DAY


def test_a_file_that_is_dated_in_the_future_is_no_backup_in_the_future() -> None:
    now = ago(timedelta(0))
    seen = Snapshot("a" * 64, now + 30 * DAY, "web1", stored=Stored("a" * 64, now + 30 * DAY, now + 30 * DAY))
    assert [each.proved for each in proof.prove([seen], None, now)] == [None]


def test_a_date_that_was_wrong_never_comes_true() -> None:
    now = ago(timedelta(0))
    past = Past(now - HOUR, {}, frozenset(), {"a" * 64: None})
    seen = Snapshot("a" * 64, now - HOUR, "web1", stored=Stored("a" * 64, now - HOUR, now - HOUR))
    assert [each.proved for each in proof.prove([seen], past, now)] == [None]


# Snapshots that go


@dataclass(frozen=True)
class Lost:
    """Of 12 files that are known 8 are gone, and one that is new is not read in time: it may have come in the place of one."""

    gate: Gate
    look: Looker


@pytest.fixture
def lost(s3: S3, at: At) -> Iterator[Callable[[int], Lost]]:
    """With so many that may vanish."""
    bucket = s3.folder / f"odd-lost-{os.urandom(4).hex()}"
    bucket.mkdir()
    repo = written(bucket / "repo", *(number * HOUR for number in range(1, 13)))
    oldest = sorted((repo.path / "snapshots").iterdir(), key=lambda file: file.stat().st_mtime)[:8]

    def made(max_vanished: int) -> Lost:
        look = at(replace(s3, endpoint=gate.url).location(f"{bucket.name}/repo"), s3.env, max_vanished=max_vanished)
        assert look().status == "up"
        for file in oldest:
            file.unlink()
        repo.add_snapshot(snapshot(ago(3 * HOUR)), ago(3 * HOUR))
        time.sleep(0.1)  # the server keeps its listings for 10 ms
        return Lost(gate, look)

    with Gate(s3.endpoint, 12) as gate:
        yield made


def test_what_is_lost_for_certain_is_told_though_a_new_file_is_not_read_in_time(lost: Callable[[int], Lost]) -> None:
    outcome = lost(6).look(timeout="2s")
    assert "4 of 5 snapshot files read in time: the next look reads on" in outcome.result["notes"]
    assert outcome.status == "warn"
    assert "8 of 12 snapshot files are gone since the last look (limit 6); was that you?" in finding(outcome)


def test_what_may_not_be_lost_is_told_by_the_next_look_that_reads_all(lost: Callable[[int], Lost]) -> None:
    there = lost(7)
    outcome = there.look(timeout="2s")
    assert "4 of 5 snapshot files read in time: the next look reads on" in outcome.result["notes"]
    assert outcome.status == "up"
    there.gate.open()
    complete = there.look()
    assert (complete.status, complete.result["snapshots"]) == ("warn", 5)
    assert re.search(r"^8 of 1[23] snapshot files are gone since the last look \(limit 7\)", finding(complete))


class Forgetful(Proxy):
    """Before it lets the file be read, it is gone."""

    def __init__(self, target: str, file: Path) -> None:
        super().__init__(target)
        self._file = file

    def forward(self, method: str, path: str, headers: Iterable[tuple[str, str]], body: bytes) -> tuple[HTTPResponse, bytes]:
        if method == "GET" and path.endswith(self._file.name):
            self._file.unlink(missing_ok=True)
        return super().forward(method, path, headers, body)


def test_the_successor_of_a_snapshot_that_goes_while_it_is_read_counts_by_its_own_moments(rest: Rest, at: At) -> None:
    """`tag` stores the new one, and then removes the old one."""
    repo = written(rest.folder / "odd-tagged")
    original = repo.add_snapshot(snapshot(ago(HOUR)))
    tagged = repo.add_snapshot(snapshot(ago(HOUR), tags=["kept"], original=original))
    with Forgetful(rest.url, repo.path / "snapshots" / original) as proxy:
        outcome = at(replace(rest, url=proxy.url).location("odd-tagged"))()
    assert (outcome.status, outcome.result["snapshots"]) == ("up", 1), outcome.result
    assert outcome.result["newest_id"] == tagged


def test_a_snapshot_that_was_made_of_a_damaged_one_proves_nothing_and_says_so(tmp_path: Path, at: At) -> None:
    repo = written(tmp_path / "repo")
    original = repo.add_snapshot(snapshot(ago(9 * DAY)), ago(9 * DAY))
    made = repo.add_snapshot(snapshot(ago(HOUR), original=original))
    repo.add("snapshots", b"x" * 200, original)
    outcome = at(repo.path)()
    assert (outcome.status, outcome.result["snapshots"]) == ("down", 1)
    assert f"no snapshot that counts: {made[:8]} was made of {original[:8]}, which cannot be read" in finding(outcome)


SHORT = [
    (b"", False, "empty"),
    (b"x" * 20, False, "its content is not what its name says"),
    (b"x" * 20, True, "cut off"),
    (b"x" * 32, True, "not sealed with the key of this repository, or changed"),
]


@pytest.mark.parametrize(("content", "fits", "reason"), SHORT, ids=[f"{len(c)}-{f}" for c, f, _ in SHORT])
def test_a_snapshot_file_that_is_too_short_for_one_is_down(
    repo: Written, at: At, content: bytes, fits: bool, reason: str
) -> None:
    name = repo.add("snapshots", content, name_of(content) if fits else "5" * 64)
    outcome = at(repo.path)()
    assert (outcome.status, outcome.result["snapshots"]) == ("down", 3)
    assert f"1 snapshot file is damaged or unreadable: {name[:8]} ({reason})" in finding(outcome)


def test_restic_is_down_by_a_short_file_too_and_a_listing_warns(run: Run, repo: Written) -> None:
    repo.add("snapshots", b"x" * 20, "5" * 64)
    assert run_on(run, repo.path, require("restic")).status == "down"
    listed = run_on(run, repo.path, require("restic"), mode="listing")
    assert (listed.status, "55555555 (20 bytes)" in finding(listed)) == ("warn", True)


# Keys


COSTLY_N, COSTLY_R, COSTLY_P = 1 << 16, 8, 8
"""4.2 million: two seconds, three times as much as restic takes."""


def ours(repository: Written) -> str:
    """The only key."""
    (key,) = (repository.path / "keys").iterdir()
    return key.name


def foreign(repository: Written, *, before: str = "g", **others: Any) -> str:
    """A key that our password does not open, of which the name sorts before that one."""
    document = key_file(NOBODYS)
    for number in range(100_000):
        content = json_bytes({**document, **others, "number": number})
        if name_of(content) < before:
            return repository.add("keys", content)
    raise AssertionError(before)


def derived(outcome: Outcome) -> list[str]:
    """The beginnings of the names of the keys that the password was tried on, by the log."""
    return re.findall(r"key ([0-9a-f]{8}) (?:opens|does not open)", outcome.completed.stderr)


def test_a_costly_key_is_tried_after_the_others(repo: Written, at: At) -> None:
    mine = ours(repo)
    foreign(repo, before=mine, N=COSTLY_N, r=COSTLY_R, p=COSTLY_P)
    outcome = at(repo.path)("-vv")
    assert (outcome.status, derived(outcome)) == ("up", [mine[:8]])


@pytest.mark.slow  # four seconds for two derivations
def test_a_costly_key_that_worked_is_tried_first(tmp_path: Path, at: At) -> None:
    repo = write_repository(tmp_path / "repo", n=COSTLY_N, r=COSTLY_R, p=COSTLY_P)
    repo.add_snapshot(snapshot(ago(HOUR)))
    look, mine = at(repo.path), ours(repo)
    assert look().status == "up"
    foreign(repo, before=mine)
    repo.add_snapshot(snapshot(ago(2 * HOUR)))
    outcome = look("-vv")
    assert (outcome.result["snapshots"], derived(outcome)) == (2, [mine[:8]])


@pytest.mark.parametrize("more", [False, True])
def test_a_new_key_that_may_not_be_read_is_told_without_its_maker(repo: Written, at: At, more: bool) -> None:
    denied: set[str] = set()
    with stood_in(repo, denied) as server:
        look = s3_at(at, server)
        assert look().status == "up"
        new = foreign(repo)
        denied.add(f"keys/{new}")
        if more:
            repo.add_snapshot(snapshot(ago(2 * HOUR)))
        outcome = look()
        assert (outcome.status, outcome.result["snapshots"]) == ("warn", 4 if more else 3), outcome.result
        assert outcome.result["findings"] == [f"1 key new: {new[:8]}; was that you?"]


def test_config_check_tries_the_key_that_worked_before_25_others(repo: Written, at: At) -> None:
    look, mine = at(repo.path), ours(repo)
    assert look().status == "up"
    for _ in range(25):  # more than are tried
        foreign(repo, before=mine)
    done = config_check(look)
    assert (done.returncode, "reach    ok       web: 3 snapshots" in done.stdout) == (0, True), done


@pytest.mark.parametrize("name", ["0" * 64, "f" * 64])
def test_a_damaged_key_of_somebody_else_warns_as_long_as_it_is_there_and_is_new_once(repo: Written, at: At, name: str) -> None:
    look, told = at(repo.path), f"damaged: keys/{name[:8]} (its content is not what its name says)"
    assert look().status == "up"
    repo.add("keys", b"no key at all, and longer than 32 bytes", name)
    first = look.without_password()
    assert (first.status, first.result["snapshots"]) == ("warn", 3)
    assert [line.partition(";")[0] for line in first.result["findings"]] == [told, f"1 key new: {name[:8]}"]
    second = look.without_password()
    assert (second.status, second.result["snapshots"]) == ("warn", 3)
    assert [line.partition(";")[0] for line in second.result["findings"]] == [told]
    (repo.path / "keys" / name).unlink()
    assert look.without_password().result["findings"] == [f"1 key gone: {name[:8]}; was that you?"]


def test_the_key_that_opened_until_now_is_named_when_it_is_damaged(repo: Written, at: At) -> None:
    look, mine = at(repo.path), ours(repo)
    assert look().status == "up"
    repo.add("keys", b"{" * 200, mine)
    foreign(repo)  # is read, and remembered
    why = "its content is not what its name says"
    told = f"ERROR the key that opened until now is damaged: keys/{mine[:8]} ({why}); put it back from a copy"
    for _ in range(2):
        outcome = look()
        assert (outcome.status, outcome.message) == ("unknown", told)


def test_the_key_that_opened_until_now_is_named_when_it_is_gone(repo: Written, at: At) -> None:
    look, mine = at(repo.path), ours(repo)
    assert look().status == "up"
    foreign(repo)
    (repo.path / "keys" / mine).unlink()
    for _ in range(2):
        outcome = look()
        told = f"ERROR the key that opened until now, {mine[:8]}, is gone, and the password opens no other"
        assert (outcome.status, outcome.message) == ("unknown", told)
    repo.add_key(key_file(PASSWORD))
    assert look().status == "warn", "a key is new, another one gone"


def test_without_push_no_key_is_derived_when_nothing_is_new_and_config_check_derives_one(repo: Written, at: At) -> None:
    look = at(repo.path)
    assert look().status == "up"
    look.password.write_text("not the password")
    outcome = look("--no-push")
    assert (outcome.status, outcome.result["snapshots"]) == ("up", 3)
    done = config_check(look)
    assert (done.returncode, "reach    FAILED   web: ERROR wrong password or no key" in done.stdout) == (1, True), done


# What may not be read


@pytest.mark.parametrize("known", [False, True])
def test_an_old_lock_that_may_not_be_read_is_no_error_and_told_by_its_age(repo: Written, at: At, known: bool) -> None:
    denied: set[str] = set()
    with stood_in(repo, denied) as server:
        look = s3_at(at, server)
        if known:
            assert look().status == "up"
        held = repo.add_lock(lock(ago(2 * HOUR)), ago(2 * HOUR))
        denied.add(f"locks/{held}")
        outcome = look()
        assert (outcome.status, outcome.result["snapshots"]) == ("warn", 3), outcome.result
        (told,) = outcome.result["findings"]
        assert re.fullmatch(r"a lock is 2h( 0m)? old; when no restic is running: restic unlock", told)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file here that can be opened and not read")
def test_a_file_with_a_bad_sector_is_damaged_and_the_others_are_read(repo: Written, at: At) -> None:
    """What nothing is mapped to cannot be read: the kernel answers EIO, as for a bad sector."""
    unreadable = name_of(b"unreadable")
    (repo.path / "snapshots" / unreadable).symlink_to("/proc/self/mem")
    repo.add_snapshot(snapshot(ago(HOUR)))
    look = at(repo.path)
    for _ in range(2):
        outcome = look()
        assert outcome.status == "down"
        assert outcome.message.startswith(
            f"ERROR 1 snapshot file is damaged or unreadable: {unreadable[:8]} (it cannot be read, others can)"
        )


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file here that can be opened and not read")
def test_a_disk_that_has_gone_while_it_was_read_makes_no_snapshot_damaged(repo: Written, at: At) -> None:
    look = at(repo.path)
    assert look().status == "up"
    (repo.path / "snapshots" / name_of(b"unreadable")).symlink_to("/proc/self/mem")
    (repo.path / "config").unlink()
    (repo.path / "config").symlink_to("/proc/self/mem")
    outcome = look()
    assert (outcome.status, outcome.result["snapshots"]) == ("unknown", None)


def test_who_made_a_new_key_is_told_until_it_was_told(repo: Written, at: At) -> None:
    """Nobody answers there, so that the look before has read the key and told nobody."""
    look = at(repo.path)
    assert look().status == "up"
    repo.add_key(key_file(PASSWORD, username="ada", hostname="laptop"))
    for _ in range(2):
        told = finding(look(push_url="http://127.0.0.1:9/api/push/nobodyisthere"))
        assert "1 key new" in told
        assert "ada@laptop" in told


def test_one_new_snapshot_that_may_not_be_read_is_told_as_the_storage_says_it(repo: Written, at: At) -> None:
    """Nothing else was read in this look, so nobody knows whether others may be."""
    denied: set[str] = set()
    with stood_in(repo, denied) as server:
        look = s3_at(at, server)
        assert look().status == "up"
        new = repo.add_snapshot(snapshot(ago(timedelta(minutes=5))))
        denied.add(f"snapshots/{new}")
        outcome = look()
        assert (outcome.status, outcome.result["code"]) == ("unknown", "error")
        assert f"does not let these credentials read repo/snapshots/{new}" in outcome.message
        other = repo.add_snapshot(snapshot(ago(timedelta(minutes=6))))
        outcome = look()
        assert (outcome.status, outcome.result["snapshots"], outcome.result["newest_id"]) == ("down", 4, other)
        assert f"{new[:8]} (it may not be read, others may)" in finding(outcome)


# A configuration that is lost where no listing shows it


@dataclass(frozen=True)
class Place:
    """A repository behind a proxy, and how many requests a look takes when nothing is new."""

    repository: Written
    proxy: Proxy
    url: str
    env: Mapping[str, str]
    requests: int


@pytest.fixture(params=["s3", "rest"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    server: S3 | Rest = request.getfixturevalue(request.param)
    (server.folder / "odd-config").mkdir()
    repository = written(server.folder / "odd-config" / "repo", HOUR)
    with Proxy(server.endpoint if isinstance(server, S3) else server.url) as proxy:
        if isinstance(server, S3):  # a listing
            yield Place(repository, proxy, replace(server, endpoint=proxy.url).location("odd-config/repo"), server.env, 1)
        else:  # three, and a question whether it tells times
            yield Place(repository, proxy, replace(server, url=proxy.url).location("odd-config/repo"), {}, 4)


def test_a_config_that_is_lost_where_the_listing_does_not_show_it_is_noticed_within_a_day(place: Place, at: At) -> None:
    look, config = at(place.url, place.env), place.repository.path / "config"
    assert look().status == "up"

    def requests(status: str) -> int:
        """Without a key that is derived."""
        time.sleep(0.05)  # the S3 server keeps its listings for 10 ms
        place.proxy.forget()
        outcome = look.without_password()
        assert outcome.status == status, outcome.result
        lost = "the repository's config is damaged: missing; put it back from a copy" in finding(outcome)
        assert lost == (status == "down")
        return len(place.proxy.seen)

    config.rename(config.with_name("lost"))
    pass_since_it_was_asked_for(look, HOUR)
    assert requests("up") == place.requests, "nobody asks within the day"
    pass_since_it_was_asked_for(look, DAY)
    assert requests("down") == place.requests + 1
    assert requests("down") == place.requests + 1
    config.with_name("lost").rename(config)
    assert requests("up") == place.requests + 1


def pass_since_it_was_asked_for(look: Looker, time: timedelta) -> None:
    with remembered(look) as state:
        ((number, content),) = state.execute("SELECT repository, content FROM opened WHERE folder = 'config'").fetchall()
        asked = json.loads(content)
        asked["modified"] = _earlier(asked["modified"], time)
        change = "UPDATE opened SET content = ? WHERE repository = ? AND folder = 'config'"
        state.execute(change, (json.dumps(asked), number))


def test_a_look_with_our_clock_behind_the_last_look_takes_nothing_for_proved(tmp_path: Path, at: At) -> None:
    """What is remembered lies ten hours ahead, as it does for a machine that starts before it knows the time."""
    repository = written(tmp_path / "repo", 2 * DAY)
    look = at(repository.path)
    look()
    name = repository.add_snapshot(snapshot(ago(-HOUR)), ago(-HOUR))
    with closing(sqlite3.connect(look.state / "state.sqlite")) as database, database:
        database.execute("UPDATE repositories SET looked = looked + ?", (10 * HOUR // MICROSECOND,))
    look()
    with closing(sqlite3.connect(look.state / "state.sqlite")) as database:
        query = "SELECT count(*) FROM files WHERE folder = 'proved' AND name = ?"
        assert database.execute(query, (bytes.fromhex(name),)).fetchone() == (0,)
