"""The configuration as a JSON Schema (draft 2020-12), for editors: they complete, explain and check while it is written. Pure.

It never refuses what the program takes. What takes more than one value to know (two passwords, no url) it leaves to
`config check`. Values are as YAML 1.2 reads them, as editors do: 0123 is a number there and text for us, so that numbers and
booleans may stand wherever text may. Source: https://json-schema.org/draft/2020-12
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from restic_monitor.config import keys, kinds
from restic_monitor.config.keys import Key
from restic_monitor.environment import REFUSED

Schema = dict[str, Any]

_SCALAR = ["string", "number", "boolean"]
_TEXT = r"^[^\u0000]+$"
_TEMPLATE = r"(?:[^{\u0000]|\{(?!\{)|\{\{(?:-\s)?\s*(?:\.Name|\"(?:\{\{|\}\})\")\s*(?:\s-)?\}\})+"
"""As `template.expand` reads it: no braces, or {{ .Name }}, or quoted braces in braces; with trim markers."""
_EACH_UNIT_ONCE = "".join(f"(?!.*{unit}.*{unit})" for unit in "wdhms")
_DURATION = rf"^(?=.*[1-9]){_EACH_UNIT_ONCE}(?:(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)[wdhms])+$"
_COUNT = r"^0*(?:[1-9][0-9]{0,3}|10000)$"
_VANISHED = r"^\s*[0-9]{1,7}\s*$|^\s*0*(?:[0-9]{1,2}|100)\s*%$|^[Oo][Ff][Ff]$"
_SCHEDULE = r"^\s*[^\s@]\S*(?:\s+\S+){4}\s*$"
_NUMBER = r"^[0-9]{1,15}$|^[Oo][Ff][Ff]$"
_SIZE = r"^(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+) ?(?:B|kB|KB|[MGTP]B|[KMGTP]iB)?$|^[Oo][Ff][Ff]$"
_SHRINKAGE = r"^\s*(?:0?[1-9]|[1-9][0-9])\s*%$|^[Oo][Ff][Ff]$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2}))?$"
_TAG = r"^[^,\u0000]+$"
_GROUP = rf"^(?:{'|'.join(kinds.GROUPS)})$"
_ANYTHING = r"^[^\u0000]*$"
_OPTION = r"^(?!-)[^=\u0000]*\.[^=\u0000]*=[^\u0000]*$"
_VARIABLE = rf"^(?!(?:{'|'.join(REFUSED)})$|RESTIC_MONITOR_)[A-Za-z_][A-Za-z0-9_.-]*$"
_CREDENTIAL = r"^(?!\.\.?$)(?:[\w.@:-]|[^\u0000-\u007f])+$"
_REPOSITORY_NAME = r"^(?=.*\S)[^\u0000-\u001f\u007f]+$"
_EXPECTED_NAME = "a name of an expectation is one line of visible characters"
_NO_CREDENTIAL = "is not the name of a credential"
_NO_TEMPLATE = "is empty, or holds a template that is not supported: only {{ .Name }} is"
SOURCES = {
    "from_file": ("a file that holds the value; its path may have `{{ .Name }}`", f"^{_TEMPLATE}$", _NO_TEMPLATE),
    "from_env": ("a variable of the environment, or of the environment file, that holds the value", _TEXT, "is empty"),
    "from_credential": (
        "a credential of the systemd unit (`LoadCredential=`) that holds the value",
        _CREDENTIAL,
        _NO_CREDENTIAL,
    ),
    "credential_path": (
        "a credential of the systemd unit (`LoadCredential=`), whose path is the value: of a path, in `extra_env`, and inside "
        "a text of `restic_options`",
        _CREDENTIAL,
        _NO_CREDENTIAL,
    ),
}
"""What each of `keys.SOURCES` is, the pattern of its name, and what editors say of another."""


def schema() -> Schema:
    """The whole file. A dictionary of its own at each call."""
    block = [*keys.REPOSITORY.values(), *keys.LISTS.values(), *keys.MAPPINGS.values()]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The configuration of restic-monitor",
        "type": "object",
        "properties": {
            "defaults": {"description": keys.SECTIONS["defaults"], "$ref": "#/$defs/defaults"},
            "repositories": {
                "description": keys.SECTIONS["repositories"],
                "type": "object",
                "minProperties": 1,
                "propertyNames": _pattern(_REPOSITORY_NAME, "a repository's name is one line of visible characters"),
                "additionalProperties": {"$ref": "#/$defs/repository"},
            },
            **{key.name: _property(key) for key in keys.TOP.values()},
        },
        "patternProperties": {"^x-": {"description": "ignored: a place for anchors"}},
        "additionalProperties": False,
        "required": ["repositories"],
        "$defs": {
            "repository": _block(block),
            "defaults": _block([key for key in block if key.defaults]),
            "expectation": _block([*keys.EXPECTATION.values(), *keys.EXPECTATION_LISTS.values(), keys.IGNORE]),
            "ignored": {**_block([*keys.IGNORED.values(), *keys.IGNORED_LISTS.values()]), "minProperties": 1},
            **{kind.__name__: made for kind, made in _kinds().items()},
            "source": _source("from_file", "from_env", "from_credential"),
            "source_of_a_path": _source(*keys.SOURCES),
        },
    }


def plain(about: str) -> str:
    """A sentence of `keys` without its links."""
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", about)


def _block(of: list[Key]) -> Schema:
    return {
        "type": ["object", "null"],
        "properties": {key.name: _property(key) for key in of},
        "additionalProperties": False,
    }


def _property(key: Key) -> Schema:
    default = {"default": _default(key)} if key.default else {}
    return {"description": plain(key.about), **default, "$ref": f"#/$defs/{key.parse.__name__}"}


def _default(key: Key) -> Any:
    as_it_is_read = key.parse in (keys.boolean, keys.count, kinds.number)
    return key.value(key.default, keys.Context("", Path())) if as_it_is_read else key.default


def _kinds() -> dict[Any, Schema]:
    """What may stand behind a key, by the function that reads it."""
    option = _pattern(_OPTION, "write key=value, for instance s3.bucket-lookup=path")
    return {
        keys.text: _text(_TEXT, "is empty, or holds a NUL; write a value or remove the key"),
        keys.template: _text(f"^{_TEMPLATE}$", _NO_TEMPLATE),
        keys.url: _text(f"^(?!~){_TEMPLATE}$", f"begins with ~, which restic does not expand; or {_NO_TEMPLATE}"),
        keys.path: _text(f"^{_TEMPLATE}$", _NO_TEMPLATE, source="source_of_a_path"),
        keys.program: _text(f"^{_TEMPLATE}$", _NO_TEMPLATE),
        keys.duration: {
            "type": ["string", "null", "object"],
            **_pattern(_DURATION, "write it like 1d, 6h, 90m, 2w or 1d12h"),
            "maxLength": 100,
            "$ref": "#/$defs/source",
        },
        keys.boolean: {
            "type": ["boolean", "string", "null"],
            **_pattern(_either(keys.TRUE | keys.FALSE), "is neither true nor false"),
        },
        keys.count: {
            "type": ["integer", "string", "null"],
            "minimum": 1,
            "maximum": 10_000,
            **_pattern(_COUNT, "is not a whole number from 1 to 10000"),
            "maxLength": 5,
        },
        keys.mode: {"anyOf": [{"enum": [*keys.MODES]}, {"type": ["string", "null"], "pattern": _either(keys.MODES)}]},
        keys.vanished: {
            "type": ["integer", "string", "null", "object"],
            "minimum": 0,
            "maximum": 9_999_999,
            **_pattern(_VANISHED, "is neither a number of snapshots, like 20, nor a share of them, like 50%"),
            "$ref": "#/$defs/source",
        },
        keys.option: {
            "type": ["array", "string", "null", "object"],
            **option,
            "items": {"type": ["string", "null", "object"], **option, "$ref": "#/$defs/source"},
            "$ref": "#/$defs/source",
        },
        keys.anything: {
            "type": ["object", "null"],
            "propertyNames": _pattern(_VARIABLE, "is not the name of a variable, or one that is not passed on to restic"),
            "additionalProperties": _text(_ANYTHING, "holds a NUL", source="source_of_a_path"),
        },
        **_kinds_of_expectations(),
    }


def _kinds_of_expectations() -> dict[Any, Schema]:
    return {
        kinds.schedule: {
            "type": ["string", "null", "object"],
            **_pattern(_SCHEDULE, "write five fields of cron, like 0 22 * * 1-5"),
            "$ref": "#/$defs/source",
        },
        kinds.zone: _text(_TEXT, "write a name like Europe/Berlin, or UTC"),
        kinds.number: _number(_NUMBER, "is not a whole number; write it like 1000, or off", 999_999_999_999_999),
        kinds.size: _number(_SIZE, "write it like 500MB, 5GiB or 1.5TiB", 1 << 63),
        kinds.shrinkage: {
            "type": ["string", "null", "object"],
            **_pattern(_SHRINKAGE, "is not a share from 1% to 99%; write it like 50%, or off"),
            "$ref": "#/$defs/source",
        },
        kinds.moment: {
            "type": ["string", "null", "object"],
            **_pattern(_DATE, "write it like 2026-01-31 or 2026-01-31T22:00:00+01:00"),
            "$ref": "#/$defs/source",
        },
        kinds.name: _text(_ANYTHING, "holds a NUL"),
        kinds.pattern: _text(_ANYTHING, "holds a NUL"),
        kinds.place: _list(_text(_TEXT, "is empty, or holds a NUL")),
        kinds.tag: _list(_text(_TAG, "is empty, or holds a comma: write a list")),
        kinds.group: _list({"type": ["string", "null"], **_pattern(_GROUP, "write one or more of host, paths, tags")}),
        kinds.entries: {"type": ["array", "null"], "items": {"$ref": "#/$defs/ignored"}},
        kinds.expectations: {
            "type": "object",
            "minProperties": 1,
            "propertyNames": _pattern(_REPOSITORY_NAME, _EXPECTED_NAME),
            "additionalProperties": {"$ref": "#/$defs/expectation"},
        },
    }


def _number(pattern: str, otherwise: str, most: int) -> Schema:
    """A number from 0, or a text that matches."""
    return {
        "type": ["number", "string", "null", "object"],
        "minimum": 0,
        "maximum": most,
        **_pattern(pattern, otherwise),
        "$ref": "#/$defs/source",
    }


def _list(of: Schema) -> Schema:
    """Several, or one without a list."""
    return {"anyOf": [of, {"type": "array", "items": of}]}


def _pattern(pattern: str, otherwise: str) -> Schema:
    """A pattern, and what editors say of a text that does not match. The second is theirs; validators ignore it."""
    return {"pattern": pattern, "patternErrorMessage": otherwise}


def _text(pattern: str, otherwise: str, *, source: str = "source") -> Schema:
    """A text that matches, a number, a boolean, nothing, or where it comes from."""
    return {"type": [*_SCALAR, "null", "object"], **_pattern(pattern, otherwise), "$ref": f"#/$defs/{source}"}


def _source(*names: str) -> Schema:
    """One of these keys. No `type`: it says something of mappings only, so that it can stand beside other values."""
    described = {name: SOURCES[name] for name in names}
    return {
        "properties": {
            name: {"description": plain(about), "type": _SCALAR, **_pattern(pattern, otherwise)}
            for name, (about, pattern, otherwise) in described.items()
        },
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }


def _either(words: Iterable[str]) -> str:
    """A pattern for one of these words, in capitals or small letters."""
    spelled = ("".join(f"[{letter.upper()}{letter}]" for letter in word) for word in sorted(words))
    return f"^(?:{'|'.join(spelled)})$"
