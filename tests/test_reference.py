"""What is made from the code is current, complete, and fit for those who read it: people, man, shells, editors."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from click import Group
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from conftest import Run
from restic_monitor import environment
from restic_monitor.cli import cli
from restic_monitor.commands import reference
from restic_monitor.config import keys, kinds, reader
from restic_monitor.config.keys import Context, Key
from restic_monitor.config.schema import schema
from restic_monitor.model import Code, Status
from restics import CHECKOUT, require
from test_config_errors import CASES
from test_docs import examples, table

MANUAL = CHECKOUT / "man" / "restic-monitor.1"
SHELLS = ("bash", "zsh", "fish")
SOURCE = sorted((CHECKOUT / "src").rglob("*.py"))


def test_what_is_made_from_the_code_is_current() -> None:
    """After a change: script/reference."""
    locked = re.search(r"(?m)^click==(\S+)", (CHECKOUT / "requirements-dev.txt").read_text())
    assert locked
    if importlib.metadata.version("click") != locked[1]:
        pytest.skip(f"completion scripts are click's, and this is not click {locked[1]}")
    done = subprocess.run(
        [sys.executable, CHECKOUT / "script" / "reference.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


# the reference


def test_the_exit_statuses_of_the_reference_are_those_of_the_readme_and_of_the_help() -> None:
    assert table("README.md", "Exit status", 2) == list(reference.EXIT_STATUSES)
    stated = {number for row in reference.EXIT_STATUSES for number in row.numbers.split(", ")}
    assert set(re.findall(r"\d+", str(cli.epilog).partition("With --format")[0])) == stated
    assert reference.EXCEPTIONS["run --format nagios"] in str(cli.epilog)


def test_the_commands_with_exit_statuses_of_their_own_exist(run: Run) -> None:
    for command in reference.EXCEPTIONS:
        done = run(*command.split(), "--help")
        assert done.returncode == 0, done.stderr


def test_every_variable_that_the_program_reads_is_in_the_reference_and_no_other() -> None:
    told = {name for row in (*reference.VARIABLES, *reference.OF_RESTIC) for name in row.names}
    proxies = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}  # put together when they are read
    by_click = {"_RESTIC_MONITOR_COMPLETE"}
    passed_on = {name for group in environment.GROUPS for name in group}
    read = set(variables())
    assert read - told - passed_on == set()
    assert told - read - proxies - by_click - set(environment.REFUSED) == set()


def variables() -> Iterator[str]:
    """Every string of the source that is in capitals: with an underscore, or looked up (`get("HOME")`). Not what is set for
    others (names in a dictionary), nor what is Python's (getattr(os, "O_NONBLOCK"))."""
    for file in SOURCE:
        nodes = list(ast.walk(ast.parse(file.read_text())))
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        looked_up = {id(argument) for call in calls for argument in call.args if ast.unparse(call.func).endswith(".get")}
        others = {id(argument) for call in calls for argument in call.args if ast.unparse(call.func) == "getattr"}
        others |= {id(name) for node in nodes if isinstance(node, ast.Dict) for name in node.keys}
        for node in nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in others:
                pattern = r"_?[A-Z][A-Z0-9_]*" if id(node) in looked_up else r"_?[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+"
                if re.fullmatch(pattern, node.value):
                    yield node.value


def test_every_code_is_in_the_reference_with_each_status_that_the_program_gives_it() -> None:
    assert list(reference.CODES) == list(Code)
    told = {(code, status) for code, meaning in reference.CODES.items() for status in meaning.statuses}
    assert set(given_statuses()) == told
    rows = table("docs/reference.md", "Message codes", 5)
    assert [row[1].strip("`") for row in rows] == [str(code) for code in Code]
    assert all(row[3] and row[4] for row in rows)


def given_statuses() -> Iterator[tuple[Code, Status]]:
    """Status and code that stand side by side in the source. A code alone is that of a look that failed: UNKNOWN."""
    for file in SOURCE:
        for node in ast.walk(ast.parse(file.read_text())):
            if file.parent.name != "commands" and isinstance(node, ast.Call | ast.Tuple):
                words = [ast.unparse(each) for each in ast.iter_child_nodes(node)]
                statuses = [status for status in Status if f"Status.{status.name}" in words]
                for code in (code for code in Code if f"Code.{code.name}" in words):
                    yield from ((code, status) for status in statuses or [Status.UNKNOWN])


# the man page


@pytest.mark.parametrize(
    "command",
    [
        ["groff", "-man", "-ww", "-Tutf8", "-z"],
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"],
        ["mandoc", "-Tlint"],
    ],
    ids=lambda command: command[0],
)
def test_the_man_page_has_no_warnings(command: list[str]) -> None:
    done = subprocess.run([require(command[0]), *command[1:], MANUAL], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert command[0] != "mandoc" or done.stdout == ""


def test_the_man_page_has_a_name_that_apropos_finds() -> None:
    done = subprocess.run([require("lexgrog"), MANUAL], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count('"restic-monitor - look at restic repositories')) == (0, 1)


def test_the_man_page_has_every_command_option_key_status_and_variable() -> None:
    text = re.sub(r"\\f[BIR]", "", MANUAL.read_text()).replace("\\-", "-")
    for name, command in commands(cli):
        assert f".SS restic-monitor {name}\n" in text
        for parameter in command.params:
            assert parameter.param_type_name == "argument" or f"{', '.join(parameter.opts)}" in text, parameter
    for name in (*keys.TOP, *keys.REPOSITORY, *keys.LISTS, *keys.MAPPINGS, *keys.ALL_EXPECTATION, *keys.ALL_IGNORED):
        assert re.search(rf"(?m)^{name} \(", text), name
    terms = [*(row.numbers for row in reference.EXIT_STATUSES), *(", ".join(row.names) for row in reference.VARIABLES)]
    for term in terms:
        assert f".TP\n{term}\n" in text, term


def commands(group: Group, above: str = "") -> Iterator[tuple[str, Any]]:
    for word, command in group.commands.items():
        name = f"{above} {word}".strip()
        yield from commands(command, name) if isinstance(command, Group) else [(name, command)]


def test_the_man_page_is_dated_by_the_changelog() -> None:
    dated = re.search(r'(?m)^\.TH RESTIC\\-MONITOR 1 "([\d-]+)" "restic-monitor (\S+)"', MANUAL.read_text())
    assert dated
    assert re.search(rf"(?m)^## \[?{re.escape(dated[2])}\]? - {dated[1]}$", (CHECKOUT / "CHANGELOG.md").read_text())


# completions


@pytest.mark.parametrize("shell", SHELLS)
def test_the_completion_of_a_shell_can_be_read_by_it(shell: str) -> None:
    file = CHECKOUT / "completions" / f"restic-monitor.{shell}"
    done = subprocess.run([require(shell), "-n", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# the schema


class Core(yaml.SafeLoader):
    """YAML 1.2's core schema, which editors read with: true, 0x1F, 1e5 and null are no text; no, 1:30 and dates are.

    Source: https://yaml.org/spec/1.2.2/#103-core-schema
    """

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012

    def number(self, node: yaml.ScalarNode) -> float:
        text = node.value.lower().replace(".inf", "inf")
        if re.fullmatch(r"[-+]?[0-9]+", text):
            return int(text)
        return int(text, 0) if text.startswith(("0x", "0o")) else float(text)


NUMBER = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?\.(?:inf|Inf|INF)"
Core.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
Core.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), [*"tTfF"])
Core.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(rf"(?:{NUMBER})\Z"), [*"-+.0123456789"])
Core.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"<<\Z"), ["<"])
Core.add_constructor("tag:yaml.org,2002:float", Core.number)


def load(text: str) -> object:
    return with_names(yaml.load(text, Core))


def with_names(node: object) -> object:
    """Names are text, as in JSON."""
    if isinstance(node, dict):
        return {key if isinstance(key, str) else json.dumps(key): with_names(value) for key, value in node.items()}
    return [with_names(item) for item in node] if isinstance(node, list) else node


OF_EXPECTATIONS = (
    *keys.EXPECTATION.values(),
    *keys.EXPECTATION_LISTS.values(),
    keys.IGNORE,
    *keys.IGNORED.values(),
    *keys.IGNORED_LISTS.values(),
)


@cache
def validator() -> Draft202012Validator:
    return Draft202012Validator(schema())


def refusals(text: str) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator().iter_errors(load(text))]


def problems_of_the_file(folder: Path, text: str) -> dict[Any, Any]:
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    return dict(reader.read(folder / "config.yaml").problems.found)


def test_the_command_prints_the_schema_and_it_is_one(run: Run) -> None:
    done = run("config", "schema")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == schema()
    Draft202012Validator.check_schema(schema())


def test_the_schema_describes_every_key_and_gives_its_default() -> None:
    def described(node: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if isinstance(node, dict):
            yield from node.get("properties", {}).items()
            for below in node.values():
                yield from described(below)

    found = list(described(schema()))
    assert {name for name, _ in found} == {
        *keys.TOP,
        *keys.SECTIONS,
        *keys.REPOSITORY,
        *keys.LISTS,
        *keys.MAPPINGS,
        *keys.ALL_EXPECTATION,
        *keys.ALL_IGNORED,
        *keys.SOURCES,
    }
    for name, made in found:
        assert made["description"], name
        assert not re.search(r"\]\(", made["description"]), name
    repository = schema()["$defs"]["repository"]["properties"]
    assert {name: made["default"] for name, made in repository.items() if "default" in made} == {
        "max_age": "1d",
        "timezone": "UTC",
        "grace": "4h",
        "mode": "auto",
        "max_vanished": "off",
        "lock_max_age": "30m",
        "min_files": 0,
        "min_size": "off",
        "max_shrink": "off",
        "insecure_no_password": False,
        "restic": "restic",
        "timeout": "2m",
        "enabled": True,
        "insecure_tls": False,
    }


def test_every_default_is_one_that_its_key_takes() -> None:
    for key in (*keys.REPOSITORY.values(), *keys.TOP.values(), *OF_EXPECTATIONS):
        assert bool(key.default) != bool(key.without), key.name
        assert not key.default or key.value(key.default, Context("web", Path("/"))) is not None


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.where)
def test_every_configuration_that_is_shown_passes_the_schema(example: Any) -> None:
    assert refusals(example.text) == []


@pytest.mark.parametrize("case", [case for cases in CASES.values() for case in cases], ids=lambda case: case.mistake)
def test_a_file_without_a_mistake_of_its_own_passes_the_schema(case: Any, tmp_path: Path) -> None:
    """Its mistakes are outside of it: a file that is missing, a variable that is not set."""
    if not problems_of_the_file(tmp_path, case.file):
        assert refusals(case.file) == []


WEB = "repositories:\n  web:\n    url: /srv\n    "
EXPECT = f"{WEB}expect:\n      a: "
FINE = {
    "plain values that YAML takes for something else": f"{WEB}push_token: 0123\n    password: true\n    cache_dir: 5\n"
    "    extra_env: {A: 1, B: 1.5, C: no, D: 2024-01-01, E: ~, F: '', G: .inf}",
    "a repository called true, 1 and no": "defaults: {url: /srv}\nrepositories: {true: , 1: {}, no: ~, 1.5: }",
    "nothing is not set": f"{WEB}max_age:\n    mode: ~\n    enabled: null\n    restic_options:\n    extra_env:",
    "anchors": "x-a: &a {url: /srv, extra_env: {A: b}}\nx-b: [1, {c: d}]\nrepositories: {web: *a, db: {<<: *a, max_age: 6h}}",
    "one option without a list": f"{WEB}restic_options: a.b=c=d",
    "options from elsewhere": f"{WEB}restic_options: ['a.b=', {{from_env: A}}, ~]",
    "the path of a credential": f"{WEB}cacert: {{credential_path: ca.pem}}\n    extra_env: {{A: {{credential_path: a:b@c}}}}\n"
    "    restic_options: ['sftp.args=-i {credential_path: ssh-key}']",
    "a duration from a file": f"{WEB}max_age: {{from_file: '~/{{{{ .Name }}}}'}}\n    max_vanished: {{from_env: 5}}",
    "numbers in quotes": f"jobs: '8'\nconnections: 010\n{WEB}max_vanished: ' 50 %'",
    "capitals": f"{WEB}mode: FAST\n    enabled: Yes\n    max_vanished: OFF\n    insecure_tls: 'On'",
    "expectations that are hosts": f"{EXPECT}{{}}\n      b: ~\n      1: \n      'c d/e': {{host: ''}}\n      f: {{host: 5}}",
    "an expectation with everything": f"{EXPECT}{{host: b, paths: [/c, 1], tags: d, schedule: '0 22 * * MON-FRI', grace: 1h, "
    "timezone: Europe/Berlin, min_files: 5, min_size: 1.5 GiB, max_shrink: ' 5 %', baseline: 2026-01-01, push_token: 1}",
    "groups": f"{EXPECT}{{group_by: [host, tags], ignore: [{{host: a*, tags: []}}, {{before: '2026-01-01T00:00:00Z'}}]}}",
    "limits that are off": f"{WEB}min_files: off\n    min_size: OFF\n    max_shrink: OFF\n    baseline:",
    "a size in bytes": f"{WEB}min_size: 1048576\n    min_files: '007'",
    "expectations from elsewhere": f"{EXPECT}{{host: {{from_env: A}}, paths: [{{from_file: b}}], min_size: {{from_env: C}}}}",
    "switches as YAML 1.1 has them": f"{WEB}enabled: on\n    insecure_tls: no\n    insecure_no_password: 'yes'",
}


@pytest.mark.parametrize("name", FINE)
def test_what_the_program_takes_passes_the_schema(name: str, tmp_path: Path) -> None:
    assert problems_of_the_file(tmp_path, FINE[name]) == {}
    assert refusals(FINE[name]) == []


MISTAKES = {
    "a typo": f"{WEB}push_tokn: a",
    "a typo at the top": f"job: 4\n{WEB}",
    "a typo in defaults": f"defaults: {{maxage: 1d}}\n{WEB}",
    "a key at the wrong level": f"max_age: 1d\n{WEB}",
    "jobs in a repository": f"{WEB}jobs: 4",
    "an anchor elsewhere than on top": f"{WEB}x-a: b",
    "a push_token for all": f"defaults: {{push_token: a}}\n{WEB}",
    "no repositories": "defaults: {url: /srv}",
    "repositories without any": "repositories: {}",
    "repositories that are nothing": "repositories:",
    "a list of repositories": "repositories: [web]",
    "an address for a repository": "repositories: {web: /srv}",
    "a list for the file": "[a]",
    "an empty address": "repositories: {web: {url: ''}}",
    "an address with ~": "repositories: {web: {url: ~/restic}}",
    "a list of addresses": "repositories: {web: {url: [a, b]}}",
    "another template": f"{WEB}cache_dir: '/{{{{ .name }}}}'",
    "a template without end": f"{WEB}push_url: 'https://kuma/{{{{ .Name }}'",
    "a number for a duration": f"{WEB}max_age: 24",
    "days spelled out": f"{WEB}max_age: 1day",
    "hours in capitals": f"{WEB}max_age: 6H",
    "a unit twice": f"{WEB}max_age: 1h2h",
    "a duration below zero": f"{WEB}max_age: -1d",
    "no time at all": f"{WEB}timeout: 0s",
    "a duration from two places": f"{WEB}max_age: {{from_file: a, from_env: b}}",
    "no mode": f"{WEB}mode: quick",
    "a switch for a mode": f"{WEB}mode: true",
    "a mode from elsewhere": f"{WEB}mode: {{from_env: MODE}}",
    "no switch": f"{WEB}enabled: maybe",
    "a number for a switch": f"{WEB}enabled: 1",
    "no number": f"{WEB}max_vanished: many",
    "more than all": f"{WEB}max_vanished: 101%",
    "days of the month in words": f"{WEB}schedule: daily",
    "a schedule by its name": f"{WEB}schedule: '@daily'",
    "six fields": f"{WEB}schedule: 0 0 22 * * *",
    "a list of time zones": f"{WEB}timezone: [UTC]",
    "half a file": f"{WEB}min_files: '1.5'",
    "less than no file": f"{WEB}min_files: -1",
    "a size in gigs": f"{WEB}min_size: 5G",
    "no size": f"{WEB}min_size: big",
    "all may be gone": f"{WEB}max_shrink: 100%",
    "a share without its sign": f"{WEB}max_shrink: 50",
    "a day as people say it": f"{WEB}baseline: 31.12.2026",
    "a moment without a time zone": f"{WEB}baseline: 2026-01-01T00:00:00",
    "expectations without any": f"{WEB}expect: {{}}",
    "a list of expectations": f"{WEB}expect: [a]",
    "an expectation that is a word": f"{EXPECT}b",
    "an expectation without a name": f"{WEB}expect: {{'': {{}}}}",
    "a typo in an expectation": f"{EXPECT}{{hots: b}}",
    "a key of a repository in an expectation": f"{EXPECT}{{password: b}}",
    "a key of an expectation in a repository": f"{WEB}host: a",
    "a tag with a comma": f"{EXPECT}{{tags: 'b,c'}}",
    "an empty path": f"{EXPECT}{{paths: ['']}}",
    "grouped by what is not there": f"{EXPECT}{{group_by: [hosts]}}",
    "groups from elsewhere": f"{EXPECT}{{group_by: {{from_env: A}}}}",
    "one group that is ignored, without a list": f"{EXPECT}{{group_by: host, ignore: {{host: a}}}}",
    "all groups ignored": f"{EXPECT}{{group_by: host, ignore: [{{}}]}}",
    "a typo in an ignored group": f"{EXPECT}{{group_by: host, ignore: [{{hots: a}}]}}",
    "too many jobs": f"jobs: 10001\n{WEB}",
    "no jobs": f"jobs: 0\n{WEB}",
    "half a job": f"jobs: 1.5\n{WEB}",
    "jobs in words": f"jobs: all\n{WEB}",
    "jobs from elsewhere": f"jobs: {{from_env: JOBS}}\n{WEB}",
    "an option without a value": f"{WEB}restic_options: [s3.region]",
    "a flag for an option": f"{WEB}restic_options: -o s3.region=eu",
    "options with keys": f"{WEB}restic_options: {{s3.region: eu}}",
    "an unknown source": f"{WEB}password: {{from_vault: a}}",
    "no source": f"{WEB}password: {{}}",
    "a source of nothing": f"{WEB}password: {{from_file: }}",
    "a path for a credential": f"{WEB}password: {{from_credential: ../a}}",
    "the path of a credential for a password": f"{WEB}password: {{credential_path: a}}",
    "a list for extra_env": f"{WEB}extra_env: [A=b]",
    "no name of a variable": f"{WEB}extra_env: {{A B: c}}",
    "the repository in extra_env": f"{WEB}extra_env: {{RESTIC_REPOSITORY: /srv}}",
    "our own in extra_env": f"{WEB}extra_env: {{RESTIC_MONITOR_FAST: yes}}",
    "a NUL": f'{WEB}password: "a\\0b"',
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_refused_by_the_program_and_by_the_schema(name: str, tmp_path: Path) -> None:
    assert problems_of_the_file(tmp_path, MISTAKES[name])
    assert refusals(MISTAKES[name])


PIECES: dict[object, list[str]] = {
    keys.duration: ["1w", "6h", "26h", ".5d", "1.5m", "0s", "0.50m", "3d", "5", "h", "1H", "-", " "],
    keys.vanished: ["0", "5", "50", "100", "%", " ", "off", "OFF", "-", "1e3"],
    keys.count: ["0", "1", "8", "64", "10000", " ", "+", "-", "."],
    keys.boolean: ["true", "True", "yes", "ON", "off", "no", "1", "0"],
    keys.mode: ["auto", "Fast", "LISTING", "restic", "x"],
    kinds.schedule: ["0", "22", "*", " ", "  ", "1-5", "MON", "@", "/2", "L", "\t", "61"],
    kinds.zone: ["Europe", "/", "Berlin", "UTC", " ", "..", "Etc"],
    kinds.number: ["0", "7", "1000", "-", " ", ".", "+"],
    kinds.size: ["0", "1.5", "500", "GiB", "MB", "KB", "B", "k", " ", ".", "-", "PiB"],
    kinds.shrinkage: ["0", "5", "50", "100", "%", " ", "off", "OFF"],
    kinds.moment: ["2026-01-31", "T", "t", " ", "22:00", ":59", ".5", "Z", "z", "+01:00", "-", "x"],
    kinds.tag: ["a", ",", " ", "ä", "\n"],
    kinds.group: ["host", "paths", "tags", ",", " "],
    keys.option: ["a", ".", "=", "-", "s3.region", " ", "{", "\n", "ä"],
}
KEYS = (*keys.TOP.values(), *keys.REPOSITORY.values(), *keys.LISTS.values(), *keys.MAPPINGS.values(), *OF_EXPECTATIONS)
BRACES = ["{", "{{", "}", "}}", " ", "- ", " -", "-", ".Name", '"{{"', '"}}"', "~", "/", "a", "ä", "\n", "\t", "{{ .Name }}"]


def written(key: Key) -> st.SearchStrategy[str]:
    """Texts near what a key takes."""
    return st.lists(st.sampled_from(PIECES.get(key.parse, BRACES)), max_size=8).map("".join)


def placed(key: Key, value: object) -> dict[str, object]:
    """Where it may stand in a repository."""
    if key in (*keys.IGNORED.values(), *keys.IGNORED_LISTS.values()):
        return {"expect": {"a": {"group_by": "host", "ignore": [{key.name: value}]}}}
    return {"expect": {"a": {key.name: value}}} if key in OF_EXPECTATIONS else {key.name: value}


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
@given(data=st.data())
def test_the_schema_refuses_no_value_that_the_program_takes(key: Key, data: st.DataObject) -> None:
    """In quotes, and plain where YAML makes of it what the program does: one text."""
    text = data.draw(written(key))
    try:
        key.value(text, Context("web", Path("/")))
    except ValueError:
        return
    made = {"A": text} if key.name == "extra_env" else text
    block = {"url": "/srv"} | (placed(key, made) if key not in keys.TOP.values() else {})
    document = {"repositories": {"web": block}} | ({key.name: text} if key in keys.TOP.values() else {})
    assert [error.message for error in validator().iter_errors(document)] == []
    if re.fullmatch(r"[\w.%]+", text):
        assert refusals(yaml.safe_dump(document).replace("'", "")) == []
