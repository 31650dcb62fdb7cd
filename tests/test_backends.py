"""The promises of a storage, kept by each of them against a real server.

A new storage is a maker at the end of MAKERS; nothing else has to be written for it here.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest

from conftest import Unprivileged
from proxy import Proxy
from restic_monitor.backends import Backend, BackendError, Entry, Kind
from restic_monitor.config.storages import Storages
from restic_monitor.http import Http, Tls
from restics import require
from servers import S3, Rest, _serving
from sockets import Raw, raw
from sshd import Sftp
from standins import Asked, Reply, StandIn, answering, files_below

ID, OTHER = "ab" * 32, "cd" * 32
STORED = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
SECRET = "S3cretThatNobodyMaySee0123456789abcdefgh"
SETTLES_SECONDS = 0.25
"""rclone keeps what it saw of a folder for 100 ms."""


@dataclass(frozen=True)
class Storage:
    """A storage, and its files as the server keeps them. What the protocol of the storage cannot tell is said here."""

    folder: Path
    """Where its repository is, on the server's disk."""
    backend: Backend
    missing: Backend
    """The same server, where there is no repository."""
    denied: Backend | None
    """The same repository with credentials that are not accepted; None where the denial is made by `deny`."""
    at: Callable[[str], Backend] | None = None
    """The same with another address, http://HOST:PORT; None where there is no server."""
    server: str | None = None
    """Address of an http:// server."""
    secrets: tuple[str, ...] = (SECRET,)
    times: bool = True
    sizes: bool = True
    flat: bool = False
    """Folders below a folder are not shown."""
    tells_missing_folder: bool = True
    tells_missing_repository: bool = True

    def put(self, name: str, content: bytes = b"content", modified: datetime = STORED) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, (modified.timestamp(), modified.timestamp()))

    def entry(self, name: str, content: bytes = b"content", modified: datetime = STORED) -> tuple[str, int | None, object]:
        return name, len(content) if self.sizes else None, modified if self.times else None

    def settle(self) -> Storage:
        time.sleep(SETTLES_SECONDS)
        return self


@dataclass(frozen=True)
class Desk:
    """The servers, started when a maker asks for them, and a name for each test that no other has."""

    request: pytest.FixtureRequest
    name: str
    storages: Storages = field(default_factory=lambda: Storages(Http({})))

    def fixture(self, name: str) -> Any:
        return self.request.getfixturevalue(name)

    def backend(self, url: str, env: Mapping[str, str] | None = None, **options: str) -> Backend:
        """By the address, as the program does it. `options` are restic's, with `_` for the dot and the dash."""
        given = {name.replace("_", ".", 1): value for name, value in options.items()}
        return self.storages.storage(url, given, {"HOME": "/nonexistent", **(env or {})}, Tls())


# Makers


def local(desk: Desk) -> Storage:
    folder = desk.fixture("tmp_path") / "repo"
    return Storage(folder, desk.backend(str(folder)), desk.backend(f"local:{folder}-gone"), None)


def _s3(desk: Desk, path: str) -> Storage:
    server: S3 = desk.fixture("s3")
    wrong = {**server.env, "AWS_SECRET_ACCESS_KEY": SECRET}
    (server.folder / path).mkdir(parents=True)
    return Storage(
        server.folder / path,
        desk.backend(server.location(path), server.env),
        desk.backend(server.location("no-such-bucket/repo"), server.env),
        desk.backend(server.location(path), wrong),
        lambda address: desk.backend(f"s3:{address}/{path}", server.env),
        server.endpoint,
        (SECRET, server.secret),
        tells_missing_folder=False,
    ).settle()


def s3_bucket(desk: Desk) -> Storage:
    return _s3(desk, desk.name)


def s3_prefix(desk: Desk) -> Storage:
    return _s3(desk, f"{desk.name}/backups/web server")


def s3_double_slash(desk: Desk) -> Storage:
    """Keys that begin with a slash. `rclone serve s3` has none, files have no such names."""
    folder = desk.fixture("tmp_path") / "repo"
    folder.mkdir()
    address = desk.fixture("standin_s3")(StandIn({"bucket": lambda: files_below(folder, "/web/")}))

    def made(url: str, key_id: str = "AKIDSTANDIN", bucket: str = "bucket") -> Backend:
        env = {"AWS_ACCESS_KEY_ID": key_id, "AWS_SECRET_ACCESS_KEY": SECRET}
        return desk.backend(f"s3:{url}/{bucket}//web/", env)

    unknown = made(address, key_id="AKIDUNKNOWN")
    return Storage(folder, made(address), made(address, bucket="none"), unknown, made, address, tells_missing_folder=False)


def _rest(desk: Desk, folder: Path, url: str, user: str, password: str, **traits: bool) -> Storage:
    folder.mkdir()

    def made(address: str, path: str = folder.name, password: str = password) -> Backend:
        login = f"{quote(user, safe='')}:{quote(password, safe='')}@"
        return desk.backend(f"rest:{address.replace('://', f'://{login}')}/{path}")

    secrets = (SECRET, password, quote(password, safe=""))
    return Storage(folder, made(url), made(url, "gone"), made(url, password=SECRET), made, url, secrets, **traits)


def rest_server(desk: Desk) -> Storage:
    server: Rest = desk.fixture("rest")
    assert server.user
    assert server.password
    return _rest(desk, server.folder / desk.name, server.url, server.user, server.password, times=False, flat=True)


def rest_server_v1(desk: Desk) -> Storage:
    """The real server, asked as clients of the first version ask: it answers them with names alone."""
    server: Rest = desk.fixture("rest")
    assert server.user
    assert server.password
    traits = {"times": False, "sizes": False, "flat": True}
    return _rest(desk, server.folder / desk.name, desk.fixture("rest_v1"), server.user, server.password, **traits)


def rclone_rest(desk: Desk) -> Storage:
    """`rclone serve restic` has no missing folders: they are empty."""
    folder, url = desk.fixture("rclone_serve_restic")
    traits = {"flat": True, "tells_missing_folder": False, "tells_missing_repository": False}
    return _rest(desk, folder / desk.name, url, "monitor", "p@ss/w:rd", **traits).settle()


def sftp(desk: Desk) -> Storage:
    server: Sftp = desk.fixture("sshd")
    folder = server.folder / desk.name
    stranger = replace(server, key=server.stranger)

    def made(address: str) -> Backend:
        return desk.backend(replace(server, port=urlsplit(address).port or 0).location(desk.name), server.env, sftp_args=args)

    args = server.args
    return Storage(
        folder,
        desk.backend(server.location(desk.name), server.env, sftp_args=args),
        desk.backend(server.location("gone"), server.env, sftp_args=args),
        desk.backend(server.location(desk.name), server.env, sftp_args=stranger.args),
        made,
    )


def rclone(desk: Desk) -> Storage:
    """rclone with a remote of its own, which is an S3 server."""
    server: S3 = desk.fixture("s3")
    program = str(require("rclone"))
    folder = server.folder / desk.name / "repo"
    folder.mkdir(parents=True)

    def made(address: str, path: str = f"{desk.name}/repo", secret: str = server.secret) -> Backend:
        remote = {"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": address, "ACCESS_KEY_ID": server.key_id}
        remote["SECRET_ACCESS_KEY"] = secret
        env = {f"RCLONE_CONFIG_STORE_{name}": value for name, value in remote.items()}
        known = {"PATH": os.environ["PATH"], "RCLONE_CONFIG": os.devnull}
        return desk.backend(f"rclone:store:{path}", {**known, **env}, rclone_program=program)

    url = server.endpoint
    return Storage(
        folder,
        made(url),
        made(url, "no-such-bucket/repo"),
        made(url, secret=SECRET),
        made,
        url,
        (SECRET, server.secret),
        tells_missing_folder=False,
    ).settle()


MAKERS = [local, s3_bucket, s3_prefix, s3_double_slash, rest_server, rest_server_v1, rclone_rest, sftp, rclone]

_numbers = itertools.count(1)


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.__name__.replace("_", "-"))
def storage(request: pytest.FixtureRequest) -> Iterator[Storage]:
    made: Storage = request.param(Desk(request, f"contract-{next(_numbers)}"))
    made.folder.mkdir(parents=True, exist_ok=True)
    yield made
    made.backend.close()


@pytest.fixture
def standin_s3() -> Iterator[Callable[[StandIn], str]]:
    servers: list[Any] = []

    def start(answer: StandIn) -> str:
        servers.append(answering(answer))
        return str(servers[-1].__enter__().url)

    yield start
    for server in servers:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def rest_v1(rest: Rest) -> Iterator[str]:
    """The session's rest-server without what asks for the second version."""

    def forward(asked: Asked) -> Reply:
        connection = HTTPConnection(urlsplit(rest.url).netloc, timeout=30)
        headers = {name: value for name, value in asked.headers.items() if name == "authorization"}
        connection.request(asked.method, asked.target, headers=headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return Reply(response.status, body, {"Content-Type": response.getheader("Content-Type", "")})

    with answering(forward) as server:
        yield server.url


@pytest.fixture(scope="session")
def rclone_serve_restic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("rclone-restic")
    command = [str(require("rclone")), "serve", "restic", "--addr", "127.0.0.1:0", str(folder)]
    environment = {"RCLONE_CONFIG": os.devnull, "RCLONE_USER": "monitor", "RCLONE_PASS": "p@ss/w:rd"}
    with _serving(command, environment, r"(http://127\.0\.0\.1:\d+)/") as url:
        yield folder, url


# What is asked of all


def listed(backend: Backend, folder: str = "", seconds: float = 30) -> list[Entry]:
    return sorted(backend.list(folder, time.monotonic() + seconds), key=lambda entry: entry.name)


def told(backend: Backend, folder: str = "") -> list[tuple[str, int | None, object]]:
    return [(entry.name, entry.size, entry.modified) for entry in listed(backend, folder)]


def names(backend: Backend, folder: str = "") -> list[str]:
    return [entry.name for entry in listed(backend, folder)]


def counted(backend: Backend) -> list[str]:
    """Of `list("")`, what a look needs; other files may be among them."""
    return [name for name in names(backend) if name.startswith(("keys/", "locks/", "snapshots/"))]


def read(backend: Backend, name: str, limit: int = 1_000_000) -> bytes:
    return backend.read(name, time.monotonic() + 30, limit)


def problem(storage: Storage, work: Callable[[], object]) -> BackendError:
    """The error that `work` must end with; nothing of it, and of what it is made of, shows a secret."""
    with pytest.raises(BackendError) as caught:
        work()
    error: BaseException | None = caught.value
    while error:
        for secret in storage.secrets:
            assert secret not in f"{error!r} {error}"
        error = error.__cause__ or error.__context__
    assert "\n" not in caught.value.message
    return caught.value


def repository(storage: Storage) -> Storage:
    for name in ("config", f"keys/{ID}", f"locks/{ID}", f"snapshots/{ID}", f"index/{ID}", f"data/ab/{ID}", f"data/cd/{OTHER}"):
        storage.put(name)
    return storage.settle()


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    found = [folder, *folder.rglob("*")]
    return {str(path): (path.stat().st_mode, path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def test_all_is_keys_locks_and_snapshots_and_nothing_of_data_and_index(storage: Storage) -> None:
    repository(storage)
    assert counted(storage.backend) == [f"keys/{ID}", f"locks/{ID}", f"snapshots/{ID}"]
    assert set(names(storage.backend)) <= {"config", f"keys/{ID}", f"locks/{ID}", f"snapshots/{ID}"}


def test_one_folder_is_that_folder_alone(storage: Storage) -> None:
    repository(storage)
    assert names(storage.backend, "snapshots") == [f"snapshots/{ID}"]
    assert names(storage.backend, "index") == [f"index/{ID}"]


def test_neighbours_with_names_that_begin_alike_are_not_seen(storage: Storage) -> None:
    repository(storage)
    for name in ("snapshots-old", "snapshots0", "snapshot", "locksmith", "index.d", "keys.bak"):
        storage.put(f"{name}/{OTHER}")
    storage.settle()
    assert counted(storage.backend) == [f"keys/{ID}", f"locks/{ID}", f"snapshots/{ID}"]
    assert names(storage.backend, "snapshots") == [f"snapshots/{ID}"]


def test_names_sizes_and_times_are_those_of_the_files(storage: Storage) -> None:
    moment = datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)
    storage.put(f"snapshots/{ID}", b"x" * 12345, moment)
    storage.put(f"snapshots/{OTHER}", b"y")
    storage.put(f"locks/{OTHER}", b"", moment)
    storage.settle()
    expected = [
        storage.entry(f"locks/{OTHER}", b"", moment),
        storage.entry(f"snapshots/{ID}", b"x" * 12345, moment),
        storage.entry(f"snapshots/{OTHER}", b"y"),
    ]
    assert told(storage.backend) == expected
    assert told(storage.backend, "snapshots") == expected[1:]


def test_files_in_folders_below_are_files_of_the_folder_and_the_folders_are_none(storage: Storage) -> None:
    storage.put(f"snapshots/{ID}")
    storage.put(f"snapshots/old/2024/{OTHER}")
    (storage.folder / "snapshots" / "empty").mkdir()
    storage.settle()
    if storage.flat:
        assert f"snapshots/{ID}" in names(storage.backend, "snapshots")
        return
    assert names(storage.backend, "snapshots") == [f"snapshots/{ID}", f"snapshots/old/2024/{OTHER}"]
    assert counted(storage.backend) == [f"snapshots/{ID}", f"snapshots/old/2024/{OTHER}"]


@pytest.mark.slow
def test_2500_files_are_all_seen_and_each_once(storage: Storage) -> None:
    expected = [f"{number:064x}" for number in range(2500)]
    for name in expected:
        storage.put(f"snapshots/{name}")
    repository(storage)
    assert names(storage.backend, "snapshots") == [*(f"snapshots/{name}" for name in expected), f"snapshots/{ID}"]
    seen = counted(storage.backend)
    assert len(seen) == len(set(seen)) == 2503


def test_an_empty_folder_is_empty(storage: Storage) -> None:
    repository(storage)
    (storage.folder / "locks" / ID).unlink()
    storage.settle()
    assert names(storage.backend, "locks") == []
    assert counted(storage.backend) == [f"keys/{ID}", f"snapshots/{ID}"]


def test_a_folder_that_is_not_there_is_missing_and_no_obstacle_to_the_others(storage: Storage) -> None:
    storage.put("config")
    storage.put(f"snapshots/{ID}")
    storage.settle()
    assert counted(storage.backend) == [f"snapshots/{ID}"]
    if not storage.tells_missing_folder:
        assert names(storage.backend, "locks") == []
        return
    assert problem(storage, lambda: names(storage.backend, "locks")).kind is Kind.MISSING


def test_a_place_without_a_repository_is_missing(storage: Storage) -> None:
    if not storage.tells_missing_repository:
        assert names(storage.missing) == []
        return
    error = problem(storage, lambda: names(storage.missing))
    assert error.kind is Kind.MISSING
    assert any(word in error.message for word in ("there is no", "holds no repository"))
    storage.missing.close()


@contextmanager
def nobody(folder: Path, mode: int = 0) -> Iterator[None]:
    """root reads everything; so this process is somebody else's for a moment, and the folder lets nobody in."""
    folder.chmod(mode)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


def test_credentials_that_are_not_accepted_are_denied(storage: Storage) -> None:
    repository(storage)
    if not storage.denied:
        return
    for work in (
        lambda: names(storage.denied),
        lambda: names(storage.denied, "snapshots"),
        lambda: read(storage.denied, f"snapshots/{ID}"),
    ):
        assert problem(storage, work).kind is Kind.DENIED
    storage.denied.close()


def test_a_local_folder_that_may_not_be_read_is_denied_and_keys_and_locks_are_told_as_such(unprivileged: Unprivileged) -> None:
    folder = unprivileged.folder / "repo"
    storage = repository(Storage(folder, Storages(Http({})).storage(str(folder), {}, {}, Tls()), None, None))  # type: ignore[arg-type]
    for path in folder.rglob("*"):
        path.chmod(0o755)
    with nobody(folder):
        assert problem(storage, lambda: names(storage.backend)).kind is Kind.DENIED
    with nobody(folder / "snapshots"):
        assert problem(storage, lambda: names(storage.backend)).kind is Kind.DENIED
        assert names(storage.backend, "keys") == [f"keys/{ID}"]
    with nobody(folder / "keys"):
        entries = storage.backend.list("", time.monotonic() + 5)
        assert sorted(entry.name for entry in entries) == ["config", f"locks/{ID}", f"snapshots/{ID}"]
        assert entries.denied == {"keys"}


def test_local_files_that_cannot_be_looked_at_are_not_taken_for_gone(unprivileged: Unprivileged) -> None:
    folder = unprivileged.folder / "repo"
    storage = repository(Storage(folder, Storages(Http({})).storage(str(folder), {}, {}, Tls()), None, None))  # type: ignore[arg-type]
    for path in folder.rglob("*"):
        path.chmod(0o755)
    for listable, message in (
        (folder / "snapshots", f"{folder}/snapshots may not be read by this user"),
        (folder, f"{folder}/config may not be read by this user"),
    ):
        with nobody(listable, mode=0o444):
            error = problem(storage, lambda: names(storage.backend))
            assert (error.kind, error.message) == (Kind.DENIED, message)
    (folder / "snapshots" / "gone").symlink_to("nowhere")
    assert names(storage.backend, "snapshots") == [f"snapshots/{ID}"]
    (folder / "snapshots" / "round").symlink_to("round")
    error = problem(storage, lambda: names(storage.backend))
    assert error.kind is Kind.UNREACHABLE
    assert "snapshots cannot be read: too many levels of symbolic links" in error.message


@pytest.mark.parametrize("path", ["re po", "rep\u00f6", "a+b;c,d@e|f[g]", "a%25b", "re%20po"])
def test_the_path_to_a_rest_server_is_escaped_once(rest: Rest, path: str) -> None:
    assert rest.user
    assert rest.password
    base = rest.folder / f"odd-{path.encode().hex()}"
    snapshots = base / unquote(path) / "snapshots"
    snapshots.mkdir(parents=True)
    (snapshots / ID).touch()
    address = f"{rest.location(base.name)}{path}"
    assert names(Storages(Http({})).storage(address, {}, {}, Tls())) == [f"snapshots/{ID}"]


def test_a_login_of_a_rest_server_that_is_no_utf8_is_sent_as_it_is() -> None:
    with answering(lambda _: Reply(200, b"[]")) as server:
        address = f"rest:{server.url.replace('://', '://%FF:%FE@')}/"
        assert names(Storages(Http({})).storage(address, {}, {}, Tls())) == []
        names(
            Storages(Http({})).storage(
                f"rest:{server.url}/", {}, {"RESTIC_REST_USERNAME": "\udcff", "RESTIC_REST_PASSWORD": "\udcfe"}, Tls()
            )
        )
        expected = f"Basic {b64encode(bytes([0xFF, 0x3A, 0xFE])).decode()}"
        assert {asked.headers["authorization"] for asked in server.asked} == {expected}


def test_a_file_is_read_whole_up_to_a_limit_or_missing(storage: Storage) -> None:
    content = os.urandom(200_000)
    storage.put(f"snapshots/{ID}", content)
    storage.put(f"snapshots/{OTHER}", b"")
    storage.put("config", b"config")
    storage.settle()
    backend = storage.backend
    assert read(backend, f"snapshots/{ID}") == content
    assert read(backend, f"snapshots/{ID}", 200_000) == content
    assert read(backend, f"snapshots/{ID}", 70_000) == content[:70_000]
    assert read(backend, f"snapshots/{ID}", 1) == content[:1]
    assert read(backend, f"snapshots/{OTHER}") == b""
    assert read(backend, "config") == b"config"
    assert problem(storage, lambda: read(backend, f"snapshots/{'ef' * 32}")).kind is Kind.MISSING
    assert read(backend, f"snapshots/{ID}", 10) == content[:10]


def silent(connected: Any) -> None:
    """Takes what comes and never says a word."""
    while connected.recv(65536):
        pass


@pytest.fixture
def black_hole() -> Iterator[Raw]:
    with raw(silent) as server:
        yield server


def test_the_deadline_holds_where_nobody_answers(storage: Storage, black_hole: Raw) -> None:
    if not storage.at:
        return
    lost = storage.at(black_hole.url)
    for work in (lambda end: list(lost.list("", end)), lambda end: lost.read("config", end, 10)):
        begun = time.monotonic()
        error = problem(storage, lambda work=work, begun=begun: work(begun + 1))  # type: ignore[misc]
        assert time.monotonic() - begun < 1 + 2
        assert error.kind is Kind.TIMEOUT
    lost.close()


def test_two_looks_at_a_server_that_hangs_do_not_keep_another_from_being_read() -> None:
    """They have all workers of the run, until their time is over. What is healthy is not waited for file by file."""
    released = threading.Event()
    files = [Entry(f"snapshots/{number:064x}", 7) for number in range(100)]

    def hang(asked: Asked) -> Reply:
        released.wait(30)
        return Reply(200, asked.path.encode())

    storages = Storages(Http({}, connections=4))
    deadline = time.monotonic() + 20
    with answering(hang) as hanging, answering(lambda asked: Reply(200, asked.path.encode())) as healthy:

        def read_all(url: str) -> list[tuple[Entry, bytes | BackendError]]:
            return list(storages.storage(f"rest:{url}/", {}, {}, Tls()).read_all(files, deadline, 1000))

        with ThreadPoolExecutor(3) as looks:
            hung = [looks.submit(read_all, hanging.url) for _ in range(2)]
            while len(hanging.asked) < 4 and time.monotonic() < deadline:
                time.sleep(0.01)
            other = looks.submit(read_all, healthy.url)
            ended, _ = wait([other], timeout=3)
            released.set()
        assert ended
        for content in (look.result() for look in (other, *hung)):
            assert sorted((entry.name, said) for entry, said in content) == [
                (file.name, f"/{file.name}".encode()) for file in files
            ]


def test_a_deadline_that_has_passed_is_a_timeout(storage: Storage) -> None:
    repository(storage)
    assert problem(storage, lambda: list(storage.backend.list("snapshots", time.monotonic() - 1))).kind is Kind.TIMEOUT


STRANGE = ("a name with blanks", " ", "ünïcödé ☂", "100%25 +plus&more;<tag>'\"", "back\\slash", "#?=", "-rf", ".hidden")


def test_strange_names_are_no_obstacle(storage: Storage) -> None:
    repository(storage)
    for name in STRANGE:
        storage.put(f"snapshots/{name}")
    storage.settle()
    seen = listed(storage.backend, "snapshots")
    (good,) = (entry for entry in seen if entry.name == f"snapshots/{ID}")
    assert (good.name, good.size, good.modified) == storage.entry(f"snapshots/{ID}")
    assert {entry.name.partition("/")[2] for entry in seen} == {ID, *STRANGE}
    assert f"snapshots/{ID}" in counted(storage.backend)


def test_names_that_are_no_utf8_are_no_obstacle(storage: Storage) -> None:
    repository(storage)
    with suppress(OSError):  # some file systems have none
        Path(os.fsdecode(os.fsencode(storage.folder / "snapshots") + b"/\xff\xfe")).touch()
    storage.settle()
    assert f"snapshots/{ID}" in names(storage.backend, "snapshots")
    assert f"snapshots/{ID}" in names(storage.backend)


def test_it_can_be_closed_twice_and_used_again(storage: Storage) -> None:
    repository(storage)
    storage.backend.close()
    assert names(storage.backend, "keys") == [f"keys/{ID}"]
    storage.backend.close()
    storage.backend.close()
    assert read(storage.backend, f"keys/{ID}") == b"content"


def test_only_listings_and_reads_are_sent_and_nothing_is_changed(storage: Storage) -> None:
    repository(storage)
    before = tree(storage.folder)
    if not (storage.server and storage.at):
        look(storage.backend)
    else:
        with Proxy(storage.server) as proxy:
            through = storage.at(proxy.url)
            look(through)
            through.close()
            assert proxy.methods <= {"GET", "HEAD"}
            assert len(proxy.seen) >= 3
            assert not any("/data/" in seen.path for seen in proxy.seen)
    assert tree(storage.folder) == before


def look(backend: Backend) -> None:
    assert counted(backend) == [f"keys/{ID}", f"locks/{ID}", f"snapshots/{ID}"]
    assert read(backend, f"snapshots/{ID}") == b"content"
    with pytest.raises(BackendError):
        read(backend, f"snapshots/{OTHER}")


def test_nothing_that_is_printed_of_it_shows_a_secret(storage: Storage) -> None:
    for backend in (storage.backend, storage.denied, storage.missing):
        for secret in storage.secrets:
            assert secret not in repr(backend)
