"""What the lake has of single trades and of quotes beside the klines of spot, hour by hour.

Belongs here: reading trades from archives that are in the lake and from what was heard, folding them to the klines that
they prove. Does not belong here: the fold itself (`transforms.trade_fold`), which source a second is taken from
(`folded_klines`), recording sockets (`lake_resources.collector`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

from lake_assets.inputs.stream_sources import reading_raw
from lake_assets.lake import Lake
from lake_assets.schema.column import LIVE
from lake_assets.source import Offer, Wanted
from lake_assets.transforms.quote_placing import QUOTES, Span
from lake_assets.transforms.trade_fold import (
    FILLS,
    LEAST_QTY,
    doubted_bars,
    fills_of_agg_trades,
    fills_of_trades,
    folded,
)
from lake_resources.binance.spot_streams import AGG_TRADES, TRADES
from lake_resources.binance.stream import Stream
from lake_resources.binance.wire_columns import KLINE_COLUMNS
from lake_resources.clock import HOUR
from lake_resources.spans import rows_within, within
from lake_resources.storage.provenance import SourceRef

AROUND = timedelta(minutes=10)
"""Trades this far beyond an hour may prove its first and last seconds, and tell the price before it."""
_FILES: tuple[tuple[Stream, Callable[[pl.DataFrame], pl.DataFrame]], ...] = (
    (TRADES, fills_of_trades),
    (AGG_TRADES, fills_of_agg_trades),
)


@dataclass(frozen=True)
class HeardSpot:
    """What sockets delivered of one symbol in a window.

    Attributes:
        fills: trades, columns `FILLS`, gaps healed from REST among them.
        quotes: book tickers, columns `QUOTES`, in the order in which they were received.
        connected: spans in which the socket of the quotes was up without a break.
        clock_offset: exchange's clock minus the local one, by which the quotes were placed; None without a quote.
    """

    fills: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=FILLS))
    quotes: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=QUOTES))
    connected: Sequence[Span] = ()
    clock_offset: timedelta | None = None


Hearing = Callable[[Lake, str, datetime, datetime], HeardSpot]
"""Reads what sockets delivered of a symbol in a window."""


@dataclass(frozen=True)
class SpotBeside:
    """What is known of some hours beside the klines that the exchange publishes.

    Attributes:
        klines: the fold, as wire klines of one second: every second that trades prove.
        doubted: bars with a trade that contradicts itself; they are no source, and are held against others.
        heard: what sockets delivered.
        refs: hours with quotes, with where they come from; kind `ws`.
    """

    klines: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=KLINE_COLUMNS))
    doubted: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=KLINE_COLUMNS))
    heard: HeardSpot = field(default_factory=HeardSpot)
    refs: Mapping[datetime, SourceRef] = field(default_factory=dict)
    title = "folded trades"

    def offers(self, wanted: Wanted) -> Iterator[Offer]:
        """Klines of the hours that trades prove, as a source of a stream of klines; they are in no file."""
        for hour in wanted.starts:
            rows = rows_within(self.klines, "open_time", hour, hour + HOUR)
            if not rows.is_empty():
                yield Offer((hour,), rows=rows)


NOTHING_BESIDE = SpotBeside()
"""Where a table has no use for single trades and quotes."""


def nothing_heard(lake: Lake, symbol: str, start: datetime, end: datetime) -> HeardSpot:
    """Where no collector was."""
    del lake, symbol, start, end
    return HeardSpot()


def read_beside(
    lake: Lake, symbol: str, hours: Sequence[datetime], step: timedelta, hearing: Hearing = nothing_heard
) -> SpotBeside:
    """Trades and quotes that the lake has for contiguous hours, the trades folded to bars.

    Args:
        lake: on a table of the spot market.
        symbol: whose.
        hours: starts of hours, in order.
        step: length of a bar.
        hearing: reads what sockets delivered.

    Raises:
        StorageError: an archive of trades does not read.
    """
    start, end = hours[0], hours[-1] + HOUR
    heard = hearing(lake, symbol, start - AROUND, end + AROUND)
    bars, doubted = [pl.DataFrame(schema=KLINE_COLUMNS)], [pl.DataFrame(schema=KLINE_COLUMNS)]
    for hour in hours:
        fills = _fills(lake, symbol, heard, hour - AROUND, hour + HOUR + AROUND)
        if not fills.is_empty():
            bars.append(rows_within(folded(fills, step), "open_time", hour, hour + HOUR))
            if fills.select((pl.col("qty") < LEAST_QTY).any()).item():
                doubted.append(rows_within(doubted_bars(fills, step), "open_time", hour, hour + HOUR))
    refs = {
        hour: SourceRef(LIVE, "ws", digest(rows), _clock(heard))
        for hour in hours
        if not (rows := rows_within(heard.quotes, "at", hour - AROUND, hour + HOUR)).is_empty()
    }
    return SpotBeside(pl.concat(bars), pl.concat(doubted), heard, refs)


def digest(rows: pl.DataFrame) -> str:
    """Identity of the values, whatever file they came in."""
    return hashlib.sha256(rows.write_csv().encode()).hexdigest()


def _fills(lake: Lake, symbol: str, heard: HeardSpot, start: datetime, end: datetime) -> pl.DataFrame:
    parts = [rows_within(heard.fills, "time", start, end)]
    for stream, as_fills in _FILES:
        rows = lake.ledger.archives_between(symbol, stream.name, start, end)
        paths = [path for path in lake.files.here_all([row.path for row in rows]) if path.is_file()]
        if paths:
            with reading_raw(paths):
                found = pl.scan_parquet(paths, glob=False)
                time = pl.col(stream.time_column)
                parts.append(as_fills(found.filter(within(time, start, end)).collect()))
    return pl.concat(parts)


def _clock(heard: HeardSpot) -> dict[str, float]:
    """The measured offset, which is stored with the hour: it says how the quotes were placed."""
    offset = heard.clock_offset
    return {} if offset is None else {"clock_offset_ms": offset / timedelta(milliseconds=1)}
