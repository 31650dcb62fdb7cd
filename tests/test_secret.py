"""Secrets do not print themselves, and other people's text is cleaned of them."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restic_monitor.secret import Redactor, Secret, is_secret_name, redact_urls, secrets_in

CANARY = "canary-8f3b"


def test_a_secret_shows_itself_to_reveal_alone() -> None:
    secret = Secret(CANARY)
    assert secret.reveal() == CANARY
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>40}", f"{secret!r}", "%s" % secret, repr([secret])]  # noqa: UP031
    record = logging.LogRecord("x", logging.INFO, "", 0, "the password is %s", (secret,), None)
    assert not [text for text in [*shown, record.getMessage(), str(vars(record))] if CANARY in text]


def test_a_secret_is_not_in_a_traceback() -> None:
    try:
        raise ValueError(Secret(CANARY))
    except ValueError:
        assert CANARY not in traceback.format_exc()


def test_a_secret_is_not_written_anywhere() -> None:
    for write in (pickle.dumps, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            write(Secret(CANARY))


def test_secrets_are_compared_by_value() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


@given(st.text("abc ?*[(\\", min_size=6).filter(str.strip), st.text("xyz\n."), st.text("xyz\n."))
def test_a_known_secret_is_taken_out_of_any_text(value: str, before: str, after: str) -> None:
    assert Redactor((Secret(value),))(f"{before}{value}{after}") == f"{before}***{after}"


def test_the_longer_of_two_secrets_is_taken_out_first() -> None:
    redact = Redactor((Secret("secret"), Secret("secret-and-more")))
    assert redact("it was secret-and-more") == "it was ***"


def test_a_short_password_is_hidden_where_it_stands_alone_and_garbles_nothing() -> None:
    redact = Redactor((Secret("s3"), Secret(""), Secret("  ")))
    assert redact("password 's3' for s3stat: /s3/") == "password '***' for s3stat: /***/"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rest:https://user:pass@host:8000/repo/", "rest:https://user:***@host:8000/repo/"),
        ("rest:https://user:pa@ss@host/", "rest:https://user:***@host/"),
        ("rest:https://user:p/a?s#s@host/", "rest:https://user:***@host/"),
        ("rest:https://:pass@host/", "rest:https://:***@host/"),
        ("rest:https://user:12345@host/", "rest:https://user:***@host/"),
        ("rest:https://user@host/", "rest:https://user@host/"),
        ("rest:http://host:8000/user@example.com/", "rest:http://host:8000/user@example.com/"),
        ("rest:http://[::1]:8000/repo", "rest:http://[::1]:8000/repo"),
        ("s3:https://host/bucket", "s3:https://host/bucket"),
        ("sftp:user@host:/srv/repo", "sftp:user@host:/srv/repo"),
        ("sftp://user:pass@host//srv", "sftp://user:***@host//srv"),
        ("HTTPS://user:pass@host", "HTTPS://user:***@host"),
        ('Get "https://u:p1@a/": and https://v:p2@b', 'Get "https://u:***@a/": and https://v:***@b'),
        ("12:30 a@b", "12:30 a@b"),
    ],
)
def test_a_password_in_an_address_is_hidden(url: str, shown: str) -> None:
    assert redact_urls(url) == shown
    assert Redactor()(url) == shown


@pytest.mark.parametrize(
    "name",
    [
        *("RESTIC_PASSWORD", "RESTIC_REST_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        *("B2_ACCOUNT_KEY", "AZURE_ACCOUNT_KEY", "AZURE_ACCOUNT_SAS", "GOOGLE_ACCESS_TOKEN", "OS_PASSWORD", "OS_AUTH_TOKEN"),
        *("OS_APPLICATION_CREDENTIAL_SECRET", "ST_KEY", "RCLONE_CONFIG_PASS", "MINIO_ROOT_PASSWORD"),
    ],
)
def test_variables_that_hold_secrets_are_known_by_name(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("RESTIC_PASSWORD_FILE", "RESTIC_PASSWORD_COMMAND", "RESTIC_KEY_HINT", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        *("AWS_DEFAULT_REGION", "OS_AUTH_URL", "GOOGLE_APPLICATION_CREDENTIALS", "HOME", "PATH", "RESTIC_CACERT"),
    ],
)
def test_variables_that_name_a_place_are_not_secrets(name: str) -> None:
    assert not is_secret_name(name)


def test_secrets_of_an_environment() -> None:
    environment = {"RESTIC_PASSWORD": "a", "AWS_SESSION_TOKEN": "", "HOME": "/root"}
    assert secrets_in(environment.items()) == (Secret("a"),)
