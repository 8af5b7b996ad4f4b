"""Minutes whose aggTrades are lost say so: NULL, and never a sum of what is left."""

from __future__ import annotations

import polars as pl

from lake_assets.tables.um_minute import UM_MINUTE as TABLE
from lake_assets.transforms.assemble import MinuteInputs, assemble, without_lost_trades
from lake_assets.transforms.trades import trade_features
from lake_resources.clock import HOUR, MINUTE, SECOND
from lake_tests.support.wire_frames import TEN, agg_trade, coverage, kline, wire

TICKS = (
    "transact_time",
    "max_trade_size_btc",
    "count_buy_trades",
    "count_sell_trades",
    "vol_buy_whale_btc",
    "vol_sell_whale_btc",
    "vol_buy_retail_btc",
    "vol_sell_retail_btc",
    "whale_trade_count",
    "realized_vol_1m",
)


def rows() -> pl.DataFrame:
    trades = [agg_trade(n, TEN + n * MINUTE + SECOND, 100.0, 2.0, maker=False) for n in range(10)]
    inputs = MinuteInputs(
        start=TEN,
        end=TEN + HOUR,
        klines=wire("klines_1m", [kline(TEN + n * MINUTE) for n in range(10)]),
        bars={}, book=None, metrics=None, funding=None,
        trades=trade_features(wire("agg_trades", trades)),
        coverage=coverage([TEN]),
    )  # fmt: skip
    return assemble(inputs)


def test_every_minute_that_a_loss_touches_is_null() -> None:
    before = rows()
    after = without_lost_trades(before, [(TEN + 2 * MINUTE + SECOND, TEN + 4 * MINUTE + SECOND)])
    assert after.schema == TABLE.polars_schema
    touched = pl.Series([2 <= n <= 4 for n in range(10)])
    assert after.filter(~touched).equals(before.filter(~touched))
    assert set(after.filter(touched).select(TICKS).row(0)) == {None}
    assert after.filter(touched).select(pl.all().null_count()).select(TICKS).row(0) == (3,) * len(TICKS)
    others = [name for name in TABLE.names if name not in (*TICKS, "vwap_1m")]
    assert after.select(others).equals(before.select(others))
    by_klines = before.filter(touched).select(pl.col("volume_usdt") / pl.col("volume_btc")).to_series().to_list()
    assert after.filter(touched)["vwap_1m"].to_list() == by_klines
    assert before.filter(touched)["vwap_1m"].to_list() == [100.0] * 3


def test_a_loss_within_a_minute_touches_that_one() -> None:
    after = without_lost_trades(rows(), [(TEN + SECOND, TEN + 2 * SECOND)])
    assert after["count_buy_trades"].null_count() == 1
    assert after["count_buy_trades"][0] is None


def test_without_a_loss_nothing_changes() -> None:
    before = rows()
    assert without_lost_trades(before, []).equals(before)
    assert without_lost_trades(before, [(TEN - HOUR, TEN - MINUTE)]).equals(before)
