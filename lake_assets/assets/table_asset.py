"""A table of the lake as a Dagster asset: `<market>/<symbol>/<table>`, from its declaration.

Belongs here: what every table's asset has in common: key, partitions, archives before it, checks, what a run does.
Does not belong here: any table's text or builder (an asset module each), building and committing (`build`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol, Unpack

import dagster as dg

from lake_assets.assets.unreachable import begun_again
from lake_assets.assets.vision import log_archive
from lake_assets.audit.stored_checks import STORED_CHECKS, newest_partitions, stored_outcomes
from lake_assets.build.hours import BuildOptions, build_partitions
from lake_assets.checks import (
    check_specs,
    close_checks,
    evaluations,
    raise_for_failed,
    record_results,
    record_unsaid,
    run_partitions,
)
from lake_assets.dagster_names import (
    AUTOMATION_TAG,
    FORCE_TAG,
    ROOT_METADATA,
    VISION_TAG,
    partition_key,
    partition_start,
    table_op,
)
from lake_assets.inputs.results import DayResult, HourResult
from lake_assets.lake import HOT_LOCK_WAIT_S, Lake
from lake_assets.metadata import Picture, symbol_tags, table_columns, table_key, vision_key
from lake_assets.partitions import DAY_TO_HOURS, table_partitions
from lake_assets.resources import LakeOpener
from lake_assets.schema.table import Table
from lake_assets.source import Report
from lake_assets.tables.offered import offered_streams
from lake_resources.settings import LakeSettings


class Build(Protocol):
    """Builds and commits partitions of a symbol, and yields results as they are durable."""

    def __call__(
        self,
        lake: Lake,
        symbol: str,
        starts: Sequence[datetime],
        /,
        *,
        now: datetime,
        report: Report,
        **options: Unpack[BuildOptions],
    ) -> Iterator[DayResult]:
        """Build the partitions that begin at `starts`, in the form of `build.hours.build_partitions`."""


@dataclass(frozen=True)
class TableAsset:
    """What makes an asset of a declared table.

    Attributes:
        table: its declaration.
        text: of the asset in the UI; `{symbol}` stands for the symbol.
        picture: draws a partition's rows, where there is something to see.
        build: builds and commits partitions.
    """

    table: Table
    text: str
    picture: Picture | None = None
    build: Build = build_partitions


def archive_deps(table: Table, symbol: str, settings: LakeSettings) -> list[dg.AssetDep]:
    """The offered archives that a symbol's table is made of, by days; none for a table without streams."""
    market = table.layout.market
    offered = {stream.name for stream in offered_streams(settings, market)} if table.streams else set()
    return [
        dg.AssetDep(vision_key(symbol, use.name, market), partition_mapping=DAY_TO_HOURS)
        for use in table.streams
        if use.name in offered
    ]


def build_table_asset(shown: TableAsset, symbol: str, settings: LakeSettings) -> dg.AssetsDefinition:
    """The asset of one symbol's table."""
    table, layout = shown.table, shown.table.layout
    key, partitions = table_key(layout, symbol), table_partitions(layout, settings)
    streams = {use.name: use.stream for use in table.streams}
    place = layout.market_directory.replace("/", ".")
    spec = dg.AssetSpec(
        key,
        deps=archive_deps(table, symbol, settings),
        description=shown.text.format(symbol=symbol),
        group_name=layout.directory,
        kinds={"polars", "parquet"},
        tags=symbol_tags(symbol, layout.market),
        partitions_def=partitions,
        metadata={
            "dagster/column_schema": table_columns(table),
            "dagster/table_name": f"{place}.{layout.directory}.{symbol}",
            "lake/schema_hash": table.schema_hash,
            ROOT_METADATA: dg.MetadataValue.path(str(settings.lake_root)),
        },
        # Skippable: a partition is logged when it is committed, so a run that fails half-way keeps what it did.
        skippable=True,
    )
    at_once = settings.hours_per_run if layout.span == "hour" else settings.days_per_run

    @dg.multi_asset(
        name=table_op(layout, symbol),
        specs=[spec],
        check_specs=check_specs(key, partitions, table.checks, table.check_text),
        # So that checks can be executed alone, on what is stored.
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.multi_run(at_once),
    )
    @begun_again
    def partitions_of_table(context: dg.AssetExecutionContext, lake: dg.ResourceParam[LakeOpener]) -> Iterator[Any]:
        opened = lake.open().of(table)
        if not context.selected_asset_keys:
            asked = run_partitions(context)
            yield from _stored(context, opened, symbol, key, asked)
            yield from close_checks(key, [each.name for each in context.selected_asset_check_keys])
            return
        if context.run.tags.get(VISION_TAG) == "true":
            opened = replace(opened, ask_rest=False)
        starts = [partition_start(layout, partition) for partition in context.partition_keys]
        now, results = opened.clock(), list[HourResult]()
        # By hand or in a backfill, only rows that must exist; the hot band also shows what is younger.
        hot = context.run.tags.get(AUTOMATION_TAG) == "hot"
        if hot:  # one run takes all symbols: a writer that hangs would keep the others waiting
            opened = replace(opened, lock_wait_s=HOT_LOCK_WAIT_S)
        force = context.run.tags.get(FORCE_TAG) == "true"
        picture = shown.picture if settings.picture else None
        for found in shown.build(
            opened, symbol, starts, now=now, report=context.log.info, provisional=hot, force=force
        ):
            for archive in found.archives:
                log_archive(context, archive, streams[archive.stream])
            yield from record_results(context, key, layout, found.hours, now=now, picture=picture)
            results += found.hours
            context.log.info(f"{len(results)}/{len(starts)} {layout.span}s of {symbol} done")
        if any(result.failed for result in results):
            told = {partition_key(layout, result.hour): result.outcomes for result in results if result.present}
            yield from record_unsaid(context, key, told, table.checks)
        yield from close_checks(key, [each.name for each in context.selected_asset_check_keys])
        raise_for_failed(symbol, layout, results)

    return partitions_of_table


def _stored(
    context: dg.AssetExecutionContext, lake: Lake, symbol: str, key: dg.AssetKey, asked: Sequence[str] | None
) -> Iterator[dg.AssetCheckEvaluation]:
    """Rows of the selected checks about partitions as they are stored; of those that need their sources there is none.

    A run that names no partition, as the UI's button does, is about the newest ones.
    """
    layout = lake.store.layout
    named = [partition_start(layout, partition) for partition in asked or ()]
    starts = newest_partitions(lake, symbol) if asked is None else named
    chosen = {each.name for each in context.selected_asset_check_keys}
    if needing := sorted(chosen - set(STORED_CHECKS)):
        context.log.info(f"{', '.join(needing)} compare sources: materialize the partition to have them looked at")
    found = stored_outcomes(lake, symbol, starts)
    context.log.info(f"{len(found)} of {len(starts)} stored {layout.span}s of {symbol} were looked at")
    judged = [
        (partition_key(layout, start), [each for each in outcomes if each.name in chosen])
        for start, outcomes in found.items()
    ]
    yield from evaluations(context, key, judged)
