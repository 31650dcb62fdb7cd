"""One exchange over urllib3: a pool for each TLS setting and proxy, a deadline that holds, and failures in our own words."""

from __future__ import annotations

import contextlib
import errno
import heapq
import http.client
import ipaddress
import itertools
import logging
import re
import socket
import ssl
import threading
import time
import weakref
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from urllib.parse import unquote, urlsplit

import urllib3
import urllib3.connection
import urllib3.exceptions
import urllib3.util.connection

from restic_monitor import __version__
from restic_monitor.http import Answer, HttpError, Tls, host_of

# urllib3 writes whole addresses to its log, at DEBUG and with some warnings: nobody hears it, whatever its level
logging.getLogger("urllib3").propagate = False


class _Alarm:
    """Shuts a socket down when its time has passed. A time-out per read lets a dripping server hold us for ever.

    What is forgotten stays in the heap until its time: thousands of requests a second cost a dictionary's entry each.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._sockets: dict[int, socket.socket] = {}
        self._changed = threading.Condition()
        self._count = itertools.count()
        self._thread: threading.Thread | None = None

    def watch(self, connected: socket.socket, deadline: float) -> int:
        """Returns the number to `forget` it by: the socket itself may serve the next request by then."""
        with self._changed:
            number = next(self._count)
            self._sockets[number] = connected
            heapq.heappush(self._heap, (deadline, number))
            if not self._thread:
                self._thread = threading.Thread(target=self._run, name="http-alarm", daemon=True)
                self._thread.start()
            if self._heap[0][1] == number:
                self._changed.notify()
            return number

    def forget(self, number: int) -> None:
        self._sockets.pop(number, None)

    def _run(self) -> None:
        with self._changed:
            while True:
                wait = self._heap[0][0] - time.monotonic() if self._heap else None
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                    continue
                _, number = heapq.heappop(self._heap)
                connected = self._sockets.pop(number, None)
                if connected is None:
                    continue
                with contextlib.suppress(OSError):  # closed in the meantime
                    # the plain socket's own method: that of an SSLSocket would only drop its TLS state
                    socket.socket.shutdown(connected, socket.SHUT_RDWR)


_alarm = _Alarm()
_AGENT = f"restic-monitor/{__version__}"


class _Request(threading.local):
    """The request that this thread makes; urllib3 offers no way to hand this through."""

    deadline = 0.0
    watched: int | None = None
    sent = False

    def watch(self, connected: socket.socket) -> None:
        self.unwatch()
        # TLS inside TLS, through an https proxy, is no socket but holds one
        self.watched = _alarm.watch(getattr(connected, "socket", connected), self.deadline)

    def unwatch(self) -> None:
        if self.watched is not None:
            _alarm.forget(self.watched)
        self.watched = None


_request = _Request()


class _HttpConnection(urllib3.connection.HTTPConnection):
    def _new_conn(self) -> socket.socket:
        try:
            connected = self._reach()
        except socket.gaierror as error:
            raise urllib3.exceptions.NameResolutionError(self.host, self, error) from error
        except UnicodeError:
            raise urllib3.exceptions.LocationValueError from None
        except TimeoutError as error:
            raise urllib3.exceptions.ConnectTimeoutError(self, "timed out") from error
        except OSError as error:
            raise urllib3.exceptions.NewConnectionError(self, "not reached") from error
        _request.watch(connected)  # a proxy may drip its answer to CONNECT, too
        return connected

    def _reach(self) -> socket.socket:
        """All addresses of a name share the time of the connection, as in Go; urllib3 gives the whole to each of them."""
        assert isinstance(self.timeout, float | int)
        until, failed = time.monotonic() + self.timeout, OSError("no address")
        families = urllib3.util.connection.allowed_gai_family()
        found = socket.getaddrinfo(self._dns_host.strip("[]"), self.port, families, socket.SOCK_STREAM)
        for left, (family, kind, protocol, _, address) in zip(range(len(found), 0, -1), found, strict=True):
            connected = None
            try:
                connected = socket.socket(family, kind, protocol)
                for option in self.socket_options or ():
                    connected.setsockopt(*option)
                connected.settimeout(max(0.001, (until - time.monotonic()) / left))
                connected.connect(address)
            except OSError as error:
                failed = error
                if connected:
                    connected.close()
            else:
                connected.settimeout(self.timeout)
                return connected
        raise failed


class _HttpsConnection(_HttpConnection, urllib3.connection.HTTPSConnection):
    pass


class _Idle:
    """Open connections without a request, of all hosts together: when there are too many, the oldest is closed."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._owners: dict[_HttpConnection, deque[_HttpConnection]] = {}
        """The oldest first, and so in each host's own queue."""
        self._lock = threading.Lock()

    def take(self, own: deque[_HttpConnection]) -> _HttpConnection | None:
        """The youngest of a host's own."""
        with self._lock:
            if not own:
                return None
            connection = own.pop()
            del self._owners[connection]
            return connection

    def put(self, connection: _HttpConnection, own: deque[_HttpConnection]) -> None:
        with self._lock:
            own.append(connection)
            self._owners[connection] = own
            if len(self._owners) <= self._most:
                return
            oldest = next(iter(self._owners))
            self._owners.pop(oldest).popleft()
        oldest.close()

    def close(self) -> None:
        with self._lock:
            for connection, own in self._owners.items():
                own.clear()
                connection.close()
            self._owners.clear()


class _HttpPool(urllib3.HTTPConnectionPool):
    """The connections to a host; those that wait are in `own`, for urllib3's queue knows only its own host's."""

    ConnectionCls = _HttpConnection
    idle: _Idle
    own: deque[_HttpConnection]

    def exchange(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        tunnel: bool,
        connect_seconds: float,
        deadline: float,
        limit: int,
    ) -> Answer:
        """What `urlopen` does, less what nobody needs here: it costs as much again as the request. No retries, redirects,
        timers of its own, and no second object for an answer and its headers."""
        connection = self._connection()
        try:
            self._connect(connection, tunnel, connect_seconds)
            connection.timeout = None  # the alarm sees to that, and a time-out costs a system call for each other one
            _request.watch(connection.sock)
            with contextlib.suppress(BrokenPipeError):  # a server may answer, and close, before it was sent everything
                connection.request(method, target, headers=headers)
            _request.sent = True
            with http.client.HTTPConnection.getresponse(connection) as response:
                body, rest = _body(response, limit)
                answer = Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
        except BaseException:
            connection.close()
            raise
        _request.unwatch()  # from here on the connection is anybody's
        if rest or headers.get("Connection") == "close":
            connection.close()
        if not connection.is_closed:  # the server may have closed it, too
            self.idle.put(connection, self.own)
        return answer

    def _connection(self) -> _HttpConnection:
        connection = self.idle.take(self.own)
        if connection and not connection.is_connected:  # the server closed it in the meantime
            connection.close()
        connection = connection or self._new_conn()  # type: ignore[assignment]
        assert isinstance(connection, _HttpConnection)
        return connection

    def _connect(self, connection: _HttpConnection, tunnel: bool, seconds: float) -> None:
        """A connection that is open stays as it is."""
        if not connection.is_closed:
            return
        connection.timeout = seconds
        try:
            if tunnel:
                self._prepare_proxy(connection)
            else:
                connection.connect()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if self.proxy and not connection.has_connected_to_proxy:
                raise urllib3.exceptions.ProxyError("not reached", error) from None
            raise


class _HttpsPool(_HttpPool, urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


class Wire:
    """The pools of one run. urllib3's own retries are off: it would send an unanswered push four times."""

    def __init__(self, environment: Mapping[str, str], connections: int) -> None:
        self._environment = environment
        self._managers: dict[tuple[str, Tls, str | None], urllib3.PoolManager] = {}
        self._pools: dict[tuple[str, str, Tls], _HttpPool] = {}
        self._idle = _Idle(connections)
        self._lock = threading.Lock()
        weakref.finalize(self, self._idle.close)

    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        tls: Tls,
        connect_seconds: float,
        deadline: float,
        limit: int,
    ) -> Answer:
        """Send a request without a body and read the answer until `deadline` (`time.monotonic`). Raises HttpError."""
        _request.deadline, _request.sent = deadline, False
        try:
            scheme, netloc, target = _parts(url)
            pool = self._pool(scheme, netloc, tls)
            connect_seconds = min(connect_seconds, max(0.1, deadline - time.monotonic()))
            if pool.proxy and scheme == "http":
                target = f"{scheme}://{netloc}{target}"
                headers = {**pool.proxy_headers, **headers}
            tunnel = pool.proxy is not None and scheme == "https"
            answer = pool.exchange(method, target, {"User-Agent": _AGENT, **headers}, tunnel, connect_seconds, deadline, limit)
            if time.monotonic() >= deadline:  # cut by the alarm, which looks like the end of an answer without a length
                raise TimeoutError
            return answer
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError, zlib.error) as error:
            expired = time.monotonic() >= deadline
            problem = _unanswered(error, host_of(url), expired) if _request.sent else _unsent(error, host_of(url))
        finally:
            _request.unwatch()
        raise problem  # not `from`: urllib3's text has the whole address in it

    def _pool(self, scheme: str, netloc: str, tls: Tls) -> _HttpPool:
        """The connections to a host."""
        key = (scheme, netloc, tls)
        if found := self._pools.get(key):
            return found
        parts = urllib3.util.parse_url(f"{scheme}://{netloc}/")
        if not parts.host:
            raise urllib3.exceptions.LocationValueError
        with self._lock:
            if found := self._pools.get(key):
                return found
            manager = self._manager(scheme, tls, self._proxy(scheme, netloc))
            pool = manager.connection_from_host(parts.host, parts.port, scheme)
            assert isinstance(pool, _HttpPool)
            pool.idle, pool.own = self._idle, deque()
            self._pools[key] = pool
        return pool

    def _manager(self, scheme: str, tls: Tls, proxy: str | None) -> urllib3.PoolManager:
        """One for each TLS setting and proxy: hosts share its certificates."""
        key = (scheme, tls, proxy)
        if key not in self._managers:
            self._managers[key] = self._make_pool(*key)
        return self._managers[key]

    def _make_pool(self, scheme: str, tls: Tls, proxy: str | None) -> urllib3.PoolManager:
        """A TLS setting costs 20 ms, and is not made where nothing is encrypted."""
        encrypted = scheme == "https" or (proxy or "").startswith("https:")
        options = {
            "num_pools": 1,  # they are kept here
            "ssl_context": self._context(tls) if encrypted else None,
        }
        pool = _proxied(proxy, options) if proxy else urllib3.PoolManager(**options)  # type: ignore[arg-type]
        pool.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
        return pool

    def _context(self, tls: Tls) -> ssl.SSLContext:
        """The authorities of the system and, besides, `tls.cacerts`; our own certificate, if there is one."""
        try:
            context = ssl.create_default_context(cafile=self._environment.get("SSL_CERT_FILE"))
            for cacert in tls.cacerts:
                context.load_verify_locations(cafile=cacert)
        except OSError:  # ssl.SSLError is one
            raise HttpError("the file of cacert, or of SSL_CERT_FILE, holds no certificates", lasting=True) from None
        try:
            if tls.client_cert:
                context.load_cert_chain(tls.client_cert, password="")  # a key with a password: an error, not a prompt
        except OSError:
            raise HttpError("the file of tls_client_cert holds no certificate with its key", lasting=True) from None
        if tls.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def _proxy(self, scheme: str, netloc: str) -> str | None:
        """http_proxy, https_proxy, no_proxy as restic reads them, and all_proxy as curl does; in small letters or capitals."""
        named = {
            name.lower().removesuffix("_proxy"): value
            for name, value in sorted(self._environment.items())
            if name.lower().endswith("_proxy") and value
        }
        proxy = named.get(scheme) or named.get("all")
        if not proxy or _direct(scheme, netloc, named.get("no", "")):
            return None
        return proxy if "://" in proxy else f"http://{proxy}"


def _direct(scheme: str, netloc: str, no_proxy: str) -> bool:
    """Whether a host is asked without the proxy. As Go does it (golang.org/x/net/http/httpproxy), and so restic: this machine
    always; `no_proxy` names addresses, networks (10.0.0.0/8), domains with what is below, .domains without, each with a port
    or for all ports, or * for all."""
    parts = urlsplit(f"{scheme}://{netloc}")
    host, port = parts.hostname or "", parts.port or (443 if scheme == "https" else 80)
    address = _address(host)
    if host == "localhost" or (address and address.is_loopback):
        return True
    return any(_excepts(entry.strip().lower(), host, address, port) for entry in no_proxy.split(","))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host)
    return None


def _excepts(entry: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int) -> bool:
    """Whether one entry of no_proxy is about this host."""
    if entry == "*":
        return True
    with contextlib.suppress(ValueError):
        network = ipaddress.ip_network(entry, strict=False)
        return address is not None and address in network
    found = _ENTRY.fullmatch(entry)
    if not found or int(found[2] or port) != port:
        return False
    name = found[1].removeprefix("*")
    return host == name or host.endswith(f".{name.removeprefix('.')}")


# host, host:port, [address]:port
_ENTRY = re.compile(r"\[?(.+?)\]?(?::(\d{1,5}))?")


def _parts(url: str) -> tuple[str, str, str]:
    """Scheme, host with port, and what is asked for there. Credentials in an address are not sent."""
    scheme, _, rest = url.partition("://")
    netloc, slash, path = rest.partition("/")
    if "?" in netloc or "#" in netloc:
        parts = urlsplit(url)
        netloc, slash, path = parts.netloc, "/", parts._replace(scheme="", netloc="").geturl()
    return scheme.lower(), netloc.rpartition("@")[2].lower(), f"/{path.partition('#')[0]}" if slash else "/"


def _body(response: http.client.HTTPResponse, limit: int) -> tuple[bytes, bool]:
    """The first `limit` bytes, and whether there is more: then the connection is of no use for the next request.

    Nobody asked for an answer that is compressed; some proxies do not mind.
    """
    body = response.read(limit)
    if response.length and len(body) < limit:
        raise http.client.IncompleteRead(body, response.length)
    rest = response.length != 0 and bool(response.read(1))
    if response.getheader("Content-Encoding", "").lower() in ("gzip", "deflate"):
        body = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, limit)
    return body, rest


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
    if any(isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE) for cause in causes):
        return HttpError(f"no connection to {host}: too many open files; raise the limit (ulimit -n) or lower connections")
    if among(urllib3.exceptions.ProxyError):
        return HttpError(f"the proxy on the way to {host} cannot be reached")
    if among(ssl.SSLError):
        return HttpError(f"no TLS connection to {host}; does it speak http:// only?", lasting=True)
    if among(urllib3.exceptions.NameResolutionError):
        return HttpError(f"the name {host} does not resolve")
    if among(TimeoutError):
        return HttpError(f"connecting to {host} timed out", late=True)
    if among(ConnectionRefusedError):
        return HttpError(f"{host} refused the connection")
    if isinstance(error, ValueError | http.client.InvalidURL):
        return _unsendable(error, host)
    return HttpError(f"no connection to {host}")


def _unsendable(error: Exception, host: str) -> HttpError:
    """What is wrong with an address: http.client encodes the path as ASCII, and takes no blanks."""
    if not host.isascii():
        return HttpError(f"the host name {host} has to be written in punycode (xn--...)", lasting=True)
    if isinstance(error, http.client.InvalidURL) or (isinstance(error, UnicodeEncodeError) and error.encoding == "ascii"):
        return HttpError(f"the address on {host} has a character that must be percent-encoded", lasting=True)
    return HttpError(f"the address on {host} is not valid", lasting=True)


# http.client's _tunnel
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")


def _unanswered(error: Exception, host: str, expired: bool) -> HttpError:
    """What became of the answer to a request that was sent."""
    causes = list(_chain(error))
    if expired or any(isinstance(cause, TimeoutError) for cause in causes):
        return HttpError(f"{host} did not answer in time", sent=True, late=True)
    if any(isinstance(cause, OSError | http.client.IncompleteRead) for cause in causes):
        return HttpError(f"{host} closed the connection before it answered", sent=True)
    return HttpError(f"{host} answered something that is not HTTP", sent=True, garbled=True)
