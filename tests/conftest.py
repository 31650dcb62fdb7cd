"""Fixtures: a clean environment, the program as its user runs it, Uptime Kuma, an S3 server, a rest-server.

Repositories are made by a function, `restics.make_repository(path, version, [Backup(time=...)])`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from kuma import Kuma
from restics import require, versions
from servers import S3, Rest, rest_server, s3_server
from sshd import Sftp
from sshd import sshd as sshd_server

KEPT = frozenset({"PATH", "TMPDIR", "LANG", "RESTIC_MONITOR_TEST_RESTIC", "RESTIC_MONITOR_REQUIRE", "CI"})
KEPT_PREFIXES = ("PYTEST_", "PYTHON", "COVERAGE_", "LC_", "PIP_", "UV_")


@pytest.fixture(scope="session", autouse=True)
def signals() -> None:
    """A suite started in the background, or by nohup, inherits ignored signals; the programs it starts must not."""
    for number in (signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees what the developer has set: credentials, proxies, colours, a terminal's width, a home folder.

    For the rest of the process, not restored: it ends with the tests.
    """
    for name in set(os.environ) - KEPT:
        if not name.startswith(KEPT_PREFIXES):
            del os.environ[name]
    os.environ["HOME"] = str(tmp_path_factory.mktemp("home"))


@dataclass(frozen=True)
class Completed:
    """What the user sees of a run. `returncode` is negative when a signal ended it."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Run:
    """Runs `restic-monitor` as its user does: a process of its own, without a terminal, in a clean environment."""

    home: Path

    def __call__(
        self,
        *args: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        input: str | None = None,  # noqa: A002
        timeout: float = 60,
    ) -> Completed:
        """`timeout` is in seconds; after it, whatever the program started is killed and the test fails."""
        process = subprocess.Popen(
            [sys.executable, "-m", "restic_monitor", *map(str, args)],
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8", **(env or {})},
            cwd=cwd or self.home,
            start_new_session=True,
        )
        with process:
            try:
                stdout, stderr = process.communicate(input, timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                stdout, stderr = process.communicate()
                pytest.fail(f"restic-monitor did not end within {timeout} s\n{stdout}\n{stderr}")
        return Completed(process.returncode, stdout, stderr)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Its HOME and its working folder, unless told otherwise, is tmp_path/home."""
    home = tmp_path / "home"
    home.mkdir()
    return Run(home)


@pytest.fixture
def kuma() -> Iterator[Kuma]:
    """An Uptime Kuma 2.x without monitors: `kuma.add_monitor()` makes one and returns its token."""
    with Kuma(major=2) as server:
        yield server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """One server for the session: take a bucket of your own, `make_repository(s3.folder / bucket / "repo")`."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rest]:
    """One server for the session, with a user and a password: take a folder of your own."""
    with rest_server(tmp_path_factory.mktemp("rest"), user="monitor", password="p@ss/w:rd") as server:
        yield server


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sftp]:
    """One server for the session: take a folder of your own."""
    with sshd_server(tmp_path_factory.mktemp("sftp"), tmp_path_factory.mktemp("ssh-keys")) as server:
        yield server


@dataclass(frozen=True)
class Unprivileged:
    """A folder that everybody may enter, and what to put before a command so that it cannot read everything."""

    folder: Path
    prefix: str


@pytest.fixture
def unprivileged() -> Iterator[Unprivileged]:
    """root reads whatever its mode says; then the command becomes another user's."""
    prefix = ""
    if os.getuid() == 0:
        prefix = f"{require('setpriv')} --reuid=65534 --regid=65534 --clear-groups "
    with tempfile.TemporaryDirectory(prefix="restic-monitor-test-") as folder:
        Path(folder).chmod(0o755)
        yield Unprivileged(Path(folder), prefix)


@dataclass(frozen=True)
class Certificate:
    """PEM files for https://127.0.0.1, https://localhost and https://store.test; the certificate is its own authority."""

    cert: Path
    key: Path


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Fit for VERIFY_X509_STRICT too, which Python 3.13 asks for by default: it wants keyUsage in an authority."""
    require("openssl")
    folder = tmp_path_factory.mktemp("tls")
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    command += " -addext subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:store.test"
    command += " -addext keyUsage=critical,digitalSignature,keyCertSign"
    subprocess.run([*command.split(), "-out", made.cert, "-keyout", made.key], check=True, capture_output=True)
    return made


@pytest.fixture(scope="session", params=versions())
def restic_version(request: pytest.FixtureRequest) -> str:
    """The test runs once with each restic; where one is missing, it is skipped (see restics.require)."""
    version = str(request.param)
    require(f"restic-{version}")
    return version
