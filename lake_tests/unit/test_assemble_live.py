"""Live columns in the rows of the minute table: NULL, 0 and False exactly where they belong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.transforms.assemble import COVERAGE_SCHEMA, MinuteInputs, assemble
from lake_assets.transforms.live.live_rows import LIVE_INPUT
from lake_assets.transforms.trade_columns import TRADE_FEATURES
from lake_resources.binance.wire_columns import KLINE_COLUMNS

START = datetime(2026, 2, 15, 12, tzinfo=UTC)
COUNT = 5
TICKS = ("max_trade_size_btc", "count_buy_trades", "vol_buy_whale_btc", "realized_vol_1m")


def assembled(live: pl.DataFrame | None, trades: pl.DataFrame | None = None, *, filed: bool = False) -> pl.DataFrame:
    minutes = [START + timedelta(minutes=offset) for offset in range(COUNT)]
    klines = pl.DataFrame({"open_time": minutes}).select(
        "open_time",
        *(
            pl.lit(1).cast(dtype).alias(name) if name != "close_time" else pl.col("open_time").alias(name)
            for name, dtype in KLINE_COLUMNS.items()
            if name != "open_time"
        ),
    )
    coverage = pl.DataFrame({"hour": [START], "trades_filed": [filed], "book_filed": [False]}, schema=COVERAGE_SCHEMA)
    none: dict[str, Any] = {"bars": {}} | dict.fromkeys(("book", "metrics", "funding"))
    return assemble(
        MinuteInputs(
            START, START + timedelta(minutes=COUNT), klines, trades=trades, coverage=coverage, live=live, **none
        )
    )


def live_rows(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([{"timestamp": START + timedelta(minutes=row.pop("at")), **row} for row in rows], LIVE_INPUT)


def test_without_a_collector_nothing_changes() -> None:
    rows = assembled(None)

    assert rows.equals(assembled(pl.DataFrame(schema=LIVE_INPUT)))
    nullable = [name for name in UM_MINUTE.collected if name not in ("has_ws_latency", "has_depth", "has_liq")]
    assert all(rows[name].is_null().all() for name in nullable)
    assert not rows.select("has_ws_latency", "has_depth", "has_liq").to_numpy().any()


def test_live_columns_stay_in_their_minute_and_flags_are_never_null() -> None:
    rows = assembled(
        live_rows({"at": 1, "has_liq": True, "liq_long_count": 0, "latency_engine": 7, "next_funding_time": 9})
    )

    assert rows["liq_long_count"].to_list() == [None, 0, None, None, None]
    assert rows["latency_engine"].to_list() == [None, 7, None, None, None]
    assert rows["has_liq"].to_list() == [False, True, False, False, False]
    assert rows["has_depth"].to_list() == [False] * COUNT
    assert rows.columns == list(UM_MINUTE.names)


def test_book_features_are_carried_while_the_source_is_there() -> None:
    rows = assembled(
        live_rows(
            {"at": 0, "has_book_ticker": True, "avg_spread_usdt": 0.1, "micro_price_close": 5.0},
            {"at": 1, "has_book_ticker": True},
            {"at": 2, "has_book_ticker": False, "avg_spread_usdt": 0.9, "micro_price_close": 9.0},
            {"at": 4, "has_book_ticker": True},
        )
    )

    assert rows["avg_spread_usdt"].to_list() == [0.1, 0.1, None, None, 0.1]
    assert rows["micro_price_close"].to_list() == [5.0, None, None, None, None]


def test_ticks_of_single_minutes() -> None:
    """0 where the collector heard that nothing happened, NULL where it was not there."""
    trades = pl.DataFrame(
        [{"timestamp": START, **{name: 2 for name in TRADE_FEATURES if name != "timestamp"}}], TRADE_FEATURES
    )
    live = live_rows({"at": 0, "has_agg_trades": True}, {"at": 1, "has_agg_trades": True}, {"at": 2})

    rows = assembled(live, trades)

    for name in TICKS:
        assert rows[name].to_list() == [2, 0, None, None, None]
    assert assembled(live, trades, filed=True)["count_buy_trades"].to_list() == [2, 0, 0, 0, 0]
