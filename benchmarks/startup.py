"""`restic-monitor --version` and `--help` against `python -c pass` and a bare click program with the same commands.

Exit status 1 when a limit is exceeded. Run it with the environment that `script/setup` makes:
`.venv/bin/python benchmarks/startup.py`.
"""

from __future__ import annotations

import argparse
import inspect
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/startup.py`

from benchmarks._measure import machine, medians

from restic_monitor.cli import cli

LIMITS = {"python -c pass": 6.0, "bare click": 1.5}
ARGUMENTS = ("--version", "--help")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21, help="each runs every command once (default: 21)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="restic-monitor-benchmark-") as folder:
        environment = environment_with_bytecode_in(Path(folder, "bytecode"))
        programs = {"restic-monitor": installed_program(), "bare click": write_bare_click_program(Path(folder))}
        compare_helps(programs, environment)
        cases = {f"{name} {argument}": [str(path), argument] for name, path in programs.items() for argument in ARGUMENTS}
        cases |= {"python -c pass": ["-c", "pass"]}
        seconds = medians({name: partial(run, case, environment) for name, case in cases.items()}, rounds)
    print(f"{machine()}, click {version('click')}; medians of {rounds} interleaved runs\n")
    for name, taken in sorted(seconds.items(), key=lambda item: item[1]):
        print(f"{taken * 1000:7.1f} ms  {name}")
    print()
    within = [within_limits(seconds, argument) for argument in ARGUMENTS]
    return 0 if all(within) else 1


def within_limits(seconds: Mapping[str, float], argument: str) -> bool:
    ours = seconds[f"restic-monitor {argument}"]
    ratios = {
        "python -c pass": ours / seconds["python -c pass"],
        "bare click": ours / seconds[f"bare click {argument}"],
    }
    for other, ratio in ratios.items():
        verdict = "ok" if ratio <= LIMITS[other] else "TOO SLOW"
        print(f"{argument:9} {ratio:5.2f} x {other:14} (limit {LIMITS[other]:g})  {verdict}")
    return all(ratio <= LIMITS[other] for other, ratio in ratios.items())


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """A fresh interpreter; both programs are started as their console script starts them."""
    return subprocess.run(
        [sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True, env=dict(environment)
    ).stdout


def environment_with_bytecode_in(folder: Path) -> dict[str, str]:
    """Bytecode of all programs, of click and of the standard library goes to one empty folder, at their first run.

    So nothing depends on who installed what and how: pip compiles, uv does not, and $PYTHONDONTWRITEBYTECODE keeps
    Python from it.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder), "COLUMNS": "100"}


def installed_program() -> Path:
    program = Path(sys.executable).with_name("restic-monitor")
    if not program.exists():
        raise SystemExit(f"{program} is not here; run script/setup, then .venv/bin/python benchmarks/startup.py")
    return program


def compare_helps(programs: Mapping[str, Path], environment: Mapping[str, str]) -> None:
    """The bare program has the same words for every command. This is the warm-up, too: it writes the bytecode.

    The first page is left out: ours shows the options of `run` there, which click does not do by itself.
    """
    for words in command_paths(cli):
        ours, bare = [run([str(path), *words, "--help"], environment) for path in programs.values()]
        if words and bare.replace("bare-click", "restic-monitor") != ours:
            raise SystemExit(f"the bare click program differs in {' '.join(words)} --help:\n{ours}\n{bare}")
    for path in programs.values():
        run([str(path), "--version"], environment)


def command_paths(command: click.Command, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield above
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from command_paths(each, (*above, name))


# The bare click program, written from ours: nothing but decorators, names and help

MAIN = """
def main():
    import os, sys
    status = cli.main(prog_name="bare-click", standalone_mode=False)
    sys.stdout.flush()
    os._exit(status or 0)
"""
"""Ours ends by os._exit. A bare program that takes its interpreter down in good order needed 6 to 14 ms more, and
the ratio would praise our start for what we leave out at the end.
"""


def write_bare_click_program(folder: Path) -> Path:
    """A script and the module it imports, as pip makes them, so that the module has bytecode."""
    (folder / "bare_click.py").write_text("\n\n".join(["import click", *bare_commands("click", "cli", cli), MAIN]))
    script = folder / "bare-click"
    script.write_text("import sys\nfrom bare_click import main\nsys.exit(main())\n")
    return script


def bare_commands(parent: str, function: str, command: click.Command) -> Iterator[str]:
    is_group = isinstance(command, click.Group)
    settings = {"name": command.name, "epilog": command.epilog, "context_settings": command.context_settings}
    if isinstance(command, click.Group):
        settings |= {"options_metavar": command.options_metavar, "subcommand_metavar": command.subcommand_metavar}
    lines = [f"@{parent}.{'group' if is_group else 'command'}({keywords(settings)})"]
    lines += [bare_parameter(parameter) for parameter in command.params]
    names = [str(parameter.name) for parameter in command.params if parameter.expose_value]
    lines += [f"def {function}({', '.join(names)}):", f"    {inspect.cleandoc(command.help or '')!r}"]
    yield "\n".join(lines)
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from bare_commands(function, f"{function}_{name}".replace("-", "_"), each)


def bare_parameter(parameter: click.Parameter) -> str:
    if parameter.name == "version" and not parameter.expose_value:
        return f"@click.version_option({version('restic-monitor')!r}, prog_name='bare-click')"
    settings: dict[str, object] = {"metavar": parameter.metavar, "nargs": None if parameter.nargs == 1 else parameter.nargs}
    if isinstance(parameter, click.Argument):
        return f"@click.argument({parameter.name!r}, {bare_type(parameter)}{keywords(settings)})"
    assert isinstance(parameter, click.Option)
    settings |= {"help": parameter.help, "count": parameter.count or None, "show_default": parameter.show_default}
    settings |= {"is_flag": True} if parameter.is_flag else {}
    settings |= {"default": parameter.default} if isinstance(parameter.default, str) else {}
    words = ", ".join(map(repr, [*parameter.opts, parameter.name]))
    return f"@click.option({words}, {'' if parameter.is_flag or parameter.count else bare_type(parameter)}{keywords(settings)})"


def bare_type(parameter: click.Parameter) -> str:
    kind = parameter.type
    return f"type=click.Choice({list(kind.choices)!r}), " if isinstance(kind, click.Choice) else ""


def keywords(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in settings.items() if value is not None)


if __name__ == "__main__":
    sys.exit(main())
