"""What the ledger holds, told to a Dagster whose history was lost or wiped: partitions, their checks, archives.

Belongs here: which partitions Dagster does not show, and recording them as events of one run that nobody executes.
Does not belong here: opening the instance, the command, rebuilding anything.

Nothing is built, fetched or judged: metadata and check rows are those that a run of today would record of what is
committed. A partition that Dagster shows is left alone, so telling twice is telling once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import dagster as dg

from lake_assets.assets.macro_tickers import macro_table
from lake_assets.assets.table_list import offered_tables, symbols_of
from lake_assets.at_rest import LakeAtRest
from lake_assets.dagster_names import archive_key, partition_key, partition_start
from lake_assets.inputs.results import ArchiveResult
from lake_assets.jobs.told_partitions import Telling, register, tell_partitions, together
from lake_assets.materialized import cold_hours
from lake_assets.metadata import archive_metadata, table_key, vision_key
from lake_assets.partitions import archive_partitions, table_partitions
from lake_assets.tables.offered import offered_streams
from lake_resources.clock import DAY
from lake_resources.dagster_private import record_materialization
from lake_resources.settings import LakeSettings
from lake_resources.yahoo.tickers import ticker_name

TOLD = "told from the ledger by `lake report-to-dagster`"
_JOB = "report_to_dagster"
_AT_ONCE = 100
Say = Callable[[str], None]
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class HistoryTold:
    """What one asset was told of.

    Attributes:
        asset: its key.
        shown: partitions that Dagster showed already.
        partitions: partitions that were told.
        checks: their check rows.
    """

    asset: str
    shown: int
    partitions: int
    checks: int


def tell_history(
    instance: dg.DagsterInstance, lake: LakeAtRest, settings: LakeSettings, *, now: datetime, say: Say
) -> list[HistoryTold]:
    """Record what the ledger holds and Dagster does not show, of the symbols and tables of the settings.

    Args:
        instance: the Dagster instance of the lake.
        lake: the lake.
        settings: its settings: symbols, first day, offered archives.
        now: the moment of telling, UTC.
        say: takes a line of progress.
    """
    run = dg.DagsterRun(job_name=_JOB, status=dg.DagsterRunStatus.SUCCESS, tags={"lake/told": "ledger"})
    told: list[HistoryTold] = []
    for shown in offered_tables(settings):
        for symbol in symbols_of(shown.table, settings):
            told += _archives(instance, lake.of(shown.table), symbol, settings, run, now)
            first = table_partitions(shown.table.layout, settings).get_first_partition_key() or ""
            telling = Telling(shown, run, now, TOLD)
            told.append(_partitions(instance, lake.of(shown.table), symbol, telling, first, say))
    macro = macro_table(settings)
    first = table_partitions(macro.table.layout, settings).get_first_partition_key() or ""
    for name in map(ticker_name, settings.macro_tickers):
        telling = Telling(macro, run, now, TOLD)
        told.append(_partitions(instance, lake.of(macro.table), name, telling, first, say))
    return told


def _partitions(
    instance: dg.DagsterInstance, lake: LakeAtRest, symbol: str, telling: Telling, first: str, say: Say
) -> HistoryTold:
    """Tell what is committed from the partition `first` on and not shown."""
    layout, ledger = lake.store.layout, lake.ledger
    key = table_key(layout, symbol)
    start = partition_start(layout, first)
    shown = instance.get_materialized_partitions(key)
    held = ledger.partition_facts(symbol, start, telling.now)
    by_day = cold_hours(instance, layout, symbol)
    missing = [f.start for f in held if partition_key(layout, f.start) not in shown and f.start not in by_day]
    checks = 0
    for index, starts in enumerate(_parts(missing)):
        rows = [row for row in ledger.partitions(symbol, starts[0], starts[-1] + layout.step) if row.start in starts]
        checks += tell_partitions(instance, lake, symbol, rows, telling)
        say(f"{key.to_user_string()}: {min((index + 1) * _AT_ONCE, len(missing))}/{len(missing)}")
    return HistoryTold(key.to_user_string(), len(held) - len(missing), len(missing), checks)


def _archives(
    instance: dg.DagsterInstance,
    lake: LakeAtRest,
    symbol: str,
    settings: LakeSettings,
    run: dg.DagsterRun,
    now: datetime,
) -> Iterator[HistoryTold]:
    for stream in offered_streams(settings, lake.store.layout.market):
        key, partitions = vision_key(symbol, stream.name, stream.market.name), archive_partitions(stream, settings)
        shown = instance.get_materialized_partitions(key)
        first = partitions.get_first_partition_key()
        held = [
            archive
            for archive in lake.ledger.archives_between(symbol, stream.name, settings.start_utc, lake.clock() + DAY)
            if first is not None and archive_key(stream, archive.period) >= first
        ]
        missing = [archive for archive in held if archive_key(stream, archive.period) not in shown]
        for part in _parts(missing):
            register(instance, run, now)
            with together(instance, run):
                for archive in part:
                    result = ArchiveResult(
                        stream.name, symbol, archive.period, "unchanged", path=lake.catalog.absolute(archive.path),
                        row_count=archive.row_count, sha256=archive.sha256, url=archive.url,
                    )  # fmt: skip
                    event = dg.AssetMaterialization(
                        asset_key=key,
                        partition=archive_key(stream, archive.period),
                        metadata=archive_metadata(result) | {"reason": TOLD},
                    )
                    record_materialization(instance, run, event)
        if held:
            yield HistoryTold(key.to_user_string(), len(held) - len(missing), len(missing), 0)


def _parts(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    for index in range(0, len(items), _AT_ONCE):
        yield items[index : index + _AT_ONCE]
