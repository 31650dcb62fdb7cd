"""SFTP against a real sshd, against OpenSSH's sftp-server without ssh, and against small servers that do it wrong."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conftest import Unprivileged
from looks import is_gone, script
from restic_monitor.backends import Backend, BackendError, Entry, Kind
from restic_monitor.backends.sftp import Sftp
from restics import Backup, make_repository, require
from sockets import raw
from sshd import Sftp as Server

ENVIRONMENT = {"PATH": os.environ["PATH"]}
STORED = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
ID = "ab" * 32


def over_ssh(server: Server, path: str | Path, **options: Any) -> Sftp:
    chosen = {"host": server.host, "user": server.user, "port": str(server.port), "args": server.args, **options}
    return Sftp(path=str(path), environment={**server.env, **chosen.pop("environment", {})}, **chosen)


def directly(path: str | Path, *arguments: str) -> Sftp:
    """OpenSSH's server, and no ssh."""
    return by_command(" ".join([str(require("sftp-server")), *arguments]), path)


def by_command(command: str, path: str | Path = "repo") -> Sftp:
    return Sftp("nas", "", "", str(path), ENVIRONMENT, command)


def some_repository(path: Path) -> Path:
    for name in ("config", f"keys/{ID}", f"snapshots/{ID}", f"index/{ID}", f"data/ab/{ID}", f"data/cd/{ID}"):
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"content of {name}")
        os.utime(file, (0, STORED.timestamp()))
    (path / "locks").mkdir()
    return path


def names(backend: Backend, folder: str = "", seconds: float = 20) -> list[str]:
    return sorted(entry.name for entry in backend.list(folder, time.monotonic() + seconds))


def read(backend: Backend, name: str, limit: int = 1_000_000, seconds: float = 20) -> bytes:
    return backend.read(name, time.monotonic() + seconds, limit)


def problem(work: Callable[[], object]) -> tuple[Kind, str]:
    with pytest.raises(BackendError) as error:
        work()
    return error.value.kind, error.value.message


# What is seen


def test_a_look_over_ssh_sees_a_real_repository_and_reads_its_newest_file(sshd: Server) -> None:
    repository = make_repository(sshd.folder / "look", snapshots=[Backup(datetime(2026, 2, 1, tzinfo=UTC))])
    backend = over_ssh(sshd, repository.path)
    seen = {entry.name: entry for entry in backend.list("", time.monotonic() + 20)}
    expected = [path for folder in ("keys", "locks", "snapshots") for path in (repository.path / folder).iterdir()]
    assert sorted(seen) == sorted(["config", *(str(path.relative_to(repository.path)) for path in expected)])
    for path in expected:
        found, status = seen[str(path.relative_to(repository.path))], path.stat()
        assert (found.size, found.modified) == (status.st_size, datetime.fromtimestamp(int(status.st_mtime), UTC))
    (snapshot,) = (name for name in seen if name.startswith("snapshots/"))
    assert hashlib.sha256(read(backend, snapshot)).hexdigest() == snapshot.partition("/")[2]
    backend.close()


@pytest.mark.parametrize("name", ["0.18", "0.19"])
def test_restic_itself_sees_the_same_repository(sshd: Server, name: str) -> None:
    """The way in, the login and the options are those restic takes."""
    path = f"same-{name}"
    repository = make_repository(sshd.folder / path, name, [Backup(datetime(2026, 2, 1, tzinfo=UTC))])
    told = repository.run("snapshots", "--no-lock", "-o", f"sftp.args={sshd.args}", location=sshd.location(path))
    (snapshot,) = names(over_ssh(sshd, repository.path), "snapshots")
    assert snapshot.partition("/")[2][:8] in told


def test_one_connection_serves_the_listing_and_the_reading(sshd: Server, tmp_path: Path) -> None:
    repository = some_repository(sshd.folder / "one")
    words = f"ssh {sshd.host} -p {sshd.port} -l {sshd.user} {sshd.args} -s sftp"
    counting = script(tmp_path / "ssh", f"#!/bin/sh\necho started >>{tmp_path}/log\nexec {words}\n")
    backend = by_command(str(counting), repository)
    assert names(backend) == ["config", f"keys/{ID}", f"snapshots/{ID}"]
    assert read(backend, f"snapshots/{ID}") == f"content of snapshots/{ID}".encode()
    assert (tmp_path / "log").read_text() == "started\n"
    backend.close()
    assert names(backend, "keys") == [f"keys/{ID}"]
    assert (tmp_path / "log").read_text() == "started\n" * 2
    backend.close()


def test_ssh_ends_with_the_backend(sshd: Server, tmp_path: Path) -> None:
    words = f"ssh {sshd.host} -p {sshd.port} -l {sshd.user} {sshd.args} -s sftp"
    noting = script(tmp_path / "ssh", f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec {words}\n")
    backend = by_command(str(noting), some_repository(sshd.folder / "ends"))
    names(backend)
    backend.close()
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_files_have_their_sizes_and_the_moment_they_were_stored(tmp_path: Path) -> None:
    backend = directly(some_repository(tmp_path / "repo"))
    (found,) = backend.list("snapshots", time.monotonic() + 20)
    assert found == Entry(f"snapshots/{ID}", len(f"content of snapshots/{ID}"), STORED)
    backend.close()


def test_folders_below_are_looked_into(tmp_path: Path) -> None:
    backend = directly(some_repository(tmp_path / "repo"))
    assert names(backend, "data") == [f"data/ab/{ID}", f"data/cd/{ID}"]
    for number in range(40):
        (tmp_path / f"repo/data/{number:02x}/deeper").mkdir(parents=True)
        (tmp_path / f"repo/data/{number:02x}/deeper/file").touch()
    assert len(names(backend, "data")) == 42
    backend.close()


def test_neighbours_uploads_and_what_is_no_file(tmp_path: Path) -> None:
    repository = some_repository(tmp_path / "repo")
    (repository / f"snapshots/{ID}-tmp-123").touch()
    (repository / "snapshots-old").mkdir()
    (repository / "snapshots-old" / ID).touch()
    (repository / "snapshots/link").symlink_to(repository / "config")
    os.mkfifo(repository / "snapshots/pipe")
    (repository / "snapshots/emp\N{LATIN SMALL LETTER TURNED R}y").touch()
    os.close(os.open(os.fsencode(repository) + b"/snapshots/\xff", os.O_CREAT))
    found = [f"snapshots/{name}" for name in (ID, f"{ID}-tmp-123", "emp\N{LATIN SMALL LETTER TURNED R}y", "\ufffd")]
    backend = directly(repository)
    assert names(backend, "snapshots") == found
    assert names(backend) == ["config", f"keys/{ID}", *found]
    backend.close()


def test_a_path_begins_where_the_login_does_unless_it_is_a_whole_one(tmp_path: Path) -> None:
    some_repository(tmp_path / "in/repo")
    for path in ("in/repo", "./in/../in/repo/", tmp_path / "in/repo"):
        backend = directly(path, "-d", str(tmp_path))
        assert names(backend) == ["config", f"keys/{ID}", f"snapshots/{ID}"]
        assert read(backend, "config") == b"content of config"
        backend.close()
    for path in ("", "."):
        backend = directly(path, "-d", str(tmp_path / "in/repo"))
        assert names(backend) == ["config", f"keys/{ID}", f"snapshots/{ID}"]
        backend.close()


# What is missing, and what may not be seen


def test_no_repository_there_is_missing(sshd: Server) -> None:
    backend = over_ssh(sshd, "/nothing/here")
    where = f"at {sshd.user}@127.0.0.1 port {sshd.port}"
    assert problem(lambda: names(backend)) == (Kind.MISSING, f"there is no /nothing/here {where}")
    assert problem(lambda: read(backend, "config")) == (Kind.MISSING, f"there is no /nothing/here/config {where}")
    backend.close()


def test_a_folder_that_is_missing_in_a_repository_is_empty_and_missing_when_asked_for(tmp_path: Path) -> None:
    repository = some_repository(tmp_path / "repo")
    shutil.rmtree(repository / "snapshots")
    backend = directly(repository)
    assert names(backend) == ["config", f"keys/{ID}"]
    assert problem(lambda: names(backend, "snapshots"))[0] is Kind.MISSING
    backend.close()


def test_an_empty_folder_is_no_error(tmp_path: Path) -> None:
    backend = directly(tmp_path)
    assert names(backend) == []
    backend.close()


def test_a_file_in_the_place_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / "repo").touch()
    assert problem(lambda: names(directly(tmp_path / "repo")))[0] in (Kind.MISSING, Kind.REFUSED)


def test_what_this_login_may_not_see_is_denied(unprivileged: Unprivileged) -> None:
    repository = some_repository(unprivileged.folder / "repo")
    backend = by_command(f"{unprivileged.prefix}{require('sftp-server')}", repository)
    (repository / "locks").chmod(0)
    listed = backend.list("", time.monotonic() + 20)
    assert sorted(entry.name for entry in listed) == ["config", f"keys/{ID}", f"snapshots/{ID}"]
    assert listed.denied == {"locks"}
    denied = (Kind.DENIED, f"{repository}/locks at the server behind sftp.command may not be read by this login")
    assert problem(lambda: names(backend, "locks")) == denied
    (repository / f"snapshots/{ID}").chmod(0)
    assert problem(lambda: read(backend, f"snapshots/{ID}"))[0] is Kind.DENIED
    (repository / "snapshots").chmod(0)
    assert problem(lambda: names(backend))[0] is Kind.DENIED
    (repository / "locks").chmod(0o700)
    (repository / "snapshots").chmod(0o700)
    repository.chmod(0)
    assert problem(lambda: names(backend))[0] is Kind.DENIED
    repository.chmod(0o700)
    backend.close()


# Reading


@pytest.mark.parametrize("size", [0, 1, 400, 32_767, 32_768, 32_769, 100_000, 3_000_000])
def test_a_file_is_read_whole_or_as_far_as_wanted(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    backend = directly(tmp_path)
    for limit in (size + 1, size, max(size - 1, 0), size // 2, 0):
        assert read(backend, "file", limit) == content[:limit]
    backend.close()


def test_a_listing_that_was_left_half_way_does_not_disturb_what_comes_next(tmp_path: Path) -> None:
    repository = some_repository(tmp_path / "repo")
    for number in range(1_000):
        (repository / f"snapshots/{number:064x}").touch()
    backend = directly(repository)
    began = iter(backend.list("snapshots", time.monotonic() + 20))
    first = next(began)
    assert read(backend, "config") == b"content of config"
    assert len(names(backend, "snapshots")) == 1_001
    assert len({first, *began}) == 1_001
    backend.close()


# ssh


@pytest.mark.slow
def test_the_command_is_restics_with_no_questions_asked(tmp_path: Path) -> None:
    script(tmp_path / "ssh", f'#!/bin/sh\nfor word; do echo "<$word>"; done >>{tmp_path}/log\n')

    def words(**options: str) -> str:
        given = {"host": "nas", "user": "", "port": "", "path": "repo", **options}
        problem(lambda: names(Sftp(**given, environment={"PATH": f"{tmp_path}:{ENVIRONMENT['PATH']}"})))
        said = (tmp_path / "log").read_text().split("<-oBatchMode=yes>\n")[-1].replace("\n", "")
        (tmp_path / "log").unlink()
        return said

    assert words() == "<nas><-s><sftp>"
    assert words(user="backup", port="2222") == "<nas><-p><2222><-l><backup><-s><sftp>"
    assert words(host="::1", user="backup@example.com") == "<::1><-l><backup@example.com><-s><sftp>"
    assert words(args="-i '/my keys/id' -o BatchMode=no") == "<nas><-i></my keys/id><-o><BatchMode=no><-s><sftp>"


def test_a_port_where_nobody_listens(sshd: Server) -> None:
    said = problem(lambda: names(over_ssh(sshd, "repo", port="1")))
    assert said == (Kind.UNREACHABLE, f"{sshd.user}@127.0.0.1 port 1 refuses the connection")


def test_a_host_whose_name_is_unknown(sshd: Server) -> None:
    kind, message = problem(lambda: names(over_ssh(sshd, "repo", host="nas.invalid")))
    assert (kind, message.endswith("is no host that can be found: its name is unknown")) == (Kind.UNREACHABLE, True)


def test_a_key_that_may_not_log_in(sshd: Server) -> None:
    kind, message = problem(lambda: names(over_ssh(replace(sshd, key=sshd.stranger), "repo")))
    assert kind is Kind.DENIED
    assert "does not let us in without a password: add this user's public key to authorized_keys there" in message


def test_a_private_key_that_others_may_read(sshd: Server, tmp_path: Path) -> None:
    key = Path(shutil.copy(sshd.key, tmp_path / "key"))
    key.chmod(0o644)
    kind, message = problem(lambda: names(over_ssh(replace(sshd, key=key), "repo")))
    assert (kind, "others may read the private key" in message) == (Kind.DENIED, True)


def test_a_host_key_that_is_not_known(sshd: Server, tmp_path: Path) -> None:
    kind, message = problem(lambda: names(over_ssh(replace(sshd, known_hosts=tmp_path / "none"), "repo")))
    assert kind is Kind.REFUSED
    assert f"run `ssh -p {sshd.port} {sshd.user}@127.0.0.1` once by hand as the same user" in message
    assert not (tmp_path / "none").exists()


def test_a_host_key_that_has_changed(sshd: Server, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{sshd.port} {sshd.stranger.with_suffix('.pub').read_text()}")
    kind, message = problem(lambda: names(over_ssh(replace(sshd, known_hosts=known), "repo")))
    assert (kind, "has another host key than known_hosts says" in message) == (Kind.REFUSED, True)


def test_a_server_that_says_nothing_is_waited_for_until_the_deadline(sshd: Server) -> None:
    began = time.monotonic()
    with raw(lambda connected: time.sleep(3)) as hole:
        kind, message = problem(lambda: names(over_ssh(sshd, "repo", port=str(hole.port)), seconds=1))
        assert time.monotonic() - began < 2
    assert (kind, message) == (Kind.TIMEOUT, f"{sshd.user}@127.0.0.1 port {hole.port} has not answered in time")


def test_a_server_that_hangs_up(sshd: Server) -> None:
    with raw(lambda connected: None) as short:
        kind, message = problem(lambda: names(over_ssh(sshd, "repo", port=str(short.port))))
        assert short.connections == 4
    assert (kind, "closed the connection" in message) == (Kind.UNREACHABLE, True)


def test_a_server_without_sftp(sshd: Server) -> None:
    said = problem(lambda: names(by_command(sshd.command.replace("-s sftp", "-s nothing"))))
    assert said[0] is Kind.REFUSED
    assert "offers no SFTP: its sshd_config needs a line `Subsystem sftp`" in said[1]


def test_ssh_that_is_not_here(sshd: Server, tmp_path: Path) -> None:
    kind, message = problem(lambda: names(over_ssh(sshd, "repo", environment={"PATH": str(tmp_path)})))
    assert (kind, message) == (Kind.REFUSED, "the program ssh was not found; install OpenSSH's client")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"args": "-i 'key"}, "sftp.args: a single quote is not closed"),
        ({"command": '"ssh', "args": ""}, "sftp.command: a double quote is not closed"),
        ({"command": "''", "args": ""}, "sftp.command is empty"),
        ({"command": "/nothing/ssh", "args": ""}, "the program /nothing/ssh was not found; see -o sftp.command"),
        ({"command": "/tmp", "args": ""}, "cannot start /tmp: permission denied"),
        ({"host": "-oProxyCommand=touch"}, "a host or a user of this name would be an option for ssh"),
        (
            {"args": "-o NoSuchOption=1"},
            "ssh refuses its configuration: command-line: line 0: Bad configuration option: nosuch",
        ),
    ],
)
def test_what_ssh_cannot_be_started_with_is_refused(sshd: Server, options: dict[str, str], message: str) -> None:
    kind, said = problem(lambda: names(over_ssh(sshd, "repo", **options)))
    assert (kind, message in said) == (Kind.REFUSED, True), said


def test_a_secret_of_the_environment_is_not_shown(tmp_path: Path) -> None:
    for line in ("echo $SSH_TOKEN >&2; exit 1", "echo $SSH_TOKEN; sleep 60"):
        chatty = script(tmp_path / "chatty", f"#!/bin/sh\n{line}\n")
        backend = Sftp("nas", "", "", "repo", {**ENVIRONMENT, "SSH_TOKEN": "canary-of-ssh"}, str(chatty))
        assert "canary" not in problem(partial(names, backend))[1]
        assert "canary" not in repr(backend)


# Servers that do it wrong


@pytest.mark.parametrize("at_once", [False, True])
def test_a_greeting_from_a_login_shell_is_shown_with_what_to_do(tmp_path: Path, at_once: bool) -> None:
    """Also when the server's answer comes with it."""
    server = require("sftp-server")
    both = r"printf 'Welcome to my NAS\n\0\0\0\34\2\0\0\0\3posix-rename@open'; sleep 1"
    greets = both if at_once else f"echo 'Welcome to my NAS'\nexec {server}"
    greeting = script(tmp_path / "shell", f"#!/bin/sh\n{greets}\n")
    kind, message = problem(lambda: names(by_command(str(greeting))))
    assert kind is Kind.MALFORMED
    assert message == (
        'the server behind sftp.command does not speak SFTP but says "Welcome to my NAS": '
        "a login there must print nothing (see ~/.bashrc)"
    )


def test_an_account_that_may_not_log_in(tmp_path: Path) -> None:
    nologin = script(tmp_path / "nologin", "#!/bin/sh\necho 'This account is currently not available.'\nexit 1\n")
    kind, message = problem(lambda: names(by_command(str(nologin))))
    assert (kind, "This account is currently not" in message) == (Kind.MALFORMED, True)


def test_a_server_that_ends_at_once() -> None:
    said = problem(lambda: names(by_command("sh -c 'exit 3'")))
    assert said == (
        Kind.UNREACHABLE,
        "the server behind sftp.command closed the connection and said nothing (exit status 3)",
    )


def test_a_server_that_drips_ends_at_the_deadline(tmp_path: Path) -> None:
    """One byte a second of a right answer."""
    dripping = "import sys, time\nfor byte in bytes([0, 0, 0, 5, 2, 0, 0, 0, 3]):\n"
    dripping += "    sys.stdout.buffer.write(bytes([byte]))\n    sys.stdout.flush()\n    time.sleep(1)\n"
    began = time.monotonic()
    program = script(tmp_path / "drips", f"#!{sys.executable}\n{dripping}")
    kind, _ = problem(lambda: names(by_command(str(program)), seconds=1.5))
    assert (kind, time.monotonic() - began < 3.5) == (Kind.TIMEOUT, True)


SERVER = """
import os, struct, sys
def take(count):
    data = sys.stdin.buffer.read(count)
    return data if len(data) == count else sys.exit()
def string(data):
    return struct.pack(">I", len(data)) + data
def send(kind, *parts):
    sys.stdout.buffer.write(string(bytes([kind]) + b"".join(parts)))
    sys.stdout.buffer.flush()
def status(number, code, text=b""):
    send(101, number, struct.pack(">I", code), string(text), string(b""))
FILE = struct.pack(">IQII", 0xD, 100, 0o100600, 0) + struct.pack(">I", 1_700_000_000)
def file(name, attributes=FILE):
    return string(name) + string(b"a line as of ls") + attributes
def version():
    send(2, struct.pack(">I", 3), string(b"posix-rename@openssh.com"), string(b"1"))
def answer(kind, number, body):
    if kind == 17:
        send(105, number, struct.pack(">II", 4, 0o40700))
    elif kind in (3, 11):
        send(102, number, string(number))
    elif kind == 4:
        status(number, 0)
    elif kind == 8:
        status(number, 8)
    else:
        status(number, 1)
%s
take(9)
version()
while True:
    (length,) = struct.unpack(">I", take(4))
    packet = take(length)
    answer(packet[0], packet[1:5], packet[5:])
"""


def server_that(path: Path, change: str) -> Sftp:
    """A small SFTP server with an empty repository; `change` is Python that puts other functions in place of SERVER's."""
    return by_command(str(script(path, f"#!{sys.executable}\n{SERVER % change}")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("def version(): send(2, struct.pack('>I', 2))", "version 2 of SFTP, not 3"),
        ("def version(): send(101, bytes(12))", "a packet of type 101 where VERSION belongs"),
        (
            "def version(): sys.stdout.buffer.write(b'\\x7f\\xff\\xff\\xff\\x02' * 10); sys.stdout.flush()",
            "a packet of 2147483647 bytes",
        ),
        ("def version(): sys.stdout.buffer.write(bytes(5)); sys.stdout.flush()", "a packet of 0 bytes"),
        ("def answer(kind, number, body): send(105, number)", "a packet ends too early"),
        ("def answer(kind, number, body): send(104, number, bytes(4))", "a packet of type 104 where ATTRS belongs"),
        ("def answer(kind, number, body): status(b'abcd', 1)", "an answer to nothing that was asked"),
        ("def answer(kind, number, body): send(105, number, b'\\xff' * 100_000)", "a packet ends too early"),
    ],
)
def test_what_is_no_sftp_is_malformed(tmp_path: Path, change: str, message: str) -> None:
    said = problem(lambda: names(server_that(tmp_path / "server", change)))
    assert said == (Kind.MALFORMED, f"the server behind sftp.command does not speak SFTP as it should: {message}")


NAMES = """
honest = answer
def answer(kind, number, body):
    if kind == 12:
        send(104, number, %s)
    else:
        honest(kind, number, body)
"""


@pytest.mark.parametrize("name", [b"../../etc/passwd", b"", b"a\0b"])
def test_a_name_that_no_file_can_have_is_malformed(tmp_path: Path, name: bytes) -> None:
    change = NAMES % f"struct.pack('>I', 1), file({name!r})"
    kind, message = problem(lambda: names(server_that(tmp_path / "server", change)))
    assert (kind, "a file with a name that none can have" in message) == (Kind.MALFORMED, True)


def test_a_packet_that_announces_more_names_than_it_has_is_malformed(tmp_path: Path) -> None:
    change = NAMES % "b'\\xff' * 4, file(b'a')"
    assert problem(lambda: names(server_that(tmp_path / "server", change)))[0] is Kind.MALFORMED


@pytest.mark.parametrize("content", ["struct.pack('>I', 1), file(b'again')", "bytes(4)"])
def test_a_listing_that_never_ends_ends_at_the_deadline(tmp_path: Path, content: str) -> None:
    began = time.monotonic()
    backend = server_that(tmp_path / "server", NAMES % content)
    kind, _ = problem(lambda: names(backend, "snapshots", seconds=1))
    assert (kind, time.monotonic() - began < 3) == (Kind.TIMEOUT, True)


def test_folders_in_folders_without_end_end_at_the_deadline(tmp_path: Path) -> None:
    folder = "struct.pack('>II', 4, 0o40700)"
    change = f"turn = 0\n{NAMES}" % f"struct.pack('>I', 1), file(b'a', {folder})) if next_turn() else status(number, 1"
    change += "\ndef next_turn():\n    global turn\n    turn += 1\n    return turn % 2\n"
    kind, _ = problem(lambda: names(server_that(tmp_path / "server", change), "snapshots", seconds=1))
    assert kind is Kind.TIMEOUT


DRIBBLE = """
left = {}
def answer(kind, number, body):
    size = struct.unpack(">I", body[:4])[0]
    handle, rest = body[4:4 + size], body[4 + size:]
    if kind in (3, 11):
        left[number] = [b"c", b"b", b"a"]
        send(102, number, string(number))
    elif kind == 12 and left[handle]:
        send(104, number, struct.pack(">I", 1), file(left[handle].pop(), ATTRIBUTES))
    elif kind == 5:
        offset, count = struct.unpack(">QI", rest)
        chunk = bytes(i % 251 for i in range(offset, min(offset + 70, 1000)))
        send(103, number, string(chunk)) if chunk else status(number, 1)
    elif kind == 17:
        send(105, number, struct.pack(">I", 0))
    else:
        status(number, 8 if kind == 8 else 1)
"""


def test_a_server_that_gives_little_at_a_time_and_tells_little(tmp_path: Path) -> None:
    """One name a packet, 70 bytes of a file where 32 kB were asked for, no attributes, no FSTAT."""
    backend = server_that(tmp_path / "server", DRIBBLE.replace("ATTRIBUTES", "bytes(4)"))
    assert [*backend.list("snapshots", time.monotonic() + 20)] == [
        Entry(f"snapshots/{name}", None, None) for name in ("a", "b", "c")
    ]
    assert read(backend, "snapshots/a") == bytes(i % 251 for i in range(1_000))
    assert len(names(backend)) == 10
    backend.close()


def test_attributes_that_nobody_needs_are_skipped(tmp_path: Path) -> None:
    extended = "struct.pack('>IQIIIIII', 0x8000000f, 77, 0, 0, 0o100644, 5, 1_700_000_000, 1) + string(b'a@b') + string(b'')"
    backend = server_that(tmp_path / "server", DRIBBLE.replace("ATTRIBUTES", extended))
    first = next(iter(backend.list("snapshots", time.monotonic() + 20)))
    assert first == Entry("snapshots/a", 77, datetime.fromtimestamp(1_700_000_000, UTC))
    backend.close()


@pytest.mark.parametrize(("code", "kind"), [(4, Kind.REFUSED), (7, Kind.UNREACHABLE)])
def test_a_failure_in_the_servers_own_words(tmp_path: Path, code: int, kind: Kind) -> None:
    change = f"def answer(kind, number, body): status(number, {code}, b'the disk\\n is gone')"
    said = problem(lambda: names(server_that(tmp_path / "server", change)))
    assert said == (kind, "repo at the server behind sftp.command cannot be read: the disk is gone")


def test_an_answer_without_bytes_is_not_the_end_of_a_file(tmp_path: Path) -> None:
    """A file cut short would look damaged."""
    change = "honest = answer\ndef answer(kind, number, body):\n"
    change += "    send(103, number, bytes(4)) if kind == 5 else honest(kind, number, body)\n"
    assert problem(lambda: read(server_that(tmp_path / "server", change), "config"))[0] is Kind.MALFORMED


def test_after_a_broken_answer_the_next_question_gets_a_new_connection(tmp_path: Path) -> None:
    once = f"import os\nif not os.path.exists({str(tmp_path / 'once')!r}):\n    open({str(tmp_path / 'once')!r}, 'w')\n"
    once += "    def version(): send(2, struct.pack('>I', 9))\n"
    backend = server_that(tmp_path / "server", once)
    assert problem(lambda: names(backend))[0] is Kind.MALFORMED
    assert names(backend) == []
    backend.close()


# Size


@pytest.mark.slow
def test_twenty_thousand_files(sshd: Server) -> None:
    folder = sshd.folder / "many/snapshots"
    folder.mkdir(parents=True)
    for number in range(20_000):
        (folder / f"{number:064x}").touch()
    backend = over_ssh(sshd, folder.parent)
    began = time.monotonic()
    assert len(names(backend)) == 20_000
    assert time.monotonic() - began < 10
    backend.close()


def test_the_login_works_by_hand(sshd: Server) -> None:
    """When this fails, all of the above does: it is the server's fault, not the client's."""
    done = subprocess.run(["sftp", "-b", "-", *sshd.args.split(), "-P", str(sshd.port), f"{sshd.user}@{sshd.host}"],
                          input="pwd\n", capture_output=True, text=True, env=dict(sshd.env), check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
