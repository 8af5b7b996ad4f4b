"""The quality certificate of a window: what is there, where it came from, what is missing and why.

Belongs here: the record, finding it from the ledger, refusing what is not clean. Does not belong here: the rows
themselves, writing files (`slices`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import orjson

from lake_assets.quality.holes import WindowHole, find_holes, untraded_hours
from lake_assets.quality.source_gaps import SourceGap, find_source_gaps
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.completeness import completeness_pct
from lake_assets.windows import floor_minute
from lake_resources.clock import HOUR, MINUTE
from lake_resources.errors import NotClean, SettingsError, StorageError
from lake_resources.storage.catalog import floor_hour, utc
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.ledger import Ledger, PartitionFile
from lake_resources.storage.store import Store

Require = Literal["any", "clean"]


@dataclass(frozen=True)
class Certificate:
    """What is known about the minutes `[start, end)` of one symbol.

    Attributes:
        symbol: whose minutes.
        start, end: the window, half-open, UTC.
        as_of: later minutes are not expected; before `end` where the window reaches into the present.
        present_minutes: rows of the expected minutes.
        holes: the others, with causes.
        source_gaps: minutes that are there while a column of those asked for is NULL for lack of a source.
        untraded_hours: hours before the listing or after the delivery: none of their minutes is expected.
        sources: by stream, minutes that are there by kind of source; `none` means that nothing was ingested for the
            hour, so that its columns are NULL where no earlier value is carried in.
        revised_values: values that a better source gave differently than the one before it.
        data_version: hash of the committed hours; equal means the same rows.
        code_versions: of the transforms that made them.
    """

    symbol: str
    start: datetime
    end: datetime
    as_of: datetime
    present_minutes: int
    holes: tuple[WindowHole, ...]
    source_gaps: tuple[SourceGap, ...]
    untraded_hours: tuple[datetime, ...]
    sources: Mapping[str, Mapping[str, int]]
    revised_values: int
    data_version: str
    code_versions: tuple[str, ...]
    schema_hashes: tuple[str, ...]

    @property
    def missing_minutes(self) -> int:
        """Expected minutes without a row."""
        return sum(hole.minutes for hole in self.holes)

    @property
    def unexplained_minutes(self) -> int:
        """Those that no known hole of the exchange names."""
        return sum(hole.minutes for hole in self.holes if not hole.explained)

    @property
    def expected_minutes(self) -> int:
        """Minutes that must exist."""
        return self.present_minutes + self.missing_minutes

    @property
    def completeness_pct(self) -> float:
        """Percent of the expected minutes, never rounded up."""
        return completeness_pct(self.present_minutes, self.expected_minutes)

    @property
    def clean(self) -> bool:
        """Whether every hole and every gap of a column is explained, up to the end of the window."""
        return not self.unexplained_minutes and not self.unexplained_gaps and self.as_of >= self.end

    @property
    def unexplained_gaps(self) -> tuple[SourceGap, ...]:
        """Columns that are NULL for lack of a source, without an explanation."""
        return tuple(gap for gap in self.source_gaps if not gap.explained)

    def as_json(self) -> dict[str, Any]:
        """JSON values; times in ISO 8601 UTC."""
        return {
            "symbol": self.symbol,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "as_of": self.as_of.isoformat(),
            "clean": self.clean,
            "expected_minutes": self.expected_minutes,
            "present_minutes": self.present_minutes,
            "completeness_pct": self.completeness_pct,
            "untraded_hours": len(self.untraded_hours),
            "explained_minutes": self.missing_minutes - self.unexplained_minutes,
            "unexplained_minutes": self.unexplained_minutes,
            "holes": [hole.as_json() for hole in self.holes],
            "null_for_lack_of_source": [gap.as_json() for gap in self.source_gaps],
            "sources": {stream: dict(kinds) for stream, kinds in self.sources.items()},
            "revised_values": self.revised_values,
            "data_version": self.data_version,
            "code_versions": list(self.code_versions),
            "schema_hashes": list(self.schema_hashes),
        }


def certify(
    store: Store,
    symbol: str,
    start: datetime,
    end: datetime,
    *,
    now: datetime,
    lag_minutes: int,
    columns: Sequence[str] | None = None,
) -> Certificate:
    """The certificate of a window, from the ledger; only hours that lack minutes or sources are read.

    Args:
        store: the table.
        symbol: whose minutes.
        start: first minute, UTC.
        end: first minute after the window, UTC.
        now: minutes that are not closed for `lag_minutes` by now are not expected.
        lag_minutes: safety lag.
        columns: columns of the minute table that are asked for by name: each must have had its source, also those that
            only a collector can know. None is all columns, of which those need not.

    Raises:
        SettingsError: the window is empty, or not one of whole minutes.
    """
    start, end = utc(start), utc(end)
    if start >= end or floor_minute(start) != start or floor_minute(end) != end:
        raise SettingsError(
            f"[{start.isoformat()}, {end.isoformat()}) is no window of whole minutes",
            remedy="Give the first minute and the first minute after the window",
        )
    as_of = min(end, max(start, floor_minute(utc(now) - timedelta(minutes=lag_minutes))))
    hours = committed_hours(store.ledger, symbol, start, end)
    holes = tuple(find_holes(store, symbol, start, as_of, hours))
    present = _present(hours, holes, start, as_of)
    sources = {hour.start: orjson.loads(hour.sources) for hour in hours}
    untraded = sorted(untraded_hours(store.ledger, symbol, start, end, {hour.start for hour in hours}))
    absent = sum(hole.minutes for hole in holes) + sum(_minutes(hour, start, as_of) for hour in untraded)
    return Certificate(
        symbol=symbol,
        start=start,
        end=end,
        as_of=as_of,
        present_minutes=(as_of - start) // MINUTE - absent,
        holes=holes,
        source_gaps=tuple(find_source_gaps(store, symbol, start, as_of, sources, present, columns)),
        untraded_hours=tuple(untraded),
        sources=_sources(sources, present),
        revised_values=len(store.ledger.revisions(symbol, start, end)),
        data_version=data_version(hours),
        code_versions=tuple(sorted({hour.code_version for hour in hours})),
        schema_hashes=tuple(sorted({hour.schema_hash for hour in hours})),
    )


def committed_hours(ledger: Ledger, symbol: str, start: datetime, end: datetime) -> list[PartitionFile]:
    """Committed hours that overlap `[start, end)`, in order."""
    return ledger.partition_files(symbol, start, end)


def data_version(hours: Sequence[PartitionFile]) -> str:
    """Hash of what is committed: hours and their contents."""
    return hashlib.sha256("\n".join(f"{h.start:%Y-%m-%dT%H} {h.content_hash}" for h in hours).encode()).hexdigest()


def require_clean(certificate: Certificate) -> None:
    """Refuse a window with holes or lost columns that nothing explains, or that reaches beyond what must exist by now.

    Raises:
        NotClean: with the first holes and columns.
    """
    if certificate.clean:
        return
    found = [hole for hole in certificate.holes if not hole.explained]
    shown = [f"{hole.start:%Y-%m-%d %H:%M} to {hole.end:%Y-%m-%d %H:%M} ({hole.cause})" for hole in found[:3]]
    if certificate.as_of < certificate.end:
        shown.append(f"minutes from {certificate.as_of:%Y-%m-%d %H:%M} on need not exist yet")
    gaps = certificate.unexplained_gaps
    shown += [f"{gap.column} is NULL in {gap.minutes:,} minutes ({gap.stream}: {gap.cause})" for gap in gaps[:5]]
    if len(gaps) > 5:
        shown.append(f"{len(gaps) - 5} more columns")
    raise NotClean(
        f"{certificate.symbol} [{certificate.start:%Y-%m-%d %H:%M}, {certificate.end:%Y-%m-%d %H:%M}) is not clean:"
        f" {certificate.unexplained_minutes} minutes without an explanation in {len(found)} hole(s):"
        f" {'; '.join(shown)}",
        remedy="Backfill the window, declare the hole if the exchange lacks these minutes, ask for other columns, or"
        " ask without `clean`",
    )


def verify(store: Store, certificate: Certificate) -> None:
    """Hold a certificate against the lake as it is now: the same committed hours, and files with their bytes.

    Raises:
        StorageError: hours of the window were committed since, or a file is gone or has other bytes.
    """
    expected = _expected_files(store.ledger, certificate)
    while (other := _first_other(store, expected)) is not None:
        # The file may be of a commit that was not there when the ledger was asked: then it says so now.
        now = _expected_files(store.ledger, certificate)
        if now == expected:
            raise StorageError(
                f"{other} is not the file that was committed", remedy="Repair it: `lake backfill-range --full`"
            )
        expected = now


def _expected_files(ledger: Ledger, certificate: Certificate) -> dict[str, str]:
    """Content hash by path, relative to the root, of every file that the window is read from."""
    symbol, start, end = certificate.symbol, certificate.start, certificate.end
    segments = ledger.compacted_files(symbol, floor_hour(start), end)
    hours = committed_hours(ledger, symbol, start, end)
    if data_version(hours) != certificate.data_version:
        raise StorageError(f"{symbol}: hours of the window were committed since it was certified", remedy="Load again")
    served = {hour: segment for segment in segments for hour in segment.served}
    return {found.path: found.content_hash for hour in hours for found in [served.get(hour.start, hour)]}


def _first_other(store: Store, expected: Mapping[str, str]) -> Path | None:
    """The first file that is not there with these bytes."""
    for relative, content_hash in expected.items():
        path = store.catalog.absolute(relative)
        try:
            found = file_hash(path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return path
        if found != content_hash:
            return path
    return None


def _minutes(hour: datetime, start: datetime, end: datetime) -> int:
    """How many minutes of an hour lie in `[start, end)`."""
    return max(0, (min(hour + HOUR, end) - max(hour, start)) // MINUTE)


def _present(
    hours: Sequence[PartitionFile], holes: Sequence[WindowHole], start: datetime, end: datetime
) -> dict[datetime, int]:
    """Minutes of `[start, end)` that each committed hour has."""
    found = {hour.start: _minutes(hour.start, start, end) for hour in hours}
    for hole in holes:
        hour = floor_hour(hole.start)
        while hour < hole.end:
            if hour in found:
                found[hour] -= _minutes(hour, hole.start, hole.end)
            hour += HOUR
    return found


def _sources(
    sources_of: Mapping[datetime, Mapping[str, Any]], present: Mapping[datetime, int]
) -> dict[str, dict[str, int]]:
    counted: Counter[tuple[str, str]] = Counter()
    for hour, refs in sources_of.items():
        for stream in {*UM_MINUTE.uses, *refs}:
            counted[stream, refs[stream]["kind"] if stream in refs else "none"] += present[hour]
    found: dict[str, dict[str, int]] = {}
    for (stream, kind), minutes in sorted(counted.items()):
        if minutes:
            found.setdefault(stream, {})[kind] = minutes
    return found
