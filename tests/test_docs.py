"""README, docs/ and examples/ against the program: what they show works, and what the program has is in them."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import shlex
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import cache
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
import yaml
from click import Command, Group

from conftest import Run
from kuma import Kuma
from proxy import Proxy
from repositories import lock, snapshot, write_repository
from restic_monitor import location
from restic_monitor.cli import cli
from restic_monitor.config import build, expected, keys, modes, storages
from restic_monitor.model import Code, Status
from restic_monitor.quantity import parse_duration
from restics import CHECKOUT, Backup, Repository, make_repository, missing, require
from servers import S3, Rest
from sshd import sshd
from standins import answering, error
from systemd_box import CannotBootError, boot

PAGES = (CHECKOUT / "README.md", CHECKOUT / "CHANGELOG.md", *sorted((CHECKOUT / "docs").glob("*.md")))
OF_OTHERS = {
    "connection refused",
    "tries,",
    "no such file or directory",
    "no credentials found.",
    "needs $CREDENTIALS_DIRECTORY, which systemd sets",
}
"""Said by the operating system, or put together in another way."""
COMMANDS = (
    *("", "run", "config", "config check", "config show", "config schema"),
    *("init", "groups", "suggest", "install-units", "completion"),
)
SHELLS = ("sh", "console", "crontab")
PROGRAM = re.compile(r"(?:^|\$ |&& |; |\| |sudo )(?:(?:[\d*/,-]+ ){5}|(?:\w+=\S+ )*)(?:[~$\w/.\"-]*/)?restic-monitor\"?(?= |$)")
"""Where a command begins: after a prompt, cron's five fields, variables. `systemctl start restic-monitor` is none."""


@dataclass(frozen=True)
class Block:
    """A block of code: its language, its text without the indentation of its fence, and `file:line` for the test's name.

    `runs`: an HTML comment `<!-- run -->` in the line before it, which no reader sees, has it run as it stands.
    """

    language: str
    text: str
    where: str
    runs: bool = False


def blocks(*languages: str) -> list[Block]:
    return [block for page in PAGES for block in _blocks(page) if block.language in languages]


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in re.finditer(
        r"^(?: *(?P<run><!-- run -->)\n)?(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
        text,
        re.DOTALL | re.MULTILINE,
    ):
        lines = [line.removeprefix(found["indent"]) for line in found["text"].splitlines(keepends=True)]
        line = text.count("\n", 0, found.start("indent")) + 1
        yield Block(found["language"], "".join(lines), f"{page.relative_to(CHECKOUT)}:{line}", bool(found["run"]))


def table(page: str, heading: str, columns: int) -> list[tuple[str, ...]]:
    """The cells of the first table below a heading, without its head."""
    section = (CHECKOUT / page).read_text().split(f"## {heading}\n", 1)[1].split("\n#")[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("|")]
    cells = [tuple(cell.strip() for cell in row) for row in rows[2:]]
    assert cells, f"{page}: no table below {heading}"
    assert {len(row) for row in cells} == {columns}, f"{page}: {heading}"
    return cells


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# configurations


@dataclass(frozen=True)
class Example:
    text: str
    where: str


def examples() -> list[Example]:
    files = [Example(file.read_text(), str(file.relative_to(CHECKOUT))) for file in sorted((CHECKOUT / "examples").glob("*"))]
    return [*(Example(block.text, block.where) for block in blocks("yaml", "yml")), *files]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.where)
def test_every_configuration_that_is_shown_passes_config_check_up_to_the_network(
    example: Example, run: Run, tmp_path: Path
) -> None:
    """With every file, variable, credential and program that it names."""
    text = example.text.replace("/etc/restic-monitor/", f"{tmp_path}/etc/").replace("/opt/restic/bin/restic", "restic")
    # as text, so that a template is one still
    document = yaml.load(text, yaml.BaseLoader)
    values = list(walk(document))
    for path in (value for key, value in values if key in ("password_file", "cacert", "tls_client_cert", "from_file")):
        for name in document["repositories"]:
            file = run.home / path.replace("{{ .Name }}", name).replace("~", str(run.home))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{name}-secret\n")
    credentials = {value for key, value in values if key in ("from_credential", "credential_path")}
    for credential in credentials | set(re.findall(r"\{credential_path: ([\w.-]+)\}", text)):
        (tmp_path / credential).write_text("secret\n")
    environment = {value: "https://uptime-kuma.example.com/api/push/" for key, value in values if key == "from_env"}
    environment |= {"CREDENTIALS_DIRECTORY": str(tmp_path), "PATH": f"{require('restic').parent}:/usr/bin:/bin"}
    file = run.home / "config.yaml"
    file.write_text(text)
    file.chmod(0o600)

    alone = run("config", "check", "--no-secrets", "--config", file)
    assert (alone.returncode, alone.stderr) == (0, "")
    # where none stands in the file, it comes from the environment, or the files are listed
    for password in ({}, {"RESTIC_PASSWORD": "secret"}) if "password_" not in text else ({},):
        whole = run("config", "check", "--no-network", "--config", file, env={**environment, **password})
        assert (whole.returncode, whole.stderr) == (0, "")


def walk(node: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a document, with the key it belongs to."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from walk(value, name)
    elif isinstance(node, list):
        for item in node:
            yield from walk(item, key)
    else:
        yield key, str(node)


def test_the_reference_has_every_key_and_the_page_on_configuration_every_source() -> None:
    top = {row[0].strip("`") for row in table("docs/reference.md", "Top level", 4)}
    repository = {row[0].strip("`") for row in table("docs/reference.md", "Keys of a repository", 5)}
    sources = {name for row in table("docs/configuration.md", "Secrets", 2) for name in re.findall(r"`\{(\w+):", row[0])}
    assert top == {*keys.TOP, *keys.SECTIONS}
    assert repository == {*keys.REPOSITORY, *keys.LISTS, *keys.MAPPINGS}
    assert sources == set(keys.SOURCES)


def test_the_reference_says_where_each_key_may_stand_and_of_what_type_it_is() -> None:
    types = {
        "template": "template",
        "url": "template",
        "text": "text",
        "path": "path",
        "program": "name or path",
        "boolean": "boolean",
        "duration": "duration",
        "mode": "`auto`, `native`, `fast`, `listing` or `restic`",
        "vanished": "number or share",
        "schedule": "schedule",
        "zone": "time zone",
        "number": "whole number",
        "size": "size",
        "shrinkage": "share",
        "moment": "date",
    }
    for name, where, kind, *_ in table("docs/reference.md", "Keys of a repository", 5):
        if key := keys.REPOSITORY.get(name.strip("`")):
            assert (where, kind) == ("both" if key.defaults else "repository", types[key.parse.__name__]), name


def test_the_reference_names_the_defaults_of_the_program() -> None:
    top = {row[0].strip("`"): row[2] for row in table("docs/reference.md", "Top level", 4)}
    repository = {row[0].strip("`"): row[3] for row in table("docs/reference.md", "Keys of a repository", 5)}
    assert parse_duration(top["timeout"]) == parse_duration(repository["timeout"]) == build.DEFAULT_TIMEOUT
    assert parse_duration(repository["max_age"]) == expected.DEFAULT_MAX_AGE
    assert parse_duration(repository["grace"]) == expected.DEFAULT_GRACE
    assert repository["mode"] == modes.DEFAULT
    assert top["connections"] == str(build.DEFAULT_CONNECTIONS)


def test_the_page_on_configuration_gives_an_example_of_every_key() -> None:
    shown = "".join(block.text for block in blocks("yaml") if block.where.startswith("docs/configuration.md"))
    missing = {*keys.REPOSITORY, *keys.LISTS, *keys.MAPPINGS, *keys.SECTIONS, *keys.SOURCES, "jobs"} - set(
        re.findall(r"\b(\w+): ?", shown)
    )
    assert missing == set()


# the first five minutes


def test_the_six_lines_of_the_readme_watch_a_first_repository_from_an_empty_folder_and_an_empty_home(
    run: Run, tmp_path: Path, kuma: Kuma
) -> None:
    """What a new user does: the lines with an own folder, password and Push URL, then the commands as they stand."""
    first = next(block for block in blocks("yaml") if block.where.startswith("README.md"))
    assert first.text == (CHECKOUT / "examples" / "config.yaml").read_text()
    assert len(first.text.splitlines()) == 6
    repository = make_repository(tmp_path / "backup", "0.14", [Backup(datetime.now(UTC) - timedelta(hours=3))])
    (tmp_path / "password").write_text(f"{repository.password}\n")
    token = kuma.add_monitor()
    text = first.text.replace("/srv/backup/web-server", str(repository.path))
    text = text.replace("/etc/restic-monitor/password", str(tmp_path / "password"))
    text = re.sub(r"push_url: \S+", f"push_url: {kuma.push_url(token)}", text)
    assert list(run.home.iterdir()) == []
    (run.home / "config.yaml").write_text(text)

    commands = next(b.text for b in blocks("sh") if "chmod 600 config.yaml" in b.text).splitlines()
    assert commands.pop(0) == "chmod 600 config.yaml"
    (run.home / "config.yaml").chmod(0o600)
    ended = [run(*shlex.split(command)[1:], env={"PATH": f"{repository.restic.parent}:/usr/bin:/bin"}) for command in commands]

    assert [each.returncode for each in ended] == [0, 0, 0], ended
    assert [each.stderr for each in ended] == ["", "", ""]
    assert "web-server: 1 snapshot" in ended[0].stdout
    (beat,) = kuma.beats  # neither config check nor --no-push told anybody
    assert (beat.token, beat.status) == (token, "up")
    note = "  [no file count of web1 (restic before 0.17): an empty backup is not noticed]"
    assert ended[2].stdout == f"UP  web-server  {beat.msg}{note}\n1 repository: 1 up; 1 pushed\n"
    assert re.fullmatch(r"OK newest 3h\w* old \(limit 26h\); .*", beat.msg)


def test_the_table_of_the_readme_is_what_the_program_prints(run: Run, tmp_path: Path) -> None:
    """A repository of each kind in the README's order: the same lines but for ages, ids and addresses."""
    shown = next(block.text for block in blocks("console") if block.where.startswith("README.md")).splitlines()
    now = datetime.now(UTC)
    fresh = make_repository(tmp_path / "web-server", "0.19", [Backup(now - timedelta(seconds=2), "web-server")])
    make_repository(tmp_path / "db-server", "0.19", [Backup(now - timedelta(days=3, minutes=1), "db-server")])
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        (run.home / "config.yaml").write_text(
            f"""\
defaults: {{url: "{tmp_path}/{{{{ .Name }}}}", max_age: 26h, password_file: password}}
repositories:
  web-server:
  db-server:
  offsite: {{url: "rest:http://127.0.0.1:{bound.getsockname()[1]}/", timeout: 3s}}
"""
        )
        (run.home / "password").write_text(fresh.password)
        done = run("--config", "config.yaml", env={"PATH": f"{fresh.restic.parent}:/usr/bin:/bin"})
    assert shown[0] == "$ restic-monitor"
    assert [_abstract(line) for line in shown[1:]] == [
        _abstract(line.removesuffix("  [no push address]"))
        for line in done.stdout.replace("1 up\n", "1 up; 3 pushed\n").splitlines()
    ]


def _abstract(line: str) -> str:
    line = re.sub(r"stored \w+ ago", "stored AGE ago", re.sub(r"\d+ (snapshot files?)\b", "N file", line))
    line = re.sub(r"\b[0-9a-f]{8}\b", "ID", line)
    line = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\dZ", "MOMENT", line)
    line = re.sub(r"newest [\dwdhms]+ old", "newest AGE old", line)
    return re.sub(r"\d+ tr(y|ies), \d+s", "TRIES", re.sub(r":\d+ refused", ":PORT refused", line))


# looking without the password


def test_the_page_on_listing_has_every_mode_and_no_other() -> None:
    rows = table("docs/listing.md", "Choosing it", 3)
    assert tuple(row[0].strip("`") for row in rows) == keys.MODES


def test_the_page_on_listing_names_every_storage_that_cannot_be_listed() -> None:
    text = (CHECKOUT / "docs" / "listing.md").read_text().split("## Not yet listable\n", 1)[1].split("\n#")[0]
    urls = (
        "/srv",
        "s3:host/bucket",
        "sftp:host:/srv",
        "rest:http://host/",
        "rclone:remote:",
        "b2:bucket:",
        "azure:c:/",
        "gs:b:/",
        "swift:c:/",
    )
    assert {location.scheme(url) for url in urls} == {*location.SCHEMES}
    for url in urls:
        name = location.scheme(url)
        assert (f"`{name}:`" in text) == bool(storages.unlistable(location.parse(url), set())), url


def test_the_table_of_the_page_on_listing_is_what_the_program_prints(run: Run, tmp_path: Path, s3: S3, rest: Rest) -> None:
    """After a first look at two of three repositories, and a night's backup with `forget`."""
    shown = next(block.text for block in blocks("console") if block.where.startswith("docs/listing.md")).splitlines()
    now = datetime.now(UTC)
    folder = s3.folder / "docs-listing"
    web = make_repository(folder / "web-server", "0.19", [Backup(now)])
    db = make_repository(folder / "db-server", "0.19", [Backup(now)])
    laptop = make_repository(rest.folder / "docs-listing", "0.19", [Backup(now)])
    _store_at(db, now - timedelta(days=3, minutes=1))
    (run.home / "config.yaml").write_text(
        f"""\
defaults: {{url: "{s3.location("docs-listing")}/{{{{ .Name }}}}", max_age: 26h}}
repositories:
  web-server:
  db-server:
  laptop: {{url: "{rest.location(laptop.path.name)}"}}
"""
    )
    (run.home / "config.yaml").chmod(0o600)
    assert run("run", "web-server", "db-server", "-c", "config.yaml", env=s3.env).returncode == 1
    web.run("backup", str(tmp_path / "home"))
    web.run("forget", "--group-by", "", "--keep-last", "1")
    _store_at(web, now - timedelta(hours=3, minutes=2))
    time.sleep(0.3)  # rclone remembers folders for 100 ms
    done = run("--config", "config.yaml", env=s3.env)
    assert shown[0] == "$ restic-monitor"
    assert [_abstract(line) for line in shown[1:]] == [
        _abstract(line.removesuffix("  [no push address]"))
        for line in done.stdout.replace("1 up\n", "1 up; 3 pushed\n").splitlines()
    ]


def _store_at(repository: Repository, moment: datetime) -> None:
    for file in (repository.path / "snapshots").iterdir():
        os.utime(file, (moment.timestamp(), moment.timestamp()))


def test_the_looks_at_a_rest_server_end_as_the_page_on_listing_says(run: Run, rest: Rest) -> None:
    """Time passes by making all that is remembered older."""
    expected = [names(row[1])[0] for row in table("docs/listing.md", "When the server tells no times", 2)]
    repository = make_repository(rest.folder / "docs-looks", "0.19", [Backup(datetime.now(UTC))])
    url = rest.location(repository.path.name)
    (run.home / "config.yaml").write_text(f'repositories: {{laptop: {{url: "{url}", max_age: 26h}}}}')
    (run.home / "config.yaml").chmod(0o600)
    state = run.home / "state" / "restic-monitor" / "state.sqlite"

    def look() -> str:
        done = run("--config", "config.yaml", "--format", "json", env={"XDG_STATE_HOME": str(run.home / "state")})
        return re.sub(r"(?<=\dm)\d+s", "", str(json.loads(done.stdout)["results"][0]["message"]).partition(")")[0] + ")")

    told = [look()]
    _age(state, timedelta(hours=1))
    repository.run("backup", str(run.home))
    told.append(look())
    _age(state, timedelta(hours=25, minutes=30))
    told.append(look())
    _age(state, timedelta(hours=1))
    told.append(look())
    assert told == expected


def _age(state: Path, by: timedelta) -> None:
    microseconds = by // timedelta(microseconds=1)
    with contextlib.closing(sqlite3.connect(state)) as connection, connection:
        connection.execute("UPDATE repositories SET looked = looked - ?", (microseconds,))
        connection.execute("UPDATE files SET after = after - ?, before = before - ?", (microseconds, microseconds))


# from a third machine

THIRD = "docs/third-machine.md"
WATCHED = ("web-server", "db-server")


def policies() -> list[dict[str, Any]]:
    """For a listing, and with the password."""
    return [json.loads(block.text) for block in blocks("json") if block.where.startswith(THIRD)]


def test_the_policies_are_complete_and_let_nobody_write() -> None:
    for policy in policies():
        assert policy.keys() == {"Version", "Statement"}
        assert policy["Version"] == "2012-10-17"
        for statement in policy["Statement"]:
            assert statement.keys() - {"Condition"} == {"Effect", "Action", "Resource"}
            assert (statement["Effect"], statement["Action"]) in {("Allow", "s3:ListBucket"), ("Allow", "s3:GetObject")}
    assert len(policies()) == 2


class Guarded(Proxy):
    """An S3 server with a policy in front: what that does not allow goes to another server, which refuses everything.

    `used` are the parts of the policy that were needed, each a number of a statement, its resource and its prefix.
    """

    def __init__(self, target: str, policy: Mapping[str, Any], refusing: str) -> None:
        super().__init__(target)
        self.policy = policy
        self.used: set[tuple[int, str, str]] = set()
        self.refused = Proxy(refusing)

    def forward(self, method: str, path: str, headers: Iterable[tuple[str, str]], body: bytes) -> tuple[HTTPResponse, bytes]:
        if part := _allowed(self.policy, method, path):
            self.used.add(part)
            return super().forward(method, path, headers, body)
        return self.refused.forward(method, path, headers, body)


@contextlib.contextmanager
def guarded(s3: S3, policy: Mapping[str, Any], bucket: str) -> Iterator[Guarded]:
    """With the policy of the page for another bucket."""
    text = json.dumps(policy).replace("arn:aws:s3:::backup", f"arn:aws:s3:::{bucket}")
    with (
        answering(lambda _: error(403, "AccessDenied")) as refusing,
        Guarded(s3.endpoint, json.loads(text), refusing.url) as proxy,
    ):
        yield proxy


def _allowed(policy: Mapping[str, Any], method: str, target: str) -> tuple[int, str, str] | None:
    """The part of a policy that allows a request, as far as restic and a listing go.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
    """
    path, _, query = target.partition("?")
    asked = parse_qs(query, keep_blank_values=True)
    bucket, _, key = unquote(path).strip("/").partition("/")
    if key:
        action = {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "DELETE": "s3:DeleteObject"}.get(method, "s3:PutObject")
    else:
        action = "s3:GetBucketLocation" if "location" in asked else "s3:ListBucket"
    resource = f"arn:aws:s3:::{bucket}/{key}".removesuffix("/")
    for number, statement in enumerate(policy["Statement"]):
        for pattern, prefix in _parts(statement):
            there = fnmatchcase(resource, pattern) and (prefix == ANY or fnmatchcase(asked.get("prefix", [""])[0], prefix))
            if statement["Action"] == action and there:
                return number, pattern, prefix
    return None


ANY = "any prefix"


def _parts(statement: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each resource with each prefix. No pattern has `*` or `?` in a StringEquals, where they would be characters."""
    resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
    ((operator, condition),) = statement.get("Condition", {"": {"s3:prefix": [ANY]}}).items()
    (prefixes,) = condition.values()
    assert condition.keys() == {"s3:prefix"}
    assert operator == "StringLike" or not re.search(r"[*?]", "".join(prefixes))
    return [(resource, prefix) for resource in resources for prefix in prefixes]


def _guarded_run(
    run: Run,
    s3: S3,
    policy: Mapping[str, Any],
    bucket: str,
    restic: Path,
    mode: str = "auto",
    expected: str = "2 up",
    **env: str,
) -> Guarded:
    """Both repositories of the policy are up, and the requests of the program have gone through it."""
    with guarded(s3, policy, bucket) as proxy:
        urls = {name: replace(s3, endpoint=proxy.url).location(f"{bucket}/{name}") for name in WATCHED}
        blocks = {name: {"url": url, "mode": mode} for name, url in urls.items()}
        (run.home / "config.yaml").write_text(json.dumps({"repositories": blocks}))
        done = run("--no-state", "--config", "config.yaml", env={**s3.env, "PATH": f"{restic.parent}:/usr/bin:/bin", **env})
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.endswith(f"2 repositories: {expected}\n")
    assert "not seen" not in done.stdout
    return proxy


def test_the_policy_for_a_listing_allows_all_that_a_look_asks_and_nothing_else(run: Run, s3: S3) -> None:
    policy = policies()[0]
    bucket = "docs-policy-listing"
    for name in WATCHED:
        repository = make_repository(s3.folder / bucket / name, "0.19", [Backup(datetime.now(UTC))])
    proxy = _guarded_run(run, s3, policy, bucket, repository.restic)
    assert proxy.refused.seen == ()
    assert proxy.used == {
        (number, *part) for number, statement in enumerate(proxy.policy["Statement"]) for part in _parts(statement)
    }

    # narrower: one listing that is refused, and three
    prefixes = [f"{name}/{folder}/" for name in WATCHED for folder in ("keys", "locks", "snapshots")]
    policy["Statement"][0]["Condition"]["StringEquals"]["s3:prefix"] = prefixes
    proxy = _guarded_run(run, s3, policy, bucket, repository.restic)
    assert all("list-type" in seen.path for seen in proxy.refused.seen)
    assert len(proxy.refused.seen) == len(WATCHED)
    assert sum("list-type" in seen.path for seen in proxy.seen) == 3 * len(WATCHED)
    assert {prefix for _, _, prefix in proxy.used} - {ANY} == set(prefixes)


def test_the_policies_with_the_password_suffice_for_every_restic(run: Run, s3: S3, restic_version: str) -> None:
    """restic is refused the bucket's region, and goes on; it does not ask where AWS_DEFAULT_REGION says it."""
    policy = policies()[1]
    bucket = f"docs-policy-{restic_version.replace('.', '-')}"
    for name in WATCHED:
        repository = make_repository(s3.folder / bucket / name, restic_version, [Backup(datetime.now(UTC))])
    environment = {"RESTIC_PASSWORD": repository.password}
    proxy = _guarded_run(run, s3, policy, bucket, repository.restic, "restic", **environment)
    assert [(seen.method, seen.path) for seen in proxy.refused.seen] == [("GET", f"/{bucket}/?location=")] * len(WATCHED)
    assert len(proxy.used) == 4  # each of both repositories, in both statements

    environment["AWS_DEFAULT_REGION"] = "us-east-1"
    proxy = _guarded_run(run, s3, narrower(policy), bucket, repository.restic, "restic", **environment)
    assert proxy.refused.seen == ()
    assert read(proxy) == {pattern for pattern in proxy.policy["Statement"][1]["Resource"] if "/locks/" not in pattern}


def read(proxy: Guarded) -> set[str]:
    """The patterns of files that were used."""
    return {pattern for number, pattern, _ in proxy.used if number == 1}


def test_the_policies_with_the_password_suffice_without_restic(run: Run, s3: S3) -> None:
    """With a lock that is old enough to be opened: what the narrower policy allows is all that is read."""
    policy, bucket, now = policies()[1], "docs-policy-native", datetime.now(UTC)
    for name in WATCHED:
        written = write_repository(s3.folder / bucket / name, [snapshot(now)])
        written.add_lock(lock(now - timedelta(hours=1)), at=now - timedelta(hours=1))
    environment = {"RESTIC_PASSWORD": written.password}
    for allowed in (policy, narrower(policy)):
        proxy = _guarded_run(run, s3, allowed, bucket, Path("/usr/bin/none"), **environment, expected="2 warn")
        assert proxy.refused.seen == ()
        assert read(proxy) == set(proxy.policy["Statement"][1]["Resource"])


def narrower(policy: Mapping[str, Any]) -> dict[str, Any]:
    """As the page says: other resources in the second statement."""
    (paragraph,) = re.findall(r"Narrower, and enough.*?\n\n", (CHECKOUT / THIRD).read_text(), re.DOTALL)
    whole, *narrow = [pattern.removeprefix("web-server") for pattern in names(" ".join(paragraph.split()))]
    assert (whole, len(narrow)) == ("/*", 4)
    listing, reading = policy["Statement"]
    resources = [f"arn:aws:s3:::backup/{name}{pattern}" for name in WATCHED for pattern in narrow]
    return {**policy, "Statement": [listing, {**reading, "Resource": resources}]}


def test_with_the_narrower_policy_the_password_opens_the_list_of_snapshots_and_no_file(s3: S3) -> None:
    bucket = "docs-policy-narrow"
    repository = make_repository(s3.folder / bucket / "web-server", "0.19", [Backup(datetime.now(UTC), host="web1")])
    with guarded(s3, narrower(policies()[1]), bucket) as proxy:
        location = replace(s3, endpoint=proxy.url).location(f"{bucket}/web-server")
        assert "web1" in repository.run("--no-lock", "snapshots", location=location, env=s3.env)
        with pytest.raises(AssertionError, match=r"Load\(<index/"):
            repository.run("--no-lock", "ls", "latest", location=location, env=s3.env)


def test_with_the_rights_of_the_policies_nothing_can_be_changed(s3: S3) -> None:
    bucket = "docs-policy-thief"
    repository = make_repository(s3.folder / bucket / "web-server", "0.19", [Backup(datetime.now(UTC))])
    before = sorted((s3.folder / bucket).rglob("*"))
    with guarded(s3, policies()[1], bucket) as proxy:
        location = replace(s3, endpoint=proxy.url).location(f"{bucket}/web-server")
        assert "index.html" in repository.run("--no-lock", "ls", "latest", location=location, env=s3.env)
        for command in (("backup", "/etc/hostname"), ("tag", "--add", "x"), ("forget", "--keep-last", "1")):
            with pytest.raises(AssertionError, match=r"unable to create lock in backend: client\.PutObject"):
                repository.run(*command, location=location, env=s3.env)
    assert proxy.methods <= {"GET", "HEAD"}
    assert {seen.method for seen in proxy.refused.seen} >= {"PUT"}
    assert sorted((s3.folder / bucket).rglob("*")) == before


def test_the_key_of_the_page_reads_over_sftp_and_can_do_nothing_else(run: Run, tmp_path: Path) -> None:
    """And sshd takes the lines that shut a user in."""
    (tmp_path / "keys").mkdir()
    line, match = (block.text for block in _blocks(CHECKOUT / THIRD) if re.match("restrict,|Match User", block.text))
    repository = make_repository(tmp_path / "office", "0.19", [Backup(datetime.now(UTC))])
    with sshd(tmp_path, tmp_path / "keys") as server:
        authorized = tmp_path / "keys" / "authorized"
        key = authorized.read_text()
        authorized.write_text(re.sub(r"ssh-ed25519 .*\n", lambda _: key, line))
        document = {"password": repository.password, "url": server.location("office")}
        document["restic_options"] = [f"sftp.args={server.args}"]  # type: ignore[assignment]
        looks = {mode: {**document, "mode": mode} for mode in ("listing", "restic")}
        (run.home / "config.yaml").write_text(json.dumps({"repositories": looks}))
        (run.home / "config.yaml").chmod(0o600)
        done = run("--no-state", "-c", "config.yaml", env={"PATH": f"{repository.restic.parent}:/usr/bin:/bin"})
        assert (done.returncode, done.stderr) == (0, ""), done.stdout

        login = [*server.args.split(), f"{server.user}@{server.host}"]
        batch = f"-rm {repository.path}/config\n-put /etc/hostname {repository.path}/x\n-mkdir {repository.path}/y\n"
        sftp = ["sftp", "-b", "-", "-P", str(server.port), *login]
        asked = subprocess.run(sftp, input=batch, capture_output=True, text=True, check=False)
        assert asked.stderr.count("Permission denied") == 3, asked
        shell = subprocess.run(["ssh", "-p", str(server.port), *login, "id"], capture_output=True, text=True, check=False)
        assert "uid=" not in shell.stdout
    assert (repository.path / "config").exists()
    with (tmp_path / "keys" / "config").open("a") as config:
        config.write(match)
    subprocess.run([require("sshd"), "-t", "-f", tmp_path / "keys" / "config"], check=True)


# blocks of code


def named(languages: Iterable[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", blocks(*languages), ids=lambda block: block.where)


@named(SHELLS)
def test_every_command_line_that_is_shown_can_be_parsed(block: Block) -> None:
    lines = block.text.splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    if block.language == "crontab":
        assert all(re.match(r"([\d*/,-]+ ){5}", line) for line in lines)
        lines = [line.split(" ", 5)[5] for line in lines]
    done = subprocess.run(["sh", "-n"], input="\n".join(lines), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@named(["json"])
def test_every_block_of_json_is_json(block: Block) -> None:
    json.loads(block.text)


@named(["ini"])
def test_every_block_of_a_unit_is_taken_by_systemd_as_it_stands_or_beside_our_units(block: Block, tmp_path: Path) -> None:
    """What is started need not be here: /bin/true instead."""
    analyze = require("systemd-analyze")
    for unit in ("restic-monitor.service", "restic-monitor.timer"):
        (tmp_path / unit).write_text(_startable((CHECKOUT / "src" / "restic_monitor" / "units" / unit).read_text()))
    kind = "timer" if "[Timer]" in block.text else "service"
    whole = re.search(r"(?m)^(Description=|\[Install\])", block.text)
    file = tmp_path / (f"shown.{kind}" if whole else f"restic-monitor.{kind}.d/shown.conf")
    file.parent.mkdir(exist_ok=True)
    file.write_text(_startable(block.text if "[" in block.text.partition("\n")[0] else f"[Service]\n{block.text}"))
    if whole and kind == "timer":
        (tmp_path / "shown.service").write_text("[Service]\nType=oneshot\nExecStart=/bin/true\n")
    units = [tmp_path / "restic-monitor.service", tmp_path / "restic-monitor.timer", *([file] if whole else [])]
    done = subprocess.run([analyze, "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def _startable(unit: str) -> str:
    return re.sub(r"(?m)^(Exec\w+=[-@:+!]*)\S+", r"\1/bin/true", unit)


@pytest.mark.parametrize("block", [block for block in blocks(*SHELLS) if block.runs], ids=lambda block: block.where)
def test_every_block_that_is_marked_to_run_does_what_it_shows(block: Block, run: Run, tmp_path: Path) -> None:
    """In an empty home folder, with the real program; config.yaml is the last block of YAML above it on its page."""
    page, _, line = block.where.partition(":")
    above = [
        each for each in _blocks(CHECKOUT / page) if each.language == "yaml" and int(each.where.partition(":")[2]) < int(line)
    ]
    if above:
        (run.home / "config.yaml").write_text(above[-1].text)
        (run.home / "config.yaml").chmod(0o600)
    program = tmp_path / "bin" / "restic-monitor"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m restic_monitor "$@"\n')
    program.chmod(0o755)
    environment = {
        "PATH": f"{program.parent}:{require('restic').parent}:/usr/bin:/bin",
        "HOME": str(run.home),
        "LANG": "C.UTF-8",
    }

    def said(command: str) -> str:
        words = ["sh", "-eu", "-c", command]
        done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=run.home, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        return done.stdout

    if block.language != "console":
        said(block.text)
        return
    for shown in re.split(r"(?m)^\$ ", block.text)[1:]:
        command, _, output = shown.partition("\n")
        assert [_abstract(line) for line in said(command).splitlines()] == [_abstract(line) for line in output.splitlines()]


def test_the_mark_stands_before_blocks_that_can_be_run_and_nowhere_else() -> None:
    marks = sum(page.read_text().count("<!-- run") for page in PAGES)
    assert marks == sum(block.runs for block in blocks(*SHELLS)) > 0


def test_systemd_has_every_exit_status_that_the_page_on_troubles_says_it_has() -> None:
    shown = re.findall(r"status=(\d+)/(\w+)", (CHECKOUT / "docs" / "troubleshooting.md").read_text())
    listed = subprocess.run([require("systemd-analyze"), "exit-status"], capture_output=True, text=True, check=True).stdout
    assert len(shown) >= 4
    for number, name in shown:
        assert re.search(rf"(?m)^{name} +{number} ", listed), name


# exit statuses


def test_the_exit_statuses_of_the_help_are_those_of_the_readme_and_of_the_page_on_troubles(run: Run) -> None:
    text = run("--help").stdout.partition("Exit status:\n")[2]
    stated = set(re.findall(r"(?m)^ +(\d+) ", text)) | set(re.search(r"(\d+), (\d+) ended by", text).groups())  # type: ignore[union-attr]
    assert stated == {"0", "1", "2", "3", "70", "130", "143"}
    readme = table("README.md", "Exit status", 2)
    troubles = table("docs/troubleshooting.md", "Exit status", 3)
    assert {status for row in readme for status in row[0].split(", ")} == stated
    assert [row[:2] for row in troubles] == readme
    nagios = "0 OK, 1 warning or a failed push, 2 down, 3 unknown or an error"
    for place in (text, *(_flowing(CHECKOUT / page) for page in ("README.md", "docs/troubleshooting.md"))):
        assert nagios in place


def _flowing(page: Path) -> str:
    return " ".join(page.read_text().split())


# JSON


def test_the_page_on_json_has_every_field_of_a_real_run_and_no_other(run: Run, tmp_path: Path, kuma: Kuma) -> None:
    repository = make_repository(tmp_path / "backup", "0.19", [Backup(datetime.now(UTC))])
    (run.home / "config.yaml").write_text(
        f"""\
defaults: {{password: {repository.password}, push_url: "{kuma.url}/api/push/"}}
repositories:
  web-server: {{url: {repository.path}, push_token: {kuma.add_monitor()}, expect: {{web1: {{}}, web2: {{}}}}}}
  missing: {{url: {tmp_path}/nothing, push_token: unknown}}
"""
    )
    environment = {"PATH": f"{repository.restic.parent}:/usr/bin:/bin"}
    document = json.loads(run("-c", "config.yaml", "--format", "json", env=environment).stdout)
    (example,) = (json.loads(block.text) for block in blocks("json") if block.where.startswith("docs/json.md"))
    fields = {row[0].strip("`"): row[1] for row in table("docs/json.md", "The document", 3)}
    result_fields = {row[0].strip("`"): row[1] for row in table("docs/json.md", "A result", 3)}
    assert list(fields) == list(document) == list(example)
    line_fields = list(result_fields)[: list(result_fields).index("push_message") + 1]
    for result in (*document["results"], *example["results"]):
        assert list(result) == list(result_fields)
        assert all(list(line) == line_fields for line in result["lines"])
        for name, value in (pair for part in (result, *result["lines"]) for pair in part.items()):
            assert _json_type(value) in [kind.partition(" ")[0] for kind in result_fields[name].split(" or ")], name
    assert [len(result["lines"]) for result in (*document["results"], *example["results"])] == [2, 0, 1]
    for name, value in document.items():
        assert _json_type(value) == fields[name].partition(" ")[0], name
    assert [result["push"] for result in document["results"]] == ["accepted", "failed"]


def _json_type(value: object) -> str:
    return {str: "string", int: "number", float: "number", list: "list", type(None): "null"}[type(value)]


def test_the_page_on_json_has_every_code_and_every_status() -> None:
    rows = table("docs/json.md", "Codes", 3)
    assert [row[0].strip("`") for row in rows] == [str(code) for code in Code]
    status, push = (
        next(row[2] for row in table("docs/json.md", "A result", 3) if row[0] == name) for name in ("`status`", "`push`")
    )
    assert set(names(status)) == {each.name.lower() for each in Status}
    assert {"accepted", "failed", "off"} < set(names(push))


def test_the_page_on_uptime_kuma_has_every_status_and_every_first_word() -> None:
    rows = table("docs/uptime-kuma.md", "What arrives", 3)
    assert {row[0]: row[1] for row in rows} == {each.name: "down" if each.failing else "up" for each in Status}
    assert {word for row in rows for word in names(row[2])} == {str(code).upper() for code in Code}


def test_the_intervals_of_the_page_on_uptime_kuma_are_the_gap_the_longest_run_of_the_unit_and_five_minutes() -> None:
    unit = (CHECKOUT / "src" / "restic_monitor" / "units" / "restic-monitor.service").read_text()
    assert "TimeoutStartSec=10min\n" in unit
    gaps = [timedelta(minutes=15), timedelta(hours=1), timedelta(hours=6), timedelta(hours=25)]
    shown = [int(row[1]) for row in table("docs/uptime-kuma.md", "Which interval", 3)]
    assert shown == [(gap + timedelta(minutes=10 + 5)).total_seconds() for gap in gaps]


def test_the_heartbeat_to_the_outside_comes_after_a_run_that_ended_with_0_and_after_no_other() -> None:
    """By the drop-in and the file of the page, in the unit with all its protections."""
    require("curl")
    page = [block.text for block in _blocks(CHECKOUT / "docs" / "uptime-kuma.md")]
    (drop_in,), (address,) = ([text for text in page if text.startswith(begin)] for begin in ("[Service]", "url = "))
    units, kuma = CHECKOUT / "src" / "restic_monitor" / "units", Kuma(major=2)
    unit = re.sub(r"(?m)^ExecStart=.*", "ExecStart=/usr/bin/test -e /etc/told", (units / "restic-monitor.service").read_text())
    with contextlib.ExitStack() as stack:
        try:
            box = stack.enter_context(boot())
        except CannotBootError as error:
            missing("systemd", f"cannot boot a systemd: {error}")
        stack.callback(kuma.refuse)
        with box.network():
            kuma.listen()
        box.write("/etc/sysusers.d/restic-monitor.conf", (units / "restic-monitor.conf").read_text())
        box.write("/etc/systemd/system/restic-monitor.service", unit)
        box.write("/etc/systemd/system/restic-monitor.service.d/heartbeat.conf", drop_in)
        box.write("/etc/restic-monitor/config.yaml", "", 0o600)
        mine = re.sub(r'".*"', f'"{kuma.push_url(kuma.add_monitor())}"', address)
        box.write("/etc/restic-monitor/heartbeat", mine, 0o600)
        box.do("systemd-sysusers")
        box.do("systemctl", "daemon-reload")
        assert box.run("systemctl", "start", "restic-monitor").returncode == 1
        assert kuma.requests == ()
        box.write("/etc/told", "")
        box.do("systemctl", "start", "restic-monitor")
        assert [beat.status for beat in kuma.beats] == ["up"], box.journal("restic-monitor")
        kuma.refuse()
        box.do("systemctl", "start", "restic-monitor")  # a sign that does not get through is no failure


# messages


@cache
def spoken() -> tuple[str, ...]:
    """Every string of the source, with `…` for what is put into it."""
    trees = [ast.parse(file.read_text()) for file in sorted((CHECKOUT / "src").rglob("*.py"))]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant | ast.JoinedStr)]
    return tuple(_string(node) for node in nodes)


def _string(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_string(part) for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else "…"


def messages() -> list[str]:
    headings = ("about a repository", "of a listing", "about the configuration")
    sections = [("docs/troubleshooting.md", heading) for heading in (*(f"Messages {words}" for words in headings), "Notes")]
    sections += [("docs/troubleshooting.md", "A push failed"), ("docs/troubleshooting.md", "Warnings of a run")]
    sections += [("docs/listing.md", "Warnings")]
    return [message for page, heading in sections for row in table(page, heading, 2) for message in names(row[0])]


@pytest.mark.parametrize("message", messages())
def test_every_message_on_the_page_on_troubles_is_one_that_the_program_says(message: str) -> None:
    """Clause by clause: a message is put together from strings that may stand apart."""
    first, _, rest = message.partition(" ")
    clauses = [clause.strip(" (:") for clause in re.split("…|; ", rest if first in {str(c).upper() for c in Code} else message)]
    clauses = [clause for clause in clauses if len(clause) > 3 and clause not in OF_OTHERS]
    assert clauses or any(words in message for words in OF_OTHERS)
    for clause in clauses:
        assert any(clause in string for string in spoken()), clause


# commands, links, help


def commands() -> list[tuple[str, str]]:
    """(`file:line`, what stands behind restic-monitor) of every command that is shown, in blocks and in the text."""
    found = []
    for page in PAGES:
        language: str | None = None  # of the block that the line is in
        for number, line in enumerate(page.read_text().splitlines(), 1):
            if fence := re.fullmatch(r" *```(\w*)", line):
                language = fence[1] if language is None else None
            for piece in names(line) if language is None else [line] if language in SHELLS else []:
                found += [(f"{page.relative_to(CHECKOUT)}:{number}", arguments) for arguments in _arguments(piece.strip())]
    return found


def _arguments(line: str) -> list[str]:
    rests = [line[program.end() :] for program in PROGRAM.finditer(line)]
    return [re.split(" [|>&]|  +#|: ", rest)[0] for rest in rests]


def test_commands_are_found_and_what_does_not_exist_is_an_error(run: Run) -> None:
    assert len({arguments for _, arguments in commands()}) >= 10
    assert run(*with_help("--config x --bogus")).returncode == 2


def with_help(arguments: str) -> list[str]:
    """`--help` at the end of a command: options that do not exist are an error still, and nothing is done."""
    words = shlex.split(arguments)
    return [*([] if set(words) & set(cli.commands) else ["run"]), *words, "--help"]


@pytest.mark.parametrize(("where", "arguments"), commands(), ids=lambda value: value or "restic-monitor")
def test_every_command_that_is_shown_has_only_arguments_that_exist(where: str, arguments: str, run: Run) -> None:
    done = run(*with_help(arguments))
    assert done.returncode == 0, f"{where}: {done.stderr}"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command or "restic-monitor")
def test_the_help_mentions_only_what_exists(command: str, run: Run) -> None:
    text = run(*command.split(), "--help").stdout
    known = {name for each in all_commands().values() for parameter in each.params for name in parameter.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= known | {"--help", "--version"}
    for words in re.findall(r"restic-monitor ([a-z][a-z-]*(?: [a-z]+)?)", text):
        assert words in COMMANDS or words.split()[0] in COMMANDS, words
    for page in re.findall(r"\b(?:docs/)?[\w-]+\.md\b", text):
        assert (CHECKOUT / page).exists(), page


def all_commands() -> dict[str, Command]:
    below = {
        f"{name} {word}": each
        for name, group in cli.commands.items()
        if isinstance(group, Group)
        for word, each in group.commands.items()
    }
    return {**cli.commands, **below}


def test_these_are_all_commands() -> None:
    assert set(COMMANDS) == {"", *all_commands()}


def test_init_mentions_only_pages_and_keys_that_exist(run: Run) -> None:
    run("init", "--config", "new.yaml")
    text = (run.home / "new.yaml").read_text()
    for page in re.findall(r"\b(?:docs/)[\w-]+\.md\b", text):
        assert (CHECKOUT / page).exists(), page
    without_comments = re.sub(r"(?m)^( *)# (?=( *)[\w-]+:( |$))", r"\1", text)
    found = set(re.findall(r"(?m)^ *([a-z_]+):", without_comments))
    assert found <= {*keys.REPOSITORY, *keys.LISTS, *keys.MAPPINGS, *keys.TOP, *keys.SECTIONS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / unquote(path)).resolve() if path else page
        assert file.exists(), target
        assert file.is_relative_to(CHECKOUT), target
        if anchor:
            assert anchor in anchors(file), target


def anchors(page: Path) -> set[str]:
    """As GitHub makes them: small letters, punctuation out, blanks to hyphens."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_no_page_names_a_place_of_one_machine() -> None:
    for page in (*PAGES, *(CHECKOUT / "examples").glob("*")):
        assert not re.search(r"/(?:work|root|Users)/|/home/(?!alice/)", page.read_text()), page
        assert str(CHECKOUT) not in page.read_text(), page


def test_the_changelog_has_the_version_of_the_program(run: Run) -> None:
    version = run("--version").stdout.split()[1]
    assert re.search(rf"(?m)^## \[?{re.escape(version)}\b", (CHECKOUT / "CHANGELOG.md").read_text())
