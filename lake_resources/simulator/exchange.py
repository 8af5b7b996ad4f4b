"""The simulated exchange as one object: symbols, clock, limits, faults.

Belongs here: what every part of the server needs at hand. Does not belong here: HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time

from lake_resources.clock import Clock, system_clock
from lake_resources.simulator.faults import FaultBook
from lake_resources.simulator.market.book import Book
from lake_resources.simulator.market.feed import SymbolFeed
from lake_resources.simulator.market.seeded_market import Market, SeededMarket
from lake_resources.simulator.market.specs import DEFAULT_SYMBOLS, Listing, listing_of, spec_of
from lake_resources.simulator.market.spot_market import SpotMarket
from lake_resources.simulator.rest.limits import RateLimits
from lake_resources.simulator.sim_clock import SimClock
from lake_resources.simulator.ws.recording import Replay
from lake_resources.simulator.ws.session import WsLimits


@dataclass(frozen=True)
class Setup:
    """What is simulated, all of it by default.

    Attributes:
        seed: same seed, same market.
        symbols: symbols that trade; any name is accepted.
        clock: the exchange's time; None for the machine's.
        limit_clock: time of the weight windows and bans; None for the machine's, also where `clock` stands still.
        rate_per_min: mean number of aggregate trades per minute.
        publish_time: time of day (UTC) at which a day's archives appear on the next day.
        replays: markets that replace the seeded one of their symbol (`replay.load`).
        limits: False never answers 429 or 418 by itself.
        speed: seconds of the exchange per second of `clock`; streams and REST alike run in its time.
        start: exchange time at the start, from which it runs; None for the time of `clock`.
        ws_limits: limits, pings and lifetime of WebSocket connections, in machine time.
        liquidations_per_min: mean liquidations per symbol and minute, before the stream's sampling.
        ws_replay: recorded streams (`ws.recording`) that replace those of their symbols, with their depth snapshot.
        listings: when seeded symbols trade, where not from 2019 on for ever.
        spot_symbols: symbols that trade on spot; None for the perpetuals among `symbols`.
    """

    seed: int = 7
    symbols: Sequence[str] = DEFAULT_SYMBOLS
    clock: Clock | None = None
    limit_clock: Clock | None = None
    rate_per_min: float = 15.0
    publish_time: time = time(8, 35)
    replays: Mapping[str, Market] | None = None
    limits: bool = True
    speed: float = 1.0
    start: datetime | None = None
    ws_limits: WsLimits = field(default_factory=WsLimits)
    liquidations_per_min: float = 2.0
    ws_replay: Replay | None = None
    listings: Mapping[str, Listing] | None = None
    spot_symbols: Sequence[str] | None = None


class Exchange:
    """All state of one simulated exchange.

    Args:
        setup: what is simulated.

    Attributes:
        feeds, books: of the futures, by symbol.
        spot_feeds, spot_books: of the spot market, by symbol.
    """

    def __init__(self, setup: Setup) -> None:
        seed, rate, replays, listings = setup.seed, setup.rate_per_min, setup.replays or {}, setup.listings or {}
        limit_clock = setup.limit_clock or system_clock
        self.seed = seed
        self.clock = SimClock(setup.clock or system_clock, setup.speed)
        if setup.start is not None:
            self.clock.run_from(setup.start)
        self.limits = RateLimits(lambda: int(limit_clock().timestamp() * 1000), enabled=setup.limits)
        self.faults = FaultBook()
        self.replay = setup.ws_replay
        markets: dict[str, Market] = {
            symbol: SeededMarket(
                spec_of(symbol), seed, rate_per_min=rate, listing=listings.get(symbol) or listing_of(symbol)
            )
            for symbol in setup.symbols
        }
        markets.update(replays)
        self.feeds = {symbol: SymbolFeed(market, seed) for symbol, market in markets.items()}
        # What a pair's index is made of trades elsewhere; of its contracts here the perpetual knows it longest.
        by_age = sorted(self.feeds.values(), key=lambda feed: feed.spec.perpetual)
        self.pairs = {feed.spec.pair: feed for feed in by_age}
        self.books = {symbol: Book(feed) for symbol, feed in self.feeds.items()}
        spot_symbols = setup.spot_symbols
        if spot_symbols is None:
            spot_symbols = [symbol for symbol, feed in self.feeds.items() if feed.spec.perpetual]
        self.spot_feeds = {
            symbol: self._spot_feed(symbol, rate, replays, listings.get(symbol)) for symbol in spot_symbols
        }
        self.spot_books = {symbol: Book(feed) for symbol, feed in self.spot_feeds.items()}

    def _spot_feed(
        self, symbol: str, rate_per_min: float, replays: Mapping[str, Market], listing: Listing | None
    ) -> SymbolFeed:
        """A replayed market is the spot one as well: the file does not say which it was."""
        if symbol in replays:
            return SymbolFeed(replays[symbol], self.seed, spot=True)
        futures = self.feeds.get(symbol)
        if futures is None:
            futures = SymbolFeed(SeededMarket(spec_of(symbol), self.seed, rate_per_min=rate_per_min), self.seed)
        # It is listed with its futures, and goes on when these are delivered.
        listed = Listing(None if listing is None else listing.onboard)
        return SymbolFeed(
            SpotMarket(futures, self.seed, rate_per_min=rate_per_min, listing=listed), self.seed, spot=True
        )

    def now_ms(self) -> int:
        """The exchange's time, epoch ms."""
        return self.clock.now_ms()
