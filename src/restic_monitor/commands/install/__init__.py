"""`restic-monitor install-units`: systemd's units for this installation, and its configuration, written and started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from restic_monitor.commands.common import Common, environment_layers
from restic_monitor.commands.install import interval, needs, program
from restic_monitor.commands.install.interval import Heartbeat
from restic_monitor.commands.install.units import MARK, NAME, PATHS, SERVICE, TIMER, Installation
from restic_monitor.config import find, reader
from restic_monitor.config.build import Builder
from restic_monitor.environment import Layer
from restic_monitor.errors import UsageError

_ROOM_FILES = 250
"""A tmpfs of 1 MiB, a page of 4 KiB each: CREDENTIALS_TOTAL_SIZE_MAX of systemd, since the kernel knows tmpfs without swap."""
_PAGE = "docs/systemd.md of the project"


class Options(Struct, frozen=True):
    intervals: tuple[str, ...] = ()
    print: bool = False


class _Plan(Struct, frozen=True):
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
        handed = ", ".join(map(str, plan.installation.credentials.values()))
        print(f"systemd hands to the service, so that they may be root's alone: {handed}")
        print(by_hand or f"the timer runs: {' and '.join(plan.installation.intervals)}")
        print(_to_type(plan.heartbeat))
        if not by_hand:
            print(f"Try it now: systemctl start {SERVICE}; journalctl -eu {SERVICE}")
    return 0


def _to_type(heartbeat: Heartbeat | None) -> str:
    sum_ = heartbeat or "longest gap between two runs + longest run + some slack; systemd-analyze is not here to tell the gap"
    return f"In Uptime Kuma, for each of its monitors: Heartbeat Interval {sum_}, Retries 0"


def _plan(common: Common, options: Options) -> _Plan:
    command = program.command()
    builder, place = _read(common, needed=not options.print)
    intervals = options.intervals or interval.DEFAULT
    gap = interval.longest_gap(intervals)
    limit = interval.longest_run(builder) if builder else interval.DEFAULT_LIMIT
    if builder:
        builder.draft.problems.raise_if_any()
    files, folders = (tuple(needs.handed(builder)), tuple(needs.folders(builder))) if builder else ((), ())
    installation = Installation(command, place, _environment_file(common, place), files, folders, intervals, limit)
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
    layers = files or filter(None, [find.default_environment(place)])
    builder = Builder(draft, (Layer("the environment", {}, inherited=True), *layers), common.mode)
    builder.check_file()
    return builder, _absolute(place)


def _environment_file(common: Common, config: Path) -> Path | None:
    named = common.environment_file or os.environ.get("RESTIC_MONITOR_ENVIRONMENT_FILE")
    if named:
        return _absolute(named)
    return find.ENVIRONMENT_PATH if config == find.SYSTEM_PATH and os.path.lexists(find.ENVIRONMENT_PATH) else None


def _absolute(path: str | Path) -> Path:
    """As named, from here; links stay, since what they lead to may change."""
    return Path(os.path.abspath(path))


# what somebody should know


def _notes(plan: _Plan) -> Iterator[str]:
    if plan.heartbeat and plan.heartbeat.limit > plan.heartbeat.gap.length:
        yield "a run may take longer than the time between two runs; a shorter timeout: would help, or a longer --interval"
    if not plan.builder:
        return
    if (count := len(plan.installation.credentials)) > _ROOM_FILES:
        yield (
            f"the service gets {count} files, and newer systemd has room for about {_ROOM_FILES}; write tokens and "
            "passwords into the configuration itself: it is one file, and may be root's alone"
        )
    if lost := needs.variables(plan.builder):
        yield (
            f"the service does not get {', '.join(lost)} of this shell; write what it needs into {find.ENVIRONMENT_PATH} "
            "(chmod 600) and run this again"
        )
    yield from (f"the service cannot start {problem}" for problem in needs.programs(plan.builder))
    for named in needs.files(plan.builder):
        if not named.is_there:
            yield f"{named.path} is not there, which {named.where} names; run this again when it is"
    for named in needs.in_options(plan.builder):
        yield (
            f"the service cannot read {named.path}, which {named.where} names inside of an option; write "
            f"{{credential_path: NAME}} there and LoadCredential=NAME:{named.path} in a drop-in: {_PAGE}"
        )
    for path in needs.unreadable(plan.builder):
        yield f"the user {NAME} cannot read {path}, unless a drop-in of yours lets it; two ways: {_PAGE}"
