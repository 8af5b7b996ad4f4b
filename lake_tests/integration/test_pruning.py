"""Pruning on Dagster's real storage: old hot runs go, the proof of a partition never does."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from lake_assets.automation.pruning import FinishedRun, deletable, old_enough
from lake_assets.dagster_names import AUTOMATION_TAG
from lake_assets.jobs.history_pruning import prune_runs
from lake_assets.jobs.run_tags import RANGE_END, RANGE_START
from lake_assets.metadata import minute_key
from lake_resources.binance.ws.frames import AGG_TRADE
from lake_resources.clock import DAY
from lake_resources.collector.segments import SegmentWriter, minutes_on_disk
from lake_tests.support.automated_lake import automated
from lake_tests.support.forgotten_writer import forget
from lake_tests.support.simulated_lake import Bench

pytestmark = pytest.mark.slow

KEY = minute_key("BTCUSDT")
HOURS = dg.HourlyPartitionsDefinition(start_date="2026-11-18-00:00", end_date="2026-11-19-00:00", timezone="UTC")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as found:
        yield found


@dg.multi_asset(
    name="minute", specs=[dg.AssetSpec(KEY, partitions_def=HOURS, skippable=True)],
    backfill_policy=dg.BackfillPolicy.single_run(),
)  # fmt: skip
def minute(context: dg.AssetExecutionContext):
    if context.run.tags.get("skip") != "yes":
        for key in context.partition_keys:
            context.log_event(dg.AssetMaterialization(KEY, partition=key))
    if context.run.tags.get("fail") == "yes":
        raise dg.Failure("refused")
    yield from ()


def run(instance: dg.DagsterInstance, first: str, last: str, kind: str | None = "hot", **tags: str) -> str:
    tags |= {RANGE_START: f"2026-11-18-{first}", RANGE_END: f"2026-11-18-{last}"}
    if kind:
        tags[AUTOMATION_TAG] = kind
    return dg.materialize([minute], instance=instance, tags=tags, raise_on_error=False).run_id


def left(instance: dg.DagsterInstance) -> set[str]:
    return {found.run_id for found in instance.get_runs()}


def later(**span: float) -> datetime:
    return datetime.now(UTC) + timedelta(**span)


def test_only_the_newest_proof_of_each_partition_stays(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    old = [run(instance, "10:00", "10:00") for _ in range(4)]
    both = run(instance, "10:00", "11:00")
    newest = run(instance, "11:00", "11:00")
    by_hand = run(instance, "10:00", "10:00", None)
    proof_of_ten = run(instance, "10:00", "10:00")
    assert prune_runs(instance, ["BTCUSDT"], later(hours=23), DAY) == 0
    assert prune_runs(instance, ["BTCUSDT"], later(hours=25), DAY) == 5
    assert left(instance) == {newest, by_hand, proof_of_ten}
    assert instance.get_materialized_partitions(KEY) == {"2026-11-18-10:00", "2026-11-18-11:00"}
    record = instance.get_latest_materialization_event(KEY)
    assert record is not None
    assert record.run_id == proof_of_ten
    shards = {path.stem for path in tmp_path.rglob("*.db")}
    assert not shards & {*old, both}, "the files of the events are gone, too"
    assert {newest, by_hand, proof_of_ten} <= shards
    assert prune_runs(instance, ["BTCUSDT"], later(hours=25), DAY) == 0


def test_a_run_that_proves_one_of_many_hours_stays_whole(instance: dg.DagsterInstance) -> None:
    wide = run(instance, "03:00", "08:00")
    for hour in ("03:00", "04:00", "05:00", "06:00", "07:00"):
        run(instance, hour, hour, None)
    assert prune_runs(instance, ["BTCUSDT"], later(days=30), DAY) == 0
    run(instance, "08:00", "08:00", None)
    assert prune_runs(instance, ["BTCUSDT"], later(days=30), DAY) == 1
    assert wide not in left(instance)
    assert len(instance.get_materialized_partitions(KEY)) == 6


def test_runs_that_people_launched_are_never_touched(instance: dg.DagsterInstance) -> None:
    kept = {run(instance, "10:00", "10:00", kind) for kind in (None, "heal", "promote", None)}
    assert prune_runs(instance, ["BTCUSDT"], later(days=300), DAY) == 0
    assert left(instance) == kept


def test_failures_stay_for_a_week_and_the_only_trace_of_an_hour_for_ever(instance: dg.DagsterInstance) -> None:
    refused = run(instance, "10:00", "10:00", fail="yes", skip="yes")
    assert prune_runs(instance, ["BTCUSDT"], later(days=30), DAY) == 0, "nothing else is known of that hour"
    run(instance, "10:00", "10:00")
    run(instance, "10:00", "10:00")
    assert prune_runs(instance, ["BTCUSDT"], later(days=2), DAY) == 1
    assert refused in left(instance)
    assert prune_runs(instance, ["BTCUSDT"], later(days=8), DAY) == 1
    assert refused not in left(instance)


def test_a_symbol_that_is_no_longer_kept_keeps_its_proof(instance: dg.DagsterInstance) -> None:
    run(instance, "10:00", "10:00")
    assert prune_runs(instance, [], later(days=30), DAY) == 0


def test_the_rule() -> None:
    now = datetime(2026, 11, 18, tzinfo=UTC)
    ten, eleven = ("a", "10"), ("a", "11")
    runs = [
        FinishedRun("proof", now, failed=False, partitions=frozenset({ten})),
        FinishedRun("half", now, failed=False, partitions=frozenset({ten, eleven})),
        FinishedRun("spare", now, failed=False, partitions=frozenset({ten})),
        FinishedRun("unknown", now, failed=False, partitions=frozenset()),
    ]
    assert deletable(runs, {ten: "proof", eleven: "half"}) == ["spare"]
    assert deletable(runs, {}) == [], "without any materialization nothing is proven"
    failed = FinishedRun("x", now, failed=True, partitions=frozenset())
    assert not old_enough(failed, now + timedelta(days=6), DAY)
    assert old_enough(failed, now + timedelta(days=7), DAY)


def test_the_job_prunes_records_of_the_collector_after_their_retention(bench: Bench) -> None:
    root, now = bench.lake.catalog.live_records_dir, bench.now
    writer = SegmentWriter(root)
    minutes = {hours: int((now - timedelta(hours=hours)).timestamp()) // 60 for hours in (49, 47, 0)}
    for seq, minute in enumerate(minutes.values()):
        writer.add(seq, minute * 60_000_000_000, 1, AGG_TRADE, "BTCUSDT", minute, b"{}")
    writer.write(writer.take()[0], 1)
    writer.close_before(minutes[0])
    with dg.DagsterInstance.ephemeral() as instance, automated(bench, instance) as lake:
        result = lake.repository.get_job("prune").execute_in_process(instance=instance)
    assert result.success
    assert minutes_on_disk(root) == [minutes[47], minutes[0]]
    forget(writer)
