"""Two tables as storage sees them: that of minutes, and one that differs from it in everything a layout says.

Belongs here: the layouts, candidates for them, rows that tell which version of a partition they are. Does not belong
here: any assertion.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.layout import TableLayout
from lake_resources.storage.commit import PartitionCandidate
from lake_resources.storage.provenance import SourceKind, SourceRef
from lake_resources.storage.store import Store
from lake_tests.support.stores import store_at

MINUTES = UM_MINUTE.layout
SECONDS = TableLayout(
    name="toy_seconds",
    title="toy table",
    market="toy",
    market_directory="toys/wood",
    directory="seconds",
    grain=timedelta(seconds=1),
    span="day",
    row_stream="ticks",
    tiers=("month",),
    time_column="at",
)
LAYOUTS = (MINUTES, SECONDS)
SYMBOL = "BTCUSDT"
MONTH = datetime(2026, 2, 1, tzinfo=UTC)
NOW = datetime(2026, 3, 20, 12, 34, 56, tzinfo=UTC)


def layout_store(root: Path, layout: TableLayout) -> Store:
    """A table of the lake at `root` of which nothing but the layout is declared."""
    return store_at(root).of(layout)


def clock() -> datetime:
    """A frozen clock, weeks after the test's month."""
    return NOW


def schema(layout: TableLayout) -> pl.Schema:
    """Columns of a table: its time, the version of the partition, the row's number in it."""
    return pl.Schema({layout.time_column: pl.Datetime("us", "UTC"), "version": pl.Float64(), "number": pl.Int64()})


def frame(layout: TableLayout, start: datetime, rows: int | None = None, version: float = 1.0) -> pl.DataFrame:
    """The first `rows` rows of a partition, default all."""
    count = layout.rows_per_partition if rows is None else rows
    numbers = pl.int_range(count, eager=True)
    return pl.DataFrame({"number": numbers}).select(
        (pl.lit(start) + pl.col("number") * layout.grain).cast(pl.Datetime("us", "UTC")).alias(layout.time_column),
        pl.lit(version, pl.Float64()).alias("version"),
        pl.col("number").cast(pl.Int64()),
    )


def candidate(
    layout: TableLayout,
    start: datetime,
    *,
    rows: int | None = None,
    version: float = 1.0,
    kinds: Mapping[str, SourceKind] | None = None,
) -> PartitionCandidate:
    """A candidate; complete when all its rows are there."""
    kinds = kinds or {layout.row_stream: "archive", "other": "archive"}
    made = frame(layout, start, rows, version)
    return PartitionCandidate(
        start=start,
        frame=made,
        metadata={},
        sources={stream: SourceRef(stream, kind, f"{stream}-{kind}") for stream, kind in kinds.items()},
        complete=made.height == layout.rows_per_partition,
        expected_rows=layout.rows_per_partition,
        inputs_hash=f"{version}",
        schema_hash="schema",
        code_version="1",
    )


def starts(layout: TableLayout, count: int, first: datetime = MONTH) -> list[datetime]:
    """Starts of that many partitions in a row."""
    return [first + index * layout.step for index in range(count)]


def candidates(layout: TableLayout, wanted: Iterable[datetime], version: float = 1.0) -> list[PartitionCandidate]:
    """Whole candidates."""
    return [candidate(layout, start, version=version) for start in wanted]
