"""Children: own process group, no terminal, empty stdin, both streams read to the end, a deadline. One place for all.

A child that must end gets SIGTERM, then SIGKILL, with its whole group; nobody waits for it. `end_all` is for the end of
the program.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

_GRACE_SECONDS = 2.0
_LINE_LIMIT_BYTES = 64 * 1024
_LINES_KEPT = 2_000
_STDOUT_LIMIT_BYTES = 512 * 1024 * 1024
_WINDOWS = sys.platform == "win32"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended. `why` is "exit", "deadline", "stopped" (by `stop_when`), "too long" (stdout) or "interrupted".

    `status` is as in `subprocess`: negative for a signal; None when the child did not end by itself. `stderr` holds the
    first and the last thousand lines.
    """

    why: str
    status: int | None
    stdout: bytes
    stderr: tuple[str, ...]


class _Lines:
    """Lines as they arrive, bounded: the first and the last thousand."""

    def __init__(self, stop_when: Callable[[str], bool]) -> None:
        self._stop_when = stop_when
        self._head: list[str] = []
        self._tail: list[str] = []
        self.stop = threading.Event()

    def read(self, stream: IO[bytes]) -> None:
        while chunk := stream.readline(_LINE_LIMIT_BYTES):
            self.add(chunk.decode("utf-8", "replace").rstrip("\r\n"))

    def add(self, line: str) -> None:
        if len(self._head) < _LINES_KEPT // 2:
            self._head.append(line)
        else:
            self._tail = [*self._tail[-(_LINES_KEPT // 2) + 1 :], line]
        if self._stop_when(line):
            self.stop.set()

    def all(self) -> tuple[str, ...]:
        return (*self._head, *self._tail)


class _Output:
    """Standard output, bounded."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self.full = threading.Event()

    def read(self, stream: IO[bytes]) -> None:
        while chunk := stream.read1(1 << 20):  # type: ignore[attr-defined]
            self._size += len(chunk)
            if self._size > _STDOUT_LIMIT_BYTES:
                self.full.set()
                return
            self._chunks.append(chunk)

    def all(self) -> bytes:
        return b"".join(self._chunks)


_alive: dict[int, subprocess.Popen[bytes]] = {}
_alive_lock = threading.Lock()
_closing = threading.Event()


def run(
    argv: Sequence[str],
    environment: Mapping[str, str],
    deadline: float,
    stop_when: Callable[[str], bool] = lambda line: False,
) -> Ended:
    """Run a program until it ends, `deadline` (`time.monotonic`) passes, or a line of its stderr makes `stop_when` true.

    Raises OSError when it cannot be started.
    """
    child = _start(argv, environment)
    lines, output = _Lines(stop_when), _Output()
    assert child.stdout
    assert child.stderr
    readers = [_thread(output.read, child.stdout), _thread(lines.read, child.stderr)]
    done = threading.Event()
    _thread(_wait, child, readers, done)
    why = _until(done, lines.stop, output.full, deadline)
    if why != "exit":
        _end(child)
    with _alive_lock:
        if why == "exit":
            _alive.pop(child.pid, None)
    status = child.returncode if why == "exit" else None
    return Ended(why, status, output.all() if why == "exit" else b"", lines.all())


def _start(argv: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with _alive_lock:
        if _closing.is_set():
            raise OSError("the program is ending")
        child = subprocess.Popen(
            argv,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            creationflags=0x200 if _WINDOWS else 0,  # CREATE_NEW_PROCESS_GROUP
            start_new_session=not _WINDOWS,
        )
        _alive[child.pid] = child
    return child


def _thread(target: Callable[..., object], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=_quietly, args=(target, *arguments), daemon=True)
    thread.start()
    return thread


def _quietly(target: Callable[..., object], *arguments: object) -> None:
    with contextlib.suppress(OSError, ValueError):  # a pipe closed under a reader that was given up
        target(*arguments)


def _wait(child: subprocess.Popen[bytes], readers: Sequence[threading.Thread], done: threading.Event) -> None:
    """The child has ended when it was reaped and both streams are read; what its own children keep open is not waited for."""
    child.wait()
    for reader in readers:
        reader.join(_GRACE_SECONDS)
    if any(reader.is_alive() for reader in readers):  # what the child left running holds the streams
        _signal(child, "SIGKILL")
        for reader in readers:
            reader.join(_GRACE_SECONDS)
    if not any(reader.is_alive() for reader in readers):
        for stream in (child.stdout, child.stderr):
            if stream:
                stream.close()
    done.set()


def _until(done: threading.Event, stop: threading.Event, full: threading.Event, deadline: float) -> str:
    """What happens first. Polled every 20 ms: three events cannot be waited for at once."""
    pause = 0.002
    while not done.wait(pause):
        pause = min(0.02, pause * 2)
        if stop.is_set():
            return "stopped"
        if full.is_set():
            return "too long"
        if _closing.is_set():
            return "interrupted"
        if time.monotonic() >= deadline:
            return "deadline"
    return "interrupted" if _closing.is_set() else "exit"


def _end(child: subprocess.Popen[bytes]) -> None:
    """Terminate now; kill in two seconds unless it is gone by then. Returns at once."""
    _signal(child, "SIGTERM")

    def kill_later() -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE_SECONDS)
        _signal(child, "SIGKILL")
        child.wait()
        with _alive_lock:
            _alive.pop(child.pid, None)

    _thread(kill_later)


def _signal(child: subprocess.Popen[bytes], name: str) -> None:
    """To the whole group, whose leader may be gone already."""
    with contextlib.suppress(OSError):
        if _WINDOWS:
            child.terminate()
        else:
            os.killpg(child.pid, getattr(signal, name))


def end_all() -> None:
    """End every child, and start no more. Returns when they are gone, after three seconds at the latest."""
    _closing.set()
    with _alive_lock:
        children = list(_alive.values())
    for child in children:
        _signal(child, "SIGTERM")
    limit = time.monotonic() + _GRACE_SECONDS
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(max(0.01, limit - time.monotonic()))
    for child in children:
        _signal(child, "SIGKILL")
