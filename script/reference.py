"""What is made from the code, so that it cannot say anything else: docs/reference.md, the man page, the completions.

Run by script/reference. `--check` writes nothing, and ends with 1 when a file is not what would be written.
"""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import manual

from restic_monitor import model
from restic_monitor.cli import cli
from restic_monitor.commands import reference
from restic_monitor.config import keys
from restic_monitor.config.keys import Key
from restic_monitor.config.schema import SOURCES

CHECKOUT = Path(__file__).resolve().parent.parent
SHELLS = ("bash", "zsh", "fish")
PAGE = """\
# Reference

Made by `script/reference` from the program itself: keys, exit statuses, variables, message codes. What they are for is in
[Configuration](configuration.md); all commands and options are in the man page, and behind `--help`.

- [Top level](#top-level) · [Keys of a repository](#keys-of-a-repository) · [Keys of an expectation](#keys-of-an-expectation)
- [Types](#types) · [Sources](#sources)
- [Exit status](#exit-status) · [Environment](#environment) · [Message codes](#message-codes)

## Top level

{top}

Keys that begin with `x-` are ignored: a place for anchors.

## Keys of a repository

*Where*: `both` may stand in `defaults`, too. The repository's own value wins; `null`, `~` or nothing means "not set".

{repository}

## Keys of an expectation

Below a name in [`expect`](configuration.md#expectations), which is the host where nothing else is asked for.

{expectation}

## Keys of an ignored group

Of an entry of `ignore`. All that are given must match, and one entry suffices.

{ignored}

## Types

| type | what may be written |
|---|---|
| text | any value, as it stands in the file: `0123` and `no` need no quotes |
| template | a text in which `{{{{ .Name }}}}` is the repository's name; [in quotes](configuration.md#templates) |
| path | a template; `~` is the home folder, and a relative path starts at the configuration file's folder |
| name or path | a path where it has a `/`; else a name that is looked up in `PATH` |
| duration | numbers with [units](configuration.md#durations): `90m`, `26h`, `1d12h`, `2w` |
| boolean | `true`, `yes`, `on`, or `false`, `no`, `off` |
| 1 to 10000 | a whole number |
| number or share | `20`, `50%`, or `off` |
| list of `key=value` | restic's extended options; one needs no list |
| names and texts | `NAME: value`; `null` removes what is set elsewhere |
| schedule | five fields of cron, in quotes: `"0 22 * * 1-5"`; `MON-FRI` and `JAN` work, `L` is the last day of the month |
| time zone | a name of the time zone database: `Europe/Berlin`, `UTC` |
| whole number | `1000` |
| size | `500MB` (powers of 1000), `5GiB` (of 1024), `1.5TiB`; without a unit bytes |
| share | `30%`, from `1%` to `99%`, or `off` |
| date | `2026-01-31`, which is its midnight in UTC, or `2026-01-31T22:00:00+01:00` |
| glob | `*`, `?` and `[…]` as in file names; `[*]` is a star |
| list of texts | one needs no list |
| list of `host`, `paths`, `tags` | one needs no list |
| names and their keys | `NAME: {{…}}`, at least one |
| list of entries | `[{{…}}, {{…}}]`, each with at least one key |

## Sources

Instead of a value, except of a boolean, of `mode`, `group_by`, `jobs` and `connections`:
[where secrets may be](configuration.md#secrets).

{sources}

## Exit status

{statuses}

Where a command has its own:

{exceptions}

[What to do about each](troubleshooting.md#exit-status).

## Environment

From the process, or from the [environment file](configuration.md#the-environment-file), unless systemd sets it.

{variables}

Variables of restic and of its stores, which [go to restic](configuration.md#the-environment-of-restic), and which a listing
reads itself:

{of_restic}

Whatever else is set is passed on to restic, ssh and rclone, but for `RESTIC_FROM_…`, `RESTIC_FEATURES`, `RESTIC_PROGRESS_FPS`
and what is ours.

## Message codes

The first word of a message in capitals, and `code` in the [JSON](json.md). Uptime Kuma shows `up` and `warn` as up, `down` and
`unknown` as down; the last two end in exit status 1.

{codes}
"""


def main(arguments: Sequence[str]) -> int:
    made = files()
    if arguments == ["--check"]:
        stale = [name for name, text in made.items() if _content(CHECKOUT / name) != text]
        for name in stale:
            print(f"{name} is not what the program says; run script/reference", file=sys.stderr)
        return 1 if stale else 0
    for name, text in made.items():
        (CHECKOUT / name).parent.mkdir(exist_ok=True)
        (CHECKOUT / name).write_text(text, encoding="utf-8")
    return 0


def files() -> Mapping[str, str]:
    """Every file by its path in the checkout."""
    changelog, example = ((CHECKOUT / name).read_text(encoding="utf-8") for name in ("CHANGELOG.md", "examples/config.yaml"))
    return {
        "docs/reference.md": page(),
        "man/restic-monitor.1": manual.page(changelog, example),
        **{f"completions/restic-monitor.{shell}": completion(shell) for shell in SHELLS},
    }


def _content(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.exists() else None


def page() -> str:
    repository = [*keys.REPOSITORY.values(), *keys.LISTS.values(), *keys.MAPPINGS.values()]
    sections = [
        ("`repositories`", "names and their keys", "required", keys.SECTIONS["repositories"]),
        ("`defaults`", "keys of a repository", "none", keys.SECTIONS["defaults"]),
    ]
    return PAGE.format(
        top=table(
            "key | type | default | meaning",
            [*sections, *((_code(k.name), k.kind, _default(k), k.about) for k in keys.TOP.values())],
        ),
        repository=table(
            "key | where | type | default | meaning",
            [(_code(k.name), "both" if k.defaults else "repository", k.kind, _default(k), k.about) for k in repository],
        ),
        expectation=_keys([*keys.EXPECTATION.values(), *keys.EXPECTATION_LISTS.values(), keys.IGNORE], keys.ALL_EXPECTATION),
        ignored=_keys([*keys.IGNORED.values(), *keys.IGNORED_LISTS.values()], keys.ALL_IGNORED),
        sources=table("source | means", [(f"`{{{name}: …}}`", SOURCES[name][0]) for name in keys.SOURCES]),
        statuses=table("status | meaning", reference.EXIT_STATUSES),
        exceptions=table("command | status", [(_code(name), about) for name, about in reference.EXCEPTIONS.items()]),
        variables=table("variable | meaning", _variables(reference.VARIABLES)),
        of_restic=table("variable | meaning", _variables(reference.OF_RESTIC)),
        codes=table("message | code | status | meaning | what to do", _codes()),
    )


def _keys(of: Sequence[Key], order: Sequence[str]) -> str:
    rows = sorted(of, key=lambda key: order.index(key.name))
    return table("key | type | default | meaning", [(_code(k.name), k.kind, _default(k), k.about) for k in rows])


def table(head: str, rows: Sequence[Sequence[str]]) -> str:
    """Markdown. No cell holds a bar."""
    columns = head.split(" | ")
    assert all(len(row) == len(columns) and not any("|" in cell for cell in row) for row in rows), head
    lines = [columns, *rows]
    text = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(columns), *text[1:]])


def _code(text: str) -> str:
    return f"`{text}`"


def _default(key: Key) -> str:
    return key.default or key.without


def _variables(rows: Sequence[reference.Variables]) -> list[tuple[str, str]]:
    return [(", ".join(map(_code, row.names)), row.about) for row in rows]


def _codes() -> list[tuple[str, ...]]:
    return [
        (
            _code(code.upper()),
            _code(code),
            ", ".join(_code(status.name.lower()) for status in led.statuses),
            meanings()[code.name],
            led.remedy,
        )
        for code, led in reference.CODES.items()
    ]


def meanings() -> dict[str, str]:
    """What stands below each member of `model.Code`, by the member's name."""
    tree = ast.parse(Path(model.__file__).read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Code")
    found = {}
    for member, below in itertools.pairwise(body):
        if isinstance(member, ast.Assign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            text = str(below.value.value).removesuffix(".")
            found[ast.unparse(member.targets[0])] = text[0].lower() + text[1:]
    return found


def completion(shell: str) -> str:
    """What `restic-monitor completion SHELL` prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        cli.main(["completion", shell], standalone_mode=False)
    return printed.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
