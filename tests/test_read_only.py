"""The promise: nothing that the program does writes to a repository. Watched from the store's side."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conftest import Run
from looks import run_on
from proxy import Proxy
from repositories import Written, lock, snapshot, write_repository
from restics import PASSWORD, Backup, Repository, make_repository
from servers import S3, Rest
from sshd import Sftp


def repository(path: Path, version: str) -> Repository:
    return make_repository(path, version, [Backup(datetime.now(UTC) - timedelta(hours=1))])


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every file and folder with its mode, size and moment of change: a lock that came and went changed its folder."""
    found = [folder, *sorted(folder.rglob("*"))]
    return {str(path): (path.stat().st_mode, path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def lock_exclusively(repo: Repository) -> Path:
    """As a killed `check` leaves it. restic waits 200 ms after it made its lock, so there is time for the kill."""
    command = [str(repo.restic), "--no-cache", "--repo", str(repo.path), "check"]
    environment = {"PATH": os.environ["PATH"], "RESTIC_PASSWORD": PASSWORD}
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet) as check:
        end = time.monotonic() + 10
        while not (found := [lock for lock in (repo.path / "locks").iterdir() if len(lock.name) == 64]):
            assert time.monotonic() < end
            time.sleep(0.001)
        check.send_signal(signal.SIGKILL)
    assert found[0].exists()
    return found[0]


def test_nothing_changes_in_a_local_repository(run: Run, tmp_path: Path, restic_version: str) -> None:
    repo = repository(tmp_path / "repo", restic_version)
    before = tree(repo.path)
    assert run_on(run, repo.path, repo.restic).status == "up"
    assert tree(repo.path) == before


def test_nothing_changes_beside_an_exclusive_lock_and_it_is_no_obstacle(run: Run, tmp_path: Path, restic_version: str) -> None:
    repo = repository(tmp_path / "repo", restic_version)
    lock = lock_exclusively(repo)
    with pytest.raises(AssertionError, match="already locked"):
        repo.run("prune")
    before = tree(repo.path)
    assert str(lock) in before
    assert run_on(run, repo.path, repo.restic).status == "up"
    assert tree(repo.path) == before


def test_nothing_changes_when_a_snapshot_is_damaged(run: Run, tmp_path: Path, restic_version: str) -> None:
    repo = repository(tmp_path / "repo", restic_version)
    (file,) = (repo.path / "snapshots").iterdir()
    file.chmod(0o600)
    file.write_bytes(b"")
    before = tree(repo.path)
    assert run_on(run, repo.path, repo.restic).status == "down"
    assert tree(repo.path) == before


def test_only_get_and_head_reach_s3(run: Run, s3: S3, restic_version: str) -> None:
    path = f"read-only-{restic_version[2:]}/repo"
    repo = repository(s3.folder / path, restic_version)
    with Proxy(s3.endpoint) as proxy:
        outcome = run_on(run, replace(s3, endpoint=proxy.url).location(path), repo.restic, env=s3.env)
        assert outcome.status == "up", outcome
        assert proxy.methods == {"GET", "HEAD"}
        assert any("/snapshots/" in seen.path and seen.method == "GET" for seen in proxy.seen)
        assert not any("locks" in seen.path for seen in proxy.seen)


def test_only_get_and_head_reach_a_rest_server(run: Run, rest: Rest, restic_version: str) -> None:
    repo = repository(rest.folder / f"read-only-{restic_version}", restic_version)
    lock_exclusively(repo)
    before = tree(repo.path)
    with Proxy(rest.url) as proxy:
        outcome = run_on(run, replace(rest, url=proxy.url).location(repo.path.name), repo.restic)
        assert outcome.status == "up", outcome
        assert proxy.methods == {"GET", "HEAD"}
        assert any("/snapshots/" in seen.path for seen in proxy.seen)
    assert tree(repo.path) == before


def test_only_get_and_head_also_when_the_look_fails(run: Run, s3: S3, restic_version: str) -> None:
    path = f"read-only-failing-{restic_version[2:]}/repo"
    repo = repository(s3.folder / path, restic_version)
    with Proxy(s3.endpoint) as proxy:
        url = replace(s3, endpoint=proxy.url).location(path)
        assert run_on(run, url, repo.restic, env=s3.env, password="wrong").status == "unknown"
        wrong = {**s3.env, "AWS_SECRET_ACCESS_KEY": "x" * 40}
        assert run_on(run, url, repo.restic, env=wrong).status == "unknown"
        assert run_on(run, f"{url}/nothing", repo.restic, env=s3.env).status == "unknown"
        assert proxy.methods <= {"GET", "HEAD"}
        assert len(proxy.seen) > 3


# by listings


NO_RESTIC = Path("/nonexistent/restic")


def by_listing(run: Run, url: str | Path, env: Mapping[str, str] | None = None, **keys: object) -> None:
    outcome = run_on(run, url, NO_RESTIC, env=env, mode="listing", **keys)
    assert (outcome.status, outcome.result["source"]) == ("up", "listing"), outcome


def test_a_listing_changes_nothing_in_a_local_repository(run: Run, tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo", "0.19")
    before = tree(repo.path)
    by_listing(run, repo.path)
    assert tree(repo.path) == before


def test_a_listing_changes_nothing_over_sftp(run: Run, sshd: Sftp) -> None:
    repo = repository(sshd.folder / "read-only", "0.19")
    before = tree(repo.path)
    by_listing(run, sshd.location("read-only"), restic_options=[f"sftp.args={sshd.args}"])
    assert tree(repo.path) == before


def test_a_listing_sends_s3_listings_and_reads_one_snapshot(run: Run, s3: S3) -> None:
    repo = repository(s3.folder / "read-only-listing" / "repo", "0.19")
    with Proxy(s3.endpoint) as proxy:
        by_listing(run, replace(s3, endpoint=proxy.url).location("read-only-listing/repo"), s3.env)
        assert proxy.methods == {"GET"}
        lists = [seen.path for seen in proxy.seen if "list-type=2" in seen.path]
        reads = [seen.path for seen in proxy.seen if "list-type=2" not in seen.path]
        (snapshot,) = (repo.path / "snapshots").iterdir()
        assert reads == [f"/read-only-listing/repo/snapshots/{snapshot.name}"]
        assert 1 <= len(lists) <= 4
        assert not any("data" in path or "config" in path for path in lists)


def test_a_listing_sends_a_rest_server_listings_and_reads_one_snapshot(run: Run, rest: Rest) -> None:
    repo = repository(rest.folder / "read-only-listing", "0.19")
    before = tree(repo.path)
    with Proxy(rest.url) as proxy:
        url = replace(rest, url=proxy.url).location(repo.path.name)
        outcome = run_on(run, url, NO_RESTIC, mode="listing")
        assert outcome.result["source"] == "listing", outcome
        assert proxy.methods <= {"GET", "HEAD"}
        (snapshot,) = (repo.path / "snapshots").iterdir()
        asked = {seen.path.removeprefix("/read-only-listing/") for seen in proxy.seen}
        assert asked == {"keys/", "locks/", "snapshots/", f"snapshots/{snapshot.name}"}
    assert tree(repo.path) == before


# by our own reader


DAY = timedelta(days=1)


def with_an_old_lock(path: Path) -> Written:
    """Which is opened, too, where the store tells how old its file is."""
    now = datetime.now(UTC)
    written = write_repository(path, [snapshot(now - age) for age in (DAY, timedelta(hours=1))])
    written.add_lock(lock(now - 2 * DAY), at=now - 2 * DAY)
    return written


def natively(run: Run, url: str | Path, env: Mapping[str, str] | None = None, *, status: str = "warn", **keys: object) -> None:
    """A first look, which opens everything, and one that finds nothing new; a wrong password; and a derived key. An old lock is
    a warning."""
    for _ in range(2):
        outcome = run_on(run, url, NO_RESTIC, env=env, mode="native", **keys)
        assert (outcome.status, outcome.result["source"], outcome.result["snapshots"]) == (status, "native", 2), outcome
    wrong = run_on(run, url, NO_RESTIC, "--no-state", env={**(env or {}), "RESTIC_PASSWORD": "wrong"}, mode="native", **keys)
    assert (wrong.status, wrong.message) == ("unknown", "ERROR wrong password or no key")
    checked = run("config", "check", "--config", run.home / "config.yaml", env={"RESTIC_PASSWORD": PASSWORD, **(env or {})})
    assert checked.returncode == 0, checked


def opened(written: Written) -> set[str]:
    """What a look reads: never what is in the repository's data and index."""
    files = [path for folder in ("keys", "locks", "snapshots") for path in (written.path / folder).iterdir()]
    return {"config", *(f"{path.parent.name}/{path.name}" for path in files)}


def test_our_own_reader_changes_nothing_in_a_local_repository(run: Run, tmp_path: Path) -> None:
    """Beside a lock that restic left, which is in nobody's way."""
    repo = repository(tmp_path / "repo", "0.19")
    repo.backup(Backup(datetime.now(UTC)))
    held = lock_exclusively(repo)
    os.utime(held, (time.time() - 2 * DAY.total_seconds(),) * 2)
    before = tree(repo.path)
    natively(run, repo.path)
    assert tree(repo.path) == before


def test_our_own_reader_changes_nothing_over_sftp(run: Run, sshd: Sftp) -> None:
    written = with_an_old_lock(sshd.folder / "read-only-native")
    before = tree(written.path)
    natively(run, sshd.location("read-only-native"), restic_options=[f"sftp.args={sshd.args}"])
    assert tree(written.path) == before


def test_our_own_reader_sends_s3_nothing_but_listings_and_reads(run: Run, s3: S3) -> None:
    written = with_an_old_lock(s3.folder / "read-only-native" / "repo")
    before = tree(written.path)
    with Proxy(s3.endpoint) as proxy:
        natively(run, replace(s3, endpoint=proxy.url).location("read-only-native/repo"), s3.env)
        assert proxy.methods == {"GET"}
        lists = [seen.path for seen in proxy.seen if "list-type=2" in seen.path]
        reads = {seen.path.removeprefix("/read-only-native/repo/") for seen in proxy.seen if seen.path not in lists}
        assert reads == opened(written)
        assert not any("data" in path for path in lists)
    assert tree(written.path) == before


def test_our_own_reader_sends_a_rest_server_nothing_but_listings_and_reads(run: Run, rest: Rest) -> None:
    """It tells no times, so that a lock is not old at the first look."""
    written = with_an_old_lock(rest.folder / "read-only-native")
    before = tree(written.path)
    with Proxy(rest.url) as proxy:
        natively(run, replace(rest, url=proxy.url).location(written.path.name), status="up")
        assert proxy.methods <= {"GET", "HEAD"}
        asked = {seen.path.removeprefix("/read-only-native/") for seen in proxy.seen if seen.method == "GET"}
        locks = {f"locks/{path.name}" for path in (written.path / "locks").iterdir()}
        assert asked == {"keys/", "locks/", "snapshots/", *opened(written) - locks}
    assert tree(written.path) == before


@pytest.mark.parametrize(
    "arguments", [("config", "check"), ("config", "show"), ("run", "--no-push"), ("groups",), ("suggest",)]
)
def test_no_command_writes(run: Run, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    repo = repository(tmp_path / "repo", "0.19")
    config = tmp_path / "config.yaml"
    config.write_text(f'repositories: {{web: {{url: "{repo.path}", restic: "{repo.restic}"}}}}')
    before = tree(repo.path)
    assert run(*arguments, "--config", config, env={"RESTIC_PASSWORD": PASSWORD}).returncode == 0
    assert tree(repo.path) == before
