"""The 11 columns of the tables of spot klines, each declared once and in order, the same for every interval.

Belongs here: all that is said of a column by its name. Does not belong here: the intervals (`tables.spot_klines`), how
a value is computed (`transforms.spot_bars`), or anything that follows from the list (`table`).
"""

from __future__ import annotations

from functools import partial

import polars as pl

from lake_assets.schema.column import NOT_NEGATIVE, POSITIVE, Column, Sources
from lake_assets.schema.column_set import ColumnSet, numbered
from lake_assets.schema.rolling import BAR_START, EXACT_SUM, LAST, SUM, of_traded

_FLOAT, _TIME = pl.Float64(), pl.Datetime("us", "UTC")
_KLINES: Sources = ("klines",) * 3


def kline_columns(stream: str) -> ColumnSet:
    """The columns of the klines of a stream, e.g. `klines_1m`."""
    column = partial(Column, stream=stream, quiet="always", sources=_KLINES, support_class="HARD_REQUIRED")
    price = partial(
        column, dtype=_FLOAT, unit="quote asset", fill_policy="the close before, where nothing was traded",
        bounds=POSITIVE,
    )  # fmt: skip
    amount = partial(
        column, dtype=_FLOAT, fill_policy="0 where nothing was traded", bounds=NOT_NEGATIVE, role="volume",
        rollup=EXACT_SUM,
    )  # fmt: skip
    return ColumnSet(
        numbered(
            column(
                name="open_time", wire="open_time", dtype=_TIME, unit="candle start", fill_policy="never NULL",
                rollup=BAR_START, definition="UTC start of the candle",
            ),
            price(
                name="open", wire="open", role="open", definition="price of the first trade",
                rollup=of_traded("of the first", "open", "trades", pl.Expr.first),
            ),
            price(
                name="high", wire="high", role="high", definition="highest price of a trade",
                rollup=of_traded("largest of a", "high", "trades", pl.Expr.max),
            ),
            price(
                name="low", wire="low", role="low", definition="lowest price of a trade",
                rollup=of_traded("smallest of a", "low", "trades", pl.Expr.min),
            ),
            price(name="close", wire="close", role="close", rollup=LAST, definition="price of the last trade"),
            amount(name="volume", wire="volume", unit="base asset", definition="sum of quantities"),
            column(
                name="close_time", dtype=_TIME, unit="candle end", fill_policy="never NULL", quiet="computed",
                rollup=LAST,
                definition="UTC end of the candle, its last millisecond: open_time + interval - 1 ms, from any source",
            ),
            amount(
                name="quote_volume", wire="quote_volume", unit="quote asset", definition="sum of price times quantity"
            ),
            amount(name="trades", wire="count", dtype=pl.Int64(), unit="trades", rollup=SUM, definition="trades"),
            amount(
                name="taker_base_vol", wire="taker_buy_volume", unit="base asset",
                definition="sum of quantities of trades in which the taker bought",
            ),
            amount(
                name="taker_quote_vol", wire="taker_buy_quote_volume", unit="quote asset",
                definition="sum of price times quantity of trades in which the taker bought",
            ),
        )
    )  # fmt: skip
