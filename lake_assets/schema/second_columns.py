"""The columns of the table of spot seconds, each declared once and in order: the 13 of the document, then six more.

Belongs here: all that is said of a column by its name. Does not belong here: how a value is computed
(`transforms.spot_seconds`), or anything that follows from the list (`table`).
"""

from __future__ import annotations

from functools import partial

import polars as pl

from lake_assets.schema.column import LIVE, NOT_NEGATIVE, POSITIVE, Column, Sources
from lake_assets.schema.column_set import ColumnSet, numbered
from lake_assets.schema.rolling import (
    ANY_TRUE,
    BAR_START,
    EXACT_SUM,
    FIRST,
    LAST,
    SUM,
    Rollup,
    exact_total,
    if_known,
    of_traded,
)

_FLOAT, _INT, _BOOL = pl.Float64(), pl.Int64(), pl.Boolean()
_KLINES: Sources = ("klines 1s", "klines 1s", "klines 1s, or the fold of WS trade")
_QUOTES: Sources = ("-", "-", "WS bookTicker")
_QUIET = "in a quiet second the close before it"

_kline = partial(Column, stream="klines_1s", quiet="always", sources=_KLINES, support_class="HARD_REQUIRED")
_price = partial(_kline, dtype=_FLOAT, unit="quote asset", fill_policy=_QUIET, bounds=POSITIVE)
_amount = partial(
    _kline, dtype=_FLOAT, fill_policy="0 in a quiet second", bounds=NOT_NEGATIVE, role="volume", rollup=EXACT_SUM
)
_quote = partial(
    Column, stream=LIVE, quiet="carried", sources=_QUOTES, support_class="LIVE_ONLY", dtype=_FLOAT, rollup=LAST,
    witness="has_quotes",
    fill_policy="carried for 10 s at most (`LAKE_QUOTE_CARRY_S`), never over a break of the connection; else NULL",
)  # fmt: skip


def _vwap(_: str) -> pl.Expr:
    base, quote = exact_total("volume_base"), exact_total("volume_quote")
    value = pl.when(base > 0).then(quote / base).otherwise(pl.col("close").last())
    return if_known(value, "volume_base", "volume_quote")


COLUMNS = ColumnSet(
    numbered(
        _kline(
            name="symbol", dtype=pl.String(), unit="", fill_policy="never NULL", rollup=FIRST,
            definition="the symbol, e.g. SOLUSDT",
        ),
        _kline(
            name="window_start", wire="open_time", dtype=pl.Datetime("us", "UTC"), unit="second start",
            fill_policy="never NULL", rollup=BAR_START,
            definition="UTC start of the second; the row holds [window_start, window_start + 1 s)",
        ),
        _price(
            name="open", wire="open", role="open", definition="price of the first trade",
            rollup=of_traded("of the first", "open", "trade_count", pl.Expr.first),
        ),
        _price(
            name="high", wire="high", role="high", definition="highest price of a trade",
            rollup=of_traded("largest of a", "high", "trade_count", pl.Expr.max),
        ),
        _price(
            name="low", wire="low", role="low", definition="lowest price of a trade",
            rollup=of_traded("smallest of a", "low", "trade_count", pl.Expr.min),
        ),
        _price(name="close", wire="close", role="close", rollup=LAST, definition="price of the last trade"),
        _amount(name="volume_base", wire="volume", unit="base asset", definition="sum of quantities"),
        _amount(
            name="volume_quote", wire="quote_volume", unit="quote asset", definition="sum of price times quantity"
        ),
        _amount(
            name="trade_count", wire="count", dtype=_INT, unit="trades", rollup=SUM,
            definition="number of single trades; 0 tells a quiet second from a traded one",
        ),
        _price(
            name="vwap", quiet="computed", definition="volume_quote / volume_base; the close where nothing was traded",
            rollup=Rollup(
                "sum of volume_quote / sum of volume_base; the last close where nothing was traded", _vwap,
                needs=("volume_quote", "volume_base", "close"),
            ),
        ),
        _quote(
            name="bid", unit="quote asset", bounds=POSITIVE,
            definition="best bid of the last book ticker before the end of the second",
        ),
        _quote(
            name="ask", unit="quote asset", bounds=POSITIVE,
            definition="best ask of the last book ticker before the end of the second",
        ),
        _quote(name="spread", unit="quote asset", definition="ask - bid"),
        _amount(
            name="taker_buy_base", wire="taker_buy_volume", unit="base asset",
            definition="sum of quantities of trades in which the taker bought",
        ),
        _amount(
            name="taker_buy_quote", wire="taker_buy_quote_volume", unit="quote asset",
            definition="sum of price times quantity of trades in which the taker bought",
        ),
        _quote(name="bid_qty", unit="base asset", bounds=NOT_NEGATIVE, definition="quantity at the best bid"),
        _quote(name="ask_qty", unit="base asset", bounds=NOT_NEGATIVE, definition="quantity at the best ask"),
        _kline(
            name="has_trades", dtype=_BOOL, unit="", quiet="computed", group="coverage", never_null=True,
            support_class="BACKFILL_AVAILABLE", fill_policy="never NULL", rollup=ANY_TRUE,
            definition="something was traded in the second: trade_count > 0",
        ),
        Column(
            name="has_quotes", dtype=_BOOL, unit="", stream=LIVE, quiet="computed", group="coverage", never_null=True,
            support_class="LIVE_ONLY", sources=("false", "false", "WS bookTicker"), fill_policy="never NULL",
            rollup=LAST, definition="bid and ask are known",
        ),
    )
)  # fmt: skip
"""The columns of the table of spot seconds."""
