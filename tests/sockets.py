"""TCP servers that do with each connection what a test says, and the tiniest forward proxy."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Connection = Callable[[socket.socket], None]


class Raw:
    """A TCP server that does as it is told with each connection, and counts them."""

    def __init__(self, serve: Connection) -> None:
        self.connections = 0
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._workers: list[threading.Thread] = []
        self._thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connected, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connected)
                self._workers.append(threading.Thread(target=self._work, args=(connected,)))
                self._workers[-1].start()

    def left(self, count: int) -> bool:
        """Whether so many clients went, within two seconds."""
        until = time.monotonic() + 2
        while sum(not worker.is_alive() for worker in self._workers) < count and time.monotonic() < until:
            time.sleep(0.01)
        return sum(not worker.is_alive() for worker in self._workers) >= count

    def _work(self, connected: socket.socket) -> None:
        with suppress(OSError), connected:
            self._serve(connected)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for connected in self._open:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
        for worker in self._workers:
            worker.join()


@contextmanager
def raw(serve: Connection) -> Iterator[Raw]:
    server = Raw(serve)
    try:
        yield server
    finally:
        server.close()


def read_head(connected: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = connected.recv(65536)
        if not chunk:
            raise ConnectionAbortedError
        head += chunk
    return head


def says(*parts: bytes, pause_seconds: float = 0.0) -> Connection:
    """Read the request, write the parts, close."""

    def serve(connected: socket.socket) -> None:
        read_head(connected)
        for part in parts:
            connected.sendall(part)
            time.sleep(pause_seconds)

    return serve


def drips(first: bytes, *, ask: bool = True) -> Connection:
    def serve(connected: socket.socket) -> None:
        if ask:
            read_head(connected)
        connected.sendall(first)
        while True:
            connected.sendall(b" ")
            time.sleep(0.02)

    return serve


def named(url: str) -> str:
    """The address with a name that only `forward` knows: nobody asks a proxy for 127.0.0.1."""
    return url.replace("127.0.0.1", "store.test")


def reach(target: bytes) -> socket.socket:
    """All names of .test (RFC 6761) are 127.0.0.1."""
    host, _, port = target.decode().partition(":")
    return socket.create_connection(("127.0.0.1" if host.endswith(".test") else host, int(port)))


def forward(request: bytes, connected: socket.socket) -> None:
    """The tiniest proxy: CONNECT and absolute addresses."""
    method, target, _ = request.split(b" ", 2)
    if method == b"CONNECT":
        tunnel = reach(target)
        connected.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    else:
        host_port, _, path = target.removeprefix(b"http://").partition(b"/")
        tunnel = reach(host_port)
        tunnel.sendall(request.replace(target, b"/" + path, 1))
    back = threading.Thread(target=pump, args=(tunnel, connected))
    back.start()
    pump(connected, tunnel)
    back.join()
    tunnel.close()


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            sink.sendall(chunk)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class ForwardProxy:
    """Heads that came in, in `asked`."""

    def __init__(self, refuse: bytes | None = None) -> None:
        self.asked: list[bytes] = []
        self.refuse = refuse

    def __call__(self, connected: socket.socket) -> None:
        head = read_head(connected)
        self.asked.append(head)
        if self.refuse:
            connected.sendall(self.refuse)
        else:
            forward(head, connected)
