"""restic's repository URLs: parsed as restic parses them, shown without credentials, and told apart.

Sources: restic's internal/backend/location/location.go (the scheme is the text before the first colon) and
internal/backend/*/config.go; Go's net/url and path.Clean, which restic uses.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from msgspec import Struct

from restic_monitor.secret import redact_urls

SCHEMES = ("azure", "b2", "gs", "local", "rclone", "rest", "s3", "sftp", "swift")
_PATH = re.compile(r"\.\.[/\\]|[/\\]|[a-zA-Z]:[/\\]")


def scheme(url: str) -> str | None:
    """The backend restic takes for this repository; None where it will refuse the URL ("invalid backend")."""
    before, colon, _ = url.partition(":")
    if before in SCHEMES and colon:
        return before
    return "local" if not colon or _PATH.match(url) else None


def shown(url: str) -> str:
    """The URL without a password in it, and without what an rclone connection string sets."""
    return redact_urls(_unset(url) if scheme(url) == "rclone" else _BARE_USERINFO.sub(r"\1:***@", url))


# `rest:user:password@host`, where somebody forgot the https://
_BARE_USERINFO = re.compile(r"^((?:rest|s3):[^\s/?#:@]*):(?!\d*[/?#])\S*@")
_PASSWORD = re.compile(r"(?:://|^(?:rest|s3):)[^\s/?#:@]*:(?!\d*[/?#])(\S*)@")


def passwords(url: str) -> tuple[str, ...]:
    """The password in a URL, as written and percent-decoded, and what an rclone connection string sets; () without."""
    found = {match[1] for match in _PASSWORD.finditer(url)}
    if scheme(url) == "rclone":
        found |= {text for match in _SET_FOR_RCLONE.finditer(url) for text in _unquoted(match[2])}
    return tuple({text for written in found for text in (written, unquote(written)) if text})


# `rclone::s3,secret_access_key=…,region=…:bucket`: https://rclone.org/docs/#connection-strings (a quote in quotes is doubled)
_SET_FOR_RCLONE = re.compile(r"(,[\w.-]+=)(\"(?:[^\"]|\"\")*(?:\"|$)|'(?:[^']|'')*(?:'|$)|[^,:]*)")


def _unset(remote: str) -> str:
    return _SET_FOR_RCLONE.sub(r"\1***", remote)


def _unquoted(value: str) -> tuple[str, ...]:
    quote = value[:1]
    if quote not in ("'", '"'):
        return (value,)
    inner = value[1:].removesuffix(quote)
    return inner, inner.replace(quote * 2, quote)


class Local(Struct, frozen=True):
    path: str


class S3(Struct, frozen=True):
    """`endpoint` is HOST or HOST:PORT, `bucket` is never "". `prefix` begins with / where the URL has `bucket//prefix`:
    so do the keys then."""

    endpoint: str
    bucket: str
    prefix: str
    encrypted: bool = True
    """https; what does not say http is."""


class Sftp(Struct, frozen=True):
    """`host` is an IPv6 address without brackets, too; `user` and `port` are "" for ssh to decide. `path` is relative to
    where the server begins unless it starts with /; "." is that place itself."""

    user: str
    host: str
    port: str
    path: str


@dataclass(frozen=True, slots=True)
class Rest:
    """`url` ends with / and has the credentials that were written into it: http or https, or one of both over a Unix
    socket (`http+unix:///run/rest.sock:/repo/`)."""

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rclone:
    """`remote` may set secrets: a connection string."""

    remote: str = field(repr=False)


class B2(Struct, frozen=True):
    bucket: str
    prefix: str


class Azure(Struct, frozen=True):
    """A `prefix` of "." is restic's for `azure:container:`, and means none."""

    container: str
    prefix: str


class Gs(Struct, frozen=True):
    """A `prefix` of "." is restic's for `gs:bucket:`, and means none."""

    bucket: str
    prefix: str


class Swift(Struct, frozen=True):
    """`prefix` is as written; restic cleans it in names only."""

    container: str
    prefix: str


Location = Local | S3 | Sftp | Rest | Rclone | B2 | Azure | Gs | Swift


def parse(url: str) -> Location:
    """Where the repository is. Raises ValueError with restic's reason in a sentence that shows nothing of the URL.

    Also refused is what restic accepts here and can never open: an S3 URL without a bucket or with an endpoint that is no
    host, a REST URL without http or host.
    What a percent-encoding says is decoded as a file name is: bytes that are no UTF-8 become surrogates.
    """
    name, colon, rest = url.partition(":")
    if name not in SCHEMES:
        if colon and not _PATH.match(url):
            raise ValueError("invalid backend; a folder with a colon in its name needs local: in front")
        return Local(url)
    if not colon:
        raise ValueError(f"{name}: invalid format, there is no colon; a folder of that name is local:{name}")
    try:
        return _PARSERS[name](rest)
    except ValueError as reason:
        raise ValueError(f"{name}: {reason}") from None


def identity(url: str) -> str:
    """The same text for each way to write one repository's URL, without any credential; fit for storing as UTF-8.

    A relative folder is taken from the working directory. What the URL does not say (an account, rclone's configuration, the
    values that a connection string sets) cannot tell two repositories apart. A URL that cannot be parsed is `shown`.
    """
    text = shown(url)  # parsed in this form, so that no part of a password is taken for a host or a bucket
    with contextlib.suppress(ValueError):
        text = _canonical(parse(text))
    return text.encode(errors="backslashreplace").decode()


def _canonical(location: Location) -> str:
    match location:
        case Local(path):
            text = f"local:{_absolute(path)}"
        case S3(endpoint, bucket, prefix, encrypted):
            host = plain_host(endpoint, encrypted=encrypted)
            text = f"s3:{'' if encrypted else 'http://'}{host}/{bucket}" + (f"/{prefix}" if prefix not in ("", ".") else "")
        case Sftp(user, host, port, path):
            host = f"[{host}]" if ":" in host else host
            text = f"sftp://{user}{'@' if user else ''}{_plain(f'{host}:{port}', '22')}/{path}"
        case Rest(written):
            url = _parse_url(written)
            text = f"rest:{url.scheme}://{_plain(url.host, '443' if url.scheme == 'https' else '80')}{url.path}"
        case Rclone(remote):
            text = f"rclone:{remote}"
        case B2(container, prefix) | Azure(container, prefix) | Gs(container, prefix) | Swift(container, prefix):
            cleaned = _clean(prefix)
            text = f"{type(location).__name__.lower()}:{container}:/{cleaned if cleaned != '.' else ''}"
    return text


def _absolute(path: str) -> str:
    with contextlib.suppress(OSError):  # a working directory that was removed
        path = posixpath.join(os.getcwd(), path)
    return _clean(path)


def plain_host(host: str, *, encrypted: bool) -> str:
    return _plain(host, "443" if encrypted else "80")


def _plain(host: str, default_port: str) -> str:
    """HOST or HOST:PORT in lower case, without the port that is meant anyway."""
    name, port = _split_port(host)
    return (f"{name}:{port}" if port not in ("", default_port) else name).lower()


# one parser for each scheme: what stands after the first colon


def _s3(rest: str) -> S3:
    encrypted = True
    if rest.startswith("http"):  # also a host called httpd.example.com, of which restic makes nothing either
        url = _parse_url(rest)
        endpoint, path, encrypted = url.host, url.path[1:], url.scheme != "http"
        if not url.path:
            raise ValueError("bucket name not found")
    else:
        endpoint, _, path = rest.removeprefix("//").partition("/")
        endpoint = _parse_url(f"https://{endpoint}").host  # as minio-go does it for restic
    bucket, _, prefix = path.partition("/")
    if not endpoint:
        raise ValueError("invalid format, host/region or bucket name not found")
    if not bucket:
        raise ValueError("bucket name not found")
    return S3(endpoint, bucket, _clean(prefix) if prefix else "", encrypted)


def _sftp(rest: str) -> Sftp:
    user, port = "", ""
    if rest.startswith("//"):
        url = _parse_url(f"sftp:{rest}")
        if not url.path:
            raise ValueError("no directory specified")
        user, (host, port), path = url.user, _split_port(url.host), url.path[1:]
        host = host[1:-1] if host.startswith("[") else host
    else:
        host, colon, path = rest.partition(":")
        if not colon:
            raise ValueError("invalid format, hostname or path not found")
        *users, host = host.split("@", 2)
        user = "@".join(users)
    path = _clean(path)
    if path.startswith("~"):
        raise ValueError("the path starts with ~, that fails for most servers; write it relative to the home directory")
    return Sftp(user, host, port, path)


def _rest(rest: str) -> Rest:
    written = rest if rest.endswith("/") else f"{rest}/"
    url = _parse_url(written)
    if url.scheme not in ("http", "https", "http+unix", "https+unix"):
        raise ValueError("unsupported protocol scheme, want rest:https://HOST/ or rest:http://HOST/")
    if not url.host and not url.scheme.endswith("+unix"):
        raise ValueError("no host in the URL, want rest:https://HOST/ or rest:http://HOST/")
    if "?" in written or "#" in written:  # restic would ask for `/repo/?query/config`, or without all names
        raise ValueError("the path ends at ? or #, restic finds no repository there; in a name they are %3F and %23")
    return Rest(written)


def _b2(rest: str) -> B2:
    bucket, _, prefix = rest.partition(":")
    if not bucket:
        raise ValueError("bucket name not found")
    if not 6 <= (length := len(os.fsencode(bucket))) <= 50:
        raise ValueError(f"bucket name is too {'short' if length < 6 else 'long'}")
    if not re.fullmatch("[a-zA-Z0-9-]+", bucket):
        raise ValueError("bucket name contains invalid characters, allowed are: a-z, 0-9, dash (-)")
    return B2(bucket, _clean(prefix).removeprefix("/") if prefix else "")


def _container(rest: str) -> tuple[str, str]:
    container, colon, prefix = rest.partition(":")
    if not colon:
        raise ValueError("invalid format: bucket name or path not found")
    return container, _clean(prefix).removeprefix("/")


def _swift(rest: str) -> Swift:
    container, _, prefix = rest.partition(":")
    if not prefix:
        raise ValueError("prefix is empty, want swift:container-name:/[prefix]")
    if not prefix.startswith("/"):
        raise ValueError("prefix does not start with slash (/)")
    return Swift(container, prefix[1:])


_PARSERS: Mapping[str, Callable[[str], Location]] = {
    "azure": lambda rest: Azure(*_container(rest)),
    "b2": _b2,
    "gs": lambda rest: Gs(*_container(rest)),
    "local": Local,
    "rclone": Rclone,
    "rest": _rest,
    "s3": _s3,
    "sftp": _sftp,
    "swift": _swift,
}


def _clean(path: str) -> str:
    """Go's path.Clean: `normpath`, which keeps two slashes in front, as POSIX may."""
    path = posixpath.normpath(path)
    return path[1:] if path.startswith("//") else path


@dataclass(frozen=True, slots=True)
class _Url:
    """What Go's url.Parse makes of a text. `user` and `path` are percent-decoded, `host` has its port and brackets."""

    scheme: str
    user: str = field(default="", repr=False)
    host: str = ""
    path: str = field(default="", repr=False)


_HEX = "[0-9a-fA-F]"
_HOST = re.compile(rf"(?:[\w.~!$&'()*+,;=:\[\]<>\"-]|[^\x00-\x7f]|%[89a-fA-F]{_HEX}|%25)*", re.ASCII)
_USERINFO = re.compile(r"[\w.~!$&'()*+,;=:%@-]*", re.ASCII)


def _parse_url(text: str) -> _Url:
    """Raises ValueError that shows nothing of the text. Unlike Python's urlsplit it takes nothing out silently."""
    text, _, fragment = text.partition("#")
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError("invalid control character in URL")
    if text.startswith(":"):
        raise ValueError("missing protocol scheme")
    match = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*):", text)
    scheme, rest = (match[1].lower(), text[match.end() :]) if match else ("", text)
    rest, authority = rest.partition("?")[0], ""
    if not rest.startswith("/"):
        if not scheme and ":" in rest.partition("/")[0]:
            raise ValueError("first path segment in URL cannot contain colon")
        if scheme:  # mailto:somebody
            return _Url(scheme)
    elif rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, rest = rest[2:].partition("/")
        rest = slash + rest
    userinfo, _, host = authority.rpartition("@")
    host = _parse_host(host)
    if not _USERINFO.fullmatch(userinfo):
        raise ValueError("invalid userinfo in URL")
    user, path, *_ = map(_unescaped, (userinfo.partition(":")[0], rest, userinfo, fragment))
    return _Url(scheme, user, host, path)


def _parse_host(text: str) -> str:
    name, _ = _split_port(text)
    bracketed = text.startswith("[")
    if "[" in text[1:]:
        raise ValueError("invalid IP-literal in URL")
    if bracketed and "]" not in text:
        raise ValueError("missing ']' in host")
    if not (name.endswith("]") if bracketed else name != text or ":" not in text):
        raise ValueError("invalid port after host")
    if not _HOST.fullmatch(name):
        raise ValueError("invalid character in host name")
    if bracketed:
        try:
            ipaddress.IPv6Address(unquote(name[1:-1]))
        except ValueError:
            raise ValueError("invalid host, want an IPv6 address in brackets") from None
    return _unescaped(text)


def _split_port(host: str) -> tuple[str, str]:
    """The host, with the brackets of an IPv6 address, and the digits after the last colon; "" where there are none."""
    match = re.fullmatch(r"(.*?)(?::([0-9]*))?", host, re.DOTALL)
    assert match
    return match[1], match[2] or ""


def _unescaped(text: str) -> str:
    if re.search(rf"%(?!{_HEX}{{2}})", text):
        raise ValueError("invalid URL escape")
    return unquote(text, errors="surrogateescape")
