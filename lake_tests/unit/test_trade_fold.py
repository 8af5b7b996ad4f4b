"""Single trades folded to bars: exact sums, quiet bars proven by ids, nothing made of what ids do not prove."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake_assets.schema.rolling import exact_total
from lake_assets.transforms.exact_sums import decimals_of
from lake_assets.transforms.trade_fold import (
    FILLS,
    HeardSpan,
    doubted_bars,
    each_once,
    fills_of_agg_trades,
    fills_of_trades,
    folded,
    proven_spans,
)
from lake_resources.binance.spot_streams import KLINES_1M
from lake_resources.binance.wire_columns import TRADE_COLUMNS
from lake_resources.clock import MINUTE, SECOND

T0 = datetime(2026, 11, 20, 12, tzinfo=UTC)


def at(ms: float) -> datetime:
    return T0 + timedelta(milliseconds=ms)


def fills(*rows: tuple[int, float, float, float], sells: bool = False) -> pl.DataFrame:
    """Fills of (id, ms after T0, price, quantity)."""
    return pl.DataFrame(
        [(number, number, at(ms), price, qty, sells) for number, ms, price, qty in rows], schema=FILLS, orient="row"
    )


def bars(frame: pl.DataFrame) -> dict[int, tuple[float, ...]]:
    """Seconds after T0 → open, high, low, close, volume, quote volume, count."""
    names = ("open", "high", "low", "close", "volume", "quote_volume", "count")
    return {
        round((row["open_time"] - T0).total_seconds()): tuple(row[name] for name in names)
        for row in frame.iter_rows(named=True)
    }


EARLIER = (100, -2500.0, 0.9, 1.0)
LATER = (104, 3500.0, 1.3, 1.0)
CASE = ((101, 0.0, 1.0, 1.0), (102, 500.0, 1.2, 2.0), (103, 900.0, 1.1, 1.0))


def test_a_second_has_the_first_and_last_price_by_id_and_the_sums_of_its_trades() -> None:
    found = bars(folded(fills(EARLIER, *CASE, LATER), SECOND))
    assert found[0] == (1.0, 1.2, 1.0, 1.1, 4.0, 4.5, 3)


def test_seconds_between_touching_ids_are_quiet_and_carry_the_close() -> None:
    found = bars(folded(fills(EARLIER, *CASE, LATER), SECOND))
    assert sorted(found) == [-2, -1, 0, 1, 2], "the second of the first and of the last trade may have had others"
    assert found[-1] == (0.9, 0.9, 0.9, 0.9, 0.0, 0.0, 0)
    assert found[1] == found[2] == (1.1, 1.1, 1.1, 1.1, 0.0, 0.0, 0)


def test_nothing_is_made_of_the_seconds_in_which_trades_are_missed() -> None:
    before, after = fills(EARLIER, *CASE), fills((110, 5200.0, 1.4, 1.0), (111, 8000.0, 1.5, 1.0))
    found = bars(folded(pl.concat([before, after]), SECOND))
    assert sorted(found) == [-2, -1, 6, 7], "from the last trade before the gap to the first after it nothing is known"
    assert found[6] == (1.4, 1.4, 1.4, 1.4, 0.0, 0.0, 0), "the price after an outage, not the one from before it"


@pytest.mark.parametrize("quantity", [0.0, 9.3e-10])
def test_a_trade_of_no_quantity_leaves_its_bar_and_the_quiet_ones_after_it_unknown(quantity: float) -> None:
    void = (105, 4200.0, 1.3, quantity)
    known = fills(EARLIER, *CASE, LATER, void, (106, 6100.0, 1.4, 1.0), (107, 9000.0, 1.5, 1.0))
    assert sorted(bars(folded(known, SECOND))) == [-2, -1, 0, 1, 2, 3, 6, 7, 8]
    assert sorted(bars(doubted_bars(known, SECOND))) == [4, 5], "others may say what they are"


def test_a_trade_whose_notional_is_not_its_price_times_its_quantity_keeps_no_quantity() -> None:
    rows = [
        (1, 1.1, 2.0, 2.2, T0, False),
        (2, 1.1, 3.0, 2.2, T0, False),
        (3, 1.65, 2.0, 2.2, T0, True),
        (4, 0.1, 0.00000001, 0.0, T0, True),
    ]
    found = fills_of_trades(pl.DataFrame(rows, schema=TRADE_COLUMNS, orient="row"))
    assert found["qty"].to_list() == [2.0, 0.0, 0.0, 0.00000001]
    assert found["first_id"].to_list() == [1, 2, 3, 4], "that something was traded is known"


def test_what_was_listened_to_proves_the_ends_as_well() -> None:
    heard = HeardSpan(since=at(-200), until=at(2500))
    found = bars(folded(fills(*CASE), SECOND, heard))
    assert sorted(found) == [0, 1], "the second that was over when it ended, and no other"
    assert found[1][:4] == (1.1,) * 4
    assert sorted(bars(folded(fills((7, 1200.0, 1.0, 1.0)), SECOND, HeardSpan(at(-200), at(2500))))) == [1], (
        "a quiet second before any known price is no row"
    )


def test_order_and_repetition_change_nothing() -> None:
    whole = fills(EARLIER, *CASE, LATER)
    mixed = pl.concat([whole.reverse(), whole.slice(1, 3)])
    assert folded(mixed, SECOND).equals(folded(whole, SECOND))


def test_trades_of_one_millisecond_are_ordered_by_id() -> None:
    found = bars(
        folded(fills(EARLIER, (102, 10.0, 3.0, 1.0), (101, 10.0, 2.0, 1.0), (103, 10.0, 1.5, 1.0), LATER), SECOND)
    )
    assert found[0][:4] == (2.0, 3.0, 1.5, 1.5)


def test_a_gap_healed_by_rows_of_several_trades_gives_the_same_bars() -> None:
    single = fills(EARLIER, (101, 100.0, 1.0, 1.0), (102, 100.0, 1.0, 2.0), (103, 400.0, 1.1, 1.0), LATER)
    aggregated = pl.DataFrame(
        {
            "agg_trade_id": [50, 51],
            "price": [1.0, 1.1],
            "quantity": [3.0, 1.0],
            "first_trade_id": [101, 103],
            "last_trade_id": [102, 103],
            "transact_time": [at(100), at(400)],
            "is_buyer_maker": [False, False],
        }
    )
    heard = single.filter(~pl.col("first_id").is_in([102, 103]))
    healed = pl.concat([heard, fills_of_agg_trades(aggregated)])
    assert each_once(healed)["first_id"].to_list() == [100, 101, 103, 104], "the row of several holds the single one"
    assert folded(healed, SECOND).equals(folded(single, SECOND))


def test_takers_buy_where_the_buyer_is_not_the_maker() -> None:
    sold = fills((102, 200.0, 2.0, 0.5), sells=True)
    frame = folded(
        pl.concat([fills((100, -500.0, 1.0, 1.0), (101, 100.0, 2.0, 0.25)), sold, fills((103, 1500.0, 1.0, 1.0))]),
        SECOND,
    )
    row = frame.row(0, named=True)
    assert (row["volume"], row["taker_buy_volume"], row["taker_buy_quote_volume"]) == (0.75, 0.25, 0.5)


def test_no_trades_no_bars() -> None:
    assert folded(pl.DataFrame(schema=FILLS), SECOND).is_empty()
    assert proven_spans(fills(CASE[0]), SECOND).is_empty()


@given(st.lists(st.tuples(st.integers(1, 10**9), st.integers(1, 10**12)), min_size=1, max_size=40))
def test_sums_are_those_of_the_decimals(trades: list[tuple[int, int]]) -> None:
    """Prices of 2 decimals and quantities of 5: the doubles nearest to the exact sums, whatever their size."""
    rows = [
        (number, number, at(number), price / 100, qty / 100_000, False)
        for number, (price, qty) in enumerate(trades, start=1)
    ]
    ends = [(0, 0, at(-1500), 1.0, 1.0, False), (len(rows) + 1, len(rows) + 1, at(5000), 1.0, 1.0, False)]
    frame = pl.DataFrame([ends[0], *rows, ends[1]], schema=FILLS, orient="row")
    found = folded(frame, SECOND).filter(pl.col("open_time") == T0).row(0, named=True)
    assert found["volume"] == sum(qty for _, qty in trades) / 10**5
    assert found["quote_volume"] == sum(price * qty for price, qty in trades) / 10**7


def test_decimals_are_found_and_sums_of_a_column_do_not_drift() -> None:
    assert [decimals_of(pl.Series(values, dtype=pl.Float64)) for values in ([1.0, 20.0], [0.1, 0.25], [1e-8], [])] == [
        0, 2, 8, 0,
    ]  # fmt: skip
    tenths = pl.DataFrame({"x": [0.1] * 86_400})
    assert tenths.select(exact_total("x")).item() == 8640.0


@pytest.fixture(scope="module")
def heard(recorded: Callable[[str], Path]) -> pl.DataFrame:
    """Trades of the recorded sockets of 2024-08-08 23:54 to 2024-08-09 00:05."""
    rows = []
    for day in (8, 9):
        with gzip.open(recorded(f"ws/spot__btcusdt_2024080{day}.gz"), "rt") as lines:
            for line in lines:
                frame = json.loads(line.partition(" ")[2]).get("data", {})
                if frame.get("e") == "trade":
                    rows.append((frame["t"], float(frame["p"]), float(frame["q"]), frame["T"], frame["m"]))
    frame = pl.DataFrame(rows, schema=["id", "price", "qty", "time", "is_buyer_maker"], orient="row")
    return frame.with_columns(pl.from_epoch("time", time_unit="ms").cast(pl.Datetime("us", "UTC")))


def test_the_recorded_sockets_fold_to_the_official_klines(heard: pl.DataFrame, recorded: Callable[[str], Path]) -> None:
    files = [recorded(f"vision/spot/klines_1m/BTCUSDT-1m-2024-08-0{day}.csv") for day in (8, 9)]
    names = [*KLINES_1M.columns, "ignored"]
    official = pl.concat([pl.read_csv(path, has_header=False, new_columns=names) for path in files])
    official = official.with_columns(
        pl.from_epoch(name, time_unit="ms").cast(pl.Datetime("us", "UTC")) for name in ("open_time", "close_time")
    )
    official = official.select(pl.col(name).cast(dtype) for name, dtype in KLINES_1M.columns.items())
    start = datetime(2024, 8, 8, 23, 55, tzinfo=UTC)
    ten = official.filter(pl.col("open_time").is_between(start, start + 9 * MINUTE))
    found = folded(fills_of_trades(heard), MINUTE)
    assert ten.height == 10
    assert found.filter(pl.col("open_time").is_in(ten["open_time"].implode())).equals(ten), "all fields, every minute"


def test_seconds_of_the_recording_roll_up_to_the_same_minutes(heard: pl.DataFrame) -> None:
    once = fills_of_trades(heard)
    seconds, minutes = folded(once, SECOND), folded(once, MINUTE)
    assert seconds["open_time"].diff().drop_nulls().unique().to_list() == [SECOND], "every second is known"
    rolled = (
        seconds.group_by_dynamic("open_time", every="1m")
        .agg(
            pl.len(),
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("count").sum(),
            *(exact_total(name) for name in ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")),
        )
        .filter(pl.col("len") == 60)
        .drop("len")
    )
    both = rolled.join(minutes, on="open_time", how="inner", suffix="_of_minutes")
    assert both.height >= 10
    for name in rolled.columns[1:]:
        if name not in ("open", "high", "low"):
            assert both[name].equals(both[f"{name}_of_minutes"].alias(name)), name
