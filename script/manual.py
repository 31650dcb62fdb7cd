"""restic-monitor(1), from click's definitions and the tables of the program. Source of the macros: groff_man(7)."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import click

from restic_monitor import __version__
from restic_monitor.cli import cli
from restic_monitor.commands import reference
from restic_monitor.config import find, keys
from restic_monitor.config.keys import Key
from restic_monitor.config.schema import SOURCES, plain

NAME = "restic-monitor"
PURPOSE = "look at restic repositories and tell Uptime Kuma whether they are fresh"
FILES = {
    str(find.SYSTEM_PATH): "the configuration of the system: of the systemd unit, and of every user who has none",
    "~/.config/restic-monitor/config.yaml": "the configuration of a user",
    "~/.local/state/restic-monitor/state.sqlite": "what is remembered from run to run; of the systemd unit in "
    "/var/lib/restic-monitor",
}
EXAMPLES = {
    "Is the configuration right, and can everything be reached?": "restic-monitor config check",
    "Look, and tell nobody:": "restic-monitor --no-push",
    "One repository, with all there is to say:": "restic-monitor run web-server --no-push -vv",
    "Names of what is not up:": "restic-monitor --format json | jq -r '.results[] | select(.status != \"up\") | .name'",
    "Where does each value come from?": "restic-monitor config show",
}
SEE_ALSO = "restic(1), rclone(1), ssh(1), systemd.timer(5), systemd.exec(5)"
_COMMON_AT_LEAST = 3
"""So many commands share an option that is told once."""

Commands = dict[str, click.Command]


def page(changelog: str, example: str) -> str:
    """The whole page. It is dated as its version is in the changelog: no day of generation."""
    dated = re.search(rf"(?m)^## \[?{re.escape(__version__)}\]? - (\S+)", changelog)
    sections = [
        ("NAME", inline(f"{NAME} - {PURPOSE}")),
        ("SYNOPSIS", _synopsis()),
        ("DESCRIPTION", prose(cli.help or "")),
        ("OPTIONS", _common_options()),
        ("COMMANDS", _commands()),
        ("CONFIGURATION", _configuration(example)),
        ("EXIT STATUS", _statuses()),
        ("ENVIRONMENT", _variables()),
        ("FILES", _terms((bold(name), about) for name, about in FILES.items())),
        ("EXAMPLES", _examples()),
        ("SEE ALSO", [re.sub(r"([\w.]+)(\(\d\))", r"\\fB\1\\fR\2", SEE_ALSO)]),
    ]
    head = [
        '.\\" Made by script/reference from the definitions of the program.',
        f'.TH RESTIC\\-MONITOR 1 "{dated[1] if dated else ""}" "{NAME} {__version__}" "User Commands"',
    ]
    return "\n".join([*head, *(line for title, lines in sections for line in (f".SH {title}", *lines))]) + "\n"


# text


def literal(text: str) -> str:
    """As it stands: every hyphen can be copied into a shell, and no line becomes a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    escaped = "".join(character if character.isascii() else f"\\[u{ord(character):04X}]" for character in escaped)
    return _no_request(escaped)


def _no_request(line: str) -> str:
    return f"\\&{line}" if line.startswith((".", "'")) else line


def bold(text: str) -> str:
    return f"\\fB{literal(text)}\\fR"


def inline(markdown: str) -> list[str]:
    """Links become their words, code becomes bold. Short lines, as is the custom."""
    text = re.sub(r"`([^`]+)`", r"\\fB\1\\fR", literal(plain(markdown)))
    return [_no_request(line) for line in textwrap.wrap(text, 78, break_long_words=False, break_on_hyphens=False)]


def prose(text: str) -> list[str]:
    """A docstring as click shows it: paragraphs, and blocks behind \\b that keep their lines."""
    lines: list[str] = []
    for number, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        if paragraph.startswith("\b\n"):
            lines += _block(paragraph.removeprefix("\b\n"))
        else:
            lines += [*([".PP"] if number else []), *inline(" ".join(paragraph.split()))]
    return lines


def _block(text: str) -> list[str]:
    return [".PP", ".RS 4", ".EX", *map(literal, text.rstrip().splitlines()), ".EE", ".RE"]


def _terms(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """(A term, ready; what it means, in Markdown)."""
    return [line for term, about in pairs for line in (".TP", term, *inline(about))]


# commands and options


def commands() -> Commands:
    """Those that do something, by the words that name them."""
    return dict(_below("", cli))


def _below(name: str, group: click.Group) -> Iterator[tuple[str, click.Command]]:
    for word, command in group.commands.items():
        full = f"{name} {word}".strip()
        if isinstance(command, click.Group):
            yield from _below(full, command)
        else:
            yield full, command


def options(command: click.Command) -> dict[tuple[str, ...], click.Option]:
    return {tuple(each.opts): each for each in command.params if isinstance(each, click.Option)}


def common() -> dict[tuple[str, ...], click.Option]:
    """The options that several commands share."""
    every = [(names, option) for command in commands().values() for names, option in options(command).items()]
    count = Counter((names, option.help) for names, option in every)
    return {names: option for names, option in every if count[names, option.help] >= _COMMON_AT_LEAST}


def _synopsis() -> list[str]:
    lines = [f"{bold(NAME)} [\\fIOPTIONS\\fR] [\\fINAME\\fR]..."]
    for words, command in commands().items():
        lines += [".br", f"{bold(f'{NAME} {words}')} {_arguments(command)}".rstrip()]
    return lines


def _arguments(command: click.Command) -> str:
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    has = ["[\\fIOPTIONS\\fR]"] if options(command) else []
    return " ".join([*has, *(_argument(each) for each in arguments)])


def _argument(argument: click.Argument) -> str:
    if isinstance(argument.type, click.Choice):
        return "|".join(map(bold, argument.type.choices))
    return re.sub(r"\w+", r"\\fI\g<0>\\fR", argument.metavar or (argument.name or "").upper())


def _option(option: click.Option) -> tuple[str, str]:
    value = "|".join(option.type.choices) if isinstance(option.type, click.Choice) else option.metavar or "VALUE"
    takes = not option.is_flag and not option.count
    default = f" The default is {option.default}." if option.show_default else ""
    return ", ".join(map(bold, option.opts)) + (f" \\fI{literal(value)}\\fR" if takes else ""), f"{option.help}{default}"


def _common_options() -> list[str]:
    shared = common()
    users = [words for words, command in commands().items() if set(shared) <= set(options(command))]
    helping = cli.get_help_option(click.Context(cli, **cli.context_settings))
    own = [each for each in (*cli.params, helping) if isinstance(each, click.Option)]
    return [
        *inline(f"Of {_listed(users)}. They may stand before the command, too. Without a command it is `run`."),
        *_terms(_option(each) for each in (*shared.values(), *own)),
    ]


def _listed(words: Sequence[str]) -> str:
    names = [f"`{each}`" for each in words]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _commands() -> list[str]:
    lines = []
    shared = set(common())
    for words, command in commands().items():
        own = options(command)
        told = {names: each for names, each in own.items() if not (shared <= set(own) and names in shared)}
        lines += [f".SS {NAME} {words}".replace("-", "\\-"), *prose(command.help or ""), *_terms(map(_option, told.values()))]
    return lines


# the rest


def _configuration(example: str) -> list[str]:
    repository = [*keys.REPOSITORY.values(), *keys.LISTS.values(), *keys.MAPPINGS.values()]
    return [
        *inline("One YAML file: a name for each repository, and the keys of all of them once, as `defaults`."),
        *_block(example),
        ".SS Top level",
        *_terms((bold(name), about) for name, about in keys.SECTIONS.items()),
        *_terms(map(_key, keys.TOP.values())),
        ".SS Keys of a repository",
        *_terms(map(_key, repository)),
        ".SS Keys of an expectation",
        *_terms(map(_key, [*keys.EXPECTATION.values(), *keys.EXPECTATION_LISTS.values(), keys.IGNORE])),
        ".SS Keys of an ignored group",
        *_terms(map(_key, [*keys.IGNORED.values(), *keys.IGNORED_LISTS.values()])),
        ".SS Instead of a value",
        *_terms((bold(f"{{{name}: ...}}"), SOURCES[name][0]) for name in keys.SOURCES),
    ]


def _key(key: Key) -> tuple[str, str]:
    kind = literal(key.kind.replace("`", ""))
    otherwise = f"The default is `{key.default}`." if key.default else f"Not set: {key.without}."
    return f"{bold(key.name)} ({kind})", f"{key.about}. {'Required.' if key.without == 'required' else otherwise}"


def _statuses() -> list[str]:
    return [
        *_terms((bold(row.numbers), row.about) for row in reference.EXIT_STATUSES),
        ".PP",
        "Where a command has its own:",
        *_terms((bold(name), about) for name, about in reference.EXCEPTIONS.items()),
    ]


def _variables() -> list[str]:
    return _terms((", ".join(map(bold, row.names)), row.about) for row in (*reference.VARIABLES, *reference.OF_RESTIC))


def _examples() -> list[str]:
    return [line for about, command in EXAMPLES.items() for line in (".PP", literal(about), *_block(command))][1:]
