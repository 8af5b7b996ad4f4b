"""Bars in files of others: Parquet or CSV, times in whatever form, prices that may be no numbers.

Belongs here: reading them into numbers and UTC times, naming file, column and value where that cannot be done.
Does not belong here: the rules, the lake's own bars (`bars`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from lake_assets.validation.rulepack import BarColumns
from lake_resources.bar_values import PRICES
from lake_resources.binance.um_streams import KLINES_1M
from lake_resources.errors import SettingsError

TIME_NAMES = ("timestamp", "ts", "open_time", "time", "window_start", "datetime", "date")
_QUOTES = ("bid", "ask", "spread")
_SCIENTIFIC = re.compile(r"[+-]?\d+(?:\.(?P<digits>\d*))?[eE](?P<power>[+-]?\d{1,2})")
_LOOKED_AT = 1000
_TIME = pl.Datetime("us", "UTC")
_EPOCHS = ((10**11, 1_000_000.0), (10**14, 1_000.0), (10**17, 1.0))
"""Below each bound: microseconds per unit of seconds, ms and µs; above all of them are ns. Bounds of ms lie in 1973."""


def read_bars(path: Path) -> tuple[pl.DataFrame, BarColumns, str]:
    """Bars of a Parquet or CSV file with OHLC columns, which column is what, and what spoilt their times.

    Times without a zone are UTC; epochs may be seconds, ms, µs or ns. Klines of Vision may lack their header. The last
    is empty, or says in words that the times were rounded before the file was written.

    Raises:
        SettingsError: the file is neither, lacks a time or a price, or a value of them is none.
    """
    kind = path.suffix.lower()
    if kind not in {".parquet", ".csv"} or not path.is_file():
        raise SettingsError(f"{path} is no Parquet or CSV file", remedy="Give a file that ends in .parquet or .csv")
    try:
        frame = pl.read_parquet(path, hive_partitioning=False, glob=False) if kind == ".parquet" else _read_csv(path)
    except pl.exceptions.NoDataError:
        frame = pl.DataFrame(schema={"timestamp": _TIME, **dict.fromkeys(PRICES, pl.Float64())})
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SettingsError(f"{path} does not read: {error}", remedy="Give a sound file") from error
    time = next((name for name in TIME_NAMES if name in frame.columns), None)
    missing = [name for name in PRICES if name not in frame.columns]
    if time is None or missing:
        raise SettingsError(
            f"{path} has the columns {', '.join(frame.columns)}",
            remedy=f"It needs {', '.join(PRICES)} and one of {', '.join(TIME_NAMES)}",
        )
    quotes = {name: name for name in _QUOTES if name in frame.columns}
    numbers = [_numbers(path, frame[name]) for name in (*PRICES, *quotes)]
    if "volume" in frame.columns:
        # No rule needs it: what is no number is not there.
        numbers.append(frame["volume"].cast(pl.Float64, strict=False))
    bars = pl.DataFrame([_times(path, frame[time]), *numbers])
    return bars, BarColumns(time=time, **quotes), _rounding(frame[time])


def _read_csv(path: Path) -> pl.DataFrame:
    # The first line as a row: names that are equal, such as two prices, would be told apart by the parser.
    line = pl.read_csv(path, infer_schema=False, has_header=False, n_rows=1)
    first = pl.Series(line.row(0)[: len(PRICES) + 1], dtype=pl.String).cast(pl.Float64, strict=False)
    # As text, so that a word among the numbers is found by its row, not by the parser's first hundred lines.
    frame = pl.read_csv(path, infer_schema=False)
    klines = [*KLINES_1M.columns, "ignore"]
    if first.null_count() or frame.width < len(first):
        return frame
    names = klines[: frame.width] + [f"column_{n}" for n in range(len(klines), frame.width)]
    return pl.read_csv(path, infer_schema=False, has_header=False, new_columns=names)


def _numbers(path: Path, column: pl.Series) -> pl.Series:
    if column.dtype.is_numeric() or column.dtype == pl.Null:
        return column.cast(pl.Float64)
    if column.dtype != pl.String:
        raise SettingsError(f"{path}: column {column.name!r} is of {column.dtype}", remedy="It needs numbers")
    text = _text(column)
    found = text.cast(pl.Float64, strict=False)
    return _all_there(path, text, found, "is no number")


def _times(path: Path, column: pl.Series) -> pl.Series:
    if column.dtype.is_temporal() and column.dtype not in (pl.Time, pl.Duration):
        return column.cast(_TIME)
    if column.dtype.is_integer() or column.dtype.is_float():
        return _epochs(path, column)
    if column.dtype != pl.String:
        raise SettingsError(
            f"{path}: column {column.name!r} is of {column.dtype}", remedy="It needs times, epochs or ISO 8601 text"
        )
    text = _text(column)
    first = text.drop_nulls().head(1)
    for dtype in (pl.Int64, pl.Float64):
        if len(first) and not first.cast(dtype, strict=False).null_count():
            found = text.cast(dtype, strict=False)
            return _epochs(path, _all_there(path, text, found, "is no epoch as the first one is"))
    parsed = pl.Series(column.name, [_instant(value) for value in text], dtype=_TIME)
    return _all_there(path, text, parsed, "is no time; write it as 2024-01-31T10:00 or as an epoch")


def _epochs(path: Path, column: pl.Series) -> pl.Series:
    value = pl.col(column.name)
    size = value.abs()
    integer = column.dtype.is_integer()
    # Each value by its own size: files of Vision change from ms to µs in 2025, and people join them.
    micros = value // 1000 if integer else value / 1000
    for bound, factor in reversed(_EPOCHS):
        micros = pl.when(size < bound).then(value * int(factor) if integer else value * factor).otherwise(micros)
    if not integer:
        micros = micros.round()
    # Years 0 to 9999: outside of them nothing is a time of an exchange, nor can it be printed.
    sound = micros.is_between(-62_135_596_800_000_000, 253_402_300_799_999_999)
    frame = pl.DataFrame(column)
    found = frame.select(pl.when(sound).then(micros).cast(pl.Int64).cast(pl.Datetime("us")).cast(_TIME)).to_series()
    return _all_there(path, column, found.alias(column.name), "is no epoch")


def _rounding(column: pl.Series) -> str:
    """What to tell of epochs in scientific notation whose last digit is a second or more; empty for others."""
    if column.dtype != pl.String:
        return ""
    text = _text(column).drop_nulls()
    found = [_SCIENTIFIC.fullmatch(value) for value in text.filter(text.str.contains("[eE]")).head(_LOOKED_AT)]
    # The finest of them: rounding treats all alike, while a number that just ends in zeros stands alone.
    seconds = min((_last_digit_s(each) for each in found if each), default=0.0)
    if seconds < 1:
        return ""
    return (
        f"the times are rounded: column {column.name!r} has them as {text[0]!r}, so that each stands for "
        f"{seconds:,.0f} s. A spreadsheet does that; the file must be written anew with whole numbers"
    )


def _last_digit_s(written: re.Match[str]) -> float:
    """What one step of the last digit of an epoch in scientific notation is, seconds."""
    power, size = int(written["power"]), abs(float(written[0]))
    per_second = next((1_000_000.0 / micros for bound, micros in _EPOCHS if size < bound), 1e9)
    return float(10.0 ** (power - len(written["digits"] or "")) / per_second)


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _text(column: pl.Series) -> pl.Series:
    """Without spaces around; nothing between them is NULL."""
    stripped = column.str.strip_chars()
    return stripped.set(stripped == "", None)


def _all_there(path: Path, given: pl.Series, found: pl.Series, what: str) -> pl.Series:
    """What was found, if every value that was given was found.

    Raises:
        SettingsError: with the first value that was not.
    """
    lost = (given.is_not_null() & found.is_null()).arg_true()
    if len(lost):
        row = int(lost[0])
        raise SettingsError(
            f"{path}: {given[row]!r} in column {given.name!r}, row {row + 1} of {len(given)}, {what}"
            + (f" ({len(lost)} such rows)" if len(lost) > 1 else ""),
            remedy="Mend the file; leave a value empty where there is none",
        )
    return found
