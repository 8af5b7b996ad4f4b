"""The sensor that keeps raw kline slices complete: one run per tick over the days that lack something.

Belongs here: what a tick looks at and asks for. Does not belong here: which days lack something (`slices.days`).
"""

from __future__ import annotations

from contextlib import closing
from datetime import date, timedelta

import dagster as dg

from lake_assets.automation.declared_ticks import SLICES_EVERY_S
from lake_assets.dagster_names import AUTOMATION_TAG, slice_job, slice_sensor
from lake_assets.jobs.run_tags import LAUNCHED_RUN_LONGEST, RANGE_END, RANGE_START, runs_at_work
from lake_assets.sensors.one_by_one import default_status, look_at_each, warning_of
from lake_assets.slices.days import days_to_run
from lake_assets.slices.keys import LIMIT, interval_ms
from lake_assets.slices.klines_endpoint import KLINES
from lake_assets.slices.server import slice_rows
from lake_resources.clock import DAY_MS, Clock
from lake_resources.dagster_private import keep_instance
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.slice_rows import SliceSet

KIND = "slices"


def build_slice_sensors(settings: LakeSettings, clock: Clock) -> list[dg.SensorDefinition]:
    """A sensor per interval, where slices are kept at all."""
    if not settings.slice_symbols:
        return []
    return [_sensor(settings, interval, clock) for interval in settings.slice_intervals]


def _sensor(settings: LakeSettings, interval: str, clock: Clock) -> dg.SensorDefinition:
    pause = timedelta(seconds=settings.slices_pause_s)
    per_day = -(-DAY_MS // (interval_ms(interval) * LIMIT))  # slices that begin on a day, at most
    most_days = max(1, settings.slice_requests_per_run // (per_day * len(settings.slice_symbols)))

    @dg.sensor(
        name=slice_sensor(interval),
        job_name=slice_job(interval),
        minimum_interval_seconds=SLICES_EVERY_S,
        default_status=default_status(settings),
        description=f"Asks for raw {interval} klines that are due: new, failed, gaps once more; newest first.",
    )
    def slices(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        keep_instance(context)
        now = clock()
        busy = runs_at_work(
            context.instance, f"{KIND}_{interval}", [slice_job(interval)], now, longest=LAUNCHED_RUN_LONGEST
        )
        if busy:
            return dg.SkipReason(f"run {busy[0]} is still at work")
        with closing(slice_rows(settings)) as rows:
            found = look_at_each(
                settings.slice_symbols,
                lambda symbol: days_to_run(
                    rows, KLINES, SliceSet(KLINES.name, symbol, interval), settings.start, now, pause=pause
                ),
                warning_of(context),
            )
        days = sorted({day for each in found.values() for day in each}, reverse=True)
        if not days:
            return dg.SkipReason("every slice is there")
        first, last = _newest_run(days, most_days)
        tags = {AUTOMATION_TAG: f"{KIND}_{interval}", RANGE_START: first.isoformat(), RANGE_END: last.isoformat()}
        return dg.RunRequest(tags=tags)

    return slices


def _newest_run(days: list[date], most: int) -> tuple[date, date]:
    """First and last of the newest days without a gap between them, `most` at the most."""
    last = first = days[0]
    for day in days[1:most]:
        if (first - day).days != 1:
            break
        first = day
    return first, last
