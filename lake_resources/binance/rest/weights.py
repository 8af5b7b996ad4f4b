"""What each REST request of USD-M futures costs, and of which limit.

Belongs here: the paths that the lake calls, their bucket and weight.
Does not belong here: counting and waiting (governor.py).
"""

from __future__ import annotations

from lake_resources.http import Query

TIME = "/fapi/v1/time"
EXCHANGE_INFO = "/fapi/v1/exchangeInfo"
AGG_TRADES = "/fapi/v1/aggTrades"
PREMIUM_INDEX = "/fapi/v1/premiumIndex"
OPEN_INTEREST = "/fapi/v1/openInterest"
BOOK_TICKER = "/fapi/v1/ticker/bookTicker"
DEPTH = "/fapi/v1/depth"
FUNDING_RATE = "/fapi/v1/fundingRate"
FUNDING_INFO = "/fapi/v1/fundingInfo"
FUTURES_DATA = "/futures/data/"
KLINE_PATHS = {
    "klines_1m": "/fapi/v1/klines",
    "mark_price_klines_1m": "/fapi/v1/markPriceKlines",
    "index_price_klines_1m": "/fapi/v1/indexPriceKlines",
    "premium_index_klines_1m": "/fapi/v1/premiumIndexKlines",
}

# 499 rows cost 2, which is the most rows per unit of weight on either side of the documented edge at 500.
KLINE_PAGE = 499
AGG_TRADE_PAGE = 1000
FUTURES_DATA_PAGE = 500
FUNDING_PAGE = 1000
# The deepest book there is: levels beyond it stay unknown until they are touched.
DEPTH_LIMIT = 1000

_FIXED = {TIME: 1, EXCHANGE_INFO: 1, AGG_TRADES: 20, PREMIUM_INDEX: 1, OPEN_INTEREST: 1, BOOK_TICKER: 2, DEPTH: 20}


def kline_weight(limit: int) -> int:
    """Weight of one call of the kline family.

    The documentation says [100, 500) costs 2, the measurement says (100, 500]; the dearer of the two is counted.
    """
    if limit < 100:
        return 1
    if limit < 500:
        return 2
    return 5 if limit <= 1000 else 10


def cost(path: str, query: Query) -> tuple[str, int]:
    """Bucket of the governor, and cost, of a request.

    Raises:
        KeyError: the lake does not call this path.
    """
    if path.startswith(FUTURES_DATA):
        return "futures_data", 1
    if path in (FUNDING_RATE, FUNDING_INFO):
        return "funding", 1
    if path in KLINE_PATHS.values():
        return "weight_1m", kline_weight(int(query["limit"]))
    return "weight_1m", _FIXED[path]
