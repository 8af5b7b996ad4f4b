"""Committed partitions told to Dagster as events of a run that nobody executes: materialization and check rows.

Belongs here: recording them, with metadata and rows as a run of today would. Does not belong here: which partitions are
told (`told_history`, `told_commits`), building or judging anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from lake_assets.assets.table_asset import TableAsset
from lake_assets.at_rest import LakeAtRest
from lake_assets.checks import evaluation, newest_materializations
from lake_assets.dagster_names import partition_key
from lake_assets.inputs.results import HourResult
from lake_assets.metadata import partition_metadata, table_key
from lake_assets.validation.outcome import outcomes_from_json
from lake_resources.dagster_private import add_told_run, record_checks, record_materialization
from lake_resources.event_log import PooledSqliteEventLogStorage
from lake_resources.storage.ledger.ledger import Partition
from lake_resources.storage.placement import serving_path
from lake_resources.storage.reader import read_partition


@dataclass(frozen=True)
class Telling:
    """How partitions of one table are told.

    Attributes:
        shown: the table as an asset.
        run: whose events they become; it is added to the instance with the first of them.
        now: the moment of telling, UTC.
        reason: why a partition is told without a run that built it; empty where it was just committed.
        picture: draw the rows, where the asset has a picture.
    """

    shown: TableAsset
    run: dg.DagsterRun
    now: datetime
    reason: str = ""
    picture: bool = False


def tell_partitions(
    instance: dg.DagsterInstance, lake: LakeAtRest, symbol: str, rows: Sequence[Partition], telling: Telling
) -> int:
    """Record committed partitions of a symbol, each with its materialization and a row per check.

    Args:
        instance: the Dagster instance of the lake.
        lake: the lake, on the table.
        symbol: whose partitions.
        rows: what is committed; of no partition has the run recorded anything before.
        telling: how.

    Returns:
        How many check rows were recorded.
    """
    layout, run = lake.store.layout, telling.run
    key = table_key(layout, symbol)
    # Made before the run is begun: a file that does not read leaves no run without events.
    events = [_materialization(lake, key, row, telling) for row in rows]
    register(instance, run, telling.now)
    # Of what was just committed a day is told hundreds of times, and each check row would be kept three times.
    with together(instance, run, spare_checks=not telling.reason):
        for event in events:
            record_materialization(instance, run, event)
        targets = newest_materializations(instance, key, [partition_key(layout, row.start) for row in rows])
        said = [
            evaluation(key, partition, outcome, targets.get(partition))
            for partition, row in ((partition_key(layout, row.start), row) for row in rows)
            for outcome in outcomes_from_json(row.checks, telling.shown.table.checks)
        ]
        record_checks(instance, run, said)
    return len(said)


def _materialization(lake: LakeAtRest, key: dg.AssetKey, row: Partition, telling: Telling) -> dg.AssetMaterialization:
    layout, picture = lake.store.layout, telling.shown.picture if telling.picture else None
    metadata = partition_metadata(_result(lake, row, telling), layout, now=telling.now, picture=picture)
    return dg.AssetMaterialization(asset_key=key, partition=partition_key(layout, row.start), metadata=metadata)


def _result(lake: LakeAtRest, row: Partition, telling: Telling) -> HourResult:
    return HourResult(
        row.start,
        "unchanged" if telling.reason else "committed",
        reason=telling.reason,
        path=serving_path(lake.store, row),
        row_count=row.row_count,
        expected_rows=row.expected_rows,
        content_hash=row.content_hash,
        sources=row.sources,
        frame=read_partition(lake.store, row) if telling.picture else None,
    )


def register(instance: dg.DagsterInstance, run: dg.DagsterRun, now: datetime) -> None:
    """Add the run once something is told, so that telling nothing leaves nothing; `now` is the moment of it, UTC."""
    if not instance.has_run(run.run_id):
        add_told_run(instance, run, now)


def together(
    instance: dg.DagsterInstance, run: dg.DagsterRun, *, spare_checks: bool = False
) -> AbstractContextManager[None]:
    """One transaction for all events of the run that are recorded inside, where the storage can do that.

    Args:
        instance: the Dagster instance of the lake.
        run: whose events they are.
        spare_checks: check rows stand on the pages of assets alone, not in the log of the run, too.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, PooledSqliteEventLogStorage):
        return nullcontext()
    return storage.in_one_transaction(run.run_id, spare_checks=spare_checks)


def let_go(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Close the run's file once everything is told, where the storage keeps one open."""
    storage = instance.event_log_storage
    if isinstance(storage, PooledSqliteEventLogStorage):
        storage.let_go(run.run_id)
