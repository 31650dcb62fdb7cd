"""Whatever rclone knows, by the user's rclone and its configuration: `rclone lsjson` lists, `rclone cat` reads.

Exit statuses: https://rclone.org/docs/#exit-code. What it prints differs between storages and versions.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from restic_monitor import process
from restic_monitor.backends import ENTRY_LIMIT, FOLDERS, BackendError, Content, Entries, Entry, Kind, attempt, one_by_one
from restic_monitor.location import passwords
from restic_monitor.model import one_line
from restic_monitor.process import Ended
from restic_monitor.secret import Redactor, secrets_in

_QUIET = ("--ask-password=false", "--retries=1", "--low-level-retries=1")
"""It asks nobody, and leaves it to `attempt` to try again: ten tries of ten each last longer than a look."""
_LIST = ("--recursive", "--files-only", "--no-mimetype", "--use-server-modtime")
_DEFINE = "define the remote in rclone.conf, or with RCLONE_CONFIG_NAME_* variables"
_TEXT_LIMIT = 100
_BATCH = 500
"""Names in one argument of rclone's, 64 characters each: Linux takes 128 KiB."""
_BATCH_BYTES = 16 * 1024 * 1024
_AT_ONCE = 32

# A filter would hide files; what else is printed to stdout is no JSON; and what goes to a log, is not told.
_TAKEN_OUT = re.compile(
    r"RCLONE_(EXCLUDE|INCLUDE|FILTER|FILES_FROM|HASH_FILTER|IGNORE_CASE|MAX_AGE|MIN_AGE|MAX_SIZE|MIN_SIZE|MAX_DEPTH|METADATA_"
    r"|PROGRESS|DEFAULT_TIME|HUMAN_READABLE|LOG_FILE|SYSLOG|QUIET)"
)
_NO_TIMES = (datetime(2000, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC))
"""What rclone says where the storage tells no time (--default-time)."""


class _File(msgspec.Struct, rename="pascal"):
    path: str
    size: int
    mod_time: datetime | None = None
    tier: str | None = None


_FILES = msgspec.json.Decoder(list[_File])


@dataclass(frozen=True, slots=True)
class Rclone:
    """`remote` is what restic's `rclone:` is followed by; `program` may have arguments, as with restic. `environment` is all
    that rclone gets."""

    remote: str = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    program: str = "rclone"
    heavy: bool = field(default=True, init=False)

    def list(self, folder: str, deadline: float) -> Entries:
        if folder:
            return Entries(lambda entries: iter(self._listed(folder, deadline)))
        return Entries(lambda entries: self._all(entries, deadline))

    def read(self, name: str, deadline: float, limit: int) -> bytes:
        content = self._run(name, deadline, "cat", f"--count={limit}", "--", self._path(name))
        if content:
            return content[:limit]
        return self._nothing(name, deadline)

    def read_all(self, files: Sequence[Entry], deadline: float, limit: int) -> Iterator[Content]:
        """Many files of one folder with one rclone, which prints them one behind the other in any order: where each ends, its
        size and its name tell. What is left over is read by itself."""
        left = [file for file in files if file.size and file.size < limit]
        single = [file for file in files if not (file.size and file.size < limit)]
        for batch in _batches(left):
            try:
                found = self._batch(batch, deadline)
            except BackendError as error:
                yield from ((file, error) for file in batch)
                continue
            yield from ((file, found[file.name]) for file in batch if file.name in found)
            single += [file for file in batch if file.name not in found]
        yield from one_by_one(self.read, single, deadline, limit)

    def _batch(self, files: Sequence[Entry], deadline: float) -> dict[str, bytes]:
        folder = files[0].name.rpartition("/")[0]
        pattern = "|".join(_literal(file.name.rpartition("/")[2]) for file in files).replace("|", ",")
        arguments = ("cat", f"--checkers={_AT_ONCE}", f"--include=/{{{pattern}}}", "--", self._path(folder, is_folder=True))
        return _split(self._run(folder, deadline, *arguments), files)

    def close(self) -> None:
        pass

    def _all(self, entries: Entries, deadline: float) -> Iterator[Entry]:
        """One listing; three where that is denied. The filters keep it out of `data` and `index`: it asks for four folders."""
        try:
            yield from self._listed("", deadline, "--include=/config", *(f"--include=/{folder}/**" for folder in FOLDERS))
            return
        except BackendError as problem:
            if problem.kind is not Kind.DENIED:
                raise
            denied = problem
        for folder in FOLDERS:
            try:
                yield from self._listed(folder, deadline)
            except BackendError as error:
                if error.kind is Kind.DENIED and folder != "snapshots":
                    entries.denied.add(folder)
                elif error.kind is not Kind.MISSING:
                    raise denied from None

    def _listed(self, folder: str, deadline: float, *filters: str) -> Sequence[Entry]:
        listed = self._run(folder, deadline, "lsjson", *_LIST, *filters, "--", self._path(folder, is_folder=True))
        try:
            files = _FILES.decode(listed)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise BackendError(Kind.MALFORMED, "rclone printed something that is no list of files") from None
        if len(files) > ENTRY_LIMIT:
            raise BackendError(Kind.MALFORMED, f"{self._shown(folder)} lists more than {ENTRY_LIMIT} files")
        return [_entry(folder, file) for file in files]

    def _nothing(self, name: str, deadline: float) -> bytes:
        """An empty file, or what `cat` makes of none, or of one that may not be read, on an object store. Its folder tells."""
        folder, _, last = name.rpartition("/")
        found = [file for file in self._listed(folder, deadline, f"--include=/{_literal(last)}") if file.name == name]
        if not found:
            raise BackendError(Kind.MISSING, f"there is no {self._shown(name)}")
        if found[0].size:
            raise BackendError(Kind.DENIED, f"{self._shown(name)} may not be read, only listed")
        return b""

    # the program

    def _run(self, name: str, deadline: float, *arguments: str) -> bytes:
        """Its output. Raises BackendError."""
        if passwords(f"rclone:{self.remote}"):
            raise BackendError(Kind.REFUSED, f"a connection string would show its values in the list of processes; {_DEFINE}")
        try:
            program = process.split(self.program)
        except ValueError as error:
            raise BackendError(Kind.REFUSED, f"rclone.program: {error}") from None
        if not program:
            raise BackendError(Kind.REFUSED, "rclone.program is empty")
        argv = [*program, arguments[0], *_QUIET, *arguments[1:]]
        environment = {name: value for name, value in self.environment.items() if not _TAKEN_OUT.match(name)}
        return attempt(lambda: self._once(argv, environment, name, deadline), deadline)

    def _once(self, argv: Sequence[str], environment: Mapping[str, str], name: str, deadline: float) -> bytes:
        if time.monotonic() >= deadline:
            raise BackendError(Kind.TIMEOUT, f"no time was left to read {self._shown(name)}")
        try:
            ended = process.run(argv, environment, deadline)
        except FileNotFoundError:
            raise BackendError(Kind.REFUSED, f"the program {argv[0]} was not found; install rclone") from None
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise BackendError(Kind.REFUSED, f"cannot start {argv[0]}: {reason}") from None
        except ValueError:
            raise BackendError(Kind.REFUSED, f"cannot start {argv[0]}: NUL in an argument or a variable") from None
        if ended.why == "exit" and ended.status == 0:
            return ended.stdout
        raise self._problem(ended, name)

    def _problem(self, ended: Ended, name: str) -> BackendError:
        if ended.why == "deadline":
            return BackendError(Kind.TIMEOUT, f"rclone has not ended in time, reading {self._shown(name)}")
        if ended.why == "interrupted":
            return BackendError(Kind.UNREACHABLE, "interrupted")
        if ended.why == "too long":
            return BackendError(Kind.MALFORMED, f"rclone printed too much, reading {self._shown(name)}")
        said = "\n".join(ended.stderr)
        if ended.status in (_NO_FOLDER, _NO_FILE):
            return BackendError(Kind.MISSING, f"there is no {self._shown(name)}")
        for pattern, kind, text in _MEANINGS:
            if re.search(pattern, said):
                return BackendError(kind, text.format(shown=self._shown(name), define=_DEFINE))
        kind = Kind.UNREACHABLE if ended.status == _TEMPORARY else Kind.REFUSED
        return BackendError(kind, f"rclone failed with exit status {ended.status}{self._last_words(ended)}")

    def _last_words(self, ended: Ended) -> str:
        """Their end, where Go's errors have the cause, without addresses, secrets of the environment, and what may be one of
        the configuration's."""
        line = next((line for line in reversed(ended.stderr) if line.strip()), "")
        text = _PREFIX.sub("", Redactor(secrets_in(self.environment.items()))(line))
        text = one_line(_LONG_WORD.sub("***", _URL.sub(r"\1***", text)))
        text = text if len(text) <= _TEXT_LIMIT else f"...{text[3 - _TEXT_LIMIT :]}"
        return f": {text}" if text else ""

    def _path(self, name: str, *, is_folder: bool = False) -> str:
        """A slash at the end spares rclone the question, and a wrong guess, whether an object has the name of the folder."""
        joint = "" if not self.remote or self.remote.endswith((":", "/")) else "/"
        path = f"{self.remote}{joint}{name}"
        return path if not is_folder or path.endswith((":", "/")) else f"{path}/"

    def _shown(self, name: str) -> str:
        return self._path(name).removesuffix("/") or "/"


_NO_FOLDER, _NO_FILE, _TEMPORARY = 3, 4, 5
_PREFIX = re.compile(r"^(?:\d{4}/\d\d/\d\d \d\d:\d\d:\d\d )?(?:(?:NOTICE|ERROR|CRITICAL) *: )?")
_URL = re.compile(r"(\w+://[^\s/?#@\"']*)[^\s\"']*")
_LONG_WORD = re.compile(r"[A-Za-z0-9+/=_.~%-]{32,}")

# In this order: the first that is found in what rclone said. Its own texts, those of S3 and of Go's net and crypto/x509.
_MEANINGS = (
    ("didn't find section in config file", Kind.REFUSED, "rclone knows no remote of this name ({shown}); {define}"),
    ("unable to decrypt configuration|not allowed to ask for password|[Cc]ouldn't decrypt configuration", Kind.REFUSED,
     "rclone's configuration is encrypted and cannot be opened; set RCLONE_CONFIG_PASS or RCLONE_PASSWORD_COMMAND"),
    ("Failed to load config file", Kind.REFUSED, "rclone cannot read its configuration"),
    ("didn't find backend called", Kind.REFUSED, "rclone has no storage of this type ({shown}); is it too old?"),
    ("unknown flag|unknown shorthand flag|unknown command", Kind.REFUSED, "rclone is too old: it does not know an option"),
    (r"NoSuchBucket|bucket .*does(?:n't| not) exist", Kind.MISSING, "there is no bucket for {shown}"),
    ("TooManyRequests|Too Many Requests|SlowDown|[rR]ateLimitExceeded|rate limit|StatusCode: (?:429|503)|too_many_requests",
     Kind.THROTTLED, "the storage of {shown} is too busy"),
    ("x509: |certificate|tls: ", Kind.REFUSED, "the certificate of the storage of {shown} is not trusted"),
    ("AccessDenied|Access ?Denied|InvalidAccessKeyId|SignatureDoesNotMatch|StatusCode: 40[13]|[Uu]nauthorized|Forbidden|"
     "[Pp]ermission denied|invalid_grant|invalid_client|unable to authenticate|[Ll]ogin incorrect|expired_access_token|"
     "couldn't fetch token|(?:access_key_id|secret_access_key) not found", Kind.DENIED,
     "{shown} is not shown with these credentials"),
    ("connection refused", Kind.UNREACHABLE, "the storage of {shown} refuses the connection"),
    ("no such host|server misbehaving|name resolution", Kind.UNREACHABLE, "the host of {shown} is not found"),
    ("i/o timeout|timed out|deadline exceeded|no route to host|network is unreachable|connection reset|broken pipe|EOF|"
     "handshake timeout|StatusCode: 5|HTTP error 5|50[0-4] ", Kind.UNREACHABLE, "the storage of {shown} does not answer"),
)  # fmt: skip


def _entry(folder: str, file: _File) -> Entry:
    name = f"{folder}/{file.path}" if folder else file.path
    return Entry(name, file.size if file.size >= 0 else None, _moment(file.mod_time), file.tier or None)


def _moment(time: datetime | None) -> datetime | None:
    if time is None or time.tzinfo is None or time in _NO_TIMES or time.year == 1:
        return None
    return time


def _batches(files: Iterable[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for file in files:
        if batch and (len(batch) == _BATCH or size + (file.size or 0) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.size or 0
    if batch:
        yield batch


def _split(content: bytes, files: Sequence[Entry]) -> dict[str, bytes]:
    """Contents by name, up to the first that is not what its name says."""
    wanted = {file.name.rpartition("/")[2]: file.name for file in files}
    sizes = Counter(file.size for file in files if file.size)
    found, start, there = {}, 0, memoryview(content)
    while start < len(there):
        for size in sizes:
            digest = hashlib.sha256(there[start : start + size]).hexdigest()
            if digest in wanted and start + size <= len(there):
                break
        else:
            break
        found[wanted.pop(digest)] = bytes(there[start : start + size])
        start += size
        sizes[size] -= 1
        sizes += Counter()  # without those that are used up
    return found


def _literal(name: str) -> str:
    """A name in one of rclone's filters: https://rclone.org/filtering/#patterns"""
    return re.sub(r"([\\*?\[\]{}])", r"\\\1", name)
