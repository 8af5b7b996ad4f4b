"""The real spot recording of 2024-08-08 through intake, records and reader: official klines, and quotes in time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from lake_assets.live.spot_records import SpotRecords, read_spot
from lake_assets.transforms.trade_fold import folded
from lake_tests.support.spot_frames import SYMBOL, Hearing, official_minutes

START = datetime(2024, 8, 8, 23, 54, tzinfo=UTC)
FIRST, END = datetime(2024, 8, 8, 23, 55, tzinfo=UTC), datetime(2024, 8, 9, 0, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def heard(recorded: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> SpotRecords:
    segments = tmp_path_factory.mktemp("records")
    hearing = Hearing(segments)
    hearing.play(recorded("ws/spot__btcusdt_20240808.gz"), recorded("ws/spot__btcusdt_20240809.gz"))
    hearing.close()
    assert hearing.intake.counts.malformed == 0
    assert hearing.intake.trades[SYMBOL].gaps == []
    return read_spot(segments, SYMBOL, START, END + timedelta(minutes=1))


def test_its_minutes_are_the_official_ones_in_every_field(heard: SpotRecords, recorded: Callable[[str], Path]) -> None:
    wanted = pl.col("open_time").is_between(FIRST, END, closed="left")
    bars = folded(heard.fills, timedelta(minutes=1)).filter(wanted)

    assert bars.height == 10
    assert bars.equals(official_minutes(recorded, FIRST, END))


def test_quotes_are_placed_on_the_exchanges_clock(heard: SpotRecords) -> None:
    assert heard.clock_offset is not None
    assert timedelta(seconds=1.2) < heard.clock_offset < timedelta(seconds=1.6), "the local clock was so far behind"
    assert len(heard.connected) == 1
    up, down = heard.connected[0]
    assert up <= heard.quotes["at"][0] < heard.quotes["at"][-1] < down
    # A trade and the quote before it happen within moments: what a taker sold was bought at about the best bid.
    trades = heard.trades.filter(pl.col("is_buyer_maker")).select("time", "price").sort("time")
    quotes = heard.quotes.select("at", "bid").sort("at")
    beside = trades.join_asof(quotes, left_on="time", right_on="at", strategy="backward").drop_nulls()
    assert beside.height > 1000
    assert ((beside["price"] - beside["bid"]).abs() / beside["price"]).median() < 2e-5
