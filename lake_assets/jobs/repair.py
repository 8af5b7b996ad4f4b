"""The job `repair`: audit, then launch a backfill of what is wrong, from the web UI alone.

Belongs here: its run config and launching. Does not belong here: which hours are wrong (`audit`), building them.
"""

from dataclasses import replace
from datetime import datetime, timedelta

import dagster as dg

from lake_assets.assets.quality import end_instant, instant
from lake_assets.assets.table_asset import build_table_asset
from lake_assets.assets.table_list import offered_tables, symbols_of
from lake_assets.audit.cache import AuditCache
from lake_assets.audit.listing import traded_window
from lake_assets.audit.plan import RepairPlan, plan_repair
from lake_assets.audit.ranges import archived_days, from_first_day, require_begun, require_order
from lake_assets.audit.scan import audit_partitions
from lake_assets.dagster_names import REPAIR_TAG, partition_key, repair_name, repair_tags
from lake_assets.materialized import materialized_partitions
from lake_assets.metadata import table_key
from lake_assets.resources import LakeOpener, build_resources
from lake_assets.schema.table import Table
from lake_assets.tables.declared import table_named
from lake_assets.tables.offered import require_offered
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.windows import backfill_window, floor_minute
from lake_resources.dagster_private import launch_backfill, unfinished_backfills
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings

REPAIR_JOB = "repair"


class Repair(dg.Config):
    """What is repaired.

    Give `preset` (`all`, `last-day`, or a year), or `start` and perhaps `end`, or `years` back from now or `end`.
    `full` reads every file, also those that did not change since the last audit; `vision_only` takes archives alone, up
    to the last completed UTC day. `table` is the minute table where none is given, else `bars_1s`, `klines_1m` …
    """

    symbols: list[str] = []  # noqa: RUF012 - a field of pydantic; empty means all
    preset: str = ""
    start: str = ""
    end: str = ""
    years: int = 0
    max_missing_hours: int = 0
    force_repair: bool = False
    full: bool = False
    vision_only: bool = False
    dry_run: bool = False
    table: str = ""


def build_repair_job(settings: LakeSettings) -> dg.JobDefinition:
    """The job `repair`."""

    @dg.op(
        name="plan_and_launch",
        description="Audits a range and launches a backfill of the partitions that are missing or wrong.",
    )
    def plan_and_launch(context: dg.OpExecutionContext, config: Repair, lake: dg.ResourceParam[LakeOpener]) -> None:
        table = table_named(config.table) if config.table else UM_MINUTE
        require_offered(table, config.symbols, settings)
        layout, symbols = table.layout, config.symbols or symbols_of(table, settings)
        opened = replace(lake.open().of(table), ask_rest=not config.vision_only)
        now = opened.clock()
        asked, end = _window(config, now=now, lag=opened.safety_lag_minutes)
        if config.vision_only:
            end = archived_days(asked, end, now, opened.safety_lag_minutes)
        start = from_first_day(asked, end, settings.start_utc)
        if start > asked:
            context.log.warning(f"LAKE_START is {start:%Y-%m-%d}: what lies before it is not looked at")
        running = _running(context.instance)
        untraded = []
        for symbol in symbols:
            name = repair_name(layout, symbol)
            if name in running:
                context.log.info(f"{name}: backfill {running[name]} is not finished; no second one is launched")
                continue
            first, last = traded_window(opened, symbol, start, end)
            if first >= last:
                context.log.warning(f"{symbol} is not traded between {start} and {end}: nothing was looked at")
                untraded.append(symbol)
                continue
            report = audit_partitions(
                opened.store,
                symbol,
                first,
                last,
                now=now,
                lag_minutes=opened.safety_lag_minutes,
                materialized=materialized_partitions(context.instance, layout, symbol),
                cache=AuditCache(opened.catalog.root / "audit.sqlite"),
                full=config.full,
            )
            plan = plan_repair(
                opened,
                report,
                now=now,
                max_hours=config.max_missing_hours or None,
                force=config.force_repair,
                weight_share=settings.weight_share,
                hours_per_run=settings.hours_per_run if layout.span == "hour" else settings.days_per_run,
            )
            context.log.info(f"{symbol}: {plan.as_json() | {'ranges': len(plan.ranges)}}")
            if plan.hours and not config.dry_run:
                tags = repair_tags(layout, symbol, force=config.force_repair, vision_only=config.vision_only)
                backfill_id = launch_backfill(
                    context.instance,
                    _of_one(table, symbol, settings).resolve_asset_graph(),
                    table_key(layout, symbol),
                    [(partition_key(layout, one), partition_key(layout, other)) for one, other in plan.ranges],
                    at=now,
                    tags=tags,
                    texts=_texts(plan),
                )
                context.log.info(f"{symbol}: backfill {backfill_id} of {len(plan.hours):,} {layout.span}s is launched")
        if len(untraded) == len(symbols):
            raise SettingsError(
                f"{', '.join(untraded)} is not traded between {start} and {end}: nothing was looked at",
                remedy="Give a range in which a symbol is traded",
            )

    @dg.job(
        name=REPAIR_JOB,
        executor_def=dg.in_process_executor,
        description=(
            "Finds missing and wrong partitions of a table and launches a backfill of only those; look at it under "
            "Runs → Backfills. Run it again and it takes what is left."
        ),
    )
    def repair() -> None:
        plan_and_launch()

    return repair


def _of_one(table: Table, symbol: str, settings: LakeSettings) -> dg.Definitions:
    """Definitions of the asset that is backfilled.

    Built anew, because a job cannot reach the code location that it is part of when a test runs it in its process; when
    it is asked for, because the code location would else build every table twice.
    """
    shown = next(each for each in offered_tables(settings) if each.table == table)
    return dg.Definitions([build_table_asset(shown, symbol, settings)], resources=build_resources(settings))


def _window(config: Repair, *, now: datetime, lag: int) -> tuple[datetime, datetime]:
    """The minutes `[start, end)` that the run config means.

    Raises:
        SettingsError: none or more than one way is given, or the range is empty.
        NotYet: nothing of it must exist yet.
    """
    given = [name for name in ("preset", "start", "years") if getattr(config, name)]
    if len(given) != 1:
        raise SettingsError(f"{' and '.join(given) or 'no range'} is given", remedy="Give preset, start or years")
    if config.preset and config.end:
        raise SettingsError("preset and end are given", remedy="A preset has an end of its own: give start and end")
    if config.preset:
        window = backfill_window(config.preset, now, lag)
        start, end = window.first_minute, window.end
    else:
        end = end_instant(config.end) or floor_minute(now)
        start = instant(config.start) or end - timedelta(days=365 * config.years)
        if not config.end:
            require_begun(start, now, lag)
    require_order(start, end)
    require_begun(start, now, lag)
    return start, end


def _running(instance: dg.DagsterInstance) -> dict[str, str]:
    """Repairs that are not finished: backfill id by symbol."""
    found = unfinished_backfills(instance)
    return {backfill.tags[REPAIR_TAG]: backfill.backfill_id for backfill in found if REPAIR_TAG in backfill.tags}


def _texts(plan: RepairPlan) -> tuple[str, str | None]:
    """Title and description of the backfill in the UI."""
    title = f"repair {repair_name(plan.layout, plan.symbol)}: {len(plan.hours):,} {plan.layout.span}s"
    return title, ", ".join(f"{code}: {count:,}" for code, count in plan.reasons.items()) or None
