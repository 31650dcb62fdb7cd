"""Every machine is backed up, not just the repository: tables for each rule, and what must hold for any repository."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from restic_monitor import proof
from restic_monitor.checks.expectations import Expectation, Expectations, Filter, Ignored
from restic_monitor.checks.freshness import Freshness
from restic_monitor.checks.plausible import Plausible
from restic_monitor.checks.readable import Readable
from restic_monitor.model import Code, Line, Observation, Result, Snapshot, Status, Stored, Summary, Verdict, Watch, unknown
from restic_monitor.recency import MaxAge

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
FRESH = MaxAge(DAY, "1d")


def snapshot(
    host: str, age: timedelta = HOUR, paths: Sequence[str] = ("/srv",), tags: Sequence[str] = (), files: int = 10
) -> Snapshot:
    made = Snapshot("", NOW - age, host, tuple(paths), tuple(tags), "", Summary(None, files, files * 1024))
    return replace(made, id=f"{hash((host, age, made.paths, made.tags)) & 0xFFFFFFFF:08x}".ljust(64, "0"))


def seen(*snapshots: Snapshot, unreadable: tuple[str, ...] = ()) -> Observation:
    return Observation("restic", proof.prove(snapshots, None, NOW), unreadable)


def host(name: str, limit: MaxAge = FRESH) -> Expectation:
    return Expectation(name, (Freshness(limit), Plausible()), Filter(host=name))


def others(*by: str, ignore: Sequence[Ignored] = (), where: Filter = Filter()) -> Expectation:  # noqa: B008 - frozen
    return Expectation("others", (Freshness(FRESH), Plausible()), where, by or ("host",), tuple(ignore))


def wanted(name: str, where: Filter) -> Expectation:
    return Expectation(name, (Freshness(FRESH), Plausible()), where)


@dataclass(frozen=True)
class Judged:
    verdict: Verdict
    lines: tuple[Line, ...]

    @property
    def result(self) -> Result:
        return Result(Watch("home"), (self.verdict,), "restic", HOUR)

    def line(self, name: str) -> Result:
        (found,) = (line for line in self.lines if line.name == name)
        return Result(Watch(name), found.verdicts, "restic", HOUR)

    @property
    def statuses(self) -> dict[str, str]:
        return {line.name: self.line(line.name).status.name for line in self.lines}


def judge(expectations: Sequence[Expectation], observation: Observation) -> Judged:
    return Judged(*Expectations(tuple(expectations)).judge(observation, NOW))


# Which snapshots


@pytest.mark.parametrize(
    ("where", "matching"),
    [
        (Filter(host="web1"), {"web1 /srv", "web1 /srv /etc", "web1 /srv nightly", "web1 /srv nightly,db"}),
        (Filter(host="web"), set()),
        (Filter(host="WEB1"), set()),
        (Filter(host=""), {" /srv"}),
        (Filter(paths=frozenset({"/etc"})), {"web1 /srv /etc"}),
        (Filter(paths=frozenset({"/etc", "/srv"})), {"web1 /srv /etc"}),
        (Filter(paths=frozenset({"/srv/"})), set()),
        (Filter(paths=frozenset({"/sr"})), set()),
        (Filter(tags=frozenset({"nightly"})), {"web1 /srv nightly", "web1 /srv nightly,db", "db1 /srv nightly"}),
        (Filter(tags=frozenset({"nightly", "db"})), {"web1 /srv nightly,db"}),
        (Filter("db1", frozenset({"/srv"}), frozenset({"nightly"})), {"db1 /srv nightly"}),
        (Filter("db1", frozenset({"/srv"}), frozenset({"db"})), set()),
    ],
)
def test_all_filters_of_one_expectation_must_hold(where: Filter, matching: set[str]) -> None:
    there = {
        "web1 /srv": snapshot("web1"),
        "web1 /srv /etc": snapshot("web1", paths=("/srv", "/etc")),
        "web1 /srv nightly": snapshot("web1", tags=("nightly",)),
        "web1 /srv nightly,db": snapshot("web1", tags=("nightly", "db")),
        "db1 /srv nightly": snapshot("db1", tags=("nightly",)),
        " /srv": snapshot(""),
    }
    assert {name for name, each in there.items() if where.matches(each)} == matching


def test_a_tag_that_a_snapshot_carries_twice_counts_it_once() -> None:
    twice = [snapshot("db1", paths=("/srv", "/srv"), tags=("nightly", "nightly"))]
    for where in (Filter(tags=frozenset({"nightly"})), Filter(paths=frozenset({"/srv"})), Filter("db1")):
        (line,) = judge([wanted("it", where)], seen(*twice)).lines
        assert line.snapshots == 1


# One line each

HOME = [host("nas"), host("web"), host("db")]


def test_all_are_fresh() -> None:
    judged = judge(HOME, seen(snapshot("nas"), snapshot("web", 3 * HOUR), snapshot("db", 2 * HOUR)))
    assert judged.statuses == {"nas": "UP", "web": "UP", "db": "UP"}
    assert judged.result.message == "OK all 3 fresh, the oldest web (3h)"
    assert (judged.result.age, judged.result.newest and judged.result.newest.host) == (HOUR, "nas")


def test_a_dead_host_is_down_by_name_whatever_the_others_do() -> None:
    judged = judge(HOME, seen(snapshot("nas"), snapshot("web"), snapshot("db", 40 * DAY)))
    assert judged.statuses == {"nas": "UP", "web": "UP", "db": "DOWN"}
    assert judged.result.message == "STALE db (40d), 2 others fresh"
    assert judged.line("db").message.startswith("STALE newest 40d old (limit 1d); last ")


def test_what_is_missing_is_told_with_what_is_there() -> None:
    judged = judge(HOME, seen(snapshot("nas"), snapshot("web"), snapshot("web", DAY)))
    assert judged.line("db").message == "MISSING no snapshot of host db; hosts here: web, nas"
    assert judged.result.message == "MISSING db: no snapshot of host db; hosts here: web, nas; 2 others fresh"


NIGHTLY = Filter("db1", tags=frozenset({"nightly"}))


@pytest.mark.parametrize(
    ("where", "there", "message"),
    [
        (NIGHTLY, [snapshot("web1")], "no snapshot of host db1 tagged nightly; hosts here: web1"),
        (
            NIGHTLY,
            [snapshot("db1", tags=("monthly",)), snapshot("web1", tags=("x",))],
            "no snapshot of host db1 tagged nightly; its tags here: monthly",
        ),
        (NIGHTLY, [snapshot("db1")], "no snapshot of host db1 tagged nightly; its tags here: none"),
        (
            Filter("fs", frozenset({"/srv/"})),
            [snapshot("fs", paths=("/srv", "/home"))],
            "no snapshot of host fs with /srv/; its paths here: /home, /srv",
        ),
        (Filter(paths=frozenset({"/a", "/b"})), [snapshot("fs", paths=("/a",))], "no snapshot with /a and /b; paths here: /a"),
        (Filter(host=""), [snapshot("fs")], "no snapshot without a host; hosts here: fs"),
        (Filter("fs"), [snapshot("")], "no snapshot of host fs; hosts here: (no host)"),
        (Filter("fs"), [], "no snapshot of host fs; the repository is empty"),
        (
            Filter("fs"),
            [snapshot(f"a-rather-long-name-{number}") for number in range(30)],
            "no snapshot of host fs; hosts here: a-rather-long-name-0, a-rather-long-name-1, a-rather-long-name-10 and 27 more",
        ),
    ],
)  # fmt: skip
def test_missing(where: Filter, there: list[Snapshot], message: str) -> None:
    judged = judge([wanted("it", where)], seen(*there))
    assert judged.line("it").message == f"MISSING {message}"
    assert judged.result.message.startswith(f"MISSING it: {message}"[:197])


def test_several_that_are_bad_are_named_the_worst_first() -> None:
    small = snapshot("nas", files=0)
    judged = judge(
        [*HOME, host("pi")],
        seen(
            snapshot("nas", DAY, files=5),
            small,
            snapshot("web", 3 * DAY),
            replace(snapshot("pi"), time=NOW + DAY),
            snapshot("pi"),
        ),
    )
    assert judged.statuses == {"nas": "DOWN", "web": "DOWN", "db": "DOWN", "pi": "WARN"}
    assert judged.result.message == "SMALL nas (small), web (3d), db (missing), pi (warn)"


def test_many_that_are_bad_are_counted_and_the_rest_too() -> None:
    judged = judge([host(f"machine-number-{number}") for number in range(60)], seen(snapshot("machine-number-7")))
    assert judged.result.message == (
        "MISSING machine-number-0 (missing), machine-number-1 (missing), machine-number-2 (missing) and 56 more, 1 other fresh"
    )


def test_one_alone_needs_no_count() -> None:
    assert judge([host("nas")], seen(snapshot("nas", 3 * HOUR))).result.message == "OK nas fresh (3h)"


# Not seen is not down, and not up


def test_what_could_not_be_read_may_be_what_is_missed() -> None:
    judged = judge(HOME, seen(snapshot("nas"), snapshot("web", 40 * DAY), unreadable=("07d81154",)))
    assert judged.statuses == {"nas": "UP", "web": "UNKNOWN", "db": "UNKNOWN"}
    assert judged.line("db").message == (
        "UNKNOWN no snapshot of host db; hosts here: nas, web; not all snapshots could be read"
    )
    assert judged.line("web").message.endswith("; not all snapshots could be read")
    assert judged.result.message == "UNKNOWN web (unknown), db (unknown), 1 other fresh"


def test_what_is_too_small_may_have_been_followed_by_what_could_not_be_read() -> None:
    there = [snapshot("nas", DAY, files=5), snapshot("nas", files=0)]
    assert judge([host("nas")], seen(*there)).statuses == {"nas": "DOWN"}
    assert judge([host("nas")], seen(*there, unreadable=("07d81154",))).statuses == {"nas": "UNKNOWN"}


def test_nothing_can_be_read_at_all() -> None:
    judged = judge([*HOME, others()], seen(unreadable=("07d81154",)))
    assert set(judged.statuses.values()) == {"UNKNOWN"}
    assert Readable().judge(seen(unreadable=("07d81154",)), NOW).status is Status.DOWN


def test_no_list_is_unknown() -> None:
    judged = judge([*HOME, others()], Observation("restic", None, ("07d81154",)))
    assert judged.statuses == dict.fromkeys(("nas", "web", "db", "others"), "UNKNOWN")
    assert judged.result.message == "ERROR the snapshots could not be listed"


def test_when_nobody_could_look_each_line_says_why() -> None:
    lines = Expectations((*HOME, others())).unseen(unknown(Code.UNREACHABLE, "no answer"))
    assert [line.name for line in lines] == ["nas", "web", "db", "others"]
    assert {verdict.message for line in lines for verdict in line.verdicts} == {"no answer"}


def test_an_empty_repository_is_down_in_every_line() -> None:
    judged = judge([*HOME, others()], seen())
    assert set(judged.statuses.values()) == {"DOWN"}
    assert judged.line("others").message == "MISSING no snapshot; the repository is empty"


def test_a_snapshot_from_the_future_warns_where_it_belongs() -> None:
    ahead = replace(snapshot("web"), id="f" * 64, time=NOW + DAY)
    judged = judge(HOME, seen(snapshot("nas"), snapshot("web"), snapshot("db"), ahead))
    assert judged.statuses == {"nas": "UP", "web": "WARN", "db": "UP"}
    future = "1 snapshot is dated in the future (2026-11-24 12:00Z): is a clock wrong?"
    assert judged.line("web").message.endswith(future)
    assert judged.result.message == f"WARN web: {future}; 2 others fresh"


def test_a_clock_that_is_behind_is_a_note_of_its_line() -> None:
    late = replace(snapshot("web", 30 * DAY), stored=Stored("", NOW - 2 * HOUR, NOW - HOUR))
    judged = judge(HOME, seen(snapshot("nas"), late, snapshot("db")))
    assert judged.line("web").all_notes == (f"{late.id[:8]} is dated 29d before it was stored: is the clock of web behind?",)
    assert judged.line("nas").all_notes == ()
    assert judged.statuses["web"] == "DOWN"


# group_by


def test_a_group_is_what_no_other_expectation_matches() -> None:
    judged = judge([host("nas"), others()], seen(snapshot("nas"), snapshot("web"), snapshot("pi", 3 * DAY)))
    assert judged.statuses == {"nas": "UP", "others/pi": "DOWN", "others/web": "UP"}
    assert judged.result.message == "STALE others/pi (3d), 2 others fresh"


def test_every_group_with_a_snapshot_left_is_judged_however_old() -> None:
    assert judge([others()], seen(snapshot("old", 4000 * DAY))).statuses == {"others/old": "DOWN"}


@pytest.mark.parametrize(
    ("by", "names"),
    [
        (("host",), ["(no host)", "db", "web"]),
        (("host", "paths"), ["(no host) (no paths)", "db /srv", "web /etc /srv", "web /srv"]),
        (("paths",), ["(no paths)", "/etc /srv", "/srv"]),
        (("tags",), ["[]", "[a,b]"]),
        (("host", "tags"), ["(no host) []", "db [a,b]", "web []"]),
    ],
)
def test_groups_by_what_their_snapshots_have_in_common(by: tuple[str, ...], names: list[str]) -> None:
    there = [
        snapshot("web"),
        snapshot("web", paths=("/srv", "/etc")),
        snapshot("web", DAY, paths=("/etc", "/srv")),
        snapshot("db", tags=("b", "a")),
        snapshot("", paths=()),
    ]
    assert [line.name for line in judge([others(*by)], seen(*there)).lines] == [f"others/{name}" for name in names]


def test_no_two_groups_have_the_same_name() -> None:
    long = "/srv/backup/customers/example-and-company-limited"
    there = [snapshot("web1", paths=(f"{long}/{name}",)) for name in ("files", "database")]
    assert [line.name for line in judge([others("host", "paths")], seen(*there)).lines] == [
        f"others/web1 {long}/database",
        f"others/web1 {long}/files",
    ]
    odd = [snapshot("web1"), snapshot("web1 "), snapshot("web1\n")]
    assert sorted(judge([others()], seen(*odd)).statuses) == ["others/web1", "others/web1 (2)", "others/web1 (3)"]


MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
OTHERS = ("old /srv", "test-1 /srv", "Test-2 /srv")


@pytest.mark.parametrize(
    ("by", "ignore", "left"),
    [
        (("host",), [Ignored(host="test-*")], {"web", "old", "Test-2"}),
        (("host",), [Ignored(host="[tT]est-?")], {"web", "old"}),
        (("host",), [Ignored(before=MIDNIGHT)], {"web", "test-1", "Test-2"}),
        (("host",), [Ignored(host="test-*", before=MIDNIGHT)], {"web", "old", "test-1", "Test-2"}),  # and
        (("host",), [Ignored(host="test-*"), Ignored(before=MIDNIGHT)], {"web", "Test-2"}),  # or
        (("host",), [Ignored(host="*")], set()),
        (("host", "paths"), [Ignored(paths=frozenset({"/srv"}))], {"web /etc /srv"}),
        (("host", "paths"), [Ignored(paths=frozenset({"/srv", "/etc"}))], {"web /srv", *OTHERS}),
        (("host", "paths"), [Ignored(host="web", paths=frozenset({"/srv"}))], {"web /etc /srv", *OTHERS}),
        (("host", "tags"), [Ignored(tags=frozenset({"x"}))], {"web []", "old []", "Test-2 []"}),
        (("host", "tags"), [Ignored(tags=frozenset())], {"test-1 [x]"}),
    ],
)  # fmt: skip
def test_a_group_is_retired_by_ignore_alone(by: tuple[str, ...], ignore: list[Ignored], left: set[str]) -> None:
    there = [
        snapshot("web"),
        snapshot("web", paths=("/srv", "/etc")),
        snapshot("old", 500 * DAY),
        snapshot("test-1", tags=("x",)),
        snapshot("Test-2"),
    ]
    if "paths" not in by:
        there = [each for each in there if len(each.paths) == 1]
    judged = judge([others(*by, ignore=ignore)], seen(*there))
    assert {name.removeprefix("others/") for name in judged.statuses} == left
    everything = judge([others(*by)], seen(*there))
    gone = len(everything.lines) - len(left)
    assert (f"{gone} group{'s' if gone > 1 else ''} ignored" in judged.verdict.message) == (gone > 0)


def test_the_newest_proof_is_judged_not_the_newest_date() -> None:
    rewritten = replace(snapshot("web"), id="b" * 64, original="a" * 64)
    there = [replace(snapshot("web", 9 * DAY), id="a" * 64), rewritten, replace(snapshot("web", 3 * DAY), id="c" * 64)]
    judged = judge([host("web")], seen(*there))
    assert judged.line("web").message.startswith("STALE newest 3d old (limit 1d); last cccccccc web")
    dates = [Ignored(before=NOW - 5 * DAY)]
    assert judge([others(ignore=dates)], seen(*there[:2])).statuses == {}, "retired by what is proved"


def test_the_date_itself_is_not_before_it() -> None:
    for age, left in ((5 * DAY, {"others/a"}), (5 * DAY + timedelta(seconds=1), set())):
        judged = judge([others(ignore=[Ignored(before=NOW - 5 * DAY)])], seen(snapshot("a", age)))
        assert set(judged.statuses) == left


def test_a_date_retires_only_groups_whose_newest_snapshot_is_older() -> None:
    ignore = [Ignored(before=NOW - 5 * DAY)]
    there = [snapshot("a", 9 * DAY), snapshot("a", 3 * DAY), snapshot("b", 9 * DAY)]
    assert judge([others(ignore=ignore)], seen(*there)).statuses == {"others/a": "DOWN"}


def test_all_ignored_is_up_and_says_so() -> None:
    judged = judge([others(ignore=[Ignored(host="*")])], seen(snapshot("a"), snapshot("b")))
    assert (judged.lines, judged.result.message) == ((), "OK 2 groups ignored")


def test_a_filter_that_finds_nothing_to_group_is_down() -> None:
    judged = judge([others(where=Filter(tags=frozenset({"nihgtly"})))], seen(snapshot("web", tags=("nightly",))))
    assert judged.line("others").message == "MISSING no snapshot tagged nihgtly; tags here: nightly"


def test_where_nothing_is_left_to_group_there_is_no_line() -> None:
    assert judge([host("web"), others()], seen(snapshot("web"))).statuses == {"web": "UP"}


# What nothing is expected of


def test_snapshots_that_match_nothing_are_counted_with_their_hosts_and_change_nothing() -> None:
    judged = judge([host("nas")], seen(snapshot("nas"), snapshot("web", 900 * DAY), snapshot("web"), snapshot("")))
    assert judged.result.message == "OK nas fresh (1h); 3 snapshots not expected, of (no host), web"
    assert judged.result.status is Status.UP


# For any repository

HOSTS = ["nas", "web", "db", "pi", ""]
SNAPSHOTS = st.builds(
    snapshot,
    st.sampled_from(HOSTS),
    st.integers(-200, 200).map(lambda hours: hours * HOUR),
    st.sampled_from([("/srv",), ("/etc", "/srv"), ()]),
    st.sampled_from([(), ("nightly",), ("nightly", "db")]),
    st.integers(1, 9),
)
EXPECTATIONS = [
    host("nas"),
    host("web", MaxAge(5 * DAY, "5d")),
    wanted("nightly", Filter("db", tags=frozenset({"nightly"}))),
    wanted("etc", Filter(paths=frozenset({"/etc"}))),
    others("host", "paths"),
]


@given(st.lists(SNAPSHOTS, max_size=12), SNAPSHOTS)
def test_adding_a_snapshot_never_turns_an_up_line_down(there: list[Snapshot], added: Snapshot) -> None:
    before, after = judge(EXPECTATIONS, seen(*there)), judge(EXPECTATIONS, seen(*there, added))
    for name, status in before.statuses.items():
        if status in ("UP", "WARN"):
            assert after.statuses[name] in ("UP", "WARN"), f"{name} by {added}"


@given(st.lists(SNAPSHOTS, max_size=12), st.sampled_from(["nas", "web"]))
def test_dropping_a_host_always_turns_its_line_down_by_name(there: list[Snapshot], dropped: str) -> None:
    judged = judge(EXPECTATIONS, seen(*(each for each in there if each.host != dropped)))
    assert judged.statuses[dropped] == "DOWN"
    assert judged.result.status is Status.DOWN
    assert f"{dropped} (missing)" in judged.result.message or f"no snapshot of host {dropped}" in judged.result.message


@given(st.lists(SNAPSHOTS, max_size=12))
def test_the_repository_is_as_bad_as_the_worst_of_its_lines(there: list[Snapshot]) -> None:
    judged = judge(EXPECTATIONS, seen(*there))
    worst = max((judged.line(line.name).status for line in judged.lines), default=Status.UP)
    assert judged.result.status is worst
    bad = [name for name, status in judged.statuses.items() if status != "UP"]
    fresh = len(judged.lines) - len(bad)
    if bad and fresh:
        assert f" {fresh} other" in judged.result.message


@given(st.lists(SNAPSHOTS, max_size=20), st.randoms())
def test_the_order_of_the_snapshots_changes_nothing(there: list[Snapshot], random: object) -> None:
    shuffled = list(there)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert judge(EXPECTATIONS, seen(*there)).statuses == judge(EXPECTATIONS, seen(*shuffled)).statuses


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_no_name_breaks_out_of_the_line(name: str, path: str, tag: str) -> None:
    there = seen(snapshot(name, paths=(path,), tags=(tag,)), snapshot("x"))
    judged = judge([wanted("w", Filter("h", frozenset({path}), frozenset({tag}))), others("host", "paths", "tags")], there)
    for line in judged.lines:
        assert line.name.isprintable()
        assert judged.line(line.name).message.isprintable()
    assert judged.result.message.isprintable()
