"""The canonical minute table: `um/<symbol>/minute`, one asset per symbol, partitioned by hour.

Belongs here: the asset and its text. Does not belong here: sources (`inputs.sources`), building and committing hours
(`build.hours`), rules (`validation`).
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dagster as dg

from lake_assets.assets.vision import log_archive, offered_streams
from lake_assets.build.hours import build_hours
from lake_assets.checks import check_specs, close_checks, raise_for_failed, record_hours
from lake_assets.dagster_names import AUTOMATION_TAG, FORCE_TAG, ROOT_METADATA, VISION_TAG, hour_of, symbol_name
from lake_assets.inputs.results import HourResult
from lake_assets.metadata import minute_key, symbol_tags, table_columns, vision_key
from lake_assets.partitions import DAY_TO_HOURS, hourly
from lake_assets.resources import LakeOpener
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.settings import LakeSettings

_TEXT = """\
One row per minute of {symbol} (USD-M futures): 58 canonical columns and 8 coverage flags. One hour per partition.

Each stream comes from the best source that exists: Vision archive, else what REST said earlier, else REST now, else
NULL. NULL means not ingested; 0 means ingested, and nothing happened. A row holds only what was knowable at the end of
its minute. An hour that breaks the gate goes to quarantine and what was committed stays. The newest partition is the
open hour: a sensor lets it grow, and so does materializing it again."""


def build_minute_asset(symbol: str, settings: LakeSettings) -> dg.AssetsDefinition:
    """The asset `um/<symbol>/minute`."""
    key, partitions = minute_key(symbol), hourly(settings)
    offered = {stream.name for stream in offered_streams(settings)}
    spec = dg.AssetSpec(
        key,
        deps=[
            dg.AssetDep(vision_key(symbol, name), partition_mapping=DAY_TO_HOURS)
            for name in UM_MINUTE.uses
            if name in offered
        ],
        description=_TEXT.format(symbol=symbol),
        group_name="minute",
        kinds={"polars", "parquet"},
        tags=symbol_tags(symbol),
        partitions_def=partitions,
        metadata={
            "dagster/column_schema": table_columns(UM_MINUTE),
            "dagster/table_name": f"futures.um.minute.{symbol}",
            "lake/schema_hash": UM_MINUTE.schema_hash,
            ROOT_METADATA: dg.MetadataValue.path(str(settings.lake_root)),
        },
        # Skippable: an hour is logged when it is committed, so a run that fails half-way keeps what it did.
        skippable=True,
    )

    @dg.multi_asset(
        name=f"minute_{symbol_name(symbol).lower()}",
        specs=[spec],
        check_specs=check_specs(key, partitions),
        backfill_policy=dg.BackfillPolicy.multi_run(settings.hours_per_run),
    )
    def minute(context: dg.AssetExecutionContext, lake: dg.ResourceParam[LakeOpener]) -> Iterator[Any]:
        opened = lake.open()
        if context.run.tags.get(VISION_TAG) == "true":
            opened = replace(opened, ask_rest=False)
        hours = [hour_of(partition) for partition in context.partition_keys]
        now, results = opened.clock(), list[HourResult]()
        # By hand or in a backfill, only minutes that must exist; the hot band also shows what is younger.
        hot = context.run.tags.get(AUTOMATION_TAG) == "hot"
        force = context.run.tags.get(FORCE_TAG) == "true"
        for day in build_hours(opened, symbol, hours, now=now, report=context.log.info, provisional=hot, force=force):
            for archive in day.archives:
                log_archive(context, archive)
            yield from record_hours(context, key, day.hours, now=now, picture=settings.picture)
            results += day.hours
            context.log.info(f"{len(results)}/{len(hours)} hours of {symbol} done")
        yield from close_checks(key)
        raise_for_failed(symbol, results)

    return minute
