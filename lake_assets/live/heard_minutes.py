"""Minutes of USD-M futures from the collector's records alone: what stands in the table until the exchange is asked.

Belongs here: which minutes are proven whole, and their columns as far as sockets tell them. Does not belong here:
formulas (`transforms`), the rows that the collector itself keeps (`folding`), committed minutes (`build`).
Prices and volumes are those of the aggTrades: the exchange's kline differs where a trade straddles an edge. Mark and
index prices of the end are the last that were heard; those of the start are NULL, for nobody heard them there. So is
what only REST tells: premium index, open interest, ratios, settled funding.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import orjson
import polars as pl

from lake_assets.live.closed_bars import LastTrade, closed_bars, heard_until
from lake_assets.live.frame_columns import columns_of_frames
from lake_assets.live.live_tail import HeardWindow
from lake_assets.live.row_files import LiveRows
from lake_assets.schema.minute_columns import COLUMNS
from lake_assets.transforms.assemble import COVERAGE_SCHEMA, MinuteInputs, assemble
from lake_assets.transforms.distinct import distinct_rows
from lake_assets.transforms.live.live_fold import LOOK_AROUND_MINUTES, fold_records
from lake_assets.transforms.live.live_rows import LIVE_ROWS, live_input
from lake_assets.transforms.trade_fold import FILLS, HeardSpan, folded
from lake_assets.transforms.trades import trade_features
from lake_resources.binance.um_streams import INDEX_PRICE_KLINES_1M, MARK_PRICE_KLINES_1M
from lake_resources.binance.wire_columns import AGG_TRADE_COLUMNS, UTC_US
from lake_resources.binance.ws.frames import AGG_TRADE, HEALED, KLINE, MARK_PRICE
from lake_resources.clock import MINUTE, MINUTE_MS, epoch_ms
from lake_resources.collector.segments import RecordColumns, read_columns, read_records
from lake_resources.spans import within

_BEFORE = (MINUTE, 10 * MINUTE)
"""So far before a window a trade is looked for, which proves that its first minute is whole and tells the price that a
quiet one carries: first where there nearly always is one."""
_KINDS = frozenset((AGG_TRADE, HEALED, KLINE, MARK_PRICE))
_TRADE_FIELDS: dict[str, pl.DataType] = {
    "a": pl.Int64(), "p": pl.String(), "q": pl.String(), "f": pl.Int64(), "l": pl.Int64(), "T": pl.Int64(),
    "m": pl.Boolean(),
}  # fmt: skip
_MARK_FIELDS: dict[str, pl.DataType] = {"E": pl.Int64(), "p": pl.String(), "i": pl.String()}
_UNFINISHED = pl.any_horizontal(
    (pl.col(frames) > 0) & ~pl.col(alive)
    for frames, alive in (
        ("mark_price_frames", "market_alive"),
        ("depth_frames", "public_alive"),
        ("book_ticker_frames", "book_ticker_alive"),
    )
)
"""Rows of minutes in which a socket was heard that is not shown alive to the end."""
_MARKS = {MARK_PRICE_KLINES_1M.name: "p", INDEX_PRICE_KLINES_1M.name: "i"}
"""Streams of bars by the field of a mark price frame that tells their price."""


def heard_minutes(window: HeardWindow) -> pl.DataFrame:
    """Minutes of the window whose trades are proven whole by their ids, with every column that the sockets told.

    Returns:
        The columns of the minute table, sorted by `timestamp` (UTC). A minute with a gap of ids has no row, nor has one
        after which no trade was heard yet, for another trade of it may be on its way; unless the kline that the
        exchange closed names the last trade that was heard as its last one. The newest minute waits for the frames
        that show its sockets alive to its end, or until the collector closes it without: else it would lack columns
        that stand a moment later.
    """
    segments = window.store.catalog.live_records_dir
    for before in _BEFORE:
        found = read_columns(
            segments, window.symbol, _epoch_minute(window.start - before), _epoch_minute(window.end + MINUTE), _KINDS
        )
        trades = distinct_rows(_trades(found[AGG_TRADE], found[HEALED]), "agg_trade_id")
        if not trades.filter(pl.col("transact_time") < window.start).is_empty():
            break
    last = _last_trade(trades)
    until = None if last is None else heard_until(last, closed_bars(found[KLINE].payload), MINUTE)
    klines = _bars(trades, HeardSpan(until=until)).filter(within("open_time", window.start, window.end))
    if klines.is_empty():
        return pl.DataFrame(schema=COLUMNS.polars_schema)
    rows, folded_now = _live_rows(segments, window, klines["open_time"])
    newest = pl.col("timestamp") == window.end - MINUTE
    klines = klines.filter(~pl.col("open_time").is_in(folded_now.filter(newest & _UNFINISHED)["timestamp"].implode()))
    minutes = klines.select(timestamp="open_time", has_agg_trades=pl.lit(value=True))
    carrying = rows.select("timestamp", has_agg_trades=pl.lit(value=False)).join(minutes, on="timestamp", how="anti")
    inside = pl.col("transact_time").dt.truncate("1m").is_in(minutes["timestamp"].implode())
    alive = rows.filter("market_alive").select("timestamp")
    return assemble(
        MinuteInputs(
            start=window.start,
            end=window.end,
            klines=klines,
            bars={stream: _marks(found[MARK_PRICE], field, alive) for stream, field in _MARKS.items()},
            trades=trade_features(trades.filter(inside)),
            book=None,
            metrics=None,
            funding=None,
            coverage=pl.DataFrame(schema=COVERAGE_SCHEMA),
            live=live_input(rows, pl.concat([minutes, carrying])),
        ),
        max_ffill_minutes=window.max_ffill_minutes,
    )


def _trades(heard: RecordColumns, healed: RecordColumns) -> pl.DataFrame:
    """A wire frame of aggTrades, in no order and with repetitions."""
    fetched = [row for payload in healed.payload for row in orjson.loads(payload)]
    told = [columns_of_frames(heard.payload, _TRADE_FIELDS), pl.DataFrame(fetched, schema=_TRADE_FIELDS)]
    return (
        pl.concat(told)
        .drop_nulls()
        .select(
            agg_trade_id="a",
            price=pl.col("p").cast(pl.Float64),
            quantity=pl.col("q").cast(pl.Float64),
            first_trade_id="f",
            last_trade_id="l",
            transact_time=(pl.col("T") * 1000).cast(UTC_US),
            is_buyer_maker="m",
        )
        .cast(pl.Schema(AGG_TRADE_COLUMNS))
    )


def _last_trade(trades: pl.DataFrame) -> LastTrade | None:
    if trades.is_empty():
        return None
    row = trades.row(int(trades["agg_trade_id"].arg_max() or 0), named=True)
    return LastTrade(row["transact_time"], row["first_trade_id"], row["last_trade_id"])


def _bars(trades: pl.DataFrame, heard: HeardSpan) -> pl.DataFrame:
    """Klines of the minutes whose aggTrades are proven whole; `count` is that of single trades, as Binance's."""
    fills = trades.select(
        first_id="agg_trade_id", last_id="agg_trade_id", time="transact_time", price="price", qty="quantity",
        is_buyer_maker="is_buyer_maker",
    ).cast(pl.Schema(FILLS))  # fmt: skip
    single = trades.group_by(open_time=pl.col("transact_time").dt.truncate("1m")).agg(
        _single=(pl.col("last_trade_id") - pl.col("first_trade_id") + 1).sum()
    )
    bars = folded(fills, MINUTE, heard)
    return bars.join(single, on="open_time", how="left", maintain_order="left").select(
        pl.col("_single").fill_null(0).alias("count") if name == "count" else pl.col(name) for name in bars.columns
    )


def _marks(told: RecordColumns, field: str, alive: pl.DataFrame) -> pl.DataFrame:
    """The last price of minutes in which the socket was alive throughout, as `open_time`, `open` (NULL), `close`."""
    return (
        columns_of_frames(told.payload, _MARK_FIELDS)
        .select(at="E", price=pl.col(field).cast(pl.Float64, strict=False))
        .drop_nulls()
        .sort("at")
        .group_by(open_time=(pl.col("at") * 1000).cast(UTC_US).dt.truncate("1m"), maintain_order=True)
        .agg(open=pl.lit(None, pl.Float64), close=pl.col("price").last())
        .join(alive, left_on="open_time", right_on="timestamp", how="semi", maintain_order="left")
    )


def _live_rows(segments: Path, window: HeardWindow, minutes: pl.Series) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The collector's rows of the minutes and of those that carry into them, and which it did not write yet: folded."""
    kept = LiveRows(window.store.catalog)
    held = kept.read(window.symbol, window.start - timedelta(minutes=window.max_ffill_minutes), window.end)
    lacking = minutes.filter(~minutes.is_in(held["timestamp"].implode()))
    if lacking.is_empty():
        return held, held.clear()
    first, last = (_epoch_minute(each) for each in (lacking.min(), lacking.max()))
    around = first - LOOK_AROUND_MINUTES, last + 1 + LOOK_AROUND_MINUTES
    rows = fold_records(window.symbol, read_records(segments, window.symbol, *around), first, last + 1)
    new = rows.filter(pl.col("timestamp").is_in(lacking.implode()))
    return pl.concat([held, new]).sort("timestamp").select(list(LIVE_ROWS)), new


def _epoch_minute(instant: object) -> int:
    assert isinstance(instant, datetime)
    return epoch_ms(instant) // MINUTE_MS
