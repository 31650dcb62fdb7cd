"""Longest ages and schedules: what is due when, summer time and all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from restic_monitor import proof
from restic_monitor.checks.freshness import Freshness
from restic_monitor.checks.stored import StoredRecently
from restic_monitor.model import Code, Folder, Observation, Snapshot, Status, Stored
from restic_monitor.recency import MaxAge, Schedule, last

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


@pytest.mark.parametrize(
    ("expression", "zone", "moment", "due"),
    [
        ("0 22 * * 1-5", "UTC", "2026-11-24 22:00", "2026-11-24 22:00"),  # a moment is not after itself
        ("0 22 * * 1-5", "UTC", "2026-11-24 21:59:59", "2026-11-23 22:00"),
        ("0 22 * * 1-5", "UTC", "2026-11-23 12:00", "2026-11-20 22:00"),  # Monday: Friday's
        ("0 22 * * 1-5", "UTC", "2026-11-22 23:00", "2026-11-20 22:00"),  # Sunday
        ("0 22 * * mon-fri", "UTC", "2026-11-22 23:00", "2026-11-20 22:00"),
        ("0 3 1 * *", "UTC", "2026-11-25 00:00", "2026-11-01 03:00"),
        ("0 3 29 2 *", "UTC", "2026-11-25 00:00", "2024-02-29 03:00"),
        ("*/15 * * * *", "UTC", "2026-11-25 00:14", "2026-11-25 00:00"),
        ("0 0 L * *", "UTC", "2026-11-25 00:00", "2026-10-31 00:00"),
        # 13th or Friday: as in cron
        ("0 0 13 * 5", "UTC", "2026-11-25 00:00", "2026-11-20 00:00"),
        # Berlin: +1 in winter, +2 in summer
        ("0 22 * * *", "Europe/Berlin", "2026-11-24 21:00", "2026-11-24 21:00"),
        ("0 22 * * *", "Europe/Berlin", "2026-07-24 20:00", "2026-07-24 20:00"),
        ("0 22 * * *", "Europe/Berlin", "2026-07-24 19:59", "2026-07-23 20:00"),
        # 02:30 does not come on 2026-03-29: cron runs it at 03:00 (01:00 UTC)
        ("30 2 * * *", "Europe/Berlin", "2026-03-29 00:59", "2026-03-28 01:30"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-29 01:00", "2026-03-29 01:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-30 00:29", "2026-03-29 01:00"),
        # and comes twice on 2026-10-25: cron runs it the first time (00:30 UTC)
        ("30 2 * * *", "Europe/Berlin", "2026-10-25 00:29", "2026-10-24 00:30"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25 00:30", "2026-10-25 00:30"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25 01:10", "2026-10-25 00:30"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25 01:30", "2026-10-25 00:30"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-26 01:29", "2026-10-25 00:30"),
        # every hour is every hour
        ("0 * * * *", "Europe/Berlin", "2026-10-25 01:10", "2026-10-25 01:00"),
        # a zone whose midnight does not come
        ("0 0 * * *", "America/Santiago", "2026-09-06 04:30", "2026-09-06 04:00"),
    ],
)
def test_when_it_was_last_due(expression: str, zone: str, moment: str, due: str) -> None:
    assert last(expression, zone, at(moment)) == at(due)


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
EXPRESSIONS = ["0 22 * * 1-5", "30 2 * * *", "15 1,2,3 * * *", "*/20 * * * *", "0 3 1 * *", "45 0 * * 0"]


@settings(deadline=None)
@given(st.sampled_from(EXPRESSIONS), st.sampled_from(ZONES), st.integers(0, 365 * 24 * 60))
def test_stepping_back_finds_what_stepping_forward_finds(expression: str, zone: str, minutes: int) -> None:
    moment = at("2026-01-01 00:00") + timedelta(minutes=minutes)
    due = last(expression, zone, moment)
    following = CronSim(expression, (due - 32 * 24 * HOUR).astimezone(ZoneInfo(zone)))
    found = due
    while (found := next(following).astimezone(UTC)) <= moment:
        latest = found
    assert latest == due


@pytest.mark.parametrize("expression", ["", "x", "* * * *", "61 * * * *", "0 0 31 2 *", "@daily"])
def test_what_is_no_schedule_is_a_sentence(expression: str) -> None:
    with pytest.raises(ValueError, match="is no cron expression: "):
        last(expression, "UTC", at("2026-11-25 00:00"))


# How old is too old

WEEKDAYS = Schedule("0 22 * * 1-5", "Europe/Berlin")


@pytest.mark.parametrize(
    ("now", "oldest"),
    [
        ("2026-11-25 02:00", "2026-11-24 21:55"),  # the four hours after Tuesday's are over
        ("2026-11-25 01:59:59", "2026-11-23 21:55"),
        ("2026-11-23 12:00", "2026-11-20 21:55"),  # Monday noon wants Friday's
        ("2026-11-24 01:59", "2026-11-20 21:55"),
        ("2026-11-24 02:00", "2026-11-23 21:55"),
    ],
)
def test_it_is_due_when_the_grace_is_over_and_may_begin_five_minutes_early(now: str, oldest: str) -> None:
    moment, limit = at(now, "Europe/Berlin"), at(oldest, "Europe/Berlin")
    assert moment - WEEKDAYS.limit_at(moment) == limit
    for started, status in ((limit, Status.UP), (limit - SECOND, Status.DOWN)):
        seen = Observation("restic", proof.prove([Snapshot("a" * 64, started)], None, moment), ())
        assert Freshness(WEEKDAYS).judge(seen, moment).status is status
        files = Folder((Stored("a" * 64, started, started),))
        assert StoredRecently(WEEKDAYS).judge(Observation("listing", stored=files), moment).status is status


def test_the_message_says_when_it_was_due_where_the_schedule_is() -> None:
    now = at("2026-11-25 12:00")
    seen = Observation("restic", proof.prove([Snapshot("a" * 64, at("2026-11-20 21:00"), "fs01")], None, now), ())
    verdict = Freshness(WEEKDAYS).judge(seen, now)
    assert (verdict.code, verdict.limit) == (Code.STALE, 15 * HOUR + 5 * MINUTE)
    assert verdict.message == (
        "newest 4d15h old (due Tue 2026-11-24 22:00 CET); last aaaaaaaa fs01 2026-11-20 21:00Z; 1 snapshot"
    )


def test_the_stores_clock_dates_its_files_and_ours_the_schedule() -> None:
    """The store is three hours ahead: its file of "00:58" was stored at 21:58."""
    now = at("2026-11-25 02:00", "Europe/Berlin")
    stored = at("2026-11-24 21:58", "Europe/Berlin") + 3 * HOUR
    seen = Observation("listing", stored=Folder((Stored("a" * 64, stored, stored),)), skew=3 * HOUR)
    assert StoredRecently(WEEKDAYS).judge(seen, now).status is Status.UP


@given(st.integers(0, 10**7), st.integers(0, 400 * 24 * 60))
def test_older_is_never_fresher(minutes: int, age: int) -> None:
    now = at("2026-01-01 00:00") + timedelta(minutes=minutes % (365 * 24 * 60))
    for rule in (WEEKDAYS, MaxAge(26 * HOUR, "26h")):
        limit = rule.limit_at(now)
        assert limit > timedelta(0)
        assert rule.words(now)
        statuses = [
            Freshness(rule).judge(Observation("restic", (Snapshot("a", now, proved=now - older),), ()), now).status
            for older in (timedelta(minutes=age), timedelta(minutes=age + 1))
        ]
        assert statuses == sorted(statuses)
