"""Real stores on the loopback: `rclone serve s3` and restic's rest-server. Each lives as long as its `with`."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import signal
import string
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from restics import require

START_SECONDS = 20


@dataclass(frozen=True)
class S3:
    """Each folder of `folder` is a bucket. Another `endpoint` (dataclasses.replace) is the same through a proxy.

    A bucket's name has no dot: rclone reads from such a one, but does not let restic make it (`client.MakeBucket: label
    must start and end with ...`).
    """

    folder: Path
    endpoint: str
    key_id: str
    secret: str = field(repr=False)

    def location(self, path: str) -> str:
        """restic's name for a repository; `path` is bucket/prefix."""
        return f"s3:{self.endpoint}/{path}"

    @property
    def env(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": self.key_id, "AWS_SECRET_ACCESS_KEY": self.secret}


@dataclass(frozen=True)
class Rest:
    """Each folder below `folder` is a repository. `url` has neither credentials nor a slash at its end."""

    folder: Path
    url: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def location(self, path: str) -> str:
        """restic's name for a repository, with credentials: the only way for a restic before 0.16.1."""
        login = f"{quote(self.user, safe='')}:{quote(self.password or '', safe='')}@" if self.user else ""
        return f"rest:{self.url.replace('://', '://' + login, 1)}/{path}/"


@contextmanager
def s3_server(folder: Path) -> Iterator[S3]:
    """rclone checks signatures, and refuses keys that are too short, so they look like Amazon's (20 and 40 characters).

    It keeps listings of folders: a file that is put there behind its back is seen after 10 ms. A cache of 0 s hung
    under a load of 2,500 files. The keys go in by the environment: the list of processes does not have them.
    """
    key_id = "AKIA" + "".join(secrets.choice(string.ascii_uppercase + "234567") for _ in range(16))
    secret = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(40))
    command = [str(require("rclone")), "serve", "s3", "--addr", "127.0.0.1:0", "--dir-cache-time", "10ms", str(folder)]
    env = {"RCLONE_AUTH_KEY": f'"{key_id},{secret}"', "RCLONE_CONFIG": os.devnull}
    with _serving(command, env, r"server on \[(http://127\.0\.0\.1:\d+)/\]") as endpoint:
        yield S3(folder, endpoint, key_id, secret)


@contextmanager
def rest_server(folder: Path, program: Path | None = None, user: str | None = None, password: str = "") -> Iterator[Rest]:
    """Without a user, everyone may do everything. Without a program, the newest rest-server there is."""
    command = [str(program or require("rest-server")), "--path", str(folder), "--listen", "127.0.0.1:0"]
    with tempfile.TemporaryDirectory(prefix="restic-monitor-test-") as private:
        if user is None:
            command.append("--no-auth")
        else:
            htpasswd = Path(private, "htpasswd")
            digest = base64.b64encode(hashlib.sha1(password.encode()).digest()).decode()
            htpasswd.write_text(f"{user}:{{SHA}}{digest}\n")
            command += ["--htpasswd-file", str(htpasswd)]
        with _serving(command, {}, r"start server on (127\.0\.0\.1:\d+)") as address:
            yield Rest(folder, f"http://{address}", user, password if user else None)


@contextmanager
def _serving(command: Sequence[str], env: Mapping[str, str], announcement: str) -> Iterator[str]:
    """Run a server, yield the address that it announces in its log, and kill it with all its children.

    Both servers take port 0 and say which one they got, so no free port has to be guessed; then they listen.
    """
    with tempfile.TemporaryDirectory(prefix="restic-monitor-test-") as home:
        log = Path(home, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"], "HOME": home, **env},
                start_new_session=True,
            )
        try:
            yield _announced(process, log, announcement)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _announced(process: subprocess.Popen[bytes], log: Path, announcement: str) -> str:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        ended = process.poll() is not None  # asked before the log is read, so that its last words are read too
        text = log.read_text(errors="replace")
        if match := re.search(announcement, text):
            return match[1]
        if ended:
            raise AssertionError(f"{process.args!r} ended with {process.returncode}:\n{text}")
        time.sleep(0.01)
    raise AssertionError(f"{process.args!r} did not start within {START_SECONDS} s:\n{text}")
