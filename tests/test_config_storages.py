"""From a block of the configuration to a storage: is there a password, and who asks whom with what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from configs import build, builder, problems
from restic_monitor.backends.local import Local
from restic_monitor.backends.rclone import Rclone
from restic_monitor.backends.rest import Rest
from restic_monitor.backends.s3 import S3
from restic_monitor.backends.s3.credentials import Keys
from restic_monitor.backends.sftp import Sftp
from restic_monitor.config.storages import NotListableError, Storages, options_of
from restic_monitor.http import Http, Tls
from restic_monitor.model import Repository
from restic_monitor.probes.listing import Listing
from restic_monitor.probes.restic import Restic

KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
BUCKET = "s3:https://host/bucket"
PLAIN = Tls()


# is there a password


@pytest.mark.parametrize(
    ("defaults", "own", "env", "expected"),
    [
        ("", "", {}, False),
        ("password: x", "", {}, True),
        ("", "password: x", {}, True),
        ("", "password_file: nowhere", {}, True),
        ("", "password_command: nothing that runs", {}, True),
        ("", "password: {from_file: nowhere}", {}, True),
        ("", "password: {from_env: NOWHERE}", {}, True),
        ("", "insecure_no_password: true", {}, True),
        ("", "insecure_no_password: false", {}, False),
        ("password: x", "insecure_no_password: false", {}, True),
        ("insecure_no_password: true", "insecure_no_password: false", {}, False),
        ("password: x", "password: null", {}, True),
        ("", "extra_env: {RESTIC_PASSWORD: x}", {}, True),
        ("", "extra_env: {RESTIC_PASSWORD: {from_file: nowhere}}", {}, True),
        ("", 'extra_env: {RESTIC_PASSWORD: ""}', {}, False),
        ("extra_env: {RESTIC_PASSWORD_COMMAND: x}", "", {}, True),
        ("extra_env: {RESTIC_PASSWORD_COMMAND: x}", "extra_env: {RESTIC_PASSWORD_COMMAND: null}", {}, False),
        ("extra_env: {RESTIC_PASSWORD_COMMAND: x}", 'extra_env: {RESTIC_PASSWORD: ""}', {}, False),
        ("", "", {"RESTIC_PASSWORD": "x"}, True),
        ("", "", {"RESTIC_PASSWORD_FILE": "nowhere"}, True),
        ("", "", {"RESTIC_PASSWORD_COMMAND": "nothing that runs"}, True),
        ("", "", {"RESTIC_PASSWORD": ""}, False),
        ("", "", {"RESTIC_PASSWORD": "", "RESTIC_PASSWORD_FILE": "nowhere"}, True),
        ("", "", {"RESTIC_FROM_PASSWORD": "x", "RESTIC_KEY_HINT": "x"}, False),
        ("", "extra_env: {RESTIC_PASSWORD: null}", {"RESTIC_PASSWORD": "x"}, False),
        ("", "extra_env: {RESTIC_PASSWORD: null}", {"RESTIC_PASSWORD_FILE": "x"}, True),
        ("", "pasword: x", {}, True),
        ("", "password: [x]", {}, True),
        ("", "extra_env: {RESTIC_PASSWORD: [x]}", {}, True),
    ],
)
def test_where_a_password_is_and_where_none_is(
    tmp_path: Path, defaults: str, own: str, env: Mapping[str, str], expected: bool
) -> None:
    text = f"defaults:\n  url: /srv\n  {defaults}\nrepositories:\n  web:\n    push_url: https://kuma/push\n    {own}\n"
    made = builder(tmp_path, text, env)
    assert made.surroundings.has_password(made.draft.repositories[0]) is expected
    assert not made.values.revealed, "nothing is read for it"


def test_an_environment_file_may_hold_the_password(tmp_path: Path) -> None:
    file = tmp_path / "environment"
    file.write_text("RESTIC_PASSWORD=x\n")
    made = builder(tmp_path, "repositories: {web: {url: /srv}}\n", {}, file)
    assert made.surroundings.has_password(made.draft.repositories[0])


# which part looks


def listing(repository: Repository) -> Listing:
    assert isinstance(repository.probe, Listing)
    return repository.probe


def test_fast_has_another_way_only_where_a_store_may_tell_no_times(tmp_path: Path) -> None:
    urls = {"local": "/srv", "s3": BUCKET, "sftp": "sftp:nas:/srv", "rest": "rest:http://host/", "rclone": "rclone:nas:srv"}
    text = "defaults: {mode: fast, password: x}\nrepositories:\n" + "".join(
        f'  {name}: {{url: "{url}"}}\n' for name, url in urls.items()
    )
    made = build(tmp_path, text, KEYS)
    assert {name: listing(each).times_needed for name, each in made.items()} == {
        name: name in ("rest", "rclone") for name in urls
    }
    assert {name for name, each in made.items() if each.otherwise} == {"rest", "rclone"}
    assert all(isinstance(each.otherwise.probe, Restic) for each in made.values() if each.otherwise)
    without = build(tmp_path, text.replace(", password: x", ""), KEYS)
    assert not any(each.otherwise or listing(each).times_needed for each in without.values())


def test_what_only_restic_needs_is_not_asked_of_a_listing(tmp_path: Path) -> None:
    text = "repositories:\n  web: {url: /srv, mode: listing, password_file: nowhere, restic: /nowhere/restic, cache_dir: /x}\n"
    assert problems(tmp_path, text) == []


def test_a_repository_without_an_address_still_shows_what_is_wrong_with_its_password(tmp_path: Path) -> None:
    text = "repositories:\n  web:\n    url: {from_env: NOWHERE}\n    password: {from_env: NOWHERE_ELSE}\n"
    assert problems(tmp_path, text) == [
        "line 3: repositories.web.url: the environment variable NOWHERE is not set",
        "line 4: repositories.web.password: the environment variable NOWHERE_ELSE is not set",
    ]


# restic's options


@pytest.mark.parametrize(
    ("url", "given", "expected"),
    [
        (BUCKET, [], {}),
        (BUCKET, ["s3.region=eu", "sftp.args=-v", "s3.bucket-lookup=dns"], {"s3.region": "eu", "s3.bucket-lookup": "dns"}),
        (BUCKET, ["s3.region=eu", "s3.region=us"], {"s3.region": "us"}),
        (BUCKET, ["s3.region="], {"s3.region": ""}),
        (BUCKET, ["s3x.region=eu"], {}),
        ("sftp:nas:/srv", ["sftp.command=ssh nas -o A=b"], {"sftp.command": "ssh nas -o A=b"}),
        (
            "rclone:nas:srv",
            ["rclone.program=/opt/rclone", "rclone.args=x"],
            {"rclone.program": "/opt/rclone", "rclone.args": "x"},
        ),
        ("/srv", ["local.layout=default", "s3.region=eu"], {"local.layout": "default"}),
        ("C:/srv", ["s3.region=eu"], {}),
    ],
)
def test_the_options_for_an_address(url: str, given: list[str], expected: Mapping[str, str]) -> None:
    assert options_of(url, given) == expected


# storages


def storages(**environment: str) -> Storages:
    return Storages(Http(environment))


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("/srv", Local),
        ("local:/srv", Local),
        (BUCKET, S3),
        ("s3:s3.amazonaws.com/bucket/prefix", S3),
        ("rest:http://host/", Rest),
        ("sftp:me@nas:/srv", Sftp),
        ("sftp://nas:2222//srv", Sftp),
        ("rclone:nas:srv", Rclone),
    ],
)
def test_the_storage_of_an_address(url: str, kind: type) -> None:
    assert isinstance(storages().storage(url, {}, KEYS, PLAIN), kind)


ROLE = "only restic assumes the role of RESTIC_AWS_ASSUME_ROLE_ARN"
SOCKET = "a rest-server behind a Unix socket cannot be listed yet"


@pytest.mark.parametrize(
    ("url", "environment", "reason"),
    [
        ("b2:bucket", {}, "b2 cannot be listed yet"),
        ("azure:container:/", {}, "azure cannot be listed yet"),
        ("gs:bucket:/", {}, "gs cannot be listed yet"),
        ("swift:container:/", {}, "swift cannot be listed yet"),
        (BUCKET, {"RESTIC_AWS_ASSUME_ROLE_ARN": "arn"}, ROLE),
        ("rest:http+unix:///run/rest.sock:/web/", {}, SOCKET),
        ("rest:HTTP+UNIX:///run/rest.sock:/web/", {}, SOCKET),
        ("rest:https+unix:///run/rest.sock:/web/", {}, SOCKET),
        (
            "rclone::s3,secret_access_key=canary:bucket",
            {},
            "the address holds a secret, which rclone would show in the list of processes",
        ),
    ],
)
def test_what_cannot_be_listed_says_why(url: str, environment: Mapping[str, str], reason: str) -> None:
    with pytest.raises(NotListableError) as error:
        storages().storage(url, {}, {**KEYS, **environment}, PLAIN)
    assert str(error.value) == reason


def test_an_empty_role_is_none(tmp_path: Path) -> None:
    assert isinstance(storages().storage(BUCKET, {}, {**KEYS, "RESTIC_AWS_ASSUME_ROLE_ARN": ""}, PLAIN), S3)


@pytest.mark.parametrize(
    ("url", "options", "environment", "sentence"),
    [
        ("foo:bar", {}, {}, "invalid backend"),
        (BUCKET, {}, {"AWS_ACCESS_KEY_ID": "id"}, "S3 needs a key ID and a secret key; AWS_SECRET_ACCESS_KEY is not set"),
        (BUCKET, {"s3.bucket-lookup": "guess"}, KEYS, "s3.bucket-lookup is 'guess'; it can be auto, dns, path"),
        ("sftp:nas:/srv", {"sftp.command": "ssh", "sftp.args": "-v"}, {}, "sftp.command and sftp.args are both set"),
    ],
)
def test_a_mistake_is_a_sentence(url: str, options: Mapping[str, str], environment: Mapping[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        storages().storage(url, options, environment, PLAIN)


def s3(made: Storages, options: Mapping[str, str] | None = None, **environment: str) -> S3:
    storage = made.storage(BUCKET, options or {}, {**KEYS, **environment}, PLAIN)
    assert isinstance(storage, S3)
    return storage


def rest(made: Storages, url: str = "rest:https://host/", tls: Tls = PLAIN, **environment: str) -> Rest:
    storage = made.storage(url, {}, environment, tls)
    assert isinstance(storage, Rest)
    return storage


def test_repositories_share_the_connections_unless_they_have_proxies_of_their_own() -> None:
    made = storages(https_proxy="http://proxy:3128", HOME="/root")
    same = s3(made, https_proxy="http://proxy:3128", HOME="/elsewhere")
    own = s3(made, https_proxy="http://other:3128")
    again = rest(made, https_proxy="http://other:3128", RESTIC_REST_USERNAME="u")
    none = s3(made)
    excepted = s3(made, https_proxy="http://proxy:3128", no_proxy="host")
    trusting = s3(made, https_proxy="http://proxy:3128", SSL_CERT_FILE="/ca.pem")
    assert same.web.http is made.http
    assert own.web.http is again.web.http
    https = [made.http, own.web.http, none.web.http, excepted.web.http, trusting.web.http]
    assert len({id(http) for http in https}) == 5
    assert own.web.http.environment == {"https_proxy": "http://other:3128"}
    assert own.web.http.connections == made.http.connections


def test_repositories_with_the_same_credentials_share_the_signer() -> None:
    made = storages()
    assert s3(made).signer is s3(made, AWS_DEFAULT_REGION="eu").signer
    assert s3(made).signer is not s3(made, AWS_SESSION_TOKEN="t").signer
    signer = s3(made, AWS_ACCESS_KEY_ID="other").signer
    assert signer
    assert isinstance(signer.source, Keys)
    assert signer.source.id == "other"


@pytest.mark.parametrize(("value", "signed"), [("true", False), ("1", False), ("T", False), ("false", True), ("", True)])
def test_a_bucket_may_be_open_to_everybody(value: str, signed: bool) -> None:
    assert bool(s3(storages(), {"s3.unsafe-anonymous-auth": value}).signer) is signed


@pytest.mark.parametrize(
    ("url", "environment", "login"),
    [
        ("rest:https://host/", {}, ("", "")),
        ("rest:https://u:p%40@host/", {}, ("u", "p@")),
        ("rest:https://host/", {"RESTIC_REST_USERNAME": "v", "RESTIC_REST_PASSWORD": "q"}, ("v", "q")),
        ("rest:https://u:p@host/", {"RESTIC_REST_USERNAME": "v", "RESTIC_REST_PASSWORD": "q"}, ("u", "p")),
        ("rest:https://u@host/", {"RESTIC_REST_USERNAME": "v", "RESTIC_REST_PASSWORD": "q"}, ("u", "")),
    ],
)
def test_who_asks_a_rest_server(url: str, environment: Mapping[str, str], login: tuple[str, str]) -> None:
    storage = rest(storages(), url, PLAIN, **environment)
    assert (storage.user, storage.password.reveal() if storage.password else "") == login
    assert storage.url == "https://host/"
    assert "p%40" not in repr(storage)


# TLS


@pytest.mark.parametrize(
    ("keys", "env", "expected"),
    [
        ("", {}, Tls()),
        ("cacert: ca.pem", {}, Tls(("{folder}/ca.pem",))),
        ("", {"RESTIC_CACERT": "/a.pem"}, Tls(("/a.pem",))),
        ("", {"RESTIC_CACERT": "/a.pem,,/b.pem"}, Tls(("/a.pem", "/b.pem"))),
        ("", {"RESTIC_CACERT": ""}, Tls()),
        ("cacert: ca.pem", {"RESTIC_CACERT": "/a.pem"}, Tls(("{folder}/ca.pem",))),
        ("tls_client_cert: me.pem", {}, Tls(client_cert="{folder}/me.pem")),
        ("", {"RESTIC_TLS_CLIENT_CERT": "/me.pem"}, Tls(client_cert="/me.pem")),
        ("tls_client_cert: me.pem", {"RESTIC_TLS_CLIENT_CERT": "/other.pem"}, Tls(client_cert="{folder}/me.pem")),
        ("insecure_tls: true", {}, Tls(insecure=True)),
        ("extra_env: {RESTIC_CACERT: /c.pem}", {"RESTIC_CACERT": "/a.pem"}, Tls(("/c.pem",))),
    ],
)
def test_whom_a_listing_trusts_and_who_it_is(tmp_path: Path, keys: str, env: Mapping[str, str], expected: Tls) -> None:
    for name in ("ca.pem", "me.pem"):
        (tmp_path / name).write_text("x")
    text = f"repositories:\n  web:\n    url: rest:https://host/\n    {keys}\n"
    storage = listing(build(tmp_path, text, env)["web"]).backend
    assert isinstance(storage, Rest)
    folder = str(tmp_path)
    cacerts = tuple(path.format(folder=folder) for path in expected.cacerts)
    client_cert = expected.client_cert and expected.client_cert.format(folder=folder)
    assert storage.web.tls == Tls(cacerts, client_cert, expected.insecure)


@pytest.mark.parametrize("mode", ["listing", "fast", "restic"])
@pytest.mark.parametrize("key", ["cacert", "tls_client_cert"])
def test_a_certificate_that_is_not_there_is_told_once_in_every_mode(tmp_path: Path, mode: str, key: str) -> None:
    text = f"repositories:\n  web:\n    url: rest:https://host/\n    mode: {mode}\n    password: x\n    {key}: nowhere.pem\n"
    assert problems(tmp_path, text) == [f"line 6: repositories.web.{key}: cannot read nowhere.pem: no such file or directory"]
