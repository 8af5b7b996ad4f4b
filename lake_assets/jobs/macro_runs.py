"""The job of macro minutes, and which days a tick of its schedule asks for.

Belongs here: from what the ledger holds to a run request. Does not belong here: when it ticks (`schedules`), the run
(`assets.macro_tickers`).
"""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg

from lake_assets.assets.macro_tickers import macro_key
from lake_assets.at_rest import store_of
from lake_assets.dagster_names import MACRO_JOB, partition_key
from lake_assets.jobs.asset_job import AssetJob, asset_job
from lake_assets.jobs.run_tags import RANGE_END, RANGE_START
from lake_assets.tables.macro_minute import MACRO_MINUTE
from lake_resources.settings import LakeSettings
from lake_resources.yahoo.tickers import ticker_name


def build_macro_jobs(settings: LakeSettings) -> list[AssetJob]:
    """The job over all macro tickers, where there are any."""
    keys = [macro_key(ticker) for ticker in settings.macro_tickers]
    return [asset_job(MACRO_JOB, keys, "Days of macro minutes, asked for anew.")] if keys else []


def request_macro_days(settings: LakeSettings, tick: datetime) -> dg.RunRequest | dg.SkipReason:
    """The run for today and the days before it: more of them where a ticker has no day yet.

    Args:
        settings: which tickers, how many days, where partitions begin.
        tick: the instant that the schedule was due at, UTC.
    """
    store = store_of(settings, MACRO_MINUTE)
    try:
        new = [ticker for ticker in settings.macro_tickers if store.ledger.first_partition(ticker_name(ticker)) is None]
    finally:
        store.close()
    days = settings.macro_first_days - 1 if new else settings.macro_look_back_days
    today = MACRO_MINUTE.layout.start_of(tick)
    first = max(today - timedelta(days=days), settings.start_utc)
    if first > today:
        return dg.SkipReason(f"LAKE_START ({settings.start}) is in the future")
    tags = {name: partition_key(MACRO_MINUTE.layout, at) for name, at in ((RANGE_START, first), (RANGE_END, today))}
    return dg.RunRequest(run_key=f"{MACRO_JOB} {tick:%FT%R}", tags=tags)
