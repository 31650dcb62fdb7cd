"""What storages behind HTTP have in common: one question, with errors in the words of `backends`, and the store's clock."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from restic_monitor.backends import BackendError, Kind
from restic_monitor.http import SYSTEM, Answer, Http, HttpError, Tls, host_of, retry_after

LISTING_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Web:
    """Asks one store. `clocks` collects its clock minus ours, the last answer's last."""

    http: Http = field(repr=False)
    tls: Tls = SYSTEM
    clocks: list[timedelta] = field(default_factory=list)

    def ask(
        self,
        url: str,
        deadline: float,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        limit: int = LISTING_LIMIT_BYTES,
        redirects: bool = False,
    ) -> Answer:
        """Whatever is answered, but 429 and 5xx. Raises BackendError."""
        if time.monotonic() >= deadline:
            raise BackendError(Kind.TIMEOUT, f"no time was left to ask {host_of(url)}")
        begun = time.time()
        try:
            answer = self.http.ask(
                url, method=method, headers=headers, tls=self.tls, deadline=deadline, limit=limit, redirects=redirects
            )
        except HttpError as error:
            raise BackendError(_kind(error, deadline), error.reason) from None
        if skew := _skew(answer, begun, time.time()):
            self.clocks[:] = [skew]
        if problem := _too_busy(answer, host_of(url)):
            raise problem
        return answer

    @property
    def skew(self) -> timedelta | None:
        return self.clocks[-1] if self.clocks else None


def _kind(error: HttpError, deadline: float) -> Kind:
    if error.late and time.monotonic() >= deadline:
        return Kind.TIMEOUT
    if error.garbled:
        return Kind.MALFORMED
    return Kind.REFUSED if error.lasting else Kind.UNREACHABLE


def _too_busy(answer: Answer, host: str) -> BackendError | None:
    seconds = retry_after(answer)
    wait = None if seconds is None else timedelta(seconds=min(seconds, 3600))
    if answer.status in (429, 503):
        return BackendError(Kind.THROTTLED, f"{host} is too busy: it answered {answer.status}", wait)
    if answer.status >= 500 and answer.status not in (501, 505):
        return BackendError(Kind.UNREACHABLE, f"{host} fails: it answered {answer.status}", wait)
    return None


def _skew(answer: Answer, begun: float, ended: float) -> timedelta | None:
    """The answer's `Date` (whole seconds, rounded down) against the middle of the exchange."""
    try:
        told = parsedate_to_datetime(answer.headers["date"])
        told = told if told.tzinfo else told.replace(tzinfo=UTC)
        return told + timedelta(seconds=0.5) - datetime.fromtimestamp((begun + ended) / 2, UTC)
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
