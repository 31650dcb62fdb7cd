"""Looking with real restics, and what restic is given: arguments, environment, options."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from looks import (
    TOKEN,
    a_snapshot,
    failure,
    fake_restic,
    is_gone,
    listing,
    look,
    pid_of,
    probe,
    reporting_restic,
    reports_of,
    run_on,
    script,
)
from restic_monitor.model import Observation
from restics import PASSWORD, Backup, Repository, make_repository, require
from servers import S3, Rest

NIGHT = datetime(2026, 3, 1, 2, 30, 15, tzinfo=UTC)
RETRYING = ("0.18", "0.19")
"""Versions that retry for a quarter of an hour what 0.14 gives up at once."""


def hours_ago(hours: float) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


def ids(repository: Repository) -> list[str]:
    """Of the snapshots, the oldest first."""
    return [one["id"] for one in json.loads(repository.run("snapshots", "--json", "--no-lock"))]


def seen_by(repository: Repository, **environment: str) -> Observation:
    return look(probe(repository.restic, str(repository.path), **environment))


# What it sees


def test_every_snapshot_is_seen_with_its_host_paths_tags_and_moment(tmp_path: Path, restic_version: str) -> None:
    hosts = ["web1", "büro-42", "\x1b[31mred"]
    backups = [Backup(NIGHT + timedelta(hours=n), host, ["nightly"][: n % 2]) for n, host in enumerate(hosts)]
    repository = make_repository(tmp_path / "repo", restic_version, backups)
    seen = seen_by(repository)
    assert seen.snapshots is not None
    assert [(one.time, one.host, one.tags) for one in seen.snapshots] == [
        (NIGHT, "web1", ()),
        (NIGHT + timedelta(hours=1), "büro-42", ("nightly",)),
        (NIGHT + timedelta(hours=2), "\x1b[31mred", ()),
    ]
    assert [one.id for one in seen.snapshots] == ids(repository)
    assert {Path(one.paths[0]).name for one in seen.snapshots} == {"index.html"}
    assert seen.unreadable == ()


def test_an_empty_repository_is_an_observation(tmp_path: Path, restic_version: str) -> None:
    assert seen_by(make_repository(tmp_path / "repo", restic_version)).snapshots == ()


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles", "Asia/Kathmandu"])
def test_a_client_in_another_time_zone(tmp_path: Path, zone: str) -> None:
    repository = make_repository(tmp_path / "repo")
    repository.run("backup", "--quiet", str(tmp_path / "repo" / "config"), env={"TZ": zone})
    seen = seen_by(repository, TZ=zone).snapshots
    assert seen
    assert abs(datetime.now(UTC) - seen[0].time) < timedelta(minutes=1)


def test_names_in_the_snapshots_folder_that_are_no_snapshots_are_no_finding(tmp_path: Path, restic_version: str) -> None:
    repository = make_repository(tmp_path / "repo", restic_version, [Backup(NIGHT)])
    (repository.path / "snapshots" / ".DS_Store").write_text("junk")
    (repository.path / "snapshots" / "keep").touch()
    seen = seen_by(repository)
    assert (len(seen.snapshots or ()), seen.unreadable) == (1, ())


# Damaged snapshot files


def truncate(data: bytes) -> bytes:
    return data[:50]


def empty(data: bytes) -> bytes:
    return b""


def flip(data: bytes) -> bytes:
    return data[:60] + bytes([data[60] ^ 1]) + data[61:]


def damage(repository: Repository, id: str, how: Callable[[bytes], bytes]) -> None:  # noqa: A002
    file = repository.path / "snapshots" / id
    file.chmod(0o600)
    file.write_bytes(how(file.read_bytes()))


@pytest.mark.parametrize("how", [truncate, empty, flip])
def test_a_damaged_snapshot_file_is_seen(tmp_path: Path, restic_version: str, how: Callable[[bytes], bytes]) -> None:
    repository = make_repository(tmp_path / "repo", restic_version, [Backup(hours_ago(n)) for n in (3, 2)])
    old, newest = ids(repository)
    damage(repository, newest, how)
    seen = seen_by(repository)
    assert [one.id for one in seen.snapshots or ()] == [old]
    assert seen.unreadable == (newest[:8],)
    damage(repository, old, how)
    seen = seen_by(repository)
    assert (seen.snapshots, sorted(seen.unreadable or ())) == ((), sorted([newest[:8], old[:8]]))


def test_the_newest_snapshot_damaged_is_down_though_others_are_fresh(run: Run, tmp_path: Path, restic_version: str) -> None:
    repository = make_repository(tmp_path / "repo", restic_version, [Backup(hours_ago(n)) for n in (2, 1)])
    newest = ids(repository)[-1]
    damage(repository, newest, truncate)
    outcome = run_on(run, repository.path, repository.restic)
    assert (outcome.status, outcome.result["code"]) == ("down", "error")
    assert outcome.message == f"ERROR 1 snapshot file is damaged or unreadable: {newest[:8]}"
    assert outcome.completed.returncode == 1


# What cannot be looked at


def test_a_wrong_password(tmp_path: Path, restic_version: str) -> None:
    repository = make_repository(tmp_path / "repo", restic_version)
    code, reason = failure(probe(repository.restic, str(repository.path), RESTIC_PASSWORD="wrong"))
    status = "" if restic_version == "0.14" else " (restic exit 12)"
    assert (code, reason) == ("error", f"wrong password or no key{status}")


@pytest.mark.parametrize("store", ["local", "s3", "rest"])
def test_no_repository(tmp_path: Path, restic_version: str, store: str, request: pytest.FixtureRequest) -> None:
    url, shown, env = str(tmp_path / "nothing"), str(tmp_path / "nothing"), {}
    if store == "s3":
        s3: S3 = request.getfixturevalue("s3")
        (s3.folder / "no-repository").mkdir(exist_ok=True)
        url = shown = s3.location("no-repository/prefix")
        env = s3.env
    elif store == "rest":
        rest: Rest = request.getfixturevalue("rest")
        url, shown = rest.location("nothing"), replace(rest, password="***").location("nothing").replace("%2A", "*")
    restic = replace(probe(require(f"restic-{restic_version}"), url, **env), shown_url=shown)
    status = "" if restic_version == "0.14" else " (restic exit 10)"
    assert failure(restic) == ("error", f"no repository at {shown}{status}")


def test_a_damaged_config_file(tmp_path: Path, restic_version: str) -> None:
    repository = make_repository(tmp_path / "repo", restic_version)
    damage(repository, "../config", flip)
    code, reason = failure(probe(repository.restic, str(repository.path)))
    assert code == "error"
    assert reason.endswith("is damaged: ciphertext verification failed")


def test_a_password_command_that_fails(tmp_path: Path, restic_version: str) -> None:
    repository = make_repository(tmp_path / "repo", restic_version)
    restic = probe(repository.restic, str(repository.path), RESTIC_PASSWORD="", RESTIC_PASSWORD_COMMAND="sh -c 'exit 3'")
    assert failure(restic) == (
        "error",
        "password_command, or RESTIC_PASSWORD_COMMAND, failed: Resolving password failed: exit status 3",
    )


def test_a_port_that_is_closed(restic_version: str) -> None:
    began = time.monotonic()
    code, reason = failure(probe(require(f"restic-{restic_version}"), "rest:http://127.0.0.1:9/"), 1.1)
    assert time.monotonic() - began < 2
    assert code == "unreachable"
    assert reason.startswith("dial tcp 127.0.0.1:9: connect: connection refused")
    assert reason.endswith(" 1s)") == (restic_version in RETRYING)


def test_a_wrong_s3_secret_ends_in_seconds(s3: S3, restic_version: str) -> None:
    make_repository(s3.folder / f"secret-{restic_version[2:]}", restic_version)
    env = {**s3.env, "AWS_SECRET_ACCESS_KEY": "x" * 40}
    began = time.monotonic()
    said = failure(probe(require(f"restic-{restic_version}"), s3.location(f"secret-{restic_version[2:]}"), **env), 60)
    assert time.monotonic() - began < 10
    assert said[0] == "error"
    assert said[1].startswith("The request signature we calculated does not match")


def test_an_unknown_s3_key_ends_in_seconds(s3: S3, restic_version: str) -> None:
    began = time.monotonic()
    env = {**s3.env, "AWS_ACCESS_KEY_ID": "AKIAAAAAAAAAAAAAAAAA"}
    said = failure(probe(require(f"restic-{restic_version}"), s3.location("some-bucket"), **env), 60)
    assert time.monotonic() - began < 10
    assert said == ("error", "The Access Key Id you provided does not exist in our records.")


def test_a_missing_bucket_ends_in_seconds(s3: S3, restic_version: str) -> None:
    began = time.monotonic()
    said = failure(probe(require(f"restic-{restic_version}"), s3.location("missing-bucket"), **s3.env), 60)
    assert time.monotonic() - began < 10
    assert said == ("error", "The specified bucket does not exist")


def test_an_ssh_that_hangs_is_ended_with_its_restic(tmp_path: Path, restic_version: str) -> None:
    """restic 0.19 then ignores SIGTERM, and has put ssh into a group of its own: it would hang there for ever."""
    ssh = script(tmp_path / "ssh", f"#!/bin/sh\necho $$ >{tmp_path}/ssh.pid\nexec sleep 60\n")
    restic = probe(require(f"restic-{restic_version}"), "sftp:nas:/repo", ["-o", f"sftp.command={ssh}"])
    began = time.monotonic()
    assert failure(restic, 1.0) == ("unreachable", "no answer within 1s")
    assert time.monotonic() - began < 2.5
    assert is_gone(pid_of(ssh))


# Many


def test_a_hundred_thousand_snapshots_take_seconds_and_bounded_memory(tmp_path: Path) -> None:
    """Measured in a process of its own; the list is 30 MB."""
    line = json.dumps(a_snapshot("TIME", id="ID", tags=["nightly"]))
    many = (
        line.replace("ID", hashlib.sha256(str(n).encode()).hexdigest()).replace(
            "TIME", f"20{10 + n % 16}-03-01T02:30:15.{n:09}+01:00"
        )
        for n in range(100_000)
    )
    program = fake_restic(tmp_path / "restic", f"[{','.join(many)}]\n".encode())
    code = f"""
import time
from pathlib import Path
from looks import look, probe
began = time.monotonic()
seen = look(probe(Path({str(program)!r})))
print(len(seen.snapshots), len(set(seen.snapshots)), time.monotonic() - began)
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=60
    )
    snapshots, different, seconds, peak_kib = done.stdout.split()
    assert (snapshots, different) == ("100000", "100000")
    assert float(seconds) < 10
    assert int(peak_kib) < 400 * 1024


# What restic is given


def report(run: Run, tmp_path: Path, url: str = "s3:https://s3.example.com/b", **keys: Any) -> dict[str, Any]:
    env = keys.pop("env", {})
    program = reporting_restic(tmp_path / "restic")
    outcome = run_on(run, url, program, env=env, **keys)
    assert outcome.result["code"] == "missing", outcome
    return reports_of(program)[0]


def test_the_command_line(run: Run, tmp_path: Path) -> None:
    assert report(run, tmp_path)["arguments"] == [
        *("snapshots", "--json", "--no-lock", "--no-cache", "-o", "s3.connections=16"),
    ]


@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("rest:http://127.0.0.1:9/", [], ["rest.connections=16"]),
        ("sftp:user@host:/repo", [], ["sftp.connections=16"]),
        ("/srv/restic", [], ["local.connections=16"]),
        ("s3:host/b", ["s3.connections=3"], ["s3.connections=3"]),
        ("s3:host/b", ["s3.region=eu-1", "rest.connections=2"], ["s3.connections=16", "s3.region=eu-1", "rest.connections=2"]),
    ],
)
def test_sixteen_connections_unless_the_user_says_otherwise(
    run: Run, tmp_path: Path, url: str, options: list[str], expected: list[str]
) -> None:
    arguments = report(run, tmp_path, url, restic_options=options)["arguments"]
    assert [value for flag, value in itertools.pairwise(arguments) if flag == "-o"] == expected


@pytest.mark.parametrize(
    ("keys", "env", "expected"),
    [
        ({}, {}, ["--no-cache"]),
        ({"cache_dir": "/c/{{ .Name }}"}, {"RESTIC_CACHE_DIR": "/d", "CACHE_DIRECTORY": "/e"}, ["--cache-dir", "/c/web"]),
        ({}, {"RESTIC_CACHE_DIR": "/d", "CACHE_DIRECTORY": "/e"}, []),
        ({"extra_env": {"RESTIC_CACHE_DIR": "/d"}}, {}, []),
        ({}, {"CACHE_DIRECTORY": "/e:/f"}, ["--cache-dir", "/e/restic"]),
        ({}, {"XDG_CACHE_HOME": "/g"}, ["--no-cache"]),
    ],
)
def test_no_cache_unless_one_is_named(
    run: Run, tmp_path: Path, keys: dict[str, Any], env: dict[str, str], expected: list[str]
) -> None:
    arguments = report(run, tmp_path, env=env, **keys)["arguments"]
    assert [word for word in arguments[3:] if word not in ("-o", "s3.connections=16")] == expected


def test_a_cache_that_is_named_is_used_and_no_other_is_made(run: Run, tmp_path: Path, restic_version: str) -> None:
    repository = make_repository(tmp_path / "repo", restic_version, [Backup(hours_ago(1))])
    env = {"STATE_DIRECTORY": str(tmp_path / "state")}
    assert run_on(run, repository.path, repository.restic, env=env).status == "up"
    assert sorted(path.name for path in run.home.iterdir()) == ["config.yaml"]
    assert run_on(run, repository.path, repository.restic, env=env, cache_dir=str(tmp_path / "cache")).status == "up"
    assert list((tmp_path / "cache").glob("*/snapshots/*/*"))
    assert sorted(path.name for path in run.home.iterdir()) == ["config.yaml"]


@pytest.mark.parametrize("home", ["/nonexistent", ""])
def test_a_home_that_is_missing_does_not_matter(run: Run, tmp_path: Path, restic_version: str, home: str) -> None:
    """0.19 ends with an error where it cannot make its cache (DynamicUser=, ProtectHome=)."""
    repository = make_repository(tmp_path / "repo", restic_version, [Backup(hours_ago(1))])
    env = {"HOME": home, "XDG_CACHE_HOME": home, "STATE_DIRECTORY": str(tmp_path / "state")}
    outcome = run_on(run, repository.path, repository.restic, env=env)
    assert outcome.status == "up", outcome


HIDING = {
    "RESTIC_HOST": "elsewhere",
    "RESTIC_REPOSITORY": "/elsewhere",
    "RESTIC_REPOSITORY_FILE": "/elsewhere",
    "RESTIC_FROM_REPOSITORY": "/elsewhere",
    "RESTIC_FROM_PASSWORD": "elsewhere",
    "RESTIC_FEATURES": "backend-error-redesign=false",
    "RESTIC_PROGRESS_FPS": "60",
    "RESTIC_MONITOR_CONFIG": "/elsewhere",
    "RESTIC_MONITOR_ANYTHING": "x",
}
WANTED = {"RESTIC_COMPRESSION": "max", "SSH_AUTH_SOCK": "/run/agent", "HTTPS_PROXY": "http://proxy:3128", "TZ": "Asia/Tokyo"}


@pytest.mark.parametrize("by", ["process", "environment file"])
def test_what_would_hide_data_is_not_inherited_and_the_rest_is(run: Run, tmp_path: Path, by: str) -> None:
    file = tmp_path / "environment"
    file.write_text("".join(f"{name}={value}\n" for name, value in {**HIDING, **WANTED}.items()))
    env = {**HIDING, **WANTED} if by == "process" else {"RESTIC_MONITOR_ENVIRONMENT_FILE": str(file)}
    got = report(run, tmp_path, env=env)["environment"]
    assert {name: got[name] for name in WANTED} == WANTED
    assert got["RESTIC_REPOSITORY"] == "s3:https://s3.example.com/b"
    assert set(got) & set(HIDING) == {"RESTIC_REPOSITORY"}
    assert not any(name.startswith("RESTIC_MONITOR_") for name in got)


def test_the_password_and_the_url_are_in_no_argument(run: Run, tmp_path: Path) -> None:
    url = "rest:https://monitor:s3cr3t-of-the-url@host.example.com/web/"
    env = {"RESTIC_PASSWORD": "", "AWS_SECRET_ACCESS_KEY": "canary-of-the-key", "AWS_ACCESS_KEY_ID": "canary-id"}
    push = {"push_url": "http://127.0.0.1:9/api/push/", "push_token": TOKEN}
    told = report(run, tmp_path, url, env=env, password="canary-of-the-password", **push)
    line = " ".join(told["arguments"])
    for word in ("s3cr3t", "canary", "host.example.com", TOKEN):
        assert word not in line
    assert told["handed"] == {"RESTIC_PASSWORD_FILE": "canary-of-the-password", "RESTIC_REPOSITORY_FILE": url}
    # /proc shows an environment as long as restic runs: what it can take in no other way stands there, and no more
    held = {name for name, value in told["environment"].items() if "canary" in value or "s3cr3t" in value}
    assert held == {"AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"}
    assert "RESTIC_REPOSITORY" not in told["environment"]
    assert TOKEN not in json.dumps(told)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"password": "p"}, {"RESTIC_PASSWORD_FILE": "p"}),
        ({"password_command": "pass show x"}, {"RESTIC_PASSWORD_COMMAND": "pass show x"}),
        ({"insecure_no_password": "true"}, {}),
        ({"extra_env": {"RESTIC_PASSWORD_COMMAND": "cat x"}}, {"RESTIC_PASSWORD_COMMAND": "cat x"}),
    ],
)
def test_one_way_to_the_password_replaces_the_inherited_ones(
    run: Run, tmp_path: Path, keys: dict[str, Any], expected: dict[str, str]
) -> None:
    """An inherited RESTIC_PASSWORD_FILE would beat a RESTIC_PASSWORD of ours: restic takes command, file, password."""
    (tmp_path / "inherited").write_text("x")
    told = report(run, tmp_path, env={"RESTIC_PASSWORD_FILE": str(tmp_path / "inherited")}, **keys)
    variables = {**told["environment"], **told["handed"]}
    assert {name: value for name, value in variables.items() if name.startswith("RESTIC_PASSWORD")} == expected
    assert ("--insecure-no-password" in told["arguments"]) == ("insecure_no_password" in keys)


@pytest.mark.parametrize("text", [" blank before", "blank behind\u00a0", "\ufeffmark", "x" * 4097])
def test_a_password_that_a_file_would_change_stays_in_the_environment(run: Run, tmp_path: Path, text: str) -> None:
    told = report(run, tmp_path, password=text)
    assert (told["environment"]["RESTIC_PASSWORD"], told["handed"]) == (text, {})


@pytest.mark.slow  # `restic init` calibrates its key for 2 s
@pytest.mark.parametrize("text", [" of blanks ", "päss wörd\ttab", "x" * 5000, "\x1c$(true)`%h"])
def test_any_password_opens_its_repository(run: Run, tmp_path: Path, restic_version: str, text: str) -> None:
    restic = require(f"restic-{restic_version}")
    environment = {"RESTIC_PASSWORD": text, "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run([restic, "init", "-r", tmp_path / "repo"], env=environment, check=True, capture_output=True)
    assert run_on(run, tmp_path / "repo", restic, password=text).result["code"] == "missing"


def test_an_inherited_password_file_does_not_beat_the_password_of_the_repository(
    run: Run, tmp_path: Path, restic_version: str
) -> None:
    repository = make_repository(tmp_path / "repo", restic_version, [Backup(hours_ago(1))])
    (tmp_path / "wrong").write_text("wrong")
    env = {"RESTIC_PASSWORD_FILE": str(tmp_path / "wrong")}
    assert run_on(run, repository.path, repository.restic, env=env, password=PASSWORD).status == "up"


def test_without_a_password_restic_is_not_even_started(run: Run, tmp_path: Path) -> None:
    program = reporting_restic(tmp_path / "restic")
    config = run.home / "config.yaml"
    config.write_text(json.dumps({"repositories": {"web": {"url": "/srv/restic", "restic": str(program), "mode": "restic"}}}))
    completed = run("--config", config)
    assert completed.returncode == 2
    assert "no password for web; write password_file: PATH" in completed.stderr
    assert not Path(f"{program}.report").exists()


def test_what_restic_says_is_logged_also_when_the_look_fails(run: Run, tmp_path: Path) -> None:
    stderr = b"a hint of canary-password\nFatal: no\n"
    program = fake_restic(tmp_path / "restic", stderr=stderr, end="exit 1")
    outcome = run_on(run, "/srv/restic", program, "-v", password="canary-password")
    assert outcome.message == "ERROR no"
    assert "web: restic: a hint of ***" in outcome.completed.stderr
    assert "canary" not in outcome.completed.stderr


def test_a_list_that_is_not_restics_is_unknown_and_never_up(run: Run, tmp_path: Path) -> None:
    outcome = run_on(run, "/srv/restic", fake_restic(tmp_path / "restic", listing([{"time": "now"}])))
    assert (outcome.status, outcome.result["snapshots"]) == ("unknown", None)
    assert outcome.completed.returncode == 1


def test_a_look_that_outlives_its_limit_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    code = f"trap '' TERM\nsleep 60 & echo $! >{tmp_path}/grandchild.pid\nwhile :; do sleep 1; done"
    program = fake_restic(tmp_path / "restic", stderr=b"x\n", end=code)
    began = time.monotonic()
    outcome = run_on(run, "/srv/restic", program, timeout="1s")
    assert time.monotonic() - began < 6
    assert outcome.message == "UNREACHABLE no answer within 1s"
    assert is_gone(pid_of(program))
    assert is_gone(pid_of(tmp_path / "grandchild"))


def test_the_restic_of_the_path_is_used_when_none_is_named(run: Run, tmp_path: Path) -> None:
    shutil.copy(reporting_restic(tmp_path / "somewhere"), tmp_path / "restic")
    config = run.home / "config.yaml"
    config.write_text('{"repositories": {"web": {"url": "/srv/restic", "mode": "restic"}}}')
    run("--config", config, env={"RESTIC_PASSWORD": "x", "PATH": str(tmp_path)})
    assert len(reports_of(tmp_path / "restic")) == 1


@pytest.mark.slow
def test_a_folder_of_snapshots_that_may_not_be_read_is_not_an_empty_repository(restic_version: str) -> None:
    """restic prints `[]` and ends with 0. As root the look is made as nobody, who is not let in."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        repository = make_repository(folder / "repo", restic_version, [Backup(NIGHT)])
        for path in (folder, *folder.rglob("*")):
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))
        (folder / "repo" / "snapshots").chmod(0)
        program = repository.restic
        if os.geteuid() == 0:
            shutil.copy(program, folder / "real")
            drop = f"exec {require('setpriv')} --reuid=65534 --regid=65534 --clear-groups {folder}/real"
            program = script(folder / "restic", f'#!/bin/sh\n{drop} "$@"\n')
        # 0.14 asks again for three quarters of a minute
        code, reason = failure(probe(program, str(repository.path)), 60 if restic_version == "0.14" else 20)
        (folder / "repo" / "snapshots").chmod(0o755)
    assert code == "error"
    assert reason.startswith("the snapshots cannot be listed: open ")
    assert reason.endswith("/snapshots: permission denied")
