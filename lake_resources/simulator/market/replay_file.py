"""Reading the kline CSV that a replay is made from.

Belongs here: the two file layouts, header or none, ms or µs, and how many digits a file has.
Does not belong here: what the market does between the bars (replay.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from lake_resources.simulator.market.bars import Bars
from lake_resources.simulator.market.rng import Ints
from lake_resources.simulator.vision.archive_rows import KLINE_COLUMNS

_DATED = ["Date", "Open", "High", "Low", "Close", "Volume"]
_STEP_MS = {"1m": 60_000, "1h": 3_600_000}
_LARGEST = 9e18


@dataclass(frozen=True)
class KlineFile:
    """Bars of one or more files, in time order.

    Attributes:
        bars: integers of the digits below. `count`, `quote` and the taker fields are 0 where `full` is False.
        interval: `1m` or `1h`.
        price_digits, quantity_digits: decimals of the integers.
        full: the files name quote volume, count and taker volumes.
    """

    bars: Bars
    interval: str
    price_digits: int
    quantity_digits: int
    full: bool


def _digits(frame: pl.DataFrame, columns: Sequence[str], *, printed: bool = False) -> int:
    """Longest decimal part, without the zeros at its end unless `printed`."""
    part = pl.col(*columns).str.split(".").list.get(1, null_on_oob=True).fill_null("")
    lengths = frame.select((part if printed else part.str.strip_chars_end("0")).str.len_chars().max())
    return max(int(length or 0) for length in lengths.row(0))


def _fixed(column: pl.Series, digits: int) -> Ints:
    """Integers of 10**-digits, exactly, from decimal texts."""
    parts = column.str.split(".")
    whole = parts.list.get(0)
    part = parts.list.get(1, null_on_oob=True).fill_null("").str.strip_chars_end("0").str.pad_end(digits, "0")
    return (whole + part).cast(pl.Int64).to_numpy().copy()


def _frame(path: Path) -> pl.DataFrame:
    with path.open("rb") as file:
        start = file.read(8).removeprefix(b"\xef\xbb\xbf")[:5]
    header = not start[:1].isdigit()
    frame = pl.read_csv(path, has_header=header, infer_schema=False)
    if start == b"Date,":
        if frame.columns != _DATED:
            raise ValueError(f"{path}: columns {frame.columns}, expected {_DATED}")
        return frame
    if frame.width != len(KLINE_COLUMNS):
        raise ValueError(f"{path}: {frame.width} columns, a kline file has {len(KLINE_COLUMNS)}")
    frame = frame.rename(dict(zip(frame.columns, KLINE_COLUMNS, strict=True)))
    rounded = frame["open_time"].filter(frame["open_time"].str.contains(r"^[0-9.]+[eE]"))
    if len(rounded):
        raise ValueError(
            f"{path}: the times are rounded ({rounded[0]!r}), as a spreadsheet does it; write the file anew with whole "
            "numbers"
        )
    return frame


def read_klines(paths: Sequence[Path], interval: str | None = None) -> KlineFile:
    """Read kline files.

    Args:
        paths: CSV files of one symbol and interval, in the Vision kline layout (header or none, ms or µs) or with
            the columns Date,Open,High,Low,Close,Volume and dates `DD-MM-YYYY HH:MM` UTC.
        interval: `1m` or `1h`; None takes it from the spacing of the bars.

    Raises:
        ValueError: another layout, interval or spacing, rounded times, what is no number or time, doubled bars, or
            figures too large for 64 bits. The text names the file.
    """
    try:
        return _read_klines(paths, interval)
    except (pl.exceptions.PolarsError, OSError, IndexError, OverflowError) as error:
        reason = str(error).split("\n", 1)[0]
        raise ValueError(f"{', '.join(map(str, paths))}: cannot be read as klines: {reason}") from error


def _read_klines(paths: Sequence[Path], interval: str | None) -> KlineFile:
    frame = pl.concat([_frame(path) for path in paths])
    full = frame.columns[0] != "Date"
    name = ", ".join(path.name for path in paths)
    if full:
        at = frame["open_time"].cast(pl.Int64).to_numpy().copy()
        # Microsecond stamps are told by magnitude: 1e14 ms would be the year 5138.
        at = np.where(at >= 10**14, at // 1000, at)
        prices, volume = ["open", "high", "low", "close"], "volume"
        price_digits = _digits(frame, prices)
        quantity_digits = _digits(frame, [volume, "taker_buy_volume"])
        quote_digits = _digits(frame, ["quote_volume", "taker_buy_quote_volume"])
        # A quote volume is a product of price and quantity: digits that it shows and they do not were zeros in them.
        hidden = max(0, quote_digits - price_digits - quantity_digits)
        to_price = min(hidden, _digits(frame, prices, printed=True) - price_digits)
        price_digits, quantity_digits = price_digits + to_price, quantity_digits + hidden - to_price
    else:
        at = frame["Date"].str.to_datetime("%d-%m-%Y %H:%M", time_unit="ms").cast(pl.Int64).to_numpy().copy()
        prices, volume = _DATED[1:5], "Volume"
        price_digits, quantity_digits = _digits(frame, prices), _digits(frame, [volume])
    zero = np.zeros(frame.height, np.int64)
    quote_digits = price_digits + quantity_digits
    opened, high, low, close = (_fixed(frame[column], price_digits) for column in prices)
    bars = Bars(
        at,
        opened,
        high,
        low,
        close,
        _fixed(frame[volume], quantity_digits),
        _fixed(frame["quote_volume"], quote_digits) if full else zero,
        frame["count"].cast(pl.Int64).to_numpy().copy() if full else zero,
        _fixed(frame["taker_buy_volume"], quantity_digits) if full else zero,
        _fixed(frame["taker_buy_quote_volume"], quote_digits) if full else zero,
    )
    bars = bars.take(np.argsort(bars.open_ms, kind="stable"))
    steps = np.diff(bars.open_ms)
    found = {step: name for name, step in _STEP_MS.items()}.get(int(steps.min()) if len(steps) else 60_000)
    if found is None or (interval or found) != found or (bars.open_ms % _STEP_MS[found]).any():
        raise ValueError(f"{name}: the bars are not {interval or '1m or 1h'} bars, each on its own minute or hour")
    notional = (bars.volume.astype(np.float64) * bars.high).sum()
    if notional > _LARGEST:
        raise ValueError(f"{name}: {notional:.1e} units of quote volume pass 64 bits; replay fewer bars at once")
    return KlineFile(bars, found, price_digits, quantity_digits, full)
