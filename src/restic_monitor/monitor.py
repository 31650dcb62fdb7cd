"""One run: look, judge, tell, several at once. Knows the protocols, not the players.

Workers are daemon threads, so that one that hangs can be given up; a ThreadPoolExecutor would wait for it at the end.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from restic_monitor.model import (
    Code,
    Delivery,
    Event,
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
_PUSH_LIMIT_SECONDS = 240.0
"""Far beyond what `http` allows an answer and its retry: reached only when something hangs that knows no deadline."""


@dataclass(slots=True)
class _Task:
    """Something that a worker does until `limit` (`time.monotonic`)."""

    work: Callable[[], object]
    seconds: float
    repository: Repository | None = None
    push: tuple[int, int] | None = None
    begun: float = 0.0

    @property
    def limit(self) -> float:
        return self.begun + self.seconds


_NOTHING = (-1, None)
"""An end of no task."""


class _Lane:
    """At most `size` tasks at once. Workers are kept for the next task: a thread costs as much as a request."""

    def __init__(self, size: int, ended: queue.SimpleQueue[tuple[int, object]]) -> None:
        self.waiting: deque[_Task] = deque()
        self.running: dict[int, _Task] = {}
        self._size, self._ended = size, ended
        self._idle: list[queue.SimpleQueue[tuple[int, _Task]]] = []
        self._workers: dict[int, queue.SimpleQueue[tuple[int, _Task]]] = {}

    @property
    def free(self) -> bool:
        return bool(self.waiting) and len(self.running) < self._size

    def begin(self, number: int) -> _Task:
        """The next task that waits."""
        task = self.running[number] = self.waiting.popleft()
        task.begun = time.monotonic()
        worker = self._idle.pop() if self._idle else self._worker()
        self._workers[number] = worker
        worker.put((number, task))
        return task

    def end(self, number: int) -> None:
        """A task is over, and its worker is free again."""
        self._idle.append(self._workers.pop(number))
        del self.running[number]

    def give_up(self, number: int) -> None:
        """A task hangs, and its worker with it."""
        del self._workers[number], self.running[number]

    def _worker(self) -> queue.SimpleQueue[tuple[int, _Task]]:
        inbox: queue.SimpleQueue[tuple[int, _Task]] = queue.SimpleQueue()

        def work() -> None:
            while True:
                number, task = inbox.get()
                try:
                    outcome = task.work()
                except Exception as error:  # noqa: BLE001 - a bug in one part must not silence the others
                    outcome = error
                self._ended.put((number, outcome))

        threading.Thread(target=work, daemon=True).start()
        return inbox


class Monitor:
    """Three kinds of work, each with a limit of its own: `jobs` looks that start processes, `connections` looks over the
    network, `connections` pushes; pushes never hold up a look. `bugs` says where the program failed."""

    def __init__(self, repositories: Sequence[Repository], *, jobs: int, connections: int) -> None:
        self.bugs: list[str] = []
        self._stopped = False
        self._ended: queue.SimpleQueue[tuple[int, object]] = queue.SimpleQueue()
        self._heavy, self._light, self._pushes = (_Lane(size, self._ended) for size in (jobs, connections, connections))
        self._lanes = (self._heavy, self._light, self._pushes)
        self._numbers = iter(range(1 << 62))
        self._results: dict[int, Result] = {}
        self._deliveries: dict[int, dict[int, Delivery]] = {}
        for repository in repositories:
            self._queue_look(repository)

    def run(self) -> Iterator[Event]:
        """Every watch's Result as soon as it is judged (`deliveries` None), and again when its receivers were told."""
        while any(lane.waiting or lane.running for lane in self._lanes) and not self._stopped:
            yield from self._start()
            yield from self._next_end()

    def stop(self) -> None:
        """`run` ends at its next step, having lost nothing. May be called by a signal handler: SimpleQueue.put may."""
        self._stopped = True
        self._ended.put(_NOTHING)

    def finish(self, seconds: float) -> Iterator[Result]:
        """After `stop`: start nothing more, and wait a little for the pushes that are under way."""
        limit = time.monotonic() + seconds
        for lane in self._lanes:
            lane.waiting.clear()
            for task in lane.running.values():
                task.seconds = min(task.limit, limit) - task.begun
        while self._pushes.running:
            for event in self._next_end(looks=False):
                if isinstance(event, Result):
                    yield event

    # starting

    def _queue_look(self, repository: Repository) -> None:
        seconds = repository.timeout.total_seconds()
        lane = self._heavy if repository.probe.heavy else self._light
        lane.waiting.append(_Task(_look(repository, seconds), seconds + _LOOK_GRACE_SECONDS, repository))

    def _start(self) -> Iterator[Looking]:
        for lane in self._lanes:
            while lane.free:
                number = next(self._numbers)
                if repository := lane.waiting[0].repository:
                    yield Looking(repository.name)
                lane.begin(number)

    # ending

    def _next_end(self, *, looks: bool = True) -> Iterator[Event]:
        limit = min(task.limit for lane in self._lanes for task in lane.running.values())
        try:
            number, outcome = self._ended.get(timeout=max(0.0, limit - time.monotonic()))
        except queue.Empty:
            yield from self._give_up(looks)
            return
        for lane in self._lanes:
            if task := lane.running.get(number):  # else it was given up before
                lane.end(number)
                yield from self._end(task, outcome, looks)
                return

    def _give_up(self, looks: bool) -> Iterator[Event]:
        now = time.monotonic()
        for lane in self._lanes:
            for number, task in [(number, task) for number, task in lane.running.items() if task.limit <= now]:
                lane.give_up(number)
                yield from self._end(task, None, looks)

    def _end(self, task: _Task, outcome: object, looks: bool) -> Iterator[Event]:
        if task.push:
            yield from self._told(*task.push, self._delivery(outcome))
        elif task.repository and looks:
            if isinstance(outcome, Repository):
                self._queue_look(outcome)
                return
            results = outcome if isinstance(outcome, list) else self._no_results(task.repository, task, outcome)
            for result in results:
                yield from self._judged(result)

    def _no_results(self, repository: Repository, task: _Task, outcome: object) -> list[Result]:
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

    def _judged(self, result: Result) -> Iterator[Result]:
        number = next(self._numbers)
        receivers = result.watch.receivers
        if not receivers:
            yield replace(result, deliveries=())
            return
        self._results[number] = result
        self._deliveries[number] = {}
        for index, receiver in enumerate(receivers):
            self._pushes.waiting.append(_Task(_send(receiver, result), _PUSH_LIMIT_SECONDS, push=(number, index)))
        yield result

    def _told(self, number: int, index: int, delivery: Delivery) -> Iterator[Result]:
        result, deliveries = self._results[number], self._deliveries[number]
        deliveries[index] = delivery
        if len(deliveries) == len(result.watch.receivers):
            yield replace(result, deliveries=tuple(each for _, each in sorted(deliveries.items())))


def _look(repository: Repository, seconds: float) -> Callable[[], list[Result] | Repository]:
    """Looks once; gives a Repository where it is to be looked at in another way."""

    def look() -> list[Result] | Repository:
        begun = time.monotonic()
        try:
            seen = repository.probe.observe(begun + seconds)
        except NoTimesError as error:
            if repository.otherwise:
                return replace(repository.otherwise, notes=(*repository.otherwise.notes, f"no listing: {error.message}"))
            return _unseen(repository, error.code, error.message, timedelta(seconds=time.monotonic() - begun))
        except ProbeError as error:
            return _unseen(repository, error.code, error.message, timedelta(seconds=time.monotonic() - begun))
        took = timedelta(seconds=time.monotonic() - begun)
        now = datetime.now(UTC)
        count = _count(seen)
        notes = (*repository.notes, *seen.notes)
        return [
            Result(watch, tuple(check.judge(seen, now) for check in watch.checks), seen.source, took, count, notes)
            for watch in repository.watches
        ]

    return look


def _count(seen: Observation) -> int | None:
    if seen.snapshots is not None:
        return len(seen.snapshots)
    return None if seen.stored is None else len(seen.stored.files)


def _unseen(repository: Repository, code: Code, message: str, took: timedelta) -> list[Result]:
    def result(watch: Watch) -> Result:
        return Result(watch, (unknown(code, message),), repository.probe.source, took, notes=repository.notes)

    return [result(watch) for watch in repository.watches]


def _send(receiver: Receiver, result: Result) -> Callable[[], Delivery]:
    return lambda: receiver.send(result)
