"""What restic prints, understood: its list, its last words, and the lines on stderr that nothing else mentions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from restic_monitor.model import Code
from restic_monitor.process import Ended
from restic_monitor.repository.documents import Record

_decoder = msgspec.json.Decoder(list[Record] | None)


def records_in(stdout: bytes) -> list[Record] | None:
    """The list in the output; lines before it are noise (a progress line, a question for the password). None: there is none."""
    for start in _starts(stdout):
        try:
            records = _decoder.decode(stdout[start:]) or []
        except msgspec.MsgspecError:
            continue
        if all(record.id for record in records):
            return records
    return None


def _starts(stdout: bytes) -> list[int]:
    """Where the JSON may begin: the beginning, and what looks like the beginning of a list; the first few."""
    starts = [0] if stdout.strip() else []
    starts += [found.start() for found in _BEGINNING.finditer(stdout[: 1 << 20]) if found.start()]
    return starts[:20]


_BEGINNING = re.compile(rb'^(?=\[\s*[{\]]|null)|(?=\[\{")', re.MULTILINE)


class _ExitError(msgspec.Struct):
    message_type: str = ""
    message: str = ""


def last_words(ended: Ended) -> str:
    """Why restic ended: its last `exit_error`, on either stream; else the last lines that say something."""
    stdout = ended.stdout[-_LAST_WORDS_BYTES:].decode("utf-8", "replace")
    messages = (_exit_error(line) for line in reversed([*stdout.splitlines(), *ended.stderr]))
    text = next((message for message in messages if message is not None), None)
    if text is None:
        plain = _FRAMES.sub("", "\n".join(ended.stderr))
        found = _FATAL.search(plain)
        text = found[0] if found else next((line for line in reversed(plain.splitlines()) if line.strip()), "")
    if _SESSION.search(text):  # then only ssh, or rclone, has said why
        return next((found[1] for line in reversed(ended.stderr) if (found := _SUBPROCESS.match(line))), text)
    return text


_SESSION = re.compile(r"unable to start the sftp session|unable to open repository at rclone:")
_SUBPROCESS = re.compile(r"(?:subprocess \S+|rclone): (.*\S.*)")
_LAST_WORDS_BYTES = 64 * 1024
# Go's stack traces, which restic prints after errors that it does not expect: a function, and below it its place.
_FRAMES = re.compile(r"^[^\s:]+\n\t\S+:\d+\b.*\n?", re.MULTILINE)
# `Fatal: ` goes on to the end; of a crash the first line is the reason.
_FATAL = re.compile(r"^Fatal: [\s\S]*|^(?:panic|fatal error): .*", re.MULTILINE)


def _exit_error(line: str) -> str | None:
    """The message of a line `{"message_type":"exit_error",...}`."""
    if '"exit_error"' not in line:
        return None
    try:
        found = msgspec.json.decode(line, type=_ExitError)
    except msgspec.MsgspecError:
        return None
    return _FRAMES.sub("", found.message) if found.message_type == "exit_error" else None


# 0.14: could not load snapshot 07d81154: load <snapshot/07d8115442>: invalid data returned
# 0.18: Ignoring "07d8…": failed to load snapshot 07d81154: LoadRaw(<snapshot/07d8115442>): invalid data returned
_DAMAGED = re.compile(
    r"^(?:could not load snapshot (?P<old>[0-9a-f]{8,64})\b"
    r"|Ignoring \"?(?P<new>[0-9a-f]{8,64})\"?: "
    r"|.*failed to load snapshot (?P<any>[0-9a-f]{8,64})\b)"
)


# A listing that was denied, or broke on a later page: restic prints what it has, `[]` or a part, and ends with 0.
NOT_LISTED = re.compile(r"could not load snapshots: (?!context canceled)(.*)")

# Listed, and not there when restic wanted to read it: of a local repository, REST and sftp, S3.
_VANISHED = re.compile(r"no such file or directory|does not exist|NoSuchKey", re.IGNORECASE)
# restic was told to end while it read: that says nothing about the file.
_CUT_SHORT = re.compile(r"context canceled|context deadline exceeded")


def unreadable_in(lines: Sequence[str]) -> tuple[str, ...]:
    """Snapshot files that restic leaves out of its list because it cannot read them, each once."""
    return _left_out(line for line in lines if not _VANISHED.search(line) and not _CUT_SHORT.search(line))


def vanished_in(lines: Sequence[str]) -> tuple[str, ...]:
    """Snapshot files that restic leaves out of its list because they are gone, each once."""
    return _left_out(line for line in lines if _VANISHED.search(line))


def _left_out(lines: Iterable[str]) -> tuple[str, ...]:
    found = (_DAMAGED.search(line) for line in lines)
    return tuple(dict.fromkeys((each["old"] or each["new"] or each["any"])[:8] for each in found if each))


RETRY = re.compile(r"returned error, retrying after [^:]+: (.*)")

# Retries that cannot heal: waiting for them only delays the news.
_HOPELESS: tuple[tuple[Code, re.Pattern[str]], ...] = (
    (Code.ERROR, re.compile(r"signature we calculated does not match|SignatureDoesNotMatch", re.IGNORECASE)),
    (
        Code.ERROR,
        re.compile(r"Access Key Id you provided does not exist|InvalidAccessKeyId|XAdminUserNotFound", re.IGNORECASE),
    ),
    (Code.ERROR, re.compile(r"specified bucket does not exist|NoSuchBucket|bucket does not exist", re.IGNORECASE)),
    (Code.ERROR, re.compile(r"x509: |certificate signed by unknown authority|certificate has expired")),
    (Code.ERROR, re.compile(r"Bucket name (?:cannot|contains|does)")),  # minio-go's own rules: nobody was asked
    (Code.ERROR, re.compile(r"server gave HTTP response to HTTPS client")),
    (Code.UNREACHABLE, re.compile(r"no such host")),
)


def hopeless(line: str) -> tuple[Code, str] | None:
    """What a retry message says when no retry can help."""
    retry = RETRY.search(line)
    if not retry:
        return None
    return next(((code, retry[1]) for code, pattern in _HOPELESS if pattern.search(retry[1])), None)


_PANIC = re.compile(r"^(panic|fatal error): ")

# Exit codes since 0.17 (10, 11), 0.17.1 (12) and 0.19 (130), and the words of versions that exit with 1 for everything.
MEANINGS: tuple[tuple[int | None, re.Pattern[str] | None, str], ...] = (
    (12, re.compile(r"wrong password or no key found"), "wrong password or no key"),
    (
        10,
        re.compile(
            r"repository does not exist: |unable to open config file: "
            r"(stat .*no such file or directory|.*specified key does not exist|<config/> does not exist|.*file does not exist)"
        ),
        "no repository at {url}",
    ),
    (11, re.compile(r"repository is already locked"), "the repository is locked"),
    (130, None, "restic was interrupted"),
    (None, re.compile(r"unknown flag: --insecure-no-password"), "insecure_no_password needs restic 0.17 or newer"),
    (
        None,
        re.compile(r"no credentials found|\$AWS_\w+\) is empty"),
        "no keys for the store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in extra_env, or in an environment file",
    ),
    (None, re.compile(r"an empty password is not"), "the password is empty"),
    (
        None,
        re.compile(r"open /dev/fd/\d+: |/dev/fd/\d+ does not exist"),
        "the program given as restic: closes the files that it is handed, as sudo does, and the password was one: "
        "write password_file:",
    ),
    (
        None,
        re.compile(r"option sftp\.args is not known"),
        "sftp.args needs restic 0.16.1 or newer; before, write sftp.command=ssh … -s sftp",
    ),
    (None, re.compile(r"Resolving password failed"), "password_command, or RESTIC_PASSWORD_COMMAND, failed: {text}"),
    (None, re.compile(r"server gave HTTP response to HTTPS client"), "the store speaks http, not https: http:// in url?"),
    (None, _PANIC, "restic crashed: {text}"),
    (2, None, "restic crashed: {text}"),
)


NETWORK = re.compile(
    r"connection refused|connection reset|no such host|i/o timeout|network is unreachable|no route to host|host is down"
    r"|handshake timeout|deadline exceeded|server misbehaving|unexpected EOF|\bEOF\b|\b50[0234]\b|Service Unavailable"
    r"|Bad Gateway|Gateway Time|SlowDown|reduce your request rate|Could not resolve hostname|Connection timed out"
    r"|Connection closed by|timeout",
    re.IGNORECASE,
)

WRAPPING = (
    re.compile(r"^Fatal: "),
    re.compile(r"^(repository does not exist: )?unable to open (config file|repository at \S+): "),
    re.compile(r"\n?Is there a repository at the following location\?.*", re.DOTALL),
    re.compile(r"\n[a-z0-9]+:\S+$"),  # the repository's URL, which some print without that question
    re.compile(r"^(Stat|client\.\w+|Load|List|s3\.\w+): "),
    re.compile(r"(Get|Head|Post|Put) \"[^\"]*\": "),
)
