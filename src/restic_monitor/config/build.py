"""From a draft and the environment to repositories ready to be looked at. Here secrets are read, those that are used."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from restic_monitor import environment as environments
from restic_monitor import location
from restic_monitor.checks.freshness import Freshness
from restic_monitor.checks.readable import Readable
from restic_monitor.config import find, keys
from restic_monitor.config.addresses import push_addresses
from restic_monitor.config.draft import Block, Draft, Setting
from restic_monitor.config.problems import dotted
from restic_monitor.config.sources import Source
from restic_monitor.config.values import Values
from restic_monitor.environment import Layer, Variable
from restic_monitor.errors import UsageError
from restic_monitor.http import Http
from restic_monitor.model import Receiver, Repository, Watch
from restic_monitor.probes.restic import Restic
from restic_monitor.receivers import uptime_kuma
from restic_monitor.secret import Redactor, Secret, secrets_in

DEFAULT_MAX_AGE = timedelta(days=1)
DEFAULT_TIMEOUT = timedelta(minutes=2)
DEFAULT_CONNECTIONS = 64


@dataclass(slots=True)
class Builder:
    """`layers` are the process environment and, if there is one, the environment file."""

    draft: Draft
    layers: tuple[Layer, ...]
    environment: dict[str, str] = field(init=False)
    values: Values = field(init=False)

    def __post_init__(self) -> None:
        self.environment = find.effective(self.layers)
        self.values = Values(self.draft, self.environment)

    @property
    def jobs(self) -> int:
        """restic processes at once: as many as there are cores, since each derives a key."""
        return self._top("jobs") or os.cpu_count() or 1

    @property
    def connections(self) -> int:
        """Network requests at once."""
        return self._top("connections") or DEFAULT_CONNECTIONS

    def _top(self, name: str) -> Any:
        setting = self.draft.top.get(name)
        return self.values.value(setting, "") if setting else None

    def select(self, names: Sequence[str]) -> list[Block]:
        """The enabled repositories, or those named. Raises UsageError for a name that is none of them."""
        blocks = {block.name: block for block in self.draft.repositories}
        for name in names:
            if name not in blocks:
                close = difflib.get_close_matches(name, blocks, 1)
                hint = f"did you mean {close[0]}? There are" if close else "there are"
                raise UsageError(f"no repository is called {name!r}; {hint}: {', '.join(blocks) or 'none'}")
            if not self.draft.enabled(blocks[name]):
                raise UsageError(f"{name} is not enabled; see its enabled: in {self.draft.file}, or in defaults")
        wanted = set(names) or set(blocks)
        return [block for block in blocks.values() if block.name in wanted and self.draft.enabled(block)]

    def repositories(self, names: Sequence[str] = ()) -> list[Repository]:
        """Raises ConfigError with every mistake of the file, and of the secrets that the named repositories need."""
        blocks = self.select(names) if self.draft.repositories else []
        http = Http(self.environment, self.connections)
        addresses = push_addresses(self.values, reading=[block.name for block in blocks])
        built = [self._repository(block, addresses.get(block.name), http) for block in blocks]
        self._passwords(blocks, built)
        self.draft.problems.raise_if_any()
        return [part.repository for part in built if part]

    def check_file(self) -> None:
        """The mistakes of the file alone, those of its push addresses included. Raises ConfigError."""
        push_addresses(self.values, reading=())
        self.draft.problems.raise_if_any()

    # one repository

    def _repository(self, block: Block, address: uptime_kuma.Address | None, http: Http) -> _Built | None:
        url = self.values.get(block, "url")
        max_age = self.values.get(block, "max_age") or (DEFAULT_MAX_AGE, "1d (default)")
        timeout = (self.values.get(block, "timeout") or self._top("timeout") or (DEFAULT_TIMEOUT, ""))[0]
        merged = self._environment(block)
        probe = self._probe(block, url, merged) if url else None
        if not probe:
            return None
        receivers: list[Receiver] = []
        if address:
            receivers.append(uptime_kuma.UptimeKuma(http, address, self._cacert(block)))
        freshness = Freshness(*max_age)
        watch = Watch(block.name, (freshness, Readable()), tuple(receivers), freshness.limit)
        return _Built(Repository(block.name, probe, (watch,), timeout), merged)

    def _probe(self, block: Block, url: str, merged: Mapping[str, Variable]) -> Restic | None:
        child = {name: variable.value for name, variable in merged.items()}
        values = (self.values.value(setting, block.name) for setting in self.draft.setting_list(block, "restic_options"))
        given = [option for option in values if option]
        no_password = any(s.key.name == "insecure_no_password" for s in self.draft.password_settings(block))
        flags = [
            *self._flag("--cacert", self._cacert(block)),
            *self._flag("--tls-client-cert", self._readable(block, "tls_client_cert")),
            *(["--insecure-tls"] if self.values.get(block, "insecure_tls") else []),
            *(["--insecure-no-password"] if no_password else []),
            *self._cache_flags(block, child),
            *_options(url, given),
        ]
        secrets = [Secret(text) for text in (*location.passwords(url), *map(_command, given))]
        source = self.draft.setting(block, "url")
        shown = str(source.raw) if source and isinstance(source.raw, Source) else location.shown(url)
        return Restic(
            name=block.name,
            program=self.values.get(block, "restic") or "restic",
            shown_url=shown,
            flags=tuple(flags),
            environment={**child, "RESTIC_REPOSITORY": url},
            redact=Redactor((*secrets_in(child.items()), *secrets), self.values.revealed),
        )

    @staticmethod
    def _flag(flag: str, value: str | None) -> list[str]:
        return [flag, value] if value else []

    def _cacert(self, block: Block) -> str | None:
        return self._readable(block, "cacert")

    def _readable(self, block: Block, key: str) -> str | None:
        """The path of a file that must be there."""
        setting = self.draft.setting(block, key)
        path = self.values.value(setting, block.name) if setting else None
        if setting and path and (problem := _unreadable(path)):
            self.draft.problems.add(setting.place, setting.path, problem)
        return path

    def _cache_flags(self, block: Block, child: Mapping[str, str]) -> list[str]:
        """restic 0.19 ends with an error where it cannot make its cache, and a cold cache is slower than none."""
        if configured := self.values.get(block, "cache_dir"):
            return ["--cache-dir", configured]
        if child.get("RESTIC_CACHE_DIR"):
            return []
        if folder := child.get("CACHE_DIRECTORY", "").partition(":")[0]:
            return ["--cache-dir", str(Path(folder, "restic"))]
        return ["--no-cache"]

    # the environment of restic

    def sketch(self, block: Block) -> Sketch:
        """What restic's environment will hold, before anything secret is read."""
        path = dotted("repositories", block.name)
        own: dict[str, dict[str, Setting | None]] = {
            "defaults.extra_env": self.draft.defaults.extra_env,
            f"{path}.extra_env": block.extra_env,
            f"{path}.password": self._password_variables(block),
        }
        layers = [*self.layers, *(Layer(origin, _marked(settings)) for origin, settings in own.items())]
        merged = environments.merge(layers)
        settings = {name: own.get(variable.origin, {}).get(name) for name, variable in merged.items()}
        return Sketch(merged, settings, environments.lost_halves(layers, merged))

    def _password_variables(self, block: Block) -> dict[str, Setting | None]:
        variables: dict[str, Setting | None] = {}
        for setting in self.draft.password_settings(block):
            if setting.key.name == "insecure_no_password":
                variables = dict.fromkeys(environments.PASSWORD)
            else:
                variables[f"RESTIC_{setting.key.name.upper()}"] = setting
        return variables

    def _environment(self, block: Block) -> dict[str, Variable]:
        """Only what restic gets is read: not a default that the repository replaces."""
        sketch = self.sketch(block)
        for sentence in sketch.lost_halves:
            self.draft.problems.add(block.place, dotted("repositories", block.name), sentence)
        environment = {}
        for name, variable in sketch.variables.items():
            setting = sketch.settings[name]
            value = self.values.value(setting, block.name) if setting else variable.value
            if value is not None:
                environment[name] = Variable(value, variable.origin)
        return environment

    def _passwords(self, blocks: Sequence[Block], built: Iterable[_Built | None]) -> None:
        """Every repository has exactly one way to its password; asked before restic is, which would ask a terminal."""
        without = []
        for block, part in zip(blocks, built, strict=True):
            configured = self.draft.password_settings(block)
            if any(setting.key.name == "insecure_no_password" for setting in configured) or not part:
                continue
            if self.draft.is_wrong(block, *keys.PASSWORDS, *environments.PASSWORD):
                continue
            named = [name for name in environments.PASSWORD if part.environment.get(name, _NOTHING).value]
            if not named and not configured:
                without.append(block)
            elif {"RESTIC_PASSWORD_FILE", "RESTIC_PASSWORD_COMMAND"} <= set(named):
                where = part.environment[named[-1]].origin
                message = f"RESTIC_PASSWORD_FILE and RESTIC_PASSWORD_COMMAND are both set in {where}; keep one of them"
                self.draft.problems.add(blocks[0].place, "repositories", message)
            elif "RESTIC_PASSWORD_FILE" in named and (problem := _unreadable(part.environment["RESTIC_PASSWORD_FILE"].value)):
                setting = self.sketch(block).settings["RESTIC_PASSWORD_FILE"]
                where = f"RESTIC_PASSWORD_FILE of {part.environment['RESTIC_PASSWORD_FILE'].origin}"
                # without a setting it is one mistake of the environment, told once
                place, where = (setting.place, setting.path) if setting else (blocks[0].place, where)
                self.draft.problems.add(place, where, problem)
        if without:
            self._no_password(without)

    def _no_password(self, blocks: Sequence[Block]) -> None:
        names = ", ".join(block.name for block in blocks[:5])
        more = f" and {len(blocks) - 5} more" if len(blocks) > 5 else ""
        self.draft.problems.add(
            blocks[0].place,
            "repositories",
            f"no password for {names}{more}; write password_file: PATH there or in defaults, or set RESTIC_PASSWORD, "
            "RESTIC_PASSWORD_FILE or RESTIC_PASSWORD_COMMAND in the environment or in an --environment-file",
        )


@dataclass(frozen=True, slots=True)
class _Built:
    repository: Repository
    environment: Mapping[str, Variable]


@dataclass(frozen=True, slots=True)
class Sketch:
    """restic's environment by name: each variable's origin, and its setting in the file, if it has one.

    The values of settings are not read yet: theirs are placeholders.
    """

    variables: Mapping[str, Variable]
    settings: Mapping[str, Setting | None]
    lost_halves: Sequence[str]


_NOTHING = Variable("", "")


def _marked(settings: Mapping[str, Setting | None]) -> dict[str, str | None]:
    return {name: "(not read)" if setting else None for name, setting in settings.items()}


def _unreadable(path: str) -> str | None:
    """Why a file that must hold something cannot be used, in a sentence. A pipe is not touched: it can be read once."""
    try:
        if Path(path).is_fifo():
            return None
        with Path(path).open("rb") as file:
            return None if file.read(1) else f"{path} is empty"
    except OSError as error:
        return f"cannot read {path}: {(error.strerror or 'unreadable').lower()}"


def _options(url: str, given: Sequence[str]) -> list[str]:
    """`-o` for restic. 16 connections instead of 5: listing many snapshots over a slow link is several times faster."""
    scheme = location.scheme(url)
    name = f"{scheme}.connections"
    own = [f"{name}=16"] if scheme and not any(option.startswith(f"{name}=") for option in given) else []
    return [word for option in (*own, *given) for word in ("-o", option)]


def _command(option: str) -> str:
    """The value of an option that is a command line, `sftp.command=sshpass -p …`; "" for others."""
    name, _, value = option.partition("=")
    return value if keys.is_command(name) else ""
