"""Rows of the spot tables from their sources: seconds with quotes, klines of any interval.

Belongs here: the builders of `tables.spot_bars_1s` and `tables.spot_klines`. Does not belong here: which source an hour
comes from (`inputs`), formulas (`transforms`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import partial

import polars as pl

from lake_assets.build.builder import Builder, Inputs, Made
from lake_assets.build.reconcile import Compared, compare_sources
from lake_assets.inputs.spot_trades import HeardSpot, read_beside
from lake_assets.lake import Lake
from lake_assets.live.spot_records import spot_records
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.transforms.quote_placing import QUOTES, quotes_at_ends
from lake_assets.transforms.spot_seconds import candles, second_bars
from lake_assets.validation.outcome import CheckOutcome
from lake_assets.validation.parity import compare_stream, fold_parity
from lake_resources.binance.spot_streams import KLINES_1S


def second_rows(inputs: Inputs) -> Made:
    """Rows of the table of seconds: those that a source has, with the quotes that stood at their ends."""
    table, klines = inputs.table, _wanted(inputs)
    heard = inputs.beside.heard
    placed = quotes_at_ends(klines["open_time"], table.layout.grain, heard.quotes, heard.connected, inputs.quote_carry)
    rows = second_bars(inputs.symbol, klines, placed)
    return Made(rows.select(table.names).cast(table.polars_schema))


def compare_seconds(
    lake: Lake, symbol: str, inputs: Inputs, made: Made, compared: Compared
) -> dict[datetime, list[CheckOutcome]]:
    """Coverage and archive parity of each hour, and the fold of trades against the exchange's klines."""
    del made
    found = compare_sources(lake, symbol, inputs.sources, compared)
    fold = pl.concat([inputs.beside.klines, inputs.beside.doubted]).sort("open_time")
    if fold.is_empty():
        return found
    stream = KLINES_1S
    published = replace(inputs.sources[stream.name], made=None).frame(inputs.start, inputs.end)
    # Files stamped in microseconds end a second at .999999, REST and the fold at .999.
    official = published.with_columns(close_time=pl.col("close_time").dt.truncate("1ms"))
    told = official.join(fold, on="open_time", how="semi", maintain_order="left")
    made_of_trades = fold.join(official, on="open_time", how="semi", maintain_order="left")
    for window in compared.windows:
        end = window.start + lake.store.layout.step
        outcome = fold_parity(compare_stream(stream, told, made_of_trades, window.start, end))
        if outcome is not None:
            found[window.start].append(outcome)
    return found


def kline_rows(inputs: Inputs) -> Made:
    """Rows of a table of klines: the exchange's own."""
    table = inputs.table
    return Made(candles(table, _wanted(inputs)).select(table.names).cast(table.polars_schema))


def _wanted(inputs: Inputs) -> pl.DataFrame:
    """Wire klines of the partitions that are wanted; there may be others between them."""
    rows = inputs.frame(inputs.table.row_stream)
    return rows.filter(pl.col("open_time").dt.truncate(inputs.table.layout.every).is_in(list(inputs.starts)))


def heard_spot(lake: Lake, symbol: str, start: datetime, end: datetime) -> HeardSpot:
    """What the collector's records hold of a symbol in a window."""
    records = spot_records(lake.store.root, symbol, start, end)
    return HeardSpot(records.fills, records.quotes.select(list(QUOTES)), records.connected, records.clock_offset)


SECOND_ROWS = Builder(
    second_rows, compare_seconds, beside=partial(read_beside, step=SPOT_BARS_1S.layout.grain, hearing=heard_spot)
)
"""How the table of seconds is made."""
KLINE_ROWS = Builder(kline_rows)
"""How the tables of klines are made."""
