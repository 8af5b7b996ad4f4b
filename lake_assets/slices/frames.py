"""Rows from raw slices: a typed frame with its coverage, and synthetic fills in a frame of their own.

Belongs here: reading answers for people and models. Does not belong here: fetching (`loop`), the lake's own tables.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal

import polars as pl

from lake_assets.slices.answers import is_newer, read_file
from lake_assets.slices.data_root import Slices
from lake_assets.slices.judgement import SliceReason, Status
from lake_assets.slices.keys import LIMIT, interval_ms
from lake_resources.bar_values import VALUE_COLUMNS
from lake_resources.binance.rest import rest_payloads
from lake_resources.binance.wire_columns import KLINE_COLUMNS
from lake_resources.clock import epoch_ms, from_epoch_ms
from lake_resources.errors import MalformedAnswer, SettingsError, StorageError
from lake_resources.spans import within
from lake_resources.storage.ledger.slice_rows import SliceRow, SliceSet

Fill = Literal["constant", "linear", "other"]
_FILLED = ("open_time", *VALUE_COLUMNS)


@dataclass(frozen=True)
class Coverage:
    """What a window's rows are worth.

    Attributes:
        expected: candles that the window must hold.
        present: candles that are there and final.
        provisional: candles that are there and were still open when they were asked for.
        explained: open times that the exchange does not have, said twice.
        unexplained: open times that are missing otherwise: not asked for, failed, or seen missing once.
    """

    expected: int
    present: int
    provisional: int
    explained: tuple[datetime, ...]
    unexplained: tuple[datetime, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing is missing without explanation and nothing may still change."""
        return not self.unexplained and not self.provisional


def read_slices(
    slices: Slices, symbol: str, interval: str, start: datetime, end: datetime
) -> tuple[pl.DataFrame, Coverage]:
    """Candles of `[start, end)` from the raw answers, and what of them is missing.

    Args:
        slices: the data root.
        symbol: e.g. `BTCUSDT`.
        interval: `1m` or `1s`.
        start: first instant, timezone-aware.
        end: first instant after it, timezone-aware.

    Returns:
        The wire columns of klines (`open_time` and `close_time` in UTC microseconds), sorted by `open_time`, each once;
        never filled.

    Raises:
        SettingsError: an empty window, or an instant without a time zone.
        StorageError: an answer does not have the bytes that were kept.
    """
    if start.tzinfo is None or end.tzinfo is None or start >= end:
        raise SettingsError(f"{start} to {end} is no window", remedy="Give two instants with a time zone, in order")
    step = interval_ms(interval)
    first, last = epoch_ms(start), epoch_ms(end)
    of = SliceSet("klines", symbol, interval)
    rows = slices.rows.slice_rows(of, (first - step * LIMIT, last))
    found = candles_of(slices, rows).filter(within("open_time", start, end))
    return found, _coverage(found, rows, range(-(-first // step) * step, last, step), step)


def candles_of(slices: Slices, rows: Iterable[SliceRow], *, exact: bool = False) -> pl.DataFrame:
    """All candles of some slices that have an answer: wire columns, sorted by `open_time`, each once.

    Args:
        slices: the data root.
        rows: the slices.
        exact: refuse also a whole later answer than the row knows, which a run that ended between the two leaves.

    Raises:
        StorageError: an answer does not have the bytes that were kept.
    """
    frames = [_candles(slices, row, exact) for row in rows if row.path is not None]
    found = pl.concat([pl.DataFrame(schema=KLINE_COLUMNS), *frames])
    return found.unique("open_time", keep="last").sort("open_time")


def synthetic_fills(
    candles: pl.DataFrame,
    interval: str,
    policy: Fill,
    *,
    longest: int,
    unknown: tuple[datetime, ...] = (),
    other: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Made-up candles for gaps between real ones; the real ones are not in the frame.

    Args:
        candles: of `read_slices`.
        interval: their interval.
        policy: `constant` repeats the close before the gap, `linear` draws a line to the open after it, `other` takes
            the candles that another source has of the gap, and none where it has none.
        longest: gaps of more candles are left open.
        unknown: open times of which it is not known whether the exchange has them (`Coverage.unexplained`): a gap that
            holds one is left open.
        other: of the policy `other`: candles of another source, e.g. of another market, by the same names.

    Returns:
        `open_time, open, high, low, close, volume, is_synthetic`; volumes are 0 (with `other` those of its
        source), `is_synthetic` is true in every row.

    Raises:
        SettingsError: the policy `other` without another source, or one with another policy.
    """
    if (policy == "other") != (other is not None):
        raise SettingsError("the policy `other` and another source belong together", remedy="Give both, or neither")
    if other is not None:
        gaps = _gaps(candles, interval, longest, unknown)
        taken = other.filter(pl.col("open_time").is_in(pl.Series(gaps, dtype=KLINE_COLUMNS["open_time"]).implode()))
        columns = [pl.col(name).cast(KLINE_COLUMNS[name]) for name in _FILLED]
        return taken.unique("open_time").sort("open_time").select(*columns, is_synthetic=pl.lit(value=True))
    step = timedelta(milliseconds=interval_ms(interval))
    refused = set(unknown)
    rows = []
    times, opens, closes = candles["open_time"].to_list(), candles["open"].to_list(), candles["close"].to_list()
    for index in range(len(times) - 1):
        gap = [times[index] + n * step for n in range(1, (times[index + 1] - times[index]) // step)]
        if not gap or len(gap) > longest or refused.intersection(gap):
            continue
        rise = (opens[index + 1] - closes[index]) / (len(gap) + 1) if policy == "linear" else 0.0
        for n, at in enumerate(gap, start=1):
            before, after = closes[index] + rise * (n - 1), closes[index] + rise * n
            rows.append((at, before, max(before, after), min(before, after), after, 0.0, True))
    schema = {name: KLINE_COLUMNS[name] for name in _FILLED}
    return pl.DataFrame(rows, schema={**schema, "is_synthetic": pl.Boolean()}, orient="row")


def _gaps(candles: pl.DataFrame, interval: str, longest: int, unknown: tuple[datetime, ...]) -> list[datetime]:
    """Open times of the gaps between real candles that may be filled."""
    step, refused, times = timedelta(milliseconds=interval_ms(interval)), set(unknown), candles["open_time"].to_list()
    found: list[datetime] = []
    for before, after in pairwise(times):
        gap = [before + n * step for n in range(1, (after - before) // step)]
        if len(gap) <= longest and not refused.intersection(gap):
            found += gap
    return found


def _candles(slices: Slices, row: SliceRow, exact: bool) -> pl.DataFrame:
    assert row.path is not None
    content = slices.store.get(row.path)
    if hashlib.sha256(content).hexdigest() != row.sha256 and (exact or not is_newer(row, content)):
        raise StorageError(
            f"raw answer {row.path} has other bytes than were kept",
            remedy="`lake slices verify --mend` sends it back to be asked for again",
        )
    try:
        _, data = read_file(content)
        return rest_payloads.klines(data, row.path)
    except (ValueError, MalformedAnswer) as error:
        raise StorageError(f"raw answer {row.path}: {error}", remedy="`lake slices verify --mend`") from error


def _coverage(found: pl.DataFrame, rows: list[SliceRow], expected: range, step: int) -> Coverage:
    there = set(found["open_time"].dt.epoch("ms").to_list())
    named = {
        int(each)
        for row in rows
        if row.reason == SliceReason.EXCHANGE_HAS_NONE
        for each in row.missing.split(",")
        if each
    }
    open_when_asked = {
        time
        for row in rows
        if row.status == Status.PARTIAL and row.completed_at_utc is not None
        for time in there
        if row.start <= time < row.start + step * row.record_limit and time + step > epoch_ms(row.completed_at_utc)
    }
    lost = [time for time in expected if time not in there]
    return Coverage(
        expected=len(expected),
        present=len(there) - len(open_when_asked),
        provisional=len(open_when_asked),
        explained=tuple(from_epoch_ms(time) for time in lost if time in named),
        unexplained=tuple(from_epoch_ms(time) for time in lost if time not in named),
    )
