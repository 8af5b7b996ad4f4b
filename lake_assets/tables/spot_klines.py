"""Klines of the spot market: `spot/klines_<interval>`, one row per candle, one partition per day.

Belongs here: the tables, one for each interval. Does not belong here: their columns (`schema.spot_kline_columns`), the
formulas of their rows (`transforms.spot_seconds`).
"""

from __future__ import annotations

from datetime import timedelta

from lake_assets.schema.spot_kline_columns import kline_columns
from lake_assets.schema.stream_use import StreamUse
from lake_assets.schema.table import Table
from lake_assets.validation.outcome import BAR_CHECKS
from lake_resources.binance.market import SPOT
from lake_resources.binance.spot_streams import SPOT_STREAMS
from lake_resources.binance.stream import Stream
from lake_resources.binance.witness import Grid
from lake_resources.clock import DAY, HOUR
from lake_resources.layout import TableLayout

_SETTLE = timedelta(minutes=3)


def _table(stream: Stream, step: timedelta) -> Table:
    # An hour's answer is kept, and a candle that is longer than an hour is in none before it is over.
    settle = _SETTLE + max(step - HOUR, timedelta(0))
    return Table(
        layout=TableLayout(
            name=f"spot_{stream.name}",
            title=f"table of spot {stream.name.replace('_', ' ')}",
            market=SPOT.name,
            market_directory=SPOT.directory,
            directory=stream.name,
            grain=step,
            span="day",
            row_stream=stream.name,
            tiers=("month",),
            time_column="open_time",
        ),
        columns=kline_columns(stream.name).columns,
        streams=(StreamUse(stream=stream, required=True, silence="refused", settle=settle),),
        primary_key=("symbol", "open_time"),
        sort_order=("open_time",),
        builder="lake_assets.build.spot_rows:KLINE_ROWS",
        checks=BAR_CHECKS,
        export_mark=stream.name,
    )


SPOT_KLINES: dict[str, Table] = {
    stream.name.removeprefix("klines_"): _table(stream, stream.witness.step)
    for stream in SPOT_STREAMS.values()
    if stream.is_klines and isinstance(stream.witness, Grid) and stream.witness.step <= DAY
}
"""The tables by interval: 1s, 1m, 5m, 15m, 1h, 1d."""
