"""What each hour of each table is worth, as rows: the verdict, how much of it is there, where it came from.

Belongs here: ledger → rows. Does not belong here: judging (the verdict is the ledger's), finding holes (`quality`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson
import polars as pl

from lake_assets.at_rest import TableStore
from lake_assets.quality.holes import find_holes, untraded_partitions
from lake_assets.validation.hour_verdict import VerdictKind
from lake_resources.clock import HOUR
from lake_resources.storage.ledger.ledger import PartitionFile

ABSENT, UNJUDGED = "absent", "not judged"
_EXPLAINED: VerdictKind = "explained"
QUALITY_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "table": pl.String(),
        "ts": pl.Datetime("us"),
        "verdict": pl.String(),
        "coverage": pl.Float64(),
        "sources": pl.String(),
        "rows": pl.Int64(),
        "expected_rows": pl.Int64(),
        "explained_rows": pl.Int64(),
        "unexplained_rows": pl.Int64(),
        "reason": pl.String(),
    }
)
"""Columns of the view `quality`; `ts` is the UTC start of the hour, without a zone as in all the views."""


def quality_hours(store: TableStore, symbol: str, *, until: datetime) -> pl.DataFrame:
    """Hours of a symbol's table, from its first committed partition on.

    Args:
        store: the table.
        symbol: whose hours.
        until: rows from here on are not expected yet, UTC.

    Returns:
        `QUALITY_SCHEMA`, in order of time. An hour of a table in partitions of days has the verdict and the sources of
        its day, and the rows of its own. Without a partition it is `absent`, or `explained` where known holes name
        all of it, and `reason` names the causes. A row that is longer than an hour has one line. `coverage` is 1 only
        where no row is absent; `explained_rows` are absent for a reason that a known hole names.

    Raises:
        StorageError: a partition that lacks rows does not read.
    """
    layout, ledger = store.layout, store.ledger
    first = ledger.first_partition(symbol)
    if first is None or first >= until:
        return pl.DataFrame(schema=QUALITY_SCHEMA)
    files = ledger.partition_files(symbol, first, until)
    untraded = untraded_partitions(store, symbol, first, until, {each.start for each in files})
    sources = {each.start: _sources(each.sources) for each in files}
    verdicts, unit = ledger.verdicts(symbol, first, until), max(HOUR, layout.grain)
    explained, unexplained, causes = _absent_rows(store, symbol, files, until, unit)
    rows: list[tuple[Any, ...]] = []
    for partition in layout.between(first, until):
        if partition in untraded:
            continue
        there = partition in sources
        verdict, reason = verdicts.get(partition, (UNJUDGED, None))
        for at in _hours(partition, min(partition + layout.step, until), unit):
            expected = (min(at + unit, until) - at) // layout.grain
            lost = explained[at] + unexplained[at]
            if not there:
                verdict = ABSENT if unexplained[at] or not lost else _EXPLAINED
                reason = "; ".join(causes.get(at, ())) or "no committed partition"
            rows.append(
                (
                    symbol, store.table.name, at.replace(tzinfo=None), verdict, (expected - lost) / expected,
                    sources.get(partition, ""), expected - lost, expected, explained[at], unexplained[at], reason or "",
                )
            )  # fmt: skip
    return pl.DataFrame(rows, schema=QUALITY_SCHEMA, orient="row")


def _absent_rows(
    store: TableStore, symbol: str, files: Sequence[PartitionFile], until: datetime, unit: timedelta
) -> tuple[Counter[datetime], Counter[datetime], dict[datetime, list[str]]]:
    """Rows that are not there by start of the hour: those that a known hole explains, the others, and the causes."""
    explained: Counter[datetime] = Counter()
    unexplained: Counter[datetime] = Counter()
    causes: dict[datetime, list[str]] = {}
    first = files[0].start
    for hole in find_holes(store, symbol, first, until, files):
        counted = explained if hole.explained else unexplained
        begin = first + (hole.start - first) // unit * unit
        for at in _hours(begin, hole.end, unit):
            counted[at] += (min(at + unit, hole.end) - max(at, hole.start)) // store.layout.grain
            causes.setdefault(at, []).append(hole.cause)
    return explained, unexplained, causes


def _hours(start: datetime, end: datetime, unit: timedelta) -> Iterator[datetime]:
    while start < end:
        yield start
        start += unit


def _sources(text: str) -> str:
    """`stream=kind` of each stream of a partition, from the ledger's JSON."""
    return ", ".join(f"{name}={ref['kind']}" for name, ref in sorted(orjson.loads(text).items()))
