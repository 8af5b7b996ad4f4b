"""The chart API `/v8/finance/chart/{ticker}` of the stand-in: seeded minutes with the faults of the real thing.

Belongs here: prices, gaps, late corrections, limits, the body of an answer. Does not belong here: hours.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lake_resources.simulator.exchange import Exchange
from lake_resources.simulator.market.rng import Ints, Rng
from lake_resources.simulator.yahoo.trading_hours import Hours, hours_of, session_of

MINUTE_S, DAY_S = 60, 86_400
LONGEST_S = 8 * DAY_S
RETENTION_S = 30 * DAY_S
CORRECTED_AFTER = timedelta(hours=6)
"""Some minutes are told a little wrong at first, and right from so long after them."""
_CORRECTED_EACH = 40
_RANGES = ("1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max")
_LEVELS = {
    "SPY": (680.0, 2), "UUP": (28.0, 3), "ES=F": (6850.0, 2), "EURUSD=X": (1.16, 4), "GBPUSD=X": (1.32, 4),
    "USDJPY=X": (155.0, 3), "USDCAD=X": (1.40, 4), "USDCHF=X": (0.80, 4), "USDSEK=X": (9.45, 4), "DX-Y.NYB": (99.0, 3),
}  # fmt: skip
"""Where the price of a known ticker lies, and its decimals. Others of the same form are unknown to the stand-in."""
_QUIET_SHARE = {"UUP": 0.12, "SPY": 0.0, "ES=F": 0.01}
"""Share of minutes without a trade, of which Yahoo sends nulls."""


class YahooChart:
    """Answers of the chart API.

    Args:
        exchange: whose clock, seed and scripted faults it shares.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def routes(self) -> list[Route]:
        """Starlette routes."""
        return [Route("/v8/finance/chart/{ticker}", self.chart, methods=["GET"])]

    def chart(self, request: Request) -> Response:
        """GET `/v8/finance/chart/{ticker}`: `interval`, and `range` or `period1` and `period2` in epoch seconds."""
        ticker, query = request.path_params["ticker"].upper(), request.query_params
        if ticker not in _LEVELS:
            return _error(404, "Not Found", "No data found, symbol may be delisted")
        now = self._exchange.now_ms() // 1000
        interval = query.get("interval", "1d")
        span = _span(query.get("range", ""), query.get("period1", ""), query.get("period2", ""), now)
        if interval not in ("1m", "1d") or span is None:
            return _error(400, "Bad Request", f"Invalid input - interval={interval} is not supported")
        start, end = span
        if interval == "1m":
            asked = f"1m data not available for startTime={start} and endTime={end}."
            if start < now - RETENTION_S:
                reason = f"{asked} The requested range must be within the last 30 days."
                return _error(422, "Unprocessable Entity", reason)
            if end - start > LONGEST_S:
                reason = f"{asked} Only 8 days worth of 1m granularity data are allowed to be fetched per request."
                return _error(422, "Unprocessable Entity", reason)
        rows = self._minutes(ticker, start, end, now) if interval == "1m" else {}
        empty = self._exchange.faults.first(("empty",), request.url.path, request.url.query) is not None
        around = query.get("includePrePost", "").lower() == "true"
        return _body(self._meta(ticker, interval, span, now, around=around), {} if empty else rows)

    def _minutes(self, ticker: str, start: int, end: int, now: int) -> dict[str, Any]:
        hours = hours_of(ticker)
        shown = now - int(hours.delay.total_seconds())
        times = _trading_minutes(hours, start, min(end, shown + 1))
        if not len(times):
            return {}
        level, decimals = _LEVELS[ticker]
        rng = Rng(self._exchange.seed, f"yahoo/{ticker}")
        edges = np.append(times, times[-1:] + MINUTE_S) / MINUTE_S
        path = level * np.exp(sum(rng.noise(f"path-{length}", edges / length) * by for length, by in _WAVES))
        opens, closes = path[:-1], path[:-1] + (path[1:] - path[:-1]) * 0.98
        spread = level * 1e-4 * rng.uniform("spread", times)
        early = (rng.below("corrected", times, _CORRECTED_EACH) == 0) & (
            times > now - int(CORRECTED_AFTER.total_seconds())
        )
        closes = np.where(early, closes + level * 1e-4, closes)
        highs, lows = np.maximum(opens, closes) + spread, np.minimum(opens, closes) - spread
        volumes = np.zeros_like(times) if hours.kind == "CURRENCY" else rng.below("volume", times, 50_000) + 100
        silent = rng.uniform("silent", times) < _QUIET_SHARE.get(ticker, 0.002)
        # The newest entry is the running minute, of which only a part has happened.
        silent[-1] = False
        columns = {"open": opens, "high": highs, "low": lows, "close": closes}
        values = {name: _with_nulls(np.round(column, decimals), silent) for name, column in columns.items()}
        return {"timestamp": times.tolist(), **values, "volume": _with_nulls(volumes, silent)}

    def _meta(self, ticker: str, interval: str, span: tuple[int, int], now: int, *, around: bool) -> dict[str, Any]:
        start, end = span
        hours = hours_of(ticker)
        offset = _offset(hours, now)
        newest = self._newest(hours, now)
        periods = [
            [{"timezone": hours.zone_name, "start": first, "end": last, "gmtoffset": _offset(hours, first)}]
            for first, last in hours.told_periods(_sessions(hours, start, max(end, start + 1)))
        ]
        current = next(iter(_sessions(hours, now, now + 5 * DAY_S)), (now, now))
        regular = {"timezone": hours.zone_name, "start": current[0], "end": current[1], "gmtoffset": offset}
        before = {**regular, "end": current[0]}
        after = {**regular, "start": current[1]}
        level, decimals = _LEVELS[ticker]
        return {
            "currency": "USD", "symbol": ticker, "exchangeName": hours.exchange, "fullExchangeName": hours.exchange,
            "instrumentType": hours.kind, "firstTradeDate": 1_070_236_800, "regularMarketTime": newest,
            "hasPrePostMarketData": False, "gmtoffset": offset, "timezone": hours.zone_name,
            "exchangeTimezoneName": hours.zone.key, "regularMarketPrice": round(level, decimals),
            "chartPreviousClose": round(level, decimals), "priceHint": decimals,
            "currentTradingPeriod": {"pre": before, "regular": regular, "post": after},
            **({"tradingPeriods": _around(periods) if around else periods} if interval == "1m" else {}),
            "dataGranularity": interval, "range": "", "validRanges": list(_RANGES),
        }  # fmt: skip

    def _newest(self, hours: Hours, now: int) -> int:
        """The instant of the newest price that is shown."""
        shown = now - int(hours.delay.total_seconds())
        last = max((min(end, shown) for start, end in _sessions(hours, shown - 7 * DAY_S, shown + 1)), default=shown)
        return int(last)


_WAVES = ((7, 2e-5), (61, 2e-4), (487, 1e-3), (3_907, 4e-3), (41_000, 1e-2))
"""Lengths in minutes and heights (of the logarithm) of the noise that prices are the sum of."""


def _around(periods: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Trading periods as they are told where the hours before and after were asked for, of which there are none."""
    return {
        "pre": [[{**each, "end": each["start"]} for each in day] for day in periods],
        "post": [[{**each, "start": each["end"]} for each in day] for day in periods],
        "regular": periods,
    }


def _with_nulls(values: Any, silent: Any) -> list[Any]:
    return [None if gone else value for value, gone in zip(values.tolist(), silent.tolist(), strict=True)]


def _span(length: str, first: str, second: str, now: int) -> tuple[int, int] | None:
    if first.isdecimal() and second.isdecimal() and int(first) < int(second):
        return int(first), int(second)
    if length in ("1d", "5d"):
        return now - int(length[:-1]) * DAY_S, now
    return None


def _sessions(hours: Hours, start: int, end: int) -> list[tuple[int, int]]:
    """Whole sessions that overlap `[start, end)`, epoch seconds."""
    day = datetime.fromtimestamp(start, UTC).date() - timedelta(days=1)
    last: date = datetime.fromtimestamp(end, UTC).date() + timedelta(days=1)
    found = []
    while day <= last:
        session = session_of(hours, day)
        if session is not None:
            first, until = (int(each.timestamp()) for each in session)
            if first < end and until > start:
                found.append((first, until))
        day += timedelta(days=1)
    return found


def _trading_minutes(hours: Hours, start: int, end: int) -> Ints:
    """Starts of the minutes of all sessions in `[start, end)`, epoch seconds."""
    spans = [
        np.arange(-(-max(first, start) // MINUTE_S) * MINUTE_S, min(until, end), MINUTE_S, dtype=np.int64)
        for first, until in _sessions(hours, start, end)
    ]
    return np.concatenate(spans) if spans else np.array([], dtype=np.int64)


def _offset(hours: Hours, at: int) -> int:
    offset = datetime.fromtimestamp(at, hours.zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def _body(meta: dict[str, Any], rows: dict[str, Any]) -> Response:
    names = ("open", "high", "low", "close", "volume")
    result: dict[str, Any] = {
        "meta": meta,
        "indicators": {"quote": [{name: rows[name] for name in names} if rows else {}]},
    }
    if rows:
        result["timestamp"] = rows["timestamp"]
    return _json({"chart": {"result": [result], "error": None}}, 200)


def _error(status: int, code: str, description: str) -> Response:
    return _json({"chart": {"result": None, "error": {"code": code, "description": description}}}, status)


def _json(content: Any, status: int) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
