"""What the lake keeps of a stream in files, as sources: archives that were fetched, answers that were given.

Belongs here: both as sources, the source that an archive or an answer is. Does not belong here: fetching either
(`archives`, `rest_answers`), which of them an hour is read from (`sources`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from lake_assets.lake import Lake
from lake_assets.schema.stream_use import StreamUse
from lake_assets.source import HourSource, Offer, Report, Wanted, by_start
from lake_resources.clock import HOUR
from lake_resources.storage.ledger.ledger import Archive, Capture
from lake_resources.storage.provenance import SourceRef


@dataclass(frozen=True)
class Archives:
    """Files of a day or month that are in the lake; each has every hour of its period."""

    lake: Lake
    title = "the archive"

    def offers(self, wanted: Wanted) -> Iterator[Offer]:
        """Hours whose archive is on the disk; a lost file counts as never fetched."""
        use, starts = wanted.used, wanted.starts
        rows = self.lake.ledger.archives_between(wanted.symbol, use.name, starts[0], starts[-1] + HOUR)
        found = {row.period: row for row in rows if _on_disk(self.lake, row, wanted.report)}
        for hour in starts:
            if (row := found.get(use.period(hour.date()))) is not None:
                yield Offer((hour,), from_archive(self.lake, row))


@dataclass(frozen=True)
class Answers:
    """What was said of single hours before, by REST or another source that is asked; the newest answer of each."""

    lake: Lake
    title = "the answer of REST"

    def offers(self, wanted: Wanted) -> Iterator[Offer]:
        """Hours whose answer is on the disk; a lost file counts as never given."""
        starts = wanted.starts
        rows = self.lake.ledger.captures_between(wanted.symbol, wanted.used.name, starts[0], starts[-1] + HOUR)
        found = {row.hour: row for row in rows if _on_disk(self.lake, row, wanted.report)}
        for row in found.values():
            yield Offer((row.hour,), from_answer(self.lake, row), asked_at=row.captured_at, by=row.request)


@dataclass(frozen=True)
class Held:
    """What the lake has of a stream by now, by hour."""

    archives: Mapping[datetime, HourSource]
    answers: Mapping[datetime, HourSource]

    @property
    def in_order(self) -> tuple[Mapping[datetime, HourSource], ...]:
        """By source that keeps its rows in the lake, the best first."""
        return self.archives, self.answers

    def told(self, answers: Mapping[datetime, HourSource]) -> Held:
        """The same with what was said since."""
        return replace(self, answers={**self.answers, **answers})

    def without(self, misplaced: Collection[datetime]) -> Held:
        """The same without archives of hours whose rows may be those of another time, where there is an answer."""
        if not misplaced:
            return self
        kept = {hour: each for hour, each in self.archives.items() if hour not in misplaced or hour not in self.answers}
        return replace(self, archives=kept)


def held_inputs(lake: Lake, wanted: Wanted) -> Held:
    """Archives and answers of some hours whose files are on the disk."""
    return Held(by_start(Archives(lake), wanted), by_start(Answers(lake), wanted))


def nothing(use: StreamUse) -> HourSource:
    """No source at all."""
    return HourSource(SourceRef(use.name, "none", "none"), ())


def from_archive(lake: Lake, archive: Archive) -> HourSource:
    """An hour that is read from the archive of its day or month."""
    ref = SourceRef(archive.stream, "archive", archive.sha256)
    return HourSource(ref, (lake.files.here(archive.path),))


def from_answer(lake: Lake, capture: Capture) -> HourSource:
    """An hour that is read from what REST said of it."""
    ref = SourceRef(capture.stream, "rest", capture.content_hash)
    return HourSource(ref, (lake.files.here(capture.path),), capture)


def _on_disk(lake: Lake, row: Archive | Capture, report: Report) -> bool:
    """Whether the file of a raw input is still there; a lost one counts as never fetched."""
    if lake.files.here(row.path).is_file():
        return True
    report(f"{row.symbol} {row.stream}: {row.path} is in the ledger but not on the disk; it will be fetched again")
    return False
