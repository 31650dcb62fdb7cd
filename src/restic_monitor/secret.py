"""A string that does not print itself, and taking secrets out of other people's text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from msgspec import Struct, field

HIDDEN = "(hidden)"
_WHOLE_WORD_BELOW = 6


class Secret:
    """A value that shows itself only to `reveal()`: not in `repr`, `str`, f-strings, tracebacks or comparisons."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not written anywhere")


class Redactor(Struct, frozen=True):
    """Takes known secrets and credentials in URLs out of text that others wrote (restic's messages)."""

    secrets: Sequence[Secret] = ()
    shared: Sequence[Secret] = ()
    """A list that may still grow: restic inherits what was read for other repositories, too."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What to call copies of files, by their paths: no secret, but nobody knows them."""

    def __call__(self, text: str) -> str:
        for place, name in self.names.items():
            text = text.replace(place, name)
        for value in sorted({secret.reveal() for secret in (*self.secrets, *self.shared)}, key=len, reverse=True):
            text = _without(text, value)
        return redact_urls(text)


def _without(text: str, value: str) -> str:
    if not value.strip():
        return text
    if len(value) >= _WHOLE_WORD_BELOW:
        return text.replace(value, "***")
    # a short password is hidden where it stands alone; inside other words it would only garble the message
    return re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "***", text)


# also one with / ? # in it, which is not a valid URL and still a secret; "host:9000/path@x" has a port and no password
_USERINFO = re.compile(r"(?P<scheme>[a-z0-9+.-]+://)(?P<user>[^\s/?#:@]*):(?!\d*[/?#])(?P<password>\S*)@", re.IGNORECASE)


def redact_urls(text: str) -> str:
    """`https://user:password@host` → `https://user:***@host`, as restic does it for its own URLs."""
    return _USERINFO.sub(lambda match: f"{match['scheme']}{match['user']}:***@", text)


_NAMES = re.compile(r"PASS|SECRET|TOKEN|KEY|SAS|CREDENTIAL|AUTH", re.IGNORECASE)
_PLAIN = re.compile(r"(_FILE|_COMMAND|_KEY_HINT|AUTH_URL|_CREDENTIALS|_CREDENTIAL_NAME|CREDENTIALS_DIRECTORY)$", re.IGNORECASE)


@lru_cache(maxsize=10_000)  # the same names for each of a thousand repositories
def is_secret_name(variable: str) -> bool:
    """Whether an environment variable of this name holds a secret itself (not the name of a file that does)."""
    return bool(_NAMES.search(variable)) and not _PLAIN.search(variable)


def may_hold_secret(variable: str) -> bool:
    """Also a command line, which may have one among its arguments."""
    return is_secret_name(variable) or variable.upper().endswith("_COMMAND")


def secrets_in(environment: Iterable[tuple[str, str]]) -> tuple[Secret, ...]:
    """Every secret that stands in an environment."""
    return tuple(Secret(value) for name, value in environment if value and is_secret_name(name))
