"""Files of live rows, one per symbol and hour, replaced as a whole; and what they prove of a window.

Belongs here: paths, merging rows into an hour, reading, coverage of trades, the identity of what was
read. Does not belong here: folding records (`folding`), choosing between live rows and other sources (`inputs`).

A row replaces the row of its minute, unless it saw less of it, and is never mixed with it column by column.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import polars as pl

from lake_assets.schema.column import LIVE
from lake_assets.transforms.live.live_coverage import trade_coverage
from lake_assets.transforms.live.live_rows import FRAME_COUNTS, LIVE_ROWS, live_input, live_trades
from lake_assets.transforms.trade_columns import TRADE_FEATURES
from lake_resources.binance.um_streams import AGG_TRADES
from lake_resources.clock import HOUR
from lake_resources.errors import StorageError
from lake_resources.spans import rows_within
from lake_resources.storage.catalog import Catalog, floor_hour
from lake_resources.storage.disk import disk_errors, fsync_dirs, fsync_file, make_dirs
from lake_resources.storage.locks import writer_lock
from lake_resources.storage.provenance import SourceRef

log = logging.getLogger(__name__)

_ANY_HOUR = datetime.fromisoformat("2020-01-01T00:00:00+00:00")


_AROUND = timedelta(minutes=10)
"""Trades this far beyond a window may prove that it is whole."""
_LOCK_TIMEOUT_S = 30.0
_KEPT_HOURS = 128
"""Read last, of some 100 kB each: of a symbol that is kept hot these are two."""
_kept: dict[Path, tuple[tuple[int, int, int], pl.DataFrame]] = {}
"""By file, with what tells that it is another one; not by `storage.parquet`, which loads pyarrow (`_publish`)."""


@dataclass(frozen=True)
class LiveRows:
    """All live rows of a lake.

    Args:
        catalog: of the lake.
    """

    catalog: Catalog

    def path(self, symbol: str, hour: datetime) -> Path:
        """File of an hour."""
        return self.catalog.live_rows_path(symbol, hour)

    def merge(self, symbol: str, rows: pl.DataFrame) -> None:
        """Put rows in, replacing those of the same minutes; durable when it returns.

        A row that saw fewer frames of any stream than the one that is there is left out: retention, or a torn tail,
        took records from which the other was folded. An hour's file that cannot be read is set aside as `*.damaged`.

        Args:
            symbol: upper case.
            rows: columns `LIVE_ROWS`, each minute once.

        Raises:
            DiskFull: no space; the hours stay as they were.
            PartitionBusy: another writer held the symbol for 30 s.
        """
        if rows.is_empty():
            return
        with writer_lock(self.catalog.live_lock_path(symbol), timeout_s=_LOCK_TIMEOUT_S):
            for part in rows.with_columns(_hour=pl.col("timestamp").dt.truncate("1h")).partition_by("_hour"):
                hour = part["_hour"][0]
                held = self._sound_hour(symbol, hour)
                better = _not_worse(part.drop("_hour"), held)
                merged = pl.concat([held.join(better, on="timestamp", how="anti"), better]).sort("timestamp")
                metadata = {"lake.source": "ws", "lake.symbol": symbol, "lake.hour": hour.isoformat()}
                self._publish(merged, metadata, self.path(symbol, hour))

    def read(self, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
        """Rows of `[start, end)`, columns `LIVE_ROWS`, sorted by `timestamp` (UTC).

        Raises:
            StorageError: a file cannot be read, or a later version of the lake wrote it.
        """
        hours = []
        hour = floor_hour(start)
        while hour < end:
            if self.path(symbol, hour).is_file():  # of years of hours, the collector has seen few
                hours.append(self._hour(symbol, hour, kept=True))
            hour += HOUR
        if not hours:
            return pl.DataFrame(schema=LIVE_ROWS)
        return rows_within(pl.concat(hours), "timestamp", start, end)

    def written_at(self, symbol: str, start: datetime, end: datetime) -> dict[datetime, datetime]:
        """When the rows of each hour of `[start, end)` were written last, UTC; hours without rows are left out."""
        found = {}
        hour = floor_hour(start)
        while hour < end:
            with suppress(FileNotFoundError):
                found[hour] = datetime.fromtimestamp(self.path(symbol, hour).stat().st_mtime, UTC)
            hour += HOUR
        return found

    def newest_minute(self, symbol: str, until: datetime) -> datetime | None:
        """Start of the newest minute, UTC, in the file of the hour that holds `until`, or in that of the hour before.

        Raises:
            StorageError: the file cannot be read.
        """
        for hour in (floor_hour(until), floor_hour(until) - HOUR):
            if self.path(symbol, hour).is_file():
                found = self._hour(symbol, hour, kept=True)["timestamp"].max()
                return found if isinstance(found, datetime) else None
        return None

    def newest_trade_id(self, symbol: str) -> int | None:
        """The newest aggTrade id of a symbol in any row, or None."""
        directory = self.path(symbol, _ANY_HOUR).parent.parent
        for path in sorted(directory.glob("date=*/*.parquet"), reverse=True):
            try:
                newest = pl.read_parquet(path.read_bytes(), columns=["last_agg_trade_id"])["last_agg_trade_id"].max()
            except pl.exceptions.PolarsError:  # an older one will do: trades since then are asked for again
                continue
            if isinstance(newest, int):
                return newest
        return None

    def _publish(self, rows: pl.DataFrame, metadata: dict[str, str], path: Path) -> None:
        """A file that appears whole or not at all.

        Not by `storage.parquet`: it reads back with pyarrow, and that alone would take a sixth of the memory that the
        collector may have. Rows that were damaged are folded anew, so reading back would be of little use.
        """
        temp = self.catalog.temp_dir / f"{uuid4().hex}.parquet"
        with disk_errors(f"write live rows {path}"):
            changed = [directory for wanted in (temp.parent, path.parent) for directory in make_dirs(wanted)]
            try:
                rows.write_parquet(temp, compression="zstd", metadata=metadata)
                fsync_file(temp)
                temp.rename(path)
            finally:
                temp.unlink(missing_ok=True)
            fsync_dirs([*changed, path.parent])

    def _hour(self, symbol: str, hour: datetime, *, kept: bool = False) -> pl.DataFrame:
        """Rows of an hour; `kept`: from memory, where nobody has replaced its file since it was read."""
        path = self.path(symbol, hour)
        try:
            found = path.stat()
        except FileNotFoundError:
            return pl.DataFrame(schema=LIVE_ROWS)
        if not kept:
            return _read_hour(path, symbol, hour)
        written = found.st_ino, found.st_size, found.st_mtime_ns
        known = _kept.get(path)
        if known is None or known[0] != written:
            known = written, _read_hour(path, symbol, hour)
            _kept.pop(path, None)
            for oldest in list(_kept)[: max(len(_kept) + 1 - _KEPT_HOURS, 0)]:
                _kept.pop(oldest, None)
            _kept[path] = known
        return known[1]

    def _sound_hour(self, symbol: str, hour: datetime) -> pl.DataFrame:
        """Rows of an hour; a file that cannot be read steps aside, or no row of the hour could be written again."""
        try:
            return self._hour(symbol, hour)
        except StorageError as error:
            path = self.path(symbol, hour)
            log.error("%s; it is kept as %s.damaged", error, path.name)  # noqa: TRY400 - the message says it all
            path.rename(path.with_name(f"{path.name}.damaged"))
            return pl.DataFrame(schema=LIVE_ROWS)


def _read_hour(path: Path, symbol: str, hour: datetime) -> pl.DataFrame:
    remedy = f"Run `lake rebuild-live {symbol} {hour:%Y-%m-%dT%H:%M} {hour + HOUR:%Y-%m-%dT%H:%M}`"
    try:
        # Read at once: polars opens a path twice, and the collector may put a new file there in between.
        held = pl.read_parquet(path.read_bytes(), hive_partitioning=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StorageError(f"live rows {path} do not read back: {error}", remedy=remedy) from error
    foreign = [name for name, dtype in held.schema.items() if LIVE_ROWS.get(name) != dtype]
    if foreign:
        found = f"live rows {path} have columns that this version does not know: {', '.join(foreign)}"
        raise StorageError(found, remedy=f"Use the newer version that wrote them. Or: {remedy}")
    if held.columns == list(LIVE_ROWS):
        return held
    # Rows of an earlier version lack what was added since.
    return held.select(
        pl.col(name) if name in held.columns else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in LIVE_ROWS.items()
    )


def _not_worse(rows: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """The rows whose minute is not held with more frames."""
    saw_less = pl.any_horizontal(pl.col(f"{name}_held") > pl.col(name) for name in FRAME_COUNTS)
    worse = rows.join(held, on="timestamp", how="inner", suffix="_held").filter(saw_less)
    return rows.join(worse, on="timestamp", how="anti")


@dataclass(frozen=True)
class LiveHours:
    """Live rows of one symbol for some hours.

    Attributes:
        live: columns `LIVE_INPUT`, with the look-back that was asked for; None where there is no row at all.
        trades: columns `TRADE_FEATURES`, of the minutes in which `live` says `has_agg_trades`.
        heard: hours with live rows of which every minute that is required by now has all its aggTrades, with where they
            come from; kind `ws`.
        refs: hours that have live rows, with where they come from; kind `ws`.
    """

    live: pl.DataFrame | None
    trades: pl.DataFrame
    heard: Mapping[datetime, SourceRef]
    refs: Mapping[datetime, SourceRef]


NOTHING = LiveHours(None, pl.DataFrame(schema=TRADE_FEATURES), {}, {})
"""Where no collector was."""


def read_live(
    rows: LiveRows,
    symbol: str,
    required: Mapping[datetime, datetime],
    ends: Mapping[datetime, datetime],
    klines: Callable[[], pl.DataFrame],
    *,
    look_back: timedelta,
) -> LiveHours:
    """Live rows for hours of the minute table.

    Args:
        rows: live rows of the lake.
        symbol: upper case.
        required: per hour (its start, UTC), the first minute that need not be there yet.
        ends: per hour, the first minute that is not wanted; the same, or later while the hour is open.
        klines: gives the wire frame of `klines_1m` of these hours, whose counts prove minutes that ids do not; called
            only where there are live rows.
        look_back: book features of so long before an hour are carried into it.
    """
    start, end = min(required), max(ends.values())
    held = rows.read(symbol, start - max(look_back, _AROUND), end + _AROUND)
    if held.is_empty():
        return NOTHING
    counts = klines().select(timestamp="open_time", trade_count="count").unique("timestamp", keep="none")
    coverage = trade_coverage(held, counts, start - look_back, end)
    live, trades = live_input(held, coverage), live_trades(held, coverage)
    heard, refs = {}, {}
    for hour, last in required.items():
        if not rows_within(held, "timestamp", hour, ends[hour]).is_empty():
            refs[hour] = SourceRef(LIVE, "ws", _digest(rows_within(live, "timestamp", hour - look_back, ends[hour])))
        minutes = rows_within(coverage, "timestamp", hour, last)
        # Of an hour that has just begun nothing is required yet: what REST says of its first minutes would be cut in
        # for as long as it is open.
        if hour in refs and minutes["has_agg_trades"].all():
            heard[hour] = SourceRef(AGG_TRADES.name, "ws", _digest(rows_within(trades, "timestamp", hour, last)))
    return LiveHours(live, trades, heard, refs)


def _digest(rows: pl.DataFrame) -> str:
    """Identity of the values, whatever file they came in."""
    return hashlib.sha256(rows.write_ndjson().encode()).hexdigest()
