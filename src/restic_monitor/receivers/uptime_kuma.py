"""Heartbeats for Uptime Kuma's push monitors, 1.23 and 2.x.

Source: server/routers/api-router.js of both (GET only in 1.23; every failure is 404 with JSON; any other path is answered
200 by the web application, so that only JSON `ok: true` is a success).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import msgspec
from msgspec import Struct

from restic_monitor.http import Answer, Http, HttpError
from restic_monitor.model import Delivery, Result, one_line, shorten

_OURS = frozenset({"status", "msg", "ping"})
_PUSH = re.compile(r"(?P<prefix>.*?/api/push)(?:/(?P<token>[^/]+))?/*", re.IGNORECASE)
_SHORT_MESSAGE = 100
_UNIQUE_TOKEN = 20


@dataclass(frozen=True, slots=True)
class Address:
    """Where one push monitor listens. `path` holds the token: never shown."""

    origin: str
    path: str = field(repr=False)
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    userinfo: str = field(default="", repr=False)

    @property
    def monitor(self) -> tuple[str, str]:
        """Equal for two addresses of the same monitor: by http or https, and a long random token under any name of its host."""
        if len(self.token) >= _UNIQUE_TOKEN:
            return "", self.token
        prefix, _, token = self.path.rpartition("/")
        return re.sub(r"\.?(:80|:443)?$", "", self.host), f"{prefix.lower()}/{token}"

    @property
    def host(self) -> str:
        return self.origin.partition("://")[2]

    @property
    def token(self) -> str:
        return unquote(self.path.rpartition("/")[2])

    def url(self, **parameters: str) -> str:
        return f"{self.origin}{self.path}?{urlencode({**dict(self.query), **parameters}, quote_via=quote)}"


def address(push_url: str | None, push_token: str | None, *, beside: bool = False) -> Address | None:
    """Put `push_url` and `push_token` together; None when they name no monitor (a base address without a token). `beside`:
    push_url may be the whole address of another monitor, and this one is beside it.

    Either may be the whole address that Uptime Kuma shows, `?status=up&msg=OK&ping=` included. Missing and double slashes
    are mended. Raises ValueError with a sentence that shows neither.
    """
    if push_token and "://" in push_token:
        pasted = _split(push_token)
        if not pasted.token:
            raise ValueError("push_token is an address without a token at its end")
        push_url, push_token = push_token, pasted.token  # it says everything
    if not push_url:
        if push_token:
            raise ValueError("push_token without a push_url, here or in defaults: where is Uptime Kuma?")
        return None
    parts = _split(push_url)
    token = push_token.strip().strip("/").partition("?")[0].rpartition("/")[2] if push_token else ""
    if push_token and not token:
        raise ValueError("push_token holds no token")
    if parts.token and token and parts.token != token and not beside:
        raise ValueError("push_url ends in a token already; remove push_token, or end push_url in /api/push/")
    token = token or parts.token
    if not token:
        return None
    # a token given alone is text; one taken from an address is percent-encoded already
    shown = quote(unquote(token), safe="")
    return Address(parts.origin, f"{parts.prefix}/{shown}", parts.query, parts.userinfo)


class _Parts(Struct, frozen=True):
    origin: str
    prefix: str
    token: str
    query: tuple[tuple[str, str], ...]
    userinfo: str


def _split(url: str) -> _Parts:
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("push_url is not a valid address") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("push_url must be an address like https://uptime-kuma.example.com/api/push/")
    userinfo = parts.netloc.rpartition("@")[0]
    shown_host = f"[{host}]" if ":" in host else host
    origin = f"{parts.scheme}://{shown_host}" + (f":{port}" if port else "")
    prefix, token = _prefix_and_token(re.sub(r"/{2,}", "/", parts.path))
    query = tuple(pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in _OURS)
    return _Parts(origin, prefix, token, query, userinfo)


def _prefix_and_token(path: str) -> tuple[str, str]:
    if path in ("", "/"):
        return "/api/push", ""
    if push := _PUSH.fullmatch(path):
        return push["prefix"], push["token"] or ""
    # some other way to Uptime Kuma, by a proxy: what stands before the last slash is kept as it is
    prefix, _, token = path.rpartition("/")
    return prefix, token


class _Reply(msgspec.Struct):
    ok: bool = False
    msg: str = ""


class UptimeKuma(Struct, frozen=True):
    """One push monitor. `cacert` is an authority trusted besides the system's."""

    http: Http
    address: Address
    cacert: str | None = None

    def send(self, result: Result) -> Delivery:
        """Push. UNKNOWN is pushed as down with its reason, WARN as up with its note."""
        try:
            answer = self._get(result, result.message)
            if answer.status in (414, 431):  # a proxy with little room: the reason is worth a second, shorter try
                answer = self._get(result, shorten(result.message, _SHORT_MESSAGE))
        except HttpError as error:
            unconfirmed = "; not sent again, it may have been taken" if error.sent else ""
            return Delivery(False, f"{error.reason}{unconfirmed}")
        return _judge(answer, self.address)

    def preview(self, result: Result) -> str:
        return " ".join(f"{name}={value}" for name, value in parameters(result, "").items() if value)

    def _get(self, result: Result, message: str) -> Answer:
        url = self.address.url(**parameters(result, message))
        # Node closes an idle connection after 5 seconds: on a reused one a push may be lost, and must not be sent again
        headers = {"Connection": "close"}
        if self.address.userinfo:
            user, _, password = self.address.userinfo.partition(":")
            plain = f"{unquote(user)}:{unquote(password)}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(plain).decode()}"
        return self.http.get(url, headers=headers, cacert=self.cacert)


def parameters(result: Result, message: str) -> dict[str, str]:
    """`ping` is the duration of the look in whole milliseconds, at least 1: Kuma takes 0 for none."""
    status = "down" if result.status.failing else "up"
    return {"status": status, "msg": message, "ping": str(max(1, result.took // timedelta(milliseconds=1)))}


def _judge(answer: Answer, address: Address) -> Delivery:
    host = address.host
    try:
        reply = msgspec.json.decode(answer.body, type=_Reply)
    except msgspec.MsgspecError:
        return Delivery(False, _not_kuma(answer, host))
    if answer.status == 200 and reply.ok:
        return Delivery(True)
    if "not found or not active" in reply.msg:
        return Delivery(False, f"{host} knows no such monitor, or it is paused: is push_token right?")
    reason = one_line(reply.msg.replace(address.token, "***").replace(quote(address.token, safe=""), "***")) or "no reason"
    return Delivery(False, f"{host} answered {answer.status}: {shorten(reason, 80)}")


def _not_kuma(answer: Answer, host: str) -> str:
    if answer.status in (401, 403, 407):
        return f"{host} answered {answer.status}: something in front of Uptime Kuma wants a login"
    if answer.status in (429,) or answer.status >= 500:
        return f"{host} answered {answer.status}: Uptime Kuma, or the proxy in front of it, is in trouble"
    return (
        f"{host} answered {answer.status} without Uptime Kuma's JSON: not a push address "
        "(a path in front of /api/push/? a login page?)"
    )
