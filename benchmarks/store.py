"""S3 and Uptime Kuma as stand-ins that answer late: the far side that benchmarks/fast.py measures against.

`python benchmarks/store.py --buckets 1000 --snapshots 10 --latency 0.05` prints one line of JSON, the ports that it listens
on, and serves until it is ended; with `--folder` the buckets are the folders in that one, as they are when it is started. S3
answers ListObjectsV2 (pages of 1,000, `prefix`, `start-after`, continuation tokens), GET and HEAD of an object; requests must
be signed, but nobody checks how. Every request is answered that many seconds after it has come; connecting costs nothing. Each
connection to the third port, `counts`, gets what was counted since the one before.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import dataclasses
import gc
import hashlib
import json
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/store.py`

from benchmarks._far_side import Counts
from benchmarks.bare import BUCKET

PAGE = 1000
SNAPSHOT_BYTES = 300
_BACKLOG = 1024
_S3_HEADERS = (
    b"x-amz-id-2: eftixk72aD6Ap51TnqcoF8eFidJG9Z\r\nx-amz-request-id: 318BC8BC148832E5\r\n"
    b"Server: AmazonS3\r\nContent-Type: application/xml\r\n"
)
_KUMA_HEADERS = b"X-Frame-Options: SAMEORIGIN\r\nVary: Accept-Encoding\r\nContent-Type: application/json; charset=utf-8\r\n"


@dataclass(frozen=True, slots=True)
class Bucket:
    """The files of one repository by their keys, which are sorted; a snapshot an hour, the newest an hour old."""

    contents: Mapping[str, bytes]
    modified: Mapping[str, str]
    keys: list[str]

    def page(self, query: Mapping[str, str]) -> bytes:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html"""
        prefix, after = query.get("prefix", ""), query.get("start-after", "")
        if token := query.get("continuation-token"):
            after = base64.b64decode(token).decode()
        first = max(bisect_left(self.keys, prefix), bisect_right(self.keys, after))
        limit = min(PAGE, int(query.get("max-keys", PAGE)))
        found = [key for key in self.keys[first : first + limit + 1] if key.startswith(prefix)]
        shown, more = found[:limit], len(found) > limit
        head = {"Prefix": prefix, "KeyCount": len(shown), "MaxKeys": limit, "IsTruncated": str(more).lower()}
        if more:
            head["NextContinuationToken"] = base64.b64encode(shown[-1].encode()).decode()
        fields = "".join(f"<{name}>{value}</{name}>" for name, value in head.items())
        entries = "".join(map(self._entry, shown))
        namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
        return f'<?xml version="1.0"?>\n<ListBucketResult xmlns="{namespace}">{fields}{entries}</ListBucketResult>'.encode()

    def headers(self, key: str) -> bytes:
        """Of an object; restic's client refuses one that has none of them."""
        modified = formatdate(datetime.fromisoformat(self.modified[key]).timestamp(), usegmt=True)
        return f'ETag: "{key[-32:]}"\r\nLast-Modified: {modified}\r\n'.encode()

    def _entry(self, key: str) -> str:
        return (
            f"<Contents><Key>{quote(key)}</Key><LastModified>{self.modified[key]}</LastModified>"
            f"<ETag>&quot;{key[-32:]}&quot;</ETag><Size>{len(self.contents[key])}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
        )


def make_bucket(number: int, snapshots: int, now: datetime) -> Bucket:
    """Always the same but for the times."""
    written = {f"snapshots/{at}": f"snapshot {at} of {number} ".ljust(SNAPSHOT_BYTES, ".").encode() for at in range(snapshots)}
    written |= {f"{folder}/0": f"{folder} of {number} ".ljust(450, ".").encode() for folder in ("keys", "index", "data/00")}
    contents, modified = {"config": b"c" * 155}, {"config": f"{now - timedelta(hours=snapshots):%Y-%m-%dT%H:%M:%S.000Z}"}
    for path, content in written.items():
        folder, _, at = path.rpartition("/")
        key = f"{folder}/{hashlib.sha256(content).hexdigest()}"
        contents[key] = content
        modified[key] = f"{now - timedelta(hours=int(at) + 1):%Y-%m-%dT%H:%M:%S.000Z}"
    return Bucket(contents, modified, sorted(contents))


def read_bucket(folder: Path) -> Bucket:
    """A repository, say, with its files' own times."""
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    times = {key: datetime.fromtimestamp(file.stat().st_mtime, UTC) for key, file in files.items()}
    modified = {key: f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03}Z" for key, time in times.items()}
    return Bucket({key: file.read_bytes() for key, file in files.items()}, modified, sorted(files))


@dataclass(frozen=True, slots=True)
class Answer:
    status: bytes
    body: bytes
    headers: bytes = b""


@dataclass(slots=True)
class S3:
    """Answers by target; each is made once, so that what it costs here is hardly more than finding it."""

    buckets: Mapping[str, Bucket]
    headers: bytes = _S3_HEADERS
    _made: dict[bytes, Answer] = field(default_factory=dict)

    def answer(self, target: bytes, head: bytes) -> Answer:
        if b"\r\nauthorization: AWS4-HMAC-SHA256 " not in head and b"\r\nAuthorization: AWS4-HMAC-SHA256 " not in head:
            return Answer(b"403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>")
        if target not in self._made:
            self._made[target] = self._make(target.decode())
        return self._made[target]

    def _make(self, target: str) -> Answer:
        parts = urlsplit(target)
        name, _, key = unquote(parts.path).lstrip("/").partition("/")
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        bucket = self.buckets.get(name)
        if not bucket:
            return Answer(b"404 Not Found", b"<Error><Code>NoSuchBucket</Code></Error>")
        if not key and query.get("list-type") == "2":
            return Answer(b"200 OK", bucket.page(query))
        if key in bucket.contents:
            return Answer(b"200 OK", bucket.contents[key], bucket.headers(key))
        return Answer(b"404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>")


@dataclass(frozen=True, slots=True)
class Kuma:
    headers: bytes = _KUMA_HEADERS

    def answer(self, target: bytes, head: bytes) -> Answer:
        there = target.startswith(b"/api/push/")
        return Answer(b"200 OK", b'{"ok":true}') if there else Answer(b"404 Not Found", b'{"ok":false}')


class Conversation(asyncio.Protocol):
    """One connection. A request has no body."""

    def __init__(self, far_side: S3 | Kuma, counts: Counts, latency_seconds: float) -> None:
        self._far_side, self._counts, self._latency_seconds = far_side, counts, latency_seconds
        self._loop = asyncio.get_running_loop()
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._counts.connections += 1

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            self._counts.requests += 1
            self._counts.in_flight += 1
            self._counts.most_in_flight = max(self._counts.most_in_flight, self._counts.in_flight)
            self._loop.call_later(self._latency_seconds, self._answer, head)

    def _answer(self, head: bytes) -> None:
        self._counts.in_flight -= 1
        method, target, _ = head.split(b" ", 2)
        answer = self._far_side.answer(target, head)
        self._counts.failed += answer.status != b"200 OK"
        closes = b"\r\nconnection: close" in head.lower()
        self._transport.write(
            b"HTTP/1.1 %b\r\nDate: %b\r\nContent-Length: %d\r\n%b%bConnection: %b\r\n\r\n"
            % (
                answer.status,
                _date(),
                len(answer.body),
                self._far_side.headers,
                answer.headers,
                b"close" if closes else b"keep-alive",
            )
            + (b"" if method == b"HEAD" else answer.body)
        )
        if closes:
            self._transport.close()


def _date(_cache: dict[int, bytes] = {}) -> bytes:  # noqa: B006 - this second's, once
    second = int(time.time())
    if second not in _cache:
        _cache.clear()
        _cache[second] = formatdate(second, usegmt=True).encode()
    return _cache[second]


async def serve(buckets: Mapping[str, Bucket], latency_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    far_sides: dict[str, S3 | Kuma] = {"s3": S3(buckets), "kuma": Kuma()}
    counts = {name: Counts() for name in far_sides}

    async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps({name: dataclasses.asdict(each) for name, each in counts.items()}).encode())
        writer.close()
        for each in counts.values():
            each.requests = each.failed = each.connections = each.most_in_flight = 0

    ports = {}
    for name, far_side in far_sides.items():

        def converse(far_side: S3 | Kuma = far_side, counts: Counts = counts[name]) -> Conversation:
            return Conversation(far_side, counts, latency_seconds)

        listening = await loop.create_server(converse, "127.0.0.1", 0, backlog=_BACKLOG)
        ports[name] = listening.sockets[0].getsockname()[1]
    listening = await asyncio.start_server(tell, "127.0.0.1", 0)
    ports["counts"] = listening.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    await asyncio.Event().wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--buckets", type=int, default=1000)
    parser.add_argument("--snapshots", type=int, default=10, help="in each bucket")
    parser.add_argument("--latency", type=float, default=0.05, metavar="SECONDS")
    parser.add_argument("--folder", type=Path, help="real buckets instead: the folders in it")
    options = parser.parse_args()
    if options.folder:
        buckets = {folder.name: read_bucket(folder) for folder in options.folder.iterdir()}
    else:
        now = datetime.now(UTC)
        buckets = {BUCKET.format(number): make_bucket(number, options.snapshots, now) for number in range(options.buckets)}
    gc.freeze()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(buckets, options.latency))
    return 0


if __name__ == "__main__":
    sys.exit(main())
