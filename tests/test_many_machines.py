"""One repository, many machines: real repositories with five hosts, by every restic, looked at as a user does."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from kuma import Kuma
from restics import PASSWORD, Backup, Repository, make_repository, require

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
EXPECT = {"nas": {}, "web": {}, "pi": {"max_age": "3d"}, "desktop": {"max_age": "5d"}, "db": {"max_age": "6h"}}
SUMMARIES = ("0.18", "0.19")
"""Versions that write and print them."""


def ago(age: timedelta) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - age


def configure(run: Run, repository: Repository, expect: Mapping[str, Any] | None, **keys: Any) -> Path:
    """A configuration in JSON, which is YAML, for the restic that made the repository."""
    file = run.home / "config.yaml"
    by_restic = {"restic": str(repository.restic), "mode": "restic"}
    keys = {"url": str(repository.path), "password": PASSWORD, **by_restic, "max_age": "26h"} | keys
    file.write_text(json.dumps({"repositories": {"home": keys | ({"expect": expect} if expect else {})}}))
    file.chmod(0o600)
    return file


def look(run: Run, repository: Repository, expect: Mapping[str, Any] | None, *options: str, **keys: Any) -> dict[str, Any]:
    """The result in JSON; its lines by name."""
    done = run("run", "-c", configure(run, repository, expect, **keys), "--format", "json", *options)
    (result,) = json.loads(done.stdout or f'{{"results": [{{"stderr": {json.dumps(done.stderr)}}}]}}')["results"]
    return {**result, "lines": {line["name"]: line for line in result["lines"]}}


def statuses(result: Mapping[str, Any]) -> dict[str, str]:
    return {name: line["status"] for name, line in result["lines"].items()}


@pytest.fixture(scope="session")
def five_hosts(restic_version: str, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """nas, web and pi are well, desktop is late, db has never been here; an old one is not expected."""
    ages = {"nas": [30 * HOUR, 2 * HOUR], "web": [3 * HOUR], "pi": [2 * DAY], "desktop": [6 * DAY], "old": [400 * DAY]}
    backups = [Backup(ago(age), host) for host, several in ages.items() for age in several]
    return make_repository(tmp_path_factory.mktemp("five") / "repo", restic_version, backups)


def test_each_machine_has_its_line_and_the_repository_is_as_bad_as_the_worst(run: Run, five_hosts: Repository) -> None:
    home = look(run, five_hosts, EXPECT)
    assert statuses(home) == {"nas": "up", "web": "up", "pi": "up", "desktop": "down", "db": "down"}
    assert (home["status"], home["code"], home["snapshots"]) == ("down", "stale", 6)
    assert home["message"] == "STALE desktop (6d), db (missing), 3 others fresh; 1 snapshot not expected, of old"
    lines = home["lines"]
    assert lines["db"]["message"] == "MISSING no snapshot of host db; hosts here: nas, desktop, old, pi, web"
    assert (lines["nas"]["snapshots"], lines["pi"]["max_age_seconds"], lines["web"]["max_age_seconds"]) == (2, 259200, 93600)
    assert 7200 <= lines["nas"]["age_seconds"] < 7300
    known = lines["nas"]["files"] is not None
    assert known == any(f"restic {version}" in five_hosts.run("version") for version in SUMMARIES)


def test_the_table_is_indented_and_a_group_catches_what_is_new(run: Run, five_hosts: Repository) -> None:
    expect = {"nas": {}, "others": {"group_by": ["host"], "ignore": [{"host": "desk*"}, {"before": "2026-01-01"}]}}
    done = run("run", "-c", configure(run, five_hosts, expect, max_age="3d"), "--only-failing")
    assert (done.returncode, done.stdout) == (0, "")
    done = run("run", "-c", configure(run, five_hosts, expect, max_age="3d"))
    rows = done.stdout.splitlines()
    assert [row.partition("OK")[0].rstrip() for row in rows[:-1]] == [
        "UP  home",
        "UP    nas",
        "UP    others/pi",
        "UP    others/web",
    ]
    assert "all 3 fresh, the oldest others/pi (2d); 2 groups ignored" in rows[0]
    assert rows[-1] == "1 repository: 1 up"


def test_a_line_with_a_monitor_of_its_own_is_told_and_so_is_the_repository(
    run: Run, kuma: Kuma, five_hosts: Repository
) -> None:
    home, pi, desktop = (kuma.add_monitor() for _ in range(3))
    expect = {"nas": {}, "pi": {"max_age": "3d", "push_token": pi}, "desktop": {"push_token": desktop}}
    done = run("run", "-c", configure(run, five_hosts, expect, push_url=kuma.url, push_token=home))
    beats = {beat.token: (beat.status, beat.msg.split(" (")[0]) for beat in kuma.beats}
    assert beats[home] == ("down", "STALE desktop")
    assert beats[pi] == ("up", "OK newest 2d old")
    assert beats[desktop][0] == "down"
    assert beats[desktop][1].startswith("STALE newest 6d")
    assert done.stdout.splitlines()[-1] == "1 repository: 1 down; 3 pushed"
    assert not any(token in done.stdout + done.stderr for token in (home, pi, desktop))


def test_nobody_could_look_is_unknown_in_every_line_and_told_there(run: Run, kuma: Kuma, five_hosts: Repository) -> None:
    home, pi = kuma.add_monitor(), kuma.add_monitor()
    keys = {"push_url": kuma.url, "push_token": home, "password": "wrong"}
    result = look(run, five_hosts, {"nas": {}, "pi": {"push_token": pi}, "rest": {"group_by": "host"}}, **keys)
    assert statuses(result) == dict.fromkeys(("nas", "pi", "rest"), "unknown")
    assert {beat.token: beat.status for beat in kuma.beats} == {home: "down", pi: "down"}
    assert {beat.msg for beat in kuma.beats} == {result["message"]}


@pytest.mark.slow
def test_dropping_a_host_turns_its_line_down_by_name(run: Run, five_hosts: Repository, tmp_path: Path) -> None:
    repository = Repository(shutil.copytree(five_hosts.path, tmp_path / "copy"), five_hosts.restic)
    expect = {"nas": {}, "web": {}, "pi": {"max_age": "3d"}}
    assert look(run, repository, expect)["status"] == "up"
    (web,) = [each["id"] for each in json.loads(repository.run("snapshots", "--json", "--host", "web"))]
    repository.run("forget", web)
    home = look(run, repository, expect)
    assert statuses(home) == {"nas": "up", "web": "down", "pi": "up"}
    assert home["message"].startswith("MISSING web: no snapshot of host web; hosts here: nas, desktop, old, pi; 2 others fresh")


def test_a_damaged_file_may_be_the_one_that_is_missed(run: Run, five_hosts: Repository, tmp_path: Path) -> None:
    repository = Repository(shutil.copytree(five_hosts.path, tmp_path / "copy"), five_hosts.restic)
    (web,) = [each["id"] for each in json.loads(repository.run("snapshots", "--json", "--host", "web"))]
    file = repository.path / "snapshots" / web
    file.chmod(0o600)
    os.truncate(file, 50)
    home = look(run, repository, {"nas": {}, "web": {}, "desktop": {}})
    assert statuses(home) == {"nas": "up", "web": "unknown", "desktop": "unknown"}
    assert (home["status"], home["code"]) == ("down", "error")
    assert home["message"].startswith(f"ERROR 1 snapshot file is damaged or unreadable: {web[:8]}; ")


# Sizes


def shrink(repository: Repository, folder: Path) -> None:
    """Two backups of ten files, and one of the folder when nothing is mounted there."""
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}").write_text("x" * 100)
    for hours in (50, 26):
        repository.backup(Backup(ago(hours * HOUR), "nas", paths=[folder]))
    for file in folder.iterdir():
        file.unlink()
    repository.backup(Backup(ago(2 * HOUR), "nas", paths=[folder]))


@pytest.fixture(scope="session")
def emptied(restic_version: str, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    folder = tmp_path_factory.mktemp("emptied")
    repository = make_repository(folder / "repo", restic_version)
    shrink(repository, folder / "disk")
    return repository


@pytest.mark.parametrize("expect", [{"nas": {}}, None])
def test_an_empty_backup_is_down_by_default_where_restic_counts(
    run: Run, emptied: Repository, restic_version: str, expect: Mapping[str, Any] | None
) -> None:
    home = look(run, emptied, expect)
    if restic_version in SUMMARIES:
        assert (home["status"], home["code"]) == ("down", "small")
        assert "has no file, 10 before; to accept it: baseline: " in home["message"]
        accepted = home["message"].partition("baseline: ")[2].split(";")[0]
        assert look(run, emptied, expect, baseline=accepted)["status"] == "up"
    else:
        assert home["status"] == "up"
        assert home["notes"] == ["no file count of nas (restic before 0.17): an empty backup is not noticed"]
        assert look(run, emptied, expect)["notes"] == [], "told once"


def test_a_size_that_was_asked_for_is_unknown_where_restic_does_not_count(
    run: Run, emptied: Repository, restic_version: str
) -> None:
    home = look(run, emptied, {"nas": {"min_files": 5, "max_shrink": "30%"}})
    line = home["lines"]["nas"]
    if restic_version in SUMMARIES:
        assert (line["status"], line["files"]) == ("down", 0)
        assert " has 0 files (min_files 5) and has no file, 10 before; to accept it: baseline: " in line["message"]
    else:
        assert (line["status"], line["files"]) == ("unknown", None)
        assert line["message"].endswith("(restic before 0.17 wrote or read it): min_files, max_shrink cannot be judged")


# What a snapshot proves, by real ones


@pytest.mark.slow
def test_a_tag_makes_no_old_backup_new(run: Run, tmp_path: Path, restic_version: str) -> None:
    repository = make_repository(tmp_path / "repo", restic_version, [Backup(ago(20 * DAY), "web")])
    first = look(run, repository, {"web": {}})
    for tag in "xyz":
        repository.run("tag", "--add", tag)
        second = look(run, repository, {"web": {}})
        assert first["newest_id"] != second["newest_id"]
        assert (second["code"], second["age_seconds"] // 86400) == ("stale", 20)
        assert second["lines"]["web"]["notes"] == [], "it was made of another: no clock is wrong"


@pytest.mark.slow
@pytest.mark.parametrize("writer", ["0.14"])
@pytest.mark.parametrize("rewriter", SUMMARIES)
def test_a_new_time_makes_no_old_backup_new(run: Run, tmp_path: Path, writer: str, rewriter: str) -> None:
    """Without a summary only memory knows what it was made of."""
    require(f"restic-{rewriter}")
    old = make_repository(tmp_path / "repo", writer, [Backup(ago(20 * DAY), "web")])
    repository = Repository(old.path, require(f"restic-{rewriter}"))
    look(run, repository, {"web": {}})
    repository.run("rewrite", "--forget", "--new-time", f"{ago(HOUR):%Y-%m-%d %H:%M:%S}", "latest")
    home = look(run, repository, {"web": {}})
    assert (home["code"], home["age_seconds"] // 86400) == ("stale", 20)
    assert "(dated " in home["lines"]["web"]["message"]
    for tag in "xyz":  # restic's tag names the first of all as the original, whatever came between
        repository.run("tag", "--add", tag)
        home = look(run, repository, {"web": {}})
        assert (home["code"], home["age_seconds"] // 86400) == ("stale", 20), tag
    assert look(run, repository, {"web": {}}, "--no-state")["status"] == "up", "who remembers nothing is deceived"


@pytest.mark.slow
def test_a_copy_from_another_repository_proves_what_it_proved_there(run: Run, tmp_path: Path, restic_version: str) -> None:
    source = make_repository(tmp_path / "source", restic_version, [Backup(ago(20 * DAY), "web")])
    repository = make_repository(tmp_path / "repo", restic_version)
    look(run, repository, {"web": {}})
    repository.run("copy", "--from-repo", str(source.path), env={"RESTIC_FROM_PASSWORD": PASSWORD})
    home = look(run, repository, {"web": {}})
    assert (home["code"], home["age_seconds"] // 86400, home["lines"]["web"]["notes"]) == ("stale", 20, [])


@pytest.mark.slow
def test_the_clock_of_a_host_that_is_ahead_warns_and_counts_from_its_arrival(
    run: Run, tmp_path: Path, restic_version: str
) -> None:
    repository = make_repository(tmp_path / "repo", restic_version, [Backup(ago(20 * DAY), "web")])
    assert look(run, repository, {"web": {}})["status"] == "down"
    repository.backup(Backup(ago(-2 * DAY), "web"))
    home = look(run, repository, {"web": {}})
    assert (home["status"], home["age_seconds"] < 60) == ("warn", True)
    assert "1 snapshot is dated in the future" in home["message"]
    unseen = look(run, repository, {"web": {}}, "--no-state")
    known = restic_version in SUMMARIES  # which write down when it was, by a clock that is right here
    assert unseen["code"] == ("warn" if known else "stale")
    for tag in "xyz":
        repository.run("tag", "--add", tag)
    assert look(run, repository, {"web": {}})["age_seconds"] < 120


@pytest.mark.slow
def test_what_came_from_the_future_before_the_first_look_proves_nothing_however_often_it_is_tagged(
    run: Run, tmp_path: Path
) -> None:
    repository = make_repository(tmp_path / "repo", "0.14", [Backup(ago(-300 * DAY), "web")])
    for tag in "wxyz":
        assert look(run, repository, {"web": {}})["code"] == "missing", tag
        repository.run("tag", "--add", tag)


@pytest.mark.slow
def test_while_somebody_is_not_told_what_came_is_remembered_all_the_same(run: Run, kuma: Kuma, tmp_path: Path) -> None:
    """Else it would come anew with each look, and be fresh as long as a monitor is paused."""
    expect = {"nas": {"push_token": "unknown-to-this-uptime-kuma"}, "web": {"max_age": "2s"}}
    repository = make_repository(tmp_path / "repo", "0.14", [Backup(ago(HOUR), "nas")])
    look(run, repository, expect, push_url=kuma.url)
    repository.backup(Backup(ago(-300 * DAY), "web"))
    first = look(run, repository, expect, push_url=kuma.url)
    assert (first["lines"]["nas"]["push"], first["lines"]["web"]["status"]) == ("failed", "warn")
    time.sleep(3)
    assert look(run, repository, expect, push_url=kuma.url)["lines"]["web"]["code"] == "stale"


@pytest.mark.slow
def test_what_could_not_be_read_for_once_does_not_come_back_as_new(run: Run, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repo", "0.14", [Backup(ago(5 * DAY), "nas"), Backup(ago(-300 * DAY), "web")])
    keys = {"max_vanished": 0}
    assert statuses(look(run, repository, {"nas": {}, "web": {}}, **keys)) == {"nas": "down", "web": "down"}
    for file in (repository.path / "snapshots").iterdir():
        file.chmod(0o600)
        file.rename(file.with_suffix(".kept"))
        file.write_bytes(file.with_suffix(".kept").read_bytes()[:50])
    unread = look(run, repository, {"nas": {}, "web": {}}, **keys)
    assert (statuses(unread), unread["message"].count("gone")) == ({"nas": "unknown", "web": "unknown"}, 0)
    for file in (repository.path / "snapshots").glob("*.kept"):
        file.rename(file.with_suffix(""))
    home = look(run, repository, {"nas": {}, "web": {}}, **keys)
    assert statuses(home) == {"nas": "down", "web": "down"}
    assert (home["lines"]["nas"]["notes"], home["message"].count("gone")) == ([], 0)


@pytest.mark.slow
def test_a_tag_is_no_loss(run: Run, five_hosts: Repository, tmp_path: Path) -> None:
    repository = Repository(shutil.copytree(five_hosts.path, tmp_path / "copy"), five_hosts.restic)
    look(run, repository, {"nas": {}}, max_vanished=0)
    for tag in "xyz":
        repository.run("tag", "--add", tag)
        assert look(run, repository, {"nas": {}}, max_vanished=0)["status"] == "up", tag
    newest = json.loads(repository.run("snapshots", "--json", "--host", "nas", "--latest", "1"))[0]["id"]
    repository.run(
        "forget", next(each["id"] for each in json.loads(repository.run("snapshots", "--json")) if each["id"] != newest)
    )
    repository.run("tag", "--add", "a")
    assert "1 of 6 snapshot files are gone" in look(run, repository, {"nas": {}}, max_vanished=0)["message"]


@pytest.mark.slow
def test_the_clock_of_a_host_that_is_behind_is_named(run: Run, tmp_path: Path, restic_version: str) -> None:
    repository = make_repository(tmp_path / "repo", restic_version, [Backup(ago(60 * DAY), "web")])
    look(run, repository, {"web": {}})
    time = f"{ago(30 * DAY):%Y-%m-%d %H:%M:%S}"
    repository.backup(Backup(ago(30 * DAY), "web"))
    notes = look(run, repository, {"web": {}})["lines"]["web"]["notes"]
    if restic_version in SUMMARIES:
        assert notes == [], f"backup --time '{time}': its summary says when it was"
    else:
        (note,) = notes
        assert note.endswith(" is dated 30d before it was stored: is the clock of web behind?")


@pytest.mark.slow
def test_our_own_clock_set_back_forgets_nothing(run: Run, tmp_path: Path) -> None:
    """The last look lies in the future then: nobody knows when something came, but what was proved stays proved."""
    require("restic-0.19")
    old = make_repository(tmp_path / "repo", "0.14", [Backup(ago(20 * DAY), "web")])
    repository = Repository(old.path, require("restic-0.19"))
    look(run, repository, {"web": {}})
    state = run.home / ".local" / "state" / "restic-monitor" / "state.sqlite"
    with closing(sqlite3.connect(state)) as connection:
        connection.execute("UPDATE repositories SET looked = looked + 7200 * 1000000")
        connection.commit()
    repository.run("rewrite", "--forget", "--new-time", f"{ago(HOUR):%Y-%m-%d %H:%M:%S}", "latest")
    for _ in range(3):
        home = look(run, repository, {"web": {}})
        assert (home["code"], home["age_seconds"] // 86400) == ("stale", 20)
    repository.backup(Backup(ago(timedelta(0)), "web"))
    assert look(run, repository, {"web": {}})["status"] == "up"


def test_most_hosts_ahead_is_our_own_clock_and_is_not_remembered(run: Run, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repo", "0.14", [Backup(ago(-2 * DAY), host) for host in ("nas", "web")])
    for _ in range(2):
        home = look(run, repository, {"nas": {}, "web": {}})
        assert home["notes"] == ["2 of 2 hosts are ahead of this machine: is its clock behind? This look is not remembered"]
        assert statuses(home) == {"nas": "down", "web": "down"}


# By other hands


@pytest.mark.slow
@pytest.mark.parametrize(("writer", "reader"), [("0.14", "0.19"), ("0.19", "0.14"), ("0.18", "0.19")])
def test_it_does_not_matter_which_restic_wrote_and_which_reads(run: Run, tmp_path: Path, writer: str, reader: str) -> None:
    written = make_repository(tmp_path / "repo", writer, [Backup(ago(HOUR), "nas"), Backup(ago(9 * DAY), "web")])
    home = look(run, Repository(written.path, require(f"restic-{reader}")), {"nas": {}, "web": {}, "db": {}})
    assert statuses(home) == {"nas": "up", "web": "down", "db": "down"}
    known = "0.14" not in (writer, reader)
    assert (home["lines"]["nas"]["files"] is not None) == known


@pytest.mark.slow
def test_the_state_of_one_mode_is_not_that_of_the_other(run: Run, five_hosts: Repository) -> None:
    """A look by restic sees no keys: it must not make the next listing forget which there were."""
    first = look(run, five_hosts, None, mode="listing")
    assert first["notes"] == ["no earlier look to compare with"]
    assert look(run, five_hosts, EXPECT)["status"] == "down"
    assert look(run, five_hosts, None, mode="listing")["notes"] == []


@pytest.mark.slow
def test_snapshots_that_vanish_in_bulk_are_told_with_the_password_too(run: Run, five_hosts: Repository, tmp_path: Path) -> None:
    repository = Repository(shutil.copytree(five_hosts.path, tmp_path / "copy"), five_hosts.restic)
    assert look(run, repository, {"nas": {}}, max_vanished=1)["status"] == "up"
    ids = [each["id"] for each in json.loads(repository.run("snapshots", "--json")) if each["hostname"] != "nas"]
    repository.run("forget", *ids[:2])
    home = look(run, repository, {"nas": {}}, max_vanished=1)
    assert home["status"] == "warn"
    assert "2 of 6 snapshot files are gone since the last look (limit 1); was that you?" in home["message"]
