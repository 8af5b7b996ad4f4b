"""A second table as an asset, by a declaration and a builder: another market, another grain, days instead of hours."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from lake_assets.assets.table_asset import TableAsset, build_table_asset
from lake_assets.assets.vision import build_vision_asset
from lake_assets.dagster_names import partition_key, partition_start, table_job
from lake_assets.inputs.results import ArchiveResult, DayResult, HourResult
from lake_assets.lake import Lake, open_lake
from lake_assets.metadata import table_key, vision_key
from lake_assets.schema.check_spec import CheckSpec
from lake_assets.schema.stream_use import StreamUse
from lake_assets.schema.table import Table
from lake_assets.tables.offered import offered_streams
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.outcome import CheckOutcome
from lake_resources.binance.spot_streams import SPOT_STREAMS
from lake_resources.layout import TableLayout
from lake_resources.settings import LakeSettings
from lake_tests.support.opener import Opener

SYMBOL = "BTCUSDT"
STREAM = next(stream for stream in SPOT_STREAMS.values() if stream.archive is not None)
LAYOUT = TableLayout(
    name="spot_toy", title="toy", market="spot", market_directory="spot", directory="toy_1s",
    grain=timedelta(seconds=1), span="day", row_stream=STREAM.name, tiers=("month",),
)  # fmt: skip
CHECKS = {"whole": CheckSpec("whole", "error", gate=True, text="All {row}s of the {span} are there")}
TOY = Table(
    layout=LAYOUT, columns=UM_MINUTE.columns[:3], streams=(StreamUse(stream=STREAM, silence="nothing"),),
    primary_key=("symbol", "timestamp"), sort_order=("timestamp",),
    builder="nobody:NONE", checks=CHECKS,
)  # fmt: skip
KEY = table_key(LAYOUT, SYMBOL)
NOW = datetime(2026, 11, 20, 6, tzinfo=UTC)
DAYS = [datetime(2026, 11, day, tzinfo=UTC) for day in (18, 19, 20)]


@dataclass
class Scripted:
    """A builder of days, and what it was asked for; the last one asked for is refused."""

    asked: list[datetime]

    def __call__(
        self, lake: Lake, symbol: str, hours: Sequence[datetime], *, now: datetime, report: Any, **_given: bool
    ) -> Iterator[DayResult]:
        assert lake.store.layout == LAYOUT, "a builder has the store of its own table"
        for day in hours:
            self.asked.append(day)
            refused = day == hours[-1]
            result = HourResult(
                day, "quarantined" if refused else "committed", reason="a gap" if refused else "", path=Path("x"),
                row_count=86_400, expected_rows=86_400,
                outcomes=(CheckOutcome("whole", not refused, "error", {"rows": 1}),),
            )  # fmt: skip
            archive = ArchiveResult(STREAM.name, symbol, f"{day:%Y-%m-%d}", "ingested", path=Path("y"))
            yield DayResult((result,), (archive,))


def settings(tmp_path: Path) -> LakeSettings:
    return LakeSettings(root=tmp_path, start=date(2026, 11, 1), symbols=(SYMBOL,))


def opener(tmp_path: Path) -> Opener:
    """The lake of the settings, whose own table is the minute table."""
    return Opener(lambda: open_lake(settings(tmp_path), clock=lambda: NOW))


def test_days_of_another_market_are_built_recorded_and_judged_one_by_one(tmp_path: Path) -> None:
    build = Scripted([])
    asset = build_table_asset(TableAsset(TOY, "Toy of {symbol}.", build=build), SYMBOL, settings(tmp_path))
    keys = [partition_key(LAYOUT, day) for day in DAYS]
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [asset], instance=instance, tags=tags, resources={"lake": opener(tmp_path)}, raise_on_error=False
        )
        assert not result.success, "a refused day fails the run after the others were committed"
        assert build.asked == DAYS
        assert instance.get_materialized_partitions(KEY) == {"2026-11-18", "2026-11-19"}
        archives = instance.get_materialized_partitions(vision_key(SYMBOL, STREAM.name, "spot"))
        assert archives == {"2026-11-18", "2026-11-19", "2026-11-20"}
        history = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(KEY, "whole"), limit=9)
        assert sorted((row.partition, row.status.value) for row in history) == [
            ("2026-11-18", "SUCCEEDED"), ("2026-11-19", "SUCCEEDED"), ("2026-11-20", "FAILED"),
        ]  # fmt: skip
    failed = next(event for event in result.all_events if event.is_step_failure)
    assert "spot/BTCUSDT/toy_1s: 1 of 3 days were not committed" in str(failed.event_specific_data)


def test_its_names_are_its_markets_and_meet_none_of_another(tmp_path: Path) -> None:
    given = settings(tmp_path)
    asset = build_table_asset(TableAsset(TOY, "{symbol}", build=Scripted([])), SYMBOL, given)
    (spec,) = asset.specs
    assert KEY.to_user_string() == "spot/BTCUSDT/toy_1s"
    assert (asset.op.name, table_job(LAYOUT), spec.group_name) == ("spot_toy_1s_btcusdt", "spot_toy_1s_days", "toy_1s")
    assert spec.tags["market"] == "spot"
    assert isinstance(spec.partitions_def, dg.TimeWindowPartitionsDefinition)
    keys = spec.partitions_def.get_partition_keys(current_time=NOW)
    assert (keys[0], keys[-1]) == ("2026-11-01", "2026-11-20"), "the open day is a partition"
    assert partition_start(LAYOUT, keys[-1]) == DAYS[-1]
    archives = [build_vision_asset(SYMBOL, stream, given) for stream in offered_streams(given, "spot")]
    assert archives
    assert {dep.asset_key for dep in spec.deps} <= {key for archive in archives for key in archive.keys}
    twins = [build_vision_asset(SYMBOL, stream, given) for stream in offered_streams(given)]
    dg.Definitions([asset, *archives, *twins], resources={"lake": opener(tmp_path)}).get_repository_def()


def test_the_minute_table_keeps_its_names() -> None:
    layout = replace(UM_MINUTE.layout)
    hour = datetime(2026, 11, 18, 5, tzinfo=UTC)
    assert table_key(layout, SYMBOL).to_user_string() == "um/BTCUSDT/minute"
    assert (table_job(layout), partition_key(layout, hour)) == ("minute_hours", "2026-11-18-05:00")
    assert vision_key(SYMBOL, "klines_1m").to_user_string() == "vision/BTCUSDT/klines_1m"
