"""How often backups come, as observed, and how old the newest may be if it goes on like that. Pure.

`forget` thins what is older, so only what is recent shows the rhythm: keep-daily 7 with keep-weekly 4 is a daily backup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import accumulate, pairwise

from msgspec import Struct

from restic_monitor.model import Snapshot
from restic_monitor.quantity import format_duration, parse_duration
from restic_monitor.recency import MaxAge, Rule, Schedule

_INTERVALS = 10
_WEEK = timedelta(days=7)
"""The intervals of the last week count, however many: machines rest at night and on Sundays."""
_IN_A_ROW = timedelta(minutes=45)
_HOUR = timedelta(hours=1)
_DAILY = timedelta(hours=24)
_TOO_SHORT = timedelta(hours=12)
"""Several runs of one evening, when it was set up, are no rhythm."""
_ASLEEP = timedelta(days=30)
_AGES = (
    *("30m", "45m", "1h", "90m", "2h", "3h", "4h", "5h", "6h", "8h", "10h", "12h", "15h", "18h", "26h", "30h", "36h"),
    *("2d", "3d", "4d", "5d", "6d", "8d", "10d", "12d", "15d", "20d", "25d", "33d", "40d", "50d", "65d", "80d", "100d"),
    *("130d", "190d", "250d", "400d"),
)
"""What a person would write: a little more than a day, a week, a month."""


class Rhythm(Struct, frozen=True):
    """Of at least one backup. `usual`, `longest` and `widest` are None where there is only one."""

    newest: datetime
    count: int
    usual: timedelta | None
    longest: timedelta | None
    """Between two recent backups."""
    widest: timedelta | None
    """The same, with those that `forget` seems to have thinned."""
    took: timedelta
    """The longest backup; zero where that is not known."""
    schedule: Schedule | None
    """Where they come on five days of the week."""
    is_guess: bool
    """There is too little to go by."""
    rests_at_weekends: bool = False
    """None of them was on a Saturday or Sunday (UTC), and no weekend lies between those that were seen."""

    @property
    def words(self) -> str:
        """ "every 1d", "5 days a week, every 1d"."""
        if self.usual is None:
            return "once"
        every = f"every {about(self.usual)}"
        return f"5 days a week, {every}" if self.schedule else every

    def is_dormant(self, now: datetime) -> bool:
        """It has been silent for so long that somebody has probably stopped it."""
        age = now - self.newest
        return age > _ASLEEP and (self.usual is None or age > 5 * self.usual)

    def is_late(self, now: datetime) -> bool:
        """Older than all that was observed allows."""
        return now - self.newest > self.rule(now).limit_at(now)

    def rule(self, now: datetime) -> Rule:
        """How old the newest may be. If it is older, it is late by all that was observed."""
        if self.schedule:
            return self.schedule
        age = max(timedelta(0), now - self.newest)
        if self.longest is None or self.widest is None or self.is_guess:
            return _age(max(self._limit(self.longest or _DAILY), _DAILY + _HOUR, age * 1.25 + _HOUR))
        recent, ever = _age(self._limit(self.longest)), _age(self._limit(self.widest))
        if age > ever.limit and self.rests_at_weekends and age - _weekends(self.newest, now) <= recent.limit:
            return _age(age * 1.25 + _HOUR)
        return ever if age > recent.limit else recent

    def _limit(self, gap: timedelta) -> timedelta:
        """A snapshot is replaced when the next backup has ended; a clock is set forward and back, and a night is busy."""
        return gap + self.took + max(gap * 0.05, min(_HOUR, gap * 0.5))


def of(snapshots: Iterable[Snapshot]) -> Rhythm | None:
    """None where no snapshot proves anything."""
    snapshots = list(snapshots)
    proved = sorted({each.proved for each in snapshots if each.proved}, reverse=True)
    if not proved:
        return None
    moments = _apart(_without_bursts(proved))
    recent, gaps = _gaps(moments)
    longest = max(recent, default=None)
    took = _took(snapshots, longest) if longest else timedelta(0)
    usual = sorted(recent)[len(recent) // 2] if recent else None
    schedule = _schedule(moments, took)
    is_guess = len(gaps) < 2 or moments[0] - moments[-1] < _TOO_SHORT
    rests = not any(_weekends(later, later + _HOUR) for later in moments) and moments[0] - moments[-1] < timedelta(days=5)
    return Rhythm(proved[0], len(proved), usual, longest, max(gaps, default=None), took, schedule, is_guess, rests)


def about(duration: timedelta) -> str:
    """A usual interval in one unit: "1d" also where it is two minutes less."""
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if (count := round(duration.total_seconds() / seconds)) and duration.total_seconds() >= 0.9 * seconds:
            return f"{count}{unit}"
    return format_duration(duration, 1)


def _gaps(moments: Sequence[datetime]) -> tuple[Sequence[timedelta], Sequence[timedelta]]:
    """The intervals of the recent past, newest first, as they were; and with those that `forget` has thinned."""
    within = _within(moments)
    gaps = [later - earlier for later, earlier in pairwise(moments[: 4 * within])]
    return _recent(gaps)[:within], gaps[:within]


def _within(moments: Sequence[datetime]) -> int:
    """How many intervals count as recent."""
    return max(_INTERVALS, sum(1 for moment in moments[1:] if moments[0] - moment <= _WEEK))


def _recent(gaps: Sequence[timedelta]) -> Sequence[timedelta]:
    """Until `forget` begins to thin: what comes before in time is clearly longer, but for the last day of a month that is
    next to the last of a week."""
    longest = list(accumulate(gaps, max))
    for count in range(2, len(gaps)):
        before, so_far = gaps[count:], longest[count - 1]
        if before[0] <= _LONGER * so_far or (count == 2 and min(before) <= 3 * so_far):
            continue
        short = sum(gap <= _LONGER * so_far for gap in before)
        if short * 5 <= len(before) and sorted(before)[len(before) // 2] > 2 * so_far:
            return gaps[:count]
    return gaps


_LONGER = 1.2


def _without_bursts(moments: Sequence[datetime]) -> Sequence[datetime]:
    """Newest first. What looks as if `forget` had thinned all but the newest was run by hand a few times if it spans no more
    than an evening, and less than half of the interval before. One backup is left of it, the first."""
    while True:
        gaps = [later - earlier for later, earlier in pairwise(moments[: 4 * _within(moments)])]
        burst = _recent(gaps)
        before = sorted(gap for gap in _recent(gaps[len(burst) :])[:_INTERVALS] if gap > max(burst))
        if not before or moments[0] - moments[len(burst)] >= min(_TOO_SHORT, before[len(before) // 2] / 2):
            return moments
        moments = moments[len(burst) :]


def _apart(moments: Sequence[datetime]) -> Sequence[datetime]:
    """Newest first. Several backups in a row (three jobs of a night) are one: the first."""
    recent, _ = _gaps(moments)
    limit = min(max(recent, default=timedelta(0)) / 20, _IN_A_ROW)
    if sum(gap < limit for gap in recent) * 3 <= len(recent):
        return moments
    first = [moments[-1]]
    for moment in reversed(moments):
        if moment - first[-1] >= limit:
            first.append(moment)
    return first[::-1]


def _took(snapshots: Iterable[Snapshot], longest: timedelta) -> timedelta:
    """What takes longer than the longest interval was dated by hand (`backup --time`); if most did, none is believed."""
    newest = sorted((each for each in snapshots if each.proved), key=lambda each: each.time)[-_INTERVALS:]
    took = [each.summary.ended - each.time for each in newest if each.summary and each.summary.ended]
    believed = [duration for duration in took if timedelta(0) <= duration <= longest]
    return max(believed, default=timedelta(0)) if len(believed) * 2 > len(took) else timedelta(0)


def _age(limit: timedelta) -> MaxAge:
    """Rounded up."""
    shown = next((each for each in _AGES if parse_duration(each) >= limit), None)
    shown = shown or f"{-(-limit // timedelta(days=100)) * 100}d"
    return MaxAge(parse_duration(shown), shown)


def _weekends(begin: datetime, end: datetime) -> timedelta:
    """How much of this time is Saturday or Sunday, UTC."""
    midnight, found = begin.replace(hour=0, minute=0, second=0, microsecond=0), timedelta(0)
    while midnight < end:
        following = midnight + timedelta(days=1)
        if midnight.isoweekday() >= _SATURDAY:
            found += min(following, end) - max(midnight, begin)
        midnight = following
    return found


_SATURDAY = 6


# five days of the week

_WORKING_DAYS = 5
_LOOKED_AT = timedelta(days=22)
_AT_LEAST = timedelta(days=13)
_SPREAD = timedelta(hours=2)
_GRACES = ("4h", "5h", "6h", "8h", "10h", "12h", "15h", "18h")


def _schedule(moments: Sequence[datetime], took: timedelta) -> Schedule | None:
    """For backups at one time of day, of UTC, on five days in a row and on no other, for two weeks at least."""
    seen = [moment for moment in moments if moments[0] - moment <= _LOOKED_AT]
    dates = {moment.date() for moment in seen}
    days = {date.isoweekday() % 7 for date in dates}
    times = [moment - moment.replace(hour=0, minute=0, second=0, microsecond=0) for moment in seen]
    if moments[0] - seen[-1] < _AT_LEAST or len(days) != _WORKING_DAYS or max(times) - min(times) > _SPREAD:
        return None
    first = next((day for day in days if (day - 1) % 7 not in days), 0)
    span = [seen[-1].date() + timedelta(days=number) for number in range((moments[0] - seen[-1]).days + 2)]
    expected = {date for date in span if date.isoweekday() % 7 in days and date <= moments[0].date()}
    if {(first + number) % 7 for number in range(_WORKING_DAYS)} != days or expected != dates:
        return None
    return _written(min(times), max(times), first, took)


def _written(earliest: timedelta, latest: timedelta, first: int, took: timedelta) -> Schedule:
    """An hour earlier, since the host may follow a summer time: then its backups come an hour earlier, or later."""
    begin = earliest - _HOUR
    if begin < timedelta(0):
        begin, first = begin + timedelta(days=1), first - 1
    minutes = int(begin.total_seconds()) // 300 * 5
    days = sorted((first + number) % 7 for number in range(_WORKING_DAYS))
    in_a_row = days[-1] - days[0] == _WORKING_DAYS - 1
    written = f"{days[0]}-{days[-1]}" if in_a_row else ",".join(map(str, days))
    needed = latest - earliest + took + 3 * _HOUR
    grace = next((each for each in _GRACES if parse_duration(each) >= needed), _GRACES[-1])
    return Schedule(f"{minutes % 60} {minutes // 60} * * {written}", "UTC", parse_duration(grace))
