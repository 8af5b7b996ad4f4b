"""The sensors: what runs by itself in Dagster.

Belongs here: reading the facts, turning decisions into run requests. Does not belong here: the decisions
(`automation`), the jobs (`jobs`), asking Vision (`promotion_sensor`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import dagster as dg

from lake_assets.automation.attempts import Attempts
from lake_assets.automation.healing import Hole, find_holes, heal_start, plan_healing
from lake_assets.automation.hot import hot_hours, hot_window, plan_tick
from lake_assets.build.open_hours import open_hours
from lake_assets.dagster_names import AUTOMATION_TAG
from lake_assets.jobs.partition_jobs import (
    HOT_RUN_LONGEST,
    MINUTE_JOB,
    RANGE_END,
    RANGE_START,
    Job,
    hour_range_tags,
    runs_at_work,
)
from lake_assets.live.row_files import LiveRows
from lake_assets.metadata import minute_key
from lake_assets.sensors.archive_promotion import build_promote_sensor, default_status
from lake_assets.windows import HOUR
from lake_resources.binance.rest.rest_client import RETENTION
from lake_resources.clock import Clock, system_clock
from lake_resources.messages.alerts import Alert
from lake_resources.messages.outbox import Outbox, open_outbox
from lake_resources.settings import LakeSettings
from lake_resources.storage.catalog import Catalog
from lake_resources.storage.ledger.ledger import Ledger

# A request takes time too: keep off the edge of what the exchange still has.
_MEMORIES = {name: None if memory is None else memory - HOUR for name, memory in RETENTION.items()}
HOT_SENSOR, HEAL_SENSOR, ALERT_SENSOR = "hot_band", "heal_holes", "alert_failures"


def build_sensors(
    settings: LakeSettings, jobs: Sequence[Job], *, clock: Clock = system_clock
) -> list[dg.SensorDefinition]:
    """All sensors of the code location.

    Args:
        settings: intervals, caps and addresses.
        jobs: the jobs of the code location.
        clock: the only source of the current time.
    """
    ledger, outbox = Ledger(settings.resolved_ledger_url), open_outbox(settings)
    return [
        build_hot_sensor(settings, ledger, clock),
        build_heal_sensor(settings, ledger, clock),
        build_promote_sensor(settings, ledger, outbox, clock, jobs),
        build_alert_sensor(settings, outbox, clock),
    ]


def build_hot_sensor(settings: LakeSettings, ledger: Ledger, clock: Clock) -> dg.SensorDefinition:
    """Keeps the open hour and the last hours current: one run for all symbols per tick."""
    live = LiveRows(Catalog(settings.lake_root))

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
        start, end = hot_window(now, settings.hot_hours)
        held = {
            symbol: hot_hours(
                ledger.partitions(symbol, start, end),
                ledger.unfinished_captures(symbol, start, end),
                live.written_at(symbol, start, end),
            )
            for symbol in ledger.traded_after(settings.symbols, start)
        }
        attempts = Attempts.load(context.cursor)
        run = plan_tick(
            held, now, band_hours=settings.hot_hours, lag_minutes=settings.safety_lag_minutes, attempts=attempts
        )
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


def build_heal_sensor(settings: LakeSettings, ledger: Ledger, clock: Clock) -> dg.SensorDefinition:
    """Tries holes again."""

    @dg.sensor(
        name=HEAL_SENSOR,
        job_name=MINUTE_JOB,
        minimum_interval_seconds=settings.heal_interval_s,
        default_status=default_status(settings),
        description=f"Tries hours of the last {settings.heal_days} days again that are absent, not whole, in "
        "quarantine, or lack a stream that REST still has, those first that it is about to forget something of; "
        f"at most {settings.heal_hours_per_tick} hours per tick, each with a growing pause.",
    )
    def heal_holes(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        now = clock()
        busy = runs_at_work(context.instance, "heal", now, longest=timedelta(hours=2))
        if busy:
            return dg.SkipReason(f"run {busy[0]} is still at work")
        holes = [hole for symbol in settings.symbols for hole in _holes(ledger, symbol, settings, now)]
        attempts = Attempts.load(context.cursor)
        runs = plan_healing(holes, now, cap=settings.heal_hours_per_tick, memories=_MEMORIES, attempts=attempts)
        if not runs:
            return dg.SkipReason(f"{len(holes)} holes, none of them to be tried yet" if holes else "no holes")
        requests = [
            dg.RunRequest(
                asset_selection=[minute_key(run.symbol)],
                tags=hour_range_tags("heal", run.first, run.last) | {"lake/cause": "+".join(run.causes)},
            )
            for run in runs
        ]
        return dg.SensorResult(run_requests=requests, cursor=attempts.dump())

    return heal_holes


def build_alert_sensor(settings: LakeSettings, outbox: Outbox, clock: Clock) -> dg.SensorDefinition:
    """Posts every failed run to the webhook."""

    @dg.run_failure_sensor(
        name=ALERT_SENSOR,
        default_status=default_status(settings) if settings.webhook_url else dg.DefaultSensorStatus.STOPPED,
        description="Posts every failed run to `LAKE_WEBHOOK_URL`.",
    )
    def alert_failures(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        run = context.dagster_run
        tags = run.tags
        hours = tags.get("dagster/partition") or f"{tags.get(RANGE_START)} to {tags.get(RANGE_END)}"
        steps = [event.message for event in context.get_step_failure_events()]
        detail = "\n".join([context.failure_event.message or "", *filter(None, steps)])
        subject = f"run {run.run_id[:8]} of {run.job_name} failed ({tags.get(AUTOMATION_TAG, 'by hand')}, {hours})"
        trouble = outbox.post(Alert("run_failed", subject, detail[:4000], clock()))
        return dg.SkipReason(trouble) if trouble else None

    return alert_failures


def _holes(ledger: Ledger, symbol: str, settings: LakeSettings, now: datetime) -> list[Hole]:
    first = ledger.first_hour(symbol)
    if first is None:
        return []
    end = hot_window(now, settings.hot_hours)[0]
    start = max(first, heal_start(now, settings.heal_days, _MEMORIES))
    if start >= end:
        return []
    return find_holes(
        symbol,
        hours=open_hours(ledger, symbol, start, end),
        sources=[
            row
            for row in ledger.missing_sources(symbol)
            if row.source == "rest" and f"{start:%Y-%m-%dT%H}" <= row.period < f"{end:%Y-%m-%dT%H}"
        ],
        memories=_MEMORIES,
        now=now,
    )
