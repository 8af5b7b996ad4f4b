"""The same 30 zips by freqtrade's own archive download: six columns as pandas rows, nothing verified.

Belongs here: pointing its unchanged code at the local server. Does not belong here: anything of the lake. Runs in the
competitors' environment.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta

from freqtrade.enums import CandleType
from freqtrade.exchange import binance_public_data

from lake_tests.bench.meter import metered

_PAIR = "BTC/USDT:USDT"
_HOST = "https://data.binance.vision"


def main() -> None:
    """`klines_freqtrade URL SYMBOL YYYY-MM-DD DAYS`."""
    url, symbol, first, days = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    start = datetime.fromisoformat(first).replace(tzinfo=UTC)
    # Its range includes the day of `until`, so that is the last day wanted; a few rows of it are cut off.
    until = start + timedelta(days=days) - timedelta(minutes=1)
    theirs = binance_public_data.binance_vision_ohlcv_zip_url
    binance_public_data.binance_vision_ohlcv_zip_url = lambda *given: theirs(*given).replace(_HOST, url)
    kept = []

    async def download() -> None:
        # Kept here instead of returned: asyncio.run would spend CPU on the text of a large result.
        kept.append(
            await binance_public_data.download_archive_ohlcv(
                CandleType.FUTURES,
                _PAIR,
                "1m",
                since_ms=int(start.timestamp() * 1000),
                until_ms=int(until.timestamp() * 1000),
                markets={_PAIR: {"id": symbol}},
            )
        )

    with metered() as figures:
        asyncio.run(download())
        figures["rows"] = len(kept[0])


if __name__ == "__main__":
    main()
