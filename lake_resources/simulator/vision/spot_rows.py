"""Rows of the spot archives: the columns that spot has, printed as spot prints them.

Belongs here: what differs from the files of futures. Does not belong here: those (`archive_rows`), paths and zips
(`vision_routes`). No file has a header, numbers have 8 decimals, a flag is `True` or `False`, and since 2025 stamps are
microseconds.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from lake_resources.simulator.market.decimals import text_column
from lake_resources.simulator.market.feed import SymbolFeed
from lake_resources.simulator.market.rng import Ints
from lake_resources.simulator.market.trades import MINUTE_MS, Mask
from lake_resources.simulator.vision.archive_rows import ArchiveType, Table, by_hour, kline_table

_DECIMALS = 8
_FIRST = date(2017, 8, 17)
_MICROSECONDS_FROM = date(2025, 1, 1)


def _shown(values: Ints, digits: int) -> pl.Series:
    return text_column(values, digits, max(_DECIMALS - digits, 0))


def _flag(values: Mask) -> pl.Series:
    return pl.Series(np.where(values, "True", "False").tolist(), dtype=pl.String)


def _klines(feed: SymbolFeed, start_ms: int, end_ms: int, interval: str) -> Table:
    # One minute past the end, so that no bar of the range is still running.
    bars = feed.interval_bars(interval, start_ms // MINUTE_MS, end_ms // MINUTE_MS, end_ms + MINUTE_MS)
    return kline_table(feed, bars, interval, padded=True)


def _agg_trades(feed: SymbolFeed, start_ms: int, end_ms: int) -> Table:
    found, spec = feed.trades(start_ms // MINUTE_MS, end_ms // MINUTE_MS), feed.spec
    frame = pl.DataFrame(
        {
            "agg_trade_id": found.agg_id,
            "price": _shown(found.price, spec.price_digits),
            "quantity": _shown(found.quantity, spec.quantity_digits),
            "first_trade_id": found.first_id,
            "last_trade_id": found.last_id,
            "transact_time": found.agg_time,
            "is_buyer_maker": _flag(found.buyer_maker),
            "is_best_match": _flag(np.ones(len(found.agg_id), bool)),
        }
    )
    return Table(frame, found.agg_time)


def _trades(feed: SymbolFeed, start_ms: int, end_ms: int) -> Table:
    found, spec = feed.trades(start_ms // MINUTE_MS, end_ms // MINUTE_MS), feed.spec
    price = found.price[found.fill_agg]
    frame = pl.DataFrame(
        {
            "id": found.fill_id,
            "price": _shown(price, spec.price_digits),
            "qty": _shown(found.fill_quantity, spec.quantity_digits),
            "quote_qty": _shown(price * found.fill_quantity, spec.quote_digits),
            "time": found.fill_time,
            "is_buyer_maker": _flag(found.buyer_maker[found.fill_agg]),
            "is_best_match": _flag(np.ones(len(found.fill_id), bool)),
        }
    )
    return Table(frame, found.fill_time)


_BOTH = ("daily", "monthly")
SPOT_TYPES = {
    each.name: each
    for each in (
        ArchiveType(
            "klines", _klines, _BOTH, _FIRST, None, None, "volume", ("open_time", "close_time"), has_interval=True,
            microseconds_from=_MICROSECONDS_FROM, headerless=True,
        ),
        ArchiveType(
            "aggTrades", by_hour(_agg_trades), _BOTH, _FIRST, None, None, "quantity", ("transact_time",),
            microseconds_from=_MICROSECONDS_FROM, headerless=True,
        ),
        ArchiveType(
            "trades", by_hour(_trades), _BOTH, _FIRST, None, None, "qty", ("time",),
            microseconds_from=_MICROSECONDS_FROM, headerless=True,
        ),
    )
}  # fmt: skip
