"""Reading of query parameters by Binance's rules, and its error answers.

Belongs here: the parsed query of one REST call and the error codes. Does not belong here: any endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from lake_resources.simulator.exchange import Exchange
from lake_resources.simulator.market.book import Book
from lake_resources.simulator.market.decimals import texts
from lake_resources.simulator.market.feed import SymbolFeed
from lake_resources.simulator.market.rng import Ints

ILLEGAL_CHARACTERS = -1100
MANDATORY_MISSING = -1102
START_AFTER_END = -1023
BAD_INTERVAL = -1120
BAD_SYMBOL = -1121
WINDOW_TOO_LONG = -1127
BAD_PARAMETER = -1130
BAD_DEPTH_LIMIT = -4021
NOT_TRADING = -4108
BAD_PAIR = -4144
NOT_TRADING_TEXT = "Symbol is on delivering or delivered or settling or closed or pre-trading."
WINDOW_TOO_OLD = -4166
_SPOT_DECIMALS = 8


class ApiError(Exception):
    """An error answer: `{"code": …, "msg": …}` with a status."""

    def __init__(self, code: int, msg: str, status: int = 400) -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg
        self.status = status


@dataclass(frozen=True)
class Query:
    """Query of one call, at one instant.

    Attributes:
        exchange: the exchange that is asked.
        values: the parameters as sent.
        now_ms: the instant at which the call is answered.
        spot: the spot market is asked.
    """

    exchange: Exchange
    values: Mapping[str, str]
    now_ms: int
    spot: bool = False

    @property
    def listed(self) -> Mapping[str, SymbolFeed]:
        """All symbols of the market that is asked."""
        return self.exchange.spot_feeds if self.spot else self.exchange.feeds

    def book(self, feed: SymbolFeed) -> Book:
        """The order book of one of them."""
        return (self.exchange.spot_books if self.spot else self.exchange.books)[feed.spec.symbol]

    def texts(self, values: Ints, digits: int) -> list[str]:
        """Numbers as the market prints them: spot has 8 decimals everywhere."""
        return texts(values, digits, max(_SPOT_DECIMALS - digits, 0) if self.spot else 0)

    def text(self, value: int, digits: int) -> str:
        """One number as the market prints it."""
        return self.texts(np.array([value]), digits)[0]

    def required(self, name: str) -> str:
        """A parameter that must be there.

        Raises:
            ApiError: -1102 where it is missing or empty.
        """
        value = self.values.get(name, "")
        if not value:
            raise ApiError(
                MANDATORY_MISSING, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
            )
        return value

    def number(self, name: str) -> int | None:
        """An integer parameter, None where absent.

        Raises:
            ApiError: -1102 where it is not a number.
        """
        value = self.values.get(name, "")
        if not value:
            return None
        if not value.isdecimal():
            raise ApiError(
                MANDATORY_MISSING, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
            )
        return int(value)

    def limit(self, default: int, largest: int) -> int:
        """The `limit` parameter.

        Raises:
            ApiError: -1130 where it lies outside 1..largest.
        """
        value = self.number("limit")
        if value is None:
            return default
        if not 1 <= value <= largest:
            raise ApiError(BAD_PARAMETER, "Data sent for parameter 'limit' is not valid.")
        return value

    def window(self) -> tuple[int | None, int | None]:
        """`startTime` and `endTime`, epoch ms, both inclusive.

        Raises:
            ApiError: -1023 where the start lies after the end.
        """
        start, end = self.number("startTime"), self.number("endTime")
        if start is not None and end is not None and start > end:
            raise ApiError(START_AFTER_END, "Start time is greater than end time.")
        return start, end

    def pair(self) -> SymbolFeed:
        """The pair asked for; a delivery contract's symbol is none.

        Raises:
            ApiError: -1102 or -4144.
        """
        pair = self.required("pair")
        if pair not in self.exchange.pairs:
            raise ApiError(BAD_PAIR, "Invalid pair.")
        return self.exchange.pairs[pair]

    def feed(self) -> SymbolFeed:
        """The symbol asked for.

        Raises:
            ApiError: -1102 or -1121.
        """
        symbol = self.required("symbol")
        if symbol not in self.listed:
            raise ApiError(BAD_SYMBOL, "Invalid symbol.")
        return self.listed[symbol]

    def feeds(self) -> list[SymbolFeed]:
        """The one symbol asked for, those of spot's list `symbols`, or all symbols where none is given.

        Raises:
            ApiError: -1121, or -1100 where the list is none.
        """
        if self.values.get("symbol"):
            return [self.feed()]
        if not (self.spot and self.values.get("symbols")):
            return list(self.listed.values())
        try:
            named = orjson.loads(self.values["symbols"])
        except orjson.JSONDecodeError:
            named = None
        if not isinstance(named, list):
            raise ApiError(ILLEGAL_CHARACTERS, "Illegal characters found in parameter 'symbols'.")
        if any(name not in self.listed for name in named):
            raise ApiError(BAD_SYMBOL, "Invalid symbol.")
        return [self.listed[name] for name in named]

    def choice(self, name: str, allowed: Sequence[str], code: int) -> str:
        """A parameter out of a fixed list.

        Raises:
            ApiError: -1102 where missing, `code` where not in the list.
        """
        value = self.required(name)
        if value not in allowed:
            text = "Invalid interval." if code == BAD_INTERVAL else f"Data sent for parameter '{name}' is not valid."
            raise ApiError(code, text)
        return value
