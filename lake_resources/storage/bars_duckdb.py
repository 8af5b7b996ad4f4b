"""The append-only table of hourly bars in a DuckDB file: one writer, many readers.

Belongs here: the tables, the writer's lock, appending in one transaction, the read-only copy for readers.
Does not belong here: what may be appended (the feed decides), how a connection is configured (the caller's).
No statement of the project changes or removes a row of these tables; a test reads the sources for one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import duckdb
import polars as pl

from lake_resources.bar_values import VALUE_COLUMNS
from lake_resources.errors import PartitionBusy, StorageError
from lake_resources.storage.disk import disk_errors, fsync_dirs, fsync_file, of_database
from lake_resources.storage.locks import DEFAULT_TIMEOUT_S, writer_lock

TABLE = "ohlcv_btcusdt_1h"
ROW_SCHEMA: dict[str, pl.DataType] = {
    "timestamp": pl.Datetime("us"),
    **dict.fromkeys(VALUE_COLUMNS, pl.Float64()),
    "created_at": pl.Datetime("us"),
}
"""Columns of the table; both times are UTC without a zone, as its users expect."""
CHAIN_SCHEMA: dict[str, pl.DataType] = {"timestamp": pl.Datetime("us"), "running_hash": pl.String()}
DIFFERENCE_SCHEMA: dict[str, pl.DataType] = {
    "timestamp": pl.Datetime("us"),
    "field": pl.String(),
    "table_value": pl.Float64(),
    "exchange_value": pl.Float64(),
}

Connect = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]
"""Opens the file for reading and writing."""

_CREATE = """
CREATE TABLE IF NOT EXISTS ohlcv_btcusdt_1h (
  timestamp TIMESTAMP PRIMARY KEY,
  open DOUBLE,
  high DOUBLE,
  low DOUBLE,
  close DOUBLE,
  volume DOUBLE,
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE IF NOT EXISTS ohlcv_btcusdt_1h_chain (
  timestamp TIMESTAMP PRIMARY KEY,
  running_hash VARCHAR NOT NULL
);
CREATE TABLE IF NOT EXISTS ohlcv_btcusdt_1h_differences (
  timestamp TIMESTAMP NOT NULL,
  field VARCHAR NOT NULL,
  table_value DOUBLE,
  exchange_value DOUBLE,
  seen_at TIMESTAMP NOT NULL
);
"""
_COLUMNS = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'ohlcv_btcusdt_1h'"
_HAS_CHAIN = "SELECT 1 FROM information_schema.tables WHERE table_name = 'ohlcv_btcusdt_1h_chain'"
_ROWS = "SELECT timestamp, open, high, low, close, volume, created_at FROM ohlcv_btcusdt_1h ORDER BY timestamp"
_CHAIN = "SELECT timestamp, running_hash FROM ohlcv_btcusdt_1h_chain ORDER BY timestamp"
_DIFFERENCES = """
SELECT timestamp, field, table_value, exchange_value FROM ohlcv_btcusdt_1h_differences ORDER BY seen_at, timestamp
"""
_APPEND = """
INSERT INTO ohlcv_btcusdt_1h (timestamp, open, high, low, close, volume, created_at)
SELECT timestamp, open, high, low, close, volume, created_at FROM appended ORDER BY timestamp
"""
_APPEND_CHAIN = """
INSERT INTO ohlcv_btcusdt_1h_chain (timestamp, running_hash)
SELECT timestamp, running_hash FROM chained ORDER BY timestamp
"""
# Each hourly run meets the same difference again until somebody decides: it is noted once.
_APPEND_DIFFERENCES = """
INSERT INTO ohlcv_btcusdt_1h_differences (timestamp, field, table_value, exchange_value, seen_at)
SELECT timestamp, field, table_value, exchange_value, $seen_at FROM differing ANTI JOIN ohlcv_btcusdt_1h_differences
USING (timestamp, field, table_value, exchange_value)
"""
_MAGIC = b"DUCK"
_MAGIC_AT = 8


@dataclass(frozen=True)
class TableState:
    """All rows, and the running hash noted beside each when it was appended, both in order of time."""

    rows: pl.DataFrame
    chain: pl.DataFrame

    @classmethod
    def empty(cls) -> TableState:
        """The state of a table that has no row yet."""
        return cls(pl.DataFrame(schema=ROW_SCHEMA), pl.DataFrame(schema=CHAIN_SCHEMA))


class BarsWriter:
    """The table while the writer's lock is held; see `BarsTable.writer`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def state(self) -> TableState:
        """All rows and the chain, as they are now."""
        return _state(self._connection)

    def append(self, rows: pl.DataFrame, chain: pl.DataFrame, differences: pl.DataFrame, *, seen_at: datetime) -> None:
        """Append rows with their running hashes, and note differences, all or nothing.

        Args:
            rows: ROW_SCHEMA; no hour of them is in the table.
            chain: CHAIN_SCHEMA.
            differences: DIFFERENCE_SCHEMA; those already noted are left out.
            seen_at: when the differences were seen, timezone-aware.

        Raises:
            StorageError: an hour is there already (nothing was appended), or the file cannot be written.
            DiskFull: no space; nothing was appended.
        """
        connection = self._connection
        with _duckdb_errors(f"append to {TABLE} in {self._path}"):
            connection.begin()
            try:
                for frame, view, statement in ((rows, "appended", _APPEND), (chain, "chained", _APPEND_CHAIN)):
                    if frame.height:
                        connection.register(view, frame.to_arrow())
                        connection.execute(statement)
                        connection.unregister(view)
                if differences.height:
                    connection.register("differing", differences.to_arrow())
                    connection.execute(_APPEND_DIFFERENCES, {"seen_at": seen_at.astimezone(UTC).replace(tzinfo=None)})
                    connection.unregister("differing")
                connection.commit()
            except duckdb.Error:
                connection.rollback()
                raise


class BarsTable:
    """The table `ohlcv_btcusdt_1h` in one DuckDB file.

    Args:
        path: the file that the writer alone opens.
        connect: opens it; None opens it plainly. Dagster hands in its own DuckDB resource here.
    """

    def __init__(self, path: Path, connect: Connect | None = None) -> None:
        self.path = path
        self._connect = connect or self._plain

    @property
    def published_path(self) -> Path:
        """The copy that readers open read-only, e.g. `ohlcv_readonly.duckdb` beside `ohlcv.duckdb`."""
        return self.path.with_name(f"{self.path.stem}_readonly{self.path.suffix}")

    @property
    def lock_path(self) -> Path:
        """The lock that writers respect."""
        return self.path.with_name(self.path.name + ".lock")

    @contextmanager
    def writer(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Iterator[BarsWriter]:
        """Hold the table for writing; at the end the read-only copy is published anew where the table is newer.

        Raises:
            PartitionBusy: another writer held it all that time, or a program has the file open.
            StorageError: the file is no DuckDB file, or holds another table of that name.
            DiskFull: no space.
        """
        with writer_lock(self.lock_path, timeout_s=timeout_s):
            _refuse_other_files(self.path)
            with self._opened() as connection:
                yield BarsWriter(connection, self.path)
                with _duckdb_errors(f"checkpoint {self.path}"):
                    connection.execute("CHECKPOINT")
            self._publish()

    def snapshot(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> TableState:
        """All rows, without creating or changing anything; an absent file is an empty table."""
        if not self.path.exists():
            return TableState.empty()
        with writer_lock(self.lock_path, timeout_s=timeout_s):
            _refuse_other_files(self.path)
            return _read(self.path)

    def published(self) -> TableState:
        """What readers see: the copy; an absent one is an empty table. Never waits for the writer.

        Raises:
            StorageError: the copy cannot be read.
        """
        return _read(self.published_path) if self.published_path.exists() else TableState.empty()

    def differences(self) -> pl.DataFrame:
        """All differences between table and exchange that were ever seen (DIFFERENCE_SCHEMA), from the copy."""
        if not self.published_path.exists():
            return pl.DataFrame(schema=DIFFERENCE_SCHEMA)
        with _duckdb_errors(f"read {self.published_path}"), _read_only(self.published_path) as connection:
            return _frame(connection, _DIFFERENCES, DIFFERENCE_SCHEMA)

    def copy_to(self, target: Path, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> bool:
        """Copy the file while nobody writes it; False where there is none.

        Raises:
            DiskFull, StorageError: the copy cannot be written.
            PartitionBusy: a writer held it all that time.
        """
        with writer_lock(self.lock_path, timeout_s=timeout_s), disk_errors(f"copy {self.path}"):
            parts = [part for part in ("", ".wal") if self.path.with_name(self.path.name + part).exists()]
            for part in parts:
                shutil.copy2(self.path.with_name(self.path.name + part), target.with_name(target.name + part))
            return bool(parts)

    def set_aside(self, suffix: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Path | None:
        """Rename the file to `{name}.{suffix}` so that the next append begins a new table; None where there is none.

        Nothing is removed. Readers keep the copy of the old table until the new one is published.
        """
        with writer_lock(self.lock_path, timeout_s=timeout_s):
            if not self.path.exists():
                return None
            aside = self.path.with_name(f"{self.path.name}.{suffix}")
            with disk_errors(f"set {self.path} aside"):
                # A write-ahead log belongs to its file: left behind it would be replayed into the new one.
                for part in ("", ".wal"):
                    found = self.path.with_name(self.path.name + part)
                    if found.exists():
                        found.rename(aside.with_name(aside.name + part))
                fsync_dirs([self.path.parent])
            return aside

    @contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with disk_errors(f"create {self.path.parent}"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with _duckdb_errors(f"open {self.path}"):
            manager = self._connect()
            connection = manager.__enter__()
        try:
            # Dagster's resource closes its connection only where nothing was raised.
            with closing(connection):
                with _duckdb_errors(f"open {self.path}"):
                    connection.execute("SET TimeZone = 'UTC'")
                    connection.execute(_CREATE)
                    _refuse_other_columns(connection, self.path)
                yield connection
        finally:
            manager.__exit__(None, None, None)

    @contextmanager
    def _plain(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with closing(duckdb.connect(str(self.path))) as connection:
            yield connection

    def _publish(self) -> None:
        """Copy the closed file beside the published one, then rename: readers hold either the old or the new one."""
        target = self.published_path
        with disk_errors(f"publish {target}"):
            if target.exists() and target.stat().st_mtime_ns >= self.path.stat().st_mtime_ns:
                return
            for left_over in target.parent.glob(f".{target.name}.*"):
                left_over.unlink()
            temporary = target.with_name(f".{target.name}.{uuid4().hex}")
            try:
                shutil.copyfile(self.path, temporary)
                fsync_file(temporary)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
            fsync_dirs([target.parent])


def _state(connection: duckdb.DuckDBPyConnection) -> TableState:
    with _duckdb_errors(f"read {TABLE}"):
        rows = _frame(connection, _ROWS, ROW_SCHEMA)
        # A table that another program wrote has no chain before the feed first opens it for writing.
        if not connection.execute(_HAS_CHAIN).fetchall():
            return TableState(rows, pl.DataFrame(schema=CHAIN_SCHEMA))
        return TableState(rows, _frame(connection, _CHAIN, CHAIN_SCHEMA))


def _read(path: Path) -> TableState:
    with _duckdb_errors(f"read {path}"), _read_only(path) as connection:
        if not connection.execute(_COLUMNS).fetchall():
            return TableState.empty()
        return _state(connection)


@contextmanager
def _read_only(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with closing(duckdb.connect(str(path), read_only=True)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def _frame(connection: duckdb.DuckDBPyConnection, query: str, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    return pl.DataFrame(connection.execute(query).fetchall(), schema=schema, orient="row")


def _refuse_other_files(path: Path) -> None:
    """Tell at once what is no DuckDB file; opening it would be tried again for minutes, as if it were locked."""
    if not path.exists():
        return
    with disk_errors(f"open {path}"), path.open("rb") as file:
        start = file.read(_MAGIC_AT + len(_MAGIC))
    if start[_MAGIC_AT:] != _MAGIC:
        raise StorageError(
            f"{path} is no DuckDB file",
            remedy="Move it away and seed the table again: lake feed-1h --rebuild",
        )


def _refuse_other_columns(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    expected = {
        name: "TIMESTAMP" if str(dtype).startswith("Datetime") else "DOUBLE" for name, dtype in ROW_SCHEMA.items()
    }
    found = dict(connection.execute(_COLUMNS).fetchall())
    if found != expected:
        raise StorageError(
            f"{path} holds another {TABLE}: {found}",
            remedy="Name another file (`LAKE_FEED_DUCKDB` or --duckdb); the feed's table has its own columns",
        )


@contextmanager
def _duckdb_errors(what: str) -> Iterator[None]:
    """Turn DuckDB's errors into the lake's, naming `what`."""
    try:
        yield
    except duckdb.Error as error:
        text = str(error)
        if "lock on file" in text:
            raise PartitionBusy(
                f"{what}: another program has the file open: {text.splitlines()[0]}",
                remedy="Close it, and read the copy `..._readonly.duckdb` instead: it never blocks the writer",
            ) from error
        raise of_database(what, error, "See docs/feed_1h.md, section 'Repair'") from error
