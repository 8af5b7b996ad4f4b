"""Archives of spot that a lake of before keeps as those of futures: they are told, filed right, and read no more."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lake_assets.build.raw_files import archive_files
from lake_assets.cli.doctor import examine
from lake_assets.cli.main import app
from lake_assets.inputs.archives import ingest_archives
from lake_assets.inputs.misfiled_archives import file_right, misfiled_archives
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_resources.binance.spot_streams import SPOT_STREAMS
from lake_resources.clock import HOUR
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, Bench, bench_on, hours

PERIOD = f"{DAY:%Y-%m-%d}"


@pytest.fixture
def bench(sim: SimulatorServer, tmp_path: Path) -> Iterator[Bench]:
    """A lake whose klines of a day are those of spot, as an early asset of spot left them; two hours are built."""
    with bench_on(sim, tmp_path) as found:
        found.at(PUBLISHED).archives("klines_1m", PERIOD)
        spot = found.lake.of(SPOT_BARS_1S)
        (taken,) = ingest_archives(spot, SYMBOL, [(SPOT_STREAMS["klines_1m"], PERIOD)])
        assert taken.status == "ingested"
        held = spot.ledger.archive(SYMBOL, "klines_1m", PERIOD)
        assert held is not None
        wrong = found.lake.catalog.archive_path("klines_1m", SYMBOL, PERIOD, held.sha256)
        spot.catalog.absolute(held.path).rename(wrong)
        with closing(sqlite3.connect(found.settings.lake_root / "ledger.sqlite")) as ledger, ledger:
            ledger.execute("UPDATE archives SET is_current = 0 WHERE market = 'um' AND stream = 'klines_1m'")
            ledger.execute(
                "UPDATE archives SET market = 'um', path = ? WHERE sha256 = ?",
                (found.lake.catalog.relative(wrong), held.sha256),
            )
        found.build(hours(0, 2))
        yield found


def used(bench: Bench) -> set[str]:
    rows = bench.lake.ledger.partitions(SYMBOL, DAY, DAY + 2 * HOUR)
    assert len(rows) == 2
    return {row.sources["klines_1m"].reference for row in rows}


def test_doctor_tells_and_mends_what_is_kept_under_another_market(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (each,) = misfiled_archives(bench.lake)
    assert (each.under, each.market, each.title) == ("um", "spot", f"{SYMBOL} klines_1m {PERIOD}")
    assert all(each.archive.sha256 in reference for reference in used(bench)), "the minutes hold prices of spot"
    told = next(found for found in examine(bench.settings, bench.lake) if found.name == "archives")
    assert (told.status, "`lake doctor --mend`" in told.text, each.title in told.text) == ("fail", True, True)

    for name, value in {"LAKE_ROOT": bench.settings.root, "LAKE_REST_URL": bench.sim.base_url}.items():
        monkeypatch.setenv(name, str(value))
    for name, value in {"LAKE_VISION_URL": bench.sim.base_url, "LAKE_WS_URL": bench.sim.ws_url}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LAKE_EXCHANGE", bench.settings.exchange)
    done = CliRunner().invoke(app, ["doctor", "--mend", "--json"])
    assert f"{each.title} is kept as spot now" in done.stderr
    assert "2 hour(s) of the minute table hold rows of spot" in done.stderr
    command = (
        f"`lake backfill-range {SYMBOL} --table minute --start {PERIOD}T00:00 --end {PERIOD}T02:00 --force-repair`"
    )
    assert command in done.stderr
    assert '"archives"' not in done.stdout

    futures, spot = bench.lake.ledger, bench.lake.of(SPOT_BARS_1S)
    ours, theirs = futures.archive(SYMBOL, "klines_1m", PERIOD), spot.ledger.archive(SYMBOL, "klines_1m", PERIOD)
    assert ours is not None
    assert theirs is not None
    assert (ours.sha256 != theirs.sha256, theirs.sha256) == (True, each.archive.sha256)
    assert len(futures.archive_vintages(SYMBOL, "klines_1m", PERIOD)) == 1
    path = spot.catalog.archive_path("klines_1m", SYMBOL, PERIOD, theirs.sha256)
    assert (spot.catalog.absolute(theirs.path), path.is_file()) == (path, True)
    assert not bench.lake.catalog.absolute(each.archive.path).exists()
    assert {result.status for result in bench.build(hours(0, 2))} == {"committed"}
    assert used(bench) == {ours.sha256}


def test_a_move_that_was_killed_is_done_again(bench: Bench) -> None:
    (each,) = misfiled_archives(bench.lake)
    spot = bench.lake.of(SPOT_BARS_1S)
    path = spot.catalog.archive_path("klines_1m", SYMBOL, PERIOD, each.archive.sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    bench.lake.catalog.absolute(each.archive.path).rename(path)
    file_right(bench.lake, each)
    file_right(bench.lake, each)
    held = spot.ledger.archive(SYMBOL, "klines_1m", PERIOD)
    assert held is not None
    assert spot.catalog.absolute(held.path) == path
    assert path.is_file()
    assert misfiled_archives(bench.lake) == []


def test_a_ledger_that_is_made_anew_leaves_them_out(bench: Bench) -> None:
    told: list[str] = []
    found = [archive.sha256 for archive, _ in archive_files(bench.lake.store, told.append) if archive.period == PERIOD]
    (each,) = misfiled_archives(bench.lake)
    assert found
    assert each.archive.sha256 not in found
    assert told == [f"{each.archive.path}: it is an archive of spot"]
