"""`restic-monitor config check` and `config show`: what is wrong with the configuration, and what it means."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from msgspec import Struct

from restic_monitor import environment as environments
from restic_monitor import listed, process
from restic_monitor.commands import shown
from restic_monitor.commands.common import Common, close, load, report_bugs
from restic_monitor.commands.signals import stopping
from restic_monitor.config import keys, modes
from restic_monitor.config.build import DEFAULT_CONNECTIONS, Builder
from restic_monitor.config.draft import Block
from restic_monitor.config.problems import dotted
from restic_monitor.config.surroundings import Sketch
from restic_monitor.errors import ConfigError, UsageError
from restic_monitor.model import Code, Repository, Result, Status, one_line
from restic_monitor.monitor import Monitor
from restic_monitor.probes.restic import Restic
from restic_monitor.secret import HIDDEN
from restic_monitor.state import State

T = TypeVar("T")
_OLDEST = (0, 14)
_VERSION_SECONDS = 20.0


class _Stages(Struct, frozen=True):
    """Says how each stage went; with `quiet` only the exit status does."""

    quiet: bool

    def say(self, stage: str, text: str, *, word: str = "ok") -> None:
        if not self.quiet:
            print(f"{stage:8} {word:8} {text}", flush=True)

    def run(self, stage: str, work: Callable[[], T]) -> T:
        """Do the work of a stage. Raises its UsageError, after the stage was named."""
        try:
            return work()
        except UsageError as error:
            count = len(error.problems) if isinstance(error, ConfigError) else 1
            self.say(stage, f"{count} to correct", word="FAILED")
            raise


def check(common: Common, *, secrets: bool, network: bool) -> int:
    """Four stages, each only when the one before passed. Raises UsageError that names the stage that failed."""
    stages = _Stages(common.quiet)
    builder = stages.run("file", lambda: load(common))
    stages.run("file", builder.check_file)
    enabled = builder.select(())
    off = len(builder.draft.repositories) - len(enabled)
    stages.say("file", f"{builder.draft.file}: {_counted(len(enabled))}" + (f", {off} not enabled" if off else ""))
    if not secrets:
        return 0
    state = State(builder.environment)
    repositories = stages.run("secrets", lambda: builder.repositories(state=state, remember=False, asks_the_key=True))
    stages.say("secrets", "every password, token and file that is needed is there")
    for line in stages.run("restic", lambda: _versions(repositories)) or ["not needed: no repository is looked at by it"]:
        stages.say("restic", line)
    status = _reach(repositories, builder, stages) if network else 0
    close(state)
    return status


def _counted(count: int) -> str:
    return "1 repository" if count == 1 else f"{count} repositories"


def _versions(repositories: Sequence[Repository]) -> list[str]:
    """What each restic program says of itself. Raises UsageError for one that is missing, strange or too old."""
    ways = [way for r in repositories for way in (r, r.otherwise) if way]
    programs = {probe.program: probe for way in ways if isinstance(probe := way.probe, Restic)}
    return [_version(program, probe.handed()[0]) for program, probe in programs.items()]


def _version(program: str, environment: Mapping[str, str]) -> str:
    try:
        ended = process.run([program, "version"], environment, time.monotonic() + _VERSION_SECONDS)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UsageError(f"the program {program} cannot be started: {why}; install restic, or write restic: PATH") from None
    found = re.match(r"restic (\d{1,6})\.(\d{1,6})(\.\d+)?\S*", ended.stdout.decode("utf-8", "replace"))
    if ended.status != 0 or not found:
        raise UsageError(f"the program {program} does not answer `version` as restic does; is restic: right?")
    version = one_line(found[0])
    if (int(found[1]), int(found[2])) < _OLDEST:
        raise UsageError(f"the program {program} is too old: {version}; install 0.14 or newer, or set restic:")
    return f"{version} ({program})"


def _reach(repositories: Sequence[Repository], builder: Builder, stages: _Stages) -> int:
    """Look at each, tell nobody. A repository that is stale was reached, one that is damaged is of no use."""
    silent = [repository.telling(lambda receiver: None) for repository in repositories]
    monitor = Monitor(silent, jobs=builder.jobs, connections=builder.connections)
    with stopping(monitor) as received:
        unreached = [event for event in monitor.run() if isinstance(event, Result) and not _reached(event, stages)]
    if received:
        process.end_all()
        return 128 + received[0]
    if untold := [repository.name for repository in repositories if not _told(repository, builder)]:
        stages.say("push", f"nobody is told, for want of a push address: {', '.join(untold)}", word="note")
    return report_bugs(monitor) or (1 if unreached else 0)


def _told(repository: Repository, builder: Builder) -> bool:
    """Somebody is told of the repository, or of each of its expectations."""
    watch, draft = repository.watch, builder.draft
    expected = next(draft.expected(block) for block in draft.repositories if block.name == repository.name)
    return bool(watch.receivers) or (bool(expected) and expected.keys() <= watch.tell.keys())


def _reached(result: Result, stages: _Stages) -> bool:
    seen, damage = result.snapshots is not None, _damage(result)
    count = f"{result.snapshots} snapshot{'' if result.snapshots == 1 else 's'}"
    notes = "".join(f"  [{note}]" for note in result.notes if note != listed.FIRST_LOOK)
    reached = f"{count}{f'; {damage}' if damage else ''}" if seen else result.message
    stages.say("reach", f"{result.watch.name}: {reached}{notes}", word="ok" if seen and not damage else "FAILED")
    for line in result.lines:
        if line.code is Code.MISSING:  # a name that is misspelt; what is stale was there
            stages.say("expect", f"{result.watch.name}/{line.watch.name}: {line.worst.message}", word="note")
    return seen and not damage


def _damage(result: Result) -> str:
    """What is wrong with the repository itself, "" for nothing."""
    broken = (verdict for verdict in result.verdicts if (verdict.status, verdict.code) == (Status.DOWN, Code.ERROR))
    return "; ".join(one_line(verdict.message) for verdict in broken)


# config show


def show(common: Common, names: Sequence[str]) -> int:
    """The effective configuration with the origin of each value; nothing secret is read or shown."""
    builder = load(common)
    builder.check_file()
    lines = [f"# {builder.draft.file}"]
    for name, default in (
        ("jobs", f"{os.cpu_count() or 1}"),
        ("connections", f"{DEFAULT_CONNECTIONS}"),
        ("timeout", "2m"),
    ):
        setting = builder.draft.top.get(name)
        lines.append(shown.line("", name, str(setting.raw) if setting else default, setting.origin if setting else "default"))
    lines.append("repositories:")
    for block in builder.select(names):
        lines += _block(builder, block)
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _block(builder: Builder, block: Block) -> list[str]:
    draft = builder.draft
    lines = [f"  {dotted('', block.name)}:"]
    judged = () if draft.expected(block) else (*shown.rule(builder, block, "    "), *shown.limits(builder, block, "    "))
    for name in keys.REPOSITORY:
        setting = draft.setting(block, name)
        if name in keys.PASSWORDS and setting not in draft.password_settings(block):
            continue
        if name == "mode":
            lines += [*judged, shown.line("    ", name, *modes.chosen(builder.mode, builder.values, block))]
        elif setting and name not in (*keys.RULES, *keys.LIMITS):
            lines.append(shown.line("    ", name, shown.value(setting, block, builder), setting.origin))
    lines += [
        shown.line("    ", "restic_options", shown.option(setting), setting.origin)
        for setting in draft.setting_list(block, "restic_options")
    ]
    sketch = builder.surroundings.sketch(block)
    extra = [*_extra_env(sketch), *_unset(builder, block)]
    lines += ["    extra_env:", *extra] if extra else []
    if not draft.password_settings(block):
        lines += _other_password(sketch)
    lines += shown.expectations(builder, block)
    how = builder.foretold(block)
    return [*lines, f"    # looked at by {how}"] if how else lines


def _extra_env(sketch: Sketch) -> list[str]:
    """What `extra_env` adds; without the defaults that a group of credentials in the repository replaces."""
    return [
        shown.line("      ", name, HIDDEN if isinstance(setting.raw, str) else str(setting.raw), setting.origin)
        for name, setting in sketch.settings.items()
        if setting.key.name == "extra_env"
    ]


def _unset(builder: Builder, block: Block) -> list[str]:
    names = {**builder.draft.defaults.extra_env, **block.extra_env}
    return [shown.line("      ", name, "null", "unset") for name, setting in names.items() if not setting]


def _other_password(sketch: Sketch) -> list[str]:
    """Where the password comes from when no key names it. restic prefers the command, then the file."""
    for name in reversed(environments.PASSWORD):
        if name in sketch.variables and sketch.variables[name].value:
            return [shown.line("    ", "password", HIDDEN, f"{name} of {sketch.variables[name].origin}")]
    return ["    # no password from anywhere"]
