"""The simulated exchange as one object: symbols, clock, limits, faults.

Belongs here: what every part of the server needs at hand. Does not belong here: HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lake_resources.clock import Clock
from lake_resources.simulator.faults import FaultBook
from lake_resources.simulator.market.book import Book
from lake_resources.simulator.market.feed import SymbolFeed
from lake_resources.simulator.market.seeded_market import Market, SeededMarket
from lake_resources.simulator.market.specs import Listing, listing_of, spec_of
from lake_resources.simulator.market.spot_market import SpotMarket
from lake_resources.simulator.rest.limits import RateLimits
from lake_resources.simulator.sim_clock import SimClock
from lake_resources.simulator.ws.recording import Replay


class Exchange:
    """All state of one simulated exchange.

    Args:
        seed: seed of the seeded markets and of all derived series.
        symbols: symbols that trade.
        clock: the exchange's time.
        limit_clock: time of the weight windows and bans.
        rate_per_min: mean aggregates per minute of a seeded market.
        replays: markets that replace the seeded one of their symbol.
        limits_enabled: False never refuses.
        speed: seconds of the exchange per second of `clock`.
        replay: recorded streams that replace those of their symbols, with their depth snapshot.
        listings: when seeded symbols trade, where not always.
        spot_symbols: symbols that trade on spot; None for the perpetuals among `symbols`.

    Attributes:
        feeds, books: of the futures, by symbol.
        spot_feeds, spot_books: of the spot market, by symbol.
    """

    def __init__(
        self,
        *,
        seed: int,
        symbols: Sequence[str],
        clock: Clock,
        limit_clock: Clock,
        rate_per_min: float = 15.0,
        replays: Mapping[str, Market] | None = None,
        limits_enabled: bool = True,
        speed: float = 1.0,
        replay: Replay | None = None,
        listings: Mapping[str, Listing] | None = None,
        spot_symbols: Sequence[str] | None = None,
    ) -> None:
        self.seed = seed
        self.clock = SimClock(clock, speed)
        self.limits = RateLimits(lambda: int(limit_clock().timestamp() * 1000), enabled=limits_enabled)
        self.faults = FaultBook()
        self.replay = replay
        markets: dict[str, Market] = {
            symbol: SeededMarket(
                spec_of(symbol),
                seed,
                rate_per_min=rate_per_min,
                listing=(listings or {}).get(symbol) or listing_of(symbol),
            )
            for symbol in symbols
        }
        markets.update(replays or {})
        self.feeds = {symbol: SymbolFeed(market, seed) for symbol, market in markets.items()}
        # What a pair's index is made of trades elsewhere; of its contracts here the perpetual knows it longest.
        by_age = sorted(self.feeds.values(), key=lambda feed: feed.spec.perpetual)
        self.pairs = {feed.spec.pair: feed for feed in by_age}
        self.books = {symbol: Book(feed) for symbol, feed in self.feeds.items()}
        if spot_symbols is None:
            spot_symbols = [symbol for symbol, feed in self.feeds.items() if feed.spec.perpetual]
        self.spot_feeds = {symbol: self._spot_feed(symbol, rate_per_min, replays or {}) for symbol in spot_symbols}
        self.spot_books = {symbol: Book(feed) for symbol, feed in self.spot_feeds.items()}

    def _spot_feed(self, symbol: str, rate_per_min: float, replays: Mapping[str, Market]) -> SymbolFeed:
        """A replayed market is the spot one as well: the file does not say which it was."""
        if symbol in replays:
            return SymbolFeed(replays[symbol], self.seed, spot=True)
        futures = self.feeds.get(symbol)
        if futures is None:
            futures = SymbolFeed(SeededMarket(spec_of(symbol), self.seed, rate_per_min=rate_per_min), self.seed)
        return SymbolFeed(SpotMarket(futures, self.seed, rate_per_min=rate_per_min), self.seed, spot=True)

    def now_ms(self) -> int:
        """The exchange's time, epoch ms."""
        return self.clock.now_ms()
