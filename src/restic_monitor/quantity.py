"""Durations and sizes as people write them: "1d12h" and Go's "1h30m" to `timedelta` and back, "5GiB" to bytes and back.

A day is 24 hours."""

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


_SIZES = {"B": 1, "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4, "PB": 1000**5}
_SIZES |= {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50}
_SIZE = re.compile(r"(\d+(?:\.\d+)?|\.\d+) ?([a-zA-Z]*)", re.ASCII)
_SIZE_EXAMPLE = "write it like 500MB, 5GiB or 1.5TiB"


def parse_size(text: str) -> int:
    """ "5GiB" → bytes. Units: kB MB GB TB PB are powers of 1000, KiB MiB GiB TiB PiB of 1024; without one it is bytes.

    Raises ValueError with a sentence for the user.
    """
    found = _SIZE.fullmatch(text) if len(text) <= _LENGTH_LIMIT else None
    if not found:
        shown = repr(text) if len(text) <= _LENGTH_LIMIT else "this"
        raise ValueError(f"{shown} is not a size; {_SIZE_EXAMPLE}")
    number, unit = found.groups()
    if unit and unit not in _SIZES:
        raise ValueError(f"{text!r}: {unit!r} is not a unit of size; {_unit_meant(number, unit)}")
    size = Decimal(number) * _SIZES[unit or "B"]
    if size != int(size) and unit in ("", "B"):
        raise ValueError(f"{text!r} is no whole number of bytes; {_SIZE_EXAMPLE}")
    if size > 1 << 63:
        raise ValueError(f"{text!r} is more than any disk holds; {_SIZE_EXAMPLE}")
    return int(size)


def _unit_meant(number: str, unit: str) -> str:
    first = unit[0].upper()
    if unit.lower() in ("k", "m", "g", "t", "p"):
        return f"did you mean {number}{first}B (powers of 1000) or {number}{first}iB (of 1024)?"
    close = next((known for known in _SIZES if known.lower() == unit.lower()), None)
    return f"did you mean {number}{close}?" if close else "the units are kB, MB, GB, TB, PB and KiB, MiB, GiB, TiB, PiB"


def format_size(size_bytes: int) -> str:
    """Bytes → "4.9GiB": one digit behind the point where there are one or two before it, rounded down (no size is made
    larger)."""
    unit = next((unit for unit in ("PiB", "TiB", "GiB", "MiB", "KiB") if size_bytes >= _SIZES[unit]), "B")
    whole, rest = divmod(size_bytes, _SIZES[unit])
    tenth = 10 * rest // _SIZES[unit]
    return f"{whole}.{tenth}{unit}" if whole < 100 and tenth else f"{whole}{unit}"
