"""Values that one source alone has stated, asked for once more: what is equal leaves nothing, what differs is heard."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from lake_assets.audit.api_parity import compare_partitions
from lake_assets.audit.second_look import SecondLook, days_due, look_again
from lake_assets.audit.weight_budget import parity_budget
from lake_assets.inputs.doubted_hours import doubted_hours
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.clock import HOUR
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import DAY, ON_THE_DAY, PUBLISHED, SYMBOL, Bench, bench_on, hours

pytestmark = pytest.mark.slow

BAD = DAY + 3 * HOUR
BUILT = hours(2, 5)
LYING = {
    "mark_price_klines_1m": "close",
    "index_price_klines_1m": "close",
    "premium_index_klines_1m": "close",
    "metrics": "sum_open_interest",
}


@pytest.fixture
def bench(sim: SimulatorServer, tmp_path: Path) -> Iterator[Bench]:
    with bench_on(sim, tmp_path, start="2026-11-01") as found:
        yield found.at(PUBLISHED)


def look(bench: Bench) -> SecondLook:
    budget = parity_budget(bench.settings, clock=bench.sim.clock.now, sleep=lambda _: None)
    return look_again(bench.lake, SYMBOL, [DAY.date()], bench.now, budget)


def verdicts(bench: Bench) -> dict[object, str]:
    return {row.start: str(row.verdict) for row in bench.lake.ledger.partitions(SYMBOL, DAY, DAY + 24 * HOUR)}


def lie(bench: Bench, stream: str, **given: object) -> None:
    kind = UM_STREAMS[stream].files.kind
    bench.fault("scaled", f"daily/{kind}/.*2026-11-18", start=BAD, end=BAD + HOUR, every=1, by=1.001, **given)


def test_what_is_equal_leaves_nothing_behind(bench: Bench) -> None:
    bench.build(BUILT)
    before = bench.committed()
    bench.sim.clear_requests()
    found = look(bench)
    assert (found.unlike, found.requests) == ((), 9)
    # Three kinds of bars, metrics every five minutes, and one settlement, of three hours.
    assert found.compared >= 3 * 180 + 36
    assert not [path for path in bench.paths_asked() if path.endswith("/klines")], (
        "those have a comparison of their own"
    )
    assert set(verdicts(bench).values()) == {"clean"}
    assert bench.lake.ledger.missing_sources(SYMBOL) == []
    assert bench.committed() == before


def test_values_of_archives_that_nobody_else_states_are_found_and_mended(bench: Bench) -> None:
    bench.build(BUILT)
    honest = bench.committed()
    bench.fault("republished", f"{DAY:%Y-%m-%d}")  # the same day, told otherwise
    for stream in LYING:
        lie(bench, stream, column=LYING[stream])
        bench.archives(stream, f"{DAY:%Y-%m-%d}")
    bench.build(BUILT)
    assert bench.committed() != honest
    assert verdicts(bench)[BAD] == "clean", "it fits its grid and its bounds"
    found = look(bench)
    assert {(each.stream, each.hour) for each in found.unlike} >= {(stream, BAD) for stream in LYING}
    doubts = doubted_hours(bench.lake.ledger, SYMBOL, DAY, DAY + 24 * HOUR)
    assert doubts[BAD].kind == "contradicted"
    missing = {(row.stream, row.period) for row in bench.lake.ledger.missing_sources(SYMBOL)}
    for stream in LYING:
        assert f"{stream}: REST says otherwise now" in doubts[BAD].text
        assert (stream, f"{BAD:%Y-%m-%dT%H}") in missing, "healing hears it"
    # A comparison of klines, which are equal, takes nothing back.
    budget = parity_budget(bench.settings, clock=bench.sim.clock.now, sleep=lambda _: None)
    assert compare_partitions(bench.lake, SYMBOL, [BAD], bench.now, budget).differing == ()
    assert verdicts(bench)[BAD] == "contradicted"
    # Built from both, REST's values stand, and the hour stays contradicted until both say the same.
    bench.at(bench.now + HOUR).build(BUILT)
    assert verdicts(bench)[BAD] == "contradicted"
    bench.sim.faults.clear()
    for stream in LYING:
        bench.archives(stream, f"{DAY:%Y-%m-%d}")
    bench.at(bench.now + 7 * HOUR).build(BUILT)
    assert set(verdicts(bench).values()) == {"clean"}
    assert bench.committed() == honest


def test_an_answer_that_lies_once_contradicts_the_hour_until_it_is_asked_for_again(bench: Bench) -> None:
    bench.build(BUILT)
    honest = bench.committed()
    span = {"start": BAD, "end": BAD + HOUR / 2, "every": 1}
    bench.fault("scaled", "/fapi/v1/markPriceKlines", column="4", by=1.001, times=1, **span)
    (unlike,) = look(bench).unlike
    assert (unlike.stream, unlike.hour) == ("mark_price_klines_1m", BAD)
    assert verdicts(bench)[BAD] == "contradicted"
    bench.at(bench.now + HOUR).build(BUILT)
    assert (verdicts(bench)[BAD], bench.committed()) == ("clean", honest)
    assert bench.lake.ledger.missing_sources(SYMBOL) == []


def test_a_settlement_contradicts_every_hour_that_it_is_carried_into(bench: Bench) -> None:
    bench.build(hours(7, 10))
    honest = bench.committed()
    eight = DAY + 8 * HOUR
    span = {"start": eight - HOUR / 2, "end": eight + HOUR / 2, "every": 1}
    bench.fault("scaled", "/fapi/v1/fundingRate", column="fundingRate", by=1.5, times=1, **span)
    # The month's archive is not there yet: REST is held against what it said before.
    (unlike,) = look(bench).unlike
    assert (unlike.stream, unlike.hour) == ("funding_rate", eight)
    assert verdicts(bench) == {eight - HOUR: "clean", eight: "contradicted", eight + HOUR: "contradicted"}
    bench.at(bench.now + HOUR).build(hours(7, 10))
    assert (verdicts(bench)[eight], bench.committed()) == ("contradicted", honest), "nothing is replaced by it"
    assert look(bench).unlike == ()
    assert (set(verdicts(bench).values()), bench.committed()) == ({"clean"}, honest)


def test_an_archive_that_lacks_a_settlement_does_not_take_the_one_that_was_told(bench: Bench) -> None:
    eight = DAY + 8 * HOUR
    bench.at(ON_THE_DAY).build([eight + HOUR])
    honest = bench.rows(eight + HOUR)["funding_rate"]
    bench.fault("missing_minutes", "monthly/fundingRate", start=eight - HOUR, end=eight + HOUR)
    bench.at(DAY + 20 * 24 * HOUR).build([eight + HOUR])
    held = bench.lake.ledger.partition(SYMBOL, eight + HOUR)
    assert held is not None
    assert bench.lake.ledger.archives_between(SYMBOL, "funding_rate", DAY, DAY + 24 * HOUR)
    assert bench.rows(eight + HOUR)["funding_rate"].equals(honest)


def test_the_newest_days_and_a_part_of_the_others_are_due(bench: Bench) -> None:
    assert days_due(bench.lake, SYMBOL, bench.now) == []
    bench.at(ON_THE_DAY).build(hours(2, 3))
    assert days_due(bench.lake, SYMBOL, bench.now) == [], "the day is not over"
    seen = [n for n in range(1, 70) if DAY.date() in days_due(bench.lake, SYMBOL, bench.now + timedelta(days=n))]
    assert seen[:2] == [1, 2]
    assert len(seen[2:]) >= 2
    assert {late - early for early, late in pairwise(seen[2:])} == {30}
