"""Rows of the spot tables from their sources: seconds with quotes, klines of any interval.

Belongs here: the builders of `tables.spot_bars_1s` and `tables.spot_klines`. Does not belong here: which source an hour
comes from (`inputs`), formulas (`transforms`).
"""

from __future__ import annotations

from functools import partial

import polars as pl

from lake_assets.build.builder import Builder, Inputs, Made
from lake_assets.schema.table import Table
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_assets.transforms.quote_placing import QUOTES, quotes_at_ends
from lake_assets.transforms.spot_seconds import candles, second_bars


def second_rows(inputs: Inputs) -> Made:
    """Rows of the table of seconds: those that a source has, with the quotes that stood at their ends."""
    table, klines = SPOT_BARS_1S, _wanted(SPOT_BARS_1S, inputs)
    placed = quotes_at_ends(klines["open_time"], table.layout.grain, pl.DataFrame(schema=QUOTES), [])
    rows = second_bars(inputs.symbol, klines, placed)
    return Made(rows.select(table.names).cast(table.polars_schema))


def kline_rows(table: Table, inputs: Inputs) -> Made:
    """Rows of a table of klines: the exchange's own."""
    return Made(candles(table, _wanted(table, inputs)).select(table.names).cast(table.polars_schema))


def _wanted(table: Table, inputs: Inputs) -> pl.DataFrame:
    """Wire klines of the partitions that are wanted; there may be others between them."""
    layout = table.layout
    rows = inputs.frame(table.row_stream)
    return rows.filter(pl.col("open_time").dt.truncate(layout.every).is_in(list(inputs.starts)))


SECOND_ROWS = Builder(second_rows)
"""How the table of seconds is made."""
KLINE_ROWS = {interval: Builder(partial(kline_rows, table)) for interval, table in SPOT_KLINES.items()}
"""How the tables of klines are made, by interval."""
