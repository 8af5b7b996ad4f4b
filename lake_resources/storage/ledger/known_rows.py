"""What the ledger says of several symbols in a window, read at once: a turn over all of them asks once.

Belongs here: which readings are answered from memory, and what makes them be read anew. Does not belong here: any other
statement on these rows (`source_rows`, `event_rows`, `listing_rows`, `fact_rows`); what a commit decides by, which it
reads under its lock: of `partitions` only verdicts are kept, of `intents` nothing.

What this process writes is never told from memory. What others write meanwhile is told from the next reading on, as by
any reading that was made a moment before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lake_resources.known_hole import KnownHole
from lake_resources.storage.catalog import floor_hour, utc
from lake_resources.storage.ledger.event_rows import ANY_SYMBOL, EventRows, MissingSource, QuarantineEntry
from lake_resources.storage.ledger.fact_rows import FactRows
from lake_resources.storage.ledger.listing_rows import Listing, ListingRows
from lake_resources.storage.ledger.partition_rows import Decide, PartitionRows
from lake_resources.storage.ledger.source_rows import Archive, Capture, SourceRows, of_days

_Key = tuple[str, ...]


@dataclass(frozen=True)
class _Known:
    """Rows by kind and key, of symbols in `[start, end)`, UTC; a key of `stale` was written since."""

    symbols: frozenset[str]
    start: datetime
    end: datetime
    rows: Mapping[_Key, list[Any]]
    stale: set[_Key] = field(default_factory=set)

    def of(self, symbol: str, start: datetime, end: datetime, *key: str) -> list[Any] | None:
        """Rows of a key, all of those in its window; None where they are not known, or not any more."""
        if symbol not in self.symbols or start < self.start or end > self.end or key in self.stale:
            return None
        return self.rows.get(key, [])


class KnownRows(FactRows, SourceRows, EventRows, ListingRows, PartitionRows):
    """Readings that are answered from memory after `know`, until `forget`; of one thread."""

    _known: _Known | None = None

    def know(self, symbols: Collection[str], start: datetime, end: datetime) -> None:
        """Read what the ledger says of symbols in `[start, end)`; it is told from memory until `forget`.

        Args:
            symbols: of the market.
            start: first instant, UTC, whole hours.
            end: first instant after the window, UTC.
        """
        self._known = None
        wanted, rows = sorted(symbols), dict[_Key, list[Any]]()

        def put(kind: str, found: Iterable[Any], key: Callable[[Any], _Key]) -> None:
            for row in found:
                rows.setdefault((kind, *key(row)), []).append(row)

        put("archives", self.archives_of(wanted, start, end), lambda row: (row.symbol, row.stream))
        put("captures", self.captures_of(wanted, start, end), lambda row: (row.symbol, row.stream))
        put("missing", self.missing_of(wanted), lambda row: (row.symbol, row.stream))
        put("quarantine", self.quarantined_of(wanted, start, end), lambda row: (row.symbol,))
        put("verdicts", self.verdicts_of(wanted, start, end), lambda row: (row[0],))
        put("listing", self.listings_of(wanted), lambda row: (row.symbol,))
        put("holes", self.known_holes_of([*wanted, ANY_SYMBOL], start, end), lambda _: ())
        self._known = _Known(frozenset(wanted), start, end, rows)

    def forget(self) -> None:
        """Read everything anew from now on."""
        self._known = None

    def _remembered(self, symbol: str, span: tuple[datetime, datetime] | None, *key: str) -> list[Any] | None:
        known = self._known
        if known is None:
            return None
        return known.of(symbol, *(span or (known.start, known.end)), *key)

    def _written(self, *key: str) -> None:
        if self._known is not None:
            self._known.stale.add(key)

    def archives_between(self, symbol: str, stream: str, start: datetime, end: datetime) -> list[Archive]:
        """As `SourceRows` says."""
        known = self._remembered(symbol, (start, end), "archives", symbol, stream)
        return super().archives_between(symbol, stream, start, end) if known is None else of_days(known, start, end)

    def captures_between(self, symbol: str, stream: str, start: datetime, end: datetime) -> list[Capture]:
        """As `SourceRows` says."""
        known = self._remembered(symbol, (floor_hour(start), end), "captures", symbol, stream)
        if known is None:
            return super().captures_between(symbol, stream, start, end)
        first, last = floor_hour(start), utc(end)
        return [row for row in known if first <= row.hour < last]

    def record_archive(self, archive: Archive) -> None:
        """As `SourceRows` says."""
        self._written("archives", archive.symbol, archive.stream)
        super().record_archive(archive)

    def record_captures(self, captures: Iterable[Capture]) -> None:
        """As `SourceRows` says."""
        captures = list(captures)
        for capture in captures:
            self._written("captures", capture.symbol, capture.stream)
        super().record_captures(captures)

    def missing_sources(
        self, symbol: str | None = None, stream: str | None = None, *, resolved: bool = False
    ) -> list[MissingSource]:
        """As `EventRows` says."""
        known = None
        if symbol is not None and stream is not None and not resolved:
            known = self._remembered(symbol, None, "missing", symbol, stream)
        return super().missing_sources(symbol, stream, resolved=resolved) if known is None else list(known)

    def record_missing(self, symbol: str, stream: str, period: str, source: str, reason: str, *, at: datetime) -> None:
        """As `EventRows` says."""
        self._written("missing", symbol, stream)
        super().record_missing(symbol, stream, period, source, reason, at=at)

    def resolve_missing(self, symbol: str, stream: str, period: str, source: str | None = None, *, at: datetime) -> int:
        """As `EventRows` says."""
        self._written("missing", symbol, stream)
        return super().resolve_missing(symbol, stream, period, source, at=at)

    def quarantined(
        self, symbol: str, start: datetime, end: datetime, *, resolved: bool = False
    ) -> list[QuarantineEntry]:
        """As `EventRows` says."""
        known = None if resolved else self._remembered(symbol, (start, end), "quarantine", symbol)
        if known is None:
            return super().quarantined(symbol, start, end, resolved=resolved)
        return [row for row in known if utc(start) <= row.start < utc(end)]

    def record_quarantine(
        self, symbol: str, start: datetime, path: str | None, codes: Sequence[str], detail: str, *, at: datetime
    ) -> None:
        """As `EventRows` says."""
        self._committed(symbol)
        super().record_quarantine(symbol, start, path, codes, detail, at=at)

    def resolve_quarantine(self, symbol: str, starts: Sequence[datetime], *, at: datetime) -> None:
        """As `EventRows` says."""
        self._committed(symbol)  # also what is open is looked for anew: it may be under the lock of a commit
        super().resolve_quarantine(symbol, starts, at=at)

    def verdicts(
        self, symbol: str, start: datetime, end: datetime, leaving_out: Collection[str] = ()
    ) -> dict[datetime, tuple[str, str | None]]:
        """As `FactRows` says."""
        first = self.layout.start_of(start)
        known = self._remembered(symbol, (first, end), "verdicts", symbol)
        if known is None:
            return super().verdicts(symbol, start, end, leaving_out)
        found = ((at, kind, detail) for _, at, kind, detail in known if first <= at < utc(end))
        return {at: (kind, detail) for at, kind, detail in found if kind not in leaving_out}

    def listing(self, symbol: str) -> Listing | None:
        """As `ListingRows` says."""
        known = self._remembered(symbol, None, "listing", symbol)
        if known is None:
            return super().listing(symbol)
        return known[0] if known else None

    def record_listing(self, listing: Listing, *, at: datetime) -> None:
        """As `ListingRows` says."""
        self._written("listing", listing.symbol)
        super().record_listing(listing, at=at)

    def known_holes(self, symbol: str, start: datetime, end: datetime, stream: str | None = None) -> list[KnownHole]:
        """As `EventRows` says."""
        known = self._remembered(symbol, (start, end), "holes")
        if known is None:
            return super().known_holes(symbol, start, end, stream)
        own = [hole for hole in known if hole.symbol in (symbol, ANY_SYMBOL)]
        inside = [hole for hole in own if hole.start < utc(end) and hole.end > utc(start)]
        return [hole for hole in inside if stream is None or hole.stream == stream]

    def declare_hole(self, hole: KnownHole) -> None:
        """As `EventRows` says."""
        self._written("holes")
        super().declare_hole(hole)

    def commit_intents_of(self, symbols: Sequence[str], publish: Callable[[], None] | None = None) -> None:
        """As `PartitionRows` says."""
        for symbol in symbols:
            self._committed(symbol)
        super().commit_intents_of(symbols, publish)

    def commit_decided(self, symbol: str, span: tuple[datetime, datetime], decide: Decide) -> None:
        """As `PartitionRows` says."""
        self._committed(symbol)
        super().commit_decided(symbol, span, decide)

    def _committed(self, symbol: str) -> None:
        self._written("verdicts", symbol)
        self._written("quarantine", symbol)
