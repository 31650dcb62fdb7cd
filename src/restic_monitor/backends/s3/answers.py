"""What S3 answers: pages of a listing, and errors."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from msgspec import Struct

from restic_monitor.backends import BackendError, Entry, Kind
from restic_monitor.http import Answer


class File(Struct, frozen=True):
    """One object as a page has it."""

    key: str
    size: int
    modified: datetime
    storage_class: str | None

    def entry(self, base: str) -> Entry:
        return Entry(self.key.removeprefix(base), self.size, self.modified, self.storage_class)


class Page(Struct, frozen=True):
    """`next` is the token of the next page; "" on the last."""

    files: list[File]
    next: str


def page(answer: Answer, host: str) -> Page:
    """Raises BackendError for what is no listing: a login page, something cut, a bomb."""
    root = _xml(answer.body)
    if root is None or _name(root) != "ListBucketResult":
        kind = "a web page" if b"<html" in answer.body[:1000].lower() else "something that is no listing"
        raise BackendError(Kind.MALFORMED, f"{host} answered {kind}; is it the address of an S3 server?")
    space = root.tag[: root.tag.index("}") + 1] if root.tag.startswith("{") else ""
    text = root.findtext
    escaped = text(f"{space}EncodingType") == "url"
    try:
        files = [_file(found, space, escaped) for found in root.iter(f"{space}Contents")]
    except (ValueError, TypeError, OverflowError):
        raise BackendError(Kind.MALFORMED, f"{host} lists a file without a name, a size or a time") from None
    truncated = text(f"{space}IsTruncated") == "true"
    token = text(f"{space}NextContinuationToken") or ""
    if truncated and not token:
        raise BackendError(Kind.MALFORMED, f"{host} leaves out how its listing goes on")
    return Page([file for file in files if not file.key.endswith("/")], token if truncated else "")


def _file(found: ElementTree.Element, space: str, escaped: bool) -> File:
    key = found.findtext(f"{space}Key")
    if not key:
        raise ValueError
    modified = datetime.fromisoformat(found.findtext(f"{space}LastModified") or "")
    return File(
        unquote_plus(key, errors="surrogateescape") if escaped else key,
        int(found.findtext(f"{space}Size") or ""),
        modified if modified.tzinfo else modified.replace(tzinfo=UTC),
        found.findtext(f"{space}StorageClass"),
    )


def _xml(body: bytes) -> ElementTree.Element | None:
    """None for what is no XML, or may blow up: S3 sends UTF-8 and no document type, where entities would be declared."""
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body or b"\0" in body:
        return None
    try:
        return ElementTree.fromstring(body)  # noqa: S314 - no entities can be declared without what was looked for
    except (ElementTree.ParseError, ValueError, LookupError):
        return None


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _error(answer: Answer) -> dict[str, str]:
    root = _xml(answer.body)
    return {} if root is None or _name(root) != "Error" else {_name(each): each.text or "" for each in root}


_REGION = re.compile(r"[a-z0-9-]{2,40}")


def other_region(answer: Answer, asked: str) -> str | None:
    """The region that an answer says to ask instead."""
    if answer.status not in (301, 307, 400, 403):
        return None
    told = answer.headers.get("x-amz-bucket-region") or _error(answer).get("Region", "")
    return told if _REGION.fullmatch(told) and told != asked else None


# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; XAdminUserNotFound is versitygw's
_MEANINGS = {
    "NoSuchBucket": (Kind.MISSING, "there is no bucket {bucket} at {host}"),
    "NoSuchKey": (Kind.MISSING, "there is no {key} in the bucket {bucket} at {host}"),
    "InvalidAccessKeyId": (Kind.DENIED, "{host} does not know the key ID (AWS_ACCESS_KEY_ID)"),
    "XAdminUserNotFound": (Kind.DENIED, "{host} does not know the key ID (AWS_ACCESS_KEY_ID)"),
    "SignatureDoesNotMatch": (Kind.DENIED, "the secret key (AWS_SECRET_ACCESS_KEY) is not the one that {host} knows"),
    "ExpiredToken": (Kind.DENIED, "the session token (AWS_SESSION_TOKEN) has expired; {host} wants a new one"),
    "InvalidToken": (Kind.DENIED, "{host} does not accept the session token (AWS_SESSION_TOKEN)"),
    "AllAccessDisabled": (Kind.DENIED, "{host} has disabled all access to the bucket {bucket}"),
    "RequestTimeTooSkewed": (Kind.REFUSED, "the clock of this machine differs too much from that of {host}"),
    "InvalidBucketName": (Kind.REFUSED, "{bucket} is no name of a bucket to {host}"),
    "AuthorizationHeaderMalformed": (Kind.REFUSED, "{host} wants another region; set AWS_DEFAULT_REGION or s3.region"),
    "PermanentRedirect": (Kind.REFUSED, "{host} says the bucket {bucket} is at another address; write that in url"),
    "SlowDown": (Kind.THROTTLED, "{host} is too busy (SlowDown)"),
}


def problem(answer: Answer, host: str, bucket: str, key: str) -> BackendError:
    """An answer that is not 200, in words."""
    code = _error(answer).get("Code", "")
    bucket, key = (text.encode(errors="replace").decode() for text in (bucket, key))
    if code in _MEANINGS:
        kind, words = _MEANINGS[code]
        return BackendError(kind, words.format(host=host, bucket=bucket, key=key))
    shown = f" {code}" if re.fullmatch(r"[A-Za-z]{3,60}", code) else ""
    said = f"({answer.status}{shown})"
    if answer.status in (401, 403):
        what = f"read {key}" if key else "list"
        return BackendError(Kind.DENIED, f"{host} does not let these credentials {what} in the bucket {bucket} {said}")
    if answer.status == 404:
        return BackendError(Kind.MISSING, f"{host} has no bucket {bucket}, or is no S3 server {said}")
    if answer.status in (301, 302, 303, 307, 308):
        return BackendError(Kind.REFUSED, f"{host} redirects to another address {said}; write that in url")
    return BackendError(Kind.REFUSED, f"{host} refused the request {said}")
