"""Any window asked for in pages equals that window cut out of the whole; trades of one millisecond are never lost."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake_resources.binance.rest.rest_client import BinanceRest
from lake_resources.governor import WeightGovernor
from lake_tests.support.scripted_exchange import Reply, scripted

START = datetime(2026, 2, 15, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)
NOW = START + timedelta(hours=12)


def bursts() -> list[dict[str, object]]:
    """Trades in bursts of up to 2,500 within one millisecond, with quiet hours between."""
    choose = random.Random(5)
    trades: list[dict[str, object]] = []
    time_ms = START_MS
    while time_ms < START_MS + 9 * 3_600_000:
        for _ in range(choose.choice((1, 7, 999, 1000, 1001, 2500))):
            number = len(trades) + 1
            trades.append(
                {"a": number, "p": f"{100 + number % 7}", "q": "1", "f": number, "l": number, "T": time_ms, "m": False}
            )
        time_ms += choose.choice((1, 59_999, 60_000, 3_600_000, 5_400_000))
    return trades


TRADES = bursts()
TIMES = [int(str(trade["T"])) for trade in TRADES]


def answer(_path: str, query: dict[str, str]) -> Reply:
    """aggTrades with Binance's inclusive bounds and its rule of windows below an hour."""
    limit = int(query["limit"])
    if "fromId" in query:
        assert "startTime" not in query
        return Reply(TRADES[int(query["fromId"]) - 1 :][:limit])
    first, last = int(query["startTime"]), int(query["endTime"])
    assert last - first < 3_600_000
    return Reply([trade for trade, time_ms in zip(TRADES, TIMES, strict=True) if first <= time_ms <= last][:limit])


@pytest.fixture(scope="module")
def rest() -> Iterator[BinanceRest]:
    with tempfile.TemporaryDirectory() as directory, scripted(answer) as exchange:
        never_full = WeightGovernor(Path(directory) / "governor.sqlite", iter_minutes().__next__)
        client = BinanceRest(exchange.base_url, governor=never_full, clock=lambda: NOW)
        yield client
        client.close()
        never_full.close()


def iter_minutes() -> Iterator[datetime]:
    """A clock that is a minute further at every look, so that no budget is ever used up."""
    now = START
    while True:
        yield now
        now += timedelta(minutes=1)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_aggtrades_of_any_window(rest: BinanceRest, data: st.DataObject) -> None:
    edges = st.one_of(
        st.integers(START_MS - 3_600_000, START_MS + 10 * 3_600_000),
        st.builds(lambda time_ms, shift: time_ms + shift, st.sampled_from(TIMES), st.integers(-1, 1)),
    )
    start_ms, end_ms = sorted((data.draw(edges), data.draw(edges)))
    start, end = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms) for ms in (start_ms, end_ms))
    frame = rest.fetch("agg_trades", "BTCUSDT", start, end)
    expected = [trade["a"] for trade, time_ms in zip(TRADES, TIMES, strict=True) if start_ms <= time_ms < end_ms]
    assert frame["agg_trade_id"].to_list() == expected


def test_the_whole_is_not_trivial(rest: BinanceRest) -> None:
    frame = rest.fetch("agg_trades", "BTCUSDT", START, NOW)
    assert frame.height == len(TRADES) > 5_000
    assert frame.select(pl.col("transact_time").value_counts().struct.field("count").max()).item() == 2500
