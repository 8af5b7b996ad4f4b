"""Hourly bars: the exchange's rows as the feed's columns, hours, and the name of a dataset's directory.

Belongs here: pure functions of rows and instants. Does not belong here: comparing bars (`window`), I/O, a clock.
Times inside the feed are UTC without a zone, as in the table and its files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from lake_resources.bar_values import VALUE_COLUMNS
from lake_resources.clock import HOUR
from lake_resources.errors import SettingsError

SYMBOL = "BTCUSDT"
INTERVAL = "1h"
BAR_SCHEMA: dict[str, pl.DataType] = {
    "timestamp": pl.Datetime("us"),
    **dict.fromkeys(VALUE_COLUMNS, pl.Float64()),
}
BAR_COLUMNS = tuple(BAR_SCHEMA)
"""Columns of both CSV files, in this order."""
PULL_SCHEMA: dict[str, pl.DataType] = {**BAR_SCHEMA, "close_time": pl.Datetime("us")}

Values = tuple[float | None, ...]
"""open, high, low, close, volume of one bar."""

_OPEN_TIME, _CLOSE_TIME = 0, 6


def naive(instant: datetime) -> datetime:
    """An aware instant as UTC without a zone; a naive one is UTC already."""
    return instant if instant.tzinfo is None else instant.astimezone(UTC).replace(tzinfo=None)


def target_hour(now: datetime) -> datetime:
    """Start of the newest hour that is closed at `now`, UTC-naive: 14:23:45 gives 13:00."""
    return naive(now).replace(minute=0, second=0, microsecond=0) - HOUR


def hours_through(first: datetime, last: datetime) -> list[datetime]:
    """All hours from `first` to `last`, both inclusive."""
    return [first + index * HOUR for index in range((last - first) // HOUR + 1)]


def bars_from_rows(rows: Sequence[Sequence[object]]) -> pl.DataFrame:
    """Rows of `/fapi/v1/klines` as bars: `timestamp` is the open time, decimal strings are read as doubles.

    Nothing is left out or merged: doubled hours stay doubled and what is no number becomes NULL, for the validation
    must see it and the snapshot must show it.

    Returns:
        PULL_SCHEMA, ascending by timestamp (stable).
    """
    columns: dict[str, list[object]] = {
        "timestamp": [_instant(row[_OPEN_TIME]) for row in rows],
        **{name: [_number(row[at]) for row in rows] for at, name in enumerate(VALUE_COLUMNS, start=1)},
        "close_time": [_instant(row[_CLOSE_TIME]) for row in rows],
    }
    return pl.DataFrame(columns, schema=PULL_SCHEMA).sort("timestamp", maintain_order=True)


def dataset_slug(dataset: str) -> str:
    """Directory name of a dataset: `BINANCE_BTCUSDT.P, 60` gives `binance_btcusdt_p_60`.

    Raises:
        SettingsError: the name has no letter or digit.
    """
    slug = re.sub(r"[^a-z0-9]+", "_", dataset.lower()).strip("_")
    if not slug:
        raise SettingsError(f"the dataset name {dataset!r} gives no directory name", remedy="Use letters or digits")
    return slug


def _instant(value: object) -> datetime:
    return datetime.fromtimestamp(0, UTC).replace(tzinfo=None) + timedelta(milliseconds=int(str(value)))


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None
