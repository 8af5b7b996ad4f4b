"""Cold history by days: how many rows of Dagster a day costs, and what its page and a failed hour's tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from lake_assets.assets.cold_days import build_cold_days_asset
from lake_assets.assets.minute import MINUTE_ASSET
from lake_assets.assets.table_list import build_table_assets
from lake_assets.dagster_names import hour_key
from lake_assets.materialized import materialized_partitions
from lake_assets.metadata import cold_days_key, minute_key
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.binance.market import UM
from lake_resources.clock import HOUR
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.opener import Opener
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, Bench, bench_on, hours

pytestmark = pytest.mark.slow

KEY, HOURS_KEY = cold_days_key(UM_MINUTE.layout, SYMBOL), minute_key(SYMBOL)
MOST_ROWS = 20
"""Of a day of a symbol, also where its archives were fetched by the same run."""
FIXED_ROWS = 45
"""Of a run, whatever it is about: 31 days share them."""


@pytest.fixture
def bench(sim: SimulatorServer, tmp_path: Path) -> Iterator[Bench]:
    with bench_on(sim, tmp_path, start="2026-11-01", cold_days=True) as found:
        found.at(PUBLISHED)
        yield found


def build(bench: Bench, instance: dg.DagsterInstance, first: str, last: str, *, fails: bool = False) -> str:
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    result = dg.materialize(
        [build_cold_days_asset(MINUTE_ASSET, SYMBOL, bench.settings)],
        instance=instance,
        resources={"lake": Opener(lambda: bench.lake)},
        raise_on_error=False,
        tags=tags,
    )
    assert result.success is not fails
    return result.run_id


def shown(instance: dg.DagsterInstance, key: dg.AssetKey, check: str) -> dict[str | None, str]:
    found = instance.event_log_storage.get_asset_check_partition_info([dg.AssetCheckKey(key, check)])
    return {info.partition_key: info.latest_execution_status.value for info in found if info.is_current}


def test_a_day_is_a_few_rows_and_tells_its_hours(bench: Bench) -> None:
    day, before = f"{DAY:%Y-%m-%d}", f"{DAY - timedelta(days=1):%Y-%m-%d}"
    with dg.DagsterInstance.ephemeral() as instance:
        rows = instance.all_logs(build(bench, instance, before, day))
        kinds = Counter(row.dagster_event_type.value if row.dagster_event_type else "LOG" for row in rows)
        assert len(rows) <= 2 * MOST_ROWS + FIXED_ROWS, kinds
        of_days = sum(kinds[name] for name in kinds if name.startswith("ASSET_"))
        assert of_days <= 2 * MOST_ROWS, kinds
        assert set(instance.get_materialized_partitions(KEY)) == {before, day}
        assert not instance.get_materialized_partitions(HOURS_KEY)
        assert shown(instance, KEY, "hours") == {before: "SUCCEEDED", day: "SUCCEEDED"}
        (event,) = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=KEY, asset_partitions=[day]), limit=1
        ).records
        page = event.asset_materialization.metadata if event.asset_materialization else {}
        assert (page["verdict"].value, page["hours"].value) == ("passed", "24 committed")
        assert page["dagster/partition_row_count"].value == 1440
        assert str(page["by_hour"].value).count("| committed | 60/60 | passed |") == 24
        assert materialized_partitions(instance, UM_MINUTE.layout, SYMBOL) >= set(hours(0, 24))
    assert [row.start for row in bench.lake.ledger.partitions(SYMBOL, DAY, DAY + timedelta(days=1))] == hours(0, 24)


def test_hours_with_a_failed_check_have_rows_of_their_own(bench: Bench) -> None:
    start, day = DAY + 11 * HOUR + timedelta(minutes=7), f"{DAY:%Y-%m-%d}"
    bench.fault("missing_minutes", "/(klines|fapi/v1/klines)", start=start, end=start + timedelta(minutes=3))
    with dg.DagsterInstance.ephemeral() as instance:
        run = build(bench, instance, day, day, fails=True)
        assert shown(instance, KEY, "hours") == {day: "FAILED"}
        bad = hour_key(DAY + 11 * HOUR)
        history = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(HOURS_KEY, "continuity"), limit=100
        )
        assert {(record.partition, record.status.value) for record in history} == {(bad, "FAILED")}
        assert not instance.get_materialized_partitions(HOURS_KEY), "an hour that was refused is not there"
        failure = [row.message for row in instance.all_logs(run) if "not committed" in str(row.dagster_event)]
        assert failure


def test_days_are_offered_where_the_settings_ask_for_them(bench: Bench) -> None:
    def offered(cold: bool) -> set[str]:
        settings = bench.settings.model_copy(update={"cold_days": cold})
        return {key.to_user_string() for each in build_table_assets(SYMBOL, settings, UM) for key in each.keys}

    assert offered(True) - offered(False) == {f"um/{SYMBOL}/minute_days"}


def test_a_day_key_is_its_24_hours() -> None:
    from lake_assets.dagster_names import cold_day_hours

    found = cold_day_hours("2026-11-18")
    assert found == [datetime.fromisoformat(f"2026-11-18T{hour:02}:00+00:00") for hour in range(24)]
