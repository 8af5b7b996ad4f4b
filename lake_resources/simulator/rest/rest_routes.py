"""Routes of the REST side: which path runs which endpoint, what it costs, how it is answered.

Belongs here: the table of endpoints with measured weights, the limit headers, error bodies, row faults.
Does not belong here: what an endpoint answers (rest_market.py, rest_slow.py, rest_info.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lake_resources.clock import DAY_MS
from lake_resources.simulator.exchange import Exchange
from lake_resources.simulator.faults import (
    MISTAKEN_KINDS,
    ROW_KINDS,
    Fault,
    damaged_order,
    scaled_rows,
    shifted_rows,
    touched,
)
from lake_resources.simulator.market.rng import Ints
from lake_resources.simulator.rest import rest_info, rest_market, rest_slow, rest_spot
from lake_resources.simulator.rest.limits import DATA_BUCKET, FUNDING_BUCKET, FUTURES_BUCKET, SPOT_BUCKET, LimitAnswer
from lake_resources.simulator.rest.rest_market import Json
from lake_resources.simulator.rest.rest_query import ApiError, Query

Answer = Json | tuple[list[Json], Ints]
_BAR_TIMES = (0, 6)
_ROW_TIMES = ("T", "time", "timestamp", "fundingTime")
Cost = Callable[[Mapping[str, str]], int]


@dataclass(frozen=True)
class Endpoint:
    """One REST path: what answers it, what it costs, from which bucket."""

    path: str
    handler: Callable[[Query], Answer]
    cost: Cost
    bucket: str = FUTURES_BUCKET


def _flat(weight: int) -> Cost:
    return lambda _: weight


def _limit_of(values: Mapping[str, str]) -> int | None:
    given = values.get("limit", "")
    return int(given) if given.isdecimal() else None


def kline_weight(values: Mapping[str, str]) -> int:
    """Weight of the kline family as measured: <=100 1, <=500 2, <=1000 5, more 10, no limit 5."""
    limit = _limit_of(values)
    if limit is None:
        return 5
    return 1 if limit <= 100 else 2 if limit <= 500 else 5 if limit <= 1000 else 10


def depth_weight(values: Mapping[str, str]) -> int:
    """Weight of depth as measured: 5..50 2, 100 5, 500 10, 1000 20, no limit 1."""
    limit = _limit_of(values)
    if limit is None:
        return 1
    return 2 if limit <= 50 else 5 if limit <= 100 else 10 if limit <= 500 else 20


def spot_depth_weight(values: Mapping[str, str]) -> int:
    """Weight of spot depth: up to 100 levels 5, 500 25, 1000 50, more 250."""
    limit = _limit_of(values) or 100
    return 5 if limit <= 100 else 25 if limit <= 500 else 50 if limit <= 1000 else 250


def _per_symbol(one: int, every: int) -> Cost:
    return lambda values: one if values.get("symbol") else every


def _reference(kind: str) -> Callable[[Query], Answer]:
    return lambda query: rest_market.reference_klines(query, kind)


ENDPOINTS = (
    Endpoint("/fapi/v1/ping", rest_info.ping, _flat(1)),
    Endpoint("/fapi/v1/time", rest_info.server_time, _flat(1)),
    Endpoint("/fapi/v1/exchangeInfo", rest_info.exchange_info, _flat(1)),
    Endpoint("/fapi/v1/klines", rest_market.trade_klines, kline_weight),
    Endpoint("/fapi/v1/continuousKlines", rest_market.continuous_klines, kline_weight),
    Endpoint("/fapi/v1/markPriceKlines", _reference("mark"), kline_weight),
    Endpoint("/fapi/v1/indexPriceKlines", _reference("index"), kline_weight),
    Endpoint("/fapi/v1/premiumIndexKlines", _reference("premium"), kline_weight),
    Endpoint("/fapi/v1/aggTrades", rest_market.agg_trades, _flat(20)),
    Endpoint("/fapi/v1/trades", rest_market.recent_trades, _flat(5)),
    Endpoint("/fapi/v1/depth", rest_market.depth, depth_weight),
    Endpoint("/fapi/v1/ticker/bookTicker", rest_market.book_ticker, _per_symbol(2, 5)),
    Endpoint("/fapi/v1/ticker/price", rest_market.last_price, _per_symbol(1, 2)),
    Endpoint("/fapi/v1/ticker/24hr", rest_market.day_ticker, _per_symbol(1, 40)),
    Endpoint("/fapi/v1/premiumIndex", rest_slow.premium_index, _per_symbol(1, 10)),
    Endpoint("/fapi/v1/openInterest", rest_slow.open_interest, _flat(1)),
    Endpoint("/fapi/v1/fundingRate", rest_slow.funding_rates, _flat(1), FUNDING_BUCKET),
    Endpoint("/fapi/v1/fundingInfo", rest_slow.funding_info, _flat(1), FUNDING_BUCKET),
    Endpoint("/futures/data/openInterestHist", rest_slow.open_interest_history, _flat(1), DATA_BUCKET),
    Endpoint(
        "/futures/data/topLongShortAccountRatio", rest_slow.long_short("top_accounts_long"), _flat(1), DATA_BUCKET
    ),
    Endpoint(
        "/futures/data/topLongShortPositionRatio", rest_slow.long_short("top_positions_long"), _flat(1), DATA_BUCKET
    ),
    Endpoint(
        "/futures/data/globalLongShortAccountRatio", rest_slow.long_short("all_accounts_long"), _flat(1), DATA_BUCKET
    ),
    Endpoint("/futures/data/takerlongshortRatio", rest_slow.taker_long_short, _flat(1), DATA_BUCKET),
    Endpoint("/futures/data/basis", rest_slow.basis, _flat(1), DATA_BUCKET),
    Endpoint("/api/v3/ping", rest_info.ping, _flat(1), SPOT_BUCKET),
    Endpoint("/api/v3/time", rest_info.server_time, _flat(1), SPOT_BUCKET),
    Endpoint("/api/v3/exchangeInfo", rest_info.spot_exchange_info, _flat(20), SPOT_BUCKET),
    Endpoint("/api/v3/depth", rest_spot.depth, spot_depth_weight, SPOT_BUCKET),
    Endpoint("/api/v3/klines", rest_spot.klines, _flat(2), SPOT_BUCKET),
    Endpoint("/api/v3/uiKlines", rest_spot.klines, _flat(2), SPOT_BUCKET),
    Endpoint("/api/v3/aggTrades", rest_spot.agg_trades, _flat(4), SPOT_BUCKET),
    Endpoint("/api/v3/trades", rest_spot.recent_trades, _flat(25), SPOT_BUCKET),
    Endpoint("/api/v3/historicalTrades", rest_spot.historical_trades, _flat(25), SPOT_BUCKET),
    Endpoint("/api/v3/avgPrice", rest_spot.average_price, _flat(2), SPOT_BUCKET),
    Endpoint("/api/v3/ticker/bookTicker", rest_spot.book_ticker, _per_symbol(2, 4), SPOT_BUCKET),
    Endpoint("/api/v3/ticker/price", rest_spot.last_price, _per_symbol(2, 4), SPOT_BUCKET),
    Endpoint("/api/v3/ticker/24hr", rest_spot.day_ticker, _per_symbol(2, 80), SPOT_BUCKET),
)


def _json(content: Json, status: int, headers: Mapping[str, str]) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def refusal(verdict: LimitAnswer, headers: Mapping[str, str]) -> Response:
    """The answer 429 or 418 for a verdict of the limits."""
    advice = "Please use the websocket for live updates to avoid"
    if verdict.status == 418:
        until = verdict.banned_until_ms
        message = f"Way too many requests; IP(127.0.0.1) banned until {until}. {advice} bans."
    else:
        limit = f"current limit of IP(127.0.0.1) is {verdict.limit} requests per minute"
        message = f"Too many requests; {limit}. {advice} polling the API."
    after = {"Retry-After": str(verdict.retry_after_s)}
    return _json({"code": -1003, "msg": message}, verdict.status, {**headers, **after})


def _answer(exchange: Exchange, endpoint: Endpoint, request: Request) -> Response:
    values = dict(request.query_params)
    verdict = exchange.limits.charge(endpoint.bucket, endpoint.cost(values))
    # Endpoints with a bucket of their own send no weight header.
    weighed = endpoint.bucket in (FUTURES_BUCKET, SPOT_BUCKET)
    headers = {"X-MBX-USED-WEIGHT-1M": str(verdict.used)} if weighed else {}
    if verdict.status != 200:
        return refusal(verdict, headers)
    mistaken = exchange.faults.take(MISTAKEN_KINDS, request.url.path, request.url.query)
    strays = [fault for fault in mistaken if fault.start or fault.end]
    for fault in mistaken:
        values = values if fault in strays else _mistaken(values, fault)
    now_ms, spot = exchange.now_ms(), endpoint.bucket == SPOT_BUCKET
    try:
        answer = endpoint.handler(Query(exchange, values, now_ms, spot=spot))
        for fault in strays:
            answer = _with_strays(
                answer, endpoint.handler(Query(exchange, _mistaken(values, fault), now_ms, spot=spot)), fault
            )
    except ApiError as error:
        return _json({"code": error.code, "msg": error.msg}, error.status, headers)
    if isinstance(answer, tuple):
        rows, times = answer
        faults = exchange.faults.take(ROW_KINDS, request.url.path, request.url.query)
        answer = _damaged(rows, faults, np.asarray(times)) if faults else rows
    return _json(answer, 200, headers)


def _mistaken(values: dict[str, str], fault: Fault) -> dict[str, str]:
    """The parameters of what is answered in place of what was asked for."""
    if fault.kind == "other_symbol":
        return values | {name: fault.body for name in ("symbol", "pair") if name in values}
    return values | {name: str(int(values[name]) - DAY_MS) for name in ("startTime", "endTime") if name in values}


def _with_strays(answer: object, other: object, fault: Fault) -> object:
    """Rows with those of another answer that lie in a fault's range, by time; what has no rows stays as it is."""
    if not (isinstance(answer, tuple) and isinstance(other, tuple)):
        return answer
    (rows, times), (others, their_times) = answer, other
    inside = touched(fault, np.asarray(their_times))
    found = [
        *zip(times, rows, strict=True),
        *((at, row) for at, row, hit in zip(their_times, others, inside, strict=True) if hit),
    ]
    found.sort(key=lambda each: int(each[0]))
    return [row for _, row in found], np.array([at for at, _ in found], np.int64)


def _damaged(rows: list[Json], faults: Sequence[Fault], times: Ints) -> list[Json]:
    """Rows after the row faults: first their values, then which of them come and in which order."""
    for fault in faults:
        if fault.kind == "scaled":
            chosen = scaled_rows(fault, times)
            rows = [_scaled(row, fault) if hit else row for row, hit in zip(rows, chosen, strict=True)]
        elif fault.kind == "shifted":
            rows = [_at_time_of(rows[at], row) for at, row in zip(shifted_rows(fault, times), rows, strict=True)]
    return [rows[at] for at in damaged_order(faults, times)]


def _scaled(row: Json, fault: Fault) -> Json:
    """A row with one of its numbers times a factor; a row that does not have it stays."""
    if isinstance(row, list):
        key: int | str | None = int(fault.column) if fault.column.isdigit() else None
    else:
        key = fault.column if fault.column in row else None
    if key is None:
        return row
    value = row[key]
    other = round(value * fault.by) if isinstance(value, int) else f"{float(value) * fault.by:.8f}"
    changed = row.copy()
    changed[key] = other
    return changed


def _at_time_of(row: Json, timed: Json) -> Json:
    """A row with the times of another one."""
    if isinstance(row, list):
        return [timed[at] if at in _BAR_TIMES else value for at, value in enumerate(row)]
    return row | {name: timed[name] for name in _ROW_TIMES if name in timed}


def routes(exchange: Exchange) -> list[Route]:
    """Starlette routes of all endpoints; each runs in a worker thread."""

    def route(endpoint: Endpoint) -> Route:
        def handle(request: Request) -> Response:
            return _answer(exchange, endpoint, request)

        return Route(endpoint.path, handle, methods=["GET"])

    return [route(endpoint) for endpoint in ENDPOINTS]
