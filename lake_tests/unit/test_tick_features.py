"""Features of a minute from aggTrades and book updates (cases A-3, A-4, A-6)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake_assets.transforms.book import BOOK_FEATURES, book_features
from lake_assets.transforms.chunks import features_in_one_pass, whole_minutes
from lake_assets.transforms.trade_columns import TRADE_FEATURES
from lake_assets.transforms.trades import trade_features
from lake_resources.clock import MINUTE
from lake_resources.errors import RowsOutOfOrder
from lake_tests.support.wire_frames import TEN, agg_trade, wire


def ms(value: int) -> timedelta:
    return timedelta(milliseconds=value)


def trades(*rows: tuple[int, float, float, bool]) -> pl.DataFrame:
    """aggTrades as (ms after 10:00, price, quantity, is_buyer_maker), ids in order."""
    return wire("agg_trades", [agg_trade(i, TEN + ms(at), p, q, maker=m) for i, (at, p, q, m) in enumerate(rows)])


def one(frame: pl.DataFrame) -> dict[str, float]:
    assert frame.height == 1
    return frame.row(0, named=True)


def test_a3_tick_formulas() -> None:
    row = one(trade_features(trades((10, 100.0, 1.5, False), (20, 100.2, 1.0, True))))
    assert row["timestamp"] == TEN
    assert row["agg_notional"] / row["agg_quantity"] == pytest.approx(100.08, rel=1e-12)
    assert row["max_trade_size_btc"] == 1.5
    assert row["realized_vol_1m"] == pytest.approx(0.001998002662672249, rel=1e-12)
    assert (row["count_buy_trades"], row["count_sell_trades"]) == (1, 1)
    assert (row["vol_buy_retail_btc"], row["vol_sell_retail_btc"]) == (1.5, 1.0)
    assert row["transact_time"] == int(TEN.timestamp() * 1000) + 20


def test_a4_whale_and_retail_bounds_are_inclusive() -> None:
    row = one(
        trade_features(
            trades(
                (1, 100.0, 1000.0, False), (2, 100.0, 999.99, True), (3, 100.0, 10.0, True), (4, 100.0, 10.01, False)
            )
        )
    )
    assert row["whale_trade_count"] == 1
    assert (row["vol_buy_whale_btc"], row["vol_sell_whale_btc"]) == (1000.0, 0.0)
    assert (row["vol_buy_retail_btc"], row["vol_sell_retail_btc"]) == (0.0, 10.0)
    assert (row["count_buy_trades"], row["count_sell_trades"]) == (2, 2)


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 10**7).map(lambda n: Decimal(n) / 100), st.integers(1, 10**7).map(lambda n: Decimal(n) / 1000))
def test_bounds_hold_for_the_decimal_product(price: Decimal, quantity: Decimal) -> None:
    row = one(trade_features(trades((0, float(price), float(quantity), False))))
    assert (row["whale_trade_count"] == 1) == (price * quantity >= 100_000)
    assert (row["vol_buy_retail_btc"] > 0) == (price * quantity <= 1_000)


@pytest.mark.parametrize("price", ["0.3", "1.1", "0.07", "3.3", "12.8", "0.000064"])
def test_a_product_that_is_exactly_a_bound_counts_on_both_sides(price: str) -> None:
    def quantity(bound: int) -> Decimal:
        return Decimal(bound) / Decimal(price)

    whale = one(trade_features(trades((0, float(price), float(quantity(100_000)), True))))
    retail = one(trade_features(trades((0, float(price), float(quantity(1_000)), True))))
    assert whale["whale_trade_count"] == 1
    assert retail["vol_sell_retail_btc"] > 0


def test_realized_vol_stays_within_the_minute_and_orders_by_id() -> None:
    frame = wire(
        "agg_trades",
        [
            agg_trade(1, TEN + ms(59_999), 100.0, 1.0, maker=False),
            agg_trade(4, TEN + MINUTE + ms(5), 110.0, 1.0, maker=False),
            agg_trade(2, TEN + MINUTE + ms(5), 120.0, 1.0, maker=False),
            agg_trade(3, TEN + MINUTE + ms(5), 110.0, 1.0, maker=False),
        ],
    )
    features = trade_features(frame)
    assert features["realized_vol_1m"].to_list() == [0.0, pytest.approx(abs(math.log(110 / 120)), rel=1e-12)]


def test_a_repeated_id_counts_once_and_quiet_minutes_have_no_row() -> None:
    frame = trades((10, 100.0, 1.5, False), (180_000, 100.2, 1.0, True))
    assert trade_features(pl.concat([frame, frame])).equals(trade_features(frame))
    assert trade_features(frame)["timestamp"].to_list() == [TEN, TEN + 3 * MINUTE]


def test_single_trades_and_edge_quantities() -> None:
    frame = wire(
        "agg_trades",
        [
            (1, 100.0, 1.0, 10, 14, TEN, False),
            (2, 100.0, 2.0, 20, 20, TEN + ms(99), False),
            (3, 100.0, 4.0, 21, 21, TEN + ms(100), False),
            (4, 100.0, 8.0, 22, 22, TEN + ms(59_899), False),
            (5, 100.0, 16.0, 23, 24, TEN + ms(59_900), False),
        ],
    )
    row = one(trade_features(frame))
    assert (row["raw_trade_count"], row["head_quantity"], row["tail_quantity"]) == (10, 3.0, 16.0)


def test_no_trades_no_rows_but_the_columns() -> None:
    assert trade_features(wire("agg_trades")).schema == pl.Schema(TRADE_FEATURES)
    assert book_features(wire("book_ticker")).schema == pl.Schema(BOOK_FEATURES)


def book(*rows: tuple[int, float, float, float, float]) -> pl.DataFrame:
    """Updates as (ms after 10:00, bid, bid quantity, ask, ask quantity), ids in order."""
    return wire(
        "book_ticker", [(i, b, bq, a, aq, TEN + ms(at), TEN + ms(at)) for i, (at, b, bq, a, aq) in enumerate(rows)]
    )


def test_a6_book_snapshot() -> None:
    row = one(book_features(book((0, 100.0, 10.0, 101.0, 8.0))))
    assert row["avg_spread_usdt"] == 1.0
    assert row["bid_ask_imbalance"] == 2 / 18
    assert row["micro_price_close"] == pytest.approx(100.5555556, abs=1e-7)
    assert row["spread_pct"] == 1 / 100.5
    assert (row["avg_bid_depth"], row["avg_ask_depth"]) == (10.0, 8.0)


def test_empty_sides_have_no_imbalance_and_no_micro_price() -> None:
    row = one(book_features(book((0, 100.0, 3.0, 101.0, 1.0), (1, 100.0, 0.0, 102.0, 0.0))))
    assert row["bid_ask_imbalance"] == 0.5
    assert row["micro_price_close"] is None
    assert row["avg_spread_usdt"] == 1.5
    assert one(book_features(book((0, 0.0, 0.0, 0.0, 0.0))))["spread_pct"] is None


def test_the_last_update_is_the_one_of_the_greatest_id() -> None:
    frame = book((30, 100.0, 1.0, 101.0, 1.0), (20, 200.0, 1.0, 201.0, 1.0))
    assert one(book_features(frame))["micro_price_close"] == 200.5
    assert book_features(frame.reverse()).equals(book_features(frame))


def spread_of_trades() -> pl.DataFrame:
    return trades(*((i * 7_000, 100.0 + i % 7, 0.1 + i % 5, i % 3 == 0) for i in range(200)))


@pytest.mark.parametrize("size", [1, 3, 50, 1000])
def test_chunks_are_cut_at_minute_edges(size: int) -> None:
    whole = spread_of_trades()
    parts = list(whole_minutes((whole[i : i + size] for i in range(0, whole.height, size)), "transact_time"))
    assert pl.concat(parts).equals(whole)
    minutes = [set(part["transact_time"].dt.truncate("1m")) for part in parts]
    assert sum(map(len, minutes)) == len(set.union(*minutes))
    assert pl.concat([trade_features(part) for part in parts]).equals(trade_features(whole))


def test_memory_is_bounded_by_a_chunk_and_two_minutes() -> None:
    whole = spread_of_trades()
    parts = list(whole_minutes((whole[i : i + 1] for i in range(whole.height)), "transact_time"))
    assert max(part.height for part in parts[:-1]) <= 9
    assert parts[-1].height <= 18


def test_time_may_step_back_over_a_minute_edge() -> None:
    whole = trades(
        (59_990, 100.0, 1.0, False),
        (60_001, 101.0, 1.0, False),
        (59_995, 102.0, 1.0, False),
        (200_000, 103.0, 1.0, True),
    )
    parts = list(whole_minutes((whole[i : i + 1] for i in range(4)), "transact_time"))
    assert pl.concat([trade_features(part) for part in parts]).equals(trade_features(whole))
    assert trade_features(whole)["count_buy_trades"].to_list() == [2, 1, 0]


def test_greater_disorder_is_named_and_read_whole() -> None:
    whole = spread_of_trades()
    chunks = [whole[i : i + 40] for i in range(0, 200, 40)][::-1]
    with pytest.raises(RowsOutOfOrder, match=r"transact_time .* came after .* sort it by its key"):
        list(whole_minutes(chunks, "transact_time"))

    def read() -> Iterator[pl.DataFrame]:
        yield from chunks
        yield chunks[2]

    assert features_in_one_pass(read, trade_features, "transact_time").equals(trade_features(whole))


def test_an_empty_stream_has_no_minutes() -> None:
    empty = features_in_one_pass(lambda: [wire("agg_trades")], trade_features, "transact_time")
    assert empty.schema == pl.Schema(TRADE_FEATURES)
    assert features_in_one_pass(list, trade_features, "transact_time").columns == ["timestamp"]
