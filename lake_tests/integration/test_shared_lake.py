"""Two hosts build one lake over Postgres: every hour is there once, with the bytes that one machine alone makes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lake_assets.cli.main import app
from lake_assets.lake import open_lake
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.postgres import PostgresServer, postgres_server
from lake_tests.support.simulated_lake import PUBLISHED, SYMBOL, Bench, bench_on, hours


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as found:
        yield found


def test_two_hosts_make_the_lake_of_one(
    exchange_here: SimulatorServer, server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench_on(exchange_here, tmp_path / "one") as one:
        one.at(PUBLISHED).build(hours(0, 6))
        alone = one.committed()
    url = server.fresh()
    with bench_on(exchange_here, tmp_path / "both", ledger_url=url, egress_id="office") as first:
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
