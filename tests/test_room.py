"""A look holds once what many files say, and no more than it has room for."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime

import pytest

from restic_monitor.model import KeyFile, Lock, Opened, Snapshot
from restic_monitor.probes.native.room import Room
from restic_monitor.repository import Damaged

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def said(text: str) -> str:
    """The same letters in another place: what is read from two files is never one object."""
    return "".join(list(text))


def opened(host: str = "web1", paths: tuple[str, ...] = ("/etc", "/srv"), tags: tuple[str, ...] = ("nightly",)) -> Opened:
    """Everything in it is new."""
    its = Snapshot("a" * 64, NOON, said(host), tuple(map(said, paths)), tuple(map(said, tags)), user=said("root"))
    return Opened(its.id, 300, NOON, snapshot=its)


def held(room: Room, file: Opened) -> Snapshot:
    snapshot = room.hold(file).snapshot
    assert snapshot
    return snapshot


def test_what_two_snapshots_say_alike_is_one_object() -> None:
    room = Room()
    first, second = held(room, opened()), held(room, opened())
    assert first == second == opened().snapshot
    assert first.paths is second.paths
    assert first.tags is second.tags
    assert (first.host is second.host, first.user is second.user) == (True, True)


def test_paths_that_two_lists_share_are_one_object_in_different_lists() -> None:
    room = Room()
    first, second = held(room, opened(paths=("/etc", "/srv"))), held(room, opened(paths=("/home", "/srv")))
    assert (first.paths, second.paths) == (("/etc", "/srv"), ("/home", "/srv"))
    assert first.paths[1] is second.paths[1]


def test_lists_that_differ_in_one_path_share_the_memory_of_the_others() -> None:
    room, names = Room(), tuple(f"/srv/{number:060}" for number in range(2_000))
    tracemalloc.start()
    kept = [held(room, opened(paths=(*names, f"/srv/{number}"))) for number in range(50)]
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept) == 50
    assert taken < 4_000_000, "once 0.3 MB of texts, and 50 lists of 16 KB"


def test_an_honest_history_takes_the_room_of_one_snapshot() -> None:
    room = Room(limit_bytes=4_000)
    for _ in range(10_000):
        room.hold(opened())


@pytest.mark.parametrize(
    "large",
    [
        opened(host="x" * 3_000),
        opened(paths=tuple(str(number) for number in range(40))),
        opened(tags=tuple(str(number) for number in range(40))),
        opened(paths=("/",) * 500),
        opened(host="é" * 1_000 + "😀"),  # one such letter makes four bytes of each
        Opened("a" * 64, 300, NOON, lock=Lock(NOON, host="x" * 3_000)),
        Opened("a" * 64, 300, NOON, lock=Lock(NOON, user="x" * 3_000)),
    ],
    ids=["host", "paths", "tags", "the same path", "wide letters", "a lock's host", "a lock's user"],
)
def test_what_there_is_no_room_for_is_damage(large: Opened) -> None:
    room = Room(limit_bytes=3_000)
    with pytest.raises(Damaged, match=r"^what all files name is more than there is room for$"):
        room.hold(large)


@pytest.mark.parametrize("large", [opened(host="x" * 3_000), opened(paths=tuple(str(number) for number in range(40)))])
def test_a_file_without_room_takes_none_from_others(large: Opened) -> None:
    room = Room(limit_bytes=3_000)
    for _ in range(100):
        with pytest.raises(Damaged):
            room.hold(large)
    assert held(room, opened()) == opened().snapshot


def test_a_key_passes_as_it_is() -> None:
    file = Opened("a" * 64, 300, NOON, key=KeyFile("root", "web1", NOON))
    assert Room(limit_bytes=0).hold(file) == file
