"""What the lake leans on in Dagster beyond its documented API. Where one of these breaks: "Dagster changed".

Seen with 1.13.27; the reasons stand in lake_assets/checks.py and lake_assets/partitions.py.
"""

import inspect
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from lake_assets.partitions import DAY_TO_HOURS

CHANGED = "Dagster changed: see lake_assets/checks.py"
KEY = dg.AssetKey(["um", "X", "minute"])
HOURS = dg.HourlyPartitionsDefinition(start_date=datetime(2026, 1, 1, tzinfo=UTC), fmt="%Y-%m-%d-%H:%M")
PARTITIONS = [f"2026-01-01-{hour:02}:00" for hour in range(6)]


def hourly(*, fails_at: int | None = None, with_target: bool = True) -> dg.AssetsDefinition:
    """An asset in the form that the lake's hourly assets have, without any of their code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        spec = dg.AssetCheckSpec("sound", asset=KEY, partitions_def=HOURS)

    @dg.multi_asset(
        name="hours_of_x",
        specs=[dg.AssetSpec(KEY, partitions_def=HOURS, skippable=True)],
        check_specs=[spec],
        backfill_policy=dg.BackfillPolicy.multi_run(24),
    )
    def hours(context: dg.AssetExecutionContext) -> Iterator[Any]:
        for number, partition in enumerate(context.partition_keys):
            if number == fails_at:
                raise dg.Failure("half-way")
            context.log_event(dg.AssetMaterialization(asset_key=KEY, partition=partition))
            (record,) = context.instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=KEY, asset_partitions=[partition]), limit=1
            ).records
            target = AssetCheckEvaluationTargetMaterializationData(
                storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
            )
            yield dg.AssetCheckEvaluation(
                asset_key=KEY,
                check_name="sound",
                passed=number != 3,
                partition=partition,
                target_materialization_data=target if with_target else None,
            )
        yield dg.Output(None, output_name="um__X__minute_sound")

    return hours


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def run(instance: dg.DagsterInstance, asset: dg.AssetsDefinition, count: int = 6) -> dg.ExecuteInProcessResult:
    tags = {
        "dagster/asset_partition_range_start": PARTITIONS[0],
        "dagster/asset_partition_range_end": PARTITIONS[count - 1],
    }
    return dg.materialize([asset], instance=instance, tags=tags, raise_on_error=False)


def rows(instance: dg.DagsterInstance) -> list[tuple[str | None, str]]:
    records = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(KEY, "sound"), limit=100)
    return sorted((record.partition or "none", record.status.value) for record in records)


def statuses(instance: dg.DagsterInstance) -> dict[str | None, AssetCheckExecutionRecordStatus]:
    found = instance.event_log_storage.get_asset_check_partition_info([dg.AssetCheckKey(KEY, "sound")])
    return {info.partition_key: info.latest_execution_status for info in found if info.is_current}


def test_the_private_target_of_a_check_is_where_it_was() -> None:
    target = AssetCheckEvaluationTargetMaterializationData(storage_id=1, run_id="r", timestamp=2.0)
    assert (target.storage_id, target.run_id, target.timestamp) == (1, "r", 2.0), CHANGED
    assert "target_materialization_data" in inspect.signature(dg.AssetCheckEvaluation).parameters, CHANGED


def test_a_range_run_of_a_skippable_asset_records_each_hour_and_nothing_else(instance: dg.DagsterInstance) -> None:
    result = run(instance, hourly())
    assert result.success
    events = result.get_asset_materialization_events()
    assert [event.partition for event in events] == PARTITIONS, f"{CHANGED}: no automatic materialization may be added"
    wanted = [(partition, "FAILED" if number == 3 else "SUCCEEDED") for number, partition in enumerate(PARTITIONS)]
    assert rows(instance) == wanted, f"{CHANGED}: a row without partition, or one left PLANNED"
    assert {str(key): status.value for key, status in statuses(instance).items()} == dict(wanted), CHANGED


def test_a_range_run_that_fails_half_way_keeps_its_first_hours(instance: dg.DagsterInstance) -> None:
    result = run(instance, hourly(fails_at=2))
    assert not result.success
    assert set(instance.get_materialized_partitions(KEY)) == set(PARTITIONS[:2]), CHANGED
    found = rows(instance)
    assert found[:2] == [(partition, "SUCCEEDED") for partition in PARTITIONS[:2]], CHANGED
    assert [status for _, status in found[2:]] == ["PLANNED"] * 4, CHANGED
    # The next run closes them.
    assert run(instance, hourly()).success
    assert set(statuses(instance)) == set(PARTITIONS), CHANGED


def test_a_check_without_its_target_says_nothing_about_the_partition(instance: dg.DagsterInstance) -> None:
    assert run(instance, hourly(with_target=False)).success
    assert statuses(instance) == {}, f"{CHANGED}: the private target may no longer be needed"


def test_a_skippable_asset_that_logs_nothing_leaves_its_partition_missing(instance: dg.DagsterInstance) -> None:
    @dg.multi_asset(name="days_of_x", specs=[dg.AssetSpec(KEY, partitions_def=HOURS, skippable=True)])
    def nothing() -> Iterator[Any]:
        yield from ()

    assert dg.materialize([nothing], instance=instance, partition_key=PARTITIONS[0]).success
    assert instance.get_materialized_partitions(KEY) == set(), CHANGED


def test_hours_map_to_their_day_and_to_nothing_outside_an_archive() -> None:
    days = dg.DailyPartitionsDefinition(start_date="2026-01-02", end_date="2026-01-04", timezone="UTC")

    def upstream(first: str, last: str) -> set[str]:
        hours = HOURS.subset_with_partition_keys(HOURS.get_partition_keys_in_range(dg.PartitionKeyRange(first, last)))
        found = DAY_TO_HOURS.get_upstream_mapped_partitions_result_for_partitions(
            hours, HOURS, days, current_time=datetime(2026, 1, 10, tzinfo=UTC)
        )
        assert found.required_but_nonexistent_subset.is_empty, CHANGED
        return set(found.partitions_subset.get_partition_keys())

    assert upstream("2026-01-02-00:00", "2026-01-02-23:00") == {"2026-01-02"}, CHANGED
    assert upstream("2026-01-02-23:00", "2026-01-03-00:00") == {"2026-01-02", "2026-01-03"}, CHANGED
    assert upstream("2026-01-01-05:00", "2026-01-01-06:00") == set(), CHANGED
    assert upstream("2026-01-04-05:00", "2026-01-05-06:00") == set(), CHANGED
    months = dg.MonthlyPartitionsDefinition(start_date="2026-01-01", timezone="UTC")
    found = DAY_TO_HOURS.get_upstream_mapped_partitions_result_for_partitions(
        HOURS.subset_with_partition_keys(["2026-01-31-23:00"]), HOURS, months,
        current_time=datetime(2026, 3, 10, tzinfo=UTC),
    )  # fmt: skip
    assert set(found.partitions_subset.get_partition_keys()) == {"2026-01-01"}, CHANGED
