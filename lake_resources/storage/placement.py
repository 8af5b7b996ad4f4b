"""Which file each committed hour is read from.

Belongs here: a range as stretches of files in time order, by the ledger alone; whether an hour's bytes are sound.
Does not belong here: reading rows (`reader`), listing directories, writing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from lake_resources.storage.catalog import HOUR, Catalog, floor_hour, utc
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.compacted_rows import Served, runs
from lake_resources.storage.ledger.ledger import Ledger, Partition, Segment


@dataclass(frozen=True)
class Stretch:
    """Files that hold the committed minutes of `[start, end)`, in time order.

    Attributes:
        paths: relative to the lake's root.
        cut: the files hold other minutes too, so that rows must be filtered by time.
    """

    paths: tuple[str, ...]
    start: datetime
    end: datetime
    cut: bool


def stretches(ledger: Ledger, symbol: str, start: datetime, end: datetime) -> list[Stretch]:
    """The files of `[start, end)`; every committed hour in exactly one stretch.

    Asked of a compacted lake this costs a row per month. A commit in between cannot show an hour twice or not at all:
    the segments are looked up first, and what they do not serve is looked up as hours.
    """
    start, end = utc(start), utc(end)
    if start >= end:
        return []
    found: list[Stretch] = []
    at = start
    for segment, first, last in sorted(_runs(ledger.serving(symbol, start, end), start, end), key=lambda run: run[1]):
        found += _hours(ledger, symbol, at, first)
        if found and found[-1].paths == (segment.path,):
            # Nothing is committed between two runs of one file, so what it holds is all there is.
            first = found.pop().start
        found.append(Stretch((segment.path,), first, last, cut=_cuts(segment, first, last)))
        at = last
    return [*found, *_hours(ledger, symbol, at, end)]


def serving_path(catalog: Catalog, ledger: Ledger, hour: Partition) -> Path:
    """The file that a committed hour is read from."""
    segment = ledger.segment_of(hour.symbol, hour.hour)
    return catalog.absolute(hour.path if segment is None else segment.path)


def is_intact(catalog: Catalog, ledger: Ledger, hour: Partition) -> bool:
    """Whether the file that a committed hour is read from is on the disk with the bytes that were written."""
    segment = ledger.segment_of(hour.symbol, hour.hour)
    if segment is not None:
        return segment_is_intact(catalog, segment)
    path = catalog.absolute(hour.path)
    return path.is_file() and file_hash(path) == hour.content_hash


def segment_is_intact(catalog: Catalog, segment: Segment) -> bool:
    """The same of a day or month file."""
    path = catalog.absolute(segment.path)
    return path.is_file() and _hash_of(path, path.stat().st_size, path.stat().st_mtime_ns) == segment.content_hash


@lru_cache(maxsize=256)
def _hash_of(path: Path, _size_bytes: int, _mtime_ns: int) -> str:
    """A month file is asked about once per hour in it."""
    return file_hash(path)


def _runs(segments: Iterable[Served], start: datetime, end: datetime) -> Iterator[tuple[Served, datetime, datetime]]:
    for segment in segments:
        for first, last in runs(segment.start, segment.serves):
            if max(first, start) < min(last, end):
                yield segment, max(first, start), min(last, end)


def _cuts(segment: Served, start: datetime, end: datetime) -> bool:
    """Whether the file holds hours outside `[start, end)`."""
    first = (segment.holds & -segment.holds).bit_length() - 1
    return start > segment.start + first * HOUR or end < segment.start + segment.holds.bit_length() * HOUR


def _hours(ledger: Ledger, symbol: str, start: datetime, end: datetime) -> list[Stretch]:
    paths = tuple(ledger.partition_paths(symbol, start, end)) if start < end else ()
    if not paths:
        return []
    # Every row of an hour file lies in its hour, so a stretch of whole hours needs no filter.
    return [Stretch(paths, start, end, cut=start != floor_hour(start) or end != floor_hour(end))]
