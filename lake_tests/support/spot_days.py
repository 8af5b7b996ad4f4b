"""Days of a spot market for tests: seeded trades, the klines that they make, and a lake that holds their archives."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from lake_assets.lake import Lake
from lake_assets.transforms.trade_fold import HeardSpan, fills_of_trades, folded
from lake_resources.binance.stream import Stream
from lake_resources.binance.wire_columns import TRADE_COLUMNS
from lake_resources.storage.ledger.ledger import Archive
from lake_resources.storage.parquet import stage

SYMBOL = "SOLUSDT"


def trades(start: datetime, length: timedelta, *, count: int = 4_000, seed: int = 7) -> pl.DataFrame:
    """A wire frame of `trades` of a window: prices of 2 decimals, quantities of 3, many seconds without any."""
    dice = np.random.default_rng(seed)
    span_ms = length // timedelta(milliseconds=1)
    ms = np.sort(dice.integers(0, span_ms, count))
    ms[0], ms[-1] = 0, span_ms - 1
    price = 15_000 + np.cumsum(dice.integers(-3, 4, count))
    qty = dice.integers(1, 5_000, count)
    return (
        pl.DataFrame(
            {
                "id": np.arange(1, count + 1),
                "price": price / 100,
                "qty": qty / 1000,
                "quote_qty": price * qty / 100_000,
                "time": pl.Series(ms, dtype=pl.Int64),
                "is_buyer_maker": dice.integers(0, 2, count).astype(bool),
            }
        )
        .with_columns(time=pl.lit(start) + pl.duration(milliseconds="time"))
        .cast(pl.Schema(TRADE_COLUMNS))
    )


def klines(of: pl.DataFrame, start: datetime, length: timedelta, step: timedelta) -> pl.DataFrame:
    """The klines that the exchange publishes of these trades: each bar of the window."""
    return folded(fills_of_trades(of), step, HeardSpan(start, start + length))


def keep_archive(lake: Lake, stream: Stream, day: datetime, rows: pl.DataFrame, symbol: str = SYMBOL) -> Path:
    """Have the lake, which is on a table of the stream's market, hold a day's archive as if it had been fetched."""
    file = stage(rows, lake.catalog.temp_dir, {"lake.stream": stream.name})
    period = day.date().isoformat()
    sha256 = hashlib.sha256(f"{stream.name} {period} {file.content_hash}".encode()).hexdigest()
    path = lake.catalog.archive_path(stream.name, symbol, period, sha256)
    lake.ledger.record_archive(
        Archive(
            symbol=symbol,
            stream=stream.name,
            period=period,
            sha256=sha256,
            url=f"https://data.example/{stream.name}-{period}.zip",
            path=lake.catalog.relative(path),
            row_count=rows.height,
            min_ts=rows[stream.time_column].min(),
            max_ts=rows[stream.time_column].max(),
            content_hash=file.content_hash,
            size_bytes=1,
            checksum_verdict="verified",
            fetched_at=lake.clock(),
        )
    )
    file.publish(path)
    return path
