"""Stored hours against the exchange's klines of now: a request per day, what differs, what is left, and in Dagster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from lake_assets.assets.minute import MINUTE_ASSET
from lake_assets.assets.parity_check import COVERAGE_CHECK, build_parity_check
from lake_assets.assets.table_asset import build_table_asset
from lake_assets.audit.api_parity import API_PARITY, ParityRun, compare_due, compare_partitions, due_partitions
from lake_assets.audit.weight_budget import parity_budget
from lake_assets.dagster_names import hour_key
from lake_assets.inputs.doubted_hours import doubted_hours
from lake_assets.metadata import minute_key
from lake_assets.quality.certificate import certify, require_clean
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import HOUR
from lake_resources.errors import ExchangeError, NotClean, SettingsError
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.ledger.ledger import Intent
from lake_tests.support.opener import Opener
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, Bench, bench_on, hours

pytestmark = pytest.mark.slow

BAD = DAY + 3 * HOUR
KEY = minute_key(SYMBOL)
SUCCEEDED, FAILED, PLANNED = (
    AssetCheckExecutionRecordStatus.SUCCEEDED,
    AssetCheckExecutionRecordStatus.FAILED,
    AssetCheckExecutionRecordStatus.PLANNED,
)


@pytest.fixture
def bench(sim: SimulatorServer, tmp_path: Path) -> Iterator[Bench]:
    with bench_on(sim, tmp_path, start="2026-11-01") as found:
        found.at(PUBLISHED).build(hours(0, 6))
        found.sim.clear_requests()
        yield found


def compare(bench: Bench, *starts: object) -> ParityRun:
    budget = parity_budget(bench.settings, clock=bench.sim.clock.now, sleep=lambda _: None)
    if not starts:
        return compare_due(bench.lake, SYMBOL, bench.now, budget)
    return compare_partitions(bench.lake, SYMBOL, starts, bench.now, budget)  # type: ignore[arg-type]


def change(bench: Bench, by: float) -> None:
    """The lake holds another volume of one minute than the exchange tells now."""
    path = bench.lake.catalog.partition_path(SYMBOL, BAD)
    rows, here = pl.read_parquet(path), pl.col("timestamp") == BAD + timedelta(minutes=17)
    rows.with_columns(pl.when(here).then(pl.col("volume_btc") + by).otherwise("volume_btc").alias("volume_btc")).select(
        rows.columns
    ).write_parquet(path)


def test_a_day_costs_one_request_and_is_then_compared_until_it_is_committed_anew(bench: Bench) -> None:
    bench.build(hours(6, 24))
    bench.sim.clear_requests()
    assert due_partitions(bench.lake, SYMBOL, bench.now) == hours(0, 24)
    found = compare(bench)
    assert (len(found.compared), found.requests, found.left) == (24, 1, ())
    assert all(
        (each.compared, each.differing, each.only_lake, each.only_exchange) == (60, 0, 0, 0) for each in found.compared
    )
    (asked,) = [query for _, path, query in bench.sim.requests if path.endswith("/klines")]
    assert "limit=1440" in str(asked)
    assert compare(bench).compared == ()
    # What is committed anew has not been compared.
    (row,) = bench.lake.ledger.partitions(SYMBOL, BAD, BAD + HOUR)
    bench.lake.ledger.write_intents([Intent(row, "tmp/none")])
    bench.lake.ledger.commit_intents(SYMBOL)
    assert due_partitions(bench.lake, SYMBOL, bench.now) == [BAD]


def test_an_hour_that_has_just_ended_waits_and_open_ones_are_not_compared(bench: Bench) -> None:
    bench.at(DAY + 6 * HOUR + timedelta(minutes=5))
    assert due_partitions(bench.lake, SYMBOL, bench.now) == hours(0, 5)
    assert compare(bench, DAY + 6 * HOUR, DAY + 9 * HOUR).compared == ()


def test_a_difference_contradicts_the_verdict_until_both_are_equal_again(bench: Bench) -> None:
    change(bench, 1.0)
    found = compare(bench)
    (bad,) = found.differing
    assert (bad.start, bad.compared, bad.differing) == (BAD, 60, 1)
    assert bad.first is not None
    assert "2026-11-18 03:17 volume: lake" in bad.first
    (kept,) = bench.lake.ledger.revisions(SYMBOL, DAY, DAY + 24 * HOUR)
    assert (kept.stream, kept.column, kept.old_source) == ("klines_1m", "volume", "archive")
    doubts = doubted_hours(bench.lake.ledger, SYMBOL, DAY, DAY + 6 * HOUR)
    assert {at: verdict.kind for at, verdict in doubts.items()} == {BAD: "contradicted"}
    assert "the exchange's API says otherwise now" in doubts[BAD].text
    certificate = certify(bench.lake.store, SYMBOL, DAY, DAY + 6 * HOUR, now=bench.now, lag_minutes=3)
    with pytest.raises(NotClean, match="contradicted"):
        require_clean(certificate)
    # A second look says the same once.
    compare(bench, BAD)
    assert len(bench.lake.ledger.revisions(SYMBOL, DAY, DAY + 24 * HOUR)) == 1
    change(bench, -1.0)
    assert due_partitions(bench.lake, SYMBOL, bench.now) == [], "not at once"
    bench.at(bench.now + 7 * HOUR)
    assert due_partitions(bench.lake, SYMBOL, bench.now) == [BAD], "what differed is compared again by itself"
    assert not compare(bench).differing
    assert doubted_hours(bench.lake.ledger, SYMBOL, DAY, DAY + 6 * HOUR) == {}


def test_an_exchange_that_does_not_answer_concludes_nothing(bench: Bench) -> None:
    bench.fault("5xx", "/fapi/v1/klines")
    with pytest.raises(ExchangeError):
        compare(bench)
    assert due_partitions(bench.lake, SYMBOL, bench.now) == hours(0, 6)


def test_the_setting_bounds_the_weight(bench: Bench) -> None:
    budget = parity_budget(bench.settings, clock=bench.sim.clock.now)
    weight = UM_MINUTE.uses["klines_1m"].stream.market.budget
    assert budget.requests_in(1, weight, 10) == 19
    waits: list[float] = []
    # A clock that stands still: what is slept has passed.
    small = parity_budget(bench.settings, clock=bench.sim.clock.now, sleep=waits.append)
    for _ in range(19):
        small.take(bench.lake.rest.base_url, weight, 10)
    assert waits == []
    small.take(bench.lake.rest.base_url, weight, 10)
    assert len(waits) == 1
    none = replace(
        small, governor=parity_budget(bench.settings.model_copy(update={"parity_weight_share": 0.001})).governor
    )
    with pytest.raises(SettingsError):
        none.take(bench.lake.rest.base_url, weight, 10)


@dataclass(frozen=True)
class Ui:
    """Runs of checks alone, as the UI and a schedule launch them."""

    bench: Bench
    instance: dg.DagsterInstance
    definitions: dg.Definitions

    def execute(self, *names: str, **tags: str) -> dg.ExecuteInProcessResult:
        """Execute checks of the minute asset, and nothing else."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        chosen = job.get_subset(
            asset_selection=set(), asset_check_selection={dg.AssetCheckKey(KEY, name) for name in names}
        )
        return chosen.execute_in_process(
            instance=self.instance, tags={key.replace("__", "/"): text for key, text in tags.items()}
        )

    def rows(self, name: str) -> set[tuple[str | None, AssetCheckExecutionRecordStatus]]:
        """All rows that were recorded of a check."""
        found = self.instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(KEY, name), limit=1000
        )
        return {(each.partition, each.status) for each in found}


@pytest.fixture
def ui(bench: Bench) -> Iterator[Ui]:
    definitions = dg.Definitions(
        assets=[build_table_asset(MINUTE_ASSET, SYMBOL, bench.settings)],
        asset_checks=[build_parity_check(UM_MINUTE, SYMBOL, bench.settings)],
        resources={"lake": Opener(lambda: bench.lake)},
        executor=dg.in_process_executor,
    )
    with dg.DagsterInstance.ephemeral() as instance:
        # As in a lake at work: only then Dagster asks a run of checks for what it would have judged.
        instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition=hour_key(DAY)))
        yield Ui(bench, instance, definitions)


def test_parity_is_executed_on_stored_hours_alone(ui: Ui) -> None:
    before = ui.bench.committed()
    result = ui.execute(API_PARITY.name, dagster__partition=hour_key(BAD))
    assert result.get_asset_materialization_events() == []
    assert ui.rows(API_PARITY.name) == {(hour_key(BAD), SUCCEEDED)}
    # Without a partition, as the button does: what is due, and what is left is counted.
    change(ui.bench, 1.0)
    result = ui.execute(API_PARITY.name, COVERAGE_CHECK)
    assert {row for row in ui.rows(API_PARITY.name) if row[1] != PLANNED} == {
        (hour_key(at), SUCCEEDED) for at in hours(0, 6)
    }
    (coverage,) = [each for each in result.get_asset_check_evaluations() if each.check_name == COVERAGE_CHECK]
    assert (coverage.passed, coverage.metadata["not_compared"].value) == (True, 0)
    ui.execute(
        API_PARITY.name,
        dagster__asset_partition_range_start=hour_key(BAD - HOUR),
        dagster__asset_partition_range_end=hour_key(BAD),
    )
    assert (hour_key(BAD), FAILED) in ui.rows(API_PARITY.name)
    held = ui.bench.lake.ledger.partitions(SYMBOL, DAY, DAY + 24 * HOUR)
    assert {row.start: row.content_hash for row in held} == before, "nothing was rebuilt"


def test_stored_hours_are_checked_without_a_rebuild(ui: Ui) -> None:
    names = ("ohlc", "continuity", "schema", "required_columns", "evidence", "archive_parity")
    path = ui.bench.lake.catalog.partition_path(SYMBOL, BAD)
    rows = pl.read_parquet(path)
    rows.filter(pl.col("timestamp") != BAD + timedelta(minutes=7)).write_parquet(path)
    ui.bench.sim.clear_requests()
    result = ui.execute(
        *names,
        dagster__asset_partition_range_start=hour_key(BAD - HOUR),
        dagster__asset_partition_range_end=hour_key(BAD),
    )
    assert result.get_asset_materialization_events() == []
    assert ui.bench.sim.requests == []
    assert ui.rows("continuity") == {(hour_key(BAD - HOUR), SUCCEEDED), (hour_key(BAD), FAILED)}
    assert ui.rows("ohlc") == ui.rows("evidence") == {(hour_key(at), SUCCEEDED) for at in (BAD - HOUR, BAD)}
    assert {status for _, status in ui.rows("archive_parity")} == {PLANNED}, "it needs its sources"
    # Without a partition the newest ones.
    ui.execute("ohlc")
    assert {key for key, status in ui.rows("ohlc") if status == SUCCEEDED} == {hour_key(at) for at in hours(2, 6)} | {
        hour_key(at) for at in hours(0, 2)
    }


def test_both_checks_can_be_executed_by_themselves(ui: Ui) -> None:
    graph = ui.definitions.resolve_asset_graph()
    for name in (API_PARITY.name, COVERAGE_CHECK, "ohlc", "continuity"):
        alone = graph.get_execution_set_asset_and_check_keys(dg.AssetCheckKey(KEY, name))
        assert alone == {dg.AssetCheckKey(KEY, name)}, f"{name}: its button would be disabled"
