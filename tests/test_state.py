"""What is remembered: in the right place, for its owner alone, true while runs overlap, and never a reason for a run to end."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import restic_monitor.state.file
from restic_monitor.model import Opened, Past, Snapshot, Stored
from restic_monitor.state import VERSION, State, place
from restics import require

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEY = ("web", "s3:https://s3.example.com/web")


def digest(number: int) -> str:
    return f"{number:064x}"


def stored(name: str, after: datetime | None, before: datetime) -> Stored:
    return Stored(name, after, before)


def look(at: datetime, *numbers: int, noted: Sequence[str] = ()) -> Past:
    """A look at a store that tells times: snapshot N was stored N seconds before NOON."""
    files = {digest(number): NOON - timedelta(seconds=number) for number in numbers}
    snapshots = {name: Stored(name, moment, moment) for name, moment in files.items()}
    return Past(at, {"keys": {}, "locks": {}, "snapshots": snapshots}, frozenset(noted))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[[], State]]:
    """Begins runs that share `folder`; each ends with the test."""
    with contextlib.ExitStack() as ends:

        def begin() -> State:
            state = State({"STATE_DIRECTORY": str(folder)})
            ends.callback(state.close)
            return state

        yield begin


def recalled(state: State, key: tuple[str, str] = KEY) -> Past | None:
    return state.memory(*key).recall()


def made(folder: Path, past: Past) -> Path:
    """A state that holds one look, closed."""
    state = State({"STATE_DIRECTORY": str(folder)})
    state.memory(*KEY).remember(past)
    state.close()
    assert state.warnings == []
    return folder / "state.sqlite"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# What is remembered


def test_a_look_is_recalled_by_the_next_run(start: Callable[[], State]) -> None:
    seen = look(NOON, 1, 2, 3, noted=["the newest file may not be read"])
    first = start()
    assert recalled(first) is None
    first.memory(*KEY).remember(seen)
    first.close()
    second = start()
    assert recalled(second) == seen
    assert first.warnings == second.warnings == []


def test_new_files_come_vanished_files_go_and_moments_that_the_store_tells_anew_replace_the_old(
    start: Callable[[], State],
) -> None:
    memory = start().memory(*KEY)
    memory.remember(look(NOON, 1, 2, 3, noted=["a", "b"]))
    for seen in (
        look(NOON + HOUR, 2, 3, 4, noted=["b", "c"]),
        look(NOON + 2 * HOUR),
        Past(NOON + 3 * HOUR, {"snapshots": {digest(2): stored(digest(2), None, NOON)}}),
        Past(NOON + 4 * HOUR, {"snapshots": {digest(2): stored(digest(2), NOON - HOUR, NOON)}, "locks": {}}),
        Past(NOON + 5 * HOUR, {}),
    ):
        memory.recall()
        memory.remember(seen)
        assert recalled(start()) == seen


def test_a_folder_that_was_not_listed_is_not_an_empty_one(start: Callable[[], State]) -> None:
    state = start()
    state.memory(*KEY).remember(Past(NOON, {"snapshots": {}}))
    assert recalled(state) == Past(NOON, {"snapshots": {}})


def test_what_snapshots_proved_is_remembered_and_is_no_folder(start: Callable[[], State]) -> None:
    state = start()
    names = {digest(number): stored(digest(number), None, NOON) for number in (1, 2, 3)}
    seen = Past(NOON, {"snapshots": names}, frozenset(), {digest(1): NOON - HOUR, digest(9): NOON})
    state.memory(*KEY).remember(seen)
    assert recalled(state) == seen
    later = replace(seen, proved={digest(1): NOON - 2 * HOUR, digest(3): NOON, digest(2): None})
    memory = state.memory(*KEY)
    memory.recall()
    memory.remember(later)
    assert recalled(state) == later
    memory.remember(replace(later, proved={}))
    assert recalled(state) == Past(NOON, {"snapshots": names})


def test_of_what_two_runs_proved_the_earlier_counts(start: Callable[[], State]) -> None:
    state = start()
    names = {digest(number): stored(digest(number), None, NOON) for number in (1, 2)}
    state.memory(*KEY).remember(Past(NOON, {"snapshots": names}))
    one, other = state.memory(*KEY), state.memory(*KEY)
    one.recall()
    other.recall()
    proved = {digest(1): NOON - HOUR, digest(2): NOON, digest(3): NOON}
    one.remember(Past(NOON, {"snapshots": names}, frozenset(), proved))
    other.remember(Past(NOON, {"snapshots": names}, frozenset(), {digest(1): NOON, digest(3): None}))
    found = recalled(state)
    assert found
    assert found.proved == {digest(1): NOON - HOUR, digest(2): NOON, digest(3): None}


def test_another_repository_under_the_same_name_has_no_past(start: Callable[[], State]) -> None:
    state = start()
    state.memory("web", "/srv/old").remember(look(NOON, 1))
    state.memory("web", "/srv/new").remember(look(NOON, 2))
    state.memory("db", "/srv/old").remember(look(NOON, 3))
    assert [
        recalled(state, key) for key in (("web", "/srv/old"), ("web", "/srv/new"), ("db", "/srv/old"), ("db", "/srv/new"))
    ] == [
        look(NOON, 1),
        look(NOON, 2),
        look(NOON, 3),
        None,
    ]


MOMENTS = st.datetimes(timezones=st.just(UTC) | st.timedeltas(-14 * HOUR, 14 * HOUR).map(timezone)).filter(
    lambda moment: datetime(2, 1, 1, tzinfo=UTC) < moment < datetime(9999, 1, 1, tzinfo=UTC)
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.integers(0, 2**256 - 1).map(digest)


@given(looked=MOMENTS, files=st.dictionaries(NAMES, st.lists(MOMENTS, min_size=1, max_size=2)), noted=st.frozensets(NAMES))
@settings(max_examples=100, deadline=None)
def test_moments_of_all_centuries_and_names_of_all_scripts_survive(
    shared: tuple[State, State], looked: datetime, files: Mapping[str, list[datetime]], noted: frozenset[str]
) -> None:
    names = {name: stored(name, min(moments) if moments[1:] else None, max(moments)) for name, moments in files.items()}
    seen = Past(looked, {"snapshots": names, "locks": {}}, noted)
    writer = shared[0].memory(*KEY)
    writer.recall()
    writer.remember(seen)
    assert recalled(shared[1]) == seen


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[State, State]]:
    """Two runs, at once."""
    with tempfile.TemporaryDirectory() as folder:
        one, other = (State({"STATE_DIRECTORY": folder}) for _ in range(2))
        yield one, other
        one.close()
        other.close()
    assert one.warnings == other.warnings == []


def test_names_that_are_no_text_are_a_warning(start: Callable[[], State]) -> None:
    """A file system may hand out such a name; it never is one that counts."""
    state = start()
    state.memory("web\udcff", "/srv/\udcff").remember(look(NOON, 1))
    assert recalled(state, ("web\udcff", "/srv/\udcff")) == look(NOON, 1)
    state.memory(*KEY).remember(Past(NOON, {"snapshots": {"\udcff": stored("\udcff", None, NOON)}}))
    assert recalled(state) is None
    assert len(state.warnings) == 1
    assert "cannot be written ('utf-8' codec can't encode" in state.warnings[0]


def test_what_nobody_looked_at_for_400_days_is_forgotten(start: Callable[[], State], folder: Path) -> None:
    now = datetime.now(UTC)
    first = start()
    for days in (399, 401):
        first.memory("web", f"/srv/{days}").remember(look(now - timedelta(days=days), 1, 2))
    first.close()
    second = start()
    assert recalled(second, ("web", "/srv/401")) is not None
    second.memory(*KEY).remember(look(now, 3))
    assert recalled(second, ("web", "/srv/401")) is None
    assert recalled(second, ("web", "/srv/399")) is not None
    second.close()
    with contextlib.closing(sqlite3.connect(folder / "state.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM files").fetchone() == (3,)


def test_a_look_that_sees_what_the_last_one_saw_writes_one_row(start: Callable[[], State]) -> None:
    state = start()
    memory = state.memory(*KEY)
    memory.remember(look(NOON, *range(100)))

    def rows() -> int:
        return state.use(lambda connection: connection.total_changes, writing=False) or 0

    before = rows()
    memory.recall()
    memory.remember(look(NOON + HOUR, *range(100)))
    assert rows() - before == 1
    memory.remember(look(NOON + 2 * HOUR, *range(1, 101)))
    assert rows() - before == 1 + 3
    assert recalled(start()) == look(NOON + 2 * HOUR, *range(1, 101))


def test_without_writing_nothing_is_made_and_nothing_changes(start: Callable[[], State], folder: Path) -> None:
    state = start()
    memory = state.memory(*KEY, writing=False)
    assert memory.recall() is None
    memory.remember(look(NOON, 1))
    assert not folder.exists()
    state.memory(*KEY).remember(look(NOON, 2))
    assert memory.recall() == look(NOON, 2)
    memory.remember(look(NOON, 3))
    assert recalled(state) == look(NOON, 2)
    assert state.warnings == []


def test_after_the_end_nothing_is_recalled_or_remembered(start: Callable[[], State]) -> None:
    """A worker that was given up may still come."""
    state = start()
    memory = state.memory(*KEY)
    memory.remember(look(NOON, 1))
    state.close()
    state.close()
    memory.remember(look(NOON, 2))
    assert memory.recall() is None
    assert recalled(start()) == look(NOON, 1)
    assert state.warnings == []


# Overlapping runs


@dataclass(frozen=True)
class Span:
    """A run: what it recalls and when, when it lists, when it is remembered."""

    recall: int
    begin: int
    end: int
    remember: int


@dataclass(frozen=True)
class World:
    """When files were stored and taken away, in turn; the runs; and when the listing of each run came to each file."""

    files: Mapping[str, Sequence[int]]
    runs: Sequence[Span]
    reached: Mapping[tuple[int, str], int]

    def has(self, name: str, moment: int) -> bool:
        return sum(change <= moment for change in self.files[name]) % 2 == 1

    def stored(self, name: str, moment: int) -> list[int]:
        """The moments, up to this one, at which it was stored."""
        return [change for change in self.files[name][::2] if change <= moment]


@st.composite
def worlds(draw: st.DrawFn, changes: int) -> World:
    """Few moments, so that much happens at once."""
    moments = st.integers(0, 15)
    names = [digest(number) for number in range(draw(st.integers(1, 2)))]
    files = {name: sorted(draw(st.lists(moments, min_size=1, max_size=changes, unique=True))) for name in names}
    runs = [Span(*sorted(draw(st.tuples(moments, moments, moments, moments)))) for _ in range(draw(st.integers(2, 4)))]
    reached = {(number, name): draw(st.integers(run.begin, run.end)) for number, run in enumerate(runs) for name in names}
    return World(files, runs, reached)


def moment_of(number: int) -> datetime:
    return NOON + timedelta(seconds=number)


def number_of(moment: datetime) -> int:
    return round((moment - NOON).total_seconds())


def seen_by(world: World, number: int, past: Past | None) -> Past:
    """The look of a store that tells no times: what the last look had not was stored since."""
    run = world.runs[number]
    old = past.folders["snapshots"] if past else {}
    after = past.looked if past else None
    names = [name for name in world.files if world.has(name, world.reached[number, name])]
    snapshots = {name: old.get(name) or Stored(name, after, moment_of(run.end)) for name in names}
    return Past(moment_of(run.begin), {"snapshots": snapshots})


def check(world: World, past: Past, now: int) -> None:
    """Both promises of the module, `now`."""
    for name, file in past.folders["snapshots"].items():
        times = world.stored(name, now)
        assert times, "never stored"
        assert file.after is None or number_of(file.after) <= times[-1], "looks younger than it is"
        assert times[0] <= number_of(file.before), "looks older than it ever was"
        assert file.after is None or file.after <= file.before
    for name in world.files.keys() - past.folders["snapshots"].keys():
        assert not world.has(name, now) or world.stored(name, now)[-1] > number_of(past.looked), "was overlooked"


counter = iter(range(10**9))


def play(world: World, states: tuple[State, State]) -> None:
    key = ("web", f"/srv/{next(counter)}")
    memories = [states[number % 2].memory(*key) for number in range(len(world.runs))]
    pasts: dict[int, Past | None] = {}
    steps = [(run.recall, False, number) for number, run in enumerate(world.runs)]
    steps += [(run.remember, True, number) for number, run in enumerate(world.runs)]
    for now, remembering, number in sorted(steps):
        if remembering:
            seen = seen_by(world, number, pasts[number])
            check(world, seen, now)
            memories[number].remember(seen)
            kept = recalled(states[0], key)
            assert kept is not None
            check(world, kept, now)
        else:
            pasts[number] = memories[number].recall()


@given(world=worlds(changes=2))
@settings(max_examples=300, deadline=None)
def test_what_is_stored_is_true_however_runs_overlap(shared: tuple[State, State], world: World) -> None:
    """Files are stored once, and may be taken away: `after` and `before` enclose the moment."""
    play(world, shared)


@given(world=worlds(changes=5))
@settings(max_examples=300, deadline=None)
def test_a_file_that_is_stored_again_never_looks_younger_than_it_is(shared: tuple[State, State], world: World) -> None:
    play(world, shared)


def test_a_file_that_came_back_between_two_looks_is_not_taken_for_a_new_one(shared: tuple[State, State]) -> None:
    """Two runs recall it; it goes; one looks; it comes back; the other looks and is remembered first."""
    first, one, other, last = Span(0, 1, 1, 1), Span(2, 4, 4, 8), Span(2, 6, 6, 7), Span(9, 9, 9, 9)
    reached = {(number, digest(0)): run.end for number, run in enumerate((first, one, other, last))}
    play(World({digest(0): [0, 3, 5]}, (first, one, other, last), reached), shared)


def test_two_runs_at_once_keep_what_both_have_found(start: Callable[[], State]) -> None:
    start().memory(*KEY).remember(look(NOON, 1, noted=["old"]))
    one, other = start().memory(*KEY), start().memory(*KEY)
    one.recall()
    other.recall()
    other.remember(look(NOON + 2 * HOUR, 1, 2, noted=["old", "from the other"]))
    one.remember(look(NOON + HOUR, 1, 3, noted=["from one"]))
    assert recalled(start()) == look(NOON + HOUR, 1, 2, 3, noted=["from one", "from the other"])


def test_of_two_bounds_of_one_file_the_narrower_count(start: Callable[[], State]) -> None:
    def with_bounds(at: datetime, after: datetime | None, before: datetime) -> Past:
        return Past(at, {"snapshots": {digest(1): stored(digest(1), after, before)}})

    for other, one, kept in (
        ((None, NOON), (NOON - HOUR, NOON + HOUR), (NOON - HOUR, NOON)),
        ((NOON - HOUR, NOON), (NOON - 2 * HOUR, NOON - HOUR), (NOON - HOUR, NOON - HOUR)),
        ((NOON, NOON), (None, NOON + HOUR), (NOON, NOON)),
        ((NOON, NOON), (NOON + HOUR, NOON + HOUR), (NOON + HOUR, NOON + HOUR)),  # stored twice: the look's own count
    ):
        state = start()
        key = ("web", str(kept))
        state.memory(*key).remember(with_bounds(NOON + HOUR, *other))
        state.memory(*key).remember(with_bounds(NOON + 2 * HOUR, *one))  # has recalled nothing
        assert recalled(state, key) == with_bounds(NOON + 2 * HOUR, *kept)


def test_a_clock_that_was_set_back_makes_a_bound_unknown(start: Callable[[], State]) -> None:
    """The look before was in the year 2030, as its clock said."""
    state = start()
    state.memory(*KEY).remember(Past(NOON, {"snapshots": {digest(1): stored(digest(1), NOON + 40_000 * HOUR, NOON)}}))
    assert recalled(state) == Past(NOON, {"snapshots": {digest(1): stored(digest(1), None, NOON)}})


def test_threads_share_a_state(start: Callable[[], State]) -> None:
    state = start()

    def work(number: int) -> None:
        for turn in range(5):
            memory = state.memory("web", f"/srv/{number}")
            past = memory.recall()
            assert past == (look(NOON + turn * HOUR, number, turn) if turn else None)
            memory.remember(look(NOON + (turn + 1) * HOUR, number, turn + 1))

    with ThreadPoolExecutor(64) as workers:
        list(workers.map(work, range(100, 264)))
    assert state.warnings == []


PROGRAM = """
import os, sys
from datetime import UTC, datetime, timedelta
from restic_monitor.model import Past, Stored
from restic_monitor.state import State
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = ("web", "s3:https://s3.example.com/web")
def look(at, *numbers):
    files = {f"{number:064x}": NOON - timedelta(seconds=number) for number in numbers}
    return Past(at, {"keys": {}, "locks": {}, "snapshots": {n: Stored(n, m, m) for n, m in files.items()}})
state = State(os.environ)
"""


def child(folder: Path, work: str, *before: str) -> subprocess.Popen[str]:
    """A process that has `state` in `folder`, and does this."""
    return subprocess.Popen(
        [*before, sys.executable, "-c", PROGRAM + work],
        env={"STATE_DIRECTORY": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )


def said_by(process: subprocess.Popen[str]) -> list[str]:
    with process:
        stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return stdout.splitlines()


def test_processes_that_begin_at_once_share_a_state(folder: Path, start: Callable[[], State]) -> None:
    work = """
for turn in range(30):
    for key in (KEY, ("own", str(os.getpid()))):
        memory = state.memory(*key)
        memory.recall()
        memory.remember(look(NOON + timedelta(hours=turn), os.getpid(), 10**9 + turn))
print(os.getpid(), *state.warnings)
state.close()
"""
    pids = [int(line) for process in [child(folder, work) for _ in range(5)] for line in said_by(process)]
    assert len(pids) == 5
    state = start()
    for pid in pids:
        assert recalled(state, ("own", str(pid))) == look(NOON + 29 * HOUR, pid, 10**9 + 29)
    common = recalled(state)
    assert common is not None
    assert common.folders["snapshots"].keys() & {digest(pid) for pid in pids}


def test_a_process_that_is_killed_leaves_one_look_or_the_other(folder: Path, start: Callable[[], State]) -> None:
    work = """
memory = state.memory(*KEY)
memory.recall()
print("begun", flush=True)
while True:
    memory.remember(look(NOON, *range(300)))
    memory.remember(look(NOON + timedelta(hours=1), *range(150, 450)))
"""
    chance = random.Random(7)
    looks = (None, look(NOON, *range(300)), look(NOON + HOUR, *range(150, 450)))
    for _ in range(8):
        with child(folder, work) as process:
            assert process.stdout
            assert process.stdout.readline() == "begun\n"
            time.sleep(chance.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
        state = start()
        assert recalled(state) in looks
        state.close()
        assert state.warnings == []
    with contextlib.closing(sqlite3.connect(folder / "state.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# Damage


def random_bytes(file: Path) -> None:
    file.write_bytes(random.Random(7).randbytes(20_000))


def half_of_it(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def a_few_bytes(file: Path) -> None:
    os.truncate(file, 50)


def a_page_of_zeros(file: Path) -> None:
    with file.open("r+b") as stream:
        for page in range(1, file.stat().st_size // 4096):
            stream.seek(page * 4096)
            stream.write(bytes(4096))


def other_tables(file: Path) -> None:
    file.unlink()
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE bookmarks (url TEXT)")


def a_missing_table(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("DROP TABLE files")


def a_row_of_nonsense(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE repositories SET folders = 'nonsense'")
        database.commit()


def a_moment_beyond_all_calendars(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE files SET before = 9000000000000000000")
        database.commit()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (random_bytes, "file is not a database"),
        (a_few_bytes, "database disk image is malformed"),
        (half_of_it, "database disk image is malformed"),
        (a_page_of_zeros, "database disk image is malformed"),
        (other_tables, "it is not a state of restic-monitor"),
        (a_missing_table, "no such table: files"),
        (a_row_of_nonsense, "what it holds makes no sense"),
        (a_moment_beyond_all_calendars, "what it holds makes no sense"),
    ],
)
@pytest.mark.parametrize("first", ["recall", "remember"])
def test_a_damaged_file_is_set_aside_and_begun_anew(
    start: Callable[[], State], folder: Path, damage: Callable[[Path], None], reason: str, first: str
) -> None:
    file = made(folder, look(NOON, *range(500)))
    damage(file)
    old = file.read_bytes()
    state = start()
    if first == "recall":
        assert recalled(state) is None
    state.memory(*KEY).remember(look(NOON + HOUR, 1))
    assert recalled(state) == look(NOON + HOUR, 1)
    state.close()
    assert state.warnings == [
        f"{file} was damaged ({reason}), so what was remembered is lost and begins anew: "
        f"remove {file}.damaged once nobody needs it"
    ]
    aside = Path(f"{file}.damaged").read_bytes()
    assert aside == old or reason.startswith("it is not") or len(aside) == len(old)
    later = start()
    assert recalled(later) == look(NOON + HOUR, 1)
    assert later.warnings == []


def test_a_file_that_is_damaged_while_it_is_in_use_costs_what_was_remembered(start: Callable[[], State], folder: Path) -> None:
    file = made(folder, look(NOON, *range(500)))
    state = start()
    memory = state.memory(*KEY)
    assert memory.recall() == look(NOON, *range(500))
    half_of_it(file)
    memory.remember(look(NOON + HOUR, *range(1, 501)))
    assert recalled(start()) in (look(NOON + HOUR, *range(1, 501)), None)
    assert all("damaged" in warning for warning in state.warnings)


def test_an_empty_file_is_a_new_one(start: Callable[[], State], folder: Path) -> None:
    """A run that was killed at the wrong moment leaves it."""
    folder.mkdir()
    (folder / "state.sqlite").touch()
    state = start()
    assert recalled(state) is None
    state.memory(*KEY).remember(look(NOON, 1))
    assert recalled(state) == look(NOON, 1)
    assert state.warnings == []


def test_the_log_of_a_damaged_file_goes_with_it(start: Callable[[], State], folder: Path) -> None:
    """It would be replayed into the new one."""
    made(folder, look(NOON, *range(500)))
    state = start()
    memory = state.memory(*KEY)
    memory.recall()
    memory.remember(look(NOON, *range(501)))
    log = (folder / "state.sqlite-wal").read_bytes()
    state.close()
    random_bytes(folder / "state.sqlite")
    (folder / "state.sqlite-wal").write_bytes(log)
    anew = start()
    assert recalled(anew) is None
    anew.memory("db", "/srv/db").remember(look(NOON, 2))
    assert recalled(anew) is None
    assert recalled(start(), ("db", "/srv/db")) == look(NOON, 2)
    assert len(anew.warnings) == 1


def test_a_damaged_file_that_another_run_has_open_is_left_alone(start: Callable[[], State], folder: Path) -> None:
    """SQLite removes the log of a file by its name, also when another file has that name by now."""
    file = made(folder, look(NOON, 1))
    other = start()
    assert recalled(other) == look(NOON, 1)
    random_bytes(file)
    state = start()
    assert recalled(state) is None
    state.memory(*KEY).remember(look(NOON, 2))
    assert not Path(f"{file}.damaged").exists()
    assert state.warnings == [
        f"{file} is damaged (file is not a database) and was not set aside (another run uses it), so this run is not "
        "remembered: remove it while no run goes on, and the next run begins anew"
    ]


def test_a_second_damaged_file_takes_the_place_of_the_first(start: Callable[[], State], folder: Path) -> None:
    for number in range(2):
        file = made(folder, look(NOON, number))
        Path(f"{file}.damaged-wal").write_text("of the first")
        file.write_text(f"no database {number}")
        state = start()
        assert recalled(state) is None
        state.close()
        assert Path(f"{file}.damaged").read_text() == f"no database {number}"
        assert not Path(f"{file}.damaged-wal").exists()


def a_folder(path: Path) -> None:
    path.mkdir()


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [a_folder, a_pipe])
def test_what_is_no_file_is_left_alone(start: Callable[[], State], folder: Path, make: Callable[[Path], None]) -> None:
    folder.mkdir()
    make(folder / "state.sqlite")
    state = start()
    assert recalled(state) is None
    state.memory(*KEY).remember(look(NOON, 1))
    assert state.warnings == [
        f"{folder}/state.sqlite cannot be read (it is not a regular file), so no earlier look is known: "
        "let this user read it and its folder, or set STATE_DIRECTORY to another folder, or use --no-state"
    ]
    assert [path.name for path in folder.iterdir()] == ["state.sqlite"]


def test_a_file_of_a_later_version_is_left_alone(start: Callable[[], State], folder: Path) -> None:
    file = made(folder, look(NOON, 1))
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = file.read_bytes()
    for writes_first in (False, True):
        state = start()
        if writes_first:
            state.memory(*KEY).remember(look(NOON, 2))
        assert recalled(state) is None
        state.memory(*KEY).remember(look(NOON, 2))
        assert state.warnings == [
            f"{file} was written by a later restic-monitor (its version is {VERSION + 1}, this one knows {VERSION}), "
            "so this run is not remembered: update this one, or set STATE_DIRECTORY to another folder, or use --no-state"
        ]
    assert file.read_bytes() == before


# A file of an earlier version

OPENED = {"snapshots": {digest(1): Opened(digest(1), 300, NOON, snapshot=Snapshot(digest(1), NOON, "web1", ("/srv",)))}}
VERSION_1 = """
CREATE TABLE repositories (id INTEGER PRIMARY KEY, name TEXT NOT NULL, identity TEXT NOT NULL, revision INTEGER NOT NULL,
    looked INTEGER NOT NULL, folders TEXT NOT NULL, noted TEXT NOT NULL, UNIQUE (name, identity));
CREATE TABLE files (repository INTEGER NOT NULL, folder TEXT NOT NULL, name NOT NULL, after INTEGER,
    before INTEGER NOT NULL, PRIMARY KEY (repository, folder, name)) WITHOUT ROWID;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
"""


def of_version_1(folder: Path) -> tuple[Path, Past]:
    """A file as it was written before there was a native reader, and what it says of `KEY`. `db` is in it, too."""
    folder.mkdir(mode=0o700)
    file = folder / "state.sqlite"
    noon = int(NOON.timestamp() * 1_000_000)
    repositories = [(1, *KEY, 4711, noon, '["keys","locks","proved","snapshots"]', '["told once"]')]
    repositories += [(2, "db", "/srv/db", 4712, noon, '["snapshots"]', "[]")]
    files = [
        (1, "keys", bytes.fromhex(digest(1)), noon, noon),
        (1, "proved", bytes.fromhex(digest(1)), noon - 3_600_000_000, noon - 3_600_000_000),
        (1, "proved", bytes.fromhex(digest(2)), 0, 0),
        (1, "snapshots", bytes.fromhex(digest(1)), None, noon),
        (1, "snapshots", bytes.fromhex(digest(2)), noon - 1, noon),
        (1, "snapshots", "no digest", noon, noon),
        (2, "snapshots", bytes.fromhex(digest(9)), noon, noon),
    ]
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.executescript(VERSION_1)
        database.executemany("INSERT INTO repositories VALUES (?, ?, ?, ?, ?, ?, ?)", repositories)
        database.executemany("INSERT INTO files VALUES (?, ?, ?, ?, ?)", files)
        database.commit()
    bounds = {digest(1): (None, NOON), digest(2): (NOON - timedelta(microseconds=1), NOON), "no digest": (NOON, NOON)}
    folders = {
        "keys": {digest(1): stored(digest(1), NOON, NOON)},
        "locks": {},
        "snapshots": {name: stored(name, *both) for name, both in bounds.items()},
    }
    return file, Past(NOON, folders, frozenset(["told once"]), {digest(1): NOON - HOUR, digest(2): None})


def version_of(file: Path) -> int:
    with contextlib.closing(sqlite3.connect(file)) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


def test_a_file_of_version_1_is_read_on_and_nothing_is_lost(start: Callable[[], State], folder: Path) -> None:
    file, past = of_version_1(folder)
    state = start()
    memory = state.memory(*KEY)
    assert memory.recall() == past
    memory.remember(replace(past, looked=NOON + HOUR, opened=OPENED))
    for run in (state, start()):
        assert recalled(run) == replace(past, looked=NOON + HOUR, opened=OPENED)
        assert recalled(run, ("db", "/srv/db")) == Past(NOON, {"snapshots": {digest(9): stored(digest(9), NOON, NOON)}})
        assert run.warnings == []
    assert version_of(file) == VERSION


def test_what_a_look_that_had_recalled_nothing_adds_to_a_file_of_version_1_loses_nothing(
    start: Callable[[], State], folder: Path
) -> None:
    file, past = of_version_1(folder)
    state = start()
    state.memory("new", "/srv/new").remember(replace(look(NOON, 3), opened=OPENED))
    assert (recalled(state), version_of(file)) == (past, VERSION)
    assert recalled(state, ("new", "/srv/new")) == replace(look(NOON, 3), opened=OPENED)
    assert state.warnings == []


def test_runs_that_begin_with_a_file_of_version_1_at_once_bring_it_to_ours_together(
    start: Callable[[], State], folder: Path
) -> None:
    file, past = of_version_1(folder)
    work = """
memory = state.memory("own", str(os.getpid()))
memory.recall()
memory.remember(look(NOON, os.getpid()))
print(os.getpid(), *state.warnings)
state.close()
"""
    pids = [int(line) for process in [child(folder, work) for _ in range(4)] for line in said_by(process)]
    state = start()
    assert [recalled(state, ("own", str(pid))) for pid in pids] == [look(NOON, pid) for pid in pids]
    assert (recalled(state), version_of(file)) == (past, VERSION)


def test_a_file_of_version_1_is_recalled_as_it_is_where_nothing_is_to_be_written(
    start: Callable[[], State], folder: Path
) -> None:
    file, past = of_version_1(folder)
    memory = start().memory(*KEY, writing=False)
    assert memory.recall() == past
    memory.remember(look(NOON + HOUR, 3))
    assert (memory.recall(), version_of(file)) == (past, 1)


# What is too much


def many_paths(files: int, paths: int, length: int) -> Mapping[str, Mapping[str, Opened]]:
    """The same in each: nothing of it shall be written or recalled that does not find room."""
    names, listed = [digest(number) for number in range(files)], tuple(["x" * length] * paths)
    return {"snapshots": {name: Opened(name, 300, NOON, snapshot=Snapshot(name, NOON, "web1", listed)) for name in names}}


@pytest.mark.parametrize(("files", "paths", "length"), [(700, 2_000, 100), (80, 60_000, 1)], ids=["letters", "texts"])
def test_what_was_read_of_more_than_memory_is_for_is_read_again_until_it_is_less(
    start: Callable[[], State], folder: Path, files: int, paths: int, length: int
) -> None:
    past = look(NOON, 1)
    start().memory(*KEY).remember(replace(past, opened=many_paths(files, paths, length)))
    for hours in range(1, 3):
        memory = start().memory(*KEY)
        found = memory.recall()
        assert found
        assert found.folders == past.folders
        assert sum(len(each.snapshot.paths) for each in found.opened.get("snapshots", {}).values() if each.snapshot) < 5_000_000
        memory.remember(replace(past, looked=NOON + hours * HOUR, opened=many_paths(files, paths, length)))
        assert (folder / "state.sqlite").stat().st_size < 350 * 1024 * 1024
    memory = start().memory(*KEY)
    memory.recall()
    memory.remember(replace(past, looked=NOON + 9 * HOUR, opened=OPENED))
    assert recalled(start()) == replace(past, looked=NOON + 9 * HOUR, opened=OPENED)


# Places where nothing can be written, or read


WRITE_ELSEWHERE = "let this user write it and its folder, or set STATE_DIRECTORY to another folder, or use --no-state"


def powerless() -> list[str]:
    """What to put before a command so that it minds permissions, also when root runs it."""
    if os.geteuid() != 0:
        return []
    words = [str(require("setpriv")), "--bounding-set=-all", "--inh-caps=-all"]
    if subprocess.run([*words, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this is root, who may write everywhere and cannot give that up here")
    return words


WORK = """
memory = state.memory(*KEY)
past = memory.recall()
print(len(past.folders["snapshots"]) if past else None)
memory.remember(look(NOON, 1, 2))
memory.remember(look(NOON, 1, 2, 3))
print(*state.warnings, sep="\\n")
state.close()
"""


@pytest.mark.parametrize("sealed", ["folder", "file", "both"])
def test_what_may_only_be_read_is_recalled_and_a_warning_says_that_no_more_is_remembered(
    start: Callable[[], State], folder: Path, sealed: str
) -> None:
    file = made(folder, look(NOON, 1))
    if sealed != "folder":
        file.chmod(0o400)
    if sealed != "file":
        folder.chmod(0o500)
    said = said_by(child(folder, WORK, *powerless()))
    folder.chmod(0o700)
    reason = "attempt to write a readonly database"
    assert said == ["1", f"{file} cannot be written ({reason}), so this run is not remembered: {WRITE_ELSEWHERE}"]
    assert recalled(start()) == look(NOON, 1)


def test_a_folder_that_may_not_be_entered_is_a_warning(folder: Path) -> None:
    file = made(folder, look(NOON, 1))
    folder.chmod(0)
    said = said_by(child(folder, WORK, *powerless()))
    folder.chmod(0o700)
    assert said == [
        "None",
        f"{file} cannot be read (Permission denied), so no earlier look is known: "
        "let this user read it and its folder, or set STATE_DIRECTORY to another folder, or use --no-state",
    ]


def test_a_folder_that_cannot_be_made_is_a_warning(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    said = said_by(child(tmp_path / "a" / "b", WORK, *powerless()))
    tmp_path.chmod(0o700)
    assert said == [
        "None",
        f"{tmp_path}/a/b/state.sqlite cannot be written (Permission denied), so this run is not remembered: {WRITE_ELSEWHERE}",
    ]


def test_a_file_where_a_folder_should_be_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    state = State({"STATE_DIRECTORY": str(tmp_path / "a" / "b")})
    assert recalled(state) is None
    state.memory(*KEY).remember(look(NOON, 1))
    state.memory(*KEY).remember(look(NOON, 1))
    assert len(state.warnings) == 1
    assert (
        f"{tmp_path}/a/b/state.sqlite cannot be written (Not a directory), so this run is not remembered" in state.warnings[0]
    )


def test_a_python_without_sqlite_is_a_warning() -> None:
    """Debian's python3-minimal has none, nor one that was built without its headers."""
    assert said_by(child(Path("/nowhere"), "sys.modules['sqlite3'] = None\n" + WORK)) == [
        "None",
        "this Python has no sqlite3, so this run is not remembered: install Python's sqlite3, or use --no-state",
    ]


def test_a_full_disk_is_a_warning_and_the_past_stays(start: Callable[[], State], folder: Path) -> None:
    file = made(folder, look(NOON, 1))
    work = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
memory = state.memory(*KEY)
memory.recall()
memory.remember(look(NOON, *range(20_000)))
print(len(memory.recall().folders["snapshots"]), *state.warnings)
"""
    (said,) = said_by(child(folder, work))
    assert said.startswith(f"1 {file} cannot be written (")
    assert recalled(start()) == look(NOON, 1)


def test_another_program_that_keeps_the_file_is_a_warning_and_reading_goes_on(
    start: Callable[[], State], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restic_monitor.state.file, "BUSY_SECONDS", 0.1)
    file = made(folder, look(NOON, 1))
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        state = start()
        assert recalled(state) == look(NOON, 1)
        state.memory(*KEY).remember(look(NOON, 2))
        assert recalled(state) == look(NOON, 1)
        assert state.warnings == [
            f"{file} cannot be written (database is locked), so this run is not remembered: {WRITE_ELSEWHERE}"
        ]


def test_a_disk_that_hangs_stops_nobody_else(start: Callable[[], State], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restic_monitor.state, "_HANG_SECONDS", 0.1)
    monkeypatch.setattr(restic_monitor.state, "_CLOSE_SECONDS", 0.1)
    made(folder, look(NOON, 1))
    state, healed, hanging = start(), threading.Event(), threading.Event()

    def hang(connection: sqlite3.Connection) -> None:
        hanging.set()
        healed.wait(10)

    worker = threading.Thread(target=state.use, args=(hang,), kwargs={"writing": False})
    worker.start()
    hanging.wait(10)
    assert recalled(state) is None
    state.memory(*KEY).remember(look(NOON, 2))
    state.close()
    assert state.warnings == [
        f"{folder}/state.sqlite does not answer, so this run is not remembered: look after its disk, "
        "or set STATE_DIRECTORY to another folder, or use --no-state"
    ]
    healed.set()
    worker.join()


# The place


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({"STATE_DIRECTORY": "/var/lib/restic-monitor"}, "/var/lib/restic-monitor/state.sqlite"),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "XDG_STATE_HOME": "/x"}, "/var/lib/a/state.sqlite"),
        ({"STATE_DIRECTORY": ":/var/lib/b"}, "/var/lib/b/state.sqlite"),
        ({"STATE_DIRECTORY": "", "XDG_STATE_HOME": "/x", "HOME": "/home/u"}, "/x/restic-monitor/state.sqlite"),
        ({"XDG_STATE_HOME": "x", "HOME": "/home/u"}, "/home/u/.local/state/restic-monitor/state.sqlite"),
        ({"XDG_STATE_HOME": "", "HOME": "/home/u"}, "/home/u/.local/state/restic-monitor/state.sqlite"),
        ({"HOME": "/home/u"}, "/home/u/.local/state/restic-monitor/state.sqlite"),
    ],
)
def test_the_place_is_where_systemd_or_the_user_wants_it(environment: Mapping[str, str], path: str) -> None:
    assert place(environment) == Path(path)


@pytest.mark.parametrize("environment", [{}, {"HOME": ""}, {"HOME": "relative"}])
def test_a_home_known_to_the_system_alone_is_a_home(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """cron and systemd may run a job without $HOME."""
    monkeypatch.delenv("HOME")
    assert place(environment) == Path.home() / ".local" / "state" / "restic-monitor" / "state.sqlite"


def test_a_user_without_a_home_is_told_what_to_set() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become a user whom the system does not know")
    work = "import sqlite3\nos.setuid(4_000_000)\nstate = State({})\n" + WORK
    assert said_by(child(Path("/nowhere"), work)) == [
        "None",
        "state.sqlite cannot be read (no home folder is known), so no earlier look is known: "
        "let this user read it and its folder, or set STATE_DIRECTORY to another folder, or use --no-state",
    ]


def test_folders_and_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        state = State({"XDG_STATE_HOME": str(tmp_path / "home" / "state")})
        state.memory(*KEY).remember(look(NOON, 1))
        place_of_it = tmp_path / "home" / "state" / "restic-monitor"
        files = {path.name: mode(path) for path in place_of_it.iterdir()}
        state.close()
    finally:
        os.umask(before)
    assert files == {"state.sqlite": 0o600, "state.sqlite-wal": 0o600, "state.sqlite-shm": 0o600}
    assert [mode(path) for path in (tmp_path / "home", tmp_path / "home" / "state", place_of_it)] == [0o700] * 3


def test_a_file_that_others_may_read_is_closed_to_them(start: Callable[[], State], folder: Path) -> None:
    file = made(folder, look(NOON, 1))
    file.chmod(0o644)
    folder.chmod(0o755)  # systemd's, or the user's: not ours to change
    state = start()
    assert recalled(state) == look(NOON, 1)
    assert (mode(file), mode(folder)) == (0o600, 0o755)


def test_a_path_with_the_signs_of_an_address_is_a_path(tmp_path: Path) -> None:
    for name in ("100%41", "a?mode=memory", "b#c", "d e", "ü", "e;f&g"):
        file = made(tmp_path / name, look(NOON, 1))
        assert file.stat().st_size > 0
        state = State({"STATE_DIRECTORY": str(tmp_path / name)})
        assert recalled(state) == look(NOON, 1)
        state.close()


def test_a_relative_folder_is_where_the_program_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made(Path("here"), look(NOON, 1))
    assert (tmp_path / "here" / "state.sqlite").exists()


def test_a_state_that_nobody_asks_costs_no_start_up() -> None:
    work = "state.memory(*KEY)\nprint('sqlite3' in sys.modules)"
    assert said_by(child(Path("/nowhere"), work)) == ["False"]
