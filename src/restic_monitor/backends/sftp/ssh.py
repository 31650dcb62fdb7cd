"""The ssh that restic would run, and what it means when it ends instead of answering."""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

from restic_monitor import process
from restic_monitor.backends import BackendError, Kind
from restic_monitor.model import one_line, shorten
from restic_monitor.process import Ended
from restic_monitor.secret import Redactor

_TEXT_LIMIT = 100
_NOT_FOUND = 127
"""A shell's exit status for a program that is not there."""

# First what is written once ssh has reached the server, then what kept it from it. Texts: OpenSSH 7 to 10 (sshconnect.c,
# sshconnect2.c, ssh.c, readconf.c, packet.c); `{target}` is what to write after `ssh`.
_MEANINGS = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", Kind.REFUSED, "has another host key than known_hosts says; if that is right, "
     "remove the old one (ssh-keygen -R) and run `ssh {target}` once"),
    ("Host key verification failed|No .*host key is known for", Kind.REFUSED, "has a host key that is not known here: run "
     "`ssh {target}` once by hand as the same user, or add it to known_hosts"),
    ("UNPROTECTED PRIVATE KEY FILE|bad permissions", Kind.DENIED, "was not logged in to: others may read the private key, "
     "and ssh does not use such a key (chmod 600)"),
    (r"Permission denied(?: \(|,)|Too many authentication failures|No (?:more|supported) authentication methods",
     Kind.DENIED, "does not let us in without a password: add this user's public key to authorized_keys there"),
    ("subsystem request failed", Kind.REFUSED, "offers no SFTP: its sshd_config needs a line `Subsystem sftp`"),
    ("Unable to negotiate", Kind.REFUSED, "and this ssh have no common algorithm: {text}"),
    ("Bad owner or permissions|[Bb]ad configuration|keyword .* extra arguments|unknown option|usage: ssh|^command-line",
     Kind.REFUSED, "was not asked: ssh refuses its configuration: {text}"),
    ("Could not resolve hostname", Kind.UNREACHABLE, "is no host that can be found: its name is unknown"),
    ("Connection refused", Kind.UNREACHABLE, "refuses the connection"),
    ("timed out|not responding", Kind.UNREACHABLE, "does not answer: the connection timed out"),
    ("No route to host|[Nn]etwork is (?:unreachable|down)", Kind.UNREACHABLE, "cannot be reached from here: no route"),
    ("Connection (?:to .*)?(?:reset|closed)|kex_exchange_identification|Broken pipe|[Cc]onnection (?:lost|aborted)",
     Kind.UNREACHABLE, "closed the connection"),
)  # fmt: skip


class Program(Struct, frozen=True):
    """What is run. `where` begins each message; `target` is what a person would write after `ssh`."""

    argv: tuple[str, ...]
    where: str
    target: str
    redact: Redactor

    def not_started(self, error: Exception) -> BackendError:
        name = self.argv[0]
        if isinstance(error, FileNotFoundError):
            advice = "install OpenSSH's client" if name == "ssh" else "see -o sftp.command"
            return BackendError(Kind.REFUSED, f"the program {name} was not found; {advice}")
        reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "NUL in an argument or a variable"
        return BackendError(Kind.REFUSED, f"cannot start {name}: {reason}")

    def ended(self, ended: Ended) -> BackendError:
        if ended.why == "deadline":
            return BackendError(Kind.TIMEOUT, f"{self.where} has not answered in time")
        if ended.why == "interrupted":
            return BackendError(Kind.UNREACHABLE, "interrupted")
        if ended.why == "too long":
            return self.garbled("more than was asked for", b"")
        for pattern, kind, text in _MEANINGS:
            if line := next((line for line in ended.stderr if re.search(pattern, line)), None):
                return BackendError(kind, f"{self.where} {text.format(target=self.target, text=self._clean(line))}")
        return self._unknown(ended)

    def garbled(self, message: str, came: bytes) -> BackendError:
        """The first line of a shell's greeting is shown: it says where it is from. An answer may have come behind it."""
        text = self._clean(came.lstrip().partition(b"\n")[0].decode("utf-8", "replace"))
        if text.isascii() and len(text) > 2:
            advice = "a login there must print nothing (see ~/.bashrc)"
            return BackendError(Kind.MALFORMED, f'{self.where} does not speak SFTP but says "{shorten(text, 40)}": {advice}')
        return BackendError(Kind.MALFORMED, f"{self.where} does not speak SFTP as it should: {message}")

    def _unknown(self, ended: Ended) -> BackendError:
        said = self._clean(next((line for line in reversed(ended.stderr) if line.strip()), ""))
        if ended.stdout:
            return self.garbled("a packet ends too early", ended.stdout)
        if ended.status == _NOT_FOUND:
            return BackendError(Kind.REFUSED, f"{self.where}: the program was not found{f': {said}' if said else ''}")
        if said:
            return BackendError(Kind.REFUSED, f"{self.where} cannot be asked: {said}")
        status = "" if ended.status is None else f" (exit status {ended.status})"
        return BackendError(Kind.UNREACHABLE, f"{self.where} closed the connection and said nothing{status}")

    def _clean(self, text: str) -> str:
        return shorten(one_line(self.redact(text)), _TEXT_LIMIT)


def ssh(host: str, user: str, port: str, args: str, redact: Redactor) -> Program:
    """As restic's (internal/backend/sftp/sftp.go), but that never asks for anything: of an option ssh takes the first.

    Raises BackendError for what ssh would take for an option, or cannot be split.
    """
    if not host or host.startswith("-") or user.startswith("-"):
        raise BackendError(Kind.REFUSED, "a host or a user of this name would be an option for ssh")
    target = " ".join([*(["-p", port] if port else []), f"{user}@{host}" if user else host])
    argv = ["ssh", "-oBatchMode=yes", host, *_given("-p", port), *_given("-l", user), *_split(args, "sftp.args"), "-s", "sftp"]
    where = f"{user}@{host}" if user else host
    return Program(tuple(argv), f"{where} port {port}" if port else where, target, redact)


def custom(command: str, redact: Redactor) -> Program:
    """The user's own way to an SFTP server. Raises BackendError when it cannot be split."""
    argv = _split(command, "sftp.command")
    if not argv:
        raise BackendError(Kind.REFUSED, "sftp.command is empty")
    return Program(tuple(argv), "the server behind sftp.command", "HOST", redact)


def _given(option: str, value: str) -> Iterable[str]:
    return (option, value) if value else ()


def _split(text: str, option: str) -> list[str]:
    try:
        return process.split(text)
    except ValueError as error:
        raise BackendError(Kind.REFUSED, f"{option}: {error}") from None
