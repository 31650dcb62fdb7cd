"""A canary hunt: a unique secret in every place where one may stand, and no output, argument or file shows any.

The places: every key of the configuration that is secret, addresses with credentials, environment files, credential
files, the process environment, the configuration's `from_…` sources, and what restic and Uptime Kuma say themselves.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from conftest import Completed, Run
from desk import VERSION
from kuma import Kuma
from servers import S3, Rest

SNAPSHOT = '[{"id":"a1b2c3d4a1b2c3d4","time":"2026-01-01T00:00:00Z","hostname":"web1"}]'

# Dumps its arguments, then says all its secrets, as a program that is ill does, in several ways.
RESTIC = f"""#!/bin/sh
printf '%s\\n' "$@" >>"$DUMP"
if [ "$1" = version ]; then echo "{VERSION}"; exit; fi
case "$RESTIC_PASSWORD_FILE" in /dev/fd/*) export RESTIC_PASSWORD="$(cat "$RESTIC_PASSWORD_FILE")" ;; esac
case "$RESTIC_REPOSITORY_FILE" in /dev/fd/*) export RESTIC_REPOSITORY="$(cat "$RESTIC_REPOSITORY_FILE")" ;; esac
case "$RESTIC_REPOSITORY" in
*fresh*) echo '{SNAPSHOT}'; env >&2 ;;
*retry*) env | sed 's/^/Load(<config>) returned error, retrying after 1s: /' >&2; exec sleep 60 ;;
*fatal*) echo "Fatal: $RESTIC_REPOSITORY: $RESTIC_PASSWORD $AWS_SECRET_ACCESS_KEY $AWS_SESSION_TOKEN $B2_ACCOUNT_KEY" >&2
         echo "$(env)" >&2; exit 1 ;;
*exit*)  printf '{{"message_type":"exit_error","code":1,"message":"Fatal: %s"}}\\n' "$(env | tr '\\n"' '  ')" >&2; exit 1 ;;
*)       env; exit 0 ;;
esac
"""


@dataclass
class Canaries:
    """Makes secrets that cannot be mistaken for anything else, and looks for them."""

    names: list[str] = field(default_factory=list)

    def __call__(self, place: str) -> str:
        self.names.append(place)
        return f"canary{len(self.names):02}x{place}"

    def found_in(self, text: str) -> list[str]:
        """Where a secret was from, with its surroundings. Their common beginning is enough: a part is a leak, too."""
        return [text[max(0, match.start() - 60) : match.end() + 20] for match in re.finditer(r"canary\d\dx\w*", text)]


@dataclass
class Cage:
    """The program with a configuration full of canaries."""

    run: Run
    folder: Path
    canaries: Canaries
    config: Path
    environment: dict[str, str]
    dump: Path
    allowed: set[Path]

    def __call__(self, *arguments: str, **env: str) -> Completed:
        done = self.run("-c", self.config, *arguments, env={**self.environment, **env})
        assert self.canaries.found_in(done.stdout) == [], f"standard output of {arguments}"
        assert self.canaries.found_in(done.stderr) == [], f"standard error of {arguments}"
        return done


@pytest.fixture
def cage(run: Run, kuma: Kuma, tmp_path: Path) -> Iterator[Cage]:
    canaries, folder = Canaries(), tmp_path / "cage"
    folder.mkdir()
    restic, dump, temporary = folder / "restic", folder / "arguments", folder / "tmp"
    restic.write_text(RESTIC)
    restic.chmod(0o755)
    temporary.mkdir()

    def file(name: str, content: str) -> str:
        (folder / name).write_text(content)
        (folder / name).chmod(0o600)
        return str(folder / name)

    def token(place: str, *, known: bool = True) -> str:
        made = canaries(place)
        if known:
            kuma.tokens.add(made)
        return made

    host = kuma.url.removeprefix("http://")
    base = f"http://me:{canaries('basic-auth')}@{host}/api/push/"
    credentials = folder / "credentials"
    credentials.mkdir()
    file("credentials/push", token("credential-file"))
    file("credentials/line", token("line-credential"))
    repositories = {
        "fresh": {"url": f"rest:http://user:{canaries('rest-url')}@localhost/fresh", "push_token": token("push-token")},
        "fatal": {
            "url": f"rest:https://user:{quote('p%' + canaries('encoded-url'), safe='')}@localhost/fatal",
            "push_url": f"http://{host}/api/push/{token('pasted-push-url')}?status=up&msg=OK&ping=",
            "password": canaries("password"),
        },
        "retry": {
            "url": "s3:https://s3.example.com/retry",
            "timeout": "1s",
            "push_token": token("unknown-push-token", known=False),
            "extra_env": {"AWS_ACCESS_KEY_ID": canaries("key-id"), "AWS_SECRET_ACCESS_KEY": canaries("s3-secret")},
        },
        "exit": {
            "url": "b2:exit:/",
            "push_token": {"from_credential": "push"},
            "extra_env": {
                "B2_ACCOUNT_ID": "public",
                "B2_ACCOUNT_KEY": {"from_file": file("b2", canaries("from-file"))},
                "AWS_SESSION_TOKEN": canaries("session-token"),
            },
            "password_file": file("password", canaries("password-file")),
        },
        "nonsense": {
            "url": "azure:nonsense:/",
            "push_token": {"from_env": "PUSH_TOKEN"},
            "extra_env": {"AZURE_ACCOUNT_SAS": {"from_env": "SAS"}, "RCLONE_CONFIG_PASS": canaries("rclone")},
            "password_command": "echo secret",
        },
        "hooked": {
            "url": "sftp:hooked:/fresh",
            "push_url": f"http://127.0.0.1:1/hooks/{canaries('unreachable-push-url')}?key={canaries('push-query')}",
        },
        "many": {
            "url": "sftp:many:/fresh",
            "expect": {
                "value": {"push_token": token("line-token")},
                "file": {"push_token": {"from_file": file("line", token("line-file"))}},
                "variable": {"push_token": {"from_env": "LINE_TOKEN"}},
                "credential": {"push_token": {"from_credential": "line"}},
                "lost": {"push_token": token("unknown-line-token", known=False)},
                "whole": {"push_token": f"http://me:{canaries('line-basic-auth')}@{host}/api/push/{token('line-url')}"},
            },
        },
    }
    document = {"defaults": {"mode": "restic", "restic": str(restic), "push_url": base}, "repositories": repositories}
    config = Path(file("config.yaml", json.dumps(document, indent=1)))
    environment_file = file(
        "environment",
        f"RESTIC_PASSWORD={canaries('environment-file')}\nAWS_SECRET_ACCESS_KEY={canaries('environment-file-s3')}\n"
        f"PUSH_TOKEN={token('environment-file-push')}\nLINE_TOKEN={token('environment-file-line')}\n",
    )
    environment = {
        "RESTIC_MONITOR_ENVIRONMENT_FILE": environment_file,
        "CREDENTIALS_DIRECTORY": str(credentials),
        "SAS": canaries("process-environment"),
        "AZURE_ACCOUNT_KEY": canaries("dropped-by-its-group"),
        "OS_PASSWORD": canaries("openstack"),
        "https_proxy": f"http://proxy:{canaries('proxy')}@127.0.0.1:1",
        "DUMP": str(dump),
        "TMPDIR": str(temporary),
    }
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    yield Cage(run, folder, canaries, config, environment, dump, before)
    for path in tmp_path.rglob("*"):
        if path.is_file() and path not in before:
            assert canaries.found_in(path.read_text(errors="replace")) == [], f"file {path}"
    assert len(canaries.names) == len(set(canaries.names)) >= 20


def test_the_canaries_reach_restic_and_uptime_kuma(cage: Cage, kuma: Kuma) -> None:
    """The hunt means something: what is hidden is really there."""
    done = cage("--format", "json")
    assert done.returncode == 3
    results = {each["name"]: each for each in json.loads(done.stdout)["results"]}
    assert {name: each["push"] for name, each in results.items()} == {
        "fresh": "accepted",
        "fatal": "accepted",
        "retry": "failed",
        "exit": "accepted",
        "nonsense": "accepted",
        "hooked": "failed",
        "many": "off",
    }
    assert {line["name"]: line["push"] for line in results["many"]["lines"]} == dict.fromkeys(
        ("value", "file", "variable", "credential", "whole"), "accepted"
    ) | {"lost": "failed"}
    assert "***" in results["fatal"]["message"]
    assert len(kuma.beats) == 9
    assert all(cage.canaries.found_in(request.path.partition("?")[0]) for request in kuma.requests)
    assert sum("Authorization" in request.headers for request in kuma.requests) == 10


def test_no_message_to_uptime_kuma_holds_a_secret(cage: Cage, kuma: Kuma) -> None:
    cage()
    for beat in kuma.beats:
        assert cage.canaries.found_in(beat.msg) == []
        assert cage.canaries.found_in(beat.path.partition("?")[2]) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "-vv", "--format", "json"],
        ["run", "-vv", "--format", "nagios"],
        ["run", "--only-failing", "-q"],
        ["run", "--no-push", "-vv"],
        ["run", "--no-push", "--format", "json"],
        ["config", "show", "-vv"],
        ["config", "check", "-vv"],
        ["config", "check", "--no-secrets"],
    ],
    ids=" ".join,
)
def test_no_command_shows_a_secret(cage: Cage, arguments: list[str]) -> None:
    done = cage(*arguments)
    assert done.returncode in ((2,) if "nagios" in arguments else (0, 1, 3)), done.stderr
    if arguments[0] == "run" or arguments[1] == "check":
        assert "-q" in arguments or done.stdout


def test_no_child_has_a_secret_among_its_arguments(cage: Cage) -> None:
    cage()
    cage("config", "check")
    arguments = cage.dump.read_text()
    assert arguments.count("snapshots\n") == 14
    assert cage.canaries.found_in(arguments) == []


@pytest.mark.parametrize("status", [200, 401, 404, 500])
def test_a_server_that_repeats_the_address_shows_no_token(cage: Cage, kuma: Kuma, status: int) -> None:
    document = json.loads(cage.config.read_text())
    document["repositories"] = {"fresh": document["repositories"]["fresh"]}
    cage.config.write_text(json.dumps(document))
    token = document["repositories"]["fresh"]["push_token"]
    body = json.dumps({"ok": False, "msg": f"cannot GET /api/push/{token}?status=up"}).encode()
    kuma.answer_with(status, {"Content-Type": "application/json", "X-Request": f"/api/push/{token}"}, body, times=None)
    for arguments in (["-vv"], ["--format", "json"]):
        assert cage(*arguments).returncode == 3


def test_a_redirect_and_a_dead_connection_show_no_token(cage: Cage, kuma: Kuma) -> None:
    for token in kuma.tokens:
        kuma.answer_with(302, {"Location": f"https://canary-login.example.com/{token}"})
        kuma.answer_with(302, {"Location": f"http://[{token}"})
        kuma.drop()
    assert cage("-vv").returncode == 3


def test_mistakes_in_the_configuration_are_told_without_the_secrets_beside_them(cage: Cage) -> None:
    document = json.loads(cage.config.read_text())
    document["repositories"]["fresh"] |= {"pasword": cage.canaries("misspelled"), "max_age": "soon"}
    document["repositories"]["fatal"]["push_token"] = cage.canaries("one-token-too-many")
    document["repositories"]["exit"]["url"] = f"{{{{ .Nmae }}}}{cage.canaries('template')}"
    document["repositories"]["nonsense"]["push_url"] = f"ftp://{cage.canaries('not-http')}/"
    cage.config.write_text(json.dumps(document, indent=1))
    for arguments in (["run"], ["config", "check"], ["config", "show"], ["--format", "nagios"]):
        assert cage(*arguments).returncode in (2, 3), arguments


def test_a_shared_push_address_is_told_without_it(cage: Cage) -> None:
    document = json.loads(cage.config.read_text())
    document["repositories"]["retry"]["push_token"] = document["repositories"]["fresh"]["push_token"]
    cage.config.write_text(json.dumps(document, indent=1))
    done = cage()
    assert done.returncode == 2
    assert "the same push address" in done.stderr


def test_an_internal_error_shows_no_secret(cage: Cage, tmp_path: Path) -> None:
    """A bug that quotes all it knows: the environment of restic, the address, the whole receiver."""
    site = tmp_path / "site"
    site.mkdir()
    for module, function in (
        ("restic_monitor.probes.restic", "Restic._understand"),
        ("restic_monitor.receivers.uptime_kuma", "UptimeKuma._get"),
        ("restic_monitor.config.build", "Builder.repositories"),
    ):
        (site / "sitecustomize.py").write_text(BROKEN.format(module=module, function=function))
        done = cage("-vv", PYTHONPATH=str(site))
        assert done.returncode == 70, done.stderr
        assert "internal error: RuntimeError" in done.stderr


BROKEN = """
import importlib.util, os, sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name != "{module}":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module
        def exec_module(module):
            execute(module)
            def fail(self, *arguments, **options):
                raise RuntimeError(repr(os.environ) + repr(self) + repr(arguments))
            owner, function = "{function}".split(".")
            setattr(getattr(module, owner), function, fail)
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def test_nothing_is_written_anywhere(cage: Cage) -> None:
    """No cache, no temporary file: the only new files are the state, and the list of arguments that the restic of the test
    makes."""
    cage("-vv")
    cage("config", "check")
    state = cage.folder.parent / "home" / ".local" / "state" / "restic-monitor"
    files = {path for path in cage.folder.parent.rglob("*") if path.is_file() and path.parent != state}
    assert files - cage.allowed == {cage.dump}
    assert os.listdir(cage.folder / "tmp") == []


def test_a_secret_under_an_innocent_name_is_known_by_what_reads_it(run: Run, kuma: Kuma, cage: Cage) -> None:
    """restic inherits it, whatever its name is, also for the other repositories."""
    folder = cage.folder / "innocent"
    folder.mkdir()
    token = kuma.add_monitor()
    blocks = {"fresh": {"url": "/fresh"}, "exit": {"url": "/exit", "push_token": {"from_env": "PUSH"}}}
    defaults = {"mode": "restic", "restic": str(cage.folder / "restic"), "push_url": kuma.url, "password": "x"}
    config = folder / "config.yaml"
    config.write_text(json.dumps({"defaults": defaults, "repositories": blocks}))
    done = run("-c", config, "-vv", env={"PUSH": token, "DUMP": str(cage.dump)})
    assert done.returncode == 1
    assert "PUSH=***" in done.stderr
    assert token not in done.stdout + done.stderr + kuma.beats[0].msg


# looks by a listing: our own requests and children instead of restic


# Stands for ssh and for rclone: dumps its arguments, then says all its secrets.
TALKATIVE = """#!/bin/sh
printf '%s\\n' "$@" >>"$DUMP"
echo "$*" >&2
env >>"$DUMP-env"
env >&2
env
exit 1
"""


@pytest.fixture
def listing(run: Run, s3: S3, rest: Rest, tmp_path: Path) -> Iterator[Cage]:
    """Every storage with secrets: some are refused, some are not reached, some fail; `found` is a real repository's place."""
    canaries, folder = Canaries(), tmp_path / "cage"
    folder.mkdir()
    program, dump = folder / "talkative", folder / "arguments"
    program.write_text(TALKATIVE)
    program.chmod(0o755)
    dump.touch()
    for store in (s3.folder / "listed" / "repo", rest.folder / "listed"):
        (store / "snapshots").mkdir(parents=True, exist_ok=True)
        (store / "keys").mkdir(exist_ok=True)
        (store / "config").write_bytes(b"config" * 10)
        (store / "keys" / ("a" * 64)).write_bytes(b"key" * 20)
    host = rest.url.removeprefix("http://")

    def keys(place: str) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": canaries(f"{place}-id"), "AWS_SECRET_ACCESS_KEY": canaries(f"{place}-secret")}

    repositories: dict[str, Any] = {
        "s3-found": {"url": s3.location("listed/repo"), "extra_env": s3.env},
        "s3-refused": {"url": s3.location("listed/repo"), "extra_env": keys("s3-refused")},
        "s3-token": {
            "url": "s3:http://127.0.0.1:1/bucket",
            "extra_env": {**keys("s3-token"), "AWS_SESSION_TOKEN": canaries("s3-session")},
        },
        "rest-found": {"url": rest.location("listed")},
        "rest-url": {"url": f"rest:http://user:{quote(canaries('rest-url') + '/%', safe='')}@{host}/listed/"},
        "rest-env": {
            "url": f"rest:{rest.url}/listed/",
            "extra_env": {"RESTIC_REST_USERNAME": "laptop", "RESTIC_REST_PASSWORD": canaries("rest-password")},
        },
        "rest-gone": {"url": f"rest:http://user:{canaries('rest-gone')}@127.0.0.1:1/listed/"},
        "rest-proxy": {
            "url": "rest:http://rest.example.com/listed/",
            "extra_env": {"http_proxy": f"http://proxy:{canaries('proxy')}@127.0.0.1:1"},
        },
        "sftp": {
            "url": "sftp:nas:/srv",
            "restic_options": [f"sftp.command={program} -p {canaries('sftp-command')}"],
            "extra_env": {"SSHPASS": canaries("ssh-pass")},
        },
        "rclone": {
            "url": "rclone:nas:srv",
            "restic_options": [f"rclone.program={program}"],
            "extra_env": {"RCLONE_CONFIG_NAS_PASS": canaries("rclone-pass")},
        },
    }
    password = {"password": canaries("password")}
    document = {"defaults": {"mode": "listing", "timeout": "5s", **password}, "repositories": repositories}
    config = folder / "config.yaml"
    config.write_text(json.dumps(document, indent=1))
    config.chmod(0o600)
    environment = {"RESTIC_PASSWORD": canaries("environment"), "B2_ACCOUNT_KEY": canaries("other"), "DUMP": str(dump)}
    yield Cage(run, folder, canaries, config, environment, dump, set())
    state = list(tmp_path.rglob("state.sqlite*"))
    for path in state:
        assert canaries.found_in(path.read_text(errors="replace")) == [], path


SECRETS_OF_COMMAND_LINES = ("sftp-command",)
"""The user wrote it into a command line."""


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["run"], marks=pytest.mark.slow),
        ["run", "-vv"],
        ["run", "-vv", "--format", "json"],
        pytest.param(["run", "-vv", "--format", "nagios"], marks=pytest.mark.slow),
        pytest.param(["run", "-vv", "--no-push", "--no-state"], marks=pytest.mark.slow),
        pytest.param(["run", "-vv", "--mode", "fast"], marks=pytest.mark.slow),
        pytest.param(["config", "check", "-vv"], marks=pytest.mark.slow),
        ["config", "show", "-vv"],
    ],
    ids=" ".join,
)
def test_no_listing_shows_a_secret(listing: Cage, arguments: list[str]) -> None:
    for _ in range(2):  # the second look has a state
        done = listing(*arguments)
        assert done.returncode in (0, 1, 2) or "nagios" in arguments, done.stderr
    said = listing.canaries.found_in(listing.dump.read_text())
    assert [text for text in said if not any(place in text for place in SECRETS_OF_COMMAND_LINES)] == []


def test_every_listing_is_told_and_what_could_be_seen_was_seen(listing: Cage) -> None:
    """The hunt means something: all were asked, with their secrets."""
    done = listing("--format", "json")
    results = {each["name"]: each for each in json.loads(done.stdout)["results"]}
    assert {each["source"] for each in results.values()} == {"listing"}
    found = {name for name, each in results.items() if each["code"] == "missing"}
    assert found == {"s3-found", "rest-found"}, "a repository without snapshots"
    assert {each["status"] for name, each in results.items() if name not in found} == {"unknown"}
    assert {"lsjson", "-p"} <= set(listing.dump.read_text().split())
    assert list(listing.folder.parent.rglob("state.sqlite"))


def test_no_child_of_a_listing_gets_the_password_of_the_repository(listing: Cage) -> None:
    """ssh and rclone need what opens the store, and have no use for what opens the repository."""
    listing("run")
    environment = Path(f"{listing.dump}-env").read_text()
    assert len(listing.canaries.found_in(environment)) >= 4
    assert "ssh-pass" in environment
    assert "rclone-pass" in environment
    assert "RESTIC_PASSWORD" not in environment


def test_a_connection_string_with_a_secret_is_refused_without_it(listing: Cage) -> None:
    document = json.loads(listing.config.read_text())
    url = f"rclone::s3,access_key_id=x,secret_access_key={listing.canaries('connection-string')}:bucket"
    document["repositories"] = {"cloud": {"url": url, "restic_options": f"rclone.program={listing.folder / 'talkative'}"}}
    listing.config.write_text(json.dumps(document))
    for arguments in (["run"], ["config", "check"]):
        done = listing(*arguments)
        assert done.returncode == 2
        assert "listing is not possible: the address holds a secret" in done.stderr
    assert listing("config", "show").returncode == 0
    assert listing.dump.read_text() == ""


def test_half_a_pair_of_keys_is_told_without_the_other_half(listing: Cage) -> None:
    document = json.loads(listing.config.read_text())
    half = {"AWS_SECRET_ACCESS_KEY": listing.canaries("half")}
    document["repositories"] = {"cloud": {"url": "s3:http://127.0.0.1:1/bucket", "extra_env": half}}
    listing.config.write_text(json.dumps(document))
    done = listing("run")
    assert done.returncode == 2
    assert "S3 needs a key ID and a secret key; AWS_ACCESS_KEY_ID is not set" in done.stderr
