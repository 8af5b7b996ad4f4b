"""The sensor that keeps the open partition of a table and those before it current.

Belongs here: reading ledger and live rows, turning the plan into one run request. Does not belong here: which
partitions are due (`automation.hot`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import dagster as dg

from lake_assets.automation.attempts import Attempts
from lake_assets.automation.hot import HotHour, hot_hours, hot_window, plan_tick
from lake_assets.build.builder import builder_of
from lake_assets.dagster_names import table_job
from lake_assets.jobs.run_tags import HOT_RUN_LONGEST, partition_range_tags, runs_at_work
from lake_assets.live.row_files import LiveRows
from lake_assets.metadata import table_key
from lake_assets.schema.table import Table
from lake_assets.sensors.one_by_one import default_status, look_at_each, sensor_name
from lake_resources.clock import Clock
from lake_resources.settings import LakeSettings
from lake_resources.storage.store import Store

HOT_SENSOR = "hot_band"


def build_hot_sensor(
    settings: LakeSettings, store: Store, table: Table, symbols: Sequence[str], clock: Clock
) -> dg.SensorDefinition:
    """Keeps a table's open partition and those before it current: one run for all symbols per tick.

    Args:
        settings: of the lake.
        store: on the table.
        table: whose partitions.
        symbols: whose rows it holds.
        clock: the only source of the current time.
    """
    ledger, live, layout = store.ledger, LiveRows(store.catalog), table.layout
    collected = builder_of(table).collected

    @dg.sensor(
        name=sensor_name(HOT_SENSOR, layout),
        job_name=table_job(layout),
        minimum_interval_seconds=settings.hot_interval_s,
        default_status=default_status(settings),
        description=f"Builds the open {layout.span} of the {layout.title} every {settings.hot_interval_s} s, and "
        f"{layout.span}s of the last {settings.hot_hours} hours that changed or are not sealed. Skips while its last "
        "run is at work.",
    )
    def hot_band(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        now = clock()
        busy = runs_at_work(context.instance, "hot", [table_job(layout)], now)
        if busy:
            return dg.SkipReason(f"run {busy[0]} is still at work")
        window = hot_window(now, settings.hot_hours, first=settings.start_utc, layout=layout)
        if window is None:
            return dg.SkipReason(f"LAKE_START ({settings.start}) lies ahead: there is no hour yet")
        start, end = window

        def held_of(symbol: str) -> dict[datetime, HotHour]:
            return hot_hours(
                ledger.partitions(symbol, start, end),
                ledger.unfinished_captures(symbol, start, end),
                live.written_at(symbol, start, end) if collected else {},
                table,
            )

        held = look_at_each(ledger.traded_after(symbols, start), held_of, context.log.warning)
        attempts = Attempts.load(context.cursor)
        run = plan_tick(
            held, now, window=window, lag_minutes=settings.safety_lag_minutes, attempts=attempts, table=table
        )
        if run is None:
            return dg.SkipReason(f"every closed {table.row_word} is in the lake, or was asked for a moment ago")
        tags = partition_range_tags("hot", layout, run.first, run.last) | {
            "dagster/priority": "10",
            "dagster/max_runtime": str(int(HOT_RUN_LONGEST.total_seconds())),
            "dagster/max_retries": "0",
        }
        request = dg.RunRequest(asset_selection=[table_key(layout, symbol) for symbol in run.symbols], tags=tags)
        return dg.SensorResult(run_requests=[request], cursor=attempts.dump())

    return hot_band
