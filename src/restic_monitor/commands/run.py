"""`restic-monitor run`: look at the repositories, tell, report, and say by the exit status how it went."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from restic_monitor.commands.common import Common, close, load, log, report_bugs
from restic_monitor.commands.signals import stopping
from restic_monitor.config.build import Builder
from restic_monitor.errors import UsageError
from restic_monitor.model import Event, Repository, Result
from restic_monitor.monitor import Monitor
from restic_monitor.outputs import text
from restic_monitor.outputs.report import Report
from restic_monitor.receivers.dry import Dry
from restic_monitor.state import State

_FINISH_SECONDS = 3.0


class Options(Struct, frozen=True):
    names: tuple[str, ...] = ()
    push: bool = True
    state: bool = True
    format: str = "text"
    only_failing: bool = False
    ok_when_told: bool = False


def run(common: Common, options: Options) -> int:
    """Raises UsageError before anything is looked at."""
    if options.ok_when_told and (not options.push or options.format == "nagios"):
        other = "--format nagios" if options.push else "--no-push"
        raise UsageError(f"--ok-when-told and {other} exclude each other: each gives the exit status a meaning of its own")
    started = datetime.now(UTC)
    builder = load(common)
    state = State(builder.environment) if options.state else None
    repositories = builder.repositories(options.names, state=state, remember=options.push)
    if builder.environment.get("CREDENTIALS_DIRECTORY"):
        _warn_of_hidden_folders(builder)
    if not options.push:
        repositories = [repository.telling(Dry) for repository in repositories]
    monitor = Monitor(repositories, jobs=builder.jobs, connections=builder.connections)
    results: dict[str, Result] = {}
    with stopping(monitor) as received:
        try:
            for event in _shown(monitor.run(), repositories, common, options):
                _keep(results, event)
            if received:
                _end_children()
                for event in monitor.finish(_FINISH_SECONDS):
                    _keep(results, event)
        except KeyboardInterrupt:  # the second signal: no more waiting
            _end_children()
    warnings = close(state) if state else ()
    ended = 128 + received[0] if received else 0
    bugs = report_bugs(monitor)
    report = _report(started, repositories, results, options, warnings, complete=not (ended or bugs))
    if not common.quiet:
        _print(report, options.format)
    return _exit_status(report, options, ended or bugs)


def _warn_of_hidden_folders(builder: Builder) -> None:
    """In a service: restic can only say that nothing is there."""
    from restic_monitor.commands.install import needs  # noqa: PLC0415 - for services only

    for folder in needs.folders(builder):
        if not os.path.lexists(folder):
            log.warning("%s is hidden from the service; as root: restic-monitor install-units (on NixOS: readPaths)", folder)


def _end_children() -> None:
    from restic_monitor import process  # noqa: PLC0415 - a run that lists starts none

    process.end_all()


def _keep(results: dict[str, Result], event: Event) -> None:
    if isinstance(event, Result):
        results[event.watch.name] = event
        for part in event.parts:
            _log(event.watch.name if part is event else f"{event.watch.name}/{part.watch.name}", part)


def _log(name: str, part: Result) -> None:
    for delivery in part.deliveries or ():
        if not delivery.accepted:
            log.error("%s: push failed: %s", name, delivery.message)
    if part.deliveries is not None:
        log.info("%s: %s %s", name, part.status.name, part.message)


def _shown(events: Iterable[Event], repositories: Sequence[Repository], common: Common, options: Options) -> Iterator[Event]:
    """The events, with a live table while they come if somebody watches."""
    if options.format != "text" or common.quiet or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        yield from events
        return
    from restic_monitor.outputs import terminal  # noqa: PLC0415 - rich is for terminals only

    screen = terminal.console(sys.stdout, os.environ)
    yield from terminal.Watching(screen, [repository.name for repository in repositories]).follow(events)


def _report(
    started: datetime,
    repositories: Sequence[Repository],
    results: dict[str, Result],
    options: Options,
    warnings: tuple[str, ...],
    *,
    complete: bool,
) -> Report:
    names = [repository.name for repository in repositories]
    return Report(
        started,
        tuple(results[name] for name in names if name in results),
        tuple(name for name in names if name not in results),
        options.push,
        options.only_failing,
        complete,
        warnings,
    )


def _print(report: Report, form: str) -> None:
    if form == "json":
        from restic_monitor.outputs import json  # noqa: PLC0415

        sys.stdout.write(json.render(report))
    elif form == "nagios":
        from restic_monitor.outputs import nagios  # noqa: PLC0415

        sys.stdout.write(nagios.render(report))
    elif sys.stdout.isatty():
        from restic_monitor.outputs import terminal  # noqa: PLC0415

        terminal.console(sys.stdout, os.environ).print(terminal.table(report))
    else:
        sys.stdout.write(text.render(report))


def _exit_status(report: Report, options: Options, ended: int) -> int:
    """`ended` when a signal (128+N) or a bug (70) ended the run; 0 up, 1 something DOWN or UNKNOWN, 3 a push failed.

    With --ok-when-told 0 when somebody was told of everything that is DOWN or UNKNOWN, else 3.
    """
    if options.format == "nagios":
        from restic_monitor.outputs import nagios  # noqa: PLC0415

        return nagios.exit_status(report)
    if ended:
        return ended
    if options.ok_when_told:
        if report.untold:
            log.error("nobody is told of %s: no push_url or push_token", ", ".join(report.untold))
        return 3 if report.untold or report.failed_pushes else 0
    if report.failed_pushes:
        return 3
    return 1 if any(result.status.failing for result in report.results) else 0
