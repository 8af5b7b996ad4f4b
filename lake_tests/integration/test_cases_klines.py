"""Klines that lie about prices and taker volumes with a sound checksum or with status 200: their trades say so."""

from __future__ import annotations

from pathlib import Path

from lake_assets.validation.hour_verdict import BARS_DIFFER
from lake_resources.clock import HOUR
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import DAY, ON_THE_DAY, SYMBOL, bench_on

NINE = DAY + 9 * HOUR
SPAN = {"start": NINE + HOUR / 3, "end": NINE + HOUR / 2, "every": 1}


def test_an_answer_that_its_trades_deny_is_named_and_asked_for_again(sim: SimulatorServer, tmp_path: Path) -> None:
    with bench_on(sim, tmp_path / "sound") as bench:
        bench.at(ON_THE_DAY).build([NINE])
        truth = bench.committed()
    with bench_on(sim, tmp_path / "lied to") as bench:
        bench.at(ON_THE_DAY).fault("scaled", "/fapi/v1/klines", column="2", by=1.01, times=1, **SPAN)
        bench.build([NINE])
        held = bench.lake.ledger.partition(SYMBOL, NINE)
        assert held is not None
        assert held.verdict == "contradicted"
        assert f"klines_1m: {BARS_DIFFER}" in str(held.verdict_detail)
        bench.at(ON_THE_DAY + HOUR).build([NINE])
        assert bench.committed() == truth


def test_an_hour_that_the_gate_refuses_for_its_values_is_asked_for_again(sim: SimulatorServer, tmp_path: Path) -> None:
    with bench_on(sim, tmp_path) as bench:
        bench.at(ON_THE_DAY).fault("scaled", "/fapi/v1/klines", column="2", by=0.5, times=1, **SPAN)
        assert [result.status for result in bench.build([NINE])] == ["quarantined"]
        bench.at(ON_THE_DAY + HOUR)
        assert [result.status for result in bench.build([NINE])] == ["committed"]
        assert bench.lake.ledger.missing_sources(SYMBOL, "klines_1m") == []
