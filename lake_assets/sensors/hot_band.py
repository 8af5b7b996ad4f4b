"""The sensor of a table's hot band: it tells what the resident builder committed, and stands in for one that is silent.

Belongs here: reading ledger and live rows, turning the plan into one run request. Does not belong here: which
partitions are due (`automation.hot`), which commits are told (`automation.hot_reports`), telling (`jobs.told_commits`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import dagster as dg

from lake_assets.assets.table_asset import TableAsset
from lake_assets.at_rest import LakeAtRest, TableStore
from lake_assets.automation.hot import HotHour, hot_hours, hot_window, plan_tick
from lake_assets.automation.hot_reports import HotMemory
from lake_assets.automation.resident_turns import silence_text, silent_for
from lake_assets.build.builder import builder_of
from lake_assets.dagster_names import HOT_SENSOR, sensor_name, table_job
from lake_assets.jobs.run_tags import HOT_RUN_LONGEST, partition_range_tags, runs_at_work
from lake_assets.jobs.told_commits import tell_commits
from lake_assets.live.row_files import LiveRows
from lake_assets.metadata import table_key
from lake_assets.resident.builder_beat import last_beat
from lake_assets.resident.hot_tables import is_resident
from lake_assets.sensors.one_by_one import default_status, look_at_each, warning_of
from lake_resources.clock import Clock
from lake_resources.dagster_private import keep_instance
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.ledger import Partition

STANDS_IN = "lake/stands_in"
"""Tag of runs that stand in for the resident builder, with the reason."""


def build_hot_sensor(
    settings: LakeSettings, store: TableStore, shown: TableAsset, symbols: Sequence[str], clock: Clock
) -> dg.SensorDefinition:
    """Tells what the resident builder commits; without one, a run for all symbols per tick keeps the band current.

    Args:
        settings: of the lake.
        store: on the table.
        shown: the table as an asset.
        symbols: whose rows it holds.
        clock: the only source of the current time.
    """
    table = shown.table
    ledger, live, layout = store.ledger, LiveRows(store.catalog), table.layout
    collected, resident = builder_of(table).collected, is_resident(table, settings)
    lake = LakeAtRest(store, clock, settings.safety_lag_minutes)
    patience = timedelta(seconds=settings.hot_builder_silent_s)

    @dg.sensor(
        name=sensor_name(HOT_SENSOR, layout),
        job_name=table_job(layout),
        minimum_interval_seconds=settings.hot_interval_s,
        default_status=default_status(settings),
        description=_description(settings, shown, resident=resident),
    )
    def hot_band(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        keep_instance(context)
        now = clock()
        busy = runs_at_work(context.instance, "hot", [table_job(layout)], now)
        if busy:
            return dg.SkipReason(f"run {busy[0]} is still at work")
        window = hot_window(now, settings.hot_hours, first=settings.start_utc, layout=layout)
        if window is None:
            return dg.SkipReason(f"LAKE_START ({settings.start}) lies ahead: there is no hour yet")
        start, end = window
        committed: dict[str, list[Partition]] = {}

        def held_of(symbol: str) -> dict[datetime, HotHour]:
            committed[symbol] = ledger.partitions(symbol, start, end)
            return hot_hours(
                committed[symbol],
                ledger.unfinished_captures(symbol, start, end),
                live.written_at(symbol, start, end) if collected else {},
                table,
            )

        held = look_at_each(ledger.traded_after(symbols, start), held_of, warning_of(context))
        memory = HotMemory.load(context.cursor)
        cause: dict[str, str] = {}
        if resident:
            memory.forget_before(start)
            count = tell_commits(context.instance, lake, settings, shown, committed, memory, warning_of(context))
            beat = last_beat(settings)
            silent = silent_for(None if beat is None else beat.at, now, patience)
            if silent is None:
                return dg.SensorResult(skip_reason=_kept(count), cursor=memory.dump())
            cause = {STANDS_IN: silence_text(silent)}
            context.log.warning(f"{silence_text(silent)}: runs of this sensor stand in for it")
        run = plan_tick(
            held, now, window=window, lag_minutes=settings.safety_lag_minutes, attempts=memory.attempts, table=table
        )
        if run is None:
            said = f"every closed {table.row_word} is in the lake, or was asked for a moment ago"
            return dg.SensorResult(skip_reason="; ".join([said, *cause.values()]), cursor=memory.dump())
        tags = partition_range_tags("hot", layout, run.first, run.last) | {
            "dagster/priority": "10",
            "dagster/max_runtime": str(int(HOT_RUN_LONGEST.total_seconds())),
            "dagster/max_retries": "0",
        }
        request = dg.RunRequest(
            asset_selection=[table_key(layout, symbol) for symbol in run.symbols], tags=tags | cause
        )
        return dg.SensorResult(run_requests=[request], cursor=memory.dump())

    return hot_band


def _description(settings: LakeSettings, shown: TableAsset, *, resident: bool) -> str:
    layout = shown.table.layout
    by_runs = (
        f"Builds the open {layout.span} of the {layout.title} every {settings.hot_interval_s} s, and "
        f"{layout.span}s of the last {settings.hot_hours} hours that changed or are not sealed. Skips while its last "
        "run is at work."
    )
    if not resident:
        return by_runs
    return (
        f"Tells what the resident builder (`lake keep-hot`) committed: the open {layout.span} at most every 5 minutes "
        f"and when it is sealed. When the builder has been silent for {settings.hot_builder_silent_s:.0f} s, runs "
        f"stand in for it. {by_runs}"
    )


def _kept(count: int) -> str:
    told = f"{count} of its commits were told" if count else "no commit of it is to be told yet"
    return f"the resident builder keeps the band; {told}"
