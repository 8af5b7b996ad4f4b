"""Which of two versions of a partition stays: never worse data for better.

Belongs here: the decision, and what becomes of a candidate by it. Does not belong here: files and transactions
(`commit`, `named_commit`), which sources are better (`provenance`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from lake_resources.clock import HOUR, MINUTE
from lake_resources.layout import TableLayout
from lake_resources.storage.ledger.ledger import Partition
from lake_resources.storage.placement import is_intact, serving_path
from lake_resources.storage.provenance import describe, lower_ranked, rank
from lake_resources.storage.store import Store

_WHOLE, _DOUBTED = frozenset({"clean", "explained"}), frozenset({"unproven", "partial", "contradicted"})
CommitStatus = Literal["committed", "unchanged", "kept_better"]


@dataclass(frozen=True)
class CommitOutcome:
    """What became of a candidate; path, hash and rows are those of the partition as it is committed now.

    Attributes:
        status: `committed`, `unchanged` (the same bytes were there) or `kept_better` (better data was there).
        path: absolute path of the file that the partition is read from.
        reason: why the committed partition was kept, or what was odd; empty otherwise.
    """

    start: datetime
    status: CommitStatus
    path: Path
    content_hash: str
    row_count: int
    reason: str = ""


def decide(store: Store, held: Partition | None, new: Partition, over: str | None = None) -> tuple[CommitOutcome, bool]:
    """What becomes of a candidate, and whether it is published (or only its ledger row is refreshed by that).

    Args:
        store: the table.
        held: what is committed.
        new: the candidate as it would be committed.
        over: content hash of what was committed when the candidate's inputs were asked for, empty where nothing was;
            None where nobody looked.
    """
    overtaken = held is not None and over is not None and held.content_hash != over

    def outcome(status: CommitStatus, row: Partition, reason: str = "") -> CommitOutcome:
        path = store.catalog.absolute(row.path) if row is new else serving_path(store, row)
        return CommitOutcome(row.start, status, path, row.content_hash, row.row_count, reason)

    if held is None:
        return outcome("committed", new), True
    if not is_intact(store, held):
        return outcome("committed", new, "the committed file was lost or damaged on the disk"), True
    if held.content_hash == new.content_hash:
        # The bytes say nothing about whether they are all, or what the checks said: both may change under them.
        changed = _said_of(new) != _said_of(held)
        newer = changed and new.complete >= held.complete and not overtaken
        refresh = newer or _of_bytes(new) != _of_bytes(held)
        return outcome("unchanged", new if refresh else held), refresh
    worse = _worse(store.layout, held, new)
    if overtaken and not worse and not _better(store.layout, held, new):
        # Its inputs are the older ones: a process was stopped on the way, or its machine slept.
        worse = f"another writer committed the {store.layout.span} while this one was built, from sources as good"
    if worse:
        return outcome("kept_better", held, worse), False
    return outcome("committed", new), True


def _said_of(partition: Partition) -> tuple[object, ...]:
    """What a build says of the bytes, beyond what they say themselves."""
    return partition.complete, partition.expected_rows, partition.checks, partition.verdict, partition.verdict_detail


def _of_bytes(partition: Partition) -> tuple[object, ...]:
    """What the same bytes have in common; a ledger row that says anything else was changed by somebody."""
    return partition.row_count, partition.min_ts, partition.max_ts, partition.schema_hash, partition.size_bytes


def _worse(layout: TableLayout, held: Partition, new: Partition) -> str:
    """Why a candidate would lose something that is committed; empty when it would not.

    The whole partition replaces a part of it even where a stream fell away meanwhile: columns that are NULL now say so,
    and what REST gave of them is kept as captures, while a partition that never ends would stop the watermark.
    """
    ranks = _row_rank(layout, held), _row_rank(layout, new)
    if new.complete and not held.complete and new.row_count >= held.row_count and ranks[1] >= ranks[0]:
        return ""
    if held.verdict in _DOUBTED and new.verdict in _WHOLE and new.complete:
        # What a witness calls whole has the rows that there are, whatever its source; the other one may have too many.
        return ""
    until = _until_minute(layout, held)
    lower = lower_ranked(held.sources, new.sources, judged=held.verdict is not None, until_minute=until)
    if lower:
        return f"committed from better sources ({describe(held.sources, lower)}) than {describe(new.sources, lower)}"
    if held.complete and not new.complete:
        return f"the committed {layout.span} is complete ({held.row_count} rows), this one is not ({new.row_count})"
    if new.row_count < held.row_count and ranks[1] <= ranks[0]:
        return f"the committed {layout.span} has {held.row_count} rows, this one {new.row_count} from no better source"
    return ""


def _better(layout: TableLayout, held: Partition, new: Partition) -> bool:
    """Whether a candidate has something that is not committed: rows, the end of the partition, a better source."""
    more = (new.row_count, new.complete) > (held.row_count, held.complete)
    doubted = held.verdict in _DOUBTED and new.verdict in _WHOLE
    sources = _row_rank(layout, new) > _row_rank(layout, held) or lower_ranked(new.sources, held.sources)
    return more or new.complete > held.complete or doubted or bool(sources)


def _until_minute(layout: TableLayout, held: Partition) -> int:
    """Minute of the hour from which on a partition has no rows; of one that is longer than an hour nobody knows it."""
    if layout.step != HOUR or held.max_ts is None:
        return 60
    span = held.max_ts + layout.grain - held.start
    return -(-span // MINUTE)


def _row_rank(layout: TableLayout, partition: Partition) -> int:
    """Rank of the stream whose rows are the rows of the table: a better source of it may rightly have fewer."""
    source = partition.sources.get(layout.row_stream)
    return 0 if source is None else rank(source.kind)
