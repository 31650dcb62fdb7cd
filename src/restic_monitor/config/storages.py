"""From a repository's address to the storage that can list it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from restic_monitor import location
from restic_monitor.backends import Backend
from restic_monitor.http import Http, Tls
from restic_monitor.location import Local, Location, Rclone, Rest, Sftp
from restic_monitor.secret import Secret

if TYPE_CHECKING:
    from restic_monitor.backends.s3.credentials import Signer

# modules of storages are imported where one is made: most configurations use one or two


class NotListableError(Exception):
    """restic can look at this repository, a listing cannot; the reason in a few words."""


def unlistable(place: Location, environment: Collection[str]) -> str | None:
    """Why only restic can look there; `environment` are the names of the variables that are set."""
    match place:
        case location.S3() if "RESTIC_AWS_ASSUME_ROLE_ARN" in environment:
            return "only restic assumes the role of RESTIC_AWS_ASSUME_ROLE_ARN"
        case Rest(url) if url.lower().startswith(("http+unix:", "https+unix:")):
            return "a rest-server behind a Unix socket cannot be listed yet"
        case Rclone(remote) if location.passwords(f"rclone:{remote}"):
            return "the address holds a secret, which rclone would show in the list of processes"
        case Local() | location.S3() | Rest() | Sftp() | Rclone():
            return None
    return f"{type(place).__name__.lower()} cannot be listed yet"


@dataclass(slots=True)
class Storages:
    """Makes storages that share the connections of a run. `http` serves the process's own proxies; a repository with proxies
    of its own gets another."""

    http: Http
    _https: dict[tuple[tuple[str, str], ...], Http] = field(default_factory=dict)
    _signers: dict[object, Signer] = field(default_factory=dict)

    def storage(self, url: str, options: Mapping[str, str], environment: Mapping[str, str], tls: Tls) -> Backend:
        """`options` are restic's `-o` for this scheme, `environment` what restic would get. Raises NotListableError, and
        ValueError with a sentence for a mistake."""
        place = location.parse(url)
        if reason := unlistable(place, {name for name, value in environment.items() if value}):
            raise NotListableError(reason)
        if isinstance(place, Local):
            from restic_monitor.backends.local import Local as Folder  # noqa: PLC0415

            return Folder(place.path)
        if isinstance(place, location.S3):
            return self._s3(place, options, environment, tls)
        if isinstance(place, Rest):
            return self._rest(place, environment, tls)
        if isinstance(place, Sftp):
            return _sftp(place, options, environment)
        assert isinstance(place, Rclone)
        return _rclone(place, options, environment)

    def _s3(self, place: location.S3, options: Mapping[str, str], environment: Mapping[str, str], tls: Tls) -> Backend:
        from restic_monitor.backends.s3 import S3  # noqa: PLC0415
        from restic_monitor.backends.s3.credentials import Signer, find  # noqa: PLC0415
        from restic_monitor.backends.s3.endpoint import endpoint  # noqa: PLC0415
        from restic_monitor.backends.web import Web  # noqa: PLC0415

        anonymous = options.get("s3.unsafe-anonymous-auth", "").lower() in ("1", "t", "true")
        source = None if anonymous else find(environment)
        signer = None if source is None else self._signers.setdefault(source, Signer(source))
        web = Web(self._http(environment), tls)
        return S3(web, endpoint(place, options, environment), place.bucket, place.prefix, signer)

    def _rest(self, place: Rest, environment: Mapping[str, str], tls: Tls) -> Backend:
        from restic_monitor.backends.rest import Rest as Server  # noqa: PLC0415
        from restic_monitor.backends.rest import split  # noqa: PLC0415
        from restic_monitor.backends.web import Web  # noqa: PLC0415

        url, user, password = split(place.url)
        if not user and not password:
            user, password = environment.get("RESTIC_REST_USERNAME", ""), environment.get("RESTIC_REST_PASSWORD", "")
        return Server(Web(self._http(environment), tls), url, user, Secret(password))

    def _http(self, environment: Mapping[str, str]) -> Http:
        relevant = _proxies(environment)
        if relevant == _proxies(self.http.environment):
            return self.http
        if relevant not in self._https:
            self._https[relevant] = Http(dict(relevant), self.http.connections)
        return self._https[relevant]


def _proxies(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    names = (name for name in environment if name.lower().endswith("_proxy") or name == "SSL_CERT_FILE")
    return tuple(sorted((name, environment[name]) for name in names))


def _sftp(place: Sftp, options: Mapping[str, str], environment: Mapping[str, str]) -> Backend:
    from restic_monitor.backends.sftp import Sftp as Ssh  # noqa: PLC0415

    command, args = options.get("sftp.command"), options.get("sftp.args", "")
    if command and args:
        raise ValueError("sftp.command and sftp.args are both set; restic takes one of them")
    return Ssh(place.host, place.user, place.port, place.path, environment, command, args)


def _rclone(place: Rclone, options: Mapping[str, str], environment: Mapping[str, str]) -> Backend:
    from restic_monitor.backends.rclone import Rclone as Program  # noqa: PLC0415

    return Program(place.remote, environment, options.get("rclone.program") or "rclone")


def options_of(url: str, given: Sequence[str]) -> dict[str, str]:
    """Those of restic's options that are for this address, the last of each."""
    scheme = f"{location.scheme(url)}."
    return {name: value for name, _, value in (option.partition("=") for option in given) if name.startswith(scheme)}
