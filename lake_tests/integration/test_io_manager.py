"""An asset that somebody builds on the lake: hours in by the ledger, one Parquet file out."""

from datetime import timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from dagster import DagsterInstance

from lake_assets.io_managers import LakeParquetIOManager
from lake_assets.metadata import minute_key
from lake_assets.partitions import table_partitions
from lake_assets.tables.um_minute import UM_MINUTE
from lake_tests.support.simulated_lake import DAY, SYMBOL, Bench, hours
from lake_tests.support.sound_hours import FIRST, commit_sound, open_files

DAILY_2026 = dg.DailyPartitionsDefinition(start_date="2026-01-01")
DAILY = dg.DailyPartitionsDefinition(start_date="2026-11-01")


@dg.asset(partitions_def=DAILY, ins={"minute": dg.AssetIn(minute_key(SYMBOL))})
def daily_volume(minute: pl.LazyFrame) -> pl.DataFrame:
    return minute.select(pl.len().alias("minutes"), pl.col("volume_btc").sum()).collect()


@dg.asset(partitions_def=DAILY)
def doubled(daily_volume: pl.DataFrame) -> pl.LazyFrame:
    return daily_volume.lazy().with_columns(pl.col("minutes") * 2)


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning")
def test_hours_in_one_file_out(bench: Bench, tmp_path: Path) -> None:
    results = bench.build(hours(0, 5))
    assert [result.status for result in results] == ["committed"] * 5
    manager = LakeParquetIOManager(
        root=str(bench.settings.lake_root),
        ledger_url=bench.settings.resolved_ledger_url,
        base_dir=str(tmp_path / "derived"),
    )
    upstream = dg.AssetSpec(minute_key(SYMBOL), partitions_def=table_partitions(UM_MINUTE.layout, bench.settings))
    with DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            [upstream, daily_volume, doubled],
            partition_key=f"{DAY:%Y-%m-%d}",
            instance=instance,
            resources={"io_manager": manager},
        )
    assert done.success
    written = pl.read_parquet(tmp_path / "derived" / "daily_volume" / f"{DAY:%Y-%m-%d}.parquet")
    expected = pl.concat([bench.rows(DAY + index * timedelta(hours=1)) for index in range(5)])
    assert written.to_dicts() == [{"minutes": 300, "volume_btc": pytest.approx(expected["volume_btc"].sum())}]
    again = pl.read_parquet(tmp_path / "derived" / "doubled" / f"{DAY:%Y-%m-%d}.parquet")
    assert again["minutes"].to_list() == [600]
    assert list(bench.lake.catalog.temp_dir.glob("*.parquet")) == []


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning")
def test_a_symbol_that_dagster_cannot_write_finds_its_hours(tmp_path: Path) -> None:
    symbol = "币安人生USDT"
    store = open_files(tmp_path / "lake")
    commit_sound(store, FIRST, 2, symbol)
    manager = LakeParquetIOManager(
        root=str(store.root), ledger_url=store.engine.url, base_dir=str(tmp_path / "derived")
    )

    @dg.asset(ins={"minute": dg.AssetIn(minute_key(symbol))}, partitions_def=DAILY_2026)
    def counted(minute: pl.LazyFrame) -> pl.DataFrame:
        return minute.select(pl.len().alias("minutes")).collect()

    upstream = dg.AssetSpec(
        minute_key(symbol), partitions_def=dg.HourlyPartitionsDefinition(start_date="2026-01-15-00:00")
    )
    with DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            [upstream, counted],
            partition_key=f"{FIRST:%Y-%m-%d}",
            instance=instance,
            resources={"io_manager": manager},
        )
    assert done.success
    (written,) = (tmp_path / "derived" / "counted").iterdir()
    assert pl.read_parquet(written)["minutes"].to_list() == [120]
    store.close()
