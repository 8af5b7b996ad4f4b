"""What holds of the minute rows for any market: no look-ahead, hours equal days, order and repetition do not matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake_assets.tables.um_minute import UM_MINUTE as TABLE
from lake_assets.transforms.assemble import MinuteInputs, assemble
from lake_assets.transforms.book import book_features
from lake_assets.transforms.chunks import features_in_one_pass
from lake_assets.transforms.trades import trade_features
from lake_resources.clock import HOUR, MINUTE
from lake_tests.support.wire_frames import BARS, TEN, agg_trade, coverage, kline, metrics_row, wire

pytestmark = pytest.mark.slow

START, END = TEN - HOUR, TEN + 3 * HOUR
LOOK_BACK = START - 2 * HOUR
HOURS = [START + HOUR * i for i in range(4)]
TICKS = ("max_trade_size_btc", "count_buy_trades", "vol_sell_whale_btc", "whale_trade_count", "realized_vol_1m")
KNOWN_AT = {
    "klines": "open_time",
    "mark": "open_time",
    "index": "open_time",
    "premium": "open_time",
    "agg_trades": "transact_time",
    "book_ticker": "transaction_time",
    "funding": "calc_time",
}
"""When a row is knowable, or begins to be; metrics have their own rule."""

quick = settings(derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.data_too_large])


@dataclass(frozen=True)
class Market:
    """Raw wire frames of six hours; a stream may be absent (None)."""

    frames: dict[str, pl.DataFrame | None]
    coverage: pl.DataFrame
    max_ffill: int
    seed: int

    def inputs(self, start: datetime, end: datetime) -> MinuteInputs:
        given = dict(self.frames)
        trades, book = given.pop("agg_trades"), given.pop("book_ticker")
        bars = {name: given.pop(short) for name, short in BARS.items()}
        return MinuteInputs(
            start=start,
            end=end,
            trades=None if trades is None else trade_features(trades),
            book=None if book is None else book_features(book),
            coverage=self.coverage,
            bars=bars,
            **given,  # type: ignore[arg-type]
        )

    def rows(self, start: datetime = START, end: datetime = END) -> pl.DataFrame:
        return assemble(self.inputs(start, end), max_ffill_minutes=self.max_ffill)

    def changed(self, change: Callable[[str, pl.DataFrame], pl.DataFrame]) -> Market:
        frames = {name: frame if frame is None else change(name, frame) for name, frame in self.frames.items()}
        return Market(frames, self.coverage, self.max_ffill, self.seed)


def _minutes(random: Random, gap: float) -> list[datetime]:
    count = int((END - LOOK_BACK) / MINUTE)
    return [LOOK_BACK + i * MINUTE for i in range(count) if random.random() >= gap]


def _klines(stream: str, random: Random, gap: float) -> pl.DataFrame:
    rows = []
    for minute in _minutes(random, gap):
        quiet = random.random() < 0.1
        prices = sorted(round(random.uniform(99, 101), 2) for _ in range(4))
        volume = 0.0 if quiet else round(random.uniform(0.001, 2000), 3)
        taker = round(volume * random.random(), 3)
        ohlc = (prices[1], prices[3], prices[0], prices[2])
        rows.append(kline(minute, ohlc, volume, volume * 100, 0 if quiet else 30, taker, taker * 100))
    return wire(stream, rows)


def _agg_trades(random: Random) -> pl.DataFrame:
    at, rows = LOOK_BACK, []
    for number in range(1200):
        at += timedelta(
            milliseconds=random.choice((0, 3, 90, 1_500, 30_000, 200_000 if random.random() < 0.1 else 500))
        )
        # Times of neighbouring ids may step back a little, also over a minute edge.
        jitter = timedelta(milliseconds=random.choice((0, 0, 0, 7)))
        price, quantity = round(random.uniform(99, 101), 1), random.choice((0.001, 1.5, 10.0, 999.99, 1010.2))
        rows.append(agg_trade(number, at - jitter, price, quantity, maker=random.random() < 0.5))
    return wire("agg_trades", [row for row in rows if row[5] < END])


def _book_ticker(random: Random) -> pl.DataFrame:
    at, rows = LOOK_BACK, []
    for number in range(300):
        at += timedelta(milliseconds=random.choice((1, 900, 40_000, 150_000)))
        bid = round(random.uniform(99, 101), 1)
        sizes = [random.choice((0.0, 0.5, 3.25)) for _ in range(2)]
        rows.append((number, bid, sizes[0], bid + random.choice((0.1, 0.2)), sizes[1], at, at))
    return wire("book_ticker", [row for row in rows if row[5] < END])


def _metrics(random: Random) -> pl.DataFrame:
    def value(high: float) -> float | None:
        return random.choice((round(random.uniform(0, high), 4), None, float("nan"), round(random.uniform(0, high), 4)))

    labels = [LOOK_BACK + 5 * i * MINUTE for i in range(int((END - LOOK_BACK) / (5 * MINUTE)))]
    shift = timedelta(seconds=random.choice((0, 0, 17)))
    return wire(
        "metrics",
        [metrics_row(at + shift, value(1e5), value(1e9), value(3), value(3)) for at in labels if random.random() < 0.6],
    )


def _funding(random: Random) -> pl.DataFrame:
    every = random.choice((1, 4, 8))
    rows = []
    for i in range(-2, 7):
        jitter = timedelta(milliseconds=random.choice((-9, 0, 2)))
        interval = random.choice((every, None))
        rows.append((LOOK_BACK + i * every * HOUR + jitter, interval, round(random.uniform(-0.01, 0.01), 8)))
    return wire("funding_rate", [row for row in rows if row[0] < END])


@st.composite
def markets(draw: st.DrawFn) -> Market:
    seed = draw(st.integers(0, 2**32 - 1))
    absent = draw(
        st.sets(st.sampled_from(["mark", "index", "premium", "agg_trades", "book_ticker", "metrics", "funding"]))
    )
    gap = draw(st.sampled_from([0.0, 0.05, 0.6]))
    random = Random(seed)
    frames: dict[str, pl.DataFrame | None] = {
        "klines": _klines("klines_1m", random, gap),
        "mark": _klines("mark_price_klines_1m", random, gap),
        "index": _klines("index_price_klines_1m", random, gap),
        "premium": _klines("premium_index_klines_1m", random, gap),
        "agg_trades": _agg_trades(random),
        "book_ticker": _book_ticker(random),
        "metrics": _metrics(random),
        "funding": _funding(random),
    }
    covered = [
        coverage([hour], agg_trades=random.random() < 0.7, book_ticker=random.random() < 0.7)
        for hour in HOURS
        if random.random() < 0.9
    ]
    return Market(
        {name: None if name in absent else frame for name, frame in frames.items()},
        pl.concat([coverage([]), *covered]),
        draw(st.sampled_from([0, 5, 60, 90])),
        seed,
    )


def known_before(end: datetime) -> Callable[[str, pl.DataFrame], pl.DataFrame]:
    def cut(name: str, frame: pl.DataFrame) -> pl.DataFrame:
        if name == "metrics":
            return frame.filter(pl.col("create_time") + timedelta(minutes=5) < end)
        return frame.filter(pl.col(KNOWN_AT[name]) < end)

    return cut


@quick
@given(markets(), st.sampled_from(HOURS))
def test_what_comes_after_an_hour_does_not_change_it(market: Market, hour: datetime) -> None:
    end = hour + HOUR
    assert market.changed(known_before(end)).rows(hour, end).equals(market.rows(hour, end))


@quick
@given(markets(), st.integers(1, 239))
def test_no_row_holds_what_came_after_its_minute(market: Market, minute: int) -> None:
    end = START + minute * MINUTE
    until_then = market.changed(known_before(end)).rows(START, END)
    assert until_then.equals(market.rows().filter(pl.col("timestamp") < end))


@quick
@given(markets())
def test_a_window_at_once_equals_its_hours_one_by_one(market: Market) -> None:
    assert pl.concat([market.rows(hour, hour + HOUR) for hour in HOURS]).equals(market.rows())


@quick
@given(markets())
def test_order_and_repetition_of_raw_rows_do_not_matter(market: Market) -> None:
    random = Random(market.seed)

    def disturbed(_: str, frame: pl.DataFrame) -> pl.DataFrame:
        again = frame.sample(fraction=0.3, seed=random.randrange(2**31))
        return pl.concat([frame, again]).sample(fraction=1, shuffle=True, seed=random.randrange(2**31))

    assert market.changed(disturbed).rows().equals(market.rows())


@quick
@given(markets(), st.integers(60, 400), st.booleans())
def test_how_ticks_are_chunked_does_not_matter(market: Market, size: int, in_order: bool) -> None:
    for name, features in (("agg_trades", trade_features), ("book_ticker", book_features)):
        frame = market.frames[name]
        if frame is None:
            continue
        chunks = [frame[i : i + size] for i in range(0, frame.height, size)]
        if not in_order:
            chunks = [*chunks[1:], *chunks[:2]]
        assert features_in_one_pass(lambda c=chunks: c, features, KNOWN_AT[name]).equals(features(frame))  # type: ignore[misc]


@quick
@given(markets())
def test_null_means_not_ingested_and_zero_means_nothing_happened(market: Market) -> None:
    rows = market.rows().with_columns(hour=pl.col("timestamp").dt.truncate("1h"))
    covered = rows.join(market.coverage, on="hour", how="left").with_columns(
        pl.col("trades_filed", "book_filed").fill_null(value=False)
    )
    ticks = covered.select("trades_filed", *(pl.col(name).is_null() for name in TICKS))
    assert ticks.filter(pl.any_horizontal(pl.col(TICKS) == pl.col("trades_filed"))).is_empty()
    unseen = covered.filter(~pl.col("book_filed"))
    assert (
        unseen.select("micro_price_close", "avg_spread_usdt", "spread_pct").null_count().row(0) == (unseen.height,) * 3
    )
    ratios = covered.select((pl.col("top_trader_ls_ratio_acct") + pl.col("global_ls_ratio_acct")).is_not_null())
    assert ratios.to_series().equals(covered["has_ls_ratio"], check_names=False)
    assert covered["vwap_1m"].null_count() == 0


@quick
@given(markets())
def test_rows_are_exact_finite_and_one_per_kline(market: Market) -> None:
    rows = market.rows()
    assert rows.schema == TABLE.polars_schema
    floats = rows.select(pl.col(pl.Float64))
    assert floats.select(pl.all().is_finite().fill_null(value=True).all()).row(0) == (True,) * floats.width
    klines = market.frames["klines"]
    assert klines is not None
    inside = klines.filter(pl.col("open_time").is_between(START, END, closed="left"))
    assert rows["timestamp"].equals(inside["open_time"], check_names=False)
