"""What a simulated symbol looks like: digits, tick and step, price level, size of trades.

Belongs here: the table of known symbols, how an unknown but configured name gets a plausible spec, when one trades.
Does not belong here: anything else that changes with time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

ONBOARD_MS = 1_567_965_300_000
"""First trade of every simulated symbol: 2019-09-08 17:55 UTC, as BTCUSDT's onboardDate."""

_DELIVERY_NAME = re.compile(r"(?P<pair>.+)_(?P<date>\d{6})")
_DELIVERY_HOUR = timedelta(hours=8)
_LISTED_BEFORE = timedelta(weeks=26)
"""A quarter's contract is listed about half a year before it is delivered."""

DEFAULT_SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "LINKUSDT")


@dataclass(frozen=True)
class SymbolSpec:
    """Constants of one symbol.

    Attributes:
        symbol: e.g. `BTCUSDT`.
        base_price: long-run price level, USDT.
        price_digits: decimals of a printed price; prices are held as integers of 10**-price_digits.
        tick: smallest price step, in those integers.
        quantity_digits: decimals of a printed quantity; quantities are integers of 10**-quantity_digits.
        typical_fill_usdt: median notional of one fill, USDT.
        minute_volatility: standard deviation of a one-minute log return.
        open_interest: level of the open interest, base asset.
    """

    symbol: str
    base_price: float
    price_digits: int
    tick: int
    quantity_digits: int
    typical_fill_usdt: float = 900.0
    minute_volatility: float = 4e-4
    open_interest: float = 80_000.0

    @property
    def base_asset(self) -> str:
        """`BTC` of `BTCUSDT` and of `BTCUSDT_261225`."""
        for quote in ("USDT", "USDC"):
            if self.pair.endswith(quote) and self.pair != quote:
                return self.pair.removesuffix(quote)
        return self.pair

    @property
    def pair(self) -> str:
        """`BTCUSDT` of `BTCUSDT_261225`; a perpetual's is its own name."""
        found = _DELIVERY_NAME.fullmatch(self.symbol)
        return found["pair"] if found else self.symbol

    @property
    def perpetual(self) -> bool:
        """Whether it is no delivery contract."""
        return self.pair == self.symbol

    @property
    def quote_digits(self) -> int:
        """Decimals of a quote volume: a product of price and quantity, so no rounding is needed."""
        return self.price_digits + self.quantity_digits


@dataclass(frozen=True)
class Listing:
    """When a symbol trades, whole minutes in UTC.

    Attributes:
        onboard: first minute; None for the one that every simulated symbol has.
        delivery: first minute after the last; None while it goes on.
    """

    onboard: datetime | None = None
    delivery: datetime | None = None


_KNOWN = {
    spec.symbol: spec
    for spec in (
        SymbolSpec("BTCUSDT", 60_000.0, 2, 10, 3),
        SymbolSpec("ETHUSDT", 2_800.0, 2, 1, 3, minute_volatility=5e-4, open_interest=1_800_000.0),
        SymbolSpec("BNBUSDT", 600.0, 2, 1, 2, 500.0, 4.5e-4, 600_000.0),
        SymbolSpec("SOLUSDT", 140.0, 2, 1, 2, 500.0, 6e-4, 9_000_000.0),
        SymbolSpec("XRPUSDT", 1.5, 4, 1, 1, 400.0, 6e-4, 400_000_000.0),
        SymbolSpec("LINKUSDT", 12.0, 3, 1, 2, 300.0, 6e-4, 20_000_000.0),
        SymbolSpec("AVAXUSDT", 20.0, 3, 1, 0, 300.0, 6e-4, 12_000_000.0),
        SymbolSpec("DOGEUSDT", 0.12, 5, 1, 0, 300.0, 7e-4, 3_000_000_000.0),
    )
}


def spec_of(symbol: str) -> SymbolSpec:
    """Spec of a symbol: a delivery contract has its pair's, a name not in the table a price level drawn from it."""
    found = _DELIVERY_NAME.fullmatch(symbol)
    if found:
        return replace(spec_of(found["pair"]), symbol=symbol)
    if symbol in _KNOWN:
        return _KNOWN[symbol]
    digest = blake2b(symbol.encode(), digest_size=2).digest()
    price = 2.0 + int.from_bytes(digest, "little") % 4000 / 100
    return SymbolSpec(symbol, price, 4, 1, 1, 300.0, 6e-4, 50_000_000.0 / price)


def listing_of(symbol: str) -> Listing:
    """When a symbol trades where nothing else is said: for ever, or until the day in a delivery contract's name.

    Raises:
        ValueError: six digits behind a name that are no date.
    """
    found = _DELIVERY_NAME.fullmatch(symbol)
    if not found:
        return Listing()
    delivery = datetime.strptime(found["date"], "%y%m%d").replace(tzinfo=UTC) + _DELIVERY_HOUR
    return Listing(delivery - _LISTED_BEFORE, delivery)
