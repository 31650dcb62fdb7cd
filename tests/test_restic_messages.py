"""What restic prints when it fails, replayed: the three versions' own words (fixtures/restic-output), and rarer ones.

A small program prints them and then exits, or hangs, as restic did. Here are the sentences that people read.
"""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from looks import a_snapshot, failure, fake_restic, is_gone, listing, look, pid_of, probe
from restic_monitor.model import Observation, Snapshot, Summary

FIXTURES = Path(__file__).parent / "fixtures" / "restic-output"
NOW = "2026-11-22T21:48:00Z"
ID = "07d81154" + "42" * 28


def replay(tmp_path: Path, name: str, end: str) -> Path:
    stdout, stderr = ((FIXTURES / f"{name}.{stream}") for stream in ("stdout", "stderr"))
    texts = [file.read_bytes() if file.exists() else b"" for file in (stdout, stderr)]
    return fake_restic(tmp_path / "restic", texts[0], texts[1], end)


def statuses() -> dict[str, int]:
    """Of the fixtures, from the table in their README: `| situation | version | exit status | seconds | files |`."""
    rows = re.findall(r"^\|[^|]*\|[^|]*\| (\d+) \|[^|]*\| (\S+) \|$", (FIXTURES / "README.md").read_text(), re.MULTILINE)
    return {name: int(status) for status, name in rows}


NO_KEYS = "no keys for the store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in extra_env, or in an environment file"
EXITED = {
    "14-badflag": "unknown flag: --nonsense",
    "18-badflag": "unknown flag: --nonsense",
    "19-badflag": "unknown flag: --nonsense",
    "14-badurl": "parsing repository location failed: invalid backend; If the repository is in a local directory, "
    "you need to add a `local:` prefix",
    "18-badurl": "parsing repository location failed: invalid backend; If the repository is in a local directory, "
    "you need to add a `local:` prefix",
    "19-badurl": "parsing repository location failed: invalid backend; If the repository is in a local directory, "
    "you need to add a `local:` prefix",
    "14-nocreds": "Encountered an unsupported algorithm.",
    "18-nocreds": NO_KEYS,
    "19-nocreds": NO_KEYS,
    "14-noprefix": "no repository at s3:https://s3.example.com/backups",
    "18-noprefix": "no repository at s3:https://s3.example.com/backups (restic exit 10)",
    "19-noprefix": "no repository at s3:https://s3.example.com/backups (restic exit 10)",
    "14-norepo": "no repository at s3:https://s3.example.com/backups",
    "18-norepo": "no repository at s3:https://s3.example.com/backups (restic exit 10)",
    "19-norepo": "no repository at s3:https://s3.example.com/backups (restic exit 10)",
    "14-rest404": "no repository at s3:https://s3.example.com/backups",
    "18-rest404": "no repository at s3:https://s3.example.com/backups (restic exit 10)",
    "19-rest404": "no repository at s3:https://s3.example.com/backups (restic exit 10)",
    "14-nopw": "the password is empty",
    "18-nopw": "the password is empty",
    "19-nopw": "the password is empty",
    "14-wrongpw": "wrong password or no key",
    "18-wrongpw": "wrong password or no key (restic exit 12)",
    "19-wrongpw": "wrong password or no key (restic exit 12)",
}
SIGNATURE = "The request signature we calculated does not match the signature you provided. Check your key and signing method."
KEY_ID = "The Access Key Id you provided does not exist in our records."
NO_HOST = "dial tcp: lookup no-such-host.invalid on 10.255.255.53:53: no such host"
REFUSED = "dial tcp 127.0.0.1:42099: connect: connection refused"
RETRIED = {
    "dns": ("unreachable", NO_HOST),
    "nobucket": ("error", "The specified bucket does not exist"),
    "refused": ("unreachable", REFUSED),
    "restrefused": ("unreachable", REFUSED),
    "wrongkeyid": ("error", KEY_ID),
    "wrongsecret": ("error", SIGNATURE),
}
HEALS = ("refused", "restrefused")
HOPELESS = [f"{version}-{cause}" for version in ("18", "19") for cause in RETRIED if cause not in HEALS]
HOPEFUL = [f"{version}-{cause}" for version in ("18", "19") for cause in HEALS]


def test_every_recorded_output_is_replayed() -> None:
    replayed = {*EXITED, *(f"{version}-{cause}" for version in ("14", "18", "19") for cause in RETRIED)}
    lists = {f"{version}-hostnone" for version in ("14", "18", "19")}
    assert replayed | lists == set(statuses()) == {file.stem for file in FIXTURES.glob("*.std*")}


@pytest.mark.parametrize("name", EXITED)
def test_restic_ends_and_its_reason_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    program = replay(tmp_path, name, f"exit {statuses()[name]}")
    assert failure(probe(program)) == ("error", EXITED[name])


@pytest.mark.parametrize("version", ["14", "18", "19"])
def test_an_empty_list_is_an_observation(tmp_path: Path, version: str) -> None:
    seen = look(probe(replay(tmp_path, f"{version}-hostnone", "exit 0")))
    assert (seen.snapshots, seen.unreadable) == ((), ())


@pytest.mark.parametrize("cause", RETRIED)
def test_0_14_gives_up_at_once_with_the_same_reason(tmp_path: Path, cause: str) -> None:
    assert failure(probe(replay(tmp_path, f"14-{cause}", "exit 1"))) == RETRIED[cause]


@pytest.mark.parametrize("name", HOPELESS)
def test_retries_that_cannot_heal_end_the_look_at_once(tmp_path: Path, name: str) -> None:
    program = replay(tmp_path, name, "exec sleep 60")
    began = time.monotonic()
    assert failure(probe(program)) == RETRIED[name[3:]]
    assert time.monotonic() - began < 3
    assert is_gone(pid_of(program))


@pytest.mark.parametrize("name", HOPEFUL)
def test_other_retries_go_on_until_the_limit_and_the_last_one_is_the_reason(tmp_path: Path, name: str) -> None:
    program = replay(tmp_path, name, "exec sleep 60")
    tries = (FIXTURES / f"{name}.stderr").read_text().count("retrying after")
    code, reason = failure(probe(program), seconds=1.0)
    assert (code, reason) == ("unreachable", f"{REFUSED} ({tries} tries, 1s)")
    assert is_gone(pid_of(program))


@pytest.mark.parametrize("name", [*HOPELESS, *HOPEFUL])
def test_the_end_of_fifteen_minutes_of_retries_has_the_same_reason(tmp_path: Path, name: str) -> None:
    assert failure(probe(replay(tmp_path, name, "exit 1"))) == RETRIED[name[3:]]


def test_the_last_retry_is_the_reason_not_the_first(tmp_path: Path) -> None:
    lines = [
        'Stat(<config/>) returned error, retrying after 1.1s: Stat: Get "https://s3.example.com/": dial tcp: i/o timeout',
        'Stat(<config/>) returned error, retrying after 2m2.2s: client.Head: Head "https://s3.example.com/": 503 Slow Down',
    ]
    program = fake_restic(tmp_path / "restic", stderr="\n".join([*lines, ""]).encode(), end="exec sleep 60")
    assert failure(probe(program), 1.0) == ("unreachable", "503 Slow Down (2 tries, 1s)")


def test_no_word_until_the_limit(tmp_path: Path) -> None:
    program = fake_restic(tmp_path / "restic", end="exec sleep 60")
    assert failure(probe(program), 1.0) == ("unreachable", "no answer within 1s")


def test_a_message_without_a_retry_is_no_reason_to_end(tmp_path: Path) -> None:
    stderr = b"repository contains a file called NoSuchBucket: no such host\n"
    assert look(probe(fake_restic(tmp_path / "restic", b"[]\n", stderr, "sleep 0.2"))).snapshots == ()


# Exit codes


EXIT_ERROR = '{"message_type":"exit_error","code":%d,"message":"Fatal: %s"}\n'


@pytest.mark.parametrize(
    ("status", "stderr", "expected"),
    [
        (10, "", ("error", "no repository at s3:https://s3.example.com/backups (restic exit 10)")),
        (11, EXIT_ERROR % (11, "unable to create lock"), ("error", "the repository is locked (restic exit 11)")),
        (12, "", ("error", "wrong password or no key (restic exit 12)")),
        (130, EXIT_ERROR % (130, "context canceled"), ("error", "restic was interrupted (restic exit 130)")),
        (1, "", ("error", "restic ended with exit status 1 and said nothing")),
        (99, "", ("error", "restic ended with exit status 99 and said nothing")),
        (99, EXIT_ERROR % (99, "something new"), ("error", "something new (restic exit 99)")),
        (3, "whatever\n", ("error", "whatever (restic exit 3)")),
        (2, "panic: runtime error: index out of range\n\ngoroutine 1 [running]:\n", None),
        (2, "fatal error: runtime: out of memory\n\nruntime stack:\n", None),
        (2, "", ("error", "restic crashed: no word of it")),
        # 0.14 and 0.16 know only 1
        (1, "Fatal: unable to create lock in backend: repository is already locked by PID 7 on web1 by root\n", None),
        (1, "Fatal: unable to create lock in backend: client.PutObject: Access Denied\n", None),
        (1, "unknown flag: --insecure-no-password\n", ("error", "insecure_no_password needs restic 0.17 or newer")),
    ],
)
def test_exit_codes(tmp_path: Path, status: int, stderr: str, expected: tuple[str, str] | None) -> None:
    words = {
        "panic": "restic crashed: panic: runtime error: index out of range",
        "fatal": "restic crashed: fatal error: runtime: out of memory",
        "Fatal": "the repository is locked",
    }
    if "Access Denied" in stderr:
        words["Fatal"] = "unable to create lock in backend: client.PutObject: Access Denied"
    program = fake_restic(tmp_path / "restic", stderr=stderr.encode(), end=f"exit {status}")
    assert failure(probe(program)) == (expected or ("error", words[stderr[:5]]))


def test_a_restic_that_was_killed_says_which_signal(tmp_path: Path) -> None:
    program = fake_restic(tmp_path / "restic", listing([a_snapshot(NOW)]), end="kill -9 $$")
    assert failure(probe(program)) == ("error", "restic was ended by signal 9")


def test_a_list_does_not_count_when_restic_failed(tmp_path: Path) -> None:
    program = fake_restic(tmp_path / "restic", listing([a_snapshot(NOW)]), b"Fatal: no\n", "exit 1")
    assert failure(probe(program)) == ("error", "no")


# Standard error, mixed


def test_exit_error_is_found_between_plain_lines(tmp_path: Path) -> None:
    stderr = "unable to open cache: permission denied\n" + EXIT_ERROR % (12, "wrong password or no key found") + "bye\n"
    program = fake_restic(tmp_path / "restic", stderr=stderr.encode(), end="exit 1")
    assert failure(probe(program)) == ("error", "wrong password or no key")


def test_the_last_exit_error_counts(tmp_path: Path) -> None:
    stderr = EXIT_ERROR % (1, "the first") + '{"message_type":"error","message":"exit_error"}\n' + EXIT_ERROR % (1, "the last")
    program = fake_restic(tmp_path / "restic", stderr=stderr.encode(), end="exit 1")
    assert failure(probe(program)) == ("error", "the last")


def test_exit_error_on_standard_output(tmp_path: Path) -> None:
    stdout = "reading repository password from stdin\n" + EXIT_ERROR % (1, "no such thing")
    program = fake_restic(tmp_path / "restic", stdout.encode(), b"bye\n", "exit 1")
    assert failure(probe(program)) == ("error", "no such thing")


def test_an_exit_error_that_is_not_json_is_text(tmp_path: Path) -> None:
    program = fake_restic(tmp_path / "restic", stderr=b'{"message_type":"exit_error","mess\n', end="exit 1")
    assert failure(probe(program)) == ("error", '{"message_type":"exit_error","mess')


STACK = (
    "github.com/restic/restic/internal/backend/s3.(*Backend).Load\n"
    "\t/restic/internal/backend/s3/s3.go:312\n"
    "github.com/restic/restic/internal/repository.(*Repository).LoadRaw[...]\n"
    "\tgithub.com/restic/restic/internal/repository/raw.go:20\n"
    "runtime.goexit\n"
    "\t/usr/lib/go/src/runtime/asm_amd64.s:1700 +0x1\n"
)


@pytest.mark.parametrize("as_json", [True, False])
def test_stack_traces_are_left_out(tmp_path: Path, as_json: bool) -> None:
    text = f"client.GetObject: The specified object is asleep\n{STACK}"
    stderr = json.dumps({"message_type": "exit_error", "code": 1, "message": text}) + "\n" if as_json else text
    program = fake_restic(tmp_path / "restic", stderr=stderr.encode(), end="exit 1")
    assert failure(probe(program)) == ("error", "The specified object is asleep")


def test_long_reasons_are_cut_and_stay_one_printable_line(tmp_path: Path) -> None:
    stderr = "Fatal: \x1b[31mred\x07 <b>&\u202e " + "x" * 500 + "\nnext\n"
    program = fake_restic(tmp_path / "restic", stderr=stderr.encode() + b"\xff\xfe\n", end="exit 1")
    code, reason = failure(probe(program))
    assert code == "error"
    assert reason.startswith("[31mred (b)+ xxxx")
    assert reason.isprintable()
    assert len(reason) == 150


def test_secrets_are_taken_out_of_restics_words(tmp_path: Path) -> None:
    stderr = (
        b"Fatal: rest:https://monitor:s3cr3t-of-the-url@host/: the password hunter2hunter2 is bad, so is s3cr3t-of-the-url\n"
    )
    program = fake_restic(tmp_path / "restic", stderr=stderr, end="exit 1")
    reason = failure(probe(program, secrets=["hunter2hunter2", "s3cr3t-of-the-url"]))[1]
    assert reason == "rest:https://monitor:***@host/: the password *** is bad, so is ***"


def test_our_own_words_stay_whatever_the_password_is(tmp_path: Path) -> None:
    """Stars in place of one of them would tell which it is."""
    program = fake_restic(tmp_path / "restic", stderr=b"Fatal: wrong password or no key found\n", end="exit 12")
    assert failure(probe(program, secrets=["password"])) == ("error", "wrong password or no key (restic exit 12)")


@pytest.mark.parametrize(
    "text",
    [
        "Get x: dial tcp 10.0.0.1:443: connect: no route to host",
        "Get x: dial tcp 10.0.0.1:443: i/o timeout",
        "Get x: net/http: TLS handshake timeout",
        "Head x: read tcp 10.0.0.1:1->10.0.0.2:443: read: connection reset by peer",
        "unexpected HTTP response (502): 502 Bad Gateway",
        "List: Please reduce your request rate.",
        "unable to start the sftp session: ssh: Could not resolve hostname nas: Name or service not known",
    ],
)
def test_troubles_of_the_network_are_unreachable(tmp_path: Path, text: str) -> None:
    program = fake_restic(tmp_path / "restic", stderr=(EXIT_ERROR % (1, text)).encode(), end="exit 1")
    assert failure(probe(program))[0] == "unreachable"


# Damaged snapshots, as the versions word them


@pytest.mark.parametrize(
    "line",
    [
        f"could not load snapshot {ID[:8]}: load <snapshot/{ID[:10]}>: invalid data returned",
        f'Ignoring "{ID}": failed to load snapshot {ID[:8]}: LoadRaw(<snapshot/{ID[:10]}>): invalid data returned',
        f'Ignoring "{ID}": failed to load snapshot {ID[:8]}: ciphertext verification failed',
        f'Ignoring "{ID}": a reason that nobody has thought of',
    ],
)
def test_a_damaged_snapshot_is_seen_though_restic_ends_well(tmp_path: Path, line: str) -> None:
    noise = "Load(<snapshot/07d8115442>, 0, 0) returned error, retrying after 1s: invalid data\n"
    program = fake_restic(tmp_path / "restic", listing([a_snapshot(NOW)]), f"{noise}{line}\n{line}\n".encode())
    seen = look(probe(program))
    assert seen.unreadable == (ID[:8],)
    assert seen.snapshots
    assert len(seen.snapshots) == 1


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_an_unreleased_restic_ends_with_1_at_the_first_damaged_snapshot(tmp_path: Path, stream: str) -> None:
    text = f"failed to load snapshot {ID[:8]}: LoadRaw(<snapshot/{ID[:10]}>): invalid data returned\n{STACK}"
    line = json.dumps({"message_type": "exit_error", "code": 1, "message": text}).encode() + b"\n"
    stdout, stderr = (line, b"") if stream == "stdout" else (b"", line)
    seen = look(probe(fake_restic(tmp_path / "restic", stdout, stderr, "exit 1")))
    assert (seen.snapshots, seen.unreadable) == (None, (ID[:8],))


@pytest.mark.parametrize("end", ["exec sleep 60", "exit 2", "kill -15 $$"])
def test_damage_that_was_seen_is_told_however_restic_ended(tmp_path: Path, end: str) -> None:
    line = f"could not load snapshot {ID[:8]}: load <snapshot/{ID[:10]}>: invalid data returned\n"
    seen = look(probe(fake_restic(tmp_path / "restic", b"", line.encode(), end)), 1.0)
    assert (seen.snapshots, seen.unreadable) == (None, (ID[:8],))


@pytest.mark.parametrize(
    "reason",
    [
        f"open /srv/snapshots/{ID}: no such file or directory",
        f"<snapshot/{ID[:10]}> does not exist",
        "The specified key does not exist.",
    ],
)
@pytest.mark.parametrize("words", [f"could not load snapshot {ID[:8]}:", f'Ignoring "{ID}": failed to load snapshot {ID[:8]}:'])
def test_a_snapshot_that_was_forgotten_while_restic_looked_is_not_damaged(tmp_path: Path, words: str, reason: str) -> None:
    path = tmp_path / "restic"
    program = fake_restic(path, listing([a_snapshot(NOW)]), f"{words} {reason}\n".encode(), f": >{path}.stderr")
    seen = look(probe(program))
    assert (printed(seen), seen.unreadable) == ((ONE,), ())
    assert path.with_suffix(".stderr").read_bytes() == b"", "it was looked at again"


def test_a_snapshot_that_is_listed_again_and_still_not_there_is_unreadable(tmp_path: Path) -> None:
    line = f'Ignoring "{ID}": failed to load snapshot {ID[:8]}: open /srv/snapshots/{ID}: no such file or directory\n'
    seen = look(probe(fake_restic(tmp_path / "restic", listing([a_snapshot(NOW)]), line.encode())))
    assert (printed(seen), seen.unreadable) == ((ONE,), (ID[:8],))


def test_what_restic_says_of_being_ended_is_no_damage(tmp_path: Path) -> None:
    """0.18 and 0.19 say so of each snapshot that they were reading when we sent SIGTERM."""
    said = f'Ignoring "{ID}": failed to load snapshot {ID[:8]}: context canceled'
    retry = "Load(<snapshot/07d8115442>, 0, 0) returned error, retrying after 1s: 503 Service Unavailable\n"
    end = f"trap 'echo {json.dumps(said)} >&2; exit 130' TERM; while :; do sleep 0.02; done"
    reason = failure(probe(fake_restic(tmp_path / "restic", b"", retry.encode(), end)), 1.0)
    assert reason == ("unreachable", "503 Service Unavailable (1 try, 1s)")


@pytest.mark.parametrize("stdout", [b"[]\n", listing([a_snapshot(NOW)])], ids=["nothing", "a part"])
def test_a_listing_that_was_denied_is_not_an_empty_repository(tmp_path: Path, stdout: bytes) -> None:
    stderr = b"List(snapshot) failed: Access Denied.\ncould not load snapshots: Access Denied.\n"
    program = fake_restic(tmp_path / "restic", stdout, stderr)
    assert failure(probe(program)) == ("error", "the snapshots cannot be listed: Access Denied.")
    stderr = b"could not load snapshots: Get: dial tcp 192.0.2.1:443: i/o timeout\n"
    assert failure(probe(fake_restic(tmp_path / "restic", stdout, stderr)))[0] == "unreachable"


def test_a_bucket_name_that_cannot_be_is_told_at_once(tmp_path: Path) -> None:
    line = "Stat(<config/>) returned error, retrying after 1s: Stat: Bucket name cannot be shorter than 3 characters\n"
    reason = failure(probe(fake_restic(tmp_path / "restic", b"", line.encode(), "exec sleep 60")))
    assert reason == ("error", "Bucket name cannot be shorter than 3 characters")


def test_https_to_a_store_that_speaks_http_is_told_at_once(tmp_path: Path) -> None:
    line = (
        'Stat(<config/>) returned error, retrying after 1s: Get "https://h/": http: server gave HTTP response to HTTPS client\n'
    )
    reason = failure(probe(fake_restic(tmp_path / "restic", b"", line.encode(), "exec sleep 60")))
    assert reason == ("error", "the store speaks http, not https: http:// in url?")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("ssh: connect to host 192.0.2.1 port 22: Connection refused", "unreachable"),
        ("ssh: Could not resolve hostname nas: Name or service not known", "unreachable"),
        ("nobody@nas: Permission denied (publickey,password).", "error"),
        ("Host key verification failed.", "error"),
    ],
)
def test_why_ssh_failed_is_what_ssh_said(tmp_path: Path, said: str, code: str) -> None:
    message = "Fatal: unable to open repository at sftp:nobody@nas:/x: unable to start the sftp session, error: unexpected EOF"
    line = json.dumps({"message_type": "exit_error", "code": 1, "message": message})
    program = fake_restic(tmp_path / "restic", b"", f"subprocess ssh: {said}\n{line}\n".encode(), "exit 1")
    assert failure(probe(program)) == (code, said)


def test_other_ignored_things_are_no_snapshots(tmp_path: Path) -> None:
    stderr = (
        b'Ignoring "filters": explicit snapshot ids are given\nunable to open cache: mkdir /nonexistent: permission denied\n'
    )
    assert look(probe(fake_restic(tmp_path / "restic", b"[]\n", stderr))).unreadable == ()


# Standard output


def printed(seen: Observation) -> tuple[Snapshot, ...]:
    """What restic printed, without what the probe made of it."""
    return tuple(replace(snapshot, stored=None, proved=None) for snapshot in seen.snapshots or ())


ONE = Snapshot("a1b2c3d4" * 8, datetime.fromisoformat(NOW), "web1", ("/srv",), (), user="root", tree="0" * 64)


@pytest.mark.parametrize(
    "noise",
    [
        b"reading repository password from stdin\n",
        b"[0:00] 100.00%  3 / 3 index files loaded\n" * 100,
        b'{"message_type":"status","seconds_elapsed":1}\n{"message_type":"status"}\n',
        b"created new cache in /var/cache/restic\n\n\n",
        b"[]\nnull\n[x\n",
        b"\xff\xfe\x00\n",
        b"\r\x1b[2Krepository opened \x1b[0m",
        b"\n  \n",
    ],
)
def test_noise_before_the_list(tmp_path: Path, noise: bytes) -> None:
    assert printed(look(probe(fake_restic(tmp_path / "restic", noise + listing([a_snapshot(NOW)]))))) == (ONE,)


@pytest.mark.parametrize("stdout", [b"[]", b"[]\n", b"null\n", b"loading\n[]\n", b"loading\nnull\n"])
def test_an_empty_list_has_two_spellings(tmp_path: Path, stdout: bytes) -> None:
    assert look(probe(fake_restic(tmp_path / "restic", stdout))).snapshots == ()


@pytest.mark.parametrize(
    "stdout",
    [
        b"",
        b"\n",
        b"no snapshots\n",
        b"{}\n",
        b'"[]"\n',
        b"[1]\n",
        b"[null]\n",
        b"[[]]\n",
        b'[{"id":"x"}]\n',
        b'[{"time":"2026-11-22T21:48:00Z"}]\n',
        b'[{"id":1,"time":"2026-11-22T21:48:00Z"}]\n',
        b'[{"group_key":{"hostname":"h","paths":null,"tags":null},"snapshots":[]}]\n',
        listing([a_snapshot(NOW), a_snapshot(NOW)])[:-20],
        b'[{"group_key":{},"snapshots":' + listing([a_snapshot(NOW)])[:-1] + b"}]\n",
    ],
)
def test_what_is_no_list_of_snapshots_is_an_error_and_never_an_empty_repository(tmp_path: Path, stdout: bytes) -> None:
    program = fake_restic(tmp_path / "restic", stdout)
    assert failure(probe(program)) == ("error", "restic ended well but printed no list of snapshots")


def test_unknown_fields_are_ignored_and_missing_ones_are_empty(tmp_path: Path) -> None:
    rustic = a_snapshot(NOW, label="x", delete="NotSet", parents=["y"], summary={"files_new": 1}, program_version="rustic 0.9")
    bare = a_snapshot(NOW, paths=None, hostname=None, username=None)
    nulls = [{**bare, "paths": None, "hostname": None, "tags": None}]
    seen = printed(look(probe(fake_restic(tmp_path / "restic", listing([rustic, bare, *nulls])))))
    nobody = Snapshot(ONE.id, ONE.time, tree=ONE.tree)
    assert seen == (ONE, nobody, nobody)


@pytest.mark.parametrize(
    ("summary", "understood"),
    [
        (
            {"backup_end": "2026-11-22T22:48:00+01:00", "total_files_processed": 7, "total_bytes_processed": 9},
            Summary(datetime.fromisoformat(NOW), 7, 9),
        ),
        ({"total_files_processed": 7, "total_bytes_processed": 9}, Summary(None, 7, 9)),
        ({"backup_end": 3, "total_files_processed": 7, "total_bytes_processed": 9, "new": {}}, Summary(None, 7, 9)),
        ({"total_files_processed": "7", "total_bytes_processed": 9}, None),
        ({"total_files_processed": 7}, None),
        ({}, None),
        ([], None),
        ("x", None),
        (None, None),
    ],
)
def test_a_summary_is_understood_or_there_is_none(tmp_path: Path, summary: object, understood: Summary | None) -> None:
    (seen,) = printed(look(probe(fake_restic(tmp_path / "restic", listing([a_snapshot(NOW, summary=summary)])))))
    assert seen == replace(ONE, summary=understood)


def test_an_original_is_what_it_was_made_of(tmp_path: Path) -> None:
    (seen,) = printed(look(probe(fake_restic(tmp_path / "restic", listing([a_snapshot(NOW, original="c" * 64)])))))
    assert seen == replace(ONE, original="c" * 64)


def test_hosts_paths_and_tags_are_what_restic_says(tmp_path: Path) -> None:
    hosts = ["", "büro-42", "日本", "WIN-7\\user", "a b", "\x1b[31mred\x1b[0m", "\u202eevil", "x" * 300]
    paths = ["C:\\Users\\Änne", "/", "/srv/\n"]
    program = fake_restic(tmp_path / "restic", listing([a_snapshot(NOW, hostname=h, paths=paths, tags=["é"]) for h in hosts]))
    seen = look(probe(program)).snapshots or ()
    assert [snapshot.host for snapshot in seen] == hosts
    assert {(snapshot.paths, snapshot.tags) for snapshot in seen} == {(tuple(paths), ("é",))}


def test_a_time_that_nobody_can_read_makes_that_snapshot_unreadable_not_the_others(tmp_path: Path) -> None:
    odd = a_snapshot("yesterday", id="b" * 64)
    seen = look(probe(fake_restic(tmp_path / "restic", listing([a_snapshot(NOW), odd]))))
    assert (printed(seen), seen.unreadable) == ((ONE,), ("b" * 64,))


# The program itself


def test_a_missing_program(tmp_path: Path) -> None:
    path = tmp_path / "nothing"
    assert failure(probe(path)) == (
        "error",
        f"the program {path} was not found; install restic, or write its whole path as restic: PATH",
    )


def test_a_program_that_may_not_be_run(tmp_path: Path) -> None:
    path = tmp_path / "restic"
    path.write_text("")
    assert failure(probe(path)) == ("error", f"cannot start {path}: permission denied")


def test_a_value_that_no_process_can_be_given(tmp_path: Path) -> None:
    program = fake_restic(tmp_path / "restic", b"[]")
    reason = failure(probe(program, RESTIC_REST_PASSWORD="a\0secret"))
    assert reason == ("error", f"cannot start {program}: NUL in an argument or a variable")
