"""HTTP for everybody: one pool for each TLS setting, proxies, limits over whole answers, and the only place that retries.

Nothing here puts an address into a message: addresses hold push tokens.
"""

from __future__ import annotations

import contextlib
import heapq
import http.client
import itertools
import logging
import re
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
import urllib3.connection
import urllib3.exceptions

from restic_monitor import __version__

# urllib3 writes whole addresses to its log, at DEBUG and with some warnings: nobody hears it, whatever its level
logging.getLogger("urllib3").propagate = False

BODY_LIMIT_BYTES = 64 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 3
_TRIES = 2
_RETRY_AFTER_LIMIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; `body` holds at most 64 KiB of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpError(Exception):
    """No answer. `sent`: the request may have been received, so nobody may send it again. `lasting`: no second try helps."""

    def __init__(self, reason: str, *, sent: bool = False, lasting: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        self.lasting = lasting


class _Alarm:
    """Shuts a socket down when its time has passed. A time-out per read lets a dripping server hold us for ever."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, socket.socket]] = []
        self._changed = threading.Condition()
        self._count = itertools.count()
        self._thread: threading.Thread | None = None

    def watch(self, connected: socket.socket, deadline: float) -> None:
        with self._changed:
            heapq.heappush(self._heap, (deadline, next(self._count), connected))
            if not self._thread:
                self._thread = threading.Thread(target=self._run, name="http-alarm", daemon=True)
                self._thread.start()
            self._changed.notify()

    def forget(self, connected: socket.socket) -> None:
        with self._changed:
            self._heap = [entry for entry in self._heap if entry[2] is not connected]
            heapq.heapify(self._heap)

    def _run(self) -> None:
        with self._changed:
            while True:
                wait = self._heap[0][0] - time.monotonic() if self._heap else None
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                    continue
                _, _, connected = heapq.heappop(self._heap)
                with contextlib.suppress(OSError):  # closed in the meantime
                    # the plain socket's own method: that of an SSLSocket would only drop its TLS state
                    socket.socket.shutdown(connected, socket.SHUT_RDWR)


_alarm = _Alarm()


class _Request(threading.local):
    """The request that this thread makes; urllib3 offers no way to hand this through."""

    deadline = 0.0
    watched: socket.socket | None = None
    sent = False

    def watch(self, connected: socket.socket) -> None:
        self.unwatch()
        # TLS inside TLS, through an https proxy, is no socket but holds one
        self.watched = getattr(connected, "socket", connected)
        _alarm.watch(self.watched, self.deadline)

    def unwatch(self) -> None:
        if self.watched is not None:
            _alarm.forget(self.watched)
        self.watched = None


_request = _Request()


class _HttpConnection(urllib3.connection.HTTPConnection):
    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        _request.watch(connected)  # a proxy may drip its answer to CONNECT, too
        return connected

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        """The request has been written: from here on an answer is awaited."""
        _request.sent = True
        if self.sock is not None:
            _request.watch(self.sock)
        return super().getresponse()


class _HttpsConnection(_HttpConnection, urllib3.connection.HTTPSConnection):
    pass


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


@dataclass(slots=True)
class Http:
    """Shared by all receivers of a run. `environment` holds the proxy variables; `connections` is how many stay open,
    `pause_seconds` the wait before a second try."""

    environment: Mapping[str, str] = field(repr=False)
    connections: int = 64
    pause_seconds: float = 1.0
    _pools: dict[tuple[str | None, str | None], urllib3.PoolManager] = field(default_factory=dict, repr=False)
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

        `connect_seconds` is for connecting, `answer_seconds` for the whole answer. Raises HttpError.
        """
        host = _host(url)
        for attempt in range(1, _TRIES + 1):
            if host in self._unreachable:
                raise HttpError(f"{host} could not be reached before in this run and was not tried again", lasting=True)
            try:
                answer = self._follow(url, headers or {}, cacert, connect_seconds, answer_seconds)
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
            time.sleep(_retry_after(answer, self.pause_seconds))
        raise AssertionError("unreachable")

    def _follow(
        self, url: str, headers: Mapping[str, str], cacert: str | None, connect_seconds: float, answer_seconds: float
    ) -> Answer:
        deadline = time.monotonic() + connect_seconds + answer_seconds
        for _ in range(_MAX_REDIRECTS + 1):
            answer = self._once(url, headers, cacert, connect_seconds, deadline)
            if answer.status not in _REDIRECTS or not answer.headers.get("location"):
                return answer
            url = _redirected(url, answer.headers["location"])
        raise HttpError(f"{_host(url)} redirects in a circle", lasting=True)

    def _once(
        self, url: str, headers: Mapping[str, str], cacert: str | None, connect_seconds: float, deadline: float
    ) -> Answer:
        _request.deadline, _request.sent = deadline, False
        try:
            return self._exchange(url, headers, cacert, connect_seconds, deadline)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            expired = time.monotonic() >= deadline
            problem = _unanswered(error, _host(url), expired) if _request.sent else _unsent(error, _host(url))
        finally:
            _request.unwatch()
        raise problem  # not `from`: urllib3's text has the whole address in it

    def _exchange(
        self, url: str, headers: Mapping[str, str], cacert: str | None, connect_seconds: float, deadline: float
    ) -> Answer:
        remaining = max(0.1, deadline - time.monotonic())
        response = self._pool(url, cacert).request(
            "GET",
            url,
            headers={"User-Agent": f"restic-monitor/{__version__}", **headers},
            retries=False,
            redirect=False,
            preload_content=False,
            timeout=urllib3.Timeout(connect=min(connect_seconds, remaining), read=remaining),
        )
        try:
            body = response.read(BODY_LIMIT_BYTES, decode_content=True)
            if response.read(1):
                response.close()
        finally:
            response.release_conn()
        if time.monotonic() >= deadline:  # cut by the alarm, which looks like the end of an answer without a length
            raise TimeoutError
        return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, body)

    def _pool(self, url: str, cacert: str | None) -> urllib3.PoolManager:
        key = (cacert, self._proxy(url))
        with self._lock:
            if key not in self._pools:
                self._pools[key] = self._make_pool(*key)
            return self._pools[key]

    def _make_pool(self, cacert: str | None, proxy: str | None) -> urllib3.PoolManager:
        try:
            context = ssl.create_default_context(cafile=self.environment.get("SSL_CERT_FILE"))
            if cacert:  # trusted besides the system's authorities
                context.load_verify_locations(cafile=cacert)
        except OSError:  # ssl.SSLError is one
            raise HttpError("the file of cacert, or of SSL_CERT_FILE, holds no certificates", lasting=True) from None
        options = {"num_pools": self.connections, "maxsize": self.connections, "ssl_context": context}
        pool = _proxied(proxy, options) if proxy else urllib3.PoolManager(**options)  # type: ignore[arg-type]
        pool.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
        return pool

    def _proxy(self, url: str) -> str | None:
        """As curl and restic do it: http_proxy, https_proxy, all_proxy, no_proxy, in small letters or capitals."""
        parts = urlsplit(url)
        named = {
            name.lower().removesuffix("_proxy"): value
            for name, value in sorted(self.environment.items())
            if name.lower().endswith("_proxy") and value
        }
        proxy = named.get(parts.scheme) or named.get("all")
        bypass = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]
        if not proxy or bypass(parts.netloc.rpartition("@")[2], named):
            return None
        return proxy if "://" in proxy else f"http://{proxy}"


def _proxied(proxy: str, options: Mapping[str, object]) -> urllib3.ProxyManager:
    parts = urlsplit(proxy)
    if parts.scheme not in ("http", "https"):
        raise HttpError(f"a proxy of the kind {parts.scheme}:// is not supported; use http:// or https://", lasting=True)
    headers = {}
    if parts.username is not None:
        headers = urllib3.make_headers(proxy_basic_auth=unquote(parts.netloc.rpartition("@")[0]))
    plain = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return urllib3.ProxyManager(
        plain,
        proxy_headers=headers,
        proxy_ssl_context=options["ssl_context"],  # type: ignore[arg-type]
        **options,  # type: ignore[arg-type]
    )


def _redirected(url: str, location: str) -> str:
    """Where a redirect leads: the same host, and never from https back to http. Raises HttpError."""
    here = urlsplit(url)
    try:
        target = urljoin(url, location)
        there = urlsplit(target)
    except ValueError:
        raise HttpError(f"{_host(url)} redirects to something that is no address", lasting=True) from None
    if there.hostname != here.hostname:
        raise HttpError(f"{_host(url)} redirects to another host ({one_host(there.hostname)})", lasting=True)
    if there.scheme not in ("http", "https") or (here.scheme == "https" and there.scheme == "http"):
        raise HttpError(f"{_host(url)} redirects from {here.scheme} to {there.scheme}", lasting=True)
    return target


def one_host(name: str | None) -> str:
    """A host name of a foreign answer, fit to be shown."""
    return "".join(character for character in (name or "?") if character.isalnum() or character in ".-:[]")[:60]


def _retry_after(answer: Answer, otherwise: float) -> float:
    """Seconds to wait: what the server asks for, ten at most."""
    try:
        return min(max(0.0, float(answer.headers.get("retry-after", ""))), _RETRY_AFTER_LIMIT_SECONDS)
    except ValueError:
        return otherwise


def _host(url: str) -> str:
    """host or host:port, no credentials."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it was made of, the outermost first: urllib3 keeps the inner ones in several places."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        inner = (getattr(seen, "original_error", None), *seen.args, seen.__cause__, seen.__context__)
        seen = next((each for each in inner if isinstance(each, BaseException)), None)


# What happened, in words of our own: the text of the libraries holds whole addresses.


def _unsent(error: Exception, host: str) -> HttpError:  # noqa: PLR0911 - a table
    """Why nobody got the request."""
    causes = list(_chain(error))

    def among(kind: type[BaseException]) -> BaseException | None:
        return next((cause for cause in causes if isinstance(cause, kind)), None)

    if tunnel := next((found for cause in causes if (found := _TUNNEL.match(str(cause)))), None):
        return HttpError(f"the proxy does not connect to {host}: it answered {tunnel[1]}")
    if certificate := among(ssl.SSLCertVerificationError):
        why = getattr(certificate, "verify_message", "") or "not trusted"
        return HttpError(f"the certificate of {host} was not accepted: {why}; cacert names another authority", lasting=True)
    if among(urllib3.exceptions.ProxyError):
        return HttpError(f"the proxy on the way to {host} cannot be reached")
    if among(ssl.SSLError):
        return HttpError(f"no TLS connection to {host}", lasting=True)
    if among(urllib3.exceptions.NameResolutionError):
        return HttpError(f"the name {host} does not resolve")
    if among(TimeoutError):
        return HttpError(f"connecting to {host} timed out")
    if among(ConnectionRefusedError):
        return HttpError(f"{host} refused the connection")
    if among(urllib3.exceptions.LocationValueError):
        return HttpError(f"the address on {host} is not valid", lasting=True)
    return HttpError(f"no connection to {host}")


# http.client's _tunnel
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")


def _unanswered(error: Exception, host: str, expired: bool) -> HttpError:
    """What became of the answer to a request that was sent."""
    causes = list(_chain(error))
    if expired or any(isinstance(cause, TimeoutError) for cause in causes):
        return HttpError(f"{host} did not answer in time", sent=True)
    if any(isinstance(cause, OSError | http.client.IncompleteRead) for cause in causes):
        return HttpError(f"{host} closed the connection before it answered", sent=True)
    return HttpError(f"{host} answered something that is not HTTP", sent=True)
