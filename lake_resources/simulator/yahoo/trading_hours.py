"""The hours of the stand-in's tickers, by the rules of their exchanges, worked out here and not taken from a client.

Belongs here: which minutes trade, with holidays, half days and daylight saving time. Does not belong here: prices.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from lake_resources.clock import DAY


@dataclass(frozen=True)
class Hours:
    """How a class of tickers trades.

    Attributes:
        zone: time zone of its exchange.
        zone_name: short name that answers carry.
        kind: `instrumentType` of answers.
        exchange: `exchangeName` of answers.
        opens, closes: local times of a whole day; a day that opens after it closes begins on the evening before.
        short: local time at which a half day ends, None where the class has no holidays.
        delay: how late its prices are shown.
    """

    zone: ZoneInfo
    zone_name: str
    kind: str
    exchange: str
    opens: time
    closes: time
    short: time | None
    delay: timedelta = timedelta(0)

    def told_periods(self, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """Trading periods as answers tell them, epoch seconds: of futures, 00:00 to 23:59 of each day with trading."""
        if self.kind != "FUTURE":
            return list(spans)
        days = {datetime.fromtimestamp(at, self.zone).date() for first, last in spans for at in (first, last - 1)}
        starts = [int(datetime.combine(day, time(), self.zone).timestamp()) for day in sorted(days)]
        return [(start, start + 86_340) for start in starts]


NEW_YORK = Hours(ZoneInfo("America/New_York"), "EST", "ETF", "PCX", time(9, 30), time(16), time(13))
CHICAGO = Hours(
    ZoneInfo("America/New_York"), "EST", "FUTURE", "CME", time(18), time(17), time(13), delay=timedelta(minutes=10)
)
CURRENCIES = Hours(ZoneInfo("Europe/London"), "GMT", "CURRENCY", "CCY", time(0), time(23, 59), None)


def hours_of(ticker: str) -> Hours:
    """How a ticker trades, by the ending of its name."""
    if ticker.endswith("=X"):
        return CURRENCIES
    return CHICAGO if ticker.endswith("=F") else NEW_YORK


def session_of(hours: Hours, day: date) -> tuple[datetime, datetime] | None:
    """The session of a local day, half-open, UTC; None where there is none."""
    if day.weekday() >= 5:
        return None
    closes, early = hours.closes, None
    if hours.short is not None:
        holidays = _holidays(day.year)
        if day in holidays and hours is NEW_YORK:
            return None
        # The future trades through most holidays of the shares until its early close, and rests with all at Christmas,
        # New Year and on Good Friday.
        if day in holidays and day in _quiet(day.year):
            return None
        early = hours.short if day in holidays or day in _half_days(day.year) else None
    opening = day - DAY if hours.opens > hours.closes else day
    start = datetime.combine(opening, hours.opens, hours.zone)
    return start.astimezone(UTC), datetime.combine(day, early or closes, hours.zone).astimezone(UTC)


def _observed(day: date) -> date:
    return day + {5: -DAY, 6: DAY}.get(day.weekday(), timedelta(0))


def _nth(year: int, month: int, weekday: int, number: int) -> date:
    """The so-many-th weekday of a month; -1 is the last one."""
    if number < 0:
        last = date(year + month // 12, month % 12 + 1, 1) - DAY
        return last - ((last.weekday() - weekday) % 7) * DAY
    first = date(year, month, 1)
    return first + ((weekday - first.weekday()) % 7 + 7 * (number - 1)) * DAY


def _easter(year: int) -> date:
    # The anonymous Gregorian computus (Meeus, Astronomical Algorithms, chapter 8).
    golden, century = year % 19, year // 100
    skipped, corrected = century // 4, (8 * century + 13) // 25
    moon = (19 * golden + century - skipped - corrected + 15) % 30
    moon -= (moon // 28) * (1 - (29 // (moon + 1)) * ((21 - golden) // 11))
    sunday = (year + year // 4 + moon + 2 - century + skipped) % 7
    number = moon - sunday
    month = 3 + (number + 40) // 44
    return date(year, month, number + 28 - 31 * (month // 4))


def _quiet(year: int) -> set[date]:
    return {_observed(date(year, 1, 1)), _easter(year) - 2 * DAY, _observed(date(year, 12, 25))}


def _holidays(year: int) -> set[date]:
    """Days on which the New York exchanges rest, by their rules of today."""
    new_year = date(year, 1, 1)
    return {
        # A New Year's Day on a Saturday is not made up for on the Friday of the year before.
        new_year if new_year.weekday() == 5 else _observed(new_year),
        _nth(year, 1, 0, 3),
        _nth(year, 2, 0, 3),
        _easter(year) - 2 * DAY,
        _nth(year, 5, 0, -1),
        _observed(date(year, 6, 19)),
        _observed(date(year, 7, 4)),
        _nth(year, 9, 0, 1),
        _nth(year, 11, 3, 4),
        _observed(date(year, 12, 25)),
    }


def _half_days(year: int) -> set[date]:
    """The day after Thanksgiving, Christmas Eve, and the day before Independence Day, where they are workdays."""
    days = {_nth(year, 11, 3, 4) + DAY, date(year, 12, 24), date(year, 7, 3)}
    return days - _holidays(year)
