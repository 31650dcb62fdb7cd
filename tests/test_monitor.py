"""A run: limits, looks that hang, bugs in a part, and pushes that hold nothing up."""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from conftest import Run
from desk import ASLEEP, FRESH, STALE, Desk
from kuma import Kuma
from restic_monitor.checks.freshness import Freshness
from restic_monitor.http import Http
from restic_monitor.model import (
    Check,
    Code,
    Delivery,
    Event,
    Line,
    Looking,
    NoTimesError,
    Observation,
    ProbeError,
    Receiver,
    Repository,
    Result,
    Snapshot,
    Status,
    Verdict,
    Watch,
)
from restic_monitor.monitor import Monitor
from restic_monitor.receivers.dry import Dry
from restic_monitor.receivers.uptime_kuma import UptimeKuma, address
from restic_monitor.recency import MaxAge

SECRET = "nobody may see this"
DAY = Freshness(MaxAge(timedelta(days=1), "1d"))


@dataclass(frozen=True)
class Seeing:
    """A probe that does something, then sees one fresh snapshot."""

    do: Callable[[float], object] = lambda deadline: None
    source: str = "test"
    heavy: bool = True

    def observe(self, deadline: float) -> Observation:
        self.do(deadline)
        return Observation(self.source, (Snapshot("a1b2c3d4", now := datetime.now(UTC), proved=now),), ())


@dataclass(frozen=True)
class Judging:
    do: Callable[[], Verdict]

    def judge(self, seen: Observation, now: datetime) -> Verdict:
        return self.do()


@dataclass(frozen=True)
class Telling:
    """A receiver that does something; what it tells is in `told`."""

    do: Callable[[Result], Delivery] = lambda result: Delivery(True)
    told: list[Result] = field(default_factory=list)

    def send(self, result: Result) -> Delivery:
        self.told.append(result)
        return self.do(result)

    def preview(self, result: Result) -> str:
        return "told"


def fail(*_: object) -> None:
    raise KeyError(SECRET)


def repository(
    name: str,
    do: Callable[[float], object] = lambda deadline: None,
    receivers: Sequence[Receiver] = (),
    checks: Sequence[Check] = (DAY,),
    seconds: float = 5,
    heavy: bool = True,
) -> Repository:
    watch = Watch(name, tuple(checks), tuple(receivers))
    return Repository(name, Seeing(do, heavy=heavy), watch, timedelta(seconds=seconds))


def last(events: Sequence[Event]) -> dict[str, Result]:
    return {event.watch.name: event for event in events if isinstance(event, Result)}


def run_all(*repositories: Repository, jobs: int = 8, connections: int = 8) -> tuple[Monitor, dict[str, Result]]:
    monitor = Monitor(repositories, jobs=jobs, connections=connections)
    return monitor, last(list(monitor.run()))


@pytest.fixture
def desk(run: Run) -> Desk:
    return Desk(run)


# the order of things


def test_a_result_comes_when_it_is_judged_and_again_when_it_was_told() -> None:
    monitor = Monitor([repository("a", receivers=[Telling()])], jobs=1, connections=1)
    begun, judged, told = monitor.run()
    assert begun == Looking("a")
    assert isinstance(judged, Result)
    assert isinstance(told, Result)
    assert (judged.deliveries, told.deliveries) == (None, (Delivery(True),))
    assert judged.status is Status.UP


def test_several_receivers_are_all_told_and_their_deliveries_keep_their_order() -> None:
    def slow(result: Result) -> Delivery:
        time.sleep(0.1)
        return Delivery(False, "first")

    _, results = run_all(repository("a", receivers=[Telling(slow), Telling()]))
    assert results["a"].deliveries == (Delivery(False, "first"), Delivery(True))
    assert not results["a"].told


def test_a_result_without_receivers_is_told_to_nobody() -> None:
    _, results = run_all(repository("a"))
    assert results["a"].deliveries == ()
    assert results["a"].told


def test_a_probe_error_is_unknown_with_its_reason_and_pushed() -> None:
    def refuse(_: float) -> None:
        raise ProbeError(Code.UNREACHABLE, "no route to host")

    receiver = Telling()
    monitor, results = run_all(repository("a", refuse, [receiver]))
    assert results["a"].status is Status.UNKNOWN
    assert [result.message for result in receiver.told] == ["UNREACHABLE no route to host"]
    assert not monitor.bugs


# limits


class Gauge:
    """How many are inside at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = self.most = self.all = 0

    def __call__(self, *_: object) -> Delivery:
        with self._lock:
            self._inside += 1
            self.all += 1
            self.most = max(self.most, self._inside)
        time.sleep(0.05)
        with self._lock:
            self._inside -= 1
        return Delivery(True)


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_looks_than_jobs_and_no_more_pushes_than_connections(limit: int) -> None:
    looks, pushes = Gauge(), Gauge()
    repositories = [repository(f"r{number}", looks, [Telling(pushes)] * 3) for number in range(6)]
    run_all(*repositories, jobs=limit, connections=limit)
    assert (looks.most, looks.all) == (limit, 6)
    assert (pushes.most, pushes.all) == (limit, 18)


@pytest.mark.parametrize("jobs", [1, 3])
def test_restic_runs_as_often_at_once_as_jobs_says(desk: Desk, jobs: int) -> None:
    log = desk.folder / "log"
    script = f"echo + >>{log}; sleep 0.15; echo - >>{log}; {FRESH}"
    desk.configure({f"r{number}": script for number in range(6)}, jobs=str(jobs))
    assert desk().returncode == 0
    marks = log.read_text().split()
    running = list(itertools.accumulate(1 if mark == "+" else -1 for mark in marks))
    assert (len(marks), max(running)) == (12, jobs)


def test_connections_limits_the_pushes_at_once(desk: Desk, kuma: Kuma) -> None:
    kuma.delay_seconds = 0.2
    names = [f"r{number}" for number in range(6)]
    desk.configure(dict.fromkeys(names, FRESH), {name: kuma.add_monitor() for name in names}, kuma.url, connections="2")
    assert desk().returncode == 0
    moments = sorted(beat.at for beat in kuma.beats)
    assert moments[-1] - moments[0] >= timedelta(seconds=0.35), "three rounds of two"


def test_pushes_never_hold_up_a_look(kuma: Kuma) -> None:
    """Uptime Kuma takes half a second for an answer: six looks, one at a time, are over long before."""
    kuma.delay_seconds = 0.5
    http, looked = Http({}), list[float]()
    receivers = [UptimeKuma(http, found) for _ in range(6) if (found := address(kuma.url, kuma.add_monitor()))]
    repositories = [repository(f"r{n}", lambda _: looked.append(time.monotonic()), [each]) for n, each in enumerate(receivers)]
    began = time.monotonic()
    _, results = run_all(*repositories, jobs=1, connections=2)
    assert len(looked) == 6
    assert looked[-1] - began < 0.5
    assert time.monotonic() - began >= 1.5
    assert all(result.told for result in results.values())


# lanes: what starts a process, what only asks over the network


def test_heavy_looks_are_as_many_as_jobs_and_light_ones_as_connections() -> None:
    heavy, light = Gauge(), Gauge()
    repositories = [
        *(repository(f"heavy {number}", heavy) for number in range(4)),
        *(repository(f"light {number}", light, heavy=False) for number in range(12)),
    ]
    run_all(*repositories, jobs=1, connections=4)
    assert (heavy.most, heavy.all) == (1, 4)
    assert (light.most, light.all) == (4, 12)


def test_a_heavy_look_holds_up_no_light_one() -> None:
    ended: list[str] = []

    def slow(_: float) -> None:
        time.sleep(0.5)
        ended.append("heavy")

    lights = [repository(f"light {n}", lambda _: ended.append("light"), heavy=False) for n in range(3)]
    run_all(repository("heavy", slow), *lights, jobs=1, connections=1)
    assert ended == ["light"] * 3 + ["heavy"]


def test_workers_are_kept_for_the_next_look_and_the_next_push() -> None:
    workers: dict[str, list[threading.Thread]] = {"look": [], "push": []}

    def send(result: Result) -> Delivery:
        workers["push"].append(threading.current_thread())
        return Delivery(True)

    def do(_: float) -> None:
        workers["look"].append(threading.current_thread())

    run_all(*(repository(f"r{number}", do, [Telling(send)], heavy=False) for number in range(40)), connections=2)
    for threads in workers.values():
        assert len(threads) == 40
        assert len(set(threads)) <= 2


def test_a_worker_that_was_given_up_is_replaced_and_never_used_again() -> None:
    workers: list[threading.Thread] = []
    free_again = threading.Event()

    def hang(_: float) -> None:
        workers.append(threading.current_thread())
        free_again.wait(30)

    def free(_: float) -> None:
        workers.append(threading.current_thread())
        free_again.set()
        time.sleep(0.2)

    def look(_: float) -> None:
        workers.append(threading.current_thread())

    looks = {"hangs": hang, "next": free, "last": look}
    repositories = [repository(name, do, seconds=0.1 if do is hang else 5, heavy=False) for name, do in looks.items()]
    monitor, results = run_all(*repositories, connections=1)
    hung, *others = workers
    assert len(others) == 2
    assert set(others) == {others[0]}
    assert hung not in others
    assert [results[name].status for name in looks] == [Status.UNKNOWN, Status.UP, Status.UP]
    assert not monitor.bugs


# another way to look, where the store tells no times


def no_times(_: float) -> None:
    raise NoTimesError("the server tells no times of its files")


def with_another_way(do: Callable[[float], object], receiver: Telling, number: int = 0) -> Repository:
    watch = Watch(f"r{number}", (DAY,), (receiver,))
    restic = Repository(watch.name, Seeing(do, "restic"), watch, timedelta(seconds=5), ("by the other way",))
    listing = Repository(watch.name, Seeing(no_times, "listing", heavy=False), watch, timedelta(seconds=5))
    return replace(listing, otherwise=restic)


def test_a_store_without_times_is_looked_at_in_the_other_way_which_the_notes_say() -> None:
    receiver = Telling()
    _, results = run_all(with_another_way(lambda _: None, receiver))
    assert (results["r0"].status, results["r0"].source) == (Status.UP, "restic")
    assert results["r0"].notes == ("by the other way", "no listing: the server tells no times of its files")
    assert len(receiver.told) == 1, "told once, of the look that counts"


def test_the_other_way_waits_among_its_like() -> None:
    looks = Gauge()
    run_all(*(with_another_way(looks, Telling(), number) for number in range(6)), jobs=2, connections=6)
    assert (looks.most, looks.all) == (2, 6)


def test_the_other_way_may_fail_too_and_has_no_other_again() -> None:
    def refuse(_: float) -> None:
        raise ProbeError(Code.ERROR, "wrong password")

    _, results = run_all(with_another_way(refuse, Telling()))
    assert (results["r0"].message, results["r0"].source) == ("ERROR wrong password", "restic")
    assert results["r0"].notes[-1].startswith("no listing: ")
    _, results = run_all(with_another_way(no_times, Telling()))
    assert (results["r0"].status, results["r0"].code) == (Status.UNKNOWN, Code.UNKNOWN)


def test_without_another_way_a_store_without_times_is_unknown() -> None:
    _, results = run_all(repository("r0", no_times, heavy=False))
    assert results["r0"].message == "UNKNOWN the server tells no times of its files"


def test_a_repository_without_times_is_one_line_of_the_table_and_two_looks() -> None:
    monitor = Monitor([with_another_way(lambda _: None, Telling())], jobs=1, connections=1)
    events = list(monitor.run())
    assert [event for event in events if isinstance(event, Looking)] == [Looking("r0")] * 2
    assert {event.watch.name for event in events if isinstance(event, Result)} == {"r0"}


# what hangs


def test_a_look_that_outlives_its_limit_is_given_up_and_the_others_are_not_delayed() -> None:
    keep = Telling()
    began = time.monotonic()
    monitor, results = run_all(
        repository("hangs", lambda _: time.sleep(30), [keep], seconds=0.2), *(repository(f"r{n}") for n in range(3)), jobs=1
    )
    assert 2 < time.monotonic() - began < 4
    assert (results["hangs"].status, results["hangs"].code) == (Status.UNKNOWN, Code.UNREACHABLE)
    assert (
        [result.message for result in keep.told] == [results["hangs"].message] == ["UNREACHABLE no answer within 2s; given up"]
    )
    assert [results[f"r{n}"].status for n in range(3)] == [Status.UP] * 3
    assert not monitor.bugs


def test_an_answer_that_comes_after_a_look_was_given_up_changes_nothing() -> None:
    def slowly(result: Result) -> Delivery:
        time.sleep(0.6)
        return Delivery(True)

    receiver = Telling(slowly)
    monitor = Monitor([repository("late", lambda _: time.sleep(2.4), [receiver], seconds=0.1)], jobs=1, connections=1)
    results = [event for event in monitor.run() if isinstance(event, Result)]
    assert [result.status for result in results] == [Status.UNKNOWN] * 2
    assert len(receiver.told) == 1


def test_a_restic_that_sleeps_is_ended_at_its_limit_with_all_its_children(desk: Desk, kuma: Kuma) -> None:
    pid = desk.folder / "pid"
    script = f"sleep 60 & echo $! >{pid}; {ASLEEP}"
    desk.configure({"asleep": script, "fresh": FRESH}, {"asleep": kuma.add_monitor()}, kuma.url, timeout="1s", jobs="1")
    began = time.monotonic()
    done = desk()
    assert time.monotonic() - began < 4
    assert done.returncode == 1
    assert re.search(r"UNKNOWN +asleep +UNREACHABLE no answer within 1s", done.stdout)
    assert re.search(r"UP +fresh ", done.stdout)
    assert [beat.status for beat in kuma.beats] == ["down"]
    assert not alive(int(pid.read_text()))


def alive(pid: int) -> bool:
    """Whether a process that is no child of ours still runs; a zombie does not."""
    for _ in range(40):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return False
        except OSError:
            return False
        time.sleep(0.05)
    return True


# bugs


def test_a_bug_in_a_probe_makes_that_one_unknown_and_the_others_are_told() -> None:
    keep = Telling()
    monitor, results = run_all(repository("broken", fail, [keep]), repository("well", receivers=[keep]))
    assert (results["broken"].status, results["broken"].code) == (Status.UNKNOWN, Code.ERROR)
    assert re.fullmatch(r"ERROR internal error: KeyError in test_monitor.py line \d+", results["broken"].message)
    assert results["well"].status is Status.UP
    assert sorted(result.watch.name for result in keep.told) == ["broken", "well"]
    assert len(monitor.bugs) == 1
    assert SECRET not in f"{monitor.bugs}{results}"


def test_a_bug_in_a_check_makes_that_one_unknown_and_the_others_are_told() -> None:
    def judge() -> Verdict:
        raise KeyError(SECRET)

    monitor, results = run_all(repository("broken", checks=[DAY, Judging(judge)]), repository("well"))
    assert results["broken"].status is Status.UNKNOWN
    assert "internal error: KeyError" in results["broken"].message
    assert results["well"].status is Status.UP
    assert len(monitor.bugs) == 1


def test_a_bug_in_a_receiver_fails_that_push_only() -> None:
    def send(result: Result) -> Delivery:
        raise KeyError(SECRET)

    monitor, results = run_all(repository("a", receivers=[Telling(send), Telling()]), repository("b", receivers=[Telling()]))
    first, second = results["a"].deliveries or ()
    assert re.fullmatch(r"internal error: KeyError in test_monitor.py line \d+", first.message)
    assert second.accepted
    assert results["b"].told
    assert results["a"].status is Status.UP
    assert len(monitor.bugs) == 1
    assert SECRET not in f"{monitor.bugs}{results}"


# an interruption


def test_finish_starts_nothing_more_and_waits_only_a_little_for_pushes_under_way() -> None:
    begun = {"slow": threading.Event(), "quick": threading.Event()}

    def send(result: Result) -> Delivery:
        begun[result.watch.name].set()
        time.sleep(30 if result.watch.name == "slow" else 0.2)
        return Delivery(True)

    def both_begun(_: float) -> None:
        assert all(event.wait(5) for event in begun.values())

    looks: list[str] = []
    repositories = [
        repository("trigger", both_begun),
        *(repository(name, receivers=[Telling(send)]) for name in begun),
        *(repository(f"hangs {number}", lambda _: time.sleep(30)) for number in range(3)),
        repository("never", lambda _: looks.append("never")),
    ]
    monitor = Monitor(repositories, jobs=3, connections=3)
    for event in monitor.run():
        if isinstance(event, Result) and event.watch.name == "trigger":
            break
    began = time.monotonic()
    finished = {result.watch.name: result for result in monitor.finish(0.6)}
    assert time.monotonic() - began < 1.2
    assert finished["quick"].told
    assert finished["slow"].deliveries == (Delivery(False, "no answer; given up"),)
    assert set(finished) == {"quick", "slow"}
    assert "never" not in looks


def test_results_stand_in_configuration_order_whoever_comes_first(desk: Desk) -> None:
    scripts = {"c": f"sleep 0.4\n{FRESH}", "a": f"sleep 0.2\n{STALE}", "b": FRESH}
    desk.configure(scripts, jobs="3")
    done = desk("--format", "json")
    assert [each["name"] for each in json.loads(done.stdout)["results"]] == ["c", "a", "b"]
    done = desk("run", "b", "c", "--format", "json")
    assert [each["name"] for each in json.loads(done.stdout)["results"]] == ["c", "b"]


# expectations


@dataclass(frozen=True)
class Expecting:
    """A line for each name; the last one is down."""

    names: tuple[str, ...]

    def judge(self, seen: Observation, now: datetime) -> tuple[Verdict, tuple[Line, ...]]:
        statuses = dict.fromkeys(self.names, Status.UP) | {self.names[-1]: Status.DOWN}
        lines = [Line(name, (Verdict("x", status, Code.OK, name),), 1) for name, status in statuses.items()]
        return Verdict("expect", Status.DOWN, Code.STALE, "summed up"), tuple(lines)

    def unseen(self, reason: Verdict) -> tuple[Line, ...]:
        return tuple(Line(name, (reason,)) for name in self.names)


def expecting(
    do: Callable[[float], object], receivers: Sequence[Receiver], tell: Mapping[str, Sequence[Receiver]]
) -> Repository:
    watch = Watch(
        "home", (DAY,), tuple(receivers), expect=Expecting(("nas", "db")), tell={k: tuple(v) for k, v in tell.items()}
    )
    return Repository("home", Seeing(do), watch, timedelta(seconds=5))


def test_a_line_is_told_to_its_own_receivers_and_the_repository_to_its() -> None:
    home, db = Telling(), Telling(lambda result: Delivery(False, "lost"))
    _, results = run_all(expecting(lambda deadline: None, [home], {"db": [db]}))
    result = results["home"]
    assert [(line.watch.name, line.status, line.deliveries) for line in result.lines] == [
        ("nas", Status.UP, ()),
        ("db", Status.DOWN, (Delivery(False, "lost"),)),
    ]
    assert (result.message.partition(";")[0], result.deliveries) == ("STALE summed up", (Delivery(True),))
    assert [each.message for each in home.told] == [result.message]
    assert [each.watch.name for each in db.told] == ["db"]


def test_lines_alone_may_have_receivers() -> None:
    db = Telling()
    _, results = run_all(expecting(lambda deadline: None, [], {"db": [db]}))
    assert (results["home"].deliveries, results["home"].lines[1].deliveries) == ((), (Delivery(True),))


def test_when_nobody_could_look_every_line_is_unknown_and_told_why() -> None:
    def refuse(deadline: float) -> None:
        raise ProbeError(Code.UNREACHABLE, "connection refused")

    home, db = Telling(), Telling()
    _, results = run_all(expecting(refuse, [home], {"db": [db]}))
    assert [line.status for line in results["home"].lines] == [Status.UNKNOWN] * 2
    assert [each.message for each in (*home.told, *db.told)] == ["UNREACHABLE connection refused"] * 2


def test_no_push_reaches_the_receivers_of_lines_too() -> None:
    db = Telling()
    dry = expecting(lambda deadline: None, [Telling()], {"db": [db]}).telling(Dry)
    _, results = run_all(dry)
    assert [delivery.message for delivery in results["home"].lines[1].deliveries or ()] == ["would push told"]
    assert db.told == []


def test_a_look_is_kept_when_the_receivers_of_lines_were_told_too() -> None:
    kept = []
    for accepted in (False, True):
        probe = Keeping(lambda: kept.append(accepted))  # noqa: B023 - called at once
        line = Telling(lambda result: Delivery(accepted))  # noqa: B023
        watch = Watch("home", (), (Telling(),), expect=Expecting(("nas", "db")), tell={"db": (line,)})
        run_all(Repository("home", probe, watch, timedelta(seconds=5)))
    assert kept == [True]


@dataclass(frozen=True)
class Keeping:
    keep: Callable[[], None]
    source: str = "test"
    heavy: bool = True

    def observe(self, deadline: float) -> Observation:
        return Observation(self.source, (), (), keep=self.keep)
