"""What all outputs say about a finished run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from restic_monitor.model import SUMMED_UP, Result, Status


class Report(Struct, frozen=True):
    """A run that is over. `results` in configuration order; `unfinished` names what an interruption left out; `telling` is
    False when nobody was to be told (`--no-push`); `complete` is False after a signal or an internal error."""

    started: datetime
    results: tuple[Result, ...]
    unfinished: tuple[str, ...] = ()
    telling: bool = True
    only_failing: bool = False
    complete: bool = True
    warnings: tuple[str, ...] = ()
    """What was wrong with the run itself and ended nothing."""

    @property
    def shown(self) -> tuple[Result, ...]:
        """With `only_failing`, what needs somebody's attention: not UP, or not told."""
        return tuple(result for result in self.results if any(map(self._is_shown, result.parts)))

    def lines(self, result: Result) -> tuple[Result, ...]:
        """Of its lines those to be shown."""
        return tuple(filter(self._is_shown, result.lines))

    def _is_shown(self, result: Result) -> bool:
        return not self.only_failing or result.status > Status.UP or not result.told

    @property
    def accepted_pushes(self) -> int:
        return sum(1 for result in self.results for part in result.parts if self.push(part) == "accepted")

    @property
    def failed_pushes(self) -> int:
        return sum(1 for result in self.results for part in result.parts if not part.told)

    @property
    def untold(self) -> tuple[str, ...]:
        """What is DOWN or UNKNOWN and has nobody to be told: repositories, and lines of those that have no receiver, either."""
        return tuple(name for result in self.results if not result.watch.receivers for name in _untold(result))

    def push(self, result: Result) -> str:
        """accepted, failed, or off: no push address, `--no-push`, or interrupted before."""
        if not self.telling or not result.deliveries:
            return "off"
        return "accepted" if result.told else "failed"

    def push_message(self, result: Result) -> str:
        """Why a push failed, or what would have been pushed."""
        return "; ".join(delivery.message for delivery in result.deliveries or () if delivery.message)


def _untold(result: Result) -> list[str]:
    """Of a repository without receivers. That its lines are bad is told where they all have theirs."""
    lines = [line.watch.name for line in result.lines if line.status.failing and not line.watch.receivers]
    if lines:
        return [f"{result.watch.name}/{name}" for name in lines]
    of_lines = [verdict for line in result.lines for verdict in line.verdicts]
    own = [verdict for verdict in result.verdicts if verdict not in of_lines and verdict.check != SUMMED_UP]
    failing = any(verdict.status.failing for verdict in own)
    return [result.watch.name] if failing else []


_WORDS = ((Status.DOWN, "down"), (Status.UNKNOWN, "unknown"), (Status.WARN, "warn"), (Status.UP, "up"))


def counted(report: Report) -> str:
    """ "3 repositories: 1 down, 2 up"."""
    total = len(report.results)
    what = "1 repository" if total == 1 else f"{total} repositories"
    counts = Counter(result.status for result in report.results)
    parts: Sequence[str] = [f"{counts[status]} {word}" for status, word in _WORDS if counts[status]]
    return f"{what}: {', '.join(parts)}" if parts else what
