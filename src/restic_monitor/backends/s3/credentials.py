"""Whose name a request is signed in: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html by AWS's runtime.

The order is minio-go's, which restic uses: keys in the environment, the shared files, then what the whole process has (web
identity, container, instance).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from restic_monitor.backends import BackendError, Kind
from restic_monitor.secret import Secret

if TYPE_CHECKING:
    from awscrt.auth import AwsCredentialsProvider, AwsSigningConfig

_IDS = ("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY")
_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY")
_MINIO = (("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"), ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"))
_OURS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE")
"""What AWS's runtime finds in the process's environment, whatever the repository's says."""
_EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_LONGEST_WAIT_SECONDS = 15.0


class Keys(Struct, frozen=True):
    """From the environment."""

    id: str
    secret: Secret
    token: Secret | None = None


class Shared(Struct, frozen=True):
    """A profile of the shared files; `named` when somebody asked for it by name."""

    profile: str
    credentials_file: str
    config_file: str
    named: bool


class Process(Struct, frozen=True):
    """What the machine or the container that we run in has."""


Source = Keys | Shared | Process


def find(environment: Mapping[str, str]) -> Source:
    """Where a repository's credentials come from. Raises ValueError for half a pair of keys."""
    if keys := _keys(environment):
        return keys
    home = Path(environment.get("HOME") or "/")
    credentials = environment.get("AWS_SHARED_CREDENTIALS_FILE") or str(home / ".aws" / "credentials")
    config = environment.get("AWS_CONFIG_FILE") or str(home / ".aws" / "config")
    named = bool(environment.get("AWS_PROFILE") or environment.get("AWS_SHARED_CREDENTIALS_FILE"))
    if named or Path(credentials).exists() or Path(config).exists():
        return Shared(environment.get("AWS_PROFILE") or "default", credentials, config, named)
    return Process()


def _keys(environment: Mapping[str, str]) -> Keys | None:
    """Pairs are not mixed, and the session token belongs to Amazon's. Raises ValueError for half a pair."""
    for ids, secrets in ((_IDS, _SECRETS), *(((key_id,), (secret,)) for key_id, secret in _MINIO)):
        key_id, secret = _first(environment, ids), _first(environment, secrets)
        if bool(key_id) != bool(secret):
            raise ValueError(f"S3 needs a key ID and a secret key; {(secrets if key_id else ids)[0]} is not set")
        if key_id:
            token = environment.get("AWS_SESSION_TOKEN") if ids is _IDS else None
            return Keys(key_id, Secret(secret), Secret(token) if token else None)
    return None


def _first(environment: Mapping[str, str], names: Sequence[str]) -> str:
    return next((environment[name] for name in names if environment.get(name)), "")


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs requests without a body. Shared by all repositories with the same credentials, and used by several threads."""

    source: Source
    _made: list[AwsCredentialsProvider] = field(default_factory=list, init=False, repr=False)
    _configs: dict[str, tuple[int, AwsSigningConfig]] = field(default_factory=dict, init=False, repr=False)
    """By region, with the second it was made in: a signature has the date of its second."""

    def headers(self, host: str, path: str, query: str, region: str, deadline: float) -> dict[str, str]:
        """The headers that make a GET authentic for 15 minutes. Raises BackendError."""
        from awscrt import auth, http  # noqa: PLC0415 - 70 ms, for S3 only

        request = http.HttpRequest("GET", f"{path}?{query}" if query else path, http.HttpHeaders([("Host", host)]))
        self._wait(auth.aws_sign_request(request, self._config(region)), deadline)
        return {name: value for name, value in request.headers if name != "Host"}

    def _config(self, region: str) -> AwsSigningConfig:
        second = int(time.time())
        made = self._configs.get(region)
        if not made or made[0] != second:
            made = self._configs[region] = second, _signing(self._provider(), region, datetime.fromtimestamp(second, UTC))
        return made[1]

    def _provider(self) -> AwsCredentialsProvider:
        if not self._made:
            try:
                self._made.append(_provider(self.source))
            except RuntimeError:
                raise self._none() from None
        return self._made[0]

    def _wait(self, signing: Future[Any], deadline: float) -> None:
        try:
            signing.result(max(0.0, min(_LONGEST_WAIT_SECONDS, deadline - time.monotonic())))
        except NotInTime:
            raise BackendError(Kind.TIMEOUT, f"no credentials in time: {self._advice()}") from None
        except Exception:  # noqa: BLE001 - what the runtime raises has no class of its own for this
            raise self._none() from None

    def _none(self) -> BackendError:
        return BackendError(Kind.DENIED, f"no credentials for S3: {self._advice()}")

    def _advice(self) -> str:
        if isinstance(self.source, Shared):
            return f"the profile {self.source.profile} in {self.source.credentials_file} gives none"
        anonymous = "restic_options: [s3.unsafe-anonymous-auth=true]"
        return f"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or {anonymous}"


def _signing(provider: AwsCredentialsProvider, region: str, date: datetime) -> AwsSigningConfig:
    from awscrt import auth  # noqa: PLC0415

    return auth.AwsSigningConfig(
        algorithm=auth.AwsSigningAlgorithm.V4,
        signature_type=auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
        credentials_provider=provider,
        region=region,
        service="s3",
        date=date,
        use_double_uri_encode=False,
        should_normalize_uri_path=False,
        signed_body_value=_EMPTY_SHA256,
        signed_body_header_type=auth.AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
    )


def _provider(source: Source) -> AwsCredentialsProvider:
    """Raises RuntimeError where a file, or the profile in it, is not there, and BackendError."""
    from awscrt.auth import AwsCredentialsProvider  # noqa: PLC0415

    if isinstance(source, Keys):
        token = source.token.reveal() if source.token else None
        return AwsCredentialsProvider.new_static(source.id, source.secret.reveal(), token)
    if isinstance(source, Process):
        return _process()
    try:
        profile = AwsCredentialsProvider.new_profile(
            profile_name=source.profile, config_filepath=source.config_file, credentials_filepath=source.credentials_file
        )
    except RuntimeError:
        if source.named:
            raise
        return _process()
    return profile if source.named or _taken_away() else AwsCredentialsProvider.new_chain([profile, _process()])


def _taken_away() -> str | None:
    return next((name for name in _OURS if os.environ.get(name)), None)


_lock = threading.Lock()
_shared: list[AwsCredentialsProvider] = []


def _process() -> AwsCredentialsProvider:
    """One for all: it asks the instance or the container once, and keeps the answer until it expires. It would take the
    program's own keys first: where there are some, a repository that comes here has them no more. Raises BackendError."""
    if name := _taken_away():
        message = f"no keys are left for this repository: it is not to use {name} of our environment, and has none of its own"
        raise BackendError(Kind.DENIED, message)
    from awscrt.auth import AwsCredentialsProvider  # noqa: PLC0415

    with _lock:
        if not _shared:
            _shared.append(AwsCredentialsProvider.new_default_chain())
        return _shared[0]
