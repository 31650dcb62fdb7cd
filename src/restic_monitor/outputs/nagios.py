"""Output for Nagios, Icinga and their kin: a summary with performance data, a line for each repository, plugin exit codes.

Source: https://www.monitoring-plugins.org/doc/guidelines.html
"""

from __future__ import annotations

from restic_monitor.model import Result, Status, one_line
from restic_monitor.outputs.report import Report, counted

OK, WARNING, CRITICAL, UNKNOWN = range(4)
_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_CODES = {Status.UP: OK, Status.WARN: WARNING, Status.DOWN: CRITICAL, Status.UNKNOWN: UNKNOWN}


def render(report: Report) -> str:
    pushes = f", {report.failed_pushes} not told" if report.failed_pushes else ""
    unfinished = f", {len(report.unfinished)} not finished" if report.unfinished else ""
    worst = max(report.results, key=lambda result: result.status, default=None)
    detail = f"; {worst.watch.name}: {worst.message}" if worst and worst.status > Status.UP else ""
    summary = _clean(f"{_WORDS[exit_status(report)]} - {counted(report)}{unfinished}{pushes}{detail}")
    data = " ".join(_data(name, part) for result in report.results for name, part in _parts(result))
    lines = [f"RESTIC {summary}" + (f" | {data}" if data else "")]
    for result in report.shown:
        lines.append(_clean(_line(report, result.watch.name, result)))
        lines += [_clean(_line(report, f"{result.watch.name}/{line.watch.name}", line)) for line in report.lines(result)]
    lines += [_clean(f"WARNING: {warning}") for warning in report.warnings]
    return "\n".join(lines) + "\n"


def error(message: str) -> str:
    """What a plugin says when it could not begin: Nagios shows standard output only."""
    return f"RESTIC UNKNOWN - {_clean(message)}\n"


def exit_status(report: Report) -> int:
    """0 OK; 1 WARN, a failed push or a warning of the run; 2 DOWN; 3 UNKNOWN, nothing seen at all, or an incomplete run."""
    worst = max((result.status for result in report.results), default=Status.UNKNOWN)
    if worst < Status.DOWN and (report.unfinished or not report.complete):
        return UNKNOWN
    if worst is Status.UP and (report.failed_pushes or report.warnings):
        return WARNING
    return _CODES[worst]


def _parts(result: Result) -> list[tuple[str, Result]]:
    """What has a value: a repository with an age, or each of its lines, also one that is missing: no series vanishes."""
    if not result.lines:
        return [(result.watch.name, result)] if result.age is not None else []
    return [(f"{result.watch.name}/{line.watch.name}", line) for line in result.lines]


def _line(report: Report, name: str, result: Result) -> str:
    failed = f" (push failed: {report.push_message(result)})" if report.push(result) == "failed" else ""
    notes = "".join(f" [{note}]" for note in result.all_notes)
    return f"{_WORDS[_CODES[result.status]]}: {name}: {result.message}{notes}{failed}"


def _data(name: str, result: Result) -> str:
    """Age in seconds, U where it is not known, with its limit as the critical threshold. Quotes are doubled, "=" may not stand
    in a label."""
    label = _clean(name).replace("'", "''").replace("=", "_")
    limit = result.watch.max_age if result.limit is None else result.limit
    critical = "" if limit is None else str(int(limit.total_seconds()))
    age = "U" if result.age is None else f"{int(result.age.total_seconds())}s"
    return f"'{label}'={age};;{critical};0"


def _clean(text: str) -> str:
    """One line; "|" begins performance data."""
    return one_line(text).replace("|", "/")
