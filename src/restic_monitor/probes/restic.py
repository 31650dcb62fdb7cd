"""Looking with `restic snapshots --json --no-lock`: the reference, and the way to every backend that restic has.

Without `--no-lock` restic writes a lock. What can go wrong is in restic's doc/075_scripting.rst (exit codes) and, as far as
it is not written down, in what versions 0.14, 0.18 and 0.19 were seen to print (tests/fixtures/restic-output).
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from restic_monitor import process
from restic_monitor.model import Code, Observation, ProbeError, Snapshot, one_line, shorten
from restic_monitor.process import Ended
from restic_monitor.quantity import format_duration
from restic_monitor.secret import Redactor, Secret

_log = logging.getLogger(__name__)
_REASON_LIMIT = 150


@dataclass(frozen=True, slots=True)
class Restic:
    """One repository as restic sees it. `environment` is all that restic gets, the repository's URL included."""

    program: str
    url: Secret
    shown_url: str
    flags: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    redact: Redactor = field(repr=False)
    source: str = "restic"

    def observe(self, deadline: float) -> Observation:
        argv = [self.program, "snapshots", "--json", "--no-lock", *self.flags]
        _log.debug("%s: %s", self.shown_url, self.redact(" ".join(argv)))
        started = time.monotonic()
        try:
            ended = process.run(argv, self.environment, deadline, lambda line: _hopeless(line) is not None)
        except FileNotFoundError:
            raise ProbeError(Code.ERROR, f"the program {self.program} was not found; install restic, or set restic:") from None
        except OSError as error:
            raise ProbeError(Code.ERROR, f"cannot start {self.program}: {(error.strerror or str(error)).lower()}") from None
        seen = self._understand(ended, format_duration(timedelta(seconds=time.monotonic() - started)))
        for line in ended.stderr:
            _log.info("%s: restic: %s", self.shown_url, self.redact(line))
        return seen

    def _understand(self, ended: Ended, took: str) -> Observation:
        unreadable = _unreadable(ended.stderr)
        if ended.why == "exit" and ended.status == 0:
            return self._snapshots(ended.stdout, unreadable)
        if ended.why == "exit" and unreadable and not _is_known(ended.status):
            # restic after 0.19 ends with 1 when it could not read a snapshot (https://github.com/restic/restic/pull/21912)
            return Observation(self.source, None, unreadable)
        raise self._failure(ended, took)

    # what restic printed

    def _snapshots(self, stdout: bytes, unreadable: tuple[str, ...]) -> Observation:
        records = _decode(stdout)
        if records is None:
            raise ProbeError(Code.ERROR, "restic ended well but printed no list of snapshots")
        snapshots = []
        for record in records:
            if moment := parse_time(record.time):
                host, paths, tags = record.hostname or "", tuple(record.paths or ()), tuple(record.tags or ())
                snapshots.append(Snapshot(record.id, moment, host, paths, tags))
            else:
                unreadable = (*unreadable, record.id)
        return Observation(self.source, tuple(snapshots), unreadable)

    # what went wrong

    def _failure(self, ended: Ended, took: str) -> ProbeError:
        if ended.why == "deadline":
            return self._timed_out(ended, took)
        if ended.why == "stopped":
            found = next(found for line in ended.stderr if (found := _hopeless(line)))
            return ProbeError(found[0], self._clean(found[1]))
        if ended.why == "too long":
            return ProbeError(Code.ERROR, "restic printed more than 512 MiB")
        if ended.why == "interrupted":
            return ProbeError(Code.ERROR, "interrupted")
        return self._exited(ended)

    def _timed_out(self, ended: Ended, took: str) -> ProbeError:
        last = next((found[1] for line in reversed(ended.stderr) if (found := _RETRY.search(line))), None)
        tries = sum(1 for line in ended.stderr if _RETRY.search(line))
        if last is None:
            return ProbeError(Code.UNREACHABLE, f"no answer within {took}")
        return ProbeError(Code.UNREACHABLE, f"{self._clean(last)} ({tries} {'tries' if tries > 1 else 'try'}, {took})")

    def _exited(self, ended: Ended) -> ProbeError:
        status = ended.status or 0
        text = _last_words(ended)
        if status < 0:
            return ProbeError(Code.ERROR, f"restic was ended by signal {-status}")
        for code, pattern, words in _MEANINGS:
            if status == code or (pattern and pattern.search(text)):
                exit_code = f" (restic exit {status})" if status not in (1, 2) else ""
                reason = self._clean(words.format(url=self.shown_url) if words else text)
                return ProbeError(Code.ERROR, f"{reason}{exit_code}")
        if _NETWORK.search(text):
            return ProbeError(Code.UNREACHABLE, self._clean(text))
        if not text:
            return ProbeError(Code.ERROR, f"restic ended with exit status {status} and said nothing")
        exit_code = f" (restic exit {status})" if status != 1 else ""
        return ProbeError(Code.ERROR, f"{self._clean(text)}{exit_code}")

    def _clean(self, text: str) -> str:
        """restic's words for one line: secrets out, Go's wrapping off."""
        text = self.redact(text)
        for pattern in _WRAPPING:
            text = pattern.sub("", text)
        return shorten(one_line(text), _REASON_LIMIT)


class _Record(msgspec.Struct):
    """A snapshot as restic prints it; the fields that are used. Others are ignored, rustic and newer restics add some."""

    id: str
    time: str
    hostname: str | None = None
    paths: list[str] | None = None
    tags: list[str] | None = None


_decoder = msgspec.json.Decoder(list[_Record] | None)


def _decode(stdout: bytes) -> list[_Record] | None:
    """The list in the output; lines before it are noise (a progress line, a question for the password). None: there is none."""
    for start in _starts(stdout):
        try:
            return _decoder.decode(stdout[start:]) or []
        except msgspec.MsgspecError:
            continue
    return None


def _starts(stdout: bytes) -> list[int]:
    """Where the JSON may begin: the beginning, and lines that begin like it; the first few."""
    starts = [0] if stdout.strip() else []
    starts += [found.start() for found in re.finditer(rb"(?m)^(?=\[|null)", stdout[: 1 << 20]) if found.start()]
    return starts[:20]


_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def parse_time(text: str) -> datetime | None:
    """RFC 3339 with any offset and 0 to 9 fractional digits, in UTC; digits below a microsecond are dropped.

    None when it is no moment that Python knows.
    """
    found = _TIME.fullmatch(text)
    if not found:
        return None
    offset = "+00:00" if found[3] in "Zz" else found[3]
    try:
        return datetime.fromisoformat(f"{found[1]}{(found[2] or '')[:7]}{offset}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


class _ExitError(msgspec.Struct):
    message_type: str = ""
    message: str = ""


def _last_words(ended: Ended) -> str:
    """Why restic ended: its last `exit_error`, on either stream; else the last lines that say something."""
    lines = [*ended.stdout.decode("utf-8", "replace").splitlines()[-50:], *ended.stderr]
    for line in reversed(lines):
        if '"exit_error"' in line:
            try:
                found = msgspec.json.decode(line, type=_ExitError)
            except msgspec.MsgspecError:
                continue
            if found.message_type == "exit_error":
                return found.message
    fatal = next((index for index, line in enumerate(ended.stderr) if line.startswith("Fatal: ")), None)
    if fatal is not None:
        return "\n".join(ended.stderr[fatal:])
    panic = next((line for line in ended.stderr if line.startswith(("panic: ", "fatal error: "))), None)
    return panic or next((line for line in reversed(ended.stderr) if line.strip()), "")


# 0.14: could not load snapshot 07d81154: load <snapshot/07d8115442>: invalid data returned
# 0.18: Ignoring "07d8…": failed to load snapshot 07d81154: LoadRaw(<snapshot/07d8115442>): invalid data returned
_DAMAGED = re.compile(
    r"^(?:could not load snapshot (?P<old>[0-9a-f]{8,64})\b"
    r"|Ignoring \"?(?P<new>[0-9a-f]{8,64})\"?: (?:failed|could not) .*load"
    r"|.*failed to load snapshot (?P<any>[0-9a-f]{8,64})\b)"
)


def _unreadable(stderr: tuple[str, ...]) -> tuple[str, ...]:
    """Snapshot files that restic leaves out of its list, each once."""
    found = (_DAMAGED.search(line) for line in stderr)
    return tuple(dict.fromkeys((each["old"] or each["new"] or each["any"])[:8] for each in found if each))


_RETRY = re.compile(r"returned error, retrying after [^:]+: (.*)")

# Retries that cannot heal: waiting for them only delays the news.
_HOPELESS: tuple[tuple[Code, re.Pattern[str]], ...] = (
    (Code.ERROR, re.compile(r"signature we calculated does not match|SignatureDoesNotMatch", re.IGNORECASE)),
    (
        Code.ERROR,
        re.compile(r"Access Key Id you provided does not exist|InvalidAccessKeyId|XAdminUserNotFound", re.IGNORECASE),
    ),
    (Code.ERROR, re.compile(r"specified bucket does not exist|NoSuchBucket|bucket does not exist", re.IGNORECASE)),
    (Code.ERROR, re.compile(r"x509: |certificate signed by unknown authority|certificate has expired")),
    (Code.UNREACHABLE, re.compile(r"no such host")),
)


def _hopeless(line: str) -> tuple[Code, str] | None:
    """What a retry message says when no retry can help."""
    retry = _RETRY.search(line)
    if not retry:
        return None
    return next(((code, retry[1]) for code, pattern in _HOPELESS if pattern.search(retry[1])), None)


# Exit codes since 0.17 (10, 11), 0.17.1 (12) and 0.19 (130), and the words of versions that exit with 1 for everything.
_MEANINGS: tuple[tuple[int | None, re.Pattern[str] | None, str], ...] = (
    (12, re.compile(r"wrong password or no key found"), "wrong password or no key"),
    (
        10,
        re.compile(
            r"repository does not exist: |unable to open config file: "
            r"(stat .*no such file or directory|.*specified key does not exist|<config/> does not exist|.*file does not exist)"
        ),
        "no repository at {url}",
    ),
    (11, re.compile(r"repository is already locked|unable to create lock"), "the repository is locked"),
    (130, None, "restic was interrupted"),
    (None, re.compile(r"unknown flag: --insecure-no-password"), "insecure_no_password needs restic 0.17 or newer"),
    (2, None, "restic crashed"),
)


def _is_known(status: int | None) -> bool:
    return status in (2, 10, 11, 12, 130) or (status or 0) < 0


_NETWORK = re.compile(
    r"connection refused|connection reset|no such host|i/o timeout|network is unreachable|no route to host|host is down"
    r"|handshake timeout|deadline exceeded|server misbehaving|unexpected EOF|\bEOF\b|\b50[0234]\b|Service Unavailable"
    r"|Bad Gateway|Gateway Time|SlowDown|reduce your request rate|Could not resolve hostname|Connection timed out"
    r"|Connection closed by|timeout",
    re.IGNORECASE,
)

_WRAPPING = (
    re.compile(r"^Fatal: "),
    re.compile(r"^(repository does not exist: )?unable to open (config file|repository at \S+): "),
    re.compile(r"\n?Is there a repository at the following location\?.*", re.DOTALL),
    re.compile(r"\n[a-z0-9]+:\S+$"),  # the repository's URL, which some print without that question
    re.compile(r"^(Stat|client\.\w+|Load|List|s3\.\w+): "),
    re.compile(r"(Get|Head|Post|Put) \"[^\"]*\": "),
)
