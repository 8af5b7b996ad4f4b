"""The DuckDB file of the research layer, `research/views.duckdb` below the lake's root.

Belongs here: what the views read, and replacing the file in one step. Does not belong here: the views themselves
(`sql/`, one file each).
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path
from uuid import uuid4

import duckdb
import polars as pl

from lake_assets.at_rest import TableStore, store_of
from lake_assets.research.quality_hours import QUALITY_SCHEMA, quality_hours
from lake_assets.tables.declared import TABLES
from lake_assets.tables.macro_minute import MACRO_MINUTE
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.errors import StorageError
from lake_resources.settings import LakeSettings
from lake_resources.storage.bars_duckdb import BarsTable
from lake_resources.storage.disk import disk_errors, fsync_dirs, fsync_file, of_database
from lake_resources.storage.duckdb_views import rows_of
from lake_resources.storage.locks import writer_lock
from lake_resources.storage.root import require_lake

VIEWS = (
    "bars_1s", "bars_1m", "klines_1m", "compare_our_vs_kline_1m", "minute", "funding_oi_hourly", "macro_minute",
    "dxy_synthetic_minute", "ohlcv_btcusdt_1h", "quality", "bars_1s_traded",
)  # fmt: skip
"""The views, each after those that it reads."""
READ_TABLES = (SPOT_BARS_1S, SPOT_KLINES["1m"], UM_MINUTE, MACRO_MINUTE)
"""The tables that the views read: each is a relation of its name in the schema `lake` of the file."""
_MODE = 0o444
_INSTANTS = {"utc": "second", "utc_minute": "minute", "utc_hour": "hour"}
"""Columns that the relation of a table has besides its own: what the views take their `ts` from."""


@dataclass(frozen=True)
class ResearchFile:
    """The file as it was written.

    Attributes:
        path: where it lies.
        files: by table, how many Parquet files are read; 0 where the table has no rows yet.
        columns: by view, its columns in order.
        quality_rows: hours that `quality` tells of.
    """

    path: Path
    files: dict[str, int]
    columns: dict[str, tuple[str, ...]]
    quality_rows: int


def views_path(settings: LakeSettings) -> Path:
    """Where the file lies."""
    return settings.lake_root / "research" / "views.duckdb"


def write_views(settings: LakeSettings, *, now: datetime, path: Path | None = None) -> ResearchFile:
    """Write the file anew, for the Parquet files of the moment; who has the old one open keeps it until they reopen it.

    Args:
        settings: which lake.
        now: rows that are not closed for the safety lag by now are not expected by `quality`.
        path: default that of the lake.

    Raises:
        SettingsError: there is no lake, or it belongs to another exchange.
        PartitionBusy: another process writes it all the time.
        StorageError: a table does not read, or the file cannot be written; the old one stays.
        DiskFull: no space; the old one stays.
    """
    require_lake(settings.lake_root, settings.exchange, settings.ledger_file)
    target = (path or views_path(settings)).resolve()
    with disk_errors(f"research views {target}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with writer_lock(target.with_name(f".{target.name}.lock")):
            temp = target.with_name(f".{target.name}-{uuid4().hex}")
            try:
                found = _fill(temp, target, settings, now)
                # Readers open it for reading alone: what they wrote into it would be gone at the next swap.
                temp.chmod(_MODE)
                fsync_file(temp)
                temp.replace(target)
                fsync_dirs([target.parent])
            except duckdb.Error as error:
                raise of_database(f"research views {target}", error, "Run `lake audit`, repair, try again") from error
            finally:
                for part in ("", ".wal"):
                    temp.with_name(temp.name + part).unlink(missing_ok=True)
    return found


def remake_views_file(settings: LakeSettings, *, now: datetime) -> str:
    """Write the file anew where there is one, for who is about to remove Parquet files that it may name.

    Returns:
        What its users must know where it could not be written, and is as old as before; else empty.
    """
    if not views_path(settings).is_file():
        return ""
    try:
        write_views(settings, now=now)
    except StorageError as error:
        return f"{views_path(settings)} is as old as before: {error}"
    return ""


def _fill(temp: Path, target: Path, settings: LakeSettings, now: datetime) -> ResearchFile:
    until = now - timedelta(minutes=settings.safety_lag_minutes)
    with closing(duckdb.connect(str(temp))) as connection, closing(store_of(settings)) as store:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("CREATE SCHEMA lake")
        read = {table.name: _relation(connection, store.beside(table)) for table in READ_TABLES}
        bars = BarsTable(settings.resolved_feed_duckdb).published().rows
        _keep(connection, "ohlcv_btcusdt_1h", bars)
        quality = _quality(store, until)
        _keep(connection, "quality", quality)
        for view in VIEWS:
            connection.execute(view_sql(view))
        columns = {view: tuple(row[0] for row in connection.execute(f"DESCRIBE {view}").fetchall()) for view in VIEWS}
        connection.execute("CHECKPOINT")
    return ResearchFile(target, read, columns, quality.height)


def view_sql(view: str) -> str:
    """The statements that make a view."""
    return files("lake_assets.research").joinpath("sql", f"{view}.sql").read_text(encoding="utf-8")


def _relation(connection: duckdb.DuckDBPyConnection, store: TableStore) -> int:
    """Make the relation of a table: a view of its files, or an empty table with its columns. Returns how many files."""
    name = store.table.name
    selects, count = rows_of(store, store.ledger.symbols_with_partitions(), _INSTANTS)
    if selects:
        connection.execute(f"CREATE VIEW lake.{name} AS\n{selects}")
        return count
    parts = dict.fromkeys(("year", "month", "day", "hour"), pl.Int64())
    keys = {"symbol": pl.String(), **dict.fromkeys(_INSTANTS, pl.Datetime("us")), **parts}
    _keep(connection, name, pl.DataFrame(schema=keys | dict(store.table.polars_schema)))
    return 0


def _keep(connection: duckdb.DuckDBPyConnection, name: str, rows: pl.DataFrame) -> None:
    connection.register("kept", rows.to_arrow())
    connection.execute(f"CREATE TABLE lake.{name} AS SELECT * FROM kept")  # noqa: S608 - a name of ours
    connection.unregister("kept")


def _quality(store: TableStore, until: datetime) -> pl.DataFrame:
    parts = [pl.DataFrame(schema=QUALITY_SCHEMA)]
    for table in TABLES.values():
        beside = store.beside(table)
        # A row that is not over yet is none that is absent.
        end = table.layout.row_start(until)
        parts += [quality_hours(beside, symbol, until=end) for symbol in beside.ledger.symbols_with_partitions()]
    return pl.concat(parts)
