"""Files of live rows: one per symbol and hour, replaced as a whole.

Belongs here: paths, merging rows into an hour, reading. Does not belong here: folding records (`collect`, `live`).
A row replaces the row of its minute and is never mixed with it column by column.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import polars as pl

from lake_assets.transforms.live_rows import LIVE_ROWS
from lake_resources.storage.catalog import Catalog, floor_hour
from lake_resources.storage.disk import disk_errors, fsync_dirs, fsync_file, make_dirs
from lake_resources.storage.locks import writer_lock

HOUR = timedelta(hours=1)
_LOCK_TIMEOUT_S = 30.0


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

        Args:
            symbol: upper case.
            rows: columns `LIVE_ROWS`, each minute once.

        Raises:
            DiskFull: no space; the hours stay as they were.
        """
        if rows.is_empty():
            return
        with writer_lock(self.catalog.live_lock_path(symbol), timeout_s=_LOCK_TIMEOUT_S):
            for part in rows.with_columns(_hour=pl.col("timestamp").dt.truncate("1h")).partition_by("_hour"):
                hour = part["_hour"][0]
                held = self._hour(symbol, hour).join(part, on="timestamp", how="anti")
                merged = pl.concat([held, part.drop("_hour")]).sort("timestamp")
                metadata = {"lake.source": "ws", "lake.symbol": symbol, "lake.hour": hour.isoformat()}
                self._publish(merged, metadata, self.path(symbol, hour))

    def read(self, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
        """Rows of `[start, end)`, columns `LIVE_ROWS`, sorted by `timestamp` (UTC)."""
        hours = []
        hour = floor_hour(start)
        while hour < end:
            if self.path(symbol, hour).is_file():  # of years of hours, the collector has seen few
                hours.append(self._hour(symbol, hour))
            hour += HOUR
        rows = pl.concat(hours) if hours else pl.DataFrame(schema=LIVE_ROWS)
        return rows.filter(pl.col("timestamp").is_between(start, end, closed="left"))

    def newest_trade_id(self, symbol: str) -> int | None:
        """The newest aggTrade id of a symbol in any row, or None."""
        for path in sorted(self.catalog.live_rows_path(symbol, _ANY_HOUR).parent.parent.glob("date=*/*"), reverse=True):
            newest = pl.read_parquet(path, columns=["last_agg_trade_id"])["last_agg_trade_id"].max()
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

    def _hour(self, symbol: str, hour: datetime) -> pl.DataFrame:
        path = self.path(symbol, hour)
        if not path.is_file():
            return pl.DataFrame(schema=LIVE_ROWS)
        held = pl.read_parquet(path)
        # Rows of an earlier version of these columns are folded anew from the segments, where these are still there.
        return held if held.schema == pl.Schema(LIVE_ROWS) else pl.DataFrame(schema=LIVE_ROWS)


_ANY_HOUR = datetime.fromisoformat("2020-01-01T00:00:00+00:00")
