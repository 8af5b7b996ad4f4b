"""What the ledger says is missing, refused or doubted of a table: the part of a look that is the same for each table.

Belongs here: finding it, by symbol. Does not belong here: all other facts (`look`), what of it is a problem
(`automation.health`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from lake_assets.at_rest import store_of
from lake_assets.automation.healing import heal_start
from lake_assets.automation.hot import hot_start
from lake_assets.automation.platform import HoleFacts, TableFacts
from lake_assets.automation.promotion import ALARM_AFTER, daily_uses, named
from lake_assets.build.open_hours import open_hours
from lake_assets.inputs.doubted_hours import doubted_hours
from lake_assets.inputs.excuses import holes_known
from lake_assets.schema.table import Table
from lake_assets.tables.declared import TABLES
from lake_assets.tables.offered import is_offered
from lake_assets.validation.rules import all_excused
from lake_resources.binance.market import MARKETS
from lake_resources.binance.streams import rest_memories
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.ledger import Ledger

_NEWEST_WITHIN = timedelta(days=2)
_LATE_WITHIN_DAYS = 31


def table_facts(settings: LakeSettings, now: datetime) -> tuple[dict[str, TableFacts], list[str]]:
    """What is known of each offered table, by its name, and archive files that are so late that people are told.

    Symbols whose trading has ended are not looked at.

    Args:
        settings: of the lake.
        now: the moment of looking, UTC.
    """
    found: dict[str, TableFacts] = {}
    late: list[str] = []
    first = store_of(settings)
    try:
        for table in TABLES.values():
            if not is_offered(table, settings):
                continue
            ledger = first.beside(table).ledger
            symbols = ledger.traded_after(settings.symbols_of(MARKETS[table.layout.market]), now)
            found[table.name] = TableFacts(
                table.layout.span,
                table.layout.grain,
                {symbol: _newest_end(ledger, symbol, now) for symbol in symbols},
                {symbol: _holes(settings, ledger, table, symbol, now) for symbol in symbols},
            )
            late += [text for text in _late(table, ledger, symbols, now) if text not in late]
    finally:
        first.close()
    return found, late


def _newest_end(ledger: Ledger, symbol: str, now: datetime) -> datetime | None:
    """End of the newest committed row of the last two days, else of the last partition."""
    held = ledger.partitions(symbol, now - _NEWEST_WITHIN, now)
    last = None if held else ledger.last_partition(symbol)
    if last is not None:
        held = ledger.partitions(symbol, last, last + ledger.layout.step)
    newest = max((row.max_ts for row in held if row.max_ts is not None), default=None)
    return None if newest is None else newest + ledger.layout.grain


def _holes(settings: LakeSettings, ledger: Ledger, table: Table, symbol: str, now: datetime) -> HoleFacts:
    """A symbol's missing and refused partitions that no declared hole explains, and its watermark.

    Only partitions that healing tries again are looked at; the watermark tells of older ones.
    """
    layout, rows = table.layout, table.row_stream
    first, mark = ledger.first_partition(symbol), ledger.watermark(symbol)
    if first is None:
        return HoleFacts()
    start = max(first, heal_start(now, settings.heal_days, rest_memories(layout.market), table))
    found = open_hours(ledger, symbol, start, hot_start(now, settings.hot_hours, layout))
    stands_at = None if mark is None else mark + layout.grain
    declared = holes_known(ledger, symbol, start if stands_at is None else min(start, stands_at), now)
    lacking = dict.fromkeys(found.absent) | {at: row for at, (row, _) in found.incomplete.items()}
    missing = [at for at, row in lacking.items() if not all_excused(declared, rows, row or at, at + layout.step)]
    refused = [at for at in found.quarantined if not all_excused(declared, rows, at, at + layout.step)]
    doubts = {at: each for at, each in doubted_hours(ledger, symbol, start, now).items() if each.kind != "provisional"}
    contradicted = [at for at, each in doubts.items() if each.kind == "contradicted"]
    return HoleFacts(
        doubted=len(doubts),
        contradicted=len(contradicted),
        oldest_contradicted=min(contradicted, default=None),
        missing=len(missing),
        oldest_missing=min(missing, default=None),
        quarantined=len(refused),
        oldest_quarantined=min(refused, default=None),
        explained=len(lacking) + len(found.quarantined) - len(missing) - len(refused),
        watermark=mark,
        watermark_explained=stands_at is not None
        and all_excused(declared, rows, stands_at, layout.start_of(stands_at) + layout.step),
    )


def _late(table: Table, ledger: Ledger, symbols: Sequence[str], now: datetime) -> list[str]:
    """Archive files of the last 31 days that are so late that people are told, one text per file."""
    daily = daily_uses(table)
    dates = [(now - timedelta(days=back)).date() for back in range(_LATE_WITHIN_DAYS)]
    days = {day.isoformat(): day for day in dates}
    return [
        f"{row.stream} of {named(row.symbol, table)} for {row.period} is not published"
        for symbol in symbols
        for row in ledger.missing_sources(symbol)
        if row.source == "archive"
        and row.stream in daily
        and row.period in days
        and now >= daily[row.stream].archive_due_at(days[row.period]) + ALARM_AFTER
    ]
