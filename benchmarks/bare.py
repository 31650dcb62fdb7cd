"""The requests of a run, and nothing else: how fast a client in Python can be that only sends, signs, and reads answers.

For each repository it lists the bucket (all pages), reads the newest snapshot file, and pushes, as restic-monitor does in
listing mode; that many looks at once, and as many pushes. It judges nothing, and takes no more from a listing than the
newest key, by a regular expression. Only the standard library: http.client, hmac. benchmarks/fast.py starts it.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import os
import re
import sys
import threading
import time
from queue import SimpleQueue
from urllib.parse import quote

BUCKET = "restic-r{:05}"
"""A repository's bucket, by its number; its name is without `restic-`."""
TOKEN = "{:032}"
"""Its push token."""
QUERY = "encoding-type=url&list-type=2&prefix=&start-after=index0"

_EMPTY = hashlib.sha256(b"").hexdigest()
_SNAPSHOT = re.compile(rb"<Key>(snapshots/[0-9a-f]{64})</Key><LastModified>([^<]*)")
_NEXT = re.compile(rb"<NextContinuationToken>([^<]*)")


class Signer:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html"""

    def __init__(self, key_id: str, secret: str, day: str) -> None:
        self._key_id, self._scope = key_id, f"{day}/us-east-1/s3/aws4_request"
        self._key = f"AWS4{secret}".encode()
        for word in self._scope.split("/"):
            self._key = hmac.digest(self._key, word.encode(), "sha256")

    def headers(self, host: str, path: str, query: str, moment: str) -> dict[str, str]:
        """Of a GET without a body. `path` and `query` are encoded, and the query is sorted."""
        signed = "host;x-amz-content-sha256;x-amz-date"
        request = f"GET\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{_EMPTY}\nx-amz-date:{moment}\n\n{signed}\n{_EMPTY}"
        text = f"AWS4-HMAC-SHA256\n{moment}\n{self._scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(self._key, text.encode(), "sha256").hex()
        return {
            "x-amz-content-sha256": _EMPTY,
            "x-amz-date": moment,
            "Authorization": f"AWS4-HMAC-SHA256 Credential={self._key_id}/{self._scope}, "
            f"SignedHeaders={signed}, Signature={signature}",
        }


class Looker:
    """One thread's connection to S3, kept alive from bucket to bucket."""

    def __init__(self, port: int) -> None:
        self._host = f"127.0.0.1:{port}"
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self._signer = Signer(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], _now()[:8])

    def look(self, bucket: str) -> None:
        newest, token = (b"", b""), b""
        while True:
            start = f"continuation-token={quote(token, safe='')}&" if token else ""
            page = self._get(f"/{bucket}", f"{start}{QUERY}")
            newest = max([newest, *((when, key) for key, when in _SNAPSHOT.findall(page))])
            following = _NEXT.search(page)
            if not following:
                break
            token = following[1]
        self._get(f"/{bucket}/{newest[1].decode()}", "")

    def _get(self, path: str, query: str) -> bytes:
        headers = self._signer.headers(self._host, path, query, _now())
        self._connection.request("GET", f"{path}?{query}" if query else path, headers=headers)
        return _body(self._connection)


def push(port: int, number: int) -> None:
    """A connection of its own, as Node closes idle ones."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    path = f"/api/push/{TOKEN.format(number)}?status=up&msg=newest%20file%20stored%201h%20ago&ping=101"
    connection.request("GET", path, headers={"Connection": "close"})
    _body(connection)
    connection.close()


def _now() -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def _body(connection: http.client.HTTPConnection) -> bytes:
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        print(f"status {answer.status}", file=sys.stderr)
        os._exit(1)
    return body


def main() -> None:
    s3, kuma, repositories, at_once = map(int, sys.argv[1:])
    looks: SimpleQueue[int | None] = SimpleQueue()
    pushes: SimpleQueue[int | None] = SimpleQueue()

    def look() -> None:
        looker = Looker(s3)
        while (number := looks.get()) is not None:
            looker.look(BUCKET.format(number))
            pushes.put(number)

    def tell() -> None:
        while (number := pushes.get()) is not None:
            push(kuma, number)

    count = min(at_once, repositories)
    for number in [*range(repositories), *[None] * count]:
        looks.put(number)
    lookers = [threading.Thread(target=look) for _ in range(count)]
    tellers = [threading.Thread(target=tell) for _ in range(count)]
    for thread in [*lookers, *tellers]:
        thread.start()
    for thread in lookers:
        thread.join()
    for _ in tellers:
        pushes.put(None)
    for thread in tellers:
        thread.join()


if __name__ == "__main__":
    main()
