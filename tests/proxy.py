"""A recording proxy in front of an HTTP store: what reaches the store is known, not believed."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from typing import Self
from urllib.parse import urlsplit

from kuma import LoopbackServer, QuietHandler

HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "expect"})
"""Headers of one connection (RFC 9110, 7.6.1), and those that are made anew because the body is passed on whole."""


@dataclass(frozen=True)
class Seen:
    """A request that reached the store. `path` is the whole request target, `status` the store's answer."""

    method: str
    path: str
    status: int


class Proxy:
    """A reverse proxy on 127.0.0.1 for one http:// server; a context manager.

    Every header goes through unchanged, Host too: an S3 client signs the address it talks to, which is the proxy's,
    and `rclone serve s3` checks the signature against the Host that it is sent.
    """

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target).netloc
        self._seen: list[Seen] = []
        self._lock = threading.Lock()
        self._server: LoopbackServer | None = None

    def __enter__(self) -> Self:
        proxy = self

        class Handler(_Handler):
            def __init__(self, *args: object) -> None:
                self.proxy = proxy
                super().__init__(*args)  # type: ignore[arg-type]

        self._server = LoopbackServer(Handler)
        self.url = f"http://127.0.0.1:{self._server.port}"
        return self

    def __exit__(self, *_: object) -> None:
        if self._server:
            self._server.close()

    @property
    def seen(self) -> tuple[Seen, ...]:
        with self._lock:
            return tuple(self._seen)

    @property
    def methods(self) -> frozenset[str]:
        return frozenset(seen.method for seen in self.seen)

    def forget(self) -> None:
        """Begin anew, say after a repository was made through the proxy."""
        with self._lock:
            self._seen.clear()

    def forward(self, method: str, path: str, headers: Iterable[tuple[str, str]], body: bytes) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection(self._target, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        with self._lock:
            self._seen.append(Seen(method, path, response.status))
        return response, content


class _Handler(QuietHandler):
    proxy: Proxy

    def answer(self) -> None:
        body = self.read_body()
        headers = [(name, value) for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP]
        headers.append(("Content-Length", str(len(body))))
        response, content = self.proxy.forward(self.command, self.target, headers, body)
        kept = [(name, value) for name, value in response.getheaders() if name.lower() not in HOP_BY_HOP]
        length = response.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        kept += [("Content-Length", length)] if length else []
        lines = [f"HTTP/1.1 {response.status} {response.reason}", *(f"{name}: {value}" for name, value in kept), "", ""]
        self.wfile.write("\r\n".join(lines).encode("latin-1") + content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer  # noqa: N815
