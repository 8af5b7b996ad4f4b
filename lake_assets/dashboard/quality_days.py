"""The one verdict by day and hour, as tables to colour: what the quality page draws.

Belongs here: ledger → frames. Does not belong here: judging (the verdict is the ledger's), drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import get_args

import polars as pl

from lake_assets.at_rest import TableStore
from lake_assets.inputs.excuses import holes_known
from lake_assets.validation.hour_verdict import VerdictKind

ABSENT, UNJUDGED, NOT_EXPECTED = "absent", "not judged", "not expected"
_EXPLAINED: VerdictKind = "explained"
WORST_LAST: tuple[str, ...] = (NOT_EXPECTED, *get_args(VerdictKind), UNJUDGED, ABSENT)
"""States of a partition or day, the worst last; the first is no state of quality."""
COLOURS: dict[str, str] = {
    "clean": "#2e7d32", "explained": "#9ccc65", "provisional": "#90a4ae", "unproven": "#fbc02d", "partial": "#fb8c00",
    "contradicted": "#8e24aa", UNJUDGED: "#bcaaa4", ABSENT: "#c62828", NOT_EXPECTED: "#eceff1",
}  # fmt: skip


_STATES = pl.Schema(
    {
        "start": pl.Datetime("us", "UTC"),
        "state": pl.String(),
        "reason": pl.String(),
        "rows": pl.Int64(),
        "expected": pl.Int64(),
    }
)


def partition_states(
    store: TableStore, symbol: str, start: datetime, end: datetime, *, expected: tuple[datetime, datetime]
) -> pl.DataFrame:
    """State of each partition of a window.

    Args:
        store: the table.
        symbol: whose partitions.
        start, end: the window, UTC; partitions that overlap it.
        expected: partitions that begin outside `[first, end)` of it are not expected: the lake begins later, or they
            have not come yet.

    Returns:
        `start` (UTC), `state`, `reason`, `rows`, `expected` (rows that must exist), one row per partition, in order.
        A partition that nobody committed is `absent`, or `explained` where a known hole names all of it.
    """
    ledger, layout = store.ledger, store.layout
    known = [hole for hole in holes_known(ledger, symbol, start, end) if hole.stream == store.table.row_stream]
    facts = {each.start: each for each in ledger.partition_facts(symbol, start, end)}
    verdicts = ledger.verdicts(symbol, start, end)
    untraded = ledger.untraded(symbol, layout.between(start, end))
    rows = []
    for at in layout.between(start, end):
        fact = facts.get(at)
        whole = layout.rows_per_partition
        if fact is not None:
            kind, detail = verdicts.get(at, (UNJUDGED, None))
            rows.append((at, kind, detail or "", fact.row_count, fact.expected_rows or whole))
        elif not expected[0] <= at < expected[1] or at in untraded:
            rows.append((at, NOT_EXPECTED, "", 0, 0))
        else:
            cause = next((each.cause for each in known if each.start <= at and at + layout.step <= each.end), None)
            state = (ABSENT, "no committed partition") if cause is None else (_EXPLAINED, cause)
            rows.append((at, *state, 0, whole))
    return pl.DataFrame(rows, schema=_STATES, orient="row")


def day_states(states: pl.DataFrame) -> pl.DataFrame:
    """Days of partitions: each has the worst state of its partitions, and the sums of their rows."""
    order = pl.Enum(WORST_LAST)
    return (
        states.with_columns(pl.col("state").cast(order), day=pl.col("start").dt.truncate("1d"))
        .group_by("day")
        .agg(pl.col("state").max(), pl.col("rows").sum(), pl.col("expected").sum())
        .sort("day")
        .with_columns(pl.col("state").cast(pl.String))
    )


def calendar(
    store: TableStore, symbols: Sequence[str], start: datetime, end: datetime, *, expected: tuple[datetime, datetime]
) -> pl.DataFrame:
    """Days of several symbols: `symbol`, `day`, `state`, `rows`, `expected`."""
    found = [
        day_states(partition_states(store, symbol, start, end, expected=expected)).with_columns(symbol=pl.lit(symbol))
        for symbol in symbols
    ]
    return pl.concat(found) if found else pl.DataFrame()


def window_of(days: int, now: datetime) -> tuple[datetime, datetime]:
    """The last whole days and today, UTC."""
    end = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return end - timedelta(days=days), end
