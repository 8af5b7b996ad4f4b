"""Closed minutes younger than the safety lag: shown, marked in the ledger, and never counted as complete."""

from __future__ import annotations

import shutil
from urllib.parse import parse_qs

import polars as pl
import pytest

from lake_assets.build.answer_pruning import prune_captures
from lake_assets.build.hours import build_partitions
from lake_resources.clock import HOUR, MINUTE
from lake_tests.support.simulated_lake import DAY, SYMBOL, Bench, failed_checks

pytestmark = pytest.mark.slow

OPEN = DAY + 15 * HOUR


def build(bench: Bench, minute: float, *hours, provisional=True):
    bench.at(OPEN + minute * MINUTE)
    wanted = hours or (OPEN,)
    days = build_partitions(
        bench.lake, SYMBOL, wanted, now=bench.now, report=bench.reports.append, provisional=provisional
    )
    return [hour for day in days for hour in day.hours]


def test_they_are_shown_and_marked_and_the_watermark_waits(bench: Bench) -> None:
    grown = []
    for minute in (0.2, 1.2, 3.2, 30.2, 59.2, 60.2, 62.2, 63.2):
        (result,) = build(bench, minute)
        row = bench.lake.ledger.partition(SYMBOL, OPEN)
        mark = bench.lake.ledger.watermark(SYMBOL)
        if row is None:
            grown.append((result.status, 0, 0, None, None))
            continue
        assert failed_checks(result) == set()
        from_ = bench.lake.ledger.provisional_from(row)
        until = from_ and (from_ - OPEN) // MINUTE
        grown.append((result.status, row.row_count, row.expected_rows, until, mark and (mark - OPEN) // MINUTE))
    assert grown == [
        ("not_yet", 0, 0, None, None),
        ("committed", 1, 0, 0, None),
        ("committed", 3, 0, 0, None),
        ("committed", 30, 27, 27, 26),
        ("committed", 59, 56, 56, 55),
        ("committed", 60, 57, 57, 56),
        ("committed", 60, 59, 59, 58),
        ("committed", 60, 60, None, 59),
    ]
    row = bench.lake.ledger.partition(SYMBOL, OPEN)
    assert row is not None
    assert row.complete


def test_a_minute_that_lacks_a_required_stream_is_not_shown(bench: Bench) -> None:
    last = OPEN + 29 * MINUTE
    bench.fault("missing_minutes", "markPriceKlines", start=last, end=last + MINUTE)
    (result,) = build(bench, 30.2)
    assert (result.status, result.row_count) == ("committed", 29)
    assert failed_checks(result) == set()


def test_by_hand_they_stay_out_and_do_not_take_away_what_is_shown(bench: Bench) -> None:
    (strict,) = build(bench, 30.2, provisional=False)
    assert strict.row_count == 27
    (shown,) = build(bench, 30.2)
    assert shown.row_count == 30
    (again,) = build(bench, 30.4, provisional=False)
    assert (again.status, again.row_count) == ("kept_better", 30)


def test_a_sealed_hour_is_the_same_file_as_one_built_by_hand(bench: Bench) -> None:
    for minute in (20.2, 59.1, 60.1):
        build(bench, minute)
    (sealed,) = build(bench, 63.1)
    bench.lake.catalog.partition_path(SYMBOL, OPEN).unlink()
    (by_hand,) = build(bench, 63.5, provisional=False)
    assert by_hand.status == "committed"
    assert by_hand.content_hash == sealed.content_hash


def test_answers_that_were_replaced_are_pruned_and_what_was_used_is_not(bench: Bench) -> None:
    for minute in range(1, 12):
        build(bench, minute + 0.2)
    build(bench, 60.2)
    build(bench, 80)
    captures = bench.lake.catalog.root / "captures"
    before = list(captures.rglob("*.parquet"))
    assert prune_captures(bench.lake, OPEN) == 0, "nothing is older than that"
    removed = prune_captures(bench.lake, bench.now)
    kept = list(captures.rglob("*.parquet"))
    assert removed == len(before) - len(kept) > 40
    rows = bench.lake.ledger.captures_between(SYMBOL, "klines_1m", OPEN, OPEN + HOUR)
    assert all(bench.lake.catalog.absolute(row.path) in kept for row in rows)
    bench.lake.catalog.partition_path(SYMBOL, OPEN).unlink()
    bench.sim.clear_requests()
    (rebuilt,) = build(bench, 81)
    assert rebuilt.row_count == 60
    assert bench.paths_asked() == [], "everything it needs is still there"


def test_trades_of_the_open_hour_are_asked_for_from_where_they_had_settled(bench: Bench) -> None:
    build(bench, 30.2)
    bench.sim.clear_requests()
    build(bench, 31.2)
    asked = [parse_qs(str(query)) for _, path, query in bench.sim.requests if "aggTrades" in path]
    (first,) = [int(query["startTime"][0]) for query in asked if "startTime" in query]
    assert first == int((OPEN + 27.2 * MINUTE).timestamp() * 1000)
    (grown,) = build(bench, 63.2)
    bench.lake.catalog.partition_path(SYMBOL, OPEN).unlink()
    shutil.rmtree(bench.lake.catalog.root / "captures")
    (at_once,) = build(bench, 63.4)
    assert at_once.frame is not None
    assert at_once.frame.equals(grown.frame)


def test_a_hole_between_two_answers_is_asked_for_anew(bench: Bench) -> None:
    bench.fault("missing_minutes", "aggTrades", start=OPEN + 20 * MINUTE, end=OPEN + 29 * MINUTE, times=1)
    build(bench, 29.1)
    (after,) = build(bench, 30.2)
    (held,) = bench.lake.ledger.captures_between(SYMBOL, "agg_trades", OPEN, OPEN + HOUR)
    ids = pl.read_parquet(bench.lake.catalog.absolute(held.path))["agg_trade_id"]
    assert (ids.diff().drop_nulls() == 1).all()
    assert failed_checks(after) == set()
