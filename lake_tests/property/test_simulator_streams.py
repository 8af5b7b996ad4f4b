"""Streams of the simulator as functions of time: however the time is cut, the same frames, and a book that fits."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake_resources.simulator.market.book import Book, Side, Snapshot
from lake_resources.simulator.market.feed import SymbolFeed
from lake_resources.simulator.market.seeded_market import SeededMarket
from lake_resources.simulator.market.specs import ONBOARD_MS, spec_of
from lake_resources.simulator.ws.names import stream_of
from lake_resources.simulator.ws.sources import source_of
from lake_resources.simulator.ws.tape import SymbolTape

pytestmark = pytest.mark.slow

BASE = 1_771_158_840_000
SYMBOLS = ("BTCUSDT", "XRPUSDT")
STREAMS = {
    "market": ("xrpusdt@aggTrade", "xrpusdt@markPrice", "xrpusdt@forceOrder", "xrpusdt@kline_1m", "!markPrice@arr"),
    "public": ("xrpusdt@bookTicker", "xrpusdt@depth@100ms", "xrpusdt@depth", "xrpusdt@depth10@500ms", "!bookTicker"),
    "spot": ("xrpusdt@trade", "xrpusdt@kline_1s", "xrpusdt@kline_5m", "xrpusdt@depth@100ms", "xrpusdt@bookTicker"),
}
CASES = [(route, name) for route, names in STREAMS.items() for name in names]


@cache
def book(symbol: str, rate: float) -> Book:
    return Book(SymbolFeed(SeededMarket(spec_of(symbol), 7, rate_per_min=rate), 7))


def tapes(rate: float) -> dict[str, SymbolTape]:
    """New ones, so that nothing is remembered from one cut to the next."""
    return {symbol: SymbolTape(Book(book(symbol, rate).feed), liquidations_per_min=60) for symbol in SYMBOLS}


@pytest.mark.parametrize(("route", "name"), CASES)
@given(start=st.integers(0, 600_000), cuts=st.lists(st.integers(1, 90_000), max_size=4))
@settings(max_examples=6, deadline=None)
def test_frames_do_not_depend_on_how_the_time_is_cut(route: str, name: str, start: int, cuts: list[int]) -> None:
    stream = stream_of(name, route, SYMBOLS)
    assert stream is not None
    edges = [BASE + start, *sorted({BASE + start + cut for cut in cuts}), BASE + start + 90_001]
    whole = source_of(stream, tapes(40))(edges[0], edges[-1])
    source = source_of(stream, tapes(40))
    parts = [frame for low, high in pairwise(edges) for frame in source(low, high)]
    assert parts == whole
    assert [event for event, _ in whole] == sorted(event for event, _ in whole)
    assert whole or name.endswith("forceOrder")
    for event, body in whole:
        decoded = orjson.loads(body)
        assert isinstance(decoded, list) or decoded.get("E", event) <= event


def applied(sides: tuple[dict[int, int], dict[int, int]], changes: tuple[Side, Side], row: int) -> None:
    for levels, side in zip(sides, changes, strict=True):
        mine = side.row == row
        for price, quantity in zip(side.price[mine].tolist(), side.quantity[mine].tolist(), strict=True):
            if quantity:
                levels[price] = quantity
            else:
                levels.pop(price, None)


def shown(snapshot: Snapshot, count: int) -> list[list[tuple[int, int]]]:
    sides = (snapshot.bids, snapshot.asks)
    return [list(zip(side.price.tolist(), side.quantity.tolist(), strict=True))[:count] for side in sides]


@pytest.mark.parametrize(("symbol", "rate"), [("BTCUSDT", 15.0), ("XRPUSDT", 1500.0)])
@given(start=st.integers(0, 10**9), step=st.sampled_from([100, 250, 500]), offset=st.integers(0, 2000))
@settings(max_examples=12, deadline=None)
def test_a_snapshot_of_any_instant_and_the_changes_after_it_give_the_book_of_any_later_one(
    symbol: str, rate: float, start: int, step: int, offset: int
) -> None:
    this = book(symbol, rate)
    bounds = np.arange(BASE + start, BASE + start + 30_000, step)
    changes = this.changes(bounds)
    taken = this.snapshot(int(bounds[0]) + offset, 1000)
    assert changes is not None
    assert taken is not None
    assert len(taken.bids.price) == len(taken.asks.price) == 1000
    assert (changes.previous_id[1:] == changes.last_id[:-1]).all()
    bridges = (changes.first_id <= taken.update_id) & (taken.update_id <= changes.last_id)
    assert bridges.sum() == (taken.update_id > changes.previous_id[0])
    sides = tuple(dict(levels) for levels in shown(taken, 1000))
    for row in np.flatnonzero(changes.last_id >= taken.update_id).tolist():
        applied((sides[0], sides[1]), (changes.bids, changes.asks), row)
    final = this.snapshot(int(bounds[-1]), 1000)
    assert final is not None
    assert final.update_id == changes.last_id[-1]
    held = [sorted(sides[0].items(), reverse=True)[:300], sorted(sides[1].items())[:300]]
    assert held == shown(final, 300)
    assert held[0][0][0] < held[1][0][0]


@pytest.mark.parametrize(("route", "name"), CASES)
def test_before_the_first_trade_a_stream_is_silent(route: str, name: str) -> None:
    stream = stream_of(name, route, SYMBOLS)
    assert stream is not None
    minute = ONBOARD_MS // 60_000 * 60_000
    source = source_of(stream, tapes(600))
    assert source(minute - 120_000, minute - 1000) == []
    assert source(minute, minute + 120_000) or name.endswith("forceOrder")
