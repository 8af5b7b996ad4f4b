"""Hours and archives as Dagster partitions: materializations, check rows and failures of single and range runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from lake_assets.assets.minute import MINUTE_ASSET
from lake_assets.assets.table_asset import build_table_asset
from lake_assets.assets.vision import build_vision_asset
from lake_assets.dagster_names import hour_key
from lake_assets.metadata import minute_key, vision_key
from lake_assets.validation.outcome import CHECKS
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.clock import HOUR
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.opener import Opener
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, Bench, bench_on, hours

pytestmark = pytest.mark.slow

KEY = minute_key(SYMBOL)
SUCCEEDED, FAILED, PLANNED = (
    AssetCheckExecutionRecordStatus.SUCCEEDED,
    AssetCheckExecutionRecordStatus.FAILED,
    AssetCheckExecutionRecordStatus.PLANNED,
)
TOLD = tuple(name for name in CHECKS if name != "archive_parity")
"""Checks that have something to compare where an hour has one source."""
Rows = set[tuple[str | None, AssetCheckExecutionRecordStatus]]


@dataclass(frozen=True)
class Ui:
    """What a person does and sees in Dagster."""

    bench: Bench
    instance: dg.DagsterInstance

    def run(
        self, asset: dg.AssetsDefinition, first: str, last: str | None = None, *, fails: bool = False
    ) -> dg.ExecuteInProcessResult:
        """Materialize one partition or a range of them in one run."""
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first}
        result = dg.materialize(
            [asset],
            instance=self.instance,
            resources={"lake": Opener(lambda: self.bench.lake)},
            raise_on_error=False,
            **({"tags": tags} if last else {"partition_key": first}),  # type: ignore[arg-type]
        )
        assert result.success is not fails
        return result

    def hours(
        self, wanted: Sequence[datetime], *, single: bool = False, fails: bool = False
    ) -> dg.ExecuteInProcessResult:
        """Materialize hours of the minute table."""
        asset = build_table_asset(MINUTE_ASSET, SYMBOL, self.bench.settings)
        return self.run(asset, hour_key(wanted[0]), None if single else hour_key(wanted[-1]), fails=fails)

    def archives(self, stream: str, first: str, last: str, *, fails: bool = False) -> dg.ExecuteInProcessResult:
        """Materialize days of an archive stream."""
        asset = build_vision_asset(SYMBOL, UM_STREAMS[stream], self.bench.settings)
        return self.run(asset, first, last, fails=fails)

    def materialized(self, key: dg.AssetKey = KEY) -> set[str]:
        """Partitions that are there."""
        return set(self.instance.get_materialized_partitions(key))

    def check_rows(self, name: str) -> Rows:
        """All rows that were ever recorded of a check."""
        records = self.instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(KEY, name), limit=1000
        )
        return {(record.partition, record.status) for record in records}

    def texts(self, name: str) -> set[tuple[str, object]]:
        """Severity and verdict of all rows of a check that were evaluated."""
        records = self.instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(KEY, name), limit=1000
        )
        return {
            (record.evaluation.severity.value, record.evaluation.metadata["verdict"].value)
            for record in records
            if record.status != PLANNED and record.evaluation is not None
        }

    def shown(self, name: str) -> dict[str | None, AssetCheckExecutionRecordStatus]:
        """The status of each partition as the UI shows it: only of checks that judged the newest materialization."""
        found = self.instance.event_log_storage.get_asset_check_partition_info([dg.AssetCheckKey(KEY, name)])
        return {info.partition_key: info.latest_execution_status for info in found if info.is_current}


@pytest.fixture
def ui(sim: SimulatorServer, tmp_path: Path) -> Iterator[Ui]:
    """A lake and a Dagster instance in memory."""
    with (
        bench_on(sim, tmp_path, start="2026-11-01") as bench,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        yield Ui(bench, instance)


def failure_text(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    return str(event.step_failure_data.error_display_string)


def keys(wanted: Sequence[datetime]) -> set[str | None]:
    return {hour_key(hour) for hour in wanted}


def test_one_hour_is_one_materialization_and_one_row_per_check(ui: Ui) -> None:
    result = ui.hours(hours(12, 13), single=True)
    assert ui.materialized() == keys(hours(12, 13))
    for name in TOLD:
        assert ui.check_rows(name) == {(hour_key(DAY + 12 * HOUR), SUCCEEDED)}
        assert ui.shown(name) == {hour_key(DAY + 12 * HOUR): SUCCEEDED}
    # Nothing was compared with an archive: no row, which Dagster shows as skipped where the run succeeded.
    assert ui.check_rows("archive_parity") == {(hour_key(DAY + 12 * HOUR), PLANNED)}
    (materialization,) = result.get_asset_materialization_events()
    shown = materialization.materialization.metadata
    assert shown["dagster/partition_row_count"].value == 60
    assert shown["completeness_pct"].value == 100.0
    assert Path(str(shown["dagster/uri"].value)).is_file()
    provenance = str(shown["provenance"].value)
    assert re.search(r"\| klines_1m \| rest \| `[0-9a-f]{24}` \|", provenance)
    assert "data:image/png;base64," in str(shown["close_and_volume"].value)


def test_a_range_is_one_row_per_hour_and_check(ui: Ui) -> None:
    ui.bench.at(PUBLISHED)
    result = ui.hours(hours(0, 24))
    assert ui.materialized() == keys(hours(0, 24))
    for name in TOLD:
        assert ui.check_rows(name) == {(key, SUCCEEDED) for key in keys(hours(0, 24))}, name
        assert ui.shown(name) == dict.fromkeys(keys(hours(0, 24)), SUCCEEDED), name
    hourly = [event for event in result.get_asset_materialization_events() if event.asset_key == KEY]
    assert len(hourly) == 24
    # The archives that the hours fetched for themselves are partitions too.
    assert "2026-11-18" in ui.materialized(vision_key(SYMBOL, "klines_1m"))
    assert {"2026-11-17", "2026-11-18"} <= ui.materialized(vision_key(SYMBOL, "metrics"))
    # Again: the same, and still no row without its hour.
    ui.hours(hours(0, 24))
    assert ui.check_rows("ohlc") == {(key, SUCCEEDED) for key in keys(hours(0, 24))}


def test_a_bad_hour_in_the_middle_fails_the_run_by_name_and_costs_no_neighbour(ui: Ui) -> None:
    start = DAY + 11 * HOUR + timedelta(minutes=7)
    ui.bench.fault("missing_minutes", "/(klines|fapi/v1/klines)", start=start, end=start + timedelta(minutes=3))
    text = failure_text(ui.hours(hours(10, 14), fails=True))
    for part in (
        "um/BTCUSDT/minute: 1 of 4 hours were not committed; the others were",
        "2026-11-18-11:00: quarantined",
        "continuity",
        "missing=3",
        "first_missing=2026-11-18 11:07",
    ):
        assert part in text
    bad = hour_key(DAY + 11 * HOUR)
    good = keys(hours(10, 14)) - {bad}
    assert ui.materialized() == good
    for name in TOLD:
        verdict = FAILED if name == "continuity" else SUCCEEDED
        wanted = {(key, SUCCEEDED) for key in good} | {(bad, verdict)}
        assert ui.check_rows(name) == wanted, name
        assert ui.shown(name) == dict(wanted), name
    # In a run that fails, a check without a row would look as if it had crashed.
    unsaid = ui.check_rows("archive_parity")
    assert unsaid == {(key, FAILED) for key in good} | {(bad, PLANNED)}
    assert ui.texts("archive_parity") == {("WARN", "nothing to compare")}
    # Repaired, the hour is as any other; what lacked rows is asked for again after a pause.
    ui.bench.sim.faults.clear()
    ui.bench.at(ui.bench.now + timedelta(minutes=5))
    ui.hours([DAY + 11 * HOUR], single=True)
    assert ui.materialized() == keys(hours(10, 14))
    assert ui.shown("continuity") == dict.fromkeys(keys(hours(10, 14)), SUCCEEDED)


def test_an_hour_that_is_refused_after_it_was_committed_is_shown_as_failed(ui: Ui) -> None:
    ui.bench.at(PUBLISHED)
    ui.hours(hours(10, 12))
    committed = ui.bench.committed()
    start = DAY + 10 * HOUR + timedelta(minutes=7)
    ui.bench.fault("missing_minutes", "/(klines|fapi/v1/klines)", start=start, end=start + timedelta(minutes=3))
    ui.archives("klines_1m", "2026-11-18", "2026-11-18")
    ui.hours(hours(10, 12), fails=True)
    assert ui.shown("continuity") == {
        hour_key(DAY + 10 * HOUR): FAILED,
        hour_key(DAY + 11 * HOUR): SUCCEEDED,
    }
    assert ui.materialized() == keys(hours(10, 12))
    assert ui.bench.committed()[DAY + 10 * HOUR] == committed[DAY + 10 * HOUR], "the committed one stays"


def test_a_run_that_dies_half_way_keeps_what_it_did(ui: Ui) -> None:
    ui.bench.build(hours(22, 24, DAY - 24 * HOUR))
    ui.bench.at(PUBLISHED)
    # The second day's raw file is damaged on the disk: an error of the lake, which ends the run.
    ui.archives("agg_trades", "2026-11-18", "2026-11-18")
    archive = ui.bench.lake.ledger.archive(SYMBOL, "agg_trades", "2026-11-18")
    assert archive is not None
    ui.bench.lake.catalog.absolute(archive.path).write_bytes(b"PAR1 and nothing more")
    wanted = [DAY - 2 * HOUR, DAY - HOUR, DAY, DAY + HOUR]
    text = failure_text(ui.hours(wanted, fails=True))
    assert "agg_trades" in text
    assert "does not read back" in text
    assert "remove the file" in text
    assert ui.materialized() == keys(wanted[:2])
    assert {row for row in ui.check_rows("ohlc") if row[1] == SUCCEEDED} == {
        (key, SUCCEEDED) for key in keys(wanted[:2])
    }
    assert None not in {key for key, _ in ui.check_rows("ohlc")}
    assert set(ui.bench.committed(DAY - 24 * HOUR)) == set(wanted[:2])


def test_the_open_hour_and_the_next_are_no_failure(ui: Ui) -> None:
    ui.hours(hours(14, 16))
    assert ui.materialized() == keys(hours(14, 16))
    rows = ui.instance.fetch_materializations(KEY, limit=1).records
    assert rows[0].asset_materialization is not None
    assert rows[0].asset_materialization.metadata["dagster/partition_row_count"].value == 27
    assert rows[0].asset_materialization.metadata["completeness_pct"].value == 100.0
    ui.bench.at(DAY + 15 * HOUR + timedelta(minutes=2))
    ui.hours([DAY + 15 * HOUR], single=True)


def test_a_day_that_is_not_published_is_an_observation_and_stays_missing(ui: Ui) -> None:
    ui.bench.at(PUBLISHED).fault("missing", "daily/klines/.*2026-11-17")
    result = ui.archives("klines_1m", "2026-11-16", "2026-11-18")
    key = vision_key(SYMBOL, "klines_1m")
    assert ui.materialized(key) == {"2026-11-16", "2026-11-18"}
    (event,) = [event for event in result.all_events if event.event_type_value == "ASSET_OBSERVATION"]
    observation = event.asset_observation_data.asset_observation
    assert (observation.asset_key, observation.partition) == (key, "2026-11-17")
    assert observation.metadata["outcome"].value == "not_published"
    assert "BTCUSDT-1m-2026-11-17.zip" in str(observation.metadata["message"].value)
    ui.bench.sim.faults.clear()
    ui.archives("klines_1m", "2026-11-17", "2026-11-17")
    assert ui.materialized(key) == {"2026-11-16", "2026-11-17", "2026-11-18"}
    assert ui.bench.lake.ledger.missing_sources(SYMBOL, "klines_1m") == []


def test_a_broken_archive_fails_its_run_by_name_and_keeps_the_others(ui: Ui) -> None:
    ui.bench.at(PUBLISHED).fault("wrong_checksum", "daily/klines/.*2026-11-17")
    text = failure_text(ui.archives("klines_1m", "2026-11-16", "2026-11-18", fails=True))
    assert "vision/BTCUSDT/klines_1m: 1 of 3 files failed" in text
    assert re.search(r"2026-11-17: http.*BTCUSDT-1m-2026-11-17\.zip: .*CHECKSUM says", text)
    assert ui.materialized(vision_key(SYMBOL, "klines_1m")) == {"2026-11-16", "2026-11-18"}


def test_a_month_of_funding_is_a_partition(ui: Ui) -> None:
    ui.bench.at(datetime(2026, 12, 10, tzinfo=DAY.tzinfo))
    ui.archives("funding_rate", "2026-11-01", "2026-11-01")
    assert ui.materialized(vision_key(SYMBOL, "funding_rate")) == {"2026-11-01"}
