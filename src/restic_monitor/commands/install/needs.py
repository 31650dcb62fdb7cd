"""What the configuration needs of the machine that the service would not get by itself."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from restic_monitor import location
from restic_monitor.commands.install.program import HIDDEN, unreachable
from restic_monitor.commands.install.units import NAME
from restic_monitor.config import keys
from restic_monitor.config.build import Builder
from restic_monitor.config.draft import Block, Setting
from restic_monitor.config.keys import Context
from restic_monitor.config.sources import Source

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
"""Of a service: systemd.exec(5), "Environment Variables in Spawned Processes"."""


def files(builder: Builder) -> Iterator[Path]:
    """Those that the configuration names and that the service's user could not read: root's own, those below /home."""
    seen = set()
    for block in builder.select(()):
        for setting in _settings(builder, block):
            path = _named_file(setting, Context(block.name, builder.draft.folder))
            if path and path not in seen and path.is_file() and unreachable(path):
                seen.add(path)
                yield path


def _settings(builder: Builder, block: Block) -> Iterator[Setting]:
    draft = builder.draft
    yield from filter(None, (draft.setting(block, key) for key in keys.REPOSITORY if key not in keys.PASSWORDS))
    yield from draft.password_settings(block)
    yield from draft.setting_list(block, "restic_options")
    yield from builder.surroundings.sketch(block).settings.values()


def _named_file(setting: Setting, context: Context) -> Path | None:
    if isinstance(setting.raw, Source):
        return Path(keys.path(setting.raw.name, context)) if setting.raw.kind == "from_file" else None
    return Path(setting.key.value(setting.raw, context)) if setting.key.parse is keys.path else None


def folders(builder: Builder) -> list[Path]:
    """The local repositories that the service would not see."""
    return [path for path in _local(builder) if any(path.is_relative_to(folder) for folder in HIDDEN)]


def _local(builder: Builder) -> Iterator[Path]:
    for block in builder.select(()):
        setting = builder.draft.setting(block, "url")
        url = (
            setting.key.value(setting.raw, Context(block.name, builder.draft.folder))
            if setting and isinstance(setting.raw, str)
            else ""
        )
        if url and isinstance(parsed := _parsed(url), location.Local):
            yield Path(parsed.path)


def _parsed(url: str) -> location.Location | None:
    try:
        return location.parse(url)
    except ValueError:
        return None


def programs(builder: Builder) -> Iterator[str]:
    """The restic programs that the service would not find, or not see."""
    blocks = [block for block in builder.select(()) if builder.foretold(block) != "a listing"]
    for program in sorted({builder.values.get(block, "restic") or "restic" for block in blocks}):
        found = shutil.which(program, path=PATH)
        if not found or unreachable(Path(found)):
            yield program


def unreadable(builder: Builder) -> Iterator[Path]:
    """The local repositories that the service's user may not read, as far as that can be told."""
    return (path for path in _local(builder) if _service_cannot_read(path))


def _service_cannot_read(path: Path) -> bool:
    try:
        asked = ["test", "-r", str(path), "-a", "-x", str(path)]
        return subprocess.run(asked, user=NAME, group=NAME, extra_groups=[], check=False).returncode == 1
    except (OSError, ValueError, LookupError):  # no such user yet
        return False
