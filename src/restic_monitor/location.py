"""restic's repository URLs, as far as they are needed from outside: which backend, and how to show them.

Source: restic's internal/backend/location/location.go (the scheme is the text before the first colon).
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from restic_monitor.secret import redact_urls

SCHEMES = ("azure", "b2", "gs", "local", "rclone", "rest", "s3", "sftp", "swift")
_PATH = re.compile(r"\.\.[/\\]|[/\\]|[a-zA-Z]:[/\\]")


def scheme(url: str) -> str | None:
    """The backend restic takes for this repository; None where it will refuse the URL ("invalid backend")."""
    before, colon, _ = url.partition(":")
    if before in SCHEMES and colon:
        return before
    return "local" if not colon or _PATH.match(url) else None


def shown(url: str) -> str:
    """The URL without a password in it."""
    return redact_urls(url)


_PASSWORD = re.compile(r"://[^\s/?#:@]*:(?!\d*[/?#])(\S*)@")


def passwords(url: str) -> tuple[str, ...]:
    """The password in a URL, as written and percent-decoded; () without one."""
    found = _PASSWORD.search(url)
    return tuple({found[1], unquote(found[1])}) if found and found[1] else ()
