"""`config check`, `config show` and `init` as their user meets them, and which file is read."""

from __future__ import annotations

import os
import pwd
from datetime import UTC, datetime
from pathlib import Path

import pytest

from configs import SEED, write
from conftest import Completed, Run
from kuma import Kuma
from repositories import Written, snapshot, write_repository
from restic_monitor.config.find import user_path
from restics import Backup, make_repository, require

PASSWORD = {"RESTIC_PASSWORD": "canary-of-the-environment"}


def private(folder: Path, text: str) -> Path:
    file = write(folder, text)
    file.chmod(0o600)
    return file


def program(folder: Path, script: str) -> Path:
    """A program that answers as told, in the place of restic."""
    file = folder / "restic"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def errors(done: Completed) -> list[str]:
    return done.stderr.splitlines()


# config check


def test_the_seeds_example_passes_the_first_stage_unchanged(run: Run, tmp_path: Path) -> None:
    done = run("config", "check", "--no-secrets", "-c", private(tmp_path, SEED))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"file     ok       {tmp_path}/config.yaml: 2 repositories\n"


def test_a_missing_file_fails_the_first_stage(run: Run, tmp_path: Path) -> None:
    done = run("config", "check", "-c", tmp_path / "nope.yaml")
    assert (done.returncode, done.stdout) == (2, "file     FAILED   1 to correct\n")
    assert errors(done) == [
        f"restic-monitor: --config: cannot read {tmp_path}/nope.yaml: no such file or directory",
        "restic-monitor: Write a first one with: restic-monitor init",
    ]


def test_mistakes_in_the_file_fail_the_first_stage_all_at_once(run: Run, tmp_path: Path) -> None:
    file = private(tmp_path, "repositories:\n  a: {url: /a, push_tokn: canary}\n  b: {url: /b, max_age: 1}\n")
    for flags in ([], ["--no-secrets"], ["--no-network"]):
        done = run("config", "check", "-c", file, *flags)
        assert (done.returncode, done.stdout) == (2, "file     FAILED   2 to correct\n")
        assert errors(done) == [
            f"restic-monitor: {file}, line 2: repositories.a.push_tokn: unknown key; did you mean push_token?",
            f"restic-monitor: {file}, line 3: repositories.b.max_age: '1' has no unit; write it like 1d, 6h, 90m, 2w or 1d12h, "
            "for instance 1h or 1d",
        ]


def test_push_addresses_that_stand_in_the_file_belong_to_the_first_stage(run: Run, tmp_path: Path) -> None:
    text = "repositories:\n  a: {url: /a, push_token: canary}\n  b: {url: /b, push_url: {from_env: NOPE}, push_token: canary}\n"
    done = run("config", "check", "--no-secrets", "-c", private(tmp_path, text))
    assert (done.returncode, done.stdout) == (2, "file     FAILED   1 to correct\n")
    assert "repositories.a.push_token: push_token without a push_url" in done.stderr
    assert "canary" not in done.stderr


def test_a_missing_secret_fails_the_second_stage(run: Run, tmp_path: Path) -> None:
    file = private(tmp_path, "repositories:\n  a: {url: /a, password: {from_file: nope}}\n  b: {url: /b, mode: restic}\n")
    assert run("config", "check", "--no-secrets", "-c", file).returncode == 0
    done = run("config", "check", "-c", file)
    assert (done.returncode, done.stdout) == (2, f"file     ok       {file}: 2 repositories\nsecrets  FAILED   2 to correct\n")
    assert len(errors(done)) == 2


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (None, "cannot be started: no such file or directory; install restic, or write restic: PATH"),
        ("echo restic 0.13.1 compiled with go1.18", "is too old: restic 0.13.1; install 0.14 or newer, or set restic:"),
        ("echo borg 1.2.3", "does not answer `version` as restic does; is restic: right?"),
        ("echo restic 0.18.0; exit 1", "does not answer `version` as restic does; is restic: right?"),
        ("exit 0", "does not answer `version` as restic does; is restic: right?"),
        (f"echo restic {'9' * 5000}.1", "does not answer `version` as restic does; is restic: right?"),
    ],
)
def test_a_program_that_is_not_restic_fails_the_third_stage(run: Run, tmp_path: Path, script: str | None, message: str) -> None:
    if script:
        program(tmp_path, script)
    file = private(tmp_path, "repositories: {a: {url: /a, restic: ./restic, mode: restic}}\n")
    done = run("config", "check", "-c", file, env=PASSWORD)
    assert done.returncode == 2
    assert done.stdout.splitlines()[1:] == [
        "secrets  ok       every password, token and file that is needed is there",
        "restic   FAILED   1 to correct",
    ]
    assert errors(done) == [f"restic-monitor: the program {tmp_path}/restic {message}"]


def test_a_program_that_cannot_be_executed_fails_the_third_stage(run: Run, tmp_path: Path) -> None:
    program(tmp_path, "").chmod(0o644)
    file = private(tmp_path, "repositories: {a: {url: /a, restic: ./restic, mode: restic}}\n")
    done = run("config", "check", "-c", file, env=PASSWORD)
    assert done.returncode == 2
    assert "cannot be started: permission denied" in done.stderr


@pytest.mark.parametrize("version", ["0.14.0", "0.19.1-dev (compiled manually)", "1.0.0"])
def test_versions_of_restic_that_will_do(run: Run, tmp_path: Path, version: str) -> None:
    program(tmp_path, f"echo 'restic {version} compiled with go'")
    restic = "restic: ./restic, mode: restic"
    file = private(tmp_path, f"repositories: {{a: {{url: /a, {restic}}}, b: {{url: /b, {restic}}}}}\n")
    done = run("config", "check", "--no-network", "-c", file, env=PASSWORD)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[2:] == [f"restic   ok       restic {version.split(maxsplit=1)[0]} ({tmp_path}/restic)"]


def test_the_last_stage_reaches_each_repository_and_tells_nobody(run: Run, tmp_path: Path, kuma: Kuma) -> None:
    restic = require("restic")
    stale = Backup(time=datetime(2020, 1, 1, tzinfo=UTC))
    repository = make_repository(tmp_path / "good", snapshots=[stale])
    (tmp_path / "pw").write_text(repository.password)
    text = f"""
defaults: {{mode: restic, restic: {restic}, password_file: pw, push_url: {kuma.url}}}
repositories:
  good: {{url: {tmp_path}/good, push_token: {kuma.add_monitor()}}}
  off: {{enabled: no, url: /nowhere}}
"""
    done = run("config", "check", "-c", private(tmp_path, text))
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[0] == f"file     ok       {tmp_path}/config.yaml: 1 repository, 1 not enabled"
    assert lines[2].startswith("restic   ok       restic 0.")
    assert lines[3:] == ["reach    ok       good: 1 snapshot"]  # a stale one was reached

    file = private(tmp_path, text + f"  bad: {{url: {tmp_path}/nowhere}}\n")
    done = run("config", "check", "-c", file)
    assert done.returncode == 1
    (bad,) = [line for line in done.stdout.splitlines() if "FAILED" in line]
    assert bad.startswith(f"reach    FAILED   bad: ERROR no repository at {tmp_path}/nowhere")
    assert "reach    ok       good: 1 snapshot" in done.stdout
    assert run("config", "check", "--no-network", "-c", file).returncode == 0
    assert kuma.beats == ()


def stale_for_years(path: Path) -> Written:
    counted = {"total_files_processed": 1, "total_bytes_processed": 1}
    return write_repository(path, [snapshot(datetime(2020, 1, day, tzinfo=UTC), summary=counted) for day in (1, 2, 3)])


def looked_at(folder: Path, written: Written, mode: str) -> Path:
    restic = require("restic") if mode == "restic" else "/nowhere/restic"
    keys = f"url: {written.path}, mode: {mode}, password: {written.password}, restic: {restic}"
    return private(folder, f"repositories: {{web: {{{keys}, push_url: http://127.0.0.1:9/api/push/token}}}}\n")


CONFIG = "the repository's config is damaged: not sealed with the key of this repository, or changed; put it back from a copy"
NAME = "its content is not what its name says"
ONE = "2 snapshots; 1 snapshot file is damaged or unreadable: {id}"


@pytest.mark.parametrize(
    ("mode", "config", "expected"),
    [
        ("native", True, f"3 snapshots; {CONFIG}"),
        ("auto", True, f"3 snapshots; {CONFIG}"),
        ("native", False, f"{ONE} ({NAME})"),
        ("restic", False, ONE),
        ("listing", False, f"3 snapshots; the snapshot file {{id}} is damaged: {NAME}; do not prune, run restic check"),
    ],
)
def test_a_damaged_repository_fails_the_last_stage(run: Run, tmp_path: Path, mode: str, config: bool, expected: str) -> None:
    written = stale_for_years(tmp_path / "repo")
    file = looked_at(tmp_path, written, mode)
    done = run("config", "check", "-c", file)
    assert done.returncode == 0
    assert done.stdout.splitlines()[3] == "reach    ok       web: 3 snapshots"  # a stale one was reached
    path = written.path / ("config" if config else f"snapshots/{written.snapshots[0]}")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = run("config", "check", "-c", file)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[3] == f"reach    FAILED   web: {expected.format(id=written.snapshots[0][:8])}"


# config show

SHOWN = """\
# {file}
jobs: 3                                                       # line 1
connections: 64                                               # default
timeout: 2m                                                   # default
repositories:
  web:
    url: rest:https://user:***@host/web                       # defaults, line 3
    max_age: 1d                                               # default
    mode: auto                                                # default
    push_url: https://kuma.example.com/api/push/…             # defaults, line 4
    push_token: (hidden)                                      # line 13
    insecure_tls: yes                                         # line 14
    restic_options: s3.region=eu                              # line 15
    extra_env:
      B: (hidden)                                             # defaults, line 7
      AWS_ACCESS_KEY_ID: (hidden)                             # line 16
      AWS_SECRET_ACCESS_KEY: {{from_file: nowhere}}             # line 16
      C: null                                                 # unset
    password: (hidden)                                        # RESTIC_PASSWORD_FILE of the environment
    # looked at by our own reader (native)
  '1.30':
    url: {{from_env: NOWHERE}}                                  # line 18
    max_age: 6h                                               # line 19
    mode: auto                                                # default
    push_url: https://other…                                  # line 20
    password: (hidden)                                        # line 21
    extra_env:
      AWS_PROFILE: (hidden)                                   # defaults, line 6
      B: (hidden)                                             # defaults, line 7
      C: (hidden)                                             # defaults, line 8
"""


def test_the_effective_configuration_is_shown_with_its_origins_and_no_secret(run: Run, tmp_path: Path) -> None:
    text = """\
jobs: 3
defaults:
  url: "rest:https://user:canary-1@host/{{ .Name }}"
  push_url: https://u:canary-2@kuma.example.com/api/push/?key=canary-3
  extra_env:
    AWS_PROFILE: canary-4
    B: canary-5
    C: canary-6
repositories:
  off: {enabled: false}
  web:
    # the profile of the defaults is replaced as a whole group
    push_token: canary-7
    insecure_tls: yes
    restic_options: s3.region=eu
    extra_env: {AWS_ACCESS_KEY_ID: canary-8, AWS_SECRET_ACCESS_KEY: {from_file: nowhere}, C: null}
  1.30:
    url: {from_env: NOWHERE}
    max_age: 6h
    push_url: https://other/canary-9
    password: canary-10
"""
    done = run("config", "show", "-c", private(tmp_path, text), env={"RESTIC_PASSWORD_FILE": "/nowhere"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == SHOWN.format(file=tmp_path / "config.yaml")
    assert "canary" not in done.stdout


@pytest.mark.parametrize(
    ("env", "extra", "line"),
    [
        ({"RESTIC_PASSWORD": "canary"}, "{}", "password: (hidden)  # RESTIC_PASSWORD of the environment"),
        (
            {"RESTIC_PASSWORD": "canary", "RESTIC_PASSWORD_COMMAND": "canary"},
            "{}",
            "password: (hidden)  # RESTIC_PASSWORD_COMMAND of the environment",
        ),
        (
            {"RESTIC_PASSWORD": "x"},
            "{RESTIC_PASSWORD: canary}",
            "password: (hidden)  # RESTIC_PASSWORD of repositories.web.extra_env",
        ),
        ({"RESTIC_PASSWORD": "canary"}, "{RESTIC_PASSWORD: null}", "# no password from anywhere"),
        ({"RESTIC_PASSWORD": ""}, "{}", "# no password from anywhere"),
        ({}, "{}", "# no password from anywhere"),
    ],
)
def test_where_the_password_comes_from_is_shown(run: Run, tmp_path: Path, env: dict[str, str], extra: str, line: str) -> None:
    file = private(tmp_path, f"repositories: {{web: {{url: /srv, extra_env: {extra}}}}}\n")
    done = run("config", "show", "-c", file, env=env)
    assert line in [" ".join(shown.split()).replace(" # ", "  # ") for shown in done.stdout.splitlines()]
    assert "canary" not in done.stdout + done.stderr


def test_show_can_be_asked_about_some(run: Run, tmp_path: Path) -> None:
    file = private(tmp_path, SEED)
    done = run("config", "show", "-c", file, "db-server")
    assert "  db-server:" in done.stdout
    assert "web-server" not in done.stdout
    assert run("config", "show", "-c", file, "nope").returncode == 2


def test_show_of_a_wrong_file_shows_the_mistakes(run: Run, tmp_path: Path) -> None:
    done = run("config", "show", "-c", private(tmp_path, "repositories: {web: {}}\n"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "line 1: repositories.web: no url" in done.stderr


# init


def test_init_writes_a_private_file_that_passes_the_first_stage_and_never_overwrites(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "config.yaml"
    done = run("init", "-c", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"wrote {file}; edit it, then: restic-monitor --config {file} config check\n"
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    assert "max_age: 26h" in text
    assert "the period, plus the longest run, plus some slack" in text

    done = run("config", "check", "--no-secrets", "-c", file)
    assert (done.returncode, done.stderr) == (0, "")

    file.write_text("mine")
    done = run("init", "-c", file)
    assert (done.returncode, done.stdout, file.read_text()) == (2, "", "mine")
    assert errors(done) == [
        f"restic-monitor: {file} is there already and was left as it is; another place: --config FILE",
    ]


def test_inits_comments_are_a_configuration_too(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    run("init", "-c", file)
    lines = file.read_text().splitlines()
    examples = [line.replace("# ", "", 1) for line in lines if line.startswith(("  # extra", "  #   ", "  # db-server"))]
    assert len(examples) == 6, examples
    kept = [line for line in lines if not line.lstrip().startswith("#")]
    split = kept.index("repositories:")
    file.write_text("\n".join([*kept[:split], *examples[:3], *kept[split:], *examples[3:]]))
    done = run("config", "show", "-c", file)
    assert done.returncode == 0, done.stderr
    assert "  db-server:" in done.stdout
    assert "AWS_SECRET_ACCESS_KEY: {from_file: /etc/restic-monitor/s3-secret}" in done.stdout


def test_init_follows_the_variable_that_names_the_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    assert run("init", env={"RESTIC_MONITOR_CONFIG": str(file)}).returncode == 0
    assert file.exists()
    assert run("config", "check", "--no-secrets", env={"RESTIC_MONITOR_CONFIG": str(file)}).returncode == 0


def test_init_says_why_it_cannot_write(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("init", "-c", tmp_path / "file" / "config.yaml")
    assert (done.returncode, errors(done)) == (
        2,
        [f"restic-monitor: cannot make the folder {tmp_path}/file: file exists"],
    )
    (tmp_path / "dangling").symlink_to("nowhere")
    assert "is there already" in run("init", "-c", tmp_path / "dangling").stderr
    assert not (tmp_path / "nowhere").exists()


# which file is read


def found(run: Run, *args: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """The configuration that is read, by the name of its only repository; else what is said."""
    done = run("config", "show", *args, env=env, cwd=cwd)
    names = [line.strip(" :") for line in done.stdout.splitlines() if line.startswith("  ") and line.endswith(":")]
    return names[0] if names else done.stderr


def named(file: Path, name: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"repositories:\n  {name}:\n    url: /srv\n")
    return file


def test_the_places_are_asked_in_order(run: Run, tmp_path: Path) -> None:
    option = named(tmp_path / "option.yaml", "by-option")
    variable = named(tmp_path / "variable.yaml", "by-variable")
    named(tmp_path / "xdg/restic-monitor/config.yaml", "by-xdg")
    named(run.home / ".config/restic-monitor/config.yaml", "by-home")
    env = {"RESTIC_MONITOR_CONFIG": str(variable), "XDG_CONFIG_HOME": f"{tmp_path}/xdg"}
    for spelled in (["-c", option], ["--config", option], [f"--config={option}"], ["-config", option], [f"-config={option}"]):
        assert found(run, *spelled, env=env) == "by-option"
    assert found(run, env=env) == "by-variable"
    assert found(run, env=env | {"RESTIC_MONITOR_CONFIG": ""}) == "by-xdg"
    assert found(run) == "by-home"
    # a relative $XDG_CONFIG_HOME does not count: it would mean another place in every folder
    assert found(run, env={"XDG_CONFIG_HOME": "xdg"}, cwd=tmp_path) == "by-home"


@pytest.mark.skipif(Path("/etc/restic-monitor/config.yaml").exists(), reason="this machine has a configuration")
def test_nowhere_is_told_with_the_places(run: Run, tmp_path: Path) -> None:
    places = f"--config, $RESTIC_MONITOR_CONFIG, {run.home}/.config/restic-monitor/config.yaml, /etc/restic-monitor/config.yaml"
    done = run()
    assert (done.returncode, done.stdout) == (2, "")
    assert errors(done) == [
        f"restic-monitor: no configuration found; looked at {places}.",
        "restic-monitor: Write a first one with: restic-monitor init",
    ]
    named(tmp_path / "config.yaml", "here")
    done = run(cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert errors(done) == [
        f"restic-monitor: no configuration found; looked at {places}.",
        "restic-monitor: ./config.yaml is never read by itself; if it is yours: --config config.yaml",
    ]
    assert found(run, "--config", "config.yaml", cwd=tmp_path) == "here"


def test_a_candidate_that_cannot_be_read_is_an_error_and_no_other_is_tried(run: Run, tmp_path: Path) -> None:
    named(run.home / ".config/restic-monitor/config.yaml", "by-home")
    assert found(run) == "by-home"
    user = tmp_path / "restic-monitor" / "config.yaml"
    user.mkdir(parents=True)
    variables: list[tuple[dict[str, str], str]] = [
        ({"XDG_CONFIG_HOME": str(tmp_path)}, f"cannot read {user}: is a directory"),
        ({"RESTIC_MONITOR_CONFIG": str(user)}, f"$RESTIC_MONITOR_CONFIG: cannot read {user}: is a directory"),
    ]
    for env, message in variables:
        assert found(run, env=env) == f"restic-monitor: {message}\n"
    user.rmdir()
    user.symlink_to("nowhere")
    assert f"cannot read {user}: no such file or directory" in found(run, env={"XDG_CONFIG_HOME": str(tmp_path)})


def test_a_candidate_without_permission_is_an_error(run: Run, tmp_path: Path) -> None:
    file = named(tmp_path / "restic-monitor/config.yaml", "locked")
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("root may read everything")
    assert found(run, env={"XDG_CONFIG_HOME": str(tmp_path)}) == f"restic-monitor: cannot read {file}: permission denied\n"
    file.parent.chmod(0)
    try:
        assert "permission denied" in found(run, env={"XDG_CONFIG_HOME": str(tmp_path)})
    finally:
        file.parent.chmod(0o700)


def test_an_empty_option_is_not_taken_for_none(run: Run) -> None:
    named(run.home / ".config/restic-monitor/config.yaml", "by-home")
    message = "restic-monitor: --config names no file; is the variable behind it set?\n"
    assert found(run, "--config", "") == message
    assert run("init", "--config", "").stderr == message


def test_a_configuration_may_come_through_a_pipe(run: Run) -> None:
    done = run("config", "show", "-c", "/dev/stdin", input="repositories: {web: {url: /srv, password: x}}\n")
    assert (done.returncode, done.stderr) == (0, "")


# the environment file


def test_an_environment_file_holds_what_the_environment_could(run: Run, tmp_path: Path) -> None:
    config = named(tmp_path / "config.yaml", "by-environment-file")
    file = tmp_path / "environment"
    file.write_text(f"RESTIC_MONITOR_CONFIG={config}\nRESTIC_PASSWORD='canary'\n")
    file.chmod(0o600)
    by_option = run("config", "show", "--environment-file", file)
    by_variable = run("config", "show", env={"RESTIC_MONITOR_ENVIRONMENT_FILE": str(file), "RESTIC_MONITOR_CONFIG": "/nowhere"})
    for done in (by_option, by_variable):
        assert (done.returncode, done.stderr) == (0, "")
        assert "by-environment-file" in done.stdout
        assert f"# RESTIC_PASSWORD of the environment file {file}" in done.stdout
        assert "canary" not in done.stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read {file}: no such file or directory"),
        ("A=b\nexport C=canary\n", "{file}, line 2: not the name of a variable before '='; leave out 'export'"),
        ("A='canary", "{file}, line 1: the quote ' has no end"),
    ],
)
def test_a_wrong_environment_file_is_an_error_with_its_place(
    run: Run, tmp_path: Path, content: str | None, message: str
) -> None:
    file = tmp_path / "environment"
    if content:
        file.write_text(content)
        file.chmod(0o600)
    message = message.format(file=file)
    done = run("--environment-file", file)
    assert (done.returncode, done.stderr) == (2, f"restic-monitor: --environment-file: {message}\n")
    done = run(env={"RESTIC_MONITOR_ENVIRONMENT_FILE": str(file)})
    assert (done.returncode, done.stderr) == (2, f"restic-monitor: $RESTIC_MONITOR_ENVIRONMENT_FILE: {message}\n")


# who may read the secrets


def test_a_file_with_secrets_that_others_may_read_is_worth_a_warning(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path, SEED)
    warning = (
        f"restic-monitor: warning: {file} can be read by every user of this machine, and it holds secrets: chmod 600 {file}\n"
    )
    for mode, expected in ((0o644, warning), (0o604, warning), (0o640, ""), (0o600, "")):
        file.chmod(mode)
        done = run("config", "check", "--no-secrets", "-c", file)
        assert (done.returncode, done.stderr) == (0, expected), oct(mode)
    file.write_text("repositories: {web: {url: /srv, password_file: /p}}\n")
    file.chmod(0o644)
    assert run("config", "check", "--no-secrets", "-c", file).stderr == ""


def test_an_environment_file_that_others_may_read_is_worth_a_warning(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "environment"
    file.write_text("A=b\n")
    config = private(tmp_path, SEED)
    for mode in (0o644, 0o600):
        file.chmod(mode)
        done = run("config", "check", "--no-secrets", "-c", config, "--environment-file", file)
        assert ("an environment file usually holds secrets: chmod 600" in done.stderr) == (mode == 0o644)


# what the Go tool knows


def test_the_go_tools_users_need_no_password_with_its_variable_or_without(run: Run, tmp_path: Path) -> None:
    file = private(tmp_path, SEED)
    for fast in ("true", ""):
        done = run("config", "check", "--no-network", "-config", file, env={"RESTIC_MONITOR_FAST": fast})
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[1:] == [
            "secrets  ok       every password, token and file that is needed is there",
            "restic   ok       not needed: no repository is looked at by it",
        ]


def test_show_hides_command_lines_and_connection_strings(run: Run, tmp_path: Path) -> None:
    text = """\
repositories:
  nas:
    url: sftp:nas:/repo
    password_command: echo canary-a
    restic_options: ["sftp.command=sshpass -p canary-b ssh nas -s sftp", "sftp.connections=2"]
  cloud: {url: "rclone::s3,secret_access_key=canary-c,region=eu:bucket"}
"""
    done = run("config", "show", "-c", private(tmp_path, text), env=PASSWORD)
    assert "canary" not in done.stdout + done.stderr
    assert "restic_options: sftp.command=…" in done.stdout
    assert "restic_options: sftp.connections=2" in done.stdout
    assert "url: rclone::s3,secret_access_key=***,region=***:bucket" in done.stdout


def test_what_hides_in_options_and_sources_hides_in_runs_too(run: Run, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("/srv/canary-a")
    restic = program(tmp_path, 'echo "$@" >&2; echo "Fatal: repository does not exist: no $RESTIC_REPOSITORY" >&2; exit 10')
    text = f"""\
defaults: {{mode: restic, restic: {restic}}}
repositories:
  source: {{url: {{from_file: url}}}}
  option: {{url: "sftp:nas:/repo", restic_options: ["sftp.command=sshpass -p canary-b ssh nas"]}}
  cloud: {{url: "rclone::s3,secret_access_key=canary-c:bucket"}}
"""
    done = run("-vv", "-c", private(tmp_path, text), env={"RESTIC_PASSWORD": "x"})
    assert "no repository at {from_file: url} (restic exit 10)" in done.stdout
    assert "canary" not in done.stdout + done.stderr


def test_the_credential_groups_of_restic_take_nothing_from_the_program_itself(run: Run, tmp_path: Path) -> None:
    variables = tmp_path / "environment"
    variables.write_text("AWS_PROFILE=backup\nRESTIC_PASSWORD=x\n")
    variables.chmod(0o600)
    web = "{url: /srv, extra_env: {AWS_SECRET_ACCESS_KEY: {from_env: AWS_SECRET_ACCESS_KEY}, AWS_ACCESS_KEY_ID: k}}"
    file = private(tmp_path, f"repositories:\n  web: {web}\n")
    restic = program(tmp_path, "echo restic 0.19.1")
    env = {"AWS_SECRET_ACCESS_KEY": "s", "PATH": f"{restic.parent}:{os.environ['PATH']}"}
    done = run("config", "check", "--no-network", "-c", file, "--environment-file", variables, env=env)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_quiet_check_says_nothing_but_errors(run: Run, tmp_path: Path) -> None:
    file = private(tmp_path, "repositories:\n  web: {url: /srv, mode: restic}\n")
    done = run("config", "check", "-q", "--no-secrets", "-c", file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run("config", "check", "-q", "-c", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no password for web" in done.stderr


def test_a_home_known_to_the_system_alone_is_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """cron and systemd may run a job without $HOME."""
    monkeypatch.delenv("HOME")
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    assert user_path({}) == home / ".config" / "restic-monitor" / "config.yaml"
