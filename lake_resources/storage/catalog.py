"""Where each file of the lake lies.

Belongs here: every path below the lake's root, as a pure function of table, symbol, stream, time and content hash.
Does not belong here: reading or writing the files, or looking at what exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

HOUR = timedelta(hours=1)


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


@dataclass(frozen=True)
class Catalog:
    """All paths below one root.

    Args:
        root: directory of the lake; the ledger keeps paths relative to it, so the lake can be moved.
    """

    root: Path

    def minute_path(self, symbol: str, hour: datetime) -> Path:
        """Hive path of one hour of the minute table. Readers outside the lake depend on it: zero-padded parts."""
        hour = whole_hour(hour)
        return (
            self.root / "futures" / "um" / "minute" / f"symbol={_part(symbol)}" / f"year={hour:%Y}" / f"month={hour:%m}"
        ) / f"day={hour:%d}/hour={hour:%H}/part.parquet"

    def segment_path(self, symbol: str, period: str, content_hash: str) -> Path:
        """Many hours in one file, `period` being `YYYY-MM-DD` or `YYYY-MM`; each content has a file of its own.

        The tree is not the hours': who globs that one never reads a minute twice.
        """
        return self.segments_dir(symbol) / f"{_part(period)}-{_part(content_hash[:12])}.parquet"

    def segments_dir(self, symbol: str) -> Path:
        """Directory of a symbol's day and month files."""
        return self.root / "futures" / "um" / "minute_compacted" / f"symbol={_part(symbol)}"

    def report_path(self, symbol: str, month: datetime) -> Path:
        """Report card of a symbol's month; its picture lies beside it."""
        return self.root / "reports" / "minute" / f"symbol={_part(symbol)}" / f"{utc(month):%Y-%m}.md"

    def archive_path(self, stream: str, symbol: str, period: str, sha256: str) -> Path:
        """Typed rows of one Vision zip; `sha256` is the zip's, so each re-publication has a file of its own."""
        directory = self.root / "vision" / "futures" / "um" / _part(stream) / f"symbol={_part(symbol)}"
        return directory / f"{_part(period)}-{_part(sha256[:12])}.parquet"

    def capture_path(self, stream: str, symbol: str, hour: datetime, content_hash: str) -> Path:
        """What REST returned for one hour of one stream; each different answer has a file of its own."""
        hour = whole_hour(hour)
        directory = self.root / "captures" / "rest" / "um" / _part(stream) / f"symbol={_part(symbol)}"
        return directory / f"date={hour:%Y-%m-%d}" / f"hour={hour:%H}-{_part(content_hash[:12])}.parquet"

    def live_rows_path(self, symbol: str, hour: datetime) -> Path:
        """What the collector made of one hour of a symbol."""
        hour = whole_hour(hour)
        directory = self.root / "live" / "um" / f"symbol={_part(symbol)}"
        return directory / f"date={hour:%Y-%m-%d}" / f"hour={hour:%H}.parquet"

    @property
    def live_records_dir(self) -> Path:
        """Directory of the collector's raw records."""
        return self.root / "live_records" / "um"

    def quarantine_path(self, symbol: str, hour: datetime, content_hash: str) -> Path:
        """Rows that broke the gate."""
        name = f"{whole_hour(hour):%Y-%m-%dT%H}-{_part(content_hash[:12])}.parquet"
        return self.quarantine_dir / _part(symbol) / name

    @property
    def quarantine_dir(self) -> Path:
        """Directory of all rows that broke the gate."""
        return self.root / "quarantine"

    @property
    def temp_dir(self) -> Path:
        """Directory of staged files; on the same file system as the rest, so that a rename publishes."""
        return self.root / ".tmp"

    def lock_path(self, symbol: str) -> Path:
        """Lock file of the one writer of a symbol's minute table."""
        return self.root / ".locks" / f"minute-{_part(symbol)}.lock"

    def live_lock_path(self, symbol: str) -> Path:
        """Lock file of the one writer of a symbol's live rows."""
        return self.root / ".locks" / f"live-{_part(symbol)}.lock"

    @property
    def views_path(self) -> Path:
        """List of the DuckDB files with the view `minute`."""
        return self.root / "views.json"

    @property
    def views_lock_path(self) -> Path:
        """Lock file of the one writer of these files."""
        return self.root / ".locks" / "views.lock"

    @property
    def collector_lock_path(self) -> Path:
        """Lock file of the one collector of a lake."""
        return self.root / ".locks" / "collector.lock"

    @property
    def outbox_lock_path(self) -> Path:
        """Lock of the process that delivers messages to people."""
        return self.root / ".locks" / "outbox.lock"

    def relative(self, path: Path) -> str:
        """`path` as the ledger keeps it: relative to the root, with forward slashes."""
        return path.relative_to(self.root).as_posix()

    def absolute(self, path: str) -> Path:
        """The file of a ledger path.

        Raises:
            ValueError: if the path would leave the root.
        """
        relative = PurePosixPath(path)
        if relative.is_absolute() or ".." in relative.parts:
            raise ValueError(f"ledger path {path!r} leaves the lake's root")
        return self.root / relative
