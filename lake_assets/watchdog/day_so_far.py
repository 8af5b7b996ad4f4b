"""What the platform did last and has written today: the newest runs of a kind, rows of seconds and of macro minutes.

Belongs here: asking Dagster's storage and the ledger for it. Does not belong here: what counts as a problem
(`automation.health`), all other facts (`look`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from lake_assets.at_rest import store_of
from lake_assets.automation.platform import MacroFacts, RunFacts
from lake_assets.dagster_names import MACRO_JOB
from lake_assets.tables.macro_minute import MACRO_MINUTE
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_resources.dagster_history import DagsterHistory, RunSeen
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.partition_rows import Partition
from lake_resources.yahoo.tickers import ticker_name

_FAR_BACK = timedelta(days=30)
"""Yahoo keeps minutes so long: a run commits no older day."""


def newest_run(seen: RunSeen | None) -> RunFacts:
    """Start, end (UTC) and failure of the newest run of a kind; all None where there is none."""
    if seen is None:
        return RunFacts()
    error = f"run {seen.run_id[:8]}, see its page in Dagster's UI" if seen.status == "FAILURE" else None
    return RunFacts(seen.start, seen.end, error)


def macro_run(settings: LakeSettings, history: DagsterHistory) -> MacroFacts | None:
    """The newest run of macro minutes; None where these are switched off."""
    if not settings.macro_tickers:
        return None
    return MacroFacts(newest_run(history.newest_run(job=MACRO_JOB)))


def macro_rows(settings: LakeSettings, told: MacroFacts | None, today: datetime, now: datetime) -> MacroFacts | None:
    """The same with the rows that the run committed, and those of today; None where macro minutes are switched off.

    Args:
        settings: which tickers.
        told: what is known of the run; None where Dagster's storage could not be read.
        today: start of the UTC day.
        now: the moment of looking, UTC.
    """
    if not settings.macro_tickers:
        return None
    told = told or MacroFacts()
    store = store_of(settings, MACRO_MINUTE)
    try:
        found = [
            row
            for ticker in settings.macro_tickers
            for row in store.ledger.partitions(ticker_name(ticker), today - _FAR_BACK, now)
        ]
    finally:
        store.close()
    start, end = told.run.start, told.run.end
    written = [row for row in found if start is not None and end is not None and start <= row.committed_at <= end]
    return replace(
        told,
        rows_written=_rows(written) if written else None,
        rows_today=_rows([row for row in found if row.start >= today]),
    )


def second_rows(settings: LakeSettings, today: datetime, now: datetime) -> int | None:
    """Rows of today in the bars of a second of all spot symbols; None where spot is switched off."""
    if not settings.spot_symbols:
        return None
    store = store_of(settings, SPOT_BARS_1S)
    try:
        return sum(_rows(store.ledger.partitions(symbol, today, now)) for symbol in settings.spot_symbols)
    finally:
        store.close()


def _rows(partitions: list[Partition]) -> int:
    return sum(row.row_count for row in partitions)
