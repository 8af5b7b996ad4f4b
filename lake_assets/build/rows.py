"""Rows of the minute table from the sources of a day: every file is read once for all hours.

Belongs here: reading each stream with its look-back, aggregating ticks in bounded memory, calling `assemble`.
Does not belong here: which file is read (`sources`), formulas (`transforms`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import polars as pl

from lake_assets.build.builder import Builder, Inputs, Made
from lake_assets.build.reconcile import Compared, reconcile
from lake_assets.inputs.stream_sources import Span, StreamSources, read_raw
from lake_assets.inputs.trade_tallies import minutes_kept
from lake_assets.lake import Lake
from lake_assets.live.row_files import LiveHours
from lake_assets.transforms.assemble import BARS, COVERAGE_SCHEMA, MinuteInputs, assemble, without_lost_trades
from lake_assets.transforms.book import book_features
from lake_assets.transforms.chunks import features_in_one_pass
from lake_assets.transforms.trade_columns import TRADE_FEATURES, TRADE_MINUTES
from lake_assets.transforms.trades import (
    bars_of,
    trade_features,
    trade_minutes,
    unlike_bars,
)
from lake_assets.validation.outcome import CheckOutcome
from lake_assets.validation.parity import with_unlike_bars
from lake_resources.binance.um_streams import AGG_TRADES, BOOK_TICKER, FUNDING_RATE, KLINES_1M, METRICS
from lake_resources.clock import HOUR, MINUTE
from lake_resources.spans import within

_NO_BARS = bars_of(pl.DataFrame(schema=TRADE_MINUTES))


@dataclass(frozen=True)
class MinutesRead:
    """What the rows of the minute table are made of, read from its sources.

    Attributes:
        streams: all of it, for `assemble`; its trades are columns `TRADE_FEATURES`.
        bars: what the trades add up to, columns `TRADE_BARS`.
        lost: half-open spans of minutes of which no source has every trade.
    """

    streams: MinuteInputs
    bars: pl.DataFrame
    lost: Sequence[Span]


def build_rows(inputs: Inputs) -> Made:
    """Rows of the minute table, and `klines` (of `klines_1m`), `trades` (`TRADE_FEATURES`), `bars` (`bars_of`)."""
    read = read_minutes(inputs)
    frame = assemble(read.streams, max_ffill_minutes=inputs.max_ffill_minutes)
    frame = without_lost_trades(frame, [(first, end - MINUTE) for first, end in read.lost])
    # The gate must not see rows of hours that nobody asked for.
    wanted = frame.filter(pl.col("timestamp").dt.truncate("1h").is_in(list(inputs.starts)))
    assert read.streams.trades is not None
    return Made(wanted, {"klines": read.streams.klines, "trades": read.streams.trades, "bars": read.bars})


def read_minutes(inputs: Inputs) -> MinutesRead:
    """Read each stream with its look-back; ticks are made to features of minutes on the way."""
    sources, hours, live = inputs.sources, inputs.starts, inputs.live
    start, end = inputs.start, inputs.end

    klines = sources[KLINES_1M.name].reaching(start, end)
    # Hours that only the collector has are in no file; it says itself which of their minutes it has.
    filed = [hour for hour in hours if sources[AGG_TRADES.name].ref(hour).kind not in ("none", "ws")]
    read = _trade_minutes(sources[AGG_TRADES.name], start, end)
    bars = bars_of(read) if read.width > 1 else _NO_BARS
    trades = read.select(list(TRADE_FEATURES)) if read.width > 1 else read
    heard = live.trades.filter(~pl.col("timestamp").dt.truncate("1h").is_in(filed)) if filed else live.trades
    trades = pl.concat([trades, heard]).sort("timestamp") if trades.width > 1 else heard
    trades = _by_minute(trades, sources[AGG_TRADES.name], hours, live)
    book_start = start - sources[BOOK_TICKER.name].use.look_back_hours * HOUR
    book = features_in_one_pass(
        partial(sources[BOOK_TICKER.name].batches, book_start, end), book_features, "transaction_time"
    )
    streams = MinuteInputs(
        start=start,
        end=end,
        klines=klines,
        bars={name: sources[name].reaching(start, end) for name in BARS},
        trades=trades,
        book=book if book.width > 1 else None,
        metrics=sources[METRICS.name].reaching(start, end),
        funding=sources[FUNDING_RATE.name].reaching(start, end),
        coverage=pl.DataFrame(
            {
                "hour": list(hours),
                "trades_filed": [hour in filed for hour in hours],
                "book_filed": [sources[BOOK_TICKER.name].covered(hour) for hour in hours],
            },
            schema=COVERAGE_SCHEMA,
        ),
        live=live.live,
    )
    return MinutesRead(streams, bars, sources[AGG_TRADES.name].losses(hours))


def _trade_minutes(sources: StreamSources, start: datetime, end: datetime) -> pl.DataFrame:
    """`trade_minutes` of what the hours are read from; of a single file that was just typed they are known."""
    paths = {path for hour, source in sources.by_hour.items() if start <= hour < end for path in source.paths}
    known = minutes_kept(paths.pop()) if len(paths) == 1 else None
    if known is not None:
        return known.filter(within("timestamp", start, end))
    return features_in_one_pass(partial(sources.batches, start, end), trade_minutes, "transact_time")


def _by_minute(
    trades: pl.DataFrame, sources: StreamSources, hours: Sequence[datetime], live: LiveHours
) -> pl.DataFrame:
    """Features, of hours that are put together from several sources each minute from the one it is taken from.

    Args:
        trades: `trade_features` as the first source of each hour gives them.
        sources: of aggTrades.
        hours: starts of the hours that are wanted.
        live: what the collector has for them.
    """
    hour_of = pl.col("timestamp").dt.truncate("1h")
    mixed = {hour: sources.takes[hour] for hour in hours if hour in sources.takes}
    lost = pl.Series(
        "timestamp", [each for hour in hours for each in sources.lost_minutes(hour)], trades.schema["timestamp"]
    )
    if not mixed:
        return trades.filter(~pl.col("timestamp").is_in(lost.implode())) if lost.len() else trades
    parts = [trades.filter(~hour_of.is_in(list(mixed)))]
    for hour, takes in mixed.items():
        for index, take in enumerate(takes):
            if take.path is None:
                rows = live.trades
            elif index == 0:
                rows = trades.filter(hour_of == hour)
            else:
                wire = read_raw(take.path, sources.use.stream, hour, hour + HOUR)
                rows = trade_features(wire)
            parts.append(rows.filter(pl.col("timestamp").is_in(list(take.minutes))))
    return pl.concat(parts).filter(~pl.col("timestamp").is_in(lost.implode())).sort("timestamp")


def _compare(
    lake: Lake, symbol: str, inputs: Inputs, made: Made, compared: Compared
) -> dict[datetime, list[CheckOutcome]]:
    trades, klines = made.beside["trades"], made.beside["klines"]
    found = reconcile(lake, symbol, inputs.sources, compared, trades, klines, inputs.live)
    unlike = unlike_bars(klines, made.beside["bars"])
    return {hour: [with_unlike_bars(each, unlike, hour) for each in outcomes] for hour, outcomes in found.items()}


MINUTE_ROWS = Builder(build_rows, _compare, collected=True, in_lanes=True)
"""How the minute table is made; its declaration names it."""
