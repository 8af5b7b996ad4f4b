"""The REST client against the simulated exchange: pages, bounds, order, and agreement with the archives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from lake_resources.binance.archives.vision_client import VisionClient
from lake_resources.binance.market import UM
from lake_resources.binance.rest.rest_client import BinanceRest
from lake_resources.binance.streams import rest_memories
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.clock import HOUR, MINUTE
from lake_resources.errors import Banned, MalformedAnswer, OutsideRetention
from lake_resources.governor import WeightGovernor
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.archive_rows import archive_rows

pytestmark = pytest.mark.slow

# After 2026-06-25, so that archive and REST label metrics as they do today.
NOW = datetime(2026, 9, 15, 12, 34, 30, tzinfo=UTC)
YESTERDAY = datetime(2026, 9, 14, tzinfo=UTC)
TODAY = YESTERDAY + timedelta(days=1)

Opened = Callable[..., BinanceRest]


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorServer]:
    with SimulatorServer(clock=lambda: NOW, limits=False) as server:
        yield server


@pytest.fixture
def exchange(simulator: SimulatorServer) -> Iterator[SimulatorServer]:
    simulator.clear_requests()
    simulator.exchange.limits.reset()
    yield simulator
    simulator.faults.clear()


@pytest.fixture
def opened(exchange: SimulatorServer, tmp_path: Path) -> Opened:
    def open_(now: datetime = NOW) -> BinanceRest:
        def clock() -> datetime:
            return now

        # The market stands still at NOW, the weight window must not.
        governor = WeightGovernor(tmp_path / "governor.sqlite", share=1.0)
        return BinanceRest(exchange.base_url, governor=governor, clock=clock, sleep=lambda _: None)

    return open_


@pytest.fixture
def rest(opened: Opened) -> BinanceRest:
    return opened()


def archive(exchange: SimulatorServer, into: Path, stream: str, period: str) -> pl.DataFrame:
    client = VisionClient(exchange.base_url, connections=4)
    frame = archive_rows(client.download(UM_STREAMS[stream], "BTCUSDT", period, into).path, UM_STREAMS[stream])
    client.close()
    return frame


@pytest.mark.parametrize("stream", [name for name, stream in UM_STREAMS.items() if stream.is_klines])
def test_a_day_of_klines_equals_the_archive_in_three_pages(
    exchange: SimulatorServer, rest: BinanceRest, tmp_path: Path, stream: str
) -> None:
    frame = rest.fetch(stream, "BTCUSDT", YESTERDAY, TODAY)
    asked = [(path, query) for _, path, query in exchange.requests]
    assert frame.height == 1440
    assert frame.equals(archive(exchange, tmp_path, stream, "2026-09-14"))
    assert len(asked) == 3
    assert all("limit=499" in query or "limit=442" in query for _, query in asked)
    name = "pair" if stream == "index_price_klines_1m" else "symbol"
    assert all(f"{name}=BTCUSDT" in query for _, query in asked)


def test_bounds_are_half_open_to_the_microsecond(rest: BinanceRest) -> None:
    def minutes(start: datetime, end: datetime) -> list[datetime]:
        return rest.fetch("klines_1m", "BTCUSDT", start, end)["open_time"].to_list()

    tick = timedelta(microseconds=1)
    assert minutes(YESTERDAY, YESTERDAY + 2 * MINUTE) == [YESTERDAY, YESTERDAY + MINUTE]
    assert minutes(YESTERDAY + tick, YESTERDAY + 2 * MINUTE + tick) == [YESTERDAY + MINUTE, YESTERDAY + 2 * MINUTE]
    assert minutes(YESTERDAY, YESTERDAY) == []


def test_an_hour_interval_is_on_its_own_grid(rest: BinanceRest) -> None:
    frame = rest.fetch("klines_1m", "BTCUSDT", YESTERDAY + MINUTE, YESTERDAY + 3 * HOUR, interval="1h")
    assert frame["open_time"].to_list() == [YESTERDAY + HOUR, YESTERDAY + 2 * HOUR]


@pytest.mark.parametrize("host_clock_ahead", [timedelta(0), timedelta(minutes=5)])
def test_the_open_candle_is_dropped_even_by_a_host_whose_clock_is_ahead(
    opened: Opened, host_clock_ahead: timedelta
) -> None:
    frame = opened(NOW + host_clock_ahead).fetch("klines_1m", "BTCUSDT", NOW - HOUR, NOW + HOUR)
    assert frame["open_time"][-1] == datetime(2026, 9, 15, 12, 33, tzinfo=UTC)
    assert frame["close_time"][-1] < NOW


def test_a_day_of_aggtrades_equals_the_archive(exchange: SimulatorServer, rest: BinanceRest, tmp_path: Path) -> None:
    frame = rest.fetch("agg_trades", "BTCUSDT", YESTERDAY, TODAY)
    assert frame.equals(archive(exchange, tmp_path, "agg_trades", "2026-09-14"))
    assert frame.height > 2 * 1000
    by_id = [query for _, path, query in exchange.requests if path.endswith("aggTrades") and "fromId" in query]
    assert by_id
    assert not any("startTime" in query or "endTime" in query for query in by_id)


def test_two_halves_of_aggtrades_are_the_whole(rest: BinanceRest) -> None:
    start, end = NOW - 3 * HOUR, NOW - HOUR
    whole = rest.fetch("agg_trades", "BTCUSDT", start, end)
    middle = whole["transact_time"][whole.height // 2]
    halves = [rest.fetch("agg_trades", "BTCUSDT", start, middle), rest.fetch("agg_trades", "BTCUSDT", middle, end)]
    assert pl.concat(halves).equals(whole)


def test_aggtrades_up_to_now(rest: BinanceRest) -> None:
    frame = rest.fetch("agg_trades", "BTCUSDT", NOW - HOUR, NOW + HOUR)
    assert frame.height > 300
    assert NOW - MINUTE < frame["transact_time"][-1] < NOW


@pytest.mark.parametrize("kind", ["duplicated", "unordered"])
@pytest.mark.parametrize("stream", ["klines_1m", "agg_trades", "metrics", "funding_rate"])
def test_doubled_and_disordered_pages_make_no_difference(
    exchange: SimulatorServer, rest: BinanceRest, stream: str, kind: str
) -> None:
    start = YESTERDAY - timedelta(days=10) if stream == "funding_rate" else YESTERDAY
    clean = rest.fetch(stream, "BTCUSDT", start, start + 30 * HOUR)
    exchange.faults.add(Fault(kind, every=3))
    assert rest.fetch(stream, "BTCUSDT", start, start + 30 * HOUR).equals(clean)
    assert clean.height


@pytest.mark.parametrize("stream", ["metrics", "funding_rate"])
def test_rows_of_another_symbol_are_refused_where_they_say_so(
    exchange: SimulatorServer, rest: BinanceRest, stream: str
) -> None:
    exchange.faults.add(Fault("other_symbol", body="ETHUSDT"))
    with pytest.raises(MalformedAnswer, match="rows of ETHUSDT, asked for BTCUSDT"):
        rest.fetch(stream, "BTCUSDT", YESTERDAY, TODAY)


@pytest.mark.parametrize("stream", ["klines_1m", "agg_trades", "metrics", "funding_rate"])
def test_rows_of_another_day_are_refused(exchange: SimulatorServer, rest: BinanceRest, stream: str) -> None:
    exchange.faults.add(Fault("other_day"))
    with pytest.raises(MalformedAnswer, match="lie outside of the window"):
        rest.fetch(stream, "BTCUSDT", TODAY, TODAY + 12 * HOUR)


def test_missing_aggtrades_are_named_by_id(exchange: SimulatorServer, rest: BinanceRest) -> None:
    clean = rest.fetch("agg_trades", "BTCUSDT", YESTERDAY, YESTERDAY + HOUR)
    hole = clean.filter(pl.col("transact_time").is_between(YESTERDAY + 10 * MINUTE, YESTERDAY + 12 * MINUTE, "left"))
    ids = hole["agg_trade_id"]
    start, end = YESTERDAY + 10 * MINUTE, YESTERDAY + 12 * MINUTE
    exchange.faults.add(Fault("missing_minutes", path="aggTrades", start=start, end=end))
    with pytest.raises(MalformedAnswer, match=f"aggTrade ids {ids[0]} to {ids[-1]} are missing"):
        rest.fetch("agg_trades", "BTCUSDT", YESTERDAY, YESTERDAY + HOUR)


def test_a_missing_kline_does_not_end_the_paging(exchange: SimulatorServer, rest: BinanceRest) -> None:
    clean = rest.fetch("klines_1m", "BTCUSDT", YESTERDAY, TODAY)
    start, end = YESTERDAY + 10 * MINUTE, YESTERDAY + 12 * MINUTE
    exchange.faults.add(Fault("missing_minutes", path="klines", start=start, end=end))
    frame = rest.fetch("klines_1m", "BTCUSDT", YESTERDAY, TODAY)
    assert frame.equals(clean.filter(~pl.col("open_time").is_between(start, end, closed="left")))


def test_metrics_carry_the_archives_labels_and_values(
    exchange: SimulatorServer, rest: BinanceRest, tmp_path: Path
) -> None:
    frame = rest.fetch("metrics", "BTCUSDT", YESTERDAY, TODAY)
    assert frame.height == 288
    assert frame.equals(archive(exchange, tmp_path, "metrics", "2026-09-14"))


def test_metrics_of_a_running_period_are_not_knowable_yet(rest: BinanceRest) -> None:
    frame = rest.fetch("metrics", "BTCUSDT", NOW - HOUR, NOW + HOUR)
    assert frame["create_time"][-1] == datetime(2026, 9, 15, 12, 25, tzinfo=UTC)
    assert frame.null_count().sum_horizontal().item() == 0


def test_thirty_days_of_metrics_are_paged_by_500(exchange: SimulatorServer, rest: BinanceRest) -> None:
    start = TODAY - timedelta(days=29)
    frame = rest.fetch("metrics", "BTCUSDT", start, TODAY)
    assert frame.height == 29 * 288
    assert len(exchange.requests) == 5 * 17


def test_funding_equals_the_monthly_archive_but_for_the_interval(
    exchange: SimulatorServer, rest: BinanceRest, tmp_path: Path
) -> None:
    month = archive(exchange, tmp_path, "funding_rate", "2026-07")
    frame = rest.fetch("funding_rate", "BTCUSDT", datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 8, 1, tzinfo=UTC))
    assert frame.drop("funding_interval_hours").equals(month.drop("funding_interval_hours"))
    assert frame["funding_interval_hours"].null_count() == frame.height == 93


@pytest.mark.parametrize(("stream", "age"), [("agg_trades", timedelta(hours=49)), ("metrics", timedelta(days=35))])
def test_what_is_older_than_the_exchange_keeps_is_told(rest: BinanceRest, stream: str, age: timedelta) -> None:
    with pytest.raises(OutsideRetention):
        rest.fetch(stream, "BTCUSDT", NOW - age, NOW - age + HOUR)
    kept = rest_memories(UM.name)[stream]
    assert kept is not None
    assert kept < age


def test_what_rest_serves(rest: BinanceRest) -> None:
    unserved = [name for name, stream in UM_STREAMS.items() if stream.archive and not stream.rest]
    assert unserved == ["book_ticker", "trades", "book_depth"]
    with pytest.raises(KeyError):
        rest.fetch("book_ticker", "BTCUSDT", YESTERDAY, TODAY)
    with pytest.raises(ValueError, match="timezone-aware"):
        rest.fetch("klines_1m", "BTCUSDT", YESTERDAY.replace(tzinfo=None), TODAY)


def test_a_ban_in_the_middle_of_a_day_stops_every_client(exchange: SimulatorServer, opened: Opened) -> None:
    exchange.faults.add(Fault("418", path="klines", skip=1, retry_after_s=600))
    with pytest.raises(Banned):
        opened().fetch("klines_1m", "BTCUSDT", YESTERDAY, TODAY)
    calls = len(exchange.requests)
    with pytest.raises(Banned):
        opened().server_time()
    assert len(exchange.requests) == calls == 2


def test_snapshots_of_now(rest: BinanceRest) -> None:
    assert rest.server_time() == NOW
    assert {"BTCUSDT", "ETHUSDT"} <= {symbol["symbol"] for symbol in rest.exchange_info()["symbols"]}
    book = rest.depth("BTCUSDT")
    assert float(book["bids"][0][0]) < float(book["asks"][0][0])
