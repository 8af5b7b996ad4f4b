"""The spot tables in Dagster: assets by the settings, partition backfills, and nothing of them where spot is off."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from lake_assets.assets.bars_1s import BARS_1S_ASSET
from lake_assets.assets.klines import KLINE_ASSETS
from lake_assets.assets.table_asset import build_table_asset
from lake_assets.assets.vision import build_vision_asset
from lake_assets.code_location import build_definitions
from lake_assets.inputs.archives import ingest_archives
from lake_assets.lake import open_lake
from lake_assets.metadata import table_key
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.binance.spot_streams import SPOT_STREAMS
from lake_resources.clock import DAY
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.opener import Opener
from lake_tests.support.spot_days import SYMBOL, keep_archive, klines, trades

FIRST = datetime(2025, 11, 29, tzinfo=UTC)
NOW = FIRST + 20 * DAY


def settings(root: Path, *symbols: str) -> LakeSettings:
    nobody = "http://127.0.0.1:9"
    return LakeSettings(
        _env_file=None, root=root / "lake", symbols=("BTCUSDT",), spot_symbols=symbols, exchange="simulator",
        rest_url=nobody, spot_rest_url=nobody, vision_url=nobody, start=date(2025, 11, 29),
    )  # fmt: skip


def keys(given: LakeSettings) -> set[str]:
    graph = build_definitions(given).get_repository_def().asset_graph
    return {key.to_user_string() for key in graph.get_all_asset_keys()}


def test_each_spot_symbol_has_its_tables_and_archives(tmp_path: Path) -> None:
    found = keys(settings(tmp_path, SYMBOL))
    spot = {key for key in found if "spot" in key}
    assert spot == {
        f"spot/{SYMBOL}/bars_1s", f"spot/{SYMBOL}/bars_1s_compacted", f"spot/{SYMBOL}/klines_1m",
        f"spot/{SYMBOL}/klines_1m_compacted",
        *(
            f"quality/spot/{SYMBOL}/{table}_{report}"
            for table in ("bars_1s", "klines_1m")
            for report in ("audit", "rules", "parity_at_rest", "report_card")
        ),
        *(f"vision/spot/{SYMBOL}/{name}" for name in ("klines_1s", "klines_1m", "agg_trades", "trades")),
    }  # fmt: skip
    assert "um/BTCUSDT/minute" in found


def test_without_spot_symbols_there_is_nothing_of_spot(tmp_path: Path) -> None:
    assert not [key for key in keys(settings(tmp_path)) if "spot" in key]


def opener_of(given: LakeSettings) -> Opener:
    """A lake of one day of archives, at a later day, that asks nobody."""
    return Opener(lambda: replace(open_lake(given, clock=lambda: NOW), ask_rest=False))


@pytest.fixture
def opener(tmp_path: Path) -> Opener:
    found = opener_of(settings(tmp_path, SYMBOL))
    traded = trades(FIRST, DAY)
    lake = found.open().of(SPOT_BARS_1S)
    for name, step in (("klines_1s", timedelta(seconds=1)), ("klines_1m", timedelta(minutes=1))):
        keep_archive(lake, SPOT_STREAMS[name], FIRST, klines(traded, FIRST, DAY, step))
    lake.close()
    return found


def test_a_backfill_of_hours_and_of_days_materializes_and_judges_each_partition(opener: Opener, tmp_path: Path) -> None:
    given = settings(tmp_path, SYMBOL)
    seconds = build_table_asset(BARS_1S_ASSET, SYMBOL, given)
    minutes = build_table_asset(KLINE_ASSETS["1m"], SYMBOL, given)
    hours = ("2025-11-29-00:00", "2025-11-29-03:00")
    tags = dict(zip(("dagster/asset_partition_range_start", "dagster/asset_partition_range_end"), hours, strict=True))
    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([seconds], instance=instance, tags=tags, resources={"lake": opener}).success
        assert dg.materialize(
            [minutes], instance=instance, partition_key="2025-11-29", resources={"lake": opener}
        ).success
        key = table_key(SPOT_BARS_1S.layout, SYMBOL)
        assert len(instance.get_materialized_partitions(key)) == 4
        day_key = table_key(SPOT_KLINES["1m"].layout, SYMBOL)
        assert instance.get_materialized_partitions(day_key) == {"2025-11-29"}
        history = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(key, "evidence"), limit=9
        )
        assert {row.partition for row in history} == {f"2025-11-29-0{n}:00" for n in range(4)}
        assert {row.status.value for row in history} == {"SUCCEEDED"}
        (event,) = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, asset_partitions=["2025-11-29-00:00"]), limit=1
        ).records
        shown = event.event_log_entry.asset_materialization
        assert shown is not None
        assert shown.metadata["dagster/partition_row_count"].value == 3600
        assert "klines_1s" in str(shown.metadata["provenance"].value)
        assert "data:image/png" in str(shown.metadata["close_and_volume"].value)


def test_an_archive_of_spot_is_kept_as_one_of_spot(tmp_path: Path) -> None:
    with SimulatorServer(symbols=(SYMBOL,), clock=lambda: NOW, limits=False) as sim:
        given = settings(tmp_path, SYMBOL).model_copy(update={"vision_url": sim.base_url})
        opener = opener_of(given)
        archive = build_vision_asset(SYMBOL, SPOT_STREAMS["klines_1m"], given)
        with dg.DagsterInstance.ephemeral() as instance:
            done = dg.materialize([archive], instance=instance, partition_key="2025-11-29", resources={"lake": opener})
            assert done.success
    lake = opener.open()
    spot, futures = (lake.of(table).ledger for table in (SPOT_BARS_1S, UM_MINUTE))
    held = spot.archive(SYMBOL, "klines_1m", "2025-11-29")
    assert held is not None
    assert held.row_count == 1440
    assert futures.archive(SYMBOL, "klines_1m", "2025-11-29") is None, "it is no archive of the futures of that name"
    with pytest.raises(ValueError, match="klines_1m of another market than um"):
        list(ingest_archives(lake, SYMBOL, [(SPOT_STREAMS["klines_1m"], "2025-11-29")]))
    lake.close()
