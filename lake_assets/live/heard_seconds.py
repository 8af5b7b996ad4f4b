"""Seconds of the spot market from the collector's records alone: what stands in the table until it is built.

Belongs here: the seconds that records prove, with their quotes. Does not belong here: reading records
(`spot_records`), formulas (`transforms`), committed seconds (`build`).
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from lake_assets.live.closed_bars import LastTrade, closed_bars, heard_until
from lake_assets.live.live_tail import HeardWindow
from lake_assets.live.spot_records import spot_records
from lake_assets.transforms.quote_placing import QUOTES, quotes_at_ends
from lake_assets.transforms.spot_seconds import second_bars
from lake_assets.transforms.trade_fold import HeardSpan, folded
from lake_resources.spans import within

_AROUND = timedelta(minutes=10)
"""Trades this far before a window tell the price that a quiet second of it carries."""
_AFTER = timedelta(minutes=1)


def heard_seconds(window: HeardWindow) -> pl.DataFrame:
    """Seconds of the window that the ids of trades prove, with the quotes that stood at their ends.

    Returns:
        The columns of the table of seconds, sorted by time. A quiet second between two trades whose ids touch is a row;
        the second of the last trade, and quiet ones after it, are as soon as the exchange has closed their klines.
    """
    table = window.store.table
    grain = table.layout.grain
    found = spot_records(window.store.root, window.symbol, window.start - _AROUND, window.end + _AFTER)
    until = None
    if not found.fills.is_empty():
        newest = found.fills.row(int(found.fills["last_id"].arg_max() or 0), named=True)
        last = LastTrade(newest["time"], newest["first_id"], newest["last_id"])
        until = heard_until(last, closed_bars(found.closed), grain)
    klines = folded(found.fills, grain, HeardSpan(until=until))
    klines = klines.filter(within("open_time", window.start, window.end))
    quotes = quotes_at_ends(
        klines["open_time"], grain, found.quotes.select(list(QUOTES)), found.connected, window.quote_carry
    )
    rows = second_bars(window.symbol, klines, quotes)
    return rows.select(table.names).cast(table.polars_schema)
