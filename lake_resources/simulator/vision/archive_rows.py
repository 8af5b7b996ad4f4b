"""Rows of each Vision archive type, as printed columns.

Belongs here: columns, digits, labels and eras of the CSV files, built for a range of whole days.
Does not belong here: paths, publication, zips (vision.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import polars as pl

from lake_resources.simulator.market.bars import DAY_MS, Bars, interval_end_ms, roll_up
from lake_resources.simulator.market.decimals import text_column
from lake_resources.simulator.market.derive import (
    FUNDING_INTERVAL_MS,
    SLOW_STEP_MS,
    book_updates,
    long_short_ratio,
    settlements,
    snapshots,
    taker_ratio,
    taker_volumes,
)
from lake_resources.simulator.market.feed import HOUR_MS, SymbolFeed
from lake_resources.simulator.market.rng import Ints
from lake_resources.simulator.market.trades import HOUR_MINUTES, MINUTE_MS

START_LABELS_FROM_MS = int(datetime(2026, 6, 25, tzinfo=UTC).timestamp()) * 1000
"""Metrics rows carry the end of their 5 minutes before, the start from then on."""
TWELVE_BANDS_FROM_MS = int(datetime(2026, 1, 15, 7, tzinfo=UTC).timestamp()) * 1000
"""Book depth has ±0.20 % bands from within 2026-01-15 on; that day is mixed."""
_FEW_TRADES = 200_000
KLINE_COLUMNS = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count",
    "taker_buy_volume", "taker_buy_quote_volume", "ignore",
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Rows of one file: the printed columns and the time of each row, epoch ms, for row faults."""

    frame: pl.DataFrame
    time_ms: Ints


@dataclass(frozen=True)
class ArchiveType:
    """One directory of Vision.

    Attributes:
        name: directory, e.g. `aggTrades`.
        rows: builds the rows of [start, end) epoch ms; the third argument is the interval.
        cadences: `daily`, `monthly` or both.
        first, last: first and last day that can exist, `last` None while it goes on.
        header_from: first day whose file has a header; None means always.
        revised: column whose first value changes when a file is re-published.
        stamps: columns that a microsecond file multiplies by 1000.
        has_interval: whether the files lie in a directory of their interval.
        perpetuals_only: whether delivery contracts have no such files.
        microseconds_from: first day whose file has its stamps in microseconds; None where they are milliseconds.
        headerless: no file of it has a header.
    """

    name: str
    rows: Callable[[SymbolFeed, int, int, str], Table]
    cadences: tuple[str, ...]
    first: date
    last: date | None
    header_from: date | None
    revised: str
    stamps: tuple[str, ...] = ()
    has_interval: bool = False
    perpetuals_only: bool = False
    microseconds_from: date | None = None
    headerless: bool = False


def kline_table(feed: SymbolFeed, bars: Bars, interval: str, *, reference: bool = False, padded: bool = False) -> Table:
    """Rows of a kline file.

    Args:
        feed: the symbol.
        bars: what is printed.
        interval: of the bars.
        reference: they are of a price alone, with 8 decimals.
        padded: every number is printed with 8 decimals, as spot does.
    """
    spec = feed.spec
    digits = 8 if reference else spec.price_digits
    quantity, quote = (0, 8) if reference else (spec.quantity_digits, spec.quote_digits)

    def shown(values: Ints, decimals: int) -> pl.Series:
        return text_column(values, decimals, max(8 - decimals, 0) if padded else 0)

    if interval == "1M":  # the one whose bars have lengths of their own
        close_ms = np.array([interval_end_ms(int(at), interval) - 1 for at in bars.open_ms], np.int64)
    else:
        close_ms = bars.open_ms + (interval_end_ms(0, interval) - 1)
    columns = (
        pl.Series(bars.open_ms), shown(bars.open, digits), shown(bars.high, digits),
        shown(bars.low, digits), shown(bars.close, digits), shown(bars.volume, quantity),
        pl.Series(close_ms), shown(bars.quote, quote), pl.Series(bars.count),
        shown(bars.taker_volume, quantity), shown(bars.taker_quote, quote),
        pl.Series(np.zeros(len(bars), np.int64)),
    )  # fmt: skip
    return Table(pl.DataFrame(dict(zip(KLINE_COLUMNS, columns, strict=True))), bars.open_ms)


def _klines(feed: SymbolFeed, start_ms: int, end_ms: int, interval: str) -> Table:
    # One minute past the end, so that no minute of the range is still running.
    bars = feed.interval_bars(interval, start_ms // MINUTE_MS, end_ms // MINUTE_MS, end_ms + MINUTE_MS)
    return kline_table(feed, bars, interval)


def _reference(kind: str) -> Callable[[SymbolFeed, int, int, str], Table]:
    def rows(feed: SymbolFeed, start_ms: int, end_ms: int, interval: str) -> Table:
        bars = feed.reference_bars(kind, start_ms // MINUTE_MS, end_ms // MINUTE_MS, end_ms + MINUTE_MS)
        return kline_table(feed, roll_up(bars, interval), interval, reference=True)

    return rows


def by_hour(rows: Callable[[SymbolFeed, int, int], Table]) -> Callable[[SymbolFeed, int, int, str], Table]:
    """Rows built hour by hour where a day has millions of fills, so that it needs little memory at once."""

    def whole(feed: SymbolFeed, start_ms: int, end_ms: int, interval: str) -> Table:  # noqa: ARG001
        first, end = (at // MINUTE_MS for at in (start_ms, end_ms))
        if feed.market.agg_count(end) - feed.market.agg_count(first) < _FEW_TRADES:
            return rows(feed, start_ms, end_ms)
        parts = [rows(feed, at, min(at + HOUR_MS, end_ms)) for at in range(start_ms, end_ms, HOUR_MS)]
        return Table(pl.concat([part.frame for part in parts]), np.concatenate([part.time_ms for part in parts]))

    return whole


def _agg_trades(feed: SymbolFeed, start_ms: int, end_ms: int) -> Table:
    found = feed.trades(start_ms // MINUTE_MS, end_ms // MINUTE_MS)
    spec = feed.spec
    frame = pl.DataFrame(
        {
            "agg_trade_id": found.agg_id,
            "price": found.price / 10**spec.price_digits,
            "quantity": found.quantity / 10**spec.quantity_digits,
            "first_trade_id": found.first_id,
            "last_trade_id": found.last_id,
            "transact_time": found.agg_time,
            "is_buyer_maker": found.buyer_maker,
        }
    )
    return Table(frame, found.agg_time)


def _trades(feed: SymbolFeed, start_ms: int, end_ms: int) -> Table:
    # A fill may belong to an aggregate of the minute before.
    found = feed.trades(start_ms // MINUTE_MS - 1, end_ms // MINUTE_MS)
    first, end = (int(at) for at in np.searchsorted(found.fill_time, [start_ms, end_ms]))
    inside = slice(first, end)
    spec = feed.spec
    price, quantity = found.price[found.fill_agg[inside]], found.fill_quantity[inside]
    frame = pl.DataFrame(
        {
            "id": found.fill_id[inside],
            "price": price / 10**spec.price_digits,
            "qty": quantity / 10**spec.quantity_digits,
            "quote_qty": text_column(price * quantity, spec.quote_digits),
            "time": found.fill_time[inside],
            "is_buyer_maker": found.buyer_maker[found.fill_agg[inside]],
        }
    )
    return Table(frame, found.fill_time[inside])


def _book_ticker(feed: SymbolFeed, start_ms: int, end_ms: int, interval: str) -> Table:  # noqa: ARG001
    book = book_updates(feed, feed.trades(start_ms // MINUTE_MS - HOUR_MINUTES, end_ms // MINUTE_MS + HOUR_MINUTES))
    keep = (book.transaction_ms >= start_ms) & (book.transaction_ms < end_ms)
    price, quantity = feed.spec.price_digits, feed.spec.quantity_digits
    frame = pl.DataFrame(
        {
            "update_id": book.update_id[keep],
            "best_bid_price": text_column(book.bid[keep], price, 8 - price),
            "best_bid_qty": text_column(book.bid_quantity[keep], quantity, 8 - quantity),
            "best_ask_price": text_column(book.ask[keep], price, 8 - price),
            "best_ask_qty": text_column(book.ask_quantity[keep], quantity, 8 - quantity),
            "transaction_time": book.transaction_ms[keep],
            "event_time": book.event_ms[keep],
        }
    )
    return Table(frame, book.transaction_ms[keep])


def _book_depth(feed: SymbolFeed, start_ms: int, end_ms: int, interval: str) -> Table:  # noqa: ARG001
    first, end = feed.clip(start_ms // MINUTE_MS, end_ms // MINUTE_MS)
    slot = np.arange(first * 2, end * 2)
    at = slot * 30_000 + 1000 * feed.rng.below("depth time", slot, 20)
    twelve = at >= TWELVE_BANDS_FROM_MS
    bands = np.array([-5.0, -4.0, -3.0, -2.0, -1.0, -0.2, 0.2, 1.0, 2.0, 3.0, 4.0, 5.0])
    band = np.tile(bands, len(at))
    time = np.repeat(at, len(bands))
    keep = (np.abs(band) >= 1) | np.repeat(twelve, len(bands))
    wobble = 0.9 + 0.2 * feed.rng.uniform("depth", np.repeat(slot, len(bands)) * 16 + (band > 0))
    scale = feed.spec.open_interest / 25 * 10**feed.spec.quantity_digits
    size = np.round(scale * np.abs(band) ** 0.8 * wobble).astype(np.int64)
    mid = np.repeat(np.round(feed.market.mid(at) * 100).astype(np.int64), len(bands))
    # Half the band away from mid, on average, is where the liquidity of a band lies.
    notional = np.round(size / 10**feed.spec.quantity_digits * mid * (1 + band / 200)).astype(np.int64)
    era = np.repeat(twelve, len(bands))
    shown = np.where(era, np.char.mod("%.2f", band), np.char.mod("%d", band))
    stamp = pl.Series(time).cast(pl.Datetime("ms")).dt.strftime("%Y-%m-%d %H:%M:%S")
    frame = pl.DataFrame(
        {
            "timestamp": stamp,
            "percentage": pl.Series(shown.tolist(), dtype=pl.String),
            "depth": text_column(size, feed.spec.quantity_digits, 8 - feed.spec.quantity_digits),
            "notional": text_column(notional, 2, 6),
        }
    )
    return Table(frame.filter(pl.Series(keep)), time[keep])


def metrics_label(snapshot_ms: Ints) -> Ints:
    """`create_time` of the row that holds the snapshot taken at `snapshot_ms`: see `START_LABELS_FROM_MS`."""
    return np.where(snapshot_ms > START_LABELS_FROM_MS, snapshot_ms - SLOW_STEP_MS, snapshot_ms)


def _metrics(feed: SymbolFeed, start_ms: int, end_ms: int, interval: str) -> Table:  # noqa: ARG001
    # Both eras hold the snapshots 00:05 … 24:00 of their day; only what they are called changed.
    at = np.arange(start_ms + SLOW_STEP_MS, end_ms + 1, SLOW_STEP_MS)
    first, end = feed.clip(start_ms // MINUTE_MS, end_ms // MINUTE_MS)
    at = at[(at > first * MINUTE_MS) & (at <= end * MINUTE_MS)]
    found = snapshots(feed, at)
    label = metrics_label(at)
    taker = taker_ratio(*taker_volumes(feed, at - SLOW_STEP_MS))
    digits = feed.spec.quantity_digits
    frame = pl.DataFrame(
        {
            "create_time": pl.Series(label).cast(pl.Datetime("ms")).dt.strftime("%Y-%m-%d %H:%M:%S"),
            "symbol": pl.Series([feed.spec.symbol] * len(at), dtype=pl.String),
            "sum_open_interest": text_column(found.open_interest, digits, 16 - digits),
            "sum_open_interest_value": text_column(found.open_interest_value, 8, 8),
            "count_toptrader_long_short_ratio": text_column(long_short_ratio(found.top_accounts_long), 4, 4),
            "sum_toptrader_long_short_ratio": text_column(long_short_ratio(found.top_positions_long), 4, 4),
            "count_long_short_ratio": text_column(long_short_ratio(found.all_accounts_long), 4, 4),
            "sum_taker_long_short_vol_ratio": text_column(taker, 4, 4),
        }
    )
    return Table(frame, label)


def _funding(feed: SymbolFeed, start_ms: int, end_ms: int, interval: str) -> Table:  # noqa: ARG001
    found = settlements(feed, start_ms, end_ms)
    hours = np.full(len(found.time_ms), FUNDING_INTERVAL_MS // 3_600_000)
    frame = pl.DataFrame(
        {
            "calc_time": found.time_ms,
            "funding_interval_hours": hours,
            "last_funding_rate": text_column(found.rate, 8),
        }
    )
    return Table(frame, found.time_ms)


_BOTH = ("daily", "monthly")
# The newest known headerless kline day is 2022-05-06; aggTrades and trades follow about 2022-08-11.
_KLINE_HEADER = date(2022, 5, 7)
_TRADE_HEADER = date(2022, 8, 11)
_KLINE_STAMPS = ("open_time", "close_time")

TYPES = {
    each.name: each
    for each in (
        ArchiveType("klines", _klines, _BOTH, date(2019, 12, 31), None, _KLINE_HEADER, "volume", _KLINE_STAMPS, True),
        *(
            ArchiveType(
                f"{name}Klines", _reference(kind), _BOTH, date(2020, 1, 1), None, _KLINE_HEADER, "high",
                _KLINE_STAMPS, True,
            )
            for name, kind in (("markPrice", "mark"), ("indexPrice", "index"), ("premiumIndex", "premium"))
        ),
        ArchiveType(
            "aggTrades", by_hour(_agg_trades), _BOTH, date(2019, 12, 31), None, _TRADE_HEADER, "quantity",
            ("transact_time",),
        ),
        ArchiveType("trades", by_hour(_trades), _BOTH, date(2019, 12, 31), None, _TRADE_HEADER, "qty", ("time",)),
        ArchiveType(
            "bookTicker", _book_ticker, ("daily",), date(2023, 5, 16), date(2024, 3, 30), None, "best_bid_qty",
            ("transaction_time", "event_time"),
        ),
        ArchiveType("bookDepth", _book_depth, ("daily",), date(2023, 1, 1), None, None, "depth"),
        ArchiveType("metrics", _metrics, ("daily",), date(2020, 9, 1), None, None, "sum_open_interest"),
        ArchiveType(
            "fundingRate", _funding, ("monthly",), date(2020, 1, 1), None, None, "last_funding_rate", ("calc_time",),
            perpetuals_only=True,
        ),
    )
}  # fmt: skip


def day_start_ms(day: date) -> int:
    """Epoch ms of a UTC day's beginning."""
    return (day - date(1970, 1, 1)).days * DAY_MS
