"""REST bodies to wire frames: shapes, leniency where Binance needs it, refusal where it would hide damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lake_resources.binance.rest import rest_payloads
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.errors import MalformedAnswer

WHERE = "GET http://exchange/path"
KLINE: list[Any] = [
    1651795200000, "36533.70", "36540.00", "36501.00", "36505.20", "264.779", 1651795259999,
    "9670700.33840", 3057, "71.011", "2593768.86330", "0",
]  # fmt: skip
TRADE: dict[str, Any] = {
    "a": 7, "p": "100.10", "q": "1.5", "nq": "1.5", "f": 9, "l": 10, "T": 1651795200010, "m": True,
}  # fmt: skip


def test_a_kline_row(tmp_path: Path) -> None:
    frame = rest_payloads.klines([KLINE], WHERE)
    assert frame.schema == pl.Schema(UM_STREAMS["klines_1m"].columns)
    assert frame.row(0) == (
        datetime(2022, 5, 6, tzinfo=UTC), 36533.7, 36540.0, 36501.0, 36505.2, 264.779,
        datetime(2022, 5, 6, 0, 0, 59, 999_000, UTC), 9670700.3384, 3057, 71.011, 2593768.8633,
    )  # fmt: skip


def test_an_aggtrade_row_and_its_unknown_fields() -> None:
    frame = rest_payloads.agg_trades([TRADE, {**TRADE, "a": 6, "m": False, "new": 1}], WHERE)
    assert frame.schema == pl.Schema(UM_STREAMS["agg_trades"].columns)
    assert frame["agg_trade_id"].to_list() == [6, 7]
    assert frame["is_buyer_maker"].to_list() == [False, True]


@pytest.mark.parametrize("parse", [rest_payloads.klines, rest_payloads.agg_trades, rest_payloads.funding_rate])
def test_no_rows_is_an_empty_frame(parse: Callable[[object, str], pl.DataFrame]) -> None:
    assert parse([], WHERE).height == 0


@pytest.mark.parametrize(
    ("parse", "body", "told"),
    [
        (rest_payloads.klines, {"code": 0}, "expected a list, got dict"),
        (rest_payloads.klines, None, "expected a list, got NoneType"),
        (rest_payloads.klines, [KLINE[:11]], "rows of 12"),
        (rest_payloads.klines, [{"open": 1}], "rows of 12"),
        (rest_payloads.klines, [[*KLINE[:1], "", *KLINE[2:]]], "field open"),
        (rest_payloads.klines, [[*KLINE[:1], "NaN", *KLINE[2:]]], "field open: 'NaN' is not a number"),
        (rest_payloads.klines, [[*KLINE[:1], True, *KLINE[2:]]], "field open"),
        (rest_payloads.klines, [[*KLINE[:8], 3.5, *KLINE[9:]]], "field count"),
        (rest_payloads.klines, [KLINE, [*KLINE[:4], "36505.21", *KLINE[5:]]], "different rows for open_time 2022-05"),
        (rest_payloads.agg_trades, [[1, 2]], "objects with the fields a, p, q"),
        (rest_payloads.agg_trades, [{"a": 1}], "objects with the fields"),
        (rest_payloads.agg_trades, [{**TRADE, "m": "true"}], "field is_buyer_maker"),
        (rest_payloads.agg_trades, [{**TRADE, "T": None}], "field transact_time"),
        (rest_payloads.agg_trades, [TRADE, {**TRADE, "q": "2"}], "different rows for agg_trade_id 7"),
        (rest_payloads.agg_trades, [TRADE, {**TRADE, "a": 10}], "ids 8 to 9 are missing"),
    ],
)
def test_another_shape_is_refused(parse: Callable[[object, str], pl.DataFrame], body: object, told: str) -> None:
    with pytest.raises(MalformedAnswer, match=told) as caught:
        parse(body, WHERE)
    assert WHERE in str(caught.value)


def test_futures_data_takes_timestamps_as_text_and_holes() -> None:
    rows = [
        {"symbol": "X", "longShortRatio": "1.85", "timestamp": "1651795500000"},
        {"symbol": "X", "longShortRatio": "", "timestamp": 1651795200000},
    ]
    frame = rest_payloads.futures_data(rows, WHERE, {"ratio": "longShortRatio"})
    assert frame["ratio"].to_list() == [None, 1.85]
    assert frame["timestamp"][1] == datetime(2022, 5, 6, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize("nothing", ["", None, "NaN", "null"])
def test_futures_data_may_lack_a_value(nothing: str | None) -> None:
    frame = rest_payloads.futures_data([{"r": nothing, "timestamp": 1651795200000}], WHERE, {"ratio": "r"})
    assert frame["ratio"].to_list() == [None]


def test_funding_of_all_ages() -> None:
    old = {"symbol": "BTCUSDT", "fundingTime": 1568102400000, "fundingRate": "0.00010000", "markPrice": ""}
    new = {**old, "fundingTime": 1785196800002, "fundingRate": "-2E-7", "rateType": "Special", "markPrice": None}
    assert rest_payloads.funding_rate([old, new], WHERE)["last_funding_rate"].to_list() == [0.0001, -2e-7]


@pytest.mark.parametrize("symbol", ["BNB", "BTC", "DOGE", "ETH", "SOL", "XRP"])
def test_recorded_funding_of_many_symbols(recorded: Callable[[str], Path], symbol: str) -> None:
    rows = json.loads(recorded(f"rest/fapi/fundingRate-{symbol}USDT-limit20.json").read_text())
    assert rest_payloads.funding_rate(rows, WHERE)["last_funding_rate"].to_list() == [
        float(row["fundingRate"]) for row in rows
    ]


def test_recorded_funding(recorded: Callable[[str], Path]) -> None:
    rows = json.loads(recorded("rest/fapi/fundingRate-BTCUSDT-limit1000.json").read_text())
    frame = rest_payloads.funding_rate(rows, WHERE)
    assert frame.height == len(rows)
    assert frame["last_funding_rate"].to_list() == [float(row["fundingRate"]) for row in rows]
    assert frame["calc_time"].dt.epoch("ms").to_list() == [row["fundingTime"] for row in rows]
    assert frame["funding_interval_hours"].null_count() == frame.height


def test_recorded_klines(recorded: Callable[[str], Path]) -> None:
    rows = json.loads(recorded("rest/spot_klines_BTCUSDT_1h_2024-01-15.json").read_text())
    frame = rest_payloads.klines(rows, WHERE)
    assert frame["open"].to_list() == [float(row[1]) for row in rows]
    assert frame["open_time"][0] == datetime(2024, 1, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("limit", "weight"), [(1, 1), (99, 1), (100, 2), (499, 2), (500, 5), (1000, 5), (1001, 10), (1500, 10)]
)
def test_kline_weight_takes_the_dearer_of_what_is_documented_and_measured(limit: int, weight: int) -> None:
    for stream in (each for each in UM_STREAMS.values() if each.is_klines):
        assert stream.rest is not None
        assert (stream.rest.endpoint.bucket.name, stream.rest.endpoint.cost({"limit": limit})) == ("weight_1m", weight)


def test_costs_of_the_other_endpoints() -> None:
    def cost(stream: str) -> tuple[str, int]:
        rest = UM_STREAMS[stream].rest
        assert rest is not None
        return rest.endpoint.bucket.name, rest.endpoint.cost({"limit": rest.endpoint.page})

    assert cost("agg_trades") == ("weight_1m", 20)
    assert cost("metrics") == ("futures_data", 1)
    assert cost("funding_rate") == ("funding", 1)
