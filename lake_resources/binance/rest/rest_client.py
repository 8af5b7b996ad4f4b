"""The REST client of a market: every endpoint that a column of the lake needs.

Belongs here: the one path of all calls (governor → request → header → error tree → retry) and the endpoints.
Does not belong here: paging (rest_paging.py), the shape of bodies (rest_payloads.py), columns of the lake.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode

import polars as pl

from lake_resources.binance.market import UM, Endpoint, Market
from lake_resources.binance.rest import rest_paging, rest_payloads
from lake_resources.binance.rest.answers import LARGE_VALUES, answered_at, decode, used_weight, values_in
from lake_resources.binance.rest.covering import covering
from lake_resources.binance.stream import Stream
from lake_resources.binance.streams import STREAMS
from lake_resources.clock import EPOCH, Clock, epoch_ms, system_clock
from lake_resources.errors import Banned, ExchangeError, RateLimited
from lake_resources.governor import WeightGovernor
from lake_resources.http import ONE_LARGE_BODY, Answer, HttpClient, Query, Sleep, retrying
from lake_resources.input_limits import DEFAULT_LIMITS, InputLimits
from lake_resources.spans import instant, rows_within

CONNECTIONS = 8

_Body = TypeVar("_Body")


@dataclass(frozen=True)
class RawAnswer:
    """A good answer as it came.

    Attributes:
        url: the whole URL that was asked.
        status: of HTTP.
        content: the body's bytes.
        body: the same, decoded.
    """

    url: str
    status: int
    content: bytes
    body: object


@dataclass(frozen=True)
class Patience:
    """What a client of REST puts up with before a call fails.

    Attributes:
        timeout_s: seconds for a connection and for each wait on the socket.
        attempts: calls at most, for failures that a retry can help.
        limits: how large and how slow an answer may be.
    """

    timeout_s: float = 20.0
    attempts: int = 5
    limits: InputLimits = DEFAULT_LIMITS


class BinanceRest:
    """REST of one market, safe to share between threads.

    Args:
        base_url: e.g. `https://fapi.binance.com`.
        governor: the host's weight governor.
        market: which endpoints and budgets it has.
        clock: the current instant.
        sleep: takes seconds.
        patience: what is put up with before a call fails.
    """

    def __init__(
        self,
        base_url: str,
        *,
        governor: WeightGovernor,
        market: Market = UM,
        clock: Clock = system_clock,
        sleep: Sleep = time.sleep,
        patience: Patience = Patience(),
    ) -> None:
        self._http = HttpClient(
            base_url, timeout_s=patience.timeout_s, connections=CONNECTIONS, gzip=True, limits=patience.limits
        )
        self._patience = patience
        self._governor = governor
        self.market = market
        self._clock = clock
        self._sleep = sleep
        self._told_time = EPOCH
        self._asking_time = threading.Lock()

    @property
    def base_url(self) -> str:
        """The base URL, for provenance."""
        return self._http.base_url

    def fetch(
        self, stream: Stream | str, symbol: str, start: datetime, end: datetime, interval: str | None = None
    ) -> pl.DataFrame:
        """All rows of a stream in [start, end).

        Args:
            stream: one of the client's market that REST serves, or its name.
            symbol: e.g. `BTCUSDT`.
            start: first instant, timezone-aware.
            end: instant after the last, timezone-aware.
            interval: of the kline family only; the stream's own where none is named.

        Returns:
            The wire columns of the stream, sorted by its key, each key once. Klines are closed ones only.
            `metrics.create_time` is the start of its 5 minutes, as in the archive.

        Raises:
            ExchangeError: a leaf of the tree; OutsideRetention when `start` is older than REST keeps.
            KeyError: REST does not serve this stream.
            ValueError: an instant without a time zone, or a stream of another market.
        """
        stream = STREAMS[self.market.name][stream] if isinstance(stream, str) else stream
        rest = stream.rest
        if rest is None:
            raise KeyError(stream.name)
        if stream.market is not self.market:
            raise ValueError(f"{stream.name} is a stream of {stream.market.title}, not of {self.market.title}")
        if start.tzinfo is None or end.tzinfo is None:
            raise ValueError("start and end must be timezone-aware")
        start_ms, end_ms = _ceil_ms(start), _ceil_ms(end)
        want = rest_paging.WantedRows(stream, rest, symbol, start_ms, end_ms)
        if rest.paging == "grid":
            frame = self._closed(rest_paging.klines(self.call, want, interval or rest.interval or ""))
        elif rest.paging == "ids":
            frame = rest_paging.agg_trades(self.call, want, epoch_ms(self._clock()))
        elif rest.paging == "periods":
            frame = rest_paging.metrics(self.call, want)
            step = timedelta(milliseconds=rest_paging.INTERVALS_MS[rest.interval or ""])
            frame = frame.filter(pl.col(stream.time_column) + step <= instant(self._clock()))
        else:
            frame = rest_paging.funding_rate(self.call, want)
        # Exact also where start or end lie between two milliseconds.
        return rows_within(frame, stream.time_column, start, end)

    def server_time(self) -> datetime:
        """The exchange's clock."""
        return self.call(self.market.time, {}, rest_payloads.server_time)

    def exchange_info(self) -> dict[str, Any]:
        """Symbols and limits, as sent."""
        return self.call(self.market.exchange_info, {}, rest_payloads.exchange_info)

    def first_traded(self, symbol: str) -> datetime | None:
        """Since when a symbol is traded, by its first bar; None where it has none yet.

        Raises:
            ExchangeError: a leaf of the tree.
            ValueError: the market's list of symbols says it.
        """
        if self.market.first_bars is None:
            raise ValueError(f"the list of symbols of {self.market.title} says when each is traded")
        return rest_paging.first_bar(self.call, self.market.first_bars, symbol, epoch_ms(self._clock()))

    def depth(self, symbol: str) -> dict[str, Any]:
        """The order book of now, as deep as it is to be had, as sent: `lastUpdateId`, `bids`, `asks`, `E`, `T`."""
        query: Query = {"symbol": symbol, "limit": self.market.depth.page}
        return self.call(self.market.depth, query, rest_payloads.depth)

    def agg_trades_by_id(self, symbol: str, first_id: int, last_id: int) -> list[dict[str, Any]]:
        """Trades (aggTrades) by id, one page: at most 1000 from `first_id` on, none after `last_id`.

        Returns:
            Rows `{a, p, q, f, l, T, m}` as sent, contiguous ids from `first_id`; fewer than asked for where the page or
            the history ends, none where `first_id` was never given.

        Raises:
            OutsideRetention: REST does not keep these trades any more (48 h).
            MalformedAnswer: other ids than asked for.
        """
        endpoint = self.market.agg_trades
        limit = min(last_id - first_id + 1, endpoint.page)
        query: Query = {"symbol": symbol, "fromId": first_id, "limit": limit}
        parse = partial(rest_payloads.agg_trade_rows, first_id=first_id, last_id=last_id)
        return self.call(endpoint, query, parse)

    def agg_trades_covering(self, symbol: str, first_id: int, last_id: int) -> list[dict[str, Any]]:
        """The aggTrades that stand for trades of these ids, as many as one page holds, from the first one on.

        Returns:
            Rows `{a, p, q, f, l, T, m}` as sent, contiguous; the first and the last may stand for trades beside these,
            too. None where REST does not have the first trade (yet).
        """
        endpoint = self.market.agg_trades

        def page(from_id: int | None) -> list[dict[str, Any]]:
            begin: Query = {} if from_id is None else {"fromId": from_id}
            query: Query = {"symbol": symbol, **begin, "limit": endpoint.page}
            return self.call(endpoint, query, rest_payloads.agg_trade_page)

        return covering(page, first_id, last_id)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, endpoint: Endpoint, query: Query, parse: Callable[[object, str], _Body]) -> _Body:
        """One request with all its retries: every call of this client goes through here.

        Args:
            endpoint: one of the market's.
            query: its parameters.
            parse: body and endpoint text → result; raises MalformedAnswer for a wrong shape.

        Raises:
            ExchangeError: a leaf of the tree.
        """
        text = self._text(endpoint, query)
        for attempt in retrying(self._patience.attempts, self._sleep):
            with attempt:
                return self._once(endpoint, query, text, lambda _, body: parse(body, text))
        raise AssertionError("tenacity re-raises the last error")

    def raw(self, endpoint: Endpoint, query: Query) -> RawAnswer:
        """One request, without a retry: a good answer as it came.

        Args:
            endpoint: one of the market's.
            query: its parameters.

        Raises:
            ExchangeError: a leaf of the tree; MalformedAnswer where the body is no JSON.
        """
        text = self._text(endpoint, query)
        url = text.removeprefix("GET ")
        return self._once(endpoint, query, text, lambda got, body: RawAnswer(url, got.status, got.body, body))

    def _text(self, endpoint: Endpoint, query: Query) -> str:
        return f"GET {self._http.base_url}{endpoint.path}" + (f"?{urlencode(query)}" if query else "")

    def _once(self, endpoint: Endpoint, query: Query, text: str, parse: Callable[[Answer, object], _Body]) -> _Body:
        self._governor.acquire(self._http.host, endpoint.bucket.name, endpoint.cost(query))
        with ExitStack() as held:
            try:
                return self._understood(endpoint, query, text, parse, held)
            except ExchangeError as error:
                # Until the next try, or for as long as it is told, its frames and causes would keep the whole answer.
                error.__cause__ = error.__context__ = None
                raise error.with_traceback(None)  # noqa: B904 - it is the same error

    def _understood(
        self,
        endpoint: Endpoint,
        query: Query,
        text: str,
        parse: Callable[[Answer, object], _Body],
        held: ExitStack,
    ) -> _Body:
        """One answer, read; where there is much of it, `held` keeps the right to one of them in the process."""
        host = self._http.host
        answer = self._http.get(endpoint.path, query, held=held)
        if len(answer.body) > LARGE_VALUES and values_in(answer.body) > LARGE_VALUES:
            held.enter_context(ONE_LARGE_BODY)
        used = used_weight(answer)
        if used is not None:
            self._governor.observe(host, self.market.budget.name, used, answered_at(answer))
        now = self._clock()
        try:
            body = decode(answer, text, endpoint.path, now, self._patience.limits.answer_values)
        except Banned as error:
            self._governor.ban(host, error.until_ms)
            raise
        except RateLimited as error:
            self._governor.pause(host, int((now.timestamp() + error.retry_after_s) * 1000))
            raise
        return parse(answer, body)

    def _closed(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Drop klines that are still open.

        The exchange's own time decides where it matters: a host clock that runs ahead would take a running minute
        for a closed one. For older rows the host's clock is enough, and the call is saved.
        """
        now = self._clock()
        newest = frame["close_time"].max()
        if isinstance(newest, datetime) and newest > now - timedelta(minutes=10):
            # What had closed when the exchange was asked last is closed for good.
            open_still = rows_within(frame, "close_time", self._told_time, now)
            with self._asking_time:
                if not rows_within(open_still, "close_time", self._told_time, now).is_empty():
                    self._told_time = self.server_time()
            now = min(now, self._told_time)
        return rows_within(frame, "close_time", EPOCH, now)


def _ceil_ms(instant: datetime) -> int:
    """Epoch ms of the first whole millisecond not before `instant`."""
    return -((EPOCH - instant) // timedelta(milliseconds=1))
