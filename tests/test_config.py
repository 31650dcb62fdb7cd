"""What a configuration means: levels, sources of values, restic's environment, and that no file makes it crash."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from configs import SEED, build, builder, problems, push_address, restic, write
from restic_monitor.checks.freshness import Freshness
from restic_monitor.config import find, reader
from restic_monitor.config.keys import EXPECTATION, EXPECTATION_LISTS, LISTS, MAPPINGS, REPOSITORY, SOURCES, TOP
from restic_monitor.errors import UsageError
from restic_monitor.model import Repository
from restic_monitor.recency import MaxAge

PASSWORD = {"RESTIC_PASSWORD": "pw"}


def environment(repository: Repository) -> dict[str, str]:
    return dict(restic(repository).environment)


def limit(repository: Repository) -> tuple[timedelta, str]:
    check = repository.watch.checks[0]
    assert isinstance(check, Freshness)
    assert isinstance(check.rule, MaxAge)
    return check.rule.limit, check.rule.shown


# the seed's example


def test_the_seeds_example_means_what_it_says(tmp_path: Path) -> None:
    repositories = build(tmp_path, SEED, PASSWORD)
    web, db = repositories["web-server"], repositories["db-server"]
    assert list(repositories) == ["web-server", "db-server"]
    assert environment(web)["RESTIC_REPOSITORY"] == "s3:https://s3.example.com/restic-web-server"
    assert push_address(web) == "https://uptime-kuma.example.com/api/push/yDaQM5YUuS3rczSvLsOucs4LqHSRDhu6"
    assert push_address(db) == "https://uptime-kuma.example.com/api/push/ap2F52Qjmup9dxyPcWa1eNt125AukcrV"
    assert (limit(web), limit(db)) == ((timedelta(days=1), "1d"), (timedelta(hours=6), "6h"))
    assert environment(web) == {
        "RESTIC_REPOSITORY": "s3:https://s3.example.com/restic-web-server",
        "RESTIC_PASSWORD": "pw",
        "AWS_ACCESS_KEY_ID": "your-key-id",
        "AWS_SECRET_ACCESS_KEY": "your-secret",
    }
    assert web.timeout == timedelta(minutes=2)


def test_the_least_that_can_be_written(tmp_path: Path) -> None:
    web = build(tmp_path, "repositories:\n  web: {url: /srv/web}\n", PASSWORD)["web"]
    assert limit(web) == (timedelta(days=1), "1d (default)")
    assert push_address(web) is None
    assert restic(web).program == "restic"
    assert restic(web).flags == ("--no-cache", "-o", "local.connections=16")


def test_a_repository_may_be_empty_or_null(tmp_path: Path) -> None:
    text = 'defaults: {url: "/srv/{{ .Name }}"}\nrepositories:\n  a: {}\n  b:\n  c: null\n  d: ~\n'
    assert [environment(each)["RESTIC_REPOSITORY"] for each in build(tmp_path, text, PASSWORD).values()] == [
        "/srv/a",
        "/srv/b",
        "/srv/c",
        "/srv/d",
    ]


# scalars

SCALARS = ["12345678", "0123", "no", "1e5", "2024-01-01", "1:30", "true", "0x1F", ".5", "1_000", "=", "<3", "y"]


@pytest.mark.parametrize("text", SCALARS)
def test_a_scalar_is_its_text_as_value_and_as_name(tmp_path: Path, text: str) -> None:
    file = f"""
defaults: {{push_url: https://kuma/api/push/}}
repositories:
  {text}:
    url: "/srv/{{{{ .Name }}}}"
    push_token: {text}
    password: {text}
    extra_env: {{A: {text}}}
    restic_options: [x.y={text}]
"""
    ((name, repository),) = build(tmp_path, file).items()
    assert (name, environment(repository)["RESTIC_REPOSITORY"]) == (text, f"/srv/{text}")
    assert environment(repository) | {"A": text, "RESTIC_PASSWORD": text} == environment(repository)
    assert f"x.y={text}" in restic(repository).flags
    address = push_address(repository)
    assert address
    assert address.startswith("https://kuma/api/push/")
    if text.isalnum():
        assert address.endswith(f"/{text}")


def test_null_means_not_set_and_the_default_stays(tmp_path: Path) -> None:
    text = """
defaults: {url: /srv, max_age: 6h, password_file: pw, restic_options: [a.b=c], extra_env: {A: a, B: b, C: c}}
repositories:
  web: {url: ~, max_age: null, password_file: , restic_options: , push_token: , extra_env: {A: null, B: ~, D: null}}
"""
    (tmp_path / "pw").write_text("secret")
    web = build(tmp_path, text)["web"]
    assert environment(web)["RESTIC_REPOSITORY"] == "/srv"
    assert limit(web)[1] == "6h"
    assert "a.b=c" in restic(web).flags
    assert environment(web) == {"RESTIC_REPOSITORY": "/srv", "RESTIC_PASSWORD_FILE": str(tmp_path / "pw"), "C": "c"}


def test_an_empty_extra_env_value_is_an_empty_value(tmp_path: Path) -> None:
    text = "defaults: {url: /srv, extra_env: {A: a}}\nrepositories: {web: {extra_env: {A: ''}}}\n"
    assert environment(build(tmp_path, text, PASSWORD)["web"])["A"] == ""


# levels


@pytest.mark.parametrize(
    ("key", "default", "own", "flags"),
    [
        ("cache_dir", "/d", "/o", ["--cache-dir", "/o", "-o", "local.connections=16"]),
        (
            "restic_options",
            "local.connections=2",
            "[a.b=c, local.connections=3]",
            ["--no-cache", "-o", "a.b=c", "-o", "local.connections=3"],
        ),
        ("insecure_tls", "yes", "false", ["--no-cache", "-o", "local.connections=16"]),
        ("insecure_tls", "no", "on", ["--insecure-tls", "--no-cache", "-o", "local.connections=16"]),
    ],
)
def test_a_key_of_the_repository_beats_its_default(tmp_path: Path, key: str, default: str, own: str, flags: list[str]) -> None:
    text = f"defaults: {{url: /srv, {key}: {default}}}\nrepositories:\n  web: {{{key}: {own}}}\n  db:\n"
    repositories = build(tmp_path, text, PASSWORD)
    assert list(restic(repositories["web"]).flags) == flags
    assert restic(repositories["db"]).flags != restic(repositories["web"]).flags


def test_every_key_may_stand_in_defaults_except_push_token(tmp_path: Path) -> None:
    for name in ("cert", "pw"):
        (tmp_path / name).write_text("x")
    values = {"url": "/srv", "max_age": "1d", "push_url": "https://kuma/", "password": "x", "password_file": "pw"}
    values |= {"password_command": "c", "restic": "restic", "cache_dir": "c", "timeout": "1m", "cacert": "cert"}
    values |= {"tls_client_cert": "cert", "restic_options": "a.b=c", "extra_env": "{A: a}"}
    values |= {"mode": "restic", "max_vanished": "50%", "schedule": "0 22 * * *", "timezone": "Europe/Berlin", "grace": "1d"}
    values |= {"lock_max_age": "1h"}
    values |= {"min_files": "1", "min_size": "1GiB", "max_shrink": "50%", "baseline": "2026-01-01", "expect": "{web: {}}"}
    values |= dict.fromkeys(("insecure_no_password", "enabled", "insecure_tls"), "true")
    assert set(values) == {*REPOSITORY, *LISTS, *MAPPINGS} - {"push_token"}
    for key, value in values.items():
        text = f"defaults: {{{key}: {value}}}\nrepositories: {{web: {{url: /srv}}}}\n"
        assert problems(tmp_path, text, PASSWORD) == [], key


def test_a_repository_called_defaults_is_a_repository(tmp_path: Path) -> None:
    text = "defaults: {url: /d}\nrepositories:\n  defaults: {push_url: https://kuma/, push_token: t}\n"
    drafted = builder(tmp_path, text, PASSWORD)
    assert push_address(drafted.repositories()[0]) == "https://kuma/api/push/t"
    assert drafted.draft.repositories[0].settings["push_token"].origin == "line 3"
    assert drafted.draft.defaults.settings["url"].origin == "defaults, line 1"


def test_time_limits_of_three_levels(tmp_path: Path) -> None:
    text = "timeout: 5m\nrepositories:\n  web: {url: /srv, timeout: 10s}\n  db: {url: /srv}\n"
    assert [each.timeout.seconds for each in build(tmp_path, text, PASSWORD).values()] == [10, 300]
    assert [each.timeout.seconds for each in build(tmp_path, f"defaults: {{timeout: 1m}}\n{text}", PASSWORD).values()] == [
        10,
        60,
    ]


def test_numbers_of_jobs_and_connections(tmp_path: Path) -> None:
    plain = builder(tmp_path, "repositories: {web: {url: /srv}}\n")
    assert (plain.jobs, plain.connections) == (os.cpu_count(), 64)
    set_ = builder(tmp_path, "jobs: 3\nconnections: 7\nrepositories: {web: {url: /srv}}\n")
    assert (set_.jobs, set_.connections) == (3, 7)


def test_a_repository_that_is_not_enabled_is_not_there(tmp_path: Path) -> None:
    text = """
defaults: {url: /srv, enabled: no, push_url: https://kuma/}
repositories:
  off: {push_token: same, password: {from_file: missing}}
  on: {enabled: yes, push_token: same}
"""
    assert list(build(tmp_path, text, PASSWORD)) == ["on"]
    with pytest.raises(UsageError, match=r"^off is not enabled; see its enabled: in .*config.yaml, or in defaults$"):
        build(tmp_path, text, PASSWORD, ["off"])


def test_named_repositories_alone_are_built_and_need_their_secrets(tmp_path: Path) -> None:
    text = """
defaults: {url: /srv, push_url: https://kuma/}
repositories:
  a: {password: x, push_token: t}
  b: {password: {from_file: missing}, push_token: {from_file: missing}}
"""
    assert list(build(tmp_path, text, names=["a"])) == ["a"]
    with pytest.raises(UsageError, match=r"^no repository is called 'c'; there are: a, b$"):
        build(tmp_path, text, names=["c"])
    text = "repositories: {web-server: {url: /srv}}\n"
    with pytest.raises(
        UsageError, match=r"^no repository is called 'webserver'; did you mean web-server\? There are: web-server$"
    ):
        build(tmp_path, text, names=["webserver"])


def test_anchors_merges_and_keys_of_ones_own(tmp_path: Path) -> None:
    text = """
x-s3: &s3
  url: "s3:https://one/{{ .Name }}"
  extra_env: &keys {B2_ACCOUNT_ID: i, B2_ACCOUNT_KEY: k}
x-anything: [1, {a: b}]
repositories:
  a: *s3
  b:
    <<: *s3
    extra_env: {<<: *keys, B2_ACCOUNT_ID: j, A: a}
"""
    repositories = build(tmp_path, text, PASSWORD)
    assert [environment(each)["RESTIC_REPOSITORY"] for each in repositories.values()] == [
        "s3:https://one/a",
        "s3:https://one/b",
    ]
    assert environment(repositories["a"])["B2_ACCOUNT_ID"] == "i"
    assert environment(repositories["b"]) | {"B2_ACCOUNT_ID": "j", "B2_ACCOUNT_KEY": "k", "A": "a"} == environment(
        repositories["b"]
    )


# templates and paths


def test_the_name_is_put_into_addresses_and_paths_and_nowhere_else(tmp_path: Path) -> None:
    text = """
defaults:
  url: "/srv/{{.Name}}"
  push_url: "https://{{ .Name }}.example.com/api/push/T"
  cache_dir: "/cache/{{ .Name }}"
  restic: "/opt/{{ .Name }}/restic"
  extra_env: {A: "{{ .Name }}", B: {from_file: "{{ .Name }}.txt"}}
repositories:
  web: {password: "{{ x"}
"""
    (tmp_path / "web.txt").write_text("{{ .Name }}\n")
    web = build(tmp_path, text)["web"]
    assert environment(web)["RESTIC_REPOSITORY"] == "/srv/web"
    assert push_address(web) == "https://web.example.com/api/push/T"
    assert restic(web).program == "/opt/web/restic"
    assert "/cache/web" in restic(web).flags
    assert environment(web) | {"A": "{{ .Name }}", "B": "{{ .Name }}", "RESTIC_PASSWORD": "{{ x"} == environment(web)


@pytest.mark.parametrize("url", ["C:\\backup\\repo", "c:/backup/repo", "\\\\server\\share", "local:C:\\x", "relative/repo"])
def test_an_address_stays_as_it_is(tmp_path: Path, url: str) -> None:
    web = build(tmp_path, f"repositories:\n  web:\n    url: {url}\n", PASSWORD)["web"]
    assert environment(web)["RESTIC_REPOSITORY"] == url


def test_paths_start_at_the_configuration_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    (tmp_path / "pw").write_text("x")
    text = "repositories: {web: {url: /srv, password_file: ./pw, cache_dir: ~/cache, restic: bin/restic}}\n"
    web = build(tmp_path, text)["web"]
    assert environment(web)["RESTIC_PASSWORD_FILE"] == str(tmp_path / "pw")
    assert restic(web).program == str(tmp_path / "bin/restic")
    assert "/home/somebody/cache" in restic(web).flags
    assert restic(build(tmp_path, text.replace("bin/restic", "restic-0.18"))["web"]).program == "restic-0.18"


# where values come from


def test_every_text_may_come_from_a_file_a_variable_or_a_credential(tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "web.token").write_text("T\r\n")
    (tmp_path / "url").write_text("/srv/{{ .Name }}\n")
    (tmp_path / "pw").write_bytes(b"\xef\xbb\xbf two words \n\n")
    text = """
repositories:
  web:
    url: {from_file: url}
    push_url: {from_env: KUMA}
    push_token: {from_credential: web.token}
    password: {from_file: pw}
    max_age: {from_env: AGE}
    restic_options: [{from_env: OPTION}]
    extra_env: {A: {from_env: AGE}}
"""
    env = {"KUMA": "https://kuma", "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"), "AGE": "6h", "OPTION": "a.b=c"}
    web = build(tmp_path, text, env)["web"]
    assert environment(web)["RESTIC_REPOSITORY"] == "/srv/web"
    assert push_address(web) == "https://kuma/api/push/T"
    assert environment(web) | {"RESTIC_PASSWORD": " two words ", "A": "6h"} == environment(web)
    assert limit(web) == (timedelta(hours=6), "6h")
    assert "a.b=c" in restic(web).flags


def test_only_what_is_needed_is_read(tmp_path: Path) -> None:
    text = """
defaults:
  url: /srv
  password: {from_file: missing}
  push_url: {from_file: missing}
  extra_env:
    A: {from_file: missing}
    B2_ACCOUNT_ID: {from_file: missing}
    B2_ACCOUNT_KEY: {from_file: missing}
    AWS_PROFILE: {from_file: missing}
repositories:
  web:
    password: own
    push_url: https://kuma/api/push/T
    extra_env: {A: own, B2_ACCOUNT_ID: null, B2_ACCOUNT_KEY: null, AWS_ACCESS_KEY_ID: i, AWS_SECRET_ACCESS_KEY: s}
  off: {enabled: false, password: {from_file: missing}}
"""
    web = build(tmp_path, text)["web"]
    assert environment(web) == {
        "RESTIC_REPOSITORY": "/srv",
        "A": "own",
        "AWS_ACCESS_KEY_ID": "i",
        "AWS_SECRET_ACCESS_KEY": "s",
        "RESTIC_PASSWORD": "own",
    }


def test_nothing_but_the_file_is_read_at_first(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # reading it would never end
    text = "repositories: {web: {url: {from_file: pipe}, password: {from_file: pipe}, push_token: {from_file: pipe}}}\n"
    drafted = builder(tmp_path, text)
    drafted.check_file()


def test_a_password_in_a_pipe_is_left_to_restic(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    web = build(tmp_path, "repositories: {web: {url: /srv, password_file: pipe}}\n")["web"]
    assert environment(web)["RESTIC_PASSWORD_FILE"] == str(tmp_path / "pipe")


# restic's environment


def test_five_layers_and_the_later_wins(tmp_path: Path) -> None:
    names = ("PROCESS", "FILE", "DEFAULTS", "OWN")
    file = tmp_path / "environment"
    file.write_text("".join(f"{name}=file\n" for name in names[1:]) + "RESTIC_PASSWORD='from the file'\nRESTIC_HOST=x\n")
    text = f"""
defaults: {{url: /srv, extra_env: {{{", ".join(f"{name}: defaults" for name in names[2:])}}}}}
repositories:
  web: {{extra_env: {{OWN: own}}}}
  db: {{extra_env: {{RESTIC_PASSWORD: extra}}}}
  key: {{extra_env: {{RESTIC_PASSWORD: extra}}, password_command: key}}
"""
    process = dict.fromkeys(names, "process") | {"RESTIC_PASSWORD_FILE": "/from/process", "RESTIC_REPOSITORY": "/x"}
    built = {each.name: each for each in builder(tmp_path, text, process, file).repositories()}
    assert environment(built["web"]) == {
        "RESTIC_REPOSITORY": "/srv",
        "PROCESS": "process",
        "FILE": "file",
        "DEFAULTS": "defaults",
        "OWN": "own",
        "RESTIC_PASSWORD": "from the file",
    }
    passwords = [{name: value for name, value in environment(each).items() if "PASS" in name} for each in built.values()]
    assert passwords[1:] == [{"RESTIC_PASSWORD": "extra"}, {"RESTIC_PASSWORD_COMMAND": "key"}]


@pytest.mark.parametrize(
    ("defaults", "own", "flags", "variables"),
    [
        ("password: d", "", [], {"RESTIC_PASSWORD": "d"}),
        ("password: d", "password_command: o", [], {"RESTIC_PASSWORD_COMMAND": "o"}),
        ("password: d", "insecure_no_password: yes", ["--insecure-no-password"], {}),
        ("insecure_no_password: yes", "", ["--insecure-no-password"], {}),
        ("insecure_no_password: yes", "password: o", [], {"RESTIC_PASSWORD": "o"}),
        ("insecure_no_password: yes", "insecure_no_password: no", [], {"RESTIC_PASSWORD": "pw"}),
        ("insecure_no_password: no", "", [], {"RESTIC_PASSWORD": "pw"}),
        ("password: d", "insecure_no_password: no", [], {"RESTIC_PASSWORD": "d"}),
        ("extra_env: {RESTIC_PASSWORD_FILE: /dev/null/x}", "password: o", [], {"RESTIC_PASSWORD": "o"}),
    ],
)
def test_one_way_to_the_password(tmp_path: Path, defaults: str, own: str, flags: list[str], variables: dict[str, str]) -> None:
    text = f"defaults: {{url: /srv, {defaults}}}\nrepositories: {{web: {{{own}}}}}\n"
    web = build(tmp_path, text, PASSWORD)["web"]
    assert [flag for flag in restic(web).flags if "password" in flag] == flags
    assert {name: value for name, value in environment(web).items() if "PASSWORD" in name} == variables
    assert not [flag for flag in restic(web).flags if flag in ("d", "o", "pw")]


@pytest.mark.parametrize(
    ("env", "key", "flags"),
    [
        ({}, "", ["--no-cache"]),
        ({"RESTIC_CACHE_DIR": "/r"}, "", []),
        ({"CACHE_DIRECTORY": "/var/cache/a:/var/cache/b"}, "", ["--cache-dir", "/var/cache/a/restic"]),
        ({"RESTIC_CACHE_DIR": "/r", "CACHE_DIRECTORY": "/c"}, "", []),
        ({"RESTIC_CACHE_DIR": "/r"}, "cache_dir: /k", ["--cache-dir", "/k"]),
        ({}, "extra_env: {RESTIC_CACHE_DIR: /e}", []),
    ],
)
def test_the_cache_is_off_unless_somebody_names_a_place(
    tmp_path: Path, env: dict[str, str], key: str, flags: list[str]
) -> None:
    web = build(tmp_path, f"repositories:\n  web: {{url: /srv, password: x, {key}}}\n", env)["web"]
    assert list(restic(web).flags[:-2]) == flags


def test_no_secret_is_in_the_shown_parts_of_a_repository(tmp_path: Path) -> None:
    text = """
repositories:
  web:
    url: rest:https://user:canary-1@host/
    push_url: https://user:canary-2@kuma/api/push/canary-3?x=canary-4
    password: canary-5
    extra_env: {AWS_SECRET_ACCESS_KEY: canary-6}
"""
    web = build(tmp_path, text)["web"]
    assert "canary" not in repr(web)
    assert "canary" not in restic(web).redact("canary-1 canary-5 canary-6")


def test_an_environment_file_may_name_the_configuration_and_it_wins(tmp_path: Path) -> None:
    file = tmp_path / "environment"
    file.write_text(f"RESTIC_MONITOR_CONFIG={tmp_path}/inner.yaml\n")
    for env, option in (({"RESTIC_MONITOR_ENVIRONMENT_FILE": str(file)}, None), ({}, str(file))):
        layers = find.environment_layers({**env, "RESTIC_MONITOR_CONFIG": "/outer.yaml"}, option)
        assert find.find(None, find.effective(layers)) == (tmp_path / "inner.yaml", "$RESTIC_MONITOR_CONFIG")


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("password: x", True),
        ("push_token: x, push_url: https://kuma/", True),
        ("push_url: https://kuma/api/push/T", True),
        ("url: rest:https://u:p@host/", True),
        ("extra_env: {AWS_SECRET_ACCESS_KEY: x}", True),
        ("password_file: x", False),
        ("password: {from_file: x}", False),
        ("push_url: https://kuma/api/push/", False),
        ("url: rest:https://u@host/", False),
        ("extra_env: {AWS_SECRET_ACCESS_KEY: {from_env: X}, AWS_DEFAULT_REGION: eu}", False),
    ],
)
def test_a_file_that_holds_secrets_itself_is_known(tmp_path: Path, key: str, secret: bool) -> None:
    assert builder(tmp_path, f"repositories: {{web: {{{key}}}}}\n").draft.literal_secrets is secret
    assert builder(tmp_path, f"defaults: {{{key}}}\nrepositories: {{web: {{}}}}\n").draft.literal_secrets is (
        secret and "push_token" not in key
    )


# whatever else stands in a file

LEAVES = st.none() | st.sampled_from(
    [
        "",
        "x",
        "1d",
        "-1",
        "no",
        "{{ .Name }}",
        "{{ x }}",
        "~nobody/x",
        "\0",
        "a.b=c",
        "https://kuma/api/push/T",
        "missing",
        "../x",
    ]
)
NAMES = st.sampled_from(
    [
        *REPOSITORY,
        *LISTS,
        *MAPPINGS,
        *EXPECTATION,
        *EXPECTATION_LISTS,
        "ignore",
        "before",
        *TOP,
        *SOURCES,
        "defaults",
        "repositories",
        "x-a",
        "",
        "nonsense",
        "RESTIC_HOST",
        "A=b",
        "web\n",
    ]
)
NODES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
BLOCKS = st.dictionaries(NAMES, NODES, max_size=5)
FILES = st.fixed_dictionaries(
    {"repositories": st.dictionaries(st.sampled_from(["web", "db", "1:30", "", "x\ty"]), BLOCKS | NODES, max_size=3) | NODES},
    optional={"defaults": BLOCKS | NODES, **dict.fromkeys(TOP, NODES), "x-a": NODES, "nonsense": NODES},
)


def yaml(node: Any) -> str:
    """YAML in braces, every text in quotes."""
    if isinstance(node, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {yaml(value)}" for key, value in node.items()) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(map(yaml, node)) + "]"
    return "~" if node is None else json.dumps(node)


@given(FILES)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example({"repositories": {"web": {key: {"from_file": "\0"} for key in REPOSITORY}}})
@example({"repositories": {"web\n": None, "password": None}})
def test_any_tree_below_the_known_keys_is_built_or_refused_with_sentences(tmp_path: Path, file: dict[str, Any]) -> None:
    for env in ({}, {"RESTIC_PASSWORD": "x", "CREDENTIALS_DIRECTORY": str(tmp_path), "A": "1d"}):
        refusal = ""
        try:
            drafted = builder(tmp_path, yaml(file), env)
            assert drafted.repositories()
            assert drafted.jobs * drafted.connections
        except UsageError as error:
            refusal = str(error)
        prefix = f"{tmp_path}/config.yaml, line "
        assert all(line.startswith(prefix) for line in refusal.splitlines()), refusal


@given(st.sampled_from([*REPOSITORY, *LISTS, *MAPPINGS]), NODES, st.booleans())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_tree_below_one_key_is_built_or_refused_with_sentences(tmp_path: Path, key: str, node: Any, default: bool) -> None:
    own = {"url": "/srv", "password": "x"}
    file = {"defaults": {key: node}, "repositories": {"web": own}} if default else {"repositories": {"web": {**own, key: node}}}
    for line in problems(tmp_path, yaml(file)):
        assert line.startswith("line 1: ")


@given(st.text(alphabet=" :-{}[]&*!|'\"#\n\tax<~\0", max_size=60))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_behind_a_good_beginning_is_built_or_refused(tmp_path: Path, text: str) -> None:
    file = write(tmp_path, f"defaults:\n  url: /srv\nrepositories:\n  web:\n    max_age: 1d{text}")
    reader.read(file)


def test_a_thousand_repositories_are_read_in_time(tmp_path: Path) -> None:
    text = SEED + "".join(f"  web-{i}: {{push_token: token-{i}, max_age: {i + 1}h}}\n" for i in range(1000))
    began = time.monotonic()
    assert len(build(tmp_path, text, PASSWORD)) == 1002
    assert time.monotonic() - began < 10
