"""The 1H feed as a Dagster asset: real hours replayed hour by hour, refusals, retries, the schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster_duckdb import DuckDBResource

from lake_assets.assets.feed_1h import FEED_KEY, RULEPACK_CHECK, build_feed_asset
from lake_assets.dagster_names import FEED_JOB, hour_key
from lake_assets.feed_1h.bars import BAR_COLUMNS, hours_through, target_hour
from lake_assets.feed_1h.feed import Feed, feed_options
from lake_assets.feed_1h.outcomes import FEED_CHECKS
from lake_assets.feed_1h.run import run_feed
from lake_assets.jobs.feed_hours import build_feed_job, request_feed_hours, request_hours
from lake_assets.schedules import build_schedules
from lake_resources.clock import HOUR
from lake_resources.rest_access import rest_access
from lake_resources.settings import LakeSettings
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.market.replay import load
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.bars_duckdb import BarsTable
from lake_tests.bench.feed_1h import at, csv_hours, feed_bench, long_bars
from lake_tests.support.opener import Opener

pytestmark = pytest.mark.slow

FILE = "hourly/BTCUSDT_perp_1h_2024-01_to_2024-08.csv"
SEEDED = 31 * 24
RANGE, APPENDED = 48, 8
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
STATUS = AssetCheckExecutionRecordStatus
CLEAN = dict.fromkeys(FEED_CHECKS, STATUS.SUCCEEDED)
EARLIER = {name: status for name, status in CLEAN.items() if name != "inference_file"}
"""Of an hour that is not the newest of its run, which alone has an inference file."""


@dataclass
class Ui:
    """What a person does and sees in Dagster."""

    feed: Feed
    settings: LakeSettings
    instance: dg.DagsterInstance

    def run(self, first: datetime, last: datetime | None = None, *, fails: bool = False) -> dg.ExecuteInProcessResult:
        """Materialize one hour, or a range in one run."""
        start, end = _key(first), _key(last or first)
        tags = {"dagster/asset_partition_range_start": start, "dagster/asset_partition_range_end": end}
        result = dg.materialize(
            [build_feed_asset(self.settings)],
            instance=self.instance,
            resources={"feed": Opener(lambda: self.feed)},
            raise_on_error=False,
            **({"tags": tags} if last else {"partition_key": start}),  # type: ignore[arg-type]
        )
        assert result.success is not fails
        return result

    def materialized(self) -> set[str]:
        """Partitions that are there."""
        return set(self.instance.get_materialized_partitions(FEED_KEY))

    def checks(self, hour: datetime) -> dict[str, AssetCheckExecutionRecordStatus]:
        """Status of each check of an hour, as the UI shows it."""
        keys = [dg.AssetCheckKey(FEED_KEY, name) for name in FEED_CHECKS]
        found = self.instance.event_log_storage.get_asset_check_partition_info(keys)
        return {
            info.check_key.name: info.latest_execution_status
            for info in found
            if info.partition_key == _key(hour) and info.is_current
        }

    def all_statuses(self) -> set[AssetCheckExecutionRecordStatus]:
        """Every status that any row of any check has."""
        keys = [dg.AssetCheckKey(FEED_KEY, name) for name in FEED_CHECKS]
        found = self.instance.event_log_storage.get_asset_check_partition_info(keys)
        return {info.latest_execution_status for info in found}

    def metadata(self, hour: datetime) -> dict[str, object]:
        """Metadata of the newest materialization of an hour."""
        filter_ = dg.AssetRecordsFilter(asset_key=FEED_KEY, asset_partitions=[_key(hour)])
        (record,) = self.instance.fetch_materializations(filter_, limit=1).records
        assert record.asset_materialization is not None
        return {name: value.value for name, value in record.asset_materialization.metadata.items()}


def _key(hour: datetime) -> str:
    return hour_key(hour.replace(tzinfo=UTC))


@contextmanager
def scripted_ui(root: Path, count: int = 800) -> Iterator[tuple[Ui, object]]:
    """Dagster over a scripted exchange with `count` hours until 13:00; n-recent is 3."""
    with feed_bench(root, long_bars(at(13), count)) as bench, dg.DagsterInstance.ephemeral() as instance:
        settings = LakeSettings(root=root, start="2023-12-01", feed_retry_delay_s=0.01)  # type: ignore[arg-type]
        yield Ui(bench.feed, settings, instance), bench


def failure_text(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    return str(event.step_failure_data.error_display_string)


def test_real_hours_are_seeded_and_then_appended_hour_by_hour(recorded: Callable[[str], Path], tmp_path: Path) -> None:
    path = recorded(FILE)
    real = pl.read_csv(path).select(
        pl.col("Date").str.to_datetime("%d-%m-%Y %H:%M", time_unit="us").alias("timestamp"),
        *(pl.col(name.title()).cast(pl.Float64).alias(name) for name in BAR_COLUMNS[1:]),
    )
    now = [FIRST + SEEDED * HOUR + timedelta(minutes=2)]
    with (
        SimulatorServer(symbols=(), clock=lambda: now[0], replays={"BTCUSDT": load([path], "BTCUSDT")}) as sim,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        settings = LakeSettings(
            root=tmp_path / "lake", rest_url=sim.base_url, start="2024-01-01", feed_retry_delay_s=0.01
        )  # type: ignore[arg-type]
        duck = DuckDBResource(database=str(settings.resolved_feed_duckdb))
        table = BarsTable(settings.resolved_feed_duckdb, duck.get_connection)
        rest = rest_access(settings).open(clock=lambda: now[0])
        ui = Ui(Feed(table, rest, lambda: now[0], feed_options(settings)), settings, instance)

        # What the command seeded before Dagster began, and a range of hours in one run after it.
        first_told, last_seeded = FIRST + (SEEDED - RANGE) * HOUR, FIRST + (SEEDED - 1) * HOUR
        run_feed(ui.feed, hours_through(FIRST, first_told - HOUR))
        ui.run(first_told, last_seeded)
        assert len(ui.materialized()) == RANGE
        assert ui.checks(first_told) == EARLIER
        assert ui.checks(last_seeded) == CLEAN
        assert ui.all_statuses() == {STATUS.SUCCEEDED, STATUS.PLANNED}
        assert table.snapshot().rows.drop("created_at").equals(real[:SEEDED])

        for number in range(APPENDED):
            now[0] = FIRST + (SEEDED + number + 1) * HOUR + timedelta(minutes=2)
            hour = now[0].replace(minute=0) - HOUR
            ui.run(hour)
            assert ui.checks(hour) == CLEAN
            shown = ui.metadata(hour)
            assert "pulled=6 validated=5 appended=1" in str(shown["stats"])
            pulled, inference = (
                pl.read_csv(Path(str(shown[k])), try_parse_dates=True) for k in ("api_pull", "for_inference")
            )
            end = SEEDED + number + 1
            assert pulled.equals(real[end - 6 : end])
            assert inference.equals(real[end - 727 : end])
            assert (ui.feed.files.directory / "latest_for_inference.csv").read_bytes() == Path(
                str(shown["for_inference"])
            ).read_bytes()
        assert len(ui.materialized()) == RANGE + APPENDED
        with duckdb.connect(str(table.published_path), read_only=True) as reader:
            ((count, first, newest),) = reader.execute(
                "SELECT count(*), min(timestamp), max(timestamp) FROM ohlcv_btcusdt_1h"
            ).fetchall()
        times = real["timestamp"][: SEEDED + APPENDED]
        assert (count, first, newest) == (len(times), times[0], times[-1])

        # The exchange lags: nothing of the next hour, five attempts, then a red partition and the files.
        now[0] += HOUR
        late = now[0].replace(minute=0) - HOUR
        sim.faults.add(Fault("missing_minutes", "/fapi/v1/klines", start=late, end=late + HOUR))
        assert "does not have" in failure_text(ui.run(late, fails=True))
        assert ui.checks(late)["api_db_parity"] == STATUS.FAILED
        assert len(list(ui.feed.files.directory.glob("*api_pull.csv"))) == 2 + APPENDED + 5
        sim.faults.clear()
        ui.run(late)
        assert ui.checks(late) == CLEAN
        rest.close()


def test_a_range_stops_at_a_restated_bar_and_every_hour_says_why(tmp_path: Path) -> None:
    with scripted_ui(tmp_path) as (ui, bench):
        ui.run(at(0), at(10))
        bench.exchange.bars[at(10)][3] = "1.5"
        result = ui.run(at(11), at(13), fails=True)
        text = failure_text(result)
        assert "3 of 3 hours were not appended" in text
        assert f"2024-01-15 10:00 close: table {float(long_bars(at(13), 800)[at(10)][3])!r}, exchange 1.5" in text
        assert _key(at(11)) not in ui.materialized()
        for hour in (11, 12, 13):
            assert ui.checks(at(hour))["api_db_parity"] == STATUS.FAILED
            assert ui.checks(at(hour))["append_only"] == STATUS.SUCCEEDED
        for hour in (11, 12, 13):
            assert STATUS.PLANNED not in ui.checks(at(hour)).values()


def test_a_mismatch_is_not_tried_again(tmp_path: Path) -> None:
    with scripted_ui(tmp_path) as (ui, bench):
        ui.run(at(0), at(12))
        bench.exchange.bars[at(12)][3] = "1.5"
        result = ui.run(at(13), fails=True)
        assert not [event for event in result.all_events if event.event_type_value == "STEP_RESTARTED"]
        assert len(list(bench.feed.files.directory.glob("*differences.csv"))) == 1


def test_a_lagging_exchange_is_asked_again_with_growing_waits(tmp_path: Path) -> None:
    with scripted_ui(tmp_path) as (ui, bench):
        ui.run(at(0), at(12))
        bench.exchange.late[at(13)] = 2
        result = ui.run(at(13))
        restarts = [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
        assert len(restarts) == 2
        assert ui.checks(at(13))["api_db_parity"] == STATUS.SUCCEEDED
        policy = build_feed_asset(ui.settings).op.retry_policy
        assert policy is not None
        assert (policy.max_retries, policy.backoff) == (4, dg.Backoff.EXPONENTIAL)


def test_a_hole_is_refused_by_an_hour_and_filled_by_a_range(tmp_path: Path) -> None:
    with scripted_ui(tmp_path) as (ui, bench):
        ui.run(at(0), at(9))
        assert "lake feed-1h --catch-up" in failure_text(ui.run(at(13), fails=True))
        ui.run(at(10), at(13))
        assert bench.hours() == list(range(14))
        assert ui.checks(at(13))["api_db_parity"] == STATUS.SUCCEEDED
        assert csv_hours(Path(str(ui.metadata(at(13))["for_inference"]))) == list(range(14))


def test_the_asset_fails_its_freshness_an_hour_late_and_takes_ranges_in_one_run() -> None:
    asset = build_feed_asset(LakeSettings())
    (spec,) = asset.specs
    policy = spec.freshness_policy
    assert policy is not None
    assert policy.fail_window.to_timedelta() == timedelta(hours=2)  # type: ignore[attr-defined]
    assert asset.backfill_policy == dg.BackfillPolicy.single_run()
    assert {check.name for check in asset.check_specs} == {*FEED_CHECKS, RULEPACK_CHECK}


def test_the_schedule_asks_for_what_is_missing(tmp_path: Path) -> None:
    with feed_bench(tmp_path / "lake" / "feed", long_bars(at(13), 30)) as bench:
        settings = LakeSettings(root=tmp_path / "lake", start="2024-01-01")  # type: ignore[arg-type]
        moment = (at(14) + timedelta(minutes=2)).replace(tzinfo=UTC)
        assert "seed it once" in str(request_feed_hours(settings, moment))
        bench.run(12)
        request = request_feed_hours(settings, moment)
        assert isinstance(request, dg.RunRequest)
        assert request.partition_key == "2024-01-15-13:00"
        bench.run(13)
        assert isinstance(request_feed_hours(settings, moment), dg.SkipReason)
        later = request_feed_hours(settings, moment + timedelta(hours=3))
        assert isinstance(later, dg.RunRequest)
        assert later.tags["dagster/asset_partition_range_start"] == "2024-01-15-14:00"
        assert later.tags["dagster/asset_partition_range_end"] == "2024-01-15-16:00"
        begun_later = settings.model_copy(update={"start": date(2024, 1, 16)})
        assert "LAKE_START" in str(request_feed_hours(begun_later, moment + timedelta(days=2)))


def test_the_schedules_requests_run_as_asked(tmp_path: Path) -> None:
    with feed_bench(tmp_path / "lake" / "feed", long_bars(at(16), 30)) as bench:
        settings = LakeSettings(root=tmp_path / "lake", start="2023-12-01")  # type: ignore[arg-type]
        bench.run(12)
        bench.exchange.now += timedelta(hours=2)
        defs = dg.Definitions(
            assets=[build_feed_asset(settings)],
            jobs=[build_feed_job()],
            schedules=[one for one in build_schedules(settings) if one.job_name == FEED_JOB],
            resources={"feed": Opener(lambda: bench.feed)},
        )
        schedule = defs.get_repository_def().get_schedule_def("feed_1h_hourly")
        with dg.DagsterInstance.ephemeral() as instance:
            moment = (at(16) + timedelta(minutes=2)).replace(tzinfo=UTC)
            context = dg.build_schedule_context(
                instance, scheduled_execution_time=moment, repository_def=defs.get_repository_def()
            )
            (request,) = schedule.evaluate_tick(context).run_requests or []
            job = defs.resolve_job_def(FEED_JOB)
            assert job.execute_in_process(instance=instance, tags=request.tags).success
            wanted = [_key(at(hour)) for hour in (13, 14, 15)]
            assert sorted(instance.get_materialized_partitions(FEED_KEY)) == wanted
        assert bench.hours() == [12, 13, 14, 15]


def test_the_rulepack_judges_the_table_once_per_run(tmp_path: Path) -> None:
    with scripted_ui(tmp_path) as (ui, bench):

        def judged(result: dg.ExecuteInProcessResult) -> tuple[bool, dict[str, object]]:
            (found,) = [row for row in result.get_asset_check_evaluations() if row.check_name == RULEPACK_CHECK]
            assert found.partition is None
            return found.passed, {name: value.value for name, value in found.metadata.items()}

        passed, numbers = judged(ui.run(at(10), at(12)))
        assert (passed, numbers["verdict"], numbers["bars"]) == (True, "PASS", 3)
        assert numbers["R5"] == {
            "checked": 3, "violations": 0, "missing": 0, "duplicates": 0, "off_grid": 0, "excused": 0,
        }  # fmt: skip
        bench.sql("UPDATE ohlcv_btcusdt_1h SET low = high + 1 WHERE hour(timestamp) = 10")  # type: ignore[attr-defined]
        passed, numbers = judged(ui.run(at(13)))
        assert (passed, numbers["verdict"]) == (False, "FAIL")
        assert numbers["R1"] == {"checked": 4, "violations": 1}


def test_a_long_outage_is_caught_up_in_pieces() -> None:
    request = request_hours(at(0), at(400), 168)
    assert isinstance(request, dg.RunRequest)
    assert request.tags["dagster/asset_partition_range_end"] == _key(at(168))
    assert target_hour(datetime(2024, 1, 15, 14, 2, tzinfo=UTC)) == at(13)


def test_the_table_is_written_through_dagsters_duckdb_resource(tmp_path: Path) -> None:
    with feed_bench(tmp_path, long_bars(at(13), 30)) as bench:
        duck = DuckDBResource(database=str(tmp_path / "ohlcv.duckdb"))
        bench.feed = replace(bench.feed, table=BarsTable(tmp_path / "ohlcv.duckdb", duck.get_connection))
        bench.run(12)
        bench.run(13)
        assert bench.hours() == [12, 13]
        with pytest.raises(RuntimeError, match="scripted"), bench.feed.table.writer():
            raise RuntimeError("scripted")
        # The connection was closed: another process (here: a second instance) may open the file.
        with duckdb.connect(str(tmp_path / "ohlcv.duckdb"), config={"custom_user_agent": "other"}) as other:
            assert other.execute("SELECT count(*) FROM ohlcv_btcusdt_1h").fetchall() == [(2,)]
