"""REST bodies to wire frames.

Belongs here: the shape of each list endpoint's body, decimal strings to doubles, sorting and duplicates.
Does not belong here: requests and paging; any column of the lake.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from lake_resources.binance.wire_columns import AGG_TRADE_COLUMNS, FUNDING_RATE_COLUMNS, KLINE_COLUMNS, UTC_US
from lake_resources.clock import from_epoch_ms
from lake_resources.errors import MalformedAnswer

KLINE_FIELDS = 12
LATEST_MS = 4_102_444_800_000  # 2100-01-01
_SHOWN_CHARACTERS = 200
_NUMBER_CHARACTERS = 400
"""No number of the exchange is as long; the message of a longer one that is none would be longer still."""
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _SHOWN_CHARACTERS
_NOTHING = ("", None, "NaN", "null")
_AGG_TRADE_FIELDS = {
    "agg_trade_id": "a",
    "price": "p",
    "quantity": "q",
    "first_trade_id": "f",
    "last_trade_id": "l",
    "transact_time": "T",
    "is_buyer_maker": "m",
}


def klines(body: object, endpoint: str) -> pl.DataFrame:
    """Rows of the kline family: 12 elements, the last one unused.

    Returns:
        Columns KLINE_COLUMNS, sorted by open_time, identical duplicates dropped.

    Raises:
        MalformedAnswer: another shape, or two different rows of one minute.
    """
    rows = _list(body, endpoint)
    if any(not isinstance(row, list) or len(row) < KLINE_FIELDS for row in rows):
        raise MalformedAnswer(endpoint, f"expected rows of {KLINE_FIELDS} elements")
    columns = zip(*(row[: KLINE_FIELDS - 1] for row in rows), strict=True) if rows else [()] * len(KLINE_COLUMNS)
    named = dict(zip(KLINE_COLUMNS, columns, strict=True))
    return one_row_per_key(_typed(named, KLINE_COLUMNS, endpoint), ("open_time",), endpoint)


def agg_trades(body: object, endpoint: str) -> pl.DataFrame:
    """Rows `{a, p, q, f, l, T, m}`; further fields such as `nq` are left out.

    Returns:
        Columns AGG_TRADE_COLUMNS, sorted by agg_trade_id, identical duplicates dropped.

    Raises:
        MalformedAnswer: another shape, two different trades of one id, or ids that are not contiguous.
    """
    named = _fields(_list(body, endpoint), _AGG_TRADE_FIELDS, endpoint)
    frame = one_row_per_key(_typed(named, AGG_TRADE_COLUMNS, endpoint), ("agg_trade_id",), endpoint)
    ids = frame["agg_trade_id"]
    gaps = (ids.diff().fill_null(1) != 1).arg_true()
    if len(gaps):
        after = gaps[0]
        raise MalformedAnswer(endpoint, f"aggTrade ids {ids[after - 1] + 1} to {ids[after] - 1} are missing")
    return frame


def agg_trade_rows(body: object, endpoint: str, *, first_id: int, last_id: int) -> list[dict[str, Any]]:
    """The rows of a page of aggTrades as sent, up to `last_id`.

    Raises:
        MalformedAnswer: another shape, or ids that are not contiguous from `first_id`.
    """
    rows = agg_trade_page(body, endpoint)
    if rows and rows[0]["a"] != first_id:
        raise MalformedAnswer(endpoint, f"asked for aggTrade ids from {first_id}, got them from {rows[0]['a']}")
    return [row for row in rows if row["a"] <= last_id]


def agg_trade_page(body: object, endpoint: str) -> list[dict[str, Any]]:
    """The rows of a page of aggTrades as sent, in order of their ids.

    Raises:
        MalformedAnswer: another shape, or ids that are not contiguous.
    """
    agg_trades(body, endpoint)
    rows = {row["a"]: row for row in _list(body, endpoint)}
    if any(type(row[name]) is not int for row in rows.values() for name in ("a", "f", "l", "T")):
        raise MalformedAnswer(endpoint, "an id or time that is no whole number")
    return [{name: row[name] for name in _AGG_TRADE_FIELDS.values()} for _, row in sorted(rows.items())]


def server_time(body: object, endpoint: str) -> datetime:
    """The exchange's clock, UTC: `{serverTime}`.

    Raises:
        MalformedAnswer: another shape, or no time of this century.
    """
    told = body.get("serverTime") if isinstance(body, dict) else None
    if type(told) is not int or not 0 <= told < LATEST_MS:
        raise MalformedAnswer(endpoint, f"expected serverTime, got {_shown(body)}")
    return from_epoch_ms(told)


def exchange_info(body: object, endpoint: str) -> dict[str, Any]:
    """Symbols and limits, as sent: an object whose `symbols` is a list of objects.

    Raises:
        MalformedAnswer: another shape.
    """
    symbols = body.get("symbols") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(symbols, list) or not all(isinstance(row, dict) for row in symbols):
        raise MalformedAnswer(endpoint, f"expected an object with symbols, got {_shown(body)}")
    return body


def depth(body: object, endpoint: str) -> dict[str, Any]:
    """An order book: `lastUpdateId`, and `bids` and `asks` of [price, quantity] decimal strings.

    Raises:
        MalformedAnswer: another shape.
    """
    if not isinstance(body, dict) or type(body.get("lastUpdateId")) is not int:
        raise MalformedAnswer(endpoint, "expected an order book with lastUpdateId")
    for name in ("E", "T"):
        if name in body and not (type(body[name]) is int and 0 <= body[name] < LATEST_MS):
            raise MalformedAnswer(endpoint, f"{name} is {_shown(body[name])}, which is no time")
    for side in ("bids", "asks"):
        levels = body.get(side)
        if not isinstance(levels, list) or any(not isinstance(level, list) or len(level) != 2 for level in levels):
            raise MalformedAnswer(endpoint, f"expected {side} as a list of [price, quantity]")
        try:
            for price, quantity in levels:
                _number(price)
                _number(quantity)
        except (ValueError, TypeError) as error:
            raise MalformedAnswer(endpoint, f"{side}: {error}") from error
    return body


def funding_rate(body: object, endpoint: str) -> pl.DataFrame:
    """Rows `{fundingTime, fundingRate, …}`; the millisecond jitter of fundingTime is kept.

    Returns:
        Columns FUNDING_RATE_COLUMNS, sorted by calc_time; funding_interval_hours is null, REST does not tell it.

    Raises:
        MalformedAnswer: another shape, or two different rates of one settlement.
    """
    rows = _list(body, endpoint)
    names = {"calc_time": "fundingTime", "last_funding_rate": "fundingRate"}
    frame = _typed(_fields(rows, names, endpoint), {name: FUNDING_RATE_COLUMNS[name] for name in names}, endpoint)
    frame = frame.select(
        "calc_time",
        pl.lit(None, FUNDING_RATE_COLUMNS["funding_interval_hours"]).alias("funding_interval_hours"),
        "last_funding_rate",
    )
    return one_row_per_key(frame, ("calc_time",), endpoint)


def futures_data(body: object, endpoint: str, fields: Mapping[str, str]) -> pl.DataFrame:
    """Rows of a `/futures/data` endpoint.

    Args:
        body: decoded body.
        endpoint: for the error's text.
        fields: name of each wanted column → Binance's field; all are Float64.

    Returns:
        `timestamp` and the wanted columns, sorted by timestamp, identical duplicates dropped.

    Raises:
        MalformedAnswer: another shape, or two different rows of one timestamp.
    """
    types: dict[str, pl.DataType] = {"timestamp": UTC_US, **dict.fromkeys(fields, pl.Float64())}
    named = _fields(_list(body, endpoint), {"timestamp": "timestamp", **fields}, endpoint)
    return one_row_per_key(_typed(named, types, endpoint, unknown=tuple(fields)), ("timestamp",), endpoint)


def one_row_per_key(frame: pl.DataFrame, key: Sequence[str], endpoint: str) -> pl.DataFrame:
    """Sort by `key` and drop identical duplicates.

    Raises:
        MalformedAnswer: two different rows share a key.
    """
    frame = frame.sort(key, maintain_order=True)
    if len(key) == 1 and frame.get_column(key[0]).n_unique() == frame.height:
        return frame
    repeated = frame.select(pl.struct(key).is_duplicated()).to_series()
    if not repeated.any():
        return frame
    frame = frame.unique(maintain_order=True)
    repeated = frame.select(pl.struct(key).is_duplicated()).to_series()
    if repeated.any():
        first = frame.filter(repeated).row(0, named=True)
        where = ", ".join(f"{name} {first[name]}" for name in key)
        raise MalformedAnswer(endpoint, f"different rows for {where}")
    return frame


def _list(body: object, endpoint: str) -> list[Any]:
    if not isinstance(body, list):
        raise MalformedAnswer(endpoint, f"expected a list, got {type(body).__name__}")
    return body


def _fields(rows: list[Any], names: dict[str, str], endpoint: str) -> dict[str, list[Any]]:
    try:
        return {column: [row[name] for row in rows] for column, name in names.items()}
    except (KeyError, TypeError) as error:
        raise MalformedAnswer(endpoint, f"expected objects with the fields {', '.join(names.values())}") from error


def _typed(
    named: dict[str, Any], types: dict[str, pl.DataType], endpoint: str, *, unknown: Sequence[str] = ()
) -> pl.DataFrame:
    """Typed columns; a value that says it is none is null in the columns `unknown` and refused in the others."""
    series = []
    for name, dtype in types.items():
        values = named[name]
        try:
            if dtype == UTC_US:
                whole = _plain(values, dtype) or [_millisecond(value) for value in values]
                stamps = pl.Series(name, whole, pl.Int64)
                series.append(stamps.cast(pl.Datetime("ms", "UTC")).cast(UTC_US))
                continue
            parse = _PARSERS[type(dtype)]
            nullable = name in unknown
            parsed = _plain(values, dtype) or [
                None if nullable and value in _NOTHING else parse(value) for value in values
            ]
            series.append(pl.Series(name, parsed, dtype))
        except (ValueError, TypeError, OverflowError) as error:
            raise MalformedAnswer(endpoint, f"field {name}: {str(error)[:_SHOWN_CHARACTERS]}") from error
    return pl.DataFrame(series)


def _plain(values: Sequence[object], dtype: pl.DataType) -> list[float] | list[int] | None:
    """Values that all are what nearly all answers hold, read at once; None where any has to be looked at by itself."""
    if dtype == UTC_US:
        whole = [value for value in values if type(value) is int and 0 <= value < LATEST_MS]
        return whole if len(whole) == len(values) else None
    if dtype != pl.Float64:
        return None
    texts = [value for value in values if type(value) is str and len(value) <= _NUMBER_CHARACTERS]
    if len(texts) != len(values):
        return None
    try:
        numbers = list(map(float, texts))
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _number(value: object) -> float:
    """A decimal string as the nearest double."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError(f"{_shown(value)} is not a decimal string")
    number = float(_short(value))
    if not math.isfinite(number):
        raise ValueError(f"{_shown(value)} is not a number")
    return number


def _integer(value: object) -> int:
    """An integer; some endpoints sent timestamps as strings until 2026-07."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError(f"{_shown(value)} is not an integer")
    return int(_short(value))


def _millisecond(value: object) -> int:
    """Epoch ms of an instant between 1970 and 2100: what lies beyond is in another unit, or no time."""
    number = _integer(value)
    if not 0 <= number < LATEST_MS:
        raise ValueError(f"{_shown(number)} is no time in ms")
    return number


def _shown(value: object) -> str:
    """What was sent, briefly; its whole text could be several times as large as the answer."""
    return _BRIEF.repr(value)[:_SHOWN_CHARACTERS]


def _short(value: str | int | float) -> str | int | float:
    if isinstance(value, str) and len(value) > _NUMBER_CHARACTERS:
        raise ValueError(f"{_shown(value)}, a text of {len(value):,} characters")
    return value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{_shown(value)} is not a boolean")
    return value


_PARSERS: dict[type[pl.DataType], Callable[[object], object]] = {
    pl.Float64: _number,
    pl.Int64: _integer,
    pl.Boolean: _boolean,
}
