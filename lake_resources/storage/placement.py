"""Which file each committed partition is read from.

Belongs here: a range as stretches of files in time order, by the ledger alone; whether a partition's bytes are sound.
Does not belong here: reading rows (`reader`), listing directories, writing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from lake_resources.storage.catalog import utc
from lake_resources.storage.ledger.compacted_rows import Served, runs
from lake_resources.storage.ledger.ledger import Partition
from lake_resources.storage.store import Store


@dataclass(frozen=True)
class Stretch:
    """Files that hold the committed rows of `[start, end)`, in time order.

    Attributes:
        paths: relative to the lake's root.
        cut: the files hold other rows too, so that rows must be filtered by time.
    """

    paths: tuple[str, ...]
    start: datetime
    end: datetime
    cut: bool


def stretches(store: Store, symbol: str, start: datetime, end: datetime) -> list[Stretch]:
    """The files of `[start, end)`; every committed partition in exactly one stretch.

    Asked of a compacted lake this costs a row per month. A commit in between cannot show a partition twice or not at
    all: compacted files are looked up first, and what they do not serve is looked up as partitions.
    """
    start, end = utc(start), utc(end)
    if start >= end:
        return []
    found: list[Stretch] = []
    at = start
    serving, step = store.ledger.serving(symbol, start, end), store.layout.step
    for file, first, last in sorted(_runs(serving, start, end, step), key=lambda run: run[1]):
        found += _partitions(store, symbol, at, first)
        if found and found[-1].paths == (file.path,):
            # Nothing is committed between two runs of one file, so what it holds is all there is.
            first = found.pop().start
        found.append(Stretch((file.path,), first, last, cut=_cuts(file, first, last, step)))
        at = last
    return [*found, *_partitions(store, symbol, at, end)]


def joined(found: Sequence[Stretch]) -> list[Stretch]:
    """Neighbours that need no filter as one stretch: one scan of many files is cheaper than many scans."""
    runs_of_files: list[Stretch] = []
    for stretch in found:
        last = runs_of_files[-1] if runs_of_files else None
        if last is not None and not last.cut and not stretch.cut:
            runs_of_files[-1] = Stretch(last.paths + stretch.paths, last.start, stretch.end, cut=False)
        else:
            runs_of_files.append(stretch)
    return runs_of_files


def serving_path(store: Store, partition: Partition) -> Path:
    """The file on this host that a committed partition is read from; it may not be fetched yet."""
    file = store.ledger.compacted_file_of(partition.symbol, partition.start)
    return store.catalog.absolute(partition.path if file is None else file.path)


def is_intact(store: Store, partition: Partition) -> bool:
    """Whether the file that a committed partition is read from is there with the bytes that were written."""
    file = store.ledger.compacted_file_of(partition.symbol, partition.start)
    if file is not None:
        return store.files.is_intact(file.path, file.content_hash, file.size_bytes)
    return store.files.is_intact(partition.path, partition.content_hash, partition.size_bytes)


def _runs(
    files: Iterable[Served], start: datetime, end: datetime, step: timedelta
) -> Iterator[tuple[Served, datetime, datetime]]:
    for file in files:
        for first, last in runs(file.start, file.serves, step):
            if max(first, start) < min(last, end):
                yield file, max(first, start), min(last, end)


def _cuts(file: Served, start: datetime, end: datetime, step: timedelta) -> bool:
    """Whether the file holds partitions outside `[start, end)`."""
    first = (file.holds & -file.holds).bit_length() - 1
    return start > file.start + first * step or end < file.start + file.holds.bit_length() * step


def _partitions(store: Store, symbol: str, start: datetime, end: datetime) -> list[Stretch]:
    paths = tuple(store.ledger.partition_paths(symbol, start, end)) if start < end else ()
    if not paths:
        return []
    # Every row of a partition's file lies in it, so a stretch of whole partitions needs no filter.
    whole = start == store.layout.start_of(start) and end == store.layout.start_of(end)
    return [Stretch(paths, start, end, cut=not whole)]
