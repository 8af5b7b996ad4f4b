"""The one reader of instants that people write: options, settings, run config, lists of holes.

Belongs here: text to an instant in UTC. Does not belong here: stamps that machines write (epochs, partition keys).
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

from lake_resources.clock import DAY, HOUR, MINUTE, SECOND
from lake_resources.errors import SettingsError

FIRST_YEAR, LAST_YEAR = 1970, 2261
"""Whole years that nanoseconds since 1970 can count in 64 bits."""
REMEDY = "Write it in ISO 8601, e.g. 2024-01-31, 2024-01-31T10:30, 2024-01-31T10:30:00Z or 2024-01-31T12:30+02:00"

_MINUS = "\N{MINUS SIGN}"
"""As ISO 8601 writes it where the character is to be had."""
_SHAPE = re.compile(r"\d[\dW-]*([T ]\d[\d:.,]*(Z|[+-][\d:.]+)?)?", re.ASCII)
"""`fromisoformat` takes any character between date and time; ISO 8601 has a T, and people write a space."""
_ORDINAL = re.compile(r"(\d{4})-?(\d{3})(?=$|[T ])", re.ASCII)
_PART_OF = re.compile(r"(?<=[T ])(\d\d)(?::?(\d\d))?[.,](\d+)(?=$|Z|[+-])", re.ASCII)
"""A decimal fraction of an hour or of a minute; one of a second is what `fromisoformat` reads."""
_LEAP = re.compile(r"(?<=[T ])(\d\d:?\d\d:?)60(?=$|[.,Z+-])")
"""A leap second, which no count of seconds has: it is the first of the next day."""
_END_OF_DAY = re.compile(r"([T ])24(:?00(:?00([.,]0+)?)?)?(?=$|Z|[+-])")


def parse_instant(text: str) -> datetime:
    """An instant of which any ISO 8601 form is given, as an aware time in UTC.

    Args:
        text: a date (of the calendar, of a week, or the day of the year), or a date and a time, extended or basic, with
            `T` or a space between them; `Z` or any offset from UTC; without one it is UTC. A fraction may be that of an
            hour, a minute or a second. `24:00` is the midnight after the day, and so is a leap second, `23:59:60Z`.

    Raises:
        SettingsError: it is none, or lies outside the years 1970 to 2261.
    """
    wanted = text.strip().upper().replace(_MINUS, "-")
    if not _SHAPE.fullmatch(wanted):
        raise SettingsError(f"{text!r} is no instant", remedy=REMEDY)
    try:
        wanted = _ORDINAL.sub(_calendar_day, wanted, count=1) if _ORDINAL.match(wanted) else wanted
        fraction = _PART_OF.search(wanted)
        plain = _PART_OF.sub(lambda each: f"{each[1]}:{each[2] or '00'}", wanted, count=1)
        found = datetime.fromisoformat(_END_OF_DAY.sub(_midnight, _LEAP.sub(r"\g<1>59", plain, count=1), count=1))
        part = (MINUTE if fraction[2] else HOUR) * float(f"0.{fraction[3]}") if fraction else timedelta(0)
        ends_the_day = _END_OF_DAY.search(plain) is not None
        found += DAY if ends_the_day else part
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        leaps = _LEAP.search(plain) is not None
        found += SECOND if leaps else timedelta(0)
    except (ValueError, OverflowError) as error:
        raise SettingsError(f"{text!r} is no instant", remedy=REMEDY) from error
    if leaps and found.time().replace(microsecond=0) != time():
        raise SettingsError(f"{text!r} is no instant: a leap second ends a day of UTC", remedy=REMEDY)
    if ends_the_day and part:
        raise SettingsError(f"{text!r} is no instant: no day goes on after 24:00", remedy=REMEDY)
    if not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise SettingsError(f"{text!r} lies outside the years {FIRST_YEAR} to {LAST_YEAR}", remedy=REMEDY)
    return found


def parse_minute(text: str) -> datetime:
    """The start of the minute that holds an instant: a range that begins there loses nothing.

    Raises:
        SettingsError: it is no instant.
    """
    return parse_instant(text).replace(second=0, microsecond=0)


def parse_end(text: str) -> datetime:
    """The first whole minute that is not before an instant: a half-open range that ends there loses nothing.

    Raises:
        SettingsError: it is no instant.
    """
    found = parse_instant(text)
    minute = found.replace(second=0, microsecond=0)
    return minute if minute == found else minute + MINUTE


def parse_whole_minute(text: str) -> datetime:
    """An instant that must be a whole minute, because nothing of what is meant may be added or lost.

    Raises:
        SettingsError: it is no instant, or has seconds.
    """
    found = parse_instant(text)
    if found.second or found.microsecond:
        raise SettingsError(f"{text!r} is no whole minute", remedy="Leave the seconds out, or write them as 00")
    return found


def parse_day(text: str) -> date:
    """The UTC day that holds an instant.

    Raises:
        SettingsError: it is no instant.
    """
    return parse_instant(text).date()


def _midnight(found: re.Match[str]) -> str:
    return f"{found[1]}00{(found[2] or '').replace(',', '.')}"


def _calendar_day(found: re.Match[str]) -> str:
    """The day of a year as one of the calendar."""
    day = date(int(found[1]), 1, 1) + timedelta(days=int(found[2]) - 1)
    if day.year != int(found[1]):
        raise ValueError(f"the year has no day {found[2]}")
    return day.isoformat()
