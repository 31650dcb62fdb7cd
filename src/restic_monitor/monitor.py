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

from restic_monitor.model import Code, Delivery, Event, Looking, ProbeError, Receiver, Repository, Result, Watch, unknown
from restic_monitor.quantity import format_duration

_LOOK_GRACE_SECONDS = 2.0
"""A look ends by itself at its deadline; one that has not is given up this much later."""
_PUSH_LIMIT_SECONDS = 240.0
"""Far beyond what `http` allows an answer and its retry: reached only when something hangs that knows no deadline."""


@dataclass(slots=True)
class _Task:
    """Something that runs in a thread of its own until `limit` (`time.monotonic`)."""

    work: Callable[[], object]
    limit: float
    begun: float
    repository: Repository | None = None
    push: tuple[int, int] | None = None


_NOTHING = (-1, None)
"""An end of no task."""


class Monitor:
    """`jobs` looks and `connections` pushes at once; pushes never hold up a look. `bugs` says where the program failed."""

    def __init__(self, repositories: Sequence[Repository], *, jobs: int, connections: int) -> None:
        self.bugs: list[str] = []
        self._jobs, self._connections = jobs, connections
        self._stopped = False
        self._looks = deque(repositories)
        self._pushes: deque[tuple[int, int, Receiver, Result]] = deque()
        self._tasks: dict[int, _Task] = {}
        self._numbers = iter(range(1 << 62))
        self._ended: queue.SimpleQueue[tuple[int, object]] = queue.SimpleQueue()
        self._results: dict[int, Result] = {}
        self._deliveries: dict[int, dict[int, Delivery]] = {}

    def run(self) -> Iterator[Event]:
        """Every watch's Result as soon as it is judged (`deliveries` None), and again when its receivers were told."""
        while (self._looks or self._pushes or self._tasks) and not self._stopped:
            yield from self._start_looks()
            self._start_pushes()
            yield from self._next_end()

    def stop(self) -> None:
        """`run` ends at its next step, having lost nothing. May be called by a signal handler: SimpleQueue.put may."""
        self._stopped = True
        self._ended.put(_NOTHING)

    def finish(self, seconds: float) -> Iterator[Result]:
        """After `stop`: start nothing more, and wait a little for the pushes that are under way."""
        self._looks.clear()
        self._pushes.clear()
        limit = time.monotonic() + seconds
        for task in self._tasks.values():
            task.limit = min(task.limit, limit)
        while any(task.push for task in self._tasks.values()):
            for event in self._next_end(looks=False):
                if isinstance(event, Result):
                    yield event

    # starting

    def _start_looks(self) -> Iterator[Looking]:
        while self._looks and self._count(push=False) < self._jobs:
            repository = self._looks.popleft()
            deadline = time.monotonic() + repository.timeout.total_seconds()
            yield Looking(repository.name)
            self._begin(_Task(_look(repository, deadline), deadline + _LOOK_GRACE_SECONDS, time.monotonic(), repository))

    def _start_pushes(self) -> None:
        while self._pushes and self._count(push=True) < self._connections:
            number, index, receiver, result = self._pushes.popleft()
            now = time.monotonic()
            self._begin(_Task(_send(receiver, result), now + _PUSH_LIMIT_SECONDS, now, push=(number, index)))

    def _count(self, *, push: bool) -> int:
        return sum(1 for task in self._tasks.values() if bool(task.push) == push)

    def _begin(self, task: _Task) -> None:
        number = next(self._numbers)
        self._tasks[number] = task

        def work() -> None:
            try:
                outcome = task.work()
            except Exception as error:  # noqa: BLE001 - a bug in one part must not silence the others
                outcome = error
            self._ended.put((number, outcome))

        threading.Thread(target=work, daemon=True).start()

    # ending

    def _next_end(self, *, looks: bool = True) -> Iterator[Event]:
        limit = min(task.limit for task in self._tasks.values())
        try:
            number, outcome = self._ended.get(timeout=max(0.0, limit - time.monotonic()))
        except queue.Empty:
            expired = [number for number, task in self._tasks.items() if task.limit <= time.monotonic()]
            for number in expired:
                yield from self._end(self._tasks.pop(number), None, looks)
            return
        if task := self._tasks.pop(number, None):  # else it was given up before
            yield from self._end(task, outcome, looks)

    def _end(self, task: _Task, outcome: object, looks: bool) -> Iterator[Event]:
        if task.push:
            yield from self._told(*task.push, self._delivery(outcome))
        elif task.repository and looks:
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
        self._pushes.extend((number, index, receiver, result) for index, receiver in enumerate(receivers))
        yield result

    def _told(self, number: int, index: int, delivery: Delivery) -> Iterator[Result]:
        result, deliveries = self._results[number], self._deliveries[number]
        deliveries[index] = delivery
        if len(deliveries) == len(result.watch.receivers):
            yield replace(result, deliveries=tuple(each for _, each in sorted(deliveries.items())))


def _look(repository: Repository, deadline: float) -> Callable[[], list[Result]]:
    def look() -> list[Result]:
        begun = time.monotonic()
        try:
            seen = repository.probe.observe(deadline)
        except ProbeError as error:
            return _unseen(repository, error.code, error.message, timedelta(seconds=time.monotonic() - begun))
        took = timedelta(seconds=time.monotonic() - begun)
        now = datetime.now(UTC)
        count = None if seen.snapshots is None else len(seen.snapshots)
        return [
            Result(watch, tuple(check.judge(seen, now) for check in watch.checks), seen.source, took, count)
            for watch in repository.watches
        ]

    return look


def _unseen(repository: Repository, code: Code, message: str, took: timedelta) -> list[Result]:
    def result(watch: Watch) -> Result:
        return Result(watch, (unknown(code, message),), repository.probe.source, took)

    return [result(watch) for watch in repository.watches]


def _send(receiver: Receiver, result: Result) -> Callable[[], Delivery]:
    return lambda: receiver.send(result)
