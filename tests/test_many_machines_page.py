"""docs/many-machines.md: its examples are loaded, and what it shows is what the program says of real repositories."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

import configs
from conftest import Run
from kuma import Kuma
from restic_monitor.checks.expectations import Expectation, Expectations
from restic_monitor.model import Watch
from restics import CHECKOUT, PASSWORD, Backup, Repository, make_repository

PAGE = (CHECKOUT / "docs" / "many-machines.md").read_text()
EXAMPLE = CHECKOUT / "examples" / "many-machines.yaml"
EXAMPLES = dict(
    zip(("home", "office", "family"), re.findall(r"(?ms)^```yaml\n(.*?)^```$", PAGE), strict=True),
)
CONSOLE = dict(re.findall(r"(?ms)^```console\n\$ ([^\n]+)\n(.*?)^```$", PAGE))
NOW = datetime.now(UTC)
HOSTS = {"nas": 0.05, "web": 7.05, "pi": 1.3, "desktop": 1.3, "db": 0.01, "old-laptop": 283.0}
"""The hosts of the page, and how many days their newest snapshot is old."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    backups = [Backup(NOW - timedelta(days=days), host) for host, days in HOSTS.items()]
    return make_repository(tmp_path_factory.mktemp("home") / "home", "0.19", backups)


# the examples


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_of_the_page_is_loaded(name: str, tmp_path: Path) -> None:
    repositories = configs.build(tmp_path, _mine(EXAMPLES[name], tmp_path))
    assert list(repositories) == [name]
    names = [expectation.name for expectation in expected(repositories[name].watch)]
    assert names == list(yaml.safe_load(EXAMPLES[name])["repositories"][name]["expect"])
    assert configs.push_address(repositories[name])


def test_the_file_of_examples_has_those_of_the_page(tmp_path: Path) -> None:
    document = yaml.safe_load(EXAMPLE.read_text())
    assert document["repositories"] == {name: yaml.safe_load(text)["repositories"][name] for name, text in EXAMPLES.items()}
    assert list(configs.build(tmp_path, _mine(EXAMPLE.read_text(), tmp_path))) == list(EXAMPLES)


def test_the_suggestion_of_the_page_fits_below_the_name_of_the_repository(tmp_path: Path) -> None:
    text = f"repositories:\n  home:\n    url: /srv/backup/home\n    password: secret\n{CONSOLE['restic-monitor suggest home']}"
    watch = configs.build(tmp_path, text)["home"].watch
    assert [expectation.name for expectation in expected(watch)] == ["db", "desktop", "nas", "pi", "web", "others"]


def expected(watch: Watch) -> tuple[Expectation, ...]:
    assert isinstance(watch.expect, Expectations)
    return watch.expect.expectations


def _mine(text: str, folder: Path) -> str:
    """With a password file that is there."""
    (folder / "password").write_text(PASSWORD)
    return text.replace("/etc/restic-monitor/password", str(folder / "password"))


# what it shows


def test_the_table_of_the_page_is_what_the_program_prints_and_pushes(run: Run, home: Repository, kuma: Kuma) -> None:
    text = _mine(EXAMPLES["home"], run.home).replace("/srv/backup/home", str(home.path))
    text = re.sub(r"push_url: \S+", lambda _: f"push_url: {kuma.push_url(kuma.add_monitor())}", text)
    text = re.sub(r"push_token: \w+", lambda _: f"push_token: {kuma.add_monitor()}", text)
    done = say(run, home, text, "-c", "config.yaml")
    assert _abstract(done) == _abstract(CONSOLE["restic-monitor"])
    told = {(beat.status, beat.msg) for beat in kuma.beats}
    assert told == {("down", _message(done, "home")), ("up", _message(done, "db"))}
    nagios = say(run, home, text, "-c", "config.yaml", "--no-push", "--format", "nagios")
    assert re.search(r"'home/web'=\d+s;;93600;0", nagios)
    assert re.search(r"'home/web'=\d+s;;93600;0", PAGE)


def test_what_the_page_says_of_a_host_that_is_not_there_is_said_by_name(run: Run, home: Repository) -> None:
    text = _mine(EXAMPLES["home"], run.home).replace("/srv/backup/home", str(home.path)).replace("pi: {", "pi: {host: raspi, ")
    said = _message(say(run, home, text, "-c", "config.yaml", "--no-push"), "pi")
    (shown,) = re.findall(r"`(MISSING no snapshot of host raspi; hosts here: [^`]*)`", PAGE)
    assert sorted(re.split("[:,;] ", said)) == sorted(re.split("[:,;] ", shown))


def test_what_the_page_shows_of_groups_and_suggest_is_what_they_print(run: Run, home: Repository) -> None:
    """The head of both, and the hosts: ages and intervals are those of another repository."""
    text = f'repositories: {{home: {{url: "{home.path}", password_file: password}}}}'
    for command, count in (("groups", 1), ("suggest", 4)):
        said = say(run, home, text, command, "home")
        shown = CONSOLE[f"restic-monitor {command} home"]
        assert _words(said)[:count] == _words(shown)[:count]
        assert {host for host in HOSTS if re.search(rf"(?m)(^|^ *|host: ){host}\b", said)} == {*HOSTS}
        assert {host for host in HOSTS if re.search(rf"(?m)(^|^ *|host: ){host}\b", shown)} == {*HOSTS}


def test_the_example_of_the_office_judges_jobs_sizes_and_hosts_that_nobody_named(run: Run, tmp_path: Path) -> None:
    """With the path and the size of a repository that is made in a second."""
    files = tmp_path / "srv"
    files.mkdir()
    for number in range(60):
        (files / str(number)).write_text("x" * 100)
    repository = make_repository(tmp_path / "office", "0.19", [Backup(NOW - timedelta(days=1), "fs01", paths=[files])])
    for number in range(25):
        (files / str(number)).unlink()
    for backup in (
        Backup(NOW, "fs01", paths=[files]),
        *(Backup(NOW, "db01", [tag]) for tag in ("nightly", "monthly")),
        *(Backup(NOW, host) for host in ("web7", "test-3")),
        Backup(datetime(2025, 11, 25, tzinfo=UTC), "old-mail"),
    ):
        repository.backup(backup)
    text = EXAMPLES["office"].replace("/srv/backup/office", str(repository.path)).replace("[/srv]", f"[{files}]")
    said = say(
        run, repository, _mine(text, run.home).replace("20GiB", "2B"), "--no-push", "-c", "config.yaml", "--format", "json"
    )
    (result,) = json.loads(said)["results"]
    (shown,) = re.findall(r"(?m)^DOWN +files +(SMALL.*)$", PAGE)
    assert _abstract(result["lines"][0]["message"]) == _abstract(shown)
    assert [line["name"] for line in result["lines"]] == ["files", "erp", "erp-monthly", "others/web7"]
    assert "2 groups ignored" in result["message"]


def say(run: Run, repository: Repository, text: str, *words: str) -> str:
    (run.home / "password").write_text(repository.password)
    (run.home / "config.yaml").write_text(text)
    for file in ("password", "config.yaml"):
        (run.home / file).chmod(0o600)
    path = f"{repository.restic.parent}:/usr/bin:/bin"
    done = run(*words, env={"PATH": path, "RESTIC_MONITOR_CONFIG": "config.yaml"})
    assert done.stderr == ""
    return done.stdout


def _message(table: str, name: str) -> str:
    """Of a line, without what a look that tells nobody adds."""
    (line,) = re.findall(rf"(?m)^\w+ +{name} +(.*)$", table)
    return str(line).partition("  [")[0]


def _abstract(text: str) -> list[str]:
    """Without ids, moments, ages and counts."""
    text = re.sub(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?Z", "MOMENT", re.sub(r"\b[0-9a-f]{8}\b", "ID", text))
    return re.sub(r"newest \w+ old", "newest AGE old", re.sub(r"\d+ snapshots?", "N snapshots", text)).splitlines()


def _words(text: str) -> list[list[str]]:
    """Of each line, without dates and counts: columns are as wide as what is in them."""
    return [re.sub(r"\d[\d-]*", "N", line).split() for line in text.splitlines()]
