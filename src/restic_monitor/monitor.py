"""One run: look, judge, tell, several at once. Knows the protocols, not the players.

Workers are daemon threads, so that one that hangs can be given up; a ThreadPoolExecutor would wait for it at the end.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from restic_monitor.model import (
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
    Watch,
    unknown,
)
from restic_monitor.quantity import format_duration

_LOOK_GRACE_SECONDS = 2.0
"""A look ends by itself at its deadline; one that has not is given up this much later."""
_CHECK_SECONDS = 0.1
"""How late a look or a push that hangs may be given up."""
_PUSH_LIMIT_SECONDS = 240.0
"""Far beyond what `http` allows an answer and its retry: reached only when something hangs that knows no deadline."""


class _Push(Struct, frozen=True):
    """Which receiver is told: of which result, of which of its lines (None: of the result itself), of those receivers."""

    result: int
    line: int | None
    receiver: int


@dataclass(slots=True)
class _Task:
    """Something that a worker does within `seconds`; `limit` is on `time.monotonic`'s scale, set when it begins."""

    work: Callable[[], object]
    seconds: float
    repository: Repository | None = None
    push: _Push | None = None
    begun: float = 0.0
    limit: float = 0.0
    given_up: bool = False

    def begin(self) -> None:
        self.begun = time.monotonic()
        self.limit = self.begun + self.seconds


_Ended = queue.SimpleQueue[tuple[_Task | None, object]]
"""Tasks with their outcomes; None for an end of nothing, which wakes who waits."""


class _Lane:
    """At most `size` tasks at once. A worker that is done takes the next task by itself: to hand it over would cost as much
    as a request. Only the monitor's thread adds tasks to `waiting`, and takes them out of `running`."""

    def __init__(self, size: int, ended: _Ended) -> None:
        self.waiting: deque[_Task] = deque()
        self.running: dict[int, _Task] = {}
        self.begun: deque[_Task] = deque()
        """To be announced."""
        self._size, self._ended = size, ended
        self._idle: deque[queue.SimpleQueue[_Task]] = deque()
        self._workers = 0

    def fill(self) -> None:
        """Begin what waits, as far as there is a place for it."""
        while self.waiting and (self._idle or self._workers < self._size):
            try:
                task = self.waiting.popleft()
            except IndexError:  # a worker was faster
                return
            self._begin(task)
            if self._idle:
                self._idle.popleft().put(task)
            else:
                self._workers += 1
                threading.Thread(target=self._work, args=(task,), daemon=True).start()

    def give_up(self, now: float) -> Iterator[_Task]:
        """Those whose time has passed. Each takes its worker with it."""
        for task in [task for task in list(self.running.values()) if task.limit <= now]:
            del self.running[id(task)]
            task.given_up = True
            self._workers -= 1
            yield task

    def _begin(self, task: _Task) -> None:
        task.begin()
        self.running[id(task)] = task
        self.begun.append(task)

    def _work(self, task: _Task) -> None:
        inbox: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        while True:
            try:
                outcome = task.work()
            except Exception as error:  # noqa: BLE001 - a bug in one part must not silence the others
                outcome = error
            if task.given_up:
                return
            done = task
            try:
                task = self.waiting.popleft()
                self._begin(task)
                self._ended.put((done, outcome))
            except IndexError:
                self._idle.append(inbox)
                self._ended.put((done, outcome))
                task = inbox.get()


class Monitor:
    """Three kinds of work, each with a limit of its own: `jobs` looks that start processes, `connections` looks over the
    network, `connections` pushes; pushes never hold up a look. `bugs` says where the program failed."""

    def __init__(self, repositories: Sequence[Repository], *, jobs: int, connections: int) -> None:
        self.bugs: list[str] = []
        self._stopped = False
        self._ended: _Ended = queue.SimpleQueue()
        self._heavy, self._light, self._pushes = (_Lane(size, self._ended) for size in (jobs, connections, connections))
        self._lanes = (self._heavy, self._light, self._pushes)
        self._checked = time.monotonic()
        self._numbers = iter(range(1 << 62))
        self._results: dict[int, Result] = {}
        self._deliveries: dict[int, dict[_Push, Delivery]] = {}
        self._open = 0
        """Tasks that were queued and have not ended."""
        for repository in repositories:
            self._queue_look(repository)

    def run(self) -> Iterator[Event]:
        """Every watch's Result as soon as it is judged (`deliveries` None), and again when its receivers were told, those of
        its lines included."""
        while self._open and not self._stopped:
            yield from self._fill()
            yield from self._next_end()

    def stop(self) -> None:
        """`run` ends at its next step, having lost nothing that has ended. May be called by a signal handler: SimpleQueue.put
        may."""
        self._stopped = True
        for lane in self._lanes:
            lane.waiting.clear()
        self._ended.put((None, None))

    def finish(self, seconds: float) -> Iterator[Result]:
        """After `stop`: start nothing more, and wait a little for the pushes that are under way."""
        self.stop()
        limit = time.monotonic() + seconds
        for lane in self._lanes:
            for task in list(lane.running.values()):
                task.limit = min(task.limit, limit)
        while self._pushes.running:
            for event in self._next_end(looks=False):
                if isinstance(event, Result):
                    yield event

    # starting

    def _queue_look(self, repository: Repository) -> None:
        seconds = repository.timeout.total_seconds()
        lane = self._heavy if repository.probe.heavy else self._light
        self._queue(lane, _Task(_look(repository, seconds), seconds + _LOOK_GRACE_SECONDS, repository))

    def _queue(self, lane: _Lane, task: _Task) -> None:
        self._open += 1
        lane.waiting.append(task)

    def _fill(self) -> Iterator[Looking]:
        for lane in self._lanes:
            lane.fill()
            while lane.begun:
                if repository := lane.begun.popleft().repository:
                    yield Looking(repository.name)

    # ending

    def _next_end(self, *, looks: bool = True) -> Iterator[Event]:
        try:
            task, outcome = self._ended.get(timeout=_CHECK_SECONDS)
        except queue.Empty:
            task = None
        if task and any(lane.running.pop(id(task), None) for lane in self._lanes):  # else it was given up before
            self._open -= 1
            yield from self._end(task, outcome, looks)
        if time.monotonic() >= self._checked + _CHECK_SECONDS:
            yield from self._give_up(looks)

    def _give_up(self, looks: bool) -> Iterator[Event]:
        self._checked = time.monotonic()
        for lane in self._lanes:
            for task in lane.give_up(self._checked):
                self._open -= 1
                yield from self._end(task, None, looks)

    def _end(self, task: _Task, outcome: object, looks: bool) -> Iterator[Event]:
        if task.push:
            yield from self._told(task.push, self._delivery(outcome))
        elif task.repository and looks:
            if isinstance(outcome, Repository):
                self._queue_look(outcome)
                return
            looked = outcome if isinstance(outcome, _Looked) else _Looked(self._no_result(task.repository, task, outcome))
            yield from self._judged(looked)

    def _no_result(self, repository: Repository, task: _Task, outcome: object) -> Result:
        took = timedelta(seconds=time.monotonic() - task.begun)
        if isinstance(outcome, Exception):
            return _unseen(repository, Code.ERROR, f"internal error: {self._bug(outcome)}", took)
        return _unseen(repository, Code.UNREACHABLE, f"no answer within {format_duration(took)}; given up", took)

    def _delivery(self, outcome: object) -> Delivery:
        if isinstance(outcome, Delivery):
            return outcome
        if isinstance(outcome, Exception):
            return Delivery(False, f"internal error: {self._bug(outcome)}")
        return Delivery(False, "no answer; given up")

    def _bug(self, error: Exception) -> str:
        """What and where, without the exception's text, which may hold a secret."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} in {Path(frame.filename).name} line {frame.lineno}"
        self.bugs.append(where)
        return where

    def _judged(self, looked: _Looked) -> Iterator[Result]:
        number, result = next(self._numbers), looked.result
        if not result.receivers:
            yield _with_deliveries(result, {})
            return
        self._results[number] = result
        self._deliveries[number] = {}
        for line, told in ((None, result), *enumerate(result.lines)):
            for index, receiver in enumerate(told.watch.receivers):
                push = _Push(number, line, index)
                self._queue(self._pushes, _Task(_send(receiver, told, looked), _PUSH_LIMIT_SECONDS, push=push))
        yield result

    def _told(self, push: _Push, delivery: Delivery) -> Iterator[Result]:
        result, deliveries = self._results[push.result], self._deliveries[push.result]
        deliveries[push] = delivery
        if len(deliveries) == result.receivers:
            yield _with_deliveries(result, deliveries)


class _Looked:
    """What a look gave. It is kept for the next one to be compared with once every receiver has taken its result: a warning
    that is given once would otherwise be lost with a push that failed."""

    def __init__(self, result: Result, keep: Callable[[], None] | None = None) -> None:
        self.result = result
        self._keep = keep
        self._untold = result.receivers
        self._lock = threading.Lock()
        if not self._untold:
            self._done()

    def told(self) -> None:
        """One more receiver has taken its result."""
        with self._lock:
            self._untold -= 1
            done = not self._untold
        if done:
            self._done()

    def _done(self) -> None:
        if self._keep:
            self._keep()


def _look(repository: Repository, seconds: float) -> Callable[[], _Looked | Repository]:
    """Looks once; gives a Repository where it is to be looked at in another way."""

    def look() -> _Looked | Repository:
        begun = time.monotonic()
        try:
            seen = repository.probe.observe(begun + seconds)
        except NoTimesError as error:
            if repository.otherwise:
                left = timedelta(seconds=max(1.0, begun + seconds - time.monotonic()))
                notes = (*repository.otherwise.notes, f"no listing: {error.message}")
                return replace(repository.otherwise, notes=notes, timeout=left)
            return _Looked(_unseen(repository, error.code, error.message, timedelta(seconds=time.monotonic() - begun)))
        except ProbeError as error:
            return _Looked(_unseen(repository, error.code, error.message, timedelta(seconds=time.monotonic() - begun)))
        took = timedelta(seconds=time.monotonic() - begun)
        return _Looked(_judge(repository, seen, took, datetime.now(UTC)), seen.keep)

    return look


def _judge(repository: Repository, seen: Observation, took: timedelta, now: datetime) -> Result:
    watch, notes = repository.watch, (*repository.notes, *seen.notes)
    verdicts = tuple(check.judge(seen, now) for check in watch.checks)
    if not watch.expect:
        return Result(watch, verdicts, seen.source, took, _count(seen), notes)
    expected, lines = watch.expect.judge(seen, now)
    results = _lines(watch, lines, seen.source, took)
    return Result(watch, (expected, *verdicts), seen.source, took, _count(seen), notes, lines=results)


def _lines(watch: Watch, lines: Iterable[Line], source: str, took: timedelta) -> tuple[Result, ...]:
    def result(line: Line) -> Result:
        part = Watch(line.name, receivers=watch.tell.get(line.name, ()), max_age=line.max_age)
        return Result(part, line.verdicts, source, took, line.snapshots)

    return tuple(map(result, lines))


def _with_deliveries(result: Result, deliveries: Mapping[_Push, Delivery]) -> Result:
    """The same, with how telling ended: in the order of the receivers."""

    def of(line: int | None) -> tuple[Delivery, ...]:
        found = ((push.receiver, delivery) for push, delivery in deliveries.items() if push.line == line)
        return tuple(delivery for _, delivery in sorted(found, key=lambda pair: pair[0]))

    lines = tuple(replace(line, deliveries=of(index)) for index, line in enumerate(result.lines))
    return replace(result, deliveries=of(None), lines=lines)


def _count(seen: Observation) -> int | None:
    if seen.snapshots is not None:
        return len(seen.snapshots)
    return None if seen.stored is None else len(seen.stored.files)


def _unseen(repository: Repository, code: Code, message: str, took: timedelta) -> Result:
    watch, source, reason = repository.watch, repository.probe.source, unknown(code, message)
    lines = _lines(watch, watch.expect.unseen(reason) if watch.expect else (), source, took)
    return Result(watch, (reason,), source, took, notes=repository.notes, lines=lines)


def _send(receiver: Receiver, result: Result, looked: _Looked) -> Callable[[], Delivery]:
    def send() -> Delivery:
        delivery = receiver.send(result)
        if delivery.accepted:
            looked.told()
        return delivery

    return send
