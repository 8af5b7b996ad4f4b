"""Minutes of Yahoo through yfinance from the stand-in, over real sockets: what comes, and how none comes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from lake_resources.clock import DAY, MINUTE
from lake_resources.errors import (
    ExchangeError,
    MalformedAnswer,
    OutsideRetention,
    RateLimited,
    RequestRefused,
    ServerError,
    SettingsError,
    TransportError,
)
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.server import SimulatorServer
from lake_resources.yahoo.sessions import sessions
from lake_resources.yahoo.yahoo_minutes import MINUTES_SCHEMA, YahooMinutes

NOW = datetime(2026, 11, 25, 15, 30, 20, tzinfo=UTC)


@pytest.fixture(scope="module")
def stand_in() -> Iterator[SimulatorServer]:
    with SimulatorServer(symbols=("BTCUSDT",)) as running:
        running.exchange.clock.freeze(NOW)
        yield running


@pytest.fixture
def yahoo(stand_in: SimulatorServer, tmp_path: Path) -> Iterator[YahooMinutes]:
    yield YahooMinutes(stand_in.base_url, tmp_path, timeout_s=20)
    stand_in.exchange.faults.clear()
    stand_in.exchange.clock.freeze(NOW)


def minutes_of(ticker: str, start: datetime, end: datetime) -> list[datetime]:
    spans = sessions(ticker, start, end)
    return [each.start + at * MINUTE for each in spans for at in range((each.end - each.start) // MINUTE)]


@pytest.mark.parametrize(("ticker", "least"), [("SPY", 1.0), ("ES=F", 0.97), ("EURUSD=X", 0.99), ("UUP", 0.8)])
def test_minutes_of_ten_days_lie_in_the_sessions(yahoo: YahooMinutes, ticker: str, least: float) -> None:
    start = NOW.replace(second=0) - 10 * DAY
    found = yahoo.minutes(ticker, start, NOW, now=NOW)
    assert found.frame.schema == MINUTES_SCHEMA
    assert found.requests == 2
    times = found.frame["ts"]
    assert times.is_sorted()
    assert times.is_unique().all()
    expected = minutes_of(ticker, start, NOW.replace(second=0) + MINUTE)
    assert set(times) <= set(expected)
    assert len(times) >= least * len(expected) - 11
    assert found.frame.filter((pl.col("high") < pl.col("low")) | (pl.col("low") <= 0)).is_empty()
    assert found.frame["volume"].sum() == 0 if ticker.endswith("=X") else found.frame["volume"].min() > 0


def test_the_running_minute_is_told_by_the_clock_of_the_source(yahoo: YahooMinutes) -> None:
    spy = yahoo.minutes("SPY", NOW - DAY, NOW, now=NOW)
    assert spy.known_until == NOW
    assert spy.frame["ts"][-1] == NOW.replace(second=0)
    future = yahoo.minutes("ES=F", NOW - DAY, NOW, now=NOW)
    assert future.known_until == NOW - 10 * MINUTE, "futures are shown ten minutes late"


def test_a_correction_is_seen_at_the_next_look(stand_in: SimulatorServer, yahoo: YahooMinutes, tmp_path: Path) -> None:
    window = (NOW - timedelta(hours=5), NOW - timedelta(minutes=31))
    before = yahoo.minutes("EURUSD=X", *window, now=NOW).frame
    stand_in.exchange.clock.freeze(NOW + DAY)
    after = yahoo.minutes("EURUSD=X", *window, now=NOW + DAY).frame
    assert before["ts"].equals(after["ts"])
    assert 0 < (before["close"] != after["close"]).sum() < before.height / 4
    assert YahooMinutes(stand_in.base_url, tmp_path).minutes("EURUSD=X", *window, now=NOW + DAY).frame.equals(after)


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        (Fault("429", path="chart"), RateLimited, "Too Many Requests"),
        (Fault("empty", path="chart"), MalformedAnswer, "without any minute"),
        (Fault("garbage", path="chart"), MalformedAnswer, "no answer of the chart API"),
        (Fault("5xx", path="chart"), ServerError, "HTTP 503"),
        (Fault("cut", path="chart"), TransportError, "Yahoo /v8/finance/chart/SPY"),
    ],
    ids=lambda each: each.kind if isinstance(each, Fault) else None,
)
def test_an_error_is_an_error_and_never_no_data(
    stand_in: SimulatorServer, yahoo: YahooMinutes, fault: Fault, error: type[ExchangeError], text: str
) -> None:
    stand_in.exchange.faults.add(fault)
    with pytest.raises(error, match=text):
        yahoo.minutes("SPY", NOW - DAY, NOW, now=NOW)
    stand_in.exchange.faults.clear()
    assert yahoo.minutes("SPY", NOW - DAY, NOW, now=NOW).frame.height > 0


def test_what_cannot_be_asked_for(stand_in: SimulatorServer, yahoo: YahooMinutes, tmp_path: Path) -> None:
    with pytest.raises(RequestRefused, match="delisted"):
        yahoo.minutes("NOSUCH", NOW - DAY, NOW, now=NOW)
    with pytest.raises(OutsideRetention, match="30 days"):
        yahoo.minutes("SPY", NOW - 40 * DAY, NOW - 31 * DAY, now=NOW)
    with pytest.raises(OutsideRetention, match="must be within the last 30 days"):
        # The machine's clock is a day behind Yahoo's.
        yahoo.minutes("SPY", NOW - 31 * DAY, NOW - 25 * DAY, now=NOW - 2 * DAY)
    with pytest.raises(SettingsError, match="no ticker"):
        yahoo.minutes("../x", NOW - DAY, NOW, now=NOW)
    with pytest.raises(TransportError, match="LAKE_YAHOO_URL"):
        YahooMinutes("http://127.0.0.1:9", tmp_path).minutes("SPY", NOW - DAY, NOW, now=NOW)
    assert [path for _, path, _ in stand_in._seen if "chart" not in path] == []
