"""Tickers have names that read back, and the stand-in's hours are those of the calendars that the lake judges by."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake_resources.clock import DAY
from lake_resources.errors import SettingsError
from lake_resources.simulator.yahoo.trading_hours import hours_of, session_of
from lake_resources.yahoo.sessions import Session, closed_spans, sessions
from lake_resources.yahoo.tickers import DEFAULT_TICKERS, calendar_of, parse_ticker, ticker_name, ticker_of

_KNOWN_TO_DIFFER = {
    "FX": [],
    # Shares rested for a president's funeral, which no rule says.
    "XNYS": [date(2025, 1, 9)],
    # The calendar of CME has no trading on that day either, and does not know the early ends of Juneteenth and of the
    # day before Independence Day: minutes of these afternoons count as unproven. Dates are those of starts.
    "CMES": [date(2025, 1, 8), date(2025, 6, 18), date(2025, 7, 2), date(2026, 6, 18), date(2027, 6, 17)],
}


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type]


def test_names_are_safe_and_read_back() -> None:
    assert [ticker_name(each) for each in ("SPY", "ES=F", "EURUSD=X", "^GSPC", "BTC-USD", "DX-Y.NYB")] == [
        "SPY", "ES_3DF", "EURUSD_3DX", "_5EGSPC", "BTC_2DUSD", "DX_2DY_2ENYB",
    ]  # fmt: skip
    assert [ticker_of(ticker_name(each)) for each in DEFAULT_TICKERS] == list(DEFAULT_TICKERS)


@given(st.text("ABZ019.=^-", min_size=1, max_size=20).filter(lambda text: text[0] not in ".=-"))
def test_every_ticker_reads_back(ticker: str) -> None:
    name = ticker_name(parse_ticker(ticker))
    assert ticker_of(name) == ticker
    assert name.replace("_", "").isalnum()


@pytest.mark.parametrize("text", ["", "../x", "A B", "=X", "A" * 21, "A/B", "ß", "S_Y"])
def test_what_is_no_ticker_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="no ticker of Yahoo"):
        parse_ticker(text)


@pytest.mark.parametrize("name", ["spy", "ES_3df", "ES=F", "A_41", "_zz"])
def test_what_is_no_name_of_a_ticker_is_refused(name: str) -> None:
    with pytest.raises(SettingsError):
        ticker_of(name)


def test_a_week_with_a_holiday_and_a_half_day() -> None:
    week = (utc(2026, 11, 25), utc(2026, 11, 28))
    assert sessions("SPY", *week) == [
        Session(utc(2026, 11, 25, 14, 30), utc(2026, 11, 25, 21)),
        Session(utc(2026, 11, 27, 14, 30), utc(2026, 11, 27, 18)),
    ]
    assert sessions("ES=F", *week) == [
        Session(utc(2026, 11, 25), utc(2026, 11, 25, 22)),
        Session(utc(2026, 11, 25, 23), utc(2026, 11, 26, 18)),
        Session(utc(2026, 11, 26, 23), utc(2026, 11, 27, 18)),
    ]
    assert [each.end - each.start for each in sessions("EURUSD=X", *week)] == 3 * [timedelta(hours=23, minutes=59)]
    assert sessions("BTC-USD", *week) == [Session(*week)]


def test_daylight_saving_moves_the_hours() -> None:
    # New York turns its clocks back on 2026-11-01 and London on 2026-10-25.
    assert sessions("SPY", utc(2026, 10, 30), utc(2026, 10, 31))[0].start == utc(2026, 10, 30, 13, 30)
    assert sessions("SPY", utc(2026, 11, 2), utc(2026, 11, 3))[0].start == utc(2026, 11, 2, 14, 30)
    assert sessions("USDJPY=X", utc(2026, 10, 22), utc(2026, 10, 24))[-1].end == utc(2026, 10, 23, 22, 59)
    assert sessions("USDJPY=X", utc(2026, 10, 25), utc(2026, 10, 27))[0].start == utc(2026, 10, 26)


@pytest.mark.parametrize("ticker", ["SPY", "ES=F", "EURUSD=X", "BTC-USD"])
def test_open_and_closed_spans_make_the_whole(ticker: str) -> None:
    start, end = utc(2026, 12, 20, 3, 7), utc(2027, 1, 5, 19, 31)
    both = sorted([*sessions(ticker, start, end), *closed_spans(ticker, start, end)])
    assert (both[0].start, both[-1].end) == (start, end)
    assert all(left.end == right.start for left, right in pairwise(both))


@pytest.mark.parametrize("ticker", ["SPY", "EURUSD=X", "ES=F"])
def test_the_stand_in_trades_when_the_calendars_say_so(ticker: str) -> None:
    first, last = date(2025, 1, 1), date(2027, 12, 31)
    days = [first + number * DAY for number in range((last - first).days)]
    told = [span for day in days if (span := session_of(hours_of(ticker), day)) is not None]
    judged = {each.start: each.end for each in sessions(ticker, utc(2024, 12, 31), utc(2027, 12, 31, 12))}
    differing = [start for start, end in told if judged.get(start) != end]
    assert [at.date() for at in differing] == _KNOWN_TO_DIFFER[calendar_of(ticker)]
