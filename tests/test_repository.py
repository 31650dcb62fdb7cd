"""restic's format: what restic wrote is read, what anybody else wrote there is Damaged; no crash, in bounded memory."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

import restics
from repositories import (
    MASTER,
    TREE,
    Sealer,
    base64_text,
    config,
    json_bytes,
    key_file,
    lock,
    name_of,
    packed,
    snapshot,
    write_repository,
)
from restic_monitor.model import KeyFile, Lock
from restic_monitor.repository import Damaged, check_name, documents, keys
from restic_monitor.repository.packed import SNAPSHOT_LIMIT_BYTES, unpack
from restic_monitor.repository.sealed import Key

NOW = datetime(2026, 11, 25, 12, 0, 0, 123456, tzinfo=UTC)
NAME = "a" * 64
PASSWORD = restics.PASSWORD.encode()
CHANGED = "not sealed with the key of this repository, or changed"
LIMIT = 1 << 20

key = Key(MASTER)
sealed = Sealer().seal(b'{"time":"2026-11-25T12:00:00Z"}')


def soon() -> float:
    return time.monotonic() + 60


def reason(function: Callable[..., object], *arguments: object) -> str:
    """Why it is Damaged."""
    with pytest.raises(Damaged) as damage:
        function(*arguments)
    assert str(damage.value) == damage.value.reason
    return damage.value.reason


# what restic wrote


@pytest.mark.parametrize("version", [1, 2])
def test_what_restic_wrote_is_read(restic_version: str, version: int, tmp_path: Path) -> None:
    """With the key as restic makes it, half a second of scrypt."""
    repository = restics.Repository(tmp_path / "repository", restics.require(f"restic-{restic_version}"))
    repository.run("init", "--repository-version", str(version))
    repository.backup(restics.Backup(NOW, host="wëb1", tags=("täglich", "b")))

    (file,) = (repository.path / "keys").iterdir()
    check_name(file.name, file.read_bytes())
    read = keys.read(file.read_bytes())
    opened = read.open(PASSWORD, soon())
    assert opened
    assert read.open(b"another password", soon()) is None
    assert read.holder.created
    assert abs(read.holder.created - datetime.now(UTC)) < timedelta(minutes=5)

    assert documents.read_config(opened.open((repository.path / "config").read_bytes())) == version
    (file,) = (repository.path / "snapshots").iterdir()
    check_name(file.name, file.read_bytes())
    found = documents.read_snapshot(file.name, unpack(opened.open(file.read_bytes()), SNAPSHOT_LIMIT_BYTES))
    (told,) = json.loads(repository.run("snapshots", "--json"))
    assert (found.id, found.tree, found.host, [*found.paths]) == (told["id"], told["tree"], "wëb1", told["paths"])
    assert (found.time, found.user, found.tags) == (NOW.replace(microsecond=0), told["username"], ("täglich", "b"))
    if "summary" in told:
        assert found.summary
        assert found.summary.files == told["summary"]["total_files_processed"]
        assert found.summary.size_bytes == told["summary"]["total_bytes_processed"]
    (file,) = (repository.path / "index").iterdir()
    assert json.loads(unpack(opened.open(file.read_bytes()), LIMIT))["packs"]


def test_the_key_of_each_password_opens_and_no_other(tmp_path: Path) -> None:
    """Made by restic itself, which adds one."""
    repository = restics.make_repository(tmp_path / "repository")
    (tmp_path / "new").write_text("pässwörd two\n")
    repository.run("key", "add", "--new-password-file", str(tmp_path / "new"), "--user", "eve", "--host", "elsewhere")
    read = [keys.read(file.read_bytes()) for file in (repository.path / "keys").iterdir()]
    new = [file for file in read if file.open("pässwörd two".encode(), soon())]
    assert [(file.holder.user, file.holder.host) for file in new] == [("eve", "elsewhere")]
    old = [file for file in read if file.open(PASSWORD, soon())]
    assert len(old) == 1
    assert old != new


@pytest.mark.parametrize("version", [1, 2])
def test_what_the_tests_write_is_opened_by_restic(restic_version: str, version: int, tmp_path: Path) -> None:
    """The other direction: our writer is no mirror of our reader's mistakes."""
    times = [NOW - timedelta(hours=hours) for hours in range(5)]
    written = write_repository(tmp_path / "repository", (snapshot(at, tags=["ä"]) for at in times), version=version)
    written.add_lock(lock(NOW))
    repository = restics.Repository(written.path, restics.require(f"restic-{restic_version}"))
    told = json.loads(repository.run("snapshots", "--json", "--no-lock"))
    assert [each["id"] for each in told] == [*reversed(written.snapshots)]
    (held,) = repository.run("list", "locks", "--no-lock").split()
    assert json.loads(repository.run("cat", "lock", held, "--no-lock"))["pid"] == 4711


@pytest.mark.parametrize(
    ("k", "r", "nonce", "message", "tag"),
    [
        (
            "ec074c835580741701425b623235add6",
            "851fc40c3467ac0be05cc20404f3f700",
            "fb447350c4e868c52ac3275cf9d4327e",
            "f3f6",
            "f4c633c3044fc145f84f335cb81953de",
        ),
        (
            "75deaa25c09f208e1dc4ce6b5cad3fbf",
            "a0f3080000f46400d0c7e9076c834403",
            "61ee09218d29b0aaed7e154a2c5509cc",
            "",
            "dd3fab2251f11ac759f0887129cc2ee7",
        ),
        (
            "6acb5f61a7176dd320c5c1eb2edcdc74",
            "48443d0bb0d21109c89a100b5ce2c208",
            "ae212a55399729595dea458bc621ff0e",
            "663cea190ffb83d89593f3f476b6bc24d7e679107ea26adb8caf6652d0656136",
            "0ee1c16bb73f0f4fd19881753c01cdbe",
        ),
    ],
)
def test_the_vectors_of_poly1305_aes(k: str, r: str, nonce: str, message: str, tag: str) -> None:
    """Appendix B of https://cr.yp.to/mac/poly1305-20050329.pdf"""
    opens = Key(bytes(range(32)) + bytes.fromhex(k) + bytes.fromhex(r))
    good = bytes.fromhex(nonce + message + tag)
    assert len(opens.open(good)) == len(message) // 2
    assert reason(opens.open, good[:-1] + bytes([good[-1] ^ 1])) == CHANGED


# sealed files


@given(st.binary(max_size=5000))
def test_what_was_sealed_is_opened(plaintext: bytes) -> None:
    assert key.open(Sealer().seal(plaintext)) == plaintext


@given(st.integers(0, len(sealed) * 8 - 1))
def test_a_bit_that_flipped_anywhere_is_found(bit: int) -> None:
    changed = bytearray(sealed)
    changed[bit // 8] ^= 1 << bit % 8
    assert reason(key.open, bytes(changed)) == CHANGED
    assert reason(check_name, name_of(sealed), bytes(changed)) == "its content is not what its name says"


@given(st.integers(0, len(sealed) - 1), st.sampled_from(["front", "back"]))
def test_a_file_that_is_cut_off_is_found(length: int, end: str) -> None:
    cut = sealed[:length] if end == "back" else sealed[len(sealed) - length :]
    assert reason(key.open, cut) == ("empty" if not length else "cut off" if length < 32 else CHANGED)


@given(st.binary(min_size=1, max_size=100))
def test_more_than_was_sealed_is_found(more: bytes) -> None:
    assert reason(key.open, sealed + more) == CHANGED


@given(st.binary(max_size=200))
@example(b"")
@example(bytes(31))
@example(bytes(100))
def test_any_bytes_are_not_sealed(content: bytes) -> None:
    assert reason(key.open, content)


def test_a_nonce_of_zeros_is_refused_though_its_tag_is_right() -> None:
    assert reason(key.open, Sealer().seal(b"{}", iv=bytes(16))) == "sealed without a nonce"


@pytest.mark.parametrize("part", [slice(0, 32), slice(32, 48), slice(48, 64)], ids=["encryption", "tag's k", "tag's r"])
def test_a_key_with_a_part_of_zeros_is_no_key(part: slice) -> None:
    zeroed = bytearray(MASTER)
    zeroed[part] = bytes(part.stop - part.start)
    assert reason(Key, bytes(zeroed)) == "its key is no key"


@pytest.mark.parametrize("length", [0, 32, 63, 65])
def test_a_key_of_another_length_is_no_key(length: int) -> None:
    assert reason(Key, bytes(range(1, 100))[:length]) == "its key is no key"


def test_the_key_of_another_repository_opens_nothing() -> None:
    assert reason(Key(MASTER[::-1]).open, sealed) == CHANGED


def test_the_tag_is_of_what_is_stored_and_not_of_what_it_decrypts_to() -> None:
    """The right plaintext under another r: whoever decrypted first would have had it in hand."""
    other = Sealer(MASTER[:48] + MASTER[47:31:-1])
    assert reason(key.open, other.seal(b'{"secret": 1}')) == CHANGED


def test_a_key_shows_nothing_of_itself() -> None:
    assert not any(shown in f"{key} {key!r}" for shown in (MASTER.hex()[:8], str(MASTER[:8]), base64_text(MASTER)[:8]))
    file = keys.read(json_bytes(key_file()))
    assert "salt" not in repr(file)


def test_threads_share_a_key() -> None:
    wrong: list[bytes] = []

    def opens(number: int) -> None:
        sealer, plaintext = Sealer(), b"%d" % number * 50
        wrong.extend(found for _ in range(200) if (found := key.open(sealer.seal(plaintext))) != plaintext)

    threads = [threading.Thread(target=opens, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# names


def test_a_file_has_the_name_of_its_content() -> None:
    check_name(hashlib.sha256(b"content").hexdigest(), b"content")


@pytest.mark.parametrize(
    "name",
    ["", "a", "../../../etc/passwd", "g" * 64, "a" * 63, "a" * 65, name_of(b"content").upper(), name_of(b"content") + "\n"],
)
def test_a_name_that_is_no_hash_is_nobodys(name: str) -> None:
    assert reason(check_name, name, b"content") == "its content is not what its name says"


def test_an_empty_file_is_called_that() -> None:
    assert reason(check_name, NAME, b"") == "empty"


# key files

NO_KEY_FILE = "no key file"
NOT_RESTICS = "its key derivation is not restic's"
NO_SENSE = "the parameters of its key derivation make no sense"
TOO_MUCH = "its key derivation would cost more than any that restic makes"
NO_BASE64 = "no base64 where it should be"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"N": 1 << 22}, TOO_MUCH),
        ({"N": 1 << 62, "r": 1 << 62}, TOO_MUCH),
        ({"N": 1 << 21, "r": 2}, TOO_MUCH),  # 512 MiB
        ({"N": 2, "r": 1 << 21}, TOO_MUCH),
        ({"N": 1 << 15, "r": 8, "p": 65}, TOO_MUCH),  # 32 MiB, and too long
        ({"N": 2, "r": 1, "p": (1 << 23) + 1}, TOO_MUCH),
        ({"N": 3}, NO_SENSE),
        ({"N": (1 << 15) + 1}, NO_SENSE),
        ({"N": 1}, NO_SENSE),
        ({"N": 0}, NO_SENSE),
        ({"N": 1 << 16, "r": 1}, NO_SENSE),  # for so small a block
        ({"N": 1 << 20, "r": 1}, NO_SENSE),
        ({"N": -2}, NO_SENSE),
        ({"N": -(1 << 63)}, NO_SENSE),
        ({"r": 0}, NO_SENSE),
        ({"r": -8}, NO_SENSE),
        ({"p": 0}, NO_SENSE),
        ({"p": -1}, NO_SENSE),
        ({"N": "32768"}, NO_KEY_FILE),
        ({"N": 2.5}, NO_KEY_FILE),
        ({"N": None}, NO_KEY_FILE),
        ({"N": True}, NO_KEY_FILE),
        ({"kdf": "argon2"}, NOT_RESTICS),
        ({"kdf": ""}, NOT_RESTICS),
        ({"kdf": "SCRYPT"}, NOT_RESTICS),
        ({"salt": ""}, NOT_RESTICS),
        ({"salt": base64_text(bytes(63))}, NOT_RESTICS),
        ({"salt": base64_text(bytes(65))}, NOT_RESTICS),
        ({"salt": "*" * 88}, NO_BASE64),
        ({"salt": "ä" * 88}, NO_BASE64),
        ({"salt": "AAA"}, NO_BASE64),
        ({"salt": None}, NO_KEY_FILE),
        ({"data": 1}, NO_KEY_FILE),
        ({"username": 1}, NO_KEY_FILE),
    ],
    ids=str,
)
def test_a_key_file_that_restic_would_not_make_is_refused_at_once(fields: dict[str, Any], expected: str) -> None:
    content = json_bytes(key_file() | fields)
    began = time.perf_counter()
    assert reason(keys.read, content) == expected
    assert time.perf_counter() - began < 0.1


def test_a_key_file_with_a_number_of_thousands_of_digits_is_none() -> None:
    assert reason(keys.read, json_bytes(key_file() | {"N": 0}).replace(b'"N":0', b'"N":1' + b"0" * 10_000)) == NO_KEY_FILE


@pytest.mark.parametrize("missing", ["kdf", "N", "r", "p", "salt", "data"])
def test_a_key_file_without_what_it_needs_is_none(missing: str) -> None:
    content = key_file()
    del content[missing]
    assert reason(keys.read, json_bytes(content)) == NO_KEY_FILE


def test_a_key_file_need_not_say_who_made_it() -> None:
    content = key_file(created="once upon a time")
    del content["username"], content["hostname"]
    assert keys.read(json_bytes(content)).holder == KeyFile()


@pytest.mark.parametrize(
    ("n", "r", "p"), [(1 << 15, 8, 5), (1 << 16, 8, 1), (1 << 15, 1, 1), (1 << 17, 8, 16), (1 << 14, 1, 1024)]
)
def test_what_restic_makes_and_the_most_that_is_allowed_is_read(n: int, r: int, p: int) -> None:
    keys.read(json_bytes(key_file() | {"N": n, "r": r, "p": p}))


@given(st.integers(0, 10**6))
def test_a_bit_that_flipped_in_a_key_opens_nothing(bit: int) -> None:
    content = key_file()
    data = bytearray(base64.b64decode(content["data"]))
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    assert keys.read(json_bytes(content | {"data": base64_text(bytes(data))})).open(PASSWORD, soon()) is None


@pytest.mark.parametrize("data", ["", "AAAA"])
def test_a_key_file_with_nothing_in_it_opens_nothing(data: str) -> None:
    assert keys.read(json_bytes(key_file(data=data))).open(PASSWORD, soon()) is None


@pytest.mark.parametrize("data", ["no base64", "ä"])
def test_a_key_file_without_base64_is_damaged_and_not_a_wrong_password(data: str) -> None:
    assert reason(keys.read(json_bytes(key_file(data=data))).open, PASSWORD, soon()) == "no base64 where it should be"


def inner(document: object, content: bytes | None = None) -> bytes:
    """A key file that the password opens, and this is in it."""
    file = key_file()
    read = keys.read(json_bytes(file))
    assert read.open(PASSWORD, soon())
    own = hashlib.scrypt(PASSWORD, salt=base64.b64decode(file["salt"]), n=2, r=1, p=1, dklen=64)
    return json_bytes(file | {"data": base64_text(Sealer(own).seal(json_bytes(document) if content is None else content))})


@pytest.mark.parametrize(
    ("master", "expected"),
    [
        ({}, "its master key makes no sense"),
        ([], "its master key makes no sense"),
        ({"mac": {"k": 1, "r": ""}, "encrypt": ""}, "its master key makes no sense"),
        ({"mac": {"k": "", "r": ""}, "encrypt": ""}, "its key is no key"),
        ({"mac": {"k": "*", "r": ""}, "encrypt": ""}, NO_BASE64),
        (
            {"mac": {"k": base64_text(bytes(16)), "r": base64_text(bytes(16))}, "encrypt": base64_text(bytes(32))},
            "its key is no key",
        ),
    ],
    ids=str,
)
def test_a_master_key_that_is_none_is_damage_and_no_wrong_password(master: object, expected: str) -> None:
    assert reason(keys.read(inner(master)).open, PASSWORD, soon()) == expected


def test_no_more_keys_are_derived_at_once_than_there_are_cpus() -> None:
    """One more finds no place until its time is over, and afterwards it does. The places are taken here: cryptography 43 keeps
    Python's lock while it derives, so that one thread could not meet another."""
    key = keys.read(json_bytes(key_file()))
    assert key.open(PASSWORD, soon())
    with contextlib.ExitStack() as taken:
        for _ in range(os.cpu_count() or 1):
            taken.enter_context(keys._at_once)
        with pytest.raises(keys.OutOfTime):
            key.open(PASSWORD, time.monotonic() + 0.1)
    assert key.open(PASSWORD, soon())


# what is compressed


def frame(blocks: bytes, *, window: int = 0x68) -> bytes:
    """A zstd frame, by hand: RFC 8878. The window is 8 MiB, unless its descriptor says otherwise."""
    return b"\x02" + b"\x28\xb5\x2f\xfd\x00" + bytes([window]) + blocks


def zeros(mebibytes: int) -> bytes:
    """Four bytes each make 128 KiB of zeros."""
    block = ((128 * 1024) << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    return block * (8 * mebibytes) + b"\x01\0\0"


@given(st.binary(max_size=3000))
def test_what_is_compressed_is_unpacked(rest: bytes) -> None:
    assert unpack(packed(b"{" + rest), LIMIT) == b"{" + rest
    assert unpack(packed(b"{" + rest, version=1), LIMIT) == b"{" + rest


def test_a_frame_by_hand_is_one() -> None:
    assert unpack(frame(zeros(1)), LIMIT) == bytes(LIMIT)
    assert unpack(packed(os.urandom(LIMIT)), LIMIT)


def test_a_bomb_is_refused_before_it_is_large() -> None:
    """1 GiB of zeros in 32 KiB. The process that unpacks it may have 400 MiB in all, with Python and its libraries."""
    bomb = frame(zeros(1024))
    assert len(bomb) < 33 * 1024
    code = """
import resource, sys, zstandard
from restic_monitor.repository import Damaged, packed
resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
try:
    packed.unpack(sys.stdin.buffer.read(), packed.SNAPSHOT_LIMIT_BYTES)
except Damaged as damage:
    print(damage.reason)
"""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], input=bomb, capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"larger than 64 MiB when decompressed\n", b"")
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize(
    ("plaintext", "expected"),
    [
        (b"", "neither JSON nor compressed"),
        (b" {}", "neither JSON nor compressed"),
        (b"\x01{}", "neither JSON nor compressed"),
        (b"\x03{}", "neither JSON nor compressed"),
        (b"\x02", "its compression is cut off"),
        (b"\x02{}", "its compression is broken"),
        (b"\x02not a frame", "its compression is broken"),
        (b"\x02\x02" + packed(b"{}")[1:], "its compression is broken"),
        (packed(b"{}" * 100)[:-1], "its compression is cut off"),
        (packed(b"{}" * 100)[:8], "its compression is cut off"),
        (packed(os.urandom(100_000))[:-500], "its compression is cut off"),
        (packed(os.urandom(100_000)) + b"more than there should be" * 100, "its compression is broken"),
        (frame(zeros(2)), "larger than 1 MiB when decompressed"),
        (packed(os.urandom(LIMIT + 1)), "larger than 1 MiB when decompressed"),
        (b"{" + bytes(LIMIT), "larger than 1 MiB"),
        (frame(zeros(1), window=0xF8), "its compression is broken"),  # a window of 2 TiB
        (frame(zeros(1), window=0x80), "its compression is broken"),  # 64 MiB
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_unpacked_says_why(plaintext: bytes, expected: str) -> None:
    assert reason(unpack, plaintext, LIMIT) == expected


def test_the_size_that_a_frame_claims_allocates_nothing() -> None:
    """The single segment flag: 1 TiB is both window and size."""
    claims = b"\x02\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little") + zeros(1)
    assert reason(unpack, claims, LIMIT) == "its compression is broken"


def test_a_limit_is_reached_and_not_passed() -> None:
    assert len(unpack(frame(zeros(1)), LIMIT)) == LIMIT
    assert len(unpack(b"{" + bytes(LIMIT - 1), LIMIT)) == LIMIT


# documents


def test_a_lock_says_who_holds_it() -> None:
    held = documents.read_lock(json_bytes(lock(NOW, exclusive=True)))
    assert held == Lock(NOW, "web1", "root", 4711, exclusive=True)
    assert documents.read_lock(b'{"time":"2026-11-25T12:00:00.123456Z"}') == Lock(NOW)


def test_what_a_snapshot_does_not_say_is_empty() -> None:
    found = documents.read_snapshot(NAME, json_bytes({"time": "2026-11-25T13:00:00.123456789+01:00", "tree": TREE}))
    assert (found.id, found.time, found.host, found.user, found.paths, found.tags, found.summary) == (
        NAME,
        NOW,
        "",
        "",
        (),
        (),
        None,
    )


def test_a_snapshot_has_the_name_of_its_file_whatever_it_says_itself() -> None:
    assert documents.read_snapshot(NAME, json_bytes(snapshot(NOW, id="b" * 64))).id == NAME


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, "no snapshot"),
        ([], "no snapshot"),
        (None, "no snapshot"),
        (snapshot(NOW) | {"tree": None}, "a snapshot without a tree"),
        (snapshot(NOW) | {"tree": ""}, "a snapshot without a tree"),
        (snapshot(NOW) | {"tree": TREE.upper() + "\n"}, "a snapshot without a tree"),
        (snapshot(NOW) | {"original": "yesterday"}, "a snapshot whose original is none"),
        (snapshot(NOW) | {"original": "a" * 63}, "a snapshot whose original is none"),
        (snapshot(NOW) | {"original": "A" * 64}, "a snapshot whose original is none"),
        (snapshot(NOW) | {"original": "a" * 64 + "\n"}, "a snapshot whose original is none"),
        (snapshot(NOW) | {"original": 1}, "no snapshot"),
        (snapshot(NOW) | {"time": "yesterday"}, "its time is no moment"),
        (snapshot(NOW) | {"time": ""}, "its time is no moment"),
        (snapshot(NOW) | {"time": "2026-11-25T12:00:00"}, "its time is no moment"),
        (snapshot(NOW) | {"time": "2026-02-30T12:00:00Z"}, "its time is no moment"),
        (snapshot(NOW) | {"time": "0000-01-01T00:00:00Z"}, "its time is no moment"),
        (snapshot(NOW) | {"time": "0001-01-01T00:00:00+23:59"}, "its time is no moment"),
        (snapshot(NOW) | {"time": "9999-12-31T23:59:59-23:59"}, "its time is no moment"),
        (snapshot(NOW) | {"time": "٢٠٢٦-11-25T12:00:00Z"}, "its time is no moment"),
        (snapshot(NOW) | {"time": 1764072000}, "no snapshot"),
        (snapshot(NOW) | {"paths": "/srv"}, "no snapshot"),
        (snapshot(NOW) | {"paths": [["/srv"]]}, "no snapshot"),
        (snapshot(NOW) | {"paths": [None]}, "no snapshot"),
        (snapshot(NOW) | {"hostname": ["web1"]}, "no snapshot"),
        (snapshot(NOW) | {"tags": {"a": 1}}, "no snapshot"),
    ],
    ids=str,
)
def test_a_snapshot_of_the_wrong_shape_says_why(document: object, expected: str) -> None:
    assert reason(documents.read_snapshot, NAME, json_bytes(document)) == expected


@pytest.mark.parametrize(("original", "expected"), [("b" * 64, "b" * 64), ("", ""), (None, "")])
def test_a_snapshot_has_an_original_or_none(original: str | None, expected: str) -> None:
    assert documents.read_snapshot(NAME, json_bytes(snapshot(NOW, original=original))).original == expected


@pytest.mark.parametrize(
    "summary",
    [None, [], "", 1, {}, {"total_files_processed": "1"}, {"total_files_processed": 1, "total_bytes_processed": 1.5}],
    ids=str,
)
def test_a_summary_of_the_wrong_shape_is_none_and_the_snapshot_is_there(summary: object) -> None:
    assert documents.read_snapshot(NAME, json_bytes(snapshot(NOW, summary=summary))).summary is None


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (config(0), "version 0 of the format is not known here"),
        (config(3), "version 3 of the format is not known here"),
        (config(10**30), "no configuration"),
        (config() | {"version": "2"}, "no configuration"),
        (config(id=""), "a repository without an id"),
        (config(id="../" * 20), "a repository without an id"),
        ({}, "no configuration"),
    ],
    ids=str,
)
def test_a_configuration_of_the_wrong_shape_says_why(document: object, expected: str) -> None:
    assert reason(documents.read_config, json_bytes(document)) == expected


# whatever else there is

READERS: list[Callable[[bytes], object]] = [
    lambda content: documents.read_snapshot(NAME, content),
    documents.read_lock,
    documents.read_config,
    keys.read,
    lambda content: unpack(content, LIMIT),
    lambda content: keys.read(inner(None, content)).open(PASSWORD, soon()),
]
NASTY = [
    b"",
    b"{",
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b"\0",
    b"null",
    b"NaN",
    b"[" * 60_000,
    b'{"a":' * 60_000,
    b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    b'{"summary":' + b"[" * 500_000,
    b'{"data":' * 8000 + b"1" + b"}" * 8000,
]
FIELDS = [name for make in (snapshot(NOW), lock(NOW), config(), key_file()) for name in make] + [
    "summary",
    "tags",
    "original",
    "mac",
]
VALUES = [
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-1e999",
    b"9" * 5000,
    b"-" + b"9" * 400,
    b"1" + b"0" * 400 + b".0",
    b"18446744073709551616",
    rb'"\ud800"',
    rb'"\udfff\ud800"',
    rb'"\u0000"',
    b'"\xed\xa0\x80"',
    b'"\xff"',
    b'"\n"',
    b"[" * 5000 + b"]" * 5000,
    b'{"total_files_processed":' + b"9" * 400 + b',"total_bytes_processed":true}',
    b'{"total_files_processed":1e999,"total_bytes_processed":-1,"backup_end":"0000-00-00T99:99:99Z"}',
]


def only_damaged(content: bytes) -> None:
    """What is read can be written down again."""
    for read in READERS:
        with suppress(Damaged):
            str(read(content)).encode()


@pytest.mark.parametrize("content", NASTY, ids=lambda content: repr(content[:12]))
def test_nasty_bytes_are_damaged_and_nothing_worse(content: bytes) -> None:
    for read in READERS[:-2]:
        assert reason(read, content)
    only_damaged(content)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value[:12]))
@pytest.mark.parametrize(
    "document", [snapshot(NOW), lock(NOW), config(), key_file()], ids=["snapshot", "lock", "config", "key"]
)
def test_a_nasty_value_anywhere_is_damaged_or_read_and_nothing_worse(document: dict[str, Any], value: bytes) -> None:
    for name in {*document, "summary", "original", "tags", "unknown"}:
        others = {other: document[other] for other in document if other != name}
        only_damaged(json_bytes(others)[:-1] + b',"%s":%s}' % (name.encode(), value))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["2026-11-25T12:00:00Z", "scrypt", TREE]),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), children, max_size=8)
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=500))
def test_any_bytes_are_damaged_or_read_and_nothing_worse(content: bytes) -> None:
    only_damaged(content)
    with suppress(Damaged):
        unpack(b"\x02" + content, LIMIT)
    with suppress(Damaged):
        unpack(b"\x02" + zstandard.FRAME_HEADER + content, LIMIT)


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_any_json_is_damaged_or_read_and_nothing_worse(document: object) -> None:
    only_damaged(json.dumps(document).encode())


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([snapshot(NOW), lock(NOW), config(), key_file()]),
    st.dictionaries(st.sampled_from(FIELDS), JSON, min_size=1),
)
def test_any_field_of_another_shape_is_damaged_or_read_and_nothing_worse(
    document: dict[str, Any], others: dict[str, Any]
) -> None:
    only_damaged(json.dumps(document | others).encode())


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([snapshot(NOW), lock(NOW), config(), key_file()]), st.data())
def test_a_document_with_a_byte_changed_is_damaged_or_read_and_nothing_worse(
    document: dict[str, Any], data: st.DataObject
) -> None:
    content = bytearray(json_bytes(document))
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    only_damaged(bytes(content))
    with suppress(Damaged):
        unpack(packed(json_bytes(document))[: data.draw(st.integers(0, 100))] + bytes(content), LIMIT)


@given(st.text())
@example("2026-11-25T12:00:00.999999999-23:59")
@example("0001-01-01T00:00:00+00:01")
def test_any_time_is_a_moment_in_utc_or_none(text: str) -> None:
    found = documents.parse_time(text)
    assert found is None or found.utcoffset() == timedelta(0)
