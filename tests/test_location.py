"""restic's repository addresses. Rows from restic's internal/backend/location/location_test.go and the backends' tests."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import restics
from restic_monitor import location
from restic_monitor.location import B2, S3, Azure, Gs, Local, Location, Rclone, Rest, Sftp, Swift


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


TEMPORARY = "C:\\Users\\appveyor\\AppData\\Local\\Temp\\1\\restic-test-879453535\\repo"


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        # internal/backend/local/config_test.go
        ("local:/some/path", Local("/some/path")),
        ("local:dir1/dir2", Local("dir1/dir2")),
        ("local:../dir1/dir2", Local("../dir1/dir2")),
        ("local:/dir1:foobar/dir2", Local("/dir1:foobar/dir2")),
        ("local:\\dir1\\foobar\\dir2", Local("\\dir1\\foobar\\dir2")),
        ("local:c:\\dir1\\foobar\\dir2", Local("c:\\dir1\\foobar\\dir2")),
        (f"local:{TEMPORARY}", Local(TEMPORARY)),
        ("local:c:/dir1/foobar/dir2", Local("c:/dir1/foobar/dir2")),
        ("local:s3:host/bucket", Local("s3:host/bucket")),
        ("local:/a%20b//c/", Local("/a%20b//c/")),
        # internal/backend/location/location_test.go, TestParseFallback
        ("dir1/dir2", Local("dir1/dir2")),
        ("/dir1/dir2", Local("/dir1/dir2")),
        ("/dir1:foobar/dir2", Local("/dir1:foobar/dir2")),
        ("\\dir1\\foobar\\dir2", Local("\\dir1\\foobar\\dir2")),
        ("c:\\dir1\\foobar\\dir2", Local("c:\\dir1\\foobar\\dir2")),
        (TEMPORARY, Local(TEMPORARY)),
        ("c:/dir1/foobar/dir2", Local("c:/dir1/foobar/dir2")),
        ("../dir:x", Local("../dir:x")),
        ("..\\dir:x", Local("..\\dir:x")),
        ("S3", Local("S3")),
    ],
)
def test_a_folder_is_taken_as_it_is_written(url: str, parsed: Location) -> None:
    assert location.parse(url) == parsed


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        # internal/backend/s3/config_test.go
        ("s3://eu-central-1/bucketname", S3("eu-central-1", "bucketname", "")),
        ("s3://eu-central-1/bucketname/", S3("eu-central-1", "bucketname", "")),
        ("s3://eu-central-1/bucketname/prefix/directory", S3("eu-central-1", "bucketname", "prefix/directory")),
        ("s3://eu-central-1/bucketname/prefix/directory/", S3("eu-central-1", "bucketname", "prefix/directory")),
        ("s3:eu-central-1/foobar", S3("eu-central-1", "foobar", "")),
        ("s3:eu-central-1/foobar/", S3("eu-central-1", "foobar", "")),
        ("s3:eu-central-1/foobar/prefix/directory", S3("eu-central-1", "foobar", "prefix/directory")),
        ("s3:eu-central-1/foobar/prefix/directory/", S3("eu-central-1", "foobar", "prefix/directory")),
        ("s3:hostname.foo/foobar", S3("hostname.foo", "foobar", "")),
        ("s3:hostname.foo/foobar/prefix/directory", S3("hostname.foo", "foobar", "prefix/directory")),
        ("s3:https://hostname/foobar", S3("hostname", "foobar", "")),
        ("s3:https://hostname:9999/foobar", S3("hostname:9999", "foobar", "")),
        ("s3:https://hostname:9999/foobar/", S3("hostname:9999", "foobar", "")),
        ("s3:http://hostname:9999/foobar", S3("hostname:9999", "foobar", "", encrypted=False)),
        ("s3:http://hostname:9999/foobar/", S3("hostname:9999", "foobar", "", encrypted=False)),
        ("s3:http://hostname:9999/bucket/prefix/directory", S3("hostname:9999", "bucket", "prefix/directory", encrypted=False)),
        (
            "s3:http://hostname:9999/bucket/prefix/directory/",
            S3("hostname:9999", "bucket", "prefix/directory", encrypted=False),
        ),
        # path.Clean: `restic init` asks for /bucket//a/b/config
        ("s3:host/bucket//a//b/./c/../d/", S3("host", "bucket", "/a/b/d")),
        ("s3:host/bucket///a", S3("host", "bucket", "/a")),
        ("s3:host/bucket//", S3("host", "bucket", "/")),
        ("s3:host/bucket/.", S3("host", "bucket", ".")),
        ("s3:host/bucket/../a", S3("host", "bucket", "../a")),
        # what net/url decodes, and what it drops
        ("s3:https://host/bucket/a%20b%2Fc", S3("host", "bucket", "a b/c")),
        ("s3:host/bucket/a%20b", S3("host", "bucket", "a%20b")),
        ("s3://host/bucket/a%20b?c#d", S3("host", "bucket", "a%20b?c#d")),
        ("s3:https://key:secret@host:9000/bucket/p?versionId=1#x", S3("host:9000", "bucket", "p")),
        ("s3:key:secret@host:9000/bucket/p", S3("host:9000", "bucket", "p")),
        ("s3:https://[::1]:9000/bucket", S3("[::1]:9000", "bucket", "")),
        ("s3:[::1]:9000/bucket", S3("[::1]:9000", "bucket", "")),
        ("s3:httpx://host/bucket", S3("host", "bucket", "")),
        ("s3:https://HOST/bucket", S3("HOST", "bucket", "")),
    ],
)
def test_an_s3_url_is_an_endpoint_a_bucket_and_a_clean_prefix(url: str, parsed: Location) -> None:
    assert location.parse(url) == parsed


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        # internal/backend/sftp/config_test.go
        ("sftp://user@host/dir/subdir", Sftp("user", "host", "", "dir/subdir")),
        ("sftp://host/dir/subdir", Sftp("", "host", "", "dir/subdir")),
        ("sftp://host//dir/subdir", Sftp("", "host", "", "/dir/subdir")),
        ("sftp://host:10022//dir/subdir", Sftp("", "host", "10022", "/dir/subdir")),
        ("sftp://user@host:10022//dir/subdir", Sftp("user", "host", "10022", "/dir/subdir")),
        ("sftp://user@host/dir/subdir/../other", Sftp("user", "host", "", "dir/other")),
        ("sftp://user@host/dir///subdir", Sftp("user", "host", "", "dir/subdir")),
        ("sftp://user@[::1]/dir", Sftp("user", "::1", "", "dir")),
        ("sftp://user@[::1]:22/dir", Sftp("user", "::1", "22", "dir")),
        ("sftp:user@host:/dir/subdir", Sftp("user", "host", "", "/dir/subdir")),
        ("sftp:user@domain@host:/dir/subdir", Sftp("user@domain", "host", "", "/dir/subdir")),
        ("sftp:host:../dir/subdir", Sftp("", "host", "", "../dir/subdir")),
        ("sftp:user@host:dir/subdir:suffix", Sftp("user", "host", "", "dir/subdir:suffix")),
        ("sftp:user@host:dir/subdir/../other", Sftp("user", "host", "", "dir/other")),
        ("sftp:user@host:dir///subdir", Sftp("user", "host", "", "dir/subdir")),
        # path.Clean: nothing is ".", and two slashes in front are one
        ("sftp:host:", Sftp("", "host", "", ".")),
        ("sftp://host/", Sftp("", "host", "", ".")),
        ("sftp:host://srv", Sftp("", "host", "", "/srv")),
        ("sftp://host///srv", Sftp("", "host", "", "/srv")),
        ("sftp:host:/../srv/", Sftp("", "host", "", "/srv")),
        # only the first form is decoded and has a password, a port, a query
        ("sftp://us%40er:pass@host:/a%20b?c#d", Sftp("us@er", "host", "", "a b")),
        ("sftp://a@b@host/dir", Sftp("a@b", "host", "", "dir")),
        ("sftp://[fe80::1%25eth0]:22/dir", Sftp("", "fe80::1%eth0", "22", "dir")),
        ("sftp://host/%ff", Sftp("", "host", "", "\udcff")),
        ("sftp:host:a%20b?c#d", Sftp("", "host", "", "a%20b?c#d")),
        ("sftp:host:22:/dir", Sftp("", "host", "", "22:/dir")),
        ("sftp:a@b@c@host:dir", Sftp("a@b", "c@host", "", "dir")),
        ("sftp:[::1]:/dir", Sftp("", "[", "", ":1]:/dir")),
        ("sftp:host:dir/~x", Sftp("", "host", "", "dir/~x")),
    ],
)
def test_an_sftp_url_has_two_forms(url: str, parsed: Location) -> None:
    assert location.parse(url) == parsed


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        # internal/backend/rest/config_test.go
        ("rest:http://localhost:1234", Rest("http://localhost:1234/")),
        ("rest:http://localhost:1234/", Rest("http://localhost:1234/")),
        (
            "rest:http+unix:///tmp/rest.socket:/my_backup_repo/",
            Rest("http+unix:///tmp/rest.socket:/my_backup_repo/"),
        ),
        ("rest:https://user:p%40ss@host/repo", Rest("https://user:p%40ss@host/repo/")),
        ("rest:http://user:password@:123", Rest("http://user:password@:123/")),
        ("rest:HTTPS://[::1]:8000/a b", Rest("HTTPS://[::1]:8000/a b/")),
        # internal/backend/rclone/config_test.go
        ("rclone:local:foo:/bar", Rclone("local:foo:/bar")),
        ("rclone::s3,access_key_id=AK:bucket/", Rclone(":s3,access_key_id=AK:bucket/")),
        # internal/backend/b2/config_test.go
        ("b2:bucketname", B2("bucketname", "")),
        ("b2:bucketname:", B2("bucketname", "")),
        ("b2:bucketname:/prefix/directory", B2("bucketname", "prefix/directory")),
        ("b2:foobar", B2("foobar", "")),
        ("b2:foobar:", B2("foobar", "")),
        ("b2:foobar:/", B2("foobar", "")),
        ("b2:foobar:a//b/../c/", B2("foobar", "a/c")),
        (f"b2:{'b' * 50}", B2("b" * 50, "")),
        # internal/backend/azure/config_test.go
        ("azure:container-name:/", Azure("container-name", "")),
        ("azure:container-name:/prefix/directory", Azure("container-name", "prefix/directory")),
        ("azure:container-name:/prefix/directory/", Azure("container-name", "prefix/directory")),
        ("azure:container-name:", Azure("container-name", ".")),
        ("azure:container-name://prefix", Azure("container-name", "prefix")),
        # internal/backend/gs/config_test.go
        ("gs:bucketname:/", Gs("bucketname", "")),
        ("gs:bucketname:/prefix/directory", Gs("bucketname", "prefix/directory")),
        ("gs:bucketname:/prefix/directory/", Gs("bucketname", "prefix/directory")),
        ("gs:bucketname:", Gs("bucketname", ".")),
        # internal/backend/swift/config_test.go
        ("swift:cnt1:/", Swift("cnt1", "")),
        ("swift:cnt2:/prefix", Swift("cnt2", "prefix")),
        ("swift:cnt3:/prefix/longer", Swift("cnt3", "prefix/longer")),
        ("swift:cnt4:/a//b/", Swift("cnt4", "a//b/")),
    ],
)
def test_each_other_backend_has_its_own_syntax(url: str, parsed: Location) -> None:
    assert location.parse(url) == parsed


INVALID = [
    ("foobar:xxx", "invalid backend; a folder with a colon in its name needs local: in front"),
    ("foobar:/dir/dir2", "invalid backend; a folder with a colon in its name needs local: in front"),
    ("https://user:sesame@host/", "invalid backend; a folder with a colon in its name needs local: in front"),
    ("S3:host/bucket", "invalid backend; a folder with a colon in its name needs local: in front"),
    ("c:dir", "invalid backend; a folder with a colon in its name needs local: in front"),
    ("b2", "b2: invalid format, there is no colon; a folder of that name is local:b2"),
    ("s3", "s3: invalid format, there is no colon; a folder of that name is local:s3"),
    ("local", "local: invalid format, there is no colon; a folder of that name is local:local"),
    ("b2:", "b2: bucket name not found"),
    ("b2:bucket_name", "b2: bucket name contains invalid characters, allowed are: a-z, 0-9, dash (-)"),
    ("b2:bucketname/prefix/directory/", "b2: bucket name contains invalid characters, allowed are: a-z, 0-9, dash (-)"),
    ("b2:short", "b2: bucket name is too short"),
    (f"b2:{'b' * 51}", "b2: bucket name is too long"),
    ("gs:bucketname", "gs: invalid format: bucket name or path not found"),
    ("swift://hostname/container", "swift: prefix is empty, want swift:container-name:/[prefix]"),
    ("swift:////", "swift: prefix is empty, want swift:container-name:/[prefix]"),
    ("swift://", "swift: prefix is empty, want swift:container-name:/[prefix]"),
    ("swift:////prefix", "swift: prefix is empty, want swift:container-name:/[prefix]"),
    ("swift:container", "swift: prefix is empty, want swift:container-name:/[prefix]"),
    ("swift:container:", "swift: prefix is empty, want swift:container-name:/[prefix]"),
    ("swift:container/prefix", "swift: prefix is empty, want swift:container-name:/[prefix]"),
    ("swift:container:prefix", "swift: prefix does not start with slash (/)"),
    ("s3:", "s3: invalid format, host/region or bucket name not found"),
    ("s3://", "s3: invalid format, host/region or bucket name not found"),
    ("s3:///", "s3: invalid format, host/region or bucket name not found"),
    ("s3:////", "s3: invalid format, host/region or bucket name not found"),
    ("s3:///bucket/prefix", "s3: invalid format, host/region or bucket name not found"),
    ("s3:https://hostname", "s3: bucket name not found"),
    ("s3:httpd.example.com/bucket/prefix", "s3: invalid format, host/region or bucket name not found"),
    ("s3:httpd:9000/bucket", "s3: bucket name not found"),
    ("s3:https:/host/bucket", "s3: invalid format, host/region or bucket name not found"),
    ("s3:https://key:sesame/x@host/bucket", "s3: invalid port after host"),
    ("s3:https://host/bucket/50%", "s3: invalid URL escape"),
    ("sftp://host:dir", "sftp: invalid port after host"),
    ("sftp://host", "sftp: no directory specified"),
    ("sftp:host", "sftp: invalid format, hostname or path not found"),
    ("sftp:host:~/dir", "sftp: the path starts with ~, that fails for most servers; write it relative to the home directory"),
    ("sftp:host:./~dir", "sftp: the path starts with ~, that fails for most servers; write it relative to the home directory"),
    (
        "sftp://host/%7Edir",
        "sftp: the path starts with ~, that fails for most servers; write it relative to the home directory",
    ),
    ("sftp://host\x07/dir", "sftp: invalid control character in URL"),
    ("rest::123/", "rest: missing protocol scheme"),
    ("rest:192.0.2.1:8000/repo", "rest: first path segment in URL cannot contain colon"),
    ("rest:http://user:sesame/x@host/", "rest: invalid port after host"),
    ("rest:http://user:ses%ame@host/", "rest: invalid URL escape"),
    ("rest:http://user:ses ame@host/", "rest: invalid userinfo in URL"),
    ("rest:http://ho st/", "rest: invalid character in host name"),
    ("rest:http://ho%41st/", "rest: invalid character in host name"),
    ("rest:http://[::1/", "rest: missing ']' in host"),
    ("rest:http://a[::1]/", "rest: invalid IP-literal in URL"),
    ("rest:http://[::1]x/", "rest: invalid port after host"),
]


@pytest.mark.parametrize(("url", "reason"), INVALID)
def test_what_restic_refuses_is_refused_for_its_reason(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$") as caught:
        location.parse(url)
    assert caught.value.__cause__ is None


def test_restic_refuses_the_same(tmp_path: Path) -> None:
    restic = restics.require("restic")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "RESTIC_PASSWORD": "x"}
    for url, _ in INVALID:
        command = [str(restic), "--no-cache", "--repo", url, "cat", "config"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=20)
        assert done.returncode == 1, url
        assert "parsing repository location failed" in done.stderr, url


_CUT = "the path ends at ? or #, restic finds no repository there; in a name they are %3F and %23"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("s3:host", "s3: bucket name not found"),  # minio-go: Bucket name cannot be empty
        ("s3:https://host/", "s3: bucket name not found"),
        ("s3:HTTP://host/bucket", "s3: bucket name not found"),
        ("s3:key:ses/ame@host/bucket", "s3: invalid port after host"),
        ("s3:ho st/bucket", "s3: invalid character in host name"),
        ("rest:", "rest: unsupported protocol scheme, want rest:https://HOST/ or rest:http://HOST/"),
        ("rest:localhost/", "rest: unsupported protocol scheme, want rest:https://HOST/ or rest:http://HOST/"),
        ("rest:user:sesame@host/", "rest: unsupported protocol scheme, want rest:https://HOST/ or rest:http://HOST/"),
        ("rest:http://", "rest: no host in the URL, want rest:https://HOST/ or rest:http://HOST/"),
        ("rest:http://user:sesame@", "rest: no host in the URL, want rest:https://HOST/ or rest:http://HOST/"),
        ("rest:https:/host/repo", "rest: no host in the URL, want rest:https://HOST/ or rest:http://HOST/"),
        ("rest:http://[::zz]/", "rest: invalid host, want an IPv6 address in brackets"),  # Go 1.25 and older ask the resolver
        ("rest:https://host/repo?x=sesame", f"rest: {_CUT}"),
        ("rest:https://host/repo/#x", f"rest: {_CUT}"),
        ("azure:container", "azure: invalid format: bucket name or path not found"),  # not in each build of restic
    ],
)
def test_what_restic_can_never_open_is_refused_at_once(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        location.parse(url)


@pytest.mark.parametrize(
    ("url", "by_restic"),
    [
        # internal/backend/rest/config_test.go, TestStripPassword
        ("rest:", "rest:/"),
        ("rest:localhost/", "rest:localhost/"),
        ("rest::123/", "rest::123/"),
        ("rest:http://", "rest:http://"),
        ("rest:http://hostname.foo:1234/", "rest:http://hostname.foo:1234/"),
        ("rest:http://user@hostname.foo:1234/", "rest:http://user@hostname.foo:1234/"),
        ("rest:http://user:@hostname.foo:1234/", "rest:http://user:***@hostname.foo:1234/"),
        ("rest:http://user:p@hostname.foo:1234/", "rest:http://user:***@hostname.foo:1234/"),
        (f"rest:http://user:{'pjaoowpprooghjjjd' * 6}@hostname.foo:1234/", "rest:http://user:***@hostname.foo:1234/"),
        ("rest:http://user:password@hostname", "rest:http://user:***@hostname/"),
        ("rest:http://user:password@:123", "rest:http://user:***@:123/"),
        ("rest:http://user:password@", "rest:http://user:***@/"),
    ],
)
def test_a_rest_url_is_shown_as_restic_shows_it_without_the_slash_restic_adds(url: str, by_restic: str) -> None:
    assert location.shown(url) == (by_restic if url.endswith("/") else by_restic.removesuffix("/"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3:https://key:sesame@host/bucket", "s3:https://key:***@host/bucket"),
        ("s3:key:sesame@host:9000/bucket", "s3:key:***@host:9000/bucket"),
        ("rest:user:sesame@host:8000/", "rest:user:***@host:8000/"),
        ("sftp://user:sesame@host/dir", "sftp://user:***@host/dir"),
        ("https://user:sesame@host/", "https://user:***@host/"),
        ("rclone::s3,secret_access_key=sesame,region=r:b", "rclone::s3,secret_access_key=***,region=***:b"),
        ('rclone::sftp,pass="ses""sesame:,",host=h:d', "rclone::sftp,pass=***,host=***:d"),
        ("rclone::sftp,pass='ses''sesame':d", "rclone::sftp,pass=***:d"),
        ('rclone::sftp,pass="sesame:sesame', "rclone::sftp,pass=***"),
    ],
)
def test_credentials_are_shown_nowhere(url: str, shown: str) -> None:
    assert location.shown(url) == shown
    assert any("sesame" in password for password in location.passwords(url))


def test_what_looks_like_credentials_in_a_path_is_shown() -> None:
    for url in ("sftp:host:a@b", "s3:host:9000/a@b", "rest:http://host:8000/a@b", "local:a:b@c", "rclone:remote:a@b"):
        assert location.shown(url) == url


def test_a_doubled_quote_of_a_connection_string_is_known_in_both_ways() -> None:
    assert set(location.passwords('rclone::sftp,pass="a""b":d')) == {'a""b', 'a"b'}


def test_a_location_does_not_print_what_may_be_secret() -> None:
    assert "sesame" not in repr(location.parse("rest:https://user:sesame@host/"))
    assert "sesame" not in repr(location.parse("rclone::s3,secret_access_key=sesame:bucket"))
    assert "sesame" not in repr(location.parse("s3:https://key:sesame@host/bucket"))
    assert "sesame" not in repr(location.parse("sftp://user:sesame@host/dir"))


@pytest.mark.parametrize(
    ("identity", "urls"),
    [
        (
            "s3:h/b/p",
            [
                "s3:https://h/b/p/",
                "s3:h/b/p",
                "s3://H:443/b/x//../p",
                "s3:https://k:s@h/b/p?x",
                "s3:k:s@h/b/p",
                "s3:k:s/t@h/b/p",
            ],
        ),
        ("s3:h/b", ["s3:h/b", "s3:h/b/", "s3:h/b/.", "s3:https://h:443/b"]),
        ("s3:h/b//p", ["s3:h/b//p", "s3:h/b///p/"]),
        ("s3:http://h/b/p", ["s3:http://h/b/p", "s3:http://H:80/b/p"]),
        ("s3:[::1]:80/b", ["s3:https://[::1]:80/b"]),
        ("sftp://u@h//srv", ["sftp:u@H:/srv", "sftp://u@h//srv", "sftp://u:p@h:22//srv/", "sftp:u@h://srv/x/.."]),
        ("sftp://u@h:2222/srv", ["sftp://u@h:2222/srv"]),
        ("sftp://[::1]/srv", ["sftp://[::1]:22/srv"]),
        (
            "rest:https://h/u/",
            [
                "rest:https://h/u",
                "rest:https://a:b/c@h/u",
                "rest:https://a:b@H:443/u/",
                "rest:HTTPS://a@h/u",
            ],
        ),
        ("rest:http://h:8000/", ["rest:http://h:8000", "rest:http://a:b@h:8000/"]),
        ("rest:http+unix:///run/r.sock:/x/", ["rest:http+unix:///run/r.sock:/x"]),
        ("rclone:remote:path", ["rclone:remote:path"]),
        ("rclone::s3,key=***,region=***:b", ["rclone::s3,key=a,region=r:b", "rclone::s3,key='b:,',region=r:b"]),
        ("b2:foobar:/p", ["b2:foobar:p", "b2:foobar:/p/"]),
        ("azure:c:/", ["azure:c:", "azure:c:/", "azure:c:/."]),
        ("gs:c:/p", ["gs:c:p", "gs:c:/p/"]),
        ("swift:c:/p/q", ["swift:c:/p/q", "swift:c:/p//q/"]),
        ("local:/srv/repo", ["/srv/repo", "local:/srv//repo/", "//srv/x/../repo"]),
        ("https://u:***@h/", ["https://u:p@h/"]),
        ("rest:u:***@h/", ["rest:u:p@h/"]),
    ],
)
def test_one_repository_has_one_identity(identity: str, urls: list[str]) -> None:
    assert {location.identity(url) for url in urls} == {identity}


def test_a_relative_folder_is_another_repository_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert location.identity("repo") == location.identity("local:./repo/") == f"local:{tmp_path}/repo"
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert location.identity("repo/") == "local:repo"


def test_a_name_that_is_no_text_has_an_identity_that_can_be_stored() -> None:
    assert location.identity("/srv/\udcff") == "local:/srv/\\udcff"
    assert location.identity("sftp://host//srv/%ff") == "sftp://host//srv/\\udcff"


_PIECES = [
    "/",
    "//",
    ":",
    "@",
    "host",
    "~",
    "..",
    "%41",
    "%zz",
    "%",
    "?q",
    "#",
    "[::1]",
    "[",
    "]",
    ":22",
    "é",
    "\udcff",
    ",a=",
    "'",
    '"',
]
_PREFIXES = [
    "s3:",
    "s3:http://",
    "s3:https://",
    "sftp:",
    "sftp://",
    "rest:",
    "rest:https://",
    "rclone:",
    "swift:",
    "b2:",
    "",
    "x:",
]


@given(st.sampled_from(_PREFIXES), st.lists(st.sampled_from([*_PIECES, "bucket"]), max_size=8))
def test_no_url_is_an_accident(prefix: str, pieces: list[str]) -> None:
    url = prefix + "".join(pieces)
    location.identity(url).encode()
    try:
        location.parse(url)
    except ValueError as error:
        assert len(str(error)) < 120  # noqa: PT017  one of our sentences


@given(st.text(st.characters(exclude_characters="@", exclude_categories=["Z", "C"]), min_size=8))
def test_no_password_is_in_an_identity_or_a_reason(password: str) -> None:
    for before in ("rest:https://user", "rest:user", "s3:https://key", "s3:key", "sftp://user"):
        url = f"{before}:x{password}@host/bucket"
        assert f"x{password}" not in location.identity(url)
        try:
            location.parse(url)
        except ValueError as error:
            assert password not in str(error)  # noqa: PT017
