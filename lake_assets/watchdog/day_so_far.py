"""What the platform did last and has written today: the newest runs of a kind, rows of seconds and of macro minutes.

Belongs here: asking Dagster's storage and the ledger for it. Does not belong here: what counts as a problem
(`automation.health`), all other facts (`look`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg

from lake_assets.at_rest import store_of
from lake_assets.automation.platform import MacroFacts, RunFacts
from lake_assets.jobs.macro_runs import MACRO_JOB
from lake_assets.tables.macro_minute import MACRO_MINUTE
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.partition_rows import Partition
from lake_resources.yahoo.tickers import ticker_name

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_FAR_BACK = timedelta(days=30)
"""Yahoo keeps minutes so long: a run commits no older day."""


def newest_run(instance: dg.DagsterInstance, wanted: dg.RunsFilter) -> RunFacts:
    """Start, end (UTC) and failure of the newest run that fits the filter; all None where there is none."""
    records = instance.get_run_records(wanted, limit=1)
    if not records:
        return RunFacts()
    record = records[0]
    ended = record.dagster_run.status in _ENDED
    failed = record.dagster_run.status == dg.DagsterRunStatus.FAILURE
    return RunFacts(
        start=_utc(record.start_time) if record.start_time else None,
        end=_utc(record.end_time) if ended and record.end_time else None,
        error=f"run {record.dagster_run.run_id[:8]}, see its page in Dagster's UI" if failed else None,
    )


def macro_run(settings: LakeSettings, instance: dg.DagsterInstance) -> MacroFacts | None:
    """The newest run of macro minutes; None where these are switched off."""
    if not settings.macro_tickers:
        return None
    return MacroFacts(newest_run(instance, dg.RunsFilter(job_name=MACRO_JOB)))


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


def _utc(epoch_s: float) -> datetime:
    return datetime.fromtimestamp(epoch_s, tz=UTC)
