"""Partitions become visible all or nothing.

Belongs here: the commit protocol (stage → verify → intent → rename → ledger), its recovery, and the quarantine of
partitions that broke the gate. Does not belong here: the gate itself, or what the rows mean beyond their time.

A candidate never replaces better data by worse. What a crash leaves is an intent in the ledger: `recover` finishes it
where the staged bytes are found, and forgets it otherwise. Readers see whole partitions in both cases: one is committed
from the rename of its file on, and its intent stands in for its row until that is written (`ledger.published`).
Over a ledger that several hosts share, partitions become visible by a transaction alone (`named_commit`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import polars as pl

from lake_resources.clock import Clock
from lake_resources.errors import PartitionBusy, StorageError
from lake_resources.layout import TableLayout
from lake_resources.storage.decision import CommitOutcome, CommitStatus, decide
from lake_resources.storage.disk import disk_errors, file_time, fsync_dirs, make_dirs
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.ledger import Intent, Partition
from lake_resources.storage.ledger.restored_rows import LOST
from lake_resources.storage.locks import DEFAULT_TIMEOUT_S
from lake_resources.storage.named_commit import commit_named
from lake_resources.storage.parquet import StagedFile, publish_all, stage, stage_all
from lake_resources.storage.placement import is_intact, serving_path
from lake_resources.storage.provenance import SourceRef, sources_to_json
from lake_resources.storage.reader import read_partition
from lake_resources.storage.store import Store

STALE_TEMP = timedelta(hours=1)
_OTHERS = "other rows are committed"


@dataclass(frozen=True)
class PartitionCandidate:
    """One partition that passed the gate.

    Attributes:
        start: start of the partition, UTC.
        frame: its rows, sorted by the table's time column; every time lies in the partition.
        metadata: key-value metadata of the file, part of its identity: nothing of the run's time may be in it.
        sources: source by stream.
        complete: the partition is closed and all expected rows are there.
        expected_rows: rows the partition should have by now.
        inputs_hash: hash of everything the rows were computed from.
        schema_hash: hash of the table's schema.
        code_version: version of the code that computed them.
        checks: what the checks said about the rows, as JSON; kept in the ledger, not in the file.
        verdict: what the evidence says of the rows, in one word, if anybody asked it; kept in the ledger.
        verdict_detail: the evidence, as JSON.
        over: content hash of what was committed when the inputs were asked for, empty where nothing was; what others
            committed since stays unless the candidate is better. None where nobody looked.
    """

    start: datetime
    frame: pl.DataFrame
    metadata: Mapping[str, str]
    sources: Mapping[str, SourceRef]
    complete: bool
    expected_rows: int
    inputs_hash: str
    schema_hash: str
    code_version: str
    checks: str = "[]"
    verdict: str | None = None
    verdict_detail: str | None = None
    over: str | None = None


@dataclass(frozen=True)
class Recovery:
    """What `recover` found: intents finished, intents forgotten, stale temp files removed."""

    finished: tuple[tuple[str, datetime], ...] = ()
    rolled_back: tuple[tuple[str, datetime], ...] = ()
    temp_files_removed: int = 0


def commit_partitions(
    store: Store,
    symbol: str,
    candidates: Sequence[PartitionCandidate],
    *,
    clock: Clock,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> list[CommitOutcome]:
    """Commit partitions of one symbol; one call for a day's hours is several times cheaper than a call per hour.

    Args:
        store: the table.
        symbol: whose partitions.
        candidates: each partition at most once, in any order.
        clock: gives the time of the commit.
        timeout_s: how long to wait for another writer of the symbol, seconds.

    Returns:
        One outcome per candidate, in their order.

    Raises:
        DiskFull: no space; what was committed stays, and no temp file is left.
        PartitionBusy: another writer held the symbol all that time.
        StorageError: a staged file does not read back, or a row lies outside its partition.
        LedgerError: the ledger failed.
    """
    return commit_together(store, {symbol: candidates}, clock=clock, timeout_s=timeout_s)[symbol]


def commit_together(
    store: Store,
    offered: Mapping[str, Sequence[PartitionCandidate]],
    *,
    clock: Clock,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> dict[str, list[CommitOutcome]]:
    """Commit partitions of several symbols, over a ledger in a file by one transaction for all of them.

    Takes and raises what `commit_partitions` does, by symbol. Whatever is raised, partitions of some of the symbols may
    be committed, each of them whole; the same call again, or one for each symbol, tells.
    """
    catalog, ledger, layout = store.catalog, store.ledger, store.layout
    each = [(symbol, replace(one, start=layout.whole(one.start))) for symbol, of in offered.items() for one in of]
    for symbol, candidates in offered.items():
        if len({layout.whole(candidate.start) for candidate in candidates}) != len(candidates):
            raise ValueError(f"{symbol}: a partition is given twice in one commit")
    outcomes: dict[str, list[CommitOutcome]] = {symbol: [] for symbol in offered}
    if not each:
        return outcomes
    spans = [_span(layout, symbol, candidate) for symbol, candidate in each]
    staged = stage_all(
        [(candidate.frame, _metadata(layout, symbol, candidate)) for symbol, candidate in each],
        catalog.temp_dir,
        form=layout.form,
    )
    ours = {file.temp_path: file for file in staged}
    symbols = sorted({symbol for symbol, _ in each})
    try:
        with ExitStack() as held:
            for symbol in symbols:  # in one order, so that nobody waits for whom it keeps waiting
                held.enter_context(store.engine.locked(catalog.lock_path(symbol), timeout_s=timeout_s))
            _settle(store, symbols)
            at = clock()
            made = [
                (_partition(store, symbol, candidate, file, span, at), file)
                for (symbol, candidate), file, span in zip(each, staged, spans, strict=True)
            ]
            over = {(symbol, candidate.start): candidate.over for symbol, candidate in each}
            if store.engine.is_shared:
                for symbol in symbols:
                    own = [one for one in made if one[0].symbol == symbol]
                    looked = {start: seen for (of, start), seen in over.items() if of == symbol}
                    outcomes[symbol] = commit_named(store, symbol, own, looked)
            else:
                for (symbol, _), outcome in zip(each, _commit_by_rename(store, made, ours, over), strict=True):
                    outcomes[symbol].append(outcome)
            for symbol in symbols:
                same = [outcome.start for outcome in outcomes[symbol] if outcome.status == "unchanged"]
                ledger.resolve_quarantine(symbol, same, at=at)
            return outcomes
    finally:
        for file in ours.values():
            file.discard()


def restate_partitions(
    store: Store,
    symbol: str,
    candidates: Sequence[PartitionCandidate],
    *,
    clock: Clock,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> list[CommitOutcome]:
    """Say anew of committed partitions what their checks and evidence say; no file of a partition is touched.

    Takes what `commit_partitions` does. A candidate with the rows that are committed refreshes the ledger's row
    (`unchanged`); any other leaves it as it is (`kept_better`).
    """
    outcomes: list[CommitOutcome] = []
    said: list[tuple[str, Partition]] = []
    staged = stage_all(
        [(one.frame, _metadata(store.layout, symbol, one)) for one in candidates],
        store.catalog.temp_dir,
        form=store.layout.form,
    )
    try:
        with store.engine.locked(store.catalog.lock_path(symbol), timeout_s=timeout_s):
            for one, file in zip(candidates, staged, strict=True):
                held = store.ledger.partition(symbol, one.start)
                if held is None:
                    continue
                path = serving_path(store, held)
                new = _partition(store, symbol, one, file, _span(store.layout, symbol, one), held.committed_at)
                same = held.content_hash == new.content_hash or _same_rows(store, held, one.frame)
                if same and held.content_hash != LOST:
                    new = replace(new, path=held.path, content_hash=held.content_hash, size_bytes=held.size_bytes)
                status: CommitStatus = "unchanged" if same else "kept_better"
                row = new if same else held
                said += [(held.content_hash, new)] if same else []
                reason = "" if same else _OTHERS
                outcomes.append(CommitOutcome(row.start, status, path, row.content_hash, row.row_count, reason))
            put = store.ledger.restate_partitions(symbol, said, clock())
    finally:
        for file in staged:
            file.discard()
    mine = put | {outcome.start for outcome in outcomes if outcome.status != "unchanged"}
    # A writer that lost its lock finds that others have committed meanwhile.
    return [each if each.start in mine else replace(each, status="kept_better", reason=_OTHERS) for each in outcomes]


def recover(store: Store, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Recovery:
    """Finish or forget what dead writers of the table left, for all symbols; every commit does it for its own symbol.

    Raises:
        PartitionBusy: a living writer held a symbol all that time.
    """
    finished: list[tuple[str, datetime]] = []
    rolled_back: list[tuple[str, datetime]] = []
    for symbol in sorted({intent.partition.symbol for intent in store.ledger.intents()}):
        with store.engine.locked(store.catalog.lock_path(symbol), timeout_s=timeout_s):
            done, forgotten = _settle(store, [symbol])
        finished += [(symbol, start) for start in done]
        rolled_back += [(symbol, start) for start in forgotten]
    return Recovery(tuple(finished), tuple(rolled_back), _sweep(store))


def recover_unless_busy(store: Store) -> None:
    """Repair what a killed run left behind; a living writer that is at work settles its own."""
    with suppress(PartitionBusy):
        recover(store, timeout_s=0)


def _same_rows(store: Store, held: Partition, frame: pl.DataFrame) -> bool:
    """Whether the committed rows are those of the frame, in a file that was lost or that another version wrote."""
    return (held.content_hash == LOST or is_intact(store, held)) and read_partition(store, held).equals(frame)


@dataclass(frozen=True)
class Rejection:
    """One partition that broke the gate.

    Attributes:
        start: start of the partition, UTC.
        frame: the rows, of any schema, or None where there are none.
        codes: the rules that were broken.
        detail: what was found, for people.
        over: as of a `PartitionCandidate`; one that others committed since is not put aside for older inputs.
    """

    start: datetime
    frame: pl.DataFrame | None
    codes: Sequence[str]
    detail: str
    over: str | None = None


def quarantine_partition(
    store: Store,
    symbol: str,
    rejection: Rejection,
    *,
    clock: Clock,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Path | None:
    """Put a partition that broke the gate aside; what was committed of it stays, and the watermark may pass it.

    Args:
        store: the table.
        symbol: whose partition.
        rejection: the partition, its rows and what is wrong with them.
        clock: gives the time of the quarantine.
        timeout_s: how long to wait for another writer of the symbol, seconds.

    Returns:
        Absolute path of the rows, or None without a frame, or where others committed the partition meanwhile.

    Raises:
        DiskFull, PartitionBusy, LedgerError: as `commit_partitions`.
    """
    catalog, ledger, codes = store.catalog, store.ledger, rejection.codes
    start = store.layout.whole(rejection.start)
    path: Path | None = None
    with store.engine.locked(catalog.lock_path(symbol), timeout_s=timeout_s):
        _settle(store, [symbol])
        held = None if rejection.over is None else ledger.partition(symbol, start)
        if held is not None and held.content_hash != rejection.over:
            return None
        if rejection.frame is not None:
            metadata = {"lake.symbol": symbol, _key(store.layout): start.isoformat(), "lake.codes": ",".join(codes)}
            staged = stage(rejection.frame, catalog.temp_dir, metadata)
            try:
                path = staged.publish(catalog.quarantine_path(symbol, start, staged.content_hash))
            finally:
                staged.discard()
        relative = None if path is None else catalog.relative(path)
        ledger.record_quarantine(symbol, start, relative, codes, rejection.detail, at=clock())
    return path


def _key(layout: TableLayout) -> str:
    """Under which a file's metadata says which partition it is: `lake.hour` or `lake.day`."""
    return f"lake.{layout.span}"


def _span(layout: TableLayout, symbol: str, candidate: PartitionCandidate) -> tuple[datetime | None, datetime | None]:
    if candidate.frame.is_empty():
        return None, None
    times = candidate.frame[layout.time_column]
    where = f"{layout.title}, {symbol} {layout.text(candidate.start)}"
    first, last = times.min(), times.max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        raise StorageError(
            f"{where}: `{layout.time_column}` is {times.dtype}",
            remedy="The assembled frame must carry UTC timestamps",
        )
    if first < candidate.start or last >= candidate.start + layout.step:
        raise StorageError(
            f"{where}: rows from {first} to {last} lie outside the {layout.span}",
            remedy="The gate must reject such a frame; nothing was written",
        )
    return first, last


def _metadata(layout: TableLayout, symbol: str, candidate: PartitionCandidate) -> dict[str, str]:
    """The caller's metadata and, in every file, where it came from."""
    return {
        **candidate.metadata,
        "lake.symbol": symbol,
        _key(layout): candidate.start.isoformat(),
        "lake.sources": sources_to_json(candidate.sources),
        "lake.inputs_hash": candidate.inputs_hash,
        "lake.schema_hash": candidate.schema_hash,
        "lake.code_version": candidate.code_version,
    }


def _path(store: Store, symbol: str, start: datetime, content_hash: str) -> Path:
    """Where a partition's file lies: over a shared ledger each content has a file of its own."""
    if store.engine.is_shared:
        return store.catalog.named_partition_path(symbol, start, content_hash)
    return store.catalog.partition_path(symbol, start)


def _partition(
    store: Store,
    symbol: str,
    candidate: PartitionCandidate,
    file: StagedFile,
    span: tuple[datetime | None, datetime | None],
    at: datetime,
) -> Partition:
    return Partition(
        symbol=symbol,
        start=candidate.start,
        path=store.catalog.relative(_path(store, symbol, candidate.start, file.content_hash)),
        row_count=file.row_count,
        expected_rows=candidate.expected_rows,
        min_ts=span[0],
        max_ts=span[1],
        schema_hash=candidate.schema_hash,
        content_hash=file.content_hash,
        size_bytes=file.size_bytes,
        inputs_hash=candidate.inputs_hash,
        complete=candidate.complete,
        sources=candidate.sources,
        code_version=candidate.code_version,
        checks=candidate.checks,
        committed_at=at,
        verdict=candidate.verdict,
        verdict_detail=candidate.verdict_detail,
    )


def _commit_by_rename(
    store: Store,
    made: Sequence[tuple[Partition, StagedFile]],
    ours: dict[Path, StagedFile],
    over: Mapping[tuple[str, datetime], str | None],
) -> list[CommitOutcome]:
    """Decide on candidates and publish those that are accepted, under the lock files of their symbols."""
    starts = [partition.start for partition, _ in made]
    symbols = list({partition.symbol for partition, _ in made})
    rows = store.ledger.partitions_of(symbols, min(starts), max(starts) + store.layout.step)
    held = {(row.symbol, row.start): row for row in rows}
    decided = []
    for partition, file in made:
        key = partition.symbol, partition.start
        decided.append((decide(store, held.get(key), partition, over[key]), partition, file))
    accepted = [(partition, file) for (_, publish), partition, file in decided if publish]
    if accepted:
        _publish(store, accepted, ours)
    return [outcome for (outcome, _), _, _ in decided]


def _publish(store: Store, accepted: Sequence[tuple[Partition, StagedFile]], ours: dict[Path, StagedFile]) -> None:
    """Directories, intents, renames and rows. Once the intents are durable, the temp files belong to the recovery."""
    catalog, ledger = store.catalog, store.ledger
    files = [(file, catalog.absolute(partition.path)) for partition, file in accepted]
    symbols = sorted({partition.symbol for partition, _ in accepted})
    what = f"{store.layout.title}, {', '.join(symbols)}: directories of {len(files)} {store.layout.span}(s)"
    with disk_errors(what):
        fsync_dirs([directory for _, path in files for directory in make_dirs(path.parent)])
    intents = [Intent(partition, catalog.relative(file.temp_path)) for partition, file in accepted]
    ledger.write_intents(intents)
    for file, _ in files:
        del ours[file.temp_path]
    ledger.commit_intents_of(symbols, partial(publish_all, files))


def _settle(store: Store, symbols: Sequence[str]) -> tuple[list[datetime], list[datetime]]:
    """Finish or forget the intents of dead writers; the caller holds the locks, so no living one has any."""
    catalog, ledger = store.catalog, store.ledger
    intents = ledger.intents(symbols[0] if len(symbols) == 1 else None)
    if not intents:
        return [], []
    finished: list[datetime] = []
    forgotten: list[datetime] = []
    for symbol in symbols:
        own = [intent for intent in intents if intent.partition.symbol == symbol]
        to_publish: list[tuple[StagedFile, Path]] = []
        temps: list[Path] = []
        gone: list[datetime] = []
        with disk_errors(f"{store.layout.title}, {symbol}: recovery"):
            for intent in own:
                row = intent.partition
                temp, final = catalog.absolute(intent.temp_path), catalog.absolute(row.path)
                temps.append(temp)
                if temp.is_file() and file_hash(temp) == row.content_hash:
                    to_publish.append((StagedFile(temp, row.content_hash, row.size_bytes, row.row_count), final))
                elif final.is_file() and file_hash(final) == row.content_hash:
                    fsync_dirs([final.parent])
                else:
                    temp.unlink(missing_ok=True)  # before its intent goes: afterwards nothing knows of it
                    gone.append(row.start)
                    continue
                finished.append(row.start)
            if own:
                ledger.drop_intents(symbol, gone)
                ledger.commit_intents(symbol, partial(publish_all, to_publish))
            for temp in temps:
                temp.unlink(missing_ok=True)
        forgotten += gone
    return finished, forgotten


def _sweep(store: Store) -> int:
    """Remove temp files that no living writer can still want."""
    catalog = store.catalog
    if not catalog.temp_dir.is_dir():
        return 0
    with disk_errors(f"sweep {catalog.temp_dir}"):
        now = file_time(catalog.temp_dir)
        wanted = {catalog.absolute(path) for path in store.ledger.temp_paths()}
        stale = [
            path
            for path in catalog.temp_dir.iterdir()
            if path not in wanted and now - path.stat().st_mtime > STALE_TEMP.total_seconds()
        ]
        for path in stale:
            path.unlink(missing_ok=True)
    return len(stale)
