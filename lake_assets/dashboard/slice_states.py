"""Raw slices as tables: where each of a set stands, and what the whole set is worth.

Belongs here: rows of the slices' ledger → frames and counts. Does not belong here: judging a slice (`slices`), drawing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from lake_assets.slices.agg_trades_endpoint import BY_ID
from lake_assets.validation.completeness import completeness_pct
from lake_resources.storage.ledger.slice_rows import SliceRow, SliceSet

WHOLE = "ok"
"""Status of a slice that lacks nothing."""


def title_of(of: SliceSet) -> str:
    """A set in words, e.g. `BTCUSDT klines 1m`."""
    return f"{of.symbol} {of.endpoint} {of.interval}"


def overview(states: Mapping[SliceSet, Sequence[SliceRow]]) -> pl.DataFrame:
    """A row per set: `symbol`, `endpoint`, `interval`, `slices`, `complete %` (never rounded up), `records`, statuses.

    There is a column of numbers for each status that any slice has.
    """
    rows = []
    for of, found in states.items():
        counts = Counter(row.status for row in found)
        rows.append(
            {"symbol": of.symbol, "endpoint": of.endpoint, "interval": of.interval, "slices": len(found),
             "complete %": completeness_pct(counts[WHOLE], len(found)), "records": sum(row.n_items for row in found),
             **{status: counts[status] for status in sorted({row.status for each in states.values() for row in each})}}
        )  # fmt: skip
    return pl.DataFrame(rows)


def slices_frame(of: SliceSet, rows: Sequence[SliceRow]) -> pl.DataFrame:
    """A row per slice, in order: where it begins, its status and reason, its records, and the answer that is kept.

    Where a slice begins is a UTC time (`start`), or an id (`first_id`) of records that are counted by their ids.
    """
    frame = pl.DataFrame(
        [
            (row.start, row.status, row.reason, row.n_items, row.missing, row.completed_at_utc, row.sha256, row.path,
             row.error)
            for row in rows
        ],
        schema={
            "start": pl.Int64, "status": pl.String, "reason": pl.String, "records": pl.Int64, "missing": pl.String,
            "answered": pl.Datetime("us", "UTC"), "sha256": pl.String, "path": pl.String, "error": pl.String,
        },
        orient="row",
    )  # fmt: skip
    if counted_by_id(of):
        return frame.rename({"start": "first_id"})
    return frame.with_columns(pl.from_epoch("start", "ms").dt.replace_time_zone("UTC"))


def counted_by_id(of: SliceSet) -> bool:
    """Whether the slices of a set are windows of ids, not of time."""
    return of.interval == BY_ID


def certificate_of(of: SliceSet, rows: Sequence[SliceRow]) -> dict[str, Any]:
    """What the slices of a set are worth, as JSON values: how many are whole, and those that are not."""
    counts = Counter(row.status for row in rows)
    return {
        "endpoint": of.endpoint,
        "symbol": of.symbol,
        "interval": of.interval,
        "expected_slices": len(rows),
        "complete_slices": counts[WHOLE],
        "completeness_pct": completeness_pct(counts[WHOLE], len(rows)),
        "by_status": dict(counts),
        "records": sum(row.n_items for row in rows),
        "not_complete": [
            {"start": row.start, "status": row.status, "reason": row.reason, "missing": row.missing, "error": row.error}
            for row in rows
            if row.status != WHOLE
        ],
    }
