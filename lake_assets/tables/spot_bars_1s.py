"""Seconds of the spot market: `spot/bars_1s`, one row per known second, one partition per hour.

Belongs here: what the table is made of. Does not belong here: its columns (`schema.second_columns`), the formulas of
its rows (`transforms.spot_seconds`).
"""

from __future__ import annotations

from datetime import timedelta

from lake_assets.schema.second_columns import COLUMNS
from lake_assets.schema.stream_use import StreamUse
from lake_assets.schema.table import Table
from lake_assets.validation.outcome import BAR_CHECKS, FOLD_PARITY
from lake_resources.binance.market import SPOT
from lake_resources.binance.spot_streams import KLINES_1S
from lake_resources.layout import TableLayout

SPOT_BARS_1S = Table(
    layout=TableLayout(
        name="spot_bars_1s",
        title="table of spot seconds",
        market=SPOT.name,
        market_directory=SPOT.directory,
        directory="bars_1s",
        grain=timedelta(seconds=1),
        span="hour",
        row_stream=KLINES_1S.name,
        tiers=("day",),
        time_column="window_start",
    ),
    columns=COLUMNS.columns,
    streams=(StreamUse(stream=KLINES_1S, required=True, silence="refused"),),
    primary_key=("symbol", "window_start"),
    sort_order=("window_start",),
    builder="lake_assets.build.spot_rows:SECOND_ROWS",
    heard="lake_assets.live.heard_seconds:heard_seconds",
    checks=BAR_CHECKS | {FOLD_PARITY.name: FOLD_PARITY},
    # A second that is not known is no row: what is known beside it is not held back.
    sparse=True,
    export_mark="bars_1s",
)
