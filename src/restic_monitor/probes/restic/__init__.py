"""Looking with `restic snapshots --json --no-lock`: the reference, and the way to every backend that restic has.

Without `--no-lock` restic writes a lock. What can go wrong is in restic's doc/075_scripting.rst (exit codes) and, as far as
it is not written down, in what versions 0.14, 0.18 and 0.19 were seen to print (tests/fixtures/restic-output).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from msgspec.structs import replace

from restic_monitor import arrivals, history, location, process, proof
from restic_monitor.model import (
    Code,
    Memory,
    Observation,
    Past,
    ProbeError,
    Stored,
    one_line,
    shorten,
)
from restic_monitor.probes.restic import output
from restic_monitor.process import Ended
from restic_monitor.quantity import format_duration
from restic_monitor.repository import documents
from restic_monitor.secret import Redactor

_log = logging.getLogger(__name__)
_REASON_LIMIT = 150
_SNAPSHOTS = "snapshots"
_GET_RESTIC = "install restic, or write its whole path as restic: PATH"


@dataclass(frozen=True, slots=True)
class Restic:
    """One repository as restic sees it. `environment` is all that restic gets, the repository's URL included."""

    name: str
    program: str
    shown_url: str
    flags: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    redact: Redactor = field(repr=False)
    memory: Memory | None = field(default=None, repr=False)
    source: str = "restic"
    heavy: bool = True

    def handed(self) -> tuple[dict[str, str], dict[str, bytes]]:
        """The environment without what restic can take from a file, and that, by the variables that name such files.

        An environment can be read in /proc for as long as restic runs, and its children inherit it.
        """
        environment = dict(self.environment)
        password, url = environment.pop("RESTIC_PASSWORD", ""), environment["RESTIC_REPOSITORY"]
        files = {}
        if not (environment.get("RESTIC_PASSWORD_FILE") or environment.get("RESTIC_PASSWORD_COMMAND")):
            files["RESTIC_PASSWORD"] = password
        if location.passwords(url):
            files["RESTIC_REPOSITORY"] = environment.pop("RESTIC_REPOSITORY")
        kept = {name: text for name, text in files.items() if text and not _survives_a_file(text)}
        return {**environment, **kept}, {
            f"{name}_FILE": os.fsencode(text) for name, text in files.items() if text and name not in kept
        }

    def observe(self, deadline: float) -> Observation:
        recalled = self.memory.recall() if self.memory else None  # before the list begins: `state` says why
        begun = datetime.now(UTC)
        seen = self._seen(deadline)
        return self._compared(seen, recalled, begun) if seen.snapshots is not None else seen

    def _compared(self, seen: Observation, recalled: Past | None, begun: datetime) -> Observation:
        """With what earlier looks tell of these snapshots: when they came, what they prove."""
        past, ended = history.usable(recalled, begun), max(datetime.now(UTC), begun)  # our clock may be set back meanwhile
        # whichever clock was wrong: what came when the last look lies in the future has no arrival
        latest, looked = (ended, begun) if past or not recalled else (max(ended, recalled.looked), recalled.looked)
        present = ((each.id, None) for each in seen.snapshots or ())
        files = history.dated(present, _SNAPSHOTS, recalled, latest, compare=past is not None)
        snapshots = proof.prove(seen.snapshots or (), recalled, ended, files)
        hidden = _hidden(seen.unreadable or (), recalled)
        folder = arrivals.without_replaced(history.compared(files | hidden, _SNAPSHOTS, past), snapshots)
        without, noted = arrivals.without_summary(snapshots), past.noted if past else frozenset()
        now = Past(looked, {_SNAPSHOTS: files | hidden}, noted, arrivals.known(snapshots, hidden, recalled))
        if clock := arrivals.our_clock(snapshots, ended):
            return replace(seen, snapshots=snapshots, stored=folder, notes=(clock,))
        notes = () if not without or arrivals.NO_SUMMARY in noted else (without,)
        told = replace(now, noted=frozenset({arrivals.NO_SUMMARY} if without else ()))
        return replace(seen, snapshots=snapshots, stored=folder, notes=notes, keep=self._keep(now, told, recalled))

    def _keep(self, seen: Past, told: Past, recalled: Past | None) -> Callable[[], None] | None:
        """What came and what it proves is remembered at once, else all comes again with each look while a push fails. What is
        told once, and what is gone, when it was told."""
        if not self.memory or history.all_gone(recalled, seen.folders):
            return None
        before = recalled.folders.get(_SNAPSHOTS, {}) if recalled else {}
        self.memory.remember(replace(seen, folders={_SNAPSHOTS: {**before, **seen.folders[_SNAPSHOTS]}}))
        return partial(self.memory.remember, told)

    def _seen(self, deadline: float) -> Observation:
        seen, vanished = self._look(deadline)
        if not vanished:
            return seen
        # gone between restic's list and its reading: `forget` was at work, unless the next list has the same names
        again, still = self._look(deadline)
        lost = tuple(name for name in still if name in vanished)
        return replace(again, unreadable=(*(again.unreadable or ()), *lost))

    def _look(self, deadline: float) -> tuple[Observation, tuple[str, ...]]:
        """What one restic saw, and the snapshot files that vanished while it looked."""
        argv = [self.program, "snapshots", "--json", "--no-lock", *self.flags]
        _log.debug("%s: %s", self.name, self.redact(" ".join(argv)))
        started = time.monotonic()
        environment, files = self.handed()
        try:
            ended = process.run(argv, environment, deadline, lambda line: output.hopeless(line) is not None, files)
        except FileNotFoundError:
            raise ProbeError(Code.ERROR, f"the program {self.program} was not found{self._where()}; {_GET_RESTIC}") from None
        except OSError as error:
            raise ProbeError(Code.ERROR, f"cannot start {self.program}: {(error.strerror or str(error)).lower()}") from None
        except ValueError:  # it may quote what it is about, and that may be a secret
            raise ProbeError(Code.ERROR, f"cannot start {self.program}: NUL in an argument or a variable") from None
        if _log.isEnabledFor(logging.INFO):
            for line in ended.stderr:
                _log.info("%s: restic: %s", self.name, one_line(self.redact(line)))
        seen = self._understand(ended, format_duration(timedelta(seconds=time.monotonic() - started)))
        return seen, output.vanished_in(ended.stderr)

    def _understand(self, ended: Ended, took: str) -> Observation:
        unreadable = output.unreadable_in(ended.stderr)
        not_listed = next((found[1] for line in ended.stderr if (found := output.NOT_LISTED.match(line))), None)
        if ended.why == "exit" and ended.status == 0 and not_listed is None:
            return self._snapshots(ended.stdout, unreadable)
        if unreadable := unreadable or output.unreadable_in(output.last_words(ended).splitlines()):
            # restic after 0.19 ends with 1 at the first snapshot that it cannot read, and prints no list
            # (https://github.com/restic/restic/pull/21912); however it ended: the damage was seen
            return Observation(self.source, None, unreadable)
        if ended.why == "exit" and not_listed is not None:
            code = Code.UNREACHABLE if output.NETWORK.search(not_listed) else Code.ERROR
            raise ProbeError(code, f"the snapshots cannot be listed: {self._clean(not_listed)}")
        raise self._failure(ended, took)

    def _where(self) -> str:
        """For a name without a path: where it was looked for. cron's PATH is short."""
        return "" if "/" in self.program else f" in PATH ({self.environment.get('PATH', 'which is not set')})"

    # what restic printed

    def _snapshots(self, stdout: bytes, unreadable: tuple[str, ...]) -> Observation:
        records = output.records_in(stdout)
        if records is None:
            raise ProbeError(Code.ERROR, "restic ended well but printed no list of snapshots")
        snapshots = []
        for record in records:
            if snapshot := documents.snapshot(record):
                snapshots.append(snapshot)
            else:
                unreadable = (*unreadable, record.id)
        return Observation(self.source, tuple(snapshots), unreadable)

    # what went wrong

    def _failure(self, ended: Ended, took: str) -> ProbeError:
        if ended.why == "deadline":
            return self._timed_out(ended, took)
        if ended.why == "stopped":
            code, text = next(found for line in ended.stderr if (found := output.hopeless(line)))
            return ProbeError(code, self._meaning(text) or self._clean(text))
        if ended.why == "too long":
            return ProbeError(Code.ERROR, "restic printed more than 512 MiB")
        if ended.why == "interrupted":
            return ProbeError(Code.ERROR, "interrupted")
        return self._exited(ended)

    def _timed_out(self, ended: Ended, took: str) -> ProbeError:
        last = next((found[1] for line in reversed(ended.stderr) if (found := output.RETRY.search(line))), None)
        tries = sum(1 for line in ended.stderr if output.RETRY.search(line))
        if last is None:
            return ProbeError(Code.UNREACHABLE, f"no answer within {took}")
        return ProbeError(Code.UNREACHABLE, f"{self._clean(last)} ({tries} {'tries' if tries > 1 else 'try'}, {took})")

    def _exited(self, ended: Ended) -> ProbeError:
        status = ended.status or 0
        text = output.last_words(ended)
        if status < 0:
            return ProbeError(Code.ERROR, f"restic was ended by signal {-status}")
        if meaning := self._meaning(text, status):
            exit_code = f" (restic exit {status})" if status not in (1, 2) else ""
            return ProbeError(Code.ERROR, f"{meaning}{exit_code}")
        if output.NETWORK.search(text):
            return ProbeError(Code.UNREACHABLE, self._clean(text))
        if not text:
            return ProbeError(Code.ERROR, f"restic ended with exit status {status} and said nothing")
        exit_code = f" (restic exit {status})" if status != 1 else ""
        return ProbeError(Code.ERROR, f"{self._clean(text)}{exit_code}")

    def _meaning(self, text: str, status: int | None = None) -> str | None:
        """What is known of these words of restic's, or of its exit status, in our own.

        Our own stay as they are: stars in them would tell a password that is one of them.
        """
        for code, pattern, words in output.MEANINGS:
            if (code is not None and status == code) or (pattern and pattern.search(text)):
                cleaned = self._clean(text) or "no word of it"
                return shorten(words.format(url=self.shown_url, text=cleaned), _REASON_LIMIT)
        return None

    def _clean(self, text: str) -> str:
        """restic's words for one line: secrets out, Go's wrapping off."""
        text = self.redact(text)
        for pattern in output.WRAPPING:
            text = pattern.sub("", text)
        return shorten(one_line("; ".join(line for line in text.splitlines() if line.strip())), _REASON_LIMIT)


def _hidden(unreadable: Iterable[str], recalled: Past | None) -> dict[str, Stored]:
    """Files that are there and cannot be read, as they are remembered; only the beginnings of their names are known."""
    beginnings = {name[:8] for name in unreadable}
    known = recalled.folders.get(_SNAPSHOTS, {}) if recalled and beginnings else {}
    return {name: file for name, file in known.items() if name[:8] in beginnings}


def _survives_a_file(text: str) -> bool:
    """restic cuts blanks off both ends of what it reads from a file (loadPasswordFromFile in internal/global), and decodes
    what begins with a byte order mark (internal/textfile)."""
    return not (text[0].isspace() or text[-1].isspace() or text[0] == "\ufeff") and (
        len(os.fsencode(text)) <= process.HANDED_LIMIT_BYTES
    )
