"""What the lake promises of an hour: the same bytes again, never worse than before, nothing hidden."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa

from lake_resources.clock import HOUR, MINUTE
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import (
    DAY,
    ON_THE_DAY,
    PUBLISHED,
    SYMBOL,
    Bench,
    bench_on,
    checks,
    failed_checks,
    hours,
    kinds,
    statuses,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def second(sim: SimulatorServer, tmp_path: Path) -> Iterator[Bench]:
    """Another lake on the same exchange."""
    with bench_on(sim, tmp_path / "second") as found:
        yield found


# Identical bytes


@pytest.mark.slow
@pytest.mark.parametrize("now", [PUBLISHED + 24 * HOUR, DAY + 26 * HOUR], ids=["archive and rest", "rest"])
def test_how_hours_are_grouped_does_not_change_a_byte(bench: Bench, second: Bench, now: object) -> None:
    wanted = hours(20, 27)
    for hour in reversed(wanted):
        bench.at(now).build([hour])  # type: ignore[arg-type]
    second.at(now).build(wanted)  # type: ignore[arg-type]
    one_by_one = bench.committed(DAY, DAY + 48 * HOUR)
    assert len(one_by_one) >= 6
    assert second.committed(DAY, DAY + 48 * HOUR) == one_by_one


def test_two_lakes_and_any_number_of_runs_hold_the_same_bytes(bench: Bench, second: Bench) -> None:
    first = [result.content_hash for result in bench.build(hours(12, 15))]
    assert statuses(bench.build(hours(12, 15))) == ["unchanged"] * 3
    assert [result.content_hash for result in second.build(hours(12, 15))] == first
    for hour in hours(12, 15):
        bench.lake.catalog.partition_path(SYMBOL, hour).unlink()
    again = bench.build(hours(12, 15))
    assert statuses(again) == ["committed"] * 3
    assert [result.content_hash for result in again] == first


def test_a_run_over_hours_of_which_some_are_done_builds_only_the_others(bench: Bench) -> None:
    before = bench.build(hours(8, 15))
    for hour in (DAY + 9 * HOUR, DAY + 13 * HOUR):
        bench.lake.catalog.partition_path(SYMBOL, hour).unlink()
    after = bench.build(hours(8, 15))
    assert statuses(after) == ["unchanged", "committed", *["unchanged"] * 3, "committed", "unchanged"]
    assert [result.content_hash for result in after] == [result.content_hash for result in before]
    assert all(failed_checks(result) == set() for result in after)


def test_a_damaged_committed_file_is_built_anew(bench: Bench) -> None:
    (before,) = bench.build([DAY + 9 * HOUR])
    assert before.path is not None
    content = bytearray(before.path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    before.path.write_bytes(content)
    (after,) = bench.build([DAY + 9 * HOUR])
    assert (after.status, after.content_hash) == ("committed", before.content_hash)
    assert bench.committed()


# Never worse


def rest_down(bench: Bench, kind: str) -> None:
    bench.fault(kind, "^/f", **({"retry_after_s": 600.0} if kind == "418" else {}))


@pytest.mark.parametrize("kind", ["5xx", "418", "garbage"])  # all others: `test_ingest_faults`
def test_a_source_that_fails_never_replaces_what_was_committed(bench: Bench, kind: str) -> None:
    hour = DAY + 15 * HOUR
    bench.build([*hours(12, 15), hour])
    before = bench.committed()
    rest_down(bench, kind)
    bench.fault("missing", "^/data/")
    for later in (ON_THE_DAY + 10 * MINUTE, ON_THE_DAY + 2 * HOUR):
        results = bench.at(later).build([*hours(12, 15), hour])
        assert statuses(results) == [*["unchanged"] * 3, "source_missing"]
        assert bench.committed() == before
    assert "klines_1m" in results[-1].reason
    assert "127.0.0.1" in results[-1].reason, "the reason names the endpoint"
    assert {"continuity"} <= failed_checks(results[-1])
    assert bench.lake.ledger.missing_sources(SYMBOL, "klines_1m")[0].period == f"{hour:%Y-%m-%dT%H}"
    assert bench.lake.ledger.quarantined(SYMBOL, DAY, DAY + 24 * HOUR) == [], "its sources may come back any minute"

    bench.sim.faults.clear()
    bench.at(ON_THE_DAY + 3 * HOUR)
    results = bench.build([*hours(12, 15), hour])
    assert statuses(results) == [*["unchanged"] * 3, "committed"]
    assert bench.lake.ledger.missing_sources(SYMBOL, "klines_1m") == []


def test_less_of_an_hour_never_replaces_more(bench: Bench) -> None:
    hour = DAY + 9 * HOUR
    (before,) = bench.build([hour])
    assert kinds(before)["agg_trades"] == "rest"
    # Its raw capture is lost, and by now REST does not have it any more, nor does the archive.
    (capture,) = bench.lake.ledger.captures_between(SYMBOL, "agg_trades", hour, hour + HOUR)
    bench.lake.catalog.absolute(capture.path).unlink()
    bench.fault("missing", "aggTrades/")
    (after,) = bench.at(DAY + 80 * HOUR).build([hour])
    assert after.status == "kept_better"
    assert "agg_trades=rest" in after.reason
    assert after.content_hash == before.content_hash == bench.committed()[hour]
    said = tuple(each for each in before.outcomes if not each.empty)
    assert after.outcomes == said, "checks are those of the hour that is committed, as the ledger keeps them"
    assert after.frame is not None
    assert after.frame.equals(before.frame)
    assert any("not on the disk" in line for line in bench.reports)


def test_one_failing_stream_leaves_the_others_alone(bench: Bench) -> None:
    bench.fault("5xx", "^/(fapi/v1/aggTrades|futures/data)")
    results = bench.build(hours(12, 15))
    assert statuses(results) == ["committed"] * 3
    for result in results:
        assert kinds(result)["agg_trades"] == kinds(result)["metrics"] == "none"
        assert failed_checks(result) == {"source_coverage", "evidence"}
        assert result.frame is not None
        assert result.frame["count_buy_trades"].null_count() == 60, "NULL: not ingested"
    bench.sim.faults.clear()
    healed = bench.build(hours(12, 15))
    assert statuses(healed) == ["committed"] * 3
    assert all(failed_checks(result) == set() for result in healed)
    assert bench.lake.ledger.missing_sources(SYMBOL) == []


def test_a_failure_half_way_keeps_the_hours_before_it(bench: Bench) -> None:
    bench.fault("5xx", "aggTrades", skip=5)
    results = bench.build(hours(8, 15))
    got = [kinds(result)["agg_trades"] for result in results]
    assert got == sorted(got, reverse=True)
    assert {"rest", "none"} == set(got), "hours that were captured before the failure are used"
    bench.sim.faults.clear()
    bench.sim.clear_requests()
    assert {kinds(result)["agg_trades"] for result in bench.build(hours(8, 15))} == {"rest"}
    asked = [query for _, path, query in bench.sim.requests if "aggTrades" in path and "startTime" in query]
    assert len(asked) == got.count("none"), "what was captured is not asked for again"


def test_an_answer_that_may_still_change_is_better_than_none(bench: Bench) -> None:
    hour = DAY + 12 * HOUR
    (before,) = bench.at(hour + HOUR + 5 * MINUTE).build([hour])
    (capture,) = bench.lake.ledger.captures_between(SYMBOL, "metrics", hour, hour + HOUR)
    assert not capture.complete, "metrics settle for a quarter of an hour"
    bench.fault("5xx", "/futures/data/")
    assert before.path is not None
    before.path.unlink()
    (after,) = bench.at(hour + HOUR + 10 * MINUTE).build([hour])
    assert (after.status, after.content_hash) == ("committed", before.content_hash)


def test_an_answer_from_the_middle_of_an_hour_does_not_stand_for_all_of_it(bench: Bench) -> None:
    hour = DAY + 12 * HOUR
    bench.at(hour + 34 * MINUTE).build([hour])
    bench.fault("5xx", "aggTrades")
    bench.lake.catalog.partition_path(SYMBOL, hour).unlink()
    (after,) = bench.at(ON_THE_DAY).build([hour])
    assert (after.status, after.row_count) == ("committed", 60)
    assert kinds(after)["agg_trades"] == "rest"
    told = bench.rows(hour)["count_buy_trades"].is_not_null()
    assert told[:30].all(), "what was said of these minutes is proven by their klines"
    quiet = bench.rows(hour)["trade_count"] == 0
    assert not (told & ~quiet)[35:].any(), "no zeros for minutes that nobody saw"


def test_null_is_not_ingested_and_zero_is_nothing_happened(bench: Bench) -> None:
    with_trades = bench.build(hours(8, 14))
    rows = pl.concat([bench.rows(result.hour) for result in with_trades])
    quiet = rows.filter(pl.col("trade_count") == 0)
    assert quiet.height > 0
    for column in ("count_buy_trades", "max_trade_size_btc", "vol_buy_whale_btc", "realized_vol_1m"):
        assert quiet[column].to_list() == [0] * quiet.height, column
        assert rows[column].null_count() == 0, column
    assert rows["liq_long_count"].null_count() == rows.height, "no collector ran"


def test_aggtrades_with_a_gap_in_their_ids_are_not_taken_for_quiet_minutes(bench: Bench) -> None:
    start = DAY + 12 * HOUR + 30 * MINUTE
    bench.fault("missing_minutes", "aggTrades", start=start, end=start + 5 * MINUTE)
    (result,) = bench.build([DAY + 12 * HOUR])
    assert kinds(result)["agg_trades"] == "none"
    assert bench.rows(result.hour)["count_buy_trades"].null_count() == 60
    (row,) = bench.lake.ledger.missing_sources(SYMBOL, "agg_trades")
    assert "ids" in row.reason
    # In an archive they are as well noticed by their ids; what the file has is taken.
    (archived,) = bench.at(PUBLISHED).build([DAY + 12 * HOUR])
    assert kinds(archived)["agg_trades"] == "archive"
    check = checks(archived)["trades_vs_klines"]
    assert not check.passed
    assert str(check.metadata["first"]) == "2026-11-18 12:30"
    rows = bench.rows(archived.hour)
    lost = rows.filter(pl.col("timestamp").dt.minute().is_between(30, 34) & (pl.col("trade_count") > 0))
    assert lost.height > 0
    assert lost["count_buy_trades"].null_count() == lost.height, "the klines say that there were trades"
    assert lost.height <= rows["count_buy_trades"].null_count() <= 12
    missing = {(row.source, row.period) for row in bench.lake.ledger.missing_sources(SYMBOL, "agg_trades")}
    assert {("archive rows", "2026-11-18"), ("archive rows", "2026-11-18T12")} <= missing


@pytest.mark.parametrize("max_ffill_minutes", [0, 60, 200])
def test_how_far_a_value_is_carried_does_not_depend_on_what_is_built_with_it(
    sim: SimulatorServer, tmp_path: Path, max_ffill_minutes: int
) -> None:
    given = {"max_ffill_minutes": max_ffill_minutes}
    with (
        bench_on(sim, tmp_path / "one", **given) as one,
        bench_on(sim, tmp_path / "day", **given) as day,
    ):
        # Metrics stop at 03:00.
        one.at(PUBLISHED).fault(
            "missing_minutes", "/(metrics|futures/data)/", start=DAY + 3 * HOUR, end=DAY + 24 * HOUR
        )
        # The longest is carried to 06:20.
        for hour in hours(2, 7):
            one.build([hour])
        day.build(hours(2, 7))
        assert one.committed() == day.committed()
        held = [day.rows(hour)["oi_contracts"].count() for hour in hours(2, 7)]
        assert sum(held) == 60 + max_ffill_minutes + 1 if max_ffill_minutes else sum(held) < 60


@pytest.fixture(scope="module")
def built(sim: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Two hours, of which each test leaves what it found."""
    with bench_on(sim, tmp_path_factory.mktemp("built")) as found:
        assert statuses(found.at(PUBLISHED).build(hours(4, 6))) == ["committed"] * 2
        yield found


@pytest.mark.parametrize(
    "claim", ["row_count = 59", "max_ts = min_ts", "complete = 0", "schema_hash = 'older'", "expected_rows = 58"]
)
def test_a_ledger_row_that_is_not_true_of_its_file_is_put_right(built: Bench, claim: str) -> None:
    bench = built.at(PUBLISHED)
    bench.sim.faults.clear()
    hour = DAY + 4 * HOUR
    before = bench.lake.ledger.partition(SYMBOL, hour)
    engine = sa.create_engine(bench.lake.ledger.engine.url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE partitions SET {claim} WHERE start_utc = '2026-11-18T04:00:00.000000Z'"))
    engine.dispose()
    assert bench.lake.ledger.partition(SYMBOL, hour) != before
    first, second = bench.build(hours(4, 6))
    assert before is not None
    assert (first.status, first.content_hash, first.reason) == ("unchanged", before.content_hash, "")
    assert second.reason == "committed before from the same inputs"
    after = bench.lake.ledger.partition(SYMBOL, hour)
    assert after is not None
    # Built alone, the hour has no neighbours to judge its edges by.
    assert replace(after, checks="") == replace(before, checks="")
