"""Small real servers on the loopback that answer as S3 does, and as told: what `rclone serve s3` cannot be made to do."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qsl, quote_plus, unquote, urlsplit

from kuma import LoopbackServer, QuietHandler


@dataclass(frozen=True)
class Asked:
    """A request as it came in. `target` is all of its address behind the host; the names of `headers` are in small letters."""

    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target.replace("//", "/")).query, keep_blank_values=True))


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Answering = Callable[[Asked], Reply]


class Server:
    """Every request, in order, in `asked`."""

    def __init__(self, answer: Answering, tls: tuple[Path, Path] | None) -> None:
        self._asked: list[Asked] = []
        self._lock = threading.Lock()
        server = self

        class Handler(QuietHandler):
            def answer(self) -> None:
                asked = Asked(self.command, self.target, {name.lower(): value for name, value in self.headers.items()})
                server.note(asked)
                reply = answer(asked)
                headers = {"Content-Length": str(len(reply.body)), "Date": format_datetime(datetime.now(UTC), usegmt=True)}
                headers |= reply.headers
                phrase = HTTPStatus(reply.status).phrase
                lines = [f"HTTP/1.1 {reply.status} {phrase}", *(f"{n}: {v}" for n, v in headers.items() if v), "", ""]
                self.wfile.write("\r\n".join(lines).encode("latin-1") + (b"" if self.command == "HEAD" else reply.body))

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815

        self._server = LoopbackServer(Handler, tls=tls)
        self.address = f"127.0.0.1:{self._server.port}"
        self.url = f"{'https' if tls else 'http'}://{self.address}"

    def note(self, asked: Asked) -> None:
        with self._lock:
            self._asked.append(asked)

    @property
    def asked(self) -> tuple[Asked, ...]:
        with self._lock:
            return tuple(self._asked)

    def close(self) -> None:
        self._server.close()


@contextmanager
def answering(answer: Answering, tls: tuple[Path, Path] | None = None) -> Iterator[Server]:
    """A server that answers each request with what this function makes of it. `tls`: a certificate and its key."""
    server = Server(answer, tls)
    try:
        yield server
    finally:
        server.close()


@dataclass(frozen=True)
class Object:
    content: bytes
    modified: datetime


Bucket = Callable[[], Mapping[str, Object]]
"""What a bucket holds at the moment, by key."""
EMPTY = Object(b"", datetime(2026, 1, 1, tzinfo=UTC))


def files_below(folder: Path, base: str) -> Mapping[str, Object]:
    """The files of a folder as objects with names that begin with `base`, and markers for folders."""
    found = {}
    for path in folder.rglob("*"):
        key = f"{base}{os.fsencode(path.relative_to(folder)).decode(errors='replace')}"
        if path.is_dir():
            found[f"{key}/"] = EMPTY
        else:
            found[key] = Object(path.read_bytes(), datetime.fromtimestamp(path.stat().st_mtime, UTC))
    return found


def error(status: int, code: str, more: str = "", **headers: str) -> Reply:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>It is so.</Message>{more}</Error>'
    return Reply(status, text.encode(), {"Content-Type": "application/xml", **headers})


@dataclass
class StandIn:
    """S3's listing and reading, path style. Signatures are not checked (`rclone serve s3` does), the key ID and the region
    are. `anonymous`: nobody has to sign. `may` says whether a prefix may be listed, or a key read.
    """

    buckets: Mapping[str, Bucket]
    key_id: str = "AKIDSTANDIN"
    page: int = 1000
    region: str = ""
    """The only one that is taken; "": any."""
    redirect: int = 301
    """How another region is answered: 301 or 307 with a header, 400 with an XML element."""
    start_after: bool = True
    encodes: bool = True
    anonymous: bool = False
    may: Callable[[str], bool] = lambda _: True

    def __call__(self, asked: Asked) -> Reply:
        if problem := self._stranger(asked.headers.get("authorization", "")):
            return problem
        bucket, _, key = asked.path.removeprefix("/").partition("/")
        if bucket not in self.buckets:
            return error(404, "NoSuchBucket")
        objects = self.buckets[bucket]()
        if key:
            return self._object(key, objects)
        if not self.may(asked.query.get("prefix", "")):
            return error(403, "AccessDenied")
        return Reply(200, self._listing(asked.query, objects), {"Content-Type": "application/xml"})

    def _stranger(self, authorization: str) -> Reply | None:
        if self.anonymous and not authorization:
            return None
        signed = re.match(r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([^/]+)/s3/aws4_request, ?", authorization)
        if not signed:
            return error(403, "AccessDenied")
        if signed[1] != self.key_id:
            return error(403, "InvalidAccessKeyId")
        if self.region and signed[2] != self.region:
            if self.redirect == 400:
                return error(400, "AuthorizationHeaderMalformed", f"<Region>{self.region}</Region>")
            return error(self.redirect, "PermanentRedirect", **{"x-amz-bucket-region": self.region})
        return None

    def _object(self, key: str, objects: Mapping[str, Object]) -> Reply:
        if not self.may(key):
            return error(403, "AccessDenied")
        return Reply(200, objects[key].content) if key in objects else error(404, "NoSuchKey")

    def _listing(self, query: Mapping[str, str], objects: Mapping[str, Object]) -> bytes:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html"""
        after = query.get("start-after", "") if self.start_after else ""
        if token := query.get("continuation-token"):
            after = base64.b64decode(token).decode()
        keys = sorted(key for key in objects if key.startswith(query.get("prefix", "")) and key > after)
        shown, more = keys[: self.page], len(keys) > self.page
        escaped = self.encodes and query.get("encoding-type") == "url"
        body = "".join(_contents(key, objects[key], escaped=escaped) for key in shown)
        body += "<EncodingType>url</EncodingType>" if escaped else ""
        body += f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        if more:
            token = base64.b64encode(shown[-1].encode()).decode()
            body += f"<NextContinuationToken>{token}</NextContinuationToken>"
        return listing(body)


def listing(body: str) -> bytes:
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    return f"{head}{body}</ListBucketResult>".encode()


def _contents(key: str, held: Object, *, escaped: bool) -> str:
    name = quote_plus(key, safe="/") if escaped else key.replace("&", "&amp;").replace("<", "&lt;")
    digest = hashlib.md5(held.content, usedforsecurity=False).hexdigest()
    return (
        f"<Contents><Key>{name}</Key><LastModified>{held.modified:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
        f"<ETag>&quot;{digest}&quot;</ETag><Size>{len(held.content)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )
