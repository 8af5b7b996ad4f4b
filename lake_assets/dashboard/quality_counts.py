"""Counts for the page of quality: holes by cause, checks, how fresh each symbol is.

Belongs here: ledger and certificate → frames. Does not belong here: judging, drawing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import polars as pl

from lake_assets.at_rest import TableStore
from lake_assets.quality.certificate import Certificate
from lake_assets.validation.outcome import outcomes_from_json

CHECKED_DAYS = 31
"""Days whose checks are counted: the checks of a year are many megabytes of the ledger."""


def holes_by_cause(certificate: Certificate) -> pl.DataFrame:
    """How many rows each cause took, the most first: `cause`, `explained`, `holes`, `rows`."""
    rows, holes = Counter[tuple[str, bool]](), Counter[tuple[str, bool]]()
    for hole in certificate.holes:
        rows[hole.cause, hole.explained] += hole.rows
        holes[hole.cause, hole.explained] += 1
    return pl.DataFrame(
        [(cause, explained, holes[cause, explained], count) for (cause, explained), count in rows.most_common()],
        schema={"cause": pl.String, "explained": pl.Boolean, "holes": pl.Int64, "rows": pl.Int64},
        orient="row",
    )


def check_counts(store: TableStore, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
    """Each check of the table: partitions that `passed`, that `failed`, and the `last failure`, of a window.

    A check that compared nothing in a partition is neither.
    """
    passed, failed, last = Counter[str](), Counter[str](), dict[str, str]()
    for row in store.ledger.partitions(symbol, start, end):
        for outcome in outcomes_from_json(row.checks, store.table.checks):
            (passed if outcome.passed else failed)[outcome.name] += 1
            if not outcome.passed:
                last[outcome.name] = f"{store.layout.text(row.start)}: {outcome.text()}"
    return pl.DataFrame(
        [(name, passed[name], failed[name], last.get(name, "")) for name in store.table.checks],
        schema={"check": pl.String, "passed": pl.Int64, "failed": pl.Int64, "last failure": pl.String},
        orient="row",
    )


def freshness(store: TableStore, symbols: Sequence[str], now: datetime) -> pl.DataFrame:
    """Each symbol: the end of its newest committed row, how many minutes ago that was, and its watermark, UTC."""
    found = []
    for symbol in symbols:
        last = store.ledger.last_partition(symbol)
        facts = store.ledger.partition_facts(symbol, last, last + store.layout.step) if last is not None else []
        newest = next((fact.max_ts + store.layout.grain for fact in facts if fact.max_ts is not None), None)
        behind = None if newest is None else (now - newest).total_seconds() / 60
        found.append((symbol, newest, behind, store.ledger.watermark(symbol)))
    instant = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        found,
        schema={"symbol": pl.String, "newest row ends": instant, "minutes ago": pl.Float64, "watermark": instant},
        orient="row",
    )
