"""The reports and the repair as a person sees them in Dagster: assets with checks, and a backfill from the UI alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from lake_assets.assets.minute import MINUTE_ASSET
from lake_assets.assets.quality import build_quality_assets, report_key
from lake_assets.assets.table_asset import build_table_asset
from lake_assets.code_location import build_definitions
from lake_assets.dagster_names import FORCE_TAG, REPAIR_TAG, VISION_TAG, hour_key
from lake_assets.jobs.repair import REPAIR_JOB, build_repair_job
from lake_assets.metadata import minute_key
from lake_resources.clock import HOUR
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.opener import Opener
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, Bench, bench_on, hours

pytestmark = pytest.mark.slow

END = f"{DAY + 6 * HOUR:%Y-%m-%dT%H:%M}"
RANGE = {"start": f"{DAY:%Y-%m-%d}", "end": END}


@pytest.fixture
def bench(sim: SimulatorServer, tmp_path: Path) -> Iterator[Bench]:
    with bench_on(sim, tmp_path) as found:
        found.at(PUBLISHED)
        yield found


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def report(
    bench: Bench, instance: dg.DagsterInstance, name: str, **config: object
) -> tuple[dg.AssetCheckEvaluation, dict[str, object]]:
    """Materialize one report; its verdict (the first check) and the plain values of its metadata."""
    evaluations, metadata = materialized(bench, instance, name, **config)
    return evaluations[0], metadata


def materialized(
    bench: Bench, instance: dg.DagsterInstance, name: str, **config: object
) -> tuple[list[dg.AssetCheckEvaluation], dict[str, object]]:
    """The same with all checks."""
    key = report_key(SYMBOL, name)
    asset = next(asset for asset in build_quality_assets(SYMBOL, bench.settings) if asset.key == key)
    result = dg.materialize(
        [asset],
        instance=instance,
        resources={"lake": Opener(lambda: bench.lake)},
        run_config={"ops": {asset.op.name: {"config": config}}},
    )
    (event,) = result.asset_materializations_for_node(asset.op.name)
    return result.get_asset_check_evaluations(), {label: value.value for label, value in event.metadata.items()}


def built(bench: Bench, instance: dg.DagsterInstance) -> None:
    """Six hours through Dagster."""
    asset = build_table_asset(MINUTE_ASSET, SYMBOL, bench.settings)
    tags = {
        "dagster/asset_partition_range_start": hour_key(DAY),
        "dagster/asset_partition_range_end": hour_key(DAY + 5 * HOUR),
    }
    dg.materialize([asset], instance=instance, resources={"lake": Opener(lambda: bench.lake)}, tags=tags)


def test_the_audit_of_what_dagster_built(bench: Bench, instance: dg.DagsterInstance) -> None:
    built(bench, instance)
    check, metadata = report(bench, instance, "audit", **RANGE)
    assert (check.passed, metadata["hours"], metadata["completeness_pct"]) == (True, 6, 100.0)
    bench.build(hours(6, 7))
    bench.lake.catalog.partition_path(SYMBOL, DAY + HOUR).unlink()
    check, metadata = report(bench, instance, "audit", start=RANGE["start"], end=f"{DAY + 7 * HOUR:%Y-%m-%dT%H:%M}")
    assert not check.passed
    assert metadata["wrong_hours"] == 2
    assert "not_in_dagster" in str(metadata["wrong"])
    assert "there is no file for the hour" in str(metadata["reasons"])
    assert check.metadata["ledger_without_file"].value == 1


def test_a_lake_without_hours_is_not_consistent(bench: Bench, instance: dg.DagsterInstance) -> None:
    check, metadata = report(bench, instance, "audit")
    assert (check.passed, metadata["hours"]) == (False, 0)


def test_the_rules_report(bench: Bench, instance: dg.DagsterInstance) -> None:
    bench.build(hours(0, 6))
    check, metadata = report(bench, instance, "rules", **RANGE)
    assert (check.passed, metadata["verdict"], metadata["rows"]) == (True, "PASS", 360)
    assert "## Validation Summary" in str(metadata["report"])
    check, metadata = report(bench, instance, "rules", start=RANGE["start"], end=f"{DAY + 7 * HOUR:%Y-%m-%dT%H:%M}")
    assert (check.passed, check.severity, metadata["R5"]) == (False, dg.AssetCheckSeverity.ERROR, 60)


def test_each_rule_is_a_check_with_its_numbers(bench: Bench, instance: dg.DagsterInstance) -> None:
    bench.build(hours(0, 6))
    checks, _ = materialized(bench, instance, "rules", **RANGE)
    # There are no quotes in these hours: R3 and R6 had nothing to look at, and have not passed.
    assert [check.check_name for check in checks] == ["verdict", "R1", "R2", "R4", "R5", "R7"]
    assert all(check.passed for check in checks)
    path = bench.lake.catalog.partition_path(SYMBOL, DAY + HOUR)
    pl.read_parquet(path).with_columns(high=pl.col("high") * 1.01).write_parquet(path)
    checks, _ = materialized(bench, instance, "rules", **RANGE)
    failed = {check.check_name: check.metadata for check in checks if not check.passed}
    assert failed.keys() == {"verdict", "R7"}
    assert (failed["R7"]["checked"].value, failed["R7"]["violations"].value) == (360, 60)


def test_bars_whose_klines_are_gone_do_not_pass(bench: Bench, instance: dg.DagsterInstance) -> None:
    bench.build([*hours(0, 6), *hours(24, 27)])
    both = {"start": f"{DAY:%Y-%m-%d}", "end": f"{DAY + 27 * HOUR:%Y-%m-%dT%H:%M}"}
    (archive,) = bench.lake.ledger.archives_between(SYMBOL, "klines_1m", DAY, DAY + 24 * HOUR)
    bench.lake.catalog.absolute(archive.path).unlink()
    checks, metadata = materialized(bench, instance, "rules", **RANGE)
    found = {check.check_name: check for check in checks}
    assert (metadata["verdict"], found["R7"].passed, found["R7"].severity) == (
        "FAIL",
        False,
        dg.AssetCheckSeverity.ERROR,
    )
    assert (found["R7"].metadata["checked"].value, found["R7"].metadata["only_bars"].value) == (0, 360)
    assert "R7: 360 of 360 bars of BTCUSDT have no klines to compare with" in str(metadata["report"])
    found = {check.check_name: check for check in materialized(bench, instance, "rules", **both)[0]}
    assert (found["R7"].passed, found["R7"].severity) == (False, dg.AssetCheckSeverity.WARN), (
        "three hours were compared"
    )


def test_parity_at_rest(bench: Bench, instance: dg.DagsterInstance) -> None:
    bench.build(hours(0, 6))
    bench.at(DAY + 12 * HOUR)
    check, metadata = report(bench, instance, "parity_at_rest", hours=3)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN), "no hour is sealed yet"
    assert (metadata["verdict"], metadata["minutes"]) == ("nothing to compare", 0)
    bench.at(PUBLISHED + 24 * HOUR)
    check, metadata = report(bench, instance, "parity_at_rest", hours=3)
    assert (check.passed, metadata["hours"], metadata["minutes"], metadata["hour_bars"]) == (True, 3, 180, 3)
    # Six hours of mark, index and premium prices; metrics and settlements also of the hours that they look back to.
    assert (metadata["other_rows"], metadata["other_hours_differing"]) == (3 * 360 + 96 + 3, 0)


def repaired(bench: Bench, instance: dg.DagsterInstance, **config: object) -> dg.ExecuteInProcessResult:
    definitions = dg.Definitions(
        assets=[build_table_asset(MINUTE_ASSET, SYMBOL, bench.settings)],
        jobs=[build_repair_job(bench.settings)],
        resources={"lake": Opener(lambda: bench.lake)},
    )
    job = definitions.resolve_job_def(REPAIR_JOB)
    return job.execute_in_process(
        run_config={"ops": {"plan_and_launch": {"config": config}}}, instance=instance, raise_on_error=False
    )


def test_a_repair_from_the_ui_alone(bench: Bench, instance: dg.DagsterInstance) -> None:
    built(bench, instance)
    gone = [DAY + HOUR, DAY + 4 * HOUR]
    for hour in gone:
        bench.lake.catalog.partition_path(SYMBOL, hour).unlink()
    assert repaired(bench, instance, **RANGE, dry_run=True).success
    assert instance.get_backfills() == []
    assert repaired(bench, instance, **RANGE).success
    (backfill,) = instance.get_backfills()
    assert backfill.tags == {REPAIR_TAG: SYMBOL}
    assert backfill.title == f"repair {SYMBOL}: 2 hours"
    target = backfill.asset_backfill_data.target_subset.get_partitions_subset(minute_key(SYMBOL))
    assert sorted(target.get_partition_keys()) == [hour_key(hour) for hour in gone]
    assert repaired(bench, instance, **RANGE).success
    assert len(instance.get_backfills()) == 1, "one that is not finished is not launched twice"


def test_force_and_the_cap_reach_the_backfill(bench: Bench, instance: dg.DagsterInstance) -> None:
    built(bench, instance)
    assert repaired(bench, instance, **RANGE, force_repair=True, max_missing_hours=4).success
    (backfill,) = instance.get_backfills()
    assert backfill.tags[FORCE_TAG] == "true"
    assert "4 hours" in str(backfill.title)


def test_archives_alone_from_the_ui(bench: Bench, instance: dg.DagsterInstance) -> None:
    now = {"start": RANGE["start"], "end": f"{bench.now:%Y-%m-%dT%H:%M}"}
    assert repaired(bench, instance, **now, vision_only=True).success
    (backfill,) = instance.get_backfills()
    assert backfill.tags[VISION_TAG] == "true"
    assert backfill.title == f"repair {SYMBOL}: 24 hours", "up to the end of the last completed day"


@pytest.mark.parametrize("config", [{}, {"preset": "2024", "years": 1}, {"start": "soon"}, {"preset": "2199"}])
def test_a_repair_of_no_range_is_refused(bench: Bench, instance: dg.DagsterInstance, config: dict[str, object]) -> None:
    assert not repaired(bench, instance, **config).success


def test_the_code_location_has_them_all(bench: Bench) -> None:
    definitions = build_definitions(bench.settings)
    names = {job.name for job in definitions.resolve_all_job_defs()}
    assert {"audit", "rules", "parity_at_rest", REPAIR_JOB} <= names
    graph = definitions.resolve_asset_graph()
    assert {report_key(SYMBOL, name) for name in ("audit", "rules", "parity_at_rest")} <= graph.get_all_asset_keys()
    schedules = {schedule.name for schedule in definitions.schedules or ()}
    assert "audit_daily" in schedules, "the other two follow from what was committed"


def test_a_day_is_not_audited_before_it_exists(bench: Bench, instance: dg.DagsterInstance) -> None:
    bench.build(hours(0, 6))
    later = DAY + timedelta(days=30)
    check, metadata = report(bench, instance, "audit", start=f"{later:%Y-%m-%d}", end=f"{later + HOUR:%Y-%m-%dT%H:%M}")
    assert (check.passed, metadata["hours"]) == (False, 0)
