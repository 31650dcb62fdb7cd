"""What is expected of a repository, from its settings: rules of freshness, limits of size, expectations."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from msgspec import Struct

from restic_monitor.checks.expectations import Expectation, Expectations, Filter, Ignored
from restic_monitor.checks.freshness import Freshness
from restic_monitor.checks.plausible import Plausible
from restic_monitor.config.draft import Block, Expected, Level, Setting
from restic_monitor.config.values import Values
from restic_monitor.recency import MaxAge, Rule, Schedule

DEFAULT_MAX_AGE = timedelta(days=1)
DEFAULT_GRACE = timedelta(hours=4)


class Expecter(Struct, frozen=True):
    """Of one repository. What cannot be understood is noted, and a default stands in its place."""

    values: Values
    block: Block

    def rule(self, expected: Expected | None = None) -> Rule:
        """Of the nearest level that names one."""
        setting = self.values.draft.nearest(self.block, expected, "max_age", "schedule")
        value = self._value(setting)
        if setting is None or value is None:
            return MaxAge(DEFAULT_MAX_AGE, "1d (default)")
        if setting.key.name == "max_age":
            return MaxAge(*value)
        zone = self._nearest(expected, "timezone")
        grace = self._nearest(expected, "grace")
        return Schedule(value, zone or "UTC", grace[0] if grace else DEFAULT_GRACE)

    def plausible(self, expected: Expected | None = None) -> Plausible:
        """Of a repository without expectations each host and its paths are judged."""
        size, shrink = self._nearest(expected, "min_size"), self._nearest(expected, "max_shrink")
        return Plausible(
            min_files=self._nearest(expected, "min_files") or None,
            min_size=None if is_nothing(size) else size,
            max_shrink=None if is_nothing(shrink) else shrink,
            baseline=self._nearest(expected, "baseline"),
            each=expected is None,
        )

    def expectations(self) -> Expectations | None:
        """None where none are configured."""
        all_ = self.values.draft.expected(self.block).values()
        return Expectations(tuple(map(self._expectation, all_))) if all_ else None

    def _expectation(self, expected: Expected) -> Expectation:
        rule = self.rule(expected)
        return Expectation(
            expected.name,
            (Freshness(rule), self.plausible(expected)),
            self._filter(expected),
            tuple(dict.fromkeys(self._all(expected.lists.get("group_by", ())))),
            tuple(map(self._ignored, expected.ignore)),
            max_age=max_age_of(rule),
        )

    def _filter(self, expected: Expected) -> Filter:
        host = expected.host
        return Filter(
            host if isinstance(host, str) else self._value(host),
            frozenset(self._all(expected.lists.get("paths", ()))),
            frozenset(self._all(expected.lists.get("tags", ()))),
        )

    def _ignored(self, level: Level) -> Ignored:
        paths, tags = (frozenset(self._all(level.lists[name])) if name in level.lists else None for name in ("paths", "tags"))
        return Ignored(self._value(level.settings.get("host")), paths, tags, self._value(level.settings.get("before")))

    def _nearest(self, expected: Expected | None, name: str) -> Any:
        return self._value(self.values.draft.nearest(self.block, expected, name))

    def _value(self, setting: Setting | None) -> Any:
        return self.values.value(setting, self.block.name) if setting else None

    def _all(self, settings: Sequence[Setting]) -> list[str]:
        found = map(self._value, settings)
        return [value for value in found if value is not None]


def max_age_of(rule: Rule) -> timedelta | None:
    return rule.limit if isinstance(rule, MaxAge) else None


def is_nothing(limit: Any) -> bool:
    """Whether a limit of size asks for nothing, or is none."""
    return not (limit[0] if isinstance(limit, tuple) else limit)
