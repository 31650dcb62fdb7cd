"""rclone: the real one on a folder and on a real S3 server, and small programs that answer as it does elsewhere."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from conftest import Unprivileged
from looks import script
from proxy import Proxy
from restic_monitor.backends import Backend, BackendError, Entry, Kind
from restic_monitor.backends.rclone import Rclone
from restics import Backup, make_repository, require
from servers import S3
from sockets import raw

ID = "ab" * 32
STORED = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
ENVIRONMENT = {"PATH": os.environ["PATH"], "RCLONE_CONFIG": ""}
"""No configuration file, whatever this user has."""


def on_disk(path: str | Path, program: str = "", **environment: str) -> Rclone:
    return Rclone(str(path), {**ENVIRONMENT, **environment}, program or str(require("rclone")))


def on_s3(server: S3, path: str, **environment: str) -> Rclone:
    """The remote `store`, which is defined by the environment alone."""
    settings = {"TYPE": "s3", "PROVIDER": "Rclone", "ENDPOINT": server.endpoint}
    settings |= {"ACCESS_KEY_ID": server.key_id, "SECRET_ACCESS_KEY": server.secret}
    variables = {f"RCLONE_CONFIG_STORE_{name}": value for name, value in settings.items()}
    return on_disk(f"store:{path}", **{**variables, **environment})


def said(path: Path, text: str = "", status: int = 1, stdout: str = "") -> Rclone:
    """A program that says this instead."""
    code = f"#!/bin/sh\nprintf %s {shlex.quote(stdout)}\nprintf %s {shlex.quote(text)} >&2\nexit {status}\n"
    return on_disk("cloud:repo", str(script(path / "rclone", code)))


def some_repository(path: Path) -> Path:
    for name in ("config", f"keys/{ID}", f"snapshots/{ID}", f"index/{ID}", f"data/ab/{ID}", f"data/cd/{ID}"):
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"content of {name}")
        os.utime(file, (0, STORED.timestamp()))
    (path / "locks").mkdir()
    return path


SEEN = ["config", f"keys/{ID}", f"snapshots/{ID}"]


def names(backend: Backend, folder: str = "", seconds: float = 30) -> list[str]:
    return sorted(entry.name for entry in backend.list(folder, time.monotonic() + seconds))


def read(backend: Backend, name: str, limit: int = 1_000_000, seconds: float = 30) -> bytes:
    return backend.read(name, time.monotonic() + seconds, limit)


def problem(work: Callable[[], object]) -> tuple[Kind, str]:
    with pytest.raises(BackendError) as error:
        work()
    return error.value.kind, error.value.message


# What is seen


def test_a_look_at_a_real_repository_on_s3(s3: S3) -> None:
    repository = make_repository(s3.folder / "rclone-look/repo", snapshots=[Backup(datetime(2026, 2, 1, tzinfo=UTC))])
    backend = on_s3(s3, "rclone-look/repo")
    seen = {entry.name: entry for entry in backend.list("", time.monotonic() + 30)}
    expected = [path for folder in ("keys", "locks", "snapshots") for path in (repository.path / folder).iterdir()]
    assert sorted(seen) == sorted(["config", *(str(path.relative_to(repository.path)) for path in expected)])
    for path in expected:
        found, status = seen[str(path.relative_to(repository.path))], path.stat()
        assert found.size == status.st_size
        assert found.modified is not None
        assert abs(found.modified.timestamp() - status.st_mtime) < 1.1
    (snapshot,) = (name for name in seen if name.startswith("snapshots/"))
    assert hashlib.sha256(read(backend, snapshot)).hexdigest() == snapshot.partition("/")[2]


def test_a_look_asks_for_four_folders_and_walks_neither_data_nor_index(s3: S3) -> None:
    some_repository(s3.folder / "rclone-few/repo")
    with Proxy(s3.endpoint) as proxy:
        assert names(on_s3(replace(s3, endpoint=proxy.url), "rclone-few/repo")) == SEEN
        asked = [request.path.partition("prefix=")[2] for request in proxy.seen]
    assert sorted(asked) == ["repo%2F", "repo%2Fkeys%2F", "repo%2Flocks%2F", "repo%2Fsnapshots%2F"]


def test_files_have_their_sizes_and_the_moment_they_were_stored(tmp_path: Path) -> None:
    backend = on_disk(some_repository(tmp_path / "repo"))
    (found,) = backend.list("snapshots", time.monotonic() + 30)
    assert found == Entry(f"snapshots/{ID}", len(f"content of snapshots/{ID}"), STORED)


def test_folders_below_are_looked_into_and_neighbours_are_not(tmp_path: Path, s3: S3) -> None:
    for backend, repository in ((on_disk(tmp_path), tmp_path), (on_s3(s3, "rclone-below"), s3.folder / "rclone-below")):
        some_repository(repository)
        for name in (f"snapshots/{ID}-tmp-123", f"snapshots-old/{ID}", f"snapshots/below/{ID}"):
            (repository / name).parent.mkdir(exist_ok=True)
            (repository / name).touch()
        assert names(backend, "data") == [f"data/ab/{ID}", f"data/cd/{ID}"]
        assert names(backend) == [*SEEN, f"snapshots/{ID}-tmp-123", f"snapshots/below/{ID}"]


@pytest.mark.parametrize("remote", [":local:{}", "{}", "{}/", "here:{}"])
def test_the_ways_to_write_a_remote(tmp_path: Path, remote: str) -> None:
    repository = some_repository(tmp_path / "a repo")
    backend = on_disk(remote.format(repository), RCLONE_CONFIG_HERE_TYPE="local")
    assert names(backend) == SEEN
    assert read(backend, f"snapshots/{ID}", 7) == b"content"


def test_a_remote_that_is_the_repository_itself(tmp_path: Path) -> None:
    repository = some_repository(tmp_path / "repo")
    backend = on_disk("nas:", RCLONE_CONFIG_NAS_TYPE="alias", RCLONE_CONFIG_NAS_REMOTE=str(repository))
    assert names(backend) == SEEN
    assert read(backend, "config") == b"content of config"


def test_storage_classes_and_times_that_nobody_knows(tmp_path: Path) -> None:
    files = '[{"Path": "a", "Name": "a", "Size": 5, "ModTime": "2026-03-01T13:30:00.123456789+01:00", "Tier": "GLACIER"},'
    files += '{"Path": "b", "Size": -1, "ModTime": "2000-01-01T00:00:00.000000000Z"}, {"Path": "c", "Size": 0, "ModTime": ""}]'
    backend = said(tmp_path, stdout=files.replace(', "ModTime": ""', ""), status=0)
    a, b, c = backend.list("snapshots", time.monotonic() + 30)
    assert a == Entry("snapshots/a", 5, datetime(2026, 3, 1, 12, 30, 0, 123457, UTC), "GLACIER")
    assert (b, c) == (Entry("snapshots/b", None, None), Entry("snapshots/c", 0, None))


# What rclone is started with


REPORT = """#!/bin/sh
for word; do echo "<$word>"; done >>{0}/arguments
cat >{0}/stdin
env >{0}/environment
echo '[]'
"""


def test_rclone_is_told_to_ask_nobody_and_to_change_nothing(tmp_path: Path) -> None:
    program = script(tmp_path / "my rclone", REPORT.format(tmp_path))
    backend = on_disk(
        "cloud:repo", f"'{program}' --config '/my conf'", RCLONE_EXCLUDE="*", RCLONE_PROGRESS="1", RCLONE_BWLIMIT="1M"
    )
    names(backend)
    words = (tmp_path / "arguments").read_text().split("\n")
    assert words[:4] == ["<--config>", "</my conf>", "<lsjson>", "<--ask-password=false>"]
    assert words[-3:] == ["<-->", "<cloud:repo/>", ""]
    assert (tmp_path / "stdin").read_text() == ""
    variables = (tmp_path / "environment").read_text()
    assert "RCLONE_BWLIMIT=1M" in variables
    assert "RCLONE_EXCLUDE" not in variables
    assert "RCLONE_PROGRESS" not in variables


def test_a_filter_in_the_environment_hides_nothing(tmp_path: Path) -> None:
    hiding = {"RCLONE_EXCLUDE": "snapshots/**", "RCLONE_MAX_DEPTH": "1", "RCLONE_MIN_SIZE": "1G", "RCLONE_FILTER": "- *"}
    assert names(on_disk(some_repository(tmp_path / "repo"), **hiding)) == SEEN


@pytest.mark.parametrize(
    "remote", [":s3,secret_access_key=canary-c,region=eu:bucket", ":webdav,url='https://u:canary-c@host/':"]
)
def test_a_connection_string_never_gets_into_the_list_of_processes(tmp_path: Path, remote: str) -> None:
    backend = on_disk(remote, str(script(tmp_path / "rclone", REPORT.format(tmp_path))))
    for work in (partial(names, backend), partial(read, backend, "config")):
        kind, message = problem(work)
        assert kind is Kind.REFUSED
        assert "define the remote in rclone.conf, or with RCLONE_CONFIG_NAME_* variables" in message
        assert "canary" not in message
    assert "canary" not in repr(backend)
    assert not (tmp_path / "arguments").exists()


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("/nothing/rclone", "the program /nothing/rclone was not found; install rclone"),
        ("/tmp", "cannot start /tmp: permission denied"),
        ("'rclone", "rclone.program: a single quote is not closed"),
        ("''", "rclone.program is empty"),
    ],
)
def test_rclone_that_cannot_be_started(program: str, message: str) -> None:
    assert problem(lambda: names(on_disk("cloud:repo", program))) == (Kind.REFUSED, message)


# What is missing, and what may not be seen


def test_no_folder_is_missing(tmp_path: Path, s3: S3) -> None:
    nothing = tmp_path / "nothing"
    assert problem(lambda: names(on_disk(nothing))) == (Kind.MISSING, f"there is no {nothing}")
    assert problem(lambda: names(on_disk(some_repository(tmp_path / "repo")), "other"))[0] is Kind.MISSING
    assert problem(lambda: names(on_s3(s3, "no-such-bucket/repo"))) == (Kind.MISSING, "there is no store:no-such-bucket/repo")


def test_a_folder_that_is_missing_in_a_repository_is_empty(tmp_path: Path) -> None:
    shutil.rmtree(some_repository(tmp_path / "repo") / "snapshots")
    assert names(on_disk(tmp_path / "repo")) == ["config", f"keys/{ID}"]


def test_a_place_without_a_repository_on_s3_is_empty(s3: S3) -> None:
    (s3.folder / "rclone-empty").mkdir()
    assert names(on_s3(s3, "rclone-empty/repo")) == []


def test_a_file_that_is_not_there_is_missing_and_an_empty_one_is_not(tmp_path: Path, s3: S3) -> None:
    """`rclone cat` makes no difference on S3."""
    for backend, repository in ((on_disk(tmp_path), tmp_path), (on_s3(s3, "rclone-cat"), s3.folder / "rclone-cat")):
        some_repository(repository)
        (repository / "snapshots/empty [1] {a}").touch()
        assert read(backend, "snapshots/empty [1] {a}") == b""
        kind, message = problem(partial(read, backend, "snapshots/none"))
        assert (kind, message.startswith("there is no ")) == (Kind.MISSING, True)
        assert problem(partial(read, backend, "none"))[0] is Kind.MISSING


@pytest.mark.parametrize("limit", [1, 10, 10_000, 10_001, 20_000])
def test_a_file_is_read_whole_or_as_far_as_wanted(tmp_path: Path, limit: int) -> None:
    content = os.urandom(10_000)
    (tmp_path / "file").write_bytes(content)
    assert read(on_disk(tmp_path), "file", limit) == content[:limit]


def test_what_may_not_be_seen_is_denied(unprivileged: Unprivileged) -> None:
    repository = some_repository(unprivileged.folder / "repo")
    rclone = Path(shutil.copy(require("rclone"), unprivileged.folder))
    backend = on_disk(repository, f"{unprivileged.prefix}{rclone}")
    (repository / "locks").chmod(0)
    listed = backend.list("", time.monotonic() + 30)
    assert {entry.name for entry in listed} >= {f"keys/{ID}", f"snapshots/{ID}"}
    assert listed.denied == {"locks"}
    denied = (Kind.DENIED, f"{repository}/locks is not shown with these credentials")
    assert problem(lambda: names(backend, "locks")) == denied
    (repository / f"snapshots/{ID}").chmod(0)
    assert problem(lambda: read(backend, f"snapshots/{ID}"))[0] is Kind.DENIED
    (repository / "snapshots").chmod(0)
    assert problem(lambda: names(backend))[0] is Kind.DENIED
    for folder in ("locks", "snapshots"):
        (repository / folder).chmod(0o700)


def test_a_file_that_is_listed_and_gives_nothing_may_not_be_read(tmp_path: Path) -> None:
    """So it is on S3 without s3:GetObject."""
    program = script(tmp_path / "rclone", '#!/bin/sh\n[ "$1" = cat ] || echo \'[{"Path": "a", "Size": 400}]\'\n')
    said = problem(lambda: read(on_disk("cloud:repo", str(program)), "snapshots/a"))
    assert said == (Kind.DENIED, "cloud:repo/snapshots/a may not be read, only listed")


# What goes wrong


def test_wrong_credentials_are_denied_and_not_shown(s3: S3) -> None:
    some_repository(s3.folder / "rclone-wrong")
    wrong = {"RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY": "canary-secret-of-s3"}
    for backend in (
        on_s3(s3, "rclone-wrong", **wrong),
        on_s3(s3, "rclone-wrong", RCLONE_CONFIG_STORE_ACCESS_KEY_ID="canary-key"),
    ):
        for work in (partial(names, backend), partial(read, backend, "config")):
            kind, message = problem(work)
            assert kind is Kind.DENIED
            assert "not shown with these credentials" in message
            assert "canary" not in message
        assert "canary" not in repr(backend)


def test_a_server_that_refuses_is_tried_three_times(s3: S3) -> None:
    began = time.monotonic()
    backend = on_s3(s3, "rclone-refuses/repo", RCLONE_CONFIG_STORE_ENDPOINT="http://127.0.0.1:1")
    assert problem(lambda: names(backend)) == (
        Kind.UNREACHABLE,
        "the storage of store:rclone-refuses/repo refuses the connection",
    )
    assert 1.5 <= time.monotonic() - began < 10


def test_a_host_whose_name_is_unknown(s3: S3) -> None:
    backend = on_s3(s3, "repo", RCLONE_CONFIG_STORE_ENDPOINT="http://s3.invalid")
    assert problem(lambda: names(backend)) == (Kind.UNREACHABLE, "the host of store:repo is not found")


def test_a_server_that_says_nothing_is_waited_for_until_the_deadline(s3: S3) -> None:
    with raw(lambda connected: time.sleep(3)) as hole:
        began = time.monotonic()
        backend = on_s3(s3, "repo", RCLONE_CONFIG_STORE_ENDPOINT=hole.url)
        kind, message = problem(lambda: names(backend, seconds=1))
        assert time.monotonic() - began < 3
    assert (kind, message) == (Kind.TIMEOUT, "rclone has not ended in time, reading store:repo")


def test_a_remote_that_is_not_defined() -> None:
    assert problem(lambda: names(on_disk("nowhere:repo"))) == (
        Kind.REFUSED,
        "rclone knows no remote of this name (nowhere:repo); "
        "define the remote in rclone.conf, or with RCLONE_CONFIG_NAME_* variables",
    )


def test_an_encrypted_configuration_is_not_asked_for_its_password(tmp_path: Path) -> None:
    config = tmp_path / "rclone.conf"
    config.write_text("# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\n" + "QUJD" * 40 + "\n")
    nothing: dict[str, str] = {}
    for environment in (nothing, {"RCLONE_CONFIG_PASS": "canary-password"}):
        kind, message = problem(partial(names, on_disk("x:", **{"RCLONE_CONFIG": str(config), **environment})))
        assert (kind, "configuration is encrypted and cannot be opened; set RCLONE_CONFIG_PASS" in message) == (
            Kind.REFUSED,
            True,
        )
        assert "canary" not in message


def test_a_server_that_speaks_no_tls(s3: S3) -> None:
    endpoint = s3.endpoint.replace("http://", "https://")
    kind, message = problem(lambda: names(on_s3(s3, "repo", RCLONE_CONFIG_STORE_ENDPOINT=endpoint)))
    assert (kind, "server gave HTTP response to HTTPS client" in message) == (Kind.REFUSED, True)


FAILED = "2026/03/01 12:00:00 NOTICE: Failed to lsjson: "


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "status", "kind", "message"),
    [
        ("api error SlowDown: Please reduce your request rate.", 1, Kind.THROTTLED, "the storage of SHOWN is too busy"),
        ("googleapi: Error 403: ..., userRateLimitExceeded", 1, Kind.THROTTLED, "the storage of SHOWN is too busy"),
        ("https response error StatusCode: 503", 5, Kind.THROTTLED, "the storage of SHOWN is too busy"),
        ("https response error StatusCode: 500", 5, Kind.UNREACHABLE, "the storage of SHOWN does not answer"),
        ("dial tcp 10.0.0.1:443: i/o timeout", 1, Kind.UNREACHABLE, "the storage of SHOWN does not answer"),
        ("api error NoSuchBucket: The specified bucket", 1, Kind.MISSING, "there is no bucket for SHOWN"),
        ("api error AccessDenied: Access Denied", 1, Kind.DENIED, "SHOWN is not shown with these credentials"),
        ('oauth2: "invalid_grant" "Token expired"', 1, Kind.DENIED, "SHOWN is not shown with these credentials"),
        ("x509: signed by unknown authority", 1, Kind.REFUSED, "the certificate of the storage of SHOWN is not trusted"),
        ("didn't find backend called \"new\"", 1, Kind.REFUSED, "rclone has no storage of this type (SHOWN); is it too old?"),
        ("unknown flag: --no-mimetype", 2, Kind.REFUSED, "rclone is too old: it does not know an option"),
        ("something odd", 7, Kind.REFUSED, "rclone failed with exit status 7: Failed to lsjson: something odd"),
        ("something odd", 5, Kind.UNREACHABLE, "rclone failed with exit status 5: Failed to lsjson: something odd"),
    ],
)  # fmt: skip
def test_what_rclone_says_of_other_storages(tmp_path: Path, text: str, status: int, kind: Kind, message: str) -> None:
    assert problem(lambda: names(said(tmp_path, FAILED + text, status))) == (kind, message.replace("SHOWN", "cloud:repo"))


def test_of_words_that_are_not_known_no_secret_is_shown(tmp_path: Path) -> None:
    text = "odd: https://user:canary-1@host/canary-2?sig=canary-3 and canary-4-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA and canary-5"
    backend = replace(said(tmp_path, text, 7), environment={**ENVIRONMENT, "RCLONE_CONFIG_X_PASS": "canary-5"})
    kind, message = problem(lambda: names(backend))
    assert (kind, "canary" in message) == (Kind.REFUSED, False), message


def test_a_failure_without_a_word(tmp_path: Path) -> None:
    assert problem(lambda: names(said(tmp_path))) == (Kind.REFUSED, "rclone failed with exit status 1")


@pytest.mark.parametrize("printed", ["", "<html>", "[", "{}", '[{"Path": 5, "Size": 1}]', '[{"Name": "a"}]', "\xff"])
def test_what_is_no_list_of_files_is_malformed(tmp_path: Path, printed: str) -> None:
    backend = said(tmp_path, status=0, stdout=printed)
    assert problem(lambda: names(backend)) == (Kind.MALFORMED, "rclone printed something that is no list of files")
