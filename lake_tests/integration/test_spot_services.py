"""Repair plans and parity of the tables of spot, on a simulated exchange."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from lake_assets.assets.report_card import build_report_card_asset, report_card_key
from lake_assets.audit.api_parity import compare_due, due_partitions
from lake_assets.audit.plan import RepairPlan, plan_repair
from lake_assets.audit.scan import audit_partitions
from lake_assets.audit.weight_budget import parity_budget
from lake_assets.build.hours import build_partitions
from lake_assets.cli.main import app
from lake_assets.dagster_names import repair_name
from lake_assets.lake import Lake
from lake_assets.tables.offered import require_offered
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import HOUR
from lake_resources.errors import SettingsError
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, Bench, bench_on

CANDLES = SPOT_KLINES["1m"]
NEXT = DAY + timedelta(days=1)


@pytest.fixture
def bench(sim: SimulatorServer, tmp_path: Path) -> Iterator[Bench]:
    given = {"spot_symbols": (SYMBOL,), "spot_rest_url": sim.base_url, "start": DAY.date()}
    with bench_on(sim, tmp_path, **given) as found:
        yield found.at(PUBLISHED)


def planned(bench: Bench, table, start=DAY, end=NEXT) -> RepairPlan:
    lake = bench.lake.of(table)
    report = audit_partitions(lake.store, SYMBOL, start, end, now=bench.now, lag_minutes=3)
    return plan_repair(lake, report, now=bench.now)


def built(bench: Bench, table, starts) -> list[str]:
    days = build_partitions(bench.lake.of(table), SYMBOL, starts, now=bench.now, report=lambda _: None)
    return [each.status for day in days for each in day.hours]


def test_a_plan_of_seconds_is_of_hours_and_one_of_candles_of_days(bench: Bench) -> None:
    seconds, candles = planned(bench, SPOT_BARS_1S), planned(bench, CANDLES)
    assert (len(seconds.hours), seconds.ranges, dict(seconds.archives)) == (
        24, [(DAY, DAY + 23 * HOUR)], {"klines_1s": 1},
    )  # fmt: skip
    assert (len(candles.hours), candles.ranges, dict(candles.archives)) == (1, [(DAY, DAY)], {"klines_1m": 1})
    assert (seconds.weight, candles.weight) == (0, 0), "their archives are published"
    assert (seconds.as_json()["hours"], seconds.as_json()["days"]) == (24, 1)
    assert candles.as_json()["days"] == 1
    assert "hours" not in candles.as_json()
    names = [repair_name(table.layout, SYMBOL) for table in (UM_MINUTE, SPOT_BARS_1S, CANDLES)]
    assert names == [SYMBOL, f"spot_bars_1s {SYMBOL}", f"spot_klines_1m {SYMBOL}"]


def test_what_has_no_archive_yet_costs_the_weight_of_its_pages(bench: Bench) -> None:
    plan = planned(bench, SPOT_BARS_1S, NEXT, NEXT + 2 * HOUR)
    assert (plan.rest_hours, plan.weight) == (2, 8 * 2), "7200 seconds in pages of a thousand, each of weight 2"


def test_partitions_of_each_table_equal_the_klines_of_now(bench: Bench) -> None:
    assert built(bench, CANDLES, [DAY]) == ["committed"]
    assert built(bench, SPOT_BARS_1S, [DAY + HOUR]) == ["committed"]
    budget = parity_budget(bench.settings, clock=lambda: bench.now, sleep=lambda _: None)
    for table, rows, requests in ((CANDLES, 1440, 2), (SPOT_BARS_1S, 3600, 4)):
        lake = bench.lake.of(table)
        assert len(due_partitions(lake, SYMBOL, bench.now)) == 1
        run = compare_due(lake, SYMBOL, bench.now, budget)
        assert [each.compared for each in run.compared] == [rows]
        assert (run.requests, run.differing, run.revisions, run.left) == (requests, (), (), ())


@dataclass(frozen=True)
class _Opened:
    lake: Lake

    def open(self) -> Lake:
        return self.lake


@pytest.mark.parametrize(
    ("table", "start", "key", "rows"),
    [
        (CANDLES, DAY, "klines_1m_report_card", "1,440 of 26,457 minutes"),
        (SPOT_BARS_1S, DAY + HOUR, "bars_1s_report_card", "3,600 of "),
    ],
    ids=lambda given: getattr(given, "name", None),
)
def test_a_month_of_each_table_has_a_report_card(bench: Bench, table, start, key: str, rows: str) -> None:
    assert built(bench, table, [start]) == ["committed"]
    asset = build_report_card_asset(SYMBOL, bench.settings, table)
    done = dg.materialize([asset], partition_key="2026-11-01", resources={"lake": _Opened(bench.lake)})
    (event,) = done.asset_materializations_for_node(asset.op.name)
    assert event.asset_key == report_card_key(SYMBOL, table.layout) == dg.AssetKey(["quality", "spot", SYMBOL, key])
    assert event.metadata[f"present_{table.row_word}s"].value == int(rows.split()[0].replace(",", ""))
    assert rows in str(event.metadata["report"].value)
    assert bench.lake.of(table).catalog.report_path(SYMBOL, DAY).is_file()


def test_tables_and_symbols_without_assets_are_refused(bench: Bench) -> None:
    for table, symbols in ((UM_MINUTE, [SYMBOL]), (SPOT_BARS_1S, [SYMBOL]), (CANDLES, [])):
        require_offered(table, symbols, bench.settings)
    for table, symbols, setting in (
        (SPOT_BARS_1S, ["NOPEUSDT"], "LAKE_SPOT_SYMBOLS"),
        (UM_MINUTE, ["NOPEUSDT"], "LAKE_SYMBOLS"),
        (SPOT_KLINES["5m"], [SYMBOL], "LAKE_SPOT_KLINE_INTERVALS"),
    ):
        with pytest.raises(SettingsError) as refused:
            require_offered(table, symbols, bench.settings)
        assert setting in str(refused.value)


def test_the_commands_take_the_table(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    built(bench, CANDLES, [DAY])
    given = {"ROOT": bench.settings.root, "EXCHANGE": "simulator", "SYMBOLS": SYMBOL, "SPOT_SYMBOLS": SYMBOL}
    urls = dict.fromkeys(("REST_URL", "SPOT_REST_URL", "VISION_URL"), bench.sim.base_url)
    for name, value in {**given, **urls, "START": f"{DAY:%Y-%m-%d}"}.items():
        monkeypatch.setenv(f"LAKE_{name}", str(value))

    def said(*arguments: str) -> dict[str, object]:
        result = CliRunner().invoke(app, [*arguments, "--json"])
        assert result.exit_code == 0, result.output
        (found,) = json.loads(result.stdout)
        return found

    span = ("--start", f"{DAY:%Y-%m-%d}", "--end", f"{NEXT:%Y-%m-%d}")
    seconds = said("backfill-range", SYMBOL, "--table", "bars_1s", *span, "--dry-run")
    assert (seconds["hours"], seconds["reasons"]) == (24, {"missing_file": 24})
    candles = said("backfill-range", SYMBOL, "--table", "klines_1m", *span, "--dry-run")
    assert (candles["days"], candles["reasons"]) == (0, {})
    listed = said("parity", SYMBOL, "--table", "klines_1m", "--list")
    assert listed["not_compared"] == [DAY.isoformat()]
