"""Quotes in time: the last before a second's end, for ten seconds at most, never over a break of the connection."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from lake_assets.transforms.quote_placing import QUOTES, Span, quotes_at_ends
from lake_assets.transforms.spot_seconds import second_bars
from lake_resources.binance.wire_columns import KLINE_COLUMNS
from lake_resources.clock import SECOND

T0 = datetime(2026, 11, 20, 12, tzinfo=UTC)
ALWAYS = [(T0 - timedelta(hours=1), T0 + timedelta(hours=1))]


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def bids(
    seconds: int, *quotes: tuple[float, float], connected: Sequence[Span] = ALWAYS, carry: float = 10
) -> list[float | None]:
    """The bid of each of so many seconds, from quotes of (seconds after T0, bid)."""
    starts = pl.datetime_range(T0, at(seconds), "1s", closed="left", eager=True)
    frame = pl.DataFrame([(at(when), bid, 2.0, bid + 1, 3.0) for when, bid in quotes], schema=QUOTES, orient="row")
    return quotes_at_ends(starts, SECOND, frame, connected, timedelta(seconds=carry))["bid"].to_list()


def test_a_second_has_the_last_quote_before_its_end() -> None:
    assert bids(3, (0.2, 10.0), (0.9, 11.0), (1.2, 12.0)) == [11.0, 12.0, 12.0]


def test_a_quote_at_the_end_belongs_to_the_next_second() -> None:
    assert bids(2, (0.5, 10.0), (1.0, 11.0)) == [10.0, 11.0]


def test_no_quote_is_known_before_the_first() -> None:
    assert bids(3, (1.5, 10.0)) == [None, 10.0, 10.0]


def test_a_quote_stands_for_ten_seconds_or_as_the_setting_says() -> None:
    found = bids(13, (0.5, 10.0))
    assert found == [10.0] * 10 + [None] * 3, "9.5 seconds old at the end of the tenth, 10.5 at that of the eleventh"
    assert bids(4, (0.5, 10.0), carry=2) == [10.0, 10.0, None, None]


def test_a_quote_is_not_carried_over_a_break_of_the_connection() -> None:
    connected = [(T0, at(2.5)), (at(4.2), at(60))]
    assert bids(6, (0.5, 10.0), (4.8, 11.0), connected=connected) == [10.0, 10.0, None, None, 11.0, 11.0]
    assert bids(3, (0.5, 10.0), connected=[]) == [None] * 3


def test_of_two_quotes_of_one_instant_the_later_received_stands() -> None:
    assert bids(1, (0.5, 10.0), (0.5, 11.0)) == [11.0]


def test_a_quote_without_a_price_is_none() -> None:
    assert bids(2, (0.5, 10.0), (1.5, 0.0)) == [10.0, 10.0]


def test_the_documents_case_of_trades_and_a_quote() -> None:
    """Case A-19: second 0 has no quote, second 1 bid 99.5 and ask 100.5, a quiet second carries the close."""
    klines = pl.DataFrame(
        {
            "open_time": [at(n) for n in range(3)],
            "open": [100.0, 101.0, 101.0],
            "high": [102.0, 101.0, 101.0],
            "low": [100.0, 101.0, 101.0],
            "close": [102.0, 101.0, 101.0],
            "volume": [4.5, 0.5, 0.0],
            "close_time": [at(n + 0.999) for n in range(3)],
            "quote_volume": [455.0, 50.5, 0.0],
            "count": [3, 1, 0],
            "taker_buy_volume": [0.0] * 3,
            "taker_buy_quote_volume": [0.0] * 3,
        }
    ).cast(KLINE_COLUMNS)  # type: ignore[arg-type]
    quotes = pl.DataFrame([(at(1.2), 99.5, 1.0, 100.5, 1.0)], schema=QUOTES, orient="row")
    placed = quotes_at_ends(klines["open_time"], SECOND, quotes, ALWAYS, timedelta(seconds=0.9))
    found = second_bars("SOLUSDT", klines, placed).to_dicts()
    assert [row["symbol"] for row in found] == ["SOLUSDT"] * 3
    assert found[0]["vwap"] == 455.0 / 4.5
    assert [(row["bid"], row["ask"], row["spread"]) for row in found] == [
        (None, None, None), (99.5, 100.5, 1.0), (None, None, None),
    ]  # fmt: skip
    assert [(row["has_trades"], row["has_quotes"]) for row in found] == [(True, False), (True, True), (False, False)]
    assert (found[2]["trade_count"], found[2]["volume_base"], found[2]["vwap"]) == (0, 0.0, 101.0)
