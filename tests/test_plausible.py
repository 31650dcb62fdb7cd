"""Whether a snapshot holds what it should: decided by the history of its repository alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import median_low
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from restic_monitor.checks.plausible import Plausible
from restic_monitor.model import Code, Observation, Snapshot, Status, Summary, Verdict

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
GIB = 1 << 30


def snapshot(age: timedelta, files: int | None, size: int | None = None, **fields: Any) -> Snapshot:
    """With a summary of that many files, of 1 KiB each where no size is given; `files` None: without one."""
    summary = None if files is None else Summary(None, files, files * 1024 if size is None else size)
    name = f"{age // timedelta(hours=1):08x}".rjust(8, "f") + "0" * 56
    made = Snapshot(name, NOW - age, "web1", ("/srv",), ("nightly",), "", summary, None, NOW - age)
    return replace(made, **fields)


def history(*files: int | None) -> list[Snapshot]:
    """One a day, the last one today."""
    return [snapshot((len(files) - 1 - number) * DAY, count) for number, count in enumerate(files)]


def judge(check: Plausible, snapshots: Sequence[Snapshot]) -> Verdict:
    return check.judge(Observation("restic", tuple(snapshots), ()), NOW)


HALF = Plausible(max_shrink=(50, "50%"))
ACCEPT = "; to accept it: baseline: 2026-11-23T12:00:00Z"


@pytest.mark.parametrize(
    ("check", "snapshots", "status", "message"),
    [
        # nothing asked, nothing wrong
        (Plausible(), history(5), Status.UP, ""),
        (Plausible(), history(5, 1), Status.UP, ""),
        (Plausible(), history(None), Status.UP, ""),
        (Plausible(), [], Status.UP, ""),
        # empty, where there were files
        (Plausible(), history(500, 0), Status.DOWN, f"00000000 has no file, 500 before{ACCEPT}"),
        (Plausible(), history(1, 0, 0, 0), Status.DOWN, f"00000000 has no file, 1 before{ACCEPT}"),
        (Plausible(), history(0, 0), Status.UP, ""),
        (Plausible(), history(0), Status.UP, ""),
        (Plausible(), history(500, 0, 500), Status.UP, ""),
        (Plausible(), history(500, None, 0), Status.DOWN, f"00000000 has no file, 500 before{ACCEPT}"),
        # at least
        (Plausible(min_files=1000), history(1000), Status.UP, ""),
        (Plausible(min_files=1000), history(999), Status.DOWN, "00000000 has 999 files (min_files 1000)"),
        (Plausible(min_files=2), history(1), Status.DOWN, "00000000 has 1 file (min_files 2)"),
        (Plausible(min_files=0), history(0), Status.UP, ""),
        (Plausible(min_size=(5 * GIB, "5GiB")), [snapshot(0 * DAY, 1, 5 * GIB)], Status.UP, ""),
        (
            Plausible(min_size=(5 * GIB, "5GiB")),
            [snapshot(0 * DAY, 1, 3 * GIB)],
            Status.DOWN,
            "00000000 has 3GiB (min_size 5GiB)",
        ),
        # shrunk: by exactly that much is allowed
        (HALF, history(100, 50), Status.UP, ""),
        (HALF, history(100, 49), Status.DOWN, f"00000000 has 49 files, 100 before (max_shrink 50%){ACCEPT}"),
        (HALF, history(12_345, 12), Status.DOWN, f"00000000 has 12 files, 12,345 before (max_shrink 50%){ACCEPT}"),
        (HALF, history(49), Status.UP, ""),
        (HALF, history(0, 0, 0), Status.UP, ""),
        (
            HALF,
            [snapshot(DAY, 9, 4 * GIB), snapshot(0 * DAY, 9, GIB)],
            Status.DOWN,
            f"00000000 has 1GiB, 4GiB before (max_shrink 50%){ACCEPT}",
        ),
        # a loss does not become the new normal, however long it lasts
        (HALF, history(100, *[40] * 30), Status.DOWN, f"00000000 has 40 files, 100 before (max_shrink 50%){ACCEPT}"),
        # and slowly it may: each step is allowed
        (HALF, history(100, 60, 50, 40, 30), Status.UP, ""),
        # the median of the last seven
        (HALF, history(*[10] * 9, *[100] * 4, 51), Status.UP, ""),
        (HALF, history(*[10] * 9, *[100] * 4, 49), Status.DOWN, f"00000000 has 49 files, 100 before (max_shrink 50%){ACCEPT}"),
        # one large one is not normal
        (HALF, history(10, 10, 10, 10, 10, 10, 1000, 10), Status.UP, ""),
        # without a summary
        (HALF, history(100, None), Status.UNKNOWN, "00000000 has no summary"),
        (HALF, history(None, 100), Status.UP, ""),
        (Plausible(min_files=5), history(None), Status.UNKNOWN, "00000000 has no summary"),
        (Plausible(min_files=0), history(None), Status.UP, ""),
    ],
)
def test_what_is_too_small(check: Plausible, snapshots: Sequence[Snapshot], status: Status, message: str) -> None:
    verdict = judge(check, snapshots)
    assert verdict.status is status, verdict.message
    if status is Status.DOWN:
        assert (verdict.code, verdict.message) == (Code.SMALL, message)
    if status is Status.UNKNOWN:
        assert (verdict.code, verdict.message.startswith(message)) == (Code.UNKNOWN, True)


def test_all_that_is_wrong_is_told_at_once() -> None:
    """Who mends one key at a time has three bad nights."""
    assert judge(Plausible(50, max_shrink=(30, "30%")), history(90, 90, 30)).message == (
        f"00000000 has 30 files (min_files 50) and has 30 files, 90 before (max_shrink 30%){ACCEPT}"
    )
    verdict = judge(Plausible(50, (GIB, "1GiB")), history(30))
    assert verdict.message == "00000000 has 30 files (min_files 50) and has 30KiB (min_size 1GiB)"


def test_an_empty_one_with_nothing_before_it_is_a_note() -> None:
    assert judge(Plausible(), history(0, 0)).notes == ("00000000 has no file",)
    assert judge(Plausible(each=True), history(0)).notes == ("00000000 of web1 has no file",)
    assert judge(Plausible(), history(0, 1)).notes == ()


def test_unknown_names_the_keys_that_cannot_be_judged() -> None:
    verdict = judge(Plausible(5, (9, "9B"), (50, "50%")), history(None))
    assert verdict.message == (
        "00000000 has no summary (restic before 0.17 wrote or read it): min_files, min_size, max_shrink cannot be judged"
    )


# baseline: a person accepts a change


def test_the_baseline_that_the_message_names_accepts_the_snapshot() -> None:
    snapshots = [snapshot(hours * DAY / 24, files) for hours, files in ((9, 100), (6, 100), (3, 40), (0, 40))]
    down = judge(HALF, snapshots[:3])
    found = re.search(r"baseline: (\S+)$", down.message)
    assert found, down.message
    accepted = replace(HALF, baseline=datetime.fromisoformat(found[1]))
    assert judge(accepted, snapshots[:3]).status is Status.UP
    assert judge(accepted, snapshots).status is Status.UP
    assert judge(accepted, [*snapshots, snapshot(timedelta(minutes=-1), 19)]).status is Status.DOWN


def test_a_baseline_accepts_no_less_than_was_asked_for_at_least() -> None:
    assert judge(Plausible(min_files=50, baseline=NOW), history(100, 40)).code is Code.SMALL


# Which are compared


@pytest.mark.parametrize("other", [{"host": "web2"}, {"paths": ("/etc",)}, {"tags": ()}, {"paths": ("/srv", "/etc")}])
def test_only_the_same_host_paths_and_tags_are_compared(other: dict[str, Any]) -> None:
    assert judge(HALF, [snapshot(DAY, 1000, **other), snapshot(0 * DAY, 1)]).status is Status.UP
    assert judge(HALF, [snapshot(DAY, 1000), snapshot(0 * DAY, 1)]).status is Status.DOWN


def test_the_order_of_paths_and_tags_is_no_difference() -> None:
    old = snapshot(DAY, 1000, paths=("/srv", "/etc"), tags=("a", "b"))
    assert judge(HALF, [old, snapshot(0 * DAY, 1, paths=("/etc", "/srv"), tags=("b", "a"))]).status is Status.DOWN


def test_the_newest_is_the_one_with_the_newest_proof_and_what_proves_nothing_is_left_out() -> None:
    rewritten = snapshot(0 * DAY, 1, proved=NOW - 9 * DAY)
    assert judge(HALF, [snapshot(DAY, 1000), rewritten]).status is Status.UP
    assert judge(HALF, [snapshot(DAY, 1000), snapshot(-DAY, 1, proved=None)]).status is Status.UP


def test_in_a_repository_without_expectations_each_host_and_paths_has_its_newest() -> None:
    lost = [snapshot(9 * DAY, 700, host="db1"), snapshot(8 * DAY, 0, host="db1")]
    fine = history(100, 100)
    assert judge(Plausible(), [*lost, *fine]).status is Status.UP
    verdict = judge(Plausible(each=True), [*lost, *fine])
    assert verdict.message == "000000c0 of db1 has no file, 700 before; to accept it: baseline: 2026-11-15T12:00:00Z"


def test_the_advice_accepts_all_that_are_small() -> None:
    db = [snapshot(9 * DAY, 700, host="db1"), snapshot(8 * DAY, 0, host="db1")]
    there = [*db, snapshot(DAY, 10), snapshot(0 * DAY, 0)]
    found = re.search(r"baseline: (\S+)$", judge(Plausible(each=True), there).message)
    assert found
    assert judge(Plausible(each=True, baseline=datetime.fromisoformat(found[1])), there).status is Status.UP


def test_of_two_that_were_made_at_once_the_same_is_the_newest_in_any_order() -> None:
    twins = [snapshot(0 * DAY, files, id=name * 64) for name, files in (("a", 100), ("b", 1))]
    for there in (twins, twins[::-1]):
        assert judge(HALF, [snapshot(DAY, 100), *there]).message.startswith("bbbbbbbb has 1 file")


def test_a_snapshot_of_the_baseline_itself_is_compared_with() -> None:
    there = history(100, 100, 40)
    assert judge(replace(HALF, baseline=NOW - 2 * DAY), there).status is Status.DOWN
    assert judge(replace(HALF, baseline=NOW - DAY), there).status is Status.DOWN
    assert judge(replace(HALF, baseline=NOW - DAY + timedelta(seconds=1)), there).status is Status.UP


def test_many_are_counted() -> None:
    hosts = [f"h{number}" for number in range(5)]
    seen = [snapshot(age * DAY, files, host=host) for host in hosts for age, files in ((1, 10), (0, 0))]
    verdict = judge(Plausible(each=True), seen)
    assert verdict.message.count("has no file") == 3
    assert "; 00000000 of h2 has no file, 10 before and 2 more; to accept it: baseline:" in verdict.message


def test_what_nobody_listed_is_unknown() -> None:
    assert Plausible().judge(Observation("listing"), NOW).status is Status.UNKNOWN


# Against the rule, written down a second time


@given(st.lists(st.integers(0, 30) | st.none(), min_size=1, max_size=30), st.integers(1, 99))
def test_the_verdict_is_that_of_the_rule(files: list[int | None], per_cent: int) -> None:
    accepted: list[int] = []
    fails = False
    for count in files:
        if count is None:
            continue
        normal = median_low(accepted[-7:]) if accepted else 0
        fails = count * 100 < normal * (100 - per_cent) or (count == 0 and any(accepted))
        accepted += [] if fails else [count]
    verdict = judge(Plausible(max_shrink=(per_cent, f"{per_cent}%")), history(*files))
    expected = Status.UNKNOWN if files[-1] is None else Status.DOWN if fails else Status.UP
    assert verdict.status is expected


@given(st.lists(st.integers(0, 30) | st.none(), min_size=1, max_size=20))
def test_no_message_is_long_or_of_several_lines(files: list[int | None]) -> None:
    for check in (Plausible(each=True), Plausible(5, (9, "9B"), (50, "50%"))):
        message = judge(check, [replace(each, host="x" * 300 + "\n") for each in history(*files)]).message
        assert message.isprintable()
        assert len(message) < 250
