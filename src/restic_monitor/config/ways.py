"""How each repository is looked at: by our own reader, by a listing, by restic, or by one when another cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from restic_monitor import environment as environments
from restic_monitor import location
from restic_monitor.checks.clock import Clock
from restic_monitor.checks.content import Content
from restic_monitor.checks.freshness import Freshness
from restic_monitor.checks.intact import Intact
from restic_monitor.checks.keyring import Keyring
from restic_monitor.checks.locks import STALE, Locks
from restic_monitor.checks.readable import Readable
from restic_monitor.checks.stored import StoredRecently
from restic_monitor.checks.strays import Strays
from restic_monitor.checks.vanished import Vanished
from restic_monitor.config import keys, modes, unseen
from restic_monitor.config.draft import Block
from restic_monitor.config.expected import Expecter, max_age_of
from restic_monitor.config.problems import dotted
from restic_monitor.config.sources import Source
from restic_monitor.config.storages import NotListableError, Storages, options_of
from restic_monitor.config.surroundings import Surroundings
from restic_monitor.config.values import Values
from restic_monitor.environment import Variable
from restic_monitor.http import Tls
from restic_monitor.model import Check, Memory, Receiver, Repository, Watch
from restic_monitor.secret import Redactor, Secret, secrets_in
from restic_monitor.state import State


class Way(Struct, frozen=True):
    """A repository ready to be looked at. `environment` is restic's, None where restic has no part in it."""

    repository: Repository
    environment: Mapping[str, Variable] | None = None


class Asked(Struct, frozen=True):
    """About one repository: what its settings say, each read once."""

    block: Block
    url: str
    expecter: Expecter
    receivers: tuple[Receiver, ...]
    tell: Mapping[str, tuple[Receiver, ...]]
    timeout: timedelta
    options: tuple[str, ...]


class Ways(Struct, frozen=True):
    """`mode` is that of the command line. Without `state` nothing is known of earlier looks; `remember`: this run is the last
    look of the next."""

    values: Values
    surroundings: Surroundings
    storages: Storages
    mode: str | None = None
    state: State | None = None
    remember: bool = True
    asks_the_key: bool = False

    def way(self, block: Block, told: Mapping[str | None, Receiver], timeout: timedelta) -> Way | None:
        """None when that cannot be told, which is noted. `told` is who is told of each expectation, and of the repository."""
        url = self.values.get(block, "url")
        values = (self.values.value(s, block.name) for s in self.values.draft.setting_list(block, "restic_options"))
        options = tuple(option for option in values if option)
        receivers = (told[None],) if None in told else ()
        tell = {name: (receiver,) for name, receiver in told.items() if name is not None}
        asked = Asked(block, url or "", Expecter(self.values, block), receivers, tell, timeout, options)
        mode, password = modes.chosen(self.mode, self.values, block)[0], self.surroundings.has_password(block)
        if modes.by_restic_alone(mode):
            return self._by_restic(asked)  # also without an address, for the mistakes in its secrets
        if modes.natively(mode, password):
            return self._natively_if_possible(asked, mode)
        return self._by_listing_if_possible(asked, mode, password) if url else None

    def _natively_if_possible(self, asked: Asked, mode: str) -> Way | None:
        if not asked.url:
            self.surroundings.environment(asked.block)  # for the mistakes in its secrets
            return None
        try:
            return self._natively(asked)
        except NotListableError as error:
            if mode == "native":
                self._problem(asked.block, "mode", f"the repository cannot be read by ourselves: {error}; use mode: restic")
                return None
            return self._by_restic(asked)
        except ValueError as error:
            self._problem(asked.block, "url", str(error))
            return None

    def _by_listing_if_possible(self, asked: Asked, mode: str, password: bool) -> Way | None:
        otherwise = modes.by_restic_otherwise(mode, password, asked.url)
        try:
            listing = self._by_listing(asked, times_needed=otherwise)
        except NotListableError as error:
            if mode != "listing" and password:
                return self._by_restic(asked, f"no listing: {error}")
            if mode == "listing":
                self._problem(asked.block, "mode", f"listing is not possible: {error}; use mode: restic")
            else:
                advice = "write password_file: PATH for restic, or an address that can be listed: s3:, sftp:, rest:, rclone:"
                self._problem(asked.block, "url", f"no password, and {error}; {advice}")
            return None
        except ValueError as error:
            self._problem(asked.block, "url", str(error))
            return None
        unseen.refuse(self.values, asked.block, modes.chosen(self.mode, self.values, asked.block), password=password)
        if otherwise:
            restic = self._by_restic(asked)
            return Way(replace(listing, otherwise=restic.repository), restic.environment)
        return Way(listing)

    def _problem(self, block: Block, key: str, sentence: str) -> None:
        draft = self.values.draft
        setting = draft.setting(block, key)
        place, path = (setting.place, setting.path) if setting else (block.place, dotted("repositories", block.name))
        draft.problems.add(place, path, sentence)

    # by a listing

    def _by_listing(self, asked: Asked, *, times_needed: bool) -> Repository:
        """No password is read. Raises NotListableError and ValueError."""
        from restic_monitor.probes.listing import Listing  # noqa: PLC0415 - for who uses it

        merged = self.surroundings.environment(asked.block, without=environments.PASSWORD)
        child = {name: variable.value for name, variable in merged.items()}
        storage = self.storages.storage(
            asked.url, options_of(asked.url, asked.options), child, self._tls_of(asked.block, child)
        )
        memory = self._memory(asked, location.identity(asked.url))
        probe = Listing(asked.block.name, storage, self._shown(asked), self._redactor(asked, child), memory, times_needed)
        rule, vanished = asked.expecter.rule(), self._vanished(asked)
        # what is told once before what stays: messages are cut
        checks: tuple[Check, ...] = (
            StoredRecently(rule),
            Content(),
            Keyring(),
            *vanished,
            Clock(),
            Strays(),
            Locks(self._lock_max_age(asked)),
        )
        watch = Watch(asked.block.name, checks, asked.receivers, max_age_of(rule))
        return Repository(asked.block.name, probe, watch, asked.timeout, unseen.notes(self.values, asked.block))

    def _tls_of(self, block: Block, child: Mapping[str, str]) -> Tls:
        """restic's own variables count where no key is set. RESTIC_CACERT names several with commas between."""
        cacert = self.cacert(block)
        cacerts = (cacert,) if cacert else tuple(filter(None, child.get("RESTIC_CACERT", "").split(",")))
        client_cert = self._readable(block, "tls_client_cert") or child.get("RESTIC_TLS_CLIENT_CERT") or None
        return Tls(cacerts, client_cert, bool(self.values.get(block, "insecure_tls")))

    # by ourselves

    def _natively(self, asked: Asked) -> Way:
        """Raises NotListableError and ValueError."""
        from restic_monitor.probes.native import Native  # noqa: PLC0415 - for who uses it
        from restic_monitor.probes.native.password import Password  # noqa: PLC0415

        block, lock_max_age = asked.block, self._lock_max_age(asked)
        merged = self.surroundings.environment(block)
        child = {name: variable.value for name, variable in merged.items()}
        storage = self.storages.storage(asked.url, options_of(asked.url, asked.options), child, self._tls_of(block, child))
        redact = self._redactor(asked, child)
        probe = Native(
            block.name,
            storage,
            self._shown(asked),
            Password(child, redact, none=self._no_password(block)),
            redact,
            lock_max_age,
            self._memory(asked, f"{location.identity(asked.url)} native"),
            asks_the_key=self.asks_the_key,
        )
        watch = self._watch(asked, Intact(), Keyring(), after=(Clock(), Strays(), Locks(lock_max_age)))
        return Way(Repository(block.name, probe, watch, asked.timeout), merged)

    def _lock_max_age(self, asked: Asked) -> timedelta:
        given = self.values.get(asked.block, "lock_max_age")
        return given[0] if given else STALE

    def _no_password(self, block: Block) -> bool:
        return any(s.key.name == "insecure_no_password" for s in self.values.draft.password_settings(block))

    # by restic

    def _by_restic(self, asked: Asked, note: str | None = None) -> Way:
        from restic_monitor.probes.restic import Restic  # noqa: PLC0415 - 20 ms, for who uses it

        block = asked.block
        merged = self.surroundings.environment(block)
        child = {name: variable.value for name, variable in merged.items()}
        flags = [
            *_flag("--cacert", self.cacert(block)),
            *_flag("--tls-client-cert", self._readable(block, "tls_client_cert")),
            *(["--insecure-tls"] if self.values.get(block, "insecure_tls") else []),
            *(["--insecure-no-password"] if self._no_password(block) else []),
            *self._cache_flags(block, child),
            *_options(asked.url, asked.options),
        ]
        probe = Restic(
            name=block.name,
            program=self.values.get(block, "restic") or "restic",
            shown_url=self._shown(asked),
            flags=tuple(flags),
            environment={**child, "RESTIC_REPOSITORY": asked.url},
            redact=self._redactor(asked, child),
            memory=self._memory(asked, f"{location.identity(asked.url)} restic"),
        )
        repository = Repository(block.name, probe, self._watch(asked), asked.timeout, (note,) if note else ())
        return Way(repository, merged)

    def _watch(self, asked: Asked, *before: Check, after: Sequence[Check] = ()) -> Watch:
        """What is asked of snapshots: with expectations nothing of their ages and sizes besides. `before` and `after` is what
        is seen besides: what is told once comes before what stays, because messages are cut."""
        name, expecter, others = asked.block.name, asked.expecter, (*before, *self._vanished(asked), *after)
        if expect := expecter.expectations():
            return Watch(name, (Readable(), *others), asked.receivers, expect=expect, tell=asked.tell)
        rule = expecter.rule()
        checks: tuple[Check, ...] = (Freshness(rule), Readable(), expecter.plausible(), *others)
        return Watch(name, checks, asked.receivers, max_age_of(rule))

    def cacert(self, block: Block) -> str | None:
        return self._readable(block, "cacert")

    def _readable(self, block: Block, key: str) -> str | None:
        """The path of a file that must be there."""
        setting = self.values.draft.setting(block, key)
        path = self.values.value(setting, block.name) if setting else None
        if setting and path and (problem := self.values.unreadable(path, setting)):
            self.values.draft.problems.add(setting.place, setting.path, problem)
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

    # both

    def _vanished(self, asked: Asked) -> list[Check]:
        limit = self.values.get(asked.block, "max_vanished")
        return [Vanished(*limit)] if limit else []

    def _memory(self, asked: Asked, identity: str) -> Memory | None:
        return self.state.memory(asked.block.name, identity, writing=self.remember) if self.state else None

    def _shown(self, asked: Asked) -> str:
        source = self.values.draft.setting(asked.block, "url")
        return str(source.raw) if source and isinstance(source.raw, Source) else location.shown(asked.url)

    def _redactor(self, asked: Asked, child: Mapping[str, str]) -> Redactor:
        secrets = [Secret(text) for text in (*location.passwords(asked.url), *map(_command, asked.options))]
        return Redactor((*secrets_in(child.items()), *secrets), self.values.revealed, self.values.credentials.names)


def _flag(flag: str, value: str | None) -> list[str]:
    return [flag, value] if value else []


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
