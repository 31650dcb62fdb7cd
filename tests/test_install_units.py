"""The units that install-units writes, and the interval that it prints. That they work: test_systemd.py."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from conftest import Run, Unprivileged
from desk import Desk
from restic_monitor.commands.install import interval, needs, program
from restic_monitor.commands.install.interval import Heartbeat
from restic_monitor.commands.install.units import PATHS, Installation
from restic_monitor.config import reader
from restic_monitor.config.build import Builder
from restic_monitor.environment import Layer
from restic_monitor.errors import UsageError
from restics import CHECKOUT, missing, require

ETC = Path("/etc/restic-monitor")
SERVICE, TIMER, USER = PATHS


def installation(**other: object) -> Installation:
    usual: dict[str, object] = {
        "command": ("/usr/bin/restic-monitor",),
        "config": ETC / "config.yaml",
        "environment_file": None,
        "files": (),
        "folders": (),
        "intervals": interval.DEFAULT,
        "limit": timedelta(minutes=10),
    }
    return Installation(**{**usual, **other})  # type: ignore[arg-type]


def lines(text: str, *keys: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(tuple(f"{key}=" for key in keys))]


def test_the_usual_installation_is_the_files_of_the_package() -> None:
    for path, text in installation().texts().items():
        packaged = (CHECKOUT / "src" / "restic_monitor" / "units" / path.name).read_text()
        mark, rest = text.split("\n", 1)
        assert mark.startswith("# Written by restic-monitor install-units")
        assert rest == packaged


def test_an_installation_has_its_own_paths() -> None:
    texts = installation(
        command=("/opt/my tools/100%/bin/restic-monitor",),
        config=Path("/srv/a b/con%fig.yaml"),
        environment_file=ETC / "environment",
        files=(ETC / "password", Path("/root/password"), Path('/srv/a "quoted" \\ name')),
        folders=(Path("/home/me/re:po"), Path("/root/100%")),
        intervals=("06:00", "Mon..Fri 18:00"),
        limit=timedelta(minutes=100),
    ).texts()
    service = texts[SERVICE]
    assert lines(service, "ExecStart", "TimeoutStartSec") == [
        'ExecStart="/opt/my tools/100%%/bin/restic-monitor" run --ok-when-told --config %d/config.yaml',
        "TimeoutStartSec=1h40min",
    ]
    handed = lines(service, "LoadCredential")
    assert handed[:2] == [
        "LoadCredential=config.yaml:/srv/a b/con%%fig.yaml",
        "LoadCredential=environment:/etc/restic-monitor/environment",
    ]
    assert [re.sub("-[0-9a-f]{8}:", "-DIGEST:", line) for line in handed[2:]] == [
        "LoadCredential=password-DIGEST:/etc/restic-monitor/password",
        "LoadCredential=password-DIGEST:/root/password",
        'LoadCredential=a__quoted____name-DIGEST:/srv/a "quoted" \\ name',
    ]
    assert len({line.partition(":")[0] for line in handed}) == 5, "two files of the same name are two credentials"
    assert "Environment=RESTIC_MONITOR_ENVIRONMENT_FILE=%d/environment" in service
    assert lines(service, "BindReadOnlyPaths") == [
        'BindReadOnlyPaths="-/home/me/re:po"',
        'BindReadOnlyPaths="-/root/100%%"',
    ]
    assert lines(texts[TIMER], "OnCalendar") == ["OnCalendar=06:00", "OnCalendar=Mon..Fri 18:00"]


def test_the_units_score_and_have_no_mistakes(tmp_path: Path) -> None:
    """0 to 10, in tenths for --threshold: network access is most of what is left."""
    analyze = require("systemd-analyze")
    units = [tmp_path / path.name for path in (SERVICE, TIMER)]
    for unit, path in zip(units, (SERVICE, TIMER), strict=True):
        unit.write_text(installation(command=("/bin/true",), folders=(Path("/home/x"),)).texts()[path])
    scored = _run([analyze, "security", "--offline=true", "--threshold=11", units[0]])
    assert scored.returncode == 0, scored.stdout
    verified = _run([analyze, "verify", "--man=no", *units])
    assert (verified.returncode, verified.stderr) == (0, "")


def _run(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env={**os.environ, "SYSTEMD_COLORS": "0"}, check=False
    )


# the interval


@pytest.mark.parametrize(
    ("intervals", "hours"),
    [
        (["hourly"], 1),
        (["hourly", "hourly"], 1),
        (["*:0/15"], 0.25),
        (["*-*-* 06,18:00:00"], 12),
        (["06:00", "18:00 UTC"], 21),
        (["06:00", "07:00"], 23),
        (["Mon..Fri 10:00"], 72),
        (["Mon..Fri *:0/5"], 48 + 5 / 60),
        (["weekly"], 7 * 24),
        (["*-*-01 00:00"], 31 * 24),
        (["yearly"], 366 * 24),
        (["06:00 Europe/Berlin"], 25),
        (["hourly", "2026-01-01", "2099-01-01"], 1),
    ],
)
def test_the_longest_gap_is_what_systemd_makes_of_the_interval(intervals: Sequence[str], hours: float) -> None:
    """In Tokyo, where nobody sets the clock."""
    assert gap(intervals, "Asia/Tokyo") == interval.Gap(timedelta(hours=hours))


@pytest.mark.parametrize(
    ("intervals", "hours"),
    [(["06:00"], 25), (["*-*-* 06,18:00"], 13), (["hourly"], 2), (["*:0/15"], 1.25), (["*-*-* 02:30"], 47)],
)
def test_a_gap_is_longer_where_the_clock_is_set(intervals: Sequence[str], hours: float) -> None:
    """In autumn systemd leaves one of two equal hours out; in spring one that is not there."""
    assert gap(intervals, "Europe/Berlin") == interval.Gap(timedelta(hours=hours), clock_change=True)


def test_the_default_is_an_hour_also_where_the_clock_is_set() -> None:
    (line,) = lines(installation(intervals=interval.DEFAULT).texts()[TIMER], "OnCalendar")
    assert gap([line.partition("=")[2]], "Europe/Berlin") == interval.Gap(timedelta(hours=1))


def gap(intervals: Sequence[str], zone: str) -> interval.Gap | None:
    require("systemd-analyze")
    file = Path("/usr/share/zoneinfo", zone)
    if not file.exists():
        missing("zoneinfo", f"{file} is not here: install tzdata")
    return interval.longest_gap(intervals, file)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("1h", "systemd does not understand it"),
        ("2026-12-24", "comes to an end"),
        ("--help", "systemd does not understand it"),
        ("", "not"),
    ],
)
def test_an_interval_that_is_none_is_an_error(given: str, said: str) -> None:
    require("systemd-analyze")
    with pytest.raises(UsageError, match=f"^--interval {re.escape(given)}: .*{said}"):
        interval.longest_gap([given])


def test_without_systemd_nobody_can_tell_the_gap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert interval.longest_gap(["hourly"]) is None


def test_what_to_type_into_uptime_kuma_is_a_sum_that_is_shown() -> None:
    """4500 is what README says for a run every hour."""
    heartbeat = Heartbeat(interval.Gap(timedelta(hours=1)), timedelta(minutes=10))
    assert str(heartbeat) == "4500 seconds (1h between two runs, 10m for the longest run, 5m slack)"
    heartbeat = Heartbeat(interval.Gap(timedelta(hours=2), clock_change=True), timedelta(minutes=10))
    assert str(heartbeat).startswith("8100 seconds (2h between two runs when the clock is set, ")


def builder(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> Builder:
    (folder / "config.yaml").write_text(text)
    made = Builder(reader.read(folder / "config.yaml"), (Layer("the environment", environment or {}, inherited=True),))
    made.check_file()
    return made


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("repositories: {a: {url: /srv, password: x}}", 10),
        ("timeout: 30m\nrepositories: {a: {url: /srv, password: x}}", 34),
        ("repositories: {a: {url: /srv, password: x, timeout: 20m}, b: {url: /srv/b, password: x, timeout: 1s}}\njobs: 1", 44),
        ("repositories: {a: {url: /srv, timeout: 20m}, b: {url: /srv/b, timeout: 1s}}\njobs: 1", 24),
        ("repositories: {a: {url: /srv, timeout: 20m}, b: {url: /srv/b}, c: {enabled: no}}\nconnections: 1", 44),
    ],
)
def test_the_longest_run_is_that_in_which_every_look_takes_its_limit(tmp_path: Path, text: str, minutes: int) -> None:
    assert interval.longest_run(builder(tmp_path, text)) == timedelta(minutes=minutes)


# what the service would not get by itself


def test_files_that_the_service_could_not_read_are_handed_over(tmp_path: Path) -> None:
    """Those of others, and those below a folder that it does not see, as this test's is; none that is not used."""
    for name in ("secret", "url", "web.token", "unused", "off"):
        (tmp_path / name).write_text("x")
    text = f"""
defaults:
  password_file: unused
  cacert: /etc/passwd
repositories:
  web:
    url: {{from_file: url}}
    password_file: {tmp_path}/secret
    push_url: https://kuma.example.com/api/push/
    push_token: {{from_file: "{{{{ .Name }}}}.token"}}
    extra_env: {{A: {{from_file: secret}}, B: {{from_env: B}}}}
  db:
    url: /srv
    password: {{from_file: missing}}
  off: {{url: /srv, password_file: off, enabled: false}}
"""
    made = builder(tmp_path, text)
    assert [path.name for path in needs.handed(made)] == ["url", "web.token", "secret"]
    assert [named.path.name for named in needs.files(made) if not named.is_there] == ["missing"]


@pytest.mark.parametrize(("folder", "file", "closed"), [(0o755, 0o644, False), (0o755, 0o640, True), (0o750, 0o644, True)])
def test_a_file_is_closed_to_the_service_by_its_mode_or_by_that_of_a_folder(
    unprivileged: Unprivileged, monkeypatch: pytest.MonkeyPatch, folder: int, file: int, closed: bool
) -> None:
    monkeypatch.setattr(program, "HIDDEN", ())  # where the tests' folders are is hidden, too
    (unprivileged.folder / "etc").mkdir(mode=0o700)
    path = unprivileged.folder / "etc" / "password"
    path.write_text("x")
    path.chmod(file)
    path.parent.chmod(folder)
    assert bool(program.unreachable(path)) == closed


def test_local_repositories_that_the_service_would_not_see_are_bound(tmp_path: Path) -> None:
    text = """
defaults: {password: x}
repositories:
  a: {url: /home/me/repo}
  b: {url: "local:/root/{{ .Name }}"}
  c: {url: /srv/repo}
  d: {url: s3:https://s3.example.com/home}
  e: {url: relative}
  f: {url: /homework}
  g: {url: {from_file: /nonexistent}}
"""
    assert needs.folders(builder(tmp_path, text)) == [Path("/home/me/repo"), Path("/root/b")]


def test_a_restic_that_the_service_would_not_find_is_named(tmp_path: Path) -> None:
    text = """
repositories:
  a: {url: /srv, password: x, restic: /root/bin/restic}
  b: {url: /srv/b, password: x, restic: no-such-restic}
  c: {url: /srv/c, password: x, restic: /bin/sh}
  d: {url: /srv/d, restic: never-needed}
"""
    first, second = needs.programs(builder(tmp_path, text))
    assert first == "/root/bin/restic: /root/bin/restic is below /root, which is hidden from it"
    assert second == f"no-such-restic: it is not in {program.PATH}; install it there, or write its whole path as restic:"


# the command


def test_a_program_that_the_service_could_not_start_is_refused_with_the_remedy(run: Run, tmp_path: Path) -> None:
    """This one: the tests' PYTHONPATH aside, a package below /tmp would be hidden."""
    shutil.copytree(CHECKOUT / "src" / "restic_monitor", tmp_path / "restic_monitor")
    done = subprocess.run(
        [sys.executable, "-m", "restic_monitor", "install-units", "--print"],
        env={"PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"], "HOME": str(run.home)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "restic-monitor: the service could not start this program: " in done.stderr
    assert "/opt/restic-monitor/bin/restic-monitor install-units" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [["--remove", "--print"], ["--remove", "--interval", "daily"]])
def test_remove_stands_alone(run: Run, arguments: Sequence[str]) -> None:
    done = run("install-units", *arguments)
    assert (done.returncode, "--remove stands alone" in done.stderr) == (2, True)


def test_who_is_not_root_is_told_how_to_look_at_the_units(desk: Desk) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write units: test_systemd.py does")
    done = desk("install-units")
    assert (done.returncode, done.stderr) == (
        2,
        "restic-monitor: only root may write units; or look at them: restic-monitor install-units --print\n",
    )


@pytest.fixture
def desk(run: Run) -> Desk:
    return Desk(run)
