"""restic's REST protocol, both versions: https://restic.readthedocs.io/en/stable/REST_backend.html

rest-server tells no times at all. `rclone serve restic` answers HEAD with Last-Modified: then each file is asked for its own,
one request for each lock and each snapshot in every look.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial
from urllib.parse import quote, unquote, urlsplit

import msgspec
from msgspec.structs import replace

from restic_monitor.backends import ENTRY_LIMIT, FOLDERS, BackendError, Content, Entries, Entry, Kind, attempt, outcome
from restic_monitor.backends.web import LISTING_LIMIT_BYTES, Web
from restic_monitor.http import Answer, host_of
from restic_monitor.secret import Secret

_VERSION_2 = "application/vnd.x.restic.rest.v2"
_TIMED = ("locks", "snapshots")
"""The age of a key says nothing."""
_HEADS_AT_ONCE = 8


class _File(msgspec.Struct):
    name: str
    size: int | None = None


_LIST = msgspec.json.Decoder(list[_File | str])


@dataclass(frozen=True, slots=True)
class Rest:
    """`url` ends with a slash and holds no credentials."""

    web: Web
    url: str
    user: str = ""
    password: Secret | None = field(default=None, repr=False)
    heavy: bool = field(default=False, init=False)

    def list(self, folder: str, deadline: float) -> Entries:
        if folder:
            return Entries(lambda entries: self._clocked(entries, self._folder(folder, deadline)))
        return Entries(lambda entries: self._clocked(entries, self._all(entries, deadline)))

    def read(self, name: str, deadline: float, limit: int) -> bytes:
        return self._ask(name, deadline, limit=limit).body[:limit]

    def read_all(self, files: Sequence[Entry], deadline: float, limit: int) -> Iterator[Content]:
        return self.web.each(lambda file: (file, outcome(self.read, file, deadline, limit)), files)

    def close(self) -> None:
        pass

    def _clocked(self, entries: Entries, found: Iterator[Entry]) -> Iterator[Entry]:
        yield from found
        entries.skew = self.web.skew

    def _all(self, entries: Entries, deadline: float) -> Iterator[Entry]:
        missing = 0
        for folder in FOLDERS:
            try:
                yield from self._folder(folder, deadline)
            except BackendError as error:
                if error.kind is Kind.DENIED and folder != "snapshots":
                    entries.denied.add(folder)
                elif error.kind is Kind.MISSING:
                    missing += 1
                else:
                    raise
        if missing + len(entries.denied) == len(FOLDERS):
            raise BackendError(Kind.MISSING, f"{self._where} holds no repository at {self._path}")

    def _folder(self, folder: str, deadline: float) -> Iterator[Entry]:
        answer = self._ask(f"{folder}/", deadline, headers={"Accept": _VERSION_2})
        files = [Entry(f"{folder}/{file.name}", file.size) for file in self._parse(answer)]
        return self._with_times(files, deadline) if folder in _TIMED else iter(files)

    def _parse(self, answer: Answer) -> Sequence[_File]:
        try:
            found = _LIST.decode(answer.body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            page = " (a web page)" if answer.body.lstrip()[:1] == b"<" else ""
            message = f"{self._where} answered something that is no list of files{page}; is {self._path} a rest-server?"
            raise BackendError(Kind.MALFORMED, message) from None
        if len(found) > ENTRY_LIMIT:
            raise BackendError(Kind.MALFORMED, f"{self._where} lists more than {ENTRY_LIMIT} files")
        return [_File(each) if isinstance(each, str) else each for each in found]

    def _with_times(self, files: Sequence[Entry], deadline: float) -> Iterator[Entry]:
        """The first answer says whether this server tells times. What vanishes meanwhile is left out: `forget` is at work."""
        asked = iter([file for file in files if _asked_for(file)])
        first = next(filter(None, map(partial(self._timed, deadline=deadline), asked)), None)
        if not first or not first.modified:
            return iter(files)
        with ThreadPoolExecutor(_HEADS_AT_ONCE) as pool:
            try:
                timed = list(pool.map(partial(self._timed, deadline=deadline), files))
            except BackendError:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return filter(None, timed)

    def _timed(self, file: Entry, deadline: float) -> Entry | None:
        """The file with its time, if the server tells it; None when it is gone."""
        if not _asked_for(file):
            return file
        try:
            answer = self._ask(file.name, deadline, method="HEAD", limit=0)
            told = parsedate_to_datetime(answer.headers["last-modified"])
        except (KeyError, ValueError, TypeError):
            return file
        except BackendError as error:
            if error.kind is Kind.MISSING:
                return None
            if error.kind in (Kind.DENIED, Kind.REFUSED):
                return file
            raise
        return replace(file, modified=told if told.tzinfo else told.replace(tzinfo=UTC))

    # one request

    def _ask(
        self,
        name: str,
        deadline: float,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        limit: int = LISTING_LIMIT_BYTES,
    ) -> Answer:
        headers = {**self._login(), **(headers or {})}
        ask = partial(self.web.ask, self.url + quote(name), method=method, headers=headers, limit=limit, redirects=True)
        answer = attempt(lambda: ask(deadline=deadline), deadline)
        if answer.status == 200:
            return answer
        raise self._problem(answer.status, name)

    def _login(self) -> dict[str, str]:
        password = self.password.reveal() if self.password else ""
        if not self.user and not password:
            return {}
        pair = f"{self.user}:{password}".encode(errors="surrogateescape")
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}

    def _problem(self, status: int, name: str) -> BackendError:
        if status in (404, 410):
            return BackendError(Kind.MISSING, f"{self._where} has no {self._path}{name}")
        if status in (401, 403, 407):
            if not self.user:
                message = f"{self._where} wants a user and a password: RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD"
                return BackendError(Kind.DENIED, message)
            return BackendError(Kind.DENIED, f"{self._where} does not let user {self.user} read {self._path} ({status})")
        return BackendError(Kind.REFUSED, f"{self._where} answered {status} for {self._path}{name}; is it a rest-server?")

    @property
    def _where(self) -> str:
        return host_of(self.url)

    @property
    def _path(self) -> str:
        return unquote(urlsplit(self.url).path)


def _asked_for(file: Entry) -> bool:
    """A name fit for a question: what is not restic's is listed without a time."""
    return file.name.rpartition("/")[2].isalnum()


_IN_A_PATH = "/%:@!$&'()*+,;=~[]"
"""Left as they are by Go's net/url, besides letters and digits; what is escaped already is not escaped again."""


def split(url: str) -> tuple[str, str, str]:
    """An address without its credentials, its path escaped as restic sends it, the user and the password; their bytes that
    are no UTF-8 are surrogates."""
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    path = quote(parts.path, safe=_IN_A_PATH, errors="surrogateescape")
    user, password = (unquote(text, errors="surrogateescape") for text in (user, password))
    return parts._replace(netloc=host, path=path).geturl(), user, password
