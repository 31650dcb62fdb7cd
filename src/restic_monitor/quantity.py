"""Durations as people write them: "1d12h" and Go's "1h30m" to `timedelta` and back. A day is 24 hours."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PART = re.compile(r"(\d+(?:\.\d+)?|\.\d+)([a-zA-Zµ]*)", re.ASCII)
_LONGEST = timedelta(days=36_500)
_LENGTH_LIMIT = 100
_EXAMPLE = "write it like 1d, 6h, 90m, 2w or 1d12h"


def parse_duration(text: str) -> timedelta:
    """ "1d12h" → 36 hours. Units: w d h m s, each at most once; decimals as in Go ("1.5h").

    Raises ValueError with a sentence for the user: no unit, a sign, an unknown unit, zero, over 100 years.
    """
    if len(text) > _LENGTH_LIMIT:
        raise ValueError(f"this is not a duration; {_EXAMPLE}")
    total = Decimal(0)
    seen: set[str] = set()
    position = 0
    while position < len(text):
        part = _PART.match(text, position)
        if not part:
            break
        number, unit = part.groups()
        _check_unit(text, number, unit, seen)
        total += Decimal(number) * _UNITS[unit]
        position = part.end()
    if position < len(text) or not seen:
        raise ValueError(f"{text!r} is not a duration; {_EXAMPLE}")
    if total > _LONGEST.total_seconds():
        raise ValueError(f"{text!r} is longer than 100 years; {_EXAMPLE}")
    duration = timedelta(microseconds=int(total * 1_000_000))
    if not duration:
        raise ValueError(f"{text!r} is no time at all; {_EXAMPLE}")
    return duration


def _check_unit(text: str, number: str, unit: str, seen: set[str]) -> None:
    if not unit:
        hint = f", for instance {number}h or {number}d" if number.strip("0.") else ""
        raise ValueError(f"{text!r} has no unit; {_EXAMPLE}{hint}")
    if unit not in _UNITS:
        lower = unit.lower()
        hint = "the units are w, d, h, m (minutes) and s"
        if lower in _UNITS and unit != "M":  # which may be months
            hint = f"did you mean {number}{lower}?"
        raise ValueError(f"{text!r}: {unit!r} is not a unit of time; {hint}")
    if unit in seen:
        raise ValueError(f"{text!r} names {unit!r} twice; {_EXAMPLE}")
    seen.add(unit)


def format_duration(duration: timedelta, parts: int = 2) -> str:
    """36 hours → "1d12h": at most `parts` units, rounded down (an age is never made larger). Under a second: "0s"."""
    seconds = int(duration.total_seconds())
    if seconds < 0:
        return "-" + format_duration(-duration, parts)
    words: list[str] = []
    for unit in "dhms":
        count, seconds = divmod(seconds, _UNITS[unit])
        if count or words:
            words.append(f"{count}{unit}" if count else "")
        if len(words) == parts:
            break
    return "".join(words) or "0s"
