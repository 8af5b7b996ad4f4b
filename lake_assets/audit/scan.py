"""The consistency audit of a range of hours: disk against ledger against Dagster.

Belongs here: which hours are looked at, comparing the three views, using the cache.
Does not belong here: a file's own soundness (`files`), repairing (`plan`, `build`).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import TypedDict, Unpack

from lake_assets.at_rest import TableStore
from lake_assets.audit.cache import AuditCache, Stamp, rules_version
from lake_assets.audit.files import AuditedFile, FileFacts, read_facts
from lake_assets.audit.verdict import AuditReport, HourVerdict
from lake_assets.inputs.doubted_hours import doubted_hours
from lake_assets.inputs.excuses import holes_known
from lake_assets.schema.table import Table
from lake_assets.validation.rules import all_excused
from lake_assets.windows import expected_end
from lake_resources.errors import SettingsError
from lake_resources.known_hole import KnownHole
from lake_resources.layout import TableLayout
from lake_resources.storage.catalog import utc
from lake_resources.storage.ledger.ledger import PartitionFacts

BATCH_ROWS = 14_400
"""Rows that are read and judged at once: 240 hours of minutes."""
REREAD_DAYS = 7
Progress = Callable[[int, int], None]
"""Takes hours done and hours in all."""
_Window = tuple[datetime, datetime, datetime]
"""An hour, and the minutes `[start, end)` of it."""


class AuditOptions(TypedDict, total=False):
    """What an audit takes by name, all of it optional.

    Attributes:
        materialized: partitions that Dagster shows as materialized; None leaves Dagster out of it.
        cache: facts of files read before; None reads every file and keeps nothing.
        full: read every file all the same, and keep what is found.
        reread_on: read also those unchanged files that are due on this day (`reread_due`): damage to a file shows in
            neither its size nor its time.
        progress: told after each batch.
    """

    materialized: Collection[datetime] | None
    cache: AuditCache | None
    full: bool
    reread_on: date | None
    progress: Progress | None


def audit_partitions(
    store: TableStore,
    symbol: str,
    start: datetime,
    end: datetime,
    *,
    now: datetime,
    lag_minutes: int,
    **options: Unpack[AuditOptions],
) -> AuditReport:
    """Judge every hour that overlaps `[start, end)` and of which a minute must exist by now.

    An hour before the symbol's listing or after its delivery is judged only where there is something of it.

    Args:
        store: the table.
        symbol: whose hours.
        start: first minute, UTC.
        end: first minute after the range, UTC.
        now: decides which minutes must exist.
        lag_minutes: safety lag.
        options: see `AuditOptions`.

    Raises:
        SettingsError: the range is empty.
    """
    table, start, end = store.table, utc(start), utc(end)
    materialized, cache = options.get("materialized"), options.get("cache")
    reread_on = options.get("reread_on")
    if start >= end:
        raise SettingsError(f"the range {start} to {end} is empty", remedy="The end is the first minute after it")
    windows = _windows(store.layout, start, end, now, lag_minutes)
    if not windows:
        return AuditReport(symbol, start, end, (), dagster_compared=materialized is not None)
    first, last = windows[0][0], windows[-1][0] + store.layout.step
    holes = holes_known(store.ledger, symbol, first, last)
    files, rows = _placed(store, symbol, windows)
    if options.get("full") or cache is None:
        known = {}
    else:
        known = cache.load(table, symbol, first, last)
        if reread_on is not None:
            known = {f.hour: known[f.hour] for f in files if f.hour in known and not reread_due(f, reread_on)}
    facts, cached = _facts(table, symbol, files, holes, known, options)
    quarantine = {entry.start: entry.codes for entry in store.ledger.quarantined(symbol, first, last)}
    doubts = doubted_hours(store.ledger, symbol, first, last)

    def verdict(file: AuditedFile) -> HourVerdict:
        row, found = rows.get(file.hour), facts.get(file.hour)
        if row is None and found is None and all_excused(holes, table.row_stream, file.start, file.end):
            codes = _dagster(file.hour, False, materialized)
            return HourVerdict(file.hour, codes, _expected(table, file), 0, untried=file.hour not in quarantine)
        judged = _verdict(table, file, row, found, quarantine.get(file.hour), materialized)
        doubt = doubts.get(file.hour)
        if doubt is None or row is None or not row.complete:
            return judged
        return replace(judged, codes=(*judged.codes, f"{doubt.kind}:{'; '.join(doubt.reasons)}"))

    verdicts = {file.hour: verdict(file) for file in files}
    # A commit may have run since the ledger was read: what is wrong is looked at again, until the ledger says the same
    # before and after its file was read.
    wrong = [file for file in files if verdicts[file.hour].codes]
    while wrong:
        again, newer = _placed(store, symbol, [(file.hour, file.start, file.end) for file in wrong])
        moved = [f for f, old in zip(again, wrong, strict=True) if f != old or newer.get(f.hour) != rows.get(f.hour)]
        rows |= {file.hour: newer[file.hour] for file in moved if file.hour in newer}
        for file in moved:
            facts.pop(file.hour, None)
        facts |= read_facts(table, moved, holes)
        verdicts |= {file.hour: verdict(file) for file in moved}
        wrong = [file for file in moved if verdicts[file.hour].codes]
    for hour in _nothing_expected(store, symbol, verdicts, {*rows, *facts, *(materialized or ())}):
        del verdicts[hour]
    return AuditReport(symbol, start, end, tuple(verdicts.values()), cached, materialized is not None)


def reread_due(file: AuditedFile, day: date) -> bool:
    """Whether a file is among those that are read anew on that day: in `REREAD_DAYS` days in a row each is once.

    All hours of a day or month file are due together.
    """
    name = file.path.name if file.shared else file.hour.isoformat()
    return (zlib.crc32(name.encode()) + day.toordinal()) % REREAD_DAYS == 0


def _nothing_expected(
    store: TableStore, symbol: str, starts: Iterable[datetime], present: Collection[datetime]
) -> set[datetime]:
    """Partitions in which the symbol is not traded, and of which nothing is there."""
    return store.ledger.untraded(symbol, starts) - set(present)


def _windows(layout: TableLayout, start: datetime, end: datetime, now: datetime, lag_minutes: int) -> list[_Window]:
    """The partitions of which a row must exist, each with those rows."""
    found = []
    for hour in layout.between(start, end):
        until = min(expected_end(layout, hour, now, lag_minutes), end)
        since = max(hour, start)
        if since < until:
            found.append((hour, since, until))
    return found


def _placed(
    store: TableStore, symbol: str, windows: Sequence[_Window]
) -> tuple[list[AuditedFile], dict[datetime, PartitionFacts]]:
    """The partitions with the files that serve them now, and their ledger rows."""
    first, last = windows[0][0], windows[-1][0] + store.layout.step
    # Compacted files first: an hour that is committed in between is then seen in its own, newer file.
    compacted = store.ledger.compacted_files(symbol, first, last)
    rows = {row.start: row for row in store.ledger.partition_facts(symbol, first, last)}
    served = {hour: file for file in compacted for hour in file.served}
    named = [file.path for file in compacted] + [row.path for hour, row in rows.items() if hour not in served]
    here = dict(zip(named, store.files.here_all(named, anew=True), strict=True))
    placed = []
    for hour, since, until in windows:
        row, file = rows.get(hour), served.get(hour)
        if file is not None:
            placed.append(AuditedFile(hour, here[file.path], since, until, file.content_hash, shared=True))
        elif row is not None:
            placed.append(AuditedFile(hour, here[row.path], since, until, row.content_hash))
        else:
            placed.append(AuditedFile(hour, store.catalog.partition_path(symbol, hour), since, until))
    return placed, rows


def _facts(
    table: Table,
    symbol: str,
    files: Sequence[AuditedFile],
    holes: Sequence[KnownHole],
    known: Mapping[datetime, tuple[str, Stamp, FileFacts]],
    options: AuditOptions,
) -> tuple[dict[datetime, FileFacts], int]:
    """Facts of the files that exist, and how many of them were known."""
    tell, cache = options.get("progress") or (lambda _done, _of: None), options.get("cache")
    versions = _versions(table, files, holes)
    by_path = {path: _stamp(path) for path in dict.fromkeys(file.path for file in files)}
    stamps = {file.hour: by_path[file.path] for file in files}
    facts: dict[datetime, FileFacts] = {}
    unread = []
    for file in files:
        stamp = stamps[file.hour]
        found = known.get(file.hour) if _whole(table, file) else None
        if stamp is not None and found is not None and found[:2] == (versions[file.hour], stamp):
            facts[file.hour] = found[2]
        elif stamp is not None:
            unread.append(file)
    cached = len(facts)
    tell(len(files) - len(unread), len(files))
    done = len(files) - len(unread)
    for batch, read in _read_batches(table, unread, holes):
        facts |= read
        if cache is not None:
            # The stamp was taken before the bytes were read: a file that changed in between is read again next time.
            new = {
                f.hour: (versions[f.hour], stamp, read[f.hour])
                for f in batch
                if _whole(table, f) and f.hour in read and (stamp := stamps[f.hour])
            }
            cache.store(table, symbol, new)
        done += len(batch)
        tell(done, len(files))
    return facts, cached


def _versions(table: Table, files: Sequence[AuditedFile], holes: Sequence[KnownHole]) -> dict[datetime, str]:
    """For each partition the version of the rules, by the holes that touch it and no others."""
    layout = table.layout
    versions = dict.fromkeys((file.hour for file in files), rules_version(table, ()))
    first, last = files[0].hour, files[-1].hour + layout.step
    spans = ((max(hole.start, first), min(hole.end, last)) for hole in holes)
    for at in {at for start, end in spans for at in layout.between(start, end)} & versions.keys():
        touching = [hole for hole in holes if hole.start < at + layout.step and hole.end > at]
        versions[at] = rules_version(table, touching)
    return versions


def _read_batches(
    table: Table, files: Sequence[AuditedFile], holes: Sequence[KnownHole]
) -> Iterator[tuple[Sequence[AuditedFile], dict[datetime, FileFacts]]]:
    own = [file for file in files if not file.shared]
    shared: dict[Path, list[AuditedFile]] = {}
    for file in files:
        if file.shared:
            shared.setdefault(file.path, []).append(file)
    size = max(1, BATCH_ROWS // table.layout.rows_per_partition)
    batches = [own[index : index + size] for index in range(0, len(own), size)] + list(shared.values())
    # Hashing, reading and the gate all leave the interpreter; no more threads than cores are of use.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield from zip(batches, pool.map(partial(read_facts, table, holes=holes), batches), strict=True)


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Stamp(found.st_size, found.st_mtime_ns)


def _whole(table: Table, file: AuditedFile) -> bool:
    return file.end - file.start == table.layout.step


def _verdict(
    table: Table,
    file: AuditedFile,
    row: PartitionFacts | None,
    facts: FileFacts | None,
    quarantined: Sequence[str] | None,
    materialized: Collection[datetime] | None,
) -> HourVerdict:
    codes = list(_disk_and_ledger(table, file, row, facts))
    if facts is None and quarantined is not None:
        codes.append(f"quarantined:{','.join(quarantined)}")
    codes += _dagster(file.hour, row is not None, materialized)
    return HourVerdict(file.hour, tuple(codes), _expected(table, file), 0 if facts is None else facts.minutes)


def _expected(table: Table, file: AuditedFile) -> int:
    return (file.end - file.start) // table.layout.grain


def _disk_and_ledger(
    table: Table, file: AuditedFile, row: PartitionFacts | None, facts: FileFacts | None
) -> Iterator[str]:
    if facts is None:
        yield "missing_file"
        if row is not None:
            yield "ledger_without_file"
        return
    yield from facts.codes
    if row is None:
        yield "file_without_ledger"
        return
    if facts.content_hash != file.expected_hash:
        yield "content_hash_mismatch"
    if row.schema_hash != table.schema_hash:
        yield "schema_hash_mismatch"
    if facts.row_count < 0:
        return
    if facts.row_count != row.row_count:
        yield f"ledger_rows_mismatch:ledger={row.row_count}:file={facts.row_count}"
    elif (facts.first, facts.last) != (row.min_ts, row.max_ts):
        yield f"ledger_span_mismatch:ledger={_span(row.min_ts, row.max_ts)}:file={_span(facts.first, facts.last)}"
    if _whole(table, file) and not facts.codes and not row.complete:
        yield "ledger_incomplete"


def _dagster(hour: datetime, committed: bool, materialized: Collection[datetime] | None) -> tuple[str, ...]:
    if materialized is None or (hour in materialized) == committed:
        return ()
    return ("not_in_dagster",) if committed else ("only_in_dagster",)


def _span(first: datetime | None, last: datetime | None) -> str:
    return "-" if first is None or last is None else f"{first:%H.%M}-{last:%H.%M}"
