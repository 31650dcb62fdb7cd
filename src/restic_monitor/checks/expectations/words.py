"""Names and counts in messages, which have 200 characters in all."""

from __future__ import annotations

from collections.abc import Sequence

from restic_monitor.model import one_line, shorten

_NAME_LIMIT = 40


def listed(names: Sequence[str], limit: int) -> str:
    """As many as there is room for, at least one, and how many more."""
    shown, length = 0, 0
    for name in names:
        length += len(name) + 2
        if shown and length > limit:
            break
        shown += 1
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{', '.join(names[:shown])}{more}"


def host(host: str) -> str:
    return name(host) if host else "(no host)"


def name(name: str) -> str:
    return shorten(one_line(name), _NAME_LIMIT)


def count(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"
