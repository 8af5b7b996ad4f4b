"""Klines of futures against the bars that the same trades make: exact where a kline counts exactly these trades."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from lake_assets.transforms.trades import TRADE_BARS, bars_of, trade_minutes, unlike_bars
from lake_assets.validation.hour_verdict import BARS_DIFFER, hour_verdict
from lake_assets.validation.outcome import outcome
from lake_assets.validation.parity import with_unlike_bars
from lake_resources.clock import MINUTE, SECOND
from lake_tests.support.wire_frames import agg_trade, wire

START = datetime(2026, 1, 15, 10, tzinfo=UTC)
TRADES = [
    agg_trade(100 * minute + n, START + minute * MINUTE + n * 9 * SECOND, 100.0 + n % 3, 0.5 + n, maker=n % 2 == 1)
    for minute in range(4)
    for n in range(6)
]


def trade_bars(trades: pl.DataFrame) -> pl.DataFrame:
    return bars_of(trade_minutes(trades))


def klines(trades: pl.DataFrame) -> pl.DataFrame:
    """What the exchange says of these trades."""
    names = {name: name.removeprefix("bar_") for name in TRADE_BARS if name not in ("timestamp", "bar_rows")}
    return trade_bars(trades).select(pl.col("timestamp").alias("open_time"), *names).rename(names)


def test_a_minute_of_trades_is_the_bar_of_them_whatever_their_order() -> None:
    rows = wire("agg_trades", TRADES)
    bars = trade_bars(rows)
    assert bars.schema == pl.Schema(TRADE_BARS)
    first = bars.row(0, named=True)
    assert (first["bar_rows"], first["bar_open"], first["bar_high"], first["bar_low"], first["bar_close"]) == (
        6, 100.0, 102.0, 100.0, 102.0,
    )  # fmt: skip
    assert first["bar_taker_buy_volume"] == pytest.approx(0.5 + 2.5 + 4.5)
    assert trade_bars(pl.concat([rows, rows.head(3)]).reverse()).equals(bars)
    assert unlike_bars(klines(rows), bars).is_empty()
    assert trade_bars(rows.head(0)).is_empty()


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "taker_buy_volume", "taker_buy_quote_volume"])
def test_a_value_that_the_trades_do_not_have_is_named_with_both(column: str) -> None:
    rows = wire("agg_trades", TRADES)
    at = START + 2 * MINUTE
    wrong = klines(rows).with_columns(pl.when(pl.col("open_time") == at).then(pl.col(column) * 1.5).otherwise(column))
    found = unlike_bars(wrong, trade_bars(rows))
    assert found.select("timestamp", "column").rows() == [(at, column)]
    assert found["said"][0] == pytest.approx(1.5 * found["traded"][0])
    sound = outcome("trades_vs_klines", passed=True, metadata={"compared": 4, "minutes_off": 0})
    told = with_unlike_bars(sound, found, START)
    assert not told.passed
    verdict = hour_verdict([told], (), closed=True)
    assert verdict.kind == "contradicted"
    assert f"klines_1m: {BARS_DIFFER} in 1 minute(s) ({column}: 1)" in verdict.text
    assert with_unlike_bars(sound, found, START + timedelta(hours=1)) == sound


@pytest.mark.parametrize("column", ["count", "volume", "quote_volume"])
def test_a_minute_that_counts_other_trades_is_not_compared(column: str) -> None:
    rows = wire("agg_trades", TRADES)
    off = klines(rows).with_columns(pl.col(column) + 1, high=pl.lit(999.0))
    assert unlike_bars(off, trade_bars(rows)).is_empty()
