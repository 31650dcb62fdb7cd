"""SFTP over the system's ssh, which is what restic runs: the user's ssh configuration, agent and jump hosts count."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from restic_monitor.backends import FOLDERS, BackendError, Content, Entries, Entry, Kind, attempt, outcome
from restic_monitor.backends.sftp.ssh import Program, custom, ssh
from restic_monitor.backends.sftp.wire import Attributes, Failed, Garbled, Session, Status
from restic_monitor.model import one_line, shorten
from restic_monitor.process import Conversation, ConversationError
from restic_monitor.secret import Redactor, secrets_in

_BATCH = 64
"""Files that are open at once. OpenSSH's server allows 200 or more."""


@dataclass(frozen=True, slots=True)
class Sftp:
    """`path` is relative to where a login begins unless it starts with /. `command` and `args` are restic's options
    `sftp.command`, which replaces ssh, and `sftp.args`. `environment` is all that ssh gets.

    One connection serves every `list` and `read` until `close`.
    """

    host: str
    user: str
    port: str
    path: str
    environment: Mapping[str, str] = field(repr=False)
    command: str | None = field(default=None, repr=False)
    args: str = field(default="", repr=False)
    heavy: bool = field(default=True, init=False)
    _open: list[Session] = field(default_factory=list, init=False, repr=False, compare=False)

    def list(self, folder: str, deadline: float) -> Entries:
        if folder:
            return Entries(lambda entries: self._folder(folder, deadline))
        return Entries(lambda entries: self._all(entries, deadline))

    def read(self, name: str, deadline: float, limit: int) -> bytes:
        with self._asking(name, deadline) as session:
            return session.content(self._path(name), limit, deadline)

    def read_all(self, files: Sequence[Entry], deadline: float, limit: int) -> Iterator[Content]:
        """Batches in two round trips each. What is more than one chunk is read again by itself."""
        for start in range(0, len(files), _BATCH):
            batch = files[start : start + _BATCH]
            try:
                with self._asking("", deadline) as session:
                    contents = session.contents([self._path(file.name) for file in batch], deadline)
            except BackendError as error:
                yield from ((file, error) for file in batch)
                continue
            for file, content in zip(batch, contents, strict=True):
                if isinstance(content, Failed):
                    yield file, self._failed(content, file.name)
                else:
                    yield file, outcome(self.read, file, deadline, limit) if content is None else content[:limit]

    def close(self) -> None:
        while self._open:
            self._open.pop().close()

    def _folder(self, folder: str, deadline: float) -> Iterator[Entry]:
        with self._asking(folder, deadline) as session:
            _, (handle,) = session.look([], [self._path(folder)], deadline)
            yield from self._files(session, {folder: handle}, deadline)

    def _all(self, entries: Entries, deadline: float) -> Iterator[Entry]:
        with self._asking("", deadline) as session:
            paths, folders = [self._path(""), self._path("config")], [*map(self._path, FOLDERS)]
            (top, config), handles = session.look(paths, folders, deadline)
            if isinstance(top, Failed):
                raise top
            if top.is_something_else:
                raise BackendError(Kind.REFUSED, f"{self._shown('')} is not a folder")
            if isinstance(config, Attributes) and config.is_file:
                yield _entry("config", config)
            opened = {}
            for folder, handle in zip(FOLDERS, handles, strict=True):
                status = handle.status if isinstance(handle, Failed) else None
                if status == Status.PERMISSION_DENIED and folder != "snapshots":
                    entries.denied.add(folder)
                elif status != Status.NO_SUCH_FILE:
                    opened[folder] = handle
            yield from self._files(session, opened, deadline)

    def _files(self, session: Session, folders: Mapping[str, bytes | Failed], deadline: float) -> Iterator[Entry]:
        """Raises BackendError for a folder that could not be opened."""
        handles = {}
        for folder, handle in folders.items():
            if isinstance(handle, Failed):
                raise self._failed(handle, folder)
            handles[handle] = self._path(folder)
        start = len(self._path(""))
        for path, attributes in session.files(handles, deadline):
            yield _entry(path[start:].decode("utf-8", "replace"), attributes)

    def _path(self, name: str) -> bytes:
        return posixpath.join(self.path or ".", name).encode("utf-8", "surrogateescape")

    # the connection

    @contextmanager
    def _asking(self, name: str, deadline: float) -> Iterator[Session]:
        """The open connection, or a new one. It is given up after an answer that leaves it in no known state."""
        if not self._open:
            self._open.append(attempt(lambda: self._connect(deadline), deadline))
        try:
            yield self._open[0]
        except Failed as failed:
            raise self._failed(failed, name) from None
        except (ConversationError, Garbled) as error:
            self.close()
            raise _broken(self._program(), error) from None

    def _connect(self, deadline: float) -> Session:
        program = self._program()
        try:
            conversation = Conversation(program.argv, self.environment)
        except (OSError, ValueError) as error:
            raise program.not_started(error) from None
        try:
            return Session(conversation, deadline)
        except (ConversationError, Garbled) as error:
            conversation.close()
            raise _broken(program, error) from None

    def _program(self) -> Program:
        if self.command:
            return custom(self.command, self._redact)
        return ssh(self.host, self.user, self.port, self.args, self._redact)

    @property
    def _redact(self) -> Redactor:
        return Redactor(secrets_in(self.environment.items()))

    def _failed(self, failed: Failed, name: str) -> BackendError:
        if failed.status == Status.NO_SUCH_FILE:
            return BackendError(Kind.MISSING, f"there is no {self._shown(name)}")
        if failed.status == Status.PERMISSION_DENIED:
            return BackendError(Kind.DENIED, f"{self._shown(name)} may not be read by this login")
        lost = failed.status in (Status.NO_CONNECTION, Status.CONNECTION_LOST)
        text = shorten(one_line(self._redact(failed.text)), 100) or f"SFTP status {failed.status}"
        return BackendError(Kind.UNREACHABLE if lost else Kind.REFUSED, f"{self._shown(name)} cannot be read: {text}")

    def _shown(self, name: str) -> str:
        path = self._path(name).decode("utf-8", "replace").removesuffix("/") or "/"
        return f"{path} at {self._program().where}"


def _broken(program: Program, error: ConversationError | Garbled) -> BackendError:
    return program.ended(error.ended) if isinstance(error, ConversationError) else program.garbled(error.message, error.came)


def _entry(name: str, attributes: Attributes) -> Entry:
    modified = None if attributes.modified is None else datetime.fromtimestamp(attributes.modified, UTC)
    return Entry(name, attributes.size, modified)
