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
from lake_resources.storage.ledger.ledger import Ledger, MissingSource, Partition


def hours_table(store: TableStore, symbol: str, start: datetime, end: datetime) -> Table:
    """One line per committed or rejected hour of `[start, end)`: rows, sources, check results, file."""
    pattern = _short(store.catalog, store.catalog.partition_path(symbol, start)).replace(
        f"day={start:%d}/hour={start:%H}", "day=DD/hour=HH"
    )
    table = Table(
        title=f"um/{symbol}/minute, {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC",
        caption=pattern,
        title_justify="left",
        caption_justify="left",
    )
    for heading in ("hour", "rows", "klines", "aggTrades", "metrics", "funding", "checks", "content"):
        table.add_column(heading, justify="right" if heading == "rows" else "left", no_wrap=True)
    committed = {row.start: row for row in store.ledger.partitions(symbol, start, end)}
    rejected = {entry.start: entry for entry in store.ledger.quarantined(symbol, start, end)}
    for hour in sorted(committed.keys() | rejected.keys()):
        if hour in committed:
            row = committed[hour]
            kinds = [row.sources[stream.name].kind for stream in (KLINES_1M, AGG_TRADES, METRICS, FUNDING_RATE)]
            rows = str(row.row_count) if row.row_count == row.expected_rows else f"{row.row_count}/{row.expected_rows}"
            table.add_row(f"{hour:%m-%d %H:%M}", rows, *kinds, _checks(store.table, row), row.content_hash[:8])
        if hour in rejected:
            entry = rejected[hour]
            table.add_row(
                f"{hour:%m-%d %H:%M}",
                "-",
                *["-"] * 4,
                coloured(f"quarantine: {', '.join(entry.codes)}", "red"),
                entry.path,
            )
    return table


def archives_table(ledger: Ledger, symbol: str, streams: Iterable[str], start: datetime, end: datetime) -> Table:
    """One line per archive file that covers part of `[start, end)`."""
    table = Table(
        title=f"vision/{symbol}",
        caption=f"vision/futures/um/STREAM/symbol={symbol}/PERIOD-SHA256.parquet",
        title_justify="left",
        caption_justify="left",
    )
    for heading in ("stream", "period", "rows", "CHECKSUM", "sha256"):
        table.add_column(heading, justify="right" if heading == "rows" else "left", no_wrap=True)
    for stream in streams:
        for row in ledger.archives_between(symbol, stream, start, end):
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
