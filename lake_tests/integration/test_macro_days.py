"""Days of macro minutes from the stand-in: sessions, corrections, silent minutes, failures, and what the lake says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from lake_assets.at_rest import open_at_rest
from lake_assets.build.macro_days import SAID_TWICE, build_macro_days
from lake_assets.inputs.results import HourResult
from lake_assets.jobs.macro_runs import request_macro_days
from lake_assets.jobs.run_tags import RANGE_END, RANGE_START
from lake_assets.lake import Lake, open_lake
from lake_assets.quality.final_validation import UNDER_WAY, judge_symbol
from lake_assets.reading import load
from lake_assets.tables.macro_minute import MACRO_MINUTE
from lake_resources.clock import DAY, HOUR, MINUTE
from lake_resources.settings import LakeSettings
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.server import SimulatorServer
from lake_resources.yahoo.sessions import sessions
from lake_resources.yahoo.tickers import DEFAULT_TICKERS, ticker_name
from lake_resources.yahoo.yahoo_minutes import MinutesAnswer, YahooMinutes

WEDNESDAY = datetime(2026, 11, 25, tzinfo=UTC)
THANKSGIVING, HALF, SATURDAY = WEDNESDAY + DAY, WEDNESDAY + 2 * DAY, WEDNESDAY + 3 * DAY
NOON = WEDNESDAY + timedelta(hours=15, minutes=30, seconds=20)


@pytest.fixture(scope="module")
def stand_in() -> Iterator[SimulatorServer]:
    with SimulatorServer(symbols=("BTCUSDT",), limits=False) as running:
        yield running


class Macro:
    """A lake on the table of macro minutes, and the one clock of it and of the stand-in."""

    def __init__(self, stand_in: SimulatorServer, root: Path) -> None:
        self.sim = stand_in
        self.settings = LakeSettings(
            _env_file=None, root=root / "lake", exchange="simulator", yahoo_url=stand_in.base_url,
            rest_url=stand_in.base_url, vision_url=stand_in.base_url, start=(WEDNESDAY - 3 * DAY).date(),
            macro_tickers=DEFAULT_TICKERS,
        )  # fmt: skip
        self.lake: Lake = open_lake(self.settings, clock=stand_in.exchange.clock.now).of(MACRO_MINUTE)
        self.yahoo = YahooMinutes(stand_in.base_url, root / "cache")

    def build(self, now: datetime, ticker: str, *days: datetime) -> list[HourResult]:
        self.sim.exchange.clock.freeze(now)
        built = build_macro_days(self.lake, ticker_name(ticker), days, now=now, report=lambda _: None, yahoo=self.yahoo)
        return [result for day in built for result in day.hours]

    def rows(self, ticker: str, day: datetime) -> pl.DataFrame:
        return pl.read_parquet(self.lake.catalog.partition_path(ticker_name(ticker), day))

    def verdict(self, ticker: str, day: datetime) -> str | None:
        held = self.lake.ledger.partition(ticker_name(ticker), day)
        return None if held is None else held.verdict


@pytest.fixture
def macro(stand_in: SimulatorServer, tmp_path: Path) -> Iterator[Macro]:
    stand_in.exchange.faults.clear()
    made = Macro(stand_in, tmp_path)
    yield made
    made.lake.close()


def test_an_open_day_is_as_far_as_yahoo_is(macro: Macro) -> None:
    (found,) = macro.build(NOON, "SPY", WEDNESDAY)
    assert (found.status, found.row_count, found.expected_rows) == ("committed", 61, 60)
    rows = macro.rows("SPY", WEDNESDAY)
    assert rows.columns == ["ticker", "ts", "open", "high", "low", "close", "volume", "is_final"]
    assert set(rows["ticker"]) == {"SPY"}
    assert rows["is_final"].to_list() == [True] * 60 + [False], "the running minute is not final"
    assert macro.verdict("SPY", WEDNESDAY) == "provisional"
    assert macro.lake.catalog.partition_path("SPY", WEDNESDAY).is_relative_to(macro.settings.lake_root / "macro")
    (later,) = macro.build(NOON + 10 * MINUTE, "SPY", WEDNESDAY)
    assert later.row_count == 71
    assert macro.rows("SPY", WEDNESDAY).filter(~pl.col("is_final")).height == 1
    (future,) = macro.build(NOON, "ES=F", WEDNESDAY)
    assert future.expected_rows == 15 * 60 + 20, "futures are shown ten minutes late"
    assert macro.build(NOON, "SPY", WEDNESDAY + DAY)[0].status == "not_yet"


def test_closed_days_are_explained_and_sessions_whole(macro: Macro) -> None:
    after = SATURDAY + 2 * HOUR
    found = macro.build(after, "SPY", WEDNESDAY, THANKSGIVING, HALF)
    assert [each.status for each in found] == ["committed"] * 3
    assert [each.row_count for each in found] == [390, 0, 210]
    assert [macro.verdict("SPY", day) for day in (WEDNESDAY, THANKSGIVING, HALF)] == ["explained"] * 3
    assert macro.rows("SPY", WEDNESDAY)["is_final"].all()
    frame, certificate = load(
        "SPY", WEDNESDAY, SATURDAY, table=MACRO_MINUTE, settings=macro.settings, clock=lambda: after, require="clean"
    )
    assert frame.collect().height == 600
    assert certificate.unexplained_rows == 0
    assert {hole.cause for hole in certificate.holes} == {"XNYS is closed"}


def test_a_silent_minute_is_unexplained_until_it_was_left_out_twice(macro: Macro) -> None:
    after = THANKSGIVING + 2 * HOUR
    (first,) = macro.build(after, "UUP", WEDNESDAY)
    silent = first.expected_rows - first.row_count
    assert silent > 10
    assert macro.verdict("UUP", WEDNESDAY) == "partial"
    assert f"{silent} minute(s)" in str(macro.lake.ledger.partition("UUP", WEDNESDAY).verdict_detail)
    macro.build(after + 10 * MINUTE, "UUP", WEDNESDAY)
    assert macro.verdict("UUP", WEDNESDAY) == "partial", "too soon after the first look"
    macro.build(after + 2 * HOUR, "UUP", WEDNESDAY)
    assert macro.verdict("UUP", WEDNESDAY) == "explained"
    holes = macro.lake.ledger.known_holes("UUP", WEDNESDAY, THANKSGIVING)
    said = [hole for hole in holes if hole.cause == SAID_TWICE]
    assert sum((hole.end - hole.start) // MINUTE for hole in said) == silent


def test_final_validation_waits_for_what_an_open_day_may_yet_be_told(macro: Macro) -> None:
    symbol, at_rest = ticker_name("UUP"), open_at_rest(macro.settings, MACRO_MINUTE)
    macro.build(NOON, "UUP", WEDNESDAY)
    due = (NOON + MINUTE - UNDER_WAY).replace(second=0) - macro.settings.safety_lag_minutes * MINUTE
    (session,) = sessions("UUP", WEDNESDAY, due)
    silent = (due - session.start) // MINUTE - macro.rows("UUP", WEDNESDAY).filter(pl.col("ts") < due).height
    assert silent > 0

    found = judge_symbol(at_rest, symbol, NOON + MINUTE)
    assert found.state == "PASS"
    assert found.reasons == (f"{silent} minutes without a row so far; once the day is over they are settled",)

    stopped = judge_symbol(at_rest, symbol, NOON + HOUR)
    assert stopped.state == "FAIL"
    assert "newest" in stopped.reasons[0]
    assert "sessions go on" in stopped.reasons[0]

    macro.build(THANKSGIVING + 5 * MINUTE, "UUP", WEDNESDAY, THANKSGIVING)
    unsettled, settled = THANKSGIVING + HOUR, THANKSGIVING + 3 * HOUR
    assert judge_symbol(at_rest, symbol, unsettled).state == "PASS"
    assert judge_symbol(at_rest, symbol, settled).reasons[0].endswith("minutes missing without an explanation")
    macro.build(THANKSGIVING + HOUR + 6 * MINUTE, "UUP", WEDNESDAY)
    assert judge_symbol(at_rest, symbol, settled).reasons == (), "left out twice"
    at_rest.close()


def test_a_session_without_any_row_is_no_day_on_which_none_was_due(macro: Macro) -> None:
    monday, symbol = SATURDAY + 2 * DAY, ticker_name("UUP")
    opens = monday + timedelta(hours=14, minutes=30)
    macro.build(opens - HOUR, "UUP", SATURDAY, SATURDAY + DAY, monday)
    at_rest = open_at_rest(macro.settings, MACRO_MINUTE)
    assert judge_symbol(at_rest, symbol, opens - HOUR).state == "EXPLAINED"
    found = judge_symbol(at_rest, symbol, opens + 20 * MINUTE)
    assert (found.state, found.reasons[0]) == ("FAIL", "no data")
    at_rest.close()


def test_corrections_are_revisions_and_nothing_is_lost(macro: Macro) -> None:
    evening = WEDNESDAY + 21 * HOUR
    macro.build(evening, "EURUSD=X", WEDNESDAY)
    before = macro.rows("EURUSD=X", WEDNESDAY)
    macro.build(THANKSGIVING + 12 * HOUR, "EURUSD=X", WEDNESDAY)
    after = macro.rows("EURUSD=X", WEDNESDAY)
    both = before.join(after, on="ts", suffix="_new")
    assert both.height == before.height
    changed = both.filter("is_final", pl.col("close") != pl.col("close_new"))
    revisions = macro.lake.ledger.revisions(ticker_name("EURUSD=X"), WEDNESDAY, THANKSGIVING)
    assert {each.timestamp for each in revisions if each.column == "close"} == set(changed["ts"])
    assert changed.height > 0
    assert {(each.old_value, each.new_value) for each in revisions if each.column == "close"} == set(
        changed.select("close", "close_new").iter_rows()
    )
    again = macro.build(THANKSGIVING + 13 * HOUR, "EURUSD=X", WEDNESDAY)
    assert again[0].status == "unchanged"
    assert len(macro.lake.ledger.revisions(ticker_name("EURUSD=X"), WEDNESDAY, THANKSGIVING)) == len(revisions)


def test_rows_that_yahoo_no_longer_tells_stay(macro: Macro) -> None:
    macro.build(THANKSGIVING + HOUR, "SPY", WEDNESDAY)
    before = macro.rows("SPY", WEDNESDAY)

    class Forgetful(YahooMinutes):
        """Yahoo, which has lost a minute of each hour since."""

        def minutes(self, ticker: str, start: datetime, end: datetime, *, now: datetime) -> MinutesAnswer:
            found = super().minutes(ticker, start, end, now=now)
            return replace(found, frame=found.frame.filter(pl.col("ts").dt.minute() != 45))

    macro.yahoo = Forgetful(macro.sim.base_url, macro.settings.lake_root / "cache")
    (found,) = macro.build(THANKSGIVING + 3 * HOUR, "SPY", WEDNESDAY)
    assert found.row_count == 390
    assert macro.rows("SPY", WEDNESDAY)["ts"].equals(before["ts"])


def test_a_failure_is_a_missing_source_and_no_empty_day(macro: Macro) -> None:
    after = SATURDAY + 2 * HOUR
    for kind in ("429", "empty", "garbage", "5xx"):
        macro.sim.exchange.faults.add(Fault(kind, path="chart"))
        found = macro.build(after, "SPY", WEDNESDAY, THANKSGIVING)
        macro.sim.exchange.faults.clear()
        assert found[0].status == "source_missing", kind
        assert found[1].status in ("committed", "unchanged"), "a holiday is not asked for"
        assert found[0].reason
        assert macro.verdict("SPY", WEDNESDAY) is None
    (missing,) = macro.lake.ledger.missing_sources("SPY")
    assert (missing.stream, missing.period, missing.attempts) == ("yahoo_minutes", "2026-11-25", 4)
    macro.build(after, "SPY", WEDNESDAY)
    assert macro.lake.ledger.missing_sources("SPY") == []
    old = after - 40 * DAY
    assert "30 days" in macro.build(after, "SPY", old.replace(hour=0))[0].reason


def test_the_first_run_asks_for_more_days(macro: Macro) -> None:
    tick = SATURDAY + 30 * MINUTE
    first = request_macro_days(macro.settings, tick).tags
    assert (first[RANGE_START], first[RANGE_END]) == ("2026-11-22", "2026-11-28")
    for ticker in macro.settings.macro_tickers:
        macro.build(SATURDAY + HOUR, ticker, HALF)
    later = request_macro_days(macro.settings, tick).tags
    assert (later[RANGE_START], later[RANGE_END]) == ("2026-11-27", "2026-11-28")
    assert sum((each.end - each.start) // MINUTE for each in sessions("SPY", HALF, SATURDAY)) == 210


def test_the_running_minute_passes_the_gate_too(macro: Macro) -> None:
    class Broken(YahooMinutes):
        """Yahoo, whose newest minute has its high below its low."""

        def minutes(self, ticker: str, start: datetime, end: datetime, *, now: datetime) -> MinutesAnswer:
            found = super().minutes(ticker, start, end, now=now)
            newest = pl.col("ts") == pl.col("ts").max()
            broken = pl.when(newest).then(pl.col("low") / 2).otherwise(pl.col("high"))
            return replace(found, frame=found.frame.with_columns(high=broken))

    macro.yahoo = Broken(macro.sim.base_url, macro.settings.lake_root / "cache")
    (found,) = macro.build(NOON, "SPY", WEDNESDAY)
    assert found.status == "quarantined"
    assert "ohlc" in found.reason
    assert macro.lake.ledger.partition("SPY", WEDNESDAY) is None
