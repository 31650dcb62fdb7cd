"""Storages behind HTTP that are ill, each over real sockets: the look ends in time and says what is wrong and what to do."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import Certificate, Run
from restic_monitor.backends import ENTRY_LIMIT, Backend, BackendError, Kind
from restic_monitor.config.storages import Storages
from restic_monitor.http import Http, Tls
from restics import require
from servers import _serving
from sockets import Connection, drips, raw, read_head, says
from standins import Asked, Object, Reply, StandIn, answering, error, listing

SECRET = "S3cretThatNobodyMaySee0123456789abcdefgh"
ID = "ab" * 32
KINDS = ("s3", "rest")
GRACE_SECONDS = 1.0


def storage(kind: str, url: str, tls: Tls | None = None) -> Backend:
    """Of a repository at `url`, http://HOST:PORT."""
    env = {"AWS_ACCESS_KEY_ID": "AKIDSTANDIN", "AWS_SECRET_ACCESS_KEY": SECRET}
    login = url.replace("://", f"://monitor:{SECRET}@")
    address = f"s3:{url}/b" if kind == "s3" else f"rest:{login}/b"
    return Storages(Http({})).storage(address, {}, {"HOME": "/nonexistent", **env}, tls or Tls())


def look(backend: Backend, seconds: float = 5.0) -> list[str]:
    return sorted(entry.name for entry in backend.list("", time.monotonic() + seconds))


def fault(kind: str, url: str, seconds: float = 5.0, tls: Tls | None = None) -> tuple[Kind, str]:
    """What a look at it ends with, in time; the server's address is HOST in the message."""
    begun = time.monotonic()
    with pytest.raises(BackendError) as caught:
        look(storage(kind, url, tls), seconds)
    assert time.monotonic() - begun < seconds + GRACE_SECONDS
    assert SECRET not in repr(caught.value)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 200
    return caught.value.kind, re.sub(r"127\.0\.0\.1:\d+", "HOST", caught.value.message)


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """An address that nobody listens on, and that no other server gets meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def silent(connected: socket.socket) -> None:
    """Takes what comes and never says a word."""
    while connected.recv(65536):
        pass


def nothing(kind: str) -> bytes:
    return listing("") if kind == "s3" else b"[]"


# Nobody answers


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_connection_is_tried_again_three_times(kind: str) -> None:
    begun = time.monotonic()
    with refusing() as url:
        assert fault(kind, url) == (Kind.UNREACHABLE, "HOST refused the connection")
    assert time.monotonic() - begun > 3.4


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_does_not_resolve_is_named(kind: str) -> None:
    message = "the name no-such-host.invalid does not resolve"
    assert fault(kind, "http://no-such-host.invalid", 20) == (Kind.UNREACHABLE, message)


@pytest.mark.parametrize("kind", KINDS)
def test_a_black_hole_takes_no_longer_than_the_limit(kind: str) -> None:
    with raw(silent) as server:
        assert fault(kind, server.url, 1) == (Kind.TIMEOUT, "HOST did not answer in time")


@pytest.mark.parametrize("kind", KINDS)
def test_a_host_that_does_not_take_the_connection_takes_no_longer_than_the_limit(kind: str) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        for _ in range(4):  # the queue is full after these
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        kind_of, message = fault(kind, f"http://127.0.0.1:{address[1]}", 1)
        assert (kind_of, message) == (Kind.TIMEOUT, "connecting to HOST timed out")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"])
def test_a_server_that_drips_takes_no_longer_than_the_limit(kind: str, first: bytes) -> None:
    with raw(drips(first)) as server:
        assert fault(kind, server.url, 1) == (Kind.TIMEOUT, "HOST did not answer in time")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_that_is_cut_is_asked_for_again_and_not_taken_for_a_short_listing(kind: str) -> None:
    with raw(says(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + nothing(kind))) as server:
        assert fault(kind, server.url) == (Kind.UNREACHABLE, "HOST closed the connection before it answered")
        assert server.connections == 4


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_http_is_malformed(kind: str) -> None:
    with raw(says(b"SSH-2.0-OpenSSH_9.2\r\n")) as server:
        assert fault(kind, server.url) == (
            Kind.MALFORMED,
            "HOST answered something that is not HTTP; does it speak https:// only?",
        )


# It answers, but not with a listing


@pytest.mark.parametrize(
    ("kind", "status", "expected", "message"),
    [
        ("s3", 400, Kind.REFUSED, "HOST refused the request (400)"),
        ("s3", 401, Kind.DENIED, "HOST does not let these credentials list in the bucket b (401)"),
        ("s3", 403, Kind.DENIED, "HOST does not let these credentials list in the bucket b (403)"),
        ("s3", 404, Kind.MISSING, "HOST has no bucket b, or is no S3 server (404)"),
        ("s3", 405, Kind.REFUSED, "HOST refused the request (405)"),
        ("rest", 400, Kind.REFUSED, "HOST answered 400 for /b/keys/; is it a rest-server?"),
        ("rest", 401, Kind.DENIED, "HOST does not let user monitor read /b/ (401)"),
        ("rest", 403, Kind.DENIED, "HOST does not let user monitor read /b/ (403)"),
        ("rest", 404, Kind.MISSING, "HOST holds no repository at /b/"),
        ("rest", 405, Kind.REFUSED, "HOST answered 405 for /b/keys/; is it a rest-server?"),
        ("rest", 206, Kind.REFUSED, "HOST answered 206 for /b/keys/; is it a rest-server?"),
    ],
)
def test_a_refusal_is_not_tried_again_and_says_what_was_refused(kind: str, status: int, expected: Kind, message: str) -> None:
    with answering(lambda _: Reply(status, b"<p>no")) as server:
        assert fault(kind, server.url) == (expected, message)
        assert len({asked.target for asked in server.asked}) == len(server.asked)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("status", "expected", "message"),
    [
        (429, Kind.THROTTLED, "HOST is too busy: it answered 429"),
        (500, Kind.UNREACHABLE, "HOST fails: it answered 500"),
        (502, Kind.UNREACHABLE, "HOST fails: it answered 502"),
        (503, Kind.THROTTLED, "HOST is too busy: it answered 503"),
        (504, Kind.UNREACHABLE, "HOST fails: it answered 504"),
    ],
)
def test_a_server_in_trouble_is_asked_again_three_times(kind: str, status: int, expected: Kind, message: str) -> None:
    with answering(lambda _: Reply(status)) as server:
        begun = time.monotonic()
        assert fault(kind, server.url) == (expected, message)
        assert time.monotonic() - begun > 3.4
        assert len(server.asked) == 4


class InTroubleAtFirst:
    """Answers this the first `times`, and then a listing."""

    def __init__(self, kind: str, first: Reply, times: int) -> None:
        self.left = times
        self.first, self.then = first, Reply(200, nothing(kind))

    def __call__(self, asked: Asked) -> Reply:
        self.left -= 1
        return self.first if self.left >= 0 else self.then


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_trouble_that_passes_is_no_trouble(kind: str, status: int) -> None:
    with answering(InTroubleAtFirst(kind, Reply(status, b"", {"Retry-After": "0"}), 3)) as server:
        assert look(storage(kind, server.url)) == []
        assert len({asked.target for asked in server.asked[:4]}) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_that_asks_for_time_gets_it(kind: str) -> None:
    with answering(InTroubleAtFirst(kind, Reply(429, b"", {"Retry-After": "2"}), 1)) as server:
        begun = time.monotonic()
        assert look(storage(kind, server.url)) == []
        assert 2 <= time.monotonic() - begun < 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [429, 503])
def test_a_store_that_asks_for_more_time_than_there_is_is_left_alone_at_once(kind: str, status: int) -> None:
    with answering(lambda _: Reply(status, b"", {"Retry-After": "3600"})) as server:
        begun = time.monotonic()
        message = f"HOST is too busy: it answered {status}; it wants to be asked again in 3600 s"
        assert fault(kind, server.url) == (Kind.THROTTLED, message)
        assert time.monotonic() - begun < 1
        assert len(server.asked) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("header", ["Wed, 21 Oct 2037 07:28:00 GMT", "-5", "soon", "nan", "inf", "1e300"])
def test_a_retry_after_that_is_no_number_of_seconds_breaks_nothing(kind: str, header: str) -> None:
    with answering(lambda _: Reply(429, b"", {"Retry-After": header})) as server:
        assert fault(kind, server.url)[0] is Kind.THROTTLED


def test_a_redirect_without_an_end_is_found_out() -> None:
    with answering(lambda asked: Reply(302, b"", {"Location": asked.target})) as server:
        assert fault("rest", server.url) == (Kind.REFUSED, "HOST redirects in a circle")
        assert len(server.asked) == 4
        message = "HOST redirects to another address (302); write that in url"
        assert fault("s3", server.url) == (Kind.REFUSED, message)
        assert len(server.asked) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_an_old_answer_out_of_a_cache_is_none(kind: str) -> None:
    def kept(age: str) -> Reply:
        return Reply(200, nothing(kind), {"Age": age, "Date": "Sun, 01 Mar 2026 12:00:00 GMT"})

    with answering(lambda _: kept("3456000")) as server:
        assert fault(kind, server.url) == (Kind.MALFORMED, "an old answer out of a cache (40d): let HOST be asked past it")
        assert [asked.headers["cache-control"] for asked in server.asked] == ["no-cache"]
    for age in ("300", "0", "-1", "soon", ""):
        with answering(lambda _, age=age: kept(age)) as server:  # type: ignore[misc]
            assert look(storage(kind, server.url)) == []
    with answering(lambda _: kept("9" * 5000)) as server:
        assert fault(kind, server.url)[0] is Kind.MALFORMED


LOGIN = b"<!DOCTYPE html><html><head><title>Log in</title></head><body><form method=post>Password?</form></body></html>"


def test_a_login_page_is_no_empty_repository() -> None:
    with answering(lambda _: Reply(200, LOGIN, {"Content-Type": "text/html"})) as server:
        message = "HOST answered a web page; is it the address of an S3 server?"
        assert fault("s3", server.url) == (Kind.MALFORMED, message)
        message = "HOST answered something that is no list of files (a web page); is /b/ a rest-server?"
        assert fault("rest", server.url) == (Kind.MALFORMED, message)


def contents(key: str = "<Key>keys/x</Key>", size: str = "1", modified: str = "2026-01-01T00:00:00Z") -> bytes:
    return listing(f"<Contents>{key}<LastModified>{modified}</LastModified><Size>{size}</Size></Contents>")


NO_XML = {
    "nothing": b"",
    "blanks": b"   \n",
    "JSON": b"[]",
    "another document": b"<?xml version='1.0'?><ListAllMyBucketsResult/>",
    "an error with status 200": b"<Error><Code>InternalError</Code></Error>",
    "cut": contents()[:-30],
    "cut in a character": b"<?xml version='1.0' encoding='UTF-8'?><ListBucketResult>\xc3",
    "not UTF-8": b"<?xml version='1.0' encoding='UTF-8'?><ListBucketResult>\xff\xfe</ListBucketResult>",
    "an unknown encoding": b"<?xml version='1.0' encoding='no-such'?><ListBucketResult/>",
    "an encoding of many bytes": b"<?xml version='1.0' encoding='utf-7'?><ListBucketResult/>",
    "no name": contents(key=""),
    "an empty name": contents(key="<Key/>"),
    "no size": contents(size=""),
    "a size that is none": contents(size="large"),
    "no time": contents(modified=""),
    "a time that is none": contents(modified="yesterday"),
    "a time that cannot be": contents(modified="2026-02-30T00:00:00Z"),
}


@pytest.mark.parametrize("body", NO_XML.values(), ids=NO_XML.keys())
def test_broken_xml_is_malformed(body: bytes) -> None:
    with answering(lambda _: Reply(200, body)) as server:
        kind, message = fault("s3", server.url)
        assert kind is Kind.MALFORMED
        assert message in (
            "HOST answered something that is no listing; is it the address of an S3 server?",
            "HOST lists a file without a name, a size or a time",
        )


NO_JSON = {
    "nothing": b"",
    "cut": b'[{"name":"x","size":1},',
    "XML": b"<ListBucketResult/>",
    "null": b"null",
    "an object": b'{"name":"x"}',
    "numbers": b"[1,2]",
    "no name": b'[{"size":1}]',
    "a size that is none": b'[{"name":"x","size":"large"}]',
    "an enormous size": b'[{"name":"x","size":1e400}]',
    "not UTF-8": b'["\xff"]',
    "half a character": b'["\\ud800"]',
    "nested deeply": b"[" * 100_000,
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON.keys())
def test_broken_json_is_malformed(body: bytes) -> None:
    with answering(lambda _: Reply(200, body)) as server:
        kind, message = fault("rest", server.url)
        assert kind is Kind.MALFORMED
        assert re.sub(r" \(a web page\)", "", message) == (
            "HOST answered something that is no list of files; is /b/ a rest-server?"
        )


def test_more_files_than_there_can_be_are_malformed() -> None:
    with answering(lambda _: Reply(200, b'["x"' + b',"x"' * ENTRY_LIMIT + b"]")) as server:
        assert fault("rest", server.url) == (Kind.MALFORMED, f"HOST lists more than {ENTRY_LIMIT} files")


def _bomb(declaration: str, *, entities: int = 9, each: int = 10) -> str:
    lines = ['<!ENTITY l0 "lol">']
    lines += [f'<!ENTITY l{number} "{f"&l{number - 1};" * each}">' for number in range(1, entities + 1)]
    key = f"<Contents><Key>&l{entities};</Key></Contents>"
    return f"{declaration}<!DOCTYPE x [{''.join(lines)}]><ListBucketResult>{key}</ListBucketResult>"


BOMBS = {
    "billion laughs": _bomb("<?xml version='1.0'?>").encode(),
    "in UTF-16": _bomb("<?xml version='1.0' encoding='UTF-16'?>").encode("utf-16"),
    "in UTF-16 without a mark": _bomb("").encode("utf-16-le"),
    "in Latin-1": _bomb("<?xml version='1.0' encoding='ISO-8859-1'?>").encode("latin-1"),
    "quadratic": _bomb("", entities=1, each=100_000).encode(),
    "a document type alone": b"<!DOCTYPE x><ListBucketResult/>",
    "one from elsewhere": b"<!DOCTYPE x SYSTEM 'file:///etc/passwd'><ListBucketResult/>",
    "an entity of a file": b"<!DOCTYPE x [<!ENTITY f SYSTEM 'file:///etc/passwd'>]><ListBucketResult>&f;</ListBucketResult>",
    "deep": b"<ListBucketResult>" * 400_000,
    "wide": b"<ListBucketResult>" + b"<a/>" * 3_000_000,
}


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS.keys())
def test_an_xml_bomb_does_not_go_off(body: bytes) -> None:
    with answering(lambda _: Reply(200, body)) as server:
        message = "HOST answered something that is no listing; is it the address of an S3 server?"
        assert fault("s3", server.url) == (Kind.MALFORMED, message)


@pytest.mark.parametrize(
    "body", [b"<ListBucketResult>" * 200_000 + b"</ListBucketResult>" * 200_000, listing("<a/>" * 1_900_000)]
)
def test_a_listing_of_other_things_holds_no_files_however_deep_or_wide(body: bytes) -> None:
    with answering(lambda _: Reply(200, body)) as server:
        assert look(storage("s3", server.url)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_answer_that_unpacks_to_a_large_one_is_cut(kind: str) -> None:
    body = gzip.compress(nothing(kind)[:-1] + b" " * 100_000_000)
    with answering(lambda _: Reply(200, body, {"Content-Encoding": "gzip"})) as server:
        assert fault(kind, server.url, 20)[0] is Kind.MALFORMED


def endless(kind: str) -> Connection:
    """A listing whose body does not end."""
    begin = b"HTTP/1.1 200 OK\r\n\r\n" + (listing("")[:-20] if kind == "s3" else b"[")
    more = contents()[len(listing("")) - 20 : -20] * 1000 if kind == "s3" else b'{"name":"x","size":1},' * 4000

    def serve(connected: socket.socket) -> None:
        read_head(connected)
        connected.sendall(begin)
        while True:
            connected.sendall(more)

    return serve


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_without_an_end_is_cut(kind: str) -> None:
    with raw(endless(kind)) as server:
        assert fault(kind, server.url, 20)[0] is Kind.MALFORMED


def test_pages_without_an_end_end_with_the_limit() -> None:
    count = iter(range(10_000_000))

    def more(asked: Asked) -> Reply:
        token = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{next(count)}</NextContinuationToken>"
        return Reply(200, listing(token))

    with answering(more) as server:
        assert fault("s3", server.url, 1)[0] is Kind.TIMEOUT


# TLS


def encrypted(context: ssl.SSLContext, serve: Connection) -> Connection:
    def wrapped(connected: socket.socket) -> None:
        with context.wrap_socket(connected, server_side=True) as inner:
            serve(inner)

    return wrapped


def server_side(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    return context


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """One for other.example.com."""
    folder = tmp_path_factory.mktemp("other-tls")
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    command = f"{require('openssl')} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=other"
    command += " -addext subjectAltName=DNS:other.example.com -addext keyUsage=critical,digitalSignature,keyCertSign"
    subprocess.run([*command.split(), "-out", made.cert, "-keyout", made.key], check=True, capture_output=True)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_authority_is_refused_until_cacert_names_it(kind: str, certificate: Certificate) -> None:
    tls = (certificate.cert, certificate.key)
    with answering(lambda _: Reply(200, nothing(kind)), tls=tls) as server:
        problem, message = fault(kind, server.url)
        assert problem is Kind.REFUSED
        assert re.fullmatch("the certificate of HOST was not accepted: .*; cacert names another authority", message)
        assert server.asked == ()
        assert look(storage(kind, server.url, Tls((str(certificate.cert),)))) == []
        assert look(storage(kind, server.url, Tls(insecure=True))) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_for_another_name_is_refused(kind: str, another: Certificate) -> None:
    with answering(lambda _: Reply(200, nothing(kind)), tls=(another.cert, another.key)) as server:
        problem, message = fault(kind, server.url, tls=Tls((str(another.cert),)))
        assert problem is Kind.REFUSED
        assert "the certificate of HOST was not accepted: IP address mismatch" in message


@pytest.mark.parametrize("kind", KINDS)
def test_http_spoken_to_https_and_https_to_http_are_told(kind: str) -> None:
    with answering(lambda _: Reply(200, nothing(kind))) as server:
        message = "no TLS connection to HOST; does it speak http:// only?"
        assert fault(kind, server.url.replace("http:", "https:")) == (Kind.REFUSED, message)
    with raw(says(b"\x15\x03\x03\x00\x02\x02\x46")) as server:  # "protocol version", as OpenSSL says it
        message = "HOST answered something that is not HTTP; does it speak https:// only?"
        assert fault(kind, server.url) == (Kind.MALFORMED, message)


@pytest.mark.parametrize("kind", KINDS)
def test_http_spoken_to_a_real_server_for_https_is_told(kind: str, certificate: Certificate, tmp_path: Path) -> None:
    if kind == "s3":
        command = [str(require("rclone")), "serve", "s3", "--addr", "127.0.0.1:0", str(tmp_path)]
        command += ["--cert", str(certificate.cert), "--key", str(certificate.key)]
        announcement = r"server on \[https://(127\.0\.0\.1:\d+)/\]"
    else:
        command = [str(require("rest-server")), "--path", str(tmp_path), "--listen", "127.0.0.1:0", "--no-auth"]
        command += ["--tls", "--tls-cert", str(certificate.cert), "--tls-key", str(certificate.key)]
        announcement = r"start server on (127\.0\.0\.1:\d+)"
    with _serving(command, {"RCLONE_CONFIG": os.devnull}, announcement) as address:
        message = "HOST speaks https:// only; write that in url"
        assert fault(kind, f"http://{address}") == (Kind.REFUSED, message)


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_wants_a_client_certificate_gets_it(
    kind: str, certificate: Certificate, another: Certificate, tmp_path: Path
) -> None:
    context = server_side(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(another.cert)
    both = tmp_path / "client.pem"
    both.write_bytes(another.cert.read_bytes() + another.key.read_bytes())
    body = nothing(kind)
    answer = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    with raw(encrypted(context, says(answer))) as server:
        url = server.url.replace("http:", "https:")
        cacerts = (str(certificate.cert),)
        assert look(storage(kind, url, Tls(cacerts, str(both)))) == []
        assert fault(kind, url, tls=Tls(cacerts))[0] in (Kind.UNREACHABLE, Kind.REFUSED)


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_hold_no_certificate_are_told(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "empty.pem"
    file.write_text("nothing")
    message = "the file of cacert, or of SSL_CERT_FILE, holds no certificates"
    assert fault(kind, "https://127.0.0.1:9", tls=Tls((str(file),))) == (Kind.REFUSED, message)
    message = "the file of tls_client_cert holds no certificate with its key"
    assert fault(kind, "https://127.0.0.1:9", tls=Tls((), str(file))) == (Kind.REFUSED, message)


# Through the program


def snapshot(number: int, age: timedelta) -> tuple[str, Object]:
    content = f"snapshot {number} of a repository, sealed".ljust(200, ".").encode()
    return f"snapshots/{hashlib.sha256(content).hexdigest()}", Object(content, datetime.now(UTC) - age)


def repository(number: int, age: timedelta = timedelta(hours=3)) -> Mapping[str, Object]:
    old = Object(b"k" * 400, datetime.now(UTC) - timedelta(days=99))
    return dict([("config", old), (f"keys/{ID}", old), snapshot(number, age), snapshot(number + 1, age + timedelta(days=1))])


def results(run: Run, repositories: Mapping[str, Mapping[str, Any]], **defaults: Any) -> tuple[dict[str, Any], float]:
    """By name, and how long the run took in seconds."""
    config = run.home / "config.yaml"
    keys = {"AWS_ACCESS_KEY_ID": "AKIDSTANDIN", "AWS_SECRET_ACCESS_KEY": SECRET}
    defaults = {"mode": "listing", "extra_env": keys, **defaults}
    config.write_text(json.dumps({"connections": 64, "defaults": defaults, "repositories": repositories}))
    config.chmod(0o600)
    begun = time.monotonic()
    done = run("run", "--config", config, "--format", "json", "--no-state", timeout=100)
    took = time.monotonic() - begun
    assert done.stdout, done.stderr
    assert SECRET not in done.stdout + done.stderr
    return {result["name"]: result for result in json.loads(done.stdout)["results"]}, took


@pytest.mark.parametrize(
    ("ahead", "status", "words"),
    [
        (timedelta(0), "up", None),
        (timedelta(seconds=30), "up", None),
        (timedelta(hours=2, minutes=1), "warn", "2h"),
        (-timedelta(hours=2, minutes=1), "warn", "2h"),
        (timedelta(days=20000), "warn", ""),
    ],
)
def test_the_age_of_a_file_is_that_on_the_clock_of_the_store(
    run: Run, ahead: timedelta, status: str, words: str | None
) -> None:
    """Whoever's clock jumped: the file is three hours old by the one that dated it."""

    def dated(asked: Asked) -> Reply:
        reply = StandIn({"b": lambda: {k: Object(o.content, o.modified + ahead) for k, o in repository(1).items()}})(asked)
        date = datetime.now(UTC) + ahead
        return Reply(reply.status, reply.body, {**reply.headers, "Date": f"{date:%a, %d %b %Y %H:%M:%S GMT}"})

    with answering(dated) as server:
        found, _ = results(run, {"web": {"url": f"s3:{server.url}/b"}}, max_age="4h")
        assert found["web"]["status"] == status, found
        if words is not None:
            assert "clock" in found["web"]["message"]
            assert words in found["web"]["message"]


@dataclass(frozen=True)
class Ill:
    """One way to be broken: the address, and the words that its result must have."""

    url: str
    words: str
    code: str


DRIPPING = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


@contextlib.contextmanager
def ten_ways(certificate: Certificate) -> Iterator[list[Ill]]:
    """Servers, each with an illness of its own, for the time of the `with`."""
    with contextlib.ExitStack() as stack:

        def served(answer: Callable[[Asked], Reply], tls: tuple[Path, Path] | None = None) -> str:
            return stack.enter_context(answering(answer, tls)).url

        def connected(serve: Connection) -> str:
            return stack.enter_context(raw(serve)).url

        yield [
            Ill(f"s3:{stack.enter_context(refusing())}/b", "refused the connection", "unreachable"),
            Ill("s3:http://no-such-host.invalid/b", "does not resolve", "unreachable"),
            Ill(f"s3:{connected(drips(DRIPPING))}/b", "did not answer in time", "unreachable"),
            Ill(f"s3:{connected(silent)}/b", "did not answer in time", "unreachable"),
            Ill(f"s3:{served(lambda _: error(403, 'AccessDenied'))}/b", "does not let these credentials list", "error"),
            Ill(f"s3:{served(lambda _: error(404, 'NoSuchBucket'))}/b", "there is no bucket b", "error"),
            Ill(f"s3:{served(lambda _: error(500, 'InternalError'))}/b", "it answered 500", "unreachable"),
            Ill(f"s3:{served(lambda _: Reply(200, LOGIN))}/b", "answered a web page", "error"),
            Ill(f"s3:{served(lambda _: Reply(200, b'<ListBucketResult>'))}/b", "no listing", "error"),
            Ill(
                f"s3:{served(lambda _: Reply(200), (certificate.cert, certificate.key))}/b",
                "the certificate of .* was not accepted",
                "error",
            ),
        ]


def many(run: Run, certificate: Certificate, count: int, seconds: int) -> None:
    """A tenth is broken, one in each of the ten ways in turn; of the others a tenth is stale and one is empty."""
    buckets = {}
    for number in range(count):
        age = timedelta(days=3) if number % 10 == 5 else timedelta(hours=3)
        files = {k: o for k, o in repository(number, age).items() if number != 7 or not k.startswith("snapshots/")}
        buckets[f"bucket-{number}"] = lambda files=files: files
    with answering(StandIn(buckets)) as server, ten_ways(certificate) as ills:
        broken = {f"r{number}": ills[number // 10 % 10] for number in range(0, count, 10)}
        blocks = {
            f"r{n}": {"url": broken[f"r{n}"].url if f"r{n}" in broken else f"s3:{server.url}/bucket-{n}"} for n in range(count)
        }
        found, took = results(run, blocks, max_age="1d", timeout=f"{seconds}s")
    assert len(found) == count
    for name, ill in broken.items():
        assert found[name]["status"] == "unknown", found[name]
        assert found[name]["code"] == ill.code, found[name]
        assert re.search(ill.words, found[name]["message"]), found[name]
    for number in range(count):
        result = found[f"r{number}"]
        if f"r{number}" not in broken:
            expected = "missing" if number == 7 else "stale" if number % 10 == 5 else "ok"
            assert result["code"] == expected, result
    assert took < seconds + 4, took


@pytest.mark.slow
def test_of_100_repositories_10_are_broken_in_ten_ways_and_each_has_its_answer_in_time(
    run: Run, certificate: Certificate
) -> None:
    many(run, certificate, 100, seconds=5)


@pytest.mark.slow
def test_of_1000_repositories_100_are_broken_in_ten_ways_and_each_has_its_answer_in_time(
    run: Run, certificate: Certificate
) -> None:
    many(run, certificate, 1000, seconds=8)
