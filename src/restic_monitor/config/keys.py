"""Every key of the configuration, and what its text means. A new key is a line here, and its use in `build`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restic_monitor.quantity import parse_duration
from restic_monitor.template import expand


@dataclass(frozen=True, slots=True)
class Context:
    """What a text may need to become a value: the repository's name and the folder that relative paths start from."""

    name: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Key:
    """`parse` raises ValueError with a sentence. `secret` values are never shown."""

    name: str
    parse: Callable[[str, Context], Any]
    secret: bool = False
    defaults: bool = True
    """May stand in `defaults`."""

    def value(self, text: str, context: Context) -> Any:
        """What `text` means. Raises ValueError with a sentence, which may quote it."""
        try:
            usable = b"\0" not in os.fsencode(text)
        except UnicodeEncodeError:
            usable = False
        if not usable:
            raise ValueError("holds a NUL or half a character, which no program can be given")
        return self.parse(text, context)

    @property
    def literal(self) -> bool:
        """Must stand in the file: what the file means as a whole depends on it."""
        return self.parse in (boolean, count, mode)

    @property
    def example(self) -> str:
        examples: dict[object, str] = {boolean: "true", mode: "listing"}
        return examples.get(self.parse, "8")


TRUE = frozenset({"true", "yes", "on"})
FALSE = frozenset({"false", "no", "off"})


def text(value: str, context: Context) -> str:
    if not value:
        raise ValueError("is empty; write a value or remove the key")
    return value


def template(value: str, context: Context) -> str:
    return text(expand(value, context.name), context)


def url(value: str, context: Context) -> str:
    expanded = template(value, context)
    if expanded.startswith("~"):
        raise ValueError("begins with ~, which restic does not expand; write the whole path")
    return expanded


def path(value: str, context: Context) -> str:
    """`~` is the home folder; a relative path starts at the configuration file's folder."""
    try:
        expanded = Path(template(value, context)).expanduser()
    except RuntimeError:
        raise ValueError("begins with ~, but no such home folder is known; write the whole path") from None
    return str(context.folder / expanded)


def program(value: str, context: Context) -> str:
    """A name that is looked up in PATH, or a path."""
    return path(value, context) if "/" in value or "\\" in value or value.startswith("~") else template(value, context)


def boolean(value: str, context: Context) -> bool:
    if value.lower() in TRUE | FALSE:
        return value.lower() in TRUE
    raise ValueError(f"{value!r} is neither true nor false")


def duration(value: str, context: Context) -> tuple[Any, str]:
    """The duration, and the words of the file for it."""
    return parse_duration(value), value


def count(value: str, context: Context) -> int:
    if value.isascii() and value.isdigit() and 1 <= int(value[:6]) <= 10_000 and len(value) <= 5:
        return int(value)
    raise ValueError(f"{value!r} is not a whole number from 1 to 10000")


MODES = ("auto", "fast", "listing", "restic")


def mode(value: str, context: Context) -> str:
    """How to look."""
    if value.lower() in MODES:
        return value.lower()
    raise ValueError(f"{value!r} is no mode; the modes are {', '.join(MODES)}")


def vanished(value: str, context: Context) -> tuple[int, bool, str]:
    """A number of files, or a share of them: the number, whether it is a percentage, and the words of the file for it."""
    if value.lower() == "off":
        return 100, True, value
    number, share = value.removesuffix("%").strip(), value.endswith("%")
    if number.isascii() and number.isdigit() and len(number) <= 7 and not (share and int(number) > 100):
        return int(number), share, value
    raise ValueError(f"{value!r} is neither a number of snapshots, like 20, nor a share of them, like 50%")


def is_command(option_name: str) -> bool:
    """Whether the value of this option of restic is a command line, which may hold a secret."""
    return option_name.endswith((".command", ".args"))


def option(value: str, context: Context) -> str:
    """One of restic's extended options, key=value."""
    name, equals, _ = value.partition("=")
    if not equals or "." not in name or name.startswith("-"):
        raise ValueError(f"{value!r} is not an option of restic; write key=value, for instance s3.bucket-lookup=path")
    return value


REPOSITORY = {
    key.name: key
    for key in (
        Key("url", url),
        Key("max_age", duration),
        Key("mode", mode),
        Key("max_vanished", vanished),
        Key("push_url", template, secret=True),
        Key("push_token", text, secret=True, defaults=False),
        Key("password", text, secret=True),
        Key("password_file", path),
        Key("password_command", text),
        Key("insecure_no_password", boolean),
        Key("restic", program),
        Key("cache_dir", path),
        Key("timeout", duration),
        Key("enabled", boolean),
        Key("cacert", path),
        Key("tls_client_cert", path),
        Key("insecure_tls", boolean),
    )
}
LISTS = {"restic_options": Key("restic_options", option)}
MAPPINGS = {"extra_env": Key("extra_env", lambda value, context: value, secret=True)}
TOP = {key.name: key for key in (Key("jobs", count), Key("connections", count), Key("timeout", duration))}
SECTIONS = ("defaults", "repositories")
PASSWORDS = ("password", "password_file", "password_command", "insecure_no_password")
SOURCES = ("from_file", "from_env", "from_credential")

_ALL_REPOSITORY = [*REPOSITORY, *LISTS, *MAPPINGS]
_ALL_TOP = [*TOP, *SECTIONS]


def shown(key: str) -> str:
    """A key that does not exist, without what may be its value: `password:secret` in braces is one word to YAML."""
    return re.sub(r"[:=].+", "…", key, flags=re.DOTALL)


def similar(key: str, names: Sequence[str] = ()) -> str | None:
    """The key that was probably meant, of those in `names`, else of a repository's."""
    import difflib  # noqa: PLC0415 - for mistakes only

    found = difflib.get_close_matches(key.replace("-", "_").lower(), names or _ALL_REPOSITORY, 1, 0.65)
    return found[0] if found else None


def unknown(key: str, *, top: bool) -> str:
    """The sentence about a key that does not exist here."""
    here, elsewhere = (_ALL_TOP, _ALL_REPOSITORY) if top else (_ALL_REPOSITORY, _ALL_TOP)
    if key in elsewhere:
        return "belongs in defaults or in a repository" if top else "belongs at the top level of the file"
    if re.search(r"[:=].", key):
        return "unknown key; write key: value, with a blank behind the colon"
    if meant := similar(key, here):
        return f"unknown key; did you mean {meant}?"
    return f"unknown key; the keys are {', '.join(here)}"
