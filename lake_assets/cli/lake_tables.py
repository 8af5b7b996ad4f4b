"""Tables for the terminal: what the lake holds, with check results and places.

Belongs here: reading the ledger for people. Does not belong here: starting anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from rich.table import Table
from rich.text import Text

from lake_assets.at_rest import TableStore
from lake_assets.cli.printing import coloured
from lake_assets.schema.table import Table as Declared
from lake_assets.validation.hour_verdict import outcomes_now
from lake_resources.binance.um_streams import AGG_TRADES, FUNDING_RATE, KLINES_1M, METRICS
from lake_resources.storage.catalog import Catalog
from lake_resources.storage.ledger.ledger import MissingSource, Partition

_SHOWN_AS = {
    KLINES_1M.name: "klines",
    AGG_TRADES.name: "aggTrades",
    METRICS.name: "metrics",
    FUNDING_RATE.name: "funding",
}
"""Streams that have a column in the table of partitions, with its heading."""


def hours_table(store: TableStore, symbol: str, start: datetime, end: datetime) -> Table:
    """One line per committed or rejected partition of `[start, end)`: rows, sources, check results, file."""
    layout = store.layout
    pattern = _short(store.catalog, store.catalog.partition_path(symbol, start)).replace(
        f"day={start:%d}/hour={start:%H}", "day=DD/hour=HH"
    )
    # What no row can do without, and of the rest what people ask after.
    streams = [name for name in store.table.uses if name in _SHOWN_AS or name == store.table.row_stream]
    table = Table(
        title=f"{layout.market}/{symbol}/{layout.directory}, {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC",
        caption=pattern,
        title_justify="left",
        caption_justify="left",
    )
    for heading in (layout.span, "rows", *(_SHOWN_AS.get(name, name) for name in streams), "checks", "content"):
        table.add_column(heading, justify="right" if heading == "rows" else "left", no_wrap=True)
    committed = {row.start: row for row in store.ledger.partitions(symbol, start, end)}
    rejected = {entry.start: entry for entry in store.ledger.quarantined(symbol, start, end)}
    for hour in sorted(committed.keys() | rejected.keys()):
        if hour in committed:
            row = committed[hour]
            kinds = [row.sources[name].kind if name in row.sources else "-" for name in streams]
            rows = str(row.row_count) if row.row_count == row.expected_rows else f"{row.row_count}/{row.expected_rows}"
            table.add_row(f"{hour:%m-%d %H:%M}", rows, *kinds, _checks(store.table, row), row.content_hash[:8])
        if hour in rejected:
            entry = rejected[hour]
            table.add_row(
                f"{hour:%m-%d %H:%M}",
                "-",
                *["-"] * len(streams),
                coloured(f"quarantine: {', '.join(entry.codes)}", "red"),
                entry.path,
            )
    return table


def archives_table(store: TableStore, symbol: str, start: datetime, end: datetime) -> Table:
    """One line per archive file of the table's streams that covers part of `[start, end)`."""
    table = Table(
        title=f"vision/{symbol}",
        caption=f"vision/{store.layout.market_directory}/STREAM/symbol={symbol}/PERIOD-SHA256.parquet",
        title_justify="left",
        caption_justify="left",
    )
    for heading in ("stream", "period", "rows", "CHECKSUM", "sha256"):
        table.add_column(heading, justify="right" if heading == "rows" else "left", no_wrap=True)
    for stream in store.table.uses:
        for row in store.ledger.archives_between(symbol, stream, start, end):
            table.add_row(stream, row.period, f"{row.row_count:,}", row.checksum_verdict, row.sha256[:12])
    return table


def missing_table(rows: Sequence[MissingSource]) -> Table:
    """One line per source that was asked for and had nothing."""
    table = Table(title="missing sources", title_justify="left")
    for heading in ("symbol", "stream", "period", "source", "attempts", "last asked", "reason"):
        table.add_column(heading)
    for row in rows:
        last = f"{row.last_seen:%Y-%m-%d %H:%M}"
        table.add_row(row.symbol, row.stream, row.period, row.source, str(row.attempts), last, row.reason)
    return table


def check_totals(table: Declared, rows: Iterable[Partition]) -> dict[str, Counter[str]]:
    """By check: how many hours passed and failed."""
    totals: dict[str, Counter[str]] = {name: Counter() for name in table.checks}
    for row in rows:
        for outcome in outcomes_now(row.checks, row.verdict, row.verdict_detail, table.checks):
            totals[outcome.name]["passed" if outcome.passed else "failed"] += 1
    return totals


def _checks(table: Declared, row: Partition) -> Text:
    outcomes = outcomes_now(row.checks, row.verdict, row.verdict_detail, table.checks)
    failed = [outcome for outcome in outcomes if not outcome.passed]
    if not failed:
        return coloured(f"{len(outcomes)} passed", "green")
    names = ", ".join(outcome.name for outcome in failed)
    return coloured(f"{len(outcomes) - len(failed)} passed, failed: {names}", "yellow")


def _short(catalog: Catalog, path: Path) -> str:
    return str(path.relative_to(catalog.root))
