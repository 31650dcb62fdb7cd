"""One repository, many machines: real repositories with five hosts, by every restic, looked at as a user does, by restic and by
ourselves."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Mapping, Sequence
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
MODES = ("restic", "native")
"""Those with a password. One run looks in both, as at two repositories, each with a memory of its own."""


def ago(age: timedelta) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - age


def configure(
    run: Run,
    repository: Repository,
    expect: Mapping[str, Any] | None,
    modes: Sequence[str] = MODES,
    name: str = "",
    **keys: Any,
) -> Path:
    """A configuration in JSON, which is YAML; without a `name` each repository is called as its mode. restic is the one that
    made it, and for other modes there is none."""
    file = run.home / "config.yaml"
    keys = {"url": str(repository.path), "password": PASSWORD, "max_age": "26h"} | ({"expect": expect} if expect else {}) | keys
    restics = {"restic": str(repository.restic)}
    blocks = {name or mode: {"mode": mode, "restic": restics.get(mode, "/nowhere/restic"), **keys} for mode in modes}
    file.write_text(json.dumps({"repositories": blocks}))
    file.chmod(0o600)
    return file


def look(
    run: Run,
    repository: Repository,
    expect: Mapping[str, Any] | None,
    *options: str,
    modes: Sequence[str] = MODES,
    **keys: Any,
) -> list[dict[str, Any]]:
    """The result of each mode in JSON; its lines by name."""
    done = run("run", "-c", configure(run, repository, expect, modes, **keys), "--format", "json", *options)
    assert done.stdout, done.stderr
    results = json.loads(done.stdout)["results"]
    assert [result["source"] for result in results] == list(modes), results
    return [{**result, "lines": {line["name"]: line for line in result["lines"]}} for result in results]


def statuses(result: Mapping[str, Any]) -> dict[str, str]:
    return {name: line["status"] for name, line in result["lines"].items()}


def stored(repository: Repository, moment: datetime) -> None:
    """All its snapshot files get that time."""
    for file in (repository.path / "snapshots").iterdir():
        os.utime(file, (moment.timestamp(),) * 2)


@pytest.fixture(scope="session")
def five_hosts(restic_version: str, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """nas, web and pi are well, desktop is late, db has never been here; an old one is not expected."""
    ages = {"nas": [30 * HOUR, 2 * HOUR], "web": [3 * HOUR], "pi": [2 * DAY], "desktop": [6 * DAY], "old": [400 * DAY]}
    backups = [Backup(ago(age), host) for host, several in ages.items() for age in several]
    return make_repository(tmp_path_factory.mktemp("five") / "repo", restic_version, backups)


def test_each_machine_has_its_line_and_the_repository_is_as_bad_as_the_worst(run: Run, five_hosts: Repository) -> None:
    known = any(f"restic {version}" in five_hosts.run("version") for version in SUMMARIES)
    for home in look(run, five_hosts, EXPECT):
        assert statuses(home) == {"nas": "up", "web": "up", "pi": "up", "desktop": "down", "db": "down"}
        assert (home["status"], home["code"], home["snapshots"]) == ("down", "stale", 6)
        assert home["message"] == "STALE desktop (6d), db (missing), 3 others fresh; 1 snapshot not expected, of old"
        lines = home["lines"]
        assert lines["db"]["message"] == "MISSING no snapshot of host db; hosts here: nas, desktop, old, pi, web"
        limits = (lines["pi"]["max_age_seconds"], lines["web"]["max_age_seconds"])
        assert (lines["nas"]["snapshots"], *limits) == (2, 259200, 93600)
        assert 7200 <= lines["nas"]["age_seconds"] < 7300
        assert (lines["nas"]["files"] is not None) == known


def test_the_table_is_indented_and_a_group_catches_what_is_new(run: Run, five_hosts: Repository) -> None:
    expect = {"nas": {}, "others": {"group_by": ["host"], "ignore": [{"host": "desk*"}, {"before": "2026-01-01"}]}}
    done = run("run", "-c", configure(run, five_hosts, expect, max_age="3d"), "--only-failing")
    assert (done.returncode, done.stdout) == (0, "")
    done = run("run", "-c", configure(run, five_hosts, expect, max_age="3d"))
    rows = done.stdout.splitlines()
    names = ("nas", "others/pi", "others/web")
    expected = [row for mode in MODES for row in (f"UP  {mode}", *(f"UP    {name}" for name in names))]
    assert [row.partition("OK")[0].rstrip() for row in rows[:-1]] == expected
    assert all("all 3 fresh, the oldest others/pi (2d); 2 groups ignored" in row for row in (rows[0], rows[4]))
    assert rows[-1] == "2 repositories: 2 up"


@pytest.mark.parametrize("mode", MODES)
def test_a_line_with_a_monitor_of_its_own_is_told_and_so_is_the_repository(
    run: Run, kuma: Kuma, five_hosts: Repository, mode: str
) -> None:
    home, pi, desktop = (kuma.add_monitor() for _ in range(3))
    expect = {"nas": {}, "pi": {"max_age": "3d", "push_token": pi}, "desktop": {"push_token": desktop}}
    done = run("run", "-c", configure(run, five_hosts, expect, [mode], push_url=kuma.url, push_token=home))
    beats = {beat.token: (beat.status, beat.msg.split(" (")[0]) for beat in kuma.beats}
    assert beats[home] == ("down", "STALE desktop")
    assert beats[pi] == ("up", "OK newest 2d old")
    assert beats[desktop][0] == "down"
    assert beats[desktop][1].startswith("STALE newest 6d")
    assert done.stdout.splitlines()[-1] == "1 repository: 1 down; 3 pushed"
    assert not any(token in done.stdout + done.stderr for token in (home, pi, desktop))


@pytest.mark.parametrize("mode", MODES)
def test_nobody_could_look_is_unknown_in_every_line_and_told_there(
    run: Run, kuma: Kuma, five_hosts: Repository, mode: str
) -> None:
    home, pi = kuma.add_monitor(), kuma.add_monitor()
    keys = {"push_url": kuma.url, "push_token": home, "password": "wrong"}
    expect = {"nas": {}, "pi": {"push_token": pi}, "rest": {"group_by": "host"}}
    (result,) = look(run, five_hosts, expect, modes=[mode], **keys)
    assert statuses(result) == dict.fromkeys(("nas", "pi", "rest"), "unknown")
    assert {beat.token: beat.status for beat in kuma.beats} == {home: "down", pi: "down"}
    assert {beat.msg for beat in kuma.beats} == {result["message"]}


@pytest.mark.slow
def test_dropping_a_host_turns_its_line_down_by_name(run: Run, five_hosts: Repository, tmp_path: Path) -> None:
    repository = Repository(shutil.copytree(five_hosts.path, tmp_path / "copy"), five_hosts.restic)
    expect = {"nas": {}, "web": {}, "pi": {"max_age": "3d"}}
    assert [home["status"] for home in look(run, repository, expect)] == ["up", "up"]
    (web,) = [each["id"] for each in json.loads(repository.run("snapshots", "--json", "--host", "web"))]
    repository.run("forget", web)
    for home in look(run, repository, expect):
        assert statuses(home) == {"nas": "up", "web": "down", "pi": "up"}
        said = "MISSING web: no snapshot of host web; hosts here: nas, desktop, old, pi; 2 others fresh"
        assert home["message"].startswith(said)


def test_a_damaged_file_may_be_the_one_that_is_missed(run: Run, five_hosts: Repository, tmp_path: Path) -> None:
    repository = Repository(shutil.copytree(five_hosts.path, tmp_path / "copy"), five_hosts.restic)
    (web,) = [each["id"] for each in json.loads(repository.run("snapshots", "--json", "--host", "web"))]
    file = repository.path / "snapshots" / web
    file.chmod(0o600)
    os.truncate(file, 50)
    reasons = {"native": " (its content is not what its name says)"}
    for home in look(run, repository, {"nas": {}, "web": {}, "desktop": {}}):
        assert statuses(home) == {"nas": "up", "web": "unknown", "desktop": "unknown"}
        assert (home["status"], home["code"]) == ("down", "error")
        damaged = f"{web[:8]}{reasons.get(home['source'], '')}; "
        assert home["message"].startswith(f"ERROR 1 snapshot file is damaged or unreadable: {damaged}")


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
    homes = look(run, emptied, expect)
    if restic_version in SUMMARIES:
        for home in homes:
            assert (home["status"], home["code"]) == ("down", "small")
            assert "has no file, 10 before; to accept it: baseline: " in home["message"]
        (accepted,) = {home["message"].partition("baseline: ")[2].split(";")[0] for home in homes}
        assert [home["status"] for home in look(run, emptied, expect, baseline=accepted)] == ["up", "up"]
    else:
        for home in homes:
            assert home["status"] == "up"
            assert home["notes"] == ["no file count of nas (restic before 0.17): an empty backup is not noticed"]
        assert [home["notes"] for home in look(run, emptied, expect)] == [[], []], "told once"


def test_a_size_that_was_asked_for_is_unknown_where_restic_does_not_count(
    run: Run, emptied: Repository, restic_version: str
) -> None:
    for home in look(run, emptied, {"nas": {"min_files": 5, "max_shrink": "30%"}}):
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
    first = look(run, repository, {"web": {}})[0]
    for tag in "xyz":
        repository.run("tag", "--add", tag)
        for second in look(run, repository, {"web": {}}):
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
    for home in look(run, repository, {"web": {}}):
        assert (home["code"], home["age_seconds"] // 86400) == ("stale", 20)
        assert "(dated " in home["lines"]["web"]["message"]
    for tag in "xyz":  # restic's tag names the first of all as the original, whatever came between
        repository.run("tag", "--add", tag)
        for home in look(run, repository, {"web": {}}):
            assert (home["code"], home["age_seconds"] // 86400) == ("stale", 20), tag
    forgetful = look(run, repository, {"web": {}}, "--no-state")
    assert [home["status"] for home in forgetful] == ["up", "up"], "who remembers nothing is deceived"


@pytest.mark.slow
def test_a_copy_from_another_repository_proves_what_it_proved_there(run: Run, tmp_path: Path, restic_version: str) -> None:
    source = make_repository(tmp_path / "source", restic_version, [Backup(ago(20 * DAY), "web")])
    repository = make_repository(tmp_path / "repo", restic_version)
    look(run, repository, {"web": {}})
    repository.run("copy", "--from-repo", str(source.path), env={"RESTIC_FROM_PASSWORD": PASSWORD})
    for home in look(run, repository, {"web": {}}):
        assert (home["code"], home["age_seconds"] // 86400, home["lines"]["web"]["notes"]) == ("stale", 20, [])


@pytest.mark.slow
def test_the_clock_of_a_host_that_is_ahead_warns_and_counts_from_its_arrival(
    run: Run, tmp_path: Path, restic_version: str
) -> None:
    repository = make_repository(tmp_path / "repo", restic_version, [Backup(ago(20 * DAY), "web")])
    assert [home["status"] for home in look(run, repository, {"web": {}})] == ["down", "down"]
    repository.backup(Backup(ago(-2 * DAY), "web"))
    for home in look(run, repository, {"web": {}}):
        assert (home["status"], home["age_seconds"] < 60) == ("warn", True)
        assert "1 snapshot is dated in the future" in home["message"]
    by_restic, native = look(run, repository, {"web": {}}, "--no-state")
    known = restic_version in SUMMARIES  # which write down when it was, by a clock that is right here
    assert by_restic["code"] == ("warn" if known else "stale")
    assert native["code"] == "warn", "its file's time tells"
    for tag in "xyz":
        repository.run("tag", "--add", tag)
    for home in look(run, repository, {"web": {}}):
        assert home["age_seconds"] < 120


@pytest.mark.slow
def test_what_came_from_the_future_before_the_first_look_proves_nothing_however_often_it_is_tagged(
    run: Run, tmp_path: Path
) -> None:
    """Or to our own reader, which knows when its file was stored: no more than that."""
    repository = make_repository(tmp_path / "repo", "0.14", [Backup(ago(-300 * DAY), "web")])
    stored(repository, ago(20 * DAY))
    for tag in "wxyz":
        by_restic, native = look(run, repository, {"web": {}})
        assert by_restic["code"] == "missing", tag
        assert (native["code"], native["age_seconds"] // 86400) == ("stale", 20), tag
        repository.run("tag", "--add", tag)


@pytest.mark.slow
def test_while_somebody_is_not_told_what_came_is_remembered_all_the_same(run: Run, kuma: Kuma, tmp_path: Path) -> None:
    """Else it would come anew with each look, and be fresh as long as a monitor is paused. By restic alone: our own reader need
    not remember it, the file has its time."""
    expect = {"nas": {"push_token": "unknown-to-this-uptime-kuma"}, "web": {"max_age": "2s"}}
    repository = make_repository(tmp_path / "repo", "0.14", [Backup(ago(HOUR), "nas")])
    keys = {"modes": ["restic"], "push_url": kuma.url}
    look(run, repository, expect, **keys)
    repository.backup(Backup(ago(-300 * DAY), "web"))
    (first,) = look(run, repository, expect, **keys)
    assert (first["lines"]["nas"]["push"], first["lines"]["web"]["status"]) == ("failed", "warn")
    time.sleep(3)
    (second,) = look(run, repository, expect, **keys)
    assert second["lines"]["web"]["code"] == "stale"


@pytest.mark.slow
def test_what_could_not_be_read_for_once_does_not_come_back_as_new(run: Run, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repo", "0.14", [Backup(ago(5 * DAY), "nas"), Backup(ago(-300 * DAY), "web")])
    stored(repository, ago(5 * DAY))
    keys: dict[str, Any] = {"max_vanished": 0}
    for home in look(run, repository, {"nas": {}, "web": {}}, **keys):
        assert statuses(home) == {"nas": "down", "web": "down"}
    for file in (repository.path / "snapshots").iterdir():
        file.chmod(0o600)
        file.rename(file.with_suffix(".kept"))
        file.write_bytes(file.with_suffix(".kept").read_bytes()[:50])
    for unread in look(run, repository, {"nas": {}, "web": {}}, **keys):
        assert (statuses(unread), unread["message"].count("gone")) == ({"nas": "unknown", "web": "unknown"}, 0)
    for file in (repository.path / "snapshots").glob("*.kept"):
        file.rename(file.with_suffix(""))
    for home in look(run, repository, {"nas": {}, "web": {}}, **keys):
        assert statuses(home) == {"nas": "down", "web": "down"}
        assert (home["lines"]["nas"]["notes"], home["message"].count("gone")) == ([], 0)


@pytest.mark.slow
def test_a_tag_is_no_loss(run: Run, five_hosts: Repository, tmp_path: Path) -> None:
    repository = Repository(shutil.copytree(five_hosts.path, tmp_path / "copy"), five_hosts.restic)
    look(run, repository, {"nas": {}}, max_vanished=0)
    for tag in "xyz":
        repository.run("tag", "--add", tag)
        assert [home["status"] for home in look(run, repository, {"nas": {}}, max_vanished=0)] == ["up", "up"], tag
    newest = json.loads(repository.run("snapshots", "--json", "--host", "nas", "--latest", "1"))[0]["id"]
    repository.run(
        "forget", next(each["id"] for each in json.loads(repository.run("snapshots", "--json")) if each["id"] != newest)
    )
    repository.run("tag", "--add", "a")
    for home in look(run, repository, {"nas": {}}, max_vanished=0):
        assert "1 of 6 snapshot files are gone" in home["message"]


@pytest.mark.slow
def test_the_clock_of_a_host_that_is_behind_is_named(run: Run, tmp_path: Path, restic_version: str) -> None:
    repository = make_repository(tmp_path / "repo", restic_version, [Backup(ago(60 * DAY), "web")])
    stored(repository, ago(60 * DAY))
    look(run, repository, {"web": {}})
    dated = ago(30 * DAY + HOUR)  # restic knows only that it came after the look before, some moments ago
    repository.backup(Backup(dated, "web"))
    for home in look(run, repository, {"web": {}}):
        notes = home["lines"]["web"]["notes"]
        if restic_version in SUMMARIES:
            assert notes == [], f"backup --time '{dated}': its summary says when it was"
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
        for home in look(run, repository, {"web": {}}):
            assert (home["code"], home["age_seconds"] // 86400) == ("stale", 20)
    repository.backup(Backup(ago(timedelta(0)), "web"))
    assert [home["status"] for home in look(run, repository, {"web": {}})] == ["up", "up"]


def test_most_hosts_ahead_is_our_own_clock_and_is_not_remembered(run: Run, tmp_path: Path) -> None:
    """Our own reader goes by when the files were stored, which is no date of theirs."""
    repository = make_repository(tmp_path / "repo", "0.14", [Backup(ago(-2 * DAY), host) for host in ("nas", "web")])
    note = "2 of 2 hosts are ahead of this machine: is its clock behind? This look is not remembered"
    for _ in range(2):
        by_restic, native = look(run, repository, {"nas": {}, "web": {}})
        assert note in by_restic["notes"]
        assert note in native["notes"]
        assert statuses(by_restic) == {"nas": "down", "web": "down"}
        assert statuses(native) == {"nas": "warn", "web": "warn"}


# By other hands


@pytest.mark.slow
@pytest.mark.parametrize(("writer", "reader"), [("0.14", "0.19"), ("0.19", "0.14"), ("0.18", "0.19")])
def test_it_does_not_matter_which_restic_wrote_and_which_reads(run: Run, tmp_path: Path, writer: str, reader: str) -> None:
    written = make_repository(tmp_path / "repo", writer, [Backup(ago(HOUR), "nas"), Backup(ago(9 * DAY), "web")])
    for home in look(run, Repository(written.path, require(f"restic-{reader}")), {"nas": {}, "web": {}, "db": {}}):
        assert statuses(home) == {"nas": "up", "web": "down", "db": "down"}
        readers = [reader] if home["source"] == "restic" else []
        assert (home["lines"]["nas"]["files"] is not None) == ("0.14" not in (writer, *readers))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_the_state_of_one_mode_is_not_that_of_the_other(run: Run, five_hosts: Repository, mode: str) -> None:
    """A look by restic sees no keys: it must not make the next listing forget which there were."""
    (first,) = look(run, five_hosts, None, modes=["listing"], name="home")
    assert first["notes"] == ["no earlier look to compare with"]
    assert look(run, five_hosts, EXPECT, modes=[mode], name="home")[0]["status"] == "down"
    assert look(run, five_hosts, None, modes=["listing"], name="home")[0]["notes"] == []


@pytest.mark.slow
def test_snapshots_that_vanish_in_bulk_are_told_with_the_password_too(run: Run, five_hosts: Repository, tmp_path: Path) -> None:
    repository = Repository(shutil.copytree(five_hosts.path, tmp_path / "copy"), five_hosts.restic)
    assert [home["status"] for home in look(run, repository, {"nas": {}}, max_vanished=1)] == ["up", "up"]
    ids = [each["id"] for each in json.loads(repository.run("snapshots", "--json")) if each["hostname"] != "nas"]
    repository.run("forget", *ids[:2])
    for home in look(run, repository, {"nas": {}}, max_vanished=1):
        assert home["status"] == "warn"
        assert "2 of 6 snapshot files are gone since the last look (limit 1); was that you?" in home["message"]
