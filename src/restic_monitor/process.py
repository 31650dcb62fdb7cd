"""Children: a session of their own, no terminal, empty stdin, both streams read, a deadline. One place for all.

A child that must end gets SIGTERM and, half a second later, SIGKILL, with all it has started. Only the thread that started
a child signals it and reaps it, so no signal can meet a stranger that has got its number. POSIX only.
"""

from __future__ import annotations

import contextlib
import io
import os
import selectors
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_GRACE_SECONDS = 0.5
_PAUSE_SECONDS = 0.05
_CHUNK_BYTES = 64 * 1024
_LINES_KEPT = 2_000
_STDOUT_LIMIT_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended. `why` is "exit", "deadline", "stopped" (by `stop_when`), "too long" (stdout) or "interrupted".

    `status` is as in `subprocess`: negative for a signal; None when the child did not end by itself. `stderr` holds the
    first and the last thousand lines, up to our own signal: what a child says to that is about us.
    """

    why: str
    status: int | None
    stdout: bytes
    stderr: tuple[str, ...]


class _Output:
    """Standard output, bounded. In one piece from the beginning: chunks and their join would be there twice."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()

    def feed(self, chunk: bytes) -> None:
        if not self.full:
            self._bytes.write(chunk)

    @property
    def full(self) -> bool:
        return self._bytes.tell() > _STDOUT_LIMIT_BYTES

    def all(self) -> bytes:
        return self._bytes.getvalue()


class _Lines:
    """Standard error as lines, bounded: the first and the last thousand; `stop` once one of them made `stop_when` true."""

    def __init__(self, stop_when: Callable[[str], bool]) -> None:
        self._stop_when = stop_when
        self._rest = b""
        self._head: list[str] = []
        self._tail: deque[str] = deque(maxlen=_LINES_KEPT // 2)
        self.stop = False

    def feed(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _CHUNK_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._add(line)

    def _add(self, raw: bytes) -> None:
        line = raw.decode("utf-8", "replace").rstrip("\r")
        (self._head if len(self._head) < _LINES_KEPT // 2 else self._tail).append(line)
        self.stop = self.stop or self._stop_when(line)

    def all(self) -> tuple[str, ...]:
        if self._rest:
            self._add(self._rest)
            self._rest = b""
        return (*self._head, *self._tail)


_alive: set[object] = set()
_changed = threading.Condition()
_closing = threading.Event()


def run(
    argv: Sequence[str],
    environment: Mapping[str, str],
    deadline: float,
    stop_when: Callable[[str], bool] = lambda line: False,
) -> Ended:
    """Run a program until it ends, `deadline` (`time.monotonic`) passes, or a line of its stderr makes `stop_when` true.

    Returns within a second after the deadline. Raises OSError when the program cannot be started.
    """
    place = object()
    with _changed:
        if _closing.is_set():
            raise OSError("the program is ending")
        _alive.add(place)
    try:
        return _run(argv, environment, deadline, stop_when)
    finally:
        with _changed:
            _alive.discard(place)
            _changed.notify_all()


def end_all() -> None:
    """End every child, and start no more. Returns when they are gone, after two seconds at the latest."""
    _closing.set()
    with _changed:
        _changed.wait_for(lambda: not _alive, 2.0)


def _run(argv: Sequence[str], environment: Mapping[str, str], deadline: float, stop_when: Callable[[str], bool]) -> Ended:
    output, lines, why = _Output(), _Lines(stop_when), ""
    with selectors.DefaultSelector() as streams:
        child = subprocess.Popen(
            argv,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        try:
            assert child.stdout
            assert child.stderr
            streams.register(child.stdout, selectors.EVENT_READ, output.feed)
            streams.register(child.stderr, selectors.EVENT_READ, lines.feed)
            why = _follow(child, streams, output, lines, deadline)
            said = lines.all()
        finally:
            _end(child, streams, by_itself=why == "exit")
            for stream in filter(None, (child.stdout, child.stderr)):
                stream.close()
    return Ended(why, child.returncode if why == "exit" else None, output.all() if why == "exit" else b"", said)


def _follow(
    child: subprocess.Popen[bytes], streams: selectors.BaseSelector, output: _Output, lines: _Lines, deadline: float
) -> str:
    """Read until the child has ended or has to. What it leaves running may hold the streams: that is not waited for."""
    ended = None
    while True:
        _read(streams)
        now = time.monotonic()
        if ended is None and _has_ended(child):
            ended = now
        if ended is not None and (not streams.get_map() or now >= min(ended + _GRACE_SECONDS, deadline)):
            return "exit"
        if lines.stop:
            return "stopped"
        if output.full:
            return "too long"
        if _closing.is_set():
            return "interrupted"
        if now >= deadline:
            return "deadline"


def _read(streams: selectors.BaseSelector) -> None:
    """What is there; waits a little for it. With both streams at their end the child is about to end, too."""
    for key, _ in streams.select(_PAUSE_SECONDS if streams.get_map() else _PAUSE_SECONDS / 10):
        if chunk := os.read(key.fd, _CHUNK_BYTES):
            key.data(chunk)
        else:
            streams.unregister(key.fileobj)


def _has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Asked without reaping it: its number stays its own until its group was killed."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return child.poll() is not None
    try:
        return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # who started us ignores SIGCHLD: the kernel has reaped it
        return True


def _end(child: subprocess.Popen[bytes], streams: selectors.BaseSelector, *, by_itself: bool) -> None:
    """Leave nothing of it: its group where it ended by itself, else its whole session."""
    if not by_itself:
        _signal(_groups(child.pid), signal.SIGTERM)
        limit = time.monotonic() + _GRACE_SECONDS
        while not _has_ended(child) and time.monotonic() < limit:
            _read(streams)  # one that says goodbye to a closed pipe would not get further
    _signal({child.pid} if by_itself else _groups(child.pid), signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in the kernel cannot be waited for
        child.wait(_GRACE_SECONDS / 2)


def _groups(leader: int) -> set[int]:
    """The process groups of a child's session: restic 0.19 gives ssh and rclone groups of their own.

    Without Linux's /proc (fields: proc_pid_stat(5)) it is the child's own.
    """
    groups = {leader}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            _state, _parent, group, session = stat.read_bytes().rpartition(b")")[2].split()[:4]
            if int(session) == leader:
                groups.add(int(group))
    return groups


def _signal(groups: set[int], number: signal.Signals) -> None:
    for group in groups:
        with contextlib.suppress(OSError):
            os.killpg(group, number)
