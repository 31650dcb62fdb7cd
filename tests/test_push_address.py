"""push_url and push_token as people write and paste them, and where the push goes then."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from restic_monitor.receivers.uptime_kuma import Address, address

TOKEN = "yDaQM5YUuS3rczSvLsOucs4LqHSRDhu6"
KUMA = "https://kuma.example.com"
PUSH = f"{KUMA}/api/push"
SHOWN = "?status=up&msg=OK&ping="


def sent(push_url: str | None, push_token: str | None = None) -> str | None:
    """The address without our parameters."""
    found = address(push_url, push_token)
    return found.url().removesuffix("?") if found else None


@pytest.mark.parametrize(
    "push_url",
    [
        f"{PUSH}/",
        PUSH,
        f"{PUSH}//",
        f"{KUMA}//api//push/",
        f"{KUMA}/",
        KUMA,
        f"{KUMA}//",
        f"  {PUSH}/ ",
        f"{PUSH}/{SHOWN}",
        f"{PUSH}/{TOKEN}",
        f"{PUSH}/{TOKEN}{SHOWN}",
        "HTTPS://Kuma.Example.COM/api/push/",
    ],
)
@pytest.mark.parametrize(
    "push_token",
    [
        TOKEN,
        f"/{TOKEN}",
        f"{TOKEN}/",
        f" {TOKEN}\n",
        f"{TOKEN}{SHOWN}",
        f"{PUSH}/{TOKEN}",
        f"{PUSH}/{TOKEN}{SHOWN}",
        f"/api/push/{TOKEN}",
    ],
)
def test_every_form_of_the_address_goes_with_every_form_of_the_token(push_url: str, push_token: str) -> None:
    assert sent(push_url, push_token) == f"{PUSH}/{TOKEN}"


@pytest.mark.parametrize(
    ("push_url", "where"),
    [
        (f"{PUSH}/{TOKEN}", f"{PUSH}/{TOKEN}"),
        (f"{PUSH}/{TOKEN}{SHOWN}", f"{PUSH}/{TOKEN}"),
        (f"{PUSH}/{TOKEN}/", f"{PUSH}/{TOKEN}"),
        (f"{KUMA}//api/push//{TOKEN}", f"{PUSH}/{TOKEN}"),
        (f"{KUMA}/kuma/api/push/{TOKEN}", f"{KUMA}/kuma/api/push/{TOKEN}"),
        (f"{KUMA}/API/PUSH/{TOKEN}", f"{KUMA}/API/PUSH/{TOKEN}"),
        ("http://kuma:3001/api/push/T", "http://kuma:3001/api/push/T"),
        ("http://[::1]:3001/api/push/T", "http://[::1]:3001/api/push/T"),
        (f"{PUSH}/we%2Fird%3F", f"{PUSH}/we%2Fird%3F"),
        (f"{PUSH}/T?key=of+the+proxy&status=up", f"{PUSH}/T?key=of%20the%20proxy"),
        (f"{PUSH}/T#fragment", f"{PUSH}/T"),
    ],
)
def test_an_address_that_ends_in_a_token_needs_no_other(push_url: str, where: str) -> None:
    assert sent(push_url) == where


@pytest.mark.parametrize(
    ("push_url", "push_token", "where"),
    [
        (f"{KUMA}/kuma/api/push/", "T", f"{KUMA}/kuma/api/push/T"),
        (f"{KUMA}/kuma/api/push", "T", f"{KUMA}/kuma/api/push/T"),
        (f"{KUMA}/hook/", "T", f"{KUMA}/hook/T"),  # a proxy's own way, put together as the Go tool did
        (f"{PUSH}/", "we ird&ä", f"{PUSH}/we%20ird%26%C3%A4"),
        (f"{PUSH}/", "{{ .Name }}", f"{PUSH}/%7B%7B%20.Name%20%7D%7D"),
        (f"{PUSH}/", "12345678", f"{PUSH}/12345678"),
        (None, f"{PUSH}/T{SHOWN}", f"{PUSH}/T"),
        ("https://user:p%40ss@kuma.example.com/api/push/", "T", f"{PUSH}/T"),
    ],
)
def test_addresses_and_tokens_that_are_special(push_url: str | None, push_token: str, where: str) -> None:
    assert sent(push_url, push_token) == where


@pytest.mark.parametrize("push_url", [None, "", KUMA, f"{KUMA}/", PUSH, f"{PUSH}/", f"{PUSH}//", f"{PUSH}/{SHOWN}"])
def test_without_a_token_nobody_is_told(push_url: str | None) -> None:
    assert sent(push_url) is None


MUST_BE = "push_url must be an address like https://uptime-kuma.example.com/api/push/"


@pytest.mark.parametrize(
    ("push_url", "push_token", "message"),
    [
        (None, "canary", "push_token without a push_url, here or in defaults: where is Uptime Kuma?"),
        ("kuma.example.com/api/push/canary", None, MUST_BE),
        ("kuma.example.com:3001/api/push/", "canary", MUST_BE),
        ("ftp://kuma/api/push/canary", None, MUST_BE),
        ("https:///api/push/canary", None, MUST_BE),
        ("https://:3001/api/push/canary", None, MUST_BE),
        ("canary", None, MUST_BE),
        ("https://kuma:port/api/push/canary", None, "push_url is not a valid address"),
        ("https://kuma:99999/api/push/canary", None, "push_url is not a valid address"),
        ("https://[::1/api/push/canary", None, "push_url is not a valid address"),
        ("https://user:can/ary@kuma/api/push/", "canary", "push_url is not a valid address"),
        (f"{PUSH}/canary-a", "canary-b", "push_url ends in a token already; remove push_token, or end push_url in /api/push/"),
        (f"{PUSH}/", f"{PUSH}/", "push_token is an address without a token at its end"),
        (f"{PUSH}/", " / ", "push_token holds no token"),
        (f"{PUSH}/", "?status=up", "push_token holds no token"),
    ],
)
def test_what_is_no_push_address_is_refused_without_showing_it(
    push_url: str | None, push_token: str | None, message: str
) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        address(push_url, push_token)
    assert str(error.value) == message
    assert "canary" not in str(error.value)


def monitor(push_url: str, push_token: str | None = None) -> tuple[str, str]:
    found = address(push_url, push_token)
    assert found
    return found.monitor


@pytest.mark.parametrize(
    "push_url",
    [
        f"{PUSH}/T",
        "http://kuma.example.com/api/push/T",
        "https://KUMA.example.com:443/api/push/T/",
        "http://kuma.example.com:80/api/push/T",
        f"{KUMA}//api/push/T{SHOWN}",
        "https://user:password@kuma.example.com/api/push/T",
    ],
)
def test_one_monitor_by_several_addresses_is_one(push_url: str) -> None:
    assert monitor(push_url) == monitor(f"{PUSH}/", "T")


@pytest.mark.parametrize(
    "push_url", [f"{PUSH}/t", "https://kuma.example.com:3001/api/push/T", "https://other.example.com/api/push/T"]
)
def test_other_monitors_are_others(push_url: str) -> None:
    assert monitor(push_url) != monitor(f"{PUSH}/T")


def test_an_address_shows_neither_token_nor_login() -> None:
    found = address("https://user:canary-a@kuma.example.com:3001/api/push/?key=canary-b", "canary-c")
    assert found
    assert repr(found) == "Address(origin='https://kuma.example.com:3001')"
    assert (found.userinfo, found.token, found.host) == ("user:canary-a", "canary-c", "kuma.example.com:3001")


def test_our_parameters_replace_those_that_were_pasted() -> None:
    found = address(f"{PUSH}/T?status=down&msg=x&ping=9&key=k", None)
    assert found
    assert found.url(status="up", msg="a b&c", ping="1") == f"{PUSH}/T?key=k&status=up&msg=a%20b%26c&ping=1"


@given(st.text() | st.text(alphabet="htps:/@[]?#%&.x1").map("https://".__add__), st.none() | st.text(max_size=20))
@example("https://[::1%eth0]/api/push/", "T")
@example("https://\u2100.example/api/push/", "T")
@example("https://a\x00b/x", None)
def test_any_text_is_an_address_or_refused_with_a_sentence(push_url: str, push_token: str | None) -> None:
    found: Address | None = None
    refusal = "push_"
    try:
        found = address(push_url, push_token)
    except ValueError as error:
        refusal = str(error)
    assert refusal.startswith("push_")
    if found:
        parts = urlsplit(found.url(status="up"))
        assert parts.scheme in ("http", "https")
        assert parts.path.endswith("/" + found.path.rpartition("/")[2])
        assert found.token


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1))
def test_a_token_of_letters_and_digits_reaches_its_monitor_unchanged(token: str) -> None:
    assert sent(f"{PUSH}/", token) == sent(f"{PUSH}/{token}") == sent(None, f"{PUSH}/{token}{SHOWN}") == f"{PUSH}/{token}"


def test_a_whole_address_as_the_token_goes_where_it_says() -> None:
    assert (
        sent(f"{PUSH}/", f"https://other.example.com/api/push/{TOKEN}{SHOWN}") == f"https://other.example.com/api/push/{TOKEN}"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://kuma.example.com/api/push/T", "https://kuma.example.com/API/Push/T"),
        ("https://kuma.example.com/api/push/T", "https://kuma.example.com./api/push/T"),
        ("https://kuma.example.com/api/push/T", "http://kuma.example.com:80/api/push/T"),
        (f"https://kuma.example.com/api/push/{TOKEN}", f"http://kuma.lan:3001/api/push/{TOKEN}"),
    ],
)
def test_one_monitor_is_known_under_all_its_addresses(one: str, other: str) -> None:
    first, second = address(one, None), address(other, None)
    assert first
    assert second
    assert first.monitor == second.monitor


def test_short_tokens_of_two_hosts_are_two_monitors() -> None:
    first, second = address("https://a.example.com/api/push/T", None), address("https://b.example.com/api/push/T", None)
    assert first
    assert second
    assert first.monitor != second.monitor
