"""The consistency audit of a range of hours: disk against ledger against Dagster.

Belongs here: which hours are looked at, comparing the three views, using the cache.
Does not belong here: a file's own soundness (`files`), repairing (`plan`, `build`).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from functools import partial
from pathlib import Path

from lake_assets.audit.cache import AuditCache, Stamp, rules_version
from lake_assets.audit.excuses import holes_known
from lake_assets.audit.files import FileFacts, HourFile, read_facts
from lake_assets.audit.verdict import AuditReport, HourVerdict
from lake_assets.schema.known_holes import Hole
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.rules import all_excused
from lake_assets.windows import expected_end, hours_between
from lake_resources.clock import HOUR, MINUTE
from lake_resources.errors import SettingsError
from lake_resources.storage.catalog import floor_hour, utc
from lake_resources.storage.ledger.ledger import Ledger, PartitionFacts
from lake_resources.storage.store import Store

BATCH_HOURS = 240
REREAD_DAYS = 7
Progress = Callable[[int, int], None]
"""Takes hours done and hours in all."""
_Window = tuple[datetime, datetime, datetime]
"""An hour, and the minutes `[start, end)` of it."""


def audit_hours(
    store: Store,
    symbol: str,
    start: datetime,
    end: datetime,
    *,
    now: datetime,
    lag_minutes: int,
    materialized: Collection[datetime] | None = None,
    cache: AuditCache | None = None,
    full: bool = False,
    reread_on: date | None = None,
    progress: Progress | None = None,
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
        materialized: hours that Dagster shows as materialized; None leaves Dagster out of it.
        cache: facts of files read before; None reads every file and keeps nothing.
        full: read every file all the same, and keep what is found.
        reread_on: read also those unchanged files that are due on this day (`reread_due`): damage to a file shows in
            neither its size nor its time.
        progress: told after each batch.

    Raises:
        SettingsError: the range is empty.
    """
    start, end = utc(start), utc(end)
    if start >= end:
        raise SettingsError(f"the range {start} to {end} is empty", remedy="The end is the first minute after it")
    windows = _windows(start, end, now, lag_minutes)
    if not windows:
        return AuditReport(symbol, start, end, (), dagster_compared=materialized is not None)
    first, last = windows[0][0], windows[-1][0] + HOUR
    holes = holes_known(store.ledger, symbol, first, last)
    files, rows = _placed(store, symbol, windows)
    if full or cache is None:
        known = {}
    else:
        known = cache.load(symbol, first, last)
        if reread_on is not None:
            known = {f.hour: known[f.hour] for f in files if f.hour in known and not reread_due(f, reread_on)}
    facts, cached = _facts(symbol, files, holes, known, cache, progress)
    quarantine = {entry.start: entry.codes for entry in store.ledger.quarantined(symbol, first, last)}

    def verdict(file: HourFile) -> HourVerdict:
        row, found = rows.get(file.hour), facts.get(file.hour)
        if row is None and found is None and all_excused(holes, UM_MINUTE.row_stream, file.start, file.end):
            codes = _dagster(file.hour, False, materialized)
            return HourVerdict(file.hour, codes, _expected(file), 0, untried=file.hour not in quarantine)
        return _verdict(file, row, found, quarantine.get(file.hour), materialized)

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
        facts |= read_facts(moved, holes)
        verdicts |= {file.hour: verdict(file) for file in moved}
        wrong = [file for file in moved if verdicts[file.hour].codes]
    for hour in _nothing_expected(store.ledger, symbol, verdicts, {*rows, *facts, *(materialized or ())}):
        del verdicts[hour]
    return AuditReport(symbol, start, end, tuple(verdicts.values()), cached, materialized is not None)


def reread_due(file: HourFile, day: date) -> bool:
    """Whether a file is among those that are read anew on that day: in `REREAD_DAYS` days in a row each is once.

    All hours of a day or month file are due together.
    """
    name = file.path.name if file.shared else file.hour.isoformat()
    return (zlib.crc32(name.encode()) + day.toordinal()) % REREAD_DAYS == 0


def _nothing_expected(
    ledger: Ledger, symbol: str, hours: Iterable[datetime], present: Collection[datetime]
) -> set[datetime]:
    """Hours in which the symbol is not traded, and of which nothing is there."""
    listing = ledger.listing(symbol)
    return set() if listing is None else listing.untraded(hours) - set(present)


def _windows(start: datetime, end: datetime, now: datetime, lag_minutes: int) -> list[_Window]:
    """The hours of which a minute must exist, each with those minutes."""
    found = []
    for hour in hours_between(floor_hour(start), end):
        until = min(expected_end(hour, now, lag_minutes), end)
        since = max(hour, start)
        if since < until:
            found.append((hour, since, until))
    return found


def _placed(
    store: Store, symbol: str, windows: Sequence[_Window]
) -> tuple[list[HourFile], dict[datetime, PartitionFacts]]:
    """The hours with the files that serve them now, and their ledger rows."""
    first, last = windows[0][0], windows[-1][0] + HOUR
    # Compacted files first: an hour that is committed in between is then seen in its own, newer file.
    compacted = store.ledger.compacted_files(symbol, first, last)
    rows = {row.start: row for row in store.ledger.partition_facts(symbol, first, last)}
    served = {hour: file for file in compacted for hour in file.served}
    shared = {file.path: store.catalog.absolute(file.path) for file in compacted}
    placed = []
    for hour, since, until in windows:
        row, file = rows.get(hour), served.get(hour)
        if file is not None:
            placed.append(HourFile(hour, shared[file.path], since, until, file.content_hash, shared=True))
        elif row is not None:
            placed.append(HourFile(hour, store.catalog.absolute(row.path), since, until, row.content_hash))
        else:
            placed.append(HourFile(hour, store.catalog.partition_path(symbol, hour), since, until))
    return placed, rows


def _facts(
    symbol: str,
    files: Sequence[HourFile],
    holes: Sequence[Hole],
    known: Mapping[datetime, tuple[str, Stamp, FileFacts]],
    cache: AuditCache | None,
    progress: Progress | None,
) -> tuple[dict[datetime, FileFacts], int]:
    """Facts of the files that exist, and how many of them were known."""
    tell = progress or (lambda _done, _of: None)
    versions = _versions(files, holes)
    by_path = {path: _stamp(path) for path in dict.fromkeys(file.path for file in files)}
    stamps = {file.hour: by_path[file.path] for file in files}
    facts: dict[datetime, FileFacts] = {}
    unread = []
    for file in files:
        stamp = stamps[file.hour]
        found = known.get(file.hour) if _whole(file) else None
        if stamp is not None and found is not None and found[:2] == (versions[file.hour], stamp):
            facts[file.hour] = found[2]
        elif stamp is not None:
            unread.append(file)
    cached = len(facts)
    tell(len(files) - len(unread), len(files))
    done = len(files) - len(unread)
    for batch, read in _read_batches(unread, holes):
        facts |= read
        if cache is not None:
            # The stamp was taken before the bytes were read: a file that changed in between is read again next time.
            new = {
                f.hour: (versions[f.hour], stamp, read[f.hour])
                for f in batch
                if _whole(f) and f.hour in read and (stamp := stamps[f.hour])
            }
            cache.store(symbol, new)
        done += len(batch)
        tell(done, len(files))
    return facts, cached


def _versions(files: Sequence[HourFile], holes: Sequence[Hole]) -> dict[datetime, str]:
    """For each hour the version of the rules, by the holes that touch it and no others."""
    versions = dict.fromkeys((file.hour for file in files), rules_version(()))
    first, last = files[0].hour, files[-1].hour + HOUR
    spans = ((max(floor_hour(hole.start), first), min(hole.end, last)) for hole in holes)
    for hour in {hour for start, end in spans for hour in hours_between(start, end)} & versions.keys():
        versions[hour] = rules_version([hole for hole in holes if hole.start < hour + HOUR and hole.end > hour])
    return versions


def _read_batches(
    files: Sequence[HourFile], holes: Sequence[Hole]
) -> Iterator[tuple[Sequence[HourFile], dict[datetime, FileFacts]]]:
    own = [file for file in files if not file.shared]
    shared: dict[Path, list[HourFile]] = {}
    for file in files:
        if file.shared:
            shared.setdefault(file.path, []).append(file)
    batches = [own[index : index + BATCH_HOURS] for index in range(0, len(own), BATCH_HOURS)] + list(shared.values())
    # Hashing, reading and the gate all leave the interpreter; no more threads than cores are of use.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield from zip(batches, pool.map(partial(read_facts, holes=holes), batches), strict=True)


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Stamp(found.st_size, found.st_mtime_ns)


def _whole(file: HourFile) -> bool:
    return file.end - file.start == HOUR


def _verdict(
    file: HourFile,
    row: PartitionFacts | None,
    facts: FileFacts | None,
    quarantined: Sequence[str] | None,
    materialized: Collection[datetime] | None,
) -> HourVerdict:
    codes = list(_disk_and_ledger(file, row, facts))
    if facts is None and quarantined is not None:
        codes.append(f"quarantined:{','.join(quarantined)}")
    codes += _dagster(file.hour, row is not None, materialized)
    return HourVerdict(file.hour, tuple(codes), _expected(file), 0 if facts is None else facts.minutes)


def _expected(file: HourFile) -> int:
    return (file.end - file.start) // MINUTE


def _disk_and_ledger(file: HourFile, row: PartitionFacts | None, facts: FileFacts | None) -> Iterator[str]:
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
    if row.schema_hash != UM_MINUTE.schema_hash:
        yield "schema_hash_mismatch"
    if facts.row_count < 0:
        return
    if facts.row_count != row.row_count:
        yield f"ledger_rows_mismatch:ledger={row.row_count}:file={facts.row_count}"
    elif (facts.first, facts.last) != (row.min_ts, row.max_ts):
        yield f"ledger_span_mismatch:ledger={_span(row.min_ts, row.max_ts)}:file={_span(facts.first, facts.last)}"
    if _whole(file) and not facts.codes and not row.complete:
        yield "ledger_incomplete"


def _dagster(hour: datetime, committed: bool, materialized: Collection[datetime] | None) -> tuple[str, ...]:
    if materialized is None or (hour in materialized) == committed:
        return ()
    return ("not_in_dagster",) if committed else ("only_in_dagster",)


def _span(first: datetime | None, last: datetime | None) -> str:
    return "-" if first is None or last is None else f"{first:%H.%M}-{last:%H.%M}"
