"""The quality certificate of a window: what is there, where it came from, what is missing and why.

Belongs here: the record, finding it from the ledger, refusing what is not clean. Does not belong here: the rows
themselves, writing files (`exports`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import orjson

from lake_assets.at_rest import TableStore
from lake_assets.inputs.doubted_hours import doubted_hours
from lake_assets.live.live_tail import LiveTail
from lake_assets.quality.holes import WindowHole, find_holes, untraded_partitions
from lake_assets.quality.source_gaps import SourceGap, find_source_gaps
from lake_assets.schema.table import Table
from lake_assets.validation.completeness import completeness_pct
from lake_assets.validation.hour_verdict import Verdict
from lake_resources.errors import NotClean, SettingsError, StorageError
from lake_resources.layout import TableLayout
from lake_resources.storage.catalog import utc
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.ledger import Ledger, PartitionFile

Require = Literal["any", "clean"]
Key = TypeVar("Key")
Value = TypeVar("Value")
_REFUSED = frozenset({"contradicted", "provisional"})


@dataclass(frozen=True)
class Certificate:
    """What is known about the rows `[start, end)` of one symbol.

    Attributes:
        table: whose rows: its grain says what a row is, its span what a partition is.
        symbol: the symbol.
        start, end: the window, half-open, UTC.
        as_of: later rows are not expected; before `end` where the window reaches into the present.
        present_rows: expected rows that are there.
        holes: the others, with causes.
        source_gaps: rows that are there while a column of those asked for is NULL for lack of a source.
        doubts: verdicts of the partitions of the window that are neither clean nor explained.
        open_partitions: committed ones that were not complete yet: their rows may still change.
        untraded: partitions before the listing or after the delivery: none of their rows is expected.
        sources: by stream, rows that are there by kind of source; `none` means that nothing was ingested for the
            partition, so that its columns are NULL where no earlier value is carried in.
        revised_values: values that a better source gave differently than the one before it.
        data_version: hash of the committed partitions; equal means the same rows.
        code_versions: of the transforms that made them.
        provisional_from: where live rows were asked for: rows at and after this may still change, UTC.
        live_from: where live rows were asked for: no row at or after this is a committed one, UTC.
        live_rows: how many the collector gave; none of them counts among `present_rows`.
    """

    table: Table = field(repr=False)
    symbol: str
    start: datetime
    end: datetime
    as_of: datetime
    present_rows: int
    holes: tuple[WindowHole, ...]
    source_gaps: tuple[SourceGap, ...]
    doubts: Mapping[datetime, Verdict]
    open_partitions: tuple[datetime, ...]
    untraded: tuple[datetime, ...]
    sources: Mapping[str, Mapping[str, int]]
    revised_values: int
    data_version: str
    code_versions: tuple[str, ...]
    schema_hashes: tuple[str, ...]
    provisional_from: datetime | None = None
    live_from: datetime | None = None
    live_rows: int = 0

    @property
    def missing_rows(self) -> int:
        """Expected rows that are not there."""
        return sum(hole.rows for hole in self.holes)

    @property
    def unexplained_rows(self) -> int:
        """Those that no known hole of the exchange names."""
        return sum(hole.rows for hole in self.holes if not hole.explained)

    @property
    def expected_rows(self) -> int:
        """Rows that must exist."""
        return self.present_rows + self.missing_rows

    @property
    def completeness_pct(self) -> float:
        """Percent of the expected rows, never rounded up."""
        return completeness_pct(self.present_rows, self.expected_rows)

    @property
    def clean(self) -> bool:
        """Whether all holes and gaps of columns are explained, nothing in doubt, up to the end of the window."""
        explained = not self.unexplained_rows and not self.unexplained_gaps and not self.refused
        return explained and self.as_of >= self.end

    @property
    def refused(self) -> Mapping[datetime, Verdict]:
        """Partitions that are not handed out as clean whatever the columns; what a stream lacks its gaps say."""
        return {start: found for start, found in self.doubts.items() if found.kind in _REFUSED}

    @property
    def unexplained_gaps(self) -> tuple[SourceGap, ...]:
        """Columns that are NULL for lack of a source, without an explanation."""
        return tuple(gap for gap in self.source_gaps if not gap.explained)

    def as_json(self) -> dict[str, Any]:
        """JSON values; times in ISO 8601 UTC, counts named by what a row and a partition of the table are."""
        word, span = self.table.row_word, self.table.layout.span
        return {
            "table": self.table.name,
            "symbol": self.symbol,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "as_of": self.as_of.isoformat(),
            "clean": self.clean,
            f"expected_{word}s": self.expected_rows,
            f"present_{word}s": self.present_rows,
            "completeness_pct": self.completeness_pct,
            f"untraded_{span}s": len(self.untraded),
            f"explained_{word}s": self.missing_rows - self.unexplained_rows,
            f"unexplained_{word}s": self.unexplained_rows,
            "holes": [hole.as_json(word) for hole in self.holes],
            "verdicts": {start.isoformat(): found.text for start, found in self.doubts.items()},
            "null_for_lack_of_source": [gap.as_json(word) for gap in self.source_gaps],
            "sources": {stream: dict(kinds) for stream, kinds in self.sources.items()},
            "revised_values": self.revised_values,
            "data_version": self.data_version,
            "code_versions": list(self.code_versions),
            "schema_hashes": list(self.schema_hashes),
            **self._live_as_json(),
        }

    def _live_as_json(self) -> dict[str, Any]:
        if self.provisional_from is None or self.live_from is None:
            return {}
        return {
            "provisional_from": self.provisional_from.isoformat(),
            "live_from": self.live_from.isoformat(),
            f"live_{self.table.row_word}s": self.live_rows,
        }


class _Later(Mapping[Key, Value]):
    """A mapping that is made when it is first looked into: what a year of partitions is made of takes a while to read.

    Args:
        make: makes it.
    """

    def __init__(self, make: Callable[[], Mapping[Key, Value]]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> Mapping[Key, Value]:
        return self._make()

    def __getitem__(self, key: Key) -> Value:
        return self._made[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def certify(
    store: TableStore,
    symbol: str,
    start: datetime,
    end: datetime,
    *,
    now: datetime,
    lag_minutes: int,
    columns: Sequence[str] | None = None,
) -> Certificate:
    """The certificate of a window, from the ledger; only partitions that lack rows or sources are read.

    Args:
        store: the table.
        symbol: whose rows.
        start: first row, UTC.
        end: time after the last row of the window, UTC.
        now: rows that are not closed for `lag_minutes` by now are not expected.
        lag_minutes: safety lag.
        columns: columns of the table that are asked for by name: each must have had its source, also those that only a
            collector can know. None is all columns, of which those need not.

    Raises:
        SettingsError: the window is empty, or not one of whole rows.
    """
    table, layout, start, end = store.table, store.layout, utc(start), utc(end)
    if start >= end or layout.row_start(start) != start or layout.row_start(end) != end:
        raise SettingsError(
            f"[{start.isoformat()}, {end.isoformat()}) is no window of whole {table.row_word}s",
            remedy=f"Give the first {table.row_word} and the first {table.row_word} after the window",
        )
    as_of = min(end, max(start, layout.row_start(utc(now) - timedelta(minutes=lag_minutes))))
    files = store.ledger.partition_files(symbol, start, end)
    holes = tuple(find_holes(store, symbol, start, as_of, files))
    present = _Later(lambda: _present(layout, files, holes, start, as_of))
    sources = _Later(lambda: {file.start: orjson.loads(file.sources) for file in files})
    untraded = sorted(untraded_partitions(store, symbol, start, end, {file.start for file in files}))
    absent = sum(hole.rows for hole in holes) + sum(_rows(layout, each, start, as_of) for each in untraded)
    return Certificate(
        table=table,
        symbol=symbol,
        start=start,
        end=end,
        as_of=as_of,
        present_rows=(as_of - start) // layout.grain - absent,
        holes=holes,
        source_gaps=tuple(find_source_gaps(store, symbol, start, as_of, sources, present, columns)),
        doubts=_doubts(store.ledger, symbol, start, as_of, files),
        open_partitions=tuple(file.start for file in files if not file.complete),
        untraded=tuple(untraded),
        sources=_Later(lambda: _sources(table, sources, present)),
        revised_values=len(store.ledger.revisions(symbol, start, end)),
        data_version=data_version(files),
        code_versions=tuple(sorted({file.code_version for file in files})),
        schema_hashes=tuple(sorted({file.schema_hash for file in files})),
    )


def with_live(certificate: Certificate, tail: LiveTail) -> Certificate:
    """The certificate of a window whose committed rows are followed by live ones: it says from when."""
    return replace(
        certificate, provisional_from=tail.provisional_from, live_from=tail.since, live_rows=tail.rows.height
    )


def data_version(files: Sequence[PartitionFile]) -> str:
    """Hash of what is committed: partitions and their contents."""
    lines = [f"{file.start.isoformat()[:13]} {file.content_hash}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def require_clean(certificate: Certificate) -> None:
    """Refuse a window with holes or lost columns that nothing explains, or that reaches beyond what must exist by now.

    Raises:
        NotClean: with the first holes and columns.
    """
    if certificate.clean:
        return
    text, word = certificate.table.row_text, certificate.table.row_word
    found = [hole for hole in certificate.holes if not hole.explained]
    shown = [f"{text(hole.start)} to {text(hole.end)} ({hole.cause})" for hole in found[:3]]
    if certificate.as_of < certificate.end:
        shown.append(f"{word}s from {text(certificate.as_of)} on need not exist yet")
    shown += [f"{text(start)} is {doubt.text}" for start, doubt in [*certificate.refused.items()][:3]]
    gaps = certificate.unexplained_gaps
    shown += [f"{gap.column} is NULL in {gap.rows:,} {word}s ({gap.stream}: {gap.cause})" for gap in gaps[:5]]
    if len(gaps) > 5:
        shown.append(f"{len(gaps) - 5} more columns")
    raise NotClean(
        f"{certificate.symbol} [{text(certificate.start)}, {text(certificate.end)}) is not clean:"
        f" {certificate.unexplained_rows} {word}s without an explanation in {len(found)} hole(s):"
        f" {'; '.join(shown)}",
        remedy="Backfill the window, declare the hole if the exchange lacks these rows, ask for other columns, or"
        " ask without `clean`",
    )


def verify(store: TableStore, certificate: Certificate) -> None:
    """Hold a certificate against the lake as it is now: the same committed partitions, and files with their bytes.

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
    compacted_files = ledger.compacted_files(symbol, start, end)
    files = ledger.partition_files(symbol, start, end)
    if data_version(files) != certificate.data_version:
        raise StorageError(f"{symbol}: hours of the window were committed since it was certified", remedy="Load again")
    served = {start: compacted for compacted in compacted_files for start in compacted.served}
    return {found.path: found.content_hash for file in files for found in [served.get(file.start, file)]}


def _first_other(store: TableStore, expected: Mapping[str, str]) -> Path | None:
    """The first file that is not there with these bytes."""
    for relative, content_hash in expected.items():
        path = store.files.here(relative)
        try:
            found = file_hash(path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return path
        if found != content_hash:
            return path
    return None


def _doubts(
    ledger: Ledger, symbol: str, start: datetime, end: datetime, files: Sequence[PartitionFile]
) -> dict[datetime, Verdict]:
    """Verdicts of complete partitions; of an open one the end of the window says enough."""
    complete = {file.start for file in files if file.complete}
    return {each: found for each, found in doubted_hours(ledger, symbol, start, end).items() if each in complete}


def _rows(layout: TableLayout, partition: datetime, start: datetime, end: datetime) -> int:
    """How many rows of a partition lie in `[start, end)`."""
    return max(0, (min(partition + layout.step, end) - max(partition, start)) // layout.grain)


def _present(
    layout: TableLayout, files: Sequence[PartitionFile], holes: Sequence[WindowHole], start: datetime, end: datetime
) -> dict[datetime, int]:
    """Rows of `[start, end)` that each committed partition has."""
    found = {file.start: _rows(layout, file.start, start, end) for file in files}
    for hole in holes:
        for partition in layout.between(hole.start, hole.end):
            if partition in found:
                found[partition] -= _rows(layout, partition, hole.start, hole.end)
    return found


def _sources(
    table: Table, sources_of: Mapping[datetime, Mapping[str, Any]], present: Mapping[datetime, int]
) -> dict[str, dict[str, int]]:
    counted: Counter[tuple[str, str]] = Counter()
    for partition, refs in sources_of.items():
        for stream in {*table.uses, *refs}:
            counted[stream, refs[stream]["kind"] if stream in refs else "none"] += present[partition]
    found: dict[str, dict[str, int]] = {}
    for (stream, kind), rows in sorted(counted.items()):
        if rows:
            found.setdefault(stream, {})[kind] = rows
    return found
