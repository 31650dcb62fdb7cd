"""How each repository is looked at: what decides it, what it needs, and what is told about it. Through the real program."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import Completed, Run
from kuma import Kuma
from restics import PASSWORD, Backup, Repository, make_repository, require
from servers import S3, Rest

PASSWORD_ENV = {"RESTIC_PASSWORD": PASSWORD}
NO_RESTIC = {"PATH": "/nonexistent"}
NO_TIMES = "no listing: the server tells no times of its files"
NO_B2 = "no listing: b2 cannot be listed yet"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Nobody changes it: whoever needs to takes a copy."""
    snapshots = [Backup(datetime.now(UTC) - timedelta(hours=1))]
    return make_repository(tmp_path_factory.mktemp("modes") / "repo", snapshots=snapshots)


@dataclass(frozen=True)
class Site:
    """The program, and one repository in all the places of `urls`: local, s3, rest; b2 has a restic that only says so."""

    run: Run
    made: Repository
    urls: Mapping[str, str]
    env: Mapping[str, str]

    @property
    def config(self) -> Path:
        return self.run.home / "config.yaml"

    @property
    def state(self) -> Path:
        return self.run.home / ".local" / "state" / "restic-monitor" / "state.sqlite"

    def configure(self, repositories: Mapping[str, Mapping[str, Any]], **defaults: Any) -> None:
        document = {"defaults": {"restic": str(self.made.restic), **defaults}, "repositories": repositories}
        self.config.write_text(json.dumps(document))
        self.config.chmod(0o600)

    def places(self, *names: str, **keys: Any) -> None:
        """A repository for each of these places, called by its name."""
        fake = {"b2": {"restic": str(_fake_restic(self.run.home))}}
        self.configure({name: {"url": self.urls[name], **fake.get(name, {}), **keys} for name in names})

    def __call__(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> Completed:
        return self.run(*arguments, "-c", self.config, env={**self.env, **(env or {})})

    def results(self, *arguments: str, env: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
        done = self("run", "--format", "json", *arguments, env=env)
        assert done.returncode in (0, 1), done.stderr
        return {each["name"]: each for each in json.loads(done.stdout)["results"]}

    def sources(self, *arguments: str, env: Mapping[str, str] | None = None) -> dict[str, str]:
        return {name: each["source"] for name, each in self.results(*arguments, env=env).items()}


def _fake_restic(folder: Path) -> Path:
    """There is no B2 on this machine."""
    file, id_, moment = folder / "restic-b2", "a1b2c3d4" * 8, datetime.now(UTC).isoformat()
    summary = {"total_files_processed": 3, "total_bytes_processed": 5}
    snapshot = {"id": id_, "time": moment, "hostname": "web1", "paths": ["/srv"], "summary": summary}
    file.write_text(f"#!/bin/sh\necho '[{json.dumps(snapshot)}]'\n")
    file.chmod(0o755)
    return file


@pytest.fixture
def site(run: Run, made: Repository, s3: S3, rest: Rest, tmp_path: Path) -> Site:
    bucket = f"modes-{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"
    shutil.copytree(made.path, s3.folder / bucket / "repo")
    shutil.copytree(made.path, rest.folder / bucket)
    urls = {
        "local": str(made.path),
        "s3": s3.location(f"{bucket}/repo"),
        "rest": f"rest:{rest.url}/{bucket}/",
        "b2": "b2:bucket",
    }
    env = {**s3.env, "RESTIC_REST_USERNAME": rest.user or "", "RESTIC_REST_PASSWORD": rest.password or ""}
    return Site(run, made, urls, env)


# each mode, each storage, with a password and without

Seen = tuple[str, list[str]]
"""How it was looked at, and the notes."""
RESTIC: Seen = ("restic", [])
NATIVE: Seen = ("native", [])
FIRST: Seen = ("listing", ["no earlier look to compare with"])
OTHERWISE: Seen = ("restic", [NO_TIMES])


@pytest.mark.parametrize(
    ("mode", "password", "seen"),
    [
        ("auto", True, {"local": NATIVE, "s3": NATIVE, "rest": NATIVE, "b2": RESTIC}),
        ("native", True, {"local": NATIVE, "s3": NATIVE, "rest": NATIVE}),
        ("auto", False, {"local": FIRST, "s3": FIRST, "rest": FIRST}),
        ("fast", True, {"local": FIRST, "s3": FIRST, "rest": OTHERWISE, "b2": ("restic", [NO_B2])}),
        ("fast", False, {"local": FIRST, "s3": FIRST, "rest": FIRST}),
        ("listing", True, {"local": FIRST, "s3": FIRST, "rest": FIRST}),
        ("listing", False, {"local": FIRST, "s3": FIRST, "rest": FIRST}),
        ("restic", True, {"local": RESTIC, "s3": RESTIC, "rest": RESTIC, "b2": RESTIC}),
    ],
)
def test_how_each_storage_is_looked_at(site: Site, mode: str, password: bool, seen: Mapping[str, Seen]) -> None:
    site.places(*seen, mode=mode)
    results = site.results(env=PASSWORD_ENV if password else {})
    assert {name: (each["source"], each["notes"]) for name, each in results.items()} == seen
    # a server without times tells at first only that the snapshots are there
    unknown = {"rest"} if seen["rest"] == FIRST else set()
    assert {name: each["status"] for name, each in results.items()} == {
        name: "unknown" if name in unknown else "up" for name in seen
    }
    assert {each["snapshots"] for each in results.values()} == {1}


@pytest.mark.parametrize("mode", ["auto", "fast", "restic"])
def test_what_cannot_be_listed_wants_a_password(site: Site, mode: str) -> None:
    site.places("b2", mode=mode)
    done = site("run")
    assert done.returncode == 2
    generally = "no password for b2; write password_file: PATH there or in defaults"
    assert (generally if mode == "restic" else "no password, and b2 cannot be listed yet; write") in done.stderr


def test_restic_wants_a_password_whatever_can_be_listed(site: Site) -> None:
    site.places("local", "s3", "rest", mode="restic")
    done = site("run")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no password for local, s3, rest; " in done.stderr


def test_a_listing_of_what_cannot_be_listed_is_a_mistake_that_says_what_to_do(site: Site) -> None:
    site.places("local", "b2")
    for arguments in (["run"], ["config", "check", "--no-network"]):
        done = site(*arguments, "--mode", "listing", env=PASSWORD_ENV)
        assert done.returncode == 2
        assert "repositories.b2: listing is not possible: b2 cannot be listed yet; use mode: restic" in done.stderr


# where the password comes from

ORIGINS: Mapping[str, tuple[dict[str, Any], dict[str, Any], dict[str, str]]] = {
    "key": ({"password": PASSWORD}, {}, {}),
    "file": ({"password_file": "password"}, {}, {}),
    "command": ({"password_command": f"echo '{PASSWORD}'"}, {}, {}),
    "source": ({"password": {"from_file": "password"}}, {}, {}),
    "default": ({}, {"password": PASSWORD}, {}),
    "environment": ({}, {}, PASSWORD_ENV),
    "file of the environment": ({}, {}, {"RESTIC_PASSWORD_FILE": "password"}),
    "environment file": ({}, {}, {"RESTIC_MONITOR_ENVIRONMENT_FILE": "environment"}),
    "extra_env": ({"extra_env": PASSWORD_ENV}, {}, {}),
    "extra_env of defaults": ({}, {"extra_env": PASSWORD_ENV}, {}),
}


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_password_from_anywhere_makes_auto_read_for_itself(site: Site, origin: str) -> None:
    own, defaults, env = ORIGINS[origin]
    (site.run.home / "password").write_text(PASSWORD)
    (site.run.home / "environment").write_text(f"RESTIC_PASSWORD='{PASSWORD}'\n")
    modes = ("auto", "native", "fast", "listing", "restic")
    site.configure({mode: {"url": site.urls["local"], "mode": mode, **own} for mode in modes}, **defaults)
    results = site.results(env=env)
    assert [results[mode]["source"] for mode in modes] == ["native", "native", "listing", "listing", "restic"]
    assert [results[mode]["status"] for mode in modes] == ["up"] * 5


def test_the_word_that_there_is_no_password_makes_auto_read_for_itself(site: Site) -> None:
    site.places("local", insecure_no_password=True)
    assert site.results()["local"]["source"] == "native"  # which says that there is one


NO_PASSWORD: Mapping[str, tuple[dict[str, Any], dict[str, str]]] = {
    "an empty variable": ({}, {"RESTIC_PASSWORD": "", "RESTIC_PASSWORD_FILE": ""}),
    "an empty value": ({"extra_env": {"RESTIC_PASSWORD": ""}}, {}),
    "a removed variable": ({"extra_env": {"RESTIC_PASSWORD": None}}, PASSWORD_ENV),
    "an emptied variable": ({"extra_env": {"RESTIC_PASSWORD": ""}}, PASSWORD_ENV),
    "a switch that is off": ({"insecure_no_password": False}, {}),
}


@pytest.mark.parametrize("case", NO_PASSWORD)
def test_without_a_password_auto_lists(site: Site, case: str) -> None:
    keys, env = NO_PASSWORD[case]
    site.places("local", "s3", **keys)
    assert site.sources(env=env) == {"local": "listing", "s3": "listing"}
    assert site("run", "--mode", "restic", env=env).returncode == 2


def test_a_password_that_cannot_be_understood_is_a_mistake_and_no_listing(site: Site) -> None:
    for keys in ({"pasword": "x"}, {"password": ["x"]}, {"password": {"from_env": "NOWHERE"}}, {"password_file": "nowhere"}):
        site.places("local", **keys)
        done = site("run")
        assert (done.returncode, done.stdout) == (2, ""), keys
        assert "no password for" not in done.stderr


def test_one_repository_may_have_a_password_and_another_none(site: Site) -> None:
    site.configure({"with": {"url": site.urls["local"], "password": PASSWORD}, "without": {"url": site.urls["s3"]}})
    assert site.sources() == {"with": "native", "without": "listing"}


# --mode beats the repository, that beats defaults, that beats RESTIC_MONITOR_FAST, that beats auto


@pytest.mark.parametrize(
    ("option", "own", "default", "fast", "source"),
    [
        (None, None, None, None, "native"),
        (None, None, None, "true", "listing"),
        (None, None, "auto", "true", "native"),
        (None, None, "restic", "true", "restic"),
        (None, None, "listing", "false", "listing"),
        (None, "auto", "listing", "true", "native"),
        (None, "restic", "listing", "true", "restic"),
        (None, "listing", "restic", "false", "listing"),
        (None, "FAST", "restic", "false", "listing"),
        ("restic", "listing", "listing", "true", "restic"),
        ("auto", "listing", "listing", "true", "native"),
        ("native", "listing", "restic", "true", "native"),
        ("listing", "restic", "restic", "false", "listing"),
        ("fast", "restic", "restic", "false", "listing"),
    ],
)
def test_what_decides(
    site: Site, option: str | None, own: str | None, default: str | None, fast: str | None, source: str
) -> None:
    block = {"url": site.urls["local"], **({"mode": own} if own else {})}
    site.configure({"local": block}, **({"mode": default} if default else {}))
    env = {**PASSWORD_ENV, **({"RESTIC_MONITOR_FAST": fast} if fast is not None else {})}
    assert site.sources(*(["--mode", option] if option else []), env=env) == {"local": source}


@pytest.mark.parametrize("value", ["true", "1", "yes", "on", "TRUE", "Yes", " true "])
def test_the_go_tools_variable_means_fast(site: Site, value: str) -> None:
    site.places("local", "rest")
    sources = site.sources(env={**PASSWORD_ENV, "RESTIC_MONITOR_FAST": value})
    assert sources == {"local": "listing", "rest": "restic"}


@pytest.mark.parametrize("value", ["false", "0", "no", "off", "False", "", " "])
def test_the_go_tools_variable_may_be_off(site: Site, value: str) -> None:
    site.places("local")
    assert site.sources(env={**PASSWORD_ENV, "RESTIC_MONITOR_FAST": value}) == {"local": "native"}


@pytest.mark.parametrize("value", ["2", "fast", "ture", "truefalse", "-1"])
@pytest.mark.parametrize("arguments", [["run"], ["run", "--mode", "restic"], ["config", "check"], ["config", "show"]])
def test_a_value_that_is_no_boolean_is_an_error(site: Site, value: str, arguments: list[str]) -> None:
    site.places("local", mode="listing")
    done = site(*arguments, env={"RESTIC_MONITOR_FAST": value})
    assert done.returncode == 2
    sentence = f"RESTIC_MONITOR_FAST is {value!r}, which is neither true nor false; write true, or remove it"
    assert done.stderr == f"restic-monitor: {sentence}\n"


def test_the_variable_may_stand_in_the_environment_file(site: Site) -> None:
    site.places("local")
    (site.run.home / "environment").write_text(f"RESTIC_MONITOR_FAST=true\nRESTIC_PASSWORD='{PASSWORD}'\n")
    assert site.sources("--environment-file", "environment") == {"local": "listing"}


def test_an_unknown_mode_is_wrong_usage(site: Site) -> None:
    site.places("local")
    done = site("run", "--mode", "quick")
    assert done.returncode == 2
    assert "'quick' is not one of 'auto', 'native', 'fast', 'listing', 'restic'" in done.stderr


# what never falls back


def test_a_listing_that_fails_is_unknown_and_restic_is_not_asked(site: Site, tmp_path: Path) -> None:
    """Also in the fast mode: a store that cannot be listed today is no reason to look in another way."""
    urls = {"gone": str(tmp_path / "gone"), "refused": "s3:http://127.0.0.1:1/bucket"}
    for mode in ("listing", "fast"):
        site.configure({name: {"url": url, "mode": mode, "timeout": "3s"} for name, url in urls.items()})
        results = site.results(env=PASSWORD_ENV)
        assert {name: (each["source"], each["status"]) for name, each in results.items()} == dict.fromkeys(
            urls, ("listing", "unknown")
        )


def test_a_restic_that_fails_is_unknown_and_nothing_is_listed(site: Site) -> None:
    site.configure(
        {
            "wrong": {"url": site.urls["local"], "password": "wrong"},
            "missing": {"url": site.urls["local"], "password": PASSWORD, "restic": "/nonexistent/restic"},
        },
        mode="restic",
    )
    results = site.results()
    assert [(each["source"], each["status"]) for each in results.values()] == [("restic", "unknown")] * 2


def test_a_fallback_says_why_in_the_row_of_the_table(site: Site) -> None:
    site.places("rest", "b2", mode="fast")
    done = site("run", env=PASSWORD_ENV)
    assert done.returncode == 0
    rest, b2, _ = done.stdout.splitlines()
    assert rest.startswith("UP  rest  OK newest ")
    assert rest.endswith(f"  [{NO_TIMES}]  [no push address]")
    assert b2.startswith("UP  b2    OK newest ")
    assert b2.endswith(f"  [{NO_B2}]  [no push address]")


# what a listing does not need


def test_a_listing_reads_no_password_and_starts_no_restic(site: Site, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    leaving = f"touch {trace}"
    url = site.urls["local"]
    site.configure(
        {
            "file": {"url": url, "password_file": "/nonexistent/password"},
            "command": {"url": url, "password_command": leaving},
            "source": {"url": url, "password": {"from_file": "/nonexistent/password"}},
            "variable": {"url": url, "extra_env": {"RESTIC_PASSWORD": {"from_env": "NOWHERE"}}},
            "s3": {"url": site.urls["s3"], "restic": "/nonexistent/restic"},
        },
        mode="listing",
        restic="restic",
    )
    for env in ({}, {"RESTIC_PASSWORD_COMMAND": leaving}, {"RESTIC_PASSWORD_FILE": "/nonexistent/password"}):
        results = site.results(env={**NO_RESTIC, **env})
        assert {(each["source"], each["status"]) for each in results.values()} == {("listing", "up")}
        done = site("config", "check", env={**NO_RESTIC, **env})
        assert (done.returncode, done.stderr) == (0, "")
    assert not trace.exists()


def test_check_does_not_ask_for_what_nobody_needs(site: Site) -> None:
    site.places("local", "s3", "rest")
    done = site("config", "check", env=NO_RESTIC)
    assert (done.returncode, done.stderr) == (0, "")
    _, secrets, restic, *reached, _ = done.stdout.splitlines()
    assert secrets == "secrets  ok       every password, token and file that is needed is there"
    assert restic == "restic   ok       not needed: no repository is looked at by it"
    assert sorted(reached) == [f"reach    ok       {name}: 1 snapshot" for name in ("local", "rest", "s3")]
    assert not site.state.exists()


def test_check_asks_for_restic_where_it_may_be_needed(site: Site) -> None:
    for names, mode in ((["local", "rest"], "fast"), (["local"], "restic")):
        site.places(*names, mode=mode)
        assert "restic   ok       restic 0." in site("config", "check", env=PASSWORD_ENV).stdout


# config show

NATIVELY = "our own reader (native)"


@pytest.mark.parametrize(
    ("keys", "env", "mode", "how"),
    [
        ({}, {}, "auto # default", "a listing"),
        ({}, PASSWORD_ENV, "auto # default", NATIVELY),
        ({"password_file": "/nonexistent"}, {}, "auto # default", NATIVELY),
        ({"mode": "listing", "password": "x"}, {}, "listing # line 1", "a listing"),
        ({"mode": "Restic"}, {}, "restic # line 1", "restic"),
        ({}, {"RESTIC_MONITOR_FAST": "1", **PASSWORD_ENV}, "fast # RESTIC_MONITOR_FAST", "a listing"),
        (
            {"url": "rest:http://host/", "mode": "fast"},
            PASSWORD_ENV,
            "fast # line 1",
            "a listing, or restic if it shows no times",
        ),
        ({"url": "rclone:r:b", "mode": "fast"}, PASSWORD_ENV, "fast # line 1", "a listing, or restic if it shows no times"),
        ({"url": "rest:http://host/", "mode": "fast"}, {}, "fast # line 1", "a listing"),
        ({"url": "b2:bucket", "mode": "fast"}, PASSWORD_ENV, "fast # line 1", "restic (b2 cannot be listed yet)"),
        ({"url": "b2:bucket"}, {}, "auto # default", "restic (b2 cannot be listed yet)"),
        (
            {"url": "s3:https://host/bucket", "extra_env": {"RESTIC_AWS_ASSUME_ROLE_ARN": {"from_env": "NOWHERE"}}},
            {},
            "auto # default",
            "restic (only restic assumes the role of RESTIC_AWS_ASSUME_ROLE_ARN)",
        ),
        ({"url": "b2:bucket", "mode": "listing"}, {}, "listing # line 1", None),
        ({"url": {"from_env": "NOWHERE"}}, {}, "auto # default", None),
        ({"url": {"from_env": "NOWHERE"}}, PASSWORD_ENV, "auto # default", None),
        ({"url": "b2:bucket"}, PASSWORD_ENV, "auto # default", "restic (b2 cannot be listed yet)"),
        ({"url": "b2:bucket", "mode": "native"}, PASSWORD_ENV, "native # line 1", None),
    ],
)
def test_show_says_how_it_will_be_looked_at_when_that_needs_no_secret(
    site: Site, keys: dict[str, Any], env: dict[str, str], mode: str, how: str | None
) -> None:
    site.configure({"web": {"url": "/srv", **keys}})
    done = site("config", "show", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert f"mode: {mode}" in lines
    assert [line for line in lines if "looked at" in line] == ([f"# looked at by {how}"] if how else [])


# the state


def add_key(repository: Path) -> None:
    content = b"a key of somebody, who is not asked to open anything"
    (repository / "keys" / hashlib.sha256(content).hexdigest()).write_bytes(content)


@pytest.fixture
def copy(site: Site, tmp_path: Path) -> Path:
    """A repository that may be changed, and the only one of the configuration."""
    shutil.copytree(site.made.path, tmp_path / "copy")
    site.configure({"copy": {"url": str(tmp_path / "copy")}})
    return tmp_path / "copy"


def test_the_first_run_remembers_and_the_next_compares(site: Site, copy: Path) -> None:
    first, second = site.results()["copy"], site.results()["copy"]
    assert (first["notes"], second["notes"]) == (["no earlier look to compare with"], [])
    add_key(copy)
    assert [site.results()["copy"]["status"] for _ in range(3)] == ["warn", "up", "up"]


def test_a_look_that_nobody_is_told_of_uses_no_warning_up(site: Site, copy: Path) -> None:
    site("run")
    add_key(copy)
    assert [site.results("--no-push")["copy"]["status"] for _ in range(2)] == ["warn", "warn"]
    assert site("config", "check").returncode == 0
    assert [site.results()["copy"]["status"] for _ in range(2)] == ["warn", "up"]


@pytest.mark.parametrize("arguments", [["run", "--no-push"], ["run", "--no-state"], ["config", "check"]])
def test_who_only_tries_leaves_no_state(site: Site, copy: Path, arguments: list[str]) -> None:
    assert site(*arguments).returncode == 0
    assert not site.state.exists()


def test_without_a_state_nothing_is_compared_and_nothing_is_said_about_that(site: Site, copy: Path) -> None:
    site("run")
    before = site.state.read_bytes()
    add_key(copy)
    result = site.results("--no-state")["copy"]
    assert (result["status"], result["notes"]) == ("up", [])
    assert site.state.read_bytes() == before


def damaged(site: Site) -> dict[str, str]:
    site.state.parent.mkdir(parents=True)
    site.state.write_bytes(b"this is no database" * 100)
    return {}


def in_a_file(site: Site) -> dict[str, str]:
    (site.run.home / "file").touch()
    return {"STATE_DIRECTORY": str(site.run.home / "file")}


@pytest.mark.parametrize("spoil", [damaged, in_a_file])
@pytest.mark.parametrize("stale", [False, True])
def test_a_state_that_is_of_no_use_is_a_warning_and_never_the_end(site: Site, copy: Path, spoil: Any, stale: bool) -> None:
    if stale:
        old = (datetime.now(UTC) - timedelta(days=3)).timestamp()
        for file in (copy / "snapshots").iterdir():
            os.utime(file, (old, old))
    done = site("run", "--format", "json", env=spoil(site))
    assert done.returncode == (1 if stale else 0)
    document = json.loads(done.stdout)
    assert document["results"][0]["status"] == ("down" if stale else "up")
    (warning,) = document["warnings"]
    assert "state" in warning
    assert done.stderr == f"restic-monitor: warning: {warning}\n"


def test_check_tells_of_a_state_that_is_of_no_use(site: Site, copy: Path) -> None:
    damaged(site)
    done = site("config", "check")
    assert done.returncode == 0
    assert done.stderr.startswith("restic-monitor: warning: ")


def test_snapshots_that_vanish_in_bulk_are_a_warning_where_that_is_configured(site: Site, copy: Path) -> None:
    file = next((copy / "snapshots").iterdir())
    for number in range(3):
        site.made.run("backup", "--quiet", str(copy / "config"), location=str(copy), env={"N": str(number)})
    limits: dict[str, object] = {"off": None, "few": 1, "many": 2, "half": "50%", "share": " 49 %", "all": "100%"}
    site.configure({name: {"url": str(copy), **({"max_vanished": value} if value else {})} for name, value in limits.items()})
    site("run")
    for each in [each for each in (copy / "snapshots").iterdir() if each != file][:2]:
        each.unlink()
    results = site.results()
    assert {name for name, each in results.items() if each["status"] == "warn"} == {"few", "share"}
    assert "2 of 4 snapshot files are gone since the last look (limit 1)" in results["few"]["message"]


@pytest.mark.parametrize("command", [("config", "check"), ("--no-push",)])
def test_nobody_is_told_of_the_other_way_to_look_either(command: tuple[str, ...], run: Run, kuma: Kuma, rest: Rest) -> None:
    """`fast` on a rest-server without times looks again, with restic: a repository within the repository."""
    name = f"untold-{len(command)}"
    make_repository(rest.folder / name, snapshots=[Backup(datetime.now(UTC))])
    token = kuma.add_monitor()
    config = run.home / "config.yaml"
    restic = str(require("restic"))
    repository = {
        "url": rest.location(name),
        "mode": "fast",
        "password": PASSWORD,
        "restic": restic,
        "push_url": f"{kuma.url}/api/push/{token}",
    }
    config.write_text(json.dumps({"repositories": {"web": repository}}))
    config.chmod(0o600)
    completed = run("--config", config, *command)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert not kuma.beats
    assert completed.stdout.count("web: 1 snapshot") == (1 if "check" in command else 0)


def test_a_warning_that_is_given_once_waits_for_a_push_that_is_accepted(run: Run, kuma: Kuma, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repo", snapshots=[Backup(datetime.now(UTC))])
    token = kuma.add_monitor()
    config = run.home / "config.yaml"
    push_url = f"{kuma.url}/api/push/{token}"
    config.write_text(json.dumps({"repositories": {"web": {"url": str(repository.path), "push_url": push_url}}}))
    config.chmod(0o600)
    assert run("--config", config).returncode == 0
    key = repository.path / "keys" / ("ab" * 32)
    key.write_bytes(b"{}" * 40)
    kuma.tokens.remove(token)
    failed = run("--config", config)
    assert (failed.returncode, "1 key new: abababab" in failed.stdout) == (3, True)
    kuma.tokens.add(token)
    for expected in ("WARN", "UP"):
        assert run("--config", config).stdout.split()[0] == expected
    assert [beat for beat in kuma.beats if "1 key new: abababab" in str(beat)] != []
