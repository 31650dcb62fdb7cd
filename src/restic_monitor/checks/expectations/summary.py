"""All lines of a repository in one sentence: the worst by name, with counts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from restic_monitor.checks.expectations import words
from restic_monitor.model import SUMMED_UP, Code, Line, Status, Verdict, shorten
from restic_monitor.quantity import format_duration

_NAMED_LIMIT = 110
_ONE_LIMIT = 160
"""Characters for lists of names, and for the reason of one line."""


def sum_up(lines: Sequence[Line], message: str) -> Verdict:
    """The worst of the lines, and the newest snapshot of all."""
    if not lines:  # every group is ignored: somebody decided so
        return Verdict(SUMMED_UP, Status.UP, Code.OK, message)
    worst = _worst(max(lines, key=_status))
    found = [verdict for line in lines for verdict in line.verdicts if verdict.newest and verdict.age is not None]
    newest = min(found, key=lambda verdict: verdict.age or timedelta(0), default=None)
    return Verdict(
        SUMMED_UP, worst.status, worst.code, message, newest.newest if newest else None, newest.age if newest else None
    )


def sentence(lines: Sequence[Line]) -> str:
    """ "db1 (40d), pi (missing), 3 others fresh"."""
    bad = sorted((line for line in lines if _status(line) > Status.UP), key=_status, reverse=True)
    fresh = len(lines) - len(bad)
    if not bad:
        return _all_fresh(lines)
    others = [f"{fresh} {'others' if fresh > 1 else 'other'} fresh"] if fresh else []
    if len(bad) == 1 and _worst(bad[0]).code is not Code.STALE:
        return "; ".join([shorten(f"{words.name(bad[0].name)}: {_reason(bad[0])}", _ONE_LIMIT), *others])
    return ", ".join([words.listed([f"{words.name(line.name)} ({_why(line)})" for line in bad], _NAMED_LIMIT), *others])


def _all_fresh(lines: Sequence[Line]) -> str:
    oldest = max(lines, key=lambda line: _age(line) or timedelta(0))
    age = format_duration(_age(oldest) or timedelta(0), 1)
    if len(lines) == 1:
        return f"{words.name(oldest.name)} fresh ({age})"
    return f"all {len(lines)} fresh, the oldest {words.name(oldest.name)} ({age})"


def _why(line: Line) -> str:
    """A stale one by its age, others by their code."""
    worst = _worst(line)
    if worst.code is Code.STALE and worst.age is not None:
        return format_duration(worst.age, 1)
    return "unknown" if worst.status is Status.UNKNOWN else str(worst.code)


def _reason(line: Line) -> str:
    """In full; of a warning its last part, which stands behind the age."""
    message = _worst(line).message
    return message.rpartition("; ")[2] if _status(line) is Status.WARN else message


def _worst(line: Line) -> Verdict:
    return max(line.verdicts, key=lambda verdict: verdict.status)


def _status(line: Line) -> Status:
    return _worst(line).status


def _age(line: Line) -> timedelta | None:
    return next((verdict.age for verdict in line.verdicts if verdict.age is not None), None)
