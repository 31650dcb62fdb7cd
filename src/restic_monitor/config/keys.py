"""Every key of the configuration, and what its text means. A new key is a line here, and its use in `build`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from restic_monitor.config import kinds
from restic_monitor.quantity import parse_duration
from restic_monitor.template import expand


class Context(Struct, frozen=True):
    """What a text may need to become a value: the repository's name and the folder that relative paths start from."""

    name: str
    folder: Path


class Key(Struct, frozen=True):
    """`parse` raises ValueError with a sentence. `secret` values are never shown."""

    name: str
    parse: Callable[[str, Context], Any]
    about: str
    """What it means, for docs/reference.md, the man page and the schema; links start at docs/."""
    default: str = ""
    """What applies where it is not set, as it would be written."""
    without: str = ""
    """The same in words, where it cannot be written."""
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
        return self.parse in (boolean, count, mode, kinds.group)

    @property
    def kind(self) -> str:
        """The words for its type."""
        return KINDS[self.parse]

    @property
    def example(self) -> str:
        examples: dict[object, str] = {boolean: "true", mode: "listing", kinds.group: "host"}
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


MODES = ("auto", "native", "fast", "listing", "restic")


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


def anything(value: str, context: Context) -> str:
    return value


KINDS: dict[object, str] = {
    text: "text",
    template: "template",
    url: "template",
    path: "path",
    program: "name or path",
    boolean: "boolean",
    duration: "duration",
    count: "1 to 10000",
    mode: "`auto`, `native`, `fast`, `listing` or `restic`",
    vanished: "number or share",
    option: "list of `key=value`",
    anything: "names and texts",
    kinds.schedule: "schedule",
    kinds.zone: "time zone",
    kinds.number: "whole number",
    kinds.size: "size",
    kinds.shrinkage: "share",
    kinds.moment: "date",
    kinds.name: "text",
    kinds.pattern: "glob",
    kinds.place: "list of texts",
    kinds.tag: "list of texts",
    kinds.group: "list of `host`, `paths`, `tags`",
    kinds.expectations: "names and their keys",
    kinds.entries: "list of entries",
}

_ELSEWHERE = "from the environment"
_LAST_PART = "the last part of the Push URL; the whole URL does, too, and then goes where it says"
_RULES = (
    Key(
        "max_age",
        duration,
        "how old the newest snapshot may be; exactly that old is fresh",
        default="1d",
    ),
    Key(
        "schedule",
        kinds.schedule,
        "when a backup is due, instead of `max_age`: `0 22 * * 1-5`; [the last one that is `grace` past]"
        "(configuration.md#max_age-or-schedule) must be there",
        without="`max_age` counts",
    ),
    Key("timezone", kinds.zone, "where `schedule` counts its hours, summer time and all: `Europe/Berlin`", default="UTC"),
    Key("grace", duration, "how late a snapshot of `schedule` may be", default="4h"),
)
_LIMITS = (
    Key("min_files", kinds.number, "fewer files in the newest snapshot are down; or `off`", default="off"),
    Key("min_size", kinds.size, "less in the newest snapshot is down: `5GiB`, or `off`", default="off"),
    Key(
        "max_shrink",
        kinds.shrinkage,
        "the newest snapshot may have that much less, in files and in bytes, than [those before it]"
        "(configuration.md#sizes); `30%`, or `off`",
        default="off",
    ),
    Key("baseline", kinds.moment, "snapshots from before are not compared with: how a person accepts a change", without="none"),
)
_REPOSITORY = (
    Key(
        "url",
        url,
        "what you give to `restic --repo`; a relative one starts at the working folder, as with restic (cron has another: "
        "write the whole path); `~` is not expanded",
        without="required",
    ),
    *_RULES,
    Key("mode", mode, "how it is looked at: [the five modes](listing.md#choosing-it)", default="auto"),
    Key(
        "max_vanished",
        vanished,
        "more snapshots gone since the last look warn; `20`, or a share of them, `50%`",
        default="off",
    ),
    Key("lock_max_age", duration, "a lock that is older warns; restic removes its own after half an hour", default="30m"),
    *_LIMITS,
    Key(
        "push_url",
        template,
        "the monitor's whole Push URL, or the address up to `/api/push/` with a `push_token`; where a proxy has another path, "
        "that path up to its last `/`",
        without="nobody is told",
        secret=True,
    ),
    Key(
        "push_token",
        text,
        _LAST_PART,
        without="none",
        secret=True,
        defaults=False,
    ),
    Key("password", text, "the password of the repository", without=_ELSEWHERE, secret=True),
    Key("password_file", path, "a file that holds the password", without=_ELSEWHERE),
    Key("password_command", text, "a command that prints the password", without=_ELSEWHERE),
    Key("insecure_no_password", boolean, "the repository has an empty password; restic ≥ 0.17", default="false"),
    Key("restic", program, "the program; a name is looked up in `PATH`", default="restic"),
    Key("cache_dir", path, "[restic's cache](configuration.md#the-environment-of-restic)", without="no cache"),
    Key("timeout", duration, "limit for one look at this repository", default="2m"),
    Key("enabled", boolean, "false: neither looked at nor told", default="true"),
    Key(
        "cacert",
        path,
        "an authority for TLS, trusted by restic instead of the system's, and for listings and pushes besides them",
        without="the system's",
    ),
    Key("tls_client_cert", path, "client certificate and key for looks, PEM in one file", without="none"),
    Key("insecure_tls", boolean, "looks accept every certificate; pushes never do", default="false"),
)
REPOSITORY = {key.name: key for key in _REPOSITORY}
LISTS = {
    "restic_options": Key(
        "restic_options", option, "`-o` for restic; a repository's list replaces the default one", without="none"
    )
}
MAPPINGS = {
    "extra_env": Key(
        "extra_env",
        anything,
        "variables for [restic, and for listings](configuration.md#the-environment-of-restic)",
        without="none",
        secret=True,
    ),
    "expect": Key(
        "expect",
        kinds.expectations,
        "what is [expected of each machine](configuration.md#expectations); a repository's replaces that of `defaults`",
        without="only the newest snapshot is judged",
    ),
}
_INHERITED = tuple(replace(key, default="", without="the repository's") for key in (*_RULES, *_LIMITS))
_EXPECTATION = (
    Key("host", kinds.name, 'snapshots of this host; `""`: without one', without="NAME, where nothing else is asked for"),
    *_INHERITED,
    Key(
        "push_token",
        text,
        f"a monitor of its own, not with `group_by`: {_LAST_PART}",
        without="only the repository's is told",
        secret=True,
    ),
)
EXPECTATION = {key.name: key for key in _EXPECTATION}
EXPECTATION_LISTS = {
    "paths": Key(
        "paths", kinds.place, "snapshots that have all of these, as restic shows them; and maybe others", without="any"
    ),
    "tags": Key("tags", kinds.tag, "snapshots that carry all of these", without="any"),
    "group_by": Key(
        "group_by",
        kinds.group,
        "a line for each host (or set of paths, of tags) among the snapshots that no other expectation matches",
        without="one line",
    ),
}
IGNORE = Key(
    "ignore",
    kinds.entries,
    "groups of `group_by` that are retired; [their keys](reference.md#keys-of-an-ignored-group)",
    without="none",
)
IGNORED = {
    "host": Key("host", kinds.pattern, "groups of hosts that match: `test-*`; case counts", without="any"),
    "before": Key("before", kinds.moment, "groups whose newest snapshot is older", without="any"),
}
IGNORED_LISTS = {
    "paths": Key("paths", kinds.place, "groups with exactly these; `[]`: without any", without="any"),
    "tags": Key("tags", kinds.tag, "groups with exactly these; `[]`: without any", without="any"),
}
LIMITS = ("min_files", "min_size", "max_shrink", "baseline")
RULES = ("max_age", "schedule", "timezone", "grace")
_TOP = (
    Key("jobs", count, "looks at once that start a process: restic, ssh, rclone", without="number of cores"),
    Key("connections", count, "listings at once over the network or of a disk; and pushes at once", default="64"),
    Key("timeout", duration, "limit for one look; a repository may have its own", default="2m"),
)
TOP = {key.name: key for key in _TOP}
SECTIONS = {
    "defaults": "for every repository that does not say otherwise",
    "repositories": "what to look at, shown in this order",
}
PASSWORDS = ("password", "password_file", "password_command", "insecure_no_password")
SOURCES = ("from_file", "from_env", "from_credential", "credential_path")

_ALL_REPOSITORY = [*REPOSITORY, *LISTS, *MAPPINGS]
_ALL_TOP = [*TOP, *SECTIONS]
ALL_EXPECTATION = ("host", *EXPECTATION_LISTS, "ignore", *(name for name in EXPECTATION if name != "host"))
ALL_IGNORED = ("host", *IGNORED_LISTS, "before")


def shown(key: str) -> str:
    """A key that does not exist, without what may be its value: `password:secret` in braces is one word to YAML."""
    return re.sub(r"[:=].+", "…", key, flags=re.DOTALL)


def similar(key: str, names: Sequence[str] = ()) -> str | None:
    """The key that was probably meant, of those in `names`, else of a repository's."""
    import difflib  # noqa: PLC0415 - for mistakes only

    found = difflib.get_close_matches(key.replace("-", "_").lower(), names or _ALL_REPOSITORY, 1, 0.65)
    return found[0] if found else None


NO_KEY = (
    "unknown key; another repository stands further to the left, the name of what is expected below expect: and to the right"
)
"""About the name of a mapping, which no key of a repository is."""


def unknown(key: str, *, top: bool) -> str:
    """The sentence about a key that does not exist here."""
    here, elsewhere = (_ALL_TOP, _ALL_REPOSITORY) if top else (_ALL_REPOSITORY, _ALL_TOP)
    if key in elsewhere:
        return "belongs in defaults or in a repository" if top else "belongs at the top level of the file"
    if not top and key in ALL_EXPECTATION:
        return f"belongs in an expectation, below a name in expect: expect: {{NAME: {{{key}: …}}}}"
    return strange(key, here)


def strange(key: str, names: Sequence[str]) -> str:
    """The sentence about a key that is none of these."""
    if re.search(r"[:=].", key):
        return "unknown key; write key: value, with a blank behind the colon"
    if key == "before" and "ignore" in names:
        return "belongs in an entry of ignore, beside group_by: ignore: [{before: …}]"
    if key == "push_url" and "push_token" in names:
        return "unknown key; write push_token, where the whole Push URL may stand, too"
    if meant := similar(key, names):
        return f"unknown key; did you mean {meant}?"
    return f"unknown key; the keys are {', '.join(names)}"
