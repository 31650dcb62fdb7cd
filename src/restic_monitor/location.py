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
    """The URL without a password in it, and without what an rclone connection string sets."""
    return redact_urls(_SET_FOR_RCLONE.sub(r"\1***", url) if scheme(url) == "rclone" else url)


_PASSWORD = re.compile(r"://[^\s/?#:@]*:(?!\d*[/?#])(\S*)@")


def passwords(url: str) -> tuple[str, ...]:
    """The password in a URL, as written and percent-decoded, and what an rclone connection string sets; () without."""
    found = {match[1] for match in _PASSWORD.finditer(url)}
    if scheme(url) == "rclone":
        found |= {match[2].strip("'\"") for match in _SET_FOR_RCLONE.finditer(url)}
    return tuple({text for written in found for text in (written, unquote(written)) if text})


# `rclone::s3,secret_access_key=…,region=…:bucket`: https://rclone.org/docs/#connection-strings
_SET_FOR_RCLONE = re.compile(r"(,[\w.-]+=)(\"[^\"]*\"|'[^']*'|[^,:]*)")
