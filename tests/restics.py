"""The programs that tests run for real, by name, and restic repositories made with them.

`restic-0.14`, `restic-0.18`, ... is that minor version, `restic` the newest there is; `rest-server` is restic's own,
`rclone` brings a real S3 server. `script/get-restic --all` puts Debian's builds below .tools/<suite>/usr/bin.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
VERSIONS = ("0.14", "0.18", "0.19")
"""Debian 12, 13 and 14. Every test of restic itself runs with each of them."""

PASSWORD = "correct horse battery staple"
_SERVERS = "/usr/sbin:/usr/local/sbin:/usr/lib/openssh:/usr/libexec/openssh:/usr/lib/ssh:/usr/libexec"
"""Where systems keep sshd and sftp-server, which an ordinary user's PATH does not have."""


@cache
def programs() -> Mapping[str, Path]:
    """Every program found, by name. Of several of one version, the first of: the environment, .tools, PATH."""
    named = os.environ.get("RESTIC_MONITOR_TEST_RESTIC", "").split(os.pathsep)
    tools = sorted(CHECKOUT.glob(".tools/*/usr/bin"))
    restics = _by_version([*map(Path, filter(None, named)), *(tool / "restic" for tool in tools), *_on_path("restic")])
    servers = _by_version([tool / "restic-rest-server" for tool in tools] + _on_path("rest-server", "restic-rest-server"))
    rclones = [Path(sys.executable).with_name("rclone"), *_on_path("rclone")]
    found = {f"restic-{major}.{minor}": path for (major, minor), path in restics.items()}
    found |= {name: of[max(of)] for name, of in {"restic": restics, "rest-server": servers}.items() if of}
    return found | dict([("rclone", path) for path in rclones if path.exists()][:1])


def require(name: str) -> Path:
    """The program, or the test is skipped; it fails when RESTIC_MONITOR_REQUIRE (names with commas) names it."""
    if name in programs():
        return programs()[name]
    if found := shutil.which(name) or shutil.which(name, path=_SERVERS):  # of the system: openssl, zsh, ...
        return Path(found)
    ours = {"rclone": "run script/setup"} | dict.fromkeys(("restic", "rest-server"), "run script/get-restic --all")
    ours |= {"ssh": "install openssh-client", "sshd": "install openssh-server", "sftp-server": "install openssh-sftp-server"}
    ours |= {"nix": "install nix-bin", "systemd-analyze": "install systemd"}
    return missing(name, f"{name} is not here: {ours.get(name.partition('-0')[0], f'install {name}')}")


def missing(name: str, reason: str) -> NoReturn:
    """The test is skipped with this reason, or fails with it when RESTIC_MONITOR_REQUIRE names `name`."""
    if name in os.environ.get("RESTIC_MONITOR_REQUIRE", "").split(","):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def versions() -> tuple[str, ...]:
    """Those that every test of restic itself runs with: VERSIONS, and what RESTIC_MONITOR_TEST_RESTIC adds."""
    named = filter(Path.exists, map(Path, filter(None, os.environ.get("RESTIC_MONITOR_TEST_RESTIC", "").split(os.pathsep))))
    added = (f"{major}.{minor}" for major, minor in _by_version(named))
    return tuple(dict.fromkeys((*VERSIONS, *added)))


def _on_path(*names: str) -> list[Path]:
    return [Path(found) for name in names if (found := shutil.which(name))]


def _by_version(candidates: Iterable[Path]) -> dict[tuple[int, int], Path]:
    found: dict[tuple[int, int], Path] = {}
    for path in filter(Path.exists, candidates):
        if version := re.search(r" (\d+)\.(\d+)\.\d", version_of(path)):
            found.setdefault((int(version[1]), int(version[2])), path)
    return found


def version_of(program: Path) -> str:
    """Such as `restic 0.19.1 compiled with go1.26.4 on linux/amd64`. A command of restic's, a flag of rest-server's."""
    argument = "--version" if "rest-server" in program.name else "version"
    return subprocess.run([program, argument], capture_output=True, text=True, check=True).stdout.strip()


@dataclass(frozen=True)
class Backup:
    """One snapshot to make. restic's --time has whole seconds. Without `paths` it is one small file."""

    time: datetime
    host: str = "web1"
    tags: Sequence[str] = ()
    paths: Sequence[Path] | None = None


@dataclass(frozen=True)
class Repository:
    """A repository in a folder of this machine, and the restic that made it."""

    path: Path
    restic: Path
    password: str = PASSWORD

    def run(self, *arguments: str, location: str | None = None, env: Mapping[str, str] | None = None) -> str:
        """What restic says on standard output; AssertionError with its standard error when it fails.

        `location` is another way to the same repository, say `s3:http://...`; `env` has what that way needs.
        """
        command = [str(self.restic), "--no-cache", "--repo", location or str(self.path), *arguments]
        environment = {"PATH": os.environ["PATH"], "TZ": "UTC", "RESTIC_PASSWORD": self.password, **(env or {})}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)
        assert done.returncode == 0, f"restic {' '.join(arguments)}: exit status {done.returncode}\n{done.stderr}"
        return done.stdout

    def backup(self, backup: Backup, location: str | None = None, env: Mapping[str, str] | None = None) -> None:
        assert backup.time.tzinfo, "a time without its time zone"
        time = backup.time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")  # local time for restic, hence TZ=UTC above
        tags = [word for tag in backup.tags for word in ("--tag", tag)]
        paths = [str(path) for path in backup.paths or [small_file()]]
        self.run("backup", "--quiet", "--time", time, "--host", backup.host, *tags, *paths, location=location, env=env)


@cache
def small_file() -> Path:
    """Always the same path, so that restic puts these snapshots of one host into one group."""
    file = CHECKOUT / ".cache" / "test-data" / "index.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("<h1>It works!</h1>\n")
    return file


def make_repository(
    path: Path, restic_version: str = VERSIONS[-1], snapshots: Iterable[Backup] = (), *, version: int = 2
) -> Repository:
    """A repository at `path`, which must not exist, with these snapshots. It is a copy of its restic's template; `version` is
    that of the format."""
    restic = require(f"restic-{restic_version}")
    shutil.copytree(template(restic, version), path)
    repository = Repository(path, restic)
    for snapshot in snapshots:
        repository.backup(snapshot)
    return repository


@cache
def template(restic: Path, version: int = 2) -> Path:
    """An empty repository made with this restic, once per checkout: `restic init` takes 2 s, to calibrate its key.

    The key is a light one. Below .cache, named by the format, the whole version of restic and the password. Workers of
    pytest-xdist wait for each other.
    """
    folder = CHECKOUT / ".cache" / "test-templates"
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / re.sub("[^a-z0-9.]+", "-", f"v{version} {version_of(restic)} {PASSWORD}")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            with tempfile.TemporaryDirectory(dir=folder) as unfinished:
                Repository(Path(unfinished, "repository"), restic).run("init", "--repository-version", str(version))
                lighten_key(Path(unfinished, "repository"))
                Path(unfinished, "repository").rename(made)
    return made


def lighten_key(repository: Path) -> None:
    """Seal the master key anew with an scrypt of N=2: every restic that opens the repository is done 0.4 s sooner.

    Without openssl it stays as it is. The format: "Keys, Encryption and MAC" in
    https://restic.readthedocs.io/en/stable/100_references.html
    """
    if not shutil.which("openssl"):
        return
    (file,) = (repository / "keys").iterdir()
    key = json.loads(file.read_bytes())
    data = base64.b64decode(key["data"])
    nonce, sealed, tag = data[:16], data[16:-16], data[-16:]
    user_key = _user_key(key)
    assert tag == _poly1305_aes(user_key[32:], nonce, sealed), "this is not restic's format"
    master = _aes("256-ctr", user_key[:32], sealed, nonce)
    key |= {"N": 2, "r": 1, "p": 1}
    user_key = _user_key(key)
    sealed = _aes("256-ctr", user_key[:32], master, nonce)
    key["data"] = base64.b64encode(nonce + sealed + _poly1305_aes(user_key[32:], nonce, sealed)).decode()
    content = json.dumps(key).encode()
    file.unlink()
    (repository / "keys" / hashlib.sha256(content).hexdigest()).write_bytes(content)


def _user_key(key: Mapping[str, Any]) -> bytes:
    """32 bytes for AES-256, 16 for the AES-128 of Poly1305-AES, 16 for its r."""
    salt, n, r, p = base64.b64decode(key["salt"]), key["N"], key["r"], key["p"]
    return hashlib.scrypt(PASSWORD.encode(), salt=salt, n=n, r=r, p=p, dklen=64, maxmem=256 * n * r + 1024 * r * p)


def _poly1305_aes(key: bytes, nonce: bytes, message: bytes) -> bytes:
    """https://cr.yp.to/mac/poly1305-20050329.pdf"""
    r = int.from_bytes(key[16:], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for start in range(0, len(message), 16):
        total = (total + int.from_bytes(message[start : start + 16] + b"\1", "little")) * r % (2**130 - 5)
    total += int.from_bytes(_aes("128-ecb", key[:16], nonce), "little")
    return (total % 2**128).to_bytes(16, "little")


def _aes(mode: str, key: bytes, message: bytes, nonce: bytes = b"") -> bytes:
    command = ["openssl", "enc", f"-aes-{mode}", "-nopad", "-K", key.hex(), *(["-iv", nonce.hex()] if nonce else [])]
    return subprocess.run(command, input=message, capture_output=True, check=True).stdout
