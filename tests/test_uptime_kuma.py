"""What reaches Uptime Kuma, of both majors, and what is said when it does not. test_push_address.py has the addresses."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from conftest import Certificate, Run
from desk import EMPTY, FRESH, FUTURE, NO_SUCH_HOST, STALE, WRONG_PASSWORD, Desk
from kuma import Kuma
from restic_monitor.http import Http
from restic_monitor.model import MESSAGE_LIMIT, Code, Delivery, Result, Status, Verdict, Watch
from restic_monitor.receivers.dry import Dry
from restic_monitor.receivers.uptime_kuma import UptimeKuma, address
from restics import PASSWORD, Backup, make_repository, require
from sockets import ForwardProxy, named, raw

TOKEN = "yDaQM5YUuS3rczSvLsOucs4LqHSRDhu6"
BASE = "https://uptime-kuma.example.com/api/push/"
FULL = f"{BASE}{TOKEN}"
PAUSE_SECONDS = 0.05


@pytest.fixture(params=[1, 2], ids=["1.23", "2.x"])
def both(request: pytest.FixtureRequest) -> Iterator[Kuma]:
    with Kuma(major=request.param, tokens=[TOKEN]) as kuma:
        yield kuma


@pytest.fixture
def desk(run: Run) -> Desk:
    return Desk(run)


def result(
    status: Status = Status.UP,
    code: Code = Code.OK,
    message: str = "newest 3h old (limit 1d)",
    took: timedelta = timedelta(seconds=1.5),
) -> Result:
    return Result(Watch("web", ()), (Verdict("freshness", status, code, message),), "restic", took)


def send(kuma: Kuma, told: Result | None = None, token: str = TOKEN, cacert: str | None = None, userinfo: str = "") -> Delivery:
    base = kuma.url.replace("//", f"//{userinfo}", 1)
    found = address(base, token)
    assert found
    return UptimeKuma(Http({}, pause_seconds=PAUSE_SECONDS), found, cacert).send(told or result())


def refusal(kuma: Kuma, told: Result | None = None) -> str:
    """Why it was not taken, without the address of Uptime Kuma."""
    delivery = send(kuma, told)
    assert not delivery.accepted
    assert TOKEN not in repr(delivery)
    return delivery.message.replace(kuma.url.partition("//")[2], "KUMA")


# what is pushed


@pytest.mark.parametrize(
    ("status", "code", "pushed"),
    [
        (Status.UP, Code.OK, "up"),
        (Status.WARN, Code.WARN, "up"),
        (Status.DOWN, Code.STALE, "down"),
        (Status.DOWN, Code.MISSING, "down"),
        (Status.UNKNOWN, Code.ERROR, "down"),
        (Status.UNKNOWN, Code.UNREACHABLE, "down"),
    ],
)
def test_warn_is_pushed_as_up_and_unknown_as_down(both: Kuma, status: Status, code: Code, pushed: str) -> None:
    assert send(both, result(status, code, "the reason")) == Delivery(True)
    (beat,) = both.beats
    assert (beat.status, beat.msg, beat.ping) == (pushed, f"{code.upper()} the reason", 1500)
    assert both.requests[0].method == "GET"


@pytest.mark.parametrize(
    ("took", "ping"),
    [(0, "1"), (0.0004, "1"), (0.0019, "1"), (0.002, "2"), (1.9996, "1999"), (7200, "7200000")],
)
def test_ping_is_the_duration_in_whole_milliseconds_and_at_least_1(both: Kuma, took: float, ping: str) -> None:
    assert send(both, result(took=timedelta(seconds=took))).accepted
    assert both.requests[0].path.endswith(f"&ping={ping}")


@pytest.mark.parametrize("text", ["50% & more <b>", "snöwman ☃ 😀", "a\nb\tc\x1b[31m", "?#/;+= %41"])
def test_any_message_arrives_as_one_calm_line(both: Kuma, text: str) -> None:
    told = result(message=text)
    assert send(both, told).accepted
    (beat,) = both.beats
    assert beat.msg == told.message
    assert not {"\n", "\t", "\x1b", "<", ">", "&"} & set(beat.msg)
    assert both.requests[0].path.count("msg=") == 1


def test_a_message_is_never_longer_than_200_characters_however_much_there_is_to_say(both: Kuma) -> None:
    assert send(both, result(message="ä" * 1000)).accepted
    (beat,) = both.beats
    assert len(beat.msg) == MESSAGE_LIMIT == 200
    assert beat.msg.endswith("ä...")


def test_what_the_program_pushes_in_each_case(desk: Desk, both: Kuma) -> None:
    scripts = {
        "fresh": FRESH,
        "future": FUTURE,
        "stale": STALE,
        "empty": EMPTY,
        "locked out": WRONG_PASSWORD,
        "gone": NO_SUCH_HOST,
    }
    tokens = {name: both.add_monitor() for name in scripts}
    desk.configure(scripts, tokens, both.url)
    done = desk()
    assert done.returncode == 1, done.stderr
    names = {token: name for name, token in tokens.items()}
    beats = {names[beat.token]: beat for beat in both.beats}
    assert len(both.beats) == len(beats) == 6
    assert {name: beat.status for name, beat in beats.items()} == {
        "fresh": "up",
        "future": "up",
        "stale": "down",
        "empty": "down",
        "locked out": "down",
        "gone": "down",
    }
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\dZ"
    expected = {
        "fresh": rf"OK newest 3h old \(limit 1d \(default\)\); a1b2c3d4 web1 {moment}; 1 snapshot",
        "future": rf"WARN newest 1h old \(limit 1d \(default\)\); a1b2c3d4 web1 {moment}; 2 snapshots; 1 snapshot is dated .*",
        "stale": rf"STALE newest 2d4h old \(limit 1d \(default\)\); last a1b2c3d4 web1 {moment}; 1 snapshot",
        "empty": "MISSING no snapshot in the repository",
        "locked out": r"ERROR wrong password or no key \(restic exit 12\)",
        "gone": "UNREACHABLE .*no such host",
    }
    for name, pattern in expected.items():
        assert re.fullmatch(pattern, beats[name].msg), (name, beats[name].msg)
        assert (beats[name].ping or 0) >= 1
        assert (beats[name].ping or 0) == int(beats[name].ping or 0)


# what counts as taken


def test_only_json_that_says_ok_true_with_200_is_a_success(both: Kuma) -> None:
    both.answer_with(200, {"Content-Type": "text/html"}, b"<!DOCTYPE html><title>Uptime Kuma</title>")
    assert refusal(both) == (
        "KUMA answered 200 without Uptime Kuma's JSON: not a push address (a path in front of /api/push/? a login page?)"
    )
    for body in (b"", b"OK", b"[]", b"null", b'{"ok":"true"}', b'{"ok":1}', b'{"ok":false}', b"{}", b'{"ok":true', b'"ok"'):
        both.answer_with(200, {"Content-Type": "application/json"}, body)
        assert not send(both).accepted, body
    for status in (201, 202, 404, 500):
        both.answer_with(status, {"Content-Type": "application/json"}, b'{"ok":true}')
        assert not send(both).accepted, status
    assert not both.beats
    both.answer_with(200, {"Content-Type": "text/plain"}, b'{"ok":true,"more":{}}')
    assert send(both).accepted


def test_a_wrong_path_which_the_web_app_answers_with_200_is_no_success(both: Kuma) -> None:
    found = address(f"{both.url}/kuma/api/push", TOKEN)
    assert found
    delivery = UptimeKuma(Http({}), found).send(result())
    assert "without Uptime Kuma's JSON: not a push address" in delivery.message


def test_an_unknown_or_paused_monitor_is_said_without_the_token(both: Kuma) -> None:
    both.tokens.clear()
    assert refusal(both) == "KUMA knows no such monitor, or it is paused: is push_token right?"
    assert len(both.requests) == 1


def test_a_reason_of_uptime_kuma_is_shown_on_one_line_and_without_the_token(both: Kuma) -> None:
    body = json.dumps({"ok": False, "msg": f"select * from `monitor`\nwhere push_token = '{TOKEN}' - SQLITE_BUSY"}).encode()
    both.answer_with(404, {"Content-Type": "application/json"}, body)
    assert refusal(both) == "KUMA answered 404: select * from `monitor` where push_token = '***' - SQLITE_BUSY"


def test_a_token_with_strange_characters_is_hidden_in_both_spellings(kuma: Kuma) -> None:
    token = "we/ird?&"
    found = address(kuma.url, quote(token, safe=""))
    assert found
    for spelling in (found.token, quote(found.token, safe="")):
        kuma.answer_with(500, {}, json.dumps({"ok": False, "msg": f"cannot GET /api/push/{spelling}"}).encode())
        delivery = UptimeKuma(Http({}), found).send(result())
        assert delivery.message.endswith("answered 500: cannot GET /api/push/***")


@pytest.mark.parametrize(
    ("status", "requests", "message"),
    [
        (401, 1, "KUMA answered 401: something in front of Uptime Kuma wants a login"),
        (403, 1, "KUMA answered 403: something in front of Uptime Kuma wants a login"),
        (407, 1, "KUMA answered 407: something in front of Uptime Kuma wants a login"),
        (429, 2, "KUMA answered 429: Uptime Kuma, or the proxy in front of it, is in trouble"),
        (500, 1, "KUMA answered 500: Uptime Kuma, or the proxy in front of it, is in trouble"),
        (502, 1, "KUMA answered 502: Uptime Kuma, or the proxy in front of it, is in trouble"),
        (503, 2, "KUMA answered 503: Uptime Kuma, or the proxy in front of it, is in trouble"),
        (504, 1, "KUMA answered 504: Uptime Kuma, or the proxy in front of it, is in trouble"),
    ],
)
def test_what_stands_in_front_of_uptime_kuma_is_told_apart(both: Kuma, status: int, requests: int, message: str) -> None:
    both.answer_with(status, {"Content-Type": "text/html", "Retry-After": "0"}, b"<html>", times=None)
    assert refusal(both) == message
    assert len(both.requests) == requests
    assert not both.beats


def test_a_503_that_passes_counts_once(both: Kuma) -> None:
    both.answer_with(503, {"Retry-After": "0"})
    assert send(both).accepted
    assert len(both.beats) == 1


def test_an_address_that_is_too_long_for_a_proxy_is_tried_once_with_a_shorter_message(both: Kuma) -> None:
    for status in (414, 431):
        both.answer_with(status)
        assert send(both, result(message="x" * 150)).accepted
    assert [len(beat.msg) for beat in both.beats] == [100, 100]
    both.answer_with(431, times=2)
    assert "KUMA answered 431" in refusal(both)
    assert len(both.beats) == 2


def test_a_read_that_timed_out_is_not_sent_again_and_says_that_it_may_have_been_taken(both: Kuma) -> None:
    both.drop(recorded=True)
    assert refusal(both) == "KUMA closed the connection before it answered; not sent again, it may have been taken"
    assert len(both.beats) == len(both.requests) == 1


def test_a_redirect_to_a_login_page_of_another_host_is_refused(both: Kuma) -> None:
    both.answer_with(302, {"Location": "https://auth.example.com/?rd=https://kuma"})
    assert refusal(both) == "KUMA redirects to another host (auth.example.com)"


def test_a_login_in_the_address_is_sent_as_basic_auth_and_nowhere_else(both: Kuma) -> None:
    assert send(both, userinfo="me:p%40ss%3Aword@").accepted
    assert send(both, userinfo="alone@").accepted
    heads = [request.headers["Authorization"].removeprefix("Basic ") for request in both.requests]
    assert [base64.b64decode(head) for head in heads] == [b"me:p@ss:word", b"alone:"]
    assert all("ss" not in request.headers["Host"] and "@" not in request.path for request in both.requests)
    found = address("https://me:pAssword@example.com", TOKEN)
    assert "pAssword" not in repr(found)
    both.answer_with(401)
    assert "me" not in send(both, userinfo="me:pAssword@").message.partition(" answered")[0]


def test_an_authority_of_ones_own_is_trusted_with_cacert(certificate: Certificate) -> None:
    with Kuma(tokens=[TOKEN], tls=(certificate.cert, certificate.key)) as kuma:
        assert "cacert names another authority" in send(kuma).message
        assert send(kuma, cacert=str(certificate.cert)).accepted


def test_a_receiver_and_its_results_show_no_secret_in_their_repr() -> None:
    found = address(f"https://me:pAssword@example.com/?key={TOKEN}", TOKEN)
    assert found
    told = Result(
        Watch("web", (), (UptimeKuma(Http({"RESTIC_PASSWORD": TOKEN}), found),)), result().verdicts, "restic", timedelta()
    )
    assert TOKEN not in repr(told)
    assert "pAssword" not in repr(told)


def test_dry_tells_nobody_and_shows_what_would_be_pushed(both: Kuma) -> None:
    found = address(both.url, TOKEN)
    assert found
    delivery = Dry(UptimeKuma(Http({}), found)).send(result(Status.DOWN, Code.STALE))
    assert delivery == Delivery(True, "would push status=down ping=1500")
    assert not both.requests


# one of several


def test_one_failed_push_never_stops_the_others(desk: Desk, both: Kuma) -> None:
    names = ["a", "b", "c", "d", "e"]
    tokens = {name: both.add_monitor() for name in names}
    both.tokens.discard(tokens["b"])
    desk.configure(
        dict.fromkeys(names, FRESH),
        tokens,
        both.url,
        {"c": {"push_url": "http://127.0.0.1:1/"}, "d": {"push_url": "https://no-such-host.invalid/"}},
    )
    done = desk("--format", "json")
    assert done.returncode == 3
    pushed = {each["name"]: (each["push"], each["push_message"]) for each in json.loads(done.stdout)["results"]}
    assert pushed["a"] == pushed["e"] == ("accepted", None)
    assert pushed["b"] == ("failed", f"{both.url[7:]} knows no such monitor, or it is paused: is push_token right?")
    assert pushed["c"] == ("failed", "127.0.0.1:1 refused the connection")
    assert pushed["d"] == ("failed", "the name no-such-host.invalid does not resolve")
    assert len(both.beats) == 2
    assert not any(token in done.stdout + done.stderr for token in tokens.values())


def test_a_repository_without_a_push_address_is_looked_at_and_shown_and_not_pushed(desk: Desk, both: Kuma) -> None:
    desk.configure({"told": FRESH, "silent": FRESH}, {"told": both.add_monitor()}, both.url)
    done = desk()
    assert done.returncode == 0
    assert len(both.beats) == 1
    told, silent, summary = done.stdout.splitlines()
    assert silent.endswith("[no push address]")
    assert not told.endswith("]")
    assert summary == "2 repositories: 2 up; 1 pushed"


def test_a_dead_uptime_kuma_is_not_asked_by_everybody(desk: Desk) -> None:
    """With two connections: two try twice, the others fail at once."""
    names = [f"r{number}" for number in range(10)]
    desk.configure(dict.fromkeys(names, FRESH), {name: f"token{name}" for name in names}, "http://127.0.0.1:1", connections=2)
    done = desk("--format", "json")
    assert done.returncode == 3
    results: Sequence[dict[str, str]] = json.loads(done.stdout)["results"]
    messages = [each["push_message"] for each in results]
    assert messages.count("127.0.0.1:1 could not be reached before in this run and was not tried again") >= 8
    assert {each["push"] for each in results} == {"failed"}


# through the program


def test_real_repositories_are_looked_at_and_told(run: Run, kuma: Kuma, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    make_repository(tmp_path / "fresh", snapshots=[Backup(now - timedelta(hours=3), "web1")])
    make_repository(tmp_path / "stale", snapshots=[Backup(now - timedelta(days=3), "db1")])
    make_repository(tmp_path / "empty")
    names = ["fresh", "stale", "empty", "missing", "locked"]
    tokens = {name: kuma.add_monitor() for name in names}
    blocks = {name: {"push_token": token} for name, token in tokens.items()}
    config = tmp_path / "config.yaml"
    defaults = {
        "url": f"{tmp_path}/{{{{ .Name }}}}",
        "password": PASSWORD,
        "push_url": kuma.url,
        "restic": str(require("restic")),
        "mode": "restic",
    }
    blocks["locked"] |= {"url": str(tmp_path / "fresh"), "password": "wrong"}
    config.write_text(json.dumps({"defaults": defaults, "repositories": blocks}))
    config.chmod(0o600)
    done = run("-c", config)
    assert done.returncode == 1, done.stderr
    names_of = {token: name for name, token in tokens.items()}
    told = {names_of[beat.token]: (beat.status, beat.msg) for beat in kuma.beats}
    assert {name: status for name, (status, _) in told.items()} == dict.fromkeys(names, "down") | {"fresh": "up"}
    assert re.fullmatch(r"OK newest 3h old .*; [0-9a-f]{8} web1 [-0-9]{10} [:0-9]{5}Z; 1 snapshot", told["fresh"][1])
    assert re.fullmatch(r"STALE newest 3d old .*; last [0-9a-f]{8} db1 [-0-9]{10} [:0-9]{5}Z; 1 snapshot", told["stale"][1])
    assert told["empty"][1] == "MISSING no snapshot in the repository"
    assert told["missing"][1].startswith("ERROR no repository at ")
    assert told["locked"][1].startswith("ERROR wrong password or no key")
    assert all((beat.ping or 0) >= 10 for beat in kuma.beats)


def test_tls_with_an_authority_of_ones_own_and_a_login_work_through_the_program(desk: Desk, certificate: Certificate) -> None:
    with Kuma(tokens=[TOKEN, "two"], tls=(certificate.cert, certificate.key)) as kuma:
        push_url = kuma.url.replace("//", "//me:p%40ss@")
        trusting = {"cacert": str(certificate.cert)}
        desk.configure({"a": FRESH, "b": FRESH}, {"a": TOKEN, "b": "two"}, push_url, {"a": trusting})
        done = desk()
        assert done.returncode == 3
        assert "the certificate of 127.0.0.1:" in done.stderr
        assert [beat.token for beat in kuma.beats] == [TOKEN]
        assert kuma.requests[0].headers["Authorization"] == f"Basic {base64.b64encode(b'me:p@ss').decode()}"
        assert desk(env={"SSL_CERT_FILE": str(certificate.cert)}).returncode == 0


@pytest.mark.parametrize("where", ["process", "environment file"])
def test_the_proxy_of_the_environment_is_used(desk: Desk, kuma: Kuma, where: str) -> None:
    desk.configure({"a": FRESH}, {"a": kuma.add_monitor()}, named(kuma.url))
    proxy = ForwardProxy()
    with raw(proxy) as server:
        if where == "process":
            done = desk(env={"HTTP_PROXY": server.url})
        else:
            (desk.folder / "environment").write_text(f"http_proxy={server.url}\n")
            (desk.folder / "environment").chmod(0o600)
            done = desk("--environment-file", desk.folder / "environment")
        assert done.returncode == 0, done.stderr
        assert len(proxy.asked) == 1
        desk.configure({"a": FRESH}, {"a": next(iter(kuma.tokens))}, kuma.url)
        assert desk(env={"HTTP_PROXY": server.url}).returncode == 0, "this machine is asked directly"
        assert len(proxy.asked) == 1
    assert len(kuma.beats) == 2


def test_several_slow_answers_are_all_waited_for(desk: Desk, kuma: Kuma) -> None:
    """2.x answers when its notifications are out: three at once take as long as one, and are sent once."""
    kuma.delay_seconds = 1.0
    desk.configure(dict.fromkeys("abc", FRESH), {name: kuma.add_monitor() for name in "abc"}, kuma.url)
    began = time.monotonic()
    assert desk().returncode == 0
    assert time.monotonic() - began < 3
    assert len(kuma.beats) == len(kuma.requests) == 3
