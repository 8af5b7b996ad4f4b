"""Answers of REST that are not whole: asked again with a pause, and nobody takes them for the truth until then."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from lake_assets.build.hours import build_partitions
from lake_assets.inputs.doubted_hours import doubted_hours
from lake_resources.clock import HOUR, MINUTE
from lake_tests.support.simulated_lake import DAY, ON_THE_DAY, PUBLISHED, SYMBOL, Bench, bench_on, kinds

pytestmark = pytest.mark.slow

CLOSED = DAY + 14 * HOUR
JUST_AFTER = CLOSED + HOUR + 3 * MINUTE + timedelta(seconds=20)
CASES = {
    "agg_trades": "/fapi/v1/aggTrades",
    "premium_index_klines_1m": "/fapi/v1/premiumIndexKlines",
    "metrics": "/futures/data/openInterestHist",
}


def honest(bench: Bench, root: Path) -> str:
    """The hour's bytes in a lake that never saw a lie."""
    now = bench.now
    with bench_on(bench.sim, root) as other:
        (result,) = other.at(now).build([CLOSED])
        return result.content_hash


@pytest.mark.parametrize("stream", CASES)
@pytest.mark.parametrize("lie", ["nothing", "half"])
def test_an_answer_that_is_not_whole_is_asked_for_again(bench: Bench, tmp_path: Path, stream: str, lie: str) -> None:
    told_at = JUST_AFTER + 15 * MINUTE
    if lie == "nothing":
        bench.fault("missing_minutes", CASES[stream], start=CLOSED, end=CLOSED + HOUR)
    else:
        bench.fault("missing_minutes", CASES[stream], start=CLOSED + 30 * MINUTE, end=CLOSED + HOUR)
    bench.at(told_at).build([CLOSED])
    assert CLOSED in doubted_hours(bench.lake.ledger, SYMBOL, DAY, DAY + 24 * HOUR), "not clean"
    open_rows = {row.period for row in bench.lake.ledger.missing_sources(SYMBOL, stream)}
    assert f"{CLOSED:%Y-%m-%dT%H}" in open_rows
    bench.sim.faults.clear()
    bench.sim.clear_requests()
    bench.at(told_at + timedelta(seconds=20)).build([CLOSED])
    if (stream, lie) != ("agg_trades", "half"):  # a step in the ids is an error of the exchange, no answer
        assert not [path for path in bench.paths_asked() if path == CASES[stream]], "not without a pause"
    bench.at(told_at + 2 * MINUTE)
    bench.build([CLOSED])
    row = bench.lake.ledger.partition(SYMBOL, CLOSED)
    assert row is not None
    assert row.verdict == "clean", row.verdict_detail
    assert not [each for each in bench.lake.ledger.missing_sources(SYMBOL, stream) if each.period.endswith("T14")]
    assert row.content_hash == honest(bench, tmp_path / "honest")


def test_force_asks_at_once(bench: Bench) -> None:
    bench.fault("missing_minutes", CASES["agg_trades"], start=CLOSED, end=CLOSED + HOUR)
    bench.at(JUST_AFTER).build([CLOSED])
    bench.sim.faults.clear()
    days = build_partitions(bench.lake, SYMBOL, [CLOSED], now=bench.now, report=lambda _: None, force=True)
    ((result,),) = [day.hours for day in days]
    assert kinds(result)["agg_trades"] == "rest"
    row = bench.lake.ledger.partition(SYMBOL, CLOSED)
    assert row is not None
    assert row.verdict == "clean", row.verdict_detail


@pytest.mark.parametrize("lie", ["nothing", "half"])
def test_klines_of_an_old_hour_are_not_given_up_after_one_answer(bench: Bench, lie: str) -> None:
    """The exchange says nothing of an hour that is older than a day, whose archive is not there either."""
    hour = DAY - 40 * HOUR
    bench.fault("missing", "daily/klines/")
    start = hour if lie == "nothing" else hour + 30 * MINUTE
    number = bench.fault("missing_minutes", "/fapi/v1/klines", start=start, end=hour + HOUR)
    (first,) = bench.at(ON_THE_DAY).build([hour])
    assert first.status == "quarantined"
    assert f"{hour:%Y-%m-%dT%H}" in {row.period for row in bench.lake.ledger.missing_sources(SYMBOL, "klines_1m")}
    bench.sim.faults.remove(number)
    (second,) = bench.at(ON_THE_DAY + 5 * MINUTE).build([hour])
    assert second.status == "committed"
    assert second.row_count == 60


def test_a_premium_index_that_rest_never_had_is_named(bench: Bench) -> None:
    bench.fault("missing_minutes", "premiumIndexKlines", start=CLOSED + 5 * MINUTE, end=CLOSED + 9 * MINUTE)
    bench.at(PUBLISHED).build([CLOSED])
    found = doubted_hours(bench.lake.ledger, SYMBOL, DAY, DAY + 24 * HOUR)
    assert found[CLOSED].kind == "partial"
    assert "premium_index_klines_1m: 56 of 60 rows" in found[CLOSED].text
