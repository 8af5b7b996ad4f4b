"""The real recording of 2024-08-08 through fold and order book: acceptance cases A-24 and A-25, number by number."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lake_assets.transforms.live.live_fold import SymbolFold, fold_records
from lake_resources.binance.market import UM
from lake_resources.binance.ws.frames import SNAPSHOT, Frame, decode, event_ms
from lake_resources.binance.ws.order_book import OrderBook, buy_impact
from lake_resources.binance.ws.subscriptions import kinds_by_event
from lake_resources.clock import MINUTE_MS

MINUTE = 1_723_161_300_000 // MINUTE_MS


@pytest.fixture(scope="module")
def frames(recorded: Callable[[str], Path]) -> list[Frame]:
    """The recording as records; its raw trades as aggTrades of one trade each."""
    found = []
    with gzip.open(recorded("ws/usdm__btcusdt_20240808.gz")) as lines:
        for seq, line in enumerate(lines):
            stamp, _, payload = line.partition(b" ")
            data: dict[str, Any] = decode(payload)
            if "lastUpdateId" in data:
                kind, ms = SNAPSHOT, data["E"]
            else:
                if data["e"] == "trade":
                    data |= {"e": "aggTrade", "a": data["t"], "f": data["t"], "l": data["t"]}
                kind = kinds_by_event(UM.name)[data["e"]]
                ms = event_ms(kind, data)
            found.append(Frame(seq, int(stamp), 1, kind, "BTCUSDT", ms // MINUTE_MS, payload, data))
    return found


@pytest.fixture(scope="module")
def rows(frames: list[Frame]) -> pl.DataFrame:
    return fold_records("BTCUSDT", frames, 0, 1 << 30)


def test_the_book_follows_the_exchange_with_one_snapshot(frames: list[Frame]) -> None:
    book, applied, heard = OrderBook(), 0, 0
    bridging = None
    for frame in frames:
        if frame.kind == SNAPSHOT:
            first = OrderBook()
            first.sync.asked = True
            first.snapshot(frame.data)
            assert frame.data["lastUpdateId"] == 5_123_107_852_948
            assert first.best() == (61_800.2, 61_800.3)
            assert buy_impact(first.asks, 61_800.2, 61_800.3, 100_000) == pytest.approx(1.4349582829e-05, abs=1e-15)
            bridging = next(diff for diff in book.sync.buffer if diff["u"] >= frame.data["lastUpdateId"])
            applied += book.snapshot(frame.data)
        elif frame.data["e"] == "depthUpdate":
            heard += 1
            applied += book.diff(frame.conn, frame.data)
        elif frame.data["e"] == "bookTicker":
            last_ticker = frame.data
    assert bridging is not None
    assert (bridging["U"], bridging["u"]) == (5_123_107_850_310, 5_123_107_853_551)
    assert bridging["pu"] != 5_123_107_852_948
    assert (heard, applied) == (6_551, 6_547)
    assert (book.sync.snapshots_wanted, book.sync.breaks) == (1, 0)
    assert book.sync.last_id == 5_123_135_475_514
    assert book.best() == (61_659.7, 61_659.8) == (float(last_ticker["b"]), float(last_ticker["a"]))
    assert buy_impact(book.asks, 61_659.7, 61_659.8, 100_000) == pytest.approx(1.9045e-06, abs=5e-11)


def test_a_minute_of_ticks(rows: pl.DataFrame) -> None:
    minute = rows.filter(pl.col("timestamp") == datetime(2024, 8, 8, 23, 55, tzinfo=UTC)).row(0, named=True)

    assert minute["agg_trades"] == minute["raw_trade_count"] == 2_005
    assert minute["agg_quantity"] == pytest.approx(136.450, abs=1e-9)
    assert minute["agg_notional"] == pytest.approx(8_432_904.6216, abs=1e-6)
    assert minute["agg_notional"] / minute["agg_quantity"] == pytest.approx(61_802.159191, abs=5e-7)
    assert minute["realized_vol_1m"] == pytest.approx(0.0002297191, abs=5e-11)
    assert minute["whale_trade_count"] == 2
    assert minute["book_ticker_frames"] == 10_384
    assert minute["avg_spread_usdt"] == pytest.approx(0.110690, abs=5e-7)
    assert minute["micro_price_close"] == pytest.approx(61_760.345140, abs=5e-7)
    assert minute["bid_ask_imbalance"] == pytest.approx(-0.001971, abs=5e-7)
    assert (minute["update_id_start"], minute["update_id_end"]) == (5_123_111_259_320, 5_123_116_096_874)
    assert minute["depth_frames"] == 1_142


def test_trades_of_that_minute_by_size_and_side(frames: list[Frame]) -> None:
    trades = [frame.data for frame in frames if frame.minute == MINUTE and frame.data.get("e") == "aggTrade"]
    prices = [float(trade["p"]) for trade in trades]

    assert (prices[0], max(prices), min(prices), prices[-1]) == (61_807.7, 61_839.9, 61_760.3, 61_760.3)
    assert len({trade["T"] // 1000 for trade in trades}) == 60
    assert sum(float(trade["q"]) for trade in trades if not trade["m"]) == pytest.approx(57.185, abs=1e-9)
    assert sum(float(trade["p"]) * float(trade["q"]) <= 1000 for trade in trades) == 1_157


def test_a_local_clock_behind_the_exchange_is_kept(rows: pl.DataFrame) -> None:
    latencies = rows["latency_network"]

    assert latencies.max() < -1_200
    assert latencies.min() > -1_500
    assert not rows["ws_latency_bad"].any()


def test_without_mark_prices_nothing_is_said_about_liquidations(rows: pl.DataFrame) -> None:
    assert not rows["has_liq"].any()
    assert rows["liq_long_count"].is_null().all()
    assert rows["public_alive"].to_list() == [False, *[True] * 5, False]


def test_online_equals_offline(frames: list[Frame], rows: pl.DataFrame) -> None:
    fold = SymbolFold("BTCUSDT", closing=True)
    taken = []
    for frame in frames:
        fold.feed(frame)
        if fold.has_rows:
            taken.append(fold.take())
    fold.close_all()

    assert len(taken) == 5, "the last two minutes are still open at the end"
    assert fold.stale == set()
    assert pl.concat([*taken, fold.take()]).equals(rows)
