"""What a stream can be read from: one Protocol, whoever answers.

Belongs here: the Protocol, what a source is asked for, what it offers. Does not belong here: any source (`inputs` has
the lake's files and REST, `slices` raw slices, `build.macro_days` Yahoo), the choice between them (`inputs.sources`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

import polars as pl

from lake_assets.schema.stream_use import StreamUse
from lake_resources.storage.ledger.ledger import Capture
from lake_resources.storage.provenance import SourceRef

Report = Callable[[str], None]
"""Takes a line of progress or warning."""


@dataclass(frozen=True)
class HourSource:
    """The source of one hour of one stream.

    Attributes:
        ref: what it is, and how good that is.
        paths: files with its rows, absolute, the preferred one first; none where its rows are in no file of their own.
        answer: what the ledger knows of it, where it is an answer that was kept.
    """

    ref: SourceRef
    paths: tuple[Path, ...]
    answer: Capture | None = None

    @property
    def final(self) -> bool:
        """Whether it is an answer that needs no second request."""
        return self.answer is not None and self.answer.complete


@dataclass(frozen=True)
class Wanted:
    """Spans of one stream that a source is asked for.

    Attributes:
        symbol: whose, e.g. `BTCUSDT`.
        starts: starts of the spans, UTC, in order: hours of a stream of Binance, days of Yahoo's minutes.
        now: the instant of asking, UTC.
        report: takes a line of progress or warning.
        use: the stream as a table uses it; None for a source that has one stream alone.
        held: by start, what is there of the same spans and is doubted: an answer that had settled in part need not be
            given again as a whole.
    """

    symbol: str
    starts: Sequence[datetime]
    now: datetime
    report: Report
    use: StreamUse | None = None
    held: Mapping[datetime, HourSource] = field(default_factory=dict)

    @property
    def used(self) -> StreamUse:
        """The stream as a table uses it.

        Raises:
            LookupError: none was named.
        """
        if self.use is None:
            raise LookupError(f"no stream of {self.symbol} was named")
        return self.use


@dataclass(frozen=True)
class Offer:
    """What a source has of some spans, or why it has nothing.

    Attributes:
        starts: starts of these spans, UTC, in order.
        source: the file of the lake that has the rows of the one span; None where they are in none yet.
        rows: rows of the spans in the stream's own columns, where they are in no file yet.
        asked_at: when they were said, UTC.
        by: who said them, and of what, in words; it is kept with them.
        settled_until: an element of the series that ends later may still change, UTC; None where that is not known.
        failure: why there is nothing; empty where there is something.
    """

    starts: tuple[datetime, ...]
    source: HourSource | None = None
    rows: pl.DataFrame | None = None
    asked_at: datetime | None = None
    by: str = ""
    settled_until: datetime | None = None
    failure: str = ""


class Source(Protocol):
    """Something that spans of a stream can be read from.

    Archives and answers that are kept, raw slices, REST, the sockets' records, folded trades, Yahoo: each is one, and
    the choice between them knows nothing else of it.
    """

    @property
    def title(self) -> str:
        """How messages name it."""

    def offers(self, wanted: Wanted) -> Iterator[Offer]:
        """What it has of the spans, each as soon as it is there: whoever takes it may keep it before the next.

        Spans of which it has nothing are left out, or offered with the failure where that must be told.

        Raises:
            StorageError: rows that it keeps do not read.
        """


def by_start(source: Source, wanted: Wanted) -> dict[datetime, HourSource]:
    """What a source that keeps its rows in files has of each span."""
    return {offer.starts[0]: offer.source for offer in source.offers(wanted) if offer.source is not None}


def to_nobody(text: str) -> None:
    """The report of what is asked beside the way, which its result alone tells of."""
    del text
