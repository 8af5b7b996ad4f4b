"""Where each file of the lake lies.

Belongs here: every path below the lake's root, as a pure function of table, symbol, stream, time and content hash.
Does not belong here: reading or writing the files, or looking at what exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath

from lake_resources.layout import FIRST_MARKET, FIRST_TABLE, TableLayout


@lru_cache(maxsize=8_192)
def _below(root: Path, path: str) -> Path:
    """Kept, for a turn of the resident builder names the same files again and again."""
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts:
        raise ValueError(f"ledger path {path!r} leaves the lake's root")
    return root / relative


def floor_hour(instant: datetime) -> datetime:
    """Start of the UTC hour that holds `instant`."""
    return utc(instant).replace(minute=0, second=0, microsecond=0)


def utc(instant: datetime) -> datetime:
    """The same instant in UTC.

    Raises:
        ValueError: if `instant` carries no time zone.
    """
    if instant.tzinfo is UTC:
        return instant
    if instant.tzinfo is None:
        raise ValueError(f"{instant!r} has no time zone; every instant of the lake is timezone-aware UTC")
    return instant.astimezone(UTC)


def whole_hour(hour: datetime) -> datetime:
    """`hour` in UTC, checked to be the start of an hour.

    Raises:
        ValueError: if it is not.
    """
    hour = utc(hour)
    if hour.minute or hour.second or hour.microsecond:
        raise ValueError(f"{hour.isoformat()} is not the start of a UTC hour")
    return hour


def _part(name: str) -> str:
    """A symbol, stream or period as one path part; a separator in it would leave its directory."""
    if not name or name in {".", ".."} or any(mark in name for mark in "/\\=\0"):
        raise ValueError(f"{name!r} cannot be part of a path of the lake")
    return name


@lru_cache(maxsize=1_024)
def _live_rows_path(root: Path, market: str, symbol: str, hour: datetime) -> Path:
    """The builder asks for the same few ten times a second: putting one together takes longer than to look at it."""
    hour = whole_hour(hour)
    directory = root / "live" / market / f"symbol={_part(symbol)}"
    return directory / f"date={hour:%Y-%m-%d}" / f"hour={hour:%H}.parquet"


@dataclass(frozen=True)
class LakePaths:
    """The paths that a lake has once, whatever its tables.

    Args:
        root: directory of the lake; the ledger keeps paths relative to it, so the lake can be moved.
    """

    root: Path

    @property
    def temp_dir(self) -> Path:
        """Directory of staged files; on the same file system as the rest, so that a rename publishes."""
        return self.root / ".tmp"

    @property
    def quarantine_dir(self) -> Path:
        """Directory of all rows that broke a gate, and of archives that could not be read."""
        return self.root / "quarantine"

    @property
    def outbox_lock_path(self) -> Path:
        """Lock of the process that delivers messages to people."""
        return self._lock("outbox")

    @property
    def replace_lock_path(self) -> Path:
        """Lock of who replaces a small file that it has read."""
        return self._lock("replace")

    @property
    def builder_lock_path(self) -> Path:
        """Lock of the one resident builder of the hot band."""
        return self._lock("hot-builder")

    def relative(self, path: Path) -> str:
        """`path` as the ledger keeps it: relative to the root, with forward slashes."""
        return path.relative_to(self.root).as_posix()

    def absolute(self, path: str) -> Path:
        """The file of a ledger path.

        Raises:
            ValueError: if the path would leave the root.
        """
        return _below(self.root, path)

    def _lock(self, name: str) -> Path:
        return self.root / ".locks" / f"{name}.lock"


@dataclass(frozen=True)
class MarketPaths(LakePaths):
    """The paths of what is collected of one market, whatever its tables.

    Args:
        market: name of the market, e.g. `spot`.
    """

    market: str

    @property
    def live_records_dir(self) -> Path:
        """Directory of the collector's raw records; retention takes the oldest of them."""
        return self.root / "live_records" / self.market

    @property
    def imported_records_dir(self) -> Path:
        """Directory of raw records that were imported; nothing of them is ever taken away."""
        return self.root / "imported_records" / self.market

    @property
    def collector_lock_path(self) -> Path:
        """Lock file of the one collector of the market."""
        return self._lock(f"collector{self._suffix}")

    @property
    def import_lock_path(self) -> Path:
        """Lock file of the one importer of the market's raw records."""
        return self._lock(f"import-{self.market}")

    @property
    def _suffix(self) -> str:
        return "" if self.market == FIRST_MARKET else f"-{self.market}"


@dataclass(frozen=True)
class Catalog(LakePaths):
    """The paths of one table, and of the raw inputs of its market.

    Args:
        layout: the table; it says where the table and its market lie, and how long a partition is.
    """

    layout: TableLayout

    def partition_path(self, symbol: str, start: datetime) -> Path:
        """Hive path of a partition. Readers outside the lake depend on it: zero-padded parts."""
        return self.partitions_dir(symbol) / self.layout.hive(start) / "part.parquet"

    def named_partition_path(self, symbol: str, start: datetime, content_hash: str) -> Path:
        """A partition whose name holds its hash, beside those of other contents: the ledger says which one is read."""
        return self.partition_path(symbol, start).with_name(f"part-{_part(content_hash)}.parquet")

    def partitions_dir(self, symbol: str) -> Path:
        """Directory of a symbol's partitions."""
        return self._market_dir / self.layout.directory / f"symbol={_part(symbol)}"

    def compacted_path(self, symbol: str, period: str, content_hash: str) -> Path:
        """Many partitions in one file, `period` being `YYYY-MM-DD` or `YYYY-MM`; each content has a file of its own.

        The tree is not the partitions': who globs that one never reads a row twice.
        """
        return self.compacted_dir(symbol) / f"{_part(period)}-{_part(content_hash[:12])}.parquet"

    def compacted_dir(self, symbol: str) -> Path:
        """Directory of a symbol's day and month files."""
        return self._market_dir / f"{self.layout.directory}_compacted" / f"symbol={_part(symbol)}"

    def report_path(self, symbol: str, month: datetime) -> Path:
        """Report card of a symbol's month; its picture lies beside it."""
        return self.root / "reports" / self._name / f"symbol={_part(symbol)}" / f"{utc(month):%Y-%m}.md"

    def archive_path(self, stream: str, symbol: str, period: str, sha256: str) -> Path:
        """Typed rows of one Vision zip; `sha256` is the zip's, so each re-publication has a file of its own."""
        directory = self.archives_dir / _part(stream) / f"symbol={_part(symbol)}"
        return directory / f"{_part(period)}-{_part(sha256[:12])}.parquet"

    def capture_path(self, stream: str, symbol: str, hour: datetime, content_hash: str) -> Path:
        """What REST returned for one hour of one stream; each different answer has a file of its own."""
        hour = whole_hour(hour)
        directory = self.captures_dir / _part(stream) / f"symbol={_part(symbol)}"
        return directory / f"date={hour:%Y-%m-%d}" / f"hour={hour:%H}-{_part(content_hash[:12])}.parquet"

    @property
    def archives_dir(self) -> Path:
        """Directory of the typed archives of the market, by stream."""
        return self.root / "vision" / self.layout.market_directory

    @property
    def captures_dir(self) -> Path:
        """Directory of what REST returned for the market, by stream."""
        return self.root / "captures" / "rest" / self.layout.market

    def live_rows_path(self, symbol: str, hour: datetime) -> Path:
        """What the collector made of one hour of a symbol."""
        return _live_rows_path(self.root, self.layout.market, symbol, hour)

    @property
    def live_records_dir(self) -> Path:
        """Directory of the collector's raw records."""
        return self.of_market.live_records_dir

    @property
    def of_market(self) -> MarketPaths:
        """What is collected of the table's market."""
        return MarketPaths(self.root, self.layout.market)

    @property
    def refused_dir(self) -> Path:
        """Directory of the table's rows that broke the gate, by symbol."""
        return self.quarantine_dir if self.layout.name == FIRST_TABLE else self.quarantine_dir / self.layout.name

    def quarantine_path(self, symbol: str, start: datetime, content_hash: str) -> Path:
        """Rows of a partition that broke the gate."""
        return self.refused_dir / _part(symbol) / f"{self.layout.text(start)}-{_part(content_hash[:12])}.parquet"

    def lock_path(self, symbol: str) -> Path:
        """Lock file of the one writer of a symbol's rows of the table."""
        return self._lock(f"{self._name}-{_part(symbol)}")

    def live_lock_path(self, symbol: str) -> Path:
        """Lock file of the one writer of a symbol's live rows."""
        return self._lock(f"live{self._market_suffix}-{_part(symbol)}")

    @property
    def views_path(self) -> Path:
        """List of the DuckDB files with a view of the table."""
        return self.root / f"views{self._suffix}.json"

    @property
    def views_lock_path(self) -> Path:
        """Lock file of the one writer of these files."""
        return self._lock(f"views{self._suffix}")

    @property
    def _market_dir(self) -> Path:
        return self.root / self.layout.market_directory

    @property
    def _name(self) -> str:
        """What sets the table apart where tables of all markets lie side by side."""
        return self.layout.directory if self.layout.name == FIRST_TABLE else self.layout.name

    @property
    def _suffix(self) -> str:
        return "" if self.layout.name == FIRST_TABLE else f"-{self.layout.name}"

    @property
    def _market_suffix(self) -> str:
        return "" if self.layout.market == FIRST_MARKET else f"-{self.layout.market}"
