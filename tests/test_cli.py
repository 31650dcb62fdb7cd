"""Arguments, exit statuses, help and completion."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

from conftest import Run
from desk import EMPTY, FRESH, FUTURE, STALE, WRONG_PASSWORD, Desk
from kuma import Kuma
from restic_monitor import __version__
from restic_monitor.cli import arrange, cli
from restics import require


@pytest.fixture
def desk(run: Run) -> Desk:
    return Desk(run)


# options before and after the command

GROUP = cli
assert isinstance(GROUP, click.Group)


@pytest.mark.parametrize(
    ("given", "arranged"),
    [
        ("", "run"),
        ("--format json", "run --format json"),
        ("run --format json", "run --format json"),
        ("--format json run web", "run --format json web"),
        ("--format=json run", "run --format=json"),
        ("-c x", "run -c x"),
        ("-c run", "run -c run"),
        ("-c x run", "run -c x"),
        ("run -c x", "run -c x"),
        ("-cx run", "run -cx"),
        ("-qc x run", "run -qc x"),
        ("-vvc x config show", "config show -vvc x"),
        ("-cv x", "x -cv"),
        ("-config x", "run --config x"),
        ("-config=x", "run --config=x"),
        ("run -config x", "run --config x"),
        ("config check -config=x", "config check --config=x"),
        ("-c x config check", "config check -c x"),
        ("config -c x check", "config check -c x"),
        ("-v config -c x check --no-network", "config check -v -c x --no-network"),
        ("-v init", "init -v"),
        ("--no-push run web db", "run --no-push web db"),
        ("run -- -odd", "run -- -odd"),
        ("-c x run -- -odd", "run -c x -- -odd"),
        ("run web -- --format", "run web -- --format"),
        ("--help", "--help"),
        ("-h", "--help"),
        ("-c x --help", "--help"),
        ("--help run", "run --help"),
        ("--help config check", "config check --help"),
        ("--version", "--version"),
        ("-v --version run", "--version"),
        ("completion bash", "completion bash"),
        ("-c x web", "web -c x"),
    ],
)
def test_options_may_stand_before_or_after_the_command(given: str, arranged: str) -> None:
    assert arrange(given.split(), GROUP) == arranged.split()


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "CONFIG", "--format", "json"],
        ["-c", "CONFIG", "run", "--format", "json"],
        ["run", "--format=json", "-c", "CONFIG"],
        ["--format", "json", "run", "-config", "CONFIG"],
        ["-config=CONFIG", "--format", "json", "run", "web", "db"],
        ["--config=CONFIG", "--format", "json", "run", "--", "web", "db"],
        ["-vc", "CONFIG", "--format", "json"],
    ],
)
def test_every_spelling_runs_the_same(desk: Desk, run: Run, arguments: Sequence[str]) -> None:
    desk.configure({"web": FRESH, "db": FRESH})
    done = run(*(argument.replace("CONFIG", str(desk.config)) for argument in arguments))
    assert done.returncode == 0, done.stderr
    assert [each["name"] for each in json.loads(done.stdout)["results"]] == ["web", "db"]


def test_the_configuration_may_be_named_before_the_words_config_check(desk: Desk, run: Run) -> None:
    desk.configure({"web": FRESH})
    for arguments in ("-c CONFIG config check", "config -c CONFIG check"):
        done = run(*arguments.replace("CONFIG", str(desk.config)).split())
        assert done.returncode == 0, done.stderr
        assert "reach    ok       web: 1 snapshot" in done.stdout


# names


def test_names_select_repositories_in_configuration_order(desk: Desk, kuma: Kuma) -> None:
    desk.configure({"web": FRESH, "db": STALE, "nas": FRESH}, {"db": kuma.add_monitor()}, kuma.url)
    done = desk("run", "nas", "web", "nas")
    assert (done.returncode, [line.split()[1] for line in done.stdout.splitlines()[:-1]]) == (0, ["web", "nas"])
    assert not kuma.requests


def test_a_name_may_begin_with_a_dash_behind_two(desk: Desk) -> None:
    desk.configure({"-odd": FRESH, "web": STALE})
    assert desk("run", "--", "-odd").returncode == 0


def test_an_unknown_name_is_a_usage_error_that_lists_the_names(desk: Desk, kuma: Kuma) -> None:
    desk.configure({"web": FRESH, "db": FRESH}, {"web": kuma.add_monitor()}, kuma.url)
    done = desk("run", "wbe", "db")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "restic-monitor: no repository is called 'wbe'; did you mean web? There are: web, db\n"
    assert not kuma.requests


def test_a_name_without_run_is_told_how_to_say_it(desk: Desk) -> None:
    desk.configure({"web": FRESH})
    done = desk("web")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no command is called 'web'; to look at one repository: restic-monitor run web" in done.stderr


# exit statuses


@pytest.mark.parametrize(
    ("script", "token", "status", "plugin", "told"),
    [
        (FRESH, "good", 0, 0, 0),
        (FRESH, None, 0, 0, 0),
        (FUTURE, "good", 0, 1, 0),
        (STALE, "good", 1, 2, 0),
        (EMPTY, None, 1, 2, 3),
        (WRONG_PASSWORD, "good", 1, 3, 0),
        (WRONG_PASSWORD, None, 1, 3, 3),
        (FRESH, "bad", 3, 1, 3),
        (FUTURE, "bad", 3, 1, 3),
        (STALE, "bad", 3, 2, 3),
        (WRONG_PASSWORD, "bad", 3, 3, 3),
    ],
)
def test_the_exit_status_says_how_it_went(
    desk: Desk, kuma: Kuma, script: str, token: str | None, status: int, plugin: int, told: int
) -> None:
    good = kuma.add_monitor()
    tokens = {"web": {"good": good, "bad": "bad"}[token]} if token else {}
    desk.configure({"web": script, "well": FRESH}, tokens, kuma.url)
    assert desk().returncode == status
    assert desk("--format", "nagios").returncode == plugin
    assert desk("--ok-when-told").returncode == told


def test_who_is_told_of_nothing_is_named(desk: Desk) -> None:
    desk.configure({"web": STALE, "well": FRESH, "db": EMPTY})
    done = desk("--ok-when-told")
    assert (done.returncode, done.stderr) == (
        3,
        "restic-monitor: error: nobody is told of web, db: no push_url or push_token\n",
    )


def test_a_configuration_error_is_2_whoever_is_to_be_told(desk: Desk) -> None:
    desk.configure({"web": STALE}, repositories={"web": {"nonsense": 1}})
    assert desk("--ok-when-told").returncode == 2


@pytest.mark.parametrize("other", [["--no-push"], ["--format", "nagios"]])
def test_two_meanings_of_the_exit_status_exclude_each_other(desk: Desk, other: Sequence[str]) -> None:
    desk.configure({"web": STALE})
    done = desk("--ok-when-told", *other)
    assert done.returncode == (3 if "nagios" in other else 2)
    assert f"--ok-when-told and {' '.join(other)} exclude each other" in done.stderr


@pytest.mark.parametrize("options", [["-q"], ["--format", "json"], ["--only-failing"], ["-vv"]])
def test_no_option_of_showing_changes_the_exit_status(desk: Desk, kuma: Kuma, options: Sequence[str]) -> None:
    desk.configure({"web": STALE}, {"web": "bad"}, kuma.url)
    assert desk(*options).returncode == 3
    assert desk("--no-push", *options).returncode == 1


@pytest.mark.parametrize("arguments", [["--nonsense"], ["run", "nobody"], ["--format", "xml"], ["config", "nope"], ["nope"]])
def test_wrong_usage_is_2_and_looks_at_nothing(desk: Desk, kuma: Kuma, arguments: Sequence[str]) -> None:
    desk.configure({"web": FRESH}, {"web": kuma.add_monitor()}, kuma.url)
    done = desk(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
    assert not kuma.requests


@pytest.mark.parametrize(
    "arguments",
    [
        ["--format", "nagios", "--nonsense"],
        ["--nonsense", "--format=nagios"],
        ["run", "--format", "nagios", "nobody"],
        ["--format", "nagios", "--only-failing", "nope"],
        ["--format", "nagios", "-c", "/nonexistent"],
    ],
)
def test_a_plugin_says_unknown_for_every_error_and_says_it_on_standard_output(desk: Desk, arguments: Sequence[str]) -> None:
    desk.configure({"web": FRESH})
    done = desk(*arguments)
    assert done.returncode == 3
    assert re.fullmatch(r"RESTIC UNKNOWN - .+\n", done.stdout)
    assert done.stderr


def test_a_plugin_says_unknown_for_a_wrong_configuration(desk: Desk, run: Run) -> None:
    desk.config.write_text("repositories: {web: {urll: a|b, tokn: x}}\n")
    done = desk("--format", "nagios")
    assert done.returncode == 3
    assert re.fullmatch(r"RESTIC UNKNOWN - .*config.yaml, line 1: .*urll.*\n", done.stdout)
    assert "|" not in done.stdout
    assert run("--format", "nagios").returncode == 3, "no configuration at all"


def test_a_configuration_error_is_2(desk: Desk, run: Run) -> None:
    desk.config.write_text("repositories: {}\n")
    assert desk().returncode == 2
    assert run().returncode == 2
    assert desk("-c", "/nonexistent").returncode == 2


def test_an_internal_error_is_70_shows_where_and_not_what(desk: Desk) -> None:
    """`BrokenModule` stands for a bug: an installation whose freshness check fails, with a secret in the exception."""
    desk.configure({"web": FRESH, "db": FRESH})
    for broken, where in (("checks.freshness", "Freshness.judge"), ("commands.run", "run")):
        site = desk.folder / broken
        site.mkdir()
        (site / "sitecustomize.py").write_text(BROKEN.format(module=f"restic_monitor.{broken}", where=where))
        done = desk(env={"PYTHONPATH": str(site)})
        assert done.returncode == 70, done.stderr
        assert "internal error: ZeroDivisionError" in done.stderr
        assert "please report it" in done.stderr
        assert "canary" not in done.stdout + done.stderr
        quiet = desk("-q", env={"PYTHONPATH": str(site)})
        assert quiet.returncode == 70
        assert "internal error" in quiet.stderr
        assert desk("--format", "nagios", env={"PYTHONPATH": str(site)}).returncode == 3


BROKEN = """
import importlib, importlib.abc, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "{module}":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module
        def exec_module(module):
            execute(module)
            def fail(*arguments, **options):
                raise ZeroDivisionError("canary")
            holder = module
            *path, last = "{where}".split(".")
            for part in path:
                holder = getattr(holder, part)
            setattr(holder, last, fail)
        spec.loader.exec_module = exec_module
        return spec

import importlib.util
sys.meta_path.insert(0, Finder())
"""


# help and version


def test_python_m_is_the_program(run: Run) -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"restic-monitor {__version__}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["run", "--help"], ["-c", "nonexistent", "--help"]])
def test_help_names_the_options_and_the_exit_statuses(run: Run, arguments: Sequence[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("--config", "--format", "--no-push", "--only-failing", "-v", "-q", "Exit status:", "130, 143", "nagios"):
        assert word in done.stdout, word


def test_the_help_of_the_program_lists_the_commands(run: Run) -> None:
    done = run("--help")
    for command in ("run", "config", "groups", "suggest", "init", "install-units", "completion"):
        assert re.search(rf"^  {command} +\w", done.stdout, re.MULTILINE), command


# completion


def complete(run: Run, words: str, shell: str = "bash", env: dict[str, str] | None = None) -> list[str]:
    """What is offered for the last of `words`, "" when they end with a blank; by click's protocol."""
    parts = words.split(" ")
    typed = {"COMP_WORDS": words, "COMP_CWORD": str(len(parts) - 1) if shell != "fish" else parts[-1]}
    done = run(env={"_RESTIC_MONITOR_COMPLETE": f"{shell}_complete", **typed, **(env or {})})
    assert (done.returncode, done.stderr) == (0, ""), done
    lines = [line for line in done.stdout.splitlines() if line]
    if shell == "zsh":
        return lines[1::3]
    return [re.split(r"\t", line.partition(",")[2])[0] for line in lines]


def test_completion_offers_commands_options_values_and_names(desk: Desk, run: Run) -> None:
    desk.configure({"web": FRESH, "web two": FRESH, "db": FRESH})
    config = str(desk.config)
    commands = {"run", "config", "groups", "suggest", "init", "install-units", "completion"}
    assert set(complete(run, "restic-monitor ")) == commands
    assert complete(run, "restic-monitor co") == ["config", "completion"] or complete(run, "restic-monitor co") == [
        "completion",
        "config",
    ]
    assert {"--no-push", "--format", "--help", "--version"} <= set(complete(run, "restic-monitor --"))
    assert complete(run, "restic-monitor --no") == ["--no-push", "--no-state"]
    assert complete(run, "restic-monitor --mode ") == ["auto", "native", "fast", "listing", "restic"]
    assert complete(run, "restic-monitor --format ") == ["text", "json", "nagios"]
    assert complete(run, "restic-monitor run --format n") == ["nagios"]
    assert set(complete(run, f"restic-monitor -c {config} ")) == commands
    assert complete(run, f"restic-monitor -c {config} --only") == ["--only-failing"]
    assert complete(run, f"restic-monitor -c {config} run ") == ["web", "web two", "db"]
    assert complete(run, f"restic-monitor run -c {config} d") == ["db"]
    assert complete(run, "restic-monitor run ", env={"RESTIC_MONITOR_CONFIG": config}) == ["web", "web two", "db"]
    assert set(complete(run, "restic-monitor config ")) == {"check", "schema", "show"}
    assert complete(run, "restic-monitor config check --no-s") == ["--no-secrets"]
    assert complete(run, f"restic-monitor config show -c {config} d") == ["db"]
    assert complete(run, "restic-monitor completion ") == ["bash", "zsh", "fish"]


def test_completion_offers_files_for_the_configuration(run: Run) -> None:
    for words in ("restic-monitor -c ", "restic-monitor run --config ", "restic-monitor --environment-file x"):
        done = run(env={"_RESTIC_MONITOR_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))})
        assert done.stdout.startswith("file,"), words


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_of_other_shells_offers_the_same(desk: Desk, run: Run, shell: str) -> None:
    desk.configure({"web": FRESH, "db": FRESH})
    assert complete(run, f"restic-monitor -c {desk.config} run ", shell) == ["web", "db"]


def test_completion_is_silent_without_a_configuration(run: Run) -> None:
    assert complete(run, "restic-monitor run ") == []
    assert complete(run, "restic-monitor run -c /nonexistent ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_can_be_read_by_its_shell(run: Run, shell: str, tmp_path: Path) -> None:
    done = run("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert "_RESTIC_MONITOR_COMPLETE" in done.stdout
    script = tmp_path / "script"
    script.write_text(done.stdout)
    checked = subprocess.run([require(shell), "-n", script], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_bash_itself_completes_a_repository(desk: Desk, run: Run) -> None:
    require("bash")
    desk.configure({"web-server": FRESH, "db-server": FRESH})
    program = desk.folder / "restic-monitor"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m restic_monitor "$@"\n')
    program.chmod(0o755)
    (desk.folder / "completion").write_text(run("completion", "bash").stdout)
    script = (
        f"source {desk.folder}/completion; COMP_WORDS=(restic-monitor run web); COMP_CWORD=2; "
        "$(complete -p restic-monitor | sed 's/.*-F \\([^ ]*\\).*/\\1/') restic-monitor web run; echo \"${COMPREPLY[@]}\""
    )
    environment = {"PATH": f"{desk.folder}:{os.environ['PATH']}", "RESTIC_MONITOR_CONFIG": str(desk.config)}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert (done.stdout, done.stderr) == ("web-server\n", "")


def test_a_readable_configuration_does_not_disturb_completion(run: Run, desk: Desk) -> None:
    desk.configure({"web": FRESH}, {"web": "a-token"}, "https://kuma.example.com")
    desk.config.chmod(0o644)
    words = f"restic-monitor -c {desk.config} run "
    env = {"_RESTIC_MONITOR_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "4"}
    done = run(env=env)
    assert (done.stdout, done.stderr) == ("plain,web\n", "")


@pytest.mark.parametrize(("word", "meant"), [("check", "config check"), ("show", "config show"), ("help", "--help")])
def test_a_word_of_other_programs_is_understood(run: Run, word: str, meant: str) -> None:
    assert f"did you mean restic-monitor {meant}?" in run(word).stderr
