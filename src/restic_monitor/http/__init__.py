"""HTTP for everybody: proxies, limits over whole answers, and when a push may be sent again. `wire` does one exchange.

Nothing here puts an address into a message: addresses hold push tokens.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from msgspec import Struct

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from restic_monitor.http.wire import Wire

BODY_LIMIT_BYTES = 64 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 3
_TRIES = 2
_RETRY_AFTER_LIMIT_SECONDS = 10.0


class Tls(Struct, frozen=True):
    """Whom to trust, and who we are: PEM files. `cacerts` are trusted besides the system's; `client_cert` holds a key, too."""

    cacerts: tuple[str, ...] = ()
    client_cert: str | None = None
    insecure: bool = False
    """Any certificate will do."""


class Answer(Struct, frozen=True):
    """A whole answer; `body` holds as much of it as was asked for. `headers` by their names in small letters or any other."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpError(Exception):
    """No answer. `sent`: the request may have been received, so that it may count. `lasting`: no second try helps.
    `late`: the time was over. `garbled`: what came is not HTTP."""

    def __init__(
        self, reason: str, *, sent: bool = False, lasting: bool = False, late: bool = False, garbled: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        self.lasting = lasting
        self.late = late
        self.garbled = garbled


SYSTEM = Tls()


@dataclass(slots=True)
class Http:
    """Shared by all receivers and storages of a run. `environment` holds the proxy variables; `connections` is how many stay
    open without a request, of all hosts together, `pause_seconds` the wait before a second try."""

    environment: Mapping[str, str] = field(repr=False)
    connections: int = 64
    pause_seconds: float = 1.0
    _wire: Wire | None = field(default=None, repr=False)
    _workers: ThreadPoolExecutor | None = field(default=None, repr=False)
    _unreachable: set[str] = field(default_factory=set, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        cacert: str | None = None,
        connect_seconds: float = 10.0,
        answer_seconds: float = 90.0,
    ) -> Answer:
        """GET, redirects on the same host followed. Sent once more only where the first cannot have counted: nobody was
        reached, or the answer was 429 or 503. A host that was not reached twice is not tried again by anybody.

        `connect_seconds` is for connecting, to all addresses of a name together, `answer_seconds` for the whole answer.
        Raises HttpError.
        """
        host = host_of(url)
        for attempt in range(1, _TRIES + 1):
            if host in self._unreachable:
                raise HttpError(f"{host} could not be reached before in this run and was not tried again", lasting=True)
            try:
                deadline = time.monotonic() + connect_seconds + answer_seconds
                tls = Tls((cacert,) if cacert else ())
                answer = self.ask(url, headers=headers, tls=tls, connect_seconds=connect_seconds, deadline=deadline)
            except HttpError as error:
                if error.sent or error.lasting:
                    raise
                if attempt == _TRIES:
                    self._unreachable.add(host)
                    raise
                time.sleep(self.pause_seconds)
                continue
            if answer.status not in (429, 503) or attempt == _TRIES:
                return answer
            asked = retry_after(answer)
            time.sleep(self.pause_seconds if asked is None else min(asked, _RETRY_AFTER_LIMIT_SECONDS))
        raise AssertionError("unreachable")

    def ask(
        self,
        url: str,
        *,
        deadline: float,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        tls: Tls = SYSTEM,
        connect_seconds: float = 10.0,
        limit: int = BODY_LIMIT_BYTES,
        redirects: bool = True,
    ) -> Answer:
        """One request, nothing repeated; redirects on the same host are followed. The whole answer has to be there at
        `deadline` (`time.monotonic`); `limit` is how many bytes of it are kept. Raises HttpError.
        """
        for _ in range(_MAX_REDIRECTS + 1):
            answer = self._wires().exchange(method, url, headers or {}, tls, connect_seconds, deadline, limit)
            if not redirects or answer.status not in _REDIRECTS or not answer.headers.get("location"):
                return answer
            url = _redirected(url, answer.headers["location"])
        raise HttpError(f"{host_of(url)} redirects in a circle", lasting=True)

    @property
    def workers(self) -> ThreadPoolExecutor:
        """For who asks many things at once: as many threads as there are connections, for all of them together."""
        if not self._workers:
            with self._lock:
                if not self._workers:
                    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - 10 ms

                    self._workers = ThreadPoolExecutor(self.connections)
        return self._workers

    def _wires(self) -> Wire:
        """Made, and urllib3 imported for it (70 ms), when there is something to send."""
        if not self._wire:
            with self._lock:
                if not self._wire:
                    from restic_monitor.http.wire import Wire  # noqa: PLC0415

                    self._wire = Wire(self.environment, self.connections)
        return self._wire


def _redirected(url: str, location: str) -> str:
    """Where a redirect leads: the same host, and never from https back to http. Raises HttpError."""
    here = urlsplit(url)
    try:
        target = urljoin(url, location)
        there = urlsplit(target)
    except ValueError:
        raise HttpError(f"{host_of(url)} redirects to something that is no address", lasting=True) from None
    if there.hostname != here.hostname:
        raise HttpError(f"{host_of(url)} redirects to another host ({shown_host(there.hostname)})", lasting=True)
    if there.scheme not in ("http", "https") or (here.scheme == "https" and there.scheme == "http"):
        raise HttpError(f"{host_of(url)} redirects from {here.scheme} to {there.scheme}", lasting=True)
    return target


def shown_host(name: str | None) -> str:
    """A host name of a foreign answer, fit to be shown."""
    return "".join(character for character in (name or "?") if character.isalnum() or character in ".-:[]")[:60]


def retry_after(answer: Answer) -> float | None:
    """Seconds that a server asks to wait; None when it names none, or a date (its clock may be another than ours)."""
    try:
        return max(0.0, float(answer.headers.get("retry-after", "")))
    except ValueError:
        return None


def host_of(url: str) -> str:
    """host or host:port, no credentials."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()
