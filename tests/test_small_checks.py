"""The checks of a listing that answer one small question each: tables, with exact messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from restic_monitor.checks.clock import Clock
from restic_monitor.checks.content import Content
from restic_monitor.checks.keyring import Keyring
from restic_monitor.checks.locks import Locks
from restic_monitor.checks.stored import StoredRecently
from restic_monitor.checks.strays import Strays
from restic_monitor.checks.vanished import Vanished
from restic_monitor.model import Check, Code, Folder, Observation, Result, Status, Stored, Verdict, Watch
from restic_monitor.recency import MaxAge

NOW = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

LISTED = Observation("listing")


def name(number: int) -> str:
    return f"{number:x}" * 64


def folder(count: int = 0, appeared: Sequence[str] | None = None, vanished: Sequence[str] | None = None) -> Folder:
    """`count` files; what appeared is among them."""
    files = tuple(Stored(name(number), NOW, NOW) for number in range(count))
    return Folder(files, None if appeared is None else tuple(appeared), None if vanished is None else tuple(vanished))


def message(*verdicts: Verdict) -> str:
    return Result(Watch("web", ()), verdicts, "listing", SECOND).message


def judge(check: Check, seen: Observation) -> tuple[Status, str]:
    """The message as it is told."""
    verdict = check.judge(seen, NOW)
    return verdict.status, message(verdict)


@pytest.mark.parametrize("check", [Content(), Locks(), Keyring(), Strays(), Clock(), Vanished(0, False, "0")])
def test_what_could_not_be_seen_is_no_alarm_of_these(check: Check) -> None:
    """Whether the snapshots themselves could be seen is for StoredRecently to judge."""
    assert check.judge(LISTED, NOW).status is Status.UP


# Content


@pytest.mark.parametrize(
    ("unreadable", "status", "text"),
    [
        ((), Status.UP, "OK the newest file is what its name says, or may not be read"),
        (None, Status.UP, "OK the newest file is what its name says, or may not be read"),
        (
            ("a1b2c3d4" * 8,),
            Status.DOWN,
            "ERROR the snapshot file a1b2c3d4 is damaged: its content is not what its name says; "
            "do not prune, run restic check",
        ),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_damaged(
    unreadable: tuple[str, ...] | None, status: Status, text: str
) -> None:
    assert judge(Content(), Observation("listing", unreadable=unreadable)) == (status, text)


# Locks


def locks(*ages: timedelta, skew: timedelta | None = None, exact: bool = True) -> Observation:
    files = tuple(Stored(name(number), NOW - age if exact else NOW - age - HOUR, NOW - age) for number, age in enumerate(ages))
    return Observation("listing", locks=Folder(files), skew=skew)


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        (locks(), "OK no stale lock"),
        (locks(timedelta(0), 5 * MINUTE), "OK no stale lock"),
        (locks(30 * MINUTE), "OK no stale lock"),
        (locks(-DAY), "OK no stale lock"),
        (locks(30 * MINUTE + MOMENT), "WARN a lock is 30m old; when no restic is running: restic unlock"),
        (locks(2 * HOUR, MINUTE), "WARN a lock is 2h old; when no restic is running: restic unlock"),
        (locks(2 * HOUR, 52 * DAY), "WARN 2 locks, the oldest is 52d old; when no restic is running: restic unlock"),
        (locks(29 * MINUTE, skew=2 * MINUTE), "WARN a lock is 31m old; when no restic is running: restic unlock"),
        (locks(31 * MINUTE, skew=-2 * MINUTE), "OK no stale lock"),
        (locks(20 * MINUTE, exact=False), "OK no stale lock"),
        (locks(45 * MINUTE, exact=False), "WARN a lock is at least 45m old; when no restic is running: restic unlock"),
    ],
)
def test_a_lock_of_more_than_half_an_hour_was_left_behind(seen: Observation, text: str) -> None:
    assert judge(Locks(), seen) == (Status.WARN if text.startswith("WARN") else Status.UP, text)


# Keys


def keys(appeared: int, vanished: int, count: int = 9) -> Observation:
    """Of ten names at most, the first are new and the last are gone."""
    gone = [name(15 - number) for number in range(vanished)]
    return Observation("listing", keys=folder(count, [name(number) for number in range(appeared)], gone))


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        (Observation("listing", keys=folder(1)), "OK the same keys"),
        (keys(0, 0), "OK the same keys"),
        (keys(1, 0), "WARN 1 key new: 00000000; was that you?"),
        (keys(0, 1), "WARN 1 key gone: ffffffff; was that you?"),
        (keys(2, 1), "WARN 2 keys new: 00000000, 11111111, 1 key gone: ffffffff; was that you?"),
        (keys(0, 3), "WARN 3 keys gone: ffffffff, eeeeeeee …; was that you?"),
    ],
)
def test_a_key_that_comes_or_goes_is_asked_about(seen: Observation, text: str) -> None:
    assert judge(Keyring(), seen) == (Status.WARN if text.startswith("WARN") else Status.UP, text)


@pytest.mark.parametrize("seen", [Observation("listing", keys=folder()), keys(0, 2, count=0)])
def test_a_repository_without_any_key_is_lost(seen: Observation) -> None:
    text = "ERROR no key in the repository, so nobody can open it: put the files of keys/ back"
    assert judge(Keyring(), seen) == (Status.DOWN, text)


# Strays


@pytest.mark.parametrize(
    ("suspicious", "text"),
    [
        ((), "OK nothing else in snapshots/"),
        (
            ("3f2a91cc (0 bytes)",),
            "WARN 1 file in snapshots/ is no snapshot: 3f2a91cc (0 bytes); when no restic is running, remove it",
        ),
        (
            ("a (0 bytes)", "b (not restic's)"),
            "WARN 2 files in snapshots/ are no snapshots: a (0 bytes), b (not restic's); "
            "when no restic is running, remove them",
        ),
        (
            ("a (0 bytes)", "b (not restic's)", "c", "d"),
            "WARN 4 files in snapshots/ are no snapshots: a (0 bytes), b (not restic's) and 2 more; "
            "when no restic is running, remove them",
        ),
    ],
)
def test_what_is_no_snapshot_is_named(suspicious: tuple[str, ...], text: str) -> None:
    seen = Observation("listing", suspicious=suspicious)
    assert judge(Strays(), seen) == (Status.WARN if suspicious else Status.UP, text)


# Clock


@pytest.mark.parametrize(
    ("skew", "text"),
    [
        (timedelta(0), "OK the clocks agree"),
        (MINUTE, "OK the clocks agree"),
        (-MINUTE, "OK the clocks agree"),
        (MINUTE + MOMENT, "WARN the store's clock is 1m ahead of this machine's; set the wrong one right"),
        (-(MINUTE + MOMENT), "WARN the store's clock is 1m behind this machine's; set the wrong one right"),
        (400 * DAY, "WARN the store's clock is 400d ahead of this machine's; set the wrong one right"),
    ],
)
def test_clocks_that_are_more_than_a_minute_apart_are_told(skew: timedelta, text: str) -> None:
    assert judge(Clock(), Observation("listing", skew=skew)) == (Status.WARN if "WARN" in text else Status.UP, text)


# Vanished


def gone(vanished: int, before: int, appeared: int = 0) -> Observation:
    files = tuple(Stored(f"{number:064x}", NOW, NOW) for number in range(before - vanished + appeared))
    names = [file.name for file in files[:appeared]]
    return Observation("listing", stored=Folder(files, tuple(names), ("f" * 64,) * vanished))


@pytest.mark.parametrize(
    ("limit", "share", "seen", "warns"),
    [
        (5, False, gone(0, 10), False),
        (5, False, gone(5, 10), False),
        (5, False, gone(6, 10), True),
        (0, False, gone(1, 10), True),
        (0, False, gone(0, 0), False),
        (50, True, gone(5, 10), False),
        (50, True, gone(6, 10), True),
        (50, True, gone(6, 12, appeared=12), False),  # of what was there before, not of what is there now
        (33, True, gone(1, 3), True),
        (34, True, gone(1, 3), False),
        (0, True, gone(1, 20_000), True),
        (100, True, gone(3, 3), False),
        (99, True, gone(3, 3), True),
        (0, True, Observation("listing", stored=folder(3)), False),  # the first look
    ],
)
def test_more_gone_than_allowed_is_told(limit: int, share: bool, seen: Observation, warns: bool) -> None:
    shown = f"{limit}%" if share else str(limit)
    assert judge(Vanished(limit, share, shown), seen)[0] is (Status.WARN if warns else Status.UP)


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (Vanished(50, True, "50%"), "WARN 6 of 10 snapshot files are gone since the last look (limit 50%); was that you?"),
        (Vanished(2, False, "2"), "WARN 6 of 10 snapshot files are gone since the last look (limit 2); was that you?"),
        (Vanished(6, False, "6"), "OK no more gone than allowed"),
    ],
)
def test_how_many_and_of_how_many(check: Vanished, text: str) -> None:
    assert judge(check, gone(6, 10, appeared=1))[1] == text


# All at once


def test_the_worst_comes_first_and_the_rest_follows_in_200_characters() -> None:
    seen = Observation(
        "listing",
        unreadable=("a1b2c3d4" * 8,),
        stored=folder(1, [], [name(7)] * 900),
        locks=locks(DAY).locks,
        keys=keys(3, 3).keys,
        suspicious=("3f2a91cc (0 bytes)",) * 12,
        skew=HOUR,
    )
    checks = (StoredRecently(MaxAge(DAY, "1d")), Content(), Locks(), Keyring(), Strays(), Clock(), Vanished(5, False, "5"))
    told = message(*(check.judge(seen, NOW) for check in checks))
    assert told.startswith("ERROR the snapshot file a1b2c3d4 is damaged: its content is not what its name says")
    assert len(told) == 200
    assert told.endswith("...")


def test_a_result_of_one_line_for_every_verdict() -> None:
    for code, verdict in {
        Code.ERROR: Keyring().judge(Observation("listing", keys=folder()), NOW),
        Code.WARN: Strays().judge(Observation("listing", suspicious=("a\nb", "\x1b[31m<b>")), NOW),
    }.items():
        assert verdict.code is code
        assert not set(message(verdict)) & set("\n\x1b<>&")
