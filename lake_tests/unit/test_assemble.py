"""The assembled minute row: sources, NULL against 0, as-of joins (cases A-2 to A-6 and A-18)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from lake_assets.tables.dictionary import render
from lake_assets.tables.um_minute import UM_MINUTE as TABLE
from lake_assets.transforms.assemble import MinuteInputs, assemble
from lake_resources.binance.um_streams import FUNDING_RATE
from lake_resources.binance.witness import Settlements
from lake_resources.clock import HOUR, MINUTE
from lake_tests.support.wire_frames import TEN, agg_trade, coverage, inputs, kline, metrics_row, wire

NAN = float("nan")
LIVE = [column.name for column in TABLE.columns if column.support_class == "LIVE_ONLY"]
TICKS_TEXT = """
max_trade_size_btc count_buy_trades count_sell_trades vol_buy_whale_btc vol_sell_whale_btc vol_buy_retail_btc
vol_sell_retail_btc whale_trade_count realized_vol_1m
"""
TICKS = TICKS_TEXT.split()


def klines(rows: int, start: datetime = TEN, **rest: Any) -> pl.DataFrame:
    return wire("klines_1m", [kline(start + i * MINUTE, **rest) for i in range(rows)])


def first(given: MinuteInputs, **options: int) -> dict[str, Any]:
    return assemble(given, **options).row(0, named=True)


def at(frame: pl.DataFrame, instant: datetime) -> dict[str, Any]:
    return frame.row(by_predicate=pl.col("timestamp") == instant, named=True)


def minimal(**streams: pl.DataFrame | None) -> MinuteInputs:
    mark = wire("mark_price_klines_1m", [kline(TEN, (100.1, 100.5, 100.0, 100.4))])
    index = wire("index_price_klines_1m", [kline(TEN, (100.0, 100.3, 99.9, 100.2))])
    premium = wire("premium_index_klines_1m", [kline(TEN, (0.001, 0.002, 0.0, 0.0015))])
    return inputs(TEN, TEN + MINUTE, klines=klines(1), mark=mark, index=index, premium=premium, **streams)


def test_a2_source_present_but_empty() -> None:
    row = first(minimal(agg_trades=wire("agg_trades")))
    assert row["vwap_1m"] == 100.5
    assert row["avg_trade_size_btc"] == 0.1
    assert row["taker_buy_ratio"] == pytest.approx(0.55, rel=1e-12)
    assert row["net_taker_vol_btc"] == pytest.approx(0.2, rel=1e-12)
    assert [row[name] for name in TICKS] == [0] * len(TICKS)
    assert row["transact_time"] is None
    assert (row["mark_price_open"], row["mark_price_close"]) == (100.1, 100.4)
    assert (row["index_price_open"], row["index_price_close"]) == (100.0, 100.2)
    assert row["premium_index"] == 0.0015


def test_a2_live_columns_are_null_and_their_flags_false() -> None:
    row = first(minimal())
    false = {"has_ws_latency", "has_depth", "has_liq"}
    assert {name for name in LIVE if row[name] is not None} == false
    assert [row[name] for name in sorted(false)] == [False, False, False]
    assert row["has_ls_ratio"] is False


def test_a2_source_absent_is_null_not_zero() -> None:
    row = first(minimal())
    assert [row[name] for name in (*TICKS, "transact_time")] == [None] * (len(TICKS) + 1)
    assert row["vwap_1m"] == 200_000 / 2


def test_a2_a_minute_without_volume_closes_at_its_close() -> None:
    quiet = klines(1, volume=0.0, quote=0.0, count=0, taker=0.0, taker_quote=0.0)
    for ticks in (None, wire("agg_trades")):
        row = first(inputs(TEN, TEN + MINUTE, klines=quiet, agg_trades=ticks))
        assert row["vwap_1m"] == 100.5
        assert row["avg_trade_size_btc"] == 0
        assert row["taker_buy_ratio"] is None
        assert row["net_taker_vol_btc"] == 0


def test_a3_in_the_row() -> None:
    ticks = wire(
        "agg_trades",
        [
            agg_trade(1, TEN + timedelta(milliseconds=10), 100.0, 1.5, maker=False),
            agg_trade(2, TEN + timedelta(milliseconds=20), 100.2, 1.0, maker=True),
        ],
    )
    row = first(inputs(TEN, TEN + MINUTE, klines=klines(1, volume=2.5, quote=250.2, taker=1.5), agg_trades=ticks))
    assert row["vwap_1m"] == pytest.approx(100.08, rel=1e-12)
    assert (row["net_taker_vol_btc"], row["taker_buy_ratio"]) == (0.5, 0.6)
    assert row["realized_vol_1m"] == pytest.approx(0.001998002662672249, rel=1e-12)
    assert row["transact_time"] == int(TEN.timestamp() * 1000) + 20


def test_a4_in_the_row() -> None:
    sides = ((1000.0, False), (999.99, True), (10.0, True), (10.01, False))
    ticks = wire("agg_trades", [agg_trade(i, TEN, 100.0, q, maker=m) for i, (q, m) in enumerate(sides)])
    row = first(inputs(TEN, TEN + MINUTE, klines=klines(1, volume=2020.0, taker=1010.01), agg_trades=ticks))
    assert row["net_taker_vol_btc"] == pytest.approx(0.02, abs=1e-9)
    assert (row["whale_trade_count"], row["vol_buy_whale_btc"], row["vol_sell_retail_btc"]) == (1, 1000.0, 10.0)


def ratios(**options: int) -> pl.DataFrame:
    metrics = wire(
        "metrics",
        [
            metrics_row(TEN - 5 * MINUTE, 1.0, 1.0, 1.2, 1.0),
            metrics_row(TEN, 1.0, 1.0, 1.3, 1.1),
        ],
    )
    end = TEN + timedelta(minutes=70)
    return assemble(inputs(TEN, end, klines=klines(70), metrics=metrics), **options)


def test_a5_ratios_count_from_five_minutes_after_their_label() -> None:
    frame = ratios()
    early, late = at(frame, TEN + 4 * MINUTE), at(frame, TEN + 6 * MINUTE)
    assert (early["top_trader_ls_ratio_acct"], early["global_ls_ratio_acct"], early["has_ls_ratio"]) == (1.2, 1.0, True)
    assert late["ls_ratio_divergence"] == pytest.approx(0.2, rel=1e-12)
    assert late["top_trader_long_pct"] == pytest.approx(1.3 / 2.3, rel=1e-12)
    assert late["top_trader_short_pct"] == pytest.approx(1 / 2.3, rel=1e-12)
    assert at(frame, TEN + 5 * MINUTE)["top_trader_ls_ratio_acct"] == 1.3


@pytest.mark.parametrize("limit", [30, 60])
def test_a5_ratios_run_out_after_the_fill_limit(limit: int) -> None:
    frame = ratios(max_ffill_minutes=limit)
    last, gone = at(frame, TEN + (5 + limit) * MINUTE), at(frame, TEN + (6 + limit) * MINUTE)
    assert (last["top_trader_ls_ratio_acct"], last["has_ls_ratio"]) == (1.3, True)
    names = ("top_trader_ls_ratio_acct", "global_ls_ratio_acct", "ls_ratio_divergence", "oi_contracts")
    assert [gone[name] for name in names] == [None] * 4
    assert gone["has_ls_ratio"] is False


def test_metrics_are_carried_column_by_column_and_known_within_their_minute() -> None:
    metrics = wire(
        "metrics",
        [
            metrics_row(TEN - 10 * MINUTE, 7.0, 70.0, 1.2, 1.0),
            metrics_row(TEN - 5 * MINUTE + timedelta(seconds=59), None, 80.0, None, NAN),
        ],
    )
    row = first(inputs(TEN, TEN + MINUTE, klines=klines(1), metrics=metrics))
    assert (row["oi_contracts"], row["oi_value_usdt"]) == (7.0, 80.0)
    assert (row["top_trader_ls_ratio_acct"], row["global_ls_ratio_acct"]) == (1.2, 1.0)


@pytest.mark.parametrize("top", [1.85, 2.05, 0.95])
def test_a18_open_interest_is_never_divided(top: float) -> None:
    metrics = wire("metrics", [metrics_row(TEN - 5 * MINUTE, 90_000.5, 3.8e9, top, 1.45)])
    row = first(inputs(TEN, TEN + MINUTE, klines=klines(1), metrics=metrics))
    assert (row["oi_contracts"], row["oi_value_usdt"]) == (90_000.5, 3.8e9)
    assert (row["top_trader_ls_ratio_acct"], row["global_ls_ratio_acct"]) == (top, 1.45)


def test_a6_book_is_carried_but_the_micro_price_is_not() -> None:
    ticker = wire("book_ticker", [(1, 100.0, 10.0, 101.0, 8.0, TEN, TEN)])
    frame = assemble(inputs(TEN, TEN + 70 * MINUTE, klines=klines(70), book_ticker=ticker))
    assert frame["avg_spread_usdt"].to_list() == [1.0] * 61 + [None] * 9
    assert frame["bid_ask_imbalance"][1] == 2 / 18
    assert frame["micro_price_close"].to_list() == [pytest.approx(100.5555556, abs=1e-7)] + [None] * 69


def test_book_looks_back_before_the_window_and_stops_with_its_source() -> None:
    ticker = wire("book_ticker", [(1, 100.0, 10.0, 101.0, 8.0, TEN - 2 * MINUTE, TEN)])
    hours = coverage([TEN]).vstack(coverage([TEN + HOUR], book_ticker=False))
    given = inputs(TEN, TEN + 2 * HOUR, klines=klines(120), book_ticker=ticker, coverage=hours)
    frame = assemble(given, max_ffill_minutes=1440)
    assert frame["avg_bid_depth"].to_list() == [10.0] * 60 + [None] * 60


def funding(*rows: tuple[timedelta, int | None, float]) -> pl.DataFrame:
    return wire("funding_rate", [(TEN + offset, interval, rate) for offset, interval, rate in rows])


def rates(settlements: pl.DataFrame, minutes: int) -> list[float | None]:
    frame = assemble(inputs(TEN, TEN + minutes * MINUTE, klines=klines(minutes), funding=settlements))
    return frame["funding_rate"].to_list()


def test_a_settled_rate_holds_until_the_next_that_is_known() -> None:
    jitter = timedelta(milliseconds=2)
    step = rates(funding((jitter, 8, 0.01), (3 * MINUTE - jitter, 8, 0.02)), 5)
    assert step == [0.01, 0.01, 0.01, 0.02, 0.02]
    assert rates(funding((5 * MINUTE + jitter, 1, 0.01)), 7) == [None] * 5 + [0.01] * 2


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 8), (1, 8)])
@pytest.mark.parametrize("told", [True, False])
def test_a_longer_interval_leaves_no_minute_without_its_rate(before: int, after: int, told: bool) -> None:
    settled = [-after - before, -after, 0]
    known = [before, before, after] if told else [None] * 3
    given = funding(*((hours * HOUR, each, hours / 100) for hours, each in zip(settled, known, strict=True)))
    earlier = given.filter(pl.col("calc_time") < TEN)
    assert rates(earlier, 59) == [-after / 100] * 59, "whether or not the next is known yet"
    assert rates(given, 2) == [0.0] * 2


@pytest.mark.parametrize("interval", [1, 4, 8, None])
def test_each_rate_is_held_for_the_longest_interval_and_an_hour_as_column_and_page_say(interval: int | None) -> None:
    held, row = TABLE.column("funding_rate").carried_for, render(TABLE).split("`funding_rate`")[1].splitlines()[0]
    assert isinstance(FUNDING_RATE.witness, Settlements)
    assert held == FUNDING_RATE.witness.longest + HOUR == 9 * HOUR
    assert "(9 h, the same for every value)" in row
    assert rates(funding((-8 * HOUR, interval, 0.01)), 62) == [0.01] * 61 + [None]


def test_the_archive_row_of_a_settlement_wins_over_the_rest_row() -> None:
    twice = funding((timedelta(), 1, 0.01), (timedelta(milliseconds=3), None, 0.02))
    assert rates(twice, 5) == rates(twice.reverse(), 5) == [0.01] * 5


def test_frame_is_exact_sorted_and_free_of_nan() -> None:
    broken = klines(3, ohlc=(NAN, float("inf"), 99.0, 100.5)).reverse()
    frame = assemble(inputs(TEN, TEN + HOUR, klines=broken))
    assert frame.schema == TABLE.polars_schema
    assert frame["timestamp"].to_list() == [TEN, TEN + MINUTE, TEN + 2 * MINUTE]
    assert frame["open"].null_count() == frame["high"].null_count() == 3


def test_a_window_holds_its_own_minutes_with_a_kline_and_no_others() -> None:
    some = klines(10).filter(pl.col("open_time") != TEN + 4 * MINUTE)
    frame = assemble(inputs(TEN + MINUTE, TEN + 8 * MINUTE, klines=some))
    assert [time.minute for time in frame["timestamp"]] == [1, 2, 3, 5, 6, 7]
    assert assemble(inputs(TEN + HOUR, TEN + 2 * HOUR, klines=some)).equals(TABLE.empty())


def test_repeated_klines_count_once_and_contradicting_ones_stay_visible() -> None:
    again = pl.concat([klines(2), klines(2)])
    assert assemble(inputs(TEN, TEN + HOUR, klines=again)).height == 2
    contradiction = pl.concat([klines(2), klines(1, volume=3.0)])
    frame = assemble(inputs(TEN, TEN + HOUR, klines=contradiction))
    assert frame.select("timestamp", "volume_btc").rows() == [(TEN, 2.0), (TEN, 3.0), (TEN + MINUTE, 2.0)]
    assert assemble(inputs(TEN, TEN + HOUR, klines=contradiction.reverse())).equals(frame)


def test_wire_frames_in_milliseconds_join_all_the_same() -> None:
    mark = minimal().bars["mark_price_klines_1m"]
    assert mark is not None
    coarse = mark.with_columns(pl.col("open_time").cast(pl.Datetime("ms", "UTC")))
    row = first(inputs(TEN, TEN + MINUTE, klines=klines(1), mark=coarse))
    assert row["mark_price_open"] == 100.1
