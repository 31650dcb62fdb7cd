"""How backup monitors have lied to their users, and that this one does not: a test for each case.

The numbers are those of the field notes that the project began with. Cases about what it does not have yet are not here.
Each is looked at in every mode that it concerns. Those with a program in the place of restic's are about what restic says.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import Completed, Run
from kuma import Kuma
from looks import Outcome, a_snapshot, fake_restic, listing, reporting_restic, reports_of, run_on
from repositories import snapshot, write_repository
from restics import PASSWORD, Backup, Repository, make_repository, require, versions
from servers import S3, Rest

NEWEST = "0.19"


def ago(hours: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(hours=hours)


def restic_with(tmp_path: Path, *times: datetime, stderr: bytes = b"", end: str = "exit 0") -> Path:
    snapshots = [a_snapshot(time.isoformat(), id=f"{number:064x}") for number, time in enumerate(times)]
    return fake_restic(tmp_path / "restic", listing(snapshots), stderr, end)


def pushed_by(run: Run, kuma: Kuma, repositories: Mapping[str, Mapping[str, Any]], *options: str) -> Completed:
    """A run with a push monitor for each repository."""
    config = run.home / "config.yaml"
    whole = {
        "defaults": {"push_url": kuma.url, "password": PASSWORD, "mode": "restic"},
        "repositories": {name: {"push_token": token(kuma, name), **keys} for name, keys in repositories.items()},
    }
    config.write_text(json.dumps(whole))
    config.chmod(0o600)
    return run("run", "--config", config, *options)


def listed(run: Run, url: str | Path, *options: str, env: Mapping[str, str] | None = None, **keys: object) -> Outcome:
    """A look without the password, and without a restic on this machine."""
    outcome = run_on(run, url, run.home / "no-restic", *options, env=env, mode="listing", **keys)
    assert outcome.result["source"] == "listing"
    return outcome


def natively(run: Run, url: str | Path, *options: str, env: Mapping[str, str] | None = None, **keys: object) -> Outcome:
    """A look with the password, and without a restic on this machine."""
    outcome = run_on(run, url, run.home / "no-restic", *options, env=env, mode="native", **keys)
    assert outcome.result["source"] == "native"
    return outcome


@dataclass(frozen=True)
class Way:
    """To look with the password: by the restic that wrote the repository, or by ourselves, where there is none."""

    mode: str
    version: str

    def __call__(self, run: Run, url: str | Path, *, env: Mapping[str, str] | None = None, **keys: object) -> Outcome:
        if self.mode == "native":
            return natively(run, url, env=env, **keys)
        return run_on(run, url, require(f"restic-{self.version}"), env=env, **keys)


@pytest.fixture(params=[*(Way("restic", each) for each in versions()), Way("native", NEWEST)], ids=[*versions(), "native"])
def way(request: pytest.FixtureRequest) -> Way:
    assert isinstance(request.param, Way)
    require(f"restic-{request.param.version}")
    return request.param


def stored(path: Path, hours: float) -> None:
    """All snapshot files of the repository there get that age."""
    for file in (path / "snapshots").iterdir():
        os.utime(file, (time.time() - hours * 3600,) * 2)


def token(kuma: Kuma, name: str) -> str:
    """A monitor whose beats can be told apart."""
    made = f"Token0of0{name}"
    kuma.tokens.add(made)
    return made


def told(kuma: Kuma) -> dict[str, tuple[str, str]]:
    """Status and message of each monitor's only beat."""
    beats: dict[str, tuple[str, str]] = {beat.token.removeprefix("Token0of0"): (beat.status, beat.msg) for beat in kuma.beats}
    assert len(beats) == len(kuma.beats), "two beats for one monitor"
    return beats


# Says OK while the backup is broken


@pytest.mark.parametrize(("zone", "hours"), [("+09:00", 15), ("-08:00", 1.5), ("+05:45", 9.9)])
@pytest.mark.parametrize("ours", ["UTC", "America/New_York"])
def test_case_1_time_zone_dropped(run: Run, tmp_path: Path, zone: str, hours: float, ours: str) -> None:
    """Three monitors take a snapshot of 06:00+09:00 for 6 hours old at 12:00 UTC; it is 15."""
    there = ago(hours).astimezone(datetime.fromisoformat(f"2026-01-01T00:00:00{zone}").tzinfo)
    restic = restic_with(tmp_path, there)
    outcome = run_on(run, "/srv/restic", restic, env={"TZ": ours}, max_age="10h")
    assert outcome.result["age_seconds"] == pytest.approx(hours * 3600, abs=60)
    assert outcome.result["newest"] == there.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert outcome.status == ("up" if hours < 10 else "down")


@pytest.mark.parametrize(("zone", "hours"), [("+09:00", 15), ("-08:00", 1.5), ("+05:45", 9.9)])
def test_case_1_our_own_reader_keeps_the_time_zone(run: Run, tmp_path: Path, zone: str, hours: float) -> None:
    there = ago(hours).astimezone(datetime.fromisoformat(f"2026-01-01T00:00:00{zone}").tzinfo)
    repository = write_repository(tmp_path / "repo", [snapshot(ago(0)) | {"time": there.isoformat()}])
    outcome = natively(run, repository.path, env={"TZ": "America/New_York"}, max_age="10h")
    assert outcome.result["age_seconds"] == pytest.approx(hours * 3600, abs=60)
    assert outcome.result["newest"] == there.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert outcome.status == ("up" if hours < 10 else "down")


@pytest.mark.parametrize("ours", ["UTC", "America/New_York", "Asia/Kathmandu"])
def test_case_1_a_listing_knows_no_time_zones(run: Run, tmp_path: Path, ours: str) -> None:
    repository = make_repository(tmp_path / "repo", NEWEST, [Backup(ago(1))])
    stored(repository.path, 9.9)
    for limit, status in (("10h", "up"), ("9h", "down")):
        outcome = listed(run, repository.path, env={"TZ": ours}, max_age=limit)
        assert outcome.result["age_seconds"] == pytest.approx(9.9 * 3600, abs=60)
        assert outcome.status == status


def test_case_2_stale_result_served(run: Run, tmp_path: Path, kuma: Kuma) -> None:
    """A failed look is never answered with what the last good one saw."""
    repository = {"url": "/srv/restic", "restic": str(restic_with(tmp_path, ago(1)))}
    pushed_by(run, kuma, {"web": repository})
    restic_with(tmp_path, ago(1), stderr=b"Fatal: dial tcp: connection refused\n", end="exit 1")
    completed = pushed_by(run, kuma, {"web": repository}, "--format", "json")
    assert [beat.status for beat in kuma.beats] == ["up", "down"]
    assert kuma.beats[1].msg == "UNREACHABLE dial tcp: connection refused"
    (result,) = json.loads(completed.stdout)["results"]
    assert (result["status"], result["newest"], result["age_seconds"], result["snapshots"]) == ("unknown", None, None, None)


def test_case_2_our_own_reader_serves_nothing_that_it_remembers(run: Run, tmp_path: Path) -> None:
    """It need not read again what it has read; but without a listing of today there is nothing to say."""
    repository = write_repository(tmp_path / "repo", [snapshot(ago(1))])
    assert natively(run, repository.path).status == "up"
    repository.path.rename(tmp_path / "unmounted")
    outcome = natively(run, repository.path)
    assert outcome.message == f"ERROR there is no folder {repository.path}: is the disk mounted?"
    result = outcome.result
    assert (result["status"], result["newest"], result["age_seconds"], result["snapshots"]) == ("unknown", None, None, None)


def test_case_3_a_rewritten_snapshot_is_no_new_backup(run: Run, tmp_path: Path, way: Way) -> None:
    """`restic tag` makes a new object today for the backup of long ago."""
    repository = make_repository(tmp_path / "repo", way.version, [Backup(ago(50 * 24))])
    repository.run("tag", "--add", "kept")
    (file,) = (repository.path / "snapshots").iterdir()
    assert time.time() - file.stat().st_mtime < 60
    outcome = way(run, repository.path)
    assert (outcome.status, outcome.result["code"]) == ("down", "stale")


def test_case_3_a_listing_cannot_see_a_rewrite_and_does_not_call_it_a_backup(run: Run, tmp_path: Path) -> None:
    """It says what it knows: a file is new, another is gone. A look by restic now and then tells what is true."""
    repository = make_repository(tmp_path / "repo", NEWEST, [Backup(ago(50 * 24))])
    stored(repository.path, 50 * 24)
    assert listed(run, repository.path).result["code"] == "stale"
    repository.run("tag", "--add", "kept")
    outcome = listed(run, repository.path)
    assert outcome.status == "up"
    assert outcome.message.startswith("OK newest file stored 0s ago (limit 1d")
    assert outcome.message.endswith("; 1 snapshot file; 1 new, 1 gone since the last look")
    assert run_on(run, repository.path, repository.restic).result["code"] == "stale"


def test_case_4_future_dated_snapshot(run: Run, tmp_path: Path) -> None:
    """It would make the repository fresh until that day. This restic does not write down when a backup really was."""
    repository = make_repository(tmp_path / "repo", "0.14", [Backup(ago(48)), Backup(ago(-90 * 24))])
    outcome = run_on(run, repository.path, repository.restic)
    assert (outcome.status, outcome.result["code"]) == ("down", "stale")
    assert "; 1 snapshot is dated in the future (" in outcome.message
    repository.backup(Backup(ago(1)))
    outcome = run_on(run, repository.path, repository.restic)
    assert (outcome.status, outcome.completed.returncode) == ("warn", 0)
    assert outcome.message.startswith("WARN newest 1h")
    assert "; 1 snapshot is dated in the future (" in outcome.message


def test_case_4_our_own_reader_counts_a_future_snapshot_from_when_it_was_stored(run: Run, tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "repo", [snapshot(ago(50)), snapshot(ago(-90 * 24))])
    stored(repository.path, 48)
    outcome = natively(run, repository.path)
    assert (outcome.status, outcome.result["code"]) == ("down", "stale")
    assert outcome.result["age_seconds"] == pytest.approx(48 * 3600, abs=60)
    assert "; 1 snapshot is dated in the future (" in outcome.message
    repository.add_snapshot(snapshot(ago(1)))
    outcome = natively(run, repository.path)
    assert (outcome.status, outcome.completed.returncode) == ("warn", 0)
    assert outcome.message.startswith("WARN newest 1h")
    assert "; 1 snapshot is dated in the future (" in outcome.message


def test_case_4_our_own_reader_knows_no_backup_where_the_store_is_in_the_future_too(run: Run, tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "repo", [snapshot(ago(-24)), snapshot(ago(-25))])
    stored(repository.path, -24)
    outcome = natively(run, repository.path)
    assert (outcome.status, outcome.result["code"]) == ("down", "missing")


def test_case_4_our_own_reader_takes_a_clock_that_is_a_little_fast_for_no_attack(run: Run, tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "repo", [snapshot(ago(-4 / 60))])
    outcome = natively(run, repository.path)
    assert (outcome.status, outcome.result["age_seconds"]) == ("up", 0)


def test_case_4_nothing_but_future_snapshots(run: Run, tmp_path: Path) -> None:
    outcome = run_on(run, "/srv/restic", restic_with(tmp_path, ago(-0.1), ago(-1)))
    assert (outcome.status, outcome.result["code"]) == ("down", "missing")


def test_case_4_a_clock_that_is_a_little_fast_is_no_attack(run: Run, tmp_path: Path) -> None:
    outcome = run_on(run, "/srv/restic", restic_with(tmp_path, ago(-4 / 60)))
    assert (outcome.status, outcome.result["age_seconds"]) == ("up", 0)


def test_case_4_a_listing_is_not_deceived_by_a_future_snapshot(run: Run, tmp_path: Path) -> None:
    """What counts is when the file was stored. Where the store's clock was fast, that is in the future, and does not count."""
    repository = make_repository(tmp_path / "repo", NEWEST, [Backup(ago(-90 * 24))])
    stored(repository.path, 48)
    assert listed(run, repository.path).result["code"] == "stale"
    stored(repository.path, -24)
    outcome = listed(run, repository.path)
    assert (outcome.status, outcome.result["code"]) == ("down", "missing")
    assert "1 file is dated in the future (" in outcome.message


def test_case_5_corrupt_snapshot_skipped(run: Run, tmp_path: Path, kuma: Kuma, way: Way) -> None:
    """restic leaves it out of its list and exits with 0."""
    repository = make_repository(tmp_path / "repo", way.version, [Backup(ago(2)), Backup(ago(1))])
    newest = json.loads(repository.run("snapshots", "--json", "--no-lock"))[-1]["id"]
    file = repository.path / "snapshots" / newest
    file.chmod(0o600)
    os.truncate(file, 100)
    restic = "/nowhere/restic" if way.mode == "native" else str(repository.restic)
    completed = pushed_by(run, kuma, {"web": {"url": str(repository.path), "restic": restic, "mode": way.mode}})
    status, message = told(kuma)["web"]
    assert status == "down"
    assert message.startswith(f"ERROR 1 snapshot file is damaged or unreadable: {newest[:8]}")
    assert completed.returncode == 1


@pytest.mark.parametrize(
    ("look", "size_bytes", "code"),
    [
        (listed, 0, "stale"),
        (listed, 20, "stale"),
        (listed, 100, "error"),
        *((natively, size, "stale") for size in (0, 20, 100)),
    ],
)
def test_case_5_what_did_not_arrive_whole_is_seen_without_restic(
    run: Run, tmp_path: Path, look: Callable[..., Outcome], size_bytes: int, code: str
) -> None:
    """Empty files do occur where a snapshot should be. A listing reads the newest file: the content must be what its name says;
    our own reader reads each, and for it the newest that it could read is the old one."""
    repository = write_repository(tmp_path / "repo", [snapshot(ago(48))])
    stored(repository.path, 48)
    newest = repository.path / "snapshots" / repository.add_snapshot(snapshot(ago(1)))
    os.truncate(newest, size_bytes)
    outcome = look(run, repository.path)
    assert (outcome.status, outcome.result["code"]) == ("down", code)
    assert newest.name[:8] in outcome.message


def test_case_6_a_listing_is_not_a_restore(run: Run, tmp_path: Path) -> None:
    """Nor is restic's list of snapshots, nor our own reading of them. None reads what was backed up."""
    repository = make_repository(tmp_path / "repo", NEWEST, [Backup(ago(1))])
    shutil.rmtree(repository.path / "data")
    assert listed(run, repository.path).status == "up"
    assert run_on(run, repository.path, repository.restic).status == "up"
    assert natively(run, repository.path).status == "up"


def test_case_6_a_listing_sees_that_nobody_can_open_the_repository(run: Run, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repo", NEWEST, [Backup(ago(1))])
    shutil.rmtree(repository.path / "keys")
    outcome = listed(run, repository.path)
    assert (outcome.status, outcome.result["code"]) == ("down", "error")
    assert outcome.message.startswith("ERROR no key in the repository")


def test_case_8_a_listing_cannot_tell_hosts_apart(run: Run, tmp_path: Path) -> None:
    """A host that stopped is hidden by one that did not; give each its own repository, or the program the password."""
    repository = make_repository(tmp_path / "repo", NEWEST, [Backup(ago(48), "laptop")])
    stored(repository.path, 48)
    repository.backup(Backup(ago(1), "web1"))
    outcome = listed(run, repository.path)
    assert outcome.status == "up"
    assert "laptop" not in outcome.completed.stdout


def test_case_8_our_own_reader_tells_hosts_apart(run: Run, tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "repo", [snapshot(ago(48), "laptop"), snapshot(ago(1), "web1")])
    outcome = natively(run, repository.path, expect={"laptop": {}, "web1": {}})
    assert (outcome.status, outcome.result["code"]) == ("down", "stale")
    assert outcome.message.startswith("STALE laptop ")


def test_case_9_a_repository_without_snapshots_does_not_vanish(run: Run, tmp_path: Path, kuma: Kuma) -> None:
    repository = make_repository(tmp_path / "repo", NEWEST)
    restic, native = {"restic": str(repository.restic)}, {"restic": "/nowhere/restic", "mode": "native"}
    url = {"url": str(repository.path)}
    pushed_by(run, kuma, {"web": url | restic, "again": url | native})
    assert told(kuma) == dict.fromkeys(("web", "again"), ("down", "MISSING no snapshot in the repository"))


def test_case_9_nor_does_what_our_own_reader_remembers_fill_it_again(run: Run, tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "repo", [snapshot(ago(1))])
    assert natively(run, repository.path).status == "up"
    (repository.path / "snapshots" / repository.snapshots[0]).unlink()
    outcome = natively(run, repository.path, max_vanished="50%")
    assert (outcome.status, outcome.result["code"]) == ("down", "missing")
    assert outcome.message == (
        "MISSING no snapshot in the repository; 1 was there at the last look; "
        "1 of 1 snapshot files are gone since the last look (limit 50%); was that you?"
    )


def test_case_9_nor_does_it_for_a_listing(run: Run, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repo", NEWEST, [Backup(ago(1))])
    listed(run, repository.path)
    repository.run("forget", "--unsafe-allow-remove-all", "--tag", "", "--quiet")
    outcome = listed(run, repository.path, max_vanished="50%")
    assert (outcome.status, outcome.result["code"]) == ("down", "missing")
    assert outcome.message == (
        "MISSING no snapshot file in the repository; 0 new, 1 gone since the last look; "
        "1 of 1 snapshot files are gone since the last look (limit 50%); was that you?"
    )


def test_case_10_wrong_filter_inherited(run: Run, tmp_path: Path, way: Way) -> None:
    """RESTIC_HOST filters `snapshots` since 0.17."""
    repository = make_repository(tmp_path / "repo", way.version, [Backup(ago(48), "laptop"), Backup(ago(1), "web1")])
    outcome = way(run, repository.path, env={"RESTIC_HOST": "laptop"})
    assert (outcome.status, outcome.result["snapshots"]) == ("up", 2)


def test_case_10_another_repository_inherited(run: Run, tmp_path: Path) -> None:
    """A shell that was set up for backing up another repository."""
    repository = make_repository(tmp_path / "repo", NEWEST, [Backup(ago(48))])
    other = make_repository(tmp_path / "other", NEWEST, [Backup(ago(1))])
    (tmp_path / "file").write_text(str(other.path))
    for env in ({"RESTIC_REPOSITORY": str(other.path)}, {"RESTIC_REPOSITORY_FILE": str(tmp_path / "file")}):
        assert run_on(run, repository.path, repository.restic, env=env).result["code"] == "stale"
        assert natively(run, repository.path, env=env).result["code"] == "stale"


def test_case_12_no_heartbeat_before_the_look_has_ended(run: Run, tmp_path: Path, kuma: Kuma) -> None:
    """A heartbeat at the start makes what hangs afterwards look alive."""
    restic = restic_with(tmp_path, ago(1), end="sleep 0.7")
    began = datetime.now(UTC)
    pushed_by(run, kuma, {"web": {"url": "/srv/restic", "restic": str(restic)}})
    (beat,) = kuma.beats
    assert beat.at - began > timedelta(seconds=0.7)
    assert beat.status == "up"
    assert beat.ping
    assert beat.ping >= 700


@pytest.mark.parametrize("reason", ["unknown or paused", "login page", "wrong path", "server error"])
def test_case_13_push_accepted_by_nobody(run: Run, tmp_path: Path, kuma: Kuma, reason: str) -> None:
    """Uptime Kuma's web app and a login page answer 200, too; only JSON with `ok: true` means that a beat was taken."""
    repository = {"url": "/srv/restic", "restic": str(restic_with(tmp_path, ago(1)))}
    if reason == "login page":
        kuma.answer_with(200, {"Content-Type": "text/html"}, b"<form>Log in</form>", times=None)
    elif reason == "server error":
        kuma.answer_with(500, {}, b"", times=None)
    elif reason == "wrong path":
        repository["push_url"] = f"{kuma.url}/kuma/api/push/"
    else:
        repository["push_token"] = "NobodyKnowsIt"
    completed = pushed_by(run, kuma, {"web": repository}, "--format", "json")
    (result,) = json.loads(completed.stdout)["results"]
    assert (result["status"], result["push"]) == ("up", "failed")
    assert result["push_message"]
    assert completed.returncode == 3
    assert kuma.beats == ()


def test_case_13_the_status_is_always_said(run: Run, tmp_path: Path, kuma: Kuma) -> None:
    """Absent it means up, and anything but `up` means down."""
    (tmp_path / "a").mkdir()
    fresh, future = restic_with(tmp_path, ago(1)), restic_with(tmp_path / "a", ago(1), ago(-24))
    repositories = {
        "fresh": {"url": "/srv/a", "restic": str(fresh)},
        "stale": {"url": "/srv/b", "restic": str(fresh), "max_age": "30m"},
        "warn": {"url": "/srv/c", "restic": str(future)},
        "unknown": {"url": "/srv/d", "restic": str(tmp_path / "nothing")},
    }
    pushed_by(run, kuma, repositories)
    assert {name: status for name, (status, _) in told(kuma).items()} == {
        "fresh": "up",
        "stale": "down",
        "warn": "up",
        "unknown": "down",
    }
    words = {name: message.split()[0] for name, (_, message) in told(kuma).items()}
    assert words == {"fresh": "OK", "stale": "STALE", "warn": "WARN", "unknown": "ERROR"}


@pytest.mark.parametrize("look", [listed, natively])
def test_case_15_neighbours_and_folder_markers_are_no_snapshots(run: Run, s3: S3, look: Callable[..., Outcome]) -> None:
    """`snapshots` as a prefix is that of `snapshots-old/`, too; and what is there need not be a snapshot."""
    bucket = f"case15-{look.__name__}"
    repository = write_repository(s3.folder / bucket / "repo", [snapshot(ago(48))])
    stored(repository.path, 48)
    (old,) = (repository.path / "snapshots").iterdir()
    for folder in ("snapshots-old", "snapshot", "snapshots/snapshots"):
        (repository.path / folder).mkdir()
        (repository.path / folder / ("e" * 64)).write_bytes(old.read_bytes())
    (repository.path / "snapshots" / ("e" * 64)).touch()
    outcome = look(run, s3.location(f"{bucket}/repo"), env=s3.env)
    assert (outcome.status, outcome.result["code"], outcome.result["snapshots"]) == ("down", "stale", 1)


def test_case_15_the_newest_may_be_on_any_page(run: Run, s3: S3) -> None:
    """Names are in no order of time; a page has 1,000. Our own reader goes by the same listing."""
    repository = make_repository(s3.folder / "case15-pages" / "repo", NEWEST, [Backup(ago(1))])
    (newest,) = (repository.path / "snapshots").iterdir()
    for number in range(1100):
        name = f"{number * 7919 % 65536:04x}{number:060x}"
        file = repository.path / "snapshots" / name
        file.write_bytes(b"x" * 99)
        os.utime(file, (time.time() - 48 * 3600,) * 2)
    outcome = listed(run, s3.location("case15-pages/repo"), env=s3.env)
    assert (outcome.status, outcome.result["snapshots"]) == ("up", 1101)
    assert newest.name[:8] in outcome.message


def test_case_16_of_a_rest_server_our_own_reader_knows_what_the_snapshots_say(run: Run, rest: Rest) -> None:
    """And nothing of one that is dated in the future: who looks for the first time does not know when it came."""
    repository = write_repository(rest.folder / "case16-native", [snapshot(ago(48))])
    assert natively(run, rest.location("case16-native"), "--no-state").result["code"] == "stale"
    future = repository.add_snapshot(snapshot(ago(-48)))
    assert natively(run, rest.location("case16-native")).result["code"] == "stale"
    (repository.path / "snapshots" / future).unlink()
    repository.add_snapshot(snapshot(ago(1)))
    assert natively(run, rest.location("case16-native")).status == "up"


def test_case_16_a_rest_server_tells_no_times(run: Run, rest: Rest) -> None:
    """Not even of a snapshot that was stored this minute; from then on, what is new is known to be."""
    repository = make_repository(rest.folder / "case16", NEWEST, [Backup(ago(0))])
    outcome = listed(run, rest.location("case16"))
    assert (outcome.status, outcome.result["age_seconds"]) == ("unknown", None)
    repository.backup(Backup(ago(0)))
    assert listed(run, rest.location("case16"), "--no-state").status == "unknown"
    outcome = listed(run, rest.location("case16"))
    assert outcome.status == "up"
    assert outcome.result["age_seconds"] < 60


def test_case_17_silence_is_not_health(run: Run, tmp_path: Path, kuma: Kuma) -> None:
    """Each repository is told about, whatever happens to the others, and each with a reason."""
    (tmp_path / "a").mkdir()
    repositories = {
        "dead": {"url": "/srv/a", "restic": str(fake_restic(tmp_path / "a" / "restic", end="exec sleep 60")), "timeout": "1s"},
        "gone": {"url": "/srv/b", "restic": str(tmp_path / "nothing")},
        "good": {"url": "/srv/c", "restic": str(restic_with(tmp_path, ago(1)))},
    }
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        ours = {"mode": "native", "restic": "/nowhere/restic"}
        repositories["deaf"] = {"url": f"rest:http://127.0.0.1:{port}/", "timeout": "1s", **ours}
        completed = pushed_by(run, kuma, repositories)
    beats = told(kuma)
    assert {name: status for name, (status, _) in beats.items()} == dict.fromkeys(("dead", "deaf", "gone"), "down") | {
        "good": "up"
    }
    assert beats["dead"][1] == "UNREACHABLE no answer within 1s"
    assert beats["deaf"][1] == f"UNREACHABLE 127.0.0.1:{port} did not answer in time"
    assert beats["gone"][1].startswith("ERROR the program ")
    assert completed.returncode == 1


# Says BROKEN while the backup is fine


@pytest.mark.parametrize(
    "noise",
    [
        b"[0:00] 100.00%  1 / 1 index files loaded\n",
        b'{"message_type":"status","percent_done":1}\n',
        b"reading repository password from stdin\n",
    ],
)
def test_case_21_an_upgrade_of_restic_adds_noise_and_fields(run: Run, tmp_path: Path, noise: bytes) -> None:
    snapshot = a_snapshot(ago(1).isoformat(), summary={"new": [1]}, newer={"field": None})
    outcome = run_on(run, "/srv/restic", fake_restic(tmp_path / "restic", noise + listing([snapshot])))
    assert outcome.status == "up"


def test_case_21_plain_snapshots_only(run: Run, tmp_path: Path) -> None:
    """--latest and --group-by changed their meaning in 0.19.0, --host and --tag hide snapshots."""
    program = reporting_restic(tmp_path / "restic")
    run_on(run, "/srv/restic", program)
    arguments = reports_of(program)[0]["arguments"]
    assert arguments == ["snapshots", "--json", "--no-lock", "--no-cache", "-o", "local.connections=16"]


def test_case_22_exit_codes_differ_between_versions(run: Run, tmp_path: Path, way: Way) -> None:
    """0.14 knows 0 and 1 only; the words are the same, and none of them is a backup that is missing or stale."""
    repository = make_repository(tmp_path / "repo", way.version, [Backup(ago(1))])
    wrong = way(run, repository.path, password="wrong")
    nothing = way(run, tmp_path / "nothing")
    assert (wrong.status, nothing.status) == ("unknown", "unknown")
    assert wrong.message.startswith("ERROR wrong password or no key")
    if way.mode == "native":  # which knows more
        assert nothing.message == f"ERROR there is no folder {tmp_path}/nothing: is the disk mounted?"
    else:
        assert nothing.message.startswith(f"ERROR no repository at {tmp_path}/nothing")


@pytest.mark.parametrize("status", [2, 9, 77])
def test_case_22_an_unknown_exit_code_is_a_failure(run: Run, tmp_path: Path, status: int) -> None:
    outcome = run_on(run, "/srv/restic", restic_with(tmp_path, ago(1), end=f"exit {status}"))
    assert (outcome.status, outcome.result["code"]) == ("unknown", "error")


def test_case_23_a_running_backup_and_a_forgotten_lock_are_no_obstacle(run: Run, tmp_path: Path, way: Way) -> None:
    """And no lock of ours is in the way of theirs: see test_read_only.py."""
    repository = make_repository(tmp_path / "repo", way.version, [Backup(ago(1))])
    (repository.path / "locks" / ("ab" * 32)).write_bytes(b"no lock that could be read")
    assert way(run, repository.path).status == "up"


def test_case_23_a_listing_tells_a_forgotten_lock_from_a_running_backup(run: Run, tmp_path: Path) -> None:
    """Of one, `forget` and `prune` did not run for 52 days, and nobody knew."""
    repository = make_repository(tmp_path / "repo", NEWEST, [Backup(ago(1))])
    lock = repository.path / "locks" / ("ab" * 32)
    lock.write_bytes(b"a lock is a sealed file of some hundred bytes" * 4)
    assert listed(run, repository.path).status == "up"
    os.utime(lock, (time.time() - 52 * 86400,) * 2)
    outcome = listed(run, repository.path)
    assert outcome.status == "warn"
    assert outcome.message.startswith("WARN a lock is 52d old; when no restic is running: restic unlock")


def test_case_27_read_only_credentials_suffice(run: Run, tmp_path: Path, restic_version: str) -> None:
    """Without --no-lock, 0.14 tries for 44 s to write its lock, newer ones end with an error."""
    repository = make_repository(tmp_path / "repo", restic_version, [Backup(ago(1))])
    without_locks(repository)
    outcome = run_on(run, repository.path, repository.restic)
    assert outcome.status == "up", outcome
    assert outcome.result["took_seconds"] < 10


def test_case_27_our_own_reader_writes_nothing(run: Run, tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "repo", [snapshot(ago(1))])

    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (repository.path, *repository.path.rglob("*"))}

    before = times()
    assert natively(run, repository.path).status == "up"
    assert times() == before


def without_locks(repository: Repository) -> None:
    """Nobody can write a lock where `locks` is a file; root could in a folder of mode 555."""
    (repository.path / "locks").rmdir()
    (repository.path / "locks").touch()


def test_case_28_no_cache_folder_in_a_sandbox(run: Run, tmp_path: Path, way: Way) -> None:
    repository = make_repository(tmp_path / "repo", way.version, [Backup(ago(1))])
    env = {"HOME": "/nonexistent", "STATE_DIRECTORY": str(tmp_path / "state")}
    outcome = way(run, repository.path, env=env)
    assert outcome.status == "up", outcome
    assert "cache" not in outcome.completed.stderr


def test_case_28_the_cache_of_a_service_is_used(run: Run, tmp_path: Path, restic_version: str) -> None:
    """systemd's CacheDirectory= names it in $CACHE_DIRECTORY. That is restic's alone: our own reader has the state."""
    repository = make_repository(tmp_path / "repo", restic_version, [Backup(ago(1))])
    env = {"HOME": "/nonexistent", "CACHE_DIRECTORY": str(tmp_path / "cache"), "STATE_DIRECTORY": str(tmp_path / "state")}
    assert run_on(run, repository.path, repository.restic, env=env).status == "up"
    assert list((tmp_path / "cache" / "restic").glob("*/snapshots/*/*"))


def test_case_30_secrets_in_argv(run: Run, tmp_path: Path) -> None:
    """Everybody on the machine can read the arguments of every process."""
    program = reporting_restic(tmp_path / "restic")
    secret = "canary; touch /tmp/$(id) `id` \"'"
    url = "rest:http://monitor:canary-in-url@127.0.0.1:9/web/"
    run_on(run, url, program, password=secret, extra_env={"AWS_ACCESS_KEY_ID": "canary-1", "AWS_SECRET_ACCESS_KEY": "canary-2"})
    (report,) = reports_of(program)
    assert "canary" not in " ".join(report["arguments"])
    assert report["handed"] == {"RESTIC_PASSWORD_FILE": secret, "RESTIC_REPOSITORY_FILE": url}
