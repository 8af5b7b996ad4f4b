"""The seeded market: a pure function of seed, symbol and minute, in which all derived series agree."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Event

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake_resources.simulator.market.bars import (
    INTERVAL_MINUTES,
    interval_end_ms,
    interval_start_ms,
    minute_bars,
    roll_up,
)
from lake_resources.simulator.market.decimals import text, text_column, texts
from lake_resources.simulator.market.derive import book_updates, settlements, snapshots, taker_volumes
from lake_resources.simulator.market.feed import DayCache, SymbolFeed
from lake_resources.simulator.market.seeded_market import SeededMarket
from lake_resources.simulator.market.specs import spec_of
from lake_resources.simulator.market.trades import MINUTE_MS
from lake_resources.simulator.vision import archive_rows
from lake_resources.simulator.vision.archive_rows import TYPES

DAY = int(datetime(2026, 2, 3, tzinfo=UTC).timestamp()) // 60
MARKET = SeededMarket(spec_of("BTCUSDT"), 7)
FEED = SymbolFeed(MARKET, 7)
WHOLE_DAY = MARKET.trades(DAY, DAY + 1440)
AGG_FIELDS = ("agg_id", "agg_time", "price", "quantity", "first_id", "last_id", "buyer_maker")


@given(start=st.integers(0, 1439), length=st.integers(1, 90))
@settings(max_examples=60, deadline=None)
def test_any_minutes_drawn_alone_equal_the_same_minutes_of_the_day(start: int, length: int) -> None:
    end = min(start + length, 1440)
    alone = MARKET.trades(DAY + start, DAY + end)
    minute = WHOLE_DAY.agg_time // MINUTE_MS - DAY
    inside = (minute >= start) & (minute < end)
    for name in AGG_FIELDS:
        assert (getattr(alone, name) == getattr(WHOLE_DAY, name)[inside]).all(), name
    assert (alone.fill_time == WHOLE_DAY.aggregates(inside).fill_time).all()


@given(minute=st.integers(MARKET.first_minute + 1, DAY + 600_000))
@settings(max_examples=80, deadline=None)
def test_ids_go_on_without_a_gap_over_any_minute_edge(minute: int) -> None:
    before, after = MARKET.trades(minute - 60, minute), MARKET.trades(minute, minute + 60)
    assert after.agg_id[0] == before.agg_id[-1] + 1 == MARKET.agg_count(minute) + 1
    assert after.first_id[0] == before.last_id[-1] + 1
    for each in (before, after):
        assert (np.diff(each.agg_id) == 1).all()
        assert (np.diff(each.fill_id) == 1).all()
        assert (each.first_id[1:] == each.last_id[:-1] + 1).all()
        assert (np.diff(each.fill_time) >= 0).all()


@given(agg_id=st.integers(1, 60_000_000))
@settings(max_examples=60, deadline=None)
def test_the_minute_of_an_id_is_found_without_counting(agg_id: int) -> None:
    minute = MARKET.minute_of_agg(agg_id)
    assert MARKET.agg_count(minute) < agg_id <= MARKET.agg_count(minute + 1)


def test_the_first_trade_is_number_one() -> None:
    first = MARKET.trades(MARKET.first_minute - 100, MARKET.first_minute + 60)
    assert (first.agg_id[0], first.first_id[0]) == (1, 1)
    assert first.agg_time[0] >= MARKET.first_minute * MINUTE_MS


def test_another_process_draws_the_same_market_and_another_seed_another_one() -> None:
    code = (
        "from lake_resources.simulator.market.seeded_market import SeededMarket as M;"
        "from lake_resources.simulator.market.specs import *;"
        "import hashlib,sys; s,m=int(sys.argv[1]),int(sys.argv[2]); t=M(spec_of('ETHUSDT'),s).trades(m,m+1440);"
        "print(hashlib.sha256(b''.join(a.tobytes() for a in vars(t).values())).hexdigest())"
    )

    def digest(seed: int) -> str:
        command = [sys.executable, "-c", code, str(seed), str(DAY)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert digest(7) == digest(7)
    assert digest(7) != digest(8)


def test_rate_quiet_minutes_and_merging_are_as_described() -> None:
    week = MARKET.trades(DAY, DAY + 7 * 1440)
    assert 13 < len(week.agg_id) / (7 * 1440) < 17
    quiet = 1 - len(np.unique(week.fill_time // MINUTE_MS)) / (7 * 1440)
    assert 0.005 < quiet < 0.05
    spread = week.fill_time - week.agg_time[week.fill_agg]
    assert spread.min() == 0
    assert spread.max() < 100
    assert (np.diff(week.agg_time) == 0).sum() > 1000, "no two aggregates of one millisecond to page over"
    price = week.price / 100
    assert 10_000 < price.min() < price.max() < 200_000


def test_aggregates_and_klines_differ_at_some_minute_edges_only() -> None:
    bars = minute_bars(MARKET.trades(DAY - 60, DAY + 1440), DAY, DAY + 1440, 1)
    from_aggs = np.zeros(1440, np.int64)
    np.add.at(from_aggs, WHOLE_DAY.agg_time // MINUTE_MS - DAY, WHOLE_DAY.quantity)
    differing = (from_aggs != bars.volume).mean()
    assert 0.03 < differing < 0.13, "Binance: about 8 % of the minutes"
    per_hour = from_aggs.reshape(24, 60).sum(axis=1) / bars.volume.reshape(24, 60).sum(axis=1)
    assert np.abs(per_hour - 1).max() < 0.02
    fills_inside = (WHOLE_DAY.fill_time < (DAY + 1440) * MINUTE_MS).sum()
    early = MARKET.trades(DAY - 1, DAY).fill_time
    assert bars.count.sum() == fills_inside + (early >= DAY * MINUTE_MS).sum()


def test_a_quiet_minute_repeats_the_close_before_it() -> None:
    bars = FEED.closed_bars(DAY, DAY + 1440)
    assert len(bars) == 1440
    quiet = np.flatnonzero(bars.count == 0)
    assert len(quiet) > 3
    for row in quiet[quiet > 0]:
        values = {int(getattr(bars, name)[row]) for name in ("open", "high", "low", "close")}
        assert values == {int(bars.close[row - 1])}
        assert bars.volume[row] == bars.quote[row] == bars.taker_volume[row] == 0


@pytest.mark.parametrize("interval", [name for name in INTERVAL_MINUTES if name != "1m"])
def test_a_longer_interval_is_the_roll_up_of_its_minutes(interval: str) -> None:
    minutes = FEED.closed_bars(DAY, DAY + 3 * 1440)
    long = roll_up(minutes, interval)
    for row, open_ms in enumerate(long.open_ms.tolist()):
        assert open_ms == interval_start_ms(open_ms, interval)
        part = minutes.between(open_ms, interval_end_ms(open_ms, interval))
        assert long.open[row] == part.open[0]
        assert long.close[row] == part.close[-1]
        assert long.high[row] == part.high.max()
        assert long.low[row] == part.low.min()
        for name in ("volume", "quote", "count", "taker_volume", "taker_quote"):
            assert getattr(long, name)[row] == getattr(part, name).sum()


def test_the_running_bar_grows_into_the_closed_one() -> None:
    closed = FEED.closed_bars(DAY + 10, DAY + 11)
    start = (DAY + 10) * MINUTE_MS
    counts = []
    for second in (0, 10, 30, 59):
        bar = FEED.bars(DAY + 10, DAY + 12, start + second * 1000)
        assert len(bar) == 1, "a later minute was shown"
        counts.append(int(bar.count[0]))
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] <= closed.count[0]
    at_end = FEED.bars(DAY + 10, DAY + 11, start + 59_999)
    assert all((getattr(at_end, n) == getattr(closed, n)).all() for n in vars(closed))


def test_mark_is_index_times_one_plus_premium() -> None:
    at = np.arange(DAY * MINUTE_MS, (DAY + 60) * MINUTE_MS, 1000)
    mark, index, premium = (FEED.reference(kind, at) for kind in ("mark", "index", "premium"))
    assert np.abs(mark - index * (1 + premium / 1e8)).max() <= 1
    assert np.abs(mark / 1e8 / MARKET.mid(at) - 1).max() < 1e-9
    now = (DAY + 100) * MINUTE_MS
    bars = FEED.reference_bars("mark", DAY, DAY + 60, now)
    assert set(bars.count.tolist()) == {59, 60}
    assert (bars.open[1:] == bars.close[:-1]).all()
    assert (bars.close == FEED.reference("mark", bars.open_ms + 59_000)).all()
    assert not bars.volume.any()
    assert set(FEED.reference_bars("premium", DAY, DAY + 60, now).count.tolist()) == {11, 12}


def test_every_trade_is_at_the_best_price_of_its_moment() -> None:
    book = book_updates(FEED, WHOLE_DAY)
    at_trade = book.bid[::3], book.ask[::3]
    assert (np.where(WHOLE_DAY.buyer_maker, at_trade[0], at_trade[1]) == WHOLE_DAY.price).all()
    assert (book.bid < book.ask).all()
    assert (np.diff(book.update_id) > 0).all()
    assert (np.diff(book.transaction_ms) >= 0).all()
    assert (book.event_ms > book.transaction_ms).all()
    assert min(book.bid_quantity.min(), book.ask_quantity.min()) > 0


def test_funding_settles_every_eight_hours_a_few_ms_late() -> None:
    month = settlements(FEED, DAY * MINUTE_MS, (DAY + 30 * 1440) * MINUTE_MS)
    assert len(month.time_ms) == 90
    assert (month.due_ms % (8 * 3_600_000) == 0).all()
    late = month.time_ms - month.due_ms
    assert (late.min(), late.max() <= 13, len(np.unique(late)) > 5) == (0, True, True)
    assert len(np.unique(month.rate)) > 60
    assert np.abs(month.rate).max() < 300_000


def test_slow_series_do_not_depend_on_what_is_asked_with_them() -> None:
    at = np.arange(DAY * MINUTE_MS, (DAY + 1440) * MINUTE_MS, 300_000)
    every, one = snapshots(FEED, at), snapshots(FEED, at[77:78])
    for name in ("open_interest", "open_interest_value", "top_accounts_long", "all_accounts_long"):
        assert getattr(every, name)[77] == getattr(one, name)[0]
    buy, sell = taker_volumes(FEED, at)
    bars = FEED.closed_bars(DAY, DAY + 1440)
    assert (buy + sell).sum() == bars.volume.sum()
    assert buy[3] == bars.taker_volume[15:20].sum()


def test_decimals_are_exact_and_signed() -> None:
    values = np.array([0, 5, -5, 123_456, -123_456])
    assert texts(values, 2) == ["0.00", "0.05", "-0.05", "1234.56", "-1234.56"]
    assert texts(values, 0) == ["0", "5", "-5", "123456", "-123456"]
    assert texts(values[3:4], 2, 6) == ["1234.56000000"]
    assert [text(int(v), 2) for v in values] == texts(values, 2) == text_column(values, 2).to_list()


def test_an_unknown_name_gets_a_stable_spec() -> None:
    assert spec_of("我USDT") == spec_of("我USDT")
    assert spec_of("FOOUSDT").base_asset == "FOO"
    assert len(SeededMarket(spec_of("FOOUSDT"), 7).trades(DAY, DAY + 60).agg_id) > 300
    with pytest.raises(ValueError, match="rate_per_min"):
        SeededMarket(spec_of("FOOUSDT"), 7, rate_per_min=0)


def test_a_day_that_two_ask_for_at_once_is_made_once() -> None:
    cache, made, begun, asked = DayCache(4), [], Event(), Event()

    class LookedUp(str):
        """A name that tells when it is looked up, which is when the second one asks."""

        __slots__ = ()

        def __hash__(self) -> int:
            asked.set()
            return super().__hash__()

    def make() -> int:
        begun.set()
        made.append(asked.wait(120))
        return 7

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.get, ("day",), make)
        assert begun.wait(120)
        second = threads.submit(cache.get, (LookedUp("day"),), make)
        assert (first.result(240), second.result(240), made) == (7, 7, [True])


def test_a_day_that_could_not_be_made_is_tried_again() -> None:
    cache = DayCache(4)
    with pytest.raises(ZeroDivisionError):
        cache.get(("day",), lambda: 1 // 0)
    assert cache.get(("day",), lambda: 7) == 7


def test_few_trades_of_a_day_are_the_same_in_one_piece_and_by_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    start, end = DAY * 60_000, (DAY + 1440) * 60_000
    whole = TYPES["aggTrades"].rows(FEED, start, end, "")
    monkeypatch.setattr(archive_rows, "_FEW_TRADES", 0)
    by_hours = TYPES["aggTrades"].rows(FEED, start, end, "")
    assert whole.frame.equals(by_hours.frame)
    assert whole.frame.height > 10_000


def test_references_of_a_whole_day_are_those_of_its_minutes() -> None:
    for kind in ("mark", "index", "premium"):
        day = FEED.reference_bars(kind, DAY, DAY + 1440, (DAY + 3000) * 60_000)
        for minute in (0, 700, 1439):
            # As long as a minute runs it is made alone; at its last millisecond it is whole.
            alone = FEED.reference_bars(kind, DAY + minute, DAY + minute + 1, (DAY + minute + 1) * 60_000 - 1)
            for name in ("open", "high", "low", "close"):
                assert getattr(alone, name)[0] == getattr(day, name)[minute], (kind, minute, name)
