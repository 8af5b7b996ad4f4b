"""What is declared of markets and streams: names, paths, prices of requests, and what proves a stream whole."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from lake_resources.binance.market import ARCHIVES_URL, BUCKETS, MARKETS, SPOT, UM
from lake_resources.binance.spot_streams import SPOT_STREAMS
from lake_resources.binance.stream import Stream
from lake_resources.binance.streams import STREAMS
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.binance.witness import ContiguousIds, Grid, NoWitness, Settlements
from lake_resources.binance.ws.subscriptions import names_of, routes
from lake_resources.settings import LakeSettings
from lake_tests.support.archive_rows import archive_rows

Recorded = Callable[[str], Path]
EVERY = [stream for streams in STREAMS.values() for stream in streams.values()]
IDS = [f"{stream.market.name}-{stream.name}" for stream in EVERY]


def test_a_name_may_stand_for_a_stream_of_each_market() -> None:
    assert set(STREAMS) == set(MARKETS) == {"um", "spot"}
    assert all(stream.market is MARKETS[market] for market, streams in STREAMS.items() for stream in streams.values())
    um, spot = STREAMS["um"]["klines_1m"], STREAMS["spot"]["klines_1m"]
    assert um.url_path("BTCUSDT", "2026-01-02") == (
        "/data/futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2026-01-02.zip"
    )
    assert spot.url_path("BTCUSDT", "2026-01-02") == "/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2026-01-02.zip"


@pytest.mark.parametrize("stream", EVERY, ids=IDS)
def test_a_stream_says_where_it_can_be_read_and_what_proves_it(stream: Stream) -> None:
    assert stream.archive or stream.rest or stream.socket
    if stream.archive or stream.rest:
        assert stream.time_column in stream.columns
        assert set(stream.key) <= set(stream.columns)
    witness = stream.witness
    if isinstance(witness, ContiguousIds):
        bars = STREAMS[stream.market.name][witness.against]
        assert bars.is_klines
        assert {witness.row_id, witness.first_fill, witness.last_fill} <= set(stream.columns)
        assert {witness.fills, *(total.equals for total in witness.totals)} <= set(bars.columns)
        assert {factor for total in witness.totals for factor in total.factors} <= set(stream.columns)
    elif isinstance(witness, Settlements):
        assert witness.interval_hours in stream.columns
    elif isinstance(witness, NoWitness):
        assert witness.reason
    else:
        assert witness.step > timedelta(0)


def test_bars_are_proven_by_the_clock_and_ticks_by_ids() -> None:
    assert {stream.name: stream.witness for stream in EVERY if stream.is_klines and stream.market is SPOT} == {
        f"klines_{interval}": Grid(step, bars_of_trades=True)
        for interval, step in (
            ("1s", timedelta(seconds=1)), ("1m", timedelta(minutes=1)), ("5m", timedelta(minutes=5)),
            ("15m", timedelta(minutes=15)), ("1h", timedelta(hours=1)), ("1d", timedelta(days=1)),
        )
    }  # fmt: skip
    assert UM_STREAMS["metrics"].witness == Grid(timedelta(minutes=5))
    assert all(isinstance(STREAMS[market]["agg_trades"].witness, ContiguousIds) for market in STREAMS)


@pytest.mark.parametrize(
    ("stream", "bucket", "cost", "page"),
    [
        (UM_STREAMS["klines_1m"], "weight_1m", 2, 499),
        (UM_STREAMS["agg_trades"], "weight_1m", 20, 1000),
        (SPOT_STREAMS["klines_1s"], "spot_weight_1m", 2, 1000),
        (SPOT_STREAMS["agg_trades"], "spot_weight_1m", 4, 1000),
    ],
)
def test_a_page_costs_what_its_market_says(stream: Stream, bucket: str, cost: int, page: int) -> None:
    assert stream.rest is not None
    endpoint = stream.rest.endpoint
    assert (endpoint.bucket.name, endpoint.cost({"limit": page}), endpoint.page) == (bucket, cost, page)
    assert BUCKETS[bucket] is stream.market.budget
    assert {UM.budget.capacity, SPOT.budget.capacity} == {2400, 6000}


def test_a_pair_is_what_a_contract_is_of() -> None:
    assert [UM.pair(symbol) for symbol in ("BTCUSDT", "BTCUSDT_261225", "X_1", "_261225")] == [
        "BTCUSDT", "BTCUSDT", "X_1", "_261225",
    ]  # fmt: skip
    assert not UM_STREAMS["funding_rate"].exists_for("BTCUSDT_261225")
    assert UM_STREAMS["funding_rate"].exists_for("BTCUSDT")
    assert UM_STREAMS["metrics"].exists_for("BTCUSDT_261225")


def test_sockets_of_a_market_and_their_order() -> None:
    assert {route: [each.name for each in sockets] for route, sockets in routes(UM.name).items()} == {
        "market": ["kline_1m", "forceOrder", "aggTrade", "markPrice@1s"],
        "public": ["bookTicker", "depth@100ms"],
    }
    assert names_of(SPOT, "", ["SOLUSDT"]) == ["solusdt@kline_1s", "solusdt@trade", "solusdt@bookTicker"]
    assert SPOT.socket_url("wss://stream.binance.com:9443/", "") == "wss://stream.binance.com:9443/stream"
    assert UM.socket_url("wss://fstream.binance.com", "market") == "wss://fstream.binance.com/market/ws"


def test_the_settings_take_hosts_from_the_markets() -> None:
    settings = LakeSettings(exchange="binance", _env_file=None)  # type: ignore[call-arg]
    assert (settings.rest_url_of(UM), settings.resolved_ws_url) == (UM.rest_url, UM.ws_url)
    assert settings.resolved_vision_url == ARCHIVES_URL


def test_recorded_spot_days_are_of_the_declared_stream_in_both_units(recorded: Recorded) -> None:
    hours = archive_rows(recorded("vision/spot/klines_1h_us/BTCUSDT-1h-2026-05-08.zip"), SPOT_STREAMS["klines_1h"])
    minutes = archive_rows(recorded("vision/spot/klines_1m_zip/BTCUSDT-1m-2020-01-01.zip"), SPOT_STREAMS["klines_1m"])
    for frame, stream in ((hours, SPOT_STREAMS["klines_1h"]), (minutes, SPOT_STREAMS["klines_1m"])):
        assert isinstance(stream.witness, Grid)
        step = stream.witness.step
        assert frame.height == timedelta(days=1) // step
        assert frame.schema == pl.Schema(stream.columns)
        assert frame["open_time"].diff().drop_nulls().unique().to_list() == [step]
    # Microseconds since 2025: a bar ends a microsecond before the next one, and a millisecond before.
    assert (hours["close_time"] - hours["open_time"]).unique().to_list() == [timedelta(hours=1, microseconds=-1)]
    assert (minutes["close_time"] - minutes["open_time"]).unique().to_list() == [timedelta(minutes=1, milliseconds=-1)]
    assert SPOT.microseconds_from is not None
    assert minutes["open_time"][0].date() < SPOT.microseconds_from <= hours["open_time"][0].date()
