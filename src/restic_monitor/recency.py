"""How recent a backup must be: a longest age, or a schedule that it has to keep up with. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from msgspec import Struct

from restic_monitor.model import TOLERANCE
from restic_monitor.quantity import format_duration


class MaxAge(Struct, frozen=True):
    """At most `limit` old. Exactly that old is still fresh. `shown` is how messages say it."""

    limit: timedelta
    shown: str

    def limit_at(self, now: datetime) -> timedelta:
        """How old the newest backup may be at this moment."""
        return self.limit

    def words(self, now: datetime) -> str:
        return f"limit {self.shown}"


class Schedule(Struct, frozen=True):
    """No older than the last moment that the cron `expression` names in `zone` and that is `grace` past. Summer and winter
    time are as in Debian's cron."""

    expression: str
    zone: str = "UTC"
    grace: timedelta = timedelta(hours=4)

    def limit_at(self, now: datetime) -> timedelta:
        """How old the newest backup may be at this moment."""
        return now - self.due(now) + TOLERANCE

    def words(self, now: datetime) -> str:
        from zoneinfo import ZoneInfo  # noqa: PLC0415 - as in `last`

        return f"due {self.due(now).astimezone(ZoneInfo(self.zone)):%a %Y-%m-%d %H:%M %Z}"

    def due(self, now: datetime) -> datetime:
        """The last scheduled moment that is `grace` past, in UTC; where the schedule names none, the year 1."""
        return last(self.expression, self.zone, (now - self.grace).replace(microsecond=0))


Rule = MaxAge | Schedule


@lru_cache(maxsize=1024)
def last(expression: str, zone: str, moment: datetime) -> datetime:
    """The last moment of a cron expression that is not after `moment`, a whole second; the year 1 where there is none.

    Raises ValueError for what is no cron expression.
    """
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - for those who have a schedule

    from cronsim import CronSim, CronSimError  # noqa: PLC0415

    try:
        found = next(CronSim(expression, (moment + timedelta(seconds=1)).astimezone(ZoneInfo(zone)), reverse=True), None)
        if found is None:
            return datetime.min.replace(tzinfo=UTC)
        for following in CronSim(expression, found):  # in the hour that comes twice it steps back too far
            if following.astimezone(UTC) > moment:
                break
            found = following
    except CronSimError as error:
        raise ValueError(f"is no cron expression: {str(error).lower()}") from None
    return found.astimezone(UTC)


def shown_age(age: timedelta, limit: timedelta) -> str:
    """To the second where "1d old (limit 1d)" would be the reason to be stale."""
    short = format_duration(age)
    return format_duration(age, 4) if age > limit and short == format_duration(limit) else short
