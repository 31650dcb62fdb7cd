"""Output for Nagios, Icinga and their kin: a summary with performance data, a line for each repository, plugin exit codes.

Source: https://www.monitoring-plugins.org/doc/guidelines.html
"""

from __future__ import annotations

from restic_monitor.model import Result, Status
from restic_monitor.outputs.report import Report, counted

_WORDS = {Status.UP: "OK", Status.WARN: "WARNING", Status.DOWN: "CRITICAL", Status.UNKNOWN: "UNKNOWN"}
OK, WARNING, CRITICAL, UNKNOWN = range(4)


def render(report: Report) -> str:
    worst = max((result.status for result in report.results), default=Status.UNKNOWN)
    word = "WARNING" if worst is Status.UP and report.failed_pushes else _WORDS[worst]
    pushes = f", {report.failed_pushes} not told" if report.failed_pushes else ""
    first = next((result for result in report.results if result.status is worst and worst > Status.UP), None)
    detail = f"; {first.watch.name}: {first.message}" if first else ""
    data = " ".join(_data(result) for result in report.results if result.age is not None)
    lines = [_clean(f"RESTIC {word} - {counted(report)}{pushes}{detail}") + (f" | {data}" if data else "")]
    lines += [_clean(_line(report, result)) for result in report.shown]
    return "\n".join(lines) + "\n"


def exit_status(report: Report) -> int:
    """0 OK; 1 WARN or a failed push; 2 DOWN; 3 UNKNOWN, or nothing seen at all."""
    worst = max((result.status for result in report.results), default=Status.UNKNOWN)
    if worst is Status.DOWN:
        return CRITICAL
    if worst is Status.UNKNOWN or report.unfinished:
        return UNKNOWN
    return WARNING if worst is Status.WARN or report.failed_pushes else OK


def _line(report: Report, result: Result) -> str:
    failed = f" (push failed: {report.push_message(result)})" if report.push(result) == "failed" else ""
    return f"{_WORDS[result.status]}: {result.watch.name}: {result.message}{failed}"


def _data(result: Result) -> str:
    """Age in seconds with its limit as the critical threshold. Quotes are doubled, "=" may not stand in a label."""
    label = _clean(result.watch.name).replace("'", "''").replace("=", "_")
    limit = "" if result.watch.max_age is None else str(int(result.watch.max_age.total_seconds()))
    age = 0 if result.age is None else int(result.age.total_seconds())
    return f"'{label}'={age}s;;{limit};0"


def _clean(text: str) -> str:
    """ "|" begins performance data."""
    return text.replace("|", "/")
