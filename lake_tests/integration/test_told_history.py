"""A lost or wiped Dagster history is told what the ledger holds, without building anything."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from lake_assets.cli.main import app
from lake_assets.dagster_names import partition_key
from lake_assets.local_stack.places import dagster_home
from lake_assets.metadata import minute_key, vision_key
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.outcome import outcomes_from_json
from lake_resources.dagster_instance import open_instance
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, Bench, bench_on, exchange, hours

pytestmark = pytest.mark.slow

KEY = minute_key(SYMBOL)
CHECKS = dg.AssetCheckKey(KEY, "continuity")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A lake of four hours, one of them without a stream, whose Dagster has no history; the environment names it."""
    with exchange() as sim, bench_on(sim, tmp_path) as found:
        found.at(PUBLISHED).fault("missing", "premiumIndexKlines", times=None)
        found.fault("5xx", "/fapi/v1/premiumIndexKlines", times=None)
        found.build(hours(0, 1))
        sim.faults.clear()
        found.build(hours(1, 4))
        for name, value in {"ROOT": str(found.settings.root), "SYMBOLS": SYMBOL, "START": "2026-11-01"}.items():
            monkeypatch.setenv(f"LAKE_{name}", value)
        monkeypatch.setenv("DAGSTER_HOME", str(dagster_home(found.settings)))
        yield found


def tell() -> dict[str, tuple[int, int, int]]:
    result = CliRunner().invoke(app, ["report-to-dagster", "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    told = json.loads(result.stdout)
    return {each["asset"]: (each["shown"], each["partitions"], each["checks"]) for each in told}


def statuses(instance: dg.DagsterInstance, check: str) -> dict[str | None, str]:
    """Status by partition of the check rows that count as current."""
    key = dg.AssetCheckKey(KEY, check)
    records = instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
    newest = {
        record.partition_key: record.storage_id
        for record in reversed(instance.fetch_materializations(dg.AssetRecordsFilter(asset_key=KEY), limit=100).records)
    }
    found: dict[str | None, str] = {}
    for record in reversed(records):
        assert record.evaluation is not None
        target = record.evaluation.target_materialization_data
        assert target is not None
        if target.storage_id == newest[record.partition]:
            found[record.partition] = record.status.value
    return found


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from lake_assets.cli.main import main
main()
"""


def test_a_history_without_room_is_told_as_a_full_disk_and_told_whole_later(bench: Bench) -> None:
    """SQLite says `disk I/O error` of a file that may not grow, and names no cause."""
    root, before = dagster_home(bench.settings), bench.committed()
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "16384", "report-to-dagster", "--json"],
        capture_output=True, text=True, check=False, timeout=300, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
    assert "ulimit -f" in done.stderr
    assert "Traceback" not in done.stderr
    assert "fault of minute-lake" not in done.stderr
    assert bench.committed() == before
    assert root.is_dir()
    assert tell()["/".join(KEY.path)][:2] == (0, 4)


def test_a_lost_history_shows_hours_archives_and_checks_again(bench: Bench) -> None:
    before = bench.committed()
    told = tell()
    rows = bench.lake.ledger.partitions(SYMBOL, DAY, PUBLISHED)
    said = [outcome for row in rows for outcome in outcomes_from_json(row.checks, UM_MINUTE.checks)]
    assert told["/".join(KEY.path)] == (0, 4, len(said))
    assert told["/".join(vision_key(SYMBOL, "klines_1m").path)] == (0, 1, 0)
    partitions = {partition_key(UM_MINUTE.layout, row.start): row for row in rows}
    with open_instance() as instance:
        assert instance.get_materialized_partitions(KEY) == set(partitions)
        found = instance.fetch_materializations(dg.AssetRecordsFilter(asset_key=KEY), limit=10).records
        for record in found:
            assert record.asset_materialization is not None
            metadata = record.asset_materialization.metadata
            row = partitions[str(record.partition_key)]
            assert metadata["content_hash"].value == row.content_hash[:16]
            assert metadata["dagster/partition_row_count"].value == 60
            assert "told from the ledger" in str(metadata["reason"].value)
        assert statuses(instance, "continuity") == dict.fromkeys(partitions, "SUCCEEDED")
        coverage = statuses(instance, "source_coverage")
        assert coverage == {
            key: "SUCCEEDED"
            if next(o for o in outcomes_from_json(row.checks, UM_MINUTE.checks) if o.name == "source_coverage").passed
            else "FAILED"
            for key, row in partitions.items()
        }  # fmt: skip
        assert "FAILED" in coverage.values()
        (run,) = instance.get_runs()
        assert (run.job_name, run.status) == ("report_to_dagster", dg.DagsterRunStatus.SUCCESS)
    assert bench.committed() == before


def test_telling_twice_is_telling_once_and_a_wiped_asset_is_told_again(bench: Bench) -> None:
    first = tell()
    again = tell()
    assert again == {asset: (shown + partitions, 0, 0) for asset, (shown, partitions, _) in first.items()}
    with open_instance() as instance:
        assert len(instance.get_runs()) == 1
        instance.wipe_assets([KEY])
        assert not instance.get_materialized_partitions(KEY)
    bench.build(hours(4, 5))
    third = tell()
    asset = "/".join(KEY.path)
    assert third[asset][:2] == (0, 5)
    with open_instance() as instance:
        assert len(instance.get_materialized_partitions(KEY)) == 5
        assert set(statuses(instance, "continuity").values()) == {"SUCCEEDED"}
        assert len(statuses(instance, "continuity")) == 5


def test_a_deleted_home_is_made_anew(bench: Bench) -> None:
    first = tell()
    shutil.rmtree(bench.settings.lake_root / "dagster_home")
    assert tell() == first
