"""`expect`, schedules and limits of size in the configuration: what they mean, one case for each mistake, who is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from configs import build, builder, problems, push_address, push_addresses
from conftest import Run
from restic_monitor.checks.expectations import Expectation, Expectations, Filter, Ignored
from restic_monitor.checks.freshness import Freshness
from restic_monitor.checks.plausible import Plausible
from restic_monitor.checks.readable import Readable
from restic_monitor.checks.stored import StoredRecently
from restic_monitor.checks.vanished import Vanished
from restic_monitor.commands.install import needs
from restic_monitor.errors import ConfigError
from restic_monitor.model import Check, Repository
from restic_monitor.recency import MaxAge, Rule, Schedule
from restics import PASSWORD as RESTIC_PASSWORD
from restics import Backup, make_repository
from test_config_errors import COVER, NO_KEY, SOURCES

PASSWORD = {"RESTIC_PASSWORD": "canary-password"}
DAY = MaxAge(timedelta(days=1), "1d (default)")
FIELDS = "minute, hour, day of the month, month, day of the week"
FIVE = f"write five fields ({FIELDS}), like 0 22 * * 1-5"
THREE = """\
defaults:
  url: "/srv/{{ .Name }}"
  push_url: https://kuma.example.com/api/push/
repositories:
  home:                               # five hosts, one repository
    push_token: AAA
    max_age: 26h
    expect: {nas: {}, web: {}, pi: {max_age: 3d}, desktop: {max_age: 5d}, db: {max_age: 6h, push_token: BBB}}
  office:                             # weekdays only
    push_token: CCC
    schedule: "0 22 * * 1-5"
    timezone: Europe/Berlin
    expect:
      files: {host: fs01, paths: [/srv], max_shrink: 30%}
      erp: {host: db01, tags: [nightly], min_size: 20GiB, push_token: DDD}
      erp-monthly: {host: db01, tags: [monthly], schedule: "0 3 1 * *", grace: 1d}
      others: {group_by: [host], ignore: [{host: "test-*"}, {before: 2026-01-01}]}
  family:                             # a laptop away for up to two weeks
    push_token: EEE
    expect: {nas: {max_age: 26h}, anna-laptop: {max_age: 14d, push_token: FFF}}
"""
"""Those of the how-to page."""


def expectations(repository: Repository) -> dict[str, Expectation]:
    expect = repository.watch.expect
    assert isinstance(expect, Expectations)
    return {each.name: each for each in expect.expectations}


def rule(checks: tuple[Check, ...]) -> Rule:
    check = checks[0]
    assert isinstance(check, Freshness | StoredRecently)
    return check.rule


def limits(checks: tuple[Check, ...]) -> Plausible:
    (check,) = (check for check in checks if isinstance(check, Plausible))
    return check


def web(tmp_path: Path, here: str, defaults: str = "") -> Repository:
    text = f"defaults: {{url: /srv, {defaults}}}\nrepositories:\n  web:\n    {here}\n"
    return build(tmp_path, text, PASSWORD)["web"]


def max_age(text: str, **duration: float) -> MaxAge:
    return MaxAge(timedelta(**duration), text)


# what it means


def test_one_repository_with_five_hosts(tmp_path: Path) -> None:
    home = build(tmp_path, THREE, PASSWORD)["home"]
    assert home.watch.checks == (Readable(),)
    assert home.watch.max_age is None
    found = expectations(home)
    assert {name: (each.where, rule(each.checks)) for name, each in found.items()} == {
        "nas": (Filter("nas"), max_age("26h", hours=26)),
        "web": (Filter("web"), max_age("26h", hours=26)),
        "pi": (Filter("pi"), max_age("3d", days=3)),
        "desktop": (Filter("desktop"), max_age("5d", days=5)),
        "db": (Filter("db"), max_age("6h", hours=6)),
    }
    assert [each.max_age for each in found.values()] == [timedelta(hours=hours) for hours in (26, 26, 72, 120, 6)]
    assert push_address(home) == "https://kuma.example.com/api/push/AAA"
    assert push_addresses(home) == {"db": "https://kuma.example.com/api/push/BBB"}


def test_schedules_limits_and_groups(tmp_path: Path) -> None:
    office = build(tmp_path, THREE, PASSWORD)["office"]
    found = expectations(office)
    nightly = Schedule("0 22 * * 1-5", "Europe/Berlin", timedelta(hours=4))
    assert found == {
        "files": Expectation(
            "files", (Freshness(nightly), Plausible(max_shrink=(30, "30%"))), Filter("fs01", frozenset({"/srv"}))
        ),
        "erp": Expectation(
            "erp",
            (Freshness(nightly), Plausible(min_size=(20 << 30, "20GiB"))),
            Filter("db01", tags=frozenset({"nightly"})),
        ),
        "erp-monthly": Expectation(
            "erp-monthly",
            (Freshness(Schedule("0 3 1 * *", "Europe/Berlin", timedelta(days=1))), Plausible()),
            Filter("db01", tags=frozenset({"monthly"})),
        ),
        "others": Expectation(
            "others",
            (Freshness(nightly), Plausible()),
            Filter(),
            ("host",),
            (Ignored("test-*"), Ignored(before=datetime(2026, 1, 1, tzinfo=UTC))),
        ),
    }
    assert push_addresses(office) == {"erp": "https://kuma.example.com/api/push/DDD"}


def test_an_own_push_beside_that_of_the_repository(tmp_path: Path) -> None:
    family = build(tmp_path, THREE, PASSWORD)["family"]
    assert push_address(family) == "https://kuma.example.com/api/push/EEE"
    assert push_addresses(family) == {"anna-laptop": "https://kuma.example.com/api/push/FFF"}


@pytest.mark.parametrize(
    ("written", "where"),
    [
        ("{}", Filter("web1")),
        ("", Filter("web1")),
        ("~", Filter("web1")),
        ("{max_age: 1d, min_files: ~, push_token: }", Filter("web1")),
        ("{host: ''}", Filter("")),
        ("{host: no}", Filter("no")),
        ("{host: web 2}", Filter("web 2")),
        ("{paths: /srv}", Filter(None, frozenset({"/srv"}))),
        ("{paths: [/srv, 'C:\\x, y']}", Filter(None, frozenset({"/srv", "C:\\x, y"}))),
        ("{tags: nightly}", Filter(None, tags=frozenset({"nightly"}))),
        ("{host: db, tags: [a, b]}", Filter("db", tags=frozenset({"a", "b"}))),
        ("{group_by: host}", Filter()),
        ("{group_by: [paths], paths: /srv, tags: a}", Filter(None, frozenset({"/srv"}), frozenset({"a"}))),
    ],
)
def test_without_another_filter_the_name_is_the_host(tmp_path: Path, written: str, where: Filter) -> None:
    assert expectations(web(tmp_path, f"expect:\n      web1: {written}"))["web1"].where == where


@pytest.mark.parametrize(
    ("written", "group_by", "ignore"),
    [
        ("group_by: host", ("host",), ()),
        ("group_by: [tags, host, tags]", ("tags", "host"), ()),
        ("group_by: host, ignore: ", ("host",), ()),
        ("group_by: host, ignore: []", ("host",), ()),
        ("group_by: host, ignore: [{host: ''}]", ("host",), (Ignored(""),)),
        ("group_by: [host, paths], ignore: [{host: a, paths: /x}]", ("host", "paths"), (Ignored("a", frozenset({"/x"})),)),
        ("group_by: tags, ignore: [{tags: []}]", ("tags",), (Ignored(tags=frozenset()),)),
        ("group_by: paths, ignore: [{paths: [/a, /b]}]", ("paths",), (Ignored(paths=frozenset({"/a", "/b"})),)),
        (
            "group_by: host, ignore: [{before: '2026-01-31T22:00:00+01:00'}]",
            ("host",),
            (Ignored(before=datetime(2026, 1, 31, 21, tzinfo=UTC)),),
        ),
    ],
)
def test_groups_and_those_that_are_retired(
    tmp_path: Path, written: str, group_by: tuple[str, ...], ignore: tuple[Ignored, ...]
) -> None:
    others = expectations(web(tmp_path, f"expect: {{others: {{{written}}}}}"))["others"]
    assert (others.group_by, others.ignore) == (group_by, ignore)


def test_a_repository_without_expectations_is_judged_as_a_whole(tmp_path: Path) -> None:
    plain = web(tmp_path, "url: /srv")
    assert plain.watch.checks == (Freshness(DAY), Readable(), Plausible(each=True))
    assert (plain.watch.expect, plain.watch.max_age) == (None, timedelta(days=1))
    assert web(tmp_path, "max_vanished: 50%").watch.checks[-1] == Vanished(50, True, "50%")
    assert web(tmp_path, "expect: {a: {}}", "max_vanished: 20").watch.checks == (Readable(), Vanished(20, False, "20"))


def test_a_listing_judges_a_schedule_too(tmp_path: Path) -> None:
    text = 'repositories: {web: {url: /srv, schedule: "0 22 * * *", grace: 1h}}'
    watch = build(tmp_path, text)["web"].watch
    assert watch.checks[0] == StoredRecently(Schedule("0 22 * * *", "UTC", timedelta(hours=1)))
    assert watch.max_age is None


CRON = 'schedule: "0 22 * * *"'
NIGHTLY = Schedule("0 22 * * *")


@pytest.mark.parametrize(
    ("defaults", "own", "expectation", "expected"),
    [
        ("", "", "", DAY),
        ("max_age: 2d", "", "", max_age("2d", days=2)),
        ("max_age: 2d", "max_age: 3d", "", max_age("3d", days=3)),
        ("max_age: 2d", "max_age: 3d", "max_age: 4d", max_age("4d", days=4)),
        ("max_age: 2d", CRON, "", NIGHTLY),
        (CRON, "max_age: 3d", "", max_age("3d", days=3)),
        (CRON, "", "max_age: 3d", max_age("3d", days=3)),
        ("max_age: 2d", "max_age: 3d", CRON, NIGHTLY),
        (CRON, "timezone: Asia/Tokyo", "", Schedule("0 22 * * *", "Asia/Tokyo")),
        ("timezone: Asia/Tokyo, grace: 1h", CRON, "grace: 2h", Schedule("0 22 * * *", "Asia/Tokyo", timedelta(hours=2))),
        ("timezone: Asia/Tokyo, grace: 1h", "max_age: 3d", "", max_age("3d", days=3)),
        (
            f"{CRON}, grace: 1h",
            "max_age: ~, grace: ~",
            "schedule: , grace: ~",
            Schedule("0 22 * * *", "UTC", timedelta(hours=1)),
        ),
        ('schedule: "  0   22 * *\t* "', "", "", NIGHTLY),
    ],
)
def test_the_nearest_level_that_names_a_rule_wins(
    tmp_path: Path, defaults: str, own: str, expectation: str, expected: Rule
) -> None:
    repository = web(tmp_path, f"{{{own}{',' if own else ''} expect: {{a: {{{expectation}}}}}}}", defaults)
    assert rule(expectations(repository)["a"].checks) == expected
    if not expectation:
        assert rule(web(tmp_path, f"{{{own}}}", defaults).watch.checks) == expected


def test_limits_are_inherited_key_by_key_and_can_be_turned_off(tmp_path: Path) -> None:
    defaults = "min_files: 10, min_size: 1.5GiB, max_shrink: 30%, baseline: 2026-01-01"
    new_year = datetime(2026, 1, 1, tzinfo=UTC)
    expect = "expect: {a: {}, b: {min_files: 0, min_size: 0, max_shrink: off}, c: {min_files: 5, baseline: 2026-02-01}}"
    size = (3 << 29, "1.5GiB")
    found = {name: limits(each.checks) for name, each in expectations(web(tmp_path, expect, defaults)).items()}
    assert found == {
        "a": Plausible(10, size, (30, "30%"), new_year),
        "b": Plausible(None, None, None, new_year),
        "c": Plausible(5, size, (30, "30%"), datetime(2026, 2, 1, tzinfo=UTC)),
    }
    own = web(tmp_path, "min_files: 20", defaults)
    assert limits(own.watch.checks) == Plausible(20, size, (30, "30%"), new_year, each=True)


def test_expectations_of_defaults_are_replaced_as_a_whole(tmp_path: Path) -> None:
    text = """
defaults: {url: /srv, expect: {a: {max_age: 2d}, b: {}}}
repositories:
  one: {max_age: 3d}
  two: {expect: {c: {}}}
"""
    found = {name: expectations(each) for name, each in build(tmp_path, text, PASSWORD).items()}
    assert {name: list(each) for name, each in found.items()} == {"one": ["a", "b"], "two": ["c"]}
    assert [rule(each.checks) for each in found["one"].values()] == [max_age("2d", days=2), max_age("3d", days=3)]


def test_values_may_come_from_elsewhere_and_keep_the_repositorys_name(tmp_path: Path) -> None:
    (tmp_path / "web-db.token").write_text("canary-token\n")
    text = """
defaults:
  url: /srv
  push_url: https://kuma/api/push/
  expect:
    db:
      host: {from_env: THE_HOST}
      paths: [{from_env: THE_PATH}, /etc]
      max_age: {from_env: AGE}
      min_size: {from_env: SIZE}
      push_token: {from_file: "{{ .Name }}-db.token"}
repositories: {web: {}}
"""
    env = {**PASSWORD, "THE_HOST": "db1", "THE_PATH": "/srv", "AGE": "6h", "SIZE": "1kB"}
    found = build(tmp_path, text, env)["web"]
    db = expectations(found)["db"]
    assert (db.where, rule(db.checks)) == (Filter("db1", frozenset({"/srv", "/etc"})), max_age("6h", hours=6))
    assert limits(db.checks).min_size == (1000, "1kB")
    assert push_addresses(found) == {"db": "https://kuma/api/push/canary-token"}
    assert "canary" not in repr(found)


# mistakes


GIB = "write it like 500MB, 5GiB or 1.5TiB"
MOMENT = "write it like 2026-01-31 or 2026-01-31T22:00:00+01:00"
ZONE = "write a name like Europe/Berlin, or UTC"
KEYS = (
    "host, paths, tags, group_by, ignore, max_age, schedule, timezone, grace, min_files, min_size, max_shrink, baseline, "
    "push_token"
)
FUTURE = "lies in the future, and would keep quiet about all that comes until then; is the year right?"
OF_A_REPOSITORY = [
    # schedule
    ("schedule: 0 22 * *", f"schedule: '0 22 * *' is no schedule; {FIVE}"),
    ("schedule: 0 0 22 * * *", f"schedule: '0 0 22 * * *' has six fields; write five, without the seconds: {FIELDS}"),
    ('schedule: "@daily"', "schedule: '@daily' is not taken; write \"0 0 * * *\""),
    ('schedule: "@reboot"', f"schedule: '@reboot' is no schedule; {FIVE}"),
    ("schedule: Mon..Fri 22:00", f"schedule: 'Mon..Fri 22:00' is no schedule; {FIVE}"),
    ("schedule: 61 * * * *", f"schedule: '61 * * * *' is no cron expression: bad minute; {FIVE}"),
    ("schedule: 0 0 30 2 *", f"schedule: '0 0 30 2 *' is no cron expression: bad day-of-month; {FIVE}"),
    ("schedule: 0 0 */31 2 5L", f"schedule: '0 0 */31 2 5L' names a day that never comes; {FIVE}"),
    ("schedule: ['0 22 * * *']", "schedule: must be one value, not a list"),
    # timezone
    (f"{CRON}, timezone: Europe/Berln", "timezone: 'Europe/Berln' is no time zone; did you mean Europe/Berlin?"),
    (f"{CRON}, timezone: berlin", "timezone: 'berlin' is no time zone; did you mean Europe/Berlin?"),
    (f"{CRON}, timezone: New York", "timezone: 'New York' is no time zone; did you mean America/New_York?"),
    (f"{CRON}, timezone: CEST", f"timezone: 'CEST' is no time zone; {ZONE}"),
    (f"{CRON}, timezone: Europe", f"timezone: 'Europe' is no time zone; {ZONE}"),
    (f"{CRON}, timezone: ../UTC", f"timezone: '../UTC' is no time zone; {ZONE}"),
    # grace
    (f"{CRON}, grace: 4", "grace: '4' has no unit; write it like 1d, 6h, 90m, 2w or 1d12h, for instance 4h or 4d"),
    (
        "grace: 4h",
        "grace: belongs to schedule, and max_age (1d, as nothing else is set) counts here; remove it, or write schedule:",
    ),
    (
        "max_age: 2d, timezone: UTC",
        "timezone: belongs to schedule, and max_age (line 4) counts here; remove it, or write schedule:",
    ),
    (f"max_age: 2d, {CRON}", "schedule: max_age (line 4) is set too; keep one of them"),
    # sizes
    ("min_files: many", "min_files: 'many' is not a whole number; write it like 1000, or off"),
    ("min_files: -1", "min_files: '-1' is not a whole number; write it like 1000, or off"),
    ("min_size: 5G", "min_size: '5G': 'G' is not a unit of size; did you mean 5GB (powers of 1000) or 5GiB (of 1024)?"),
    ("min_size: 5gib", "min_size: '5gib': 'gib' is not a unit of size; did you mean 5GiB?"),
    (
        "min_size: 5 EB",
        "min_size: '5 EB': 'EB' is not a unit of size; the units are kB, MB, GB, TB, PB and KiB, MiB, GiB, TiB, PiB",
    ),
    ("min_size: 1.5", f"min_size: '1.5' is no whole number of bytes; {GIB}"),
    ("min_size: big", f"min_size: 'big' is not a size; {GIB}"),
    ("max_shrink: 0%", "max_shrink: '0%' is not a share from 1% to 99%; write it like 50%, or off"),
    ("max_shrink: 100%", "max_shrink: '100%' is not a share from 1% to 99%; write it like 50%, or off"),
    ("max_shrink: 50", "max_shrink: '50' is not a share from 1% to 99%; write it like 50%, or off"),
    ("baseline: 1.2.2026", f"baseline: '1.2.2026' is no date; {MOMENT}"),
    ("baseline: 2026-02-30", f"baseline: '2026-02-30' is no date; {MOMENT}"),
    (
        "baseline: '2026-02-03T12:00:00'",
        "baseline: '2026-02-03T12:00:00' names no time zone; put Z (UTC) or an offset like +02:00 behind it",
    ),
    # keys of an expectation
    ("host: web1", "host: belongs in an expectation, below a name in expect: expect: {NAME: {host: …}}"),
    ("tags: [a]", "tags: belongs in an expectation, below a name in expect: expect: {NAME: {tags: …}}"),
    ("expects: {a: {}}", "expects: unknown key; did you mean expect?"),
    # expect itself
    (
        "expect: {}",
        "expect: names nothing that is expected; write the name of a host below it, for instance web1: {}, or remove it",
    ),
    (
        "expect: ~",
        "expect: names nothing that is expected; write the name of a host below it, for instance web1: {}, or remove it",
    ),
    (
        "expect: {group_by: [host]}",
        "expect.group_by: belongs one level deeper, below the name of what is expected: expect: {NAME: {group_by: …}}",
    ),
    ("expect: {web1: {max_age:6h}}", "expect.web1.'max_age…': unknown key; write key: value, with a blank behind the colon"),
    ("expect: {web1: {nonsense: }}", f"expect.web1.nonsense: unknown key; the keys are {KEYS}"),
    (
        "expect: {web1: {push_url: x}}",
        "expect.web1.push_url: unknown key; write push_token, where the whole Push URL may stand, too",
    ),
    (
        'expect: {a: {group_by: host, ignore: [{host: "db*", before:2020-01-01}]}}',
        "expect.a.ignore[0].'before…': unknown key; write key: value, with a blank behind the colon",
    ),
    ("web1: {max_age: 6h}", f"web1: {NO_KEY}"),
    ("baseline: 2999-01-01", f"baseline: '2999-01-01' {FUTURE}"),
    ("expect: {a: {group_by: host, ignore: [{before: 2999-01-01}]}}", f"expect.a.ignore[0].before: '2999-01-01' {FUTURE}"),
    ("expect: [web1]", "expect: must be keys with values, like {web1: {max_age: 26h}}, not a list"),
    ("expect: web1", "expect: must be keys with values, like {web1: {max_age: 26h}}, not a single value"),
    ("expect: {web1: 1d}", "expect.web1: must be keys with values, like {max_age: 26h}, not a single value"),
    ("expect: {' ': {}}", "expect.' ': a name of an expectation is one line of visible characters"),
    ('expect: {"a\\nb": {}}', "expect.'a\\nb': a name of an expectation is one line of visible characters"),
]
OF_AN_EXPECTATION = [
    ("hots: web1", "hots: unknown key; did you mean host?"),
    ("path: /srv", "path: unknown key; did you mean paths?"),
    ("password: canary", f"password: unknown key; the keys are {KEYS}"),
    ("host: [a, b]", "host: is one name, and there is no or: write an expectation for each"),
    ("host: {a: b}", f"host: {SOURCES}"),
    ("paths: []", "paths: is an empty list; write a value or remove the key"),
    ("tags: [~]", "tags: has an empty item; write a value or remove it"),
    ("tags: [a, ~]", "tags: has an empty item; write a value or remove it"),
    ("host: web1, tags: ~", "tags: has no value; write one, or remove the key"),
    ("host: ", 'host: has no value; write one, or remove the key (a snapshot without a host: host: "")'),
    ("tags: ','", "tags: ',' is no tag; write a value or remove the key"),
    ("group_by: tags, ignore: [{tags: [~]}]", "ignore[0].tags: has an empty item; write a value or remove it"),
    ("group_by: host, ignore: [{host: [a, b]}]", "ignore[0].host: is one name, and there is no or: write an entry for each"),
    (
        "group_by: host, ignore: [{host: , before: 2026-01-01}]",
        'ignore[0].host: has no value; write one, or remove the key (a snapshot without a host: host: "")',
    ),
    ("group_by: host, before: 2026-01-01", "before: belongs in an entry of ignore, beside group_by: ignore: [{before: …}]"),
    (
        "schedule: CRON_TZ=Europe/Berlin 0 22 * * 1-5",
        "schedule: 'CRON_TZ=Europe/Berlin 0 22 * * 1-5' has its zone in it; write that as timezone: …, and here five fields: "
        f"{FIELDS}",
    ),
    ("tags: ['']", "tags: holds an empty tag; write a value or remove the key"),
    ("paths: ''", "paths: holds an empty path; write a value or remove the key"),
    ("paths: [[/srv]]", "paths: must be one value, not a list"),
    ('tags: "a, b"', "tags: 'a, b' holds a comma, and no tag does; write a list: [a, b]"),
    ("group_by: [hosts]", "group_by: 'hosts' is nothing to group by; write one or more of host, paths, tags"),
    ('group_by: "host,paths"', "group_by: 'host,paths' is one text; write a list: [host, paths]"),
    ("group_by: {from_env: A}", "group_by: must stand in this file as a plain value, like host"),
    ("group_by: []", "group_by: is an empty list; write a value or remove the key"),
    (
        "host: a, group_by: paths",
        "host: group_by (line 4) is set too; keep one of them (paths and tags may stand beside group_by)",
    ),
    (
        "group_by: host, push_token: canary",
        "push_token: not with group_by (line 4), whose lines come and go; the push of the repository tells of them",
    ),
    (
        "ignore: [{host: a}]",
        "ignore: retires groups, and without group_by there are none; write group_by: [host], or remove it",
    ),
    ("group_by: host, ignore: {host: a}", 'ignore: must be a list, like [{host: "test-*"}, {before: 2026-01-31}]'),
    ("group_by: host, ignore: a", 'ignore: must be a list, like [{host: "test-*"}, {before: 2026-01-31}]'),
    ("group_by: host, ignore: [a]", 'ignore[0]: must be keys with values, like {host: "test-*"}, not a single value'),
    ("group_by: host, ignore: [{}]", "ignore[0]: would retire every group; write at least one of host, paths, tags, before"),
    (
        "group_by: host, ignore: [{host: a}, {}]",
        "ignore[1]: would retire every group; write at least one of host, paths, tags, before",
    ),
    ("group_by: host, ignore: [{max_age: 1d}]", "ignore[0].max_age: unknown key; the keys are host, paths, tags, before"),
    ("group_by: host, ignore: [{hosts: a}]", "ignore[0].hosts: unknown key; did you mean host?"),
    ("group_by: host, ignore: [{before: yesterday}]", f"ignore[0].before: 'yesterday' is no date; {MOMENT}"),
    ("group_by: tags, ignore: [{tags: 'a,b'}]", "ignore[0].tags: 'a,b' holds a comma, and no tag does; write a list: [a, b]"),
    *(
        (
            f"group_by: {grouped}, ignore: [{{{name}: a}}]",
            f"ignore[0].{name}: group_by (line 4) does not have {name}, so no group can match; add it there, or remove this",
        )
        for grouped, name in (("paths", "host"), ("host", "paths"), ("[host, paths]", "tags"))
    ),
    (f"max_age: 2d, {CRON}", "schedule: max_age (line 4) is set too; keep one of them"),
    (
        "max_age: 2d, grace: 1h",
        "grace: belongs to schedule, and max_age (line 4) counts here; remove it, or write schedule:",
    ),
    (
        "timezone: UTC",
        "timezone: belongs to schedule, and max_age (1d, as nothing else is set) counts here; remove it, or write schedule:",
    ),
    ("push_token: canary", "push_token: push_token without a push_url, here or in defaults: where is Uptime Kuma?"),
    ("push_token: 'https://kuma/'", "push_token: push_token is an address without a token at its end"),
]


@pytest.mark.parametrize(("here", "sentence"), OF_A_REPOSITORY)
def test_a_mistake_in_a_repository(tmp_path: Path, here: str, sentence: str) -> None:
    text = f"repositories:\n  web:\n    url: /srv\n    <<: {{{here}}}\n"
    assert problems(tmp_path, text, PASSWORD) == [f"line 4: repositories.web.{sentence}"]


@pytest.mark.parametrize(("here", "sentence"), OF_AN_EXPECTATION)
def test_a_mistake_in_an_expectation(tmp_path: Path, here: str, sentence: str) -> None:
    text = f"repositories:\n  web:\n    url: /srv\n    expect: {{a: {{{here}}}}}\n"
    found = problems(tmp_path, text, PASSWORD)
    assert found == [f"line 4: repositories.web.expect.a.{sentence}"]
    assert "canary" not in "".join(found)


WHOLE = {
    "a grace in defaults that another repository may need": (
        "defaults: {url: /srv, expect: {a: {grace: 1h}}}\nrepositories:\n  web: {}\n",
        [],
    ),
    "a misspelt group_by beside ignore is one mistake": (
        "repositories:\n  web: {url: /srv, expect: {a: {group_bye: [host], ignore: [{host: b}]}}}\n",
        ["line 2: repositories.web.expect.a.group_bye: unknown key; did you mean group_by?"],
    ),
    "two that group": (
        "repositories:\n  web:\n    url: /srv\n    expect:\n      a: {group_by: host}\n      b: {group_by: tags}\n",
        [
            "line 6: repositories.web.expect.b.group_by: a (line 5) has group_by too, and there is one place for what no other "
            "expectation matches; keep one of them"
        ],
    ),
    "a name of a group's line": (
        "repositories:\n  web:\n    url: /srv\n    expect:\n      a: {group_by: host}\n      a/web1: {host: web1}\n",
        ["line 6: repositories.web.expect.'a/web1': the lines of a (line 5) begin with a/; take another name"],
    ),
    "a mistake in defaults is told once": (
        "defaults:\n  url: /srv\n  expect: {a: {hots: b}, c: {max_age: 1}}\nrepositories: {web: {}, db: {}}\n",
        [
            "line 3: defaults.expect.a.hots: unknown key; did you mean host?",
            "line 3: defaults.expect.c.max_age: '1' has no unit; write it like 1d, 6h, 90m, 2w or 1d12h, for instance 1h or 1d",
        ],
    ),
    "defaults with both rules": (
        "defaults:\n  max_age: 2d\n  schedule: 0 22 * * *\nrepositories: {web: {url: /srv}}\n",
        ["line 3: defaults.schedule: max_age (line 2) is set too; keep one of them"],
    ),
    "a grace of the repository that none of its expectations has a use for": (
        "repositories:\n  web:\n    url: /srv\n    grace: 1h\n    expect: {a: {max_age: 2d}}\n",
        [
            "line 4: repositories.web.grace: belongs to schedule, and max_age (line 5) counts here; remove it, "
            "or write schedule:"
        ],
    ),
    "a wrong schedule is one mistake": (
        "repositories:\n  web:\n    url: /srv\n    expect: {a: {schedule: x, grace: 1h}}\n",
        [f"line 4: repositories.web.expect.a.schedule: 'x' is no schedule; {FIVE}"],
    ),
    "a secret that is not there": (
        "repositories:\n  web:\n    url: /srv\n    push_url: https://kuma/\n    expect: {a: {push_token: {from_file: nope}}}\n",
        ["line 5: repositories.web.expect.a.push_token: cannot read nope: no such file or directory"],
    ),
    "what is read elsewhere is not fit": (
        "repositories:\n  web:\n    url: /srv\n    expect: {a: {min_size: {from_env: RESTIC_PASSWORD}}}\n",
        ["line 4: repositories.web.expect.a.min_size: what {from_env: RESTIC_PASSWORD} holds is not fit for min_size"],
    ),
    "a repository and its expectation with the same push address": (
        "defaults: {url: /srv, push_url: https://kuma/}\nrepositories:\n  web:\n    push_token: a\n"
        "    expect: {db: {push_token: a}}\n",
        [f"line 5: repositories.web.expect.db.push_token: the same push address as repositories.web (line 4): {COVER}"],
    ),
    "two expectations with the same push address": (
        "defaults: {url: /srv, push_url: https://kuma/}\nrepositories:\n  web:\n    expect:\n      a: {push_token: a}\n"
        "      b: {push_token: https://kuma/api/push/a}\n",
        [f"line 6: repositories.web.expect.b.push_token: the same push address as repositories.web.expect.a (line 5): {COVER}"],
    ),
    "a repository with the push address of another's expectation": (
        "defaults: {url: /srv, push_url: https://kuma/}\nrepositories:\n  web: {expect: {a: {push_token: a}}}\n"
        "  db: {push_token: a}\n",
        [f"line 4: repositories.db.push_token: the same push address as repositories.web.expect.a (line 3): {COVER}"],
    ),
    "an expectation of defaults that pushes for two repositories": (
        "defaults: {url: /srv, push_url: https://kuma/, expect: {a: {push_token: a}}}\nrepositories:\n  web: {}\n  db: {}\n",
        [f"line 4: repositories.db.expect.a.push_token: the same push address as repositories.web.expect.a (line 3): {COVER}"],
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_mistake_between_parts_of_the_file(tmp_path: Path, name: str) -> None:
    text, lines = WHOLE[name]
    assert problems(tmp_path, text, PASSWORD) == lines


# without the password

REMOVE = "or remove it"
HOSTS = "a listing sees no hosts, and this repository is looked at by one"
SIZES = "a listing sees no sizes, and this repository is looked at by one"


@pytest.mark.parametrize(
    ("here", "env", "mode", "sentence"),
    [
        ("expect: {a: {}}", {}, None, f"expect: {HOSTS}: there is no password; write password_file: PATH, or remove expect"),
        (
            "{mode: listing, expect: {a: {}}}",
            PASSWORD,
            None,
            f"expect: {HOSTS}: mode listing (line 4); write mode: restic, or remove expect",
        ),
        (
            "{mode: listing, expect: {a: {}}}",
            {},
            None,
            f"expect: {HOSTS}: mode listing (line 4); write password_file: PATH and mode: restic, or remove expect",
        ),
        ("expect: {a: {}}", PASSWORD, "fast", f"expect: {HOSTS}: mode fast (--mode); leave out --mode"),
        (
            "expect: {a: {}}",
            {**PASSWORD, "RESTIC_MONITOR_FAST": "yes"},
            None,
            f"expect: {HOSTS}: mode fast (RESTIC_MONITOR_FAST); write mode: restic, or remove expect",
        ),
        ("min_files: 1", {}, None, f"min_files: {SIZES}: there is no password; write password_file: PATH, {REMOVE}"),
        ("min_size: 1GiB", {}, None, f"min_size: {SIZES}: there is no password; write password_file: PATH, {REMOVE}"),
        ("max_shrink: 1%", PASSWORD, "listing", f"max_shrink: {SIZES}: mode listing (--mode); leave out --mode"),
        (
            "baseline: 2026-01-01",
            {},
            None,
            f"baseline: {SIZES}: there is no password; write password_file: PATH, {REMOVE}",
        ),
    ],
)
def test_what_a_listing_cannot_see_is_refused(
    tmp_path: Path, here: str, env: dict[str, str], mode: str | None, sentence: str
) -> None:
    text = f"defaults: {{url: /srv}}\nrepositories:\n  web:\n    {here}\n"
    drafted = builder(tmp_path, text, env)
    drafted.mode = mode
    with pytest.raises(ConfigError) as caught:
        drafted.repositories()
    assert caught.value.problems == [f"{tmp_path}/config.yaml, line 4: repositories.web.{sentence}"]


def test_expectations_of_defaults_are_refused_where_one_is_listed(tmp_path: Path) -> None:
    text = "defaults: {url: /srv, mode: auto, expect: {a: {}}}\nrepositories:\n  web: {password: x}\n  db: {}\n"
    assert problems(tmp_path, text) == [
        f"line 4: repositories.db.expect: {HOSTS}: there is no password; write password_file: PATH, "
        "or move expect out of defaults"
    ]


@pytest.mark.parametrize(
    ("defaults", "own", "notes"),
    [
        ("min_files: 1", "", ("min_files is not judged: a listing sees no sizes",)),
        (
            "min_files: 1, max_shrink: 30%, baseline: 2026-01-01",
            "",
            ("min_files, max_shrink are not judged: a listing sees no sizes",),
        ),
        ("min_files: 0, max_shrink: off", "", ()),
        ("min_files: 5", "min_files: 0", ()),
        ("baseline: 2026-01-01", "", ()),
        ("min_files: 5, mode: restic", "", ()),
    ],
)
def test_limits_of_defaults_are_a_note_where_one_is_listed(
    tmp_path: Path, defaults: str, own: str, notes: tuple[str, ...]
) -> None:
    text = f"defaults: {{url: /srv, {defaults}}}\nrepositories: {{web: {{{own}}}}}\n"
    env = PASSWORD if "restic" in defaults else {}
    assert build(tmp_path, text, env)["web"].notes == notes


def test_a_fast_look_by_restic_has_expectations(tmp_path: Path) -> None:
    found = build(tmp_path, "repositories: {web: {url: b2:bucket, mode: fast, expect: {a: {}}}}", PASSWORD)["web"]
    assert list(expectations(found)) == ["a"]
    assert found.notes == ("no listing: b2 cannot be listed yet",)


def test_restic_otherwise_judges_the_limits_of_defaults(tmp_path: Path) -> None:
    text = "defaults: {min_files: 5, mode: fast}\nrepositories: {web: {url: rest:http://127.0.0.1:1/}}"
    found = build(tmp_path, text, PASSWORD)["web"]
    assert found.notes == ("min_files is not judged: a listing sees no sizes",)
    assert found.otherwise
    assert limits(found.otherwise.watch.checks) == Plausible(5, each=True)
    assert found.otherwise.notes == ()


# who is told


@pytest.mark.parametrize(
    ("push", "token", "address"),
    [
        ("https://kuma/api/push/", "b", "https://kuma/api/push/b"),
        ("https://kuma", "b", "https://kuma/api/push/b"),
        ("https://kuma/api/push/whole?status=up&msg=OK", "b", "https://kuma/api/push/b"),
        ("https://kuma/other/path/whole", "b", "https://kuma/other/path/b"),
        ("https://kuma/api/push/", "https://elsewhere/api/push/c", "https://elsewhere/api/push/c"),
        ("https://kuma/api/push/whole", "https://elsewhere/api/push/c?status=up", "https://elsewhere/api/push/c"),
    ],
)
def test_an_own_token_goes_beside_the_repositorys_address(tmp_path: Path, push: str, token: str, address: str) -> None:
    for level in (f'push_url: "{push}"', ""):
        defaults = "" if level else f'push_url: "{push}"'
        found = web(tmp_path, f'{{{level}{"," if level else ""} expect: {{a: {{push_token: "{token}"}}}}}}', defaults)
        assert push_addresses(found) == {"a": address}
        assert push_address(found) == ("https://" + push[8:].partition("?")[0] if "whole" in push else None)


def test_pushes_of_repositories_that_are_not_looked_at_are_not_read(tmp_path: Path) -> None:
    text = """
defaults: {url: /srv, push_url: https://kuma/}
repositories:
  a: {expect: {x: {push_token: one}}}
  b: {expect: {x: {push_token: {from_file: missing}}}}
  c: {enabled: false, expect: {x: {push_token: one}}}
"""
    assert list(build(tmp_path, text, PASSWORD, names=["a"])) == ["a"]


# secrets


def test_a_token_of_an_expectation_is_a_secret_of_the_file(tmp_path: Path) -> None:
    for level in ("defaults: {{url: /srv, {}}}\nrepositories: {{web: {{}}}}", "repositories: {{web: {{url: /srv, {}}}}}"):
        assert builder(tmp_path, level.format("expect: {a: {push_token: x}}")).draft.literal_secrets
        assert not builder(tmp_path, level.format("expect: {a: {push_token: {from_file: x}}}")).draft.literal_secrets


def test_the_service_gets_the_files_of_expectations(tmp_path: Path) -> None:
    for name in ("web-token", "host", "before"):
        (tmp_path / name).write_text("x")
    text = """
defaults:
  url: /srv
  expect:
    a: {push_token: {from_file: "{{ .Name }}-token"}}
    others: {group_by: host, ignore: [{host: {from_file: host}}, {before: {from_file: before}}]}
repositories: {web: {}}
"""
    named = {each.path.name: each.secret for each in needs.files(builder(tmp_path, text))}
    assert named == {"web-token": True, "host": True, "before": True}
    env = "repositories: {web: {url: /srv, expect: {a: {push_token: {from_env: HOME}}}}}"
    assert "HOME" in needs.variables(builder(tmp_path, env))


def test_a_token_of_an_expectation_is_taken_out_of_what_others_say(tmp_path: Path) -> None:
    found = web(tmp_path, "expect: {a: {push_token: canary-token-1}}", "push_url: https://kuma/")
    probe: Any = found.probe
    assert "canary" not in probe.redact("restic says canary-token-1")


# config show, config check


def test_config_show_has_what_counts_for_each_expectation_and_where_it_comes_from(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        """\
defaults:
  url: /srv
  push_url: https://kuma/api/push/
  grace: 5h
  min_files: 10
repositories:
  office:
    schedule: "0 22 * * 1-5"
    max_vanished: 50%
    expect:
      web1:
      files: {host: "", paths: [/srv, /etc], tags: nightly, min_files: 0, push_token: canary-1}
      old: {host: {from_env: THE_HOST}, max_age: 3d, push_token: {from_file: token}}
      others:
        group_by: [host, paths]
        ignore: [{host: "test-*", paths: []}, {before: 2026-01-01}]
  plain:
    schedule: "0 3 1 * *"
    timezone: Europe/Berlin
    max_shrink: 30%
"""
    )
    file.chmod(0o600)
    done = run("config", "show", "-c", file, env=PASSWORD)
    assert (done.returncode, done.stderr) == (0, "")
    assert "canary" not in done.stdout
    shown = [" ".join(line.split()) if "#" in line else line.strip() for line in done.stdout.splitlines()]
    start = shown.index("office:")
    assert shown[start:] == [
        "office:",
        "url: /srv # defaults, line 2",
        "mode: auto # default",
        "max_vanished: 50% # line 9",
        "push_url: https://kuma/api/push/… # defaults, line 3",
        "password: (hidden) # RESTIC_PASSWORD of the environment",
        "expect:",
        "web1:",
        "host: web1 # its name",
        "schedule: 0 22 * * 1-5 # line 8",
        "timezone: UTC # default",
        "grace: 5h # defaults, line 4",
        "min_files: 10 # defaults, line 5",
        "files:",
        "host: '' # line 12",
        "paths: [/srv, /etc] # line 12",
        "tags: [nightly] # line 12",
        "schedule: 0 22 * * 1-5 # line 8",
        "timezone: UTC # default",
        "grace: 5h # defaults, line 4",
        "min_files: 0 # line 12",
        "push_token: (hidden) # line 12",
        "old:",
        "host: {from_env: THE_HOST} # line 13",
        "max_age: 3d # line 13",
        "min_files: 10 # defaults, line 5",
        "push_token: {from_file: token} # line 13",
        "others:",
        "group_by: [host, paths] # line 15",
        "ignore:",
        "- host: test-* # line 16",
        "paths: [] # line 16",
        "- before: 2026-01-01 # line 16",
        "schedule: 0 22 * * 1-5 # line 8",
        "timezone: UTC # default",
        "grace: 5h # defaults, line 4",
        "min_files: 10 # defaults, line 5",
        "# looked at by our own reader (native)",
        "plain:",
        "url: /srv # defaults, line 2",
        "schedule: 0 3 1 * * # line 18",
        "timezone: Europe/Berlin # line 19",
        "grace: 5h # defaults, line 4",
        "min_files: 10 # defaults, line 5",
        "max_shrink: 30% # line 20",
        "mode: auto # default",
        "push_url: https://kuma/api/push/… # defaults, line 3",
        "password: (hidden) # RESTIC_PASSWORD of the environment",
        "# looked at by our own reader (native)",
    ]


def test_config_check_finds_mistakes_of_expectations_at_the_stage_where_they_can_be_told(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("repositories: {web: {url: /srv, expect: {a: {hots: b}}}}")
    done = run("config", "check", "-c", file, env=PASSWORD)
    assert (done.returncode, done.stdout) == (2, "file     FAILED   1 to correct\n")
    assert done.stderr == (f"restic-monitor: {file}, line 1: repositories.web.expect.a.hots: unknown key; did you mean host?\n")
    file.write_text("repositories: {web: {url: /srv, expect: {a: {}}}}")
    done = run("config", "check", "-c", file)
    assert (done.returncode, done.stdout) == (2, f"file     ok       {file}: 1 repository\nsecrets  FAILED   1 to correct\n")
    assert done.stderr == (
        f"restic-monitor: {file}, line 1: repositories.web.expect: {HOSTS}: there is no password; "
        f"write password_file: PATH, or remove expect\n"
    )
    assert run("config", "check", "--no-secrets", "-c", file).returncode == 0


def test_config_check_notes_a_repository_of_which_a_part_is_told_to_nobody(run: Run, tmp_path: Path) -> None:
    made = make_repository(tmp_path / "repo", snapshots=[Backup(datetime.now(UTC))])
    file = tmp_path / "config.yaml"
    head = f"defaults: {{url: {made.path}, restic: {made.restic}, mode: restic, push_url: 'https://kuma.example.com/'}}\nrepositories:\n"
    note = "push     note     nobody is told, for want of a push address: web\n"
    for expect, noted in (("{a: {push_token: x}}", False), ("{a: {push_token: x}, b: {}}", True), ("{b: {}}", True)):
        file.write_text(f"{head}  web: {{expect: {expect}}}\n")
        file.chmod(0o600)
        done = run("config", "check", "-c", file, env={"RESTIC_PASSWORD": made.password})
        assert (done.returncode, done.stderr) == (0, "")
        assert "reach    ok       web: 1 snapshot" in done.stdout
        assert (note in done.stdout) is noted


def test_a_listing_that_is_asked_for_beside_expectations_is_a_mistake_of_the_file(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("repositories: {home: {url: /srv, password_file: p, mode: listing, expect: {web1: {}}}}\n")
    done = run("config", "check", "--no-secrets", "-c", file)
    assert (done.returncode, done.stdout) == (2, "file     FAILED   1 to correct\n")
    assert done.stderr.endswith(
        f"repositories.home.expect: {HOSTS}: mode listing (line 1); write mode: restic, or remove expect\n"
    )


def test_config_check_notes_what_is_not_there_by_name(tmp_path: Path, run: Run) -> None:
    """A host that is misspelt is no mistake that the file alone could show."""
    repository = make_repository(tmp_path / "repo", snapshots=[Backup(datetime.now(UTC), "web1")])
    file = tmp_path / "config.yaml"
    settings = f"url: {repository.path}, password: {RESTIC_PASSWORD}, restic: {repository.restic}, mode: restic"
    file.write_text(f"repositories: {{home: {{{settings}, expect: {{web1: {{}}, wbe1: {{}}}}}}}}\n")
    file.chmod(0o600)
    done = run("config", "check", "-c", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert "expect   note     home/wbe1: no snapshot of host wbe1; hosts here: web1\n" in done.stdout


def test_the_name_of_a_line_is_not_that_of_a_repository(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("repositories: {home: {url: /srv, password_file: /dev/null, expect: {web1: {}}}}\n")
    done = run("run", "web1", "-c", file)
    assert (done.returncode, done.stderr) == (
        2,
        "restic-monitor: web1 is a line of home, and is looked at with it: run home\n",
    )
