"""The Vision daily archives: `vision/<symbol>/<stream>`, one asset per archive stream and symbol.

Belongs here: the assets and their texts. Does not belong here: downloading and typing (`inputs.archives`).
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from lake_assets.assets.unreachable import begun_again
from lake_assets.dagster_names import archive_key, archive_period, vision_group, vision_names, vision_op
from lake_assets.inputs.archives import ingest_archives
from lake_assets.inputs.results import ArchiveResult
from lake_assets.metadata import archive_metadata, stream_columns, symbol_tags, vision_key
from lake_assets.partitions import archive_partitions
from lake_assets.resources import LakeOpener
from lake_assets.tables.declared import TABLES
from lake_resources.binance.stream import Stream
from lake_resources.settings import LakeSettings


def build_vision_asset(symbol: str, stream: Stream, settings: LakeSettings) -> dg.AssetsDefinition:
    """The asset `vision/<symbol>/<stream>`."""
    key = vision_key(symbol, stream.name, stream.market.name)
    spec = dg.AssetSpec(
        key,
        description=_text(stream, symbol),
        group_name=vision_group(symbol, stream.market.name),
        kinds={"binance", "parquet"},
        tags=symbol_tags(symbol, stream.market.name),
        partitions_def=archive_partitions(stream, settings),
        metadata={"dagster/column_schema": stream_columns(stream), "lake/stream": stream.name},
        # Skippable: a day that is not published stays missing instead of failing, and each day is logged as it lands.
        skippable=True,
    )

    # Raw inputs are kept by market: any table of it stands for them.
    market_table = next(table for table in TABLES.values() if table.layout.market == stream.market.name)

    @dg.multi_asset(
        name=vision_op(symbol, stream.name, stream.market.name),
        specs=[spec],
        backfill_policy=dg.BackfillPolicy.multi_run(settings.days_per_run),
    )
    @begun_again
    def vision(context: dg.AssetExecutionContext, lake: dg.ResourceParam[LakeOpener]) -> Iterator[Any]:
        opened = lake.open().of(market_table)
        keys = {archive_period(stream, partition): partition for partition in context.partition_keys}
        failed: list[ArchiveResult] = []
        for number, result in enumerate(ingest_archives(opened, symbol, [(stream, p) for p in keys]), start=1):
            context.log.info(f"{number}/{len(keys)} {symbol} {stream.name} {result.period}: {result.status}")
            log_archive(context, result, stream)
            if result.status == "failed":
                failed.append(result)
        yield from ()
        if failed:
            lines = "\n".join(f"{result.period}: {result.message}" for result in failed)
            name = "/".join(vision_names(symbol, stream.name, stream.market.name))
            raise dg.Failure(f"{name}: {len(failed)} of {len(keys)} files failed\n{lines}")

    return vision


def log_archive(context: dg.AssetExecutionContext, result: ArchiveResult, stream: Stream) -> None:
    """Log one archive file: a materialization when it is there, an observation with the reason when it is not."""
    key = vision_key(result.symbol, result.stream, stream.market.name)
    partition = archive_key(stream, result.period)
    if result.present:
        if result.message:
            context.log.warning(f"{result.symbol} {result.stream} {result.period}: left out: {result.message}")
        context.log_event(
            dg.AssetMaterialization(asset_key=key, partition=partition, metadata=archive_metadata(result))
        )
    else:
        context.log.warning(f"{result.symbol} {result.stream} {result.period}: {result.message}")
        context.log_event(
            dg.AssetObservation(
                asset_key=key, partition=partition, metadata={"outcome": result.status, "message": result.message}
            )
        )


def _text(stream: Stream, symbol: str) -> str:
    files = stream.files
    ends = f" The archive ended on {files.last_day}." if files.last_day else ""
    period = "month" if files.cadence == "monthly" else "day"
    return (
        f"Binance Vision `{files.kind}` of {symbol}: {stream.text}. One {period} per partition, verified "
        f"against its CHECKSUM and typed, rows in exchange columns.{ends}\n\n"
        f"A {period} that is not published yet is no error: the run says so, a missing-source event is recorded, and "
        "the partition stays missing until it is materialized again. A re-publication is noticed by its changed "
        "checksum; both vintages are kept."
    )
