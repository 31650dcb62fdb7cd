"""From a draft and the environment to repositories ready to be looked at. Here secrets are read, those that are used."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from restic_monitor import environment as environments
from restic_monitor.config import find, keys, modes, unseen
from restic_monitor.config.addresses import push_addresses
from restic_monitor.config.draft import Block, Draft
from restic_monitor.config.keys import Context
from restic_monitor.config.storages import Storages
from restic_monitor.config.surroundings import Surroundings
from restic_monitor.config.values import Values
from restic_monitor.config.ways import Way, Ways
from restic_monitor.environment import Layer, Variable
from restic_monitor.errors import UsageError
from restic_monitor.http import Http
from restic_monitor.model import Repository, one_line
from restic_monitor.receivers import uptime_kuma
from restic_monitor.state import State

DEFAULT_TIMEOUT = timedelta(minutes=2)
DEFAULT_CONNECTIONS = 64


@dataclass(slots=True)
class Builder:
    """`layers` are the process environment and, if there is one, the environment file."""

    draft: Draft
    layers: tuple[Layer, ...]
    mode: str | None = None
    """That of the command line."""
    environment: dict[str, str] = field(init=False)
    values: Values = field(init=False)
    surroundings: Surroundings = field(init=False)

    def __post_init__(self) -> None:
        self.environment = find.effective(self.layers)
        self.values = Values(self.draft, self.environment)
        self.surroundings = Surroundings(self.draft, self.layers, self.values)

    @property
    def jobs(self) -> int:
        """restic processes at once: as many as there are cores, since each derives a key."""
        return self._top("jobs") or os.cpu_count() or 1

    @property
    def connections(self) -> int:
        """Network requests at once."""
        return self._top("connections") or DEFAULT_CONNECTIONS

    @property
    def timeout(self) -> timedelta:
        """The limit for one look, where a repository has none of its own."""
        return (self._top("timeout") or (DEFAULT_TIMEOUT, ""))[0]

    def foretold(self, block: Block) -> str | None:
        """How a repository will be looked at, in words. Nothing secret is read. None when that cannot be told."""
        setting = self.draft.setting(block, "url")
        written = setting.raw if setting and isinstance(setting.raw, str) else None
        url = setting.key.value(written, Context(block.name, self.draft.folder)) if setting and written else None
        mode, _ = modes.chosen(self.mode, self.values, block)
        return modes.foretold(mode, self.surroundings.has_password(block), url, self.surroundings.sketch(block).variables)

    def _top(self, name: str) -> Any:
        setting = self.draft.top.get(name)
        return self.values.value(setting, "") if setting else None

    def select(self, names: Sequence[str]) -> list[Block]:
        """The enabled repositories, or those named. Raises UsageError for a name that is none of them."""
        blocks = {block.name: block for block in self.draft.repositories}
        for name in names:
            if name not in blocks:
                import difflib  # noqa: PLC0415

                if owner := next((block for block in blocks.values() if name in self.draft.expected(block)), None):
                    raise UsageError(f"{name} is a line of {owner.name}, and is looked at with it: run {owner.name}")
                close = difflib.get_close_matches(name, blocks, 1)
                hint = f"did you mean {close[0]}? There are" if close else "there are"
                raise UsageError(f"no repository is called {name!r}; {hint}: {one_line(', '.join(blocks)) or 'none'}")
            if not self.draft.enabled(blocks[name]):
                raise UsageError(f"{name} is not enabled; see its enabled: in {self.draft.file}, or in defaults")
        wanted = set(names) or set(blocks)
        return [block for block in blocks.values() if block.name in wanted and self.draft.enabled(block)]

    def repositories(
        self, names: Sequence[str] = (), *, state: State | None = None, remember: bool = True, asks_the_key: bool = False
    ) -> list[Repository]:
        """Raises ConfigError with every mistake of the file, and of the secrets that the named repositories need.

        Without `state` nothing is known of earlier looks; `remember`: this run is the last look of the next; `asks_the_key`:
        whether the password opens is asked where nothing is to be opened, too.
        """
        blocks = self.select(names) if self.draft.repositories else []
        http = Http(self.environment, self.connections)
        addresses = push_addresses(self.values, reading=[block.name for block in blocks])
        ways = Ways(self.values, self.surroundings, Storages(http), self.mode, state, remember, asks_the_key)
        made = [self._way(block, addresses.get(block.name, {}), http, ways) for block in blocks]
        self._passwords(blocks, made)
        self.draft.problems.raise_if_any()
        return [way.repository for way in made if way]

    def check_file(self) -> None:
        """The mistakes of the file alone, those of its push addresses included. Raises ConfigError."""
        push_addresses(self.values, reading=())
        for block in filter(self.draft.enabled, self.draft.repositories):
            mode, origin = modes.chosen(self.mode, self.values, block)
            if mode == "listing":  # with the others only secrets and addresses tell
                unseen.refuse(self.values, block, (mode, origin), password=self.surroundings.has_password(block))
        self.draft.problems.raise_if_any()

    # one repository

    def _way(self, block: Block, addresses: Mapping[str | None, uptime_kuma.Address], http: Http, ways: Ways) -> Way | None:
        timeout = (self.values.get(block, "timeout") or (self.timeout, ""))[0]
        cacert = ways.cacert(block) if addresses else None
        told = {name: uptime_kuma.UptimeKuma(http, address, cacert) for name, address in addresses.items()}
        return ways.way(block, told, timeout)

    def _passwords(self, blocks: Sequence[Block], made: Iterable[Way | None]) -> None:
        """Every repository that restic looks at has exactly one way to its password; asked before restic is, which would ask
        a terminal."""
        without = []
        for block, way in zip(blocks, made, strict=True):
            configured = self.draft.password_settings(block)
            if any(setting.key.name == "insecure_no_password" for setting in configured):
                continue
            if not way or way.environment is None:
                continue
            if self.draft.is_wrong(block, *keys.PASSWORDS, *environments.PASSWORD):
                continue
            named = [name for name in environments.PASSWORD if way.environment.get(name, _NOTHING).value]
            if not named and not configured:
                without.append(block)
            elif {"RESTIC_PASSWORD_FILE", "RESTIC_PASSWORD_COMMAND"} <= set(named):
                where = way.environment[named[-1]].origin
                message = f"RESTIC_PASSWORD_FILE and RESTIC_PASSWORD_COMMAND are both set in {where}; keep one of them"
                self.draft.problems.add(blocks[0].place, "repositories", message)
            elif "RESTIC_PASSWORD_FILE" in named and (problem := self._no_password_file(block, way.environment)):
                setting = self.surroundings.sketch(block).settings.get("RESTIC_PASSWORD_FILE")
                where = f"RESTIC_PASSWORD_FILE of {way.environment['RESTIC_PASSWORD_FILE'].origin}"
                # without a setting it is one mistake of the environment, told once
                place, where = (setting.place, setting.path) if setting else (blocks[0].place, where)
                self.draft.problems.add(place, where, problem)
        if without:
            self._no_password(without)

    def _no_password_file(self, block: Block, environment: Mapping[str, Variable]) -> str | None:
        setting = self.surroundings.sketch(block).settings.get("RESTIC_PASSWORD_FILE")
        return self.values.unreadable(environment["RESTIC_PASSWORD_FILE"].value, setting)

    def _no_password(self, blocks: Sequence[Block]) -> None:
        names = ", ".join(one_line(block.name) for block in blocks[:5])
        more = f" and {len(blocks) - 5} more" if len(blocks) > 5 else ""
        self.draft.problems.add(
            blocks[0].place,
            "repositories",
            f"no password for {names}{more}; write password_file: PATH there or in defaults, or set RESTIC_PASSWORD, "
            "RESTIC_PASSWORD_FILE or RESTIC_PASSWORD_COMMAND in the environment or in an --environment-file",
        )


_NOTHING = Variable("", "")
