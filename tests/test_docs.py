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
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
import yaml
from click import Command, Group

from conftest import Run
from kuma import Kuma
from proxy import Proxy, Seen
from restic_monitor import location
from restic_monitor.cli import cli
from restic_monitor.config import build, keys, modes, storages, ways
from restic_monitor.model import Code, Status
from restic_monitor.quantity import parse_duration
from restics import CHECKOUT, Backup, Repository, make_repository, require
from servers import S3, Rest

PAGES = (CHECKOUT / "README.md", CHECKOUT / "CHANGELOG.md", *sorted((CHECKOUT / "docs").glob("*.md")))
OF_OTHERS = {"connection refused", "tries,", "no such file or directory", "no credentials found."}
"""Said by the operating system, or put together in another way."""
COMMANDS = ("", "run", "config", "config check", "config show", "init", "completion")
SHELLS = ("sh", "console", "crontab")
PROGRAM = re.compile(r"(?<![\w/.-])(?:[~$\w/.\"-]*/)?restic-monitor\"?(?= |$)")


@dataclass(frozen=True)
class Block:
    """A block of code: its language, its text without the indentation of its fence, and `file:line` for the test's name."""

    language: str
    text: str
    where: str


def blocks(*languages: str) -> list[Block]:
    return [block for page in PAGES for block in _blocks(page) if block.language in languages]


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in re.finditer(
        r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", text, re.DOTALL | re.MULTILINE
    ):
        lines = [line.removeprefix(found["indent"]) for line in found["text"].splitlines(keepends=True)]
        line = text.count("\n", 0, found.start()) + 1
        yield Block(found["language"], "".join(lines), f"{page.relative_to(CHECKOUT)}:{line}")


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
    for credential in (value for key, value in values if key == "from_credential"):
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


def test_the_page_on_configuration_has_every_key_and_no_other() -> None:
    top = {row[0].strip("`") for row in table("docs/configuration.md", "Top level", 4)}
    repository = {row[0].strip("`") for row in table("docs/configuration.md", "Keys of a repository", 5)}
    sources = {name for row in table("docs/configuration.md", "Secrets", 2) for name in re.findall(r"`\{(\w+):", row[0])}
    assert top == {*keys.TOP, *keys.SECTIONS}
    assert repository == {*keys.REPOSITORY, *keys.LISTS, *keys.MAPPINGS}
    assert sources == set(keys.SOURCES)


def test_the_page_on_configuration_says_where_each_key_may_stand_and_of_what_type_it_is() -> None:
    types = {
        "template": "template",
        "url": "template",
        "text": "text",
        "path": "path",
        "program": "name or path",
        "boolean": "boolean",
        "duration": "duration",
        "mode": "`auto`, `fast`, `listing` or `restic`",
        "vanished": "number or share",
    }
    for name, where, kind, *_ in table("docs/configuration.md", "Keys of a repository", 5):
        if key := keys.REPOSITORY.get(name.strip("`")):
            assert (where, kind) == ("both" if key.defaults else "repository", types[key.parse.__name__]), name


def test_the_page_on_configuration_names_the_defaults_of_the_program() -> None:
    top = {row[0].strip("`"): row[2] for row in table("docs/configuration.md", "Top level", 4)}
    repository = {row[0].strip("`"): row[3] for row in table("docs/configuration.md", "Keys of a repository", 5)}
    assert parse_duration(top["timeout"]) == parse_duration(repository["timeout"]) == build.DEFAULT_TIMEOUT
    assert parse_duration(repository["max_age"]) == ways.DEFAULT_MAX_AGE
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
    assert ended[2].stdout == f"UP  web-server  {beat.msg}\n1 repository: 1 up; 1 pushed\n"
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
    return re.sub(r"\d+ tr(y|ies), \d+s", "TRIES", re.sub(r":\d+: connect", ":PORT: connect", line))


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


def test_the_policy_of_the_page_on_listing_allows_every_request_that_a_look_sends(run: Run, s3: S3) -> None:
    """And the policy allows nothing that no look sends: not one of its statements is idle."""
    (policy,) = (json.loads(block.text) for block in blocks("json") if block.where.startswith("docs/listing.md"))
    make_repository(s3.folder / "backup" / "web-server", "0.19", [Backup(datetime.now(UTC))])
    with Proxy(s3.endpoint) as proxy:
        url = replace(s3, endpoint=proxy.url).location("backup/web-server")
        (run.home / "config.yaml").write_text(f'repositories: {{web-server: {{url: "{url}", mode: listing}}}}')
        assert run("--config", "config.yaml", env=s3.env).returncode == 0
        used = {_allowed(policy, seen) for seen in proxy.seen}
    assert used == {"s3:ListBucket", "s3:GetObject"}


def _allowed(policy: Mapping[str, Any], seen: Seen) -> str:
    """The action of the statement that allows a request; AssertionError where none does."""
    path, _, query = seen.path.partition("?")
    asked = parse_qs(query)
    action = "s3:ListBucket" if "list-type" in asked else "s3:GetObject"
    resource = f"arn:aws:s3:::{path.strip('/')}"
    for statement in policy["Statement"]:
        resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        prefixes = statement.get("Condition", {}).get("StringEquals", {}).get("s3:prefix")
        there = any(fnmatchcase(resource, pattern) for pattern in resources)
        if statement["Action"] == action and there and (not prefixes or asked.get("prefix", [""])[0] in prefixes):
            assert seen.method == "GET"
            return action
    raise AssertionError(f"not allowed: {seen}")


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
  web-server: {{url: {repository.path}, push_token: {kuma.add_monitor()}}}
  missing: {{url: {tmp_path}/nothing, push_token: unknown}}
"""
    )
    environment = {"PATH": f"{repository.restic.parent}:/usr/bin:/bin"}
    document = json.loads(run("-c", "config.yaml", "--format", "json", env=environment).stdout)
    (example,) = (json.loads(block.text) for block in blocks("json") if block.where.startswith("docs/json.md"))
    fields = {row[0].strip("`"): row[1] for row in table("docs/json.md", "The document", 3)}
    result_fields = {row[0].strip("`"): row[1] for row in table("docs/json.md", "A result", 3)}
    assert list(fields) == list(document) == list(example)
    for result in (*document["results"], *example["results"]):
        assert list(result) == list(result_fields)
        for name, value in result.items():
            assert _json_type(value) in [kind.partition(" ")[0] for kind in result_fields[name].split(" or ")], name
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
                if not re.search(r"tool install|pipx", piece):
                    rests = [piece[program.end() :] for program in PROGRAM.finditer(piece)]
                    found += [(f"{page.relative_to(CHECKOUT)}:{number}", re.split(" [|>&]|  #|: ", rest)[0]) for rest in rests]
    return found


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
    for words in re.findall(r"restic-monitor ([a-z]+(?: [a-z]+)?)", text):
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
        assert not re.search(r"/(?:work|home|root|Users)/", page.read_text()), page
        assert str(CHECKOUT) not in page.read_text(), page


def test_the_changelog_has_the_version_of_the_program(run: Run) -> None:
    version = run("--version").stdout.split()[1]
    assert re.search(rf"(?m)^## \[?{re.escape(version)}\b", (CHECKOUT / "CHANGELOG.md").read_text())
