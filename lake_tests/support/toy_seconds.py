"""A second table, declared in the tests alone: spot seconds in partitions of a day, made by one function.

It is what the page `docs/extending.md` says a table takes: a declaration, a builder, a line for its asset.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import polars as pl

from lake_assets.assets.table_asset import TableAsset
from lake_assets.build.builder import Builder, Inputs, Made
from lake_assets.lake import Lake
from lake_assets.schema.column import NOT_NEGATIVE, POSITIVE, Column
from lake_assets.schema.column_set import numbered
from lake_assets.schema.rolling import BAR_START, FIRST, HIGHEST, LAST, LOWEST, NOT_DERIVABLE, SUM
from lake_assets.schema.stream_use import StreamUse
from lake_assets.schema.table import Table
from lake_assets.validation.outcome import BAR_CHECKS
from lake_resources.binance.market import SPOT
from lake_resources.binance.spot_streams import KLINES_1S
from lake_resources.clock import SECOND
from lake_resources.layout import TableLayout
from lake_resources.storage.ledger.ledger import Archive
from lake_resources.storage.parquet import stage

SYMBOL = "BTCUSDT"

_column = partial(Column, stream=KLINES_1S.name, sources=("klines",) * 3, quiet="always", fill_policy="no nulls")
_price = partial(_column, dtype=pl.Float64(), unit="USDT", support_class="HARD_REQUIRED", bounds=POSITIVE)

TOY = Table(
    layout=TableLayout(
        name="toy_seconds",
        title="table of toy seconds",
        market=SPOT.name,
        market_directory=SPOT.directory,
        directory="toy_seconds",
        grain=SECOND,
        span="day",
        row_stream=KLINES_1S.name,
        tiers=("month",),
    ),
    columns=numbered(
        _column(
            name="timestamp", wire="open_time", dtype=pl.Datetime("us", "UTC"), unit="second start",
            support_class="HARD_REQUIRED", definition="UTC start of the second", rollup=BAR_START,
        ),
        _price(name="open", wire="open", role="open", definition="first price", rollup=FIRST),
        _price(name="high", wire="high", role="high", definition="highest price", rollup=HIGHEST),
        _price(name="low", wire="low", role="low", definition="lowest price", rollup=LOWEST),
        _price(name="close", wire="close", role="close", definition="last price", rollup=LAST),
        _column(
            name="volume", wire="volume", dtype=pl.Float64(), unit="base asset", support_class="HARD_REQUIRED",
            bounds=NOT_NEGATIVE, role="volume", definition="base volume", rollup=SUM,
        ),
        _column(
            name="swing", dtype=pl.Float64(), unit="USDT", support_class="BACKFILL_AVAILABLE", quiet="computed",
            bounds=NOT_NEGATIVE, definition="high - low", rollup=NOT_DERIVABLE,
        ),
    ),
    streams=(StreamUse(stream=KLINES_1S, required=True, silence="refused"),),
    primary_key=("symbol", "timestamp"),
    sort_order=("timestamp",),
    builder="lake_tests.support.toy_seconds:TOY_ROWS",
    checks=BAR_CHECKS,
    export_mark="toy",
)  # fmt: skip


def toy_rows(inputs: Inputs) -> Made:
    """Rows of the toy table from its klines."""
    rows = inputs.frame(KLINES_1S.name).select(
        pl.col(wire).alias(name) for name, wire in TOY.verbatim(KLINES_1S.name).items()
    )
    rows = rows.filter(pl.col("timestamp").dt.truncate("1d").is_in(list(inputs.starts)))
    return Made(rows.with_columns(swing=pl.col("high") - pl.col("low")).select(TOY.names).cast(TOY.polars_schema))


TOY_ROWS = Builder(toy_rows)

TOY_ASSET = TableAsset(TOY, "Seconds of {symbol}.")


def klines(day: datetime, missing: Sequence[int] = ()) -> pl.DataFrame:
    """A day of one-second klines as the exchange publishes them, without some seconds."""
    number = pl.int_range(0, 86_400, eager=True)
    price, traded = 100.0 + number % 60 / 10, number % 6 + 1  # a second without trades has no high above its low
    frame = pl.DataFrame(
        {
            "open_time": pl.datetime_range(day, day + timedelta(days=1), "1s", closed="left", eager=True),
            "open": price,
            "high": price + 0.5,
            "low": price - 0.5,
            "close": price + 0.25,
            "volume": traded.cast(pl.Float64),
            "quote_volume": traded * price,
            "count": traded,
        }
    )
    others = {name: dtype for name, dtype in KLINES_1S.columns.items() if name not in frame.columns}
    filled = [pl.lit(0).cast(dtype).alias(name) for name, dtype in others.items()]
    whole = frame.with_columns(filled).select(list(KLINES_1S.columns)).cast(pl.Schema(KLINES_1S.columns))
    return whole.filter(~number.is_in(list(missing)))


def keep_archive(lake: Lake, day: datetime, missing: Sequence[int] = ()) -> Path:
    """Have the lake hold the archive of a day of seconds, as if it had been fetched."""
    rows = klines(day, missing)
    file = stage(rows, lake.catalog.temp_dir, {"lake.stream": KLINES_1S.name})
    period, sha256 = day.date().isoformat(), f"{day:%d}" * 32
    path = lake.catalog.archive_path(KLINES_1S.name, SYMBOL, period, sha256)
    lake.ledger.record_archive(
        Archive(
            symbol=SYMBOL,
            stream=KLINES_1S.name,
            period=period,
            sha256=sha256,
            url="https://data.example/seconds.zip",
            path=lake.catalog.relative(path),
            row_count=rows.height,
            min_ts=rows["open_time"].min(),
            max_ts=rows["open_time"].max(),
            content_hash=file.content_hash,
            size_bytes=1,
            checksum_verdict="verified",
            fetched_at=lake.clock(),
        )
    )
    file.publish(path)
    return path
