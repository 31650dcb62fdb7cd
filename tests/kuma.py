"""Uptime Kuma's push endpoint as a real HTTP server on the loopback, and the ways in which it can be ill.

The answers are those measured on Uptime Kuma 1.23.17 and 2.5.3 (`server/routers/api-router.js`,
Express, Node's HTTP parser).
Only the standard library is imported, so that script/demo.py can use this module too.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import ssl
import string
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from itertools import chain, repeat
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Literal, Self
from urllib.parse import parse_qs, unquote

MAX_HEAD_BYTES = 16 * 1024
"""Node's --max-http-header-size: URL, header names and header values together."""

MAX_PING_MS = 1e11
NOT_FOUND = "Monitor not found or not active."


@dataclass(frozen=True)
class Beat:
    """A heartbeat as Uptime Kuma stores it. `path` is the whole request target, `ping` is in milliseconds."""

    token: str
    status: Literal["up", "down"]
    msg: str
    ping: float | None
    path: str
    at: datetime


@dataclass(frozen=True)
class Request:
    """A request as it came in, whether or not it led to a beat. `path` is the whole request target."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def head(self) -> bytes:
        phrase = HTTPStatus(self.status).phrase
        headers = {"Content-Length": str(len(self.body)), **self.headers}
        lines = [f"HTTP/1.1 {self.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode("latin-1")


def _json(status: int, value: Mapping[str, object]) -> Answer:
    return Answer(status, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(value).encode())


def _html(status: int, text: str) -> Answer:
    return Answer(status, {"Content-Type": "text/html; charset=utf-8"}, text.encode())


TAKEN = _json(200, {"ok": True})
WEB_APP = _html(200, "<!DOCTYPE html><html><head><title>Uptime Kuma</title></head><body></body></html>")


class LoopbackServer(ThreadingMixIn, TCPServer):
    """A threading server on a free port of 127.0.0.1 that leaves no thread and no socket behind when it is closed.

    `http.server.ThreadingHTTPServer` asks the resolver for its own name at start, and waits at its end for clients
    that keep their connection.
    """

    allow_reuse_address = True
    daemon_threads = False  # False is what makes server_close wait for them
    request_queue_size = 128

    def __init__(self, handler: type[BaseHTTPRequestHandler], port: int = 0, tls: tuple[Path, Path] | None = None) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
        if self._tls and tls:
            self._tls.load_cert_chain(*tls)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), name="loopback-server")
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def close(self) -> None:
        """Cut every connection, and return when every thread has ended."""
        self.shutdown()
        self._thread.join()
        self.socket.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        if self._tls:  # the handshake happens at the first read, in the connection's own thread
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open.add(connection)
        return connection, address

    def close_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        with self._lock:
            self._open.discard(request)
        super().close_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away, or refused the certificate, is nothing to print (ssl.SSLError is an OSError)."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class QuietHandler(BaseHTTPRequestHandler):
    """Reads one request after the other; `target` is what the client sent, which `self.path` is not.

    http.server makes one slash of several at the beginning of `self.path` (since bpo-87389); Uptime Kuma does not.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def target(self) -> str:
        return self.requestline.split(" ")[1]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def read_body(self) -> bytes:
        """The body of the request, with a length or chunked, so that the next request is found behind it."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while length := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(length))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)


class Kuma:
    """A context manager: it listens from `with` on, and every thread is gone after it.

    `tokens` are the monitors that are active: a token that is not among them, or was taken out, is unknown or paused,
    which Uptime Kuma does not tell apart. `delay_seconds` is how long an answer takes. A 2.x sends its notifications
    before it stores the beat and answers, so the beat comes after the delay, whether or not the client still waits.
    """

    def __init__(self, major: Literal[1, 2] = 2, tokens: Iterable[str] = (), tls: tuple[Path, Path] | None = None) -> None:
        """`tls` is a certificate file and its key file (PEM)."""
        self.major = major
        self.tokens = set(tokens)
        self.delay_seconds = 0.0
        self._tls = tls
        self._beats: list[Beat] = []
        self._requests: list[Request] = []
        self._changed = threading.Condition()
        self._ills: Iterator[Callable[[_Handler], None]] = iter(())
        self._closing = threading.Event()
        self._port = 0
        self._server: LoopbackServer | None = None

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()

    @property
    def url(self) -> str:
        """Scheme, host and port, without a slash at the end. It stays the same for the life of the object."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def push_url(self, token: str) -> str:
        """What the web app shows for copying, query included."""
        return f"{self.url}/api/push/{token}?status=up&msg=OK&ping="

    def add_monitor(self) -> str:
        """The token of a new push monitor: 10 characters long in 1.x, 32 since 2.0."""
        alphabet = string.ascii_letters + string.digits
        token = "".join(secrets.choice(alphabet) for _ in range(10 if self.major == 1 else 32))
        self.tokens.add(token)
        return token

    @property
    def beats(self) -> tuple[Beat, ...]:
        with self._changed:
            return tuple(self._beats)

    @property
    def requests(self) -> tuple[Request, ...]:
        with self._changed:
            return tuple(self._requests)

    def wait_for_beats(self, count: int, timeout_seconds: float = 10) -> tuple[Beat, ...]:
        """All beats, as soon as there are `count`; AssertionError when they do not come in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._beats) >= count, timeout_seconds):
                raise AssertionError(f"{len(self._beats)} of {count} beats came within {timeout_seconds} s")
            return tuple(self._beats)

    # How it can be ill. `times` counts requests, None is for ever; what is asked for later comes later.

    def refuse(self) -> None:
        """Close the port and every connection: the next client is refused. `listen` ends it.

        A beat whose answer is still delayed is lost.
        """
        self._closing.set()
        if self._server:
            self._server.close()
        self._server = None

    def listen(self) -> None:
        kuma = self

        class Handler(_Handler):
            def __init__(self, *args: object) -> None:
                self.kuma = kuma
                super().__init__(*args)  # type: ignore[arg-type]

        if not self._server:
            self._closing.clear()
            self._server = LoopbackServer(Handler, self._port, self._tls)
            self._port = self._server.port

    def answer_with(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"", times: int | None = 1
    ) -> None:
        """As a proxy, a login page or a redirect in front of Uptime Kuma does: nothing is recorded."""
        answer = Answer(status, headers or {}, body)
        self._fall_ill(lambda handler: handler.send(answer), times)

    def drop(self, times: int | None = 1, *, recorded: bool = False) -> None:
        """Close the connection without a byte of an answer, before or after the beat is `recorded`."""

        def drop(handler: _Handler) -> None:
            if recorded:
                self._answer(handler.command, handler.target)
            handler.close_connection = True

        self._fall_ill(drop, times)

    def drip(self, where: Literal["headers", "body"], every_seconds: float = 0.05, times: int | None = 1) -> None:
        """Record the beat, then answer for ever: one byte of a header or of the body at a time."""
        endless = Answer(200, {"Content-Length": "999999999"}, b"").head()
        head = {"headers": b"HTTP/1.1 200 OK\r\nX-Drip: ", "body": endless}[where]

        def drip(handler: _Handler) -> None:
            self._answer(handler.command, handler.target)
            handler.close_connection = True
            handler.wfile.write(head)
            while not self._closing.wait(every_seconds):
                handler.wfile.write(b" ")

        self._fall_ill(drip, times)

    def recover(self) -> None:
        """Forget every illness that is still to come, and the delay. A closed port stays closed."""
        with self._changed:
            self._ills = iter(())
        self.delay_seconds = 0.0

    def _fall_ill(self, ill: Callable[[_Handler], None], times: int | None) -> None:
        with self._changed:
            self._ills = chain(self._ills, repeat(ill) if times is None else repeat(ill, times))

    # What a handler needs.

    def _note(self, request: Request) -> Callable[[_Handler], None] | None:
        with self._changed:
            self._requests.append(request)
            return next(self._ills, None)

    def _answer(self, method: str, target: str) -> Answer:
        """Judge one request and record its beat."""
        path, _, query = target.partition("?")
        match = re.fullmatch("/api/push/([^/]+)", path, re.IGNORECASE)  # Express: routes do not care for the case
        if not match:
            return WEB_APP if method in {"GET", "HEAD"} else _html(404, f"<pre>Cannot {method} {path}</pre>")
        if self.major == 1 and method == "OPTIONS":
            return Answer(200, {"Allow": "GET,HEAD"}, b"GET,HEAD")
        if self.major == 1 and method not in {"GET", "HEAD"}:
            return _html(404, f"<pre>Cannot {method} {path}</pre>")
        return self._push(unquote(match[1]), target, parse_qs(query, keep_blank_values=True))

    def _push(self, token: str, target: str, query: Mapping[str, list[str]]) -> Answer:
        msg, status = query.get("msg", [""]), query.get("status", [""])
        ping = parse_float((query.get("ping") or [""])[0]) or None
        if token not in self.tokens:
            return _json(404, {"ok": False, "msg": NOT_FOUND})
        if self.major == 2 and ping is not None and not 0 <= ping <= MAX_PING_MS:
            return _json(404, {"ok": False, "msg": "Invalid ping value. Must be between 0 and 100000000000 ms."})
        beat = Beat(
            token=token,
            status="up" if status in ([""], ["up"]) else "down",  # given twice it is an array, which is not "up"
            msg=(msg[0] or "OK") if len(msg) == 1 else "[object Object]",
            ping=ping,
            path=target,
            at=datetime.now(UTC),
        )
        if self.major == 2:
            self._wait()
        self._record(beat)
        if self.major == 1:
            self._wait()
        return TAKEN

    def _wait(self) -> None:
        if self._closing.wait(self.delay_seconds):
            raise ConnectionAbortedError

    def _record(self, beat: Beat) -> None:
        with self._changed:
            self._beats.append(beat)
            self._changed.notify_all()


class _Handler(QuietHandler):
    kuma: Kuma

    def answer(self) -> None:
        self.read_body()
        headers = dict(self.headers.items())
        ill = self.kuma._note(Request(self.command, self.target, headers))
        if len(self.target) + sum(len(name) + len(value) for name, value in headers.items()) > MAX_HEAD_BYTES:
            self.send_error(431)
        elif ill:
            ill(self)
        else:
            self.send(self.kuma._answer(self.command, self.target))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer  # noqa: N815

    def send(self, answer: Answer) -> None:
        self.wfile.write(answer.head() + (b"" if self.command == "HEAD" else answer.body))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Node's parser answers what it cannot read without a body, and closes. http.server's 414 is its 431."""
        self.close_connection = True
        self.wfile.write(Answer(431 if code == 414 else code, {"Connection": "close"}, b"").head())


def parse_float(text: str) -> float | None:
    """JavaScript's parseFloat: the longest beginning that is a number, None for NaN.

    https://tc39.es/ecma262/#sec-parsefloat-string
    """
    match = re.match(r"\s*([+-]?(?:Infinity|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?))", text)
    return float(match[1]) if match else None
