"""The sensor that tries holes again.

Belongs here: reading the ledger, turning the plan into run requests. Does not belong here: which partitions are
holes and in which order they are tried (`automation.healing`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import dagster as dg

from lake_assets.automation.attempts import Attempts
from lake_assets.automation.healing import HealableHour, heal_start, healable_hours, plan_healing
from lake_assets.automation.hot import hot_start
from lake_assets.build.open_hours import open_hours
from lake_assets.dagster_names import HEAL_SENSOR, sensor_name, table_job
from lake_assets.jobs.run_tags import LAUNCHED_RUN_LONGEST, partition_range_tags, runs_at_work
from lake_assets.metadata import table_key
from lake_assets.schema.table import Table
from lake_assets.sensors.one_by_one import default_status, look_at_each, warning_of
from lake_resources.binance.streams import rest_memories
from lake_resources.clock import HOUR, Clock
from lake_resources.dagster_private import keep_instance
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.ledger import Ledger


def build_heal_sensor(
    settings: LakeSettings, ledger: Ledger, table: Table, symbols: Sequence[str], clock: Clock
) -> dg.SensorDefinition:
    """Tries holes again: partitions before the hot band that are absent, not whole, refused, or lack a stream.

    Args:
        settings: of the lake.
        ledger: on the table.
        table: whose partitions.
        symbols: whose rows it holds.
        clock: the only source of the current time.
    """
    layout, span = table.layout, table.layout.span
    memories = _memories(table)

    @dg.sensor(
        name=sensor_name(HEAL_SENSOR, layout),
        job_name=table_job(layout),
        minimum_interval_seconds=settings.heal_interval_s,
        default_status=default_status(settings),
        description=f"Tries {span}s of the last {settings.heal_days} days again that are absent, not whole, in "
        "quarantine, or lack a stream that REST still has, those first that it is about to forget something of; "
        f"at most {settings.heal_hours_per_tick} {span}s per tick, each with a growing pause.",
    )
    def heal_holes(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        keep_instance(context)
        now = clock()
        busy = runs_at_work(context.instance, "heal", [table_job(layout)], now, longest=LAUNCHED_RUN_LONGEST)
        if busy:
            return dg.SkipReason(f"run {busy[0]} is still at work")
        found = look_at_each(symbols, lambda symbol: _holes(ledger, symbol, table, settings, now), warning_of(context))
        holes = [hole for each in found.values() for hole in each]
        attempts = Attempts.load(context.cursor)
        runs = plan_healing(
            holes, now, cap=settings.heal_hours_per_tick, memories=memories, attempts=attempts, layout=layout
        )
        if not runs:
            return dg.SkipReason(f"{len(holes)} holes, none of them to be tried yet" if holes else "no holes")
        requests = [
            dg.RunRequest(
                asset_selection=[table_key(layout, run.symbol)],
                tags=partition_range_tags("heal", layout, run.first, run.last) | {"lake/cause": "+".join(run.causes)},
            )
            for run in runs
        ]
        return dg.SensorResult(run_requests=requests, cursor=attempts.dump())

    return heal_holes


def _memories(table: Table) -> dict[str, timedelta | None]:
    """How far back REST has each stream of a table's market."""
    # A request takes time too: keep off the edge of what the exchange still has.
    reach = rest_memories(table.layout.market)
    return {name: None if memory is None else memory - HOUR for name, memory in reach.items()}


def _holes(ledger: Ledger, symbol: str, table: Table, settings: LakeSettings, now: datetime) -> list[HealableHour]:
    first = ledger.first_partition(symbol)
    if first is None:
        return []
    layout, memories = table.layout, _memories(table)
    end = hot_start(now, settings.hot_hours, layout)
    # Hours before LAKE_START are no partitions: a run that asked for one would fail.
    start = max(first, settings.start_utc, heal_start(now, settings.heal_days, memories, table))
    if start >= end:
        return []
    return healable_hours(
        symbol,
        hours=open_hours(ledger, symbol, start, end),
        sources=[
            row
            for row in ledger.missing_sources(symbol)
            if row.source == "rest"
            and row.stream in table.uses
            and f"{start:%Y-%m-%dT%H}" <= row.period < f"{end:%Y-%m-%dT%H}"
        ],
        memories=memories,
        now=now,
        layout=layout,
    )
