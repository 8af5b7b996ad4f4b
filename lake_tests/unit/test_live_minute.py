"""Live rows of one minute: acceptance cases A-7 to A-10 by the definitions of the data dictionary."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from lake_assets.transforms.live.live_fold import SymbolFold, fold_records
from lake_assets.transforms.live.live_minute import nearest_rank_p95
from lake_assets.transforms.live.live_rows import LIVE_ROWS
from lake_resources.binance.ws.order_book import buy_impact
from lake_resources.clock import MINUTE_MS
from lake_tests.support.live_frames import (
    MINUTE,
    START_MS,
    SYMBOL,
    agg_trade,
    alive,
    book_ticker,
    depth,
    force_order,
    mark_price,
    record,
    snapshot,
)

LIQUIDATIONS = [name for name in LIVE_ROWS if name.startswith("liq_")]


def row_of(*frames: dict[str, Any], late_ms: int = 20) -> dict[str, Any]:
    """The row of the minute, of frames taken in the given order."""
    records = [record(seq, frame, late_ms=late_ms) for seq, frame in enumerate(frames, start=1)]
    return fold_records(SYMBOL, records, MINUTE, MINUTE + 1).row(0, named=True)


def alive_all_minute() -> list[dict[str, Any]]:
    return alive(START_MS - 2_000, START_MS + 62_000)


class TestLiquidations:
    def test_zero_only_where_the_socket_was_alive_all_minute(self) -> None:
        row = row_of(*alive_all_minute())

        assert row["has_liq"] is True
        assert row["liq_unfilled_supported"] is True
        volumes = ("liq_long_vol_usdt", "liq_short_vol_usdt", "liq_long_count", "liq_short_count")
        assert [row[name] for name in volumes] == [0.0, 0.0, 0, 0]
        assert row["liq_avg_fill_price"] is None
        assert row["liq_unfilled_ratio"] is None

    @pytest.mark.parametrize(
        "heartbeats",
        [
            alive(START_MS + 1_000, START_MS + 62_000),
            alive(START_MS - 2_000, START_MS + 59_000),
            [*alive(START_MS - 2_000, START_MS + 20_000), *alive(START_MS + 26_000, START_MS + 62_000)],
        ],
        ids=["began inside", "ended inside", "silent for 6 s"],
    )
    def test_null_where_it_was_not_provably_alive(self, heartbeats: list[dict[str, Any]]) -> None:
        row = row_of(*heartbeats, force_order(START_MS + 10_000, q="3", p="100", ap="100", l="2.5", z="2.5"))

        assert row["has_liq"] is False
        assert {row[name] for name in LIQUIDATIONS} == {None}

    def test_two_sockets_that_overlap_are_alive_together_and_apart_are_not(self) -> None:
        def has_liq(second_from_ms: int) -> bool:
            first = [record(seq, frame) for seq, frame in enumerate(alive(START_MS - 1_000, START_MS + 30_000))]
            second = [
                record(100 + seq, frame, conn=2) for seq, frame in enumerate(alive(second_from_ms, START_MS + 61_000))
            ]
            return bool(fold_records(SYMBOL, [*first, *second], MINUTE, MINUTE + 1)["has_liq"][0])

        assert has_liq(START_MS + 29_000)
        assert not has_liq(START_MS + 31_000)

    def test_one_sell_partly_filled(self) -> None:
        order = force_order(START_MS + 10_000, q="3", p="101", ap="100", l="0.5", z="2.5")

        row = row_of(*alive_all_minute(), order, order)

        assert (row["liq_long_vol_usdt"], row["liq_short_vol_usdt"]) == (250.0, 0.0)
        assert (row["liq_long_count"], row["liq_short_count"]) == (1, 0)
        assert row["liq_avg_fill_price"] == 100.0
        assert row["liq_unfilled_ratio"] == pytest.approx(1 / 6, abs=1e-15)
        assert row["liq_unfilled_supported"] is True

    def test_a_full_fill_counts_in_full_and_leaves_nothing(self) -> None:
        row = row_of(*alive_all_minute(), force_order(START_MS, q="3", p="101", ap="100", l="2.5", z="3"))

        assert row["liq_long_vol_usdt"] == 300.0
        assert row["liq_unfilled_ratio"] == 0.0

    def test_order_price_where_there_is_no_average(self) -> None:
        row = row_of(*alive_all_minute(), force_order(START_MS, "BUY", q="2", p="101", ap="0", z="2"))

        assert row["liq_short_vol_usdt"] == 202.0
        assert row["liq_short_count"] == 1

    def test_an_event_without_z_leaves_the_volume_unknown_not_smaller(self) -> None:
        row = row_of(
            *alive_all_minute(),
            force_order(START_MS, q="2", p="101", ap="100", z="2"),
            force_order(START_MS + 1, q="2", p="101", ap="100"),
            force_order(START_MS + 2, "BUY", q="1", p="101", ap="100", z="1"),
        )

        assert row["liq_unfilled_supported"] is False
        assert row["liq_long_vol_usdt"] is None
        assert row["liq_short_vol_usdt"] == 100.0
        assert row["liq_long_count"] == 2
        assert row["liq_unfilled_ratio"] is None
        assert row["liq_avg_fill_price"] is None


class TestLatency:
    def test_two_events(self) -> None:
        """A-8 under the dictionary's definitions: engine = E - T, network = arrival - E."""
        first = record(1, depth(1, 2, 0, START_MS + 1_000, engine_ms=10), late_ms=25)
        second = record(2, depth(3, 4, 2, START_MS + 2_000, engine_ms=600), late_ms=100)

        row = fold_records(SYMBOL, [first, second], MINUTE, MINUTE + 1).row(0, named=True)

        assert row["event_time"] == START_MS + 2_000
        assert row["arrival_time"] == START_MS + 2_100
        assert (row["latency_engine"], row["latency_network"]) == (600, 100)
        assert row["ws_latency_bad"] is True
        assert (row["has_ws_latency"], row["has_depth"]) == (True, True)
        assert (row["update_id_start"], row["update_id_end"]) == (1, 4)
        assert row["transact_time"] is None, "a depth event has no say in the time of the last trade"

    def test_one_outlier_of_a_hundred_and_one_is_not_bad(self) -> None:
        frames = [
            record(n, depth(2 * n, 2 * n + 1, 2 * n - 1, START_MS + n, engine_ms=20), late_ms=25) for n in range(1, 101)
        ]
        frames.append(record(101, depth(202, 203, 201, START_MS + 200, engine_ms=600), late_ms=600))

        row = fold_records(SYMBOL, frames, MINUTE, MINUTE + 1).row(0, named=True)

        assert (row["latency_engine"], row["latency_network"]) == (20, 25)
        assert row["ws_latency_bad"] is False

    def test_negative_under_clock_skew_is_kept(self) -> None:
        row = row_of(depth(1, 2, 0, START_MS), late_ms=-1_268)

        assert row["latency_network"] == -1_268
        assert row["arrival_time"] == START_MS - 1_268

    def test_without_depth_nothing_is_known(self) -> None:
        row = row_of(*alive_all_minute())

        names = ("event_time", "arrival_time", "latency_engine", "latency_network", "update_id_start", "ws_latency_bad")
        assert {row[name] for name in (*names, "depth_degraded", "impact_fillable", "price_impact_100k")} == {None}
        assert (row["has_depth"], row["has_ws_latency"]) == (False, False)

    @pytest.mark.parametrize(
        ("values", "expected"), [(list(range(1, 101)), 95), ([5], 5), ([1, 2, 3, 4], 4), ([20, 30], 30), ([], None)]
    )
    def test_nearest_rank(self, values: list[int], expected: int | None) -> None:
        assert nearest_rank_p95(values) == expected


class TestImpact:
    def test_walk_of_two_levels(self) -> None:
        value = buy_impact({101.0: 500.0, 102.0: 1000.0}, 99.0, 101.0, 100_000.0)

        assert value == pytest.approx(0.014925373134328339, rel=1e-14)

    def test_not_filled(self) -> None:
        assert buy_impact({101.0: 500.0}, 99.0, 101.0, 100_000.0) is None

    @pytest.mark.parametrize(
        ("asks", "impact", "fillable"),
        [
            ([["101", "500"], ["102", "1000"]], pytest.approx(0.014925373134328339, rel=1e-14), True),
            ([["101", "500"]], None, False),
        ],
    )
    def test_in_a_row(self, asks: list[list[str]], impact: float | None, fillable: bool) -> None:
        row = row_of(
            depth(8, 12, 7, START_MS + 1_000),
            snapshot(10, START_MS + 1_050, [["99", "5"]], asks),
            depth(13, 14, 12, START_MS + 1_100),
        )

        assert row["price_impact_100k"] == impact
        assert row["impact_fillable"] is fillable
        assert row["depth_degraded"] is True, "it was synchronised in this minute"

    def test_the_last_synchronised_book_of_the_minute_counts(self) -> None:
        asks = [["100", "5000"], ["200", "5000"]]
        frames = [
            depth(8, 12, 7, START_MS - 1_000),
            snapshot(10, START_MS - 900, [["99.99", "5"]], asks),
            depth(13, 14, 12, START_MS + 100),
            depth(15, 16, 14, START_MS + 59_999, asks=(("100", "500"),)),
            depth(17, 18, 16, START_MS + 60_000, asks=(("100", "5000"),)),
        ]

        row = row_of(*frames)

        average = 100_000 / (500 + 50_000 / 200)
        mid = 99.995
        assert row["price_impact_100k"] == pytest.approx((average - mid) / mid, rel=1e-12)
        assert row["depth_degraded"] is False

    def test_a_break_keeps_the_value_before_it_and_degrades(self) -> None:
        frames = [
            depth(8, 12, 7, START_MS - 1_000),
            snapshot(10, START_MS - 900, [["99.99", "5"]], [["100", "5000"]]),
            depth(13, 14, 12, START_MS + 100),
            depth(19, 20, 18, START_MS + 200, asks=(("100", "0"),)),
        ]

        row = row_of(*frames)

        assert row["price_impact_100k"] == pytest.approx(0.01 / 2 / 99.995, rel=1e-9)
        assert row["depth_degraded"] is True

    def test_never_in_sync(self) -> None:
        row = row_of(depth(8, 12, 7, START_MS), depth(13, 14, 12, START_MS + 100))

        assert (row["price_impact_100k"], row["impact_fillable"]) == (None, None)
        assert row["depth_degraded"] is True

    def test_a_wide_spread_degrades(self) -> None:
        row = row_of(
            depth(8, 12, 7, START_MS - 1_000),
            snapshot(10, START_MS - 900, [["97", "5"]], [["100", "5000"]]),
            depth(13, 14, 12, START_MS + 100),
        )

        assert row["impact_fillable"] is True
        assert row["depth_degraded"] is True


class TestFunding:
    def test_the_latest_estimate_counts_whatever_came_last(self) -> None:
        row = row_of(
            mark_price(START_MS + 1_000, "0.00010000"),
            mark_price(START_MS + 3_000, "0.00030000"),
            mark_price(START_MS + 2_000, "0.00020000"),
        )

        assert row["predicted_funding"] == 0.0003
        assert row["next_funding_time"] == START_MS + 3_600_000

    def test_a_settlement_that_has_passed_is_not_the_next_one_and_zero_is_none(self) -> None:
        row = row_of(mark_price(START_MS + 10, "", START_MS), mark_price(START_MS + 1_000, "", 0))

        assert row["next_funding_time"] is None
        assert row["predicted_funding"] is None


class TestTicks:
    def test_book_and_trades_are_those_of_the_archive_transforms_and_repetitions_count_once(self) -> None:
        row = row_of(
            book_ticker(5, START_MS + 10, 99.0, 101.0),
            book_ticker(5, START_MS + 10, 99.0, 101.0),
            book_ticker(6, START_MS + 20, 99.0, 100.0),
            agg_trade(2, START_MS + 20, 101.0),
            agg_trade(1, START_MS + 10, 100.0, 2.0, sell=True),
            agg_trade(2, START_MS + 20, 101.0),
        )

        assert row["avg_spread_usdt"] == 1.5
        assert row["micro_price_close"] == pytest.approx((99.0 * 3 + 100.0 * 2) / 5)
        assert (row["count_buy_trades"], row["count_sell_trades"], row["agg_quantity"]) == (1, 1, 3.0)
        assert (row["first_agg_trade_id"], row["last_agg_trade_id"], row["agg_trades"]) == (1, 2, 2)
        assert (row["agg_trade_frames"], row["book_ticker_frames"]) == (3, 3)

    def test_a_frame_that_lacks_a_field_leaves_the_minute_whole(self) -> None:
        broken = agg_trade(3, START_MS + 30)
        del broken["q"]

        row = row_of(agg_trade(1, START_MS), broken, agg_trade(2, START_MS + 20))

        assert row["agg_trades"] == 2


class TestFirstRow:
    """A minute has a row soon after its end, and another one only where something came before it was closed."""

    @staticmethod
    def frames(until_ms: int) -> list[dict[str, Any]]:
        ticks = range(START_MS - 1_000, until_ms + 1, 500)
        books = [book_ticker(n, ms, 100.0, 101.0) for n, ms in enumerate(ticks)]
        deltas = [depth(10 * n + 1, 10 * n + 10, 10 * n, ms) for n, ms in enumerate(ticks)]
        marks = alive(START_MS - 1_000, until_ms)
        return sorted([*books, *deltas, *marks], key=lambda frame: frame["E"])

    def taken(self, *late: dict[str, Any]) -> tuple[list[pl.DataFrame], pl.DataFrame]:
        end_ms = START_MS + MINUTE_MS
        early, rest = self.frames(end_ms + 500), self.frames(end_ms + 3_000)
        frames = [*early, *late, *rest[len(early) :]]
        records = [record(seq, frame) for seq, frame in enumerate([agg_trade(1, START_MS + 1, 100.0), *frames])]
        fold, found = SymbolFold(SYMBOL, closing=True), []
        for each in records:
            fold.feed(each)
            if fold.has_rows:
                found.append(fold.take().filter(pl.col("timestamp").dt.epoch("ms") == START_MS))
        assert fold.stale == set()
        return [each for each in found if each.height], fold_records(SYMBOL, records, MINUTE, MINUTE + 1)

    def test_it_stands_where_nothing_comes_any_more(self) -> None:
        (row,), folded = self.taken()
        assert row.equals(folded)
        assert row["market_alive"].all()

    def test_a_frame_that_comes_before_the_minute_is_closed_is_in_the_second_row(self) -> None:
        (first, second), folded = self.taken(agg_trade(2, START_MS + 59_000, 100.5))
        assert (first["agg_trades"][0], second["agg_trades"][0]) == (1, 2)
        assert second.equals(folded)

    @staticmethod
    def resting(told: int, *, told_ms: int = START_MS + 40_000) -> list[dict[str, Any]]:
        """A book in sync whose best prices have not moved since the ticker of a time; `told` is the id of that one."""
        ticks = range(START_MS - 1_000, START_MS + MINUTE_MS + 501, 500)
        deltas = [depth(10 * n + 1, 10 * n + 10, 10 * n, ms) for n, ms in enumerate(ticks)]
        body = snapshot(5, START_MS - 900, [["99.90", "2"], ["99.80", "1"]], [["100.10", "3"]])
        tickers = [book_ticker(1, START_MS - 400), book_ticker(told, told_ms)]
        marks = alive(START_MS - 1_000, START_MS + MINUTE_MS)
        return sorted([*deltas, body, *tickers, *marks], key=lambda frame: frame["E"])

    @staticmethod
    def first_rows(frames: list[dict[str, Any]]) -> pl.DataFrame:
        fold = SymbolFold(SYMBOL, closing=True)
        for seq, frame in enumerate(frames):
            fold.feed(record(seq, frame))
        return fold.take().filter(pl.col("timestamp").dt.epoch("ms") == START_MS)

    def test_best_prices_that_rest_over_the_end_need_no_further_ticker_where_the_book_has_them(self) -> None:
        row = self.first_rows(self.resting(500))
        assert row.select("market_alive", "public_alive", "book_ticker_alive").row(0) == (True, True, True)
        folded = [record(seq, frame) for seq, frame in enumerate(self.resting(500))]
        assert row.equals(fold_records(SYMBOL, folded, MINUTE, MINUTE + 1))

    def test_a_ticker_that_the_book_contradicts_is_waited_for(self) -> None:
        moved = [
            frame | {"b": [["99.95", "4"]]}
            if frame["e"] == "depthUpdate" and frame["E"] == START_MS + 50_000
            else frame
            for frame in self.resting(500)
            if "e" in frame
        ]
        body = [frame for frame in self.resting(500) if "e" not in frame]
        assert self.first_rows(sorted([*moved, *body], key=lambda frame: frame["E"])).is_empty()

    def test_a_book_that_went_on_without_the_end_shows_nothing(self) -> None:
        ended = [
            frame
            for frame in self.resting(500)
            if frame.get("e") != "depthUpdate" or not START_MS + 55_000 < frame["E"] < START_MS + MINUTE_MS
        ]
        assert self.first_rows(ended).is_empty()
