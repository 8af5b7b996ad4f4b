"""Cold history by days: `<market>/<symbol>/<table>_days`, the partitions of a table of hours recorded one row a day.

Belongs here: the asset, what a day tells of its hours, the hours that are recorded all the same. Does not belong here:
building and committing (`build`), the asset of the hours (`table_asset`).

Dagster keeps a row per partition and event, so 24 hours cost 24 rows at least, and ten times that with their checks.
For years of hundreds of symbols that is too much: here a day is the partition, and hours with a failed check have rows.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from lake_assets.assets.table_asset import TableAsset, archive_deps
from lake_assets.assets.unreachable import begun_again
from lake_assets.assets.vision import log_archive
from lake_assets.checks import check_specs, close_checks, evaluation, evaluations, newest_materializations
from lake_assets.dagster_names import cold_day_hours, partition_key, table_op
from lake_assets.inputs.results import HourResult
from lake_assets.metadata import cold_days_key, partition_metadata, symbol_tags, table_key
from lake_assets.partitions import cold_days
from lake_assets.resources import LakeOpener
from lake_assets.schema.check_spec import CheckSpec
from lake_assets.validation.outcome import CheckOutcome
from lake_resources.dagster_private import record_checks, record_materialization
from lake_resources.settings import LakeSettings

DAYS_PER_RUN = 31
"""A run takes a month."""
HOURS_CHECK = CheckSpec(
    "hours", "error", gate=False, text="All hours of the day are there, and none of their checks failed"
)
_TEXT = """\
{table} of {symbol} in days, for history of many years: the same hours, files and ledger as `{key}`, but one row of
Dagster a day. A day's page tells how its hours stand; hours with a failed check have their own rows in `{key}`."""
_log = logging.getLogger(__name__)


def build_cold_days_asset(shown: TableAsset, symbol: str, settings: LakeSettings) -> dg.AssetsDefinition:
    """The asset of a symbol's table of hours, by days."""
    table, layout = shown.table, shown.table.layout
    key, hours_key, partitions = cold_days_key(layout, symbol), table_key(layout, symbol), cold_days(settings)
    streams = {use.name: use.stream for use in table.streams}
    spec = dg.AssetSpec(
        key,
        deps=archive_deps(table, symbol, settings),
        description=_TEXT.format(table=layout.directory, symbol=symbol, key="/".join(hours_key.path)),
        group_name=layout.directory,
        kinds={"polars", "parquet"},
        tags=symbol_tags(symbol, layout.market),
        partitions_def=partitions,
        # Skippable: a day is recorded when its hours are committed, so a run that fails half-way keeps what it did.
        skippable=True,
    )

    @dg.multi_asset(
        name=f"{table_op(layout, symbol)}_days",
        specs=[spec],
        check_specs=check_specs(key, partitions, {HOURS_CHECK.name: HOURS_CHECK}),
        backfill_policy=dg.BackfillPolicy.multi_run(DAYS_PER_RUN),
    )
    @begun_again
    def days_of_table(context: dg.AssetExecutionContext, lake: dg.ResourceParam[LakeOpener]) -> Iterator[Any]:
        opened = lake.open().of(table)
        now, failed = opened.clock(), list[str]()
        for day in context.partition_keys:
            done = list[HourResult]()
            # A line of a run is a row as well, so progress goes to the process's log.
            for found in shown.build(opened, symbol, cold_day_hours(day), now=now, report=_log.info):
                for archive in found.archives:
                    log_archive(context, archive, streams[archive.stream])
                done += found.hours
            if any(hour.present for hour in done):
                context.log_event(dg.AssetMaterialization(key, partition=day, metadata=day_metadata(done)))
            outcome = hours_outcome(done)
            yield from evaluations(context, key, [(day, [outcome])])
            _record_failed_hours(context, shown, symbol, done)
            if any(hour.failed for hour in done):
                failed.append(f"{day}: {day_metadata(done)['hours']}")
        yield from close_checks(key, [HOURS_CHECK.name])
        if failed:
            raise dg.Failure(
                f"{'/'.join(key.path)}: hours of {len(failed)} days were not committed\n" + "\n".join(failed)
            )

    return days_of_table


def day_metadata(hours: Sequence[HourResult]) -> dict[str, Any]:
    """What the page of a day tells: rows, how many hours stand how, sources, and each hour in a line."""
    states = Counter(hour.status for hour in hours)
    lines = [
        f"| {hour.hour:%H:%M} | {hour.status} | {hour.row_count}/{hour.expected_rows} | {_verdict(hour)} |"
        for hour in hours
    ]
    kinds = Counter(f"{name}: {ref.kind}" for hour in hours for name, ref in hour.sources.items())
    return {
        "dagster/partition_row_count": sum(hour.row_count for hour in hours if hour.present),
        "expected_rows": sum(hour.expected_rows for hour in hours),
        "verdict": _verdict_of_all(hours),
        "hours": ", ".join(f"{count} {status}" for status, count in sorted(states.items())),
        "sources": ", ".join(f"{name} ({count})" for name, count in sorted(kinds.items())),
        "by_hour": dg.MetadataValue.md(
            "\n".join(["| hour | status | rows | checks |", "| --- | --- | --- | --- |", *lines])
        ),
    }


def hours_outcome(hours: Sequence[HourResult]) -> CheckOutcome:
    """The one check row of a day."""
    present = sum(hour.present for hour in hours)
    wrong = [hour for hour in hours if not hour.present or _failed(hour)]
    named = ", ".join(f"{hour.hour:%H:%M} {_verdict(hour)}" for hour in wrong)
    numbers: dict[str, int | str] = {
        "verdict": _verdict_of_all(hours),
        "hours": len(hours),
        "present": present,
        "failed": len(wrong),
    }
    return CheckOutcome(
        HOURS_CHECK.name, passed=not wrong, severity="error", metadata={**numbers, "wrong": named or None}
    )


def _failed(hour: HourResult) -> list[CheckOutcome]:
    return [each for each in hour.outcomes if not each.empty and not each.passed and each.severity == "error"]


def _verdict(hour: HourResult) -> str:
    names = ", ".join(each.name for each in _failed(hour))
    return f"failed: {names}" if names else (hour.reason if not hour.present else "passed")


def _verdict_of_all(hours: Sequence[HourResult]) -> str:
    wrong = sum(not hour.present or bool(_failed(hour)) for hour in hours)
    return "passed" if not wrong else f"{wrong} of {len(hours)} hours failed"


def _record_failed_hours(
    context: dg.AssetExecutionContext,
    shown: TableAsset,
    symbol: str,
    hours: Sequence[HourResult],
) -> None:
    """The rows that the asset of the hours would have of those whose checks failed."""
    layout = shown.table.layout
    key, wrong = table_key(layout, symbol), [hour for hour in hours if _failed(hour)]
    if not wrong:
        return
    now = max(hour.hour for hour in hours) + layout.step
    for hour in (each for each in wrong if each.present):
        metadata = partition_metadata(hour, layout, now=now)
        event = dg.AssetMaterialization(key, partition=partition_key(layout, hour.hour), metadata=metadata)
        record_materialization(context.instance, context.run, event)
    keys = {partition_key(layout, hour.hour): hour for hour in wrong}
    targets = newest_materializations(context.instance, key, list(keys))
    said = [evaluation(key, name, each, targets.get(name)) for name, hour in keys.items() for each in _failed(hour)]
    record_checks(context.instance, context.run, said)
