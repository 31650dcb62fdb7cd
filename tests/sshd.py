"""A real OpenSSH server on the loopback, with keys of its own: one for the host, one that may log in, one that may not."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from restics import require
from servers import _serving

_CONFIG = """
ListenAddress 127.0.0.1
HostKey {keys}/host
AuthorizedKeysFile {keys}/authorized
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 100
Subsystem sftp {subsystem}
"""


@dataclass(frozen=True)
class Sftp:
    """`folder` is where repositories are made; its whole path is the one on the server. The login is this user's.

    `key` and `known_hosts` may be replaced by others (dataclasses.replace). The key `stranger` may not log in.
    """

    folder: Path
    host: str
    port: int
    user: str
    key: Path
    known_hosts: Path
    stranger: Path = field(repr=False)

    def location(self, path: str) -> str:
        """restic's name for a repository; `path` is below `folder`."""
        return f"sftp://{self.user}@{self.host}:{self.port}/{self.folder / path}"

    @property
    def args(self) -> str:
        """restic's option sftp.args: this key, this list of hosts, and nothing that the developer has set."""
        known = f"UserKnownHostsFile={self.known_hosts}"
        words = ["-F", "none", "-i", str(self.key), "-oIdentitiesOnly=yes", f"-o{known}", "-oGlobalKnownHostsFile=none"]
        return " ".join(words)

    @property
    def command(self) -> str:
        """The whole of sftp.command: restic before 0.16 has no sftp.args."""
        return f"ssh {self.host} -p {self.port} -l {self.user} {self.args} -s sftp"

    @property
    def env(self) -> Mapping[str, str]:
        """No agent, whose keys would let in whom it should not."""
        return {"PATH": os.environ["PATH"]}


@contextmanager
def sshd(folder: Path, keys: Path, subsystem: str = "internal-sftp") -> Iterator[Sftp]:
    """`keys` is an empty folder. As root the server wants a user `sshd` and a folder /run/sshd; the folder is made."""
    program = require("sshd")
    require("ssh")
    _prepare_root()
    for name in ("host", "login", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", keys / name], check=True)
    (keys / "authorized").write_bytes((keys / "login.pub").read_bytes())
    (keys / "config").write_text(_CONFIG.format(keys=keys, subsystem=subsystem))
    port = _free_port()
    host_key = (keys / "host.pub").read_text()
    (keys / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    command = [str(program), "-D", "-e", "-p", str(port), "-f", str(keys / "config")]
    user = pwd.getpwuid(os.getuid()).pw_name
    with _serving(command, {}, r"Server listening on (127\.0\.0\.1)") as host:
        yield Sftp(folder, host, port, user, keys / "login", keys / "known_hosts", keys / "stranger")


def _prepare_root() -> None:
    if os.getuid() != 0:
        return
    try:
        pwd.getpwnam("sshd")
    except KeyError:
        pytest.skip("sshd as root wants a user of that name: install openssh-server")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)


def _free_port() -> int:
    """sshd does not take 0."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
