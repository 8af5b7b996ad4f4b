"""The columns of the table of macro minutes, each declared once and in order.

Belongs here: all that is said of a column by its name. Does not belong here: where rows come from (`build.macro_days`).
"""

from __future__ import annotations

from functools import partial

import polars as pl

from lake_assets.schema.column import NOT_NEGATIVE, POSITIVE, Column
from lake_assets.schema.column_set import ColumnSet, numbered
from lake_assets.schema.rolling import ALL_TRUE, BAR_START, FIRST, HIGHEST, LAST, LOWEST, SUM

YAHOO_STREAM = "yahoo_minutes"
"""Name of the one stream of the table: Yahoo's chart of a ticker in minutes."""

_column = partial(
    Column, stream=YAHOO_STREAM, sources=("-", "Yahoo chart 1m", "Yahoo chart 1m"), quiet="always",
    support_class="HARD_REQUIRED", fill_policy="a minute without a price is no row",
)  # fmt: skip
_price = partial(_column, dtype=pl.Float64(), unit="currency of the ticker", bounds=POSITIVE)

COLUMNS = ColumnSet(
    numbered(
        _column(name="ticker", dtype=pl.String(), unit="", rollup=FIRST, definition="as Yahoo writes it, e.g. ES=F"),
        _column(
            name="ts", dtype=pl.Datetime("us", "UTC"), unit="minute start", rollup=BAR_START,
            definition="UTC start of the minute; the row holds [ts, ts + 1 min)",
        ),
        _price(name="open", role="open", rollup=FIRST, definition="first price of the minute"),
        _price(name="high", role="high", rollup=HIGHEST, definition="highest price of the minute"),
        _price(name="low", role="low", rollup=LOWEST, definition="lowest price of the minute"),
        _price(name="close", role="close", rollup=LAST, definition="last price of the minute"),
        _column(
            name="volume", dtype=pl.Int64(), unit="shares or contracts", role="volume", bounds=NOT_NEGATIVE, rollup=SUM,
            definition="traded in the minute; 0 of currencies, which have none",
        ),
        _column(
            name="is_final", dtype=pl.Boolean(), unit="", rollup=ALL_TRUE,
            definition="the minute was over by the clock of Yahoo's own prices when it was asked for",
        ),
    )
)  # fmt: skip
