"""SFTP version 3, as far as listing and reading need it: https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02

Questions are sent many at once where their answers do not depend on each other: over a slow line each round trip counts.
"""

from __future__ import annotations

import enum
import stat
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from msgspec import Struct

from restic_monitor.backends import ENTRY_LIMIT
from restic_monitor.process import Conversation

T = TypeVar("T")

PACKET_LIMIT_BYTES = 256 * 1024
"""As OpenSSH's (SFTP_MAX_MSG_LENGTH). Whatever a shell prints, read as a length, is far more."""
_CHUNK_BYTES = 32 * 1024
_AT_ONCE = 16
_FOLDERS_AT_ONCE = 8
_FOR_READING = 1
_VERSION = 3
_USUAL = struct.Struct(">QIIIII")


class _Packet(enum.IntEnum):
    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    READ = 5
    FSTAT = 8
    OPENDIR = 11
    READDIR = 12
    STAT = 17
    STATUS = 101
    HANDLE = 102
    DATA = 103
    NAME = 104
    ATTRS = 105


class Status(enum.IntEnum):
    """Why a question has no answer."""

    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    NO_CONNECTION = 6
    CONNECTION_LOST = 7


class Garbled(Exception):  # noqa: N818
    """What came is not SFTP; `came` is its beginning, where it may be something that a person can read."""

    def __init__(self, message: str, came: bytes = b"") -> None:
        super().__init__(message)
        self.message = message
        self.came = came


class Failed(Exception):  # noqa: N818
    """The server's answer to one question is a status. `text` is the server's own."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status)
        self.status = status
        self.text = text


class Attributes(Struct, frozen=True):
    """What the server tells of a file; None for what it does not. `modified` is in seconds since 1970."""

    size: int | None
    mode: int | None
    modified: int | None

    @property
    def is_folder(self) -> bool:
        return self.mode is not None and stat.S_ISDIR(self.mode)

    @property
    def is_something_else(self) -> bool:
        """Certainly no folder. Some servers do not tell what a thing is."""
        return bool(self.mode and stat.S_IFMT(self.mode)) and not self.is_folder

    @property
    def is_file(self) -> bool:
        """A link is none, as for restic. A server that does not tell is believed to have files."""
        return not self.mode or not stat.S_IFMT(self.mode) or stat.S_ISREG(self.mode)


class _Body:
    """Reads a packet from its beginning to its end, and not beyond it."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0

    def take(self, count: int) -> bytes:
        taken = self._content[self._place : self._place + count]
        if len(taken) < count:
            raise Garbled("a packet ends too early")
        self._place += count
        return taken

    def number(self, size: int = 4) -> int:
        return int.from_bytes(self.take(size), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def attributes(self) -> Attributes:
        flags = self.number()
        if flags == 0xF:  # what every server sends; in one step, for the 20,000 files of a long history
            size, _user, _group, mode, _accessed, modified = _USUAL.unpack(self.take(_USUAL.size))
            return Attributes(size, mode, modified)
        size = self.number(8) if flags & 0x1 else None
        if flags & 0x2:  # owner and group
            self.take(8)
        mode = self.number() if flags & 0x4 else None
        _accessed, modified = (self.number(), self.number()) if flags & 0x8 else (None, None)
        if flags & 0x80000000:
            for _ in range(2 * self.number()):
                self.string()
        return Attributes(size, mode, modified)


class _Answer(Struct, frozen=True):
    number: int
    kind: int
    body: _Body

    def expect(self, kind: _Packet) -> _Body:
        """Raises Failed where the answer is a status, EOF too."""
        if self.kind == kind:
            return self.body
        if self.kind != _Packet.STATUS:
            raise Garbled(f"a packet of type {self.kind} where {kind.name} belongs")
        status, text = self.body.number(), self.body.string()
        raise Failed(status, text.decode("utf-8", "replace"))


class Session:
    """One connection. What it raises beside Failed ends it: Garbled, and ConversationError."""

    def __init__(self, conversation: Conversation, deadline: float) -> None:
        self._conversation = conversation
        self._number = 0
        self._unsent = bytearray()
        self._inboxes: dict[int, deque[_Answer]] = {}
        """Where answers go, by the number of their question: a listing that was left half-way gets its own still."""
        conversation.write(_framed(_Packet.INIT, _uint32(_VERSION)), deadline)
        kind, body = self._receive(deadline)
        if kind != _Packet.VERSION:
            raise Garbled(f"a packet of type {kind} where VERSION belongs")
        if (version := body.number()) != _VERSION:
            raise Garbled(f"version {version} of SFTP, not {_VERSION}")

    def close(self) -> None:
        self._conversation.close()

    # what is asked

    def look(
        self, paths: Sequence[bytes], folders: Sequence[bytes], deadline: float
    ) -> tuple[list[Attributes | Failed], list[bytes | Failed]]:
        """What is behind the paths, through links, and a handle for each folder; each in its place."""
        questions = [(_Packet.STAT, _string(path)) for path in paths] + [(_Packet.OPENDIR, _string(path)) for path in folders]
        answers = self._ask_all(questions, deadline)
        return (
            [_or_failed(answer, _Packet.ATTRS, _Body.attributes) for answer in answers[: len(paths)]],
            [_or_failed(answer, _Packet.HANDLE, _Body.string) for answer in answers[len(paths) :]],
        )

    def files(self, handles: Mapping[bytes, bytes], deadline: float) -> Iterator[tuple[bytes, Attributes]]:
        """The files in open folders, by handle, and below them: path and attributes. Closes the handles.

        A folder that has vanished when its turn comes is left out.
        """
        below: deque[bytes] = deque()
        seen = 0
        while handles:
            for path, attributes in self._names(handles, deadline):
                seen += 1
                if seen > ENTRY_LIMIT:
                    raise Garbled(f"more than {ENTRY_LIMIT} files")
                if attributes.is_folder:
                    below.append(path)
                elif attributes.is_file:
                    yield path, attributes
            handles = {}
            while below and not handles:
                batch = [below.popleft() for _ in range(min(len(below), _FOLDERS_AT_ONCE))]
                handles = dict(_still_there(zip(batch, self.look([], batch, deadline)[1], strict=True)))

    def content(self, path: bytes, limit: int, deadline: float) -> bytes:
        """The first `limit` bytes of a file. A small one takes two round trips."""
        (opened,) = self._ask_all([(_Packet.OPEN, _string(path) + _uint32(_FOR_READING) + _uint32(0))], deadline)
        handle = opened.expect(_Packet.HANDLE).string()
        try:
            return self._content(handle, limit, deadline)
        finally:
            self._let_go(handle)

    def contents(self, paths: Sequence[bytes], deadline: float) -> list[bytes | Failed | None]:
        """Whole small files, each in its place; None for one that has more than a chunk."""
        opened = self._ask_all([(_Packet.OPEN, _string(path) + _uint32(_FOR_READING) + _uint32(0)) for path in paths], deadline)
        handles = [_or_failed(answer, _Packet.HANDLE, _Body.string) for answer in opened]
        chunks = iter(self._ask_all([_chunk(handle, 0) for handle in handles if isinstance(handle, bytes)], deadline))
        contents: list[bytes | Failed | None] = []
        for handle in handles:
            if isinstance(handle, Failed):
                contents.append(handle)
                continue
            self._let_go(handle)
            chunk = _or_failed(next(chunks), _Packet.DATA, _Body.string)
            if isinstance(chunk, Failed):
                contents.append(b"" if chunk.status == Status.EOF else chunk)
            else:
                contents.append(chunk if len(chunk) < _CHUNK_BYTES else None)
        return contents

    def _content(self, handle: bytes, limit: int, deadline: float) -> bytes:
        """Chunks, more and more of them at once; the size spares a small file the question whether there is more."""
        told, *chunks = self._ask_all([(_Packet.FSTAT, _string(handle)), _chunk(handle, 0)], deadline)
        attributes = _or_failed(told, _Packet.ATTRS, _Body.attributes)
        size = attributes.size if isinstance(attributes, Attributes) else None
        content, at_once = bytearray(), 1
        while not _ends(content, chunks) and len(content) < limit and len(content) != size:
            end = min(limit, len(content) + at_once * _CHUNK_BYTES)
            chunks = self._ask_all([_chunk(handle, offset) for offset in range(len(content), end, _CHUNK_BYTES)], deadline)
            at_once = min(at_once * 2, _AT_ONCE)
        return bytes(content[:limit])

    def _names(self, handles: Mapping[bytes, bytes], deadline: float) -> Iterator[tuple[bytes, Attributes]]:
        """What is in folders; a server tells about 100 names at once, and then that there are no more."""
        at_once, left = 2, set(handles)
        while left:
            inbox: deque[_Answer] = deque()
            folders = [handle for handle in left for _ in range(at_once)]
            asked = {self._ask(_Packet.READDIR, _string(handle), inbox): handle for handle in folders}
            ended = set()
            for _ in folders:
                answer = self._next(inbox, deadline)
                handle = asked[answer.number]
                try:
                    names = answer.expect(_Packet.NAME)
                except Failed as failed:
                    if failed.status != Status.EOF:
                        raise
                    ended.add(handle)
                else:
                    yield from _named(handles[handle], names)
            for handle in ended:
                self._let_go(handle)
            left -= ended
            at_once = min(at_once * 2, _AT_ONCE)

    # how it is asked

    def _ask_all(self, questions: Sequence[tuple[_Packet, bytes]], deadline: float) -> list[_Answer]:
        """The answers in the order of the questions."""
        inbox: deque[_Answer] = deque()
        for kind, fields in questions:
            self._ask(kind, fields, inbox)
        return sorted((self._next(inbox, deadline) for _ in questions), key=lambda answer: answer.number)

    def _let_go(self, handle: bytes) -> None:
        """Goes with the next question; nobody waits for the answer."""
        self._ask(_Packet.CLOSE, _string(handle), deque())

    def _ask(self, kind: _Packet, fields: bytes, inbox: deque[_Answer]) -> int:
        """The question's number. It is sent when an answer is waited for."""
        self._number += 1
        self._inboxes[self._number] = inbox
        self._unsent += _framed(kind, _uint32(self._number) + fields)
        return self._number

    def _next(self, inbox: deque[_Answer], deadline: float) -> _Answer:
        if self._unsent:
            unsent, self._unsent = bytes(self._unsent), bytearray()
            self._conversation.write(unsent, deadline)
        while not inbox:
            kind, body = self._receive(deadline)
            number = body.number()
            if number not in self._inboxes:
                raise Garbled("an answer to nothing that was asked")
            self._inboxes.pop(number).append(_Answer(number, kind, body))
        return inbox.popleft()

    def _receive(self, deadline: float) -> tuple[int, _Body]:
        head = self._conversation.read(5, deadline)
        length = int.from_bytes(head[:4], "big")
        if not 1 <= length <= PACKET_LIMIT_BYTES:
            raise Garbled(f"a packet of {length} bytes", head + self._conversation.ahead[:200])
        return head[4], _Body(self._conversation.read(length - 1, deadline))


def _uint32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def _string(content: bytes) -> bytes:
    return _uint32(len(content)) + content


def _framed(kind: _Packet, fields: bytes) -> bytes:
    return _string(bytes([kind]) + fields)


def _chunk(handle: bytes, offset: int) -> tuple[_Packet, bytes]:
    return _Packet.READ, _string(handle) + offset.to_bytes(8, "big") + _uint32(_CHUNK_BYTES)


def _ends(content: bytearray, answers: Sequence[_Answer]) -> bool:
    """Add the chunks that follow each other without a gap; whether the file has no more."""
    for answer in answers:
        try:
            chunk = answer.expect(_Packet.DATA).string()
        except Failed as failed:
            if failed.status == Status.EOF:
                return True
            raise
        if not 0 < len(chunk) <= _CHUNK_BYTES:
            raise Garbled(f"{len(chunk)} bytes of a file where up to {_CHUNK_BYTES} belong")
        content += chunk
        if len(chunk) < _CHUNK_BYTES:  # servers may send less than they were asked for: the rest begins here
            return False
    return False


def _or_failed(answer: _Answer, kind: _Packet, take: Callable[[_Body], T]) -> T | Failed:
    try:
        return take(answer.expect(kind))
    except Failed as failed:
        return failed


def _named(folder: bytes, names: _Body) -> Iterator[tuple[bytes, Attributes]]:
    """A NAME packet: each name comes with a line as of `ls -l` and its attributes."""
    for _ in range(names.number()):
        name, _line, attributes = names.string(), names.string(), names.attributes()
        if not name or b"/" in name or b"\0" in name:
            raise Garbled("a file with a name that none can have")
        if name not in (b".", b".."):
            yield folder + b"/" + name, attributes


def _still_there(opened: Iterable[tuple[bytes, bytes | Failed]]) -> Iterator[tuple[bytes, bytes]]:
    """Handle and path of those that have not vanished since they were listed."""
    for path, handle in opened:
        if not isinstance(handle, Failed):
            yield handle, path
        elif handle.status != Status.NO_SUCH_FILE:
            raise handle
