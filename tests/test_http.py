"""`Http.get` against real sockets that behave badly, and against proxies. No error ever shows an address's path."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import pytest

from conftest import Certificate
from kuma import Kuma
from restic_monitor.http import BODY_LIMIT_BYTES, Answer, Http, HttpError
from sockets import ForwardProxy, Raw, drips, forward, named, raw, read_head, says

PAUSE_SECONDS = 0.3
TOKEN = "tOkEnThatNobodyMaySee"


OK = b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\nContent-Type: application/json\r\n\r\n{"ok":true}'


def client(environment: Mapping[str, str] | None = None, pause_seconds: float = PAUSE_SECONDS) -> Http:
    return Http(environment or {}, pause_seconds=pause_seconds)


def patient() -> Http:
    """A second try would show: it comes after five seconds."""
    return client(pause_seconds=5)


def push(server: Kuma | Raw) -> str:
    return f"{server.url}/api/push/{TOKEN}?status=up&msg=secretive"


def get(url: str, http: Http | None = None, cacert: str | None = None, seconds: float = 0.4) -> Answer:
    return (http or client()).get(url, cacert=cacert, connect_seconds=0.2, answer_seconds=seconds)


def failure(url: str, http: Http | None = None, cacert: str | None = None, seconds: float = 0.4) -> HttpError:
    """The error, after making sure that nothing of it shows the address."""
    with pytest.raises(HttpError) as caught:
        get(url, http, cacert, seconds)
    error: BaseException | None = caught.value
    while error:
        assert TOKEN not in f"{error!r} {error}"
        assert "secretive" not in f"{error!r} {error}"
        error = error.__cause__ or error.__context__
    return caught.value


@pytest.fixture
def taken(kuma: Kuma) -> Kuma:
    kuma.tokens.add(TOKEN)
    return kuma


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# answers


def test_an_answer_has_status_headers_and_body(taken: Kuma) -> None:
    answer = get(push(taken))
    assert (answer.status, answer.body) == (200, b'{"ok": true}')
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert taken.requests[0].headers["User-Agent"].startswith("restic-monitor/")


@pytest.mark.parametrize("status", [200, 204, 400, 401, 403, 404, 413, 431, 500, 502, 504])
def test_an_answer_is_an_answer_whatever_its_status_and_is_not_asked_for_again(taken: Kuma, status: int) -> None:
    taken.answer_with(status)
    assert get(push(taken)).status == status
    assert len(taken.requests) == 1


def test_several_requests_share_a_connection() -> None:
    def serve(connected: socket.socket) -> None:
        while True:
            read_head(connected)
            connected.sendall(OK)

    with raw(serve) as server:
        http = client()
        for _ in range(3):
            assert get(push(server), http).status == 200
        assert server.connections == 1


def test_a_huge_body_is_cut_and_its_connection_closed() -> None:
    closed = threading.Event()

    def serve(connected: socket.socket) -> None:
        read_head(connected)
        connected.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            while True:
                connected.sendall(b"x" * 65536)
        except OSError:
            closed.set()

    with raw(serve) as server:
        answer = get(push(server), seconds=5)
        assert closed.wait(2)
    assert answer.body == b"x" * BODY_LIMIT_BYTES


def test_a_chunked_body_is_put_together() -> None:
    chunked = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"ok"\r\n6\r\n:true}\r\n0\r\n\r\n'
    with raw(says(chunked)) as server:
        assert get(push(server)).body == b'{"ok":true}'


# what may be sent twice


@pytest.mark.parametrize("status", [429, 503])
def test_429_and_503_are_tried_once_more_after_the_pause_they_ask_for(taken: Kuma, status: int) -> None:
    taken.answer_with(status, {"Retry-After": "0.6"})
    began = time.monotonic()
    assert get(push(taken)).status == 200
    assert 0.6 <= time.monotonic() - began < 1.2
    assert len(taken.beats) == 1


@pytest.mark.parametrize("asked", ["-5", "0", "nan"])
def test_a_strange_retry_after_is_no_pause(taken: Kuma, asked: str) -> None:
    taken.answer_with(503, {"Retry-After": asked})
    began = time.monotonic()
    assert get(push(taken), patient()).status == 200
    assert time.monotonic() - began < 3


def test_a_second_503_is_the_answer(taken: Kuma) -> None:
    taken.answer_with(503, {"Retry-After": "0"}, times=None)
    assert get(push(taken)).status == 503
    assert len(taken.requests) == 2


def test_a_date_in_retry_after_is_the_usual_pause(taken: Kuma) -> None:
    taken.answer_with(503, {"Retry-After": "Fri, 31 Dec 2999 23:59:59 GMT"})
    began = time.monotonic()
    assert get(push(taken)).status == 200
    assert PAUSE_SECONDS <= time.monotonic() - began < 1


def test_nothing_is_sent_again_after_a_silent_answer(taken: Kuma) -> None:
    taken.delay_seconds = 0.8
    error = failure(push(taken), seconds=0.2)
    assert error.sent
    assert error.reason == f"127.0.0.1:{taken.url.rpartition(':')[2]} did not answer in time"
    taken.wait_for_beats(1)
    time.sleep(0.2)
    assert len(taken.beats) == len(taken.requests) == 1


@pytest.mark.parametrize("recorded", [True, False])
def test_nothing_is_sent_again_when_the_connection_was_cut_after_the_request(taken: Kuma, recorded: bool) -> None:
    taken.drop(recorded=recorded)
    error = failure(push(taken))
    assert error.sent
    assert "closed the connection before it answered" in error.reason
    assert len(taken.requests) == 1


def test_nothing_is_sent_again_when_the_answer_broke_off() -> None:
    with raw(says(OK[:-4])) as server:
        error = failure(push(server))
        assert error.sent
        assert "closed the connection before it answered" in error.reason
        assert server.connections == 1


def test_an_answer_that_is_not_http_says_so_and_is_not_asked_for_again() -> None:
    with raw(says(b"SSH-2.0-OpenSSH_9.9\r\n")) as server:
        error = failure(push(server))
        assert error.sent
        assert "answered something that is not HTTP" in error.reason
        assert server.connections == 1


# deadlines


@pytest.mark.parametrize("where", ["headers", "body"])
def test_a_dripping_answer_ends_at_the_deadline(taken: Kuma, where: Literal["headers", "body"]) -> None:
    taken.drip(where, every_seconds=0.02)
    began = time.monotonic()
    error = failure(push(taken), seconds=0.3)
    assert time.monotonic() - began < 1
    assert error.sent
    assert "did not answer in time" in error.reason
    assert len(taken.beats) == 1


@pytest.mark.parametrize(
    "beginning", [b"HT", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"]
)
def test_a_dripping_answer_without_a_length_ends_at_the_deadline_and_is_none(beginning: bytes) -> None:
    with raw(drips(beginning)) as server:
        began = time.monotonic()
        assert "did not answer in time" in failure(push(server), seconds=0.3).reason
        assert time.monotonic() - began < 1


def test_a_dripping_answer_over_tls_ends_at_the_deadline(certificate: Certificate) -> None:
    with Kuma(tokens=[TOKEN], tls=(certificate.cert, certificate.key)) as kuma:
        kuma.drip("body", every_seconds=0.02)
        began = time.monotonic()
        assert "did not answer in time" in failure(push(kuma), cacert=str(certificate.cert), seconds=0.3).reason
        assert time.monotonic() - began < 1


def test_a_slow_answer_within_the_deadline_is_taken(taken: Kuma) -> None:
    taken.delay_seconds = 0.4
    assert get(push(taken), seconds=5).status == 200


def test_the_deadline_counts_redirects_too(taken: Kuma) -> None:
    def serve(connected: socket.socket) -> None:
        read_head(connected)
        time.sleep(0.25)
        connected.sendall(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with raw(serve) as server:
        began = time.monotonic()
        assert "in time" in failure(push(server), seconds=0.3).reason
        assert time.monotonic() - began < 1


# connecting


def test_a_refused_connection_is_tried_once_more() -> None:
    port = closed_port()

    def listen_later() -> None:
        time.sleep(PAUSE_SECONDS / 2)
        with socket.create_server(("127.0.0.1", port)) as listener:
            connected, _ = listener.accept()
            with connected:
                says(OK)(connected)

    thread = threading.Thread(target=listen_later)
    thread.start()
    assert get(f"http://127.0.0.1:{port}/api/push/{TOKEN}").status == 200
    thread.join()


def test_a_host_that_refused_twice_is_not_tried_again_by_anybody() -> None:
    port, http = closed_port(), client()
    url = f"http://127.0.0.1:{port}/api/push/{TOKEN}"
    began = time.monotonic()
    error = failure(f"{url}secretive", http)
    assert time.monotonic() - began >= PAUSE_SECONDS
    assert not error.sent
    assert error.reason == f"127.0.0.1:{port} refused the connection"
    with raw(says(OK)) as other:
        began = time.monotonic()
        error = failure(f"{url}another", http)
        assert time.monotonic() - began < PAUSE_SECONDS
        assert error.reason == f"127.0.0.1:{port} could not be reached before in this run and was not tried again"
        assert get(push(other), http).status == 200, "other hosts are"


def test_one_refusal_each_of_many_pushes_at_once_gives_nobody_up() -> None:
    """Uptime Kuma restarts just now: everybody has the second try."""
    port, http, statuses = closed_port(), Http({}, pause_seconds=2.0), []

    def one() -> None:
        url = f"http://127.0.0.1:{port}/api/push/{TOKEN}"
        statuses.append(http.get(url, headers={"Connection": "close"}).status)  # a connection each, so that they can be counted

    threads = [threading.Thread(target=one) for _ in range(5)]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    listener = socket.create_server(("127.0.0.1", port))
    listener.settimeout(10)
    for _ in threads:
        connected, _address = listener.accept()
        with connected:
            says(OK)(connected)
    for thread in threads:
        thread.join()
    listener.close()
    assert statuses == [200] * 5


def test_a_host_that_does_not_resolve_is_named() -> None:
    error = failure(f"http://no-such-host.invalid/api/push/{TOKEN}")
    assert not error.sent
    assert error.reason == "the name no-such-host.invalid does not resolve"


def test_a_host_that_does_not_take_the_connection_times_out() -> None:
    with full("127.0.0.1") as port:
        error = failure(f"http://127.0.0.1:{port}/api/push/{TOKEN}")
    assert not error.sent
    assert error.reason.endswith("timed out")


@contextlib.contextmanager
def full(host: str, port: int = 0) -> Iterator[int]:
    """A port whose queue of connections is full: more are not answered."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(4):
            each = stack.enter_context(socket.socket())
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield int(listener.getsockname()[1])


def resolve(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """The resolver knows these addresses of every name."""
    real = socket.getaddrinfo

    def found(_host: str, *more: int) -> list[object]:
        return [each for address in addresses for each in real(address, *more)]

    monkeypatch.setattr(socket, "getaddrinfo", found)


def test_all_addresses_of_a_name_together_have_the_time_of_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with full("127.0.0.2") as port, full("127.0.0.3", port), full("127.0.0.4", port):
        resolve(monkeypatch, "127.0.0.2", "127.0.0.3", "127.0.0.4")
        began = time.monotonic()
        with pytest.raises(HttpError) as caught:
            client().ask(f"http://store.test:{port}/", connect_seconds=0.6, deadline=began + 10)
        assert 0.5 < time.monotonic() - began < 1
    assert caught.value.late
    assert caught.value.reason == f"connecting to store.test:{port} timed out"


def test_a_name_is_reached_at_its_second_address_when_the_first_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw(says(OK)) as server, full("127.0.0.2", server.port):
        resolve(monkeypatch, "127.0.0.2", "127.0.0.1")
        assert get(named(push(server))).status == 200


def test_too_many_open_files_says_what_to_do() -> None:
    http, limits = client(pause_seconds=0), resource.getrlimit(resource.RLIMIT_NOFILE)
    with raw(says(OK)) as server:
        get(push(server), http)  # everything is imported
    taken = []
    highest = os.open(os.devnull, os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 10, limits[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(highest))
        reason = failure(f"http://127.0.0.1:1/{TOKEN}", http).reason
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for each in (highest, *taken):
            os.close(each)
    assert reason == ("no connection to 127.0.0.1:1: too many open files; raise the limit (ulimit -n) or lower connections")


def test_an_address_that_cannot_be_one_is_an_error_without_a_second_try() -> None:
    began = time.monotonic()
    error = failure(f"http://{'a' * 70}.example/api/push/{TOKEN}", patient())
    assert time.monotonic() - began < 3
    assert not error.sent
    assert error.lasting


@pytest.mark.parametrize("character", [" ", "é", "\x7f"])
def test_a_character_that_has_to_be_percent_encoded_is_an_error_without_a_second_try(taken: Kuma, character: str) -> None:
    error = failure(f"{push(taken)}{character}", patient())
    assert error.lasting
    assert error.reason.startswith("the address on 127.0.0.1:")
    assert error.reason.endswith(" has a character that must be percent-encoded")
    assert not taken.requests


def test_a_host_name_beyond_ascii_asks_for_punycode() -> None:
    error = failure(f"http://bücher.invalid/{TOKEN}", patient())
    assert error.lasting
    assert error.reason == "the host name bücher.invalid has to be written in punycode (xn--...)"


# redirects


def test_redirects_on_the_same_host_are_followed_with_the_query(taken: Kuma) -> None:
    taken.answer_with(301, {"Location": f"/api/push/{TOKEN}?status=down"})
    assert get(push(taken)).body == b'{"ok": true}'
    assert taken.beats[0].status == "down"


def test_a_redirect_to_another_port_of_the_host_is_followed(taken: Kuma) -> None:
    with raw(says(f"HTTP/1.1 308 Moved\r\nLocation: {push(taken)}\r\nContent-Length: 0\r\n\r\n".encode())) as server:
        assert get(push(server)).status == 200


def test_a_redirect_to_another_host_is_refused_and_says_which(taken: Kuma) -> None:
    taken.answer_with(302, {"Location": f"http://login.example.com/?from={TOKEN}"})
    error = failure(push(taken))
    assert error.reason.endswith("redirects to another host (login.example.com)")
    assert not error.sent
    assert len(taken.requests) == 1


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/", "ftp://127.0.0.1/"])
def test_a_redirect_away_from_https_is_refused(certificate: Certificate, target: str) -> None:
    with Kuma(tls=(certificate.cert, certificate.key)) as kuma:
        kuma.answer_with(302, {"Location": target})
        error = failure(push(kuma), cacert=str(certificate.cert))
    assert f"redirects from https to {target.partition(':')[0]}" in error.reason


def test_a_circle_of_redirects_ends(taken: Kuma) -> None:
    taken.answer_with(302, {"Location": "/"}, times=None)
    assert "redirects in a circle" in failure(push(taken)).reason
    assert len(taken.requests) == 4


@pytest.mark.parametrize("location", ["http://[", "http://[::1", "//[x]/", "https://127.0.0.1:port/"])
def test_a_redirect_to_nonsense_is_an_error_like_others(taken: Kuma, location: str) -> None:
    taken.answer_with(302, {"Location": location})
    assert not failure(push(taken)).sent


def test_a_redirect_without_a_place_is_the_answer(taken: Kuma) -> None:
    taken.answer_with(302)
    assert get(push(taken)).status == 302


# TLS


def test_an_unknown_authority_is_refused_and_cacert_makes_it_known(certificate: Certificate) -> None:
    with Kuma(tokens=[TOKEN], tls=(certificate.cert, certificate.key)) as kuma:
        http = patient()
        began = time.monotonic()
        error = failure(push(kuma), http)
        assert time.monotonic() - began < 3, "no second try"
        assert not error.sent
        assert "self-signed certificate; cacert names another authority" in error.reason.replace("self signed", "self-signed")
        assert get(push(kuma), http, cacert=str(certificate.cert)).status == 200, "one failed push never stops the others"
        assert get(push(kuma), client({"SSL_CERT_FILE": str(certificate.cert)})).status == 200


def test_a_certificate_for_another_name_is_refused(certificate: Certificate) -> None:
    with Kuma(tls=(certificate.cert, certificate.key)) as kuma:
        url = push(kuma).replace("127.0.0.1", "other.test")
        with raw(lambda connected: proxy_to(kuma, connected)) as server:
            error = failure(url, client({"https_proxy": server.url}), cacert=str(certificate.cert))
    assert "was not accepted: Hostname mismatch" in error.reason


def proxy_to(kuma: Kuma, connected: socket.socket) -> None:
    read_head(connected)
    forward(f"CONNECT {kuma.url.partition('//')[2]} HTTP/1.1\r\n\r\n".encode(), connected)


def test_a_host_that_does_not_speak_tls_is_named_and_nothing_was_sent(taken: Kuma) -> None:
    error = failure(push(taken).replace("http:", "https:"))
    assert error.reason.startswith("no TLS connection to 127.0.0.1:")
    assert not error.sent
    assert not taken.beats


def test_a_host_that_is_silent_in_the_handshake_times_out_and_nothing_was_sent() -> None:
    with raw(lambda connected: time.sleep(0.5)) as server:
        error = failure(push(server).replace("http:", "https:"))
    assert not error.sent
    assert error.reason.endswith("timed out")


@pytest.mark.parametrize("content", [None, "", "not a certificate"])
def test_a_cacert_without_certificates_is_named_as_the_reason(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    error = failure(f"https://127.0.0.1:{closed_port()}/", cacert=str(file))
    assert error.reason == "the file of cacert, or of SSL_CERT_FILE, holds no certificates"


# proxies


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_http_goes_through_the_proxy(taken: Kuma, variable: str) -> None:
    proxy = ForwardProxy()
    with raw(proxy) as server:
        assert get(named(push(taken)), client({variable: server.url})).status == 200
    assert proxy.asked[0].startswith(f"GET http://store.test:{taken.url.rpartition(':')[2]}/api/push/".encode())
    assert len(taken.beats) == 1


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY"])
def test_https_goes_through_the_proxy_by_connect_which_sees_no_token(certificate: Certificate, variable: str) -> None:
    proxy = ForwardProxy()
    with Kuma(tokens=[TOKEN], tls=(certificate.cert, certificate.key)) as kuma, raw(proxy) as server:
        environment = {variable: server.url.replace("//", "//me:pass%2Fword@")}
        assert get(named(push(kuma)), client(environment), cacert=str(certificate.cert)).status == 200
        assert len(kuma.beats) == 1
    (head,) = proxy.asked
    assert head.startswith(f"CONNECT store.test:{kuma.url.rpartition(':')[2]} ".encode())
    assert b"proxy-authorization: Basic bWU6cGFzcy93b3Jk" in head
    assert TOKEN.encode() not in head


@pytest.mark.parametrize(
    "environment",
    [
        {"http_proxy": "http://127.0.0.1:1", "no_proxy": "*"},
        {"http_proxy": "", "all_proxy": ""},
        {"http_proxy": "", "https_proxy": "http://127.0.0.1:1"},
    ],
)
def test_without_a_proxy_for_it_a_host_is_asked_directly(
    taken: Kuma, monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]
) -> None:
    resolve(monkeypatch, "127.0.0.1")
    assert get(named(push(taken)), client(environment)).status == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "[::1]"])
def test_this_machine_is_never_asked_through_a_proxy(host: str) -> None:
    error = failure(f"http://{host}:1/{TOKEN}", client({"http_proxy": f"http://127.0.0.1:{closed_port()}"}, 0))
    assert "proxy" not in error.reason


@pytest.mark.parametrize(
    ("host", "no_proxy", "direct"),
    [
        ("store.test", "store.test", True),
        ("STORE.test", "example.com, Store.Test", True),
        ("a.store.test", "store.test", True),
        ("a.store.test", ".store.test", True),
        ("a.store.test", "*.store.test", True),
        ("store.test", ".store.test", False),
        ("mystore.test", "store.test", False),
        ("store.test:9000", "store.test:9000", True),
        ("store.test:9000", "store.test:80", False),
        ("store.test", "store.test:80", True),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3:9000", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3:9000", "10.1.2.3:9000", True),
        ("[fd00::1]:9000", "fd00::/8", True),
        ("[fd00::1]:9000", "[fd00::1]:9000", True),
        ("10.1.2.3", "fd00::/8,,:80, ,host:port", False),
    ],
)
def test_no_proxy_is_read_as_restic_reads_it(monkeypatch: pytest.MonkeyPatch, host: str, no_proxy: str, direct: bool) -> None:
    """Nothing listens where the names lead: the error says who was asked."""
    resolve(monkeypatch, "127.0.0.1")
    port = closed_port()
    error = failure(f"http://{host}/{TOKEN}", client({"http_proxy": f"http://127.0.0.1:{port}", "no_proxy": no_proxy}, 0))
    assert ("proxy" not in error.reason) is direct


def test_small_letters_win_over_capitals(taken: Kuma) -> None:
    proxy = ForwardProxy()
    with raw(proxy) as server:
        get(named(push(taken)), client({"http_proxy": server.url, "HTTP_PROXY": "http://127.0.0.1:1"}))
    assert proxy.asked


def test_a_proxy_without_a_scheme_is_http(taken: Kuma) -> None:
    proxy = ForwardProxy()
    with raw(proxy) as server:
        assert get(named(push(taken)), client({"http_proxy": server.url.removeprefix("http://")})).status == 200
    assert proxy.asked


def test_a_proxy_of_an_unknown_kind_is_an_error_without_its_password(taken: Kuma) -> None:
    error = failure(named(push(taken)), client({"http_proxy": f"socks5://me:{TOKEN}@127.0.0.1:1"}))
    assert error.reason == "a proxy of the kind socks5:// is not supported; use http:// or https://"
    assert not taken.requests


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "http://no-such-proxy.invalid:3128"])
def test_a_proxy_that_is_not_there_is_blamed_and_not_the_host(scheme: str, proxy: str) -> None:
    error = failure(f"{scheme}://kuma.example.com/api/push/{TOKEN}", client({"all_proxy": proxy}))
    assert error.reason == "the proxy on the way to kuma.example.com cannot be reached"
    assert not error.sent


def test_a_proxy_that_wants_a_login_is_quoted_with_its_answer() -> None:
    proxy = ForwardProxy(refuse=b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    with raw(proxy) as server:
        error = failure(f"https://kuma.example.com/api/push/{TOKEN}", client({"https_proxy": server.url}))
    assert error.reason == "the proxy does not connect to kuma.example.com: it answered 407"
    assert not error.sent


def test_a_proxy_that_drips_its_answer_to_connect_ends_at_the_deadline() -> None:
    with raw(drips(b"HTTP/1.1 200 OK\r\nX: ")) as server:
        began = time.monotonic()
        error = failure(f"https://kuma.example.com/api/push/{TOKEN}", client({"https_proxy": server.url}), seconds=0.2)
        assert time.monotonic() - began < 2.5  # two tries and the pause between them
    assert not error.sent


# nothing is shown


def test_not_even_urllib3_at_debug_writes_the_token(taken: Kuma) -> None:
    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    loggers = [logging.getLogger(name) for name in (None, "urllib3", "urllib3.connectionpool", "urllib3.util.retry")]
    levels = [logger.level for logger in loggers]
    loggers[0].addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    http = client()
    taken.answer_with(302, {"Location": f"/api/push/{TOKEN}"})
    get(push(taken), http)
    taken.drop()
    failure(push(taken), http)
    failure(f"http://127.0.0.1:{closed_port()}/{TOKEN}", http)
    logging.getLogger("somebody").debug("is heard")
    loggers[0].removeHandler(handler)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    assert heard.getvalue() == "is heard\n"


def test_the_repr_of_http_shows_no_environment() -> None:
    http = client({"http_proxy": f"http://me:{TOKEN}@127.0.0.1:1", "RESTIC_PASSWORD": TOKEN})
    failure("http://127.0.0.1:1/", http)
    assert TOKEN not in repr(http)


def test_many_requests_at_once_have_deadlines_of_their_own(taken: Kuma) -> None:
    http, outcomes = client(), dict[int, float]()

    def one(number: int) -> None:
        began = time.monotonic()
        with raw(drips(b"HTTP/1.1 200 OK\r\nX: ")) as server:
            failure(push(server), http, seconds=0.1 * number)
            outcomes[number] = time.monotonic() - began

    threads = [threading.Thread(target=one, args=(number,)) for number in (1, 3, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(0.1 * number <= took < 0.1 * number + 0.6 for number, took in outcomes.items()), outcomes
    assert len(outcomes) == 3


@pytest.mark.parametrize(("headers", "connections"), [({"Connection": "close"}, 3), ({}, 1)])
def test_a_connection_is_used_again_unless_it_was_asked_to_close(headers: dict[str, str], connections: int) -> None:
    """Uptime Kuma closes idle ones after five seconds: a push on one that is just closing would be lost."""

    def keeps_open(connected: socket.socket) -> None:
        while read_head(connected):
            connected.sendall(OK)

    http = client()
    with raw(keeps_open) as server:
        assert [http.get(push(server), headers=headers).status for _ in range(3)] == [200] * 3
        assert server.connections == connections


def test_of_all_hosts_together_so_many_connections_stay_open() -> None:
    def keeps_open(connected: socket.socket) -> None:
        while read_head(connected):
            connected.sendall(OK)

    http = Http({}, connections=2)
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(raw(keeps_open)) for _ in range(5)]

        def ask(*numbers: int) -> list[int]:
            for number in numbers:
                assert get(push(servers[number]), http).status == 200
            return [server.connections for server in servers]

        assert ask(0, 1, 2, 3, 4) == [1, 1, 1, 1, 1]
        assert all(server.left(1) for server in servers[:3])
        assert ask(3, 4, 3, 4) == [1, 1, 1, 1, 1]
        assert ask(0, 4, 3) == [2, 1, 1, 2, 1]


def test_an_oldest_connection_that_is_closed_is_never_one_in_use() -> None:
    """More requests at once than connections may stay, at several hosts."""

    def keeps_open(connected: socket.socket) -> None:
        while read_head(connected):
            connected.sendall(OK)

    http, statuses = Http({}, connections=2), list[int]()
    with raw(keeps_open) as one, raw(keeps_open) as other:

        def ask() -> None:
            statuses.extend(get(push(server), http, seconds=10).status for _ in range(30) for server in (one, other))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == [200] * 480
