"""A run in testing mode: when builds are asked for, what the summary counts; the lake's own root is left alone."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from typer.testing import CliRunner

from lake_assets.at_rest import open_at_rest
from lake_assets.automation.timetable import TIMETABLE, cron_of
from lake_assets.cli.main import app
from lake_assets.dagster_names import MACRO_JOB
from lake_assets.lake import open_lake
from lake_assets.local_stack.compressed_run import BuildCycles, RunSummary, data_files, problems_told, summarize
from lake_assets.local_stack.graphql import DagsterApi
from lake_assets.local_stack.places import child_environment, dagster_home
from lake_assets.quality.final_validation import judge_symbol
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.watchdog.last_words import heartbeat_path, last_heartbeat
from lake_resources.clock import HOUR
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.hashing import file_hash
from lake_tests.support.simulated_lake import DAY, PUBLISHED, Bench, bench_on, exchange, hours

pytestmark = pytest.mark.slow

STARTED = datetime(2026, 11, 18, 15, 30, 30, tzinfo=UTC)


def compressed(root: Path, **given: Any) -> LakeSettings:
    chosen = {"symbols": ("BTCUSDT",), "spot_symbols": ("SOLUSDT",)} | given
    return LakeSettings(_env_file=None, root=root, exchange="simulator", testing={"enabled": True}, **chosen)


class Launches(HTTPServer):
    """Answers the call that launches a backfill, and keeps what was asked for."""

    refusing = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.asked: list[dict[str, Any]] = []


class _Answer(BaseHTTPRequestHandler):
    server: Launches

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body["variables"]["params"])
        found = {"__typename": "LaunchBackfillSuccess", "backfillId": f"b{len(self.server.asked)}"}
        if self.server.refusing:
            found = {"__typename": "PythonError", "message": "no"}
        answer = json.dumps({"data": {"launchPartitionBackfill": found}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Nothing to the terminal."""


@contextmanager
def webserver() -> Iterator[tuple[Launches, DagsterApi]]:
    server = Launches()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    api = DagsterApi(f"http://127.0.0.1:{server.server_port}")
    try:
        yield server, api
    finally:
        api.close()
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_build_is_forced_after_two_minutes_and_then_every_two(tmp_path: Path) -> None:
    lines: list[str] = []
    with webserver() as (server, api):
        cycles = BuildCycles(compressed(tmp_path), api, started=STARTED, say=lines.append)
        told = [
            cycles.tick(STARTED + timedelta(seconds=after)) for after in (0, 119, 120, 121, 239, 240, 241, 700, 701)
        ]
        server.refusing = True
        assert cycles.tick(STARTED + timedelta(seconds=900)) is None
    assert told == [None, None, "b1", None, None, "b2", None, "b3", None]
    assert cycles.launched == ["b1", "b2", "b3"]
    assert len(cycles.troubles) == 1
    assert "could not be asked for: Dagster refused the backfill" in cycles.troubles[0]
    first = server.asked[0]
    assert {"key": "lake/automation", "value": "cycle"} in first["tags"]
    keys = [each["assetKey"]["path"] for each in first["partitionsByAssets"]]
    assert keys == [["um", "BTCUSDT", "minute"], ["spot", "SOLUSDT", "bars_1s"]]
    ranges = [each["partitions"]["ranges"] for each in first["partitionsByAssets"]]
    assert ranges == [[{"start": "2026-11-18-14:00", "end": "2026-11-18-15:00"}]] * 2
    assert any("testing mode: build 1, backfill b1" in line for line in lines)


def test_schedules_are_compressed_and_daily_ones_left(tmp_path: Path) -> None:
    found = {each.name: cron_of(each, compressed(tmp_path)) for each in TIMETABLE}
    assert found["macro_every_15_minutes"] == "*/1 * * * *"
    assert {found[name] for name in ("feed_1h_hourly", "prune_hourly", "api_parity_hourly")} == {"*/2 * * * *"}
    assert found["audit_daily"] == "40 9 * * *"
    usual = LakeSettings(_env_file=None, root=tmp_path)
    assert [cron_of(each, usual) for each in TIMETABLE] == [each.cron for each in TIMETABLE]


@dg.job(name=MACRO_JOB)
def macro_job() -> None:
    """Stands for the job of that name in Dagster's storage."""


def test_the_summary_counts_what_happened(tmp_path: Path) -> None:
    root = tmp_path / "lake" / "test"
    started = datetime.now(UTC)
    old, new = root / "futures" / "old.parquet", root / "futures" / "new.parquet"
    for path in (old, new, root / "futures" / ".half.parquet", root / "logs" / "a.log", root / "ledger.sqlite"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    os.utime(new, (started.timestamp() + 5,) * 2)
    os.utime(old, (started.timestamp() - 5,) * 2)
    assert list(data_files(root)) == [new, old]
    with dg.DagsterInstance.ephemeral() as instance:
        for status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.STARTED):
            instance.create_run_for_job(macro_job, status=status)
        broken = instance.create_run_for_job(macro_job, status=dg.DagsterRunStatus.STARTED)
        instance.report_run_failed(broken)
        for name, status in (("b1", BulkActionStatus.COMPLETED_SUCCESS), ("b2", BulkActionStatus.REQUESTED)):
            instance.add_backfill(_backfill(name, status))
        found = summarize(
            root, instance, ["b1", "b2", "b3"],
            started=started - timedelta(seconds=1), ended=started + timedelta(seconds=299.5), warnings=["w"],
        )  # fmt: skip
        cut = summarize(root, instance, [], started=started - timedelta(seconds=1), ended=started)
    instance.dispose()
    failed = f"run {broken.run_id[:8]} of {MACRO_JOB} failed"
    assert found == RunSummary(300.5, 1, 2, 1, ("w", failed))
    assert cut.warnings == (), "a run that broke off after the end was asked for is no failure"


def _backfill(name: str, status: BulkActionStatus) -> PartitionBackfill:
    return PartitionBackfill(
        backfill_id=name, status=status, from_failure=False, tags={}, backfill_timestamp=0.0, partition_names=[]
    )


def test_the_block_is_the_documents() -> None:
    bar = "=" * 80
    block = [bar, "TEST COMPLETE", bar, "Duration: 300.5s", "Transform cycles run: 2", "Macro fetches: 2"]
    sound = RunSummary(300.5, 2, 2, 16, ()).text()
    assert sound.splitlines() == ["MODE: TEST", *block, "Files written: 16", "Warnings: None", bar]
    assert "Warnings: 1\n  - it rains\n" in RunSummary(1, 0, 0, 0, ("it rains",)).text()


def test_problems_of_a_platform_that_is_starting_are_none(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat.json"
    assert problems_told(path) == []
    for status, problems in (("STARTING", []), ("ERROR", ["a", "b"])):
        path.write_text(json.dumps({"status": status, "problems": ["a", "b"]}))
        assert problems_told(path) == problems


@pytest.fixture
def production(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A lake of two hours that the environment names, and its exchange."""
    with exchange() as sim, bench_on(sim, tmp_path, spot_symbols=(), macro_tickers=()) as bench:
        bench.at(PUBLISHED).build(hours(0, 2))
        for name in [name for name in os.environ if name.startswith("LAKE_")]:
            monkeypatch.delenv(name)
        monkeypatch.chdir(tmp_path)
        values = {"ROOT": bench.settings.lake_root, "SYMBOLS": "BTCUSDT", "SPOT_SYMBOLS": "", "MACRO_TICKERS": ""}
        for name, value in values.items():
            monkeypatch.setenv(f"LAKE_{name}", str(value))
        yield bench.settings.lake_root


@contextmanager
def open_bench(sim: SimulatorServer, settings: LakeSettings) -> Iterator[Bench]:
    """A lake at exactly the root of the settings, on the exchange."""
    urls = {"rest_url": sim.base_url, "vision_url": sim.base_url}
    lake = open_lake(settings.model_copy(update=urls), clock=sim.clock.now, sleep=lambda _: None)
    try:
        yield Bench(sim, lake, settings)
    finally:
        lake.close()


def held(root: Path) -> dict[str, tuple[str, int]]:
    """Every file of a lake but those of its testing root: hash, and when it was written."""
    return {
        str(path): (file_hash(path), path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_relative_to(root / "test")
    }


def test_nothing_of_the_lakes_own_root_is_written(
    production: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE_LEDGER_URL", f"sqlite:///{production}/ledger.sqlite")
    monkeypatch.setenv("LAKE_FEED_DUCKDB", str(production / "feed.duckdb"))
    settings = LakeSettings(testing={"enabled": True})  # type: ignore[arg-type]
    told = [value for name, value in child_environment(settings).items() if name.startswith(("LAKE_", "DAGSTER_"))]
    places = [value for value in told if str(production) in value]
    assert places
    assert [value for value in places if str(production / "test") not in value] == [], "what children are told"
    before = held(production)
    given = {"symbols": ("BTCUSDT",), "governor_path": None, "rest_attempts": 2}
    with exchange() as sim, open_bench(sim, settings.model_copy(update=given)) as bench:
        bench.at(PUBLISHED).build(hours(0, 1))
        last_heartbeat(settings, started=DAY, now=DAY + HOUR + timedelta(minutes=6))
        assert bench.lake.catalog.root == production / "test"
    assert dagster_home(settings).is_relative_to(production / "test")
    final = CliRunner().invoke(app, ["validate-final", "--testing"])
    assert final.stdout.startswith("MODE: TEST\nPASS um_minute BTCUSDT, 57 rows\n")
    assert json.loads(heartbeat_path(settings).read_text())["mode"] == "TEST"
    assert held(production) == before
    monkeypatch.delenv("LAKE_LEDGER_URL")
    copied = CliRunner().invoke(app, ["backup", str(tmp_path / "copy")])
    assert copied.exit_code == 0
    assert (tmp_path / "copy" / "ledger.sqlite").is_file()
    assert not (tmp_path / "copy" / "test").exists(), "a root inside is another lake"


def test_a_lake_can_begin_where_its_testing_root_lies_already(
    production: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    production.rename(fresh / "test")
    monkeypatch.setenv("LAKE_ROOT", str(fresh))
    begun = CliRunner().invoke(app, ["init-state"])
    assert begun.exit_code == 0, begun.exception
    assert (fresh / "ledger.sqlite").is_file()


def test_final_validation_fails_on_no_data_and_on_damage(production: Path) -> None:
    run = CliRunner().invoke
    empty = run(app, ["validate-final", "--testing"])
    assert (empty.exit_code, empty.stdout.splitlines()[-1]) == (1, "FINAL VALIDATION: FAIL")
    assert "um_minute BTCUSDT, 0 rows: no data" in empty.stdout
    told = json.loads(run(app, ["validate-final", "--json", "--testing"]).stdout)
    assert (told["verdict"], told["mode"], told["root"]) == ("FAIL", "TEST", str(production / "test"))
    last_heartbeat(LakeSettings(), started=DAY, now=DAY + 2 * HOUR + timedelta(minutes=6))
    whole = run(app, ["validate-final"])
    assert (whole.exit_code, whole.stdout.splitlines()[-1]) == (0, "FINAL VALIDATION: PASS")
    hour = next(path for path in production.rglob("*.parquet") if "hour=01" in str(path))
    hour.unlink()
    damaged = run(app, ["validate-final"])
    assert damaged.exit_code == 1
    assert "missing_file" in damaged.stdout


def test_rows_of_which_none_is_due_yet_are_not_right_because_they_are_new(production: Path) -> None:
    lake, moment = open_at_rest(LakeSettings(), UM_MINUTE), DAY + timedelta(minutes=5)
    assert judge_symbol(lake, "BTCUSDT", moment).state == "PASS"
    next(path for path in production.rglob("*.parquet") if "hour=00" in str(path)).unlink()
    found = judge_symbol(lake, "BTCUSDT", moment)
    assert found.state == "FAIL"
    assert "hour=00" in found.reasons[0]
    lake.close()
