"""Files of a repository that somebody has worked on, in each layer from the JSON to what is stored: each is read or Damaged.

test_repository.py has a table for each reader; here a file goes through all of them, as the native reader takes it, under a
bound for the memory of the process and for the time. `script/fuzz` runs this with new seeds, again and again.
"""

from __future__ import annotations

import os
import re
import resource
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repositories import MASTER, TREE, Sealer, config, json_bytes, key_file, lock, name_of, packed, snapshot
from restic_monitor.repository import Damaged, check_name, documents, keys
from restic_monitor.repository.packed import LOCK_LIMIT_BYTES, SNAPSHOT_LIMIT_BYTES, unpack
from restic_monitor.repository.sealed import Key
from restics import PASSWORD

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
SECONDS = 5.0
"""For one file; the slowest takes a tenth of it on an idle machine."""
MEMORY_BYTES = 600 * 1024 * 1024
"""More than before. 256 MiB are scrypt's at most, or 64 MiB are a snapshot: packed, unpacked, decoded."""
QUICK_WORK = 1 << 16
"""N·r·p up to which a key is derived here: 20 ms."""

key = Key(MASTER)
summary = {"backup_end": "2026-11-25T12:30:00Z", "total_files_processed": 3, "total_bytes_processed": 7}
DOCUMENTS: Mapping[str, Mapping[str, Any]] = {
    "snapshots": snapshot(NOW, tags=["a", "b"], original="b" * 64, summary=summary, program_version="restic 0.19.1"),
    "locks": lock(NOW, exclusive=True),
    "config": config(),
    "keys": key_file(),
}
FIELDS = sorted({name for document in DOCUMENTS.values() for name in document})


# The reader, as the probe puts it together


def _snapshot(name: str, plaintext: bytes) -> object:
    return documents.read_snapshot(name, unpack(plaintext, SNAPSHOT_LIMIT_BYTES))


def _lock(name: str, plaintext: bytes) -> object:
    return documents.read_lock(unpack(plaintext, LOCK_LIMIT_BYTES))


def _config(name: str, plaintext: bytes) -> object:
    return documents.read_config(plaintext)


SEALED: Mapping[str, Callable[[str, bytes], object]] = {"snapshots": _snapshot, "locks": _lock, "config": _config}


def read(folder: str, name: str, content: bytes) -> object:
    """Raises Damaged."""
    if folder != "config":
        check_name(name, content)
    if folder != "keys":
        return SEALED[folder](name, key.open(content))
    file = keys.read(content)
    if file._file.N * file._file.r * file._file.p <= QUICK_WORK:
        file.open(PASSWORD.encode(), time.monotonic() + SECONDS)
    return file.holder


REASONS = re.compile(
    "|".join(
        (
            "empty|cut off|sealed without a nonce|not sealed with the key of this repository, or changed",
            "its content is not what its name says",
            r"neither JSON nor compressed|its compression is (broken|cut off)|larger than \d+ MiB( when decompressed)?",
            "no snapshot|no lock|no configuration|its time is no moment|a snapshot without a tree",
            r"more strings than any snapshot has|version \d+ of the format is not known here|a repository without an id",
            "a snapshot whose original is none",
            "no key file|no base64 where it should be|its key is no key|its master key makes no sense",
            "its key derivation (is not restic's|would cost more than any that restic makes)",
            "the parameters of its key derivation make no sense",
        )
    )
)
"""All that may be said of a file: whoever wrote it shall not choose the words. Not among them: that memory was short."""


@dataclass(frozen=True)
class File:
    folder: str
    name: str
    content: bytes

    def __repr__(self) -> str:
        return f"File({self.folder!r}, {self.name!r}, {self.content[:200]!r}: {len(self.content)} bytes)"


def reason(file: File) -> str:
    """Why it is Damaged; empty when it is read, and what is read can be written down."""
    begun, found = time.monotonic(), ""
    try:
        str(read(file.folder, file.name, file.content)).encode()
    except Damaged as damage:
        found = damage.reason
    assert time.monotonic() - begun < SECONDS
    assert not found or REASONS.fullmatch(found)
    return found


@pytest.fixture(scope="module", autouse=True)
def bounded() -> Iterator[None]:
    """The process may grow by MEMORY_BYTES; what wants more gets a MemoryError, which is no Damaged."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(FileNotFoundError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGESIZE") + MEMORY_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


# Work on a document, a text, bytes


NUMBERS = [0, 1, -1, 2, 3, 7, 8, 1 << 14, 1 << 15, (1 << 31) - 1, 1 << 31, 1 << 32, 1 << 53, (1 << 63) - 1, 1 << 63, 1 << 64]
TIMES = [
    "2026-11-25T12:00:00Z",
    "0001-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59.999999999-23:59",
    "2026-02-30T25:61:61-99:99",
]
TEXTS = ["", "x", TREE, TREE.upper(), "scrypt", *TIMES, "A" * 88, "A" * 87, "é" * 88, "\0", "\u2028", "../" * 20]
VALUES = (
    st.none()
    | st.booleans()
    | st.sampled_from([sign * number for number in NUMBERS for sign in (1, -1)])
    | st.sampled_from(TEXTS)
    | st.floats()
    | st.lists(st.sampled_from([*TEXTS, None, 1]), max_size=3)
    | st.dictionaries(st.sampled_from(FIELDS), st.sampled_from([*TEXTS, None, 1 << 64]), max_size=3)
)
ALIKE: Mapping[type, st.SearchStrategy[Any]] = {
    str: st.sampled_from(TEXTS) | st.text(max_size=5),
    int: st.sampled_from(NUMBERS) | st.sampled_from(NUMBERS).map(lambda number: -number),
    list: st.lists(st.sampled_from(TEXTS), max_size=3),
}
"""What is wrong with it is not its type."""
TOKENS = [
    b"NaN",
    b"1e999",
    b"-" + b"9" * 5000,
    b"0" * 100,
    b'"' + b"x" * 100_000 + b'"',
    b'"' + b"\\u00e9" * 10_000 + b'"',
    b'"\\ud800"',
    b'"\xed\xa0\x80"',
    b'"\xff',
    b"[" * 100_000,
    b"[" * 5000 + b"]" * 5000,
    b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b"[" + b"[]," * 100_000 + b"[]]",
    b"[" + b'"a",' * 100_000 + b'"a"]',
    b"{" + b'"a":1,' * 100_000 + b'"a":1}',
]
"""Values that `json.dumps` does not write."""


LAYERS = ("fields", "fields", "tokens", "letters", "packed", "sealed")
"""One or two are worked on: of more than that, only the outermost would be seen."""


def text_of(draw: st.DrawFn, folder: str, layers: Collection[str]) -> bytes:
    document = dict(DOCUMENTS[folder])
    for _ in range(draw(st.sampled_from([1, 1, 2, 3])) if "fields" in layers else 0):
        field, other = draw(st.sampled_from(sorted(document) or FIELDS)), draw(st.sampled_from(FIELDS))
        match draw(st.sampled_from(["alike", "alike", "alike", "remove", "replace", "swap", "borrow", "rename", "nest"])):
            case "alike":
                document[field] = draw(ALIKE.get(type(document.get(field)), VALUES))
            case "remove":
                document.pop(field, None)
            case "replace":
                document[field] = draw(VALUES)
            case "swap":
                document[field], document[other] = document.get(other), document.get(field)
            case "borrow":
                document[other] = next(each[other] for each in DOCUMENTS.values() if other in each)
            case "rename":
                document[field.upper()] = document.pop(field, None)
            case "nest":
                document[field] = {field: document.get(field), other: [document.get(field)]}
    text = json_bytes(document)
    for _ in range(draw(st.integers(1, 2)) if "tokens" in layers and document else 0):
        text = with_token(draw, text, draw(st.sampled_from(sorted(document))))
    return worked_on(draw, text) if "letters" in layers else text


def with_token(draw: st.DrawFn, text: bytes, field: str) -> bytes:
    """One field more, which may be there already: the first, or the last."""
    member = json_bytes(field) + b":" + draw(st.sampled_from(TOKENS))
    return b"{" + member + b"," + text[1:] if draw(st.booleans()) else text[:-1] + b"," + member + b"}"


def worked_on(draw: st.DrawFn, content: bytes) -> bytes:
    """Bits flip; parts go, come twice, change their places."""
    for _ in range(draw(st.sampled_from([1, 1, 2, 5]))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.sampled_from([0, 1, 2, 16, 64, 1 << 20])))
        part = content[start:end]
        match draw(st.sampled_from(["flip", "cut", "truncate", "twice", "move", "insert", "zero"])):
            case "flip":
                part = bytes([part[0] ^ 1 << draw(st.integers(0, 7))]) + part[1:] if part else b""
            case "cut":
                part = b""
            case "truncate":
                part, end = b"", len(content)
            case "twice":
                part += part
            case "move":
                content, part, end = part + content[:start] + content[end:], b"", start + len(part)
                start = end
            case "insert":
                part += draw(st.binary(max_size=40))
            case "zero":
                part = bytes(len(part))
        content = content[:start] + part + content[end:]
    return content


def plaintext_of(draw: st.DrawFn, folder: str, layers: Collection[str]) -> bytes:
    """In either version of the format; and compressed twice, in two frames, with blanks that are too much for a lock."""
    text = text_of(draw, folder, layers)
    if folder == "config" or "packed" not in layers:
        return text if folder == "config" or draw(st.booleans()) else packed(text)
    match draw(st.sampled_from(["once", "once", "twice", "two frames", "padded"])):
        case "once":
            content = packed(text)
        case "twice":
            content = packed(packed(text))
        case "two frames":
            content = packed(text) + packed(text)[1:]
        case "padded":
            return packed(text + b" " * draw(st.sampled_from([1000, LOCK_LIMIT_BYTES, 8 * 1024 * 1024])))
    return worked_on(draw, content)


@st.composite
def stored_files(draw: st.DrawFn) -> File:
    """Under the name of its content, or that of another."""
    folder, layers = draw(st.sampled_from(sorted(DOCUMENTS))), draw(st.sets(st.sampled_from(LAYERS), min_size=1, max_size=2))
    if folder == "keys":
        content = text_of(draw, folder, layers)
    else:
        content = Sealer().seal(plaintext_of(draw, folder, layers), iv=b"i" * 16)
    content = worked_on(draw, content) if "sealed" in layers else content
    return File(folder, draw(st.sampled_from([name_of(content)] * 20 + [name_of(b"another")])), content)


def intact(folder: str, version: int = 2) -> File:
    text = json_bytes(DOCUMENTS[folder])
    plaintext = text if folder == "config" else packed(text, version)
    content = text if folder == "keys" else Sealer().seal(plaintext)
    return File(folder, name_of(content), content)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("folder", DOCUMENTS)
def test_a_file_that_nobody_worked_on_is_read(folder: str, version: int) -> None:
    assert reason(intact(folder, version)) == ""


QUICK = settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@QUICK
@given(stored_files())
def test_any_file_that_somebody_worked_on_is_read_or_damaged_and_nothing_worse(file: File) -> None:
    reason(file)


@st.composite
def changed_behind_the_seal(draw: st.DrawFn) -> tuple[File, bytes]:
    """A good file, and what came of it: under a name that fits, as who can write to the storage has it."""
    file = draw(st.sampled_from([intact(folder, version) for folder in SEALED for version in (1, 2)]))
    return file, worked_on(draw, file.content)


@settings(QUICK, max_examples=300)
@given(changed_behind_the_seal())
def test_any_change_behind_the_seal_is_damage_though_the_name_fits(given: tuple[File, bytes]) -> None:
    file, content = given
    assert bool(reason(File(file.folder, name_of(content), content))) == (content != file.content)


def of_many_strings(unit: bytes, size: int) -> bytes:
    """A snapshot whose paths take nearly all that is allowed."""
    head, tail = json_bytes({"time": "2026-11-25T12:00:00Z", "tree": TREE})[:-1] + b',"paths":[', b'"x"]}'
    return head + unit * ((size - len(head) - len(tail)) // len(unit)) + tail


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        (b'"a",', "more strings than any snapshot has"),  # each of them takes 50 bytes more than its letter
        (b'"",', "more strings than any snapshot has"),
        (b"[],", "no snapshot"),
        (b"1,", "no snapshot"),
        (b'"/srv/' + b"x" * 58 + b'",', ""),  # a million paths
    ],
)
def test_a_snapshot_as_large_as_may_be_is_read_or_damaged_within_bounds(unit: bytes, expected: str) -> None:
    """Of a few kilobytes: they compress well."""
    content = Sealer().seal(packed(of_many_strings(unit, SNAPSHOT_LIMIT_BYTES)))
    assert len(content) < 64 * 1024
    assert reason(File("snapshots", name_of(content), content)) == expected


@pytest.mark.slow
@pytest.mark.parametrize(("n", "r", "p"), [(1 << 17, 8, 16), (1 << 18, 7, 9), (1 << 10, 1, 1 << 14)])
def test_the_most_that_a_key_may_cost_is_within_bounds(n: int, r: int, p: int) -> None:
    file = keys.read(json_bytes({**key_file(), "N": n, "r": r, "p": p}))
    begun = time.monotonic()
    assert file.open(PASSWORD.encode(), time.monotonic() + 60) is None
    assert time.monotonic() - begun < 60
