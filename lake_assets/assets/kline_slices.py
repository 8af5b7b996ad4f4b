"""Raw kline slices: `raw/spot/<symbol>/klines_<interval>`, the exchange's own answers by day.

Belongs here: the asset, its text, what the UI shows of a day. Does not belong here: asking, judging and keeping answers
(`slices`).
"""

from collections.abc import Iterator
from datetime import date
from typing import Any

import dagster as dg

from lake_assets.assets.unreachable import begun_again
from lake_assets.checks import check_specs, close_checks, record_partitions
from lake_assets.dagster_names import DAY_FORMAT, symbol_name
from lake_assets.metadata import symbol_tags
from lake_assets.slices.days import SLICE_CHECKS, SliceDay, run_day
from lake_assets.slices.endpoints import endpoint_of
from lake_assets.slices.judgement import Status
from lake_assets.slices.klines_endpoint import KLINES
from lake_assets.slices.loop import lattice_of, publish_manifest
from lake_assets.slices.manifest import NAME, directory
from lake_assets.slices.server import alone, open_slices
from lake_assets.slices.table_parity import table_rows
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.slice_rows import SliceSet
from lake_resources.storage.locks import DEFAULT_TIMEOUT_S

_TEXT = """\
What the exchange answered about {interval} candles of {symbol} (spot), byte for byte: one answer per window of 1,000
candles. A slice belongs to the day of its start.

A day is complete when each of its slices is `ok`: its open times are exactly the grid and every candle is closed by the
exchange's clock. What the exchange does not have is asked for twice and then named. The manifest lies beside the
answers and is written from the ledger after every run."""


def slices_key(symbol: str, interval: str) -> dg.AssetKey:
    """Key of a symbol's raw klines."""
    return dg.AssetKey(["raw", KLINES.market.name, symbol_name(symbol), f"klines_{interval}"])


def slice_days(settings: LakeSettings) -> dg.DailyPartitionsDefinition:
    """Days of slices; today is a partition too."""
    return dg.DailyPartitionsDefinition(start_date=settings.start_utc, end_offset=1, timezone="UTC", fmt=DAY_FORMAT)


def build_kline_slices_asset(symbol: str, interval: str, settings: LakeSettings) -> dg.AssetsDefinition:
    """The asset `raw/spot/<symbol>/klines_<interval>`."""
    key, partitions = slices_key(symbol, interval), slice_days(settings)
    of = SliceSet(KLINES.name, symbol, interval)
    spec = dg.AssetSpec(
        key,
        description=_TEXT.format(symbol=symbol, interval=interval),
        group_name="raw",
        kinds={"binance", "json"},
        tags=symbol_tags(symbol, KLINES.market.name),
        partitions_def=partitions,
        # Skippable: a day is logged when it is done, so a run that fails half-way keeps what it did.
        skippable=True,
    )

    @dg.multi_asset(
        name=f"raw_{KLINES.market.name}_klines_{interval}_{symbol_name(symbol).lower()}",
        specs=[spec],
        check_specs=check_specs(key, partitions, SLICE_CHECKS),
        backfill_policy=dg.BackfillPolicy.multi_run(settings.days_per_run),
    )
    @begun_again
    def kline_slices(context: dg.AssetExecutionContext) -> Iterator[Any]:
        endpoint = endpoint_of(of.endpoint, of.interval)
        lost: list[str] = []
        with open_slices(settings) as slices, alone(slices, of, timeout_s=DEFAULT_TIMEOUT_S):
            lattice = lattice_of(slices, endpoint, of)
            table = table_rows(settings, symbol, interval)
            try:
                for number, partition in enumerate(context.partition_keys, start=1):
                    found = run_day(slices, endpoint, of, date.fromisoformat(partition), lattice, table=table)
                    context.log.info(
                        f"{number}/{len(context.partition_keys)} {symbol} {interval} {partition}: {_line(found)}"
                    )
                    events = {partition: _metadata(settings, of, found)} if found.rows else {}
                    yield from record_partitions(context, key, events, [(partition, found.outcomes())])
                    if found.counts[Status.FAILED]:
                        lost.append(f"{partition}: {_line(found)}")
                    if found.stopped:
                        lost.append(f"{partition}: stopped: {found.stopped}")
                        break
            finally:
                publish_manifest(slices, of, lattice.keys)
        yield from close_checks(key, SLICE_CHECKS)
        if lost:
            raise dg.Failure(f"{'/'.join(key.path)}: slices failed; the others were kept.\n" + "\n".join(lost[:20]))

    return kline_slices


def _line(found: SliceDay) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in sorted(found.counts.items()) if count)
    return f"{counts or 'no slice'}, {found.asked} asked for"


def _metadata(settings: LakeSettings, of: SliceSet, found: SliceDay) -> dict[str, Any]:
    weight = KLINES.request.cost({"limit": 1000})
    return {
        "slices": found.expected,
        **{f"slices_{status.value}": found.counts[status] for status in Status},
        "bytes": sum(row.size_bytes for row in found.rows),
        "requests": found.asked,
        "weight": found.asked * weight,
        "manifest": _place(settings, f"{directory(of)}/{NAME}"),
    }


def _place(settings: LakeSettings, path: str) -> dg.MetadataValue:
    if settings.slices_bucket:
        return dg.MetadataValue.url(f"{settings.slices_bucket}/{path}")
    return dg.MetadataValue.path(str(settings.resolved_slices_root / path))
