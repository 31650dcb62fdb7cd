"""`restic-monitor run`: look at the repositories, tell, report, and say by the exit status how it went."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import FrameType
from typing import NoReturn

from restic_monitor import process
from restic_monitor.commands.common import Common, load, log
from restic_monitor.model import Repository, Result
from restic_monitor.monitor import Event, Monitor
from restic_monitor.outputs import json, nagios, text
from restic_monitor.outputs.report import Report
from restic_monitor.receivers.dry import Dry

_FINISH_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Options:
    names: tuple[str, ...] = ()
    push: bool = True
    format: str = "text"
    only_failing: bool = False


class Ended(KeyboardInterrupt):
    """A signal that ends the program, as an exception in the main thread."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_status = 128 + number


def run(common: Common, options: Options) -> int:
    """Raises UsageError before anything is looked at."""
    started = datetime.now(UTC)
    builder = load(common)
    repositories = builder.repositories(options.names)
    if not options.push:
        repositories = [_dry(repository) for repository in repositories]
    monitor = Monitor(repositories, jobs=builder.jobs, connections=builder.connections)
    results: dict[str, Result] = {}
    with _signals():
        try:
            for event in _shown(monitor.run(), repositories, common, options):
                _keep(results, event)
            ended = 0
        except KeyboardInterrupt as signalled:
            ended = getattr(signalled, "exit_status", 128 + signal.SIGINT)
            _wind_up(monitor, results)
    report = _report(started, repositories, results, options)
    if not common.quiet:
        _print(report, options.format, monitor)
    return _exit_status(report, monitor, ended, options.format)


def _keep(results: dict[str, Result], event: Event) -> None:
    if isinstance(event, Result):
        results[event.watch.name] = event
        for delivery in event.deliveries or ():
            if not delivery.accepted:
                log.warning("%s: push failed: %s", event.watch.name, delivery.message)
        if event.deliveries is not None:
            log.info("%s: %s %s", event.watch.name, event.status.name, event.message)


def _dry(repository: Repository) -> Repository:
    watches = tuple(replace(w, receivers=tuple(Dry(receiver) for receiver in w.receivers)) for w in repository.watches)
    return replace(repository, watches=watches)


def _shown(events: Iterable[Event], repositories: Sequence[Repository], common: Common, options: Options) -> Iterator[Event]:
    """The events, with a live table while they come if somebody watches."""
    if options.format != "text" or common.quiet or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        yield from events
        return
    from restic_monitor.outputs import terminal  # noqa: PLC0415 - rich is for terminals only

    screen = terminal.console(sys.stdout, os.environ)
    yield from terminal.Watching(screen, [w.name for r in repositories for w in r.watches]).follow(events)


@contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM and SIGHUP (unless ignored, as by nohup) end the run as Ctrl-C does."""
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {}
    for name in names:
        number = getattr(signal, name)
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, _raise_ended)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise_ended(number: int, frame: FrameType | None) -> NoReturn:
    raise Ended(number)


def _wind_up(monitor: Monitor, results: dict[str, Result]) -> None:
    """End the children, wait a little for the pushes under way; a second signal ends that too."""
    try:
        process.end_all()
        for result in monitor.finish(_FINISH_SECONDS):
            _keep(results, result)
    except KeyboardInterrupt:
        return


def _report(started: datetime, repositories: Sequence[Repository], results: dict[str, Result], options: Options) -> Report:
    names = [watch.name for repository in repositories for watch in repository.watches]
    return Report(
        started,
        tuple(results[name] for name in names if name in results),
        tuple(name for name in names if name not in results),
        options.push,
        options.only_failing,
    )


def _print(report: Report, form: str, monitor: Monitor) -> None:
    for bug in monitor.bugs:
        log.error("internal error: %s; please report it", bug)
    if form == "json":
        sys.stdout.write(json.render(report))
    elif form == "nagios":
        sys.stdout.write(nagios.render(report))
    elif sys.stdout.isatty():
        from restic_monitor.outputs import terminal  # noqa: PLC0415

        terminal.console(sys.stdout, os.environ).print(terminal.table(report))
    else:
        sys.stdout.write(text.render(report))


def _exit_status(report: Report, monitor: Monitor, ended: int, form: str) -> int:
    """0 up and told, 1 something is DOWN or UNKNOWN, 3 a push failed, 70 a bug, 128+N a signal; with nagios its own."""
    if form == "nagios":
        return nagios.UNKNOWN if monitor.bugs or ended else nagios.exit_status(report)
    if ended:
        return ended
    if monitor.bugs:
        return 70
    if report.failed_pushes:
        return 3
    return 1 if any(result.status.failing for result in report.results) else 0
