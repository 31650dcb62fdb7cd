"""The lines of `config show`: a key, its value without what is secret, and where it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterator

from restic_monitor import location
from restic_monitor.config import keys
from restic_monitor.config.build import Builder
from restic_monitor.config.draft import Block, Expected, Level, Setting
from restic_monitor.config.keys import Context
from restic_monitor.config.problems import dotted
from restic_monitor.config.sources import Source
from restic_monitor.secret import HIDDEN

_STEP = "  "


def expectations(builder: Builder, block: Block) -> Iterator[str]:
    """With what each of them has from its repository and from defaults."""
    all_ = builder.draft.expected(block)
    if all_:
        yield "    expect:"
    for expected in all_.values():
        yield f"      {dotted('', expected.name)}:"
        yield from _expectation(builder, block, expected, "        ")


def _expectation(builder: Builder, block: Block, expected: Expected, indent: str) -> Iterator[str]:
    if isinstance(expected.host, str):
        yield line(indent, "host", expected.host, "its name")
    elif expected.host:
        yield line(indent, "host", value(expected.host, block, builder), expected.host.origin)
    yield from (line(indent, *each) for each in _lists(expected, block, builder))
    for number, entry in enumerate(expected.ignore):
        yield from [] if number else [f"{indent}ignore:"]
        yield from _entry(entry, block, builder, indent + _STEP)
    yield from rule(builder, block, indent, expected)
    yield from limits(builder, block, indent, expected)
    if token := expected.settings.get("push_token"):
        yield line(indent, "push_token", value(token, block, builder), token.origin)


def _entry(entry: Level, block: Block, builder: Builder, indent: str) -> Iterator[str]:
    singles = ((name, value(setting, block, builder), setting.origin) for name, setting in entry.settings.items())
    for number, (name, text, origin) in enumerate((*singles, *_lists(entry, block, builder))):
        yield line(f"{indent}{'  ' if number else '- '}", name, text, origin)


def _lists(level: Level, block: Block, builder: Builder) -> Iterator[tuple[str, str, str]]:
    """Names, texts and origins."""
    for name, settings in level.lists.items():
        texts = ", ".join(value(setting, block, builder) for setting in settings)
        yield name, f"[{texts}]", settings[0].origin if settings else f"line {level.place.line}"


def rule(builder: Builder, block: Block, indent: str, expected: Expected | None = None) -> Iterator[str]:
    """The one that counts, with what belongs to it."""
    found = builder.draft.nearest(block, expected, "max_age", "schedule")
    if not found or found.key.name == "max_age":
        yield from _key(builder, block, indent, expected, "max_age")
    else:
        for name in ("schedule", "timezone", "grace"):
            yield from _key(builder, block, indent, expected, name)


def limits(builder: Builder, block: Block, indent: str, expected: Expected | None = None) -> Iterator[str]:
    """Those that are set."""
    for name in keys.LIMITS:
        if builder.draft.nearest(block, expected, name):
            yield from _key(builder, block, indent, expected, name)


def _key(builder: Builder, block: Block, indent: str, expected: Expected | None, name: str) -> Iterator[str]:
    if found := builder.draft.nearest(block, expected, name):
        yield line(indent, name, value(found, block, builder), found.origin)
    else:
        yield line(indent, name, keys.REPOSITORY[name].default, "default")


def value(setting: Setting, block: Block, builder: Builder) -> str:
    if isinstance(setting.raw, Source):
        return str(setting.raw)
    if setting.key.name == "push_url":
        return _base_of(setting.raw)
    if setting.key.secret:
        return HIDDEN
    if setting.key.name == "password_command":  # its arguments may hold a secret
        return f"{setting.raw.split(maxsplit=1)[0]} …"
    read = setting.key.value(setting.raw, Context(block.name, builder.draft.folder))
    return (location.shown(read) if isinstance(read, str) else setting.raw) or "''"


def option(setting: Setting) -> str:
    name, equals, _ = str(setting.raw).partition("=")
    return f"{name}{equals}…" if isinstance(setting.raw, str) and keys.is_command(name) else str(setting.raw)


def _base_of(push_url: str) -> str:
    """A push address without what may be a token or a password."""
    found = re.match(r"(https?://)(?:[^/@]*@)?([\w.-]+(?::\d+)?)(/api/push/|(?=[/?#]|$))", push_url, re.IGNORECASE)
    return f"{found[1]}{found[2]}{found[3]}…" if found else HIDDEN


def line(indent: str, name: str, text: str, origin: str) -> str:
    return f"{indent}{name}: {text}".ljust(60) + f"  # {origin}"
