"""What the configuration needs of the machine that the service would not get by itself."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from restic_monitor import environment as environments
from restic_monitor import location
from restic_monitor.commands.install.program import HIDDEN, PATH, unreachable
from restic_monitor.commands.install.units import NAME
from restic_monitor.config import find, keys
from restic_monitor.config.build import Builder
from restic_monitor.config.draft import Block, Setting
from restic_monitor.config.keys import Context
from restic_monitor.config.sources import Source

_PATH = re.compile(r"""(?<![\w.~/-])/[^\s'",=:{}]+""")
_MATTERS = re.compile(r"RESTIC_(?!MONITOR_).*|RESTIC_MONITOR_FAST|RCLONE_.*|SSL_CERT_FILE|.*_proxy|.*_PROXY")
_GROUPED = {name for group in environments.GROUPS for name in group}


_SECRET = ("password_file", "tls_client_cert", "RESTIC_PASSWORD_FILE")


class Named(Struct, frozen=True):
    """A file that the configuration or the environment file names, and where."""

    path: Path
    where: str
    secret: bool = False
    """It may be root's alone tomorrow, if not today."""

    @property
    def is_there(self) -> bool:
        return os.path.isfile(self.path)


def files(builder: Builder) -> list[Named]:
    """Each once, in the order of the configuration; variables count that are the path of a file that is there."""
    named: dict[Path, Named] = {}
    for block in builder.select(()):
        context = Context(block.name, builder.draft.folder)
        for setting in _settings(builder, block):
            if path := _path(setting, context):
                secret = isinstance(setting.raw, Source) or setting.key.name in _SECRET
                named.setdefault(path, Named(path, f"{builder.draft.file}, line {setting.place.line}", secret))
        for variable, text, origin in _variables(builder, block):
            found = Named(Path(text), f"{variable} of {origin}", variable in _SECRET)
            if text.startswith("/") and found.is_there:
                named.setdefault(found.path, found)
    return list(named.values())


def handed(builder: Builder) -> list[Path]:
    """Those that systemd is to hand over: secrets, and what the service could not read."""
    return [each.path for each in files(builder) if each.is_there and (each.secret or unreachable(each.path))]


def _settings(builder: Builder, block: Block) -> Iterator[Setting]:
    draft = builder.draft
    yield from filter(None, (draft.setting(block, key) for key in keys.REPOSITORY if key not in (*keys.PASSWORDS, "cache_dir")))
    yield from draft.password_settings(block)
    yield from draft.setting_list(block, "restic_options")
    for expected in draft.expected(block).values():
        yield from expected.all_settings
    yield from builder.surroundings.sketch(block).settings.values()


def _path(setting: Setting, context: Context) -> Path | None:
    if isinstance(setting.raw, Source):
        return Path(keys.path(setting.raw.name, context)) if setting.raw.kind == "from_file" else None
    return Path(setting.key.value(setting.raw, context)) if setting.key.parse is keys.path else None


def _variables(builder: Builder, block: Block) -> Iterator[tuple[str, str, str]]:
    """Names, texts and origins of what restic gets in its environment, as far as they stand somewhere."""
    sketch = builder.surroundings.sketch(block)
    for name, variable in sketch.variables.items():
        setting = sketch.settings.get(name)
        if not setting:
            yield name, variable.value, variable.origin
        elif isinstance(setting.raw, str) and setting.key is keys.MAPPINGS["extra_env"]:
            yield name, setting.raw, variable.origin


def in_options(builder: Builder) -> list[Named]:
    """Files inside the texts of restic_options, which nobody can hand over as they stand there."""
    named: dict[Path, Named] = {}
    for block in builder.select(()):
        for setting in builder.draft.setting_list(block, "restic_options"):
            for text in _PATH.findall(setting.raw) if isinstance(setting.raw, str) else ():
                found = Named(Path(text), f"{builder.draft.file}, line {setting.place.line}")
                if found.is_there and unreachable(found.path):
                    named.setdefault(found.path, found)
    return list(named.values())


def folders(builder: Builder) -> list[Path]:
    """The local repositories that the service would not see, where the address says and where that leads."""
    places = (place for path in _local(builder) for place in (path, Path(os.path.realpath(path))))
    return list(dict.fromkeys(place for place in places if hidden(place)))


def hidden(path: Path) -> bool:
    """Whether the service does not see what is there."""
    return any(Path(os.path.normpath(path)).is_relative_to(folder) for folder in HIDDEN)


def _local(builder: Builder) -> Iterator[Path]:
    for block in builder.select(()):
        setting = builder.draft.setting(block, "url")
        if not setting or not isinstance(setting.raw, str):
            continue
        url = setting.key.value(setting.raw, Context(block.name, builder.draft.folder))
        if isinstance(parsed := _parsed(url), location.Local) and parsed.path.startswith("/"):
            yield Path(parsed.path)


def _parsed(url: str) -> location.Location | None:
    try:
        return location.parse(url)
    except ValueError:
        return None


def programs(builder: Builder) -> Iterator[str]:
    """Why the service could not start the restic programs, in words."""
    blocks = [block for block in builder.select(()) if builder.foretold(block) != "a listing"]
    for program in sorted({builder.values.get(block, "restic") or "restic" for block in blocks}):
        found = shutil.which(program, path=PATH)
        if problem := unreachable(Path(found or program)) if found or "/" in program else None:
            yield f"{program}: {problem}"
        elif not found:
            yield f"{program}: it is not in {PATH}; install it there, or write its whole path as restic:"


def unreadable(builder: Builder) -> list[Path]:
    """The local repositories that the service's user may not read, as far as that can be told."""
    return [path for path in dict.fromkeys(_local(builder)) if _service_cannot_read(path)]


def _service_cannot_read(path: Path) -> bool:
    try:
        user = pwd.getpwnam(NAME)
        groups = os.getgrouplist(NAME, user.pw_gid)
        asked = ["test", "-r", str(path), "-a", "-x", str(path)]
        return path.exists() and subprocess.run(asked, user=NAME, group=NAME, extra_groups=groups, check=False).returncode == 1
    except (OSError, ValueError, LookupError):  # no such user yet
        return False


def variables(builder: Builder) -> list[str]:
    """Those of this shell that a run by hand gets, and the service does not, and that matter."""
    own = find.effective(builder.layers)
    from_env = {
        setting.raw.name
        for block in builder.select(())
        for setting in _settings(builder, block)
        if isinstance(setting.raw, Source) and setting.raw.kind == "from_env"
    }
    return [
        name for name in os.environ if name not in own and (name in from_env or _MATTERS.fullmatch(name) or name in _GROUPED)
    ]
