"""What a snapshot proves: a table for each way in which clocks, `tag`, `rewrite`, `copy` and mirrors move its moments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from restic_monitor import history, proof
from restic_monitor.model import TOLERANCE, Past, Snapshot, Stored, Summary

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
A, B, C = "a" * 64, "b" * 64, "c" * 64


def snapshot(
    name: str = A,
    dated: timedelta = timedelta(0),
    *,
    ended: timedelta | None = None,
    arrived: timedelta | None = None,
    first_seen: timedelta = timedelta(0),
    original: str = "",
) -> Snapshot:
    """All as ages. `arrived`: a look an hour before had not got it; without it is only known that it was there when first
    seen."""
    summary = None if ended is None else Summary(NOW - ended, 1, 1)
    seen = Stored(name, None if arrived is None else NOW - arrived - HOUR, NOW - (first_seen if arrived is None else arrived))
    return Snapshot(name, NOW - dated, "web1", ("/srv",), (), original, summary, seen)


def proved(*snapshots: Snapshot, past: Past | None = None) -> dict[str, timedelta | None]:
    """What each proves, as an age."""
    found = proof.prove(snapshots, past, NOW)
    return {each.id: None if each.proved is None else NOW - each.proved for each in found}


def past(moments: Mapping[str, timedelta | None]) -> Past:
    """An earlier look that knew these snapshots, and what they proved."""
    return Past(NOW - HOUR, {}, frozenset(), {name: None if age is None else NOW - age for name, age in moments.items()})


YEARS = 400 * DAY


@pytest.mark.parametrize(
    ("seen", "age"),
    [
        # an ordinary backup
        (snapshot(dated=3 * HOUR), 3 * HOUR),
        (snapshot(dated=3 * HOUR, ended=2 * HOUR), 3 * HOUR),
        (snapshot(dated=3 * HOUR, ended=2 * HOUR, arrived=HOUR), 3 * HOUR),
        (snapshot(dated=3 * HOUR, first_seen=YEARS), None),  # dated after it was seen: that clock was wrong
        # the clock of the host is ahead
        (snapshot(dated=-2 * DAY), None),
        (snapshot(dated=-2 * DAY, ended=-2 * DAY), None),
        (snapshot(dated=-2 * DAY, arrived=HOUR), HOUR),
        (snapshot(dated=-2 * DAY, ended=-2 * DAY, arrived=HOUR), HOUR),
        (snapshot(dated=-timedelta(minutes=5)), -timedelta(minutes=5)),
        (snapshot(dated=-timedelta(minutes=5, seconds=1)), None),
        # ... and its date has come since: it still counts from its arrival
        (snapshot(dated=HOUR, arrived=2 * DAY), 2 * DAY),
        (snapshot(dated=HOUR, first_seen=2 * DAY), None),
        # behind
        (snapshot(dated=30 * DAY, arrived=HOUR), 30 * DAY),
        (snapshot(dated=30 * DAY, ended=30 * DAY, arrived=HOUR), 30 * DAY),
        # before there was restic: a clock without a battery
        (snapshot(dated=20_000 * DAY, arrived=HOUR), HOUR),
        (snapshot(dated=20_000 * DAY), None),
        # backup --time
        (snapshot(dated=100 * DAY, ended=HOUR, arrived=HOUR), 100 * DAY),
        (snapshot(dated=-100 * DAY, ended=HOUR), HOUR),
        (snapshot(dated=-100 * DAY, ended=3 * HOUR, arrived=2 * HOUR), 3 * HOUR),
        # rewrite --new-time: the summary survives
        (snapshot(dated=timedelta(0), ended=50 * DAY, original=B), 50 * DAY),
        # a repository that was copied by other means than restic's: with the times of its files, and without
        (snapshot(dated=40 * DAY, arrived=40 * DAY), 40 * DAY),
        (snapshot(dated=40 * DAY, arrived=timedelta(0)), 40 * DAY),
    ],
)
def test_the_earliest_moment_counts_and_what_nobody_can_know_is_left_out(seen: Snapshot, age: timedelta | None) -> None:
    assert proved(seen) == {A: age}


@pytest.mark.parametrize(
    ("seen", "known", "age"),
    [
        # tag, and rewrite without --new-time: the time stays
        (snapshot(B, 20 * DAY, arrived=HOUR, original=A), {}, 20 * DAY),
        (snapshot(B, 20 * DAY, arrived=HOUR, original=A), {A: 20 * DAY}, 20 * DAY),
        # rewrite --new-time of one without a summary: only memory knows
        (snapshot(B, HOUR, arrived=HOUR, original=A), {A: 20 * DAY}, 20 * DAY),
        (snapshot(B, HOUR, arrived=HOUR, original=A), {}, HOUR),
        (snapshot(B, 30 * DAY, arrived=HOUR, original=A), {A: 20 * DAY}, 30 * DAY),
        # what it was made of proved nothing
        (snapshot(B, HOUR, arrived=HOUR, original=A), {A: None}, None),
        # copy from another repository
        (snapshot(B, 5 * DAY, ended=5 * DAY, arrived=HOUR, original=C), {A: 20 * DAY}, 5 * DAY),
        # what it once proved itself stays, though its original is forgotten
        (snapshot(B, HOUR, arrived=HOUR, original=A), {B: 20 * DAY}, 20 * DAY),
    ],
)
def test_an_original_that_is_remembered_counts(
    seen: Snapshot, known: Mapping[str, timedelta | None], age: timedelta | None
) -> None:
    assert proved(seen, past=past(known)) == {B: age}


def test_an_original_that_is_there_counts_and_the_originals_of_originals() -> None:
    chain = [
        snapshot(C, HOUR, arrived=HOUR, original=B),
        snapshot(B, 2 * HOUR, arrived=2 * HOUR, original=A),
        snapshot(A, 9 * DAY),
    ]
    assert proved(*chain) == {A: 9 * DAY, B: 9 * DAY, C: 9 * DAY}
    assert proved(*reversed(chain)) == proved(*chain)


def test_an_original_that_proves_nothing_proves_no_more_by_a_copy() -> None:
    assert proved(snapshot(A, -2 * DAY), snapshot(B, HOUR, arrived=HOUR, original=A)) == {A: None, B: None}


def test_a_circle_of_originals_ends() -> None:
    assert proved(snapshot(A, HOUR, original=B), snapshot(B, DAY, original=A))[B] == DAY
    assert proved(snapshot(A, HOUR, original=A)) == {A: HOUR}


def test_a_chain_that_somebody_forged_is_as_long_as_it_is() -> None:
    names = [f"{number:064x}" for number in range(20_000)]
    chain = [snapshot(name, HOUR, original=before) for before, name in zip(["", *names[:-1]], names, strict=True)]
    assert set(proved(*chain).values()) == {HOUR}


# From look to look


def look(at: datetime, snapshots: Sequence[Snapshot], before: Past | None) -> tuple[Past, dict[str, datetime | None]]:
    """One look as the probe makes it: what is remembered of it, and what each snapshot proves."""
    files = history.dated(((each.id, None) for each in snapshots), "snapshots", before, at)
    found = proof.prove([replace(each, stored=files[each.id]) for each in snapshots], before, at)
    proofs = {each.id: each.proved for each in found}
    return Past(at, {"snapshots": files}, frozenset(), proofs), proofs


def test_a_snapshot_from_the_future_does_not_turn_fresh_when_its_date_comes() -> None:
    ahead = replace(snapshot(A, -2 * DAY), stored=None)
    first, proofs = look(NOW, [ahead], None)
    assert proofs == {A: None}
    for days in range(1, 9):
        first, proofs = look(NOW + days * DAY, [ahead], first)
        assert proofs == {A: None}, f"after {days} days"


def test_a_snapshot_from_the_future_counts_from_when_a_look_first_had_it() -> None:
    ahead = replace(snapshot(A, -2 * DAY), stored=None)
    before, _ = look(NOW - HOUR, [], None)
    for days in range(9):
        before, proofs = look(NOW + days * DAY, [ahead], before)
        assert proofs == {A: NOW}, f"after {days} days"


def test_a_tag_and_a_new_time_and_forget_prove_nothing_new() -> None:
    old = replace(snapshot(A, 20 * DAY), stored=None)
    first, _ = look(NOW - 3 * HOUR, [old], None)
    second, proofs = look(NOW - 2 * HOUR, [replace(old, id=B, time=NOW - 2 * HOUR, original=A)], first)
    assert proofs == {B: NOW - 20 * DAY}
    _, proofs = look(NOW, [replace(old, id=C, time=NOW, original=B)], second)
    assert proofs == {C: NOW - 20 * DAY}


MOMENTS = st.none() | st.integers(-10_000, 10_000).map(lambda minutes: timedelta(minutes=minutes))


@given(st.integers(-10_000, 10_000), MOMENTS, MOMENTS)
def test_nothing_proves_more_than_any_of_its_moments(dated: int, ended: timedelta | None, arrived: timedelta | None) -> None:
    arrived = None if arrived is None else abs(arrived)
    seen = snapshot(A, timedelta(minutes=dated), ended=ended, arrived=arrived)
    found = proved(seen)[A]
    if found is not None:
        assert found >= -TOLERANCE
        assert arrived is None or found >= arrived
        assert found in (timedelta(minutes=dated), ended, arrived)


# A clock that is behind


@pytest.mark.parametrize(
    ("seen", "late"),
    [
        ([], None),
        ([snapshot(A, 2 * HOUR, arrived=HOUR)], None),
        ([snapshot(A, 30 * DAY, arrived=HOUR)], 30 * DAY - 2 * HOUR),
        ([snapshot(A, 30 * DAY, ended=2 * HOUR, arrived=HOUR)], None),  # it took a month
        ([snapshot(A, 30 * DAY, arrived=HOUR, original=B)], None),  # a copy
        ([snapshot(A, 30 * DAY)], None),  # nobody saw it come
        ([snapshot(A, 30 * DAY, arrived=3 * DAY), snapshot(B, 2 * HOUR, arrived=HOUR)], None),  # and later ones are right
        ([snapshot(A, 30 * DAY, arrived=HOUR), snapshot(B, 2 * HOUR, arrived=HOUR)], None),  # a mirror caught up
        ([snapshot(A, 60 * DAY, arrived=HOUR), snapshot(B, 30 * DAY, arrived=HOUR)], None),  # it was moved, all at once
        ([snapshot(A, 60 * DAY, arrived=1.9 * HOUR), snapshot(B, 30 * DAY, arrived=HOUR)], None),  # which took its time
        # and one by one is no move, nor what was made on one day
        ([snapshot(A, 60 * DAY, arrived=2 * HOUR), snapshot(B, 30 * DAY, arrived=HOUR)], 30 * DAY - 2 * HOUR),
        ([snapshot(A, 31 * DAY, arrived=HOUR), snapshot(B, 30 * DAY, arrived=HOUR)], 30 * DAY - 2 * HOUR),
        ([snapshot(A, 60 * DAY), snapshot(B, 30 * DAY, arrived=HOUR)], 30 * DAY - 2 * HOUR),  # nobody saw the other come
    ],
)
def test_what_arrived_last_and_is_dated_long_before_tells_of_a_clock(seen: list[Snapshot], late: timedelta | None) -> None:
    assert [by for _, by in proof.behind(seen)] == ([] if late is None else [late])


def test_looks_that_are_days_apart_accuse_nobody() -> None:
    """A backup of Saturday, seen on Monday, after a look on Friday."""
    seen = replace(snapshot(A, 2 * DAY), stored=Stored(A, NOW - 3 * DAY, NOW))
    assert proof.behind([seen]) == []


def test_each_host_has_a_clock_of_its_own() -> None:
    web, nas = snapshot(A, 30 * DAY, arrived=HOUR), replace(snapshot(B, 2 * HOUR, arrived=HOUR), host="nas")
    assert [each.host for each, _ in proof.behind([web, nas])] == ["web1"]


def test_a_move_speaks_for_the_clock_of_each_host_that_was_moved_and_of_no_other() -> None:
    web = [snapshot(A, 60 * DAY, arrived=HOUR), snapshot(B, 30 * DAY, arrived=HOUR)]
    nas = replace(snapshot(C, 30 * DAY, arrived=HOUR), host="nas")
    assert [each.host for each, _ in proof.behind([*web, nas])] == ["nas"]


def test_what_was_first_seen_by_a_clock_that_was_ahead_proves_nothing_that_is_still_to_come() -> None:
    seen = replace(snapshot(A, -2 * DAY), stored=Stored(A, None, NOW + 900 * DAY))
    assert proved(seen) == {A: None}
