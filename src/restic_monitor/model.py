"""The words of the program: what is seen, what is decided, who is told. No I/O, and no imports from us.

Durations are `timedelta`, moments are aware `datetime`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from msgspec import Struct, field
from msgspec.structs import replace


class Status(enum.IntEnum):
    """What is known of one watch; the larger, the worse, so that `max` is the worst."""

    UP = 0
    WARN = 1
    UNKNOWN = 2
    DOWN = 3

    @property
    def failing(self) -> bool:
        """Somebody has to look: DOWN, or UNKNOWN because nobody could."""
        return self >= Status.UNKNOWN


class Code(enum.StrEnum):
    """The first word of every message, and the stable `code` of the JSON. The words are those operators see in Kuma."""

    OK = "ok"
    """The newest snapshot is not older than `max_age`, or than its `schedule` wants it."""
    WARN = "warn"
    """Fresh, and there is something to look at."""
    STALE = "stale"
    """The newest snapshot is older than `max_age`, or than its `schedule` wants it."""
    MISSING = "missing"
    """No snapshot, or none that counts."""
    SMALL = "small"
    """The newest snapshot holds fewer files or bytes than it should."""
    ERROR = "error"
    """A snapshot file is damaged, or the keys are gone (down); or nobody could look and somebody must change something."""
    UNREACHABLE = "unreachable"
    """Nobody could look, which may heal by itself."""
    UNKNOWN = "unknown"
    """What was seen does not suffice to tell."""


class Summary(Struct, frozen=True):
    """What restic ≥ 0.17 wrote down at the end of a backup: when that was, and what it had read in all."""

    ended: datetime | None
    files: int
    size_bytes: int


class Snapshot(Struct, frozen=True):
    """One restic snapshot. `time` is the start of its backup, by the clock of its host; `host` is "" and `paths`, `tags` are ()
    where it has none. `original` is the snapshot that it was made of (`tag`, `rewrite`, `copy`), "" for none."""

    id: str
    time: datetime
    host: str = ""
    paths: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    original: str = ""
    summary: Summary | None = None
    stored: Stored | None = None
    """When its file was stored, as far as that is known."""
    proved: datetime | None = None
    """There was a backup then (`proof` says why); None when it proves none."""
    user: str = ""
    tree: str = ""


class Stored(Struct, frozen=True):
    """A file of a repository, seen from outside: it was stored between `after` and `before`. Both are the same moment where
    the store tells times. `after` is None when no earlier look is known that did not have it."""

    name: str
    after: datetime | None
    before: datetime

    @property
    def exact(self) -> bool:
        return self.after == self.before


class Lock(Struct, frozen=True):
    """What stands in a lock: since when it is held and by whom; "" and 0 for what it does not say."""

    time: datetime
    host: str = ""
    user: str = ""
    pid: int = 0
    exclusive: bool = False


class KeyFile(Struct, frozen=True):
    """What stands in a key for everybody to read: who made it, on which host, and when."""

    user: str = ""
    host: str = ""
    created: datetime | None = None


class Opened(Struct, frozen=True):
    """A file of a repository that was read, with the size and the time that it had in the listing. What it holds is one of
    three; a key is among them when our password opens it."""

    name: str
    size: int | None
    modified: datetime | None
    snapshot: Snapshot | None = None
    lock: Lock | None = None
    key: KeyFile | None = None


class Folder(Struct, frozen=True):
    """The files of `snapshots`, `locks` or `keys` that count, and what changed since the last successful look.

    `appeared` and `vanished` are None when there is no earlier look to compare with.
    """

    files: tuple[Stored, ...]
    appeared: tuple[str, ...] | None = None
    vanished: tuple[str, ...] | None = None


class Past(Struct, frozen=True):
    """What is remembered of the last successful look at a repository: when its listing began (on the store's clock, where it
    shows one), its files by folder and name, and what was noted once and needs no second note."""

    looked: datetime
    folders: Mapping[str, Mapping[str, Stored]]
    noted: frozenset[str] = frozenset()
    proved: Mapping[str, datetime | None] = field(default_factory=dict)
    """What snapshots proved, by name; None: nothing. Those that are not in it are not known."""
    opened: Mapping[str, Mapping[str, Opened]] = field(default_factory=dict)
    """What was read, by folder and name. A snapshot in there has neither `stored` nor `proved`."""


class Observation(Struct, frozen=True):
    """What one look at a repository saw. A field that nobody filled is None, which is not the same as empty."""

    source: str
    snapshots: tuple[Snapshot, ...] | None = None
    unreadable: tuple[str, ...] | None = None
    """Names (or their beginnings) of snapshot files that are there and cannot be read."""
    partly: tuple[int, int] | None = None
    """How many snapshot files are known of how many, when there was no time to read them all. What the others hold may be
    what a check misses."""
    damaged: Mapping[str, str] = field(default_factory=dict)
    """Why, in a few words, of files that are not what they should be, by folder and name; of `unreadable` ones, too."""
    holders: Mapping[str, Lock] = field(default_factory=dict)
    """What stands in old locks, by name."""
    makers: Mapping[str, KeyFile] = field(default_factory=dict)
    """What stands in new keys, by name."""
    stored: Folder | None = None
    """Snapshot files, by a listing."""
    locks: Folder | None = None
    keys: Folder | None = None
    suspicious: tuple[str, ...] | None = None
    """What stands in `snapshots/` and does not count, a phrase each: "3f2a91cc (0 bytes)"."""
    skew: timedelta | None = None
    """The store's clock minus ours."""
    notes: tuple[str, ...] = ()
    """What a reader of the result should know and no check judges."""
    keep: Callable[[], None] | None = None
    """Makes this look the last one, for the next to be compared with. To be called once somebody knows what it found: what
    is told once must have been told."""

    @property
    def as_far_as_read(self) -> str:
        """How much of the history the look is about, where that is not all of it."""
        return "{:,} of {:,} snapshot files read in time".format(*(self.partly or (0, 0)))


class Verdict(Struct, frozen=True):
    """What one check decided. `message` has no state word of its own: `Result` puts the code in front."""

    check: str
    status: Status
    code: Code
    message: str
    newest: Snapshot | None = None
    age: timedelta | None = None
    limit: timedelta | None = None
    """How old it may be at this moment."""
    notes: tuple[str, ...] = ()
    """What is good to know and changes no status."""


SUMMED_UP = "expect"
"""The `check` of the verdict that sums up the lines of expectations."""


class Line(Struct, frozen=True):
    """What is expected of a part of a repository (one host, one tag), judged. `snapshots` is how many belong to it."""

    name: str
    verdicts: tuple[Verdict, ...]
    snapshots: int | None = None
    max_age: timedelta | None = None


class Delivery(Struct, frozen=True):
    """How telling one receiver ended. `message` says why it did not work, or what `Dry` would have sent; never a token."""

    accepted: bool
    message: str = ""


TOLERANCE = timedelta(minutes=5)
"""A host's clock may be that wrong: a moment that far in the future is now, and a backup may begin that long before it is
due."""

MESSAGE_LIMIT = 200
"""Characters. SMS and some chat services lose longer notifications; Uptime Kuma puts its monitor's name in front."""


class Result(Struct, frozen=True):
    """What one look means for one watch, or for one line of it. Status, code and message come from the verdicts, so that they
    cannot disagree."""

    watch: Watch
    verdicts: tuple[Verdict, ...]
    source: str
    took: timedelta
    snapshots: int | None = None
    notes: tuple[str, ...] = ()
    """What is good to know about this look and changes no status: why it was made in another way than was asked for."""
    deliveries: tuple[Delivery, ...] | None = None
    """One per receiver; None as long as nobody was told."""
    lines: tuple[Result, ...] = ()
    """With expectations: what each of them means. They are summed up in one of the verdicts."""

    @property
    def worst(self) -> Verdict:
        """The verdict that decides; among equals the first."""
        return max(self.verdicts, key=lambda verdict: verdict.status)

    @property
    def status(self) -> Status:
        return self.worst.status

    @property
    def code(self) -> Code:
        return self.worst.code

    @property
    def message(self) -> str:
        """State word, the worst verdict, then what else is not well; with a warning also the first check's (the age). One line
        of at most 200 characters."""
        worst = self.worst
        first = self.verdicts[0] if worst.status is Status.WARN else None
        others = [verdict.message for verdict in self.verdicts if verdict.status > Status.UP and verdict is not worst]
        if first and first.status is Status.UP:
            others.append(first.message)
        text = f"{self.code.upper()} {'; '.join([worst.message, *others])}"
        return shorten(one_line(text), MESSAGE_LIMIT)

    @property
    def findings(self) -> tuple[str, ...]:
        """What each check has to say that is not well, in full."""
        return tuple(one_line(verdict.message) for verdict in self.verdicts if verdict.status > Status.UP)

    @property
    def all_notes(self) -> tuple[str, ...]:
        """Those of the look, then those of the checks."""
        return (*self.notes, *(one_line(note) for verdict in self.verdicts for note in verdict.notes))

    @property
    def limit(self) -> timedelta | None:
        return next((verdict.limit for verdict in self.verdicts if verdict.limit is not None), None)

    @property
    def newest(self) -> Snapshot | None:
        return next((verdict.newest for verdict in self.verdicts if verdict.newest), None)

    @property
    def age(self) -> timedelta | None:
        return next((verdict.age for verdict in self.verdicts if verdict.age is not None), None)

    @property
    def told(self) -> bool:
        """No receiver failed to take it; also when there is none, or nobody was told yet."""
        return all(delivery.accepted for delivery in self.deliveries or ())

    @property
    def parts(self) -> tuple[Result, ...]:
        """Itself and its lines: each may have receivers of its own."""
        return (self, *self.lines)

    @property
    def receivers(self) -> int:
        """How many there are, those of its lines included."""
        return sum(len(part.watch.receivers) for part in self.parts)


class Looking(Struct, frozen=True):
    """A look has begun."""

    name: str


Event = Looking | Result
"""What a run tells while it goes on."""


class ProbeError(Exception):
    """A look that saw nothing. `code` is ERROR (somebody must change something) or UNREACHABLE (it may heal by itself)."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class NoTimesError(ProbeError):
    """The store tells no times, and there is another way to look: `Repository.otherwise`."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.UNKNOWN, message)


class Probe(Protocol):
    """A way to look at one repository."""

    @property
    def heavy(self) -> bool:
        """It starts a process: as many at once as `jobs`, not as `connections`."""

    @property
    def source(self) -> str:
        """What the results call this way of looking: `restic`."""

    def observe(self, deadline: float) -> Observation:
        """Look once. `deadline` is on `time.monotonic`'s scale. Raises ProbeError and nothing else."""


class Memory(Protocol):
    """What is remembered of one repository from look to look."""

    def recall(self) -> Past | None:
        """The last successful look; None when there was none, or it cannot be known. Raises nothing."""

    def remember(self, seen: Past) -> None:
        """Keep this look as the last one. Raises nothing."""


class Check(Protocol):
    """A question about what was seen. Pure."""

    def judge(self, seen: Observation, now: datetime) -> Verdict:
        """Decide. A field of the observation that is None makes UNKNOWN."""


class Expect(Protocol):
    """What is expected of the parts of a repository. Pure."""

    def judge(self, seen: Observation, now: datetime) -> tuple[Verdict, tuple[Line, ...]]:
        """One line for each expectation, and for each group of one that groups; and the worst of them, with counts."""

    def unseen(self, reason: Verdict) -> tuple[Line, ...]:
        """The lines when nobody could look."""


class Receiver(Protocol):
    """Somebody who is told about results."""

    def send(self, result: Result) -> Delivery:
        """Tell. Raises nothing; what went wrong is in the Delivery."""

    def preview(self, result: Result) -> str:
        """What `send` would say, without the address."""


class Watch(Struct, frozen=True):
    """What is asked about a repository, or expected of a part of it, and who is told.

    `max_age` is None where a schedule or expectations say it. With `expect` their lines, summed up, come first among the
    verdicts; `tell` is who is told of a line, by its name.
    """

    name: str
    checks: tuple[Check, ...] = ()
    receivers: tuple[Receiver, ...] = ()
    max_age: timedelta | None = None
    expect: Expect | None = None
    tell: Mapping[str, tuple[Receiver, ...]] = field(default_factory=dict)

    def telling(self, change: Callable[[Receiver], Receiver | None]) -> Watch:
        """The same with other receivers; None leaves one out."""

        def changed(receivers: Sequence[Receiver]) -> tuple[Receiver, ...]:
            return tuple(filter(None, map(change, receivers)))

        tell = {name: changed(receivers) for name, receivers in self.tell.items()}
        return replace(self, receivers=changed(self.receivers), tell=tell)


class Repository(Struct, frozen=True):
    """One repository to look at: ready-made parts, nothing left to configure."""

    name: str
    probe: Probe
    watch: Watch
    timeout: timedelta
    notes: tuple[str, ...] = ()
    """Why it is looked at in this way; in every Result."""
    otherwise: Repository | None = None
    """How it is looked at when `probe` raises NoTimesError: the same watch, with checks fit for the other probe."""

    def telling(self, change: Callable[[Receiver], Receiver | None]) -> Repository:
        """The same repository with other receivers, in whichever way it is looked at; None leaves one out."""
        return replace(self, watch=self.watch.telling(change), otherwise=self.otherwise and self.otherwise.telling(change))


_NO_MARKUP = str.maketrans("&<>", "+()")


def one_line(text: str) -> str:
    """`text` fit for one line anywhere: no control characters (host names come from the repository, and a terminal obeys
    them), and no `& < >`, which chat services read as markup. Source: Uptime Kuma's notification providers."""
    calm = text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
    return " ".join(calm.translate(_NO_MARKUP).split())


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, the cut shown."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def unknown(code: Code, message: str) -> Verdict:
    """The verdict of a look that saw nothing."""
    return Verdict("probe", Status.UNKNOWN, code, message)
