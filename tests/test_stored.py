"""Freshness as a listing shows it: exact where the store tells times, between two bounds where it does not. Exact messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from restic_monitor.checks.stored import StoredRecently
from restic_monitor.model import Code, Folder, Observation, Result, Status, Stored, Verdict, Watch
from restic_monitor.recency import MaxAge

NOW = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

A, B, C = ("a1b2c3d4" * 8, "b" * 64, "c" * 64)


def exact(age: timedelta, name: str = A) -> Stored:
    return Stored(name, NOW - age, NOW - age)


def between(younger: timedelta, older: timedelta | None, name: str = A) -> Stored:
    """Of a store without times; `older` None: no look is known that did not have it."""
    return Stored(name, None if older is None else NOW - older, NOW - younger)


def judge(
    *files: Stored,
    limit: timedelta = DAY,
    shown: str = "1d",
    skew: timedelta | None = None,
    changes: tuple[int, int] | None = None,
) -> Verdict:
    """`changes`: how many appeared, how many vanished."""
    appeared, vanished = ((B,) * number for number in changes) if changes else (None, None)
    seen = Observation("listing", stored=Folder(files, appeared, vanished), skew=skew)
    return StoredRecently(MaxAge(limit, shown)).judge(seen, NOW)


def message(verdict: Verdict) -> str:
    return Result(Watch("web", ()), (verdict,), "listing", SECOND).message


# The store tells times


@pytest.mark.parametrize(
    ("age", "status", "code"),
    [
        (timedelta(0), Status.UP, Code.OK),
        (DAY - MOMENT, Status.UP, Code.OK),
        (DAY, Status.UP, Code.OK),
        (DAY + MOMENT, Status.DOWN, Code.STALE),
        (365 * DAY, Status.DOWN, Code.STALE),
        (NOW - datetime.fromtimestamp(0, UTC), Status.DOWN, Code.STALE),
        (-MINUTE, Status.UP, Code.OK),
        (-5 * MINUTE, Status.UP, Code.OK),
        (-5 * MINUTE - MOMENT, Status.DOWN, Code.MISSING),
    ],
)
def test_exactly_the_limit_old_is_fresh_and_a_moment_more_is_stale(age: timedelta, status: Status, code: Code) -> None:
    verdict = judge(exact(age))
    assert (verdict.check, verdict.status, verdict.code) == ("stored", status, code)
    assert verdict.age == (None if code is Code.MISSING else max(age, timedelta(0)))


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ([exact(3 * HOUR)], "OK newest file stored 3h ago (limit 1d); a1b2c3d4 2026-11-22 22:00Z; 1 snapshot file"),
        (
            [exact(9 * DAY, B), exact(3 * HOUR), exact(2 * DAY, C)],
            "OK newest file stored 3h ago (limit 1d); a1b2c3d4 2026-11-22 22:00Z; 3 snapshot files",
        ),
        ([exact(DAY)], "OK newest file stored 1d ago (limit 1d); a1b2c3d4 2026-11-22 01:00Z; 1 snapshot file"),
        (
            [exact(DAY + 7 * SECOND)],
            "STALE newest file stored 1d7s ago (limit 1d); a1b2c3d4 2026-11-22 00:59Z; 1 snapshot file",
        ),
        (
            [exact(52 * HOUR, B), exact(52 * HOUR + SECOND)],
            "STALE newest file stored 2d4h ago (limit 1d); bbbbbbbb 2026-11-20 21:00Z; 2 snapshot files",
        ),
        ([], "MISSING no snapshot file in the repository"),
    ],
)
def test_what_is_said_where_times_are_known(files: list[Stored], text: str) -> None:
    assert message(judge(*files)) == text


def test_the_newest_of_equally_old_ones_is_always_the_same() -> None:
    assert judge(exact(HOUR, B), exact(HOUR, C)).message == judge(exact(HOUR, C), exact(HOUR, B)).message


@pytest.mark.parametrize(
    ("skew", "status"),
    [
        (None, Status.UP),
        (timedelta(0), Status.UP),
        (MINUTE, Status.DOWN),  # the store's clock is ahead, so the file is older than it seems here
        (-2 * HOUR, Status.UP),
    ],
)
def test_ages_count_on_the_clock_of_the_store(skew: timedelta | None, status: Status) -> None:
    verdict = judge(exact(DAY), skew=skew)
    assert (verdict.status, verdict.age) == (status, max(timedelta(0), DAY + (skew or timedelta(0))))


def test_a_file_that_is_new_on_the_clock_of_a_store_that_is_ahead_is_not_in_the_future() -> None:
    verdict = judge(exact(-3 * HOUR), skew=3 * HOUR)
    assert message(verdict) == "OK newest file stored 0s ago (limit 1d); a1b2c3d4 2026-11-23 04:00Z; 1 snapshot file"


# Dated in the future


def test_a_file_in_the_future_does_not_count_and_warns() -> None:
    verdict = judge(exact(HOUR), exact(-DAY, B))
    assert (verdict.status, verdict.age) == (Status.WARN, HOUR)
    assert message(verdict) == (
        "WARN newest file stored 1h ago (limit 1d); a1b2c3d4 2026-11-23 00:00Z; 1 snapshot file; "
        "1 file is dated in the future (2026-11-24 01:00Z): is a clock wrong?"
    )


def test_what_is_stale_stays_stale_whatever_lies_in_the_future() -> None:
    verdict = judge(exact(2 * DAY), exact(-DAY, B), exact(-2 * DAY, C))
    assert message(verdict) == (
        "STALE newest file stored 2d ago (limit 1d); a1b2c3d4 2026-11-21 01:00Z; 1 snapshot file; "
        "2 files are dated in the future (2026-11-25 01:00Z): is a clock wrong?"
    )


def test_nothing_but_the_future_is_missing() -> None:
    verdict = judge(exact(-DAY))
    assert (verdict.status, verdict.newest, verdict.age) == (Status.DOWN, None, None)
    assert message(verdict) == (
        "MISSING no snapshot file that counts: 1 file is dated in the future (2026-11-24 01:00Z): is a clock wrong?"
    )


# The store tells no times


@pytest.mark.parametrize(
    ("younger", "older", "status", "text"),
    [
        (2 * HOUR, 3 * HOUR, Status.UP, "OK newest file stored 2h to 3h ago (limit 1d)"),
        (2 * HOUR, 2 * HOUR + SECOND, Status.UP, "OK newest file stored 2h ago (limit 1d)"),
        (timedelta(0), DAY, Status.UP, "OK newest file stored 0s to 1d ago (limit 1d)"),
        (
            timedelta(0),
            DAY + SECOND,
            Status.UNKNOWN,
            "UNKNOWN newest file stored 0s to 1d1s ago, and the server tells no times: look more often (limit 1d)",
        ),
        (
            DAY,
            2 * DAY,
            Status.UNKNOWN,
            "UNKNOWN newest file stored 1d to 2d ago, and the server tells no times: look more often (limit 1d)",
        ),
        (DAY + SECOND, 2 * DAY, Status.DOWN, "STALE newest file stored at least 1d1s ago (limit 1d)"),
        (2 * DAY, 3 * DAY, Status.DOWN, "STALE newest file stored at least 2d ago (limit 1d)"),
        (
            timedelta(0),
            None,
            Status.UNKNOWN,
            "UNKNOWN newest file stored before the first look, 0s ago, and the server tells no times: wait for a new file"
            " (limit 1d)",
        ),
        (
            DAY,
            None,
            Status.UNKNOWN,
            "UNKNOWN newest file stored before the first look, 1d ago, and the server tells no times: wait for a new file"
            " (limit 1d)",
        ),
        (DAY + SECOND, None, Status.DOWN, "STALE newest file stored before the first look, 1d1s ago (limit 1d)"),
    ],
)
def test_up_by_the_older_bound_down_by_the_younger_and_unknown_between(
    younger: timedelta, older: timedelta | None, status: Status, text: str
) -> None:
    verdict = judge(between(younger, older))
    assert (verdict.status, verdict.age, verdict.newest) == (status, older, None)
    assert message(verdict) == f"{text}; a1b2c3d4; 1 snapshot file"


def test_the_older_bound_is_the_best_of_all_files() -> None:
    """One that was surely stored 5h ago or later makes the newest no older, though another was seen first later."""
    assert judge(between(HOUR, 2 * DAY), between(2 * HOUR, 5 * HOUR, B)).age == 5 * HOUR
    assert judge(between(HOUR, None), between(2 * HOUR, 5 * HOUR, B)).status is Status.UP


def test_a_file_without_a_time_among_others_with_theirs() -> None:
    """It vanished before its own time was asked for, or the server does not tell it."""
    verdict = judge(between(timedelta(0), None), exact(3 * HOUR, B))
    assert message(verdict) == "OK newest file stored 0s to 3h ago (limit 1d); a1b2c3d4; 2 snapshot files"
    assert judge(between(timedelta(0), None), exact(3 * DAY, B)).status is Status.UNKNOWN


@pytest.mark.parametrize("skew", [3 * HOUR, -3 * HOUR])
def test_bounds_count_on_the_clock_of_the_store_too(skew: timedelta) -> None:
    assert judge(between(2 * HOUR - skew, 3 * HOUR - skew), skew=skew).age == 3 * HOUR


def test_bounds_that_lie_in_the_future_are_no_age() -> None:
    """Our clock was set back by less than what would be noticed."""
    assert judge(between(-MINUTE, -MINUTE / 2)).age == timedelta(0)


# What changed


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        (None, ""),
        ((0, 0), ""),
        ((1, 0), "; 1 new, 0 gone since the last look"),
        ((0, 2), "; 0 new, 2 gone since the last look"),
        ((14, 14), "; 14 new, 14 gone since the last look"),
    ],
)
@pytest.mark.parametrize("age", [HOUR, 2 * DAY])
def test_changes_are_told_and_never_judged(changes: tuple[int, int] | None, end: str, age: timedelta) -> None:
    verdict = judge(exact(age), changes=changes)
    assert verdict.status is judge(exact(age)).status
    assert verdict.message == judge(exact(age)).message + end


def test_changes_are_told_where_nothing_is_left() -> None:
    verdict = judge(changes=(0, 3))
    assert message(verdict) == "MISSING no snapshot file in the repository; 0 new, 3 gone since the last look"


# Nothing seen, and the words


def test_what_nobody_listed_is_unknown() -> None:
    verdict = StoredRecently(MaxAge(DAY, "1d")).judge(Observation("restic"), NOW)
    assert (verdict.status, verdict.code) == (Status.UNKNOWN, Code.ERROR)
    assert message(verdict) == "ERROR the snapshot files could not be listed"


@pytest.mark.parametrize(
    "file",
    [
        exact(23 * HOUR + 59 * MINUTE),
        between(23 * HOUR + 59 * MINUTE, 47 * HOUR + 59 * MINUTE),
        between(23 * HOUR + 59 * MINUTE, None),
        between(DAY + 23 * HOUR, None),
    ],
)
def test_the_longest_messages_keep_their_end_and_never_say_backed_up(file: Stored) -> None:
    told = message(judge(file, shown="1d (default)", changes=None if file.after is None else (20_000, 20_000)))
    assert len(told) <= 200
    assert not told.endswith("...")
    assert "newest file stored" in told
    assert "backed up" not in told
