"""Partitioned asset checks of tables: their specs, and recording results partition by partition.

Belongs here: check texts, events of committed partitions and their checks.
Does not belong here: the rules (`validation`).

Dagster's own recording would write one check row without a partition per range run and leave the planned ones open.
So the assets are skippable multi-assets: each day's hours are logged as they are committed, and each check row is
logged with its partition and the materialization it judges (lake_tests/contract/test_dagster_checks.py pins this).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from lake_assets.dagster_names import partition_key
from lake_assets.inputs.results import HourResult
from lake_assets.metadata import Picture, partition_metadata
from lake_assets.schema.check_spec import CheckSpec
from lake_assets.validation.outcome import CheckOutcome
from lake_resources.dagster_private import AssetCheckEvaluationTargetMaterializationData
from lake_resources.layout import TableLayout


def check_specs(
    key: dg.AssetKey,
    partitions: dg.PartitionsDefinition[str],
    checks: Mapping[str, CheckSpec],
    text: Callable[[CheckSpec], str] = lambda check: check.text,
) -> list[dg.AssetCheckSpec]:
    """Specs of all partitioned checks of an asset, with what each asserts in words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [
            dg.AssetCheckSpec(name, asset=key, description=text(check), partitions_def=partitions)
            for name, check in checks.items()
        ]


def record_results(
    context: dg.AssetExecutionContext,
    key: dg.AssetKey,
    layout: TableLayout,
    results: Sequence[HourResult],
    *,
    now: datetime,
    picture: Picture | None,
) -> Iterator[dg.AssetCheckEvaluation]:
    """Log the materialization of each present partition now, then yield the check rows of every judged one."""
    events = {
        partition_key(layout, result.hour): partition_metadata(result, layout, now=now, picture=picture)
        for result in results
        if result.present
    }
    judged = [(partition_key(layout, each.hour), each.outcomes) for each in results]
    yield from record_partitions(context, key, events, judged)


def record_partitions(
    context: dg.AssetExecutionContext,
    key: dg.AssetKey,
    events: Mapping[str, Mapping[str, Any]],
    judged: Iterable[tuple[str, Sequence[CheckOutcome]]],
) -> Iterator[dg.AssetCheckEvaluation]:
    """Log the materialization of each partition in `events` (its metadata), then yield the judged ones' check rows.

    A check that compared nothing has no row: Dagster then shows the partition as skipped by it.
    """
    for partition, metadata in events.items():
        context.log_event(dg.AssetMaterialization(asset_key=key, partition=partition, metadata=metadata))
    yield from evaluations(context, key, judged)


def evaluations(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
    key: dg.AssetKey,
    judged: Iterable[tuple[str, Sequence[CheckOutcome]]],
) -> Iterator[dg.AssetCheckEvaluation]:
    """The check rows of partitions, each of the newest materialization that there is of it."""
    found = list(judged)
    # A failed check that judges no materialization would leave the hour's last good status in the UI.
    targets = _targets(context, key, [partition for partition, outcomes in found if outcomes])
    for partition, outcomes in found:
        for outcome in (each for each in outcomes if not each.empty):
            yield evaluation(key, partition, outcome, targets.get(partition))


def run_partitions(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Sequence[str] | None:
    """Partitions that a run of checks was asked for; None where it names none, as the UI's button does."""
    tags = context.run.tags
    if "dagster/partition" in tags or "dagster/asset_partition_range_start" in tags:
        return context.op_execution_context.partition_keys
    return None


def record_unsaid(
    context: dg.AssetExecutionContext,
    key: dg.AssetKey,
    judged: Mapping[str, Sequence[CheckOutcome]],
    names: Iterable[str],
) -> Iterator[dg.AssetCheckEvaluation]:
    """Say `nothing to compare` of checks without a row, in a run that is about to fail for other partitions.

    Dagster takes a check without a row for skipped where its run succeeds, and for one that crashed where it fails.

    Args:
        context: of the step.
        key: of the asset.
        judged: outcomes by partition; partitions that nothing is said of are none of them.
        names: all checks that have a row where they have something to compare.
    """
    targets = _targets(context, key, list(judged))
    for partition, outcomes in judged.items():
        said = {each.name for each in outcomes if not each.empty}
        for name in (each for each in names if each not in said):
            nothing = CheckOutcome(name, passed=False, severity="warn", metadata={"verdict": "nothing to compare"})
            yield evaluation(key, partition, nothing, targets.get(partition))


def close_checks(key: dg.AssetKey, names: Iterable[str]) -> Iterator[dg.Output[None]]:
    """Close the check outputs of the step; the rows themselves were yielded hour by hour."""
    prefix = "__".join(key.path)
    for name in names:
        yield dg.Output(None, output_name=f"{prefix}_{name}")


def raise_for_failed(symbol: str, layout: TableLayout, results: Sequence[HourResult]) -> None:
    """Fail the run, after all partitions were tried, when some need a person; names them and the reasons.

    Raises:
        dg.Failure: with a list of the partitions.
    """
    failed = [result for result in results if result.failed]
    if not failed:
        return
    lines = [f"{partition_key(layout, result.hour)}: {result.status}: {result.reason}" for result in failed]
    raise dg.Failure(
        f"{layout.market}/{symbol}/{layout.directory}: {len(failed)} of {len(results)} {layout.span}s were not "
        "committed; the others were.\n" + "\n".join(lines[:20]),
        metadata={f"failed_{layout.span}s": dg.MetadataValue.md("\n".join(f"- {line}" for line in lines[:200]))},
    )


def _targets(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, key: dg.AssetKey, partitions: list[str]
) -> dict[str, AssetCheckEvaluationTargetMaterializationData]:
    return newest_materializations(context.instance, key, partitions)


def newest_materializations(
    instance: dg.DagsterInstance, key: dg.AssetKey, partitions: list[str]
) -> dict[str, AssetCheckEvaluationTargetMaterializationData]:
    """By partition, the materialization that a check row of now judges; partitions without one are left out."""
    if not partitions:
        return {}
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=partitions), limit=2 * len(partitions)
    ).records
    newest: dict[str, AssetCheckEvaluationTargetMaterializationData] = {}
    for record in records:  # newest first
        if record.partition_key is not None and record.partition_key not in newest:
            newest[record.partition_key] = AssetCheckEvaluationTargetMaterializationData(
                storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
            )
    return newest


def evaluation(
    key: dg.AssetKey,
    partition: str,
    outcome: CheckOutcome,
    target: AssetCheckEvaluationTargetMaterializationData | None,
) -> dg.AssetCheckEvaluation:
    """The check row of a partition."""
    severity = dg.AssetCheckSeverity.WARN if outcome.severity == "warn" else dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=outcome.name,
        passed=outcome.passed,
        severity=severity,
        partition=partition,
        metadata={name: value for name, value in outcome.metadata.items() if value is not None},
        target_materialization_data=target,
    )
