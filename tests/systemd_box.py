"""A real systemd, booted in a throw-away container that shows this machine's own files, and the program installed in it.

systemd-nspawn boots the root file system of this machine below an overlay in memory, in a network of its own: nothing
that is written in the box survives it, and nothing of the host runs in it. Nothing is downloaded. Needs root, Linux and
the packages `systemd` and `systemd-container`; one boot takes half a second.

The box lives in a mount namespace of its own, so that no mount of it is ever seen on the host. However the tests end, the
kernel tells nspawn (prctl(2), PR_SET_PDEATHSIG), which powers off at once: SIGRTMIN+14, systemd(1).
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from restics import CHECKOUT, missing, require

Found = TypeVar("Found")

CLONE_NEWNET = 0x40000000
"""<linux/sched.h>"""

NAME = "restic-monitor"
PROGRAM = "/opt/restic-monitor/bin/restic-monitor"
"""In the box, in a virtual environment of its own."""

OF_THE_HOST = (
    *(f"/opt/{NAME}", f"/etc/{NAME}", f"/var/lib/{NAME}", f"/var/cache/{NAME}", f"/etc/sysusers.d/{NAME}.conf"),
    *(f"/etc/systemd/system/{NAME}{suffix}" for suffix in (".service", ".timer", ".service.d", ".timer.d")),
)
"""Of an installation of its own: the box shows it, and the tests begin without."""

PYTHON = "/opt/python"
"""In the box: where the interpreter of the tests is, if it is not the system's. Units see nothing below /root, /home, /tmp."""

_BOOT = """
set -e
folder=$1
shift
for group; do echo $$ >"$group/cgroup.procs"; done
mount --make-rprivate /
mount --bind / "$folder"
exec systemd-nspawn --directory="$folder" --volatile=overlay --private-network --register=no --keep-unit --link-journal=no \
    --resolv-conf=off --timezone=off --console=pipe --quiet --kill-signal=SIGRTMIN+14 --boot systemd.unit=basic.target
"""


class CannotBootError(Exception):
    """With the reason in words."""


def unavailable() -> str | None:
    """Why no box can be booted here, as far as that is known without trying; None when nothing speaks against it."""
    if os.geteuid() != 0:
        return "needs root"
    for program, package in {"systemd-nspawn": "systemd-container", "nsenter": "util-linux", "setpriv": "util-linux"}.items():
        if not shutil.which(program):
            return f"needs {program} (package {package})"
    if not Path("/lib/systemd/systemd").exists():
        return "needs the package systemd"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        return "needs the right to mount (CAP_SYS_ADMIN)"
    return None


@dataclass(frozen=True)
class Completed:
    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Box:
    """`root` is the box's root folder, for reading and writing from outside; absolute symbolic links lead astray there."""

    leader: int

    @property
    def root(self) -> Path:
        return Path(f"/proc/{self.leader}/root")

    def path(self, path: str | Path) -> Path:
        """Where to find a file of the box from outside."""
        return self.root / str(path).lstrip("/")

    def run(
        self,
        *argv: str | Path,
        env: Mapping[str, str] | None = None,
        input: str | None = None,  # noqa: A002
        timeout: float = 60,
    ) -> Completed:
        """As root in the box, in its root folder. `timeout` is in seconds."""
        enter = ["nsenter", f"--target={self.leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", "--"]
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **(env or {})}
        done = subprocess.run(
            [*enter, *map(str, argv)],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env=environment,
        )
        return Completed(done.returncode, done.stdout, done.stderr)

    def do(self, *argv: str | Path, env: Mapping[str, str] | None = None, input: str | None = None) -> str:  # noqa: A002
        """What the command says on standard output; AssertionError when it fails."""
        done = self.run(*argv, env=env, input=input)
        assert done.returncode == 0, f"{' '.join(map(str, argv))}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def write(self, path: str, text: str, mode: int = 0o644, owner: str = "root:root") -> None:
        """A file of the box, and the folders on the way to it."""
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(0o600)
        file.chmod(mode)
        file.write_text(text)
        if owner != "root:root":
            self.do("chown", owner, path)

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.do("systemctl", "show", "--value", f"--property={name}", unit).rstrip("\n")

    def journal(self, unit: str) -> str:
        """The messages of a unit, and of systemd about it, since the box was cleaned."""
        self.do("journalctl", "--sync")
        return self.do("journalctl", "--quiet", "--no-pager", "--output=cat", f"--unit={unit}", f"--since=@{self._since():.6f}")

    def _since(self) -> float:
        mark = self.path("/run/cleaned")
        return mark.stat().st_mtime if mark.exists() else 0.0

    def clean(self, *paths: str) -> None:
        """Remove these paths, and forget the units that were there and what they said."""
        self.do("rm", "-rf", "--one-file-system", "--", *paths)
        self.do("systemctl", "daemon-reload")
        self.do("systemctl", "reset-failed")
        self.path("/run/cleaned").write_text("")

    @contextmanager
    def network(self) -> Iterator[None]:
        """Within it, the sockets that this thread makes and the processes that it starts are in the box's network.

        They stay there: a server that was started within serves 127.0.0.1 of the box. setns(2)
        """
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as ours, open(f"/proc/{self.leader}/ns/net") as theirs:
            assert libc.setns(theirs.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert libc.setns(ours.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())


def wait(found: Callable[[], Found | None], what: str, seconds: float = 15) -> Found:
    """The first thing found that is true; the test fails with `what` did not come."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if it := found():
            return it
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come within {seconds} s")


@contextmanager
def boot(timeout: float = 60) -> Iterator[Box]:
    """CannotBootError when this machine cannot. `timeout` is in seconds."""
    if reason := unavailable():
        raise CannotBootError(reason)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="restic-monitor-box-"))
        stack.callback(folder.rmdir)  # a mount point only within the box's own namespace: empty for everybody else
        groups = _control_groups(folder.name)
        stack.callback(_remove, groups)
        log = stack.enter_context(tempfile.TemporaryFile())
        nspawn = subprocess.Popen(
            ["setpriv", "--pdeathsig=TERM", "unshare", "--mount", "sh", "-c", _BOOT, "boot", folder, *groups],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the tests: they end the box
        )
        stack.callback(_end, nspawn)
        end = time.monotonic() + timeout
        while not (box := _booted(nspawn.pid)):
            if nspawn.poll() is not None or time.monotonic() > end:
                log.seek(0)
                said = log.read().decode(errors="replace").strip().splitlines() or ["nothing was said"]
                raise CannotBootError(f"no systemd came up in systemd-nspawn: {said[-1].strip()}")
            time.sleep(0.02)
        _forget_the_host(box)
        yield box


def _forget_the_host(box: Box) -> None:
    """In the box alone: nothing that is removed there is missing on the host."""
    if any(os.path.lexists(box.path(path)) for path in OF_THE_HOST):
        box.run("systemctl", "stop", f"{NAME}.timer", f"{NAME}.service")
        box.run("systemctl", "disable", f"{NAME}.timer")
        box.do("rm", "-rf", "--one-file-system", "--", *OF_THE_HOST)
        box.do("systemctl", "daemon-reload")


def _control_groups(name: str) -> list[Path]:
    """One of its own in each hierarchy that systemd uses: in one together, two boxes end each other's services. cgroups(7)"""
    mounts = {"": ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"), "name=systemd": ("/sys/fs/cgroup/systemd",)}
    made = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        parents = (Path(mount + path) for mount in mounts.get(controllers, ()))
        for parent in [parent for parent in parents if (parent / "cgroup.procs").exists()][:1]:
            made.append(parent / name)
            try:
                made[-1].mkdir()
            except OSError as error:
                raise CannotBootError(f"cannot make the control group {made[-1]}: {error.strerror}") from None
    return made


def _remove(groups: list[Path]) -> None:
    """When the last process of the box has gone, which may take a moment."""

    def gone() -> bool:
        for folder in [folder for group in groups for folder in (*sorted(group.rglob("*/"), reverse=True), group)]:
            with suppress(OSError):
                folder.rmdir()
        return not any(group.exists() for group in groups)

    wait(gone, "the end of every process in the box")


def _booted(nspawn: int) -> Box | None:
    """systemd is the child of nspawn, and has started everything."""
    try:
        for child in _children(nspawn):
            if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                box = Box(child)
                return box if box.run("systemctl", "is-system-running").stdout.strip() in {"running", "degraded"} else None
    except OSError:
        pass
    return None


def _children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _end(nspawn: subprocess.Popen[bytes]) -> None:
    nspawn.terminate()
    try:
        nspawn.wait(10)
    except subprocess.TimeoutExpired:
        for child in _children(nspawn.pid):  # they would outlive it
            os.kill(child, signal.SIGKILL)
        nspawn.kill()
        nspawn.wait()


def _without_generators(box: Box) -> None:
    """`systemctl daemon-reload` starts every one of them, which takes most of its time. systemd.generator(7)"""
    masks = box.path("/run/systemd/system-generators")
    masks.mkdir(exist_ok=True)
    for generator in box.path("/usr/lib/systemd/system-generators").glob("*"):
        (masks / generator.name).symlink_to("/dev/null")


def install(box: Box) -> None:
    """The program as a package of a virtual environment in /opt, and restic in /usr/local/bin.

    Copied, because units see nothing below /home, /root and /tmp, and the checkout may be there.
    """
    python = _interpreter(box)
    box.do(python, "-m", "venv", "--without-pip", "/opt/restic-monitor")
    packages = box.path(f"/opt/restic-monitor/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages")
    for name in sorted(_needed("restic-monitor")):
        _copy(importlib.metadata.distribution(name), packages)
    shutil.copytree(CHECKOUT / "src/restic_monitor", packages / "restic_monitor")
    script = "import sys\nfrom restic_monitor.cli import main\n\nsys.exit(main())\n"
    box.write(PROGRAM, f"#!/opt/restic-monitor/bin/python\n{script}", 0o755)
    shutil.copy(require("restic"), box.path("/usr/local/bin/restic"))


def _interpreter(box: Box) -> str:
    """The interpreter of the tests, under a path that units see: the system's, or the same files once more in /opt/python.

    An interpreter that knows where it is installed (its loader, its libraries) is told anew; the longer path makes room.
    """
    base, executable = Path(sys.base_prefix).resolve(), Path(sys.executable).resolve()
    if base == Path("/usr"):
        return str(executable)
    box.do("mkdir", "-p", PYTHON)
    if box.path(base).is_dir():
        box.do("mount", "--bind", base, PYTHON)
    else:  # below /tmp, which is the box's own
        shutil.copytree(base, box.path(PYTHON), symlinks=True, dirs_exist_ok=True)
    moved = Path(PYTHON) / executable.relative_to(base)
    old, content = str(base).encode(), executable.read_bytes()
    new = re.sub(
        rb"(?<=\0)%s([^\0:]*)\0" % re.escape(old),
        lambda match: (PYTHON.encode() + match[1]).ljust(len(match[0]), b"\0"),
        content,
    )
    if new != content:
        box.path(moved).unlink()
        box.path(moved).write_bytes(new)
        box.path(moved).chmod(0o755)
    return str(moved)


def _needed(name: str) -> set[str]:
    """The distributions that this one needs without its extras, all the way down, and not this one."""
    lines = importlib.metadata.requires(name) or []
    direct = {match[0] for line in lines if "extra ==" not in line and (match := re.match(r"[\w.-]+", line))}
    direct = {of for of in direct if _installed(of)}  # one with a marker, for another Python, may be missing
    return direct.union(*(_needed(of) for of in direct))


def _installed(name: str) -> bool:
    return any(importlib.metadata.distributions(name=name))


def _copy(distribution: importlib.metadata.Distribution, packages: Path) -> None:
    """Its files below site-packages, not those beside it (scripts), with their bytecode: the service cannot write any."""
    for file in distribution.files or ():
        if ".." in file.parts:
            continue
        for name in (str(file), importlib.util.cache_from_source(str(file))) if file.suffix == ".py" else (str(file),):
            source, target = Path(str(distribution.locate_file(name))), packages / name
            if source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)


@pytest.fixture(scope="session")
def box() -> Iterator[Box]:
    """One for the session (for each worker of pytest-xdist), with the program installed. Clean up behind you."""
    with ExitStack() as stack:
        try:
            booted = stack.enter_context(boot())
        except CannotBootError as error:
            missing("systemd", f"cannot boot a systemd: {error}")
        _without_generators(booted)
        install(booted)
        yield booted
