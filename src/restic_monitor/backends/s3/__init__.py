"""S3 and what speaks it, by ListObjectsV2 and GetObject, and no other request.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import quote

from restic_monitor.backends import ENTRY_LIMIT, FOLDERS, BackendError, Content, Entries, Entry, Kind, attempt, outcome
from restic_monitor.backends.s3 import answers
from restic_monitor.backends.s3.credentials import Signer
from restic_monitor.backends.s3.endpoint import Endpoint
from restic_monitor.backends.web import Web
from restic_monitor.http import BODY_LIMIT_BYTES, Answer

_PAGE_LIMIT_BYTES = 8 * 1024 * 1024
"""A page has at most 1,000 files, with names of up to 3 KB. As a tree it takes up to thirty times its size."""


class _NotSkippedError(Exception):
    """The server does not know `start-after`."""


@dataclass(frozen=True, slots=True)
class S3:
    """One repository in a bucket. `prefix` has no slash at its ends; `signer` is None for anonymous access."""

    web: Web
    endpoint: Endpoint
    bucket: str
    prefix: str = ""
    signer: Signer | None = None
    heavy: bool = field(default=False, init=False)
    _regions: list[str] = field(default_factory=list, init=False, repr=False)
    """The region that the store named when ours was wrong."""

    def list(self, folder: str, deadline: float) -> Entries:
        if folder:
            return Entries(lambda entries: self._clocked(entries, self._folder(folder, deadline)))
        return Entries(lambda entries: self._clocked(entries, self._all(entries, deadline)))

    def read(self, name: str, deadline: float, limit: int) -> bytes:
        return self._ask(f"{self._base}{name}", "", deadline, max(limit, BODY_LIMIT_BYTES)).body[:limit]  # room for an error

    def read_all(self, files: Sequence[Entry], deadline: float, limit: int) -> Iterator[Content]:
        return self.web.each(lambda file: (file, outcome(self.read, file, deadline, limit)), files)

    def close(self) -> None:
        pass

    @property
    def _base(self) -> str:
        return f"{self.prefix}/" if self.prefix else ""

    def _clocked(self, entries: Entries, found: Iterator[Entry]) -> Iterator[Entry]:
        yield from found
        entries.skew = self.web.skew

    # which listings

    def _all(self, entries: Entries, deadline: float) -> Iterator[Entry]:
        """One listing where it is allowed, else one for each folder: a policy may allow some prefixes only. Once a file has
        been told of, there is no way back: it would come twice."""
        told = False
        try:
            for entry in self._in_one(deadline):
                told = True
                yield entry
        except _NotSkippedError:
            if told:
                message = f"{self.endpoint.host} lists files again that it was told to leave out (start-after)"
                raise BackendError(Kind.MALFORMED, message) from None
        except BackendError as error:
            if told or error.kind is not Kind.DENIED:
                raise
        else:
            return
        yield from self._one_by_one(entries, deadline)

    def _in_one(self, deadline: float) -> Iterator[Entry]:
        """keys, locks and snapshots stand behind data and index in the alphabet ("0" comes after "/"). Where strangers stand
        between them, the listing goes on at the next folder."""
        folders = [f"{self._base}{folder}/" for folder in sorted(FOLDERS)]
        start = f"{self._base}index0"
        while start:
            start, begun = "", start
            for page in self._pages(self._base, begun, deadline):
                if page.files and page.files[0].key <= begun:
                    raise _NotSkippedError
                yield from (file.entry(self._base) for file in page.files if file.key.startswith(tuple(folders)))
                last = page.files[-1].key if page.files else ""
                if page.next and last and not last.startswith(tuple(folders)):
                    start = next((folder for folder in folders if folder > last), "")
                    break

    def _one_by_one(self, entries: Entries, deadline: float) -> Iterator[Entry]:
        """The snapshots first: where they are denied, too, no more is asked."""
        for folder in reversed(FOLDERS):
            try:
                yield from self._folder(folder, deadline)
            except BackendError as error:
                if error.kind is not Kind.DENIED or folder == "snapshots":
                    raise
                entries.denied.add(folder)

    def _folder(self, folder: str, deadline: float) -> Iterator[Entry]:
        for page in self._pages(f"{self._base}{folder}/", "", deadline):
            yield from (file.entry(self._base) for file in page.files if not file.key.endswith("/"))

    # one listing

    def _pages(self, prefix: str, start_after: str, deadline: float) -> Iterator[answers.Page]:
        token, count, tokens = "", 0, set[str]()
        while True:
            query = {"encoding-type": "url", "list-type": "2", "prefix": prefix, "start-after": start_after}
            if token:
                query["continuation-token"] = token
            answer = self._ask("", _encoded(query), deadline)
            page = answers.page(answer, self.endpoint.host)
            yield page
            count += len(page.files) or 1
            if not page.next:
                return
            if page.next in tokens or count > ENTRY_LIMIT:
                raise BackendError(Kind.MALFORMED, f"the listing of {self.endpoint.host} does not come to an end")
            tokens.add(page.next)
            token = page.next

    # one request

    def _ask(self, key: str, query: str, deadline: float, limit: int = _PAGE_LIMIT_BYTES) -> Answer:
        return attempt(partial(self._ask_once, key, query, deadline, limit), deadline)

    def _ask_once(self, key: str, query: str, deadline: float, limit: int) -> Answer:
        region = self._regions[-1] if self._regions else self.endpoint.region
        answer = self._signed(key, query, region, deadline, limit)
        if answer.status != 200 and not self._regions and (other := answers.other_region(answer, region)):
            self._regions.append(other)
            answer = self._signed(key, query, other, deadline, limit)
        if answer.status == 200:
            return answer
        raise answers.problem(answer, self.endpoint.host, self.bucket, key)

    def _signed(self, key: str, query: str, region: str, deadline: float, limit: int) -> Answer:
        host, path = self.endpoint.target(self.bucket, key, region)
        headers = self.signer.headers(host, path, query, region, deadline) if self.signer else {}
        url = f"{self.endpoint.scheme}://{host}{path}" + (f"?{query}" if query else "")
        return self.web.ask(url, deadline, headers=headers, limit=limit)


def _encoded(query: Mapping[str, str]) -> str:
    """In the order and with the escapes that a signature is made over: sorted by name, all but the unreserved escaped."""
    return "&".join(
        f"{name}={quote(value, safe='~', errors='surrogateescape')}" for name, value in sorted(query.items()) if value
    )
