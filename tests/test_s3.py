"""S3: which host is asked, in whose name, and with how few requests. Against `rclone serve s3`, which checks signatures, and
small servers that answer as Amazon's does."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from msgspec.structs import replace

from restic_monitor import location
from restic_monitor.backends import Backend, BackendError, Entries, Entry, Kind
from restic_monitor.backends.s3.credentials import Keys, Process, Shared, find
from restic_monitor.backends.s3.endpoint import endpoint
from restic_monitor.config.storages import Storages
from restic_monitor.http import Http, Tls
from servers import S3
from standins import Asked, Object, Reply, Server, StandIn, answering, error, listing

SECRET = "S3cretThatNobodyMaySee0123456789abcdefgh"
ENV = {"AWS_ACCESS_KEY_ID": "AKIDSTANDIN", "AWS_SECRET_ACCESS_KEY": SECRET}
ID, OTHER = "ab" * 32, "cd" * 32
STORED = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


# Where: "S3 details" of restic's internal/backend/s3 and minio-go's s3utils


def where(url: str, *options: str, region: str = "") -> tuple[str, str, str]:
    """The address of a listing, how it is encrypted, and the region in whose name it is signed."""
    place = location.parse(url)
    assert isinstance(place, location.S3)
    given = dict(option.split("=") for option in options)
    found = endpoint(place, given, {"AWS_DEFAULT_REGION": region} if region else {})
    host, path = found.target(place.bucket, "", found.region)
    return found.scheme, host + path, found.region


# fmt: off
WHERE = [
    ("s3:https://minio.example.com:9000/b", (), "", ("https", "minio.example.com:9000/b", "us-east-1")),
    ("s3:http://minio.example.com/b/p", (), "", ("http", "minio.example.com/b", "us-east-1")),
    ("s3:minio.example.com/b", (), "", ("https", "minio.example.com/b", "us-east-1")),
    ("s3:https://MinIO.example.com/b", (), "", ("https", "minio.example.com/b", "us-east-1")),
    # the port that is meant anyway is neither sent nor signed
    ("s3:http://minio.example.com:80/b", (), "", ("http", "minio.example.com/b", "us-east-1")),
    ("s3:https://minio.example.com:443/b", (), "", ("https", "minio.example.com/b", "us-east-1")),
    ("s3:minio.example.com:443/b", (), "", ("https", "minio.example.com/b", "us-east-1")),
    ("s3:http://minio.example.com:443/b", (), "", ("http", "minio.example.com:443/b", "us-east-1")),
    ("s3:https://[::1]:443/b", (), "", ("https", "[::1]/b", "us-east-1")),
    ("s3:https://s3.eu-west-1.amazonaws.com:443/b", (), "", ("https", "b.s3.eu-west-1.amazonaws.com/", "eu-west-1")),
    ("s3:http://[::1]:9000/b", (), "", ("http", "[::1]:9000/b", "us-east-1")),
    # a region alone is a host to restic, too
    ("s3://eu-central-1/b", (), "", ("https", "eu-central-1/b", "us-east-1")),
    # the bucket in the host: where it is known to work, and not where the certificate would not fit
    ("s3:s3.amazonaws.com/b", (), "", ("https", "b.s3.amazonaws.com/", "us-east-1")),
    ("s3:s3.amazonaws.com/with.dot", (), "", ("https", "s3.amazonaws.com/with.dot", "us-east-1")),
    ("s3:http://s3.amazonaws.com/with.dot", (), "", ("http", "with.dot.s3.amazonaws.com/", "us-east-1")),
    ("s3:storage.googleapis.com/b", (), "", ("https", "b.storage.googleapis.com/", "us-east-1")),
    ("s3:oss-eu-central-1.aliyuncs.com/b", (), "", ("https", "b.oss-eu-central-1.aliyuncs.com/", "us-east-1")),
    ("s3:s3.eu-central-003.backblazeb2.com/b", (), "", ("https", "s3.eu-central-003.backblazeb2.com/b", "us-east-1")),
    ("s3:minio.example.com/b", ("s3.bucket-lookup=dns",), "", ("https", "b.minio.example.com/", "us-east-1")),
    ("s3:minio.example.com/b.c", ("s3.bucket-lookup=dns",), "", ("https", "b.c.minio.example.com/", "us-east-1")),
    ("s3:s3.amazonaws.com/b", ("s3.bucket-lookup=path",), "", ("https", "s3.amazonaws.com/b", "us-east-1")),
    ("s3:s3.amazonaws.com/b", ("s3.bucket-lookup=auto",), "", ("https", "b.s3.amazonaws.com/", "us-east-1")),
    ("s3:minio.example.com/b", ("s3.bucket-lookup=",), "", ("https", "minio.example.com/b", "us-east-1")),
    # the region: the option, AWS_DEFAULT_REGION, the name of Amazon's host, us-east-1
    ("s3:s3.eu-west-1.amazonaws.com/b", (), "", ("https", "b.s3.eu-west-1.amazonaws.com/", "eu-west-1")),
    ("s3:s3-eu-west-1.amazonaws.com/b", (), "", ("https", "b.s3-eu-west-1.amazonaws.com/", "eu-west-1")),
    ("s3:s3.dualstack.eu-west-1.amazonaws.com/b", (), "", ("https", "b.s3.dualstack.eu-west-1.amazonaws.com/", "eu-west-1")),
    ("s3:http://s3-fips.us-gov-west-1.amazonaws.com/b", (), "",
     ("http", "b.s3-fips.us-gov-west-1.amazonaws.com/", "us-gov-west-1")),
    ("s3:http://s3-fips-us-gov-west-1.amazonaws.com/b", (), "",
     ("http", "b.s3-fips-us-gov-west-1.amazonaws.com/", "us-gov-west-1")),
    ("s3:s3.cn-north-1.amazonaws.com.cn/b", (), "", ("https", "b.s3.cn-north-1.amazonaws.com.cn/", "cn-north-1")),
    ("s3:s3-external-1.amazonaws.com/b", (), "", ("https", "b.s3-external-1.amazonaws.com/", "us-east-1")),
    ("s3:s3.amazonaws.com/b", (), "eu-west-1", ("https", "b.s3.dualstack.eu-west-1.amazonaws.com/", "eu-west-1")),
    ("s3:s3.amazonaws.com/b", ("s3.region=eu-west-2",), "eu-west-1",
     ("https", "b.s3.dualstack.eu-west-2.amazonaws.com/", "eu-west-2")),
    ("s3:s3.eu-west-1.amazonaws.com/b", (), "eu-west-1", ("https", "b.s3.eu-west-1.amazonaws.com/", "eu-west-1")),
    ("s3:s3.eu-west-1.amazonaws.com/b", (), "us-east-2", ("https", "b.s3.dualstack.us-east-2.amazonaws.com/", "us-east-2")),
    ("s3:minio.example.com/b", (), "garage", ("https", "minio.example.com/b", "garage")),
    ("s3:minio.example.com/b", ("s3.region=garage",), "other", ("https", "minio.example.com/b", "garage")),
    # no host of Amazon's
    ("s3:s3.amazonaws.com.example.com/b", (), "", ("https", "s3.amazonaws.com.example.com/b", "us-east-1")),
    ("s3:nots3.eu-west-1.amazonaws.com/b", (), "", ("https", "nots3.eu-west-1.amazonaws.com/b", "us-east-1")),
]
# fmt: on


@pytest.mark.parametrize(("url", "options", "region", "expected"), WHERE)
def test_the_host_and_the_region_are_those_that_restic_asks(
    url: str, options: tuple[str, ...], region: str, expected: tuple[str, str, str]
) -> None:
    assert where(url, *options, region=region) == expected


def test_a_region_in_AWS_REGION_does_not_count_as_with_restic() -> None:  # noqa: N802
    place = location.parse("s3:minio.example.com/b")
    assert isinstance(place, location.S3)
    assert endpoint(place, {}, {"AWS_REGION": "eu-west-1"}).region == "us-east-1"


def test_a_style_of_looking_up_that_does_not_exist_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=re.escape("s3.bucket-lookup is 'virtual'; it can be auto, dns, path")):
        where("s3:minio.example.com/b", "s3.bucket-lookup=virtual")


# In whose name


def test_keys_have_the_names_that_restic_knows_and_the_first_pair_counts() -> None:
    aws = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    old = {"AWS_ACCESS_KEY": "c", "AWS_SECRET_KEY": "d"}
    root = {"MINIO_ROOT_USER": "e", "MINIO_ROOT_PASSWORD": "f"}
    user = {"MINIO_ACCESS_KEY": "g", "MINIO_SECRET_KEY": "h"}
    for environment, expected in [
        (aws, ("a", "b")),
        (old, ("c", "d")),
        (root, ("e", "f")),
        (user, ("g", "h")),
        ({**user, **root}, ("e", "f")),
        ({**user, **root, **old}, ("c", "d")),
        ({**user, **root, **old, **aws}, ("a", "b")),
        ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_KEY": "d"}, ("a", "d")),
        ({**aws, "AWS_PROFILE": "other"}, ("a", "b")),
    ]:
        found = find({"HOME": "/nonexistent", **environment})
        assert isinstance(found, Keys)
        assert (found.id, found.secret.reveal()) == expected


@pytest.mark.parametrize(
    ("environment", "lacking"),
    [
        ({"AWS_ACCESS_KEY_ID": "a"}, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_SECRET_ACCESS_KEY": "b"}, "AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": ""}, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "a", "MINIO_ROOT_PASSWORD": "f"}, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "a", "MINIO_ROOT_USER": "e", "MINIO_ROOT_PASSWORD": "f"}, "AWS_SECRET_ACCESS_KEY"),
        ({"MINIO_ROOT_USER": "e"}, "MINIO_ROOT_PASSWORD"),
        ({"MINIO_SECRET_KEY": "h"}, "MINIO_ACCESS_KEY"),
    ],
)
def test_half_a_pair_of_keys_is_a_mistake_that_names_the_other_half(environment: Mapping[str, str], lacking: str) -> None:
    with pytest.raises(ValueError, match=f"S3 needs a key ID and a secret key; {lacking} is not set"):
        find(environment)


def test_a_session_token_belongs_to_amazons_keys() -> None:
    token = {"AWS_SESSION_TOKEN": "t"}
    amazon, minio = find({**ENV, **token}), find({"MINIO_ROOT_USER": "e", "MINIO_ROOT_PASSWORD": "f", **token})
    assert isinstance(amazon, Keys)
    assert amazon.token
    assert isinstance(minio, Keys)
    assert minio.token is None


def test_without_keys_the_shared_files_count_where_there_are_any_else_what_the_machine_has(tmp_path: Path) -> None:
    assert find({"HOME": str(tmp_path)}) == Process()
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").touch()
    credentials, config = str(tmp_path / ".aws" / "credentials"), str(tmp_path / ".aws" / "config")
    assert find({"HOME": str(tmp_path)}) == Shared("default", credentials, config, named=False)
    assert find({"HOME": str(tmp_path), "AWS_PROFILE": "x"}) == Shared("x", credentials, config, named=True)
    elsewhere = {"AWS_SHARED_CREDENTIALS_FILE": "/c", "AWS_CONFIG_FILE": "/d"}
    assert find({"HOME": str(tmp_path), **elsewhere}) == Shared("default", "/c", "/d", named=True)


@contextmanager
def store(*keys: str, **rules: Any) -> Iterator[tuple[Server, StandIn]]:
    """A server with these keys in its bucket `b`."""
    answer = StandIn({"b": lambda: {key: Object(f"content of {key}".encode(), STORED) for key in keys}}, **rules)
    with answering(answer) as server:
        yield server, answer


REPOSITORY = ("config", "data/00/x", f"data/ab/{ID}", f"index/{ID}", f"keys/{ID}", f"locks/{ID}", f"snapshots/{ID}")
COUNTS = [f"keys/{ID}", f"locks/{ID}", f"snapshots/{ID}"]


def backend(url: str, env: Mapping[str, str] = ENV, storages: Storages | None = None, **options: str) -> Backend:
    given = {f"s3.{name.replace('_', '-')}": value for name, value in options.items()}
    return (storages or Storages(Http({}))).storage(url, given, {"HOME": "/nonexistent", **env}, Tls())


def entries(storage: Backend, folder: str = "", seconds: float = 10) -> Entries:
    return storage.list(folder, time.monotonic() + seconds)


def names(storage: Backend, folder: str = "", seconds: float = 10) -> list[str]:
    return [entry.name for entry in entries(storage, folder, seconds)]


def problem(work: Callable[[], object]) -> tuple[Kind, str]:
    with pytest.raises(BackendError) as caught:
        work()
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r}"
    return caught.value.kind, caught.value.message


def refused(storage: Backend) -> tuple[Kind, str]:
    """Kind and message, the server's port left out."""
    kind, message = problem(lambda: names(storage))
    return kind, re.sub(r"127\.0\.0\.1:\d+", "HOST", message)


def test_keys_of_every_name_are_accepted_by_a_server_that_checks_signatures(s3: S3) -> None:
    (s3.folder / "credentials" / "keys").mkdir(parents=True)
    (s3.folder / "credentials" / "keys" / ID).touch()
    time.sleep(0.2)
    for key_id, secret in [
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_ACCESS_KEY", "AWS_SECRET_KEY"),
        ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"),
        ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"),
    ]:
        assert names(backend(s3.location("credentials"), {key_id: s3.key_id, secret: s3.secret})) == [f"keys/{ID}"]


def test_two_repositories_of_one_run_have_profiles_of_their_own(s3: S3, tmp_path: Path) -> None:
    (s3.folder / "profiles" / "keys").mkdir(parents=True)
    (s3.folder / "profiles" / "keys" / ID).touch()
    time.sleep(0.2)
    shared = tmp_path / "credentials"
    shared.write_text(
        f"[default]\naws_access_key_id = {s3.key_id}\naws_secret_access_key = {s3.secret}\n"
        f"[other]\naws_access_key_id = {s3.key_id}\naws_secret_access_key = {SECRET}\n"
    )
    config = tmp_path / "config"
    config.write_text(f"[profile third]\naws_access_key_id = {s3.key_id}\naws_secret_access_key = {s3.secret}\n")
    env = {"AWS_SHARED_CREDENTIALS_FILE": str(shared), "AWS_CONFIG_FILE": str(config)}
    storages, url = Storages(Http({})), s3.location("profiles")
    assert names(backend(url, env, storages)) == [f"keys/{ID}"]
    assert names(backend(url, {**env, "AWS_PROFILE": "third"}, storages)) == [f"keys/{ID}"]
    assert refused(backend(url, {**env, "AWS_PROFILE": "other"}, storages)) == (
        Kind.DENIED,
        "the secret key (AWS_SECRET_ACCESS_KEY) is not the one that HOST knows",
    )
    kind, message = refused(backend(url, {**env, "AWS_PROFILE": "absent"}, storages))
    assert (kind, message) == (Kind.DENIED, f"no credentials for S3: the profile absent in {shared} gives none")


@pytest.mark.parametrize("text", [None, "", "[other]\nregion = x\n", "[default]\nregion = x\n", "\xff\0[[["])
@pytest.mark.parametrize("named", [True, False])
def test_shared_files_that_are_not_there_or_hold_nothing_are_said_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, *, named: bool
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / ".aws").mkdir()
    if text is not None:
        (tmp_path / ".aws" / "config").write_text(text)
    env = {"HOME": str(tmp_path), **({"AWS_PROFILE": "default"} if named else {})}
    kind, message = refused(backend("s3:http://127.0.0.1:9/b", env))
    assert kind is Kind.DENIED
    assert message.startswith("no credentials for S3: ")


def test_a_home_folder_with_shared_files_is_enough(s3: S3, tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    text = f"[default]\naws_access_key_id = {s3.key_id}\naws_secret_access_key = {s3.secret}\n"
    (tmp_path / ".aws" / "credentials").write_text(text)
    (s3.folder / "at-home").mkdir()
    time.sleep(0.2)
    assert names(backend(s3.location("at-home"), {"HOME": str(tmp_path)})) == []


def test_the_session_token_is_sent_and_signed() -> None:
    with store(*REPOSITORY) as (server, _):
        assert names(backend(f"s3:{server.url}/b", {**ENV, "AWS_SESSION_TOKEN": "t0ken"})) == COUNTS
        (asked,) = server.asked
        assert asked.headers["x-amz-security-token"] == "t0ken"
        assert "x-amz-security-token" in asked.headers["authorization"]


def test_without_any_credentials_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with store(*REPOSITORY) as (server, _):
        advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
        advice += "or restic_options: [s3.unsafe-anonymous-auth=true]"
        assert refused(backend(f"s3:{server.url}/b", {})) == (Kind.DENIED, f"no credentials for S3: {advice}")
        assert server.asked == ()


@pytest.mark.parametrize("shared", [False, True])
def test_keys_of_the_process_are_not_used_for_a_repository_that_has_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, shared: bool
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDSTANDIN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / ".aws").mkdir()
    if shared:
        (tmp_path / ".aws" / "config").write_text("[default]\nregion = x\n")
    with store(*REPOSITORY) as (server, _):
        kind, message = refused(backend(f"s3:{server.url}/b", {"HOME": str(tmp_path)}))
        assert kind is Kind.DENIED
        if not shared:
            reason = "it is not to use AWS_ACCESS_KEY_ID of our environment, and has none of its own"
            assert message == f"no keys are left for this repository: {reason}"
        assert server.asked == ()


def test_anonymous_requests_are_not_signed() -> None:
    with store(*REPOSITORY, anonymous=True) as (server, _):
        assert names(backend(f"s3:{server.url}/b", ENV, unsafe_anonymous_auth="true")) == COUNTS
        assert "authorization" not in server.asked[0].headers
    with store(*REPOSITORY) as (server, _):
        kind, message = refused(backend(f"s3:{server.url}/b", {}, unsafe_anonymous_auth="1"))
        assert (kind, message) == (Kind.DENIED, "HOST does not let these credentials list in the bucket b (403 AccessDenied)")


def test_a_key_that_nobody_knows_and_a_bucket_that_is_none_have_their_sentences(s3: S3) -> None:
    with store(*REPOSITORY) as (server, _):
        unknown = backend(f"s3:{server.url}/b", {**ENV, "AWS_ACCESS_KEY_ID": "AKIDUNKNOWN"})
        assert refused(unknown) == (Kind.DENIED, "HOST does not know the key ID (AWS_ACCESS_KEY_ID)")
        assert refused(backend(f"s3:{server.url}/none")) == (Kind.MISSING, "there is no bucket none at HOST")
    assert refused(backend(s3.location("none"), s3.env)) == (Kind.MISSING, "there is no bucket none at HOST")
    wrong = {**s3.env, "AWS_SECRET_ACCESS_KEY": SECRET}
    message = "the secret key (AWS_SECRET_ACCESS_KEY) is not the one that HOST knows"
    assert refused(backend(s3.location("none"), wrong)) == (Kind.DENIED, message)


@pytest.mark.parametrize(
    ("code", "status", "kind", "message"),
    [
        ("ExpiredToken", 400, Kind.DENIED, "the session token (AWS_SESSION_TOKEN) has expired; HOST wants a new one"),
        ("InvalidToken", 400, Kind.DENIED, "HOST does not accept the session token (AWS_SESSION_TOKEN)"),
        ("RequestTimeTooSkewed", 403, Kind.REFUSED, "the clock of this machine differs too much from that of HOST"),
        ("AllAccessDisabled", 403, Kind.DENIED, "HOST has disabled all access to the bucket b"),
        ("InvalidBucketName", 400, Kind.REFUSED, "b is no name of a bucket to HOST"),
        ("AuthorizationHeaderMalformed", 400, Kind.REFUSED, "HOST wants another region; set AWS_DEFAULT_REGION or s3.region"),
        ("NotImplemented", 501, Kind.REFUSED, "HOST refused the request (501 NotImplemented)"),
        ("<b>&amp;evil\u202e", 400, Kind.REFUSED, "HOST refused the request (400)"),
    ],
)
def test_what_s3_answers_is_said_in_words(code: str, status: int, kind: Kind, message: str) -> None:
    with answering(lambda _: error(status, code)) as server:
        assert refused(backend(f"s3:{server.url}/b")) == (kind, message)


# How few requests


def test_one_request_sees_keys_locks_and_snapshots() -> None:
    with store(*REPOSITORY) as (server, _):
        assert names(backend(f"s3:{server.url}/b")) == COUNTS
        (asked,) = server.asked
        assert asked.query == {"list-type": "2", "start-after": "index0", "encoding-type": "url"}


def test_one_request_sees_them_below_a_prefix_too() -> None:
    keys = (*(f"p/{key}" for key in REPOSITORY), f"p2/snapshots/{OTHER}", f"snapshots/{OTHER}", f"p/p/snapshots/{OTHER}")
    with store(*keys) as (server, _):
        assert names(backend(f"s3:{server.url}/b/p/")) == COUNTS
        (asked,) = server.asked
        assert asked.query == {"list-type": "2", "prefix": "p/", "start-after": "p/index0", "encoding-type": "url"}


def test_a_trailing_slash_a_double_one_and_a_prefix_that_begins_with_one_are_the_keys_that_restic_writes() -> None:
    for url, base in [("b/", ""), ("b/p//", "p/"), ("b/p//q/", "p/q/"), ("b//p", "/p/"), ("b/p/../q", "q/")]:
        with store(*(f"{base}{key}" for key in REPOSITORY)) as (server, _):
            assert names(backend(f"s3:{server.url}/{url}")) == COUNTS
            assert names(backend(f"s3:{server.url}/{url}"), "snapshots") == [f"snapshots/{ID}"]


def test_data_and_index_cost_nothing_however_large_they_are() -> None:
    many = [f"data/{number % 256:02x}/{number:064x}" for number in range(5000)]
    with store(*many, *REPOSITORY) as (server, _):
        assert names(backend(f"s3:{server.url}/b")) == COUNTS
        assert len(server.asked) == 1


def test_a_thousand_strangers_between_the_folders_are_skipped_not_listed() -> None:
    strangers = [
        f"{folder}/{number:06}" for folder in ("j", "keysmith", "lost+found", "snapshots-old", "x") for number in range(900)
    ]
    with store(*REPOSITORY, *strangers, page=100) as (server, _):
        assert names(backend(f"s3:{server.url}/b")) == COUNTS
        assert len(server.asked) <= 5


def test_pages_within_a_folder_are_followed_and_each_file_is_seen_once() -> None:
    snapshots = [f"snapshots/{number:064x}" for number in range(95)]
    with store("config", f"keys/{ID}", *snapshots, "snapshots0/x", "zoo/y", page=10) as (server, _):
        assert names(backend(f"s3:{server.url}/b")) == [f"keys/{ID}", *snapshots]
        assert len(server.asked) == 10


def test_a_server_that_does_not_know_start_after_is_asked_for_each_folder() -> None:
    snapshots = [f"snapshots/{number:064x}" for number in range(25)]
    with store(*REPOSITORY, *snapshots, page=10, start_after=False) as (server, _):
        assert sorted(names(backend(f"s3:{server.url}/b"))) == sorted([*COUNTS, *snapshots])
        assert [asked.query.get("prefix") for asked in server.asked] == [None, *["snapshots/"] * 3, "locks/", "keys/"]


def test_a_last_page_that_ends_with_a_stranger_is_the_last_request() -> None:
    with store("config", f"keys/{ID}", "zoo") as (server, _):
        assert names(backend(f"s3:{server.url}/b")) == [f"keys/{ID}"]
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        (None, (Kind.MALFORMED, "HOST lists files again that it was told to leave out (start-after)")),
        (
            error(403, "AccessDenied"),
            (Kind.DENIED, "HOST does not let these credentials list in the bucket b (403 AccessDenied)"),
        ),
    ],
)
def test_no_file_comes_twice_where_a_later_page_is_denied_or_begins_anew(
    then: Reply | None, expected: tuple[Kind, str]
) -> None:
    keys = (f"keys/{ID}", "kind", f"locks/{ID}", f"snapshots/{ID}")
    objects = {key: Object(b"", STORED) for key in keys}
    knows, forgets = (StandIn({"b": lambda: objects}, page=2, start_after=known) for known in (True, False))

    def answer(asked: Asked) -> Reply:
        if asked.query.get("start-after") == "index0":
            return knows(asked)
        return forgets(asked) if then is None or asked.query.get("prefix") else then

    with answering(answer) as server:
        found: list[str] = []
        storage = backend(f"s3:{server.url}/b")
        with pytest.raises(BackendError) as caught:
            found.extend(entry.name for entry in entries(storage))
        assert (caught.value.kind, re.sub(r"127\.0\.0\.1:\d+", "HOST", caught.value.message)) == expected
        assert len(server.asked) == 2


def test_a_server_that_forgets_start_after_behind_a_page_of_markers_is_found_out_too() -> None:
    markers = [f"a/{number}/" for number in range(10)]
    with store(*markers, *REPOSITORY, page=10, start_after=False) as (server, _):
        assert sorted(names(backend(f"s3:{server.url}/b"))) == COUNTS
        assert len(server.asked) == 5


def test_a_policy_that_allows_the_three_folders_only_is_enough() -> None:
    allowed = ("p/keys/", "p/locks/", "p/snapshots/")
    with store(*(f"p/{key}" for key in REPOSITORY), may=lambda name: name.startswith(allowed)) as (server, _):
        storage = backend(f"s3:{server.url}/b/p")
        found = entries(storage)
        assert sorted(entry.name for entry in found) == COUNTS
        assert found.denied == set()
        assert len(server.asked) == 4
        assert storage.read(f"snapshots/{ID}", time.monotonic() + 5, 100) == f"content of p/snapshots/{ID}".encode()


def test_a_policy_that_allows_the_snapshots_only_is_enough_and_what_was_not_seen_is_told() -> None:
    def may(name: str) -> bool:
        return name == "snapshots/"

    with store(*REPOSITORY, may=may) as (server, _):
        storage = backend(f"s3:{server.url}/b")
        found = entries(storage)
        assert [entry.name for entry in found] == [f"snapshots/{ID}"]
        assert found.denied == {"keys", "locks"}
        kind, message = problem(lambda: storage.read(f"snapshots/{ID}", time.monotonic() + 5, 100))
        assert kind is Kind.DENIED
        assert f"does not let these credentials read snapshots/{ID} in the bucket b (403 AccessDenied)" in message


def test_a_policy_that_hides_the_snapshots_is_a_denial_after_two_requests() -> None:
    with store(*REPOSITORY, may=lambda name: name in ("keys/", "locks/")) as (server, _):
        assert refused(backend(f"s3:{server.url}/b"))[0] is Kind.DENIED
        assert len(server.asked) == 2


def test_folder_markers_are_left_out() -> None:
    with store("keys/", "locks/", "snapshots/", *REPOSITORY) as (server, _):
        assert names(backend(f"s3:{server.url}/b")) == COUNTS
        assert names(backend(f"s3:{server.url}/b"), "snapshots") == [f"snapshots/{ID}"]


@pytest.mark.parametrize("encodes", [True, False])
def test_names_are_exact_whether_or_not_the_server_escapes_them(*, encodes: bool) -> None:
    strange = ["snapshots/+", "snapshots/a b+c", "snapshots/a&b<c>", "snapshots/ü%41", "snapshots/ü☂"]
    with store(*strange, encodes=encodes) as (server, _):
        assert names(backend(f"s3:{server.url}/b")) == strange
    if encodes:  # XML has no way to write this one
        with store("snapshots/\x01\n") as (server, _):
            assert names(backend(f"s3:{server.url}/b")) == ["snapshots/\x01\n"]


def test_a_file_has_its_size_its_time_and_its_storage_class() -> None:
    with store("config", f"snapshots/{ID}") as (server, _):
        (entry,) = entries(backend(f"s3:{server.url}/b"))
        assert entry == Entry(f"snapshots/{ID}", len(f"content of snapshots/{ID}"), STORED, "STANDARD")


@pytest.mark.parametrize(
    "written",
    [
        "2026-03-01T12:30:00.000Z",
        "2026-03-01T12:30:00Z",
        "2026-03-01T12:30:00",
        "2026-03-01T14:30:00+02:00",
        "2026-03-01T12:30:00.000000000Z",
    ],
)
def test_a_time_is_read_however_precise_it_is_and_without_a_zone_it_is_utc(written: str) -> None:
    content = f"<Contents><Key>keys/x</Key><LastModified>{written}</LastModified><Size>1</Size></Contents>"
    with answering(lambda _: Reply(200, listing(content))) as server:
        (entry,) = entries(backend(f"s3:{server.url}/b"))
        assert entry == Entry("keys/x", 1, STORED)


def test_a_listing_without_a_namespace_is_one_too() -> None:
    body = b"<ListBucketResult><Contents><Key>keys/x</Key><LastModified>2026-03-01T12:30:00Z</LastModified><Size>1</Size>"
    with answering(lambda _: Reply(200, body + b"</Contents></ListBucketResult>")) as server:
        assert names(backend(f"s3:{server.url}/b")) == ["keys/x"]


@pytest.mark.parametrize("prefix", ["web server", "a+b&c=d", "100%25", "~!$'()*,;:@", "ünï/☂"])
def test_prefixes_with_other_characters_are_signed_as_a_server_that_checks_wants_it(s3: S3, prefix: str) -> None:
    bucket = f"prefix-{prefix.encode().hex()}"
    folder = s3.folder / bucket / prefix / "snapshots"
    folder.mkdir(parents=True)
    (folder / ID).write_bytes(b"content")
    time.sleep(0.2)
    storage = backend(f"{s3.location(bucket)}/{quote(prefix)}", s3.env)
    assert names(storage) == [f"snapshots/{ID}"]
    assert storage.read(f"snapshots/{ID}", time.monotonic() + 5, 100) == b"content"


def test_a_prefix_that_is_no_utf8_is_asked_for_as_it_is() -> None:
    def answer(asked: Asked) -> Reply:
        prefix = "%FF/x/"
        if "list-type" not in asked.target:
            return Reply(200, b"content") if asked.target == f"/b/{prefix}snapshots/{ID}" else error(404, "NoSuchKey")
        key = f"<Key>{prefix}snapshots/{ID}</Key><LastModified>2026-03-01T12:30:00Z</LastModified><Size>1</Size>"
        return Reply(200, listing(f"<EncodingType>url</EncodingType><Contents>{key}</Contents>"))

    with answering(answer) as server:
        storage = backend(f"s3:{server.url}/b/%FF/x")
        assert names(storage) == [f"snapshots/{ID}"]
        assert "prefix=%FF%2Fx%2F" in server.asked[0].target
        assert storage.read(f"snapshots/{ID}", time.monotonic() + 5, 100) == b"content"
        kind, message = problem(lambda: storage.read("config", time.monotonic() + 5, 100))
        assert (kind, message) == (Kind.MISSING, f"there is no ?/x/config in the bucket b at {server.address}")


def test_the_clock_of_the_store_is_compared_with_ours() -> None:
    def late(asked: Asked) -> Reply:
        date = datetime.now(UTC) + timedelta(hours=2)
        return Reply(200, listing(""), {"Date": f"{date:%a, %d %b %Y %H:%M:%S GMT}"})

    with answering(late) as server:
        found = entries(backend(f"s3:{server.url}/b"))
        assert list(found) == []
        assert found.skew
        assert abs(found.skew - timedelta(hours=2)) < timedelta(seconds=2)
    for date in ("", "yesterday", "Mon, 99 Foo 0000 00:00:00 GMT"):
        with answering(lambda _, date=date: Reply(200, listing(""), {"Date": date})) as server:  # type: ignore[misc]
            found = entries(backend(f"s3:{server.url}/b"))
            assert list(found) == []
            assert found.skew is None


# Pages that do not end


def _page(token: str, key: str = "") -> Reply:
    content = (
        f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00Z</LastModified><Size>1</Size></Contents>" if key else ""
    )
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
    return Reply(200, listing(content + more))


@pytest.mark.parametrize("tokens", [1, 2, 7])
def test_tokens_that_go_round_in_a_circle_are_found_out(tokens: int) -> None:
    def circle(asked: Asked) -> Reply:
        return _page(str((int(asked.query.get("continuation-token", 0)) + 1) % tokens))

    with answering(circle) as server:
        assert refused(backend(f"s3:{server.url}/b")) == (Kind.MALFORMED, "the listing of HOST does not come to an end")
        assert len(server.asked) <= tokens + 2


def test_a_page_that_is_not_the_last_and_has_no_token_is_malformed() -> None:
    with answering(lambda _: Reply(200, listing("<IsTruncated>true</IsTruncated>"))) as server:
        assert refused(backend(f"s3:{server.url}/b")) == (Kind.MALFORMED, "HOST leaves out how its listing goes on")


# The right region


@pytest.mark.parametrize("status", [301, 307, 400])
def test_the_region_that_the_store_names_is_asked_once_found_for_all_that_follows(status: int) -> None:
    with store(*REPOSITORY, region="eu-central-1", redirect=status) as (server, _):
        storage = backend(f"s3:{server.url}/b")
        assert names(storage) == COUNTS
        assert storage.read("config", time.monotonic() + 5, 100) == b"content of config"
        regions = [asked.headers["authorization"].split("/")[2] for asked in server.asked]
        assert regions == ["us-east-1", "eu-central-1", "eu-central-1"]


def test_a_region_that_is_set_is_asked_first() -> None:
    with store(*REPOSITORY, region="eu-central-1") as (server, _):
        assert names(backend(f"s3:{server.url}/b", region="eu-central-1")) == COUNTS
        assert names(backend(f"s3:{server.url}/b", {**ENV, "AWS_DEFAULT_REGION": "eu-central-1"})) == COUNTS
        assert len(server.asked) == 2


def test_a_store_that_names_one_region_after_the_other_is_asked_twice() -> None:
    count = iter(range(100))

    def fickle(asked: Asked) -> Reply:
        return error(301, "PermanentRedirect", **{"x-amz-bucket-region": f"eu-west-{next(count)}"})

    with answering(fickle) as server:
        message = "HOST says the bucket b is at another address; write that in url"
        assert refused(backend(f"s3:{server.url}/b")) == (Kind.REFUSED, message)
        assert len(server.asked) == 2


@pytest.mark.parametrize("region", ["evil.example.com/", "eu west", "@evil", "x" * 50, "EU"])
def test_a_region_that_is_none_is_not_believed(region: str) -> None:
    with answering(lambda _: error(301, "PermanentRedirect", **{"x-amz-bucket-region": region})) as server:
        assert refused(backend(f"s3:{server.url}/b"))[0] is Kind.REFUSED
        assert len(server.asked) == 1


def test_a_redirect_to_another_host_is_not_followed() -> None:
    with store(*REPOSITORY) as (other, _):
        with answering(lambda asked: Reply(302, b"", {"Location": f"{other.url}{asked.target}"})) as server:
            kind, message = refused(backend(f"s3:{server.url}/b"))
        assert (kind, message) == (Kind.REFUSED, "HOST redirects to another address (302); write that in url")
        assert other.asked == ()


def test_amazons_other_region_has_another_host() -> None:
    place = location.parse("s3:s3.amazonaws.com/b")
    assert isinstance(place, location.S3)
    found = endpoint(place, {}, {})
    assert found.target("b", "config", "eu-west-1") == ("b.s3.dualstack.eu-west-1.amazonaws.com", "/config")
    assert replace(found, bucket_in_host=False).target("b", "k ü+~", "us-east-1") == ("s3.amazonaws.com", "/b/k%20%C3%BC%2B~")
