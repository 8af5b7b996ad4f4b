"""Hours of the kline tables from raw slices that are kept already, so that nothing is fetched twice.

Belongs here: which hours the slices have whole, and their rows. Does not belong here: reading answers (`frames`), when
an hour is wanted (`inputs`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from lake_assets.slices.data_root import Slices
from lake_assets.slices.endpoints import ENDPOINTS
from lake_assets.slices.frames import candles_of
from lake_assets.slices.judgement import Status
from lake_assets.slices.keys import LIMIT, interval_ms
from lake_assets.source import Offer, Wanted
from lake_assets.windows import hours_between, runs_of
from lake_resources.binance.stream import Stream
from lake_resources.clock import HOUR, epoch_ms, system_clock
from lake_resources.data_root import BUCKET
from lake_resources.errors import SettingsError, StorageError
from lake_resources.settings import LakeSettings
from lake_resources.storage.blobs import open_blobs
from lake_resources.storage.ledger.slice_rows import SliceRow, SliceRows, SliceSet
from lake_resources.storage.raw_store import RawStore
from lake_resources.storage.root import require_same_blobs

_KLINES = ENDPOINTS["klines"]


@dataclass(frozen=True)
class _KeptHour:
    """An hour of candles that slices have whole.

    Attributes:
        rows: the stream's wire columns, sorted, every candle of the hour.
        asked_at: when the oldest of its answers was asked for, UTC.
    """

    rows: pl.DataFrame
    asked_at: datetime


@dataclass(frozen=True)
class SliceSource:
    """Where raw slices lie, as a source of rows; nothing is opened before it is asked for an hour.

    Attributes:
        data_root: a directory or `s3://bucket/prefix`.
        ledger_url: SQLAlchemy URL of the ledger that knows the slices.
        exchange: whose data is wanted.
    """

    data_root: str
    ledger_url: str
    exchange: str

    title = "raw slices"

    def offers(self, wanted: Wanted) -> Iterator[Offer]:
        """Hours that slices have whole, as REST said them when the slices were asked for; none that is held already.

        What was answered before is asked for again because something is doubtful, and slices say the same once more.
        """
        use, symbol = wanted.used, wanted.symbol
        fresh = [hour for hour in wanted.starts if hour not in wanted.held]
        for start, end in runs_of(fresh, longest=use.hours_per_fetch):
            try:
                found = self._hours(use.stream, symbol, hours_between(start, end))
            except (SettingsError, StorageError) as error:
                yield Offer(tuple(hours_between(start, end)), failure=str(error))
                return
            for hour, kept in found.items():
                by = f"raw slices {use.name} {symbol}"
                yield Offer((hour,), rows=kept.rows, asked_at=kept.asked_at, by=by)

    def _hours(self, stream: Stream, symbol: str, wanted: Sequence[datetime]) -> dict[datetime, _KeptHour]:
        """Those of the hours that slices have whole: every candle, each closed when it was asked for.

        Args:
            stream: any; none but spot's klines of an interval that slices are kept of has rows here.
            symbol: e.g. `BTCUSDT`.
            wanted: starts of contiguous hours, UTC, in order.

        Raises:
            SettingsError: the data root holds data of another exchange.
            StorageError: an answer does not have the bytes that were kept, or the place cannot be read.
        """
        interval = None if stream.rest is None else stream.rest.interval
        if stream.market is not _KLINES.market or interval not in _KLINES.intervals or not wanted:
            return {}
        if not self.data_root.startswith(BUCKET) and not (Path(self.data_root) / "binance" / _KLINES.name).is_dir():
            return {}
        with ExitStack() as opened:
            rows = opened.enter_context(closing(SliceRows(self.ledger_url)))
            step = interval_ms(interval)
            first, last = epoch_ms(wanted[0]), epoch_ms(wanted[-1] + HOUR)
            known = rows.slice_rows(SliceSet(_KLINES.name, symbol, interval), (first - step * LIMIT + 1, last))
            answered = [row for row in known if row.path is not None and row.completed_at_utc is not None]
            if not answered:
                return {}
            blobs = open_blobs(self.data_root if self.data_root.startswith(BUCKET) else Path(self.data_root))
            require_same_blobs(blobs, self.exchange)
            slices = Slices(Path(), rows, RawStore(blobs), {}, system_clock)
            return _whole(candles_of(slices, answered, exact=True), answered, wanted, step)


def slice_source(settings: LakeSettings) -> SliceSource:
    """The slices of the settings as a source."""
    root = settings.slices_bucket or str(settings.resolved_slices_root)
    return SliceSource(root, settings.resolved_slices_ledger_url, settings.exchange)


def _whole(
    candles: pl.DataFrame, answered: Iterable[SliceRow], wanted: Sequence[datetime], step: int
) -> dict[datetime, _KeptHour]:
    by_hour = candles.group_by(pl.col("open_time").dt.truncate("1h").alias("hour"), maintain_order=True)
    parts = {hour: rows.drop("hour", strict=False) for (hour,), rows in by_hour}
    found = {}
    for hour in wanted:
        rows = parts.get(hour)
        if rows is None or rows.height * step != epoch_ms(hour + HOUR) - epoch_ms(hour):
            continue
        start, end = epoch_ms(hour), epoch_ms(hour + HOUR)
        of_hour = [row for row in answered if row.start < end and start < row.start + step * LIMIT]
        asked = [(row, row.completed_at_utc) for row in of_hour if row.completed_at_utc is not None]
        # A slice that is `ok` is closed by the exchange's clock, any other one as far as it was over when it was asked.
        if all(row.status == Status.OK or at >= hour + HOUR for row, at in asked):
            found[hour] = _KeptHour(rows, min(at for _, at in asked).astimezone(UTC))
    return found
