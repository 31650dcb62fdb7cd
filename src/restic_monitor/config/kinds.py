"""What the texts of expectations mean: schedules, time zones, sizes, moments, names of hosts, paths and tags.

Each takes the text, and a context that it does not need, and raises ValueError with a sentence. `keys` has the others.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from restic_monitor import recency
from restic_monitor.quantity import parse_size

_FIELDS = "minute, hour, day of the month, month, day of the week"
_LIKE = f"write five fields ({_FIELDS}), like 0 22 * * 1-5"
_SHORT = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_TOMORROW = timedelta(days=1)
_OFF = "off"
_ANY_DAY = datetime(2026, 1, 1, tzinfo=UTC)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?(?P<offset>[Zz]|[+-]\d\d:\d\d)?", re.ASCII)
GROUPS = ("host", "paths", "tags")


def schedule(value: str, context: object) -> str:
    """Five fields of cron, with one blank between."""
    fields = value.split()
    if short := _SHORT.get(value.strip().lower()):
        raise ValueError(f'{value!r} is not taken; write "{short}"')
    if re.match(r"(CRON_)?TZ=", value):
        raise ValueError(f"{value!r} has its zone in it; write that as timezone: …, and here five fields: {_FIELDS}")
    if len(fields) == 6:
        raise ValueError(f"{value!r} has six fields; write five, without the seconds: {_FIELDS}")
    if len(fields) != 5:
        raise ValueError(f"{value!r} is no schedule; {_LIKE}")
    expression = " ".join(fields)
    try:
        found = recency.last(expression, "UTC", _ANY_DAY)
    except ValueError as error:
        raise ValueError(f"{value!r} {error}; {_LIKE}") from None
    if found.year == 1:
        raise ValueError(f"{value!r} names a day that never comes; {_LIKE}")
    return expression


def zone(value: str, context: object) -> str:
    """A zone of the time zone database."""
    import zoneinfo  # noqa: PLC0415 - for those who have a zone

    try:
        zoneinfo.ZoneInfo(value)
    except (KeyError, ValueError, OSError):  # no such zone, a path, a folder of zones
        raise ValueError(f"{value!r} is no time zone; {_zone_meant(value, zoneinfo.available_timezones())}") from None
    return value


def _zone_meant(value: str, known: set[str]) -> str:
    """Cities count with and without their region; abbreviations (CEST) are near to too many others."""
    import difflib  # noqa: PLC0415 - for mistakes only

    cities = sorted(name for name in known if "/" in name and not name.startswith("Etc/"))
    by_words = {name.lower().rpartition("/")[2]: name for name in cities} | {name.lower(): name for name in (*cities, "UTC")}
    close = difflib.get_close_matches(value[:100].strip().lower().replace(" ", "_"), by_words, 1, 0.8)
    return f"did you mean {by_words[close[0]]}?" if close else "write a name like Europe/Berlin, or UTC"


def number(value: str, context: object) -> int:
    if value.lower() == _OFF:
        return 0
    if value.isascii() and value.isdigit() and len(value) <= 15:
        return int(value)
    raise ValueError(f"{value!r} is not a whole number; write it like 1000, or off")


def size(value: str, context: object) -> tuple[int, str]:
    """Bytes, and the words of the file for them."""
    return 0 if value.lower() == _OFF else parse_size(value), value


def shrinkage(value: str, context: object) -> tuple[int, str]:
    """Per cent, and the words of the file for them; 0 for off."""
    if value.lower() == _OFF:
        return 0, value
    share = value.removesuffix("%").strip()
    if value.endswith("%") and share.isascii() and share.isdigit() and len(share) <= 2 and int(share):
        return int(share), value
    raise ValueError(f"{value!r} is not a share from 1% to 99%; write it like 50%, or off")


def moment(value: str, context: object) -> datetime:
    """A date is its midnight in UTC; RFC 3339, which names its offset. In UTC."""
    text = f"{value}T00:00Z" if _DATE.fullmatch(value) else value
    found = _MOMENT.fullmatch(text)
    if found and not found["offset"]:
        raise ValueError(f"{value!r} names no time zone; put Z (UTC) or an offset like +02:00 behind it")
    try:
        named = datetime.fromisoformat(text.upper() if found else "").astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{value!r} is no date; write it like 2026-01-31 or 2026-01-31T22:00:00+01:00") from None
    if named > datetime.now(UTC) + _TOMORROW:
        raise ValueError(
            f"{value!r} lies in the future, and would keep quiet about all that comes until then; is the year right?"
        )
    return named


def name(value: str, context: object) -> str:
    """Of a host; "" is a snapshot without one."""
    return value


def pattern(value: str, context: object) -> str:
    """Of names of hosts."""
    return value


def place(value: str, context: object) -> str:
    """A path of a snapshot, as restic shows it: it is compared, not looked for."""
    if not value:
        raise ValueError("holds an empty path; write a value or remove the key")
    return value


def tag(value: str, context: object) -> str:
    if not value:
        raise ValueError("holds an empty tag; write a value or remove the key")
    if "," in value:
        listed = ", ".join(part.strip() for part in value.split(",") if part.strip())
        if not listed:
            raise ValueError(f"{value!r} is no tag; write a value or remove the key")
        raise ValueError(f"{value!r} holds a comma, and no tag does; write a list: [{listed}]")
    return value


def group(value: str, context: object) -> str:
    if value in GROUPS:
        return value
    words = [word.strip() for word in value.split(",")]
    if len(words) > 1 and set(words) <= set(GROUPS):
        raise ValueError(f"{value!r} is one text; write a list: [{', '.join(words)}]")
    raise ValueError(f"{value!r} is nothing to group by; write one or more of host, paths, tags")


def expectations(value: str, context: object) -> str:
    """Not one value: `expectations` reads them."""
    raise ValueError("must be names with their keys")


def entries(value: str, context: object) -> str:
    """Not one value: `expectations` reads them."""
    raise ValueError("must be a list of entries")
