"""`restic-monitor suggest`: the rhythm of backups, the block that is made of it, and what the program says of it afterwards."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from configs import build
from conftest import Run
from restic_monitor.commands import rhythm, suggest
from restic_monitor.model import Line, Observation, Snapshot, Status, Summary
from restic_monitor.recency import MaxAge
from restics import PASSWORD, Backup, Repository, make_repository, small_file

NOW = datetime(2026, 7, 22, 9, 30, tzinfo=UTC)  # a Wednesday
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ODD = (
    *(
        "",
        "no",
        "null",
        "~",
        "123",
        "1e3",
        "2026-01-01",
        "a: b",
        "a #b",
        "- x",
        "{a}",
        "[b]",
        "'",
        '"',
        "\\",
        "C:\\Users\\anna",
    ),
    *(
        "tab\there",
        "two\nlines",
        "\x1b[31mred",
        "\x7f",
        "\x85",
        "\u2028",
        "\ufeff",
        "Größe",
        "東京",
        "💾",
        " blank ",
        "a,b",
        "*.lan",
    ),
    *("others", "others/web1", "{{ .Name }}", "!tag", "&a", "*a", "%x", "@x", "`x`", "|", ">", "?", "=", "<<", "é" * 200),
)


def snapshot(moment: datetime, host: str = "web1", paths: Sequence[str] = ("/srv",), tags: Sequence[str] = ()) -> Snapshot:
    name = hashlib.sha256(repr((moment, host, paths, tags)).encode(errors="surrogatepass")).hexdigest()
    return Snapshot(name, moment, host, tuple(paths), tuple(tags), proved=moment)


def every(interval: timedelta, count: int, newest: timedelta) -> list[datetime]:
    return [NOW - newest - number * interval for number in range(count)]


def weekdays(hour: int, minute: int, days: Iterable[int] = range(5), weeks: int = 4) -> list[datetime]:
    """Of the last weeks, as far as they are past; 0 is Monday."""
    midnight = NOW.replace(hour=hour, minute=minute)
    found = [midnight - number * DAY for number in range(7 * weeks)]
    return [moment for moment in found if moment.weekday() in set(days) and moment <= NOW]


def firsts(*months: int) -> list[datetime]:
    return [datetime(2026, month, 1, 3, tzinfo=UTC) for month in months]


def kept(moments: Iterable[datetime], daily: int, weekly: int, monthly: int) -> list[datetime]:
    """What `forget` leaves: the last of each of the last days, weeks, months that have one."""
    remaining: set[datetime] = set()
    for count, period in ((daily, "%Y-%j"), (weekly, "%G-%V"), (monthly, "%Y-%m")):
        last = {}
        for moment in sorted(moments):
            last[f"{moment:{period}}"] = moment
        remaining |= set(sorted(last.values())[-count:])
    return sorted(remaining)


@dataclass(frozen=True)
class Case:
    name: str
    moments: Sequence[datetime]
    rule: str
    words: str
    guess: bool = False


CASES = (
    Case("daily", every(DAY, 20, 5 * HOUR), "26h", "every 1d"),
    Case("daily with minutes of jitter", [m + (m.day * 7 % 20) * MINUTE for m in every(DAY, 20, 5 * HOUR)], "26h", "every 1d"),
    Case("daily, thinned", kept(every(DAY, 700, 5 * HOUR), 7, 4, 12), "26h", "every 1d"),
    Case("daily, keep-daily 3", kept(every(DAY, 700, 5 * HOUR), 3, 5, 12), "26h", "every 1d"),
    Case("daily, one night left out", every(DAY, 3, 5 * HOUR) + every(DAY, 9, 5 * HOUR + 4 * DAY), "3d", "every 1d"),
    Case("every 15 minutes", every(15 * MINUTE, 100, 2 * MINUTE), "30m", "every 15m"),
    Case("hourly", every(HOUR, 200, HOUR / 2), "90m", "every 1h"),
    Case("hourly, thinned", every(HOUR, 24, HOUR / 2) + kept(every(DAY, 300, 2 * DAY), 7, 4, 3), "90m", "every 1h"),
    Case("every six hours", every(6 * HOUR, 30, HOUR), "8h", "every 6h"),
    Case("three jobs a night", [m - n * MINUTE for m in every(DAY, 12, 5 * HOUR) for n in (0, 4, 9)], "26h", "every 1d"),
    Case("a PC, hourly by day", [m for m in every(HOUR, 300, HOUR) if 8 <= m.hour <= 18], "15h", "every 1h"),
    Case("weekdays", weekdays(20, 0), "0 19 * * 1-5 grace 4h", "5 days a week, every 1d"),
    Case("weekdays after midnight", weekdays(0, 30), "30 23 * * 0-4 grace 4h", "5 days a week, every 1d"),
    Case("weekdays of another zone", weekdays(3, 58, (1, 2, 3, 4, 5)), "55 2 * * 2-6 grace 4h", "5 days a week, every 1d"),
    Case("Sunday to Thursday", weekdays(0, 10, (6, 0, 1, 2, 3)), "10 23 * * 0,1,2,3,6 grace 4h", "5 days a week, every 1d"),
    Case("weekdays, one week seen", weekdays(20, 0, weeks=1), "4d", "every 1d"),
    Case("weekdays, with a holiday", weekdays(20, 0)[:4] + weekdays(20, 0)[5:], "4d", "every 1d"),
    Case("weekdays, at any hour", [m + m.day % 7 * HOUR for m in weekdays(8, 0)], "4d", "every 1d"),
    Case("four days a week", weekdays(20, 0, (0, 1, 2, 3)), "5d", "every 1d"),
    Case("weekly", every(7 * DAY, 5, 3 * DAY), "8d", "every 7d"),
    Case("weekly, thinned", kept(every(7 * DAY, 100, 3 * DAY), 7, 4, 12), "8d", "every 7d"),
    Case("monthly", firsts(1, 2, 3, 4, 5, 6, 7), "33d", "every 31d"),
    Case("a laptop", [NOW - days * DAY for days in (0.3, 2, 9, 10, 11.5, 13, 20, 21)], "8d", "every 2d"),
    Case("a laptop away for long", [NOW - days * DAY for days in (9, 9.5, 10, 10.5, 21, 21.5)], "12d", "every 12h"),
    Case("one snapshot", [NOW - 5 * HOUR], "26h", "once", guess=True),
    Case("one snapshot, ten days old", [NOW - 10 * DAY], "15d", "once", guess=True),
    Case("two snapshots", every(DAY, 2, 5 * HOUR), "26h", "every 1d", guess=True),
    Case("one evening", every(10 * MINUTE, 4, 3 * DAY), "4d", "every 10m", guess=True),
    Case("yearly", [datetime(year, 1, 1, tzinfo=UTC) for year in range(2022, 2027)], "400d", "every 365d"),
    Case("four by hand, daily before", every(timedelta(seconds=31), 4, HOUR) + every(DAY, 21, 5 * HOUR), "26h", "every 1d"),
    Case("an evening's tests", [NOW - n * MINUTE for n in (10, 15, 16, 90)] + every(DAY, 21, 5 * HOUR), "26h", "every 1d"),
    Case(
        "two evenings of tests",
        [m - n * MINUTE for m in every(DAY, 2, HOUR) for n in range(4)] + every(DAY, 9, 2 * DAY),
        "26h",
        "every 1d",
    ),
    Case(
        "thirty by hand, thinned before", every(MINUTE, 30, HOUR) + kept(every(DAY, 700, 5 * HOUR), 7, 4, 12), "26h", "every 1d"
    ),
    Case("by hand, weekly before", every(MINUTE, 4, HOUR) + every(7 * DAY, 5, 3 * DAY), "8d", "every 7d"),
    Case(
        "by hand, hourly and thinned before",
        every(MINUTE, 4, HOUR / 4) + every(HOUR, 24, HOUR / 2) + kept(every(DAY, 300, 2 * DAY), 7, 4, 3),
        "90m",
        "every 1h",
    ),
    Case(
        "by hand, a week ago", every(DAY, 7, 5 * HOUR) + every(MINUTE, 4, 7 * DAY) + every(DAY, 9, 8 * DAY), "26h", "every 1d"
    ),
    Case("by hand, one before", every(MINUTE, 4, HOUR) + every(DAY, 1, 6 * DAY), "8d", "every 6d", guess=True),
    Case("late", every(DAY, 20, 4 * DAY), "26h", "every 1d"),
)


def observed(moments: Iterable[datetime]) -> rhythm.Rhythm:
    found = rhythm.of(map(snapshot, moments))
    assert found
    return found


def written(found: rhythm.Rhythm) -> str:
    rule = found.rule(NOW)
    if isinstance(rule, MaxAge):
        return rule.shown
    assert rule.zone == "UTC"
    return f"{rule.expression} grace {rule.grace // HOUR}h"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_rhythm_makes_the_rule(case: Case) -> None:
    found = observed(case.moments)
    assert (written(found), found.words, found.is_guess) == (case.rule, case.words, case.guess)
    assert not found.is_dormant(NOW)
    assert (NOW - found.newest > found.rule(NOW).limit_at(NOW)) == (case.name == "late")


@pytest.mark.parametrize(
    ("moments", "dormant"),
    [
        (every(DAY, 7, 29 * DAY), False),
        (every(DAY, 7, 31 * DAY), True),
        (every(DAY, 1, 29 * DAY), False),
        (every(DAY, 1, 31 * DAY), True),
        (every(30 * DAY, 7, 149 * DAY), False),
        (every(30 * DAY, 7, 151 * DAY), True),
        (kept(every(DAY, 700, 40 * DAY), 7, 4, 12), True),
    ],
)
def test_dormant_is_older_than_thirty_days_and_five_intervals(moments: Sequence[datetime], dormant: bool) -> None:
    assert observed(moments).is_dormant(NOW) == dormant


def test_the_longest_backup_counts_and_one_that_was_dated_by_hand_does_not() -> None:
    def took(durations: Sequence[timedelta]) -> str:
        moments = every(DAY, len(durations), 5 * HOUR)
        summaries = [Summary(m + d, 10, 10) for m, d in zip(moments, durations, strict=True)]
        found = rhythm.of(
            Snapshot(f"{number:064x}", moment, summary=summary, proved=moment)
            for number, (moment, summary) in enumerate(zip(moments, summaries, strict=True))
        )
        assert found
        return written(found)

    assert took([4 * HOUR, MINUTE, MINUTE, MINUTE]) == "30h"
    assert took([100 * DAY, MINUTE, MINUTE, MINUTE]) == "26h"
    assert took([4 * HOUR, 2 * DAY, 3 * DAY, 4 * DAY]) == "26h"


def test_what_proves_nothing_has_no_rhythm() -> None:
    assert rhythm.of([Snapshot("a" * 64, NOW)]) is None


# the block


def block(snapshots: Iterable[Snapshot], unreadable: tuple[str, ...] = ()) -> str:
    return suggest.block("home", Observation("restic", tuple(snapshots), unreadable), NOW)


def office() -> Iterator[Snapshot]:
    for moment in every(DAY, 8, 5 * HOUR):
        yield snapshot(moment, "nas", ["/srv", "/etc"])
        yield snapshot(moment, "web", ["/srv/www"])
        yield snapshot(moment, "web", ["/etc"], ["config"])
        yield snapshot(moment, "db01", ["/dump"], ["nightly"])
        yield snapshot(moment - 70 * DAY, "old[pc]", ["C:\\Users"])
        yield snapshot(moment - 70 * DAY, "nas", ["/gone"])
    for moment in firsts(2, 3, 4, 5, 6, 7):
        yield snapshot(moment, "db01", ["/dump"], ["monthly"])
    for moment in weekdays(20, 0):
        yield snapshot(moment, "fs01")
    yield snapshot(NOW - 6 * HOUR, "new")
    yield Snapshot("f" * 64, NOW + 9 * DAY, "ahead")


def test_the_block_says_what_was_seen() -> None:
    expected = """\
    # Suggested on 2026-07-22, by 75 snapshots. Put it below home: in the configuration, in the place
    # of any other expect:, and edit it: it describes what is; what should be is for you to decide.
    # Then see what it says, telling nobody: restic-monitor run --no-push home
    # 1 snapshot that proves no backup (dated in the future, or before 2014): ahead
    # 1 snapshot that cannot be read: 01234567
    expect:
      db01-nightly: {host: db01, tags: [nightly], max_age: 26h}   # every 1d; 8 snapshots, the newest 5h old
      db01-monthly: {host: db01, tags: [monthly], max_age: 33d}   # every 30d; 6 snapshots, the newest 21d old
      fs01: {schedule: "0 19 * * 1-5", timezone: UTC, grace: 4h}  # 5 days a week, every 1d; 19 snapshots, the newest 13h \
old; an hour early for summer time; better: your timezone and its hour
      nas: {max_age: 26h}                                         # every 1d; 8 snapshots, the newest 5h old
      new: {max_age: 26h}                                         # one snapshot, 6h old; little to go by: a guess
      web-etc: {host: web, paths: [/etc], max_age: 26h}           # every 1d; 8 snapshots, the newest 5h old
      web-www: {host: web, paths: [/srv/www], max_age: 26h}       # every 1d; 8 snapshots, the newest 5h old
      others:                                                     # what comes later: every other host, and what it backs up
        group_by: [host, paths]
        ignore:                                                   # retired, as it seems; before: a later backup is judged
          - {host: nas, paths: [/gone], before: 2026-05-14}       # every 1d, dormant; 8 snapshots, the newest 70d old; \
matched above, too
          - {host: "old[[]pc]", paths: ["C:\\\\Users"], before: 2026-05-14}  # every 1d, dormant; 8 snapshots, the newest 70d \
old
"""
    assert block(office(), ("0123456789abcdef",)) == expected


def expectations(text: str) -> dict[str, str]:
    """The lines of the block, without comments, by name."""
    found = re.findall(r"(?m)^ {6}(\S.*?): \{(.*)\}(?:  .*)?$", text)
    return {name: fields for name, fields in found if not name.startswith("#")}


def of_web(moments: Iterable[datetime], *more: str, **fields: Sequence[str]) -> list[Snapshot]:
    return [snapshot(moment, "web", fields.get("paths", ("/srv",)), fields.get("tags", ())) for moment in moments]


DAILY, WEEKLY = every(DAY, 10, 5 * HOUR), every(7 * DAY, 5, 2 * DAY)
GROUPS: Sequence[tuple[str, Sequence[Snapshot], dict[str, str]]] = (
    ("untagged nightly, tagged monthly", of_web(DAILY) + of_web(firsts(4, 5, 6, 7), tags=["monthly"]), {
        "web": "max_age: 26h",
        "web-monthly": "host: web, tags: [monthly], max_age: 33d",
    }),
    ("a tag for one occasion", of_web(DAILY, tags=["nightly"]) + of_web([NOW - 3 * DAY], tags=["before-upgrade"]), {
        "web": "max_age: 26h"
    }),
    ("another tag each time", [each for m in DAILY for each in of_web([m], tags=[f"{m:%F}"])], {"web": "max_age: 26h"}),
    ("another tag since last week", of_web(DAILY[:5], tags=["v2"]) + of_web(DAILY[5:], tags=["v1"]), {"web": "max_age: 26h"}),
    ("other paths since yesterday", of_web(DAILY[:1], paths=["/srv", "/etc"]) + of_web(DAILY[4:]), {"web": "max_age: 26h"}),
    ("other paths each time", [each for m in DAILY for each in of_web([m], paths=[f"/mnt/{m:%F}"])], {"web": "max_age: 26h"}),
    ("paths and tags", [*of_web(DAILY, paths=["/"], tags=["a"]), *of_web(DAILY, paths=["/"], tags=["b"]), *of_web(DAILY)], {
        "web-root-a": 'host: web, paths: [/], tags: [a], max_age: 26h',
        "web-root-b": 'host: web, paths: [/], tags: [b], max_age: 26h',
        "web-srv": "host: web, paths: [/srv], max_age: 26h",
    }),
    ("no paths", of_web(DAILY, paths=[]), {"web": "max_age: 26h"}),
    ("many paths", of_web(DAILY, paths=["/a", "/b/c", "/d"]) + of_web(DAILY, paths=["/x/a", "/y/c", "/z"]), {
        "web-a-c-more": "host: web, paths: [/a, /b/c, /d], max_age: 26h",
        "web-a-c-more-2": "host: web, paths: [/x/a, /y/c, /z], max_age: 26h",
    }),
    ("paths of a job among another's", of_web(DAILY, paths=["/d"], tags=["nightly"])
        + of_web(WEEKLY, paths=["/c", "/d"], tags=["weekly"]), {
        "web-c-d-weekly": "host: web, paths: [/c, /d], tags: [weekly], max_age: 8d",
        "web-d-nightly": "host: web, paths: [/d], tags: [nightly], max_age: 26h",
    }),
    ("paths among another's, and once by hand", of_web(DAILY, paths=["/d"], tags=["nightly"])
        + of_web([NOW - 3 * DAY], paths=["/d"], tags=["by-hand"]) + of_web(WEEKLY, paths=["/c", "/d"], tags=["weekly"]), {
        "web-c-d-weekly": "host: web, paths: [/c, /d], tags: [weekly], max_age: 8d",
        "web-d": "host: web, paths: [/d], max_age: 4d",
        "web-d-nightly": "host: web, paths: [/d], tags: [nightly], max_age: 26h",
    }),
    ("paths among another's, one tagged", of_web(DAILY, paths=["/d"], tags=["nightly"]) + of_web(WEEKLY, paths=["/c", "/d"]), {
        "web-c-d": "host: web, paths: [/c, /d], max_age: 8d",
        "web-d-nightly": "host: web, paths: [/d], tags: [nightly], max_age: 26h",
    }),
    ("paths among another's, one tag for all", of_web(DAILY, paths=["/d"], tags=["x"])
        + of_web(WEEKLY, paths=["/c", "/d"], tags=["x"]), {
        "web-c-d": "host: web, paths: [/c, /d], max_age: 8d",
        "web-d": "host: web, paths: [/d], max_age: 26h",
    }),
    ("paths among another's, newly tagged", of_web(DAILY[:5], paths=["/d"], tags=["v2"])
        + of_web(DAILY[5:], paths=["/d"], tags=["v1"]) + of_web(WEEKLY, paths=["/c", "/d"]), {
        "web-c-d": "host: web, paths: [/c, /d], max_age: 8d",
        "web-d-v2": "host: web, paths: [/d], tags: [v2], max_age: 26h",
    }),
    ("a new tag each month", of_web(DAILY[:1], tags=["july"]) + of_web(DAILY[1:], tags=["june"]), {"web": "max_age: 26h"}),
    ("tags of long ago", of_web(DAILY, tags=["a"]) + of_web(WEEKLY, tags=["b"]) + of_web(every(DAY, 9, 90 * DAY), tags=["c"]), {
        "web-a": "host: web, tags: [a], max_age: 26h",
        "web-b": "host: web, tags: [b], max_age: 8d",
    }),
    ("six jobs", [each for tag in "abcdef" for each in of_web(DAILY, tags=[tag])], {
        f"web-{tag}": f"host: web, tags: [{tag}], max_age: 26h" for tag in "abcdef"
    }),
    ("containers, and a machine with their paths", [snapshot(m, f"{n:012x}", ["/data"], ["x"]) for n, m in enumerate(DAILY)]
        + [snapshot(m, "nas", ["/data", "/etc"]) for m in DAILY], {
        "nas": "max_age: 26h",
        "data-x": "paths: [/data], tags: [x], max_age: 26h",
    }),
    ("containers", [snapshot(m, f"{n:012x}", ["/data"]) for n, m in enumerate(DAILY)], {
        "data": "paths: [/data], max_age: 26h",
    }),
    ("new machines", [snapshot(NOW - HOUR, f"pc{n}", ["/home"]) for n in range(5)], {
        f"pc{n}": "max_age: 26h" for n in range(5)
    }),
    ("no host", [snapshot(m, "") for m in DAILY], {"no-host": 'host: "", max_age: 26h'}),
    ("a host with the name of the rest", [snapshot(m, "others") for m in DAILY], {"others": "max_age: 26h"}),
)  # fmt: skip


@pytest.mark.parametrize(("name", "snapshots", "lines"), GROUPS, ids=[name for name, *_ in GROUPS])
def test_snapshots_that_belong_together_are_one_expectation(
    name: str, snapshots: Sequence[Snapshot], lines: dict[str, str], tmp_path: Path
) -> None:
    text = block(snapshots)
    assert expectations(text) == lines
    assert failing(tmp_path, text, snapshots) == []
    assert ("others-2:" in text) == ("others" in lines)


def test_other_paths_since_yesterday_leave_the_old_ones_to_be_ignored() -> None:
    text = block(of_web(DAILY[:1], paths=["/srv", "/etc"]) + of_web(DAILY[4:]))
    assert "- {host: web, paths: [/srv], before: 2026-07-19}" in text


@pytest.mark.parametrize(
    ("snapshots", "covered"),
    [
        (of_web(DAILY, paths=["/d"]) + of_web(WEEKLY, paths=["/c", "/d"]), {"web-d": "web-c-d"}),
        (of_web(DAILY, tags=["x"]) + of_web(WEEKLY, tags=["x", "y"]), {"web-x": "web-x-y"}),
        (of_web(DAILY) + of_web(WEEKLY, tags=["y"]), {"web": "web-y"}),
        ([each for tag in "abcd" for each in of_web(DAILY, tags=[*tag])] + of_web(DAILY),
            {"web": "web-a, web-b, web-c and others"}),
        (of_web(DAILY, tags=["x"]) + of_web(WEEKLY, tags=["y"]), {}),
    ],
)  # fmt: skip
def test_what_nothing_tells_apart_is_said(snapshots: Sequence[Snapshot], covered: dict[str, str], tmp_path: Path) -> None:
    text = block(snapshots)
    found = re.findall(r"(?m)^ {6}(\S+): .*; also met by the backups of (.*): only a tag of its own", text)
    assert dict(found) == covered
    assert failing(tmp_path, text, snapshots) == []


LATE = every(DAY, 20, 5 * DAY)


@pytest.mark.parametrize(
    ("late", "others"),
    [
        ({"paths": ["/d"], "tags": ["nightly"]}, [({"paths": ["/c", "/d"], "tags": ["weekly"]}, WEEKLY)]),
        ({"tags": ["nightly"]}, [({"tags": ["weekly"]}, WEEKLY)]),
        ({"tags": ["nightly"]}, [({}, WEEKLY)]),
        ({"tags": ["nightly"]}, [({"tags": ["by-hand"]}, [NOW - HOUR])]),
        ({"tags": ["nightly"]}, [({"tags": ["by-hand"]}, [NOW - HOUR]), ({"tags": ["old"]}, every(DAY, 9, 90 * DAY))]),
        ({"paths": ["/d"], "tags": ["nightly"]}, [({"paths": ["/c", "/d"], "tags": ["weekly"]}, [NOW - HOUR])]),
    ],
)
def test_a_job_that_is_late_is_not_covered_by_another(
    late: dict[str, Sequence[str]], others: Sequence[tuple[dict[str, Sequence[str]], Sequence[datetime]]], tmp_path: Path
) -> None:
    snapshots = of_web(LATE, **late) + [each for fields, moments in others for each in of_web(moments, **fields)]
    text = block(snapshots)
    ((name, message),) = failing(tmp_path, text, snapshots)
    assert name.endswith("-nightly")
    assert message.startswith("newest 5d old (limit 26h)")
    assert re.search(rf"(?m)^ {{6}}{name}: .*# every 1d, late; 20 snapshots, the newest 5d old$", text)


# loading it


def lines_of(folder: Path, text: str, snapshots: Iterable[Snapshot], now: datetime = NOW) -> Sequence[Line]:
    """What the program says of the repository, with the block in its configuration."""
    file = f"repositories:\n  home:\n    url: /srv/backup\n    password: not asked for\n{text}"
    watch = build(folder, file)["home"].watch
    assert watch.expect
    verdict, lines = watch.expect.judge(Observation("restic", tuple(snapshots), ()), now)
    assert verdict.status == max((v.status for line in lines for v in line.verdicts), default=Status.UP)
    return lines


def failing(folder: Path, text: str, snapshots: Iterable[Snapshot]) -> list[tuple[str, str]]:
    lines = lines_of(folder, text, snapshots)
    return [(line.name, each.message) for line in lines for each in line.verdicts if each.status > Status.UP]


def test_an_office_is_up_but_for_the_host_that_proves_nothing(tmp_path: Path) -> None:
    snapshots = list(office())
    assert {name for name, _ in failing(tmp_path, block(snapshots), snapshots)} == {"others/ahead (no paths)"}


@pytest.mark.parametrize("place", ["host", "dormant host", "path", "dormant path", "tag"])
@pytest.mark.parametrize("odd", ODD)
def test_odd_names_survive(odd: str, place: str, tmp_path: Path) -> None:
    newest = 70 * DAY if "dormant" in place else 5 * HOUR
    moments = every(DAY, 6, newest)
    of_odd: dict[str, Callable[[datetime], list[Snapshot]]] = {
        "host": lambda m: [snapshot(m, odd)],
        "path": lambda m: [snapshot(m, "web", ["/a", odd]), snapshot(m, "web")],
        "tag": lambda m: [snapshot(m, "web", ["/a"], [odd]), snapshot(m - HOUR, "web", ["/a"], ["nightly"])],
    }
    make = of_odd[place.removeprefix("dormant ")]
    snapshots = [snapshot(m, "nas") for m in DAILY] + [each for m in moments for each in make(m)]
    text = block(snapshots)
    assert failing(tmp_path, text, snapshots) == []
    yaml.safe_load(text)
    if "dormant" in place:
        returned = [*snapshots, *make(NOW - 2 * DAY)]
        assert failing(tmp_path, text, returned), "what comes back after all is judged"


@pytest.mark.parametrize("text", ["a\0b", "half \ud83d"])
def test_what_no_configuration_can_hold_is_said(text: str, tmp_path: Path) -> None:
    snapshots = [snapshot(m, "web", [text]) for m in DAILY]
    assert failing(tmp_path, block(snapshots), snapshots) == []
    assert "the name of this host holds what no configuration can" in block([snapshot(m, text) for m in DAILY])


names = st.sampled_from(ODD) | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
paths = st.lists(names, max_size=3, unique=True)
ages = st.floats(0.02, 0.98)


@st.composite
def machines(draw: st.DrawFn) -> list[Snapshot]:
    """Of one host and paths: a rhythm with some jitter, thinned or not, that goes on; or has ended long ago."""
    interval = draw(st.sampled_from([HOUR, 6 * HOUR, DAY, 7 * DAY, 30 * DAY]))
    count = draw(st.integers(5, 30))
    begun = draw(ages) * interval + (max(31 * DAY, 6 * interval) if draw(st.booleans()) else timedelta(0))
    moments = [NOW - begun - (number + draw(st.floats(0, 0.02))) * interval for number in range(count)]
    if interval == DAY and draw(st.booleans()):
        moments = kept(moments, draw(st.integers(3, 10)), draw(st.integers(0, 5)) or 1, 3)
    host, of, tags = draw(names), draw(paths), draw(st.lists(names, max_size=2, unique=True))
    return [snapshot(moment, host, of, tags) for moment in moments]


@settings(deadline=None, max_examples=150)
@given(st.lists(machines(), min_size=1, max_size=6, unique_by=lambda found: (found[0].host, frozenset(found[0].paths))))
def test_a_healthy_repository_is_up_with_what_is_suggested(
    tmp_path_factory: pytest.TempPathFactory, found: list[list[Snapshot]]
) -> None:
    snapshots = [each for machine in found for each in machine]
    text = block(snapshots)
    assert failing(tmp_path_factory.getbasetemp(), text, snapshots) == [], text


@dataclass(frozen=True)
class Job:
    """Of one host. `phase`: how much of an interval ago the newest is."""

    interval: timedelta
    phase: float
    count: int
    paths: frozenset[str]
    tags: frozenset[str]

    def snapshots(self, stopped: timedelta = timedelta(0), until: datetime = NOW) -> list[Snapshot]:
        """Those until now, the last `stopped` earlier; and those that come until a moment."""
        newest = NOW - stopped - self.phase * self.interval
        coming = range(-((until - newest) // self.interval) if until > NOW else 0, self.count)
        return [snapshot(newest - number * self.interval, "web", sorted(self.paths), sorted(self.tags)) for number in coming]

    def is_covered_by(self, other: Job) -> bool:
        """No filter finds these and not those."""
        return self.paths <= other.paths and self.tags <= other.tags


of_few = st.frozensets(st.sampled_from("abc"), max_size=2)
some_job = st.builds(
    Job,
    st.sampled_from([HOUR, 6 * HOUR, DAY, 7 * DAY, 30 * DAY]),
    ages,
    st.integers(14, 30),
    of_few.map(lambda found: frozenset(f"/{each}" for each in found)),
    of_few,
)
two_jobs = st.tuples(some_job, some_job).filter(lambda found: not found[0].is_covered_by(found[1]))


@settings(deadline=None, max_examples=200)
@given(two_jobs)
def test_a_job_that_stops_is_down_by_the_suggestion_made_before_it_stopped(
    tmp_path_factory: pytest.TempPathFactory, two: tuple[Job, Job]
) -> None:
    """The other goes on, and has just made a backup."""
    stops, goes_on = two
    folder, later = tmp_path_factory.getbasetemp(), NOW + 3 * stops.interval + 2 * DAY
    text = block(stops.snapshots() + goes_on.snapshots())
    its = goes_on.snapshots(until=later)
    its.append(replace(its[0], id="f" * 64, time=later, proved=later))
    lines = lines_of(folder, text, stops.snapshots(until=later) + its, later)
    assert [line.name for line in lines for each in line.verdicts if each.status > Status.UP] == [], text
    lines = lines_of(folder, text, stops.snapshots() + its, later)
    assert len([line.name for line in lines for each in line.verdicts if each.status is Status.DOWN]) == 1, text


@settings(deadline=None, max_examples=200)
@given(two_jobs, st.floats(2.5, 4))
def test_a_job_that_has_stopped_is_down_by_the_suggestion(
    tmp_path_factory: pytest.TempPathFactory, two: tuple[Job, Job], intervals: float
) -> None:
    """Where the other is not what came in its place."""
    stopped = two[0].snapshots(stopped=intervals * two[0].interval)
    others = two[1].snapshots()
    assume(others[-1].time < stopped[0].time)
    text = block(stopped + others)
    assert len(failing(tmp_path_factory.getbasetemp(), text, stopped + others)) == 1, text


SATURDAY = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize("days", [2, 3, 5])
@pytest.mark.parametrize("hours", [20, 36, 60])
def test_a_job_of_weekdays_that_was_set_up_this_week_is_not_late_at_the_weekend(days: int, hours: int) -> None:
    """Mondays to Fridays at 20:00, looked at on Saturday, Sunday and Monday."""
    moments = [SATURDAY - timedelta(days=day) - 4 * HOUR for day in range(days)]
    now = SATURDAY + hours * HOUR
    found = rhythm.of([Snapshot(str(number), each, "web", proved=each) for number, each in enumerate(moments)])
    assert found
    assert not found.is_late(now)
    assert found.is_late(now + 7 * timedelta(days=1)) or found.is_guess


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 110), st.integers(0, 6), st.integers(0, 14 * 24))
def test_weekdays_are_up_at_every_hour_of_the_two_weeks_after(
    tmp_path_factory: pytest.TempPathFactory, hour: int, minute: int, jitter: int, first: int, later: int
) -> None:
    """On time, in winter as in summer: an hour later."""
    days = [(first + number) % 7 for number in range(5)]
    moments = [moment for moment in weekdays(hour, minute, days) if moment <= NOW - 2 * HOUR]
    snapshots = [snapshot(moment + moment.day * 37 % (jitter + 1) * MINUTE) for moment in moments]
    text = block(snapshots)
    for shift in (timedelta(0), -HOUR, HOUR):
        now = NOW + later * HOUR
        coming = [moments[0] + (number + 1) * DAY for number in range(16)]
        begun = [moment + shift + jitter * MINUTE for moment in coming if moment.weekday() in days]
        more = [snapshot(moment) for moment in begun if moment <= now]
        lines = lines_of(tmp_path_factory.getbasetemp(), text, [*snapshots, *more], now)
        if "schedule:" in text:
            assert [v.message for line in lines for v in line.verdicts if v.status > Status.UP] == [], text


def test_ten_thousand_snapshots_of_two_hundred_hosts_are_no_long_wait() -> None:
    moments = every(DAY, 50, 5 * HOUR)
    snapshots = [snapshot(moment, f"host{number}") for number in range(200) for moment in moments]
    started = datetime.now(UTC)
    text = block(snapshots)
    assert datetime.now(UTC) - started < timedelta(seconds=2)
    assert len(expectations(text)) == 200


# by its user


def configured(folder: Path, repository: Repository, expect: str = "", **more: str) -> Path:
    keys = {"url": repository.path, "password": PASSWORD, "restic": repository.restic, **more}
    file = folder / "config.yaml"
    lines = "".join(f"    {key}: {value}\n" for key, value in keys.items())
    file.write_text(f"repositories:\n  home:\n{lines}{expect}")
    file.chmod(0o600)
    return file


def home(path: Path, restic_version: str) -> Repository:
    """Five hosts, one of them asleep."""
    now = datetime.now(UTC)
    other = [small_file().parent]
    backups = [
        *(Backup(now - 5 * HOUR - days * DAY, host) for host in ("nas", "web") for days in range(3)),
        *(Backup(now - 3 * DAY - 7 * days * DAY, "web", paths=other) for days in range(3)),
        Backup(now - 6 * HOUR, "Größe: 東京"),
        *(Backup(now - 90 * DAY - days * DAY, "old-pc*") for days in range(3)),
        *(Backup(now - HOUR - days * HOUR, "db", ["hourly"]) for days in range(14)),
    ]
    return make_repository(path, restic_version, backups)


@pytest.mark.slow
def test_what_is_suggested_for_a_real_repository_makes_it_all_up(tmp_path: Path, run: Run) -> None:
    """Also where the encoding of the output knows no umlauts."""
    repository = home(tmp_path / "repo", "0.19")
    printed = []
    for language in ("C", "C.UTF-8"):
        env = {"LC_ALL": language, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        done = run("suggest", "home", "-c", configured(tmp_path, repository), env=env)
        assert (done.returncode, done.stderr) == (0, "")
        expected = {"nas", "web-index.html", "web-test-data", "db", "Größe: 東京", "others"}
        assert set(yaml.safe_load(done.stdout)["expect"]) == expected
        assert '{host: "old-pc[*]", paths: [' in done.stdout
        looked = run("run", "--no-push", "--no-state", "-c", configured(tmp_path, repository, done.stdout))
        assert looked.returncode == 0, looked.stdout + looked.stderr
        assert re.match(r"UP +home +OK all 5 fresh", looked.stdout), looked.stdout
        printed.append(done.stdout)
    again = run("suggest", "home", "-c", configured(tmp_path, repository, printed[-1]))
    assert expectations(again.stdout) == expectations(printed[-1]), "the same with an expect: in the configuration"


@pytest.mark.slow
def test_every_restic_is_understood(tmp_path: Path, run: Run, restic_version: str) -> None:
    now = datetime.now(UTC)
    backups = [Backup(now - 5 * HOUR - days * DAY, "nas") for days in range(4)]
    repository = make_repository(tmp_path / "repo", restic_version, backups)
    done = run("suggest", "home", "-c", configured(tmp_path, repository))
    assert (done.returncode, done.stderr) == (0, "")
    assert expectations(done.stdout) == {"nas": "max_age: 26h"}


def test_nothing_is_remembered_and_nobody_is_told(tmp_path: Path, run: Run) -> None:
    repository = make_repository(tmp_path / "repo", snapshots=[Backup(datetime.now(UTC), "nas")])
    file = configured(tmp_path, repository, push_url="http://127.0.0.1:9/api/push/token")
    before = sorted(each for each in repository.path.rglob("*"))
    done = run("suggest", "home", "-c", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert [each for each in run.home.rglob("*") if each.is_file()] == []
    assert sorted(each for each in repository.path.rglob("*")) == before


def test_the_command_of_the_head_is_given_the_same_files(tmp_path: Path, run: Run) -> None:
    """As they were written, for a shell."""
    repository = make_repository(tmp_path / "repo", snapshots=[Backup(datetime.now(UTC), "nas")])
    folder = tmp_path / "my files"
    folder.mkdir()
    configured(folder, repository)
    (folder / "secrets").touch(mode=0o600)
    options = ("--config", "my files/config.yaml", "--environment-file", "my files/secrets")
    for words, shown in (
        (options, "--config 'my files/config.yaml' --environment-file 'my files/secrets' home"),
        (options[:2], "--config 'my files/config.yaml' home"),
    ):
        done = run("suggest", *words, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        command = done.stdout.splitlines()[2].partition("telling nobody: ")[2]
        assert command == f"restic-monitor run --no-push {shown}"
        assert run(*shlex.split(command)[1:], cwd=tmp_path).returncode == 0
    done = run("suggest", cwd=tmp_path, env={"RESTIC_MONITOR_CONFIG": str(folder / "config.yaml")})
    assert done.stdout.splitlines()[2].endswith("telling nobody: restic-monitor run --no-push home")


Spoil = Callable[[Path, Repository], Path]
MISTAKES: Sequence[tuple[str, Spoil, Sequence[str], int, str]] = (
    (
        "an empty repository",
        configured,
        ("home",),
        1,
        "restic-monitor: error: home: no snapshot in the repository, so there is nothing to go by",
    ),
    (
        "a repository that is not there",
        lambda folder, repository: configured(folder, Repository(folder / "nope", repository.restic)),
        ("home",),
        1,
        "restic-monitor: error: home: ERROR there is no folder {folder}/nope: is the disk mounted?",
    ),
    (
        "a repository that is not there for restic",
        lambda folder, repository: configured(folder, Repository(folder / "nope", repository.restic), mode="restic"),
        ("home",),
        1,
        "restic-monitor: error: home: ERROR no repository at {folder}/nope",
    ),
    (
        "no password",
        lambda folder, repository: configured(folder, repository, password="null"),
        ("home",),
        2,
        "restic-monitor: home: suggest needs the repository's password: a listing shows when snapshots were stored, not whose "
        "they are; write password_file: PATH, or set RESTIC_PASSWORD_FILE",
    ),
    (
        "a name that is none",
        configured,
        ("hone",),
        2,
        "restic-monitor: no repository is called 'hone'; did you mean home? There are: home",
    ),
    (
        "no name of several",
        lambda folder, repository: configured(folder, repository, "  office:\n    url: /srv/office\n"),
        (),
        2,
        "restic-monitor: suggest looks at one repository, and needs its name; there are: home, office",
    ),
    (
        "a mistake in the file",
        lambda folder, repository: configured(folder, repository, pasword="x"),
        ("home",),
        2,
        "restic-monitor: {folder}/config.yaml, line 6: repositories.home.pasword: unknown key; did you mean password?",
    ),
)


@pytest.mark.parametrize(("name", "spoil", "words", "status", "message"), MISTAKES, ids=[name for name, *_ in MISTAKES])
def test_what_cannot_be_suggested_is_said(
    name: str, spoil: Spoil, words: Sequence[str], status: int, message: str, tmp_path: Path, run: Run
) -> None:
    file = spoil(tmp_path, make_repository(tmp_path / "repo"))
    done = run("suggest", *words, "-c", file)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.splitlines()[-1].startswith(message.format(folder=tmp_path)), done.stderr
