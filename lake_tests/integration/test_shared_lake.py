"""Two hosts build one lake over Postgres: every hour is there once, with the bytes that one machine alone makes."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from lake_assets.cli.main import app
from lake_assets.lake import open_lake
from lake_resources.clock import HOUR
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.bucket import Bucket
from lake_resources.storage.reader import scan
from lake_tests.support.postgres import PostgresServer, postgres_server
from lake_tests.support.s3_server import in_bucket, s3_server
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, Bench, bench_on, hours, statuses

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service() -> Iterator[dict[str, str]]:
    with s3_server() as variables:
        yield variables


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as found:
        yield found


def test_two_hosts_make_the_lake_of_one(
    sim: SimulatorServer, server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench_on(sim, tmp_path / "one") as one:
        one.at(PUBLISHED).build(hours(0, 6))
        alone = one.committed()
    url = server.fresh()
    with bench_on(sim, tmp_path / "both", ledger_url=url, egress_id="office") as first:
        second = Bench(
            first.sim,
            open_lake(first.settings, clock=first.sim.clock.now, sleep=lambda _: None),
            first.settings,
        )
        first.at(PUBLISHED)
        gate = threading.Barrier(2)

        def build(host: Bench, wanted: range) -> int:
            gate.wait()
            return len(host.build(hours(wanted.start, wanted.stop)))

        with ThreadPoolExecutor(2) as pool:
            built = [pool.submit(build, host, wanted) for host, wanted in ((first, range(4)), (second, range(2, 6)))]
            assert [each.result() for each in built] == [4, 4]
        assert first.committed() == second.committed() == alone
        assert len(alone) == 6
        assert first.lake.ledger.watermark(SYMBOL) == one.lake.ledger.watermark(SYMBOL)
        second.lake.close()
        for name, value in {"ROOT": first.settings.lake_root, "LEDGER_URL": url, "SYMBOLS": SYMBOL}.items():
            monkeypatch.setenv(f"LAKE_{name}", str(value))
        window = ["--start", "2026-11-18", "--end", "2026-11-18T06:00"]
        for command, words in (
            (["audit", *window], "6"),
            (["catalog", "export"], "6"),
            (["show-watermark"], "05:59"),
            (["collect-garbage"], "0 files"),
            (["missing"], ""),
        ):
            found = CliRunner().invoke(app, command, catch_exceptions=False)
            assert found.exit_code == 0, found.output
            assert words in found.output
        for command in (["backup", str(tmp_path / "copy")], ["rebuild-ledger"], ["restore", str(tmp_path)]):
            refused = CliRunner().invoke(app, command)
            assert refused.exit_code != 0
        assert not (tmp_path / "copy").exists()


def test_two_hosts_with_a_disk_each_make_the_lake_of_one_in_a_bucket(
    sim: SimulatorServer,
    server: PostgresServer,
    service: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second host reads what the first put, builds on its kept answers, and every command finds all of it."""
    with bench_on(sim, tmp_path / "one") as one:
        one.at(PUBLISHED).build(hours(0, 4))
        alone = one.committed()
    roots = [tmp_path / name / "lake" for name in ("a", "b")]
    for root in roots:
        root.mkdir(parents=True)
    url = in_bucket(service, roots[0], monkeypatch)
    shared = {"ledger_url": server.fresh(), "store_url": url}
    with (
        bench_on(sim, roots[0].parent, **shared) as first,
        bench_on(sim, roots[1].parent, **shared) as second,
    ):
        first.at(PUBLISHED)
        assert statuses(first.build(hours(0, 3))) == ["committed"] * 3
        asked = len(first.paths_asked())
        assert statuses(second.build(hours(0, 3))) == ["unchanged"] * 3
        assert len(first.paths_asked()) == asked, "what the first host kept was asked for again"
        assert statuses(second.build(hours(3, 4))) == ["committed"]
        assert first.lake.ledger.watermark(SYMBOL) == DAY + 4 * HOUR - timedelta(minutes=1)
        found = [
            scan(host.lake.store, SYMBOL, DAY, DAY + 4 * HOUR, schema=host.lake.table.polars_schema).collect()
            for host in (first, second)
        ]
        assert found[0].height == 240
        assert found[0].equals(found[1])
        assert first.committed() == second.committed() == alone
        shutil.rmtree(roots[1] / "futures")  # a copy is fetched again
        assert second.committed() == alone
        (lost,) = [row.path for row in first.lake.ledger.partitions(SYMBOL, DAY, DAY + HOUR)]
        for name, value in {"ROOT": roots[1], "LEDGER_URL": shared["ledger_url"], "STORE_URL": url}.items():
            monkeypatch.setenv(f"LAKE_{name}", str(value))
        monkeypatch.setenv("LAKE_SYMBOLS", SYMBOL)
        window = ["--start", "2026-11-18", "--end", "2026-11-18T04:00"]
        for command, words in (
            (["audit", *window], "4"),
            (["audit", "--full", *window], "4"),
            (["catalog", "export"], "4"),
            (["show-watermark"], "03:59"),
            (["materialize-duckdb"], "4"),
            (["collect-garbage", "--grace-hours", "0"], "0 files"),
        ):
            told = CliRunner().invoke(app, command, catch_exceptions=False)
            assert told.exit_code == 0, told.output
            assert words in told.output
        assert pl.read_parquet(roots[1] / "catalog" / "minute.parquet")["uri"].to_list()[0] == f"{url}/{lost}"
        Bucket(url).remove(lost)
        told = CliRunner().invoke(app, ["audit", *window])
        assert told.exit_code != 0, "a copy on this host hid that the bucket has lost a file"
        assert statuses(second.build(hours(0, 1))) == ["committed"]
        assert CliRunner().invoke(app, ["audit", *window]).exit_code == 0
