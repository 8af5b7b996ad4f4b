"""Slices against the kline table: the same candles, each value exactly; and slices as a source of such rows.

Belongs here: the comparison, the table as it is read for it, rows of a table from slices. Does not belong here: reading
answers (`frames`), the check's row (`days`), building a table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from lake_assets.at_rest import TableStore, store_of
from lake_assets.slices.data_root import Slices
from lake_assets.slices.frames import Coverage, candles_of, read_slices
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_resources.clock import DAY, from_epoch_ms
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.slice_rows import SliceRow
from lake_resources.storage.reader import scan

KlineRows = Callable[[datetime, datetime], pl.DataFrame]
"""Committed rows of `[start, end)` by their wire names, sorted by `open_time`."""


@dataclass(frozen=True)
class Parity:
    """What a comparison found.

    Attributes:
        compared: candles that both have.
        different: candles whose values differ, or that one of both has where the other is complete.
        first: what differs first, for people; None where nothing does.
    """

    compared: int = 0
    different: int = 0
    first: str | None = None


def table_rows(settings: LakeSettings, symbol: str, interval: str) -> KlineRows | None:
    """The kline table of the lake as a source of rows to compare with; None where the lake has no such table."""
    table = SPOT_KLINES.get(interval)
    if table is None or not settings.may_have_ledger:
        return None
    return lambda start, end: _rows(store_of(settings, table), symbol, start, end)


def _rows(store: TableStore, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
    wire = {column.name: column.wire for column in store.table.columns if column.wire}
    try:
        found = scan(store, symbol, start, end, list(wire), schema=store.table.polars_schema)
        return found.rename(wire).collect()
    finally:
        store.close()


def compare(candles: pl.DataFrame, rows: pl.DataFrame) -> Parity:
    """Compare candles of complete slices with rows of a table; a table that reaches less far is no difference.

    Args:
        candles: of `read_slices`, of slices that are `ok`.
        rows: the table's, by wire names; other columns than those of candles are left out.
    """
    both = pl.Series("open_time", candles["open_time"]).filter(candles["open_time"].is_in(rows["open_time"].implode()))
    if both.is_empty():
        return Parity()
    names = [name for name in candles.columns if name in rows.columns]
    # Between the first and the last candle that both have, either lacks nothing that the other has.
    within = pl.col("open_time").is_between(both.min(), both.max())
    ours = candles.filter(within).select(names)
    theirs = rows.filter(within).select(names).cast(dict(ours.schema))  # type: ignore[arg-type]
    same = ours.join(theirs, on=names, how="semi", nulls_equal=True)
    wrong = pl.concat([frame["open_time"] for frame in (ours, theirs)]).unique().sort()
    wrong = wrong.filter(~wrong.is_in(same["open_time"].implode()))
    first = None if wrong.is_empty() else f"{wrong[0]:%Y-%m-%d %H:%M:%S}"
    return Parity(len(both), len(wrong), first)


def compare_slices(slices: Slices, whole: Sequence[SliceRow], table: KlineRows, span_ms: int) -> Parity:
    """Compare some slices that are `ok` with the table's rows of the same windows.

    Args:
        slices: the data root.
        whole: the slices.
        table: the table's rows.
        span_ms: length of a slice.

    Raises:
        StorageError: an answer does not have the bytes that were kept, or the table does not read.
    """
    if not whole:
        return Parity()
    starts = [row.start for row in whole]
    rows = table(from_epoch_ms(min(starts)), from_epoch_ms(max(starts) + span_ms))
    start_of_slice = pl.col("open_time").dt.epoch("ms") - (pl.col("open_time").dt.epoch("ms") - starts[0]) % span_ms
    return compare(candles_of(slices, whole), rows.filter(start_of_slice.is_in(starts)))


def rows_from_slices(slices: Slices, symbol: str, interval: str, day: datetime) -> tuple[pl.DataFrame, Coverage] | None:
    """A day's candles as a source of the kline table, so that nothing is fetched twice; None where not all are there.

    Args:
        slices: the data root.
        symbol: e.g. `BTCUSDT`.
        interval: `1m` or `1s`.
        day: its first instant, UTC.

    Returns:
        The wire columns of klines, sorted, and their coverage: complete but for candles that the exchange does not
        have, which are named.

    Raises:
        StorageError: an answer does not have the bytes that were kept.
    """
    found, coverage = read_slices(slices, symbol, interval, day, day + DAY)
    return (found, coverage) if coverage.clean else None
