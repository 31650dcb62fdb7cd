"""Children: a session of their own, no terminal, both streams read, a deadline. One place for all.

`run` is for programs that speak and end; their stdin is empty. A `Conversation` is for one that is asked and answers.
A child that must end gets SIGTERM and, half a second later, SIGKILL, with all it has started. Only the thread that started
a child, or holds the lock of its conversation, signals it and reaps it, so no signal can meet a stranger that has got its
number. POSIX only.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from msgspec import Struct

_GRACE_SECONDS = 0.5
_PAUSE_SECONDS = 0.05
_CHUNK_BYTES = 64 * 1024
_LINES_KEPT = 2_000
_STDOUT_LIMIT_BYTES = 512 * 1024 * 1024
_AHEAD_LIMIT_BYTES = 1024 * 1024
HANDED_LIMIT_BYTES = 4096
"""What every pipe holds before anybody reads from it."""


class Ended(Struct, frozen=True):
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
    handed: Mapping[str, bytes] = MappingProxyType({}),
) -> Ended:
    """Run a program until it ends, `deadline` (`time.monotonic`) passes, or a line of its stderr makes `stop_when` true.

    `handed` is what the child may read once from a file that each of these variables names: a pipe, so that it stands
    neither in the child's environment nor on a disk. At most HANDED_LIMIT_BYTES each.
    Returns within a second after the deadline. Raises OSError when the program cannot be started.
    """
    place = object()
    _enter(place)
    try:
        with _handed(handed) as (variables, descriptors):
            child = _start(argv, {**environment, **variables}, subprocess.DEVNULL, descriptors)
        return _run(child, deadline, stop_when)
    finally:
        _leave(place)


class ConversationError(Exception):
    """The child has not answered and is gone; `ended` says how. Its `stdout` is what came and was not read.

    `ended.why` is as after `run`. "exit" is also that it closed its streams; then its status is None where it went on.
    """

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.why)
        self.ended = ended


class Conversation:
    """A child that is written to and read from. By one thread at a time; who starts it closes it.

    Raises OSError when the program cannot be started.
    """

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._lines = _Lines(lambda line: False)
        self._came = bytearray()
        self._ended: Ended | None = Ended("exit", None, b"", ())  # until it has begun
        _enter(self)
        with self._lock:
            try:
                self._child = _start(argv, environment, subprocess.PIPE)
            except BaseException:
                _leave(self)
                raise
            assert self._child.stdin
            assert self._child.stdout
            assert self._child.stderr
            self._stdin, self._stdout, self._stderr = self._child.stdin, self._child.stdout, self._child.stderr
            os.set_blocking(self._stdin.fileno(), False)
            self._streams = selectors.DefaultSelector()
            self._streams.register(self._stdout, selectors.EVENT_READ, self._feed)
            self._streams.register(self._stderr, selectors.EVENT_READ, self._lines.feed)
            self._ended = None

    def write(self, data: bytes, deadline: float) -> None:
        """All of it; at best no more than a pipe holds. Raises ConversationError."""
        rest = memoryview(data)
        with self._lock:
            while rest:
                self._go_on(deadline)
                try:
                    rest = rest[os.write(self._stdin.fileno(), rest) :]
                except BlockingIOError:
                    _read(self._streams)
                except OSError:
                    raise self._over("exit", deadline) from None

    def read(self, count: int, deadline: float) -> bytes:
        """`count` bytes, no fewer. Raises ConversationError."""
        with self._lock:
            while len(self._came) < count:
                self._go_on(deadline)
                if self._stdout not in self._streams.get_map():
                    raise self._over("exit", deadline)
                _read(self._streams)
            taken = bytes(memoryview(self._came)[:count])
            del self._came[:count]
            return taken

    @property
    def ahead(self) -> bytes:
        """What has come and was not read yet."""
        return bytes(self._came)

    def close(self) -> None:
        """End it: it may notice that its stdin has ended, then it must. Raises nothing."""
        with self._lock:
            if self._ended is None:
                self._stdin.close()
                self._over("exit", time.monotonic() + _GRACE_SECONDS)

    def _feed(self, chunk: bytes) -> None:
        if len(self._came) <= _AHEAD_LIMIT_BYTES:
            self._came += chunk

    def _go_on(self, deadline: float) -> None:
        if self._ended is not None:
            raise ConversationError(self._ended)
        if _closing.is_set():
            raise self._over("interrupted", deadline)
        if len(self._came) > _AHEAD_LIMIT_BYTES:
            raise self._over("too long", deadline)
        if time.monotonic() >= deadline:
            raise self._over("deadline", deadline)

    def _over(self, why: str, deadline: float) -> ConversationError:
        """Leave nothing of it. One that has closed its streams has a moment for its last words and its status."""
        by_itself = False
        if why == "exit":
            deadline = min(deadline, time.monotonic() + _GRACE_SECONDS)
            by_itself = _follow(self._child, self._streams, _Output(), self._lines, deadline) == "exit"
        said = self._lines.all()
        _end(self._child, self._streams, by_itself=by_itself)
        self._streams.close()
        for stream in (self._stdin, self._stdout, self._stderr):
            stream.close()
        _leave(self)
        self._ended = Ended(why, self._child.returncode if by_itself else None, bytes(self._came), said)
        return ConversationError(self._ended)


def end_all() -> None:
    """End every child, and start no more. Returns when they are gone, after two seconds at the latest.

    Those of `run` are ended by their threads; nobody may be waiting for a conversation.
    """
    _closing.set()
    with _changed:
        conversations = [place for place in _alive if isinstance(place, Conversation)]
    for conversation in conversations:
        threading.Thread(target=conversation.close, daemon=True).start()
    with _changed:
        _changed.wait_for(lambda: not _alive, 2.0)


def split(command: str) -> list[str]:
    """A command as words, as restic splits it: quotes, and no shell. Raises ValueError.

    A quote ends a word also in its middle, and a backslash only keeps the next quote from being one
    (SplitShellStrings in restic's internal/backend/shell_split.go).
    """
    words, quote, last = [""], "", ""
    for character in command:
        if last != "\\" and character in "'\"" and quote in ("", character):
            quote = "" if quote else character
            words.append("")
            continue
        last = character
        if not quote and (character == "\\" or character.isspace()):
            words.append("")
        else:
            words[-1] += character
    if quote:
        raise ValueError(f"a {'single' if quote == chr(39) else 'double'} quote is not closed")
    return list(filter(None, words))


def _enter(place: object) -> None:
    with _changed:
        if _closing.is_set():
            raise OSError("the program is ending")
        _alive.add(place)


def _leave(place: object) -> None:
    with _changed:
        _alive.discard(place)
        _changed.notify_all()


@contextlib.contextmanager
def _handed(contents: Mapping[str, bytes]) -> Iterator[tuple[dict[str, str], tuple[int, ...]]]:
    """The variables that name the pipes, and the pipes' ends for the child."""
    with contextlib.ExitStack() as ends:
        variables, descriptors = {}, []
        for name, content in contents.items():
            reading, writing = os.pipe()
            ends.callback(os.close, reading)
            # a wrapper may start the program as another user; nobody else gets at the pipe, whatever its mode
            os.fchmod(reading, 0o444)
            try:
                os.write(writing, content)
            finally:
                os.close(writing)
            variables[name] = f"/dev/fd/{reading}"
            descriptors.append(reading)
        yield variables, tuple(descriptors)


def _start(
    argv: Sequence[str], environment: Mapping[str, str], stdin: int, descriptors: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        env=dict(environment),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
        pass_fds=descriptors,
    )


def _run(child: subprocess.Popen[bytes], deadline: float, stop_when: Callable[[str], bool]) -> Ended:
    output, lines, why = _Output(), _Lines(stop_when), ""
    with selectors.DefaultSelector() as streams:
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
