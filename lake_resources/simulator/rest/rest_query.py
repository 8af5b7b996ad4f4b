"""Reading of query parameters by Binance's rules, and its error answers.

Belongs here: the parsed query of one REST call and the error codes. Does not belong here: any endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lake_resources.simulator.exchange import Exchange
from lake_resources.simulator.market.feed import SymbolFeed

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
    """

    exchange: Exchange
    values: Mapping[str, str]
    now_ms: int

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
        if symbol not in self.exchange.feeds:
            raise ApiError(BAD_SYMBOL, "Invalid symbol.")
        return self.exchange.feeds[symbol]

    def feeds(self) -> list[SymbolFeed]:
        """The one symbol asked for, or all symbols where none is given."""
        return [self.feed()] if self.values.get("symbol") else list(self.exchange.feeds.values())

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
