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
from restic_monitor.config import find
from restic_monitor.config.draft import Block, Draft, Setting
from restic_monitor.config.keys import Context
from restic_monitor.config.problems import dotted
from restic_monitor.config.sources import Source
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

    def __post_init__(self) -> None:
        self.environment = find.effective(self.layers)

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
        return self._value(setting, "") if setting else None

    def select(self, names: Sequence[str]) -> list[Block]:
        """The enabled repositories, or those named. Raises UsageError for a name that is none of them."""
        blocks = {block.name: block for block in self.draft.repositories}
        for name in names:
            if name not in blocks:
                close = difflib.get_close_matches(name, blocks, 1)
                hint = f"did you mean {close[0]}? " if close else ""
                raise UsageError(f"no repository is called {name!r}; {hint}There are: {', '.join(blocks) or 'none'}")
            if not self.draft.enabled(blocks[name]):
                raise UsageError(f"{name} is not enabled (enabled: in {self.draft.file})")
        wanted = set(names) or set(blocks)
        return [block for block in blocks.values() if block.name in wanted and self.draft.enabled(block)]

    def repositories(self, names: Sequence[str] = ()) -> list[Repository]:
        """Raises ConfigError with every mistake of the file, and of the secrets that the named repositories need."""
        blocks = self.select(names) if self.draft.repositories else []
        http = Http(self.environment, self.connections)
        addresses = self._addresses()
        built = [self._repository(block, addresses.get(block.name), http) for block in blocks]
        self._passwords(blocks, built)
        self.draft.problems.raise_if_any()
        return [part.repository for part in built if part]

    # values

    def _value(self, setting: Setting, name: str) -> Any:
        """What a setting means for the repository `name`; None when that cannot be told, which is noted."""
        context = Context(name, self.draft.folder)
        raw = setting.raw
        try:
            text = raw.read(context, self.environment) if isinstance(raw, Source) else raw
            if isinstance(raw, Source) and not text:
                raise ValueError(f"{raw} is empty")
        except ValueError as error:
            self.draft.problems.add(setting.place, setting.path, str(error))
            return None
        try:
            return setting.key.parse(text, context)
        except ValueError as error:
            # the text comes from outside and may be a secret: the message must not quote it
            message = f"what {raw} holds is not valid for {setting.key.name}" if isinstance(raw, Source) else str(error)
            self.draft.problems.add(setting.place, setting.path, message)
            return None

    def _get(self, block: Block, key: str) -> Any:
        setting = self.draft.setting(block, key)
        return self._value(setting, block.name) if setting else None

    # one repository

    def _repository(self, block: Block, address: uptime_kuma.Address | None, http: Http) -> _Built | None:
        url = self._get(block, "url")
        max_age = self._get(block, "max_age") or (DEFAULT_MAX_AGE, "1d (default)")
        timeout = (self._get(block, "timeout") or self._top("timeout") or (DEFAULT_TIMEOUT, ""))[0]
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
        given = [self._value(setting, block.name) for setting in self.draft.setting_list(block, "restic_options")]
        no_password = any(s.key.name == "insecure_no_password" for s in self.draft.password_settings(block))
        flags = [
            *self._flag("--cacert", self._cacert(block)),
            *self._flag("--tls-client-cert", self._readable(block, "tls_client_cert")),
            *(["--insecure-tls"] if self._get(block, "insecure_tls") else []),
            *(["--insecure-no-password"] if no_password else []),
            *self._cache_flags(block, child),
            *_options(url, [option for option in given if option]),
        ]
        secrets = (*secrets_in(child.items()), *_url_secrets(url))
        return Restic(
            program=self._get(block, "restic") or "restic",
            url=Secret(url),
            shown_url=location.shown(url),
            flags=tuple(flags),
            environment={**child, "RESTIC_REPOSITORY": url},
            redact=Redactor(secrets),
        )

    @staticmethod
    def _flag(flag: str, value: str | None) -> list[str]:
        return [flag, value] if value else []

    def _cacert(self, block: Block) -> str | None:
        return self._readable(block, "cacert")

    def _readable(self, block: Block, key: str) -> str | None:
        """The path of a file that must be there."""
        setting = self.draft.setting(block, key)
        path = self._value(setting, block.name) if setting else None
        if setting and path and (problem := _unreadable(path)):
            self.draft.problems.add(setting.place, setting.path, problem)
        return path

    def _cache_flags(self, block: Block, child: Mapping[str, str]) -> list[str]:
        """restic 0.19 ends with an error where it cannot make its cache, and a cold cache is slower than none."""
        if configured := self._get(block, "cache_dir"):
            return ["--cache-dir", configured]
        if child.get("RESTIC_CACHE_DIR"):
            return []
        if folder := child.get("CACHE_DIRECTORY", "").partition(":")[0]:
            return ["--cache-dir", str(Path(folder, "restic"))]
        return ["--no-cache"]

    # the environment of restic

    def _environment(self, block: Block) -> dict[str, Variable]:
        layers = [
            *self.layers,
            Layer("defaults.extra_env", self._extra_env(self.draft.defaults, block)),
            Layer(f"{dotted('repositories', block.name)}.extra_env", self._extra_env(block, block)),
            self._password_layer(block),
        ]
        merged = environments.merge(layers)
        path = dotted("repositories", block.name)
        for sentence in environments.lost_halves(layers, merged):
            self.draft.problems.add(block.place, path, sentence)
        return merged

    def _extra_env(self, source: Block, block: Block) -> dict[str, str | None]:
        """Values of `source`, resolved for `block`. Defaults that the repository replaces are not even read."""
        return {
            name: self._value(setting, block.name) if setting else None
            for name, setting in source.extra_env.items()
            if source is block or name not in block.extra_env
        }

    def _password_layer(self, block: Block) -> Layer:
        variables: dict[str, str | None] = {}
        for setting in self.draft.password_settings(block):
            if setting.key.name == "insecure_no_password":
                variables = dict.fromkeys(environments.PASSWORD)
            elif setting.key.name == "password_file":
                variables["RESTIC_PASSWORD_FILE"] = self._value(setting, block.name)
            else:
                variables[f"RESTIC_{setting.key.name.upper()}"] = self._value(setting, block.name)
        return Layer(f"the configuration of {block.name}", variables)

    def _passwords(self, blocks: Sequence[Block], built: Iterable[_Built | None]) -> None:
        """Every repository has exactly one way to its password; asked before restic is, which would ask a terminal."""
        without = []
        for block, part in zip(blocks, built, strict=True):
            configured = self.draft.password_settings(block)
            if any(setting.key.name == "insecure_no_password" for setting in configured) or not part:
                continue
            path = dotted("repositories", block.name)
            named = [name for name in environments.PASSWORD if part.environment.get(name, _NOTHING).value]
            if not named and not configured:
                without.append(block)
            elif {"RESTIC_PASSWORD_FILE", "RESTIC_PASSWORD_COMMAND"} <= set(named):
                where = part.environment[named[-1]].origin
                message = f"RESTIC_PASSWORD_FILE and RESTIC_PASSWORD_COMMAND are both set in {where}; keep one of them"
                self.draft.problems.add(block.place, path, message)
            elif "RESTIC_PASSWORD_FILE" in named and (problem := _unreadable(part.environment["RESTIC_PASSWORD_FILE"].value)):
                setting = configured[0] if configured else None
                place, where = (setting.place, setting.path) if setting else (block.place, f"{path}: RESTIC_PASSWORD_FILE")
                self.draft.problems.add(place, where, problem)
        if without:
            self._no_password(without)

    def _no_password(self, blocks: Sequence[Block]) -> None:
        names = ", ".join(block.name for block in blocks[:5])
        more = f" and {len(blocks) - 5} more" if len(blocks) > 5 else ""
        self.draft.problems.add(
            blocks[0].place,
            "repositories",
            f"no password for {names}{more}; write password_file: PATH here or in defaults, or set RESTIC_PASSWORD, "
            "RESTIC_PASSWORD_FILE or RESTIC_PASSWORD_COMMAND in the environment or with --environment-file",
        )

    # push addresses

    def _addresses(self) -> dict[str, uptime_kuma.Address]:
        """Of all enabled repositories, selected or not: a healthy one must not cover for a sick one."""
        found: dict[str, uptime_kuma.Address] = {}
        owners: dict[tuple[str, str], tuple[str, int]] = {}
        for block in self.draft.repositories:
            setting = block.settings.get("push_token") or self.draft.setting(block, "push_url")
            address = self._address(block, setting) if setting and self.draft.enabled(block) else None
            if not setting or not address:
                continue
            place = block.place if setting.level == "defaults" else setting.place
            other, line = owners.setdefault(address.monitor, (block.name, place.line))
            if other != block.name:
                self.draft.problems.add(
                    place,
                    dotted(dotted("repositories", block.name), setting.key.name),
                    f"the same push address as repositories.{other} (line {line}): the healthy one would cover "
                    "for the sick one; give each repository a push monitor of its own",
                )
            found[block.name] = address
        return found

    def _address(self, block: Block, setting: Setting) -> uptime_kuma.Address | None:
        before = len(self.draft.problems.found)
        push_url, push_token = self._get(block, "push_url"), self._get(block, "push_token")
        if len(self.draft.problems.found) > before:
            return None
        try:
            return uptime_kuma.address(push_url, push_token)
        except ValueError as error:
            self.draft.problems.add(setting.place, setting.path, str(error))
            return None


@dataclass(frozen=True, slots=True)
class _Built:
    repository: Repository
    environment: Mapping[str, Variable]


_NOTHING = Variable("", "")


def _unreadable(path: str) -> str | None:
    """Why a file that must hold something cannot be used, in a sentence."""
    try:
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


def _url_secrets(url: str) -> tuple[Secret, ...]:
    """The password that may stand in a repository's URL, as written and decoded."""
    return tuple(Secret(text) for text in location.passwords(url))
