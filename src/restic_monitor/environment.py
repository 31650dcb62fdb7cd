"""The environment restic gets: layers, credential groups, and systemd's environment-file grammar. Pure.

Layers, later wins: the process, the environment file, `defaults.extra_env`, the repository's `extra_env`, explicit keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# What would change which data restic sees, or how it reports: never inherited. RESTIC_HOST filters `snapshots` since 0.17
# (https://github.com/restic/restic/issues/5064): an inherited one would hide hosts.
_NOT_INHERITED = re.compile(r"RESTIC_(REPOSITORY.*|HOST|FROM_.*|FEATURES|PROGRESS_FPS|MONITOR_.*)")

# Not even an explicit `extra_env` may set these: there is a key for it, or it would hide data.
REFUSED = {
    "RESTIC_REPOSITORY": "write the repository's address as url",
    "RESTIC_REPOSITORY_FILE": "write url: {from_file: PATH}",
    "RESTIC_HOST": "it would hide the snapshots of all other hosts",
}

PASSWORD = ("RESTIC_PASSWORD", "RESTIC_PASSWORD_FILE", "RESTIC_PASSWORD_COMMAND")

# One way to log in each: a layer that names one of a group replaces what earlier layers say of the whole group.
# Source: restic's doc/040_backup.rst "Environment Variables" and minio-go's chain of credentials.
GROUPS: tuple[tuple[str, ...], ...] = (
    PASSWORD,
    (
        *("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN"),
        *("AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"),
        *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        *("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"),
    ),
    ("B2_ACCOUNT_ID", "B2_ACCOUNT_KEY"),
    ("AZURE_ACCOUNT_KEY", "AZURE_ACCOUNT_SAS", "AZURE_FORCE_CLI_CREDENTIAL"),
    ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_ACCESS_TOKEN"),
    ("RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"),
    (
        *("OS_USERNAME", "OS_USER_ID", "OS_PASSWORD", "OS_AUTH_TOKEN", "OS_STORAGE_URL", "OS_TRUST_ID"),
        *("OS_APPLICATION_CREDENTIAL_ID", "OS_APPLICATION_CREDENTIAL_NAME", "OS_APPLICATION_CREDENTIAL_SECRET"),
        *("ST_AUTH", "ST_USER", "ST_KEY"),
    ),
)

_GROUP = {name: number for number, group in enumerate(GROUPS) for name in group}

# Halves that are of no use alone: (one of these, and one of these).
PAIRS = (
    (("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"), ("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY")),
    (("B2_ACCOUNT_ID",), ("B2_ACCOUNT_KEY",)),
    (("RESTIC_REST_USERNAME",), ("RESTIC_REST_PASSWORD",)),
)


@dataclass(frozen=True, slots=True)
class Layer:
    """Variables of one origin. None unsets the variable, whatever earlier layers say."""

    origin: str
    variables: Mapping[str, str | None] = field(repr=False)
    inherited: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """A value and the layer it came from."""

    value: str = field(repr=False)
    origin: str


def merge(layers: Sequence[Layer], below: Mapping[str, Variable] | None = None) -> dict[str, Variable]:
    """The layers on top of each other and of what was merged `below`; credential groups are replaced whole."""
    merged = dict(below or {})
    for layer in layers:
        named = {name: value for name, value in layer.variables.items() if not (layer.inherited and _scrubbed(name))}
        for group in {_GROUP[name] for name, value in named.items() if value is not None and name in _GROUP}:
            for name in GROUPS[group]:
                merged.pop(name, None)
        for name, value in named.items():
            merged.pop(name, None)
            if value is not None:
                merged[name] = Variable(value, layer.origin)
    return merged


def _scrubbed(name: str) -> bool:
    return bool(_NOT_INHERITED.fullmatch(name))


def lost_halves(layers: Sequence[Layer], merged: Mapping[str, Variable]) -> list[str]:
    """Sentences about key pairs that the group rule tore apart: one half in a later layer, the other in an earlier one."""
    sentences = []
    for left, right in PAIRS:
        for have, lack in ((left, right), (right, left)):
            kept = next((name for name in have if name in merged), None)
            if not kept or any(name in merged for name in lack):
                continue
            unset = next(
                ((name, layer.origin) for layer in layers for name in lack if layer.variables.get(name, "") is None), None
            )
            torn = next(((name, layer.origin) for layer in layers for name in lack if layer.variables.get(name)), None)
            if unset:
                sentences.append(f"{unset[0]} is removed in {unset[1]} but {kept} is left; remove both")
            elif torn:
                sentences.append(
                    f"{kept} comes from {merged[kept].origin} but {torn[0]} from {torn[1]}: "
                    "a later place replaces the whole group of credentials; set both in one place"
                )
    return sentences


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPABLE = '"\\`$'
_BLANK = " \t\n"


def parse_environment_file(text: str) -> dict[str, str]:
    """Read systemd's EnvironmentFile grammar: comments by # and ;, quotes, backslash continuation, no expansion.

    Source: systemd.exec(5) "EnvironmentFile=" and parse_env_file_internal in systemd's src/basic/env-file.c (254 and later:
    a backslash at the end of a comment continues nothing). Stricter in one way: what systemd skips or mends (no "=", a name
    with a blank, a quote without end) is an error. Raises ValueError("line N: …"), which never quotes a value.
    """
    if "\0" in text:
        raise ValueError("it holds a NUL character; it must be a text file")
    return _EnvironmentFile(text.replace("\r\n", "\n").replace("\r", "\n")).parse()


class _EnvironmentFile:
    """A cursor over the text; one method for each thing that can stand at it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def parse(self) -> dict[str, str]:
        variables: dict[str, str] = {}
        while self.position < len(self.text):
            character = self.text[self.position]
            if character in _BLANK:
                self.position += 1
            elif character in "#;":
                self._until("\n")
            else:
                name = self._name()
                variables[name] = self._value()
        return variables

    def _until(self, stop: str) -> str:
        end = self.text.find(stop, self.position)
        end = len(self.text) if end < 0 else end
        taken, self.position = self.text[self.position : end], end + len(stop)
        return taken

    def _line(self) -> int:
        return self.text.count("\n", 0, self.position) + 1

    def _name(self) -> str:
        line = self._line()
        end = self.text.find("\n", self.position)
        equals = self.text.find("=", self.position, end if end >= 0 else len(self.text))
        if equals < 0:
            raise ValueError(f"line {line}: no '='; write NAME=value, or # before a comment")
        name = self.text[self.position : equals].rstrip(_BLANK)
        self.position = equals + 1
        if not _NAME.fullmatch(name):
            hint = "leave out 'export'" if name.startswith("export ") else "letters, digits and _ only"
            raise ValueError(f"line {line}: not the name of a variable before '='; {hint}")
        return name

    def _value(self) -> str:
        """Pieces in quotes and plain pieces up to the end of the line; blanks before a piece and at the end are dropped."""
        value = ""
        while self.position < len(self.text):
            character = self.text[self.position]
            self.position += 1
            if character == "\n":
                break
            if character == "'":
                value += self._quoted("'")
            elif character == '"':
                value += self._quoted('"')
            elif character not in _BLANK:
                self.position -= 1
                return value + self._plain()
        return value

    def _quoted(self, quote: str) -> str:
        line = self._line()
        value = ""
        while self.position < len(self.text):
            character = self.text[self.position]
            self.position += 1
            if character == quote:
                return value
            if character == "\\" and quote == '"':
                value += self._escaped_in_quotes()
            else:
                value += character
        raise ValueError(f"line {line}: the quote {quote} has no end")

    def _escaped_in_quotes(self) -> str:
        character = self.text[self.position : self.position + 1]
        self.position += 1
        if character == "\n":
            return ""
        return character if character and character in _ESCAPABLE else "\\" + character

    def _plain(self) -> str:
        value = ""
        keep = 0
        while self.position < len(self.text):
            character = self.text[self.position]
            self.position += 1
            if character == "\n":
                break
            if character == "\\":
                character = self.text[self.position : self.position + 1]
                self.position += 1
                if character != "\n":
                    value += character
                keep = len(value)
            else:
                value += character
                if character not in _BLANK:
                    keep = len(value)
        return value[:keep]
