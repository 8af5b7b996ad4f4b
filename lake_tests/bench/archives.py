"""Synthetic Vision days on disk, at the paths and with the columns, decimals and density of real ones.

Belongs here: making the zips and CHECKSUMs that the benchmark serves. Does not belong here: measuring anything.
One day's klines, aggTrades and book updates agree with each other, so that all checks of the lake pass on them.
They are made once and kept: same parameters, same bytes.

Run as a program, so that the memory it needs is not counted as anyone's.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import zipfile
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.binance.wire_columns import METRICS_COLUMNS

SYMBOL = "BTCUSDT"
VERSION = "2"
"""Raised when the bytes made here change, so that kept files are made anew."""
_MINUTE_MS = 60_000
_DAY_MS = 1440 * _MINUTE_MS
_CHUNKS = 24


def make_day(root: Path, day: date, *, trades: int, updates: int = 0, seed: int = 7) -> None:
    """All archives of a day that the minute table reads, and what it looks back to; nothing when they are there.

    Args:
        root: what the server serves.
        trades: rows of aggTrades.
        updates: rows of bookTicker; 0 leaves the file out.
    """
    done = root / f".{day}-{trades}-{updates}-{seed}-{VERSION}"
    if done.exists():
        return
    rng = np.random.default_rng([seed, day.toordinal()])
    start_ms = _ms(day)
    with _ZippedCsv(root, "agg_trades", day.isoformat()) as archive:
        bars = []
        price = 64_000.0
        for chunk in range(_CHUNKS):
            frame = _agg_trades(rng, start_ms, chunk, trades // _CHUNKS, price)
            price = float(frame["price"][-1])
            archive.write(frame)
            bars.append(_bars(frame))
    bars_of_day = pl.concat(bars)
    for name in [name for name, stream in UM_STREAMS.items() if stream.is_klines]:
        _write(root, name, day.isoformat(), _klines(name, bars_of_day, start_ms))
    _write(root, "metrics", day.isoformat(), _metrics(rng, day))
    _write(root, "metrics", (day - timedelta(days=1)).isoformat(), _metrics(rng, day - timedelta(days=1)))
    _write(root, "funding_rate", f"{day:%Y-%m}", _funding(rng, day))
    if updates:
        for which, rows in ((day - timedelta(days=1), updates // 100), (day, updates)):
            with _ZippedCsv(root, "book_ticker", which.isoformat()) as archive:
                for chunk in range(_CHUNKS):
                    archive.write(_book_ticker(rng, _ms(which), chunk, rows // _CHUNKS))
    done.touch()


def _ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def _times(rng: np.random.Generator, start_ms: int, chunk: int, rows: int) -> np.ndarray:
    """Event times of a part of the day: bursts, as takers come in groups, and a trade in each minute."""
    span = _DAY_MS // _CHUNKS
    minutes = np.arange(0, span, _MINUTE_MS) + 30_000
    bursts = rng.integers(0, span - 200, max(1, rows // 6))
    times = rng.choice(bursts, rows - len(minutes)) + rng.integers(0, 200, rows - len(minutes))
    return np.sort(np.concatenate([times, minutes])) + start_ms + chunk * span


def _agg_trades(rng: np.random.Generator, start_ms: int, chunk: int, rows: int, price: float) -> pl.DataFrame:
    times = _times(rng, start_ms, chunk, rows)
    steps = rng.choice([-0.1, 0.0, 0.0, 0.0, 0.1, 0.1, -0.1, 0.5, -0.5], rows)
    fills = rng.choice([1, 1, 1, 1, 2, 3, 7], rows)
    last = 4_800_000_000 + start_ms % 10**9 + chunk * rows * 8 + np.cumsum(fills)
    return pl.DataFrame(
        {
            "agg_trade_id": 2_100_000_000 + start_ms // 1000 + chunk * rows + np.arange(rows),
            "price": np.maximum(np.round(price + np.cumsum(steps), 1), 1000.0),
            "quantity": np.maximum(np.round(rng.lognormal(-4.0, 1.8, rows), 3), 0.001),
            "first_trade_id": last - fills + 1,
            "last_trade_id": last,
            "transact_time": times,
            "is_buyer_maker": np.repeat(rng.random(rows // 4 + 1) < 0.5, 4)[:rows],
        }
    )


def _bars(trades: pl.DataFrame) -> pl.DataFrame:
    quantity, notional = pl.col("quantity"), pl.col("price") * pl.col("quantity")
    taker_buy = ~pl.col("is_buyer_maker")
    minute = pl.col("transact_time") // _MINUTE_MS * _MINUTE_MS
    return trades.group_by(minute.alias("open_time"), maintain_order=True).agg(
        open=pl.col("price").first(),
        high=pl.col("price").max(),
        low=pl.col("price").min(),
        close=pl.col("price").last(),
        volume=quantity.sum().round(3),
        close_time=pl.col("transact_time").first() // _MINUTE_MS * _MINUTE_MS + _MINUTE_MS - 1,
        quote_volume=notional.sum().round(4),
        count=(pl.col("last_trade_id") - pl.col("first_trade_id") + 1).sum(),
        taker_buy_volume=quantity.filter(taker_buy).sum().round(3),
        taker_buy_quote_volume=notional.filter(taker_buy).sum().round(4),
        ignore=pl.lit(0),
    )


def _klines(name: str, bars: pl.DataFrame, start_ms: int) -> pl.DataFrame:
    assert bars.height == 1440, bars["open_time"][0] - start_ms
    if name == "klines_1m":
        return bars
    prices = pl.col("open", "high", "low", "close")
    shown = (prices / 1e8).round(8) if name == "premium_index_klines_1m" else (prices * 1.0001).round(8)
    zero = pl.col("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume") * 0
    return bars.with_columns(shown, zero, count=pl.lit(60))


def _metrics(rng: np.random.Generator, day: date) -> pl.DataFrame:
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    rows = {
        "create_time": [f"{midnight + timedelta(minutes=5 * n):%Y-%m-%d %H:%M:%S}" for n in range(288)],
        "symbol": [SYMBOL] * 288,
    }
    interest = np.round(80_000 + rng.normal(0, 50, 288).cumsum(), 3)
    ratios = {name: np.round(rng.uniform(0.8, 1.9, 288), 8) for name in list(METRICS_COLUMNS)[4:]}
    return pl.DataFrame(rows | {"sum_open_interest": interest, "sum_open_interest_value": interest * 64_000} | ratios)


def _funding(rng: np.random.Generator, day: date) -> pl.DataFrame:
    """The settlements of the month: rows beyond it would be doubted."""
    first, rows = _ms(day.replace(day=1)), 3 * monthrange(day.year, day.month)[1]
    times = [first + n * 8 * 3_600_000 for n in range(rows)]
    return pl.DataFrame(
        {"calc_time": times, "funding_interval_hours": [8] * rows, "last_funding_rate": rng.normal(1e-4, 1e-5, rows)}
    )


def _book_ticker(rng: np.random.Generator, start_ms: int, chunk: int, rows: int) -> pl.DataFrame:
    times = _times(rng, start_ms, chunk, rows)
    bid = np.round(64_000 + np.cumsum(rng.choice([-0.1, 0, 0, 0, 0, 0.1], rows)), 1)
    return pl.DataFrame(
        {
            "update_id": 3_900_000_000_000 + start_ms + chunk * rows * 40 + np.cumsum(rng.integers(1, 40, rows)),
            "best_bid_price": bid,
            "best_bid_qty": np.round(rng.lognormal(0, 1.5, rows), 3),
            "best_ask_price": np.round(bid + 0.1, 1),
            "best_ask_qty": np.round(rng.lognormal(0, 1.5, rows), 3),
            "transaction_time": times,
            "event_time": times + rng.integers(1, 9, rows),
        }
    )


def _write(root: Path, name: str, period: str, frame: pl.DataFrame) -> None:
    with _ZippedCsv(root, name, period) as archive:
        archive.write(frame)


class _ZippedCsv:
    """A zip with one CSV member, written frame by frame, and its CHECKSUM."""

    def __init__(self, root: Path, name: str, period: str) -> None:
        stream = UM_STREAMS[name]
        self._path = root / stream.url_path(SYMBOL, period).lstrip("/")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._zip = zipfile.ZipFile(self._path, "w", zipfile.ZIP_DEFLATED)
        member = zipfile.ZipInfo(f"{self._path.stem}.csv", (2024, 1, 1, 0, 0, 0))
        member.compress_type = zipfile.ZIP_DEFLATED
        self._member = self._zip.open(member, "w", force_zip64=True)
        self._header = True

    def write(self, frame: pl.DataFrame) -> None:
        buffer = io.BytesIO()
        frame.write_csv(buffer, include_header=self._header)
        self._header = False
        self._member.write(buffer.getbuffer())

    def __enter__(self) -> _ZippedCsv:
        return self

    def __exit__(self, *_: object) -> None:
        self._member.close()
        self._zip.close()
        digest = hashlib.sha256(self._path.read_bytes()).hexdigest()
        self._path.with_name(f"{self._path.name}.CHECKSUM").write_text(f"{digest}  {self._path.name}\n")


def main() -> None:
    """Make days, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("first", type=date.fromisoformat)
    parser.add_argument("--days", type=int, default=1)
    parser.add_argument("--trades", type=int, required=True)
    parser.add_argument("--updates", type=int, default=0)
    given = parser.parse_args()
    for offset in range(given.days):
        make_day(given.root, given.first + timedelta(days=offset), trades=given.trades, updates=given.updates)


if __name__ == "__main__":
    main()
