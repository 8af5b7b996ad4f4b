"""Raw kline slices in Dagster: a materialization and three checks per day, and a sensor that asks for what is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from lake_assets.assets.kline_slices import build_kline_slices_asset, slices_key
from lake_assets.code_location import build_definitions
from lake_assets.slices.days import days_to_run
from lake_assets.slices.klines_endpoint import KLINES
from lake_assets.slices.manifest import read_manifest
from lake_assets.slices.server import open_slices
from lake_resources.settings import LakeSettings
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.blobs import LocalBlobs
from lake_resources.storage.ledger.slice_rows import SliceSet

OF = SliceSet("klines", "BTCUSDT", "1m")
FIRST = datetime(2026, 11, 17, tzinfo=UTC)
DAYS = ("2026-11-17", "2026-11-18", "2026-11-19")


@pytest.fixture
def settings(sim: SimulatorServer, tmp_path: Path) -> LakeSettings:
    sim.faults.clear()
    sim.exchange.limits.reset()
    sim.clock.freeze(FIRST + timedelta(days=2, hours=12))
    found = LakeSettings(
        root=tmp_path / "lake", rest_url=sim.base_url, spot_rest_url=sim.base_url, symbols=("BTCUSDT",),
        slice_symbols=("BTCUSDT",), start=FIRST.date(), rest_attempts=1,
    )  # fmt: skip
    with open_slices(found) as slices:
        slices.rows.keep_origin(OF, int(FIRST.timestamp() * 1000), FIRST)
    return found


def run(settings: LakeSettings, instance: dg.DagsterInstance, *, fails: bool = False) -> None:
    asset = build_kline_slices_asset("BTCUSDT", "1m", settings)
    tags = {"dagster/asset_partition_range_start": DAYS[0], "dagster/asset_partition_range_end": DAYS[-1]}
    done = dg.materialize([asset], instance=instance, tags=tags, raise_on_error=False)
    assert done.success is not fails


def verdicts(instance: dg.DagsterInstance, day: str) -> dict[str, bool]:
    key = slices_key("BTCUSDT", "1m")
    found: dict[str, bool] = {}
    for name in ("slices_complete", "manifest_integrity", "open_times_exact"):
        for info in instance.event_log_storage.get_asset_check_partition_info([dg.AssetCheckKey(key, name)]):
            if info.partition_key == day and info.is_current:
                found[name] = info.latest_execution_status.value == "SUCCEEDED"
    return found


def test_days_are_materialized_and_judged_one_by_one(settings: LakeSettings) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run(settings, instance)
        key = slices_key("BTCUSDT", "1m")
        assert set(instance.get_materialized_partitions(key)) == set(DAYS)
        record = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, asset_partitions=[DAYS[0]]), limit=1
        ).records[0]
        metadata = record.asset_materialization.metadata if record.asset_materialization else {}
        assert (metadata["slices"].value, metadata["slices_ok"].value, metadata["weight"].value) == (2, 2, 4)
        whole = dict.fromkeys(("slices_complete", "manifest_integrity", "open_times_exact"), True)
        assert verdicts(instance, DAYS[0]) == whole
        assert verdicts(instance, DAYS[1]) == whole


def test_a_slice_that_fails_fails_its_day_and_no_other(settings: LakeSettings, sim: SimulatorServer) -> None:
    start = int((FIRST + timedelta(minutes=1000)).timestamp() * 1000)
    sim.faults.add(Fault("5xx", "/api/v3/klines", query=f"startTime={start}"))
    with dg.DagsterInstance.ephemeral() as instance:
        run(settings, instance, fails=True)
        assert verdicts(instance, DAYS[0]) == {
            "slices_complete": False, "manifest_integrity": True, "open_times_exact": False,
        }  # fmt: skip
        assert verdicts(instance, DAYS[1])["slices_complete"]


def test_a_day_without_an_answer_has_no_row_that_says_its_answers_are_sound(
    settings: LakeSettings, sim: SimulatorServer
) -> None:
    sim.faults.add(Fault("5xx", "/api/v3/klines"))
    with dg.DagsterInstance.ephemeral() as instance:
        run(settings, instance, fails=True)
        assert verdicts(instance, DAYS[0]) == {"slices_complete": False, "open_times_exact": False}


def test_a_run_that_a_ban_ends_leaves_a_manifest_of_all_slices(settings: LakeSettings, sim: SimulatorServer) -> None:
    sim.faults.add(Fault("418", "/api/v3/klines", times=1, skip=1, retry_after_s=300))
    with dg.DagsterInstance.ephemeral() as instance:
        run(settings, instance, fails=True)
    found = read_manifest(LocalBlobs(settings.resolved_slices_root), OF)["summary"]
    counts = {name: found[f"{name}_slices"] for name in ("total", "ok", "failed", "pending")}
    assert counts == {"total": 4, "ok": 1, "failed": 1, "pending": 2}


def test_a_damaged_answer_is_asked_for_again_by_the_next_run_of_its_day(settings: LakeSettings) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run(settings, instance)
        with open_slices(settings) as slices:
            path = slices.root / (slices.rows.slice_rows(OF)[0].path or "")
            whole = path.read_bytes()
            path.write_bytes(whole[:-50])
        run(settings, instance)
        assert path.read_bytes()[-200:] == whole[-200:]
        assert all(verdicts(instance, DAYS[0]).values())


def test_the_sensor_looks_at_what_is_due_and_leaves_the_growing_slice_alone_for_the_pause(
    settings: LakeSettings,
) -> None:
    now = FIRST + timedelta(days=2, hours=12)
    with open_slices(settings) as slices:
        assert [str(day) for day in days_to_run(slices.rows, KLINES, OF, FIRST.date(), now)] == list(reversed(DAYS))
    with dg.DagsterInstance.ephemeral() as instance:
        run(settings, instance)
    with open_slices(settings) as slices:
        asked = slices.rows.slice_rows(OF)[-1].completed_at_utc
        assert asked is not None
        assert days_to_run(slices.rows, KLINES, OF, FIRST.date(), min(now, asked)) == []
        later = now + timedelta(days=1)
        assert [str(day) for day in days_to_run(slices.rows, KLINES, OF, FIRST.date(), later)][-1] == DAYS[2]


def test_slices_are_part_of_the_code_location_only_where_symbols_are_named(settings: LakeSettings) -> None:
    with_them = build_definitions(settings).resolve_asset_graph().get_all_asset_keys()
    without = build_definitions(settings.model_copy(update={"slice_symbols": ()})).resolve_asset_graph()
    assert with_them - without.get_all_asset_keys() == {slices_key("BTCUSDT", "1m")}
