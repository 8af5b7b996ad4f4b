"""What the resident builder committed, told to Dagster tick by tick.

Belongs here: comparing commits with what Dagster shows, one run per tick that carries the events. Does not belong here:
which commits are due (`automation.hot_reports`), recording events (`told_partitions`), the sensor.

Dagster's own newest materialization is asked before anything is told, so a lost cursor, or a run that built the same
hour, tells nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg

from lake_assets.assets.table_asset import TableAsset
from lake_assets.at_rest import LakeAtRest
from lake_assets.automation.each_symbol import ITEM_ERRORS
from lake_assets.automation.hot_reports import HotMemory, ToldHour, due_reports, due_together
from lake_assets.dagster_names import HOT_SENSOR, partition_key, sensor_name
from lake_assets.jobs.run_tags import partition_range_tags, partitions_at_work
from lake_assets.jobs.told_partitions import Telling, let_go, tell_partitions
from lake_assets.metadata import table_key
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.ledger import Partition

TOLD_JOB = "hot_band_commits"
"""Name of the runs that carry what the builder committed; nobody executes them."""
BUILDER_TAG = {"lake/told": "resident builder"}


def tell_commits(
    instance: dg.DagsterInstance,
    lake: LakeAtRest,
    settings: LakeSettings,
    shown: TableAsset,
    held: Mapping[str, Sequence[Partition]],
    memory: HotMemory,
    warn: Callable[[str], object],
) -> int:
    """Tell Dagster the commits that it does not show and that are due.

    Args:
        instance: the Dagster instance of the lake.
        lake: the lake, on the table; its clock says now.
        settings: of the lake.
        shown: the table as an asset.
        held: what is committed of the band, by symbol.
        memory: of the sensor; what is told, or found to be shown, is noted in it.
        warn: takes a line per symbol that cannot be told now, a damaged file of it say; the next tick tells it.

    Returns:
        How many partitions were told.
    """
    now, layout = lake.clock(), lake.store.layout
    due = due_together(held, memory.told, now)
    if not due:
        return 0
    at_work = partitions_at_work(instance, now)
    wanted: dict[str, list[Partition]] = {}
    for symbol, rows in due.items():
        key = table_key(layout, symbol)
        # A run that builds an hour tells it by itself, a moment after it has committed it.
        free = [row for row in rows if not any(run.covers(key, partition_key(layout, row.start)) for run in at_work)]
        for hour, told in _shown(instance, lake, symbol, free).items():
            memory.note(symbol, hour, told)
        if left := due_reports(free, memory.told.get(symbol, {}), now):
            wanted[symbol] = left
    if not wanted:
        return 0
    telling = Telling(shown, _run(lake, wanted), now, picture=settings.picture)
    count = 0
    for symbol, rows in wanted.items():
        try:
            tell_partitions(instance, lake, symbol, rows, telling)
        except ITEM_ERRORS as error:
            warn(f"{symbol} is not told at this tick: {type(error).__name__}: {error}")
            continue
        for row in rows:
            memory.note(symbol, row.start, ToldHour(row.content_hash[:16], row.expected_rows, now))
        count += len(rows)
    let_go(instance, telling.run)
    return count


def _run(lake: LakeAtRest, wanted: Mapping[str, Sequence[Partition]]) -> dg.DagsterRun:
    keys = frozenset(table_key(lake.store.layout, symbol) for symbol in wanted)
    hours = [row.start for rows in wanted.values() for row in rows]
    layout = lake.store.layout
    # The UI says who launched a run by this tag; without it the runs would be somebody's by hand.
    by = {"dagster/sensor_name": sensor_name(HOT_SENSOR, layout)}
    tags = partition_range_tags("hot", layout, min(hours), max(hours)) | BUILDER_TAG | by
    return dg.DagsterRun(job_name=TOLD_JOB, status=dg.DagsterRunStatus.SUCCESS, tags=tags, asset_selection=keys)


def _shown(
    instance: dg.DagsterInstance, lake: LakeAtRest, symbol: str, rows: Sequence[Partition]
) -> dict[datetime, ToldHour]:
    """What Dagster's newest materialization of each partition says was committed."""
    layout, found = lake.store.layout, dict[datetime, ToldHour]()
    for row in rows:
        wanted = dg.AssetRecordsFilter(
            asset_key=table_key(layout, symbol), asset_partitions=[partition_key(layout, row.start)]
        )
        for record in instance.fetch_materializations(wanted, limit=1).records:
            event = record.asset_materialization
            if event is None or "content_hash" not in event.metadata or "expected_rows" not in event.metadata:
                continue
            content, expected = event.metadata["content_hash"].value, event.metadata["expected_rows"].value
            at = min(datetime.fromtimestamp(record.timestamp, UTC), lake.clock())
            found[row.start] = ToldHour(str(content), int(str(expected)), at)
    return found
