"""Judging: pure, so tables decide. And `parse_time`, on which every age rests."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from restic_monitor import proof
from restic_monitor.checks.freshness import Freshness
from restic_monitor.checks.readable import Readable
from restic_monitor.model import Code, Folder, Observation, Result, Snapshot, Status, Verdict, Watch, unknown
from restic_monitor.recency import MaxAge
from restic_monitor.repository.documents import parse_time

NOW = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


def snapshot(age: timedelta, id: str = "a1b2c3d4" * 8, host: str = "web1") -> Snapshot:  # noqa: A002
    return Snapshot(id, NOW - age, host)


def observed(*snapshots: Snapshot, unreadable: tuple[str, ...] = ()) -> Observation:
    """As a look sees them that knows of no earlier one; each has an id of its own."""
    different = [replace(each, id=f"{each.id[:8]}{number:056x}") for number, each in enumerate(snapshots)]
    return Observation("restic", proof.prove(different, None, NOW), unreadable)


def judge(*snapshots: Snapshot, limit: timedelta = DAY, shown: str = "1d", unreadable: tuple[str, ...] = ()) -> Verdict:
    return Freshness(MaxAge(limit, shown)).judge(observed(*snapshots, unreadable=unreadable), NOW)


def message(*verdicts: Verdict) -> str:
    return Result(Watch("web", ()), verdicts, "restic", SECOND).message


def both(seen: Observation, limit: timedelta = DAY) -> Result:
    checks = (Freshness(MaxAge(limit, "1d")), Readable())
    return Result(Watch("web", checks), tuple(check.judge(seen, NOW) for check in checks), "restic", SECOND)


# How old is too old


@pytest.mark.parametrize(
    ("age", "status", "code"),
    [
        (timedelta(0), Status.UP, Code.OK),
        (MINUTE, Status.UP, Code.OK),
        (DAY - SECOND, Status.UP, Code.OK),
        (DAY, Status.UP, Code.OK),
        (DAY + timedelta(microseconds=1), Status.DOWN, Code.STALE),
        (DAY + SECOND, Status.DOWN, Code.STALE),
        (365 * DAY, Status.DOWN, Code.STALE),
        (4000 * DAY, Status.DOWN, Code.STALE),
        (-MINUTE, Status.UP, Code.OK),
        (-5 * MINUTE, Status.UP, Code.OK),
    ],
)
def test_exactly_the_limit_old_is_fresh_and_a_moment_more_is_stale(age: timedelta, status: Status, code: Code) -> None:
    verdict = judge(snapshot(age))
    assert (verdict.status, verdict.code, verdict.age) == (status, code, max(age, timedelta(0)))


def test_the_newest_counts_wherever_it_stands() -> None:
    verdict = judge(snapshot(9 * DAY, "a" * 64), snapshot(MINUTE, "b" * 64), snapshot(2 * DAY, "c" * 64))
    assert (verdict.status, verdict.newest and verdict.newest.id[:8]) == (Status.UP, "b" * 8)


@pytest.mark.parametrize("offset", [-12, -8, 0, 1, 5.5, 9, 14])
def test_the_offset_of_the_clients_zone_changes_nothing(offset: float) -> None:
    there = timezone(timedelta(hours=offset))
    fresh, stale = ((NOW - age).astimezone(there) for age in (DAY, DAY + SECOND))
    assert judge(Snapshot("a" * 64, fresh)).status is Status.UP
    assert judge(Snapshot("a" * 64, stale)).code is Code.STALE
    assert judge(Snapshot("a" * 64, fresh)).message.endswith("aaaaaaaa 2026-11-22 01:00Z; 1 snapshot")


def test_offsets_decide_which_is_the_newest() -> None:
    """09:30+09:00 is earlier than 01:00Z, though it reads later."""
    tokyo = Snapshot("a" * 64, datetime.fromisoformat("2026-11-22T23:30:00+09:00"))
    london = Snapshot("b" * 64, datetime.fromisoformat("2026-11-22T15:00:00+00:00"))
    newest = judge(tokyo, london).newest
    assert newest
    assert newest.time == london.time


# From the future


def test_up_to_five_minutes_in_the_future_is_age_0() -> None:
    assert judge(snapshot(-5 * MINUTE)).message == "newest 0s old (limit 1d); a1b2c3d4 web1 2026-11-23 01:05Z; 1 snapshot"


FUTURE = "1 snapshot is dated in the future (2026-11-23 01:05Z): is a clock wrong?"


def test_more_than_that_does_not_count_and_warns() -> None:
    verdict = judge(snapshot(MINUTE), snapshot(-5 * MINUTE - SECOND))
    assert (verdict.status, verdict.code, verdict.age) == (Status.WARN, Code.WARN, MINUTE)
    assert message(verdict) == f"WARN newest 1m old (limit 1d); a1b2c3d4 web1 2026-11-23 00:59Z; 2 snapshots; {FUTURE}"


def test_a_stale_repository_stays_stale_whatever_the_future_says() -> None:
    verdict = judge(snapshot(2 * DAY), snapshot(-5 * MINUTE - SECOND), snapshot(-400 * DAY))
    assert verdict.status is Status.DOWN
    assert message(verdict) == (
        "STALE newest 2d old (limit 1d); last a1b2c3d4 web1 2026-11-21 01:00Z; 3 snapshots; "
        "2 snapshots are dated in the future (2027-12-28 01:00Z): is a clock wrong?"
    )


def test_nothing_but_the_future_is_missing() -> None:
    verdict = judge(snapshot(-5 * MINUTE - SECOND))
    assert (verdict.status, verdict.newest, verdict.age) == (Status.DOWN, None, None)
    assert message(verdict) == f"MISSING no snapshot that counts: {FUTURE}"


# Nothing


def test_an_empty_repository_is_missing() -> None:
    verdict = judge()
    assert verdict.status is Status.DOWN
    assert message(verdict) == "MISSING no snapshot in the repository"


@pytest.mark.parametrize(
    ("vanished", "expected"),
    [
        (None, "MISSING no snapshot in the repository"),
        ((), "MISSING no snapshot in the repository"),
        (("a" * 64,), "MISSING no snapshot in the repository; 1 was there at the last look"),
        (("a" * 64, "b" * 64, "c" * 64), "MISSING no snapshot in the repository; 3 were there at the last look"),
    ],
)
def test_an_empty_repository_that_was_none_says_so(vanished: tuple[str, ...] | None, expected: str) -> None:
    seen = Observation("native", (), (), stored=Folder((), vanished=vanished))
    verdict = Freshness(MaxAge(DAY, "1d")).judge(seen, NOW)
    assert (verdict.status, message(verdict)) == (Status.DOWN, expected)


def test_an_empty_list_beside_damaged_files_is_no_empty_repository() -> None:
    result = both(Observation("restic", (), ("07d81154",)))
    assert result.status is Status.DOWN
    assert result.message == "ERROR 1 snapshot file is damaged or unreadable: 07d81154; no snapshot that can be read"


def test_what_nobody_looked_at_is_unknown() -> None:
    result = both(Observation("other"))
    assert (result.status, result.code) == (Status.UNKNOWN, Code.ERROR)
    assert result.message == "ERROR the snapshots could not be listed; nobody looked for damaged snapshot files"


# Damaged files


def test_a_damaged_file_is_down_though_the_others_are_fresh() -> None:
    result = both(observed(snapshot(MINUTE), unreadable=("07d81154", "b" * 64, "c" * 64, "d" * 64, "e" * 64)))
    assert (result.status, result.age) == (Status.DOWN, MINUTE)
    assert result.message == "ERROR 5 snapshot files are damaged or unreadable: 07d81154, bbbbbbbb, cccccccc and 2 more"


def test_a_damaged_file_is_down_though_the_list_is_not_known() -> None:
    result = both(Observation("restic", None, ("07d81154",)))
    assert result.status is Status.DOWN
    assert result.message == ("ERROR 1 snapshot file is damaged or unreadable: 07d81154; the snapshots could not be listed")


def test_stale_and_damaged_are_both_told() -> None:
    result = both(observed(snapshot(3 * DAY), unreadable=("07d81154",)))
    assert result.message == (
        "STALE newest 3d old (limit 1d); last a1b2c3d4 web1 2026-11-20 01:00Z; 1 snapshot; "
        "1 snapshot file is damaged or unreadable: 07d81154"
    )


def test_no_damage_is_not_worth_a_word() -> None:
    result = both(observed(snapshot(MINUTE)))
    assert (result.status, result.code) == (Status.UP, Code.OK)
    assert result.message == "OK newest 1m old (limit 1d); a1b2c3d4 web1 2026-11-23 00:59Z; 1 snapshot"


# The worst wins


@pytest.mark.parametrize(
    ("statuses", "worst"),
    [
        ([Status.UP, Status.UP], Status.UP),
        ([Status.UP, Status.WARN], Status.WARN),
        ([Status.UNKNOWN, Status.WARN], Status.UNKNOWN),
        ([Status.UNKNOWN, Status.DOWN, Status.UP], Status.DOWN),
        ([Status.WARN, Status.DOWN], Status.DOWN),
    ],
)
def test_the_worst_verdict_decides(statuses: list[Status], worst: Status) -> None:
    verdicts = tuple(Verdict("x", status, Code.ERROR, status.name) for status in statuses)
    result = Result(Watch("web", ()), verdicts, "restic", SECOND)
    assert result.status is worst
    assert result.message.startswith(f"ERROR {worst.name}")
    assert result.status.failing == (worst in (Status.DOWN, Status.UNKNOWN))


# Words


@pytest.mark.parametrize("host", ["", "büro-42", "WIN-7\\user", "日本"])
def test_hosts_stand_in_the_message_as_they_are(host: str) -> None:
    shown = f" {host}" if host else ""
    assert message(judge(snapshot(MINUTE, host=host))) == (
        f"OK newest 1m old (limit 1d); a1b2c3d4{shown} 2026-11-23 00:59Z; 1 snapshot"
    )


@pytest.mark.parametrize("host", ["\x1b[31mred", "a\nDOWN b", "a\rb", "\u202efdp", "\x9b31m", "<b>&", "a\u2028b", "x" * 500])
def test_a_host_cannot_break_out_of_the_line(host: str) -> None:
    said = message(judge(snapshot(2 * DAY, host=host)))
    assert said.isprintable()
    assert not set(said) & set("<>&")
    assert said.endswith("2026-11-21 01:00Z; 1 snapshot")


@given(st.text(max_size=300), st.timedeltas(-2 * DAY, 4000 * DAY), st.text(min_size=1, max_size=20), st.integers(0, 9))
def test_every_message_is_one_short_line_with_the_state_word_first(host: str, age: timedelta, shown: str, damaged: int) -> None:
    seen = observed(Snapshot("a" * 64, NOW - age, host), unreadable=("b" * 8,) * damaged)
    verdicts = (Freshness(MaxAge(DAY, shown)).judge(seen, NOW), Readable().judge(seen, NOW))
    for said in (message(*verdicts), message(unknown(Code.UNREACHABLE, host))):
        assert re.match(r"(OK|WARN|STALE|MISSING|ERROR|UNREACHABLE)\b", said)
        assert said.isprintable()
        assert len(said) <= 200


def test_an_age_that_looks_like_the_limit_is_told_to_the_second() -> None:
    """ "STALE newest 1d old (limit 1d)" would be read as a mistake of ours."""
    assert message(judge(snapshot(DAY + 61 * SECOND))).startswith("STALE newest 1d1m1s old (limit 1d); ")
    assert message(judge(snapshot(DAY + 61 * SECOND), shown="24h")).startswith("STALE newest 1d1m1s old (limit 24h); ")
    assert message(judge(snapshot(DAY + 61 * MINUTE))).startswith("STALE newest 1d1h old (limit 1d); ")


# parse_time


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T21:48:00Z", datetime(2026, 11, 22, 21, 48, tzinfo=UTC)),
        ("2026-11-22t21:48:00z", datetime(2026, 11, 22, 21, 48, tzinfo=UTC)),
        ("2026-11-22T21:48:00.1Z", datetime(2026, 11, 22, 21, 48, 0, 100_000, tzinfo=UTC)),
        ("2026-11-22T21:48:00.123456789Z", datetime(2026, 11, 22, 21, 48, 0, 123_456, tzinfo=UTC)),
        ("2026-11-22T21:48:00.999999999+01:00", datetime(2026, 11, 22, 20, 48, 0, 999_999, tzinfo=UTC)),
        ("2026-11-22T06:00:00+09:00", datetime(2026, 11, 21, 21, 0, tzinfo=UTC)),
        ("2026-11-22T06:00:00-08:00", datetime(2026, 11, 22, 14, 0, tzinfo=UTC)),
        ("2026-11-22T06:00:00+05:45", datetime(2026, 11, 22, 0, 15, tzinfo=UTC)),
        ("2026-11-22T06:00:00-00:00", datetime(2026, 11, 22, 6, 0, tzinfo=UTC)),
        ("2024-02-29T23:59:59+14:00", datetime(2024, 2, 29, 9, 59, 59, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999999Z", datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    ],
)
def test_parse_time(text: str, moment: datetime) -> None:
    parsed = parse_time(text)
    assert parsed is not None
    assert parsed == moment
    assert parsed.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2026-11-22", "2026-11-22T21:48:00", "2026-11-22T21:48Z", "2026-11-22 21:48:00Z", "20261122T214800Z"),
        *(
            "2026-11-22T21:48:00.Z",
            "2026-11-22T21:48:00,5Z",
            "2026-11-22T21:48:00+0100",
            "2026-11-22T21:48:00+01",
            " 2026-11-22T21:48:00Z",
        ),
        *(
            "2026-02-29T00:00:00Z",
            "2026-11-22T25:00:00Z",
            "2026-11-22T21:48:60Z",
            "2026-11-22T21:48:00+24:00",
            "2026-11-22T21:48:00Z\n",
        ),
        *(
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "12026-11-22T21:48:00Z",
            "٢٠٢٦-11-22T21:48:00Z",
        ),
    ],
)
def test_what_is_no_moment_is_none(text: str) -> None:
    assert parse_time(text) is None


@given(st.text())
@example("2026-11-22T21:48:00+99:99")
def test_parse_time_never_raises(text: str) -> None:
    parse_time(text)


@given(st.from_regex(r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,12})?(Z|[+-]\d\d:\d\d)\Z"))
def test_parse_time_never_raises_on_what_looks_like_one(text: str) -> None:
    parsed = parse_time(text)
    assert parsed is None or parsed.utcoffset() == timedelta(0)


@given(
    st.datetimes(NOW.replace(year=2, tzinfo=None), NOW.replace(year=9998, tzinfo=None)),
    st.integers(0, 999_999_999),
    st.integers(0, 9),
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_parse_time_agrees_with_arithmetic(wall: datetime, nanoseconds: int, digits: int, minutes: int) -> None:
    """The wall clock minus the offset; the fraction is cut off below a microsecond."""
    fraction = f"{nanoseconds:09}"[:digits]
    sign, hours, rest = "-" if minutes < 0 else "+", abs(minutes) // 60, abs(minutes) % 60
    text = f"{wall:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + (f".{fraction}" if fraction else "") + f"{sign}{hours:02}:{rest:02}"
    microseconds = int(fraction.ljust(9, "0")) // 1000
    expected = wall.replace(microsecond=microseconds, tzinfo=UTC) - timedelta(minutes=minutes)
    assert parse_time(text) == expected
