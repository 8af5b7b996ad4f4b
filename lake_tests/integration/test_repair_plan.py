"""What a repair would take, and that it takes only what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from lake_assets.assets.minute import MINUTE_ASSET
from lake_assets.assets.table_asset import build_table_asset
from lake_assets.audit.listing import traded_window
from lake_assets.audit.plan import RepairPlan, plan_repair
from lake_assets.audit.scan import audit_partitions
from lake_assets.audit.verdict import AuditReport
from lake_assets.cli.main import app
from lake_assets.dagster_names import hour_key, repair_tags
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import HOUR, system_clock
from lake_resources.errors import NotYet, SettingsError
from lake_resources.known_hole import KnownHole
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.opener import Opener
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, Bench, bench_on, hours

pytestmark = pytest.mark.slow

NEXT = DAY + timedelta(days=1)


@pytest.fixture
def bench(sim: SimulatorServer, tmp_path: Path) -> Iterator[Bench]:
    with bench_on(sim, tmp_path) as found:
        yield found.at(PUBLISHED)


def audited(bench: Bench, start: object = DAY, end: object = NEXT) -> AuditReport:
    lake = bench.lake
    return audit_partitions(lake.store, SYMBOL, start, end, now=bench.now, lag_minutes=3)  # type: ignore[arg-type]


def planned(bench: Bench, report: AuditReport, **given: object) -> RepairPlan:
    return plan_repair(bench.lake, report, now=bench.now, **given)  # type: ignore[arg-type]


def test_an_empty_day_takes_its_archives_and_no_rest(bench: Bench) -> None:
    plan = planned(bench, audited(bench))
    assert (len(plan.hours), plan.days, plan.rest_hours, plan.weight) == (24, 1, 0, 0)
    assert plan.ranges == [(DAY, DAY + 23 * HOUR)]
    assert plan.reasons == {"missing_file": 24}
    assert plan.archives["klines_1m"] == 1
    assert plan.archives["metrics"] == 2  # the look-back of midnight lies in the day before
    assert plan.download_bytes > 10_000_000
    assert bench.paths_asked() == [], "a plan asks nobody"


def test_hours_without_an_archive_cost_weight(bench: Bench) -> None:
    plan = planned(bench, audited(bench, NEXT, NEXT + 3 * HOUR))
    assert plan.rest_hours == 3
    assert plan.weight >= 3 * 20 + 4 * 2


def test_only_what_is_wrong_is_planned_and_a_repair_leaves_nothing(bench: Bench) -> None:
    bench.build(hours(0, 24))
    before = bench.committed()
    assert planned(bench, audited(bench)).hours == ()
    torn, gone = DAY + 5 * HOUR, DAY + 17 * HOUR
    bench.lake.catalog.partition_path(SYMBOL, torn).write_bytes(b"torn")
    bench.lake.catalog.partition_path(SYMBOL, gone).unlink()
    plan = planned(bench, audited(bench))
    assert plan.ranges == [(torn, torn), (gone, gone)]
    assert plan.archives == {}
    bench.build(plan.hours)
    assert planned(bench, audited(bench)).hours == ()
    assert bench.committed() == before, "a repaired hour has the bytes it had"


@pytest.mark.parametrize("has", ["no minutes", "no archive"])
def test_hours_of_a_known_hole_are_accounted_for_once(bench: Bench, has: str) -> None:
    start, end = DAY + 4 * HOUR, DAY + 6 * HOUR
    bench.fault("missing_minutes", "/(klines|fapi/v1/klines)", start=start, end=end)
    if has == "no archive":
        bench.fault("missing", "daily/klines/.*2026-11-18")
        bench.fault("5xx", "^/fapi/v1/klines", query=f"startTime={int(start.timestamp() * 1000)}")
    bench.build(hours(0, 4))
    bench.lake.ledger.declare_hole(KnownHole("klines_1m", SYMBOL, start, end, "halt", "somewhere"))
    assert audited(bench, DAY, end).wrong == []
    bench.at(DAY + 12 * HOUR)
    assert planned(bench, audited(bench, DAY, end)).hours == (), "its archive may still say something"
    bench.at(PUBLISHED)
    plan = planned(bench, audited(bench, DAY, end))
    assert (plan.hours, plan.reasons) == ((start, start + HOUR), {})
    bench.build(plan.hours)
    after = audited(bench, DAY, end)
    assert (after.wrong, planned(bench, after).hours) == ([], ())
    assert bench.lake.ledger.watermark(SYMBOL) == end - timedelta(minutes=1)
    assert planned(bench, after, force=True).hours == tuple(hours(0, 6)), "force asks for them again"


def test_a_repair_that_was_cut_short_goes_on_with_the_rest(bench: Bench) -> None:
    first = planned(bench, audited(bench), max_hours=10)
    assert (len(first.hours), first.left_out) == (10, 14)
    bench.build(first.hours[:6])
    second = planned(bench, audited(bench), max_hours=10)
    assert second.hours == tuple(hours(6, 16))
    assert second.left_out == 8


def test_the_ledger_says_which_hours_were_committed_since_an_instant(bench: Bench) -> None:
    bench.build(hours(0, 3))
    rows = {row.start: row.committed_at for row in bench.lake.ledger.partitions(SYMBOL, DAY, NEXT)}
    since = min(rows.values())
    found = bench.lake.ledger.commits_since(SYMBOL, since)
    assert dict(found) == rows
    assert [at for _, at in found] == sorted(rows.values())
    assert bench.lake.ledger.commits_since(SYMBOL, max(rows.values()) + HOUR) == []
    assert bench.lake.ledger.commits_since("ETHUSDT", since) == []


def test_force_takes_every_hour_and_changes_no_byte(bench: Bench) -> None:
    bench.build(hours(0, 24))
    before = bench.committed()
    plan = planned(bench, audited(bench), force=True)
    assert len(plan.hours) == 24
    assert plan.reasons == {}
    results = [hour for day in _forced(bench, plan) for hour in day]
    assert {result.status for result in results} == {"unchanged"}
    assert {result.reason for result in results} == {""}, "they were built, not skipped"
    assert bench.committed() == before


def _forced(bench: Bench, plan: RepairPlan) -> Iterator[tuple[object, ...]]:
    from lake_assets.build.hours import build_partitions

    for day in build_partitions(bench.lake, SYMBOL, plan.hours, now=bench.now, report=bench.reports.append, force=True):
        yield day.hours


def test_a_cap_of_nothing_is_refused(bench: Bench) -> None:
    with pytest.raises(SettingsError, match="--max-missing-hours 1"):
        planned(bench, audited(bench), max_hours=0)


ONBOARD = datetime(2019, 9, 8, 17, 55, tzinfo=UTC)


def test_hours_before_the_listing_are_no_holes(bench: Bench) -> None:
    start, end = ONBOARD - timedelta(days=30), ONBOARD + timedelta(days=30)
    first = ONBOARD - timedelta(minutes=55)
    assert traded_window(bench.lake, SYMBOL, start, end) == (first, end)
    assert traded_window(bench.lake, SYMBOL, start, first) == (first, first)
    assert traded_window(bench.lake, SYMBOL, DAY, NEXT) == (DAY, NEXT)
    assert traded_window(bench.lake, "GONEUSDT", start, end) == (start, end), "what is not listed is not left out"
    bench.fault("5xx", "/fapi/v1/exchangeInfo", times=None)
    assert traded_window(bench.lake, SYMBOL, start, end) == (first, end), "what the exchange said before counts"


def test_the_list_of_a_market_that_tells_no_dates_is_not_asked_for(bench: Bench) -> None:
    spot = bench.lake.of(SPOT_BARS_1S)
    assert traded_window(spot, SYMBOL, ONBOARD, NEXT) == (ONBOARD, NEXT)
    assert [path for path in bench.paths_asked() if path.endswith("exchangeInfo")] == []


@pytest.fixture
def environment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = bench.settings
    values = {"ROOT": settings.root, "SYMBOLS": SYMBOL, "REST_URL": settings.rest_url, "WEBSERVER_PORT": 1}
    for name, value in values.items():
        monkeypatch.setenv(f"LAKE_{name}", str(value))


@pytest.mark.usefixtures("environment")
def test_dry_run_prints_the_plan_and_does_nothing(bench: Bench) -> None:
    window = ["--start", f"{DAY:%Y-%m-%d}", "--end", f"{NEXT:%Y-%m-%d}"]
    shown = CliRunner().invoke(app, ["backfill-range", *window, "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert "missing_file: 24" in shown.output
    assert "nothing is launched" in shown.output
    found = CliRunner().invoke(app, ["backfill-range", *window, "--dry-run", "--json"])
    (plan,) = json.loads(found.stdout)
    assert (plan["hours"], plan["days"], plan["ranges"]) == (24, 1, [[DAY.isoformat(), (NEXT - HOUR).isoformat()]])
    assert bench.committed() == {}


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["backfill-range"], "no range is given"),
        (["backfill-range", "--preset", "2024", "--start", "2024-01-01"], "given both"),
        (["backfill-range", "--preset", "2199"], "begins after"),
        (["backfill-range", "DOGEUSDT", "--preset", "last-day"], "no assets in Dagster"),
    ],
)
def test_what_cannot_be_repaired_says_why(arguments: list[str], text: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, SettingsError)
    assert text in str(result.exception)
    assert CliRunner().invoke(app, ["backfill-years", "--years", "11"]).exit_code == 2


def test_archives_alone_ask_rest_for_nothing(bench: Bench) -> None:
    """What no archive has stays missing; what one has is built as it always is."""
    asset = build_table_asset(MINUTE_ASSET, SYMBOL, bench.settings)
    lake = bench.lake

    def built(first: datetime, last: datetime, *, vision_only: bool) -> bool:
        tags = {"dagster/asset_partition_range_start": hour_key(first)}
        tags |= {"dagster/asset_partition_range_end": hour_key(last)}
        tags |= repair_tags(UM_MINUTE.layout, SYMBOL, force=False, vision_only=vision_only)
        with dg.DagsterInstance.ephemeral() as instance:
            return dg.materialize(
                [asset], instance=instance, resources={"lake": Opener(lambda: lake)}, tags=tags, raise_on_error=False
            ).success

    bench.sim.clear_requests()
    assert built(DAY, DAY + 23 * HOUR, vision_only=True)
    assert not built(NEXT, NEXT + HOUR, vision_only=True), "its archive is not published yet"
    assert [path for path in bench.paths_asked() if path.startswith("/fapi")] == []
    assert lake.ledger.partitions(SYMBOL, NEXT, NEXT + 2 * HOUR) == []
    before = bench.committed()
    assert {ref.kind for row in lake.ledger.partitions(SYMBOL, DAY, NEXT) for ref in row.sources.values()} <= {
        "archive", "none",
    }  # fmt: skip
    assert built(NEXT, NEXT + HOUR, vision_only=False)
    assert [path for path in bench.paths_asked() if path.startswith("/fapi")] != []
    assert bench.committed() == before


def _midnight() -> datetime:
    """Midnight of the day whose minutes must exist by now."""
    return (system_clock() - timedelta(minutes=3)).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.mark.usefixtures("environment")
def test_archives_alone_end_with_the_last_completed_day(bench: Bench) -> None:
    bench.sim.clear_requests()
    window = ["backfill-range", "--start", f"{NEXT:%Y-%m-%d}", "--dry-run", "--json"]
    before = _midnight()
    (plan,) = json.loads(CliRunner().invoke(app, [*window, "--vision-only"]).stdout)
    midnight = _midnight()
    assert plan["ranges"] in [[[NEXT.isoformat(), (end - HOUR).isoformat()]] for end in (before, midnight)]
    assert (plan["rest_hours"], plan["weight"]) == (0, 0)
    assert bench.paths_asked() == []
    (fallback,) = json.loads(CliRunner().invoke(app, [*window, "--allow-rest-fallback"]).stdout)
    assert fallback["rest_hours"] > 0
    today = CliRunner().invoke(app, ["backfill-range", "--start", f"{midnight:%Y-%m-%d}", "--vision-only"])
    assert isinstance(today.exception, NotYet)
