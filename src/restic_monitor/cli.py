"""Arguments in, exit status out. Imports click and nothing else until a command runs: `--help` is part of the product.

Options may stand before or after the command: leading ones are moved behind it, and without a command it is `run`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NoReturn

import click

from restic_monitor import __version__
from restic_monitor.errors import ResticMonitorError
from restic_monitor.streams import patient

_PROGRAM = "restic-monitor"
_INTERNAL_ERROR = 70
_NOT_HANDED_OVER = "the service reads only what systemd hands it; as root: restic-monitor install-units (on NixOS: credentials)"
_EPILOG = """\b
Exit status:
  0  every repository is up (or warns), and every push was accepted
  1  something is down or unknown
  2  wrong usage or configuration; nothing was looked at
  3  a push failed, also when something is down
  70 an internal error; 130, 143 ended by a signal
With --format nagios: 0 OK, 1 warning or a failed push, 2 down, 3 unknown or an error.
"""


class Commands(click.Group):
    """A group whose default command is `run`: its options belong to the group's help and completion, too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        completes_a_command = ctx.resilient_parsing and _leading_options([*args, ""], self)[1] == [""]
        return super().parse_args(ctx, [] if completes_a_command else arrange(args, self))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [p for p in self.commands["run"].params if isinstance(p, click.Option)]
        run_options = [record for p in options if (record := p.get_help_record(ctx))]
        own = [record for p in self.get_params(ctx) if (record := p.get_help_record(ctx))]
        with formatter.section("Options"):
            formatter.write_dl([*run_options, *own])
        self.format_commands(ctx, formatter)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            ctx.fail(f"no command is called {args[0]!r}; {_meant(args[0])}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        own = super().shell_complete(ctx, incomplete)
        if not incomplete.startswith("-"):
            return own
        return [*own, *self.commands["run"].shell_complete(ctx, incomplete)]


_OTHER_WORDS = {"check": "config check", "validate": "config check", "show": "config show", "help": "--help"}


def _meant(word: str) -> str:
    """What somebody may want who types this for a command."""
    if word in _OTHER_WORDS:
        return f"did you mean {_PROGRAM} {_OTHER_WORDS[word]}?"
    return f"to look at one repository: {_PROGRAM} run {word}"


def arrange(args: Sequence[str], group: click.Group) -> list[str]:
    """`-c x config check` → `config check -c x`; no command → `run`; Go's `-config` → `--config`."""
    args = [f"-{arg}" if arg == "-config" or arg.startswith("-config=") else arg for arg in args]
    leading, rest = _leading_options(args, group)
    if "--version" in leading:
        return ["--version"]
    if rest:
        return _behind_the_command(leading, rest, group, group)
    return ["--help"] if {"--help", "-h"} & set(leading) else ["run", *leading]


def _behind_the_command(leading: list[str], rest: list[str], group: click.Group, top: click.Group) -> list[str]:
    """`rest` begins with a word that is no option."""
    command = group.commands.get(rest[0])
    if not isinstance(command, click.Group):
        return [rest[0], *leading, *rest[1:]] if command else [*rest, *leading]
    own, below = _leading_options(rest[1:], top)
    leading = [*leading, *own]
    return [rest[0], *(_behind_the_command(leading, below, command, top) if below else leading)]


def _leading_options(args: Sequence[str], top: click.Group) -> tuple[list[str], list[str]]:
    """The options before the first word that is none, and everything from that word on."""
    options = [p for p in top.commands["run"].params if isinstance(p, click.Option)]
    with_value = {name for option in options if not option.is_flag and not option.count for name in option.opts}
    position = 0
    while position < len(args) and args[position].startswith("-") and args[position] != "--":
        position += 2 if _wants_next(args[position], with_value) else 1
    return list(args[:position]), list(args[position:])


def _wants_next(arg: str, with_value: AbstractSet[str]) -> bool:
    """Whether an option's value is the next word: `--config x`, `-c x`, `-vc x`, but not `-cx`."""
    if arg.startswith("--"):
        return arg in with_value
    first = next((index for index, letter in enumerate(arg) if f"-{letter}" in with_value), None)
    return first == len(arg) - 1


def _common(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every command."""
    options = [
        click.option(
            "-c",
            "--config",
            type=click.Path(readable=False),  # for completion; what cannot be read is told elsewhere
            metavar="FILE",
            help="The configuration; else $RESTIC_MONITOR_CONFIG, ~/.config/restic-monitor/config.yaml, "
            "/etc/restic-monitor/config.yaml.",
        ),
        click.option(
            "--environment-file",
            type=click.Path(readable=False),
            metavar="FILE",
            help="Variables (secrets) as in systemd's EnvironmentFile, NAME=value.",
        ),
        click.option("-v", "--verbose", count=True, help="Say more on stderr; twice for all there is."),
        click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors; the exit status tells."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


_mode = click.option(
    "--mode",
    type=click.Choice(["auto", "native", "fast", "listing", "restic"]),
    help="How to look, instead of what the configuration says: read it with the password, by itself (native) or by "
    "restic, or list its files (no password needed).",
)


def _start(config: str | None, environment_file: str | None, verbose: int, quiet: bool, mode: str | None = None) -> Any:
    from restic_monitor.commands import common  # noqa: PLC0415

    common.set_up_logs(verbose, quiet=quiet)
    return common.Common(config, environment_file, verbose, quiet, mode)


def _complete_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the configured repositories; none where the configuration cannot be read."""
    with contextlib.suppress(Exception):
        from restic_monitor.commands import common  # noqa: PLC0415

        common.set_up_logs(0, quiet=True)  # a warning would stand in the line that is being typed
        builder = common.load(common.Common(ctx.params.get("config"), ctx.params.get("environment_file")))
        return [block.name for block in builder.draft.repositories if block.name.startswith(incomplete)]
    return []


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    options_metavar="[OPTIONS]",
    subcommand_metavar="[COMMAND] [ARGS]...",
    epilog=_EPILOG,
)
@click.version_option(__version__, prog_name=_PROGRAM, message="%(prog)s %(version)s")
def cli() -> None:
    """Look at restic repositories and tell Uptime Kuma whether the newest snapshot of each is recent enough.

    Only reads. With a password the snapshots are read, by itself or by restic; without one the files are listed, which shows
    when the newest was stored (--mode, or mode: in the configuration). Without a command it does what `run` does.

    \b
    First steps:
      restic-monitor init            write a configuration to start from
      restic-monitor config check    is it right, and can everything be reached?
      restic-monitor --no-push       look, but tell nobody
      restic-monitor                 look and tell
    """


@cli.command(epilog=_EPILOG)
@_common
@click.option("--no-push", is_flag=True, help="Look and show what would be pushed, but tell nobody.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "nagios"]),
    default="text",
    show_default=True,
    help="A table, the documented JSON, or a monitoring plugin's output and exit status.",
)
@_mode
@click.option("--no-state", is_flag=True, help="Remember nothing, and compare with no earlier look.")
@click.option("--only-failing", is_flag=True, help="Show only what is not up, or could not be pushed.")
@click.option("--ok-when-told", is_flag=True, help="Exit status 0 also for what is down, if somebody was told; else 3.")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=_complete_names)
def run(
    names: tuple[str, ...], no_push: bool, no_state: bool, form: str, only_failing: bool, ok_when_told: bool, **common: Any
) -> int:
    """Look at all repositories, or those named, and tell."""
    started = _start(**common)
    from restic_monitor.commands import run as command  # noqa: PLC0415

    return command.run(started, command.Options(names, not no_push, not no_state, form, only_failing, ok_when_told))


@cli.group()
def config() -> None:
    """Check or show the configuration."""


@config.command()
@_common
@_mode
@click.option("--no-secrets", is_flag=True, help="Only the file itself: read no secret, start nothing.")
@click.option("--no-network", is_flag=True, help="Do not reach for the repositories.")
def check(no_secrets: bool, no_network: bool, **common: Any) -> int:
    """Validate in four stages: file, secrets, the restic program (where it is needed), reach each repository.

    Nobody is told. Exit status 2 when one of the first three fails, 1 when a repository cannot be reached or is damaged.
    """
    started = _start(**common)
    from restic_monitor.commands import config as command  # noqa: PLC0415

    return command.check(started, secrets=not no_secrets, network=not no_network)


@config.command()
@_common
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=_complete_names)
def show(names: tuple[str, ...], **common: Any) -> int:
    """Print what the configuration means: every value, and where it comes from. Secrets are hidden."""
    started = _start(**common)
    from restic_monitor.commands import config as command  # noqa: PLC0415

    return command.show(started, names)


@config.command()
def schema() -> int:
    """Print a JSON Schema of the configuration: editors complete and check the YAML with it.

    \b
    restic-monitor config schema >restic-monitor.schema.json
    and the first line of config.yaml: # yaml-language-server: $schema=restic-monitor.schema.json
    """
    from restic_monitor.commands import schema as command  # noqa: PLC0415

    return command.show()


@cli.command()
@_common
def init(**common: Any) -> int:
    """Write a commented configuration to start from (mode 0600).

    It goes to --config, else $RESTIC_MONITOR_CONFIG, else /etc/restic-monitor/config.yaml for root, ~/.config/… for others.
    """
    started = _start(**common)
    from restic_monitor.commands import init as command  # noqa: PLC0415

    return command.init(started)


@cli.command()
@_common
@click.argument("name", required=False, metavar="[NAME]", shell_complete=_complete_names)
def groups(name: str | None, **common: Any) -> int:
    """Show who backs up into a repository.

    Hosts, paths and tags, how recently, how often, how much; newest first. "late" is what is older than its usual interval
    allows, "dormant" what has been silent for more than 30 days and five usual intervals. Needs the password: a listing does
    not show whose snapshots are. Only looks: nobody is told, and nothing remembered. Exit status 1 when the repository cannot
    be looked at. NAME may be left out where the configuration has one repository.
    """
    started = _start(**common)
    from restic_monitor.commands import groups as command  # noqa: PLC0415

    return command.groups(started, name)


@cli.command()
@_common
@click.argument("name", required=False, metavar="[NAME]", shell_complete=_complete_names)
def suggest(name: str | None, **common: Any) -> int:
    """Print an expect: block for a repository.

    It is made from what is there, for you to edit. Every host gets an age, or a schedule, that its recent backups keep;
    what is dormant is ignored until it comes back. Needs the password. Only looks: nobody is told, and no file
    is changed. NAME may be left out where the configuration has one repository.

    \b
    restic-monitor suggest home         to be put below home:, in the place of any other expect:
    restic-monitor run --no-push home   see what it says then
    """
    started = _start(**common)
    from restic_monitor.commands import suggest as command  # noqa: PLC0415

    return command.suggest(started, name)


@cli.command(name="install-units")
@_common
@click.option(
    "--interval",
    "intervals",
    multiple=True,
    metavar="CALENDAR",
    help="When to run, as in systemd.time(7): 'hourly UTC' (the default), '*-*-* 06,18:00:00'. May be repeated.",
)
@click.option("--print", "print_", is_flag=True, help="Print the units, and write nothing.")
@click.option("--remove", is_flag=True, help="Stop the timer, and remove what was written.")
def install_units(intervals: tuple[str, ...], print_: bool, remove: bool, **common: Any) -> int:
    """Write systemd's units for this installation, and start the timer. Needs root.

    The service runs as a user of its own, which can neither write anywhere nor read your files: systemd hands it the
    configuration, /etc/restic-monitor/environment (or --environment-file) if it is there, and what the configuration names.
    Run it again when that changes. Prints the Heartbeat Interval to type into Uptime Kuma.
    """
    started = _start(**common)
    from restic_monitor.commands import install as command  # noqa: PLC0415

    if remove and (intervals or print_):
        raise click.UsageError("--remove stands alone")
    return command.remove(started) if remove else command.install(started, command.Options(intervals, print_))


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print the completion script of a shell.

    \b
    bash: restic-monitor completion bash >~/.local/share/bash-completion/completions/restic-monitor
    zsh:  restic-monitor completion zsh >"${fpath[1]}/_restic-monitor"
    fish: restic-monitor completion fish >~/.config/fish/completions/restic-monitor.fish
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415

    kind = get_completion_class(shell)
    assert kind
    instance = kind(cli, {}, _PROGRAM, "_RESTIC_MONITOR_COMPLETE")
    click.echo(instance.source_template % instance.source_vars())
    return 0


def main() -> NoReturn:
    """The program."""
    sys.stdout, sys.stderr = patient(sys.stdout, expendable=False), patient(sys.stderr, expendable=True)
    status = _status(sys.argv[1:])
    sys.stderr.flush()
    # threads that were given up may hang in a library; nothing is left to do for anybody
    os._exit(status)


def _status(args: list[str]) -> int:
    """Run a command. Errors are shown here, and nowhere else."""
    try:
        status = int(cli.main(args, prog_name=_PROGRAM, standalone_mode=False) or 0)
        sys.stdout.flush()
        return status
    except click.ClickException as error:
        error.show()
        status, message = error.exit_code, error.format_message()
    except ResticMonitorError as error:
        _show(error)
        status, message = error.exit_status, str(error)
    except (click.Abort, KeyboardInterrupt):
        from restic_monitor import process  # noqa: PLC0415

        process.end_all()
        status, message = 130, "interrupted"
    except Exception as error:  # noqa: BLE001 - the last place
        status, message = _bug(error), f"internal error: {type(error).__name__}"
    return _plugin_error(message) if _nagios(args) else status


def _show(error: ResticMonitorError) -> None:
    """A line for each mistake; for the journal with their priority."""
    from restic_monitor.commands import common  # noqa: PLC0415 - by now it is nearly always imported

    priority = "<3>" if common.to_the_journal(sys.stderr, os.environ) else ""
    text = str(error)
    if "permission denied" in text and os.environ.get("CREDENTIALS_DIRECTORY"):
        text += f"\n{_NOT_HANDED_OVER}"
    for line in text.splitlines():
        print(f"{priority}{_PROGRAM}: {line}" if not line.startswith(" ") else f"{priority}{line}", file=sys.stderr)


def _plugin_error(message: str) -> int:
    from restic_monitor.outputs import nagios  # noqa: PLC0415

    with contextlib.suppress(ResticMonitorError):
        sys.stdout.write(nagios.error(message))
        sys.stdout.flush()
    return nagios.UNKNOWN


def _bug(error: Exception) -> int:
    """Where it happened, not what the exception says: that may hold a secret."""
    import traceback  # noqa: PLC0415

    print(f"{_PROGRAM}: internal error: {type(error).__name__}; please report it with these lines:", file=sys.stderr)
    for frame in traceback.extract_tb(error.__traceback__):
        print(f"  {frame.filename}:{frame.lineno} {frame.name}", file=sys.stderr)
    return _INTERNAL_ERROR


def _nagios(args: Sequence[str]) -> bool:
    """Whether the plugin's exit codes apply, also when the arguments could not be read."""
    return "--format=nagios" in args or any(pair == ("--format", "nagios") for pair in itertools.pairwise(args))
