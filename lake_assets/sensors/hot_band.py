"""The sensor that keeps the open hour and the last hours current.

Belongs here: reading ledger and live rows, turning the plan into one run request. Does not belong here: which hours are
due (`automation.hot`).
"""

from __future__ import annotations

from datetime import datetime

import dagster as dg

from lake_assets.automation.attempts import Attempts
from lake_assets.automation.hot import HotHour, hot_hours, hot_window, plan_tick
from lake_assets.jobs.run_tags import HOT_RUN_LONGEST, hour_range_tags, runs_at_work
from lake_assets.jobs.table_partitions import MINUTE_JOB
from lake_assets.live.row_files import LiveRows
from lake_assets.metadata import minute_key
from lake_assets.sensors.one_by_one import default_status, look_at_each
from lake_resources.clock import Clock
from lake_resources.settings import LakeSettings
from lake_resources.storage.store import Store

HOT_SENSOR = "hot_band"


def build_hot_sensor(settings: LakeSettings, store: Store, clock: Clock) -> dg.SensorDefinition:
    """Keeps the open hour and the last hours current: one run for all symbols per tick."""
    ledger, live = store.ledger, LiveRows(store.catalog)

    @dg.sensor(
        name=HOT_SENSOR,
        job_name=MINUTE_JOB,
        minimum_interval_seconds=settings.hot_interval_s,
        default_status=default_status(settings),
        description=f"Builds the open hour every {settings.hot_interval_s} s, and hours of the last "
        f"{settings.hot_hours} that changed or are not sealed. Skips while its last run is at work.",
    )
    def hot_band(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        now = clock()
        busy = runs_at_work(context.instance, "hot", now)
        if busy:
            return dg.SkipReason(f"run {busy[0]} is still at work")
        window = hot_window(now, settings.hot_hours, first=settings.start_utc)
        if window is None:
            return dg.SkipReason(f"LAKE_START ({settings.start}) lies ahead: there is no hour yet")
        start, end = window

        def held_of(symbol: str) -> dict[datetime, HotHour]:
            return hot_hours(
                ledger.partitions(symbol, start, end),
                ledger.unfinished_captures(symbol, start, end),
                live.written_at(symbol, start, end),
            )

        held = look_at_each(ledger.traded_after(settings.symbols, start), held_of, context.log.warning)
        attempts = Attempts.load(context.cursor)
        run = plan_tick(held, now, window=window, lag_minutes=settings.safety_lag_minutes, attempts=attempts)
        if run is None:
            return dg.SkipReason("every closed minute is in the lake, or was asked for a moment ago")
        tags = hour_range_tags("hot", run.first, run.last) | {
            "dagster/priority": "10",
            "dagster/max_runtime": str(int(HOT_RUN_LONGEST.total_seconds())),
            "dagster/max_retries": "0",
        }
        request = dg.RunRequest(asset_selection=[minute_key(symbol) for symbol in run.symbols], tags=tags)
        return dg.SensorResult(run_requests=[request], cursor=attempts.dump())

    return hot_band
