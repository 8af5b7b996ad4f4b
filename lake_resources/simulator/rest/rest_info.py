"""REST endpoints about the exchange itself: ping, time, exchangeInfo.

Belongs here: what a client reads before it asks for data. Does not belong here: data.
"""

from __future__ import annotations

from lake_resources.simulator.market.decimals import text
from lake_resources.simulator.market.feed import SymbolFeed
from lake_resources.simulator.market.specs import ONBOARD_MS, SymbolSpec
from lake_resources.simulator.rest.rest_market import Json
from lake_resources.simulator.rest.rest_query import Query

_DELIVERY_MS = 4_133_404_800_000
"""What a perpetual contract shows that nobody has delisted."""
_ORDER_TYPES = ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"]


def ping(query: Query) -> Json:  # noqa: ARG001 - every endpoint takes the query
    """`ping`: an empty object."""
    return {}


def server_time(query: Query) -> Json:
    """`time`."""
    return {"serverTime": query.now_ms}


def _limits(weight: int) -> list[Json]:
    return [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight},
        {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
    ]


def _filters(spec: SymbolSpec) -> list[Json]:
    tick, step = text(spec.tick, spec.price_digits), text(1, spec.quantity_digits)
    return [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "4529764", "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "1000000", "stepSize": step},
        {"filterType": "MARKET_LOT_SIZE", "minQty": step, "maxQty": "120000", "stepSize": step},
        {"filterType": "MAX_NUM_ORDERS", "limit": 200},
        {"filterType": "MIN_NOTIONAL", "notional": "5"},
        {
            "filterType": "PERCENT_PRICE",
            "multiplierUp": "1.0500",
            "multiplierDown": "0.9500",
            "multiplierDecimal": "4",
        },
    ]


def _status(feed: SymbolFeed, now_ms: int) -> str:
    if now_ms < feed.market.first_minute * 60_000:
        return "PENDING_TRADING"
    return "SETTLING" if feed.ended(now_ms) else "TRADING"


def exchange_info(query: Query) -> Json:
    """`/fapi/v1/exchangeInfo`."""
    symbols = []
    for feed in query.exchange.feeds.values():
        spec, end = feed.spec, feed.market.end_minute
        symbols.append(
            {
                "symbol": spec.symbol,
                "pair": spec.pair,
                "contractType": "PERPETUAL" if spec.perpetual else "CURRENT_QUARTER",
                "deliveryDate": _DELIVERY_MS if end is None else end * 60_000,
                "onboardDate": max(ONBOARD_MS, feed.market.first_minute * 60_000),
                "status": _status(feed, query.now_ms),
                "maintMarginPercent": "2.5000",
                "requiredMarginPercent": "5.0000",
                "baseAsset": spec.base_asset,
                "quoteAsset": "USDT",
                "marginAsset": "USDT",
                "pricePrecision": spec.price_digits,
                "quantityPrecision": spec.quantity_digits,
                "baseAssetPrecision": 8,
                "quotePrecision": 8,
                "underlyingType": "COIN",
                "underlyingSubType": ["PoW"],
                "triggerProtect": "0.0500",
                "liquidationFee": "0.012500",
                "marketTakeBound": "0.05",
                "maxMoveOrderLimit": 10000,
                "filters": _filters(spec),
                "orderTypes": _ORDER_TYPES,
                "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
                "permissionSets": ["GRID", "COPY"],
            }
        )
    return {
        "timezone": "UTC",
        "serverTime": query.now_ms,
        "futuresType": "U_MARGINED",
        "rateLimits": _limits(2400),
        "exchangeFilters": [],
        "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
        "symbols": symbols,
    }


def spot_exchange_info(query: Query) -> Json:
    """`/api/v3/exchangeInfo` of one symbol, of some, or of all."""
    symbols = [
        {
            "symbol": feed.spec.symbol,
            "status": "TRADING",
            "baseAsset": feed.spec.base_asset,
            "baseAssetPrecision": 8,
            "quoteAsset": "USDT",
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "orderTypes": ["LIMIT", "MARKET"],
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "filters": _filters(feed.spec),
            "permissions": [],
            "permissionSets": [["SPOT"]],
        }
        for feed in query.feeds()
    ]
    return {
        "timezone": "UTC",
        "serverTime": query.now_ms,
        "rateLimits": _limits(6000),
        "exchangeFilters": [],
        "symbols": symbols,
    }
