"""The servers and programs that stand in for the world answer as the world does."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest

from conftest import Certificate, Run
from kuma import Kuma, parse_float
from proxy import Proxy
from restics import Backup, Repository, make_repository, require
from servers import S3, Rest, rest_server

NIGHT = datetime(2026, 3, 1, 2, 30, 15, tzinfo=UTC)


@dataclass(frozen=True)
class Reply:
    status: int
    content_type: str
    body: str


def ask(kuma: Kuma, target: str, method: str = "GET", body: bytes | None = None) -> Reply:
    """One request, its target sent as it is."""
    connection = http.client.HTTPConnection(kuma.url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, target, body)
        response = connection.getresponse()
        return Reply(response.status, response.getheader("Content-Type", ""), response.read().decode())
    finally:
        connection.close()


@pytest.fixture(params=[1, 2])
def both(request: pytest.FixtureRequest) -> Iterator[Kuma]:
    with Kuma(major=request.param, tokens={"T"}) as kuma:
        yield kuma


# Uptime Kuma


def test_a_push_is_taken_and_recorded(both: Kuma) -> None:
    assert ask(both, "/api/push/T?status=up&msg=3%20h+old%0A%F0%9F%98%80&ping=1200.5") == Reply(
        200, "application/json; charset=utf-8", '{"ok": true}'
    )
    (beat,) = both.beats
    assert (beat.token, beat.status, beat.msg, beat.ping) == ("T", "up", "3 h old\n😀", 1200.5)
    assert beat.path.startswith("/api/push/T?status=up")
    assert timedelta(0) <= datetime.now(UTC) - beat.at < timedelta(seconds=10)


@pytest.mark.parametrize(
    ("query", "status", "msg", "ping"),
    [
        ("", "up", "OK", None),
        ("?", "up", "OK", None),
        ("?status=&msg=&ping=", "up", "OK", None),
        ("?status=up", "up", "OK", None),
        ("?status=UP", "down", "OK", None),
        ("?status=pending", "down", "OK", None),
        ("?status=up&status=up", "down", "OK", None),
        ("?msg=a&msg=b", "up", "[object Object]", None),
        ("?msg=100%", "up", "100%", None),
        ("?ping=0", "up", "OK", None),
        ("?ping=1e3", "up", "OK", 1000),
    ],
)
def test_the_query_is_read_as_by_express(both: Kuma, query: str, status: str, msg: str, ping: float | None) -> None:
    assert ask(both, "/api/push/T" + query).status == 200
    assert [(beat.status, beat.msg, beat.ping) for beat in both.beats] == [(status, msg, ping)]


@pytest.mark.parametrize("target", ["//api/push/T", "/api/push/T/", "/kuma/api/push/T", "/api/push//T", "/api/push/", "/"])
def test_a_wrong_path_is_answered_by_the_web_app_with_200(both: Kuma, target: str) -> None:
    reply = ask(both, target + "?status=up")
    assert (reply.status, reply.content_type) == (200, "text/html; charset=utf-8")
    assert both.beats == ()


def test_an_unknown_token_and_a_paused_monitor_are_told_apart_by_nobody(both: Kuma) -> None:
    both.tokens.discard("T")
    assert ask(both, "/api/push/T") == ask(both, "/api/push/nonsense")
    reply = ask(both, "/api/push/T")
    assert (reply.status, json.loads(reply.body)) == (404, {"ok": False, "msg": "Monitor not found or not active."})
    assert both.beats == ()


@pytest.mark.parametrize(
    ("major", "method", "status", "beats"),
    [
        (1, "HEAD", 200, 1),
        (1, "POST", 404, 0),
        (1, "OPTIONS", 200, 0),
        (2, "HEAD", 200, 1),
        (2, "POST", 200, 1),
        (2, "PUT", 200, 1),
        (2, "OPTIONS", 200, 1),
    ],
)
def test_methods(major: Literal[1, 2], method: str, status: int, beats: int) -> None:
    with Kuma(major, {"T"}) as kuma:
        assert ask(kuma, "/api/push/T", method, b"status=down").status == status
        assert [beat.status for beat in kuma.beats] == ["up"] * beats  # only the query is read


@pytest.mark.parametrize("ping", ["-1", "100000000001", "Infinity"])
def test_a_ping_out_of_range_is_refused_by_2_and_stored_by_1(both: Kuma, ping: str) -> None:
    reply = ask(both, f"/api/push/T?ping={ping}")
    assert (reply.status, len(both.beats)) == ((200, 1) if both.major == 1 else (404, 0))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12abc", 12),
        (" 1.5", 1.5),
        (".5", 0.5),
        ("5.", 5),
        ("1e3", 1000),
        ("1e", 1),
        ("-2", -2),
        ("a", None),
        ("", None),
    ],
)
def test_parse_float_reads_numbers_as_javascript_does(text: str, number: float | None) -> None:
    assert parse_float(text) == number


@pytest.mark.parametrize("length", [17_000, 70_000])
def test_too_long_a_message_is_431_without_a_body(both: Kuma, length: int) -> None:
    assert ask(both, "/api/push/T?msg=" + "x" * length) == Reply(431, "", "")
    assert both.beats == ()


def test_a_message_of_16000_is_stored_whole(both: Kuma) -> None:
    assert ask(both, "/api/push/T?msg=" + "x" * 16_000).status == 200
    assert both.beats[0].msg == "x" * 16_000


def test_one_connection_serves_several_requests_body_or_not(both: Kuma) -> None:
    connection = http.client.HTTPConnection(both.url.removeprefix("http://"), timeout=10)
    for body in (None, b"first", iter([b"sec", b"ond"]), None):
        connection.request("POST" if body else "GET", "/api/push/T", body)
        connection.getresponse().read()
    connection.close()
    assert [request.method for request in both.requests] == ["GET", "POST", "POST", "GET"]


def test_three_pushes_into_a_slow_notification_are_three_beats() -> None:
    with Kuma(2, {"T"}) as kuma:
        kuma.delay_seconds = 0.5
        for _ in range(3):
            connection = http.client.HTTPConnection(kuma.url.removeprefix("http://"), timeout=0.05)
            connection.request("GET", "/api/push/T")
            with pytest.raises(TimeoutError):
                connection.getresponse()
            connection.close()
        assert kuma.beats == ()
        assert len(kuma.wait_for_beats(3)) == 3


def test_1_stores_the_beat_before_the_delay() -> None:
    with Kuma(1, {"T"}) as kuma:
        kuma.delay_seconds = 30
        connection = http.client.HTTPConnection(kuma.url.removeprefix("http://"), timeout=10)
        connection.request("GET", "/api/push/T")
        assert len(kuma.wait_for_beats(1)) == 1
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        connection.getresponse()
    connection.close()


def test_a_canned_answer_is_given_the_number_of_times_asked_for(kuma: Kuma) -> None:
    target = f"/api/push/{kuma.add_monitor()}"
    kuma.answer_with(503, {"Retry-After": "1"}, times=2)
    kuma.answer_with(200, {"Content-Type": "text/html"}, b"<form>Log in</form>")
    assert [ask(kuma, target).status for _ in range(3)] == [503, 503, 200]
    assert kuma.beats == ()
    assert ask(kuma, target).body == '{"ok": true}'
    kuma.answer_with(502, times=None)
    assert [ask(kuma, target).status for _ in range(3)] == [502, 502, 502]
    kuma.recover()
    assert ask(kuma, target).status == 200
    assert len(kuma.beats) == 2
    assert len(kuma.requests) == 8


@pytest.mark.parametrize("recorded", [False, True])
def test_a_dropped_connection(kuma: Kuma, recorded: bool) -> None:
    kuma.drop(recorded=recorded)
    with pytest.raises(http.client.RemoteDisconnected):
        ask(kuma, f"/api/push/{kuma.add_monitor()}")
    assert len(kuma.beats) == recorded


@pytest.mark.parametrize("where", ["headers", "body"])
def test_a_dripping_answer_outlasts_every_time_out_of_a_read(kuma: Kuma, where: Literal["headers", "body"]) -> None:
    kuma.drip(where, every_seconds=0.01)
    connection = http.client.HTTPConnection(kuma.url.removeprefix("http://"), timeout=0.5)
    connection.request("GET", f"/api/push/{kuma.add_monitor()}")
    socket = connection.sock
    end = time.monotonic() + 1
    while time.monotonic() < end:
        assert socket.recv(1)
    connection.close()
    assert len(kuma.beats) == 1


def test_a_closed_port_refuses_and_opens_again(kuma: Kuma) -> None:
    target = f"/api/push/{kuma.add_monitor()}"
    kuma.refuse()
    with pytest.raises(ConnectionRefusedError):
        ask(kuma, target)
    kuma.listen()
    assert ask(kuma, target).status == 200


def test_closing_is_quick_though_clients_keep_connections_and_answers_drip() -> None:
    with Kuma(2, {"T"}) as kuma:
        kuma.drip("body", times=1)
        connections = [http.client.HTTPConnection(kuma.url.removeprefix("http://")) for _ in range(3)]
        for connection in connections:
            connection.connect()
        connections[0].request("GET", "/api/push/T")
        kuma.wait_for_beats(1)
        began = time.monotonic()
    assert time.monotonic() - began < 2
    for connection in connections:
        connection.close()


def test_https_with_a_certificate_that_counts_only_where_it_is_trusted(certificate: Certificate) -> None:
    with Kuma(2, {"T"}, tls=(certificate.cert, certificate.key)) as kuma:
        address = kuma.url.removeprefix("https://")
        trusting = ssl.create_default_context(cafile=str(certificate.cert))
        trusting.verify_flags |= ssl.VERIFY_X509_STRICT
        connection = http.client.HTTPSConnection(address, context=trusting, timeout=10)
        connection.request("GET", "/api/push/T")
        assert connection.getresponse().read() == b'{"ok": true}'
        connection.close()
        wary = http.client.HTTPSConnection(address, context=ssl.create_default_context(), timeout=10)
        with pytest.raises(ssl.SSLCertVerificationError):
            wary.request("GET", "/api/push/T")
        wary.close()
    assert len(kuma.beats) == 1


# Programs, stores, the proxy


def test_every_required_program_is_here() -> None:
    for name in filter(None, os.environ.get("RESTIC_MONITOR_REQUIRE", "").split(",")):
        assert require(name).exists()


def snapshots(repository: Repository, location: str | None = None, **env: str) -> list[tuple[str, str, list[str]]]:
    found = json.loads(repository.run("snapshots", "--json", "--no-lock", location=location, env=env))
    return [(one["time"], one["hostname"], one.get("tags") or []) for one in found]


def test_a_repository_has_the_backups_asked_for_and_shares_nothing(tmp_path: Path, restic_version: str) -> None:
    berlin = datetime.fromisoformat("2026-03-02T03:30:15+01:00")
    backups = [Backup(NIGHT), Backup(berlin, host="db1", tags=("nightly", "full"))]
    repository = make_repository(tmp_path / "one", restic_version, backups)
    assert snapshots(repository) == [
        ("2026-03-01T02:30:15Z", "web1", []),
        ("2026-03-02T02:30:15Z", "db1", ["nightly", "full"]),
    ]
    assert snapshots(make_repository(tmp_path / "two", restic_version)) == []


def test_s3_is_read_through_the_proxy_with_get_and_head_only(s3: S3, restic_version: str) -> None:
    bucket = f"far-sides-{restic_version[2:]}"
    repository = make_repository(s3.folder / bucket / "repo", restic_version, [Backup(NIGHT)])
    with Proxy(s3.endpoint) as proxy:
        behind = replace(s3, endpoint=proxy.url)
        seen = snapshots(repository, behind.location(f"{bucket}/repo"), **s3.env)
        assert seen == [("2026-03-01T02:30:15Z", "web1", [])]
        assert proxy.methods == {"GET", "HEAD"}
        assert {request.status for request in proxy.seen} == {200}
        proxy.forget()
        repository.backup(Backup(NIGHT, host="web2"), behind.location(f"{bucket}/repo"), s3.env)
        assert proxy.methods == {"GET", "HEAD", "PUT", "DELETE"}
    assert len(snapshots(repository)) == 2


def test_s3_refuses_another_secret(s3: S3) -> None:
    repository = make_repository(s3.folder / "far-sides-secret", "0.14")
    with pytest.raises(AssertionError, match="signature we calculated does not match"):
        snapshots(repository, s3.location("far-sides-secret"), **{**s3.env, "AWS_SECRET_ACCESS_KEY": "x" * 40})


def test_rest_is_read_through_the_proxy_with_get_and_head_only(rest: Rest, restic_version: str) -> None:
    repository = make_repository(rest.folder / f"far-sides-{restic_version}", restic_version, [Backup(NIGHT)])
    with Proxy(rest.url) as proxy:
        location = replace(rest, url=proxy.url).location(repository.path.name)
        assert snapshots(repository, location) == [("2026-03-01T02:30:15Z", "web1", [])]
        assert proxy.methods == {"GET", "HEAD"}
        assert "HEAD" in {seen.method for seen in proxy.seen if seen.path.endswith("/config")}
        proxy.forget()
        repository.backup(Backup(NIGHT, host="web2"), location)
        assert proxy.methods == {"GET", "HEAD", "POST", "DELETE"}
    assert len(snapshots(repository)) == 2


def test_rest_wants_the_password(rest: Rest) -> None:
    repository = make_repository(rest.folder / "far-sides-password", "0.14")
    with pytest.raises(AssertionError, match="401"):
        snapshots(repository, replace(rest, password="wrong").location("far-sides-password"))


def test_rest_without_a_user_lets_everyone_in(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "open", "0.19", [Backup(NIGHT)])
    with rest_server(tmp_path) as rest:
        assert len(snapshots(repository, rest.location("open"))) == 1


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"(?i)unknown option:? --path"), rest_server(tmp_path, Path(sys.executable)):
        pass


# The fixtures


def test_the_environment_is_clean() -> None:
    foreign = ("AWS_", "XDG_", "RCLONE_", "RESTIC_PASSWORD", "RESTIC_REPOSITORY", "NO_COLOR", "COLUMNS", "http_proxy")
    assert [name for name in os.environ if name.startswith(foreign)] == []
    assert list(Path.home().iterdir()) == []


def stand_in(folder: Path, code: str) -> dict[str, str]:
    """A package of the program's name, so that `run` is tested without src/; what it takes to run it."""
    package = folder / "restic_monitor"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(code)
    return {"PYTHONPATH": str(folder)}


def test_the_program_sees_only_what_it_is_given(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RESTIC_PASSWORD", "not for a child")
    show = "print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd(), sys.stdin.read()]))"
    env = stand_in(tmp_path, f"import json, os, sys\n{show}\nsys.exit(3)\n")
    completed = run("check", tmp_path, env=env, input="né\n")
    assert (completed.returncode, completed.stderr) == (3, "")
    home = str(tmp_path / "home")
    expected = {"PATH": os.environ["PATH"], "HOME": home, "LANG": "C.UTF-8", **env}
    assert json.loads(completed.stdout) == [["check", str(tmp_path)], expected, home, "né\n"]


def test_a_run_that_does_not_end_is_killed_with_its_children(run: Run, tmp_path: Path) -> None:
    env = stand_in(tmp_path, "import subprocess\nsubprocess.run(['sleep', '1000'])\n")
    began = time.monotonic()
    with pytest.raises(pytest.fail.Exception, match="did not end within 1 s"):
        run(env=env, timeout=1)
    assert time.monotonic() - began < 10
