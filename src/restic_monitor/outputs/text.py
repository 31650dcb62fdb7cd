"""A table for people, without a terminal's help: for pipes, mail and logs."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from restic_monitor.model import Result, one_line
from restic_monitor.outputs.report import Report, counted

INDENT = "  "
"""In front of the name of a line."""


def render(report: Report) -> str:
    rows = [row for result in report.shown for row in rows_of(report, result)]
    widths = [max((width(line[column]) for line in rows), default=0) for column in (0, 1)]
    lines = [f"{_pad(status, widths[0])}  {_pad(name, widths[1])}  {text}" for status, name, text in rows]
    if report.unfinished:
        lines.append(f"interrupted; not finished: {', '.join(map(one_line, report.unfinished))}")
    if not report.only_failing:
        lines.append(summary(report))
    return "".join(f"{line.rstrip()}\n" for line in lines)


def rows_of(report: Report, result: Result) -> Iterator[tuple[str, str, str]]:
    """Status, name, and the message with what else is to be known: of a repository, and below it of its lines."""
    yield result.status.name, one_line(result.watch.name), result.message + notes(result) + push_note(report, result)
    for line in report.lines(result):
        pushed = push_note(report, line) if line.watch.receivers else ""
        yield line.status.name, f"{INDENT}{one_line(line.watch.name)}", line.message + notes(line) + pushed


def notes(result: Result) -> str:
    """About the look: what is good to know."""
    return "".join(f"  [{one_line(note)}]" for note in result.all_notes)


def push_note(report: Report, result: Result) -> str:
    """Said only where it is not what everybody expects."""
    if not result.watch.receivers:
        return "  [no push address]"
    if result.deliveries is None:
        return "  [not pushed]"
    if not report.telling:
        return f"  [{report.push_message(result)}]"
    return "" if result.told else f"  [PUSH FAILED: {report.push_message(result)}]"


def summary(report: Report) -> str:
    """ "3 repositories: 1 down, 2 up; 3 pushed"."""
    accepted = report.accepted_pushes
    parts = [counted(report)]
    if not report.telling:
        parts.append("nothing pushed (--no-push)")
    elif accepted or report.failed_pushes:
        parts.append(f"{accepted} pushed" + (f", {report.failed_pushes} NOT pushed" if report.failed_pushes else ""))
    return "; ".join(parts)


def width(text: str) -> int:
    """Columns on a terminal: Chinese and Japanese characters take two, combining ones none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _pad(text: str, columns: int) -> str:
    return text + " " * (columns - width(text))
