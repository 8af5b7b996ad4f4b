"""When a ticker trades: its sessions as half-open spans of UTC, with holidays, half days and daylight saving time.

Belongs here: what a minute without a row means, as far as the clock can say. Does not belong here: rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from lake_resources.clock import DAY
from lake_resources.yahoo.tickers import calendar_of

_LONDON = ZoneInfo("Europe/London")
_CHICAGO = ZoneInfo("America/Chicago")
_FX_LENGTH = timedelta(hours=23, minutes=59)
"""A day of currencies at Yahoo: 00:00 to 23:59 of London, Monday to Friday (its own `currentTradingPeriod`)."""
_CME_PAUSE = (time(16), time(17))
"""CME's futures rest from 16:00 to 17:00 of Chicago each day; the calendar of the exchange does not show it."""


@dataclass(frozen=True, order=True)
class Session:
    """A span in which a ticker trades, `[start, end)`, UTC."""

    start: datetime
    end: datetime


def sessions(ticker: str, start: datetime, end: datetime) -> list[Session]:
    """The parts of a ticker's sessions that lie in `[start, end)`, in order.

    Sources: `exchange_calendars` for New York (`XNYS`) and CME (`CMES`), which know holidays and half days; London's
    days for currencies, whose holidays nobody declares.
    """
    # A session may begin on the evening before, and the calendars speak of local days.
    found = _days(ticker, start.date() - DAY, end.date() + DAY)
    cut = (Session(max(each.start, start), min(each.end, end)) for each in found)
    return [each for each in cut if each.start < each.end]


def closed_spans(ticker: str, start: datetime, end: datetime) -> list[Session]:
    """The parts of `[start, end)` in which a ticker does not trade, in order."""
    spans, at = [], start
    for each in sessions(ticker, start, end):
        if at < each.start:
            spans.append(Session(at, each.start))
        at = each.end
    return [*spans, Session(at, end)] if at < end else spans


def _days(ticker: str, first: date, last: date) -> Iterator[Session]:
    calendar = calendar_of(ticker)
    if calendar == "24/7":
        yield Session(datetime.combine(first, time(), UTC), datetime.combine(last + DAY, time(), UTC))
    elif calendar == "FX":
        yield from _fx_days(first, last)
    else:
        for start, end in _schedule(calendar, first.year, last.year):
            if start.date() > last or end.date() < first:
                continue
            yield from _without_pause(start, end) if calendar == "CMES" else [Session(start, end)]


def _fx_days(first: date, last: date) -> Iterator[Session]:
    for number in range((last - first).days + 1):
        day = first + number * DAY
        if day.weekday() < 5:
            start = datetime.combine(day, time(), _LONDON).astimezone(UTC)
            yield Session(start, start + _FX_LENGTH)


def _without_pause(start: datetime, end: datetime) -> Iterator[Session]:
    first, last = (datetime.combine(end.astimezone(_CHICAGO).date(), at, _CHICAGO).astimezone(UTC) for at in _CME_PAUSE)
    yield Session(start, min(end, first))
    if last < end:
        yield Session(last, end)


@lru_cache(maxsize=8)
def _schedule(calendar: str, first_year: int, last_year: int) -> tuple[tuple[datetime, datetime], ...]:
    # Imported here: pandas takes half a second, and only macro data needs it.
    from exchange_calendars import get_calendar

    with warnings.catch_warnings():
        # What pandas says to the library of calendars about its next version.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        table = get_calendar(calendar, start=f"{first_year}-01-01", end=f"{last_year}-12-31").schedule
    return tuple(
        (start.to_pydatetime().astimezone(UTC), end.to_pydatetime().astimezone(UTC))
        for start, end in zip(table["open"], table["close"], strict=True)
    )
