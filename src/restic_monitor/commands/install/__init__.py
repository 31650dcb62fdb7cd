"""`restic-monitor install-units`: systemd's units for this installation, and its configuration, written and started."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from restic_monitor import environment as environments
from restic_monitor.commands.common import Common, environment_layers
from restic_monitor.commands.install import interval, needs, program
from restic_monitor.commands.install.interval import Heartbeat
from restic_monitor.commands.install.units import MARK, NAME, PATHS, SERVICE, TIMER, Installation
from restic_monitor.config import find, reader
from restic_monitor.config.build import Builder
from restic_monitor.environment import Layer
from restic_monitor.errors import UsageError

_ENVIRONMENT_FILE = Path("/etc/restic-monitor/environment")


@dataclass(frozen=True, slots=True)
class Options:
    intervals: tuple[str, ...] = ()
    print: bool = False


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to install. No `builder`: there is no configuration yet. No `heartbeat`: systemd is not here to be asked."""

    installation: Installation
    heartbeat: Heartbeat | None
    builder: Builder | None


def install(common: Common, options: Options) -> int:
    """Raises UsageError before anything is written."""
    if not options.print:
        _check_machine("write")
    plan = _plan(common, options)
    texts = plan.installation.texts()
    if options.print:
        print("\n".join(f"# {path}\n{text}" for path, text in texts.items()), end="")
        print(_to_type(plan.heartbeat), file=sys.stderr)
        return 0
    for path in texts:
        _check_ours(path)
    for path, text in texts.items():
        _write(path, text)
    commands = (["systemd-sysusers"], *_systemctl(["daemon-reload"], ["enable", TIMER], ["restart", TIMER]))
    by_hand = _run(commands)
    for note in _notes(plan):
        print(f"{NAME}: note: {note}", file=sys.stderr)
    if not common.quiet:
        for path in texts:
            print(f"wrote {path}")
        print("handed to the service, whoever may read them:", ", ".join(map(str, plan.installation.credentials.values())))
        print(by_hand or f"the timer runs: {' and '.join(plan.installation.intervals)}")
        print(_to_type(plan.heartbeat))
        print(f"Try it now: systemctl start {SERVICE}; journalctl -eu {SERVICE}")
    return 0


def _to_type(heartbeat: Heartbeat | None) -> str:
    sum_ = heartbeat or "longest gap between two runs + longest run + some slack; systemd-analyze is not here to tell the gap"
    return f"In Uptime Kuma, for each of its monitors: Heartbeat Interval {sum_}, Retries 0"


def _plan(common: Common, options: Options) -> _Plan:
    command = program.command()
    builder, place = _read(common, needed=not options.print)
    intervals = options.intervals or ("hourly",)
    gap = interval.longest_gap(intervals)
    limit = interval.longest_run(builder) if builder else interval.DEFAULT_LIMIT
    if builder:
        builder.draft.problems.raise_if_any()
    files, folders = (tuple(needs.files(builder)), tuple(needs.folders(builder))) if builder else ((), ())
    installation = Installation(command, place, _environment_file(common), files, folders, intervals, limit)
    return _Plan(installation, Heartbeat(gap, limit) if gap else None, builder)


def remove(common: Common) -> int:
    """What `install` wrote; the rest stays, and is named. Raises UsageError."""
    _check_machine("remove")
    paths = [path for path in PATHS if path.exists()]
    for path in paths:
        _check_ours(path)
    before = _run(_systemctl(["disable", "--now", TIMER])) if paths else ""
    for path in paths:
        path.unlink()
    after = _run(_systemctl(["daemon-reload"])) if paths else ""
    if not common.quiet:
        print("\n".join(f"removed {path}" for path in paths) or "nothing to remove")
        print("\n".join(filter(None, (before, after))), end="\n" if before or after else "")
        print(f"left: /etc/{NAME}, /var/lib/{NAME}, /var/cache/{NAME}, the user {NAME}, drop-ins of systemctl edit")
    return 0


def _check_machine(what: str) -> None:
    """Raises UsageError."""
    if Path("/etc/NIXOS").exists():
        raise UsageError("on NixOS the module does this: services.restic-monitor; see docs/nixos.md of the project")
    if os.name != "posix" or os.geteuid() != 0:
        raise UsageError(f"only root may {what} units; or look at them: {NAME} install-units --print")


def _check_ours(path: Path) -> None:
    """Raises UsageError for a file that somebody else wrote."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"cannot read {path}: {(error.strerror or 'unreadable').lower()}") from None
    if not text.startswith(MARK):
        raise UsageError(f"{path} is there, and install-units did not write it; move it away")


def _write(path: Path, text: str) -> None:
    """In one step: systemd sees the old file or the new one. Raises UsageError."""
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text, encoding="utf-8")
        new.chmod(0o644)
        new.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from None


def _systemctl(*commands: Sequence[str]) -> list[list[str]]:
    return [["systemctl", *command] for command in commands]


def _run(commands: Sequence[Sequence[str]]) -> str:
    """What is left to be done by hand, where no systemd runs. Raises UsageError."""
    if not Path("/run/systemd/system").is_dir():
        return "no systemd runs here; where it does: " + "; ".join(" ".join(command) for command in commands)
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            raise UsageError(f"{' '.join(command)}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return ""


# the configuration


def _read(common: Common, *, needed: bool) -> tuple[Builder | None, Path]:
    """The configuration as the service will read it: without the variables of this shell. Raises UsageError."""
    shell, *files = environment_layers(common)
    try:
        place, _ = find.find(common.config, find.effective((shell, *files)))
        draft = reader.read(place)
    except UsageError:
        if needed or common.config:
            raise
        return None, find.SYSTEM_PATH
    layers = files or _layers_of_the_default(common)
    builder = Builder(draft, (Layer("the environment", {}, inherited=True), *layers), common.mode)
    builder.check_file()
    return builder, place.absolute()


def _layers_of_the_default(common: Common) -> list[Layer]:
    return list(find.environment_layers({}, str(_ENVIRONMENT_FILE))[1:]) if _environment_file(common) else []


def _environment_file(common: Common) -> Path | None:
    named = common.environment_file or os.environ.get("RESTIC_MONITOR_ENVIRONMENT_FILE")
    if named:
        return Path(named).absolute()
    return _ENVIRONMENT_FILE if _ENVIRONMENT_FILE.exists() else None


# what somebody should know


def _notes(plan: _Plan) -> Iterator[str]:
    if plan.heartbeat and plan.heartbeat.limit > plan.heartbeat.gap:
        yield "a run may take longer than the time between two runs; a shorter timeout: would help, or a longer --interval"
    if not plan.builder:
        return
    environment = find.effective(plan.builder.layers)
    if lost := [name for name in os.environ if name not in environment and _matters(name)]:
        yield (
            f"the service does not get {', '.join(lost)} of this shell; write what it needs into {_ENVIRONMENT_FILE} "
            "(chmod 600) and run this again"
        )
    for restic in needs.programs(plan.builder):
        yield f"the service cannot start the program {restic}; install it in one of {needs.PATH}, or write restic: PATH"
    for path in needs.unreadable(plan.builder):
        yield f"the user {NAME} cannot read {path}; docs/systemd.md of the project shows two ways to let it"


def _matters(variable: str) -> bool:
    return any(variable in group for group in environments.GROUPS) or bool(re.match(r"RESTIC_(?!MONITOR_)", variable))
