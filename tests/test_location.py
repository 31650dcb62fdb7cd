"""restic's repository addresses. Rows from restic's internal/backend/location/location_test.go and the backends' tests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restic_monitor import location


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("local:/some/path", "local"),
        ("local:c:\\dir1\\repo", "local"),
        ("dir1/dir2", "local"),
        ("/dir1:foobar/dir2", "local"),
        ("../dir1:x", "local"),
        ("\\dir1\\foobar\\dir2", "local"),
        ("c:\\dir1\\foobar\\dir2", "local"),
        ("C:\\Users\\appveyor\\AppData\\Local\\Temp\\1\\restic-test-879453535\\repo", "local"),
        ("c:/dir1/foobar/dir2", "local"),
        ("sftp:user@host:/srv/repo", "sftp"),
        ("sftp://user@host//srv/repo", "sftp"),
        ("s3://eu-central-1/bucketname", "s3"),
        ("s3:https://hostname:9999/foobar", "s3"),
        ("swift:container17:/prefix97", "swift"),
        ("b2:bucketname:/prefix", "b2"),
        ("azure:container:/prefix", "azure"),
        ("gs:bucketname:/prefix", "gs"),
        ("rest:http://hostname.foo:1234/", "rest"),
        ("rclone:remote:path", "rclone"),
        ("foobar:xxx", None),
        ("foobar:/dir/dir2", None),
        ("https://host/repo", None),
        ("S3:bucket", None),
        ("s3", "local"),
    ],
)
def test_the_backend_is_the_one_restic_takes(url: str, scheme: str | None) -> None:
    assert location.scheme(url) == scheme


def test_the_password_of_an_address_is_known_as_written_and_decoded() -> None:
    assert set(location.passwords("rest:https://u:p%40ss@host/")) == {"p%40ss", "p@ss"}
    assert set(location.passwords("rest:https://u:a/b@host/")) == {"a/b"}
    assert location.passwords("rest:https://u@host/") == ()
    assert location.passwords("rest:http://host:8000/a@b") == ()
    assert location.passwords("sftp:user@host:/srv") == ()


@given(st.text(st.characters(exclude_characters="@", exclude_categories=["Z", "C"]), min_size=8))
def test_no_password_is_shown(password: str) -> None:
    url = f"rest:https://user:x{password}@host/repo"
    assert password not in location.shown(url)
    assert location.shown(url) == "rest:https://user:***@host/repo"
    assert f"x{password}" in location.passwords(url)
