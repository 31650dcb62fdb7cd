"""Arguments in, exit status out. Imports click and nothing else until a command runs: `--help` is part of the product.

Options may stand before or after the command: leading ones are moved behind it, and without a command it is `run`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TextIO, cast

import click

from restic_monitor import __version__
from restic_monitor.errors import ResticMonitorError

_PROGRAM = "restic-monitor"
_INTERNAL_ERROR = 70
_NAGIOS_UNKNOWN = 3
_EPILOG = """\b
Exit status:
  0  every repository is up and was told
  1  something is down or unknown
  2  wrong usage or configuration; nothing was looked at
  3  a push failed, also when something is down
  70 an internal error; 130, 143 ended by a signal
With --format nagios: 0 OK, 1 warning or a failed push, 2 down, 3 unknown or an error.
"""


class Commands(click.Group):
    """A group whose default command is `run`: its options belong to the group's help and completion, too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, arrange(args, self))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [p for p in self.commands["run"].params if isinstance(p, click.Option)]
        run_options = [record for p in options if (record := p.get_help_record(ctx))]
        own = [record for p in self.get_params(ctx) if (record := p.get_help_record(ctx))]
        with formatter.section("Options"):
            formatter.write_dl([*run_options, *own])
        self.format_commands(ctx, formatter)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            ctx.fail(f"no command is called {args[0]!r}; to look at one repository: {_PROGRAM} run {args[0]}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        own = super().shell_complete(ctx, incomplete)
        if not incomplete.startswith("-"):
            return own
        return [*own, *self.commands["run"].shell_complete(ctx, incomplete)]


def arrange(args: Sequence[str], group: click.Group) -> list[str]:
    """`-c x config check` → `config check -c x`; no command → `run`; Go's `-config` → `--config`."""
    args = [f"-{arg}" if arg == "-config" or arg.startswith("-config=") else arg for arg in args]
    leading, rest = _leading_options(args, group.commands["run"])
    if not rest and any(arg in ("--help", "-h", "--version") for arg in leading):
        return args
    path, command = 0, cast(click.Command, group)
    while isinstance(command, click.Group) and path < len(rest) and rest[path] in command.commands:
        command = command.commands[rest[path]]
        path += 1
    if not rest:
        return ["run", *leading]
    return [*rest[:path], *leading, *rest[path:]] if path else [*rest, *leading]


def _leading_options(args: Sequence[str], run: click.Command) -> tuple[list[str], list[str]]:
    """The options before the first word that is none, and everything from that word on."""
    with_value = {name for p in run.params if isinstance(p, click.Option) and not p.is_flag and not p.count for name in p.opts}
    position = 0
    while position < len(args) and args[position].startswith("-") and args[position] != "--":
        position += 2 if args[position] in with_value else 1
    return list(args[:position]), list(args[position:])


def _common(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every command."""
    options = [
        click.option("-c", "--config", metavar="FILE", help="The configuration; see docs for where it is looked for."),
        click.option(
            "--environment-file",
            metavar="FILE",
            help="Variables (secrets) as in systemd's EnvironmentFile, NAME=value.",
        ),
        click.option("-v", "--verbose", count=True, help="Say more on stderr; twice for all there is."),
        click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors; the exit status tells."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _start(config: str | None, environment_file: str | None, verbose: int, quiet: bool) -> Any:
    from restic_monitor.commands import common  # noqa: PLC0415

    common.set_up_logs(verbose, quiet=quiet)
    return common.Common(config, environment_file, verbose, quiet)


def _complete_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the configured repositories; none where the configuration cannot be read."""
    with contextlib.suppress(Exception):
        from restic_monitor.commands import common  # noqa: PLC0415

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

    Only reads. Without a command it does what `run` does.

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
@click.option("--format", "form", type=click.Choice(["text", "json", "nagios"]), default="text", show_default=True)
@click.option("--only-failing", is_flag=True, help="Show only what is not up, or could not be pushed.")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=_complete_names)
def run(names: tuple[str, ...], no_push: bool, form: str, only_failing: bool, **common: Any) -> int:
    """Look at all repositories, or at those named, and tell their push monitors."""
    started = _start(**common)
    from restic_monitor.commands import run as command  # noqa: PLC0415

    return command.run(started, command.Options(names, not no_push, form, only_failing))


@cli.group()
def config() -> None:
    """Check or show the configuration."""


@config.command()
@_common
@click.option("--no-secrets", is_flag=True, help="Only the file itself: read no secret, start nothing.")
@click.option("--no-network", is_flag=True, help="Do not reach for the repositories.")
def check(no_secrets: bool, no_network: bool, **common: Any) -> int:
    """Validate in four stages: file, secrets, the restic program, reach each repository.

    Nobody is told. Exit status 2 when one of the first three fails, 1 when a repository cannot be reached.
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


@cli.command()
@_common
def init(**common: Any) -> int:
    """Write a commented configuration to start from (mode 0600)."""
    started = _start(**common)
    from restic_monitor.commands import init as command  # noqa: PLC0415

    return command.init(started)


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


class _Patient:
    """A stream whose reader may go away: what is written afterwards is lost, and nothing else changes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._lost()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._lost()

    def _lost(self) -> None:
        """What still waits in the buffer goes nowhere, too."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _patient(stream: TextIO | None) -> TextIO:
    if stream is None:  # closed before we began
        return open(os.devnull, "w", encoding="utf-8")
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
    return cast(TextIO, _Patient(stream))


def main() -> NoReturn:
    """The program."""
    sys.stdout, sys.stderr = _patient(sys.stdout), _patient(sys.stderr)
    status = _status(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError as error:
        with contextlib.suppress(OSError):
            print(f"{_PROGRAM}: cannot write the output: {(error.strerror or '').lower()}", file=sys.stderr)
        status = status or _INTERNAL_ERROR
        os._exit(status)
    # threads that were given up may hang in a library; nothing is left to do for anybody
    os._exit(status)


def _status(args: list[str]) -> int:
    """Run a command. Errors are shown here, and nowhere else."""
    try:
        return int(cli.main(args, prog_name=_PROGRAM, standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except ResticMonitorError as error:
        for line in str(error).splitlines():
            print(f"{_PROGRAM}: {line}" if not line.startswith(" ") else line, file=sys.stderr)
        status = error.exit_status
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except Exception as error:  # noqa: BLE001 - the last place
        status = _bug(error)
    return _NAGIOS_UNKNOWN if _nagios(args) else status


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
