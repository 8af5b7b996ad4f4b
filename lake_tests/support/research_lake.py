"""A lake with some rows in every table that the research views read, and planted defects.

Belongs here: making it, and the instants of its defects. Does not belong here: any assertion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import polars as pl

from lake_assets.build.hours import build_partitions
from lake_assets.lake import CODE_VERSION, open_lake
from lake_assets.schema.macro_columns import YAHOO_STREAM
from lake_assets.schema.table import Table
from lake_assets.tables.macro_minute import MACRO_MINUTE
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_resources.binance.spot_streams import SPOT_STREAMS
from lake_resources.clock import DAY, HOUR, MINUTE, SECOND
from lake_resources.settings import LakeSettings
from lake_resources.storage.bars_duckdb import CHAIN_SCHEMA, DIFFERENCE_SCHEMA, ROW_SCHEMA, BarsTable
from lake_resources.storage.commit import PartitionCandidate, commit_partitions
from lake_resources.storage.provenance import SourceRef
from lake_resources.yahoo.tickers import ticker_name
from lake_tests.support.holed_lake import holed_lake
from lake_tests.support.sound_hours import FIRST, NOW
from lake_tests.support.spot_days import SYMBOL as SPOT
from lake_tests.support.spot_days import keep_archive, klines, trades
from lake_tests.support.stores import store_at

SECONDS_HOURS = 3
"""Hours of seconds that are committed; minutes of the exchange are there for the whole day."""
UNKNOWN = FIRST + HOUR + 100 * SECOND
"""Five seconds from here are in no archive."""
PRICES = {
    "EURUSD=X": 1.10, "USDJPY=X": 150.0, "GBPUSD=X": 1.25, "USDCAD=X": 1.35, "USDSEK=X": 10.5, "USDCHF=X": 0.90,
}  # fmt: skip
MACRO_MINUTES = 10
NO_KRONA = FIRST + 14 * HOUR + 3 * MINUTE
"""A minute without a price of USDSEK=X."""
FEED_ROWS = 5


def research_lake(root: Path) -> LakeSettings:
    """Two days of holed minutes, three hours of seconds, a day of klines, ten minutes of currencies, five 1H bars."""
    nobody = "http://127.0.0.1:9"
    settings = holed_lake(root).settings.model_copy(
        update={"rest_url": nobody, "spot_rest_url": nobody, "vision_url": nobody}
    )
    _spot(settings)
    for ticker, price in PRICES.items():
        _macro(root, ticker, price)
    hours = [FIRST.replace(tzinfo=None) + n * HOUR for n in range(FEED_ROWS)]
    values = {"timestamp": hours, "created_at": hours, **dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0)}
    with BarsTable(settings.resolved_feed_duckdb).writer() as writer:
        rows = pl.DataFrame(values, schema=ROW_SCHEMA)
        writer.append(rows, pl.DataFrame(schema=CHAIN_SCHEMA), pl.DataFrame(schema=DIFFERENCE_SCHEMA), seen_at=NOW)
    return settings


def _spot(settings: LakeSettings) -> None:
    lake = replace(open_lake(settings, clock=lambda: NOW), ask_rest=False).of(SPOT_BARS_1S)
    traded = trades(FIRST, DAY)
    seconds = klines(traded, FIRST, DAY, SECOND)
    unknown = pl.col("open_time").is_between(UNKNOWN, UNKNOWN + 5 * SECOND, closed="left")
    keep_archive(lake, SPOT_STREAMS["klines_1s"], FIRST, seconds.filter(~unknown))
    keep_archive(lake, SPOT_STREAMS["klines_1m"], FIRST, klines(traded, FIRST, DAY, MINUTE))
    wanted: tuple[tuple[Table, Sequence[datetime]], ...] = (
        (SPOT_BARS_1S, [FIRST + n * HOUR for n in range(SECONDS_HOURS)]),
        (SPOT_KLINES["1m"], [FIRST]),
    )
    for table, starts in wanted:
        for _ in build_partitions(lake.of(table), SPOT, list(starts), now=NOW, report=lambda _: None):
            pass
    lake.close()


def _macro(root: Path, ticker: str, price: float) -> None:
    """Minutes from 14:00 on, each a little dearer than the one before it; the last is not final."""
    starts = [FIRST + 14 * HOUR + n * MINUTE for n in range(MACRO_MINUTES)]
    rows = [
        (ticker, at, price + n / 1e4, price + n / 1e4 + 5e-4, price + n / 1e4 - 5e-4, price + n / 1e4 + 1e-4, 0,
         n < MACRO_MINUTES - 1)
        for n, at in enumerate(starts)
        if (ticker, at) != ("USDSEK=X", NO_KRONA)
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema=MACRO_MINUTE.polars_schema, orient="row")
    store = store_at(root, MACRO_MINUTE)
    candidate = PartitionCandidate(
        start=FIRST,
        frame=frame,
        metadata={"lake.table": MACRO_MINUTE.name},
        sources={YAHOO_STREAM: SourceRef(YAHOO_STREAM, "rest", f"said {ticker}")},
        complete=True,
        expected_rows=MACRO_MINUTES,
        inputs_hash=f"inputs {ticker}",
        schema_hash=MACRO_MINUTE.schema_hash,
        code_version=CODE_VERSION,
    )
    commit_partitions(store, ticker_name(ticker), [candidate], clock=lambda: NOW)
    store.close()
