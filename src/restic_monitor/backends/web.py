"""What storages behind HTTP have in common: one question, with errors in the words of `backends`, and the store's clock."""

from __future__ import annotations

import contextlib
import itertools
import logging
import queue
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TypeVar

from restic_monitor.backends import BackendError, Kind
from restic_monitor.http import SYSTEM, Answer, Http, HttpError, Tls, host_of, retry_after
from restic_monitor.quantity import format_duration

LISTING_LIMIT_BYTES = 64 * 1024 * 1024
_AT_ONCE = 48
"""Requests of one look. Others need connections, too."""
_PATIENCE_SECONDS = 0.1
AGE_LIMIT = timedelta(minutes=5)
"""Caches on the way may keep an answer for so long."""
_AGE_DIGITS = 10

# what Go's net/http, nginx and Apache say to http:// on a port for https://
_WANTS_TLS = re.compile(rb"HTTP request (?:was sent )?to (?:an )?HTTPS|speaking plain HTTP to an SSL-enabled")


_log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Web:
    """Asks one store, under addresses without credentials."""

    http: Http = field(repr=False)
    tls: Tls = SYSTEM
    _dates: list[tuple[str, float]] = field(default_factory=list, init=False, repr=False)
    """`Date` of the last answer, and the middle of its exchange in seconds since 1970."""

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
        headers = {"Cache-Control": "no-cache", **(headers or {})}
        begun = time.time()
        try:
            answer = self.http.ask(
                url, method=method, headers=headers, tls=self.tls, deadline=deadline, limit=limit, redirects=redirects
            )
        except HttpError as error:
            _log.debug("%s %s: %s", method, url, error.reason)
            hint = "; does it speak https:// only?" if error.garbled and _plain(url) else ""
            raise BackendError(_kind(error, deadline), f"{error.reason}{hint}") from None
        _log.debug("%s %s: %d", method, url, answer.status)
        if problem := _out_of_a_cache(answer, host_of(url)):
            raise problem
        self._dates[:] = [(answer.headers.get("date", ""), (begun + time.time()) / 2)]
        if problem := _too_busy(answer, host_of(url)):
            raise problem
        if answer.status == 400 and _plain(url) and _WANTS_TLS.search(answer.body[:1000]):
            raise BackendError(Kind.REFUSED, f"{host_of(url)} speaks https:// only; write that in url")
        return answer

    def each(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """What `work` makes of each item, many at once, as it comes. Who closes the iterator gets no more."""
        if len(items) == 1:
            return iter([work(items[0])])
        return self._many(work, items)

    def _many(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """What stays in the queue, because servers that do not answer have all workers, is done by the thread that waits."""
        done, waiting, begun = queue.SimpleQueue[Future[R]](), iter(items), dict[Future[R], T]()
        patience = _PATIENCE_SECONDS

        def begin(count: int) -> None:
            for item in itertools.islice(waiting, count):
                future = self.http.workers.submit(work, item)
                begun[future] = item
                future.add_done_callback(done.put)

        def next_result() -> R:
            nonlocal patience
            while True:
                try:
                    future = done.get(timeout=patience)
                except queue.Empty:
                    queued = next((each for each in begun if each.cancel()), None)
                    patience = 0.0 if queued else _PATIENCE_SECONDS  # one wait for all that is queued, not one for each
                    if queued:
                        return work(begun.pop(queued))
                else:
                    if not future.cancelled():
                        patience = _PATIENCE_SECONDS
                        del begun[future]
                        return future.result()

        begin(_AT_ONCE)
        for _ in items:
            result = next_result()
            begin(1)
            yield result

    @property
    def skew(self) -> timedelta | None:
        """The store's clock minus ours, by the last answer's `Date` (whole seconds, rounded down)."""
        for date, moment in self._dates:
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                told = parsedate_to_datetime(date)
                told = told if told.tzinfo else told.replace(tzinfo=UTC)
                return told + timedelta(seconds=0.5) - datetime.fromtimestamp(moment, UTC)
        return None


def _plain(url: str) -> bool:
    return url.startswith("http:")


def _kind(error: HttpError, deadline: float) -> Kind:
    if error.late and time.monotonic() >= deadline:
        return Kind.TIMEOUT
    if error.garbled:
        return Kind.MALFORMED
    return Kind.REFUSED if error.lasting else Kind.UNREACHABLE


def _out_of_a_cache(answer: Answer, host: str) -> BackendError | None:
    """An answer that was kept says nothing of now: https://www.rfc-editor.org/rfc/rfc9111#name-age"""
    age = answer.headers.get("age", "")
    seconds = int(age[:_AGE_DIGITS]) if age.isdecimal() else 0
    if seconds <= AGE_LIMIT.total_seconds():
        return None
    shown = format_duration(timedelta(seconds=seconds))
    return BackendError(Kind.MALFORMED, f"an old answer out of a cache ({shown}): let {host} be asked past it")


def _too_busy(answer: Answer, host: str) -> BackendError | None:
    seconds = retry_after(answer)
    wait = None if seconds is None else timedelta(seconds=min(seconds, 3600))
    if answer.status in (429, 503):
        later = f"; it wants to be asked again in {wait.total_seconds():.0f} s" if wait else ""
        return BackendError(Kind.THROTTLED, f"{host} is too busy: it answered {answer.status}{later}", wait)
    if answer.status >= 500 and answer.status not in (501, 505):
        return BackendError(Kind.UNREACHABLE, f"{host} fails: it answered {answer.status}", wait)
    return None
