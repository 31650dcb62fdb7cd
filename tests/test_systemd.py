"""The units in a real systemd, with a real repository and a real receiver: what docs/systemd.md says, sentence by sentence."""

from __future__ import annotations

import re
import shutil
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kuma import Beat, Kuma
from restic_monitor.secret import HIDDEN
from restics import CHECKOUT, PASSWORD, Backup, make_repository, require
from servers import s3_server
from sockets import raw
from sshd import sshd
from systemd_box import PROGRAM, Box, Completed, box, wait

__all__ = ["box"]

UNITS = CHECKOUT / "src/restic_monitor/units"
SERVICE = "restic-monitor.service"
TIMER = "restic-monitor.timer"
WRITTEN = (
    f"/etc/systemd/system/{SERVICE}",
    f"/etc/systemd/system/{TIMER}",
    "/etc/sysusers.d/restic-monitor.conf",
)
TOKEN = "yDaQM5YUuS3rczSvLsOucs4LqHSRDhu6"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
PAGE = (CHECKOUT / "docs/systemd.md").read_text()
"""Its drop-ins, commands and configurations are those of the tests."""
TROUBLES = (CHECKOUT / "docs/troubleshooting.md").read_text()
GO = (CHECKOUT / "docs/from-the-go-tool.md").read_text()


def shown(language: str, part: str, page: str = PAGE) -> str:
    """The one block of the page that has this part."""
    blocks = re.findall(rf"^ *```{language}\n(.*?)^ *```$", page, re.DOTALL | re.MULTILINE)
    (block,) = (str(block) for block in blocks if part in block)
    return block


@dataclass(frozen=True)
class Host:
    """A machine with the program, an Uptime Kuma with one monitor (TOKEN), and a fresh repository that everybody may read."""

    box: Box
    kuma: Kuma

    def configure(self, repositories: str = "", **files: str) -> None:
        """Below /etc/restic-monitor, root's, 0600. Without `repositories`: the fresh one, told."""
        for name, text in {
            "config.yaml": repositories or self.told("/srv/backup/web-server"),
            "password": PASSWORD,
            **files,
        }.items():
            self.box.write(f"/etc/restic-monitor/{name}", text, 0o600)

    def told(self, url: str, more: str = "password_file: /etc/restic-monitor/password") -> str:
        return f"repositories:\n  web-server:\n    url: {url}\n    push_url: {self.kuma.url}/api/push/{TOKEN}\n    {more}\n"

    def install_units(self, *options: str, program: str = PROGRAM) -> Completed:
        return self.box.run(program, "install-units", *options)

    def installed(self, *options: str) -> str:
        """What is printed."""
        done = self.install_units(*options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def drop_in(self, text: str, unit: str = SERVICE) -> None:
        """What `systemctl edit` does."""
        name = f"{len(list(self.box.path(f'/etc/systemd/system/{unit}.d').glob('*'))):02}.conf"
        self.box.write(f"/etc/systemd/system/{unit}.d/{name}", text)
        self.box.do("systemctl", "daemon-reload")

    def start(self) -> str:
        """A whole run; the result that systemd gives it, `success` or another."""
        self.box.run("systemctl", "start", SERVICE)
        return self.box.show(SERVICE, "Result")

    def succeed(self) -> None:
        """A whole run that systemd takes for a success."""
        assert self.start() == "success", self.journal()

    def status(self) -> str:
        return self.box.show(SERVICE, "ExecMainStatus")

    def journal(self) -> str:
        return self.box.journal(SERVICE)

    def beat(self) -> Beat:
        """The one that came."""
        (beat,) = self.kuma.beats
        return beat

    def assert_up(self) -> None:
        assert self.beat().status == "up", self.beat().msg

    def put(self, repository: Path, path: str, *, mode: str = "a+rX", owner: str = "root:root") -> None:
        """A copy of a repository."""
        shutil.copytree(repository, self.box.path(path))
        self.box.do("chown", "-R", owner, path)
        self.box.do("chmod", "-R", mode, path)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository(tmp_path_factory, age=timedelta(hours=1))


@pytest.fixture(scope="module")
def stale(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository(tmp_path_factory, age=timedelta(days=3))


def repository(tmp_path_factory: pytest.TempPathFactory, age: timedelta) -> Path:
    path = tmp_path_factory.mktemp("repository") / "web-server"
    return make_repository(path, snapshots=[Backup(datetime.now(UTC).replace(microsecond=0) - age)]).path


@pytest.fixture
def host(box: Box, fresh: Path) -> Iterator[Host]:
    kuma = Kuma(major=2, tokens=[TOKEN])
    host = Host(box, kuma)
    host.put(fresh, "/srv/backup/web-server")
    with box.network():
        kuma.listen()
    try:
        yield host
    finally:
        kuma.refuse()
        box.run("systemctl", "stop", TIMER, SERVICE)
        box.run("systemctl", "--no-reload", "disable", TIMER)
        folders = [
            "/etc/restic-monitor",
            "/root/backup",
            "/srv/backup",
            "/var/lib/restic-monitor",
            "/var/cache/restic-monitor",
            "/home/alice",
            "/etc/restic-monitor-dots",
        ]
        stamp = "/var/lib/systemd/timers/stamp-restic-monitor.timer"
        drop_ins = [f"/etc/systemd/system/{unit}.d" for unit in (SERVICE, TIMER)]
        box.clean(*WRITTEN, *folders, *drop_ins, stamp, "/etc/systemd/system/restic-monitor-failed.service", "/run/mailed")


# the units


def test_the_units_as_they_are_in_the_package_are_valid_and_score_what_the_page_says(host: Host) -> None:
    """With what they name: a program in /usr/bin, and the manual page."""
    for unit in (SERVICE, TIMER):
        host.box.write(f"/etc/systemd/system/{unit}", (UNITS / unit).read_text())
    host.box.do("ln", "-sf", PROGRAM, "/usr/bin/restic-monitor")
    files = [f"/etc/systemd/system/{unit}" for unit in (SERVICE, TIMER)]
    try:
        verified = host.box.run("systemd-analyze", "verify", "--man=no", *files)
    finally:
        host.box.do("rm", "/usr/bin/restic-monitor")
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    scored = host.box.run("systemd-analyze", "security", "--offline=true", "--threshold=11", files[0])
    assert scored.returncode == 0
    assert "Overall exposure level for restic-monitor.service: 1.1 OK" in scored.stdout
    assert "scores it 1.1" in PAGE


def test_install_units_writes_units_that_are_valid_and_score_the_same(host: Host) -> None:
    host.configure(environment="AWS_ACCESS_KEY_ID=x\n")
    host.installed()
    files = WRITTEN[:2]
    verified = host.box.run("systemd-analyze", "verify", "--man=no", *files)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    assert host.box.run("systemd-analyze", "security", "--offline=true", "--threshold=11", files[0]).returncode == 0


def test_install_units_writes_the_paths_of_this_installation_and_starts_the_timer_once_or_twice(host: Host) -> None:
    host.configure()
    host.installed()
    service = host.box.path(WRITTEN[0]).read_text()
    assert shown("ini", "RESTIC_MONITOR_CREDENTIALS") in service
    assert re.search(rf"^ExecStart={PROGRAM} run --ok-when-told --config %d/config\.yaml$", service, re.MULTILINE)
    assert [oct(stat.S_IMODE(host.box.path(path).stat().st_mode)) for path in WRITTEN] == ["0o644"] * 3
    assert host.box.do("getent", "passwd", "restic-monitor").split(":")[5] == "/var/lib/restic-monitor"
    assert host.box.do("systemctl", "is-enabled", TIMER) == "enabled\n"
    assert host.box.do("systemctl", "is-active", TIMER) == "active\n"
    before = [host.box.path(path).read_text() for path in WRITTEN]
    host.installed()
    assert [host.box.path(path).read_text() for path in WRITTEN] == before


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ((), 4500),
        (("--interval", "*-*-* 06,18:00:00 UTC"), 12 * 3600 + 900),
        (("--interval", "*-*-* 06:00:00 UTC", "--interval", "*-*-* 10:00:00 UTC"), 20 * 3600 + 900),
    ],
)
def test_install_units_says_what_to_type_into_uptime_kuma(host: Host, options: tuple[str, ...], seconds: int) -> None:
    """The longest gap + 10 minutes for the longest run + 5 minutes."""
    host.configure()
    assert re.search(rf"\b{seconds}\b", host.installed(*options))


def test_print_writes_nothing(host: Host) -> None:
    host.configure()
    printed = host.installed("--print")
    assert f"ExecStart={PROGRAM} " in printed
    assert "OnCalendar=hourly UTC\n" in printed
    assert not any(host.box.path(path).exists() for path in WRITTEN)
    assert host.box.run("systemctl", "is-enabled", TIMER).returncode != 0


def test_remove_takes_away_what_was_written_and_nothing_else(host: Host) -> None:
    host.configure()
    before = listed(host.box)
    host.installed()
    host.drop_in("[Service]\nNice=5\n")
    host.installed("--remove")
    assert listed(host.box) - before == {f"/etc/systemd/system/{SERVICE}.d", f"/etc/systemd/system/{SERVICE}.d/00.conf"}
    assert before - listed(host.box) == set()
    assert host.box.show(TIMER, "ActiveState") == "inactive"
    assert host.box.show(TIMER, "LoadState") == "not-found"
    assert host.box.path("/etc/restic-monitor/config.yaml").exists()


def listed(box: Box) -> set[str]:
    """Where install-units might write: the user's entries, which it leaves there, are not counted."""
    box.do("mkdir", "-p", "/etc/sysusers.d")
    return set(box.do("find", "/etc/systemd", "/etc/sysusers.d", "/etc/restic-monitor", "/run/systemd/system").splitlines())


def test_remove_where_nothing_is_does_no_harm(host: Host) -> None:
    assert host.install_units("--remove").returncode == 0


@pytest.mark.parametrize("folder", ["/home/alice", "/root"])
def test_a_program_that_the_unit_cannot_see_is_refused_with_the_remedy(host: Host, folder: str) -> None:
    """And would be what the page says it would be."""
    host.configure()
    with hidden_program(host.box, folder) as program:
        refused = host.install_units(program=program)
        assert refused.returncode == 2
        assert program.rpartition("/bin/")[0] in refused.stderr
        assert "/opt" in refused.stderr
        assert not any(host.box.path(path).exists() for path in WRITTEN)

        host.installed()
        host.drop_in(f"[Service]\nExecStart=\nExecStart={program} run --ok-when-told\n")
        assert host.start() == "exit-code"
        assert host.status() == "203"
        assert "status=203/EXEC" in TROUBLES


@contextmanager
def hidden_program(box: Box, folder: str) -> Iterator[str]:
    """As `uv tool install` and pipx do it for one user."""
    venv = f"{folder}/.local/share/uv/tools/restic-monitor"
    box.do("mkdir", "-p", str(Path(venv).parent))
    try:
        box.do("cp", "-a", "/opt/restic-monitor", venv)
        box.do("sed", "-i", f"1s|.*|#!{venv}/bin/python|", f"{venv}/bin/restic-monitor")
        yield f"{venv}/bin/restic-monitor"
    finally:
        box.do("rm", "-rf", venv)


def test_files_elsewhere_are_named_on_the_command_line(host: Host, fresh: Path) -> None:
    """And found by the service, and named in what it says."""
    host.box.write("/srv/backup/kuma.yaml", host.told("web-server", "password: {from_env: MINE}"), 0o600)
    host.box.write("/srv/backup/variables", f"MINE='{PASSWORD}'\n", 0o600)
    host.put(fresh, "/web-server")
    host.installed("--config", "/srv/backup/kuma.yaml", "--environment-file", "/srv/backup/variables")
    try:
        host.succeed()
    finally:
        host.box.do("rm", "-r", "/web-server")
    host.assert_up()
    host.box.write("/srv/backup/variables", "MINE=\n", 0o600)
    host.start()
    assert "/srv/backup/kuma.yaml, line" in host.journal()
    assert "/run/credentials" not in host.journal()


def test_units_of_somebody_else_are_left_alone(host: Host) -> None:
    host.configure()
    host.box.write(WRITTEN[1], "[Timer]\nOnCalendar=weekly\n")
    for options in ((), ("--remove",)):
        refused = host.install_units(*options)
        assert refused.returncode == 2
        assert f"{WRITTEN[1]} is there, and install-units did not write it" in refused.stderr
    assert not host.box.path(WRITTEN[0]).exists()
    assert "weekly" in host.box.path(WRITTEN[1]).read_text()


def test_without_a_configuration_nothing_is_written(host: Host) -> None:
    refused = host.install_units()
    assert refused.returncode == 2
    assert "/etc/restic-monitor/config.yaml" in refused.stderr
    assert not any(host.box.path(path).exists() for path in WRITTEN)


def test_only_root_writes_units_and_everybody_may_look_at_them(host: Host) -> None:
    """Whatever they may read of /etc/restic-monitor."""
    refused = host.box.run(*NOBODY, PROGRAM, "install-units")
    assert (refused.returncode, "only root" in refused.stderr) == (2, True)
    host.configure(environment="AWS_ACCESS_KEY_ID=x\n")
    host.box.do("chmod", "700", "/etc/restic-monitor")
    assert "OnCalendar=hourly UTC\n" in host.box.do(*NOBODY, PROGRAM, "install-units", "--print")


def test_a_program_that_needs_the_variables_of_this_shell_is_refused(host: Host) -> None:
    """The service would end with 1, and nobody would be told."""
    host.configure()
    (packages,) = host.box.path("/opt/restic-monitor/lib").glob("python*/site-packages")
    found = {"PYTHONPATH": f"/{packages.relative_to(host.box.root)}"}
    python = host.box.do("/opt/restic-monitor/bin/python", "-c", "import sys; print(sys._base_executable)").strip()
    refused = host.box.run(python, "-m", "restic_monitor", "install-units", env=found)
    assert refused.returncode == 2
    assert "without the variables of this shell: " in refused.stderr
    assert "/usr/bin/python3 -m venv /opt/restic-monitor" in refused.stderr
    assert not any(host.box.path(path).exists() for path in WRITTEN)


def test_install_units_says_what_the_service_will_miss(host: Host, fresh: Path) -> None:
    """A variable of this shell, restic, a file, an ssh key, the right to read. The page has them all."""
    host.put(fresh, "/srv/backup/closed", mode="go=")
    more = (
        "password_file: gone\n    restic: restic-of-tomorrow\n    restic_options: [sftp.args=-i /etc/restic-monitor/id_ed25519]"
    )
    host.configure(host.told("/srv/backup/closed", more), id_ed25519="secret\n")
    host.installed()  # the user is there
    done = host.box.run(PROGRAM, "install-units", env={"AWS_SECRET_ACCESS_KEY": AWS_SECRET})
    notes = [line.partition("note: ")[2] for line in done.stderr.splitlines() if "note: " in line]
    expected = (
        "the service does not get AWS_SECRET_ACCESS_KEY of this shell",
        "the service cannot start restic-of-tomorrow: it is not in",
        "/etc/restic-monitor/gone is not there, which /etc/restic-monitor/config.yaml, line 5 names",
        "the service cannot read /etc/restic-monitor/id_ed25519, which /etc/restic-monitor/config.yaml, line 7 names",
        "the user restic-monitor cannot read /srv/backup/closed",
    )
    assert [note for note, begin in zip(notes, expected, strict=True) if not note.startswith(begin)] == []
    assert AWS_SECRET not in done.stdout + done.stderr


def test_a_repository_that_may_not_be_read_is_noted_once_until_the_user_is_in_its_group(
    host: Host, fresh: Path, alice: str
) -> None:
    host.put(fresh, "/srv/backup/closed", mode="o=,g=rX", owner=alice)
    host.configure("defaults: {url: /srv/backup/closed, password_file: password}\nrepositories: {a: {}, b: {}}\n")
    assert host.install_units().stderr.count("cannot read /srv/backup/closed") == 1
    host.box.do("gpasswd", "--add", "restic-monitor", "alice")
    try:
        assert "note" not in host.install_units().stderr
    finally:
        host.box.do("gpasswd", "--delete", "restic-monitor", "alice")


def test_the_environment_file_of_the_systems_configuration_is_read_by_hand_too(host: Host) -> None:
    """By who may; who may not is told, and so is a service that was installed before there was one."""
    host.configure(host.told("/srv/backup/web-server", "mode: restic"))
    host.box.do("chmod", "644", "/etc/restic-monitor/config.yaml")
    host.installed()
    host.box.write("/etc/restic-monitor/environment", f"RESTIC_PASSWORD='{PASSWORD}'\n", 0o600)
    checked = host.box.run(PROGRAM, "config", "check")
    assert (checked.returncode, "web-server: 1 snapshot" in checked.stdout) == (0, True), checked
    warning = (
        "/etc/restic-monitor/environment belongs to this configuration and cannot be read; the service gets it by install-units"
    )
    assert warning not in checked.stderr
    assert warning in host.box.run(*NOBODY, PROGRAM, "config", "check", "--no-secrets").stderr
    assert host.start() == "exit-code"
    assert warning in host.journal()


def test_without_a_configuration_in_a_folder_that_may_not_be_read_the_message_is_a_plain_one(host: Host) -> None:
    asked = f"cd /root && exec {' '.join(NOBODY)} {PROGRAM} config check"
    done = host.box.run("sh", "-c", asked, env={"HOME": "/nonexistent"})
    assert (done.returncode, "no configuration found; looked at" in done.stderr) == (2, True), done
    assert "internal error" not in done.stderr


# a run


def test_a_run_tells_looks_only_and_shows_no_secret(host: Host) -> None:
    """Configuration and password are root's, 0600."""
    host.configure()
    host.installed()
    host.box.do("chown", "-R", "root:root", "/srv/backup")
    before = tree(host.box.path("/srv/backup"))
    host.succeed()
    assert (host.beat().token, host.beat().status) == (TOKEN, "up")
    assert tree(host.box.path("/srv/backup")) == before
    said = host.journal()
    assert re.search(r"UP +web-server +OK newest", said)
    shown = host.box.do("systemctl", "show", SERVICE) + host.box.do("systemctl", "cat", SERVICE)
    for secret in (PASSWORD, TOKEN):
        assert secret not in said
        assert secret not in shown
    assert host.box.do("stat", "--format=%U %G %a", "/etc/restic-monitor/config.yaml") == "root root 600\n"


def tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that could change: mode, time of the last change in ns, content."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        info = path.lstat()
        found[str(path.relative_to(folder))] = (info.st_mode, info.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
    return found


def test_state_and_cache_are_where_the_page_says_and_private(host: Host) -> None:
    by_restic = "mode: restic\n    password_file: /etc/restic-monitor/password"
    host.configure(host.told("/srv/backup/web-server", by_restic))
    host.installed()
    host.succeed()
    for folder in ("/var/lib/restic-monitor", "/var/cache/restic-monitor"):
        assert host.box.do("stat", "--format=%U %G %a", folder) == "restic-monitor restic-monitor 700\n"
        assert f"`{folder}/`" in PAGE
    (cached,) = (path for path in host.box.path("/var/cache/restic-monitor").rglob("snapshots") if path.is_dir())
    assert list(cached.rglob("*"))

    host.configure(host.told("/srv/backup/web-server", "mode: listing"))
    host.installed()
    host.succeed()
    assert host.box.do("stat", "--format=%U %a", "/var/lib/restic-monitor/state.sqlite") == "restic-monitor 600\n"


def test_a_repository_that_is_down_and_told_is_a_success(host: Host, stale: Path) -> None:
    host.put(stale, "/srv/backup/stale")
    host.configure(host.told("/srv/backup/stale"))
    host.installed()
    host.succeed()
    assert host.box.show(SERVICE, "ActiveState") == "inactive"
    assert host.beat().status == "down"
    assert host.beat().msg.startswith("STALE")


def test_a_repository_that_is_unknown_and_told_is_a_success(host: Host) -> None:
    host.configure(host.told("/srv/backup/nothing"))
    host.installed()
    host.succeed()
    assert host.beat().status == "down"


def test_a_repository_that_is_up_and_told_to_nobody_is_a_success(host: Host) -> None:
    host.configure("repositories:\n  web-server: {url: /srv/backup/web-server, password_file: /etc/restic-monitor/password}\n")
    host.installed()
    host.succeed()
    assert host.kuma.beats == ()


# failing: somebody was not told, and OnFailure= says why


@contextmanager
def failure_is_mailed(host: Host) -> Iterator[None]:
    """By the page's own units; after the block the service has failed, and the mail has come."""
    host.drop_in(shown("ini", "OnFailure="))
    host.box.write("/etc/systemd/system/restic-monitor-failed.service", shown("ini", "mail -s"))
    host.box.write("/usr/local/bin/mail", '#!/bin/sh\n(echo "$@"; cat) > /run/mail && mv /run/mail /run/mailed\n', 0o755)
    host.box.do("systemctl", "daemon-reload")
    yield
    assert host.box.show(SERVICE, "ActiveState") == "failed"
    wait(host.box.path("/run/mailed").exists, "the mail")


def mailed(host: Host) -> str:
    return host.box.path("/run/mailed").read_text()


def test_a_refused_push_fails_and_is_mailed(host: Host) -> None:
    host.kuma.tokens.clear()
    host.configure()
    host.installed()
    with failure_is_mailed(host):
        assert host.start() == "exit-code"
    assert host.status() == "3"
    assert "knows no such monitor, or it is paused" in mailed(host)
    assert TOKEN not in mailed(host)


def test_no_uptime_kuma_fails_and_is_mailed(host: Host) -> None:
    host.configure()
    host.installed()
    host.kuma.refuse()
    with failure_is_mailed(host):
        assert host.start() == "exit-code"
    assert host.status() == "3"


@pytest.mark.parametrize("kind", ["stale", pytest.param("unknown", marks=pytest.mark.slow)])
def test_nobody_to_tell_that_something_is_wrong_fails_and_is_mailed(host: Host, stale: Path, kind: str) -> None:
    if kind == "stale":
        host.put(stale, "/srv/backup/stale")
    host.configure(f"repositories:\n  db: {{url: /srv/backup/{kind}, password_file: /etc/restic-monitor/password}}\n")
    host.installed()
    with failure_is_mailed(host):
        assert host.start() == "exit-code"
    assert host.status() == "3"


def test_a_package_that_cannot_be_imported_fails_and_is_mailed(host: Host) -> None:
    """Python ends with 1 then, which is why 1 is no success of the unit."""
    host.configure()
    host.installed()
    (package,) = host.box.path("/opt/restic-monitor/lib").glob("python*/site-packages/restic_monitor")
    package.rename(package.with_name("gone"))
    try:
        with failure_is_mailed(host):
            assert host.start() == "exit-code"
    finally:
        package.with_name("gone").rename(package)
    assert host.status() == "1"
    assert "ModuleNotFoundError" in mailed(host)
    assert host.kuma.beats == ()


def test_a_mistake_in_the_configuration_fails_and_is_named_by_the_files_own_name(host: Host) -> None:
    host.configure()
    host.installed()
    host.configure(host.told("/srv/backup/web-server", "max_agee: 1d"))
    with failure_is_mailed(host):
        assert host.start() == "exit-code"
    assert host.status() == "2"
    assert "/etc/restic-monitor/config.yaml, line 5: repositories.web-server.max_agee: unknown key" in host.journal()
    assert "/run/credentials" not in host.journal()


def test_a_configuration_that_is_gone_fails_as_the_page_says(host: Host) -> None:
    host.configure()
    host.installed()
    host.box.do("rm", "/etc/restic-monitor/config.yaml")
    with failure_is_mailed(host):
        assert host.start() == "exit-code"
    assert host.status() == "243"
    missing = host.box.run("sh", "-c", shown("sh", "LoadCredential=", TROUBLES)).stderr
    assert re.fullmatch(r"ls: .*'?/etc/restic-monitor/config\.yaml'?: No such file or directory\n", missing)
    assert "status=243/CREDENTIALS" in TROUBLES


@pytest.mark.slow
def test_a_run_that_takes_too_long_is_ended_and_mailed(host: Host) -> None:
    host.configure()
    host.installed()
    host.drop_in("[Service]\nTimeoutStartSec=1s\n")
    host.kuma.delay_seconds = 30
    with failure_is_mailed(host):
        assert host.start() == "timeout"


# the timer


def test_the_timer_is_listed_with_a_delay_of_this_machine_and_makes_up_for_a_missed_run(host: Host) -> None:
    host.configure()
    host.installed()
    assert TIMER in host.box.do("systemctl", "list-timers", "--no-pager", TIMER)
    assert [host.box.show(TIMER, name) for name in ("Persistent", "FixedRandomDelay", "RandomizedDelayUSec")] == [
        "yes",
        "yes",
        "5min",
    ]
    assert host.kuma.beats == ()

    host.box.do("systemctl", "stop", TIMER)
    host.box.do("touch", "--date=2 hours ago", "/var/lib/systemd/timers/stamp-restic-monitor.timer")
    host.drop_in("[Timer]\nRandomizedDelaySec=0\n", TIMER)
    host.box.do("systemctl", "start", TIMER)
    (beat,) = host.kuma.wait_for_beats(1)
    assert beat.status == "up"


@pytest.mark.slow
def test_the_timer_starts_the_service_at_the_interval(host: Host) -> None:
    host.configure()
    host.drop_in("[Timer]\nRandomizedDelaySec=0\nAccuracySec=10ms\n", TIMER)
    host.installed("--interval", "*:*:0/2")
    assert [beat.status for beat in host.kuma.wait_for_beats(2)] == ["up", "up"]


@pytest.mark.parametrize("interval", ["every hour", "*-*-* 25:00", ""])
def test_an_interval_that_systemd_does_not_understand_is_refused(host: Host, interval: str) -> None:
    host.configure()
    refused = host.install_units("--interval", interval)
    assert refused.returncode == 2
    assert "--interval" in refused.stderr
    assert not any(host.box.path(path).exists() for path in WRITTEN)


# secrets


def test_keys_of_a_store_come_from_an_environment_file_that_only_root_may_read(host: Host, fresh: Path, tmp_path: Path) -> None:
    shutil.copytree(fresh, tmp_path / "backup/web-server")
    with host.box.network(), s3_server(tmp_path) as s3:
        environment = "".join(f"{name}={value}\n" for name, value in s3.env.items())
        host.configure(host.told(s3.location("backup/web-server")), environment=environment)
        host.installed()
        host.succeed()
    assert (host.beat().status, host.beat().msg[:2]) == ("up", "OK")
    everything = host.journal() + host.box.do("systemctl", "show", SERVICE) + host.box.do("systemctl", "cat", SERVICE)
    assert s3.secret not in everything
    assert s3.key_id not in everything


def test_while_it_runs_secrets_are_where_the_page_says_and_nowhere_else(host: Host) -> None:
    """A store that never answers leaves time to look."""
    environment = f"AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE\nAWS_SECRET_ACCESS_KEY={AWS_SECRET}\nRESTIC_PASSWORD='{PASSWORD}'\n"
    enough = threading.Event()

    def never_answer(_: socket.socket) -> None:
        enough.wait()

    with host.box.network(), raw(never_answer) as store:
        url = f"s3:{store.url}/backup/web-server"
        host.configure(host.told(url, "mode: restic\n    extra_env: {MY_TOKEN: in-extra-env}"), environment=environment)
        host.installed()
        host.box.do("systemctl", "start", "--no-block", SERVICE)
        wait(lambda: store.connections, "restic's request")
        program, restic = process(host.box, "restic-monitor"), process(host.box, "restic")
        shown = host.box.do("systemctl", "show", SERVICE)
        host.box.do("systemctl", "stop", SERVICE)
        enough.set()
    secrets = (AWS_SECRET, "AKIAIOSFODNN7EXAMPLE", PASSWORD, TOKEN, "in-extra-env")
    for secret in secrets:
        assert secret not in program.environment
        assert secret not in program.arguments
        assert secret not in restic.arguments
        assert secret not in shown
        assert secret not in host.journal()
    assert [secret in restic.environment for secret in secrets] == [True, True, False, False, True]
    assert url not in restic.arguments
    assert program.user == restic.user == host.box.do("id", "-u", "restic-monitor").strip()


@dataclass(frozen=True)
class Process:
    user: str
    arguments: str
    environment: str


def process(box: Box, name: str) -> Process:
    """The one process of this name in the box, as root sees it."""
    (folder,) = (comm.parent for comm in box.path("/proc").glob("[0-9]*/comm") if comm.read_text().strip() == name)
    return Process(str(folder.stat().st_uid), (folder / "cmdline").read_text(), (folder / "environ").read_text())


def test_a_file_that_everybody_may_read_is_a_credential_if_it_is_a_secret(host: Host) -> None:
    """It may be root's alone tomorrow."""
    more = "password_file: password\n    extra_env: {RCLONE_CONFIG: /etc/restic-monitor/rclone.conf}"
    host.configure(host.told("/srv/backup/web-server", more), **{"rclone.conf": "[offsite]\n"})
    host.box.do("chmod", "644", "/etc/restic-monitor/password", "/etc/restic-monitor/rclone.conf")
    host.installed()
    service = host.box.path(WRITTEN[0]).read_text()
    assert ":/etc/restic-monitor/password\n" in service
    assert "/etc/restic-monitor/rclone.conf" not in service
    host.box.do("chmod", "600", "/etc/restic-monitor/password")
    host.succeed()
    host.assert_up()


def test_a_password_file_of_root_s_opens_the_repository_wherever_it_is_named(host: Host) -> None:
    """By a variable of the environment file or of extra_env, or by a path with `..` in it."""
    host.configure(
        f"""
        defaults: {{url: /srv/backup/web-server, push_url: {host.kuma.url}/api/push/}}
        repositories:
          file: {{push_token: file, mode: restic}}
          extra: {{push_token: extra, extra_env: {{RESTIC_PASSWORD_FILE: /etc/restic-monitor/of extra}}}}
          dots: {{push_token: dots, password_file: ../restic-monitor-dots}}
        """,
        environment="RESTIC_PASSWORD_FILE=/etc/restic-monitor/password\n",
        **{"of extra": PASSWORD, "../restic-monitor-dots": PASSWORD},
    )
    host.kuma.tokens.update(("file", "extra", "dots"))
    host.installed()
    host.succeed()
    assert {beat.token: beat.msg[:2] for beat in host.kuma.beats} == dict.fromkeys(("file", "extra", "dots"), "OK")


def test_messages_about_a_file_that_was_handed_over_name_where_it_came_from(host: Host) -> None:
    """Restic's own words, and those about one that a drop-in takes away again."""
    more = "password_file: password\n    mode: restic\n    cacert: ca.pem"
    host.configure(host.told("rest:https://127.0.0.1:1/", more), **{"ca.pem": "no certificate\n"})
    host.installed()
    host.succeed()
    assert "/etc/restic-monitor/ca.pem" in host.beat().msg
    host.drop_in("[Service]\nLoadCredential=\nLoadCredential=config.yaml:/etc/restic-monitor/config.yaml\n")
    assert host.start() == "exit-code"
    assert "cannot read /etc/restic-monitor/password: no such file or directory" in host.journal()
    for text in (host.beat().msg, host.journal()):
        assert "/run/credentials" not in text
        assert HIDDEN not in text
        assert "***" not in text


def test_a_wrapper_of_restic_that_changes_the_user_is_handed_the_password_and_one_that_closes_files_is_named(
    host: Host,
) -> None:
    """By hand, as root: in the unit nobody changes the user. sudo closes files, whose user it changes, too."""
    host.box.write("/usr/local/bin/restic-as-nobody", f'#!/bin/sh\nexec {" ".join(NOBODY)} restic "$@"\n', 0o755)
    closing = 'import os, sys\n\nos.closerange(3, 256)\nos.execvp("restic", ["restic", *sys.argv[1:]])\n'
    host.box.write("/usr/local/bin/restic-closed", f"#!/opt/restic-monitor/bin/python\n{closing}", 0o755)
    host.configure(
        f"""
        defaults: {{url: /srv/backup/web-server, password: "{PASSWORD}", mode: restic}}
        repositories:
          changed: {{restic: restic-as-nobody}}
          closed: {{restic: restic-closed}}
        """
    )
    looked = host.box.run(PROGRAM, "run", "--no-push")
    assert re.search(r"UP +changed +OK ", looked.stdout), looked
    (message,) = re.findall(r"closed +ERROR (.*?)  ", looked.stdout)
    assert message.startswith("the program given as restic: closes the files that it is handed, as sudo does, ")
    assert message.endswith("write password_file:")


def test_files_that_only_root_may_read_are_handed_over_whatever_they_are_called(host: Host) -> None:
    """By their own names, which are in no message the names of copies; those below /home and /root too."""
    host.box.write("/home/alice/token", TOKEN)
    host.configure(
        f"""
        repositories:
          web-server:
            url: {{from_file: "my url: 100% 'mine'"}}
            push_url: {host.kuma.url}/api/push/
            push_token: {{from_file: /home/alice/token}}
            password_file: "{{{{ .Name }}}}.password"
        """,
        **{"my url: 100% 'mine'": "/srv/backup/web-server", "web-server.password": PASSWORD},
    )
    host.installed()
    host.succeed()
    host.assert_up()
    host.box.write("/home/alice/token", "", 0o600)
    host.start()
    assert "/home/alice/token" in host.journal()
    assert "/run/credentials" not in host.journal()


def test_a_credential_of_a_drop_in_is_a_value(host: Host) -> None:
    """The page's own example."""
    example = shown("yaml", "push_token: {from_credential").replace("https://uptime-kuma.example.com", host.kuma.url)
    host.configure(example + "    password_file: /etc/restic-monitor/password\n", **{"web-server-token": TOKEN})
    host.installed()
    host.drop_in(shown("ini", "LoadCredential=web-server-token"))
    host.succeed()
    host.assert_up()


def test_an_encrypted_credential_is_a_value(host: Host) -> None:
    """The page's own example, with a key of this machine."""
    host.box.do("install", "-d", "/etc/credstore.encrypted")
    command = shown("sh", "systemd-creds encrypt").splitlines()[-1].partition(" | ")[2]
    host.box.do("sh", "-c", command, input=PASSWORD)
    assert PASSWORD not in host.box.path("/etc/credstore.encrypted/web-server-password").read_text()
    host.configure(shown("yaml", "password: {from_credential") + f"    push_url: {host.kuma.url}/api/push/{TOKEN}\n")
    host.installed()
    host.drop_in(shown("ini", "LoadCredentialEncrypted="))
    host.succeed()
    host.assert_up()


def test_the_path_of_a_credential_is_ssh_s_key_and_rclone_s_configuration(host: Host, fresh: Path, tmp_path: Path) -> None:
    """The page's own example, with a real ssh, whose server is known by the page's own commands, and a real rclone."""
    (tmp_path / "keys").mkdir()
    shutil.copy(require("rclone"), host.box.path("/usr/local/bin/rclone"))
    try:
        with host.box.network(), sshd(fresh.parent, tmp_path / "keys") as server:
            example = shown("yaml", "sftp.args=-i {credential_path: ssh-key}")
            urls = {
                "sftp:monitor@nas.example.com:/srv/restic/office": f"{server.location(fresh.name)}\n    push_token: {TOKEN}",
                "rclone:offsite:restic": "rclone:offsite:web-server\n    push_token: offsite",
            }
            for shown_url, url in urls.items():
                example = example.replace(shown_url, url)
            defaults = f"{{push_url: {host.kuma.url}/api/push/, password_file: password}}"
            host.configure(
                f"defaults: {defaults}\n{example}",
                id_ed25519=server.key.read_text(),
                **{"rclone.conf": "[offsite]\ntype = alias\nremote = /srv/backup\n"},
            )
            host.kuma.tokens.add("offsite")
            host.installed()
            host.box.do(
                "sh", "-e", input=shown("sh", "ssh-keyscan").replace("nas.example.com", f"-p {server.port} {server.host}")
            )
            host.drop_in(shown("ini", "LoadCredential=ssh-key"))
            host.succeed()
    finally:
        host.box.do("rm", "/usr/local/bin/rclone")
    assert {beat.token: (beat.status, beat.msg[:2]) for beat in host.kuma.beats} == {
        TOKEN: ("up", "OK"),
        "offsite": ("up", "OK"),
    }


# from the Go tool


def test_until_the_go_tool_is_stopped_its_page_calls_this_program_by_its_whole_path(host: Host) -> None:
    """The other has the same name, and would push."""
    host.box.write("/run/go/config.yaml", shown("yaml", "push_token", GO), 0o600)
    for language, part in (("console", "config check --no-secrets"), ("sh", "config show")):
        command, *output = shown(language, part, GO).splitlines()
        done = host.box.run("sh", "-c", f"cd /run/go && {command.strip().removeprefix('$ ')}")
        assert (done.returncode, done.stderr) == (0, "")
        assert [line.strip() for line in output] in ([], done.stdout.splitlines())
    commands = re.findall(
        r"(?m)^ +(?:\$ )?(\S*)restic-monitor (?!#)", GO.partition("## Move over")[2].partition("## On NixOS")[0]
    )
    assert set(commands) == {"/opt/restic-monitor/bin/"}


# repositories of others


@pytest.fixture
def alice(host: Host) -> Iterator[str]:
    """Another user, with a group and a home that only they may enter."""
    host.box.do("useradd", "--create-home", "--user-group", "alice")
    host.box.do("chmod", "700", "/home/alice")
    yield "alice:alice"
    host.box.do("userdel", "alice")


def test_a_repository_of_another_user_cannot_be_read_and_that_is_told(host: Host, fresh: Path, alice: str) -> None:
    host.put(fresh, "/srv/backup/alice", mode="go=", owner=alice)
    host.configure(host.told("/srv/backup/alice"))
    host.installed()
    host.succeed()
    assert host.beat().status == "down"
    assert "/srv/backup/alice may not be read by this user" in host.beat().msg


def test_a_group_opens_the_repository_of_another_user(host: Host, fresh: Path, alice: str) -> None:
    """By the page's own commands and drop-in. What restic writes later has the modes of `config`, whatever the umask."""
    host.box.do("rm", "-r", "/srv/backup/web-server")
    host.put(fresh, "/srv/backup/web-server", mode="go=", owner=alice)
    host.box.do("groupadd", "--force", "--system", "backup")
    host.box.do("sh", "-e", input=shown("sh", "chgrp"))
    backup = "umask 077; restic --no-cache -r /srv/backup/web-server backup --quiet --host later /etc/hostname"
    setpriv = ["setpriv", "--reuid=alice", "--regid=alice", "--clear-groups"]
    host.box.do(*setpriv, "sh", "-c", backup, env={"RESTIC_PASSWORD": PASSWORD})
    host.configure()
    host.installed()
    host.drop_in(shown("ini", "SupplementaryGroups="))
    host.succeed()
    host.assert_up()
    assert " later " in host.beat().msg


def test_a_capability_opens_the_repository_of_another_user(host: Host, fresh: Path, alice: str) -> None:
    """With the score that the page says."""
    host.put(fresh, "/srv/backup/alice", mode="go=", owner=alice)
    host.configure(host.told("/srv/backup/alice"))
    host.installed()
    drop_in = shown("ini", "CAP_DAC_READ_SEARCH")
    host.drop_in(drop_in)
    before = tree(host.box.path("/srv/backup/alice"))
    host.succeed()
    host.assert_up()
    assert tree(host.box.path("/srv/backup/alice")) == before
    score = host.box.run("systemd-analyze", "security", SERVICE).stdout
    assert "Overall exposure level for restic-monitor.service: 1.5 OK" in score
    assert "(score 1.5)" in PAGE


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/home/alice/restic", "/home/alice/restic"),
        ("/root/backup", "/srv/backup/link"),
        ("/home/alice/my restic: 100%", "/home/alice/my restic: 100%"),
    ],
)
def test_a_repository_below_home_is_seen_and_nothing_beside_it(
    host: Host, fresh: Path, alice: str, path: str, url: str
) -> None:
    """Whatever its name, and whatever the mode of the folders above it. One that is gone is told, and fails nothing."""
    host.put(fresh, path, owner=alice)
    if url != path:
        host.box.do("ln", "-s", path, url)
    host.configure(host.told(f"'{url}'"))
    host.installed()
    host.succeed()
    host.assert_up()
    host.box.do("rm", "-r", path)
    host.succeed()
    assert [beat.status for beat in host.kuma.beats] == ["up", "down"]


def test_a_folder_below_home_that_install_units_cannot_know_is_bound_by_the_pages_drop_in(
    host: Host, fresh: Path, alice: str
) -> None:
    host.put(fresh, "/home/alice/restic", owner=alice)
    host.configure(host.told("{from_file: /etc/restic-monitor/url}"), url="/home/alice/restic")
    host.installed()
    host.drop_in(shown("ini", "BindReadOnlyPaths="))
    host.succeed()
    host.assert_up()
    host.box.do("rm", "-r", "/home/alice/restic")
    host.succeed()
    host.drop_in("[Service]\nBindReadOnlyPaths=\nBindReadOnlyPaths=/home/alice/restic\n")
    assert host.start() == "exit-code"
    assert host.status() == "226"
    assert "status=226/NAMESPACE" in TROUBLES


# a user's systemd


@contextmanager
def user_systemd(box: Box, user: str) -> Iterator[list[str]]:
    """The command in front of `start` and the like."""
    number = box.do("id", "-u", user).strip()
    box.do("systemctl", "start", f"user@{number}.service")
    try:
        yield ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "env", f"XDG_RUNTIME_DIR=/run/user/{number}"]
    finally:
        box.do("systemctl", "stop", f"user@{number}.service")


def test_in_a_users_systemd_the_units_fail_as_the_page_says_and_its_small_ones_work(host: Host, alice: str) -> None:
    hardened = (UNITS / SERVICE).read_text().replace("/usr/bin/restic-monitor", PROGRAM)
    hardened = re.sub("^(User|Group|LoadCredential)=.*\n", "", hardened, flags=re.MULTILINE)
    host.box.write("/home/alice/.config/systemd/user/hardened.service", hardened)
    host.box.write(f"/home/alice/.config/systemd/user/{SERVICE}", shown("ini", "ExecStart=%h"))
    host.box.write(f"/home/alice/.config/systemd/user/{TIMER}", shown("ini", "[Timer]"))
    host.box.write(
        "/home/alice/.config/restic-monitor/config.yaml", host.told("/srv/backup/web-server", f"password: {PASSWORD}")
    )
    host.box.do("mkdir", "-p", "/home/alice/.local/bin")
    host.box.do("ln", "-s", PROGRAM, "/home/alice/.local/bin/restic-monitor")
    host.box.do("chown", "-R", alice, "/home/alice")
    with user_systemd(host.box, "alice") as here:
        assert host.box.run(*here, "systemctl", "--user", "start", "hardened").returncode != 0
        status = host.box.do(*here, "systemctl", "--user", "show", "--value", "--property=ExecMainStatus", "hardened")
        assert status == "226\n"
        host.box.do(*here, "systemctl", "--user", "enable", "--now", TIMER)
        host.box.do(*here, "systemctl", "--user", "start", SERVICE)
        host.assert_up()
