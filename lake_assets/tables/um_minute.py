"""The minute table of USD-M futures: `futures/um/minute`, one row per minute, one partition per hour.

Belongs here: what the table is made of. Does not belong here: its columns (`schema.minute_columns`), the formulas of
its rows (`transforms`).
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from lake_assets.schema.minute_columns import COLUMNS
from lake_assets.schema.stream_use import StreamUse
from lake_assets.schema.table import Table
from lake_assets.validation.outcome import CHECKS
from lake_resources.binance.market import UM
from lake_resources.binance.um_streams import (
    AGG_TRADES,
    BOOK_TICKER,
    FUNDING_RATE,
    INDEX_PRICE_KLINES_1M,
    KLINES_1M,
    MARK_PRICE_KLINES_1M,
    METRICS,
    PREMIUM_INDEX_KLINES_1M,
)
from lake_resources.layout import TableLayout

_rows = partial(StreamUse, required=True, silence="refused")

UM_MINUTE = Table(
    layout=TableLayout(
        name="um_minute",
        title="minute table",
        market=UM.name,
        market_directory=UM.directory,
        directory="minute",
        grain=timedelta(minutes=1),
        span="hour",
        row_stream=KLINES_1M.name,
        tiers=("day", "month"),
    ),
    columns=COLUMNS.columns,
    streams=(
        _rows(stream=KLINES_1M),
        _rows(stream=MARK_PRICE_KLINES_1M),
        _rows(stream=INDEX_PRICE_KLINES_1M),
        StreamUse(stream=PREMIUM_INDEX_KLINES_1M, silence="nothing"),
        # A busy day of them takes REST the better part of an hour.
        StreamUse(stream=AGG_TRADES, silence="lost", heard=True, hours_per_fetch=1),
        # 5 minutes until a value is known, then it is carried; REST shows a new row a few minutes late.
        StreamUse(
            stream=METRICS, silence="lost", look_back_hours=2, carried_after=timedelta(minutes=5),
            settle=timedelta(minutes=15), again_after=timedelta(minutes=5),
        ),
        StreamUse(
            stream=BOOK_TICKER, silence="nothing", heard=True, look_back_hours=1, carried_after=timedelta(0)
        ),
        # The last settlement may be 8 hours + 1 old, and its interval is the distance to the one before.
        StreamUse(
            stream=FUNDING_RATE, silence="lost", look_back_hours=18, settle=timedelta(minutes=15),
            again_after=timedelta(minutes=5),
        ),
    ),
    primary_key=("symbol", "timestamp"),
    sort_order=("timestamp",),
    builder="lake_assets.build.rows:MINUTE_ROWS",
    heard="lake_assets.live.heard_minutes:heard_minutes",
    checks=CHECKS,
)  # fmt: skip
