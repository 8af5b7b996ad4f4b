"""30 daily 1m kline zips by the lake's client: downloaded, verified against their CHECKSUM, typed, all columns kept.

Belongs here: that run, measured. Does not belong here: the competitor (`klines_freqtrade`), judging the figures.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from lake_resources.binance.archives.vision_client import VerifiedZip, VisionClient
from lake_resources.binance.um_streams import UM_STREAMS
from lake_tests.bench.meter import metered
from lake_tests.support.archive_rows import archive_rows

_STREAM = UM_STREAMS["klines_1m"]


def klines(url: str, symbol: str, first: date, days: int, folder: Path) -> pl.DataFrame:
    """All klines of the days, verified and typed."""
    client = VisionClient(url)
    wanted = [(_STREAM, symbol, (first + timedelta(days=n)).isoformat()) for n in range(days)]
    frames = []
    for request, found in client.download_many(wanted, folder):
        if not isinstance(found, VerifiedZip):
            raise SystemExit(f"{request[2]}: {found}")
        frames.append(archive_rows(found.path, _STREAM))
    client.close()
    return pl.concat(frames)


if __name__ == "__main__":
    url, scratch, first, days = sys.argv[1], sys.argv[2], date.fromisoformat(sys.argv[3]), int(sys.argv[4])
    with tempfile.TemporaryDirectory(dir=scratch, prefix="klines-") as temp, metered() as figures:
        figures["rows"] = klines(url, "BTCUSDT", first, days, Path(temp)).height
