"""The reports of spot's tables as the minute table has them: assets, jobs, and what each of them finds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
import pytest

from lake_assets.assets.quality import build_quality_assets, report_key
from lake_assets.assets.report_card import report_card_key
from lake_assets.assets.table_list import offered_tables, symbols_of
from lake_assets.build.hours import build_partitions
from lake_assets.code_location import build_definitions
from lake_assets.schema.table import Table
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_assets.watchdog.table_holes import table_facts
from lake_resources.clock import DAY as ONE_DAY
from lake_resources.clock import HOUR, MINUTE
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.opener import Opener
from lake_tests.support.simulated_lake import DAY, SYMBOL, Bench, bench_on

pytestmark = pytest.mark.slow
CANDLES = SPOT_KLINES["1m"]
REPORTS = ("audit", "rules", "parity_at_rest")
SEALED = DAY + 3 * ONE_DAY


@pytest.fixture(scope="module")
def bench(sim: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Two hours of seconds and a day of candles, sealed since two days."""
    given = {"spot_symbols": (SYMBOL,), "spot_rest_url": sim.base_url, "start": DAY.date()}
    with bench_on(sim, tmp_path_factory.mktemp("spot"), **given) as found:
        found.at(SEALED)
        for table, starts in ((SPOT_BARS_1S, [DAY, DAY + HOUR]), (CANDLES, [DAY])):
            lake = found.lake.of(table)
            built = list(build_partitions(lake, SYMBOL, starts, now=found.now, report=found.reports.append))
            assert {each.status for day in built for each in day.hours} == {"committed"}
        yield found


def told(bench: Bench, table: Table, report: str, **config: object) -> tuple[dict[str, bool | None], dict[str, object]]:
    """Checks and plain values of the metadata of one report."""
    key = report_key(SYMBOL, report, table.layout)
    (asset,) = [each for each in build_quality_assets(SYMBOL, bench.settings, table=table) if each.key == key]
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [asset],
            instance=instance,
            resources={"lake": Opener(lambda: bench.lake)},
            run_config={"ops": {asset.op.name: {"config": config}}},
        )
        (event,) = result.asset_materializations_for_node(asset.op.name)
        checks = {each.check_name: each.passed for each in result.get_asset_check_evaluations()}
    return checks, {label: value.value for label, value in event.metadata.items()}


def window(hours: int) -> dict[str, str]:
    return {"start": f"{DAY:%Y-%m-%dT%H:%M}", "end": f"{DAY + hours * HOUR:%Y-%m-%dT%H:%M}"}


def test_every_report_is_there_for_every_table_and_in_its_job(bench: Bench) -> None:
    definitions = build_definitions(bench.settings)
    repository = definitions.get_repository_def()
    for report in REPORTS:
        wanted = {
            report_key(symbol, report, shown.table.layout)
            for shown in offered_tables(bench.settings)
            for symbol in symbols_of(shown.table, bench.settings)
        }
        assert len(wanted) == 3
        assert set(repository.get_job(report).asset_layer.executable_asset_keys) == wanted
    names = [
        key.path[-1]
        for key in (report_key(SYMBOL, "audit", SPOT_BARS_1S.layout), report_card_key(SYMBOL, SPOT_BARS_1S.layout))
    ]
    assert names == ["bars_1s_audit", "bars_1s_report_card"]
    assert report_key(SYMBOL, "audit").path == ["quality", SYMBOL, "audit"], "whose history lies under this name"


def test_seconds_are_audited_against_files_ledger_and_dagster(bench: Bench) -> None:
    checks, numbers = told(bench, SPOT_BARS_1S, "audit", **window(2))
    assert (numbers["hours"], numbers["expected_seconds"], numbers["present_seconds"]) == (2, 7200, 7200)
    assert "not_in_dagster" in str(numbers["wrong"]), "nothing of it was materialized here"
    assert checks == {"consistent": False}
    _, numbers = told(bench, CANDLES, "audit", **window(24))
    assert (numbers["days"], numbers["present_minutes"]) == (1, 1440)


def test_seconds_and_candles_keep_the_rules(bench: Bench) -> None:
    checks, numbers = told(bench, SPOT_BARS_1S, "rules", **window(2))
    assert (checks["verdict"], numbers["verdict"], numbers["rows"]) == (True, "PASS", 7200)
    assert "- **Timeframe**: 1s" in str(numbers["report"])
    checks, numbers = told(bench, CANDLES, "rules", **window(24))
    assert (checks["verdict"], numbers["rows"]) == (True, 1440)


def test_sealed_seconds_and_candles_equal_what_the_exchange_says_now(bench: Bench) -> None:
    checks, numbers = told(bench, SPOT_BARS_1S, "parity_at_rest", hours=1)
    assert (checks, numbers["verdict"]) == ({"equal": True}, "equal")
    assert (numbers["hours"], numbers["seconds"], numbers["hour_bars"]) == (1, 3600, 1)
    checks, numbers = told(bench, CANDLES, "parity_at_rest", hours=1)
    assert (checks, numbers["days"], numbers["minutes"]) == ({"equal": True}, 1, 1440)


def test_a_second_that_the_exchange_restated_is_a_revision_with_both_values(bench: Bench) -> None:
    at = DAY + timedelta(minutes=7)
    fault = bench.fault("scaled", "/klines", column="4", by=1.01, every=1, start=at, end=at + timedelta(seconds=1))
    try:
        checks, numbers = told(bench, SPOT_BARS_1S, "parity_at_rest", hours=2)
    finally:
        bench.sim.faults.clear()
    assert fault is not None
    assert (checks, numbers["verdict"]) == ({"equal": False}, "differs")
    assert "klines_1s" in str(numbers["restated"])


def test_health_looks_at_every_table(bench: Bench) -> None:
    tables, late = table_facts(bench.settings, bench.now)
    assert set(tables) == {"um_minute", "spot_bars_1s", "spot_klines_1m"}
    seconds, candles = tables["spot_bars_1s"].holes[SYMBOL], tables["spot_klines_1m"].holes[SYMBOL]
    first_missing = DAY + 2 * HOUR
    assert (seconds.missing, seconds.oldest_missing) == (
        (bench.now - first_missing) // HOUR - bench.settings.hot_hours,
        first_missing,
    )
    assert seconds.watermark == first_missing - timedelta(seconds=1)
    assert (candles.missing, candles.oldest_missing, candles.watermark) == (1, DAY + ONE_DAY, DAY + ONE_DAY - MINUTE)
    assert tables["um_minute"].newest == {SYMBOL: None}
    assert late == []
    ledger = bench.lake.of(SPOT_BARS_1S).ledger
    ledger.record_missing(SYMBOL, "klines_1s", f"{DAY:%Y-%m-%d}", "archive", "not published", at=bench.now)
    late = [f"klines_1s of spot {SYMBOL} for {DAY:%Y-%m-%d} is not published"]
    assert table_facts(bench.settings, bench.now)[1] == late, "told once, of whatever tables need it"
